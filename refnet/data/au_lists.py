"""BP4D and DISFA as the authors of ME-GraphAU list them; for DISFA write DISFA and SN001/0.png.

    list/BP4D_{train,test}_img_path_fold{1,2,3}.txt     a picture a line: F001/T1/2440.jpg, below img or the root
    list/BP4D_{train,test}_label_fold{1,2,3}.txt        its labels, N numbers with spaces between: 0, 1, or −1 for unknown
    list/BP4D_weight_fold{1,2,3}.txt                    N class weights; or BP4D_train_weight_fold1.txt; may be missing

The test lists are the data set. The training lists say nothing new, and must say the same.
"""
import math
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import torch

from refnet.data.au_frames import FOLDS, AUSet, Session, collect, difference, fold_of, fold_weights, labels, lines, whole
from refnet.data.samples import Collection, DataError
from refnet.data.sheets import place

CODES = {"0": 0, "1": 1, "-1": -1, "9": -1}                  # 9 is BP4D's own unknown, which the authors' tool leaves as it is
STUBS = ("the label files in the authors' repository are stubs of four or five lines: make the full ones with their tools "
         "from the data set's own coding, or give that coding instead of the lists")

Frame = tuple[str, int]            # its session and the number of its picture: ("F001/T1", 2440)


class Tested(NamedTuple):
    """A frame of a test list."""
    fold: str
    line: int
    codes: tuple[int, ...]         # (N,)   in the lists' order


def find(root: Path, name: str) -> Path | None:
    """The folder that holds the lists of a data set in its folder list: the root, or one right below it; else None."""
    return place(root, lambda p: any((p / "list").glob(f"{name}_*fold*.txt")))


def read_lists(root: Path, known: AUSet, aus: tuple[int, ...]) -> Collection:
    """Take frames, labels and folds from the test lists, and hold the training lists and class weights against them.

    root    the folder that holds list/
    known   BP4D or DISFA
    aus     the units, in the order of the target

    Raises DataError for a missing or short list, a line that cannot be read, a frame twice, a subject in two folds or in no
    part, and a training list that is not the two other folds with the same labels.
    """
    if strange := [au for au in aus if au not in known.aus]:
        raise DataError(f"{root / 'list'}: unit {strange[0]} asked for; the lists of {known.name} have "
                        f"{' '.join(map(str, known.aus))}; correct --aus")
    read: dict[str, tuple[int, ...]] = {}                            # lines of labels met so far
    tested, fold = _tested(root, known, read)
    for k in FOLDS:
        _same(root, known, k, tested, read)
    columns = [known.aus.index(au) for au in aus]
    targets = {codes: {"au": tuple(codes[c] for c in columns)} for codes in set(read.values())}
    sessions: dict[str, Session] = {}
    for (name, number), frame in tested.items():
        if name not in sessions:
            sessions[name] = Session(_file(root, known, "test_img_path", frame.fold), frame.fold, {})
        sessions[name].targets[number] = targets[frame.codes]
    notes = [f"{known.name}: read from the lists in {root / 'list'}"]
    usual = {subject: fold_of(known, subject, root) for subject in fold}
    if moved := [subject for subject in fold if fold[subject] != usual[subject]]:
        notes.append(f"{known.name}: the lists test {_some(fold, moved)}, not as published: {_some(usual, moved)}")
    return collect(known, aus, sessions, (root,), notes + _weights(root, known, list(tested.values())))


def _file(root: Path, known: AUSet, kind: str, k: str) -> Path:
    return root / "list" / f"{known.name}_{kind}_fold{k}.txt"


def _frames(root: Path, known: AUSet, part: str, k: str, read: dict) -> Iterator[tuple[int, Frame, tuple[int, ...]]]:
    """Line by line: its number, the frame, and its codes."""
    files = [_file(root, known, f"{part}_{kind}", k) for kind in ("img_path", "label")]
    for file in files:
        if not file.is_file():
            raise DataError(f"{file}: no such file; expected the authors' lists "
                            f"{known.name}_{{train,test}}_{{img_path,label}}_fold{{1,2,3}}.txt; make it with their tools")
    paths, rows = map(lines, files)
    if len(paths) != len(rows):
        n, short = min((len(rows), files[1]), (len(paths), files[0]))
        raise DataError(f"{files[0]}: {len(paths)} lines, {files[1]}: {len(rows)} lines; line {n + 1} is missing in "
                        f"{short.name}; {STUBS}")
    depth, N = known.picture.count("/"), len(known.aus)
    for n, (path, row) in enumerate(zip(paths, rows, strict=True), start=1):
        session, _, name = path.strip().replace("\\", "/").rpartition("/")
        number = whole(name.rpartition(".")[0])
        if session.count("/") != depth - 1 or number is None:
            raise DataError(f"{files[0]}: line {n} is {path[:60]!r}; expected a picture such as {known.picture}; correct it")
        if row not in read:
            cells = row.split()
            if len(cells) != N or not CODES.keys() >= set(cells):
                raise DataError(f"{files[1]}: line {n} is {row[:60]!r}; expected {N} numbers for the units "
                                f"{' '.join(map(str, known.aus))}: 0, 1, or -1 or 9 for unknown; correct it")
            read[row] = tuple(CODES[cell] for cell in cells)
        yield n, (session, number), read[row]


def _tested(root: Path, known: AUSet, read: dict) -> tuple[dict[Frame, Tested], dict[str, str]]:
    """The frames of the three test lists, and the fold of each subject."""
    tested: dict[Frame, Tested] = {}
    fold: dict[str, str] = {}
    for k in FOLDS:
        file = _file(root, known, "test_img_path", k)
        for n, frame, codes in _frames(root, known, "test", k, read):
            subject = frame[0].partition("/")[0]
            if subject not in fold:
                fold_of(known, subject, f"{file}: line {n}")
            if fold.setdefault(subject, k) != k:
                raise DataError(f"{file}: line {n}: {subject} is tested here and in fold {fold[subject]}; expected each "
                                f"subject in one fold; correct the lists")
            if frame in tested:
                raise DataError(f"{file}: line {n}: {_said(frame)} stands twice, first in line {tested[frame].line}; "
                                f"expected each frame once; correct the lists")
            tested[frame] = Tested(k, n, codes)
    return tested, fold


def _same(root: Path, known: AUSet, k: str, tested: dict[Frame, Tested], read: dict) -> None:
    """A fold's training list must be the two other folds, frame for frame and label for label."""
    file, label = (_file(root, known, f"train_{kind}", k) for kind in ("img_path", "label"))
    left = {frame for frame, there in tested.items() if there.fold != k}
    for n, frame, codes in _frames(root, known, "train", k, read):
        there = tested.get(frame)
        if frame not in left:
            why = "is in no test list" if there is None else "is tested in this very fold" if there.fold == k else "stands twice"
            raise DataError(f"{file}: line {n}: {_said(frame)} {why}; expected the frames of the two other folds, each "
                            f"once; correct the lists")
        if codes != there.codes:
            other = _file(root, known, "test_label", there.fold).name
            raise DataError(f"{label}: line {n}: {_said(frame)} is {_row(codes)} here and {_row(there.codes)} in line "
                            f"{there.line} of {other}; expected the same labels; correct one of them")
        left.remove(frame)
    if left:
        frame = min(left, key=lambda f: (tested[f].fold, tested[f].line))
        where = tested[frame]
        other = _file(root, known, "test_img_path", where.fold).name
        raise DataError(f"{file}: {len(left)} frames of the two other folds are missing, the first is {_said(frame)}, line "
                        f"{where.line} of {other}; expected all of them; correct the lists")


def _weights(root: Path, known: AUSet, tested: list[Tested]) -> list[str]:
    """Hold the class weights that stand beside the lists against those computed from the labels."""
    y, parts, said = labels([frame.codes for frame in tested]), [frame.fold for frame in tested], []     # y (n, N)
    for k in FOLDS:
        files = [_file(root, known, kind, k) for kind in ("weight", "train_weight")]
        file = next((f for f in files if f.is_file()), None)
        if file is None:
            said.append(f"{known.name}: no {files[0].name}: the class weights are computed")
            continue
        try:
            values = [float(cell) for cell in file.read_text(encoding="utf-8-sig", errors="replace").split()]
        except ValueError:
            values = []
        if len(values) != len(known.aus) or not all(map(math.isfinite, values)):
            raise DataError(f"{file}: line 1 is {lines(file)[0][:60]!r}; expected {len(known.aus)} class weights, for the units "
                            f"{' '.join(map(str, known.aus))}; correct the file, or remove it")
        w = fold_weights(y, parts, k)                                # (N,)
        against = (difference(w, torch.tensor(values), known.aus) if w.isfinite().all() else
                   "not compared, as the training list never shows one of the units")
        said.append(f"{known.name}: {file.name}: {against}")
    return said


def _said(frame: Frame) -> str:
    return f"{frame[0]}/{frame[1]}"


def _row(codes: tuple[int, ...]) -> str:
    return " ".join(map(str, codes))


def _some(fold: dict[str, str], subjects: list[str]) -> str:
    return ", ".join(f"{s} in {fold[s]}" for s in subjects[:5]) + (" ..." if len(subjects) > 5 else "")
