"""ARPGNet's own figures, from plain tensors: the face graph, the attention over time and over the face, predictions.

    figure_2(A, P=6, node=8)                   the face graph: who node 8 listens to
    figure_5(beta, frames, t=10, TRS=3)        attention to and from frame 10 of the relation sequence
    figure_6(beta)                             how much attention each frame is given
    figure_7(beta_face, picture, P=6, node=8)  attention to and from region 8
    figure_8(samples)                          frames, probabilities, right or wrong
    of_clip(model, clip), of_report(...)       all that a trained model can show of a clip, of a tested part

`python -m refnet.figures.arpgnet OUT.png` draws Figure 2.

Nodes, regions and frames count from 1, as in the paper. beta[i, j] is the page's β_ij, averaged over the heads: how much of
node j node i takes in. Its rows sum to 1, so what goes *out* of a node is read from its column.
"""
import math
import sys
from pathlib import Path
from types import ModuleType

import torch
from PIL import Image
from torch import Tensor

from refnet.data.samples import Sample
from refnet.figures.canvas import (BLUE, FAINT, GREEN, GREY, INK, ORANGE, PAPER, RED, Canvas, Colour, bow, clear_of, heat, mix,
                                   readable_on, shortened, text_width)
from refnet.figures.charts import bars_width, curves, draw_bars
from refnet.graphs.face_grid import face_grid
from refnet.models.arpgnet import ARPGNet, look
from refnet.pictures import fit, write_picture

STRIP = 6                                             # frames that figure_8 shows of a clip


def figure_2(A: Tensor, P: int, node: int, picture: Tensor | None = None) -> Image.Image:
    """The paper's Figure 2: the patches of the face, a node's neighbours, and the same row in the adjacency matrix.

    A        (P², P²)    Eq. 1
    node     counted from 1, in reading order
    picture  (3, H, W)   uint8, lies under the patches; without it a face is drawn

    The connection with itself is omitted on the face, as in the paper, and grey in the matrix.
    """
    _check(A, P * P, "A", node)
    A = A.detach().cpu()
    side, left, top = 372, 28, 84
    right = left + side + 92
    canvas = Canvas(right + side + 28, top + side + 66)
    near = [j for j in range(1, P * P + 1) if A[node - 1, j - 1] != 0]
    canvas.text(left, 28, f"Node {node} and its neighbours", 17, bold=True)
    others = _listing([j for j in near if j != node])
    canvas.text(left, 52, f"The face in {P} x {P} patches. Node {node} is connected to {others}.", 12, GREY)
    canvas.text(right, 28, "The same graph as a matrix", 17, bold=True)
    canvas.text(right, 52, shortened(f"A, {P * P} x {P * P}. Row {node} has a 1 at {_listing(near)}.", 12, side), 12, GREY)

    cell = side / P
    _face(canvas, left, top, side, picture, fade=0.22)
    for j in near:                                                                         # the patches that take part
        x, y = _corner(j, P, left, top, cell)
        canvas.box(x, y, cell, cell, fill=_kind(node, j, P)[1], opacity=0.30)
    _lattice(canvas, left, top, side, P)
    r = min(0.27 * cell, 17)
    for j in range(1, P * P + 1):
        if j not in near and j != node:
            canvas.text(*_centre(j, P, left, top, cell), str(j), min(11, 0.3 * cell), mix(GREY, INK, 0.4), "mm", halo=PAPER)
    here = _centre(node, P, left, top, cell)
    for j in near:
        if j != node:
            there, colour = _centre(j, P, left, top, cell), _kind(node, j, P)[1]
            far = math.dist(here, there)
            bend = 0 if far < 1.5 * cell else math.copysign(0.40 * cell, there[0] - here[0])
            way = clear_of(bow(here, there, bend), r, r)
            canvas.line(way, PAPER, 7)
            canvas.line(way, colour, 4)
    for j in [*near, node]:
        x, y = _centre(j, P, left, top, cell)
        main, colour = j == node, INK if j == node else _kind(node, j, P)[1]
        canvas.disc(x, y, r + (3 if main else 1.5), PAPER)
        canvas.disc(x, y, r + (1.5 if main else 0), colour)
        canvas.text(x, y, str(j), min(14, 0.95 * r), PAPER, "mm", bold=True)

    dot = side / (P * P)
    for i in range(1, P * P + 1):
        for j in range(1, P * P + 1):
            x, y = right + (j - 1) * dot, top + (i - 1) * dot
            if A[i - 1, j - 1] != 0:
                colour = _kind(i, j, P)[1]
                canvas.box(x, y, dot, dot, fill=colour if i == node else mix(colour, PAPER, 0.55))
            else:
                canvas.box(x, y, dot, dot, fill=(246, 247, 249) if i != node else (226, 229, 235))
    for k in range(P + 1):
        spot = k * P * dot
        canvas.line([(right + spot, top), (right + spot, top + side)], mix(FAINT, GREY, 0.3), 0.6)
        canvas.line([(right, top + spot), (right + side, top + spot)], mix(FAINT, GREY, 0.3), 0.6)
    y = top + (node - 1) * dot
    canvas.box(right - 2, y - 2, side + 4, dot + 4, outline=INK, width=1.75)
    canvas.text(right - 8, y + dot / 2, f"i = {node}", 12, INK, "rm", bold=True)
    for i in {1, P * P} - {node}:
        if abs(i - node) * dot > 12:
            canvas.text(right - 8, top + (i - 0.5) * dot, f"i = {i}" if i == 1 else str(i), 10, GREY, "rm")
    for j in range(P, P * P + 1, P):
        canvas.text(right + (j - 0.5) * dot, top + side + 10, str(j), 9.5, GREY, "mm")
    canvas.text(right - 8, top + side + 10, "j =", 9.5, GREY, "rm")

    y, x = top + side + 42, left
    for colour, words in ((BLUE, "adjacent"), (ORANGE, "symmetrical"), (GREY, "itself")):
        canvas.disc(x + 6, y, 6, colour)
        canvas.text(x + 18, y, words, 12)
        x += 18 + text_width(words, 12) + 26
    canvas.text(right, y, "a_ij = 1: node i listens to node j   (Eq. 1)", 12, GREY)
    return canvas.image()


def figure_5(beta: Tensor, frames: Tensor, t: int, TRS: int) -> Image.Image:
    """The paper's Figure 5: attention between frame t of the relation sequence, the target, and its neighbours.

    beta     (2T, 2T)       Eq. 9; nodes 1..T are the appearance sequence, T + 1..2T the relation sequence
    frames   (T, 3, H, W)   uint8
    t        counted from 1

    Reading: (a) "from the neighbors to the target" is the target's row, which sums to 1; (b) "from the target to its
    neighbors" is its column, one number from the softmax of each neighbour, with any sum.
    """
    T = len(frames)
    _check(beta, 2 * T, "beta", T + t)
    if not 1 <= t <= T or TRS < 0:
        raise ValueError(f"t is one of 1 to {T} and TRS at least 0; got t = {t}, TRS = {TRS}")
    beta = beta.detach().cpu().double()
    shown = list(range(max(1, t - TRS), min(T, t + TRS) + 1))
    scores = {"a": beta[T + t - 1], "b": beta[:, T + t - 1]}                               # (2T,), (2T,)
    picks = torch.tensor([s - 1 + half for half in (0, T) for s in shown])
    high = _round_up(max(scores[k][picks].max().item() for k in scores))
    thumb, gap, left, panel = 66, 22, 124, 356
    reach = max(abs(s - t) for s in shown)
    spread = (thumb / 2 - 4) / (reach + 0.5)                                               # between the ends at the target
    wide = len(shown) * (thumb + gap) - gap
    heads = {"a": f"(a)  From the neighbours to the target: row {T + t} of beta",
             "b": f"(b)  From the target to its neighbours: column {T + t} of beta"}
    title = f"Attention at frame {t} of the relation sequence, TRS = {TRS}"
    right = max(left + wide, 24 + max(text_width(h, 13) for h in heads.values()), 24 + text_width(title, 17))
    canvas = Canvas(right + 108, 64 + 2 * panel)
    canvas.text(24, 28, title, 17, bold=True)
    pictures = {s: fit(frames[s - 1], 2 * thumb) for s in shown}
    for k, score in scores.items():
        top = 60 + (k == "b") * panel
        canvas.text(24, top + 8, heads[k], 13, bold=True)
        rows = {0: top + 48, T: top + 48 + thumb + 96}                                     # where the pictures begin
        bottom = thumb + 17                                                                # the score stands under its picture
        middle = {s: left + n * (thumb + gap) + thumb / 2 for n, s in enumerate(shown)}
        for half, name, colour in ((0, "appearance", ORANGE), (T, "relation", BLUE)):
            canvas.text(left - 18, rows[half] + thumb / 2, name, 12.5, colour, "rm", bold=True)
        links = []
        for half in (0, T):
            for s in shown:
                value, apart = score[half + s - 1].item(), s - t
                if half == 0:
                    way = [(middle[s], rows[0] + bottom + 2), (middle[t] + apart * spread, rows[T] - 5)]
                elif s != t:                                                               # the nearest land outermost: no crossing
                    landing = middle[t] + math.copysign(reach + 1 - abs(apart), apart) * spread
                    way = bow((middle[s], rows[T] + bottom + 2), (landing, rows[T] + bottom + 5),
                              math.copysign(min(9 + 10 * abs(apart), 44), apart))
                else:
                    continue
                if value > 0:
                    links.append((value, way if k == "a" else way[::-1]))
        for value, way in sorted(links, key=lambda link: link[0]):                         # the strongest on top
            width = 1 + 7 * max(value, 0) / high
            canvas.arrow(way, mix(GREY, PAPER, 0.3), width + 0.8, head=6.5 + 1.8 * width)
            canvas.arrow(clear_of(way, 0, 0.6), heat(value / high), width, head=5.4 + 1.8 * width)
        for half in (0, T):
            for s in shown:
                x, y, value = middle[s] - thumb / 2, rows[half], score[half + s - 1].item()
                target = half == T and s == t
                canvas.box(x - 3, y - 3, thumb + 6, bottom + 6, fill=INK if target else PAPER, radius=2)
                canvas.picture(pictures[s], x, y, thumb, thumb)
                canvas.box(x, y + thumb, thumb, 17, fill=heat(value / high), outline=GREY, width=0.5)
                canvas.text(middle[s], y + thumb + 8.5, _score(value), 12, readable_on(heat(value / high)), "mm", bold=True)
                if half == 0:
                    canvas.text(middle[s], y - 12, f"frame {s}", 11, INK if s == t else GREY, "mm", bold=s == t)
        canvas.box(middle[t] - thumb / 2 - 1, rows[T] - 1, 40, 14, fill=INK)
        canvas.text(middle[t] - thumb / 2 + 18, rows[T] + 5.5, "target", 10, PAPER, "mm")
        canvas.scale(right + 34, top + 60, 13, 226, high, "attention")
    return canvas.image()


def figure_6(beta: Tensor) -> Image.Image:
    """The paper's Figure 6: how much attention the nodes of each frame are given, all listeners summed.

    beta   (2T, 2T)   Eq. 9

    Reading: "sum up the attention scores on the edges from this node" is the sum of a column; every row sums to 1, which
    would be a flat line. The node's attention to itself is among them, as the node is in its own N_i.
    """
    _check(beta, len(beta), "beta", 1)
    if len(beta) % 2:
        raise ValueError(f"beta is (2T, 2T), appearance and relation; got {tuple(beta.shape)}")
    given = beta.detach().cpu().double().sum(0).unflatten(0, (2, -1))                      # (2, T)
    return curves({"appearance": given[0].tolist(), "relation": given[1].tolist()}, title="Attention given to each frame",
                  x_label="frame", panels={"column sum of beta": ["appearance", "relation"]},
                  colours={"appearance": ORANGE, "relation": BLUE})


def figure_7(beta_face: Tensor, picture: Tensor | None, P: int, node: int) -> Image.Image:
    """The paper's Figure 7: attention between a region of the face and its neighbours.

    beta_face   (P², P²)    Eq. 3, of one frame
    picture     (3, H, W)   uint8, that frame; None draws a face
    node        counted from 1, in reading order

    Reading: (a) importance of the neighbours to the region is its row, (b) importance of the region to its neighbours its column.
    """
    _check(beta_face, P * P, "beta_face", node)
    beta = beta_face.detach().cpu().double()
    parts = ((f"(a)  Importance of its neighbours to region {node}", f"row {node} of beta: sums to 1", beta[node - 1]),
             (f"(b)  Importance of region {node} to its neighbours", f"column {node} of beta: any sum", beta[:, node - 1]))
    high = _round_up(max(score.max().item() for _, _, score in parts))
    side, top = 336, 70
    cell = side / P
    canvas = Canvas(28 + 2 * (side + 36) + 84, top + side + 28)
    for k, (title, remark, score) in enumerate(parts):
        left = 28 + k * (side + 36)
        canvas.text(left, 26, title, 13.5, bold=True)
        canvas.text(left, 48, remark, 11.5, GREY)
        _face(canvas, left, top, side, picture, fade=0.12)
        near = [j for j in range(1, P * P + 1) if score[j - 1] != 0]
        for j in near:
            x, y = _corner(j, P, left, top, cell)
            canvas.box(x, y, cell, cell, fill=heat(score[j - 1].item() / high), opacity=0.82)
        _lattice(canvas, left, top, side, P)
        for j in range(1, P * P + 1):
            x, y = _corner(j, P, left, top, cell)
            value = score[j - 1].item()
            ink = readable_on(heat(value / high)) if j in near else mix(GREY, INK, 0.4)
            size = min(14, 0.27 * cell)
            canvas.text(x + 4, y + 2, str(j), 0.68 * size, ink, "lt", halo=None if j in near else PAPER)
            if j in near:
                canvas.text(x + cell / 2, y + 0.56 * cell, _score(value), size, ink, "mm", bold=True)
        x, y = _corner(node, P, left, top, cell)
        canvas.box(x - 2.5, y - 2.5, cell + 5, cell + 5, outline=PAPER, width=4.5)
        canvas.box(x - 1.5, y - 1.5, cell + 3, cell + 3, outline=INK, width=2.5)
    canvas.scale(28 + 2 * (side + 36), top + 20, 13, side - 20, high, "attention")
    return canvas.image()


def figure_8(samples: list[tuple[Tensor, list[str], Tensor | list[float], int | None]], title: str = "") -> Image.Image:
    """The paper's Figure 8: for each sample its frames and the probabilities, right or wrong by word and colour.

    samples   (frames (n, 3, H, W) uint8, class names, probabilities, target's index or None) each

    Of a longer clip six frames are shown, spread evenly. A picture of one's own is a clip of one frame without a target.
    """
    if not samples:
        raise ValueError("figure_8 draws at least one sample; got none")
    thumb, gap = 88, 6
    picks = [torch.linspace(0, len(frames) - 1, min(STRIP, len(frames))).round().int().tolist() for frames, *_ in samples]
    strip = max(len(p) for p in picks) * (thumb + gap) - gap
    strip = max(strip, 190)                                                                # room for the words above one picture
    chart = max(bars_width(names) for _, names, *_ in samples)
    heights = [max(thumb + 62, 20 * len(names) + 24) for _, names, *_ in samples]
    top = 52 if title else 20
    canvas = Canvas(max(24 + strip + 26 + chart + 20, text_width(title, 17) + 48), top + sum(heights) + 4)
    if title:
        canvas.text(24, 28, title, 17, bold=True)
    y = top
    for (frames, names, probabilities, target), chosen, height in zip(samples, picks, heights, strict=True):
        values = torch.as_tensor(probabilities).detach().cpu().double()
        if target is not None and not 0 <= target < len(names):
            raise ValueError(f"target is one of 0 to {len(names) - 1}, or None; got {target}")
        known = not torch.isnan(values).any()
        best = int(values.argmax()) if known else -1
        says = names[best] if known else "nothing (NaN)"
        verdict, colour = ("predicted", BLUE) if target is None else ("right", GREEN) if best == target else ("wrong", RED)
        words = f"predicted {says}" if target is None else f"{verdict}: {says}"
        if target is not None and best != target:
            words += f", target {names[target]}"
        canvas.text(24, y + 12, shortened(words, 12.5, strip), 12.5, colour, bold=True)
        for n, index in enumerate(chosen):
            x = 24 + n * (thumb + gap)
            canvas.picture(fit(frames[index], 2 * thumb), x, y + 28, thumb, thumb)
            if len(frames) > 1:
                canvas.text(x + thumb / 2, y + 28 + thumb + 10, str(index + 1), 10, GREY, "mm")
        canvas.box(20, y + 28, 2.5, thumb, fill=colour)
        draw_bars(canvas, 24 + strip + 26, y + 4, chart, 20 * len(names), probabilities, names, target)
        y += height
        if y < top + sum(heights):
            canvas.line([(24, y - 10), (canvas.width - 20, y - 10)], FAINT, 0.75)
    return canvas.image()


def of_clip(model: ARPGNet, clip: Tensor) -> dict[str, Image.Image]:
    """Figures 5 to 7 of one clip: name → picture; those that the model's modules and the clip's length allow.

    clip   (T, 3, S, S)   uint8, as `prepare` gives it, on any device

    Figs. 5 and 7 take the middle frame. Fig. 7 takes region 8, as the paper, or the middle one of a face of fewer.
    """
    T, P, cfg = len(clip), model.cfg.P, model.cfg
    beta = look(model, clip[None].float() / 255, torch.ones(1, T, dtype=torch.bool, device=clip.device))
    t, node = T // 2 + 1, 8 if P * P > 8 else P * P // 2 + 1
    out = {}
    if "fusion" in beta and cfg.appearance and cfg.relation and T > 1:
        fusion = beta["fusion"][0].float().cpu()                                           # (2T, 2T)
        out["figure5"] = figure_5(fusion, clip.cpu(), t, min(cfg.TRS if cfg.scope else T, T - 1))
        out["figure6"] = figure_6(fusion)
    if "face" in beta:
        out["figure7"] = figure_7(beta["face"][0, t - 1].float().cpu(), clip[t - 1].cpu(), P, node)
    return out


def of_own(model: ARPGNet, sample: Sample, inputs: tuple[Tensor, ...], p: Tensor) -> dict[str, Image.Image]:
    """One's own clip, as `prepare` gives it, with the probabilities p (C,) that the model gave it: name → picture."""
    names = list(model.cfg.classes)
    return {"prediction": figure_8([(inputs[0].cpu(), names, p, None)], Path(sample.id).name)} | of_clip(model, inputs[0])


def of_model(model: ARPGNet) -> dict[str, Image.Image]:
    """Pictures of the network alone: none."""
    return {}


def of_rows(paper: ModuleType, rows: dict, cfg) -> dict[str, Image.Image]:
    """Pictures of all predictions: the confusion matrix, which every paper of classes has, says it all."""
    return {}


def of_beside(paper: ModuleType, seen: list[tuple]) -> dict[str, Image.Image]:
    """Pictures of several runs beside each other: the confusion matrices, which every paper of classes has, say it all."""
    return {}


def of_report(paper: ModuleType, model: ARPGNet, samples: list[Sample], rows: dict, device: torch.device) -> dict[str, Image.Image]:
    """Figures 5 to 8 of a tested part: name → picture.

    rows   the predictions of these samples, in their order

    Fig. 8 shows the two right and the two wrong ones that the model was surest of; Figs. 5 to 7 the surest right one.
    """
    cfg, names = model.cfg, list(model.cfg.classes)
    p = torch.stack([rows[f"p_{name}"] for name in names], dim=1)                          # (n, C)
    sure, right = p.amax(1), rows["predicted"] == rows["target"]                           # (n,) each
    known = rows["target"] >= 0
    chosen = [k for kind in (right, ~right) for k in sure.where(kind & known, -1.0).argsort(descending=True, stable=True)[:2].tolist()
              if (kind & known)[k]]
    if not chosen:
        return {}
    shown = [(paper.prepare(samples[k], cfg, None)[0], names, p[k], int(rows["target"][k])) for k in chosen]
    return of_clip(model, shown[0][0].to(device)) | {"figure8": figure_8(shown, "The surest samples, right and wrong")}


# Parts of these figures

def _check(beta: Tensor, N: int, name: str, node: int) -> None:
    if beta.shape != (N, N):
        raise ValueError(f"{name} is ({N}, {N}) here; got {tuple(beta.shape)}")
    if not torch.isfinite(beta).all():
        raise ValueError(f"{name} has values that are not finite; look at the run that made it")
    if not 1 <= node <= N:
        raise ValueError(f"nodes are counted from 1 to {N}; got {node}")


def _centre(j: int, P: int, left: float, top: float, cell: float) -> tuple[float, float]:
    """The middle of patch j, counted from 1 in reading order."""
    return left + ((j - 1) % P + 0.5) * cell, top + ((j - 1) // P + 0.5) * cell


def _corner(j: int, P: int, left: float, top: float, cell: float) -> tuple[float, float]:
    return left + (j - 1) % P * cell, top + (j - 1) // P * cell


def _kind(i: int, j: int, P: int) -> tuple[str, Colour]:
    """Why patches i and j are connected: itself, adjacent (also where they are symmetrical too), symmetrical."""
    (r, c), (s, d) = divmod(i - 1, P), divmod(j - 1, P)
    if i == j:
        return "itself", GREY
    return ("adjacent", BLUE) if abs(r - s) + abs(c - d) == 1 else ("symmetrical", ORANGE)


def _listing(numbers: list[int]) -> str:
    words = [str(n) for n in numbers]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}" if words else "no other node"


def _score(value: float) -> str:
    return "<0.01" if 0 < value < 0.005 else f"{value:.2f}"


def _round_up(value: float) -> float:
    """The end of a colour scale: the next of 0.05, 0.1, 0.15, ... at or above the value."""
    return max(math.ceil(value * 20 - 1e-9), 1) / 20


def _lattice(canvas: Canvas, left: float, top: float, side: float, P: int) -> None:
    """The lines between the patches."""
    for k in range(P + 1):
        spot = k * side / P
        for a, b in (((left + spot, top), (left + spot, top + side)), ((left, top + spot), (left + side, top + spot))):
            canvas.line([a, b], PAPER, 1.8)
            canvas.line([a, b], mix(GREY, PAPER, 0.3), 0.6)


def _face(canvas: Canvas, left: float, top: float, side: float, picture: Tensor | None, fade: float) -> None:
    """The picture's centre square, or a face drawn with a few shapes, on a square of the sheet."""
    if picture is not None:
        canvas.picture(fit(picture, round(2 * side)), left, top, side, side, fade)
        return

    def at(points: list[tuple[float, float]]) -> list[tuple[float, float]]:
        return [(left + side * min(max(x, 0), 1), top + side * min(max(y, 0), 1)) for x, y in points]

    def oval(x: float, y: float, a: float, b: float) -> list[tuple[float, float]]:
        turn = [2 * math.pi * k / 120 for k in range(120)]
        return at([(x + a * math.cos(s), y + b * math.sin(s)) for s in turn])

    def leaf(x: float, y: float, half: float, upper: float, lower: float) -> list[tuple[float, float]]:
        """The shape between two curves through (x ± half, y) that rise by upper and lower."""
        return at([*bow((x - half, y), (x + half, y), upper), *bow((x - half, y), (x + half, y), lower)[::-1]])

    skin, hair, shade, lips = (247, 227, 207), (143, 113, 94), (217, 182, 156), (200, 114, 104)
    canvas.box(left, top, side, side, fill=(233, 239, 245))
    canvas.area(oval(0.5, 0.41, 0.495, 0.47), hair)
    canvas.area(oval(0.5, 0.54, 0.425, 0.47), skin)
    for eye in (0.295, 0.705):
        canvas.area(leaf(eye, 0.305, 0.115, 0.050, 0.018), hair)
        canvas.area(leaf(eye, 0.418, 0.078, 0.036, -0.026), PAPER)
        canvas.area(oval(eye, 0.413, 0.031, 0.031), (84, 112, 132))
        canvas.area(oval(eye, 0.413, 0.014, 0.014), INK)
        canvas.area(leaf(eye, 0.418, 0.080, 0.042, 0.032), INK)
    canvas.area(at([*bow((0.452, 0.61), (0.548, 0.61), -0.034), *bow((0.548, 0.61), (0.452, 0.61), 0.026)]), shade)
    canvas.area(at([*bow((0.485, 0.43), (0.450, 0.612), -0.006), *bow((0.460, 0.612), (0.493, 0.43), 0.006)]), shade)
    canvas.area(at([*bow((0.36, 0.775), (0.5, 0.768), 0.020), *bow((0.5, 0.768), (0.64, 0.775), 0.020),
                    *bow((0.64, 0.775), (0.36, 0.775), 0.050)]), lips)
    canvas.area(leaf(0.5, 0.775, 0.14, -0.012, -0.019), (150, 74, 70))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("python -m refnet.figures.arpgnet OUT.png   draws Figure 2 from the code of Eq. 1")
    write_picture(figure_2(face_grid(6), 6, 8), sys.argv[1])
