"""ENGAT as a whole: the network against a slow twin, its settings, what trains, and the commands on tiny data sets."""
import dataclasses
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from PIL import Image
from torch import tensor
from torch.testing import assert_close as close

import evaluate
import train
from refnet.data import drawn_clips, micro_sets
from refnet.data.drawn_faces import draw
from refnet.data.drawn_micro import plan_micro
from refnet.data.micro import MicroClip
from refnet.data.micro_graphs import Pipeline, graphs_of, place
from refnet.data.samples import Collection, DataError, Drawn, Sample, pad
from refnet.graphs.landmarks import face_contours, frame_graph
from refnet.models import engat
from refnet.ops.edge_attention import EdgeNodeAttention
from refnet.ops.graph_conv import GraphConv
from refnet.training import experiment, plan, runs
from refnet.training.job import Options
from test_micro_readers import CASME2, xlsx

pytestmark = pytest.mark.usefixtures("one_thread")

ROOT = Path(train.__file__).parent
THREE, FIVE = ("negative", "positive", "surprise"), ("disgust", "happiness", "surprise", "repression", "others")
SMALL = engat.Config(size=64, cache="")
STAGE = engat.stages(SMALL)[0]


# ---- how large

@pytest.mark.parametrize("words, parameters, parts", [
    ([], 9872, {"first": 2688 + 102, "second": 5824 + 102, "fc": 384 * 3 + 3, "similarity": 1}),
    (["--classes", *FIVE], 10642, {"first": 2688 + 102, "second": 5824 + 102, "fc": 384 * 5 + 5, "similarity": 1}),
    (["--no-edges"], 9289, {"first": 2400 + 99, "second": 5536 + 99, "fc": 384 * 3 + 3}),    # each layer without 32 · 2 and 32
    (["--no-edges", "--no-attention"], 8901, {"first": 2208 + 97, "second": 5344 + 97, "fc": 384 * 3 + 3})])
def test_count(words, parameters, parts, monkeypatch, capsys):
    """A layer from T to 32: W 32 T, W_e 32 · 2, a 3 · 32, b 32. From 2, 32, 32: 256 + 1216 + 1216 = 2688; from 100: 3392 + 2432 =
    5824. A score from 96 to 1: 96 + 2 + 3 + 1 = 102. Both streams, mean ‖ max of 96: 384 to C. γ is one.

    A layer of the GCN: W and b. 96 + 1056 + 1056 = 2208, 3232 + 2112 = 5344, its score 97, and no γ.
    """
    assert sum(parts.values()) == parameters
    few = engat.DATASETS["drawn"]._replace(read=partial(drawn_clips.read, subjects=2))
    monkeypatch.setitem(engat.DATASETS, "drawn", few)
    assert train.main(["--paper", "engat", "--count", "--size", "64", "--cache", "", *words]) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    printed = {line[0]: (line[1], line[2]) for line in lines if line and line[0] in (*parts, "total")}
    assert printed == {name: (f"{n:,}", f"{n:,}") for name, n in {**parts, "total": parameters}.items()}


# ---- the network, node by node

def sigmoid(x):
    return 1 / (1 + math.exp(-x))


def shaken(cfg, seed=0):
    """A network in float64 whose every weight is drawn, biases and γ too."""
    model, rng = engat.network(cfg, {}, STAGE).double(), torch.Generator().manual_seed(seed)
    for p in model.parameters():
        p.data = torch.randn(p.shape, generator=rng, dtype=torch.float64) / math.sqrt(max(p.shape[-1], 1) if p.dim() else 1)
    if cfg.edges:
        model.similarity.gamma.data.fill_(.3)
    return model.eval()


def inputs(B=2, G=2, seed=1, patch=10):
    """Coordinates in the unit square, magnitudes, and the coordinates again for (7)."""
    rng = torch.Generator().manual_seed(seed)
    x = torch.rand(B, G, 153, 2, generator=rng, dtype=torch.float64)
    return x, torch.rand(B, G, 153, patch ** 2, generator=rng, dtype=torch.float64), x.clone(), torch.ones(B, G, dtype=torch.bool)


def twin(model, x, p, h, edges=True):
    """The page, for one graph: x (153, 2), p (153, 100), h (153, 2) → probabilities (3,)"""
    neighbours = [row.nonzero().flatten().tolist() for row in frame_graph(face_contours())]
    gamma, f = float(model.similarity.gamma) if edges else 0, {}
    for i in range(153):
        for j in neighbours[i]:
            one, other = set(neighbours[i]), set(neighbours[j])
            jaccard = len(one & other) / len(one | other)
            far = sum((a - b) ** 2 for a, b in zip(h[i].tolist(), h[j].tolist(), strict=True))
            near = math.exp(-far / (2 * (gamma ** 2 + 1e-6))) if edges else 0           # γ's floor of local_similarity
            f[i, j] = tensor([sigmoid(jaccard), sigmoid(near)], dtype=torch.float64)    # Eq. 5, 6, 7

    def layer(l, h):                                                                    # Eq. 1, 3, 4 without σ
        W, out = h @ l.W.T, []                                                          # (153, D)
        for i in range(153):
            score = {}
            for j in neighbours[i]:
                e = float(l.a @ torch.cat([W[i], W[j]] + ([l.W_e @ f[i, j]] if edges else [])))
                score[j] = math.exp(e if e > 0 else .2 * e)
            total = sum(score.values())
            out.append(sum(s / total * W[j] for j, s in score.items()) + l.bias)
        return torch.stack(out)

    streams = []
    for stream, h_l in ((model.first, x), (model.second, p)):
        every = []
        for gat in stream.gats:                                                         # §3.3: three, ReLU after each
            h_l = layer(gat, h_l).clamp(min=0)
            every.append(h_l)
        nodes = torch.cat(every, 1)                                                     # (153, 96)
        score = layer(stream.pool.score, nodes)[:, 0].tolist()
        stay = sorted(range(153), key=lambda i: (-score[i], i))[:math.ceil(.75 * 153)]  # §3.2, §4.2
        gated = torch.stack([math.tanh(score[i]) * nodes[i] for i in sorted(stay)])
        streams += [gated.mean(0), gated.max(0).values]
    logits = model.fc.weight @ torch.cat(streams) + model.fc.bias
    return logits.exp() / logits.exp().sum()


@pytest.mark.parametrize("edges", [True, False])
@torch.no_grad()
def test_forward_is_the_page(edges, device):
    """engat (1, 2, 3, 4, 5, 6, 7)   two clips, three real graphs, the fourth is padding and holds what it likes.

    The vote is the mean probability of the real graphs; the loss the mean of −log p over a clip's graphs, then over the clips.
    """
    model = shaken(dataclasses.replace(SMALL, edges=edges))
    x, p, h, real = inputs()
    real[1, 1] = False
    for t in (x, p, h):
        t[1, 1] = 1e3 * torch.randn(t[1, 1].shape, dtype=torch.float64)
    each = {(b, g): twin(model, x[b, g], p[b, g], h[b, g], edges) for b, g in ((0, 0), (0, 1), (1, 0))}
    assert (each[0, 0] - each[1, 0]).abs().max() > 1e-2                                 # graphs do make a difference
    out = model.to(device)(*(t.to(device) for t in (x, p, h, real)))
    close(out[1].cpu(), torch.stack([(each[0, 0] + each[0, 1]) / 2, each[1, 0]]), atol=1e-8, rtol=0)
    wanted = ((-each[0, 0][2].log() - each[0, 1][2].log()) / 2 - each[1, 0][0].log()) / 2
    loss = engat.loss(out, {"expression": tensor([2, 0], device=device)}, {}, SMALL, STAGE)
    close(loss["total"].cpu(), wanted, atol=1e-8, rtol=0)


@torch.no_grad()
def test_forward_pads_with_anything(device):
    """A clip says the same alone and padded to more graphs, up to the last digits; a third graph that is real does vote."""
    model = shaken(SMALL).to(device)
    x, p, h, real = (t.to(device) for t in inputs(B=1, G=3))
    alone = model(x[:, :2], p[:, :2], h[:, :2], real[:, :2])
    padded = tuple(torch.cat([t[:, :2], 50 * torch.randn_like(t[:, 2:])], 1) for t in (x, p, h))
    beside = model(*padded, tensor([[True, True, False]], device=device))
    for a, b in zip(alone, beside, strict=True):
        close(a, b, atol=1e-12, rtol=0)
    assert (alone[1] - model(x, p, h, real)[1]).abs().max() > 1e-4                      # a third real graph votes


def test_pad_repeats_graphs_and_marks_them(device):
    """What batches do to clips of one and of two graphs."""
    x = pad([torch.ones(1, 153, 2, device=device), torch.zeros(2, 153, 2, device=device)])
    real = pad([torch.ones(n, dtype=torch.bool, device=device) for n in (1, 2)])
    assert x.shape == (2, 2, 153, 2) and (x[0] == 1).all() and real.tolist() == [[True, False], [True, True]]


@torch.no_grad()
def test_equal_scores_keep_the_first(device):
    """engat (§3.2): all scores alike, the nodes 0 to 114 of 153 stay in both streams."""
    model = engat.network(SMALL, {}, STAGE).to(device)
    for stream in (model.first, model.second):
        for weight in stream.pool.score.parameters():
            weight.zero_()
    x, p, h, _ = (t.float().to(device) for t in inputs(B=1, G=1))
    seen = engat.look(model, x[0, 0], p[0, 0], h[0, 0])
    for name in ("coordinates", "patches"):
        assert seen[name]["kept"].tolist() == [True] * 115 + [False] * 38
        close(seen[name]["heard"].sum(), tensor(153., device=device) - own_share(model, name, x, p, h), atol=1e-3, rtol=0)


def own_share(model, name, x, p, h):
    """How much all nodes listen to themselves in the first layer; with the rest of it, each listens once."""
    stream, t = (model.first, x[0, 0]) if name == "coordinates" else (model.second, p[0, 0])
    A = frame_graph(face_contours()).to(t)
    return stream.gats[0].attention(t, A, model.similarity(h[0, 0], A)).diagonal().sum()


def test_both_streams_read_the_same_edges(device):
    """engat (§3.3): "The same edge features are used in both streams"; γ learns from both of them."""
    model, heard = shaken(SMALL).to(device), []
    for stream in (model.first, model.second):
        stream.register_forward_pre_hook(lambda _, args: heard.append(args[2]))
    x, p, h, real = (t.to(device) for t in inputs())
    out = model(x, p, h, real)
    assert len(heard) == 2 and heard[0] is heard[1] and heard[0].shape == (4, 657, 2)
    torch.testing.assert_close(heard[0], model.similarity.along(h.flatten(0, 1), model.edges_ij, model.gsss))
    engat.loss(out, {"expression": tensor([2, 0], device=device)}, {}, SMALL, STAGE)["total"].backward()
    assert model.similarity.gamma.grad.abs() > 1e-6
    assert all(weight.grad is not None and weight.grad.isfinite().all() for weight in model.parameters())
    for stream in (model.first, model.second):
        with torch.no_grad():
            t = (x if stream is model.first else p).flatten(0, 1)
            moved = stream(t, model.edges_ij, heard[0] + .2 * torch.rand_like(heard[0]), model.A_hat)[0]
            still = stream(t, model.edges_ij, heard[0], model.A_hat)[0]
        assert (moved - still).abs().max() > 1e-6                                       # each does listen to them


@pytest.mark.parametrize("attention", [True, False])
@torch.no_grad()
def test_without_edges_h_is_not_read(attention, device):
    """Tables 6, 7, rows 1 and 2: what (7) compares may be anything."""
    model = shaken(dataclasses.replace(SMALL, edges=False, attention=attention)).to(device)
    x, p, h, real = (t.to(device) for t in inputs())
    assert model.similarity is None
    for a, b in zip(model(x, p, h, real), model(x, p, torch.full_like(h, math.nan), real), strict=True):
        assert torch.equal(a, b) and a.isfinite().all()


@torch.no_grad()
def test_gcn_is_the_page(device):
    """Tables 6, 7, row 1: h' = Â h W + b with Â = D^(−1/2) A D^(−1/2), ReLU, three of them side by side; the score is one more."""
    model = shaken(dataclasses.replace(SMALL, edges=False, attention=False))
    assert not any(isinstance(m, EdgeNodeAttention) for m in model.modules())
    assert sum(isinstance(m, GraphConv) for m in model.modules()) == 8
    x, p, h, real = inputs(B=1, G=1)
    A = frame_graph(face_contours()).double()
    degree, streams = A.sum(1).tolist(), []

    def layer(l, h):
        W = h @ l.W.T
        return torch.stack([sum(W[j] / math.sqrt(degree[i] * degree[j]) for j in A[i].nonzero().flatten().tolist())
                            for i in range(153)]) + l.bias

    for stream, t in ((model.first, x[0, 0]), (model.second, p[0, 0])):
        every = []
        for gcn in stream.gcns:
            t = layer(gcn, t).clamp(min=0)
            every.append(t)
        nodes = torch.cat(every, 1)
        score = layer(stream.score, nodes)[:, 0].tolist()
        stay = sorted(sorted(range(153), key=lambda i: (-score[i], i))[:115])
        gated = torch.stack([math.tanh(score[i]) * nodes[i] for i in stay])
        streams += [gated.mean(0), gated.max(0).values]
    wanted = (model.fc.weight @ torch.cat(streams) + model.fc.bias).softmax(0)
    close(model.to(device)(*(t.to(device) for t in (x, p, h, real)))[1][0].cpu(), wanted, atol=1e-6, rtol=0)   # Â is kept in float32


# ---- who trains, at which magnification

def of_classes(*numbers):
    """So many clips of each class, without a picture."""
    return [Sample(f"{c}-{n}", MicroClip(None, 200.), {"expression": c}) for c, number in enumerate(numbers) for n in range(number)]


@pytest.mark.parametrize("numbers, factors", [
    ((88, 32, 25), ((4,), (4, 5, 3), (4, 5, 3, 2))),                                    # CASME II: 1, 2.75, 3.52
    ((70, 51, 43), ((4,), (4,), (4, 5))),                                               # SMIC: 1, 1.37, 1.63
    ((63, 32, 25, 27, 99), ((4, 5), (4, 5, 3), (4, 5, 3, 2), (4, 5, 3, 2), (4,))),      # CASME II: 1.57, 3.09, 3.96, 3.67, 1
    ((5, 2), ((4,), (4, 5, 3))),                                                        # 2.5: a half goes up
    ((90, 9), ((4,), (4, 5, 3, 2, 1)))])                                                # 10, of which five are there
def test_augment_fills_up_smaller_classes(numbers, factors):
    """engat (§4.2): the copies of each clip are the clip at other factors, the one of testing first; they keep its id."""
    got = engat.augment(of_classes(*numbers), SMALL)
    assert len(got) == sum(n * len(f) for n, f in zip(numbers, factors, strict=True))
    for c, number in enumerate(numbers):
        own = [s for s in got if s.target["expression"] == c]
        for n in range(number):
            assert [s.clip.alpha for s in own if s.id == f"{c}-{n}"] == list(factors[c])
    assert all(dataclasses.replace(s.clip, alpha=None) == MicroClip(None, 200.) for s in got)


def test_augment_off_and_by_the_factors_given():
    """Without mm all stay as they are; the copies follow `factors`, the nearest to α first."""
    samples = of_classes(6, 2)
    assert engat.augment(samples, dataclasses.replace(SMALL, mm=False)) == samples
    got = engat.augment(samples, dataclasses.replace(SMALL, factors=(1, 2, 8), alpha=2.))
    assert [s.clip.alpha for s in got if s.target["expression"] == 1] == [2, 1, 8] * 2


def test_no_tested_clip_is_copied():
    """Drawn, 8 clips a subject, 4 2 2: training has copies, the tested part has each clip once, as it was read."""
    found = drawn_clips.read(None, SMALL, subjects=3)
    job = plan.settle(engat, "engat", "drawn", "paper", "", {"size": 64, "cache": ""}, "", Options(select=.34))
    folds = experiment.folds_of(job, found)
    assert [(len(f.train), len(f.select), len(f.report)) for f in folds] == [(4 + 2 * 2 + 2 * 2, 8, 8)] * 3
    for fold in folds:
        assert {s.clip.alpha for s in fold.select + fold.report} == {None}
        assert not {s.id for s in fold.train} & {s.id for s in fold.select + fold.report}
        assert len({s.id for s in fold.select + fold.report}) == 16
        assert {s.clip.alpha for s in fold.train} == {4, 5}


@pytest.fixture(scope="module")
def clips():
    """Drawn clips of two subjects at 64 pixels, 4 2 2 of each."""
    return drawn_clips.read(None, SMALL, subjects=2).samples


def test_waiting_names_each_clip_and_factor_once(clips, tmp_path):
    """The clip tested at 4 is the clip that trains at 4: one file; what is made is not made again."""
    cfg = dataclasses.replace(SMALL, cache=str(tmp_path / "kept"))
    tested = [clips[0], clips[1]]
    trained = [dataclasses.replace(s, clip=dataclasses.replace(s.clip, alpha=a)) for s in tested for a in (4., 5.)]
    ahead = engat.waiting(tested + trained + trained, cfg)
    assert sorted((s.id, s.clip.alpha or cfg.alpha) for s in ahead) == sorted((s.id, a) for s in tested for a in (4., 5.))
    for n, s in enumerate(ahead, 1):
        engat.prepare(s, cfg, None)
        assert len(list(Path(cfg.cache).glob("*.npz"))) == n and len(engat.waiting(tested + trained, cfg)) == 4 - n
    made = {p: p.stat().st_mtime_ns for p in Path(cfg.cache).iterdir()}
    for s in tested + trained:
        engat.prepare(s, cfg, None)
    assert made == {p: p.stat().st_mtime_ns for p in Path(cfg.cache).iterdir()} and len(made) == 4
    assert engat.waiting(tested + trained, dataclasses.replace(cfg, cache="")) == []    # nothing is kept, nothing is waited for


def test_prepare_gives_what_the_page_says(clips, device):
    """engat (§3.1.1, §3.3): landmarks over the side, or their way since the onset in pixels; patches; what (7) compares."""
    g = graphs_of(clips[0].clip, 4., SMALL.pipeline)
    for coordinates in ("absolute", "relative"):
        for similarity in ("coordinates", "patches"):
            cfg = dataclasses.replace(SMALL, coordinates=coordinates, similarity=similarity)
            x, p, h, real = (t.to(device) for t in engat.prepare(clips[0], cfg, None))
            wanted = g.points / 64 if coordinates == "absolute" else g.points - g.rest
            close(x, wanted.reshape(1, 153, 2).to(device))
            close(p, g.patches.reshape(1, 153, 100).to(device))
            close(h, p if similarity == "patches" else (g.points / 64).reshape(1, 153, 2).to(device))
            assert real.tolist() == [True]
    every = engat.prepare(clips[0], dataclasses.replace(SMALL, graphs="all"), None)
    assert len(every[3]) == int(g.keep.sum()) - 2 == len(every[0]) and every[3].all()


def test_prepare_of_ones_own_clip_needs_landmarks():
    with pytest.raises(DataError, match="smile: ENGAT needs landmarks; give --landmarks FILE"):
        engat.own("smile", Drawn(torch.zeros(4, 3, 8, 8, dtype=torch.uint8)), None)


# ---- how it learns, and how it is scored

def test_adam_is_halved_every_hundred_epochs(device):
    """engat (§4.2): 1e-3 until the end of epoch 100, then 5e-4 until 200, then 2.5e-4; seven steps an epoch, 250 epochs."""
    cfg = dataclasses.replace(SMALL, epochs=250)
    model = torch.nn.Linear(1, 1).to(device)
    adam, schedule = engat.optimizer(model, cfg, 7 * 250)
    assert type(adam) is torch.optim.Adam and adam.defaults["weight_decay"] == 0
    used = []
    for _ in range(7 * 250):
        used.append(adam.param_groups[0]["lr"])
        adam.step(), schedule.step()
    assert used == pytest.approx([1e-3] * 700 + [5e-4] * 700 + [2.5e-4] * 350)


def test_score_pools_and_counts_the_class_that_is_nowhere():
    """engat (8, 9, 10): two folds, six clips. F1 4/7, 2/3 and 0: UF1 26/63; 3 of 6 are right; recalls 2/3, 1 and 0.

    Fold by fold it would be (4/5 + 0 + 0)/3 and (0 + 1 + 0)/3, whose mean is 3/10.
    """
    rows = {"fold": ["a"] * 3 + ["b"] * 3, "target": tensor([0, 0, 0, 1, 2, 2]), "predicted": tensor([0, 0, 1, 1, 0, 0])}
    got = engat.score(rows, SMALL)
    assert list(got) == ["UF1", "Acc", "UAR"]
    assert [got[m] for m in got] == pytest.approx([26 / 63, .5, 5 / 9])
    nowhere = {"target": tensor([0, 1, 1]), "predicted": tensor([0, 1, 1])}             # surprise is neither there nor called
    assert engat.score(nowhere, SMALL)["UF1"] == pytest.approx(2 / 3)


def test_predict_columns(device):
    """The class of the highest mean probability, whatever the log-probabilities of the loss say; a column a class."""
    p = tensor([[.2, .5, .3], [.6, .1, .3]], device=device)
    got = engat.predict((p.flip(1).log(), p.bfloat16()), SMALL)
    assert list(got) == ["predicted", "p_negative", "p_positive", "p_surprise"]
    assert got["predicted"].tolist() == [1, 0] and got["p_negative"].dtype == torch.float32
    close(got["p_surprise"], tensor([.3, .3], device=device), atol=2e-3, rtol=0)


def test_a_label_that_is_not_known_is_no_loss(device):
    log_p = tensor([[-1., -2., -3.], [-5., -6., -7.]], device=device)
    got = engat.loss((log_p, log_p.exp()), {"expression": tensor([1, -1], device=device)}, {}, SMALL, STAGE)
    close(got["total"], tensor(2., device=device))


# ---- settings

WRONG = [*((name, 0) for name in ("size", "patch", "layers", "D", "halve", "epochs", "batch_size", "winsize", "iterations", "poly_n")),
         ("levels", -1), *((name, "other") for name in ("register", "reference", "graphs", "follow", "coordinates", "similarity")),
         *((name, value) for name in ("alpha", "margin", "low", "lr", "slope") for value in (-.1, math.inf, math.nan)),
         ("k", 0), ("k", 1.01), ("k", math.nan), ("classes", ("negative",)), ("classes", ("a", "b", "a")), ("factors", ()),
         ("factors", (-1, 4)), ("factors", (4, 4))]


@pytest.mark.parametrize("name, value", WRONG)
def test_config_refuses(name, value):
    with pytest.raises(ValueError, match=rf"^{name} "):
        engat.Config(**{name: value})


def test_config_refuses_a_gcn_with_edges():
    with pytest.raises(ValueError, match="a GCN reads no edge features: --no-attention goes with --no-edges"):
        engat.Config(attention=False)
    assert engat.Config(attention=False, edges=False).edges is False


@pytest.mark.parametrize("words, said_", [
    (["--k", "0"], "k must be above 0"), (["--follow", "flaw"], "follow is scaled, flow or given; got flaw"),
    (["--no-attention"], "--no-attention goes with --no-edges"), (["--factors", "4", "4"], "each once")])
def test_config_refused_at_the_command_line(words, said_, capsys):
    assert train.main(["--paper", "engat", *words]) == 2
    err = capsys.readouterr().err
    assert said_ in err and len(err.splitlines()) == 1


def test_settings_of_the_page():
    """engat §3.1.1, §3.3, §4.2: the numbers that the page prints, and what the two presets change."""
    cfg = engat.Config()
    assert (cfg.size, cfg.patch, cfg.layers, cfg.D, cfg.slope, cfg.k) == (256, 10, 3, 32, .2, .75)
    assert (cfg.lr, cfg.halve, cfg.alpha, cfg.factors, cfg.classes) == (1e-3, 100, 4., (1, 2, 3, 4, 5), THREE)
    assert engat.FIVE == FIVE and engat.FRAMES == 3
    assert engat.stages(cfg) == (("graphs", cfg.epochs, {}, ""),)
    assert engat.PRESETS["paper"] == {} and set(engat.PRESETS) == {"paper", "demo"}
    job = plan.settle(engat, "engat", "drawn", "demo", "", {}, "", Options())
    assert (job.cfg.size, job.cfg.coordinates, job.cfg.whole) == (128, "relative", True) and job.cfg.epochs < cfg.epochs
    assert job.sources["size"].startswith("ours: demo") and job.sources["k"].startswith("§4.2")
    assert all(d.select == 0 and d.small for d in engat.DATASETS.values())


GCN, GAT, EDGES = ({"attention": a, "edges": e} for a, e in ((False, False), (True, False), (True, True)))     # (GCN)(GAT) and (E)
TABLES = {                             # row: what it switches, {data set: accuracy, UF1}, as printed
    "table4.1": ({"classes": THREE, "oth": False}, {"casme2": (.8897, .8686), "smic": (.8171, .8143)}),
    "table4.2": ({"classes": THREE, "oth": True}, {"casme2": (.9103, .8820), "smic": (.8232, .8260)}),
    "table5.1": ({"classes": FIVE, "oth": False}, {"casme2": (.8374, .7483)}),
    "table5.2": ({"classes": FIVE, "oth": True}, {"casme2": (.8415, .7791)}),
    "table6.1": (GCN, {"casme2": (.7586, .6648), "smic": (.7378, .7329)}),
    "table6.2": (GAT, {"casme2": (.8966, .8695), "smic": (.7622, .7606)}),
    "table6.3": (EDGES, {"casme2": (.9103, .8820), "smic": (.8232, .8260)}),
    "table7.1": ({"classes": FIVE, **GCN}, {"casme2": (.7724, .6281)}),
    "table7.2": ({"classes": FIVE, **GAT}, {"casme2": (.8130, .7090)}),
    "table7.3": ({"classes": FIVE, **EDGES}, {"casme2": (.8415, .7791)}),
    "table8.1": ({"oth": False}, {"casme2_smic": (.7683, .7543), "smic_casme2": (.8552, .8053)})}


def test_rows_are_those_printed():
    """Tables 4 to 8; the rest of the rows are ours, and print nothing."""
    assert [name for name in engat.ABLATIONS if name.startswith("table")] == list(TABLES)
    for name, (switches, printed) in TABLES.items():
        row = engat.ABLATIONS[name]
        assert row.settings == switches
        for dataset in engat.DATASETS:
            wanted = dict(zip(("Acc", "UF1"), printed[dataset], strict=True)) if dataset in printed else {}
            assert row.scores(dataset) == wanted
    assert all(not row.printed for name, row in engat.ABLATIONS.items() if name not in TABLES)


@pytest.mark.parametrize("name", engat.ABLATIONS)
def test_rows_build(name):
    """Every row is a Config and a network; only the rows of the GCN are without attention to edges and nodes."""
    cfg = dataclasses.replace(SMALL, **engat.ABLATIONS[name].settings)
    model = engat.network(cfg, {}, STAGE)
    kinds = {type(m) for m in model.modules()} & {EdgeNodeAttention, GraphConv}
    assert kinds == ({GraphConv} if name in ("table6.1", "table7.1") else {EdgeNodeAttention})
    assert model.fc.out_features == len(cfg.classes)


# ---- every setting does something

PIPELINE = dict(size=72, register="off", margin=.6, lambda_c=16., low=8., high=20., pyr_scale=.8, levels=0, winsize=9, iterations=1,
                poly_n=7, poly_sigma=1.6, reference="previous", smooth=1, threshold=1., graphs="all", follow="given", gain=1., whole=True, patch=6)
TURNED = dict(classes=("a", "b"), alpha=3., factors=(1, 4), mm=False, coordinates="relative", similarity="patches", gamma=.3,
              attention=False, edges=False, layers=2, D=16, slope=.4, k=.5, lr=1e-2, halve=2, epochs=5, batch_size=3, dropout=.5)
READ = dict(oth=True, landmarks="elsewhere", cache="elsewhere")                         # what is looked for, and written


def test_every_setting_is_turned():
    assert {f.name for f in dataclasses.fields(engat.Config)} == set(PIPELINE) | set(TURNED) | set(READ)
    assert set(PIPELINE) == set(Pipeline._fields)


@pytest.fixture(scope="module")
def scene(clips):
    """A drawn clip from whose frames the face is cut out."""
    return dataclasses.replace(clips[0].clip, scene=True)


def same_graphs(a, b):
    return all(x.shape == y.shape and torch.equal(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.parametrize("name", PIPELINE)
def test_the_pipelines_knob_turns_the_graphs(name, scene):
    """A setting that the graphs are named by is one that they depend on, and the other way round."""
    turned = dataclasses.replace(SMALL, **{name: PIPELINE[name]})
    assert getattr(SMALL, name) != getattr(turned, name)
    assert place(scene, 4., SMALL.pipeline, "x") != place(scene, 4., turned.pipeline, "x")
    assert not same_graphs(graphs_of(scene, 4., SMALL.pipeline), graphs_of(scene, 4., turned.pipeline))


@pytest.mark.parametrize("follow", ["flow", "given"])
def test_the_three_ways_of_landmarks_differ(follow, scene):
    """Only the landmarks, not the patches; 1 + .45 · 4 = 2.8 times the way since the onset, where it is scaled."""
    ways = {f: graphs_of(scene, 4., dataclasses.replace(SMALL, follow=f).pipeline) for f in ("scaled", "given", follow)}
    assert torch.equal(ways[follow].patches, ways["scaled"].patches)
    assert (ways[follow].points - ways["scaled"].points).abs().max() > 1e-2
    close(ways["scaled"].points - ways["scaled"].rest, 2.8 * (ways["given"].points - ways["given"].rest), atol=1e-3, rtol=0)


def test_the_magnification_turns_the_graphs(scene):
    assert place(scene, 4., SMALL.pipeline, "x") != place(scene, 3., SMALL.pipeline, "x")
    assert not same_graphs(graphs_of(scene, 4., SMALL.pipeline), graphs_of(scene, 3., SMALL.pipeline))
    slow = dataclasses.replace(scene, fps=100.)
    assert place(scene, 4., SMALL.pipeline, "x") != place(slow, 4., SMALL.pipeline, "x")


def test_a_pipeline_at_rest_changes_nothing(scene):
    """What the tests above see is the knob."""
    assert same_graphs(graphs_of(scene, 4., SMALL.pipeline), graphs_of(scene, 4., SMALL.pipeline))


def evidence(cfg, clips):
    """All that a setting can reach: who trains, the batches, weights and outputs along a few steps, the rates, the plan."""
    torch.manual_seed(0)
    samples = engat.augment([dataclasses.replace(clips[k], target={"expression": int(k > 3)}) for k in (0, 1, 2, 3, 4)], cfg)
    model = engat.network(cfg, {}, STAGE)
    steps = 20
    adam, schedule = engat.optimizer(model, cfg, steps)
    out = [tensor([s.clip.alpha or -1. for s in samples]), tensor([s.epochs for s in engat.stages(cfg)])]
    for at in range(0, len(samples), cfg.batch_size):
        batch = [engat.prepare(s, cfg, None) for s in samples[at:at + cfg.batch_size]]
        given = [pad(list(column)) for column in zip(*batch)]
        target = {"expression": tensor([s.target["expression"] for s in samples[at:at + cfg.batch_size]])}
        said = model(*given)
        adam.zero_grad()
        engat.loss(said, target, {}, cfg, STAGE)["total"].backward()
        adam.step()
        out += [*given, *(t.detach() for t in said)]
    for _ in range(steps):
        schedule.step()
        out.append(tensor(adam.param_groups[0]["lr"]))
    model.eval()
    shown = model(*(t[None] for t in engat.prepare(clips[5], cfg, None)))               # a tested clip
    return out + [*(t.detach() for t in shown), *(p.detach().clone() for p in model.parameters())]


def differ(a, b):
    return len(a) != len(b) or any(x.shape != y.shape or not torch.equal(x, y) for x, y in zip(a, b))


@pytest.mark.parametrize("name", TURNED)
def test_the_knob_turns_something(name, clips):
    """One setting turned, all else and the seed as before; a GCN has no edge features to begin with, and where α is turned, no
    copies show it but the clips themselves."""
    small = dataclasses.replace(SMALL, epochs=4, batch_size=4, edges=name != "attention", mm=name != "alpha")
    turned = dataclasses.replace(small, **{name: TURNED[name]})
    assert getattr(small, name) != getattr(turned, name)
    assert differ(evidence(small, clips), evidence(turned, clips))


def test_a_knob_at_rest_changes_nothing(clips):
    assert not differ(evidence(SMALL, clips), evidence(SMALL, clips))


def test_the_knob_cache_is_where_graphs_are_written(clips, tmp_path):
    for name in ("one", "other"):
        cfg = dataclasses.replace(SMALL, cache=str(tmp_path / name))
        assert engat.waiting([clips[0]], cfg) == [clips[0]]
        engat.prepare(clips[0], cfg, None)
        assert [p.parent.name for p in tmp_path.glob("*/*.npz")].count(name) == 1 and engat.waiting([clips[0]], cfg) == []


# ---- tiny data sets on disk

def a_clip(video, points, folder, pattern, first):
    """Frames (8, 3, 64, 64) as files, and their 68 landmarks beside the folder."""
    folder.mkdir(parents=True)
    for k, frame in enumerate(video):
        Image.fromarray((frame * 255).round().byte().permute(1, 2, 0).numpy()).save(folder / pattern.format(first + k), quality=95)
    folder.with_name(f"{folder.name}.csv").write_text("\n".join(",".join(f"{v:.3f}" for v in face.flatten().tolist()) for face in points))


@pytest.fixture(scope="module")
def drawn():
    """18 faces, six subjects of three classes: 8 frames of 64 pixels."""
    micro = plan_micro(18, 0, 6, 3, frames=(8, 8), peak=(1.5, 2.))
    video, points = draw(micro.faces, 64, "cpu")
    return [(video[b], points[b], b // 3 % 6, b % 3) for b in range(18)]


def casme2_tree(root, drawn):
    """Three subjects with the three classes each, a number as a text, an apex that nobody gave, blank columns; sadness is no class."""
    rows = [CASME2, ["17", "EP08_03", None, 1, 2, 3, None, 4, "sadness"]]
    for video, points, subject, c in drawn[:9]:
        name = f"EP{subject + 1:02d}_{c:02d}f"
        emotion = (("disgust", "repression")[subject % 2], "happiness", "surprise")[c]
        onset = str(40 + c) if c == 1 else 40 + c
        rows.append([f"{subject + 1:02d}", name, None, onset, "/" if c == 2 else 43 + c, 47 + c, None, 12, emotion])
        a_clip(video, points, root / "Cropped" / f"sub{subject + 1:02d}" / name, "reg_img{}.jpg", 40 + c)
    xlsx(root / "CASME2-coding-20140508.xlsx", rows)
    return root


def smic_tree(root, drawn):
    """Three other people, s4 to s6."""
    for video, points, subject, c in drawn[9:]:
        name = f"s{subject + 1}_{('ne', 'po', 'sur')[c]}_01"
        a_clip(video, points, root / "SMIC_all_cropped" / "HS" / f"s{subject + 1}" / "micro" / THREE[c] / name, "reg_image{:03d}.bmp", 7)
    return root


@pytest.fixture(scope="module")
def sets(drawn, tmp_path_factory):
    """both/CASME2 and both/SMIC, casme2 and smic alone, and where their graphs are kept."""
    top = tmp_path_factory.mktemp("sets")
    casme2_tree(top / "both" / "CASME2", drawn)
    smic_tree(top / "both" / "SMIC", drawn)
    return SimpleNamespace(both=top / "both", casme2=top / "both" / "CASME2", smic=top / "both" / "SMIC", cache=top / "cache")


def words(sets, dataset, root, out, *more, epochs=1, together=1):
    return ["--paper", "engat", "--data", str(root), "--dataset", dataset, "--size", "64", "--epochs", str(epochs), "--batch-size", "4",
            "--workers", "0", "--device", "cpu", "--cache", str(sets.cache), "--together", str(together), "--output-dir", str(out), *more]


def predictions(folder):
    return runs.read_predictions(folder / "predictions.csv", THREE)


OWN_CASME2 = {f"sub{s:02d}/EP{s:02d}_{c:02d}f" for s in (1, 2, 3) for c in range(3)}
OWN_SMIC = {f"smic-s{s}/s{s}_{kind}_01" for s in (4, 5, 6) for kind in ("ne", "po", "sur")}


@pytest.mark.parametrize("dataset, own, subjects", [("casme2", OWN_CASME2, ["sub01", "sub02", "sub03"]),
                                                    ("smic", OWN_SMIC, ["smic-s4", "smic-s5", "smic-s6"])])
def test_train_and_evaluate(dataset, own, subjects, sets, tmp_path, capsys):
    """A fold a subject; every clip is predicted once, by the network that never saw its subject; evaluation says the same."""
    run = tmp_path / "run"
    assert train.main(words(sets, dataset, getattr(sets, dataset), run)) == 0
    out = capsys.readouterr().out
    assert f"engat on {dataset}, preset paper" in out and "9 clips of" in out and f"python evaluate.py {run}" in out
    if dataset == "casme2":
        assert "without an apex: sub01/EP01_02f (row 5: /)" in out and "left out, no class here: sadness 1" in out
    rows = predictions(run)
    assert set(rows["sample"]) == own and len(rows["sample"]) == 9 and rows["fold"] == rows["subject"]
    assert sorted(rows["target"].tolist()) == [0] * 3 + [1] * 3 + [2] * 3
    close(sum(rows[f"p_{name}"] for name in THREE), torch.ones(9))
    folds = json.loads((run / "config.json").read_text())["folds"]
    assert folds == {s: {"train": 6, "select": 0, "report": 3} for s in subjects}
    before = (run / "predictions.csv").read_bytes()
    assert evaluate.main([str(run), "--workers", "0", "--device", "cpu"]) == 0
    out = capsys.readouterr().out
    assert f"UF1 {engat.score(rows, SMALL)['UF1']:.4f}" in out and "9 samples of the tested part" in out
    assert (run / "predictions.csv").read_bytes() == before
    for name in ("confusion", "attention-coordinates", "attention-patches", "landmarks", "intensity"):
        with Image.open(run / f"{name}.png") as picture:
            assert min(picture.size) > 100


def test_train_balances_and_never_tests_a_copy(sets, tmp_path, drawn):
    """Without sub02's and sub03's happiness the fold of sub02 has 2 1 2 to train on, and 2 2 2 with the copy at 5."""
    root = tmp_path / "set"
    casme2_tree(root, drawn)
    rows = [CASME2]
    for _, _, subject, c in drawn[:9]:
        if (subject, c) != (2, 1):
            rows.append([subject + 1, f"EP{subject + 1:02d}_{c:02d}f", None, 40 + c, None, 47 + c, None, 12,
                         ("disgust", "happiness", "surprise")[c]])
    xlsx(root / "CASME2-coding-20140508.xlsx", rows)
    assert train.main(words(sets, "casme2", root, tmp_path / "run")) == 0
    folds = json.loads((tmp_path / "run" / "config.json").read_text())["folds"]
    assert [f["train"] for f in folds.values()] == [6, 6, 6] and [f["report"] for f in folds.values()] == [3, 3, 2]
    assert len(predictions(tmp_path / "run")["sample"]) == 8 == len(set(predictions(tmp_path / "run")["sample"]))


def test_train_with_others_beside(sets, tmp_path, capsys):
    """Tables 4, 5, --oth: SMIC's nine clips train in every fold, and none of them is reported."""
    assert train.main(words(sets, "casme2", sets.both, tmp_path / "run", "--oth")) == 0
    assert "9 clips of smic train in every fold, and are never tested" in capsys.readouterr().out
    assert set(predictions(tmp_path / "run")["sample"]) == OWN_CASME2
    folds = json.loads((tmp_path / "run" / "config.json").read_text())["folds"]
    assert folds == {s: {"train": 6 + 9, "select": 0, "report": 3} for s in ("sub01", "sub02", "sub03")}
    cfg = dataclasses.replace(SMALL, oth=True)
    found = micro_sets.reader("casme2")(sets.both, cfg).samples
    for fold in engat.DATASETS["casme2"].protocol(found, 0., 0):
        assert OWN_SMIC <= {s.id for s in fold.train} and not OWN_SMIC & {s.id for s in fold.report}


def test_train_with_no_others_beside(sets, tmp_path, capsys):
    assert train.main(words(sets, "smic", sets.smic, tmp_path / "run", "--oth")) == 3
    err = capsys.readouterr().err
    assert "no other data set beside smic to train on (--oth)" in err and "leave --oth out" in err and len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("dataset, trained, tested", [("casme2_smic", OWN_CASME2, OWN_SMIC), ("smic_casme2", OWN_SMIC, OWN_CASME2)])
def test_train_on_one_and_report_the_other(dataset, trained, tested, sets, tmp_path, capsys):
    """Table 8: one network, trained on all of the first, tested on all of the second."""
    assert train.main(words(sets, dataset, sets.both, tmp_path / "run")) == 0
    assert set(predictions(tmp_path / "run")["sample"]) == tested and len(predictions(tmp_path / "run")["sample"]) == 9
    fold, = engat.DATASETS[dataset].protocol(engat.DATASETS[dataset].read(sets.both, SMALL).samples, 0., 0)
    assert {s.id for s in fold.train} == trained and {s.id for s in fold.report} == tested and not fold.select
    assert train.main(words(sets, dataset, sets.casme2, tmp_path / "other")) == 3
    assert "no folder of smic here" in capsys.readouterr().err


def test_missing_landmarks(sets, tmp_path, drawn, capsys):
    """Status 3 with the clip and the way to get them; below --landmarks DIR they are found, and the run is another's."""
    root = casme2_tree(tmp_path / "set", drawn)
    lost = root / "Cropped" / "sub02" / "EP02_01f.csv"
    lost.rename(tmp_path / lost.name)
    assert train.main(words(sets, "casme2", root, tmp_path / "run")) == 3
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1 and not (tmp_path / "run").exists()
    for word in ("sub02/EP02_01f: no landmarks for this clip", "--landmarks DIR", "8 frames", "OpenFace"):
        assert word in err
    assert train.main(words(sets, "casme2", root, tmp_path / "run", "--landmarks", str(tmp_path), "--check")) == 0
    assert "checked: 9 samples, 72 frames, all good" in capsys.readouterr().out


def test_a_table_runs_its_rows(sets, tmp_path, capsys, monkeypatch):
    """Table 6: three rows, three runs, the switches as printed and the printed scores beside ours, as if these were the paper's settings."""
    monkeypatch.setattr(plan, "as_printed", lambda job: True)
    assert train.main(words(sets, "casme2", sets.casme2, tmp_path / "table", "--table", "6")) == 0
    text = (tmp_path / "table" / "table.txt").read_text()
    assert text.strip() in capsys.readouterr().out
    lines = {line.split()[0]: line.split() for line in text.splitlines()[1:]}
    for name, switches in (("table6.1", ["-", "-"]), ("table6.2", ["✓", "-"]), ("table6.3", ["✓", "✓"])):
        ours = engat.score(predictions(tmp_path / "table" / f"{name}-seed0"), SMALL)
        acc, uf1 = TABLES[name][1]["casme2"]
        assert lines[name] == [name, *switches, f"{ours['UF1']:.4f}", f"{ours['Acc']:.4f}", f"{uf1:.4f}", f"{acc:.4f}"]
    assert text.splitlines()[0].split()[:3] == ["row", "attention", "edges"]


def test_ones_own_clip(sets, tmp_path, capsys):
    """A clip with its landmarks is classified and drawn; without them it is refused."""
    run, clip = tmp_path / "run", sets.casme2 / "Cropped" / "sub01" / "EP01_00f"
    assert train.main(words(sets, "casme2_smic", sets.both, run)) == 0
    assert evaluate.main([str(run / "best.pt"), str(clip), "--device", "cpu"]) == 3
    assert "ENGAT needs landmarks" in capsys.readouterr().err and not (run / "pictures").exists()
    assert evaluate.main([str(run / "best.pt"), str(clip), "--landmarks", f"{clip}.csv", "--device", "cpu"]) == 0
    assert {p.name for p in (run / "pictures").iterdir()} == {f"001-EP01_00f-{name}.png" for name in (
        "prediction", "attention-coordinates", "attention-patches", "landmarks", "intensity")}


# ---- folds side by side

side_by_side = pytest.mark.skipif(not hasattr(os, "fork"), reason="folds side by side need processes that are copied")


@side_by_side
def test_together_changes_nothing(sets, tmp_path, capsys):
    """One after the other, two and three at a time: the same predictions and the same weights, bit for bit."""
    for n in (1, 2, 3):
        assert train.main(words(sets, "casme2", sets.casme2, tmp_path / str(n), epochs=3, together=n)) == 0
    for n in ("2", "3"):
        for name in ("predictions.csv", *(f"fold-sub0{s}/log.csv" for s in (1, 2, 3))):
            assert (tmp_path / n / name).read_bytes() == (tmp_path / "1" / name).read_bytes()
        for s in (1, 2, 3):
            a, b = (torch.load(tmp_path / k / f"fold-sub0{s}" / "last.pt", weights_only=True)["model"] for k in ("1", n))
            assert all(torch.equal(a[name], b[name]) for name in a)


def fails_for(sample_id, what):
    """`prepare`, but one sample goes wrong in training."""
    def prepare(sample, cfg, rng):
        if rng is not None and sample.id == sample_id:
            what()
        return engat_prepare(sample, cfg, rng)
    engat_prepare = engat.prepare
    return prepare


def no_data():
    raise DataError("sub03/EP03_01f: the third clip is not to be read")


@side_by_side
@pytest.mark.parametrize("what, status, text", [
    (no_data, 3, "data: sub03/EP03_01f: the third clip is not to be read"),
    (lambda: os.kill(os.getpid(), signal.SIGKILL), 1, "a fold's process ended by itself")])
def test_a_fold_that_fails_stops_the_run(what, status, text, sets, tmp_path, monkeypatch, capsys):
    """The folds of sub01 and sub02 train on sub03's clip: both fail, the third is not begun, and the first message is said once."""
    monkeypatch.setattr(engat, "prepare", fails_for("sub03/EP03_01f", what))
    assert train.main(words(sets, "casme2", sets.casme2, tmp_path / "run", together=2)) == status
    err = [line for line in capsys.readouterr().err.splitlines() if line]
    assert len(err) == 1 and text in err[0]
    assert not (tmp_path / "run" / "fold-sub03").exists() and not (tmp_path / "run" / "predictions.csv").exists()


@side_by_side
def test_a_loss_that_is_no_number_stops_the_run(sets, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(engat, "loss", lambda out, *rest: {"total": out[0].sum() * math.nan})
    assert train.main(words(sets, "casme2", sets.casme2, tmp_path / "run", together=2)) == 1
    err = capsys.readouterr().err
    assert "the run failed: " in err and "the loss is nan" in err and len(err.splitlines()) == 1


@pytest.fixture(scope="module")
def whole(sets, tmp_path_factory):
    """A run that was never stopped."""
    run = tmp_path_factory.mktemp("whole") / "run"
    assert train.main(words(sets, "casme2", sets.casme2, run, epochs=40, together=2)) == 0
    return run


@side_by_side
@pytest.mark.parametrize("number, all_of_them", [(signal.SIGINT, True), (signal.SIGTERM, False)])
def test_a_stop_saves_and_resume_goes_on(number, all_of_them, sets, whole, tmp_path):
    """Two folds at work, a third ahead. Ctrl-C reaches every process, a plain kill the first alone: status 130 and each fold
    saved, where it was; going on ends as never having stopped."""
    run = tmp_path / "parts"
    process = subprocess.Popen([sys.executable, str(ROOT / "train.py"), *words(sets, "casme2", sets.casme2, run, epochs=40, together=2)],
                               cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
    try:
        until = time.monotonic() + 60
        while len(list(run.glob("fold-*"))) < 2 and process.poll() is None and time.monotonic() < until:
            time.sleep(.01)
        time.sleep(.2)
        (os.killpg if all_of_them else os.kill)(process.pid, number)
        out, err = process.communicate(timeout=60)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert process.returncode == 130 and f"python train.py --paper engat --resume {run}" in out
    assert err.strip() == "stopping after this step; once more ends at once"
    assert not (run / "predictions.csv").exists() and not (run / "fold-sub03").exists()
    begun = [torch.load(p, weights_only=True)["epoch"] for p in sorted(run.glob("fold-*/last.pt"))]
    assert len(begun) == 2 and all(epoch < 40 for epoch in begun)
    assert train.main(["--paper", "engat", "--resume", str(run), "--together", "2", "--device", "cpu"]) == 0
    for name in ("predictions.csv", *(f"fold-sub0{s}/log.csv" for s in (1, 2, 3))):
        assert (run / name).read_bytes() == (whole / name).read_bytes()


def test_landmarks_may_have_moved(sets, tmp_path, monkeypatch, capsys):
    """What only says where things lie may be new: landmark files and the cache, to evaluate and to go on; nothing else may."""
    data, marks, run = tmp_path / "data", tmp_path / "marks", tmp_path / "run"
    shutil.copytree(sets.casme2, data)
    for file in [*data.rglob("EP*.csv")]:
        (marks / file.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.move(file, marks / file.parent.name / file.name)
    words = ["--data", str(data), "--device", "cpu"]
    tiny = ["--dataset", "casme2", "--epochs", "2", "--steps", "1", "--size", "64", "--output-dir", str(run)]
    assert train.main(["--paper", "engat", *words, *tiny, "--landmarks", str(marks), "--cache", str(tmp_path / "one")]) == 0
    marks.rename(tmp_path / "moved")
    assert evaluate.main([str(run), *words]) == 3 and "no such folder" in capsys.readouterr().err
    assert evaluate.main([str(run), *words, "--landmarks", str(tmp_path / "moved")]) == 0
    again = ["--paper", "engat", "--resume", str(run), *words, "--landmarks", str(tmp_path / "moved"), "--cache", str(tmp_path / "two")]
    assert train.main([*again, "--k", ".5"]) == 2
    assert train.main(again) == 0 and [*(tmp_path / "two").glob("*.npz")]


def test_steps_that_end_with_an_epoch_can_go_on(sets, tmp_path, capsys):
    """--steps that ends just where an epoch does leaves a last.pt in every fold, however short the epochs are."""
    run = tmp_path / "run"
    words = ["--paper", "engat", "--data", str(sets.casme2), "--device", "cpu", "--together", "1"]
    tiny = ["--dataset", "casme2", "--epochs", "3", "--batch-size", "64", "--steps", "1", "--size", "64", "--cache", str(tmp_path / "kept")]
    assert train.main([*words, *tiny, "--output-dir", str(run)]) == 0
    assert len([*run.glob("fold-*/last.pt")]) == len([*run.glob("fold-*")]) >= 2
    assert train.main([*words, "--resume", str(run)]) == 0
    assert [len((fold / "log.csv").read_text().splitlines()) for fold in run.glob("fold-*")] == [1 + 3] * len([*run.glob("fold-*")])
    capsys.readouterr()
    torch.save({}, tmp_path / "x.pth")
    assert train.main([*words, *tiny, "--weights", str(tmp_path / "x.pth"), "--output-dir", str(tmp_path / "other")]) == 4
    assert "ENGAT starts from nothing" in capsys.readouterr().err


@pytest.mark.parametrize("classes, beside", [(THREE, ["smic", "samm"]), (FIVE, ["samm"])])
def test_all_that_lie_beside_train(classes, beside, monkeypatch, tmp_path):
    """engat (§4.2): with --oth every clip of every set beside this one trains and none is tested; SMIC has no five classes.

    Reading: "data samples from other databases of the same class" could be some of them, or those of SMIC and CASME II alone.
    """
    def stand_in(name):
        samples = [Sample(f"{name}/{s}{c}", MicroClip(None, 200.), {"expression": c}, f"{name}-{s}") for s in range(2) for c in range(len(classes))]
        return SimpleNamespace(find=lambda root: root, read=lambda root, cfg: Collection(samples, classes, []))

    (tmp_path / "CASME2").mkdir()
    monkeypatch.setattr(micro_sets, "SETS", {name: stand_in(name) for name in ("casme2", "smic", "samm")})
    cfg = dataclasses.replace(SMALL, classes=classes, oth=True, mm=False)
    found = micro_sets.reader("casme2")(tmp_path, cfg)
    extra = [f"{name}/{s}{c}" for name in beside for s in range(2) for c in range(len(classes))]
    assert [s.id for s in found.samples if s.part == "train"] == extra
    for fold in engat.DATASETS["casme2"].protocol(found.samples, 0.):
        assert {s.id for s in fold.train} >= set(extra) and not {s.id for s in fold.report} & set(extra)
    with pytest.raises(DataError, match="--oth goes with one data set"):
        micro_sets.crossed("casme2", "smic")(tmp_path, cfg)
