"""Which frames of a clip hold the expression, and the patches of flow around its landmarks.

    flow (B, T, 2, H, W) ─ flow_intensity ─ m (B, T) ─ high_intensity ─ keep (T,) ─ three_frames ─ (first, strongest, last)
                  └─ magnitude (B, H, W) ─ landmark_patches ─ (B, N, 10, 10)

ENGAT §3 says "a threshold value based on the optical flow magnitude", "using the method proposed in [24]" (Kumar and Bhanu,
CVPRW 2021), and neither which value nor which three frames then make the graph; the text of [24] was not to be had. What is
left open is an argument here; each default is ours, and its `Reading:` says so.

A flow lies on the grid of the picture it starts from: one from the onset is read at the onset's landmarks in every frame, one
from the frame before at that frame's.
"""
import torch
import torch.nn.functional as F
from torch import Tensor

from refnet.flow.checks import finite


def flow_magnitude(flow: Tensor) -> Tensor:
    """How far each pixel moves, √(dx² + dy²): (*, 2, H, W) → (*, H, W), with gradient 0 where nothing moves"""
    dx, dy = flow.unbind(-3)                                                         # (*, H, W) each
    square = dx * dx + dy * dy           # in float32 right for motions between 1e-18 and 1e18 pixels
    return square.clamp(min=torch.finfo(flow.dtype).tiny).sqrt() * (square > 0)      # twenty times as fast as torch's norm


def flow_intensity(flow: Tensor, box: Tensor | None = None, mask: Tensor | None = None, points: Tensor | None = None,
                   size: int = 10, smooth: int = 1) -> Tensor:
    """How much a face moves in each frame: the mean flow magnitude over a region.

        m_t = mean over the region of √(dx² + dy²)

    flow     (B, T, 2, H, W)            flow to each frame, from the onset or from the frame before, as the caller wishes
    box      (B, 4)                     the region left, top, right, bottom in pixels: left ≤ x < right, top ≤ y < bottom
    mask     (B, H, W), (B, T, H, W)    or where it is not 0
    points   (B, N, 2), (B, T, N, 2)    or the size × size patches around these landmarks (an overlap counts twice)
    smooth   odd                        then the mean over this many frames; at the ends, of those there are
    →        (B, T)                     cut a padded clip to its own length before `high_intensity`

    The frame that the flow starts from has intensity 0 and counts like any other. A mouth that opens has no true flow, and
    the few pixels of a large wrong one there weigh much in a mean.

    Reading: the page names neither the region nor a window. Without box, mask or points the whole picture counts, and
    smooth = 1 leaves each frame as it is (ours).
    Raises ValueError for more than one region, an empty one, wrong shapes, or values that are not finite.
    """
    if flow.dim() != 5 or flow.shape[2] != 2:
        raise ValueError(f"flow is {tuple(flow.shape)}; expected (B, T, 2, H, W)")
    finite(flow=flow)
    if smooth < 1 or smooth % 2 == 0:
        raise ValueError(f"smooth is {smooth}; expected an odd number of frames, 1 for none")
    given = [name for name, region in (("box", box), ("mask", mask), ("points", points)) if region is not None]
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} are given; expected one region at most")
    B, T, _, H, W = flow.shape
    magnitude = flow_magnitude(flow)                                                 # (B, T, H, W)

    if points is not None:
        if points.dim() not in (3, 4) or points.shape[:-2] not in ((B,), (B, T)) or points.shape[-1] != 2 or points.shape[-2] == 0:
            raise ValueError(f"points are {tuple(points.shape)}; expected ({B}, N, 2) or ({B}, {T}, N, 2), as flow "
                             f"{tuple(flow.shape)}")
        points = (points if points.dim() == 4 else points[:, None]).expand(B, T, -1, 2)
        patches = landmark_patches(magnitude.flatten(0, 1), points.flatten(0, 1), size)   # (B·T, N, size, size)
        m = patches.mean((1, 2, 3)).unflatten(0, (B, T))                             # (B, T)
    else:
        if box is not None:
            mask = box_mask(box, (H, W))
        if mask is None:
            mask = flow.new_ones(B, H, W)
        if mask.shape not in ((B, H, W), (B, T, H, W)):
            raise ValueError(f"the region is {tuple(mask.shape)}; expected {(B, H, W)} or {(B, T, H, W)}, as flow "
                             f"{tuple(flow.shape)}")
        inside = (mask != 0).to(flow.dtype)                                          # (B, H, W) or (B, T, H, W)
        inside = inside if inside.dim() == 4 else inside[:, None]                    # (B, 1 or T, H, W)
        count = inside.sum((2, 3))                                                   # (B, 1 or T)
        if not count.all():
            raise ValueError(f"{given[0]} leaves no pixel of a {H} × {W} picture; expected one or more in every frame")
        m = (magnitude * inside).sum((2, 3)) / count                                 # (B, T)

    return F.avg_pool1d(m[:, None], smooth, 1, smooth // 2, count_include_pad=False)[:, 0]    # (B, T)


def box_mask(box: Tensor, size: tuple[int, int]) -> Tensor:
    """The pixels of boxes: those with left ≤ x < right and top ≤ y < bottom.

    box    (B, 4)      left, top, right, bottom in pixels, the first pixel's centre at (0, 0)
    size   (H, W)
    →      (B, H, W)   bool
    """
    if box.dim() != 2 or box.shape[1] != 4:
        raise ValueError(f"box is {tuple(box.shape)}; expected (B, 4): left, top, right, bottom")
    left, top, right, bottom = box[:, :, None, None].unbind(1)                       # (B, 1, 1) each
    x = torch.arange(size[1], device=box.device)                                     # (W,)
    y = torch.arange(size[0], device=box.device)[:, None]                            # (H, 1)
    return (left <= x) & (x < right) & (top <= y) & (y < bottom)                     # (B, H, W)


def high_intensity(m: Tensor, k: float = 0.0, fraction: float | None = None, least: int = 3) -> Tensor:
    """Which frames are kept: those that move at least as much as a threshold, and never fewer than three.

        keep_t  ⇔  m_t ≥ mean(m) + k · sd(m)        or, with a fraction,  m_t ≥ fraction · max(m)

    m       (T,)   intensity of each frame, 0 or more
    →       (T,)   bool

    If fewer than `least` reach it, the strongest `least` are kept; of equals, the earlier. The sd is that of the
    population, √(mean (m − mean)²): the frames are the whole clip, not a sample of it. When all are equal, all are kept.

    Reading: the page gives no threshold but a reference, [24]; the mean, k = 0, is ours, and so is reaching it (≥) being enough.

    m = (1, 2, 3, 4, 10): the mean is 4 and the sd √10; k = 0 keeps 4 and 10, hence with least = 3 also 3.
    Raises ValueError for fewer than `least` frames, or values that are negative or not finite.
    """
    if m.dim() != 1:
        raise ValueError(f"m is {tuple(m.shape)}; expected (T,), one clip")
    finite(m=m)
    if least < 3 or len(m) < least:
        raise ValueError(f"m has {len(m)} frames and least is {least}; expected a clip of `least` frames or more, "
                         f"and least 3 or more: the graph takes three")
    if not -float("inf") < k < float("inf"):
        raise ValueError(f"k is {k}; expected a finite number of standard deviations above the mean")
    if fraction is not None and not 0 <= fraction <= 1:
        raise ValueError(f"fraction is {fraction}; expected a part of the largest intensity, 0 to 1, or None")
    if fraction is not None and k != 0:
        raise ValueError(f"k is {k} and fraction is {fraction}; expected one threshold: leave k at 0, or fraction at None")
    if (m < 0).any():
        raise ValueError("m holds a negative intensity; expected magnitudes, 0 or more")
    if fraction is None:
        above = m - m.min()                             # so that the mean of equal numbers is exactly that number
        strong = above >= above.mean() + k * above.std(correction=0)                 # (T,)
    else:
        strong = m >= fraction * m.max()                                             # (T,)
    best = m.sort(descending=True, stable=True).indices[:least]                      # (least,)
    return strong.index_fill(0, best, True)


def three_frames(m: Tensor, keep: Tensor) -> tuple[int, int, int]:
    """The three frames of the graph: the first kept, the strongest, the last kept, always different and in order.

    m      (T,)   intensity of each frame
    keep   (T,)   bool, three or more
    →      (first, middle, last)

    The middle one is the strongest kept frame strictly between the other two, of equals the earlier. Where the strongest
    of all is itself the first or the last kept, it stands in that place, and the middle is the next strongest between.

    Reading: the page says "three-frame graph structure", not which frames; first, strongest and last kept are ours.

    m = (5, 9, 1, 7, 8) with all kept: (0, 1, 4). With m = (9, 5, 1, 7, 8) the strongest comes first: (0, 3, 4).
    """
    _kept(keep)
    if m.shape != keep.shape:
        raise ValueError(f"m is {tuple(m.shape)} and keep {tuple(keep.shape)}; expected both (T,)")
    finite(m=m)
    first, *between, last = keep.nonzero()[:, 0].tolist()
    strength = m.tolist()
    return first, max(between, key=strength.__getitem__), last                       # max takes the earlier of equals


def triples(keep: Tensor) -> Tensor:
    """Every three consecutive kept frames: keep (T,) with n true → (n − 2, 3), frame numbers

    keep = (1, 0, 1, 1, 1): (0, 2, 3) and (2, 3, 4).
    """
    _kept(keep)
    return keep.nonzero()[:, 0].unfold(0, 3, 1)                                      # (n − 2, 3)


def landmark_patches(magnitude: Tensor, points: Tensor, size: int = 10) -> Tensor:
    """The flow magnitude in a square around each landmark (ENGAT §3.1.1: 10 × 10, so 100 features a node).

    magnitude   (B, H, W)
    points      (B, N, 2)             (x, y) in pixels
    →           (B, N, size, size)    rows and columns −size/2 ... size/2 − 1 around the rounded landmark

    Landmarks are rounded by ⌊x + ½⌋: half a pixel always goes up, where torch.round would go to the even neighbour and
    step by 0 or 2 as a face drifts. Beyond the border the edge is repeated.

    Reading: an even square has no middle pixel; for 10 it reaches 5 to the left and 4 to the right (ours).

    Reading: Fig. 1's caption says "summed magnitude". §3.1.1 has 100 values a node, so nothing is summed over the patch;
    here, nothing at all.
    Raises ValueError for wrong shapes or values that are not finite.
    """
    if magnitude.dim() != 3:
        raise ValueError(f"magnitude is {tuple(magnitude.shape)}; expected (B, H, W): take flow_magnitude first")
    if points.dim() != 3 or points.shape[2] != 2 or len(points) != len(magnitude):
        raise ValueError(f"points are {tuple(points.shape)}; expected ({len(magnitude)}, N, 2), as magnitude "
                         f"{tuple(magnitude.shape)}")
    if size < 1:
        raise ValueError(f"size is {size}; expected 1 pixel or more")
    finite(magnitude=magnitude, points=points)
    H, W = magnitude.shape[1:]
    reach = torch.arange(size, device=points.device) - size // 2                     # (size,)
    far = max(H, W) + size                                                           # farther out all is edge
    x, y = (points + 0.5).floor().clamp(-far, far).long()[..., None].unbind(2)       # (B, N, 1) each
    column = (x + reach).clamp(0, W - 1)                                             # (B, N, size)
    row = (y + reach).clamp(0, H - 1)                                                # (B, N, size)
    at = row[..., :, None] * W + column[..., None, :]                                # (B, N, size, size)
    return magnitude.flatten(1).gather(1, at.flatten(1)).unflatten(1, at.shape[1:])


def _kept(keep: Tensor) -> None:
    if keep.dim() != 1 or keep.dtype != torch.bool:
        raise ValueError(f"keep is {keep.dtype} {tuple(keep.shape)}; expected bool (T,), as high_intensity gives it")
    if keep.sum() < 3:
        raise ValueError(f"keep holds {int(keep.sum())} frames; expected 3 or more")
