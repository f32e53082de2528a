"""ME-GraphAU as a whole: both stages against slow twins, its settings, what it loads and trains, and the commands on tiny data sets."""
import contextlib
import csv
import dataclasses
import io
import itertools
import json
import math
import shutil
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
from refnet.backbones.resnet import ResNet, normalise
from refnet.backbones.swin import Swin
from refnet.backbones.weights import WeightsError
from refnet.data import augmentation, disfa, drawn_units
from refnet.data.au_frames import Still
from refnet.data.drawn_faces import draw
from refnet.data.drawn_plan import plan as plan_faces
from refnet.data.landmarks import names_of_rows
from refnet.data.samples import Drawn, Sample
from refnet.figures import megraphau as figures
from refnet.graphs.nearest import scaled
from refnet.models import megraphau
from refnet.pictures import Clip, read_picture, write_picture
from refnet.training import plan, runs
from refnet.training.checkpoint import laid_over
from refnet.training.job import Options
from refnet.training.together import one_core
from test_resnet import published as resnet_names
from test_swin import of_no_use, published as swin_names

pytestmark = pytest.mark.usefixtures("one_thread")

TWELVE, EIGHT = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24), (1, 2, 4, 6, 9, 12, 25, 26)
TINY = megraphau.Config(aus=(1, 2, 4), K=2, net=("resnet_demo", "swin_demo"), reduce=(16, 32), resize=27, size=24)     # C = 4, D = 9
ANFL, MEFL = megraphau.stages(TINY)


def tiny(family="resnet", **more):
    """Three units, four channels, nine tokens; Swin wants sides of 16 pixels for a token."""
    sides = {"resize": 52, "size": 48} if family == "swin" else {}
    return dataclasses.replace(TINY, backbone=family, **sides | more)


# ---- how large

@pytest.mark.parametrize("aus, K, family, net, nodes, edges", [
    (TWELVE, 3, "resnet", "resnet50", 28_253_784, 31_666_132), (TWELVE, 3, "swin", "swin_base", 90_964_688, 94_377_036),
    (EIGHT, 4, "resnet", "resnet50", 27_197_008, 30_608_868), (EIGHT, 4, "swin", "swin_base", 89_907_912, 93_319_772),
    (TWELVE, 3, "resnet", "resnet18", 11_478_232, 11_693_012), (TWELVE, 3, "swin", "swin_tiny", 29_899_026, 31_819_534)])
def test_count(aus, K, family, net, nodes, edges):
    """The parameters of the authors' networks, first stage and second."""
    pair = {"resnet": (net, "swin_base"), "swin": ("resnet50", net)}[family]
    cfg = megraphau.Config(aus=aus, K=K, backbone=family, net=pair)
    with torch.device("meta"):
        counted = [sum(p.numel() for p in megraphau.network(cfg, {}, stage).parameters()) for stage in megraphau.stages(cfg)]
    assert counted == [nodes, edges]


def test_count_of_the_parts():
    """ResNet-50, C = 512, 12 units: 2048 · 512 + 512 + 2 · 512 = 1,050,112, and so on; two layers share 2,622,064."""
    cfg = megraphau.Config()
    with torch.device("meta"):
        first, second = (megraphau.network(cfg, {}, stage) for stage in megraphau.stages(cfg))

    def count(*parts):
        return sum(p.numel() for part in parts for p in part.parameters())
    assert (count(first.backbone), count(first.global_linear), count(first.AFG)) == (23_508_032, 1_050_112, 3_164_160)
    assert (count(first.FGG), first.s.numel(), first.s.shape) == (525_336, 6_144, (12, 512))
    assert (count(second.FAM, second.ARM), count(second.gcn), count(second.edge_fc)) == (1_313_568, 2_622_064, 2_052)
    assert second.FGG is None and len(second.gcn) == 2


# ---- the network, node by node

def faces(cfg, B=2, seed=1):
    """Coarse patterns, so that faces and their tokens differ."""
    coarse = torch.rand(B, 3, cfg.size // 8, cfg.size // 8, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return coarse.repeat_interleave(8, 2).repeat_interleave(8, 3)


def shaken(cfg, stage, seed=0):
    """A network in float64 whose weights are drawn, biases too, and whose running statistics are those of some faces: nothing is 0
    or 1 any more, so nothing can be forgotten unseen, and few nodes are dead."""
    torch.manual_seed(seed)
    model, rng = megraphau.network(cfg, {}, stage).double(), torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        if not name.startswith("backbone."):
            noise = torch.randn(p.shape, generator=rng, dtype=torch.float64)
            p.data = noise.abs() + .1 if name == "s" else noise / math.sqrt(p.shape[-1]) if p.dim() > 1 else 1 + .3 * noise
    for m in model.modules():
        m.momentum = .5
    with torch.no_grad():
        for k in range(3):
            model.train()(faces(cfg, 4, seed=10 + k))
    return model.eval()


def their_modules(mefl):
    """What the authors call a module, and what it is called here; `class_linears`, which are one layer here, apart."""
    if not mefl:
        return {"head.gnn.U": "FGG.U", "head.gnn.V": "FGG.V", "head.gnn.bnv": "FGG.bn"}
    edges = {"head.edge_extractor.edge_proj": "ARM.project", "head.edge_extractor.bn": "ARM.bn", "head.edge_fc": "edge_fc"}
    edges |= {f"head.edge_extractor.FAM.linear_{name[0]}": f"FAM.{name}" for name in ("query", "key", "value")}
    edges |= {f"head.edge_extractor.ARM.linear_{name[0]}": f"ARM.attend.{name}" for name in ("query", "key", "value")}
    first = {f"head.gnn.{W}1": f"gcn.0.{W}" for W in "UVABE"} | {f"head.gnn.bn{k}1": f"gcn.0.bn_{k}" for k in "ve"}
    return edges | first | {f"head.gnn.{W}2": f"gcn.1.{W}" for W in "UVABE"} | {f"head.gnn.bn{k}2": f"gcn.1.bn_{k}" for k in "ve"}


def by_their_names(model):
    """The network's tensors as the authors name them: unit i has the i-th C rows of our AFG."""
    state = model.state_dict()
    out = {name: t for name, t in state.items() if name.startswith(("backbone.", "global_linear.", "fc."))}
    if model.s is None:
        return out
    N, C = model.s.shape
    out["head.sc"] = state["s"]
    for part in [name.removeprefix("AFG.") for name in state if name.startswith("AFG.")]:
        for i in range(N):
            t = state[f"AFG.{part}"]
            out[f"head.class_linears.{i}.{part}"] = t[i * C:(i + 1) * C] if t.dim() else t
    for theirs, ours in their_modules(model.mefl).items():
        out |= {f"{theirs}{name.removeprefix(ours)}": t for name, t in state.items() if name.startswith(f"{ours}.")}
    return out


def twin(t, face, K, N, training=False):
    """Figure 2 in loops. t: tensors by the authors' names; face (B, D, C_in): the backbone's tokens → p (B, N), pairs (B, N, N, 4)

    Blocks that t does not name are not there: without gnn.U no FGG, without edge_extractor no MEFL; fc stands for all that follows X.
    """
    B, D, C = *face.shape[:2], len(t["global_linear.fc.weight"])

    def fc(name, x):
        return t[f"{name}.weight"] @ x + t.get(f"{name}.bias", 0)

    def bn(name, k, values):
        """The k-th mean and variance of a normalisation, for all of `values`."""
        mean, variance = t[f"{name}.running_mean"][k], t[f"{name}.running_var"][k]
        if training:
            mean = values.sum() / values.numel()
            variance = ((values - mean) ** 2).sum() / values.numel()
        return (values - mean) / math.sqrt(variance + 1e-5) * t[f"{name}.weight"][k] + t[f"{name}.bias"][k]

    def block(name, x):                                                                 # linear, normalised a channel, ReLU
        y = torch.stack([torch.stack([fc(f"{name}.fc", token) for token in sample]) for sample in x])
        return torch.stack([bn(f"{name}.bn", c, y[..., c]) for c in range(C)], -1).clamp(min=0)

    def attend(name, A, Y):                                                             # Eq. 4
        keys, values, out = [fc(f"{name}.linear_k", y) for y in Y], [fc(f"{name}.linear_v", y) for y in Y], []
        for a in A:
            q = fc(f"{name}.linear_q", a)
            score = [math.exp(float(q @ k) / math.sqrt(len(k))) for k in keys]
            out.append(sum(s / sum(score) * v for s, v in zip(score, values)))
        return torch.stack(out)

    X, pairs = block("global_linear", face), torch.zeros(B, 0, 0, 4, dtype=face.dtype)  # (B, D, C)
    if "fc.weight" in t:
        means = sum(X[:, d] for d in range(D)) / D
        return torch.stack([1 / (1 + (-fc("fc", x)).exp()) for x in means]), pairs
    U = torch.stack([block(f"head.class_linears.{i}", X) for i in range(N)], 1)         # (B, N, D, C)   AFG
    V = sum(U[:, :, d] for d in range(D)) / D                                           # (B, N, C)      GAP
    if "head.gnn.U.weight" in t:                                                        # FGG, Eq. 1
        m = torch.zeros_like(V)
        for b in range(B):
            for i in range(N):
                like = [float(V[b, i] @ V[b, j]) for j in range(N)]
                near = sorted(range(N), key=lambda j: (-like[j], j))[:K]
                m[b, i] = fc("head.gnn.U", V[b, i]) + sum(fc("head.gnn.V", V[b, j]) for j in near) / K
        V = torch.stack([V[:, i] + bn("head.gnn.bnv", i, m[:, i]) for i in range(N)], 1).clamp(min=0)
    if "head.edge_extractor.bn.weight" in t:                                            # MEFL
        F = [[attend("head.edge_extractor.FAM", U[b, i], X[b]) for i in range(N)] for b in range(B)]          # Eq. 3
        E = torch.zeros(B, N, N, C, dtype=face.dtype)
        for i, j in itertools.product(range(N), range(N)):                              # Eq. 5: j asks, i answers
            heard = [attend("head.edge_extractor.ARM", F[b][j], F[b][i]) for b in range(B)]
            heard = torch.stack([torch.stack([fc("head.edge_extractor.edge_proj", y) for y in Y]) for Y in heard])
            E[:, i, j] = sum(bn("head.edge_extractor.bn", i * N + j, heard).unbind(1)) / D
        for n in (1, 2):                                                                # GatedGCN
            def g(W, x):
                return torch.stack([fc(f"head.gnn.{W}{n}", sample) for sample in x])
            new_E, new_V = torch.zeros_like(E), torch.zeros_like(V)
            for i, j in itertools.product(range(N), range(N)):
                hat = g("A", V[:, i]) + g("B", V[:, j]) + g("E", E[:, i, j])
                new_E[:, i, j] = E[:, i, j] + bn(f"head.gnn.bne{n}", i * N + j, hat).clamp(min=0)
            for i in range(N):
                gate = [(1 / (1 + (-new_E[:, i, j]).exp())).exp() for j in range(N)]
                mixed = g("U", V[:, i]) + sum(gate[j] / sum(gate) * g("V", V[:, j]) for j in range(N)) / N
                new_V[:, i] = (V[:, i] + bn(f"head.gnn.bnv{n}", i, mixed)).clamp(min=0)
            V, E = new_V, new_E
        if "head.edge_fc.weight" in t:
            pairs = torch.stack([fc("head.edge_fc", e) for e in E.flatten(0, 2)]).unflatten(0, (B, N, N))
    p = torch.zeros(B, N, dtype=face.dtype)
    for b, i in itertools.product(range(B), range(N)):                                  # SC, Eq. 2
        v, s = V[b, i].clamp(min=0), t["head.sc"][i].clamp(min=0)
        p[b, i] = v @ s / math.sqrt(float(v @ v)) / math.sqrt(float(s @ s)) if (v @ s) > 0 else 0
    return p, pairs


NO_L_E = {"L_E": False}
NO_AFG, NO_FGG = {"AFG": False, "FGG": False, "MEFL": False, "L_E": False}, {"FGG": False, "MEFL": False, "L_E": False}


@pytest.mark.parametrize("family, switches, stage", [
    ("resnet", {}, ANFL), ("swin", {}, ANFL), ("resnet", NO_FGG, ANFL), ("resnet", NO_AFG, ANFL), ("resnet", {}, MEFL), ("swin", {}, MEFL),
    ("resnet", NO_L_E, MEFL)])
@pytest.mark.parametrize("training", [False, True])
@torch.no_grad()
def test_forward_is_the_page(training, family, switches, stage, device):
    """megraphau (1, 2, 3, 4, 5)   Figure 2, from the backbone's map on: two faces, three units, nine tokens, four channels.

    Reading: without a linear layer ahead of AFG C would be the backbone's 64 or 128. Without FGG, SC takes the mean of U_i; without
    AFG a layer of its own takes that of X, and there is no s: p would be others from any other vector.
    """
    cfg = tiny(family, **switches)
    model = shaken(cfg, stage).to(device)
    assert model.backbone.channels == {"resnet": 64, "swin": 128}[family] and model.train(training)
    assert (model.s is None) == (not cfg.AFG) == (model.AFG is None) == hasattr(model.fc, "weight")
    x = faces(cfg).to(device)
    face = model.backbone(normalise(x)).flatten(2).mT.cpu()
    assert face.shape == (2, 9, model.backbone.channels)
    wanted = twin({name: t.cpu() for name, t in by_their_names(model).items()}, face, cfg.K, 3, training)
    p, pairs = model(x)
    close(p.cpu(), wanted[0], atol=1e-9, rtol=0)
    close(pairs.cpu(), wanted[1], atol=1e-9, rtol=0)
    asked = stage is MEFL and cfg.L_E
    assert pairs.shape == ((2, 3, 3, 4) if asked else (2, 0, 0, 4)) and (p[0] - p[1]).abs().max() > 1e-3
    assert not asked or (pairs[0] - pairs[1]).abs().max() > .01


@torch.no_grad()
def test_the_face_is_normalised_before_the_backbone(device):
    """What reaches it is (x − mean) / deviation of ImageNet: a face of exactly these means is zero."""
    model, met = megraphau.network(TINY, {}, ANFL).to(device).eval(), []
    model.backbone.register_forward_pre_hook(lambda _, args: met.append(args[0]))
    model(tensor([.485, .456, .406], device=device)[:, None, None].expand(1, 3, 24, 24))
    model(torch.ones(1, 3, 24, 24, device=device))
    close(met[0], torch.zeros_like(met[0]), atol=1e-6, rtol=0)
    close(met[1][0, :, 5, 7], tensor([.515 / .229, .544 / .224, .594 / .225], device=device))


def test_gradients_reach_every_weight(device):
    """In both stages, through p alone where there are no pairs."""
    for stage in (ANFL, MEFL):
        model = shaken(TINY, stage).to(device).train()
        out = model(faces(TINY).to(device))
        target, stat = {"au": tensor([[1, 0, 1], [0, 1, 0]], device=device)}, {"w": torch.ones(3, device=device) / 3}
        megraphau.loss(out, target, stat, TINY, stage)["total"].backward()
        assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())
        assert all(model.get_parameter(name).grad.abs().sum() > 0 for name in ("s", "global_linear.fc.weight", "AFG.fc.weight"))


def test_initial_weights(device):
    """As the authors': linear layers normal(0, √(2 / outputs)), each of AFG's units √(2 / C) with C its own outputs; s Xavier."""
    torch.manual_seed(0)
    model = megraphau.network(dataclasses.replace(TINY, reduce=(1, 2), aus=TWELVE, K=3), {}, MEFL).to(device)
    assert model.AFG.fc.weight.shape == (12 * 64, 64)
    for t, wanted in ((model.AFG.fc.weight, math.sqrt(2 / 64)), (model.global_linear.fc.weight, math.sqrt(2 / 64)),
                      (model.s, math.sqrt(2 / (64 + 12)))):
        assert t.std().item() == pytest.approx(wanted, rel=.05) and t.mean().item() == pytest.approx(0, abs=.02)


# ---- the page's numbers

SAID = dict(aus=TWELVE, size=224, net=("resnet50", "swin_base"), AFG=True, FGG=True, MEFL=True, L_WA=True, L_E=True, K=3, ties=False,
            layers=2, w_sum="one", detach=False, lam=(.05, .01), stage="both", lr=1e-4, lr_2=(1e-6, 1e-6), beta1=.9, beta2=.999,
            weight_decay=5e-4, epochs=20, epochs_2=20, batch_size=64)
OURS = dict(resize=256, flip=True, jitter=.4, threshold=2, backbone="resnet", reduce=(4, 2), cited=False, called=.5)
TABLE_3 = [                            # AFG FGG MEFL L_WA L_E, F1 of ResNet and of Swin, as printed
    (False, False, False, False, False, 59.1, 62.6),
    (True, False, False, False, False, 60.4, 63.6),
    (True, False, False, True, False, 63.0, 64.6),
    (True, True, False, True, False, 63.7, 65.1),
    (True, False, True, True, False, 63.9, 64.6),
    (True, True, True, True, False, 64.5, 65.4),
    (True, True, True, True, True, 64.7, 65.5)]


def settled(dataset, ablation="", preset="paper", **yours):
    return plan.settle(megraphau, "megraphau", dataset, preset, ablation, yours, "", Options()).cfg


def test_settings_of_the_page():
    """megraphau (§3.1): every number that the page prints, and beside them those it leaves out."""
    fields = dataclasses.fields(megraphau.Config)
    assert {f.name: f.default for f in fields if not f.metadata["source"].startswith("ours")} == SAID
    assert {f.name: f.default for f in fields if f.metadata["source"].startswith("ours")} == OURS
    bp4d_, disfa_ = settled("bp4d"), settled("disfa")
    assert (bp4d_.K, bp4d_.aus, disfa_.K, disfa_.aus) == (3, TWELVE, 4, EIGHT) and dataclasses.replace(disfa_, K=3, aus=TWELVE) == bp4d_
    first, second = megraphau.stages(bp4d_)
    assert (first.name, first.epochs, first.settings) == ("ANFL", 20, {}) and (second.name, second.epochs) == ("MEFL", 20)
    for family, lr, lam in (("resnet", 1e-6, .05), ("swin", 1e-6, .01)):
        cfg = settled("bp4d", backbone=family)
        assert (cfg.lr, laid_over(cfg, megraphau.stages(cfg)[1]).lr, cfg.of(cfg.lam)) == (1e-4, lr, lam)
    assert all(d.select == (.1 if name == "drawn" else 0) for name, d in megraphau.DATASETS.items())


@pytest.mark.parametrize("family", ["resnet", "swin"])
@pytest.mark.parametrize("row", range(1, 8))
def test_rows_are_those_printed(row, family):
    """megraphau (Table 3)   what each row switches on, which modules that gives its stages, and which loss."""
    *on, res, swin = TABLE_3[row - 1]
    AFG, FGG, edges, L_WA, L_E = on
    name = f"table3{'' if family == 'resnet' else 'swin'}.{row}"
    assert megraphau.ABLATIONS[name].scores("bp4d") == {"F1": {"resnet": res, "swin": swin}[family]}
    assert megraphau.ABLATIONS[name].scores("disfa") == {}                              # Table 3 is of BP4D
    cfg = settled("bp4d", name, net=("resnet_demo", "swin_demo"), reduce=(16, 32), size=32, resize=36)
    assert (cfg.AFG, cfg.FGG, cfg.MEFL, cfg.L_WA, cfg.L_E, cfg.backbone) == (*on, family)
    stages = megraphau.stages(cfg)
    assert [s.name for s in stages] == (["ANFL"] if row < 5 else ["ANFL", "MEFL"])
    y, w = torch.randint(0, 2, (4, 12), generator=torch.Generator().manual_seed(0)), torch.rand(12)
    for stage in stages:
        model, second = megraphau.network(cfg, {}, stage), stage.name == "MEFL"
        assert type(model.backbone) is {"resnet": ResNet, "swin": Swin}[family]
        assert ((model.AFG is not None), (model.FGG is not None)) == (AFG, FGG and not second)
        assert all(hasattr(model, part) == second for part in ("FAM", "ARM", "gcn", "edge_fc"))
        assert not second or (model.edge_fc is not None) == L_E                         # rows 5 and 6 ask the edges nothing
        adam, _ = megraphau.optimizer(model.train(), laid_over(cfg, stage), 3)
        before = {n: p.detach().clone() for n, p in model.named_parameters()}
        out = model(torch.rand(4, 3, 32, 32))
        terms = megraphau.loss(out, {"au": y}, {"w": w}, cfg, stage)
        terms["total"].backward()
        adam.step()
        assert all(p.grad is not None for p in model.parameters())
        moved = {n for n, p in model.named_parameters() if not torch.equal(p, before[n])}
        assert {n for n in before if not n.endswith("key.bias")} <= moved               # a key's bias is the same for all that answer
        assert ("edges" in terms) == (L_E and second)
        p = out[0].detach().double()
        middle = p if L_WA else 1                                                       # rows 1 and 2: without it
        each = y * p.clamp(min=1e-8).log() + (1 - y) * middle * (1 - p).clamp(min=1e-8).log()
        close(terms.get("nodes", terms["total"]).double(), -(w * each).mean(), atol=1e-6, rtol=0)


TABLES_1_2 = {                         # of each unit in the order of the settings, then the mean
    "table1.1": ("resnet", "bp4d", (53.7, 46.9, 59.0, 78.5, 80.0, 84.4, 87.8, 67.3, 52.5, 63.2, 50.6, 52.4, 64.7)),
    "table1.2": ("swin", "bp4d", (52.7, 44.3, 60.9, 79.9, 80.1, 85.3, 89.2, 69.4, 55.4, 64.4, 49.8, 55.1, 65.5)),
    "table2.1": ("resnet", "disfa", (54.6, 47.1, 72.9, 54.0, 55.7, 76.7, 91.1, 53.0, 63.1)),
    "table2.2": ("swin", "disfa", (52.5, 45.7, 76.1, 51.8, 46.5, 76.1, 92.9, 57.6, 62.4))}


@pytest.mark.parametrize("name", TABLES_1_2)
def test_units_are_those_printed(name):
    """megraphau (Tables 1, 2)   the whole system with either backbone; the mean of the units is the printed one."""
    family, dataset, values = TABLES_1_2[name]
    row = megraphau.ABLATIONS[name]
    units = [f"F1 AU{unit:02d}" for unit in {"bp4d": TWELVE, "disfa": EIGHT}[dataset]]
    assert row.on(dataset) == {"backbone": family} and row.scores(dataset) == dict(zip([*units, "F1"], values, strict=True))
    assert row.scores({"bp4d": "disfa", "disfa": "bp4d"}[dataset]) == {}
    assert sum(values[:-1]) / len(units) == pytest.approx(values[-1], abs=.1)


def test_there_are_no_other_rows():
    assert set(megraphau.ABLATIONS) == {f"table3{s}.{k}" for s in ("", "swin") for k in range(1, 8)} | {"as_code"} | set(TABLES_1_2)


def test_as_code():
    """What the authors' code does otherwise: K the other way round, 1e-5 for ResNets, Σ w = N, p held in the middle, ties."""
    for dataset, K, N in (("bp4d", 4, 12), ("disfa", 3, 8)):
        for family, lr in (("resnet", 1e-5), ("swin", 1e-6)):
            cfg = settled(dataset, "as_code", backbone=family)
            assert (cfg.K, cfg.ties, cfg.w_sum, cfg.detach, len(cfg.aus)) == (K, True, "N", True, N)
            assert laid_over(cfg, megraphau.stages(cfg)[1]).lr == lr and cfg.lr == 1e-4
            back = {"K": settled(dataset).K, "ties": False, "w_sum": "one", "detach": False, "lr_2": (1e-6, 1e-6), "backbone": "resnet"}
            assert dataclasses.replace(cfg, **back) == settled(dataset)
    assert megraphau.ABLATIONS["as_code"].scores("bp4d") == {}


WRONG = [*((name, 0) for name in ("resize", "K", "layers", "batch_size", "threshold")), ("epochs", -1), ("epochs_2", -1),
         ("backbone", "vgg"), ("w_sum", "two"), ("stage", "ANFLMEFL"),
         *(("net", v) for v in (("swin_base", "resnet50"), ("resnet5", "swin_base"), ("resnet50",) * 3)),
         *(("reduce", v) for v in ((0, 2), (4, 2, 1), (2048, 2), (6, 2))),
         *((name, v) for name in ("beta1", "beta2", "jitter") for v in (-.1, 1., math.nan)),
         *((name, v) for name in ("lr", "weight_decay") for v in (-1., math.nan, math.inf)),
         ("lam", (.05, -1.)), ("lam", (.1,) * 3), ("lr_2", (math.nan, 1e-6)), *(("called", v) for v in (0., 1.1, math.nan)),
         ("aus", ()), ("aus", (1, 1, 2)), ("aus", (0, 1, 2)), ("K", 13)]


@pytest.mark.parametrize("name, value", WRONG)
def test_config_refuses(name, value):
    with pytest.raises(ValueError, match=rf"^{name} |, {name} names"):
        megraphau.Config(**{name: value})


def test_one_value_is_for_both_backbones():
    """A pair has ResNet's first; a value alone goes with whichever backbone there is; sides fit the backbone that is used."""
    cfg = megraphau.Config(net=("swin_base",), reduce=(4,), lam=(.1,), lr_2=(1e-3,), backbone="swin")
    assert [cfg.of(v) for v in (cfg.net, cfg.reduce, cfg.lam, cfg.lr_2)] == ["swin_base", 4, .1, 1e-3]
    assert megraphau.Config(lam=(.1,)).of((1, 2)) == 1 and cfg.of((1, 2)) == 2
    with pytest.raises(ValueError, match="swin_base takes sides that are multiples of 32; got --size 100, the next is 128"):
        dataclasses.replace(cfg, size=100)
    assert megraphau.Config(size=100).size == 100                                       # a ResNet takes any
    with pytest.raises(ValueError, match="for --backbone swin, net names one of swin_tiny, .*got resnet50"):
        dataclasses.replace(cfg, net=("resnet50",))


@pytest.mark.parametrize("words, text", [
    (["--size", "60"], "a crop of --size 60 does not fit"), (["--no-AFG"], "--no-AFG goes with --no-FGG --no-MEFL"),
    (["--no-MEFL"], "--no-MEFL goes with --no-L-E"), (["--no-MEFL", "--no-L-E", "--stage", "MEFL"], "--stage MEFL needs --MEFL"),
    (["--backbone", "vgg"], "backbone is resnet or swin; got vgg"), (["--K", "13"], "only 12 action units")])
def test_config_refused_at_the_command_line(words, text, capsys):
    assert train.main(["--paper", "megraphau", *words]) == 2
    err = capsys.readouterr().err
    assert text in err and len(err.splitlines()) == 1


# ---- what training and testing see

def numbered(side):
    """A picture whose pixels say where they are: red the row, green the column, in steps of 10."""
    at = 10 * torch.arange(side, dtype=torch.uint8)
    return torch.stack([at[:, None].expand(side, side), at.expand(side, side), torch.full((side, side), 77, dtype=torch.uint8)])


def seen(sample, cfg, n):
    """n training pictures of a sample."""
    rng = torch.Generator().manual_seed(0)
    return [megraphau.prepare(sample, cfg, rng)[0] for _ in range(n)]


def test_prepare_takes_the_middle_in_testing(device):
    """Of 7 × 7 the 4 × 4 from row and column 1; of 8 × 8 from 2; float in [0, 1], and the same whenever it is asked for."""
    for side, first in ((7, 1), (8, 2)):
        sample = Sample("a", Drawn(numbered(side)[None]), {})
        x, = megraphau.prepare(sample, dataclasses.replace(TINY, resize=side, size=4), None)
        wanted = numbered(side)[:, first:first + 4, first:first + 4].float() / 255
        close(x.to(device), wanted.to(device))
        assert x.dtype == torch.float32 and x.is_contiguous() and x.max() <= 1 and x.min() >= 0


def test_prepare_cuts_everywhere_and_mirrors_half(device):
    """A crop of 3 in 6 has 4 × 4 places; 1600 pictures: each place 100 ± 40 times, mirrored 800 ± 80; nothing else happens."""
    sample, cfg = Sample("a", Drawn(numbered(6)[None]), {}), dataclasses.replace(TINY, resize=6, size=3, jitter=0.)
    met, flipped = {}, 0
    for x in seen(sample, cfg, 1600):
        top, left = (round(float(x[k].min()) * 25.5) for k in (0, 1))
        straight = numbered(6)[:, top:top + 3, left:left + 3].float() / 255
        mirrored = bool(x[1, 0, 0] > x[1, 0, 2])
        close(x.to(device), (straight.flip(-1) if mirrored else straight).to(device))
        met[top, left], flipped = met.get((top, left), 0) + 1, flipped + mirrored
    assert set(met) == set(itertools.product(range(4), range(4))) and min(met.values()) > 60 and max(met.values()) < 140
    assert 720 < flipped < 880
    assert all(x[1, 0, 0] < x[1, 0, 2] for x in seen(sample, dataclasses.replace(cfg, flip=False), 50))


def test_prepare_draws_the_place_after_the_resize(tmp_path, device):
    """A picture stored at 18 × 12, of which the centre square is brought to 6 × 6: of 500 crops of 3, all 16 places are met, no other.

    Reading: with a place drawn for the stored picture, as in the authors' code, rows 0 to 9 and columns 0 to 15 would be asked for.
    Reading: there is no detector; of a picture that is not square the middle is taken, neither all of it squeezed nor a corner.
    """
    big = torch.nn.functional.interpolate(numbered(6)[None].float(), scale_factor=2, mode="nearest")[0].byte()
    write_picture(torch.nn.functional.pad(big, (3, 3), value=250), tmp_path / "a.png")
    sample, cfg = Sample("a", Still(str(tmp_path / "a.png")), {}), dataclasses.replace(TINY, resize=6, size=3, jitter=0., flip=False)
    resized = Clip(tmp_path / "a.png").read([0], 6)[0].float() / 255                    # (3, 6, 6)
    wide = torch.nn.functional.pad(numbered(6), (2, 2), value=200)
    write_picture(wide, tmp_path / "wide.png")                   # of 10 × 6 the centre square
    close(megraphau.prepare(Sample("b", Still(str(tmp_path / "wide.png")), {}), cfg, None)[0].to(device),
          (numbered(6)[:, 1:4, 1:4].float() / 255).to(device))
    places = {(r, c): resized[:, r:r + 3, c:c + 3] for r in range(4) for c in range(4)}
    met = [next(at for at, cut in places.items() if torch.equal(cut, x)) for x in seen(sample, cfg, 500)]
    assert set(met) == set(places)
    close(megraphau.prepare(sample, cfg, None)[0].to(device), places[1, 1].to(device))


def test_prepare_repeats_with_the_same_numbers(device):
    sample, cfg = Sample("a", Drawn(numbered(9)[None]), {}), dataclasses.replace(TINY, resize=9, size=5)
    a, b, other = (megraphau.prepare(sample, cfg, torch.Generator().manual_seed(s))[0].to(device) for s in (3, 3, 4))
    assert torch.equal(a, b) and not torch.equal(a, other) and 0 <= a.min() and a.max() <= 1


def test_prepare_colours_by_the_setting(device):
    """A grey picture of .502 is moved by brightness alone: to .301 to .703 at 0.4, to .452 to .552 at 0.1; in testing it stays."""
    sample = Sample("a", Drawn(torch.full((1, 3, 4, 4), 128, dtype=torch.uint8)), {})
    for jitter in (.4, .1):
        cfg = dataclasses.replace(TINY, resize=4, size=2, jitter=jitter)
        shades = torch.stack(seen(sample, cfg, 300)).to(device)
        assert 128 / 255 * (1 - jitter) - 1e-4 < shades.min() < 128 / 255 * (1 - .95 * jitter)
        assert 128 / 255 * (1 + .95 * jitter) < shades.max() < 128 / 255 * (1 + jitter) + 1e-4
    close(megraphau.prepare(sample, cfg, None)[0].to(device), torch.full((3, 2, 2), 128 / 255, device=device))


TWO = ((.5, .2, .0), (.1, .4, .8))                               # two pixels; grey .2669 and .3559, their mean .3114
KINDS = "brightness", "contrast", "saturation"


def pixels(*values, device):
    """Pixels (r, g, b) side by side: (3, 1, n)"""
    return tensor(values, device=device).T[:, None]


def by_numbers(monkeypatch, order, **factors):
    """Let `jittered` draw these factors, strength 0.4, one where none is named, and this order."""
    drawn = tensor([(factors.get(kind, 1.) - .6) / .8 for kind in KINDS])
    turn = tensor([KINDS.index(kind) for kind in order] + [k for k, kind in enumerate(KINDS) if kind not in order])
    monkeypatch.setattr(augmentation, "torch", SimpleNamespace(rand=lambda n, generator: drawn[:n], randperm=lambda n, generator: turn[:n]))


@pytest.mark.parametrize("order, factors, wanted", [
    (("brightness",), {"brightness": 1.2}, ((.6, .24, .0), (.12, .48, .96))),
    (("brightness",), {"brightness": 1.4}, ((.7, .28, .0), (.14, .56, 1.))),
    (("contrast",), {"contrast": .6}, ((.42456, .24456, .12456), (.18456, .36456, .60456))),
    (("contrast",), {"contrast": 1.4}, ((.57544, .15544, .0), (.01544, .43544, .99544))),
    (("saturation",), {"saturation": 1.2}, ((.54662, .18662, .0), (.04882, .40882, .88882))),
    (("saturation",), {"saturation": .6}, ((.40676, .22676, .10676), (.20236, .38236, .62236))),
    (("brightness", "saturation"), {"brightness": 1.4, "saturation": .6}, ((.569464, .317464, .149464), (.277832, .529832, .793832))),
    (("saturation", "brightness"), {"brightness": 1.4, "saturation": .6}, ((.569464, .317464, .149464), (.283304, .535304, .871304)))])
def test_colours_by_hand(order, factors, wanted, monkeypatch, device):
    """Mixed with black, with the mean grey .3114, with each pixel's own grey; clipped after each.

    Contrast .6: .6 · .5 + .4 · .3114 = .42456. Saturation 1.2: 1.2 · .5 − .2 · .2669 = .54662, and the blue 0 − .05338 is clipped.
    Brightness 1.4 makes .8 to 1.12, so to 1, and the grey of the second pixel to .48458; taken last it multiplies .62236 by 1.4.
    """
    by_numbers(monkeypatch, order, **factors)
    close(augmentation.jittered(pixels(*TWO, device=device), .4, None), pixels(*wanted, device=device), atol=2e-6, rtol=0)


def test_colours_come_in_any_order(device):
    """60 pictures: the factors lie in 0.6 to 1.4, each of the six orders is met, and one of them explains every picture."""
    picture, met = torch.rand(3, 4, 5, generator=torch.Generator().manual_seed(7)), set()
    for seed in range(60):
        got = augmentation.jittered(picture.to(device), .4, torch.Generator().manual_seed(seed)).cpu()
        factors = (.6 + .8 * torch.rand(3, generator=torch.Generator().manual_seed(seed))).tolist()
        found = []
        for order in itertools.permutations(range(3)):
            x = picture
            for k in order:
                grey = (.299 * x[0] + .587 * x[1] + .114 * x[2])[None]
                x = (factors[k] * x + (1 - factors[k]) * (0, grey.mean(), grey)[k]).clamp(0, 1)
            if (x - got).abs().max() < 1e-5:
                found.append(order)
        assert found
        met |= set(found) if len(found) == 1 else set()
    assert len(met) == 6
    assert torch.equal(augmentation.jittered(picture, 0., None), picture)


def test_colours_stay_in_their_bounds(device):
    """A grey picture is moved by brightness alone: 0.5 becomes 0.3 to 0.7, both ends nearly reached."""
    rng = torch.Generator().manual_seed(0)
    got = torch.stack([augmentation.jittered(torch.full((3, 2, 2), .5, device=device), .4, rng).mean() for _ in range(300)])
    assert .3 <= got.min() < .31 and .69 < got.max() <= .7 + 1e-6


def test_crops_refuse_what_does_not_fit(device):
    with pytest.raises(ValueError, match="a square of 5 does not fit into a picture of 6 × 4"):
        augmentation.crop(torch.zeros(3, 4, 6, device=device), 5, None)


# ---- how it learns, and how it is scored

def test_statistics_by_hand(device):
    """megraphau (§2.3): there in 3 of 4, 1 of 3 and 2 of 3 known: 1/r = 4/3, 3, 3/2 of 35/6: 8/35, 18/35, 9/35, or three times that."""
    y = tensor([[1, 0, -1], [1, 1, 1], [0, -1, 1], [1, 0, 0]], device=device)
    wanted = tensor([8 / 35, 18 / 35, 9 / 35], device=device)
    close(megraphau.statistics({"au": y}, TINY), {"w": wanted})
    close(megraphau.statistics({"au": y}, dataclasses.replace(TINY, w_sum="N")), {"w": 3 * wanted})


L_WA = -(.25 * math.log(.5) + .75 * .25 * math.log(.75)) / 2
L_BCE = -(.25 * math.log(.5) + .75 * math.log(.75)) / 2
L_E = (3 * math.log(6) + math.log(2)) / 4


@pytest.mark.parametrize("stage, family, switches, total", [
    (ANFL, "resnet", {}, L_WA), (ANFL, "resnet", {"L_WA": False}, L_BCE), (MEFL, "resnet", {"L_E": False}, L_WA),
    (MEFL, "resnet", {}, L_WA + .05 * L_E), (MEFL, "swin", {}, L_WA + .01 * L_E), (MEFL, "swin", {"L_WA": False}, L_BCE + .01 * L_E)])
def test_loss_by_hand(stage, family, switches, total, device):
    """megraphau (6, 7, 8)   p = ½, ¼; y = 1, 0; w = ¼, ¾: −(¼ ln ½ + ¾ · ¼ ln ¾) / 2, the ¼ in the middle only in L_WA.

    Every edge's odds are 1 : 1 : 1 : 3 and their truth is 3, 2, 1, 0: (3 ln 6 + ln 2) / 4, times λ, in the second stage alone.
    """
    cfg = tiny(family, aus=(1, 2), **switches)
    pairs = tensor([0., 0., 0., math.log(3)], device=device).expand(1, 2, 2, 4) if stage is MEFL else torch.zeros(1, 0, 0, 4, device=device)
    stat, y = {"w": tensor([.25, .75], device=device)}, {"au": tensor([[1, 0]], device=device)}
    terms = megraphau.loss((tensor([[.5, .25]], device=device), pairs), y, stat, cfg, stage)
    close(terms["total"], tensor(total, device=device))
    both = stage is MEFL and cfg.L_E
    assert list(terms) == (["total", "nodes", "edges"] if both else ["total"])
    if both:
        close(terms["edges"], tensor(L_E, device=device))


@pytest.mark.parametrize("stage", [ANFL, MEFL])
def test_unknown_labels_teach_nothing(stage, device):
    """Unit 2 of the first face and unit 0 of the second are not known: whatever is said of them, and of edges that touch them,
    loss and gradients of all weights are those of the known labels alone."""
    model, w = shaken(TINY, stage).to(device), tensor([.5, .3, .2], dtype=torch.float64, device=device)
    x, y = faces(TINY).to(device), tensor([[1, 0, -1], [-1, 0, 1]], device=device)
    p, pairs = model(x)
    total = megraphau.loss((p, pairs), {"au": y}, {"w": w}, TINY, stage)["total"]
    got = torch.autograd.grad(total, list(model.parameters()), retain_graph=True, allow_unused=True)
    wanted = 0
    for b, i in ((0, 0), (0, 1), (1, 1), (1, 2)):
        wanted = wanted - w[i] * (p[b, i].log() if y[b, i] == 1 else p[b, i] * (1 - p[b, i]).log()) / 4
    if stage is MEFL:
        for b, known in ((0, (0, 1)), (1, (1, 2))):
            for i, j in itertools.product(known, known):
                wanted = wanted - .05 * pairs[b, i, j].log_softmax(-1)[2 * y[b, i] + y[b, j]] / 8
    close(total, wanted)
    for a, b in zip(got, torch.autograd.grad(wanted, list(model.parameters()), allow_unused=True), strict=True):
        close(a, b, atol=1e-12, rtol=1e-6)
    rows = {"fold": ["1", "1"], **{f"target_AU{u:02d}": y[:, k].cpu() for k, u in enumerate((1, 2, 4))}}
    said = megraphau.predict((p.detach().cpu(), pairs), TINY)
    other = said | {"predicted_AU04": 1 - said["predicted_AU04"] * tensor([1, 0]) - tensor([0, 1]) * (1 - said["predicted_AU04"])}
    assert megraphau.score(rows | said, TINY) == megraphau.score(rows | other, TINY)


def test_score_by_hand():
    """megraphau (§3.1): unit 1: fold a TP 1, FP 1, FN 1: ½; fold b TP 1, its other call is not known to be wrong: 1; the mean ¾.

    Unit 2: nothing there in fold a: 0; TP 1, FN 1 in fold b: ⅔; the mean ⅓. Both: 13/24.

    Reading: all frames together would give unit 1 2 · 2 / (4 + 1 + 1) = ⅔ and unit 2 ⅔.
    """
    cfg = dataclasses.replace(TINY, aus=(1, 24))
    rows = {"fold": ["a"] * 3 + ["b"] * 2, "target_AU01": tensor([1, 1, 0, 1, -1]), "predicted_AU01": tensor([1, 0, 1, 1, 1]),
            "target_AU24": tensor([0, 0, -1, 1, 1]), "predicted_AU24": tensor([0, 0, 1, 1, 0])}
    got = megraphau.score(rows, cfg)
    assert list(got) == ["F1", "F1 AU01", "F1 AU24"] and list(got.values()) == pytest.approx([13 / 24, 3 / 4, 1 / 3])
    assert megraphau.score(rows | {"fold": ["a"] * 5}, cfg)["F1 AU01"] == pytest.approx(2 / 3)


def test_predict_columns(device):
    """A unit is called where p reaches the threshold; a call and a probability for each, in the order of the settings."""
    p = tensor([[.5, .49, .9], [.2, .8, .1]], device=device)
    got = megraphau.predict((p.bfloat16(), None), TINY)
    assert list(got) == [f"{kind}_AU{unit:02d}" for unit in (1, 2, 4) for kind in ("predicted", "p")]
    assert [got[f"predicted_AU{u:02d}"].tolist() for u in (1, 2, 4)] == [[1, 0], [0, 1], [1, 0]]
    assert got["p_AU01"].dtype == torch.float32 and got["predicted_AU01"].dtype == torch.long
    close(got["p_AU02"], tensor([.49, .8], device=device), atol=2e-3, rtol=0)
    assert megraphau.predict((p, None), dataclasses.replace(TINY, called=.85))["predicted_AU02"].tolist() == [0, 0]


@pytest.mark.parametrize("family", ["resnet", "swin"])
def test_adamw_on_a_cosine(family, device):
    """megraphau (§3.1): the betas, the decay on every weight, and lr (1 + cos(π t / T)) / 2 at step t of T, each stage anew."""
    cfg = tiny(family, lr_2=(1e-5, 1e-7))
    for stage, lr in zip(megraphau.stages(cfg), (1e-4, {"resnet": 1e-5, "swin": 1e-7}[family]), strict=True):
        model = megraphau.network(cfg, {}, stage).to(device)
        adam, schedule = megraphau.optimizer(model, laid_over(cfg, stage), 8)
        group, = adam.param_groups
        assert type(adam) is torch.optim.AdamW and (group["betas"], group["weight_decay"]) == ((.9, .999), 5e-4)
        assert {id(p) for p in group["params"]} == {id(p) for p in model.parameters()}
        used = []
        for _ in range(8):
            used.append(group["lr"])
            adam.step(), schedule.step()
        assert used == pytest.approx([lr * (1 + math.cos(math.pi * k / 8)) / 2 for k in range(8)])
        assert group["lr"] == pytest.approx(0, abs=1e-12)


# ---- every setting does something

TURNED = dict(
    aus=(1, 2, 12), resize=40, size=16, flip=False, jitter=0., threshold=3, backbone="swin", net=("resnet_other", "swin_demo"),
    reduce=(8, 32), AFG=False, FGG=False, MEFL=False, L_WA=False, L_E=False, K=1, ties=True, layers=1, cited=True, w_sum="N",
    detach=True, lam=(.5, .01),
    called=.05, stage="ANFL", lr=1e-2, lr_2=(1e-2, 1e-6), beta1=.5, beta2=.9, weight_decay=.5, epochs=3, epochs_2=3, batch_size=3)
RESTING = dataclasses.replace(TINY, resize=36, size=32, batch_size=4, lr=1e-3, lr_2=(1e-3, 1e-3))
ALONE = {"AFG": NO_FGG, "MEFL": {"L_E": False}}                  # what must be off already, so that one switch alone is turned


@pytest.fixture(scope="module")
def stills(tmp_path_factory):
    """Seven pictures, and DISFA's coding of a subject whose intensities go from 1 to 4."""
    root, rng = tmp_path_factory.mktemp("stills"), torch.Generator().manual_seed(0)
    for k in range(7):
        picture = torch.randint(0, 256, (3, 6, 6), generator=rng, dtype=torch.uint8).repeat_interleave(8, 1).repeat_interleave(8, 2)
        write_picture(picture, root / "img" / "SN001" / f"{k}.png")
    for unit in (1, 2, 4, 12):
        levels = torch.randint(1, 5, (7,), generator=rng).tolist()
        text(root / "ActionUnit_Labels" / "SN001" / f"SN001_au{unit}.txt", *(f"{t},{k}" for t, k in enumerate(levels, 1)))
    return root


def text(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(f"{row}\n" for row in rows))
    return path


def evidence(cfg, root):
    """All that a setting can reach: what is read, the batches, the plan, weights, rates and outputs along two steps of each stage."""
    samples = disfa.read(root, cfg).samples
    y = tensor([s.target["au"] for s in samples])
    stat = megraphau.statistics({"au": y}, cfg)
    assert stat["w"].isfinite().all()
    words, out = [s.id for s in samples], [y, stat["w"]]
    for stage in megraphau.stages(cfg):
        here, rng = laid_over(cfg, stage), torch.Generator().manual_seed(0)
        torch.manual_seed(0)
        model = megraphau.network(here, stat, stage)
        if model.AFG is not None:
            model.AFG.bn.bias.data[:model.s.shape[1]] = -100                            # the first unit's products with all are 0: ties
        adam, schedule = megraphau.optimizer(model, here, 4)
        words += [stage.name, str(stage.epochs)]
        for at in (0, cfg.batch_size):
            x, = map(torch.stack, zip(*(megraphau.prepare(s, here, rng) for s in samples[at:at + cfg.batch_size])))
            said = model(x)
            adam.zero_grad()
            megraphau.loss(said, {"au": y[at:at + cfg.batch_size]}, stat, here, stage)["total"].backward()
            adam.step(), schedule.step()
            out += [x, *(t.detach() for t in said), tensor(adam.param_groups[0]["lr"])]
        x, = map(torch.stack, zip(*(megraphau.prepare(s, here, None) for s in samples)))
        with torch.no_grad():
            columns = megraphau.predict(model.eval()(x), here)
        rows = {"fold": ["1"] * 7, **{f"target_AU{unit:02d}": y[:, k] for k, unit in enumerate(cfg.aus)}}
        words += [f"{name} {value}" for name, value in megraphau.score(rows | columns, here).items()]
        out += [x, *columns.values(), *(p.detach().clone() for p in model.parameters())]
    return words, out


def differ(a, b):
    return a[0] != b[0] or len(a[1]) != len(b[1]) or any(x.shape != y.shape or not torch.equal(x, y) for x, y in zip(a[1], b[1]))


def test_every_setting_is_turned():
    assert [f.name for f in dataclasses.fields(megraphau.Config)] == list(TURNED)


@pytest.mark.parametrize("name", TURNED)
def test_the_knob_turns_something(name, stills, monkeypatch):
    """One setting turned, all else and the seed as before."""
    monkeypatch.setitem(megraphau.LAYOUTS, "resnet_other", megraphau.LAYOUTS["resnet_demo"] | {"layout": (1, 1, 2, 1)})
    still = dataclasses.replace(RESTING, **ALONE.get(name, {}))
    turned = dataclasses.replace(still, **{name: TURNED[name]})
    assert getattr(still, name) != getattr(turned, name)
    assert differ(evidence(still, stills), evidence(turned, stills))


def test_a_knob_at_rest_changes_nothing(stills):
    assert not differ(evidence(RESTING, stills), evidence(RESTING, stills))


# ---- looking at it, and every way of running it

@torch.no_grad()
def test_look_shows_what_forward_uses(device):
    """The graph that FGG is given; p and the edges as they come out; FAM's weights, the mean over the nine tokens that ask."""
    x = faces(TINY, B=1).to(device)
    first, second, met = shaken(TINY, ANFL).to(device), shaken(TINY, MEFL).to(device), {}
    first.FGG.register_forward_pre_hook(lambda _, args: met.update(A=args[1]))
    second.FAM.register_forward_pre_hook(lambda _, args: met.update(U=args[0], X=args[1]))
    p, _ = first(x)
    seen = megraphau.look(first, x[0])
    assert set(seen) == {"p", "graph"} and torch.equal(seen["p"], p[0]) and seen["graph"].sum(1).tolist() == [2, 2, 2]
    close(met["A"][0], scaled(seen["graph"]))
    p, pairs = second(x)
    seen = megraphau.look(second, x[0])
    assert set(seen) == {"p", "graph", "edges", "attention"} and torch.equal(seen["p"], p[0])
    close(seen["edges"], pairs[0].exp() / pairs[0].exp().sum(-1, keepdim=True))
    U, X, fam = met["U"][0].unflatten(0, (3, 9)), met["X"][0], second.FAM
    for i in range(3):
        rows = [torch.stack([(fam.query(u) @ fam.key(y)) / math.sqrt(2) for y in X]).softmax(0) for u in U[i]]
        close(seen["attention"][i], (sum(rows) / 9).unflatten(0, (3, 3)))
    alone = shaken(tiny(**NO_AFG), ANFL).to(device)
    assert set(megraphau.look(alone, x[0])) == {"p"} and torch.equal(megraphau.look(alone, x[0])["p"], alone(x)[0][0])


@pytest.mark.parametrize("family, switches, stage", [("resnet", {}, ANFL), ("swin", {}, MEFL), ("resnet", NO_AFG, ANFL)])
def test_compiles_exports_and_runs_alone(family, switches, stage, device):
    """One whole graph, traced and exported; a face says the same alone and among others; in bfloat16 nearly the same, and it learns."""
    cfg = tiny(family, **switches)
    torch.compiler.reset()                                       # else sizes met before become unknowns of the graph, which takes a minute
    model, x = shaken(cfg, stage).float().to(device), faces(cfg, B=3).float().to(device)
    with torch.no_grad():
        wanted = model(x)
        for way in (torch.compile(model, fullgraph=True, backend="eager"), torch.export.export(model, (x,)).module()):
            for got, want in zip(way(x), wanted, strict=True):
                close(got, want, atol=1e-5, rtol=1e-4)
        for got, want in zip(model(x[1:2]), wanted, strict=True):
            close(got, want[1:2], atol=1e-5, rtol=1e-4)
    with torch.autocast(device.type, torch.bfloat16):
        p, pairs = model.train()(x)
    assert p.isfinite().all() and pairs.isfinite().all() and p.min() >= 0 and p.max() <= 1.01
    y = {"au": tensor([[1, 0, 1], [0, 1, 0], [0, 0, 1]], device=device)}
    megraphau.loss((p.float(), pairs.float()), y, {"w": torch.ones(3, device=device) / 3}, cfg, stage)["total"].backward()
    assert all(w.grad is not None and w.grad.isfinite().all() for w in model.parameters())
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
        close(model.eval()(x)[0].float(), wanted[0], atol=.1, rtol=0)


# ---- weights from files

def numbers_for(shapes, seed=0):
    """A state dict of these shapes: positive where it must be, an integer where it counts."""
    rng = torch.Generator().manual_seed(seed)
    return {name: tensor(3) if name.endswith("tracked") else torch.rand(shape, generator=rng) * .2 - (0 if name.endswith("var") else .1)
            for name, shape in shapes.items()}


def kept(model):
    return {name: t.clone() for name, t in model.state_dict().items()}


@pytest.mark.parametrize("family", ["resnet", "swin"])
def test_published_backbones_load(family, tmp_path, monkeypatch, device):
    """A file of torchvision's resnet18, and one of a Swin in its authors' names, for 64 pixels: every tensor of the backbone
    is the file's, the head stays as it was, and what found no place is said."""
    small = dict(width=4, depths=(1, 2, 1, 1), heads=(1, 2, 2, 4))
    monkeypatch.setitem(megraphau.LAYOUTS, "swin_for_file", dict(small))
    cfg = tiny(family, net=("resnet18", "swin_for_file"), reduce=(128, 8), resize=64, size=64)
    model = megraphau.network(cfg, {}, ANFL).to(device)
    shapes = resnet_names((2, 2, 2, 2), (64, 128, 256, 512), False) if family == "resnet" else swin_names(*small.values(), 64)
    state, before = numbers_for(shapes), kept(model)
    torch.save(state if family == "resnet" else {"model": state}, tmp_path / "file.pth")
    report = megraphau.load_weights(model, str(tmp_path / "file.pth"), cfg)
    for name, t in model.state_dict().items():
        own = name.removeprefix("backbone.")
        assert torch.equal(t.cpu(), state[own] if own != name else before[name].cpu())
    n = sum(name.startswith("backbone.") for name in before)
    unused = {"resnet": 2, "swin": sum(map(of_no_use, shapes))}[family]
    assert report.startswith(f"backbone: weights: {n} of the model's {n} tensors loaded") and n == len(shapes) - unused
    assert "not in the model, unused: " in report and ("fc (2)" if family == "resnet" else "head (2)") in report


def released(cfg, C_in, mefl):
    """Names and shapes of the head in a checkpoint that the authors released."""
    N, C = len(cfg.aus), C_in // cfg.of(cfg.reduce)

    def fc(name, c_in, c_out, bias=True):
        return {f"{name}.weight": (c_out, c_in)} | ({f"{name}.bias": (c_out,)} if bias else {})

    def bn(name, n):
        return {f"{name}.{part}": (n,) for part in ("weight", "bias", "running_mean", "running_var")} | {f"{name}.num_batches_tracked": ()}

    out = fc("global_linear.fc", C_in, C) | bn("global_linear.bn", C) | {"head.sc": (N, C)}
    for i in range(N):
        out |= fc(f"head.class_linears.{i}.fc", C, C) | bn(f"head.class_linears.{i}.bn", C)
    if not mefl:
        return out | fc("head.gnn.U", C, C) | fc("head.gnn.V", C, C) | bn("head.gnn.bnv", N)
    for block in ("FAM", "ARM"):
        for q, width in (("q", C // 2), ("k", C // 2), ("v", C)):
            out |= fc(f"head.edge_extractor.{block}.linear_{q}", C, width)
    out |= fc("head.edge_extractor.edge_proj", C, C) | bn("head.edge_extractor.bn", N * N) | fc("head.edge_fc", C, 4)
    for n in (1, 2):
        for W in "UVABE":
            out |= fc(f"head.gnn.{W}{n}", C, C, bias=False)
        out |= bn(f"head.gnn.bnv{n}", N) | bn(f"head.gnn.bne{n}", N * N)
    return out


@pytest.mark.parametrize("stage", [ANFL, MEFL])
@torch.no_grad()
def test_the_authors_checkpoints_load(stage, tmp_path, device):
    """megraphau (1, 2, 3, 4, 5)   Every tensor finds its place, and the network says what the page says with these tensors.

    Twelve units, so that class_linears.10 and .11 come after .9 and not after .1.
    """
    cfg, mefl = dataclasses.replace(TINY, aus=TWELVE, K=3, size=16, resize=18), stage is MEFL
    model = megraphau.network(cfg, {}, stage)
    shapes = {name: tuple(t.shape) for name, t in model.state_dict().items() if name.startswith("backbone.")}
    state = numbers_for(shapes | released(cfg, 64, mefl), seed=3)
    for name, t in state.items():                                                       # signals that do not die on the way
        if not name.startswith("backbone."):
            t.add_(1. if name.endswith(("bn.weight", "bn.bias", "sc")) else .5 if name.endswith("var") else 0)
            t.mul_(5 if t.dim() == 2 else 1)
    file = tmp_path / "ME-GraphAU.pth"
    torch.save({"state_dict": {f"module.{name}": t for name, t in state.items()}}, file)
    report = megraphau.load_weights(model, str(file), cfg)
    n = len(model.state_dict())
    first, *rest = report.splitlines()
    assert first == f"weights: {n} of the model's {n} tensors loaded"                   # nothing missing, nothing unused
    assert len(rest) == 1 and "a subject tested here must not be among them" in rest[0]
    assert set(by_their_names(model)) == set(state)
    assert all(torch.equal(t, state[name]) for name, t in by_their_names(model).items())
    model.double().eval().to(device)
    x = faces(cfg).to(device)
    face = model.backbone(normalise(x)).flatten(2).mT.cpu()
    wanted = twin({name: t.double() for name, t in state.items()}, face, 3, 12)
    for got, want in zip(model(x), wanted, strict=True):
        close(got.cpu(), want, atol=1e-9, rtol=0)
    assert wanted[0].unique().numel() > 12


@pytest.mark.parametrize("stage", [ANFL, MEFL])
def test_a_runs_own_weights_load(stage, tmp_path, device):
    """A best.pt of the same stage: every tensor, also those of both gated layers; one of the first stage into the second: all but
    what is new."""
    model, other = (megraphau.network(TINY, {}, s).to(device) for s in (stage, MEFL))
    for k, t in enumerate(model.state_dict().values()):
        t.fill_(k + 1)
    torch.save({"refnet": 1, "model": kept(model)}, tmp_path / "best.pt")
    before = kept(other)
    report = megraphau.load_weights(other, str(tmp_path / "best.pt"), TINY)
    for name, t in other.state_dict().items():
        assert torch.equal(t, model.state_dict().get(name, before[name])), name
    assert "unused" not in report if stage is MEFL else "unused: FGG (9)" in report
    assert "trained elsewhere" not in report                     # a run says what it was trained on, and that is compared
    assert ("not in the file" in report) == (stage is ANFL)


def test_other_weights_are_refused(tmp_path, device):
    model = megraphau.network(TINY, {}, ANFL).to(device)
    before = kept(model)
    torch.save(numbers_for({"a.weight": (2, 3), "b.bias": (2,)}), tmp_path / "other.pth")
    torch.save({f"backbone.{name}": t[..., :1] if t.dim() else t for name, t in before.items()}, tmp_path / "odd.pth")
    for name, said in (("other.pth", "only 0 of the model's"), ("odd.pth", "only "), ("none.pth", "there is no such file")):
        with pytest.raises(WeightsError, match=said):
            megraphau.load_weights(model, str(tmp_path / name), TINY)
    assert all(torch.equal(t, before[name]) for name, t in model.state_dict().items())


# ---- tiny data sets on disk

SMALL = ["--net", "resnet_demo", "swin_demo", "--reduce", "8", "16", "--resize", "36", "--size", "32", "--batch-size", "4",
         "--epochs", "1", "--epochs-2", "1", "--workers", "0", "--device", "cpu"]
BP4D = {"F001": "3", "M007": "3", "M011": "2", "F003": "2", "F007": "1", "F015": "1"}  # who is tested in which fold
DISFA = {"SN002": "3", "SN013": "2", "SN003": "1"}
FRAMES = 3


def code(n, k, u):
    """Whether frame k of the n-th subject shows the u-th unit: each in one of three frames; 9 where the coder could not tell."""
    return 9 if (n, u, k) == (3, 4, 0) or (n, k) == (5, 2) else int((n + k + u) % 3 == 0)


@pytest.fixture(scope="module")
def portraits():
    """18 drawn faces of 44 pixels, uint8, and their 68 landmarks."""
    video, points = draw(plan_faces(18, 1, 5, 6, 8, pose=.2, occlusion=0.), 44)
    return (video[:, 0] * 255).round().byte(), points[:, 0]


def bp4d_tree(root, portraits, code=code):
    """Six subjects, two of each part; a frame of F015 whose units are all unknown; header and codes for all 99 units."""
    for n, subject in enumerate(BP4D):
        rows = [",".join(map(str, range(100)))]
        for k in range(FRAMES):
            codes = dict(zip(TWELVE, (code(n, k, u) for u in range(12))))
            rows.append(",".join([str(2440 + k)] + [str(codes.get(unit, 9)) for unit in range(1, 100)]))
            write_picture(portraits[0][FRAMES * n + k], root / subject / f"T{1 + n}" / f"{2440 + k}.jpg")
        text(root / "AUCoding" / "AU_OCC" / f"{subject}_T{1 + n}.csv", *rows)
    return root


def disfa_tree(root, portraits):
    """Three subjects, one of each part, six frames each; intensities 1 and 3; line t is picture t − 1."""
    for n, subject in enumerate(DISFA):
        for u, unit in enumerate(EIGHT):
            text(root / "ActionUnit_Labels" / subject / f"{subject}_au{unit}.txt",
                 *(f"{t + 1},{1 + 2 * int((n + t + u) % 3 == 0)}" for t in range(2 * FRAMES)))
        for t in range(2 * FRAMES):
            write_picture(portraits[0][2 * FRAMES * n + t], root / subject / f"{t}.png")
    return root


@pytest.fixture(scope="module")
def sets(portraits, tmp_path_factory):
    top = tmp_path_factory.mktemp("sets")
    return SimpleNamespace(bp4d=bp4d_tree(top / "BP4D", portraits), disfa=disfa_tree(top / "DISFA", portraits))


def words(root, dataset, out, *more):
    return ["--paper", "megraphau", "--data", str(root), "--dataset", dataset, *SMALL, "--output-dir", str(out), *more]


def heard(main, argv):
    """What a command prints; it must end well."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert main([str(word) for word in argv]) == 0
    return out.getvalue()


@pytest.fixture(scope="module")
def both(sets, tmp_path_factory):
    """A run of both stages through the three folds of BP4D, and what it printed."""
    run = tmp_path_factory.mktemp("both") / "run"
    with one_core(True):                                         # as the tests that compare with it
        return SimpleNamespace(run=run, out=heard(train.main, words(sets.bp4d, "bp4d", run)))


def model_of(file):
    return torch.load(file, weights_only=True)["model"]


def test_train_on_bp4d(both):
    """Three folds, two stages each; every frame predicted once, in the fold of its subject; 9 is −1 in the table."""
    assert "megraphau on bp4d, preset paper" in both.out and f"python evaluate.py {both.run}" in both.out
    assert "BP4D: 18 frames of 146847 expected" in both.out
    folds = json.loads((both.run / "config.json").read_text())["folds"]
    assert folds == {k: {"train": 12, "select": 0, "report": 6} for k in "123"}
    rows = runs.read_predictions(both.run / "predictions.csv", ())
    assert dict(zip(rows["subject"], rows["fold"])) == BP4D and len(set(rows["sample"])) == 18 == len(rows["sample"])
    units = [f"AU{unit:02d}" for unit in TWELVE]
    assert list(rows) == ["sample", "subject", "fold", *(f"target_{u}" for u in units),
                          *(f"{kind}_{u}" for u in units for kind in ("predicted", "p"))]
    for row, (sample, subject) in enumerate(zip(rows["sample"], rows["subject"])):
        n, k = list(BP4D).index(subject), int(sample[-4:]) - 2440
        wanted = [-1 if code(n, k, u) == 9 else code(n, k, u) for u in range(12)]
        assert sample == f"{subject}/T{n + 1}/{2440 + k}" and [int(rows[f"target_{u}"][row]) for u in units] == wanted
    p, called = (torch.stack([rows[f"{kind}_{u}"] for u in units], 1) for kind in ("p", "predicted"))
    assert torch.equal(called, (p >= .5).long()) and p.min() >= 0 and p.max() <= 1
    assert all({row["stage"] for row in runs.read_log(fold)} == {"ANFL", "MEFL"} for fold in both.run.glob("fold-*"))


def test_stages_and_what_is_carried_over(both):
    """§2.3: the second stage begins with the first one's weights and says which; it trains all of them, at its own rate.

    Reading: SC's s could begin anew, and what is carried over could stay as it is.
    """
    lines = both.out.splitlines()
    at = [n for n, line in enumerate(lines) if "MEFL starts from best-ANFL.pt: " in line]
    assert len(at) == 3 and lines[at[0]].endswith("backbone, global linear layer, AFG and s; FGG is left behind")
    assert lines[at[0] + 1:at[0] + 4] == [
        "weights: 87 of the model's 138 tensors loaded",
        "  not in the file, left at their initial values: FAM (6), ARM (13), gcn (30), edge_fc (2)",
        "  in the file, not in the model, unused: FGG (9)"]
    for fold in both.run.glob("fold-*"):
        first, second = model_of(fold / "best-ANFL.pt"), model_of(fold / "best.pt")
        shared = [name for name in first if name in second and first[name].is_floating_point()]
        assert len({name.split(".")[0] for name in shared}) == 4
        for name in shared:                                      # 3 steps of at most 1e-6 each, and what the decay takes
            if "running" not in name:
                close(second[name], first[name], atol=4e-6, rtol=1e-6)
        for name in ("backbone.conv1.weight", "global_linear.fc.weight", "AFG.fc.weight", "s"):
            assert not torch.equal(first[name], second[name])
        rates = {row["stage"]: row["lr"] for row in runs.read_log(fold)}
        assert all(0 <= rate < 1e-9 for rate in rates.values()) and set(rates) == {"ANFL", "MEFL"}


def test_class_weights_are_of_the_training_part_alone(both, sets, tmp_path):
    """megraphau (§2.3)   w_i from the codes of the two other parts, counted here; they sum to one, and to N with --w-sum N."""
    heard(train.main, words(sets.bp4d, "bp4d", tmp_path / "N", "--w-sum", "N", "--stage", "ANFL", "--steps", "1"))
    for fold in "123":
        rates = []
        for u in range(12):
            codes = [code(n, k, u) for n, subject in enumerate(BP4D) if BP4D[subject] != fold for k in range(FRAMES)]
            rates.append(codes.count(1) / (codes.count(0) + codes.count(1)))
        w = tensor([1 / r / sum(1 / q for q in rates) for r in rates])
        close(torch.load(both.run / f"fold-{fold}" / "best.pt", weights_only=True)["stat"]["w"], w)
        close(torch.load(tmp_path / "N" / f"fold-{fold}" / "best.pt", weights_only=True)["stat"]["w"], 12 * w)
        assert len(set(rates)) > 1                               # the unknown ones make the folds differ


def test_evaluate_a_run(both, tmp_path):
    """The same predictions, a row of F1 for each fold and their mean, the figures; one fold alone likewise."""
    out = heard(evaluate.main, [both.run, "--workers", "0", "--device", "cpu", "--output-dir", tmp_path])
    rows, before = (runs.read_predictions(folder / "predictions.csv", ()) for folder in (tmp_path, both.run))
    assert {n: c for n, c in rows.items() if isinstance(c, list)} == {n: c for n, c in before.items() if isinstance(c, list)}
    for name in [n for n, column in rows.items() if isinstance(column, torch.Tensor)]:
        close(rows[name], before[name], atol=1e-6, rtol=0)       # networks built to be trained may round another way
    assert "printed" not in out                                  # nothing of the page beside a small network
    table = {line[:17].strip(): line[17:].split() for line in out.splitlines() if line.startswith(("AU", "fold ", "F1, mean"))}
    assert table["AU"] == [*map(str, TWELVE), "Avg.", "frames"]
    assert list(table) == ["AU", "fold 1", "fold 2", "fold 3", "F1, mean of folds"]
    each = []
    for fold in "123":
        f1 = []
        for unit in TWELVE:
            columns = zip(rows[f"target_AU{unit:02d}"], rows[f"predicted_AU{unit:02d}"], rows["fold"])
            pairs = [(int(t), int(c)) for t, c, f in columns if f == fold and t >= 0]
            TP, FP, FN = (pairs.count(pair) for pair in ((1, 1), (0, 1), (1, 0)))
            f1.append(2 * TP / (2 * TP + FP + FN) if TP + FP + FN else 0.)
        each.append(f1 + [sum(f1) / 12])
        assert table[f"fold {fold}"] == [f"{100 * v:.1f}" for v in each[-1]] + ["6"]
    mean = [sum(column) / 3 for column in zip(*each)]
    assert [float(v) for v in table["F1, mean of folds"]] == pytest.approx([100 * v for v in mean] + [18], abs=.051)
    assert f"F1 {mean[-1]:.4f}" in out and f"F1 {mean[-1]:.4f}" in both.out
    for name in ("f1", "units", "graph", "edges", "attention"):
        with Image.open(tmp_path / f"{name}.png") as picture:
            assert min(picture.size) > 100
    out = heard(evaluate.main, [both.run / "fold-2" / "best.pt", "--workers", "0", "--device", "cpu", "--output-dir", tmp_path / "two"])
    assert "6 samples of the tested part" in out
    assert set(runs.read_predictions(tmp_path / "two" / "predictions.csv", ())["subject"]) == {"M011", "F003"}


def test_printed_figures_stand_beside_the_pages_own_settings():
    """Tables 1 and 2 beside a run of the whole system, as printed or as the authors' code has it; not beside other settings."""
    def printed(dataset, ablation="", **yours):
        return evaluate.printed_for(megraphau, plan.settle(megraphau, "megraphau", dataset, "paper", ablation, yours, "", Options()))
    for name, (family, dataset, values) in TABLES_1_2.items():
        for ablation in ("", "as_code"):
            assert list(printed(dataset, ablation, backbone=family).values()) in ([values[-1], *values[:-1]], list(values))
    assert [printed("bp4d", "table3.1"), printed("bp4d", size=192), printed("disfa", K=3), printed("drawn")] == [{}] * 4
    rows = {"fold": ["1"], **{f"{kind}_AU{u:02d}": tensor([1]) for u in EIGHT for kind in ("target", "predicted")}}
    table = evaluate.unit_table(rows, lambda some: megraphau.score(some, settled("disfa")), printed("disfa")).splitlines()
    assert [line.split() for line in table] == [
        ["AU", *map(str, EIGHT), "Avg.", "frames"], ["F1", *["100.0"] * 9, "1"],
        ["printed", "54.6", "47.1", "72.9", "54.0", "55.7", "76.7", "91.1", "53.0", "63.1"]]


def test_one_stage_after_the_other_is_both(both, sets, tmp_path, capsys):
    """--stage ANFL, and --stage MEFL --weights with that run: bit for bit the run of both; each fold gets its own file."""
    first, second = tmp_path / "first", tmp_path / "second"
    assert train.main(words(sets.bp4d, "bp4d", first, "--stage", "ANFL")) == 0
    capsys.readouterr()
    assert train.main(words(sets.bp4d, "bp4d", second, "--stage", "MEFL", "--weights", str(first))) == 0
    out = capsys.readouterr().out
    assert out.count("weights: 87 of the model's 138 tensors loaded") == 3 and out.count("unused: FGG (9)") == 3
    assert "left at their initial values: FAM (6), ARM (13), gcn (30), edge_fc (2)" in out
    for fold in ("fold-1", "fold-2", "fold-3"):
        for a, b in ((first / fold / "best.pt", "best-ANFL.pt"), (second / fold / "best.pt", "best.pt")):
            a, b = model_of(a), model_of(both.run / fold / b)
            assert a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)
        assert [row["stage"] for row in runs.read_log(second / fold)] == ["MEFL"]
    assert (second / "predictions.csv").read_bytes() == (both.run / "predictions.csv").read_bytes()
    assert train.main(words(sets.bp4d, "bp4d", tmp_path / "third", "--stage", "MEFL", "--weights", str(first / "fold-2"))) == 4
    err = capsys.readouterr().err
    assert "it is of fold 2 of bp4d" in err and "a run's folder gives each fold its own" in err and len(err.splitlines()) == 1
    assert not (tmp_path / "third").exists()


def test_weights_left_by_the_second_stage_go_on(both, sets, tmp_path, capsys):
    """--stage MEFL --weights with a run of both stages begins with every tensor of its second stage."""
    run = tmp_path / "run"
    assert train.main(words(sets.bp4d, "bp4d", run, "--stage", "MEFL", "--weights", str(both.run), "--lr-2", "0", "0", "--steps", "1")) == 0
    assert capsys.readouterr().out.count("weights: 138 of the model's 138 tensors loaded") == 3
    a, b = model_of(run / "fold-1" / "best.pt"), model_of(both.run / "fold-1" / "best.pt")
    assert all(torch.equal(a[name], b[name]) for name in a if "running" not in name and not name.endswith("tracked"))


def test_no_epochs_judge_weights_as_they_are(both, sets, tmp_path, capsys):
    """--epochs-2 0 trains nothing: each fold's own file is loaded, judged, and kept as best.pt."""
    run = tmp_path / "run"
    assert train.main(words(sets.bp4d, "bp4d", run, "--stage", "MEFL", "--weights", str(both.run), "--epochs-2", "0")) == 0
    assert (run / "predictions.csv").read_bytes() == (both.run / "predictions.csv").read_bytes()
    a, b = (model_of(r / "fold-3" / "best.pt") for r in (run, both.run))
    assert all(torch.equal(a[name], b[name]) for name in a)
    assert "the weights as they were given" in capsys.readouterr().out


def test_stopped_in_the_first_stage_and_gone_on(both, sets, tmp_path, capsys):
    """--steps 1 ends both stages after one step of three; going on ends as never having stopped."""
    run = tmp_path / "run"
    assert train.main(words(sets.bp4d, "bp4d", run, "--steps", "1")) == 0
    assert (run / "predictions.csv").read_bytes() != (both.run / "predictions.csv").read_bytes()
    assert train.main(["--paper", "megraphau", "--resume", str(run), "--device", "cpu", "--workers", "0"]) == 0
    for name in ("predictions.csv", *(f"fold-{k}/log.csv" for k in "123")):
        assert (run / name).read_bytes() == (both.run / name).read_bytes()
    for k in "123":
        a, b = (model_of(r / f"fold-{k}" / "last.pt") for r in (run, both.run))
        assert all(torch.equal(a[name], b[name]) for name in a)


def test_weights_in_the_folder_of_another_fold_are_refused(both, tmp_path, capsys):
    """Fold 1's network has seen whom fold 2 tests."""
    run = tmp_path / "run"
    shutil.copytree(both.run, run)
    for name in ("best.pt", "best.pt.sha256"):
        shutil.copy(run / "fold-1" / name, run / "fold-2" / name)
    for file in (run / "fold-2" / "best.pt", run):
        assert evaluate.main([str(file), "--workers", "0", "--device", "cpu", "--output-dir", str(tmp_path / "out")]) == 4
        err = capsys.readouterr().err
        assert "it is of fold 1, and may have been trained on what fold-2 tests" in err and len(err.splitlines()) == 1
    assert not (tmp_path / "out").exists()


def test_a_unit_that_training_lacks_is_refused(portraits, tmp_path, capsys):
    """AU 24 is there in M007 alone, whom fold 3 tests: its other two parts have none."""
    root = bp4d_tree(tmp_path / "BP4D", portraits, lambda n, k, u: int(n == 1 and k == 0) if u == 11 else code(n, k, u))
    assert train.main(words(root, "bp4d", tmp_path / "run")) == 3
    err = capsys.readouterr().err
    assert "fold 3: action unit 24 is there in none of 12 training samples" in err and len(err.splitlines()) == 1
    assert not (tmp_path / "run").exists()
    units = ["--aus", *map(str, TWELVE[:-1])]
    assert train.main(words(root, "bp4d", tmp_path / "run", *units, "--steps", "1", "--stage", "ANFL")) == 0


def test_train_on_disfa_as_the_code_does(sets, tmp_path):
    """DISFA's eight units, as the authors' code: K = 3; Swin; an intensity of 2 is there, 1 is not."""
    out = heard(train.main, words(sets.disfa, "disfa", tmp_path / "run", "--ablation", "as_code", "--backbone", "swin", "--steps", "1"))
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert (config["cfg"]["K"], config["cfg"]["aus"], config["cfg"]["lr_2"]) == (3, list(EIGHT), [1e-5, 1e-6])
    assert "DISFA: an intensity of 2 or more counts as present" in out and "DISFA: 18 frames of 130814 expected" in out
    rows = runs.read_predictions(tmp_path / "run" / "predictions.csv", ())
    assert dict(zip(rows["subject"], rows["fold"])) == DISFA
    for row, (sample, subject) in enumerate(zip(rows["sample"], rows["subject"])):
        n, t = list(DISFA).index(subject), int(sample.split("/")[1])
        assert [int(rows[f"target_AU{unit:02d}"][row]) for unit in EIGHT] == [int((n + t + u) % 3 == 0) for u in range(8)]


# ---- drawn faces, and one's own pictures

FEW = {"train": (24, 8), "select": (4, 2), "report": (6, 2)}     # pictures, subjects


@pytest.fixture
def few(monkeypatch):
    monkeypatch.setitem(megraphau.DATASETS, "drawn", megraphau.DATASETS["drawn"]._replace(read=partial(drawn_units.read, parts=FEW)))


def test_a_table_runs_its_rows(few, tmp_path):
    """Table 3 on drawn faces: seven runs, the switches as printed, our F1, and no printed one beside a demo's."""
    out = heard(train.main, ["--paper", "megraphau", *SMALL, "--steps", "1", "--table", "3", "--output-dir", tmp_path])
    lines = [line.split() for line in (tmp_path / "table.txt").read_text().splitlines()]
    assert lines[0] == ["row", "backbone", "AFG", "FGG", "MEFL", "L_WA", "L_E", "F1,", "ours"] and lines[1][0] in out
    for line, (*on, _, _) in zip(lines[1:8], TABLE_3, strict=True):
        assert line[1:7] == ["resnet", *("✓" if switch else "-" for switch in on)] and 0 <= float(line[7]) <= 1
    assert "not to be compared with the paper's scores" in out
    drawn = runs.read_predictions(tmp_path / "table3.7-seed0" / "predictions.csv", ())
    assert len(drawn["sample"]) == 6 and float(lines[7][7]) == pytest.approx(megraphau.score(drawn, megraphau.Config())["F1"], abs=5e-5)


def table_of(folder):
    with (folder / "action_units.csv").open(newline="") as file:
        return list(csv.DictReader(file))


@pytest.fixture(scope="module")
def album(portraits, tmp_path_factory):
    """pair.png holds faces 0 and 1, lone.png face 2, none.png nobody; faces 0 to 2 alone; and where each one's landmarks are."""
    top, (faces_, points) = tmp_path_factory.mktemp("album"), portraits
    def page(*at):
        sheet = torch.full((3, 90, 150), 128, dtype=torch.uint8)
        for k, x in at:
            sheet[:, 20:64, x:x + 44] = faces_[k]
        return sheet
    for name, at in (("pair", [(0, 10), (1, 90)]), ("lone", [(2, 53)]), ("none", [])):
        write_picture(page(*at), top / "photos" / f"{name}.png")
    for k in range(3):
        write_picture(page((k, 31)), top / "single" / f"{k}.png")
    def row(name, k, x):
        return ",".join([name, "train", "1", "2", "3", "4", *(f"{v:.4f}" for v in (points[k] + tensor([x, 20.])).flatten().tolist())])
    head = ",".join(["file", "part", "left", "top", "width", "height", *(f"{c}{k}" for k in range(68) for c in "xy")])
    text(top / "faces.csv", head, row("pair.png", 0, 10), row("lone.png", 2, 53), row("photos/pair.png", 1, 90), row("gone.png", 0, 0))
    text(top / "single.csv", head, *(row(f"{k}.png", k, 31) for k in range(3)))
    return top


def own(both, folder, out, *more):
    return heard(evaluate.main, [both.run / "fold-2" / "best.pt", folder, "--device", "cpu", "--output-dir", out, *more])


def test_ones_own_pictures_with_several_faces(both, album, tmp_path, monkeypatch):
    """A row a face, in the order of the file, each as if it were alone; what no row names and what is not there are said."""
    out = own(both, album / "photos", tmp_path / "out", "--landmarks", album / "faces.csv")
    assert "3 faces in 2 pictures; none in " in out and "none.png; 1 rows are of other pictures" in out
    rows = table_of(tmp_path / "out")
    assert [Path(row["sample"]).name for row in rows] == ["pair.png#1", "lone.png", "pair.png#2"]
    assert list(rows[0]) == ["sample", *(f"AU{u:02d}_c" for u in TWELVE), *(f"AU{u:02d}_p" for u in TWELVE)]
    assert all(int(row[f"AU{u:02d}_c"]) == (float(row[f"AU{u:02d}_p"]) >= .5) for row in rows for u in TWELVE)
    names = {p.name for p in (tmp_path / "out").glob("*.png")}
    assert names == {f"{k}-{name}-{kind}.png" for k, name in (("001", "pair"), ("002", "lone"), ("003", "pair"))
                     for kind in ("units", "graph", "edges", "attention")}
    monkeypatch.setattr(figures, "of_own", lambda *_: {})        # once is enough
    own(both, album / "single", tmp_path / "single", "--landmarks", album / "single.csv")
    alone = table_of(tmp_path / "single")                        # as many rows as frames, in their order
    assert [Path(row["sample"]).name for row in alone] == ["0.png", "1.png", "2.png"]
    for face, k in zip(rows, (0, 2, 1), strict=True):
        assert [float(face[f"AU{u:02d}_p"]) for u in TWELVE] == pytest.approx([float(alone[k][f"AU{u:02d}_p"]) for u in TWELVE], abs=1e-5)
    assert alone[0]["AU01_p"] != alone[1]["AU01_p"]


def test_ones_own_pictures_without_landmarks(both, album, tmp_path, monkeypatch, capsys):
    """A row a picture, its centre square, as `prepare` takes it; a named picture that is not there is refused."""
    monkeypatch.setattr(figures, "of_own", lambda *_: {})
    out = own(both, album / "single", tmp_path / "out")
    assert "no --landmarks: the centre square of each picture is used" in out
    rows = table_of(tmp_path / "out")
    assert [Path(row["sample"]).name for row in rows] == ["0.png", "1.png", "2.png"]
    saved = torch.load(both.run / "fold-2" / "best.pt", weights_only=True)
    cfg = megraphau.Config(**saved["cfg"])
    model = megraphau.network(cfg, saved["stat"], megraphau.stages(cfg)[1]).eval()
    model.load_state_dict(saved["model"])
    for k, row in enumerate(rows):
        write_picture(read_picture(album / "single" / f"{k}.png")[:, :, 30:120], tmp_path / f"{k}.png")         # of 150 × 90
        x, = megraphau.prepare(Sample("a", Clip(tmp_path / f"{k}.png"), {}), cfg, None)
        with torch.no_grad():
            assert [float(row[f"AU{u:02d}_p"]) for u in TWELVE] == pytest.approx(model(x[None])[0][0].tolist(), abs=1e-5)
    assert evaluate.main([str(both.run / "fold-2" / "best.pt"), str(album / "single" / "7.png"), "--device", "cpu"]) == 3
    assert "7.png: does not exist" in capsys.readouterr().err
    assert evaluate.main([str(both.run), str(album / "single"), "--device", "cpu"]) == 2
    assert "3 folds, each with a model; name one" in capsys.readouterr().err


def test_rows_of_landmarks_that_fit_no_picture(both, album, tmp_path, capsys):
    """Rows without names are a row a frame: four of them for three pictures are refused."""
    points = ",".join(["5"] * 136)
    file = text(tmp_path / "four.csv", points, points, points, points)
    assert evaluate.main([str(both.run / "fold-2" / "best.pt"), str(album / "photos"), "--landmarks", str(file), "--device", "cpu"]) == 3
    assert "4 rows, but 3 frames were given" in capsys.readouterr().err


@pytest.mark.parametrize("name, rows, wanted", [
    ("openface.csv", ["frame, face_id, confidence, success, x_0, y_0", "1, 0, 0.9, 1, 5, 6", "2, 0, 0.9, 1, 5, 6"], None),
    ("header.csv", ["file,x0,y0", "a.png,1,2", "b/c.png,3,4"], ["a.png", "b/c.png"]),
    ("boxes.csv", ["file,part,left,x0,y0", "a.png,train,7,1,2", "a.png,test,7,3,4"], ["a.png", "a.png"]),
    ("plain.csv", ["a.png,1,2", " b.png ,3,4", ""], ["a.png", "b.png"]),
    ("plain.txt", ["a.png,1,2"], ["a.png"]),
    ("points.csv", ["1,2,3,4", "5,6,7,8"], None),
    ("headed.csv", ["x0,y0,x1,y1", "1,2,3,4"], None),
    ("empty.csv", [], None),
    ("points.npy", ["a.png,1,2"], None),
    ("face.pts", ["version: 1"], None)])
def test_names_of_rows(name, rows, wanted, tmp_path):
    """A first column of names, with or without a header; numbers are none, nor is any other kind of file."""
    assert names_of_rows(text(tmp_path / name, *rows)) == wanted
    assert names_of_rows(tmp_path / "nowhere.csv") is None


def test_frames_of_ones_own_are_samples_of_their_own(album, device):
    """A folder gives a sample a picture, a picture itself; along landmarks each frame is cut out by its own."""
    samples = megraphau.own("photos", Clip(album / "photos"), None)
    assert [(s.id, len(s.clip)) for s in samples] == [("photos/lone.png", 1), ("photos/none.png", 1), ("photos/pair.png", 1)]
    for s in samples:
        close(s.clip.read([0], 20).to(device), Clip(album / "photos" / s.id[7:]).read([0], 20).to(device))
    assert megraphau.own("a.png", Clip(album / "single" / "0.png"), None)[0].id == "a.png"
    points = torch.full((3, 68, 2), 40.)
    points[:, 42:48, 0] = tensor([60., 70., 80.])[:, None]
    cfg, along = dataclasses.replace(TINY, resize=20, size=20), megraphau.own("single", Clip(album / "single"), points)
    cut = [megraphau.prepare(s, cfg, None)[0].to(device) for s in along]
    assert all(x.shape == (3, 20, 20) for x in cut) and not torch.equal(cut[0], cut[1])


def test_rows_out_of_order_find_their_frames(both, album, tmp_path, monkeypatch, capsys):
    """A row for each frame in another order is put in order by its names; a name that fits two frames is refused."""
    monkeypatch.setattr(figures, "of_own", lambda *_: {})
    head, *rows = (album / "single.csv").read_text().splitlines()
    own(both, album / "single", tmp_path / "a", "--landmarks", album / "single.csv")
    own(both, album / "single", tmp_path / "b", "--landmarks", text(tmp_path / "back.csv", head, *rows[::-1]))
    assert (tmp_path / "a" / "action_units.csv").read_bytes() == (tmp_path / "b" / "action_units.csv").read_bytes()
    for k in range(3):
        write_picture(read_picture(album / "single" / f"{k}.png"), tmp_path / "single" / f"{k}.png")
    words = [str(both.run / "fold-2" / "best.pt"), str(album / "single"), str(tmp_path / "single"), "--device", "cpu", "--landmarks"]
    assert evaluate.main([*words, str(album / "single.csv")]) == 3
    assert "0.png is 2 of the frames given" in capsys.readouterr().err


def test_score_of_many_rows_and_of_units_that_nobody_knows():
    """147,000 rows take no minutes; a unit known nowhere in a fold counts in no mean: 1 in fold a alone, ⅔ and 1 in both.

    Fold a: AU1 1, AU2 2·1 / (2 + 1 + 0) = ⅔; fold b: AU1 unknown, AU2 1. Means 1 and ⅚, their mean 11/12.
    """
    n, began = 73_500, time.monotonic()
    cfg = dataclasses.replace(TINY, aus=(1, 2), K=1)
    rows = {"fold": ["a"] * n + ["b"] * n, "target_AU01": torch.cat([torch.ones(n), -torch.ones(n)]).long(), "predicted_AU01": torch.ones(2 * n).long(),
            "target_AU02": torch.cat([torch.arange(n) % 2, torch.ones(n)]).long(), "predicted_AU02": torch.ones(2 * n).long()}
    scores = megraphau.score(rows, cfg)
    assert scores == {"F1": pytest.approx(11 / 12), "F1 AU01": 1, "F1 AU02": pytest.approx(5 / 6)}
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("name, more, said", [
    ("x_fold1.pth", (), "its name says fold 1, this is fold 2"), ("gone.pth", (), "there is no such file"),
    (None, ("--aus", "2", "1", "4", "6", "7", "10", "12", "14", "15", "17", "23", "24"), "it was trained with --aus 1 2 4"),
    (None, ("--aus", "1", "2", "4"), "it was trained with --aus 1 2 4")])
def test_weights_of_another_fold_or_of_other_units_are_refused(name, more, said, both, sets, tmp_path, capsys):
    """Before anything trains: a file named after one fold for three, a run whose heads are of other units."""
    if name == "x_fold1.pth":
        torch.save({"state_dict": model_of(both.run / "fold-1" / "best.pt")}, tmp_path / name)
    where = both.run if name is None else tmp_path / name
    assert train.main(words(sets.bp4d, "bp4d", tmp_path / "run", "--stage", "MEFL", "--weights", str(where), *more)) == 4
    assert said in capsys.readouterr().err and not (tmp_path / "run").exists()


def test_weights_of_three_folds_in_a_folder(both, sets, tmp_path, capsys):
    """Files named after their folds, as the authors released them: each fold takes its own."""
    for k in "123":
        torch.save({"state_dict": {f"module.{name}": t for name, t in model_of(both.run / f"fold-{k}" / "best.pt").items()}}, tmp_path / f"x_fold{k}.pth")
    run = tmp_path / "run"
    assert train.main(words(sets.bp4d, "bp4d", run, "--stage", "MEFL", "--weights", str(tmp_path), "--epochs-2", "0")) == 0
    assert (run / "predictions.csv").read_bytes() == (both.run / "predictions.csv").read_bytes()
    assert capsys.readouterr().out.count("a subject tested here must not be among them") == 3


def test_as_code_leaves_the_demos_learning_rate():
    """1e-5 is for weights that were trained before; drawn faces keep their own, and take the rest of the row."""
    own_, row = (plan.settle(megraphau, "megraphau", "drawn", "demo", name, {}, "", Options()).cfg for name in ("", "as_code"))
    assert (row.lr_2, row.K, row.w_sum, row.detach, row.ties) == (own_.lr_2, own_.K, "N", True, True)
