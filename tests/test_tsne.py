"""t-SNE: the probabilities, the gradient, and what comes out."""
import math

import numpy as np
import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from refnet.figures.tsne import affinities, conditional, gradient, tsne


def close(a, b, tol=1e-5):
    assert_close(a, b, rtol=tol, atol=tol)


def points(device, n, D, dtype=torch.float32, seed=0):
    return torch.randn(n, D, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(device, dtype)


def clusters(device, each, D, apart, seed=0):
    """Three Gaussians of `each` points around corners of a cube, and which point is whose."""
    label = torch.arange(3 * each) % 3
    return points("cpu", 3 * each, D, seed=seed).add(apart * torch.eye(3, D)[label]).to(device), label.to(device)


# ---- slow twins, from the page, in float64 NumPy

def affinities_twin(x, perplexity):
    """A loop over points; σ_i by bisection on the perplexity 2^H with logarithms to 2, as 2008 writes it."""
    n = len(x)
    p = np.zeros((n, n))
    for i in range(n):
        low, high = 1e-6, 1e6
        for _ in range(200):
            sigma = math.sqrt(low * high)
            row = [0. if j == i else math.exp(-sum((x[i] - x[j]) ** 2) / (2 * sigma ** 2)) for j in range(n)]
            total = sum(row)
            H = -sum(v / total * math.log2(v / total) for v in row if v > 0) if total > 0 else 0.
            low, high = (low, sigma) if 2 ** H > perplexity else (sigma, high)
        p[i] = np.array(row) / total
    return np.array([[(p[i, j] + p[j, i]) / (2 * n) for j in range(n)] for i in range(n)])


def divergence(p, y):
    """KL(P ‖ Q), pair by pair over i ≠ j, q from (1 + distance²)⁻¹."""
    off = ~torch.eye(len(y), dtype=torch.bool, device=y.device)
    w = 1 / (1 + (y[:, None] - y[None]).square().sum(-1))                               # (n, n)
    q = w[off] / w[off].sum()
    return (p[off] * (p[off] / q).log()).sum()


# ---- affinities

def test_probabilities_of_three_points_by_hand(device):
    """Points 0, 1, 3 on a line. Of two others the nearer has 3/4, the farther 1/4, if the perplexity is e^H of (3/4, 1/4) = 4 / 3^¾.

    Rows: 0 (3/4, 1/4), 1 (3/4 to 0, 1/4 to 3), 3 (3/4 to 1, 1/4 to 0); so p₀₁ = (3/4 + 3/4)/6 = 1/4, p₀₃ = (1/4 + 1/4)/6 = 1/12,
    p₁₃ = (1/4 + 3/4)/6 = 1/6.
    """
    x = tensor([[0.], [1.], [3.]], device=device)
    rows = conditional(x, 4 / 3 ** .75)
    close(rows, tensor([[0., .75, .25], [.75, 0., .25], [.25, .75, 0.]], device=device), 3e-5)
    close(affinities(x, 4 / 3 ** .75), tensor([[0., 1 / 4, 1 / 12], [1 / 4, 0., 1 / 6], [1 / 12, 1 / 6, 0.]], device=device))


@pytest.mark.parametrize("perplexity", [1.5, 5., 10.])
def test_probabilities_against_loops(perplexity, device):
    """Fourteen points of five numbers, one of them far away."""
    x = points(device, 14, 5, torch.float64)
    x[3] *= 20
    got = affinities(x, perplexity)
    close(got.cpu(), torch.from_numpy(affinities_twin(x.cpu().numpy(), perplexity)), 2e-6)
    close(affinities(x.float(), perplexity).double(), got, 2e-6)


@pytest.mark.parametrize("scale", [1e-12, 1e-3, 1., 1e20])
def test_every_row_has_the_perplexity_asked_for(scale, device):
    """e^H of each row is 7 within 1e-4 of its logarithm, however large the features are; rows sum to 1, none takes itself."""
    p = conditional(scale * points(device, 60, 9) + 5 * scale, 7.)                      # (60, 60)
    H = torch.special.entr(p.double()).sum(1)
    assert (H - math.log(7)).abs().max() < 1e-4
    close(p.sum(1), torch.ones(60, device=device))
    assert (p.diagonal() == 0).all()
    P = affinities(scale * points(device, 60, 9), 7.)
    assert_close(P, P.mT, rtol=0, atol=0)
    close(P.sum(), torch.ones((), device=device))


def test_twins_and_constants(device):
    """Five twins and a perplexity of 2: each shares its row among the other four. All points alike: 1/(n − 1) each. A constant
    feature changes nothing."""
    x = points(device, 12, 3)
    x[:5] = x[0].clone()
    p = conditional(x, 2.)
    assert p.isfinite().all()
    close(p[:5, :5], (1 - torch.eye(5, device=device)) / 4)
    close(conditional(torch.full((6, 2), 3.3, device=device), 2.), (1 - torch.eye(6, device=device)) / 5)
    x = points(device, 12, 3)
    close(conditional(torch.cat([x, torch.full((12, 2), 7., device=device)], 1), 3.), conditional(x, 3.), 1e-4)


def test_what_affinities_refuse(device):
    x = points(device, 5, 2)
    for perplexity in (.9, 4.1, math.nan):
        with pytest.raises(ValueError, match="5 points can have 1 to 4"):
            affinities(x, perplexity)
    x[2, 1] = math.nan
    with pytest.raises(ValueError, match="NaN or infinite"):
        affinities(x, 2.)


# ---- gradient

def test_gradient_of_three_points_by_hand(device):
    """y = (0, 0), (1, 0), (0, 2); p₁₂ = p₁₃ = 1/4, p₂₃ = 0.

    1/(1 + d²) = 1/2, 1/5, 1/6, both ways 26/15 in all, so q = 15/52, 6/52, 5/52. (p − q)/(1 + d²): −2/52 · 1/2 = −1/52,
    7/52 · 1/5 = 7/260, −5/52 · 1/6 = −5/312.
    1: 4 (−1/52 (−1, 0) + 7/260 (0, −2)) = (1/13, −14/65).   2: 4 (−1/52 (1, 0) − 5/312 (1, −2)) = (−11/78, 5/39).
    3: what makes the sum 0, (5/78, 17/195).
    """
    p = tensor([[0., 1., 1.], [1., 0., 0.], [1., 0., 0.]], device=device) / 4
    got = gradient(p, tensor([[0., 0.], [1., 0.], [0., 2.]], device=device))
    close(got, tensor([[1 / 13, -14 / 65], [-11 / 78, 5 / 39], [5 / 78, 17 / 195]], device=device))


def test_gradient_is_that_of_the_divergence(device):
    """face2nodes (§4.6): autograd of KL(P ‖ Q) in float64, for 23 points near and far from each other; float32 within 1e-5."""
    p = affinities(points(device, 23, 4, torch.float64), 5.).clamp(min=1e-300)
    y = 3 * points(device, 23, 2, torch.float64, seed=1)
    y.requires_grad_()
    wanted, = torch.autograd.grad(divergence(p, y), y)
    close(gradient(p, y.detach()), wanted, 1e-12)
    assert gradient(p.float(), y.detach().float()).dtype == torch.float32
    close(gradient(p.float(), y.detach().float() + 30).double(), wanted, 1e-5)          # where the points lie does not count


# ---- the whole

def test_clusters_stay_apart(device, one_thread):
    """face2nodes (§4.6): 3 × 40 points of 10 numbers: nearest neighbours are of one cluster; the divergence is half the start's."""
    x, label = clusters(device, 40, 10, 15.)
    y = tsne(x, perplexity=15., steps=300)
    assert y.shape == (120, 2) and y.dtype == torch.float32 and y.device == x.device
    near = torch.cdist(y, y).fill_diagonal_(torch.inf).argmin(1)
    assert (label[near] == label).double().mean() > .95
    close(y.mean(0), torch.zeros(2, device=device), 1e-3)
    p = affinities(x, 15.).clamp(min=1e-30)
    assert divergence(p, y) < .5 * divergence(p, 1e-2 * points(device, 120, 2))


def test_a_seed_means_the_same_again(device, one_thread):
    """Equal seeds give equal places, others others; the run's own random numbers are left alone; doubles and features alike."""
    x, _ = clusters(device, 10, 4, 9.)
    state = torch.get_rng_state()
    first = tsne(x, steps=60)
    assert_close(tsne(x.double(), steps=60), first, rtol=0, atol=0)
    assert (tsne(x, steps=60, seed=1) - first).abs().max() > .1
    assert torch.equal(torch.get_rng_state(), state)


def test_the_start_is_small(device):
    """No step: N(0, 10⁻⁴), a standard deviation of 0.01, the same on every device."""
    y = tsne(points(device, 400, 3), steps=0)
    assert .0095 < y.std() < .0105
    assert_close(y.cpu(), tsne(points("cpu", 400, 3, seed=2), steps=0), rtol=0, atol=0)


def test_few_points_and_twins(device, one_thread):
    """Four points, for which a perplexity of 30 becomes 1; twins, a constant feature, all points alike: finite. Three are refused."""
    flat = torch.cat([points(device, 9, 2), torch.ones(9, 1, device=device)], 1)       # (9, 3)
    for x in (points(device, 4, 6), points(device, 7, 2).repeat(3, 1), flat, torch.ones(8, 5, device=device)):
        y = tsne(x, steps=120)
        assert y.shape == (len(x), 2) and y.isfinite().all() and y.abs().max() > 1e-3
    for x in (points(device, 3, 6), points(device, 12, 1)[:, 0]):
        with pytest.raises(ValueError, match="needs four points"):
            tsne(x)


def test_perplexity_is_lowered_for_few_points(device, one_thread):
    """Ten points have at most (10 − 1)/3 = 3: asked for 30, the same comes out as asked for 3."""
    x = points(device, 10, 4)
    assert_close(tsne(x, perplexity=30., steps=40), tsne(x, perplexity=3., steps=40), rtol=0, atol=0)
    assert (tsne(x, perplexity=2., steps=40) - tsne(x, perplexity=3., steps=40)).abs().max() > 1e-3
