"""pictures.py: every format trap, every refusal, clips. The files are written here, by Pillow, in tmp_path."""
import os
import pickle
import shutil
import subprocess

import numpy as np
import pytest
import torch
from PIL import Image

from refnet.pictures import Clip, PictureError, fit, read_picture, write_animation, write_picture

RAMP = torch.arange(256, dtype=torch.uint8)


def frame(shade: int, width: int = 7, height: int = 5) -> Image.Image:
    return Image.new("RGB", (width, height), (shade, shade, shade))


def shades(video: torch.Tensor) -> list[int]:
    """The value of each frame's first dot."""
    return video[:, 0, 0, 0].tolist()


@pytest.fixture
def moving(device) -> torch.Tensor:
    """(4, 3, 5, 7): frames of two colours each, all different."""
    video = torch.zeros(4, 3, 5, 7, dtype=torch.uint8, device=device)
    for t in range(4):
        video[t, 0] = 60 * t
        video[t, 2, 2:] = 255 - 50 * t
    return video


@pytest.fixture
def no_ffmpeg(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path / "nothing_here"))


# What a viewer shows

def test_red_green_blue_in_this_order(tmp_path):
    """A picture 3 wide and 2 high: red, green, blue over black, grey, white."""
    image = Image.new("RGB", (3, 2))
    image.putdata([(255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0), (7, 7, 7), (255, 255, 255)])
    image.save(tmp_path / "a.png")
    got = read_picture(tmp_path / "a.png")
    assert got.dtype == torch.uint8 and got.is_contiguous()
    assert got.tolist() == [[[255, 0, 0], [0, 7, 255]], [[0, 255, 0], [0, 7, 255]], [[0, 0, 255], [0, 7, 255]]]


@pytest.mark.parametrize("name", ["ramp.png", "ramp.tif", "ramp.pgm"])
def test_16_bit_grey_stays_a_ramp(tmp_path, name):
    """65535 / 257 = 255, so k · 257 must come back as k; Pillow's own conversion saturates all but the first."""
    Image.fromarray((np.arange(256) * 257).astype(np.uint16)[None].repeat(2, 0)).save(tmp_path / name)
    got = read_picture(tmp_path / name)
    assert got.shape == (3, 2, 256)
    torch.testing.assert_close(got, RAMP.expand(3, 2, 256))


def test_16_bit_grey_is_rounded(tmp_path):
    """128 / 257 = 0.498 → 0, 129 / 257 = 0.502 → 1."""
    Image.fromarray(np.array([[128, 129, 65535]], np.uint16)).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png")[0].tolist() == [[0, 1, 255]]


def test_8_bit_grey_and_black_and_white(tmp_path):
    Image.fromarray(RAMP[None].numpy()).save(tmp_path / "grey.png")
    torch.testing.assert_close(read_picture(tmp_path / "grey.png"), RAMP.expand(3, 1, 256))
    Image.fromarray(np.array([[True, False]])).save(tmp_path / "bw.png")
    assert read_picture(tmp_path / "bw.png")[1].tolist() == [[255, 0]]


def test_numbers_without_a_known_range_are_refused(tmp_path):
    Image.fromarray(np.full((2, 3), 0.5, np.float32)).save(tmp_path / "float.tif")
    with pytest.raises(PictureError, match="float.tif: floating-point"):
        read_picture(tmp_path / "float.tif")
    Image.fromarray(np.full((2, 3), 70000, np.int32)).save(tmp_path / "int.tif")
    with pytest.raises(PictureError, match="from 70000 to 70000, expected 16 bits"):
        read_picture(tmp_path / "int.tif")


def test_exif_6_is_rotated(tmp_path):
    """Orientation 6: the camera lay on its side; the stored left column is the top row seen."""
    image = frame(200, width=32, height=16)
    image.paste((0, 0, 0), (0, 0, 16, 16))                                 # the left half black
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "a.jpg", exif=exif)
    got = read_picture(tmp_path / "a.jpg")
    assert got.shape == (3, 32, 16)
    assert got[:, :14].max() < 30 and got[:, 18:].min() > 170              # the top half black
    assert Clip(tmp_path / "a.jpg").read([0]).shape == (1, 3, 32, 16)


def test_palette_with_transparency_shows_white(tmp_path):
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 0])
    image.putdata([0, 1])
    image.save(tmp_path / "a.png", transparency=0)
    assert read_picture(tmp_path / "a.png")[:, 0].T.tolist() == [[255, 255, 255], [200, 100, 0]]


def test_half_transparent_is_mixed_with_white(tmp_path):
    """Black at alpha 51 of 255 is one fifth of black over white: 255 · 4/5 = 204."""
    Image.new("RGBA", (1, 1), (0, 0, 0, 51)).save(tmp_path / "a.png")
    assert read_picture(tmp_path / "a.png").flatten().tolist() == [204, 204, 204]
    Image.new("LA", (1, 1), (0, 51)).save(tmp_path / "b.png")
    assert read_picture(tmp_path / "b.png").flatten().tolist() == [204, 204, 204]


def test_a_gif_named_jpg_is_read_by_its_content(tmp_path):
    frame(90).save(tmp_path / "a.jpg", "GIF")
    assert read_picture(tmp_path / "a.jpg").unique().tolist() == [90]


def test_cmyk(tmp_path):
    Image.new("CMYK", (16, 16), (0, 0, 0, 255)).save(tmp_path / "a.jpg")
    assert read_picture(tmp_path / "a.jpg").max() < 10


# What is refused, by name

def test_a_cut_jpeg_is_refused(tmp_path):
    """Half of the file still passes Pillow's open() and verify(): only a full decoding tells."""
    noise = torch.randint(0, 256, (64, 64, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    whole = tmp_path / "whole.jpg"
    Image.fromarray(noise.numpy()).save(whole)
    cut = tmp_path / "cut.jpg"
    cut.write_bytes(whole.read_bytes()[:whole.stat().st_size // 2])
    with Image.open(cut) as image:
        image.verify()
    with pytest.raises(PictureError, match="cut.jpg: damaged or cut short"):
        read_picture(cut)
    with pytest.raises(PictureError, match="cut.jpg: damaged or cut short"):
        Clip([whole, cut]).read([0, 1])


@pytest.mark.parametrize("suffix", [".png", ".gif", ".bmp", ".tif", ".webp"])
@pytest.mark.parametrize("share", [0.3, 0.7])
def test_other_cut_files_are_refused(tmp_path, suffix, share):
    noise = torch.randint(0, 256, (40, 40, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    whole = tmp_path / f"whole{suffix}"
    Image.fromarray(noise.numpy()).save(whole)
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(whole.read_bytes()[:int(whole.stat().st_size * share)])
    with pytest.raises(PictureError, match=f"cut{suffix}: "):
        read_picture(cut)


def test_text_named_jpg_an_empty_file_a_folder_nothing(tmp_path):
    (tmp_path / "text.jpg").write_text("<html>404</html>")
    with pytest.raises(PictureError, match="text.jpg: not a picture .*<html>404"):
        read_picture(tmp_path / "text.jpg")
    (tmp_path / "empty.jpg").write_bytes(b"")
    with pytest.raises(PictureError, match="empty.jpg: is empty"):
        read_picture(tmp_path / "empty.jpg")
    with pytest.raises(PictureError, match="is a folder"):
        read_picture(tmp_path)
    with pytest.raises(PictureError, match="gone.jpg: does not exist"):
        read_picture(tmp_path / "gone.jpg")


def test_postscript_is_refused_and_nothing_is_started(tmp_path):
    frame(9).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.png")
    with pytest.raises(PictureError, match="a.png: not a picture in a format read here"):
        read_picture(tmp_path / "a.png")


@pytest.mark.parametrize("limit", [34, 10])
def test_a_picture_too_large_is_refused(tmp_path, monkeypatch, limit):
    """35 dots against a limit of 34, where Pillow only warns, and of 10, where it refuses by itself."""
    frame(9, 7, 5).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", limit)
    with pytest.raises(PictureError, match=f"a.png: more than {limit} pixels"):
        read_picture(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 35)
    assert read_picture(tmp_path / "a.png").shape == (3, 5, 7)


# fit

def test_fit_takes_the_centre_square(device):
    """9 wide, 3 high, thirds of 10, 20, 30: the middle third is left."""
    picture = torch.tensor([10, 20, 30], dtype=torch.uint8, device=device).repeat_interleave(3).expand(3, 3, 9)
    assert fit(picture, 5).unique().tolist() == [20]
    assert fit(picture.mT, 5).unique().tolist() == [20]


def test_fit_does_not_alias(device):
    """Stripes of 0 and 255, one dot wide, shrunk eight times, are an even grey; taking every eighth dot gives black."""
    picture = torch.zeros(3, 64, 64, dtype=torch.uint8, device=device)
    picture[:, :, 1::2] = 255
    small = fit(picture, 8).int()
    assert small.shape == (3, 8, 8)
    assert small.min() > 110 and small.max() < 145


# write_picture

def test_written_and_read_back(tmp_path, device):
    picture = torch.arange(105, dtype=torch.uint8, device=device).reshape(3, 5, 7)
    write_picture(picture, tmp_path / "new" / "a.png")
    torch.testing.assert_close(read_picture(tmp_path / "new" / "a.png"), picture.cpu())
    write_picture(torch.full((5, 7), 0.5, device=device), tmp_path / "b.jpg")                  # 0.5 · 255 = 127.5 → 128
    assert read_picture(tmp_path / "b.jpg").shape == (3, 5, 7)
    assert abs(int(read_picture(tmp_path / "b.jpg").float().mean()) - 128) <= 1
    write_picture(torch.tensor([[-0.5, 1.5]], device=device), tmp_path / "c.png")
    assert read_picture(tmp_path / "c.png")[0].tolist() == [[0, 255]]
    with Image.open(tmp_path / "b.jpg") as image:
        assert image.format == "JPEG"


def test_writing_refuses(tmp_path, device):
    with pytest.raises(PictureError, match=r"a.xyz: .*\.png or \.jpg.*'.xyz'"):
        write_picture(torch.zeros(3, 2, 2, device=device), tmp_path / "a.xyz")
    with pytest.raises(ValueError, match=r"got \(2, 5, 7\)"):
        write_picture(torch.zeros(2, 5, 7, device=device), tmp_path / "a.png")
    with pytest.raises(ValueError, match="divide by 255"):
        write_picture(torch.full((5, 7), 200.0, device=device), tmp_path / "a.png")
    with pytest.raises(ValueError, match="finite"):
        write_picture(torch.full((5, 7), float("nan"), device=device), tmp_path / "a.png")
    with pytest.raises(ValueError, match="torch.int64"):
        write_picture(torch.zeros(5, 7, dtype=torch.int64, device=device), tmp_path / "a.png")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("x")
    with pytest.raises(PictureError, match="a.png: cannot be written"):
        write_picture(torch.zeros(5, 7, device=device), tmp_path / "file" / "a.png")
    (tmp_path / "b.png").mkdir()
    with pytest.raises(PictureError, match="b.png: cannot be written"):
        write_picture(torch.zeros(5, 7, device=device), tmp_path / "b.png")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["b.png", "file"]


def test_a_failed_write_keeps_the_old_picture(tmp_path, device, monkeypatch):
    write_picture(torch.zeros(5, 7, device=device), tmp_path / "a.png")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(PictureError, match="a.png: cannot be written .No space left"):
        write_picture(torch.ones(5, 7, device=device), tmp_path / "a.png")
    assert [p.name for p in tmp_path.iterdir()] == ["a.png"]
    assert read_picture(tmp_path / "a.png").max() == 0


# Clips

def test_frames_go_by_number(tmp_path):
    """img2 before img10, which letters would turn round; hidden files and texts are no frames."""
    for n in (10, 2, 1, 46):
        frame(n).save(tmp_path / f"reg_img{n}.png")
    (tmp_path / "notes.txt").write_text("x")
    (tmp_path / "._reg_img3.png").write_bytes(b"\0")
    (tmp_path / "more.png").mkdir()
    clip = Clip(tmp_path)
    assert len(clip) == 4
    assert [clip.name(t) for t in range(4)] == ["reg_img1.png", "reg_img2.png", "reg_img10.png", "reg_img46.png"]
    assert shades(clip.read(range(4))) == [1, 2, 10, 46]
    assert shades(clip.read(torch.tensor([3, 0, 3]))) == [46, 1, 46]


def test_a_folder_decodes_only_what_is_asked(tmp_path):
    frame(1).save(tmp_path / "1.png")
    (tmp_path / "2.png").write_text("not a picture")
    frame(3).save(tmp_path / "3.png")
    clip = Clip(tmp_path)
    assert len(clip) == 3 and shades(clip.read([0, 2])) == [1, 3]
    with pytest.raises(PictureError, match="2.png: not a picture"):
        clip.read([1])


def test_a_list_of_pictures_keeps_its_order(tmp_path):
    for n in (1, 2):
        frame(n).save(tmp_path / f"{n}.png")
    clip = Clip([tmp_path / "2.png", str(tmp_path / "1.png")])
    assert shades(clip.read([0, 1])) == [2, 1] and clip.path == tmp_path
    with pytest.raises(PictureError, match="empty list"):
        Clip([])


@pytest.mark.parametrize("name, rate, told", [("a.gif", 10, 10), ("a.gif", 30, 1000 / 30), ("a.gif", 200, 50), ("a.png", 125, 125),
                                              ("a.webp", 200, 200)])
def test_an_animation_tells_its_rate(moving, tmp_path, name, rate, told):
    """A GIF frame lasts whole hundredths of a second: 1/30 s becomes 3, 1/200 s becomes 2, the least that viewers keep."""
    write_animation(moving, tmp_path / name, fps=rate)
    assert Clip(tmp_path / name).fps() == pytest.approx(told)


def test_where_no_rate_is_told(moving, tmp_path):
    """A folder and a still tell none; frames that do not last equally long, here two that were equal, are refused."""
    write_animation(moving, tmp_path / "frames", fps=10)
    assert Clip(tmp_path / "frames").fps() is None and Clip(tmp_path / "frames" / "00001.png").fps() is None
    write_animation(torch.cat([moving[:1], moving]), tmp_path / "held.png", fps=10)
    with pytest.raises(PictureError, match="held.png: its frames last 100 to 200 ms; give their rate"):
        Clip(tmp_path / "held.png").fps()


def test_names_that_no_system_takes(tmp_path):
    for read in (read_picture, Clip):
        with pytest.raises(PictureError, match="not a path that can be looked up"):
            read("x" * 300)
        with pytest.raises(PictureError):
            read("a\0b")
    with pytest.raises(PictureError, match="the name of the clip is empty"):
        Clip("")


def test_frames_of_differing_sizes(tmp_path):
    frame(1, 7, 5).save(tmp_path / "1.png")
    frame(2, 6, 5).save(tmp_path / "2.png")
    clip = Clip(tmp_path)
    with pytest.raises(PictureError, match="1.png is 7 × 5 and 2.png is 6 × 5; crop the frames alike"):
        clip.read([0, 1])
    assert clip.read([0, 1], size=4).shape == (2, 3, 4, 4)


def test_size_is_fit(tmp_path):
    noise = torch.randint(0, 256, (3, 9, 14), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    write_picture(noise, tmp_path / "1.png")
    torch.testing.assert_close(Clip(tmp_path).read([0], size=5)[0], fit(noise, 5))


def test_a_still_picture_is_a_clip_of_one(tmp_path):
    frame(5).save(tmp_path / "a.png")
    clip = Clip(str(tmp_path / "a.png"))
    assert len(clip) == 1 and clip.read([0, 0]).shape == (2, 3, 5, 7)
    with pytest.raises(PictureError, match=r"frame 1 asked for, counted from 0; it has 1 frames"):
        clip.read([1])
    with pytest.raises(PictureError, match="frame -1 asked for"):
        clip.read([-1])
    with pytest.raises(ValueError, match="no frame asked for"):
        clip.read([])


def test_no_frames(tmp_path):
    with pytest.raises(PictureError, match=f"{tmp_path.name}: no picture in this folder"):
        Clip(tmp_path)
    with pytest.raises(PictureError, match="gone: does not exist"):
        Clip(tmp_path / "gone")


@pytest.mark.parametrize("name", ["a.gif", "a.png", "a.webp", "frames"])
def test_animation_round_trip(tmp_path, moving, name):
    """Few colours, so GIF's palette keeps them all; WebP is lossy."""
    write_animation(moving, tmp_path / name, fps=10)
    clip = pickle.loads(pickle.dumps(Clip(tmp_path / name)))
    assert len(clip) == 4
    got = clip.read([3, 1, 3])
    wanted = moving.cpu()[[3, 1, 3]]
    if name == "a.webp":
        assert (got.int() - wanted.int()).abs().float().mean() < 40 and got[0, 0].float().mean() > got[1, 0].float().mean() + 60
    else:
        torch.testing.assert_close(got, wanted)
    assert clip.read([2], size=3).shape == (1, 3, 3, 3)


def test_frames_per_second_reach_the_file(tmp_path, moving):
    write_animation(moving, tmp_path / "a.gif", fps=10)
    with Image.open(tmp_path / "a.gif") as image:
        assert image.info["duration"] == 100


def test_animation_refuses(tmp_path, moving):
    with pytest.raises(PictureError, match="'.mp4'"):
        write_animation(moving, tmp_path / "a.mp4", fps=10)
    with pytest.raises(ValueError, match=r"got \(0, 3, 5, 7\)"):
        write_animation(moving[:0], tmp_path / "a.gif", fps=10)
    with pytest.raises(ValueError, match="fps must be .01 or more; got 0"):
        write_animation(moving, tmp_path / "a.gif", fps=0)
    write_animation(moving, tmp_path / "frames", fps=10)
    with pytest.raises(PictureError, match="frames: already holds pictures"):
        write_animation(moving, tmp_path / "frames", fps=10)


def test_the_second_picture_of_a_photograph_is_not_a_frame(tmp_path):
    """Telephones put a second picture into an MPO file; scanners several pages into a TIFF."""
    for name, kind in (("a.jpg", "MPO"), ("a.tif", "TIFF")):
        frame(10, 16, 16).save(tmp_path / name, kind, save_all=True, append_images=[frame(200, 16, 16)])
        clip = Clip(tmp_path / name)
        assert len(clip) == 1 and abs(shades(clip.read([0]))[0] - 10) < 3


def test_no_handle_is_kept(tmp_path, moving):
    """A file held open would warn here, and warnings are errors."""
    write_animation(moving, tmp_path / "a.gif", fps=10)
    clip = Clip(tmp_path / "a.gif")
    clip.read([0])
    (tmp_path / "a.gif").unlink()
    with pytest.raises(PictureError, match="a.gif: does not exist"):
        clip.read([0])


# Videos

def test_a_video_without_ffmpeg_says_how_to_make_frames(tmp_path, no_ffmpeg):
    video = tmp_path / "an1.AVI"
    video.write_bytes(b"RIFF")
    with pytest.raises(PictureError) as caught:
        Clip(video)
    frames = tmp_path / "an1"
    assert f'mkdir "{frames}" && ffmpeg -i "{video}" "{frames}/%05d.png"' in str(caught.value)


PROGRAM = """#!/bin/sh
case "$*" in
  *"file:"*"/two.avi"*"-f null"*) printf 'frame=1\\nprogress=continue\\nframe=6\\nprogress=end\\n' ;;
  *"file:"*"/two.avi"*"between(n,2,3)+between(n,5,5)"*"-frames:v 3"*)
    for k in 2 3 5; do printf "P6\\n2 1\\n255\\n$k$k$k$k$k$k"; done ;;
  *"file:"*"/two.avi"*) printf 'P6\\n2 1\\n255\\n22' ; echo 'one line' >&2 ; echo 'broken stream' >&2 ;;
  *) echo 'Invalid data found' >&2 ; exit 1 ;;
esac
"""


@pytest.fixture
def pretended(tmp_path, monkeypatch):
    """A program called ffmpeg that answers as the true one does: two.avi has six frames."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "ffmpeg").write_text(PROGRAM)
    (folder / "ffmpeg").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)
    for name in ("two.avi", "bad.avi"):
        (tmp_path / name).write_bytes(b"RIFF")
    return tmp_path


def test_a_video_is_read_through_ffmpeg(pretended):
    """The last frame= of the progress is the length; '2' is 50 in ASCII, '3' 51, '5' 53."""
    clip = pickle.loads(pickle.dumps(Clip(pretended / "two.avi")))
    assert len(clip) == 6
    assert clip.read([5, 2, 3, 2]).shape == (4, 3, 1, 2)
    assert shades(clip.read([5, 2, 3, 2])) == [53, 50, 51, 50]


def test_a_video_that_breaks_off_or_is_none(pretended):
    with pytest.raises(PictureError, match=r"two.avi: frame 0 cannot be decoded \(broken stream\)"):
        Clip(pretended / "two.avi").read([0])
    with pytest.raises(PictureError, match=r"bad.avi: ffmpeg finds no frame in it \(Invalid data found\)"):
        len(Clip(pretended / "bad.avi"))


@pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="the program ffmpeg is not here")
@pytest.mark.parametrize("rate", [12, 25, 60])
def test_true_ffmpeg(tmp_path, rate):
    """Frames of shade 10 t, at a rate below, at and above the 25 that the reader works with."""
    video = (torch.arange(20, dtype=torch.uint8) * 10)[:, None, None, None].expand(20, 3, 48, 64)
    write_animation(video, tmp_path / "frames", fps=rate)
    subprocess.run(["ffmpeg", "-v", "error", "-framerate", str(rate), "-i", str(tmp_path / "frames" / "%05d.png"),
                             "-c:v", "ffv1", str(tmp_path / "a.mkv")], check=True)
    clip = Clip(tmp_path / "a.mkv")
    assert len(clip) == 20
    assert all(abs(a - 10 * t) <= 2 for a, t in zip(shades(clip.read([19, 0, 7, 8, 7])), [19, 0, 7, 8, 7], strict=True))
