"""refnet/flow/farneback.py: from the parabola to the flow, and against OpenCV's results."""
import json
import math
import re
from pathlib import Path

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from refnet.flow.farneback import (_shrink, farneback, farneback_sequence, main, normal_equations, polynomial_expansion, scales,
                                   solve)
from refnet.flow.pyramid import grey
from refnet.flow.wheel import flow_colours, with_key
from refnet.pictures import read_flow, read_picture, write_picture

DOUBLE = torch.float64


# ---- pictures of known motion: sums of waves, so that any displacement can be drawn exactly

WAVES = [(.21, .13, .4, 1.), (-.17, .26, 1.1, 1.), (.34, -.09, 2., .8), (.08, .41, 2.9, .8), (.47, .29, 3.3, .5),
         (-.52, .37, 4.2, .5), (.11, -.63, 5., .4), (.71, .05, 5.7, .3)]


def picture(x, y):
    """Brightness in 0..255 at (x, y), rounded to whole numbers as a file would hold it, then in [0, 1]."""
    value = sum(a * torch.sin(u * x + v * y + p) for u, v, p, a in WAVES)
    return (127.5 + 24 * value).round().clamp(0, 255) / 255


def shifted(x, y):
    return x + 1.3, y - .7


def far(x, y):
    return x + 6.4, y + 3.1


def turned(x, y):
    return x - .04 * (y - 40), y + .04 * (x - 48)


def bent(x, y):
    return x + 1.2 * torch.sin(y / 17), y + .9 * torch.cos(x / 21)


def pair(motion, size=(80, 96), device="cpu", dtype=torch.float32):
    """Two pictures and the flow between them; the motion's inverse is found by iterating x ← x − (motion(x) − target)."""
    y, x = torch.meshgrid(*(torch.arange(n, dtype=DOUBLE) for n in size), indexing="ij")
    a, b = x, y
    for _ in range(60):
        u, v = motion(a, b)
        a, b = a - (u - x), b - (v - y)
    u, v = motion(x, y)
    truth = torch.stack([u - x, v - y])[None]
    return tuple(t.to(device, dtype) for t in (picture(x, y)[None], picture(a, b)[None], truth))


def error(flow, truth, margin=8):
    """Mean endpoint error away from the edges."""
    inner = slice(margin, -margin)
    return (flow - truth).square().sum(1).sqrt()[:, inner, inner].mean().item()


# ---- the parabola

def test_a_parabola_is_found(device):
    """f = 2 + 3x − y + ½x² + ¼y² − xy about pixel (6, 7): those are its coefficients, in the order 1, x, y, x², y², xy."""
    y, x = torch.meshgrid(torch.arange(15, dtype=DOUBLE) - 7, torch.arange(13, dtype=DOUBLE) - 6, indexing="ij")
    f = (2 + 3 * x - y + .5 * x * x + .25 * y * y - x * y)[None].to(device)
    r = polynomial_expansion(f, n=5, sigma=1.1)[0, :, 7, 6]
    assert_close(r, tensor([2., 3., -1., .5, .25, -1.], dtype=DOUBLE, device=device))


def test_the_fit_by_hand(device):
    """Radius 1 and one bright pixel. The weights g are t, 1 − 2t, t: a = b = 2t, so b − a² = 2t(1 − 2t).

    At the bright pixel only 1 and the squares answer: r₄ = r₅ = g₀² (0 − a) / (b − a²) = −g₀² / g₀ = −(1 − 2t),
    r₁ = g₀² + 2a(1 − 2t) = (1 − 2t)² + 4t(1 − 2t) = 1 − 4t².
    One pixel to its left x answers too: r₂ = t(1 − 2t) / a = (1 − 2t) / 2.
    With σ = 1, t = 0.2740686.
    """
    f = torch.zeros(1, 7, 7, dtype=DOUBLE, device=device)
    f[0, 3, 3] = 1
    r, t = polynomial_expansion(f, n=1, sigma=1.), 1 / (2 + math.exp(.5))
    peak = 1 - 4 * t * t, 0., 0., 2 * t - 1, 2 * t - 1, 0.
    assert_close(r[0, :, 3, 3], tensor(peak, dtype=DOUBLE, device=device))
    assert_close(r[0, 1, 3, 2], tensor((1 - 2 * t) / 2, dtype=DOUBLE, device=device))


@pytest.mark.parametrize("certainty", [False, True])
@pytest.mark.parametrize("n, sigma", [(2, .9), (3, 0)])
def test_the_least_squares_twin(n, sigma, certainty, device):
    """Every pixel's own weighted least squares, solved on its own: with the edge repeated, or without what is beyond it."""
    H, W = 9, 11
    f = torch.rand(1, H, W, dtype=DOUBLE, generator=torch.Generator().manual_seed(0))
    wanted = torch.empty(6, H, W, dtype=DOUBLE)
    for y in range(H):
        for x in range(W):
            rows, values = [], []
            for j in range(-n, n + 1):
                for i in range(-n, n + 1):
                    if certainty and not (0 <= y + j < H and 0 <= x + i < W):
                        continue
                    w = math.exp(-(i * i + j * j) / (4 * (sigma or .3 * n) ** 2))                # √ of g(i) g(j)
                    rows.append([w, w * i, w * j, w * i * i, w * j * j, w * i * j])
                    values.append(w * f[0, min(max(y + j, 0), H - 1), min(max(x + i, 0), W - 1)])
            wanted[:, y, x] = torch.linalg.lstsq(tensor(rows, dtype=DOUBLE), torch.stack(values)[:, None]).solution[:, 0]
    assert_close(polynomial_expansion(f.to(device), n, sigma, certainty)[0], wanted.to(device), atol=1e-9, rtol=0)


# ---- a step

def same_everywhere(*r, size=(4, 4), device="cpu"):
    return tensor(r, dtype=DOUBLE, device=device)[None, :, None, None].expand(1, len(r), *size).contiguous()


def places(h, w, device):
    return torch.stack(torch.meshgrid(torch.arange(w), torch.arange(h), indexing="xy")).to(device, DOUBLE)


def test_equations_by_hand(device):
    """A₁ = A₂ = [[1, ½], [½, 2]] (r₄, r₅, r₆ = 1, 2, 1), b₁ = (2, 4), b₂ = 0, d = 0: Δb = −½(0 − b₁) = (1, 2).

    AᵀA = [[1 + ¼, ½ + 1], ., ¼ + 4] → 1.25, 4.25, 1.5        AᵀΔb = (1 + 1, ½ + 4) = (2, 4.5)
    With d = (1, 0) Δb gains A d = (1, ½) and is (2, 2.5): AᵀΔb = (2 + 1.25, 1 + 5) = (3.25, 6).
    """
    r1, r2 = same_everywhere(2., 4, 1, 2, 1, device=device), same_everywhere(0., 0, 1, 2, 1, device=device)
    d, x = torch.zeros(1, 2, 4, 4, dtype=DOUBLE, device=device), places(4, 4, device)
    line = lambda *v: tensor(v, dtype=DOUBLE, device=device)
    assert_close(normal_equations(r1, r2, d, x)[0, :, 1, 1], line(1.25, 4.25, 1.5, 2, 4.5))
    d[:, 0] = 1
    assert_close(normal_equations(r1, r2, d, x)[0, :, 1, 1], line(1.25, 4.25, 1.5, 3.25, 6))


def test_equations_average_the_two_pictures(device):
    """A₁ = diag(1, 2), A₂ = diag(3, 6), b₁ = (2, 0), b₂ = (0, 4): A = diag(2, 4), Δb = (1, −2).

    Inside: AᵀA → 4, 16, 0; AᵀΔb → 2, −8. On the last column, and where x + d is outside, A = A₁ and b₂ = 0: Δb = (1, 0),
    so 1, 4, 0; 1, 0 (plus A d d there).
    """
    r1, r2 = same_everywhere(2., 0, 1, 2, 0, device=device), same_everywhere(0., 4, 3, 6, 0, device=device)
    d, x = torch.zeros(1, 2, 4, 4, dtype=DOUBLE, device=device), places(4, 4, device)
    line = lambda *v: tensor(v, dtype=DOUBLE, device=device)
    m = normal_equations(r1, r2, d, x)[0]
    assert_close(m[:, 2, 2], line(4., 16, 0, 2, -8))
    assert_close(m[:, 2, 3], line(1., 4, 0, 1, 0))
    assert_close(m[:, 3, 0], line(1., 4, 0, 1, 0))
    d[:, 1] = -1
    assert_close(normal_equations(r1, r2, d, x)[0, :, 0, 0], line(1., 4, 0, 1, -4))


def test_reading_between_pixels_or_rounded(device):
    """b₂'s first entry grows by 8 a column, d = (0.25, 0): between the pixels it is read at column 1.25, 10; rounded, at 1, 8.

    A = diag(1, 1): Δb = −½·10 + 0.25 = −4.75; rounded d is 0, and Δb = −½·8 = −4. The last column reads itself when rounded.
    """
    r1, r2 = same_everywhere(0., 0, 1, 1, 0, device=device), same_everywhere(0., 0, 1, 1, 0, device=device)
    r2[:, 0] = 8 * torch.arange(4, dtype=DOUBLE, device=device)
    d, x = torch.zeros(1, 2, 4, 4, dtype=DOUBLE, device=device), places(4, 4, device)
    d[:, 0] = .25
    value = lambda **how: normal_equations(r1, r2, d, x, **how)[0, 3]
    assert value()[1, 1].item() == pytest.approx(-4.75)
    assert value(rounded=True)[1, 1].item() == pytest.approx(-4)
    d[:, 0] = 2
    assert value(rounded=True)[1, 3].item() == pytest.approx(-.5 * 24)                           # x̃ held at column 3: d is 0


def test_rounded_reading_stays_inside(device):
    """d = −2 at column 0 of b₂ = 8 (column + 1): x̃ is held at column 0, d is 0, and Δb = −½ · 8."""
    r1, r2 = same_everywhere(0., 0, 1, 1, 0, device=device), same_everywhere(0., 0, 1, 1, 0, device=device)
    r2[:, 0] = 8 * (1 + torch.arange(4, dtype=DOUBLE, device=device))
    d = torch.zeros(1, 2, 4, 4, dtype=DOUBLE, device=device)
    d[:, 0] = -2
    assert normal_equations(r1, r2, d, places(4, 4, device), rounded=True)[0, 3, 1, 0].item() == pytest.approx(-4)


def test_without_a_guard_rounding_keeps_the_quotient_finite(device):
    """[[1, 1], [1, 1]] d = (2, 1) has determinant 0: ε trace² = 4ε, so d = (2 − 1, 1 − 2) / 4ε; in float64 ε = 2.2204e-16."""
    m = tensor([1., 1., 1., 2., 1.], dtype=DOUBLE, device=device)[None, :, None, None]
    assert_close(solve(m, 0)[0, :, 0, 0], tensor([1., -1.], dtype=DOUBLE, device=device) / (4 * 2.220446049250313e-16))


def test_solve_by_hand(device):
    """[[1.25, 1.5], [1.5, 4.25]] d = (2, 4.5): the determinant is 5.3125 − 2.25 = 3.0625, d = (8.5 − 6.75, 5.625 − 3) / 3.0625.

    A guard of 0.4375 makes the denominator 3.5: d = (0.5, 0.75).
    """
    m = tensor([1.25, 4.25, 1.5, 2., 4.5], dtype=DOUBLE, device=device)[None, :, None, None]
    assert_close(solve(m, .4375)[0, :, 0, 0], tensor([.5, .75], dtype=DOUBLE, device=device))
    assert_close(solve(m, 0)[0, :, 0, 0], tensor([1.75, 2.625], dtype=DOUBLE, device=device) / 3.0625, atol=1e-9, rtol=0)
    assert (solve(0 * m, 0) == 0).all()


def test_scales_by_hand():
    """100 × 77 halves to 50 × 38 (38.5 goes to the even number), then 19.25 is under 32. `levels` counts further scales."""
    assert scales((77, 100), .5, 5) == [(.5, (38, 50)), (1., (77, 100))]
    assert scales((77, 100), .5, 0) == [(1., (77, 100))]
    assert scales((100, 77), .5, 5) == [(.5, (50, 38)), (1., (100, 77))]                         # the smaller side decides
    assert [s for s, _ in scales((256, 256), .5, 3)] == [.125, .25, .5, 1]                       # 32 itself is taken
    assert [size for _, size in scales((256, 256), .6, 2)] == [(92, 92), (154, 154), (256, 256)]


@pytest.mark.parametrize("s, taps", [(.5, 3), (.25, 9), (.125, 19)])
def test_the_blur_of_a_scale_by_hand(s, taps):
    """σ = (1/s − 1)/2 = .5, 1.5, 3.5; 5σ rounds to 2, 8, 18, the next odd number is 3, 9, 19 taps. A bright line at 80.5 of 160
    pixels spreads as far as the taps reach and the two pixels that a new one lies between."""
    m = round(160 * s)
    rows = _shrink(160, m, s, torch.device("cpu"), DOUBLE)
    column = torch.zeros(160, 1, dtype=DOUBLE)
    column[80] = 1
    small = rows.down(column)[:, 0]
    sigma = (1 / s - 1) / 2
    g = torch.exp(-torch.arange(-(taps // 2), taps // 2 + 1, dtype=DOUBLE) ** 2 / (2 * sigma ** 2))
    g = torch.cat([torch.zeros(80 - taps // 2, dtype=DOUBLE), g / g.sum(), torch.zeros(79 - taps // 2, dtype=DOUBLE)])
    wanted = torch.stack([.5 * (g[int((i + .5) / s - 1)] + g[int((i + .5) / s)]) for i in range(m)])
    assert_close(small, wanted, atol=1e-12, rtol=0)


# ---- flows that are known

@pytest.mark.parametrize("motion, bound", [(shifted, .015), (far, .05), (turned, .1), (bent, .1)])
def test_closed_forms(motion, bound, device):
    """A shift, a large one, a turn by 2.3°, a bend: mean error in pixels, eight pixels from the edge.

    A window that turns or bends is still given one displacement: that costs some hundredths.
    """
    first, second, truth = pair(motion, device=device)
    assert error(farneback(first, second), truth) < bound


def test_an_affine_map(device):
    """x ↦ 1.03x + 0.02y − 2, y ↦ 0.98y + 1, with the Gaussian window and a pyramid of 0.7."""
    first, second, truth = pair(lambda x, y: (1.03 * x + .02 * y - 2, .98 * y + 1), device=device)
    assert error(farneback(first, second, .7, 3, 15, 6, 7, 1.5, True), truth) < .07


def test_the_papers_choices(device):
    """Certainty, a rounded reading and no guard find both shifts too, nearer than OpenCV's choices do."""
    for motion in (shifted, far):
        first, second, truth = pair(motion, device=device)
        paper = farneback(first, second, winsize=15, gaussian_window=True, certainty=True, rounded=True, guard=0)
        assert error(paper, truth) < min(.03, error(farneback(first, second, winsize=15, gaussian_window=True), truth))


@pytest.mark.parametrize("setting", [{"certainty": True}, {"rounded": True}, {"guard": 0}, {"guard": 1e3},
                                     {"gaussian_window": True}, {"poly_sigma": 1.5}, {"poly_n": 4}, {"levels": 0},
                                     {"pyr_scale": .7}, {"winsize": 15}, {"iterations": 2}])
def test_every_setting_counts(setting, device):
    first, second, _ = pair(far, device=device)
    assert (farneback(first, second, **{"iterations": 1} | setting) - farneback(first, second, iterations=1)).abs().max() > 1e-3


def test_a_guess_to_start_from(device):
    """Nine pixels are too far for one scale and three steps; with the guess (8, −8) what is left is not."""
    first, second, truth = pair(lambda x, y: (x + 9, y - 9), device=device)
    alone = farneback(first, second, levels=0, iterations=3)
    guess = torch.full_like(truth, 8) * tensor([1., -1.], device=device)[:, None, None]
    assert error(alone, truth, 16) > 1 > .05 > error(farneback(first, second, levels=0, iterations=3, initial_flow=guess), truth, 16)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_no_motion(dtype, device):
    """Equal pictures have flow 0 to the bit, with any start; constants of different brightness next to none."""
    first, _, _ = pair(shifted, device=device, dtype=dtype)
    assert (farneback(first, first) == 0).all()
    assert (farneback(first, first, initial_flow=torch.ones_like(first)[:, None].expand(-1, 2, -1, -1)) == 0).all()
    flat = torch.full_like(first, .4)
    for guard in (1e-3, 0):
        assert (farneback(flat, flat, guard=guard) == 0).all()
        assert farneback(flat, flat + .2, guard=guard).abs().max() < 1e-3


def test_float64_agrees(device):
    first, second, _ = pair(bent, device=device, dtype=DOUBLE)
    assert_close(farneback(first.float(), second.float()).double(), farneback(first, second), atol=1e-4, rtol=0)


def test_a_batch_is_its_pictures(device, monkeypatch):
    """Pairs of different motion, one of equal pictures, each with a start of its own, two at a time; (B, 1, H, W) is (B, H, W)."""
    monkeypatch.setattr("refnet.flow.farneback.AT_ONCE", 2 * 80 * 96)
    pairs = [pair(motion, device=device) for motion in (shifted, turned, bent, far)]
    pairs.insert(2, (pairs[0][0], pairs[0][0], torch.ones_like(pairs[0][2])))
    first, second, truth = (torch.cat(part) for part in zip(*pairs))
    together = farneback(first[:, None], second[:, None], levels=1, iterations=2, initial_flow=.5 * truth)
    for k, (a, b, true) in enumerate(pairs):
        assert_close(together[k:k + 1], farneback(a, b, levels=1, iterations=2, initial_flow=.5 * true), atol=2e-5, rtol=0)
    assert (together[2] == 0).all() and (together[3] != 0).any()


def test_under_autocast_nothing_changes(device):
    first, second, _ = pair(bent, device=device)
    with torch.autocast(device.type, torch.bfloat16):
        got = farneback(first, second), farneback_sequence(torch.stack([first, second], 1))[:, 1]
    for flow in got:
        assert flow.dtype == torch.float32
        assert_close(flow, farneback(first, second), atol=2e-5, rtol=0)


@pytest.mark.parametrize("reference", ["first", "previous"])
def test_a_sequence_is_its_pairs(reference, device, monkeypatch):
    """Five frames of two clips, worked on two at a time; the fourth frame repeats the third, so from there the flow is 0."""
    monkeypatch.setattr("refnet.flow.farneback.AT_ONCE", 2 * 80 * 96)
    frames = [pair(lambda x, y, t=t: (x + .8 * t, y - .5 * t), device=device)[1] for t in (0, 1, 2, 2, 3)]
    other = [pair(lambda x, y, t=t: (x - .3 * t, y + .01 * t * x), device=device)[1] for t in (0, 1, 2, 2, 3)]
    video = torch.stack([torch.cat(frames), torch.cat(other)])                                   # (2, 5, H, W)
    how = [{"pyr_scale": .6, "levels": 2, "iterations": 3, "winsize": 15, "poly_n": 4, "poly_sigma": 1.3, "gaussian_window": True},
           {"levels": 1, "iterations": 2, "certainty": True, "rounded": True, "guard": 0.}]
    for settings, clip in zip(how, (video, video.double())):
        flow = farneback_sequence(clip[:, :, None], reference, **settings)
        assert flow.dtype == clip.dtype and (flow[:, 0] == 0).all()
        for t in range(1, 5):
            before = clip[:, 0] if reference == "first" else clip[:, t - 1]
            assert_close(flow[:, t], farneback(before, clip[:, t], **settings), atol=2e-5, rtol=0)
        assert (flow[:, 3] == 0).all() == (reference == "previous")


# ---- OpenCV

FILE = Path(__file__).parent / "opencv_flow.json"                       # how it was made is said in it
STORED = json.loads(FILE.read_text(encoding="utf-8")) if FILE.exists() else {"cases": []}
MOTIONS = {"shifted": shifted, "far": far, "turned": turned, "bent": bent}


@pytest.mark.parametrize("case", STORED["cases"], ids=lambda c: c["name"])
def test_opencv(case, device):
    """The flow at every twelfth pixel, and its mean size: mean difference under 3e-5 px, largest under 1e-3 px."""
    first, second, truth = pair(MOTIONS[case["motion"]], tuple(case["size"]), device)
    start = (truth * case["start"]).float() if case["start"] else None
    flow = farneback(first, second, *case["settings"], start)[0]
    off = (flow[:, 4::12, 4::12].cpu() - tensor(case["flow"])).abs()
    assert off.mean() < 3e-5 and off.max() < 1e-3
    assert flow.abs().mean().item() == pytest.approx(case["mean"], abs=3e-5)


def test_the_stored_cases_are_there():
    """Box and Gaussian windows, 0 to 5 levels, even and odd windows, a pyramid of 0.6, a start, sizes that are no powers of 2."""
    settings = [c["settings"] for c in STORED["cases"]]
    assert len(settings) >= 10
    assert {s[1] for s in settings} >= {0, 1, 2, 3, 4, 5} and {s[6] for s in settings} == {False, True}
    assert {s[2] % 2 for s in settings} == {0, 1} and .6 in {s[0] for s in settings}
    assert any(c["start"] for c in STORED["cases"]) and {c["motion"] for c in STORED["cases"]} == set(MOTIONS)


# ---- what may not come in

@pytest.mark.parametrize("change, message", [
    ({"second": torch.rand(1, 40, 41)}, r"first and second must be alike; got \(1, 40, 40\)"),
    ({"second": torch.rand(1, 40, 40, dtype=DOUBLE)}, "first and second must be alike"),
    ({"first": torch.rand(1, 3, 40, 40)}, r"first must be grey pictures, \(B, 1, H, W\) or \(B, H, W\); got \(1, 3, 40, 40\)"),
    ({"second": torch.full((1, 40, 40), float("nan"))}, "second must lie in .0, 1., or a little outside; got values from nan"),
    ({"first": 255 * torch.ones(1, 40, 40)}, "first must lie in .0, 1., or a little outside; got values from 255 to 255: divide by 255"),
    ({"first": torch.ones(1, 40, 40, dtype=torch.uint8)}, "float32 or float64"),
    ({"first": torch.full((1, 40, 40), 1.6)}, "got values from 1.6"), ({"first": torch.full((1, 40, 40), -.6)}, "got values from -0.6"),
    ({"poly_sigma": .02}, "poly_sigma is 0.02; it must be 0.3 or more, or 0"), ({"levels": 2.5}, "levels is 2.5; it must be a whole"),
    ({"certainty": True, "poly_n": 1}, "poly_n is 1; it must be 2 or more"),
    ({"certainty": True, "poly_sigma": .4}, "poly_sigma is 0.4; it must be 0.5 or more"),
    ({"winsize": 41}, "the picture is 40 × 40, smaller than the 41 × 41 window of winsize=41"),
    ({"poly_n": 20}, "smaller than the 41 × 41 window of poly_n=20"),
    ({"pyr_scale": 1}, "pyr_scale is 1; it must be between 0 and 1"), ({"levels": -1}, "levels is -1; it must be 0 or more"),
    ({"winsize": 0}, "winsize is 0; it must be 1 or more"), ({"iterations": 0}, "iterations is 0"), ({"poly_n": 0}, "poly_n is 0"),
    ({"winsize": 1, "gaussian_window": True}, "winsize is 1; it must be 2 or more"),
    ({"poly_sigma": -1}, "poly_sigma is -1"), ({"guard": -1}, "guard is -1"),
    ({"initial_flow": torch.zeros(1, 2, 40, 41)}, r"initial_flow must be \(1, 2, 40, 40\) and finite; got \(1, 2, 40, 41\)"),
    ({"initial_flow": torch.full((1, 2, 40, 40), float("inf"))}, "initial_flow must be .* finite")])
def test_bad_input(change, message):
    """By name, value and what is allowed; what interpolation puts just outside [0, 1] is taken."""
    given = {"first": torch.rand(1, 40, 40), "second": torch.rand(1, 40, 40)} | change
    with pytest.raises(ValueError, match=message):
        farneback(**given)


def test_a_little_outside_is_taken(device):
    first, second, truth = pair(shifted, device=device)
    assert error(farneback(1.02 * first, 1.02 * second), truth) < .015


@pytest.mark.parametrize("image, message", [(torch.zeros(9, 9), r"got \(9, 9\)"), (torch.zeros(1, 9, 9, dtype=torch.uint8), "uint8")])
def test_expansion_of_what_is_no_picture(image, message):
    with pytest.raises(ValueError, match=r"image must be \(B, H, W\), float32 or float64; " + ".*" + message.replace("got ", "")):
        polynomial_expansion(image)


@pytest.mark.parametrize("video, reference, message", [
    (torch.rand(1, 1, 40, 40), "first", "video has 1 frame; a flow needs two"),
    (torch.rand(1, 2, 3, 40, 40), "first", r"video must be \(B, T, 1, H, W\) or \(B, T, H, W\); got \(1, 2, 3, 40, 40\)"),
    (torch.rand(1, 2, 40, 40), "last", "reference is 'last'; it must be 'first' or 'previous'")])
def test_bad_sequences(video, reference, message):
    with pytest.raises(ValueError, match=message):
        farneback_sequence(video, reference)


# ---- the command

def test_the_command(tmp_path, capsys):
    """Two pictures in; colours with their key, and the numbers, out."""
    first, second, truth = pair(shifted)
    a, b, out, flo = (str(tmp_path / name) for name in ("a.png", "b.png", "out.png", "out.flo"))
    write_picture(first[0], a)
    write_picture(second[0], b)
    assert main([a, b, out, "--flo", flo, "--levels", "2", "--full", "3"]) == 0
    assert "the key's rim is 3.000 px" in capsys.readouterr().out
    assert_close(read_picture(out).float() / 255, with_key(flow_colours(farneback(first, second, levels=2), 3.)[0], 3.), atol=.003, rtol=0)
    assert_close(read_flow(flo), farneback(first, second, levels=2)[0])


def test_the_command_s_flags(tmp_path, monkeypatch):
    """Each reaches the flow, of pictures in colour: their luminance counts."""
    monkeypatch.chdir(tmp_path)
    first, second, _ = pair(far)
    colour = lambda grey_, other: torch.cat([grey_, .8 * other, .5 + 0 * grey_])                 # red and green differ
    pictures = [colour(first, second), colour(second, first)]
    for name, picture_ in zip(("a.png", "b.png"), pictures):
        write_picture(picture_, name)
    a, b = (grey(read_picture(name)[None] / 255) for name in ("a.png", "b.png"))
    for flags, settings in (([], {}), (["--paper"], {"certainty": True, "rounded": True, "guard": 0}), (["--gaussian-window"],
                            {"gaussian_window": True}), (["--pyr-scale", ".7"], {"pyr_scale": .7}), (["--winsize", "9"], {"winsize": 9}),
                            (["--iterations", "1"], {"iterations": 1}), (["--levels", "0"], {"levels": 0}),
                            (["--poly-n", "7"], {"poly_n": 7}), (["--poly-sigma", "2"], {"poly_sigma": 2.})):
        assert main(["a.png", "b.png", "o.png", "--flo", "o.flo", "--device", "cpu", *flags]) == 0
        assert_close(read_flow("o.flo"), farneback(a, b, **settings)[0])


def test_the_command_says_how_far(tmp_path, monkeypatch, capsys):
    """The key's rim is the largest displacement; where few pixels go far, it says what would show the others."""
    monkeypatch.chdir(tmp_path)
    first, second, _ = pair(shifted)
    second = second.clone()
    second[:, 30:38, 30:38] = 1 - second[:, 30:38, 30:38]
    write_picture(first[0], "a.png")
    write_picture(second[0], "b.png")
    assert main(["a.png", "b.png", "o.png", "--device", "cpu", "--winsize", "5"]) == 0
    out = capsys.readouterr().out
    largest = re.search(r"largest ([0-9.]+) px; the key's rim is ([0-9.]+) px", out)
    assert largest[1] == largest[2] and float(largest[1]) > 3
    assert main(["a.png", "a.png", "o.png", "--device", "cpu"]) == 0
    assert "largest 0.000 px; the key's rim is 1.000 px" in capsys.readouterr().out


@pytest.mark.parametrize("args, message", [(["missing.png", "missing.png", "o.png"], "missing.png: does not exist"),
                                           (["a.png", "small.png", "o.png"], "is 96 × 80 and .*small.png is 96 × 70"),
                                           (["a.png", "a.png", "o.gif"], "pictures are written as .png or .jpg"),
                                           (["a.png", "small.png", "a.png"], "a.png: is also read"),
                                           (["a.png", "a.png", "o.png", "--flo", "o.txt"], "flows are written as .flo"),
                                           (["a.png", "a.png", "o.png", "--full", "0"], "full is 0.0"),
                                           (["x" * 300, "a.png", "o.png"], "not a path that can be looked up"),
                                           (["a.png", "a.png", "o.png", "--winsize", "0"], "winsize is 0")])
def test_the_command_refuses(args, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_picture(pair(shifted)[0][0], "a.png")
    write_picture(pair(shifted, (70, 96))[0][0], "small.png")
    assert main(args) == (2 if "--winsize" in args or "--full" in args else 3)
    assert re.search(message, capsys.readouterr().err)
    assert not Path("o.png").exists()


@pytest.mark.parametrize("args, message", [(["--winsze", "5"], "did you mean --winsize"), (["--win", "5"], "--win"),
                                           (["--device", "cud"], "no device 'cud' on this machine; take auto or cpu"),
                                           (["--device", "meta"], "no device 'meta'")])
def test_the_command_s_usage(args, message, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as stop:
        main(["a.png", "b.png", "o.png", *args])
    assert stop.value.code == 2 and message in capsys.readouterr().err


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"),
                                   torch.OutOfMemoryError("CUDA out of memory. Tried to allocate")])
def test_no_memory_left(error, tmp_path, monkeypatch, capsys):
    """One line and status 1, in the words of Python, of torch on a CPU and on a GPU; any other error shows where it comes from."""
    def stop(*args, **settings):
        raise error
    monkeypatch.chdir(tmp_path)
    write_picture(pair(shifted)[0][0], "a.png")
    monkeypatch.setattr("refnet.flow.farneback.farneback", stop)
    assert main(["a.png", "a.png", "o.png"]) == 1
    assert capsys.readouterr().err == "no memory left; make the pictures smaller, or the clip shorter\n"
    error = RuntimeError("something else")
    with pytest.raises(RuntimeError, match="something else"):
        main(["a.png", "a.png", "o.png"])


def test_interrupted(tmp_path, monkeypatch):
    """Ctrl-C ends it with status 130 and no half a file."""
    def stop(*args, **settings):
        raise KeyboardInterrupt
    monkeypatch.chdir(tmp_path)
    write_picture(pair(shifted)[0][0], "a.png")
    monkeypatch.setattr("refnet.flow.farneback.farneback", stop)
    assert main(["a.png", "a.png", "o.png"]) == 130 and not Path("o.png").exists()
