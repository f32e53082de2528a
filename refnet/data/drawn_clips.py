"""The drawn micro-expressions as a data set: as uneven as CASME II, every clip with its landmarks."""
import hashlib
from dataclasses import fields
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from refnet.data.drawn_faces import draw
from refnet.data.drawn_micro import MICRO, Micro, plan_micro
from refnet.data.micro import MicroClip
from refnet.data.samples import Collection, DataError, Sample, counts

SUBJECTS, FRAMES, SEED = 16, 20, 0                  # the drawings do not change with the run's seed
PEAK = (1.2, 2.4)                                   # how far the farthest pixel of a face goes, in pixels of 256
TIMES = {"negative": 4, "positive": 2, "surprise": 2,                                   # clips of each subject
         "disgust": 3, "happiness": 2, "repression": 2, "others": 4}


class Plan:
    """The clips of a data set, drawn when they are looked at."""

    def __init__(self, micro: Micro, size: int):
        self.micro, self.size = micro, size

    @lru_cache(maxsize=2)
    def drawn(self, b: int) -> tuple[Tensor, Tensor]:
        """Clip b from onset to offset: uint8 (T, 3, S, S), landmarks (T, 51, 2)"""
        video, points = draw(self.micro.clip(b), self.size, "cpu")                      # (1, T, 3, S, S), (1, T, 68, 2)
        shown = slice(int(self.micro.onset[b]), int(self.micro.offset[b]) + 1)
        return (video[0, shown] * 255).round().to(torch.uint8), points[0, shown, 17:]


class DrawnMicro(NamedTuple):
    """One clip of a plan; a source of frames and landmarks as micro.Source says."""
    plan: Plan
    b: int

    def __len__(self) -> int:
        return int(self.plan.micro.offset[self.b] - self.plan.micro.onset[self.b]) + 1

    def read(self, indices: list[int], size: int | None = None) -> Tensor:
        if size not in (None, self.plan.size):
            raise DataError(f"the clip is drawn at {self.plan.size} px, asked for at {size}; draw it at {size}")
        return self.plan.drawn(self.b)[0][indices]                                      # (n, 3, S, S)

    def points(self) -> Tensor:
        return self.plan.drawn(self.b)[1]                                               # (T, 51, 2)

    def digest(self) -> str:
        """Of the plan that is drawn: the drawing itself is frozen."""
        own, whole = self.plan.micro.clip(self.b), hashlib.sha256(f"{self.plan.size}".encode())
        for f in fields(own):
            whole.update(getattr(own, f.name).contiguous().numpy().tobytes())
        whole.update(repr((int(self.plan.micro.onset[self.b]), int(self.plan.micro.offset[self.b]))).encode())
        return whole.hexdigest()


def read(root: Path | None, cfg, subjects: int = SUBJECTS) -> Collection:
    """Plan every clip; nothing is read, and a clip is drawn when it is first looked at.

    cfg   size, the picture's side, and classes: the three or five of MICRO in any order

    Raises DataError for classes that are not drawn.
    """
    names = MICRO.get(len(cfg.classes), ())
    if sorted(cfg.classes) != sorted(names):
        raise DataError(f"drawn micro-expressions are of {' or of '.join(', '.join(v) for v in MICRO.values())}; got "
                        f"{', '.join(cfg.classes)}; leave --classes out, or give a data set of your own with --data")
    if cfg.oth:
        raise DataError("drawn micro-expressions have no other data set beside them; leave --oth and the rows that ask for it out")
    if cfg.size < 64:
        raise DataError(f"drawn micro-expressions need 64 pixels or more a side; got --size {cfg.size}")
    most = max(TIMES[name] for name in names)
    micro = plan_micro(len(names) * subjects * most, SEED, subjects, len(names), frames=(FRAMES, FRAMES), peak=PEAK)
    again = torch.arange(len(micro)) // (len(names) * subjects)                         # which clip of its class and subject
    micro = micro[again < torch.tensor([TIMES[name] for name in names])[micro.label]]
    plan = Plan(micro, cfg.size)
    samples = [Sample(f"d{int(micro.faces.subject[b]):02d}/{b:03d}",
                      MicroClip(DrawnMicro(plan, b), micro.fps, int(micro.apex[b] - micro.onset[b])),
                      {"expression": cfg.classes.index(names[int(micro.label[b])])}, f"d{int(micro.faces.subject[b]):02d}")
               for b in range(len(micro))]
    number = counts(samples, tuple(cfg.classes))
    found = [f"drawn micro-expressions: {len(samples)} clips of {subjects} subjects at {cfg.size} px, {micro.fps:g} frames a second; "
             + ", ".join(f"{k} {v}" for k, v in number.items()),
             f"  the farthest pixel of a face goes {float(micro.peak.min()):.2f} to {float(micro.peak.max()):.2f} px of 256, while the head drifts"]
    return Collection(samples, tuple(cfg.classes), found)
