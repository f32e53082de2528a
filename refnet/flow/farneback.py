"""Farneback's optical flow: fit a parabola around every pixel, and ask by how much it moved.

Farneback. Two-Frame Motion Estimation Based on Polynomial Expansion. SCIA 2003.

    f(x) ≈ c + bᵀx + xᵀA x        polynomial_expansion    around every pixel of both pictures: expansion.py
    A d = −½(b₂ − b₁) = Δb        normal_equations        a shift by d leaves A as it is and makes b into b − 2A d
    min_d Σ w |A d − Δb|²         solve                   one d for the window around a pixel
    read picture 2 at x + d       farneback               and again, several times a scale, from the coarse to the fine

With its default settings the flow is OpenCV's on the same pictures in 0..255. Where OpenCV leaves the paper, three of the
paper's own choices are settings: `certainty`, `rounded`, `guard=0`. The blur at full size, the small weight of the pixels near
an edge and one displacement a window, not an affine one, stay OpenCV's.

    python -m refnet.flow.farneback A.png B.png OUT.png          the flow from A to B, in colours
"""
import argparse
import sys
from functools import lru_cache
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from refnet import config
from refnet.flow.command import find_device, not_onto, status_of
from refnet.flow.expansion import polynomial_expansion as polynomial_expansion  # is looked for here too
from refnet.flow.expansion import slope_and_curvature
from refnet.flow.pyramid import Band, area_matrix, filter_matrix, gaussian, grey, resize_matrix
from refnet.flow.wheel import flow_colours, with_key
from refnet.pictures import SAVES, PictureError, named, read_picture, write_flow, write_picture

SMALLEST = 32                                     # no scale has a side under this
BORDER = (.14, .14, .4472, .4472, .4472)          # a factor of A and Δb for the five pixels nearest to an edge
AT_ONCE = 2 ** 18                                 # pixels that a CPU works on together: more falls out of its cache


# ---- one step: what every pixel says about d, its mean over the window, the solution

def normal_equations(r1: Tensor, r2: Tensor, d: Tensor, x: Tensor, rounded: bool = False, out: Tensor | None = None) -> Tensor:
    """AᵀA and AᵀΔb at every pixel, with picture 2 read at x̃ = x + d.

        A = (A₁(x) + A₂(x̃)) / 2        Δb = −½ (b₂(x̃) − b₁(x)) + A d

    r1   (B, 5, H, W)   r₂ to r₆ of picture 1: b, then A's diagonal, then twice what is beside it
    r2   (B, 5, P, Q)   r₂ to r₆ of picture 2; with zeros below and to the right up to powers of two, `_padded`, a whole
                        number of pixels is read without rounding
    d    (B, 2, H, W)   the displacement so far
    x    (2, H, W)      every pixel's place
    out  (B, 5, H, W)   where to put the result, if there is such a place
    →    (B, 5, H, W)   AᵀA: 11, 22, 12; AᵀΔb: 1, 2

    In place where it can be: of a large picture, fresh memory costs more than the arithmetic. No gradient passes.

    Reading: the paper rounds d to whole pixels for this reading, and x̃ stays inside; rounded=True does so. OpenCV reads
    between the pixels, and where x̃ is outside, on the last column or on the last row it takes A = A₁ and b₂ = 0: the default.
    """
    last = x[:, -1:, -1:]                                                                        # (2, 1, 1)
    at = x + d
    if rounded:
        at = torch.minimum((x + d.round()).clamp(min=0), last)
        d, alone = at - x, torch.full_like(d[:, :1], .5)
    else:
        beside, beyond = ((at < 0) | (at >= last)).split(1, 1)                                   # (B, 1, H, W) each
        alone = (beside | beyond).to(d.dtype).add_(1).mul_(.5)                                   # ½, or 1 outside
    pitch = 2 / d.new_tensor([r2.shape[-1], r2.shape[-2]])[:, None, None]                        # of a grid from −1 to 1
    read = F.grid_sample(r2, torch.addcmul(pitch / 2 - 1, at, pitch).movedim(1, -1), align_corners=False)
    A = read[:, 2:].lerp_(r1[:, 2:], alone)                                                      # ½ (A₂ + A₁), or A₁ alone
    A, A12 = A[:, :2], A[:, 2:].mul_(.5)                                                         # (B, 2, H, W), (B, 1, H, W)
    db = read[:, :2].mul_(alone - 1).add_(r1[:, :2], alpha=.5).addcmul_(A, d)                    # −½ (b₂ − b₁), or ½ b₁; + A d
    (d1, d2), (b1, b2) = d.split(1, 1), db.split(1, 1)                                           # (B, 1, H, W) each
    b1.addcmul_(A12, d2)
    b2.addcmul_(A12, d1)
    m = torch.empty_like(read) if out is None else out
    G, G12, q = m.split((2, 1, 2), 1)
    torch.mul(A, A, out=G).addcmul_(A12, A12)                                                    # A₁₁² + A₁₂², A₂₂² + A₁₂²
    torch.mul(A12, A[:, :1] + A[:, 1:], out=G12)                                                 # A₁₂ (A₁₁ + A₂₂)
    torch.mul(A, db, out=q)                                                                      # A Δb
    q[:, :1].addcmul_(A12, b2)
    q[:, 1:].addcmul_(A12, b1)
    return m


def solve(m: Tensor, guard: float) -> Tensor:
    """d = (Σ w AᵀA)⁻¹ Σ w AᵀΔb, by Cramer's rule: m (B, 5, H, W) as `normal_equations` → (B, 2, H, W)

    Reading: OpenCV adds a constant to every determinant, the paper none. With guard 0 only what rounding leaves of a matrix of
    determinant 0 is added, ε trace² + (100 ε)⁴, so that flat regions stand still (ε of the number format, values in [0, 1]).
    """
    G, G12, q = m.split((2, 1, 2), 1)                                                            # G: its diagonal
    det = (G[:, :1] * G[:, 1:]).addcmul_(G12, G12, value=-1)
    if guard == 0:
        eps = torch.finfo(m.dtype).eps
        guard = eps * G.sum(1, keepdim=True) ** 2 + (100 * eps) ** 4
    return (G.flip(1) * q).addcmul_(G12, q.flip(1), value=-1).div_(det.add_(guard))


# ---- scales

class Settings(NamedTuple):
    """The arguments of `farneback`, checked."""
    pyr_scale: float
    levels: int
    winsize: int
    iterations: int
    poly_n: int
    poly_sigma: float
    gaussian_window: bool
    certainty: bool
    rounded: bool
    guard: float


def scales(size: tuple[int, int], pyr_scale: float, levels: int) -> list[tuple[float, tuple[int, int]]]:
    """Each scale and its (h, w), the coarsest first; the last is (1.0, size).

    Reading: by OpenCV's documentation levels=1 means the picture alone; by its code `levels` is how many further scales
    there are, as long as no side falls under 32 pixels. This follows the code.
    """
    found = [1.]
    while len(found) <= levels and min(size) * found[-1] * pyr_scale >= SMALLEST:
        found.append(found[-1] * pyr_scale)
    return [(s, tuple(round(n * s) for n in size)) for s in reversed(found)]


@lru_cache(maxsize=64)
def _shrink(n: int, m: int, s: float, device, dtype) -> Band:
    """Along one axis, from n pixels to m = s·n: a Gaussian blur, then bilinear. At full size the blur is (1, 2, 1)/4."""
    sigma = (1 / s - 1) / 2
    taps = gaussian(sigma, max(3, round(5 * sigma) | 1) // 2) if s < 1 else torch.tensor([.25, .5, .25], dtype=torch.float64)
    blur = filter_matrix(n, taps)
    return Band(resize_matrix(n, m) @ blur if m < n else blur, torch.empty(0, device=device, dtype=dtype))


@lru_cache(maxsize=64)
def _enlarge(n: int, m: int, device, dtype) -> Band:
    """Along one axis, from the flow of one scale to that of the next."""
    return Band(resize_matrix(n, m), torch.empty(0, device=device, dtype=dtype))


@lru_cache(maxsize=64)
def _window(side: int, winsize: int, gaussian_window: bool, device, dtype) -> Band:
    """Along one axis, the mean over the window of what the pixels say; with less weight for pixels near the edge."""
    m, like = winsize // 2, torch.empty(0, device=device, dtype=dtype)
    w = gaussian(.3 * m, m) if gaussian_window else torch.full((2 * m + 1,), 1 / winsize, dtype=torch.float64)
    far = torch.cat([torch.tensor(BORDER, dtype=torch.float64), torch.ones(side, dtype=torch.float64)])[:side]
    return Band(filter_matrix(side, w, "repeat") * (far * far.flip(0)) ** 2, like)


def _expand(images: Tensor, how: Settings) -> list[Tensor]:
    """r₂ to r₆ of images (B, H, W) at every scale, (B, 5, h, w) each"""
    key, found = (images.device, images.dtype), []
    H, W = images.shape[-2:]
    for s, (h, w) in scales((H, W), how.pyr_scale, how.levels):
        small = _shrink(H, h, s, *key).down(_shrink(W, w, s, *key).across(images))               # (B, h, w)
        found.append(slope_and_curvature(small, how.poly_n, how.poly_sigma, how.certainty))
    return found


def _padded(r: Tensor) -> Tensor:
    """With zeros below and to the right up to powers of two, so that a whole number of pixels is read without rounding."""
    below, right = ((1 << (n - 1).bit_length()) - n for n in r.shape[-2:])
    return F.pad(r, (0, right, 0, below)) if below or right else r


def _descend(first: list[Tensor], second: list[Tensor], start: Tensor | None, how: Settings) -> Tensor:
    """From the expansions of both pictures at every scale, `_expand`, to the flow (B, 2, H, W)."""
    key, (B, _, H, W) = (first[0].device, first[0].dtype), first[-1].shape
    flow = None
    for r1, r2, (s, (h, w)) in zip(first, second, scales((H, W), how.pyr_scale, how.levels)):
        if flow is not None:
            down, across = _enlarge(flow.shape[-2], h, *key), _enlarge(flow.shape[-1], w, *key)
            flow = down.down(across.across(flow)) / how.pyr_scale                                # (B, 2, h, w)
        elif start is not None:
            down, across = Band(area_matrix(H, h), start), Band(area_matrix(W, w), start)
            flow = down.down(across.across(start)) * s
        else:
            flow = r1.new_zeros(B, 2, h, w)
        ticks = (torch.arange(n, device=r1.device, dtype=r1.dtype) for n in (w, h))
        x, r2 = torch.stack(torch.meshgrid(*ticks, indexing="xy")), _padded(r2)                  # (2, h, w), (B, 5, P, Q)
        rows, columns = (_window(n, how.winsize, how.gaussian_window, *key) for n in (h, w))
        m, spare = r1.new_empty(2, *r1.shape)
        for _ in range(how.iterations):
            normal_equations(r1, r2, flow, x, how.rounded, out=m)
            flow = solve(rows.down(columns.across(m, out=spare), out=m), how.guard / 255 ** 4)       # the mean over the window
    return flow


# ---- from pictures to flow

@torch.no_grad()
def farneback(first: Tensor, second: Tensor, pyr_scale: float = .5, levels: int = 5, winsize: int = 13, iterations: int = 10,
              poly_n: int = 5, poly_sigma: float = 1.1, gaussian_window: bool = False, initial_flow: Tensor | None = None, *,
              certainty: bool = False, rounded: bool = False, guard: float = 1e-3) -> Tensor:
    """Where every pixel of the first picture is in the second: second(x + flow(x)) ≈ first(x).

    first, second     (B, 1, H, W) or (B, H, W)   grey, in [0, 1], float32 or float64; what a filter puts a little outside,
                      down to −½ and up to 1½, is taken as it is
    pyr_scale         how much smaller each scale is than the one before; levels   how many smaller scales, at most
    winsize           side of the window that shares one displacement; an even one counts one more
    iterations        steps on each scale
    poly_n            the parabola is fitted to 2·poly_n + 1 pixels a side; poly_sigma   with a Gaussian of this width
    gaussian_window   weights in the window: a Gaussian of width 0.3·(winsize // 2), or all alike
    initial_flow      (B, 2, H, W)   a guess to start from
    certainty, rounded, guard   True, True and 0 are the paper's own choices: `polynomial_expansion`, `normal_equations`, `solve`
    →                 (B, 2, H, W)   (dx, dy) in pixels

    The guard is OpenCV's for pictures in 0..255; a determinant goes with the fourth power of the range, so here it is
    divided by 255⁴. Two equal pictures have flow 0 exactly, whatever the guess (OpenCV's is not, as it mistrusts the last row
    and column; and on sides under 10 its weights near the edge go wrong). No gradient passes.

    Raises ValueError for unequal sizes, more than one channel, values that are not finite or far from [0, 1], a picture
    smaller than the window, and settings out of range.
    On a CPU two threads of Python with torch.set_num_threads(1) and batches of four share the work better than torch does.
    """
    first, second = _grey(first, "first"), _grey(second, "second")
    _alike(first, second)
    how = _checked(first.shape[-2:], pyr_scale, levels, winsize, iterations, poly_n, poly_sigma, gaussian_window, certainty,
                   rounded, guard)
    B, H, W = first.shape
    if initial_flow is not None and (initial_flow.shape != (B, 2, H, W) or not initial_flow.isfinite().all()):
        raise ValueError(f"initial_flow must be ({B}, 2, {H}, {W}) and finite; got {tuple(initial_flow.shape)}")
    step, flows = _at_once(first), []
    with torch.autocast(first.device.type, enabled=False):
        for b in range(0, B, step):
            f, g = first[b:b + step], second[b:b + step]
            both = _expand(torch.cat([f, g]), how)                                               # (2b, 5, h, w) each
            start = None if initial_flow is None else initial_flow[b:b + step].to(f)
            flow = _descend([r[:len(f)] for r in both], [r[len(f):] for r in both], start, how)
            flows.append(flow.masked_fill_((f == g).flatten(1).all(1)[:, None, None, None], 0))
    return torch.cat(flows)


@torch.no_grad()
def farneback_sequence(video: Tensor, reference: str = "first", pyr_scale: float = .5, levels: int = 5, winsize: int = 13,
                       iterations: int = 10, poly_n: int = 5, poly_sigma: float = 1.1, gaussian_window: bool = False, *,
                       certainty: bool = False, rounded: bool = False, guard: float = 1e-3) -> Tensor:
    """The flow to every frame of a clip, from its first frame or from the frame before; every frame is expanded once.

    video       (B, T, 1, H, W) or (B, T, H, W)   grey, in [0, 1]
    reference   "first" or "previous"
    →           (B, T, 2, H, W)   frame 0 has flow 0; the other settings are those of `farneback`

    Raises ValueError as `farneback`, and for fewer than two frames.
    """
    if reference not in ("first", "previous"):
        raise ValueError(f"reference is {reference!r}; it must be 'first' or 'previous'")
    if video.dim() not in (4, 5) or video.dim() == 5 and video.shape[2] != 1:
        raise ValueError(f"video must be (B, T, 1, H, W) or (B, T, H, W); got {tuple(video.shape)}")
    if video.shape[1] < 2:
        raise ValueError(f"video has {video.shape[1]} frame; a flow needs two")
    B, T = video.shape[:2]
    frames = _grey(video.flatten(0, 1), "video").unflatten(0, (B, T))                            # (B, T, H, W)
    how = _checked(frames.shape[-2:], pyr_scale, levels, winsize, iterations, poly_n, poly_sigma, gaussian_window, certainty,
                   rounded, guard)
    flow = frames.new_zeros(B, T, 2, *frames.shape[-2:])
    step = _at_once(frames[0])
    with torch.autocast(frames.device.type, enabled=False):
        for b, clip in enumerate(frames):
            kept = _expand(clip[:1], how)                                                        # (1, 5, h, w) each
            for t in range(1, T, step):
                new = _expand(clip[t:t + step], how)                                             # (n, 5, h, w) each
                old = [(k.expand_as(r) if reference == "first" else torch.cat([k, r[:-1]])) for k, r in zip(kept, new)]
                before = clip[:1] if reference == "first" else clip[t - 1:t - 1 + len(new[0])]
                same = (before == clip[t:t + step]).flatten(1).all(1)[:, None, None, None]
                flow[b, t:t + step] = _descend(old, new, None, how).masked_fill_(same, 0)
                kept = kept if reference == "first" else [r[-1:] for r in new]
    return flow


def _at_once(images: Tensor) -> int:
    """How many pairs to work on together: on a CPU as many as stay in its cache."""
    if images.device.type != "cpu":
        return len(images)
    _keep_memory()
    return max(1, AT_ONCE // images[0].numel())


@lru_cache(maxsize=1)
def _keep_memory() -> None:
    """Ask for 32 MB and let go, once and untouched: the C library of Linux learns from it to keep what is freed for the next
    step. Else it hands each step's memory back and has it cleared anew: a sixth of the time for a pair of 256 × 256."""
    torch.empty(2 ** 23 - 2 ** 12)


# ---- what may come in

def _grey(images: Tensor, name: str) -> Tensor:
    """Grey pictures (B, 1, H, W) or (B, H, W), checked → (B, H, W)"""
    if images.dim() == 4 and images.shape[1] == 1:
        images = images[:, 0]
    if images.dim() != 3 or images.numel() == 0:
        raise ValueError(f"{name} must be grey pictures, (B, 1, H, W) or (B, H, W); got {tuple(images.shape)}")
    if images.dtype not in (torch.float32, torch.float64):
        raise ValueError(f"{name} must be float32 or float64 in [0, 1]; got {images.dtype}: divide bytes by 255")
    low, high = (float(v) for v in images.aminmax())
    if not (low >= -.5 and high <= 1.5):
        raise ValueError(f"{name} must lie in [0, 1], or a little outside; got values from {low:g} to {high:g}: divide by 255, or "
                         "look for what is not finite")
    return images


def _alike(first: Tensor, second: Tensor) -> None:
    if first.shape != second.shape or first.dtype != second.dtype or first.device != second.device:
        raise ValueError(f"first and second must be alike; got {tuple(first.shape)} {first.dtype} on {first.device} and "
                         f"{tuple(second.shape)} {second.dtype} on {second.device}")


def _checked(size: tuple[int, int], *values) -> Settings:
    """The settings, where they are in range and the picture (H, W) is large enough for them."""
    how = Settings(*values)
    for name in ("levels", "winsize", "iterations", "poly_n"):
        if not isinstance(getattr(how, name), int):
            raise ValueError(f"{name} is {getattr(how, name)}; it must be a whole number")
    smallest, least = 2 if how.gaussian_window else 1, 2 if how.certainty else 1
    sigma, narrow = how.poly_sigma or .3 * how.poly_n, .5 if how.certainty else .3
    for name, good, allowed in (("pyr_scale", 0 < how.pyr_scale < 1, "between 0 and 1"),
                                ("levels", how.levels >= 0, "0 or more"),
                                ("winsize", how.winsize >= smallest, f"{smallest} or more"),
                                ("iterations", how.iterations >= 1, "1 or more"),
                                ("poly_n", how.poly_n >= least, f"{least} or more"),
                                ("poly_sigma", narrow <= sigma < float("inf"), f"{narrow} or more, or 0 for 0.3 poly_n"),
                                ("guard", 0 <= how.guard < float("inf"), "0 or more")):
        if not good:
            raise ValueError(f"{name} is {getattr(how, name)}; it must be {allowed}")
    H, W = size
    for name, value in (("winsize", how.winsize), ("poly_n", 2 * how.poly_n + 1)):
        if min(H, W) < value:
            raise ValueError(f"the picture is {W} × {H}, smaller than the {value} × {value} window of {name}={getattr(how, name)}")
    return how


def main(argv: list[str]) -> int:
    """Write the flow between two pictures, in colours and as numbers; the status: 0 good, 2 usage, 3 the pictures."""
    p = argparse.ArgumentParser(prog="python -m refnet.flow.farneback", description="The optical flow from picture A to picture B.",
                                allow_abbrev=False)
    p.add_argument("a", metavar="A", help="the first picture")
    p.add_argument("b", metavar="B", help="the second, of the same size")
    p.add_argument("out", metavar="OUT.png", help="the flow in colours, with their key: hue for direction, strength for distance")
    p.add_argument("--flo", metavar="OUT.flo", help="the flow as numbers too, in the Middlebury format")
    p.add_argument("--full", type=float, metavar="PX", help="the displacement shown in full colour; the largest one")
    p.add_argument("--pyr-scale", type=float, default=.5, help="how much smaller each scale is; %(default)s")
    p.add_argument("--levels", type=int, default=5, help="how many smaller scales; %(default)s")
    p.add_argument("--winsize", type=int, default=13, help="side of the window in pixels; %(default)s")
    p.add_argument("--iterations", type=int, default=10, help="steps on each scale; %(default)s")
    p.add_argument("--poly-n", type=int, default=5, help="radius of the parabola's fit; %(default)s")
    p.add_argument("--poly-sigma", type=float, default=1.1, help="width of its Gaussian; %(default)s")
    p.add_argument("--gaussian-window", action="store_true", help="weigh the window by a Gaussian")
    p.add_argument("--paper", action="store_true", help="the paper's choices in place of OpenCV's: certainty, rounded, no guard")
    p.add_argument("--device", type=find_device, default="auto", help="auto, cpu, cuda, cuda:1; %(default)s")
    args, unknown = p.parse_known_args(argv)
    config.refuse_unknown(p, unknown)
    return status_of(_flow_of_files, args)


def _flow_of_files(args: argparse.Namespace) -> None:
    written = [named(args.out, "pictures", SAVES), *([named(args.flo, "flows", (".flo",))] if args.flo else [])]
    for out in written:
        not_onto(out, args.a, args.b)
    first, second = (grey(read_picture(path)[None].to(args.device) / 255) for path in (args.a, args.b))
    if first.shape != second.shape:
        raise PictureError(f"{args.a} is {first.shape[-1]} × {first.shape[-2]} and {args.b} is {second.shape[-1]} × "
                           f"{second.shape[-2]}; they must be equally large")
    flow = farneback(first, second, args.pyr_scale, args.levels, args.winsize, args.iterations, args.poly_n, args.poly_sigma,
                     args.gaussian_window, certainty=args.paper, rounded=args.paper, guard=0 if args.paper else 1e-3)
    distance = flow.square().sum(1).sqrt()
    largest, usual = float(distance.max()), float(distance.flatten().sort().values[int(.99 * (distance.numel() - 1))])
    full = (largest or 1.) if args.full is None else args.full
    write_picture(with_key(flow_colours(flow, full)[0], full), args.out)
    if args.flo:
        write_flow(flow[0], args.flo)
    print(f"displacement: mean {distance.mean():.3f} px, largest {largest:.3f} px; the key's rim is {full:.3f} px")
    if args.full is None and largest > 4 * usual > 0:
        print(f"99 % of the pixels move less than {usual:.3f} px: --full {usual:.2g} shows them better")
    print(*written, sep="\n")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
