"""Micro-expression data sets, alone or together: ENGAT's Tables 4, 5 (others train too) and 8 (one trains, another is tested).

    --data DIR        a data set's own folder, or one in which several of them stand side by side
"""
import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from refnet.data import casme2, samm, smic
from refnet.data.folder import listing, opened
from refnet.data.samples import Collection, DataError

SETS = {"casme2": casme2, "smic": smic, "samm": samm}
LAYOUT = "expected the folder of CASME II, SMIC or SAMM, or one in which they stand side by side"


def reader(name: str) -> Callable:
    """A data set as one trains on it alone, or with the others: (root, cfg) → Collection"""
    return partial(_alone, name)


def crossed(train: str, test: str) -> Callable:
    """All of one data set trains, all of another is tested: (root, cfg) → Collection"""
    return partial(_across, train, test)


def _alone(name: str, root: Path, cfg: Any) -> Collection:
    """With cfg.oth the clips of the others are of the part `train`: they train in every fold, and are never tested.

    Reading: §4.2 says "data samples from other databases of the same class", neither which nor how many. All of those that lie
    here, SAMM too, with all the clips of their classes; SMIC has no five classes, and stays out of Tables 5 and 7.
    """
    own = _read(name, root, cfg)
    if not cfg.oth:
        return own
    others = [n for n in SETS if n != name and SETS[n].find(root) is not None and (n != "smic" or len(cfg.classes) == 3)]
    if not others:
        raise DataError(f"{root}: no other data set beside {name} to train on (--oth); found "
                        f"{', '.join(p.name for p in listing(root)[:6])}; {LAYOUT}, or leave --oth out")
    samples, found = list(own.samples), list(own.found)
    for other in others:
        more = _read(other, root, cfg)
        samples += [dataclasses.replace(s, part="train") for s in more.samples]
        found += [*more.found, f"  {len(more.samples)} clips of {other} train in every fold, and are never tested"]
    return Collection(samples, own.classes, found)


def _across(train: str, test: str, root: Path, cfg: Any) -> Collection:
    if cfg.oth:
        raise DataError("--oth goes with one data set that is trained and tested on; §4.6 has no other videos across data sets")
    samples, found, classes = [], [], ()
    for name, part in ((train, "train"), (test, "report")):
        read = _read(name, root, cfg)
        samples += [dataclasses.replace(s, part=part) for s in read.samples]
        found, classes = [*found, *read.found], read.classes
    return Collection(samples, classes, found)


def _read(name: str, root: Path, cfg: Any) -> Collection:
    root = opened(root, LAYOUT)
    folder = SETS[name].find(root)
    if folder is None:
        raise DataError(f"{root}: no folder of {name} here; found {', '.join(p.name for p in listing(root)[:6])}; {LAYOUT}; "
                        f"check --data")
    return SETS[name].read(folder, cfg)
