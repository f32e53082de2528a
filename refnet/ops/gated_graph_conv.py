"""Gated graph convolution: every edge says, channel by channel, how much of its sender passes."""
import math

import torch.nn.functional as F
from torch import Tensor, nn


class GatedGraphConv(nn.Module):
    """One layer of GatedGCN on a complete graph whose edges have features.

        megraphau (§2.2)   ê_ij = A x_i + B x_j + E e_ij
                           e'_ij = e_ij + ReLU(BN(ê_ij))
                           η_ij = softmax_j(σ(e'_ij))
                           x'_i = ReLU(x_i + BN(U x_i + Σ_j η_ij ∘ V x_j / N))
                           cited:
                           η_ij = σ(ê_ij) / (Σ_j' σ(ê_ij') + 10⁻⁶)
                           x'_i = x_i + ReLU(BN(U x_i + Σ_j η_ij ∘ V x_j))

    A, B, E, U, V are five linear maps, as the cited work calls them; not the page's maps U_i, nodes V and edges E.

    x   (B, N, C)      node features
    e   (B, N, N, C)   edge features, e[:, i, j] from sender j to receiver i
    →   x', e' of the same shapes

    cited   the layer as the authors of [Bresson and Laurent, 2017] write it with edge features (Dwivedi et al., Benchmarking
            graph neural networks): gates that sum to one, biases, and a normalisation of every channel

    Reading: §2.2 names GatedGCN and prints no formula. The authors' own layer is the default: softmax of the gates, then 1/N,
    and a normalisation of every node and every edge over samples and channels.
    """

    def __init__(self, C: int, N: int, cited: bool = False):
        super().__init__()
        self.cited = cited
        self.A, self.B, self.E, self.U, self.V = (nn.Linear(C, C, bias=cited) for _ in range(5))
        self.bn_e, self.bn_v = nn.BatchNorm1d(C if cited else N * N), nn.BatchNorm1d(C if cited else N)
        for layer in (self.A, self.B, self.E, self.U, self.V):
            nn.init.normal_(layer.weight, std=math.sqrt(2 / C))

    def normalise(self, x: Tensor, bn: nn.BatchNorm1d) -> Tensor:
        """x (B, *, C): over all but channels where cited, else over samples and channels."""
        return bn(x.flatten(0, -2) if self.cited else x.flatten(1, -2)).view_as(x)

    def forward(self, x: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
        e_hat = self.A(x)[:, :, None] + self.B(x)[:, None] + self.E(e)                  # (B, N, N, C)
        e = e + F.relu(self.normalise(e_hat, self.bn_e))
        if self.cited:
            gate = e_hat.sigmoid()
            eta = gate / (gate.sum(2, keepdim=True) + 1e-6)                             # (B, N, N, C)
            mixed = self.U(x) + (eta * self.V(x)[:, None]).sum(2)                       # (B, N, C)
            return x + F.relu(self.normalise(mixed, self.bn_v)), e
        eta = e.sigmoid().softmax(2)                                                    # (B, N, N, C)   over the senders j
        mixed = self.U(x) + (eta * self.V(x)[:, None]).mean(2)                          # (B, N, C)      the mean: 1/N
        return F.relu(x + self.normalise(mixed, self.bn_v)), e
