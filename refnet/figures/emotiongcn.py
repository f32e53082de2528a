"""Emotion-GCN's own figures: expressions among valence and arousal, who is linked to whom, what was learned, what is called.

    plane(panels, names)                     faces among valence and arousal, a colour a class           Fig. 1
    adjacency(A, names)                      the graph of expressions, valence and arousal               Fig. 3, Eq. 6
    predictions(pictures, columns, right)    faces, what they show, what each model says                 Fig. 5
    similarity(parts)                        how alike classifiers and regressors are                    Fig. 6
    card(picture, p, names, va)              one's own face: its classes, its place in the plane

`python -m refnet.figures.emotiongcn OUT.png` draws the second, of AffectNet's correlations as its authors give them.

Valence and arousal that are not given are −2 in tensors, NaN in `predictions`. Wrong shapes and values are refused by ValueError.
"""
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType

import torch
from PIL import Image
from torch import Tensor

from refnet.data.samples import Sample, fingerprint
from refnet.figures.canvas import (BLUE, FAINT, GREEN, GREY, INK, ORANGE, PAPER, RED, Canvas, Colour, bow, expect, heat, mix,
                                   readable_on, shortened, text_width)
from refnet.figures.charts import bars_width, draw_bars
from refnet.figures.face2nodes import CLASSES, UNKNOWN
from refnet.figures.maps import resting
from refnet.graphs.emotions import AFFECTNET, emotion_graph
from refnet.models.emotiongcn import Config, EmotionGCN, batched
from refnet.pictures import PictureError, write_picture

DIMENSIONS, INKS = ("valence", "arousal"), (*CLASSES, UNKNOWN)                             # the last for −1
SHEET, WIDE = 12, 8                                   # faces on a sheet of predictions; points that an edge of weight 1 is wide
ROUND = ((1, 0), (-1, 0), (.3, -1), (.3, 1), (-.3, -1), (-.3, 1), (.9, .6), (.9, -.6), (-.9, .6), (-.9, -.6))


def plane(panels: list[tuple[str, Tensor, Tensor]], names: Sequence[str], title: str = "") -> Image.Image:
    """The paper's Figure 1: faces as points of the plane of valence and arousal, and the mean of every class.

    panels   a name, va (n, 2) and expression (n,), −1 unknown, each; all on the same scale
    """
    C, side, left, top = len(names), 400, 88, 92
    if not panels or not 0 < C <= len(CLASSES):
        raise ValueError(f"there are {len(panels)} panels and {C} classes; expected a panel or more, and 1 to {len(CLASSES)} classes")
    panels = [(name, *_given(name, va, expression, C)) for name, va, expression in panels]
    labels = [shortened(name, 12, 130) for name in names] + ["unknown"] * any((kind < 0).any() for _, _, kind, _ in panels)
    right, room = left + len(panels) * (side + 72) - 42, max(text_width(label, 12) for label in labels)
    canvas = Canvas(right + room + 40 + 66 * len(panels), top + side + 84)
    canvas.text(28, 28, shortened(title, 17, canvas.width - 56), 17, bold=True)
    for k, (name, va, kind, left_out) in enumerate(panels):
        x, column, n, kinds = left + k * (side + 72), right + room + 76 + 66 * k, len(kind), kind.tolist()
        place, r, beyond = _axes(canvas, x, top, side), 3.2 if n <= 300 else 2.5 if n <= 1000 else 1.9, int((va.abs() > 1).any(1).sum())
        for i in torch.randperm(n, generator=torch.Generator().manual_seed(0)).tolist():   # so that no class hides the others
            canvas.disc(*place(*va[i].tolist()), r, mix(INKS[kinds[i]], PAPER, .25))
        means = {c: place(*va[kind == c].mean(0).tolist()) for c in range(C) if c in kinds}
        for c, spot in means.items():
            canvas.disc(*spot, 9, PAPER)
            canvas.disc(*spot, 7.5, INKS[c], INK, 1.5)
        _call(canvas, [(*spot, labels[c]) for c, spot in means.items()], x, top, side)
        canvas.text(x, top - 18, shortened(name, 13, side), 13, bold=True)
        canvas.text(column, top - 18, shortened(name if len(panels) > 1 else "faces", 10.5, 62), 10.5, GREY, "rm")
        notes = f", {left_out} without values left out" * (left_out > 0) + f", {beyond} beyond 1 put at the rim" * (beyond > 0)
        canvas.text(x, top + side + 60, f"{n} faces{notes}", 11.5, GREY)
        for row in range(len(labels)):
            canvas.text(column, top + 13 + 26 * row, f"n = {kinds.count(row if row < C else -1)}", 11, GREY, "rm")
    for row, label in enumerate(labels):
        canvas.disc(right + 6, top + 13 + 26 * row, 5.5, INKS[row if row < C else -1])
        canvas.text(right + 20, top + 13 + 26 * row, label, 12)
    canvas.disc(right + 6, top + side - 8, 5.5, PAPER, INK, 1.5)
    canvas.text(right + 20, top + side - 8, "mean of a class", 11)
    return canvas.image()


def adjacency(A: Tensor, names: Sequence[str], title: str = "", note: str = "") -> Image.Image:
    """The paper's Figure 3: the adjacency matrix, and the same graph drawn.

    A       (n, n)   what node i (row) receives from node j (column), 0 or above
    names   n nodes: the expressions, then valence and arousal
    """
    C, cell, top = len(names) - 2, 46, 78
    if C < 1 or tuple(names[C:]) != DIMENSIONS:
        raise ValueError(f"names are {', '.join(names)}; expected one expression or more, then valence and arousal")
    A = expect("A", A, (C + 2, C + 2))
    if A.min() < 0:
        raise ValueError(f"A goes from {A.min():.4g} to {A.max():.4g}; expected weights of 0 or above")
    most, weights, room, high = max(A.max().item(), 1), A.tolist(), _room(names), (C + 2) * cell
    pill, left, tall = max(room + 24, 84), 36 + room, min(high / 2 - 16, 28 * C + 12)
    graph = left + high + 56 + (12 + 9 * C) * bool(A[:C, :C].count_nonzero() > A[:C, :C].diagonal().count_nonzero())
    far = graph + pill + 200                                             # the left rim of valence and arousal
    canvas = Canvas(far + pill + 28, top + high + room + 42 + 22 * bool(note))
    canvas.text(28, 28, shortened(title, 17, canvas.width - 56), 17, bold=True)
    canvas.text(left, top - 18, "rows receive: the node of the row from that of the column", 11.5, GREY)
    _matrix(canvas, left, top, cell, A, names, lambda v: heat(v / most) if v else PAPER, lambda v: f"{v:.2f}" if v else "")
    y = [top + (k + .5) * high / C for k in range(C)] + [top + high / 4, top + 3 * high / 4]
    edges = [(weights[i][j], i, j) for i in range(C + 2) for j in range(C + 2) if i != j and weights[i][j]]
    for weight, i, j in sorted(edges, reverse=True):                     # thin ones on top
        e, d = min(i, j), max(i, j)
        if e < C <= d:                                                   # of two lines the upper one is to the right
            ends = (graph + pill, y[e] + 18 * (d - C) - 4.5 - 9 * (i == d)), (far, y[d] + tall * ((e + .5 + .5 * (i == e)) / (C + .5) - .5))
            way = ends if i == d else ends[::-1]
        elif d < C:                                                      # around the outside
            turn = 1 if i == d else -1
            way = bow((graph, y[j] + 3 * turn), (graph, y[i] + 3 * turn), -turn * (6 + 9 * (d - e) + 2 * turn))
        else:
            way = [(far + pill * (.4 if i == d else .6), y[k] + tall / 2 * (1 if k == C else -1)) for k in (j, i)]
        canvas.line(way, PAPER, WIDE * weight / most + 2)
        canvas.arrow(way, ORANGE if i >= C else BLUE, max(WIDE * weight / most, .8))
    for i, name in enumerate(names):
        x, h, ink = (far, tall, ORANGE) if i >= C else (graph, 36, BLUE)
        canvas.box(x, y[i] - h / 2, pill, h, (246, 247, 250), ink, max(WIDE * weights[i][i] / most, .8), 6)
        canvas.text(x + pill / 2, y[i], shortened(name, 12, pill - 18), 12, anchor="mm", bold=True)
    for k, (ink, words) in enumerate(((BLUE, "what an expression receives"), (ORANGE, "what valence or arousal receives"))):
        canvas.arrow([(graph, top + high + 22 + 20 * k), (graph + 34, top + high + 22 + 20 * k)], ink, 2.4)
        canvas.text(graph + 44, top + high + 22 + 20 * k, words, 11.5)
    canvas.text(graph, top + high + 62, "as wide as its weight; a node's frame: what it keeps", 11.5, GREY)
    canvas.text(28, canvas.height - 18, shortened(note, 11.5, canvas.width - 56), 11.5, GREY)
    return canvas.image()


def predictions(pictures: Tensor, columns: list[tuple[str, list[tuple[str, float, float]]]], right: list[list[bool | None]],
                title: str = "", names: Sequence[str] = ()) -> Image.Image:
    """The paper's Figure 5: a row a face, its picture, then what it shows or what a model says of it, a column each.

    pictures   (m, 3, S, S)   uint8, at most 12
    columns    a name and m of (expression, valence, arousal) each; "" and NaN are not known, and written as a dash
    right      for each column and face: True called rightly, green; False wrongly, red; None neither
    names      m names, written below the pictures, or none
    """
    pictures = expect("pictures", pictures, (None, 3, *2 * pictures.shape[-1:]), torch.uint8)
    m, side, lengths = len(pictures), 92, [[len(said) for _, said in columns], [len(some) for some in right]]
    if m > SHEET or not columns or lengths != [[m] * len(columns)] * 2 or len(names) not in (0, m):
        raise ValueError(f"{m} pictures, columns of {lengths[0]}, right of {lengths[1]} and {len(names)} names; expected at most "
                         f"{SHEET} pictures, and as many in every column, in right of every column, and in names if there are any")
    if any(math.isinf(v) for _, said in columns for _, *va in said for v in va):
        raise ValueError("valence or arousal is infinite; expected numbers, or NaN where they are not known")
    wide = min(max(104, *(text_width(name, 12) for name, _ in columns)), 190) + 16
    rows, high, band = -(-m // 2) if m > 3 else m, side + 16 + 14 * bool(names), side + 18 + wide * len(columns)
    words = "V: valence, A: arousal, -: not known; an expression in green is called rightly, in red wrongly"
    top, wants = 40 + 34 * bool(title), max(text_width(words, 11.5), min(1.05 * text_width(title, 17), 800))
    canvas = Canvas(56 + max(-(-m // rows) * (band + 30) - 30, wants), top + rows * high + 54)
    canvas.text(28, 28, shortened(title, 17, canvas.width - 56), 17, bold=True)
    for n in range(m):
        x, y = 28 + n // rows * (band + 30), top + 14 + n % rows * high
        canvas.picture(pictures[n], x, y, side, side)
        canvas.text(x + side / 2, y + side + 9, shortened(names[n], 10, side + 12) if names else "", 10, GREY, "mm")
        for c, (name, said) in enumerate(columns):
            u, ink = x + side + 18 + c * wide, {True: GREEN, False: RED, None: INK}[right[c][n]]
            canvas.text(u, top - 4, shortened(name, 12, wide - 16) if n % rows == 0 else "", 12, bold=True)
            canvas.text(u, y + 22, shortened(said[n][0] or "-", 12.5, wide - 16), 12.5, ink, bold=right[c][n] is not None)
            for line, (letter, v) in enumerate(zip("VA", said[n][1:], strict=True)):
                canvas.text(u, y + 44 + 20 * line, f"{letter}: {'-' if math.isnan(v) else _number(v)}", 12)
        canvas.line([(x, y + high - 8), (x + band, y + high - 8)], FAINT, .75)
    canvas.text(28, canvas.height - 20, words, 11.5, GREY)
    return canvas.image()


def cosine(W: Tensor) -> Tensor:
    """The cosine of the angle between every two rows: W (n, D) → (n, n) in [−1, 1]; 0 with a row of zeros, its own too."""
    W = expect("W", W, (None, None))
    length = W.norm(dim=1, keepdim=True)                                                   # (n, 1)
    W = W / length.where(length > 0, 1)
    return (W @ W.mT).clamp(-1, 1)


def similarity(parts: list[tuple[str, Tensor, Sequence[str]]], title: str = "") -> Image.Image:
    """The paper's Figure 6: how alike the vectors are that call expressions, valence and arousal, a panel a model.

    parts   a name, W (n, D) and the names of its n rows each
    """
    if not parts:
        raise ValueError("there are no models; expected a name, vectors and the names of their rows, one or more")
    parts = [(name, cosine(expect(f"W of {name}", W, (max(len(rows), 1), None))), rows) for name, W, rows in parts]
    cell, columns, room = 38, 2 if len(parts) == 4 else min(len(parts), 3), max(_room(rows) for *_, rows in parts)
    size, top = room + cell * max(len(rows) for *_, rows in parts), 58 + 18 * any(name for name, *_ in parts)
    canvas = Canvas(max(48 + columns * (size + 28), 466), top + -(-len(parts) // columns) * (size + 54) + 20)
    canvas.text(28, 28, shortened(title, 17, canvas.width - 56), 17, bold=True)
    for k, (name, found, rows) in enumerate(parts):
        x, y = 28 + k % columns * (size + 28), top + k // columns * (size + 54)
        canvas.text(x, y - 16, shortened(name, 13, size), 13, bold=True)
        _matrix(canvas, x + room + 8, y, cell, found, rows, _signed, _number)
    for s in range(100):
        canvas.box(48 + s, canvas.height - 26, 1, 12, _signed(s / 49.5 - 1))
    for x, words in ((30, "-1"), (154, "1"), (176, "cosine of the vectors that features are multiplied by")):
        canvas.text(x, canvas.height - 20, words, 11.5, GREY)
    return canvas.image()


def card(picture: Tensor, p: Tensor, names: Sequence[str], va: Tensor | None, title: str = "") -> Image.Image:
    """One's own face: the picture, the probability of each class, and where it lies in the plane of valence and arousal.

    picture   (3, S, S)   uint8
    p         (C,)        probabilities; none, (0,), where the model calls no expressions
    va        (2,)        valence and arousal; None where the model does not say
    """
    picture, side, left, top = expect("picture", picture, (3, *2 * picture.shape[-1:]), torch.uint8), 230, 28, 62
    va = None if va is None else expect("va", va, (2,)).tolist()
    bars = bars_width(list(names)) if len(p) else 0
    wide, high = left + side + (34 + bars) * bool(len(p)) + (92 + side) * (va is not None) + 28, max(side, 26 * len(p))
    canvas = Canvas(max(wide, 420), top + max(high, side + 76 * (va is not None)) + 24)
    canvas.text(left, 28, shortened(title, 17, canvas.width - 2 * left), 17, bold=True)
    canvas.picture(picture, left, top, side, side)
    if len(p):
        draw_bars(canvas, left + side + 34, top, bars, high, expect("p", p, (len(names),)), list(names))
    if va is not None:
        place, beyond = _axes(canvas, wide - 28 - side, top, side), ", at the rim" if max(map(abs, va)) > 1 else ""
        canvas.line([place(0, 0), place(*va)], BLUE, 1.4, dash=4)
        canvas.disc(*place(*va), 6.5, BLUE, PAPER, 1.2)
        words = f"valence {_number(va[0])}, arousal {_number(va[1])}{beyond}"
        canvas.text(wide - 28 - side / 2, top + side + 62, words, 12.5, INK, "mm", bold=True)
    return canvas.image()


def of_model(model: EmotionGCN) -> dict[str, Image.Image]:
    """What is seen of a model alone: its graph, where it has one, and how alike its classifiers and regressors are."""
    out, cfg = {"similarity": similarity([("", model.W(), model.cfg.names)], "How alike the learned vectors are")}, model.cfg
    if model.A is not None:
        A, note = (model.A.mT, ", transposed") if cfg.transposed else (model.A, "")
        title, note = "The graph of expressions, valence and arousal", f"tau = {cfg.tau:g}, p = {cfg.p:g}{note}"
        out["adjacency"] = adjacency(A, cfg.names, title, note)
    return out


def of_own(model: EmotionGCN, sample: Sample, inputs: tuple[Tensor, ...], p: Tensor) -> dict[str, Image.Image]:
    """One's own picture, as `prepare` gives it, with the probabilities p (C,) that the model gave it: name → picture."""
    with resting(model):
        out = model(batched((inputs[0][None].float() / 255,), model.cfg)[0])[0]            # (n,)
    va = None if model.cfg.tasks == "expression" else out[-2:]
    return {"prediction": card(inputs[0], p, model.cfg.classes, va, Path(sample.id).name)}


def of_rows(paper: ModuleType, rows: dict, cfg: Config) -> dict[str, Image.Image]:
    """All faces in the plane, where they are and where they are seen, coloured by what they are and by what they are called."""
    if not {"target_valence", "predicted_valence"} <= set(rows):
        return {}
    panels = [(name, _va(rows, of), rows.get(of, torch.full_like(rows["target_valence"], -1)))
              for name, of in (("targets", "target"), ("predictions", "predicted"))]
    return {"plane": plane(panels, cfg.classes, "The tested faces among valence and arousal")}


def of_report(paper: ModuleType, model: EmotionGCN, samples: list[Sample], rows: dict,
              device: torch.device) -> dict[str, Image.Image]:
    """The pictures of a tested part: of each class the first face that was called rightly, then those called wrongly, in order.

    rows   the predictions of these samples, in their order

    Of a model that calls no expressions: the first face of each class, then the others, in order.
    """
    target, called, C = _shown(samples), rows.get("predicted"), len(model.cfg.classes)
    good = target >= 0 if called is None else target == called                             # (n,)
    first = [int(hit.int().argmax()) for hit in (good & (target == c) for c in range(C)) if hit.any()]
    rest = torch.ones_like(good) if called is None else ~good & (target >= 0)              # (n,)
    chosen = (first + [k for k in rest.nonzero()[:, 0].tolist() if k not in first])[:SHEET]
    title = "The first face of each class" + (", then others" if called is None else " called rightly, then some called wrongly")
    out = {"predictions": _sheet(paper, [("called", model, samples, rows, device)], chosen, title)} if chosen else {}
    return out | of_model(model)


def of_beside(paper: ModuleType, seen: list[tuple[str, EmotionGCN, list[Sample], dict, torch.device]]) -> dict[str, Image.Image]:
    """Several runs, tested on the same samples, side by side: their vectors, and faces that tell the first two apart.

    seen   title, model, samples, predictions and device of each, two or more, the run itself first; a run of expressions alone and
           one of valence and arousal alone share a panel, as in Figure 6

    As the paper's Figure 5: of the third of the faces whose valence and arousal the first two predict most alike, four that the
    first calls rightly and the second wrongly, and two the other way round. Where one of them predicts neither, of all faces.
    """
    (title, model, samples, ours, _), (_, _, _, theirs, _) = seen[:2]
    for other, its_model, its, *_ in seen:
        if fingerprint(its) != fingerprint(samples) or its_model.cfg.classes != model.cfg.classes:
            raise ValueError(f"{other} was tested on other samples or classes than {title}; expected the same, in order")
    vectors = [(name, net.W(), net.cfg.names) for name, net, *_ in seen]
    alone = {net.cfg.tasks: n for n, (_, net, *_) in enumerate(seen) if net.cfg.tasks != "both"}
    if len(alone) == 2 and vectors[alone["expression"]][1].shape[1] == vectors[alone["va"]][1].shape[1]:     # two networks, as one
        (_, W_c, C), (_, W_r, dims) = (vectors[alone[task]] for task in ("expression", "va"))
        vectors = [v for n, v in enumerate(vectors) if n not in alone.values()] + [("single-task networks", torch.cat([W_c, W_r]), C + dims)]
    out = {"beside-similarity": similarity(vectors, "How alike the learned vectors are")}
    order, words = torch.arange(len(samples)), "Faces that the first two models call differently"
    if "predicted_valence" in ours and "predicted_valence" in theirs:
        apart = (_va(ours, "predicted") - _va(theirs, "predicted")).norm(dim=1)            # (n,)
        order, words = apart.argsort(stable=True)[:-(-len(samples) // 3)], f"{words}, of the third nearest in valence and arousal"
    if "predicted" in ours and "predicted" in theirs:
        mine, its = ((rows["predicted"] == _shown(samples))[order] for rows in (ours, theirs))
        if chosen := [*order[mine & ~its][:4].tolist(), *order[its & ~mine][:2].tolist()]:
            out["beside-predictions"] = _sheet(paper, seen, chosen, words)
    return out


# Parts of these figures

def _given(name: str, va: Tensor, expression: Tensor, C: int) -> tuple[Tensor, Tensor, int]:
    """Those faces whose va (n, 2) is given, their expression (n,), and how many others there are."""
    expression = expect(f"the expressions of {name}", expression, (None,))
    va = expect(f"va of {name}", va, (len(expression), 2))
    fit = (expression >= -1) & (expression < C) & (expression == expression.round())
    if not fit.all():
        raise ValueError(f"an expression of {name} is {expression[~fit][0]:g}; expected whole numbers from 0 to {C - 1}, or -1")
    given = (va != -2).all(1)                                                              # (n,)
    return va[given], expression[given].int(), int((~given).sum())


def _axes(canvas: Canvas, x: float, y: float, side: float) -> Callable[[float, float], tuple[float, float]]:
    """The plane's frame in a square, words to its left and below; gives where a valence and an arousal lie, at most at its rim."""
    half = side / 2 / 1.1

    def place(v: float, a: float) -> tuple[float, float]:
        return x + side / 2 + min(max(v, -1.04), 1.04) * half, y + side / 2 - min(max(a, -1.04), 1.04) * half

    canvas.box(x, y, side, side, outline=FAINT)
    canvas.disc(x + side / 2, y + side / 2, half, outline=FAINT, width=1.2)
    canvas.line([(x, y + side / 2), (x + side, y + side / 2)], FAINT, 1.2)
    canvas.line([(x + side / 2, y), (x + side / 2, y + side)], FAINT, 1.2)
    for v in (-1, -.5, 0, .5, 1):
        u, w = place(v, v)
        canvas.line([(u, y + side), (u, y + side + 4)], GREY, .75)
        canvas.line([(x - 4, w), (x, w)], GREY, .75)
        canvas.text(u, y + side + 6, f"{v:g}", 10, GREY, "mt")
        canvas.text(x - 7, w, f"{v:g}", 10, GREY, "rm")
    canvas.text(x + side / 2, y + side + 34, "valence", 12.5, INK, "mm")
    canvas.text(x - 44, y + side / 2, "arousal", 12.5, INK, "mm", upright=True)
    return place


def _call(canvas: Canvas, labels: list[tuple[float, float, str]], x: float, y: float, side: float) -> None:
    """Write a name beside each disc (u, v), where no other disc or name is, or further off at the end of a line; within a square."""
    taken, places = [(u - 10, v - 10, u + 10, v + 10) for u, v, _ in labels], []
    for u, v, words in labels:
        w = text_width(words, 12) / 2 + 2
        tries = [(u + over * (r + w), v + down * r) for r in (14, 26, 40, 56, 74, 94, 118, 144, 172) for over, down in ROUND]
        tries = [(a, b) for a, b in tries if x + w < a < x + side - w and y + 10 < b < y + side - 10]
        free = [(a, b) for a, b in tries if all(p > a + w or r < a - w or q > b + 8 or s < b - 8 for p, q, r, s in taken)]
        a, b = (free or tries)[0]
        taken.append((a - w, b - 8, a + w, b + 8))
        places.append((a, b, words))
        if math.dist((a, b), (u, v)) > 18 + w:
            canvas.line([(u, v), (min(max(u, a - w), a + w), b)], INK, .8)
    for a, b, words in places:                                                             # on top of the lines
        canvas.text(a, b, words, 12, INK, "mm", bold=True, halo=PAPER)


def _matrix(canvas: Canvas, x: float, y: float, cell: float, values: Tensor, names: Sequence[str], colour: Callable[[float], Colour],
            words: Callable[[float], str]) -> None:
    """Cells from (x, y), names to their left and below, and lines between the expressions and valence and arousal."""
    n, C = len(names) * cell, sum(name not in DIMENSIONS for name in names) * cell
    for i, name in enumerate(names):
        canvas.text(x - 8, y + (i + .5) * cell, shortened(name, 12, 110), 12, anchor="rm")
        canvas.text(x + (i + .5) * cell, y + n + 8, shortened(name, 12, 110), 12, anchor="mt", upright=True)
        for j, value in enumerate(values[i].tolist()):
            canvas.box(x + j * cell, y + i * cell, cell, cell, colour(value), FAINT, .5)
            canvas.text(x + (j + .5) * cell, y + (i + .5) * cell, words(value), .27 * cell, readable_on(colour(value)), "mm")
    canvas.box(x, y, n, n, outline=GREY, width=.75)
    if 0 < C < n:
        canvas.line([(x + C, y), (x + C, y + n)], INK, 2)
        canvas.line([(x, y + C), (x + n, y + C)], INK, 2)


def _room(names: Sequence[str]) -> float:
    """How many points the longest name of a matrix takes."""
    return max(text_width(shortened(name, 12, 110), 12) for name in names)


def _signed(value: float) -> Colour:
    """Blue above 0, red below, the paler the nearer."""
    return mix(PAPER, BLUE if value > 0 else RED, abs(value))


def _number(v: float) -> str:
    """Two places, and no minus before 0.00."""
    return f"{round(v, 2) + 0.0:.2f}"


def _va(rows: dict, of: str) -> Tensor:
    """Valence and arousal (n, 2), targets or predicted."""
    return torch.stack([rows[f"{of}_{name}"] for name in DIMENSIONS], 1)


def _shown(samples: list[Sample]) -> Tensor:
    """What the faces show, (n,), −1 unknown."""
    return torch.tensor([sample.target.get("expression", -1) for sample in samples])


def _sheet(paper: ModuleType, seen: list[tuple], chosen: list[int], title: str) -> Image.Image:
    """The chosen faces, what they show, and what each model says; seen as in of_beside."""
    _, model, samples, _, _ = seen[0]
    some, names = [samples[k] for k in chosen], (*model.cfg.classes, "")                   # the last for −1
    truth = [(names[s.target.get("expression", -1)], *(math.nan if v == -2 else v for v in s.target.get("va", (-2, -2)))) for s in some]
    columns, right = [("ground truth", truth)], [[None] * len(some)]
    for name, _, _, rows, _ in seen:
        called = rows["predicted"][chosen].tolist() if "predicted" in rows else [-1] * len(some)
        va = _va(rows, "predicted")[chosen].tolist() if "predicted_valence" in rows else [(math.nan, math.nan)] * len(some)
        columns.append((name, [(names[c], *v) for c, v in zip(called, va, strict=True)]))
        right.append([names[c] == shown if shown and names[c] else None for c, (shown, *_) in zip(called, truth, strict=True)])
    pictures = torch.stack([paper.prepare(sample, model.cfg, None)[0] for sample in some])  # (m, 3, s, s)
    return predictions(pictures, columns, right, title, [s.id for s in some])


def main(argv: Sequence[str]) -> int:
    """Draw the graph of AffectNet's correlations as the paper sets it up; returns the exit status."""
    if len(argv) != 1 or argv[0].startswith("-"):
        print("usage: python -m refnet.figures.emotiongcn OUT.png", file=sys.stderr)
        return 2
    note = "edges: Spearman's correlation is 0.1 or more, of either sign; 0.7 of each node comes from its neighbours"
    image = adjacency(emotion_graph(AFFECTNET, 7), Config().names, "The graph of AffectNet's training labels", note)
    try:
        write_picture(image, argv[0])
    except PictureError as error:
        print(error, file=sys.stderr)
        return 2
    print(argv[0])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
