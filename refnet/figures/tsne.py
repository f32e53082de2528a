"""t-SNE: points of many dimensions laid out in the plane, those close together kept close together.

van der Maaten, Hinton. Visualizing Data using t-SNE. Journal of Machine Learning Research 9, 2008. Exact, so for a few thousand
points: everything is a table of n × n.
"""
import math

import torch
from torch import Tensor

EXAGGERATION = 12.0            # of p in the first half; the 2014 paper's (4 in 2008), which tears fewer clusters apart
FIRST = 250                    # steps of it at most, and of momentum 0.5; then 0.8, as in 2008
BEST, TRIES = 1e-5, 50         # how close the entropies come to log perplexity (1e-4 is asked for), and halvings at most


@torch.no_grad()
def tsne(x: Tensor, perplexity: float = 30.0, steps: int = 500, seed: int = 0) -> Tensor:
    """Lay points out in the plane.

        face2nodes (§4.6)   y = argmin KL(P ‖ Q) = Σ_i Σ_{j≠i} p_ij log(p_ij / q_ij)

    x            (n, D)   features
    perplexity   about how many neighbours a point has; lowered to (n − 1)/3 where the points are few
    →            (n, 2)   float32, around 0

    Gradient descent with momentum and a gain for each coordinate, which grows while the sign of its gradient lasts. It starts from
    N(0, 10⁻⁴) drawn on the CPU, so that a seed means the same on every device.
    Raises ValueError for fewer than four points, and for what `affinities` refuses.
    """
    n = len(x)
    if x.dim() != 2 or n < 4:
        raise ValueError(f"t-SNE needs four points (n, D) or more; got {tuple(x.shape)}")
    p = affinities(x.float(), min(perplexity, (n - 1) / 3))                              # (n, n)
    strong = EXAGGERATION * p
    y = 1e-2 * torch.randn(n, 2, generator=torch.Generator().manual_seed(seed)).to(x.device)       # (n, 2)
    speed, gain = torch.zeros_like(y), torch.ones_like(y)
    rate = max(n / (4 * EXAGGERATION), 50.0)                                             # grows with n, Belkina and others, 2019
    first = min(FIRST, steps // 2)
    for step in range(steps):
        slope = gradient(strong if step < first else p, y)                               # (n, 2)
        gain = torch.where(slope * speed < 0, gain + 0.2, gain * 0.8).clamp(min=0.01)    # speed is downhill: < 0 is the same way
        speed = (0.5 if step < first else 0.8) * speed - rate * gain * slope
        y = y + speed
        y = y - y.mean(0)
    return y


def affinities(x: Tensor, perplexity: float) -> Tensor:
    """How close points are, as probabilities of pairs: p_ij = (p_j|i + p_i|j) / 2n.

    x   (n, D)   features
    →   (n, n)   symmetric, sums to 1, 0 on the diagonal

    See `conditional`.
    """
    p = conditional(x, perplexity)                                                       # (n, n)
    return (p + p.mT) / (2 * len(x))


@torch.no_grad()
def conditional(x: Tensor, perplexity: float) -> Tensor:
    """How likely each point takes each other one for its neighbour.

        p_j|i = exp(−β_i ‖x_i − x_j‖²) / Σ_{k≠i} exp(−β_i ‖x_i − x_k‖²),   β_i = 1 / 2σ_i²

    perplexity   of every row: β_i is such that −Σ_j p_j|i log p_j|i = log perplexity
    →            (n, n)   rows sum to 1, 0 on the diagonal

    log β is halved in on for all rows at once. Where a point has more twins than `perplexity`, they share its row alike.
    Raises ValueError for a perplexity out of 1 ... n − 1, and for features that are not finite.
    """
    n = len(x)
    if not 1 <= perplexity <= n - 1:
        raise ValueError(f"perplexity is {perplexity:g}; {n} points can have 1 to {n - 1}")
    if not x.isfinite().all():
        raise ValueError("features are NaN or infinite; look for where they come from")
    x = x - x.mean(0)
    x = x / x.abs().max().clamp(min=torch.finfo(x.dtype).tiny)                           # β makes up for it; squares stay finite
    d = torch.cdist(x, x, compute_mode="donot_use_mm_for_euclid_dist").square()          # (n, n), exact for twins
    d.fill_diagonal_(torch.inf)
    low, high = x.new_full((n, 1), -32.0), x.new_full((n, 1), 64.0)                      # (n, 1), of log₂ β
    for _ in range(TRIES):
        middle = (low + high) / 2
        p = torch.softmax(-middle.exp2() * d, 1)                                         # (n, n)
        over = torch.special.entr(p).sum(1, keepdim=True) - math.log(perplexity)         # (n, 1)
        if over.abs().max() < BEST:
            break
        low, high = torch.where(over > 0, middle, low), torch.where(over > 0, high, middle)
    return p


def gradient(p: Tensor, y: Tensor) -> Tensor:
    """Which way KL(P ‖ Q) grows.

        q_ij = (1 + ‖y_i − y_j‖²)⁻¹ / Σ_k Σ_{l≠k} (1 + ‖y_k − y_l‖²)⁻¹
        ∂C/∂y_i = 4 Σ_j (p_ij − q_ij)(y_i − y_j)(1 + ‖y_i − y_j‖²)⁻¹

    p   (n, n)   see `affinities`
    y   (n, 2)
    →   (n, 2)

    Two products, no table of n × n × 2: 1 + ‖y_i − y_j‖² = [−2y_i, 1 + ‖y_i‖², 1] · [y_j, 1, ‖y_j‖²], and for m = (p − q)(1 + ‖ ‖²)⁻¹,
    Σ_j m_ij (y_i − y_j) = (Σ_j m_ij) y_i − Σ_j m_ij y_j.
    """
    s, one = y.square().sum(1, keepdim=True), torch.ones_like(y[:, :1])                  # (n, 1), (n, 1)
    w = torch.cat([-2 * y, 1 + s, one], 1) @ torch.cat([y, one, s], 1).mT                # (n, n)
    w = w.clamp_(min=1).reciprocal_().fill_diagonal_(0)                                  # in place: new tables cost most
    m = (w / -w.sum()).add_(p).mul_(w)                                                   # (n, n)
    my = m @ torch.cat([y, one], 1)                                                      # (n, 3)
    return 4 * (my[:, 2:] * y - my[:, :2])
