"""Shifts, similarities and affine maps of the plane: fitted to points, and pictures moved by them.

A matrix (2, 3) maps points (x, y, 1) of the first picture, the source, to points of the second, the target, in pixels; the
centre of the first pixel is (0, 0).
"""
import torch
import torch.nn.functional as F
from torch import Tensor

from refnet.flow.checks import finite


# ---- matrices

def identity(like: Tensor, B: int) -> Tensor:
    """The map that moves nothing, with the dtype and device of `like`: B → (B, 2, 3)"""
    return torch.eye(2, 3, dtype=like.dtype, device=like.device).expand(B, 2, 3)


def transform(points: Tensor, matrix: Tensor) -> Tensor:
    """Where a matrix takes points: points (*, N, 2), matrix (*, 2, 3) → (*, N, 2)"""
    x, y = points[..., None].unbind(-2)                                              # (*, N, 1) each
    a, b, shift = matrix[..., None, :, :].unbind(-1)                                 # (*, 1, 2) each: its columns
    return x * a + y * b + shift


def inverse(matrix: Tensor) -> Tensor:
    """The way back, from target to source: (*, 2, 3) → (*, 2, 3)

        q = A p + t   →   p = A⁻¹ q − A⁻¹ t,      A⁻¹ = [[d, −b], [−c, a]] / (ad − bc)
    """
    (a, b, _), (c, d, _) = (row.unbind(-1) for row in matrix.unbind(-2))             # (*,) each
    turned = torch.stack([d, -b, -c, a], -1) / (a * d - b * c)[..., None]            # (*, 4)
    A = turned.unflatten(-1, (2, 2))                                                 # (*, 2, 2)
    return torch.cat([A, -(A * matrix[..., None, :, 2]).sum(-1, keepdim=True)], -1)


def after(second: Tensor, first: Tensor) -> Tensor:
    """The one map that does first, then second: (*, 2, 3), (*, 2, 3) → (*, 2, 3)

        A₂ (A₁ p + t₁) + t₂ = A₂ A₁ p + (A₂ t₁ + t₂)
    """
    moved = (second[..., :2, None] * first[..., None, :, :]).sum(-2)                 # (*, 2, 3)   A₂ [A₁ | t₁]
    return moved + F.pad(second[..., 2:], (2, 0))


# ---- from landmarks

def fit_similarity(source: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """The turn, scale and shift that bring points closest to their partners, in the sense of least squares.

        minimise  Σ w |q − (A p + t)|²  over  A = [[a, −b], [b, a]]

        with p, q counted from their weighted means:   a = Σ w (pₓqₓ + p_y q_y) / Σ w |p|²
                                                       b = Σ w (pₓq_y − p_y qₓ) / Σ w |p|²

    source   (B, N, 2)   points p, N ≥ 2
    target   (B, N, 2)   their partners q
    weight   (B, N)      0 or more; None counts all the same
    →        (B, 2, 3)   [A | t]; A never mirrors

    (0, 0) → (1, 1) and (2, 0) → (1, 5): the means are (1, 0) and (1, 3), so p = ∓(1, 0), q = ∓(0, 2), a = 0 / 2,
    b = (2 + 2) / 2 = 2: a quarter turn and twice the size, and t = (1, 3) − A (1, 0) = (1, 1).
    Raises ValueError for too few points, for points that all coincide, or for values that are not finite.
    """
    w = _pairs(source, target, weight, 2)                                            # (B, N, 1), its sum 1
    p_mean, q_mean = (w * source).sum(1), (w * target).sum(1)                        # (B, 2) each
    p, q = source - p_mean[:, None], target - q_mean[:, None]                        # (B, N, 2) each
    spread = (w * p * p).sum((1, 2))                                                 # (B,)
    if not (spread > _rounding(source)).all():
        raise ValueError("source: the points coincide, or all but one have weight 0; a similarity needs two places or more")
    a = (w * p * q).sum((1, 2)) / spread                                             # (B,)
    b = (w * (p[..., :1] * q[..., 1:] - p[..., 1:] * q[..., :1])).sum((1, 2)) / spread    # (B,)
    A = torch.stack([a, -b, b, a], 1).unflatten(1, (2, 2))                           # (B, 2, 2)
    return torch.cat([A, (q_mean - (A * p_mean[:, None]).sum(2))[..., None]], 2)


def fit_affine(source: Tensor, target: Tensor, weight: Tensor | None = None) -> Tensor:
    """The affine map that brings points closest to their partners, in the sense of least squares.

        A = (Σ w q pᵀ) (Σ w p pᵀ)⁻¹,   t = q̄ − A p̄      p, q in the sums counted from their weighted means p̄, q̄

    source   (B, N, 2)   points, N ≥ 3, not all on one line
    target   (B, N, 2)   their partners
    weight   (B, N)      0 or more; None counts all the same
    →        (B, 2, 3)   [A | t]

    Raises ValueError for too few points, for points on one line, or for values that are not finite.
    """
    w = _pairs(source, target, weight, 3)                                            # (B, N, 1), its sum 1
    p_mean, q_mean = (w * source).sum(1), (w * target).sum(1)                        # (B, 2) each
    p, q = source - p_mean[:, None], target - q_mean[:, None]                        # (B, N, 2) each
    (xx, xy), (_, yy) = (row.unbind(1) for row in _outer(w * p, p).unbind(1))        # (B,) each: Σ w p pᵀ
    area, spread = xx * yy - xy * xy, xx + yy                                        # (B,) each
    if not ((area > 16 * torch.finfo(source.dtype).eps * spread ** 2) & (spread > _rounding(source))).all():
        raise ValueError("source: the points lie on one line, or too few have a weight; an affine map needs three off a line")
    back = torch.stack([yy, -xy, -xy, xx], 1).unflatten(1, (2, 2)) / area[:, None, None]   # (B, 2, 2)
    A = _outer(_outer(w * q, p).mT, back)                                            # (B, 2, 2)
    return torch.cat([A, (q_mean - (A * p_mean[:, None]).sum(2))[..., None]], 2)


def _outer(p: Tensor, q: Tensor) -> Tensor:
    """Σ_n p_n q_nᵀ: (B, N, 2), (B, N, 2) → (B, 2, 2)"""
    return (p[..., :, None] * q[..., None, :]).sum(1)


def _pairs(source: Tensor, target: Tensor, weight: Tensor | None, least: int) -> Tensor:
    """Check pairs of points; their weights with sum 1: (B, N, 1)"""
    if source.dim() != 3 or source.shape[2] != 2 or source.shape[1] < least:
        raise ValueError(f"source is {tuple(source.shape)}; expected (B, N, 2) with N = {least} points or more")
    if target.shape != source.shape:
        raise ValueError(f"target is {tuple(target.shape)}; expected {tuple(source.shape)}, a partner for each source point")
    finite(source=source, target=target)
    if weight is None:
        return source.new_full((*source.shape[:2], 1), 1 / source.shape[1])
    if weight.shape != source.shape[:2]:
        raise ValueError(f"weight is {tuple(weight.shape)}; expected {tuple(source.shape[:2])}, one for each point")
    finite(weight=weight)
    total = weight.sum(1, keepdim=True)                                              # (B, 1)
    if (weight < 0).any() or not total.all():
        raise ValueError("weight: found a negative one, or only zeros; expected 0 or more, and some above")
    return (weight / total)[..., None]


def _rounding(points: Tensor) -> Tensor:
    """The spread that rounding alone may give to points that coincide: (B,)"""
    return (16 * torch.finfo(points.dtype).eps * points.abs().amax((1, 2))) ** 2


# ---- resampling

def sample(image: Tensor, at: Tensor, padding: str = "border") -> Tensor:
    """Read a picture between its pixels, bilinearly.

    image     (B, C, H, W)
    at        (B, N, 2)   points (x, y) in pixels
    padding   what lies outside: "border" repeats the edge, "zeros" is 0
    →         (B, C, N)   exact, to the last bit, where a point is a pixel
    """
    H, W = image.shape[2:]
    flat, low = image.flatten(2), at.floor()                                         # (B, C, H·W), (B, N, 2)
    right, down = (at - low)[:, None].unbind(-1)                                     # (B, 1, N) each
    x, y = (k.clamp(-2, n + 1).long() for k, n in zip(low.unbind(-1), (W, H)))       # (B, N) each

    def read(x: Tensor, y: Tensor) -> Tensor:
        index = y.clamp(0, H - 1) * W + x.clamp(0, W - 1)                            # (B, N)
        value = flat.gather(2, index[:, None].expand(-1, flat.shape[1], -1))         # (B, C, N)
        return value if padding == "border" else value * ((x >= 0) & (x < W) & (y >= 0) & (y < H))[:, None]

    upper = torch.lerp(read(x, y), read(x + 1, y), right)                            # (B, C, N)
    lower = torch.lerp(read(x, y + 1), read(x + 1, y + 1), right)                    # (B, C, N)
    return torch.lerp(upper, lower, down)


def grid(size: tuple[int, int], like: Tensor) -> Tensor:
    """The pixels of a picture in reading order, with the dtype and device of `like`: (H, W) → (H·W, 2), each (x, y)"""
    y, x = torch.meshgrid(*(torch.arange(n, dtype=like.dtype, device=like.device) for n in size), indexing="ij")
    return torch.stack([x, y], -1).flatten(0, 1)


def warp(image: Tensor, matrix: Tensor, size: tuple[int, int] | None = None, padding: str = "border") -> Tensor:
    """Move a picture by a matrix: what was at p comes to matrix · p, so out(q) = image(matrix⁻¹ q), read bilinearly.

    image     (B, C, H, W)
    matrix    (B, 2, 3)      from the picture's points to the result's
    size      (h, w) of the result; None keeps (H, W)
    padding   what lies outside: "border" repeats the edge, "zeros" is 0
    →         (B, C, h, w)   the identity, and whole shifts inside, give the picture bit for bit

    Raises ValueError for wrong shapes, another padding, a matrix without inverse, or values that are not finite.
    """
    if image.dim() != 4:
        raise ValueError(f"image is {tuple(image.shape)}; expected (B, C, H, W)")
    if matrix.shape != (len(image), 2, 3):
        raise ValueError(f"matrix is {tuple(matrix.shape)}; expected {(len(image), 2, 3)}, one for each image")
    if padding not in ("border", "zeros"):
        raise ValueError(f"padding is {padding!r}; expected 'border' or 'zeros'")
    finite(image=image, matrix=matrix)
    if (torch.linalg.det(matrix[:, :, :2]) == 0).any():
        raise ValueError("matrix: one has determinant 0 and maps the picture onto a line; expected one that can be undone")
    size = image.shape[2:] if size is None else size
    at = transform(grid(size, matrix), inverse(matrix)).to(image.dtype)              # (B, h·w, 2)
    return sample(image, at, padding).unflatten(2, size)                             # (B, C, h, w)
