"""Readers of folders as they are delivered, and landmarks: tiny copies of each layout, drawn here."""
import math
import re
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from refnet.data import affwild2, afew, folder, rml
from refnet.data.landmarks import crop_aligned, read_landmarks
from refnet.data.protocols import as_delivered, leave_one_subject_out
from refnet.data.samples import DataError
from refnet.pictures import PictureError

CFG = SimpleNamespace(T=8, dilation=3)
HEADER = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise"


@pytest.fixture
def ffmpeg(monkeypatch):
    """Videos are only looked up when a set is read, never opened, so the program's place is enough."""
    monkeypatch.setattr("refnet.pictures.shutil.which", lambda name: f"there/{name}")


def picture(path, grey=128):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 6), (grey, grey, grey)).save(path)


def video(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"RIFF....AVI ")


def refused(*words):
    """A DataError of one line that has all these words in it."""
    return pytest.raises(DataError, match="(?s)^(?!.*\n)" + "".join(f"(?=.*{re.escape(w)})" for w in words))


# A folder a class

def test_folder_takes_clips_stills_and_animations_side_by_side(tmp_path, device):
    for t in (1, 2, 10):
        picture(tmp_path / "happy" / "clip" / f"img{t}.jpg", grey=20 * t)
    picture(tmp_path / "happy" / "still.png")
    frames = [Image.new("RGB", (8, 6), (g, g, g)) for g in (0, 80, 160)]
    (tmp_path / "angry").mkdir()
    frames[0].save(tmp_path / "angry" / "moving.gif", save_all=True, append_images=frames[1:])
    (tmp_path / "angry" / "notes.txt").write_text("lights too low")
    (tmp_path / "labels.csv").write_text("a,b")
    (tmp_path / ".hidden").write_text("")
    got = folder.read(tmp_path, CFG)
    assert got.classes == ("angry", "happy")
    assert [(s.id, s.target["expression"], s.subject, s.part, len(s.clip)) for s in got.samples] == [
        ("angry/moving.gif", 0, "", "", 3), ("happy/clip", 1, "", "", 3), ("happy/still.png", 1, "", "", 1)]
    assert got.found == ["folder: 3 clips: folders of frames 1, pictures 1, videos or animations 1",
                         "folder: 3 clips; angry 1, happy 2", "folder: left out labels.csv, angry/notes.txt"]
    grey = got.samples[1].clip.read([0, 1, 2], size=4).to(device).float().mean((1, 2, 3))
    torch.testing.assert_close(grey, torch.tensor([20., 40., 200.], device=device), atol=2, rtol=0)    # img10 comes last


@pytest.mark.parametrize("names, parts", [(("train", "val"), {"train", "report"}), (("train", "test"), {"train", "report"}),
                                          (("train", "validation", "test"), {"train", "select", "report"})])
def test_folder_parts(tmp_path, names, parts):
    for part in names:
        for name in "dgbfaec":
            picture(tmp_path / part / name / "1.jpg")
    got = folder.read(tmp_path, CFG)
    assert {s.part for s in got.samples} == parts
    assert got.classes == tuple("abcdefg") and len({s.id for s in got.samples}) == 7 * len(names)
    assert {s.id.split("/")[0] for s in got.samples if s.part == "report"} == {names[-1]}
    assert as_delivered(got.samples, select=0)[0].report == [s for s in got.samples if s.part == "report"]


def test_folder_prefers_frames_to_their_video_and_says_so(tmp_path):
    picture(tmp_path / "a" / "one" / "1.jpg")
    video(tmp_path / "a" / "one.mp4")
    picture(tmp_path / "a" / "clip10" / "1.jpg")
    picture(tmp_path / "a" / "clip9" / "1.jpg")
    picture(tmp_path / "b" / "two" / "1.jpg")
    (tmp_path / "b" / "two" / "openface.csv").write_text("")
    got = folder.read(tmp_path, CFG)
    assert [s.id for s in got.samples] == ["a/clip9", "a/clip10", "a/one", "b/two"]
    assert got.found[-1] == "folder: left out a/one.mp4, b/two/openface.csv"


def test_folder_class_that_is_not_tested_is_said_and_one_not_trained_refused(tmp_path):
    for where in ("train/a", "train/b", "val/a"):
        picture(tmp_path / where / "1.jpg")
    assert folder.read(tmp_path, CFG).found[-1] == "folder: report 1 clips; a 1, b 0; none of b, so no score of theirs"
    picture(tmp_path / "val" / "c" / "1.jpg")
    with refused("no clips of c in train", "a 1, b 1, c 0"):
        folder.read(tmp_path, CFG)


def test_folder_refusals(tmp_path):
    with refused("nowhere", "no such folder", "expected DIR/<class>"):
        folder.read(tmp_path / "nowhere", CFG)
    with refused("nothing in this folder", "expected DIR/<class>"):
        folder.read(tmp_path, CFG)
    picture(tmp_path / "1.jpg")
    with refused("0 folders of classes", "expected two or more"):
        folder.read(tmp_path, CFG)
    with refused("1.jpg", "is a file, not a folder"):
        folder.read(tmp_path / "1.jpg", CFG)
    picture(tmp_path / "a" / "1.jpg")
    with refused("1 folders of classes (a)"):
        folder.read(tmp_path, CFG)
    (tmp_path / "b").mkdir()
    with refused("no clip of class 'b'"):
        folder.read(tmp_path, CFG)
    (tmp_path / "b" / "list.txt").write_text("")
    with refused("no clip of class 'b'", "found only list.txt"):
        folder.read(tmp_path, CFG)
    (tmp_path / "b" / "clip" / "deeper").mkdir(parents=True)
    with refused("clip: a clip without frames", "found deeper", "expected pictures right in it"):
        folder.read(tmp_path, CFG)
    picture(tmp_path / "train" / "a" / "1.jpg")
    with refused("holds train", "expected train/ with val/ or test/"):
        folder.read(tmp_path, CFG)


# RML

def rml_tree(root):
    for name in ("s1/an1.avi", "s1/di1.avi", "s3/f2per/fe3.avi", "s3/f2per/ha3.avi"):
        video(root / "rml-1" / name)
    for name in ("s8/f3chi/sa2.avi", "s8/su1.avi"):
        video(root / "rml-2" / name)
    return root


def test_rml_letters_subjects_and_counts(tmp_path, ffmpeg):
    got = rml.read(rml_tree(tmp_path), CFG)
    assert got.classes == ("anger", "disgust", "fear", "happiness", "sadness", "surprise")
    assert {(s.id, s.subject, s.target["expression"]) for s in got.samples} == {
        ("s1/an1", "s1", 0), ("s1/di1", "s1", 1), ("s3/f2per/fe3", "s3", 2), ("s3/f2per/ha3", "s3", 3),
        ("s8/f3chi/sa2", "s8", 4), ("s8/su1", "s8", 5)}
    assert got.found[0] == (
        "RML: 6 clips of 720 expected; anger 1 of 120, disgust 1 of 120, fear 1 of 120, happiness 1 of 120, sadness 1 of 120, "
        "surprise 1 of 120; s1 2 of 25, s2 0 of 25, s3 2, s4 0 of 182, s5 0, s6 0, s7 0, s8 2")
    assert got.found[1].startswith("RML: 0 clips as folders of frames, 6 as videos")
    assert [f.id for f in leave_one_subject_out(got.samples, select=0)] == ["s1", "s3", "s8"]


def test_rml_also_without_rml_1_and_in_the_order_of_the_settings(tmp_path, ffmpeg):
    root = rml_tree(tmp_path) / "rml-1"
    for name in ("s8/f3chi/sa2.avi", "s8/su1.avi"):
        video(root / name)
    order = ("surprise", "sadness", "happiness", "fear", "disgust", "anger")
    got = rml.read(root, SimpleNamespace(classes=order))
    assert got.classes == order
    assert {s.id: s.target["expression"] for s in got.samples}["s1/an1"] == 5


def test_rml_frames_are_preferred_aligned_ones_first(tmp_path, ffmpeg):
    root = rml_tree(tmp_path)
    picture(root / "rml-1" / "s1" / "an1" / "00001.jpg")
    for t in range(1, 4):
        picture(root / "rml-1" / "s1" / "an1_aligned" / f"frame_det_00_{t:06d}.bmp")
    (root / "rml-1" / "s1" / "an1.csv").write_text("")
    picture(root / "rml-1" / "s1" / "di1_aligned" / "00001.jpg")
    got = rml.read(root, CFG)
    clips = {s.id: s.clip for s in got.samples}
    assert len(clips) == 6 and clips["s1/an1"].path.name == "an1_aligned" and len(clips["s1/an1"]) == 3
    assert clips["s1/di1"].path.name == "di1_aligned"
    assert got.found[1].startswith("RML: 2 clips as folders of frames, 4 as videos")
    assert got.found[2] == "RML: 1 files beside the clips left out, neither video nor folder of frames"


def test_rml_refusals(tmp_path, ffmpeg):
    root = rml_tree(tmp_path)
    with refused("the classes are anger, disgust", "the settings ask for anger, joy"):
        rml.read(root, SimpleNamespace(classes=("anger", "joy")))
    video(root / "s1" / "an1.avi")
    with refused("s1/an1 stands twice", "keep one"):
        rml.read(root, CFG)
    (root / "s1" / "an1.avi").rename(root / "s1" / "xx1.avi")
    with refused("xx1.avi", "begins with 'xx'", "an, di, fe, ha, sa, su"):
        rml.read(root, CFG)
    (root / "s1" / "xx1.avi").rename(root / "s1" / "an2.avi")
    (root / "s1" / "an2.avi").write_bytes(b"")
    with refused("an2.avi", "without frames, 0 bytes"):
        rml.read(root, CFG)
    (root / "s1" / "an2.avi").unlink()
    (root / "s1" / "an2").mkdir()
    with refused("an2: a clip without frames", "found nothing"):
        rml.read(root, CFG)
    (root / "s1" / "an2").rename(root / "s1" / "keep")
    (root / "s1" / "keep" / "notes.txt").write_text("")
    with refused("keep: no clip in this folder"):
        rml.read(root, CFG)
    video(root / "s1" / "keep" / "an9.avi")
    (root / "s9").mkdir()
    with refused("s9: no such subject", "s1 to s8"):
        rml.read(root, CFG)
    (root / "s9").rmdir()
    (root / "rml-2" / "s8" / "su1.avi").unlink()
    with refused("no clip of surprise", "anger 2", "expected 120 of each"):
        rml.read(root, CFG)
    with refused("no folder s1 to s8 among an1.avi, di1.avi"):
        rml.read(root / "rml-1" / "s1", CFG)


def test_rml_videos_without_ffmpeg_are_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr("refnet.pictures.shutil.which", lambda name: None)
    with pytest.raises(PictureError, match="ffmpeg"):
        rml.read(rml_tree(tmp_path), CFG)


# AFEW

def afew_tree(root):
    for split in ("Train_AFEW", "Val_AFEW"):
        for n, emotion in enumerate("Angry Disgust Fear Happy Neutral Sad Surprise".split()):
            video(root / split / emotion / f"01373636{n}.avi")
    return root


def test_afew_splits_names_and_counts(tmp_path, ffmpeg):
    """The same id stands in both splits and makes two samples; Neutral is the last code, as arpgnet §4.1.2 lists them."""
    got = afew.read(afew_tree(tmp_path), CFG)
    assert got.classes == ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
    assert len({s.id for s in got.samples}) == len(got.samples) == 14
    fear = [(s.id, s.part, s.target["expression"]) for s in got.samples if s.id.endswith("/013736362")]
    assert fear == [("Train_AFEW/013736362", "train", 2), ("Val_AFEW/013736362", "report", 2)]
    assert {s.target["expression"] for s in got.samples if s.id.endswith("/013736364")} == {6}
    assert got.found[0] == (
        "AFEW: train 7 clips of 773 expected; anger 1 of 135, disgust 1 of 74, fear 1 of 81, happiness 1 of 150, "
        "sadness 1 of 117, surprise 1 of 74, neutral 1 of 142")
    assert got.found[1] == (
        "AFEW: report 7 clips of 383 expected; anger 1, disgust 1, fear 1, happiness 1, sadness 1, surprise 1, neutral 1")
    fold, = as_delivered(got.samples, select=0.2)
    assert (len(fold.train), len(fold.select), len(fold.report)) == (6, 1, 7)


def test_afew_aligned_faces_are_preferred_each_split_its_own(tmp_path, ffmpeg):
    root = afew_tree(tmp_path)
    faces = root / "Train_AFEW" / "AlignedFaces_LBPTOP_Points" / "Faces"
    for t in (1, 2):
        picture(faces / "013736362" / f"{t:03d}.jpg")
    (faces / "013736363").mkdir()                                # no face was found: the video stands in
    picture(faces / "999999999" / "001.jpg")
    picture(root / "Val_AFEW" / "AlignedFaces_LBPTOP_Points_Val" / "Faces" / "013736360" / "001.jpg")
    got = afew.read(root, CFG)
    clips = {s.id: s.clip.path for s in got.samples}
    assert clips["Train_AFEW/013736362"] == faces / "013736362"
    assert clips["Train_AFEW/013736363"].name == "013736363.avi"
    assert clips["Val_AFEW/013736362"].name == "013736362.avi"
    assert clips["Val_AFEW/013736360"].parent.name == "Faces"
    assert got.found[2] == (
        "AFEW: Train_AFEW: 1 of 7 clips with aligned faces; of the others the picture's centre square is taken; "
        "1 folders of faces without a clip left out")


def test_afew_refusals(tmp_path, ffmpeg):
    root = afew_tree(tmp_path)
    video(root / "Train_AFEW" / "Fear" / "013736360.avi")
    with refused("Fear", "id 013736360 stands twice in Train_AFEW", "Angry"):
        afew.read(root, CFG)
    (root / "Train_AFEW" / "Fear" / "013736360.avi").unlink()
    (root / "Train_AFEW" / "Fear" / "013736362.avi").unlink()
    with refused("Fear: no clip in it"):
        afew.read(root, CFG)
    (root / "Train_AFEW" / "Fear").rmdir()
    with refused("Train_AFEW: no folder Fear"):
        afew.read(root, CFG)
    video(root / "Train_AFEW" / "Fearful" / "013736362.avi")
    with refused("Fearful: no emotion of AFEW", "Angry Disgust Fear Happy"):
        afew.read(root, CFG)
    (root / "Train_AFEW" / "Fearful").rename(root / "Train_AFEW" / "Fear")
    (root / "Val_AFEW").rename(root / "Validation")
    with refused("Val_AFEW: no such folder", "found Train_AFEW, Validation"):
        afew.read(root, CFG)


# Aff-Wild2

def affwild2_tree(root, edition="EXPR_Set", header=HEADER):
    """30 frames, picture 8 is missing, line 30 is -1; frame k is grey 8k. 1-30-1280x720 is the validation video."""
    labels = [k % 7 for k in range(29)] + [-1]
    for split, name in (("Train_Set", "video66_left"), ("Validation_Set", "1-30-1280x720")):
        annotate(root, split, name, labels, edition, header)
        for k in range(1, 31):
            if k != 8:
                picture(root / "cropped_aligned" / name / f"{k:05d}.jpg", grey=8 * k)
    return root


def annotate(root, split, name, labels, edition="EXPR_Set", header=HEADER):
    path = root / "annotations" / edition / split / f"{name}.txt"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join([header, *map(str, labels)]) + "\n")
    return path


def test_affwild2_a_sample_a_labelled_frame_with_a_picture(tmp_path):
    got = affwild2.read(affwild2_tree(tmp_path), CFG)
    assert got.classes == ("neutral", "anger", "disgust", "fear", "happiness", "sadness", "surprise")
    train = [s for s in got.samples if s.part == "train"]
    assert len(train) == 28 and len(got.samples) == 56           # 30 lines, one of them -1, one without a picture
    assert (train[0].id, train[0].subject, train[0].target) == ("video66_left/00001", "video66", {"expression": 0})
    assert (train[7].id, train[7].target) == ("video66_left/00009", {"expression": 1})       # 9th line: 8 % 7
    assert {s.subject for s in got.samples if s.part == "report"} == {"1-30-1280x720"}
    assert got.found == [
        "Aff-Wild2: EXPR_Set: train 1 videos (51 in arpgnet §4.1.3)",
        "Aff-Wild2: EXPR_Set: report 1 videos (11 in arpgnet §4.1.3)",
        "Aff-Wild2: train 28 frames; neutral 4, anger 4, disgust 4, fear 4, happiness 4, sadness 4, surprise 4",
        "Aff-Wild2: report 28 frames; neutral 4, anger 4, disgust 4, fear 4, happiness 4, sadness 4, surprise 4",
        "Aff-Wild2: left out: frames marked -1 2, frames labelled Other 0, labelled frames without a picture 2, "
        "pictures after the last line 0, videos without annotation 0"]


@pytest.mark.parametrize("T, k, numbers", [
    (8, 20, [7, 11, 14, 17, 20, 23, 26, 29]),                    # 20 - 12 = 8 has no picture; 7 and 9 are as near
    (8, 21, [9, 12, 15, 18, 21, 24, 27, 30]),                    # -12 ... +9
    (9, 18, [6, 9, 12, 15, 18, 21, 24, 27, 30]),                 # -12 ... +12
    (8, 2, [1, 1, 1, 1, 2, 5, 7, 11]), (9, 29, [17, 20, 23, 26, 29, 30, 30, 30, 30])])
def test_affwild2_frames_around_the_labelled_one(tmp_path, device, T, k, numbers):
    """arpgnet (§4.2.1): T = 8 is -12 ... +9, T = 9 is -12 ... +12; past an end the edge repeats, a gap takes the nearest, the
    earlier of two. The other reading, eight beside the labelled frame, would leave k out."""
    got = affwild2.read(affwild2_tree(tmp_path), SimpleNamespace(T=T, dilation=3))
    sample = next(s for s in got.samples if s.id == f"video66_left/{k:05d}")
    assert len(sample.clip) == T and sample.clip.numbers() == numbers and k in numbers
    frames = sample.clip.read(range(T), size=4).to(device)       # (T, 3, 4, 4)
    assert frames.shape == (T, 3, 4, 4)
    torch.testing.assert_close(frames.float().mean((1, 2, 3)), 8. * torch.tensor(numbers, device=device), atol=1.5, rtol=0)
    backwards = sample.clip.read([T - 1, 0], size=4).float().mean((1, 2, 3))
    assert backwards.tolist() == pytest.approx([8 * numbers[-1], 8 * numbers[0]], abs=1.5)


def test_affwild2_offsets_are_the_two_readings():
    """arpgnet (§4.2.1): eight with the labelled frame, or nine: eight around it."""
    assert affwild2.offsets(8, 3) == (-12, -9, -6, -3, 0, 3, 6, 9)
    assert affwild2.offsets(9, 3) == (-12, -9, -6, -3, 0, 3, 6, 9, 12)


def test_affwild2_newer_header_leaves_out_other_and_maps_by_name(tmp_path):
    root = affwild2_tree(tmp_path, "EXPR_Classification_Challenge", HEADER + ",Other")
    annotate(root, "Train_Set", "video66_left", [0, 7, 7, 6, 5, 4, 3, 2, 2, 1] + [-1] * 20, "EXPR_Classification_Challenge",
             "Other,Surprise,Neutral,Anger,Disgust,Fear,Happiness,Sadness")       # another order: names count, not numbers
    for k in (1, 2, 3):
        picture(root / "cropped_aligned" / "video9" / f"{k:05d}.jpg")
    annotate(root, "Train_Set", "video9", [0, 7, 2], "EXPR_Classification_Challenge", HEADER + ",Other")
    order = ("anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral")
    got = affwild2.read(root, SimpleNamespace(T=8, dilation=3, classes=order))
    names = {s.id: order[s.target["expression"]] for s in got.samples}
    assert "video66_left/00001" not in names and "video9/00002" not in names
    assert [names[f"video66_left/{k:05d}"] for k in (2, 4, 5, 6, 7, 9, 10)] == [
        "sadness", "happiness", "fear", "disgust", "anger", "neutral", "surprise"]
    assert (names["video9/00001"], names["video9/00003"]) == ("neutral", "disgust")
    assert "frames labelled Other 2" in got.found[-1]


@pytest.mark.parametrize("bad", ["7", "x", "-2", "", "1.0"])
def test_affwild2_wrong_label_is_named_by_file_and_line(tmp_path, bad):
    root = affwild2_tree(tmp_path)
    annotate(root, "Train_Set", "video66_left", [0, 1, bad, 3])
    with refused("video66_left.txt: line 4 is " + repr(bad), "from 0 (neutral) to 6 (surprise), or -1"):
        affwild2.read(root, CFG)


def test_affwild2_refusals(tmp_path):
    root = affwild2_tree(tmp_path)
    with refused("the classes are neutral, anger", "--classes neutral anger"):
        affwild2.read(root, SimpleNamespace(T=8, dilation=3, classes=("anger", "joy")))
    file = annotate(root, "Train_Set", "video66_left", [k % 7 for k in range(90)])
    with refused("video66_left.txt: 90 lines of labels", "the last picture in", "00030.jpg"):
        affwild2.read(root, CFG)
    file.write_text("4\n4\n4\n")
    with refused("video66_left.txt: line 1 is '4'", "expected a header such as Neutral"):
        affwild2.read(root, CFG)
    file.write_text(HEADER)
    with refused("video66_left.txt: nothing under the header"):
        affwild2.read(root, CFG)
    file.write_text(HEADER + "\n-1\n-1\n")
    with refused("Train_Set: no labelled frame with a picture", "frames marked -1 2"):
        affwild2.read(root, CFG)
    file.write_text(HEADER + "\n1\n1\n")
    with refused("no frames of neutral, disgust", "in train"):
        affwild2.read(root, CFG)
    lonely = annotate(root, "Train_Set", "video7", [1, 2])
    with refused("video7: no such folder", "00001.jpg"):
        affwild2.read(root, CFG)
    (root / "cropped_aligned" / "video7").mkdir()
    with refused("video7.txt: 2 lines of labels, but no picture 00001.jpg"):
        affwild2.read(root, CFG)
    picture(root / "cropped_aligned" / "video7" / "00000.jpg")
    with refused("video7: begins with 00000.jpg", "counted from 1"):
        affwild2.read(root, CFG)
    lonely.unlink()
    annotate(root, "Validation_Set", "video66_left", [1])
    file.write_text("\n".join([HEADER, *"0123456"]))
    with refused("Validation_Set", "video66_left is also annotated in Train_Set"):
        affwild2.read(root, CFG)
    file.unlink()
    with refused("Train_Set: no annotation in it", "expected a file <video>.txt"):
        affwild2.read(root, CFG)
    annotate(root, "Train_Set", "video66_left", [1], "EXPR_Recognition_Challenge")
    with refused("2 expression sets", "expected one"):
        affwild2.read(root, CFG)
    with refused("0 expression sets", "annotations/ with EXPR_Set"):
        affwild2.read(root / "cropped_aligned", CFG)


# Landmarks from files

def grid(n):
    """Point k is (3k, 1000 - k/2): every number says which it is."""
    return torch.stack([3. * torch.arange(n), 1000 - 0.5 * torch.arange(n)], -1)


def write_csv(path, head, rows, between=","):
    path.write_text("\n".join(([between.join(head)] if head else []) + [",".join(map(str, row)) for row in rows]) + "\n")
    return path


def test_landmarks_openface(tmp_path, device):
    """OpenFace: all x, then all y; eye_lmk_x_0 and X_0 are others; spaces after the commas; success 0 is no face."""
    head = ["frame", "confidence", "success", "eye_lmk_x_0", *(f"{c}_{k}" for c in "xy" for k in range(68)), "X_0"]
    points = grid(68)
    row = [0.98, 1, -5, *points[:, 0].tolist(), *points[:, 1].tolist(), -7]
    lost = [0.0, 0, 0, *[0.0] * 136, 0]
    got = read_landmarks(write_csv(tmp_path / "of.csv", head, [[1, *row], [2, *lost]], between=", ")).to(device)
    assert got.shape == (2, 68, 2) and got.dtype == torch.float32
    torch.testing.assert_close(got[0], points.to(device))
    assert got[1].isnan().all()


@pytest.mark.parametrize("n", [68, 51])
@pytest.mark.parametrize("head", [False, True])
@pytest.mark.parametrize("name", [False, True])
def test_landmarks_plain_csv(tmp_path, device, n, head, name):
    points = grid(n)
    rows = [([f"face{k}.jpg"] if name else []) + (points + k).flatten().tolist() for k in range(3)]
    titles = (["file"] if name else []) + [f"{c}{k}" for k in range(n) for c in "xy"] if head else None
    got = read_landmarks(write_csv(tmp_path / "plain.csv", titles, rows)).to(device)
    torch.testing.assert_close(got, torch.stack([points, points + 1, points + 2]).to(device))


def test_landmarks_pts_count_from_one(tmp_path, device):
    """The first pixel's centre is (1, 1) in a .pts file and (0, 0) here."""
    body = "\n".join(f"{3 * k + 1:.3f} {1001 - k / 2:.3f}" for k in range(68))
    (tmp_path / "face.pts").write_text(f"version: 1\nn_points:  68\n{{\n{body}\n}}\n")
    torch.testing.assert_close(read_landmarks(tmp_path / "face.pts").to(device), grid(68)[None].to(device))


@pytest.mark.parametrize("shape", [(68, 2), (5, 68, 2), (51, 2), (7, 51, 2)])
def test_landmarks_npy(tmp_path, device, shape):
    values = np.arange(math.prod(shape), dtype=np.float64).reshape(shape)
    np.save(tmp_path / "a.npy", values)
    got = read_landmarks(tmp_path / "a.npy").to(device)
    wanted = torch.arange(math.prod(shape), dtype=torch.float32, device=device).reshape(-1, *shape[-2:])
    torch.testing.assert_close(got, wanted)


def test_landmarks_refusals(tmp_path):
    def file(name, text):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    flat = ",".join(map(str, range(136)))
    head = ",".join(f"{c}{k}" for k in range(68) for c in "xy")
    with refused("none.csv: no such file"):
        read_landmarks(tmp_path / "none.csv")
    with refused("a.mat", "found the suffix '.mat'"):
        read_landmarks(file("a.mat", ""))
    with refused("a.csv: empty"):
        read_landmarks(file("a.csv", ""))
    with refused("no face in it"):
        read_landmarks(file("a.csv", head + "\n"))
    with refused("row 1 has 5 columns", "136 or 102"):
        read_landmarks(file("a.csv", "1,2,3,4,5\n"))
    with refused("the header names 0 points", "x_0 ... x_67"):
        read_landmarks(file("a.csv", "left,top\n1,2\n"))
    with refused("the header names 68 points and lacks y3"):
        read_landmarks(file("a.csv", head.replace("y3,", "z3,") + f"\n{flat}\n"))
    with refused("row 3 has 135 columns", "expected 136"):
        read_landmarks(file("a.csv", f"{head}\n{flat}\n{flat[2:]}\n"))
    with refused("row 2, column 2 is 'one'"):
        read_landmarks(file("a.csv", f"{head}\n" + flat.replace("0,1,", "0,one,", 1)))
    with refused("face 2 has 1 values that are not finite"):
        read_landmarks(file("a.csv", f"{flat}\n" + flat.replace("0,1,", "0,inf,", 1)))
    with refused("no block in braces"):
        read_landmarks(file("a.pts", "1 2\n"))
    with refused("point 2 is '3'"):
        read_landmarks(file("a.pts", "{\n1 2\n3\n}"))
    with refused("2 points", "expected 68"):
        read_landmarks(file("a.pts", "{\n1 2\n3 4\n}"))
    with refused("a.npy: not a whole .npy file"):
        read_landmarks(file("a.npy", "rubbish"))
    with refused("a.npy: not a whole .npy file"):
        read_landmarks(file("a.npy", ""))
    np.save(tmp_path / "a.npy", np.array([{"x": 1}], dtype=object), allow_pickle=True)
    with refused("a.npy: not a whole .npy file") as caught:
        read_landmarks(tmp_path / "a.npy")
    assert "pickle" not in str(caught.value)                    # numpy's own text would suggest it
    np.save(tmp_path / "a.npy", np.zeros((68, 3)))
    with refused("holds float64 (68, 3)", "(n, 68, 2)"):
        read_landmarks(tmp_path / "a.npy")
    np.save(tmp_path / "a.npy", np.zeros((4, 68, 2)))
    whole = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(whole[:-100])
    with refused("a.npy: not a whole .npy file"):
        read_landmarks(tmp_path / "a.npy")


# The crop

def face(n, left, right):
    """Landmarks whose eyes are six points around these two centres; the others lie far off and must not matter."""
    points = torch.full((n, 2), -500.)
    ring = torch.tensor([[-3., 0.], [-1., -1.], [1., -1.], [3., 0.], [1., 1.], [-1., 1.]])
    begin = {68: 36, 51: 19}[n]
    points[begin:begin + 6] = torch.tensor(left) + ring
    points[begin + 6:begin + 12] = torch.tensor(right) + ring
    return points


def dots(H, W, *centres, radius):
    """A black picture with a soft white dot at each (x, y)."""
    y, x = torch.meshgrid(torch.arange(H).float(), torch.arange(W).float(), indexing="ij")
    bright = sum(torch.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * radius ** 2)) for cx, cy in centres)
    return (255 * bright.clamp(max=1)).round().to(torch.uint8).expand(3, H, W)


def centre_of(crop, left, right):
    """Where the brightness of the columns from left to right has its centre: (x, y)."""
    part = crop[0].double()[:, left:right]
    x, y = torch.arange(left, right, device=crop.device).double(), torch.arange(len(part), device=crop.device).double()
    return (part.sum(0) @ x / part.sum()).item(), (part.sum(1) @ y / part.sum()).item()


@pytest.mark.parametrize("n", [68, 51])
@pytest.mark.parametrize("H, W, left, right, radius", [
    (150, 210, (80., 60.), (112., 60.), 2.),                     # level, at the crop's own scale
    (150, 210, (80., 70.), (110., 50.), 2.),                     # tilted upwards
    (150, 210, (180., 20.), (192., 36.), 2.),                    # tilted downwards, small, near a corner
    (90, 300, (240., 80.), (276., 80.), 2.),                     # the crop reaches below the picture
    (700, 500, (110., 300.), (330., 220.), 9.)])                 # shrunk 7.3 times
def test_crop_brings_the_eyes_to_their_place(device, n, H, W, left, right, radius):
    """Side 100: eyes at x = 34 and 66, y = 34 from the corner, that is 33.5, 65.5 and 33.5 counted in pixel centres."""
    crop = crop_aligned(dots(H, W, left, right, radius=radius).to(device), face(n, left, right).to(device), size=100)
    assert crop.shape == (3, 100, 100) and crop.dtype == torch.uint8 and crop.device.type == device.type
    assert centre_of(crop, 0, 50) == pytest.approx((33.5, 33.5), abs=0.1)
    assert centre_of(crop, 50, 100) == pytest.approx((65.5, 33.5), abs=0.1)


def test_crop_without_turning_or_scaling_copies_pixels(device):
    """Eyes 16 apart are 0.32 of a crop of 50: the scale is 1. The left one belongs at pixel (16.5, 16.5), so the crop begins
    at (46.5 − 16.5, 37.5 − 16.5) = (30, 21)."""
    picture = torch.randint(0, 256, (3, 90, 110), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    crop = crop_aligned(picture.to(device), face(68, (46.5, 37.5), (62.5, 37.5)), size=50)
    assert torch.equal(crop.cpu(), picture[:, 21:71, 30:80])


def test_crop_is_black_beyond_the_picture(device):
    white = torch.full((3, 40, 60), 255, dtype=torch.uint8, device=device)
    crop = crop_aligned(white, face(68, (2.5, 16.5), (18.5, 16.5)), size=50)       # begins at pixel -14, 0
    assert (crop[:, :40, :13] == 0).all() and (crop[:, :40, 15:] == 255).all() and (crop[:, 41:] == 0).all()


def test_crop_does_not_alias_when_it_shrinks(device):
    """Columns 0 255 0 255 ... shrunk four times must come out grey; picking one pixel in four would give black or white."""
    stripes = (255 * (torch.arange(400) % 2)).to(torch.uint8).expand(3, 400, 400).to(device)
    crop = crop_aligned(stripes, face(68, (160., 160.), (224., 160.)), size=50)
    assert 120 <= crop.min() and crop.max() <= 135


def test_crop_refusals():
    white = torch.full((3, 40, 60), 255, dtype=torch.uint8)
    with refused("uint8 (3, H, W)", "float32 (3, 40, 60)"):
        crop_aligned(white.float(), face(68, (1., 1.), (9., 1.)), 50)
    with refused("(68, 2) or (51, 2)", "(67, 2)"):
        crop_aligned(white, torch.zeros(67, 2), 50)
    with refused("0 pixels apart", "was one found in this picture?"):
        crop_aligned(white, face(68, (5., 5.), (5., 5.)), 50)
    with refused("nan pixels apart"):
        crop_aligned(white, torch.full((68, 2), math.nan), 50)
