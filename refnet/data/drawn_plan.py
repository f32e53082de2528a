"""What drawn clips are of: who, which expression, how strong, when, from where, in what light. Decided before a pixel is drawn.

Everything comes from a seed and CPU generators, so that every machine decides alike. The expressions are caricatures after
the Facial Action Coding System's prototypes: they teach and test code, and claim nothing about how people look or feel.
`drawn_faces.py` draws them.
"""
import zlib
from dataclasses import dataclass, fields

import torch
from torch import Tensor

EXPRESSIONS = ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise", "contempt")
AUS = (1, 2, 4, 5, 6, 7, 9, 10, 12, 14, 15, 16, 17, 20, 23, 24, 25, 26)
HALF = 1.38                 # the picture spans −HALF..HALF in the posed frame
REACH, KNOTS = 1.5, 49      # displacements are bilinear lattices of KNOTS² knots over −REACH..REACH
SKIN_REACH = 1.2            # the map of the skin spans −SKIN_REACH..SKIN_REACH
EYE_X, EYE_Y, EYE_W = .38, -.20, .19    # centre and half width of an eye
AT_ONCE = 2 ** 18           # pixels drawn in one go: more falls out of the processor's cache

# valence and arousal in the circumplex; then unit: (how often it takes part, its weakest, its strongest intensity)
PROTOTYPES = {
    "neutral": ((.00, .00), {}),
    "anger": ((-.60, .65), {4: (1, .8, 1), 5: (.5, .3, .6), 7: (.9, .5, 1), 17: (.4, .3, .7), 23: (.8, .5, 1),
                            24: (.7, .5, 1)}),
    "disgust": ((-.65, .35), {4: (.6, .3, .6), 7: (.5, .3, .7), 9: (1, .8, 1), 10: (.9, .6, 1), 15: (.4, .3, .6),
                              16: (.4, .3, .7), 17: (.3, .3, .6), 25: (.5, .3, .7)}),
    "fear": ((-.55, .75), {1: (1, .7, 1), 2: (.9, .5, .9), 4: (.8, .4, .8), 5: (1, .7, 1), 20: (1, .7, 1), 25: (.9, .5, 1),
                           26: (.4, .2, .5)}),
    "happiness": ((.80, .45), {6: (.9, .5, 1), 12: (1, .7, 1), 25: (.65, .5, 1), 26: (.2, .1, .4)}),
    "sadness": ((-.70, -.40), {1: (1, .7, 1), 4: (.7, .2, .6), 7: (.2, .2, .4), 15: (1, .7, 1), 17: (.6, .4, .9)}),
    "surprise": ((.20, .75), {1: (1, .8, 1), 2: (1, .8, 1), 5: (.85, .5, 1), 25: (1, .6, 1), 26: (1, .6, 1)}),
    "contempt": ((-.50, .15), {10: (.3, .2, .4), 12: (1, .7, 1), 14: (1, .7, 1)}),      # on one side of the face
}
# A bump is x, y, width, height, dx, dy. The tables give the right half of the picture; the left half is its mirror.
MUSCLES = {  # 5 and 7 move the lids alone: `lid_shape`
    1: [(.16, -.46, .18, .18, .00, -.16)], 2: [(.56, -.50, .20, .19, .00, -.15)],       # brows up: inner, outer
    4: [(.18, -.46, .22, .20, -.05, .14), (.50, -.50, .20, .16, -.04, .04)], 5: [],     # brows down and together
    6: [(.46, .14, .24, .20, .01, -.09)], 7: [],                                        # cheeks up
    9: [(.13, .22, .16, .18, .01, -.10), (.17, -.44, .20, .19, -.04, .06)],             # nose wrinkled
    10: [(.20, .42, .18, .15, .02, -.07)],                                              # upper lip up
    12: [(.40, .58, .22, .20, .08, -.10), (.50, .25, .22, .20, .02, -.05)],  # corners of the mouth out and up
    14: [(.40, .61, .15, .15, .05, -.02)], 15: [(.38, .68, .18, .18, .01, .09)],        # dimples; corners down
    16: [(.15, .80, .22, .16, .00, .05)], 17: [(.12, .90, .22, .18, .00, -.07)],        # lower lip down; chin up
    20: [(.42, .65, .22, .20, .10, .02)], 23: [(.30, .62, .16, .16, -.04, .00)],        # lips stretched; tight
    24: [(.12, .48, .25, .14, .00, .02), (.12, .76, .25, .14, .00, -.03)],              # lips pressed
    25: [(.10, .78, .22, .16, .00, .03)], 26: [(.25, 1.0, .45, .38, .00, .16)],         # lips parted; jaw down
}
CREASES = {                                                                     # x, y, length, thickness, degrees, depth
    1: [(.10, -.66, .20, .016, 4, .20), (.12, -.76, .22, .016, 4, .16)],
    2: [(.42, -.70, .20, .016, 8, .18), (.40, -.79, .18, .016, 8, .14)],
    4: [(.065, -.47, .10, .018, 80, .40), (.14, -.44, .06, .016, 65, .16)],
    6: [(.42, .02, .16, .018, -8, .26), (.66, -.20, .08, .012, -25, .24), (.67, -.13, .08, .012, 0, .24),
        (.65, -.07, .08, .012, 25, .22)],
    7: [(.38, -.09, .17, .016, 0, .22)], 14: [(.44, .60, .06, .024, 85, .50)], 15: [(.43, .76, .08, .02, 100, .30)],
    9: [(.05, -.24, .08, .018, -25, .46), (.05, -.16, .08, .018, -25, .42), (.10, -.06, .07, .018, 50, .34),
        (.25, .32, .13, .024, 55, .44)],
    10: [(.31, .38, .14, .026, 55, .38)], 12: [(.38, .44, .20, .024, 55, .38), (.50, .58, .07, .02, 80, .20)],
    16: [(.10, .80, .14, .02, 0, .16)], 17: [(.07, .92, .06, .03, 20, .20), (.06, .83, .12, .02, -6, .22)],
    20: [(.50, .66, .12, .02, 80, .24)], 23: [(.36, .62, .05, .02, 90, .18)], 24: [(.10, .76, .16, .018, 0, .20)],
    26: [(.46, .70, .16, .02, 65, .12)],
}
SHAPES = {                                                                      # a trait's upper end; the lower is its opposite
    "width": [(.75, .00, .45, .90, .08, .00)], "jaw": [(.55, .80, .35, .40, .10, .00)],
    "chin": [(.20, 1.1, .40, .40, .00, .05)], "cheek": [(.72, .20, .30, .30, .05, .00)],
    "forehead": [(.30, -1.0, .60, .40, .00, -.05)], "mouth bend": [(.32, .60, .14, .16, .00, .024)],
    "eye distance": [(.38, -.20, .25, .25, .03, .00)], "eye height": [(.38, -.20, .30, .25, .00, .04)],
    "eye size": [(.56, -.20, .14, .18, .02, .0), (.22, -.20, .14, .18, -.02, .0), (.38, -.30, .20, .11, .0, -.02),
                 (.38, -.10, .20, .11, .0, .02)],
    "brow height": [(.38, -.50, .40, .16, .00, .038)],
    "brow tilt": [(.18, -.48, .18, .16, .00, .024), (.56, -.50, .18, .16, .00, -.024)],
    "nose length": [(.05, .30, .22, .22, .00, .04)], "nose width": [(.14, .25, .14, .16, .03, .00)],
    "mouth height": [(.15, .62, .40, .25, .00, .04)], "mouth width": [(.30, .60, .20, .25, .04, .00)],
}
RELIEF = (                                                                      # x, y, width, height, how far it stands out
    (0, .05, .085, .28, .15), (0, .24, .12, .11, .13), (.13, .27, .06, .06, .05), (.38, -.43, .24, .09, .04),
    (.36, -.20, .20, .12, -.07), (.46, .16, .24, .22, .06), (0, .60, .34, .15, .05), (0, .77, .20, .06, -.04),
    (0, .94, .20, .13, .05), (0, .43, .04, .08, -.015))
LOOKS = ("melanin", "undertone", "hair colour", "grey", "hair length", "hair volume", "fringe", "parting", "bald",
         "brow weight", "iris", "lips", "lip colour", "freckles", "stubble", "age", "blush", "lid crease",
         "red", "green", "blue")
TRAITS = (*SHAPES, *LOOKS, *(f"habit {unit}" for unit in AUS))  # a habit: how readily the subject uses a unit
SKIN = ((.95, .80, .70), (.92, .73, .59), (.84, .62, .47), (.66, .45, .32), (.44, .29, .21))
HAIR = ((.07, .06, .06), (.16, .10, .07), (.30, .18, .11), (.47, .24, .12), (.72, .54, .31), (.86, .73, .50))
IRIS = ((.20, .11, .06), (.36, .21, .10), (.42, .36, .16), (.29, .44, .30), (.30, .47, .63), (.42, .50, .56))


@dataclass(frozen=True)
class Faces:
    """A plan of B clips of T frames: all that is known of them before a pixel is drawn; `faces[a:b]` is a part of it."""
    identity: Tensor      # (B, len(TRAITS))  traits in [0, 1], from the seed and the subject alone
    detail: Tensor        # (B, 48, 48)       the subject's skin, standard normal
    light: Tensor         # (B, 4)            where the lamp is, x and y; brightness and warmth
    scene: Tensor         # (B, 2, 3)         the background's colours, above and below
    pose: Tensor          # (B, T, 6)         shift x, shift y, log scale, roll, yaw, pitch (radians)
    eyes: Tensor          # (B, T, 3)         gaze x, gaze y, blink in [0, 1]
    aus: Tensor           # (B, T, 18)        intensities in [0, 1], in the order of AUS
    side: Tensor          # (B, 18)           −1 in the picture's left half only, 0 in both alike, 1 in the right half only
    expression: Tensor    # (B,)              index into EXPRESSIONS
    va: Tensor            # (B, T, 2)         valence and arousal in [−1, 1]
    subject: Tensor       # (B,)              subject id
    patch: Tensor         # (B, 8)            what hides a part: x, y, half width, half height, red, green, blue, 1 if there
    noise: Tensor         # (B,)              standard deviation of the grain
    key: Tensor           # (B,)              seed of the grain

    def __len__(self) -> int:
        return len(self.subject)

    def __getitem__(self, part: slice | Tensor) -> "Faces":
        return Faces(*(getattr(self, f.name)[part] for f in fields(self)))

    def to(self, device) -> "Faces":
        """The same plan on a device."""
        return Faces(*(getattr(self, f.name).to(device) for f in fields(self)))

    def trait(self, name: str) -> Tensor:
        """One trait of every clip's subject: (B,)"""
        return self.identity[:, TRAITS.index(name)]


def rows_of(keys: list[str], width: int, make=torch.rand) -> tuple[Tensor, Tensor]:
    """A row of random numbers for each key, from that key alone: (len(keys), width), and the seeds (len(keys),)"""
    seeds = [zlib.crc32(key.encode()) for key in keys]
    return torch.stack([make(width, generator=torch.Generator().manual_seed(s)) for s in seeds]), torch.tensor(seeds)


def ease(t: Tensor) -> Tensor:
    """0 before 0, 1 after 1, smooth between."""
    t = t.clamp(0, 1)
    return t * t * (3 - 2 * t)


def plan(n: int, T: int, seed: int, subjects: int, expressions: int = 7, first_subject: int = 0, *, strength: float = 1.,
         pose: float = 1., light: float = 1., occlusion: float = .1, noise: float = .02, stray: float = .12) -> Faces:
    """Decide n clips of T frames: clip i is expression i % expressions of the (i // expressions % subjects)-th subject.

    A subject is the same face in every clip and call with the same seed. A clip runs from neutral to its apex and back;
    T = 1 is the apex. strength scales the units (0.1: micro-expressions), pose and light their own variation; occlusion is
    how often a patch hides a part, noise the grain's standard deviation, stray how often a unit moves a little that the
    expression does not ask for. → Faces

    Raises ValueError where a count is not positive, expressions not in 1..8, or strength not in 0..1.2.
    """
    for name, value in (("n", n), ("T", T), ("subjects", subjects)):
        if value < 1:
            raise ValueError(f"{name} is {value}; it must be at least 1")
    if not 1 <= expressions <= len(EXPRESSIONS):
        raise ValueError(f"expressions is {expressions}; it must be 1 to {len(EXPRESSIONS)}, the first so many of EXPRESSIONS")
    if not 0 <= strength <= 1.2:
        raise ValueError(f"strength is {strength}; it must be 0 to 1.2, for beyond that the skin would fold over itself")
    K, i = len(AUS), torch.arange(n)
    expression, subject = i % expressions, first_subject + i // expressions % subjects
    take = i // (expressions * subjects)
    ids, who = subject.unique(return_inverse=True)
    identity = rows_of([f"{seed} identity {s}" for s in ids.tolist()], len(TRAITS))[0][who]       # (n, traits)
    detail = rows_of([f"{seed} skin {s}" for s in ids.tolist()], 48 * 48, torch.randn)[0].unflatten(1, (48, 48))[who]
    clips = torch.stack([subject, expression, take], 1).tolist()
    u, key = rows_of([f"{seed} clip {s} {e} {k}" for s, e, k in clips], 50 + 5 * K)
    column = iter(u.unbind(1))
    dice = lambda k: torch.stack([next(column) for _ in range(k)], 1)  # the next k in [0, 1]: (n, k)
    toss = lambda k: 2 * dice(k) - 1                                                            # and in [−1, 1]

    # which units, how strongly, on which side
    table = torch.zeros(expressions, 3, K)
    for e, name in enumerate(EXPRESSIONS[:expressions]):
        for unit, row in PROTOTYPES[name][1].items():
            table[e, :, AUS.index(unit)] = torch.tensor(row)
    often, low, high = table[expression].unbind(1)                                              # (n, K) each
    habit, intensity = identity[:, -K:], .65 + .35 * dice(1)
    there = (.7 * dice(K) + .3 * habit) < often
    apex = there * (low + (high - low) * dice(K)) * intensity * (.85 + .3 * habit)
    apex = (strength * torch.where((dice(K) < stray) & ~there, .3 * dice(K), apex)).clamp(max=1)
    side, whole = .25 * toss(K), expression[:, None] != EXPRESSIONS.index("contempt")
    side = torch.where(whole | (often == 0), side, torch.where(toss(1) < 0, -.9, .9))

    # onset, apex, offset
    t = torch.linspace(0, 1, T) if T > 1 else torch.full((1,), .5)
    timing = dice(4) * torch.tensor([.12, .12, .20, .12]) + torch.tensor([.0, .15, .68, .12])
    start, rise, stop, fall = timing.split(1, 1)                                                # (n, 1) each
    envelope = (ease((t - start) / rise) * (1 - ease((t - stop) / fall)))[..., None]          # (n, T, 1)
    circumplex = torch.tensor([PROTOTYPES[name][0] for name in EXPRESSIONS])[expression]        # (n, 2)
    va = envelope * strength * (intensity * circumplex + .06 * toss(2))[:, None]                # (n, T, 2)

    # head and eyes, light and scene
    drift = torch.sin(3 * t[:, None] * (.5 + dice(6)[:, None]) + 6 * dice(6)[:, None])          # (n, T, 6)
    head = torch.tensor([.11, .09, .08, .15, .30, .18]) * toss(6)[:, None]
    head = pose * (head + torch.tensor([.03, .03, .02, .05, .10, .07]) * drift)
    blink = torch.exp(-((t - dice(1)) / .05) ** 2) * (dice(1) < .4) * (T > 1)                                 # (n, T)
    gaze = .04 * toss(2)[:, None].expand(n, T, 2)
    lamp = toss(4) * torch.tensor([1, .4, 1, 1]) - torch.tensor([0, .6, 0, 0])
    scene = .15 + .7 * dice(6).unflatten(1, (2, 3))
    scene = torch.lerp(scene.mean(-1, keepdim=True), scene, .28)                                              # muted
    place = toss(2) * .8 + torch.tensor([.0, .1])
    patch = torch.cat([place, .15 + .28 * dice(2), dice(3), (dice(1) < occlusion).float()], 1)
    return Faces(identity, detail, light * lamp, scene, head, torch.cat([gaze, blink[..., None]], -1), envelope * apex[:, None],
                 side, expression, va.clamp(-1, 1), subject, patch, torch.full((n,), float(noise)), key)
