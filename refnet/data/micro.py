"""A micro-expression as a reader hands it over: its frames, its landmarks, and what the coders wrote.

    MicroClip(source, fps, apex, scene, alpha)      source: Filmed from files, or drawn

Landmarks of a clip whose frames lie in sub01/EP02_01f/ are looked for in this order; NAME is EP02_01f:

    DIR/sub01/NAME.csv, DIR/NAME.csv   with --landmarks DIR: .csv, .npy or .txt
    sub01/NAME.csv                     beside the clip's folder
    sub01/EP02_01f/NAME.csv            inside it; also landmarks.csv, or a .pts for each frame, named as the frame

One file has a row for every frame of the folder, in the order of the frames' numbers: img9, img10. OpenFace goes through a
folder by the letters of the names, img10 before img9; its files, known by their column `success`, are read in that order.
"""
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor

from refnet.data.landmarks import read_landmarks
from refnet.data.samples import DataError
from refnet.pictures import Clip

ROWS = (".csv", ".npy", ".txt")


class Source(Protocol):
    """Where a clip's frames and landmarks come from."""

    def __len__(self) -> int: ...

    def read(self, indices: list[int], size: int | None = None) -> Tensor:
        """uint8 (n, 3, H, W)"""

    def points(self) -> Tensor:
        """Landmarks of every frame: (T, 51, 2) in pixels of what `read` gives with size None"""

    def digest(self) -> str:
        """A checksum of all that the frames and landmarks come from."""


@dataclass(frozen=True)
class MicroClip:
    """One micro-expression, from its onset to its offset, both included."""
    source: Source
    fps: float
    apex: int | None = None        # the frame that the coders call the strongest, from 0; None where they do not say
    scene: bool = False            # True: the frames show more than a face, which is cut out along the onset's landmarks
    alpha: float | None = None     # how much to magnify; None: as the settings say

    in_memory: ClassVar[bool] = True         # what training reads are its graphs, made before and kept: no process need read ahead

    def __len__(self) -> int:
        return len(self.source)

    def read(self, indices: list[int], size: int | None = None) -> Tensor:
        return self.source.read(indices, size)


class Filmed(NamedTuple):
    """Frames and landmarks in files."""
    frames: tuple[Path, ...]       # of the expression, in order
    landmarks: tuple[Path, ...]    # one file with a row for every frame of the clip's folder, or a file a frame
    rows: tuple[int, ...]          # which rows are those of `frames`, one by one; () where each frame has its own file
    count: int                     # how many rows that one file must have

    def __len__(self) -> int:
        return len(self.frames)

    def read(self, indices: list[int], size: int | None = None) -> Tensor:
        return Clip(list(self.frames)).read(indices, size)                            # (n, 3, H, W)

    def points(self) -> Tensor:
        """(T, 51, 2); a frame in which no face was found has the mean of its neighbours in time, nearer ones counting more.

        Raises DataError where rows are missing, or no face was found at the onset.
        """
        if self.rows:
            found = read_landmarks(self.landmarks[0])                                 # (n, 68 or 51, 2)
            if len(found) != self.count:
                raise DataError(f"{self.landmarks[0]}: {len(found)} rows of landmarks; expected {self.count}, one for every frame of "
                                f"{self.frames[0].parent}")
            found = found[list(self.rows)]
        else:
            found = torch.cat([read_landmarks(path) for path in self.landmarks])
            if len(found) != len(self.frames):
                raise DataError(f"{self.landmarks[0].parent}: {len(found)} faces in {len(self.landmarks)} files of landmarks; "
                                f"expected one face in each")
        found = found[:, -51:]                                                        # (T, 51, 2)
        seen = ~found.isnan().flatten(1).any(1)                                       # (T,)
        if not seen[0]:
            raise DataError(f"{self.landmarks[0]}: no face was found in {self.frames[0].name}, the onset; find it again, or leave "
                            f"the clip out")
        return between(found, seen)

    def digest(self) -> str:
        whole = hashlib.sha256(repr((self.rows, self.count)).encode())
        for path in (*self.frames, *self.landmarks):
            whole.update(hashlib.sha256(path.read_bytes()).digest())
        return whole.hexdigest()


def between(points: Tensor, seen: Tensor) -> Tensor:
    """Fill the frames without a face: on the straight line in time between the nearest frames that have one; behind the last,
    as in the last.

    points (T, N, 2), seen (T,) bool, True in frame 0 → (T, N, 2)
    """
    T, t = len(points), torch.arange(len(points))
    last = torch.where(seen, t, 0).cummax(0).values                                   # (T,)  the one before, or itself
    after = torch.where(seen, t, T).flip(0).cummin(0).values.flip(0)                  # (T,)  the one behind; T: none
    after = torch.where(after == T, last, after)
    share = ((t - last) / (after - last).clamp(min=1))[:, None, None]                 # (T, 1, 1)
    return torch.lerp(points[last], points[after], share.to(points))


class Given(NamedTuple):
    """A clip of one's own, with the landmarks that were given for it."""
    clip: Clip
    rows: Tensor                   # (T, 68 or 51, 2)

    def __len__(self) -> int:
        return len(self.clip)

    def read(self, indices: list[int], size: int | None = None) -> Tensor:
        return self.clip.read(indices, size)

    def points(self) -> Tensor:
        for t in (~self.rows.isfinite().flatten(1).all(1)).nonzero()[:1].flatten().tolist():
            raise DataError(f"{self.clip.path}: no face was found in {self.clip.name(t)}; leave the frame out")
        return self.rows[:, -51:]                                                     # (T, 51, 2)

    def digest(self) -> str:
        pictures = self.read(list(range(len(self))))                                  # (T, 3, H, W)
        shapes = repr((tuple(pictures.shape), tuple(self.rows.shape))).encode()
        return hashlib.sha256(shapes + pictures.numpy().tobytes() + self.rows.numpy().tobytes()).hexdigest()


def filmed(folder: Path, every: list[Path], first: int, last: int, root: Path, given: str = "") -> Filmed:
    """A clip's frames with the landmarks that belong to them.

    folder        the clip's own folder
    every         all its frames, in order; those from `first` to `last`, both included, are the expression
    root          the data set; `given` is what --landmarks says: another folder, or ""

    Raises DataError where there are no landmarks, with the way to get them.
    """
    frames, name = tuple(every[first:last + 1]), folder.name
    if given and not Path(given).is_dir():
        raise DataError(f"--landmarks {given}: no such folder; expected one with {folder.parent.name}/{name}.csv or {name}.csv; check it")
    places = [Path(given) / folder.parent.name, Path(given)] if given else []
    for path in [place / f"{name}{suffix}" for place in [*places, folder.parent, folder] for suffix in ROWS] + [
            folder / f"landmarks{suffix}" for suffix in ROWS]:
        if path.is_file():
            listed = sorted(range(len(every)), key=lambda k: every[k].name) if _of_openface(path) else list(range(len(every)))
            row_of = {k: row for row, k in enumerate(listed)}                         # frame → its row
            return Filmed(frames, (path,), tuple(row_of[k] for k in range(first, last + 1)), len(every))
    own = tuple(path.with_suffix(".pts") for path in frames)
    if own[0].is_file():
        if missing := [path for path in own if not path.is_file()]:
            raise DataError(f"{missing[0]}: no such file, where {own[0].name} is one; expected a .pts for every frame")
        return Filmed(frames, own, (), len(own))
    where = folder.relative_to(root) if folder.is_relative_to(root) else folder
    raise DataError(f"{where}: no landmarks for this clip; expected {folder.parent / name}.csv (or .npy), a row for each of its "
                    f"{len(every)} frames with 68 points, or {folder.name}.csv below --landmarks DIR. refnet finds no landmarks "
                    f"itself: OpenFace (FeatureExtraction -fdir CLIP -2Dfp -out_dir DIR) or dlib's predictor of 68 points writes them")


def _of_openface(path: Path) -> bool:
    """Whether OpenFace wrote these landmarks."""
    if path.suffix.lower() == ".npy":
        return False
    with path.open(encoding="utf-8-sig", errors="replace") as file:
        return "success" in [cell.strip() for cell in file.readline().split(",")]
