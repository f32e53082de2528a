"""Emotion-GCN as a whole: its settings and tables, what it trains and loads, and the commands on tiny data sets of drawn faces."""
import dataclasses
import json
import math
import re
import shutil
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from test_emotiongcn import graph_twin, rank_correlation
from test_face2nodes_model import drawn_files, heard, refused, sheet, text
from torch import nn, tensor
from torch.testing import assert_close as close

import evaluate
import train
from refnet.backbones.densenet import LAYOUTS, DenseNet
from refnet.backbones.weights import WeightsError
from refnet.data import drawn_stills
from refnet.data.drawn_faces import draw
from refnet.data.drawn_plan import EXPRESSIONS, plan as plan_faces
from refnet.data.protocols import as_delivered
from refnet.data.samples import Drawn, Sample
from refnet.models import emotiongcn
from refnet.pictures import Clip, write_picture
from refnet.training import distributed, plan, runs
from refnet.training.batches import Prepared, collate, shard, to_device
from refnet.training.count import multiply_adds, parameters
from refnet.training.distributed import Place
from refnet.training.job import Options
from refnet.training.predictions import predict, stacked

pytestmark = pytest.mark.usefixtures("one_thread")

SEVEN = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")
NINE = (*SEVEN, "valence", "arousal")
WORDS = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "valence", "arousal")
TINY = emotiongcn.Config(net="densenet_demo", size=32, stored=32, hidden=16)
ONLY, = emotiongcn.stages(TINY)
V, A = 7, 8                                                       # nodes


# ---- correlations of AffectNet: those of every expression with valence and with arousal

VALENCE = (-.3351314207, .8610853835, -.4530362739, -.0275675036, -.1217877160, -.1764132274, -.3837047712)
AROUSAL = (-.2841010888, .0144826813, -.4337333922, .3382243749, .2355786059, .1436836234, .4137570469)


def affectnet_correlations():
    c = torch.eye(9, dtype=torch.float64)
    for k, (v, a) in enumerate(zip(VALENCE, AROUSAL)):
        c[k, V] = c[V, k] = v
        c[k, A] = c[A, k] = a
    c[V, A] = c[A, V] = .0372991409
    return c


def graph(keeps, **listens):
    """A'' of p = 1 − keeps, typed: who listens to whom, each with an equal share; one that listens to none keeps all."""
    out = torch.zeros(9, 9)
    for i, name in enumerate(NINE):
        near = [NINE.index(word) for word in listens.get(name, "").split()]
        out[i, near] = (1 - keeps) / max(len(near), 1)
        out[i, i] = keeps if near else 1
    return out


OF_AFFECTNET = dict(                                              # |c| of .1 and more
    neutral="valence arousal", happiness="valence", sadness="valence arousal", surprise="arousal", fear="valence arousal",
    disgust="valence arousal", anger="valence arousal", valence="neutral happiness sadness fear disgust anger",
    arousal="neutral sadness surprise fear disgust anger")


def stat_of(d=50, C=7):
    """What a network is made of: correlations and word vectors; and the frequencies of a loss."""
    n = C + 2
    return {"c": affectnet_correlations()[-n:, -n:], "Z": torch.rand(n, d, generator=torch.Generator().manual_seed(9)) - .5,
            "f": torch.arange(C) + 1.}


def made(cfg, device, seed=0, d=50):
    torch.manual_seed(seed)
    return emotiongcn.network(cfg, stat_of(d), ONLY).to(device)


def faces(cfg, B=3, seed=1):
    """Coarse patterns, so that faces differ."""
    coarse = torch.rand(B, 3, cfg.size // 4, cfg.size // 4, generator=torch.Generator().manual_seed(seed))
    return coarse.repeat_interleave(4, 2).repeat_interleave(4, 3)


def labels(device):
    """Three faces: all known, valence and arousal not given, no expression."""
    return {"expression": tensor([0, 3, -1], device=device), "va": tensor([[.5, -.5], [-2., -2.], [-.25, .125]], device=device)}


# ---- the page's numbers

SAID = dict(classes=SEVEN, size=227, align=True, flip=True, pool="max", gcn=True, tasks="both", L=2, hidden=512, correlations="train",
            among=False, tau=.1, p=.7, transposed=False, regression="ccc", measure="Acc", adam=False, lr=1e-3, momentum=.9, epochs=10,
            batch_size=35)
OURS = dict(stored=227, turn=30., jitter=.2, hue=.05, net="densenet121", relu=False, slope=.2, glove="", between="", weighted="rare",
            unbiased=False, weight_decay=0., cosine=False, cache="runs/cache")
DEMO = dict(size=112, stored=112, turn=0., jitter=0., hue=0., net="densenet_demo", hidden=64, adam=True, lr=3e-3, cosine=True,
            batch_size=32)
MULTI = {"gcn": False, "pool": "mean", "relu": True}             # pooled as in the authors' code
SINGLE, AFFECT, MSE = MULTI | {"tasks": "expression"}, MULTI | {"tasks": "va"}, MULTI | {"regression": "mse"}
TABLE_1 = ((SINGLE, 64.37, 45.06), (MSE, 64.8, 43.1), (MULTI, 65.69, 43.33), ({}, 66.46, 48.92))      # AffectNet, Aff-Wild2
TABLE_2_TAU = ((53.09, 43.85, 53.71, 54.94), (65.29, 65.31, 66.46, 65.69), (65.77, 64.94, 64.74, 65.74))      # 1, 2, 3 layers
TABLE_2_P = ((49.6, 50.94, 52.57, 52.66, 52.86, 53.71, 59.31), (65.71, 66.14, 65.29, 66.29, 66.09, 66.46, 65.06),
             (65.29, 65.54, 65.89, 66.09, 65.54, 64.74, 65.83))
TABLE_3 = ((AFFECT, .761, .628, .416, .501), (MSE, .752, .572, .435, .378), (MULTI, .768, .651, .408, .481),
           ({}, .767, .649, .457, .514))                          # valence, arousal of AffectNet, then of Aff-Wild2
BREG = {"net": "bregnext50", "size": 112, "stored": 112}         # whose map is behind an activation already
TABLE_5 = ((SINGLE | {"relu": False}, 60.49), (MULTI | {"relu": False}, 61.14), ({}, 61.94))
WILD = {"measure": "F1+Acc", "align": False}


def job_of(dataset="affectnet", ablation="", preset="paper", options=Options(), **yours):
    return plan.settle(emotiongcn, "emotiongcn", dataset, preset, ablation, yours, "", options)


def test_settings_of_the_page():
    """emotiongcn (§III, §IV.B): every number that the page prints, and beside them those it leaves out."""
    fields = dataclasses.fields(emotiongcn.Config)
    assert {f.name: f.default for f in fields if not f.metadata["source"].startswith("ours")} == SAID
    assert {f.name: f.default for f in fields if f.metadata["source"].startswith("ours")} == OURS
    assert [(s.name, s.epochs, s.settings) for s in emotiongcn.stages(job_of().cfg)] == [("train", 10, {})]
    assert set(emotiongcn.DATASETS) == {"drawn", "affectnet", "affwild2"}
    for name, more in (("affectnet", {}), ("affwild2", WILD), ("drawn", {})):
        assert job_of(name).cfg == emotiongcn.Config(**more)
    assert job_of("affwild2", lr=.5).sources["measure"] == "§IV.A.2"


def test_the_demo_differs_where_it_says_so():
    """Every setting of the demo is another than the page's, and says that it is the demo's; all others are the page's."""
    demo = job_of("drawn", preset="demo")
    assert demo.cfg == emotiongcn.Config(**DEMO)
    assert all(getattr(emotiongcn.Config(), name) != value for name, value in DEMO.items())
    assert {name for name, source in demo.sources.items() if source.startswith("ours: demo")} == set(DEMO)
    assert emotiongcn.PRESETS["paper"] == {}


def test_names():
    """Expressions, then valence and arousal; a task that is not trained has none."""
    assert emotiongcn.Config().names == NINE
    assert emotiongcn.Config(gcn=False, tasks="expression").names == SEVEN
    assert emotiongcn.Config(gcn=False, tasks="va").names == ("valence", "arousal")
    assert emotiongcn.Config(classes=("b", "a")).names == ("b", "a", "valence", "arousal")


def check_rows(table, wanted, **more):
    """Settings, and what is printed for each data set, of every row of a table."""
    assert plan.rows_of(emotiongcn, table) == [f"{table}.{k}" for k in range(1, len(wanted) + 1)]
    for k, (settings, affectnet, affwild2) in enumerate(wanted, 1):
        row = emotiongcn.ABLATIONS[f"{table}.{k}"]
        assert (row.scores("affectnet"), row.scores("affwild2"), row.scores("drawn")) == (affectnet, affwild2, {})
        assert job_of(ablation=f"{table}.{k}").cfg == emotiongcn.Config(**more | settings)
        assert job_of("affwild2", ablation=f"{table}.{k}").cfg == emotiongcn.Config(**more | settings | WILD)
        assert row.pretrained is (None if more else True) and ("112 px" if more else "ImageNet") in row.note


def test_tables_are_those_printed():
    """emotiongcn (Tables I, II, III, V; §IV.E)   what each row sets, and what is printed of it: Acc in percent, CCC as it is."""
    check_rows("table1", [(settings, {"Acc": acc}, {"F1+Acc": wild}) for settings, acc, wild in TABLE_1])
    check_rows("table2tau", [({"L": L, "tau": tau}, {"Acc": acc}, {}) for L, accs in enumerate(TABLE_2_TAU, 1)
                             for tau, acc in zip((0., .05, .1, .15), accs, strict=True)])
    check_rows("table2p", [({"L": L, "p": p}, {"Acc": acc}, {}) for L, accs in enumerate(TABLE_2_P, 1)
                           for p, acc in zip((.2, .3, .4, .5, .6, .7, .8), accs, strict=True)])
    check_rows("table3", [(settings, {"CCC-V": v, "CCC-A": a}, {"CCC-V": wv, "CCC-A": wa}) for settings, v, a, wv, wa in TABLE_3])
    check_rows("table5", [(settings, {"Acc": acc}, {}) for settings, acc in TABLE_5], **BREG)
    row = emotiongcn.ABLATIONS["sectionIVE"]
    assert row.scores("affectnet") == {"Acc": 66.23} and row.scores("affwild2") == {} and row.pretrained is True
    assert job_of(ablation="sectionIVE").cfg == emotiongcn.Config(among=True, p=.5)
    assert job_of(ablation="sectionIVE").sources["p"] == "supplement, A"
    rows = Counter(name.split(".")[0] for name in emotiongcn.ABLATIONS)
    tables = {"table1": 4, "table2tau": 12, "table2p": 21, "table3": 4, "table5": 3}
    assert rows == tables | {"sectionIVE": 1, "as_code": 1, "as_code_multi": 1}


def test_the_authors_code():
    """What their code has otherwise; on Aff-Wild2 it weighs no class, and takes 112 pixels. No score is printed of it."""
    code, there = dict(unbiased=True, jitter=0., hue=0., weight_decay=1e-3), WILD | dict(weighted="even", size=112, stored=112)
    for row, more in (("as_code", dict(p=.5, transposed=True)), ("as_code_multi", MULTI)):
        assert job_of(ablation=row).cfg == emotiongcn.Config(**code, **more)
        assert job_of("affwild2", ablation=row).cfg == emotiongcn.Config(**code, **more, **there)
        assert all(emotiongcn.ABLATIONS[row].scores(name) == {} for name in emotiongcn.DATASETS)


def test_names_of_tables():
    for word, n in (("1", 4), ("2tau", 12), ("2p", 21), ("3", 4), ("5", 3)):
        rows = [f"table{word}.{k}" for k in range(1, n + 1)]
        assert plan.rows_of(emotiongcn, word) == plan.rows_of(emotiongcn, f"table{word}") == rows
    with pytest.raises(runs.UsageError, match="no --table 2(; did you mean [0-9a-z]+)?.; there are 1, 3, 2tau, 2p, 5"):
        plan.rows_of(emotiongcn, "2")


def as_asked(*words):
    """The runs that a command line asks for: name of the row → job."""
    args = train.parser_for(emotiongcn, "emotiongcn").parse_args(["--paper", "emotiongcn", *words])
    return {row: job for (row, _), (job, _) in plan.planned(emotiongcn, "emotiongcn", args, plan.options_of(args)).items()}


def lines_of(dataset, *words):
    """A table of made-up scores on real faces, the same in every row."""
    jobs = as_asked("--data", "somewhere", "--dataset", dataset, *words)
    return plan.table(jobs, {row: [{"Acc": .9, "F1+Acc": .8, "CCC-V": .7, "CCC-A": .6}] for row in jobs}).splitlines()


def last_cells(lines, n, cells=1):
    return [line.split()[-cells:] for line in lines[1:n + 1]]


@pytest.fixture(scope="module")
def begun(tmp_path_factory):
    """What the page's runs begin with: weights, and words of 300 numbers."""
    file = tmp_path_factory.mktemp("words") / "glove.300d.txt"
    glove(file, 300)
    return "--weights", "d121.pth", "--glove", str(file)


def test_printed_scores_stand_beside_the_papers_own_settings(begun):
    """Each data set its own, with --weights and --glove; never beside other settings, fewer steps, another start."""
    lines = lines_of("affectnet", "--table", "1", *begun)
    assert last_cells(lines, 4) == [["64.37"], ["64.80"], ["65.69"], ["66.46"]] and "Acc, printed" in lines[0]
    assert lines[5:7] == ["emotiongcn on affectnet, preset paper, seed 0", "ours start from d121.pth"] and "ImageNet" in lines[7]
    lines = lines_of("affwild2", "--table", "1", *begun)
    assert last_cells(lines, 4) == [["45.06"], ["43.10"], ["43.33"], ["48.92"]]
    lines = lines_of("affectnet", "--table", "3", *begun)
    assert last_cells(lines, 4, 4)[:2] == [["0.7000", "0.6000", "0.7610", "0.6280"], ["0.7000", "0.6000", "0.7520", "0.5720"]]
    assert last_cells(lines_of("affwild2", "--table", "3", *begun), 4, 2)[3] == ["0.4570", "0.5140"]
    lines = lines_of("affectnet", "--table", "2tau", *begun)
    assert last_cells(lines, 12) == [[f"{acc:.2f}"] for accs in TABLE_2_TAU for acc in accs] and "τ = 0.05 and 0.1" in lines[-1]
    for more in ((), ("--weights", "breg.pth"), ("--cache", "elsewhere")):
        assert last_cells(lines_of("affectnet", "--table", "5", *begun[2:], *more), 3) == [["60.49"], ["61.14"], ["61.94"]]

    assert "which are of pre-trained weights: --weights FILE" in lines_of("affectnet", "--table", "1", *begun[2:])[-1]
    for more in (("--lr", ".01"), ("--steps", "9"), ("--preset", "demo"), ("--p", ".5"), ("--weights", ""), ("--glove", "")):
        lines = lines_of("affectnet", "--table", "1", *begun, *more)
        assert "printed" not in lines[0] and "not to be compared with the paper's scores" in lines[-1]


def test_what_a_run_lacks(begun, tmp_path):
    """emotiongcn (§IV.B, §IV.E): 300 numbers a word, and faces of several emotions, come as files; else no score is printed."""
    lines = lines_of("affectnet", "--table", "1", "--weights", "d121.pth")
    assert "printed" not in lines[0] and "ours lack word vectors of 300 numbers (--glove glove.6B.300d.txt)" in lines[-1]
    assert emotiongcn.Config(gcn=False).lacks == emotiongcn.Config(glove=begun[3]).lacks == ""
    glove(tmp_path / "glove.txt", 50)
    assert emotiongcn.Config(glove=str(tmp_path / "glove.txt")).lacks == emotiongcn.Config().lacks
    assert "--glove" in emotiongcn.Config().lacks and "--between" not in emotiongcn.Config().lacks
    assert "--between FILE" in emotiongcn.Config(glove=begun[3], among=True).lacks
    row = ("--data", "somewhere", "--dataset", "affectnet", "--ablation", "sectionIVE", *begun)
    for more, printed in (((), False), (("--between", "emotic.csv"), True)):
        assert plan.as_printed(as_asked(*row, *more)["sectionIVE"]) is printed


# ---- wrong settings

WRONG = [*((name, 0, f"{name} must be 1 or more; got 0") for name in ("stored", "L", "hidden", "epochs", "batch_size")),
         ("size", 31, "size must be 32 or more, as the network halves a picture five times; got 31"),
         *((name, v, f"{name} must be 0 or more; got {v}")
           for name in ("slope", "lr", "weight_decay") for v in (-.1, math.nan, math.inf)),
         *((name, v, f"{name} must be between 0 and {most}; got {v}")
           for name, most in (("turn", 180), ("jitter", 1), ("hue", .5), ("tau", 1), ("p", 1), ("momentum", .999))
           for v in (-.1, most + .001, math.nan)),
         ("net", "vgg", "net is one of densenet121, .*bregnext50, .*densenet_demo; got vgg"),
         ("pool", "sum", "pool is one of max, mean; got sum"), ("tasks", "all", "tasks is one of both, expression, va; got all"),
         ("correlations", "emotic", "correlations is one of train, affectnet; got emotic"),
         ("weighted", "common", "weighted is one of rare, printed, even; got common"),
         ("regression", "mae", "regression is one of ccc, mse; got mae"),
         ("measure", "F1", r"measure is one of Acc, F1\+Acc; got F1"),
         ("classes", ("a",), "classes must be two names or more, each once; got a"),
         ("classes", ("a", "b", "a"), "classes must be two names or more, each once; got a, b, a"),
         ("between", "a.csv", "--between goes with --among"),
         *(("tasks", tasks, f"the graph links .* --no-gcn with --tasks {tasks}") for tasks in ("expression", "va"))]


@pytest.mark.parametrize("name, value, said", WRONG)
def test_config_refuses(name, value, said):
    with pytest.raises(ValueError, match=said):
        emotiongcn.Config(**{name: value})


def test_config_refuses_what_does_not_go_together():
    """AffectNet's correlations know seven expressions, in any order and some of them."""
    with pytest.raises(ValueError, match="correlations are of neutral, .*anger; got neutral, contempt: take --correlations train"):
        emotiongcn.Config(correlations="affectnet", classes=("neutral", "contempt"))
    assert emotiongcn.Config(correlations="affectnet", classes=("fear", "neutral")).names == ("fear", "neutral", *NINE[7:])
    with pytest.raises(ValueError, match="--among with the graph"):
        emotiongcn.Config(gcn=False, among=True)
    assert emotiongcn.Config(among=True, between="a.csv").between == "a.csv"
    for edge in (dict(tau=0., p=0., hue=0., jitter=0., turn=0., slope=0.), dict(tau=1., p=1., hue=.5, jitter=1., turn=180.)):
        assert emotiongcn.Config(**edge).p == edge["p"]


@pytest.mark.parametrize("words, said", [
    (("--tasks", "va"), "--no-gcn with --tasks va"), (("--p", "1.5"), "p must be between 0 and 1; got 1.5"),
    (("--net", "vgg"), "net is one of"), (("--dataset", "affwild2"), "--dataset affwild2 needs --data DIR")])
def test_refused_at_the_command_line(words, said, capsys):
    assert said in refused(train.main, ["--paper", "emotiongcn", *words], 2, capsys)


# ---- how large

def densenet121_by_hand(side):
    """Multiply-adds of the convolutions, one after the other."""
    def halved(s):
        return (s + 1) // 2

    s = halved(side)
    total, s, c = s * s * 64 * 3 * 49, halved(s), 64
    for n, layers in enumerate((6, 12, 24, 16)):
        for _ in range(layers):
            total, c = total + s * s * (c * 128 + 128 * 9 * 32), c + 32
        if n < 3:
            total, c, s = total + s * s * c * (c // 2), c // 2, s // 2
    return total


def glove(path, d, seed=3):
    """A file of the nine words among others, d numbers each; → the numbers (9, d)"""
    Z = (torch.rand(9, d, generator=torch.Generator().manual_seed(seed)) - .5).double().mul(1000).round().div(1000)
    rows = [f"{word} {' '.join(f'{v:.3f}' for v in row)}" for word, row in zip(WORDS, Z.tolist())]
    text(path, f"the {' '.join(['0.5'] * d)}", *rows[::-1])
    return Z.float()


def test_count(few, tmp_path):
    """--count --preset paper with 300 numbers a word: 6,953,856 + 300 · 512 + 512 · 1024 parameters, 2.879 G multiply-adds at 227 px.

    The graph: 9 · 300 · 512 + 9 · 9 · 512 + 9 · 512 · 1024 + 9 · 9 · 1024; then nine products of 1024.
    """
    glove(tmp_path / "glove.300d.txt", 300)
    out = heard(train.main, ["--paper", "emotiongcn", "--count", "--preset", "paper", "--device", "cpu",
                             "--glove", tmp_path / "glove.300d.txt"])
    rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.startswith("  ") and "," in line}
    assert [rows[name][:2] for name in ("features", "gcn", "total")] == [[n, n] for n in ("6,953,856", "677,888", "7,631,744")]
    convolutions = densenet121_by_hand(227)
    assert f"{convolutions / 1e9:.3f}" == "2.879" and rows["features"][2] == f"{convolutions:,}"
    assert rows["gcn"][2] == f"{1_382_400 + 41_472 + 4_718_592 + 82_944:,}"
    assert rows["total"][2] == f"{convolutions + 6_225_408 + 9 * 1024:,}"
    assert "for one sample of (3, 227, 227)\n" in out and "printed" not in out


@pytest.mark.parametrize("settings, wanted", [
    ({}, 7_631_744), (MULTI, 6_963_081), (SINGLE, 6_961_031), (AFFECT, 6_955_906),
    ({"net": "bregnext50"}, 3_071_664 + 300 * 512 + 512 * 128), ({"L": 1}, 6_953_856 + 300 * 1024),
    ({"L": 3}, 6_953_856 + 300 * 512 + 512 * 512 + 512 * 1024)])
def test_parameters(settings, wanted):
    """All are trained; a linear layer of 1024 has 1025 for each of nine, seven or two; graph and words are none."""
    model = made(emotiongcn.Config(**settings), torch.device("cpu"), d=300)
    assert parameters(model) == (wanted, wanted)


# ---- the network

def test_one_picture_says_the_same_alone_and_among_others(device):
    model, x = made(TINY, device).double().eval(), faces(TINY).double().to(device)
    with torch.no_grad():
        wanted = model(x)
        assert wanted.shape == (3, 9) and (wanted[0] - wanted[1]).abs().max() > 1e-3
        close(model(x[1:2]), wanted[1:2], atol=1e-9, rtol=1e-9)
        close(model(x.flip(0)), wanted.flip(0), atol=1e-9, rtol=1e-9)


@pytest.mark.parametrize("settings", [{}, MSE, SINGLE, AFFECT, {"unbiased": True}])
def test_a_batch_of_one_trains(settings, device):
    """One face has no spread: its concordance is 0, and what it teaches is finite."""
    cfg = dataclasses.replace(TINY, size=64, **settings)
    model, one = made(cfg, device).train(), {"expression": tensor([4], device=device), "va": tensor([[.5, -.25]], device=device)}
    stat = {name: t.to(device) for name, t in stat_of().items()}
    terms = emotiongcn.loss(model(faces(cfg, B=1).to(device)), one, stat, cfg, ONLY)
    terms["total"].backward()
    assert list(terms) == ["total", *["L_c"] * (cfg.tasks != "va"), *["L_r"] * (cfg.tasks != "expression")]
    if cfg.regression == "ccc" and "L_r" in terms:
        close(terms["L_r"], torch.ones_like(terms["L_r"]))
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


@pytest.mark.parametrize("net, side, places", [("densenet_demo", 96, 3), ("bregnext50", 32, 8), ("bregnext50_code", 36, 9),
                                               ("densenet169", 32, 1)])
def test_other_backbones(net, side, places, device):
    """As wide classifiers as the backbone has channels, whatever the size of its map."""
    model = made(dataclasses.replace(TINY, net=net, size=side), device).eval()
    with torch.no_grad():
        x = faces(SimpleNamespace(size=side), B=2).to(device)
        maps = model.features(x)
        assert maps.shape == (2, model.features.channels, places, places)
        assert model.W().shape == (9, maps.shape[1]) and model.vector(x).shape == maps.shape[:2] and model(x).shape == (2, 9)


@pytest.mark.parametrize("switches", [{}, MULTI])
def test_compiles_exports_and_runs_in_half_precision(switches, device):
    """One whole graph, traced and exported; in bfloat16 the loss is finite, and every weight has a finite gradient."""
    cfg = dataclasses.replace(TINY, size=64, **switches)
    torch.compiler.reset()
    model, x = made(cfg, device).eval(), faces(cfg).to(device)
    with torch.no_grad():
        wanted = model(x)
        for way in (torch.compile(model, fullgraph=True, backend="aot_eager"), torch.export.export(model, (x,)).module()):
            close(way(x), wanted, atol=1e-5, rtol=1e-4)
        with torch.autocast(device.type, torch.bfloat16):
            close(model(x).float(), wanted, atol=.1 * wanted.abs().max().item(), rtol=0)
        close(model(x), wanted)                                   # nothing of it stays behind
    with torch.autocast(device.type, torch.bfloat16):
        out = model.train()(x)
    total = emotiongcn.loss(out.float(), labels(device), {"f": torch.ones(7, device=device)}, cfg, ONLY)["total"]
    total.backward()
    assert total.isfinite() and out.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_compiled_it_trains_alike(device):
    """One step, compiled and not: the same weights; and evaluation after it uses the new ones."""
    torch.compiler.reset()
    one, other, x = made(TINY, device), made(TINY, device), faces(TINY).to(device)
    stat = {"f": torch.ones(7, device=device)}
    for model, way in ((one, one), (other, torch.compile(other, fullgraph=True, backend="aot_eager"))):
        sgd, _ = emotiongcn.optimizer(model, TINY, 1)
        with torch.no_grad():
            way.eval()(x)
        emotiongcn.loss(way.train()(x), labels(device), stat, TINY, ONLY)["total"].backward()
        sgd.step()
    with torch.no_grad():
        close(other.eval()(x), one.eval()(x), atol=1e-4, rtol=1e-3)
        close(other.W(), one.written(), atol=1e-5, rtol=1e-4)


def still(k, va=(0., 0.), side=32):
    picture = torch.randint(0, 256, (1, 3, side, side), generator=torch.Generator().manual_seed(k), dtype=torch.uint8)
    return Sample(str(k), Drawn(picture), {"expression": k % 7, "va": va})


def test_W_is_written_once(device):
    """Over the batches of an evaluation once, in training once a step: the graph does not depend on the picture."""
    cfg = dataclasses.replace(TINY, batch_size=2)
    model, samples, calls = made(cfg, device), [still(k) for k in range(7)], []
    model.gcn[0].register_forward_hook(lambda *_: calls.append(1))
    rows = predict(emotiongcn, model, samples, cfg, Place(device))
    assert len(rows["sample"]) == 7 and len(calls) == 1
    model.train()
    for n in range(2, 5):
        out = model(faces(cfg).to(device))
        assert len(calls) == n
        out.sum().backward()


def now(model, cfg, device, x):
    """What a network that remembers nothing answers with the same weights."""
    fresh = made(cfg, device, seed=77)
    fresh.load_state_dict(model.state_dict())
    return fresh.eval()(x)


def test_W_is_never_stale(device):
    """It follows steps of the optimizer, in training mode or not, other weights, another graph, another dtype."""
    model, x = made(TINY, device).eval(), faces(TINY).to(device)
    stat, answers = {"f": torch.ones(7, device=device)}, []

    def look():
        with torch.no_grad():
            out = model(x)
            close(out, now(model, TINY, device, x), atol=1e-5, rtol=1e-5)
        assert all((out - before).abs().max() > 1e-4 for before in answers)
        answers.append(out)

    look()
    for mode in (True, False):
        sgd = torch.optim.SGD(model.gcn.parameters(), lr=.5)
        emotiongcn.loss(model.train(mode)(x), labels(device), stat, TINY, ONLY)["total"].backward()
        sgd.step()
        model.eval()
        look()
    model.load_state_dict(made(TINY, device, seed=5).state_dict())
    look()
    with torch.no_grad():
        model.A.copy_(torch.eye(9))
    look()
    with torch.no_grad():
        before = model.W()
        assert before.dtype == torch.float32 and model.double()(x.double()).dtype == model.W().dtype == torch.float64
        close(model.W().float(), before, atol=1e-5, rtol=1e-5)
        assert model.float()(x).dtype == model.W().dtype == torch.float32


def test_gradients_reach_every_weight(device):
    """Through one step in float64: every weight of backbone and graph, none of the graph itself."""
    model, stat = made(TINY, device).double().train(), {"f": torch.ones(7, dtype=torch.float64, device=device)}
    emotiongcn.loss(model(faces(TINY).double().to(device)), labels(device), stat, TINY, ONLY)["total"].backward()
    slopes = {name: p.grad.abs().max().item() for name, p in model.named_parameters()}
    assert all(1e-9 < slope < 1e9 for slope in slopes.values()) and {"Z", "A"} & set(slopes) == set()


# ---- how it learns, and how it is scored

def test_unknown_labels_teach_nothing(device):
    """Of five faces one has no expression, one no valence and arousal: each term is that of the other four."""
    out = torch.randn(5, 9, generator=torch.Generator().manual_seed(0)).to(device).requires_grad_()
    stat = {"f": tensor([9., 1., 2., 3., 4., 5., 6.], device=device)}
    y, va = [2, -1, 5, 0, 1], [[.5, .25], [-.5, 0.], [-2., -2.], [1., -1.], [-.25, .5]]
    whole = emotiongcn.loss(out, {"expression": tensor(y, device=device), "va": tensor(va, device=device)}, stat, TINY, ONLY)
    for term, drop, columns in (("L_c", 1, slice(0, 7)), ("L_r", 2, slice(7, 9))):
        keep = [k for k in range(5) if k != drop]
        some = {"expression": tensor([y[k] for k in keep], device=device), "va": tensor([va[k] for k in keep], device=device)}
        close(whole[term], emotiongcn.loss(out[keep], some, stat, TINY, ONLY)[term])
        slope, = torch.autograd.grad(whole[term], out, retain_graph=True)
        assert (slope[drop] == 0).all() and (slope[keep][:, columns] != 0).all()
    close(whole["total"], whole["L_c"] + whole["L_r"])


@pytest.mark.parametrize("regression", ["ccc", "mse"])
def test_every_score_has_its_own_label(regression, device):
    """Other labels of arousal change what arousal is taught, and nothing else; of valence likewise."""
    cfg, stat = dataclasses.replace(TINY, regression=regression), {"f": torch.ones(7, device=device)}
    out = torch.randn(5, 9, generator=torch.Generator().manual_seed(0)).to(device).requires_grad_()
    y, va = tensor([2, 4, 5, 0, 1], device=device), tensor([[.5, .25], [-.5, 0.], [0., .75], [1., -1.], [-.25, .5]], device=device)
    slopes = []
    for changed in ([0., 0.], [.5, 0.], [0., .5]):
        shown = va + tensor(changed, device=device) * tensor([[1.], [-1.], [-1.], [0.], [.5]], device=device)
        total = emotiongcn.loss(out, {"expression": y, "va": shown}, stat, cfg, ONLY)["total"]
        slopes.append(torch.autograd.grad(total, out)[0])
    plain, valence, arousal = slopes
    for other, column in ((valence, 7), (arousal, 8)):
        assert (other != plain).any(0).nonzero().flatten().tolist() == [column]


def test_descent_with_momentum_by_hand(device):
    """emotiongcn (§IV.B): w = 1, no slope but a decay of ½ w: .5, then .9 · .5 + .5 · .95 = .925; at a rate of .1, .95 and .8575."""
    cfg = dataclasses.replace(TINY, lr=.1, weight_decay=.5)
    model = made(cfg, device)
    sgd, schedule = emotiongcn.optimizer(model, cfg, 20)
    p = model.gcn[0].W
    assert type(sgd) is torch.optim.SGD and len(sgd.param_groups[0]["params"]) == len(list(model.parameters()))
    nn.init.ones_(p)
    for q in model.parameters():
        q.grad = torch.zeros_like(q)
    for wanted in (.95, .8575):
        sgd.step(), schedule.step()
        close(p.detach(), torch.full_like(p, wanted))
        assert sgd.param_groups[0]["lr"] == .1
    adam, _ = emotiongcn.optimizer(model, dataclasses.replace(cfg, adam=True, momentum=.8), 20)
    group, = adam.param_groups
    assert type(adam) is torch.optim.Adam and group["betas"] == (.8, .999) and group["weight_decay"] == .5 and group["lr"] == .1


def test_the_rate_warms_up_and_falls(device):
    """Of 20 steps two are warming up: ½ in the first, then (1 + cos(π n / 20)) / 2, ½ again after ten, 0 after all."""
    cfg = dataclasses.replace(TINY, lr=1., cosine=True)
    sgd, schedule = emotiongcn.optimizer(made(cfg, device), cfg, 20)
    used = []
    for _ in range(21):
        used.append(sgd.param_groups[0]["lr"])
        sgd.step(), schedule.step()
    assert used == pytest.approx([.5, *((1 + math.cos(math.pi * n / 20)) / 2 for n in range(1, 21))])
    assert used[10] == pytest.approx(.5) and used[20] == pytest.approx(0, abs=1e-12)


def test_predict_by_hand(device):
    """Odds 1 : 3 are .25 and .75; valence and arousal are the scores as they are."""
    cfg = dataclasses.replace(TINY, classes=("a", "b"))
    out = tensor([[0., math.log(3), .5, -1.25], [1., 1., 0., 2.]], device=device)
    got = emotiongcn.predict(out, cfg)
    assert list(got) == ["predicted", "p_a", "p_b", "predicted_valence", "predicted_arousal"]
    assert got["predicted"].tolist() == [1, 0]
    close(got["p_b"], tensor([.75, .5], device=device))
    assert got["predicted_valence"].tolist() == [.5, 0.] and got["predicted_arousal"].tolist() == [-1.25, 2.]
    some = emotiongcn.predict(out[:, :2], dataclasses.replace(cfg, gcn=False, tasks="expression"))
    assert list(some) == ["predicted", "p_a", "p_b"]
    others = emotiongcn.predict(out[:, 2:], dataclasses.replace(cfg, gcn=False, tasks="va"))
    assert list(others) == ["predicted_valence", "predicted_arousal"] and others["predicted_arousal"].tolist() == [-1.25, 2.]


def test_score_by_hand(device):
    """emotiongcn (§IV.A): of a two of three are found, b's only one, c is not there: Acc (⅔ + 1) / 2, though ¾ of all are right.

    F1 of a 2 · 2 / (3 + 2), of b 2 · 1 / (1 + 2): .8 and ⅔, mean 11/15; .67 · 11/15 + .33 · 5/6 = .766333.
    Valence 0, ½ for 0, 1: 2 · ⅛ / (1/16 + ¼ + 1/16) = ⅔; arousal 1, 0 for 0, 1: −2 · ¼ / (¼ + ¼) = −1. What is not given is out.
    """
    cfg = dataclasses.replace(TINY, classes=("a", "b", "c"))
    called = {"target": tensor([0, 0, 0, 1, -1]), "predicted": tensor([0, 0, 1, 1, 2])}
    felt = {"target_valence": tensor([0., 1., -2., -2., -2.]), "predicted_valence": tensor([0., .5, 9., 0., 1.]),
            "target_arousal": tensor([0., 1., -2., -2., -2.]), "predicted_arousal": tensor([1., 0., 7., 0., 1.])}
    called, felt = ({name: t.to(device) for name, t in rows.items()} for rows in (called, felt))
    both = emotiongcn.score(called | felt, cfg)
    assert list(both) == ["Acc", "F1+Acc", "CCC-V", "CCC-A"]
    assert list(both.values()) == pytest.approx([5 / 6, .67 * 11 / 15 + .33 * 5 / 6, 2 / 3, -1.])
    wild = emotiongcn.score(called | felt, dataclasses.replace(cfg, measure="F1+Acc"))
    assert list(wild) == ["F1+Acc", "Acc", "CCC-V", "CCC-A"] and wild == both
    assert emotiongcn.score(called, cfg) == {name: both[name] for name in ("Acc", "F1+Acc")}
    alone = emotiongcn.score(felt, dataclasses.replace(cfg, gcn=False, tasks="va"))
    assert list(alone) == ["CCC", "CCC-V", "CCC-A"] and alone["CCC"] == pytest.approx(-1 / 6)
    unknown = {name: torch.full((5,), -2., device=device) if name.startswith("target") else t for name, t in felt.items()}
    assert all(math.isnan(v) for v in emotiongcn.score(unknown, cfg).values())


# ---- what training and testing see

PLAIN = dataclasses.replace(TINY, flip=False, turn=0., jitter=0., hue=0.)


def batch_of(samples, cfg, keys, device):
    """The network's input for keys (epoch, index), epoch None in testing."""
    prepared = Prepared(samples, emotiongcn.prepare, cfg, seed=5)
    return emotiongcn.batched(to_device(collate([prepared[key] for key in keys]), device)[0], cfg)[0]


def test_in_testing_a_picture_is_itself(device):
    """float32 in [0, 1], whatever is set for training; in training, too, where nothing is varied."""
    samples = [still(k) for k in range(3)]
    wanted = torch.cat([s.clip.frames for s in samples]).to(device).float() / 255
    assert torch.equal(batch_of(samples, TINY, [(None, k) for k in range(3)], device), wanted)
    assert torch.equal(batch_of(samples, PLAIN, [(4, k) for k in range(3)], device), wanted)
    assert emotiongcn.prepare(samples[0], TINY, None)[0].dtype == torch.uint8


def test_enlarged_and_made_smaller_by_hand(device):
    """0 1 to four pixels: 0 ¼ ¾ 1. Four to two, each the mean of what lies under a triangle twice as wide: 3/7 and 1/7."""
    two, four = torch.zeros(1, 3, 2, 2, dtype=torch.uint8), torch.zeros(1, 3, 4, 4, dtype=torch.uint8)
    two[..., 1], four[..., 1] = 255, 255
    for picture, stored, size, wanted in ((two, 2, 4, [0., .25, .75, 1.]), (four, 4, 2, [3 / 7, 1 / 7])):
        x, = emotiongcn.batched((picture.to(device).float() / 255,), SimpleNamespace(stored=stored, size=size))
        close(x, tensor(wanted, device=device).expand(1, 3, size, size))


def test_six_augmentations(device):
    """emotiongcn (§IV.B): flip, rotation, brightness, contrast, hue and saturation, each sample's own, each epoch's own."""
    face = torch.zeros(1, 3, 32, 32, dtype=torch.uint8)
    face[:, 0, :, :16], face[:, 1, 6:14], face[:, 2, :, 20:24] = 200, 90, 60
    samples, keys = [Sample(str(k), Drawn(face), {"expression": 0, "va": (0., 0.)}) for k in range(60)], [(1, k) for k in range(60)]
    plain = face.to(device).float() / 255

    flipped = batch_of(samples, dataclasses.replace(PLAIN, flip=True), keys, device)
    turned = (flipped == plain.flip(-1)).flatten(1).all(1)
    assert 15 < turned.sum() < 45 and torch.equal(flipped[~turned], plain.expand(int((~turned).sum()), -1, -1, -1))

    rotated = batch_of(samples, dataclasses.replace(PLAIN, turn=90.), keys, device)
    far = (rotated - plain).abs().mean((1, 2, 3))
    assert (far > .01).sum() > 50 and (far.unique().numel() > 50)
    slightly = batch_of(samples, dataclasses.replace(PLAIN, turn=1.), keys, device)
    assert ((slightly - plain).abs().mean((1, 2, 3)) < far).sum() > 50

    grey = [Sample(str(k), Drawn(torch.full_like(face, 128)), {"expression": 0, "va": (0., 0.)}) for k in range(60)]
    shade = batch_of(grey, dataclasses.replace(PLAIN, jitter=.2), keys, device)[:, 0, 0, 0] / (128 / 255)
    assert .8 - 1e-5 < shade.min() < .85 and 1.15 < shade.max() < 1.2 + 1e-5
    hued = batch_of(samples, dataclasses.replace(PLAIN, hue=.05), keys, device)
    close(hued.amax(1), plain.amax(1).expand(60, -1, -1))         # value and saturation stay, the colour does not
    close(hued.amin(1), plain.amin(1).expand(60, -1, -1))
    assert ((hued - plain).abs().amax((1, 2, 3)) > .01).sum() > 40
    assert torch.equal(batch_of(grey, dataclasses.replace(PLAIN, hue=.05), keys, device), batch_of(grey, PLAIN, keys, device))

    every = dataclasses.replace(TINY, turn=30., jitter=.2, hue=.05)
    one, later = batch_of(samples, every, keys[:6], device), batch_of(samples, every, [(2, k) for k in range(6)], device)
    close(batch_of(samples, every, keys[3:5], device), one[3:5], atol=1e-6, rtol=0)
    assert all((one[k] - later[k]).abs().max() > .01 and (one[k] - one[k - 1]).abs().max() > .01 for k in range(6))


# ---- two processes

WAYS = {"page": {}, "printed": {"weighted": "printed"}, "code": {"unbiased": True, "weighted": "even"}, "mse": MSE,
        "expressions": SINGLE, "affect": AFFECT}
Y = (0, 3, -1, 1, 6, 0, 2, 4, 0, 0, 5, -1, 1, 1)                  # two batches of seven; the first three are one process's
SHOWN = ((.5, -.5), (-2., -2.), (-2., -2.), (-.25, .75), (.1, .2), (-2., -2.), (-.9, .4)) * 2


class Unnormalised(nn.Module):
    """A backbone in which no face depends on the others."""
    channels = 5

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 4, 4)

    def forward(self, x):
        return self.conv(x)


def learned(place):
    """Losses, and the gradients of each step, in float64: two batches of seven, shared out among the processes."""
    emotiongcn.NETS["unnormalised"] = Unnormalised
    found = {}
    x = torch.rand(14, 3, 8, 8, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    stat = {name: t.double() for name, t in stat_of().items()}
    for way, settings in WAYS.items():
        cfg = dataclasses.replace(TINY, net="unnormalised", lr=.05, **settings)
        model = made(cfg, place.device).double()
        net, (sgd, _) = distributed.spread(model, place), emotiongcn.optimizer(model, cfg, 2)
        found[way] = []
        for batch in (list(range(7)), list(range(7, 14))):
            sizes = [len(shard(batch, rank, place.world)) for rank in range(place.world)]
            mine = shard(batch, place.rank, place.world)
            target = {"expression": tensor([Y[k] for k in mine]), "va": tensor([SHOWN[k] for k in mine], dtype=torch.float64)}
            out, target = distributed.gathered((net(x[mine]), target), sizes, place)
            total = emotiongcn.loss(out, target, stat, cfg, ONLY)["total"]
            sgd.zero_grad()
            total.backward()
            found[way] += [total.detach(), *(p.grad.clone() for p in model.parameters())]
            sgd.step()
    return found


def one_of_two(rank, folder):
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    torch.save(learned(Place(torch.device("cpu"), rank, 2)), f"{folder}/{rank}.pt")
    distributed.finish()


def test_two_processes_equal_one(tmp_path, monkeypatch):
    """The weights of (8) and the moments of (11) are those of the whole batch, of shards of 3 and 4: losses and gradients agree.

    Of the first three faces one alone has valence and arousal; the mean of two shards' own losses is another.
    """
    monkeypatch.setattr(emotiongcn, "NETS", dict(emotiongcn.NETS))
    torch.multiprocessing.start_processes(one_of_two, (str(tmp_path),), 2, start_method="spawn")
    alone, both = learned(Place(torch.device("cpu"))), [torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in (0, 1)]
    close(both[0], both[1], rtol=0, atol=0)
    close(both[0], alone, rtol=1e-10, atol=1e-12)
    assert all((t != 0).any() for steps in alone.values() for t in steps)

    out, target = torch.randn(7, 9), {"expression": tensor(Y[:7]), "va": tensor(SHOWN[:7])}
    whole, *parts = (emotiongcn.loss(out[some], {name: t[some] for name, t in target.items()}, stat_of(), TINY, ONLY)
                     for some in (slice(0, 7), slice(0, 3), slice(3, 7)))
    assert all(abs((parts[0][term] + parts[1][term]) / 2 - whole[term]) > 1e-3 for term in ("L_c", "L_r"))


# ---- tiny data sets on disk

SMALL = ("--preset", "demo", "--size", "32", "--stored", "32", "--hidden", "16", "--batch-size", "8", "--epochs", "1",
         "--workers", "0", "--device", "cpu")
LISTS, PICTURES = "Manually_Annotated_file_lists", "Manually_Annotated_Images"
HEADER = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
SHOWS = {"neutral": (0., -.2), "happiness": (.8, .3), "sadness": (-.7, -.6), "surprise": (.2, .7), "fear": (-.4, .6),
         "disgust": (-.5, .1), "anger": (-.3, .5)}
EXTRA = ("neutral", "neutral", "happiness", "neutral", "happiness", "surprise", "anger")          # valence and arousal not given
WILD_HEADER = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise,Other"
WILD_NAMES = ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise")
VIDEOS = {"1-30-1280x720": "Train_Set", "video2_left": "Train_Set", "video2_right": "Train_Set", "video9": "Validation_Set"}


@pytest.fixture(scope="module")
def portraits():
    """Drawn faces of 48 pixels with their landmarks: name → six of each."""
    video, points = draw(plan_faces(42, 1, 5, 6, 7, pose=.2, occlusion=0.), 48)
    shown = (video[:, 0] * 255).round().byte()
    return {name: [(shown[n], points[n, 0]) for n in range(e, 42, 7)] for e, name in enumerate(EXPRESSIONS[:7])}


def listed():
    """AffectNet's rows: (part, number, class, valence and arousal or None); in both parts each class once with them, some without."""
    for part, shift in (("train", 0.), ("report", .15)):
        n = 0
        for name, (v, a) in SHOWS.items():
            yield part, (n := n + 1), name, (-v + shift, a - shift) if shift else (v, a)
        for name in EXTRA:
            yield part, (n := n + 1), name, None


def scattered():
    """Likewise, at random: four of each class to train with, two to test."""
    draws = torch.Generator().manual_seed(4)
    for part, times in (("train", 4), ("report", 2)):
        for n, name in enumerate(SEVEN * times, 1):
            va = (2 * torch.rand(2, generator=draws) - 1).mul(100).round().div(100)
            yield part, n, name, None if n % 9 == 4 else tuple(va.tolist())


def affectnet_old(root, portraits, rows=None):
    """validation.csv without its header, as in some copies; contempt and what is no expression, with no picture at all."""
    lists = {"train": [HEADER], "report": []}
    for part, n, name, va in rows or listed():
        p, points = portraits[name][n % 6]
        marks = ";".join(f"{v:.2f}" for v in (points + tensor([20., 9.])).flatten().tolist())
        v, a = va or (-2, -2)
        lists[part].append(f"{n % 2}/{part}{n}.jpg,20,9,48,48,{'' if n == 3 else marks},{SEVEN.index(name)},{v},{a}")
        write_picture(sheet(p), root / PICTURES / str(n % 2) / f"{part}{n}.jpg")
    for part, codes in (("train", (7, 8, 9, 10, 10)), ("report", (7,))):
        lists[part] += [f"9/none{k}.jpg,0,0,9,9,,{code},-2,-2" for k, code in enumerate(codes)]
    for part, stem in (("train", "training"), ("report", "validation")):
        text(root / LISTS / f"{stem}.csv", *lists[part])
    return root


def affectnet_new(root, portraits):
    for part, n, name, va in scattered():
        p, points = portraits[name][n % 6]
        folder = root / {"train": "train_set", "report": "val_set"}[part]
        write_picture(sheet(p), folder / "images" / f"{n}.jpg")
        (folder / "annotations").mkdir(exist_ok=True)
        marks, (v, a) = [f"{v:.2f}" for v in (points + tensor([20., 9.])).flatten().tolist()], va or (-2, -2)
        for kind, value in (("exp", str(SEVEN.index(name))), ("val", str(v)), ("aro", str(a)), ("lnd", marks)):
            np.save(folder / "annotations" / f"{n}_{kind}.npy", np.array(value))
    np.save(root / "train_set" / "annotations" / "999_exp.npy", np.array("9"))
    return root


def filmed():
    """Aff-Wild2's frames that count: (video, number, class, valence and arousal): the first seven of each video."""
    draws = torch.Generator().manual_seed(6)
    for video in VIDEOS:
        for k, name in enumerate(WILD_NAMES, 1):
            yield video, k, name, tuple((2 * torch.rand(2, generator=draws) - 1).mul(1000).round().div(1000).tolist())


def affwild2(root, portraits):
    """Frame 8 is marked −5, 9 is Other, 10 is marked −1, 11 has no picture, 12 no valence and arousal, 13 no label at all."""
    for video, split in VIDEOS.items():
        frames = [row for row in filmed() if row[0] == video]
        codes = [WILD_NAMES.index(name) for _, _, name, _ in frames] + [0, 7, -1, 2, 3]
        values = [f"{v},{a}" for *_, (v, a) in frames] + ["-5,-5", ".1,.1", "0.25,.5", ".5,-.5"]
        text(root / "annotations" / "EXPR_Set" / split / f"{video}.txt", WILD_HEADER, *codes)
        there = "Validation_Set" if video == "video2_right" else split              # searched in both
        text(root / "annotations" / "VA_Set" / there / f"{video}.txt", "valence,arousal", *values)
        for k in (*range(1, 11), 12, 13):
            name = WILD_NAMES[codes[k - 1] % 7 if k < 13 else 0]
            write_picture(portraits[name][k % 6][0], root / "cropped_aligned" / video / f"{k:05d}.jpg")
    text(root / "annotations" / "VA_Set" / "Train_Set" / "video7.txt", "valence,arousal", ".5,.5")
    write_picture(portraits["fear"][0][0], root / "cropped_aligned" / "video8" / "00001.jpg")
    return root


def truth_of(name):
    """Sample → (part, class, valence and arousal), typed from the layouts; −2 where they were not given."""
    if name == "affwild2":
        return {f"{video}/{k:05d}": ("train" if "Train" in VIDEOS[video] else "report", c, va) for video, k, c, va in filmed()}
    if name == "affectnet_new":
        folder = {"train": "train_set", "report": "val_set"}
        return {f"{folder[part]}/{n}": (part, c, va or (-2., -2.)) for part, n, c, va in scattered()}
    stem = {"train": "training", "report": "validation"}
    return {f"{stem[part]}/{n % 2}/{part}{n}": (part, c, va or (-2., -2.)) for part, n, c, va in listed()}


WRITERS = {"affectnet": affectnet_old, "affectnet_new": affectnet_new, "affwild2": affwild2}


@pytest.fixture(scope="module")
def sets(portraits, tmp_path_factory):
    """The three data sets; and AffectNet with another validation part, and with no valence and arousal to train with."""
    top = tmp_path_factory.mktemp("sets")
    found = {name: write(top / name, portraits) for name, write in WRITERS.items()}
    rows = list(listed())
    tested = [(part, n, SEVEN[(SEVEN.index(c) + 3) % 7] if part == "report" else c, va if part == "train" else (.01 * n, -.5))
              for part, n, c, va in rows]
    bare = [(part, n, c, va if part == "report" else None) for part, n, c, va in rows]
    return SimpleNamespace(cache=top / "cache", **found, affectnet_tested=affectnet_old(top / "tested", portraits, tested),
                           affectnet_bare=affectnet_old(top / "bare", portraits, bare))


def words(sets, name, out, *more):
    """What trains on a data set with small settings; what comes later on a command line wins."""
    return ["--paper", "emotiongcn", "--data", getattr(sets, name), "--dataset", name.split("_")[0], *SMALL, "--cache", sets.cache,
            "--output-dir", out, *(["--select", "0"] if name.startswith("affectnet") and name != "affectnet_new" else []), *more]


@pytest.fixture(scope="module")
def trained(sets, tmp_path_factory):
    """Runs on AffectNet, and what they printed: Emotion-GCN, the single tasks."""
    top, found = tmp_path_factory.mktemp("trained"), {}
    for name, more in (("full", ()), ("single", ("--ablation", "table1.1")), ("affect", ("--ablation", "table3.1"))):
        found[name] = SimpleNamespace(run=top / name, out=heard(train.main, words(sets, "affectnet", top / name, *more)))
    return SimpleNamespace(**found)


@pytest.fixture(scope="module")
def full(trained):
    return trained.full


FEW = {"train": (28, 4), "select": (7, 1), "report": (14, 2)}     # pictures, subjects


@pytest.fixture
def few(monkeypatch):
    """Few drawn faces, through the paper's own reader of them."""
    monkeypatch.setattr(drawn_stills.read, "__defaults__", (FEW,))


def state_of(run):
    return torch.load(run / "best.pt", weights_only=True)


# ---- the commands on them

FIGURES = {"confusion", "plane", "predictions", "similarity", "adjacency"}
LEFT_OUT = {
    "affectnet": ["AffectNet: left out by label: contempt 2, none 1, uncertain 1, non-face 2",
                  "AffectNet: valence and arousal given for 14 of 28",
                  "turned until the eyes are level, then by the box 26,", "by the face's box 2,", "AffectNet: train 14 pictures",
                  "neutral 4 of 74874, happiness 3 of 134415, sadness 1 of 25459, surprise 2 of 14090, fear 1 of 6378, "
                  "disgust 1 of 3803, anger 2 of 24882"],
    "affectnet_new": ["AffectNet: left out by label: contempt 0, none 0, uncertain 1, non-face 0",
                      "AffectNet: valence and arousal given for 37 of 42",
                      "turned until the eyes are level, then around the landmarks 42"],
    "affwild2": ["Aff-Wild2: train 21 frames; neutral 3, happiness 3, sadness 3,", "Aff-Wild2: report 7 frames;",
                 "Aff-Wild2: left out: frames marked -1 4, frames labelled Other 4, frames without valence and arousal 4, frames "
                 "with valence or arousal outside [-1, 1] 4, labelled frames without a picture 4, pictures after the last line 4, "
                 "videos without annotation 1, videos without valence and arousal 0, videos without expressions 1"]}


@pytest.mark.parametrize("name", WRITERS)
def test_each_layout_trains_and_is_tested(name, sets, full, tmp_path):
    """An epoch; every sample of the test part once, under its own labels; evaluate.py says the same again, and draws."""
    run = full.run if name == "affectnet" else tmp_path / "run"
    out = full.out if name == "affectnet" else heard(train.main, words(sets, name, run))
    rows = runs.read_predictions(run / "predictions.csv", SEVEN)
    wanted = {sample: row for sample, row in truth_of(name).items() if row[0] == "report"}
    assert list(rows) == ["sample", "subject", "fold", "target", "target_valence", "target_arousal", "predicted",
                          *(f"p_{c}" for c in SEVEN), "predicted_valence", "predicted_arousal"]
    assert sorted(rows["sample"]) == sorted(wanted)
    truth = [wanted[sample] for sample in rows["sample"]]
    assert [SEVEN[k] for k in rows["target"]] == [c for _, c, _ in truth]
    close(torch.stack([rows["target_valence"], rows["target_arousal"]], 1), tensor([va for *_, va in truth]))
    p = torch.stack([rows[f"p_{c}"] for c in SEVEN], 1)
    close(p.sum(1), torch.ones(len(p)))
    assert torch.equal(p.argmax(1), rows["predicted"])
    if name == "affwild2":
        assert set(rows["subject"]) == {"video9"}
    assert all(line in out for line in LEFT_OUT[name]), out
    assert f"emotiongcn on {name.split('_')[0]}, preset demo" in out and f"python evaluate.py {run}" in out and "packed: " in out
    assert len(runs.read_log(run)) == 1 and {"total", "L_c", "L_r"} <= set(runs.read_log(run)[0])

    said = heard(evaluate.main, [run, "--workers", "0", "--device", "cpu", "--output-dir", tmp_path / "again"])
    again = runs.read_predictions(tmp_path / "again" / "predictions.csv", SEVEN)
    assert again["sample"] == rows["sample"] and drawn_files(tmp_path / "again") == FIGURES
    for column in ("p_fear", "predicted_valence", "predicted_arousal", "target_valence"):
        close(again[column], rows[column], atol=1e-5, rtol=0)
    shares = [(rows["predicted"][rows["target"] == c] == c).double().mean() for c in range(7)]
    acc = f"Acc {torch.stack(shares).nanmean():.4f}"
    assert acc in out and acc in said
    assert ("report  F1+Acc " in out) is (name == "affwild2")


def test_the_graph_of_the_training_labels_by_hand(full):
    """emotiongcn (3, 4, 5, 6)   seven faces, one of each class, are all that have valence and arousal.

    The ranks of the one are 7 and of the others 3.5, less their mean 3 and −½, squares 10½; those of valence −3 to 3, squares 28. Of
    the face of rank r: 3 (r − 4) + ½ (r − 4), so c = 3.5 (r − 4) / √294 = .204124 (r − 4): below .1 where r = 4, valence of anger,
    arousal of happiness. How many faces each class has counts those without valence and arousal too.
    """
    v = dict(sadness=-3, disgust=-2, fear=-1, anger=0, neutral=1, surprise=2, happiness=3)
    a = dict(sadness=-3, neutral=-2, disgust=-1, happiness=0, anger=1, fear=2, surprise=3)
    state = state_of(full.run)
    for at, off in ((V, v), (A, a)):
        close(state["stat"]["c"][:7, at], tensor([.204124145 * off[name] for name in SEVEN], dtype=torch.float64))
        close(state["stat"]["c"][at, :7], state["stat"]["c"][:7, at])
    assert state["stat"]["f"].tolist() == [4, 3, 1, 2, 1, 1, 2]
    each = {name: " ".join(["valence"] * (v[name] != 0) + ["arousal"] * (a[name] != 0)) for name in SEVEN}
    both = dict(valence="neutral happiness sadness surprise fear disgust", arousal="neutral sadness surprise fear disgust anger")
    close(state["model"]["A"], graph(.3, **each, **both))


def test_flags_of_the_graph(sets, tmp_path):
    """--tau 0.3 leaves those whose rank is two or more off the middle, --p 0.5: anger hears nobody, and keeps all of itself."""
    out = heard(train.main, words(sets, "affectnet", tmp_path / "run", "--tau", ".3", "--p", ".5", "--steps", "1"))
    wanted = graph(.5, neutral="arousal", happiness="valence", sadness="valence arousal", surprise="valence arousal", fear="arousal",
                   disgust="valence", valence="happiness sadness surprise disgust", arousal="neutral sadness surprise fear")
    close(state_of(tmp_path / "run")["model"]["A"], wanted)
    assert "the graph: 8 edges; without any: anger\n" in out


@pytest.mark.parametrize("name", ["affectnet_new", "affwild2"])
def test_the_graph_of_the_training_labels_by_loops(name, sets, tmp_path):
    """emotiongcn (3, 4, 5, 6)   as the slow twin has it, of the samples trained with, not of those that choose or are tested."""
    heard(train.main, words(sets, name, tmp_path / "run", "--steps", "1", "--tau", ".25", "--p", ".6"))
    state, truth = state_of(tmp_path / "run"), truth_of(name)
    cfg = emotiongcn.Config(**state["cfg"])
    [fold] = as_delivered(emotiongcn.DATASETS[cfg_name(name)].read(getattr(sets, name), cfg).samples, .1, 0)
    assert len(fold.select) > 0 and len(fold.train) + len(fold.select) == sum(part == "train" for part, *_ in truth.values())
    kept = [truth[s.id] for s in fold.train if truth[s.id][2][0] > -2]
    columns = np.array([[float(c == one) for one in SEVEN] + list(va) for _, c, va in kept]).T
    c = np.array([[rank_correlation(x, y) for y in columns] for x in columns])
    close(state["stat"]["c"], torch.from_numpy(c), atol=1e-9, rtol=0)
    wanted = graph_twin(c, 7, .25, .6)
    close(state["model"]["A"].double(), torch.from_numpy(wanted), atol=1e-6, rtol=0)
    assert 9 < (wanted > 0).sum() < 37
    assert state["stat"]["f"].tolist() == [sum(truth[s.id][1] == one for s in fold.train) for one in SEVEN]


def cfg_name(name):
    return name.split("_")[0]


def test_labels_of_the_tested_part_change_nothing(full, sets, tmp_path):
    """Another validation.csv: the same correlations, frequencies, losses and weights; other targets."""
    run = tmp_path / "run"
    heard(train.main, words(sets, "affectnet_tested", run))
    ours, theirs = state_of(full.run), state_of(run)
    for part in ("stat", "model"):
        assert all(torch.equal(t, theirs[part][name]) for name, t in ours[part].items())
    assert (run / "log.csv").read_bytes() == (full.run / "log.csv").read_bytes()
    said, others = (runs.read_predictions(path / "predictions.csv", SEVEN) for path in (full.run, run))
    assert said["sample"] == others["sample"] and (said["target"] != others["target"]).all()
    close(others["target_valence"], .01 * torch.arange(1, 15))


def test_without_valence_and_arousal_to_train_with(sets, tmp_path, capsys):
    """There is nothing to learn them from, nor a graph: refused, with the way on, which is one."""
    for more in ((), ("--correlations", "affectnet"), ("--no-gcn",), ("--no-gcn", "--tasks", "va")):
        err = refused(train.main, words(sets, "affectnet_bare", tmp_path / "run", *more), 3, capsys)
        assert "0 of 14 training samples have an expression, valence and arousal" in err and "--no-gcn --tasks expression" in err
        assert not (tmp_path / "run").exists()
    heard(train.main, words(sets, "affectnet_bare", tmp_path / "single", "--no-gcn", "--tasks", "expression"))
    assert "A" not in state_of(tmp_path / "single")["model"] and list(state_of(tmp_path / "single")["stat"]) == ["f"]
    assert "valence" not in (tmp_path / "single" / "predictions.csv").read_text()


def test_correlations_as_released(sets, tmp_path):
    """--correlations affectnet: numbers of the authors' code, whatever the labels; twelve pairs are .1 and more."""
    out = heard(train.main, words(sets, "affectnet", tmp_path / "run", "--correlations", "affectnet", "--steps", "1"))
    state = state_of(tmp_path / "run")
    close(state["model"]["A"], graph(.3, **OF_AFFECTNET))
    close(state["stat"]["c"][:7, 7:], affectnet_correlations()[:7, 7:])
    assert "the graph: 12 edges\n" in out


def test_the_released_correlations(device):
    """In any order of the classes, and of some of them: by name. As on the page the pair of valence and arousal is no edge."""
    targets = {"expression": tensor([0, 1], device=device), "va": tensor([[0., 0.], [1., 1.]], device=device)}
    order = SEVEN[::-1]
    c = emotiongcn.statistics(targets, dataclasses.replace(TINY, correlations="affectnet", classes=order))["c"]
    close(c[:7, V], tensor(VALENCE[::-1], dtype=torch.float64))
    close(c[A, :7], tensor(AROUSAL[::-1], dtype=torch.float64))
    two = dataclasses.replace(TINY, correlations="affectnet", classes=("surprise", "happiness"))
    some = emotiongcn.statistics(targets, two)["c"]
    close(some, tensor([[1, 0, VALENCE[3], AROUSAL[3]], [0, 1, VALENCE[1], AROUSAL[1]], [VALENCE[3], VALENCE[1], 1, .0372991409],
                        [AROUSAL[3], AROUSAL[1], .0372991409, 1]], dtype=torch.float64))


def between_file(path, **said):
    """P(column | row): 1 with itself, 0 with others but for those said; happiness_surprise is P(surprise | happiness)."""
    P = torch.eye(7)
    for pair, p in said.items():
        i, j = (SEVEN.index(name) for name in pair.split("_"))
        P[i, j] = p
    return text(path, *(",".join(f"{v:g}" for v in row) for row in P.tolist()))


def test_section_4E(sets, tmp_path):
    """emotiongcn (§IV.E): P(surprise | happiness) ¼, P(happiness | surprise) .05: happiness listens to surprise, not the other way.

    Counted of faces: of 20 that are happy one is surprised, .05, and no other is: now surprise listens to happiness alone.
    """
    base = ("--correlations", "affectnet", "--among", "--steps", "1")
    file = between_file(tmp_path / "between.csv", happiness_surprise=.25, surprise_happiness=.05)
    heard(train.main, words(sets, "affectnet", tmp_path / "run", *base, "--between", file))
    state = state_of(tmp_path / "run")
    close(state["model"]["A"], graph(.3, **OF_AFFECTNET | {"happiness": "surprise valence"}))
    close(state["stat"]["between"][1], tensor([0, 1, 0, .25, 0, 0, 0], dtype=torch.float64))
    faces_ = text(tmp_path / "faces.csv", *["0,1,0,0,0,0,0"] * 19, "0,1,0,1,0,0,0")
    heard(train.main, words(sets, "affectnet", tmp_path / "counted", *base, "--between", faces_))
    state = state_of(tmp_path / "counted")
    close(state["model"]["A"], graph(.3, **OF_AFFECTNET | {"surprise": "happiness arousal"}))


def test_section_4E_of_labels_of_one_emotion(sets, tmp_path):
    """emotiongcn (§IV.E): without --between they are counted of the training labels, and none are two: it is Emotion-GCN again."""
    heard(train.main, words(sets, "affectnet", tmp_path / "among", "--ablation", "sectionIVE", "--steps", "1"))
    heard(train.main, words(sets, "affectnet", tmp_path / "plain", "--p", ".5", "--steps", "1"))
    among, plain = (state_of(tmp_path / name)["model"] for name in ("among", "plain"))
    assert all(torch.equal(t, among[name]) for name, t in plain.items())
    close(state_of(tmp_path / "among")["stat"]["between"], torch.eye(7, dtype=torch.float64))


@pytest.mark.parametrize("lines", [None, ["1,0", "0,1"], [".5,0,0,0,0,0,0"] * 6, ["1.5,0,0,0,0,0,0"] * 7, ["-.1,0,0,0,0,0,0"] * 7,
                                   ["nan,0,0,0,0,0,0"] * 7, ["a,b"] * 7, ["1,0,0", "0,1"], [], ["", ""]])
def test_probabilities_that_are_none(lines, sets, tmp_path, capsys):
    """No such file, another shape, no numbers, none at all, none between 0 and 1: refused by name, and nothing is written."""
    if lines is not None:
        text(tmp_path / "between.csv", *lines)
    err = refused(train.main, words(sets, "affectnet", tmp_path / "run", "--among", "--between", tmp_path / "between.csv"), 3, capsys)
    assert "--between" in err and "between.csv" in err and "; expected " in err and not (tmp_path / "run").exists()


def test_word_vectors_of_a_file(sets, tmp_path, capsys):
    """--glove: the graph begins with them, and the checkpoint keeps them; a file that is not there, or lacks a word, is refused."""
    Z = glove(tmp_path / "glove.txt", 6)
    heard(train.main, words(sets, "affectnet", tmp_path / "run", "--glove", tmp_path / "glove.txt", "--steps", "1"))
    state = state_of(tmp_path / "run")["model"]
    close(state["Z"], Z)
    assert state["gcn.0.W"].shape == (16, 6)
    (tmp_path / "glove.txt").rename(tmp_path / "gone.txt")        # not needed any more
    heard(evaluate.main, [tmp_path / "run", "--workers", "0", "--device", "cpu"])
    text(tmp_path / "glove.txt", "happy 1 2", "sad 3 4")
    for file, said in (("none.txt", "no such file"), ("glove.txt", "no vector of neutral")):
        err = refused(train.main, words(sets, "affectnet", tmp_path / "no", "--glove", tmp_path / file), 3, capsys)
        assert said in err and file in err and not (tmp_path / "no").exists()


@pytest.mark.parametrize("name", ["full", "single", "affect"])
def test_what_each_task_writes(name, trained):
    """Columns, loss terms and the measure that chooses are those of what is trained; no others."""
    run, out = getattr(trained, name).run, getattr(trained, name).out
    head = (run / "predictions.csv").read_text().splitlines()[0].split(",")
    log = runs.read_log(run)[0]
    assert ("predicted" in head) is ("p_fear" in head) is ("target" in head) is ("L_c" in log) is (name != "affect")
    assert ("predicted_valence" in head) is ("target_arousal" in head) is ("L_r" in log) is (name != "single")
    assert {"full": "report  Acc ", "single": "report  Acc ", "affect": "report  CCC "}[name] in out
    assert (run / "confusion.png").exists() is (name != "affect")
    shape = {"full": None, "single": 7, "affect": 2}[name]
    assert ("head.weight" in state_of(run)["model"]) is (shape is not None)
    assert shape is None or len(state_of(run)["model"]["head.bias"]) == shape


def test_half_precision_trains(full, sets, tmp_path):
    """--amp: nearly the same loss, every weight finite."""
    heard(train.main, words(sets, "affectnet", tmp_path / "run", "--amp"))
    a, b = (runs.read_log(run)[0]["total"] for run in (full.run, tmp_path / "run"))
    assert a != b and a == pytest.approx(b, rel=.1)
    assert all(t.isfinite().all() for t in state_of(tmp_path / "run")["model"].values())


def test_stopped_and_gone_on(full, sets, tmp_path):
    """--steps 1, then --resume: as never having stopped."""
    run = tmp_path / "run"
    heard(train.main, words(sets, "affectnet", run, "--steps", "1"))
    assert (run / "predictions.csv").read_bytes() != (full.run / "predictions.csv").read_bytes()
    heard(train.main, ["--paper", "emotiongcn", "--resume", run, "--device", "cpu", "--workers", "0"])
    for name in ("predictions.csv", "log.csv"):
        assert (run / name).read_bytes() == (full.run / name).read_bytes()


@pytest.mark.parametrize("name", ["affectnet", "affwild2"])
def test_other_classes_are_refused(name, sets, tmp_path, capsys):
    err = refused(train.main, words(sets, name, tmp_path / "run", "--classes", "joy", "woe"), 3, capsys)
    assert {"affectnet": "AffectNet", "affwild2": "Aff-Wild2"}[name] in err and "joy" in err and not (tmp_path / "run").exists()


def test_eyes_are_brought_level(sets, portraits, tmp_path):
    """--align: faces are cut out by their box, turned; without it by all landmarks. Each way has a cache of its own."""
    seen = {}
    for align in (True, False):
        cfg = dataclasses.replace(TINY, align=align, cache=str(tmp_path))
        samples = emotiongcn.DATASETS["affectnet"].read(sets.affectnet, cfg).samples
        seen[align] = torch.stack([emotiongcn.prepare(s, cfg, None)[0] for s in samples[:7]]).float()
    assert len(list(tmp_path.glob("*.npy"))) == 2 and (seen[True] - seen[False]).abs().mean() > 5
    _, points = portraits["happiness"][2]                         # the second row
    left, right = points[36:42].mean(0), points[42:48].mean(0)
    assert abs(right[1] - left[1]) < .5 * abs(right[0] - left[0])                        # nearly upright: as the box alone
    box = F.interpolate(portraits["happiness"][2][0][None].float(), (32, 32), mode="bilinear", antialias=True)[0]
    assert (seen[True][1] - box).abs().mean() < (seen[False][1] - box).abs().mean()


# ---- tables

def test_table_1_on_two_steps(few, tmp_path):
    """Four rows, the settings as the table has them, our scores, and none printed beside a demo's."""
    out = heard(train.main, ["--paper", "emotiongcn", *SMALL, "--steps", "2", "--table", "1", "--output-dir", tmp_path])
    head, *rows, note = (tmp_path / "table.txt").read_text().splitlines()
    assert head.split() == ["row", "gcn", "pool", "relu", "tasks", "regression", "Acc,", "ours", "F1+Acc,", "ours"]
    assert [" ".join(row.split()[:6]) for row in rows] == ["table1.1 - mean ✓ expression ccc", "table1.2 - mean ✓ both mse",
                                                           "table1.3 - mean ✓ both ccc", "table1.4 ✓ max - both ccc"]
    assert note == "emotiongcn on drawn faces, preset demo, seed 0; not to be compared with the paper's scores" and note in out
    assert "printed" not in head and not any(f"{number:.2f}" in "".join(rows) for _, *numbers in TABLE_1 for number in numbers)
    for k, row in enumerate(rows, 1):
        seen = runs.read_predictions(tmp_path / f"table1.{k}-seed0" / "predictions.csv", SEVEN)
        right = (seen["target"] == seen["predicted"]).double().mean().item()            # two of each class: also the classes' mean
        assert len(seen["sample"]) == 14 and float(row.split()[6]) == pytest.approx(right, abs=5e-5)


def test_table_3_on_two_steps(few, tmp_path):
    """Four rows of valence and arousal; the first is of them alone."""
    heard(train.main, ["--paper", "emotiongcn", *SMALL, "--steps", "2", "--table", "3", "--output-dir", tmp_path])
    head, *rows, note = (tmp_path / "table.txt").read_text().splitlines()
    assert head.split()[6:] == ["CCC-V,", "ours", "CCC-A,", "ours"] and "printed" not in head and "not to be compared" in note
    assert [" ".join(row.split()[4:6]) for row in rows] == ["va ccc", "both mse", "both ccc", "both ccc"]
    assert [row.split()[1] for row in rows] == ["-", "-", "-", "✓"]
    for k, row in enumerate(rows, 1):
        seen = runs.read_predictions(tmp_path / f"table3.{k}-seed0" / "predictions.csv", SEVEN)
        for cell, name in zip(row.split()[6:], ("valence", "arousal"), strict=True):
            x, y = seen[f"predicted_{name}"].double(), seen[f"target_{name}"].double()
            spread = x.var(correction=0) + y.var(correction=0) + (x.mean() - y.mean()) ** 2
            rho = 2 * ((x - x.mean()) * (y - y.mean())).mean() / spread
            assert float(cell) == pytest.approx(rho.item(), abs=6e-5)
        assert ("predicted" in seen) is (k > 1)


# ---- looking at runs

def looked(run, out, *more):
    return heard(evaluate.main, [run, *more, "--workers", "0", "--device", "cpu", "--output-dir", out])


def test_evaluate_runs_of_one_task(trained, tmp_path):
    """A network of expressions has no plane, one of valence and arousal no confusion, neither has a graph."""
    out = looked(trained.single.run, tmp_path / "single")
    assert drawn_files(tmp_path / "single") == {"confusion", "predictions", "similarity"}
    assert "rows: target, columns: predicted" in out and "Acc " in out and "CCC" not in out
    out = looked(trained.affect.run, tmp_path / "affect")
    assert drawn_files(tmp_path / "affect") == {"plane", "predictions", "similarity"} and "rows: target" not in out
    assert "CCC-V" in out and "Acc " not in out
    for folder in ("single", "affect"):
        for name in drawn_files(tmp_path / folder):
            with Image.open(tmp_path / folder / f"{name}.png") as picture:
                assert min(picture.size) > 100


@pytest.mark.parametrize("first, others", [("full", ("single", "affect")), ("single", ("full",)), ("affect", ("full", "single")),
                                           ("single", ("affect",))])
def test_runs_side_by_side(first, others, trained, tmp_path):
    """Fig. 6: single tasks and Emotion-GCN; what they are scored by is each one's own, and they stay as they are."""
    run, beside = getattr(trained, first).run, [getattr(trained, name).run for name in others]
    before = [{p.name: p.read_bytes() for p in path.iterdir() if p.is_file()} for path in beside]
    out = looked(run, tmp_path, "--beside", *beside)
    assert "beside-similarity" in drawn_files(tmp_path)
    assert ("beside-confusion" in drawn_files(tmp_path)) is any(name != "affect" for name in (first, *others))
    for name, path in zip(others, beside):
        head, said = out[out.index(f"beside it {path} ("):].splitlines()[:2]
        assert {"full": "(emotiongcn, ", "single": "(table1.1, ", "affect": "(table3.1, "}[name] in head and head.endswith(", seed 0)")
        assert said.startswith("CCC " if name == "affect" else "Acc ") and ("CCC-V" in said) is (name != "single")
        reported = next(line for line in getattr(trained, name).out.splitlines() if line.startswith("report  "))
        assert reported.split("   (")[0].removeprefix("report  ").split()[:2] == said.split()[:2]
    assert before == [{p.name: p.read_bytes() for p in path.iterdir() if p.is_file()} for path in beside]
    assert "14 samples of the tested part, affectnet, seed 0" in out


def test_runs_on_other_samples_are_not_put_side_by_side(trained, sets, tmp_path, capsys):
    """Another data set, other labels of the same faces, classes in another order: refused before anything is drawn."""
    heard(train.main, words(sets, "affectnet_new", tmp_path / "new", "--steps", "1"))
    heard(train.main, words(sets, "affectnet_tested", tmp_path / "tested", "--steps", "1"))
    heard(train.main, words(sets, "affectnet", tmp_path / "turned", "--steps", "1", "--classes", *SEVEN[::-1]))
    flags = ["--workers", "0", "--device", "cpu", "--output-dir", tmp_path / "out"]
    for name in ("new", "tested", "turned"):
        err = refused(evaluate.main, [trained.full.run, "--beside", tmp_path / name, *flags], 3, capsys)
        assert f"--beside {tmp_path / name}: emotiongcn" in err
        assert "expected emotiongcn and the same 14 samples, classes and labels" in err
    err = refused(evaluate.main, [trained.affect.run, "--beside", trained.full.run, tmp_path / "tested", *flags], 3, capsys)
    assert f"--beside {tmp_path / 'tested'}" in err and not (tmp_path / "out").exists()


@pytest.fixture(scope="module")
def album(portraits, tmp_path_factory):
    """Two faces in larger pictures, and their landmarks."""
    top = tmp_path_factory.mktemp("album")
    rows = []
    for name in ("anger", "happiness"):
        p, points = portraits[name][5]
        write_picture(sheet(p), top / "faces" / f"{name}.png")
        rows.append(",".join([f"{name}.png", *(f"{v:.3f}" for v in (points + tensor([20., 9.])).flatten().tolist())]))
    text(top / "points.csv", *rows)
    return top


@pytest.mark.parametrize("along", [True, False])
@pytest.mark.parametrize("name", ["full", "single", "affect"])
def test_ones_own_pictures(name, along, trained, album, tmp_path):
    """A row and a card each: classes, valence and arousal as far as they are trained; what is seen of the model alone beside them."""
    run, more = getattr(trained, name).run, ["--landmarks", album / "points.csv"] if along else []
    out = heard(evaluate.main, [run / "best.pt", album / "faces", "--device", "cpu", "--output-dir", tmp_path, *more])
    assert ("no --landmarks: the centre square of each picture is used" in out) is not along
    columns = {"full": NINE, "single": SEVEN, "affect": NINE[7:]}[name]
    lines = out.splitlines()
    rows = {line.split()[0].rpartition("/")[2]: line.split()[1:] for line in lines if ".png" in line.split(" ")[0]}
    assert list(rows) == ["anger.png", "happiness.png"]
    head = lines[next(k for k, line in enumerate(lines) if "anger.png" in line) - 1].split()
    assert head == ["predicted"] * (name != "affect") + [column[:9] for column in columns]
    alone = {"adjacency", "similarity"} if name == "full" else {"similarity"}
    assert drawn_files(tmp_path) == {"001-anger-prediction", "002-happiness-prediction"} | alone
    saved = state_of(run)
    cfg = emotiongcn.Config(**saved["cfg"])
    model = emotiongcn.network(cfg, saved["stat"], ONLY).eval()
    model.load_state_dict(saved["model"])
    with torch.no_grad():
        for k, (file, cells) in enumerate(rows.items()):
            if along:
                lines = (album / "points.csv").read_text().splitlines()
                points = tensor([float(v) for v in lines[k].split(",")[1:]]).unflatten(0, (1, 68, 2))
                sample, = emotiongcn.own(file, Clip(album / "faces" / file), points)
                x = sample.clip.read([0], 32).float() / 255
            else:
                square = Clip(album / "faces" / file).read([0])[:, :, :, 13:77]          # of 90 × 64
                write_picture(square[0], tmp_path / "square.png")
                x = Clip(tmp_path / "square.png").read([0], 32).float() / 255
            scores = model(x)[0]
            wanted = [*scores[:7].softmax(0).tolist()] * (name != "affect") + scores[-2:].tolist() * (name != "single")
            called = cells.pop(0) if name != "affect" else ""
            assert [float(cell) for cell in cells] == pytest.approx(wanted, abs=6e-4)
            assert name == "affect" or called == SEVEN[max(range(7), key=lambda c: float(cells[c]))]


def test_landmarks_bring_eyes_level(device):
    """Two discs, tilted by 20°, where the eyes are: on one line in the crop, the left one left; nearer with a longer chin."""
    tilt, middle = math.radians(20), tensor([40., 32.])
    turn = tensor([[math.cos(tilt), math.sin(tilt)], [-math.sin(tilt), math.cos(tilt)]])
    points = torch.zeros(68, 2)
    points[36:42], points[42:48], points[8] = tensor([-12., 0.]), tensor([12., 0.]), tensor([0., 34.])
    found = []
    for chin in (34., 51.):
        points[8, 1] = chin
        there = middle + points @ turn
        y, x = torch.meshgrid(torch.arange(72.), torch.arange(90.), indexing="ij")
        discs = [((x - u) ** 2 + (y - v) ** 2 < 9).byte() * 255 for u, v in (there[36].tolist(), there[42].tolist())]
        spots = []
        for disc in discs:
            sample, = emotiongcn.own("a.png", OneFrame(disc.expand(3, -1, -1)), there[None])
            assert sample.target == {} and sample.id == "a.png"
            crop = sample.clip.read([0], 64)[0, 0].to(device).double()                   # (64, 64)
            weight = crop / crop.sum()
            at = torch.arange(64, device=device).double()
            spots.append(((weight.sum(0) * at).sum().item(), (weight.sum(1) * at).sum().item()))
        (lx, ly), (rx, ry) = spots
        assert ry == pytest.approx(ly, abs=.6) and rx > lx
        found.append(rx - lx)
    assert found[1] == pytest.approx(found[0] * 34 / 51, rel=.05)


class OneFrame(NamedTuple):
    """A picture in memory, of any shape."""
    picture: torch.Tensor
    path = "memory"

    def __len__(self):
        return 1

    def read(self, indices, size=None):
        return torch.stack([self.picture for _ in indices])


# ---- every setting does something

TURNED = dict(
    classes=SEVEN[::-1], size=96, stored=20, align=False, flip=False, turn=0., jitter=0., hue=0., net="other", pool="mean", relu=True,
    gcn=False, tasks="va", L=1, hidden=8, slope=.6, glove="glove.txt", correlations="affectnet", among=True,
    between="between.csv", tau=.3, p=.4, transposed=True, weighted="even", regression="mse", unbiased=True,
    measure="F1+Acc", adam=True, lr=.1, momentum=.1, weight_decay=.5, cosine=True, epochs=3, batch_size=3, cache="elsewhere")
ALONG = {"tasks": {"gcn": False}, "between": {"among": True}}     # without which a setting is refused
WITH = {"among": {"between": "between.csv"}}                       # without which labels of one emotion each change nothing
RESTING = dataclasses.replace(TINY, size=64, lr=.01, epochs=2, batch_size=5, cache="kept")


def evidence(cfg, root):
    """All that a setting can reach: what is read and where it is kept, batches, outputs, losses, weights, scores, the plan."""
    found = emotiongcn.DATASETS["affectnet"].read(root, cfg)
    samples = [s for s in found.samples if s.part == "train"]
    stat, (stage,), out = emotiongcn.statistics(stacked(samples), cfg), emotiongcn.stages(cfg), []
    words_ = [*(f"{s.id} {s.target}" for s in samples), *sorted(str(p) for p in Path().glob("*/*.npy")), str(found.classes), *stat]
    prepared = Prepared(samples, emotiongcn.prepare, cfg, 0)
    torch.manual_seed(0)
    model = emotiongcn.network(cfg, stat, stage)
    optimizer, schedule = emotiongcn.optimizer(model, cfg, 4)
    for at in (0, cfg.batch_size):
        inputs, target = to_device(collate([prepared[1, k] for k in range(at, at + cfg.batch_size)]), torch.device("cpu"))
        x, = emotiongcn.batched(inputs, cfg)
        said = model(x)
        total = emotiongcn.loss(said, target, stat, cfg, stage)["total"]
        optimizer.zero_grad()
        total.backward()
        optimizer.step(), schedule.step()
        out += [x, said.detach(), total.detach(), tensor(optimizer.param_groups[0]["lr"])]
    with torch.no_grad():
        columns = emotiongcn.predict(model.eval()(x), cfg)
    rows = columns | {"target": target["expression"], "target_valence": target["va"][:, 0], "target_arousal": target["va"][:, 1]}
    words_ += [*columns, *emotiongcn.score(rows, cfg), f"{stage.epochs} epochs"]
    return words_, [*out, *stat.values(), *columns.values(), *(p.detach().clone() for p in model.parameters())]


def differ(a, b):
    return a[0] != b[0] or len(a[1]) != len(b[1]) or any(x.shape != y.shape or not torch.equal(x, y) for x, y in zip(a[1], b[1]))


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A folder of its own: word vectors, probabilities, decoded pictures; and a DenseNet of other depth."""
    monkeypatch.chdir(tmp_path)
    glove(tmp_path / "glove.txt", 50)
    between_file(tmp_path / "between.csv", happiness_surprise=.5)
    monkeypatch.setitem(emotiongcn.NETS, "other", lambda: DenseNet(layout=(1, 2, 2, 2), growth=16, first=32))


def test_every_setting_is_turned():
    assert [f.name for f in dataclasses.fields(emotiongcn.Config)] == list(TURNED)


@pytest.mark.parametrize("name", TURNED)
def test_the_knob_turns_something(name, sets, elsewhere):
    """One setting turned, all else and the seed as before, but for what it cannot be without."""
    resting = dataclasses.replace(RESTING, **ALONG.get(name, {}))
    turned = dataclasses.replace(resting, **{name: TURNED[name]}, **WITH.get(name, {}))
    assert getattr(resting, name) != getattr(turned, name)
    at_rest = evidence(resting, sets.affectnet)
    shutil.rmtree("kept")
    assert differ(at_rest, evidence(turned, sets.affectnet))


def test_a_knob_at_rest_changes_nothing(sets, elsewhere):
    assert not differ(evidence(RESTING, sets.affectnet), evidence(RESTING, sets.affectnet))


# ---- weights from files

def densenet121(seed=1):
    """A state dict as torchvision publishes it, classifier included."""
    torch.manual_seed(seed)
    whole = DenseNet(**LAYOUTS["densenet121"]).state_dict()
    state = {f"features.{name}": t + .01 if t.is_floating_point() else t + 7 for name, t in whole.items()}
    return state | {"classifier.weight": torch.rand(1000, 1024), "classifier.bias": torch.rand(1000)}


def spelt_as_in_2017(state):
    """norm.1 for norm1, conv.2 for conv2; normalisations do not say how many batches they saw."""
    for part in ("norm1", "norm2", "conv1", "conv2"):
        there = f".{part[:-1]}.{part[-1]}."
        state = {name.replace(f".{part}.", there) if "denselayer" in name else name: t for name, t in state.items()}
    return {name: t for name, t in state.items() if not name.endswith("num_batches_tracked")}


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("old", [False, True])
def test_a_published_densenet_loads(old, prefix, tmp_path, device):
    """Every tensor of the backbone is the file's, graph and words stay as they were, and what found no place is said.

    725 tensors: 1 + 2 · 58 + 3 convolutions, and as many normalisations and one more, of five each.
    """
    cfg, state = dataclasses.replace(TINY, net="densenet121"), densenet121()
    model = made(cfg, device)
    before = {name: t.clone() for name, t in model.state_dict().items()}
    saved = spelt_as_in_2017(state) if old else state
    assert old is ("features.denseblock1.denselayer1.norm.1.weight" in saved)
    torch.save({prefix + name: t for name, t in saved.items()}, tmp_path / "d121.pth")
    report = emotiongcn.load_weights(model, str(tmp_path / "d121.pth"), cfg)
    for name, t in model.state_dict().items():
        wanted = state[name] if name.startswith("features.") else before[name].cpu()
        assert torch.equal(t.cpu(), torch.zeros_like(wanted) if old and name.endswith("num_batches_tracked") else wanted), name
    assert report.splitlines()[0] == f"densenet121: weights: {120 + 5 * 121} of the model's 725 tensors loaded"
    assert "in the file, not in the model, unused: classifier (2)" in report


def released(device, tmp_path, prefix):
    """A stand-in for the authors' checkpoint: their names, W^l as it stands in (2), and A''."""
    make = torch.Generator().manual_seed(2)
    state = {name: t for name, t in densenet121(3).items() if name.startswith("features.")} | {
        "gc1.weight": (torch.rand(300, 512, generator=make) - .5) / 8,
        "gc2.weight": (torch.rand(512, 1024, generator=make) - .5) / 8, "A": graph(.5, **OF_AFFECTNET)}
    saved = {prefix + name: t for name, t in state.items()}
    torch.save({"model_state_dict": saved, "epoch": 9} if prefix else saved, tmp_path / "emotion_gcn.pt")
    return {name: t.to(device) for name, t in state.items()}


@pytest.mark.parametrize("prefix", ["", "module."])
def test_the_authors_weights_load(prefix, tmp_path, device):
    """As their code has it: x · (Â σ(Â Z W¹) W²)ᵀ with Â = (A D)ᵀ D, D = diag(Σ_j A_ij)^−½, of the A in the file; p = ½.

    With their words, which are given as a file; A, of AffectNet's correlations, is the run's own.
    """
    theirs, Z = released(device, tmp_path, prefix), glove(tmp_path / "glove.txt", 300).to(device)
    cfg = job_of(ablation="as_code", size=64, glove=str(tmp_path / "glove.txt"), correlations="affectnet").cfg
    targets = {"expression": torch.arange(7), "va": tensor(list(SHOWS.values()))}
    model = emotiongcn.network(cfg, emotiongcn.statistics(targets, cfg), ONLY).to(device)
    close(model.A, theirs["A"])
    report = emotiongcn.load_weights(model, str(tmp_path / "emotion_gcn.pt"), cfg)
    assert report.splitlines()[0] == "weights: 727 of the model's 729 tensors loaded"
    assert "left at their initial values: Z (1), A (1)" in report and "A and Z, where they are there, are those of this run" in report

    backbone = DenseNet(**LAYOUTS["densenet121"]).to(device)
    backbone.load_state_dict({name.removeprefix("features."): t for name, t in theirs.items() if name.startswith("features.")})
    x = faces(cfg, B=2).to(device)
    mean, sd = (tensor(values, device=device)[:, None, None] for values in ((.485, .456, .406), (.229, .224, .225)))
    with torch.no_grad():
        seen = backbone.eval()((x - mean) / sd).amax((2, 3))                             # (2, 1024)
        D = theirs["A"].sum(1).rsqrt().diag()
        adj = (theirs["A"] @ D).mT @ D
        W = adj @ (F.leaky_relu(adj @ (Z @ theirs["gc1.weight"]), .2) @ theirs["gc2.weight"])
        wanted = seen @ W.mT
        close(model.eval()(x), wanted, atol=1e-3 * wanted.abs().max().item(), rtol=1e-3)
        rows = dataclasses.replace(cfg, transposed=False)
        other = emotiongcn.EmotionGCN(rows, Z, theirs["A"]).to(device).eval()
        other.load_state_dict(model.state_dict())
        assert (other(x) - wanted).abs().max() > .01 * wanted.abs().max()


def test_the_authors_weights_want_their_words(few, tmp_path, capsys):
    """The nine built-in words have 50 numbers each: refused, with the way on, and nothing is written."""
    released("cpu", tmp_path, "")
    base = ["--paper", "emotiongcn", *SMALL, "--net", "densenet121", "--hidden", "512", "--steps", "1",
            "--weights", tmp_path / "emotion_gcn.pt", "--output-dir", tmp_path / "run"]
    err = refused(train.main, base, 4, capsys)
    assert "--glove glove.6B.300d.txt" in err
    assert re.search(r"its graph begins with words of \W*300\W* numbers, this one with \W*50\b", err)
    assert not (tmp_path / "run").exists()
    glove(tmp_path / "glove.txt", 300)
    assert "weights: 727 of the model's 729 tensors loaded" in heard(train.main, [*base, "--glove", tmp_path / "glove.txt"])


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("switches", [{}, {"L": 3}, SINGLE])
def test_weights_of_the_whole_network_load(switches, prefix, tmp_path, device):
    cfg = dataclasses.replace(TINY, **switches)
    one, other = made(cfg, device), made(cfg, device, seed=1)
    torch.save({"model": {prefix + name: t for name, t in one.state_dict().items()}}, tmp_path / "best.pt")
    own = {"A": tensor(2.).expand(9, 9), "Z": tensor(3.).expand(9, 50)} if cfg.gcn else {}
    other.load_state_dict(own, strict=False)
    n = len(one.state_dict())
    report = emotiongcn.load_weights(other, str(tmp_path / "best.pt"), cfg)
    assert report.splitlines()[0] == f"weights: {n - len(own)} of the model's {n} tensors loaded"
    for name, t in other.state_dict().items():                     # words and graph are the run's own
        assert torch.equal(t.cpu(), own.get(name, one.state_dict()[name].cpu())), name


def test_a_runs_weights_go_on(full, trained, sets, tmp_path, capsys):
    """--weights RUN: the whole network; weights of another network, or with other words, are refused before anything is written."""
    saved = state_of(full.run)["model"]
    out = heard(train.main, words(sets, "affectnet", tmp_path / "on", "--weights", full.run, "--lr", "0", "--steps", "1"))
    assert f"weights: {len(saved) - 2} of the model's {len(saved)} tensors loaded" in out and "A and Z" in out
    state = state_of(tmp_path / "on")["model"]
    assert all(torch.equal(state[name], saved[name]) for name in saved if "running" not in name and "tracked" not in name)
    glove(tmp_path / "glove.txt", 6)
    torch.save({"a.weight": torch.ones(2)}, tmp_path / "other.pth")
    for file, more, said in ((tmp_path / "other.pth", (), "only 0 of the model's"),
                             (tmp_path / "none.pth", (), "there is no such file"),
                             (full.run, ("--glove", tmp_path / "glove.txt"), r"begins with words of \W*50\W* numbers, this one with \W*6\b"),
                             (full.run, ("--net", "densenet121"), "only ")):
        err = refused(train.main, words(sets, "affectnet", tmp_path / "run", "--weights", file, *more), 4, capsys)
        assert re.search(said, err) and not (tmp_path / "run").exists()
    with pytest.raises(WeightsError, match="another network"):
        emotiongcn.load_weights(made(TINY, "cpu"), str(tmp_path / "other.pth"), TINY)


def test_a_row_with_weights(few, tmp_path):
    """--ablation table1.2 --weights on drawn faces: it begins with the backbone's, its head at random."""
    torch.save(densenet121(), tmp_path / "d121.pth")
    out = heard(train.main, ["--paper", "emotiongcn", *SMALL, "--net", "densenet121", "--steps", "1", "--ablation", "table1.2",
                             "--weights", tmp_path / "d121.pth", "--output-dir", tmp_path / "run"])
    assert out.count("densenet121: weights: 725 of the model's 725 tensors loaded") == 1 and "row table1.2" in out
    assert state_of(tmp_path / "run")["model"]["head.weight"].shape == (9, 1024)


# ---- drawn faces

def test_drawn_faces_have_valence_and_arousal(device):
    """As planned, part by part, subjects going on; in [−1, 1]; ids and expressions as they were, the classes in any order."""
    found = drawn_stills.read(None, SimpleNamespace(stored=24, classes=SEVEN), FEW)
    first, at = 0, 0
    for part, (n, subjects) in FEW.items():
        planned = plan_faces(n, 1, 0, subjects, 7, first_subject=first)
        some = found.samples[at:at + n]
        assert [s.id for s in some] == [f"{part}/{k:04d}" for k in range(n)] and {s.part for s in some} == {part}
        assert [SEVEN[s.target["expression"]] for s in some] == [EXPRESSIONS[e] for e in planned.expression.tolist()]
        assert [s.subject for s in some] == [f"d{k:03d}" for k in planned.subject.tolist()]
        close(tensor([s.target["va"] for s in some], device=device), planned.va[:, 0].to(device), atol=1e-6, rtol=0)
        first, at = first + subjects, at + n
    va = tensor([s.target["va"] for s in found.samples], device=device)
    assert va.abs().max() <= 1 and va.std(0).min() > .1 and all(set(s.target) == {"expression", "va"} for s in found.samples)
    valence = {name: va[[s.target["expression"] == k for s in found.samples], 0].mean() for k, name in enumerate(SEVEN)}
    assert max(valence, key=valence.get) == "happiness" and valence["sadness"] < 0
    again = drawn_stills.read(None, SimpleNamespace(stored=24, classes=SEVEN[::-1]), FEW)
    assert [s.target["va"] for s in again.samples] == [s.target["va"] for s in found.samples]
    assert [6 - s.target["expression"] for s in again.samples] == [s.target["expression"] for s in found.samples]
