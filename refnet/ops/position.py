"""Where in the sequence a node stands, as a vector of sines and cosines."""
import torch
from torch import Tensor


def sinusoid(T: int, d: int, device: torch.device | None = None) -> Tensor:
    """The Transformer's position code: pairs of sine and cosine, from fast to slow.

        arpgnet (5)   PE(pos, 2k)   = sin(pos / 10000^{2k/d})
        arpgnet (6)   PE(pos, 2k+1) = cos(pos / 10000^{2k/d})

    T    positions, 0 … T − 1
    d    width of the code, even
    →    (T, d)

    Raises ValueError for an odd d: (5) and (6) come in pairs.

    Reading: the text calls k "the dimension", but a dimension is 2k or 2k + 1; k counts the pairs, 0 … d/2 − 1.
    """
    if d % 2:
        raise ValueError(f"the position code comes in pairs of sine and cosine, so its width must be even; got {d}")
    pos = torch.arange(T, dtype=torch.float64, device=device)[:, None]                  # (T, 1)
    k = torch.arange(d // 2, dtype=torch.float64, device=device)                        # (d/2,)
    angle = pos / 10000 ** (2 * k / d)                                                  # (T, d/2)
    return torch.stack([angle.sin(), angle.cos()], dim=-1).flatten(1).float()           # (T, d)
