"""Eulerian video magnification: make small motion in a video large, without following any point.

Wu, Rubinstein, Shih, Guttag, Durand, Freeman. Eulerian Video Magnification for Revealing Subtle Changes in the World.
ACM Transactions on Graphics (SIGGRAPH), 2012. The method is patented in the US (9,324,005; 9,805,475; 9,811,901).

    I(x, t) = f(x + δ(t))                  a picture f that sways by δ(t), much less than a wavelength
    B(x, t) ≈ δ(t) f′(x)                   what a temporal band-pass leaves of it, pixel by pixel
    I + α B ≈ f(x + (1 + α) δ(t))          the same picture, swaying 1 + α times as far; holds while (1 + α) δ < λ/8

    video ─┬─ halve ─ YIQ ─ band-pass in time ─ Laplacian pyramid ─ gain per band ─ collapse ─ RGB ─ double ─ + ─ clip
           └──────────────────────────────────────────────────────────────────────────────────────────────────┘

The authors build every frame's pyramid first and filter each band in time. Both steps are linear and neither looks at the
other's axis, so here time comes first, and once. The finest band gets gain 0, so all this happens at half the size.

    python -m refnet.flow.eulerian CLIP OUT.gif --alpha 10 --band 0.4 3
"""
import argparse
import math
import sys
from collections.abc import Iterator

import torch
from torch import Tensor

from refnet import config
from refnet.flow.command import find_device, not_onto, status_of
from refnet.flow.pyramid import Band, area_matrix, collapse, double, halve, laplacian_pyramid, levels
from refnet.pictures import ANIMATIONS, Clip, PictureError, named, write_animation

TEMPORAL = ("iir", "butterworth", "ideal")
SPATIAL = ("laplacian", "gaussian")
YIQ = torch.tensor([[.299, .587, .114], [.596, -.274, -.322], [.211, -.523, .312]], dtype=torch.float64)
RGB = YIQ.inverse()                               # NTSC's matrix from RGB to YIQ; its exact inverse, not the printed one
AT_ONCE = 2 ** 27                                 # bytes of frames that the command reads in one go


# ---- in time

def iir(f: float, fps: float) -> tuple[float, float, float]:
    """The exponential average y[n] = y[n−1] + r (x[n] − y[n−1]) as a low-pass of cut-off f, in Hz → (b0, b1, a1)

        r = 1 − exp(−2π f / fps)            y[n] = b0 x[n] + b1 x[n−1] − a1 y[n−1]

    The cut-off is that of the average in continuous time: near half the frame rate more gets through. inf lets all through.
    """
    r = 1 - math.exp(-2 * math.pi * f / fps)
    return r, 0.0, r - 1


def cut_off(r: float, fps: float) -> float:
    """The cut-off in Hz of the exponential average with rate r; `iir` the other way round: (r, fps) → f

    The authors give rates, r1 = .4 and r2 = .05; at 30 frames a second they are the band from .245 to 2.44 Hz.
    """
    return -fps * math.log(1 - r) / (2 * math.pi)


def butterworth(f: float, fps: float) -> tuple[float, float, float]:
    """The Butterworth low-pass of first order with cut-off f, in Hz → (b0, b1, a1)

        w = tan(π f / fps)   b0 = b1 = w / (1 + w)   a1 = (w − 1) / (w + 1)
        y[n] = b0 x[n] + b1 x[n−1] − a1 y[n−1]
    """
    w = math.tan(math.pi * f / fps)
    return w / (1 + w), w / (1 + w), (w - 1) / (w + 1)


def recursion_matrix(T: int, b0: float, b1: float, a1: float) -> Tensor:
    """A recursive low-pass over T frames as one matrix: y = matrix @ x, where for n ≥ 1

        y[n] + a1 y[n−1] = b0 x[n] + b1 x[n−1],   and y[0] = x[0]

    →   (T, T)   float64, lower triangular, rows of sum 1

    Started at the first frame, as if it had stood for ever: a video that does not move passes unchanged.
    """
    one, before = torch.eye(T, dtype=torch.float64), torch.ones(T - 1, dtype=torch.float64).diag(-1)
    right = b0 * one + b1 * before
    right[0, 0] = 1
    return torch.linalg.solve_triangular(one + a1 * before, right, upper=False)


def ideal_matrix(T: int, fps: float, band: tuple[float, float], as_code: bool = False) -> Tensor:
    """The band-pass that keeps the Fourier bins strictly inside the band and nothing else, as a matrix → (T, T) float64

    Raises ValueError where no bin falls inside: T frames resolve fps / T Hz.

    Reading: the authors' code counts a bin's frequency from 0 up to fps, so that only the positive of each pair of
    frequencies ±f falls inside, and the real part of what comes back is half the band. Here both fall inside; one with
    `as_code`.
    """
    k = torch.arange(T)
    f = torch.minimum(k, T - k).double() * fps / T                                                  # (T,)   |frequency|
    inside = (band[0] < f) & (f < band[1])
    if not inside.any():
        enough = math.floor(fps / (band[1] - band[0]) * (1 + 1e-9)) + 1                 # fps / enough < high − low
        raise ValueError(f"band {band[0]:g} to {band[1]:g} Hz: no Fourier bin falls inside, as {T} frames at {fps:g} fps "
                         f"have one every {fps / T:.3g} Hz; {enough} frames are enough, or take a wider band, or temporal "
                         f"'iir' or 'butterworth'")
    if as_code:
        inside = inside & (2 * k < T)
    spectra = torch.fft.fft(torch.eye(T, dtype=torch.float64), dim=0)                               # of each frame alone
    return torch.fft.ifft(inside[:, None] * spectra, dim=0).real.contiguous()


def low_passes(fps: float, band: tuple[float, float], temporal: str, as_code: bool = False) -> list[tuple[float, ...]]:
    """The two low-passes whose difference is the band-pass.

    temporal   "iir" or "butterworth"
    →          (b0, b1, a1) of the low cut-off, then of the high

    Reading: the authors' code hands f / fps to MATLAB's butter(), which counts in halves of the frame rate, so that its
    cut-offs are half the Hz they are given in. Here a Hz is a Hz; halved with `as_code`. Nothing changes for "iir".
    """
    if temporal == "iir":
        return [iir(f, fps) for f in band]
    return [butterworth(f / 2 if as_code else f, fps) for f in band]


def temporal_matrix(T: int, fps: float, band: tuple[float, float], temporal: str, as_code: bool = False) -> Tensor:
    """The band-pass over T frames: filtered = matrix @ frames → (T, T) float64"""
    if temporal == "ideal":
        return ideal_matrix(T, fps, band, as_code)
    low, high = (recursion_matrix(T, *c) for c in low_passes(fps, band, temporal, as_code))
    return high - low


# ---- in space

def band_gains(size: tuple[int, int], alpha: float, lambda_c: float, as_code: bool = False) -> list[float]:
    """How much each band of the Laplacian pyramid is magnified, from fine to coarse.

        α_band = min(α, 2 (λ / 8δ − 1)),   δ = λ_c / (8 (1 + α))
        λ = √(H² + W²) / 3 in the coarsest band, half as long in each finer one

    size     (H, W)
    →        one gain a band; 0 in the finest band and in the coarsest, which is what the pyramid leaves over

    Reading: the paper lets α fall to what (1 + α) δ < λ/8 allows, λ / 8δ − 1; the authors' code doubles this, and their
    results were made so. Doubled here too. λ is their representative wavelength, from the picture's size alone.

    Reading: for a large λ_c the rule gives a fine band a negative gain, and the authors' code uses it: that band is made
    still. A gain that should only fall off does not turn round: 0 here; negative with `as_code`.
    """
    count = levels(size)
    delta = lambda_c / (8 * (1 + alpha))
    gains = []
    for finer in range(count - 1, -1, -1):                       # by how many bands finer than the coarsest
        wavelength = math.hypot(*size) / 3 / 2 ** finer
        gain = min(alpha, 2 * (wavelength / (8 * delta) - 1))
        gains.append(gain if as_code else max(gain, 0.0))
    gains[0] = gains[-1] = 0.0
    return gains


def bicubic_matrix(n: int, at: Tensor) -> Tensor:
    """Cubic interpolation (a = −1/2) of n pixels, read at any positions; beyond the edge ... 1 0 | 0 1 ...

    at   (m,)      positions, pixel i is at i
    →    (m, n)    float64
    """
    near = at.double().floor()[:, None] + torch.arange(-1, 3)                                       # (m, 4)
    d = (at[:, None] - near).abs()
    weight = torch.where(d <= 1, (1.5 * d - 2.5) * d ** 2 + 1, ((-.5 * d + 2.5) * d - 4) * d + 2)
    near = near.long() % (2 * n)
    near = torch.minimum(near, 2 * n - 1 - near)
    return torch.zeros(len(at), n, dtype=torch.float64).scatter_add_(1, near, weight)


def mix(matrix: Tensor, x: Tensor) -> Tensor:
    """New colour channels from old: matrix (D, C), x (*, C, H, W) → (*, D, H, W)"""
    return (matrix @ x.flatten(-2)).unflatten(-1, x.shape[-2:])


class _Space:
    """The spatial half of the method for frames of one size: `shrink`, filter in time, `lift`, add.

    Reading: in the colour version each halving keeps pixels 0, 2, 4, ..., so a small pixel i belongs at 2^level · i. The
    authors' code enlarges with MATLAB's imresize, which takes it for the middle of a block and so moves all that is added
    by (2^level − 1) / 2 pixels, right and down. Here it stays where it belongs; moved with `as_code`.
    """

    def __init__(self, like: Tensor, alpha: float, lambda_c: float, spatial: str, chroma: float, level: int,
                 as_code: bool):
        self.size = H, W = tuple(like.shape[-2:])
        C = 1 if chroma == 0 else 3                              # without colour Y is enough
        self.yiq = YIQ[:C].to(like)                                                                 # (C, 3)
        self.rgb = (RGB * torch.tensor([1, chroma, chroma], dtype=RGB.dtype))[:, :C].to(like)       # (3, C)
        self.halvings = level if spatial == "gaussian" else 1
        self.alpha, self.gains, self.upscale = alpha, None, None
        if spatial == "laplacian":
            self.gains = band_gains((H, W), alpha, lambda_c, as_code)[1:-1]
        else:
            self.upscale = []
            for large in (H, W):
                small, i = math.ceil(large / 2 ** level), torch.arange(large, dtype=torch.float64)
                at = (i + .5) * small / large - .5 if as_code else i / 2 ** level
                self.upscale.append(Band(bicubic_matrix(small, at), like))

    def shrink(self, frames: Tensor) -> Tensor:
        """frames (*, 3, H, W) → (*, C, h, w)   YIQ"""
        x = frames
        for _ in range(self.halvings):
            x = halve(x)
        return mix(self.yiq, x)

    def lift(self, x: Tensor) -> Tensor:
        """What is to be added, from the filtered x (*, C, h, w) → (*, 3, H, W)   RGB"""
        if self.gains is None:
            rows, columns = self.upscale
            return columns.across(rows.down(self.alpha * mix(self.rgb, x)))
        bands = laplacian_pyramid(x, len(self.gains) + 1)                                           # without the finest
        x = collapse([gain * band for gain, band in zip(self.gains, bands)])                        # and the coarsest
        return double(mix(self.rgb, x), self.size)


# ---- the method

def magnify(video: Tensor, fps: float, alpha: float, lambda_c: float = 16.0, band: tuple[float, float] = (0.4, 3.0),
            temporal: str = "iir", spatial: str = "laplacian", chroma: float | None = None, level: int = 4,
            as_code: bool = False) -> Tensor:
    """Magnify what changes in a video within a band of frequencies.

    video      (B, T, 3, H, W)   float32 or float64, RGB in [0, 1]
    fps        frames a second
    alpha      the magnification factor; 0 gives the video back, bit for bit. The motion grows by less than 1 + alpha, as
               the filters pass less than all of it
    lambda_c   a wavelength, in pixels: bands shorter than λ_c (1 + α/2) / (1 + α) get less than alpha, those under
               λ_c / (1 + α) nothing; 16 as the authors' for wrist and baby, whose alpha is 10, and as in magnified
               micro-expressions. "gaussian" has no bands and does not use it
    band       the frequencies to magnify, in Hz; .4 to 3 as the authors' for slow motion of the body. (0, inf) with "iir"
               is all that changed since the first frame
    temporal   "iir": two exponential averages; "butterworth": two of first order, sharper towards half the frame rate. Both
               bands are 0 in the first frame and grow from there, which suits a clip that begins at the onset; "ideal":
               Fourier bins, for long clips
    spatial    "laplacian" for motion; "gaussian" for colour, such as the pulse: blurred and halved `level` times
    chroma     the factor for colour, I and Q; if not given .1 for "laplacian", as the authors' for wrist and baby, since
               magnified colour turns to fringes, and 1 for "gaussian", as theirs
    level      of "gaussian" only; 4 as the authors' for a face
    as_code    do as the authors' code does where it departs from what it says: see each `Reading:` in this file
    →          (B, T, 3, H, W)   clipped to [0, 1]

    The defaults are for seconds of slow motion. A micro-expression filmed at 200 frames a second is over before they
    notice: its flow grows 1.2 times with alpha = 4 (drawn faces, 256 pixels), and 2.4 times with band (0, 40), lambda_c 4.
    Raises ValueError for what cannot be magnified so, by name and value.

    Reading: the authors' scripts leave out the last ten frames. All are magnified here.
    """
    if video.dim() != 5 or video.shape[2] != 3 or 0 in video.shape:
        raise ValueError(f"video must be (B, T, 3, H, W), none of them 0; got {tuple(video.shape)}"
                         f"{'; put video[None] for one clip' if video.dim() == 4 else ''}")
    if video.shape[1] < 2:
        raise ValueError(f"video must have 2 frames or more, as one alone does not move; got {tuple(video.shape)}")
    _check_settings(fps, alpha, lambda_c, band, temporal, spatial, chroma, level)
    _check_frames("video", video, spatial, level)
    matrix = temporal_matrix(video.shape[1], fps, band, temporal, as_code).to(video)                # (T, T)
    if alpha == 0:
        return video.clone()
    with torch.autocast(video.device.type, enabled=False):
        space = _Space(video, alpha, lambda_c, spatial, _chroma(chroma, spatial), level, as_code)
        small = space.shrink(video)                                                                 # (B, T, C, h, w)
        filtered = (matrix @ small.flatten(2)).unflatten(2, small.shape[2:])                        # (B, T, C, h, w)
        return (video + space.lift(filtered)).clamp(0, 1)


class Stream:
    """The same, frame by frame: holds three small frames, not the clip.

    Arguments as `magnify`; temporal "iir" or "butterworth", since "ideal" needs the clip whole.
    """

    def __init__(self, fps: float, alpha: float, lambda_c: float = 16.0, band: tuple[float, float] = (0.4, 3.0),
                 temporal: str = "iir", spatial: str = "laplacian", chroma: float | None = None, level: int = 4,
                 as_code: bool = False):
        _check_settings(fps, alpha, lambda_c, band, temporal, spatial, chroma, level)
        if temporal == "ideal":
            raise ValueError("temporal 'ideal' needs all frames at once: take magnify(), or 'iir' or 'butterworth'")
        self.low_passes = low_passes(fps, band, temporal, as_code)
        self.alpha, self.spatial, self.level = alpha, spatial, level
        self.settings = alpha, lambda_c, spatial, _chroma(chroma, spatial), level, as_code
        self.shape, self.space, self.before, self.averages = None, None, None, None

    def step(self, frame: Tensor) -> Tensor:
        """The next frame, magnified: (B, 3, H, W) → (B, 3, H, W)

        The first frame fixes the shape, and it alone is looked through for values outside [0, 1].
        """
        if self.shape is None:
            if frame.dim() != 4 or frame.shape[1] != 3 or 0 in frame.shape:
                raise ValueError(f"frame must be (B, 3, H, W), none of them 0; got {tuple(frame.shape)}")
            _check_frames("frame", frame, self.spatial, self.level)
            self.shape = frame.shape
            self.space = _Space(frame, *self.settings)
        elif frame.shape != self.shape:
            raise ValueError(f"frame must be {tuple(self.shape)} like the first; got {tuple(frame.shape)}: begin a new "
                             f"Stream")
        if self.alpha == 0:
            return frame.clone()
        with torch.autocast(frame.device.type, enabled=False):
            now = self.space.shrink(frame)                                                          # (B, C, h, w)
            if self.before is None:
                self.averages = [now, now]                       # as if the first frame had stood for ever
            else:
                self.averages = [b0 * now + b1 * self.before - a1 * y
                                 for (b0, b1, a1), y in zip(self.low_passes, self.averages)]
            self.before = now
            low, high = self.averages
            return (frame + self.space.lift(high - low)).clamp(0, 1)


def _chroma(chroma: float | None, spatial: str) -> float:
    return {"laplacian": .1, "gaussian": 1.0}[spatial] if chroma is None else chroma


def _check_settings(fps: float, alpha: float, lambda_c: float, band: tuple[float, float], temporal: str, spatial: str,
                    chroma: float | None, level: int) -> None:
    low, high = band if len(band) == 2 else (math.nan, math.nan)
    for good, name, wanted, found in (
            (0 < fps < math.inf, "fps", "above 0, frames a second", fps),
            (0 <= alpha <= 1e6, "alpha", "between 0 and a million", alpha),
            (0 < lambda_c < math.inf, "lambda_c", "above 0, a wavelength in pixels", lambda_c),
            (temporal in TEMPORAL, "temporal", f"one of {', '.join(TEMPORAL)}", repr(temporal)),
            (spatial in SPATIAL, "spatial", f"one of {', '.join(SPATIAL)}", repr(spatial)),
            (chroma is None or 0 <= chroma <= 1e6, "chroma", "between 0 and a million", chroma),
            (level == int(level) and level >= 1, "level", "a whole number of halvings, 1 or more", level),
            (0 <= low < high, "band", "(low, high) in Hz with 0 ≤ low < high", band),
            (high < fps / 2 or temporal == "iir" and high == math.inf, "band",
             f"all below half the frame rate, {fps / 2:g} Hz at {fps:g} fps", band)):
        if not good:
            raise ValueError(f"{name} must be {wanted}; got {found}")


def _check_frames(name: str, frames: Tensor, spatial: str, level: int) -> None:
    """Types, values (this waits for the device) and size; frames (*, H, W)"""
    if frames.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"{name} must be float32 or float64 in [0, 1]; got {frames.dtype}"
                         f"{'; divide by 255' if frames.dtype == torch.uint8 else ''}")
    low, high = (float(v) for v in frames.detach().aminmax())
    if not (-1e-3 <= low and high <= 1 + 1e-3):
        raise ValueError(f"{name} must have values in [0, 1]; got {low:g} to {high:g}: divide by 255, or look for what is "
                         f"not finite")
    H, W = frames.shape[-2:]
    if spatial == "laplacian" and levels((H, W)) < 3:
        raise ValueError(f"{name} must be 10 pixels or more on each side, or no band lies between the finest and the "
                         f"coarsest; got H × W = {H} × {W}")
    if spatial == "gaussian" and 2 ** level > min(H, W):
        raise ValueError(f"level must be {min(H, W).bit_length() - 1} or less for H × W = {H} × {W}, as each halves both "
                         f"sides; got {level}")


# ---- the command

def main(argv: list[str]) -> int:
    """Magnify a clip from file to file; the status: 0 good, 2 usage, 3 the pictures."""
    p = argparse.ArgumentParser(prog="python -m refnet.flow.eulerian", description="Make small motion in a clip large.",
                                allow_abbrev=False)
    p.add_argument("clip", metavar="CLIP", help="a folder of frames, an animation, or a video")
    p.add_argument("out", metavar="OUT", help=".gif, .png, .webp, or a new folder for frames")
    p.add_argument("--alpha", type=float, default=10.0, help="magnification factor; 10")
    p.add_argument("--fps", type=float, help="frames a second of CLIP; what an animation itself tells, else 25")
    p.add_argument("--lambda-c", type=float, help="wavelength in pixels below which alpha falls off; 16")
    between = p.add_mutually_exclusive_group()
    between.add_argument("--band", type=float, nargs=2, default=(0.4, 3.0), metavar=("LOW", "HIGH"), help="in Hz; 0.4 3")
    between.add_argument("--rates", type=float, nargs=2, metavar=("R1", "R2"), help="of iir, instead of a band: 0.4 0.05")
    p.add_argument("--temporal", type=config.one_of("filter", TEMPORAL), default="iir",
                   help=f"{', '.join(TEMPORAL)}; iir")
    p.add_argument("--spatial", type=config.one_of("kind", SPATIAL), default="laplacian",
                   help="laplacian for motion, gaussian for colour; laplacian")
    p.add_argument("--chroma", type=float, help="factor for colour; 0.1 for laplacian, 1 for gaussian")
    p.add_argument("--level", type=int, help="halvings of gaussian; 4")
    p.add_argument("--as-code", action="store_true", help="do as the authors' code where it departs from what it says")
    p.add_argument("--size", type=config.number(10), metavar="N", help="shrink the frames to N pixels on the longer side")
    p.add_argument("--side-by-side", action="store_true", help="CLIP on the left, magnified on the right")
    p.add_argument("--device", type=find_device, default="auto", help="auto, cpu, cuda, cuda:1")
    args, unknown = p.parse_known_args(argv)
    config.refuse_unknown(p, unknown)
    if args.spatial == "gaussian" and args.lambda_c is not None:
        p.error("--lambda-c belongs to --spatial laplacian: gaussian has no bands")
    if args.spatial == "laplacian" and args.level is not None:
        p.error("--level belongs to --spatial gaussian: laplacian takes all levels")
    if args.rates and args.temporal != "iir":
        p.error("--rates belong to --temporal iir; give --band in Hz")
    if args.rates and not 0 <= args.rates[1] < args.rates[0] < 1:
        p.error(f"--rates: 0 ≤ R2 < R1 < 1; got {args.rates[0]:g} {args.rates[1]:g}")
    return status_of(_magnify_file, args)


@torch.no_grad()
def _magnify_file(args: argparse.Namespace) -> None:
    clip, out = Clip(args.clip), named(args.out, "animations", ANIMATIONS)
    not_onto(args.out, args.clip)
    if len(clip) < 2:
        raise PictureError(f"{args.clip}: one frame only, which does not move; give a clip of 2 or more")
    fps = args.fps if args.fps is not None else clip.fps() or 25.0
    band = tuple(cut_off(r, fps) for r in reversed(args.rates)) if args.rates else tuple(args.band)
    settings = {"fps": fps, "alpha": args.alpha, "lambda_c": 16.0 if args.lambda_c is None else args.lambda_c,
                "band": band, "temporal": args.temporal, "spatial": args.spatial, "chroma": args.chroma,
                "level": 4 if args.level is None else args.level, "as_code": args.as_code}
    frames = _frames(clip, args.size, args.device)                                                  # each (1, 3, H, W)
    if args.temporal == "ideal":
        video = torch.stack(list(frames), 1)                                                        # (1, T, 3, H, W)
        pairs = zip(video.unbind(1), magnify(video, **settings).unbind(1))
    else:
        stream = Stream(**settings)
        pairs = ((frame, stream.step(frame)) for frame in frames)
    shown, clipped = [], 0.                                                                         # each uint8 (3, H, W)
    for t, (frame, magnified) in enumerate(pairs, start=1):
        picture = torch.cat([frame, magnified], -1) if args.side_by_side else magnified
        shown.append((255 * picture[0]).round().byte().cpu())
        clipped += float(((magnified <= 0) | (magnified >= 1)).float().mean() - ((frame <= 0) | (frame >= 1)).float().mean())
        if sys.stderr.isatty():
            print(f"\r{t} of {len(clip)} frames\x1b[K", end="" if t < len(clip) else "\n", file=sys.stderr, flush=True)
    write_animation(torch.stack(shown), out, fps)
    H, W = shown[0].shape[-2:]
    print(f"{args.out}: {len(shown)} frames, {W} x {H}; alpha {args.alpha:g}, {band[0]:.3g} to {band[1]:.3g} Hz at {fps:g} fps")
    if out.suffix.lower() == ".gif" and fps > 50:
        print("a GIF shows at most 50 frames a second, so it plays slower; .png and .webp keep the speed")
    if clipped > .05 * len(shown):
        print(f"{clipped / len(shown):.0%} of the values came out black or white: the motion is too large for this alpha; it is "
              f"meant for motion that one hardly sees. A smaller --alpha shows more")


def _frames(clip: Clip, longest: int | None, device: torch.device) -> Iterator[Tensor]:
    """The clip's frames one by one, floats in [0, 1], shrunk where longest says so: each (1, 3, H, W)"""
    first = clip.read([0])                                                                          # (1, 3, H, W)
    like, sides = torch.empty(0, device=device), first.shape[-2:]
    factor = min(1.0, (longest or max(sides)) / max(sides))
    down, across = (Band(area_matrix(n, max(1, round(factor * n))), like) for n in sides)
    count = max(1, AT_ONCE // first.numel())
    for start in range(0, len(clip), count):
        block = clip.read(range(start, min(start + count, len(clip))))
        if block.shape[1:] != first.shape[1:]:
            raise PictureError(f"{clip.path}: {clip.name(0)} and {clip.name(start)} differ in size; crop the frames alike")
        for frame in block:
            frame = frame[None].to(device).float() / 255
            yield across.across(down.down(frame)) if factor < 1 else frame


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
