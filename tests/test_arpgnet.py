"""ARPGNet, equation by equation: numbers from the page, by hand, or from a loop written off the page."""
import math

import numpy as np
import pytest
import torch
from torch.testing import assert_close as close

from refnet import examples
from refnet.backbones.iresnet import IResNet
from refnet.config import Stage
from refnet.data.samples import Drawn, Sample, pad
from refnet.graphs.face_grid import face_grid
from refnet.graphs.temporal import temporal_scope
from refnet.models import arpgnet
from refnet.models.arpgnet import Config
from refnet.ops import metrics
from refnet.ops.attention import GraphAttention, attention_logits, edge_attention, masked_softmax
from refnet.ops.losses import focal
from refnet.ops.position import sinusoid

TINY = dict(T=5, size=24, layout=(1, 1, 1, 1), widths=(4, 6, 8, 10), d=12, hidden=14, heads=2, P=3, TRS=1)


def on(device, given: dict) -> dict:
    return {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in given.items()}


def layer_of(given: dict, device, slope: float = 0.01) -> GraphAttention:
    heads, h_out, h = given["W"].shape
    gat = GraphAttention(h, h_out, heads, slope).to(device)
    gat.load_state_dict({"W": given["W"], "att": given["att"]})
    return gat


def tiny(device="cpu", **changes) -> arpgnet.ARPGNet:
    torch.manual_seed(0)
    return arpgnet.ARPGNet(Config(**TINY | changes)).to(device)


def a_batch(device="cpu", B=3, T=5, size=24):
    g = torch.Generator().manual_seed(1)
    return torch.rand(B, T, 3, size, size, generator=g).to(device), torch.ones(B, T, dtype=torch.bool, device=device)


# ---------------------------------------------------------------- (1)

def test_eq1_figure_2():
    """arpgnet (1): "node 8 is connected to nodes 2, 7, 8, 9, 11, and 14" of a 6 × 6 face (counting from 1)."""
    neighbours = face_grid(**examples.FIGURE_2.given)[8 - 1].nonzero().flatten() + 1
    close(neighbours, examples.FIGURE_2.wanted)


def test_eq1_section_4_6_2():
    """arpgnet (1): §4.6.2 names the neighbours of region 7: "regions 1, 7, 8, 12, and 13"."""
    assert (face_grid(6)[7 - 1].nonzero().flatten() + 1).tolist() == [1, 7, 8, 12, 13]


def test_eq1_odd_middle_is_its_own_mirror():
    """arpgnet (1): 3 × 3, the centre (5): itself and four sides; 4 (left): itself, 1, 7, 5 and its mirror 6."""
    A = face_grid(3)
    assert (A[4].nonzero().flatten() + 1).tolist() == [2, 4, 5, 6, 8]
    assert (A[3].nonzero().flatten() + 1).tolist() == [1, 4, 5, 6, 7]


@pytest.mark.parametrize("P, edges", [(1, 1), (2, 12), (3, 39), (4, 72), (6, 180), (12, 792)])
def test_eq1_edges_counted(P, edges):
    """arpgnet (1): self P², sides 2·2P(P−1), mirrors P² less the columns whose mirror is a neighbour or itself.

    Even P: P² + 4P(P−1) + P(P−2);  odd P: P² + 4P(P−1) + P(P−1).   2: 4+8+0   3: 9+24+6   6: 36+120+24
    """
    A = face_grid(P)
    assert int(A.sum()) == edges
    close(A, A.T)


# ---------------------------------------------------------------- (2), (3), (4)

def test_eq2_two_nodes(device):
    """arpgnet (2): W = I, x_1 = (1, 0), x_2 = (0, 2), att = (1, -1, ½, 2).

    att₁·x = (1, -2)    att₂·x = (½, 4)
    sum    = [[1+½, 1+4], [-2+½, -2+4]] = [[1.5, 5], [-1.5, 2]]
    LeakyReLU(0.01) touches only the -1.5.
    """
    close(attention_logits(**on(device, examples.TWO_NODES.given)), examples.TWO_NODES.wanted.to(device))


def test_eq3_a_quarter_and_three_quarters(device):
    """arpgnet (3): e = (ln 1, ln 3, 99), third node off the graph → (1/4, 3/4, 0).

    Reading: softmax_i would normalise columns; the second row (¼, 0, ¾) tells the two apart.
    """
    close(masked_softmax(**on(device, examples.A_QUARTER.given)), examples.A_QUARTER.wanted.to(device))


def test_eq3_no_neighbour_no_weight_and_a_batch_of_graphs(device):
    """arpgnet (3): (B, N, N) adjacency: every graph its own neighbourhood, exact zeros off it, rows sum to one."""
    g = torch.Generator().manual_seed(2)
    A = ((torch.rand(3, 5, 5, generator=g) < 0.4) | torch.eye(5, dtype=torch.bool)).float().to(device)   # (B, N, N)
    beta = masked_softmax(torch.randn(3, 2, 5, 5, generator=g).to(device), A)                            # (B, K, N, N)
    assert (beta[A[:, None].expand_as(beta) == 0] == 0).all() and (A == 0).any()
    close(beta.sum(-1), torch.ones(3, 2, 5, device=device))


def test_eq4_sigma_inside_the_head_average(device):
    """arpgnet (4): heads say +1 and -1; (ELU(1) + ELU(-1)) / 2 = (1 - 0.632121) / 2, not ELU(0) = 0."""
    given = on(device, examples.TWO_HEADS.given)
    close(layer_of(given, device)(given["x"], given["A"]), examples.TWO_HEADS.wanted.to(device))


def loop_twin(x, A, W, att, slope):
    """(2), (3), (4) off the page: a node at a time, a head at a time, float64."""
    x, A, W, att = (np.asarray(t.detach().cpu(), dtype=np.float64) for t in (x, A, W, att))
    N, heads = len(x), len(W)
    out = np.zeros((N, W.shape[1]))
    for m in range(heads):
        for i in range(N):
            score = {}
            for j in range(N):
                if A[i, j]:
                    z = float(att[m] @ np.concatenate([W[m] @ x[i], W[m] @ x[j]]))
                    score[j] = z if z > 0 else slope * z
            total = sum(math.exp(s) for s in score.values())
            mixed = sum(math.exp(score[j]) / total * (W[m] @ x[j]) for j in score)
            out[i] += np.where(mixed > 0, mixed, np.expm1(mixed)) / heads
    return torch.from_numpy(out)


@pytest.mark.parametrize("heads", [1, 3])
def test_eq234_the_loop_twin(device, heads):
    """arpgnet (2, 3, 4): the layer against a double loop off the page, on a graph that is not symmetric."""
    torch.manual_seed(3)
    gat = GraphAttention(5, 2, heads, slope=0.2).double().to(device)
    x = torch.randn(7, 5, dtype=torch.float64, device=device)
    A = ((torch.rand(7, 7) < 0.5) | torch.eye(7, dtype=torch.bool)).double().to(device)
    assert (A != A.T).any()
    close(gat(x, A), loop_twin(x, A, gat.W, gat.att, 0.2).to(device), rtol=0, atol=1e-12)


def test_eq2_folded_scores_are_the_projected_ones(device):
    """arpgnet (2): the layer scores x with [Wᵀatt₁ ‖ Wᵀatt₂]; the page scores W x with att. The same numbers."""
    torch.manual_seed(4)
    gat = GraphAttention(5, 3, 2, slope=0.1).double().to(device)
    x, A = torch.randn(2, 7, 5, dtype=torch.float64, device=device), torch.ones(7, 7, device=device)
    Wx = torch.einsum("bnh,kdh->bnkd", x, gat.W)                                         # (B, N, K, h')
    close(gat.attention(x, A), masked_softmax(attention_logits(Wx, gat.att, 0.1), A))


def test_eq4_att_zero_is_the_mean_of_the_neighbours(device):
    """arpgnet (4): att = 0 makes every neighbour count alike: ELU(W · mean)."""
    torch.manual_seed(5)
    gat = GraphAttention(3, 2).to(device)
    torch.nn.init.zeros_(gat.att)
    x, A = torch.randn(9, 3, device=device), face_grid(3).to(device)
    mean = (A @ x) / A.sum(1, keepdim=True)
    close(gat(x, A), torch.nn.functional.elu(mean @ gat.W[0].T))


def test_eq4_nodes_may_be_renumbered(device):
    """arpgnet (4): renumber nodes and graph alike, and the features are renumbered, nothing else."""
    torch.manual_seed(6)
    gat, x = GraphAttention(5, 3, 2).double().to(device), torch.randn(9, 5, dtype=torch.float64, device=device)
    A = ((torch.rand(9, 9) < 0.4) | torch.eye(9, dtype=torch.bool)).double().to(device)
    p = torch.randperm(9, device=device)
    close(gat(x, A)[p], gat(x[p], A[p][:, p]))


def test_eq4_dropout_falls_on_the_weights():
    """arpgnet (4): §4.2.2's dropout 0.25 falls on β: features of one node that hears itself are 0 or 1/0.75 of W x.

    Reading: on the features instead, the two components of one node would be dropped one without the other.
    """
    torch.manual_seed(0)
    gat = GraphAttention(1, 2, dropout=0.25)
    torch.nn.init.ones_(gat.W)
    out = torch.cat([gat(torch.ones(50, 1, 1), torch.ones(1, 1)) for _ in range(8)]).squeeze(1)       # (400, 2)
    close(out[:, 0], out[:, 1])
    assert {round(v, 4) for v in out.flatten().tolist()} == {0.0, 1.3333}
    assert 0.15 < (out == 0).float().mean() < 0.35


def test_eq4_an_edge_list_gives_the_same(device):
    """arpgnet (4): dense and edge-list form agree to 1e-6, and their gradients too."""
    torch.manual_seed(7)
    gat = GraphAttention(5, 3, 4).to(device)
    x = torch.randn(16, 5, device=device, requires_grad=True)
    A = face_grid(4).to(device)
    A[3, 1:3] = 0                                                # node 3 hears fewer than hear it
    dense, sparse = gat(x, A), edge_attention(x, A.nonzero().T, gat)
    close(dense, sparse, rtol=0, atol=1e-6)
    weight = torch.randn(16, 3, device=device)
    close(*(torch.autograd.grad((y * weight).sum(), x)[0] for y in (dense, sparse)), rtol=0, atol=1e-5)


def test_eq4_gradients_in_float64():
    """arpgnet (4): the gradient of the layer against differences, scores away from the kink."""
    torch.manual_seed(8)
    gat, A = GraphAttention(3, 2, 2).double(), face_grid(2).double()
    x = torch.randn(2, 4, 3, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x, W, att: torch.func.functional_call(gat, {"W": W, "att": att}, (x, A)),
                                    (x, gat.W, gat.att))


def test_eq4_holds_little_memory():
    """arpgnet (4): what waits for the backward pass is within 1.5 times inputs, outputs, weights β and projected nodes.

    B = 64, N = 36, 256 → 512, 4 heads: the K projections of every node alone are 64 · 36 · 4 · 512 numbers.
    """
    gat, x, A = GraphAttention(256, 512, 4), torch.randn(64, 36, 256, requires_grad=True), face_grid(6)
    held = {}

    def pack(t):
        held[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t
    with torch.autograd.graph.saved_tensors_hooks(pack, lambda t: t):
        out = gat(x, A)
    held[out.untyped_storage().data_ptr()] = out.untyped_storage().nbytes()
    B, N, K = 64, 36, 4
    assert sum(held.values()) <= 1.5 * 4 * (x.numel() + out.numel() + B * K * N * N + B * N * K * 512)


# ---------------------------------------------------------------- (5), (6), (7)

def test_eq56_two_positions_four_wide(device):
    """arpgnet (5, 6): d = 4, the second pair is a hundred times slower: (sin 1, cos 1, sin 0.01, cos 0.01).

    Reading: were k the dimension itself (0, 2, ... in the exponent), the second pair would run at 10000^{4/4}.
    """
    given = examples.FOUR_WIDE.given
    close(sinusoid(given["T"], given["d"], device), examples.FOUR_WIDE.wanted.to(device), rtol=0, atol=1e-6)


def test_eq56_refuses_an_odd_width():
    """arpgnet (5, 6): sines and cosines come in pairs."""
    with pytest.raises(ValueError, match="even; got 7"):
        sinusoid(3, 7)


def test_eq7_three_moments(device):
    """arpgnet (7): T = 3, TRS = 1. The same band sits in all four T × T blocks."""
    close(temporal_scope(**examples.THREE_MOMENTS.given, device=device), examples.THREE_MOMENTS.wanted.to(device))


def test_eq7_figure_1():
    """arpgnet (7): §3.4.3: the relation node at one moment hears relation nodes beside it and appearance nodes near it."""
    T, t, TRS = 16, 9, 3
    heard = temporal_scope(T, TRS)[T + t].nonzero().flatten().tolist()
    assert heard == [*range(t - TRS, t + TRS + 1), *range(T + t - TRS, T + t + TRS + 1)]


@pytest.mark.parametrize("T, TRS", [(1, 0), (5, 0), (7, 2), (8, 3), (5, 5), (4, 9)])
def test_eq7_the_loop_twin(T, TRS):
    """arpgnet (7): a double loop over 0 ≤ i, j ≤ 2T − 1, off the page."""
    a = [[1.0 if abs(i % T - j % T) <= TRS else 0.0 for j in range(2 * T)] for i in range(2 * T)]
    close(temporal_scope(T, TRS), torch.tensor(a))


# ---------------------------------------------------------------- (8), (9)

def test_eq89_two_frames_fused(device):
    """arpgnet (8, 9): appearance 2 and relation −1, att = (0, ln 3 / 3): β = (0.676, 0.324), x' = 1.028 for both."""
    given = on(device, examples.TWO_FRAMES_FUSED.given)
    gat, A = layer_of(given, device), temporal_scope(given["T"], given["TRS"], device=device)
    close(gat(given["x"], A), examples.TWO_FRAMES_FUSED.wanted.to(device), rtol=0, atol=1e-6)


def test_eq8_one_map_for_both_sequences(device):
    """arpgnet (8): one W for both: swap the sequences, and the two enhanced sequences are swapped."""
    model = tiny(device).eval()
    A, R = torch.randn(2, 5, 12, device=device), torch.randn(2, 5, 12, device=device)
    real = torch.ones(2, 5, dtype=torch.bool, device=device)
    ab = model.fuse(*model.fusion_nodes([A, R], real))
    ba = model.fuse(*model.fusion_nodes([R, A], real))
    close(ab, torch.cat([ba[:, 5:], ba[:, :5]], dim=1))


def test_eq9_nothing_beyond_the_scope_is_heard(device):
    """arpgnet (9): change frame 0 of the relation: with TRS = 1 frames 2, 3, 4 of both sequences stay as they were."""
    model = tiny(device).eval()
    A, R = torch.randn(1, 5, 12, device=device), torch.randn(1, 5, 12, device=device)
    real = torch.ones(1, 5, dtype=torch.bool, device=device)
    before = model.fuse(*model.fusion_nodes([A, R], real))[0]
    R = R.clone()
    R[:, 0] += 1
    after = model.fuse(*model.fusion_nodes([A, R], real))[0]
    moved = (before - after).abs().amax(-1) > 1e-7
    assert moved.tolist() == [True, True, False, False, False] * 2


# ---------------------------------------------------------------- (10) and the losses

def test_eq10_ten_frames(device):
    """arpgnet (10): Acc = 7/10, F₁ = (3/4 + 4/7 + 4/5)/3, M = 0.33 · 0.7 + 0.67 · 0.70714 = 0.70479.

    Reading: with the mean class accuracy (3/4 + 1/2 + 1)/3 = 3/4 for Acc, M would be 0.72129.
    """
    close(metrics.expression_score(examples.TEN_FRAMES.given["counts"].to(device)), examples.TEN_FRAMES.wanted.to(device))


def test_focal_by_hand(device):
    """arpgnet (§4.2.2): p_t = 1/4, γ = 2: (3/4)² · ln 4 = 0.779791; γ = 0: ln 4; the unknown target counts for nothing.

    Reading: a class weight, or (1 − p_t) without its power, would give another number.
    """
    logits = torch.tensor([[0.0, math.log(3)], [9.0, -9.0]], device=device)
    target = torch.tensor([0, -1], device=device)
    close(focal(logits, target, 2.0), torch.tensor(0.5625 * math.log(4), device=device))
    close(focal(logits, target, 0.0), torch.tensor(math.log(4), device=device))
    close(focal(logits, torch.tensor([-1, -1], device=device), 2.0), torch.tensor(0.0, device=device))


def test_focal_of_two_classes_is_their_plain_mean(device):
    """arpgnet (§4.2.2): p_t = 1/4 of class 0 and 1/2 of class 1, γ = 2: (9/16 · ln 4 + 1/4 · ln 2) / 2 = 0.476539.

    Reading: weights for the classes, such as 5 and 1, would give another mean.
    """
    logits = torch.tensor([[0.0, math.log(3)], [1.0, 1.0]], device=device)
    close(focal(logits, torch.tensor([0, 1], device=device), 2.0), torch.tensor(0.476539, device=device), rtol=0, atol=1e-6)


@pytest.mark.parametrize("gamma", [0.0, 0.5, 2.0])
def test_focal_has_a_slope_everywhere(gamma, device):
    """A sample that is quite right, one that is quite wrong and an unknown one: finite gradients, none for the unknown."""
    logits = torch.tensor([[100.0, 0.0], [0.0, 100.0], [100.0, 0.0]], device=device, requires_grad=True)
    focal(logits, torch.tensor([0, 0, -1], device=device), gamma).backward()
    assert logits.grad.isfinite().all() and (logits.grad[2] == 0).all() and (logits.grad[1] != 0).all()


def test_focal_zero_is_cross_entropy(device):
    """arpgnet (§4.2.2): γ = 0 is torch's cross-entropy."""
    torch.manual_seed(9)
    logits, target = torch.randn(7, 5, device=device), torch.randint(0, 5, (7,), device=device)
    close(focal(logits, target), torch.nn.functional.cross_entropy(logits, target))


# ---------------------------------------------------------------- the sections around the equations

def test_sampling_one_frame_of_every_stretch():
    """arpgnet (§4.2.1): 16 of 32 frames: testing takes 1, 3, ..., 31; training one of every pair {0, 1}, {2, 3}, ..."""
    assert arpgnet.frame_indices(32, 16, None) == list(range(1, 32, 2))
    seen = {tuple(arpgnet.frame_indices(32, 16, torch.Generator().manual_seed(s))) for s in range(20)}
    assert len(seen) == 20 and all([i // 2 for i in one] == list(range(16)) for one in seen)
    assert arpgnet.frame_indices(3, 16, None) == [0, 1, 2]


def test_sampling_reaches_every_frame_and_no_other():
    """arpgnet (§4.2.1): 2 of 5 frames: the stretches are [0, 2½) and [2½, 5)."""
    rng = torch.Generator().manual_seed(0)
    drawn = [arpgnet.frame_indices(5, 2, rng) for _ in range(200)]
    assert {a for a, _ in drawn} == {0, 1, 2} and {b for _, b in drawn} == {2, 3, 4}


def test_sections_32_and_33_the_map_that_meets_the_patches():
    """arpgnet (§4.4.2): at 96 px the map after three blocks is 12 × 12 (256 channels in iresnet50), divided into 6 × 6."""
    with torch.device("meta"):
        model = arpgnet.ARPGNet(Config())
        streams, patches = model.streams(torch.empty(1, 2, 3, 96, 96))
        assert model.stem(torch.empty(1, 3, 96, 96)).shape == (1, 256, 12, 12)
    assert [s.shape for s in streams] == [(1, 2, 512), (1, 2, 512)] and patches.shape == (2, 36, 256)


def test_both_modules_have_blocks_of_their_own():
    """arpgnet (§3.3): two modules in Figure 1; share=True uses one set of the first three blocks.

    Reading: 17,624,768 parameters are the stem and three blocks; sharing saves exactly them.
    """
    with torch.device("meta"):
        own, shared = (sum(p.numel() for p in arpgnet.ARPGNet(Config(share=s)).parameters()) for s in (False, True))
    assert own - shared == 17_624_768


def test_padding_changes_nothing(device):
    """A clip of 3 frames gives the same logits alone and beside a clip of 5."""
    model = tiny(device).eval()
    clip, real = a_batch(device, B=2)
    real[0, 3:] = False
    close(model(clip, real)[:1], model(clip[:1, :3], real[:1, :3]), rtol=1e-4, atol=1e-5)


def test_training_shows_fewer_frames_when_told_to():
    """Training shows `shown` of a clip's frames, testing all T; random=False takes the middle of each stretch; flip mirrors."""
    frames = torch.arange(8, dtype=torch.uint8)[:, None, None, None] + 10 * torch.arange(4, dtype=torch.uint8).expand(8, 3, 4, 4)
    sample, rng = Sample("a", Drawn(frames), {"expression": 0}), torch.Generator().manual_seed(0)
    cfg = Config(T=8, shown=2, size=4, P=1, random=False)
    assert arpgnet.prepare(sample, cfg, rng)[0][:, 0, 0].tolist() == [[2, 12, 22, 32], [6, 16, 26, 36]]
    assert arpgnet.prepare(sample, cfg, None)[0][:, 0, 0, 0].tolist() == list(range(8))
    seen = {arpgnet.prepare(sample, Config(T=8, shown=2, size=4, P=1, random=False, flip=True), rng)[0][0, 0, 0, 0].item() for _ in range(20)}
    assert seen == {2, 32}


def test_pad_repeats_frames_and_marks_them():
    """Padding repeats the last frame, and the mask says it is not real."""
    clips = [torch.tensor([[1.0], [2.0]]), torch.tensor([[3.0], [4.0], [5.0]])]
    close(pad(clips), torch.tensor([[[1.0], [2.0], [2.0]], [[3.0], [4.0], [5.0]]]))
    assert pad([torch.ones(len(c), dtype=torch.bool) for c in clips]).tolist() == [[True, True, False], [True] * 3]


@pytest.mark.parametrize("row", [r for r in arpgnet.ABLATIONS if r.startswith("table4")])
def test_every_row_of_table_4_trains(row, device):
    """Each row of Table 4 runs, and every weight it has gets a gradient."""
    model = tiny(device, **arpgnet.ABLATIONS[row].settings)
    target = {"expression": torch.tensor([0, 1, 2], device=device)}
    arpgnet.loss(model(*a_batch(device)), target, {}, model.cfg, Stage("train", 1))["total"].backward()
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for n, p in model.named_parameters() if p.requires_grad
               and not n.endswith("fc.bias"))                 # a bias before a batch normalisation has the gradient 0


def test_table_4_without_fusion_is_a_mean_over_time(device):
    """arpgnet (§4.4.1): "concatenate ... frame by frame, pooling the results over time": the order of frames is lost."""
    clip, real = a_batch(device)
    for fusion, same in ((False, True), (True, False)):
        model = tiny(device, fusion=fusion).eval()
        there, back = model(clip, real), model(clip.flip(1)[:, [1, 0, 2, 3, 4]], real)
        assert torch.allclose(there, back, atol=1e-5) == same


@pytest.mark.parametrize("switches", [{}, {"share": True}, {"scope": False}, {"fusion": False, "scope": False}, {"P": 1, "layers": 2}])
def test_figure_1_the_forward_twin(switches, device):
    """arpgnet (§3): everything behind the blocks, off the page and in loops: patches, graphs, positions, mean, MLP."""
    model = tiny(device, size=48, slope=0.2, **switches).double().eval()
    clip, real = a_batch(device, B=2, T=5, size=48)
    clip, cfg = clip.double(), model.cfg
    frames = (clip.flatten(0, 1) - 0.5) / 0.5
    appearance = model.trunk(frames).unflatten(0, (2, 5))                                 # (B, T, C')
    face = (model.trunk if cfg.share else model.stem).maps(frames)[2]                     # (B·T, C, 6, 6)
    side, relation = 6 // cfg.P, []
    for one in face:
        patches = torch.stack([one[:, r * side:(r + 1) * side, c * side:(c + 1) * side].mean((1, 2))
                               for r in range(cfg.P) for c in range(cfg.P)])              # (P², C)
        for gat in model.relate:
            patches = loop_twin(patches, face_grid(cfg.P), gat.W, gat.att, 0.2).to(device)
        relation.append(patches.mean(0))
    streams = torch.stack([appearance, torch.stack(relation).unflatten(0, (2, 5))])       # (2, B, T, C')
    if cfg.fusion:
        PE = torch.tensor([[(math.sin if k % 2 == 0 else math.cos)(pos / 10000 ** (2 * (k // 2) / 12)) for k in range(12)]
                           for pos in range(5)], dtype=torch.float64, device=device)      # (T, C')
        A = torch.tensor([[float(abs(i % 5 - j % 5) <= (1 if cfg.scope else 99)) for j in range(10)] for i in range(10)])
        fused = [loop_twin(torch.cat([streams[0, b] + PE, streams[1, b] + PE]), A, model.fuse.W, model.fuse.att, 0.2) for b in range(2)]
        streams = torch.stack([torch.stack([f[:5] for f in fused]), torch.stack([f[5:] for f in fused])]).to(device)
    both = torch.cat([streams[0], streams[1]], dim=-1).mean(1)                            # (B, 2C')
    first, last = model.mlp[0], model.mlp[3]
    want = (both @ first.weight.T + first.bias).clamp(min=0) @ last.weight.T + last.bias
    close(model(clip, real), want, rtol=1e-6, atol=1e-6)         # PE is float32 in the model


def test_sections_4_1_and_4_2_as_printed():
    """arpgnet (§4.2): the numbers of the page, typed from the page."""
    cfg = Config()
    assert (cfg.T, cfg.shown, cfg.size, cfg.P, cfg.slope, cfg.dropout) == (16, 16, 96, 6, 0.01, 0.25)
    assert (cfg.lr, cfg.lr_trunk, cfg.beta1, cfg.beta2, cfg.eps, cfg.layers, cfg.gamma) == (1e-3, 1e-4, 0.9, 0.999, 1e-8, 3, 0.0)
    assert cfg.measure == "Acc" and len(cfg.classes) == 7 and (cfg.appearance, cfg.relation, cfg.fusion, cfg.scope) == (True,) * 4
    model = tiny(dropout=0.25)
    assert [g.dropout for g in (*model.relate, model.fuse)] + [model.mlp[2].p] == [0.25] * 5
    assert [g.slope for g in (*model.relate, model.fuse)] == [0.01] * 4
    said = {key: {name: f.default for name, f in data.settings.items()} for key, data in arpgnet.DATASETS.items()}
    assert said["rml"] == {"classes": ("anger", "disgust", "fear", "happiness", "sadness", "surprise")} and said["afew"] == {}
    assert said["affwild2"]["T"] == 8 and said["affwild2"]["gamma"] == 2.0 and said["affwild2"]["measure"] == "M"
    assert said["affwild2"]["classes"] == ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise")
    assert arpgnet.DATASETS["rml"].protocol.__name__ == "leave_one_subject_out" and cfg.dilation == 3


def test_tables_4_and_5_as_printed():
    """arpgnet (§4.4): switches and accuracies, typed from the page."""
    four = [("✓---", 50.65), ("-✓--", 47.52), ("✓✓--", 51.96), ("✓✓✓-", 55.35), ("✓✓✓✓", 57.70)]
    for n, (ticks, acc) in enumerate(four, 1):
        row = arpgnet.ABLATIONS[f"table4.{n}"]
        assert row.settings == dict(zip(("appearance", "relation", "fusion", "scope"), (t == "✓" for t in ticks)))
        assert row.printed == {"Acc": acc}
    for n, (P, acc) in enumerate([(12, 57.18), (6, 57.70), (4, 56.91), (3, 55.61)], 1):
        assert arpgnet.ABLATIONS[f"table5.{n}"][:2] == ({"P": P}, {"Acc": acc})


def test_published_weights_go_into_both_modules(tmp_path):
    """arpgnet (§3.2, §3.3): a backbone for another size: both modules' blocks take it, the fc is resampled, the rest stays.

    Reading: §4.4.1 would leave the relation module's blocks as they were drawn.
    """
    torch.manual_seed(1)
    published = IResNet((1, 1, 1, 1), (4, 6, 8, 10), size=48, d=12)
    torch.save(published.state_dict(), tmp_path / "backbone.pth")
    model = tiny()
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    report = arpgnet.load_weights(model, str(tmp_path / "backbone.pth"), model.cfg)
    state = published.state_dict()
    for name in ("layer1.0.conv1.weight", "layer3.0.bn3.bias", "conv1.weight"):
        assert torch.equal(model.trunk.state_dict()[name], state[name]) and torch.equal(model.stem.state_dict()[name], state[name])
    close(model.trunk.fc.weight.sum(1), published.fc.weight.sum(1))
    assert model.trunk.fc.weight.shape == (12, 40) and "resampled: fc.weight (12, 90) → (12, 40)" in report
    assert torch.equal(model.fuse.W, before["fuse.W"]) and torch.equal(model.mlp[0].weight, before["mlp.0.weight"])


@pytest.mark.parametrize("wrong, said", [
    (dict(P=5), "P may be 1, 2, 3, 4, 6, 12"), (dict(classes=("a", "a")), "each once"), (dict(stills=-1), "stills must be 0"),
    (dict(lr=float("nan")), "lr must be 0 or more; got nan"), (dict(layout=(1, 1)), "four blocks"), (dict(d=7), "even"), (dict(d=0), "even"),
    (dict(beta1=2.0), "beta1 must be"), (dict(gamma=float("nan")), "gamma must be"), (dict(P=12, size=48), "take --size 96"),
    (dict(appearance=False, relation=False), "both streams are off"), (dict(measure="UAR"), "Acc, F1 or M"), (dict(T=0), "T must be 1")])
def test_settings_that_cannot_be_are_refused(wrong, said):
    """One sentence: what was found, what may be."""
    with pytest.raises(ValueError, match=said):
        Config(**wrong)


def test_two_learning_rates():
    """arpgnet (§4.2.2): 1e-4 for the residual blocks, 1e-3 for everything else, the fc behind the blocks included.

    Reading: the fc is pre-trained too, but not a residual convolutional block.
    """
    model = tiny()
    adam, schedule = arpgnet.optimizer(model, model.cfg, 100)
    rate = {id(p): g["lr"] for g in adam.param_groups for p in g["params"]}
    of = {n: rate[id(p)] for n, p in model.named_parameters() if p.requires_grad}
    assert of["trunk.layer1.0.conv1.weight"] == of["stem.layer3.0.bn1.weight"] == of["trunk.conv1.weight"] == 1e-4
    assert of["trunk.bn2.weight"] == 1e-4 and of["trunk.features.bias"] == 1e-3
    assert of["trunk.fc.weight"] == of["fuse.att"] == of["mlp.0.weight"] == 1e-3
    assert len(rate) == len(of) and adam.defaults["betas"] == (0.9, 0.999) and adam.defaults["eps"] == 1e-8
    adam.step(), schedule.step()
    assert adam.param_groups[0]["lr"] == 1e-3                  # as printed: nothing is said of a schedule


def test_score_is_the_mean_over_subjects():
    """arpgnet (§4.1.1): two subjects with 1 of 1 and 1 of 3 right: mean 2/3, pooled 2/4, sd over n − 1 = 0.4714.

    Reading: pooled accuracy, or a deviation over n (1/3), would be other numbers.
    """
    rows = {"fold": ["s1", "s2", "s2", "s2"], "target": torch.tensor([0, 1, 1, 2]), "predicted": torch.tensor([0, 1, 0, 0])}
    out = arpgnet.score(rows, Config())
    assert out["Acc"] == pytest.approx(2 / 3) and out["Acc pooled"] == pytest.approx(0.5)
    assert out["Acc sd"] == pytest.approx(math.sqrt(2) / 3)


def test_kaiming_draws():
    """arpgnet (§4.2.2): Kaiming: W of the graph layers is uniform within √(3/h), its deviation 1/√h; the MLP's within √(6/h)."""
    mlp = arpgnet.ARPGNet(Config(**TINY | dict(d=100, hidden=300))).mlp[0].weight.detach()      # 200 inputs
    assert mlp.abs().max() <= math.sqrt(6 / 200) and float(mlp.std()) == pytest.approx(math.sqrt(2 / 200), rel=0.02)
    W = GraphAttention(300, 200, 2).W.detach()
    assert W.abs().max() <= math.sqrt(3 / 300) and float(W.std()) == pytest.approx(1 / math.sqrt(300), rel=0.02)


def test_prepare_and_predict():
    """A drawn clip of 7 frames: testing shows T = 5 of them; probabilities carry the names of the classes."""
    frames = torch.arange(7, dtype=torch.uint8)[:, None, None, None].expand(7, 3, 24, 24)
    clip, real = arpgnet.prepare(Sample("a", Drawn(frames), {"expression": 0}), Config(**TINY), None)
    assert clip[:, 0, 0, 0].tolist() == [0, 2, 3, 4, 6] and real.tolist() == [True] * 5
    out = arpgnet.predict(torch.tensor([[0.0, math.log(3)] + [-99.0] * 5]), Config())
    assert out["predicted"].tolist() == [1]
    close(out["p_disgust"], torch.tensor([0.75]))


def test_look_is_what_forward_uses(device):
    """The attention that is drawn is the attention that is used: mixing by it gives the layer's own output."""
    model = tiny(device, heads=1).eval()
    clip, real = a_batch(device)
    beta = arpgnet.look(model, clip, real)
    assert beta["face"].shape == (3, 5, 9, 9) and beta["fusion"].shape == (3, 10, 10)
    streams, patches = model.streams(clip)
    first = torch.nn.functional.elu(beta["face"].flatten(0, 1) @ patches @ model.relate[0].W[0].T)
    close(model.relate[0](patches, model.A_face), first, rtol=1e-4, atol=1e-5)
    x, A = model.fusion_nodes(streams, real)
    close(model.fuse(x, A), torch.nn.functional.elu(beta["fusion"] @ x @ model.fuse.W[0].T), rtol=1e-4, atol=1e-5)


def test_compiles_exports_and_runs_in_bfloat16():
    """One graph, nothing waits for the device: torch.compile(fullgraph), torch.export and autocast."""
    model, (clip, real) = tiny().eval(), a_batch()
    want = model(clip, real)
    close(torch.compile(model, fullgraph=True, backend="eager")(clip, real), want, rtol=1e-4, atol=1e-5)
    close(torch.export.export(model, (clip, real)).module()(clip, real), want, rtol=1e-4, atol=1e-5)
    with torch.autocast("cpu", torch.bfloat16):
        low = model(clip, real)
    assert low.isfinite().all() and (low.float() - want).abs().max() < 0.2
