"""The drawn faces as a data set: subjects of the test part are never seen in training."""
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from refnet.data.drawn_faces import draw
from refnet.data.drawn_plan import EXPRESSIONS, Faces, plan
from refnet.data.samples import Collection, DataError, Drawn, Sample, counts

PARTS = {"train": (2100, 300), "select": (105, 15), "report": (210, 30)}                # clips, subjects
FRAMES, SEED = 16, 0                                # frames a clip; the drawings do not change with the run's seed
TOGETHER = 16                                       # clips drawn at a time


class Block:
    """A few clips, drawn when the first of them is looked at, and kept as uint8."""

    def __init__(self, faces: Faces, size: int):
        self.faces, self.size, self.video = faces, size, None

    def clip(self, k: int) -> Tensor:
        """The frames of the k-th: (T, 3, size, size) uint8."""
        if self.video is None:
            self.video = (draw(self.faces, self.size, "cpu")[0] * 255).round().to(torch.uint8)   # (n, T, 3, S, S)
        return self.video[k]


class DrawnClip(NamedTuple):
    """One clip of a block."""
    block: Block
    k: int
    frames: int = FRAMES

    in_memory = True

    def __len__(self) -> int:
        return self.frames

    def read(self, indices: list[int], size: int | None = None) -> Tensor:
        return Drawn(self.block.clip(self.k)).read(indices, size)                       # (n, 3, S, S)


def known_classes(classes: tuple[str, ...]) -> tuple[str, ...]:
    """The expressions that are drawn for so many classes, the first so many; DataError where the names are others."""
    known = EXPRESSIONS[:len(classes)]
    if sorted(classes) != sorted(known):
        raise DataError(f"drawn faces: {len(classes)} classes are {', '.join(known)}; got {', '.join(classes)}; "
                        "leave --classes out, or give a data set of your own with --data")
    return known


def read(root: Path | None, cfg, parts: dict[str, tuple[int, int]] = PARTS) -> Collection:
    """Plan every part anew; nothing is read, and a clip is drawn when it is first looked at.

    cfg    size, the picture's side, and classes: names that are drawn, the first so many of EXPRESSIONS in any order
    →      samples whose clips have 16 frames of size × size

    Raises DataError for classes that are not drawn.
    """
    known = known_classes(cfg.classes)
    if cfg.size < 16:
        raise DataError(f"drawn faces need 16 pixels or more a side; got --size {cfg.size}")
    samples, first = [], 0
    for part, (n, subjects) in parts.items():
        faces = plan(n, FRAMES, SEED, subjects, len(known), first_subject=first)
        for a in range(0, n, TOGETHER):
            some = faces[a:a + TOGETHER]
            block = Block(some, cfg.size)
            samples += [Sample(f"{part}/{a + k:04d}", DrawnClip(block, k),
                               {"expression": cfg.classes.index(EXPRESSIONS[some.expression[k]])},
                               f"d{int(some.subject[k]):03d}", part) for k in range(len(some))]
        first += subjects
    found = [f"drawn faces: {len(samples)} clips of {FRAMES} frames at {cfg.size} px, each drawn when it is first looked at"]
    for part, (n, subjects) in parts.items():
        number = counts([s for s in samples if s.part == part], cfg.classes)
        found.append(f"  {part:6} {n} clips of {subjects} subjects; " + ", ".join(f"{k} {v}" for k, v in number.items()))
    return Collection(samples, cfg.classes, found)
