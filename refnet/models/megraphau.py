"""ME-GraphAU: action units as a graph, its nodes and the many dimensions of its edges learned from the face.

Luo, Song, Xie, Shen, Gunes. Learning Multi-dimensional Edge Feature-based AU Relation Graph for Facial Action Unit Recognition.

    face ─ backbone ─ linear ─ X (D, C) ─┬─ AFG ─ U (N, D, C) ─ GAP ─ V (N, C) ─ FGG ─ SC ─ p        stage ANFL   §2.1
                                         │        │                     │        (1)   (2)           loss (6)
                                         │        │                     └────────────┐
                                         └─ FAM ──┘                                  │
                                            (3, 4) ─ ARM ─ GAP ─ E (N, N, C) ─ GatedGCN × L ─┬─ SC ─ p       stage MEFL   §2.2
                                                     (5)                                     └─ FC ─ pairs   loss (6, 7, 8)
"""
import math
from dataclasses import dataclass
from functools import cache

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refnet.backbones import resnet, swin
from refnet.backbones.weights import load_weights as load_into
from refnet.config import Row, Stage, ours, said
from refnet.data import bp4d, disfa, drawn_units
from refnet.data.augmentation import crop, jittered, mirrored
from refnet.data.own import pictures_of
from refnet.data.protocols import as_delivered, k_folds
from refnet.data.released import me_graph_au
from refnet.data.samples import DataSet, Sample
from refnet.data.weight_files import is_of_a_run, read_state_dict
from refnet.graphs.nearest import nearest, scaled
from refnet.ops import losses, metrics
from refnet.ops.cross_attention import ARM, CrossAttention, fam
from refnet.ops.gated_graph_conv import GatedGraphConv
from refnet.ops.graph_conv import FGGConv
from refnet.ops.similarity import similarity
from refnet.pictures import Clip

TWELVE = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
EIGHT = (1, 2, 4, 6, 9, 12, 25, 26)
FAMILIES = ("resnet", "swin")                                    # the order of every pair of settings
LAYOUTS = resnet.LAYOUTS | swin.LAYOUTS | {
    "resnet_demo": dict(layout=(1, 1, 1, 1), widths=(16, 32, 64, 64), bottleneck=False, small=True),
    "swin_demo":   dict(width=16, depths=(1, 1, 2, 1), heads=(1, 2, 4, 8), drop_path=0.0, patch=2),
}


def backbone(name: str) -> nn.Module:
    """A network of LAYOUTS: pictures (B, 3, S, S) to a map (B, channels, h, w)."""
    return (swin.Swin if name.startswith("swin") else resnet.ResNet)(**LAYOUTS[name])


@cache
def fits(name: str) -> tuple[int, int]:
    """What a network of LAYOUTS gives and takes: its map's channels, and the number that a picture's side is a multiple of."""
    with torch.device("meta"):
        net = backbone(name)
    return net.channels, getattr(net, "step", 1)


@dataclass(frozen=True)
class Config:
    """Every number of the paper, and every number it leaves out. A pair holds the value for ResNets and that for Swin; one alone
    is for both."""
    aus:          tuple = said(TWELVE, "Table 1, BP4D")
    resize:       int   = ours(256, "pixels per side before the crop, as the authors' code")
    size:         int   = said(224, "§3.1, pixels per side of a face")
    flip:         bool  = ours(True, "no augmentation is printed; mirrored with probability ½, as the authors' code")
    jitter:       float = ours(0.4, "likewise: brightness, contrast and saturation times 1 ± this")
    threshold:    int   = ours(2, "the intensity from which a unit of DISFA counts as there: not printed; in wide use")
    backbone:     str   = ours("resnet", "the paper has both, resnet and swin")
    net:          tuple = said(("resnet50", "swin_base"), "§3.2, Tables 1 and 2; Swin's own settings, such as stochastic depth, as published")
    reduce:       tuple = ours((4, 2), "C is the backbone's channels over this; a linear layer that §2.1 does not mention, as the authors' code")
    AFG:          bool  = said(True, "Table 3, column 2")
    FGG:          bool  = said(True, "Table 3, column 3")
    MEFL:         bool  = said(True, "Table 3, column 4")
    L_WA:         bool  = said(True, "Table 3, column 5; False is weighted binary cross-entropy")
    L_E:          bool  = said(True, "Table 3, column 6")
    K:            int   = said(3, "§3.1, BP4D")
    ties:         bool  = said(False, "§2.1, K neighbours; True takes all that are as similar as the K-th, as the authors' code")
    layers:       int   = said(2, "§2.2, L")
    cited:        bool  = ours(False, "§2.2 names GatedGCN: the authors' own layer; True is that of the cited authors, with edge features")
    w_sum:        str   = said("one", "§2.3, what the weights w_i sum to; N in the authors' code")
    detach:       bool  = said(False, "(6), p_i is a factor like the others; True stops its gradient, as the authors' code")
    lam:          tuple = said((0.05, 0.01), "§3.1, λ of (8)")
    called:       float = ours(0.5, "the probability from which a unit is called: not printed; as the authors' code")
    stage:        str   = said("both", "§2.3, two stages; ANFL or MEFL trains one alone, MEFL then from --weights")
    lr:           float = said(1e-4, "§3.1, first stage")
    lr_2:         tuple = said((1e-6, 1e-6), "§3.1, second stage")
    beta1:        float = said(0.9, "§3.1, AdamW")
    beta2:        float = said(0.999, "§3.1, AdamW")
    weight_decay: float = said(5e-4, "§3.1")
    epochs:       int   = said(20, "§3.1, first stage")
    epochs_2:     int   = said(20, "§3.1, second stage")
    batch_size:   int   = said(64, "§3.1")

    def __post_init__(self):
        for name in ("resize", "size", "K", "layers", "epochs", "epochs_2", "batch_size", "threshold"):
            if getattr(self, name) < (0 if name.startswith("epochs") else 1):           # 0 epochs: the weights as they are given
                raise ValueError(f"{name} must be {int(not name.startswith('epochs'))} or more; got {getattr(self, name)}")
        if self.size > self.resize:
            raise ValueError(f"a crop of --size {self.size} does not fit into a picture of --resize {self.resize}")
        for name, words in (("backbone", FAMILIES), ("w_sum", ("one", "N")), ("stage", ("both", "ANFL", "MEFL"))):
            if getattr(self, name) not in words:
                raise ValueError(f"{name} is {', '.join(words[:-1])} or {words[-1]}; got {getattr(self, name)}")
        for name in ("net", "reduce", "lam", "lr_2"):
            if len(getattr(self, name)) not in (1, 2):
                raise ValueError(f"{name} is one value, or a pair for ResNets and for Swin; got {getattr(self, name)}")
        if self.of(self.net) not in LAYOUTS or not self.of(self.net).startswith(self.backbone):
            raise ValueError(f"for --backbone {self.backbone}, net names one of {', '.join(n for n in LAYOUTS if n.startswith(self.backbone))}; "
                             f"got {' '.join(self.net)}")
        (channels, step), reduce = fits(self.of(self.net)), self.of(self.reduce)
        if reduce < 1 or channels % reduce or channels // reduce % 2:
            raise ValueError(f"reduce must divide the {channels} channels of {self.of(self.net)} into an even number; got {reduce}")
        if self.size % step:
            raise ValueError(f"{self.of(self.net)} takes sides that are multiples of {step}; got --size {self.size}, "
                             f"the next is {-(-self.size // step) * step}")
        for name in ("beta1", "beta2", "jitter"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be 0 or more and below 1; got {getattr(self, name)}")
        for name in ("lam", "lr_2", "lr", "weight_decay"):
            values = getattr(self, name) if isinstance(getattr(self, name), tuple) else (getattr(self, name),)
            if not all(0 <= v < math.inf for v in values):
                raise ValueError(f"{name} must be 0 or more; got {getattr(self, name)}")
        if not 0 < self.called <= 1:
            raise ValueError(f"called must be above 0, and 1 at most; got {self.called}")
        if not self.aus or min(self.aus) < 1 or len(set(self.aus)) < len(self.aus):
            raise ValueError(f"aus are numbers of action units, each once; got {self.aus}")
        if self.K > len(self.aus):
            raise ValueError(f"K is {self.K}, but there are only {len(self.aus)} action units to be neighbours")
        if (self.FGG or self.MEFL) and not self.AFG:
            raise ValueError("FGG and MEFL work on the maps of AFG (Table 3): --no-AFG goes with --no-FGG --no-MEFL")
        if self.L_E and not self.MEFL:
            raise ValueError("L_E is a loss of the edges that MEFL learns (Table 3): --no-MEFL goes with --no-L-E")
        if self.stage == "MEFL" and not self.MEFL:
            raise ValueError("--stage MEFL needs --MEFL")

    def of(self, pair: tuple):
        """The half of a pair that goes with the backbone; of one value, that."""
        return pair[min(FAMILIES.index(self.backbone), len(pair) - 1)]


PRESETS = {
    "paper": {},
    "demo": {
        "resize":     ours(54, "demo"),
        "size":       ours(48, "demo: the map of resnet_demo is 6 × 6"),
        "jitter":     ours(0.0, "demo: drawn faces differ in light and colour as they are"),
        "net":        ours(("resnet_demo", "swin_demo"), "demo"),
        "reduce":     ours((1, 2), "demo: C = 64"),
        "lr":         ours(2e-3, "demo: nothing is pre-trained"),
        "lr_2":       ours((2e-3, 2e-3), "demo"),
        "epochs":     ours(8, "demo"),
        "epochs_2":   ours(3, "demo"),
        "batch_size": ours(32, "demo"),
    },
}

DATASETS = {
    "drawn": DataSet(drawn_units.read, as_delivered),
    "bp4d":  DataSet(bp4d.read, k_folds, select=0.0),
    "disfa": DataSet(disfa.read, k_folds, {"aus": said(EIGHT, "Table 2, DISFA"), "K": said(4, "§3.1, DISFA")}, select=0.0),
}

SWITCHES = ("AFG", "FGG", "MEFL", "L_WA", "L_E")
TABLES_1_2 = (  # ours, F1 (%) of each unit and their mean
    ("table1.1", "resnet", "bp4d",  (53.7, 46.9, 59.0, 78.5, 80.0, 84.4, 87.8, 67.3, 52.5, 63.2, 50.6, 52.4, 64.7)),
    ("table1.2", "swin",   "bp4d",  (52.7, 44.3, 60.9, 79.9, 80.1, 85.3, 89.2, 69.4, 55.4, 64.4, 49.8, 55.1, 65.5)),
    ("table2.1", "resnet", "disfa", (54.6, 47.1, 72.9, 54.0, 55.7, 76.7, 91.1, 53.0, 63.1)),
    ("table2.2", "swin",   "disfa", (52.5, 45.7, 76.1, 51.8, 46.5, 76.1, 92.9, 57.6, 62.4)),
)
TABLE_3 = (  # BP4D   AFG FGG MEFL L_WA L_E    F1 (%) printed: ResNet, Swin
    ((False, False, False, False, False), (59.1, 62.6)),
    ((True,  False, False, False, False), (60.4, 63.6)),
    ((True,  False, False, True,  False), (63.0, 64.6)),
    ((True,  True,  False, True,  False), (63.7, 65.1)),
    ((True,  False, True,  True,  False), (63.9, 64.6)),
    ((True,  True,  True,  True,  False), (64.5, 65.4)),
    ((True,  True,  True,  True,  True),  (64.7, 65.5)),
)
ABLATIONS = {
    row: Row({"backbone": family}, {data: {"F1": f1[-1]} | {f"F1 AU{unit:02d}": v for unit, v in zip(TWELVE if data == "bp4d" else EIGHT, f1)}})
    for row, family, data, f1 in TABLES_1_2
} | {                                                            # --table 3, and --table 3swin
    f"table3{'swin' * (family == 'swin')}.{row}": Row({"backbone": family} | dict(zip(SWITCHES, on)), {"bp4d": {"F1": printed[k]}})
    for k, family in enumerate(FAMILIES) for row, (on, printed) in enumerate(TABLE_3, 1)
} | {
    "as_code": Row({"ties": True, "w_sum": "N", "detach": True},
                   here={"bp4d": {"K": 4, "lr_2": (1e-5, 1e-6)}, "disfa": {"K": 3, "lr_2": (1e-5, 1e-6)}}),
}


def stages(cfg: Config) -> tuple[Stage, ...]:
    """The nodes, then the edges (§2.3).

    Reading: Table 3 does not say how long each row was trained. Rows 1 to 4 have no MEFL and so one stage, as the authors' code
    would have it; what MEFL gains there is also a gain of twice the epochs.
    """
    nodes = Stage("ANFL", cfg.epochs)
    edges = Stage("MEFL", cfg.epochs_2, {"lr": cfg.of(cfg.lr_2)}, "backbone, global linear layer, AFG and s; FGG is left behind")
    if cfg.stage != "both":
        return (nodes if cfg.stage == "ANFL" else edges,)
    return (nodes, edges) if cfg.MEFL else (nodes,)


# ---- what training and testing see

def augment(samples: list[Sample], cfg: Config) -> list[Sample]:
    """What training sees of its part: the samples as they are."""
    return samples


def waiting(samples: list[Sample], cfg: Config) -> list[Sample]:
    """Samples whose preparation is kept on disk and not there yet: none is kept."""
    return []


def prepare(sample: Sample, cfg: Config, rng: torch.Generator | None) -> tuple[Tensor]:
    """A face (3, S, S) in [0, 1]: cut, mirrored and coloured at random in training, its middle in testing (rng None).

    Reading: §3.1 crops faces to 224 × 224. The authors' code keeps them at 256 and cuts 224 out of that, at a place that it draws
    for the picture as it was stored; here it is drawn after the resize, which is the same where pictures are stored at 256.
    Faces are found by none of ours: a picture that is not square gives its centre square.
    """
    picture = sample.clip.read([0], cfg.resize)[0].float() / 255                        # (3, R, R)
    picture = crop(picture, cfg.size, rng)                                              # (3, S, S)
    if rng is not None:
        picture = jittered(mirrored(picture, rng) if cfg.flip else picture, cfg.jitter, rng)
    return (picture.contiguous(),)


def batched(inputs: tuple[Tensor, ...], cfg: Config) -> tuple[Tensor, ...]:
    """The network's input from a batch on its device: as it is prepared."""
    return inputs


def own(path: str, clip: Clip, points: Tensor | None) -> list[Sample]:
    """One's own pictures, one for each frame: cropped along landmarks (n, 68 or 51, 2) where given, else the centre square."""
    return pictures_of(path, clip, points)


def statistics(targets: dict[str, Tensor], cfg: Config) -> dict[str, Tensor]:
    """The weights w_i of (6), from the training part alone."""
    return {"w": losses.occurrence_weights(losses.occurrence_rates(targets["au"]), len(cfg.aus) if cfg.w_sum == "N" else 1.0)}


# ---- the network

class LinearBlock(nn.Module):
    """n fully connected layers side by side, each with its normalisation over samples and tokens: (B, D, C_in) → (B, D, n · C)"""

    def __init__(self, C_in: int, C: int, n: int = 1):
        super().__init__()
        self.fc, self.bn = nn.Linear(C_in, n * C), nn.BatchNorm1d(n * C)
        nn.init.normal_(self.fc.weight, std=math.sqrt(2 / C))

    def forward(self, x: Tensor) -> Tensor:
        return F.relu(self.bn(self.fc(x).flatten(0, 1))).unflatten(0, x.shape[:2])      # (B, D, n · C)


class MEGraphAU(nn.Module):
    """x (B, 3, S, S) in [0, 1] → probabilities (B, N), and pairs (B, N, N, 4), or (B, 0, 0, 4) where nothing asks for pairs

    Reading: §2.1 feeds X to AFG as the backbone gives it; the authors' code brings its channels down by a linear layer first,
    and a layer here is linear, normalised, ReLU. As the code.
    Reading: Table 3 does not say what classifies the backbone alone: the mean of X, a fully connected layer and a sigmoid, ours.
    AFG without FGG goes to SC as it is.
    Reading: §2.2 says that "only the well-trained AFG and MEFL are used" in the end; the answer comes from GatedGCN and SC, as in
    Figure 2 and the authors' code. FGG alone is left behind.
    Reading: SC is "re-employed" (§2.2): its s goes on from the first stage, and all that is carried over is trained on, as in the
    authors' code.
    """

    def __init__(self, cfg: Config, mefl: bool):
        super().__init__()
        self.cfg, N = cfg, len(cfg.aus)
        self.backbone = backbone(cfg.of(cfg.net))
        C = self.backbone.channels // cfg.of(cfg.reduce)
        self.global_linear = LinearBlock(self.backbone.channels, C)
        self.AFG = LinearBlock(C, C, N) if cfg.AFG else None                            # §2.1
        self.FGG = FGGConv(C, N) if cfg.FGG and not mefl else None
        self.fc = None if cfg.AFG else nn.Linear(C, N)
        self.s = nn.Parameter(nn.init.xavier_uniform_(torch.empty(N, C))) if cfg.AFG else None
        self.mefl = mefl
        if mefl:                                                                        # §2.2
            self.FAM, self.ARM = CrossAttention(C), ARM(C, N)
            self.gcn = nn.ModuleList(GatedGraphConv(C, N, cfg.cited) for _ in range(cfg.layers))
            self.edge_fc = nn.Linear(C, 4) if cfg.L_E else None                         # §2.3
            if cfg.L_E:
                nn.init.xavier_uniform_(self.edge_fc.weight)

    def face(self, x: Tensor) -> Tensor:
        """X of §2.1: (B, D, C)"""
        return self.global_linear(self.backbone(resnet.normalise(x)).flatten(2).mT)

    def units(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """What AFG makes of the face.

            megraphau (§2.1)   U_i = FC_i(X),  v_i = GAP(U_i)

        X (B, D, C) → the units' maps U (B, N, D, C), the nodes V (B, N, C)
        """
        N, C = self.s.shape
        U = self.AFG(X).unflatten(-1, (N, C)).movedim(2, 1)                             # (B, N, D, C)
        return U, U.mean(2)                                                             #                GAP

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        return self.graph(self.face(x))

    def graph(self, X: Tensor) -> tuple[Tensor, Tensor]:
        """All that follows the face X (B, D, C)."""
        if self.AFG is None:
            return self.fc(X.mean(1)).sigmoid(), X.new_zeros(len(X), 0, 0, 4)           # (B, N)
        U, V = self.units(X)                                                            # (B, N, D, C), (B, N, C)
        if not self.mefl:
            if self.FGG is not None:
                V = self.FGG(V, scaled(nearest(V, self.cfg.K, self.cfg.ties)))          # (B, N, C)      Eq. 1
            return similarity(V, self.s), V.new_zeros(len(V), 0, 0, 4)                  # (B, N)         Eq. 2
        E = self.ARM(fam(U, X, self.FAM))                                               # (B, N, N, C)   Eq. 3, 4, 5
        for layer in self.gcn:
            V, E = layer(V, E)                                                          #                §2.2
        pairs = V.new_zeros(len(V), 0, 0, 4) if self.edge_fc is None else self.edge_fc(E)
        return similarity(V, self.s), pairs                                             # (B, N), (B, N, N, 4)


def network(cfg: Config, stat: dict[str, Tensor], stage: Stage) -> nn.Module:
    """Figure 2: what one of the stages trains."""
    return MEGraphAU(cfg, stage.name == "MEFL")


def loss(out: tuple[Tensor, Tensor], target: dict[str, Tensor], stat: dict[str, Tensor], cfg: Config, stage: Stage) -> dict[str, Tensor]:
    """(6) in the first stage, (8) in the second; unknown units count for nothing."""
    (p, pairs), y = out, target["au"]
    nodes = losses.weighted_asymmetric(p, y, stat["w"], cfg.detach) if cfg.L_WA else losses.weighted_bce(p, y, stat["w"])
    if not (cfg.L_E and stage.name == "MEFL"):
        return {"total": nodes}
    edges = losses.edge_cross_entropy(pairs, y)
    return {"total": losses.overall(nodes, edges, cfg.of(cfg.lam)), "nodes": nodes, "edges": edges}


def optimizer(model: nn.Module, cfg: Config, steps: int):
    """AdamW with a cosine for its learning rate (§3.1).

    Reading: §3.1 says "cosine decay", not how far or how often: to zero, a step every iteration; the weight decay falls on every
    parameter. As the authors' code.
    """
    adam = torch.optim.AdamW(model.parameters(), cfg.lr, (cfg.beta1, cfg.beta2), weight_decay=cfg.weight_decay)
    return adam, torch.optim.lr_scheduler.CosineAnnealingLR(adam, max(1, steps))


def named(cfg: Config) -> list[str]:
    """AU01, AU02, ..."""
    return [f"AU{unit:02d}" for unit in cfg.aus]


def predict(out: tuple[Tensor, Tensor], cfg: Config) -> dict[str, Tensor]:
    """Each unit's call and its probability."""
    columns = zip(named(cfg), out[0].float().clamp(0, 1).unbind(1))
    return {name: column for unit, p in columns for name, column in ((f"predicted_{unit}", (p >= cfg.called).long()), (f"p_{unit}", p))}


def score(rows: dict, cfg: Config) -> dict[str, float]:
    """F1 of each unit from the counts of a fold's frames, the mean over units, the mean over folds (§3.1).

    Reading: §3.1 reports "the average results over 3 folds" of a frame-based F1: frames are counted together within a fold only.
    """
    target, predicted = (torch.stack([rows[f"{kind}_{unit}"] for unit in named(cfg)], 1) for kind in ("target", "predicted"))
    number = {fold: k for k, fold in enumerate(dict.fromkeys(rows["fold"]))}
    of = torch.tensor([number[fold] for fold in rows["fold"]])
    each = torch.stack([metrics.f1_per_unit(target[of == k], predicted[of == k]) for k in number.values()]).nanmean(0)        # (N,)
    return {"F1": each.nanmean().item()} | {f"F1 {unit}": f1 for unit, f1 in zip(named(cfg), each.tolist())}


def load_weights(model: nn.Module, path: str, cfg: Config) -> str:
    """ImageNet's weights into the backbone, or the authors' released checkpoint, or a run's, into the whole network."""
    state = me_graph_au(read_state_dict(path))
    inside = {name.removeprefix("backbone."): t for name, t in state.items() if name.startswith("backbone.")}
    report = load_into(model.backbone, inside or state, source=path)                    # refuses those of another backbone
    if not inside:
        return f"backbone: {report}"
    report = str(load_into(model, state, needed=0.0, source=path))
    if is_of_a_run(path):                                                               # whose samples the training has compared
        return report
    return f"{report}\n  trained elsewhere: on whom, this file does not say; a subject tested here must not be among them"


@torch.no_grad()
def look(model: MEGraphAU, x: Tensor) -> dict[str, Tensor]:
    """What the pictures show of one face x (3, S, S).

    →    "p" (N,)               probabilities
         "graph" (N, N)         Fig. 4: who is among whose K nearest nodes, of V      where there is AFG
         "edges" (N, N, 4)      probabilities of what each pair does together      where there is MEFL, trained by L_E
         "attention" (N, h, w)  where each unit finds its cues: FAM's attention, the mean over the tokens that ask      with MEFL
    """
    X = model.face(x[None])                                                             # (1, D, C)
    p, pairs = model.graph(X)
    out = {"p": p[0]}
    if model.AFG is not None:
        U, V = model.units(X)
        out["graph"] = nearest(V, model.cfg.K, model.cfg.ties)[0]
    if model.mefl:
        side = math.isqrt(X.shape[1])
        seen = model.FAM.weights(U.flatten(1, 2), X).unflatten(1, U.shape[1:3]).mean(2)      # (1, N, D)
        out["attention"] = seen[0].unflatten(-1, (side, side))
    if pairs.numel():
        out["edges"] = pairs[0].softmax(-1)
    return out
