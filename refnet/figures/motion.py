"""One micro-expression of a drawn face, as motion sees it.

    python -m refnet.figures.motion OUT.png
"""
import math
import sys
from collections.abc import Sequence

import torch
from PIL import Image
from torch import Tensor

from refnet.data.drawn_faces import draw
from refnet.data.drawn_micro import plan_micro
from refnet.data.drawn_motion import true_flow
from refnet.figures.canvas import GREY, INK, Canvas, heat
from refnet.flow.eulerian import magnify
from refnet.flow.farneback import farneback
from refnet.flow.pyramid import grey
from refnet.flow.strain import strain_magnitude
from refnet.flow.wheel import disc, flow_colours
from refnet.pictures import write_picture

SIZE, ALPHA, CLIP = 256, 8.0, 10                  # pixels a side; the magnification; which clip of the plan


def measured(device="cpu") -> dict[str, Tensor]:
    """A drawn micro-expression from onset to apex, measured in every way that refnet/flow has.

    →   onset, apex, magnified (3, H, W); true, found (2, H, W) in pixels; valid (H, W), where true is known; strain (H, W)
    """
    micro = plan_micro(CLIP + 1, seed=2, subjects=4, drift=0, noise=.004, peak=(1.7, 1.9))[CLIP:]
    onset, apex = int(micro.onset), int(micro.apex)
    video, _ = draw(micro.clip(0), SIZE, device)                                                 # (1, T, 3, H, W)
    since_onset = 0, math.inf                                                                    # all that changed
    large = magnify(video[:, onset:apex + 1], micro.fps, ALPHA, band=since_onset)[0, -1]
    found = farneback(grey(video[:, onset]), grey(video[:, apex]), winsize=33, gaussian_window=True)
    true, valid = true_flow(micro.faces, SIZE, onset, apex, device)
    return {"onset": video[0, onset], "apex": video[0, apex], "magnified": large, "true": true[0], "valid": valid[0],
            "found": found[0], "strain": strain_magnitude(found)[0]}


def figure(m: dict[str, Tensor]) -> Image.Image:
    """Six panels of `measured`, with their keys."""
    side, gap, top = 170, 16, 40
    full = float(m["true"].norm(dim=0)[m["valid"]].max())
    known = torch.where(m["valid"], m["true"], float("nan"))
    flow = flow_colours(torch.stack([known, m["found"]]), full)                                  # (2, 3, H, W)
    flow[0] = torch.where(m["valid"], flow[0], .35 + .4 * grey(m["onset"]))                      # grey where nothing is known
    stretch = float(m["strain"].flatten().quantile(.995))
    shades = torch.tensor([heat(k / 255) for k in range(256)], device=flow.device) / 255         # (256, 3)
    strain = shades[(255 * m["strain"] / stretch).round().clamp(max=255).long()].movedim(-1, 0)  # (3, H, W)
    panels = [("onset", "a face at rest", m["onset"]), ("apex", f"farthest pixel: {full:.2f} px", m["apex"]),
              ("apex, magnified", f"Eulerian, alpha {ALPHA:g}", m["magnified"]),
              ("true flow", "grey: not known", flow[0]), ("Farneback's flow", "same colours", flow[1]),
              ("optical strain", f"dark: {100 * stretch:.1f} % and more", strain)]
    canvas = Canvas(3 * side + 4 * gap + 96, 2 * (side + top) + 2 * gap)
    for k, (title, note, picture) in enumerate(panels):
        left, upper = gap + k % 3 * (side + gap), gap + k // 3 * (side + top)
        canvas.text(left, upper + 9, title, 12, INK, bold=True)
        canvas.text(left, upper + 24, note, 9.5, GREY)
        canvas.picture((255 * picture.clamp(0, 1)).round().byte().cpu(), left, upper + 34, side, side)
    left, upper = 3 * (side + gap) + gap, gap + side + top + 34
    canvas.picture((255 * disc(200, flow)).round().byte().cpu(), left, upper + 16, 80, 80)
    canvas.text(left + 40, upper + 4, "where to", 9.5, GREY, "mm")
    canvas.text(left + 40, upper + 106, f"rim: {full:.2f} px", 9.5, GREY, "mm")
    return canvas.image()


def main(argv: Sequence[str]) -> int:
    """Draw the figure; returns the exit status."""
    if len(argv) != 1 or argv[0].startswith("-"):
        print("usage: python -m refnet.figures.motion OUT.png", file=sys.stderr)
        return 2
    write_picture(figure(measured()), argv[0])
    print(argv[0])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
