"""refnet/flow/pyramid.py: filters as matrices, and the pyramids made of them."""
import math

import pytest
import torch
import torch.nn.functional as F
from torch import tensor
from torch.testing import assert_close

from refnet.flow.pyramid import (BINOMIAL, Band, area_matrix, collapse, double, filter_matrix, gaussian, gaussian_pyramid, grey,
                                 halve, laplacian_pyramid, levels, resize_matrix)


def double_precision(*rows):
    return tensor(rows, dtype=torch.float64)


def test_gaussian_by_hand():
    """σ = 1, radius 1: 1 and twice e^−½ = 0.606531, divided by 2.213061."""
    assert_close(gaussian(1., 1), double_precision(.2740686, .4518628, .2740686), atol=1e-7, rtol=0)


@pytest.mark.parametrize("border, rows", [
    # taps (1, 2, 4) on pixels 0 1 2: what hangs over the edge falls back on it
    ("repeat", [[1 + 2, 4, 0], [1, 2, 4], [0, 1, 2 + 4]]),
    ("mirror", [[2, 4 + 1, 0], [1, 2, 4], [0, 1 + 4, 2]]),
    ("zero", [[2, 4, 0], [1, 2, 4], [0, 1, 2]])])
def test_a_filter_is_a_matrix(border, rows):
    """out[i] = 1·in[i−1] + 2·in[i] + 4·in[i+1]; mirror does not repeat the edge: in[−1] = in[1], in[3] = in[1]."""
    assert_close(filter_matrix(3, tensor([1., 2., 4.]), border), double_precision(*rows))


def test_mirror_goes_on_beyond_the_other_edge():
    """Two pixels a b and five taps: ... a b a b a ...; one pixel: everything is that pixel."""
    taps = tensor([1., 2., 4., 8., 16.])
    assert_close(filter_matrix(2, taps), double_precision([1 + 4 + 16, 2 + 8], [2 + 8, 1 + 4 + 16]))
    assert_close(filter_matrix(1, taps), double_precision([31]))


def test_every_second_pixel():
    """Five pixels keep 0, 2 and 4; four keep 0 and 2."""
    taps = tensor([1., 2., 4.])
    assert_close(filter_matrix(5, taps, "zero", every=2), filter_matrix(5, taps, "zero")[::2])
    assert filter_matrix(4, taps, every=2).shape == (2, 4)


def test_resize_by_hand():
    """From 4 to 2, centres .5 and 2.5: the mean of two pixels. From 2 to 3, centres −1/6 (the edge), ½ and 1 1/6."""
    assert_close(resize_matrix(4, 2), double_precision([.5, .5, 0, 0], [0, 0, .5, .5]))
    assert_close(resize_matrix(2, 3), double_precision([1, 0], [.5, .5], [0, 1]))


@pytest.mark.parametrize("n, m", [(7, 5), (5, 7), (64, 13), (13, 64), (9, 9)])
def test_resize_is_bilinear(n, m, device):
    x = torch.rand(1, 1, n, 3, dtype=torch.float64, device=device)
    wanted = F.interpolate(x, (m, 3), mode="bilinear", align_corners=False)
    assert_close(Band(resize_matrix(n, m), x).down(x), wanted)


def test_area_by_hand():
    """From 3 to 2: each new pixel covers one pixel and a half."""
    assert_close(area_matrix(3, 2), double_precision([2 / 3, 1 / 3, 0], [0, 1 / 3, 2 / 3]))
    assert_close(area_matrix(5, 5), torch.eye(5, dtype=torch.float64))


@pytest.mark.parametrize("n", [1, 7, 64, 65, 97, 200])
def test_a_band_is_its_matrix(n, device):
    """Blocks of rows change nothing, along either axis."""
    matrix = filter_matrix(n, tensor([3., 1., 4., 1., 5.]), "repeat")
    x = torch.rand(2, 3, n, 11, dtype=torch.float64, device=device)
    band, full = Band(matrix, x), matrix.to(device)
    assert_close(band.down(x), full @ x)
    assert_close(band.across(x.mT), x.mT @ full.mT)


def test_halve_by_hand(device):
    """One bright pixel in the middle of 5 × 5, kept rows and columns 0, 2, 4: taps 1/16, 6/16, 1/16 either way; the mirror
    shows pixel 2 twice to the corners, so 2/16 there."""
    x = torch.zeros(5, 5, dtype=torch.float64, device=device)
    x[2, 2] = 256
    assert_close(halve(x), tensor([[4., 12, 4], [12, 36, 12], [4, 12, 4]], dtype=torch.float64, device=device))


def test_double_by_hand(device):
    """1 0 in a row: zeros between give 1 0 0 0; (1 4 6 4 1)/8 makes 6/8, 4/8, 1/8 and, from the mirror of none, 0."""
    x = tensor([[1., 0.]], dtype=torch.float64, device=device)
    assert_close(double(x, (1, 4)), tensor([[.75, .5, .125, 0.]], dtype=torch.float64, device=device))


def mirrored(i, n):
    while not 0 <= i < n:
        i = -i if i < 0 else 2 * (n - 1) - i
    return i


@pytest.mark.parametrize("H, W", [(5, 8), (6, 7), (2, 3)])
def test_the_loop_twin(H, W, device):
    """Every tap in its own turn, rows and columns together."""
    x = torch.rand(H, W, dtype=torch.float64)
    h, w = math.ceil(H / 2), math.ceil(W / 2)
    down, up = torch.zeros(h, w, dtype=torch.float64), torch.zeros(H, W, dtype=torch.float64)
    for i in range(h):
        for j in range(w):
            down[i, j] = sum(BINOMIAL[p] * BINOMIAL[q] * x[mirrored(2 * i + p - 2, H), mirrored(2 * j + q - 2, W)]
                             for p in range(5) for q in range(5))
    for i in range(H):
        for j in range(W):
            for p in range(5):
                for q in range(5):
                    a, b = mirrored(i + p - 2, H), mirrored(j + q - 2, W)
                    up[i, j] += 4 * BINOMIAL[p] * BINOMIAL[q] * down[a // 2, b // 2] * (a % 2 == 0 and b % 2 == 0)
    assert_close(halve(x.to(device)), down.to(device))
    assert_close(double(down.to(device), (H, W)), up.to(device))


@pytest.mark.parametrize("size", [(6, 8), (5, 2), (1, 4)])
def test_a_constant_stays(size, device):
    """Weights of sum 1 keep a constant, to the edge and down to a single row."""
    x = torch.full(size, .7, dtype=torch.float64, device=device)
    assert_close(halve(x), x[::2, ::2])
    assert_close(double(halve(x), size), x)


@pytest.mark.parametrize("size", [(64, 64), (37, 50), (5, 9), (1, 7)])
def test_a_pyramid_adds_up_again(size, device):
    """Whatever the halvings lose is in the bands."""
    x = torch.rand(2, 3, *size, dtype=torch.float64, device=device)
    bands = laplacian_pyramid(x, 4)
    assert [b.shape[-2:] for b in bands] == [g.shape[-2:] for g in gaussian_pyramid(x, 4)]
    assert_close(collapse(bands), x, atol=1e-12, rtol=0)


def test_levels():
    """64 → 32 → 16 → 8 → 4 is five bands; 592 × 528 has eight; 4 pixels are not halved."""
    assert (levels((64, 64)), levels((592, 528)), levels((4, 100)), levels((5, 5))) == (5, 8, 1, 2)


def test_grey_by_hand(device):
    """A red, a green and a blue pixel, side by side: 0.299, 0.587, 0.114."""
    pixels = torch.eye(3, device=device)[None, :, None]                                          # (1, 3, 1, 3)
    assert_close(grey(pixels), tensor([[[[.299, .587, .114]]]], device=device))


def test_made_in_inference_mode_it_still_trains(device):
    """A band is kept for later; a gradient passes even where it was first made under inference mode."""
    with torch.inference_mode():
        halve(torch.ones(53, 59, device=device))
    x = torch.ones(53, 59, device=device, requires_grad=True)
    halve(x).sum().backward()
    assert_close(x.grad.sum(), tensor(27. * 30, device=device))


def test_what_does_not_fit(device):
    """A picture of another length, of whole numbers, or a mean over less than a pixel."""
    band = Band(filter_matrix(5, tensor([1., 2., 1.])), torch.empty(0, device=device))
    with pytest.raises(ValueError, match=r"this matrix takes 5 pixels, as floats; got 7 of \(7, 3\)"):
        band.down(torch.zeros(7, 3, device=device))
    with pytest.raises(ValueError, match="got 6 of"):
        band.across(torch.zeros(2, 6, device=device))
    with pytest.raises(ValueError, match="torch.int64"):
        halve(torch.zeros(4, 4, dtype=torch.long, device=device))
    with pytest.raises(ValueError, match="from 3 pixels to 4"):
        area_matrix(3, 4)


def test_an_unknown_border():
    with pytest.raises(ValueError, match="border is 'wrap'; it must be 'mirror', 'repeat' or 'zero'"):
        filter_matrix(3, tensor([1.]), "wrap")
