"""Drawn faces: the built-in data set. Nothing to download, everything known, nothing said about real faces.

`drawn_plan.py` decides, `drawn_geometry.py` says where each pixel lies on the face, and this file paints it: skin, brows,
nose and wrinkles on a map in the skin frame, which moves with it; eyes, mouth and hair as shapes in the head frame. The faces
are caricatures after the Facial Action Coding System: they teach and test code, and claim nothing about how people look or
feel.

    python -m refnet.data.drawn_faces OUT.png      a labelled sheet: a row for each subject, a column for each expression
"""
import sys
from functools import cache

import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw
from torch import Tensor

from refnet.data.drawn_geometry import (ENDS, FOLD, FULL_DOWN, FULL_UP, LASH, LASHES, LINE, PAST, SEAM, brow_height, eye_edges,
                                        geometry, knots, landmarks, lip_edges, outside_box, outside_hair, outside_oval, back,
                                        pick, pixel_axis, posed_places, read_map, ring, spot)
from refnet.data.drawn_plan import (AT_ONCE, AUS, CREASES, EXPRESSIONS, EYE_X, EYE_Y, HAIR, HALF, IRIS, RELIEF, SKIN,
                                    SKIN_REACH, Faces, plan)


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
    x, y = knots(size, SKIN_REACH, device)
    pitch = 2 * SKIN_REACH / (size - 1)
    z = .75 * (1.12 - (x / .85) ** 2 - (y / 1.12) ** 2).clamp(min=.02).sqrt()
    z = z + sum(height * spot(x.abs(), y, *where) for *where, height in RELIEF)
    zy, zx = torch.gradient(z, spacing=pitch)
    lines = []
    for sign, unit in ((sign, unit) for sign in (-1, 1) for unit in AUS):
        lines.append(torch.zeros_like(x))
        for cx, cy, length, thick, degrees, depth in CREASES.get(unit, ()):
            turn, thick = x.new_tensor(degrees).deg2rad(), max(thick, .6 * pitch)
            along = turn.cos() * (sign * x - cx) + turn.sin() * (y - cy)
            over = turn.cos() * (y - cy) - turn.sin() * (sign * x - cx) + .8 * along ** 2       # a little bent
            bright, dark = spot(along, over, 0, -2 * thick, length, 1.5 * thick), spot(along, over, 0, 0, length, thick)
            lines[-1] += depth * (.5 * bright - dark)
    return zx, zy, torch.stack(lines).flatten(1)


def _over(canvas: Tensor, paint, alpha: Tensor) -> None:
    """Lay paint (N, 3, ...), or one colour of three numbers, over a canvas (N, 3, H, W) where alpha (N, H, W) says"""
    paint = paint if isinstance(paint, Tensor) else canvas.new_tensor(paint)[:, None, None]
    canvas.lerp_(paint.expand_as(canvas), alpha[:, None])


def _skin(faces: Faces, size: int) -> Tensor:
    """Each subject's face at rest under the clip's light, painted flat in the skin frame → (B, 3, size, size)"""
    x, y = knots(size, SKIN_REACH, faces.light.device)
    ax, pitch = x.abs(), 2 * SKIN_REACH / size
    look = lambda name: faces.trait(name)[:, None, None]                                        # (B, 1, 1)
    tone, hair = (_colours(faces)[name][..., None, None] for name in ("skin", "hair"))          # (B, 3, 1, 1)
    zx, zy, _ = _relief(size, faces.light.device)
    spread = lambda v: F.interpolate(v, (size, size), mode="bicubic", align_corners=True)[:, 0]
    fine, broad = spread(faces.detail[:, None]), spread(F.avg_pool2d(faces.detail[:, None], 4))  # (B, M, M) each
    light = (1 - .38 * (faces.light[:, 0, None, None] * zx + faces.light[:, 1, None, None] * zy)).clamp(.5, 1.25)
    hollow = .18 * spot(ax, y, .37, -.20, .24, .13) + .20 * spot(ax, y, .17, .27, .035, .07)  # eyes, wings of the nose
    hollow = hollow + .12 * spot(x, y, 0, .36, .10, .04) + .12 * spot(x, y, 0, .775, .16, .035)
    light = light * (1 + .022 * fine + .10 * broad) * (1 - hollow)
    face = tone * light[:, None]                                                                # (B, 3, M, M)
    blush = .5 * spot(ax, y, .48, .20, .22, .18) + .4 * spot(x, y, 0, .25, .12, .08)
    _over(face, face * face.new_tensor([1.0, .74, .72])[:, None, None], look("blush") * blush)
    freckles = 1.8 * (look("freckles") - .6).clamp(min=0) * (fine - 1.1).clamp(0, 1) * spot(ax, y, .3, .15, .4, .25)
    _over(face, tone * .6, freckles)
    beard = torch.sigmoid(22 * (y - .42 + .3 * (ax - .5).clamp(min=0))) * (1 - .8 * spot(x, y, 0, .61, .34, .12))
    _over(face, hair * .6 + .1, (.9 * (look("stubble") - .6).clamp(min=0) * beard * (1 + .15 * fine)).clamp(0, 1))
    _over(face, tone * .25, .85 * spot(ax, y, .072, .315, .042, .024).expand_as(light))        # nostrils
    s = (ax - .16) / .46
    thick = (.020 + .028 * look("brow weight")) * (1 - .55 * s.clamp(0, 1)) + .3 * pitch
    edge = torch.maximum((y - brow_height(s)).abs() - thick, torch.maximum(-s, s - 1) * .46)
    _over(face, hair * .75, (.5 - edge / (1.4 * pitch)).clamp(0, 1) * (.88 + .05 * fine).clamp(0, 1))  # brows
    return face


def _paint_mouth(canvas: Tensor, x: Tensor, y: Tensor, cover, mouth: dict, a, lip: Tensor, full: Tensor) -> None:
    """Lips, teeth, tongue: canvas (N, 3, h, w), x, y (N, h, w) in the head frame, lip (N, 3, 1, 1), full (N, 1, 1)"""
    m, ax, middle = pick(mouth, x), x.abs(), lambda v: v.mean(1)[:, None, None]
    top, above, below, low = lip_edges(x, m)
    top, low, between = top - FULL_UP * (full - .4), low + FULL_DOWN * (full - .4), ax < m["x"] + .008
    _over(canvas, lip, cover(torch.maximum(top - y, y - low)) * between * .9)
    _over(canvas, lip * .84, cover(torch.maximum(top - y, y - above)) * between * .7)  # the upper lip lies in the shade
    _over(canvas, lip * .4 + .6, .25 * spot(x, y - .45 * below - .55 * low, 0, 0, .13, .022))  # the lower one shines
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
    s, top, low = eye_edges(x, pick(lids, x))
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
    where = geometry(faces)
    a = lambda unit: where.units[:, :, AUS.index(unit)]                                         # (N, 2)
    frames = lambda v: v.repeat_interleave(T, 0)                                                # (B, ...) → (N, ...)
    look = lambda name: frames(faces.trait(name))[:, None, None]                                # (N, 1, 1)
    colours = {name: frames(rgb)[..., None, None] for name, rgb in _colours(faces).items()}     # (N, 3, 1, 1) each
    eyes = faces.eyes.flatten(0, 1)                                                             # (N, 3)
    lamp, patch = frames(faces.light)[:, :, None, None], frames(faces.patch)[:, :, None, None]  # (N, 4 or 8, 1, 1)

    # where: landmarks from the face to the picture, pixels from the picture to the face
    points = landmarks(where.mouth, where.lids, where.field, where.muscles)                    # (N, 2, 1, 68)
    points = torch.einsum("nij,njhw->nihw", where.matrix, points) + where.shift
    points = ((points / HALF + 1) * size / 2 - .5).squeeze(2).mT                                # (N, 68, 2)
    pixel, axis = 2 * HALF / size, pixel_axis(size, device)
    head = back(posed_places(where, size), where.field)                                              # (N, 2, H, W)
    skin = back(head, where.muscles)
    x, y = head.unbind(1)
    ax = x.abs()
    cover = lambda distance: (.5 - distance / (1.2 * pixel)).clamp_(0, 1)  # 1 inside, 0 outside, a soft edge

    # behind the face: background, hair, neck, clothes, ears
    fade = torch.linspace(0, 1, size, device=device)[:, None].expand(len(x), 1, size, size)
    picture = torch.lerp(*frames(faces.scene)[..., None, None].unbind(1), fade)                 # (N, 3, H, W)
    hairy, part = (look("bald") > .06).float(), look("parting")
    mass, line = outside_hair(x, y, look)
    _over(picture, colours["hair"] * .62, cover(mass) * hairy)
    _over(picture, colours["skin"] * .70, cover(torch.maximum(ax - .40, .5 - y)))
    _over(picture, colours["cloth"], cover(1.27 - .3 * (ax - .30).clamp(max=.16) + .25 * (ax - .5).clamp(min=0) - y))
    _over(picture, colours["skin"] * .88, cover(ring((ax - .80) / .12, y / .20).mul_(.14)))

    # the face: skin with its creases, then mouth and eyes in their windows
    M = min(128, max(64, size // 32 * 32))
    crease = (where.units.flatten(1) @ _relief(M, device)[2]).unflatten(1, (1, M, M)) * (.5 + .9 * look("age"))[:, None]
    flat = _skin(faces, M)[:, None] * (1 + crease.clamp_(-.6, .4)).unflatten(0, (B, T))         # (B, T, 3, M, M)
    sx, sy = skin.unbind(1)
    oval = cover(outside_oval(sx, sy))
    _over(picture, read_map(flat.flatten(0, 1), skin, SKIN_REACH), oval)
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
    strands = 1 + .12 * torch.sin(34 * x + 5 * torch.sin(4 * y + 6 * part)) + .3 * spot(x, y, 0, -.95, .6, .12)
    _over(picture, colours["hair"] * strands[:, None], cover(torch.maximum(mass, line)) * hairy)
    picture *= (1 + .16 * (lamp[:, 0] * x + lamp[:, 1] * y).clamp_(-1, 1) + .14 * lamp[:, 2])[:, None]
    picture *= 1 + lamp[:, 3:4] * axis.new_tensor([.05, .0, -.06])[:, None, None]
    _over(picture, patch[:, 4:7], cover(outside_box(axis, axis[:, None], patch)) * patch[:, 7])
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
