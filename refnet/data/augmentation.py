"""How training varies a picture: where it is cut out, mirrored or not, its colours. Pictures (3, H, W), float in [0, 1]."""
import torch
from torch import Tensor

GREY = (0.299, 0.587, 0.114)                                    # how much each colour counts to the eye (ITU-R BT.601)


def crop(picture: Tensor, size: int, rng: torch.Generator | None) -> Tensor:
    """Cut out a square: anywhere with equal chance, or its middle where rng is None. (3, H, W) → (3, size, size)"""
    H, W = picture.shape[1:]
    if size > min(H, W):
        raise ValueError(f"a square of {size} does not fit into a picture of {W} × {H}")
    if rng is None:
        top, left = (H - size) // 2, (W - size) // 2
    else:
        top, left = (int(torch.randint(n - size + 1, (), generator=rng)) for n in (H, W))
    return picture[:, top:top + size, left:left + size]


def mirrored(picture: Tensor, rng: torch.Generator) -> Tensor:
    """Left for right, with a probability of one half."""
    return picture.flip(-1) if torch.rand((), generator=rng) < 0.5 else picture


def jittered(picture: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """Brightness, contrast and saturation, each times a factor in [1 − strength, 1 + strength], one after the other in any order.

    A factor mixes the picture with black, with its mean grey, with its own grey; what leaves [0, 1] is clipped after each.
    """
    if strength == 0:
        return picture
    factors = (1 + strength * (2 * torch.rand(3, generator=rng) - 1)).clamp(min=0).tolist()
    weights = picture.new_tensor(GREY)[:, None, None]
    for k in torch.randperm(3, generator=rng).tolist():
        grey = 0.0 if k == 0 else (picture * weights).sum(0, keepdim=True)              # (1, H, W)
        other = grey.mean() if k == 1 else grey
        picture = (factors[k] * picture + (1 - factors[k]) * other).clamp(0, 1)
    return picture
