"""Readers of single labelled pictures, FERPlus, RAF-DB and AffectNet: tiny copies of each layout, written here."""
import copy
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from refnet.data import affectnet, ferplus, rafdb
from refnet.data.faces import Face, Place, square
from refnet.data.au_frames import Still
from refnet.data.ferplus import Pixels, winner
from refnet.data.landmarks import crop_aligned
from refnet.data.samples import DataError
from refnet.pictures import PictureError, read_picture

EIGHT = ("neutral", "happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt")
RAF = ("surprise", "fear", "disgust", "happiness", "sadness", "anger", "neutral")
SEVEN = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")


def settings(classes=EIGHT, votes="argmax"):
    return SimpleNamespace(classes=classes, votes=votes)


def refused(*words):
    """A DataError of one line that has all these words in it."""
    return pytest.raises(DataError, match="(?s)^(?!.*\n)" + "".join(f"(?=.*{re.escape(w)})" for w in words))


def text(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(row + "\n" for row in rows))
    return path


def picture(path, number, width=12, height=10):
    """A picture that no other number gives; kept without loss whatever its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([20 * x % 256, 20 * y % 256, np.full_like(x, 5 * number % 256)], -1).astype(np.uint8)
    Image.fromarray(pixels).save(path, "PNG")
    return path


# FERPlus

HEADER = "Usage,Image name,neutral,happiness,surprise,sadness,anger,disgust,fear,contempt,unknown,NF"
VOTES = [("Training", "fer0000000.png", "4,0,0,1,3,2,0,0,0,0"), ("Training", "fer0000001.png", "0,9,0,0,0,0,0,0,1,0"),
         ("Training", "", "0,0,0,0,0,0,0,0,0,10"), ("Training", "fer0000003.png", "0,0,6,0,0,0,4,0,0,0"),
         ("Training", "fer0000004.png", "0,0,0,5,5,0,0,0,0,0"), ("Training", "fer0000005.png", "1,0,0,0,7,1,1,0,0,0"),
         ("Training", "fer0000006.png", "0,0,0,0,0,8,0,0,2,0"), ("Training", "fer0000007.png", "0,0,3,0,0,0,6,0,1,0"),
         ("Training", "fer0000008.png", "3,0,0,0,0,0,0,7,0,0"), ("Training", "fer0000009.png", "0,0,0,0,0,0,0,0,8,2"),
         ("PublicTest", "fer0028638.png", "2,3,0,0,0,0,0,0,5,0"), ("PublicTest", "fer0028639.png", "0,0,0,10,0,0,0,0,0,0"),
         ("PrivateTest", "fer0032220.png", "0,0,0,0,9,1,0,0,0,0")]
FOLDER = {"Training": "FER2013Train", "PublicTest": "FER2013Valid", "PrivateTest": "FER2013Test"}


def grey(number):
    """(48, 48), another one for each row"""
    return (np.arange(48 * 48).reshape(48, 48) * 3 + 11 * number) % 256


def pixel_row(number, usage):
    return f"{number % 7},{' '.join(map(str, grey(number).flatten()))},{usage}"


def tables(root, votes=VOTES, newline="\n"):
    text(root / "fer2013new.csv", HEADER, *(",".join(row) for row in votes))
    rows = ["emotion,pixels,Usage", *(pixel_row(n, usage) for n, (usage, _, _) in enumerate(votes))]
    (root / "fer2013.csv").write_bytes("".join(row + newline for row in rows).encode())
    return root


def folders(root, votes=VOTES):
    for usage, folder in FOLDER.items():
        text(root / folder / "label.csv", *(f'{name},"(0, 0, 48, 48)",{v}' for u, name, v in votes if u == usage and name))
    for n, (usage, name, _) in enumerate(votes):
        if name:
            Image.fromarray(grey(n).astype(np.uint8)).save(root / FOLDER[usage] / name)
    return root


@pytest.mark.parametrize("votes, argmax, unique, majority", [
    ("4,0,0,1,3,2,0,0,0,0", 0, 0, None),         # the 1 dropped, 4 of 9 is less than half
    ("5,1,1,1,1,1,0,0,0,0", 0, 0, 0),            # 5 of 10 is not more than half, but without the single votes it is 5 of 5
    ("0,5,0,5,0,0,0,0,0,0", 1, None, None),      # a tie: the first column, or nothing
    ("0,0,0,0,0,0,0,5,5,0", 7, None, None),      # a tie with "unknown"
    ("0,0,0,0,0,0,4,0,6,0", 6, None, None),      # "unknown" has the most
    ("0,0,0,0,0,3,0,0,0,7", 5, None, None),      # "not a face" has
    ("0,0,4,0,0,3,0,0,3,0", 2, 2, None),         # the most of all, 4 of 10
    ("0,0,0,0,0,0,0,0,8,2", None, None, None),   # no emotion at all
    ("0,0,1,0,0,0,0,0,0,0", 2, 2, None),         # a single vote alone is dropped by "majority"
    ("0,0,0,0,0,0,0,0,0,0", None, None, None)])
def test_votes_by_hand(votes, argmax, unique, majority):
    votes = tuple(map(int, votes.split(",")))
    assert [winner(votes, protocol) for protocol in ("argmax", "unique", "majority")] == [argmax, unique, majority]


def test_ferplus_tables(tmp_path, device):
    """Row 2 is without a face, row 9 has no vote for an emotion; a tie goes to sadness, before anger in the file."""
    got = ferplus.read(tables(tmp_path), settings())
    assert got.classes == EIGHT
    assert [(s.id, s.part, EIGHT[s.target["expression"]]) for s in got.samples] == [
        ("Training/fer0000000.png", "train", "neutral"), ("Training/fer0000001.png", "train", "happiness"),
        ("Training/fer0000003.png", "train", "surprise"), ("Training/fer0000004.png", "train", "sadness"),
        ("Training/fer0000005.png", "train", "anger"), ("Training/fer0000006.png", "train", "disgust"),
        ("Training/fer0000007.png", "train", "fear"), ("Training/fer0000008.png", "train", "contempt"),
        ("PublicTest/fer0028638.png", "select", "happiness"), ("PublicTest/fer0028639.png", "select", "sadness"),
        ("PrivateTest/fer0032220.png", "report", "anger")]
    assert got.samples[0].target == {"expression": 0, "votes": (4, 0, 0, 1, 3, 2, 0, 0)}
    frames = got.samples[2].clip.read([0]).to(device)                                    # (1, 3, 48, 48)
    assert torch.equal(frames[0, 1].long(), torch.from_numpy(grey(3)).to(device)) and frames.shape == (1, 3, 48, 48)
    assert got.found == [
        "FERPlus: train 8 pictures; " + ", ".join(f"{name} 1" for name in EIGHT),
        "FERPlus: select 2 pictures; neutral 0, happiness 1, surprise 0, sadness 1, anger 0, disgust 0, fear 0, contempt 0; none of "
        "neutral, surprise, anger, disgust, fear, contempt, so no score of theirs",
        "FERPlus: report 1 pictures; neutral 0, happiness 0, surprise 0, sadness 0, anger 1, disgust 0, fear 0, contempt 0; none of "
        "neutral, happiness, surprise, sadness, disgust, fear, contempt, so no score of theirs",
        "FERPlus: fer2013new.csv: rows in train 10 of 28709, rows in select 2 of 3589, rows in report 1 of 3589, without a face 1 of 177",
        "FERPlus: labels by argmax: the most votes among the eight emotions, ties to the first column; 1 rows have no such answer "
        "and are left out"]


def test_ferplus_both_forms_are_one_data_set(tmp_path, device):
    """The pixels in the table are the pictures in the folders, whole and at another size."""
    one = ferplus.read(tables(tmp_path / "a" / "data"), settings())
    (tmp_path / "a" / "FER2013Train").mkdir()
    one = ferplus.read(tmp_path / "a", settings())
    two = ferplus.read(folders(tmp_path / "b" / "data").parent, settings())
    assert "FER2013Train, FER2013Valid, FER2013Test are not used" in one.found[3]
    assert [s.id for s in two.samples[7:9]] == ["FER2013Train/fer0000008.png", "FER2013Valid/fer0028638.png"]
    assert two.found[:3] == one.found[:3] and two.found[3] == "FERPlus: 12 rows in label.csv of 35710 expected"
    for a, b in zip(one.samples, two.samples, strict=True):
        assert a.id.split("/")[1] == b.id.split("/")[1] and (a.target, a.part) == (b.target, b.part)
        for size in (None, 48, 31):
            assert torch.equal(a.clip.read([0, 0], size).to(device), b.clip.read([0, 0], size).to(device))


def test_ferplus_votes_follow_the_order_of_the_classes(tmp_path):
    classes = ("happiness", "surprise", "sadness", "anger", "disgust", "fear", "contempt", "neutral")
    got = ferplus.read(tables(tmp_path), settings(classes))
    assert got.samples[0].target == {"expression": 7, "votes": (0, 0, 1, 3, 2, 0, 0, 4)}
    assert got.samples[3].target == {"expression": 2, "votes": (0, 0, 5, 5, 0, 0, 0, 0)}       # the tie is still sadness's


def test_ferplus_protocols(tmp_path):
    """unique loses the tie of row 4 and the unknown of row 10, majority row 0 as well, which leaves no neutral to train on."""
    rows = [*VOTES[:4], ("Training", "fer0000014.png", "0,0,0,9,0,0,0,0,1,0"), ("Training", "fer0000015.png", "6,0,0,0,4,0,0,0,0,0"),
            *VOTES[4:]]
    got = {votes: ferplus.read(tables(tmp_path, rows), settings(votes=votes)) for votes in ("argmax", "unique", "majority")}
    ids = {votes: [s.id[-6:-4] for s in found.samples] for votes, found in got.items()}
    assert ids == {"argmax": "00 01 03 14 15 04 05 06 07 08 38 39 20".split(), "unique": "00 01 03 14 15 05 06 07 08 39 20".split(),
                   "majority": "01 03 14 15 05 06 07 08 39 20".split()}
    assert [found.found[4].split(":")[1] for found in got.values()] == [" labels by argmax", " labels by unique", " labels by majority"]
    assert [re.search("([0-9]+) rows have no such answer", found.found[4])[1] for found in got.values()] == ["1", "3", "4"]
    with refused("votes 'most'", "argmax, unique, majority", "--votes"):
        ferplus.read(tmp_path, settings(votes="most"))


def test_ferplus_columns_by_name_and_other_line_ends(tmp_path, device):
    tables(tmp_path, newline="\r\n")
    turned = [",".join(reversed(row.split(","))) for row in (HEADER, *(",".join(row) for row in VOTES))]
    text(tmp_path / "fer2013new.csv", *turned)
    rows = [f'{usage},"{" ".join(map(str, grey(n).flatten()))}",{n % 7}' for n, (usage, _, _) in enumerate(VOTES)]
    text(tmp_path / "fer2013.csv", "Usage, pixels, emotion", *rows)
    got = ferplus.read(tmp_path, settings())
    assert got.samples[0].target["votes"] == (4, 0, 0, 1, 3, 2, 0, 0) and len(got.samples) == 11
    assert got.samples[-1].clip.read([0])[0, 0].to(device).tolist() == grey(12).tolist()
    tables(tmp_path, newline="\r\n")
    assert ferplus.read(tmp_path, settings()).samples[-1].clip.read([0])[0, 0].to(device).tolist() == grey(12).tolist()


def test_pixels_are_one_picture(tmp_path, device):
    clip = ferplus.read(tables(tmp_path), settings()).samples[1].clip
    assert len(clip) == 1 and clip.line == 3 and clip.raw() == " ".join(map(str, grey(1).flatten())).encode()
    assert copy.deepcopy(clip) == clip
    assert clip.read([0, 0, 0], size=20).to(device).shape == (3, 3, 20, 20)
    for wrong in ([1], [0, -1], []):
        with refused("line 3", "frame 0"):
            clip.read(wrong)
    for row, words in (("1 " * 2303 + "256", "no number from 0 to 255"), ("1 " * 2303 + "1.5", "no number from 0 to 255"),
                       ("1 " * 2303 + "-1", "no number from 0 to 255"), ("1 " * 2303, "2303 pixels"), ("", "0 pixels")):
        path = text(tmp_path / "row.csv", row)
        with refused("row.csv: line 7", words, "48 × 48 = 2304"):
            Pixels(str(path), 0, len(row), 7).read([0])
    with refused("gone.csv: cannot be read"):
        Pixels(str(tmp_path / "gone.csv"), 0, 5, 7).read([0])


@pytest.mark.parametrize("file, before, after, words", [
    ("fer2013new.csv", "contempt", "Contempt", ("line 1", "0 columns 'contempt'")),
    ("fer2013new.csv", "Image name", "name", ("line 1", "0 columns 'Image name'")),
    ("fer2013new.csv", "4,0,0,1,3,2,0,0,0,0", "4,0,0,1,3,2,0,0,0", ("line 2 has 11 columns", "expected 12")),
    ("fer2013new.csv", "4,0,0,1,3,2,0,0,0,0", "4,0,0,1.5,3,2,0,0,0,0", ("line 2: sadness is '1.5'", "a number of votes")),
    ("fer2013new.csv", "4,0,0,1,3,2,0,0,0,0", "-4,0,0,1,3,2,0,0,0,0", ("line 2: neutral is '-4'",)),
    ("fer2013new.csv", "Training,fer0000001", "Test,fer0000001", ("line 3: Usage is 'Test'", "Training, PublicTest, PrivateTest")),
    ("fer2013new.csv", "Training,fer0000001", "PublicTest,fer0000001", ("line 3: Usage is PublicTest, but 'Training' in line 3",)),
    ("fer2013new.csv", "fer0000003", "fer0000001", ("Training/fer0000001.png stands twice",)),
    ("fer2013new.csv", "fer0032220", "fer0000001", ("PrivateTest/fer0000001.png stands twice",)),
    ("fer2013new.csv", "PrivateTest,fer0032220.png,0,0,0,0,9,1,0,0,0,0\n", "", ("fer2013.csv: 13 rows, but fer2013new.csv has 12",)),
    ("fer2013new.csv", "PrivateTest,fer0032220.png", "PrivateTest,", ("1 rows and no labelled picture in report",)),
    ("fer2013new.csv", "fer0000006.png,0,0,0,0,0,8", "fer0000006.png,9,0,0,0,0,8", ("no pictures of disgust in train",)),
    ("fer2013.csv", "pixels", "pixel", ("line 1", "0 columns 'pixels'", "emotion,pixels,Usage")),
    ("fer2013.csv", "0 3 6 9", "0 3 69", ("line 2 has 2303 pixels", "2304")),
    ("fer2013.csv", ",PrivateTest\n", "", ("line 14 has 2 columns", "expected 3"))])
def test_ferplus_tables_refused(tmp_path, file, before, after, words):
    path = tables(tmp_path) / file
    said = path.read_text()
    assert before in said
    path.write_text(said.replace(before, after, 1))
    with refused(*words):
        ferplus.read(tmp_path, settings())


def test_ferplus_rows_are_one_to_one(tmp_path):
    said = (tables(tmp_path) / "fer2013.csv").read_text().splitlines()
    text(tmp_path / "fer2013.csv", *said[:-2])
    with refused("fer2013.csv: 11 rows, but fer2013new.csv has 13"):
        ferplus.read(tmp_path, settings())
    text(tmp_path / "fer2013.csv", *said, *said[-1:])
    with refused("fer2013.csv: 14 rows, but fer2013new.csv has 13"):
        ferplus.read(tmp_path, settings())
    (tmp_path / "fer2013.csv").unlink()
    with refused("fer2013new.csv without fer2013.csv"):
        ferplus.read(tmp_path, settings())


def test_ferplus_folders_refused(tmp_path):
    with refused("nothing in this folder", "fer2013new.csv and fer2013.csv", "FER2013Train"):
        ferplus.read(tmp_path, settings())
    with refused("the classes are neutral, happiness"):
        ferplus.read(folders(tmp_path), settings(SEVEN))
    label = tmp_path / "FER2013Train" / "label.csv"
    said = label.read_text()
    for before, after, words in (
            (",4,0,0,1,3,2", ",4,0,0,1,3", ("line 1 has 9 columns of votes", "10 columns")),
            (",4,0,0,1,3,2", ",4,0,0,1,3,x", ("line 1: disgust is 'x'",)),
            ('"(0, 0, 48, 48)",4', '"(0, 0, 48', ("line 1 is 'fer0000000.png",)),
            ("fer0000001.png", "fer0000002.png", ("line 2: there is no picture 'fer0000002.png'", "0 more", "fer2013.csv beside")),
            ("fer0000001.png", "fer0000000.png", ("FER2013Train/fer0000000.png stands twice",))):
        assert before in said
        label.write_text(said.replace(before, after, 1))
        with refused(*words):
            ferplus.read(tmp_path, settings())
    label.write_text(said)
    for name in ("fer0000004.png", "fer0000007.png"):
        (tmp_path / "FER2013Train" / name).unlink()
    with refused("line 4: there is no picture 'fer0000004.png'", "1 more are missing"):
        ferplus.read(tmp_path, settings())
    label.unlink()
    with refused("FER2013Train/label.csv: no such file"):
        ferplus.read(tmp_path, settings())
    text(tmp_path / "other" / "notes.txt", "nothing")
    with refused("neither tables nor folders; found notes.txt"):
        ferplus.read(tmp_path / "other", settings())


# RAF-DB

RAF_LIST = [("train_00001", 5), ("train_00002", 1), ("train_00003", 2), ("train_00004", 3), ("train_00005", 4), ("train_00006", 6),
            ("train_00010", 7), ("train_00021", 1), ("test_0001", 7), ("test_0002", 4)]


def raf_list(root, name="list_patition_label.txt"):
    text(root / "EmoLabel" / name, *(f"{id}.jpg {code}" for id, code in RAF_LIST))
    for n, (id, _) in enumerate(RAF_LIST):
        picture(root / "Image" / "aligned" / f"{id}_aligned.jpg", n)
        picture(root / "Image" / "original" / f"{id}.jpg", 50)
    return root


def raf_folders(root):
    for n, (id, code) in enumerate(RAF_LIST):
        picture(root / id.split("_")[0] / str(code) / f"{id}_aligned.jpg", n)
    return root


def test_rafdb_both_forms_are_one_data_set(tmp_path, device):
    """1 surprise, 2 fear, 3 disgust, 4 happiness, 5 sadness, 6 anger, 7 neutral; train_ trains, test_ is reported."""
    one = rafdb.read(raf_list(tmp_path / "a" / "basic").parent, settings(RAF))
    two = rafdb.read(raf_folders(tmp_path / "b" / "DATASET").parent, settings(RAF))
    assert [(s.id, s.part, RAF[s.target["expression"]]) for s in one.samples] == [
        ("train_00001", "train", "sadness"), ("train_00002", "train", "surprise"), ("train_00003", "train", "fear"),
        ("train_00004", "train", "disgust"), ("train_00005", "train", "happiness"), ("train_00006", "train", "anger"),
        ("train_00010", "train", "neutral"), ("train_00021", "train", "surprise"), ("test_0001", "report", "neutral"),
        ("test_0002", "report", "happiness")]
    for a, b in zip(one.samples, two.samples, strict=True):
        assert (a.id, a.part, a.target) == (b.id, b.part, b.target)
        assert torch.equal(a.clip.read([0], size=8).to(device), b.clip.read([0], size=8).to(device))
    assert one.found[:2] == two.found[:2] == [
        "RAF-DB: train 8 pictures of 12271 expected; surprise 2 of 1290, fear 1 of 281, disgust 1 of 717, happiness 1 of 4772, "
        "sadness 1 of 1982, anger 1 of 705, neutral 1 of 2524",
        "RAF-DB: report 2 pictures of 3068 expected; surprise 0 of 329, fear 0 of 74, disgust 0 of 160, happiness 1 of 1185, "
        "sadness 0 of 478, anger 0 of 162, neutral 1 of 680; none of surprise, fear, disgust, sadness, anger, so no score of theirs"]
    assert one.found[2] == "RAF-DB: labels from list_patition_label.txt; 0 other files in Image/aligned left out"
    assert two.found[2] == "RAF-DB: labels from the folders of the classes; 0 other files left out"
    assert one.samples[3].clip.path.endswith("basic/Image/aligned/train_00004_aligned.jpg")


def test_rafdb_right_in_the_root_and_in_another_order(tmp_path):
    classes = ("neutral", "anger", "sadness", "happiness", "disgust", "fear", "surprise")
    picture(raf_list(tmp_path, "list_partition_label.txt") / "Image" / "aligned" / "train_00099_aligned.jpg", 9)
    got = rafdb.read(tmp_path, settings(classes))
    assert [s.target["expression"] for s in got.samples] == [2, 6, 5, 4, 3, 1, 0, 6, 0, 3] and got.classes == classes
    assert got.found[2] == "RAF-DB: labels from list_partition_label.txt; 1 other files in Image/aligned left out"
    raf_folders(tmp_path)
    assert "are not used" in rafdb.read(tmp_path, settings(classes)).found[2]
    with refused("the classes are surprise, fear"):
        rafdb.read(tmp_path, settings(EIGHT))


@pytest.mark.parametrize("before, after, words", [
    ("train_00002.jpg 1", "train_00002.jpg 8", ("line 2: the code is '8'", "1 to 7, surprise, fear")),
    ("train_00002.jpg 1", "train_00002.jpg 0", ("line 2: the code is '0'",)),
    ("train_00002.jpg 1", "train_00002.jpg 12", ("line 2: the code is '12'",)),
    ("train_00002.jpg 1", "train_00002.jpg", ("line 2 is 'train_00002.jpg'", "such as train_00001.jpg 5")),
    ("train_00002.jpg 1", "val_00002.jpg 1", ("line 2 is 'val_00002.jpg 1'",)),
    ("train_00002.jpg 1", "train_00001.jpg 1", ("line 2: train_00001 stands twice",)),
    ("train_00002.jpg", "train_00077.jpg", ("line 2: there is no picture train_00077_aligned.jpg", "0 more are missing")),
    ("train_00003.jpg 2", "train_00003.jpg 1", ("no pictures of fear in train",)),
    ("test_0001.jpg 7\ntest_0002.jpg 4\n", "", ("no picture test_ in it",))])
def test_rafdb_lists_refused(tmp_path, before, after, words):
    path = raf_list(tmp_path) / "EmoLabel" / "list_patition_label.txt"
    said = path.read_text()
    assert before in said
    path.write_text(said.replace(before, after, 1))
    with refused(*words):
        rafdb.read(tmp_path, settings(RAF))


def test_rafdb_folders_refused(tmp_path):
    text(tmp_path / "notes.txt", "nothing")
    with refused("neither a list nor folders of classes; found notes.txt", "list_patition_label.txt"):
        rafdb.read(tmp_path, settings(RAF))
    raf_folders(tmp_path)
    extra = picture(tmp_path / "train" / "8" / "train_00040_aligned.jpg", 1)
    with refused("train/8: no class of RAF-DB"):
        rafdb.read(tmp_path, settings(RAF))
    extra.unlink()
    extra.parent.rmdir()
    for name, words in (("train/2/train_00001_aligned.jpg", ("train_00001 stands twice", "train_00001_aligned.jpg")),
                        ("test/2/train_00050_aligned.jpg", ("a picture of another part in test",)),
                        ("train/5/train_00001_aligned.png", ("train_00001 stands twice",))):
        path = picture(tmp_path / name, 1)
        with refused(*words):
            rafdb.read(tmp_path, settings(RAF))
        path.unlink()
    (tmp_path / "test").rename(tmp_path / "later")
    with refused("test: no such folder"):
        rafdb.read(tmp_path, settings(RAF))
    (raf_list(tmp_path / "other") / "Image" / "aligned").rename(tmp_path / "faces")
    with refused("Image/aligned: no such folder"):
        rafdb.read(tmp_path / "other", settings(RAF))


# AffectNet

AFFECTNET = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"
CODED = [(0, 0.0, 0.02), (1, 0.79, -0.06), (2, -0.5, 0.25), (3, 0.1, 0.9), (4, -2, -2), (5, -1, 1), (6, -0.6, 0.7), (7, -0.5, 0.6),
         (8, 0.0, 0.0), (9, -2, -2), (10, -2, -2), (1, 0.5, 0.1)]
EYES = [(6.0, 7.0) if 36 <= k < 42 else (14.0, 7.5) if 42 <= k < 48 else (10.0, 12.25) for k in range(68)]


def landmarks(points=EYES):
    return ";".join(f"{x:g};{y:g}" for x, y in points)


def old_row(n, code, v, a, box="3,2,9,11", points=None):
    return f"{600 + n % 2}/{n:x}a.jpg,{box},{landmarks() if points is None else points},{code},{v:g},{a:g}"


def old(root, rows=None, header=AFFECTNET, images="Manually_Annotated_Images"):
    """training.csv with the codes above, validation.csv with the first seven of them."""
    rows = [old_row(n, *coded) for n, coded in enumerate(CODED)] if rows is None else rows
    for stem, lines in (("training", rows), ("validation", [row.replace("a.jpg", "b.jpg") for row in rows[:7]])):
        text(root / "Manually_Annotated_file_lists" / f"{stem}.csv", *[header] * bool(header), *lines)
        for n, line in enumerate(lines):
            picture(root / images / line.split(",")[0], n + 20 * (stem == "validation"), 20, 16)
    return root


def new(root, kind=str):
    for folder, coded in (("train_set", CODED), ("val_set", CODED[:7])):
        where = root / folder / "annotations"
        where.mkdir(parents=True)
        for n, (code, v, a) in enumerate(coded):
            picture(root / folder / "images" / f"{n}.jpg", n + 20 * (folder == "val_set"), 20, 16)
            np.save(where / f"{n}_exp.npy", np.array(kind(code)))
            np.save(where / f"{n}_val.npy", np.array(kind(v)))
            np.save(where / f"{n}_aro.npy", np.array(kind(a)))
            if n != 3:
                np.save(where / f"{n}_lnd.npy", np.array([kind(c) for point in EYES for c in point]))
    return root


def seen(found):
    return [(s.part, found.classes[s.target["expression"]], s.target["va"]) for s in found.samples]


def test_affectnet_old_layout(tmp_path):
    """Codes 7 to 10 are left out by name, −2 stays, and the parts are those of the two lists."""
    got = affectnet.read(old(tmp_path), settings(SEVEN))
    assert got.classes == SEVEN
    assert [(s.id, *row) for s, row in zip(got.samples, seen(got), strict=True)] == [
        ("training/600/0a", "train", "neutral", (0.0, 0.02)), ("training/601/1a", "train", "happiness", (0.79, -0.06)),
        ("training/600/2a", "train", "sadness", (-0.5, 0.25)), ("training/601/3a", "train", "surprise", (0.1, 0.9)),
        ("training/600/4a", "train", "fear", (-2.0, -2.0)), ("training/601/5a", "train", "disgust", (-1.0, 1.0)),
        ("training/600/6a", "train", "anger", (-0.6, 0.7)), ("training/601/ba", "train", "happiness", (0.5, 0.1)),
        ("validation/600/0b", "report", "neutral", (0.0, 0.02)), ("validation/601/1b", "report", "happiness", (0.79, -0.06)),
        ("validation/600/2b", "report", "sadness", (-0.5, 0.25)), ("validation/601/3b", "report", "surprise", (0.1, 0.9)),
        ("validation/600/4b", "report", "fear", (-2.0, -2.0)), ("validation/601/5b", "report", "disgust", (-1.0, 1.0)),
        ("validation/600/6b", "report", "anger", (-0.6, 0.7))]
    assert got.found == [
        "AffectNet: train 8 pictures of 283901 expected; neutral 1 of 74874, happiness 2 of 134415, sadness 1 of 25459, "
        "surprise 1 of 14090, fear 1 of 6378, disgust 1 of 3803, anger 1 of 24882",
        "AffectNet: report 7 pictures of 3500 expected; " + ", ".join(f"{name} 1 of 500" for name in SEVEN),
        f"AffectNet: read from {tmp_path / 'Manually_Annotated_file_lists'}",
        "AffectNet: faces cut out: by landmarks 15, by the face's box 0, the picture's centre square 0",
        "AffectNet: valence and arousal given for 13 of 15",
        "AffectNet: left out by label: contempt 1, none 1, uncertain 1, non-face 1"]


def test_affectnet_eight_classes(tmp_path):
    classes = ("contempt", "anger", "disgust", "fear", "surprise", "sadness", "happiness", "neutral")
    old(tmp_path)
    got = affectnet.read(tmp_path, settings(classes))
    assert got.samples[7].id == "training/601/7a" and got.samples[7].target == {"expression": 0, "va": (-0.5, 0.6)}
    assert got.samples[0].target["expression"] == 7 and got.found[1].startswith("AffectNet: report 7 pictures of 4000 expected")
    assert got.found[-1] == "AffectNet: left out by label: none 1, uncertain 1, non-face 1"
    with refused("the classes are neutral, happiness, sadness, surprise, fear, disgust, anger;"):
        affectnet.read(tmp_path, settings(SEVEN[:6]))


@pytest.mark.parametrize("kind", [str, float])
def test_affectnet_new_layout_has_the_same_labels(tmp_path, device, kind):
    """Numbers may be stored as text; 3_lnd.npy is missing, so that the centre square is taken."""
    one, two = affectnet.read(old(tmp_path / "a"), settings(SEVEN)), affectnet.read(new(tmp_path / "b", kind), settings(SEVEN))
    assert seen(one) == seen(two)
    assert [s.id for s in two.samples[6:9]] == ["train_set/6", "train_set/11", "val_set/0"]
    assert two.found[3] == "AffectNet: faces cut out: by landmarks 13, by the face's box 0, the picture's centre square 2"
    assert (one.found[:2], one.found[4:]) == (two.found[:2], two.found[4:])
    for k in (0, 1, 9):
        assert torch.equal(one.samples[k].clip.read([0], 24).to(device), two.samples[k].clip.read([0], 24).to(device))


def test_affectnet_without_a_header_in_any_place(tmp_path, device):
    whole = seen(affectnet.read(old(tmp_path / "a"), settings(SEVEN)))
    old(tmp_path / "b", header="", images="Manually_Annotated/Manually_Annotated_Images")
    for mark in ("", "\ufeff"):                                  # the mark that some programs put in front of a text
        path = tmp_path / "b" / "Manually_Annotated_file_lists" / "validation.csv"
        path.write_text(mark + path.read_text(encoding="utf-8-sig"), encoding="utf-8")
        got = affectnet.read(tmp_path / "b", settings(SEVEN))
        assert seen(got) == whole
        assert torch.equal(got.samples[8].clip.points.points().to(device), torch.tensor(EYES, device=device))
    old(tmp_path / "c")
    for name in ("training.csv", "validation.csv"):
        (tmp_path / "c" / "Manually_Annotated_file_lists" / name).rename(tmp_path / "c" / name)
    assert seen(affectnet.read(tmp_path / "c", settings(SEVEN))) == whole
    assert seen(affectnet.read(old(tmp_path / "d") / "Manually_Annotated_Images", settings(SEVEN))) == whole
    for name in ("training.csv", "validation.csv"):
        path = tmp_path / "d" / "Manually_Annotated_file_lists" / name
        rows = [",".join(f'"{cell}"' for cell in reversed(line.split(","))) for line in path.read_text().splitlines()]
        path.write_text("\ufeff" + "\r\n".join(rows), encoding="utf-8")
    got = affectnet.read(tmp_path / "d", settings(SEVEN))
    assert seen(got) == whole
    for s in got.samples:
        assert torch.equal(s.clip.points.points().to(device), torch.tensor(EYES, device=device))


def test_affectnet_own_list(tmp_path, device):
    """As others write it: an index in front, and folders of another machine, which are passed over; no valence, no arousal."""
    new(tmp_path)
    for folder in ("train_set", "val_set"):
        (tmp_path / folder / "annotations").rename(tmp_path / f"{folder}_annotations")
    rows = [f"{n},{phase},datasets/AffectNet/{phase}_set/images/{k}.jpg,{coded[0]}"
            for phase, n, k, coded in [("train", n, n, coded) for n, coded in enumerate(CODED)] + [("val", 20, 2, CODED[2])]]
    text(tmp_path / "affectnet.csv", ",phase,img_path,label", *rows)
    text(tmp_path / "other.csv", "a,b,c")
    got = affectnet.read(tmp_path, settings(SEVEN))
    assert [s.id for s in got.samples][-2:] == ["train_set/images/11", "val_set/images/2"]
    assert [s.target["expression"] for s in got.samples] == [0, 1, 2, 3, 4, 5, 6, 1, 2]
    assert {s.target["va"] for s in got.samples} == {(-2.0, -2.0)} and got.samples[-1].part == "report"
    assert got.found[3].endswith("the picture's centre square 9") and got.found[-1].endswith("uncertain 1, non-face 1")
    assert got.samples[2].clip.read([0], 16).to(device).shape == (1, 3, 16, 16)
    for row, words in (("13,test,train_set/images/0.jpg,1", ("line 15: the phase is 'test'", "train or val")),
                       ("13,train,train_set/images/0.jpg,11", ("line 15: the expression is '11'",)),
                       ("13,train,train_set/images/0.jpg", ("line 15 has 3 columns", "expected 4")),
                       ("13,train,train_set/images/0.jpg,1", ("train_set/images/0 stands twice",)),
                       ("13,train,train_set/images/99.jpg,1", ("train_set/images/99.jpg (line 15)", "0 more"))):
        text(tmp_path / "affectnet.csv", ",phase,img_path,label", *rows, row)
        with refused("affectnet.csv", *words):
            affectnet.read(tmp_path, settings(SEVEN))
    text(tmp_path / "second.csv", "img_path,phase,label")
    with refused("2 lists, affectnet.csv, second.csv"):
        affectnet.read(tmp_path, settings(SEVEN))


def test_a_face_is_cut_out_by_what_is_known(tmp_path, device):
    """Landmarks before the box, the box before the centre square; zeros and blanks are nothing known."""
    zeros = ";".join(["0"] * 136)
    how = [dict(), dict(points="", box="3,2,9,11"), dict(points="NULL", box=",,,"), dict(points=zeros, box="0,0,0,0")]
    rows = [old_row(n, *coded, **how[min(n, 3)]) for n, coded in enumerate(CODED[:7])]
    got = affectnet.read(old(tmp_path, rows), settings(SEVEN))
    assert got.found[3] == "AffectNet: faces cut out: by landmarks 2, by the face's box 2, the picture's centre square 10"
    faces = [s.clip for s in got.samples[:4]]
    pictures = [read_picture(face.path) for face in faces]
    assert torch.equal(faces[0].read([0], 30)[0].to(device), crop_aligned(pictures[0].to(device), torch.tensor(EYES), 30))
    assert faces[1].box == (3, 2, 9, 11)
    assert torch.equal(faces[1].read([0], 11)[0].to(device), pictures[1][:, 2:13, 2:13].to(device))      # 11 wide, 1 more at the left
    for face in faces[2:]:
        assert face.points is None and face.box is None
        assert torch.equal(face.read([0], 9).to(device), Still(face.path).read([0], 9).to(device))
    assert torch.equal(faces[0].read([0, 0])[1], pictures[0])


def test_square_by_hand(device):
    """A box 4 wide and 2 high at (5, 0): 4 × 4 from (5, −1); of the picture, 7 × 3, columns 5, 6 and rows 0 to 2 are in it."""
    picture = torch.arange(21, device=device).reshape(1, 3, 7).expand(3, -1, -1)
    expected = torch.tensor([[0, 0, 0, 0], [5, 6, 0, 0], [12, 13, 0, 0], [19, 20, 0, 0]], device=device)
    assert torch.equal(square(picture, (5, 0, 4, 2)), expected.expand(3, -1, -1))
    for outside in ((7, 0, 2, 2), (-2, 0, 2, 2), (0, -9, 2, 3), (0, 3, 1, 1)):
        with refused("lies outside the picture, 7 × 3"):
            square(picture, outside)
    assert square(picture, (0, 0, 28, 1)).shape == (3, 28, 28)
    with refused("29 × 1 at (0, 0), is far larger than the picture, 7 × 3"):
        square(picture, (0, 0, 29, 1))


def test_a_face_is_one_frame_and_tells_what_it_is_made_of(tmp_path):
    """raw() knows the picture, the landmarks and the box, and not where they lie."""
    path, row = str(picture(tmp_path / "1.jpg", 1)), f"1.jpg,{landmarks()}"
    marks = Place(str(text(tmp_path / "list.csv", row)), 1, 6, len(landmarks()))
    face = Face(path, marks, (1, 2, 3, 4))
    assert len(face) == 1 and copy.deepcopy(face) == face
    others = [Face(path), Face(path, marks), Face(path, None, (1, 2, 3, 4)), Face(path, None, (1, 2, 3, 5)),
              Face(str(picture(tmp_path / "2.jpg", 2)), marks, (1, 2, 3, 4))]
    assert len({f.raw() for f in (face, *others)}) == 6 and face.raw().startswith((tmp_path / "1.jpg").read_bytes())
    there = Place(str(text(tmp_path / "b" / "list.csv", "", row)), 2, 7, len(landmarks()))
    assert Face(str(picture(tmp_path / "b" / "7.jpg", 1)), there, (1, 2, 3, 4)).raw() == face.raw()
    for wrong in ([1], [0, 2]):
        with pytest.raises(PictureError, match="asked for"):
            face.read(wrong, 8)
    with refused("1.jpg", "lies outside the picture, 12 × 10"):
        Face(path, None, (50, 2, 3, 4)).read([0], 8)
    np.save(tmp_path / "zeros.npy", np.zeros(136))
    with refused("1.jpg", "the eyes lie 0 pixels apart"):
        Face(path, Place(str(tmp_path / "zeros.npy"))).read([0], 8)
    np.save(tmp_path / "far.npy", np.random.default_rng(0).random((68, 2)) + 1000)
    with refused("1.jpg", "the face lies outside the picture", "12 × 10"):
        Face(path, Place(str(tmp_path / "far.npy"))).read([0], 8)
    with refused("gone.npy: cannot be read"):
        Face(path, Place(str(tmp_path / "gone.npy"))).raw()


def test_landmarks_wherever_they_stand(tmp_path, device):
    """As numbers, as text, as a cell among others with or without quotes."""
    flat = [c for point in EYES for c in point]
    np.save(tmp_path / "a.npy", np.array(flat))
    np.save(tmp_path / "b.npy", np.array(flat, dtype=np.float32).reshape(68, 2))
    np.save(tmp_path / "c.npy", np.array([str(c) for c in flat]))
    text(tmp_path / "d.csv", f'é,"{landmarks()}"')
    for place in (*(Place(str(tmp_path / f"{k}.npy")) for k in "abc"), Place(str(tmp_path / "d.csv"), 1, 3, len(landmarks()) + 2)):
        assert torch.equal(place.points().to(device), torch.tensor(EYES, device=device))
    for row, words in ((landmarks()[:-6], ("135 landmark values, 0 not finite",)), (landmarks() + "e999", ("136 landmark values, 1 not finite",)),
                       (landmarks() + ".1.2", ("not all numbers",))):
        text(tmp_path / "e.csv", "", row)
        with refused("e.csv: line 2", *words):
            Place(str(tmp_path / "e.csv"), 2, 1, len(row)).points()


@pytest.mark.parametrize("before, after, words", [
    (",valence,", ",Valence,", ("line 1", "0 columns 'valence'", "facial_landmarks")),
    ("subDirectory_filePath", "file", ("line 1: the expression is 'expression'", "0 to 10")),
    (",2,-0.5,0.25", ",2,-0.5", ("line 4 has 8 columns", "expected 9")),
    (",2,-0.5,0.25", ",11,-0.5,0.25", ("line 4: the expression is '11'", "0 to 10, neutral, happiness", "non-face")),
    (",2,-0.5,0.25", ",sad,-0.5,0.25", ("line 4: the expression is 'sad'",)),
    (",2,-0.5,0.25", ",2,-0.5,1.25", ("line 4: valence and arousal are -0.5 and 1.25", "both -2")),
    (",2,-0.5,0.25", ",2,-2,0.25", ("line 4: valence and arousal are -2 and 0.25",)),
    (",2,-0.5,0.25", ",2,nan,0.25", ("line 4: valence and arousal are nan",)),
    (",2,-0.5,0.25", ",2,-0.5,x", ("line 4: valence and arousal are -0.5 and x",)),
    (";7;6;7", ";7;6", ("line 2: the landmarks are 135 values", "expected 136")),
    (";7;6;7", ";7;x;7", ("line 2: the landmarks are 136 values", "expected 136 numbers")),
    (";7;6;7", ";7;inf;7", ("line 2: the landmarks are 136 values",)),
    ("3,2,9,11", "3,2,9,", ("line 2: the face's box is '3,2,9,'", "four numbers")),
    ("3,2,9,11", "3,2,9,inf", ("line 2: the face's box is '3,2,9,inf'",)),
    ("601/3a.jpg", "601/1a.jpg", ("training/601/1a stands twice",)),
    ("601/3a.jpg", "700/3a.jpg", ("there is no picture", "Manually_Annotated_Images/700/3a.jpg (line 5)", "0 more are missing")),
    (",4,-2,-2", ",8,-2,-2", ("no pictures of fear in train",))])
def test_affectnet_lists_refused(tmp_path, before, after, words):
    path = old(tmp_path) / "Manually_Annotated_file_lists" / "training.csv"
    said = path.read_text()
    assert before in said
    path.write_text(said.replace(before, after, 1))
    with refused(*words):
        affectnet.read(tmp_path, settings(SEVEN))


def test_affectnet_one_picture_in_both_parts(tmp_path):
    """What is tested must not train."""
    lists = old(tmp_path) / "Manually_Annotated_file_lists"
    twin = (lists / "training.csv").read_text().splitlines()[1]
    (lists / "validation.csv").write_text((lists / "validation.csv").read_text() + twin + "\n")
    with refused(f"validation/{twin.split('.jpg')[0]} stands twice"):
        affectnet.read(tmp_path, settings(SEVEN))


def test_affectnet_old_layout_refused(tmp_path):
    text(tmp_path / "notes.txt", "nothing")
    with refused("no list and no annotations; found notes.txt", "training.csv", "0_exp.npy", "img_path, phase, label"):
        affectnet.read(tmp_path, settings(SEVEN))
    lists = old(tmp_path) / "Manually_Annotated_file_lists"
    for name in ("600/2a.jpg", "600/4a.jpg", "600/8a.jpg"):      # 8a has a code that is left out: nobody asks for it
        (tmp_path / "Manually_Annotated_Images" / name).unlink()
    with refused("there is no picture", "600/2a.jpg (line 4)", "1 more are missing"):
        affectnet.read(tmp_path, settings(SEVEN))
    old(tmp_path)
    text(lists / "validation.csv", AFFECTNET, old_row(9, 9, -2, -2))
    with refused("no picture for validation with one of neutral"):
        affectnet.read(tmp_path, settings(SEVEN))
    (lists / "validation.csv").unlink()
    with refused("validation.csv: no such file"):
        affectnet.read(tmp_path, settings(SEVEN))
    old(tmp_path)
    (tmp_path / "Manually_Annotated_Images").rename(tmp_path / "away")
    with refused("Manually_Annotated_Images: no such folder"):
        affectnet.read(tmp_path, settings(SEVEN))


@pytest.mark.parametrize("name, content, words", [
    ("0_exp.npy", np.array("11"), ("the expression is '11'", "0 to 10")),
    ("0_exp.npy", np.array("0.5"), ("the expression is '0.5'",)),
    ("0_exp.npy", np.array(float("nan")), ("the expression is 'nan'",)),
    ("0_exp.npy", np.array([1, 2]), ("2 numbers; expected one",)),
    ("0_exp.npy", np.array("sad"), ("not a whole .npy of numbers",)),
    ("0_exp.npy", b"", ("not a whole .npy",)),
    ("0_exp.npy", b"\x93NUMPY\x01\x00\x05\x00{'de\n", ("not a whole .npy",)),
    ("0_exp.npy", b"no such thing, by far", ("not a whole .npy",)),
    ("0_val.npy", np.array(1.5), ("valence and arousal are 1.5 and 0.02",)),
    ("0_val.npy", None, ("0_val.npy: cannot be read", "other annotations")),
    ("0_lnd.npy", np.zeros(51), ("51 landmark values, 0 not finite", "136")),
    ("0_lnd.npy", np.full(136, np.nan), ("136 landmark values, 136 not finite",)),
    ("0_lnd.npy", "objects", ("not a whole .npy",)),
    ("0_lnd.npy", "huge", ("not a whole .npy",)),
    ("0_lnd.npy", "cut", ("not a whole .npy",)),
    ("0_exp.npy", "long", ("not a whole .npy",))])
def test_affectnet_annotations_refused(tmp_path, name, content, words):
    """What numpy says of such files, to allow what must not be allowed, is not passed on."""
    path = new(tmp_path) / "train_set" / "annotations" / name
    head = "{'descr': '%s', 'fortran_order': False, 'shape': (%d,), }\n"
    if content is None:
        path.unlink()
    elif isinstance(content, np.ndarray):
        np.save(path, content)
    elif isinstance(content, bytes):
        path.write_bytes(content)
    else:
        said = (head % {"objects": ("|O", 136), "huge": ("<f8", 10 ** 12), "cut": ("<f8", 136), "long": ("<f8", 1)}[content]).encode()
        path.write_bytes(b"\x93NUMPY\x01\x00" + len(said).to_bytes(2, "little") + said + bytes(136))
    with refused(name, *words) as caught:
        affectnet.read(tmp_path, settings(SEVEN)).samples[0].clip.read([0], 8)           # landmarks are parsed when looked at
    assert "pickle" not in str(caught.value)


def test_affectnet_new_layout_refused(tmp_path):
    new(tmp_path)
    for n in (2, 4, 9):                                          # 9 has a code that is left out
        (tmp_path / "train_set" / "images" / f"{n}.jpg").unlink()
    with refused("there is no picture", "train_set/images/2.jpg", "1 more are missing"):
        affectnet.read(tmp_path, settings(SEVEN))
    for n in (2, 4):
        picture(tmp_path / "train_set" / "images" / f"{n}.jpg", n)
    twice = picture(tmp_path / "train_set" / "images" / "4.png", 4)
    with refused("4 stands twice, also as"):
        affectnet.read(tmp_path, settings(SEVEN))
    twice.unlink()
    assert len(affectnet.read(tmp_path, settings(SEVEN)).samples) == 15
    (tmp_path / "val_set").rename(tmp_path / "later")
    with refused("val_set/annotations", "no annotations in it"):
        affectnet.read(tmp_path, settings(SEVEN))
