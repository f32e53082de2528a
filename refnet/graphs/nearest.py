"""A graph for each face: every node listens to the nodes that are most like it."""
import torch
from torch import Tensor


def nearest(v: Tensor, K: int, ties: bool = False) -> Tensor:
    """Connect each node to the K nodes of the highest similarity.

        megraphau (§2.1)   a_ij = 1 where Sim(i, j) = v_iᵀ v_j is among the K highest of row i

    v      (B, N, C)   node features
    ties   True takes all that are as similar as the K-th, so more than K where some are equal
    →      (B, N, N)   0 or 1; row i says to whom node i listens; the choice has no gradient

    Raises ValueError where K is not in 1 ... N.

    Reading: §2.1 does not say whether a node is its own neighbour. As in the authors' code it is a candidate like the others, and as
    its likeness to itself is mostly the highest, K = 3 mostly means two others. Nor is a_ij = a_ji made so.
    Reading: of equal similarities the lower index is taken, ours, so that a node has K neighbours, as printed; the authors' code
    takes all of them.
    """
    N = v.shape[-2]
    if not 1 <= K <= N:
        raise ValueError(f"K is {K}; a graph of {N} nodes has 1 to {N} nearest")
    v = v.float() if v.dtype in (torch.bfloat16, torch.float16) else v                  # products of 8 bits would choose others
    with torch.no_grad(), torch.autocast(v.device.type, enabled=False):
        likeness = v @ v.mT                                                             # (B, N, N)
        best = likeness.sort(dim=-1, descending=True, stable=True)
        if ties:
            return (likeness >= best.values[..., K - 1:K]).to(v.dtype)
        return torch.zeros_like(likeness).scatter_(-1, best.indices[..., :K], 1.0)


def scaled(A: Tensor) -> Tensor:
    """The weights of a graph's edges; A / K where all nodes have K neighbours.

        megraphau (§2.1)   Â_ij = a_ij / √(d_i d_j),  d_i = Σ_j a_ij

    A   (B, N, N)   →   (B, N, N)

    Reading: (1) sums over neighbours without a weight; this one is the authors' code's.
    """
    root = A.sum(-1).clamp(min=1).rsqrt()                                               # (B, N)
    return root[..., :, None] * A * root[..., None, :]
