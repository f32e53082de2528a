"""The geometry of drawn faces: three frames, and the ways between them.

    picture ── similarity ──→ posed ── − (identity + turn) ──→ head ── − action units ──→ skin
    pixels     posed_places            back                            back

The way from a pixel to the skin it shows is explicit; a point of the face goes the other way by `forth`. Each displacement is
a sum of smooth bumps: one set for a trait, a turn, a muscle's pull. Eyes, mouth and hair are shapes in the head frame; skin
and what is painted on it move with the skin frame. x points right, y down; the mean face has its eyes at (±0.38, −0.20), its
mouth at (0, 0.60), its chin at (0, 1.06).
"""
from functools import cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from refnet.data.drawn_plan import AUS, EYE_W, EYE_X, EYE_Y, HALF, KNOTS, MUSCLES, REACH, SHAPES, Faces

FULL_UP, FULL_DOWN = .016, .026     # how far full lips are painted beyond their edges
SEAM, PAST = .011, .015             # the line between closed lips: half its width, and how far it runs past the corners
ENDS, LINE = 1.06, .007             # the lids' edges: how far across the eye they run; half the width of the lower one's line
LASH, LASHES, FOLD = .006, .019, .058   # over the upper lid's edge: the lashes' middle, half their width; the fold


def knots(size: int, reach: float, device) -> tuple[Tensor, Tensor]:
    """x and y of a square lattice over −reach..reach: (size, size) each"""
    axis = torch.linspace(-reach, reach, size, device=device)
    return axis.expand(size, size), axis[:, None].expand(size, size)


def spot(x, y, cx: float, cy: float, w: float, h: float) -> Tensor:
    """A smooth bump of height 1, of the shape of x and y."""
    return torch.exp(-((x - cx) / w) ** 2 - ((y - cy) / h) ** 2)


@cache
def _bases(device) -> tuple[Tensor, Tensor]:
    """The displacements of the S shapes and two turns (S + 2, 2·G²), and of the units, left half, then right (2·18, 2·G²)"""
    x, y = knots(KNOTS, REACH, device)
    still = torch.zeros(2, KNOTS, KNOTS, device=device)
    pull = lambda s, x0, y0, w, h, dx, dy: spot(s * x, y, x0, y0, w, h) * x.new_tensor([s * dx, dy])[:, None, None]
    half = lambda bumps, sign: sum((pull(sign, *bump) for bump in bumps), still).flatten()
    depth = .50 * spot(x, y, 0, 0, .8, 1.1) + .14 * spot(x, y, 0, .2, .2, .28)   # it moves as the head turns
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


def read_map(maps: Tensor, points: Tensor, reach: float) -> Tensor:
    """Read maps (N, C, G, G) that span −reach..reach at points (N, 2, H, W) → (N, C, H, W)"""
    return F.grid_sample(maps, (points / reach).movedim(1, -1), padding_mode="border", align_corners=True)


def back(points: Tensor, field: Tensor) -> Tensor:
    """Take a displacement away, the explicit direction: points (N, 2, H, W), field (N, 2, G, G) → (N, 2, H, W)"""
    return points - read_map(field, points, REACH)


def forth(points: Tensor, field: Tensor) -> Tensor:
    """Undo `back`: solve moved = points + field(moved) by fixed-point iteration; the same shapes."""
    moved = points
    for _ in range(32):
        moved = points + read_map(field, moved, REACH)
    return moved


def mouth_shape(a) -> dict[str, Tensor]:
    """What the units make of the mouth, left and right, (N, 2) each; a(unit) is a unit's intensity (N, 2)"""
    both = lambda v: v.mean(1, keepdim=True).expand(-1, 2)  # the middle belongs to both sides
    return {"x": .31 + .12 * (a(12) + a(20) - a(26)) + .05 * a(14) + .02 * a(15) - .07 * a(23) - .03 * a(24),  # the corner
            "y": .60 - .15 * a(12) + .11 * a(15) + .05 * a(20) - .04 * a(14) - .02 * a(10) + .09 * a(26),
            "middle": both(.60 + .02 * a(12) - .05 * a(17) - .05 * a(10) - .03 * a(9) - .03 * a(15)),
            "up": both(a(25) * (.02 + .06 * a(10) + .02 * a(12)) + .07 * a(26)),                # how far the lips part
            "down": both(a(25) * (.06 + .07 * a(12) + .03 * a(20)) + .06 * a(16) + .30 * a(26)),
            "upper": both(.075 + .01 * a(10) - .02 * a(12) - .02 * a(20) - .035 * a(23) - .05 * a(24)),  # their thickness
            "lower": both(.10 - .02 * a(12) + .02 * a(17) - .02 * a(20) - .04 * a(23) - .06 * a(24))}


def lid_shape(a, blink: Tensor) -> dict[str, Tensor]:
    """How far the lids stand from the eye's axis and how the upper one slants, (N, 2) each; blink (N, 1)"""
    upper = .105 + .065 * a(5) - .028 * a(7) - .020 * a(6) - .030 * a(9) - .012 * a(4) * (1 - a(5))
    lower = .060 + .012 * a(5) - .028 * a(7) - .036 * a(6) - .020 * a(9)
    slant = -.15 + .55 * a(4) * (1 - a(1)) - .35 * a(1) * (1 - a(2))  # inner end low: anger; high: sadness
    return {"upper": upper * (1 - blink) - .03 * blink, "lower": lower * (1 - .3 * blink), "slant": slant}


def pick(sides: dict[str, Tensor], x: Tensor) -> dict[str, Tensor]:
    """At each x (N, H, W), the value of its own side."""
    return {k: torch.where(x > 0, v[:, 1, None, None], v[:, 0, None, None]) for k, v in sides.items()}


def lip_edges(x: Tensor, m: dict[str, Tensor]) -> tuple[Tensor, ...]:
    """Heights at x of the lips' edges from above: outer and inner upper, inner and outer lower; (N, H, W) each"""
    s2 = (x / m["x"]) ** 2  # 0 in the middle, 1 at the corner
    line, part = m["middle"] + (m["y"] - m["middle"]) * s2, 1 - s2 * s2
    above, below = line - m["up"] * part, line + m["down"] * part
    return above - m["upper"] * (1 - s2 - .28 * torch.exp(-30 * s2)), above, below, below + m["lower"] * part


def eye_edges(x: Tensor, lids: dict[str, Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Where across an eye x is, −1 its inner corner, 1 its outer one, and the heights of the lids there; (N, H, W) each"""
    s = (x.abs() - EYE_X) / EYE_W
    arch, axis = 1 - s * s, EYE_Y - .012 * s
    return s, axis - lids["upper"] * arch * (1 + lids["slant"] * s), axis + lids["lower"] * arch * (1 + .15 * s)


def brow_height(s: Tensor) -> Tensor:
    """Height of a brow's middle in the skin frame, s from 0 at its inner end to 1 at its outer one"""
    return -.435 - .26 * s * (1.25 - s) * (1 - .25 * s)


class Geometry(NamedTuple):
    """Where things are in N frames."""
    units: Tensor                  # (N, 2, 18)       the units' intensities, left and right
    field: Tensor                  # (N, 2, G, G)     displacement by identity and turn, from head to posed
    muscles: Tensor                # (N, 2, G, G)     displacement by the units, from skin to head
    matrix: Tensor                 # (N, 2, 2)        picture = matrix · posed + shift
    shift: Tensor                  # (N, 2, 1, 1)
    mouth: dict[str, Tensor]       # (N, 2) each      `mouth_shape`
    lids: dict[str, Tensor]        # (N, 2) each      `lid_shape`


def geometry(faces: Faces) -> Geometry:
    """What a plan says of where things are, in each of its N = B·T frames"""
    balance = faces.side[:, None]                                                               # (B, 1, 18)
    units = torch.stack([faces.aus * (1 - balance.clamp(min=0)), faces.aus * (1 + balance.clamp(max=0))], 2)
    units = units.flatten(0, 1)                                                                 # (N, 2, 18)
    a = lambda unit: units[:, :, AUS.index(unit)]                                               # (N, 2)
    lids = lid_shape(a, faces.eyes.flatten(0, 1)[:, 2:])
    return Geometry(units, *_fields(faces, units), *_similarity(faces), mouth_shape(a), lids)


def posed_places(where: Geometry, size: int) -> Tensor:
    """The pixels' places in the posed frame: (N, 2, size, size)"""
    axis, matrix = pixel_axis(size, where.shift.device), where.matrix
    px, py = axis - where.shift[:, 0], axis[:, None] - where.shift[:, 1]                        # (N, 1, W), (N, H, 1)
    away = (matrix.mT / torch.linalg.det(matrix)[:, None, None])[..., None, None]  # the inverse of a similarity
    return torch.stack([away[:, i, 0] * px + away[:, i, 1] * py for i in (0, 1)], 1)


def pixel_axis(size: int, device) -> Tensor:
    """The pixels' centres along one side of the picture: (size,)"""
    return (torch.arange(size, device=device) + .5) * (2 * HALF / size) - HALF


def ring(dx: Tensor, dy: Tensor) -> Tensor:
    """Under 0 within the unit circle."""
    return (dx * dx + dy * dy).sqrt_().sub_(1)


def outside_oval(x: Tensor, y: Tensor) -> Tensor:
    """How far outside the face a place in the skin frame is, in its units; under 0 inside"""
    return ring(x / (.80 - .096 * y), y / 1.06).mul_(.8)


def outside_hair(x: Tensor, y: Tensor, look) -> tuple[Tensor, Tensor]:
    """How far outside the hair's mass, and how far below the fringe's edge, a place in the head frame is: (N, H, W) each"""
    fall = .55 + 1.7 * (look("hair length") - .4).clamp(min=0)
    rise = (y + .15) / torch.where(y < -.15, .98 + .16 * look("hair volume"), fall)
    mass = ring(x / (.88 + .10 * look("hair volume")), torch.where(y < -.15, rise, rise * rise)).mul_(.8)
    line = y + .80 - .30 * look("fringe") ** 2 - (look("parting") - .5) * .5 * x - .85 * x.abs() ** 3
    return mass, line - .01 * (torch.sin(21 * x + 9 * look("parting")) + torch.sin(47 * x))


def outside_box(x: Tensor, y: Tensor, patch: Tensor) -> Tensor:
    """How far outside its patch a place x, y in the picture is, patch (N, 8, 1, 1): (N, H, W)"""
    return torch.maximum((x - patch[:, 0]).abs() - patch[:, 2], (y - patch[:, 1]).abs() - patch[:, 3])


def landmarks(mouth: dict, lids: dict, field: Tensor, muscles: Tensor) -> Tensor:
    """The 68 points, in dlib's order, in the posed frame → (N, 2, 1, 68)"""
    line = lambda *v: field.new_tensor(v)
    angle = torch.linspace(-.16, torch.pi + .16, 17, device=field.device)
    jaw = torch.stack([-angle.cos() * (.80 - .102 * angle.sin()), 1.06 * angle.sin()])          # (2, 17)
    s = torch.linspace(0, 1, 5, device=field.device)
    brow = torch.stack([.16 + .46 * s, brow_height(s)])                                               # (2, 5), inner to outer
    nose = line(0, 0, 0, 0, -.15, -.08, 0, .08, .15), line(-.20, -.05, .10, .24, .29, .325, .34, .325, .29)
    skin = torch.cat([jaw, (line(-1, 1)[:, None] * brow).flip(1), brow, torch.stack(nose)], 1)               # (2, 36)
    skin = forth(skin[None, :, None].expand(len(field), -1, -1, -1), muscles)                  # (N, 2, 1, 36)
    across = EYE_W * line(-1, -1 / 3, 1 / 3, 1, 1 / 3, -1 / 3)
    ex = torch.cat([across - EYE_X, across + EYE_X]).expand(len(field), 1, 12)
    _, above, below = eye_edges(ex, pick(lids, ex))
    ey = torch.where(line(1, 1, 1, 1, 0, 0).repeat(2) > 0, above, below)                        # (N, 1, 12)
    step = line(-1, -.67, -.22, 0, .22, .67, 1, .67, .22, 0, -.22, -.67, -1, -.4, 0, .4, 1, .4, 0, -.4)
    m = pick(mouth, step.expand(len(field), 1, 20))
    edges = torch.stack(lip_edges(step * m["x"], m), -1)                                            # (N, 1, 20, 4)
    edge = line(*[0] * 7, *[3] * 5, *[1] * 5, *[2] * 3).long()
    my = edges.gather(-1, edge[:, None].expand(*edges.shape[:3], 1))[..., 0]                    # (N, 1, 20)
    soft = torch.stack([torch.cat([ex, step * m["x"]], -1), torch.cat([ey, my], -1)], 1)        # (N, 2, 1, 32)
    return forth(torch.cat([skin, soft], -1), field)
