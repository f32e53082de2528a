"""Eulerian video magnification (Wu et al. 2012): numbers worked out by hand, known motion, a slow twin, the command."""
import cmath
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from refnet.flow.eulerian import (RGB, YIQ, Stream, band_gains, bicubic_matrix, butterworth, cut_off, ideal_matrix, iir,
                                  low_passes, magnify, main, mix, recursion_matrix, temporal_matrix)
from refnet.data.drawn_faces import draw
from refnet.data.drawn_micro import plan_micro
from refnet.flow.farneback import farneback
from refnet.flow.pyramid import grey
from refnet.pictures import Clip, write_animation, write_picture

ROOT = Path(__file__).parent.parent


def f64(x) -> torch.Tensor:
    return torch.tensor(x, dtype=torch.float64)


def noise(*shape, seed=0, device="cpu", dtype=torch.float32) -> torch.Tensor:
    """Values in [.3, .7] that no clip at 0 or 1 touches as long as little is added; the same on every device."""
    x = torch.rand(shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return (.3 + .4 * x).to(device, dtype)


def waves(T, f, fps, size=(16, 20), amount=.01, device="cpu", dtype=torch.float64) -> torch.Tensor:
    """A grey, even picture whose brightness goes up and down with f Hz: (1, T, 3, *size)"""
    wave = .5 + amount * torch.sin(2 * math.pi * f / fps * torch.arange(T, dtype=torch.float64))
    return wave.to(device, dtype)[None, :, None, None, None].expand(1, T, 3, *size).contiguous()


def response(c, f, fps) -> complex:
    """What a recursion makes of a sinusoid, from its difference equation: (b0 + b1 z⁻¹) / (1 + a1 z⁻¹)"""
    b0, b1, a1 = c
    z = cmath.exp(-2j * math.pi * f / fps)
    return (b0 + b1 * z) / (1 + a1 * z)


# ---- colour

def test_yiq_by_hand(device):
    """Grey is (1, 0, 0): .299 + .587 + .114 = 1, .596 − .274 − .322 = 0, .211 − .523 + .312 = 0. Red is the first column.

    And grey comes back as grey: (1, 1, 1) is the first column of the inverse.
    """
    grey, red = f64([1.0, 1.0, 1.0]).to(device), f64([1.0, 0.0, 0.0]).to(device)
    picture = torch.stack([grey, red], -1)[..., None]                                               # (3, 2, 1)
    assert_close(mix(YIQ.to(device), picture)[..., 0], f64([[1, .299], [0, .596], [0, .211]]).to(device))
    assert_close(RGB[:, 0], f64([1.0, 1.0, 1.0]))


def test_yiq_inverse_is_exact(device):
    """The rounded inverse one finds printed (.956, .621, ...) is off by up to 3e-3; this one comes back to 1e-15."""
    x = noise(2, 3, 5, 7, device=device, dtype=torch.float64)
    assert_close(mix(RGB.to(device), mix(YIQ.to(device), x)), x, rtol=0, atol=1e-14)
    assert_close(RGB, f64([[1, .956, .621], [1, -.272, -.647], [1, -1.106, 1.703]]), rtol=0, atol=3e-3)


def test_chroma_is_left_or_taken(device):
    """A red light that pulses: with chroma 1 the added is red, with chroma 0 its brightness alone, (.299, .299, .299)."""
    T, fps, swing = 24, 12.0, .01 * torch.sin(2 * math.pi * 2 / 12 * torch.arange(24, dtype=torch.float64))
    video = torch.full((1, T, 3, 16, 20), .5, dtype=torch.float64)
    video[:, :, 0] += swing[None, :, None, None]
    video = video.to(device)
    for chroma, red, green in ((1.0, 1.0, 0.0), (0.0, .299, .299), (.5, .6495, .1495)):
        added = magnify(video, fps, 3, band=(1, 3), temporal="ideal", spatial="gaussian", chroma=chroma, level=2) - video
        want = 3 * swing.to(device)
        assert_close(added[0, :, 0, 7, 9], red * want, rtol=0, atol=1e-12)
        assert_close(added[0, :, 1, 7, 9], green * want, rtol=0, atol=1e-12)


def test_chroma_without_a_word(device):
    """.1 for motion, 1 for colour."""
    video = noise(1, 4, 3, 16, 20, device=device)
    for spatial, chroma in (("laplacian", .1), ("gaussian", 1.0)):
        choices = {}, {"chroma": chroma}, {"chroma": .5}
        plain, said, other = (magnify(video, 30, 5, spatial=spatial, **choice) for choice in choices)
        assert_close(plain, said, rtol=0, atol=0)
        assert (plain - other).abs().max() > 2e-4


# ---- in time

def test_butterworth_by_hand():
    """f = fs/4: w = tan(π/4) = 1, so b0 = b1 = 1/2 and a1 = 0: the mean of two neighbours.

    f = fs/6: w = tan(30°) = 1/√3, b = 1 / (1 + √3) = .3660254, a1 = (1 − √3) / (1 + √3) = −.2679492.
    """
    assert_close(f64(butterworth(5, 20)), f64([.5, .5, 0]))
    assert_close(f64(butterworth(5, 30)), f64([.3660254, .3660254, -.2679492]), rtol=0, atol=1e-7)


@pytest.mark.parametrize("f", [.4, 3.0, 11.0])
def test_butterworth_at_the_cut_off(f):
    """|H| is 1 at 0 Hz, 1/√2 at the cut-off, 0 at half the frame rate."""
    c = butterworth(f, 30)
    assert_close(abs(response(c, 0, 30)), 1.0)
    assert_close(abs(response(c, f, 30)), 1 / math.sqrt(2))
    assert abs(response(c, 15, 30)) < 1e-12


def test_iir_by_hand():
    """r = 1/2 needs exp(−2π f / fs) = 1/2: f = fs ln 2 / 2π = 3.309534 Hz at 30 fps.

    The authors' rates .4 and .05 are −30 ln .6 / 2π = 2.439013 and −30 ln .95 / 2π = .2449074 Hz.
    """
    assert_close(f64(iir(3.309534, 30)), f64([.5, 0, -.5]), rtol=0, atol=1e-7)
    assert_close(cut_off(.5, 30), 3.309534, rtol=0, atol=1e-6)
    assert_close(cut_off(.4, 30), 2.439013, rtol=0, atol=1e-6)
    assert_close(cut_off(.05, 30), .2449074, rtol=0, atol=1e-6)
    assert_close(f64(iir(cut_off(.05, 200), 200)), f64([.05, 0, -.95]))


def test_recursion_by_hand(device):
    """b0 = 1/2, b1 = 1/4, a1 = −1/4, x = (4, 8, 0): y[0] = 4; y[1] = 4 + 1 + 1 = 6; y[2] = 0 + 2 + 1.5 = 3.5."""
    y = recursion_matrix(3, .5, .25, -.25).to(device) @ f64([4, 8, 0]).to(device)
    assert_close(y, f64([4, 6, 3.5]).to(device))


def test_iir_on_a_step():
    """x = 0, 1, 1, 1, ...: an average of rate r is 1 − (1 − r)ⁿ, so the band is (1 − r_low)ⁿ − (1 − r_high)ⁿ."""
    n = torch.arange(9, dtype=torch.float64)
    r1, r2 = 1 - math.exp(-2 * math.pi * 3 / 30), 1 - math.exp(-2 * math.pi * .4 / 30)
    got = temporal_matrix(9, 30, (.4, 3), "iir") @ (n > 0).double()
    assert_close(got, (1 - r2) ** n - (1 - r1) ** n)
    assert 0 < got[1] < 1                                        # up with the step, not down


@pytest.mark.parametrize("temporal", ["iir", "butterworth"])
def test_sinusoid_through_the_recursions(temporal):
    """Long after the start a sinusoid of 2 Hz comes out with the gain and phase of H(high) − H(low)."""
    t = torch.arange(300, dtype=torch.float64)
    wave = torch.exp(2j * math.pi * 2 / 30 * t)
    got = temporal_matrix(300, 30, (.4, 3), temporal).to(wave.dtype) @ wave
    low_pass = {"iir": iir, "butterworth": butterworth}[temporal]
    want = response(low_pass(3, 30), 2, 30) - response(low_pass(.4, 30), 2, 30)
    assert_close(got[-20:], want * wave[-20:])


def test_known_gain_of_the_butterworth_band():
    """.4 to 3 Hz at 30 fps passes 2 Hz with .715, a measured number; with the cut-offs halved it would be .516."""
    low, high = low_passes(30, (.4, 3), "butterworth")
    assert abs(response(high, 2, 30) - response(low, 2, 30)) == pytest.approx(.715, abs=5e-4)


def test_reading_the_cut_offs_are_in_hertz():
    """MATLAB's butter() counts in halves of the frame rate: as_code is the band of half the Hz. "iir" does not change."""
    half = [butterworth(.2, 30), butterworth(1.5, 30)]
    assert low_passes(30, (.4, 3), "butterworth", as_code=True) == half
    assert low_passes(30, (.4, 3), "butterworth") == [butterworth(.4, 30), butterworth(3, 30)]
    assert low_passes(30, (.4, 3), "iir", as_code=True) == low_passes(30, (.4, 3), "iir")
    low, high = half
    assert abs(response(high, 1.5, 30)) == pytest.approx(1 / math.sqrt(2))              # the named 3 Hz is 1.5


@pytest.mark.parametrize("as_code, gain", [(False, 1.0), (True, .5)])
def test_reading_the_ideal_band_is_two_sided(as_code, gain, device):
    """30 frames at 30 fps, band 1.5 to 4.5 Hz: 2 and 4 Hz pass whole (half in the code), 1 and 5 Hz and a mean do not."""
    matrix = ideal_matrix(30, 30, (1.5, 4.5), as_code).to(device)
    t = torch.arange(30, dtype=torch.float64, device=device) / 30
    for f, passes in ((0, 0), (1, 0), (2, 1), (4, 1), (5, 0), (14, 0)):
        wave = torch.cos(2 * math.pi * f * t + .3)
        assert_close(matrix @ wave, gain * passes * wave, rtol=0, atol=1e-13)


def test_ideal_bins_on_the_cut_off_are_out():
    """Strictly inside: a band from 2 to 4 Hz with a bin every 1 Hz keeps ±3 Hz alone, so the matrix has trace 2."""
    assert torch.trace(ideal_matrix(30, 30, (2, 4))).item() == pytest.approx(2)
    assert torch.trace(ideal_matrix(36, 30, (5 / 6, 2.0))).item() == pytest.approx(2)   # bin 1 is 5/6 Hz, bin 2 inside


def test_magnify_halves_the_ideal_band_as_the_code_does(device):
    """An even light of 2 Hz, α = 8, colour version: it sways 1 + 8 = 9 times as far, as in the code 1 + 8/2 = 5."""
    video = waves(30, 2, 30, device=device)
    kw = {"band": (1.5, 4.5), "temporal": "ideal", "spatial": "gaussian", "level": 2}
    assert_close(magnify(video, 30, 8, **kw) - .5, 9 * (video - .5), rtol=0, atol=1e-12)
    assert_close(magnify(video, 30, 8, as_code=True, **kw) - .5, 5 * (video - .5), rtol=0, atol=1e-12)


# ---- in space

def test_band_gains_by_hand():
    """64 × 64, α = 10, λ_c = 16: five bands (64, 32, 16, 8, 4); δ = 16 / 88 = 2/11, 8δ = 16/11.

    λ of the coarsest: 64 √2 / 3 = 30.169889, so from the coarsest  30.170, 15.085, 7.5425, 3.7712, 1.8856.
    2 (λ/8δ − 1):  band 1: 2 (3.7712 · 11/16 − 1) = 3.185450   band 2: 2 (7.5425 · 11/16 − 1) = 8.370899
                   band 3: 2 (15.085 · 11/16 − 1) = 18.7 > 10     bands 0 and 4: 0.
    """
    assert_close(f64(band_gains((64, 64), 10, 16)), f64([0, 3.185450, 8.370899, 10, 0]), rtol=0, atol=1e-5)


def test_band_gains_take_the_diagonal():
    """30 × 40: levels 30, 15, 7, 3 → 4 bands; diagonal 50; α = 1, λ_c = 8, 8δ = 4: λ = 16.667, 8.333, 4.1667, 2.0833.

    band 1: 2 (4.1667/4 − 1) = 1/12;  band 2: 2 (8.3333/4 − 1) = 2.17 > 1.
    """
    assert_close(f64(band_gains((30, 40), 1, 8)), f64([0, 1 / 12, 1, 0]))
    assert band_gains((30, 40), 1, 8) == band_gains((40, 30), 1, 8)


def test_reading_no_gain_below_zero(device):
    """64 × 64, α = 1, λ_c = 16, 8δ = 8: band 1: 2 (3.7712/8 − 1) = −1.0572, band 2: −.11438, band 3: 1.7712 → 1.

    What is below 0 becomes 0.
    """
    assert_close(f64(band_gains((64, 64), 1, 16)), f64([0, 0, 0, 1, 0]))
    assert_close(f64(band_gains((64, 64), 1, 16, as_code=True)), f64([0, -1.057191, -.114382, 1, 0]), rtol=0, atol=1e-5)
    video = noise(1, 4, 3, 16, 20, device=device)
    assert (magnify(video, 30, 1) - magnify(video, 30, 1, as_code=True)).abs().max() > .01


def test_reading_the_factor_two():
    """The paper alone would give band 1 of the 64 × 64 picture λ/8δ − 1 = 1.592725; here, as in the code, twice."""
    assert band_gains((64, 64), 10, 16)[1] == pytest.approx(2 * 1.592725, abs=1e-5)


@pytest.mark.parametrize("n, m", [(5, 20), (7, 13)])
def test_bicubic_is_torchs_in_the_interior(n, m, device):
    """a = −1/2 is what torch takes with antialias=True; only the border differs: there the edge is mirrored here."""
    x = noise(1, 1, 3, n, device=device, dtype=torch.float64)
    at = (torch.arange(m, dtype=torch.float64) + .5) * n / m - .5
    peer = F.interpolate(x, size=(3, m), mode="bicubic", antialias=True)[0, 0]
    inside = ((at > 1) & (at < n - 2)).to(device)
    assert inside.sum() >= 3
    got = x[0, 0] @ bicubic_matrix(n, at).mT.to(device)
    assert_close(got[:, inside], peer[:, inside])


def test_bicubic_by_hand():
    """Halfway: (−1, 9, 9, −1)/16. On a pixel: that pixel. At −1/2 the mirrored edge: 2·9/16 and −2/16."""
    got = bicubic_matrix(5, f64([1.5, 3, -.5]))
    assert_close(got, f64([[-1 / 16, 9 / 16, 9 / 16, -1 / 16, 0], [0, 0, 0, 1, 0], [18 / 16, -2 / 16, 0, 0, 0]]))


def test_reading_colour_stays_where_it_is(device):
    """A blob that blinks at row 32, column 48: there the added light has its centre; as_code (2³ − 1)/2 = 3.5 px off."""
    y, x = torch.arange(80.0, dtype=torch.float64)[:, None], torch.arange(96.0, dtype=torch.float64)
    blob = torch.exp(-((y - 32) ** 2 + (x - 48) ** 2) / (2 * 6 ** 2))                                # (80, 96)
    video = .5 + .01 * blob * torch.sin(2 * math.pi * 3 / 30 * torch.arange(30, dtype=torch.float64))[:, None, None, None]
    video = video[None].expand(1, 30, 3, 80, 96).contiguous().to(device)
    for as_code, shift in ((False, 0.0), (True, 3.5)):
        out = magnify(video, 30, 10, band=(1, 5), temporal="ideal", spatial="gaussian", level=3, as_code=as_code)
        added = out - video
        light = added[0, 2, 0].cpu()
        centre = (light * y).sum() / light.sum(), (light * x).sum() / light.sum()
        assert centre[0].item() == pytest.approx(32 + shift, abs=.15)
        assert centre[1].item() == pytest.approx(48 + shift, abs=.15)


# ---- known motion

def sway_of(video: torch.Tensor, like: torch.Tensor, f: float, fps: float, skip: int) -> complex:
    """How far a picture sways with f Hz, in pixels, as a complex amplitude; a least-squares fit of its slope.

    video   (T, H, W),  like  (H, W)   the picture at rest
    """
    slope, w = torch.zeros_like(like), torch.zeros_like(like)
    slope[:, 1:-1] = (like[:, 2:] - like[:, :-2]) / 2
    w[8:-8, 8:-8] = 1
    s = -((video[skip:] - like) * slope * w).sum((1, 2)) / (slope ** 2 * w).sum()
    t = torch.arange(skip, len(video), device=s.device) / fps
    return (2 * (s * torch.exp(-2j * math.pi * f * t)).mean()).item()


def test_a_grating_sways_as_far_as_the_theory_says(device):
    """A grating of λ = 16 px, 0.05 px at 3 Hz, 16 rows high: 3 bands, of which the middle one is magnified.

    (1, 4, 6, 4, 1)/16 passes ω with h = cos⁴(ω/2); down and up again with h². Without the finest and the coarsest band
    there remain h²(ω) − h²(ω) h²(2ω) = .4018 at ω = 2π/16: h(ω) = cos⁴ 11.25° = .925327, h(2ω) = cos⁴ 22.5° = .728553.
    λ of the middle band: √(16² + 128²)/6 = 21.5 px, its gain with λ_c = 2 the whole α = 5. Motion: 1 + 5 · .4018 = 3.009.
    """
    h, h2 = .925327 ** 2, .728553 ** 2
    t, x = torch.arange(30, dtype=torch.float64), torch.arange(128, dtype=torch.float64)
    moved = x - .05 * torch.sin(2 * math.pi * 3 / 30 * t)[:, None]                                  # (30, 128)
    rows = .5 + .1 * torch.cos(2 * math.pi * moved / 16)
    video = rows[None, :, None, None].expand(1, 30, 3, 16, 128).contiguous().to(device)
    out = magnify(video, 30, 5, lambda_c=2, band=(2, 4), temporal="ideal")[0, :, 0, 8, 32:96]         # four wavelengths
    fundamental = (out * torch.exp(2j * math.pi * x[32:96] / 16).to(device)).sum(1)
    phase = (fundamental / fundamental[0].abs()).angle()
    travel = 16 / (2 * math.pi) * (phase - phase.mean())
    largest = .05 * .9510565                                     # no frame sees 90°, the nearest is sin 72°
    assert travel.abs().max().item() / largest == pytest.approx(1 + 5 * (h - h * h2), rel=2e-3)


@pytest.mark.parametrize("settings, gain", [
    ({"band": (cut_off(.05, 30), cut_off(.4, 30))}, 4.26),
    ({"temporal": "butterworth", "as_code": True}, 3.23),
    ({"temporal": "butterworth"}, 4.37),
    ({"temporal": "butterworth", "lambda_c": 2}, 5.29),
    ({"temporal": "butterworth", "alpha": 4}, 2.13)])
def test_measured_gains(settings, gain, device):
    """64 × 64, a soft edge that sways by 0.25 px at 2 Hz, 30 fps: the gains measured with the authors' method, within 7 %.

    The edge's softness is ours (tanh(x/3)); how the five gains stand to each other is not.
    """
    T, x = 90, torch.arange(64, dtype=torch.float64) - 31.5
    d = .25 * torch.sin(2 * math.pi * 2 / 30 * torch.arange(T, dtype=torch.float64))
    rows = .5 + .3 * torch.tanh((x - d[:, None]) / 3)                                               # (T, 64)
    video = rows[None, :, None, None].expand(1, T, 3, 64, 64).contiguous().to(device)
    rest = (.5 + .3 * torch.tanh(x / 3)).expand(64, 64).to(device)
    out = magnify(video, 30, **{"alpha": 10, **settings})[0, :, 0]
    measured = abs(sway_of(out, rest, 2, 30, 30) / sway_of(video[0, :, 0], rest, 2, 30, 30))
    assert measured == pytest.approx(gain, rel=.07)


def test_motion_goes_on_in_its_own_direction(device):
    """An edge that steps to the right by 0.2 px goes further right, not back."""
    x = torch.arange(32, dtype=torch.float64)
    rows = torch.stack([.5 + .3 * torch.tanh((x - 16 - d) / 3) for d in (0, .2, .2)])
    video = rows[None, :, None, None].expand(1, 3, 3, 32, 32).contiguous().to(device)
    out = magnify(video, 30, 5, band=(0, 12))[0, :, 0, 16, 16]
    assert out[1] < video[0, 1, 0, 16, 16] < video[0, 0, 0, 16, 16]                     # the dark side comes nearer


# ---- the slow twin

def mirrored(k: int, n: int) -> int:
    """... 2 1 | 0 1 2 ... n−1 | n−2 ..."""
    k = abs(k)
    while k >= n:
        k = abs(2 * (n - 1) - k)
    return k


def slow_blur(a: np.ndarray, gain: float = 1.0) -> np.ndarray:
    """(1, 4, 6, 4, 1)/16 along rows and columns of (3, H, W), tap by tap"""
    taps = {-2: 1 / 16, -1: 4 / 16, 0: 6 / 16, 1: 4 / 16, 2: 1 / 16}
    for axis in (1, 2):
        out, n = np.zeros_like(a), a.shape[axis]
        for i in range(n):
            for k, tap in taps.items():
                value = a[:, mirrored(i + k, n), :] if axis == 1 else a[:, :, mirrored(i + k, n)]
                if axis == 1:
                    out[:, i, :] += gain * tap * value
                else:
                    out[:, :, i] += gain * tap * value
        a = out
    return a


def slow_up(a: np.ndarray, shape: tuple) -> np.ndarray:
    wide = np.zeros(shape)
    for i in range(a.shape[1]):
        for j in range(a.shape[2]):
            wide[:, 2 * i, 2 * j] = a[:, i, j]
    return slow_blur(wide, 2.0)


def slow_pyramid(a: np.ndarray) -> list[np.ndarray]:
    height, (h, w) = 0, a.shape[1:]
    while h >= 5 and w >= 5:
        h, w, height = h // 2, w // 2, height + 1
    bands = []
    for _ in range(height):
        small = slow_blur(a)[:, ::2, ::2]
        bands.append(a - slow_up(small, a.shape))
        a = small
    return bands + [a]


def slow_rate(f: float, fps: float) -> float:
    return 1 - np.exp(-2 * np.pi * f / fps)


def slow_twin(video: np.ndarray, fps: float, alpha: float, lambda_c: float, band: tuple, temporal: str, chroma: float,
              as_code: bool) -> np.ndarray:
    """The authors' order: each frame's pyramid, each band filtered in time, gains, collapse, chroma, add. (T, 3, H, W)"""
    to_yiq = np.array([[.299, .587, .114], [.596, -.274, -.322], [.211, -.523, .312]])
    to_rgb = np.linalg.inv(to_yiq)
    frames = [np.tensordot(to_yiq, frame, 1) for frame in video]
    pyramids = [slow_pyramid(frame) for frame in frames]
    count, (H, W) = len(pyramids[0]), video.shape[2:]
    fast, slow = list(pyramids[0]), list(pyramids[0])
    out = [video[0]]
    for n in range(1, len(frames)):
        for b in range(count):
            x, before = pyramids[n][b], pyramids[n - 1][b]
            if temporal == "iir":
                fast[b] = fast[b] + slow_rate(band[1], fps) * (x - fast[b])
                slow[b] = slow[b] + slow_rate(band[0], fps) * (x - slow[b])
            else:
                w_high, w_low = (np.tan(np.pi * f / (2 if as_code else 1) / fps) for f in (band[1], band[0]))
                fast[b] = (w_high * (x + before) - (w_high - 1) * fast[b]) / (w_high + 1)
                slow[b] = (w_low * (x + before) - (w_low - 1) * slow[b]) / (w_low + 1)
        passed = [fast[b] - slow[b] for b in range(count)]
        delta, wavelength = lambda_c / 8 / (1 + alpha), np.sqrt(H ** 2 + W ** 2) / 3
        for b in range(count - 1, -1, -1):
            gain = min((wavelength / delta / 8 - 1) * 2, alpha)
            if gain < 0 and not as_code:
                gain = 0
            if b == 0 or b == count - 1:
                gain = 0
            passed[b] = gain * passed[b]
            wavelength /= 2
        picture = passed[-1]
        for b in range(count - 2, -1, -1):
            picture = slow_up(picture, passed[b].shape) + passed[b]
        picture[1:] *= chroma
        out.append(np.clip(np.tensordot(to_rgb, frames[n] + picture, 1), 0, 1))
    return np.stack(out)


@pytest.mark.parametrize("temporal, as_code, alpha, lambda_c, chroma", [
    ("iir", False, 3, 12.0, .1), ("butterworth", False, 9, 16.0, 0.0), ("butterworth", True, 1, 16.0, 1.0)])
def test_the_slow_twin(temporal, as_code, alpha, lambda_c, chroma, device):
    """Pyramids first, then time, frame by frame and tap by tap: the same video. Odd sizes; the last has negative gains."""
    video = noise(1, 5, 3, 41, 22, seed=3, device=device, dtype=torch.float64)
    want = slow_twin(video[0].cpu().numpy(), 20, alpha, lambda_c, (.5, 6), temporal, chroma, as_code)
    got = magnify(video, 20, alpha, lambda_c, (.5, 6), temporal, "laplacian", chroma, as_code=as_code)
    assert np.abs(want - video[0].cpu().numpy()).max() > .05
    assert_close(got[0].cpu(), torch.from_numpy(want), rtol=0, atol=1e-12)


@pytest.mark.parametrize("as_code", [False, True])
def test_the_slow_twin_of_the_colour_version(as_code, device):
    """Blur and halve twice, a Fourier sum over the frames bin by bin, cubic reading pixel by pixel."""
    T, fps, band, alpha, chroma = 9, 18.0, (1.5, 5.0), 2.0, .5
    video = noise(1, T, 3, 13, 22, seed=4, device=device, dtype=torch.float64)
    frames = video[0].cpu().numpy()
    small = [slow_blur(slow_blur(np.tensordot(YIQ.numpy(), f, 1))[:, ::2, ::2])[:, ::2, ::2] for f in frames]

    def cubic(d):
        d = abs(d)
        return 1.5 * d ** 3 - 2.5 * d ** 2 + 1 if d <= 1 else -.5 * d ** 3 + 2.5 * d ** 2 - 4 * d + 2 if d < 2 else 0

    def weights(n, size):
        rows = np.zeros((size, n))
        for j in range(size):
            at = (j + .5) * n / size - .5 if as_code else j / 4
            for k in range(math.floor(at) - 1, math.floor(at) + 3):
                edge = -1 - k if k < 0 else 2 * n - 1 - k if k >= n else k
                rows[j, edge] += cubic(at - k)
        return rows

    want = []
    for n in range(T):
        passed = np.zeros(small[0].shape, complex)
        for k in range(T):
            f = k * fps / T if as_code or k * fps / T <= fps / 2 else fps - k * fps / T
            if band[0] < f < band[1]:
                for m in range(T):
                    passed = passed + small[m] * np.exp(2j * np.pi * k * (n - m) / T) / T
        passed = alpha * passed.real * np.array([1, chroma, chroma])[:, None, None]
        large = weights(4, 13) @ passed @ weights(6, 22).T
        want.append(frames[n] + np.tensordot(np.linalg.inv(YIQ.numpy()), large, 1))
    got = magnify(video, fps, alpha, 16.0, band, "ideal", "gaussian", chroma, level=2, as_code=as_code)
    assert_close(got[0].cpu(), torch.from_numpy(np.clip(np.stack(want), 0, 1)), rtol=0, atol=1e-12)


# ---- limit cases

@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("spatial, temporal", [("laplacian", "iir"), ("gaussian", "ideal")])
def test_alpha_zero_is_the_input_bit_for_bit(spatial, temporal, dtype, device):
    """No way through YIQ and back, and not the same memory either."""
    video = torch.rand(2, 30, 3, 16, 21, generator=torch.Generator().manual_seed(1)).to(device, dtype)
    out = magnify(video, 30, 0, temporal=temporal, spatial=spatial)
    assert out.dtype == dtype and torch.equal(out, video) and out.data_ptr() != video.data_ptr()


@pytest.mark.parametrize("temporal", ["iir", "butterworth", "ideal"])
@pytest.mark.parametrize("spatial", ["laplacian", "gaussian"])
def test_what_does_not_move_stays(spatial, temporal, device):
    """A constant video is the same video, whatever α."""
    video = noise(2, 1, 3, 17, 24, device=device).expand(2, 30, 3, 17, 24)
    assert_close(magnify(video, 30, 50, temporal=temporal, spatial=spatial), video, rtol=0, atol=3e-5)


@pytest.mark.parametrize("temporal", ["iir", "butterworth"])
def test_the_first_frame_is_itself_and_the_last_is_magnified(temporal, device):
    """The recursions start at the first frame. And Reading: no frame is left out at the end."""
    video = noise(1, 5, 3, 16, 20, device=device)
    out = magnify(video, 30, 5, temporal=temporal)
    assert out.shape == video.shape and torch.equal(out[:, 0], video[:, 0])
    assert all((out[:, t] - video[:, t]).abs().max() > .01 for t in range(1, 5))


def test_what_is_not_said_is_as_said(device):
    """The defaults, written out: of magnify, of Stream, of both kinds."""
    video = noise(1, 6, 3, 48, 40, device=device)
    for spatial, chroma, amount in (("laplacian", .1, 5), ("gaussian", 1.0, 3)):
        said = magnify(video, 30, amount, 16.0, (.4, 3.0), "iir", spatial, chroma, 4, False)
        assert_close(magnify(video, 30, amount, spatial=spatial), said, rtol=0, atol=0)
        stream = Stream(30, amount, spatial=spatial)
        assert_close(torch.stack([stream.step(frame) for frame in video.unbind(1)], 1), said, rtol=0, atol=2e-6)
        size = {"lambda_c": 8.0} if spatial == "laplacian" else {"level": 3}
        for other in ({"band": (.2, 3.0)}, {"band": (.4, 4.0)}, size):
            assert (magnify(video, 30, amount, spatial=spatial, **other) - said).abs().max() > 1e-4
    assert_close(magnify(video, 30, 5), magnify(video, 30, 5, spatial="laplacian"), rtol=0, atol=0)


def test_clipped_to_zero_and_one(device):
    """Values that leave [0, 1] are cut there, at both ends."""
    out = magnify(torch.rand(1, 4, 3, 16, 20, generator=torch.Generator().manual_seed(2)).to(device), 30, 50)
    assert out.min() == 0 and out.max() == 1


def test_a_low_end_of_zero_keeps_what_changed_since_the_first_frame(device):
    """Band 0 to 12 Hz: a light that goes on at frame 1 and stays is still magnified at frame 39; from .4 Hz on it fades."""
    video = torch.full((1, 40, 3, 16, 20), .5, dtype=torch.float64)
    video[:, 1:] += .01
    video = video.to(device)
    since, fading = (magnify(video, 30, 4, band=(low, 12), spatial="gaussian", level=2)[0, 39, 0, 8, 10].item()
                     for low in (0, .4))
    assert since == pytest.approx(.51 + 4 * .01, abs=1e-6)
    assert fading < .52


@pytest.mark.parametrize("spatial", ["laplacian", "gaussian"])
def test_a_batch_is_its_clips(spatial, device):
    """Two clips at once are each by itself."""
    video = noise(2, 6, 3, 19, 26, device=device)
    out = magnify(video, 30, 4, spatial=spatial, level=2)
    for b in range(2):
        assert_close(out[b:b + 1], magnify(video[b:b + 1], 30, 4, spatial=spatial, level=2), rtol=0, atol=1e-6)


def test_float32_is_float64(device):
    """Single precision is off by less than a hundredth of a grey level of 8 bits."""
    video = noise(1, 12, 3, 37, 52, device=device, dtype=torch.float64)
    for temporal in ("iir", "butterworth", "ideal"):
        kw = {"alpha": 5, "band": (.4, 6), "temporal": temporal}
        single, exact = magnify(video.float(), 30, **kw), magnify(video, 30, **kw)
        assert single.dtype == torch.float32 and exact.dtype == torch.float64
        assert_close(single.double(), exact, rtol=0, atol=4e-5)


# ---- frame by frame

@pytest.mark.parametrize("temporal", ["iir", "butterworth"])
@pytest.mark.parametrize("settings", [
    {}, {"chroma": 0.0, "as_code": True}, {"spatial": "gaussian", "level": 2}, {"alpha": 0},
    {"spatial": "gaussian", "level": 2, "as_code": True}])
def test_the_stream_is_the_batch(temporal, settings, device):
    """The recursion itself, against the recursion as one matrix over time."""
    video = noise(2, 14, 3, 18, 29, seed=5, device=device)
    settings = {"alpha": 4, "band": (.3, 7), "temporal": temporal, **settings}
    whole, stream = magnify(video, 30, **settings), Stream(30, **settings)
    for t in range(14):
        assert_close(stream.step(video[:, t]), whole[:, t], rtol=0, atol=2e-6)


def test_the_stream_holds_three_small_frames(device):
    """After ten frames: the last one, and the two averages, each of half the sides."""
    stream = Stream(30, 4)
    for frame in noise(1, 10, 3, 20, 30, device=device).unbind(1):
        stream.step(frame)
    assert [tuple(x.shape) for x in (stream.before, *stream.averages)] == [(1, 3, 10, 15)] * 3


def test_the_stream_refuses(device):
    """"ideal", which needs the clip; a clip for a frame; another size in between; values that are not there."""
    with pytest.raises(ValueError, match="temporal 'ideal' needs all frames"):
        Stream(30, 4, temporal="ideal")
    with pytest.raises(ValueError, match=r"frame must be \(B, 3, H, W\).*\(1, 2, 3, 16, 20\)"):
        Stream(30, 4).step(noise(1, 2, 3, 16, 20, device=device))
    with pytest.raises(ValueError, match=r"values in \[0, 1\]; got nan"):
        Stream(30, 4).step(torch.full((1, 3, 16, 20), float("nan"), device=device))
    stream = Stream(30, 4)
    stream.step(noise(1, 3, 16, 20, device=device))
    with pytest.raises(ValueError, match=r"\(1, 3, 16, 20\) like the first; got \(1, 3, 16, 22\)"):
        stream.step(noise(1, 3, 16, 22, device=device))


# ---- bad input

@pytest.mark.parametrize("settings, message", [
    ({"fps": 0}, "fps must be above 0.*got 0"),
    ({"fps": float("nan")}, "fps must be above 0.*got nan"),
    ({"alpha": -1}, "alpha must be between 0 and a million; got -1"),
    ({"alpha": float("inf")}, "alpha must be between 0 and a million; got inf"),
    ({"lambda_c": 0}, "lambda_c must be above 0.*got 0"),
    ({"band": (3, .4)}, r"band must be \(low, high\).*got \(3, 0.4\)"),
    ({"band": (2, 2)}, r"band must be \(low, high\).*got \(2, 2\)"),
    ({"band": (1, 2, 3)}, r"band must be \(low, high\).*got \(1, 2, 3\)"),
    ({"band": (-1, 2)}, r"band must be \(low, high\).*got \(-1, 2\)"),
    ({"band": (1, 15)}, r"below half the frame rate, 15 Hz at 30 fps; got \(1, 15\)"),
    ({"fps": 5}, r"below half the frame rate, 2.5 Hz at 5 fps; got \(0.4, 3.0\)"),
    ({"temporal": "fft"}, "temporal must be one of iir, butterworth, ideal; got 'fft'"),
    ({"spatial": "steerable"}, "spatial must be one of laplacian, gaussian; got 'steerable'"),
    ({"chroma": -.1}, "chroma must be between 0 and a million; got -0.1"),
    ({"level": 0}, "level must be a whole number.*got 0"),
    ({"level": 1.5}, "level must be a whole number.*got 1.5"),
    ({"level": 5, "spatial": "gaussian"}, "level must be 4 or less for H × W = 16 × 20.*got 5"),
    ({"band": (5 / 6, 1), "temporal": "ideal"}, "12 frames at 30 fps have one every 2.5 Hz; 181 frames are enough"),
    ({"video": torch.zeros(12, 3, 16, 20)}, r"video must be \(B, T, 3, H, W\).*got \(12, 3, 16, 20\); put video\[None\]"),
    ({"video": torch.zeros(1, 12, 1, 16, 20)}, r"video must be \(B, T, 3, H, W\).*got \(1, 12, 1, 16, 20\)"),
    ({"video": torch.zeros(0, 12, 3, 16, 20)}, r"none of them 0; got \(0, 12, 3, 16, 20\)"),
    ({"video": torch.zeros(1, 1, 3, 16, 20)}, "2 frames or more"),
    ({"video": torch.full((1, 12, 3, 16, 20), float("nan"))}, r"values in \[0, 1\]; got nan"),
    ({"video": torch.full((1, 12, 3, 16, 20), float("inf"))}, r"values in \[0, 1\]; got inf"),
    ({"video": torch.full((1, 12, 3, 16, 20), 255.0)}, r"values in \[0, 1\]; got 255 to 255: divide by 255"),
    ({"video": torch.zeros(1, 12, 3, 16, 20, dtype=torch.uint8)}, "float32 or float64.*got torch.uint8; divide by 255"),
    ({"video": torch.zeros(1, 12, 3, 9, 20)}, "10 pixels or more on each side.*got H × W = 9 × 20")])
def test_bad_input_is_refused(settings, message, device):
    """By the argument's name and value, and what is allowed."""
    arguments = {"video": torch.full((1, 12, 3, 16, 20), .5), "fps": 30, "alpha": 4, **settings}
    arguments["video"] = arguments["video"].to(device)
    with pytest.raises(ValueError, match=message):
        magnify(**arguments)


def test_the_number_of_frames_it_names_is_enough():
    """181 frames at 30 fps do have a bin between 5/6 and 1 Hz: 30/181 · 6 = .9945."""
    assert torch.trace(ideal_matrix(181, 30, (5 / 6, 1))).item() == pytest.approx(2)


def test_all_that_changed_since_the_first_frame(device):
    """A band from 0 to infinity passes frame − first frame as it is: the matrix is 1 − (every row the first frame)."""
    wanted = torch.eye(5, dtype=torch.float64)
    wanted[:, 0] -= 1
    assert_close(temporal_matrix(5, 30, (0, math.inf), "iir"), wanted)
    with pytest.raises(ValueError, match="below half the frame rate"):
        magnify(noise(1, 5, 3, 16, 20, device=device), 30, 4, band=(0, math.inf), temporal="butterworth")


def test_a_micro_expression_grows(device):
    """A drawn smile of a pixel at 200 frames a second, α = 4. With the band and the wavelength that the docstring names, the
    flow of what moves grows over 2 times; with the defaults, made for slow motion, not half as much again."""
    micro = plan_micro(11, seed=2, subjects=4, drift=0, noise=0, peak=(1., 1.1))[10:]
    onset, apex = int(micro.onset), int(micro.apex)
    video = draw(micro.clip(0), 160, device)[0][:, onset:apex + 1]
    large = {name: magnify(video, micro.fps, 4, **how)[:, -1] for name, how in
             (("named", {"band": (0, 40), "lambda_c": 4}), ("default", {}))}
    way = lambda frame: farneback(grey(video[:, 0]), grey(frame)).norm(dim=1)
    plain = way(video[:, -1])
    moving = plain > .5 * plain.max()
    grown = {name: float(way(frame)[moving].mean() / plain[moving].mean()) for name, frame in large.items()}
    assert grown["named"] > 2 > 1.5 > grown["default"] > 1


def test_under_autocast_nothing_changes(device):
    video = noise(1, 5, 3, 16, 20, device=device)
    with torch.autocast(device.type, torch.bfloat16):
        whole, stream = magnify(video, 30, 4), Stream(30, 4)
        frames = torch.stack([stream.step(frame) for frame in video.unbind(1)], 1)
    assert whole.dtype == frames.dtype == torch.float32
    assert_close(whole, magnify(video, 30, 4))
    assert_close(frames, whole, atol=2e-6, rtol=0)


# ---- the command

@pytest.fixture
def folder(tmp_path) -> Path:
    """Eight frames of 24 × 20 in which an edge sways."""
    x = torch.arange(24.0)
    for t in range(8):
        row = .5 + .3 * torch.tanh((x - 12 - .3 * math.sin(2 * math.pi * t / 8)) / 2)
        write_picture(row.expand(3, 20, 24), tmp_path / "clip" / f"{t:02d}.png")
    return tmp_path / "clip"


def read(path) -> torch.Tensor:
    clip = Clip(path)
    return clip.read(range(len(clip)))


def eight_bits(video: torch.Tensor) -> torch.Tensor:
    return (255 * video[0]).round().to(torch.uint8)


def test_command_line_in_a_process(folder, tmp_path):
    """As one types it, with the numbers that magnify gives."""
    out = tmp_path / "large"
    command = [sys.executable, "-m", "refnet.flow.eulerian", str(folder), str(out), "--alpha", "6", "--band", "0.5", "8"]
    done = subprocess.run([*command, "--device", "cpu"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "8 frames, 24 x 20; alpha 6, 0.5 to 8 Hz at 25 fps" in done.stdout and done.stderr == ""
    assert torch.equal(read(out)[0], read(folder)[0])
    want = eight_bits(magnify(read(folder)[None].float() / 255, 25, 6, band=(.5, 8)))
    assert (read(out).int() - want.int()).abs().max() <= 1
    assert (read(out).int() - read(folder).int()).abs().max() > 5


@pytest.mark.parametrize("flags, settings", [
    (["--rates", "0.4", "0.05"], {"band": (cut_off(.05, 25), cut_off(.4, 25))}),
    (["--fps", "40", "--lambda-c", "4", "--temporal", "butterworth", "--chroma", "0", "--as-code"],
     {"fps": 40, "lambda_c": 4, "temporal": "butterworth", "chroma": 0, "as_code": True}),
    (["--temporal", "ideal", "--band", "2", "5", "--spatial", "gaussian", "--level", "2"],
     {"temporal": "ideal", "band": (2, 5), "spatial": "gaussian", "level": 2}),
    (["--spatial", "gaussian"], {"spatial": "gaussian"})])
def test_every_flag_arrives(flags, settings, folder, tmp_path, capsys):
    """Each flag is the argument of its name: the frames are magnify's within a grey level, and not the defaults'."""
    assert main([str(folder), str(tmp_path / "large"), "--alpha", "8", "--device", "cpu", *flags]) == 0
    video = read(folder)[None].float() / 255
    want, plain = (eight_bits(magnify(video, **{"fps": 25, "alpha": 8, **s})) for s in (settings, {}))
    got = read(tmp_path / "large")
    assert (got.int() - want.int()).abs().max() <= 1
    assert (got.int() - plain.int()).abs().max() > 2


def test_side_by_side_and_smaller(folder, tmp_path, capsys):
    """24 × 20 shrunk to 12 × 10 by means of four, with the clip itself on the left; alpha 0 shows it twice."""
    flags = ["--alpha", "0", "--size", "12", "--side-by-side", "--device", "cpu"]
    assert main([str(folder), str(tmp_path / "two.png"), *flags]) == 0
    got = read(tmp_path / "two.png")
    assert got.shape[1:] == (3, 10, 24)
    want = F.avg_pool2d(read(folder).float(), 2).round()
    assert (got[0, :, :, :12] - want[0]).abs().max() <= 1 and torch.equal(got[..., :12], got[..., 12:])


def test_it_says_when_alpha_is_too_large(folder, tmp_path, capsys):
    """Alpha 500 drives the edge's surroundings to black and white, and a sentence says so; alpha 1 does not."""
    assert main([str(folder), str(tmp_path / "much"), "--alpha", "500", "--device", "cpu"]) == 0
    assert "came out black or white: the motion is too large for this alpha" in capsys.readouterr().out
    assert main([str(folder), str(tmp_path / "little"), "--alpha", "1", "--device", "cpu"]) == 0
    assert "black or white" not in capsys.readouterr().out


def test_the_rate_is_the_animation_s_own(folder, tmp_path, capsys):
    """A file of 10 frames a second is taken so; a folder at 25; --fps wins; frames that last differently need it."""
    frames = read(folder)
    write_animation(frames, tmp_path / "slow.png", fps=10)
    assert main([str(tmp_path / "slow.png"), str(tmp_path / "a.png"), "--device", "cpu"]) == 0
    assert "at 10 fps" in capsys.readouterr().out
    assert main([str(tmp_path / "slow.png"), str(tmp_path / "b.png"), "--fps", "40", "--device", "cpu"]) == 0
    assert "at 40 fps" in capsys.readouterr().out
    write_animation(torch.cat([frames[:1], frames]), tmp_path / "held.png", fps=10)
    assert main([str(tmp_path / "held.png"), str(tmp_path / "c.png"), "--device", "cpu"]) == 3
    assert "its frames last 100 to 200 ms" in capsys.readouterr().err
    assert main([str(folder), str(tmp_path / "d.gif"), "--fps", "200", "--device", "cpu"]) == 0
    assert "a GIF shows at most 50 frames a second" in capsys.readouterr().out


def test_not_onto_its_own_clip(tmp_path, folder, capsys):
    write_animation(read(folder), tmp_path / "a.gif", fps=10)
    before = (tmp_path / "a.gif").read_bytes()
    assert main([str(tmp_path / "a.gif"), str(tmp_path / "clip" / ".." / "a.gif")]) == 3
    assert "is also read; give the result another name" in capsys.readouterr().err
    assert (tmp_path / "a.gif").read_bytes() == before


def test_the_clip_is_on_the_left(folder, tmp_path, capsys):
    """To the value on the left, changed on the right."""
    assert main([str(folder), str(tmp_path / "two"), "--side-by-side", "--device", "cpu"]) == 0
    left, right = read(tmp_path / "two").split(24, -1)
    assert torch.equal(left, read(folder)) and not torch.equal(right, left)


def test_read_in_pieces(folder, tmp_path, capsys, monkeypatch):
    """A long clip comes a few frames at a time, here three; a frame of another size is still found and named: status 3."""
    assert main([str(folder), str(tmp_path / "whole"), "--device", "cpu"]) == 0
    monkeypatch.setattr("refnet.flow.eulerian.AT_ONCE", 3 * 3 * 24 * 20)
    assert main([str(folder), str(tmp_path / "pieces"), "--device", "cpu"]) == 0
    assert torch.equal(read(tmp_path / "whole"), read(tmp_path / "pieces"))
    write_picture(torch.zeros(3, 30, 30), folder / "99.png")
    monkeypatch.setattr("refnet.flow.eulerian.AT_ONCE", 2 * 3 * 24 * 20)
    assert main([str(folder), str(tmp_path / "never"), "--device", "cpu"]) == 3
    assert "00.png and 99.png differ in size" in capsys.readouterr().err


def test_size_never_enlarges(folder, tmp_path, capsys):
    """--size 100 leaves 24 × 20 as they are; a .gif is written too."""
    assert main([str(folder), str(tmp_path / "out.gif"), "--size", "100", "--device", "cpu"]) == 0
    assert read(tmp_path / "out.gif").shape[1:] == (3, 20, 24)


def test_a_terminal_sees_how_far_it_is(folder, tmp_path, capsys, monkeypatch):
    """One line that moves, on stderr."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    assert main([str(folder), str(tmp_path / "out.gif"), "--device", "cpu"]) == 0
    err = capsys.readouterr().err
    assert err.count("\r") == 8 and err.count("\n") == 1 and "8 of 8 frames" in err


@pytest.mark.parametrize("more, status, says", [
    (["--band", "0.4", "20"], 2, "below half the frame rate, 12.5 Hz"), (["--alpha", "-1"], 2, "alpha must be between 0 and a million"),
    (["--alpa", "1"], 2, "did you mean --alpha"), (["--temporal", "iri"], 2, "did you mean iir"),
    (["--level", "2"], 2, "--level belongs to --spatial gaussian"), (["--device", "abacus"], 2, "no device 'abacus'"),
    (["--spatial", "gaussian", "--lambda-c", "3"], 2, "--lambda-c belongs to --spatial laplacian"),
    (["--rates", "0.4", "1"], 2, "--rates: 0"),
    (["--rates", ".4", ".1", "--temporal", "ideal"], 2, "--rates belong to --temporal iir"),
    (["--rates", ".4", ".1", "--band", "1", "2"], 2, "not allowed with"), (["--size", "4"], 2, "expected 10 or more"),
    (["--temporal", "ideal", "--band", "1", "1.1"], 2, "251 frames are enough")])
def test_command_usage(more, status, says, folder, tmp_path, capsys):
    """What is misspelt or cannot be: a line on stderr that says so, status 2, nothing written."""
    try:
        got = main([str(folder), str(tmp_path / "out.gif"), *more])
    except SystemExit as stop:
        got = stop.code
    assert got == status and says in capsys.readouterr().err
    assert not (tmp_path / "out.gif").exists()


def test_command_pictures(folder, tmp_path, capsys):
    """A clip that is not there, of one frame, with frames of two sizes, and an OUT that cannot be: status 3."""
    def refused(clip, out, says):
        assert main([str(clip), str(out), "--device", "cpu"]) == 3
        assert says in capsys.readouterr().err

    refused(tmp_path / "nowhere", tmp_path / "o.gif", "does not exist")
    refused(folder, tmp_path / "o.xyz", "animations are written as")
    write_animation(torch.zeros(1, 3, 16, 16, dtype=torch.uint8), tmp_path / "one", 25)
    refused(tmp_path / "one", tmp_path / "o.gif", "one frame only")
    write_picture(torch.zeros(3, 30, 30), folder / "99.png")
    refused(folder, tmp_path / "o.gif", "99.png is 30 × 30")
