"""Readers of frames coded for action units, BP4D and DISFA: tiny copies of each layout, drawn here."""
import copy
import re
from types import SimpleNamespace

import pytest
import torch
from PIL import Image

from refnet.data import bp4d, disfa
from refnet.data.au_frames import Still, fold_weights
from refnet.data.protocols import k_folds
from refnet.data.samples import DataError

AUS = (1, 2, 4, 6, 7, 10, 12, 14, 15, 17, 23, 24)
EIGHT = (1, 2, 4, 6, 9, 12, 25, 26)
HEADER = ",".join(map(str, range(100)))
PART1 = "F001 M007 F018 F008 F002 M004 F010 F009 M012 M001 F016 M014 F023 M008".split()
PART2 = "M011 F003 M010 M002 F005 F022 M018 M017 F013 M016 F020 F011 M013 M005".split()
DISFA1 = "SN002 SN010 SN001 SN026 SN027 SN032 SN030 SN009 SN016".split()
DISFA2 = "SN013 SN018 SN011 SN028 SN012 SN006 SN031 SN021 SN024".split()
PUBLISHED = "1.343 1.690 1.248 0.561 0.433 0.436 0.457 0.541 1.408 0.723 1.493 1.667"
PUBLISHED_DISFA = "1.422 2.348 0.400 0.795 1.878 0.440 0.196 0.521"


def settings(aus=AUS, threshold=2):
    return SimpleNamespace(aus=aus, threshold=threshold)


def refused(*words):
    """A DataError of one line that has all these words in it."""
    return pytest.raises(DataError, match="(?s)^(?!.*\n)" + "".join(f"(?=.*{re.escape(w)})" for w in words))


def picture(path, grey=128):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), (grey, grey, grey)).save(path)


def text(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(row + "\n" for row in rows))
    return path


def row(frame, codes, width=100):
    """A row of a coding: the frame, then units 1 to 99; those not in `codes` are 9."""
    return ",".join([str(frame)] + [str(codes.get(au, 9)) for au in range(1, width)])


def there(*present, unknown=()):
    """Codes of the 12 units: 1 for those present, 9 for those unknown, else 0."""
    return {au: 9 if au in unknown else int(au in present) for au in AUS}


def values(*present, unknown=()):
    return tuple(-1 if au in unknown else int(au in present) for au in AUS)


# A picture as a clip

def test_still_is_a_clip_of_one_frame(tmp_path, device):
    picture(tmp_path / "7.png", grey=50)
    clip = Still(str(tmp_path / "7.png"))
    assert len(clip) == 1 and clip.path.endswith("7.png")
    frames = clip.read([0, 0], size=4).to(device)                # (2, 3, 4, 4)
    assert frames.dtype == torch.uint8 and torch.equal(frames, torch.full((2, 3, 4, 4), 50, dtype=torch.uint8, device=device))
    assert clip.read([0]).shape == (1, 3, 6, 8)
    assert copy.deepcopy(clip) == clip                           # by the same way it travels to the processes that read ahead
    with pytest.raises(ValueError, match="frame 1 asked for"):
        clip.read([1])


# Class weights

def test_fold_weights_by_hand(device):
    """megraphau (§2.3): of the two frames that do not belong to fold 1 unit A is there in one, unit B in both.

    1/r = (2, 1), their sum 3, N = 2: w = (4/3, 2/3). The frame of fold 1, both units there, would make it (6/5, 4/5).
    An unknown label counts for nothing: with unit B unknown in one of them, r_B is 1 of 1, as before.
    """
    parts = ["1", "2", "3"]
    for y in ([[1, 1], [1, 1], [0, 1]], [[1, 1], [1, -1], [0, 1]]):
        w = fold_weights(torch.tensor(y, device=device), parts, "1")
        torch.testing.assert_close(w, torch.tensor([4 / 3, 2 / 3], device=device))


# BP4D

def bp4d_tree(root, pictures="img"):
    """One session of a subject in each part, two of F001; 8 coded frames, one of them without a picture."""
    coding = root / "AUCoding" / "AU_OCC"
    text(coding / "F001_T1.csv", HEADER, row(2440, there(1, 12)), row(2441, there(unknown=(4,))), row(2442, there(*AUS)))
    text(coding / "F001_T2.csv", HEADER, row(10, there(2)))
    text(coding / "M011_T8.csv", HEADER, row(5, there(1, 12)), row(6, there(24)))
    text(coding / "F007_T3.csv", HEADER, row(1, there(7)), row(2, there()))
    for name in ("F001/T1/2440.jpg", "F001/T1/2441.jpg", "F001/T1/2442.jpg", "F001/T2/0010.jpg", "M011/T8/5.png", "M011/T8/6.png",
                 "F007/T3/1.jpg", "F007/T3/0.jpg", "F007/T3/cover.jpg"):
        picture(root / pictures / name)
    return root


def test_bp4d_codes_pictures_and_counts(tmp_path):
    """9 is unknown; frame 2 of F007/T3 has no picture, picture 0 no code; a name may have leading zeros or be a .png."""
    got = bp4d.read(bp4d_tree(tmp_path), settings())
    assert [(s.id, s.subject, s.part, s.target["au"]) for s in got.samples] == [
        ("F001/T1/2440", "F001", "3", values(1, 12)), ("F001/T1/2441", "F001", "3", values(unknown=(4,))),
        ("F001/T1/2442", "F001", "3", values(*AUS)), ("F001/T2/10", "F001", "3", values(2)),
        ("F007/T3/1", "F007", "1", values(7)), ("M011/T8/5", "M011", "2", values(1, 12)), ("M011/T8/6", "M011", "2", values(24))]
    assert got.classes == () and values(unknown=(4,))[2] == -1
    assert got.samples[0].target is got.samples[5].target        # labels alike are kept once
    assert [s.clip.path for s in got.samples[3:6]] == [
        str(tmp_path / "img" / name) for name in ("F001/T2/0010.jpg", "F007/T3/1.jpg", "M011/T8/5.png")]
    assert got.samples[3].clip.read([0], size=4).shape == (1, 3, 4, 4)
    assert got.found[:3] == [
        "BP4D: 7 frames of 146847 expected; tested in fold 1 1 of 46034, fold 2 2 of 50182, fold 3 4 of 50631; 3 subjects of 41",
        "BP4D: how often each unit is there: AU1 0.4286, AU2 0.2857, AU4 0.1667, AU6 0.1429, AU7 0.2857, AU10 0.1429, AU12 0.4286, "
        "AU14 0.1429, AU15 0.1429, AU17 0.1429, AU23 0.1429, AU24 0.2857; unknown codes: AU4 1",
        # fold 1 trains on 6 frames: 1/r = 2 3 5 6 6 6 2 6 6 6 6 3, the sum 57, times 12/57
        "BP4D: class weights in fold 1, summing to 12: 0.421 0.632 1.053 1.263 1.263 1.263 0.421 1.263 1.263 1.263 1.263 0.632"]
    assert got.found[3:] == ["BP4D: left out: coded frames without a picture 1, pictures without a code 1"]


def test_bp4d_folds_as_published(tmp_path):
    """Fold 1 tests part 3, fold 2 part 2, fold 3 part 1; part 3 are the other 13."""
    part3 = "F007 F015 F006 F019 M006 M009 F012 M003 F004 F021 F017 M015 F014".split()
    for subject in PART1 + PART2 + part3:
        text(tmp_path / "AUCoding" / "AU_OCC" / f"{subject}_T1.csv", HEADER, row(1, there(*AUS)))
        (tmp_path / subject / "T1").mkdir(parents=True)
        (tmp_path / subject / "T1" / "1.jpg").touch()            # looked up, not opened
    samples = bp4d.read(tmp_path, settings()).samples
    folds = k_folds(samples, select=0)
    assert [fold.id for fold in folds] == ["1", "2", "3"]
    for fold, tested in zip(folds, (part3, PART2, PART1), strict=True):
        assert {s.subject for s in fold.report} == set(tested)
        assert {s.subject for s in fold.train} == set(PART1 + PART2 + part3) - set(tested)
    assert len({s[0] for s in PART1 + PART2 + part3}) == 2 and sum(s[0] == "F" for s in PART1 + PART2 + part3) == 23


@pytest.mark.parametrize("deeper", ["", "BP4D"])
@pytest.mark.parametrize("pictures", ["", "img", "2D+3D"])
def test_bp4d_wherever_the_pictures_are(tmp_path, pictures, deeper):
    bp4d_tree(tmp_path / deeper, pictures)
    assert len(bp4d.read(tmp_path, settings()).samples) == 7


def test_bp4d_pictures_beside_the_folder_of_the_coding(tmp_path):
    bp4d_tree(tmp_path / "BP4D", "img")
    (tmp_path / "BP4D" / "img").rename(tmp_path / "faces")
    assert len(bp4d.read(tmp_path, settings()).samples) == 7
    bp4d_tree(tmp_path / "BP4D", "one")
    bp4d_tree(tmp_path / "BP4D", "two")
    with refused("in 2 folders, one, two", "name it img"):
        bp4d.read(tmp_path, settings())
    (tmp_path / "BP4D" / "two").rename(tmp_path / "BP4D" / "img")
    assert "img" in bp4d.read(tmp_path, settings()).samples[0].clip.path


def test_bp4d_columns_by_name_in_the_order_of_the_settings(tmp_path):
    bp4d_tree(tmp_path)
    text(tmp_path / "AUCoding" / "AU_OCC" / "F001_T2.csv", "12,4,0,1", "1,9,10,0")       # as written, not by place
    got = {s.id: s.target["au"] for s in bp4d.read(tmp_path, settings((12, 1, 4))).samples}
    assert got["F001/T2/10"] == (1, 0, -1)
    assert got["F001/T1/2440"] == (1, 1, 0)
    for aus in ((), (1, 2, 1)):
        with refused("expected one or more, each once"):
            bp4d.read(tmp_path, settings(aus))


def test_bp4d_pictures_without_any_coding_are_counted(tmp_path):
    picture(bp4d_tree(tmp_path) / "img" / "F001" / "T7" / "3.jpg")
    picture(tmp_path / "img" / "M005" / "T1" / "3.jpg")
    assert bp4d.read(tmp_path, settings()).found[3].endswith("pictures without a code 3")


def test_bp4d_weights_are_held_against_the_published_ones_only_when_all_is_there(tmp_path, monkeypatch):
    """fold 1's weights as worked out above; what is published is written out here, digit by digit."""
    bp4d_tree(tmp_path)
    assert not any("published" in line for line in bp4d.read(tmp_path, settings()).found)
    monkeypatch.setattr(bp4d, "BP4D", bp4d.BP4D._replace(expected={"1": 1, "2": 2, "3": 4}))
    line, = [line for line in bp4d.read(tmp_path, settings()).found if "published" in line]
    # AU15 1.263 - 1.408, AU2 0.632 - 1.690 = -1.058, AU24 0.632 - 1.667 = -1.035: AU2 is the largest
    assert line == (f"BP4D: those published for fold 1 are {PUBLISHED}: largest difference 1.0584 (AU2): 1.690 there, 0.632 here; "
                    "they do not belong to these labels, and the run takes those computed here")
    mine = tuple(12 / 57 * n for n in (2, 3, 5, 6, 6, 6, 2, 6, 6, 6, 6, 3))
    monkeypatch.setattr(bp4d, "BP4D", bp4d.BP4D._replace(weights=(mine[0] + 0.004, *mine[1:])))
    other = (24, *AUS[1:-1], 1)                                  # the published weights follow their units
    assert any(line.endswith("largest difference 0.0040 (AU1)") for line in bp4d.read(tmp_path, settings(other)).found)
    assert not any("published" in line for line in bp4d.read(tmp_path, settings(AUS[:4])).found)


def test_bp4d_unit_that_never_shows_has_no_weight(tmp_path):
    bp4d_tree(tmp_path)
    text(tmp_path / "AUCoding" / "AU_OCC" / "F001_T1.csv", HEADER, row(2440, there(1, 12)), row(2441, there(unknown=(4,))))
    found = bp4d.read(tmp_path, settings()).found
    assert found[2] == "BP4D: no class weights in fold 1: its training part never shows AU4, AU6, AU7, AU10, AU14, AU15, AU17, AU23"


@pytest.mark.parametrize("rows, words", [
    ((HEADER.replace(",12,", ",x,"), row(10, {})), ("line 1", "0 columns '12' (unit 12)", "expected 0,1,2,...,99")),
    ((HEADER.replace(",13,", ",12,"), row(10, {})), ("line 1", "2 columns '12'")),
    ((HEADER.replace("0,", "frame,", 1), row(10, {})), ("line 1", "0 columns '0' (the frame)")),
    ((HEADER,), ("nothing under the header",)),
    ((), ("line 1", "0 columns '0'")),
    ((HEADER, row(10, {}), row(11, {4: 2})), ("line 3: unit 4 is '2'", "expected 0, 1, or 9")),
    ((HEADER, row(10, {}), row(11, {4: "x"})), ("line 3: unit 4 is 'x'",)),
    ((HEADER, row(10, {}), row(10, {})), ("line 3: frame 10 is coded twice", "each once")),
    ((HEADER, row(10, {}, width=99)), ("line 2 has 99 columns", "expected 100")),
    ((HEADER, row(10, {}, width=101)), ("line 2 has 101 columns", "expected 100")),
    ((HEADER, row(10, {}), "", row(11, {})), ("line 3 has 1 columns", "expected 100")),
    ((HEADER, row("ten", {})), ("line 2: the frame is 'ten'", "expected a number"))])
def test_bp4d_codings_refused(tmp_path, rows, words):
    text(bp4d_tree(tmp_path) / "AUCoding" / "AU_OCC" / "F001_T2.csv", *rows)
    with refused("F001_T2.csv", *words):
        bp4d.read(tmp_path, settings())


def test_bp4d_refusals(tmp_path):
    with refused("nothing in this folder", "AUCoding/AU_OCC/F001_T1.csv", "list/BP4D_test_img_path_fold1.txt"):
        bp4d.read(tmp_path, settings())
    picture(tmp_path / "F001" / "T1" / "2440.jpg")
    with refused("neither AUCoding nor lists; found F001", "AUCoding/AU_OCC/F001_T1.csv", "list/BP4D_test_img_path_fold1.txt"):
        bp4d.read(tmp_path, settings())
    (tmp_path / "AUCoding" / "AU_INT").mkdir(parents=True)
    with refused("AU_OCC: no .csv in it"):
        bp4d.read(tmp_path, settings())
    coding = bp4d_tree(tmp_path / "other") / "AUCoding" / "AU_OCC"
    (tmp_path / "other" / "img").rename(tmp_path / "away")
    with refused("other: no picture of any coded session", "such as F001/T1/2440.jpg"):
        bp4d.read(tmp_path / "other", settings())
    (tmp_path / "away").rename(tmp_path / "other" / "img")
    root = tmp_path / "other"
    for name, words in (("F024_T1.csv", ("subject 'F024' is in no part of BP4D", "F001 M007")),
                        ("F001_T9.csv", ("expected a name such as F001_T1.csv",)), ("all.csv", ("expected a name such as F001_T1.csv",))):
        text(coding / name, HEADER, row(1, {}))
        with refused(name, *words):
            bp4d.read(root, settings())
        (coding / name).unlink()
    text(coding / "M005_T1.csv", HEADER, row(3, {}), row(9, {}))
    with refused("M005/T1: no picture of this session; found no such folder", "2 frames, 3 to 9, are coded in", "M005_T1.csv"):
        bp4d.read(root, settings())
    text(root / "img" / "M005" / "T1" / "readme.txt", "nothing")
    with refused("M005/T1: no picture of this session; found readme.txt"):
        bp4d.read(root, settings())
    picture(root / "img" / "M005" / "T1" / "1.jpg")
    picture(root / "img" / "M005" / "T1" / "02.jpg")
    with refused("M005/T1: 2 pictures, 1.jpg to 02.jpg, and none of them is coded", "3 to 9"):
        bp4d.read(root, settings())
    picture(root / "img" / "M005" / "T1" / "2.jpg")
    with refused("M005/T1: frame 2 stands twice, as 02.jpg and 2.jpg"):
        bp4d.read(root, settings())


# DISFA

LEVELS = {1: "0123", 2: "0000", 4: "5000", 6: "0200", 9: "0010", 12: "4444", 25: "2000", 26: "1111"}
DISFA_LABELS = [(0, 0, 1, 0, 0, 1, 1, 0), (0, 0, 0, 1, 0, 1, 0, 0), (1, 0, 0, 0, 0, 1, 0, 0), (1, 0, 0, 0, 0, 1, 0, 0)]


def disfa_tree(root, pictures="img"):
    """One subject of each part, 4 frames each with the intensities above; SN003 lacks the last picture."""
    for subject, n in (("SN001", 4), ("SN013", 4), ("SN003", 3)):
        for au, levels in LEVELS.items():
            text(root / "ActionUnit_Labels" / subject / f"{subject}_au{au}.txt", *(f"{t},{v}" for t, v in enumerate(levels, start=1)))
        for t in range(n):
            picture(root / pictures / subject / f"{t}.png", grey=60 * t)
    return root


def test_disfa_lines_count_from_1_and_pictures_from_0(tmp_path, device):
    """Line t is picture t − 1. Of AU1's intensities 0 1 2 3 the last two are there: 1 is absent, 2 present."""
    got = disfa.read(disfa_tree(tmp_path), settings(EIGHT))
    assert [(s.id, s.part, s.target["au"]) for s in got.samples] == (
        [(f"SN001/{t}", "3", DISFA_LABELS[t]) for t in range(4)] + [(f"SN003/{t}", "1", DISFA_LABELS[t]) for t in range(3)]
        + [(f"SN013/{t}", "2", DISFA_LABELS[t]) for t in range(4)])
    assert {s.subject for s in got.samples} == {"SN001", "SN003", "SN013"} and got.classes == ()
    third = got.samples[2]
    assert third.clip.path.endswith("2.png")
    grey = third.clip.read([0], size=4).to(device)
    assert torch.equal(grey, torch.full((1, 3, 4, 4), 120, dtype=torch.uint8, device=device))
    assert got.found[0] == ("DISFA: 11 frames of 130814 expected; tested in fold 1 3 of 43605, fold 2 4 of 43605, fold 3 4 of 43604; "
                            "3 subjects of 27")
    assert got.found[1:] == [
        "DISFA: how often each unit is there: AU1 0.4545, AU2 0.0000, AU4 0.2727, AU6 0.2727, AU9 0.0000, AU12 1.0000, AU25 0.2727, "
        "AU26 0.0000; unknown codes: none",
        "DISFA: no class weights in fold 1: its training part never shows AU2, AU9, AU26",
        "DISFA: left out: coded frames without a picture 1, pictures without a code 0",
        "DISFA: an intensity of 2 or more counts as present"]


def test_disfa_threshold_and_order_of_units(tmp_path):
    disfa_tree(tmp_path, "")
    got = disfa.read(tmp_path, settings((26, 1), threshold=1))
    assert [s.target["au"] for s in got.samples[:4]] == [(1, 0), (1, 1), (1, 1), (1, 1)]
    assert got.found[-1] == "DISFA: an intensity of 1 or more counts as present"
    assert [s.target["au"][1] for s in disfa.read(tmp_path, settings((26, 1), threshold=3)).samples[:4]] == [0, 0, 0, 1]
    for threshold in (0, 6, 1.5):
        with refused(f"threshold {threshold}", "from 1 to 5"):
            disfa.read(tmp_path, settings(EIGHT, threshold))


def test_disfa_folds_as_published(tmp_path):
    part3 = "SN003 SN029 SN023 SN025 SN008 SN005 SN007 SN017 SN004".split()
    for subject in DISFA1 + DISFA2 + part3:
        text(tmp_path / "ActionUnit_Labels" / subject / f"{subject}_au1.txt", "1,3")
        (tmp_path / "img" / subject).mkdir(parents=True)
        (tmp_path / "img" / subject / "0.png").touch()
    folds = k_folds(disfa.read(tmp_path, settings((1,))).samples, select=0)
    assert [{s.subject for s in fold.report} for fold in folds] == [set(part3), set(DISFA2), set(DISFA1)]
    numbers = sorted(int(s[2:]) for s in DISFA1 + DISFA2 + part3)
    assert numbers == [*range(1, 14), *range(16, 19), 21, *range(23, 33)]            # SN001-013, 016-018, 021, 023-032


def test_disfa_is_held_against_its_published_weights(tmp_path, monkeypatch):
    disfa_tree(tmp_path)
    for subject in ("SN001", "SN013"):
        for au in (2, 9, 26):
            text(tmp_path / "ActionUnit_Labels" / subject / f"{subject}_au{au}.txt", "1,0", "2,0", "3,0", "4,2")
    monkeypatch.setattr(disfa, "DISFA", disfa.DISFA._replace(expected={"1": 3, "2": 4, "3": 4}))
    # fold 1 trains on 8 frames: 1/r = 2 4 4 4 4 1 4 4, the sum 27, times 8/27; for AU2 2.348 − 32/27 = 1.1628
    found = disfa.read(tmp_path, settings(EIGHT)).found
    assert "DISFA: class weights in fold 1, summing to 8: 0.593 1.185 1.185 1.185 1.185 0.296 1.185 1.185" in found
    line, = [line for line in found if "published" in line]
    assert line.startswith(f"DISFA: those published for fold 1 are {PUBLISHED_DISFA}: largest difference 1.1628 (AU2): 2.348 there, 1.185")


def test_disfa_pictures_counted_from_one_are_refused(tmp_path):
    """Every subject has 1.png and no 0.png, and the last picture is missing too: read on, each would have its neighbour's labels."""
    root = disfa_tree(tmp_path)
    for folder in {p.parent for p in root.rglob("*.png")}:
        names = sorted((p for p in folder.glob("*.png")), key=lambda p: -int(p.stem))
        names.pop(0).unlink()
        for p in names:
            p.rename(p.with_name(f"{int(p.stem) + 1}.png"))
    with refused("counted from 0", "number them again"):
        disfa.read(root, settings(EIGHT))


@pytest.mark.parametrize("rows, words", [
    (("1,0", "2,6", "3,0", "4,0"), ("line 2 is '2,6'", "an intensity from 0 to 5")),
    (("1,0", "2,-1", "3,0", "4,0"), ("line 2 is '2,-1'",)),
    (("1,0", "2,0.5", "3,0", "4,0"), ("line 2 is '2,0.5'",)),
    (("1,0", "2,", "3,0", "4,0"), ("line 2 is '2,'",)),
    (("1,0", "2", "3,0", "4,0"), ("line 2 is '2'", "expected frame,intensity")),
    (("1,0", "", "3,0", "4,0"), ("line 2 is ''",)),
    ((), ("line 1 is ''",)),
    (("0,0", "1,0", "2,0", "3,0"), ("line 1 is '0,0'", "counted from 1")),
    (("1,0", "2,0", "2,0", "4,0"), ("line 3: frame 2 stands twice", "each once")),
    (("1,0", "2,0", "3,0"), ("SN013_au6.txt: 3 lines", "SN013_au1.txt: 4 lines", "line 4 is missing in the one and frame 4 in the other")),
    (("1,0", "2,0", "3,0", "4,0", "5,0"), ("SN013_au6.txt: 5 lines", "SN013_au1.txt: 4 lines", "line 5 is frame 5 in the one and missing")),
    (("1,0", "2,0", "4,0", "5,0"), ("SN013_au6.txt: 4 lines", "SN013_au1.txt: 4 lines", "line 3 is frame 4 in the one and frame 3"))])
def test_disfa_labels_refused(tmp_path, rows, words):
    text(disfa_tree(tmp_path) / "ActionUnit_Labels" / "SN013" / "SN013_au6.txt", *rows)
    with refused("SN013_au6.txt", *words):
        disfa.read(tmp_path, settings(EIGHT))


def test_disfa_refusals(tmp_path):
    with refused("nothing in this folder", "ActionUnit_Labels/SN001/SN001_au1.txt", "list/DISFA_test_img_path_fold1.txt"):
        disfa.read(tmp_path, settings(EIGHT))
    text(tmp_path / "notes.txt", "nothing")
    with refused("neither ActionUnit_Labels nor lists; found notes.txt", "ActionUnit_Labels/SN001/SN001_au1.txt",
                 "list/DISFA_test_img_path_fold1.txt"):
        disfa.read(tmp_path, settings(EIGHT))
    (tmp_path / "ActionUnit_Labels").mkdir()
    with refused("ActionUnit_Labels: no subject in it"):
        disfa.read(tmp_path, settings(EIGHT))
    disfa_tree(tmp_path)
    with refused("SN001_au7.txt: no such file", "DISFA codes the units 1 2 4 5 6 9 12 15 17 20 25 26"):
        disfa.read(tmp_path, settings((1, 7)))
    (tmp_path / "ActionUnit_Labels" / "SN014").mkdir()
    with refused("SN014", "is in no part of DISFA", "SN002 SN010"):
        disfa.read(tmp_path, settings(EIGHT))
    (tmp_path / "ActionUnit_Labels" / "SN014").rmdir()
    for t in reversed(range(4)):
        (tmp_path / "img" / "SN013" / f"{t}.png").rename(tmp_path / "img" / "SN013" / f"{t + 1}.png")
    with refused("SN013: pictures 1.png to 4.png", "counted from 0, so that 3 is the last one", "number them again"):
        disfa.read(tmp_path, settings(EIGHT))
    for t in range(1, 5):
        (tmp_path / "img" / "SN013" / f"{t}.png").unlink()
    with refused("SN013: no picture of this session; found nothing; 4 frames, 0 to 3, are coded in", "ActionUnit_Labels"):
        disfa.read(tmp_path, settings(EIGHT))


# The authors' lists

STEM = "F001/T1/2440.jpg F001/T1/2441.jpg F001/T1/2442.jpg F001/T2/10.jpg".split()
LISTED = {"1": (["F007/T3/1.jpg", "F007/T3/2.jpg"], [there(7), there()]),
          "2": (["M011/T8/5.jpg", "M011/T8/6.jpg"], [there(1, 12), there(24)]),
          "3": (STEM, [there(1, 12), there(unknown=(4,)), there(*AUS), there(2)])}


def rows_of(codes, unknown="-1"):
    return [" ".join(unknown if c[au] == 9 else str(c[au]) for au in AUS) for c in codes]


def lists(root, unknown="-1"):
    """What the coding of bp4d_tree gives, as the authors write it; the training lists in another order than the test lists."""
    for k in LISTED:
        paths, codes = LISTED[k]
        text(root / "list" / f"BP4D_test_img_path_fold{k}.txt", *paths)
        text(root / "list" / f"BP4D_test_label_fold{k}.txt", *rows_of(codes, unknown))
        others = [o for o in "321" if o != k]
        text(root / "list" / f"BP4D_train_img_path_fold{k}.txt", *(p for o in others for p in LISTED[o][0]))
        text(root / "list" / f"BP4D_train_label_fold{k}.txt", *(r for o in others for r in rows_of(LISTED[o][1], unknown)))
    return root


def without_coding(root):
    lists(bp4d_tree(root))
    (root / "AUCoding").rename(root / "away")
    return root


@pytest.mark.parametrize("aus, unknown", [(AUS, "-1"), ((24, 4, 1), "9")])
def test_lists_say_what_the_coding_says(tmp_path, aus, unknown):
    """The same samples in the same order, whichever is read; where both are there, the data set's own coding wins."""
    both = bp4d.read(lists(bp4d_tree(tmp_path / "data"), unknown), settings(aus))
    assert both.found[-1] == f"BP4D: read from AUCoding; the lists in {tmp_path / 'data' / 'list'} are not used"
    (tmp_path / "data" / "AUCoding").rename(tmp_path / "data" / "away")
    listed = bp4d.read(tmp_path / "data", settings(aus))
    assert listed.samples == both.samples and len(listed.samples) == 7
    assert listed.found[:4] == both.found[:4]                    # counts, rates, weights, what is left out
    assert listed.found[4] == f"BP4D: read from the lists in {tmp_path / 'data' / 'list'}"
    assert bp4d.read(tmp_path, settings(aus)).samples == both.samples                # the folder above will do


def test_lists_of_disfa(tmp_path):
    own = disfa.read(disfa_tree(tmp_path / "d"), settings(EIGHT))
    names = {"1": "SN003", "2": "SN013", "3": "SN001"}
    rows = [" ".join(map(str, r)) for r in DISFA_LABELS]
    for k, subject in names.items():
        text(tmp_path / "d" / "list" / f"DISFA_test_img_path_fold{k}.txt", *(f"{subject}/{t}.png" for t in range(4)))
        text(tmp_path / "d" / "list" / f"DISFA_test_label_fold{k}.txt", *rows)
        others = [s for s in names.values() if s != subject]
        text(tmp_path / "d" / "list" / f"DISFA_train_img_path_fold{k}.txt", *(f"{s}/{t}.png" for s in others for t in range(4)))
        text(tmp_path / "d" / "list" / f"DISFA_train_label_fold{k}.txt", *rows, *rows)
    assert disfa.read(tmp_path / "d", settings(EIGHT)).found[-1].startswith("DISFA: read from ActionUnit_Labels; the lists in")
    (tmp_path / "d" / "ActionUnit_Labels").rename(tmp_path / "away")
    listed = disfa.read(tmp_path / "d", settings(EIGHT, threshold=4))
    assert listed.samples == own.samples
    assert listed.found[-1] == "DISFA: lists hold no intensities; the threshold of 4 is not used"
    with refused("unit 5 asked for", "the lists of DISFA have 1 2 4 6 9 12 25 26"):
        disfa.read(tmp_path / "d", settings((1, 5)))


def test_lists_weights_are_compared(tmp_path):
    """Fold 1's weights are 12/57 of 2 3 5 6 6 6 2 6 6 6 6 3, as above; the 4 frames that train in fold 3 never show AU2."""
    root = without_coding(tmp_path / "data")
    found = bp4d.read(root, settings()).found
    assert [f"BP4D: no BP4D_weight_fold{k}.txt: the class weights are computed" for k in "123"] == found[5:]
    mine = [f"{12 / 57 * n:.4f}" for n in (2, 3, 5, 6, 6, 6, 2, 6, 6, 6, 6, 3)]
    text(root / "list" / "BP4D_train_weight_fold1.txt", "\t".join([f"{float(mine[0]) + 0.009:.4f}", *mine[1:]]))
    text(root / "list" / "BP4D_weight_fold3.txt", " ".join(["1"] * 12))
    found = bp4d.read(root, settings((1, 2))).found              # all 12 are compared, whatever is asked for
    assert re.fullmatch(r"BP4D: BP4D_train_weight_fold1\.txt: largest difference 0\.00[89]\d \(AU1\)", found[5])
    assert found[7] == "BP4D: BP4D_weight_fold3.txt: not compared, as the training list never shows one of the units"
    text(root / "list" / "BP4D_weight_fold1.txt", " ".join([*mine[:2], "1.0730", *mine[3:]]))        # goes before train_weight
    assert bp4d.read(root, settings()).found[5] == (
        "BP4D: BP4D_weight_fold1.txt: largest difference 0.0204 (AU4): 1.073 there, 1.053 here; they do not belong to these labels, "
        "and the run takes those computed here")
    for row in ("1 " * 11, "1 " * 13, "1 " * 11 + "x", "1 " * 11 + "nan"):
        text(root / "list" / "BP4D_weight_fold1.txt", row)
        with refused("BP4D_weight_fold1.txt: line 1 is", "expected 12 class weights"):
            bp4d.read(root, settings())


def test_lists_with_other_folds_say_so(tmp_path):
    """F001 tested in fold 2 and M011 in fold 3: the lists decide, and the difference is said."""
    root = without_coding(tmp_path / "data")
    for kind in ("img_path", "label"):
        for part in ("test", "train"):
            two, three = (root / "list" / f"BP4D_{part}_{kind}_fold{k}.txt" for k in "23")
            (two.rename(root / "spare"), three.rename(two), (root / "spare").rename(three))
    got = bp4d.read(root, settings())
    assert {s.subject: s.part for s in got.samples} == {"F001": "2", "M011": "3", "F007": "1"}
    assert got.found[5] == "BP4D: the lists test F001 in 2, M011 in 3, not as published: F001 in 3, M011 in 2"


def changed(path, line, new):
    """Replace a line, counted from 1; None takes it away; a line after the last is added."""
    rows = path.read_text().splitlines()
    rows[line - 1:line] = [] if new is None else [new]
    text(path, *rows)


LONE = "0 0 0 0 1 0 0 0 0 0 0 0"


@pytest.mark.parametrize("file, line, new, words", [
    ("test_label_fold3", 4, None, ("BP4D_test_img_path_fold3.txt: 4 lines", "BP4D_test_label_fold3.txt: 3 lines",
                                   "line 4 is missing in BP4D_test_label_fold3.txt", "stubs of four or five lines")),
    ("test_img_path_fold3", 4, None, ("BP4D_test_img_path_fold3.txt: 3 lines", "line 4 is missing in BP4D_test_img_path_fold3.txt")),
    ("train_label_fold2", 6, None, ("BP4D_train_img_path_fold2.txt: 6 lines", "line 6 is missing in BP4D_train_label_fold2.txt")),
    ("test_label_fold3", 2, "0 " * 11, ("BP4D_test_label_fold3.txt: line 2 is", "expected 12 numbers")),
    ("test_label_fold3", 2, "0 " * 11 + "7", ("BP4D_test_label_fold3.txt: line 2 is", "-1 or 9 for unknown")),
    ("test_label_fold3", 2, "0 " * 11 + "x", ("BP4D_test_label_fold3.txt: line 2 is", "1 2 4 6 7 10")),
    ("test_img_path_fold3", 2, "F001/2441.jpg", ("BP4D_test_img_path_fold3.txt: line 2 is 'F001/2441.jpg'", "such as F001/T1/2440.jpg")),
    ("test_img_path_fold3", 2, "F001/T1/face.jpg", ("BP4D_test_img_path_fold3.txt: line 2 is",)),
    ("test_img_path_fold3", 2, "", ("BP4D_test_img_path_fold3.txt: line 2 is ''",)),
    ("test_img_path_fold3", 2, "F001/T1/2440.jpg", ("BP4D_test_img_path_fold3.txt: line 2: F001/T1/2440 stands twice, first in line 1",)),
    ("test_img_path_fold3", 4, "M011/T2/10.jpg", ("BP4D_test_img_path_fold3.txt: line 4: M011 is tested here and in fold 2",)),
    ("test_img_path_fold3", 4, "F024/T2/10.jpg", ("BP4D_test_img_path_fold3.txt: line 4: subject 'F024' is in no part",)),
    ("train_img_path_fold1", 3, "F001/T1/9.jpg", ("BP4D_train_img_path_fold1.txt: line 3: F001/T1/9 is in no test list",)),
    ("train_img_path_fold1", 3, "F007/T3/1.jpg", ("BP4D_train_img_path_fold1.txt: line 3: F007/T3/1 is tested in this very fold",)),
    ("train_img_path_fold1", 3, "F001/T1/2441.jpg", ("BP4D_train_img_path_fold1.txt: line 3: F001/T1/2441 stands twice",)),
    ("train_label_fold1", 3, LONE, ("BP4D_train_label_fold1.txt: line 3: F001/T1/2442 is " + LONE + " here and 1 1 1 1",
                                    "in line 3 of BP4D_test_label_fold3.txt"))])
def test_lists_refused(tmp_path, file, line, new, words):
    root = without_coding(tmp_path / "data")
    changed(root / "list" / f"BP4D_{file}.txt", line, new)
    with refused(*words):
        bp4d.read(root, settings())


def test_lists_incomplete(tmp_path):
    root = without_coding(tmp_path / "data")
    for kind in ("img_path", "label"):
        changed(root / "list" / f"BP4D_train_{kind}_fold1.txt", 2, None)
    with refused("BP4D_train_img_path_fold1.txt: 1 frames of the two other folds are missing, the first is F001/T1/2441, line 2 of "
                 "BP4D_test_img_path_fold3.txt"):
        bp4d.read(root, settings())
    lists(root)
    (root / "list" / "BP4D_train_label_fold2.txt").unlink()
    with refused("BP4D_train_label_fold2.txt: no such file", "BP4D_{train,test}_{img_path,label}_fold{1,2,3}.txt"):
        bp4d.read(root, settings())
    lists(root)
    (root / "img" / "F001" / "T2" / "0010.jpg").unlink()
    with refused("T2: no picture of this session; found nothing", "BP4D_test_img_path_fold3.txt"):
        bp4d.read(root, settings())
