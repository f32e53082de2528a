"""Face2Nodes, equation by equation: patches of four scales, dilated neighbours, gated relations, the block, the smoothed loss.

Twins are loops in float64 NumPy, written from the page; where the page is silent, from what is known of ViG, its baseline.
"""
import dataclasses
import math

import numpy as np
import pytest
import torch
from torch import nn, tensor
from torch.testing import assert_close as close

from refnet.backbones import resnet
from refnet.models import face2nodes
from refnet.models.face2nodes import FC, MSF2PE, RDGCN
from refnet.ops.losses import smoothed, soft_cross_entropy
from refnet.ops.neighbours import dilated_knn, knn, squared_distance
from refnet.ops.normalised_gelu import NormalisedGELU, normalised_gelu
from refnet.ops.relation_conv import MRGraphConv, RGConv, gates, max_relative, relation
from refnet.training.count import multiply_adds
from test_megraphau import EPS, LN3, line, logistic, normalised, numbers, plain, random, randomised

pytestmark = pytest.mark.usefixtures("one_thread")


# ---- what the twins are made of

def gelu(z):
    """z Φ(z), Φ the normal distribution, number by number."""
    return np.vectorize(lambda t: t * .5 * (1 + math.erf(t / math.sqrt(2))))(z)


def near(X, K, itself=True, unit=False):
    """The K nearest of each node of X (N, D), nearest first, of equals the lowest index; the node itself first or never."""
    rows = [x / math.sqrt(sum(v * v for v in x)) for x in X] if unit else X
    out = []
    for i in range(len(X)):
        away = [(sum((rows[i][c] - rows[j][c]) ** 2 for c in range(len(rows[i]))), j) for j in range(len(X)) if j != i]
        out.append(([i] if itself else []) + [j for _, j in sorted(away)])
    return [row[:K] for row in out]


def dilated(X, k, d, itself=True, unit=False):
    """(5): n_1, n_{1+d}, ..., n_{1+(k−1)d} of the k·d nearest."""
    return [[row[m * d] for m in range(k)] for row in near(X, k * d, itself, unit)]


def aggregated(conv, X, index):
    """(7), or with no h the largest difference, sample by sample, node by node, neighbour by neighbour, channel by channel."""
    B, N, D = X.shape
    G = np.zeros((B, N, D))
    for b in range(B):
        for i in range(N):
            edges = [[X[b, j, c] - X[b, i, c] for c in range(D)] for j in index[b][i]]
            for c in range(D):
                if hasattr(conv, "h"):
                    G[b, i, c] = sum(logistic(line(conv.h, e)[0]) * e[c] for e in edges)
                else:
                    G[b, i, c] = max(e[c] for e in edges)
    return G


def updated(f, X, G):
    """(8): group q sees the q-th part of x, then the q-th part of g; a normalisation over samples and nodes; GELU."""
    W, bias = numbers(f.weight), numbers(f.bias)
    (groups, seen, made), (B, N, D) = W.shape, X.shape
    part, out = D // groups, np.zeros((B, N, groups * made))
    for b in range(B):
        for i in range(N):
            for q in range(groups):
                z = [*X[b, i, q * part:(q + 1) * part], *G[b, i, q * part:(q + 1) * part]]
                for o in range(made):
                    out[b, i, q * made + o] = bias[q * made + o] + sum(z[c] * W[q, c, o] for c in range(seen))
    for c in range(groups * made):
        out[..., c] = normalised(f.bn, c, out[..., c])
    return gelu(out)


def connected(layer, X):
    """A fully connected layer of every node, and one mean and variance a channel, over samples and nodes."""
    out = np.array([[line(layer.fc, x) for x in sample] for sample in X])
    for c in range(out.shape[-1]):
        out[..., c] = normalised(layer.bn, c, out[..., c])
    return out


def block_twin(block, X, k, d, itself=True, unit=False):
    """(9), then (10); the graph is built on what F_in gives."""
    inner = connected(block.F_in, X)
    index = [dilated(sample, k, d, itself, unit) for sample in inner]
    Z = connected(block.F_out, updated(block.conv.f, inner, aggregated(block.conv, inner, index))) + X
    return connected(block.M[2], gelu(connected(block.M[0], Z))) + Z


def pooled(M, side):
    """The mean of each of side × side equal windows of one map (H, W)."""
    h, w = M.shape[0] // side, M.shape[1] // side
    return np.array([[M[y * h:(y + 1) * h, x * w:(x + 1) * w].sum() / (h * w) for x in range(side)] for y in range(side)])


def convolved(layer, X):
    """A 1 × 1 convolution of one sample (C, H, W), pixel by pixel."""
    W, b = numbers(layer.weight)[:, :, 0, 0], numbers(layer.bias)
    out = np.zeros((len(W), *X.shape[1:]))
    for o in range(len(W)):
        for y in range(X.shape[1]):
            for x in range(X.shape[2]):
                out[o, y, x] = b[o] + sum(W[o, c] * X[c, y, x] for c in range(len(X)))
    return out


def patches_twin(embed, maps, side):
    """(1) to (4) as printed: first the convolution, then the pooling; X_4 is convolved only."""
    out = []
    for b in range(len(maps[0])):
        reduced = [np.array([pooled(M, side) for M in convolved(embed.conv[s], maps[s][b])]) for s in range(3)]
        out.append(convolved(embed.fuse, np.concatenate([*reduced, convolved(embed.conv[3], maps[3][b])])))
    out = np.array(out)
    for c in range(out.shape[1]):
        out[:, c] = normalised(embed.bn, c, out[:, c])
    return gelu(out)


# ---- the same as plain torch, edge by edge, for gradients

def plain_bn(bn, z):
    mean, variance = bn.running_mean, bn.running_var
    if bn.training:
        mean = z.mean((0, 1))
        variance = ((z - mean) ** 2).mean((0, 1))
    return (z - mean) / torch.sqrt(variance + EPS) * bn.weight + bn.bias


def plain_gelu(z):
    return z / 2 * (1 + torch.erf(z / math.sqrt(2)))


def plain_conv(conv, x, index):
    """Gather the k neighbours of every node: (B, N, k, D); gate, sum; the groups one after the other."""
    e = x[torch.arange(len(x), device=x.device)[:, None, None], index] - x[:, :, None]
    if hasattr(conv, "h"):
        g = (torch.sigmoid(e @ conv.h.weight[0] + conv.h.bias)[..., None] * e).sum(2)
    else:
        g = e.max(2).values
    parts = zip(x.chunk(len(conv.f.weight), -1), g.chunk(len(conv.f.weight), -1), conv.f.weight)
    return plain_gelu(plain_bn(conv.f.bn, torch.cat([torch.cat([u, v], -1) @ W for u, v, W in parts], -1) + conv.f.bias))


def plain_fc(layer, x):
    return plain_bn(layer.bn, x @ layer.fc.weight.mT + layer.fc.bias)


def plain_block(block, x, k, d):
    inner = plain_fc(block.F_in, x)
    index = tensor([dilated(sample, k, d) for sample in numbers(inner)], device=x.device)
    Z = plain_fc(block.F_out, plain_conv(block.conv, inner, index)) + x
    return plain_fc(block.M[2], plain_gelu(plain_fc(block.M[0], Z))) + Z


def same_gradients(module, x, run, plain_run):
    """Values, and the gradients of x and of every weight, to 1e-9; what comes in from above lies transposed in memory."""
    results = []
    for f in (run, plain_run):
        x = x.detach().requires_grad_()
        out = f(x)
        above = random(x.device, out.shape[0], out.shape[2], out.shape[1], seed=9).mT
        results.append((out, *torch.autograd.grad(out, [x, *module.parameters()], above)))
    for got, want in zip(*results):
        close(got, want, atol=1e-9, rtol=1e-9)
    assert results[0][1].abs().max() > .01


def some_index(device, B, N, k, seed=5):
    """k neighbours of every node, drawn at random, none twice."""
    make = torch.Generator().manual_seed(seed)
    return torch.stack([torch.stack([torch.randperm(N, generator=make)[:k] for _ in range(N)]) for _ in range(B)]).to(device)


# ---- (5): distances

def test_eq5_squared_distance_by_hand(device):
    """face2nodes (§3.3): (0, 0), (3, 4), (3, 0): 25, 9 and 16; the second sample is twice as large: four times as far."""
    x = tensor([[0., 0.], [3., 4.], [3., 0.]], device=device)
    d = tensor([[0., 25., 9.], [25., 0., 16.], [9., 16., 0.]], device=device)
    close(squared_distance(torch.stack([x, 2 * x])), torch.stack([d, 4 * d]))


def test_eq5_squared_distance_far_from_the_origin(device):
    """face2nodes (§3.3): |x_i|² + |x_j|² − 2 x_iᵀx_j loses all its figures here, falls below 0: never negative, diagonal 0."""
    x = (1000 + 1e-4 * random(device, 2, 41, 5)).float()
    bare = (x * x).sum(-1)[..., None] + (x * x).sum(-1)[:, None] - 2 * x @ x.mT
    assert bare.min() < 0 and bare.diagonal(dim1=1, dim2=2).abs().max() > 0
    d = squared_distance(x)
    assert d.min() >= 0 and (d.diagonal(dim1=1, dim2=2) == 0).all()


def test_eq5_squared_distance_the_loop_twin(device):
    """face2nodes (§3.3): pair by pair, feature by feature."""
    x = random(device, 2, 7, 3)
    X, wanted = numbers(x), np.zeros((2, 7, 7))
    for b in range(2):
        for i in range(7):
            for j in range(7):
                wanted[b, i, j] = sum((X[b, i, c] - X[b, j, c]) ** 2 for c in range(3))
    close(squared_distance(x).cpu(), torch.from_numpy(wanted), atol=1e-12, rtol=0)


# ---- (5): neighbours

LINE = 0., 1., 3., 7., 12., 20.


def on_a_line(device):
    return tensor([[[x] for x in LINE]], device=device)


def test_eq5_knn_by_hand(device):
    """face2nodes (5): 0, 1, 3, 7, 12, 20 on a line. From 7: 0, 4 (3), 5 (12), 6 (1), 7 (0), 13 (20). Nearest first."""
    assert knn(on_a_line(device), 6)[0, 3].tolist() == [3, 2, 4, 1, 0, 5]
    assert knn(on_a_line(device), 3).tolist() == [[[0, 1, 2], [1, 0, 2], [2, 1, 0], [3, 2, 4], [4, 3, 5], [5, 4, 3]]]
    assert knn(on_a_line(device), 3).dtype == torch.int64


def test_eq5_knn_without_itself_by_hand(device):
    """face2nodes (5): Reading: "neighboring nodes" without the node: the same lists, each without its first."""
    assert knn(on_a_line(device), 5, itself=False)[0, 3].tolist() == [2, 4, 1, 0, 5]
    assert knn(on_a_line(device), 2, itself=False).tolist() == [[[1, 2], [0, 2], [1, 0], [2, 4], [3, 5], [4, 3]]]


def test_eq5_of_equals_the_lowest_index(device):
    """face2nodes (5): 2, 0, 1, 2, 3 on a line: from node 2 the nodes 0, 1, 3 and 4 are all 1 away."""
    x = tensor([[[2.], [0.], [1.], [2.], [3.]]], device=device)
    assert knn(x, 5)[0, 2].tolist() == [2, 0, 1, 3, 4]
    assert knn(x, 5)[0, 4].tolist() == [4, 0, 3, 2, 1]


def test_eq5_itself_among_duplicates(device):
    """face2nodes (5): of 41 equal nodes each is its own first, or never; the others come in order."""
    for x in (torch.ones(1, 41, 3, device=device), torch.full((1, 41, 3), 1000.1, device=device)):
        others = [[j for j in range(41) if j != i] for i in range(41)]
        assert knn(x, 5).tolist() == [[[i, *others[i][:4]] for i in range(41)]]
        assert knn(x, 5, itself=False).tolist() == [[others[i][:5] for i in range(41)]]
        assert knn(x, 40, itself=False).tolist() == [others]


def test_eq5_itself_whatever_rounding_says(device):
    """face2nodes (5): pairs 1e-4 apart, a thousand from the origin: in float32 every distance is noise; itself still first."""
    x = (1000 + 1e-4 * random(device, 2, 41, 5)).float()
    assert (knn(x, 3)[..., 0] == torch.arange(41, device=device)).all()
    assert (knn(x, 40, itself=False) != torch.arange(41, device=device)[:, None]).all()
    assert (knn(x, 41).sort().values == torch.arange(41, device=device)).all()


def test_eq5_raw_against_normalised_by_hand(device):
    """face2nodes (5): Reading: (1, 0), (10, 0), (0, 1), (9, 1). Euclidean, as printed: from node 0: √2, √65, 9: 2, 3, 1.

    ViG divides by the length first: (1, 0), (1, 0), (0, 1), (.994, .110): 0, .110, √2: 1, 3, 2.
    """
    x = tensor([[[1., 0.], [10., 0.], [0., 1.], [9., 1.]]], device=device)
    assert knn(x, 4)[0, 0].tolist() == [0, 2, 3, 1]
    assert knn(x, 4, normalised=True)[0, 0].tolist() == [0, 1, 3, 2]
    assert dilated_knn(x, 2, 2)[0, 0].tolist() == [0, 3] and dilated_knn(x, 4)[0, 0].tolist() == [0, 2, 3, 1]
    assert dilated_knn(x, 4, normalised=True)[0, 0].tolist() == [0, 1, 3, 2]


def test_eq5_normalised_without_a_direction(device):
    """face2nodes (5): (0, 0) stays (0, 0): 1 from everything; (3, 0) and (0, 5) are √2 apart."""
    x = tensor([[[0., 0.], [3., 0.], [0., 5.]]], device=device)
    assert knn(x, 3, normalised=True).tolist() == [[[0, 1, 2], [1, 0, 2], [2, 0, 1]]]


@pytest.mark.parametrize("unit", [False, True])
@pytest.mark.parametrize("itself", [True, False])
def test_eq5_knn_the_loop_twin(itself, unit, device):
    """face2nodes (5): node by node; small whole numbers too, so that there are equals."""
    x = random(device, 2, 11, 3)
    assert knn(x, 7, itself, unit).tolist() == [near(X, 7, itself, unit) for X in numbers(x)]
    whole = torch.randint(-2, 3, (2, 11, 3), generator=torch.Generator().manual_seed(0)).to(device, torch.float32)
    assert knn(whole, 7, itself).tolist() == [near(X, 7, itself) for X in numbers(whole)]


def test_eq5_dilated_by_hand(device):
    """face2nodes (5): k = 3, d = 2: n_1, n_3, n_5 of the six nearest: every second, from the first.

    From 0: 0, 1, 2, 3, 4, 5 → 0, 2, 4. From 1: 1, 0, 2, 3, 4, 5. From 3: 2, 1, 0, 3, 4, 5. From 7: 3, 2, 4, 1, 0, 5.
    From 12: 4, 3, 5, 2, 1, 0. From 20: 5, 4, 3, 2, 1, 0.
    """
    assert dilated_knn(on_a_line(device), 3, 2).tolist() == [[[0, 2, 4], [1, 2, 4], [2, 0, 4], [3, 4, 0], [4, 5, 1], [5, 3, 1]]]
    assert dilated_knn(on_a_line(device), 2, 3).tolist() == [[[0, 3], [1, 3], [2, 3], [3, 1], [4, 2], [5, 2]]]


def test_eq5_dilated_without_itself_by_hand(device):
    """face2nodes (5): Reading: k = 2, d = 2 of the others: from 0: 1, 2, 3, 4 → 1, 3, not 0, 2; from 7: 2, 4, 1, 0 → 2, 1."""
    assert dilated_knn(on_a_line(device), 2, 2, itself=False).tolist() == [[[1, 3], [0, 3], [1, 3], [2, 1], [3, 2], [4, 2]]]
    assert dilated_knn(on_a_line(device), 2, 2).tolist() == [[[0, 2], [1, 2], [2, 0], [3, 4], [4, 5], [5, 3]]]


@pytest.mark.parametrize("itself", [True, False])
@pytest.mark.parametrize("k, d", [(3, 1), (2, 2), (3, 3), (1, 4), (2, 5)])
def test_eq5_dilated_the_loop_twin(k, d, itself, device):
    """face2nodes (5): n_{1+md}, m = 0 ... k − 1; each node once, and with d = 1 the k nearest."""
    x = random(device, 2, 11, 3)
    picks = dilated_knn(x, k, d, itself)
    assert picks.tolist() == [dilated(X, k, d, itself) for X in numbers(x)]
    assert all(len(set(row)) == k for sample in picks.tolist() for row in sample)
    assert dilated_knn(x, 7, 1, itself).tolist() == dilated_knn(x, 7, itself=itself).tolist() == knn(x, 7, itself).tolist()


def test_eq5_complete_graph(device):
    """face2nodes (5): k = N, d = 1: everyone hears everyone, itself first."""
    picks = dilated_knn(random(device, 2, 7, 3), 7)
    assert (picks.sort().values == torch.arange(7, device=device)).all()
    assert (picks[..., 0] == torch.arange(7, device=device)).all()
    assert dilated_knn(random(device, 2, 1, 3), 1).tolist() == [[[0]], [[0]]]


def test_eq5_the_graph_has_no_gradient(device):
    x = random(device, 2, 5, 3).requires_grad_()
    for index in (knn(x, 3), dilated_knn(x, 2, 2), knn(x, 3, normalised=True)):
        assert not index.requires_grad and index.dtype == torch.int64


def test_eq5_half_precision_chooses_the_same(device):
    """face2nodes (5): under bfloat16 1, 1.003 and 1.002 are one number, 1.008 another: only float32 tells who is nearer.

    From 1: 1.002 before 1.003. And from 1: 1.003 before 1.008, which a rounded product beside exact squares turns round.
    """
    first, second = tensor([[[1.], [1.003], [1.002]]], device=device), tensor([[[1.], [1.008], [1.003]]], device=device)
    many = random(device, 2, 41, 7, dtype=torch.float32)
    full = knn(many, 9), dilated_knn(many, 4, 3), knn(many, 9, normalised=True)
    halved = many.bfloat16()
    with torch.autocast(device.type, dtype=torch.bfloat16):
        assert (first @ first.mT).unique().numel() == 1
        assert knn(first, 3)[0, 0].tolist() == knn(second, 3)[0, 0].tolist() == [0, 2, 1]
        for got, want in zip((knn(many, 9), dilated_knn(many, 4, 3), knn(many, 9, normalised=True)), full):
            assert got.tolist() == want.tolist()
        low = knn(halved, 9)
    assert low.tolist() == knn(halved.float(), 9).tolist()


def test_eq5_refuses(device):
    """face2nodes (5): more neighbours than there are nodes, with itself or without; fewer than one."""
    x = torch.ones(2, 5, 3, device=device)
    for K, itself in ((6, True), (5, False), (0, True), (-1, False)):
        with pytest.raises(ValueError, match=f"{K}"):
            knn(x, K, itself)
    for k, d, itself in ((3, 2, True), (2, 3, True), (6, 1, True), (5, 1, False), (2, 3, False), (0, 1, True)):
        with pytest.raises(ValueError, match=f"{k}"):
            dilated_knn(x, k, d, itself)
    with pytest.raises(ValueError, match="0"):
        dilated_knn(x, 2, 0)
    assert knn(x, 5).shape == dilated_knn(x, 5).shape == (2, 5, 5)
    assert knn(x, 4, itself=False).shape == dilated_knn(x, 4, itself=False).shape == (2, 5, 4)


# ---- (7)

def test_eq7_gates_by_hand(device):
    """face2nodes (§3.3): s = 0, ln 3, −ln 3 and b = 0: σ(ln 3) = 3/4, σ(−ln 3) = 1/4, σ(2 ln 3) = 9/10, σ(0) = ½.

    With b = ln 3: σ(2 ln 3) = 9/10, σ(0) = ½. s_i − s_j instead would give the complements.
    """
    s, index = tensor([[0., LN3, -LN3]], device=device), tensor([[[1, 2], [0, 2], [2, 1]]], device=device)
    wanted = tensor([[[.75, .25], [.25, .1], [.5, .9]]], device=device)
    close(gates(s, index, tensor(0., device=device)), wanted)
    close(gates(s, index, tensor(LN3, device=device))[0, 0], tensor([.9, .5], device=device))


X7, INDEX7 = [[1., 2.], [4., 0.], [9., -3.]], [[1, 2], [0, 2], [0, 1]]


def test_eq7_relation_by_hand(device):
    """face2nodes (7): nodes (1, 2), (4, 0), (9, −3).

    Node 0: ½ (3, −2) + ¼ (8, −5) = (3.5, −2.25). Node 1: 1 (−3, 2) + .1 (5, −3) = (−2.5, 1.7). Node 2: 0 + ½ (−5, 3).
    """
    g = tensor([[[.5, .25], [1., .1], [0., .5]]], device=device)
    wanted = tensor([[[3.5, -2.25], [-2.5, 1.7], [-2.5, 1.5]]], device=device)
    close(relation(tensor([X7], device=device), tensor([INDEX7], device=device), g), wanted)


def test_eq7_max_relative_by_hand(device):
    """Table 4: MR-GraphConv: the largest difference, each feature for itself: node 0: (3, −2), (8, −5): (8, −2).

    Node 1: (−3, 2), (5, −3): (5, 2). Node 2: (−8, 5), (−5, 3): (−5, 5): no 0 unless the node is its own neighbour; then (0, 5).
    """
    x, index = tensor([X7], device=device), tensor([INDEX7], device=device)
    close(max_relative(x, index), tensor([[[8., -2.], [5., 2.], [-5., 5.]]], device=device))
    close(max_relative(x, tensor([[[0, 1, 2]] * 3], device=device))[0, 2], tensor([0., 5.], device=device))


def test_eq7_the_loop_twin(device):
    """face2nodes (7): sample by sample, node by node, neighbour by neighbour."""
    x, s, index = random(device, 2, 7, 3), random(device, 2, 7, seed=2), some_index(device, 2, 7, 5)
    b = tensor(.3, dtype=torch.float64, device=device)
    X, S = numbers(x), numbers(s)
    g, wanted, largest = np.zeros((2, 7, 5)), np.zeros((2, 7, 3)), np.zeros((2, 7, 3))
    for n in range(2):
        for i in range(7):
            near_by = index[n, i].tolist()
            for m, j in enumerate(near_by):
                g[n, i, m] = logistic(S[n, j] - S[n, i] + .3)
                wanted[n, i] += g[n, i, m] * (X[n, j] - X[n, i])
            largest[n, i] = [max(X[n, j, c] - X[n, i, c] for j in near_by) for c in range(3)]
    close(gates(s, index, b).cpu(), torch.from_numpy(g), atol=1e-12, rtol=0)
    close(relation(x, index, torch.from_numpy(g).to(device)).cpu(), torch.from_numpy(wanted), atol=1e-12, rtol=0)
    close(max_relative(x, index).cpu(), torch.from_numpy(largest), atol=0, rtol=0)


def test_eq7_limits(device):
    """face2nodes (7): gates of ½: half the sum of differences; equal nodes: 0; the node itself as its neighbour: nothing."""
    x, index = random(device, 2, 7, 3), some_index(device, 2, 7, 4)
    half = gates(torch.zeros(2, 7, device=device).double(), index, tensor(0., device=device).double())
    close(half, torch.full_like(half, .5))
    gathered = x[torch.arange(2, device=device)[:, None, None], index]
    close(relation(x, index, half), (gathered.sum(2) - 4 * x) / 2)
    g = torch.rand(2, 7, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(device)
    close(relation(x[:, :1].expand(2, 7, 3), index, g), torch.zeros_like(x), atol=1e-12, rtol=0)
    close(max_relative(x[:, :1].expand(2, 7, 3), index), torch.zeros_like(x), atol=0, rtol=0)
    own = torch.arange(7, device=device)[None, :, None].expand(2, 7, 1)
    first = random(device, 2, 7, 1, seed=4)
    close(relation(x, own, first), torch.zeros_like(x), atol=1e-12, rtol=0)
    others = (index != own).double() * g
    close(relation(x, index, others), relation(x, index, g))


def test_eq7_complete_graph(device):
    """face2nodes (7): everyone a neighbour, in any order: Σ_j over all; shuffled lists with their gates give the same."""
    x, s = random(device, 2, 5, 3), random(device, 2, 5, seed=2)
    ordered, shuffled = torch.arange(5, device=device).expand(2, 5, 5), some_index(device, 2, 5, 5)
    b = tensor(-.7, device=device).double()
    e = x[:, None] - x[:, :, None]                                               # e[b, i, j] = x_j − x_i
    wanted = (torch.sigmoid(s[:, None] - s[:, :, None] + b)[..., None] * e).sum(2)
    close(relation(x, ordered, gates(s, ordered, b)), wanted)
    close(relation(x, shuffled, gates(s, shuffled, b)), wanted)


# ---- (6), (8)

def simple(conv, weight=((1., 2.), (10., 30.)), lift=100.):
    """h = 0; every group alike, its normalisation the identity, and so much bias, 100 + o, that GELU is the identity too."""
    if hasattr(conv, "h"):
        conv.h.weight.data.zero_(), conv.h.bias.data.zero_()
    conv.f.weight.data = tensor(weight).expand(conv.f.weight.shape).clone()
    conv.f.bias.data = lift + torch.arange(len(conv.f.bias)) if lift else torch.zeros(len(conv.f.bias))
    plain(conv.f.bn)
    return conv


def test_eq8_by_hand(device):
    """face2nodes (6, 7, 8): D = 4, so a group sees one channel of x and one of g; W = [[1, 2], [10, 30]]: u + 10 v, 2 u + 30 v.

    x_0 = (1, 2, 3, 4), x_1 = (3, 6, 5, 0), each the other's neighbour, gates of ½: g_0 = (1, 2, 1, −2), g_1 = −g_0.
    Node 0: (11, 32), (22, 64), (13, 36), (−16, −52); node 1: (−7, −24), (−14, −48), (−5, −20), (20, 60); plus 100 + o.
    """
    conv = simple(RGConv(4)).to(device)
    assert conv.f.weight.shape == (4, 2, 2) and conv.f.bias.shape == (8,) and conv.h.weight.shape == (1, 4)
    out = conv(tensor([[[1., 2., 3., 4.], [3., 6., 5., 0.]]], device=device), tensor([[[1], [0]]], device=device))
    raw = tensor([[11., 32., 22., 64., 13., 36., -16., -52.], [-7., -24., -14., -48., -5., -20., 20., 60.]], device=device)
    close(out, (raw + 100 + torch.arange(8, device=device))[None])


def test_eq8_max_relative_by_hand(device):
    """face2nodes (6, 8): the rival in its place: x_0 hears itself and x_1: the larger of 0 and (2, 4, 2, −4): (2, 4, 2, 0).

    u + 10 v and 2 u + 30 v of (1, 2, 3, 4): (21, 62), (42, 124), (23, 66), (4, 8); plus 100 + o. Node 1: v = (0, 0, 0, 4).
    """
    conv = simple(MRGraphConv(4)).to(device)
    assert not hasattr(conv, "h")
    out = conv(tensor([[[1., 2., 3., 4.], [3., 6., 5., 0.]]], device=device), tensor([[[0, 1], [1, 0]]], device=device))
    raw = tensor([[21., 62., 42., 124., 23., 66., 4., 8.], [3., 6., 6., 12., 5., 10., 40., 120.]], device=device)
    close(out, (raw + 100 + torch.arange(8, device=device))[None])


def test_eq8_dense_by_hand(device):
    """face2nodes (8): Reading: one dense layer from [x, g] of 2D to D. D = 2: W's rows are for x, x, g, g; not to 2D.

    x_0 = (1, 2), x_1 = (5, 0), gates ½: g_0 = (2, −1) = −g_1. y = (x_a + 10 g_a + g_b, 3 x_b): (20, 6), (−14, 0); plus 100 + o.
    """
    conv = simple(RGConv(2, groups=1), weight=((1., 0.), (0., 3.), (10., 0.), (1., 0.))).to(device)
    assert conv.f.weight.shape == (1, 4, 2) and conv.f.bias.shape == (2,)
    out = conv(tensor([[[1., 2.], [5., 0.]]], device=device), tensor([[[1], [0]]], device=device))
    close(out, tensor([[[120., 107.], [86., 101.]]], device=device))


def test_eq8_every_group_sees_both(device):
    """face2nodes (8): Reading: the q-th quarter of a neighbour reaches the q-th quarter of the output, all of it, and no other.

    The plain concatenation [x, g], cut into four, would show groups 0 and 1 nothing of any neighbour.
    """
    conv, x, index = randomised(RGConv(8), device).eval(), random(device, 2, 5, 8), some_index(device, 2, 5, 2)
    conv.h.weight.data.zero_()
    index[0, 0] = tensor([3, 4])
    before = conv(x, index)[0, 0].unflatten(-1, (4, 4))
    for q in range(4):
        moved = x.clone()
        moved[0, 3, 2 * q:2 * q + 2] += 1
        changed = (conv(moved, index)[0, 0].unflatten(-1, (4, 4)) - before).abs() > 1e-6
        assert changed.tolist() == [[part == q] * 4 for part in range(4)]


def test_eq7_one_gate_for_all_channels(device):
    """face2nodes (§3.3): Reading: one number an edge: x_0 = 0 hears (1, 2, 0, −4); h is ln 3 times the first channel: ¾ of all.

    g_0 = (.75, 1.5, 0, −3). A gate for each channel would see 3/4 in the first alone: (.75, 1, 0, −2) with ½ elsewhere.
    """
    conv = simple(RGConv(4), weight=((0., 0.), (1., 2.))).to(device)
    conv.h.weight.data[0, 0] = LN3
    out = conv(tensor([[[0., 0., 0., 0.], [1., 2., 0., -4.]]], device=device), tensor([[[1], [0]]], device=device))
    close(out[0, 0] - 100 - torch.arange(8, device=device), tensor([.75, 1.5, 1.5, 3., 0., 0., -3., -6.], device=device))
    assert (RGConv(12).h.in_features, RGConv(12).h.out_features) == (12, 1)


def in_groups(z):
    """(groups, rows, c) → (rows, groups · c), what torch's own layers are given."""
    return z.transpose(0, 1).flatten(1)


def test_eq8_normalised_gelu_by_hand(device):
    """Two groups of two rows, one column each: z = (1, 3) → (−1, 1) and (10, 10) → (0, 0); γ = 2, 1, β = 0, ½, ε left out."""
    bn = nn.BatchNorm1d(2, eps=0.).to(device).double()
    bn.weight.data, bn.bias.data = tensor([2., 1.]).to(bn.weight), tensor([0., .5]).to(bn.bias)
    bn.eps = 1e-12                                                   # the second group has no variance
    y = normalised_gelu(tensor([[[1.], [3.]], [[10.], [10.]]], device=device, dtype=torch.float64), bn)
    Φ = lambda t: .5 * (1 + math.erf(t / math.sqrt(2)))
    close(y, tensor([[-2 * Φ(-2), .5 * Φ(.5)], [2 * Φ(2), .5 * Φ(.5)]], device=device, dtype=torch.float64))
    close(bn.running_mean, tensor([.1 * 2, .1 * 10]).to(bn.running_mean))                # a tenth of the way, from 0
    close(bn.running_var, tensor([.9 + .1 * 2, .9]).to(bn.running_var))                  # (1 + 1) / (2 − 1), without bias; from 1
    assert bn.num_batches_tracked == 1


@pytest.mark.parametrize("groups", [1, 4])
def test_eq8_normalised_gelu_is_torch_s(groups, device):
    """Values, gradients and what is kept, beside torch's two layers; far from zero, where sums of squares would lose digits."""
    ours, torch_s = (nn.BatchNorm1d(12).to(device) for _ in range(2))
    with torch.no_grad():
        ours.weight.normal_(), ours.bias.normal_()
    torch_s.load_state_dict(ours.state_dict())
    z = (100 + 3 * torch.randn(groups, 40, 12 // groups, device=device)).requires_grad_()
    z_2, slope = z.detach().clone().requires_grad_(), torch.randn(40, 12, device=device)
    kept = slope.clone()
    a, b = normalised_gelu(z, ours), nn.functional.gelu(torch_s(in_groups(z_2)))
    a.backward(slope), b.backward(slope)
    close(a, b, rtol=1e-4, atol=1e-4)
    close(z.grad, z_2.grad, rtol=1e-4, atol=1e-4)
    close(ours.weight.grad, torch_s.weight.grad, rtol=1e-4, atol=1e-4)
    close(ours.bias.grad, torch_s.bias.grad, rtol=1e-4, atol=1e-4)
    for mine, theirs in zip(ours.buffers(), torch_s.buffers(), strict=True):
        close(mine, theirs)
    close(slope, kept, rtol=0, atol=0)                               # what comes in from behind is not written over


def test_eq8_normalised_gelu_s_gradient_is_a_difference_quotient():
    bn = nn.BatchNorm1d(6).double()
    z = torch.randn(2, 5, 3, dtype=torch.float64, requires_grad=True)
    γ, β = (torch.randn(2, 3, dtype=torch.float64, requires_grad=True) for _ in range(2))
    assert torch.autograd.gradcheck(lambda *given: NormalisedGELU.apply(*given, bn.eps)[0], (z, γ, β))


def test_eq8_normalised_gelu_keeps_one_table(device):
    """Of tables as large as its input, the input alone is kept."""
    kept = []
    z = torch.randn(4, 30, 8, device=device, requires_grad=True)
    bn = nn.BatchNorm1d(32).to(device)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()) or t, lambda t: t):
        normalised_gelu(z, bn)
    assert sum(n >= z.numel() for n in kept) == 1


def test_eq8_normalised_gelu_elsewhere_is_torch_s(device):
    """In evaluation the running statistics count; 16 bits, other normalisations and a single row are left to torch's layers."""
    z, bn = torch.randn(2, 6, 3, device=device), nn.BatchNorm1d(6).to(device)
    bn.running_mean += 1
    close(normalised_gelu(z, bn.eval()), nn.functional.gelu(bn(in_groups(z))), rtol=0, atol=0)
    assert normalised_gelu(z.bfloat16(), bn.train()).dtype == torch.bfloat16
    close(normalised_gelu(z, nn.Identity()), nn.functional.gelu(in_groups(z)), rtol=0, atol=0)
    with pytest.raises(ValueError, match="more than 1 value per channel"):
        normalised_gelu(z[:, :1], bn)


def test_eq8_gelu_is_exact(device):
    """face2nodes (8): GELU(1) = Φ(1) = 0.841345, GELU(−1) = −0.158655, GELU(3) = 2.995950; tanh's form has 0.841192."""
    conv = simple(RGConv(1, groups=1), weight=((1.,), (0.,)), lift=0.).double().to(device)
    x = tensor([[[1.], [-1.], [3.]]], device=device).double()
    wanted = tensor([[[.841345], [-.158655], [2.995950]]], device=device).double()
    close(conv(x, tensor([[[0]] * 3], device=device)), wanted, atol=1e-6, rtol=0)


def test_eq8_one_mean_over_samples_and_nodes(device):
    """face2nodes (8): 0, 0 in one sample and 4, 4 in the other: mean 2, deviation 2: −1 and 1 before GELU; not 0 in each."""
    conv = simple(RGConv(1, groups=1), weight=((1.,), (0.,)), lift=0.).double().to(device)
    conv.f.bn.reset_running_stats()
    x = tensor([[[0.], [0.]], [[4.], [4.]]], device=device).double()
    out = conv.train()(x, tensor([[[0], [1]]] * 2, device=device))
    close(out, tensor([[[-.158655]] * 2, [[.841345]] * 2], device=device).double(), atol=2e-6, rtol=0)
    close(conv.f.bn.running_mean, tensor([.2], device=device).double())


@pytest.mark.parametrize("make", [lambda: RGConv(8), lambda: RGConv(6, groups=1), lambda: RGConv(6, groups=2),
                                  lambda: MRGraphConv(8), lambda: MRGraphConv(6, groups=1)])
@pytest.mark.parametrize("B, N, k", [(2, 7, 3), (1, 5, 2), (3, 1, 1)])
@pytest.mark.parametrize("training", [True, False])
def test_eq8_the_loop_twin(training, B, N, k, make, device):
    """face2nodes (6, 7, 8): both operators, grouped and dense; one sample; one node."""
    conv = randomised(make(), device).train(training)
    D = conv.f.weight.shape[0] * conv.f.weight.shape[1] // 2
    x, index = random(device, B, N, D), some_index(device, B, N, k)
    X = numbers(x)
    wanted = updated(conv.f, X, aggregated(conv, X, index.tolist()))
    assert wanted.shape == (B, N, D if len(conv.f.weight) == 1 else 2 * D)
    close(conv(x, index).cpu(), torch.from_numpy(wanted), atol=1e-10, rtol=0)


@pytest.mark.parametrize("make", [RGConv, MRGraphConv])
def test_eq8_nodes_have_no_order(make, device):
    """face2nodes (6): nodes in another order, their neighbours renamed: the same in that order; neighbours shuffled: the same."""
    for training in (True, False):
        conv, x, index = randomised(make(8), device).train(training), random(device, 2, 7, 8), some_index(device, 2, 7, 3)
        p = tensor([3, 0, 6, 1, 5, 2, 4], device=device)
        renamed = p.argsort()[index[:, p]]
        close(conv(x[:, p], renamed), conv(x, index)[:, p], atol=1e-12, rtol=0)
        close(conv(x, index.flip(-1)), conv(x, index), atol=1e-12, rtol=0)
        assert (conv(x[:, p], renamed) - conv(x, index)).abs().max() > .1


@pytest.mark.parametrize("make", [lambda: RGConv(8), lambda: RGConv(6, groups=1), lambda: MRGraphConv(8)])
@pytest.mark.parametrize("training", [True, False])
def test_eq8_gradients(training, make, device):
    """face2nodes (7, 8): against the same with every edge gathered, (B, N, k, D), and autograd."""
    conv = randomised(make(), device).train(training)
    x, index = random(device, 2, 7, conv.f.weight.shape[0] * conv.f.weight.shape[1] // 2), some_index(device, 2, 7, 3)
    same_gradients(conv, x, lambda x: conv(x, index), lambda x: plain_conv(conv, x, index))


# ---- (1) to (4)

def test_eq1_to_4_by_hand(device):
    """face2nodes (1, 2, 3, 4): one channel each, one patch. Convolution s is s · x + s/2; the fusion 1, 10, 100, 1000, and 7.

    X_1 = 0 ... 15, mean 7.5: 8. X_2 = 0, 1, 2, 5, mean 2: 5. X_3 = 1, 1, 1, 5, mean 2: 7.5. X_4 = 3: 14.
    8 + 50 + 750 + 14000 + 7 = 14815; GELU leaves it. Pooling by the largest would give 15.5, 11, ...
    """
    embed = MSF2PE((1, 1, 1, 1), 1, 1, 1).double()
    for s, conv in enumerate(embed.conv, 1):
        conv.weight.data.fill_(s), conv.bias.data.fill_(s / 2)
    embed.fuse.weight.data, embed.fuse.bias.data = tensor([1., 10., 100., 1000.]).view(1, 4, 1, 1), tensor([7.])
    plain(embed.bn)
    maps = torch.arange(16.).view(1, 1, 4, 4), tensor([0., 1., 2., 5.]).view(1, 1, 2, 2), \
        tensor([1., 1., 1., 5.]).view(1, 1, 2, 2), tensor(3.).view(1, 1, 1, 1)
    out = embed.double().to(device)(tuple(m.double().to(device) for m in maps))
    close(out, tensor(14815., device=device).double().view(1, 1, 1, 1))


@pytest.mark.parametrize("training", [True, False])
def test_eq1_to_4_the_loop_twin(training, device):
    """face2nodes (1, 2, 3, 4): convolution first, pooling second, as printed; pooled first is the same, as both are linear."""
    embed = randomised(MSF2PE((2, 3, 5, 7), 4, 6, 3), device).train(training)
    maps = tuple(random(device, 2, c, s, s, seed=s) for c, s in zip((2, 3, 5, 7), (12, 9, 6, 3)))
    wanted = patches_twin(embed, [numbers(m) for m in maps], 3)
    close(embed(maps).cpu(), torch.from_numpy(wanted), atol=1e-10, rtol=0)


def test_eq1_to_4_parts(device):
    """face2nodes (1, 2, 4): 1 × 1 convolutions, each with a bias, on ResNet-18's maps: 960 · 64 + 4 · 64, and 256 · 512 + 512."""
    embed = MSF2PE((64, 128, 256, 512), 64, 512, 7).to(device)
    assert [tuple(c.weight.shape) for c in embed.conv] == [(64, c, 1, 1) for c in (64, 128, 256, 512)]
    assert sum(p.numel() for p in embed.conv.parameters()) == 61_696
    assert sum(p.numel() for p in embed.fuse.parameters()) == 131_584 and embed.fuse.weight.shape == (512, 256, 1, 1)
    maps = tuple(torch.rand(2, c, s, s, device=device) for c, s in ((64, 8), (128, 4), (256, 2), (512, 1)))
    assert embed(maps).shape == (2, 512, 7, 7)


def test_eq1_smaller_maps_are_enlarged_by_hand(device):
    """face2nodes (1, 2): Reading: 196 nodes ask for more than X_4 has. 0, 4 becomes 0, 1, 3, 4: the centres of four pixels in two.

    The centres lie at −.25, .25, .75, 1.25 of the two; beyond the edge the edge goes on. With corners aligned: 0, 4/3, 8/3, 4;
    the nearest: 0, 0, 4, 4. X_4 = rows (0, 4) and (8, 12), the other maps 0.
    """
    embed = MSF2PE((1, 1, 1, 1), 1, 1, 4).double()
    for conv in embed.conv:
        conv.weight.data.fill_(1), conv.bias.data.zero_()
    embed.fuse.weight.data, embed.fuse.bias.data = torch.ones(1, 4, 1, 1), tensor([100.])
    plain(embed.bn)
    maps = torch.zeros(1, 1, 32, 32), torch.zeros(1, 1, 16, 16), torch.zeros(1, 1, 8, 8), tensor([[[[0., 4.], [8., 12.]]]])
    out = embed.double().to(device)(tuple(m.double().to(device) for m in maps))
    row = tensor([0., 1., 3., 4.], device=device).double()
    close(out[0, 0], 100 + row + tensor([0., 2., 6., 8.], device=device).double()[:, None])


def test_eq4_gradients(device):
    """face2nodes (4): through pooling, convolutions, the normalisation and GELU."""
    embed = randomised(MSF2PE((1, 2, 1, 2), 2, 3, 2), device).train()
    maps = tuple(random(device, 2, c, s, s, seed=s).requires_grad_() for c, s in zip((1, 2, 1, 2), (4, 4, 2, 2)))
    assert torch.autograd.gradcheck(lambda *maps: embed(maps), maps)


# ---- (9), (10)

def test_eq9_fully_connected_by_hand(device):
    """face2nodes (9): Reading: F_in and F_out are normalised, as in ViG, over samples and nodes; no activation follows.

    x = 0, 0 in one sample, 4, 4 in the other, times 3, plus 5: mean 11, deviation 6: −1, −1, 1, 1. In evaluation, with a
    running mean of 5 and variance of 4: (3 x + 5 − 5) / 2 = 0, 6.
    """
    layer = FC(1, 1).double()
    layer.fc.weight.data.fill_(3), layer.fc.bias.data.fill_(5)
    layer = layer.to(device)
    x = tensor([[[0.], [0.]], [[4.], [4.]]], device=device).double()
    close(layer(x), tensor([[[-1.], [-1.]], [[1.], [1.]]], device=device).double(), atol=1e-5, rtol=0)
    layer.bn.running_mean.fill_(5), layer.bn.running_var.fill_(4 - EPS)
    close(layer.eval()(x), tensor([[[0.], [0.]], [[6.], [6.]]], device=device).double())


@pytest.mark.parametrize("B, N", [(2, 5), (1, 7), (3, 1)])
@pytest.mark.parametrize("training", [True, False])
def test_eq9_fully_connected_the_loop_twin(training, B, N, device):
    layer, x = randomised(FC(3, 4), device).train(training), random(device, B, N, 3)
    close(layer(x).cpu(), torch.from_numpy(connected(layer, numbers(x))), atol=1e-10, rtol=0)


def transparent(D, k, d, F_in, ten=10., make=RGConv, **more):
    """A block one can compute by hand: F_in is a given matrix, gates are ½, the update and F_out hand g on, M is ten times.

    The update swaps (u, v) and adds 100, F_out takes the first of each pair and takes the 100 away; M adds 1000 before GELU.
    """
    block = RDGCN(D, k, d, simple(make(D), ((0., 1.), (1., 0.))), **more)
    first, second = block.M[0].fc, block.M[2].fc
    block.F_in.fc.weight.data, block.F_in.fc.bias.data = torch.as_tensor(F_in), torch.zeros(D)
    block.F_out.fc.weight.data, block.F_out.fc.bias.data = torch.zeros(D, 2 * D), -100. - 2 * torch.arange(D)
    first.weight.data, first.bias.data = torch.zeros(4 * D, D), torch.zeros(4 * D)
    second.weight.data, second.bias.data = torch.zeros(D, 4 * D), torch.full((D,), -1000. * ten)
    for c in range(D):
        block.F_out.fc.weight.data[c, 2 * c] = 1
        first.weight.data[c, c], first.bias.data[c], second.weight.data[c, c] = 1, 1000, ten
    for m in block.double().modules():
        if isinstance(m, nn.BatchNorm1d):
            plain(m)
    return block


def test_eq9_10_by_hand(device):
    """face2nodes (9, 10): F_in = 2 x; two nodes that hear each other with gates ½: ½ · 2 (x_j − x_i) = x_j − x_i, so Z_i = x_j!

    M(Z) = 10 Z, so X = 11 Z: (1, 2, 3, 4) and (3, 6, 5, 0) become (33, 66, 55, 0) and (11, 22, 33, 44). Without X in (9):
    11 (2, 4, 2, −4); without Z in (10): ten times Z.
    """
    block = transparent(4, 2, 1, 2 * torch.eye(4)).to(device)
    X = tensor([[[1., 2., 3., 4.], [3., 6., 5., 0.]]], device=device).double()
    close(block(X), tensor([[[33., 66., 55., 0.], [11., 22., 33., 44.]]], device=device).double(), atol=1e-9, rtol=0)


NODES9 = [[0., 3., 0., 0.], [1., 9., 0., 0.], [5., 3., 0., 0.]]


def test_eq9_the_graph_of_what_F_in_gives(device):
    """face2nodes (9): F_in = twice the first channel: 0, 2, 10: node 0 hears node 1, though in X node 2 is nearer, 5 against √37.

    Z_0 = (0 + ½ · 2, 3, 0, 0) = (1, 3, 0, 0); with the graph of X it would be (5, 3, 0, 0). Here M is 0.
    """
    F_in = torch.zeros(4, 4)
    F_in[0, 0] = 2
    out = transparent(4, 2, 1, F_in, ten=0.).to(device)(tensor([NODES9], device=device).double())
    close(out[0, 0], tensor([1., 3., 0., 0.], device=device).double(), atol=1e-9, rtol=0)


def test_eq9_settings_reach_the_graph(device):
    """face2nodes (5, 9): F_in = 2 x on (1, 0), (10, 0), (0, 1), (9, 1), gates of ½: Z_0 = x_0 + Σ (x_j − x_0) of what it hears.

    k = 2: with itself node 2: (0, 1). Normalised node 1: (10, 0). Without itself nodes 2, 3: x_2 + x_3 − x_0 = (8, 2).
    d = 2: n_1, n_3: node 3: (9, 1). The largest difference instead, of itself and node 2, doubled: (1, 0) + 2 · (0, 1).
    """
    X = tensor([[[1., 0., 0., 0.], [10., 0., 0., 0.], [0., 1., 0., 0.], [9., 1., 0., 0.]]], device=device).double()
    for want, d, make, more in (((0., 1.), 1, RGConv, {}), ((10., 0.), 1, RGConv, {"normalised": True}),
                                ((8., 2.), 1, RGConv, {"itself": False}), ((9., 1.), 2, RGConv, {}),
                                ((1., 2.), 1, MRGraphConv, {})):
        block = transparent(4, 2, d, 2 * torch.eye(4), 0., make, **more).to(device)
        close(block(X)[0, 0, :2], tensor(want, device=device).double(), atol=1e-9, rtol=0)


@pytest.mark.parametrize("make, k, d, more", [
    (lambda: RGConv(8), 3, 2, {}), (lambda: RGConv(8), 2, 3, {"itself": False}), (lambda: MRGraphConv(8), 3, 2, {}),
    (lambda: RGConv(8), 3, 1, {"normalised": True}), (lambda: RGConv(8, groups=1), 3, 2, {}),
    (lambda: MRGraphConv(8, groups=1), 7, 1, {})])
@pytest.mark.parametrize("training", [True, False])
def test_eq9_10_the_loop_twin(training, make, k, d, more, device):
    """face2nodes (9, 10): the whole block; the graph is another one for each sample; both operators, grouped and dense."""
    block, X = randomised(RDGCN(8, k, d, make(), **more), device).train(training), random(device, 2, 7, 8)
    wanted = block_twin(block, numbers(X), k, d, more.get("itself", True), more.get("normalised", False))
    close(block(X).cpu(), torch.from_numpy(wanted), atol=1e-9, rtol=0)


def test_eq9_10_one_node_one_sample(device):
    """face2nodes (9, 10): one node hears itself alone, and (7) is 0; one sample in evaluation is the same as among others."""
    block, X = randomised(RDGCN(8, 1, 1, RGConv(8)), device), random(device, 3, 1, 8)
    for training in (True, False):
        close(block.train(training)(X).cpu(), torch.from_numpy(block_twin(block, numbers(X), 1, 1)), atol=1e-9, rtol=0)
    block, X = randomised(RDGCN(8, 3, 2, RGConv(8)), device).eval(), random(device, 3, 7, 8)
    close(block(X[1:2]), block(X)[1:2], atol=1e-12, rtol=0)
    close(block(X[1:2]).cpu(), torch.from_numpy(block_twin(block, numbers(X[1:2]), 3, 2)), atol=1e-9, rtol=0)


@pytest.mark.parametrize("make", [lambda: RGConv(8), lambda: RGConv(8, groups=1), lambda: MRGraphConv(8)])
@pytest.mark.parametrize("training", [True, False])
def test_eq9_10_gradients(training, make, device):
    """face2nodes (9, 10): every weight of a block, against plain gathers; the choice of neighbours itself has no gradient."""
    block = randomised(RDGCN(8, 3, 2, make()), device).train(training)
    same_gradients(block, random(device, 2, 7, 8), block, lambda x: plain_block(block, x, 3, 2))


@pytest.mark.parametrize("training", [True, False])
def test_eq9_10_nodes_have_no_order(training, device):
    """face2nodes (9, 10): nodes in another order come out in that order: nothing in a block knows where a patch was."""
    block, X = randomised(RDGCN(8, 3, 2, RGConv(8)), device).train(training), random(device, 2, 7, 8)
    p = tensor([3, 0, 6, 1, 5, 2, 4], device=device)
    close(block(X[:, p]), block(X)[:, p], atol=1e-10, rtol=0)
    assert (block(X[:, p]) - block(X)).abs().max() > .1


def test_eq9_normalised_and_bent_once(device):
    """face2nodes (8, 9): Reading: "followed by batch normalization and a GELU" (9) is what f of (8) has: once, Z = GELU(x) + x.

    One node, so g = 0; the update and F_out hand x on, M is 0: 1 + .841345; 1 + .673 with a second GELU.
    """
    block = transparent(4, 1, 1, torch.eye(4), ten=0.)
    simple(block.conv, ((0., 1.), (1., 0.)), lift=0.).double()
    block.F_out.fc.weight.data, block.F_out.fc.bias.data = block.F_out.fc.weight.data.roll(1, 1), torch.zeros(4).double()
    out = block.to(device)(tensor([[[1., -1., 3., 0.]]], device=device).double())
    close(out, tensor([[[1.841345, -1.158655, 5.995950, 0.]]], device=device).double(), atol=1e-6, rtol=0)
    assert sum(isinstance(m, nn.BatchNorm1d) for m in block.modules()) == 5


@pytest.mark.parametrize("make", [RGConv, MRGraphConv])
def test_eq9_10_one_graph_and_half_precision(make, device):
    """face2nodes (9, 10): torch.compile(fullgraph) and torch.export give the same; bfloat16 chooses and computes nearly the same."""
    block, X = randomised(RDGCN(8, 3, 2, make(8)), device, dtype=torch.float32).eval(), random(device, 2, 7, 8, dtype=torch.float32)
    wanted = block(X)
    close(torch.compile(block, fullgraph=True, backend="eager")(X), wanted)
    close(torch.export.export(block, (X,)).module()(X), wanted)
    X = X.requires_grad_()
    with torch.autocast(device.type, dtype=torch.bfloat16):
        half = block.train()(X)
    half.float().square().mean().backward()
    assert X.grad.isfinite().all() and all(p.grad.isfinite().all() for p in block.parameters())
    inner, index = random(device, 2, 7, 8, seed=3, dtype=torch.float32), some_index(device, 2, 7, 3)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        half = block.eval().conv(inner.bfloat16(), index)
    close(half.float(), block.conv(inner, index), atol=.1, rtol=.02)


def test_eq10_parts(device):
    """face2nodes (10): the hidden layer is four times D; after a dense update F_out is D → D. The counts at D = 512, by hand.

    F_in 512² + 512 + 1024. RG-Conv 513 + 4 · 256² + 1024 + 2048. F_out 1024 · 512 + 512 + 1024.
    M 512 · 2048 + 2048 + 4096 and 2048 · 512 + 512 + 1024. Dense: the update 1024 · 512 + 512 + 1024, F_out 512² + 512 + 1024.
    """
    with torch.device("meta"):
        block, rival, dense = (RDGCN(512, 9, 1, c) for c in (RGConv(512), MRGraphConv(512), RGConv(512, groups=1)))

    def count(m):
        return sum(p.numel() for p in m.parameters())
    assert [count(m) for m in (block.F_in, block.conv, block.F_out, block.M)] == [263_680, 265_729, 525_824, 2_104_832]
    assert (count(block), count(rival), count(dense)) == (3_160_065, 3_160_065 - 513, 3_160_065 - 3 * 512)
    assert block.M[0].fc.out_features == 2048 and type(block.M[1]) is nn.GELU and block.M[1].approximate == "none"


# ---- (11), (12)

def test_eq12_by_hand(device):
    """face2nodes (12): ξ = 0.2, C = 4: 0.8 π + 0.05. One class: .85, .05, .05, .05. Votes .5, .3, .2, 0: .45, .29, .21, .05.

    Nothing known: still nothing. ξ = 0: π itself; ξ = 1: all alike.
    """
    pi = tensor([[1., 0., 0., 0.], [.5, .3, .2, 0.], [0., 0., 0., 0.]], device=device)
    close(smoothed(pi, .2), tensor([[.85, .05, .05, .05], [.45, .29, .21, .05], [0., 0., 0., 0.]], device=device))
    close(smoothed(pi, 0.), pi)
    close(smoothed(pi, 1.), tensor([[.25] * 4, [.25] * 4, [0.] * 4], device=device))


def test_eq12_the_paper(device):
    """face2nodes (12): ξ = 0.1, seven classes: 0.9 + 0.1/7 = 0.914286 for the true one, 0.014286 for each other; the sum is 1."""
    q = smoothed(torch.eye(7, device=device), .1)
    close(q.diagonal(), torch.full((7,), .914286, device=device), atol=1e-6, rtol=0)
    close(q[0, 1:], torch.full((6,), .014286, device=device), atol=1e-6, rtol=0)
    close(q.sum(-1), torch.ones(7, device=device))


def test_eq11_by_hand(device):
    """face2nodes (11): Reading: odds 1 : 1 : 2 and q = ½, ¼, ¼: ½ ln 4 + ¼ ln 4 + ¼ ln 2 = 1.75 ln 2.

    Odds 1 : 3 : 4, the second class: ln 8/3. The mean over the two: 1.0969; the row that is not known counts neither in the sum
    nor in N. As printed, y_i's logarithm alone times its q: (½ ln 4 + ln 8/3) / 2 = 0.8370.
    """
    logits = tensor([[0., 0., math.log(2)], [50., 0., -50.], [0., LN3, math.log(4)]], device=device)
    q = tensor([[.5, .25, .25], [0., 0., 0.], [0., 1., 0.]], device=device)
    close(soft_cross_entropy(logits, q), tensor((1.75 * math.log(2) + math.log(8 / 3)) / 2, device=device))
    close(soft_cross_entropy(logits[:1], q[:1]), tensor(1.75 * math.log(2), device=device))
    assert soft_cross_entropy(logits, q).item() == pytest.approx(1.0969, abs=1e-4)


def test_eq11_all_classes_count(device):
    """face2nodes (11): Reading: logits 0, 0, 1000, the third class, ξ = 0.3: as printed 0; summed 0.1 · 1000 twice: 200."""
    q = smoothed(tensor([[0., 0., 1.]], device=device), .3)
    close(soft_cross_entropy(tensor([[0., 0., 1000.]], device=device), q), tensor(200., device=device))


def test_eq11_the_loop_twin(device):
    """face2nodes (11, 12): sample by sample, class by class; votes; a third of the rows unknown."""
    make = torch.Generator().manual_seed(0)
    logits, votes = random(device, 11, 5), torch.randint(0, 4, (11, 5), generator=make).double() + torch.eye(11, 5).double()
    known = torch.arange(11) % 3 != 1
    pi = votes / votes.sum(-1, keepdim=True) * known[:, None]
    P, Q, total, N = numbers(logits), pi.numpy(), 0, 0
    for i in range(11):
        if known[i]:
            N += 1
            for c in range(5):
                total -= (.9 * Q[i, c] + .1 / 5) * math.log(math.exp(P[i, c]) / sum(math.exp(P[i, j]) for j in range(5)))
    close(soft_cross_entropy(logits, smoothed(pi.to(device), .1)).cpu(), tensor(total / N, dtype=torch.float64))
    assert N == 7


def test_eq11_12_torch_says_the_same(device):
    """face2nodes (11, 12): on single labels torch's cross_entropy with label_smoothing = 0.1; on votes too."""
    logits, y = random(device, 11, 7), torch.randint(0, 7, (11,), generator=torch.Generator().manual_seed(0)).to(device)
    pi = nn.functional.one_hot(y, 7).double()
    close(soft_cross_entropy(logits, smoothed(pi, .1)), nn.functional.cross_entropy(logits, y, label_smoothing=.1))
    votes = random(device, 11, 7, seed=3).softmax(-1)
    close(soft_cross_entropy(logits, smoothed(votes, .1)), nn.functional.cross_entropy(logits, votes, label_smoothing=.1))
    close(soft_cross_entropy(logits, smoothed(pi, 0.)), nn.functional.cross_entropy(logits, y))


def test_eq11_slopes_by_hand(device):
    """face2nodes (11): softmax − q, over the known N: odds 1 : 1 : 2, q = ½, ¼, ¼: (−¼, 0, ¼) / 2; 0 for the unknown row."""
    logits = tensor([[0., 0., math.log(2)], [1., 2., 3.], [0., 0., 0.]], device=device, requires_grad=True)
    q = tensor([[.5, .25, .25], [0., 0., 0.], [1., 0., 0.]], device=device)
    soft_cross_entropy(logits, q).backward()
    close(logits.grad, tensor([[-.125, 0., .125], [0., 0., 0.], [-1 / 3, 1 / 6, 1 / 6]], device=device))


def test_eq11_nothing_known(device):
    """face2nodes (11): 0, and a gradient of 0, where no row is known."""
    logits = random(device, 3, 5).requires_grad_()
    loss = soft_cross_entropy(logits, smoothed(torch.zeros(3, 5, device=device).double(), .1))
    loss.backward()
    assert loss == 0 and logits.grad.abs().sum() == 0 and loss.shape == ()


# ---- the whole

TINY = face2nodes.Config(net="resnet_demo", size=96, N=9, D=16, L=3, k=2, slower=2, C=2)      # maps of 24, 12, 6 and 3 pixels


def tiny(device, **more):
    model = face2nodes.Face2Nodes(dataclasses.replace(TINY, **more)).double()
    for part in (model.embedding, model.blocks, model.head):
        randomised(part, device)
    return model.to(device)


def faces(device, B=3):
    return torch.rand(B, 3, 96, 96, generator=torch.Generator().manual_seed(1), dtype=torch.float64).to(device)


@pytest.mark.parametrize("RG, groups, itself, unit", [(True, 4, True, False), (True, 1, False, True), (False, 4, True, True)])
@pytest.mark.parametrize("training", [True, False])
def test_the_whole_the_loop_twin(training, RG, groups, itself, unit, device):
    """face2nodes (1, 9, 10): from ResNet's four maps: patches in reading order, blocks with dilations 1, 1, 2, the mean, the head."""
    model, x = tiny(device, RG=RG, groups=groups, itself=itself, normalised=unit).train(training), faces(device)
    with torch.no_grad():
        maps = [numbers(m) for m in model.resnet.maps(resnet.normalise(x))]
    X = patches_twin(model.embedding, maps, 3).reshape(3, 16, 9).swapaxes(1, 2)                          # (B, N, D)
    for block, d in zip(model.blocks, (1, 1, 2), strict=True):
        assert hasattr(block.conv, "h") == RG
        X = block_twin(block, X, 2, d, itself, unit)
    close(model.nodes(x).cpu(), torch.from_numpy(X), atol=1e-8, rtol=1e-8)
    hidden = np.array([line(model.head[0], sum(sample) / 9) for sample in X])
    for c in range(8):
        hidden[:, c] = normalised(model.head[1], c, hidden[:, c])
    wanted = torch.from_numpy(np.array([line(model.head[3], z) for z in gelu(hidden)]))
    close(model(x).cpu(), wanted, atol=1e-8, rtol=1e-8)
    close(model.classify(model.nodes(x)).cpu(), wanted, atol=1e-8, rtol=1e-8)


def test_graphs_are_those_of_the_blocks(device):
    """face2nodes (5, 7): what the pictures show: block by block, F_in's neighbours, and σ(uᵀ(x_j − x_i) + b) edge by edge; or 1."""
    model, x = tiny(device).eval(), faces(device)
    index, gate = model.graphs(x)
    X = model.embed(x)
    for block, d, found, g in zip(model.blocks, (1, 1, 2), index, gate, strict=True):
        inner = plain_fc(block.F_in, X)
        assert found.tolist() == [dilated(sample, 2, d) for sample in numbers(inner)]
        e = inner[torch.arange(3, device=device)[:, None, None], found] - inner[:, :, None]                 # (3, 9, 2, 16)
        close(g, torch.sigmoid(e @ block.conv.h.weight[0] + block.conv.h.bias), atol=1e-9, rtol=0)
        X = plain_block(block, X, 2, d)
    index, gate = tiny(device, RG=False).eval().graphs(x)
    assert index.shape == gate.shape == (3, 3, 9, 2) and (gate == 1).all()


def test_first_weights(device):
    """Reading: as ViG: N(0, 2 / inputs), no bias: 8 inputs of the fusion: .5; 256 of F_in: .0884; 2 · 256 / 4 of (8): .125."""
    torch.manual_seed(0)
    model = face2nodes.Face2Nodes(dataclasses.replace(TINY, D=256)).to(device)
    block = model.blocks[0]
    for layer, wanted in ((model.embedding.fuse, .5), (block.F_in.fc, .0884), (block.conv.f, .125), (model.head[0], .0884)):
        assert layer.weight.std().item() == pytest.approx(wanted, rel=.05) and (layer.bias == 0).all()


def test_head_by_hand(device):
    """§4.3, Reading: the mean of the nodes: (1, 5) of (0, 1) and (2, 9); the largest are (2, 9), the sum is (2, 10).

    D = 16, the other channels 0. Hidden: 100 + 10 a + b = 115; GELU leaves it; the first class takes it, minus 100: 15.
    """
    model = tiny(device).eval()
    for layer in (model.head[0], model.head[3]):
        layer.weight.data.zero_(), layer.bias.data.zero_()
    model.head[0].weight.data[0, 0], model.head[0].weight.data[0, 1], model.head[0].bias.data[0] = 10, 1, 100
    model.head[3].weight.data[0, 0], model.head[3].bias.data[0] = 1, -100
    plain(model.head[1]).weight.data.fill_(1), model.head[1].bias.data.zero_(), model.head[1].running_mean.zero_()
    X = torch.zeros(1, 2, 16, dtype=torch.float64, device=device)
    X[0, 0, 1], X[0, 1, 0], X[0, 1, 1] = 1, 2, 9
    close(model.classify(X), tensor([[15.] + [0.] * 7], device=device).double(), atol=1e-9, rtol=0)


@pytest.mark.parametrize("training", [True, False])
def test_the_class_does_not_know_the_order(training, device):
    """face2nodes (9, 10): nodes in another order go through every block in that order, and to the same class."""
    model, p = tiny(device).train(training), tensor([3, 0, 6, 1, 8, 5, 2, 4, 7], device=device)
    X = Y = random(device, 3, 9, 16)
    Y = Y[:, p]
    for block in model.blocks:
        X, Y = block(X), block(Y)
        close(Y, X[:, p], atol=1e-9, rtol=1e-9)
    close(model.classify(Y), model.classify(X), atol=1e-9, rtol=1e-9)
    assert (X[:, p] - X).abs().max() > .1


def test_eq5_dilations_of_the_blocks():
    """face2nodes (5): ⌈l/4⌉. Reading: Algorithm 1 runs l = 0 ... L, which would be nine blocks, of 0, 1, 1, 1, 1, 2, 2, 2, 2."""
    for L, wanted in ((8, (1, 1, 1, 1, 2, 2, 2, 2)), (4, (1, 1, 1, 1)), (6, (1, 1, 1, 1, 2, 2)),
                      (12, (1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3))):
        cfg = face2nodes.Config(L=L)
        with torch.device("meta"):
            blocks = face2nodes.Face2Nodes(cfg).blocks
        assert cfg.dilations == tuple(block.d for block in blocks) == wanted and {block.k for block in blocks} == {9}
        assert {(block.itself, block.normalised) for block in blocks} == {(True, False)}


def test_size_by_hand():
    """Table 2 prints 36.58 M; seven classes give 36,784,975, of which 194,304 are the fusion.

    ResNet-18 11,176,512. MSF²PE 61,696 + 131,584 + 1,024. A block 3,160,065 (above), eight of them 25,280,520.
    The head 512 · 256 + 256, 512, 256 · 7 + 7: 133,639. Eight classes: 257 more. MR-GraphConv: 8 · 513 fewer.
    """
    def count(**more):
        with torch.device("meta"):
            model = face2nodes.Face2Nodes(face2nodes.Config(**more))
        return [sum(p.numel() for p in m.parameters()) for m in (model, model.embedding, model.blocks, model.head)]
    assert count(classes=face2nodes.EIGHT[:7]) == [36_784_975, 194_304, 25_280_520, 133_639]
    assert count()[0] == 36_784_975 + 257 and count(RG=False)[0] == 36_785_232 - 8 * 513
    assert count(groups=1)[0] == 36_785_232 - 8 * 1536 and count(N=784)[0] == 36_785_232
    assert 36_785_232 - 36_580_000 < .006 * 36_580_000


def test_multiply_adds_by_hand():
    """Table 2 prints 3.06 G: the layers take 3,056,252,672, and the distances of (5) 9,834,496 more.

    ResNet-18: 118,013,952 + 462,422,016 + 3 · 411,041,792. MSF²PE, pooled first: 49 (960 · 64 + 256 · 512).
    A block 49 (512² + 4 · 256² + 1024 · 512 + 2 · 512 · 2048), and 49² · 512 for distances. The head 512 · 256 + 256 · 7.
    """
    trunk, fusion, head = 118_013_952 + 462_422_016 + 3 * 411_041_792, 49 * (960 * 64 + 256 * 512), 512 * 256 + 256 * 7
    layers, distances = 8 * 49 * (512 ** 2 + 4 * 256 ** 2 + 1024 * 512 + 2 * 512 * 2048), 8 * 49 ** 2 * 512
    model = face2nodes.Face2Nodes(face2nodes.Config(classes=face2nodes.EIGHT[:7]))
    counted = multiply_adds(model, (torch.rand(1, 3, 224, 224),))
    assert counted == {"": trunk + fusion + layers + distances + head, "resnet": trunk, "embedding": fusion,
                       "blocks": layers + distances, "head": head}
    assert multiply_adds(model.blocks[7], (torch.rand(1, 49, 512),))[""] * 8 == layers + distances
    assert trunk + fusion + layers + head == 3_056_252_672 and distances == 9_834_496


def test_table_3_the_stem_of_ViG(device):
    """Table 3, Reading: five 3 × 3 convolutions to D/8, D/4, D/2, D, D: 196 nodes at 224 px, or 49 with a fifth stride.

    3,913,728 parameters at D = 512, none for a place (49 · 512 more); no GELU behind the last, which goes down to −0.17 only.
    """
    with torch.device("meta"):
        stems = [face2nodes.Face2Nodes(face2nodes.Config(MSF2PE=False, N=N)).embedding for N in (49, 196)]
    for stem, strides in zip(stems, ([2, 2, 2, 2, 2], [2, 2, 2, 2, 1])):
        convs = [m for m in stem if isinstance(m, nn.Conv2d)]
        assert [(c.in_channels, c.out_channels) for c in convs] == [(3, 64), (64, 128), (128, 256), (256, 512), (512, 512)]
        assert [c.stride[0] for c in convs] == strides and {c.kernel_size for c in convs} == {(3, 3)}
        assert sum(p.numel() for p in stem.parameters()) == 3_913_728
    model = face2nodes.Face2Nodes(face2nodes.Config(MSF2PE=False, D=16, size=224, L=0)).to(device)
    X = model.embed(torch.rand(2, 3, 224, 224, generator=torch.Generator().manual_seed(0)).to(device))
    assert X.shape == (2, 49, 16) and X.min() < -1


def test_eq11_12_in_training(device):
    """face2nodes (11, 12): class 1 of 2, odds 1 : 3, ξ = 0.2: .9 ln 4/3 + .1 ln 4; −1 is left out; votes 3 : 1: .7, .3."""
    out = tensor([[0., LN3], [5., -5.]], device=device)
    target = {"expression": tensor([1, -1], device=device), "votes": tensor([[3., 1.], [0., 0.]], device=device)}
    cfg = dataclasses.replace(TINY, classes=("a", "b"), xi=.2)
    for soft, q in ((False, .1), (True, .7)):
        cost = face2nodes.loss(out, target, {}, dataclasses.replace(cfg, soft=soft), face2nodes.stages(cfg)[0])["total"]
        close(cost, tensor(q * math.log(4) + (1 - q) * math.log(4 / 3), device=device))
