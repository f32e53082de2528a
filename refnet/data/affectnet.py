"""AffectNet: pictures from the web with an expression, valence and arousal; seven expressions, or eight with contempt.

    Manually_Annotated_file_lists/training.csv, validation.csv
        subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal
        689/abc.jpg,134,134,899,899,x0;y0;x1;y1;...;x67;y67,1,0.79,-0.06           the header may be missing
    Manually_Annotated_Images/689/abc.jpg                                          perhaps in Manually_Annotated

Or, as it is handed out now:

    train_set/images/0.jpg, train_set/annotations/0_exp.npy, 0_val.npy, 0_aro.npy, 0_lnd.npy; val_set likewise

Or a list of one's own, any one .csv in the root: img_path,phase,label with the phases train and val.

training is train, validation is report: the test part was never published. The codes 0 to 6, with contempt 0 to 7, stand
for the classes; pictures with another code are left out. Valence and arousal are −2 where they were not given, and stay so.
"""
import math
import os
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from refnet.data.au_frames import lines
from refnet.data.faces import Box, Face, Place, numbers
from refnet.data.folder import code_order, listing, opened, part_lines, tally
from refnet.data.samples import Collection, DataError, Sample
from refnet.data.sheets import place
from refnet.pictures import PICTURES

NAMES = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")            # codes 0 to 6
CODES = (*NAMES, "contempt", "none", "uncertain", "non-face")                                  # codes 0 to 10
COLUMNS = ("subDirectory_filePath", "face_x", "face_y", "face_width", "face_height", "facial_landmarks", "expression",
           "valence", "arousal")
NOT_GIVEN = (-2.0, -2.0)
CODED = {str(code): code for code in range(len(CODES))}
BLANK, BOM = (b"", b"NULL", b"null", b"nan"), b"\xef\xbb\xbf"
TRAIN = (74874, 134415, 25459, 14090, 6378, 3803, 24882)       # pictures of each of NAMES in the training part, as published
EACH = 500                     # pictures of every class in the validation part
CUTS = ("by landmarks", "by the face's box", "the picture's centre square")
LEVEL = "turned until the eyes are level, then"
UPRIGHT_CUTS = (f"{LEVEL} by the box", f"{LEVEL} around the landmarks", *CUTS[1:])
LAYOUT = ("expected Manually_Annotated_file_lists/training.csv and Manually_Annotated_Images/<n>/<name>.jpg; or "
          "train_set/images/0.jpg and train_set/annotations/0_exp.npy; or one .csv with columns img_path, phase, label")


class Row(NamedTuple):
    """One labelled picture."""
    id: str
    part: str
    code: int
    va: tuple[float, float]
    face: Face


def read(root: Path, cfg: Any) -> Collection:
    """Find each labelled picture and how its face is cut out; cfg.classes may have contempt among them or not.

    With cfg.align, where there is such a setting and it is on, faces are turned until their eyes are level and cut out by
    their box, as emotiongcn (§IV.B) does; else they are brought to fixed places by their landmarks.

    Raises DataError for other classes, a code or a value out of range, a missing column, a row of another length, landmarks
    that are not 136 numbers, a picture that is missing or stands twice, a damaged .npy, and an empty part.
    """
    root = opened(root, LAYOUT)
    kept = CODES[:8] if "contempt" in tuple(getattr(cfg, "classes", ()) or ()) else NAMES
    classes = code_order(cfg, kept, "AffectNet")
    rows, where = _layout(root, len(kept), left := Counter())
    samples, seen, given = [], set(), 0
    align = bool(getattr(cfg, "align", False))
    how = dict.fromkeys(UPRIGHT_CUTS if align else CUTS, 0)
    for row in rows:
        if (path := os.path.normpath(row.face.path)) in seen:      # in one part, or in two: what is tested must not train
            raise DataError(f"{where}: {row.id} stands twice; expected each picture once; remove one row")
        seen.add(path)
        face = Face(row.face.path, row.face.points, row.face.box, align)
        how[_cut(face)] += 1
        given += row.va != NOT_GIVEN
        target = {"expression": classes.index(CODES[row.code]), "va": row.va}
        samples.append(Sample(row.id, face, target, part=row.part))
    present = {s.part for s in samples}
    for part, name in (("train", "training"), ("report", "validation")):
        if part not in present:
            raise DataError(f"{where}: no picture for {name} with one of {', '.join(classes)}; {LAYOUT}; copy the data set "
                            f"again")
    expected = {"train": dict(zip(NAMES, TRAIN)) | ({"all": sum(TRAIN)} if kept == NAMES else {}),
                "report": {"all": EACH * len(classes)} | dict.fromkeys(classes, EACH)}
    others = {name: left[code] for code, name in enumerate(CODES) if code >= len(kept)}
    return Collection(samples, classes, [
        *part_lines("AffectNet", samples, classes, expected, unit="pictures"),
        f"AffectNet: read from {where}",
        f"AffectNet: faces cut out: {tally(how)}",
        f"AffectNet: valence and arousal given for {given} of {len(samples)}",
        f"AffectNet: left out by label: {tally(others)}"])


def _cut(face: Face) -> str:
    """How a face is cut out, in words."""
    if face.points and face.eyes:
        return UPRIGHT_CUTS[0 if face.box else 1]
    return CUTS[0 if face.points else 1 if face.box else 2]


def _layout(root: Path, kept: int, left: Counter[int]) -> tuple[Iterator[Row], Path]:
    """The rows of the first layout that is there, and where it was found."""
    name = "Manually_Annotated_file_lists"
    top = place(root, lambda p: (p / name).is_dir()) or root
    for lists in (root, top / name, root.parent / name):
        if (lists / "training.csv").is_file() or (lists / "validation.csv").is_file():
            return _file_lists(lists, _images(root, lists), kept, left), lists
    if top := place(root, lambda p: (p / "train_set" / "annotations").is_dir()):
        return _annotations(top, kept, left), top
    own = [p for p in listing(root) if p.suffix.lower() == ".csv" and {"img_path", "phase", "label"} <= set(_header(p))]
    if len(own) > 1:
        raise DataError(f"{root}: {len(own)} lists, {', '.join(p.name for p in own)}; expected one; move the others away")
    if own:
        return _own_list(own[0], kept, left), own[0]
    raise DataError(f"{root}: no list and no annotations; found {', '.join(p.name for p in listing(root)[:5])}; {LAYOUT}; "
                    f"check --data")


def _code(cell: str, where: str) -> int:
    if cell not in CODED:
        raise DataError(f"{where}: the expression is {cell[:20]!r}; expected 0 to {len(CODES) - 1}, {', '.join(CODES)}; "
                        f"correct it")
    return CODED[cell]


def _va(valence: bytes | float, arousal: bytes | float, where: str) -> tuple[float, float]:
    """Valence and arousal, both in [−1, 1], or both −2."""
    try:
        v, a = float(valence), float(arousal)
    except ValueError:
        v = a = math.nan
    if (v, a) == NOT_GIVEN:
        return NOT_GIVEN                                           # one for all that lack it
    if not (-1 <= v <= 1 and -1 <= a <= 1):
        said = [cell.decode(errors="replace") if isinstance(cell, bytes) else cell for cell in (valence, arousal)]
        raise DataError(f"{where}: valence and arousal are {said[0]} and {said[1]}; expected numbers from -1 to 1, or "
                        f"both -2 where they were not given; correct them")
    return v, a


def _missing(file: Path | str, missing: list[str]) -> None:
    """Refuse pictures that are not there: the first of them, and how many more."""
    if missing:
        raise DataError(f"{file}: there is no picture {missing[0]}, and {len(missing) - 1} more are missing; expected a "
                        f"file for each label; unpack them there, or check --data")


# The old layout

def _images(root: Path, lists: Path) -> Path:
    """The folder of pictures that goes with the lists."""
    name = "Manually_Annotated_Images"
    tops = [top for base in (root, lists.parent) for top in (base / name, base / "Manually_Annotated" / name)]
    for top in [root] * (root.name == name) + tops:
        if top.is_dir():
            return top
    raise DataError(f"{root / name}: no such folder; expected pictures such as {name}/689/abc.jpg, perhaps in "
                    f"Manually_Annotated; unpack them there")


def _file_lists(lists: Path, images: Path, kept: int, left: Counter[int]) -> Iterator[Row]:
    """The rows of training.csv, then of validation.csv."""
    before, folders = f"{images}{os.sep}", {}
    for stem, part in (("training", "train"), ("validation", "report")):
        file, missing = lists / f"{stem}.csv", []
        if not file.is_file():
            raise DataError(f"{file}: no such file; {LAYOUT}; check --data")
        for n, at, (name, *box, landmarks, expression, valence, arousal) in _cells(file):
            where = f"{file}: line {n}"
            if (code := _code(expression.decode(errors="replace"), where)) >= kept:
                left[code] += 1
                continue
            name = name.decode(errors="replace")
            folder, _, last = name.rpartition("/")
            if folder not in folders:
                folders[folder] = _names(before + folder)
            if last not in folders[folder]:
                missing.append(f"{before}{name} (line {n})")
            points = Place(str(file), n, *at) if _known(landmarks, where) else None
            face = Face(before + name, points, _box(box, where))
            yield Row(f"{stem}/{name.rpartition('.')[0]}", part, code, _va(valence, arousal, where), face)
        _missing(file, missing)


def _cells(file: Path) -> Iterator[tuple[int, tuple[int, int], list[bytes]]]:
    """Each line's number, where in the file its landmarks begin and how long they are, and its cells in the order of COLUMNS.

    By name where there is a header, else by place. The landmarks are not parsed: that takes longer than all the rest.
    """
    with file.open("rb") as text:
        start = 3 if text.read(3) == BOM else 0
        text.seek(start)
        for n, line in enumerate(text, start=1):
            cells = line.rstrip().replace(b'"', b" ").split(b",")              # a blank for a quote keeps the places
            if n == 1:
                first = [cell.decode(errors="replace").strip() for cell in cells]
                names, order, marks = _columns(file, first)
            if n > 1 or names is not first:
                if len(cells) == len(names):
                    at = start + sum(map(len, cells[:marks])) + marks
                    yield n, (at, len(cells[marks])), [cells[k].strip() for k in order]
                elif line.strip():
                    raise DataError(f"{file}: line {n} has {len(cells)} columns; expected {len(names)}, "
                                    f"{'as in the header' if names is first else ','.join(COLUMNS)}; copy the file again")
            start += len(line)


def _columns(file: Path, first: list[str]) -> tuple[list[str], list[int], int]:
    """The names of the columns, where those of COLUMNS stand, and where the landmarks stand."""
    names = first if COLUMNS[0] in first else list(COLUMNS)
    for name in COLUMNS:
        if names.count(name) != 1:
            raise DataError(f"{file}: line 1, the header, has {names.count(name)} columns {name!r}; found "
                            f"{','.join(first)[:80]!r}; expected {','.join(COLUMNS)}; correct it")
    return names, [names.index(name) for name in COLUMNS], names.index("facial_landmarks")


def _known(cell: bytes, where: str) -> bool:
    """Whether a cell has landmarks: not where it is blank, nor where all of them are zero."""
    if cell in BLANK:
        return False
    if (many := cell.count(b";") + 1) != 136 or cell.translate(None, b"0123456789.;+-eE "):
        raise DataError(f"{where}: the landmarks are {many} values, {cell[:20].decode(errors='replace')!r}...; expected 136 "
                        f"numbers, x0;y0;...;x67;y67; correct them")
    return cell.strip(b"0.;") != b""


def _box(cells: list[bytes], where: str) -> Box | None:
    """left, top, width, height; None where they are blank or the box is empty."""
    if all(cell in BLANK for cell in cells):
        return None
    try:
        x, y, width, height = (round(float(cell)) for cell in cells)
    except (ValueError, OverflowError) as e:
        said = b",".join(cells)[:60].decode(errors="replace")
        raise DataError(f"{where}: the face's box is {said!r}; expected four numbers, left, top, width, height; correct it") from e
    return (x, y, width, height) if width > 0 and height > 0 else None


# The new layout

def _annotations(top: Path, kept: int, left: Counter[int]) -> Iterator[Row]:
    """A row for each _exp.npy, by number."""
    heads: dict[bytes, tuple[np.dtype, int]] = {}
    for folder, part in (("train_set", "train"), ("val_set", "report")):
        before, missing = f"{top / folder / 'annotations'}{os.sep}", []
        there = _names(before)
        if not there:
            raise DataError(f"{before}: no annotations in it; {LAYOUT}; check --data")
        images = f"{top / folder / 'images'}{os.sep}"
        pictures: dict[str, str] = {}
        for name in _names(images):
            stem, suffix = os.path.splitext(name)
            if suffix.lower() in PICTURES and pictures.setdefault(stem, name) != name:
                raise DataError(f"{images}{name}: {stem} stands twice, also as {pictures[stem]}; keep the right one")
        ids = [name.removesuffix("_exp.npy") for name in there if name.endswith("_exp.npy")]
        for id in sorted(ids, key=lambda id: (len(id), id)):                             # 2 before 10
            file = f"{before}{id}_exp.npy"
            value = _number(file, heads)
            if (code := _code(str(int(value)) if value.is_integer() else str(value), file)) >= kept:
                left[code] += 1
                continue
            if id not in pictures:
                missing.append(f"{images}{id}.jpg")
                continue
            v, a = (_number(f"{before}{id}_{name}.npy", heads) for name in ("val", "aro"))
            va = _va(v, a, f"{before}{id}_val.npy and {id}_aro.npy")
            points = Place(f"{before}{id}_lnd.npy") if f"{id}_lnd.npy" in there else None
            yield Row(f"{folder}/{id}", part, code, va, Face(images + pictures[id], points))
        _missing(before, missing)


def _number(file: str, heads: dict[bytes, tuple[np.dtype, int]]) -> float:
    try:
        with open(file, "rb", buffering=0) as stored:
            data = stored.read(1 << 16)
    except OSError as e:
        raise DataError(f"{file}: cannot be read ({e.strerror or e}); expected it beside the picture's other annotations; "
                        f"copy it there") from e
    found = numbers(data, file, heads)
    if len(found) != 1:
        raise DataError(f"{file}: {len(found)} numbers; expected one; copy the file again")
    return found[0]


# A list of one's own

def _header(file: Path) -> list[str]:
    with file.open(encoding="utf-8-sig", errors="replace") as text:
        return [cell.strip() for cell in text.readline(10000).replace('"', "").split(",")]


def _own_list(file: Path, kept: int, left: Counter[int]) -> Iterator[Row]:
    """The rows of a list; its paths may begin with folders of another machine: what lies in the root is taken."""
    names, missing, folders = _header(file), [], {}
    path, phase, label = (names.index(name) for name in ("img_path", "phase", "label"))
    parts = {"train": "train", "val": "report"}
    for n, line in enumerate(lines(file)[1:], start=2):
        where, cells = f"{file}: line {n}", [cell.strip() for cell in line.replace('"', "").split(",")]
        if len(cells) != len(names):
            raise DataError(f"{where} has {len(cells)} columns; expected {len(names)} as in the header; copy the file again")
        if cells[phase] not in parts:
            raise DataError(f"{where}: the phase is {cells[phase][:20]!r}; expected train or val; correct it")
        if (code := _code(cells[label], where)) >= kept:
            left[code] += 1
            continue
        folder, _, name = cells[path].rpartition("/")
        if folder not in folders:
            steps = [step for step in folder.split("/") if step not in ("", ".", "..")]
            tails = ["/".join(steps[k:]) for k in range(len(steps) + 1)]                 # the last, "", is the root itself
            below = next(tail for tail in tails if (file.parent / tail).is_dir())
            folders[folder] = below, f"{file.parent / below}{os.sep}", _names(file.parent / below)
        below, before, there = folders[folder]
        if name not in there:
            missing.append(f"{cells[path]} (line {n})")
        id = f"{below}/{name}".lstrip("/").rpartition(".")[0]
        yield Row(id, parts[cells[phase]], code, NOT_GIVEN, Face(before + name))
    _missing(file, missing)


def _names(folder: Path | str) -> set[str]:
    """What stands in a folder; nothing where there is none of that name, or none can be."""
    try:
        return set(os.listdir(folder))
    except (OSError, ValueError):
        return set()
