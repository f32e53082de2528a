"""ME-GraphAU, equation by equation: a graph of similar units, cross attention, edges of many dimensions, the losses.

Twins are loops in float64 NumPy, written from the page; where the page is silent, from what is known of the authors' code.
"""
import math

import numpy as np
import pytest
import torch
from torch import nn, tensor
from torch.testing import assert_close as close

from refnet.graphs.nearest import nearest, scaled
from refnet.ops.cross_attention import ARM, CrossAttention, fam
from refnet.ops.gated_graph_conv import GatedGraphConv
from refnet.ops.graph_conv import FGGConv
from refnet.ops.losses import (edge_cross_entropy, occurrence_rates, occurrence_weights, overall, pair_labels,
                               weighted_asymmetric, weighted_bce)
from refnet.ops.metrics import f1_per_unit
from refnet.ops.similarity import similarity
from refnet.training import distributed

EPS = 1e-5                                                           # what torch's batch normalisation adds to a variance
LN3 = math.log(3)


# ---- what the twins are made of

def randomised(module, device, seed=0, dtype=torch.float64):
    """The module with random weights everywhere, running statistics too."""
    make = torch.Generator().manual_seed(seed)
    module = module.to(dtype)
    for p in module.parameters():
        p.data = .6 * torch.randn(p.shape, generator=make, dtype=torch.float64).to(dtype)
    for name, b in module.named_buffers():
        if name.endswith("running_mean"):
            b.copy_(torch.randn(b.shape, generator=make, dtype=torch.float64))
        if name.endswith("running_var"):
            b.copy_(torch.rand(b.shape, generator=make, dtype=torch.float64) + .5)
    return module.to(device)


def random(device, *shape, seed=1, dtype=torch.float64):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(device, dtype)


def plain(bn):
    """The normalisation as the identity: in evaluation, mean 0 and a variance that is 1 with eps."""
    bn.running_var.fill_(1 - EPS)
    return bn.eval()


def numbers(t):
    return t.detach().cpu().double().numpy()


def line(layer, x):
    """W x + b of one vector, an output at a time."""
    W, b = numbers(layer.weight), numbers(layer.bias) if layer.bias is not None else np.zeros(layer.out_features)
    return np.array([sum(W[o, c] * x[c] for c in range(len(x))) + b[o] for o in range(len(b))])


def normalised(bn, k, values):
    """One mean and one variance for all of `values`, the k-th of the normalisation; the biased one in training."""
    mean, variance = values.sum() / values.size, ((values - values.sum() / values.size) ** 2).sum() / values.size
    if not bn.training:
        mean, variance = numbers(bn.running_mean)[k], numbers(bn.running_var)[k]
    return (values - mean) / math.sqrt(variance + EPS) * numbers(bn.weight)[k] + numbers(bn.bias)[k]


def logistic(x):
    return 1 / (1 + math.exp(-x))


def asks(layer, A, B):
    """(4) for one sample, token by token: the features and the weights."""
    queries, keys = [line(layer.query, a) for a in A], [line(layer.key, b) for b in B]
    values = [line(layer.value, b) for b in B]
    out, weights = np.zeros((len(A), len(values[0]))), np.zeros((len(A), len(B)))
    for t, q in enumerate(queries):
        score = [math.exp(sum(q[c] * k[c] for c in range(len(k))) / math.sqrt(len(k))) for k in keys]
        for s in range(len(B)):
            weights[t, s] = score[s] / sum(score)
            out[t] += weights[t, s] * values[s]
    return out, weights


# ---- §2.1: who hears whom

def test_section_21_nearest_by_hand(device):
    """megraphau (§2.1): v = 1, 3, 2: the products are rows (1, 3, 2), (3, 9, 6) and (2, 6, 4).

    K = 1: all three hear node 1, so nodes 0 and 2 lose themselves. K = 2: all hear 1 and 2, and nobody hears 0: the
    graph is not symmetric. Distances would say that node 0 is next to itself, cosines that all are alike.
    """
    v = tensor([[[1.], [3.], [2.]]], device=device)
    assert nearest(v, 1).tolist() == [[[0, 1, 0]] * 3]
    assert nearest(v, 2).tolist() == [[[0, 1, 1]] * 3]
    assert nearest(v, 3).tolist() == [[[1, 1, 1]] * 3]


def test_section_21_nearest_of_equals(device):
    """megraphau (§2.1): v = 2, 1, 1, 0: rows (4, 2, 2, 0), (2, 1, 1, 0) twice, (0, 0, 0, 0). K = 2: 0, and 1 before 2.

    With ties all that reach the second largest: 0, 1 and 2 of the first three rows, everything in the last. Of 41 equals
    K = 3 takes the first three.
    """
    v = tensor([[[2.], [1.], [1.], [0.]]], device=device)
    assert nearest(v, 2).tolist() == [[[1, 1, 0, 0]] * 4]
    assert nearest(v, 2, ties=True).tolist() == [[[1, 1, 1, 0]] * 3 + [[1, 1, 1, 1]]]
    assert nearest(torch.ones(1, 41, 2, device=device), 3).tolist() == [[[1] * 3 + [0] * 38] * 41]


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("K", [1, 3, 7])
def test_section_21_nearest_the_loop_twin(K, ties, device):
    """megraphau (§2.1): node by node; K = 7 is the complete graph. Small whole numbers, so that there are equals."""
    v = torch.randint(-2, 3, (2, 7, 3), generator=torch.Generator().manual_seed(0)).double()
    wanted = np.zeros((2, 7, 7))
    for b in range(2):
        for i in range(7):
            product = [sum(float(v[b, i, c] * v[b, j, c]) for c in range(3)) for j in range(7)]
            for j in range(7):
                before = sum(product[k] > product[j] or not ties and product[k] == product[j] and k < j for k in range(7))
                wanted[b, i, j] = before < K
    A = nearest(v.to(device), K, ties)
    assert A.tolist() == wanted.tolist()
    assert (A.sum(-1) >= K).all() and (ties or (A.sum(-1) == K).all())
    if K == 3 and not ties:
        assert (A != A.mT).any() and (A.diagonal(dim1=1, dim2=2) == 0).any()


def test_section_21_the_graph_has_no_gradient(device):
    """megraphau (§2.1): a_ij is 0 or 1: what is learned comes through the nodes, not through the choice."""
    v = random(device, 2, 5, 3).requires_grad_()
    assert not nearest(v, 2).requires_grad and not nearest(v, 2, ties=True).requires_grad


def test_section_21_half_precision_chooses_the_same(device):
    """megraphau (§2.1): v = 1, 1, 1.003: all hear node 2. bfloat16, in steps of 1/128 here, takes 1.003 for 1: then node 0."""
    v = tensor([[[1.], [1.], [1.003]]], device=device)
    assert nearest(v, 1).tolist() == [[[0, 0, 1]] * 3]
    with torch.autocast(device.type, dtype=torch.bfloat16):
        assert (v @ v.mT).unique().tolist() == [1]
        assert nearest(v, 1).tolist() == [[[0, 0, 1]] * 3]


def test_section_21_nearest_refuses(device):
    for K in (0, 4, -1):
        with pytest.raises(ValueError, match=f"{K}"):
            nearest(torch.ones(2, 3, 5, device=device), K)


def test_section_21_scaled_by_hand(device):
    """megraphau (§2.1): rows (1, 1, 0), (0, 1, 0), (1, 1, 1) have degrees 2, 1, 3: A_ij / √(d_i d_j).

    Columns are scaled by the degrees of rows too. Where all have three neighbours it is A / 3.
    """
    A = tensor([[[1., 1., 0.], [0., 1., 0.], [1., 1., 1.]]], device=device)
    wanted = [[1 / 2, 1 / math.sqrt(2), 0], [0, 1, 0], [1 / math.sqrt(6), 1 / math.sqrt(3), 1 / 3]]
    close(scaled(A), tensor([wanted], device=device))
    close(scaled(nearest(random(device, 2, 7, 5), 3)) * 3, nearest(random(device, 2, 7, 5), 3), check_dtype=False)


# ---- (1)

def test_eq1_by_hand(device):
    """megraphau (1): x = 1, 2; U = 1; V x = −2x + ½ = −1.5, −3.5; Â = [[0, 1], [½, ½]]; the normalisation is the identity.

    Â V(x) + U(x) = −3.5 + 1 and −2.5 + 2; with x: −1.5 and 1.5; ReLU last: 0 and 1.5. A residual outside the ReLU would give
    1 and 2, the columns of Â (1 − 1.75 + 1) and (2 − 3.25 + 2).
    """
    layer = FGGConv(1, 2)
    layer.U.weight.data.fill_(1), layer.U.bias.data.fill_(0), layer.V.weight.data.fill_(-2), layer.V.bias.data.fill_(.5)
    plain(layer.bn)
    x, A_hat = tensor([[[1.], [2.]]], device=device), tensor([[[0., 1.], [.5, .5]]], device=device)
    close(layer.to(device)(x, A_hat), tensor([[[0.], [1.5]]], device=device))


def test_eq1_one_mean_for_each_unit(device):
    """megraphau (1): U = 1 and V = 0; node 0 is (0, 4): mean 2, deviation 2; node 1 is (10, 30): mean 20, deviation 10.

    Both become (−1, 1), added to x: (−1, 5) → (0, 5), and (9, 31). A mean for each channel would give (−1, 3) and (11, 31).
    """
    layer = FGGConv(2, 2)
    layer.U.weight.data, layer.V.weight.data = torch.eye(2), torch.zeros(2, 2)
    layer.U.bias.data.zero_(), layer.V.bias.data.zero_()
    x, A_hat = tensor([[[0., 4.], [10., 30.]]], device=device), torch.ones(1, 2, 2, device=device)
    close(layer.to(device)(x, A_hat), tensor([[[0., 5.], [9., 31.]]], device=device), atol=1e-4, rtol=0)


@pytest.mark.parametrize("B, N", [(2, 5), (1, 5), (3, 1)])
@pytest.mark.parametrize("training", [True, False])
def test_eq1_the_loop_twin(training, B, N, device):
    """megraphau (1): node by node; one sample, one unit."""
    layer, x = randomised(FGGConv(3, N), device).train(training), random(device, B, N, 3)
    A_hat = torch.rand(B, N, N, generator=torch.Generator().manual_seed(2), dtype=torch.float64).to(device)
    X, A, m, wanted = numbers(x), numbers(A_hat), np.zeros((B, N, 3)), np.zeros((B, N, 3))
    for b in range(B):
        for i in range(N):
            m[b, i] = line(layer.U, X[b, i])
            for j in range(N):
                m[b, i] += A[b, i, j] * line(layer.V, X[b, j])
    for i in range(N):
        wanted[:, i] = np.maximum(X[:, i] + normalised(layer.bn, i, m[:, i]), 0)
    close(layer(x, A_hat).cpu(), torch.from_numpy(wanted), atol=1e-10, rtol=0)


def test_eq1_gradients(device):
    layer, A = randomised(FGGConv(3, 4), device), scaled(nearest(random(device, 2, 4, 3), 2)).double()
    x = random(device, 2, 4, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda x, *_: layer(x, A), (x, *layer.parameters()))


# ---- (2)

def test_eq2_by_hand(device):
    """megraphau (2): (3, 4) and (4, 3): 24/25. (3, −4) is (3, 0), with (1, 1): 1/√2. (1, −1) is (1, 0), with (1, 1): 1/√2.

    (3, −4) with (−1, 2), that is (3, 0) with (0, 2): 0. Without ReLU: 0.96, −1/(5√2), 0, −11/(5√5).
    """
    v = tensor([[3., 4.], [3., -4.], [1., 1.], [3., -4.]], device=device)
    s = tensor([[4., 3.], [1., 1.], [1., -1.], [-1., 2.]], device=device)
    close(similarity(v, s), tensor([.96, math.sqrt(.5), math.sqrt(.5), 0.], device=device))


def test_eq2_the_loop_twin(device):
    """megraphau (2): a vector s of its own for each unit; between 0 and 1; batches of any depth."""
    v, s = random(device, 2, 3, 5, 7), random(device, 5, 7, seed=2)
    V, S, wanted = numbers(v), numbers(s), np.zeros((2, 3, 5))
    for t in range(2):
        for b in range(3):
            for i in range(5):
                top = sum(max(V[t, b, i, c], 0) * max(S[i, c], 0) for c in range(7))
                long = [math.sqrt(sum(max(z, 0) ** 2 for z in vector)) for vector in (V[t, b, i], S[i])]
                wanted[t, b, i] = top / (long[0] * long[1])
    p = similarity(v, s)
    close(p.cpu(), torch.from_numpy(wanted))
    close(similarity(v[0, 0], s), p[0, 0])
    close(similarity(100 * v, s / 100), p)
    assert p.min() >= 0 and p.max() <= 1
    assert torch.autograd.gradcheck(similarity, (v[0, :2].requires_grad_(), s.requires_grad_()))


def test_eq2_nothing_there(device):
    """megraphau (2): a vector without a positive part has no direction: 0, and finite gradients."""
    v, s = tensor([[0., 0.], [-1., -2.], [1., 2.]], device=device).requires_grad_(), torch.ones(3, 2, device=device)
    s[2] = -1
    p = similarity(v, s.requires_grad_())
    assert p.tolist() == [0, 0, 0]
    p.sum().backward()
    assert v.grad.isfinite().all() and s.grad.isfinite().all()


# ---- (3), (4)

def one_channel_asks(layer):
    """Queries and keys are channel 0, values are the tokens themselves."""
    for linear in (layer.query, layer.key, layer.value):
        linear.weight.data.zero_(), linear.bias.data.zero_()
    layer.query.weight.data[0, 0] = layer.key.weight.data[0, 0] = 1
    layer.value.weight.data = torch.eye(layer.value.in_features)
    return layer


def test_eq4_by_hand(device):
    """megraphau (4): C = 8, so the keys have 4 channels and √d_k = 2. The query 2 meets keys 0 and ln 3: scores 0 and ln 3.

    Weights 1/4 and 3/4; values (0, 4) and (ln 3, 8): ¾ ln 3 and 7. The scale √C would give 0.315 and 0.685.
    """
    layer = one_channel_asks(CrossAttention(8)).to(device)
    assert layer.query.weight.shape == layer.key.weight.shape == (4, 8) and layer.value.weight.shape == (8, 8)
    A, B = torch.zeros(1, 8, device=device), torch.zeros(2, 8, device=device)
    A[0, 0], B[1, 0], B[0, 1], B[1, 1] = 2, LN3, 4, 8
    close(layer.weights(A, B), tensor([[.25, .75]], device=device))
    close(layer(A, B)[0, :3], tensor([.75 * LN3, 7., 0.], device=device))


def test_eq4_the_loop_twin(device):
    """megraphau (4): five tokens ask seven; each row of weights sums to 1; batches of any depth, and none."""
    layer, A, B = randomised(CrossAttention(6), device), random(device, 2, 3, 5, 6), random(device, 2, 3, 7, 6, seed=2)
    out, weights = layer(A, B), layer.weights(A, B)
    for t in range(2):
        for b in range(3):
            features, rows = asks(layer, numbers(A[t, b]), numbers(B[t, b]))
            close(out[t, b].cpu(), torch.from_numpy(features), atol=1e-10, rtol=0)
            close(weights[t, b].cpu(), torch.from_numpy(rows), atol=1e-10, rtol=0)
    close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    close(layer(A[0, 0], B[0, 0]), out[0, 0])


def test_eq4_large_scores_stay_finite(device):
    """megraphau (4): scores in the thousands pick one token: no overflow in the exponent."""
    layer = one_channel_asks(CrossAttention(2)).to(device)
    A, B = tensor([[3000.], [-3000.]], device=device).expand(2, 2), tensor([[1.], [2.], [3.]], device=device).expand(3, 2)
    close(layer(A, B), tensor([[3., 3.], [1., 1.]], device=device))


def test_eq3_by_hand(device):
    """megraphau (3): unit 0 asks with 0 and ln 3, unit 1 with −ln 3 and 0; the face's tokens are (0, 0) and (1, 8), d_k = 1.

    Unit 0: weights ½, ½ → (½, 4), and ¼, ¾ → (¾, 6). Unit 1: ¾, ¼ → (¼, 2), and (½, 4). U's own 77 is nowhere.
    """
    U = tensor([[[[0., 77.], [LN3, 77.]], [[-LN3, 77.], [0., 77.]]]], device=device)
    F = fam(U, tensor([[[0., 0.], [1., 8.]]], device=device), one_channel_asks(CrossAttention(2)).to(device))
    close(F, tensor([[[[.5, 4.], [.75, 6.]], [[.25, 2.], [.5, 4.]]]], device=device))


def test_eq3_the_loop_twin(device):
    """megraphau (3): sample by sample, unit by unit, each alone with its face."""
    attend, U, X = randomised(CrossAttention(4), device), random(device, 2, 3, 7, 4), random(device, 2, 7, 4, seed=2)
    F = fam(U, X, attend)
    assert F.shape == (2, 3, 7, 4)
    for b in range(2):
        for i in range(3):
            close(F[b, i].cpu(), torch.from_numpy(asks(attend, numbers(U[b, i]), numbers(X[b]))[0]), atol=1e-10, rtol=0)


# ---- (5)

def test_eq5_by_hand(device):
    """megraphau (5): F_0 is (0, 0), (1, 8) and F_1 is (0, 4), (ln 3, 12); channel 0 asks and is asked.

    Values, projection and normalisation are the identity.
    e_01: F_1 asks F_0. 0 · (0, 1): ½, ½ → (½, 4); ln 3 · (0, 1): ¼, ¾ → (¾, 6); their mean: (0.625, 5).
    e_10: F_0 asks F_1. 0 · (0, ln 3): (½ ln 3, 8); 1 · (0, ln 3): (¾ ln 3, 10); their mean: (0.625 ln 3, 9).
    e_00: (½, 4), and 1 · (0, 1): a = 1/(1 + 1/e) = 0.731059 → (a, 8a). e_11: (½ ln 3, 8), and ln 3 · (0, ln 3):
    b = 1/(1 + exp(−ln² 3)) = 0.769759 → (b ln 3, 4 + 8b).
    """
    arm = ARM(2, 2)
    one_channel_asks(arm.attend), plain(arm.bn)
    arm.project.weight.data, arm.project.bias.data = torch.eye(2), torch.zeros(2)
    e = arm.to(device).eval()(tensor([[[[0., 0.], [1., 8.]], [[0., 4.], [LN3, 12.]]]], device=device))
    a, b = .731059, .769759
    wanted = [[[(.5 + a) / 2, (4 + 8 * a) / 2], [.625, 5.]], [[.625 * LN3, 9.], [(.5 + b) / 2 * LN3, 6 + 4 * b]]]
    close(e, tensor([wanted], device=device), atol=1e-5, rtol=1e-5)


def test_eq5_who_is_asked(device):
    """megraphau (5): the tokens of F_i are all alike, c_i: then e_ij is c_i whoever asks, "F_j-related cues in F_i"."""
    arm = ARM(4, 3)
    arm.attend.value.weight.data, arm.attend.value.bias.data = torch.eye(4), torch.zeros(4)
    arm.project.weight.data, arm.project.bias.data = torch.eye(4), torch.zeros(4)
    plain(arm.bn)
    c = random(device, 2, 3, 4, dtype=torch.float32)
    close(arm.to(device).eval()(c[:, :, None].expand(2, 3, 5, 4)), c[:, :, None].expand(2, 3, 3, 4))


@pytest.mark.parametrize("dtype, atol", [(torch.float64, 1e-10), (torch.float32, 1e-5)])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("B, N", [(2, 3), (1, 3), (2, 1)])
def test_eq5_the_loop_twin(B, N, training, dtype, atol, device):
    """megraphau (5): pair by pair, with the projection and the normalisation of each ordered pair; one sample, one unit."""
    arm, F = randomised(ARM(4, N), device, dtype=dtype).train(training), random(device, B, N, 5, 4, dtype=dtype)
    features, wanted = numbers(F), np.zeros((B, N, N, 4))
    before = numbers(arm.bn.running_mean), numbers(arm.bn.running_var)
    running = before[0].copy(), before[1].copy()
    for i in range(N):
        for j in range(N):
            y = [asks(arm.attend, features[b, j], features[b, i])[0] for b in range(B)]
            y = np.array([[line(arm.project, token) for token in tokens] for tokens in y])                     # (B, D, C)
            wanted[:, i, j] = normalised(arm.bn, i * N + j, y).sum(1) / 5
            mean = y.sum() / y.size
            running[0][i * N + j] += .1 * (mean - before[0][i * N + j])
            running[1][i * N + j] += .1 * (((y - mean) ** 2).sum() / (y.size - 1) - before[1][i * N + j])
    e = arm(F)
    assert e.dtype == dtype
    close(e.cpu().double(), torch.from_numpy(wanted), atol=atol, rtol=0)
    for buffer, old, new in zip((arm.bn.running_mean, arm.bn.running_var), before, running):
        close(buffer.cpu().double(), torch.from_numpy(new if training else old), atol=atol, rtol=0)
    assert arm.bn.num_batches_tracked.item() == training


def pair_by_pair(arm, F):
    """(5) as printed, one ordered pair after the other, with torch's own batch normalisation: (B, N, N, C)"""
    N, rows = F.shape[1], []
    for i in range(N):
        for j in range(N):
            q, k, v = arm.attend.query(F[:, j]), arm.attend.key(F[:, i]), arm.attend.value(F[:, i])
            y = arm.project((q @ k.mT / math.sqrt(k.shape[-1])).softmax(-1) @ v)                                # (B, D, C)
            n, bn = i * N + j, arm.bn
            running = bn.running_mean[n:n + 1].clone(), bn.running_var[n:n + 1].clone()
            y = nn.functional.batch_norm(y[:, None], *running, bn.weight[n:n + 1], bn.bias[n:n + 1], bn.training)
            rows.append(y[:, 0].mean(1))
    return torch.stack(rows, 1).unflatten(1, (N, N))


@pytest.mark.parametrize("training", [True, False])
def test_eq5_gradients_pair_by_pair(training, device):
    """megraphau (5): every weight and F get the printed form's gradients; the gradient that comes in is not contiguous."""
    arm, F = randomised(ARM(4, 3), device).train(training), random(device, 2, 3, 5, 4).requires_grad_()
    pull, wanted = random(device, 2, 4, 3, 3, seed=3), {}
    (pair_by_pair(arm, F).movedim(3, 1) * pull).sum().backward()
    inputs = {"F": F, **dict(arm.named_parameters())}
    for name, p in inputs.items():
        wanted[name], p.grad = p.grad, None
    (arm(F).movedim(3, 1) * pull).sum().backward()
    for name, p in inputs.items():
        close(p.grad, wanted[name], atol=1e-9, rtol=1e-9, msg=lambda m: f"{name}: {m}")
        assert p.grad.abs().max() > 1e-6 or name == "attend.key.bias"              # adds one number to a whole row of scores


@pytest.mark.parametrize("common", [True, False])
def test_eq5_large_offsets_keep_the_variance(common, device):
    """megraphau (5): F + 50, which the scores do not see: float32 is as near to float64 as the printed form in float32 is.

    `common`: the offset is also the same in every channel of what is normalised, whose variance it would drown: 50² is
    2500, and E[y²] − E[y]² in float32 has lost all digits below 0.0002.
    """
    arm, F = randomised(ARM(6, 3), device, dtype=torch.float32), random(device, 2, 3, 7, 6, dtype=torch.float32) / 2 + 50
    for linear in (arm.attend.query, arm.attend.key):
        linear.weight.data -= linear.weight.data.mean(1, keepdim=True)                                # rows sum to 0
    if common:
        for linear in (arm.attend.value, arm.project):
            linear.weight.data += (1 - linear.weight.data.sum(1, keepdim=True)) / 6                   # rows sum to 1
    e, printed = arm(F), pair_by_pair(arm, F)
    exact = pair_by_pair(arm.double(), F.double())
    worst = (printed - exact).abs().max().item()
    assert worst < 1e-3
    close(e.double(), exact, atol=4 * worst + 1e-5, rtol=0)


def one_of_two(rank, folder):
    """Half of a batch of 5 in each of two processes, with `bn` synchronised."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    half_of_it(rank, folder)
    torch.distributed.barrier()                                                        # neither leaves while the other still sums
    distributed.finish()


def half_of_it(rank, folder):
    arm, F = in_two(nn.SyncBatchNorm)
    own = F[rank * 3:rank * 3 + 3].clone().requires_grad_()                            # 3 and 2 of 5
    e = arm(own)
    (e * weights_of(F)[rank * 3:rank * 3 + 3]).square().sum().backward()
    torch.save((e.detach(), own.grad, arm.project.weight.grad, arm.bn.running_mean, arm.bn.running_var), f"{folder}/{rank}.pt")


def in_two(kind):
    """The layer with its normalisation of a kind, and five samples."""
    arm, F = randomised(ARM(4, 3), torch.device("cpu")), random(torch.device("cpu"), 5, 3, 7, 4)
    arm.bn = kind(9).double()
    return arm.train(), F


def weights_of(F):
    return torch.arange(1., 1 + len(F), dtype=F.dtype)[:, None, None, None]


def test_eq5_over_two_processes_is_over_the_whole_batch(tmp_path):
    """megraphau (5): with a synchronised normalisation two processes with 3 and 2 samples give what one gives with 5: features,
    gradients, running statistics. Statistics of its own samples would move e by more than a hundredth."""
    torch.multiprocessing.start_processes(one_of_two, (str(tmp_path),), 2, start_method="spawn")
    two = [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    arm, F = in_two(nn.BatchNorm2d)
    F.requires_grad_()
    e = arm(F)
    (e * weights_of(F)).square().sum().backward()
    close(torch.cat([two[0][0], two[1][0]]), e.detach(), atol=1e-12, rtol=1e-10)
    close(torch.cat([two[0][1], two[1][1]]), F.grad, atol=1e-10, rtol=1e-9)
    close(two[0][2] + two[1][2], arm.project.weight.grad, atol=1e-9, rtol=1e-9)
    for rank in (0, 1):
        close(two[rank][3:], (arm.bn.running_mean, arm.bn.running_var), atol=1e-12, rtol=1e-10)
    apart = in_two(nn.BatchNorm2d)[0]
    assert (apart(F[:3].detach()) - e[:3]).abs().max() > .01


# ---- the gated layers

def two_units(cited, device, **weights):
    """A layer for two units of one channel, all maps 0 but those named, the normalisations the identity."""
    layer = GatedGraphConv(1, 2, cited)
    for name, p in layer.named_parameters():
        if not name.startswith("bn"):
            p.data.fill_(weights.get(name.split(".")[0], 0) if name.endswith("weight") else 0)
    plain(layer.bn_e), plain(layer.bn_v)
    return layer.to(device).eval()


def pairs(device, *rows):
    return tensor(rows, device=device)[None, ..., None]


def test_gated_edges_know_receiver_and_sender(device):
    """megraphau (§2.2): x = 2, 6; e = [[0, −1], [1, 0]]. A = 1 alone: e_ij + x_i; B = 1 alone: e_ij + x_j.

    E = −2 alone: e_ij + ReLU(−2 e_ij): the residual is outside the ReLU, and −1 becomes 1.
    """
    x, e = tensor([[[2.], [6.]]], device=device), pairs(device, [0., -1.], [1., 0.])
    for cited in (False, True):
        close(two_units(cited, device, A=1)(x, e)[1], pairs(device, [2., 1.], [7., 6.]))
        close(two_units(cited, device, B=1)(x, e)[1], pairs(device, [2., 5.], [3., 6.]))
        close(two_units(cited, device, E=-2)(x, e)[1], pairs(device, [0., 1.], [1., 0.]))


def test_gated_nodes_by_hand(device):
    """megraphau (§2.2): x = 2, 6; V = 1; e_00 = ln 3, else 0, and nothing is added to the edges.

    σ = ¾, ½ in row 0: softmax 1/(1 + exp(−¼)) = g = 0.562177 and 1 − g. x'_0 = 2 + ½ (2 g + 6 (1 − g)); row 1 is even:
    6 + ½ · 4. By columns x'_1 = 6 + ½ (2 (1 − g) + 6 · ½). V = −9: below 0, and the ReLU is outside: 0, 0. U = 1: 2 x.
    """
    x, e, g = tensor([[[2.], [6.]]], device=device), pairs(device, [LN3, 0.], [0., 0.]), .562177
    x1, e1 = two_units(False, device, V=1)(x, e)
    close(e1, e)
    close(x1[0, :, 0], tensor([2 + (2 * g + 6 * (1 - g)) / 2, 8.], device=device), atol=1e-5, rtol=0)
    assert two_units(False, device, V=-9)(x, e)[0].tolist() == [[[0.], [0.]]]
    close(two_units(False, device, U=1)(x, e)[0], 2 * x)
    close(two_units(False, device, U=1)(-x, e)[0], 0 * x)


def test_gated_gate_reads_the_new_edges(device):
    """megraphau (§2.2): E = 1: e'_00 = 2 ln 3, σ = 9/10 against ½: softmax 1/(1 + exp(−0.4)) = g = 0.598688.

    The old edge would give 0.562177.
    """
    x, e, g = tensor([[[2.], [6.]]], device=device), pairs(device, [LN3, 0.], [0., 0.]), .598688
    x1, e1 = two_units(False, device, E=1, V=1)(x, e)
    close(e1, 2 * e)
    close(x1[0, 0], tensor([2 + (2 * g + 6 * (1 - g)) / 2], device=device), atol=1e-5, rtol=0)


def test_gated_as_the_cited_work(device):
    """megraphau (§2.2): E = 1, ê_00 = ln 3: e'_00 = 2 ln 3, the gate from ê: ¾ and ½ over 5/4: 0.6 and 0.4.

    x'_0 = 2 + 0.6 · 2 + 0.4 · 6 = 5.6 and x'_1 = 6 + 4; the gate from e' would give 2 + (0.9 · 2 + 0.5 · 6)/1.4. V = −9:
    the residual is outside the ReLU: x stays. ê = −20: σ = 2.0612e-9, over 2 σ + 1e-6 that is 0.0020527: 2 + 8 · 0.0020527.
    """
    x, e = tensor([[[2.], [6.]]], device=device), pairs(device, [LN3, 0.], [0., 0.])
    x1, e1 = two_units(True, device, E=1, V=1)(x, e)
    close(e1, 2 * e)
    close(x1[0, :, 0], tensor([5.6, 10.], device=device), atol=1e-4, rtol=0)
    close(two_units(True, device, E=1, V=-9)(x, e)[0], x)
    close(two_units(True, device, U=-1)(-x, e)[0], 0 * x)
    x1, _ = two_units(True, device, E=1, V=1)(x, torch.full_like(e, -20))
    close(x1[0, 0], tensor([2.016422], device=device), atol=1e-5, rtol=0)


def gated_twin(layer, x, e, cited):
    """Edge by edge and node by node, for both forms."""
    (B, N, C), old = x.shape, e
    hat, e1, x1, m = np.zeros((B, N, N, C)), np.zeros((B, N, N, C)), np.zeros((B, N, C)), np.zeros((B, N, C))
    for b in range(B):
        for i in range(N):
            for j in range(N):
                hat[b, i, j] = line(layer.A, x[b, i]) + line(layer.B, x[b, j]) + line(layer.E, old[b, i, j])
    if cited:
        for c in range(C):
            e1[..., c] = old[..., c] + np.maximum(normalised(layer.bn_e, c, hat[..., c]), 0)
    else:
        for i in range(N):
            for j in range(N):
                e1[:, i, j] = old[:, i, j] + np.maximum(normalised(layer.bn_e, i * N + j, hat[:, i, j]), 0)
    for b in range(B):
        for i in range(N):
            m[b, i] = line(layer.U, x[b, i])
            sent = [line(layer.V, x[b, j]) for j in range(N)]
            for c in range(C):
                if cited:
                    gate = [logistic(hat[b, i, j, c]) for j in range(N)]
                    m[b, i, c] += sum(gate[j] / (sum(gate) + 1e-6) * sent[j][c] for j in range(N))
                else:
                    gate = [math.exp(logistic(e1[b, i, j, c])) for j in range(N)]
                    m[b, i, c] += sum(gate[j] / sum(gate) * sent[j][c] for j in range(N)) / N
    if cited:
        for c in range(C):
            x1[..., c] = x[..., c] + np.maximum(normalised(layer.bn_v, c, m[..., c]), 0)
    else:
        for i in range(N):
            x1[:, i] = np.maximum(x[:, i] + normalised(layer.bn_v, i, m[:, i]), 0)
    return x1, e1


@pytest.mark.parametrize("B, N", [(2, 5), (1, 4), (3, 1)])
@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("cited", [False, True])
def test_gated_the_loop_twin(cited, training, B, N, device):
    """megraphau (§2.2): both forms; the edges are not symmetric, so a swap of receiver and sender would show."""
    layer = randomised(GatedGraphConv(3, N, cited), device).train(training)
    x, e = random(device, B, N, 3), random(device, B, N, N, 3, seed=2)
    wanted = gated_twin(layer, numbers(x), numbers(e), cited)
    for got, want in zip(layer(x, e), wanted):
        close(got.cpu(), torch.from_numpy(want), atol=1e-10, rtol=0)


@pytest.mark.parametrize("cited", [False, True])
def test_gated_receiver_and_sender_are_not_the_same(cited, device):
    """megraphau (§2.2): edges transposed before and after make another layer, for edges and for nodes."""
    layer = randomised(GatedGraphConv(3, 5, cited), device)
    x, e = random(device, 2, 5, 3), random(device, 2, 5, 5, 3, seed=2)
    (x1, e1), (x2, e2) = layer(x, e), layer(x, e.transpose(1, 2))
    assert (x1 - x2).abs().max() > 1e-3 and (e1 - e2.transpose(1, 2)).abs().max() > 1e-3
    wanted = gated_twin(layer, numbers(x), numbers(e.transpose(1, 2)), cited)
    close(x2.cpu(), torch.from_numpy(wanted[0]), atol=1e-10, rtol=0)


@pytest.mark.parametrize("cited", [False, True])
def test_gated_gradients(cited, device):
    layer = randomised(GatedGraphConv(2, 3, cited), device)
    x, e = random(device, 2, 3, 2), random(device, 2, 3, 3, 2, seed=2)
    inputs = (x.requires_grad_(), e.requires_grad_(), *layer.parameters())
    assert torch.autograd.gradcheck(lambda x, e, *_: layer(x, e), inputs)


def test_weights_and_their_beginning(device):
    """The counts at 12 units and 512 channels, by hand; the authors' maps begin as normal(0, √(2 / outputs)).

    FGG: 2 (512² + 512) + 2 · 12. FAM: 2 (512 · 256 + 256) + 512² + 512. ARM: the same, 512² + 512, and 2 · 144. A gated
    layer: 5 · 512² + 2 · 144 + 2 · 12; the cited work's: 5 (512² + 512) + 4 · 512.
    """
    def count(m):
        return sum(p.numel() for p in m.parameters())
    fgg, attend, arm = FGGConv(512, 12).to(device), CrossAttention(512).to(device), ARM(512, 12).to(device)
    gated, cited = GatedGraphConv(512, 12).to(device), GatedGraphConv(512, 12, cited=True).to(device)
    assert (count(fgg), count(attend), count(arm)) == (525_336, 525_312, 788_256)
    assert (2 * count(gated), count(cited)) == (2_622_064, 1_315_328)
    for linear in (fgg.U, fgg.V, attend.query, attend.key, attend.value, arm.attend.query, arm.project,
                   gated.A, gated.B, gated.E, gated.U, gated.V):
        assert linear.weight.std().item() == pytest.approx(math.sqrt(2 / linear.out_features), rel=.02)
        assert linear.weight.mean().item() == pytest.approx(0, abs=.001)


# ---- (6)

BP4D = .2114, .1710, .2026, .4609, .5490, .5943, .5620, .4656, .1694, .3433, .1654, .1514


def test_section_23_rates_by_hand(device):
    """megraphau (§2.3): the columns are 1, 1, 0, 1; 0, 1, ?, 0; ?, 0, 1, 1: 3 of 4, 1 of 3, 2 of 3; all unknown: no number."""
    y = tensor([[1, 0, -1, -1], [1, 1, 0, -1], [0, -1, 1, -1], [1, 0, 1, -1]], device=device)
    close(occurrence_rates(y), tensor([3 / 4, 1 / 3, 2 / 3, math.nan], device=device), check_dtype=False, equal_nan=True)


def test_section_23_weights_by_hand(device):
    """megraphau (§2.3): r = ½, ¼, ⅛: 1/r = 2, 4, 8 of 14: 1/7, 2/7, 4/7; with a total of 3 three times as much."""
    r = tensor([.5, .25, .125], device=device)
    close(occurrence_weights(r), tensor([1 / 7, 2 / 7, 4 / 7], device=device))
    close(occurrence_weights(r, total=3.), tensor([3 / 7, 6 / 7, 12 / 7], device=device))
    close(occurrence_weights(tensor([.3], device=device)), tensor([1.], device=device))


def test_section_23_weights_of_bp4d(device):
    """megraphau (§2.3): the rates of BP4D's twelve units; as printed they sum to 1, in the authors' files to 12."""
    w = occurrence_weights(tensor(BP4D, device=device), total=12.)
    wanted = [1.219, 1.506, 1.272, .559, .469, .433, .458, .553, 1.521, .750, 1.557, 1.702]
    close(w, tensor(wanted, device=device), atol=5.1e-4, rtol=0)
    close(occurrence_weights(tensor(BP4D, device=device)).sum(), tensor(1., device=device))


def test_eq6_by_hand(device):
    """megraphau (6): p = ½, ½, ¼; y = 1, 0, 0; w = 1, 2, 4: ln 2, 2 · ½ · ln 2, 4 · ¼ · ln (4/3), over 3: 0.557992.

    Without the middle p: (ln 2 + 2 ln 2 + 4 ln (4/3)) / 3 = 1.076723.
    """
    p, w = tensor([[.5, .5, .25]], device=device), tensor([1., 2., 4.], device=device)
    y, flat = tensor([[1, 0, 0]], device=device), math.log(4 / 3)
    for detach in (False, True):
        close(weighted_asymmetric(p, y, w, detach), tensor((2 * math.log(2) + flat) / 3, device=device))
    close(weighted_bce(p, y, w), tensor((3 * math.log(2) + 4 * flat) / 3, device=device))


def held(p, y, w):
    return weighted_asymmetric(p, y, w, detach=True)


def test_eq6_slopes_by_hand(device):
    """megraphau (6): y = 0, p = 0.3: L = −p ln(1 − p): dL/dp = p/(1 − p) − ln(1 − p) = 0.428571 + 0.356675 = 0.785246.

    With the middle p held 0.428571; without it 1/(1 − p) = 1.428571. y = 1: −1/p = −10/3 in each. Here w = 5, N = 2.
    """
    for loss, wanted in ((weighted_asymmetric, .785246), (held, .428571), (weighted_bce, 1.428571)):
        p = tensor([[.3, .3]], device=device, requires_grad=True)
        loss(p, tensor([[0, 1]], device=device), tensor([5., 5.], device=device)).backward()
        close(p.grad * 2 / 5, tensor([[wanted, -10 / 3]], device=device), atol=1e-5, rtol=0)


def twin_of_6(p, y, w, middle):
    """Sample by sample, unit by unit; the mean over the known labels of the batch."""
    total, known = 0, 0
    for b in range(p.shape[0]):
        for i in range(p.shape[1]):
            if y[b, i] != -1:
                no = (p[b, i] if middle else 1) * math.log(max(1 - p[b, i], 1e-8))
                total -= w[i] * (y[b, i] * math.log(max(p[b, i], 1e-8)) + (1 - y[b, i]) * no)
                known += 1
    return total / known


def test_eq6_the_loop_twin(device):
    """megraphau (6): a batch of 7 and 5 units, all known, and then with one unknown in three."""
    make = torch.Generator().manual_seed(0)
    p, w = torch.rand(7, 5, generator=make, dtype=torch.float64), torch.rand(5, generator=make, dtype=torch.float64)
    y = torch.randint(0, 2, (7, 5), generator=make)
    holes = torch.where(torch.rand(7, 5, generator=make) < .33, -1, y)
    assert len(set((holes != -1).sum(1).tolist())) > 1                      # a mean of each sample's mean would differ
    for labels in (y, holes):
        for loss, middle in ((weighted_asymmetric, True), (weighted_bce, False)):
            wanted = twin_of_6(p.numpy(), labels.numpy(), w.numpy(), middle)
            close(loss(p.to(device), labels.to(device), w.to(device)), tensor(wanted, dtype=torch.float64, device=device))


def test_eq6_without_the_middle(device):
    """megraphau (6): y = 1 has no middle p, and at p = 1 it is 1: there both losses are one. For a single y = 0: p times."""
    make = torch.Generator().manual_seed(0)
    p, w = torch.rand(3, 5, generator=make).to(device), torch.rand(5, generator=make).to(device)
    y = torch.randint(0, 2, (3, 5), generator=make).to(device)
    close(weighted_asymmetric(p, torch.ones_like(y), w), weighted_bce(p, torch.ones_like(y), w))
    close(weighted_asymmetric(torch.ones_like(p), y, w), weighted_bce(torch.ones_like(p), y, w))
    close(weighted_bce(p, y, w), nn.functional.binary_cross_entropy(p, y.float(), w))
    for q in p[0].view(5, 1, 1):
        close(weighted_asymmetric(q, 0 * y[:1, :1], w[:1]), q[0, 0] * weighted_bce(q, 0 * y[:1, :1], w[:1]))


@pytest.mark.parametrize("loss", [weighted_asymmetric, held, weighted_bce])
def test_eq6_extremes(loss, device):
    """megraphau (6): quite wrong costs −ln 1e-8 = 18.420681; quite right costs 0; gradients are finite at both ends."""
    w = torch.ones(1, device=device)
    for p, y, wanted in ((0., 1, 18.420681), (1., 0, 18.420681), (0., 0, 0.), (1., 1, 0.)):
        q = tensor([[p]], device=device, requires_grad=True)
        cost = loss(q, tensor([[y]], device=device), w)
        close(cost, tensor(wanted, device=device), atol=1e-4, rtol=0)
        cost.backward()
        assert q.grad.isfinite().all()


@pytest.mark.parametrize("loss", [weighted_asymmetric, held, weighted_bce])
def test_eq6_unknown_labels(loss, device):
    """megraphau (6): −1 counts for nothing: the loss of the known alone, no gradient to the others; none known: 0."""
    w = tensor([.5, 2., 1.], device=device)
    p = tensor([[.2, 0., .7], [1., .6, 1.]], device=device, requires_grad=True)
    cost = loss(p, tensor([[0, -1, 1], [-1, 0, -1]], device=device), w)
    alone = [loss(tensor([[p[b, i].item()]], device=device), tensor([[y]], device=device), w[i:i + 1])
             for b, i, y in ((0, 0, 0), (0, 2, 1), (1, 1, 0))]
    close(cost, sum(alone) / 3)
    cost.backward()
    assert p.grad[0, 1] == p.grad[1, 0] == p.grad[1, 2] == 0 and (p.grad[0, [0, 2]] != 0).all() and p.grad[1, 1] != 0
    p.grad = None
    none = loss(p, torch.full((2, 3), -1, device=device), w)
    none.backward()
    assert none == 0 and p.grad.isfinite().all() and (p.grad == 0).all()


# ---- (7), (8)

def test_section_23_pairs_by_hand(device):
    """megraphau (§2.3): y = 0, 1: edges 00, 01, 10, 11 are patterns (1) to (4), here 0 to 3. 1, ?, 0: the known alone."""
    assert pair_labels(tensor([[0, 1]], device=device)).tolist() == [[[0, 1], [2, 3]]]
    assert pair_labels(tensor([[1, -1, 0]], device=device)).tolist() == [[[3, -1, 2], [-1, -1, -1], [1, -1, 0]]]


def test_eq7_by_hand(device):
    """megraphau (7): y = 0, 1; odds 1 : 1 : 1 : 3 on every edge: the edges' patterns 0, 1, 2 have p = 1/6, pattern 3 has ½.

    The mean over all four edges, the node with itself too: (3 ln 6 + ln 2) / 4. With node 1 unknown one edge is left: ln 6.
    """
    logits = tensor([0., 0., 0., LN3], device=device).expand(1, 2, 2, 4)
    four = (3 * math.log(6) + math.log(2)) / 4
    close(edge_cross_entropy(logits, tensor([[0, 1]], device=device)), tensor(four, device=device))
    close(edge_cross_entropy(logits, tensor([[0, -1]], device=device)), tensor(math.log(6), device=device))
    close(edge_cross_entropy(logits[:, :1, :1], tensor([[1]], device=device)), tensor(math.log(2), device=device))


def test_eq7_the_loop_twin(device):
    """megraphau (7): sample by sample, edge by edge, pattern by pattern."""
    logits, y = random(device, 3, 5, 5, 4), torch.randint(-1, 2, (3, 5), generator=torch.Generator().manual_seed(0))
    P, total, known = numbers(logits), 0, 0
    for b in range(3):
        for i in range(5):
            for j in range(5):
                if y[b, i] >= 0 and y[b, j] >= 0:
                    patterns = [(0, 0), (0, 1), (1, 0), (1, 1)]
                    below = sum(math.exp(P[b, i, j, k]) for k in range(4))
                    for k in range(4):
                        total -= (patterns[k] == (y[b, i], y[b, j])) * math.log(math.exp(P[b, i, j, k]) / below)
                    known += 1
    assert 0 < known < 75
    close(edge_cross_entropy(logits, y.to(device)), tensor(total / known, dtype=torch.float64, device=device))


def test_eq7_limits(device):
    """megraphau (7): logits of ±1000 cost 0 or 2000; unknown edges get no gradient; none known: 0 and a gradient of 0."""
    logits = torch.zeros(2, 2, 2, 4, device=device)
    logits[..., 0], logits[..., 3] = 1000, -1000
    close(edge_cross_entropy(logits, tensor([[0, -1], [-1, 1]], device=device)), tensor(1000., device=device))
    logits = random(device, 2, 2, 2, 4).requires_grad_()
    edge_cross_entropy(logits, tensor([[0, -1], [-1, -1]], device=device)).backward()
    assert (logits.grad[0, 0, 0] != 0).all() and (logits.grad != 0).sum() == 4
    logits.grad = None
    none = edge_cross_entropy(logits, torch.full((2, 2), -1, device=device))
    none.backward()
    assert none == 0 and logits.grad.abs().sum() == 0


def test_eq8(device):
    """megraphau (8): 2 + 0.05 · 3 = 2.15, the gradients 1 and 0.05; λ = 0 leaves the first."""
    L_WA, L_E = tensor(2., device=device, requires_grad=True), tensor(3., device=device, requires_grad=True)
    L = overall(L_WA, L_E, .05)
    close(L, tensor(2.15, device=device))
    L.backward()
    close(L_WA.grad, tensor(1., device=device)), close(L_E.grad, tensor(.05, device=device))
    assert overall(L_WA, L_E, 0) == 2


# ---- §3.1

def test_f1_per_unit_by_hand(device):
    """megraphau (§3.1): unit 0: TP 2, FP 1, FN 2: 4/7. Unit 1: TP 1, FN 1, and a call where the label is unknown: 2/3.

    Unit 2 is never there nor called: 0. Unit 3 is called once and never there: 0. Unit 0 as a mean over rows 0 to 2 and
    3 to 5 would be (1 + 0) / 2.
    """
    target = tensor([[1, 1, 0, 0], [1, 0, 0, 0], [0, -1, -1, 0], [1, 1, 0, -1], [0, 0, 0, 0], [1, 0, 0, 0]], device=device)
    called = tensor([[1, 1, 0, 0], [1, 0, 0, 0], [0, 1, 1, 1], [0, 0, 0, 1], [1, 0, 0, 0], [0, 0, 0, 0]], device=device)
    close(f1_per_unit(target, called), tensor([4 / 7, 2 / 3, 0., 0.], device=device), check_dtype=False)


def test_f1_per_unit_the_loop_twin(device):
    """megraphau (§3.1): 2 P R / (P + R) from counts, label by label."""
    make = torch.Generator().manual_seed(0)
    target, called = torch.randint(-1, 2, (41, 3), generator=make), torch.randint(0, 2, (41, 3), generator=make)
    wanted = []
    for i in range(3):
        both = [(int(t), int(c)) for t, c in zip(target[:, i], called[:, i]) if t >= 0]
        P, R = (both.count((1, 1)) / (both.count((1, 1)) + both.count(wrong)) for wrong in ((0, 1), (1, 0)))
        wanted.append(2 * P * R / (P + R))
    close(f1_per_unit(target.to(device), called.to(device)).cpu().double(), tensor(wanted).double(), atol=1e-6, rtol=0)
