"""The charts that every paper needs: a confusion matrix, curves over epochs, bars for probabilities."""
import math
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from refnet.figures.canvas import (BLUE, FAINT, FINAL, GREEN, GREY, INK, LINES, PAPER, RED, Canvas, Colour, heat, readable_on,
                                   shortened, text_width, ticks)

NAME_ROOM = 130                                       # points that a class name may take before it is shortened


def confusion(counts: Tensor | list[list[int]], names: list[str], title: str = "") -> Image.Image:
    """A confusion matrix: each row's shares as colours, shares and counts as numbers.

    counts   (C, C)   how often a sample of the row's class was taken for the column's
    names    C class names

    A class without samples has a grey row. The count of each class stands after its name.
    """
    counts = torch.as_tensor(counts).detach().cpu().double()
    C = len(names)
    if counts.shape != (C, C) or C == 0:
        raise ValueError(f"{C} names need counts of ({C}, {C}); got {tuple(counts.shape)}")
    if not torch.isfinite(counts).all() or (counts < 0).any():
        raise ValueError("counts are 0 or above and finite; got a negative, infinite or NaN one")
    total = counts.sum(1)                                                                  # (C,)
    share = counts / total[:, None]                                                        # (C, C), NaN where a class is empty
    labels = [shortened(name, 12, NAME_ROOM) for name in names]
    under = [f"n = {n:.0f}" for n in total.tolist()]
    cell = 62 if C <= 4 else 54 if C <= 8 else 48
    room = max(text_width(w, 12) for w in labels)
    stand = room > cell - 8                                                                # names that need to stand upright
    left = 44 + max(room, *(text_width(w, 9.5) for w in under))
    top = 56 if title else 32
    bottom = 16 + (room if stand else 14) + 34
    wide = max(left + C * cell + 90, (text_width(title, 15) + 48) if title else 0)
    canvas = Canvas(wide, top + C * cell + bottom)
    if title:
        canvas.text(24, 24, title, 15, bold=True)
    for i in range(C):
        y = top + i * cell
        canvas.text(left - 8, y + cell / 2 - 7, labels[i], 12, anchor="rm")
        canvas.text(left - 8, y + cell / 2 + 8, under[i], 9.5, GREY, anchor="rm")
        for j in range(C):
            x, value = left + j * cell, share[i, j].item()
            colour = heat(value)
            canvas.box(x, y, cell, cell, fill=colour, outline=PAPER, width=0.75)
            if math.isnan(value):
                canvas.text(x + cell / 2, y + cell / 2, "-", 12, GREY, anchor="mm")
                continue
            ink = readable_on(colour) if value > 0 else GREY
            percent = f"{100 * value:.1f}%" if 0 < value < 1 else f"{100 * value:.0f}%"
            canvas.text(x + cell / 2, y + cell / 2 - 6, percent, 12, ink, "mm", bold=i == j)
            count = f"{counts[i, j].item():.0f}"
            canvas.text(x + cell / 2, y + cell / 2 + 9, shortened(count, 9.5, cell - 4), 9.5, ink, "mm")
    for j in range(C):
        x, y = left + (j + 0.5) * cell, top + C * cell + 8
        canvas.text(x, y, labels[j], 12, anchor="mt", upright=stand)
    canvas.box(left, top, C * cell, C * cell, outline=GREY, width=0.75)
    canvas.text(left + C * cell / 2, canvas.height - 18, "predicted", 13, GREY, "mm")
    canvas.text(18, top + C * cell / 2, "target", 13, GREY, "mm", upright=True)
    canvas.scale(left + C * cell + 24, top + 22, 12, C * cell - 22, 1.0, "share of row", percent=True)
    return canvas.image()


def confusions(parts: list[tuple[str, Tensor]], names: Sequence[str], title: str = "") -> Image.Image:
    """Confusion matrices of several models side by side: a name and counts (C, C) each, rows are the truth."""
    if not parts:
        raise ValueError("there are no confusion matrices; expected one or more")
    drawn = [confusion(counts, list(names), shortened(name, 15, 330)) for name, counts in parts]
    w, h, columns = max(image.width for image in drawn), drawn[0].height, 2 if len(drawn) == 4 else min(len(drawn), 3)
    canvas = Canvas(columns * w / FINAL, 52 + -(-len(drawn) // columns) * h / FINAL)
    canvas.text(24, 28, shortened(title, 17, canvas.width - 48), 17, bold=True)
    sheet = canvas.image()
    for n, image in enumerate(drawn):
        sheet.paste(image, (n % columns * w, 52 * FINAL + n // columns * h))
    return sheet


def curves(rows: dict[str, list[float]], x: list[float] | None = None, title: str = "", x_label: str = "epoch",
           panels: dict[str, list[str]] | None = None, colours: dict[str, Colour] | None = None) -> Image.Image:
    """Lines over a common x, one panel above the other where units differ.

    rows     name → values, as long as x or shorter; a gap is drawn where a value is not finite
    x        default 1, 2, 3, ...
    panels   the panel's y label → the names of its rows; default one panel with all of them
    """
    x = list(x) if x is not None else list(range(1, 1 + max((len(v) for v in rows.values()), default=0)))
    for name, values in rows.items():
        if len(values) > len(x):
            raise ValueError(f"row {name!r} has {len(values)} values, x has {len(x)}")
    panels = panels if panels is not None else {"": list(rows)}
    missing = [n for names in panels.values() for n in names if n not in rows]
    if missing:
        raise ValueError(f"panels name {missing}, rows hold {list(rows)}")
    colours = {n: LINES[k % len(LINES)] for k, n in enumerate(rows)} | (colours or {})
    left, high, wide = 76, 190, 470
    legend = 34 + max((text_width(shortened(n, 11.5, NAME_ROOM), 11.5) for n in rows), default=0)
    top = 58 if title else 24
    canvas = Canvas(max(left + wide + 20 + legend + 12, text_width(title, 15) + 48), top + len(panels) * (high + 30) + 20)
    if title:
        canvas.text(24, 26, title, 15, bold=True)
    xs = [v for v in x if math.isfinite(v)]
    x_low, x_high = (min(xs), max(xs)) if xs else (0.0, 1.0)
    if x_high == x_low:
        x_low, x_high = x_low - 0.5, x_high + 0.5
    for k, (label, names) in enumerate(panels.items()):
        y0, last = top + k * (high + 30), k == len(panels) - 1
        good = [v for n in names for v in rows[n] if math.isfinite(v)]
        low, up = (min(good), max(good)) if good else (0.0, 1.0)
        pad = 0.06 * (up - low) or 0.5 * max(abs(up), 1e-3)
        low, up = (0.0 if 0 <= low < pad * 3 else low - pad), up + pad

        def place(u: float, v: float) -> tuple[float, float]:
            return left + 8 + (wide - 16) * (u - x_low) / (x_high - x_low), y0 + high - high * (v - low) / (up - low)

        for v in ticks(low, up, 5):
            y = place(x_low, v)[1]
            canvas.line([(left, y), (left + wide, y)], FAINT, 0.6)
            canvas.text(left - 7, y, f"{v:.6g}", 10, GREY, "rm")
        whole = all(float(v).is_integer() for v in xs)
        for u in ticks(x_low, x_high, 10):
            if whole and not u.is_integer():
                continue
            spot = place(u, low)[0]
            canvas.line([(spot, y0 + high), (spot, y0 + high + 4)], GREY, 0.75)
            if last:
                canvas.text(spot, y0 + high + 7, f"{u:.6g}", 10, GREY, "mt")
        canvas.line([(left, y0), (left, y0 + high), (left + wide, y0 + high)], GREY, 0.9)
        if label:
            canvas.text(16, y0 + high / 2, shortened(label, 12, high), 12, GREY, "mm", upright=True)
        if not good:
            canvas.text(left + wide / 2, y0 + high / 2, "no values", 13, GREY, "mm")
        for n in names:
            for run in _runs([place(u, v) if math.isfinite(u) and math.isfinite(v) else None
                              for u, v in zip(x, rows[n], strict=False)]):
                if len(run) > 1:
                    canvas.line(run, colours[n], 1.8)
                if len(run) == 1 or len(x) <= 40:
                    for spot in run:
                        canvas.disc(*spot, 2.2 if len(x) <= 40 else 1.6, colours[n])
        for m, n in enumerate(names[:int(high // 18)]):
            y = y0 + 9 + 18 * m
            canvas.line([(left + wide + 20, y), (left + wide + 40, y)], colours[n], 2.2)
            canvas.text(left + wide + 46, y, shortened(n, 11.5, NAME_ROOM), 11.5)
    canvas.text(left + wide / 2, canvas.height - 14, x_label, 12, GREY, "mm")
    return canvas.image()


def bars(probabilities: Tensor | list[float], names: list[str], target: int | None = None, title: str = "") -> Image.Image:
    """Class probabilities as bars; the highest is the prediction, said right or wrong where the target is known."""
    values = _probabilities(probabilities, names)
    wide = bars_width(names)
    top = 52 if title else 28
    canvas = Canvas(max(wide + 32, text_width(title, 15) + 48), top + 22 * len(names) + 16)
    if title:
        canvas.text(16, 24, title, 15, bold=True)
    draw_bars(canvas, 16, top, wide, 22 * len(names), values, names, target)
    return canvas.image()


def bars_width(names: list[str]) -> float:
    """How many points wide draw_bars wants to be for these names."""
    return max(text_width(shortened(n, 11.5, NAME_ROOM), 11.5) for n in names) + 250


def draw_bars(canvas: Canvas, x: float, y: float, w: float, h: float, probabilities: Tensor | list[float], names: list[str],
              target: int | None = None) -> None:
    """A row a class within (x, y, w, h): name, bar, percent, and what the row is: predicted, target, right, wrong."""
    values = _probabilities(probabilities, names)
    top_one = max(range(len(values)), key=lambda k: -1.0 if math.isnan(values[k]) else values[k])
    known = not math.isnan(values[top_one])
    room = max(text_width(shortened(n, 11.5, NAME_ROOM), 11.5) for n in names)
    step, left = h / len(values), x + room + 10
    long = w - room - 10 - 118
    for k, value in enumerate(values):
        mid, first = y + (k + 0.5) * step, k == top_one and known
        colour = GREY if not first or target is None else GREEN if target == k else RED
        if first and target is None:
            colour = BLUE
        canvas.text(left - 10, mid, shortened(names[k], 11.5, NAME_ROOM), 11.5, INK, "rm", bold=first)
        canvas.box(left, mid - step * 0.32, long, step * 0.64, fill=(242, 243, 246))
        if value > 0:
            canvas.box(left, mid - step * 0.32, max(long * min(value, 1.0), 0.75), step * 0.64,
                       fill=colour if first else (176, 181, 192))
        note = "-" if math.isnan(value) else f"{100 * value:.1f}%"
        canvas.text(left + long + 42, mid, note, 11, colour if first else GREY, "rm", bold=first)
        word = ("right" if first and target == k else "wrong" if first and target is not None else
                "predicted" if first else "target" if target == k else "")
        canvas.text(left + long + 50, mid, word, 11, colour if first else INK, bold=first)


def _probabilities(probabilities: Tensor | list[float], names: list[str]) -> list[float]:
    values = torch.as_tensor(probabilities).detach().cpu().double()
    if values.shape != (len(names),) or not names:
        raise ValueError(f"{len(names)} names need as many probabilities; got {tuple(values.shape)}")
    return values.tolist()


def _runs(spots: list[tuple[float, float] | None]) -> list[list[tuple[float, float]]]:
    """Cut a list at its gaps."""
    runs: list[list[tuple[float, float]]] = [[]]
    for spot in spots:
        if spot is not None:
            runs[-1].append(spot)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]
