"""ENGAT: micro-expressions from landmarks, the flow around them, and the edges between them.

Rakesh Kumar, Bhanu. Relational Edge-Node Graph Attention Network for Classification of Micro-Expressions.

    clip ─ register ─ magnify ─ flow ─ three frames of 51 landmarks, one graph of 153 nodes          §3, §3.3, §4.2
                                            │  edges: GSSS, LSSS  (5) (6) (7)
      coordinates (153, 2)   ─ GAT ─ GAT ─ GAT ─ ‖ ─ SAGPool ─ mean ‖ max ─┐
                               (1-4) (1-4) (1-4)      §3.2       §3.2      ├─ ‖ ─ fully connected ─ softmax
      patches     (153, 100) ─ GAT ─ GAT ─ GAT ─ ‖ ─ SAGPool ─ mean ‖ max ─┘                        §3.3
"""
import math
from collections import Counter
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refnet.backbones.weights import WeightsError
from refnet.config import Row, Stage, ours, said
from refnet.data import drawn_clips, micro_sets
from refnet.data.micro import Given, MicroClip
from refnet.data.micro_graphs import FOLLOW, Graphs, Pipeline, kept, place
from refnet.data.protocols import as_delivered, leave_one_subject_out
from refnet.data.samples import DataError, DataSet, Sample
from refnet.graphs.landmarks import EdgeFeatures, face_contours, frame_graph, global_similarity, symmetric
from refnet.ops import metrics
from refnet.ops.edge_attention import EdgeNodeAttention, edge_weights, mix_edges
from refnet.ops.graph_conv import GraphConv
from refnet.ops.pooling import SAGPool, gate, readout, top_k
from refnet.ops.scatter import scatter_sum
from refnet.pictures import Clip

THREE = ("negative", "positive", "surprise")
FIVE = ("disgust", "happiness", "surprise", "repression", "others")
FRAMES = 3                                                       # §3.3


@dataclass(frozen=True)
class Config:
    """Every number of the paper, and every number it leaves out."""
    classes:     tuple = said(THREE, "§4.2")
    size:        int   = said(256, "§4.2, pixels per side of a registered frame")
    register:    str   = ours("landmarks", "§4.2 says registered to the onset, not how: a similarity on steady landmarks; pictures, off")
    margin:      float = ours(0.35, "where frames show more than a face: how far its box reaches beyond the landmarks, in their extent")
    alpha:       float = said(4.0, "§4.2, magnification in testing")
    factors:     tuple = said((1, 2, 3, 4, 5), "§4.2, magnification in training")
    mm:          bool  = said(True, "Tables 4, 5: smaller classes are filled up with copies of other factors")
    oth:         bool  = ours(False, "§4.2 uses other data sets too, True, Tables 4, 5: mm-oth-aug; off as they must lie beside this one")
    lambda_c:    float = ours(4.0, "magnification's shortest wavelength in pixels: not printed; filters and colour are magnify's own")
    low:         float = ours(0.0, "magnified band in Hz: not printed; everything")
    high:        float = ours(math.inf, "that changed since the onset")
    pyr_scale:   float = ours(0.5, "§3 says optical flow, no method: Farneback's, with settings in wide use")
    levels:      int   = ours(3, "likewise")
    winsize:     int   = ours(15, "likewise")
    iterations:  int   = ours(3, "likewise")
    poly_n:      int   = ours(5, "likewise")
    poly_sigma:  float = ours(1.2, "likewise")
    reference:   str   = ours("first", "§3 does not say from which frame the flow runs: first is the onset, previous the frame before")
    smooth:      int   = ours(3, "frames over which the intensity is averaged: not printed")
    threshold:   float = ours(0.0, "§3 says threshold, not which: mean + this many standard deviations of the intensity")
    graphs:      str   = ours("one", "§3.3 does not say which three frames: first, strongest, last kept; all: every three in a row, which vote")
    follow:      str   = ours("scaled", "where given landmarks are in the magnified clip: scaled, flow or given, see graphs_of")
    gain:        float = ours(0.45, "scaled: a motion becomes 1 + this times alpha, as bench_micro measures on drawn faces (0.43); 1: no filters")
    whole:       bool  = ours(False, "True rounds those to whole pixels, as dlib (§3) gives landmarks")
    patch:       int   = said(10, "§3.1.1, pixels per side of a patch of flow")
    coordinates: str   = said("absolute", "§3.1.1, x and y, over the side; relative: how far since the onset, ours for §3.3's previous position")
    similarity:  str   = ours("coordinates", "(7) does not say which h: coordinates or patches")
    gamma:       float = ours(0.1, "(7), where γ starts: twice the distance of landmarks that are neighbours")
    attention:   bool  = said(True, "Table 6: GAT; False is GCN")
    edges:       bool  = said(True, "Table 6: edge features")
    layers:      int   = said(3, "§3.3")
    D:           int   = said(32, "§3.3, hidden channels")
    slope:       float = said(0.2, "§3.1, LeakyReLU")
    k:           float = said(0.75, "§4.2, nodes that stay")
    dropout:     float = ours(0.0, "not printed; on what enters the fully connected layer")
    lr:          float = said(1e-3, "§4.2, Adam")
    halve:       int   = said(100, "§4.2, epochs until the learning rate is halved")
    epochs:      int   = ours(200, "not printed; the learning rate was halved every 100")
    batch_size:  int   = ours(16, "not printed")
    landmarks:   str   = ours("", "a folder of landmark files, where they do not lie beside the clips")
    cache:       str   = ours("runs/cache", "where the clips' graphs are kept; an empty name keeps none")

    def __post_init__(self):
        for name in ("size", "patch", "layers", "D", "halve", "epochs", "batch_size", "levels", "winsize", "iterations", "poly_n"):
            if getattr(self, name) < (0 if name == "levels" else 1):
                raise ValueError(f"{name} must be {int(name != 'levels')} or more; got {getattr(self, name)}")
        for name, words in (("register", ("landmarks", "pictures", "off")), ("reference", ("first", "previous")),
                            ("graphs", ("one", "all")), ("follow", FOLLOW), ("coordinates", ("absolute", "relative")),
                            ("similarity", ("coordinates", "patches"))):
            if getattr(self, name) not in words:
                raise ValueError(f"{name} is {', '.join(words[:-1])} or {words[-1]}; got {getattr(self, name)}")
        for name, most in (("alpha", 1e6), ("margin", 10), ("low", 1e6), ("lr", 1e6), ("slope", 1e6), ("poly_sigma", 1e3)):
            if not 0 <= getattr(self, name) <= most:
                raise ValueError(f"{name} must be between 0 and {most:g}; got {getattr(self, name)}")
        for name, good, wanted in (("smooth", self.smooth >= 1 and self.smooth % 2 == 1, "odd, 1 or more"),
                                   ("threshold", abs(self.threshold) < math.inf, "a finite number"),
                                   ("gamma", 0 < abs(self.gamma) < math.inf, "a finite number other than 0"),
                                   ("pyr_scale", 0 < self.pyr_scale < 1, "between 0 and 1"),
                                   ("lambda_c", 0 < self.lambda_c < math.inf, "above 0"),
                                   ("high", self.high > self.low, f"above low, {self.low:g}")):
            if not good:
                raise ValueError(f"{name} must be {wanted}; got {getattr(self, name)}")
        if self.patch > self.size:
            raise ValueError(f"a patch of {self.patch} pixels does not fit into a frame of {self.size}; --patch is 10 in the paper")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout must be 0 or more and below 1; got {self.dropout}")
        if not 0 < self.k <= 1:
            raise ValueError(f"k must be above 0, and 1 at most; got {self.k}")
        if len(self.classes) < 2 or len(set(self.classes)) < len(self.classes):
            raise ValueError(f"classes must be two names or more, each once; got {', '.join(self.classes)}")
        if not self.factors or min(self.factors) < 0 or len(set(self.factors)) < len(self.factors):
            raise ValueError(f"factors are magnifications of 0 or more, each once; got {self.factors}")
        if self.edges and not self.attention:
            raise ValueError("a GCN reads no edge features: --no-attention goes with --no-edges (Tables 6, 7, row 1)")

    @property
    def pipeline(self) -> Pipeline:
        return Pipeline(*(getattr(self, name) for name in Pipeline._fields))


PRESETS = {
    "paper": {},
    "demo": {
        "size":        ours(128, "demo: half the picture"),
        "coordinates": ours("relative", "demo: places alone say little of a motion of a pixel"),
        "whole":       ours(True, "demo: drawn landmarks are exact; so they are as coarse as dlib's in the magnified clip"),
        "epochs":      ours(40, "demo"),
    },
}

DATASETS = {name: DataSet(read, protocol, select=0.0, small=True, looks_at=("classes", "size", "oth")) for name, read, protocol in (
    ("drawn",        drawn_clips.read,                     leave_one_subject_out),
    ("casme2",       micro_sets.reader("casme2"),          leave_one_subject_out),
    ("smic",         micro_sets.reader("smic"),            leave_one_subject_out),
    ("casme2_smic",  micro_sets.crossed("casme2", "smic"), as_delivered),               # Table 8: the first trains, the second is tested
    ("smic_casme2",  micro_sets.crossed("smic", "casme2"), as_delivered),
)}


def _scores(acc: float, uf1: float) -> dict[str, float]:
    return {"Acc": acc, "UF1": uf1}


NODES = {"GCN": {"attention": False, "edges": False}, "GAT": {"attention": True, "edges": False},
         "edges": {"attention": True, "edges": True}}
OTH = "the printed rows had other data sets in training (mm-oth-aug): --oth"
ABLATIONS = {
    # Table 4, three classes                               printed: CASME II and SMIC
    "table4.1": Row({"classes": THREE, "oth": False}, {"casme2": _scores(.8897, .8686), "smic": _scores(.8171, .8143)}),
    "table4.2": Row({"classes": THREE, "oth": True},  {"casme2": _scores(.9103, .8820), "smic": _scores(.8232, .8260)}),
    # Table 5, five classes
    "table5.1": Row({"classes": FIVE, "oth": False}, {"casme2": _scores(.8374, .7483)}),
    "table5.2": Row({"classes": FIVE, "oth": True},  {"casme2": _scores(.8415, .7791)}),
    # Table 6, three classes:   nodes and GCN, nodes and GAT, nodes and edges and GAT
    # Row 3 is Table 4's mm-oth-aug, which needs --oth; row 2 is digit for digit what Table 4 prints for [24].
    "table6.1": Row(NODES["GCN"],   {"casme2": _scores(.7586, .6648), "smic": _scores(.7378, .7329)}, OTH),
    "table6.2": Row(NODES["GAT"],   {"casme2": _scores(.8966, .8695), "smic": _scores(.7622, .7606)}, OTH),
    "table6.3": Row(NODES["edges"], {"casme2": _scores(.9103, .8820), "smic": _scores(.8232, .8260)}, OTH),
    # Table 7, five classes: likewise Table 5's mm-oth-aug, and its [24]
    "table7.1": Row({"classes": FIVE} | NODES["GCN"],   {"casme2": _scores(.7724, .6281)}, OTH),
    "table7.2": Row({"classes": FIVE} | NODES["GAT"],   {"casme2": _scores(.8130, .7090)}, OTH),
    "table7.3": Row({"classes": FIVE} | NODES["edges"], {"casme2": _scores(.8415, .7791)}, OTH),
    # Table 8: trained on the first data set, tested on the second
    "table8.1": Row({"oth": False}, {"casme2_smic": _scores(.7683, .7543), "smic_casme2": _scores(.8552, .8053)}),
    # ours: is magnification worth it?
    "alpha.1": Row({"alpha": 0.0, "mm": False}),
    "alpha.2": Row({"alpha": 4.0, "mm": False}),
    "alpha.3": Row({"alpha": 4.0, "mm": True}),
}


def stages(cfg: Config) -> tuple[Stage, ...]:
    """All at once."""
    return (Stage("graphs", cfg.epochs),)


# ---- what training and testing see

def augment(samples: list[Sample], cfg: Config) -> list[Sample]:
    """The training part, each smaller class filled up with copies of its clips at other factors of magnification.

        n_c = ⌊(largest class / class c) + ½⌋ copies of each clip of class c, 5 at most

    The first copy has the factor that is nearest to testing's, then the next nearest: 4, 5, 3, 2, 1.

    Reading: §4.2's "different magnitudes of motion amplification factors ranging from 1 to 5" are for "the category of expression
    with the least video data" (§1) and to balance the classes (§4.2); how many of which is ours. Factor m is α = m.
    """
    if not cfg.mm:
        return samples
    nearest = sorted(cfg.factors, key=lambda m: (abs(m - cfg.alpha), -m))
    number = Counter(s.target["expression"] for s in samples)
    times = {c: min(len(nearest), int(max(number.values()) / n + .5)) for c, n in number.items()}
    return [replace(s, clip=replace(s.clip, alpha=float(m)))
            for s in samples for m in nearest[:times[s.target["expression"]]]]


def _asked(sample: Sample, cfg: Config) -> tuple:
    """What `kept` and `place` are asked for: the clip, its magnification, the pipeline, the folder."""
    return replace(sample.clip, alpha=None), cfg.alpha if sample.clip.alpha is None else sample.clip.alpha, cfg.pipeline, cfg.cache


def waiting(samples: list[Sample], cfg: Config) -> list[Sample]:
    """Those whose graphs are still to be made; nothing where none are kept."""
    each = {place(*_asked(s, cfg)): s for s in samples} if cfg.cache else {}
    return [s for path, s in each.items() if not path.exists()]


def prepare(sample: Sample, cfg: Config, rng: torch.Generator | None) -> tuple[Tensor, ...]:
    """A clip's graphs: coordinates (G, 153, 2), patches (G, 153, 100), what (7) compares (G, 153, 2 or 100), real (G,)

        engat (§3.1.1)   stream 1: x and y of each landmark; stream 2: the flow magnitude in its 10 × 10 patch

    Reading: §3.1.1 takes coordinates as they are; §3.3 wants "the change in the movement of each landmark point relative to its
    previous position". Coordinates over the side of the picture are the default; "relative" counts them from the onset's, in
    pixels, as the flow is. (7) compares places in either case.
    """
    try:
        g: Graphs = kept(*_asked(sample, cfg))
    except DataError as error:
        raise DataError(f"clip {sample.id}: {error}") from error
    there = g.points / cfg.size                                                       # (G, 3, 51, 2)
    x = g.points - g.rest if cfg.coordinates == "relative" else there
    h = there if cfg.similarity == "coordinates" else g.patches
    return *(t.flatten(1, 2) for t in (x, g.patches, h)), torch.ones(len(x), dtype=torch.bool)      # (G, 153, ·) each, (G,)


def batched(inputs: tuple[Tensor, ...], cfg: Config) -> tuple[Tensor, ...]:
    """The network's input from a batch on its device: as it is prepared."""
    return inputs


def own(path: str, clip: Clip, points: Tensor | None) -> list[Sample]:
    """One's own clip, its face cut out along the landmarks (n, 68 or 51, 2), which must be given."""
    if points is None:
        raise DataError(f"{path}: ENGAT needs landmarks; give --landmarks FILE, csv, pts or npy, with 68 points for every frame")
    fps = clip.fps() or 200.0                                    # as CASME II; the whole band, the default, does not need it
    return [Sample(path, MicroClip(Given(clip, points), fps, scene=True), {})]


def statistics(targets: dict[str, Tensor], cfg: Config) -> dict[str, Tensor]:
    """Nothing of the training part but its samples enters this paper."""
    return {}


# ---- the network

class Stream(nn.Module):
    """One of the two: h (B, 153, T) → see `forward`

    Reading: Table 6's row of GCN layers does not say what scores its nodes then; a GCN of one channel is ours.
    """

    def __init__(self, T: int, cfg: Config):
        super().__init__()
        self.cfg, D = cfg, cfg.D
        widths = [T] + [D] * (cfg.layers - 1)
        if cfg.attention:
            E = 2 if cfg.edges else 0
            self.gats = nn.ModuleList(EdgeNodeAttention(t, D, E, cfg.slope) for t in widths)
            self.pool = SAGPool(cfg.layers * D, cfg.k, E, cfg.slope)
        else:
            self.gcns = nn.ModuleList(GraphConv(t, D) for t in widths)
            self.score = GraphConv(cfg.layers * D, 1)

    def nodes(self, h: Tensor, edges: Tensor, f: Tensor | None, A_hat: Tensor) -> Tensor:
        """Three layers, each after the last, side by side: (B, 153, layers · D)"""
        out = []
        for layer in self.gats if self.cfg.attention else self.gcns:
            h = F.relu(mix_edges(h, edges, f, layer) if self.cfg.attention else layer(h, A_hat))      # (B, 153, D)   Eq. 1-4
            out.append(h)
        return torch.cat(out, -1)

    def forward(self, h: Tensor, edges: Tensor, f: Tensor | None, A_hat: Tensor) -> tuple[Tensor, Tensor]:
        """→ the graph as one vector, and the nodes that stayed (B, 115)"""
        h = self.nodes(h, edges, f, A_hat)                                    # (B, 153, layers · D)
        if self.cfg.attention:
            h, stay = self.pool(h, edges, f)                                  # (B, 115, layers · D)
        else:
            score = self.score(h, A_hat)[..., 0]                              # (B, 153)
            stay = top_k(score, self.cfg.k)
            h = gate(h, score, stay)
        return readout(h), stay                                               # (B, 2 · layers · D)


class ENGAT(nn.Module):
    """coordinates (B, G, 153, 2), patches (B, G, 153, 100), h of (7), real (B, G) → see `forward`"""

    def __init__(self, cfg: Config):
        super().__init__()
        self.cfg = cfg
        self.first, self.second = Stream(2, cfg), Stream(cfg.patch ** 2, cfg)
        self.drop = nn.Dropout(cfg.dropout)
        self.fc = nn.Linear(4 * cfg.layers * cfg.D, len(cfg.classes))
        A = frame_graph(face_contours(), FRAMES)                              # (153, 153)   §3.3
        edges = A.nonzero().T                                                 # (2, 657)
        self.register_buffer("edges_ij", edges, persistent=False)
        self.register_buffer("A_hat", symmetric(A), persistent=False)
        self.register_buffer("gsss", global_similarity(A)[edges[0], edges[1]], persistent=False)      # (657,)   Eq. 6
        self.similarity = EdgeFeatures(cfg.gamma) if cfg.edges else None

    def forward(self, x: Tensor, p: Tensor, h: Tensor, real: Tensor) -> tuple[Tensor, Tensor]:
        """The graphs of a clip are classified one by one, and vote.

        →   log-probabilities (B, C), their mean over the clip's graphs, for the loss
            probabilities     (B, C), their mean, for the vote

        Reading: §4.3.2 counts video samples, and a video may have several graphs; the mean probability is ours.
        """
        B, G = real.shape
        x, p, h = (t.flatten(0, 1) for t in (x, p, h))                        # (B·G, 153, ·)
        f = self.similarity.along(h, self.edges_ij, self.gsss) if self.cfg.edges else None      # (B·G, 657, 2)   Eq. 5, 6, 7
        streams = [stream(t, self.edges_ij, f, self.A_hat)[0] for stream, t in ((self.first, x), (self.second, p))]
        logits = self.fc(self.drop(torch.cat(streams, -1))).unflatten(0, (B, G))      # (B, G, C)
        share = (real / real.sum(1, keepdim=True))[..., None]                 # (B, G, 1)
        return (logits.log_softmax(-1) * share).sum(1), (logits.softmax(-1) * share).sum(1)


def network(cfg: Config, stat: dict[str, Tensor], stage: Stage) -> nn.Module:
    """Figure 1."""
    return ENGAT(cfg)


def loss(out: tuple[Tensor, Tensor], target: dict[str, Tensor], stat: dict[str, Tensor], cfg: Config,
         stage: Stage) -> dict[str, Tensor]:
    """Cross-entropy (§4.2)."""
    return {"total": F.nll_loss(out[0], target["expression"], ignore_index=-1)}


def optimizer(model: nn.Module, cfg: Config, steps: int):
    """Adam; the learning rate is halved after every 100 epochs (§4.2)."""
    adam = torch.optim.Adam(model.parameters(), cfg.lr)
    return adam, torch.optim.lr_scheduler.StepLR(adam, max(1, steps * cfg.halve // cfg.epochs), 0.5)


def predict(out: tuple[Tensor, Tensor], cfg: Config) -> dict[str, Tensor]:
    """The class that is called, and the probability of each."""
    p = out[1].float()                                                        # (B, C)
    return {"predicted": p.argmax(-1)} | {f"p_{name}": p[:, k] for k, name in enumerate(cfg.classes)}


def score(rows: dict, cfg: Config) -> dict[str, float]:
    """UF1 (8, 9), accuracy (10) and the mean recall, from all predictions together.

    Reading: leave-one-subject-out "N times" does not say whether scores are averaged over subjects. Table 4's accuracies are
    whole numbers of all clips (.9103 · 145 = 132): predictions are pooled.
    """
    counts = metrics.confusion(rows["target"], rows["predicted"], len(cfg.classes))
    return {"UF1": metrics.uf1(counts).item(), "Acc": metrics.accuracy(counts).item(), "UAR": metrics.recall_per_class(counts).mean().item()}


def load_weights(model: nn.Module, path: str, cfg: Config) -> str:
    """No weights of ENGAT were published; a run's own best.pt goes on with --resume."""
    raise WeightsError(path, "ENGAT starts from nothing, and nothing was published to start from", "Leave --weights out")


@torch.no_grad()
def look(model: ENGAT, x: Tensor, p: Tensor, h: Tensor) -> dict[str, dict[str, Tensor]]:
    """What the pictures show of one graph: x (153, 2), p (153, 100), h of (7) as `prepare` gives them.

    →    "coordinates" and "patches", a stream each:
             heard (153,)   how much the others listen to a node in the first layer, where it still is its landmark
             kept  (153,)   bool, whether it stayed
    """
    i, j = model.edges_ij                                                     # (657,) each
    f = model.similarity.along(h[None], model.edges_ij, model.gsss) if model.cfg.edges else None      # (1, 657, 2)
    out = {}
    for name, stream, t in (("coordinates", model.first, x[None]), ("patches", model.second, p[None])):
        if model.cfg.attention:
            alpha = edge_weights(t @ stream.gats[0].W.mT, model.edges_ij, f, stream.gats[0])[0]       # (657,)
        else:
            alpha = model.A_hat[i, j]
        heard = scatter_sum(alpha * (i != j), j, len(model.A_hat))            # (153,)
        stay = stream(t, model.edges_ij, f, model.A_hat)[1][0]                # (115,)
        out[name] = {"heard": heard, "kept": torch.zeros_like(heard, dtype=torch.bool).index_fill(0, stay, True)}
    return out
