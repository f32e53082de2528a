"""ARPGNet: appearance and relation, fused on one temporal graph.

Li, Zhao, Xia, Jiang. Appearance- and Relation-aware Parallel Graph Attention Fusion Network for Facial Expression
Recognition.

    clip ─┬─ IResNet, four blocks, fc ───────────── appearance (T, C') ─┐
          │  §3.2                                                       ├─ + PE ─ fusion graph ─ ‖ ─ mean ─ MLP
          └─ IResNet, three blocks ─ P × P ─ GAT ── relation   (T, C') ─┘  (5, 6)  (7) (8) (9)     over T
             §3.3                     (1)   (2-4)                                                   §3.4.3
"""
import math
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refnet.backbones.iresnet import IResNet, fit_fc, normalise
from refnet.backbones.weights import load_weights as load_trunk
from refnet.config import Row, Stage, ours, said
from refnet.data import affwild2, afew, drawn, folder, rml
from refnet.data.landmarks import Aligned
from refnet.data.protocols import as_delivered, leave_one_subject_out
from refnet.data.samples import DataSet, Sample
from refnet.data.weight_files import read_state_dict
from refnet.graphs.face_grid import face_grid
from refnet.graphs.temporal import temporal_scope
from refnet.ops import metrics
from refnet.ops.attention import GraphAttention
from refnet.ops.losses import focal
from refnet.ops.position import sinusoid
from refnet.pictures import Clip

SEVEN = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")


@dataclass(frozen=True)
class Config:
    """Every number of the paper, and every number it leaves out."""
    classes:    tuple = said(SEVEN, "§4.1.2, AFEW")
    T:          int   = said(16, "§4.2.1, frames per clip")
    shown:      int   = said(16, "§4.2.1, frames of a clip in training")
    random:     bool  = said(True, "§4.2.1, frames are drawn at random in training; False takes the middle of each stretch")
    flip:       bool  = ours(False, "no augmentation is printed; True mirrors a training clip with probability ½")
    dilation:   int   = said(3, "§4.2.1, frames from one to the next in Aff-Wild2")
    size:       int   = said(96, "§4.2.1, pixels per side of a face")
    layout:     tuple = ours((3, 4, 14, 3), "§3.2 says InsightFace on ResNet50: iresnet50 as released, units per block")
    widths:     tuple = ours((64, 128, 256, 512), "§3.2, likewise: channels per block")
    d:          int   = ours(512, "§3.2 says the first fully connected layer of InsightFace: C' as released")
    share:      bool  = ours(False, "Fig. 1 draws two modules: each has its own blocks; True shares the first three")
    P:          int   = said(6, "§4.4.2 and Table 5, patches per side")
    layers:     int   = said(3, "§3.3.2, graph attention layers of the relation module")
    heads:      int   = ours(4, "§3.3.2 says multi-head, averaged, not how many")
    slope:      float = said(0.01, "§4.2.2, LeakyReLU")
    TRS:        int   = ours(3, "§3.4.2 defines it, no value is printed; Fig. 5 shows frames 7 to 13 around 10")
    hidden:     int   = ours(256, "§3.4.3 says MLP, not its width; one hidden layer")
    dropout:    float = said(0.25, "§4.2.2; the place is ours: the attention weights, and the MLP")
    appearance: bool  = said(True, "Table 4, column 1")
    relation:   bool  = said(True, "Table 4, column 2")
    fusion:     bool  = said(True, "Table 4, column 3")
    scope:      bool  = said(True, "Table 4, column 4")
    gamma:      float = said(0.0, "§4.2.2, cross-entropy, the focal loss with γ = 0")
    measure:    str   = said("Acc", "§4.1.1, §4.1.2")
    lr:         float = said(1e-3, "§4.2.2, everything but the residual blocks")
    lr_trunk:   float = said(1e-4, "§4.2.2, pre-trained residual blocks")
    beta1:      float = said(0.9, "§4.2.2, Adam")
    beta2:      float = said(0.999, "§4.2.2, Adam")
    eps:        float = said(1e-8, "§4.2.2, Adam")
    cosine:     bool  = ours(False, "no schedule is printed; True warms up for a tenth and falls to zero")
    stills:     int   = ours(0, "epochs on the clips' middle frames before the clips themselves")
    epochs:     int   = ours(30, "not printed")
    batch_size: int   = ours(16, "not printed")

    def __post_init__(self):
        for name in ("T", "shown", "dilation", "size", "P", "layers", "heads", "hidden", "epochs", "batch_size"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be 1 or more; got {getattr(self, name)}")
        if not (self.appearance or self.relation):
            raise ValueError("both streams are off; leave --appearance or --relation on")
        if self.measure not in ("Acc", "F1", "M"):
            raise ValueError(f"the measure is Acc, F1 or M; got {self.measure}")
        if self.d < 2 or self.d % 2:
            raise ValueError(f"d must be even, 2 or more; got {self.d}")
        for name in ("dropout", "beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name} must be 0 or more and below 1; got {getattr(self, name)}")
        for name in ("TRS", "stills", "gamma", "slope", "lr", "lr_trunk", "eps"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be 0 or more; got {getattr(self, name)}")
        if len(self.classes) < 2 or len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes must be two names or more, each once; got {', '.join(self.classes)}")
        if any(len(v) != 4 or min(v) < 1 for v in (self.layout, self.widths)):
            raise ValueError(f"layout and widths name four blocks each; got {self.layout} and {self.widths}")
        side = -(-self.size // 8)
        if self.relation and side % self.P:
            fits = ", ".join(str(p) for p in range(1, side + 1) if side % p == 0)
            raise ValueError(f"P = {self.P} does not divide the {side} × {side} map of {self.size} px into patches of equal size "
                             f"(§3.3.1); P may be {fits}, or take --size {8 * self.P}")


PRESETS = {
    "paper": {},
    "demo": {
        "size":       ours(48, "demo: half the picture; the map after three blocks is 6 × 6"),
        "layout":     ours((1, 1, 1, 1), "demo"),
        "widths":     ours((16, 32, 64, 64), "demo"),
        "d":          ours(64, "demo: as wide as the last block"),
        "hidden":     ours(64, "demo"),
        "share":      ours(True, "demo: one set of blocks costs half the time"),
        "dropout":    ours(0.0, "demo: too few steps to need it"),
        "shown":      ours(6, "demo: fewer frames in training than in testing, as its reference [56] does"),
        "flip":       ours(True, "demo"),
        "stills":     ours(6, "demo: stands in for the pre-training of the blocks (§3.2)"),
        "lr_trunk":   ours(1e-3, "demo: nothing is pre-trained"),
        "cosine":     ours(True, "demo"),
        "epochs":     ours(2, "demo"),
        "batch_size": ours(32, "demo"),
    },
}

DATASETS = {
    "drawn":    DataSet(drawn.read, as_delivered),
    "rml":      DataSet(rml.read, leave_one_subject_out, {"classes": said(SEVEN[:6], "§4.1.1")}),
    "afew":     DataSet(afew.read, as_delivered),
    "affwild2": DataSet(affwild2.read, as_delivered, {
        "classes": ours(SEVEN[-1:] + SEVEN[:-1], "the code order of the annotation files"),
        "T":       said(8, "§4.2.1, eight surrounding frames"),
        "gamma":   ours(2.0, "§4.2.2 says focal loss as in [58], prints no γ; 2 is its authors' default"),
        "measure": said("M", "§4.1.3"),
    }),
    "folder":   DataSet(folder.read, as_delivered),
}

SWITCHES = ("appearance", "relation", "fusion", "scope")
ABLATIONS = {  # Table 4, AFEW     appearance relation fusion scope                            Acc (%) printed
    "table4.1": Row(dict(zip(SWITCHES, (True,  False, False, False))), printed={"Acc": 50.65}),
    "table4.2": Row(dict(zip(SWITCHES, (False, True,  False, False))), printed={"Acc": 47.52}),
    "table4.3": Row(dict(zip(SWITCHES, (True,  True,  False, False))), printed={"Acc": 51.96}),
    "table4.4": Row(dict(zip(SWITCHES, (True,  True,  True,  False))), printed={"Acc": 55.35}),
    "table4.5": Row(dict(zip(SWITCHES, (True,  True,  True,  True))),  printed={"Acc": 57.70}),
    # Table 5, AFEW: P × P patches
    "table5.1": Row({"P": 12}, printed={"Acc": 57.18}),
    "table5.2": Row({"P": 6},  printed={"Acc": 57.70}),
    "table5.3": Row({"P": 4},  printed={"Acc": 56.91}),
    "table5.4": Row({"P": 3},  printed={"Acc": 55.61}),
}


def stages(cfg: Config) -> tuple[Stage, ...]:
    """End to end on clips; before that, where `stills` asks for it, on their middle frames, at twice the learning rate."""
    still = {"shown": 1, "random": False, "lr": 2 * cfg.lr, "lr_trunk": 2 * cfg.lr_trunk}
    first = (Stage("stills", cfg.stills, still),) if cfg.stills else ()
    return *first, Stage("clips", cfg.epochs, carried="every weight")


def augment(samples: list[Sample], cfg: Config) -> list[Sample]:
    """What training sees of its part: the samples as they are."""
    return samples


def waiting(samples: list[Sample], cfg: Config) -> list[Sample]:
    """Samples whose preparation is kept on disk and not there yet: none is kept."""
    return []


def frame_indices(n: int, T: int, rng: torch.Generator | None) -> list[int]:
    """Which T of a clip's n frames are shown: one from each of T equal stretches.

        arpgnet (§4.2.1)   training: at random in its stretch; testing: the middle of its stretch

    →    T indices in order; all n where the clip is shorter than T

    Reading: "16 face images are randomly sampled" with the sparse sampling of [56], which draws one frame per stretch.
    """
    if n <= T:
        return list(range(n))
    where = torch.full((T,), 0.5) if rng is None else torch.rand(T, generator=rng)      # (T,) in [0, 1)
    return ((torch.arange(T) + where) * n / T).long().clamp(max=n - 1).tolist()


def prepare(sample: Sample, cfg: Config, rng: torch.Generator | None) -> tuple[Tensor, Tensor]:
    """A sample's frames, and which of them are real: uint8 (n, 3, S, S), bool (n,), n ≤ T; rng None in testing."""
    T = cfg.T if rng is None else min(cfg.T, cfg.shown)
    indices = frame_indices(len(sample.clip), T, rng if cfg.random else None)
    clip = sample.clip.read(indices, cfg.size)                                # (n, 3, S, S)
    if rng is not None and cfg.flip and torch.rand((), generator=rng) < 0.5:
        clip = clip.flip(-1)
    return clip, torch.ones(len(clip), dtype=torch.bool)


def batched(inputs: tuple[Tensor, ...], cfg: Config) -> tuple[Tensor, ...]:
    """The network's input from a batch on its device: as it is prepared."""
    return inputs


def own(path: str, clip: Clip, points: Tensor | None) -> list[Sample]:
    """One's own clip: cropped along its landmarks where they are given, (n, 68 or 51, 2), else its centre square."""
    return [Sample(path, clip if points is None else Aligned(clip, points), {})]


def statistics(targets: dict[str, Tensor], cfg: Config) -> dict[str, Tensor]:
    """Nothing of the training part but its samples enters this paper."""
    return {}


class ARPGNet(nn.Module):
    """clip (B, T, 3, H, W) in [0, 1], real (B, T) → logits (B, classes)"""

    def __init__(self, cfg: Config):
        super().__init__()
        self.cfg, d = cfg, cfg.d
        trunk = partial(IResNet, cfg.layout, cfg.widths, cfg.size, d)
        if cfg.appearance:
            self.trunk = trunk(blocks=4)                                      # §3.2
        if cfg.relation:
            self.stem = None if cfg.share and cfg.appearance else trunk(blocks=3)   # §3.3
            self.relate = nn.ModuleList(                                      # §3.3.2
                GraphAttention(h, d, cfg.heads, cfg.slope, cfg.dropout)
                for h in [cfg.widths[2]] + [d] * (cfg.layers - 1))
            self.register_buffer("A_face", face_grid(cfg.P), persistent=False)      # (P², P²)   Eq. 1
        if cfg.fusion:
            self.fuse = GraphAttention(d, d, cfg.heads, cfg.slope, cfg.dropout)     # §3.4.3
        self.mlp = nn.Sequential(                                             # §3.4.3
            nn.Linear(d * (cfg.appearance + cfg.relation), cfg.hidden), nn.ReLU(),
            nn.Dropout(cfg.dropout), nn.Linear(cfg.hidden, len(cfg.classes)))
        for layer in self.mlp:
            if isinstance(layer, nn.Linear):
                nn.init.kaiming_uniform_(layer.weight, nonlinearity="relu")   # §4.2.2
                nn.init.zeros_(layer.bias)

    def streams(self, clip: Tensor) -> tuple[list[Tensor], Tensor | None]:
        """The two modules: the sequences, each (B, T, C'), and the patches (B·T, P², C) that the relation came from.

        Reading: §4.4.1 says that the relation module "is trained from scratch", §3.3 that its blocks are InsightFace's
        and fine-tuned. As §3.3: only the graph layers start from nothing. Figure 1 draws two modules, so two sets of blocks.
        """
        cfg, BT = self.cfg, clip.shape[:2]
        frames = normalise(clip.flatten(0, 1))                                # (B·T, 3, H, W)
        out, maps, patches = [], (), None
        if cfg.appearance:                                                    # §3.2
            maps = self.trunk.maps(frames)                                    # (B·T, C, H', W') × 4
            out.append(self.trunk.embed(maps[-1]).unflatten(0, BT))           # (B, T, C')
        if cfg.relation:                                                      # §3.3
            face = maps[2] if self.stem is None else self.stem(frames)        # (B·T, C, H/8, W/8)
            patches = F.adaptive_avg_pool2d(face, cfg.P).flatten(2).mT        # (B·T, P², C)
            x = patches
            for gat in self.relate:
                x = gat(x, self.A_face)                                       # (B·T, P², C')   Eq. 2, 3, 4
            out.append(x.mean(1).unflatten(0, BT))                            # (B, T, C')
        return out, patches

    def fusion_nodes(self, streams: list[Tensor], real: Tensor) -> tuple[Tensor, Tensor]:
        """§3.4.1 and §3.4.2: the nodes (B, 2T, C') with their positions, and who hears whom (B, 2T, 2T)."""
        T, cfg, n = real.shape[1], self.cfg, len(streams)
        PE = sinusoid(T, cfg.d, real.device)                                  # (T, C')     Eq. 5, 6
        x = torch.cat([s + PE for s in streams], dim=1)                       # (B, 2T, C')
        A = temporal_scope(T, cfg.TRS if cfg.scope else T, n, real.device)    # (2T, 2T)    Eq. 7
        heard = real.repeat(1, n)[:, None, :]                                 # (B, 1, 2T)  padding is not heard,
        return x, A * (heard | torch.eye(n * T, dtype=torch.bool, device=real.device))      # but by itself

    def forward(self, clip: Tensor, real: Tensor) -> Tensor:
        streams, _ = self.streams(clip)                                       # each (B, T, C')
        if self.cfg.fusion:                                                   # §3.4
            x, A = self.fusion_nodes(streams, real)
            streams = self.fuse(x, A).chunk(len(streams), dim=1)              # each (B, T, C')   Eq. 8, 9
        x = torch.cat(streams, dim=-1)                                        # (B, T, 2C')
        x = (x * real[..., None]).sum(1) / real.sum(1, keepdim=True)          # (B, 2C')          mean over time
        return self.mlp(x)                                                    # (B, classes)


def network(cfg: Config, stat: dict[str, Tensor], stage: Stage) -> nn.Module:
    """Figure 1."""
    return ARPGNet(cfg)


def loss(out: Tensor, target: dict[str, Tensor], stat: dict[str, Tensor], cfg: Config, stage: Stage) -> dict[str, Tensor]:
    """Cross-entropy for RML and AFEW, the focal loss for Aff-Wild2 (§4.2.2)."""
    return {"total": focal(out, target["expression"], cfg.gamma)}


def optimizer(model: nn.Module, cfg: Config, steps: int):
    """Adam with two learning rates (§4.2.2), stepped every iteration.

    Reading: "pre-trained residual convolutional blocks" are the stem, the blocks and the normalisation that closes them;
    the fc behind and its own normalisation are among the others.
    """
    others = [p for name, p in model.named_parameters() if p.requires_grad and not _residual(name)]
    blocks = [p for name, p in model.named_parameters() if p.requires_grad and _residual(name)]
    adam = torch.optim.Adam([{"params": others, "lr": cfg.lr}, {"params": blocks, "lr": cfg.lr_trunk}],
                            betas=(cfg.beta1, cfg.beta2), eps=cfg.eps)
    warm = max(1, steps // 10)

    def factor(step: int) -> float:
        return min((step + 1) / warm, 0.5 + 0.5 * math.cos(math.pi * step / max(1, steps))) if cfg.cosine else 1.0

    return adam, torch.optim.lr_scheduler.LambdaLR(adam, factor)


def _residual(name: str) -> bool:
    return name.startswith(("trunk.", "stem.")) and ".fc." not in name and ".features." not in name


def predict(out: Tensor, cfg: Config) -> dict[str, Tensor]:
    """The class that is called, and the probability of each."""
    p = out.float().softmax(-1)                                               # (B, classes)
    return {"predicted": p.argmax(-1)} | {f"p_{name}": p[:, k] for k, name in enumerate(cfg.classes)}


def score(rows: dict, cfg: Config) -> dict[str, float]:
    """The paper's measures from predictions alone; with several folds, the accuracy's mean and deviation over them.

        arpgnet (§4.1.1)   Acc of each subject left out, their mean and σ

    Reading: Table 1 prints accuracy and σ over the eight subjects of RML, not how σ is taken: over n − 1, ours.
    """
    def count(keep: Tensor) -> Tensor:
        return metrics.confusion(rows["target"][keep], rows["predicted"][keep], len(cfg.classes))

    everything = count(torch.ones(len(rows["target"]), dtype=torch.bool))
    folds = sorted(set(rows["fold"]))
    each = torch.stack([metrics.accuracy(count(torch.tensor([f == fold for f in rows["fold"]]))) for fold in folds])
    out = {"Acc": each.mean().item(), "F1": metrics.f1_macro(everything).item(),
           "M": metrics.expression_score(everything).item()}
    if len(folds) > 1:
        out |= {"Acc sd": each.std().item(), "Acc pooled": metrics.accuracy(everything).item()}
    return {cfg.measure: out[cfg.measure]} | out


def load_weights(model: nn.Module, path: str, cfg: Config) -> str:
    """A published InsightFace iresnet into both modules (§3.2, §3.3); the report says what fitted."""
    state = read_state_dict(path)
    trunks = {name: getattr(model, name, None) for name in ("trunk", "stem")}
    return "\n".join(f"{name}: {load_trunk(trunk, state, fit=fit_fc, source=path)}"
                     for name, trunk in trunks.items() if trunk is not None)


@torch.no_grad()
def look(model: ARPGNet, clip: Tensor, real: Tensor) -> dict[str, Tensor]:
    """The attention of Figs. 5 to 7, averaged over heads; rows receive.

    →    "face"    (B, T, P², P²)   between the patches, in the first graph layer, where a node still is its patch
         "fusion"  (B, 2T, 2T)      between the frames of both sequences

    Only what the model has: without relation there is no "face", without fusion no "fusion".
    """
    streams, patches = model.streams(clip)
    out = {}
    if patches is not None:
        out["face"] = model.relate[0].attention(patches, model.A_face).mean(1).unflatten(0, clip.shape[:2])
    if model.cfg.fusion:
        out["fusion"] = model.fuse.attention(*model.fusion_nodes(streams, real)).mean(1)
    return out
