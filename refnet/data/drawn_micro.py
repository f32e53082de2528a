"""Micro-expressions of drawn faces, with their coding sheet: onset, apex and offset of every clip.

How strong one must be, to move the face by a wanted fraction of a pixel, is measured on the true flow. They are
caricatures, ours, after the units that coders of micro-expressions name.
"""
from dataclasses import dataclass, fields, replace

import torch
from torch import Tensor

from refnet.data.drawn_motion import MOVING, true_flow
from refnet.data.drawn_plan import AUS, TRAITS, Faces, ease, plan, rows_of

MEASURED = 128                                      # at how many pixels the peak is measured; it is told for 256
# Of each class, sets of units with their shares; a clip shows one set.
DISGUST = ({9: 1.}, {4: .6, 9: .8}, {4: .8, 10: .8}, {9: .7, 10: .7, 17: .5}, {4: .8, 7: .8, 9: .5}, {10: 1., 14: .5})
HAPPINESS = ({12: 1.}, {6: .7, 12: .9}, {12: .7, 14: .8}, {12: .9, 25: .4}, {6: .9, 12: .4}, {1: .5, 2: .5, 12: .8})
REPRESSION = ({15: 1.}, {17: 1.}, {15: .7, 17: .9}, {14: .9, 24: .8}, {12: .6, 15: .7}, {12: .5, 17: .8, 24: .6})
SURPRISE = ({1: .9, 2: .9}, {1: .4, 2: 1.}, {1: .8, 2: .8, 5: .7}, {1: .6, 2: .7, 25: .5, 26: .3}, {1: 1., 4: .3},
            {5: .9, 25: .5})
OTHERS = ({4: 1.}, {4: .8, 7: .8}, {4: .7, 14: .6}, {4: .6, 20: .7}, {7: 1., 23: .8}, {4: .6, 12: .7}, {1: .7, 4: .7},
          {14: 1., 17: .5})
NEGATIVE = (*DISGUST, *REPRESSION, {4: 1.}, {1: .8, 4: .6}, {4: .5, 20: 1.})
MICRO = {3: ("negative", "positive", "surprise"), 5: ("disgust", "happiness", "repression", "surprise", "others")}
MICRO_UNITS = {"negative": NEGATIVE, "positive": HAPPINESS, "disgust": DISGUST, "happiness": HAPPINESS,
               "repression": REPRESSION, "surprise": SURPRISE, "others": OTHERS}


@dataclass(frozen=True)
class Micro:
    """A plan of B micro-expressions and their coding sheet, frames counted from 0; `micro[a:b]` is a part of it.

    All clips have T frames, and clip b is the first length[b] of them: at rest up to onset[b], strongest at apex[b], at rest
    from offset[b] on, and so to the end of T.
    """
    faces: Faces           # their va is 0 and their expression neutral: a still says nothing
    label: Tensor          # (B,)    index into classes
    length: Tensor         # (B,)
    onset: Tensor          # (B,)
    apex: Tensor           # (B,)
    offset: Tensor         # (B,)
    peak: Tensor           # (B,)    how far the face's farthest pixel goes by the expression, in pixels of a picture of 256
    classes: tuple[str, ...]
    fps: float

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, part: slice | Tensor) -> "Micro":
        names = [f.name for f in fields(self) if f.name not in ("classes", "fps")]
        return replace(self, **{name: getattr(self, name)[part] for name in names})

    def clip(self, b: int) -> Faces:
        """One clip in its own length, T = length[b]."""
        own, T = self.faces[b:b + 1], int(self.length[b])
        return replace(own, **{name: getattr(own, name)[:, :T] for name in MOVING})


def _peak(faces: Faces, rest: Tensor, apex: Tensor) -> Tensor:
    """How far a face whose head is still goes from rest (B, 18) to rest + apex, in pixels of a picture of 256: (B,)"""
    two = replace(faces, pose=faces.pose[:, :2], eyes=faces.eyes[:, :2], va=faces.va[:, :2],
                  aus=torch.stack([rest, rest + apex], 1))
    flow, valid = true_flow(two, MEASURED, 0, 1)
    return (flow.norm(dim=1) * valid).flatten(1).amax(1) * 256 / MEASURED


def plan_micro(n: int, seed: int, subjects: int, classes: int = 3, first_subject: int = 0, *,
               frames: tuple[int, int] = (20, 60), peak: tuple[float, float] = (.3, 2.), drift: float = 1.,
               pose: float = .4, light: float = 1., noise: float = .006, fps: float = 200.) -> Micro:
    """Decide n micro-expressions: clip i is class i % classes of the (i // classes % subjects)-th subject of `plan`.

    A subject has its ways: which of a class's sets of units it shows, how strongly, on which side more. Each clip has a
    resting face of its own, mostly with more in it than the expression adds. peak is the range, in pixels of a picture of 256,
    in which the farthest pixel goes with the head still; it is measured at 128 pixels, and at 256 up to 8 % more or less.
    drift moves the head besides, by shift (up to 4.6 pixels either way), roll (.02) and scale (.01), slowly from the first frame to the last: 0 is a still head. frames is the range of the clips' lengths,
    fps is only told. A smaller class is a part of an even one: micro[keep]. → Micro

    Raises ValueError for classes other than 3 and 5, a range that is none, what is negative or not finite, and what `plan` refuses.
    """
    if classes not in MICRO:
        raise ValueError(f"classes is {classes}; it must be 3, {', '.join(MICRO[3])}, or 5, {', '.join(MICRO[5])}")
    if len(frames) != 2 or not all(isinstance(v, int) for v in frames) or not 8 <= frames[0] <= frames[1]:
        raise ValueError(f"frames is {frames}; it must be the shortest and the longest clip, whole numbers of 8 frames or more")
    if len(peak) != 2 or not .05 <= peak[0] <= peak[1] <= 2.5:
        raise ValueError(f"peak is {peak}; it must be the smallest and the largest in pixels, between .05 and 2.5")
    for name, value, least in (("drift", drift, 0), ("pose", pose, 0), ("light", light, 0), ("noise", noise, 0), ("fps", fps, 1e-3)):
        if not least <= value < float("inf"):
            raise ValueError(f"{name} is {value}; it must be {least:g} or more, and finite")
    K, O, T = len(AUS), max(map(len, MICRO_UNITS.values())), frames[1]
    base = plan(n, T, seed, subjects, classes, first_subject, strength=0., pose=pose, light=light, occlusion=0., noise=noise)
    label, habit = base.expression, base.identity[:, -K:]
    clips = torch.stack([base.subject, label, torch.arange(n) // (classes * subjects)], 1).tolist()
    column = iter(rows_of([f"{seed} micro {classes} {s} {c} {k}" for s, c, k in clips], 40 + 5 * K)[0].unbind(1))
    dice = lambda k: torch.stack([next(column) for _ in range(k)], 1)                           # the next k in [0, 1]: (n, k)

    # which units, how strongly, on which side
    sets = torch.zeros(classes, O, K)
    for c, name in enumerate(MICRO[classes]):
        for o, units in enumerate(MICRO_UNITS[name]):
            sets[c, o, [AUS.index(unit) for unit in units]] = torch.tensor(list(units.values()))
    own = sets[label]                                                                           # (n, O, K)
    there = (own > 0).float()
    liked = torch.einsum("nok,nk->no", there, habit) / there.sum(-1).clamp(min=1)               # habit with each set
    chosen = (2 * liked + dice(O) - 9 * (there.sum(-1) == 0)).argmax(1)
    apex = own[torch.arange(n), chosen] * (.7 + .3 * dice(K)) * (.5 + .5 * habit)               # (n, K)
    apex = apex + (apex == 0) * (dice(K) < .2) * .7 * dice(K)                                   # and what is not asked for
    side = .5 * (2 * (10 * habit % 1) - 1)
    mouth_shut = torch.tensor([unit not in (16, 25, 26) for unit in AUS])
    rest = .25 * dice(K) * (dice(K) < .35) * mouth_shut                                         # (n, K)

    # the coding sheet
    whole = lambda u, most: (u * (most + 1)).long().clamp(max=most)
    u = dice(5)
    length = frames[0] + whole(u[:, 0], torch.tensor(frames[1] - frames[0]))
    onset, offset = whole(u[:, 1], length // 8), length - 1 - whole(u[:, 2], length // 8)
    top = onset + ((.35 + .25 * u[:, 3]) * (offset - onset)).round().long()
    target = peak[0] + (peak[1] - peak[0]) * (.04 + .86 * u[:, 4])                              # less a margin: sizes differ
    t = torch.arange(T).expand(n, T)
    over = lambda a, b: ease((t - a[:, None]) / (b - a)[:, None])                              # 0 at a, 1 at b: (n, T)
    envelope = (over(onset, top) * (1 - over(top, offset)))[..., None]                          # (n, T, 1)

    # the head, and the expression as strong as it takes
    fringe = base.identity.clone()
    fringe[:, TRAITS.index("fringe")] *= .5                                                     # combed back: brows are seen
    faces = replace(base, identity=fringe, side=side, expression=0 * label, va=0 * base.va,
                    pose=base.pose[:, :1].expand(-1, T, -1), eyes=base.eyes[:, :1].expand(-1, T, -1) * torch.tensor([1, 1, 0]))
    apex = .15 * apex / apex.amax(1, keepdim=True)
    for _ in range(2):
        apex = (apex * (target / _peak(faces, rest, apex))[:, None]).minimum(1 - rest)
    reached = _peak(faces, rest, apex)
    way = (t / (length[:, None] - 1)).clamp(max=1)
    path = .7 * way + .3 * torch.sin(torch.pi * way * (.5 + dice(1)))                           # (n, T), from 0
    amount = drift * torch.tensor([.05, .05, .01, .02, 0, 0]) * (2 * dice(6) - 1)               # (n, 6)
    faces = replace(faces, aus=rest[:, None] + envelope * apex[:, None], pose=faces.pose + path[..., None] * amount[:, None])
    return Micro(faces, label, length, onset, top, offset, reached, MICRO[classes], float(fps))
