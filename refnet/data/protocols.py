"""Who trains and who is tested: data sets differ, the rule does not. No test subject ever reaches training.

Parts are `train`, `select` (chooses the epoch) and `report` (never chooses anything). Where a protocol has no
`select` part, one is cut from train, whole subjects at a time where subjects are known; with select = 0 there is
none, and the last epoch is used.
"""
import dataclasses
import random
import re
from typing import NamedTuple

from refnet.data.samples import DataError, Sample


class Fold(NamedTuple):
    """One training and its test."""
    id: str
    train: list[Sample]
    select: list[Sample]
    report: list[Sample]


def as_delivered(samples: list[Sample], select: float = 0.1, seed: int = 0) -> list[Fold]:
    """One fold with the data set's own parts; where it has none, a fifth is cut off for the test."""
    parts = {p: [s for s in samples if s.part == p] for p in ("train", "select", "report")}
    if all(s.part == "" for s in samples):
        parts["train"], parts["report"] = cut(samples, 0.2, seed)
    elif odd := next((s for s in samples if s.part not in parts), None):
        raise DataError(f"sample {odd.id} is of the part {odd.part!r}; expected train, select or report for every sample, or for none")
    elif not parts["report"]:
        raise DataError(f"no sample of the part `report`: found {len(parts['train'])} to train and {len(parts['select'])} to select")
    if not parts["select"]:
        parts["train"], parts["select"] = cut(parts["train"], select, seed)
    return [_fold("0", parts["train"], parts["select"], parts["report"])]


def leave_one_subject_out(samples: list[Sample], select: float = 0.1, seed: int = 0) -> list[Fold]:
    """A fold per subject: that one is tested, all the others train.

    Samples of the part `train` come from elsewhere: they train in every fold, and are neither tested nor cut for `select`.
    """
    own, always = [s for s in samples if s.part != "train"], [s for s in samples if s.part == "train"]
    subjects = sorted({s.subject for s in own}, key=_natural)
    if len(subjects) < 2:
        raise DataError(f"leave-one-subject-out needs two subjects or more; found {len(subjects)}: {subjects}")
    folds = []
    for out in subjects:
        train, chosen = cut([s for s in own if s.subject != out], select, seed)
        folds.append(_fold(out, train + always, chosen, [s for s in own if s.subject == out]))
    return folds


def k_folds(samples: list[Sample], select: float = 0.1, seed: int = 0, *, k: int = 3) -> list[Fold]:
    """k folds over whole subjects; a sample's `part` names its fold where the data set prints the folds."""
    groups = sorted({s.part for s in samples}) if all(s.part for s in samples) else None
    if groups is None and len({s.subject or s.id for s in samples}) < k:
        raise DataError(f"{k} folds need {k} subjects or more; found {len({s.subject or s.id for s in samples})}")
    if groups is None:
        subjects = sorted({s.subject or s.id for s in samples}, key=_natural)
        random.Random(seed).shuffle(subjects)
        of = {name: str(n % k) for n, name in enumerate(subjects)}
        samples, groups = [dataclasses.replace(s, part=of[s.subject or s.id]) for s in samples], sorted(set(of.values()))
    return [_fold(g, *cut([s for s in samples if s.part != g], select, seed),
                  [s for s in samples if s.part == g]) for g in groups]


def cut(samples: list[Sample], share: float, seed: int) -> tuple[list[Sample], list[Sample]]:
    """Part a share from the samples: whole subjects where they are known, else sample by sample."""
    if share <= 0:
        return samples, []
    keys = sorted({s.subject or s.id for s in samples}, key=_natural)
    random.Random(seed).shuffle(keys)
    n = max(1, round(share * len(keys)))
    if n >= len(keys):
        raise DataError(f"a share of {share} of {len(keys)} {'subjects' if any(s.subject for s in samples) else 'samples'} leaves "
                        "nothing to train on; give more, or a smaller --select")
    taken = set(keys[:n])
    return ([s for s in samples if (s.subject or s.id) not in taken],
            [s for s in samples if (s.subject or s.id) in taken])


def _fold(id: str, train, select, report) -> Fold:
    if not train:
        raise DataError(f"fold {id}: nothing to train on")
    seen = {s.subject for s in train + select if s.subject}
    if both := seen & {s.subject for s in report if s.subject}:
        raise DataError(f"fold {id}: subjects {sorted(both)[:5]} stand in training and in the test part")
    return Fold(id, train, select, report)


def _natural(name: str) -> list[tuple[int, int, str]]:
    """Order s2 before s10."""
    return [(0, int(p), "") if p.isdecimal() else (1, 0, p) for p in re.findall(r"\d+|\D+", name)]
