"""What Emotion-GCN reads: words, faces with level eyes, and labels of both kinds; tiny copies of each layout, written here."""
import math
import os
import re
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import tensor
from torch.testing import assert_close

from refnet.data import affectnet, affwild2
from refnet.data.faces import Face, Place
from refnet.data.landmarks import Aligned, Upright, crop_aligned, upright
from refnet.data.packed import packed
from refnet.data.samples import DataError
from refnet.data.word_vectors import BUILT_IN, WORDS, word_vectors
from refnet.pictures import Clip, fit, read_picture

SEVEN = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")
NODES = (*SEVEN, "valence", "arousal")


def refused(*words):
    """A DataError of one line that has all these words in it."""
    return pytest.raises(DataError, match="(?s)^(?!.*\n)" + "".join(f"(?=.*{re.escape(w)})" for w in words))


def text(path, *rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(row + "\n" for row in rows))
    return path


# Word vectors

LINES = ("the 0.5 0.25 -1", ", 1 2 3", "unhappy 9 9 9", "happy 0.1 -0.2 3e-1", "Sad 9 9 9", "sadness 9 9 9", "sad -4 .5 6.",
         "happy 9 9 9", "contemptuous 9 9 9", "contempt 7 8 9.5")


def test_the_nine_words_built_in(device):
    """emotiongcn (§III.B): a row for each node, in their order; the numbers from the lines of glove.6B.50d.txt."""
    Z = word_vectors(NODES).to(device)
    assert Z.shape == (9, 50) and Z.dtype == torch.float32
    first = [[0.10193, -0.31175], [0.092086, 0.2571], [0.63328, 0.45363], [0.069198, 0.35066]]
    assert_close(Z[[0, 1, 7, 8], :2], tensor(first, device=device))
    last = [0.54118, 0.87286, 0.74944, 0.24523, -0.55731, -1.0114, -0.91219, 0.40599, 0.44231]
    assert_close(Z[:, -1], tensor(last, device=device))
    assert len(BUILT_IN.read_bytes()) < 4000


def test_the_words_are_the_names_of_the_nodes(device):
    """§III.B.1 names the nodes Neutral, Happy, Sad, ...: happiness is looked up as happy. Taken as its own word, the first row would be
    missing; the order asked for counts."""
    assert tuple(WORDS) == NODES
    assert tuple(WORDS.values()) == ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "valence", "arousal")
    assert torch.equal(word_vectors(["Happy", "sadness", "happiness"]).to(device), word_vectors(NODES)[[1, 2, 1]].to(device))


def test_a_glove_file_by_hand(tmp_path, device):
    """Whole words: others begin or end alike, or are written otherwise; of a word that stands twice the first counts."""
    path = text(tmp_path / "glove.tiny.3d.txt", *LINES)
    assert_close(word_vectors(["sadness", "contempt", "happiness"], path).to(device),
                 tensor([[-4, .5, 6], [7, 8, 9.5], [.1, -.2, .3]], device=device))
    path.write_bytes(b"10 3\r\n" + path.read_bytes().replace(b"\n", b"\r\n").replace(b"sad -4 ", b"sad\t-4  "))      # word2vec's head
    assert_close(word_vectors(["sad", "happy"], str(path)).to(device), tensor([[-4, .5, 6], [.1, -.2, .3]], device=device))


def test_a_glove_file_is_read_no_further_than_needed(tmp_path, device):
    """Behind the last word wanted, and in the lines of others, anything may stand."""
    path = text(tmp_path / "glove.txt", "the 1 2", "of 1 2 3 4", "happy 3 4", "sad x y")
    assert_close(word_vectors(["happiness"], path).to(device), tensor([[3., 4.]], device=device))
    with refused("glove.txt: line 4: sad has 'x' among its numbers"):
        word_vectors(["happiness", "sadness"], path)


@pytest.mark.parametrize("line, words", [
    ("sad 1 2", ("line 7: sad has 2 numbers", "expected 3")), ("sad 1 2 3 4", ("line 7: sad has 4 numbers",)),
    ("sad", ("line 7: sad has 0 numbers",)), ("sad 1 two 3", ("line 7: sad has 'two' among",)),
    ("sad 1 nan 3", ("line 7: sad has 'nan' among",)), ("sad 1 2 1e40", ("'1e40'",)),
    ("so 1 2 3", ("no vector of sad;", "10 lines were read", "400,000"))])
def test_damaged_glove_files(tmp_path, line, words):
    path = text(tmp_path / "glove.txt", *LINES[:6], line, *LINES[7:])
    with refused("glove.txt", *words):
        word_vectors(["happiness", "sadness"], path)


def test_what_is_no_glove_file(tmp_path):
    with refused("emotion9.txt: no vector of contempt, awe;", "has neutral, happy, sad", "--glove"):
        word_vectors([*NODES, "contempt", "awe", "contempt"])
    with refused("gone.txt: no such file", "glove.6B.300d.txt", "nothing is ever downloaded"):
        word_vectors(NODES, tmp_path / "gone.txt")
    with refused("is a folder"):
        word_vectors(NODES, tmp_path)
    for content in (b"", b"\n\n", b"PK\x03\x04\0\0\0\n", b"neutral\nhappy\n", b"x " * 70000):
        (tmp_path / "glove.6B.zip").write_bytes(content)
        with refused("not a text of word vectors"):
            word_vectors(NODES, tmp_path / "glove.6B.zip")


def test_a_tensor_of_word_vectors(tmp_path, device):
    """As the authors keep theirs: rows in the order of the nodes, whatever the file's suffix."""
    Z = torch.arange(18.).reshape(9, 2)
    for name, stored in (("z.pt", Z), ("emb.pkl", Z.double())):
        torch.save(stored, tmp_path / name)
        assert_close(word_vectors(NODES, tmp_path / name).to(device), Z.to(device))
    for stored, words in ((Z[:8], "holds float32 (8, 2)"), (Z.long(), "holds int64 (9, 2)"), ({"Z": Z}, "holds a dict"),
                          (Z / 0, "not every number is finite")):
        torch.save(stored, tmp_path / "z.pt")
        with refused("z.pt: " + words, "expected a tensor (9, d), a row each of neutral, happy, sad"):
            word_vectors(NODES, tmp_path / "z.pt")
    (tmp_path / "z.pt").write_bytes(b"")
    with refused("z.pt: the file is empty"):
        word_vectors(NODES, tmp_path / "z.pt")
    with refused("none.pt: there is no such file"):
        word_vectors(NODES, tmp_path / "none.pt")


# Level eyes

def turned(face, degrees, about):
    """Points of a face (n, 2), turned clockwise as one sees it, about a point."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return tensor(face) @ tensor([[c, s], [-s, c]]) + tensor(about)


def marks(n, left, right, others=tensor([-500., 700.])):
    """Landmarks whose eyes are six points around these two centres; all others lie in one place, and must not matter with a box."""
    points = others.repeat(n, 1)
    ring = tensor([[-3., 0.], [-1., -1.], [1., -1.], [3., 0.], [1., 1.], [-1., 1.]])
    begin = {68: 36, 51: 19}[n]
    points[begin:begin + 6], points[begin + 6:begin + 12] = left + ring, right + ring
    return points


def dots(H, W, *centres, radius=1.5):
    """Black, with a soft dot at each (x, y): the first red, the second green, the third blue."""
    y, x = torch.meshgrid(torch.arange(H).float(), torch.arange(W).float(), indexing="ij")
    bright = [torch.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * radius ** 2)) for cx, cy in centres]
    return (255 * torch.stack(bright)).round().to(torch.uint8)


def centres(crop):
    """Where each channel has its centre: [(x, y), (x, y), (x, y)]"""
    n = torch.arange(crop.shape[-1], device=crop.device).double()
    return [((part.sum(0) @ n / part.sum()).item(), (part.sum(1) @ n / part.sum()).item()) for part in crop.double()]


@pytest.mark.parametrize("n", [68, 51])
def test_a_face_tilted_by_30_degrees_by_hand(device, n):
    """emotiongcn (§IV.B): θ = tan⁻¹(20 / 34.641) = 30°, in a picture 170 wide and 110 high.

    Eyes at (60, 40) and (94.641, 60), 40 apart; the box 80 × 80 at (40, 20), its middle (80, 60) from the picture's corner.
    The crop is 160, so the scale is 2. Seen from the box's middle the left eye is at (−19.5, −19.5): along the eyes
    −19.5 · .8660 − 19.5 · .5 = −26.638, across them 19.5 · .5 − 19.5 · .8660 = −7.138; in the crop's pixels
    80 − 53.275 − ½ = 26.225 and 80 − 14.275 − ½ = 65.225. The right one is 80 further on, at the same height. A spot in the
    middle of the box, pixel (79.5, 59.5), comes to the crop's middle, 79.5.

    Had only the box's corner turned, as in the authors' code, that spot would be off by 2 · |R(40, 40) − (40, 40)| = 58.6.
    """
    left, right = tensor([60., 40.]), tensor([94.641016, 60.])
    picture = dots(110, 170, left, right, (79.5, 59.5)).to(device)
    crop = upright(picture, marks(n, left, right).to(device), (40, 20, 80, 80), 160)
    assert crop.shape == (3, 160, 160) and crop.dtype == torch.uint8 and crop.device.type == device.type
    red, green, blue = centres(crop)
    assert red == pytest.approx((26.225, 65.225), abs=.1)
    assert green == pytest.approx((106.225, 65.225), abs=.1)
    assert blue == pytest.approx((79.5, 79.5), abs=.1)


@pytest.mark.parametrize("H, W", [(90, 240), (240, 90)])
@pytest.mark.parametrize("tilt", [0, -25, 80, 170, 200, -90])
def test_eyes_level_and_brows_above(device, H, W, tilt):
    """However a face lies: its eyes come out level, the left one left, its brow above them, and the middle of its box stays the middle.

    An angle told by the quotient alone takes 170° for −10°, and that of the person's right eye is half a turn more: both put the brow
    below. In a canvas whose width and height are swapped the face, at the picture's middle, would be lost in the black. The
    face is 24 from eye to eye, its brow 10 above; the box's middle is 8 below the eyes. In the crop of 48 × 48 the eyes' y is
    24 − 8 − ½, the brow's 10 less.
    """
    at = (W / 2 - 6, H / 2 + 5)
    left, right, brow, middle = turned([[-12., 0.], [12., 0.], [4., -10.], [0., 8.]], tilt, at)
    x, y = (middle + 0.5).tolist()
    red, green, blue = centres(upright(dots(H, W, left, right, brow).to(device), marks(68, left, right), (x - 24, y - 24, 48, 48), 48))
    assert red == pytest.approx((11.5, 15.5), abs=.1) and green == pytest.approx((35.5, 15.5), abs=.1)
    assert blue == pytest.approx((27.5, 5.5), abs=.1)


def test_a_level_box_of_the_crops_size_copies_pixels(device):
    """With landmarks that are level, and without any; numbers of the box need not be whole."""
    picture = torch.randint(0, 256, (3, 90, 110), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    level = marks(68, tensor([50.25, 40.5]), tensor([60.25, 40.5]))
    for points in (level, None):
        crop = upright(picture.to(device), points, (30, 21, 50, 50), 50)
        assert torch.equal(crop.cpu(), picture[:, 21:71, 30:80])
    half = upright(picture.to(device), None, (30.5, 21, 50, 50), 50)
    assert_close(half.float().cpu(), (picture[:, 21:71, 30:80].float() + picture[:, 21:71, 31:81].float()) / 2, atol=.5, rtol=0)


def test_both_sides_of_a_box_come_to_the_size(device):
    """A box 60 wide and 30 high in 30 × 30: each pixel is the mean of two side by side. A square around the box would keep the shape."""
    picture = torch.randint(0, 256, (3, 90, 110), generator=torch.Generator().manual_seed(1), dtype=torch.uint8)
    crop = upright(picture.to(device), None, (30, 21, 60, 30), 30).float().cpu()
    assert_close(crop, picture[:, 21:51, 30:90].float().unflatten(2, (30, 2)).mean(-1), atol=.51, rtol=0)
    stripes = (255 * (torch.arange(400) % 2)).to(torch.uint8).expand(3, 50, 400).to(device)
    crop = upright(stripes, None, (0, 0, 400, 50), 50)          # picking one column in eight would give black or white
    assert 120 <= crop.min() and crop.max() <= 135


def test_black_where_the_picture_ends(device):
    white = torch.full((3, 40, 60), 255, dtype=torch.uint8, device=device)
    crop = upright(white, None, (-10, 5, 50, 50), 50)
    assert (crop[:, :, :10] == 0).all() and (crop[:, 35:] == 0).all() and (crop[:, :35, 10:] == 255).all()


@pytest.mark.parametrize("n, side", [(68, 52.), (51, 66.)])
def test_without_a_box_a_square_around_the_points(device, n, side):
    """Points 40 wide and 20 high once their eyes are level: 1.3 · 40 = 52, or 1.65 · 40 = 66 where the jaw is missing; around their
    middle, 6 below the eyes."""
    picture = torch.randint(0, 256, (3, 130, 170), generator=torch.Generator().manual_seed(2), dtype=torch.uint8).to(device)
    for tilt in (0, 30, 200):
        left, right, *face, middle = turned([[-8., 0.], [8., 0.], [-20., -4.], [20., 6.], [0., 16.], [0., 6.]], tilt, (80., 60.))
        points = marks(n, left, right, face[0])
        points[:2] = torch.stack(face[1:])
        x, y = (middle + 0.5).tolist()
        box = (x - side / 2, y - side / 2, side, side)
        assert_close(upright(picture, points, None, 48).float(), upright(picture, points, box, 48).float(), atol=1, rtol=0)
        smaller = upright(picture, points, (x - side / 2 + 1, y - side / 2 + 1, side - 2, side - 2), 48)
        assert (upright(picture, points, None, 48).float() - smaller.float()).abs().mean() > 5


def test_upright_refusals():
    white, level = torch.full((3, 40, 60), 255, dtype=torch.uint8), marks(68, tensor([20., 20.]), tensor([30., 20.]))
    with refused("uint8 (3, H, W)", "float32 (3, 40, 60)"):
        upright(white.float(), None, (0, 0, 9, 9), 8)
    with refused("uint8 (3, H, W)", "uint8 (1, 40, 60)"):
        upright(white[:1], level, (0, 0, 9, 9), 8)
    with refused("(68, 2) or (51, 2)", "(67, 2)"):
        upright(white, level[:67], (0, 0, 9, 9), 8)
    with refused("0 pixels apart"):
        upright(white, torch.zeros(68, 2), None, 8)
    with refused("neither landmarks nor a box"):
        upright(white, None, None, 8)
    with refused("box, 9 × 9 at (70, 0), lies outside the picture, the picture is 60 × 40"):
        upright(white, level, (70, 0, 9, 9), 8)
    with refused("the face lies outside the picture", "60 × 40"):
        upright(white, level + 900, None, 8)
    with refused("the face's box, 241 × 9 at (0, 0), is far larger than the picture, 60 × 40"):
        upright(white, level, (0, 0, 241, 9), 8)
    for width in (0, -3, math.inf, math.nan):
        with refused(f"box is {width} × 9; expected"):
            upright(white, level, (0, 0, width, 9), 8)


def test_a_clip_is_turned_frame_by_frame(tmp_path, device):
    frames = torch.randint(0, 256, (3, 3, 60, 80), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    for t, frame in enumerate(frames):
        Image.fromarray(frame.movedim(0, -1).numpy()).save(tmp_path / f"img{t}.png")
    points = torch.stack([marks(68, tensor([30., 30. - 4 * t]), tensor([44., 30.]), others=tensor([37., 44.])) for t in range(3)])
    points[1] = math.nan
    clip = Upright(Clip(tmp_path), points)
    assert len(clip) == 3 and clip.name(2) == "img2.png"
    got = clip.read([2, 0], 24).to(device)
    assert torch.equal(got, torch.stack([upright(frames[t].to(device), points[t], None, 24) for t in (2, 0)]))
    for kind in (Upright, Aligned):
        with refused("no face was found in img1.png"):
            kind(Clip(tmp_path), points).read([0, 1], 24)


# Faces on disk

EYES = [(6.0, 7.0) if 36 <= k < 42 else (14.0, 8.5) if 42 <= k < 48 else (10.0, 12.25) for k in range(68)]


def picture(path, number=0, width=20, height=16):
    """A picture that no other number gives; kept without loss whatever its name says."""
    path.parent.mkdir(parents=True, exist_ok=True)
    y, x = np.mgrid[:height, :width]
    pixels = np.stack([12 * x % 256, 15 * y % 256, np.full_like(x, 5 * number % 256)], -1).astype(np.uint8)
    Image.fromarray(pixels).save(path, "PNG")
    return path


def test_a_face_with_level_eyes_is_cut_out_by_what_is_known(tmp_path, device):
    path = str(picture(tmp_path / "1.jpg", 1))
    whole, points, box = read_picture(path).to(device), tensor(EYES), (3, 2, 9, 11)
    there = Place(str(text(tmp_path / "list.csv", ";".join(f"{x:g};{y:g}" for x, y in EYES))), 1)
    for face, expected in ((Face(path, there, box, True), upright(whole, points, box, 12)),
                           (Face(path, None, box, True), upright(whole, None, box, 12)),
                           (Face(path, there, None, True), upright(whole, points, None, 12)),
                           (Face(path, None, None, True), fit(whole.cpu(), 12).to(device)),
                           (Face(path, there, box), crop_aligned(whole, points, 12))):
        assert torch.equal(face.read([0], 12)[0].to(device), expected)
    assert not torch.equal(Face(path, there, box, True).read([0], 12), Face(path, None, box, True).read([0], 12))
    with refused("1.jpg", "lies outside the picture", "20 × 16"):
        Face(path, there, (50, 2, 3, 4), True).read([0], 8)


def test_what_a_face_is_made_of_tells_how_it_is_cut(tmp_path):
    """As before where eyes do not matter: what was kept of such faces is found again."""
    path = picture(tmp_path / "1.jpg", 1)
    marks_file = Place(str(text(tmp_path / "list.csv", "1;2;3")), 1, 0, 5)
    face, box = Face(str(path), marks_file, (1, 2, 3, 4)), Face(str(path), None, (1, 2, 3, 4))
    assert face.raw() == path.read_bytes() + b"(b'1;2;3', (1, 2, 3, 4))" and box.raw() == path.read_bytes() + b"(None, (1, 2, 3, 4))"
    different = [face.raw(), box.raw(), Face(*face[:3], True).raw(), Face(*box[:3], True).raw()]
    assert len(set(different)) == 4 and all(raw.startswith(path.read_bytes()) for raw in different)


# AffectNet

AFFECTNET = "subDirectory_filePath,face_x,face_y,face_width,face_height,facial_landmarks,expression,valence,arousal"


def affectnet_tree(root, head=AFFECTNET):
    """Seven rows each, a code a row; the third lacks landmarks, the fourth its box, the fifth both. validation.csv has no header."""
    for stem, header in (("training", head), ("validation", "")):
        rows = []
        for code in range(7):
            points = "" if code in (2, 4) else ";".join(f"{x:g};{y:g}" for x, y in EYES)
            rows.append(f"600/{stem[0]}{code}.jpg,{'0,0,0,0' if code in (3, 4) else '3,2,9,11'},{points},{code},{code / 10 - .3:.1f},-0.06")
            picture(root / "Manually_Annotated_Images" / "600" / f"{stem[0]}{code}.jpg", code)
        text(root / "Manually_Annotated_file_lists" / f"{stem}.csv", *[header] * bool(header), *rows)
    return root


def test_affectnet_with_level_eyes(tmp_path, device):
    """The same samples with and without; only how a face is cut out differs, and the line that says so."""
    root = affectnet_tree(tmp_path)
    got = affectnet.read(root, SimpleNamespace(classes=SEVEN, align=True))
    before = affectnet.read(root, SimpleNamespace(classes=SEVEN))
    assert got.found[3] == ("AffectNet: faces cut out: turned until the eyes are level, then by the box 8, "
                            "turned until the eyes are level, then around the landmarks 2, by the face's box 2, the picture's centre square 2")
    assert before.found[3] == "AffectNet: faces cut out: by landmarks 10, by the face's box 2, the picture's centre square 2"
    assert affectnet.read(root, SimpleNamespace(classes=SEVEN, align=False)) == before
    assert [(s.id, s.target, s.part) for s in got.samples] == [(s.id, s.target, s.part) for s in before.samples]
    assert got.samples[8].id == "validation/600/v1" and got.samples[8].target == {"expression": 1, "va": (-.2, -.06)}
    assert got.found[4] == "AffectNet: valence and arousal given for 14 of 14"
    for k, (points, box) in ((8, (tensor(EYES), (3, 2, 9, 11))), (2, (None, (3, 2, 9, 11))), (10, (tensor(EYES), None))):
        expected = upright(read_picture(got.samples[k].clip.path).to(device), points, box, 14)
        assert torch.equal(got.samples[k].clip.read([0], 14)[0].to(device), expected)
    kept, other = (packed(found, 14, str(tmp_path / "cache")) for found in (got, before))       # one must not find the other's
    assert kept.samples[0].clip.path != other.samples[0].clip.path
    assert torch.equal(kept.samples[8].clip.read([0], 14), got.samples[8].clip.read([0], 14))


# Aff-Wild2 with valence and arousal

EXPR, VA = "Neutral,Anger,Disgust,Fear,Happiness,Sadness,Surprise", "valence,arousal"


def annotate(root, kind, split, name, rows, head=None):
    return text(root / "annotations" / kind / split / f"{name}.txt", head or (VA if kind.startswith("VA") else EXPR), *map(str, rows))


def wild(root, expr="EXPR_Set", va="VA_Set", head=None):
    """video66_left trains, 1-30-1280x720 is the test, and its VA lies in the other split. Frame k's valence is k / 100.

    video66_left: 14 frames; 3 is -1, 4 has no valence, 5 too large an arousal, 8 no picture, and VA ends with 12.
    """
    annotate(root, expr, "Train_Set", "video66_left", [0, 1, -1, 3, 4, 2, 3, 3, 4, 5, 6, 0, 1, 2], head)
    lines = {4: "-5,-5", 5: "0.5,1.001"}
    annotate(root, va, "Train_Set", "video66_left", [lines.get(k, f"{k / 100},-0.5") for k in range(1, 13)])
    annotate(root, expr, "Validation_Set", "1-30-1280x720", range(7), head)
    annotate(root, va, "Train_Set", "1-30-1280x720", ["-1,1", "1,-1", "0,0", "0.602,0.389", " -0.2 , 0.1", "0,0", "0,0", "9,9"])
    for name, last in (("video66_left", 14), ("1-30-1280x720", 9)):
        for k in range(1, last + 1):
            if k != 8:
                picture(root / "cropped_aligned" / name / f"{k:05d}.jpg", k)
    return root


def test_affwild2_both_by_hand(tmp_path, device):
    """Frame k is line k under both headers, and picture k, whatever is missing before it."""
    got = affwild2.read_both(wild(tmp_path), SimpleNamespace(classes=SEVEN))
    assert got.classes == SEVEN
    train = [(s.id, SEVEN[s.target["expression"]], s.target["va"]) for s in got.samples if s.part == "train"]
    assert train == [("video66_left/00001", "neutral", (.01, -.5)), ("video66_left/00002", "anger", (.02, -.5)),
                     ("video66_left/00006", "disgust", (.06, -.5)), ("video66_left/00007", "fear", (.07, -.5)),
                     ("video66_left/00009", "happiness", (.09, -.5)), ("video66_left/00010", "sadness", (.10, -.5)),
                     ("video66_left/00011", "surprise", (.11, -.5)), ("video66_left/00012", "neutral", (.12, -.5))]
    test = [s for s in got.samples if s.part == "report"]
    assert [s.target["va"] for s in test] == [(-1, 1), (1, -1), (0, 0), (.602, .389), (-.2, .1), (0, 0), (0, 0)]
    assert {s.subject for s in got.samples} == {"video66", "1-30-1280x720"}
    for s in (got.samples[2], got.samples[4], test[0]):
        path = tmp_path / "cropped_aligned" / f"{s.id}.jpg"
        assert len(s.clip) == 1 and s.clip.raw() == path.read_bytes()
        assert torch.equal(s.clip.read([0], 16)[0].to(device), fit(read_picture(path), 16).to(device))


def test_affwild2_both_counts_what_is_left_out(tmp_path):
    """Each line of an expression is a sample or counted once: 14 + 7 + 3 + 2 = 8 + 7 + 1 + 1 + 6 + 2 + 1. The six without valence are
    two behind the last line of video66_left, and those of the two videos without a file."""
    head, expr, va = EXPR + ",Other", "EXPR_Recognition_Challenge", "VA_Estimation_Challenge"
    root = wild(tmp_path, expr, va, head)
    annotate(root, expr, "Train_Set", "video7", [1, 7, 2], head)                         # no pictures either; 7 is Other
    annotate(root, expr, "Validation_Set", "video8", [1, 2], head)
    annotate(root, va, "Validation_Set", "video9", ["0,0"])
    picture(root / "cropped_aligned" / "video11" / "00001.jpg")
    got = affwild2.read_both(root, SimpleNamespace(classes=SEVEN))
    assert got.found == [
        "Aff-Wild2: EXPR_Recognition_Challenge and VA_Estimation_Challenge: train 2 videos",
        "Aff-Wild2: EXPR_Recognition_Challenge and VA_Estimation_Challenge: report 2 videos",
        "Aff-Wild2: train 8 frames; neutral 2, happiness 1, sadness 1, surprise 1, fear 1, disgust 1, anger 1",
        "Aff-Wild2: report 7 frames; neutral 1, happiness 1, sadness 1, surprise 1, fear 1, disgust 1, anger 1",
        "Aff-Wild2: left out: frames marked -1 1, frames labelled Other 1, frames without valence and arousal 6, "
        "frames with valence or arousal outside [-1, 1] 2, labelled frames without a picture 1, pictures after the last line 1, "
        "videos without annotation 1, videos without valence and arousal 2, videos without expressions 1"]


def test_affwild2_by_both_readers(tmp_path):
    """Without valence and arousal the same frames, and more: `read` is as it was."""
    root = wild(tmp_path)
    one = affwild2.read(root, SimpleNamespace(T=1, dilation=3, classes=SEVEN))
    two = affwild2.read_both(root, SimpleNamespace(classes=SEVEN))
    assert {s.id for s in two.samples} < {s.id for s in one.samples} and len(one.samples) == len(two.samples) + 4
    assert all(s.target.keys() == {"expression"} for s in one.samples)


@pytest.mark.parametrize("bad", ["0.5", "0.5,0.1,0.2", "0.5,x", "", "0.5 0.1"])
def test_affwild2_a_damaged_line_is_named(tmp_path, bad):
    file = annotate(wild(tmp_path), "VA_Set", "Train_Set", "video66_left", ["0.1,0.2", "0.1,0.2", bad, "0.1,0.2"])
    with refused(f"{file}: line 4 is {bad!r}", "two numbers such as 0.602,0.389"):
        affwild2.read_both(tmp_path, SimpleNamespace(classes=SEVEN))


def test_affwild2_both_refusals(tmp_path):
    cfg, root = SimpleNamespace(classes=SEVEN), wild(tmp_path)
    double = annotate(root, "VA_Set", "Validation_Set", "video66_left", ["0,0"])
    with refused(f"{double}: video66_left is also annotated in Train_Set", "remove one file"):
        affwild2.read_both(root, cfg)
    double.unlink()
    file = root / "annotations" / "VA_Set" / "Train_Set" / "video66_left.txt"
    for content, words in (("0.1,0.2\n0.1,0.2\n", ("line 1 is '0.1,0.2'", "the header valence,arousal")),
                           ("arousal,valence\n0.1,0.2\n", ("line 1 is 'arousal,valence'",)), (f"{VA}\n", ("nothing under the header",))):
        file.write_text(content)
        with refused(str(file), *words):
            affwild2.read_both(root, cfg)
    file.write_text(f"{VA}\n-5,-5\n")
    with refused("Train_Set: no labelled frame with a picture", "frames without valence and arousal 12", "outside [-1, 1] 1"):
        affwild2.read_both(root, cfg)
    (root / "annotations" / "VA_Set").rename(root / "annotations" / "later")
    with refused("0 valence-arousal sets (none)", "VA_Set or VA_Estimation_Challenge"):
        affwild2.read_both(root, cfg)
    (root / "annotations" / "VA_Set").mkdir()
    with refused("VA_Set: no annotation in Train_Set or Validation_Set"):
        affwild2.read_both(root, cfg)


def test_affwild2_both_in_linear_time(tmp_path, monkeypatch):
    """40,000 frames take half a second; looking each up in a list would take a minute. No picture is opened: there is none."""
    n, there = 20000, os.listdir
    names = [f"{k:05d}.jpg" for k in range(1, n + 1)]
    for split, name in (("Train_Set", "a"), ("Validation_Set", "b")):
        annotate(tmp_path, "EXPR_Set", split, name, [k % 7 for k in range(n)])
        annotate(tmp_path, "VA_Set", split, name, ["0.5,-0.25"] * n)
        (tmp_path / "cropped_aligned" / name).mkdir(parents=True)
    monkeypatch.setattr(os, "listdir", lambda folder: names if os.path.basename(folder) in "ab" else there(folder))
    began = time.monotonic()
    got = affwild2.read_both(tmp_path, SimpleNamespace(classes=SEVEN))
    assert len(got.samples) == 2 * n and got.samples[-1].id == "b/20000" and time.monotonic() - began < 15
