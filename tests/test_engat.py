"""ENGAT, equation by equation: attention that reads edges, the edges' similarities, pooling, scores."""
import dataclasses
import math

import pytest
import torch
from torch import tensor
from torch.testing import assert_close as close

from refnet.graphs.landmarks import (CHAINS, RINGS, EdgeFeatures, face_contours, frame_graph, global_similarity,
                                     local_similarity, squared_distance)
from refnet.models import engat
from refnet.ops.attention import masked_softmax
from refnet.ops.edge_attention import EdgeNodeAttention, edge_logits, mix_edges
from refnet.ops.graph_conv import GraphConv
from refnet.ops.metrics import accuracy, confusion, f1_per_class, uf1
from refnet.ops.pooling import SAGPool, gate, induced, readout, top_k


def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def a_graph(device, B=2, N=5, T=3, D=4, E=2, seed=0, dtype=torch.float64):
    """A layer, features, a graph in which every node hears itself and some others, and edge features; sizes all different."""
    make = torch.Generator().manual_seed(seed)
    h, f = torch.randn(B, N, T, generator=make, dtype=dtype), torch.randn(B, N, N, E, generator=make, dtype=dtype)
    A = ((torch.rand(B, N, N, generator=make) < .5) | torch.eye(N).bool()).to(dtype)
    layer = EdgeNodeAttention(T, D, E).to(dtype)
    for p in layer.parameters():
        p.data = torch.randn(p.shape, generator=make, dtype=dtype)
    return layer.to(device), h.to(device), A.to(device), f.to(device)


# ---- (1) to (4)

def test_eq1_two_nodes(device):
    """engat (1): W h = (1, 2), W_e = (1, -1), a = (1, 2, 3), f_01 = (.5, .25), the other edges 0.

    e_00 = 1 + 2·1 = 3             e_01 = 1 + 2·2 + 3 (.5 − .25) = 5.75
    e_10 = 2 + 2·1 = 4             e_11 = 2 + 2·2 = 6             and without edges e_01 = 5
    """
    Wh, W_e, a = tensor([[1.], [2.]], device=device), tensor([[1., -1.]], device=device), tensor([1., 2., 3.], device=device)
    f = torch.zeros(2, 2, 2, device=device)
    f[0, 1] = tensor([.5, .25])
    close(edge_logits(Wh, f, W_e, a), tensor([[3., 5.75], [4., 6.]], device=device))
    close(edge_logits(Wh, None, W_e, a), tensor([[3., 5.], [4., 6.]], device=device))


def test_eq1_two_maps(device):
    """engat (1): one map for nodes of 100 features, one for edges of 2; one W could not take both."""
    layer = EdgeNodeAttention(100, 32)
    assert layer.W.shape == (32, 100) and layer.W_e.shape == (32, 2) and layer.a.shape == (96,)
    assert sum(p.numel() for p in layer.parameters()) == 100 * 32 + 2 * 32 + 3 * 32 + 32


def test_eq2_a_quarter_and_three_quarters(device):
    """engat (2): e = (0, ln 3, 99), the third not in the neighbourhood: 1/4, 3/4 and exactly 0."""
    e = tensor([0., math.log(3), 99.], device=device).expand(1, 3, 3)
    A = tensor([[1., 1., 0.], [1., 1., 0.], [0., 0., 1.]], device=device)
    close(masked_softmax(e, A)[0, 0], tensor([.25, .75, 0.], device=device))


def two_nodes(device):
    """Node 0 hears itself with score 0 and node 1 with −5 ln 2: W = 1, h = (0, 1), a = (0, −5 ln 2, 0), bias 0."""
    layer = EdgeNodeAttention(1, 1)
    layer.W.data, layer.W_e.data = torch.ones(1, 1), torch.zeros(1, 2)
    layer.a.data = tensor([0., -5 * math.log(2), 0.])
    return layer.to(device), tensor([[0.], [1.]], device=device), torch.ones(2, 2, device=device)


def test_eq3_leaky_before_the_softmax(device):
    """engat (3): LeakyReLU(0.2) makes −5 ln 2 into −ln 2: weights 1 and 1/2 over 3/2. After the softmax it would change nothing:
    1 and 1/32 over 33/32."""
    layer, h, A = two_nodes(device)
    close(layer.attention(h, A, None)[0], tensor([2 / 3, 1 / 3], device=device))


def test_eq4_sigma_outside_the_sum(device):
    """engat (4): with h = (0, 1) the sum at node 0 is 1/3; with h negated, and a too, the sum is −1/3, and ReLU leaves 0.

    Edge features of −100 everywhere take 200 from both scores, below 0: nothing changes, and they are not in the sum.
    """
    layer, h, A = two_nodes(device)
    close(layer(h, A, None)[0], tensor([1 / 3], device=device))
    layer.W_e.data.fill_(1), layer.a.data[2].fill_(1)
    close(layer(h, A, torch.full((2, 2, 2), -100., device=device))[0], tensor([1 / 3], device=device))
    layer.a.data[1] *= -1
    close(layer(-h, A, None)[0], tensor([0.], device=device))
    close(layer.mix(-h, A, None)[0], tensor([-1 / 3], device=device))


@pytest.mark.parametrize("edges", [True, False])
def test_eq134_the_loop_twin(edges, device):
    """engat (1, 3, 4): receiver by receiver, edge by edge, with the concatenation as printed."""
    layer, h, A, f = a_graph(device)
    W, W_e, a, bias = (p.detach().cpu() for p in (layer.W, layer.W_e, layer.a, layer.bias))
    D, wanted = len(W), torch.zeros(2, 5, 4, dtype=torch.float64)
    x, adjacency, features = h.cpu(), A.cpu(), f.cpu()
    for b in range(2):
        for i in range(5):
            score = {}
            for j in range(5):
                if adjacency[b, i, j]:
                    parts = [W @ x[b, i], W @ x[b, j]] + ([W_e @ features[b, i, j]] if edges else [])
                    s = float(a[:len(parts) * D] @ torch.cat(parts))
                    score[j] = math.exp(s if s > 0 else .2 * s)
            total = sum(score.values())
            for j, s in score.items():
                wanted[b, i] += s / total * (W @ x[b, j])
            wanted[b, i] = (wanted[b, i] + bias).clamp(min=0)
    close(layer(h, A, f if edges else None), wanted.to(device))


def test_eq4_an_edge_list_gives_the_same(device):
    """engat (4): the edges of A in any order."""
    layer, h, A, f = a_graph(device)
    edges = A[0].nonzero().T.flip(1)                                                    # (2, M)
    i, j = edges
    close(mix_edges(h[0], edges, f[0, i, j], layer), layer.mix(h[0], A[0], f[0]), atol=1e-6, rtol=0)
    close(mix_edges(h[0], edges, None, layer), layer.mix(h[0], A[0], None), atol=1e-6, rtol=0)
    close(mix_edges(h, edges, f[:, i, j], layer), layer.mix(h, A[0], f), atol=1e-6, rtol=0)      # a batch with one graph


def test_eq4_nodes_may_be_renumbered(device):
    layer, h, A, f = a_graph(device)
    order = torch.tensor([3, 0, 4, 1, 2], device=device)
    close(layer(h[:, order], A[:, order][:, :, order], f[:, order][:, :, order]), layer(h, A, f)[:, order])


def test_eq4_gradients(device):
    layer, h, A, f = a_graph(device)
    assert torch.autograd.gradcheck(lambda h, f: layer.mix(h, A, f), (h.requires_grad_(), f.requires_grad_()))


# ---- (5) to (7)

PATH = tensor([[1., 1., 0.], [1., 1., 1.], [0., 1., 1.]])                               # 0 - 1 - 2, each hears itself


def test_eq6_a_path_of_three(device):
    """engat (6): N(0) = {0, 1}, N(1) = {0, 1, 2}, N(2) = {1, 2}. Between 0 and 1: 2 of 3; 0 and 2: 1 of 3; a node itself: 1.

    Without self-loops N(0) = {1}, N(1) = {0, 2}: no end of an edge shares anything, sigmoid(0) = ½. An intersection of sizes
    without the union would say sigmoid(2).
    """
    J = global_similarity(PATH.to(device))
    close(J[0], tensor([sigmoid(1), sigmoid(2 / 3), sigmoid(1 / 3)], device=device))
    assert J[0, 1].item() == pytest.approx(.660756, abs=1e-6)
    bare = global_similarity((PATH - torch.eye(3)).to(device))
    close(bare[0], tensor([sigmoid(1), .5, sigmoid(1)], device=device))
    close(global_similarity(torch.zeros(2, 2, device=device)), torch.full((2, 2), .5, device=device))


def test_eq6_sets_of_a_random_graph(device):
    """engat (6): Python's own sets, a graph that is not symmetric, weights that are not 1."""
    A = (torch.rand(7, 7, generator=torch.Generator().manual_seed(1)) < .4) * 3.
    sets = [set(row.nonzero()[:, 0].tolist()) for row in A]
    wanted = [[sigmoid(len(p & q) / len(p | q) if p | q else 0) for q in sets] for p in sets]
    close(global_similarity(A.to(device)), tensor(wanted, device=device))


def test_eq7_by_hand(device):
    """engat (7): two points √(2 ln 2) apart, γ = 1: exp(−ln 2) = ½, sigmoid(½) = 0.622459. γ = ½ makes it exp(−4 ln 2) = 1/16."""
    h = tensor([[0., 0.], [math.sqrt(2 * math.log(2)), 0.]], device=device)
    close(local_similarity(squared_distance(h), tensor(1., device=device)), tensor([[sigmoid(1), .622459], [.622459, sigmoid(1)]], device=device),
          atol=1e-5, rtol=0)
    close(local_similarity(squared_distance(h), tensor(.5, device=device))[0, 1], tensor(sigmoid(1 / 16), device=device), atol=1e-5, rtol=0)


def test_eq7_the_loop_twin_and_its_range(device):
    """engat (7): pair by pair; between ½ and 0.7311, whatever the features and γ, 0 included."""
    h = 3 * torch.randn(2, 6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    wanted = torch.stack([tensor([[sigmoid(math.exp(-float((p - q).square().sum()) / (2 * 1.3 ** 2))) for q in x] for p in x],
                                 dtype=torch.float64) for x in h])
    close(local_similarity(squared_distance(h.to(device)), tensor(1.3, device=device)), wanted.to(device), atol=1e-6, rtol=0)
    for gamma in (0., 1e3):
        s = local_similarity(squared_distance(h.to(device)), tensor(gamma, device=device))
        assert s.isfinite().all() and s.min() >= .5 and s.max() <= sigmoid(1) + 1e-6


def test_eq5_both_similarities_and_a_gamma_that_learns(device):
    """engat (5): (GSSS, LSSS) in this order. In pixels exp(−50) leaves γ no gradient, in units of the picture's side it has one."""
    layer, h = EdgeFeatures().to(device), tensor([[[.1, .2], [.3, .2], [.5, .8]]], device=device)
    f = layer(h, PATH.to(device))
    assert f.shape == (1, 3, 3, 2)
    close(f[0, ..., 0], global_similarity(PATH.to(device)))
    close(f[..., 1], local_similarity(squared_distance(h), tensor(1., device=device)))
    edges = PATH.to(device).nonzero().T                                                 # (2, 7)
    i, j = edges
    close(layer.along(h, edges, global_similarity(PATH.to(device))[i, j]), f[:, i, j])
    f[..., 1].sum().backward()
    assert layer.gamma.grad.abs() > 1e-3
    layer.gamma.grad = None
    layer(256 * h, PATH.to(device))[..., 1].sum().backward()
    assert layer.gamma.grad.abs() < 1e-6


# ---- the graph

def test_the_contours():
    """engat (§3.3): 51 landmarks; chains of 5, 5, 4 and 5 have 15 edges, rings of 6, 6, 12 and 8 have 32, and three joints: 50."""
    A = face_contours()
    assert A.shape == (51, 51) and (A == A.T).all() and (A.diagonal() == 1).all()
    assert (A.sum() - 51) / 2 == 15 + 32 + 3
    assert sorted(k for part in (*CHAINS, *RINGS) for k in part) == list(range(51))
    assert (A.sum(1) > 1).all()
    assert A[19].nonzero().flatten().tolist() == [19, 20, 24]                           # the eye's outer corner closes its ring
    assert A[4, 5] == 0 and A[13].nonzero().flatten().tolist() == [12, 13, 16]          # brows apart; the nose's tip


def test_three_frames(device):
    """engat (§3.3): 153 nodes. Landmark 7 of frame 1 is node 58; it hears its contour, and nodes 7 and 109."""
    one = face_contours().to(device)
    A = frame_graph(one)
    assert A.shape == (153, 153) and (A == A.T).all() and (A.diagonal() == 1).all()
    assert A[58].nonzero().flatten().tolist() == [7, 57, 58, 59, 109]
    assert A[7].nonzero().flatten().tolist() == [6, 7, 8, 58]                           # not the third frame
    for t in range(3):
        close(A[51 * t:51 * t + 51, 51 * t:51 * t + 51], one)
    assert A.sum() == 3 * one.sum() + 4 * 51
    close(frame_graph(one, 1), one)
    with pytest.raises(ValueError, match="at least one frame; got 0"):
        frame_graph(one, 0)


# ---- pooling

def test_top_k_with_ties(device):
    """engat (§3.2): scores 1 3 3 3 0. Half of five is three: nodes 1, 2, 3. Two fifths is two: of three equals the lower two."""
    score = tensor([[1., 3., 3., 3., 0.]], device=device)
    assert top_k(score, .5).tolist() == [[1, 2, 3]] and top_k(score, .4).tolist() == [[1, 2]]
    assert top_k(score, .8).tolist() == [[0, 1, 2, 3]]


def test_top_k_counts(device):
    """engat (§3.2): 75 % of 153 are 114.75: 115. 0.7 · 10 is 7.000000000000001 in binary, and still 7."""
    assert top_k(torch.rand(2, 153, device=device), .75).shape == (2, 115)
    assert top_k(torch.rand(1, 10, device=device), .7).shape == (1, 7)
    for ratio in (0, 1.1):
        with pytest.raises(ValueError, match="above 0, and 1 at most"):
            top_k(torch.rand(1, 3), ratio)


def test_pool_by_hand(device):
    """engat (§3.2): two graphs of three nodes keep two each, the first 0 and 2, the second 1 and 2; h is gated by tanh(score)."""
    score = tensor([[1., -1., 2.], [20., 30., 25.]], device=device)
    h = tensor([[[1.], [10.], [100.]], [[2.], [20.], [200.]]], device=device)
    A = tensor([[1., 2., 3.], [4., 5., 6.], [7., 8., 9.]], device=device)
    f = torch.stack([A, -A], -1).expand(2, 3, 3, 2)
    kept = top_k(score, .6)
    assert kept.tolist() == [[0, 2], [1, 2]]
    close(gate(h, score, kept)[..., 0], tensor([[math.tanh(1), 100 * math.tanh(2)], [20., 200.]], device=device))
    A2, f2 = induced(A, f, kept)
    close(A2, tensor([[[1., 3.], [7., 9.]], [[5., 6.], [8., 9.]]], device=device))
    close(f2, torch.stack([A2, -A2], -1))
    close(induced(A.expand(2, 3, 3), None, kept)[0], A2)
    assert induced(A, None, kept)[1] is None


def alone(n, device):
    """n nodes that hear themselves and no other: (2, n)"""
    return torch.arange(n, device=device).expand(2, n)


def test_sagpool_scores_may_be_negative(device):
    """engat (§3.2): the score is attention without its σ: of nodes that score −1, −2 and −3 the first two stay."""
    layer = SAGPool(1, .6)
    for p in layer.parameters():
        torch.nn.init.zeros_(p)
    layer.score.W.data.fill_(-1)
    h = tensor([[[1.], [2.], [3.]]])
    h2, kept = layer.to(device)(h.to(device), alone(3, device), torch.zeros(1, 3, 2, device=device))
    assert kept.tolist() == [[0, 1]]
    close(h2[0, :, 0], tensor([math.tanh(-1), 2 * math.tanh(-2)], device=device))


def test_sagpool_compares_before_the_gate(device):
    """engat (§3.2): scores of 20, 30 and 25 have one tanh in float32, and are still told apart: 1 and 2 stay."""
    layer = SAGPool(1, .6)
    for p in layer.parameters():
        torch.nn.init.zeros_(p)
    layer.score.W.data.fill_(1)
    _, kept = layer.to(device)(tensor([[[20.], [30.], [25.]]], device=device), alone(3, device), None)
    assert kept.tolist() == [[1, 2]]


def test_sagpool_reads_the_edges(device):
    """engat (§3.2): nodes 0, 1, 2 have h = 0, node 3 has 5; each hears itself, and 1 and 2 hear 3, over edges of 0 and of 1.

    W_e a₃ = ln 3: the edge of 1 triples the weight. Node 1 scores (0 + 5)/2, node 2 (0 + 3·5)/4: with the edges heard node 2 stays
    beside 3, and without them the two are equal, and the lower index does.
    """
    layer = SAGPool(1, .5, E=1)
    for p in layer.parameters():
        torch.nn.init.zeros_(p)
    layer.score.W.data.fill_(1), layer.score.W_e.data.fill_(math.log(3)), layer.score.a.data[2].fill_(1)
    layer.to(device)
    edges = tensor([[0, 1, 2, 3, 1, 2], [0, 1, 2, 3, 3, 3]], device=device)
    f = tensor([[[0.], [0.], [0.], [0.], [0.], [1.]]], device=device)
    h = tensor([[[0.], [0.], [0.], [5.]]], device=device)
    close(mix_edges(h, edges, f, layer.score)[0, :, 0], tensor([0., 2.5, 3.75, 5.], device=device))
    assert layer(h, edges, f)[1].tolist() == [[2, 3]] and layer(h, edges, None)[1].tolist() == [[1, 3]]


def test_a_gradient_reaches_the_score(device):
    layer = SAGPool(4, .5).to(device)
    h, edges = torch.randn(2, 6, 4, device=device), torch.ones(6, 6, device=device).nonzero().T
    readout(layer(h, edges, torch.rand(2, 36, 2, device=device))[0]).sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in layer.parameters() if p is not layer.score.a) and layer.score.a.grad is not None


def test_readout_by_hand(device):
    """engat (§3.2): means 2 and 0, largest 3 and 1."""
    h = tensor([[1., -1.], [3., 1.]], device=device)
    close(readout(h), tensor([2., 0., 3., 1.], device=device))


# ---- (8) to (10)

def test_eq8910_by_hand(device):
    """engat (8, 9, 10): of six samples two negative are found and one is called positive; the positive is found; the two of
    surprise are called negative. No class is called surprise.

    F1: 4 / (4 + 2 + 1) = 4/7, 2 / (2 + 1 + 0) = 2/3, 0 / (0 + 0 + 2) = 0.   UF1 = (4/7 + 2/3) / 3 = 26/63.   Acc = 3/6.
    """
    counts = confusion(tensor([0, 0, 0, 1, 2, 2], device=device), tensor([0, 0, 1, 1, 0, 0], device=device), 3)
    close(f1_per_class(counts), tensor([4 / 7, 2 / 3, 0.], device=device))
    close(uf1(counts), tensor(26 / 63, device=device))
    close(accuracy(counts), tensor(.5, device=device))


def test_eq9_a_class_that_is_nowhere_counts(device):
    """engat (9): C is the number of classes: with one that is neither there nor called, 1 and 1 and 0 make 2/3."""
    close(uf1(torch.diag(tensor([2, 3, 0], device=device))), tensor(2 / 3, device=device))


@pytest.mark.parametrize("T, D", [(100, 32), (2, 32), (96, 1)])
def test_weights_start_in_glorots_way(device, T, D):
    """Uniform within √(6 / (T + D)): never beyond, and of many numbers one comes near."""
    torch.manual_seed(0)
    for layer in (EdgeNodeAttention(T, D).to(device), GraphConv(T, D).to(device)):
        bound = math.sqrt(6 / (T + D))
        assert .9 * bound < layer.W.abs().max() <= bound


# ---- the network, as a whole

@pytest.mark.parametrize("kind", [{}, {"attention": False, "edges": False}])
def test_compiled_exported_and_in_bfloat16(device, kind):
    """One graph without breaks, the same numbers; in bfloat16 nearly the same, and gradients that are numbers."""
    torch.manual_seed(0)
    cfg = dataclasses.replace(engat.Config(), **kind)
    model = engat.network(cfg, {}, engat.stages(cfg)[0]).to(device)
    inputs = (torch.randn(2, 1, 153, 2, device=device), torch.rand(2, 1, 153, 100, device=device),
              torch.rand(2, 1, 153, 2, device=device), torch.ones(2, 1, dtype=torch.bool, device=device))
    wanted = model(*inputs)
    close(torch.compile(model, fullgraph=True, backend="aot_eager")(*inputs), wanted)
    close(torch.export.export(model, inputs).module()(*inputs), wanted)
    with torch.autocast(device.type, torch.bfloat16):
        out = model(*inputs)
        engat.loss(out, {"expression": torch.tensor([0, 1], device=device)}, {}, cfg, engat.stages(cfg)[0])["total"].backward()
    close(out[1].float(), wanted[1], atol=.02, rtol=0)
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
