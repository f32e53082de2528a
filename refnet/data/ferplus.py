"""FERPlus: the pictures of FER2013, 48 × 48 and grey, with the votes of ten people each; eight expressions.

    fer2013new.csv     Usage,Image name,neutral,...,contempt,unknown,NF     Training,fer0000000.png,4,0,0,1,3,2,0,0,0,0
    fer2013.csv        emotion,pixels,Usage                                 0,70 80 82 ...,Training

Row i of one is row i of the other; Training, PublicTest and PrivateTest are train, select and report. Or, as pictures:

    FER2013Train/label.csv                 fer0000000.png,"(0, 0, 48, 48)",4,0,0,1,3,2,0,0,0,0
    FER2013Train/fer0000000.png            FER2013Valid and FER2013Test likewise

There are no headers there, and the box is always the whole picture. NF is "not a face".
"""
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor

from refnet.data.au_frames import Still, lines, stretch, whole
from refnet.data.folder import code_order, listing, opened, part_lines, tally
from refnet.data.samples import Collection, DataError, Sample
from refnet.data.sheets import place
from refnet.pictures import fit

NAMES = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
COLUMNS = (*NAMES, "unknown", "NF")
SIDE = 48
PARTS = {"Training": "train", "PublicTest": "select", "PrivateTest": "report",
         "FER2013Train": "train", "FER2013Valid": "select", "FER2013Test": "report"}
TABLES, FOLDERS = tuple(PARTS)[:3], tuple(PARTS)[3:]
EXPECTED = {"train": 28709, "select": 3589, "report": 3589}          # rows, those without a face among them
FACELESS = 177
PROTOCOLS = {"argmax": "the most votes among the eight emotions, ties to the first column",
             "unique": "the most votes of all ten columns, where no other has as many and it is an emotion",
             "majority": "single votes dropped; then more than half of all ten columns, where that is an emotion"}
LAYOUT = ("expected fer2013new.csv and fer2013.csv side by side, or FER2013Train, FER2013Valid and FER2013Test, each with "
          "label.csv and pictures such as fer0000000.png")

Row = tuple[str, str, tuple[int, ...], "Pixels | Still"]            # split, name ("" without a face), ten votes, clip


class Pixels(NamedTuple):
    """A row of fer2013.csv as a clip of one frame; its 2,304 numbers are read when it is looked at."""
    path: str
    offset: int                    # where the numbers begin, in bytes
    length: int
    line: int                      # counted from 1, for messages

    def __len__(self) -> int:
        return 1

    def raw(self) -> bytes:
        """The numbers as they stand in the file."""
        return stretch(self.path, self.offset, self.length)

    def read(self, indices: Iterable[int], size: int | None = None) -> Tensor:
        """→   (n, 3, size, size)   uint8; 48 × 48 without size

        Raises DataError for other than 2,304 whole numbers from 0 to 255, and for a frame other than 0.
        """
        indices = list(indices)
        if not indices or any(indices):
            raise DataError(f"{self.path}: line {self.line}: frames {indices} asked for; a row is one picture, frame 0")
        cells = self.raw().strip(b' "').split()
        numbers = list(map(int, cells)) if b"".join(cells).isdigit() else []
        if len(numbers) != SIDE * SIDE or max(numbers) > 255:
            what = f"{len(cells)} pixels" if len(cells) != SIDE * SIDE else "a pixel that is no number from 0 to 255"
            raise DataError(f"{self.path}: line {self.line}: {what}; expected {SIDE} × {SIDE} = {SIDE * SIDE} numbers from "
                            f"0 to 255; copy the file again")
        grey = torch.tensor(numbers, dtype=torch.uint8).unflatten(0, (SIDE, SIDE))             # (48, 48)
        picture = grey.expand(3, -1, -1)                                                       # (3, 48, 48)
        if size is not None:
            picture = fit(picture, size)                                                       # (3, size, size)
        return picture.repeat(len(indices), 1, 1, 1)                                           # (n, 3, size, size)


def winner(votes: tuple[int, ...], protocol: str) -> int | None:
    """Which emotion the votes stand for, 0 to 7; None where the protocol gives no answer.

    votes      10   eight emotions, unknown, NF
    protocol        argmax, unique or majority
    """
    if protocol == "argmax":
        votes = votes[:len(NAMES)]
        return votes.index(max(votes)) if any(votes) else None
    if protocol == "majority":
        votes = tuple(0 if v == 1 else v for v in votes)
        clear = 2 * max(votes) > sum(votes)
    else:
        clear = votes.count(max(votes)) == 1
    k = votes.index(max(votes))
    return k if clear and k < len(NAMES) else None


def read(root: Path, cfg: Any) -> Collection:
    """Label each picture by its votes; cfg.votes is the protocol, cfg.classes the order of the codes.

    The target keeps the votes of the eight emotions, too, in the order of cfg.classes. Left out and counted: rows without
    a face, and rows for which the protocol has no answer. Raises DataError for another protocol or other classes, a
    missing file, column, picture or part, a row of another length, a vote that is no number, files that do not agree, and
    a name twice.
    """
    root = opened(root, LAYOUT)
    classes = code_order(cfg, NAMES, "FERPlus")
    if cfg.votes not in PROTOCOLS:
        raise DataError(f"FERPlus: votes {cfg.votes!r}; expected {', '.join(PROTOCOLS)}; correct --votes")
    tables = place(root, lambda p: (p / "fer2013new.csv").is_file() and (p / "fer2013.csv").is_file())
    folders = place(root, lambda p: any((p / split).is_dir() for split in FOLDERS))
    if tables is None and folders is None:
        alone = place(root, lambda p: (p / "fer2013new.csv").is_file())
        what = "fer2013new.csv without fer2013.csv, which has the pixels" if alone else "neither tables nor folders"
        raise DataError(f"{root}: {what}; found {', '.join(p.name for p in listing(root)[:5])}; {LAYOUT}; check --data")
    order = [NAMES.index(name) for name in classes]
    samples, seen, targets = [], set(), {}
    rows, left = Counter(), {"without a face": 0, "without an answer": 0}
    for split, name, votes, clip in _tables(tables) if tables else _folders(folders):
        part, id = PARTS[split], f"{split}/{name}"
        rows[part] += 1
        if not name:
            left["without a face"] += 1
            continue
        if name in seen:                                           # in one part, or in two: what is tested must not train
            raise DataError(f"{tables or folders}: {id} stands twice; expected each picture once; remove one row")
        seen.add(name)
        if votes not in targets:
            targets[votes] = _target(votes, order, cfg.votes)
        if targets[votes] is None:
            left["without an answer"] += 1
            continue
        samples.append(Sample(id, clip, targets[votes], part=part))
    present = {s.part for s in samples}
    for part in EXPECTED:
        if part not in present:
            raise DataError(f"{tables or folders}: {rows[part]} rows and no labelled picture in {part}; {LAYOUT}; copy the "
                            f"files again")
    if tables:
        many = {"rows in " + part: rows[part] for part in EXPECTED} | {"without a face": left["without a face"]}
        counted = tally(many, {"rows in " + part: n for part, n in EXPECTED.items()} | {"without a face": FACELESS})
        counted = f"fer2013new.csv: {counted}" + (f"; {', '.join(FOLDERS)} are not used" if folders else "")
    else:
        counted = f"{sum(rows.values())} rows in label.csv of {sum(EXPECTED.values()) - FACELESS} expected"
    return Collection(samples, classes, [
        *part_lines("FERPlus", samples, classes, unit="pictures"), f"FERPlus: {counted}",
        f"FERPlus: labels by {cfg.votes}: {PROTOCOLS[cfg.votes]}; {left['without an answer']} rows have no such answer and "
        f"are left out"])


def _target(votes: tuple[int, ...], order: list[int], protocol: str) -> dict[str, Any] | None:
    """The label, and the votes of the eight emotions in the order of the codes."""
    k = winner(votes, protocol)
    return None if k is None else {"expression": order.index(k), "votes": tuple(votes[j] for j in order)}


def _votes(cells: list[str], where: str) -> tuple[int, ...]:
    votes = tuple(map(whole, cells))
    for name, cell, n in zip(COLUMNS, cells, votes, strict=True):
        if n is None:
            raise DataError(f"{where}: {name} is {cell[:20]!r}; expected a number of votes; correct it")
    return votes


# Two tables

def _tables(folder: Path) -> Iterator[Row]:
    """The rows of fer2013new.csv, each beside its row of fer2013.csv."""
    file, other = folder / "fer2013new.csv", folder / "fer2013.csv"
    head, *rows = lines(file)
    names = [cell.strip() for cell in head.split(",")]
    for name in ("Usage", "Image name", *COLUMNS):
        _once(file, names, name, ",".join(("Usage", "Image name", *COLUMNS)))
    usage, called, columns = names.index("Usage"), names.index("Image name"), [names.index(name) for name in COLUMNS]
    pixels = _pixel_rows(other)
    for n, row in enumerate(rows, start=2):
        cells = row.split(",")
        if len(cells) != len(names):
            raise DataError(f"{file}: line {n} has {len(cells)} columns; expected {len(names)} as in the header; copy the "
                            f"file again")
        split = cells[usage].strip()
        if split not in TABLES:
            raise DataError(f"{file}: line {n}: Usage is {split[:20]!r}; expected {', '.join(TABLES)}; correct it")
        there, clip = next(pixels, (None, None))
        if clip is None:
            raise DataError(f"{other}: {n - 2} rows, but {file.name} has {len(rows)}; row i of one must be row i of the "
                            f"other; copy both again")
        if there != split:
            raise DataError(f"{file}: line {n}: Usage is {split}, but {there[:20]!r} in line {clip.line} of {other.name}; "
                            f"row i of one must be row i of the other; copy both again")
        yield split, cells[called].strip(), _votes([cells[k] for k in columns], f"{file}: line {n}"), clip
    if extra := sum(1 for _ in pixels):
        raise DataError(f"{other}: {len(rows) + extra} rows, but {file.name} has {len(rows)}; row i of one must be row i of "
                        f"the other; copy both again")


def _pixel_rows(file: Path) -> Iterator[tuple[str, Pixels]]:
    """Each row's Usage, and where its pixels stand; they are counted, not read."""
    path = str(file)
    with file.open("rb") as text:
        first = text.readline()
        names = [cell.strip() for cell in first.decode("utf-8-sig", errors="replace").split(",")]
        for name in ("pixels", "Usage"):
            _once(file, names, name, "emotion,pixels,Usage")
        pixels, usage, start = names.index("pixels"), names.index("Usage"), len(first)
        for n, line in enumerate(text, start=2):
            cells = line.split(b",")
            if len(cells) != len(names) and line.strip():
                raise DataError(f"{file}: line {n} has {len(cells)} columns; expected {len(names)} as in the header; copy "
                                f"the file again")
            if line.strip():
                if (many := cells[pixels].strip(b' "').count(b" ") + 1) != SIDE * SIDE:
                    raise DataError(f"{file}: line {n} has {many} pixels; expected {SIDE} × {SIDE} = {SIDE * SIDE} with a "
                                    f"blank between two; copy the file again")
                at = start + sum(len(cell) + 1 for cell in cells[:pixels])
                yield cells[usage].strip().decode(errors="replace"), Pixels(path, at, len(cells[pixels]), n)
            start += len(line)


def _once(file: Path, names: list[str], name: str, expected: str) -> None:
    if names.count(name) != 1:
        raise DataError(f"{file}: line 1, the header, has {names.count(name)} columns {name!r}; found "
                        f"{','.join(names)[:80]!r}; expected {expected}; correct it")


# Three folders

def _folders(top: Path) -> Iterator[Row]:
    """The rows of the three files label.csv."""
    for split in FOLDERS:
        folder, file = top / split, top / split / "label.csv"
        if not file.is_file():
            raise DataError(f"{file}: no such file; {LAYOUT}; check --data")
        before, there, missing = f"{folder}{os.sep}", set(os.listdir(folder)), []
        for n, line in enumerate(lines(file), start=1):
            found = re.fullmatch(r'([^,]*),"?\([^()]*\)"?,([^"]*)', line.strip())
            if found is None or (many := found[2].count(",") + 1) != len(COLUMNS):
                what = f"is {line.strip()[:60]!r}" if found is None else f"has {many} columns of votes"
                raise DataError(f'{file}: line {n} {what}; expected a name, a box and {len(COLUMNS)} columns of votes, such as '
                                f'fer0000000.png,"(0, 0, 48, 48)",4,0,0,1,3,2,0,0,0,0; copy the file again')
            name = found[1].strip()
            votes = _votes(found[2].split(","), f"{file}: line {n}")
            if name and name not in there:
                missing.append((n, name))
            yield split, name, votes, Still(before + name)
        if missing:
            n, name = missing[0]
            raise DataError(f"{file}: line {n}: there is no picture {name!r} in {folder}, and {len(missing) - 1} more are "
                            f"missing; expected a file for each row; copy them there, or put fer2013.csv beside "
                            f"fer2013new.csv")
