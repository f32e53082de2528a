"""A sheet of paper to draw on: text, lines, arrows, heat colours, pictures; Pillow underneath.

Places and sizes are in points: x to the right, y downwards, from the top left corner. A point is drawn with 4 × 4 dots and
handed over as 2 × 2 pixels, so that slanted lines are smooth and the picture is sharp on a dense screen or in print.
"""
import bisect
import functools
import math
import unicodedata

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

FINE, FINAL = 4, 2                                    # dots a point while drawing, pixels a point when handed over

Colour = tuple[int, int, int]
PAPER, INK, GREY, FAINT = (255, 255, 255), (32, 36, 48), (106, 112, 126), (214, 217, 224)
BLUE, ORANGE, GREEN, RED = (38, 100, 176), (221, 110, 26), (30, 132, 88), (198, 54, 48)
LINES = (BLUE, ORANGE, GREEN, (146, 78, 160), RED, (92, 92, 98), (20, 150, 170), (166, 124, 30))

HEAT = ((253, 246, 219), (229, 232, 160), (163, 212, 132), (90, 184, 140), (42, 148, 146), (40, 104, 144), (58, 58, 128),
        (50, 20, 84))                                 # pale to dark in even steps of lightness


def heat(value: float) -> Colour:
    """The colour of a value in [0, 1], pale to dark; what lies outside takes the end's colour, NaN is grey."""
    if math.isnan(value):
        return FAINT
    place = min(max(value, 0.0), 1.0) * (len(HEAT) - 1)
    k = min(int(place), len(HEAT) - 2)
    return mix(HEAT[k], HEAT[k + 1], place - k)


def mix(a: Colour, b: Colour, share: float) -> Colour:
    """From colour a (share 0) to colour b (share 1)."""
    return tuple(round(p + (q - p) * share) for p, q in zip(a, b, strict=True))


def readable_on(colour: Colour) -> Colour:
    """Ink or paper, whichever can be read on the colour."""
    return INK if 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2] > 140 else PAPER


def plain(words: str) -> str:
    """The words in the letters that the font has: é becomes e; what has no such letter becomes ?"""
    split = unicodedata.normalize("NFKD", str(words))
    return "".join(c if " " <= c <= "~" else " " if c.isspace() else "?" for c in split if not unicodedata.combining(c))


@functools.lru_cache(maxsize=64)
def _font(size: float) -> ImageFont.FreeTypeFont:
    """The font that comes with Pillow, in dots."""
    return ImageFont.load_default(size * FINE)


def text_width(words: str, size: float) -> float:
    """How many points wide the words are."""
    return _font(size).getlength(plain(words)) / FINE


def shortened(words: str, size: float, room: float) -> str:
    """The words, cut at the end with two dots where they need more room."""
    if text_width(words, size) <= room:
        return words
    short = bisect.bisect_right(range(len(words)), room, key=lambda n: text_width(words[:n] + "..", size)) - 1
    return words[:max(short, 0)] + ".."


def ticks(low: float, high: float, about: int = 5) -> list[float]:
    """Round numbers, a step of 1, 2 or 5 times a power of ten apart, that lie in [low, high]."""
    raw = (high - low) / max(about, 1)
    if not (math.isfinite(raw) and raw > 0):
        raise ValueError(f"ticks go from a low to a higher number; got {low} and {high}")
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(m * power for m in (1, 2, 5, 10) if m * power >= 0.8 * raw)
    first = math.ceil(low / step - 1e-9)
    return [round(k * step, 12) for k in range(first, math.floor(high / step + 1e-9) + 1)]


def expect(name: str, value: Tensor, shape: tuple[int | None, ...], kind: torch.dtype | None = None) -> Tensor:
    """The tensor on the CPU, in float64 unless a dtype is asked for; ValueError for another shape (None is any) or NaN."""
    fits = value.dim() == len(shape) and all(m == n or n is None and m > 0 for m, n in zip(value.shape, shape, strict=True))
    if not fits or kind not in (None, value.dtype):
        wanted = ", ".join("any" if n is None else str(n) for n in shape) + "," * (len(shape) == 1)
        raise ValueError(f"{name} is {value.dtype} {tuple(value.shape)}; expected {f'{kind} ' if kind else ''}({wanted})")
    if not torch.isfinite(value).all():
        raise ValueError(f"{name} has values that are not finite; expected numbers everywhere")
    return value.detach().cpu().to(kind or torch.float64)


class Canvas:
    """A sheet of width × height points. Whatever would fall outside it is refused, never cut off in silence."""

    def __init__(self, width: float, height: float, background: Colour = PAPER):
        self.width, self.height = math.ceil(width), math.ceil(height)
        self._image = Image.new("RGB", (self.width * FINE, self.height * FINE), background)
        self._draw = ImageDraw.Draw(self._image)

    def image(self) -> Image.Image:
        """The finished picture, 2 pixels a point."""
        return self._image.resize((self.width * FINAL, self.height * FINAL), Image.Resampling.BOX)

    def text(self, x: float, y: float, words: str, size: float = 12, colour: Colour = INK, anchor: str = "lm",
             bold: bool = False, halo: Colour | None = None, upright: bool = False) -> None:
        """Write one line. anchor: l, m, r of the words stands at x; t, m, b at y. upright: from bottom to top."""
        words, font = plain(words), _font(size)
        stroke = size * FINE / 48 if bold else 0
        rim = round(size * FINE / 7) if halo else 0
        wide, high = math.ceil(font.getlength(words) + 2 * stroke), round(1.2 * size * FINE)      # room for g and for E
        across, down = (high, wide) if upright else (wide, high)
        left = round(x * FINE) - {"l": 0, "m": across // 2, "r": across}[anchor[0]]
        top = round(y * FINE) - {"t": 0, "m": down // 2, "b": down}[anchor[1]]
        self._inside(f"the words {words!r}", left, top, left + across, top + down)
        mask = Image.new("L", (wide + 2 * rim, high + 2 * rim))
        start = (rim + stroke, rim + round(0.95 * size * FINE))                            # on the base line
        if halo:
            ImageDraw.Draw(mask).text(start, words, 255, font, anchor="ls", stroke_width=rim)
            self._image.paste(halo, (left - rim, top - rim), mask.rotate(90, expand=True) if upright else mask)
            mask = Image.new("L", mask.size)
        ImageDraw.Draw(mask).text(start, words, 255, font, anchor="ls", stroke_width=stroke)
        self._image.paste(colour, (left - rim, top - rim), mask.rotate(90, expand=True) if upright else mask)

    def box(self, x: float, y: float, w: float, h: float, fill: Colour | None = None, outline: Colour | None = None,
            width: float = 1, radius: float = 0, opacity: float = 1.0) -> None:
        """A rectangle w × h; the outline grows inwards; opacity below 1 lets show through what is under the fill."""
        self._inside("a box", *(round(v * FINE) for v in (x, y, x + w, y + h)))
        place = [round(x * FINE), round(y * FINE), round((x + w) * FINE) - 1, round((y + h) * FINE) - 1]
        if fill is not None and opacity < 1:
            mask = Image.new("L", (place[2] - place[0] + 1, place[3] - place[1] + 1), round(255 * opacity))
            self._image.paste(fill, place[:2], mask)
            fill = None
        if fill is not None or outline is not None:
            self._draw.rounded_rectangle(place, radius * FINE, fill, outline, round(width * FINE) if outline else 0)

    def disc(self, x: float, y: float, r: float, fill: Colour | None = None, outline: Colour | None = None,
             width: float = 1) -> None:
        """A disc of radius r about (x, y)."""
        place = [round(v * FINE) for v in (x - r, y - r, x + r, y + r)]
        self._inside("a disc", *place)
        self._draw.ellipse(place, fill, outline, round(width * FINE) if outline else 0)

    def line(self, points: list[tuple[float, float]], colour: Colour = INK, width: float = 1,
             dash: float | None = None) -> None:
        """A line through the points, with round joints and ends; dash: the length of strokes and gaps."""
        spots = [(x * FINE, y * FINE) for x, y in points]
        xs, ys = [p[0] for p in spots], [p[1] for p in spots]
        self._inside("a line", min(xs), min(ys), max(xs), max(ys))
        if dash is not None:
            for piece in _dashes(points, dash):
                self.line(piece, colour, width)
            return
        self._draw.line(spots, colour, max(1, round(width * FINE)), joint="curve")
        r = width * FINE / 2 - 0.5
        if r >= 1:
            for x, y in (spots[0], spots[-1]):
                self._draw.ellipse([x - r, y - r, x + r, y + r], colour)

    def arrow(self, points: list[tuple[float, float]], colour: Colour = INK, width: float = 1.5, head: float | None = None,
              dash: float | None = None) -> None:
        """A line whose last point is the tip of an arrow head."""
        head = head or 4 + 2.2 * width
        (x, y), back = points[-1], _before(points, head)
        a = math.atan2(y - back[-1][1], x - back[-1][0])
        self.line(back, colour, width, dash)
        wings = [(x - head * math.cos(a + s), y - head * math.sin(a + s)) for s in (0.42, -0.42)]
        corners = [(x, y), *wings]
        self._inside("an arrow head", *(f(c[k] for c in corners) * FINE for f in (min, max) for k in (0, 1)))
        self._draw.polygon([(u * FINE, v * FINE) for u, v in corners], colour)

    def area(self, points: list[tuple[float, float]], fill: Colour) -> None:
        """A filled polygon."""
        xs, ys = [p[0] * FINE for p in points], [p[1] * FINE for p in points]
        self._inside("an area", min(xs), min(ys), max(xs), max(ys))
        self._draw.polygon(list(zip(xs, ys, strict=True)), fill)

    def picture(self, picture: Tensor, x: float, y: float, w: float, h: float, fade: float = 0.0) -> None:
        """Paste a picture (3, H, W) uint8, stretched to w × h; fade: the share of white paper laid over it."""
        if picture.dim() != 3 or len(picture) != 3 or picture.dtype != torch.uint8:
            raise ValueError(f"a picture is uint8 (3, H, W); got {picture.dtype} {tuple(picture.shape)}")
        self._inside("a picture", *(round(v * FINE) for v in (x, y, x + w, y + h)))
        left, top = round(x * FINE), round(y * FINE)
        size = (round((x + w) * FINE) - left, round((y + h) * FINE) - top)
        found = Image.fromarray(np.ascontiguousarray(picture.detach().cpu().movedim(0, -1).numpy()))
        found = found.resize(size, Image.Resampling.BICUBIC)
        self._image.paste(Image.blend(found, Image.new("RGB", size, PAPER), fade), (left, top))

    def scale(self, x: float, y: float, w: float, h: float, high: float, title: str = "", low: float = 0.0,
              percent: bool = False) -> None:
        """An upright colour scale from low (bottom) to high (top), ticks to its right, the title above it.

        Needs about 34 points to the right of x + w for the numbers, and 20 above y for a title.
        """
        steps = round(h * FINE)
        for k in range(steps):
            top = round(y * FINE) + k
            self._draw.rectangle([round(x * FINE), top, round((x + w) * FINE) - 1, top], heat(1 - k / max(steps - 1, 1)))
        self.box(x, y, w, h, outline=GREY, width=0.5)
        for value in ticks(low, high, 5):
            spot = y + h - h * (value - low) / (high - low)
            self.line([(x + w, spot), (x + w + 3, spot)], GREY, 0.75)
            self.text(x + w + 5, spot, f"{100 * value:.0f}%" if percent else f"{value:g}", 9.5, GREY)
        if title:
            self.text(x, y - 15, title, 9.5, GREY)

    def _inside(self, what: str, left: float, top: float, right: float, bottom: float) -> None:
        """left, top, right, bottom in dots."""
        if left < 0 or top < 0 or right > self.width * FINE or bottom > self.height * FINE:
            place = ", ".join(f"{v / FINE:.0f}" for v in (left, top, right, bottom))
            raise ValueError(f"{what} would be cut off: it needs ({place}), the sheet is {self.width} × {self.height} points")


def bow(a: tuple[float, float], b: tuple[float, float], bend: float, n: int = 40) -> list[tuple[float, float]]:
    """Points of a curve from a to b that swings out by bend points, to the left of the way as seen on the sheet."""
    dx, dy = b[0] - a[0], b[1] - a[1]
    far = math.hypot(dx, dy) or 1.0
    cx, cy = (a[0] + b[0]) / 2 + 2 * bend * dy / far, (a[1] + b[1]) / 2 - 2 * bend * dx / far
    return [((1 - s) ** 2 * a[0] + 2 * s * (1 - s) * cx + s * s * b[0], (1 - s) ** 2 * a[1] + 2 * s * (1 - s) * cy + s * s * b[1])
            for s in (k / n for k in range(n + 1))]


def clear_of(points: list[tuple[float, float]], start: float, end: float) -> list[tuple[float, float]]:
    """The line without its first start and its last end points of length, so that it stops at the rim of a node."""
    return _before(_before(points, end)[::-1], start)[::-1]


def _before(points: list[tuple[float, float]], cut: float) -> list[tuple[float, float]]:
    """The line without its last cut points of length; of a line shorter than that, its first two hundredths."""
    points = list(points)
    while len(points) > 1:
        (ax, ay), (bx, by) = points[-2], points[-1]
        length = math.hypot(bx - ax, by - ay)
        if length > cut:
            s = (length - cut) / length
            return points[:-1] + [(ax + s * (bx - ax), ay + s * (by - ay))]
        cut -= length
        points.pop()
        if len(points) == 1:
            return [points[0], (points[0][0] + 0.02 * (bx - ax), points[0][1] + 0.02 * (by - ay))]
    return points


def _dashes(points: list[tuple[float, float]], dash: float) -> list[list[tuple[float, float]]]:
    """Cut a line into strokes as long as the gaps between them."""
    lengths = [math.dist(a, b) for a, b in zip(points, points[1:], strict=False)]
    count = max(1, round((sum(lengths) / dash + 1) / 2))
    step = sum(lengths) / (2 * count - 1)
    return [clear_of(points, 2 * k * step, sum(lengths) - (2 * k + 1) * step) for k in range(count)]
