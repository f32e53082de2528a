"""Relation-aware graph convolution, and max-relative graph convolution, its rival: learn from the differences to one's neighbours.

Graphs are lists of neighbours, index (B, N, k): node i listens to the nodes index[:, i].
"""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refnet.ops.normalised_gelu import normalised_gelu


def bags(x: Tensor, index: Tensor) -> tuple[Tensor, Tensor]:
    """All samples' nodes one after the other, and who listens to whom among them.

    x (B, N, D), index (B, N, k) → (B·N, D), (B·N, k)
    """
    B, N = x.shape[:2]
    first = N * torch.arange(B, device=x.device)[:, None, None]                         # (B, 1, 1)
    return x.flatten(0, 1), (index + first).flatten(0, 1)


def gates(s: Tensor, index: Tensor, b: Tensor) -> Tensor:
    """How much a node listens to each of its neighbours, from one score a node.

        face2nodes (§3.3)   h(x_j − x_i) = σ(uᵀ(x_j − x_i) + b) = σ(s_j − s_i + b),   s = X u

    s (B, N), index (B, N, k), b () → (B, N, k)

    Reading: §3.3 has "a fully connected layer and a sigmoid" and not how many gates it gives: one for an edge, as the size and the
    multiply-adds of Table 2 allow no more.
    """
    s_j = s.gather(1, index.flatten(1)).unflatten(1, index.shape[1:])                   # (B, N, k)
    return torch.sigmoid(s_j - s[..., None] + b)


def relation(x: Tensor, index: Tensor, g: Tensor) -> Tensor:
    """The gated sum of the differences to the neighbours.

        face2nodes (7)   g(·) = Σ_{j∈N(i)} h(x_j − x_i) · (x_j − x_i)

    x (B, N, D), index (B, N, k), gates g (B, N, k) → (B, N, D)

    Σ_j g_ij (x_j − x_i) = Σ_j g_ij x_j − (Σ_j g_ij) x_i: a weighted bag of rows, no edge of width D. The two are nearly alike where
    nodes are, so that 16 bits would lose their difference: they are summed in 32.
    """
    kind, x, g = x.dtype, *(t.to(torch.promote_types(t.dtype, torch.float32)) for t in (x, g))
    rows, index = bags(x, index)
    near = F.embedding_bag(index, rows, per_sample_weights=g.flatten(0, 1).to(x.dtype), mode="sum").view_as(x)
    return torch.addcmul(near, g.sum(-1, keepdim=True).to(x.dtype), x, value=-1).to(kind)       # (B, N, D)


def max_relative(x: Tensor, index: Tensor) -> Tensor:
    """The largest difference to any neighbour, feature by feature.

        face2nodes (Table 4)   max_{j∈N(i)} (x_j − x_i)

    x (B, N, D), index (B, N, k) → (B, N, D)
    """
    rows, index = bags(x, index)
    return F.embedding_bag(index, rows, mode="max").view_as(x) - x                      # max_j x_j − x_i


class Update(nn.Module):
    """What a node makes of itself and of what it gathered: a layer over both, its normalisation, GELU.

        face2nodes (8)   x'_i = f([x_i, g(·)])

    x, g (B, N, D) → (B, N, 2D); (B, N, D) where groups is 1

    Reading: (8) prints a result in R^{2×D}, which can only be 2D numbers; the size of Table 2 leaves two layers: ViG's, 2D wide in four
    groups, which is taken, or a dense one from 2D to D.
    Reading: a plain [x, g] cut into four groups would show no group both. As in ViG, group q sees the q-th part of x and that of g.
    """

    def __init__(self, D: int, groups: int):
        super().__init__()
        out = 2 * D if groups > 1 else D
        self.weight = nn.Parameter(torch.empty(groups, 2 * D // groups, out // groups))
        self.bias = nn.Parameter(torch.zeros(out))
        self.bn = nn.BatchNorm1d(out)
        nn.init.normal_(self.weight, std=(groups / D) ** 0.5)                           # He's, √(2 / (2D / groups))

    def forward(self, x: Tensor, g: Tensor) -> Tensor:
        B, N = x.shape[:2]
        q = len(self.weight)
        x, g = (t.reshape(B * N, q, -1).transpose(0, 1) for t in (x, g))                # (groups, B·N, D/groups) each
        of_x, of_g = self.weight.chunk(2, 1)                                            # (groups, D/groups, out/groups) each
        out = torch.baddbmm(self.bias.view(q, 1, -1), x, of_x)                          # [x, g] W = x W_x + g W_g
        out = out.baddbmm_(g.to(out.dtype), of_g.to(out.dtype))                         # (groups, B·N, out/groups)
        return normalised_gelu(out, self.bn).unflatten(0, (B, N))                       # (B, N, 2D)


class RGConv(nn.Module):
    """Relation-aware graph convolution.

        face2nodes (6)   x'_i = f(x_i, g(x_i, N(x_i); Θ_g); Θ_f)

    x (B, N, D), index (B, N, k) → (B, N, 2D); (B, N, D) where groups is 1
    """

    def __init__(self, D: int, groups: int = 4):
        super().__init__()
        self.h, self.f = nn.Linear(D, 1), Update(D, groups)
        nn.init.kaiming_normal_(self.h.weight)
        nn.init.zeros_(self.h.bias)

    def gates(self, x: Tensor, index: Tensor) -> Tensor:
        """h of every edge: (B, N, k)"""
        return gates(x @ self.h.weight[0], index, self.h.bias)

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        return self.f(x, relation(x, index, self.gates(x, index)))


class MRGraphConv(nn.Module):
    """Max-relative graph convolution (Li et al., DeepGCNs, 2019), Table 4's rival, with the same update.

    x (B, N, D), index (B, N, k) → (B, N, 2D); (B, N, D) where groups is 1
    """

    def __init__(self, D: int, groups: int = 4):
        super().__init__()
        self.f = Update(D, groups)

    def forward(self, x: Tensor, index: Tensor) -> Tensor:
        return self.f(x, max_relative(x, index))
