"""How alike a node is to what a unit looks like: the cosine of two vectors without negative numbers."""
import torch.nn.functional as F
from torch import Tensor


def similarity(v: Tensor, s: Tensor) -> Tensor:
    """The probability that each action unit is there.

        megraphau (2)   p_i = ReLU(v_i)ᵀ ReLU(s_i) / (‖ReLU(v_i)‖₂ ‖ReLU(s_i)‖₂)

    v   (*, N, C)   a node for each unit
    s   (N, C)      what is learned of each unit
    →   (*, N)      between 0 and 1; 0 where a vector has nothing above 0, which (2) leaves open
    """
    return (F.normalize(F.relu(v), dim=-1) * F.normalize(F.relu(s), dim=-1)).sum(-1)
