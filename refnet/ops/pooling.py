"""Graph pooling: keep the nodes that a score calls important, and sum a graph up in one vector."""
import math

import torch
from torch import Tensor, nn

from refnet.ops.edge_attention import EdgeNodeAttention, mix_edges


def top_k(score: Tensor, ratio: float) -> Tensor:
    """The highest scores' nodes: ⌈ratio · N⌉ of them, in the nodes' own order; of equal scores the lower index stays.

        engat (§3.2)   idx = top-rank(score, ⌈k N⌉)

    score   (B, N)
    ratio   k in (0, 1]
    →       (B, ⌈k N⌉)   node numbers, ascending

    Reading: 75 % of 153 nodes are 114.75, and §3.2 neither rounds nor speaks of equal scores. Upwards, as [32]'s code, and the
    lower index are ours.
    Raises ValueError for a ratio outside (0, 1].
    """
    if not 0 < ratio <= 1:
        raise ValueError(f"ratio is {ratio}; it must be above 0, and 1 at most")
    keep = math.ceil(ratio * score.shape[-1] - 1e-9)                       # 0.7 · 10 is a little over 7 in binary
    best = score.sort(dim=-1, descending=True, stable=True).indices[..., :keep]                         # (B, n)
    return best.sort(-1).values


def gate(h: Tensor, score: Tensor, kept: Tensor) -> Tensor:
    """The kept nodes, each times its score, which lets a gradient reach the score.

        engat (§3.2)   h' = h[idx] · tanh(score[idx])

    h (B, N, D), score (B, N), kept (B, n) → (B, n, D)

    Scores are compared before the gate, as tanh makes large ones equal.

    Reading: §3.2 names SAGPool [32] and not the gate; tanh, as there, is ours.
    """
    b = torch.arange(len(h), device=h.device)[:, None]                                                  # (B, 1)
    return h[b, kept] * torch.tanh(score[b, kept])[..., None]                                           # (B, n, D)


def induced(A: Tensor, f: Tensor | None, kept: Tensor) -> tuple[Tensor, Tensor | None]:
    """The edges among the kept nodes: the new graph.

        engat (§3.2)   A' = A[idx, idx],   f' = f[idx, idx]

    A (N, N) or (B, N, N), f (B, N, N, E) or None, kept (B, n) → A' (B, n, n), f' (B, n, n, E) or None
    """
    rows, columns = kept[:, :, None], kept[:, None, :]                                                  # (B, n, 1), (B, 1, n)
    b = torch.arange(len(kept), device=kept.device)[:, None, None]                                      # (B, 1, 1)
    among = A[rows, columns] if A.dim() == 2 else A[b, rows, columns]                                   # (B, n, n)
    return among, None if f is None else f[b, rows, columns]                                            # (B, n, n, E)


class SAGPool(nn.Module):
    """Self-attention graph pooling: the score is one channel of graph attention.

        engat (§3.2)   score = a graph attention layer of (h, A, f), one channel

    h (B, N, D), edges (2, M), f (B, M, E) or None → h' (B, n, D), and the kept nodes (B, n); `induced` gives their graph

    Reading: §3.2 takes the scores "from the graph attention layer" and says no more. A layer of its own, one channel wide,
    that reads the edges too, and without σ, which would tie all scores below 0, is ours.
    """

    def __init__(self, D: int, ratio: float, E: int = 2, slope: float = 0.2):
        super().__init__()
        self.score, self.ratio = EdgeNodeAttention(D, 1, E, slope), ratio

    def forward(self, h: Tensor, edges: Tensor, f: Tensor | None) -> tuple[Tensor, Tensor]:
        score = mix_edges(h, edges, f, self.score)[..., 0]                                              # (B, N)
        kept = top_k(score, self.ratio)                                                                 # (B, n)
        return gate(h, score, kept), kept


def readout(h: Tensor) -> Tensor:
    """Sum a graph up: the mean over its nodes beside the largest.

        engat (§3.2)   r = mean_i h_i ‖ max_i h_i

    h   (*, N, D)
    →   (*, 2D)

    Reading: §3.2 has global average and global max pooling, not how they meet; side by side as in [33].
    """
    return torch.cat([h.mean(-2), h.amax(-2)], -1)
