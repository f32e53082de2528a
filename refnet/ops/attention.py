"""Graph attention: score every pair, normalise over a neighbourhood, mix.

Convention: A[i, j] = 1 means node i listens to node j. Rows receive.
"""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refnet.ops.scatter import scatter_softmax, scatter_sum


def attention_logits(Wx: Tensor, att: Tensor, slope: float) -> Tensor:
    """How much node j matters to node i, before any normalising.

        arpgnet (2)   e_ij = LeakyReLU(attᵀ [W x_i ‖ W x_j])

    Wx   (*, N, K, D)   projected nodes, K heads of width D; (*, N, 1, D) where all heads see the same
    att  (K, 2D)        one vector per head
    →    (*, K, N, N)

    attᵀ[u ‖ v] = att₁·u + att₂·v, so the N × N × 2D concatenation is never built.
    """
    att_1, att_2 = att.chunk(2, dim=-1)                          # (K, D), (K, D)
    u = torch.einsum("...ikd,kd->...ki", Wx, att_1)              # (*, K, N)   what i asks
    v = torch.einsum("...jkd,kd->...kj", Wx, att_2)              # (*, K, N)   what j offers
    return F.leaky_relu(u[..., :, None] + v[..., None, :], slope)


def masked_softmax(e: Tensor, A: Tensor) -> Tensor:
    """Turn scores into weights over each node's neighbourhood N_i.

        arpgnet (3)   β_ij = exp(e_ij) / Σ_{k∈N_i} exp(e_ik)
        arpgnet (9)   β_ij = exp(e_ij) / Σ_{k∈N_i} exp(e_ik), on the fusion graph
        engat (2)     α_ij = exp(e_ij) / Σ_{k∈N_i} exp(e_ik)

    e    (*, K, N, N)   scores
    A    (N, N) or (*, N, N)   nonzero where j ∈ N_i; every row needs at least one neighbour
    →    (*, K, N, N)   every row sums to 1, and is exactly 0 off the graph

    Raises ValueError where A does not fit the scores.

    Reading: arpgnet (3) is headed softmax_i, but its denominator runs over k ∈ N_i; rows are normalised.
    """
    if e.shape[-2:] != A.shape[-2:]:
        raise ValueError(f"scores are {tuple(e.shape)}, so A must end in {tuple(e.shape[-2:])}; got {tuple(A.shape)}")
    return e.masked_fill(A[..., None, :, :] == 0, float("-inf")).softmax(-1)


class GraphAttention(nn.Module):
    """One graph-attention layer; K heads, averaged.

        arpgnet (4)   x'_i = σ(Σ_{j∈N_i} β_ij W x_j)
        arpgnet (8)   x'_i = σ(Σ_{j∈N_i} β_ij W x_j), on the fusion graph

    x    (*, N, h)    node features
    A    (N, N) or (*, N, N)   adjacency, rows receive
    →    (*, N, h')

    W is linear, so it moves out of both sums: attᵀ[W x_i ‖ W x_j] = [Wᵀatt₁ ‖ Wᵀatt₂]ᵀ[x_i ‖ x_j] scores the nodes
    as they come, and Σ_j β_ij W x_j = W Σ_j β_ij x_j mixes them first. K projections of every node are never held.

    Reading: arpgnet §3.3.2 runs the single head "several times" and averages the features of all heads. A head's feature
    is the x' of (4), so σ is inside the average. σ is not named; ELU, as in the cited graph attention [21], is ours.
    Reading: arpgnet §4.2.2 gives a dropout of 0.25, not its place; it falls on β here (and before the classifier).
    """

    def __init__(self, h: int, h_out: int, heads: int = 1, slope: float = 0.01, dropout: float = 0.0):
        super().__init__()
        self.W = nn.Parameter(torch.empty(heads, h_out, h))
        self.att = nn.Parameter(torch.empty(heads, 2 * h_out))
        self.slope, self.dropout = slope, dropout
        for W in self.W:
            nn.init.kaiming_uniform_(W, nonlinearity="linear")   # §4.2.2; no activation follows W
        nn.init.kaiming_uniform_(self.att, a=slope)              # LeakyReLU follows att

    def scores(self) -> Tensor:
        """[Wᵀatt₁ ‖ Wᵀatt₂]: (K, 2h), the att of nodes that are not projected."""
        return torch.einsum("kcd,kdh->kch", self.att.unflatten(-1, (2, -1)), self.W).flatten(1)   # (K, 2h)

    def attention(self, x: Tensor, A: Tensor) -> Tensor:
        """β of (3), for the forward pass and for looking at it: (*, K, N, N)."""
        e = attention_logits(x[..., None, :], self.scores(), self.slope)                # (*, K, N, N)   Eq. 2
        return masked_softmax(e, A)                                                     #                Eq. 3

    def forward(self, x: Tensor, A: Tensor) -> Tensor:
        beta = F.dropout(self.attention(x, A), self.dropout, self.training)             # (*, K, N, N)
        mixed = (beta.flatten(-3, -2) @ x).unflatten(-2, (len(self.W), -1))             # (*, K, N, h)   Σ_j β_ij x_j
        out = torch.einsum("...knh,kdh->...knd", mixed, self.W)                         # (*, K, N, h')
        return F.elu(out).mean(-3)                                                      # (*, N, h')     Eq. 4


def edge_attention(x: Tensor, edges: Tensor, layer: GraphAttention) -> Tensor:
    """The same layer over an edge list, for graphs too large or too sparse for N × N numbers.

    x      (N, h)     node features
    edges  (2, E)     row 0 the receiver i, row 1 the sender j, self-loops included
    layer  the weights
    →      (N, h')    equal to layer(x, A) where A holds the same edges
    """
    i, j = edges
    u, v = torch.einsum("nh,kch->cnk", x, layer.scores().unflatten(-1, (2, -1)))        # (N, K) each
    e = F.leaky_relu(u[i] + v[j], layer.slope)                                          # (E, K)         Eq. 2
    beta = scatter_softmax(e, i, len(x))                                                # (E, K)         Eq. 3
    beta = F.dropout(beta, layer.dropout, layer.training)
    mixed = scatter_sum(beta[..., None] * x[j, None], i, len(x))                        # (N, K, h)      Σ_j β_ij x_j
    return F.elu(torch.einsum("nkh,kdh->nkd", mixed, layer.W)).mean(1)                  # (N, h')        Eq. 4
