"""Face2Nodes: a face as a set of patches, their graph made anew in every layer from what they have become.

Jiang, Huang, Mei, Guan, Tu, Luo, Huang. Face2Nodes: Learning facial expression representations with relation-aware dynamic
graph convolution networks. Information Sciences, 2023.

    face ─ ResNet ─ X_1 ... X_4 ─ MSF²PE ─ X (N, D) ─ L × [ F_in ─ dilated kNN ─ RG-Conv ─ F_out ─ + ─ M ─ + ] ─ mean ─ head
           §4.3                   (1-4)                (9)    (5)           (6-8)            (9)    (10)              §4.3
"""
import math
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refnet.backbones import resnet
from refnet.backbones.weights import WeightsError
from refnet.backbones.weights import load_weights as load_into
from refnet.config import Row, Stage, ours, said
from refnet.data import affectnet, drawn_stills, ferplus, folder, rafdb
from refnet.data.augmentation import coloured, draws, without_colour, zoom
from refnet.data.own import pictures_of
from refnet.data.packed import packed
from refnet.data.protocols import as_delivered
from refnet.data.samples import Collection, DataError, DataSet, Sample
from refnet.data.weight_files import read_state_dict
from refnet.ops import losses, metrics
from refnet.ops.neighbours import dilated_knn
from refnet.ops.relation_conv import MRGraphConv, RGConv
from refnet.pictures import Clip

EIGHT = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
LAYOUTS = resnet.LAYOUTS | {"resnet_demo": dict(layout=(1, 1, 1, 1), widths=(16, 32, 64, 64), bottleneck=False)}


@dataclass(frozen=True)
class Config:
    """Every number of the paper, and every number it leaves out."""
    classes:      tuple = said(EIGHT, "§4.1, FERPlus, in the order of its columns")
    votes:        str   = ours("argmax", "FERPlus's label: the most votes among the emotions; unique or majority, see data/ferplus.py")
    soft:         bool  = ours(False, "π(x) of (12) is one-hot; True takes FERPlus's shares of votes")
    size:         int   = said(224, "§4.3, pixels per side of a face")
    stored:       int   = ours(224, "pixels per side as decoded and kept; enlarged to --size in batches")
    grey:         bool  = ours(False, "pictures without their colours; True for FERPlus, whose pictures have none, and then for one's own too")
    flip:         bool  = said(True, "§4.2, random horizontal flips")
    zoom:         float = ours(0.2, "§4.2, random scale, not how much: 1 ± this")
    jitter:       float = ours(0.2, "§4.2, color jitter, not how much: brightness, contrast, saturation times 1 ± this")
    net:          str   = said("resnet18", "§4.3")
    MSF2PE:       bool  = said(True, "Table 3; False is the stem of ViG")
    RG:           bool  = said(True, "Table 4, RG-Conv; False is MR-GraphConv")
    N:            int   = said(49, "§4.3, nodes; 196 and 784 in Table 6")
    D:            int   = said(512, "§4.3, their features")
    L:            int   = said(8, "§4.3, blocks; 4 to 12 in Table 5")
    k:            int   = said(9, "§4.3, neighbours")
    slower:       int   = said(4, "§4.3, the dilation of block l is ⌈l / this⌉")
    C:            int   = ours(64, "C'_s, channels of each map before they are joined: the size of Table 2 leaves room for few")
    groups:       int   = ours(4, "groups of (8)'s layer, as ViG; 1 is a dense layer from 2D to D")
    itself:       bool  = ours(True, "whether a node is among its neighbours, as in ViG")
    normalised:   bool  = said(False, "§3.3, Euclidean distance between features; True brings them to length 1 first, as ViG")
    wider:        int   = said(4, "§3.3, the hidden layer of M is this many times D")
    begins_still: bool  = ours(False, "Algorithm 1, random weights, not which: ViG's; True: the last normalisations of (9) and (10) begin at 0, a block as X")
    xi:           float = said(0.1, "§4.2, ξ of (12)")
    lr:           float = said(1e-3, "§4.2, Adam")
    weight_decay: float = said(1e-4, "§4.2")
    epochs:       int   = said(300, "§4.2")
    batch_size:   int   = said(64, "§4.2")
    cache:        str   = ours("runs/cache", "where decoded pictures are kept; an empty name keeps none")

    def __post_init__(self):
        for name in ("size", "stored", "N", "D", "k", "slower", "C", "groups", "wider", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more; got {getattr(self, name)}")
        for name in ("L", "lr", "weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be 0 or more; got {getattr(self, name)}")
        for name in ("zoom", "jitter", "xi"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be 0 or more and below 1; got {getattr(self, name)}")
        for name, words in (("votes", ferplus.PROTOCOLS), ("net", tuple(LAYOUTS))):
            if getattr(self, name) not in words:
                raise ValueError(f"{name} is one of {', '.join(words)}; got {getattr(self, name)}")
        if len(self.classes) < 2 or len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes must be two names or more, each once; got {', '.join(self.classes)}")
        if self.side ** 2 != self.N:
            raise ValueError(f"N must be a square, such as 49, 196 or 784, as the nodes are a square of patches; got {self.N}")
        parts = math.lcm(self.groups, 2 if self.MSF2PE else 8)                  # the head halves D, ViG's stem begins with an eighth of it
        if self.D % parts:
            raise ValueError(f"D must be a multiple of {parts}; got {self.D}")
        most, there = self.k * max((*self.dilations, 1)), self.N - (not self.itself)
        if most > there:
            raise ValueError(f"k · d = {self.k} · {most // self.k} neighbours are chosen from in the last block, and there are {there}: "
                             f"a smaller --k or --L, a larger --slower or --N")
        if not self.MSF2PE and self.size not in [self.side * 2 ** n for n in range(6)]:
            raise ValueError(f"the stem of ViG halves a picture up to five times, so --size is {self.side} · 1, 2, 4, ... or 32 for "
                             f"{self.N} nodes; got {self.size}")

    @property
    def side(self) -> int:
        """Patches along one side of the face."""
        return math.isqrt(self.N)

    @property
    def dilations(self) -> tuple[int, ...]:
        """The dilation of every block."""
        return tuple(-(-l // self.slower) for l in range(1, self.L + 1))


PRESETS = {
    "paper": {},
    "demo": {
        "size":         ours(112, "demo"),
        "stored":       ours(112, "demo"),
        "zoom":         ours(0.0, "demo: drawn faces differ in size and place as they are"),
        "jitter":       ours(0.0, "demo: likewise in light and colour"),
        "net":          ours("resnet_demo", "demo: its third map is 7 × 7, the paper's 49 nodes; the fourth is enlarged"),
        "D":            ours(64, "demo"),
        "C":            ours(16, "demo"),
        "begins_still": ours(True, "demo: learns sooner"),
        "lr":           ours(3e-3, "demo"),
        "epochs":       ours(6, "demo"),
        "batch_size":   ours(32, "demo"),
    },
}


def kept(read):
    """A reader whose pictures are decoded once, and then kept, unless they are in memory anyway."""
    def found(root: Path, cfg: Config) -> Collection:
        some = read(root, cfg)
        if (cfg.soft or cfg.votes != "argmax") and "votes" not in some.samples[0].target:
            flag = "--soft takes the shares of votes as labels" if cfg.soft else f"--votes {cfg.votes} makes labels of votes"
            raise DataError(f"{flag}, and this data set has none; FERPlus has; leave {flag.split()[0]} out")
        return packed(some, cfg.stored, cfg.cache, cfg.grey)
    return found


DATASETS = {
    "drawn":     DataSet(kept(drawn_stills.read), as_delivered, {"classes": ours(drawn_stills.SEVEN, "the seven of RAF-DB and AffectNet")}),
    "ferplus":   DataSet(kept(ferplus.read), as_delivered, {"stored": said(48, "§4.1, as delivered"), "grey": said(True, "§4.1")}),
    "rafdb":     DataSet(kept(rafdb.read), as_delivered, {"classes": ours(rafdb.NAMES, "§4.1, seven, in the order of their codes"),
                                                          "stored": ours(100, "as delivered")}),
    "affectnet": DataSet(kept(affectnet.read), as_delivered, {"classes": ours(affectnet.NAMES, "§4.1, seven, in the order of their codes")}),
    "folder":    DataSet(kept(folder.read), as_delivered),
}

TABLE_1 = {"ferplus": (91.41, 89.71), "rafdb": (91.02, 84.77), "affectnet": (66.69, 58.31)}        # pre-trained, from scratch
PLUS_MINUS = "printed on FERPlus with a ±, not said of what and over how many runs: "
ABLATIONS = {
    "table1.1": Row({}, {data: {"Acc": acc[0]} for data, acc in TABLE_1.items()}, pretrained=True),
    "table1.2": Row({}, {data: {"Acc": acc[1]} for data, acc in TABLE_1.items()}, pretrained=False),
    "table2.1": Row({}, {"rafdb": {"Acc": 91.02, "Params (M)": 36.58, "FLOPs (G)": 3.06}}, pretrained=True),
} | {                                                            # --table 3 and --table 3scratch; 4 likewise
    f"table{table}{regime}.{row}": Row({switch: on}, {"ferplus": {"Acc": acc}}, f"{PLUS_MINUS}± {sd} in row {row}", pretrained=not regime)
    for table, regime, row, switch, on, acc, sd in (
        (3, "",        1, "MSF2PE", False, 89.47, 0.25), (3, "",        2, "MSF2PE", True, 91.41, 0.13),
        (3, "scratch", 1, "MSF2PE", False, 86.54, 0.33), (3, "scratch", 2, "MSF2PE", True, 89.71, 0.29),
        (4, "",        1, "RG",     False, 90.72, 0.27), (4, "",        2, "RG",     True, 91.41, 0.17),
        (4, "scratch", 1, "RG",     False, 88.65, 0.32), (4, "scratch", 2, "RG",     True, 89.71, 0.23))
} | {
    f"table5.{row}": Row({"L": L}, {"ferplus": {"Acc": acc}}, f"{PLUS_MINUS}± {sd} with {L} blocks", pretrained=True)
    for row, (L, acc, sd) in enumerate(((4, 90.90, 0.16), (6, 91.18, 0.15), (8, 91.41, 0.13), (10, 90.95, 0.10), (12, 90.99, 0.11)), 1)
} | {
    f"table6.{row}": Row({"N": N}, {"ferplus": {"Acc": acc}}, f"{PLUS_MINUS}± {sd} with {N} nodes", pretrained=True)
    for row, (N, acc, sd) in enumerate(((49, 91.41, 0.13), (196, 90.37, 0.09), (784, 89.86, 0.06)), 1)
} | {
    "baseline": Row({"MSF2PE": False, "RG": False}),             # of Figs. 7 and 8, which do not name it: ViG's stem and operator
    "backbone": Row({"L": 0}),                                   # no graph at all, ours
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
    """A face (3, s, s) uint8 as it is kept; in training also (7,): how it is to be mirrored, zoomed and coloured.

    Faces are found by none of ours (§4.3 takes MTCNN): a picture that is not square gives its centre square.
    """
    picture = sample.clip.read([0], cfg.stored)[0]                                      # (3, s, s)
    if cfg.grey:
        picture = without_colour(picture)
    return (picture,) if rng is None else (picture, draws(rng, cfg.flip, cfg.zoom, cfg.jitter))


def batched(inputs: tuple[Tensor, ...], cfg: Config) -> tuple[Tensor]:
    """The network's input from a batch on its device: coloured, enlarged, mirrored and zoomed (§4.2)."""
    x = inputs[0]                                                                       # (B, 3, s, s) in [0, 1]
    if len(inputs) > 1 and cfg.jitter:
        x = coloured(x, inputs[1][:, 2:5])
    if cfg.stored != cfg.size:
        x = F.interpolate(x, (cfg.size, cfg.size), mode="bilinear", antialias=cfg.stored > cfg.size)
    if len(inputs) > 1 and (cfg.flip or cfg.zoom):
        x = zoom(x, inputs[1][:, 0] > 0, inputs[1][:, 1])                               # (B, 3, S, S)
    return (x,)


def own(path: str, clip: Clip, points: Tensor | None) -> list[Sample]:
    """One's own pictures, one for each frame: cropped along landmarks (n, 68 or 51, 2) where given, else the centre square."""
    return pictures_of(path, clip, points)


def statistics(targets: dict[str, Tensor], cfg: Config) -> dict[str, Tensor]:
    """Nothing is taken from the training part."""
    return {}


# ---- the network

class MSF2PE(nn.Module):
    """Patches from four maps at once: multi-scale feature fusion-based patch embedding.

        face2nodes (1)   X'_s = AvgPool(Conv1D(X_s)),  s = 1, 2, 3
        face2nodes (2)   X'_4 = Conv1D(X_4)
        face2nodes (3)   X_c = Concat(X'_1, X'_2, X'_3, X'_4)
        face2nodes (4)   X_f = φ(X_c; Θ_φ)

    maps  X_s (B, C_s, H_s, W_s)   →   X_f (B, D, side, side)

    A 1 × 1 convolution and a mean over places may change places: pooled first, X_1 costs a sixty-fourth.

    Reading: (1) brings every map to the size of X_4, 7 × 7 at 224 px; how 196 and 784 nodes come about (Table 6) is not said: deeper
    maps are then enlarged, bilinearly, ours.
    """

    def __init__(self, channels: tuple[int, ...], C: int, D: int, side: int):
        super().__init__()
        self.side = side
        self.conv = nn.ModuleList(nn.Conv2d(C_s, C, 1) for C_s in channels)
        self.fuse, self.bn = nn.Conv2d(len(channels) * C, D, 1), nn.BatchNorm2d(D)

    def forward(self, maps: tuple[Tensor, ...]) -> Tensor:
        def fitted(conv: nn.Module, X: Tensor) -> Tensor:                                # (B, C, side, side)   Eq. 1, 2
            if X.shape[-1] > self.side:
                return conv(F.adaptive_avg_pool2d(X, self.side))
            return conv(X) if X.shape[-1] == self.side else F.interpolate(conv(X), (self.side, self.side), mode="bilinear")

        X_c = torch.cat([fitted(conv, X) for conv, X in zip(self.conv, maps, strict=True)], 1)      # (B, 4C, side, side)   Eq. 3
        return F.gelu(self.bn(self.fuse(X_c)))                                          # (B, D, side, side)    Eq. 4


class ViGStem(nn.Sequential):
    """Table 3's base patch embedding, the stem of ViG: (B, 3, S, S) → (B, D, side, side).

    Reading: that stem gives 196 nodes at 224 px. For 49 its fifth convolution strides too, ours; it has no place embedding, as
    Face2Nodes speaks of none.
    """

    def __init__(self, D: int, halvings: int):
        widths, layers = (3, D // 8, D // 4, D // 2, D, D), []
        for n, (c_in, c_out) in enumerate(zip(widths, widths[1:])):
            layers += [nn.Conv2d(c_in, c_out, 3, 2 if n < halvings else 1, 1), nn.BatchNorm2d(c_out), nn.GELU()]
        super().__init__(*layers[:-1])                                                  # none after the last


class FC(nn.Module):
    """A fully connected layer and its normalisation over samples and nodes: (B, N, c_in) → (B, N, c_out)

    Reading: (9) calls F_in and F_out fully connected layers, (10) M a two-layer MLP, and nothing more; the normalisation behind each
    of the four is ViG's.
    """

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.fc, self.bn = nn.Linear(c_in, c_out), nn.BatchNorm1d(c_out)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.fc(x.flatten(0, 1))).unflatten(0, x.shape[:2])


class RDGCN(nn.Module):
    """A block: the graph of the moment, a convolution on it, and a two-layer MLP.

        face2nodes (9)    Z^l = F_out(RGConv(F_in(X^l))) + X^l
        face2nodes (10)   X^{l+1} = M(Z^l) + Z^l

    X (B, N, D) → (B, N, D)

    Reading: RG-Conv "is followed by" a normalisation and GELU (9), and its f in (8) has them too: they are the same, once.
    """

    def __init__(self, D: int, k: int, d: int, conv: RGConv | MRGraphConv, itself: bool = True, normalised: bool = False, wider: int = 4):
        super().__init__()
        self.k, self.d, self.itself, self.normalised = k, d, itself, normalised
        self.F_in, self.conv, self.F_out = FC(D, D), conv, FC(len(conv.f.bias), D)
        self.M = nn.Sequential(FC(D, wider * D), nn.GELU(), FC(wider * D, D))

    def graph(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """F_in's nodes (B, N, D), and who listens to whom among them (B, N, k)."""
        X = self.F_in(X)
        return X, dilated_knn(X, self.k, self.d, self.itself, self.normalised)          #                Eq. 5

    def forward(self, X: Tensor) -> Tensor:
        Z = self.F_out(self.conv(*self.graph(X))) + X                                   # (B, N, D)      Eq. 6-9
        return self.M(Z) + Z                                                            # (B, N, D)      Eq. 10


class Face2Nodes(nn.Module):
    """x (B, 3, S, S) in [0, 1] → logits (B, classes)

    Reading: §4.3's head takes one vector, and how the nodes become one is not said: their mean, as in ViG.
    Reading: Algorithm 1 counts blocks l = 0 to L, which would be one more than L; there are L, and the first has dilation 1.
    Reading: how pixels are scaled is not said; to ImageNet's mean and deviation, as its ResNets are used to.
    """

    def __init__(self, cfg: Config):
        super().__init__()
        self.cfg, D = cfg, cfg.D
        if cfg.MSF2PE:
            self.resnet = resnet.ResNet(**LAYOUTS[cfg.net])                             # §4.3
            self.embedding = MSF2PE(self.resnet.each, cfg.C, D, cfg.side)               # §3.2
        else:
            self.resnet, self.embedding = None, ViGStem(D, int(math.log2(cfg.size // cfg.side)))
        self.blocks = nn.ModuleList(                                                    # §3.3
            RDGCN(D, cfg.k, d, (RGConv if cfg.RG else MRGraphConv)(D, cfg.groups), cfg.itself, cfg.normalised, cfg.wider)
            for d in cfg.dilations)
        self.head = nn.Sequential(nn.Linear(D, D // 2), nn.BatchNorm1d(D // 2), nn.GELU(), nn.Linear(D // 2, len(cfg.classes)))
        for part in (self.embedding, self.blocks, self.head):                           # as ViG
            for layer in part.modules():
                if isinstance(layer, (nn.Linear, nn.Conv2d)):
                    nn.init.kaiming_normal_(layer.weight)
                    nn.init.zeros_(layer.bias)
        for block in self.blocks if cfg.begins_still else ():
            nn.init.zeros_(block.F_out.bn.weight)
            nn.init.zeros_(block.M[-1].bn.weight)

    def embed(self, x: Tensor) -> Tensor:
        """The patches, in reading order: (B, N, D)"""
        x = resnet.normalise(x)
        X_f = self.embedding(x if self.resnet is None else self.resnet.maps(x))         # (B, D, side, side)   Eq. 1-4
        return X_f.flatten(2).mT

    def nodes(self, x: Tensor) -> Tensor:
        """The face's graph representation: (B, N, D)"""
        X = self.embed(x)
        for block in self.blocks:
            X = block(X)                                                                #                      Eq. 5-10
        return X

    def classify(self, X: Tensor) -> Tensor:
        return self.head(X.mean(1))                                                     # (B, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.classify(self.nodes(x))

    @torch.no_grad()
    def graphs(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What every block's graph was: neighbours and gates, (L, B, N, k) each; gates are 1 where there are none (MR-GraphConv)."""
        X, found = self.embed(x), []
        for block in self.blocks:
            inside, index = block.graph(X)
            found.append((index, block.conv.gates(inside, index) if self.cfg.RG else torch.ones_like(index, dtype=X.dtype)))
            X = block(X)
        return tuple(torch.stack(each) for each in zip(*found))


def network(cfg: Config, stat: dict[str, Tensor], stage: Stage) -> nn.Module:
    """Figure 2."""
    return Face2Nodes(cfg)


def loss(out: Tensor, target: dict[str, Tensor], stat: dict[str, Tensor], cfg: Config, stage: Stage) -> dict[str, Tensor]:
    """(11), with one label a face or the shares of its votes in (12)."""
    y = target["expression"]                                                            # (B,)
    if cfg.soft:
        pi = target["votes"] / target["votes"].sum(-1, keepdim=True).clamp(min=1)       # (B, classes)
    else:
        pi = F.one_hot(y.clamp(min=0), out.shape[-1]) * (y >= 0)[:, None]               # (B, classes)
    return {"total": losses.soft_cross_entropy(out, losses.smoothed(pi.to(out.dtype), cfg.xi))}


def optimizer(model: nn.Module, cfg: Config, steps: int):
    """Adam, its weight decay in the gradient, with a cosine for its learning rate (§4.2): to zero, a step every iteration, ours."""
    adam = torch.optim.Adam(model.parameters(), cfg.lr, weight_decay=cfg.weight_decay)
    return adam, torch.optim.lr_scheduler.CosineAnnealingLR(adam, max(1, steps))


def predict(out: Tensor, cfg: Config) -> dict[str, Tensor]:
    """The class that is called, and the probability of each."""
    p = out.float().softmax(-1)                                                         # (B, classes)
    return {"predicted": p.argmax(-1)} | {f"p_{name}": p[:, c] for c, name in enumerate(cfg.classes)}


def score(rows: dict, cfg: Config) -> dict[str, float]:
    """The overall accuracy (§4.4), the mean over classes beside it."""
    counts = metrics.confusion(rows["target"], rows["predicted"], len(cfg.classes))
    return {"Acc": metrics.accuracy(counts).item(), "Acc mean": metrics.recall_per_class(counts).nanmean().item()}


def load_weights(model: nn.Module, path: str, cfg: Config) -> str:
    """A ResNet's weights into the four stages, or the state dict of a Face2Nodes into the whole network.

    Reading: §4.3 pre-trains "our Face2Nodes [...] following [40]", who pre-train a ResNet-18; the one file or the other is taken.
    """
    state = read_state_dict(path)
    if any(name.removeprefix("module.").startswith("head.") for name in state):
        return str(load_into(model, state, needed=0.9, source=path))             # all but the last layer of the head, for other classes
    if model.resnet is None:
        raise WeightsError(path, "these are no weights of a whole Face2Nodes, and with the stem of ViG there is no ResNet to put them into",
                           "Leave --weights out, or give the state dict of a Face2Nodes with that stem (--no-MSF2PE)")
    return f"resnet: {load_into(model.resnet, state, source=path)}"
