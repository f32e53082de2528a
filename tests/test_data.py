"""Who trains and who is tested, and the drawn faces as a data set."""
import dataclasses

import pytest
import torch

from refnet.data import drawn
from refnet.data.protocols import as_delivered, cut, k_folds, leave_one_subject_out
from refnet.data.samples import DataError, Sample
from refnet.models.arpgnet import SEVEN, Config


def samples(n: int, subjects: int, part: str = "") -> list[Sample]:
    return [Sample(f"{part}{k}", None, {"expression": k % 2}, f"s{k % subjects + 1}" if subjects else "", part) for k in range(n)]


def names(part: list[Sample]) -> list[str]:
    return sorted({s.subject for s in part})


def test_leave_one_subject_out_by_hand():
    """Eight subjects: each is tested once, s10 comes after s2, and nobody stands on both sides.

    Reading: arpgnet §4.1.1 trains on all the others; by default one of the seven is taken out of training to choose the
    epoch, and select = 0 is the page.
    """
    folds = leave_one_subject_out(samples(24, 8), select=0)
    assert [f.id for f in folds] == [f"s{k}" for k in range(1, 9)]
    assert all(names(f.report) == [f.id] and len(names(f.train)) == 7 and not f.select for f in folds)
    for f in leave_one_subject_out(samples(24, 8), select=0.1):
        assert len(names(f.train)) == 6 and len(names(f.select)) == 1
        assert not {f.id} & set(names(f.train) + names(f.select)) and not set(names(f.train)) & set(names(f.select))
    assert [f.id for f in leave_one_subject_out(samples(20, 10), select=0)][1:3] == ["s2", "s3"]


def test_as_delivered_by_hand():
    """The data set's own parts; without any, a fifth is tested; the part to choose with comes from train alone."""
    [fold] = as_delivered(samples(20, 0, "train") + samples(5, 0, "report"), select=0.1)
    assert (len(fold.train), len(fold.select), len(fold.report)) == (18, 2, 5) and all(s.part == "train" for s in fold.select)
    [fold] = as_delivered(samples(20, 10), select=0.25, seed=3)
    assert len(names(fold.report)) == 2 and len(names(fold.select)) == 2 and len(names(fold.train)) == 6
    assert as_delivered(samples(20, 10), select=0.25, seed=3) == [fold] != as_delivered(samples(20, 10), select=0.25, seed=4)[0]


@pytest.mark.parametrize("make, said", [
    (lambda: as_delivered(samples(4, 0, "train") + samples(2, 0)), "train, select or report for every sample"),
    (lambda: as_delivered(samples(4, 0, "train")), "no sample of the part `report`"),
    (lambda: as_delivered(samples(9, 3, "train") + samples(2, 2, "report")), "stand in training and in the test part"),
    (lambda: leave_one_subject_out(samples(4, 1)), "two subjects or more; found 1"),
    (lambda: k_folds(samples(9, 8), k=20), "20 folds need 20 subjects"),
    (lambda: cut(samples(4, 2), 0.9, 0), "nothing to train on")])
def test_a_split_that_cannot_be_is_refused(make, said):
    """Never a silent skip, never a subject on both sides."""
    with pytest.raises(DataError, match=said):
        make()


def test_k_folds_by_hand():
    """Seven subjects in three folds: 3, 2 and 2, each tested once; folds that the data set names are kept."""
    folds = k_folds(samples(21, 7), select=0)
    assert sorted(len(names(f.report)) for f in folds) == [2, 2, 3]
    assert sorted(sum((names(f.report) for f in folds), [])) == [f"s{k}" for k in range(1, 8)]
    named = [dataclasses.replace(s, part=f"part{k % 3}") for k, s in enumerate(samples(9, 9))]
    assert [(f.id, len(f.report)) for f in k_folds(named, select=0)] == [("part0", 3), ("part1", 3), ("part2", 3)]


def test_the_drawn_set():
    """Labels are names, in the order of the settings; parts share no subject; size and frames as asked; drawn once, kept."""
    cfg = Config(size=32, P=1)
    found = drawn.read(None, cfg, {"train": (14, 2), "report": (7, 1)})
    assert [len(s.clip) for s in found.samples] == [16] * 21 and found.classes == SEVEN
    assert {s.subject for s in found.samples if s.part == "train"} == {"d000", "d001"}
    assert {s.subject for s in found.samples if s.part == "report"} == {"d002"}
    faces = found.samples[0].clip.block.faces
    for k, s in enumerate(found.samples[:14]):
        assert SEVEN[s.target["expression"]] == drawn.EXPRESSIONS[faces.expression[k]]
    clip = found.samples[3].clip.read([0, 15], 32)
    assert clip.shape == (2, 3, 32, 32) and clip.dtype == torch.uint8
    assert found.samples[4].clip.block.video is found.samples[3].clip.block.video is not None
    assert found.samples[20].clip.block.video is None                     # a part that nobody looked at is not drawn


def test_the_drawn_set_refuses_other_classes():
    """--classes a b on drawn faces: a sentence, not a traceback."""
    with pytest.raises(DataError, match="2 classes are neutral, anger; got a, b"):
        drawn.read(None, Config(classes=("a", "b")), {"train": (4, 2)})
