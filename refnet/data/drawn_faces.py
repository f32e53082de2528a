"""Drawn faces: the built-in data set. Nothing to download, everything known, nothing said about real faces.

Three frames, and an explicit way back from a pixel to the skin it shows:

    picture ── similarity ──→ posed ── − (identity + turn) ──→ head ── − action units ──→ skin
    pixels      _similarity           _back                            _back

Each displacement is a sum of smooth bumps: one set for a trait, a turn, a muscle's pull. Eyes, mouth and hair are shapes
in the head frame; skin, brows, nose and wrinkles are painted on a map in the skin frame and move with it. A landmark goes
the other way, `_forth`. x points right, y down; the mean face has its eyes at (±0.38, −0.20), its mouth at (0, 0.60), its
chin at (0, 1.06). The faces are caricatures after the Facial Action Coding System: they teach and test code, and claim
nothing about how people look or feel.

    python -m refnet.data.drawn_faces OUT.png      a labelled sheet: a row for each subject, a column for each expression
"""
import sys
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from refnet.data.drawn_plan import (AT_ONCE, AUS, CREASES, EXPRESSIONS, EYE_W, EYE_X, EYE_Y, HAIR, HALF, IRIS, KNOTS, MUSCLES,
                                    REACH, RELIEF, SHAPES, SKIN, SKIN_REACH, Faces, plan)

FULL_UP, FULL_DOWN = .016, .026     # how far full lips are painted beyond their edges
SEAM, PAST = .011, .015             # the line between closed lips: half its width, and how far it runs past the corners
ENDS, LINE = 1.06, .007             # the lids' edges: how far across the eye they run; half the width of the lower one's line
LASH, LASHES, FOLD = .006, .019, .058   # over the upper lid's edge: the lashes' middle, half their width; the fold

# ---- geometry: displacement fields, and the ways between the frames

def _knots(size: int, reach: float, device) -> tuple[Tensor, Tensor]:
    """x and y of a square lattice over −reach..reach: (size, size) each"""
    axis = torch.linspace(-reach, reach, size, device=device)
    return axis.expand(size, size), axis[:, None].expand(size, size)


def _spot(x, y, cx: float, cy: float, w: float, h: float) -> Tensor:
    """A smooth bump of height 1, of the shape of x and y."""
    return torch.exp(-((x - cx) / w) ** 2 - ((y - cy) / h) ** 2)


@cache
def _bases(device) -> tuple[Tensor, Tensor]:
    """The displacements of the S shapes and two turns (S + 2, 2·G²), and of the units, left half, then right (2·18, 2·G²)"""
    x, y = _knots(KNOTS, REACH, device)
    still = torch.zeros(2, KNOTS, KNOTS, device=device)
    pull = lambda s, x0, y0, w, h, dx, dy: _spot(s * x, y, x0, y0, w, h) * x.new_tensor([s * dx, dy])[:, None, None]
    half = lambda bumps, sign: sum((pull(sign, *bump) for bump in bumps), still).flatten()
    depth = .50 * _spot(x, y, 0, 0, .8, 1.1) + .14 * _spot(x, y, 0, .2, .2, .28)   # it moves as the head turns
    turns = [torch.stack([depth, 0 * depth]).flatten(), torch.stack([0 * depth, depth]).flatten()]
    return (torch.stack([half(bumps, -1) + half(bumps, 1) for bumps in SHAPES.values()] + turns),
            torch.stack([half(MUSCLES[unit], sign) for sign in (-1, 1) for unit in AUS]))


def _fields(faces: Faces, units: Tensor) -> tuple[Tensor, Tensor]:
    """The displacement by identity and turn, and by the units (N, 2, 18): (N, 2, G, G) each"""
    shapes, muscles = _bases(units.device)
    traits = 2 * faces.identity[:, None, :len(SHAPES)].expand(-1, faces.pose.shape[1], -1) - 1  # (B, T, S)
    weights = torch.cat([traits, torch.sin(faces.pose[..., 4:])], -1).flatten(0, 1)             # (N, S + 2)
    return tuple(f.unflatten(1, (2, KNOTS, KNOTS)) for f in (weights @ shapes, units.flatten(1) @ muscles))


def _similarity(faces: Faces) -> tuple[Tensor, Tensor]:
    """Of each frame, matrix (N, 2, 2) and shift (N, 2, 1, 1): picture = matrix · posed + shift"""
    pose = faces.pose.flatten(0, 1)
    c, s = pose[:, 3].cos(), pose[:, 3].sin()
    return torch.exp(pose[:, 2] - .06)[:, None, None] * torch.stack([c, -s, s, c], 1).unflatten(1, (2, 2)), \
        (pose[:, :2] - pose.new_tensor([0, .06]))[..., None, None]


def _sample(maps: Tensor, points: Tensor, reach: float) -> Tensor:
    """Read maps (N, C, G, G) that span −reach..reach at points (N, 2, H, W) → (N, C, H, W)"""
    return F.grid_sample(maps, (points / reach).movedim(1, -1), padding_mode="border", align_corners=True)


def _back(points: Tensor, field: Tensor) -> Tensor:
    """Take a displacement away, the explicit direction: points (N, 2, H, W), field (N, 2, G, G) → (N, 2, H, W)"""
    return points - _sample(field, points, REACH)


def _forth(points: Tensor, field: Tensor) -> Tensor:
    """Undo `_back`: solve moved = points + field(moved) by fixed-point iteration; the same shapes."""
    moved = points
    for _ in range(32):
        moved = points + _sample(field, moved, REACH)
    return moved


def _mouth(a) -> dict[str, Tensor]:
    """What the units make of the mouth, left and right, (N, 2) each; a(unit) is a unit's intensity (N, 2)"""
    both = lambda v: v.mean(1, keepdim=True).expand(-1, 2)  # the middle belongs to both sides
    return {"x": .31 + .12 * (a(12) + a(20) - a(26)) + .05 * a(14) + .02 * a(15) - .07 * a(23) - .03 * a(24),  # the corner
            "y": .60 - .15 * a(12) + .11 * a(15) + .05 * a(20) - .04 * a(14) - .02 * a(10) + .09 * a(26),
            "middle": both(.60 + .02 * a(12) - .05 * a(17) - .05 * a(10) - .03 * a(9) - .03 * a(15)),
            "up": both(a(25) * (.02 + .06 * a(10) + .02 * a(12)) + .07 * a(26)),                # how far the lips part
            "down": both(a(25) * (.06 + .07 * a(12) + .03 * a(20)) + .06 * a(16) + .30 * a(26)),
            "upper": both(.075 + .01 * a(10) - .02 * a(12) - .02 * a(20) - .035 * a(23) - .05 * a(24)),  # their thickness
            "lower": both(.10 - .02 * a(12) + .02 * a(17) - .02 * a(20) - .04 * a(23) - .06 * a(24))}


def _lids(a, blink: Tensor) -> dict[str, Tensor]:
    """How far the lids stand from the eye's axis and how the upper one slants, (N, 2) each; blink (N, 1)"""
    upper = .105 + .065 * a(5) - .028 * a(7) - .020 * a(6) - .030 * a(9) - .012 * a(4) * (1 - a(5))
    lower = .060 + .012 * a(5) - .028 * a(7) - .036 * a(6) - .020 * a(9)
    slant = -.15 + .55 * a(4) * (1 - a(1)) - .35 * a(1) * (1 - a(2))  # inner end low: anger; high: sadness
    return {"upper": upper * (1 - blink) - .03 * blink, "lower": lower * (1 - .3 * blink), "slant": slant}


def _pick(sides: dict[str, Tensor], x: Tensor) -> dict[str, Tensor]:
    """At each x (N, H, W), the value of its own side."""
    return {k: torch.where(x > 0, v[:, 1, None, None], v[:, 0, None, None]) for k, v in sides.items()}


def _lips(x: Tensor, m: dict[str, Tensor]) -> tuple[Tensor, ...]:
    """Heights at x of the lips' edges from above: outer and inner upper, inner and outer lower; (N, H, W) each"""
    s2 = (x / m["x"]) ** 2  # 0 in the middle, 1 at the corner
    line, part = m["middle"] + (m["y"] - m["middle"]) * s2, 1 - s2 * s2
    above, below = line - m["up"] * part, line + m["down"] * part
    return above - m["upper"] * (1 - s2 - .28 * torch.exp(-30 * s2)), above, below, below + m["lower"] * part


def _eye(x: Tensor, lids: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Where across an eye x is, −1 its inner corner, 1 its outer one, and the heights of the lids there; (N, H, W) each"""
    s = (x.abs() - EYE_X) / EYE_W
    arch, axis = 1 - s * s, EYE_Y - .012 * s
    return s, axis - lids["upper"] * arch * (1 + lids["slant"] * s), axis + lids["lower"] * arch * (1 + .15 * s)


def _brow(s: Tensor) -> Tensor:
    """Height of a brow's middle in the skin frame, s from 0 at its inner end to 1 at its outer one"""
    return -.435 - .26 * s * (1.25 - s) * (1 - .25 * s)


class Geometry(NamedTuple):
    """Where things are in N frames."""
    units: Tensor                  # (N, 2, 18)       the units' intensities, left and right
    field: Tensor                  # (N, 2, G, G)     displacement by identity and turn, from head to posed
    muscles: Tensor                # (N, 2, G, G)     displacement by the units, from skin to head
    matrix: Tensor                 # (N, 2, 2)        picture = matrix · posed + shift
    shift: Tensor                  # (N, 2, 1, 1)
    mouth: dict[str, Tensor]       # (N, 2) each      `_mouth`
    lids: dict[str, Tensor]        # (N, 2) each      `_lids`


def _geometry(faces: Faces) -> Geometry:
    """What a plan says of where things are, in each of its N = B·T frames"""
    balance = faces.side[:, None]                                                               # (B, 1, 18)
    units = torch.stack([faces.aus * (1 - balance.clamp(min=0)), faces.aus * (1 + balance.clamp(max=0))], 2)
    units = units.flatten(0, 1)                                                                 # (N, 2, 18)
    a = lambda unit: units[:, :, AUS.index(unit)]                                               # (N, 2)
    lids = _lids(a, faces.eyes.flatten(0, 1)[:, 2:])
    return Geometry(units, *_fields(faces, units), *_similarity(faces), _mouth(a), lids)


def _posed(where: Geometry, size: int) -> Tensor:
    """The pixels' places in the posed frame: (N, 2, size, size)"""
    axis, matrix = _axis(size, where.shift.device), where.matrix
    px, py = axis - where.shift[:, 0], axis[:, None] - where.shift[:, 1]                        # (N, 1, W), (N, H, 1)
    away = (matrix.mT / torch.linalg.det(matrix)[:, None, None])[..., None, None]  # the inverse of a similarity
    return torch.stack([away[:, i, 0] * px + away[:, i, 1] * py for i in (0, 1)], 1)


def _axis(size: int, device) -> Tensor:
    """The pixels' centres along one side of the picture: (size,)"""
    return (torch.arange(size, device=device) + .5) * (2 * HALF / size) - HALF


def _ring(dx: Tensor, dy: Tensor) -> Tensor:
    """Under 0 within the unit circle."""
    return (dx * dx + dy * dy).sqrt_().sub_(1)


def _oval(x: Tensor, y: Tensor) -> Tensor:
    """How far outside the face a place in the skin frame is, in its units; under 0 inside"""
    return _ring(x / (.80 - .096 * y), y / 1.06).mul_(.8)


def _hair(x: Tensor, y: Tensor, look) -> tuple[Tensor, Tensor]:
    """How far outside the hair's mass, and how far below the fringe's edge, a place in the head frame is: (N, H, W) each"""
    fall = .55 + 1.7 * (look("hair length") - .4).clamp(min=0)
    rise = (y + .15) / torch.where(y < -.15, .98 + .16 * look("hair volume"), fall)
    mass = _ring(x / (.88 + .10 * look("hair volume")), torch.where(y < -.15, rise, rise * rise)).mul_(.8)
    line = y + .80 - .30 * look("fringe") ** 2 - (look("parting") - .5) * .5 * x - .85 * x.abs() ** 3
    return mass, line - .01 * (torch.sin(21 * x + 9 * look("parting")) + torch.sin(47 * x))


def _box(x: Tensor, y: Tensor, patch: Tensor) -> Tensor:
    """How far outside its patch a place x, y in the picture is, patch (N, 8, 1, 1): (N, H, W)"""
    return torch.maximum((x - patch[:, 0]).abs() - patch[:, 2], (y - patch[:, 1]).abs() - patch[:, 3])


def _landmarks(mouth: dict, lids: dict, field: Tensor, muscles: Tensor) -> Tensor:
    """The 68 points, in dlib's order, in the posed frame → (N, 2, 1, 68)"""
    line = lambda *v: field.new_tensor(v)
    angle = torch.linspace(-.16, torch.pi + .16, 17, device=field.device)
    jaw = torch.stack([-angle.cos() * (.80 - .102 * angle.sin()), 1.06 * angle.sin()])          # (2, 17)
    s = torch.linspace(0, 1, 5, device=field.device)
    brow = torch.stack([.16 + .46 * s, _brow(s)])                                               # (2, 5), inner to outer
    nose = line(0, 0, 0, 0, -.15, -.08, 0, .08, .15), line(-.20, -.05, .10, .24, .29, .325, .34, .325, .29)
    skin = torch.cat([jaw, (line(-1, 1)[:, None] * brow).flip(1), brow, torch.stack(nose)], 1)               # (2, 36)
    skin = _forth(skin[None, :, None].expand(len(field), -1, -1, -1), muscles)                  # (N, 2, 1, 36)
    across = EYE_W * line(-1, -1 / 3, 1 / 3, 1, 1 / 3, -1 / 3)
    ex = torch.cat([across - EYE_X, across + EYE_X]).expand(len(field), 1, 12)
    _, above, below = _eye(ex, _pick(lids, ex))
    ey = torch.where(line(1, 1, 1, 1, 0, 0).repeat(2) > 0, above, below)                        # (N, 1, 12)
    step = line(-1, -.67, -.22, 0, .22, .67, 1, .67, .22, 0, -.22, -.67, -1, -.4, 0, .4, 1, .4, 0, -.4)
    m = _pick(mouth, step.expand(len(field), 1, 20))
    edges = torch.stack(_lips(step * m["x"], m), -1)                                            # (N, 1, 20, 4)
    edge = line(*[0] * 7, *[3] * 5, *[1] * 5, *[2] * 3).long()
    my = edges.gather(-1, edge[:, None].expand(*edges.shape[:3], 1))[..., 0]                    # (N, 1, 20)
    soft = torch.stack([torch.cat([ex, step * m["x"]], -1), torch.cat([ey, my], -1)], 1)        # (N, 2, 1, 32)
    return _forth(torch.cat([skin, soft], -1), field)


# ---- paint

def _palette(table, u: Tensor) -> Tensor:
    """A colour between neighbours of a palette, u in [0, 1]: (B,) → (B, 3)"""
    table, at = u.new_tensor(table), u * (len(table) - 1)
    i = at.long().clamp(max=len(table) - 2)
    return torch.lerp(table[i], table[i + 1], (at - i)[:, None])


def _colours(faces: Faces) -> dict[str, Tensor]:
    """Each subject's colours, (B, 3): darker skin goes with darker hair and eyes."""
    t, dark = faces.trait, faces.trait("melanin")
    tint = lambda *rgb: dark.new_tensor(rgb)
    skin = _palette(SKIN, dark) * (1 + (t("undertone") - .5)[:, None] * tint(.04, -.03, -.10))
    hair = _palette(HAIR, t("hair colour") * (1.2 - 1.1 * dark).clamp(.1, 1))
    hair = hair + (tint(.66, .65, .64) - hair) * ((t("grey") - .85).clamp(min=0) / .15)[:, None]
    return {"skin": skin, "hair": hair, "iris": _palette(IRIS, t("iris") * (1 - .9 * (dark > .55))),
            "lip": skin * tint(.86, .58, .57) + t("lip colour")[:, None] * tint(.06, -.05, -.02),
            "cloth": .25 + .6 * torch.stack([t("red"), t("green"), t("blue")], 1)}


@cache
def _relief(size: int, device) -> tuple[Tensor, Tensor, Tensor]:
    """The mean face as a landscape, its slopes in x and y (size, size), and the units' creases, as `_bases` (2·18, size²)"""
    x, y = _knots(size, SKIN_REACH, device)
    pitch = 2 * SKIN_REACH / (size - 1)
    z = .75 * (1.12 - (x / .85) ** 2 - (y / 1.12) ** 2).clamp(min=.02).sqrt()
    z = z + sum(height * _spot(x.abs(), y, *where) for *where, height in RELIEF)
    zy, zx = torch.gradient(z, spacing=pitch)
    lines = []
    for sign, unit in ((sign, unit) for sign in (-1, 1) for unit in AUS):
        lines.append(torch.zeros_like(x))
        for cx, cy, length, thick, degrees, depth in CREASES.get(unit, ()):
            turn, thick = x.new_tensor(degrees).deg2rad(), max(thick, .6 * pitch)
            along = turn.cos() * (sign * x - cx) + turn.sin() * (y - cy)
            over = turn.cos() * (y - cy) - turn.sin() * (sign * x - cx) + .8 * along ** 2       # a little bent
            bright, dark = _spot(along, over, 0, -2 * thick, length, 1.5 * thick), _spot(along, over, 0, 0, length, thick)
            lines[-1] += depth * (.5 * bright - dark)
    return zx, zy, torch.stack(lines).flatten(1)


def _over(canvas: Tensor, paint, alpha: Tensor) -> None:
    """Lay paint (N, 3, ...), or one colour of three numbers, over a canvas (N, 3, H, W) where alpha (N, H, W) says"""
    paint = paint if isinstance(paint, Tensor) else canvas.new_tensor(paint)[:, None, None]
    canvas.lerp_(paint.expand_as(canvas), alpha[:, None])


def _skin(faces: Faces, size: int) -> Tensor:
    """Each subject's face at rest under the clip's light, painted flat in the skin frame → (B, 3, size, size)"""
    x, y = _knots(size, SKIN_REACH, faces.light.device)
    ax, pitch = x.abs(), 2 * SKIN_REACH / size
    look = lambda name: faces.trait(name)[:, None, None]                                        # (B, 1, 1)
    tone, hair = (_colours(faces)[name][..., None, None] for name in ("skin", "hair"))          # (B, 3, 1, 1)
    zx, zy, _ = _relief(size, faces.light.device)
    spread = lambda v: F.interpolate(v, (size, size), mode="bicubic", align_corners=True)[:, 0]
    fine, broad = spread(faces.detail[:, None]), spread(F.avg_pool2d(faces.detail[:, None], 4))  # (B, M, M) each
    light = (1 - .38 * (faces.light[:, 0, None, None] * zx + faces.light[:, 1, None, None] * zy)).clamp(.5, 1.25)
    hollow = .18 * _spot(ax, y, .37, -.20, .24, .13) + .20 * _spot(ax, y, .17, .27, .035, .07)  # eyes, wings of the nose
    hollow = hollow + .12 * _spot(x, y, 0, .36, .10, .04) + .12 * _spot(x, y, 0, .775, .16, .035)
    light = light * (1 + .022 * fine + .10 * broad) * (1 - hollow)
    face = tone * light[:, None]                                                                # (B, 3, M, M)
    blush = .5 * _spot(ax, y, .48, .20, .22, .18) + .4 * _spot(x, y, 0, .25, .12, .08)
    _over(face, face * face.new_tensor([1.0, .74, .72])[:, None, None], look("blush") * blush)
    freckles = 1.8 * (look("freckles") - .6).clamp(min=0) * (fine - 1.1).clamp(0, 1) * _spot(ax, y, .3, .15, .4, .25)
    _over(face, tone * .6, freckles)
    beard = torch.sigmoid(22 * (y - .42 + .3 * (ax - .5).clamp(min=0))) * (1 - .8 * _spot(x, y, 0, .61, .34, .12))
    _over(face, hair * .6 + .1, (.9 * (look("stubble") - .6).clamp(min=0) * beard * (1 + .15 * fine)).clamp(0, 1))
    _over(face, tone * .25, .85 * _spot(ax, y, .072, .315, .042, .024).expand_as(light))        # nostrils
    s = (ax - .16) / .46
    thick = (.020 + .028 * look("brow weight")) * (1 - .55 * s.clamp(0, 1)) + .3 * pitch
    edge = torch.maximum((y - _brow(s)).abs() - thick, torch.maximum(-s, s - 1) * .46)
    _over(face, hair * .75, (.5 - edge / (1.4 * pitch)).clamp(0, 1) * (.88 + .05 * fine).clamp(0, 1))  # brows
    return face


def _paint_mouth(canvas: Tensor, x: Tensor, y: Tensor, cover, mouth: dict, a, lip: Tensor, full: Tensor) -> None:
    """Lips, teeth, tongue: canvas (N, 3, h, w), x, y (N, h, w) in the head frame, lip (N, 3, 1, 1), full (N, 1, 1)"""
    m, ax, middle = _pick(mouth, x), x.abs(), lambda v: v.mean(1)[:, None, None]
    top, above, below, low = _lips(x, m)
    top, low, between = top - FULL_UP * (full - .4), low + FULL_DOWN * (full - .4), ax < m["x"] + .008
    _over(canvas, lip, cover(torch.maximum(top - y, y - low)) * between * .9)
    _over(canvas, lip * .84, cover(torch.maximum(top - y, y - above)) * between * .7)  # the upper lip lies in the shade
    _over(canvas, lip * .4 + .6, .25 * _spot(x, y - .45 * below - .55 * low, 0, 0, .13, .022))  # the lower one shines
    inside = cover(torch.maximum(above - y, y - below)) * between
    _over(canvas, (.24, .06, .07), inside)
    _over(canvas, (.74, .34, .34), inside * cover(((x / .17) ** 2 + ((y - below) / .09) ** 2).sqrt_().sub_(1).mul_(.1)))
    white = canvas.new_tensor([.96, .94, .90])[:, None, None] * (1.03 - 1.6 * ax * ax)[:, None]
    _over(canvas, white, inside * cover(torch.maximum(y - above - .085 + .045 * middle(a(26) * (1 - a(12))), ax - .29)))
    _over(canvas, white * .92, inside * cover(below - .03 - y) * middle(a(16) + .8 * a(20)).clamp(0, 1))
    _over(canvas, lip * .42, cover((y - .5 * (above + below)).abs() - SEAM) * (ax < m["x"] + PAST) * (1 - inside) * .85)


def _paint_eyes(canvas: Tensor, x: Tensor, y: Tensor, cover, lids: dict, gaze: Tensor, colours: dict,
                crease: Tensor) -> None:
    """Whites, irises, lids: canvas (N, 3, h, w), x, y (N, h, w) in the head frame, gaze (N, 2), crease (N, 1, 1)"""
    s, top, low = _eye(x, _pick(lids, x))
    across = s.abs() < ENDS
    inside = cover(torch.maximum(top - y, y - low)) * across
    shade = 1 - .32 * torch.exp((top - y).clamp(max=0) / .04)                                   # of the upper lid
    _over(canvas, canvas.new_tensor([.96, .95, .94])[:, None, None] * shade[:, None], inside)
    dx, dy = x - gaze[:, 0, None, None] - torch.where(x > 0, EYE_X, -EYE_X), y - gaze[:, 1, None, None] - EYE_Y + .015
    r = (dx * dx + dy * dy).sqrt_()
    _over(canvas, colours["iris"] * .42, inside * cover(r - .100))
    _over(canvas, colours["iris"] * (1.05 + 4 * dy.clamp(-.1, .1))[:, None], inside * cover(r - .084))
    _over(canvas, (.03, .03, .03), inside * cover(r - .042))
    _over(canvas, (1., 1., 1.), inside * cover(((dx + .032) ** 2 + (dy + .036) ** 2).sqrt_() - .021) * .95)
    _over(canvas, colours["hair"] * .25, cover((y - top + LASH).abs() - LASHES) * across * .92)   # lashes
    _over(canvas, colours["skin"] * .5, cover((y - low).abs() - LINE) * across * .55)
    _over(canvas, colours["skin"] * .5, torch.exp(-((y - top + FOLD) / .014) ** 2) * across * (.15 + .35 * crease))


def _window(points: Tensor, margin: float, size: int) -> tuple[Tensor, ...]:
    """Indices (n, channel, row, column) of a window around points (N, K, 2) in each of N pictures, all equally large"""
    low, high = (points.amin(1) - margin).floor().long(), (points.amax(1) + margin).ceil().long()  # (N, 2)
    w, h = (high - low + 1).amax(0).clamp(max=size).tolist()
    left, top = low.clamp(min=0).minimum(low.new_tensor([size - w, size - h]))[..., None, None, None].unbind(1)
    count = lambda n: torch.arange(n, device=points.device)
    return count(len(points))[:, None, None, None], count(3)[:, None, None], top + count(h)[:, None], left + count(w)


def draw(faces: Faces, size: int, device="cpu") -> tuple[Tensor, Tensor]:
    """Draw a plan.

    faces   B clips of T frames
    →       video (B, T, 3, size, size) in [0, 1]; landmarks (B, T, 68, 2) in pixels, (x, y), in dlib's order

    A landmark (3, 5) is the centre of the pixel in column 3 and row 5.

    Raises ValueError where size is under 16.
    """
    if size < 16:
        raise ValueError(f"size is {size}; it must be at least 16 pixels")
    step = max(1, AT_ONCE // (faces.pose.shape[1] * size * size))
    parts = [_draw(faces[i:i + step], size, torch.device(device)) for i in range(0, len(faces), step)]
    return tuple(torch.cat(part) for part in zip(*parts))


def _draw(faces: Faces, size: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """`draw`, for as many clips as fit into the processor's cache; N = B·T frames."""
    B, T = faces.pose.shape[:2]
    grain = [torch.randn(T, 1, size, size, generator=torch.Generator().manual_seed(k)) for k in faces.key.tolist()]
    faces, grain = faces.to(device), torch.stack(grain).to(device)
    where = _geometry(faces)
    a = lambda unit: where.units[:, :, AUS.index(unit)]                                         # (N, 2)
    frames = lambda v: v.repeat_interleave(T, 0)                                                # (B, ...) → (N, ...)
    look = lambda name: frames(faces.trait(name))[:, None, None]                                # (N, 1, 1)
    colours = {name: frames(rgb)[..., None, None] for name, rgb in _colours(faces).items()}     # (N, 3, 1, 1) each
    eyes = faces.eyes.flatten(0, 1)                                                             # (N, 3)
    lamp, patch = frames(faces.light)[:, :, None, None], frames(faces.patch)[:, :, None, None]  # (N, 4 or 8, 1, 1)

    # where: landmarks from the face to the picture, pixels from the picture to the face
    points = _landmarks(where.mouth, where.lids, where.field, where.muscles)                    # (N, 2, 1, 68)
    points = torch.einsum("nij,njhw->nihw", where.matrix, points) + where.shift
    points = ((points / HALF + 1) * size / 2 - .5).squeeze(2).mT                                # (N, 68, 2)
    pixel, axis = 2 * HALF / size, _axis(size, device)
    head = _back(_posed(where, size), where.field)                                              # (N, 2, H, W)
    skin = _back(head, where.muscles)
    x, y = head.unbind(1)
    ax = x.abs()
    cover = lambda distance: (.5 - distance / (1.2 * pixel)).clamp_(0, 1)  # 1 inside, 0 outside, a soft edge

    # behind the face: background, hair, neck, clothes, ears
    fade = torch.linspace(0, 1, size, device=device)[:, None].expand(len(x), 1, size, size)
    picture = torch.lerp(*frames(faces.scene)[..., None, None].unbind(1), fade)                 # (N, 3, H, W)
    hairy, part = (look("bald") > .06).float(), look("parting")
    mass, line = _hair(x, y, look)
    _over(picture, colours["hair"] * .62, cover(mass) * hairy)
    _over(picture, colours["skin"] * .70, cover(torch.maximum(ax - .40, .5 - y)))
    _over(picture, colours["cloth"], cover(1.27 - .3 * (ax - .30).clamp(max=.16) + .25 * (ax - .5).clamp(min=0) - y))
    _over(picture, colours["skin"] * .88, cover(_ring((ax - .80) / .12, y / .20).mul_(.14)))

    # the face: skin with its creases, then mouth and eyes in their windows
    M = min(128, max(64, size // 32 * 32))
    crease = (where.units.flatten(1) @ _relief(M, device)[2]).unflatten(1, (1, M, M)) * (.5 + .9 * look("age"))[:, None]
    flat = _skin(faces, M)[:, None] * (1 + crease.clamp_(-.6, .4)).unflatten(0, (B, T))         # (B, T, 3, M, M)
    sx, sy = skin.unbind(1)
    oval = cover(_oval(sx, sy))
    _over(picture, _sample(flat.flatten(0, 1), skin, SKIN_REACH), oval)
    window = n, _, rows, columns = _window(points[:, 48:], .07 / pixel, size)
    canvas = picture[window]
    wx, wy = (v[n, rows, columns][:, 0] for v in (x, y))                                        # (N, h, w)
    _paint_mouth(canvas, wx, wy, cover, where.mouth, a, colours["lip"], look("lips"))
    picture[window] = canvas
    window = n, _, rows, columns = _window(points[:, 36:48], .12 / pixel, size)
    canvas = picture[window]
    wx, wy = (v[n, rows, columns][:, 0] for v in (x, y))                                        # (N, h, w)
    _paint_eyes(canvas, wx, wy, cover, where.lids, eyes, colours, look("lid crease"))
    picture[window] = canvas

    # before the face: fringe and its shadow, light, what hides it, grain
    _over(picture, colours["skin"] * .45, (.30 - 2.5 * line.clamp(min=0)).clamp_(min=0) * hairy * oval)
    strands = 1 + .12 * torch.sin(34 * x + 5 * torch.sin(4 * y + 6 * part)) + .3 * _spot(x, y, 0, -.95, .6, .12)
    _over(picture, colours["hair"] * strands[:, None], cover(torch.maximum(mass, line)) * hairy)
    picture *= (1 + .16 * (lamp[:, 0] * x + lamp[:, 1] * y).clamp_(-1, 1) + .14 * lamp[:, 2])[:, None]
    picture *= 1 + lamp[:, 3:4] * axis.new_tensor([.05, .0, -.06])[:, None, None]
    _over(picture, patch[:, 4:7], cover(_box(axis, axis[:, None], patch)) * patch[:, 7])
    video = picture.unflatten(0, (B, T)).addcmul_(grain, faces.noise[:, None, None, None, None])
    return video.clamp_(0, 1), points.unflatten(0, (B, T))


def main(argv: list[str]) -> int:
    """Write the labelled sheet; returns the exit status."""
    if len(argv) != 1 or argv[0].startswith("-"):
        print("usage: python -m refnet.data.drawn_faces OUT.png", file=sys.stderr)
        return 2
    rows, columns, size, left, top = 6, len(EXPRESSIONS), 128, 20, 18
    faces = plan(rows * columns, 1, seed=4, subjects=rows, expressions=columns, pose=.4, occlusion=0, noise=.01, stray=0)
    pictures = (draw(faces, size)[0][:, 0] * 255).round().byte().movedim(1, -1).numpy()    # (48, size, size, 3)
    sheet = Image.new("RGB", (left + columns * size, top + rows * size), "white")
    pen = ImageDraw.Draw(sheet)
    for e, name in enumerate(EXPRESSIONS):
        pen.text((left + e * size + size // 2, top // 2), name, fill="black", anchor="mm")
    for i, picture in enumerate(pictures):
        row, column = divmod(i, columns)
        sheet.paste(Image.fromarray(picture), (left + column * size, top + row * size))
        pen.text((left // 2, top + row * size + size // 2), str(faces.subject[i].item()), fill="black", anchor="mm")
    sheet.save(argv[0])
    print(argv[0])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
