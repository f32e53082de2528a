"""RAF-DB, its single-label subset: seven expressions, faces aligned and 100 × 100 as published.

    basic/EmoLabel/list_patition_label.txt       train_00001.jpg 5       (spelled so; list_partition_label.txt also does)
    basic/Image/aligned/train_00001_aligned.jpg

Or one folder a class, without a list, right in the root or in DATASET:

    DATASET/train/1/train_00021_aligned.jpg, DATASET/test/1/test_0002_aligned.jpg

train_ is train, test_ is report. The codes 1 to 7 are surprise, fear, disgust, happiness, sadness, anger, neutral.
"""
import os
import re
from pathlib import Path
from typing import Any

from refnet.data.au_frames import SUFFIXES, Still, lines
from refnet.data.folder import code_order, listing, opened, part_lines
from refnet.data.samples import Collection, DataError, Sample
from refnet.data.sheets import place

NAMES = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")            # codes 1 to 7
CODES = {str(code): name for code, name in enumerate(NAMES, start=1)}
PARTS = {"train": "train", "test": "report"}
EXPECTED = {"train": {"all": 12271, "surprise": 1290, "fear": 281, "disgust": 717, "happiness": 4772, "sadness": 1982,
                      "anger": 705, "neutral": 2524},
            "report": {"all": 3068, "surprise": 329, "fear": 74, "disgust": 160, "happiness": 1185, "sadness": 478,
                       "anger": 162, "neutral": 680}}
LISTS = ("list_patition_label.txt", "list_partition_label.txt")
LAYOUT = ("expected EmoLabel/list_patition_label.txt and Image/aligned/train_00001_aligned.jpg, perhaps in basic; or "
          "train/1/train_00021_aligned.jpg and test/1/..., perhaps in DATASET")

Row = tuple[str, str, str]                                         # train_00001, its code, its picture


def read(root: Path, cfg: Any) -> Collection:
    """Take the labels from the list, or from the folders where there is no list; cfg.classes is the order of the codes.

    Raises DataError for other classes, a code out of range, a line of another form, a picture that is missing or stands
    twice, and an empty part.
    """
    root = opened(root, LAYOUT)
    classes = code_order(cfg, NAMES, "RAF-DB")
    listed = place(root, lambda p: any((p / "EmoLabel" / name).is_file() for name in LISTS))
    sorted_out = place(root, lambda p: any((p / "train" / code).is_dir() for code in CODES))
    if listed is None and sorted_out is None:
        raise DataError(f"{root}: neither a list nor folders of classes; found "
                        f"{', '.join(p.name for p in listing(root)[:5])}; {LAYOUT}; check --data")
    rows, note = _list(listed) if listed else _folders(sorted_out)
    targets = {code: {"expression": classes.index(name)} for code, name in CODES.items()}
    samples = [Sample(id, Still(path), targets[code], part=PARTS[id.split("_")[0]]) for id, code, path in rows]
    present = {s.part for s in samples}
    for split, part in PARTS.items():
        if part not in present:
            raise DataError(f"{listed or sorted_out}: no picture {split}_ in it; {LAYOUT}; copy the data set again")
    if listed and sorted_out:
        note += f"; the folders in {sorted_out} are not used"
    counted = part_lines("RAF-DB", samples, classes, EXPECTED, unit="pictures")
    return Collection(samples, classes, [*counted, f"RAF-DB: {note}"])


def _list(top: Path) -> tuple[list[Row], str]:
    """The rows of the list, in its order."""
    file = next(top / "EmoLabel" / name for name in LISTS if (top / "EmoLabel" / name).is_file())
    folder = top / "Image" / "aligned"
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected the aligned pictures, such as train_00001_aligned.jpg; unpack "
                        f"them there")
    there, strange = _pictures(folder)
    rows, seen, missing = [], set(), []
    for n, line in enumerate(lines(file), start=1):
        cells = line.split()
        named = re.fullmatch(r"((?:train|test)_[0-9]+)\.jpe?g", cells[0]) if len(cells) == 2 else None
        if named is None:
            raise DataError(f"{file}: line {n} is {line.strip()[:40]!r}; expected a picture and its code, such as "
                            f"train_00001.jpg 5; copy the file again")
        id, code = named[1], cells[1]
        if code not in CODES:
            raise DataError(f"{file}: line {n}: the code is {code[:20]!r}; expected 1 to 7, {', '.join(NAMES)}; correct it")
        if id in seen:
            raise DataError(f"{file}: line {n}: {id} stands twice; expected each picture once; remove one line")
        seen.add(id)
        if id not in there:
            missing.append((n, id))
        else:
            rows.append((id, code, there[id]))
    if missing:
        n, id = missing[0]
        raise DataError(f"{file}: line {n}: there is no picture {id}_aligned.jpg in {folder}, and {len(missing) - 1} more "
                        f"are missing; expected a file for each line; unpack them there")
    return rows, f"labels from {file.name}; {len(there.keys() - seen) + strange} other files in Image/aligned left out"


def _folders(top: Path) -> tuple[list[Row], str]:
    """A row for each picture in a folder of a class: train before test, by number."""
    found, strange = {}, 0
    for split in PARTS:
        if not (top / split).is_dir():
            raise DataError(f"{top / split}: no such folder; {LAYOUT}; check --data")
        for folder in listing(top / split):
            if not folder.is_dir():
                strange += 1
                continue
            if folder.name not in CODES:
                raise DataError(f"{folder}: no class of RAF-DB; expected folders 1 to 7, {', '.join(NAMES)}; rename or remove "
                                f"it")
            there, others = _pictures(folder)
            strange += others
            for id, path in there.items():
                if not id.startswith(f"{split}_"):
                    raise DataError(f"{path}: a picture of another part in {split}; expected names such as "
                                    f"{split}_00021_aligned.jpg; move it")
                if id in found:
                    raise DataError(f"{path}: {id} stands twice, also as {found[id][2]}; keep the right one")
                found[id] = id, folder.name, path
    rows = sorted(found.values(), key=lambda row: (row[0].startswith("test"), int(row[0].split("_")[1])))
    return rows, f"labels from the folders of the classes; {strange} other files left out"


def _pictures(folder: Path) -> tuple[dict[str, str], int]:
    """The aligned pictures of a folder, {"train_00001": its path}, from one look; and how many other files there are.

    Raises DataError for a picture that stands twice, as .jpg and .png.
    """
    found, strange, before = {}, 0, f"{folder}{os.sep}"
    for name in os.listdir(folder):
        named = re.fullmatch(rf"((?:train|test)_[0-9]+)_aligned\.({'|'.join(SUFFIXES)})", name, re.IGNORECASE)
        if named is None:
            strange += not name.startswith(".")
        elif named[1] in found:
            raise DataError(f"{before}{name}: {named[1]} stands twice, also as {found[named[1]]}; keep the right one")
        else:
            found[named[1]] = before + name
    return found, strange
