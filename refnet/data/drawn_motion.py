"""The true optical flow of drawn faces: where every pixel of one frame is in another.

    pixel ──→ posed ──→ head ──→ skin        of the first frame: the explicit way back of drawn_geometry.py
                          │        │
                          ▼        ▼
    pixel ←── posed ←── head ←── skin        of the second frame: the same fields, solved for the displacement

Skin, and what is painted on it, goes round by the muscles; lips, lids and eyeballs are shapes in the head frame and keep
their place within the shape.
"""
from dataclasses import replace

import torch
from torch import Tensor

from refnet.data.drawn_geometry import (ENDS, FOLD, FULL_DOWN, FULL_UP, LASH, LASHES, LINE, PAST, SEAM, Geometry, back, eye_edges,
                                        geometry, lip_edges, outside_box, outside_hair, outside_oval, pick, pixel_axis,
                                        posed_places, read_map)
from refnet.data.drawn_plan import AT_ONCE, EYE_W, HALF, REACH, Faces

SKIN, MOUTH, UPPER, LOWER, BALL = 1, 2, 3, 4, 5     # what a pixel shows: skin, lips, the lids' edges, an eyeball; 0: none
RIM, SOFT, GAP = 1.3, .6, 1.8                       # in pixels: round lips; round lids; between two shapes
AGREE, SLIP = .02, 2.                               # in pixels: ways that pass for one; how far a lid may go over an eyeball
MOVING = ("pose", "eyes", "aus", "va")              # of Faces: what has frames


def _carry(points: Tensor, push: Tensor, first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """How far points go whose origin goes by push while the field turns from first into second.

        origin = points − first(points),    origin + push = (points + δ) − second(points + δ)

    points, push (N, 2, H, W), first, second (N, 2, G, G) → δ (N, 2, H, W), and how far it still is from settled (N, H, W)

    Solved for δ and not for points + δ: between a frame and itself it is exactly 0.
    """
    rest = push - read_map(first, points, REACH)
    moved = rest + read_map(second, points, REACH)
    for _ in range(48):
        last, moved = moved, rest + read_map(second, points + moved, REACH)
        error = (moved - last).abs().amax(1)                                                    # (N, H, W)
        if error.max() < 1e-6:
            break
    return moved, error


def _edges(x: Tensor, m: dict[str, Tensor]) -> tuple[Tensor, ...]:
    """`lip_edges` at x (N, H, W), beyond a corner at the corner, and the middle between them; m is the mouth at each x"""
    top, above, below, low = lip_edges(torch.maximum(torch.minimum(x, m["x"]), -m["x"]), m)
    return top, above, below, low, .5 * (above + below)


def _surface(head: Tensor, skin: Tensor, where: Geometry, faces: Faces, size: int) -> Tensor:
    """What a frame shows at places head, skin (N, 2, H, W) in the two frames: SKIN, MOUTH, ... or 0 → (N, H, W)

    Edges are soft over 1.2 pixels. A lip's edge goes with it, and a rim of 1.3 pixels around, a lid's with 0.6; then come 1.8
    pixels of 0, so that no reading between pixels mixes two surfaces. The edges of face and hair are 0.
    """
    (x, y), pixel = head.unbind(1), 2 * HALF / size
    rim, gap = RIM * pixel, GAP * pixel
    look = lambda name: faces.trait(name)[:, None, None]                                        # (N, 1, 1)
    kind = torch.where(outside_oval(*skin.unbind(1)) < -rim, SKIN, 0)                                  # (N, H, W)

    m, full = pick(where.mouth, x), look("lips") - .4
    top, _, _, low, line = _edges(x, m)
    top = torch.minimum(top - (FULL_UP * full).clamp(min=0), line - SEAM) - rim
    low = torch.maximum(low + (FULL_DOWN * full).clamp(min=0), line + SEAM) + rim
    beyond = torch.maximum(torch.maximum(top - y, y - low), x.abs() - m["x"] - PAST - rim)      # the lips
    kind[beyond < gap] = 0
    kind[beyond < 0] = MOUTH

    (s, top, low), rim = eye_edges(x, pick(where.lids, x)), SOFT * pixel
    beyond = (s.abs() - ENDS) * EYE_W - rim                                                     # the ends of the lids
    kind[(beyond < gap) & (y > top - FOLD - .042 - gap) & (y < low + LINE + rim + gap)] = 0     # the fold shows lid and skin
    kind[(beyond < 0) & (y > top + max(LASHES - LASH + rim + gap, .04)) & (y < low - LINE - rim - gap)] = BALL
    kind[(beyond < 0) & ((y - top + LASH).abs() < LASHES + rim)] = UPPER
    kind[(beyond < 0) & ((y - low).abs() < LINE + rim)] = LOWER

    mass, line = outside_hair(x, y, look)
    kind[(torch.maximum(mass, line) < RIM * pixel) & (look("bald") > .06)] = 0
    return kind


def _mouth_moves(x: Tensor, y: Tensor, first: Geometry, second: Geometry, pixel: float) -> tuple[Tensor, Tensor]:
    """A point of the lips keeps its place across and between their edges: its way (N, 2, H, W), and where it is sure (N, H, W)

    Not sure: between the lips, and at their seam unless they are well apart in both frames: shut lips let teeth shine through.
    """
    m1, m2 = pick(first.mouth, x), pick(second.mouth, x)
    cx, rim = torch.maximum(torch.minimum(x, m1["x"]), -m1["x"]), RIM * pixel                   # (N, H, W)
    dx = cx * (m2["x"] / m1["x"] - 1)
    (*one, line1), (*two, line2) = _edges(x, m1), _edges(cx + dx, m2)
    top, above, below, low = (b - a for a, b in zip(one, two))                                  # each edge's way
    share = lambda a, b: ((y - a) / (b - a).clamp(min=1e-6)).clamp(0, 1)
    upper, lower = torch.lerp(top, above, share(*one[:2])), torch.lerp(below, low, share(*one[2:]))
    dy = torch.where(y < line1, upper, lower)
    near = [(place > torch.minimum(edges[1], line - SEAM) - rim) & (place < torch.maximum(edges[2], line + SEAM) + rim)
            for place, line, edges in ((y, line1, one), (y + dy, line2, two))]
    edge = (y < one[1] + rim) | (y > one[2] - rim)
    apart = torch.minimum(one[2] - one[1], two[2] - two[1]) > 2 * (SEAM + rim)
    return torch.stack([dx, dy], 1), ~(near[0] | near[1]) | (edge & apart)


def _flow(first: Faces, second: Faces, size: int) -> tuple[Tensor, Tensor]:
    """`true_flow` between two plans of N clips of one frame each"""
    one, two, pixel = geometry(first), geometry(second), 2 * HALF / size
    posed = posed_places(one, size)                                                                   # (N, 2, H, W)
    head = back(posed, one.field)
    skin = back(head, one.muscles)
    x, y = head.unbind(1)
    kind = _surface(head, skin, one, first, size)                                               # (N, H, W)

    way, error = _carry(head, torch.zeros_like(head), one.muscles, two.muscles)                 # skin
    lips, sure = _mouth_moves(x, y, one, two, pixel)
    (_, top1, low1), (_, top2, low2) = eye_edges(x, pick(one.lids, x)), eye_edges(x, pick(two.lids, x))
    upper, lower = top2 - top1, low2 - low1
    gaze = (second.eyes - first.eyes)[:, 0, :2, None, None].expand_as(head)                     # (N, 2, H, W)
    for surface, its in ((MOUTH, lips), (UPPER, torch.stack([0 * upper, upper], 1)),
                         (LOWER, torch.stack([0 * lower, lower], 1)), (BALL, gaze)):
        way = torch.where((kind == surface)[:, None], its, way)
    sure = sure | (kind != MOUTH)
    narrow = torch.minimum(low1 - top1, low2 - top2) < LASHES - LASH + LINE + (2 * SOFT + GAP) * pixel
    torn = narrow & ((upper - lower).abs() > AGREE * pixel)                                     # where the lids' edges meet
    for surface, lid in ((UPPER, upper), (LOWER, lower)):                                       # an edge is soft: see below it
        slips = torch.maximum((lid - gaze[:, 1]).abs(), gaze[:, 0].abs()) > SLIP * pixel
        sure = sure & ~((torn | slips) & (kind == surface))
    same = _surface(head + way, skin, two, second, size) == kind

    moved, unsettled = _carry(posed, way, one.field, two.field)                                 # posed
    flow = torch.einsum("nij,njhw->nihw", two.matrix - one.matrix, posed) \
        + torch.einsum("nij,njhw->nihw", two.matrix, moved) + two.shift - one.shift             # picture
    axis, patch = pixel_axis(size, flow.device), first.patch[..., None, None]
    px, py = axis + flow[:, 0], axis[:, None] + flow[:, 1]
    hidden = torch.minimum(outside_box(axis, axis[:, None], patch), outside_box(px, py, patch)) < RIM * pixel
    inside = torch.maximum(px.abs(), py.abs()) < HALF - .5 * pixel
    settled = torch.maximum(torch.where(kind == SKIN, error, 0), unsettled) < .005 * pixel
    return flow / pixel, (kind > 0) & same & sure & settled & inside & ~(hidden & (patch[:, 7] > 0))


def true_flow(faces: Faces, size: int, first: int | Tensor, second: int | Tensor, device="cpu") -> tuple[Tensor, Tensor]:
    """The exact displacement of every pixel of a drawn face from one frame of its clip to another.

    faces           B clips of T frames
    first, second   frame numbers: one for all, or one a clip (B,), or P a clip (B, P)
    →               flow (B, 2, size, size) in pixels, (dx, dy); valid (B, size, size) bool; with P a clip, both (B, P, ...)

    valid is where the picture shows the face, and the same piece of it in both frames, so that the second frame read at
    pixel + flow gives the first one, up to shading (creases come, the fringe's shadow and the eyelid's stay), and to what shines
    through a lid's edge or ends there from one pixel to the next:
      skin         with its brows, nose and creases; 1.3 pixels within the oval, outside the fold over the eye
      lips         at their place across and between the lips' edges; the seam only where they are well apart
      lids         lashes and edges go up and down with the lids, up to 2 pixels over the eye: it shows through their edge
      eyeballs     go with the gaze
    Not valid: background, clothes, neck, ears, hair; the inside of the mouth; what appears, disappears or is hidden by the
    patch, the fringe or a lid in either frame; what leaves the picture; what the fixed point has not settled. The flow there
    is that of the skin continued, and means nothing.

    Raises ValueError for a size under 16 or a frame number that the clips do not have.
    """
    B, T = faces.pose.shape[:2]
    if size < 16:
        raise ValueError(f"size is {size}; it must be at least 16 pixels")
    pair = [torch.as_tensor(v, device="cpu") for v in (first, second)]
    for name, v in zip(("first", "second"), pair):
        if v.is_floating_point() or v.is_complex() or v.dtype == torch.bool or not v.numel() or not (0 <= v.min() and v.max() < T):
            raise ValueError(f"{name} is {v.tolist()}; frame numbers are whole numbers from 0 to {T - 1}, at least one")
        if v.dim() and v.shape[0] != B or v.dim() > 2:
            raise ValueError(f"{name} has shape {tuple(v.shape)}; it must be a number, ({B},) or ({B}, P), for {B} clips")
    if min(v.dim() for v in pair) == 2 and pair[0].shape != pair[1].shape:
        raise ValueError(f"first has shape {tuple(pair[0].shape)} and second {tuple(pair[1].shape)}; they must be as many a clip")
    pair = [v.long() for v in pair]
    clips = torch.zeros(B, 1, dtype=torch.long)
    i, j, _ = torch.broadcast_tensors(*(v[:, None] if v.dim() == 1 else v for v in pair), clips)                # (B, P)
    clip, parts = torch.arange(B).repeat_interleave(i.shape[1]), []                                             # (B·P,)
    for some in torch.arange(len(clip)).split(max(1, AT_ONCE // (2 * size * size))):
        rows = clip[some]
        one, two = (replace(faces[rows], **{name: getattr(faces, name)[rows, t.flatten()[some]][:, None] for name in MOVING})
                    for t in (i, j))
        parts.append(_flow(one.to(device), two.to(device), size))
    flow, valid = (torch.cat(part).unflatten(0, (B, -1)) for part in zip(*parts))                               # (B, P, ...)
    return (flow, valid) if max(v.dim() for v in pair) == 2 else (flow[:, 0], valid[:, 0])
