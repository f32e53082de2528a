"""Emotion-GCN, equation by equation: the graph of emotions, classifiers out of a graph network, the losses of both tasks.

Twins are loops in float64 NumPy, written from the page; where the page is silent, from what is known of the authors' code.
Nodes stand in the paper's order: neutral, happiness, sadness, surprise, fear, disgust, anger, valence, arousal.
"""
import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn, tensor
from torch.testing import assert_close as close

from refnet.config import merge
from refnet.graphs import emotions
from refnet.models import emotiongcn
from refnet.ops import losses, metrics
from refnet.ops.graph_conv import GraphConv
from test_megraphau import numbers, random, randomised

pytestmark = pytest.mark.usefixtures("one_thread")

LN3, LN4 = math.log(3), math.log(4)


# ---- what the twins are made of

def exact(values, device):
    """Numbers as they are written, in float64."""
    return tensor(values, dtype=torch.float64, device=device)


def ranked(values):
    """Each value's rank: one more than how many are smaller; equals share the mean of the ranks they take up."""
    return np.array([1 + sum(w < v for w in values) + (sum(w == v for w in values) - 1) / 2 for v in values])


def rank_correlation(x, y, centred=True):
    """(4), the ranks' mean taken off or, as printed, not; 0 where one of the two never changes."""
    x, y = ranked(x), ranked(y)
    if centred:
        x, y = x - sum(x) / len(x), y - sum(y) / len(y)
    across, xx, yy = sum(a * b for a, b in zip(x, y)), sum(a * a for a in x), sum(b * b for b in y)
    return across / math.sqrt(xx * yy) if xx * yy > 0 else 0.0


def graph_twin(c, C, tau, p, between=None):
    """(3), (5), (6), entry by entry."""
    n = len(c)
    A, kept, out = np.zeros((n, n)), np.zeros((n, n)), np.zeros((n, n))
    for i in range(n):
        for j in range(n):
            if i == j:
                A[i, j] = 1
            elif (i < C) != (j < C):
                A[i, j] = abs(c[i, j])
            elif i < C and between is not None:
                A[i, j] = between[i, j]
            kept[i, j] = A[i, j] >= tau and A[i, j] > 0
    for i in range(n):
        others = sum(kept[i, j] for j in range(n) if j != i)
        for j in range(n):
            if i == j:
                out[i, j] = 1 - p if others else 1
            elif others:
                out[i, j] = p / others * kept[i, j]
    return out


def chain(Z, A, weights, slope=.2):
    """(2), layer by layer: each node sums what A lets it hear; LeakyReLU everywhere but at the end."""
    H = Z
    for l, W in enumerate(weights):
        said = [W @ h for h in H]
        H = np.array([sum(A[i, j] * said[j] for j in range(len(A))) for i in range(len(A))])
        if l < len(weights) - 1:
            H = np.where(H > 0, H, slope * H)
    return H


def agreement(x, y, unbiased=False):
    """(11) of two series, moments as in the authors' code if unbiased: covariance over n, variances over n − 1."""
    n = len(x)
    mx, my = sum(x) / n, sum(y) / n
    across = sum((a - mx) * (b - my) for a, b in zip(x, y)) / n
    xx = sum((a - mx) ** 2 for a in x) / (n - unbiased)
    yy = sum((b - my) ** 2 for b in y) / (n - unbiased)
    return 2 * across / (xx + yy + (mx - my) ** 2)


def finite_and_zero(loss, x):
    """A loss of 0 whose gradient is there, and 0."""
    loss.backward()
    assert loss.shape == () and loss == 0 and x.grad is not None and (x.grad == 0).all()


# ---- a network whose backbone says what it is told

class Told(nn.Module):
    """Maps that do not depend on the picture."""

    def __init__(self, maps):
        super().__init__()
        self.register_buffer("maps", maps)

    def forward(self, x):
        return self.maps[:len(x)]


SMALL, _ = merge(emotiongcn.Config, ("demo", emotiongcn.PRESETS["demo"]))


def graph_of(device, n=9, seed=3):
    """Some Â: rows sum to one, no two alike, not symmetric."""
    A = random(device, n, n, seed=seed).abs() + .1
    return A / A.sum(1, keepdim=True)


def built(device, d=5, seed=0, **more):
    """The demo's network in float64, random weights in what is not the backbone, over words of d numbers."""
    cfg = dataclasses.replace(SMALL, **more)
    n = len(cfg.classes) + 2
    model = emotiongcn.EmotionGCN(cfg, random(device, n, d, seed=7), graph_of(device, n) if cfg.gcn else None).double()
    for name, part in model.named_children():
        if name != "features":
            randomised(part, device, seed)
    return model.to(device)


def told(model, device, B=2, seed=4):
    """The network with maps of 2 × 3 places, and those maps."""
    D = model.W().shape[1]
    maps = random(device, B, D, 2, 3, seed=seed)
    model.features = Told(maps)
    return maps


def layers_of(model):
    return [numbers(next(layer.parameters())) for layer in model.gcn]


def pictures(device, B=2, S=64, dtype=torch.float64):
    return torch.rand(B, 3, S, S, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(device, dtype)


# ---- (1)

def faces_of_2x3(device):
    """Two faces of 2 × 3 pixels that normalise to whole numbers.

    Face 0: red 0 but for one 2; green −1 but for one −3; blue 1, 2, 3, 4, 5, 6. Face 1: red −4 ... −9, green 0, blue 7.
    """
    z = exact([[[[0, 0, 0], [2, 0, 0]], [[-1, -1, -1], [-1, -1, -3]], [[1, 2, 3], [4, 5, 6]]],
                [[[-4, -5, -6], [-7, -8, -9]], [[0, 0, 0], [0, 0, 0]], [[7, 7, 7], [7, 7, 7]]]], device)
    mean, deviation = tensor([.485, .456, .406], device=device), tensor([.229, .224, .225], device=device)
    return z * deviation.double()[:, None, None] + mean.double()[:, None, None]


def test_eq1_by_hand(device):
    """emotiongcn (1): the largest of each map: 2, −1, 6 and −4, 0, 7.

    Reading: no ReLU before the pooling, though the published DenseNet has one behind its features: then 2, 0, 6 and 0, 0, 7.
    Reading: pixels come at ImageNet's mean and deviation; as they are the largest of face 0 would be .943, .232, 1.756.
    """
    model = built(device)
    model.features = nn.Identity()
    x = faces_of_2x3(device)
    close(model.vector(x), exact([[2., -1, 6], [-4, 0, 7]], device), atol=1e-6, rtol=0)
    close(model.vector(x[1:]), exact([[-4., 0, 7]], device), atol=1e-6, rtol=0)


def test_eq1_the_other_poolings_by_hand(device):
    """emotiongcn (1): the baselines of the authors' code: ReLU, then the mean: 2/6, 0, 21/6 and 0, 0, 7.

    The mean alone: 2/6, −8/6, 21/6 and −39/6, 0, 7. ReLU, then the largest: 2, 0, 6 and 0, 0, 7.
    """
    for pool, relu, wanted in (("mean", True, [[1 / 3, 0, 3.5], [0, 0, 7]]), ("max", True, [[2., 0, 6], [0, 0, 7]]),
                               ("mean", False, [[1 / 3, -4 / 3, 3.5], [-6.5, 0, 7]])):
        model = built(device, pool=pool, relu=relu)
        model.features = nn.Identity()
        close(model.vector(faces_of_2x3(device)), exact(wanted, device), atol=1e-6, rtol=0)


def test_eq1_the_largest_takes_the_gradient(device):
    """emotiongcn (1): the place of the largest alone hears back."""
    model = built(device).eval()
    maps = told(model, device).requires_grad_()
    model.features.maps = maps
    model.vector(pictures(device)).sum().backward()
    flat = maps.flatten(2)
    assert (maps.grad.flatten(2) == nn.functional.one_hot(flat.argmax(-1), 6)).all()


# ---- (2)

def test_eq2_by_hand(device):
    """emotiongcn (2): three nodes (1, 0), (2, 1), (0, 3) and W = (10, 1): H W = 10, 21, 3.

    Â = ½ ½ 0, 0 1 0, ¼ ¼ ½: 15½, 21, 9¼. Reading: Â as printed, whose rows sum to one: row i is what node i listens to; the
    released code has Âᵀ: 5.75, 26.75, 1.5.
    """
    conv = GraphConv(2, 1, bias=False).to(device)
    W = next(conv.parameters())
    assert W.shape == (1, 2) and len(list(conv.parameters())) == 1
    W.data.copy_(tensor([[10., 1.]]))
    H = tensor([[1., 0.], [2., 1.], [0., 3.]], device=device)
    A = tensor([[.5, .5, 0.], [0., 1., 0.], [.25, .25, .5]], device=device)
    close(conv(H, A), tensor([[15.5], [21.], [9.25]], device=device))
    close(conv(H, A.mT), tensor([[5.75], [26.75], [1.5]], device=device))


@pytest.mark.parametrize("T, D", [(3, 5), (5, 3), (4, 1)])
def test_eq2_the_loop_twin(T, D, device):
    """emotiongcn (2): node by node, sender by sender, channel by channel; nothing is added, no activation."""
    conv, H, A = randomised(GraphConv(T, D, bias=False), device), random(device, 7, T), graph_of(device, 7)
    W, h, a, wanted = numbers(next(conv.parameters())), numbers(H), numbers(A), np.zeros((7, D))
    assert W.shape == (D, T)
    for i in range(7):
        for o in range(D):
            for j in range(7):
                for c in range(T):
                    wanted[i, o] += a[i, j] * h[j, c] * W[o, c]
    close(conv(H, A).cpu(), torch.from_numpy(wanted), atol=1e-12, rtol=0)
    assert conv(H, A).min() < 0


def test_eq2_bias_by_hand(device):
    """emotiongcn (2): with a bias, engat's: once for every node, not once for every neighbour: 1.5 + 100 of Â = ½ ½."""
    conv = GraphConv(1, 1, bias=True).to(device)
    for p in conv.parameters():
        p.data.fill_(1. if p.ndim == 2 else 100.)
    assert sorted(p.ndim for p in conv.parameters()) == [1, 2]
    H, A = tensor([[1.], [2.]], device=device), torch.full((2, 2), .5, device=device)
    close(conv(H, A), torch.full((2, 1), 101.5, device=device))


def test_eq2_gradients(device):
    """emotiongcn (2): against finite differences."""
    conv, A = randomised(GraphConv(3, 2, bias=False), device), graph_of(device, 5)
    W = next(conv.parameters())

    def run(h, w):
        return torch.func.functional_call(conv, {name: w for name, _ in conv.named_parameters()}, (h, A))

    assert torch.autograd.gradcheck(run, (random(device, 5, 3).requires_grad_(), W.detach().clone().requires_grad_()))


def two_classes(device, transposed, L=2, slope=.2):
    """The classes a and b with valence and arousal, p = 0.7: a–V, b–V, b–A; one feature that counts.

    Weights: the first feature to the first hidden one, times 1; that to the first output, times −10; else 0.
    """
    A = exact([[.3, 0., .7, 0.], [0., .3, .35, .35], [.35, .35, .3, 0.], [0., .7, 0., .3]], device)
    Z = exact([[1., 5.], [-1., 5.], [2., 5.], [0., 5.]], device)
    cfg = dataclasses.replace(SMALL, classes=("a", "b"), transposed=transposed, L=L, slope=slope)
    model = emotiongcn.EmotionGCN(cfg, Z, A).double().to(device)
    for l, layer in enumerate(model.gcn):
        W = next(layer.parameters()).data.zero_()
        W[0, 0] = -10 if l == L - 1 else 1
    return model.eval()


def test_eq2_two_layers_by_hand(device):
    """emotiongcn (2): words 1, −1, 2, 0 of a, b, valence, arousal.

    Layer 1: .3 · 1 + .7 · 2 = 1.7; −.3 + .35 · 2 = .4; .35 − .35 + .6 = .6; −.7, which LeakyReLU makes −.14.
    Layer 2: .3 · 1.7 + .7 · .6 = .93; .12 + .21 − .049 = .281; .595 + .14 + .18 = .915; .28 − .042 = .238; times −10.
    Reading: no activation behind the last: −9.3 would be −1.86.
    Reading: a slope of 0.2, as the code; with torch's 0.01 arousal were −10 (.28 − .0021) = −2.779.
    """
    W = two_classes(device, False).W()
    close(W[:, 0], exact([-9.3, -2.81, -9.15, -2.38], device), atol=1e-6, rtol=0)
    assert W.shape[0] == 4 and (W[:, 1:] == 0).all()
    close(two_classes(device, False, slope=.01).W()[3, 0], exact(-2.779, device), atol=1e-6, rtol=0)


def test_eq2_transposed_by_hand(device):
    """emotiongcn (2): Reading: the released code's Âᵀ: 1, .4, .95, −.35 → −.07; then .6325, .4035, 1.125, .119; times −10."""
    W = two_classes(device, True).W()
    close(W[:, 0], exact([-6.325, -4.035, -11.25, -1.19], device), atol=1e-6, rtol=0)


def test_eq2_one_layer_by_hand(device):
    """emotiongcn (2): Table II's L = 1: 1.7, .4, .6, −.7 times −10, no activation."""
    model = two_classes(device, False, L=1)
    close(model.W()[:, 0], exact([-17., -4., -6., 7.], device), atol=1e-6, rtol=0)
    assert len(model.gcn) == 1


def test_eq2_the_released_normalisation_is_the_transpose(device):
    """emotiongcn (2): Reading: the code's (A'' D)ᵀ D, D = rowsum^−½: rows sum to one, so D = 1, and it is A''ᵀ."""
    A = numbers(emotions.emotion_graph(emotions.AFFECTNET.to(device), 7))
    D = np.diag([sum(row) ** -.5 for row in A])
    assert abs((A @ D).T @ D - A.T).max() < 1e-12 and abs(A.T - A).max() > .5


@pytest.mark.parametrize("L, widths", [(1, (1024,)), (2, (512, 1024)), (3, (512, 512, 1024))])
def test_eq2_widths(L, widths):
    """emotiongcn (2): §IV.B: 512 and 1024. Reading: Table II's other L without widths: d → 1024; d → 512 → 512 → 1024."""
    with torch.device("meta"):
        model = emotiongcn.EmotionGCN(emotiongcn.Config(L=L), torch.zeros(9, 300), torch.zeros(9, 9))
    assert [tuple(next(layer.parameters()).shape) for layer in model.gcn] == list(zip(widths, (300, *widths)))
    assert all(len(list(layer.parameters())) == 1 for layer in model.gcn)


@pytest.mark.parametrize("L, transposed", [(1, False), (2, False), (2, True), (3, False), (3, True)])
def test_eq2_classifiers_the_loop_twin(L, transposed, device):
    """emotiongcn (2): nine nodes from words to classifiers, layer by layer, in evaluation and in training."""
    model = built(device, L=L, transposed=transposed)
    A = numbers(graph_of(device))
    wanted = torch.from_numpy(chain(numbers(random(device, 9, 5, seed=7)), A.T if transposed else A, layers_of(model)))
    for training in (True, False):
        close(model.train(training).W().cpu(), wanted, atol=1e-9, rtol=1e-9)


def test_eq2_first_weights(device):
    """emotiongcn (2): Reading: W^l begins between ± 1/√outputs, as the code: 512: ±.0442, deviation .0255.

    torch's own bound is 1/√300 = .0577, Glorot's √(6/812) = .0860.
    """
    torch.manual_seed(0)
    with torch.device(device):
        model = emotiongcn.EmotionGCN(dataclasses.replace(emotiongcn.Config(), L=2), torch.zeros(9, 300), torch.eye(9))
    for layer, outputs in zip(model.gcn, (512, 1024), strict=True):
        W = next(layer.parameters())
        assert W.abs().max() <= outputs ** -.5 and W.std().item() == pytest.approx((3 * outputs) ** -.5, rel=.02)


# ---- (3)

def test_eq3_by_hand(device):
    """emotiongcn (3): three classes and two dimensions: signs go, and whatever is not between a class and a dimension.

    Reading: valence against arousal is "else", 0; the authors' code leaves |c| there, .6 here.
    """
    c = exact([[1, .9, -.8, .4, -.3], [.9, 1, .7, -.2, .1], [-.8, .7, 1, 0, -.5], [.4, -.2, 0, 1, .6], [-.3, .1, -.5, .6, 1]],
              device)
    wanted = exact([[1, 0, 0, .4, .3], [0, 1, 0, .2, .1], [0, 0, 1, 0, .5], [.4, .2, 0, 1, 0], [.3, .1, .5, 0, 1]], device)
    before = c.clone()
    close(emotions.correlation(c, 3), wanted, atol=0, rtol=0)
    assert (c == before).all()


def test_eq3_between_classes_by_hand(device):
    """emotiongcn (§IV.E): P(j | i) between the classes instead of 0, row i, column j as given; the diagonal stays 1."""
    c = exact([[1., .9, .4, -.3], [.9, 1., -.2, .1], [.4, -.2, 1., .6], [-.3, .1, .6, 1.]], device)
    P = exact([[1., .25], [.75, 0.]], device)
    wanted = exact([[1., .25, .4, .3], [.75, 1., .2, .1], [.4, .2, 1., 0.], [.3, .1, 0., 1.]], device)
    close(emotions.correlation(c, 2, P), wanted, atol=0, rtol=0)


# ---- (4)

def test_eq4_ranks_by_hand(device):
    """emotiongcn (4): 3, 1, 3, 7 has ranks 2½, 1, 2½, 4; −1, −1, −1, −2: 3, 3, 3, 1; equal ones: all 2½; column by column."""
    x = tensor([[3., -1., 5.], [1., -1., 5.], [3., -1., 5.], [7., -2., 5.]], device=device)
    r = emotions.ranks(x)
    close(r, exact([[2.5, 3, 2.5], [1, 3, 2.5], [2.5, 3, 2.5], [4, 1, 2.5]], device), atol=0, rtol=0)
    assert r.dtype == torch.float64
    close(emotions.ranks(x.long()), r, atol=0, rtol=0)


def test_eq4_ranks_the_loop_twin(device):
    """emotiongcn (4): value by value, small whole numbers, so that there are many equals; they sum to N (N + 1) / 2."""
    x = torch.randint(-3, 4, (23, 5), generator=torch.Generator().manual_seed(0)).to(device).double()
    r = emotions.ranks(x)
    close(r.cpu(), torch.from_numpy(np.stack([ranked(column) for column in numbers(x).T], 1)), atol=0, rtol=0)
    assert (r.sum(0) == 23 * 24 / 2).all()


TIES = [[0., .1], [1., .5], [0., .3], [1., .3], [0., .2]]


def test_eq4_by_hand_with_ties(device):
    """emotiongcn (4): x = 0 1 0 1 0 has ranks 2, 4½, 2, 4½, 2; y = .1 .5 .3 .3 .2 has 1, 5, 3½, 3½, 2; both have mean 3.

    Σ xy = 2 + 3 − ½ + ¾ + 1 = 6.25; Σ x² = 7.5; Σ y² = 9.5: 6.25 / √71.25 = 0.74044.
    Reading: as printed, the mean left in: 51.25 / √(52.5 · 54.5) = 0.95811.
    """
    wanted = 6.25 / math.sqrt(71.25)
    c = emotions.spearman(tensor(TIES, device=device))
    assert c.dtype == torch.float64
    close(c, exact([[1., wanted], [wanted, 1.]], device), atol=1e-12, rtol=0)
    assert wanted == pytest.approx(.74044, abs=1e-5)
    assert rank_correlation(*np.array(TIES).T, centred=False) == pytest.approx(.95811, abs=1e-5)


def test_eq4_raw_ranks_would_know_no_opposites(device):
    """emotiongcn (4): Reading: 1 2 3 against 3 2 1: −2/2 = −1; as printed (3 + 4 + 3) / 14 = 0.71, an edge for everything.

    Over many values and no relation at all, raw ranks tend to N³/4 / (N³/3) = ¾, far above τ = 0.1.
    """
    c = emotions.spearman(tensor([[1., 3.], [2., 2.], [3., 1.]], device=device))
    close(c, exact([[1., -1.], [-1., 1.]], device), atol=1e-12, rtol=0)
    assert rank_correlation([1, 2, 3], [3, 2, 1], centred=False) == pytest.approx(10 / 14)
    x = random(device, 200, 2, seed=0)
    assert abs(rank_correlation(*numbers(x).T, centred=False) - .75) < .05
    assert emotions.spearman(x)[0, 1].abs() < .2


def test_eq4_without_ties_the_short_formula(device):
    """emotiongcn (4): ranks 3 1 4 2 5 and 1 2 3 5 4: Σ d² = 4 + 1 + 1 + 9 + 1 = 16: 1 − 6 · 16 / (5 · 24) = 0.2."""
    x = tensor([[30., -9.], [1., -8.], [44., 0.], [1.5, 7.], [100., 6.]], device=device)
    close(emotions.spearman(x)[0, 1], exact(.2, device), atol=1e-12, rtol=0)


def test_eq4_only_the_order_counts(device):
    """emotiongcn (4): x³ and eˣ instead of x: not a bit changes; −x: the sign."""
    x = random(device, 17, 3)
    x[4:7, 1] = .5
    c = emotions.spearman(x)
    y = torch.stack([x[:, 0] ** 3, x[:, 1].exp(), -x[:, 2]], 1)
    signs = exact([[1., 1., -1.], [1., 1., -1.], [-1., -1., 1.]], device)
    close(emotions.spearman(y), c * signs, atol=1e-14, rtol=0)


def test_eq4_a_constant_column(device):
    """emotiongcn (4): 0/0 off the diagonal is 0; 1 on it."""
    x = random(device, 6, 4)
    x[:, 2] = .3
    c = emotions.spearman(x)
    assert c.isfinite().all() and (c.diagonal() == 1).all() and (c[2] == tensor([0., 0., 1., 0.], device=device)).all()
    assert (c[:, 2] == c[2]).all() and c[0, 1].abs() > .01
    assert (emotions.spearman(torch.full((3, 2), .1, device=device)) == torch.eye(2, device=device)).all()


def test_eq4_the_loop_twin(device):
    """emotiongcn (4): pair by pair; five classes and two dimensions of 31 faces, in tenths, so that there are ties."""
    make = torch.Generator().manual_seed(0)
    y = torch.arange(31) % 5
    va = torch.randint(-10, 11, (31, 2), generator=make) / 10
    x = torch.cat([nn.functional.one_hot(y, 5).double(), va.double()], 1)
    wanted = np.array([[rank_correlation(a, b) for b in x.numpy().T] for a in x.numpy().T])
    c = emotions.spearman(x.to(device))
    close(c.cpu(), torch.from_numpy(wanted), atol=1e-12, rtol=0)
    assert (c == c.mT).all() and abs(wanted[0, 1] + .25) < .05


def test_eq4_of_many_faces(device):
    """emotiongcn (4): N = 60,000, the upper half marked: (N³/16) / √(N³/16 · N (N² − 1) / 12) = √(¾ N² / (N² − 1)).

    A table of all N² pairs of faces would take 28.8 GB.
    """
    N = 60_000
    y = torch.arange(N, device=device).double()
    c = emotions.spearman(torch.stack([(y >= N // 2).double(), y], 1))
    close(c[0, 1], exact(math.sqrt(.75 * N * N / (N * N - 1)), device), atol=1e-12, rtol=0)


def test_eq4_labels_by_hand(device):
    """emotiongcn (4): a column for each class, then valence and arousal; faces that lack either are left out."""
    y = tensor([0, 2, -1, 1, 0, 2], device=device)
    va = tensor([[.1, .2], [-.5, 0.], [.3, .3], [-2., -2.], [-1., 1.], [0., -1.]], device=device)
    x = emotions.label_matrix(y, va, 4)
    wanted = exact([[1, 0, 0, 0, .1, .2], [0, 0, 1, 0, -.5, 0.], [1, 0, 0, 0, -1., 1.], [0, 0, 1, 0, 0., -1.]], device)
    close(x, wanted, atol=1e-7, rtol=0)
    assert x.dtype == torch.float64
    c = emotions.spearman(x)
    assert c.isfinite().all() and (c[1, 2:] == 0).all() and (c[3, :3] == 0).all()


VALENCE = -.3351314207, .8610853835, -.4530362739, -.0275675036, -.1217877160, -.1764132274, -.3837047712
AROUSAL = -.2841010888, .0144826813, -.4337333922, .3382243749, .2355786059, .1436836234, .4137570469


def test_eq4_of_affectnet(device):
    """emotiongcn (4): what the authors' repository holds for AffectNet's training labels, digit by digit."""
    c = emotions.AFFECTNET.to(device)
    assert c.shape == (9, 9) and c.dtype == torch.float64 and (c == c.mT).all() and (c.diagonal() == 1).all()
    close(c[:7, 7:], exact([VALENCE, AROUSAL], device).mT, atol=5e-11, rtol=0)
    close(c[7, 8], exact(.0372991409, device), atol=5e-11, rtol=0)
    assert (c[:7, :7] == torch.eye(7, device=device)).all()


# ---- (5)

def test_eq5_by_hand(device):
    """emotiongcn (5): τ = 0.1: .1 is an edge, the number just below is none; the diagonal is."""
    below = math.nextafter(.1, 0)
    A = exact([[1., .1, below], [.5, 1., 0.], [.09, .100001, 1.]], device)
    close(emotions.binary(A, .1), exact([[1., 1, 0], [1, 1, 0], [0, 1, 1]], device), atol=0, rtol=0)
    close(emotions.binary(A, .5), exact([[1., 0, 0], [1, 1, 0], [0, 0, 1]], device), atol=0, rtol=0)


def test_eq5_nothing_is_filtered(device):
    """emotiongcn (5): Reading: Table II's τ = 0: by ≥ every pair would be joined, also the classes, which (3) has parted."""
    A = exact([[1., 0., 1e-9], [0., 1., .3], [1e-9, .3, 1.]], device)
    close(emotions.binary(A, 0.), exact([[1., 0, 1], [0, 1, 1], [1, 1, 1]], device), atol=0, rtol=0)


# ---- (6)

def test_eq6_by_hand(device):
    """emotiongcn (6): p = 0.7, neighbours 2, 1, 3: .35, .7, .7/3 each and .3 for itself; node 3 has none.

    Reading: (6) divides 0 by 0 there, and would leave 1 − p on the diagonal: 1, so that all rows sum to one.
    """
    A1 = exact([[1., 1, 1, 0], [0, 1, 1, 0], [1, 1, 1, 1], [0, 0, 0, 1]], device)
    t = .7 / 3
    wanted = exact([[.3, .35, .35, 0], [0, .3, .7, 0], [t, t, .3, t], [0, 0, 0, 1]], device)
    A2 = emotions.reweighted(A1, .7)
    close(A2, wanted, atol=1e-15, rtol=0)
    close(A2.sum(1), torch.ones(4, device=device).double(), atol=1e-15, rtol=0)


def test_eq6_the_sum_leaves_the_diagonal_out(device):
    """emotiongcn (6): j ≠ i: with or without self-loops in A', the same; p = 1: nothing of oneself; p = 0: nothing else."""
    A1 = exact([[1., 1, 1], [0, 1, 1], [1, 0, 1]], device)
    without = A1 - torch.eye(3, device=device)
    close(emotions.reweighted(without, .7), emotions.reweighted(A1, .7), atol=0, rtol=0)
    close(emotions.reweighted(A1, 1.), without / tensor([[2.], [1.], [1.]], device=device), atol=0, rtol=0)
    close(emotions.reweighted(A1, 0.), torch.eye(3, device=device).double(), atol=0, rtol=0)


# ---- (3), (5), (6) in turn

def printed_graph(device, classes, dims, own):
    """Rows of the seven classes: what they give to valence, arousal; of the two: what they give to the seven."""
    A = torch.eye(9, dtype=torch.float64, device=device) * own
    A[:7, 7:] = exact(classes, device)
    A[7:, :7] = exact(dims, device)
    return A


@pytest.mark.parametrize("tau, p, classes, dims", [
    (.1, .7, [[.35, .35], [.7, 0], [.35, .35], [0, .7], [.35, .35], [.35, .35], [.35, .35]],
             [[.7 / 6, .7 / 6, .7 / 6, 0, .7 / 6, .7 / 6, .7 / 6], [.7 / 6, 0, .7 / 6, .7 / 6, .7 / 6, .7 / 6, .7 / 6]]),
    (.05, .7, [[.35, .35], [.7, 0], [.35, .35], [0, .7], [.35, .35], [.35, .35], [.35, .35]],
              [[.7 / 6, .7 / 6, .7 / 6, 0, .7 / 6, .7 / 6, .7 / 6], [.7 / 6, 0, .7 / 6, .7 / 6, .7 / 6, .7 / 6, .7 / 6]]),
    (.15, .7, [[.35, .35], [.7, 0], [.35, .35], [0, .7], [0, .7], [.7, 0], [.35, .35]],
              [[.14, .14, .14, 0, 0, .14, .14], [.14, 0, .14, .14, .14, 0, .14]]),
    (0., .7, [[.35, .35]] * 7, [[.1] * 7, [.1] * 7]),
    (.1, .5, [[.25, .25], [.5, 0], [.25, .25], [0, .5], [.25, .25], [.25, .25], [.25, .25]],
             [[1 / 12, 1 / 12, 1 / 12, 0, 1 / 12, 1 / 12, 1 / 12], [1 / 12, 0, 1 / 12, 1 / 12, 1 / 12, 1 / 12, 1 / 12]]),
])
def test_eq3_5_6_of_affectnet(tau, p, classes, dims, device):
    """emotiongcn (3, 5, 6): Fig. 3's graph, entry by entry, and what Table II makes of it.

    τ = 0.1: surprise's .0276 with valence and happiness's .0145 with arousal fall; the two dimensions keep six neighbours each.
    0.05: the same. 0.15 also drops fear's .1218 and disgust's .1437: five each, .7/5 = .14. 0: all seven, .7/7 = .1, but two
    classes stay apart, and valence and arousal. p = 0.5, the supplement's.
    """
    A = emotions.emotion_graph(emotions.AFFECTNET.to(device), 7, tau=tau, p=p)
    close(A, printed_graph(device, classes, dims, 1 - p), atol=1e-12, rtol=0)
    close(A.sum(1), torch.ones(9, device=device).double(), atol=1e-12, rtol=0)


def test_eq3_valence_and_arousal_stay_apart(device):
    """emotiongcn (3, 5, 6): Reading: the code leaves their .0373 in, an edge at τ = 0.03; by (3) there is none."""
    A = emotions.emotion_graph(emotions.AFFECTNET.to(device), 7, tau=.03)
    assert A[7, 8] == A[8, 7] == 0 and A[3, 7] == 0 and A[1, 8] == 0


def test_eq6_defaults_and_columns(device):
    """emotiongcn (6): Reading: p = 0.7 as printed, not the 0.5 of supplement and code.

    At 0.5 columns sum to .58 ... .67 and 2.25: valence .5 + .5 of happiness + 5 · .25; happiness .5 + 1/12, neutral .5 + 2/12.
    """
    c = emotions.AFFECTNET.to(device)
    close(emotions.emotion_graph(c, 7), emotions.emotion_graph(c, 7, tau=.1, p=.7), atol=0, rtol=0)
    cfg = emotiongcn.Config()
    assert (cfg.tau, cfg.p, cfg.L, cfg.transposed, cfg.slope) == (.1, .7, 2, False, .2)
    wanted = exact([2 / 3, 7 / 12, 2 / 3, 7 / 12, 2 / 3, 2 / 3, 2 / 3, 2.25, 2.25], device)
    close(emotions.emotion_graph(c, 7, p=.5).sum(0), wanted, atol=1e-12, rtol=0)


@pytest.mark.parametrize("tau, p", [(.1, .7), (.3, .5), (0., .2), (.9, .7)])
@pytest.mark.parametrize("joined", [False, True])
def test_eq3_5_6_the_loop_twin(joined, tau, p, device):
    """emotiongcn (3, 5, 6): entry by entry; four classes and two dimensions, a class without neighbours among them."""
    c = emotions.spearman(random(device, 11, 6, seed=2))
    c[1, 4:], c[4:, 1] = 0, 0
    P = random(device, 4, 4).abs().clamp(max=1) if joined else None
    if joined:
        P[1], P[:, 1] = 0, 0
    A = emotions.emotion_graph(c, 4, tau=tau, p=p, between=P)
    close(A.cpu(), torch.from_numpy(graph_twin(numbers(c), 4, tau, p, numbers(P) if joined else None)), atol=1e-12, rtol=0)
    assert A[1].tolist() == [0, 1, 0, 0, 0, 0]


def test_section_4E_conditional_by_hand(device):
    """emotiongcn (§IV.E): P(j | i) = M_ij / N_i, as ML-GCN: five faces; class 0 four times, 1 three times, 2 twice, 3 never.

    0 and 1 twice together, 0 and 2 once, 1 and 2 twice: row 0: 2/4, 1/4; row 1: 2/3, 2/3; row 2: 1/2, 2/2. Not symmetric.
    """
    labels = tensor([[1, 1, 0, 0], [1, 0, 0, 0], [1, 1, 1, 0], [0, 1, 1, 0], [1, 0, 0, 0]], device=device)
    P = emotions.conditional(labels)
    wanted = exact([[1, .5, .25, 0], [2 / 3, 1, 2 / 3, 0], [.5, 1, 1, 0]], device)
    close(P[:3].double(), wanted, atol=1e-12, rtol=0)
    assert (P[3, :3] == 0).all() and P.isfinite().all()


def test_section_4E_one_label_a_face(device):
    """emotiongcn (§IV.E): Reading: with one label a face nobody is two things: the identity, and (3) is as without it."""
    labels = nn.functional.one_hot(tensor([0, 2, 1, 2, 2], device=device), 3)
    P = emotions.conditional(labels).double()
    close(P, torch.eye(3, device=device).double(), atol=0, rtol=0)
    c = emotions.spearman(random(device, 11, 5, seed=2))
    close(emotions.correlation(c, 3, P), emotions.correlation(c, 3), atol=0, rtol=0)


# ---- (7) and (10)

def test_eq7_10_by_hand(device):
    """emotiongcn (7, 10): scores 0 six times and ln 4: 1/10 six times and 4/10; valence and arousal as they are, past 1 too.

    Reading: no tanh and no bound: 1.75 stays 1.75 (tanh: .94).
    """
    out = tensor([[0., 0, 0, 0, 0, 0, LN4, .5, 1.75], [0, LN4, 0, 0, 0, 0, 0, -1.5, 0]], device=device)
    said = emotiongcn.predict(out, emotiongcn.Config())
    p = torch.stack([said[f"p_{name}"] for name in emotiongcn.Config().classes], 1)
    wanted = torch.full((2, 7), .1, device=device)
    wanted[0, 6] = wanted[1, 1] = .4
    close(p, wanted)
    assert said["predicted"].tolist() == [6, 1]
    close(said["predicted_valence"], tensor([.5, -1.5], device=device))
    close(said["predicted_arousal"], tensor([1.75, 0.], device=device))


def test_order_of_the_nodes():
    """§III.B.1: V = {Neutral, Happy, Sad, Surprise, Fear, Disgust, Anger, Valence, Arousal}."""
    cfg = emotiongcn.Config()
    assert cfg.classes == ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")
    assert cfg.names == (*cfg.classes, "valence", "arousal")


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("transposed", [False, True])
def test_eq1_2_7_10_the_loop_twin(transposed, training, device):
    """emotiongcn (1, 2, 7, 10): maps to vectors, words to classifiers, their products, to the columns of a table."""
    model = built(device, transposed=transposed).train(training)
    maps, A = numbers(told(model, device)), numbers(graph_of(device))
    W = chain(numbers(random(device, 9, 5, seed=7)), A.T if transposed else A, layers_of(model))
    x = np.array([[max(channel.flatten()) for channel in sample] for sample in maps])
    scores = np.array([[sum(w[c] * v[c] for c in range(len(v))) for w in W] for v in x])
    out = model(pictures(device))
    close(out.cpu(), torch.from_numpy(scores), atol=1e-9, rtol=1e-9)
    said = emotiongcn.predict(out * .01, model.cfg)
    for b, row in enumerate(.01 * scores):
        odds = [math.exp(s) for s in row[:7]]
        for c, name in enumerate(model.cfg.classes):
            assert said[f"p_{name}"][b].item() == pytest.approx(odds[c] / sum(odds), abs=1e-6)
        assert sum(said[f"p_{name}"][b].item() for name in model.cfg.classes) == pytest.approx(1, abs=1e-6)
        assert said["predicted"][b] == np.argmax(row[:7])
        assert said["predicted_valence"][b].item() == pytest.approx(row[7], rel=1e-5)
        assert said["predicted_arousal"][b].item() == pytest.approx(row[8], rel=1e-5)


# ---- (9)

COUNTS = 74874, 134415, 25459, 14090, 6378, 3803, 24882


def test_eq9_of_affectnet(device):
    """emotiongcn (9): the weights of the authors' code, to its digits: disgust, the rarest, weighs 1.

    Reading: f_i / f_min as printed would weigh the largest class most, happiness 134415 / 3803 = 35.344, against "penalized
    more for misclassifying samples from under-represented classes".
    """
    f = tensor(COUNTS, device=device)
    w = losses.class_weights(f)
    close(w.double(), exact([.05079, .02829, .14938, .26991, .59627, 1., .15284], device), atol=5e-6, rtol=0)
    printed = losses.class_weights(f, printed=True)
    close(printed.double(), exact([19.688, 35.344, 6.694, 3.705, 1.677, 1., 6.543], device), atol=5e-4, rtol=0)


def test_eq9_by_hand(device):
    """emotiongcn (9): 8, 2, 4 faces: ¼, 1, ½; as printed 4, 1, 2."""
    f = tensor([8, 2, 4], device=device)
    assert losses.class_weights(f).tolist() == [.25, 1, .5] and losses.class_weights(f, printed=True).tolist() == [4, 1, 2]


@pytest.mark.parametrize("printed", [False, True])
def test_eq9_an_absent_class(printed, device):
    """emotiongcn (9): a class of no faces at all is refused: f_min would be 0."""
    with pytest.raises(ValueError, match="0"):
        losses.class_weights(tensor([8, 0, 4], device=device), printed=printed)


# ---- (8)

def test_eq8_by_hand(device):
    """emotiongcn (8): odds 1 : 3, first the one, then the other: ln 4 and ln 4/3; weights ¼ and 1.

    Reading: over a batch the weighted mean, as the code: (¼ ln 4 + ln 4/3) / (5/4) = 0.50741; the sum as printed is 0.63426,
    its mean 0.31713. A face of unknown expression counts for nothing.
    """
    logits = exact([[0., LN3], [50., -50.], [0., LN3]], device)
    w = exact([.25, 1.], device)
    wanted = (.25 * LN4 + math.log(4 / 3)) / 1.25
    got = losses.weighted_cross_entropy(logits, tensor([0, -1, 1], device=device), w)
    close(got, exact(wanted, device))
    assert got.shape == () and wanted == pytest.approx(.50741, abs=1e-5)


def test_eq8_one_face_by_hand(device):
    """emotiongcn (8): of one face its weight cancels: ln 4, whatever w."""
    for w in (.25, 1., 7.):
        got = losses.weighted_cross_entropy(exact([[0., LN3]], device), tensor([0], device=device), exact([w, 1.], device))
        close(got, exact(LN4, device))


def test_eq8_slopes_by_hand(device):
    """emotiongcn (8): w_y (softmax − y) / Σ w_y: p = ¼, ¾; weights ¼ and 1: .2 (−¾, ¾), 0, .8 (¼, −¼)."""
    logits = exact([[0., LN3], [50., -50.], [0., LN3]], device).requires_grad_()
    losses.weighted_cross_entropy(logits, tensor([0, -1, 1], device=device), exact([.25, 1.], device)).backward()
    close(logits.grad, exact([[-.15, .15], [0, 0], [.2, -.2]], device), atol=1e-9, rtol=0)


def test_eq8_the_loop_twin(device):
    """emotiongcn (8): face by face, class by class, a third of them unknown; torch's own weighted mean says the same."""
    logits, w = random(device, 11, 5), random(device, 5, seed=2).abs() + .1
    y = tensor([0, -1, 4, 3, -1, 2, 2, -1, 1, 0, -1], device=device)
    P, weight, top, bottom = numbers(logits), numbers(w), 0, 0
    for i, c in enumerate(y.tolist()):
        if c >= 0:
            top -= weight[c] * math.log(math.exp(P[i, c]) / sum(math.exp(P[i, k]) for k in range(5)))
            bottom += weight[c]
    got = losses.weighted_cross_entropy(logits, y, w)
    close(got.cpu(), tensor(top / bottom, dtype=torch.float64))
    close(got, nn.functional.cross_entropy(logits, y, w, ignore_index=-1))


def test_eq8_large_scores(device):
    """emotiongcn (8): 1000 against 0, the wrong one: 1000, not infinity."""
    got = losses.weighted_cross_entropy(exact([[1000., 0.]], device), tensor([1], device=device), exact([1., .5], device))
    close(got, exact(1000., device))


def test_eq8_nothing_known(device):
    """emotiongcn (8): no known expression in the batch: 0, and a gradient of 0."""
    logits, y = random(device, 3, 5).requires_grad_(), tensor([-1, -1, -1], device=device)
    finite_and_zero(losses.weighted_cross_entropy(logits, y, exact([1., 1, 1, 1, 1], device)), logits)


def test_eq8_gradients(device):
    """emotiongcn (8): against finite differences."""
    y, w = tensor([0, -1, 4, 3], device=device), random(device, 5, seed=2).abs() + .1
    assert torch.autograd.gradcheck(lambda z: losses.weighted_cross_entropy(z, y, w), random(device, 4, 5).requires_grad_())


# ---- (11)

def test_eq11_by_hand(device):
    """emotiongcn (11): 1 2 3 against 2 4 6, 3 2 1, 2 3 4 and 1 2 3, column by column.

    s_x² = 2/3. First: s_y² = 8/3, s_xy = 4/3, means 2 and 4: (8/3) / (10/3 + 4) = 4/11; then −1; (4/3) / (4/3 + 1) = 4/7; 1.
    Reading: "s_x [...] the variance" and s_x² in the formula: the variance, once; twice, the first were (8/3) / (68/9 + 4).
    """
    x = exact([[1.], [2.], [3.]], device).expand(3, 4)
    y = exact([[2., 3, 2, 1], [4, 2, 3, 2], [6, 1, 4, 3]], device)
    close(losses.concordance(x, y), exact([4 / 11, -1, 4 / 7, 1], device), atol=1e-9, rtol=0)


def test_eq11_unbiased_by_hand(device):
    """emotiongcn (11): as the code, variances over n − 1: 1 and 4: (8/3) / (5 + 4) = 8/27; perfect agreement: (n − 1) / n.

    2/3 here, and at n = 35, the paper's batch, 34/35 = 0.9714. Reading: moments of one kind, the default, give 1.
    """
    x = exact([[1., 1.], [2., 2.], [3., 3.]], device)
    y = exact([[2., 1.], [4., 2.], [6., 3.]], device)
    close(losses.concordance(x, y, unbiased=True), exact([8 / 27, 2 / 3], device), atol=1e-9, rtol=0)
    z = random(device, 35, 1)
    assert losses.concordance(z, z, unbiased=True).item() == pytest.approx(.9714, abs=5e-5)
    assert losses.concordance(z, z).item() == pytest.approx(1, abs=1e-9)


@pytest.mark.parametrize("unbiased", [False, True])
def test_eq11_the_loop_twin(unbiased, device):
    """emotiongcn (11): column by column, rows that are not known left out, whatever stands in them."""
    x, y, known = random(device, 11, 3), random(device, 11, 3, seed=2) * .5 + .3, torch.arange(11, device=device) % 3 != 1
    X, Y = numbers(x)[known.cpu()], numbers(y)[known.cpu()]
    wanted = exact([agreement(X[:, c], Y[:, c], unbiased) for c in range(3)], device)
    close(losses.concordance(x[known], y[known], unbiased=unbiased), wanted, atol=1e-9, rtol=0)
    x[~known], y[~known] = 1000, -2
    close(losses.concordance(x, y, known, unbiased), wanted, atol=1e-9, rtol=0)
    all_of = torch.ones(11, dtype=torch.bool, device=device)
    close(losses.concordance(x, y, all_of, unbiased), losses.concordance(x, y, unbiased=unbiased), atol=1e-12, rtol=0)


def test_eq11_symmetric_and_bounded(device):
    """emotiongcn (11): x and y may change places; within −1 ... 1; shifting one of them away lowers it."""
    x, y = random(device, 13, 5), random(device, 13, 5, seed=2)
    rho = losses.concordance(x, y)
    close(losses.concordance(y, x), rho, atol=1e-12, rtol=0)
    assert rho.shape == (5,) and rho.abs().max() <= 1 and losses.concordance(x, x + 1).max() < .9


def test_eq11_thousandths(device):
    """emotiongcn (11): 1 2 3 against 2 4 6 is 4/11 in thousandths too: what keeps 0/0 away must not weigh in small spreads."""
    x = exact([[1.], [2.], [3.]], device) / 1000
    close(losses.concordance(x, 2 * x), exact([4 / 11], device), atol=1e-6, rtol=0)


@pytest.mark.parametrize("unbiased", [False, True])
def test_eq11_constants(unbiased, device):
    """emotiongcn (11): 0/0 is 0: equal constants, one face alone, none at all; different constants: 0/1. Finite gradients."""
    for x, y in (([.5, .5, .5], [.5, .5, .5]), ([.5, .5], [-.5, -.5]), ([.3], [.3]), ([.3], [.4])):
        x, y = exact(x, device)[:, None].requires_grad_(), exact(y, device)[:, None]
        rho = losses.concordance(x, y, unbiased=unbiased)
        rho.sum().backward()
        assert rho.tolist() == [0] and x.grad.isfinite().all(), (x, y)
    x = random(device, 3, 2).requires_grad_()
    rho = losses.concordance(x, random(device, 3, 2, seed=2), torch.zeros(3, dtype=torch.bool, device=device), unbiased)
    rho.sum().backward()
    assert rho.tolist() == [0, 0] and (x.grad == 0).all()


@pytest.mark.parametrize("unbiased", [False, True])
def test_eq11_gradients(unbiased, device):
    """emotiongcn (11): against finite differences, with a row that is not known."""
    y, known = random(device, 6, 2, seed=2), torch.arange(6, device=device) != 3
    x = random(device, 6, 2).requires_grad_()
    assert torch.autograd.gradcheck(lambda x: losses.concordance(x, y, known, unbiased), x)


# ---- (12)

def test_eq12_by_hand(device):
    """emotiongcn (12): valence 4/11 and arousal 1: 1 − (15/11) / 2 = 7/22; the code's moments: 1 − (8/27 + 2/3) / 2 = 14/27.

    The second row has no valence and arousal: −2 is no number to agree with.
    """
    x = exact([[.1, .3], [9., 9.], [.2, .1], [.3, .2]], device)
    y = exact([[.2, .3], [-2, -2], [.4, .1], [.6, .2]], device)
    close(losses.concordance_loss(x, y), exact(7 / 22, device), atol=1e-9, rtol=0)
    close(losses.concordance_loss(x, y, unbiased=True), exact(14 / 27, device), atol=1e-9, rtol=0)
    assert losses.concordance_loss(x, y).shape == ()


def test_eq12_limits(device):
    """emotiongcn (12): 0 for perfect agreement, 2 for perfect disagreement; 1 where nothing agrees: a batch of one."""
    y = random(device, 7, 2).clamp(-1, 1)
    close(losses.concordance_loss(y, y), exact(0., device), atol=1e-9, rtol=0)
    close(losses.concordance_loss(2 * y.mean(0) - y, y), exact(2., device), atol=1e-9, rtol=0)
    x = y[:1].clone().requires_grad_()
    loss = losses.concordance_loss(x, exact([[.3, -.3]], device))
    loss.backward()
    assert loss == 1 and x.grad.isfinite().all()


def test_eq12_slopes_at_unknown_rows(device):
    """emotiongcn (12): an unknown row hears nothing; the others do."""
    x, y = random(device, 5, 2).requires_grad_(), random(device, 5, 2, seed=2).clamp(-1, 1)
    y[3] = -2
    losses.concordance_loss(x, y).backward()
    assert (x.grad[3] == 0).all() and (x.grad[[0, 1, 2, 4]].abs() > 1e-4).all()
    assert torch.autograd.gradcheck(lambda x: losses.concordance_loss(x, y), random(device, 5, 2).requires_grad_())


@pytest.mark.parametrize("loss", [losses.concordance_loss, losses.squared_error])
def test_eq12_nothing_known(loss, device):
    """emotiongcn (12): no valence and arousal in the batch: 0, and a gradient of 0; the squared error likewise."""
    x = random(device, 3, 2).requires_grad_()
    finite_and_zero(loss(x, torch.full((3, 2), -2., device=device).double()), x)


def test_table_1_squared_error_by_hand(device):
    """Table I's MSE: .04, 0 and 0, 1 over two known rows and both dimensions: 1.04 / 4 = 0.26."""
    x = exact([[.1, .2], [0., 1.], [.5, .5]], device).requires_grad_()
    y = exact([[.3, .2], [-2., -2.], [.5, -.5]], device)
    loss = losses.squared_error(x, y)
    close(loss, exact(.26, device), atol=1e-8, rtol=0)
    loss.backward()
    close(x.grad, exact([[-.1, 0], [0, 0], [0, .5]], device), atol=1e-7, rtol=0)


# ---- L = L^c + L^r

def the_cost(device, **more):
    """Two classes, seen twice and once; two faces of odds 1 : 3, one of unknown expression; beside them (12)'s numbers."""
    cfg = dataclasses.replace(SMALL, classes=("happiness", "anger"), **more)
    out = exact([[0., LN3, .1, .3], [0., LN3, .2, .1], [7., 0., .3, .2]], device)
    target = {"expression": tensor([0, 1, -1], device=device), "va": exact([[.2, .3], [.4, .1], [.6, .2]], device)}
    seen = {"expression": tensor([0, 0, 1], device=device), "va": tensor([[.1, .2], [.3, .1], [-.5, .4]], device=device)}
    columns = {"both": slice(0, 4), "expression": slice(0, 2), "va": slice(2, 4)}[cfg.tasks]
    return emotiongcn.loss(out[:, columns], target, emotiongcn.statistics(seen, cfg), cfg, emotiongcn.stages(cfg)[0])


L_C, L_C_PRINTED = (.5 * LN4 + math.log(4 / 3)) / 1.5, (2 * LN4 + math.log(4 / 3)) / 3


@pytest.mark.parametrize("more, wanted", [
    ({}, L_C + 7 / 22), ({"unbiased": True}, L_C + 14 / 27), ({"weighted": "printed"}, L_C_PRINTED + 7 / 22),
    ({"weighted": "even"}, (LN4 + math.log(4 / 3)) / 2 + 7 / 22),
    ({"regression": "mse"}, L_C + (.01 + .04 + .09) / 6), ({"tasks": "expression", "gcn": False}, L_C),
    ({"tasks": "va", "gcn": False}, 7 / 22),
])
def test_eq8_9_12_in_training(more, wanted, device):
    """emotiongcn (8, 9, 12): L = L^c + L^r: weights ½ and 1: (½ ln 4 + ln 4/3) / 1.5 = .65387; L^r = 7/22; together .97205.

    With (9) as printed 2 and 1: (2 ln 4 + ln 4/3) / 3.
    Even: 1 and 1, the plain mean. No factor between them: the code reads one and does not use it.
    """
    close(the_cost(device, **more)["total"].double(), exact(wanted, device), atol=1e-6, rtol=0)


def test_the_terms_are_said(device):
    """L^c and L^r stand beside the total, which is their sum."""
    terms = the_cost(device)
    parts = sorted(v.item() for name, v in terms.items() if name != "total")
    assert parts == pytest.approx([7 / 22, L_C], abs=1e-6) and terms["total"].item() == pytest.approx(sum(parts), abs=1e-6)


# ---- §IV.A.2

def test_section_4A2_score_by_hand(device):
    """emotiongcn (§IV.A.2): 3 of 4, 1 of 2, 5 of 6: mean (.75 + .5 + .83333) / 3 = .69444; F1 .75, .4, .90909: mean .68636.

    0.67 · .68636 + 0.33 · .69444 = 0.68903. Reading: Acc is the mean class accuracy, as the page says; arpgnet (10) has the
    share of all frames in its place, ¾: 0.70736.
    """
    counts = tensor([[3, 1, 0], [1, 1, 0], [0, 1, 5]], device=device)
    got = metrics.emotion_score(counts)
    assert got.shape == () and got.item() == pytest.approx(.67 * (.75 + .4 + 10 / 11) / 3 + .33 * 25 / 36, abs=1e-6)
    assert got.item() == pytest.approx(.68903, abs=1e-5)
    assert metrics.expression_score(counts).item() == pytest.approx(.70736, abs=1e-5)


def test_section_4A2_a_class_that_is_nowhere(device):
    """emotiongcn (§IV.A.2): neither there nor called: it changes nothing, and is no nan."""
    counts = torch.zeros(4, 4, dtype=torch.int64, device=device)
    counts[:3, :3] = tensor([[3, 1, 0], [1, 1, 0], [0, 1, 5]], device=device)
    close(metrics.emotion_score(counts), metrics.emotion_score(counts[:3, :3]))


# ---- the whole

def test_size_by_hand():
    """DenseNet-121's layers 6,953,856; 300 · 512 + 512 · 1024 = 677,888; no bias in the scores: 7,631,744, as released.

    Without the graph a weight of 1024 and a bias for each of nine: 9,225, of seven: 7,175, of two: 2,050.
    """
    def count(**more):
        cfg = emotiongcn.Config(**more)
        with torch.device("meta"):
            model = emotiongcn.EmotionGCN(cfg, torch.zeros(9, 300), torch.zeros(9, 9) if cfg.gcn else None)
        return sum(p.numel() for p in model.parameters())
    assert count() == 7_631_744 == 6_953_856 + 300 * 512 + 512 * 1024
    assert count(gcn=False) == 6_963_081 == 6_953_856 + 9 * 1025
    assert count(gcn=False, tasks="expression") == 6_961_031 == 6_953_856 + 7 * 1025
    assert count(gcn=False, tasks="va") == 6_955_906 == 6_953_856 + 2 * 1025


def test_the_map_of_a_picture():
    """§III.A: 227 × 227 pixels give 1024 × 7 × 7; all of it is looked at by (1)."""
    cfg = emotiongcn.Config()
    assert cfg.size == 227
    with torch.device("meta"):
        model = emotiongcn.EmotionGCN(cfg, torch.zeros(9, 300), torch.zeros(9, 9)).eval()
        assert model.features(torch.zeros(1, 3, 227, 227)).shape == (1, 1024, 7, 7)
        assert model.vector(torch.zeros(2, 3, 227, 227)).shape == (2, 1024) and model.W().shape == (9, 1024)


@pytest.mark.parametrize("tasks, rows", [("both", 9), ("expression", 7), ("va", 2)])
def test_baselines_the_loop_twin(tasks, rows, device):
    """Table I's networks without the graph: a weight and a bias a node, nothing between; who is not asked is not there."""
    model = built(device, gcn=False, tasks=tasks)
    maps = numbers(told(model, device))
    heads = [p for name, p in model.named_parameters() if not name.startswith("features")]
    W = np.concatenate([numbers(p) for p in heads if p.ndim == 2])
    b = np.concatenate([numbers(p) for p in heads if p.ndim == 1])
    assert len(W) == len(b) == len(model.cfg.names) == rows and model.A is None
    x = np.array([[max(c.flatten()) for c in sample] for sample in maps])
    close(model.W().cpu(), torch.from_numpy(W), atol=0, rtol=0)
    wanted = torch.from_numpy(np.array([[sum(w * v) + k for w, k in zip(W, b)] for v in x]))
    close(model(pictures(device)).cpu(), wanted, atol=1e-9, rtol=1e-9)


def counted(model):
    """A list that grows by one whenever the first layer of the graph network runs."""
    calls = []
    model.gcn[0].register_forward_hook(lambda *_: calls.append(1))
    return calls


def test_classifiers_once_for_many_batches(device):
    """§III.B: the classifiers do not depend on the picture: in evaluation once for all batches, in training once a step."""
    model = built(device).eval()
    told(model, device)
    model.load_state_dict(model.state_dict())
    calls, x = counted(model), pictures(device)
    with torch.no_grad():
        outs = [model(x) for _ in range(3)]
    assert len(calls) == 1 and all((o == outs[0]).all() for o in outs)
    model.train()
    for _ in range(3):
        model(x).sum().backward()
    assert len(calls) == 4


def fresh(model, device):
    """What the network should answer: its W from scratch, by loops, times its vectors, and its biases if any."""
    W = chain(numbers(model.Z), numbers(model.A), layers_of(model))
    with torch.no_grad():
        return torch.from_numpy(numbers(model.vector(pictures(device))) @ W.T)


def test_classifiers_follow_their_weights(device):
    """What is remembered in evaluation is forgotten when weights are loaded, trained, or move."""
    model, other, x = built(device).eval(), built(device, seed=5), pictures(device)
    told(model, device)
    other.features = model.features
    with torch.no_grad():
        model(x)
    model.load_state_dict(other.state_dict())
    with torch.no_grad():
        close(model(x).cpu(), fresh(other, device), atol=1e-9, rtol=1e-9)

    sgd = torch.optim.SGD(model.gcn.parameters(), .1)
    model.train()(x).square().mean().backward()
    sgd.step()
    with torch.no_grad():
        after = model.eval()(x)
    close(after.cpu(), fresh(model, device), atol=1e-9, rtol=1e-9)
    assert (after.cpu() - fresh(other, device)).abs().max() > 1e-3

    half = model.to(torch.float32)
    with torch.no_grad():
        assert half(x.float()).dtype == torch.float32 and half(x.float()).device.type == device.type
        close(half(x.float()).double(), after, atol=1e-2, rtol=1e-3)


def test_classifiers_follow_a_step_in_evaluation(device):
    """A backbone whose statistics are held still is trained in evaluation mode: new classifiers after each step."""
    model, x = built(device).eval(), pictures(device)
    told(model, device)
    with torch.no_grad():
        model(x)
    sgd = torch.optim.SGD(model.gcn.parameters(), 1e-4)
    for _ in range(2):
        sgd.zero_grad()
        out = model(x)
        close(out.detach().cpu(), fresh(model, device), atol=1e-9, rtol=1e-9)
        out.square().mean().backward()
        assert all(p.grad.abs().max() > 0 for p in model.gcn.parameters())
        sgd.step()
    with torch.no_grad():
        close(model(x).cpu(), fresh(model, device), atol=1e-9, rtol=1e-9)


def test_classifiers_follow_a_change_by_hand(device):
    """In evaluation, without gradients, as in a lesson: another weight, then a graph in which everyone hears only itself."""
    model, x = built(device).eval(), pictures(device)
    told(model, device)
    with torch.no_grad():
        before = model(x)
        next(model.gcn[0].parameters()).mul_(-2)
        close(model(x).cpu(), fresh(model, device), atol=1e-9, rtol=1e-9)
        model.A.copy_(torch.eye(9))
        close(model(x).cpu(), fresh(model, device), atol=1e-9, rtol=1e-9)
        assert (model(x) - before).abs().max() > .01


def test_classifiers_after_half_precision(device):
    """An evaluation under autocast leaves nothing behind that one in full precision could not take."""
    model = built(device).float().eval()
    told(model, device)
    model, x = model.float(), pictures(device, dtype=torch.float32)
    with torch.no_grad():
        with torch.autocast(device.type, torch.bfloat16):
            assert model(x).isfinite().all()
        out = model(x)
    assert out.dtype == torch.float32
    close(out.double().cpu(), fresh(model, device), atol=1e-3, rtol=1e-4)


def test_what_is_remembered_is_not_kept(device):
    """A checkpoint is the same before and after an evaluation: weights, words and graph only."""
    model = built(device).eval()
    told(model, device)
    names = set(model.state_dict())
    with torch.no_grad():
        model(pictures(device))
    assert set(model.state_dict()) == names


@pytest.mark.parametrize("training", [True, False])
def test_one_face(training, device):
    """A batch of one, through the backbone too; in evaluation it is told the same as in company."""
    model, x = built(device).train(training), pictures(device, 3, SMALL.size)
    out = model(x[:1])
    assert out.shape == (1, 9) and out.isfinite().all()
    if not training:
        with torch.no_grad():
            close(model(x)[:1], out, atol=1e-9, rtol=1e-9)


def test_graph_in_float64_words_in_float32(device):
    """(3) to (6) are float64 and word vectors float32: the network of training labels is float32, and its graph theirs."""
    make, cfg = torch.Generator().manual_seed(0), dataclasses.replace(SMALL, tau=.05, p=.6)
    seen = {"expression": torch.randint(-1, 7, (50,), generator=make), "va": 2 * torch.rand(50, 2, generator=make) - 1}
    seen["va"][::9] = -2
    model = emotiongcn.network(cfg, emotiongcn.statistics(seen, cfg), emotiongcn.stages(cfg)[0]).to(device)
    there = (seen["expression"] >= 0) & (seen["va"][:, 0] > -2)
    x = torch.cat([nn.functional.one_hot(seen["expression"][there], 7), seen["va"][there]], 1).numpy()
    A = graph_twin(np.array([[rank_correlation(a, b) for b in x.T] for a in x.T]), 7, .05, .6)
    close(model.A.cpu().double(), torch.from_numpy(A), atol=1e-6, rtol=0)
    assert model.W().dtype == torch.float32 and 9 < (A > 0).sum() < 37
    close(model.W().double().cpu(), torch.from_numpy(chain(numbers(model.Z), A, layers_of(model))), atol=1e-5, rtol=1e-4)
