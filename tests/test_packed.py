"""Pictures decoded once: the same pixels, one file named by content, and what stops it."""
import errno
import os
import re
import shutil
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.testing import assert_close
from torch.utils.data import DataLoader

from refnet.data import packed as home
from refnet.data.au_frames import Still
from refnet.data.packed import Row, packed
from refnet.data.samples import Collection, DataError, Drawn, Sample
from refnet.pictures import Clip, PictureError, write_picture

CLASSES = ("a", "b")


@pytest.fixture
def pictures(tmp_path):
    """Three pictures in colour, 9 × 7, 6 × 8 and 5 × 5."""
    rng = torch.Generator().manual_seed(0)
    for k, (H, W) in enumerate(((7, 9), (8, 6), (5, 5))):
        write_picture(torch.randint(0, 256, (3, H, W), generator=rng, dtype=torch.uint8), tmp_path / "set" / f"{k}.png")
    return tmp_path / "set"


def collection(folder, names=("0", "1", "2"), clip=Still):
    return Collection([Sample(f"s{n}", clip(str(folder / f"{n}.png")), {"expression": int(n) % 2}, f"p{n}", "train") for n in names],
                      CLASSES, ["set: three pictures"])


class Made:
    """A clip of one frame, which a function makes of its number k and the size."""

    def __init__(self, k, frame):
        self.k, self.frame = k, frame

    def __len__(self):
        return 1

    def raw(self):
        return bytes([self.k])

    def read(self, indices, size):
        return self.frame(self.k, size)


def files(folder):
    return sorted(p.name for p in folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize("clip", [Still, Clip])
def test_rows_are_the_decoded_pictures(pictures, tmp_path, clip, device):
    """Each row holds what its clip gives at 5 px; all else of the samples stays, and so do classes and the first line."""
    was = collection(pictures, clip=clip)
    now = packed(was, 5, str(tmp_path / "cache"))
    for a, b in zip(was.samples, now.samples, strict=True):
        assert isinstance(b.clip, Row) and b.clip.in_memory and len(b.clip) == 1
        got = b.clip.read([0], 5)
        assert got.shape == (1, 3, 5, 5) and got.dtype == torch.uint8 and got.is_contiguous()
        assert_close(got.to(device), a.clip.read([0], 5).to(device), rtol=0, atol=0)
        assert got.data_ptr() != home._opened(b.clip.path)[b.clip.k].ctypes.data       # a copy: the file's own may not be written to
        assert_close(b.clip.read([0, 0]).to(device), a.clip.read([0, 0], 5).to(device), rtol=0, atol=0)
        assert (a.id, a.target, a.subject, a.part) == (b.id, b.target, b.subject, b.part)
    assert now.classes == CLASSES and now.found[0] == "set: three pictures" and len(now.found) == 2
    there = re.escape(now.samples[0].clip.path)
    assert re.fullmatch(rf"packed: 3 pictures at 5 px, 0\.0 MB, in {there}, decoded in \d+ s", now.found[1])
    assert was.found == ["set: three pictures"]                  # what came in is as it was


def test_grey_keeps_one_channel(tmp_path, device):
    """A grey picture of 4 × 4: (1, 1, 4, 4) on disk, and three times the same when read."""
    shade = torch.arange(16, dtype=torch.uint8).view(4, 4) * 9
    write_picture(shade, tmp_path / "0.png")
    now = packed(collection(tmp_path, "0"), 4, str(tmp_path / "cache"), grey=True)
    clip = now.samples[0].clip
    stored = np.load(clip.path, allow_pickle=False)
    assert stored.shape == (1, 1, 4, 4) and stored.dtype == np.uint8 and stored[0, 0].tolist() == shade.tolist()
    got = clip.read([0, 0], 4)                                   # (2, 3, 4, 4)
    assert_close(got.to(device), shade.expand(2, 3, 4, 4).to(device), rtol=0, atol=0)
    got[0] = 0                                                   # what is read is the reader's own
    assert_close(clip.read([0])[0, 2].to(device), shade.to(device), rtol=0, atol=0)


def test_many_rows_keep_their_order(tmp_path, monkeypatch, device):
    """Picture k is of shade k; taken two at a time by threads of which the first is slow, row k still holds it."""
    monkeypatch.setattr(home, "TOGETHER", 2)
    def shade(k, size):
        time.sleep(.05 if k == 0 else 0)
        return torch.full((1, 3, size, size), k, dtype=torch.uint8)

    now = packed(Collection([Sample(str(k), Made(k, shade), {}) for k in range(11)], (), []), 2, str(tmp_path))
    got = torch.cat([s.clip.read([0], 2) for s in now.samples]).to(device)             # (11, 3, 2, 2)
    assert_close(got[:, 1, 0, 1], torch.arange(11, dtype=torch.uint8, device=device), rtol=0, atol=0)


def test_second_time_nothing_is_decoded(pictures, tmp_path, monkeypatch):
    """The line says "found", and no picture is read."""
    cache = str(tmp_path / "cache")
    first = packed(collection(pictures), 5, cache)
    monkeypatch.setattr(Still, "read", lambda *_: pytest.fail("decoded again"))
    again = packed(collection(pictures), 5, cache)
    assert [s.clip for s in again.samples] == [s.clip for s in first.samples] and again.found[1].endswith(".npy, found")
    assert packed(again, 5, cache) is again                      # rows are in memory


def test_the_name_is_the_content(pictures, tmp_path):
    """Order, size, channels, another picture and one more each give another file; the same set in another folder gives the same."""
    cache = tmp_path / "cache"

    def name(found, size=5, grey=False):
        return Path(packed(found, size, str(cache), grey).samples[0].clip.path).name

    first = name(collection(pictures))
    shutil.copytree(pictures, tmp_path / "moved")
    assert name(collection(tmp_path / "moved")) == first and len(files(cache)) == 1
    others = [name(collection(pictures, ("1", "0", "2"))), name(collection(pictures, ("0", "1"))), name(collection(pictures), 4),
              name(collection(pictures), grey=True)]
    write_picture(torch.zeros(3, 5, 5, dtype=torch.uint8), pictures / "2.png")
    others.append(name(collection(pictures)))
    assert len({first, *others}) == 6 and len(files(cache)) == 6


@pytest.mark.parametrize("harm", ["short", "long", "empty", "text", "dtype", "shape"])
def test_a_damaged_file_is_made_anew(pictures, tmp_path, harm, device):
    """Whatever is there under the name and is not whole gives way, and what is read is right."""
    first = packed(collection(pictures), 5, str(tmp_path / "cache"))
    path = Path(first.samples[0].clip.path)
    whole = path.read_bytes()
    first.samples[0].clip.read([0], 5)                           # this process has it open
    if harm in ("dtype", "shape"):
        with path.open("wb") as file:
            np.save(file, np.zeros((3, 3, 5, 5), np.int8) if harm == "dtype" else np.zeros((3, 5, 5, 3), np.uint8))
        assert path.stat().st_size == len(whole)                 # not to be told by its length
    else:
        path.write_bytes({"short": whole[:-1], "long": whole + b"0", "empty": b"", "text": b"x" * len(whole)}[harm])
    again = packed(collection(pictures), 5, str(tmp_path / "cache"))
    assert "decoded" in again.found[1] and path.read_bytes() == whole and files(path.parent) == [path.name]
    for a, b in zip(collection(pictures).samples, again.samples):
        assert_close(b.clip.read([0], 5).to(device), a.clip.read([0], 5).to(device), rtol=0, atol=0)


def test_a_picture_that_cannot_be_decoded_leaves_no_file(pictures, tmp_path):
    """A PNG cut in half: its id, its file, PictureError as it was. A missing one, DataError. No file of ours stays."""
    whole = (pictures / "1.png").read_bytes()
    (pictures / "1.png").write_bytes(whole[:len(whole) // 2])
    with pytest.raises(PictureError, match=r"^picture s1: .*1\.png: damaged or cut short"):
        packed(collection(pictures), 5, str(tmp_path / "cache"))
    (pictures / "1.png").unlink()
    with pytest.raises(DataError, match=r"^picture s1: .*1\.png cannot be read \(No such file"):
        packed(collection(pictures), 5, str(tmp_path / "cache"))

    def cells(k, size):
        raise DataError(f"{k} numbers, expected 2304")

    with pytest.raises(DataError, match="^picture c: 2 numbers, expected 2304$"):
        packed(Collection([Sample("c", Made(2, cells), {})], (), []), 5, str(tmp_path / "cache"))
    assert files(tmp_path / "cache") == []


def test_a_full_disk_is_said(pictures, tmp_path, monkeypatch):
    """The error names --cache, the size (3 · 3 · 400² = 1.44 MB) and the system's reason; neither file nor part stays."""
    def full(_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(home.os, "fsync", full)
    with pytest.raises(DataError, match=r"--cache .*cache: 1\.4 MB of decoded pictures cannot be written \(No space left.*make room"):
        packed(collection(pictures), 400, str(tmp_path / "cache"))
    assert files(tmp_path / "cache") == []
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match="--cache .*file: 0.0 MB"):
        packed(collection(pictures), 5, str(tmp_path / "file"))


def test_where_nothing_is_kept(pictures, tmp_path):
    """No folder, or more than `most` (3 · 3 · 5² = 225 bytes): the samples as they are and a line; 225 bytes are not above 225."""
    was = collection(pictures)
    none = packed(was, 5, "")
    assert none.samples is was.samples
    assert none.found[1] == "packed: no folder to keep decoded pictures in, so every epoch decodes anew"
    above = packed(was, 5, str(tmp_path / "cache"), most=224)
    assert above.samples is was.samples and files(tmp_path / "cache") == []
    huge = packed(was, 70_000, str(tmp_path / "cache"))          # 3 · 3 · 70000² = 44.1 GB
    assert huge.found[1] == "packed: 44 GB decoded: above 4.3 GB, so every epoch decodes anew"
    assert isinstance(packed(was, 5, str(tmp_path / "cache"), most=225).samples[0].clip, Row)


def test_only_single_pictures_from_elsewhere(pictures, tmp_path, device):
    """A folder of three frames stays a clip, and the line names it. A drawn picture stays in memory; where all are drawn: no line."""
    moving = Sample("moving", Clip(pictures), {})
    was = collection(pictures)
    got = packed(was._replace(samples=[*was.samples, moving]), 5, str(tmp_path / "cache"))
    assert got.samples[:3] == was.samples and files(tmp_path / "cache") == []
    assert got.found[1] == "packed: moving has 3 frames, and only single pictures are kept; every epoch decodes anew"
    drawn = Sample("drawn", Drawn(torch.zeros(1, 3, 5, 5, dtype=torch.uint8)), {})
    mixed = packed(was._replace(samples=[was.samples[0], drawn, was.samples[1]]), 5, str(tmp_path / "cache"))
    assert mixed.samples[1] is drawn and [mixed.samples[k].clip.k for k in (0, 2)] == [0, 1]
    assert_close(mixed.samples[2].clip.read([0], 5).to(device), was.samples[1].clip.read([0], 5).to(device), rtol=0, atol=0)
    only = was._replace(samples=[drawn])
    assert packed(only, 5, str(tmp_path / "cache")) is only


def test_a_row_gives_its_one_picture_at_its_one_size(pictures, tmp_path):
    """Another size, another frame and a file that is gone are refused."""
    clip = packed(collection(pictures), 5, str(tmp_path / "cache")).samples[2].clip
    with pytest.raises(DataError, match="packed at 5 px, asked for at 6; pack it at 6"):
        clip.read([0], 6)
    for indices in ([1], [-1], []):
        with pytest.raises(DataError, match="row 2: frames .* asked for"):
            clip.read(indices, 5)
    with pytest.raises(DataError, match="gone.npy: the packed pictures cannot be read"):
        Row(str(tmp_path / "gone.npy"), 0).read([0])


def test_a_long_decoding_is_announced(pictures, tmp_path, monkeypatch):
    """Of more than MANY pictures, once before it is done; not of few, and not when found."""
    told = []
    packed(collection(pictures), 4, str(tmp_path / "cache"), say=told.append)
    assert told == []
    monkeypatch.setattr(home, "MANY", 2)
    for _ in range(2):
        packed(collection(pictures), 5, str(tmp_path / "cache"), say=told.append)
    assert told == [f"packed: decoding 3 pictures to 5 px, this once; they are kept in {tmp_path / 'cache'}"]


def test_several_at_once(pictures, tmp_path, monkeypatch):
    """Four that all find nothing and write the same file: all read it, and no part stays."""
    monkeypatch.setattr(home, "_there", lambda *_: False)
    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(lambda _: packed(collection(pictures), 5, str(tmp_path / "cache")).samples, range(4)))
    assert all([s.clip for s in samples] == [s.clip for s in got[0]] for samples in got)
    assert files(tmp_path / "cache") == [Path(got[0][0].clip.path).name]


def test_the_file_is_opened_once_a_process(pictures, tmp_path, device):
    """Three rows, one opening; and rows travel to worker processes, where they read the same."""
    now = packed(collection(pictures), 5, str(tmp_path / "cache"))
    home._opened.cache_clear()
    here = torch.cat([s.clip.read([0], 5) for s in now.samples])                       # (3, 3, 5, 5)
    assert home._opened.cache_info().misses == 1
    there = DataLoader([s.clip for s in now.samples], batch_size=None, num_workers=1, collate_fn=lambda clip: clip.read([0], 5))
    assert_close(torch.cat(list(there)).to(device), here.to(device), rtol=0, atol=0)
