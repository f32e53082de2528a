"""Aff-Wild2: videos with an expression for every frame; each labelled frame is a sample.

    annotations/EXPR_Set/Train_Set/<video>.txt      a header, then an integer a frame, -1 where there is none
    annotations/EXPR_Set/Validation_Set/<video>.txt
    annotations/VA_Set/Train_Set/<video>.txt        a header, then 0.602,0.389 a frame; outside [-1, 1] where there is none
    annotations/VA_Set/Validation_Set/<video>.txt
    cropped_aligned/<video>/00001.jpg               counted from 1: picture k belongs to the k-th line under the header

Later editions call the sets EXPR_Classification_Challenge or EXPR_Recognition_Challenge, and add the class Other, and
VA_Estimation_Challenge. `read` takes expressions, a clip of the frames around each; `read_both` takes the frames that have
valence and arousal too, each a picture.
"""
import os
import re
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import chain, repeat
from pathlib import Path
from typing import Any

from torch import Tensor

from refnet.data.folder import code_order, listing, opened, part_lines, tally
from refnet.data.samples import Collection, DataError, Sample
from refnet.pictures import Clip

SETS = ("EXPR_Set", "EXPR_Classification_Challenge", "EXPR_Recognition_Challenge")
VA_SETS = ("VA_Set", "VA_Estimation_Challenge")
SPLITS = {"Train_Set": "train", "Validation_Set": "report"}
NAMES = {"neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise"}
OTHER = "other"
LAYOUT = "expected annotations/EXPR_Set/{Train_Set,Validation_Set}/<video>.txt and cropped_aligned/<video>/00001.jpg"
MARKED, OTHERS, NO_PICTURE = "frames marked -1", "frames labelled Other", "labelled frames without a picture"
NO_VA, OUTSIDE = "frames without valence and arousal", "frames with valence or arousal outside [-1, 1]"

Target = dict[str, Any] | str                                   # of a line; or why it has none


@dataclass(frozen=True, slots=True)
class Video:
    """The pictures of one video: their folder and their numbers, ascending; faces that were not found leave gaps."""
    folder: str
    numbers: array
    offsets: tuple[int, ...]

    def nearest(self, k: int) -> int:
        """The number nearest to k that has a picture; of two as near, the earlier one."""
        i = bisect_left(self.numbers, k)
        return min(self.numbers[max(i - 1, 0):i + 1], key=lambda n: abs(n - k))


@dataclass(frozen=True, slots=True)
class Surroundings:
    """A clip: frame k of a video and those around it, found when they are read; millions of these fit in memory."""
    video: Video
    k: int

    def __len__(self) -> int:
        return len(self.video.offsets)

    def numbers(self) -> list[int]:
        """The frames' numbers; past an end, and where a picture is missing, the nearest one there is."""
        return [self.video.nearest(self.k + offset) for offset in self.video.offsets]

    def read(self, indices: Iterable[int], size: int | None = None) -> Tensor:
        """→   (n, 3, size, size)   uint8"""
        numbers = self.numbers()
        paths = {n: f"{self.video.folder}{os.sep}{n:05d}.jpg" for n in numbers}           # each once, in order
        place = {n: t for t, n in enumerate(paths)}
        return Clip(paths.values()).read([place[numbers[t]] for t in indices], size)

    def raw(self) -> bytes:
        """What it is decoded from: the files of its frames as they are."""
        return b"".join(Path(f"{self.video.folder}{os.sep}{n:05d}.jpg").read_bytes() for n in self.numbers())


def offsets(T: int, dilation: int) -> tuple[int, ...]:
    """Where the frames of a clip lie around the labelled one.

        arpgnet (§4.2.1)   offset_t = dilation · (t − ⌊T/2⌋),  t = 0 ... T−1

    Reading: "eight surrounding frames are sampled from each frame with a dilation rate of three": eight beside it, or
    eight with it? Eight with it: T = 8 gives −12 ... +9; eight on top of it is T = 9, −12 ... +12.
    """
    return tuple(dilation * (t - T // 2) for t in range(T))


def read(root: Path, cfg: Any) -> Collection:
    """Join the labels of each video with its pictures; cfg.T and cfg.dilation say which frames make a clip.

    Left out and counted: frames marked -1, those labelled Other, and labelled ones without a picture. The subject is the
    video's name without _left or _right. Raises DataError for a missing set, split or folder of pictures, a wrong header
    or value, a video in both splits, and an annotation that goes on long after the last picture.
    """
    root = opened(root, LAYOUT)
    return _joined(root, cfg, offsets(cfg.T, cfg.dilation), None)


def read_both(root: Path, cfg: Any) -> Collection:
    """The frames that have an expression, valence and arousal, and a picture; each a clip of one frame.

    The split is that of the expressions; valence and arousal of a video are looked for in both splits of theirs. Left out
    and counted, beside what `read` leaves out: frames without valence and arousal, and those where one is outside [-1, 1],
    which is how it is marked that there is none. Raises DataError as `read` does, and for a line that is not two numbers.
    """
    root = opened(root, LAYOUT)
    return _joined(root, cfg, (0,), _set(root, VA_SETS, "valence-arousal"))


def _joined(root: Path, cfg: Any, around: tuple[int, ...], va_set: Path | None) -> Collection:
    """Each frame that has all it needs: a picture, an expression and, where there is a set of them, valence and arousal.

    around   the frames that make a clip, counted from the labelled one
    """
    where = _set(root, SETS, "expression")
    va_files = _by_video(va_set) if va_set else {}
    samples, seen, classes, found = [], {}, (), []
    lost = dict.fromkeys((MARKED, OTHERS, *((NO_VA, OUTSIDE) if va_set else ()), NO_PICTURE, "pictures after the last line"), 0)
    for split, part in SPLITS.items():
        files = _files(where / split)
        if not files:
            raise DataError(f"{where / split}: no annotation in it; expected a file <video>.txt a video; check --data")
        for file in files:
            name = file.stem
            if name in seen:
                raise DataError(f"{file}: {name} is also annotated in {seen[name]}; expected each video in one split; "
                                f"remove one file")
            seen[name] = split
            names, labels = _labels(file)
            classes = classes or code_order(cfg, tuple(n for n in names if n != OTHER), "Aff-Wild2")
            kinds = [OTHERS if n == OTHER else {"expression": classes.index(n)} for n in names] + [MARKED]    # the last is -1
            targets = [kinds[value] for value in labels]        # samples of one class share theirs
            if va_set:
                targets = list(_with_va(targets, _values(va_files[name]) if name in va_files else []))
            folder = root / "cropped_aligned" / name
            video = Video(str(folder), _numbers(file, folder, [not isinstance(target, str) for target in targets]), around)
            there, subject = set(video.numbers), re.sub(r"_(left|right)$", "", name)
            for k, target in enumerate(targets, start=1):
                if isinstance(target, str):
                    lost[target] += 1
                elif k not in there:
                    lost[NO_PICTURE] += 1
                else:
                    samples.append(Sample(f"{name}/{k:05d}", Surroundings(video, k), target, subject, part))
            lost["pictures after the last line"] += sum(n > len(labels) for n in video.numbers)
        if not samples or samples[-1].part != part:
            raise DataError(f"{where / split}: no labelled frame with a picture in {len(files)} videos; "
                            f"left out {tally(lost)}; {LAYOUT}")
        in_paper = {"train": 51, "report": 11}[part]
        sets, known = (f"{where.name} and {va_set.name}", "") if va_set else (where.name, f" ({in_paper} in arpgnet §4.1.3)")
        found.append(f"Aff-Wild2: {sets}: {part} {len(files)} videos{known}")
    found += part_lines("Aff-Wild2", samples, classes, unit="frames")
    pictures = [p for p in listing(root / "cropped_aligned") if p.is_dir()]
    lost["videos without annotation"] = sum(p.name not in seen for p in pictures)
    if va_set:
        lost["videos without valence and arousal"] = len(seen.keys() - va_files.keys())
        lost["videos without expressions"] = len(va_files.keys() - seen.keys())
    return Collection(samples, classes, [*found, f"Aff-Wild2: left out: {tally(lost)}"])


def _set(root: Path, editions: tuple[str, ...], kind: str) -> Path:
    """The folder of a set of annotations, right below the root or one folder down."""
    sets = [p for top in [root] + [p for p in listing(root) if p.is_dir()] for name in editions if (p := top / name).is_dir()]
    if len(sets) != 1:
        raise DataError(f"{root}: {len(sets)} {kind} sets ({', '.join(map(str, sets)) or 'none'}); expected one: "
                        f"annotations/ with {' or '.join(editions)}; check --data")
    return sets[0]


def _files(split: Path) -> list[Path]:
    """The annotations of a split, a file a video."""
    return [p for p in listing(split) if p.suffix == ".txt"] if split.is_dir() else []


def _by_video(va_set: Path) -> dict[str, Path]:
    """The file of valence and arousal of each video, from both splits."""
    found: dict[str, Path] = {}
    for split in SPLITS:
        for file in _files(va_set / split):
            if found.setdefault(file.stem, file) != file:
                raise DataError(f"{file}: {file.stem} is also annotated in {found[file.stem].parent.name}; expected each video "
                                f"in one split; remove one file")
    if not found:
        raise DataError(f"{va_set}: no annotation in {' or '.join(SPLITS)}; expected a file <video>.txt a video; check --data")
    return found


def _labels(file: Path) -> tuple[list[str], list[int]]:
    """The header's names in lower case, and the label of each frame: an index into them, or -1."""
    head, *rows = file.read_text(encoding="utf-8-sig", errors="replace").rstrip().split("\n")
    names = [name.strip().lower() for name in head.split(",")]
    if set(names) not in (NAMES, NAMES | {OTHER}) or len(names) != len(set(names)):
        raise DataError(f"{file}: line 1 is {head.strip()[:80]!r}; expected a header such as "
                        f"Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise, perhaps with Other")
    if not rows:
        raise DataError(f"{file}: nothing under the header; expected an integer for each frame; copy the file again")
    try:
        labels = [int(row) for row in rows]
    except ValueError:
        labels = []
    if len(labels) < len(rows) or not -1 <= min(labels) <= max(labels) < len(names):
        good = {str(k) for k in range(-1, len(names))}
        n, bad = next((n, row.strip()) for n, row in enumerate(rows, start=2) if row.strip() not in good)
        raise DataError(f"{file}: line {n} is {bad!r}; expected an integer from 0 ({names[0]}) to {len(names) - 1} "
                        f"({names[-1]}), or -1")
    return names, labels


def _values(file: Path) -> list[tuple[float, float]]:
    """Valence and arousal of each frame, as they stand."""
    head, *rows = file.read_text(encoding="utf-8-sig", errors="replace").rstrip().split("\n")
    if [name.strip().lower() for name in head.split(",")] != ["valence", "arousal"]:
        raise DataError(f"{file}: line 1 is {head.strip()[:80]!r}; expected the header valence,arousal")
    if not rows:
        raise DataError(f"{file}: nothing under the header; expected two numbers for each frame; copy the file again")
    values = []
    try:
        for row in rows:
            v, a = row.split(",")
            values.append((float(v), float(a)))
    except ValueError as e:
        raise DataError(f"{file}: line {len(values) + 2} is {rows[len(values)].strip()[:80]!r}; expected valence and arousal, "
                        f"two numbers such as 0.602,0.389; correct it, or copy the file again") from e
    return values


def _with_va(targets: list[Target], values: list[tuple[float, float]]) -> Iterator[Target]:
    """Each target with valence and arousal in it; frames behind the last value have none."""
    for target, va in zip(targets, chain(values, repeat(None))):
        if isinstance(target, str):
            yield target
        elif va is None:
            yield NO_VA
        else:
            yield {**target, "va": va} if -1 <= va[0] <= 1 and -1 <= va[1] <= 1 else OUTSIDE


def _numbers(file: Path, folder: Path, wanted: list[bool]) -> array:
    """The numbers of a video's pictures 00001.jpg, 00002.jpg, ..., ascending, from one look at its folder.

    wanted   whether each frame's picture is asked for
    """
    labelled = sum(wanted)
    if labelled == 0:
        return array("i")
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; expected the video's pictures 00001.jpg, ...; unpack it, or remove "
                        f"its annotation {file}")
    names = re.findall(r"^([0-9]{5}|[1-9][0-9]{5,8})\.jpg$", "\n".join(os.listdir(folder)), re.M)
    numbers = array("i", sorted(map(int, names)))
    if 0 in numbers[:1]:
        raise DataError(f"{folder}: begins with 00000.jpg; expected pictures counted from 1, so that 00001.jpg goes with the "
                        f"first label; number them again")
    last = numbers[-1] if numbers else 0
    if 2 * sum(wanted[last:]) > labelled:
        raise DataError(f"{file}: {len(wanted)} lines of labels, but "
                        + (f"the last picture in {folder} is {last:05d}.jpg" if last else f"no picture 00001.jpg in {folder}")
                        + "; expected pictures to go with the labels; unpack them again, or remove the annotation")
    return numbers
