"""Optical strain: how much a flow stretches and shears the skin, whatever it does to the head as a whole.

    flow d = (u, v)  →  e = (∇d + ∇dᵀ) / 2 = [[exx, exy], [exy, eyy]]  →  |e|
"""
import torch
from torch import Tensor

from refnet.flow.checks import finite


def strain(flow: Tensor) -> Tensor:
    """The symmetric part of the flow's gradient at each pixel: a shift has none, nor has a small turn.

        exx = ∂u/∂x      eyy = ∂v/∂y      exy = (∂u/∂y + ∂v/∂x) / 2

    flow   (B, 2, H, W)   (u, v) = (dx, dy) in pixels
    →      (B, 3, H, W)   exx, eyy, exy

    Differences are central over ±1 pixel, one-sided at the border; on an affine flow both are exact.
    Raises ValueError for another shape, a side of one pixel, or values that are not finite.
    """
    if flow.dim() != 4 or flow.shape[1] != 2 or min(flow.shape[2:]) < 2:
        raise ValueError(f"flow is {tuple(flow.shape)}; expected (B, 2, H, W), (dx, dy) in channels, each side 2 or more")
    finite(flow=flow)
    du_dx, dv_dx = torch.gradient(flow, dim=-1)[0].unbind(1)                         # (B, H, W) each
    du_dy, dv_dy = torch.gradient(flow, dim=-2)[0].unbind(1)                         # (B, H, W) each
    return torch.stack([du_dx, dv_dy, (du_dy + dv_dx) / 2], 1)                       # (B, 3, H, W)


def strain_magnitude(flow: Tensor) -> Tensor:
    """The size of the strain at each pixel, |e| = √(exx² + eyy² + 2 exy²): the length of the matrix e.

    flow   (B, 2, H, W)   (dx, dy) in pixels
    →      (B, H, W)      its gradient is 0, not NaN, where nothing is strained

    Reading: the strain papers print sums that hold the shear once, exy², or twice, exy² + eyx². e is a matrix with both
    entries, so it counts twice, and |e| then is the same in every rotated picture; with one exy² it is not.
    """
    exx, eyy, exy = strain(flow).unbind(1)                                           # (B, H, W) each
    return torch.linalg.vector_norm(torch.stack([exx, eyy, exy, exy], 1), dim=1)     # (B, H, W)
