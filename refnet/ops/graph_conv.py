"""Graph convolution: mix each node's neighbours by weights that come with the graph, and project."""
import torch
import torch.nn.functional as F
from torch import Tensor, nn


class GraphConv(nn.Module):
    """One layer, before any activation.

        engat (§4.5)     h' = Â h Wᵀ + b
        emotiongcn (2)   H^{l+1} = h(Â H^l W^l),  here Â H^l W^l

    h     (*, N, T)   node features
    A_hat (N, N)      the weights of the neighbours, as built in graphs/: rows receive
    →     (*, N, D)

    Reading: engat's Tables 6 and 7 name a GCN layer and no formula; Kipf and Welling's, and weights that start in Glorot's way, are ours.
    emotiongcn (2) has no b, and h follows in its network.
    """

    def __init__(self, T: int, D: int, bias: bool = True):
        super().__init__()
        self.W = nn.Parameter(torch.empty(D, T))
        self.bias = nn.Parameter(torch.zeros(D)) if bias else None
        nn.init.xavier_uniform_(self.W)

    def forward(self, h: Tensor, A_hat: Tensor) -> Tensor:
        out = A_hat @ (h @ self.W.mT)                                       # (*, N, D)
        return out if self.bias is None else out + self.bias


class FGGConv(nn.Module):
    """The facial graph generator's layer: what a node is, and what its neighbours are, normalised for each node.

        megraphau (1)   v_i^FGG = σ[g(v_i, Σ_j r(v_j, a_ij))],   σ = ReLU,  g = v + BN(U v + ·),  r = â_ij V v_j

    v       (B, N, C)   node features
    A_hat   (B, N, N)   the graph's weights, as built in graphs/nearest.py: rows receive
    →       (B, N, C)

    Reading: (1) leaves σ, g and r open; as the authors' code, which also divides a_ij by K. BN has one mean and one variance for each
    node, over samples and channels.
    """

    def __init__(self, C: int, N: int):
        super().__init__()
        self.U, self.V, self.bn = nn.Linear(C, C), nn.Linear(C, C), nn.BatchNorm1d(N)
        for layer in (self.U, self.V):
            nn.init.normal_(layer.weight, std=(2 / C) ** 0.5)

    def forward(self, v: Tensor, A_hat: Tensor) -> Tensor:
        return F.relu(v + self.bn(A_hat @ self.V(v) + self.U(v)))           # (B, N, C)
