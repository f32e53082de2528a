"""What no motion can be found from is refused by name."""
import torch
from torch import Tensor


def finite(**named: Tensor) -> None:
    """Raise ValueError for a tensor that is not float32 or float64, or holds NaN or infinity; it waits for the device.

    named   tensors of any shape, under the names that the message uses
    """
    for name, x in named.items():
        if x.dtype not in (torch.float32, torch.float64):
            raise ValueError(f"{name}: found {x.dtype}; expected float32 or float64: convert with .float()")
        if not x.isfinite().all():
            raise ValueError(f"{name}: found NaN or infinity; expected finite numbers: leave those frames out")
