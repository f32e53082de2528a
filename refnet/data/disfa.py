"""DISFA: 27 people, one video each; every frame has an intensity from 0 to 5 for each of 12 units; the paper takes 8.

    ActionUnit_Labels/SN001/SN001_au1.txt      lines frame,intensity; frames counted from 1
    SN001/0.png                                the pictures, counted from 0, below the root, its img or one other folder:
                                               frame t is picture t − 1

Without ActionUnit_Labels, the authors' lists are read (au_lists.py).
"""
from itertools import zip_longest
from pathlib import Path
from typing import Any

from refnet.data.au_frames import AUSet, Session, collect, fold_of, lines, units, whole
from refnet.data.au_lists import find, read_lists
from refnet.data.folder import listing, opened
from refnet.data.samples import Collection, DataError
from refnet.data.sheets import place

DISFA = AUSet(
    name="DISFA", picture="SN001/0.png", aus=(1, 2, 4, 6, 9, 12, 25, 26),
    parts=("SN002 SN010 SN001 SN026 SN027 SN032 SN030 SN009 SN016",
           "SN013 SN018 SN011 SN028 SN012 SN006 SN031 SN021 SN024",
           "SN003 SN029 SN023 SN025 SN008 SN005 SN007 SN017 SN004"),
    expected={"1": 43605, "2": 43605, "3": 43604},
    weights=(1.422, 2.348, 0.400, 0.795, 1.878, 0.440, 0.196, 0.521), first=0)
CODED = "1 2 4 5 6 9 12 15 17 20 25 26"
LEVELS = {str(k): k for k in range(6)}
LAYOUT = ("expected ActionUnit_Labels/SN001/SN001_au1.txt and pictures SN001/0.png, perhaps in img; or the authors' "
          "list/DISFA_test_img_path_fold1.txt, list/DISFA_test_label_fold1.txt and so on with pictures in img")


def read(root: Path, cfg: Any) -> Collection:
    """Join the intensities of each video with its pictures; cfg.aus are the units, in the order of the target.

    cfg.threshold   an intensity of at least so much counts as present; the authors' lists hold no intensities

    Left out and counted: coded frames without a picture, pictures without a code. Raises DataError for a unit that DISFA
    does not code, a line that is no frame and intensity, files of a subject that do not go together, a subject that is in
    no part, and a video without pictures.
    """
    root, aus = opened(root, LAYOUT), units(cfg.aus)
    here, listed = place(root, lambda p: (p / "ActionUnit_Labels").is_dir()), find(root, DISFA.name)
    if here is None and listed is None:
        raise DataError(f"{root}: neither ActionUnit_Labels nor lists; found {', '.join(p.name for p in listing(root)[:5])}; "
                        f"{LAYOUT}; check --data")
    if here is None:
        got = read_lists(listed, DISFA, aus)
        return got._replace(found=[*got.found, f"DISFA: lists hold no intensities; the threshold of {cfg.threshold} is not used"])
    if cfg.threshold not in range(1, 6):
        raise DataError(f"DISFA: threshold {cfg.threshold}; intensities go from 0 to 5; expected a whole number from 1 to 5")
    where = here / "ActionUnit_Labels"
    people = [p for p in listing(where) if p.is_dir()]
    if not people:
        raise DataError(f"{where}: no subject in it; {LAYOUT}; check --data")
    sessions, targets = {}, {}
    for folder in people:
        part = fold_of(DISFA, folder.name, folder)
        levels = _together([folder / f"{folder.name}_au{au}.txt" for au in aus])
        coded = {}
        for t, *each in zip(levels[0], *(column.values() for column in levels), strict=True):
            present = tuple([int(level >= cfg.threshold) for level in each])
            coded[t - 1] = targets.setdefault(present, {"au": present})                  # frame t is picture t − 1
        sessions[folder.name] = Session(folder, part, coded)
    notes = [f"DISFA: an intensity of {cfg.threshold} or more counts as present"]
    if listed:
        notes.append(f"DISFA: read from ActionUnit_Labels; the lists in {listed / 'list'} are not used")
    return collect(DISFA, aus, sessions, (here, root), notes)


def _together(files: list[Path]) -> list[dict[int, int]]:
    """The intensities of a subject's units, a dict a file, all for the same frames in the same order."""
    found = [_levels(file) for file in files]
    for file, column in zip(files, found, strict=True):
        if list(column) != list(found[0]):
            pairs = zip_longest(found[0], column)
            n, (a, b) = next((n, pair) for n, pair in enumerate(pairs, start=1) if pair[0] != pair[1])
            here, there = (f"frame {t}" if t else "missing" for t in (b, a))
            raise DataError(f"{file}: {len(column)} lines, {files[0]}: {len(found[0])} lines; line {n} is {here} in the one and "
                            f"{there} in the other; expected the same frames in both; copy them again")
    return found


def _levels(file: Path) -> dict[int, int]:
    """The intensity of each frame."""
    if not file.is_file():
        raise DataError(f"{file}: no such file; DISFA codes the units {CODED}; copy it again, or correct --aus")
    found: dict[int, int] = {}
    for n, row in enumerate(lines(file), start=1):
        frame, _, level = row.partition(",")
        number, value = whole(frame), LEVELS.get(level.strip())
        if not number or value is None:
            raise DataError(f"{file}: line {n} is {row[:40]!r}; expected frame,intensity with frames counted from 1 and an "
                            f"intensity from 0 to 5; correct it")
        if number in found:
            raise DataError(f"{file}: line {n}: frame {number} stands twice; expected each once; remove one line")
        found[number] = value
    return found
