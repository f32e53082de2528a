"""Emotion-GCN: a graph of seven expressions, valence and arousal writes the classifiers and the regressors.

Antoniadis, Filntisis, Maragos. Exploiting Emotional Dependencies with Graph Convolutional Networks for Facial Expression
Recognition. FG 2021.

    face ─ DenseNet ─ global max ─ x (D) ───────────┐                                          §III.A, Eq. 1
                                                    x · wᵀ ─ expression ─ cross-entropy        §III.C, Eq. 7-9
    nine words ─ GCN ─ LeakyReLU ─ GCN ─ W (9, D) ──┘    └── valence, arousal ─ concordance    §III.C, Eq. 10-12
                  └─ A'', from the training labels                                             §III.B, Eq. 2-6
"""
import csv
import math
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refnet.backbones import bregnext, densenet
from refnet.backbones.resnet import normalise
from refnet.backbones.weights import WeightsError
from refnet.backbones.weights import load_weights as load_into
from refnet.config import Row, Stage, ours, said
from refnet.data import affectnet, affwild2, drawn_stills
from refnet.data.augmentation import coloured, draws, turned
from refnet.data.landmarks import Upright
from refnet.data.own import pictures_of
from refnet.data.packed import packed
from refnet.data.protocols import as_delivered
from refnet.data.released import emotion_gcn
from refnet.data.samples import Collection, DataError, DataSet, Sample
from refnet.data.weight_files import read_state_dict
from refnet.data.word_vectors import width, word_vectors
from refnet.graphs.emotions import AFFECTNET, conditional, emotion_graph, label_matrix, spearman
from refnet.ops import losses, metrics
from refnet.ops.graph_conv import GraphConv
from refnet.pictures import Clip

NETS = {name: partial(densenet.DenseNet, **layout) for name, layout in densenet.LAYOUTS.items()} | {
    "bregnext50": bregnext.BReGNeXt, "bregnext50_code": partial(bregnext.BReGNeXt, same=False),      # padded as Emotion-GCN's own file does
    "densenet_demo": partial(densenet.DenseNet, layout=(2, 2, 2, 2), growth=16, first=32)}


@dataclass(frozen=True)
class Config:
    """Every number of the paper, and every number it leaves out."""
    classes:      tuple = said(affectnet.NAMES, "§III.B.1")
    size:         int   = said(227, "§III.A, pixels per side of a face")
    stored:       int   = ours(227, "pixels per side as decoded; enlarged to --size in batches")
    align:        bool  = said(True, "§IV.B, the face's box, turned until the eyes are level; False: AffectNet by landmarks alone, as Face2Nodes")
    flip:         bool  = said(True, "§IV.B")
    turn:         float = ours(30.0, "§IV.B, rotation, not how far: up to so many degrees, as in the code")
    jitter:       float = ours(0.2, "§IV.B, brightness, contrast and saturation, not how much: times 1 ± this; 0 in the code")
    hue:          float = ours(0.05, "§IV.B, hue, not how much: up to this share of its circle; 0 in the code")
    net:          str   = ours("densenet121", "§III.A, a DenseNet with D = 1024: of those published this one alone")
    pool:         str   = said("max", "(1); mean in the code's network without a graph")
    relu:         bool  = ours(False, "before the pooling: none in (1), none in the code but for its network without a graph")
    gcn:          bool  = said(True, "§III.B; False: classifiers and regressors are weights of their own (Tables I, III)")
    tasks:        str   = said("both", "§III.C; expression or va: one of the two alone (Tables I, III)")
    L:            int   = said(2, "§IV.B, layers of the graph; 1 to 3 in Table II")
    hidden:       int   = said(512, "§IV.B, of each layer but the last")
    slope:        float = ours(0.2, "§III.B.1, LeakyReLU, not how leaky: as the code")
    glove:        str   = ours("", "§IV.B, GloVe of 300 numbers, too large to come along: a glove.*.txt; else nine of 50 numbers")
    correlations: str   = said("train", "§III.B.2, of the training labels; affectnet: those of AffectNet, as its authors' code has them")
    among:        bool  = said(False, "(3), nothing between expressions; True: their conditional probabilities, §IV.E")
    between:      str   = ours("", "§IV.E, a .csv with those: C × C, P(column | row), or a row a face of C labels, 0 or 1; else of the training labels")
    tau:          float = said(0.1, "(5)")
    p:            float = said(0.7, "(6)")
    transposed:   bool  = said(False, "(2), rows of Â sum to one; True: columns, as the code")
    weighted:     str   = ours("rare", "(9) as intended, f_min / f_i; printed: f_i / f_min; even: none, as the code on Aff-Wild2")
    regression:   str   = said("ccc", "(12); mse in Tables I and III")
    unbiased:     bool  = ours(False, "(11), all moments over n; True: its variances over n − 1, as the code")
    measure:      str   = said("Acc", "§IV.A.1, mean class accuracy; F1+Acc: §IV.A.2; of valence and arousal alone it is CCC")
    adam:         bool  = said(False, "§IV.B, stochastic gradient descent; True: Adam in its place")
    lr:           float = said(1e-3, "§IV.B")
    momentum:     float = said(0.9, "§IV.B")
    weight_decay: float = ours(0.0, "§IV.B has none; 1e-3 in the code")
    cosine:       bool  = ours(False, "§IV.B, one learning rate; True: it warms up over a tenth of the steps, and falls to zero")
    epochs:       int   = said(10, "§IV.B")
    batch_size:   int   = said(35, "§IV.B")
    cache:        str   = ours("runs/cache", "where decoded pictures are kept; an empty name keeps none")

    def __post_init__(self):
        for name in ("stored", "L", "hidden", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more; got {getattr(self, name)}")
        if self.size < 32:
            raise ValueError(f"size must be 32 or more, as the network halves a picture five times; got {self.size}")
        for name in ("slope", "lr", "weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be 0 or more; got {getattr(self, name)}")
        for name, most in (("turn", 180), ("jitter", 1), ("hue", 0.5), ("tau", 1), ("p", 1), ("momentum", 0.999)):
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be between 0 and {most}; got {getattr(self, name)}")
        for name, words in (("net", tuple(NETS)), ("pool", ("max", "mean")), ("tasks", ("both", "expression", "va")),
                            ("correlations", ("train", "affectnet")), ("weighted", ("rare", "printed", "even")),
                            ("regression", ("ccc", "mse")), ("measure", ("Acc", "F1+Acc"))):
            if getattr(self, name) not in words:
                raise ValueError(f"{name} is one of {', '.join(words)}; got {getattr(self, name)}")
        if len(self.classes) < 2 or len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes must be two names or more, each once; got {', '.join(self.classes)}")
        if self.gcn and self.tasks != "both":
            raise ValueError(f"the graph links expressions with valence and arousal, so one task alone has none: --no-gcn with --tasks {self.tasks}")
        if self.correlations == "affectnet" and not set(self.classes) <= set(affectnet.NAMES):
            raise ValueError(f"AffectNet's correlations are of {', '.join(affectnet.NAMES)}; got {', '.join(self.classes)}: take --correlations train")
        if self.among and not self.gcn or self.between and not self.among:
            raise ValueError("--between goes with --among, and --among with the graph; leave it out, or give both")

    @property
    def lacks(self) -> str:
        """What the page has and this run does not, though no setting of the page was changed."""
        return ", ".join(["word vectors of 300 numbers (--glove glove.6B.300d.txt)"] * (self.gcn and width(self.glove) != 300)
                         + ["probabilities of faces with several emotions (--between FILE)"] * (self.among and not self.between))

    @property
    def names(self) -> tuple[str, ...]:
        """What is scored: expressions, then valence and arousal; also the graph's nodes."""
        return (*self.classes,) * (self.tasks != "va") + ("valence", "arousal") * (self.tasks != "expression")


PRESETS = {
    "paper": {},
    "demo": {
        "size":       ours(112, "demo"),
        "stored":     ours(112, "demo"),
        "turn":       ours(0.0, "demo: drawn heads are inclined as they are"),
        "jitter":     ours(0.0, "demo: drawn faces differ in light and colour as they are"),
        "hue":        ours(0.0, "demo: likewise"),
        "net":        ours("densenet_demo", "demo"),
        "hidden":     ours(64, "demo"),
        "adam":       ours(True, "demo: nothing is pre-trained; in trials plain descent learned far more slowly"),
        "lr":         ours(3e-3, "demo"),
        "cosine":     ours(True, "demo"),
        "batch_size": ours(32, "demo"),
    },
}


def kept(read):
    """A reader whose pictures are decoded once, and then kept, unless they are in memory anyway."""
    def found(root: Path, cfg: Config) -> Collection:
        return packed(read(root, cfg), cfg.stored, cfg.cache)
    return found


DATASETS = {
    "drawn":     DataSet(kept(drawn_stills.read), as_delivered),
    "affectnet": DataSet(kept(affectnet.read), as_delivered),
    "affwild2":  DataSet(kept(affwild2.read_both), as_delivered, {"measure": said("F1+Acc", "§IV.A.2"), "align": ours(False, "delivered aligned")}),
}

MULTI = {"gcn": False, "pool": "mean", "relu": True}
SINGLE = MULTI | {"tasks": "expression"}
START = "the page does not say what its DenseNet starts from; the authors' code takes ImageNet's weights"
POOLED = f"{START}\nnetworks without a graph pool as the code's do, by a mean behind a ReLU, of which the page says nothing"
LINKED = f"{START}\nτ = 0.05 and 0.1 give AffectNet the same graph, so between those two only chance decides; at τ = 0 the code links expressions too"


def printed(acc: float, score: float | None = None) -> dict[str, dict[str, float]]:
    """What Tables I, II and V print of a row."""
    return {"affectnet": {"Acc": acc}} | ({"affwild2": {"F1+Acc": score}} if score else {})


def affect(v: float, a: float, wild_v: float, wild_a: float) -> dict[str, dict[str, float]]:
    """What Table III prints of a row."""
    return {"affectnet": {"CCC-V": v, "CCC-A": a}, "affwild2": {"CCC-V": wild_v, "CCC-A": wild_a}}


ABLATIONS = {
    "table1.1": Row(SINGLE, printed(64.37, 45.06), POOLED, pretrained=True),
    "table1.2": Row(MULTI | {"regression": "mse"}, printed(64.80, 43.10), POOLED, pretrained=True),
    "table1.3": Row(MULTI, printed(65.69, 43.33), POOLED, pretrained=True),
    "table1.4": Row({}, printed(66.46, 48.92), POOLED, pretrained=True),
    "table3.1": Row(MULTI | {"tasks": "va"}, affect(.761, .628, .416, .501), POOLED, pretrained=True),
    "table3.2": Row(MULTI | {"regression": "mse"}, affect(.752, .572, .435, .378), POOLED, pretrained=True),
    "table3.3": Row(MULTI, affect(.768, .651, .408, .481), POOLED, pretrained=True),
    "table3.4": Row({}, affect(.767, .649, .457, .514), POOLED, pretrained=True),
} | {                                                            # --table 2tau and --table 2p
    f"table2tau.{4 * row + column}": Row({"L": row + 1, "tau": tau}, printed(acc), LINKED, pretrained=True)
    for row, accs in enumerate(((53.09, 43.85, 53.71, 54.94), (65.29, 65.31, 66.46, 65.69), (65.77, 64.94, 64.74, 65.74)))
    for column, (tau, acc) in enumerate(zip((0.0, 0.05, 0.1, 0.15), accs), 1)
} | {
    f"table2p.{7 * row + column}": Row({"L": row + 1, "p": p}, printed(acc), START, pretrained=True)
    for row, accs in enumerate(((49.60, 50.94, 52.57, 52.66, 52.86, 53.71, 59.31), (65.71, 66.14, 65.29, 66.29, 66.09, 66.46, 65.06),
                                (65.29, 65.54, 65.89, 66.09, 65.54, 64.74, 65.83)))
    for column, (p, acc) in enumerate(zip((0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8), accs), 1)
} | {
    f"table5.{row}": Row({"net": "bregnext50", "size": 112, "stored": 112} | settings, printed(acc), "112 px as in the authors' code; the page "
                         "speaks of the same pipeline as before, 227 px")
    for row, (settings, acc) in enumerate(((SINGLE | {"relu": False}, 60.49), (MULTI | {"relu": False}, 61.14), ({}, 61.94)), 1)
} | {
    "sectionIVE": Row({"among": True, "p": said(0.5, "supplement, A")}, printed(66.23), START, pretrained=True),
    "as_code": Row({"p": 0.5, "transposed": True, "unbiased": True, "jitter": 0.0, "hue": 0.0, "weight_decay": 1e-3}, {},
                   here={"affwild2": {"weighted": "even", "size": 112, "stored": 112}}),
    "as_code_multi": Row(MULTI | {"unbiased": True, "jitter": 0.0, "hue": 0.0, "weight_decay": 1e-3}, {},
                         here={"affwild2": {"weighted": "even", "size": 112, "stored": 112}}),
}


def stages(cfg: Config) -> tuple[Stage, ...]:
    """One."""
    return (Stage("train", cfg.epochs),)


# ---- what training and testing see

def augment(samples: list[Sample], cfg: Config) -> list[Sample]:
    """What training sees of its part: the samples as they are."""
    return samples


def waiting(samples: list[Sample], cfg: Config) -> list[Sample]:
    """Samples whose preparation is kept on disk and not there yet: none; pictures are decoded when they are read."""
    return []


def prepare(sample: Sample, cfg: Config, rng: torch.Generator | None) -> tuple[Tensor, ...]:
    """A face (3, s, s) uint8 as it is cut out; in training also (7,): how it is to be mirrored, turned and coloured."""
    picture = sample.clip.read([0], cfg.stored)[0]                                      # (3, s, s)
    return (picture,) if rng is None else (picture, draws(rng, cfg.flip, 0.0, cfg.jitter, cfg.turn, cfg.hue))


def batched(inputs: tuple[Tensor, ...], cfg: Config) -> tuple[Tensor]:
    """The network's input from a batch on its device: the six augmentations of §IV.B, and its size."""
    x = inputs[0]                                                                       # (B, 3, s, s) in [0, 1]
    if len(inputs) > 1 and (cfg.jitter or cfg.hue):
        x = coloured(x, inputs[1][:, 2:5], inputs[1][:, 6] if cfg.hue else None)
    if cfg.stored != cfg.size:
        x = F.interpolate(x, (cfg.size, cfg.size), mode="bilinear", antialias=cfg.stored > cfg.size)
    if len(inputs) > 1 and (cfg.flip or cfg.turn):
        x = turned(x, inputs[1][:, 0] > 0, inputs[1][:, 5])                             # (B, 3, S, S)
    return (x,)


def own(path: str, clip: Clip, points: Tensor | None) -> list[Sample]:
    """One's own pictures, one for each frame: turned until the eyes are level where landmarks (n, 68 or 51, 2) are given, else the centre square."""
    return pictures_of(path, clip, points, Upright)


def statistics(targets: dict[str, Tensor], cfg: Config) -> dict[str, Tensor]:
    """Taken from the training part: how often each class is there, f (C,) of (9); the correlations c (n, n) of (4).

    And what the graph needs beside: words Z (n, d), probabilities between expressions (C, C) of §IV.E.
    """
    C, y, stat = len(cfg.classes), targets["expression"], {}
    labels = label_matrix(y, targets["va"], C)
    if len(labels) < 2 and cfg.tasks != "expression":
        raise DataError(f"{len(labels)} of {len(y)} training samples have an expression, valence and arousal; expected some, as both tasks and the graph "
                        "learn from them; --no-gcn --tasks expression does without")
    if cfg.tasks != "va":
        stat["f"] = torch.bincount(y[y >= 0], minlength=C).float()
    if cfg.gcn:
        nodes = [affectnet.NAMES.index(name) for name in cfg.classes] + [7, 8] if cfg.correlations == "affectnet" else []
        stat["c"] = AFFECTNET[nodes][:, nodes] if nodes else spearman(labels)
        stat["Z"] = word_vectors(cfg.names, cfg.glove)
    if cfg.among:
        stat["between"] = probabilities(cfg.between, C) if cfg.between else conditional(F.one_hot(y[y >= 0], C))
    return stat


def probabilities(path: str, C: int) -> Tensor:
    """P(column | row) between expressions (C, C), in the order of the classes; or counted from labels of faces that show several."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as file:
            P = torch.tensor([[float(cell) for cell in row] for row in csv.reader(file) if row], dtype=torch.float64)
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"--between {path}: {error}; expected lines of {C} numbers with commas between") from error
    if P.dim() != 2 or P.shape[1] != C or not ((P >= 0) & (P <= 1)).all():
        raise DataError(f"--between {path}: {tuple(P.shape)} numbers, not all from 0 to 1 or not {C} a line; expected {C} × {C} probabilities, "
                        f"P(column | row), or a line of {C} labels a face, 0 or 1, in the order of --classes")
    if len(P) != C and not ((P == 0) | (P == 1)).all():
        raise DataError(f"--between {path}: {len(P)} lines, not {C}, so labels of faces; expected 0 or 1 throughout")
    return P if len(P) == C else conditional(P)


# ---- the network

class EmotionGCN(nn.Module):
    """x (B, 3, S, S) in [0, 1] → scores (B, n): one for each expression, then valence and arousal.

    Z  (n, d)   the nodes' words
    A  (n, n)   A'' of (6), rows receive

    Reading: (1) does not say whether DenseNet's last ReLU comes before the pooling; none does, as in the code, so that x has both signs.
    Reading: how pixels are scaled is not said; to ImageNet's mean and deviation, as in the code.
    Reading: Table II has one to three layers, and widths are said of two: the hidden ones are all 512 wide.
    """

    def __init__(self, cfg: Config, Z: Tensor | None = None, A: Tensor | None = None):
        super().__init__()
        self.cfg, self.kept = cfg, (None, None)
        self.features = NETS[cfg.net]()                                                 # f_cnn
        D = self.features.channels
        if cfg.gcn:
            widths = (Z.shape[-1], *[cfg.hidden] * (cfg.L - 1), D)
            self.gcn = nn.ModuleList(GraphConv(d, d_next, bias=False) for d, d_next in zip(widths, widths[1:]))
            for layer, d_next in zip(self.gcn, widths[1:]):
                nn.init.uniform_(layer.W, -d_next ** -0.5, d_next ** -0.5)              # as the code
        else:
            self.head, drawn = nn.Linear(D, len(cfg.names)), nn.Linear(D, len(cfg.classes) + 2)
            rows = slice(-2, None) if cfg.tasks == "va" else slice(len(cfg.names))       # of two tasks, so that two networks of one
            with torch.no_grad():                                                       # seed do not begin alike (Fig. 6)
                self.head.weight.copy_(drawn.weight[rows]), self.head.bias.copy_(drawn.bias[rows])
        self.register_buffer("Z", Z)
        self.register_buffer("A", A)

    def train(self, mode: bool = True):
        self.kept = None, None
        return super().train(mode)

    @property
    def told(self) -> str:
        """The graph in a line, for whoever trains it."""
        if self.A is None:
            return ""
        near = self.A.clone().fill_diagonal_(0) > 0                                     # (n, n)
        alone = [name for name, has in zip(self.cfg.names, near.any(1).tolist()) if not has]
        return f"the graph: {int((near | near.mT).sum()) // 2} edges" + (f"; without any: {', '.join(alone)}" if alone else "")

    def vector(self, x: Tensor) -> Tensor:
        """What is seen.

            emotiongcn (1)   x = f_gmp(f_cnn(I))

        x (B, 3, S, S) → (B, D)
        """
        maps = self.features(normalise(x))                                              # (B, D, h, w)
        maps = F.relu(maps) if self.cfg.relu else maps
        return maps.amax((-2, -1)) if self.cfg.pool == "max" else maps.mean((-2, -1))

    def written(self) -> Tensor:
        """Classifiers and regressors, from the graph: Z → W (n, D). Figure 2's lower half: Eq. 2 is a GraphConv, and h behind it.

        Reading: in (2) h follows every layer; behind the last one it would damp what is negative in a classifier. None there, as in the code.
        """
        A_hat, H = self.A.mT if self.cfg.transposed else self.A, self.Z
        for l, layer in enumerate(self.gcn, 1):
            H = layer(H, A_hat)                                                         # (n, 512), at last (n, D)
            H = F.leaky_relu(H, self.cfg.slope) if l < self.cfg.L else H
        return H

    def W(self) -> Tensor:
        """Classifiers W^c, then regressors W^r: (n, D). They do not depend on the picture: without gradient they are written once.

        And again after every switch between training and evaluation, and when a weight, Z or A has changed, or the precision has.
        """
        if not self.cfg.gcn:
            return self.head.weight
        tensors = (self.Z, self.A, *self.gcn.parameters())
        if torch.is_grad_enabled() or torch.compiler.is_compiling() or any(t.is_inference() for t in tensors):
            return self.written()
        of = [(t.data_ptr(), t._version) for t in tensors] + [torch.is_autocast_enabled(self.Z.device.type)]
        if self.kept[0] != of:
            self.kept = of, self.written()
        return self.kept[1]

    def forward(self, x: Tensor) -> Tensor:
        """Scores: of expressions before their softmax, valence and arousal as they are.

            emotiongcn (10)   p̂_i = w_i^r · x
        """
        return F.linear(self.vector(x), self.W(), None if self.cfg.gcn else self.head.bias)        # (B, n)


def network(cfg: Config, stat: dict[str, Tensor], stage: Stage) -> nn.Module:
    """Figure 2, with the graph of the training labels."""
    if not cfg.gcn:
        return EmotionGCN(cfg)
    A = emotion_graph(stat["c"], len(cfg.classes), cfg.tau, cfg.p, stat.get("between"))            # (n, n)   Eq. 3, 5, 6
    return EmotionGCN(cfg, stat["Z"], A.float())


def loss(out: Tensor, target: dict[str, Tensor], stat: dict[str, Tensor], cfg: Config, stage: Stage) -> dict[str, Tensor]:
    """L = L^c + L^r (§III.C), or the one that is trained alone."""
    terms, C = {}, len(cfg.classes)
    if cfg.tasks != "va":
        w = torch.ones_like(stat["f"]) if cfg.weighted == "even" else losses.class_weights(stat["f"], cfg.weighted == "printed")
        terms["L_c"] = losses.weighted_cross_entropy(out[:, :C], target["expression"], w)
    if cfg.tasks != "expression":
        p, va = out[:, -2:], target["va"]                                               # (B, 2) each
        terms["L_r"] = losses.concordance_loss(p, va, cfg.unbiased) if cfg.regression == "ccc" else losses.squared_error(p, va)
    return {"total": sum(terms.values())} | terms


def optimizer(model: nn.Module, cfg: Config, steps: int):
    """SGD with momentum (§IV.B), at one learning rate; or warmed up over a tenth of the steps, and then a cosine down to zero."""
    if cfg.adam:
        chosen = torch.optim.Adam(model.parameters(), cfg.lr, (cfg.momentum, 0.999), weight_decay=cfg.weight_decay)
    else:
        chosen = torch.optim.SGD(model.parameters(), cfg.lr, momentum=cfg.momentum, weight_decay=cfg.weight_decay)
    warm = max(1, steps // 10)

    def rate(n: int) -> float:
        return min((n + 1) / warm, (1 + math.cos(math.pi * min(n / max(1, steps), 1))) / 2) if cfg.cosine else 1.0

    return chosen, torch.optim.lr_scheduler.LambdaLR(chosen, rate)


def predict(out: Tensor, cfg: Config) -> dict[str, Tensor]:
    """The expression that is called, the probability of each, valence and arousal.

        emotiongcn (7)   ŷ_i = e^{w_i^c · x} / Σ_k e^{w_k^c · x}

    out (B, n) → columns (B,)
    """
    columns, C = {}, len(cfg.classes)
    if cfg.tasks != "va":
        p = out[:, :C].float().softmax(-1)                                              # (B, C)
        columns = {"predicted": p.argmax(-1)} | {f"p_{name}": p[:, c] for c, name in enumerate(cfg.classes)}
    if cfg.tasks != "expression":
        columns |= {"predicted_valence": out[:, -2].float(), "predicted_arousal": out[:, -1].float()}
    return columns


def score(rows: dict, cfg: Config) -> dict[str, float]:
    """Mean class accuracy (§IV.A.1), the score of Aff-Wild2 (§IV.A.2), CCC of valence and arousal; first the one that chooses the epoch."""
    out = {}
    if "predicted" in rows:
        counts = metrics.confusion(rows["target"], rows["predicted"], len(cfg.classes))
        out = {"Acc": metrics.recall_per_class(counts).nanmean().item(), "F1+Acc": metrics.emotion_score(counts).item()}
        out = {cfg.measure: out[cfg.measure]} | out
    if "predicted_valence" in rows:
        p, va = (torch.stack([rows[f"{kind}_{name}"] for name in ("valence", "arousal")], -1) for kind in ("predicted", "target"))     # (n, 2)
        known = (va >= -1).all(-1)                                                      # (n,)
        v, a = losses.concordance(p.double(), va.double(), known).tolist() if known.any() else (math.nan, math.nan)
        out |= ({} if out else {"CCC": (v + a) / 2}) | {"CCC-V": v, "CCC-A": a}
    return out


def load_weights(model: nn.Module, path: str, cfg: Config) -> str:
    """A backbone's published weights, the authors' whole network, or the state dict of one of ours. Words and graph are the run's own."""
    state = {name: t for name, t in emotion_gcn(read_state_dict(path)).items() if name not in ("A", "Z")}
    if not any(name.startswith(("gcn.", "head.")) for name in state):
        return f"{cfg.net}: {load_into(model.features, densenet.modern(state), source=path)}"
    if cfg.gcn and "gcn.0.W" in state and (there := tuple(state["gcn.0.W"].shape[1:])) != (d := tuple(model.Z.shape[1:])):
        raise WeightsError(path, f"its graph begins with words of {there[0] if there else 'no'} numbers, this one with {d[0]}",
                           "Give the word vectors it was trained with: --glove glove.6B.300d.txt")
    return f"{load_into(model, state, needed=0.9, source=path)}\nA and Z, where they are there, are those of this run, not of the file"
