"""Bring the frames of a clip onto one another by a shift, a similarity or an affine map, so that the face's own motion is left.

    landmarks ─ fit_similarity, fit_affine ──────────────────┐
    pictures  ─ phase_correlation ─ lucas_kanade ────────────┴─ matrix (B, 2, 3) ─ warp ─ registered pictures

The fits and `warp` are in affine.py. Never register by a dense flow: it would take the expression out with the head's motion.
"""
import torch
import torch.nn.functional as F
from torch import Tensor

from refnet.flow.affine import after, fit_affine, fit_similarity, grid, identity, inverse, sample, transform, warp
from refnet.flow.checks import finite
from refnet.flow.pyramid import gaussian_pyramid, grey

EYES = {68: (slice(36, 42), slice(42, 48)), 51: (slice(19, 25), slice(25, 31))}      # left and right in the picture
STABLE = (27, 28, 29, 30, 36, 39, 42, 45)    # ours: bridge of the nose and corners of the eyes, in dlib's 68
TOGETHER = 16                                # ours: frames registered at once, to bound the memory
SMALLEST = 8                                 # ours: pixels of a side on the coarsest level of a pyramid


# ---- from pictures: a shift

def phase_correlation(first: Tensor, second: Tensor, window: bool = True, floor: float = 0.1, rounds: int = 3) -> Tensor:
    """The shift d between two pictures, from the phases of their spectra: second(p + d) = first(p).

        R(ω) = S F̄ / (|S F̄| + floor · max |S F̄|)       F, S the spectra; where one has nothing to say, R is near 0
        d    = arg max Re Σ_ω R(ω) e^{iωd}             the best whole pixel, then Newton's steps between the pixels

    first, second   (B, 1, H, W) or (B, H, W)   grey
    window          Hann's, so that the edges do not correlate; False takes the pictures as periodic, in one round
    floor           ours: 0 trusts each phase alike, noise and all; 1 is near plain correlation
    rounds          ours: a window stays where it is while the face moves, and so pulls d towards 0; each further round reads
                    the second picture where the last one put it, until there is nothing left to pull
    →               (B, 2)   d = (dx, dy), within half a picture; (0, 0) for a picture without contrast

    Raises ValueError for pictures of unequal shape, or values that are not finite.
    """
    first, second = _grey(first, second)                                             # (B, 1, H, W) each
    if floor <= 0 or rounds < 1:
        raise ValueError(f"floor is {floor} and rounds is {rounds}; expected a floor above 0, and 1 round or more")
    size = H, W = first.shape[2:]
    hann = (torch.hann_window(H, dtype=first.dtype, device=first.device)[:, None]
            * torch.hann_window(W, dtype=first.dtype, device=first.device))          # (H, W)
    hann = hann if window else torch.ones_like(hann)
    spectrum = _spectrum(first, hann)                                                # (B, H, W) complex
    d = _shift(spectrum, _spectrum(second, hann), floor)                             # (B, 2)
    for _ in range(rounds - 1 if window else 0):
        moved = sample(second, grid(size, first) + d[:, None]).unflatten(2, size)    # (B, 1, H, W)
        d = d + _shift(spectrum, _spectrum(moved, hann), floor)
    return d


def _spectrum(picture: Tensor, hann: Tensor) -> Tensor:
    """(B, 1, H, W) → (B, H, W) complex"""
    return torch.fft.fft2((picture - picture.mean((2, 3), keepdim=True)) * hann)[:, 0]


def _shift(F1: Tensor, F2: Tensor, floor: float) -> Tensor:
    """One round of phase correlation: spectra (B, H, W), (B, H, W) → (B, 2)"""
    H, W = F1.shape[1:]
    X = F2 * F1.conj()                                                               # (B, H, W)
    size = X.abs()
    R = X / (size + floor * size.amax((1, 2), keepdim=True)).clamp(min=torch.finfo(size.dtype).tiny)
    peak = torch.fft.ifft2(R).real.flatten(1).argmax(1)                              # (B,)
    half = size.new_tensor([W // 2, H // 2])
    d = (torch.stack([peak % W, peak // W], 1) + half) % size.new_tensor([W, H]) - half    # (B, 2)
    wy, wx = (2 * torch.pi * torch.fft.fftfreq(n, dtype=size.dtype, device=size.device) for n in (H, W))    # (H,), (W,)
    for _ in range(4):                          # c(d) = Re Σ R e^{iω·d} and its slopes: one product a side, three rows each
        ex, ey = (torch.exp(1j * d[:, k, None] * w) for k, w in enumerate((wx, wy)))       # (B, W), (B, H)
        ex, ey = (torch.stack([e, 1j * w * e, -w * w * e], 1) for e, w in ((ex, wx), (ey, wy)))    # (B, 3, W), (B, 3, H)
        c = (ey @ R @ ex.mT).real                                                    # (B, 3, 3)   ∂yʲ ∂xⁱ c at [j, i]
        cx, cy, cxx, cyy, cxy = c[:, 0, 1], c[:, 1, 0], c[:, 0, 2], c[:, 2, 0], c[:, 1, 1]
        det = cxx * cyy - cxy * cxy                                                  # (B,)
        hill = (det > 0) & (cxx < 0)                                                 # a step only towards a summit
        step = torch.stack([cxy * cy - cyy * cx, cxy * cx - cxx * cy], 1) / torch.where(hill, det, 1)[:, None]
        d = d + torch.where(hill[:, None], step, 0).clamp(-0.5, 0.5)
    return d


def _grey(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor]:
    """Check two grey pictures; both over their largest value, so that no product overflows: (B, 1, H, W) each"""
    if first.shape != second.shape or first.dtype != second.dtype:
        raise ValueError(f"first is {first.dtype} {tuple(first.shape)} and second {second.dtype} {tuple(second.shape)}; "
                         f"expected pictures of equal shape and dtype")
    if first.dim() not in (3, 4) or (first.dim() == 4 and first.shape[1] != 1):
        raise ValueError(f"first is {tuple(first.shape)}; expected grey pictures, (B, 1, H, W) or (B, H, W)")
    finite(first=first, second=second)
    first, second = (x if x.dim() == 4 else x[:, None] for x in (first, second))
    largest = torch.maximum(first.abs(), second.abs()).amax((1, 2, 3), keepdim=True).clamp(min=torch.finfo(first.dtype).tiny)
    return first / largest, second / largest


# ---- from pictures: any model

MODELS = {           # what one unit of each parameter adds to the matrix
    "translation": [[[0, 0, 1], [0, 0, 0]], [[0, 0, 0], [0, 0, 1]]],
    "similarity":  [[[0, 0, 1], [0, 0, 0]], [[0, 0, 0], [0, 0, 1]], [[1, 0, 0], [0, 1, 0]], [[0, -1, 0], [1, 0, 0]]],
    "affine":      [[[0, 0, 1], [0, 0, 0]], [[0, 0, 0], [0, 0, 1]], [[1, 0, 0], [0, 0, 0]], [[0, 1, 0], [0, 0, 0]],
                    [[0, 0, 0], [1, 0, 0]], [[0, 0, 0], [0, 1, 0]]],
}


def lucas_kanade(first: Tensor, second: Tensor, model: str = "similarity", levels: int = 3, iterations: int = 5,
                 start: Tensor | None = None, weight: Tensor | None = None) -> Tensor:
    """The map from one picture to another that leaves the least difference: second(M p) = first(p).

        minimise  Σ_p w (first(D p) − second(M p))²  over a small map D, then  M ← M D⁻¹, and again

        D = I + Σ_k δ_k G_k       G_k one of MODELS      s_k(p) = ∇first(p) · G_k (x, y, 1)ᵀ
        δ = H⁻¹ Σ_p w s (second(M p) − first(p))         H      = Σ_p w s sᵀ

    first, second   (B, 1, H, W) or (B, H, W)   grey
    model           "translation", "similarity" (turn, scale, shift), or "affine"
    levels          of the pyramid, coarse to fine; the finest is the picture
    iterations      on each level
    start           (B, 2, 3)   a first guess of M; None asks `phase_correlation`
    weight          (B, H, W)   0 or more, for the pixels of first; None counts all the same
    →               (B, 2, 3)   M, from points of first to points of second

    Both pictures are counted from their mean over p, so that a change of light alone moves nothing.
    D acts on the first picture, whose slopes do not change (the inverse compositional form): s and H are made once a level.
    Pixels that M puts outside the second picture, or within 2 of either's border, have no weight on that level. A level
    that ends with a greater difference than it began with is undone; without contrast M stays where it starts.
    Raises ValueError for unequal or too small pictures, another model, or values that are not finite.
    """
    first, second = _grey(first, second)                                             # (B, 1, H, W) each
    B, _, H, W = first.shape
    if model not in MODELS:
        raise ValueError(f"model is {model!r}; expected one of {', '.join(MODELS)}")
    if levels < 1 or iterations < 1:
        raise ValueError(f"levels is {levels} and iterations is {iterations}; expected 1 or more")
    least = SMALLEST * 2 ** (levels - 1)
    if min(H, W) < least:
        raise ValueError(f"first is {H} × {W}, too small for {levels} levels; expected sides of {least} or more, or fewer levels")
    if start is not None:
        if start.shape != (B, 2, 3):
            raise ValueError(f"start is {tuple(start.shape)}; expected {(B, 2, 3)}")
        finite(start=start)
    if weight is not None:
        if weight.shape != (B, H, W):
            raise ValueError(f"weight is {tuple(weight.shape)}; expected {(B, H, W)}, one for each pixel of first")
        finite(weight=weight)
        if (weight < 0).any():
            raise ValueError("weight: found a negative one; expected 0 or more")
    if start is None:
        start = torch.cat([identity(first, B)[..., :2], phase_correlation(first, second)[..., None]], 2)
    weight = first.new_ones(B, H, W) if weight is None else weight.to(first.dtype)
    # points count from the centre, in half sides: then M is the same on all levels, and H is well conditioned
    unit = max(H, W) / 2
    to_unit = first.new_tensor([[1, 0, (1 - W) / 2], [0, 1, (1 - H) / 2]]) / unit    # (2, 3)
    M = after(after(to_unit, start.to(first.dtype)), inverse(to_unit))               # (B, 2, 3)
    with torch.autocast(first.device.type, enabled=False):
        pyramids = [gaussian_pyramid(x, levels) for x in (first, second, weight[:, None])]
        for level, (T, S, w) in reversed(list(enumerate(zip(*pyramids)))):
            M = _align(T, S, w, M, model, iterations, to_unit, unit, 2 ** level)
    return after(after(inverse(to_unit), M), to_unit)                                # (B, 2, 3)


def _align(first: Tensor, second: Tensor, weight: Tensor, M: Tensor, model: str, iterations: int, to_unit: Tensor,
           unit: float, scale: int) -> Tensor:
    """One level of `lucas_kanade`: pictures and weight (B, 1, h, w), M (B, 2, 3) in half sides → M"""
    size, pixels = first.shape[2:], grid(first.shape[2:], first)                     # (h·w, 2)
    u = transform(pixels * scale, to_unit)                                           # (h·w, 2) in half sides
    edge = first.new_tensor([size[1] - 3, size[0] - 3])

    def seen(M: Tensor) -> Tensor:
        return transform(transform(u, M), inverse(to_unit)) / scale                  # (B, h·w, 2) pixels of second

    inside = torch.stack([(at >= 2) & (at <= edge) for at in (pixels.expand(len(M), -1, -1), seen(M))]).all(0).all(-1)
    w = weight.flatten(1) * inside                                                   # (B, h·w)
    G = first.new_tensor(MODELS[model])                                              # (P, 2, 3)
    slope = torch.stack(torch.gradient(first[:, 0], dim=(2, 1)), -1).flatten(1, 2)   # (B, h·w, 2)
    s = torch.einsum("bnc,kcd,nd->bnk", slope * (unit / scale), G, F.pad(u, (0, 1), value=1))    # (B, h·w, P)
    ws = w[..., None] * s                                                            # (B, h·w, P)
    total = w.sum(1, keepdim=True).clamp(min=torch.finfo(w.dtype).tiny)              # (B, 1)
    s = s - ws.sum(1, keepdim=True) / total[..., None]                               # as if a change of light were fitted too
    ws = w[..., None] * s                                                            # (B, h·w, P)
    H = ws.mT @ s                                                                    # (B, P, P)
    ridge = 1e-6 * H.diagonal(dim1=1, dim2=2).mean(1) + torch.finfo(H.dtype).tiny    # (B,) for a flat picture
    H = H + ridge[:, None, None] * torch.eye(len(G), dtype=H.dtype, device=H.device)
    back = torch.cholesky_inverse(torch.linalg.cholesky_ex(H).L)                     # (B, P, P)
    template = first.flatten(1)                                                      # (B, h·w)

    def error(M: Tensor) -> Tensor:
        return sample(second, seen(M))[:, 0] - template                              # (B, h·w)

    def loss(e: Tensor) -> Tensor:
        return (w * (e - (w * e).sum(1, keepdim=True) / total) ** 2).sum(1)          # (B,)

    found, e = M, error(M)
    before = loss(e)
    for _ in range(iterations):
        delta = (back @ (ws.mT @ e[..., None])).clamp(-0.25, 0.25)                   # (B, P, 1); D can then be undone
        D = identity(M, len(M)) + torch.einsum("bk,kcd->bcd", delta[..., 0], G)      # (B, 2, 3)
        found = after(found, inverse(D))
        e = error(found)
    return torch.where((loss(e) <= before)[:, None, None], found, M)


# ---- whole clips and faces

def register(video: Tensor, landmarks: Tensor | None = None, model: str = "similarity", onset: int = 0,
             stable: tuple[int, ...] = STABLE, weight: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Bring every frame onto the onset frame (ENGAT §4.2: "we registered each image with an onset image").

    video       (B, T, 3, H, W)
    landmarks   (B, T, 68, 2) or (B, T, 51, 2)   with them, a fit on the stable ones; without, `lucas_kanade` on grey
    model       "similarity" or "affine"; "translation" too without landmarks
    onset       number of the frame that stays
    stable      with landmarks: the points that expressions move least, numbered as in dlib's 68, 17 or more
    weight      (B, H, W)   without landmarks: 0 or more, for the pixels of the onset frame; None counts all the same. A
                background with contrast stays where it is and holds the head back: give the face alone a weight
    →           registered (B, T, 3, H, W), the onset frame bit for bit, the others read bilinearly, their edge repeated
                matrices   (B, T, 2, 3), from each frame's points to the onset's: `transform` takes landmarks along

    `magnify` and `farneback_sequence` begin at frame 0: a clip that begins before its onset is best cut there first,
    video[:, onset:]. Reading between pixels blurs a little, and a flow from the sharp onset to the rest sees that. The eight
    stable points lie nearly on a line and a cross: "affine" on them follows the eyelids, and is for more points.

    Reading: the page names no method. A similarity per frame is ours: it takes away the head's motion, and is too
    stiff to follow an expression. The stable points, the bridge of the nose and the corners of the eyes, are ours too.
    Raises ValueError for one frame, wrong shapes, another model, or values that are not finite.
    """
    matrices = onto_onset(video, landmarks, model, onset, stable, weight)            # (B, T, 2, 3)
    pairs = zip(video.flatten(0, 1).split(TOGETHER), matrices.flatten(0, 1).split(TOGETHER))
    return torch.cat([warp(*pair) for pair in pairs]).unflatten(0, video.shape[:2]), matrices


def onto_onset(video: Tensor, landmarks: Tensor | None, model: str, onset: int = 0, stable: tuple[int, ...] = STABLE,
               weight: Tensor | None = None) -> Tensor:
    """The maps that `register` moves the frames by, for a caller who has more to do with them in one reading: (B, T, 2, 3)"""
    if video.dim() != 5 or video.shape[2] != 3 or video.shape[1] < 2:
        raise ValueError(f"video is {tuple(video.shape)}; expected (B, T, 3, H, W) with T = 2 frames or more")
    B, T = video.shape[:2]
    if not 0 <= onset < T:
        raise ValueError(f"onset is {onset}; expected a frame of the clip, 0 to {T - 1}")
    finite(video=video)
    if landmarks is not None:
        if landmarks.shape not in ((B, T, 68, 2), (B, T, 51, 2)):
            raise ValueError(f"landmarks are {tuple(landmarks.shape)}; expected {(B, T, 68, 2)} or {(B, T, 51, 2)}")
        finite(landmarks=landmarks)
        if model not in ("similarity", "affine"):
            raise ValueError(f"model is {model!r}; expected similarity or affine with landmarks")
        if not all(17 <= k < 68 for k in stable):
            raise ValueError(f"stable is {stable}; expected points 17 to 67 of dlib's 68")
        points = landmarks[:, :, [k - 68 + landmarks.shape[2] for k in stable]]      # (B, T, S, 2)
        there = points[:, onset:onset + 1].expand_as(points)
        fit = fit_similarity if model == "similarity" else fit_affine
        matrix = fit(points.flatten(0, 1), there.flatten(0, 1))                      # (B·T, 2, 3)
    else:
        here = grey(video)[:, :, 0]                                                  # (B, T, H, W)
        there = here[:, onset:onset + 1].expand_as(here)
        if weight is None:
            weight = here.new_ones(B, *here.shape[2:])
        elif weight.shape != (B, *here.shape[2:]):
            raise ValueError(f"weight is {tuple(weight.shape)}; expected {(B, *here.shape[2:])}, one for each pixel of the onset")
        parts = (x.flatten(0, 1).split(TOGETHER) for x in (there, here, weight[:, None].expand_as(here)))
        levels = max(1, min(3, (min(here.shape[2:]) // SMALLEST).bit_length()))      # small pictures have fewer
        matrix = torch.cat([inverse(lucas_kanade(a, b, model, levels, weight=w)) for a, b, w in zip(*parts)])    # (B·T, 2, 3)
    moves = (torch.arange(T, device=video.device) != onset)[:, None, None]           # (T, 1, 1)
    return torch.where(moves, matrix.unflatten(0, (B, T)), identity(matrix, 1))      # (B, T, 2, 3)


def align_eyes(image: Tensor, landmarks: Tensor, size: int, apart: float, down: float,
               fine: int = 1) -> tuple[Tensor, Tensor]:
    """Turn and scale faces until the centres of their eyes lie at given places, and cut them out.

    image       (B, C, H, W)
    landmarks   (B, 68, 2) or (B, 51, 2)
    size        side of the result
    apart       distance of the eyes, as part of the side; they lie level, as far from the left edge as from the right
    down        their distance from the top, as part of the side
    fine        each pixel is the mean of fine × fine looks at the picture: where a face shrinks by s, ⌈s⌉ stops aliasing
    →           faces (B, C, size, size), 0 where the picture ends; matrices (B, 2, 3), from the image's points to the face's

    Raises ValueError for wrong shapes, eyes that coincide, or values that are not finite.
    """
    if landmarks.dim() != 3 or landmarks.shape[1] not in EYES or landmarks.shape[2] != 2 or len(landmarks) != len(image):
        raise ValueError(f"landmarks are {tuple(landmarks.shape)}; expected ({len(image)}, 68, 2) or ({len(image)}, 51, 2)")
    if size < 1 or fine < 1 or not 0 < apart < 1 or not 0 < down < 1:
        raise ValueError(f"size is {size}, fine {fine}, apart {apart}, down {down}; expected 1 or more, 1 or more, and both others "
                         f"between 0 and 1")
    finite(landmarks=landmarks)
    eyes = torch.stack([landmarks[:, eye].mean(1) for eye in EYES[landmarks.shape[1]]], 1)    # (B, 2, 2)
    if ((eyes[:, 0] - eyes[:, 1]).norm(dim=1) < 1e-3).any():
        raise ValueError("landmarks: both eyes of a face lie in one place; expected those of a face; was one found there?")
    places = eyes.new_tensor([[0.5 - apart / 2, down], [0.5 + apart / 2, down]])     # (2, 2) in sides, from the corner
    onto = fit_similarity(eyes, (places * size - 0.5).expand_as(eyes))               # (B, 2, 3)
    finer = fit_similarity(eyes, (places * size * fine - 0.5).expand_as(eyes))       # (B, 2, 3)
    looks = warp(image, finer, (size * fine, size * fine), "zeros")  # (B, C, size·fine, size·fine)
    return F.avg_pool2d(looks, fine), onto
