"""Coding sheets of micro-expressions, as .xlsx or its .csv export; and what the readers of such sets share.

    read_sheet("CASME2-coding-20140508.xlsx", needed=("Subject", "Filename", "OnsetFrame"))
    →  [Row(file, 2, {"subject": "01", "filename": "EP02_01f", "onsetframe": "46", ...}), ...]

An .xlsx is a zip of XML files: one lists the sheets, one holds the texts that cells share, and each sheet is one more.
"""
import csv
import io
import posixpath
import re
import struct
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from refnet.config import nearest
from refnet.data.folder import listing
from refnet.data.micro import MicroClip, filmed
from refnet.data.samples import DataError, Sample
from refnet.pictures import PICTURES

LARGEST = 50_000_000           # bytes of one part of an .xlsx, unpacked; a coding sheet has some hundred thousand
LEAST = 3                      # frames of an expression: onset, apex, offset
BROKEN = (zipfile.BadZipFile, zlib.error, struct.error, NotImplementedError, RuntimeError, EOFError, OSError)


class Row(NamedTuple):
    """A row under the header, its cells by the name of their column."""
    file: Path
    number: int                # as the spreadsheet counts, from 1
    cells: dict[str, str]      # names as `same` writes them

    def __str__(self) -> str:
        return f"{self.file}: row {self.number}"

    def text(self, column: str) -> str:
        """A cell that must not be blank."""
        if not (cell := self.cells.get(same(column), "")):
            raise DataError(f"{self}: {column} is blank; expected a text; fill it in, or remove the row")
        return cell

    def frame(self, column: str) -> int | None:
        """A frame's number; None where the cell is blank or /, or there is no such column."""
        cell = self.cells.get(same(column), "")
        if cell in ("", "/"):
            return None
        if not re.fullmatch(r"[0-9]{1,18}(\.0*)?", cell):
            raise DataError(f"{self}: {column} is {cell[:40]!r}; expected the number of a frame, or / where there is none")
        return int(cell.split(".")[0])


Table = list[tuple[int, dict[int, str]]]                           # rows: number, {column from 0: text}, no blank cells


def same(name: str) -> str:
    """A column's name as it is compared: small letters, one space for any white space."""
    return " ".join(name.split()).casefold()


def read_sheet(path: str | Path, header: str = "Subject", needed: tuple[str, ...] = ("Subject", "Filename"),
               sheet: str = "") -> list[Row]:
    """Read a coding sheet by the names of its columns, wherever they stand.

    header   a cell of the header row; text above that row is passed over
    needed   the columns that must be there; others may
    sheet    the name of an .xlsx's sheet; "" is its first

    A number such as 1.0 reads "1"; blank rows are left out. Raises DataError for a file that is neither .xlsx nor .csv,
    a damaged one, one that unpacks to too much or declares entities, no header, a column missing or twice.
    """
    path = Path(path)
    if not path.is_file():
        raise DataError(f"{path}: no such file; expected a coding sheet, .xlsx or .csv")
    if path.suffix.lower() not in (".xlsx", ".csv"):
        raise DataError(f"{path}: a coding sheet is read from .xlsx or .csv; found the suffix {path.suffix!r}; save it as one of "
                        f"them")
    tables = _csv(path) if path.suffix.lower() == ".csv" else [_xlsx(path, sheet)]
    wanted = {same(name) for name in (header, *needed)}
    heads = [(len(wanted & {same(c) for c in cells.values()}), table, k)
             for table in tables for k, (_, cells) in enumerate(table) if same(header) in map(same, cells.values())]
    if not heads:
        first = ", ".join(tables[0][0][1].values())[:80] if tables[0] else "nothing"
        raise DataError(f"{path}: no row with a cell {header!r} in {len(tables[0])} rows; the first has {first}; expected a "
                        f"header with {', '.join(needed)}")
    _, table, k = max(heads, key=lambda head: head[0])             # prose above may say "Subject" too; the first of equals
    number, titles = table[k]
    names = {column: same(title) for column, title in titles.items()}
    if twice := [title for column, title in titles.items() if list(names.values()).count(names[column]) > 1]:
        raise DataError(f"{path}: row {number}, the header, has two columns {twice[0]!r}; rename or remove one")
    for name in needed:
        if same(name) not in names.values():
            raise DataError(f"{path}: row {number}, the header, has no column {name!r}; found {', '.join(titles.values())[:300]}"
                            f"{nearest(name, titles.values())}")
    rows = [Row(path, n, {name: cells.get(column, "") for column, name in names.items()}) for n, cells in table[k + 1:]]
    return [row for row in rows if any(row.cells.values())]


def _csv(path: Path) -> list[Table]:
    """The file cut at its commas, and cut at its semicolons; the header tells which is right."""
    text = path.read_bytes().decode("utf-8-sig", errors="replace")
    try:
        both = [list(csv.reader(io.StringIO(text, newline=""), delimiter=mark)) for mark in ",;"]
    except csv.Error as e:
        raise DataError(f"{path}: not a table ({e}); expected cells between commas or semicolons; export it again") from e
    cut = [[(n, {k: cell.strip() for k, cell in enumerate(cells) if cell.strip()}) for n, cells in enumerate(rows, start=1)]
           for rows in both]
    return [[row for row in table if row[1]] for table in cut]


# An .xlsx

def _xlsx(path: Path, sheet: str) -> Table:
    try:
        with zipfile.ZipFile(path) as whole:
            book, ties = _part(path, whole, "xl/workbook.xml"), _part(path, whole, "xl/_rels/workbook.xml.rels")
            parts = {tie.get("Id"): posixpath.normpath(posixpath.join("xl", tie.get("Target", ""))).lstrip("/") for tie in ties}
            sheets = {s.get("name", ""): next((v for key, v in s.attrib.items() if key.endswith("}id")), "")
                      for s in book.iterfind("{*}sheets/{*}sheet")}
            names = {same(name): name for name in sheets}
            if not sheets or sheet and same(sheet) not in names:
                raise DataError(f"{path}: no sheet {sheet or 'at all'}; found {', '.join(sheets) or 'none'}"
                                f"{nearest(sheet, sheets)}")
            chosen = sheets[names[same(sheet)] if sheet else next(iter(sheets))]
            texts = [parts[tie.get("Id")] for tie in ties if tie.get("Type", "").endswith("/sharedStrings")]
            shared = [_words(text) for text in _part(path, whole, texts[0]).iterfind("{*}si")] if texts else []
            return _table(path, _part(path, whole, parts.get(chosen, "")), shared)
    except BROKEN as e:
        raise DataError(f"{path}: not a whole .xlsx ({e}); expected a workbook without a password, as Excel saves it; copy it "
                        f"again, or save it anew as .xlsx or .csv") from e


def _part(path: Path, whole: zipfile.ZipFile, name: str) -> ElementTree.Element:
    """One XML file of the zip; never more of it than LARGEST, and none that declares entities, which may multiply."""
    if name not in whole.namelist():
        raise DataError(f"{path}: not a whole .xlsx: no part {name!r} in it; save it anew")
    if whole.getinfo(name).compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise zipfile.BadZipFile("packed in a way that no spreadsheet uses")
    with whole.open(name) as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise DataError(f"{path}: its part {name} unpacks to more than {LARGEST // 1_000_000} MB; expected a coding sheet; save "
                        f"only that sheet anew")
    try:
        text = data.decode("utf-8-sig")
        if "<!DOCTYPE" in text or "<!ENTITY" in text:
            raise DataError(f"{path}: its part {name} declares a document type or entities, which no spreadsheet does; not read")
        return ElementTree.fromstring(text)
    except (UnicodeDecodeError, ElementTree.ParseError) as e:
        raise DataError(f"{path}: its part {name} is not XML in UTF-8 ({e}); save it anew") from e


def _table(path: Path, sheet: ElementTree.Element, shared: list[str]) -> Table:
    table, n = [], 0
    for row in sheet.iterfind("{*}sheetData/{*}row"):
        said, k, cells = row.get("r", ""), -1, {}
        n = int(said) if re.fullmatch("[0-9]{1,9}", said) else n + 1
        for cell in row.iterfind("{*}c"):
            letters = re.match("[A-Z]{1,3}(?=[0-9])", cell.get("r", ""))
            k = _column(letters[0]) if letters else k + 1          # without a reference: right of the one before
            text = cell.findtext("{*}v", "").strip()
            kind = cell.get("t", "n")
            if kind == "inlineStr":
                text = "".join(map(_words, cell.iterfind("{*}is")))
            elif kind == "s":
                if not re.fullmatch("[0-9]{1,9}", text) or int(text) >= len(shared):
                    raise DataError(f"{path}: row {n}, cell {cell.get('r', k + 1)} asks for shared text {text!r} of "
                                    f"{len(shared)}; save it anew")
                text = shared[int(text)]
            elif kind == "n":
                text = _number(text)
            if text := text.strip():
                cells[k] = text
        if cells:
            table.append((n, cells))
    return table


def _column(letters: str) -> int:
    """A → 0, Z → 25, AA → 26"""
    k = 0
    for letter in letters:
        k = 26 * k + ord(letter) - ord("A") + 1
    return k - 1


def _words(text: ElementTree.Element) -> str:
    """A text, whole or in runs of several fonts; the reading aids beside it (rPh) are not part of it."""
    return "".join(t.text or "" for t in (*text.iterfind("{*}t"), *text.iterfind("{*}r/{*}t")))


def _number(text: str) -> str:
    """1.0 and 1E0 → "1"; 0.5 stays."""
    try:
        value = float(text)
    except ValueError:
        return text
    return str(int(value)) if value.is_integer() else text


# What the readers of micro-expressions share

def place(root: str | Path, holds: Callable[[Path], bool]) -> Path | None:
    """The folder of a data set: the root itself, or one right below it; None where there is none."""
    root = Path(root)
    if not root.is_dir():
        return None
    if holds(root):
        return root
    found = [p for p in listing(root) if p.is_dir() and holds(p)]
    if len(found) > 1:
        raise DataError(f"{root}: the same data set {len(found)} times, in {', '.join(p.name for p in found)}; name one of them")
    return found[0] if found else None


def sheet_in(folder: Path, begins: str) -> Path | None:
    """The coding sheet among a folder's files; the workbook rather than its export."""
    found = [p for p in listing(folder) if p.name.casefold().startswith(begins.casefold()) and p.is_file()]
    for suffix in (".xlsx", ".csv"):
        same_kind = [p for p in found if p.suffix.lower() == suffix]
        if len(same_kind) > 1:
            raise DataError(f"{folder}: {len(same_kind)} coding sheets, {', '.join(p.name for p in same_kind)}; keep one")
        if same_kind:
            return same_kind[0]
    return None


def numbered(folder: Path) -> dict[int, Path]:
    """A clip's frames in order, by the number that ends their name: 9 for img9.jpg, before 10.

    Raises DataError for a folder without pictures, a picture without a number, and a number twice.
    """
    frames: dict[int, Path] = {}
    for path in (p for p in listing(folder) if p.suffix.lower() in PICTURES):
        digits = re.search("[0-9]+$", path.stem)
        if not digits:
            raise DataError(f"{path}: no number at the end of its name; expected frames such as img46.jpg; rename or remove it")
        if int(digits[0]) in frames:
            raise DataError(f"{path}: frame {int(digits[0])} stands twice, also as {frames[int(digits[0])].name}; remove one")
        frames[int(digits[0])] = path
    if not frames:
        found = ", ".join(p.name for p in listing(folder)[:3]) or "nothing"
        raise DataError(f"{folder}: a clip without frames; found {found}; expected pictures; unpack it again")
    return dict(sorted(frames.items()))


def expression(row: Row, folder: Path, frames: dict[int, Path], columns: tuple[str, str]) -> tuple[int, int]:
    """Where an expression begins and ends among its clip's frames, both included, counted from 0.

    columns   those of the onset and of the offset

    Raises DataError for a blank cell, an end before the beginning, fewer than 3 frames, and frames that are not there.
    """
    onset, offset = (row.frame(column) for column in columns)
    if onset is None or offset is None:
        raise DataError(f"{row}: {columns[onset is not None]} is blank; expected the number of a frame; fill it in, or remove "
                        f"the row")
    if offset - onset + 1 < LEAST:
        raise DataError(f"{row}: from {columns[0]} {onset} to {columns[1]} {offset}; expected {LEAST} frames or more; correct "
                        f"the row")
    order = list(frames)
    inside = [k for k in order if onset <= k <= offset]
    if len(inside) < offset - onset + 1:
        first = next(k for k in range(onset, offset + 1) if k not in frames)
        raise DataError(f"{row}: frames {onset} to {offset} of {folder} are expected; found {len(inside)} of "
                        f"{offset - onset + 1}, the first missing is {first}; the folder has {len(order)} from {frames[order[0]].name} to "
                        f"{frames[order[-1]].name}; unpack it again, or correct the row")
    return order.index(onset), order.index(offset)


def coded_once(row: Row, id: str, emotion: str, known: tuple[str, ...], seen: dict[str, int]) -> None:
    """Note a clip's row in `seen`. Raises DataError for an emotion that is none of the known, and for a clip that stands twice."""
    if emotion not in known:
        raise DataError(f"{row}: {id} is coded {emotion!r}; expected one of {', '.join(known)}; correct the row")
    if id in seen:
        raise DataError(f"{row}: {id} stands twice, also in row {seen[id]}; remove one")
    seen[id] = row.number


def coded_clip(row: Row, folder: Path, columns: tuple[str, str, str], fps: float, scene: bool, root: Path,
               landmarks: str) -> tuple[MicroClip, str]:
    """A row's clip, cut from onset to offset; and why it has no apex, or "".

    columns     those of the onset, the apex and the offset
    landmarks   what --landmarks says, a folder, or ""
    """
    if not folder.is_dir():
        raise DataError(f"{row}: no folder {folder}; expected the frames of this clip; unpack them, or remove the row")
    frames = numbered(folder)
    first, last = expression(row, folder, frames, columns[::2])
    onset, offset, apex = list(frames)[first], list(frames)[last], row.frame(columns[1])
    why = ""
    if apex is None:
        why = f"row {row.number}: {row.cells[same(columns[1])] or 'blank'}"
    elif not onset <= apex <= offset:
        why = f"row {row.number}: {apex} is outside {onset} to {offset}"
    source = filmed(folder, list(frames.values()), first, last, root, landmarks)
    return MicroClip(source, fps, None if why else apex - onset, scene), why


def one_clip_each(samples: list[Sample]) -> list[Sample]:
    """The samples, once no file of landmarks serves two folders: a clip's name may be another subject's clip's, too."""
    owners: dict[Path, Path] = {}
    for path, folder in ((s.clip.source.landmarks[0], s.clip.source.frames[0].parent) for s in samples):
        if owners.setdefault(path, folder) != folder:
            raise DataError(f"{path}: landmarks of two clips, {owners[path]} and {folder}; expected a file each; put them in "
                            f"{folder.parent.name}/{path.name} and {owners[path].parent.name}/{path.name} below --landmarks DIR")
    return samples
