"""ENGAT's own figures, from plain tensors: what the edges are like, which nodes are heard and kept, which frames are taken.

    landmark_graph(picture, points, A, f)                  the face's graph, lines as wide as their similarity   Eqs. 6, 7
    three_frames_graph(pictures, points, heard, kept)      attention to every node of three frames, and what pooling keeps
    intensity_curve(m, keep, chosen)                       how much the face moves in each frame, and the frames taken

`python -m refnet.figures.engat OUT.png` draws the first, of a drawn face.

Landmarks, frames and graphs count from 0, as in the code. Landmarks that would hide each other, as those of a closed mouth,
are drawn a little apart.
"""
import math
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import torch
from PIL import Image
from torch import Tensor

from refnet.data.drawn_faces import draw
from refnet.data.drawn_micro import plan_micro
from refnet.data.micro import MicroClip
from refnet.data.micro_graphs import faces, kept
from refnet.data.samples import Sample
from refnet.figures.canvas import (BLUE, FAINT, GREEN, GREY, INK, LINES, ORANGE, PAPER, Canvas, Colour, expect, heat,
                                   shortened, text_width, ticks)
from refnet.figures.charts import bars
from refnet.graphs.landmarks import LANDMARKS, EdgeFeatures, face_contours
from refnet.models.engat import ENGAT, look
from refnet.pictures import write_picture

FRAMES = ("first kept", "strongest", "last kept")
THIN, THICK = 0.8, 7.0                                # points: the lines of the least and of the most alike
NUMBERED = {0: (-8, 0), 4: (3, -11), 5: (-3, -11), 9: (8, 0), 13: (-8, 0), 16: (0, 13), 19: (-8, 0), 25: (-8, 0),
            31: (-7, -8), 37: (7, -8), 43: (-16, 10), 47: (16, 10)}    # landmarks with a number, and where it stands
GRAPHS = 12                                           # how many graphs of one clip have a row under the curve


def landmark_graph(picture: Tensor | None, points: Tensor, A: Tensor, f: Tensor, title: str = "") -> Image.Image:
    """One frame's graph on the face, twice: lines as wide as the edges' global and as their local similarity.

    picture   (3, H, W)     uint8, or None
    points    (51, 2)       landmarks (x, y) in the picture's pixels
    A         (51, 51)      nonzero where there is an edge
    f         (51, 51, 2)   GSSS and LSSS, Eqs. 6 and 7

    The thinnest line stands for the smallest value that an edge has, the thickest for the largest; of an edge's two
    directions, the mean. Raises ValueError for other shapes, and for values that are not finite.
    """
    N = LANDMARKS
    picture = None if picture is None else expect("picture", picture, (3, None, None), torch.uint8)
    points, A, f = expect("points", points, (N, 2)), expect("A", A, (N, N)), expect("f", f, (N, N, 2))
    i, j = ((A != 0) | (A != 0).mT).triu(1).nonzero().mT                                   # (E,) each
    values = (f[i, j] + f[j, i]) / 2                                                       # (E, 2)

    side, gap, left, top = 380, 32, 28, 98 if title else 58
    canvas = Canvas(2 * left + 2 * side + gap, top + side + 78)
    if title:
        canvas.text(left, 28, shortened(title, 17, 2 * side + gap), 17, bold=True)
    spots, window = _laid_out(points, side, apart=9.5)
    for k, (name, remark, colour) in enumerate((
            ("GSSS, global similarity", "Eq. 6: how many of their neighbours two landmarks share", BLUE),
            ("LSSS, local similarity", "Eq. 7: how near two landmarks' features are to each other", LINES[3]))):
        x = left + k * (side + gap)
        canvas.text(x, top - 36, name, 13.5, bold=True)
        canvas.text(x, top - 16, remark, 11.5, GREY)
        _face(canvas, picture, window, x, top, side, fade=0.55)
        at, value = [(x + u, top + v) for u, v in spots.tolist()], values[:, k]
        low, high = (value.min().item(), value.max().item()) if len(value) else (0.0, 0.0)
        share = (value - low) / (high - low) if high - low > 1e-6 else torch.zeros(len(value))
        links = list(zip(i.tolist(), j.tolist(), (THIN + (THICK - THIN) * share).tolist(), strict=True))
        for rim, ink in ((2, PAPER), (0, colour)):
            for a, b, width in links:
                canvas.line([at[a], at[b]], ink, width + rim)
        for spot in at:
            canvas.disc(*spot, 3.3, INK, PAPER, 0.8)
        for n, (dx, dy) in NUMBERED.items():
            anchor = "rm" if dx < -3 else "lm" if dx > 3 else "mm"
            canvas.text(at[n][0] + dx, at[n][1] + dy, str(n), 11, INK, anchor, bold=True, halo=PAPER)
        y, digits = top + side + 24, max(3, 1 - math.floor(math.log10(max(high - low, 1e-6))))
        words = f"{low:.{digits}f}" if share.any() else f"{low:.3f} on every edge" if links else "no edges"
        canvas.text(x, y, words, 11.5)
        if share.any():                                                                    # the key: from thin to thick
            x += text_width(words, 11.5) + 8
            canvas.area([(x, y - THIN / 2), (x + 150, y - THICK / 2), (x + 150, y + THICK / 2), (x, y + THIN / 2)], colour)
            canvas.text(x + 158, y, f"{high:.{digits}f}", 11.5)
    canvas.text(left, canvas.height - 22, f"{len(i)} edges. Self-loops are not drawn. Landmark k is dlib's 17 + k.", 11.5, GREY)
    return canvas.image()


def three_frames_graph(pictures: Tensor, points: Tensor, heard: Tensor, kept: Tensor, title: str = "") -> Image.Image:
    """The three-frame graph's nodes on their faces: how much each is listened to, and which of them pooling drops.

    pictures   (3, 3, H, W)   uint8: the first kept, the strongest, the last kept frame
    points     (3, 51, 2)     landmarks (x, y) in the pictures' pixels
    heard      (153,)         how much the other nodes listen to each: the column sums of attention, frame by frame
    kept       (153,)         bool

    The colours span the kept nodes. Raises ValueError for other shapes, and for values that are not finite.
    """
    N = LANDMARKS
    pictures = expect("pictures", pictures, (3, 3, None, None), torch.uint8)
    points, heard = expect("points", points, (3, N, 2)), expect("heard", heard, (3 * N,))
    kept = expect("kept", kept, (3 * N,), torch.bool)
    seen = heard[kept] if kept.any() else heard
    low, high = seen.min().item(), seen.max().item()
    step = 10.0 ** math.floor(math.log10(max(high - low, 1e-3 * abs(high), 1e-3))) / 2
    low = math.floor(low / step) * step                                                    # out to the next round numbers
    high = max(math.ceil(high / step) * step, low + step)

    side, gap, left, top = 270, 16, 28, 104 if title else 76
    right = left + 3 * side + 2 * gap
    canvas = Canvas(right + 112, top + side + 54)
    if title:
        canvas.text(left, 28, shortened(title, 17, canvas.width - 2 * left), 17, bold=True)
    canvas.text(left, top - 50, f"{int(kept.sum())} of {3 * N} nodes kept", 12, GREY)
    spots, window = _laid_out(points, side, apart=9.5)
    for t, name in enumerate(FRAMES):
        x, own, value = left + t * (side + gap), kept.unflatten(0, (3, N))[t], heard.unflatten(0, (3, N))[t]
        canvas.text(x, top - 17, name, 13.5, bold=True)
        canvas.text(x + side, top - 17, f"{int(own.sum())} of {N}", 11.5, GREY, "rm")
        _face(canvas, pictures[t], window, x, top, side, fade=0.5)
        for n in value.argsort(stable=True).tolist():                                      # the most heard on top
            u, v = spots[t, n].tolist()
            _node(canvas, x + u, top + v, heat((value[n].item() - low) / (high - low)) if own[n] else None)
    canvas.scale(right + 22, top + 20, 13, side - 20, high, "listened to", low)
    x, y = left + 6, top + side + 28
    for colour, words in ((heat(0.45), "kept; the darker, the more the others listen to it"), (None, "dropped by the pooling")):
        _node(canvas, x, y, colour)
        canvas.text(x + 12, y, words, 11.5)
        x += text_width(words, 11.5) + 44
    return canvas.image()


def intensity_curve(m: Tensor, keep: Tensor, chosen: Sequence[Sequence[int]] | Tensor, apex: int | None = None, title: str = "",
                    threshold: float | None = None) -> Image.Image:
    """How much the face moves in each frame of a clip, which frames are kept, and which three make a graph.

    m           (T,)     mean flow magnitude in pixels
    keep        (T,)     bool
    chosen      (n, 3)   the three frames of each graph; or (3,), of one graph
    apex        the coders' apex frame, if known
    threshold   what a kept frame reaches, in pixels, if that is one number

    One graph's frames are named above the curve; several have a row each below it, the first 12 of them.
    Raises ValueError for other shapes, frames that the clip does not have, and values that are not finite.
    """
    m = expect("m", m, (None,))
    T = len(m)
    keep, values = expect("keep", keep, (T,), torch.bool).tolist(), m.tolist()
    graphs = torch.atleast_2d(torch.as_tensor(chosen).detach().cpu())
    if graphs.dim() != 2 or graphs.shape[1] != 3 or graphs.is_floating_point() or not len(graphs):
        raise ValueError(f"chosen is {graphs.dtype} {tuple(graphs.shape)}; expected (n, 3), the frame numbers of each graph")
    graphs = graphs.tolist()
    for name, frames in (("chosen", sum(graphs, [])), ("apex", [] if apex is None else [apex])):
        if wrong := [t for t in frames if not 0 <= t < T]:
            raise ValueError(f"{name} names frame {wrong[0]}; expected 0 to {T - 1}, as m has {T} frames")
    if threshold is not None and not math.isfinite(threshold):
        raise ValueError(f"threshold is {threshold}; expected a finite number of pixels, or None")

    rows = graphs[:GRAPHS] if len(graphs) > 1 else []
    left, wide, high, top = 78, 640, 210, 112 if title else 84
    canvas = Canvas(left + wide + 96, top + high + 82 + (15 * len(rows) + 32 if rows else 0))
    if title:
        canvas.text(24, 26, shortened(title, 17, canvas.width - 48), 17, bold=True)
    low, up = min(0.0, *values, threshold or 0.0), max(*values, threshold or 0.0)
    up += 0.08 * (up - low) or 1.0
    step = (wide - 20) / max(T - 1, 1)
    across, rise = lambda t: left + 10 + step * t, lambda v: top + high - high * (v - low) / (up - low)
    for v in ticks(low, up, 5):
        canvas.line([(left, rise(v)), (left + wide, rise(v))], FAINT, 0.6)
        canvas.text(left - 7, rise(v), f"{v:g}", 10, GREY, "rm")
    for t in (int(t) for t in ticks(0, max(T - 1, 1), 10) if t.is_integer() and t < T):
        canvas.line([(across(t), top + high), (across(t), top + high + 4)], GREY, 0.75)
        canvas.text(across(t), top + high + 10, str(t), 10, GREY, "mt")
    canvas.line([(left, top), (left, top + high), (left + wide, top + high)], GREY, 0.9)
    canvas.text(20, top + high / 2, "mean flow magnitude (pixels)", 11.5, GREY, "mm", upright=True)
    canvas.text(left + wide / 2, top + high + 34, "frame, counted from 0", 11.5, GREY, "mm")
    if threshold is not None:
        canvas.line([(left, rise(threshold)), (left + wide, rise(threshold))], INK, 1, dash=2.5)
        canvas.text(left + wide + 6, rise(threshold) - 7, "threshold", 10.5)
        canvas.text(left + wide + 6, rise(threshold) + 7, f"{threshold:.3g} px", 10.5)

    flags = [] if apex is None else [(apex, "coders' apex", GREEN)]
    flags += [(t, name, ORANGE) for t, name in zip(graphs[0], FRAMES, strict=True)] if not rows else []
    flags.sort(key=lambda flag: flag[0])                                                   # stable: the apex first
    rooms = [max(text_width(name, 11.5), text_width(f"frame {t}", 11)) + 16 for t, name, _ in flags]
    middles = _spread([across(t) for t, *_ in flags], rooms, 8, canvas.width - 8) if flags else []
    for (t, name, colour), x in zip(flags, middles, strict=True):
        canvas.text(x, top - 56, name, 11.5, INK, "mm", bold=True)
        canvas.text(x, top - 40, f"frame {t}", 11, INK, "mm")
        canvas.line([(x, top - 31), (across(t), top - 8), (across(t), top)], colour, 1)
        down, width, dash = (top + high, 1.6, 5) if colour == GREEN else (rise(values[t]), 1, None)
        canvas.line([(across(t), top), (across(t), down)], colour, width, dash)
    places = [(across(t), rise(v)) for t, v in enumerate(values)]
    canvas.line(places, BLUE, 1.2)
    r = min(max(0.42 * step, 1.2), 4)
    for t in sorted(set(sum(graphs, []))):
        canvas.disc(*places[t], r + 3.2, PAPER, ORANGE, 1.6)
    for (x, y), dark in zip(places, keep, strict=True):
        canvas.disc(x, y, r, BLUE if dark else PAPER, BLUE, 1)

    for n, graph in enumerate(rows):
        y = top + high + 58 + 15 * n
        canvas.text(left - 7, y, f"graph {n}", 10, GREY, "rm")
        canvas.line([(across(min(graph)), y), (across(max(graph)), y)], ORANGE, 1.2)
        for t in graph:
            canvas.disc(across(t), y, min(r, 3.5), ORANGE)
    if len(graphs) > len(rows) > 0:
        canvas.text(left - 7, top + high + 58 + 15 * len(rows), f"{len(graphs) - len(rows)} more", 10, GREY, "rm")
    x, y = left + 10, canvas.height - 22
    for words, fill, ring in (("kept", BLUE, PAPER), ("dropped", PAPER, PAPER), ("taken into a graph", BLUE, ORANGE)):
        canvas.disc(x, y, 7.2, PAPER, ring, 1.6)
        canvas.disc(x, y, 4, fill, BLUE, 1)
        canvas.text(x + 13, y, words, 11.5)
        x += text_width(words, 11.5) + 44
    return canvas.image()


def of_clip(model: ENGAT, clip: MicroClip, inputs: tuple[Tensor, ...]) -> dict[str, Image.Image]:
    """The pictures of one clip, of its first graph: name → picture.

    inputs   as `prepare` gives them, on the model's device
    """
    cfg, A = model.cfg, face_contours()                                                    # (51, 51)
    alpha = cfg.alpha if clip.alpha is None else clip.alpha
    g = kept(replace(clip, alpha=None), alpha, cfg.pipeline, cfg.cache)
    video, points = faces(clip, cfg.pipeline)                                              # (T, 3, S, S), (T, 51, 2)
    shown, three = (video * 255).round().byte(), g.frames[0]
    seen = look(model, *(x[0] for x in inputs[:3]))
    out = {f"attention-{name}": three_frames_graph(shown[three], points[three], part["heard"], part["kept"],
                                                   f"Attention per node, stream of {name}") for name, part in seen.items()}
    if cfg.edges and cfg.similarity == "coordinates":
        f = model.similarity((g.rest / cfg.size).to(inputs[0].device), A.to(inputs[0].device)).detach()      # (51, 51, 2)
        out["landmarks"] = landmark_graph(shown[0], g.rest, A, f, f"Edge similarity, gamma = {float(model.similarity.gamma.detach()):.3f}")
    since = "since the onset" if cfg.reference == "first" else "since the frame before"
    m, deviation = g.intensity, g.intensity.std(correction=0)
    out["intensity"] = intensity_curve(m, g.keep, g.frames, clip.apex, f"Mean flow {since}, magnified, alpha = {alpha:g}",
                                       float(m.mean() + cfg.threshold * deviation))
    return out


def of_own(model: ENGAT, sample: Sample, inputs: tuple[Tensor, ...], p: Tensor) -> dict[str, Image.Image]:
    """One's own clip, as `prepare` gives it, with the probabilities p (C,) that the model gave it: name → picture."""
    return {"prediction": bars(p.cpu(), list(model.cfg.classes), None, Path(sample.id).name)} | of_clip(model, sample.clip, inputs)


def of_model(model: ENGAT) -> dict[str, Image.Image]:
    """Pictures of the network alone: none."""
    return {}


def of_rows(paper: ModuleType, rows: dict, cfg) -> dict[str, Image.Image]:
    """Pictures of all predictions: the confusion matrix, which every paper of classes has, says it all."""
    return {}


def of_beside(paper: ModuleType, seen: list[tuple]) -> dict[str, Image.Image]:
    """Pictures of several runs beside each other: the confusion matrices, which every paper of classes has, say it all."""
    return {}


def of_report(paper: ModuleType, model: ENGAT, samples: list[Sample], rows: dict, device: torch.device) -> dict[str, Image.Image]:
    """The pictures of the clip of a tested part that was called rightly and most surely: name → picture."""
    p = torch.stack([rows[f"p_{name}"] for name in model.cfg.classes], dim=1).amax(1)      # (n,)
    right = rows["predicted"] == rows["target"]
    best = int(p.where(right, p - 1).argmax())
    inputs = paper.prepare(samples[best], model.cfg, None)
    return of_clip(model, samples[best].clip, tuple(x.to(device) for x in inputs))


# Parts of these figures

def _laid_out(points: Tensor, side: float, apart: float) -> tuple[Tensor, tuple[int, int, int]]:
    """Landmarks on a panel of side × side points, none nearer to another than `apart`, and the square of pixels that it shows.

    points (*, 51, 2) in pixels → spots (*, 51, 2) in points; left, top and side of the square

    A landmark (3, 5) is the middle of that pixel. The inner lips start a hair inwards, so that they part where they touch.
    """
    low, high = points.flatten(0, -2).amin(0), points.flatten(0, -2).amax(0)               # (2,) each
    size = math.ceil(1.46 * max((high - low).max().item(), 4))
    x, y = (math.floor(v) for v in ((low + high - size) / 2).tolist())
    spots = (points + 0.5 - points.new_tensor([x, y])) * side / size
    inwards = [[1, 0], [0, -1], [0, -1], [0, -1], [-1, 0], [0, 1], [0, 1], [0, 1]]         # 43 to 50
    spots[..., 43:, :] += 0.01 * points.new_tensor(inwards)
    for _ in range(30):
        way = spots[..., :, None, :] - spots[..., None, :, :]                              # (*, 51, 51, 2)
        far = way.norm(dim=-1, keepdim=True)                                               # (*, 51, 51, 1)
        spots = (spots + (way / far.clamp(min=1e-9) * (apart - far).clamp(min=0) / 2).sum(-2)).clamp(16, side - 16)
    return spots, (x, y, size)


def _face(canvas: Canvas, picture: Tensor | None, window: tuple[int, int, int], x: float, y: float, side: float,
          fade: float) -> None:
    """The part of a picture that the window shows, on a panel of side × side points."""
    canvas.box(x, y, side, side, fill=(240, 242, 246))
    u, v, size = window
    a, b = max(u, 0), max(v, 0)
    part = picture[:, b:max(v + size, 0), a:max(u + size, 0)] if picture is not None else torch.empty(0)
    if part.numel():
        scale = side / size
        canvas.picture(part, x + (a - u) * scale, y + (b - v) * scale, part.shape[2] * scale, part.shape[1] * scale, fade)
    canvas.box(x, y, side, side, outline=FAINT, width=0.75)


def _node(canvas: Canvas, x: float, y: float, colour: Colour | None) -> None:
    """A kept node's disc in its colour; a dropped node's cross."""
    if colour is not None:
        canvas.disc(x, y, 5.6, PAPER)
        canvas.disc(x, y, 4.9, colour, INK, 0.7)
        return
    for ink, width in ((PAPER, 3.4), (INK, 1.3)):
        for up in (-2.6, 2.6):
            canvas.line([(x - 2.6, y - up), (x + 2.6, y + up)], ink, width)


def _spread(wanted: list[float], rooms: list[float], low: float, high: float) -> list[float]:
    """Middles of labels, about as wanted (ascending), so that each has its room and all lie in [low, high]."""
    room = torch.tensor(rooms)
    before = room.cumsum(0) - room / 2 - room[0] / 2                                       # with no gaps, from the first one on
    free = torch.tensor(wanted) - before                                                   # wanted: ascending
    free = (free.cummax(0).values + free.flip(0).cummin(0).values.flip(0)) / 2
    return (before + free.clamp(low + rooms[0] / 2, high - rooms[-1] / 2 - before[-1].item())).tolist()


def main(argv: Sequence[str]) -> int:
    """Draw the landmark graph of a drawn face; returns the exit status."""
    if len(argv) != 1 or argv[0].startswith("-"):
        print("usage: python -m refnet.figures.engat OUT.png", file=sys.stderr)
        return 2
    micro, size = plan_micro(1, seed=0, subjects=1), 256
    onset = int(micro.onset)
    video, landmarks = draw(micro.clip(0), size)                                           # (1, T, 3, H, W), (1, T, 68, 2)
    points, A = landmarks[0, onset, -LANDMARKS:], face_contours()                          # (51, 2), (51, 51)
    f = EdgeFeatures(gamma=0.1)(points / size, A)                                          # (51, 51, 2)
    picture = (255 * video[0, onset].clamp(0, 1)).round().byte()                           # (3, H, W)
    write_picture(landmark_graph(picture, points, A, f, "The landmark graph of a drawn face, gamma = 0.1"), argv[0])
    print(argv[0])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
