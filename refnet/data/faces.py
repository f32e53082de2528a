"""A face in a picture on disk, cut out as it is read: along its landmarks, or around its box, wherever those are written."""
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from refnet.data.au_frames import stretch
from refnet.data.landmarks import crop_aligned, upright
from refnet.data.samples import DataError
from refnet.pictures import Clip, fit

HEAD = re.compile(rb"\x93NUMPY\x01\x00(?s:..)"                    # of a .npy with numbers or texts, and nothing else
                  rb"\{'descr': '([<>|=]?[iufUS][0-9]{1,4})', 'fortran_order': (?:False|True), 'shape': \(([0-9, ]*)\), \} *\n")

Box = tuple[int, int, int, int]                                    # left, top, width, height


class Place(NamedTuple):
    """Where the landmarks of a face stand: a cell x0;y0;...;x67;y67 of a list, or a .npy; parsed when it is looked at."""
    file: str
    line: int = 0                  # counted from 1, for messages; 0 in a .npy
    offset: int = 0                # in bytes
    length: int = -1               # to the end

    def raw(self) -> bytes:
        """The landmarks as they stand in the file."""
        return stretch(self.file, self.offset, self.length)

    def points(self) -> Tensor:
        """→   (68, 2)   float32"""
        data, where = self.raw(), f"{self.file}: line {self.line}" if self.line else self.file
        if self.line:
            try:
                values = list(map(float, data.strip(b' "').split(b";")))
            except ValueError as e:
                raise DataError(f"{where}: the landmarks are not all numbers; expected x0;y0;...;x67;y67; correct "
                                f"them") from e
        else:
            values = numbers(data, where, {})
        points = torch.tensor(values)                                                    # (136,)
        if len(points) != 136 or not points.isfinite().all():
            raise DataError(f"{where}: {len(points)} landmark values, {int((~points.isfinite()).sum())} not finite; "
                            f"expected 136, x0, y0, ..., x67, y67; correct them")
        return points.unflatten(0, (68, 2))                                              # (68, 2)


class Face(NamedTuple):
    """The face in one picture on disk, cut out as it is read: a clip of one frame."""
    path: str
    points: Place | None = None
    box: Box | None = None
    eyes: bool = False             # turned until the eyes are level, then cut out by the box

    def __len__(self) -> int:
        return 1

    def raw(self) -> bytes:
        """What the face is cut out of, and by what: the file as it is, then the landmarks and the box."""
        points = None if self.points is None else self.points.raw()
        how = (points, self.box, "upright") if self.eyes else (points, self.box)
        return Path(self.path).read_bytes() + repr(how).encode()

    def read(self, indices: Iterable[int], size: int | None = None) -> Tensor:
        """→   (n, 3, size, size)   uint8; without size, the whole picture

        Aligned by the landmarks; where there are none, the square around the face's box, black where the picture ends;
        where there is no box either, the picture's centre square. With eyes: turned until these are level, then the box
        brought to a square as it is; without landmarks nothing turns, and without a box it is one around the landmarks.
        """
        frames = Clip([self.path]).read(indices)                                         # (n, 3, H, W)
        return frames if size is None else torch.stack([self._cut(picture, size) for picture in frames])

    def _cut(self, picture: Tensor, size: int) -> Tensor:
        """(3, H, W) → (3, size, size)"""
        try:
            points = None if self.points is None else self.points.points()              # (68, 2)
            if self.eyes and (points is not None or self.box is not None):
                return upright(picture, points, self.box, size)
            if points is not None:
                return crop_aligned(picture, points, size)
            return fit(picture if self.box is None else square(picture, self.box), size)
        except DataError as e:
            raise DataError(f"{self.path}: {e}") from e


def square(picture: Tensor, box: Box) -> Tensor:
    """The square around a box, as wide as its longer side; black where the picture ends.

    picture   (3, H, W)
    box                   left, top, width, height in pixels
    →         (3, S, S)
    """
    x, y, width, height = box
    S, (H, W) = max(width, height), picture.shape[1:]
    left, top = x - (S - width) // 2, y - (S - height) // 2
    if S > 4 * max(H, W):
        raise DataError(f"the face's box, {width} × {height} at ({x}, {y}), is far larger than the picture, {W} × {H}; correct the box")
    inside = picture[:, max(top, 0):max(top + S, 0), max(left, 0):max(left + S, 0)]
    if inside.numel() == 0:
        raise DataError(f"the face's box, {width} × {height} at ({x}, {y}), lies outside the picture, {W} × {H}; correct "
                        f"the box")
    beside = (max(-left, 0), max(left + S - W, 0), max(-top, 0), max(top + S - H, 0))
    return F.pad(inside, beside)                                                         # (3, S, S)


def numbers(data: bytes, where: str, heads: dict[bytes, tuple[np.dtype, int]]) -> list[float]:
    """What a .npy holds, be it stored as numbers or as text.

    heads   what each head of a file says, dtype and count; a million small files have a few heads among them
    """
    end = 10 + int.from_bytes(data[8:10], "little")
    try:
        if data[:end] not in heads:
            if (said := HEAD.fullmatch(data[:end])) is None:
                raise ValueError("another head than of numbers or text")
            heads[data[:end]] = np.dtype(said[1].decode()), math.prod(int(k) for k in said[2].split(b",") if k.strip())
        dtype, n = heads[data[:end]]
        if len(data) - end != n * dtype.itemsize:
            raise ValueError("not as long as its head says")
        return [float(v) for v in np.frombuffer(data, dtype, n, end).tolist()]
    except (ValueError, TypeError) as e:
        raise DataError(f"{where}: not a whole .npy of numbers, or of numbers as text; copy the file again") from e
