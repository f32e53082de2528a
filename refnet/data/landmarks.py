"""Landmarks from files, and faces cut out along them.

    read_landmarks("clip.csv")                       →  (n, 68, 2), or (n, 51, 2)
    crop_aligned(picture, points, size=96)           →  uint8 (3, 96, 96), the eyes at fixed places
    upright(picture, points, box, size=227)          →  uint8 (3, 227, 227), the eyes level, cut by a box

Points are (x, y) in pixels, in dlib's order of 68 or its inner 51 (17 to 67); the centre of the first pixel is (0, 0).
"""
import csv
import math
import tokenize
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from refnet.data.samples import DataError
from refnet.pictures import Clip

EYES = {68: (slice(36, 42), slice(42, 48)), 51: (slice(19, 25), slice(25, 31))}          # left and right in the picture
APART, DOWN = 0.32, 0.34      # ours: eye centres 0.32 of the side apart, 0.34 from the top; brows to chin then fit
AROUND = {68: 1.3, 51: 1.65}  # ours: the box around a face that has none, in extents of its points; without the jaw about as wide
FINEST = 16                   # at most 16 × 16 looks at the picture for each pixel of the crop


# Files

def read_landmarks(path: str | Path) -> Tensor:
    """Read the landmarks of one face a row; the suffix says how they are written.

    .csv   OpenFace (x_0 ... x_67, y_0 ... y_67; any other column may stand beside them), or plain: a row a face,
           x0, y0, x1, y1, ..., with or without a header, with or without a first column of names
    .pts   300-W, one face; these files count pixels from 1, so 1 is taken off
    .npy   (n, 68, 2), (68, 2), (n, 51, 2) or (51, 2)
    →      (n, 68, 2) or (n, 51, 2)   float32; a row of NaN where no face was found (OpenFace's success 0)

    All but .pts are taken to count from 0, as OpenFace does. Raises DataError with the file, the row and what was expected.
    """
    path = Path(path)
    readers = {".csv": _csv, ".txt": _csv, ".pts": _pts, ".npy": _npy}
    if path.suffix.lower() not in readers:
        raise DataError(f"{path}: landmarks are read from .csv, .txt, .pts or .npy; found the suffix {path.suffix!r}")
    if not path.is_file():
        raise DataError(f"{path}: no such file; expected landmarks, a row a face; check the spelling")
    points = readers[path.suffix.lower()](path)                                          # (n, 68 or 51, 2)
    if len(points) == 0:
        raise DataError(f"{path}: no face in it; expected one row of landmarks or more")
    lost = ~points.isfinite().flatten(1)                                                 # (n, 136)
    for row in (lost.any(1) & ~(lost.all(1) & points.isnan().flatten(1).all(1))).nonzero()[:1].flatten().tolist():
        raise DataError(f"{path}: face {row + 1} has {int(lost[row].sum())} values that are not finite; expected numbers, "
                        f"or NaN in the whole row where no face was found")
    return points


def names_of_rows(path: str | Path) -> list[str] | None:
    """Which picture each row of a landmark file is of: a plain .csv with a first column of names; None for all others."""
    path = Path(path)
    if path.suffix.lower() not in (".csv", ".txt") or not path.is_file():
        return None
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        rows = [row for row in csv.reader(file, skipinitialspace=True) if any(map(str.strip, row))]
    rows = rows if rows and all(map(_number, rows[0][1:])) else rows[1:]                 # without its header
    names = [row[0].strip() for row in rows]
    return names if names and not any(map(_number, names)) else None


def _csv(path: Path) -> Tensor:
    with path.open(newline="", encoding="utf-8-sig", errors="replace") as file:
        rows = [(n, row) for n, row in enumerate(csv.reader(file, skipinitialspace=True), start=1) if any(map(str.strip, row))]
    if not rows:
        raise DataError(f"{path}: empty; expected a row of landmarks for each face")
    head = [cell.strip() for cell in rows[0][1]]
    width, success = len(head), None
    if all(_number(cell) for cell in head[1:]) and len(head) > 1:                        # no header
        names = width % 2                                                                # a first column of names
        if (width - names) // 2 not in EYES:
            raise DataError(f"{path}: row {rows[0][0]} has {width} columns; expected 136 or 102 (x0, y0, x1, y1, ... of 68 "
                            f"or 51 points), or one more with a name in front")
        order = list(range(names, width))
    else:
        rows, where = rows[1:], {name: k for k, name in enumerate(head)}
        style = next((s for s in ("x_{}", "x{}") if s.format(0) in where), None)
        n = sum(style.format(k) in where for k in range(68)) if style else 0
        wanted = [s.format(k) for k in range(n) for s in (style, style.replace("x", "y"))] if style else []
        missing = [name for name in wanted if name not in where]
        if n not in EYES or missing:
            raise DataError(f"{path}: the header names {n} points{f' and lacks {missing[0]}' if missing else ''}; expected "
                            f"x_0 ... x_67 and y_0 ... y_67 (OpenFace), or x0, y0, ..., x67, y67; 51 points also do")
        order, success = [where[name] for name in wanted], where.get("success")
    faces = np.full((len(rows), len(order)), np.nan, dtype=np.float32)
    for face, (n, row) in zip(faces, rows, strict=True):
        if len(row) != width:
            raise DataError(f"{path}: row {n} has {len(row)} columns; expected {width}, as in its first row")
        try:
            if success is None or float(row[success]) != 0:
                face[:] = [float(row[k]) for k in order]
        except ValueError as e:
            k = next(k for k in ([] if success is None else [success]) + order if not _number(row[k]))
            raise DataError(f"{path}: row {n}, column {k + 1} is {row[k]!r}; expected a number") from e
    return torch.from_numpy(faces).unflatten(1, (-1, 2))                                 # (n, 68, 2)


def _number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _pts(path: Path) -> Tensor:
    lines = [line.strip() for line in path.read_text(encoding="utf-8-sig", errors="replace").splitlines() if line.strip()]
    if "{" not in lines or "}" not in lines[lines.index("{"):]:
        raise DataError(f"{path}: no block in braces; expected 'version: 1', 'n_points: 68', '{{', 'x y' on a line for "
                        f"each point, '}}'")
    begin = lines.index("{")
    rows = [line.split() for line in lines[begin + 1:lines.index("}", begin)]]
    for k, row in enumerate(rows, start=1):
        if len(row) != 2 or not all(map(_number, row)):
            raise DataError(f"{path}: point {k} is {' '.join(row)!r}; expected two numbers, x y")
    if len(rows) not in EYES:
        raise DataError(f"{path}: {len(rows)} points; expected 68, or the inner 51")
    return torch.tensor([[[float(x) - 1, float(y) - 1] for x, y in rows]])               # (1, 68, 2)


def _npy(path: Path) -> Tensor:
    try:
        with path.open("rb") as file:
            np.lib.format.read_magic(file)
        found = np.load(path, mmap_mode="r", allow_pickle=False)           # mapped: a false size asks for no memory
    except (ValueError, OSError, EOFError, SyntaxError, OverflowError, tokenize.TokenError) as e:
        raise DataError(f"{path}: not a whole .npy file of numbers; write it again with numpy.save") from e
    if found.dtype.kind not in "fiu" or found.ndim not in (2, 3) or found.shape[-2] not in EYES or found.shape[-1] != 2:
        raise DataError(f"{path}: holds {found.dtype} {found.shape}; expected numbers (n, 68, 2), (68, 2), (n, 51, 2) or "
                        f"(51, 2)")
    points = torch.from_numpy(np.array(found, dtype=np.float32))
    return points if points.dim() == 3 else points[None]                                 # (n, 68, 2)


# The crop

def crop_aligned(picture: Tensor, points: Tensor, size: int) -> Tensor:
    """Turn the face until its eyes are level, bring it to one scale, and cut it out.

    picture   (3, H, W)         uint8
    points    (68 or 51, 2)     landmarks in the picture's pixels
    →         (3, size, size)   uint8; black where the picture ends

    The centre of the left eye comes to x = 0.34, that of the right eye to x = 0.66 of the side, both to y = 0.34 of it.
    One affine map, sampled bilinearly; where the face shrinks by s, each pixel is the mean of ⌈s⌉ × ⌈s⌉ samples inside it,
    so that nothing aliases. Raises DataError for points that give no pair of eyes, and for a face outside the picture.
    """
    left, right = _eyes(picture, points)
    a = (right - left) / APART                                                           # (2,) the crop's upper side
    return _sampled(picture, (left + right) / 2, a, _quarter(a), DOWN, size,
                    f"the face lies outside the picture: eyes at {left.tolist()} and {right.tolist()}")


def upright(picture: Tensor, points: Tensor | None, box: tuple[float, float, float, float] | None, size: int) -> Tensor:
    """Turn the face until its eyes are level, and bring its box to a square.

        emotiongcn (§IV.B)   θ = tan⁻¹((r_y − l_y) / (r_x − l_x)),  l and r the means of six points

    picture   (3, H, W)         uint8
    points    (68 or 51, 2)     landmarks in the picture's pixels; None does not turn
    box                         left, top, width, height; None: a square around the points, AROUND their extent once they are turned
    size                        both sides of the box come to this, whatever they were
    →         (3, size, size)   uint8; black where the picture ends

    One affine map, sampled as in `crop_aligned`. Raises DataError for points that give no pair of eyes, and for a box that is
    empty or outside the picture.

    Reading: is the right eye (r_x, r_y) the picture's or the person's? The picture's, and the signs of both differences count:
    brows come out above eyes; the other would turn half a turn more.
    Reading: about which point the picture turns, and what of the box turns with it, is not said. The authors' code turns about
    whole pixels, into a canvas whose width and height are swapped, and takes only the box's corner along, so that the face slides
    out of it. Here the box's middle stays at its point of the face, and then it does not matter about which point one turns.
    """
    if points is None and box is None:
        raise DataError("neither landmarks nor a box; expected one of them to cut a face out by")
    if points is None:
        _checked(picture)
        u = torch.tensor([1., 0.], dtype=torch.float64)                                  # (2,)
    else:
        left, right = _eyes(picture, points)
        u = (right - left) / (right - left).norm()                                       # (2,) (cos θ, sin θ)
    v = _quarter(u)                                                                      # (2,)
    if box is None:
        turned = (points.double().cpu() + 0.5) @ torch.stack([u, v], 1)                  # (68, 2)
        low, high = turned.amin(0), turned.amax(0)                                       # (2,), (2,)
        x, y = ((low + high) / 2).tolist()
        middle, width = x * u + y * v, AROUND[len(points)] * float((high - low).max())
        return _sampled(picture, middle, width * u, width * v, 0.5, size, "the face lies outside the picture")
    x, y, width, height = box
    if not (0 < width < math.inf and 0 < height < math.inf):
        raise DataError(f"the face's box is {width} × {height}; expected a width and a height above 0; correct the box")
    if max(width, height) > 4 * max(picture.shape[1:]):
        H, W = picture.shape[1:]
        raise DataError(f"the face's box, {width} × {height} at ({x}, {y}), is far larger than the picture, {W} × {H}; correct the box")
    middle = torch.tensor([x + width / 2, y + height / 2], dtype=torch.float64)          # (2,)
    return _sampled(picture, middle, width * u, height * v, 0.5, size,
                    f"the face's box, {width} × {height} at ({x}, {y}), lies outside the picture", "correct the box")


def _checked(picture: Tensor) -> None:
    if picture.dim() != 3 or len(picture) != 3 or picture.dtype != torch.uint8:
        raise DataError(f"a picture to crop is uint8 (3, H, W); got {picture.dtype} {tuple(picture.shape)}")


def _eyes(picture: Tensor, points: Tensor) -> tuple[Tensor, Tensor]:
    """The middles of the left and the right eye in the picture, (2,) and (2,), counted from its corner: so + ½."""
    _checked(picture)
    if points.dim() != 2 or len(points) not in EYES or points.shape[1] != 2:
        raise DataError(f"landmarks to crop by are (68, 2) or (51, 2); got {tuple(points.shape)}")
    left, right = (points[eye].double().mean(0).cpu() + 0.5 for eye in EYES[len(points)])            # (2,), (2,)
    apart = float((right - left).norm())
    if not 1e-3 < apart < math.inf:
        raise DataError(f"the eyes lie {apart:g} pixels apart, at {left.tolist()} and {right.tolist()}; expected the "
                        f"landmarks of a face; was one found in this picture?")
    return left, right


def _quarter(a: Tensor) -> Tensor:
    """A quarter turn on, from right to down: (2,) → (2,)"""
    return torch.stack([-a[1], a[0]])


def _sampled(picture: Tensor, at: Tensor, a: Tensor, b: Tensor, down: float, size: int, outside: str,
             mend: str = "are these its landmarks?") -> Tensor:
    """A rectangle of the picture, however it lies, brought to a square.

    at        (2,)   the point that comes to the middle of each row and to `down` of each column, from 0 to 1
    a, b      (2,)   the rectangle's upper and its left side
    outside, mend    what to say, and to do, where none of it is in the picture
    """
    fine_a, fine_b = (min(max(1, math.ceil(float(side.norm()) / size - 1e-6)), FINEST) for side in (a, b))
    x = (torch.arange(size * fine_a, dtype=torch.float64) + 0.5) / (size * fine_a) - 0.5             # (n,)
    y = (torch.arange(size * fine_b, dtype=torch.float64) + 0.5) / (size * fine_b) - down            # (m,)
    H, W = picture.shape[1:]
    at, a, b = (2 * v / torch.tensor([W, H], dtype=torch.float64) for v in (at, a, b))   # the picture's edges lie at ±1
    grid = ((at - 1 + x[:, None] * a) + (y[:, None] * b)[:, None]).float()               # (m, n, 2)
    if not (grid.abs().amax(-1) <= 1).any():
        raise DataError(f"{outside}, the picture is {W} × {H}; {mend}")
    grid = grid.to(picture.device)
    out = F.grid_sample(picture[None].float(), grid[None], align_corners=False)          # (1, 3, m, n)
    return F.avg_pool2d(out, (fine_b, fine_a))[0].round().clamp(0, 255).to(torch.uint8)  # (3, size, size)


@dataclass
class Aligned:
    """A clip whose faces are cropped by their landmarks as they are read."""
    clip: Clip
    points: Tensor                                              # (n, 68, 2), a face a frame

    def __len__(self) -> int:
        return len(self.clip)

    def read(self, indices: list[int], size: int | None = None) -> Tensor:
        """→   (n, 3, size, size)   uint8"""
        return _cut(self.clip, self.points, indices, lambda picture, points: crop_aligned(picture, points, size))


@dataclass
class Upright:
    """A clip whose faces are turned until their eyes are level, and cut out around their landmarks, as they are read."""
    clip: Clip
    points: Tensor                                              # (n, 68, 2), a face a frame

    def __len__(self) -> int:
        return len(self.clip)

    def name(self, t: int) -> str:
        """What to call frame t."""
        return self.clip.name(t)

    def read(self, indices: list[int], size: int | None = None) -> Tensor:
        """→   (n, 3, size, size)   uint8"""
        return _cut(self.clip, self.points, indices, lambda picture, points: upright(picture, points, None, size))


def _cut(clip: Clip, points: Tensor, indices: Sequence[int], cut: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """Each frame asked for, cut out along its landmarks: (n, 3, size, size)"""
    for t in indices:
        if not points[t].isfinite().all():
            raise DataError(f"{clip.path}: no face was found in {clip.name(t)}; leave the frame out")
    faces = []
    for t in indices:
        try:
            faces.append(cut(clip.read([t])[0], points[t]))
        except DataError as e:
            raise DataError(f"{clip.path}, {clip.name(t)}: {e}") from e
    return torch.stack(faces)
