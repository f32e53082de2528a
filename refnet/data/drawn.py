"""The drawn faces as a data set: clips in memory, subjects of the test part never seen in training."""
import sys
import time
from pathlib import Path

import torch

from refnet.data.drawn_faces import draw
from refnet.data.drawn_plan import EXPRESSIONS, plan
from refnet.data.samples import Collection, Drawn, Sample, counts

PARTS = {"train": (2100, 300), "select": (105, 15), "report": (210, 30)}                # clips, subjects
FRAMES, SEED = 16, 0                                # frames a clip; the drawings do not change with the run's seed


def read(root: Path | None, cfg, parts: dict[str, tuple[int, int]] = PARTS) -> Collection:
    """Draw every part anew; nothing is read.

    cfg    size, the picture's side, and classes, names of EXPRESSIONS in the order wanted
    →      samples whose clips are uint8 (16, 3, size, size) in memory
    """
    samples, first, start = [], 0, time.perf_counter()
    total = sum(n for n, _ in parts.values())
    for part, (n, subjects) in parts.items():
        faces = plan(n, FRAMES, SEED, subjects, len(cfg.classes), first_subject=first)
        for a in range(0, n, 16):
            some = faces[a:a + 16]
            video = (draw(some, cfg.size, "cpu")[0] * 255).round().to(torch.uint8)      # (16, T, 3, S, S)
            for k, clip in enumerate(video):
                label = cfg.classes.index(EXPRESSIONS[some.expression[k]])
                samples.append(Sample(f"{part}/{a + k:04d}", Drawn(clip), {"expression": label},
                                      f"d{int(some.subject[k]):03d}", part))
            if sys.stderr.isatty():
                print(f"\rdrawing {len(samples)} of {total} clips", end="", file=sys.stderr, flush=True)
        first += subjects
    if sys.stderr.isatty():
        print("\r\033[K", end="", file=sys.stderr)
    found = [f"drawn faces: {total} clips of {FRAMES} frames at {cfg.size} px, drawn in {time.perf_counter() - start:.0f} s"]
    for part, (n, subjects) in parts.items():
        number = counts([s for s in samples if s.part == part], cfg.classes)
        found.append(f"  {part:6} {n} clips of {subjects} subjects; " + ", ".join(f"{k} {v}" for k, v in number.items()))
    return Collection(samples, cfg.classes, found)
