"""The colour wheel of flow, and flows as files."""
import struct

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from refnet.flow.wheel import flow_colours, hues, with_key
from refnet.pictures import PictureError, read_flow, write_flow


def colour(dx, dy, full=1., device="cpu"):
    return flow_colours(tensor([dx, dy], device=device)[None, :, None, None], full)[0, :, 0, 0]


def test_the_wheel_by_hand():
    """Red at 0; 15 steps to yellow, the fifth of them (1, 5/15, 0); 6 to green; 4 to cyan; 11 to blue; 13 to magenta; 6 home."""
    wheel = hues()
    assert wheel.shape == (55, 3)
    for index, rgb in {0: (1, 0, 0), 5: (1, 1 / 3, 0), 15: (1, 1, 0), 21: (0, 1, 0), 25: (0, 1, 1), 36: (0, 0, 1), 49: (1, 0, 1),
                       52: (1, 0, .5)}.items():
        assert_close(wheel[index], tensor(rgb, dtype=torch.float32))


def test_directions_by_hand(device):
    """Right is red, hue 0. Down is a quarter turn, hue 13.75: (1, 13.75/15, 0). Left is hue 27.5, 2.5 of 11 from cyan to blue.
    Up is hue 41.25, 5.25 of 13 from blue to magenta."""
    line = lambda *v: tensor(v, device=device)
    assert_close(colour(1., 0., device=device), line(1., 0, 0))
    assert_close(colour(0., 1., device=device), line(1, 13.75 / 15, 0))
    assert_close(colour(-1., 0., device=device), line(0, 1 - 2.5 / 11, 1))
    assert_close(colour(0., -1., device=device), line(5.25 / 13, 0, 1))


def test_distance_by_hand(device):
    """Nothing moves: white. Half of full, to the right: halfway from white to red. Farther than full: three quarters of red."""
    line = lambda *v: tensor(v, device=device)
    assert_close(colour(0., 0., device=device), line(1., 1, 1))
    assert_close(colour(2., 0., full=4., device=device), line(1, .5, .5))
    assert_close(colour(5., 0., full=4., device=device), line(.75, 0, 0))


def test_what_is_not_known_is_black(device):
    assert_close(colour(float("nan"), 0., device=device), torch.zeros(3, device=device))
    assert_close(colour(1., float("inf"), device=device), torch.zeros(3, device=device))


@pytest.mark.parametrize("H", [8, 90, 400])
def test_the_key_stands_beside_the_picture(H, device):
    """The picture is untouched; beside it is white but for the disc, red at its right, yellow below, and the words under it."""
    picture = torch.rand(3, H, 30, device=device)
    out = with_key(picture, 1.5)
    side = out.shape[-1] - 30
    words = round(1.6 * max(10, H // 28))
    assert side >= max(round(.25 * H), 30) and out.shape[1] == max(H, side + words)
    assert_close(out[:, :H, :30], picture)
    disc, label = out[:, -side - words:-words, 30:], out[:, -words:, 30:]
    assert (disc[:, 0, 0] == 1).all()
    left, middle, right = (round((v + 1.1) / 2.2 * (side - 1)) for v in (-.95, 0, .95))
    assert disc[0, middle, right] > .8 and disc[1, middle, right] < .3
    assert disc[:, middle, middle].min() > .8
    assert disc[2, right, middle] < .3 and disc[:2, right, middle].min() > .8                      # down: yellow
    assert disc[2, left, middle] > .8 and disc[1, left, middle] < .3                               # up: blue-violet
    rim = round((side - 1) / 2 * (1 - .5 ** .5 / 1.1)) - 1                                         # just outside, on the diagonal
    assert (disc[:, rim, rim] == 1).all()
    assert label.min() < .3 and label.mean() > .6
    assert (with_key(picture, 2.5)[:, -words:, 30:] != label).any()


@pytest.mark.parametrize("flow, full, message", [(torch.zeros(2, 3, 3), 1., r"flow must be \(B, 2, H, W\); got \(2, 3, 3\)"),
                                                 (torch.zeros(1, 2, 3, 3), 0., "full is 0.0; it must be above 0 pixels, and finite"),
                                                 (torch.zeros(1, 2, 3, 3), float("inf"), "full is inf")])
def test_refuses(flow, full, message):
    with pytest.raises(ValueError, match=message):
        flow_colours(flow, full)


def test_a_flo_file_by_hand(tmp_path):
    """Two pixels wide, one high: PIEH (202021.25 as float32), 2, 1, then (1, −2) and (0.5, 1e10: not known)."""
    path = tmp_path / "a.flo"
    write_flow(tensor([[[1., .5]], [[-2., float("nan")]]]), path)
    assert path.read_bytes() == struct.pack("<fiiffff", 202021.25, 2, 1, 1., -2., .5, 1e10)
    back = read_flow(path)
    assert_close(back, tensor([[[1., float("nan")]], [[-2., float("nan")]]]), equal_nan=True)


def test_flow_there_and_back(tmp_path):
    flow = torch.randn(2, 5, 7)
    write_flow(flow, tmp_path / "a.flo")
    assert (read_flow(tmp_path / "a.flo") == flow).all()


def test_half_a_flow_is_no_flow(tmp_path):
    """One component NaN in a file of another program: neither is known."""
    (tmp_path / "a.flo").write_bytes(struct.pack("<fiiffff", 202021.25, 2, 1, float("nan"), 1., 2., 3.))
    assert_close(read_flow(tmp_path / "a.flo"), tensor([[[float("nan"), 2.]], [[float("nan"), 3.]]]), equal_nan=True)


@pytest.mark.parametrize("data, message", [
    (b"PNG.....", "not a .flo file; it begins with b'PNG.'"), (b"", "not a .flo file; it begins with b''"),
    (b"PIEH", "damaged or cut short"), (struct.pack("<fiif", 202021.25, 2, 1, 0.), "its head says 2 × 1 pixels, so 12 bytes and 8 a pixel, and it has 16"),
    (struct.pack("<fii", 202021.25, -2, -1), "damaged or cut short")])
def test_broken_flo_files(data, message, tmp_path):
    (tmp_path / "a.flo").write_bytes(data)
    with pytest.raises(PictureError, match=message):
        read_flow(tmp_path / "a.flo")


def test_flo_needs_its_name_and_shape(tmp_path):
    with pytest.raises(PictureError, match="flows are written as .flo; got the suffix '.png'"):
        write_flow(torch.zeros(2, 3, 3), tmp_path / "a.png")
    with pytest.raises(ValueError, match=r"a flow is \(2, H, W\); got \(3, 3\)"):
        write_flow(torch.zeros(3, 3), tmp_path / "a.flo")
    with pytest.raises(PictureError, match="cannot be read"):
        read_flow(tmp_path / "none.flo")
