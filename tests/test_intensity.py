"""Frame selection and landmark patches, by hand and against a loop."""
import math

import numpy as np
import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from refnet.flow.intensity import (box_mask, flow_intensity, flow_magnitude, high_intensity, landmark_patches, three_frames,
                                   triples)


def ramp(device, dtype=torch.float32):
    """A clip (1, 3, 2, 2, 4): the flow of frame t at (x, y) is t·(x + 4y)·(3/5, 4/5), so its magnitude is t·(x + 4y)."""
    base = torch.arange(8, dtype=dtype, device=device).view(2, 4)
    size = torch.arange(3, dtype=dtype, device=device)[:, None, None] * base         # (3, 2, 4)
    return torch.stack([size * 3 / 5, size * 4 / 5], 1)[None]


def test_magnitude_three_four_five(device):
    assert_close(flow_magnitude(tensor([3., -4.], device=device).view(2, 1, 1)), tensor([[5.]], device=device))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_intensity_of_the_whole_picture(device, dtype):
    """The mean of 0 ... 7 is 3½, times t."""
    assert_close(flow_intensity(ramp(device, dtype)), tensor([[0., 3.5, 7.]], dtype=dtype, device=device))


def test_intensity_in_a_box(device):
    """x from 1 up to but not 3, y = 1: magnitudes 5 and 6, mean 5½; the same region as a mask."""
    box = tensor([[1., 1., 3., 2.]], device=device)
    expected = tensor([[0., 5.5, 11.]], device=device)
    assert_close(flow_intensity(ramp(device), box=box), expected)
    assert box_mask(box, (2, 4)).int().tolist() == [[[0, 0, 0, 0], [0, 1, 1, 0]]]
    assert_close(flow_intensity(ramp(device), mask=tensor([[[0, 0, 0, 0], [0, 7, 1, 0]]], device=device)), expected)


def test_intensity_with_a_mask_for_each_frame(device):
    mask = torch.zeros(1, 3, 2, 4, device=device)
    mask[0, 0, 0, 0], mask[0, 1, 0, 1], mask[0, 2, 1, 3] = 1, 1, 1
    assert_close(flow_intensity(ramp(device), mask=mask), tensor([[0., 1., 14.]], device=device))


def test_intensity_around_landmarks(device):
    """Patches 2 × 2 around (1, 1) read 0, 1, 4, 5, mean 2½; around (3, 1): 2, 3, 6, 7, mean 4½; together 3½ ·t; alone 2½ ·t."""
    points = tensor([[[1., 1.], [3., 1.]]], device=device)
    assert_close(flow_intensity(ramp(device), points=points, size=2), tensor([[0., 3.5, 7.]], device=device))
    assert_close(flow_intensity(ramp(device), points=points[:, :1], size=2), tensor([[0., 2.5, 5.]], device=device))
    moving = points[:, None, :1] + tensor([[0., 0.], [0., 0.], [2., 0.]], device=device)[None, :, None]   # (1, 3, 1, 2)
    assert_close(flow_intensity(ramp(device), points=moving, size=2), tensor([[0., 2.5, 9.]], device=device))


def test_smooth_over_three_frames(device):
    """(0, 3½, 7): the ends have two frames, 1¾ and 5¼, the middle three, 3½. One frame, the default, changes nothing."""
    assert_close(flow_intensity(ramp(device), smooth=3), tensor([[1.75, 3.5, 5.25]], device=device))
    spike = torch.zeros(1, 3, 2, 2, 4, device=device)
    spike[:, 1, 0] = 6
    assert_close(flow_intensity(spike), tensor([[0., 6., 0.]], device=device))
    assert_close(flow_intensity(spike, smooth=3), tensor([[3., 2., 3.]], device=device))


def test_intensity_one_clip_or_two(device):
    torch.manual_seed(0)
    flow = torch.randn(2, 3, 2, 5, 7, device=device)
    box = tensor([[1., 0., 4., 3.], [2., 2., 7., 5.]], device=device)
    assert_close(flow_intensity(flow, box=box), torch.cat([flow_intensity(flow[i:i + 1], box=box[i:i + 1]) for i in range(2)]))


def test_threshold_by_hand(device):
    """m = (1, 2, 3, 4, 10): mean 4, reached by 4 itself and by 10; 3 joins them as the third strongest."""
    m = tensor([1., 2., 3., 4., 10.], device=device)
    assert high_intensity(m).int().tolist() == [0, 0, 1, 1, 1]


def test_reaching_the_mean_is_enough(device):
    """m = (0, 4, 4, 4, 8), mean 4: the three 4s are kept. With > only the 8 would be, and least would add two of them."""
    assert high_intensity(tensor([0., 4., 4., 4., 8.], device=device)).int().tolist() == [0, 1, 1, 1, 1]


def test_sd_is_the_population_s(device):
    """m = (2, 2, 2, 8, 8, 8, 8, 8, 8, 12): mean 6.6, sd √(Σ(m − 6.6)²/10) = √(10.44) = 3.2311; the sample's is √11.6 = 3.4059.

    Σ = 3·4.6² + 6·1.4² + 5.4² = 63.48 + 11.76 + 29.16 = 104.4. At k = 0.42 the thresholds are 7.957 and 8.030, so the 8s
    stay with the population's sd and fall with the sample's.
    """
    m = tensor([2., 2, 2, 8, 8, 8, 8, 8, 8, 12], device=device)
    assert high_intensity(m, k=0.42).int().tolist() == [0, 0, 0, 1, 1, 1, 1, 1, 1, 1]
    assert high_intensity(m, k=0.45).int().tolist() == [0, 0, 0, 1, 1, 0, 0, 0, 0, 1]


def test_fraction_of_the_largest(device):
    """Half of 10 is 5, reached by 5, 7, 10 and 6."""
    m = tensor([1., 5., 7., 10., 6., 4.], device=device)
    assert high_intensity(m, fraction=0.5).int().tolist() == [0, 1, 1, 1, 1, 0]
    assert high_intensity(m, fraction=0.0).all() and high_intensity(m, fraction=1.0).int().tolist() == [0, 0, 1, 1, 1, 0]


@pytest.mark.parametrize("n, value, dtype", [(3, 0.1, torch.float32), (7, 0.1, torch.float32), (31, 0.7, torch.float64),
                                             (5, 0., torch.float32)])
def test_all_equal_are_all_kept(device, n, value, dtype):
    """The mean of n equal numbers may round above them; the threshold must not."""
    assert high_intensity(torch.full((n,), value, dtype=dtype, device=device)).all()


def test_ties_go_to_the_earlier_frame(device):
    """One frame reaches the mean; of the four equal ones the first two join it."""
    assert high_intensity(tensor([1., 1., 9., 1., 1.], device=device)).int().tolist() == [1, 1, 1, 0, 0]
    m = torch.ones(200, device=device)
    m[150] = 1000.
    assert high_intensity(m, least=5).nonzero().flatten().tolist() == [0, 1, 2, 3, 150]


def test_first_strongest_last(device):
    """Frames 1, 2, 4 and 5 of six are kept, 4 the strongest."""
    m = tensor([0., 4., 6., 1., 9., 5.], device=device)
    keep = tensor([0, 1, 1, 0, 1, 1], device=device).bool()
    assert three_frames(m, keep) == (1, 4, 5)


def test_strongest_at_an_end(device):
    """The strongest first or last kept: it stays there, and the next strongest between is the middle."""
    keep = torch.ones(5, dtype=torch.bool, device=device)
    assert three_frames(tensor([9., 5., 1., 7., 8.], device=device), keep) == (0, 3, 4)
    assert three_frames(tensor([1., 5., 7., 2., 9.], device=device), keep) == (0, 2, 4)
    assert three_frames(tensor([3., 3., 3., 3., 3.], device=device), keep) == (0, 1, 4)


def test_triples_of_kept_frames(device):
    keep = tensor([1, 0, 1, 1, 1], device=device).bool()
    assert triples(keep).tolist() == [[0, 2, 3], [2, 3, 4]]
    assert triples(keep[:4]).tolist() == [[0, 2, 3]]


def test_patch_by_hand(device):
    """A 4 × 5 picture of numbers 10y + x, a landmark at (3, 2), size 2: rows 1, 2 and columns 2, 3."""
    picture = (10 * torch.arange(4.)[:, None] + torch.arange(5.)).to(device)[None]
    assert landmark_patches(picture, tensor([[[3., 2.]]], device=device), 2).tolist() == [[[[12., 13.], [22., 23.]]]]


def test_even_patch_reaches_further_left(device):
    """Ten: from x − 5 to x + 4, y − 5 to y + 4."""
    picture = (100 * torch.arange(20.)[:, None] + torch.arange(30.)).to(device)[None]
    patch = landmark_patches(picture, tensor([[[12., 9.]]], device=device))[0, 0]
    assert patch.shape == (10, 10)
    assert [patch[0, 0].item(), patch[0, -1].item(), patch[-1, 0].item(), patch[-1, -1].item()] == [407., 416., 1307., 1316.]


def test_halves_are_rounded_up(device):
    """0.5, 1.5, 2.5 become 1, 2, 3, one apart; to the even neighbour they would be 0, 2, 2. And −0.5 becomes 0."""
    picture = torch.arange(8.).expand(3, 8).to(device)[None]
    x = tensor([0.5, 1.5, 2.5, -0.5, 4.49], device=device)
    points = torch.stack([x, torch.ones_like(x)], 1)[None]
    assert landmark_patches(picture, points, 1).flatten().tolist() == [1., 2., 3., 0., 4.]


@pytest.mark.parametrize("size", [1, 2, 5, 10])
def test_patches_against_a_loop(device, size):
    """Landmarks inside, on every border, and far outside."""
    torch.manual_seed(0)
    magnitude = torch.rand(2, 7, 11, dtype=torch.float64)
    points = torch.rand(2, 9, 2, dtype=torch.float64) * 30 - 10
    points[0, :4] = tensor([[0., 0.], [10., 6.], [-1e12, 3.], [4.5, 1e12]])
    expected = np.zeros((2, 9, size, size))
    for b in range(2):
        for n in range(9):
            x, y = (math.floor(float(v) + 0.5) for v in points[b, n])
            for i in range(size):
                for j in range(size):
                    row, column = y - size // 2 + i, x - size // 2 + j
                    expected[b, n, i, j] = magnitude[b, min(max(row, 0), 6), min(max(column, 0), 10)]
    found = landmark_patches(magnitude.to(device), points.to(device), size)
    assert_close(found.cpu(), torch.from_numpy(expected), rtol=0, atol=0)


def test_patches_pass_gradients_on(device):
    magnitude = torch.rand(1, 4, 5, device=device, requires_grad=True)
    landmark_patches(magnitude, tensor([[[2., 2.], [0., 0.]]], device=device), 2).sum().backward()
    assert magnitude.grad[0].tolist() == [[4., 0, 0, 0, 0], [0, 1., 1., 0, 0], [0, 1., 1., 0, 0], [0, 0, 0, 0, 0]]


@pytest.mark.parametrize("call, says", [
    (lambda d: flow_intensity(torch.zeros(1, 3, 2, 9, 9, device=d), points=torch.zeros(1, 0, 2, device=d)), r"points are \(1, 0, 2\)"),
    (lambda d: flow_intensity(torch.zeros(1, 3, 2, 9, 9, device=d), points=torch.zeros(1, 3, 4, 3, device=d)), r"points are \(1, 3, 4, 3\)"),
    (lambda d: high_intensity(torch.ones(5, device=d), k=math.nan), "k is nan; expected a finite number"),
    (lambda d: flow_intensity(torch.zeros(1, 2, 5, 7, device=d)), "flow is .*expected"),
    (lambda d: flow_intensity(torch.zeros(1, 3, 2, 5, 7, device=d), smooth=2), "smooth is 2"),
    (lambda d: flow_intensity(torch.full((1, 3, 2, 5, 7), math.nan, device=d)), "flow: found NaN"),
    (lambda d: flow_intensity(torch.zeros(1, 3, 2, 5, 7, device=d, dtype=torch.int64)), "flow: found torch.int64"),
    (lambda d: flow_intensity(torch.zeros(1, 3, 2, 5, 7, device=d), box=tensor([[0, 0, 9, 9]], device=d),
                              mask=torch.ones(1, 5, 7, device=d)), "box and mask are given"),
    (lambda d: flow_intensity(torch.zeros(1, 3, 2, 5, 7, device=d), box=tensor([[3, 3, 3, 4]], device=d)), "box leaves no pixel"),
    (lambda d: flow_intensity(torch.zeros(1, 3, 2, 5, 7, device=d), box=tensor([[0, 0, 3]], device=d)), "box is"),
    (lambda d: flow_intensity(torch.zeros(1, 3, 2, 5, 7, device=d), mask=torch.ones(1, 7, 5, device=d)), "the region is"),
    (lambda d: flow_intensity(torch.zeros(1, 3, 2, 5, 7, device=d), points=torch.ones(2, 4, 2, device=d)), "points are"),
    (lambda d: high_intensity(tensor([1., 2.], device=d)), "m has 2 frames"),
    (lambda d: high_intensity(torch.ones(2, 5, device=d)), "m is"),
    (lambda d: high_intensity(torch.ones(5, device=d), least=2), "least is 2"),
    (lambda d: high_intensity(torch.ones(5, device=d), fraction=1.5), "fraction is 1.5"),
    (lambda d: high_intensity(torch.ones(5, device=d), k=1., fraction=.5), "k is 1.0 and fraction is 0.5"),
    (lambda d: high_intensity(tensor([1., -2., 3.], device=d)), "negative"),
    (lambda d: high_intensity(tensor([1., math.nan, 3.], device=d)), "m: found NaN"),
    (lambda d: three_frames(torch.ones(4, device=d), tensor([True, True, False, False], device=d)), "keep holds 2 frames"),
    (lambda d: three_frames(torch.ones(5, device=d), torch.ones(4, dtype=torch.bool, device=d)), "expected both"),
    (lambda d: triples(tensor([1, 1, 1], device=d)), "keep is torch.int64"),
    (lambda d: landmark_patches(torch.ones(5, 7, device=d), torch.ones(1, 3, 2, device=d)), "magnitude is"),
    (lambda d: landmark_patches(torch.ones(2, 5, 7, device=d), torch.ones(1, 3, 2, device=d)), "points are"),
    (lambda d: landmark_patches(torch.ones(1, 5, 7, device=d), torch.ones(1, 3, 2, device=d), 0), "size is 0"),
    (lambda d: landmark_patches(torch.ones(1, 5, 7, device=d), torch.full((1, 3, 2), math.nan, device=d)), "points: found NaN"),
])
def test_refuses(device, call, says):
    with pytest.raises(ValueError, match=says):
        call(device)
