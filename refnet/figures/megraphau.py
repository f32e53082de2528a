"""ME-GraphAU's own figures, from plain tensors: the units' graph on the face, pairs of units, where each unit looks.

    au_graph(picture, points, A, p, aus)       who listens to whom, laid on the face; places from au_places     Fig. 4
    edge_matrix(q, aus, y=y)                   which of two units are active, as each edge says                 Eq. 7
    attention_maps(picture, maps, p, aus)      where in the face FAM looks for each unit                        Fig. 3, Eq. 4
    au_bars(p, aus, y), f1_bars(f1, counts)    probabilities of one face; F1 of a tested part                   Table 1

`python -m refnet.figures.megraphau OUT.png` draws the first, of a drawn face.

A unit is active where p reaches `called`. What is true, y, is 1 present, 0 absent, −1 unknown. Left and right are the picture's.
A place (3, 5) is the middle of the pixel in column 3 and row 5. Wrong shapes, values and units are refused by ValueError.
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
from refnet.data.drawn_plan import AUS, EXPRESSIONS, plan
from refnet.data.drawn_units import THERE
from refnet.data.samples import Sample
from refnet.figures.canvas import (BLUE, FAINT, GREEN, GREY, INK, LINES, ORANGE, PAPER, RED, Canvas, Colour, bow, clear_of,
                                   expect, heat, mix, shortened, text_width)
from refnet.graphs.nearest import nearest
from refnet.models.megraphau import TWELVE, Config, MEGraphAU, look, named
from refnet.pictures import write_picture

UNITS = {           # unit: its name in FACS; where it shows: x, y from the middle of the eyes, in distances between the eyes
    1: ("inner brow raiser", -.24, -.38), 2: ("outer brow raiser", .70, -.36), 4: ("brow lowerer", .01, -.22),
    5: ("upper lid raiser", .42, -.15), 6: ("cheek raiser", .66, .38), 7: ("lid tightener", -.50, .18),
    9: ("nose wrinkler", .02, .22), 10: ("upper lip raiser", -.14, .88), 12: ("lip corner puller", .48, 1.04),
    14: ("dimpler", -.62, 1.12), 15: ("lip corner depressor", -.50, 1.41), 16: ("lower lip depressor", .25, 1.38),
    17: ("chin raiser", .06, 1.61), 20: ("lip stretcher", .62, 1.30), 23: ("lip tightener", -.31, 1.18),
    24: ("lip pressor", .21, 1.08), 25: ("lips part", -.03, 1.27), 26: ("jaw drop", -.23, 1.71)}
PAIRS = (("none of the two", GREY), ("only j", LINES[3]), ("only i", ORANGE), ("both", GREEN))     # Eq. 7's classes 0 to 3
EYES = {"aligned": (.34, .66, .34), "drawn": (.37, .63, .405)}        # left x, right x, y before the crop; in shares of the side
SLATE, PALE = mix(INK, PAPER, .35), (176, 181, 192)   # links that do not stand out; bars that are neither right nor wrong


def au_places(aus: Sequence[int], left_eye: Sequence[float] | Tensor, right_eye: Sequence[float] | Tensor) -> Tensor:
    """Where the units' nodes sit on a face: about where each one shows, on one side or the other, so that none hides another.

    left_eye, right_eye   (2,)     the eyes' centres (x, y) in pixels
    →                     (N, 2)   (x, y) in pixels
    """
    _known(aus)
    a, b = (expect(f"the {side} eye", torch.as_tensor(eye), (2,)) for side, eye in (("left", left_eye), ("right", right_eye)))
    across = b - a                                                                         # (2,)
    if across.norm() < 1e-6:
        raise ValueError(f"both eyes are at {tuple(a.tolist())}; expected two places, the left and the right eye's centre")
    down = torch.stack([-across[1], across[0]])                                            # (2,)   a quarter turn on
    return (a + b) / 2 + torch.tensor([UNITS[u][1:] for u in aus]).to(a) @ torch.stack([across, down])


def au_graph(picture: Tensor, points: Tensor, A: Tensor, p: Tensor, aus: Sequence[int], title: str = "",
             called: float = 0.5) -> Image.Image:
    """The paper's Figure 4: the units on the face, each linked to those that it listens to; beside it their names and p.

    picture   (3, H, W)   uint8
    points    (N, 2)      the nodes' places in pixels; those off the picture are moved to its rim
    A         (N, N)      nonzero where node i listens to node j
    p         (N,)        probabilities

    A link of both directions is drawn once, without a tip. A unit's link with itself is not drawn.
    """
    N, side, left, top, r = _known(aus), 430, 28, 76 if title else 46, 12.5
    picture, A, p = expect("picture", picture, (3, None, None), torch.uint8), expect("A", A, (N, N)), _shares("p", p, (N,))
    points, on, heard = expect("points", points, (N, 2)), (p >= called).tolist(), (A != 0).int().fill_diagonal_(0).sum(0)
    right = left + side + 36
    canvas = Canvas(right + 300, top + side + 76)
    canvas.text(left, 28, shortened(title, 17, canvas.width - 2 * left), 17, bold=True)
    x, y, scale = _face(canvas, picture, left, top, side, fade=.25)
    limit = points.new_tensor(picture.shape[:0:-1]) * scale                                # (2,)   the picture in points
    at = ((points + .5) * scale).clamp(min=r + 3).minimum(limit - r - 3) + points.new_tensor([x, y])

    links = [(on[i] and on[j], bool(A[j, i]), i, j) for i in range(N) for j in range(N)
             if A[i, j] and (i < j or i > j and not A[j, i])]
    for strong, mutual, i, j in sorted(links):                                             # those of active units on top
        way, width = _around(at, j, i, r), 2.8 if strong else 1.1
        canvas.line(way, PAPER, width + 1.8)
        (canvas.line if mutual else canvas.arrow)(way, BLUE if strong else SLATE, width)
    for (u, v), unit, active in zip(at.tolist(), aus, on, strict=True):
        _node(canvas, u, v, r, unit, active)

    step = min(34, (side - 4) / N)
    canvas.text(right + 214, top - 17, "p", 11.5, GREY, "rm")
    canvas.text(right + 278, top - 17, "heard by", 11.5, GREY, "rm")
    for n, unit in enumerate(aus):
        v = top + (n + .5) * step
        _node(canvas, right + 11, v, min(r, .44 * step), unit, on[n])
        canvas.text(right + 32, v, UNITS[unit][0], 12.5, bold=on[n])
        canvas.text(right + 214, v, f"{p[n]:.2f}", 12.5, BLUE if on[n] else GREY, "rm", bold=on[n])
        canvas.text(right + 258, v, str(int(heard[n])), 12.5, INK, "rm")
    x, y = left, top + side + 24
    for draw_link, colour, width, words in ((canvas.line, BLUE, 2.8, f"between two active units (p at least {called:g})"),
                                            (canvas.line, SLATE, 1.1, "others; the units listen to each other"),
                                            (canvas.arrow, SLATE, 1.1, "one listens: the unit at the tip")):
        draw_link([(x + 1, y), (x + 27, y)], colour, width)
        canvas.text(x + 34, y, words, 11.5)
        x += text_width(words, 11.5) + 54
    loops, every = int((A.diagonal() != 0).sum()), int(heard.sum())
    words = f"links from one unit to another: {every}; active units: {sum(on)}; links of a unit with itself, not drawn: {loops}"
    canvas.text(left, y + 26, words, 11.5, GREY)
    return canvas.image()


def edge_matrix(q: Tensor, aus: Sequence[int], title: str = "", y: Tensor | None = None) -> Image.Image:
    """What the edges say of each ordered pair of units: none active, only j, only i, or both.

    q   (N, N, 4)   probabilities of the four classes 2 y_i + y_j, Eq. 7
    y   (N,)        what is true, if known: wrong cells are crossed out

    The colour is the likeliest class's, and the paler, the less likely.
    """
    N, q = _known(aus), _shares("q", q, (len(aus), len(aus), 4))
    if ((total := q.sum(-1)) - 1).abs().max() > 1e-2:
        raise ValueError(f"q's four classes sum to {total.min():.3g} to {total.max():.3g}; expected 1: take the softmax first")
    y = torch.full((N,), -1) if (given := y) is None else _truth(y, N)
    strength, called = q.max(-1)                                                           # (N, N) each
    known = (y[:, None] >= 0) & (y >= 0)                                                   # (N, N)
    wrong = known & (called != 2 * y[:, None] + y)                                         # (N, N)
    cell, left, top = 40 if N <= 12 else 30, 62 + max(text_width(UNITS[u][0], 12) for u in aus), 108 if title else 76
    right = left + N * cell + 30
    canvas = Canvas(max(right + 196, 560), top + max(N * cell, 250) + 48)
    canvas.text(28, 28, shortened(title, 17, canvas.width - 56), 17, bold=True)
    canvas.text(left + N * cell / 2, top - 42, "unit j", 12, GREY, "mm")
    canvas.text(left - 12, top - 18, "unit i", 12, GREY, "rm")
    for i, unit in enumerate(aus):
        u, v, there = left + i * cell, top + i * cell, bool(y[i] == 1)
        _node(canvas, left - 17, v + cell / 2, 11, unit, there)
        _node(canvas, u + cell / 2, top - 17, 11, unit, there)
        canvas.text(left - 36, v + cell / 2, UNITS[unit][0], 12, anchor="rm", bold=there)
        for j in range(N):
            u, k = left + j * cell, int(called[i, j])
            canvas.box(u, v, cell, cell, fill=_strength(PAIRS[k][1], strength[i, j].item()), outline=PAPER, width=.75)
            if wrong[i, j]:
                _cross(canvas, u + cell / 2, v + cell / 2)
    canvas.box(left, top, N * cell, N * cell, outline=GREY, width=.75)

    canvas.text(right, top + 10, "likeliest of the four", 12.5, bold=True)
    for k, (words, colour) in enumerate(PAIRS):
        for s in range(24):                                                                # from pale to full
            canvas.box(right + 2.5 * s, top + 28 + 26 * k, 2.5, 16, fill=_strength(colour, .25 + .75 * s / 23))
        canvas.text(right + 70, top + 36 + 26 * k, words, 12)
    for x, words, anchor in ((0, "0.25", "lm"), (60, "1", "rm"), (70, "its probability", "lm")):
        canvas.text(right + x, top + 138, words, 10, GREY, anchor)
    if given is not None:
        _cross(canvas, right + 9, top + 176)
        canvas.text(right + 26, top + 176, "wrong", 12)
        _node(canvas, right + 9, top + 204, 9, "", True)
        canvas.text(right + 26, top + 204, "unit is present", 12)
        words = f"{known.sum() - wrong.sum()} of {known.sum()} right" + (f", {(~known).sum()} unknown" if not known.all() else "")
        canvas.text(right, top + 236, words, 12)
    words = "A cell is what edge (i, j) says of its two units. On the diagonal i = j: none or both."
    canvas.text(28, canvas.height - 20, words, 11.5, GREY)
    return canvas.image()


def au_bars(p: Tensor, aus: Sequence[int], y: Tensor | None = None, title: str = "", called: float = 0.5) -> Image.Image:
    """Each unit's probability p (N,) as a bar; right, wrong or unknown where what is true, y (N,), is given."""
    N, p = _known(aus), _shares("p", p, (len(aus),)).tolist()
    rows = []
    for unit, value, truth in zip(aus, p, [None] * N if y is None else _truth(y, N).tolist(), strict=True):
        word = "" if truth is None else "unknown" if truth < 0 else "right" if (value >= called) == truth else "wrong"
        colour = GREEN if word == "right" else RED if word == "wrong" else BLUE if not word and value >= called else PALE
        rows.append((_name(unit), value, colour, f"{value:.2f}", word))
    return _bars(rows, called, f"active from {called:g}", title)


def f1_bars(f1: dict[str, float], counts: dict[str, int], title: str = "") -> Image.Image:
    """F1 of every unit in percent, their mean, and how often each unit was present: name → F1 in [0, 1], name → n."""
    if list(f1) != list(counts) or not f1:
        raise ValueError(f"counts are of {list(counts)}; expected those of f1, {list(f1)}, at least one")
    mean = _shares("f1", torch.tensor([float(v) for v in f1.values()]), (len(f1),)).mean().item()
    rows = [(name, v, BLUE if counts[name] else PALE, f"{100 * v:.1f}", f"n = {counts[name]}") for name, v in f1.items()]
    return _bars(rows, mean, f"mean {100 * mean:.1f}", title)


def attention_maps(picture: Tensor, maps: Tensor, p: Tensor, aus: Sequence[int], title: str = "",
                   called: float = 0.5) -> Image.Image:
    """Where FAM looks for each unit: the face with the unit's attention over it.

    picture   (3, H, W)   uint8
    maps      (N, h, w)   attention to each place of the face, Eq. 4, the mean over the queries
    p         (N,)        probabilities

    Each map has a scale of its own, from its least to its most attention, and both are written below it.
    """
    N, side, gap, left, top = _known(aus), 150, 22, 28, 72 if title else 40
    picture, maps = expect("picture", picture, (3, None, None), torch.uint8), expect("maps", maps, (N, None, None))
    p, (h, w), columns = _shares("p", p, (N,)), maps.shape[1:], 4 if N <= 12 else 6
    canvas = Canvas(2 * left + columns * (side + gap) - gap, top + -(-N // columns) * (side + 76) + 46)
    canvas.text(left, 28, shortened(title, 17, canvas.width - 2 * left), 17, bold=True)
    low, high = maps.amin((1, 2), keepdim=True), maps.amax((1, 2), keepdim=True)           # (N, 1, 1) each
    fine = [max(round(2 * side * n / max(picture.shape[1:])), 1) for n in picture.shape[1:]]
    grey = F.interpolate(picture[None].double(), fine, mode="bilinear", antialias=True).mean((0, 1))       # (H', W')
    level = F.interpolate(((maps - low) / (high - low).clamp(min=1e-12))[:, None], fine, mode="bicubic").squeeze(1)
    shades = torch.tensor([heat(k / 255) for k in range(256)])[(255 * level.clamp(0, 1)).round().int()]         # (N, H', W', 3)
    for n, unit in enumerate(aus):
        x, y, active = left + n % columns * (side + gap), top + n // columns * (side + 76), bool(p[n] >= called)
        _node(canvas, x + 11, y + 6, 11, unit, active)
        canvas.text(x + 30, y - 1, UNITS[unit][0], 11.5, bold=active)
        canvas.text(x + 30, y + 14, f"p {p[n]:.2f}", 11.5, BLUE if active else GREY)
        _face(canvas, (.45 * grey[..., None] + .55 * shades[n]).round().byte().movedim(-1, 0), x, y + 26, side)
        canvas.text(x + side / 2, y + side + 37, f"{low[n].item():.3f} to {high[n].item():.3f}", 10.5, GREY, "mm")
    for k in range(60):
        canvas.box(left + 1.5 * k, canvas.height - 36, 1.5, 12, fill=heat(k / 59))
    words = f"least to most, in each map on its own; attention spread evenly would be {1 / (h * w):.3f} everywhere"
    canvas.text(left + 100, canvas.height - 30, words, 11.5)
    return canvas.image()


def of_face(model: MEGraphAU, sample: Sample, x: Tensor, p: Tensor, y: Tensor | None = None) -> dict[str, Image.Image]:
    """The pictures of one face x (3, S, S): name → picture; those that the model's modules allow, none for units not in UNITS.

    The nodes sit where the eyes are in a drawn face, or in one cut out along landmarks; on another they may be off.
    """
    cfg, called, name = model.cfg, model.cfg.called, Path(*Path(sample.id).parts[-3:])
    if set(cfg.aus) - set(UNITS):
        return {}
    seen, picture = look(model, x), (x.clamp(0, 1) * 255).round().byte()                   # (3, S, S)
    out = {"units": au_bars(p, cfg.aus, y, f"The units of {name}", called)}
    if cfg.AFG:
        points = au_places(cfg.aus, *_eyes(cfg, "drawn" if getattr(sample.clip, "in_memory", False) else "aligned"))
        title = f"Each unit and its {cfg.K} nearest, itself a candidate, {name}"
        out["graph"] = au_graph(picture, points, seen["graph"], p, cfg.aus, title, called)
    if "edges" in seen:
        out["edges"] = edge_matrix(seen["edges"], cfg.aus, f"Which of two units are active, {name}", y)
    if "attention" in seen:
        title = f"Where each unit finds its cues, {name}"
        out["attention"] = attention_maps(picture, seen["attention"], p, cfg.aus, title, called)
    return out


def of_own(model: MEGraphAU, sample: Sample, inputs: tuple[Tensor, ...], p: Tensor) -> dict[str, Image.Image]:
    """One's own picture, as `prepare` gives it, with the probabilities p (N,) that the model gave it: name → picture."""
    return of_face(model, sample, inputs[0], p)


def of_model(model: MEGraphAU) -> dict[str, Image.Image]:
    """Pictures of the network alone: none."""
    return {}


def of_rows(paper: ModuleType, rows: dict, cfg: Config) -> dict[str, Image.Image]:
    """F1 of all predictions, of one fold or more."""
    scores, folds = paper.score(rows, cfg), sorted(set(rows["fold"]))
    known = {_name(unit): u for unit, u in zip(cfg.aus, named(cfg), strict=True) if not math.isnan(scores[f"F1 {u}"])}
    counts = {name: int((rows[f"target_{u}"] == 1).sum()) for name, u in known.items()}
    where = f"mean of {len(folds)} folds, " if len(folds) > 1 else "" if folds == ["0"] else f"fold {folds[0]}, "
    return {"f1": f1_bars({name: scores[f"F1 {u}"] for name, u in known.items()}, counts,
                          f"F1 in percent, {where}{len(rows['sample'])} pictures")}


def of_beside(paper: ModuleType, seen: list[tuple]) -> dict[str, Image.Image]:
    """Pictures of several runs beside each other: their scores, which evaluate.py prints, say it all."""
    return {}


def of_report(paper: ModuleType, model: MEGraphAU, samples: list[Sample], rows: dict,
              device: torch.device) -> dict[str, Image.Image]:
    """The pictures of the face of a tested part with the most present units that was called mostly rightly.

    rows   the predictions of these samples, in their order

    Where more than half of no face's known units was called rightly, the first face is shown.
    """
    cfg, units = model.cfg, named(model.cfg)
    y, p, called = (torch.stack([rows[f"{kind}_{u}"] for u in units], 1) for kind in ("target", "p", "predicted"))  # (n, N)
    mostly = (called == y).sum(1) * 2 > (y >= 0).sum(1)                                    # (n,)
    best = int(((y == 1).sum(1) + 1).where(mostly, 0).argmax())                            # the first of equals
    x = paper.prepare(samples[best], cfg, None)[0].to(device)
    return of_face(model, samples[best], x, p[best], y[best])


# Parts of these figures

def _known(aus: Sequence[int]) -> int:
    """How many units there are; ValueError where one is not known or named twice."""
    if not len(aus) or len(set(aus)) < len(aus) or set(aus) - set(UNITS):
        raise ValueError(f"units are {list(aus)}; expected at least one of {', '.join(map(str, UNITS))}, none of them twice")
    return len(aus)


def _shares(name: str, value: Tensor, shape: tuple[int, ...]) -> Tensor:
    """As canvas.expect, of probabilities: what lies a hair outside [0, 1] is clipped, what lies further is refused."""
    value = expect(name, value, shape)
    if value.min() < -1e-3 or value.max() > 1 + 1e-3:
        raise ValueError(f"{name} goes from {value.min():.4g} to {value.max():.4g}; expected values in [0, 1]")
    return value.clamp(0, 1)


def _truth(y: Tensor, N: int) -> Tensor:
    """As canvas.expect, of what is true: int64."""
    y = expect("y", y, (N,))
    if strange := sorted(set(y.tolist()) - {-1, 0, 1}):
        raise ValueError(f"y holds {strange}; expected 1 present, 0 absent, -1 unknown")
    return y.long()


def _name(unit: int) -> str:
    return f"AU{unit:02d}  {UNITS[unit][0]}" if unit in UNITS else f"AU{unit:02d}"


def _eyes(cfg: Config, kind: str) -> tuple[tuple[float, float], tuple[float, float]]:
    """The eyes' centres in the middle of size × size pixels that is cut out of resize × resize."""
    a, b, y = (v * cfg.resize - (cfg.resize - cfg.size) // 2 - .5 for v in EYES[kind])
    return (a, y), (b, y)


def _face(canvas: Canvas, picture: Tensor, x: float, y: float, side: float, fade: float = 0.0) -> tuple[float, float, float]:
    """Paste a picture whole into the middle of a square; where its corner is, and how many points a pixel has."""
    H, W = picture.shape[1:]
    scale = side / max(H, W)
    x, y = x + (side - W * scale) / 2, y + (side - H * scale) / 2
    canvas.picture(picture, x, y, W * scale, H * scale, fade)
    canvas.box(x, y, W * scale, H * scale, outline=FAINT, width=.75)
    return x, y, scale


def _node(canvas: Canvas, x: float, y: float, r: float, unit: int | str, active: bool) -> None:
    """A unit's disc with its number: blue where it is active, pale where not."""
    canvas.disc(x, y, r + 1.2, PAPER)
    canvas.disc(x, y, r, BLUE if active else (232, 235, 241), None if active else GREY, .9)
    canvas.text(x, y, str(unit), min(.98 * r, 12), PAPER if active else INK, "mm", bold=active)


def _around(at: Tensor, start: int, end: int, r: float) -> list[tuple[float, float]]:
    """The straightest way from one node's rim to another's that keeps clear of the nodes between; at (N, 2) in points."""
    others, ends = at[[n for n in range(len(at)) if n not in (start, end)]], [tuple(at[n].tolist()) for n in (start, end)]
    ways = [bow(*ends, bend, n=24) for bend in (0, 12, -12, 24, -24, 38, -38)]
    room = [torch.cdist(at.new_tensor(way), others).min().clamp(max=r + 4).item() if len(others) else 0 for way in ways]
    return clear_of(ways[room.index(max(room))], r + 1.5, r + 1.5)


def _strength(colour: Colour, share: float) -> Colour:
    """A class's colour: pale at a probability of ¼, the least that the likeliest of four can have, full at 1."""
    return mix(PAPER, colour, .16 + .84 * min(max((share - .25) / .75, 0), 1))


def _cross(canvas: Canvas, x: float, y: float) -> None:
    for ink, width in ((PAPER, 4.4), (INK, 1.9)):
        for up in (-5, 5):
            canvas.line([(x - 5, y - up), (x + 5, y + up)], ink, width)


def _bars(rows: list[tuple[str, float, Colour, str, str]], mark: float, mark_words: str, title: str) -> Image.Image:
    """A row each: label, bar of a value in [0, 1], number and word; a dashed line at the mark."""
    long, top, left = 300, 92 if title else 54, 40 + max(text_width(row[0], 12) for row in rows)
    canvas = Canvas(left + long + 124, top + 24 * len(rows) + 18)
    canvas.text(28, 28, shortened(title, 17, canvas.width - 56), 17, bold=True)
    for k, (label, value, colour, number, word) in enumerate(rows):
        y = top + 24 * (k + .5)
        canvas.text(left - 12, y, label, 12, anchor="rm")
        canvas.box(left, y - 8, long, 16, fill=(242, 243, 246))
        if value > 0:
            canvas.box(left, y - 8, max(long * min(value, 1), .75), 16, fill=colour)
        canvas.text(left + long + 40, y, number, 12, anchor="rm", bold=value >= mark)
        canvas.text(left + long + 52, y, word, 12, colour if colour in (GREEN, RED) else GREY)
    x = left + long * mark
    canvas.line([(x, top - 8), (x, top + 24 * len(rows) + 4)], INK, 1, dash=3)
    canvas.text(min(max(x, left + 50), left + long - 50), top - 20, mark_words, 11.5, INK, "mm")
    return canvas.image()


def main(argv: Sequence[str]) -> int:
    """Draw the graph of a drawn face's true units, each linked to those that move most like it; returns the exit status."""
    if len(argv) != 1 or argv[0].startswith("-"):
        print("usage: python -m refnet.figures.megraphau OUT.png", file=sys.stderr)
        return 2
    cfg, faces = Config(), plan(400, 1, seed=4, subjects=50, expressions=len(EXPRESSIONS), pose=.3, occlusion=0)
    v = faces.aus[:, 0, [AUS.index(unit) for unit in TWELVE]].mT                           # (N, 400)   strength in each face
    A, k = nearest(F.normalize(v)[None], cfg.K)[0], EXPRESSIONS.index("anger")
    margin = (cfg.resize - cfg.size) // 2
    picture = draw(faces[k:k + 1], cfg.resize)[0][0, 0, :, margin:-margin, margin:-margin]  # (3, S, S)
    image = au_graph((picture * 255).round().byte(), au_places(TWELVE, *_eyes(cfg, "drawn")), A, (v[:, k] >= THERE).float(),
                     TWELVE, "An angry drawn face's units, each linked to those that move most like it")
    write_picture(image, argv[0])
    print(argv[0])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
