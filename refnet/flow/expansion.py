"""Polynomial expansion: the parabola that fits a picture best around every pixel.

    f(x) ≈ c + bᵀx + xᵀA x        Farneback. Two-Frame Motion Estimation Based on Polynomial Expansion. SCIA 2003, §2.
"""
from functools import lru_cache

import torch
from torch import Tensor

from refnet.flow.pyramid import Band, filter_matrix, gaussian


@lru_cache(maxsize=64)
def _duals(size: tuple[int, int], n: int, sigma: float, device, dtype) -> tuple[float, list[Band], list[Band]]:
    """a = Σ g i², and along either axis the filters g, g·i / a and g·(i² − a) / (b − a²), with b = Σ g i⁴"""
    g, i = gaussian(sigma or .3 * n, n), torch.arange(-n, n + 1, dtype=torch.float64)
    a, b = (g * i ** 2).sum(), (g * i ** 4).sum()
    like = torch.empty(0, device=device, dtype=dtype)
    filters = g, g * i / a, g * (i ** 2 - a) / (b - a * a)
    return float(a), *([Band(filter_matrix(side, f, "repeat"), like) for f in filters] for side in size)


@torch.no_grad()
def polynomial_expansion(image: Tensor, n: int = 5, sigma: float = 1.1, certainty: bool = False) -> Tensor:
    """Fit a parabola around every pixel; a pixel that is i columns and j rows away weighs g(i) g(j), g a Gaussian.

        r = argmin Σ_{|i|, |j| ≤ n} g(i) g(j) (r₁ + r₂ i + r₃ j + r₄ i² + r₅ j² + r₆ ij − f(x + i, y + j))²

    image   (B, H, W)
    n       the window is 2n + 1 wide
    sigma   of the Gaussian in pixels; 0 stands for 0.3 n
    →       (B, 6, H, W)   r₁ to r₆

    No gradient passes. Raises ValueError for another shape or dtype.

    Reading: §2 gives what lies beyond the edge certainty 0; OpenCV repeats the edge there, and trusts it. The default is
    OpenCV's; certainty=True is the paper's.
    """
    if certainty:
        return _certain_expansion(image, n, sigma)
    r = slope_and_curvature(image, n, sigma)                                                     # (B, 5, H, W)
    a, down, across = _duals(tuple(image.shape[-2:]), n, sigma, image.device, image.dtype)
    mean = across[0].across(down[0].down(image))                                                 # (B, H, W)
    return torch.cat([(mean - a * (r[:, 2] + r[:, 3]))[:, None], r], 1)


@torch.no_grad()
def slope_and_curvature(image: Tensor, n: int = 5, sigma: float = 1.1, certainty: bool = False) -> Tensor:
    """r₂ to r₆ of `polynomial_expansion`, all that a motion asks for: (B, H, W) → (B, 5, H, W)

    With Σ g = 1 the six functions are almost orthogonal under these weights: only 1, i² and j² meet. So three filters per
    axis, each the dual of 1, i or i², give all coefficients.
    """
    _check(image)
    if certainty:
        return _certain_expansion(image, n, sigma)[:, 1:]
    _, down, across = _duals(tuple(image.shape[-2:]), n, sigma, image.device, image.dtype)
    v, r = image.new_empty(3, *image.shape), image.new_empty(5, *image.shape)
    for p in range(3):
        down[p].down(image, out=v[p])                                                            # 1, j, j²
    for k, (p, q) in enumerate(((1, 0), (0, 1), (2, 0), (0, 2), (1, 1))):                        # i, j, i², j², ij
        across[p].across(v[q], out=r[k])
    return r.transpose(0, 1)


@lru_cache(maxsize=16)
def _certain_duals(size: tuple[int, int], n: int, sigma: float, device, dtype) -> tuple[Tensor, Tensor, list[Band], list[Band]]:
    """What `_duals` is where each pixel has a Gram matrix of its own, which only counts pixels of the picture.

    The matrix depends on how far the edges are, up to n: a pixel shares it with one of a picture of 2n + 1 pixels a side.
    →   the inverses there (2n + 1, 2n + 1, 6, 6), each pixel's place among them (H, W), and the filters g, g·i, g·i²
    """
    g, i = gaussian(sigma or .3 * n, n), torch.arange(-n, n + 1, dtype=torch.float64)
    few = [min(side, 2 * n + 1) for side in size]
    down, across = ([filter_matrix(k, g * i ** p, "zero").sum(1) for p in range(5)] for k in few)    # Σ g iᵖ inside: (k,)
    powers = (0, 0), (1, 0), (0, 1), (2, 0), (0, 2), (1, 1)                                          # of i, of j: 1 to ij
    row = lambda p, q: torch.stack([down[q + t][:, None] * across[p + s] for s, t in powers], -1)    # (k, l, 6)
    inverse = torch.linalg.inv(torch.stack([row(p, q) for p, q in powers], -2))                      # (k, l, 6, 6)
    pixels = [torch.arange(side) for side in size]
    y, x = (torch.maximum(k.clamp(max=n), k - side + short) for k, side, short in zip(pixels, size, few))
    like = torch.empty(0, device=device, dtype=dtype)
    return (inverse.flatten(0, 1).to(like), (y[:, None] * few[1] + x).to(device),
            *([Band(filter_matrix(side, g * i ** p, "zero"), like) for p in range(3)] for side in size))


def _certain_expansion(image: Tensor, n: int, sigma: float) -> Tensor:
    """`polynomial_expansion` where only pixels of the picture count."""
    _check(image)
    inverse, place, down, across = _certain_duals(tuple(image.shape[-2:]), n, sigma, image.device, image.dtype)
    v, vj, vjj = (f.down(image) for f in down)                                                   # (B, H, W) each
    sums = [across[0].across(v), across[1].across(v), across[0].across(vj), across[2].across(v), across[0].across(vjj),
            across[1].across(vj)]
    return torch.einsum("hwij,bjhw->bihw", inverse[place], torch.stack(sums, 1))


def _check(image: Tensor) -> None:
    if image.dim() != 3 or not image.is_floating_point():
        raise ValueError(f"image must be (B, H, W), float32 or float64; got {tuple(image.shape)} {image.dtype}")
