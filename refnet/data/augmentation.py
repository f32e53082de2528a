"""How training varies a picture: where it is cut out, mirrored or not, its colours. Pictures (3, H, W), float in [0, 1].

Or a batch of pictures (B, 3, H, W), on its device: `draws` says for each sample, from its own generator, how; `zoom`, `turned`
and `coloured` do it for all at once.
"""
import torch
import torch.nn.functional as F
from torch import Tensor

GREY = (0.299, 0.587, 0.114)                                    # how much each colour counts to the eye (ITU-R BT.601)


def crop(picture: Tensor, size: int, rng: torch.Generator | None) -> Tensor:
    """Cut out a square: anywhere with equal chance, or its middle where rng is None. (3, H, W) → (3, size, size)"""
    H, W = picture.shape[1:]
    if size > min(H, W):
        raise ValueError(f"a square of {size} does not fit into a picture of {W} × {H}")
    if rng is None:
        top, left = (H - size) // 2, (W - size) // 2
    else:
        top, left = (int(torch.randint(n - size + 1, (), generator=rng)) for n in (H, W))
    return picture[:, top:top + size, left:left + size]


def without_colour(picture: Tensor) -> Tensor:
    """As grey as each colour counts to the eye: (3, H, W) uint8 → (3, H, W) uint8, three times the same; what is grey stays as it is."""
    weights = torch.tensor(GREY)[:, None, None]                                         # (3, 1, 1)
    return (picture * weights).sum(0, keepdim=True).round().to(torch.uint8).expand(3, -1, -1)


def mirrored(picture: Tensor, rng: torch.Generator) -> Tensor:
    """Left for right, with a probability of one half."""
    return picture.flip(-1) if torch.rand((), generator=rng) < 0.5 else picture


def jittered(picture: Tensor, strength: float, rng: torch.Generator) -> Tensor:
    """Brightness, contrast and saturation, each times a factor in [1 − strength, 1 + strength], one after the other in any order.

    A factor mixes the picture with black, with its mean grey, with its own grey; what leaves [0, 1] is clipped after each.
    """
    if strength == 0:
        return picture
    factors = (1 + strength * (2 * torch.rand(3, generator=rng) - 1)).clamp(min=0).tolist()
    weights = picture.new_tensor(GREY)[:, None, None]
    for k in torch.randperm(3, generator=rng).tolist():
        grey = 0.0 if k == 0 else (picture * weights).sum(0, keepdim=True)              # (1, H, W)
        other = grey.mean() if k == 1 else grey
        picture = (factors[k] * picture + (1 - factors[k]) * other).clamp(0, 1)
    return picture


# A batch at a time

def draws(rng: torch.Generator, flip: bool, scale: float, jitter: float, turn: float = 0.0, hue: float = 0.0) -> Tensor:
    """Draw how one sample is varied; always seven random numbers, whatever the settings.

    flip     mirror with a probability of one half, else never
    scale    below 1: how large it is seen, in [1 − scale, 1 + scale]
    jitter   each of three factors is in [1 − jitter, 1 + jitter], and not below 0
    turn     degrees, in [−turn, turn]
    hue      up to ½: a share of the whole circle of colours, in [−hue, hue]
    →        (7,)   mirrored 0 or 1, scale, brightness, contrast, saturation, degrees, hue: for `zoom`, `turned` and `coloured`
    """
    if not 0 <= scale < 1 or not 0 <= jitter:
        raise ValueError(f"scale lies in [0, 1) and jitter is 0 or more; got {scale} and {jitter}")
    if not 0 <= turn <= 180 or not 0 <= hue <= 0.5:
        raise ValueError(f"turn lies in [0, 180] degrees and hue, a share of the circle, in [0, 0.5]; got {turn} and {hue}")
    u = torch.rand(5, generator=rng)
    mirror = ((u[:1] < 0.5) & flip).float()                                             # (1,)
    around = 1 + torch.tensor([scale] + 3 * [jitter]) * (2 * u[1:] - 1)                 # (4,)
    turns = torch.tensor([turn, hue]) * (2 * torch.rand(2, generator=rng) - 1)          # (2,)
    return torch.cat([mirror, around.clamp(min=0), turns])                              # (7,)


def zoom(x: Tensor, mirror: Tensor, scale: Tensor) -> Tensor:
    """Mirror some pictures of a batch, and see each larger or smaller around its centre.

    x        (B, C, H, W)
    mirror   (B,)   bool: left for right
    scale    (B,)   2: twice as large, its rim is lost; ½: half as large, the border is repeated around it; above 0
    →        (B, C, H, W)

    Bilinear. Where scale is 1 the pixels are the picture's own, to the bit.
    """
    B, C, H, W = x.shape
    if mirror.shape != (B,) or scale.shape != (B,):
        raise ValueError(f"{B} pictures need mirror and scale of ({B},); got {tuple(mirror.shape)} and {tuple(scale.shape)}")
    mirror, scale = mirror.to(x)[:, None, None, None], scale.to(x)[:, None, None]       # (B, 1, 1, 1), (B, 1, 1)
    x = torch.lerp(x, x.flip(-1), mirror)                                               # one or the other: lerp is exact at 0 and 1
    u, v = ((2 * torch.arange(n, device=x.device, dtype=x.dtype) + 1 - n) / n for n in (W, H))     # pixels' centres, edges at ±1
    grid = torch.stack([(u / scale).expand(B, H, W), (v[:, None] / scale).expand(B, H, W)], -1)  # (B, H, W, 2)
    seen = F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)
    return torch.lerp(seen, x, (scale[..., None] == 1).to(x))                           # at scale 1 the grid alone is off by 1e-5


def turned(x: Tensor, mirror: Tensor, degrees: Tensor) -> Tensor:
    """Mirror some pictures of a batch, then turn each around its centre.

    x         (B, C, H, W)
    mirror    (B,)   bool: left for right
    degrees   (B,)   counter-clockwise, as one sees it
    →         (B, C, H, W)   black where the picture does not reach

    Bilinear. Where degrees are 0 the pixels are the picture's own, to the bit.
    """
    B, C, H, W = x.shape
    if mirror.shape != (B,) or degrees.shape != (B,):
        raise ValueError(f"{B} pictures need mirror and degrees of ({B},); got {tuple(mirror.shape)} and {tuple(degrees.shape)}")
    mirror, angle = mirror.to(x)[:, None, None, None], degrees.double().deg2rad()       # (B, 1, 1, 1), (B,)
    x = torch.lerp(x, x.flip(-1), mirror)                                               # one or the other: lerp is exact at 0 and 1
    cos, sin = (t.to(x)[:, None, None] for t in (angle.cos(), angle.sin()))             # (B, 1, 1)
    u, v = (torch.arange(n, device=x.device, dtype=x.dtype) - (n - 1) / 2 for n in (W, H))      # pixels right of, below the centre
    v = v[:, None]                                                                      # (H, 1)
    grid = torch.stack([(cos * u - sin * v) / (W / 2), (sin * u + cos * v) / (H / 2)], -1)      # (B, H, W, 2): where from
    seen = F.grid_sample(x, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return torch.where(degrees[:, None, None, None] == 0, x, seen)                      # at 0 the grid alone is off by 1e-5


def coloured(x: Tensor, factors: Tensor, hue: Tensor | None = None) -> Tensor:
    """Brightness, then contrast, then saturation, times each picture's own factors, then its hue; 1, 1, 1 and 0 change no bit.

    x         (B, 3, H, W)   in [0, 1]
    factors   (B, 3)         in that order, 0 or more
    hue       (B,)           turned by this share of the whole circle of colours: ⅓ makes red green; None: by none
    →         (B, 3, H, W)   in [0, 1]

    As `jittered`: mixed with black, with its mean grey, with its own grey; what leaves [0, 1] is clipped after each.
    """
    if x.dim() != 4 or x.shape[1] != 3 or factors.shape != (len(x), 3) or hue is not None and hue.shape != (len(x),):
        raise ValueError(f"pictures (B, 3, H, W) need factors (B, 3) and hue (B,) or None; got {tuple(x.shape)}, "
                         f"{tuple(factors.shape)} and {None if hue is None else tuple(hue.shape)}")
    brightness, contrast, saturation = factors.to(x)[:, :, None, None, None].unbind(1)  # (B, 1, 1, 1) each
    x = (brightness * x).clamp(0, 1)
    mean = _grey(x).mean((-2, -1), keepdim=True)                                        # (B, 1, 1, 1)
    x = torch.lerp(mean, x, contrast).clamp(0, 1)
    x = torch.lerp(_grey(x), x, saturation).clamp(0, 1)
    if hue is None:
        return x
    hue = hue.to(x)[:, None, None, None]                                                # (B, 1, 1, 1)
    return torch.where(hue == 0, x, _hue_turned(x, hue))


def _hue_turned(x: Tensor, hue: Tensor) -> Tensor:
    """Into hue, value and saturation, on around the circle, and back: (B, 3, H, W), (B, 1, 1, 1) → (B, 3, H, W)

    The hue h runs from 0 to 6: red at 0 and 6, green at 2, blue at 4. A colour's largest and smallest value are the same
    afterwards, and each channel lies between them by how near to it h is: at the largest within 1, at the smallest from 2 on.
    """
    red, green, blue = x.split(1, 1)                                                    # (B, 1, H, W) each
    most, least = x.amax(1, keepdim=True), x.amin(1, keepdim=True)                      # (B, 1, H, W)
    span = (most - least).clamp(min=1e-12)                                              # a grey has no hue, and needs none
    h = torch.where(red == most, (green - blue) / span,
                    torch.where(green == most, 2 + (blue - red) / span, 4 + (red - green) / span))
    h = (h + 6 * hue).remainder(6)                                                      # (B, 1, H, W)
    share = torch.cat([(h - 3).abs() - 1, 2 - (h - 2).abs(), 2 - (h - 4).abs()], 1)     # (B, 3, H, W)
    return torch.lerp(least, most, share.clamp(0, 1))


def _grey(x: Tensor) -> Tensor:
    """(B, 3, H, W) → (B, 1, H, W)"""
    red, green, blue = x.split(1, 1)                                                    # (B, 1, H, W) each
    return GREY[0] * red + GREY[1] * green + GREY[2] * blue
