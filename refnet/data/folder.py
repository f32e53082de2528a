"""One's own pictures and clips, a folder a class; and what every reader of folders shares.

    DIR/<class>/<clip>/<frame>.jpg     a clip, a folder of frames
    DIR/<class>/<clip>.mp4, .gif       a clip, a video or an animation
    DIR/<class>/<picture>.jpg          a clip of one frame

The three may stand side by side. With DIR/train/<class>/... and DIR/val/<class>/... (or test), those are the parts.
"""
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from refnet.data.samples import Collection, DataError, Sample, counts
from refnet.pictures import PICTURES, VIDEOS, Clip

LAYOUT = "expected DIR/<class>/<clip>/<frame>.jpg, DIR/<class>/<picture>.jpg or DIR/<class>/<clip>.mp4"
TRAIN, SELECT, TEST = ("train",), ("val", "valid", "validation"), ("test",)


def read(root: Path, cfg: Any) -> Collection:
    """Take each folder of a class as it stands; the classes are the names of the folders, sorted.

    train/ and test/ are what they say; val/ chooses the epoch where there is a test/, and is the test where there is none.
    With no such folders the protocol decides. What is neither picture nor clip is listed in `found`.
    Raises DataError for an empty class, for fewer than two, and for one that train/ lacks.
    """
    root = opened(root, LAYOUT)
    parts = _parts(root)
    folders = {part: {p.name: p for p in listing(top) if p.is_dir()} for part, top in parts.items()}
    classes = tuple(sorted(set().union(*folders.values())))
    if len(classes) < 2:
        raise DataError(f"{root}: {len(classes)} folders of classes ({', '.join(classes) or 'none'}); "
                        f"expected two or more; {LAYOUT}")
    samples, kinds = [], {"folders of frames": 0, "pictures": 0, "videos or animations": 0}
    strange = [p for top in parts.values() for p in listing(top) if not p.is_dir()]
    if "" not in parts:
        strange += [p for p in listing(root) if p not in parts.values()]
    for part, top in parts.items():
        for name, folder in folders[part].items():
            clips, rest, doubles = clips_in(folder)
            if not clips:
                raise DataError(f"{folder}: no clip of class {name!r}{_some(rest, '; found only ')}; {LAYOUT}")
            for path in clips:
                target = {"expression": classes.index(name)}
                samples.append(Sample(path.relative_to(root).as_posix(), open_clip(path), target, part=part))
                moving = path.suffix.lower() in (*VIDEOS, ".gif")
                kinds["folders of frames" if path.is_dir() else "videos or animations" if moving else "pictures"] += 1
            strange += rest + doubles
            strange += [q for p in clips if p.is_dir() for q in listing(p) if q.suffix.lower() not in PICTURES]
    found = [f"folder: {len(samples)} clips: {tally({kind: n for kind, n in kinds.items() if n})}"]
    found += part_lines("folder", samples, classes)
    if strange:
        found.append(f"folder: left out{_some(strange, ' ', root)}")
    return Collection(samples, classes, found)


def _parts(root: Path) -> dict[str, Path]:
    """The folder of each part: train, select, report; or "" and the root itself."""
    tops = {p.name.lower(): p for p in listing(root) if p.is_dir()}
    train, select, test = ([tops[n] for n in names if n in tops] for names in (TRAIN, SELECT, TEST))
    if not (train or select or test):
        return {"": root}
    if not train or not (select or test) or len(select) > 1:
        names = ", ".join(p.name for p in train + select + test)
        raise DataError(f"{root}: holds {names}; expected train/ with val/ or test/ (or validation/ for val/), one of each; "
                        f"or give the folder above the classes, and the protocol cuts off a test part")
    if select and test:
        return {"train": train[0], "select": select[0], "report": test[0]}
    return {"train": train[0], "report": (select + test)[0]}


# What every reader of folders shares

def opened(root: str | Path, layout: str) -> Path:
    """The root of a data set, once it is there and something is in it."""
    root = Path(root)
    if not root.is_dir():
        what = "is a file, not a folder" if root.exists() else "no such folder"
        raise DataError(f"{root}: {what}; {layout}; check --data")
    if not listing(root):
        raise DataError(f"{root}: nothing in this folder; {layout}; check --data")
    return root


def listing(folder: Path) -> list[Path]:
    """What stands in a folder, clip2 before clip10, without hidden files and those that file managers leave."""
    def natural(p: Path) -> tuple[list[str | int], str]:
        return [int(s) if k % 2 else s for k, s in enumerate(re.split("([0-9]+)", p.name))], p.name

    left = ("thumbs.db", "desktop.ini")
    return sorted((p for p in folder.iterdir() if not p.name.startswith((".", "__MACOSX")) and p.name.lower() not in left),
                  key=natural)


def clips_in(folder: Path) -> tuple[list[Path], list[Path], list[Path]]:
    """A folder's clips; what is no clip; and the videos left out for a folder of frames of the same name."""
    found = listing(folder)
    frames = {p.name for p in found if p.is_dir()}
    clips, rest, doubles = [], [], []
    for p in found:
        if p.is_dir() or p.suffix.lower() in PICTURES:
            clips.append(p)
        elif p.suffix.lower() in VIDEOS:
            (doubles if p.stem in frames else clips).append(p)
        else:
            rest.append(p)
    return clips, rest, doubles


def open_clip(path: Path) -> Clip:
    """A clip that has something in it; nothing is decoded yet."""
    if path.is_dir() and not any(p.suffix.lower() in PICTURES for p in path.iterdir()):
        inside = [p.name for p in listing(path)][:3]
        raise DataError(f"{path}: a clip without frames; found {', '.join(inside) or 'nothing'}, expected pictures right "
                        f"in it; extract it again, or remove the folder")
    if path.is_file() and path.stat().st_size == 0:
        raise DataError(f"{path}: a clip without frames, 0 bytes; copy it again, or remove it")
    return Clip(path)


def code_order(cfg: Any, names: tuple[str, ...], data: str) -> tuple[str, ...]:
    """The classes in the order of the settings' codes; they must be the data set's own, in whatever order."""
    wanted = tuple(getattr(cfg, "classes", ()) or names)
    if sorted(wanted) != sorted(names):
        raise DataError(f"{data}: the classes are {', '.join(names)}; the settings ask for {', '.join(wanted)}; "
                        f"set --classes {' '.join(names)}")
    return wanted


def tally(found: dict[str, int], expected: dict[str, int] | None = None) -> str:
    """`anger 120, fear 119 of 120`: what was found, and what was expected where that is something else."""
    of = {name: f" of {n}" for name, n in (expected or {}).items() if n != found.get(name)}
    return ", ".join(f"{name} {n}{of.get(name, '')}" for name, n in found.items())


def part_lines(data: str, samples: list[Sample], classes: tuple[str, ...],
               expected: dict[str, dict[str, int]] | None = None, unit: str = "clips") -> list[str]:
    """A line a part: how many, and how many of each class.

    expected   for each part, {"all": 773, "anger": 135, ...}, as far as known

    Raises DataError where a class has nothing to train on; one that is only not tested is said.
    """
    lines = []
    for part in dict.fromkeys(s.part for s in samples):
        mine, known = [s for s in samples if s.part == part], (expected or {}).get(part, {})
        seen = counts(mine, classes)
        empty = [name for name, n in seen.items() if n == 0]
        if empty and part in ("", "train"):
            raise DataError(f"{data}: no {unit} of {', '.join(empty)}{' in train' if part else ''}; found {tally(seen)}; "
                            f"expected every class; add them, or remove the class everywhere")
        of = f" of {known['all']} expected" if "all" in known else ""
        lines.append(f"{data}: {part + ' ' if part else ''}{len(mine)} {unit}{of}; {tally(seen, known)}"
                     + (f"; none of {', '.join(empty)}, so no score of theirs" if empty else ""))
    return lines


def _some(paths: Iterable[Path], before: str, root: Path | None = None) -> str:
    """`before a.txt, b.csv and 3 more`, or nothing."""
    names = [(p.relative_to(root).as_posix() if root else p.name) for p in paths]
    return f"{before}{', '.join(names[:8])}{f' and {len(names) - 8} more' if len(names) > 8 else ''}" if names else ""
