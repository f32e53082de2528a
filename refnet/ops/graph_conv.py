"""Graph convolution: mix each node's neighbours by weights that are fixed, then project."""
import torch
from torch import Tensor, nn


class GraphConv(nn.Module):
    """One layer, before any activation.

        engat (§4.5)   h' = Â h Wᵀ + b

    h     (*, N, T)   node features
    A_hat (N, N)      the weights of the neighbours, as built in graphs/: rows receive
    →     (*, N, D)

    Reading: Tables 6 and 7 name a GCN layer and no formula; Kipf and Welling's, and weights that start in Glorot's way, are ours.
    """

    def __init__(self, T: int, D: int):
        super().__init__()
        self.W = nn.Parameter(torch.empty(D, T))
        self.bias = nn.Parameter(torch.zeros(D))
        nn.init.xavier_uniform_(self.W)

    def forward(self, h: Tensor, A_hat: Tensor) -> Tensor:
        return A_hat @ (h @ self.W.mT) + self.bias                          # (*, N, D)
