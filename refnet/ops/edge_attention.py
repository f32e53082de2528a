"""Graph attention that reads the edges: who is connected to whom, and how.

Convention: A[i, j] = 1 means node i listens to node j. f[i, j] are the features of that edge.
"""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refnet.ops.attention import masked_softmax
from refnet.ops.scatter import scatter_softmax, scatter_sum, take


def edge_logits(Wh: Tensor, f: Tensor | None, W_e: Tensor | None, a: Tensor) -> Tensor:
    """How much node j matters to node i over their edge, before LeakyReLU and normalising.

        engat (1)   e_ij = a(W h_i, W h_j, W f_ij) = aᵀ [W h_i ‖ W h_j ‖ W f_ij]

    Wh    (*, N, D)      projected nodes
    f     (*, N, N, E)   edge features; None leaves the third part out
    W_e   (D, E)         the map of the edges, or None
    a     (3D,)          (2D,) will do without edges
    →     (*, N, N)

    aᵀ[u ‖ v ‖ W_e f] = a₁·u + a₂·v + (W_eᵀ a₃)·f, so no edge is ever projected to D numbers.

    Reading: (1) prints one W for nodes and edges, whose features differ in number (2, 100 or 32, against 2): two maps.
    """
    a_1, a_2, *a_3 = a.split(Wh.shape[-1])                                              # (D,) each
    e = (Wh @ a_1)[..., :, None] + (Wh @ a_2)[..., None, :]                             # (*, N, N)
    return e if f is None else e + f @ (W_e.mT @ a_3[0])


class EdgeNodeAttention(nn.Module):
    """One layer of attention to nodes and edges, one head.

        engat (4)   h'_i = σ(Σ_{j∈N_i} α_ij W h_j)

    h    (*, N, T)                 node features
    A    (N, N) or (*, N, N)       adjacency, rows receive, self-loops as they are
    f    (*, N, N, E)              edge features, read where A is not 0; None for attention to the nodes alone
    →    (*, N, D)

    As the equations read, for graphs of any density. ENGAT's own is sparse: its network runs `mix_edges`, the same edge by edge.
    E is the number of edge features; with 0 there is no W_e, and a has two parts. slope is §3.1's.

    Reading: the edges shape the weights and are not in the sum, as (4) prints it. σ is the ReLU that §3.3 names.
    Reading: the bias behind the sum is ours, as in the code of the cited graph attention [26].
    Reading: how the weights start is not said; Glorot's way, as there, is ours.
    """

    def __init__(self, T: int, D: int, E: int = 2, slope: float = 0.2):
        super().__init__()
        self.W = nn.Parameter(torch.empty(D, T))
        self.W_e = nn.Parameter(torch.empty(D, E)) if E else None
        self.a = nn.Parameter(torch.empty((3 if E else 2) * D))
        self.bias = nn.Parameter(torch.zeros(D))
        self.slope = slope
        nn.init.xavier_uniform_(self.W)
        if E:
            nn.init.xavier_uniform_(self.W_e)
        nn.init.xavier_uniform_(self.a[None])

    def attention(self, h: Tensor, A: Tensor, f: Tensor | None) -> Tensor:
        """The weights, for the layer and for looking at them: (*, N, N)

            engat (3)   α_ij = exp(LeakyReLU(aᵀ[Wh_i ‖ Wh_j ‖ Wf_ij])) / Σ_{k∈N_i} exp(LeakyReLU(aᵀ[Wh_i ‖ Wh_k ‖ Wf_ik]))

        Reading: the text applies LeakyReLU "after calculating the normalized attention coefficients"; (3) has it before, as
        does [26], and so does this.
        """
        e = F.leaky_relu(edge_logits(h @ self.W.mT, f, self.W_e, self.a), self.slope)   # (*, N, N)   Eq. 1
        return masked_softmax(e[..., None, :, :], A)[..., 0, :, :]                      # one head    Eq. 2

    def mix(self, h: Tensor, A: Tensor, f: Tensor | None) -> Tensor:
        """(4) before its σ, for scores that may be negative: (*, N, D)"""
        return self.attention(h, A, f) @ (h @ self.W.mT) + self.bias

    def forward(self, h: Tensor, A: Tensor, f: Tensor | None) -> Tensor:
        return F.relu(self.mix(h, A, f))                                                # (*, N, D)   Eq. 4


def edge_weights(Wh: Tensor, edges: Tensor, f: Tensor | None, layer: EdgeNodeAttention) -> Tensor:
    """The layer's weights over an edge list: (1) to (3), edge by edge.

    Wh     (*, N, D)   projected nodes
    edges  (2, M)      row 0 the receiver i, row 1 the sender j, self-loops included
    f      (*, M, E)   a row an edge, or None
    →      (*, M)      α_ij of each edge
    """
    (i, j), (a_1, a_2, *a_3) = edges, layer.a.split(Wh.shape[-1])                       # (M,), (D,) each
    e = take(Wh @ a_1, i, -1) + take(Wh @ a_2, j, -1)                                   # (*, M)         Eq. 1
    e = e if f is None else e + f @ (layer.W_e.mT @ a_3[0])
    return scatter_softmax(F.leaky_relu(e, layer.slope), i, Wh.shape[-2], -1)           #                Eq. 3


def mix_edges(h: Tensor, edges: Tensor, f: Tensor | None, layer: EdgeNodeAttention) -> Tensor:
    """The same layer over an edge list: what `layer.mix` gives where A and f hold the same edges.

    h      (*, N, T)   node features; graphs of a batch share their edges
    edges  (2, M)      as above
    f      (*, M, E)   a row an edge, or None
    →      (*, N, D)   (4) before its σ

    Work and memory grow with the edges, M, not with N²: ENGAT's graph has 657 of 153² = 23,409 pairs.
    """
    Wh = h @ layer.W.mT                                                                 # (*, N, D)
    alpha = edge_weights(Wh, edges, f, layer)                                           # (*, M)
    sent = alpha[..., None] * take(Wh, edges[1], -2)                                    # (*, M, D)      α_ij W h_j
    return scatter_sum(sent, edges[0], h.shape[-2], -2) + layer.bias
