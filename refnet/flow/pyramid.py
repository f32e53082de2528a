"""Blurring, resizing and image pyramids: every filter here is one matrix per axis.

    picture (H, W)  →  down @ picture @ acrossᵀ         down (h, H), across (w, W)

A row of such a matrix holds the filter's taps, and the border rule is folded into it: what a tap would read beyond the
edge is added to the pixel it falls back on. The matrices are narrow bands, so they are kept as blocks of rows, each with
the few columns it reaches; the cost then grows with the pixels, not with the picture's side.
"""
from functools import lru_cache

import torch
from torch import Tensor

BINOMIAL = (1 / 16, 4 / 16, 6 / 16, 4 / 16, 1 / 16)
BLOCK = 32                                        # rows of a block


class Band:
    """A banded matrix, in blocks of rows; its zeros outside the band cost nothing.

    matrix   (m, n)   float64, on the CPU
    like     a tensor on the device and of the dtype in which it will be used
    """

    @torch.inference_mode(False)                  # it is kept, and serves where gradients are wanted too
    def __init__(self, matrix: Tensor, like: Tensor):
        (self.rows, self.columns), self.blocks = matrix.shape, []     # of the result, of x, and the block between them
        step = BLOCK if len(matrix) > 2 * BLOCK else len(matrix)
        for start in range(0, self.rows, step):
            rows = matrix[start:start + step]
            used = rows.any(0).nonzero()[:, 0]
            columns = slice(int(used[0]), int(used[-1]) + 1)
            self.blocks.append((slice(start, start + step), columns, rows[:, columns].to(like.device, like.dtype)))

    def down(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """Along the columns of a picture: matrix @ x, x (*, n, W) → (*, m, W), put into out if that is given"""
        self._fits(x.shape[-2], x)
        out = x.new_empty(*x.shape[:-2], self.rows, x.shape[-1]) if out is None else out
        N = x.shape[:-2].numel()
        into, flat = out.view(N, *out.shape[-2:]), x.reshape(N, *x.shape[-2:])                   # (N, m, W), (N, n, W)
        for rows, columns, block in self.blocks:
            _product(torch.bmm, block.expand(N, -1, -1), flat[:, columns], into[:, rows])
        return out

    def across(self, x: Tensor, out: Tensor | None = None) -> Tensor:
        """Along its rows: x @ matrixᵀ, x (*, H, n) → (*, H, m), put into out if that is given"""
        self._fits(x.shape[-1], x)
        out = x.new_empty(*x.shape[:-1], self.rows) if out is None else out
        into, flat = out.view(-1, self.rows), x.flatten(0, -2)                                   # (N·H, m), (N·H, n)
        for rows, columns, block in self.blocks:
            _product(torch.mm, flat[:, columns], block.mT, into[:, rows])
        return out

    def _fits(self, n: int, x: Tensor) -> None:
        if n != self.columns or not x.is_floating_point():
            raise ValueError(f"this matrix takes {self.columns} pixels, as floats; got {n} of {tuple(x.shape)} {x.dtype}")


def _product(multiply, a: Tensor, b: Tensor, out: Tensor) -> None:
    """Write a product in its place; torch does so without a copy only where no gradient is wanted."""
    if torch.is_grad_enabled():
        out.copy_(multiply(a, b))
    else:
        multiply(a, b, out=out)


def grey(pictures: Tensor) -> Tensor:
    """Luminance as television defines it, and OpenCV: (*, 3, H, W) → (*, 1, H, W)"""
    r, g, b = pictures.split(1, -3)
    return .299 * r + .587 * g + .114 * b


# ---- the matrices

def gaussian(sigma: float, radius: int) -> Tensor:
    """The taps of a Gaussian, from −radius to radius, with sum 1 → (2·radius + 1,) float64"""
    i = torch.arange(-radius, radius + 1, dtype=torch.float64)
    taps = torch.exp(-i ** 2 / (2 * sigma ** 2))
    return taps / taps.sum()


def filter_matrix(n: int, taps: Tensor, border: str = "mirror", every: int = 1) -> Tensor:
    """A filter of odd length along n pixels, as a matrix.

    taps     (2r + 1,)          out[i] = Σ_k taps[k] · in[i + k − r]
    border   what is read beyond the edge: "mirror" ... 2 1 | 0 1 2 ..., "repeat" ... 0 0 | 0 1 2 ..., "zero" nothing
    every    keep pixels 0, every, 2·every, ...
    →        (ceil(n / every), n)   float64
    """
    r, i = len(taps) // 2, torch.arange(0, n, every)
    at = i[:, None] + torch.arange(-r, r + 1)                                                    # (m, 2r + 1)
    if border not in ("mirror", "repeat", "zero"):
        raise ValueError(f"border is {border!r}; it must be 'mirror', 'repeat' or 'zero'")
    inside = (at >= 0) & (at < n)
    if border == "mirror":
        at = at % max(2 * n - 2, 1)
        at = torch.minimum(at, 2 * n - 2 - at)
    at = at.clamp(0, n - 1)
    taps = torch.as_tensor(taps, dtype=torch.float64) * (inside if border == "zero" else torch.ones_like(inside))
    return torch.zeros(len(i), n, dtype=torch.float64).scatter_add_(1, at, taps)


def resize_matrix(n: int, m: int) -> Tensor:
    """Bilinear resizing from n to m pixels: centres at half pixels, the edge repeated, no antialiasing → (m, n) float64"""
    at = (torch.arange(m, dtype=torch.float64) + .5) * n / m - .5
    low, part = at.floor().long(), at - at.floor()
    matrix = torch.zeros(m, n, dtype=torch.float64)
    matrix.scatter_add_(1, low.clamp(0, n - 1)[:, None], (1 - part)[:, None])
    return matrix.scatter_add_(1, (low + 1).clamp(0, n - 1)[:, None], part[:, None])


def area_matrix(n: int, m: int) -> Tensor:
    """Resizing from n to m pixels by the mean of what each new pixel covers, m ≤ n → (m, n) float64"""
    if not 1 <= m <= n:
        raise ValueError(f"from {n} pixels to {m}: means are taken over whole pixels, so at most as many, and 1 at least")
    edge = torch.arange(m + 1, dtype=torch.float64) * n / m
    pixel = torch.arange(n, dtype=torch.float64)
    cover = torch.minimum(edge[1:, None], pixel + 1) - torch.maximum(edge[:-1, None], pixel)     # (m, n)
    return cover.clamp(min=0) * m / n


# ---- the binomial pyramid

@lru_cache(maxsize=256)
def _halving(n: int, device: torch.device, dtype: torch.dtype) -> tuple[Band, Band]:
    """From n pixels to ceil(n / 2), and back."""
    taps = torch.tensor(BINOMIAL, dtype=torch.float64)
    up = filter_matrix(n, taps)[:, ::2]                                                          # zeros between the pixels
    like = torch.empty(0, device=device, dtype=dtype)
    return Band(filter_matrix(n, taps, every=2), like), Band(up / up.sum(1, keepdim=True), like)


def halve(x: Tensor) -> Tensor:
    """Blur with (1, 4, 6, 4, 1)/16 along both axes and keep every second pixel: (*, H, W) → (*, ceil(H/2), ceil(W/2))"""
    rows, columns = (_halving(n, x.device, x.dtype)[0] for n in x.shape[-2:])
    return rows.down(columns.across(x))


def double(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Put zeros between the pixels and blur with (1, 4, 6, 4, 1)/8 along both axes, weights of sum 1: (*, h, w) → (*, *size)

    size   (H, W) with ceil(H/2) = h and ceil(W/2) = w
    """
    rows, columns = (_halving(n, x.device, x.dtype)[1] for n in size)
    return columns.across(rows.down(x))


def levels(size: tuple[int, int]) -> int:
    """How many bands a pyramid of a picture of (H, W) has: one, and one more each time both sides, halved, were 5 or more."""
    h, w = size
    count = 1
    while min(h, w) >= 5:
        h, w, count = h // 2, w // 2, count + 1
    return count


def gaussian_pyramid(x: Tensor, count: int) -> list[Tensor]:
    """The picture and count − 1 halvings of it: (*, H, W) → [(*, H, W), (*, ceil(H/2), ceil(W/2)), ...]"""
    pyramid = [x]
    for _ in range(count - 1):
        pyramid.append(halve(pyramid[-1]))
    return pyramid


def laplacian_pyramid(x: Tensor, count: int) -> list[Tensor]:
    """What each halving loses, from fine to coarse; the last is what remains: (*, H, W) → as `gaussian_pyramid`."""
    pyramid = gaussian_pyramid(x, count)
    return [fine - double(coarse, fine.shape[-2:]) for fine, coarse in zip(pyramid, pyramid[1:])] + pyramid[-1:]


def collapse(bands: list[Tensor]) -> Tensor:
    """Add a Laplacian pyramid up again: bands as `laplacian_pyramid` → the picture it came from, (*, H, W), up to rounding"""
    *bands, picture = bands
    for band in reversed(bands):
        picture = band + double(picture, band.shape[-2:])
    return picture
