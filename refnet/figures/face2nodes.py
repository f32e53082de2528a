"""Face2Nodes' own figures: who listens to whom on the face, where the class is seen, how the classes lie apart.

    neighbour_graph(picture, index, gate, node, d)    a node's k neighbours and their gates, block by block     Eq. 5, 7
    embeddings(panels, target, names)                 the faces' features in the plane, a panel a model         Fig. 7
    heat_overlays(rows, pictures, captions)           maps laid over faces: of grad_cam, of feature_map         Figs. 8, 9

`python -m refnet.figures.face2nodes OUT.png` draws the first, of a drawn face: its patches linked by their mean colours.

Nodes lie in reading order on a grid of √N × √N and are counted from 0; rows and columns on the sheets are counted from 1.
Wrong shapes and values are refused by ValueError.
"""
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from refnet.data.drawn_faces import draw
from refnet.data.drawn_plan import EXPRESSIONS, plan
from refnet.data.samples import Sample, fingerprint
from refnet.figures.canvas import (BLUE, FAINT, GREEN, GREY, INK, ORANGE, PAPER, RED, Canvas, bow, expect, heat, mix,
                                   shortened, text_width)
from refnet.figures.charts import bars
from refnet.figures.maps import across, feature_map, grad_cam, nodes, resting
from refnet.figures.tsne import tsne
from refnet.models.face2nodes import Config, Face2Nodes, batched
from refnet.ops.neighbours import dilated_knn
from refnet.pictures import PictureError, write_picture

CLASSES = (BLUE, ORANGE, GREEN, RED, (146, 78, 160), (20, 160, 184), (122, 80, 32), (226, 110, 178), (140, 158, 24), INK)
UNKNOWN, MOST, AT_ONCE = (190, 194, 202), 2000, 32    # unknown class; faces in Fig. 7; faces through the network at a time
CAM = "Grad-CAM on the last block's nodes: where the features speak for the class"
FEATURES = "feature map: the mean of |X| over the channels of the last block, less its least"


def default_node(N: int) -> int:
    """The node at about the mouth: 0.7 of the way down, in the middle; so it lies in faces drawn, and in those cut along landmarks."""
    side = across(N)
    return int(.7 * side) * side + side // 2


def neighbour_graph(picture: Tensor, index: Tensor, gate: Tensor | None, node: int, dilation: Sequence[int],
                    title: str = "") -> Image.Image:
    """A node's neighbours on the face, a panel a block: a line to each one, as wide as its gate is open.

    picture    (3, S, S)   uint8
    index      (L, N, k)   int64, the neighbours of each node in each of the L blocks
    gate       (L, N, k)   how much of each edge is let through, in [0, 1]; None where the blocks have no gates
    dilation   L numbers

    The node itself, where it is one of its k, is a ring; its edge is x_i − x_i = 0, and its gate is not counted.
    """
    picture = expect("picture", picture, (3, *2 * picture.shape[-1:]), torch.uint8)
    L, side, gap, left, top = len(dilation), 210, 22, 28, 72
    index = expect("index", index, (max(L, 1), None, None), torch.int64)
    N, k = index.shape[1:]
    g, gates = across(N), torch.ones(L, N, k) if gate is None else expect("gate", gate, (L, N, k))
    if not 0 <= node < N or index.min() < 0 or index.max() >= N:
        raise ValueError(f"node is {node}, index goes from {index.min()} to {index.max()}; expected nodes from 0 to {N - 1}")
    if gates.min() < -1e-6 or gates.max() > 1 + 1e-6:
        raise ValueError(f"gate goes from {gates.min():.4g} to {gates.max():.4g}; expected values in [0, 1]")
    columns, width = 3 if L in (5, 6, 9) else min(L, 4), (lambda v: 1.8) if gate is None else (lambda v: .5 + 5 * v)
    canvas = Canvas(max(2 * left + columns * (side + gap) - gap, 720), top + -(-L // columns) * (side + 62) + 54)
    canvas.text(left, 26, shortened(title, 17, canvas.width - 2 * left), 17, bold=True)
    words = f"From the node in row {node // g + 1}, column {node % g + 1} of {g} x {g} to its k = {k} neighbours"
    canvas.text(left, 50, words + ", found anew in each block; d: every d-th of the k x d nearest", 12, GREY)
    for b in range(L):
        x, y = left + b % columns * (side + gap), top + b // columns * (side + 62)
        linked = dict(zip(index[b, node].tolist(), gates[b, node].clamp(0, 1).tolist(), strict=True))
        ring = linked.pop(node, None) is not None
        _panel(canvas, picture, g, node, {j: width(v) for j, v in linked.items()}, ring, x, y, side)
        canvas.text(x, y + side + 14, f"block {b + 1}", 12.5, bold=True)
        canvas.text(x + side, y + side + 14, f"d = {dilation[b]}", 12.5, INK, "rm")
        span = f"gates {min(linked.values()):.2f} to {max(linked.values()):.2f}" if linked else "no other node"
        canvas.text(x, y + side + 31, "no gates" if gate is None else span, 11.5, GREY)
    x, y = left, canvas.height - 48
    legend = [("a neighbour; this graph convolution has no gates, so all lines are of one width", 0)] if gate is None else [
        ("gate 0.1", .1), ("gate 0.5", .5), ("gate 1", 1), ("the edge x_j - x_i is multiplied by it, Eq. 7", None)]
    for words, value in legend:
        if value is not None:
            canvas.line([(x + 4, y), (x + 34, y)], BLUE, width(value))
        canvas.text(x + 44, y, words, 11.5)
        x += 108
    for x, ring, words in ((left + 12, False, "the node"), (left + 120, True, "the node, one of its own k: an edge of 0")):
        _node(canvas, x, y + 24, 4.6, ring)
        canvas.text(x + 16, y + 24, words + ", whose gate is not counted" * (ring and gate is not None), 11.5)
    return canvas.image()


def heat_overlays(rows: list[tuple[str, Tensor]], pictures: Tensor, captions: list[str], title: str = "",
                  note: str = "") -> Image.Image:
    """Maps laid over faces as heat: the faces, and below them a row a model; of one face, all in one row.

    rows       a name and maps (m, h, w) each, 0 or above
    pictures   (m, 3, S, S)   uint8
    captions   m of one or two lines each

    More than seven faces go on in further bands. Each map has a scale of its own, from 0 to its own most.
    """
    pictures = expect("pictures", pictures, (None, 3, *2 * pictures.shape[-1:]), torch.uint8)
    maps = [expect(f"the maps of {name}", v, (len(pictures), None, None)) for name, v in rows]
    m, side, gap = len(pictures), 118 if len(pictures) > 1 else 190, 14
    if len(captions) != m or not rows or min(v.min() for v in maps) < 0:
        raise ValueError(f"{len(captions)} captions, {len(rows)} rows of maps for {m} pictures; expected a caption a picture, "
                         "a row or more, and maps of 0 or above")
    names, bands = ["" if m > 1 else "the face", *(shortened(name, 12.5, 150) for name, _ in rows)], -(-m // 7)
    across, down = (-(-m // bands), len(names)) if m > 1 else (len(names), 1)
    left = 28 + (m > 1) * (14 + max(text_width(name, 12.5) for name in names))
    top = 30 + 28 * bool(title) + 22 * (m == 1)
    lines = ["colours: from 0 to the most of each map, each map on its own", *([note] if note else [])]
    wide = max([text_width(words, 11.5) + 102 for words in lines] + [1.05 * min(text_width(title, 17), 700)])
    high = down * (side + gap) + 42
    canvas = Canvas(max(left + across * (side + gap) - gap, 28 + wide) + 28, top + bands * high + 30 + 20 * len(lines))
    canvas.text(28, 26, shortened(title, 17, canvas.width - 56), 17, bold=True)
    shades = torch.tensor([heat(v / 255) for v in range(256)])                             # (256, 3)
    for n in range(m):
        x0, y0 = left + n % across * (side + gap), top + n // across * high
        face = F.interpolate(pictures[n:n + 1].double(), 2 * side, mode="bilinear", antialias=True)[0]        # (3, S', S')
        for r, name in enumerate(names):
            x, y = (x0, y0 + r * (side + gap)) if m > 1 else (x0 + r * (side + gap), y0)
            if m == 1:
                canvas.text(x, y - 15, name, 12.5, bold=True)
            elif n % across == 0:
                canvas.text(left - 14, y + side / 2, name, 12.5, anchor="rm", bold=True)
            laid, most = face, maps[r - 1][n].max() if r else 1
            if r:
                level = F.interpolate((maps[r - 1][n] / most.clamp(min=1e-12))[None, None], 2 * side, mode="bicubic")[0, 0]
                shade = shades[(255 * level.clamp(0, 1)).round().long()].movedim(-1, 0)    # (3, S', S')
                laid = .45 * face.mean(0) + .55 * shade
            canvas.picture(laid.round().byte(), x, y, side, side)
            if most == 0:
                canvas.text(x + side / 2, y + side / 2, "0 everywhere", 11.5, INK, "mm", halo=PAPER)
        for line, words in enumerate(captions[n].split("\n")[:2]):
            place, big = (x0 + side / 2, y0 + down * (side + gap) - gap + 12 + 15 * line), 11 - .5 * line
            canvas.text(*place, shortened(words, big, side + gap - 6), big, GREY if line else INK, "mm", bold=not line)
    for s in range(60):
        canvas.box(28 + 1.5 * s, canvas.height - 16 - 20 * len(lines), 1.5, 12, fill=heat(s / 59))
    for line, words in enumerate(lines):
        canvas.text(130, canvas.height - 10 + 20 * (line - len(lines)), words, 11.5, GREY if line else INK)
    return canvas.image()


def embeddings(panels: list[tuple[str, Tensor]], target: Tensor, names: Sequence[str], title: str = "") -> Image.Image:
    """The paper's Figure 7: faces as points of the plane, a panel a model, a colour a class, the same in all panels.

    panels   a name and points (n, 2) each; places have no unit, so the axes have no numbers
    target   (n,)   classes, −1 unknown
    """
    target = expect("target", target, (None,))
    n, C, side, gap, left, top = len(target), len(names), 330, 24, 28, 84
    if not ((target >= -1) & (target < C) & (target == target.round())).all() or not panels:
        raise ValueError(f"target goes from {target.min():g} to {target.max():g}, with {len(panels)} panels; expected classes "
                         f"from 0 to {C - 1} or -1 in whole numbers, and a panel or more")
    panels, kinds = [(name, expect(f"the points of {name}", v, (n, 2))) for name, v in panels], target.int().tolist()
    columns, r = 2 if len(panels) == 4 else min(len(panels), 3), 3.4 if n <= 300 else 2.5 if n <= 1000 else 1.8
    inks = [mix(CLASSES[c % 10], (0, 0, 0), min(.4 * (c // 10), .8)) for c in range(C)] + [UNKNOWN]     # after ten, darker
    known = [(shortened(name, 12, 130), c) for c, name in enumerate(names)] + [("unknown", -1)] * (-1 in kinds)
    right, room = left + columns * (side + gap) + 4, max(text_width(name, 12) for name, _ in known)
    step = min(24, side / len(known))
    canvas = Canvas(right + room + 96, top + -(-len(panels) // columns) * (side + 40))
    canvas.text(left, 28, shortened(title, 17, canvas.width - 2 * left), 17, bold=True)
    for p, (name, points) in enumerate(panels):
        x, y = left + p % columns * (side + gap), top + p // columns * (side + 40)
        canvas.text(x, y - 16, shortened(name, 13, side), 13, bold=True)
        canvas.box(x, y, side, side, outline=FAINT)
        low, high = points.amin(0), points.amax(0)                                         # (2,) each
        spots = ((points - (low + high) / 2) / (high - low).max().clamp(min=1e-12) * (side - 24)).tolist()
        for i in torch.randperm(n, generator=torch.Generator().manual_seed(0)).tolist():   # so that no class hides the others
            canvas.disc(x + side / 2 + spots[i][0], y + side / 2 - spots[i][1], r, inks[kinds[i]])
    for row, (name, c) in enumerate(known):
        y = top + step * (row + .5)
        canvas.disc(right + 6, y, min(5, .45 * step), inks[c])
        canvas.text(right + 20, y, name, min(12, step))
        canvas.text(right + room + 34, y, f"n = {kinds.count(c)}", min(11, step), GREY)
    return canvas.image()


def of_own(model: Face2Nodes, sample: Sample, inputs: tuple[Tensor, ...], p: Tensor) -> dict[str, Image.Image]:
    """One's own picture, as `prepare` gives it, with the probabilities p (C,) that the model gave it: name → picture."""
    names, name, most = list(model.cfg.classes), Path(sample.id).name, int(p.argmax())
    x = batched((inputs[0][None].float() / 255,), model.cfg)[0]                            # (1, 3, S, S)
    rows = [("Grad-CAM", grad_cam(model, x, torch.tensor([most]))), ("feature map", feature_map(nodes(model, x)))]
    title, note = f"Where {names[most]} is seen, {name}", f"Grad-CAM of the class that is called; {FEATURES}"
    return {"bars": bars(p.cpu(), names, None, name), **_graph(model, x, name),
            "cam": heat_overlays(rows, _bytes(x), [f"called {names[most]} {p[most]:.2f}"], title, note)}


def of_model(model: Face2Nodes) -> dict[str, Image.Image]:
    """Pictures of the network alone: none."""
    return {}


def of_rows(paper: ModuleType, rows: dict, cfg: Config) -> dict[str, Image.Image]:
    """Pictures of all predictions: the confusion matrix, which every paper of classes has, says it all."""
    return {}


def of_report(paper: ModuleType, model: Face2Nodes, samples: list[Sample], rows: dict,
              device: torch.device) -> dict[str, Image.Image]:
    """The pictures of a tested part: the first rightly called face of each class, and all faces in the plane.

    rows   the predictions of these samples, in their order

    A class of which none was called rightly shows its first face. The graph is of the one among them that was called rightly and
    most surely, or else of the surest.
    """
    names, target, predicted = list(model.cfg.classes), rows["target"], rows["predicted"]
    plane = _planes("tsne", paper, [("", model, samples, rows, device)])
    chosen = _one_of_each(target, predicted, len(names))
    if not chosen:
        return plane
    x, called = _inputs(paper, [samples[n] for n in chosen], model.cfg, device), predicted[chosen]
    sure = [rows[f"p_{names[c]}"][n].item() for n, c in zip(chosen, called.tolist(), strict=True)]
    captions = [f"{names[target[n]]}\ncalled {names[predicted[n]]} {v:.2f}" for n, v in zip(chosen, sure, strict=True)]
    best = int((torch.tensor(sure) + (called == target[chosen])).argmax())
    sample, one_each = samples[chosen[best]], "one face of each class"
    return _graph(model, x[best:best + 1], f"{names[target[chosen[best]]]}, {sample.id}") | {
        "cam": heat_overlays([("Grad-CAM", grad_cam(model, x, called))], _bytes(x), captions,
                             f"Where the called class is seen, {one_each}", CAM),
        "features": heat_overlays([("feature map", feature_map(nodes(model, x)))], _bytes(x), captions,
                                  f"Feature maps, {one_each}", FEATURES)} | plane


def of_beside(paper: ModuleType, seen: list[tuple[str, Face2Nodes, list[Sample], dict, torch.device]]) -> dict[str, Image.Image]:
    """Several runs, tested on the same samples, side by side: features in the plane, Grad-CAM.

    seen   title, model, samples, predictions and device of each, the run itself first

    The maps are of the true class for all, on the faces that the first run's report shows.
    """
    _, model, samples, rows, _ = seen[0]
    names, target, n = list(model.cfg.classes), rows["target"], len(seen)
    for title, other, its, *_ in seen:
        if fingerprint(its) != fingerprint(samples) or list(other.cfg.classes) != names:
            raise ValueError(f"{title} was tested on other samples or classes than {seen[0][0]}; expected the same, in order")
    chosen = _one_of_each(target, rows["predicted"], len(names))
    out = _planes("beside-tsne", paper, seen)
    if chosen:
        faces = [(_inputs(paper, [samples[k] for k in chosen], other.cfg, device), other) for _, other, _, _, device in seen]
        maps = [(title, grad_cam(other, x, target[chosen])) for (title, *_), (x, other) in zip(seen, faces, strict=True)]
        right = [sum(int(its["predicted"][k] == target[k]) for _, _, _, its, _ in seen) for k in chosen]
        captions = [f"{names[target[k]]}\ncalled so by {m} of {n}" for k, m in zip(chosen, right, strict=True)]
        title = "Where the true class is seen, one face of each class"
        out["beside-cam"] = heat_overlays(maps, _bytes(faces[0][0]), captions, title, CAM)
    return out


# Parts of these figures

def _node(canvas: Canvas, x: float, y: float, r: float, ring: bool) -> None:
    """The chosen node's disc, in a ring where it is one of its own neighbours."""
    canvas.disc(x, y, 1.9 * r if ring else r + 1, PAPER, ORANGE if ring else None, .35 * r)
    canvas.disc(x, y, r, ORANGE)


def _panel(canvas: Canvas, picture: Tensor, g: int, node: int, linked: dict[int, float], ring: bool,
           x: float, y: float, side: float) -> None:
    """One block's panel of neighbour_graph; linked: neighbour → width of its line, without the node itself."""
    cell = side / g
    at = {n: (x + (n % g + .5) * cell, y + (n // g + .5) * cell) for n in [*linked, node]}
    canvas.picture(picture, x, y, side, side, .35)
    for n, (u, v) in at.items():
        canvas.box(u - cell / 2, v - cell / 2, cell, cell, ORANGE if n == node else BLUE, opacity=.3)
    for s in range(g + 1):
        canvas.line([(x + s * cell, y), (x + s * cell, y + side)], FAINT, .5 if g < 20 else .25)
        canvas.line([(x, y + s * cell), (x + side, y + s * cell)], FAINT, .5 if g < 20 else .25)
    for j in sorted(linked, key=lambda j: -math.dist(at[j], at[node])):                    # short lines on top
        down, over = j // g - node // g, j % g - node % g
        steps = math.gcd(down, over)
        between = sum(node + s * (down // steps * g + over // steps) in linked for s in range(1, steps))
        ways = [bow(at[node], at[j], bend * .42 * cell * between, 12) for bend in (1, -1)]      # around those, inwards
        way = min(ways, key=lambda way: math.dist(way[6], (x + side / 2, y + side / 2))) if between else [at[node], at[j]]
        canvas.line(way, PAPER, linked[j] + 1.4)
        canvas.line(way, BLUE, linked[j])
    r = min(max(.3 * cell, 2.2), 5)
    _node(canvas, *at[node], r, ring)
    for j in linked:
        canvas.disc(*at[j], .75 * r + 1, PAPER)
        canvas.disc(*at[j], .75 * r, BLUE)


def _bytes(x: Tensor) -> Tensor:
    return (x.cpu().clamp(0, 1) * 255).round().byte()


def _inputs(paper: ModuleType, samples: list[Sample], cfg: Config, device: torch.device) -> Tensor:
    """What the network sees of the samples, (B, 3, S, S)."""
    pictures = torch.stack([paper.prepare(sample, cfg, None)[0] for sample in samples])    # (B, 3, s, s)
    return paper.batched((pictures.to(device).float() / 255,), cfg)[0]


def _graph(model: Face2Nodes, x: Tensor, name: str) -> dict[str, Image.Image]:
    """The graph of one face x (1, 3, S, S), where the model has blocks."""
    if not model.cfg.L:
        return {}
    with resting(model):
        index, gate = (v[:, 0] for v in model.graphs(x))                                   # (L, N, k) each
    node = default_node(model.cfg.N)
    return {"graph": neighbour_graph(_bytes(x)[0], index, gate if model.cfg.RG else None, node, model.cfg.dilations,
                                     f"Whom the node near the mouth listens to, {name}")}


def _one_of_each(target: Tensor, predicted: Tensor, C: int) -> list[int]:
    """The first rightly called sample of each class, or else its first; none for a class without samples."""
    score = (target == torch.arange(C)[:, None]) * (1 + (predicted == target).int())       # (C, n)   0 another class, 2 right
    return [int(row.argmax()) for row in score if row.any()]                               # the first of the highest


def _planes(key: str, paper: ModuleType, seen: list[tuple]) -> dict[str, Image.Image]:
    """Each run's features, the means of its nodes, in the plane; of MOST samples at most, every so-many-th; seen as in of_beside."""
    _, _, samples, rows, _ = seen[0]
    some, panels = range(0, len(samples), -(-len(samples) // MOST) or 1), []
    if len(some) < 4:
        return {}
    for title, model, _, _, device in seen:
        parts = [[samples[n] for n in some[a:a + AT_ONCE]] for a in range(0, len(some), AT_ONCE)]
        X = torch.cat([nodes(model, _inputs(paper, part, model.cfg, device)).mean(1) for part in parts])         # (n, D)
        panels.append((title, tsne(X)))
    title = f"The features of {len(some)} tested faces, t-SNE"
    return {key: embeddings(panels, rows["target"][list(some)], model.cfg.classes, title)}


def main(argv: Sequence[str]) -> int:
    """Draw which patches of a drawn face are nearest in mean colour to the one at the mouth; returns the exit status."""
    if len(argv) != 1 or argv[0].startswith("-"):
        print("usage: python -m refnet.figures.face2nodes OUT.png", file=sys.stderr)
        return 2
    C, g, k, dilation = len(EXPRESSIONS), 14, 9, (1, 2, 3, 4)
    faces = plan(C, 1, seed=4, subjects=1, expressions=C, pose=.2, occlusion=0)
    x = draw(faces[EXPRESSIONS.index("happiness"):][:1], 224)[0][:, 0]                     # (1, 3, S, S)
    colours = F.adaptive_avg_pool2d(x, g).flatten(2).mT                                    # (1, N, 3)
    index = torch.stack([dilated_knn(colours, k, d)[0] for d in dilation])                 # (L, N, k)
    far = (colours[0][index] - colours[0][:, None]).norm(dim=-1)                           # (L, N, k)
    image = neighbour_graph(_bytes(x)[0], index, torch.exp(-8 * far), default_node(g * g), dilation,
                            "Patches nearest in mean colour, at four dilations; gate = exp(-8 x distance), untrained")
    try:
        write_picture(image, argv[0])
    except PictureError as error:
        print(error, file=sys.stderr)
        return 2
    print(argv[0])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
