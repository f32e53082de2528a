"""Frames coded for action units: what the readers of BP4D and DISFA share.

A sample is one picture. Its target says for each unit whether it is there: 1 or 0, −1 where the coder could not tell. Its
part is the fold that tests it; in that fold the two others train.
"""
import os
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from refnet.data.folder import listing, tally
from refnet.data.samples import Collection, DataError, Sample
from refnet.ops.losses import occurrence_rates, occurrence_weights
from refnet.pictures import Clip

FOLDS = ("1", "2", "3")
SUFFIXES = ("jpg", "jpeg", "png")


class AUSet(NamedTuple):
    """What is known of a data set before it is read."""
    name: str
    picture: str                   # one of its pictures, subject first; the rest of the folders is the session
    aus: tuple[int, ...]           # the paper's units, in the order of the authors' lists
    parts: tuple[str, str, str]    # the subjects of parts 1, 2 and 3; fold 1 tests part 3, fold 2 part 2, fold 3 part 1
    expected: dict[str, int]       # the frames that each fold tests
    weights: tuple[float, ...]     # published for fold 1, summing to N
    first: int | None = None       # the number of a session's first picture, where it is always the same


class Session(NamedTuple):
    """The coded frames of one video."""
    file: Path                                # where the coding stands, for messages
    part: str                                 # the fold that tests it
    targets: dict[int, dict[str, Any]]        # by the number of the picture; frames coded alike share theirs


class Still(NamedTuple):
    """One picture on disk: a clip of one frame. Hundreds of thousands of these fit in memory."""
    path: str

    def __len__(self) -> int:
        return 1

    def read(self, indices: Iterable[int], size: int | None = None) -> Tensor:
        """→   (n, 3, size, size)   uint8"""
        return Clip([self.path]).read(indices, size)

    def raw(self) -> bytes:
        """What it is decoded from: the file as it is."""
        return Path(self.path).read_bytes()


# Reading text

def lines(file: Path) -> list[str]:
    """The lines of a text file, without the empty ones at its end."""
    return file.read_text(encoding="utf-8-sig", errors="replace").rstrip().split("\n")


def stretch(file: Path | str, offset: int, length: int) -> bytes:
    """So many bytes of a file, from a place on; to its end where length is −1."""
    try:
        with open(file, "rb") as data:
            data.seek(offset)
            return data.read(length)
    except OSError as e:
        raise DataError(f"{file}: cannot be read ({e.strerror or e}); it was there before; copy it again") from e


def whole(text: str) -> int | None:
    """A number of up to nine digits and nothing else; else None."""
    text = text.strip()
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 10 else None


def units(aus: Iterable[int]) -> tuple[int, ...]:
    """The units asked for, each once."""
    aus = tuple(aus)
    if not aus or len(set(aus)) < len(aus):
        raise DataError(f"action units {' '.join(map(str, aus)) or 'none'}; expected one or more, each once; correct --aus")
    return aus


def fold_of(known: AUSet, subject: str, where: Path | str) -> str:
    """The fold that tests a subject."""
    for k, part in enumerate(known.parts):
        if subject in part.split():
            return str(3 - k)
    raise DataError(f"{where}: subject {subject!r} is in no part of {known.name}; expected one of {' '.join(known.parts)}; "
                    f"rename or remove it")


# Pictures

def pictures(folder: Path | str) -> dict[int, str]:
    """The pictures of a folder, {2440: "2440.jpg"}, from one look; what is not named by a number is none.

    Raises DataError for a number twice.
    """
    try:
        names = os.listdir(folder)
    except (FileNotFoundError, NotADirectoryError):
        return {}
    found: dict[int, str] = {}
    for name in names:
        stem, _, suffix = name.rpartition(".")
        if suffix.lower() in SUFFIXES and (number := whole(stem)) is not None:
            if number in found:
                raise DataError(f"{folder}: frame {number} stands twice, as {' and '.join(sorted((name, found[number])))}; "
                                f"remove one")
            found[number] = name
    return found


def _top(known: AUSet, tops: Iterable[Path], sessions: Iterable[str]) -> Path:
    """The folder above the subjects' pictures: a top itself, its img, or the one other folder in it that has some."""
    tops = list(dict.fromkeys(tops))
    for top in tops:
        others = [p for p in listing(top) if p.is_dir() and p.name != "img"]
        for places in ([top], [top / "img"], others):
            found = [p for p in places if any(pictures(p / session) for session in sessions)]
            if len(found) > 1:
                raise DataError(f"{top}: pictures of {known.name} in {len(found)} folders, {', '.join(p.name for p in found)}; "
                                f"expected them in one; name it img, or move the others away")
            if found:
                return found[0]
    raise DataError(f"{tops[-1]}: no picture of any coded session; expected pictures such as {known.picture} in it, in img "
                    f"or in one other folder; unpack them there")


def _not_one(known: AUSet, folder: Path, there: dict[int, str], session: Session) -> str:
    """Why no coded frame of a session has a picture."""
    coded = f"{len(session.targets)} frames, {min(session.targets)} to {max(session.targets)}, are coded in {session.file}"
    if there:
        return (f"{folder}: {len(there)} pictures, {there[min(there)]} to {there[max(there)]}, and none of them is coded; "
                f"{coded}; expected pictures named by their frame, such as {known.picture}; name them so")
    inside = ", ".join(p.name for p in listing(folder)[:3]) if folder.is_dir() else "no such folder"
    return (f"{folder}: no picture of this session; found {inside or 'nothing'}; {coded}; expected pictures such as "
            f"{known.picture}; unpack them, or remove the coding")


# Codes and pictures together

def collect(known: AUSet, aus: tuple[int, ...], sessions: dict[str, Session], tops: Iterable[Path],
            notes: Iterable[str] = ()) -> Collection:
    """Join the coded frames with their pictures: a sample a frame, sessions by name, frames by number.

    sessions   by their folder below the pictures' top, such as F001/T1
    tops       folders in which, or in whose img, or in one other folder of which, the pictures are

    Left out and counted: coded frames without a picture, and pictures without a code. Raises DataError where there are no
    pictures, where a whole session has none, and where they are counted from another number than the coding.
    """
    top = _top(known, tops, sessions)
    samples: list[Sample] = []
    lost = {"coded frames without a picture": 0, "pictures without a code": 0}
    for name in sorted(sessions):
        session, folder = sessions[name], top / name
        there = pictures(folder)
        numbers = sorted(session.targets.keys() & there.keys())
        if not numbers:
            raise DataError(_not_one(known, folder, there, session))
        from_one = known.first is not None and known.first not in there and known.first + 1 in there
        if from_one and (max(session.targets) + 1 in there or all(known.first not in pictures(top / other) for other in sessions)):
            raise DataError(f"{folder}: pictures {there[min(there)]} to {there[max(there)]}, but {known.name}'s are counted "
                            f"from {known.first}, so that {max(session.targets)} is the last one coded in {session.file}; number "
                            f"them again")
        subject, before = name.split("/")[0], f"{folder}{os.sep}"
        samples += [Sample(f"{name}/{n}", Still(before + there[n]), session.targets[n], subject, session.part)
                    for n in numbers]
        lost["coded frames without a picture"] += len(session.targets) - len(numbers)
        lost["pictures without a code"] += len(there) - len(numbers)
    lost["pictures without a code"] += sum(len(pictures(top / name)) for name in _folders(known, top) if name not in sessions)
    return Collection(samples, (), [*_counted(known, aus, samples), f"{known.name}: left out: {tally(lost)}", *notes])


def _folders(known: AUSet, top: Path) -> list[str]:
    """Every session that has a folder, coded or not."""
    people = [name for part in known.parts for name in part.split() if (top / name).is_dir()]
    if known.picture.count("/") == 1:                              # SN001/0.png: the subject's folder is its session
        return people
    return [f"{name}/{p.name}" for name in people for p in listing(top / name)]


def _counted(known: AUSet, aus: tuple[int, ...], samples: list[Sample]) -> list[str]:
    """What was found, for the reader's eyes."""
    each = Counter(s.part for s in samples)
    frames = {f"fold {k}": each[k] for k in FOLDS}
    expected = {f"fold {k}": known.expected[k] for k in FOLDS}
    y = labels([s.target["au"] for s in samples])                                       # (n, N)
    unknown = {f"AU{au}": n for au, n in zip(aus, (y < 0).sum(0).tolist(), strict=True) if n}
    rates = ", ".join(f"AU{au} {r:.4f}" for au, r in zip(aus, occurrence_rates(y).tolist(), strict=True))
    found = [f"{known.name}: {len(samples)} frames of {sum(known.expected.values())} expected; "
             f"tested in {tally(frames, expected)}; "
             f"{len({s.subject for s in samples})} subjects of {len(' '.join(known.parts).split())}",
             f"{known.name}: how often each unit is there: {rates}; unknown codes: {tally(unknown) or 'none'}"]
    if nobody := [k for k in FOLDS if not each[k]]:
        found.append(f"{known.name}: nobody of fold {' or '.join(nobody)} is here: no score of it, and no mean of three folds")
    w = fold_weights(y, [s.part for s in samples], "1")                                 # (N,)
    if not w.isfinite().all():
        return [*found, f"{known.name}: no class weights in fold 1: {_never(y, [s.part for s in samples], aus)}"]
    found.append(f"{known.name}: class weights in fold 1, summing to {len(aus)}: {_row(w)}")
    near = all(abs(frames[k] - expected[k]) <= 0.001 * expected[k] for k in frames)     # DISFA's labels have one frame more than its lists
    if near and set(aus) == set(known.aus):
        published = dict(zip(known.aus, known.weights, strict=True))
        there = torch.tensor([published[au] for au in aus])                             # (N,)
        found.append(f"{known.name}: those published for fold 1 are {_row(there)}: {difference(w, there, aus)}")
    return found


# Class weights

def labels(codes: list[tuple[int, ...]]) -> Tensor:
    """→   (n, N)   int8; 0, 1, or −1 for unknown"""
    return torch.from_numpy(np.array(codes, dtype=np.int8))


def fold_weights(y: Tensor, parts: list[str], fold: str) -> Tensor:
    """The class weights of a fold, from its training part alone.

    y       (n, N)   labels
    parts   n        the fold that tests each of them
    →       (N,)     summing to N; not finite where the training part lacks a unit
    """
    trains = torch.tensor([part != fold for part in parts], device=y.device)            # (n,)
    return occurrence_weights(occurrence_rates(y[trains]), total=y.shape[1])


def difference(mine: Tensor, theirs: Tensor, aus: tuple[int, ...]) -> str:
    """`largest difference 0.0004 (AU7)`; above 0.01, what that means.

    mine, theirs   (N,)   class weights
    """
    apart = (mine - theirs).abs()                                                       # (N,)
    k = int(apart.argmax())
    said = f"largest difference {apart[k]:.4f} (AU{aus[k]})"
    if apart[k] > 0.01:
        said += (f": {theirs[k]:.3f} there, {mine[k]:.3f} here; they do not belong to these labels, and the run takes those "
                 f"computed here")
    return said


def _never(y: Tensor, parts: list[str], aus: tuple[int, ...]) -> str:
    """Which units the training part of fold 1 lacks."""
    trains = torch.tensor([part != "1" for part in parts])                              # (n,)
    if not trains.any():
        return "nothing trains in it"
    there = (y[trains] == 1).any(0).tolist()
    return f"its training part never shows {', '.join(f'AU{au}' for au, yes in zip(aus, there, strict=True) if not yes)}"


def _row(w: Tensor) -> str:
    return " ".join(f"{v:.3f}" for v in w.tolist())
