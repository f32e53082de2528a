"""Drawn faces as single pictures, each of an expression at its apex, with valence and arousal; those of the test part are never seen in training."""
from collections.abc import Iterator
from pathlib import Path

from refnet.data.drawn import Block, DrawnClip, known_classes
from refnet.data.drawn_plan import EXPRESSIONS, Faces, plan
from refnet.data.samples import Collection, DataError, Sample, counts

SEVEN = EXPRESSIONS[:7]
PARTS = {"train": (3200, 400), "select": (175, 25), "report": (420, 60)}                # pictures, subjects
SEED, TOGETHER = 0, 64                              # the drawings do not change with the run's seed


def stills(parts: dict[str, tuple[int, int]], size: int, expressions: int) -> Iterator[tuple[str, Faces, list[DrawnClip]]]:
    """Plan the pictures of each part, (pictures, subjects), of the first so many EXPRESSIONS; one is drawn when it is first looked at.

    →   part, what is known of its faces, its pictures
    """
    first = 0
    for part, (n, subjects) in parts.items():
        faces = plan(n, 1, SEED, subjects, expressions, first_subject=first)
        blocks = [Block(faces[a:a + TOGETHER], size) for a in range(0, n, TOGETHER)]
        yield part, faces, [DrawnClip(blocks[i // TOGETHER], i % TOGETHER, 1) for i in range(n)]
        first += subjects


def read(root: Path | None, cfg, parts: dict[str, tuple[int, int]] = PARTS) -> Collection:
    """Plan every picture.

    cfg   stored, the picture's side, and classes: names that are drawn, the first so many of EXPRESSIONS in any order

    Raises DataError for classes that are not drawn, and for pictures that are too small.
    """
    known = known_classes(cfg.classes)
    if cfg.stored < 16:
        raise DataError(f"drawn faces need 16 pixels or more a side; got --stored {cfg.stored}")
    samples = []
    found = [f"drawn faces: {sum(n for n, _ in parts.values())} pictures at {cfg.stored} px, each drawn when it is first looked at"]
    for part, faces, clips in stills(parts, cfg.stored, len(known)):
        codes = [cfg.classes.index(EXPRESSIONS[e]) for e in faces.expression.tolist()]
        some = [Sample(f"{part}/{i:04d}", clip, {"expression": code, "va": tuple(va)}, f"d{subject:03d}", part)
                for i, (clip, code, va, subject) in enumerate(zip(clips, codes, faces.va[:, 0].tolist(), faces.subject.tolist()))]
        number = counts(some, cfg.classes)
        found.append(f"  {part:6} {len(some)} pictures of {parts[part][1]} subjects; " + ", ".join(f"{k} {v}" for k, v in number.items()))
        samples += some
    return Collection(samples, cfg.classes, found)
