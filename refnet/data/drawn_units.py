"""Drawn faces with their action units: what is there is known exactly; subjects of the test part are never seen in training."""
from pathlib import Path

from refnet.data.drawn_plan import AUS, EXPRESSIONS
from refnet.data.drawn_stills import stills
from refnet.data.samples import Collection, DataError, Sample

PARTS = {"train": (3200, 400), "select": (160, 20), "report": (320, 40)}                # pictures, subjects
THERE = 0.3                                         # the intensity from which a unit counts; those that stray in stay below


def read(root: Path | None, cfg, parts: dict[str, tuple[int, int]] = PARTS) -> Collection:
    """Plan every picture, each of an expression at its apex; a picture is drawn when it is first looked at.

    cfg    resize, the picture's side, and aus: units that are drawn

    Raises DataError for a unit that is not drawn, and for pictures that are too small.
    """
    if strange := sorted(set(cfg.aus) - set(AUS)):
        raise DataError(f"drawn faces have the action units {', '.join(map(str, AUS))}; got {', '.join(map(str, strange))}; "
                        "leave --aus out, or give a data set of your own with --data")
    if cfg.resize < 16:
        raise DataError(f"drawn faces need 16 pixels or more a side; got --resize {cfg.resize}")
    columns = [AUS.index(unit) for unit in cfg.aus]
    samples = []
    found = [f"drawn faces: {sum(n for n, _ in parts.values())} pictures at {cfg.resize} px, each drawn when it is first looked at; "
             f"a unit is there from an intensity of {THERE} on"]
    for part, faces, clips in stills(parts, cfg.resize, len(EXPRESSIONS)):
        there = (faces.aus[:, 0, columns] >= THERE).long()                              # (n, N)
        samples += [Sample(f"{part}/{i:04d}", clip, {"au": tuple(units)}, f"d{subject:03d}", part)
                    for i, (clip, units, subject) in enumerate(zip(clips, there.tolist(), faces.subject.tolist()))]
        rates = ", ".join(f"AU{unit} {rate:.0%}" for unit, rate in zip(cfg.aus, there.float().mean(0).tolist()))
        found.append(f"  {part:6} {len(clips)} pictures of {parts[part][1]} subjects; {rates}")
    return Collection(samples, (), found)
