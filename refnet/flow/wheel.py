"""The colour wheel of optical flow: hue says where to, saturation says how far.

The wheel of Baker et al., A Database and Evaluation Methodology for Optical Flow (IJCV 2011): six runs of hues of unequal
length, since the eye tells more reds from yellows than greens from cyans. A displacement to the right is red, down is
yellow, to the left is cyan, up is blue-violet; no displacement is white.

Reading: their code spreads the circle over 54 steps of 55 colours and leaves a seam at red; here it is 55 steps and closes.
"""
import math

import numpy as np
import torch
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor

CORNERS = ((1, 0, 0), (1, 1, 0), (0, 1, 0), (0, 1, 1), (0, 0, 1), (1, 0, 1))     # red, yellow, green, cyan, blue, magenta
RUNS = (15, 6, 4, 11, 13, 6)                      # colours from each corner to the next, 55 in all


def hues(device="cpu", dtype=torch.float32) -> Tensor:
    """The 55 full colours, from red by yellow round to red again → (55, 3)"""
    parts = []
    for k, n in enumerate(RUNS):
        here, there = (torch.tensor(CORNERS[j % 6], device=device, dtype=dtype) for j in (k, k + 1))
        parts.append(torch.lerp(here, there, torch.arange(n, device=device, dtype=dtype)[:, None] / n))
    return torch.cat(parts)


def flow_colours(flow: Tensor, full: float) -> Tensor:
    """Show a flow.

    flow   (B, 2, H, W)   (dx, dy) in pixels, y down; what is not finite is shown black
    full   the displacement in pixels that gets its hue in full; beyond it the colour darkens by a quarter
    →      (B, 3, H, W)   in [0, 1]

    Raises ValueError where full is not above 0 or the flow has not two channels.
    """
    if flow.dim() != 4 or flow.shape[1] != 2:
        raise ValueError(f"flow must be (B, 2, H, W); got {tuple(flow.shape)}")
    if not 0 < full < math.inf:
        raise ValueError(f"full is {full}; it must be above 0 pixels, and finite")
    flow = flow if flow.is_floating_point() else flow.float()
    known = flow.isfinite().all(1, keepdim=True)                                                 # (B, 1, H, W)
    dx, dy = (torch.where(known, flow, 0) / full).unbind(1)                                      # (B, H, W) each
    wheel = hues(flow.device, flow.dtype)
    turn = (torch.atan2(dy, dx) / (2 * math.pi)) % 1 * len(wheel)                                # 0 to 55, red at 0
    low, part = turn.floor(), (turn - turn.floor())[..., None]
    low = low.long() % len(wheel)
    hue = torch.lerp(wheel[low], wheel[(low + 1) % len(wheel)], part).movedim(-1, 1)             # (B, 3, H, W)
    far = torch.sqrt(dx * dx + dy * dy)[:, None]
    return torch.where(far <= 1, 1 - far * (1 - hue), .75 * hue) * known


def disc(side: int, like: Tensor) -> Tensor:
    """The wheel itself, on white: no displacement in its centre, all of it at its rim.

    like   a tensor on the device and of the dtype wanted
    →      (3, side, side)
    """
    axis = torch.linspace(-1.1, 1.1, side, device=like.device, dtype=like.dtype)
    dx, dy = axis.expand(side, side), axis[:, None].expand(side, side)
    return flow_colours(torch.stack([dx, dy])[None], 1.)[0].masked_fill(dx * dx + dy * dy > 1, 1)


def with_key(colours: Tensor, full: float) -> Tensor:
    """Put the wheel beside a picture of flow, and under it how far its rim is; its centre is no displacement.

    colours   (3, H, W)      from `flow_colours`
    full      in pixels, as there
    →         (3, h, W + w)  the wheel below in a white column, a quarter of the height wide, or what its words need
    """
    H, W = colours.shape[1:]
    size = max(10, H // 28)
    font, words = ImageFont.load_default(size), f"{full:.3g} px"
    side = max(round(.25 * H), math.ceil(font.getlength(words)) + 8)
    label = Image.new("L", (side, round(1.6 * size)), 255)
    ImageDraw.Draw(label).text((side / 2, .7 * size), words, 0, font, anchor="mm")
    below = torch.from_numpy(np.array(label)).to(colours) / 255                                     # (1.6 size, side)
    key = torch.cat([disc(side, colours), below.expand(3, -1, -1)], 1)                              # (3, 1.6 size + side, side)
    sheet = colours.new_ones(3, max(H, key.shape[1]), W + side)
    sheet[:, :H, :W] = colours
    sheet[:, -key.shape[1]:, W:] = key
    return sheet
