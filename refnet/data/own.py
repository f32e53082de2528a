"""One's own pictures and clips, and the landmarks that go with their frames."""
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from torch import Tensor

from refnet.data.landmarks import Aligned, names_of_rows, read_landmarks
from refnet.data.samples import DataError, Sample
from refnet.pictures import Clip

Given = tuple[str, Clip, Tensor | None]                          # how to call it, the clip, its landmarks (n, 68 or 51, 2)


def faces_given(paths: list[str], landmarks: str | None) -> tuple[list[Given], str]:
    """Find the landmarks of every frame.

    paths       pictures, frame folders, animations, videos
    landmarks   a file that read_landmarks reads; None where there is none
    →           what there is to look at, and a line that says how rows and pictures met, "" where that is plain

    A row a frame, in order; a file that names its pictures may have them in another order. Where it names some of them only, or
    some more than once, every row is a face of its own. Raises DataError for rows that cannot be told apart.
    """
    clips = [Clip(path) for path in paths]
    if not landmarks:
        return [(path, clip, None) for path, clip in zip(paths, clips)], ""
    points, names = read_landmarks(landmarks), names_of_rows(landmarks) or []
    files = [file for clip in clips for file in clip.frames or [clip.path] * len(clip)]               # of every frame
    fits = [[k for k, file in enumerate(files) if named(file, name)] for name in names]               # the frames of every row
    if sorted(fits) == [[k] for k in range(len(files))]:         # each frame has one row: in whatever order
        points = points[sorted(range(len(files)), key=lambda row: fits[row])]
    elif any(fits) and not (len(points) == len(files) and all(k in frames for k, frames in enumerate(fits))):
        return _a_face_a_row(points, names, fits, files, landmarks)
    if len(points) != len(files):
        raise DataError(f"{landmarks}: {len(points)} rows, but {len(files)} frames were given; a row a frame is needed, in order, or a "
                        "first column that names the pictures")
    note = "" if any(fits) or not names else f"{landmarks} names other pictures, such as {names[0]}; its rows are taken in their order"
    return list(zip(paths, clips, points.split([len(clip) for clip in clips]))), note


def _a_face_a_row(points: Tensor, names: list[str], fits: list[list[int]], files: list[Path], landmarks: str) -> tuple[list[Given], str]:
    """Every row that names a frame, as a picture of its own: 1 behind its name, 2, ..., where a frame has several."""
    given, times, seen = [], Counter(frames[0] for frames in fits if frames), Counter()
    for row, (name, frames) in enumerate(zip(names, fits)):
        if len(frames) > 1:
            raise DataError(f"{landmarks}: {name} is {len(frames)} of the frames given, {files[frames[0]]} and others; name the folder "
                            "too, or give a row for every frame of a clip, in order")
        for k in frames:
            seen[k] += 1
            given.append((f"{files[k]}#{seen[k]}" if times[k] > 1 else str(files[k]), Clip(files[k]), points[row:row + 1]))
    without = [str(file) for k, file in enumerate(files) if k not in times]
    return given, (f"{landmarks}: {len(given)} faces in {len(times)} pictures" + (f"; none in {', '.join(without[:5])}" if without else "")
                   + (f"; {len(names) - len(given)} rows are of other pictures" if len(given) < len(names) else ""))


def named(file: Path, name: str) -> bool:
    """Whether a name from a landmark file is this file's: the same path, as far as both go back."""
    ours, theirs = file.parts, Path(name).parts
    n = min(len(ours), len(theirs))
    return n > 0 and ours[-n:] == theirs[-n:]


class Frame(NamedTuple):
    """One frame of a clip, as a picture of its own."""
    clip: Clip | Aligned
    t: int

    def __len__(self) -> int:
        return 1

    def read(self, indices: list[int], size: int | None = None) -> Tensor:
        return self.clip.read([self.t for _ in indices], size)                           # (n, 3, S, S)


def pictures_of(path: str, clip: Clip, points: Tensor | None, cut: type = Aligned) -> list[Sample]:
    """A clip's frames as samples of their own, without a target: cut out along landmarks (n, 68 or 51, 2) where given, by Aligned or Upright."""
    names = [path] if len(clip) == 1 else [f"{path}/{clip.name(t)}" for t in range(len(clip))]
    faces = clip if points is None else cut(clip, points)
    return [Sample(name, Frame(faces, t), {}) for t, name in enumerate(names)]
