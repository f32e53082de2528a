"""Registration, against maps that are known: pictures are a formula f(x, y), so a moved one is the formula at moved points."""
import math
from dataclasses import replace

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from refnet.data.drawn_faces import draw
from refnet.data.drawn_plan import plan
from refnet.data.landmarks import APART, DOWN, crop_aligned
from refnet.flow.affine import after, fit_affine, fit_similarity, grid, inverse, sample, transform, warp
from refnet.flow.registration import STABLE, align_eyes, lucas_kanade, phase_correlation, register

H, W = 72, 90
BLOBS = [(x, y, 4 + (7 * k) % 5, .3 + .15 * (k % 4))                      # centre, width, height, scattered by hand
         for k, (x, y) in enumerate([(20, 15), (48, 12), (75, 20), (33, 30), (60, 34), (15, 42), (42, 48), (70, 52), (25, 62),
                                     (54, 66), (85, 65), (5, 22), (-4, 55), (92, 40), (40, -3), (64, 76)])]


def picture(points):
    """A smooth made-up scene at points (N, 2), from −½ to about 1."""
    x, y = points.unbind(-1)
    out = 0.1 * torch.sin(0.11 * x + 0.07 * y)
    for cx, cy, width, height in BLOBS:
        out = out + height * torch.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * width ** 2))
    return out - 0.4


def moved(matrix, size=(H, W), dtype=torch.float32):
    """The scene after a map, second(q) = f(matrix⁻¹ q), exact to rounding: matrix (2, 3) → (1, H, W)"""
    at = transform(grid(size, matrix), inverse(matrix))
    return picture(at).view(1, *size).to(dtype)


def about_the_middle(degrees, scale, dx, dy, device):
    """A turn and a scale about the picture's middle, then a shift: (2, 3) float64"""
    a, b = scale * math.cos(math.radians(degrees)), scale * math.sin(math.radians(degrees))
    cx, cy = (W - 1) / 2, (H - 1) / 2
    return tensor([[a, -b, cx - a * cx + b * cy + dx], [b, a, cy - b * cx - a * cy + dy]], dtype=torch.float64, device=device)


def unmoved(device):
    return about_the_middle(0, 1, 0, 0, device)


def affine(device):
    """3°, then a shear of .04 and 5 % taller, and a shift."""
    out = about_the_middle(3, 1, 4.3, -3.6, device)
    out[0, 1] += .04
    out[1, 1] += .05
    out[:, 2] -= tensor([.04, .05], dtype=out.dtype, device=device) * (H - 1) / 2
    return out


def farthest(found, truth):
    """The largest distance, over all pixels, between where two maps take them, in pixels."""
    pixels = grid((H, W), truth)
    return float((transform(pixels, found.double()) - transform(pixels, truth)).norm(dim=-1).max())


# ---- matrices

def test_transform_by_hand(device):
    """[[0, −1, 10], [2, 0, 20]] takes (3, 4) to (−4 + 10, 6 + 20) = (6, 26)."""
    M = tensor([[[0., -1., 10.], [2., 0., 20.]]], device=device)
    assert transform(tensor([[[3., 4.]]], device=device), M).tolist() == [[[6., 26.]]]
    assert transform(tensor([[[6., 26.]]], device=device), inverse(M)).tolist() == [[[3., 4.]]]


def test_after_does_the_first_first(device):
    """First a quarter turn, (1, 0) → (0, 1), then a shift by (5, 0): (5, 1). The other way round it would be (0, 6)."""
    turn = tensor([[0., -1., 0.], [1., 0., 0.]], device=device)
    shift = tensor([[1., 0., 5.], [0., 1., 0.]], device=device)
    one = tensor([[1., 0.]], device=device)
    assert transform(one, after(shift, turn)).tolist() == [[5., 1.]]
    assert transform(one, after(turn, shift)).tolist() == [[0., 6.]]


def test_inverse_undoes(device):
    torch.manual_seed(0)
    M = torch.randn(5, 2, 3, dtype=torch.float64, device=device)
    assert_close(after(M, inverse(M)), torch.eye(2, 3, dtype=torch.float64, device=device).expand(5, 2, 3))


# ---- landmarks

def test_similarity_of_two_points(device):
    """The docstring's: (0, 0) → (1, 1), (2, 0) → (1, 5): a quarter turn, twice the size, and the shift (1, 1)."""
    M = fit_similarity(tensor([[[0., 0.], [2., 0.]]], device=device), tensor([[[1., 1.], [1., 5.]]], device=device))
    assert_close(M, tensor([[[0., -2., 1.], [2., 0., 1.]]], device=device))


def test_similarity_of_three_points_that_do_not_fit(device):
    """p = (0, 0), (3, 0), (0, 3) → q = (0, 0), (3, 0), (0, 6).

    Means (1, 1) and (1, 2); p' = (−1, −1), (2, −1), (−1, 2); q' = (−1, −2), (2, −2), (−1, 4).
    Σ|p'|² = 2 + 5 + 5 = 12;  Σ p'·q' = 3 + 6 + 9 = 18, a = 1½;  Σ p'×q' = (2 − 1) + (−4 + 2) + (−4 + 2) = −3, b = −¼.
    t = (1, 2) − (1½ + ¼, −¼ + 1½) = (−¾, ¾).
    """
    M = fit_similarity(tensor([[[0., 0.], [3., 0.], [0., 3.]]], device=device),
                       tensor([[[0., 0.], [3., 0.], [0., 6.]]], device=device))
    assert_close(M, tensor([[[1.5, 0.25, -0.75], [-0.25, 1.5, 0.75]]], device=device))


def test_similarity_never_mirrors(device):
    """A triangle with legs 4 and 2, and its mirror image: diag(−1, 1) would fit, but it is no turn.

    About their means, in thirds, p' = (−4, −2), (8, −2), (−4, 4): Σ pₓ² = 96, Σ p_y² = 24, Σ pₓp_y = 8 − 16 − 16 = −24.
    a = (−96 + 24) / 120 = −0.6,  b = 2·(−24) / 120 = −0.4.
    """
    p = tensor([[[0., 0.], [4., 0.], [0., 2.]]], device=device)
    M = fit_similarity(p, p * tensor([-1., 1.], device=device))
    assert_close(M[0, :, :2], tensor([[-.6, .4], [-.4, -.6]], device=device))


def test_affine_of_three_points(device):
    """(0, 0), (1, 0), (0, 1) → (5, 6), (7, 7), (4, 9): the columns are the differences, (2, 1) and (−1, 3)."""
    M = fit_affine(tensor([[[0., 0.], [1., 0.], [0., 1.]]], device=device), tensor([[[5., 6.], [7., 7.], [4., 9.]]], device=device))
    assert_close(M, tensor([[[2., -1., 5.], [1., 3., 6.]]], device=device))


def test_affine_of_four_points_that_do_not_fit(device):
    """The corners of a square, one moved by 4: A changes by 4·p'ᵀ/Σp'², t with it.

    p = (±1, ±1), q = p but (1, 1) → (5, 1): q̄ = (1, 0), Σ p'p'ᵀ = 4 I, Σ q'p'ᵀ = 4 I + [[4, 4], [0, 0]]: A = [[2, 1], [0, 1]].
    """
    p = tensor([[[1., 1.], [-1., 1.], [1., -1.], [-1., -1.]]], device=device)
    q = p.clone()
    q[0, 0, 0] = 5
    assert_close(fit_affine(p, q), tensor([[[2., 1., 1.], [0., 1., 0.]]], device=device))


@pytest.mark.parametrize("fit", [fit_similarity, fit_affine])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_fits_recover_a_map(device, fit, dtype):
    torch.manual_seed(0)
    p = torch.rand(3, 8, 2, dtype=torch.float64, device=device) * 200 + 100
    M = torch.stack([about_the_middle(d, s, 7, -3, device) for d, s in ((5, 1.), (-40, .5), (170, 2.))])
    found = fit(p.to(dtype), transform(p, M).to(dtype))
    assert found.dtype == dtype
    error = (transform(p, found.double()) - transform(p, M)).abs().max()
    assert error < (1e-3 if dtype == torch.float32 else 1e-10)
    assert_close(found, torch.cat([fit(p[i:i + 1].to(dtype), transform(p, M)[i:i + 1].to(dtype)) for i in range(3)]))


@pytest.mark.parametrize("fit", [fit_similarity, fit_affine])
def test_weight_0_is_not_there_and_2_counts_twice(device, fit):
    torch.manual_seed(0)
    p, q = torch.randn(2, 2, 6, 2, dtype=torch.float64, device=device)
    w = tensor([1., 1., 2., 1., 0., 1.], dtype=torch.float64, device=device).expand(2, 6)
    some = [0, 1, 2, 2, 3, 5]
    assert_close(fit(p, q, w), fit(p[:, some], q[:, some]))
    assert not torch.allclose(fit(p, q, w), fit(p, q))


def test_fits_pass_gradients_on(device):
    torch.manual_seed(0)
    p, q = torch.randn(2, 1, 5, 2, dtype=torch.float64, device=device).unbind(0)
    for fit in (fit_similarity, fit_affine):
        assert torch.autograd.gradcheck(fit, (p.requires_grad_(), q.requires_grad_()))


# ---- warp

def test_sample_between_pixels(device):
    """[[0, 10], [20, 60]] at (¼, 0): 2½; at (0, ½): 10; at (¼, ½): half of 2½ and 30, 16¼; at (3, 1): the edge, or nothing."""
    image = tensor([[[[0., 10.], [20., 60.]]]], device=device)
    at = tensor([[[.25, 0.], [0., .5], [.25, .5], [3., 1.], [1.5, 0.]]], device=device)
    assert sample(image, at).flatten().tolist() == [2.5, 10., 16.25, 60., 10.]
    assert sample(image, at, "zeros").flatten().tolist() == [2.5, 10., 16.25, 0., 5.]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_identity_changes_no_bit(device, dtype):
    torch.manual_seed(0)
    image = torch.rand(2, 3, 5, 7, dtype=dtype, device=device)
    assert_close(warp(image, torch.eye(2, 3, dtype=dtype, device=device).expand(2, 2, 3)), image, rtol=0, atol=0)


def test_warp_moves_by_the_matrix(device):
    """The shift (2, 1) takes the lone pixel at (x, y) = (1, 2) to (3, 3), in a picture grown to 5 × 6."""
    image = torch.zeros(1, 1, 4, 5, device=device)
    image[0, 0, 2, 1] = 7
    out = warp(image, tensor([[[1., 0., 2.], [0., 1., 1.]]], device=device), size=(5, 6), padding="zeros")
    assert out.shape == (1, 1, 5, 6) and out[0, 0].nonzero().tolist() == [[3, 3]] and out.max() == 7


def test_warp_repeats_the_edge_or_not(device):
    image = torch.arange(1., 4., device=device).view(1, 1, 1, 3)
    shift = tensor([[[1., 0., 2.], [0., 1., 0.]]], device=device)
    assert warp(image, shift).flatten().tolist() == [1., 1., 1.]
    assert warp(image, shift, padding="zeros").flatten().tolist() == [0., 0., 1.]


def test_warp_there_and_back(device):
    """Twice bilinear on a smooth scene: within a hundredth of its range, well inside the picture; and as the formula says."""
    M = about_the_middle(6, 1.1, 3.2, -2.7, device)
    first, second = moved(unmoved(device)), moved(M)
    there = warp(first[None], M[None])
    assert_close(there[0, :, 14:-14, 14:-14], second[:, 14:-14, 14:-14], rtol=0, atol=.01)
    back = warp(there, inverse(M)[None])
    assert_close(back[0, :, 14:-14, 14:-14], first[:, 14:-14, 14:-14], rtol=0, atol=.02)
    wrong = warp(first[None], inverse(M)[None])
    assert (wrong[0, :, 14:-14, 14:-14] - second[:, 14:-14, 14:-14]).abs().max() > .2


# ---- phase correlation

def test_phase_correlation_of_whole_steps_round(device):
    """A periodic picture stepped round by (−2, 3) is exact without a window."""
    torch.manual_seed(0)
    first = torch.rand(1, 12, 17, dtype=torch.float64, device=device)
    d = phase_correlation(first, first.roll((3, -2), (1, 2)), window=False)
    assert_close(d, tensor([[-2., 3.]], dtype=torch.float64, device=device), rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("dx, dy", [(0., 0.), (.25, .5), (1.3, -2.6), (6.4, -3.7), (-11.2, 9.45)])
def test_phase_correlation_between_pixels(device, dx, dy, dtype):
    d = phase_correlation(moved(unmoved(device), dtype=dtype), moved(about_the_middle(0, 1, dx, dy, device), dtype=dtype))
    assert d.dtype == dtype
    assert_close(d, tensor([[dx, dy]], dtype=dtype, device=device), rtol=0, atol=.05)


def test_phase_correlation_in_noise(device):
    """Noise of 3 % of the range costs less than a tenth of a pixel."""
    torch.manual_seed(0)
    first, second = moved(unmoved(device)), moved(about_the_middle(0, 1, 4.3, -2.6, device))
    noise = torch.randn(2, 1, H, W).to(device) * .03
    d = phase_correlation(first + noise[0], second + noise[1])
    assert_close(d, tensor([[4.3, -2.6]], device=device), rtol=0, atol=.1)


def test_one_round_is_pulled_to_zero(device):
    """What the rounds are for: the window stays, and one round falls short of a large shift by more than .05 pixel."""
    first, second = moved(unmoved(device)), moved(about_the_middle(0, 1, -11.2, 9.45, device))
    one, three = (phase_correlation(first, second, rounds=n)[0] - tensor([-11.2, 9.45], device=device) for n in (1, 3))
    assert one.abs().max() > .05 and three.abs().max() < .05


def test_no_contrast_no_shift(device):
    flat = torch.full((2, 1, 20, 30), .3, device=device)
    assert phase_correlation(flat, flat).tolist() == [[0., 0.], [0., 0.]]


# ---- Lucas and Kanade

@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("model, truth", [
    ("translation", lambda d: about_the_middle(0, 1, 5.4, -3.7, d)),
    ("similarity", lambda d: about_the_middle(0, 1, -4.25, 6.5, d)),
    ("similarity", lambda d: about_the_middle(5, 1.03, 3.3, -4.1, d)),
    ("similarity", lambda d: about_the_middle(-5, .97, -5.6, 3.4, d)),
    ("affine", lambda d: about_the_middle(5, 1.03, 3.3, -4.1, d)),
    ("affine", affine),
])
def test_lucas_kanade_finds_the_map(device, model, truth, dtype):
    """Within a hundredth of a pixel, everywhere in the picture."""
    M = truth(device)
    found = lucas_kanade(moved(unmoved(device), dtype=dtype), moved(M, dtype=dtype), model)
    assert found.dtype == dtype and found.shape == (1, 2, 3)
    assert farthest(found[0], M) < .01


def test_lucas_kanade_from_a_start(device):
    """A turn of 25° is too far for a shift to start from with one level; a start near it is enough."""
    M = about_the_middle(25, 1, 0, 0, device)
    first, second = moved(unmoved(device)), moved(M)
    start = about_the_middle(24, 1, .5, .5, device)[None].float()
    assert farthest(lucas_kanade(first, second, levels=1, start=start)[0], M) < .01
    assert farthest(lucas_kanade(first, second, levels=1)[0], M) > 1


def test_iterations_and_levels_count(device):
    M = about_the_middle(5, 1.03, 3.3, -4.1, device)
    first, second = moved(unmoved(device)), moved(M)
    short, full = (farthest(lucas_kanade(first, second, levels=1, iterations=n)[0], M) for n in (1, 8))
    assert full < .02 < .1 < short
    assert farthest(lucas_kanade(first, second, levels=3, iterations=1)[0], M) < short / 2


def test_change_of_light_moves_nothing(device):
    M = about_the_middle(3, 1.02, 2.3, -1.1, device)
    assert farthest(lucas_kanade(moved(unmoved(device)), moved(M) + .3)[0], M) < .01


def test_weight_hides_what_does_not_belong(device):
    """A dark patch over the second picture drags the map along; without weight there, it does not."""
    M = about_the_middle(2, 1, 2.3, -1.1, device)
    first, second = moved(unmoved(device)), moved(M)
    second[:, 30:44, 38:54] = -.4
    weight = torch.ones(1, H, W, device=device)
    weight[:, 24:50, 32:60] = 0
    assert farthest(lucas_kanade(first, second, weight=weight)[0], M) < .01
    assert farthest(lucas_kanade(first, second)[0], M) > .05


def test_lucas_kanade_in_noise(device):
    """Noise of 2 % of the range: less than a tenth of a pixel at the worst corner."""
    torch.manual_seed(0)
    M = about_the_middle(4, 1.02, 3.3, -4.1, device)
    noise = torch.randn(2, 1, H, W).to(device) * .02
    assert farthest(lucas_kanade(moved(unmoved(device)) + noise[0], moved(M) + noise[1])[0], M) < .1


def test_a_batch_is_its_pairs(device):
    maps = [about_the_middle(5, 1.03, 3.3, -4.1, device), about_the_middle(-2, 1, -6.1, 1.2, device), affine(device)]
    first, second = moved(unmoved(device)).expand(3, H, W), torch.cat([moved(M) for M in maps])
    for model in ("similarity", "affine"):
        alone = torch.cat([lucas_kanade(first[i:i + 1], second[i:i + 1, None][:, 0], model) for i in range(3)])
        assert_close(lucas_kanade(first, second, model), alone, rtol=0, atol=1e-4)
    alone = torch.cat([phase_correlation(first[i:i + 1], second[i:i + 1]) for i in range(3)])
    assert_close(phase_correlation(first[:, None], second[:, None]), alone, rtol=0, atol=1e-4)


@pytest.mark.parametrize("model", ["translation", "similarity", "affine"])
def test_never_worse_than_the_start(device, model):
    """Two pictures of noise that have nothing in common, half a pixel apart, where reading between the pixels smooths most:
    most steps lead astray, and what they find is dropped."""
    torch.manual_seed(0)
    first, second = torch.rand(2, 6, 24, 30).to(device)
    start = tensor([[1., 0., .5], [0., 1., .5]], device=device).expand(6, 2, 3)
    M = lucas_kanade(first, second, model, levels=1, start=start)
    pixels = grid((24, 30), first).unflatten(0, (24, 30))[2:-3, 2:-3].flatten(0, 1)

    def loss(M):
        return (sample(second[:, None], transform(pixels, M))[:, 0] - first[:, 2:-3, 2:-3].flatten(1)).var(1)

    assert (loss(M) <= loss(start) + 1e-6).all()


@pytest.mark.parametrize("model", ["translation", "similarity", "affine"])
def test_pictures_that_hold_nothing_to_follow(device, model):
    """A flat pair stays where it starts; stripes move across, and not along where nothing shows it."""
    flat = torch.full((1, 40, 50), .3, device=device)
    same = torch.eye(2, 3, device=device)[None]
    assert_close(lucas_kanade(flat, flat, model), same, rtol=0, atol=1e-4)
    x = torch.arange(50., device=device)
    stripes = [torch.sin(.3 * (x - d)).expand(1, 40, 50) for d in (0, 2)]
    assert_close(lucas_kanade(*stripes, model), tensor([[[1., 0., 2.], [0., 1., 0.]]], device=device), rtol=0, atol=.02)


def test_brightness_has_no_unit(device):
    """0 ... 1, 0 ... 255, and values whose squares leave float32 give the same map."""
    first, second = moved(unmoved(device)), moved(about_the_middle(3, 1, 2.3, -1.1, device))
    found = lucas_kanade(first, second)
    for unit in (255., 1e30, 1e-30):
        assert_close(lucas_kanade(first * unit, second * unit), found, rtol=0, atol=1e-4)


# ---- clips

def clip(device, maps, dtype=torch.float32):
    """One scene seen through maps (T of (2, 3)): (1, T, 3, H, W), red, green and blue of different strength"""
    grey = torch.cat([moved(M, dtype=dtype) for M in maps])[None, :, None] + .5      # (1, T, 1, H, W)
    return grey * tensor([1., .8, .5], dtype=dtype, device=device)[:, None, None]


def drift(device):
    return [about_the_middle(1.3 * k, 1 + .01 * k, 1.7 * k, -1.2 * k, device) for k in (0, 1, 2, 3)]


@pytest.mark.parametrize("model", ["similarity", "affine"])
def test_register_takes_drift_away(device, model):
    """Four frames that drift, turn and grow; the matrices bring each back, and the frames then agree inside."""
    maps = drift(device)
    video = clip(device, maps)
    registered, matrices = register(video, model=model)
    assert registered.shape == video.shape and matrices.shape == (1, 4, 2, 3)
    for M, truth in zip(matrices[0], maps):
        assert farthest(M, inverse(truth)) < .02
    inner = registered[..., 12:-12, 12:-12]
    assert (inner - inner[:, :1]).abs().max() < .02 < .3 < (video - video[:, :1])[..., 12:-12, 12:-12].abs().max()


def test_register_to_another_onset(device):
    maps = drift(device)
    video = clip(device, maps)
    registered, matrices = register(video, onset=2)
    assert_close(registered[:, 2], video[:, 2], rtol=0, atol=0)
    assert_close(matrices[0, 2], torch.eye(2, 3, device=device), rtol=0, atol=0)
    assert farthest(matrices[0, 0], maps[2]) < .02


def landmarks(device, maps, n=68):
    """68 points scattered over the picture, moved along: (1, T, n, 2)"""
    k = torch.arange(68, dtype=torch.float64, device=device)
    points = torch.stack([10 + (k * 37) % 70, 8 + (k * 23) % 56], -1)
    return torch.stack([transform(points, M) for M in maps])[None, :, 68 - n:].float()


@pytest.mark.parametrize("n", [68, 51])
def test_register_by_landmarks(device, n):
    maps = drift(device)
    video = clip(device, maps)
    for model in ("similarity", "affine"):
        registered, matrices = register(video, landmarks(device, maps, n), model)
        for M, truth in zip(matrices[0], maps):
            assert farthest(M, inverse(truth)) < .001
        inner = registered[..., 12:-12, 12:-12]
        assert (inner - inner[:, :1]).abs().max() < .02


def test_only_stable_points_decide(device):
    """A mouth that opens and brows that rise, 48 to 67 and 17 to 26, leave the frame where it is; the nose's bridge does not."""
    still = [unmoved(device)] * 2
    video, points = clip(device, still), landmarks(device, still)
    points[:, 1, 48:] += 5
    points[:, 1, 17:27] -= 5
    same = torch.eye(2, 3, device=device).expand(1, 2, 2, 3)
    assert_close(register(video, points)[1], same, rtol=0, atol=1e-4)
    assert (register(video, points, stable=(*STABLE, 50, 60))[1] - same).abs().max() > .1
    points[:, 1, 27] += 5
    assert (register(video, points)[1] - same).abs().max() > .1


def test_a_similarity_leaves_the_stretch(device):
    """The default: a face 10 % taller is not squeezed back. Its matrix is [[a, −b], [b, a]]; the affine one undoes the stretch."""
    tall = unmoved(device)
    tall[1, 1] = 1.1
    video, points = clip(device, [unmoved(device), tall]), landmarks(device, [unmoved(device), tall])
    for marks in (points, None):
        A = register(video, marks)[1][0, 1, :, :2]
        assert_close(A[0, 0], A[1, 1], rtol=0, atol=1e-5)
        assert_close(A[0, 1], -A[1, 0], rtol=0, atol=1e-5)
        A = register(video, marks, "affine")[1][0, 1, :, :2]
        assert_close(A, tensor([[1., 0.], [0., 1 / 1.1]], device=device), rtol=0, atol=.002)


def test_drawn_faces_lose_their_drift_and_keep_their_expression(device):
    """Two micro-expressions, drawn with and without a drifting head before a background that stays: after registration the 68
    landmarks lie where they do without drift, expression and all, to a tenth of a pixel in the mean; before, a pixel off."""
    faces = plan(2, 3, 0, 2, strength=.1, occlusion=0., noise=.01)
    still = faces.pose[:, :1].expand(-1, 3, -1) * tensor([1., 1., 1., 1., 0., 0.])
    drifting = still + torch.arange(3.)[:, None] * tensor([.03, -.02, .015, .035, 0., 0.])
    _, expected = draw(replace(faces, pose=still), 96, device)
    video, points = draw(replace(faces, pose=drifting), 96, device)
    assert (points - expected).norm(dim=-1).mean() > 1
    for marks in (None, points):
        _, M = register(video, marks)
        assert (transform(points, M) - expected).norm(dim=-1).mean() < .1


def test_a_background_with_contrast_needs_a_weight(device):
    """The same, before a texture that stays: it holds the head back by most of its drift, unless the face alone has a weight."""
    faces = plan(2, 3, 0, 2, strength=.1, occlusion=0., noise=.01)
    still = faces.pose[:, :1].expand(-1, 3, -1) * tensor([1., 1., 1., 1., 0., 0.])
    drifting = still + torch.arange(3.)[:, None] * tensor([.03, -.02, .0, .0, 0., 0.])
    _, expected = draw(replace(faces, pose=still), 96, device)
    video, points = draw(replace(faces, pose=drifting), 96, device)
    y, x = torch.meshgrid(torch.arange(96.), torch.arange(96.), indexing="ij")
    low, high = (f(points[:, 0, 17:], 1) for f in (torch.amin, torch.amax))                          # of brows, eyes, nose, mouth
    place = torch.stack([x, y], -1).to(device)                                                       # (96, 96, 2)
    face = ((place >= low[:, None, None]) & (place <= high[:, None, None])).all(-1)                  # (2, 96, 96)
    texture = (.5 + .4 * torch.sin(.9 * x + .3 * y) * torch.sin(.8 * y)).to(device)
    near = ((place >= low[:, None, None] - 14) & (place <= high[:, None, None] + 14)).all(-1)
    video = torch.where(near[:, None, None], video, texture)
    off = lambda M: (transform(points, M) - expected)[:, 2, 27:].norm(dim=-1).mean()
    assert off(register(video)[1]) > 3 * off(register(video, weight=face.float())[1])
    with pytest.raises(ValueError, match=r"weight is \(1, 96, 96\); expected \(2, 96, 96\)"):
        register(video, weight=face[:1].float())


def test_register_a_large_drift(device):
    """Twelve pixels and eight degrees at once: a pyramid's work."""
    maps = [unmoved(device), about_the_middle(8, 1.02, 12, -9, device)]
    _, matrices = register(clip(device, maps))
    assert farthest(matrices[0, 1], inverse(maps[1])) < .05


def test_points_on_a_slanting_line_are_refused(device):
    """On y = x/3 + 7.3 rounding leaves an area that is not quite 0."""
    x = torch.tensor([1., 2., 5., 11., 40.], device=device)
    for dtype in (torch.float32, torch.float64):
        points = torch.stack([x, x / 3 + 7.3], -1)[None].to(dtype)
        with pytest.raises(ValueError, match="the points lie on one line"):
            fit_affine(points, points)
    same = torch.full((1, 3, 2), 7.3, device=device)
    with pytest.raises(ValueError, match="the points coincide"):
        fit_similarity(same, same)


def test_register_one_clip_or_two(device):
    a, b = clip(device, drift(device)), clip(device, drift(device)[::-1])
    both, matrices = register(torch.cat([a, b]))
    for i, video in enumerate((a, b)):
        registered, alone = register(video)
        assert_close(matrices[i:i + 1], alone, rtol=0, atol=1e-4)
        assert_close(both[i:i + 1], registered, rtol=0, atol=1e-3)


def test_register_more_frames_than_at_once(device):
    """19 frames of 16 × 20, each the first."""
    torch.manual_seed(0)
    video = torch.rand(1, 1, 3, 16, 20, device=device).expand(1, 19, 3, 16, 20)
    registered, matrices = register(video, model="translation")
    assert_close(registered, video, rtol=0, atol=1e-3)
    assert_close(matrices, torch.eye(2, 3, device=device).expand(1, 19, 2, 3), rtol=0, atol=1e-3)


def test_register_in_float64(device):
    registered, matrices = register(clip(device, drift(device)[:2], torch.float64))
    assert registered.dtype == matrices.dtype == torch.float64
    assert farthest(matrices[0, 1], inverse(drift(device)[1])) < .02


def test_no_bfloat16_under_autocast(device):
    M = about_the_middle(3, 1.02, 2.3, -1.1, device)
    with torch.autocast(device.type, torch.bfloat16):
        assert farthest(lucas_kanade(moved(unmoved(device)), moved(M))[0], M) < .01


# ---- eyes

def face(device, left, right, n=68):
    """Landmarks whose eyes centre on left and right; each eye's six points lie around its centre."""
    points = torch.zeros(1, n, 2, device=device)
    ring = tensor([[-3., 0.], [-1., -1.], [1., -1.], [3., 0.], [1., 1.], [-1., 1.]], device=device)
    points[0, n - 32:n - 26], points[0, n - 26:n - 20] = ring + tensor(left, device=device), ring + tensor(right, device=device)
    return points


def test_eyes_come_to_their_places(device):
    """A side of 50, eyes .4 apart and .3 down: from the corner (15, 15) and (35, 15), as pixel centres (14½, 14½), (34½, 14½)."""
    points = face(device, (30., 40.), (60., 50.))
    _, M = align_eyes(torch.zeros(1, 1, H, W, device=device), points, 50, .4, .3)
    eyes = transform(tensor([[[30., 40.], [60., 50.]]], device=device), M)
    assert_close(eyes, tensor([[[14.5, 14.5], [34.5, 14.5]]], device=device))


@pytest.mark.parametrize("n", [68, 51])
@pytest.mark.parametrize("left, right, size, fine", [
    ((30., 34.), (56., 40.), 96, 1), ((22., 40.), (64., 31.), 64, 3), ((25., 30.), (65., 30.), 40, 4)])
def test_eyes_as_for_single_pictures(device, left, right, size, fine, n):
    """The same crop as `crop_aligned` gives, within a grey level of 255 for its rounding, wherever the face lies."""
    torch.manual_seed(0)
    image = (torch.rand(1, 3, H, W) * 255).round().to(device)
    points = face(device, left, right, n)
    found, _ = align_eyes(image, points, size, APART, DOWN, fine)
    expected = crop_aligned(image[0].to(torch.uint8), points[0], size)
    assert_close(found[0], expected.float(), rtol=0, atol=.6)


def test_eyes_of_two_faces(device):
    torch.manual_seed(0)
    image = torch.rand(2, 3, H, W, device=device)
    points = torch.cat([face(device, (30., 34.), (56., 40.)), face(device, (20., 44.), (66., 30.))])
    both, matrices = align_eyes(image, points, 33, .3, .4, 2)
    for i in range(2):
        alone, matrix = align_eyes(image[i:i + 1], points[i:i + 1], 33, .3, .4, 2)
        assert_close(both[i:i + 1], alone, rtol=0, atol=1e-5)
        assert_close(matrices[i:i + 1], matrix)


# ---- refusals

@pytest.mark.parametrize("call, says", [
    (lambda d: fit_similarity(torch.ones(1, 1, 2, device=d), torch.ones(1, 1, 2, device=d)), "source is .* N = 2 points"),
    (lambda d: fit_affine(torch.ones(1, 2, 2, device=d), torch.ones(1, 2, 2, device=d)), "source is .* N = 3 points"),
    (lambda d: fit_similarity(torch.ones(1, 4, 2, device=d), torch.ones(1, 3, 2, device=d)), r"target is \(1, 3, 2\); expected"),
    (lambda d: fit_similarity(torch.full((1, 4, 2), 77.7, device=d), torch.ones(1, 4, 2, device=d)), "the points coincide"),
    (lambda d: fit_affine(torch.arange(8., device=d).view(1, 4, 2), torch.ones(1, 4, 2, device=d)), "lie on one line"),
    (lambda d: fit_similarity(torch.full((1, 4, 2), math.nan, device=d), torch.ones(1, 4, 2, device=d)), "source: found NaN"),
    (lambda d: fit_similarity(torch.ones(1, 4, 2, device=d).long(), torch.ones(1, 4, 2, device=d)), "source: found torch.int64"),
    (lambda d: fit_similarity(torch.rand(1, 4, 2, device=d), torch.ones(1, 4, 2, device=d), torch.ones(1, 3, device=d)), "weight is"),
    (lambda d: fit_similarity(torch.rand(1, 4, 2, device=d), torch.ones(1, 4, 2, device=d), torch.zeros(1, 4, device=d)),
     "only zeros"),
    (lambda d: fit_similarity(torch.rand(1, 2, 2, device=d), torch.ones(1, 2, 2, device=d), tensor([[2., -1.]], device=d)),
     "weight: found a negative"),
    (lambda d: warp(torch.ones(3, 5, 7, device=d), torch.ones(1, 2, 3, device=d)), "image is"),
    (lambda d: warp(torch.ones(2, 3, 5, 7, device=d), torch.ones(1, 2, 3, device=d)), r"matrix is \(1, 2, 3\); expected \(2"),
    (lambda d: warp(torch.ones(1, 3, 5, 7, device=d), torch.ones(1, 2, 3, device=d)), "determinant 0"),
    (lambda d: warp(torch.ones(1, 3, 5, 7, device=d), torch.eye(2, 3, device=d)[None], padding="mirror"), "padding is 'mirror'"),
    (lambda d: warp(torch.full((1, 3, 5, 7), math.inf, device=d), torch.eye(2, 3, device=d)[None]), "image: found NaN or inf"),
    (lambda d: phase_correlation(torch.ones(1, 8, 9, device=d), torch.ones(1, 9, 8, device=d)), "pictures of equal shape"),
    (lambda d: phase_correlation(torch.ones(1, 8, 9, device=d), torch.ones(1, 8, 9, device=d).double()), "equal shape and dtype"),
    (lambda d: phase_correlation(*torch.ones(2, 1, 3, 8, 9, device=d)), "expected grey"),
    (lambda d: phase_correlation(*torch.ones(2, 1, 8, 9, device=d), floor=0), "floor is 0"),
    (lambda d: phase_correlation(torch.full((1, 8, 9), math.nan, device=d), torch.ones(1, 8, 9, device=d)), "first: found NaN"),
    (lambda d: lucas_kanade(*torch.ones(2, 1, 40, 40, device=d), model="rigid"), "model is 'rigid'; expected one of translation"),
    (lambda d: lucas_kanade(*torch.ones(2, 1, 40, 31, device=d)), "too small for 3 levels; expected sides of 32"),
    (lambda d: lucas_kanade(*torch.ones(2, 1, 40, 40, device=d), iterations=0), "iterations is 0"),
    (lambda d: lucas_kanade(*torch.ones(2, 1, 40, 40, device=d), start=torch.eye(2, 3, device=d)), "start is"),
    (lambda d: lucas_kanade(*torch.ones(2, 1, 40, 40, device=d), weight=torch.ones(40, 40, device=d)), "weight is"),
    (lambda d: lucas_kanade(*torch.ones(2, 1, 40, 40, device=d), weight=-torch.ones(1, 40, 40, device=d)), "weight: found a neg"),
    (lambda d: register(torch.ones(1, 1, 3, 40, 40, device=d)), "video is .*T = 2 frames or more"),
    (lambda d: register(torch.ones(2, 3, 40, 40, device=d)), "video is"),
    (lambda d: register(torch.ones(1, 2, 3, 40, 40, device=d), onset=2), "onset is 2; expected a frame of the clip, 0 to 1"),
    (lambda d: register(torch.ones(1, 2, 3, 40, 40, device=d), torch.ones(1, 2, 5, 2, device=d)), "landmarks are"),
    (lambda d: register(torch.ones(1, 2, 3, 40, 40, device=d), torch.full((1, 2, 68, 2), math.nan, device=d)),
     "landmarks: found NaN"),
    (lambda d: register(torch.ones(1, 2, 3, 40, 40, device=d), torch.rand(1, 2, 68, 2, device=d), stable=(3, 5)), "stable is"),
    (lambda d: register(torch.ones(1, 2, 3, 40, 40, device=d), torch.rand(1, 2, 68, 2, device=d), "translation"),
     "model is 'translation'"),
    (lambda d: register(torch.ones(1, 2, 3, 6, 9, device=d)), "too small"),
    (lambda d: align_eyes(torch.ones(1, 3, 9, 9, device=d), torch.ones(1, 67, 2, device=d), 8, .3, .3), "landmarks are"),
    (lambda d: align_eyes(torch.ones(1, 3, 9, 9, device=d), torch.ones(1, 68, 2, device=d), 8, .3, .3), "both eyes of a face"),
    (lambda d: align_eyes(torch.ones(1, 3, 9, 9, device=d), torch.rand(1, 68, 2, device=d), 0, .3, .3), "size is 0"),
])
def test_refuses(device, call, says):
    with pytest.raises(ValueError, match=says):
        call(device)
