"""Face2Nodes as a whole: its settings and tables, what it trains and loads, and the commands on tiny data sets of drawn faces."""
import contextlib
import dataclasses
import io
import json
import math
import shutil
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import tensor
from torch.testing import assert_close as close

import evaluate
import train
from refnet.backbones.resnet import LAYOUTS, ResNet
from refnet.backbones.weights import WeightsError
from refnet.data import drawn, drawn_stills, drawn_units, ferplus
from refnet.data.au_frames import Still
from refnet.data.drawn_faces import draw
from refnet.data.drawn_plan import EXPRESSIONS, plan as plan_faces
from refnet.data.protocols import as_delivered
from refnet.data.samples import DataError, DataSet, Drawn, Sample
from refnet.figures import face2nodes as figures
from refnet.models import arpgnet, face2nodes
from refnet.pictures import Clip, write_picture
from refnet.training import plan, runs
from refnet.training.batches import Prepared, collate, to_device
from refnet.training.job import Options
from refnet.training.together import one_core

pytestmark = pytest.mark.usefixtures("one_thread")

EIGHT = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")       # the columns of votes
RAF = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")                     # codes 1 to 7
AFFECT = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")                  # codes 0 to 6
THREE = ("happiness", "anger", "surprise")                        # a folder's, which takes them in the order of the alphabet
TINY = face2nodes.Config(net="resnet_demo", size=24, stored=24, N=9, D=16, C=8, L=2, k=2, slower=1)
ONLY, = face2nodes.stages(TINY)


def faces(cfg, B=3, seed=1, dtype=torch.float32):
    """Coarse patterns, so that faces and their nodes differ."""
    coarse = torch.rand(B, 3, cfg.size // 4, cfg.size // 4, generator=torch.Generator().manual_seed(seed), dtype=dtype)
    return coarse.repeat_interleave(4, 2).repeat_interleave(4, 3)


def made(cfg, device, seed=0):
    torch.manual_seed(seed)
    return face2nodes.network(cfg, {}, ONLY).to(device)


def heard(main, argv):
    """What a command prints; it must end well. On one core, so that the runs of a session can be compared to the bit."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out), one_core(True):
        assert main([str(word) for word in argv]) == 0
    return out.getvalue()


def refused(main, argv, status, capsys):
    """The one line that a command leaves with."""
    assert main([str(word) for word in argv]) == status
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 1
    return err


# ---- the page's numbers

SAID = dict(classes=EIGHT, size=224, flip=True, net="resnet18", MSF2PE=True, RG=True, N=49, D=512, L=8, k=9, slower=4,
            normalised=False, wider=4, xi=.1, lr=1e-3, weight_decay=1e-4, epochs=300, batch_size=64)
OURS = dict(votes="argmax", soft=False, stored=224, grey=False, zoom=.2, jitter=.2, C=64, groups=4, itself=True, begins_still=False,
            cache="runs/cache")
BOTH = {"ferplus": (91.41, 89.71), "rafdb": (91.02, 84.77), "affectnet": (66.69, 58.31)}     # Table 1: pre-trained, from scratch
OF_FERPLUS = {                                                    # what is set, accuracy, its deviation
    "table3.1": ({"MSF2PE": False}, 89.47, .25), "table3scratch.1": ({"MSF2PE": False}, 86.54, .33),
    "table3.2": ({"MSF2PE": True}, 91.41, .13), "table3scratch.2": ({"MSF2PE": True}, 89.71, .29),
    "table4.1": ({"RG": False}, 90.72, .27), "table4scratch.1": ({"RG": False}, 88.65, .32),
    "table4.2": ({"RG": True}, 91.41, .17), "table4scratch.2": ({"RG": True}, 89.71, .23),
    "table5.1": ({"L": 4}, 90.90, .16), "table5.2": ({"L": 6}, 91.18, .15), "table5.3": ({"L": 8}, 91.41, .13),
    "table5.4": ({"L": 10}, 90.95, .10), "table5.5": ({"L": 12}, 90.99, .11),
    "table6.1": ({"N": 49}, 91.41, .13), "table6.2": ({"N": 196}, 90.37, .09), "table6.3": ({"N": 784}, 89.86, .06)}
TABLES = {"1": ["table1.1", "table1.2"], "2": ["table2.1"],
          "3": ["table3.1", "table3.2"], "3scratch": ["table3scratch.1", "table3scratch.2"],
          "4": ["table4.1", "table4.2"], "4scratch": ["table4scratch.1", "table4scratch.2"],
          "5": [f"table5.{k}" for k in range(1, 6)], "6": [f"table6.{k}" for k in range(1, 4)]}


def job_of(dataset="ferplus", ablation="", preset="paper", options=Options(), **yours):
    return plan.settle(face2nodes, "face2nodes", dataset, preset, ablation, yours, "", options)


def test_settings_of_the_page():
    """face2nodes (§4.2, §4.3): every number that the page prints, and beside them those it leaves out."""
    fields = dataclasses.fields(face2nodes.Config)
    assert {f.name: f.default for f in fields if not f.metadata["source"].startswith("ours")} == SAID
    assert {f.name: f.default for f in fields if f.metadata["source"].startswith("ours")} == OURS
    assert [(s.name, s.epochs, s.settings) for s in face2nodes.stages(job_of().cfg)] == [("train", 300, {})]
    classes = {"ferplus": EIGHT, "rafdb": RAF, "affectnet": AFFECT, "drawn": EXPRESSIONS[:7]}
    stored = {"ferplus": 48, "rafdb": 100, "affectnet": 224, "drawn": 224}
    for name, names in classes.items():
        assert job_of(name).cfg == face2nodes.Config(classes=names, stored=stored[name], grey=name == "ferplus")
    assert set(face2nodes.DATASETS) == {*classes, "folder"} and {len(RAF), len(AFFECT)} == {7}


def test_tables_are_those_printed():
    """face2nodes (Tables 1 to 6)   what each row sets, its accuracy, and whether it begins with weights learned elsewhere."""
    rows = face2nodes.ABLATIONS
    assert set(rows) == {"table1.1", "table1.2", "table2.1", "baseline", "backbone", *OF_FERPLUS}
    for n, name in enumerate(("table1.1", "table1.2")):
        assert {data: rows[name].scores(data) for data in BOTH} == {data: {"Acc": acc[n]} for data, acc in BOTH.items()}
        assert rows[name].settings == {} and rows[name].pretrained is (n == 0)
    assert rows["table2.1"].scores("rafdb") == {"Acc": 91.02, "Params (M)": 36.58, "FLOPs (G)": 3.06}
    assert rows["table2.1"].settings == {} and rows["table2.1"].pretrained is True
    assert rows["table2.1"].scores("ferplus") == {}
    for name, (settings, acc, sd) in OF_FERPLUS.items():
        row = rows[name]
        assert row.settings == settings and row.scores("ferplus") == {"Acc": acc} and row.scores("rafdb") == {}
        assert f"± {sd} " in f"{row.note} " and "not said" in row.note
        assert row.pretrained is ("scratch" not in name)
        assert job_of(ablation=name).cfg == face2nodes.Config(stored=48, grey=True, **settings)
    assert rows["baseline"].settings == {"MSF2PE": False, "RG": False} and rows["backbone"].settings == {"L": 0}
    assert all(rows[name].scores(data) == {} and rows[name].pretrained is None for name in ("baseline", "backbone") for data in BOTH)
    for word, names in TABLES.items():
        assert plan.rows_of(face2nodes, word) == names == plan.rows_of(face2nodes, f"table{word}")
    with pytest.raises(runs.UsageError, match="there are 1, 2, 3, 3scratch, 4, 4scratch, 5, 6"):
        plan.rows_of(face2nodes, "7")


def as_asked(*words):
    """The runs that a command line asks for: name of the row → job."""
    args = train.parser_for(face2nodes, "face2nodes").parse_args(["--paper", "face2nodes", *words])
    return {row: job for (row, _), (job, _) in plan.planned(face2nodes, "face2nodes", args, plan.options_of(args)).items()}


REAL = ("--data", "somewhere", "--dataset", "ferplus")


def test_rows_from_scratch_never_take_weights(tmp_path):
    """--table 1 --weights: row 1 begins with them, row 2, from scratch, never."""
    both = as_asked(*REAL, "--table", "1", "--weights", "r18.pth", "--output-dir", str(tmp_path))
    assert [both[f"table1.{k}"].options.weights for k in (1, 2)] == ["r18.pth", ""]
    for word in ("3scratch", "4scratch"):
        assert {job.options.weights for job in as_asked(*REAL, "--table", word, "--weights", "r18.pth").values()} == {""}
    for word in ("2", "3", "4", "5", "6"):
        assert {job.options.weights for job in as_asked(*REAL, "--table", word, "--weights", "r18.pth").values()} == {"r18.pth"}
    with pytest.raises(runs.UsageError, match="--ablation table1.2 is trained from scratch; leave --weights out"):
        as_asked(*REAL, "--ablation", "table1.2", "--weights", "r18.pth")
    assert as_asked(*REAL, "--ablation", "baseline", "--weights", "r18.pth")["baseline"].options.weights == "r18.pth"


def lines_of(jobs):
    """A table of made-up scores: 90 % in every row."""
    return plan.table(jobs, {row: [{"Acc": .9, "Acc mean": .8}] for row in jobs}).splitlines()


def test_printed_scores_stand_beside_the_papers_own_settings():
    """Beside pre-trained rows only with --weights, beside those from scratch always; never beside other settings or fewer steps."""
    lines = lines_of(as_asked(*REAL, "--table", "4", "--weights", "r18.pth"))
    assert lines[0].endswith("  Acc, printed")
    assert [line.split()[-2:] for line in lines[1:3]] == [["90.00", "90.72"], ["90.00", "91.41"]]
    assert [line.split()[:2] for line in lines[1:3]] == [["table4.1", "-"], ["table4.2", "✓"]]
    assert lines[3:5] == ["face2nodes on ferplus, preset paper, seed 0", "ours start from r18.pth"]
    assert ["± 0.27" in lines[5], "± 0.17" in lines[6]] == [True, True]
    lines = lines_of(as_asked(*REAL, "--table", "3scratch"))
    assert [line.split()[-1] for line in lines[1:3]] == ["86.54", "89.71"]
    assert "pre-trained" not in lines[3] and "ours start" not in "".join(lines)
    lines = lines_of(as_asked(*REAL, "--table", "1", "--weights", "r18.pth"))
    assert [line.split()[-1] for line in lines[1:3]] == ["91.41", "89.71"]
    raf = ("--data", "somewhere", "--dataset", "rafdb", "--table", "2", "--weights", "r18.pth")
    for more in ((), ("--cache", "elsewhere")):                   # where pictures are kept is no setting of the paper
        assert lines_of(as_asked(*raf, *more))[1].split() == ["table2.1", "90.00", "91.02"]

    for word in ("1", "2", "3", "4", "5", "6"):
        dataset = "rafdb" if word == "2" else "ferplus"
        lines = lines_of(as_asked("--data", "somewhere", "--dataset", dataset, "--table", word))
        assert "printed" not in lines[0] and "±" not in "".join(lines)
        assert lines[-1].endswith("not to be compared with the paper's scores, which are of pre-trained weights: --weights FILE")
    for more in (("--lr", "0.01"), ("--steps", "9"), ("--soft",), ("--preset", "demo")):
        lines = lines_of(as_asked(*REAL, "--table", "4", "--weights", "r18.pth", *more))
        assert "printed" not in lines[0] and lines[-1].endswith("not to be compared with the paper's scores")
    lines = lines_of(as_asked("--table", "4"))                                           # drawn faces: no word of weights either
    assert "printed" not in lines[0] and lines[-1].endswith("not to be compared with the paper's scores")


@pytest.mark.parametrize("row, weights, wanted", [
    ("table1.1", "r18.pth", True), ("table1.1", "", False), ("table1.2", "", True), ("table1.2", "r18.pth", False),
    ("table5.1", "r18.pth", True), ("table3scratch.1", "", True), ("baseline", "", True), ("", "r18.pth", True)])
def test_as_printed(row, weights, wanted):
    """A job is the paper's own where it begins as its row does, and no setting is another but the place of the cache."""
    options = Options(weights=weights)
    assert plan.as_printed(job_of(ablation=row, options=options)) is wanted
    assert plan.as_printed(job_of(ablation=row, options=options, cache="elsewhere")) is wanted
    assert not plan.as_printed(job_of(ablation=row, options=options, jitter=.1))
    assert not plan.as_printed(job_of(ablation=row, options=options._replace(steps=1)))


# ---- wrong settings

WRONG = [*((name, 0, f"{name} must be 1 or more; got 0")
           for name in ("size", "stored", "N", "D", "k", "slower", "C", "groups", "wider", "epochs", "batch_size")),
         *((name, v, f"{name} must be 0 or more; got {v}") for name, v in (("L", -1), ("lr", -1.), ("lr", math.nan), ("lr", math.inf),
                                                                     ("weight_decay", -.1), ("weight_decay", math.nan))),
         *((name, v, f"{name} must be 0 or more and below 1; got {v}")
           for name in ("zoom", "jitter", "xi") for v in (-.1, 1., math.nan)),
         ("votes", "most", "votes is one of argmax, unique, majority; got most"),
         ("net", "vgg", r"net is one of resnet18, .*; got vgg"),
         ("classes", ("a",), "classes must be two names or more, each once; got a"),
         ("classes", ("a", "b", "a"), "classes must be two names or more, each once; got a, b, a"),
         ("N", 50, "N must be a square, such as 49, 196 or 784, .*; got 50"),
         ("D", 102, "D must be a multiple of 4; got 102"), ("groups", 3, "D must be a multiple of 6; got 512"),
         ("k", 25, r"k · d = 25 · 2 neighbours are chosen from in the last block, and there are 49: a smaller --k or --L"),
         ("slower", 1, r"k · d = 9 · 8 neighbours are chosen from in the last block, and there are 49"),
         ("L", 24, r"k · d = 9 · 6 neighbours are chosen from in the last block, and there are 49")]


@pytest.mark.parametrize("name, value, said", WRONG)
def test_config_refuses(name, value, said):
    with pytest.raises(ValueError, match=f"^{said}"):
        face2nodes.Config(**{name: value})


def test_config_refuses_what_does_not_go_together():
    """49 nodes have 48 others; the stem of ViG halves 224 to 7, 14 or 28, and cannot make 49 of 100 pixels."""
    assert face2nodes.Config(k=49, L=4).k == 49
    with pytest.raises(ValueError, match="k · d = 49 · 1 neighbours are chosen from in the last block, and there are 48"):
        face2nodes.Config(k=49, L=4, itself=False)
    assert face2nodes.Config(L=0, k=49).dilations == ()
    for N in (49, 196, 784):
        face2nodes.Config(MSF2PE=False, N=N)
    with pytest.raises(ValueError, match="up to five times, so --size is 7 · 1, 2, 4, ... or 32 for 49 nodes; got 100"):
        face2nodes.Config(MSF2PE=False, size=100)
    with pytest.raises(ValueError, match="got 448"):
        face2nodes.Config(MSF2PE=False, size=448)                                        # six times
    assert face2nodes.Config(size=100).size == 100
    assert face2nodes.Config(D=100).D == 100
    with pytest.raises(ValueError, match="D must be a multiple of 8; got 100"):
        face2nodes.Config(D=100, MSF2PE=False)                                           # whose first layer has D / 8


@pytest.mark.parametrize("words, said", [
    (("--N", "50"), "N must be a square"), (("--D", "22"), "D must be a multiple of 4"), (("--net", "vgg"), "net is one of"),
    (("--xi", "1"), "xi must be 0 or more and below 1"), (("--no-MSF2PE", "--size", "100"), "the stem of ViG halves a picture"),
    (("--dataset", "ferplus"), "--dataset ferplus needs --data DIR")])
def test_refused_at_the_command_line(words, said, capsys):
    assert said in refused(train.main, ["--paper", "face2nodes", *words], 2, capsys)


# ---- how large

def test_count(few):
    """--count --preset paper: 36,784,975 parameters and 3.066 G multiply-adds as worked out in test_face2nodes.py; the demo's by hand.

    resnet_demo: 2,352 + 32; 4,672; 14,528; 57,728; 78,208: 157,520. Fusion 2,880 + 4,160 + 128. A block of D = 64: 4,288 + 65 + 4,480
    + 8,384 + 17,152 + 16,576 = 50,945. The head 2,080 + 64 + 231.
    """
    wanted = {"paper": (224, 36_784_975, 11_176_512, 194_304, 25_280_520, 133_639),
              "demo": (112, 574_623, 157_520, 7_168, 8 * 50_945, 2_375)}
    for preset, (side, total, *parts) in wanted.items():
        out = heard(train.main, ["--paper", "face2nodes", "--count", "--preset", preset, "--device", "cpu"])
        rows = {line.split()[0]: line.split()[1:] for line in out.splitlines() if line.startswith("  ") and "," in line}
        names = ["resnet", "embedding", "blocks", "head"]
        assert [rows[name][0] for name in names] == [f"{n:,}" for n in parts] and rows["total"][0] == rows["total"][1] == f"{total:,}"
        assert out.startswith("face2nodes, train\n") and f"for one sample of (3, {side}, {side})\n" in out and sum(parts) == total
        assert preset == "demo" or rows["total"][2] == "3,066,087,168"
        sizes = ["Params (M) 36.785, printed 36.58", "FLOPs (G) 3.066, printed 3.06"]
        assert [words in out for words in sizes] == 2 * [preset == "paper"] and ("printed" in out) is (preset == "paper")
    assert "printed" not in heard(train.main, ["--paper", "face2nodes", "--count", "--preset", "paper", "--L", "4", "--device", "cpu"])


# ---- the network

def test_one_picture_says_the_same_alone_and_among_others(device):
    """In evaluation, also through `nodes` and `classify`; in training a single face cannot be normalised by the head."""
    model, x = made(TINY, device).eval(), faces(TINY).to(device)
    with torch.no_grad():
        wanted = model(x)
        assert wanted.shape == (3, 8) and model.nodes(x).shape == (3, 9, 16) and (wanted[0] - wanted[1]).abs().max() > 1e-3
        close(model(x[1:2]), wanted[1:2], atol=1e-5, rtol=1e-5)
        close(model.classify(model.nodes(x)), wanted)
        close(model(x.flip(0)), wanted.flip(0), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("N", [49, 196, 784])
def test_as_many_nodes_as_table_6(N, device):
    """face2nodes (Table 6): a node a patch of 32, 16 or 8 pixels of 224; the parameters are the same."""
    cfg = face2nodes.Config(net="resnet_demo", D=16, C=8, L=5, N=N)
    model = made(cfg, device).eval()
    with torch.no_grad():
        x = faces(cfg, B=1).to(device)
        assert model.nodes(x).shape == (1, N, 16) and model(x).shape == (1, 8)
        index, gates = model.graphs(x)
    assert index.shape == gates.shape == (5, 1, N, 9) and index.max() == N - 1 and 0 <= gates.min() and gates.max() <= 1
    assert torch.equal(index[:, 0, :, 0], torch.arange(N, device=device).expand(5, N))                # a node is its first neighbour


@pytest.mark.parametrize("L, wanted", [(4, (1, 1, 1, 1)), (6, (1, 1, 1, 1, 2, 2)), (10, (1, 1, 1, 1, 2, 2, 2, 2, 3, 3)),
                                       (12, (1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3))])
def test_as_deep_as_table_5(L, wanted, device):
    """face2nodes (Table 5)   ⌈l/4⌉, and each block's graph has every d-th of the nearest: at d = 3 the 1st, 4th, ..., 25th."""
    cfg = face2nodes.Config(net="resnet_demo", size=64, D=16, C=8, L=L)
    model = made(cfg, device).eval()
    assert tuple(block.d for block in model.blocks) == cfg.dilations == wanted
    with torch.no_grad():
        x = faces(cfg, B=2).to(device)
        index, _ = model.graphs(x)
        X = model.embed(x)
        for block, d, found in zip(model.blocks, wanted, index, strict=True):
            inside = block.F_in(X).double()
            far = (inside[:, :, None] - inside[:, None]).square().sum(-1)                # (2, 49, 49)
            reached = far.gather(2, found)                                               # (2, 49, 9)
            assert (reached.diff(dim=-1) >= -1e-6).all()
            nearer = (far[:, :, None] < reached[..., None] - 1e-6).sum(-1)               # how many are nearer than each of the nine
            assert nearer[..., -1].max() <= 8 * d and nearer[..., -1].double().mean() > 8 * d - 2
            X = block(X)


def test_no_blocks(device):
    """L = 0: the patches straight to the head; graphs are those of no block."""
    model, x = made(dataclasses.replace(TINY, L=0), device).eval(), faces(TINY).to(device)
    with torch.no_grad():
        assert len(model.blocks) == 0
        close(model(x), model.classify(model.embed(x)))


@pytest.mark.parametrize("size, N", [(28, 49), (56, 196), (56, 49)])
def test_the_stem_of_ViG(size, N, device):
    """No ResNet; a picture of 28 or 56 pixels becomes 49 or 196 nodes, each of what lies around its place alone."""
    cfg = face2nodes.Config(MSF2PE=False, size=size, N=N, D=16, L=1)
    model, x = made(cfg, device).eval(), faces(cfg, B=2).to(device)
    assert model.resnet is None and not any(name.startswith("resnet") for name in model.state_dict())
    with torch.no_grad():
        X = model.embed(x)
        assert X.shape == (2, N, 16) and model(x).shape == (2, 8)
        other = x.clone()
        other[:, :, :2, :2] = 1 - other[:, :, :2, :2]
        moved = (model.embed(other) - X).abs().amax((0, 2)) > 0                          # (N,)
    assert moved[0] and not moved[-1]


def test_the_two_operators_differ(device):
    """face2nodes (Table 4): the same weights but for the gates, which MR-GraphConv has none of; other logits."""
    rg = made(TINY, device).eval()
    mr = made(dataclasses.replace(TINY, RG=False), device).eval()
    here, there = rg.state_dict(), mr.state_dict()
    assert set(there) <= set(here)
    assert set(here) - set(there) == {f"blocks.{l}.conv.h.{part}" for l in (0, 1) for part in ("weight", "bias")}
    mr.load_state_dict({name: here[name] for name in there})
    x = faces(TINY).to(device)
    with torch.no_grad():
        assert (rg(x) - mr(x)).abs().max() > 1e-3
        assert torch.equal(mr.graphs(x)[1], torch.ones(2, 3, 9, 2, device=device)) and rg.graphs(x)[1].max() < 1


@pytest.mark.parametrize("training", [True, False])
def test_blocks_begin_still(training, device):
    """With --begins-still every block gives what it is given, to the bit, and learns all the same; without, none does."""
    x = faces(TINY).to(device)
    for begins_still in (True, False):
        model = made(dataclasses.replace(TINY, begins_still=begins_still), device).train(training)
        X = model.embed(x)
        assert all(torch.equal(block(X), X) is begins_still for block in model.blocks)
    model = made(dataclasses.replace(TINY, begins_still=True), device).train()
    F.cross_entropy(model(x), tensor([0, 3, 5], device=device)).backward()
    assert all(block.F_out.bn.weight.grad.abs().sum() > 0 and block.M[-1].bn.weight.grad.abs().sum() > 0 for block in model.blocks)


@pytest.mark.parametrize("switches", [{}, {"MSF2PE": False, "RG": False}])
def test_compiles_exports_and_runs_in_half_precision(switches, device):
    """One whole graph, traced and exported; in bfloat16 the loss is finite, and every weight has a finite gradient."""
    cfg = dataclasses.replace(TINY, **switches)
    torch.compiler.reset()
    model, x = made(cfg, device).eval(), faces(cfg).to(device)
    y = {"expression": tensor([0, 3, 5], device=device)}
    with torch.no_grad():
        wanted = model(x)
        for way in (torch.compile(model, fullgraph=True, backend="aot_eager"), torch.export.export(model, (x,)).module()):
            close(way(x), wanted, atol=1e-5, rtol=1e-4)
    with torch.autocast(device.type, torch.bfloat16):
        out = model.train()(x)
    total = face2nodes.loss(out.float(), y, {}, cfg, ONLY)["total"]
    total.backward()
    assert total.isfinite() and out.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_gradients_reach_every_weight(device):
    """Through one training step in float64, all but those biases that a later normalisation takes away again.

    What is added to a channel of all nodes alike has no neighbour that lacks it, and passes through sums and means to the next
    normalisation over samples and nodes, the head's at last. A gate's bias stays, as the scores are squeezed behind it.
    """
    model = made(TINY, device).double().train()
    y = {"expression": tensor([0, 3, 5], device=device)}
    face2nodes.loss(model(faces(TINY, dtype=torch.float64).to(device)), y, {}, TINY, ONLY)["total"].backward()
    without = {*(f"embedding.conv.{n}.bias" for n in range(4)), "embedding.fuse.bias", "head.0.bias"}
    for part in ("F_in.fc", "F_in.bn", "conv.f", "F_out.fc", "F_out.bn", "M.0.fc", "M.2.fc", "M.2.bn"):
        without |= {f"blocks.{l}.{part}.bias" for l in (0, 1)}
    slopes = {name: p.grad.abs().max().item() for name, p in model.named_parameters()}
    assert {name for name, slope in slopes.items() if slope < 1e-12} == without
    assert all(1e-9 < slope < 1e9 for name, slope in slopes.items() if name not in without)


# ---- how it learns, and how it is scored

def test_unknown_labels_teach_nothing(device):
    """Among three faces one is of an unknown class: loss and gradients are those of the other two."""
    out = torch.randn(3, 8, generator=torch.Generator().manual_seed(0)).to(device).requires_grad_()
    got = face2nodes.loss(out, {"expression": tensor([2, -1, 5], device=device)}, {}, TINY, ONLY)["total"]
    slope, = torch.autograd.grad(got, out)
    known = out[::2].detach().requires_grad_()
    wanted = face2nodes.loss(known, {"expression": tensor([2, 5], device=device)}, {}, TINY, ONLY)["total"]
    close(got, wanted)
    close(slope[::2], torch.autograd.grad(wanted, known)[0])
    assert (slope[1] == 0).all()
    none = face2nodes.loss(out, {"expression": tensor([-1, -1, -1], device=device)}, {}, TINY, ONLY)["total"]
    assert none == 0 and (torch.autograd.grad(none, out)[0] == 0).all()


def test_without_smoothing_it_is_cross_entropy(device):
    out, y = torch.randn(5, 8, generator=torch.Generator().manual_seed(0)).to(device), tensor([0, 7, 3, 3, 1], device=device)
    for xi in (0., .1, .3):                                       # torch smooths alike
        got = face2nodes.loss(out, {"expression": y}, {}, dataclasses.replace(TINY, xi=xi), ONLY)
        assert list(got) == ["total"]
        close(got["total"], F.cross_entropy(out, y, label_smoothing=xi))


def test_soft_labels_follow_the_votes(device):
    """Votes 6, 0, 0, 2 and odds 1 : 1 : 1 : 3 with ξ = 0: ¾ ln 6 + ¼ ln 2; whatever the class says. One vote or ten: shares count."""
    cfg = dataclasses.replace(TINY, classes=("a", "b", "c", "d"), soft=True, xi=0.)
    out = tensor([[0., 0., 0., math.log(3)]], device=device)
    for votes in ((6, 0, 0, 2), (3, 0, 0, 1)):
        target = {"expression": tensor([1], device=device), "votes": tensor([votes], device=device)}
        close(face2nodes.loss(out, target, {}, cfg, ONLY)["total"], tensor(.75 * math.log(6) + .25 * math.log(2), device=device))
    hard = face2nodes.loss(out, {"expression": tensor([1], device=device)}, {}, dataclasses.replace(cfg, soft=False), ONLY)["total"]
    close(hard, tensor(math.log(6), device=device))


def test_adam_on_a_cosine(device):
    """face2nodes (§4.2): the decay goes into the gradient, and lr (1 + cos(π t / T)) / 2 at step t of T; to zero."""
    cfg = dataclasses.replace(TINY, lr=2e-3, weight_decay=.3)
    model = made(cfg, device)
    adam, schedule = face2nodes.optimizer(model, cfg, 8)
    group, = adam.param_groups
    assert type(adam) is torch.optim.Adam and group["weight_decay"] == .3 and len(group["params"]) == len(list(model.parameters()))
    p = model.head[0].weight
    before = p.detach().clone()
    for q in model.parameters():
        q.grad = torch.zeros_like(q)
    used = [group["lr"]]
    adam.step(), schedule.step()
    close(before - p.detach(), 2e-3 * before.sign(), atol=1e-5, rtol=0)                  # Adam's first step is lr; the slope is .3 w
    for _ in range(7):
        used.append(group["lr"])
        adam.step(), schedule.step()
    assert used == pytest.approx([2e-3 * (1 + math.cos(math.pi * t / 8)) / 2 for t in range(8)])
    assert group["lr"] == pytest.approx(0, abs=1e-12)


def test_predict_and_score_by_hand(device):
    """Odds 1 : 3 are .25 and .75. Three of four right; class a 2 of 2, b ½, c has none: means ¾ and (1 + ½) / 2."""
    cfg = dataclasses.replace(TINY, classes=("a", "b", "c"))
    got = face2nodes.predict(tensor([[0., math.log(3), -30.], [1., 1., -30.]], device=device), cfg)
    assert list(got) == ["predicted", "p_a", "p_b", "p_c"] and got["predicted"].tolist() == [1, 0]
    close(torch.stack([got["p_a"], got["p_b"]], 1), tensor([[.25, .75], [.5, .5]], device=device))
    scores = face2nodes.score({"target": tensor([0, 0, 1, 1, -1]), "predicted": tensor([0, 0, 1, 2, 2])}, cfg)
    assert list(scores) == ["Acc", "Acc mean"] and list(scores.values()) == pytest.approx([.75, .75])
    scores = face2nodes.score({"target": tensor([0, 0, 0, 1]), "predicted": tensor([0, 0, 0, 2])}, cfg)
    assert scores == pytest.approx({"Acc": .75, "Acc mean": .5})


# ---- what training and testing see

def batch_of(samples, cfg, keys, device):
    """The network's input for keys (epoch, index), epoch None in testing."""
    prepared = Prepared(samples, face2nodes.prepare, cfg, seed=5)
    return face2nodes.batched(to_device(collate([prepared[key] for key in keys]), device)[0], cfg)[0]


def still(picture, name="a"):
    return Sample(name, Drawn(picture[None]), {"expression": 0})


PLAIN = dataclasses.replace(TINY, stored=16, size=16, N=4, flip=False, zoom=0., jitter=0.)


def random_face(seed, side=16):
    return torch.randint(0, 256, (3, side, side), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def test_in_testing_a_picture_is_itself(device):
    """float32 in [0, 1], whatever is set for training; and in training, too, with --no-flip --zoom 0 --jitter 0."""
    samples = [still(random_face(k), str(k)) for k in range(3)]
    wanted = torch.stack([random_face(k).float() / 255 for k in range(3)]).to(device)
    varied = dataclasses.replace(PLAIN, flip=True, zoom=.3, jitter=.3)
    assert torch.equal(batch_of(samples, varied, [(None, k) for k in range(3)], device), wanted)
    assert torch.equal(batch_of(samples, PLAIN, [(4, k) for k in range(3)], device), wanted)
    assert not torch.equal(batch_of(samples, varied, [(4, k) for k in range(3)], device), wanted)
    assert face2nodes.prepare(samples[0], varied, None)[0].dtype == torch.uint8


def test_enlarged_and_made_smaller_by_hand(device):
    """0 1 to four pixels: 0 ¼ ¾ 1. Four to two, each the mean of what lies under a triangle twice as wide: 3/7 3/7 1/7."""
    two, four = torch.zeros(3, 2, 2, dtype=torch.uint8), torch.zeros(3, 4, 4, dtype=torch.uint8)
    two[:, :, 1], four[:, :, 1] = 255, 255
    larger = batch_of([still(two)], dataclasses.replace(PLAIN, stored=2, size=4), [(None, 0)], device)
    close(larger, tensor([0., .25, .75, 1.], device=device).expand(1, 3, 4, 4))
    smaller = batch_of([still(four)], dataclasses.replace(PLAIN, stored=4, size=2), [(None, 0)], device)
    close(smaller, tensor([3 / 7, 1 / 7], device=device).expand(1, 3, 2, 2))


def test_about_half_are_mirrored(device):
    """Of 400 pictures 200 ± 40, each as it is or left for right, to the bit."""
    picture = random_face(3)
    x = batch_of([still(picture)] * 400, dataclasses.replace(PLAIN, flip=True), [(1, k) for k in range(400)], device)
    plain = picture.to(device).float() / 255
    turned = (x == plain.flip(-1)).all(-1).all(-1).all(-1)
    assert 160 < turned.sum() < 240
    assert torch.equal(x[~turned], plain.expand(int((~turned).sum()), 3, 16, 16))


def test_pictures_are_zoomed_around_their_centre(device):
    """A disc of radius 10 in 48 pixels; at --zoom 0.2 its area is .64 to 1.44 times what it was, its centre stays."""
    at = torch.arange(48) - 23.5
    disc = (255 * ((at[:, None] ** 2 + at ** 2) < 100)).byte().expand(3, 48, 48)
    cfg = dataclasses.replace(PLAIN, stored=48, size=48, zoom=.2)
    x = batch_of([still(disc)] * 200, cfg, [(1, k) for k in range(200)], device).cpu()
    ratio = (x.sum((1, 2, 3)) / (disc.float() / 255).sum()).sqrt()
    assert .78 < ratio.min() < .83 and 1.17 < ratio.max() < 1.22 and ratio.mean() == pytest.approx(1, abs=.03)
    for axis in (2, 3):
        centre = (x.sum((1, 5 - axis)) * at).sum(1) / x.sum((1, 2, 3))
        close(centre, torch.zeros(200), atol=.02, rtol=0)


def test_colours_are_each_samples_own(device):
    """A grey picture is moved by its brightness alone: .502 to .402 ... .602 at --jitter 0.2, another shade for each sample."""
    grey = torch.full((3, 16, 16), 128, dtype=torch.uint8)
    x = batch_of([still(grey)] * 200, dataclasses.replace(PLAIN, jitter=.2), [(1, k) for k in range(200)], device)
    assert (x.amax((1, 2, 3)) - x.amin((1, 2, 3))).max() < 1e-6
    shade = x[:, 0, 0, 0] / (128 / 255)
    assert .8 - 1e-5 < shade.min() < .81 and 1.19 < shade.max() < 1.2 + 1e-5 and shade.unique().numel() > 190
    red = torch.zeros(3, 16, 16, dtype=torch.uint8)
    red[0, :8] = 200                                              # contrast and saturation move it, too
    x = batch_of([still(red)] * 200, dataclasses.replace(PLAIN, jitter=.2), [(1, k) for k in range(200)], device)
    assert (x[:, 1, 0, 0] - x[:, 1, 15, 0]).std() > 1e-3 and (x[:, 0, 15, 0] - x[:, 1, 15, 0]).abs().max() < 1e-6


def test_a_sample_varies_by_itself(device):
    """Alone, among others, in another order: the same picture; in another epoch, and another sample of the same face: another."""
    cfg = dataclasses.replace(PLAIN, flip=True, zoom=.2, jitter=.2)
    samples = [still(random_face(0), str(k)) for k in range(6)]
    together = batch_of(samples, cfg, [(1, k) for k in range(6)], device)
    close(batch_of(samples, cfg, [(1, k) for k in (4, 2)], device), together[[4, 2]], atol=1e-6, rtol=0)
    for k in range(6):
        close(batch_of(samples, cfg, [(1, k)], device), together[k:k + 1], atol=1e-6, rtol=0)
    later = batch_of(samples, cfg, [(2, k) for k in range(6)], device)
    assert all((later[k] - together[k]).abs().max() > .01 for k in range(6))
    assert all((together[k] - together[k - 1]).abs().max() > .01 for k in range(6))


# ---- tiny data sets on disk

SMALL = ("--preset", "demo", "--size", "32", "--stored", "48", "--N", "16", "--D", "16", "--C", "8", "--L", "2", "--k", "3",
         "--batch-size", "8", "--epochs", "1", "--workers", "0", "--device", "cpu")
HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
AFFECTNET = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
SPLITS = {"Training": "FER2013Train", "PublicTest": "FER2013Valid", "PrivateTest": "FER2013Test"}


def text(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in rows))
    return path


@pytest.fixture(scope="module")
def portraits():
    """Drawn faces of 48 pixels with their landmarks: name → five of each."""
    video, points = draw(plan_faces(40, 1, 5, 5, 8, pose=.2, occlusion=0.), 48)
    shown = (video[:, 0] * 255).round().byte()
    return {name: [(shown[n], points[n, 0]) for n in range(e, 40, 8)] for e, name in enumerate(EXPRESSIONS)}


def votes_for(c, kind):
    """Ten columns: clear; more than any other but not half, or a single one; fewer than `unknown`; as many as the next."""
    votes = [0] * 10
    if kind == "clear":
        votes[c], votes[(c + 1) % 8] = 8, 2
    elif kind == "most":
        votes[c], votes[(c + 1) % 8], votes[(c + 2) % 8] = 4, 3, 3
    elif kind == "unknown":
        votes[c], votes[8] = 4, 6
    else:
        votes[c], votes[c + 1] = 5, 5
    return votes


def ferplus_rows(portraits):
    """(Usage, name, votes, class, picture), the last row but one without a face."""
    rows, grey = [], {name: [p.float().mean(0).round().byte() for p, _ in some] for name, some in portraits.items()}
    kinds = ("Training", "clear"), ("Training", "most"), ("Training", "unknown"), ("PublicTest", "clear"), ("PrivateTest", "clear")
    for k, (usage, kind) in enumerate(kinds):
        rows += [(usage, votes_for(c, kind), name, grey[name][k]) for c, name in enumerate(EIGHT)]
    rows.append(("PrivateTest", [0] * 9 + [10], "", grey["fear"][0]))
    rows.append(("PrivateTest", votes_for(2, "tie"), "surprise", grey["surprise"][3]))
    return [(usage, f"fer{n:07d}.png" if name else "", votes, name, p) for n, (usage, votes, name, p) in enumerate(rows)]


def ferplus_tables(root, portraits):
    rows = ferplus_rows(portraits)
    text(root / "fer2013new.csv", HEADER, *(",".join([usage, name, *map(str, votes)]) for usage, name, votes, _, _ in rows))
    text(root / "fer2013.csv", "emotion,pixels,Usage",
         *(f"0,{' '.join(map(str, p.flatten().tolist()))},{usage}" for usage, *_, p in rows))
    return root


def ferplus_folders(root, portraits):
    rows = ferplus_rows(portraits)
    for usage, folder in SPLITS.items():
        some = [(name, ",".join(map(str, votes))) for u, name, votes, _, _ in rows if name and u == usage]
        text(root / folder / "label.csv", *(f'{name},"(0, 0, 48, 48)",{votes}' for name, votes in some))
    for usage, name, _, _, p in rows:
        if name:
            write_picture(p.expand(3, 48, 48), root / SPLITS[usage] / name)
    return root


def split_of(portraits, names):
    """(part, number in the part, name, picture, landmarks): three of each to train with, one to test."""
    for part, at in (("train", (0, 1, 2)), ("test", (3,))):
        for n, (k, name) in enumerate((k, name) for k in at for name in names):
            yield part, n + 1, name, *portraits[name][k]


def rafdb_list(root, portraits):
    rows = list(split_of(portraits, RAF))
    labels = [f"{part}_{n:05d}.jpg {RAF.index(name) + 1}" for part, n, name, _, _ in rows]
    text(root / "basic" / "EmoLabel" / "list_patition_label.txt", *labels)
    for part, n, _, p, _ in rows:
        write_picture(p, root / "basic" / "Image" / "aligned" / f"{part}_{n:05d}_aligned.jpg")
    return root


def rafdb_folders(root, portraits):
    for part, n, name, p, _ in split_of(portraits, RAF):
        write_picture(p, root / "DATASET" / part / str(RAF.index(name) + 1) / f"{part}_{n:05d}_aligned.jpg")
    return root


def sheet(p):
    """A face in a larger picture, 20 pixels from the left and 9 from the top."""
    page = torch.full((3, 64, 90), 128, dtype=torch.uint8)
    page[:, 9:57, 20:68] = p
    return page


def affectnet_old(root, portraits):
    lists = {"train": [AFFECTNET], "test": []}                    # validation.csv without its header, as in some copies
    for part, n, name, p, points in split_of(portraits, AFFECT):
        marks = ";".join(f"{v:.2f}" for v in (points + tensor([20., 9.])).flatten().tolist())
        lists[part].append(f"{n % 2}/{part}{n}.jpg,20,9,48,48,{marks},{AFFECT.index(name)},0.5,-0.25")
        write_picture(sheet(p), root / "Manually_Annotated_Images" / str(n % 2) / f"{part}{n}.jpg")
    for part, stem in (("train", "training"), ("test", "validation")):
        text(root / "Manually_Annotated_file_lists" / f"{stem}.csv", *lists[part])
    return root


def affectnet_new(root, portraits):
    for part, n, name, p, points in split_of(portraits, AFFECT):
        folder = root / {"train": "train_set", "test": "val_set"}[part]
        write_picture(sheet(p), folder / "images" / f"{n}.jpg")
        (folder / "annotations").mkdir(exist_ok=True)
        marks = [f"{v:.2f}" for v in (points + tensor([20., 9.])).flatten().tolist()]
        for kind, value in (("exp", str(AFFECT.index(name))), ("val", "-2"), ("aro", "-2"), ("lnd", marks)):
            np.save(folder / "annotations" / f"{n}_{kind}.npy", np.array(value))
    return root


def folder_tree(root, portraits):
    for part, n, name, p, _ in split_of(portraits, THREE):
        write_picture(p, root / part / name / f"{n}.png")
    return root


WRITERS = {"ferplus": ferplus_tables, "ferplus_folders": ferplus_folders, "rafdb": rafdb_list, "rafdb_folders": rafdb_folders,
           "affectnet": affectnet_old, "affectnet_new": affectnet_new, "folder": folder_tree}


@pytest.fixture(scope="module")
def sets(portraits, tmp_path_factory):
    top = tmp_path_factory.mktemp("sets")
    return SimpleNamespace(cache=top / "cache", **{name: write(top / name, portraits) for name, write in WRITERS.items()})


def words(sets, name, out, *more):
    """What trains on a data set with small settings; what comes later on a command line wins."""
    return ["--paper", "face2nodes", "--data", getattr(sets, name), "--dataset", name.split("_")[0], *SMALL, "--cache", sets.cache,
            "--output-dir", out, *more]


@pytest.fixture(scope="module")
def full(sets, tmp_path_factory):
    """A run on FERPlus, and what it printed."""
    run = tmp_path_factory.mktemp("full") / "run"
    return SimpleNamespace(run=run, out=heard(train.main, words(sets, "ferplus", run)))


@pytest.fixture(scope="module")
def baseline(sets, tmp_path_factory):
    """The baseline on the same data."""
    run = tmp_path_factory.mktemp("baseline") / "run"
    return SimpleNamespace(run=run, out=heard(train.main, words(sets, "ferplus", run, "--ablation", "baseline")))


FEW = {"train": (28, 4), "select": (7, 1), "report": (14, 2)}     # pictures, subjects


@pytest.fixture
def few(monkeypatch):
    """Few drawn faces, through the paper's own reader of them."""
    monkeypatch.setattr(drawn_stills.read, "__defaults__", (FEW,))


def classes_of(name):
    return {"ferplus": EIGHT, "rafdb": RAF, "affectnet": AFFECT, "folder": tuple(sorted(THREE))}[name.split("_")[0]]


def wanted_of(name, portraits):
    """What is tested: sample → its class, typed from the layouts."""
    if name.startswith("ferplus"):
        folder = "PrivateTest" if name == "ferplus" else "FER2013Test"
        return {f"{folder}/{file}": c for usage, file, _, c, _ in ferplus_rows(portraits) if file and usage == "PrivateTest"}
    rows = [(n, c) for part, n, c, _, _ in split_of(portraits, THREE if name == "folder" else classes_of(name)) if part == "test"]
    spelt = {"rafdb": "test_{n:05d}", "rafdb_folders": "test_{n:05d}", "affectnet": "validation/{k}/test{n}",
             "affectnet_new": "val_set/{n}", "folder": "test/{c}/{n}.png"}[name]
    return {spelt.format(n=n, k=n % 2, c=c): c for n, c in rows}


@pytest.mark.parametrize("name", WRITERS)
def test_each_layout_trains_and_is_tested(name, sets, portraits, full, tmp_path, monkeypatch):
    """An epoch; every sample of the test part once, under its own class; evaluate.py says the same again."""
    monkeypatch.setattr(figures, "of_report", lambda *_: {})      # drawn in tests of their own
    classes, run = classes_of(name), full.run if name == "ferplus" else tmp_path / "run"
    out = full.out if name == "ferplus" else heard(train.main, words(sets, name, run))
    rows, wanted = runs.read_predictions(run / "predictions.csv", classes), wanted_of(name, portraits)
    assert dict(zip(rows["sample"], (classes[k] for k in rows["target"]), strict=True)) == wanted
    assert len(rows["sample"]) == len(wanted)
    assert list(rows) == ["sample", "subject", "fold", "target", "predicted", *(f"p_{c}" for c in classes)]
    p = torch.stack([rows[f"p_{c}"] for c in classes], 1)
    close(p.sum(1), torch.ones(len(p)))
    assert torch.equal(p.argmax(1), rows["predicted"])
    n = {"ferplus": 24, "folder": 9}.get(name.split("_")[0], 21)
    folds = json.loads((run / "config.json").read_text())["folds"]["0"]
    assert folds["train"] + (0 if n == 24 else folds["select"]) == n and folds["report"] == len(wanted)
    assert f"face2nodes on {name.split('_')[0]}, preset demo" in out and "packed: " in out and f"python evaluate.py {run}" in out
    assert {row["stage"] for row in runs.read_log(run)} == {"train"} and len(runs.read_log(run)) == 1
    said = heard(evaluate.main, [run, "--workers", "0", "--device", "cpu", "--output-dir", tmp_path / "again"])
    again = runs.read_predictions(tmp_path / "again" / "predictions.csv", classes)
    assert again["sample"] == rows["sample"] and torch.equal(again["target"], rows["target"])
    close(torch.stack([again[f"p_{c}"] for c in classes], 1), p, atol=1e-6, rtol=0)
    right = int((rows["target"] == rows["predicted"]).sum()) / len(wanted)
    assert f"Acc {right:.4f}" in out and f"Acc {right:.4f}" in said and (tmp_path / "again" / "confusion.png").exists()


def test_both_forms_of_ferplus_are_one_data_set(full, sets, tmp_path):
    """From numbers in a table or from pictures: the same run, but for the samples' names; --check decodes either."""
    for name in ("ferplus", "ferplus_folders"):
        assert "checked: 41 samples, 41 frames, all good" in heard(train.main, words(sets, name, tmp_path / "none", "--check"))
    heard(train.main, words(sets, "ferplus_folders", tmp_path / "run"))
    assert (tmp_path / "run" / "log.csv").read_bytes() == (full.run / "log.csv").read_bytes()
    a, b = ((run / "predictions.csv").read_text() for run in (tmp_path / "run", full.run))
    assert a.replace("FER2013Test/", "PrivateTest/") == b


@pytest.mark.parametrize("votes, train_, report", [("argmax", 24, 9), ("unique", 16, 8), ("majority", 8, 8)])
def test_protocols_of_ferplus(votes, train_, report, sets, tmp_path):
    """4, 3, 3 is no majority, and `unknown` beats 4 in both of the others; 5 : 5 is surprise in the first alone."""
    out = heard(train.main, words(sets, "ferplus", tmp_path / "run", "--votes", votes, "--steps", "1"))
    assert json.loads((tmp_path / "run" / "config.json").read_text())["folds"]["0"] == {"train": train_, "select": 8, "report": report}
    assert f"FERPlus: labels by {votes}: {ferplus.PROTOCOLS[votes]}; {33 + 8 - train_ - report - 8} rows have no such answer" in out
    rows = runs.read_predictions(tmp_path / "run" / "predictions.csv", EIGHT)
    assert sorted(rows["target"].tolist()) == sorted([*range(8), *([2] if votes == "argmax" else [])])


def test_soft_labels(full, sets, tmp_path):
    """--soft trains with the shares of votes: the same batches, another loss, other weights, the same targets in the table."""
    heard(train.main, words(sets, "ferplus", tmp_path / "run", "--soft"))
    a, b = runs.read_log(full.run)[0], runs.read_log(tmp_path / "run")[0]
    assert a["total"] != b["total"] and a["lr"] == b["lr"]
    a, b = (runs.read_predictions(run / "predictions.csv", EIGHT) for run in (full.run, tmp_path / "run"))
    assert torch.equal(a["target"], b["target"]) and not torch.equal(a["p_fear"], b["p_fear"])


def test_half_precision_trains(full, sets, tmp_path):
    """--amp: nearly the same loss, every weight finite."""
    heard(train.main, words(sets, "ferplus", tmp_path / "run", "--amp"))
    a, b = (runs.read_log(run)[0]["total"] for run in (full.run, tmp_path / "run"))
    assert a != b and a == pytest.approx(b, rel=.05)
    assert all(t.isfinite().all() for t in torch.load(tmp_path / "run" / "best.pt", weights_only=True)["model"].values())


@pytest.mark.parametrize("name", ["rafdb", "affectnet", "folder"])
def test_votes_want_votes(name, sets, tmp_path, capsys):
    err = refused(train.main, words(sets, name, tmp_path / "run", "--soft"), 3, capsys)
    assert "--soft takes the shares of votes as labels, and this data set has none; FERPlus has; leave --soft out" in err
    err = refused(train.main, words(sets, name, tmp_path / "run", "--votes", "unique"), 3, capsys)
    assert "--votes unique makes labels of votes, and this data set has none; FERPlus has; leave --votes out" in err
    assert not (tmp_path / "run").exists()


def test_answers_that_are_no_numbers_end_the_run(sets, tmp_path, capsys):
    """One step that ruins the weights: the loss before it was finite; the run fails, and what answers NaN is never the best."""
    err = refused(train.main, words(sets, "rafdb", tmp_path / "run", "--lr", "1e20", "--steps", "1"), 1, capsys)
    assert "a smaller --lr, or --clip 1, may help" in err and not (tmp_path / "run" / "predictions.csv").exists()


def test_grey_takes_the_colours_of_every_picture(sets):
    """By how much each counts to the eye, 0.299, 0.587 and 0.114: in training and in testing, whether pictures are kept or not."""
    def first(grey, cache, rng=None):
        cfg = dataclasses.replace(TINY, classes=RAF, grey=grey, cache=cache)
        return face2nodes.prepare(face2nodes.DATASETS["rafdb"].read(sets.rafdb, cfg).samples[0], cfg, rng)[0]

    red, green, blue = first(False, "").double()
    wanted, found = (.299 * red + .587 * green + .114 * blue).round(), first(True, "")
    assert (red != blue).any() and (wanted != red).any()
    assert found.shape == (3, *red.shape) and all((channel - wanted).abs().max() <= 1 and (channel != wanted).sum() < 9 for channel in found)
    assert torch.equal(first(True, str(sets.rafdb.parent / "kept")), found)
    assert torch.equal(first(True, "", torch.Generator().manual_seed(0)), found)


def test_soft_labels_want_votes_of_drawn_faces_too(few, tmp_path, capsys):
    err = refused(train.main, ["--paper", "face2nodes", *SMALL, "--soft", "--output-dir", tmp_path / "run"], 3, capsys)
    assert "--soft takes the shares of votes as labels" in err and not (tmp_path / "run").exists()


def test_a_folder_of_clips_gives_their_first_frames(portraits, tmp_path):
    """Frames in folders are not kept decoded; the first one of each is what is seen, however many follow."""
    ran = []
    for name, more in (("one", 1), ("three", 3)):
        for part, n, c, p, _ in split_of(portraits, THREE):
            for k in range(more):
                write_picture(p if k == 0 else 255 - p, tmp_path / name / part / c / str(n) / f"{k}.png")
        here = SimpleNamespace(folder=tmp_path / name, cache=tmp_path / f"kept {name}")
        ran.append(heard(train.main, words(here, "folder", tmp_path / f"run {name}")))
    assert "and only single pictures are kept; every epoch decodes anew" in ran[1] and not (tmp_path / "kept three").exists()
    assert "decoded in" in ran[0] and len(list((tmp_path / "kept one").iterdir())) == 1
    for name in ("log.csv", "predictions.csv"):
        assert (tmp_path / "run one" / name).read_bytes() == (tmp_path / "run three" / name).read_bytes()


def test_other_classes_than_the_data_sets_are_refused(sets, tmp_path, capsys):
    err = refused(train.main, words(sets, "rafdb", tmp_path / "run", "--classes", "joy", "woe"), 3, capsys)
    assert "RAF-DB" in err and "joy" in err


def test_the_network_gets_what_batched_makes(sets, portraits, tmp_path, monkeypatch):
    """Through a whole run: in testing the pictures of the table, made smaller and nothing else; in training each varied by itself."""
    met, forward = [], face2nodes.Face2Nodes.forward
    monkeypatch.setattr(face2nodes.Face2Nodes, "forward", lambda self, x: met.append((self.training, x.clone())) or forward(self, x))
    heard(train.main, words(sets, "ferplus", tmp_path / "run", "--steps", "1", "--zoom", "0.2", "--jitter", "0.2"))
    rows = [row for row in ferplus_rows(portraits) if row[1]]
    pictures = {usage: torch.stack([p.expand(3, 48, 48) for u, *_, p in rows if u == usage]).float() / 255 for usage in SPLITS}
    plain = {usage: F.interpolate(p, (32, 32), mode="bilinear", antialias=True) for usage, p in pictures.items()}
    first, *tested = [x for _, x in met]
    assert [training for training, _ in met] == [True] + [False] * len(tested) and first.shape == (8, 3, 32, 32)
    close(torch.cat(tested), torch.cat([plain["PublicTest"], plain["PrivateTest"]]), atol=1e-6, rtol=0)
    far = (first[:, None] - plain["Training"]).abs().mean((2, 3, 4))                     # (8, 24)
    assert far.min() > 1e-3 and far.amin(1).max() < .2


# ---- the cache

def test_pictures_are_decoded_once(portraits, tmp_path, monkeypatch, capsys):
    """A file in the first run, none decoded in the second; the same without a cache; of a changed picture another file."""
    root, kept = rafdb_list(tmp_path / "RAF", portraits), tmp_path / "kept"
    here = SimpleNamespace(rafdb=root, cache=kept)
    first, second, third = (tmp_path / name for name in ("first", "second", "third"))
    out = heard(train.main, words(here, "rafdb", first, "--jitter", "0.1", "--zoom", "0.1"))
    file, = kept.glob("*")
    assert file.suffix == ".npy" and f"in {file}, decoded in" in out
    assert np.load(file, mmap_mode="r").shape == (28, 3, 48, 48)
    out = heard(train.main, words(here, "rafdb", third, "--jitter", "0.1", "--zoom", "0.1", "--cache", ""))
    assert "every epoch decodes anew" in out and list(kept.glob("*")) == [file]

    def broken(*_):
        raise DataError("decoded again")
    with monkeypatch.context() as patch:
        patch.setattr(Still, "read", broken)
        out = heard(train.main, words(here, "rafdb", second, "--jitter", "0.1", "--zoom", "0.1"))
        assert f"in {file}, found" in out and list(kept.glob("*")) == [file]
        assert "decoded again" in refused(train.main, words(here, "rafdb", tmp_path / "none", "--cache", ""), 3, capsys)
    for run in (second, third):
        for name in ("log.csv", "predictions.csv"):
            assert (run / name).read_bytes() == (first / name).read_bytes()
    write_picture(portraits["fear"][4][0], root / "basic" / "Image" / "aligned" / "test_00001_aligned.jpg")
    heard(train.main, words(here, "rafdb", tmp_path / "fourth", "--jitter", "0.1", "--zoom", "0.1"))
    assert len(list(kept.glob("*.npy"))) == 2
    assert (tmp_path / "fourth" / "log.csv").read_text().split(",select")[0] == (first / "log.csv").read_text().split(",select")[0]
    a, b = ((run / "predictions.csv").read_text().splitlines() for run in (first, tmp_path / "fourth"))
    assert [x == y for x, y in zip(a, b, strict=True)] == [True, False] + [True] * 6     # the changed one alone says something else


def test_stopped_and_gone_on_with_another_cache(full, sets, tmp_path):
    """--steps 1, then --resume with the pictures kept elsewhere: as never having stopped."""
    run = tmp_path / "run"
    heard(train.main, words(sets, "ferplus", run, "--steps", "1"))
    assert (run / "predictions.csv").read_bytes() != (full.run / "predictions.csv").read_bytes()
    heard(train.main, ["--paper", "face2nodes", "--resume", run, "--device", "cpu", "--workers", "0", "--cache", tmp_path / "kept"])
    assert len(list((tmp_path / "kept").glob("*.npy"))) == 1
    for name in ("predictions.csv", "log.csv"):
        assert (run / name).read_bytes() == (full.run / name).read_bytes()


# ---- every setting does something

TURNED = dict(
    classes=EIGHT[::-1], votes="unique", soft=True, size=32, stored=20, grey=True, flip=False, zoom=0., jitter=0., net="resnet_other",
    MSF2PE=False, RG=False, N=16, D=24, L=1, k=3, slower=2, C=4, groups=1, itself=False, normalised=True, wider=2, begins_still=True,
    xi=.3, lr=1e-2, weight_decay=.5, epochs=3, batch_size=3, cache="elsewhere")
RESTING = dataclasses.replace(TINY, epochs=2, batch_size=4, cache="kept")


def evidence(cfg, root):
    """All that a setting can reach: what is read, where it is kept, batches, the plan, outputs, losses and weights of two steps."""
    found = face2nodes.DATASETS["ferplus"].read(root, cfg)
    samples = [s for s in found.samples if s.part == "train"]
    words = [*(f"{s.id} {s.target}" for s in samples), *sorted(str(p) for p in Path().glob("*/*.npy")), str(found.classes)]
    prepared, (stage,), out = Prepared(samples, face2nodes.prepare, cfg, 0), face2nodes.stages(cfg), []
    model = made(cfg, torch.device("cpu"))
    adam, schedule = face2nodes.optimizer(model, cfg, 2 * stage.epochs)
    for at in (0, cfg.batch_size):
        inputs, target = to_device(collate([prepared[1, k] for k in range(at, at + cfg.batch_size)]), torch.device("cpu"))
        x, = face2nodes.batched(inputs, cfg)
        said = model(x)
        total = face2nodes.loss(said, target, {}, cfg, stage)["total"]
        adam.zero_grad()
        total.backward()
        adam.step(), schedule.step()
        out += [x, said.detach(), total.detach(), tensor(adam.param_groups[0]["lr"])]
    with torch.no_grad():
        columns = face2nodes.predict(model.eval()(x), cfg)
    words += [*columns, f"{stage.epochs} epochs"]
    return words, [*out, *columns.values(), *(p.detach().clone() for p in model.parameters())]


def differ(a, b):
    return a[0] != b[0] or len(a[1]) != len(b[1]) or any(x.shape != y.shape or not torch.equal(x, y) for x, y in zip(a[1], b[1]))


@pytest.fixture
def elsewhere(tmp_path, monkeypatch):
    """A folder of its own to keep pictures in, and a ResNet of another depth."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(face2nodes.LAYOUTS, "resnet_other", face2nodes.LAYOUTS["resnet_demo"] | {"layout": (1, 1, 2, 1)})


def test_every_setting_is_turned():
    assert [f.name for f in dataclasses.fields(face2nodes.Config)] == list(TURNED)


@pytest.mark.parametrize("name", TURNED)
def test_the_knob_turns_something(name, sets, elsewhere):
    """One setting turned, all else and the seed as before."""
    turned = dataclasses.replace(RESTING, **{name: TURNED[name]})
    assert getattr(RESTING, name) != getattr(turned, name)
    still_ = evidence(RESTING, sets.ferplus)
    shutil.rmtree("kept")
    assert differ(still_, evidence(turned, sets.ferplus))


def test_a_knob_at_rest_changes_nothing(sets, elsewhere):
    assert not differ(evidence(RESTING, sets.ferplus), evidence(RESTING, sets.ferplus))


# ---- weights from files

def resnet18(seed=1):
    """A state dict as torchvision publishes it, fc included."""
    torch.manual_seed(seed)
    state = {name: t + .1 if t.is_floating_point() else t + 7 for name, t in ResNet(**LAYOUTS["resnet18"]).state_dict().items()}
    return state | {"fc.weight": torch.rand(1000, 512), "fc.bias": torch.rand(1000)}


def copied(model):
    return {name: t.clone() for name, t in model.state_dict().items()}


@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_published_resnet_loads(prefix, tmp_path, device):
    """Every tensor of the four stages is the file's, the rest stays as it was, and what found no place is said.

    62 of its 122 tensors are weights, 60 belong to normalisations: 20 · 3 running ones.
    """
    model, state = made(dataclasses.replace(TINY, net="resnet18"), device), resnet18()
    before = copied(model)
    torch.save({prefix + name: t for name, t in state.items()}, tmp_path / "r18.pth")
    report = face2nodes.load_weights(model, str(tmp_path / "r18.pth"), TINY)
    for name, t in model.state_dict().items():
        assert torch.equal(t.cpu(), state[name.removeprefix("resnet.")] if name.startswith("resnet.") else before[name].cpu()), name
    assert report.splitlines()[0] == "resnet: weights: 120 of the model's 120 tensors loaded"
    assert "in the file, not in the model, unused: fc (2)" in report


def test_the_stem_of_ViG_has_no_place_for_a_resnet(sets, tmp_path, capsys, device):
    """It is refused, and nothing is loaded or written."""
    model = made(dataclasses.replace(TINY, MSF2PE=False), device)
    before = copied(model)
    torch.save(resnet18(), tmp_path / "r18.pth")
    with pytest.raises(WeightsError, match="with the stem of ViG there is no ResNet to put them into.*--no-MSF2PE"):
        face2nodes.load_weights(model, str(tmp_path / "r18.pth"), TINY)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())
    more = ("--ablation", "baseline", "--weights", tmp_path / "r18.pth")
    err = refused(train.main, words(sets, "ferplus", tmp_path / "run", *more), 4, capsys)
    assert "r18.pth: these are no weights of a whole Face2Nodes" in err and not (tmp_path / "run").exists()


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("switches", [{}, {"MSF2PE": False}])
def test_weights_of_the_whole_network_load(switches, prefix, tmp_path, device):
    cfg = dataclasses.replace(TINY, **switches)
    one, other = made(cfg, device), made(cfg, device, seed=1)
    torch.save({"model": {prefix + name: t for name, t in one.state_dict().items()}}, tmp_path / "best.pt")
    n = len(one.state_dict())
    assert face2nodes.load_weights(other, str(tmp_path / "best.pt"), cfg) == f"weights: {n} of the model's {n} tensors loaded"
    assert all(torch.equal(t, one.state_dict()[name]) for name, t in other.state_dict().items())


def test_a_runs_weights_go_on(full, sets, tmp_path, capsys):
    """--weights RUN: the whole network; other blocks, or weights of another network, are refused before anything is written."""
    saved = torch.load(full.run / "best.pt", weights_only=True)["model"]
    out = heard(train.main, words(sets, "ferplus", tmp_path / "on", "--weights", full.run, "--lr", "0", "--steps", "1"))
    assert f"weights: {len(saved)} of the model's {len(saved)} tensors loaded" in out
    state = torch.load(tmp_path / "on" / "best.pt", weights_only=True)["model"]
    assert all(torch.equal(state[name], saved[name]) for name in saved if "running" not in name and "tracked" not in name)
    torch.save({"a.weight": torch.ones(2)}, tmp_path / "other.pth")
    torch.save(resnet18(), tmp_path / "r18.pth")
    for file, more, said in (("other.pth", (), "only 0 of the model's"), ("r18.pth", (), "only "), (full.run, ("--L", "8"), "only "),
                             ("none.pth", (), "there is no such file")):
        err = refused(train.main, words(sets, "ferplus", tmp_path / "run", "--weights", tmp_path / file, *more), 4, capsys)
        assert said in err and not (tmp_path / "run").exists()
    with pytest.raises(WeightsError, match="another network"):
        face2nodes.load_weights(made(TINY, "cpu"), str(tmp_path / "other.pth"), TINY)


def test_a_table_with_and_without_weights(few, tmp_path):
    """--table 1 --weights on drawn faces: the first row begins with them, the second at random; no printed score beside a demo's."""
    torch.save(resnet18(), tmp_path / "r18.pth")
    out = heard(train.main, ["--paper", "face2nodes", *SMALL, "--net", "resnet18", "--steps", "1", "--table", "1",
                             "--weights", tmp_path / "r18.pth", "--output-dir", tmp_path / "runs"])
    assert out.count("resnet: weights: 120 of the model's 120 tensors loaded") == 1
    assert out.index("row table1.1") < out.index("120 of the model's 120") < out.index("row table1.2")
    table = (tmp_path / "runs" / "table.txt").read_text()
    assert "printed" not in table and "91.41" not in table


def test_table_4_on_two_steps(few, tmp_path):
    """Two rows, the switch as the table has it, our accuracy, and no printed one."""
    out = heard(train.main, ["--paper", "face2nodes", *SMALL, "--steps", "2", "--table", "4", "--output-dir", tmp_path])
    head, *rows, note = (tmp_path / "table.txt").read_text().splitlines()
    assert head.split() == ["row", "RG", "Acc,", "ours"]
    assert [row.split()[:2] for row in rows] == [["table4.1", "-"], ["table4.2", "✓"]]
    assert note == "face2nodes on drawn faces, preset demo, seed 0; not to be compared with the paper's scores" and note in out
    for k, row in enumerate(rows, 1):
        seen = runs.read_predictions(tmp_path / f"table4.{k}-seed0" / "predictions.csv", EXPRESSIONS[:7])
        right = (seen["target"] == seen["predicted"]).double().mean().item()
        assert len(seen["sample"]) == 14 and float(row.split()[2]) == pytest.approx(right, abs=5e-5)


# ---- looking at runs

def drawn_files(folder):
    return {p.stem for p in folder.glob("*.png")}


def test_evaluate_a_run(full, tmp_path):
    """Its score, its table, and all its figures."""
    out = heard(evaluate.main, [full.run, "--workers", "0", "--device", "cpu", "--output-dir", tmp_path])
    assert drawn_files(tmp_path) == {"confusion", "graph", "cam", "features", "tsne"}
    assert "9 samples of the tested part, ferplus, seed 0" in out and "rows: target, columns: predicted" in out
    for name in drawn_files(tmp_path):
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert min(picture.size) > 100
    assert (tmp_path / "predictions.csv").read_text().splitlines()[0] == (full.run / "predictions.csv").read_text().splitlines()[0]


def test_runs_side_by_side(full, baseline, sets, tmp_path):
    """Figs. 7 and 8: the baseline and no graph at all beside it, each one's score, three sheets more; they stay as they are."""
    alone, out_ = tmp_path / "backbone", tmp_path / "out"
    heard(train.main, words(sets, "ferplus", alone, "--ablation", "backbone", "--L", "0", "--steps", "1"))
    before = (baseline.run / "predictions.csv").read_bytes()
    out = heard(evaluate.main, [full.run, "--beside", baseline.run, alone, "--workers", "0", "--device", "cpu", "--output-dir", out_])
    assert drawn_files(out_) == {"confusion", "graph", "cam", "features", "tsne", "beside-confusion", "beside-tsne", "beside-cam"}
    for run, name in ((full.run, ""), (baseline.run, "baseline"), (alone, "backbone")):
        at = out.index(f"beside it {run} ({name}, ") if name else out.index("9 samples of the tested part")
        rows = runs.read_predictions(run / "predictions.csv", EIGHT)
        assert out[at:].splitlines()[1].startswith(f"Acc {(rows['target'] == rows['predicted']).double().mean():.4f}  Acc mean ")
    assert (baseline.run / "predictions.csv").read_bytes() == before and not (baseline.run / "cam.png").exists()
    heard(evaluate.main, [alone, "--workers", "0", "--device", "cpu", "--output-dir", tmp_path / "alone"])
    assert drawn_files(tmp_path / "alone") == {"confusion", "cam", "features", "tsne"}                # no block, no graph


def test_runs_on_other_samples_are_not_put_side_by_side(full, sets, tmp_path, capsys):
    """Another protocol tests other samples, another data set too; classes in another order are other classes; own pictures have none."""
    heard(train.main, words(sets, "ferplus", tmp_path / "unique", "--votes", "unique", "--steps", "1"))
    heard(train.main, words(sets, "folder", tmp_path / "folder", "--steps", "1"))
    heard(train.main, words(sets, "ferplus", tmp_path / "turned", "--steps", "1", "--classes", *EIGHT[::-1]))
    flags = ["--workers", "0", "--device", "cpu", "--output-dir", tmp_path / "out"]
    for name in ("unique", "folder", "turned"):
        err = refused(evaluate.main, [full.run, "--beside", tmp_path / name, *flags], 3, capsys)
        assert f"--beside {tmp_path / name}: face2nodes" in err and "expected face2nodes and the same 9 samples, classes and labels" in err
    err = refused(evaluate.main, [full.run, "face.png", "--beside", tmp_path / "unique", "--device", "cpu"], 2, capsys)
    assert "--beside compares runs on the samples they test; leave it out for pictures of one's own" in err
    assert not (tmp_path / "out").exists()


def test_other_papers_runs_side_by_side(full, tmp_path, monkeypatch, capsys):
    """Two runs of another paper likewise; but not beside one of this paper."""
    monkeypatch.setitem(arpgnet.DATASETS, "drawn", DataSet(partial(drawn.read, parts=FEW), as_delivered))
    tiny = ["--widths", "4", "8", "8", "8", "--d", "8", "--hidden", "8", "--T", "4", "--size", "48", "--batch-size", "8", "--steps", "1"]
    for seed in "01":
        heard(train.main, ["--paper", "arpgnet", *tiny, "--device", "cpu", "--seed", seed, "--output-dir", tmp_path / seed])
    flags = ["--device", "cpu", "--workers", "0", "--output-dir", tmp_path / "out"]
    out = heard(evaluate.main, [tmp_path / "0", "--beside", tmp_path / "1", *flags])
    assert f"beside it {tmp_path / '1'} (" in out and ", seed 1)\n" in out and "beside-confusion" in drawn_files(tmp_path / "out")
    err = refused(evaluate.main, [full.run, "--beside", tmp_path / "0", *flags], 3, capsys)
    assert "arpgnet, 14 samples of drawn faces; expected face2nodes and the same 9 samples, classes and labels" in err


def test_data_that_has_moved(full, sets, tmp_path, monkeypatch):
    """--data says where; the decoded pictures are found again, as they are the same."""
    monkeypatch.setattr(figures, "of_report", lambda *_: {})
    shutil.copytree(sets.ferplus, tmp_path / "moved")
    monkeypatch.setattr(ferplus.Pixels, "read", None)             # nothing can be decoded
    flags = ["--workers", "0", "--device", "cpu", "--output-dir", tmp_path / "out"]
    out = heard(evaluate.main, [full.run, "--data", tmp_path / "moved", *flags])
    assert "packed: 41 pictures at 48 px" in out and ", found" in out
    a, b = (runs.read_predictions(folder / "predictions.csv", EIGHT) for folder in (full.run, tmp_path / "out"))
    assert a["sample"] == b["sample"]
    close(a["p_fear"], b["p_fear"], atol=1e-6, rtol=0)


@pytest.fixture(scope="module")
def album(portraits, tmp_path_factory):
    """Two faces in larger pictures, and their landmarks."""
    top = tmp_path_factory.mktemp("album")
    rows = []
    for name in ("anger", "happiness"):
        p, points = portraits[name][4]
        write_picture(sheet(p), top / "faces" / f"{name}.png")
        rows.append(",".join([f"{name}.png", *(f"{v:.3f}" for v in (points + tensor([20., 9.])).flatten().tolist())]))
    text(top / "points.csv", *rows)
    return top


@pytest.mark.parametrize("along", [True, False])
def test_ones_own_pictures(along, full, album, tmp_path):
    """A row and three pictures each; along landmarks the face is cut out, without them the centre square is taken, and it is said."""
    more = ["--landmarks", album / "points.csv"] if along else []
    out = heard(evaluate.main, [full.run / "best.pt", album / "faces", "--device", "cpu", "--output-dir", tmp_path, *more])
    assert ("no --landmarks: the centre square of each picture is used" in out) is not along
    rows = {line.split()[0].rpartition("/")[2]: line.split()[1:] for line in out.splitlines() if ".png" in line.split(" ")[0]}
    assert list(rows) == ["anger.png", "happiness.png"]
    assert drawn_files(tmp_path) == {f"{name}-{kind}" for name in ("001-anger", "002-happiness") for kind in ("bars", "graph", "cam")}
    saved = torch.load(full.run / "best.pt", weights_only=True)
    cfg = face2nodes.Config(**saved["cfg"])
    model = face2nodes.network(cfg, {}, ONLY).eval()
    model.load_state_dict(saved["model"])
    for name, (called, *p) in rows.items():
        if not along:
            square = Clip(album / "faces" / name).read([0])[0][:, :, 13:77]              # of 90 × 64
            write_picture(square, tmp_path / "square.png")
            x = batch_of([Sample("a", Clip(tmp_path / "square.png"), {"expression": 0})], cfg, [(None, 0)], torch.device("cpu"))
            with torch.no_grad():
                assert [float(v) for v in p] == pytest.approx(model(x)[0].softmax(-1).tolist(), abs=6e-4)
        assert EIGHT[max(range(8), key=lambda c: float(p[c]))] == called and sum(map(float, p)) == pytest.approx(1, abs=.005)


def test_landmarks_change_what_is_seen(album, device):
    """Cut out along its landmarks a face fills the picture: another one than the centre square."""
    lines = (album / "points.csv").read_text().splitlines()
    points = tensor([[float(v) for v in line.split(",")[1:]] for line in lines]).unflatten(1, (68, 2))
    cut, plain = (face2nodes.own("faces", Clip(album / "faces"), p) for p in (points, None))
    assert [s.id for s in cut] == [s.id for s in plain] == ["faces/anger.png", "faces/happiness.png"]
    a, b = (batch_of(some, PLAIN, [(None, 0), (None, 1)], device) for some in (cut, plain))
    assert (a - b).abs().mean() > .02


# ---- drawn faces

def test_drawn_stills(device):
    """Parts and subjects as asked for, no subject in two; a picture a sample, drawn at its side; classes in any order."""
    cfg = SimpleNamespace(stored=24, classes=EXPRESSIONS[:7])
    found = drawn_stills.read(None, cfg, FEW)
    by_part = {part: [s for s in found.samples if s.part == part] for part in FEW}
    assert {part: (len(some), len({s.subject for s in some})) for part, some in by_part.items()} == FEW
    subjects = [{s.subject for s in some} for some in by_part.values()]
    assert not (subjects[0] & subjects[1] or subjects[0] & subjects[2] or subjects[1] & subjects[2])
    assert len({s.id for s in found.samples}) == 49 and found.samples[28].id == "select/0000" and found.classes == EXPRESSIONS[:7]
    assert [s.target["expression"] for s in found.samples[:8]] == [k % 7 for k in range(8)]
    turned = drawn_stills.read(None, SimpleNamespace(stored=24, classes=EXPRESSIONS[6::-1]), FEW)
    assert [s.target["expression"] for s in turned.samples] == [6 - s.target["expression"] for s in found.samples]
    one, other = found.samples[5].clip.read([0], 24).to(device), turned.samples[5].clip.read([0], 24).to(device)
    assert one.shape == (1, 3, 24, 24) and one.dtype == torch.uint8 and torch.equal(one, other)
    assert "49 pictures at 24 px" in found.found[0] and len(found.found) == 4
    eight = drawn_stills.read(None, SimpleNamespace(stored=24, classes=EXPRESSIONS), FEW)
    assert {s.target["expression"] for s in eight.samples} == set(range(8))
    assert {part: n for part, (n, _) in drawn_stills.PARTS.items()} == {"train": 3200, "select": 175, "report": 420}


def test_drawn_stills_refuse(tmp_path, capsys):
    for cfg, said in ((SimpleNamespace(stored=24, classes=("neutral", "joy")), "2 classes are neutral, anger; got neutral, joy"),
                      (SimpleNamespace(stored=15, classes=EXPRESSIONS[:7]), "16 pixels or more a side; got --stored 15")):
        with pytest.raises(DataError, match=said):
            drawn_stills.read(None, cfg, FEW)
    err = refused(train.main, ["--paper", "face2nodes", "--stored", "15", "--output-dir", tmp_path / "run"], 3, capsys)
    assert "drawn faces need 16 pixels or more a side; got --stored 15" in err and not (tmp_path / "run").exists()


def test_drawn_units_are_as_they_were(device):
    """The pictures of the action units: planned part by part, eight expressions, subjects in order; 66 run over a block of 64."""
    parts = {"train": (66, 5), "report": (9, 2)}
    samples = drawn_units.read(None, SimpleNamespace(resize=20, aus=(1, 12)), parts).samples
    train_, report = plan_faces(66, 1, 0, 5, 8), plan_faces(9, 1, 0, 2, 8, first_subject=5)
    assert [s.id for s in samples] == [f"train/{i:04d}" for i in range(66)] + [f"report/{i:04d}" for i in range(9)]
    for part, at, some in ((train_, [0, 63, 64, 65], samples[:66]), (report, [0, 8], samples[66:])):
        pictures = (draw(part, 20)[0][:, 0] * 255).round().byte()
        assert [s.subject for s in some] == [f"d{k:03d}" for k in part.subject.tolist()]
        there = part.aus[:, 0][:, [0, 8]] >= .3                   # AU 1 and 12 among 1 2 4 5 6 7 9 10 12
        assert [s.target["au"] for s in some] == [tuple(map(int, row)) for row in there.tolist()]
        for k in at:
            assert torch.equal(some[k].clip.read([0], 20)[0].to(device), pictures[k].to(device))
