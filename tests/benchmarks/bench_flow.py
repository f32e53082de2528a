"""Time Farneback's flow beside OpenCV's on the same pictures, and how far the two are apart; how far both are from the true flow
of drawn faces; time the magnification.

    python -m tests.benchmarks.bench_flow [--device cuda] [--runs 15]
    python -m tests.benchmarks.bench_flow --store            write tests/opencv_flow.json anew, with the OpenCV that is installed

Both run once a round, in turn, so that a noisy machine is noisy for both; medians are quoted, and ratios. Without OpenCV
(`cv2`) the times of refnet are printed alone.
"""
import argparse
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import torch

from refnet.data.drawn_faces import draw
from refnet.data.drawn_micro import plan_micro
from refnet.data.drawn_motion import MOVING, true_flow
from refnet.data.drawn_plan import plan
from refnet.flow.eulerian import magnify
from refnet.flow.farneback import farneback
from refnet.flow.pyramid import grey
from tests.benchmarks.operators import rounds
from tests.test_farneback import MOTIONS, pair

try:
    import cv2
except ImportError:
    cv2 = None

NAMES = "pyr_scale, levels, winsize, iterations, poly_n, poly_sigma, gaussian_window"
USUAL, GAUSSIAN = (.5, 3, 15, 3, 5, 1.2, False), (.5, 3, 15, 3, 7, 1.5, True)
DEFAULT = (.5, 5, 13, 10, 5, 1.1, False)
CASES = [("usual", "shifted", (80, 96), USUAL, 0), ("large motion", "far", (80, 96), USUAL, 0), ("default", "turned", (97, 83), DEFAULT, 0),
         ("gaussian window", "bent", (80, 96), GAUSSIAN, 0), ("even window", "bent", (75, 110), (.5, 2, 14, 3, 5, 1.1, False), 0),
         ("even gaussian window", "turned", (80, 96), (.5, 1, 12, 2, 7, 1.5, True), 0), ("no levels", "shifted", (91, 77), (.5, 0, 15, 3, 5, 1.2, False), 0),
         ("one level", "turned", (91, 77), (.5, 1, 15, 3, 5, 1.2, False), 0), ("pyramid of 0.6", "far", (101, 119), (.6, 4, 15, 3, 5, 1.1, False), 0),
         ("from a guess", "far", (80, 96), USUAL, .8), ("from a guess, no levels", "far", (80, 96), (.5, 0, 13, 4, 5, 1.1, False), .9),
         ("wide gaussian", "bent", (128, 128), (.5, 3, 33, 5, 7, 1.5, True), 0), ("sigma 0", "shifted", (80, 96), (.5, 2, 13, 3, 4, 0., False), 0),
         ("three levels", "bent", (256, 260), USUAL, 0), ("pyramid of 0.8", "turned", (128, 120), (.8, 5, 15, 1, 5, 1.1, False), 0),
         ("from a bent guess", "bent", (97, 101), (.5, 1, 15, 1, 5, 1.2, False), .5)]


def opencv(first: torch.Tensor, second: torch.Tensor, settings: tuple, start: torch.Tensor | None = None) -> torch.Tensor:
    """OpenCV's flow of pictures (H, W) in [0, 1], given to it as bytes: (2, H, W)"""
    *settings, gaussian = settings
    a, b = ((255 * t).round().byte().cpu().numpy() for t in (first, second))
    guess = None if start is None else start.float().movedim(0, -1).contiguous().numpy().copy()
    flags = (cv2.OPTFLOW_FARNEBACK_GAUSSIAN if gaussian else 0) | (0 if guess is None else cv2.OPTFLOW_USE_INITIAL_FLOW)
    return torch.from_numpy(cv2.calcOpticalFlowFarneback(a, b, guess, *settings, flags)).movedim(-1, 0)


def store() -> None:
    """OpenCV's results for the test: at every twelfth pixel from (4, 4), and the mean of |dx| and |dy| over all."""
    cases = []
    for name, motion, size, settings, start in CASES:
        first, second, truth = pair(MOTIONS[motion], size)
        flow = opencv(first[0], second[0], settings, truth[0] * start if start else None)
        cases.append({"name": name, "motion": motion, "size": size, "settings": settings, "start": start,
                      "mean": round(float(flow.abs().double().mean()), 6),
                      "flow": [[[round(v, 6) for v in row] for row in part] for part in flow[:, 4::12, 4::12].tolist()]})
    made = (f"cv2.calcOpticalFlowFarneback of OpenCV {cv2.__version__} on the bytes of tests/test_farneback.py's pictures, "
            f"`python -m tests.benchmarks.bench_flow --store`; settings: {NAMES}; start: the share of the true flow given as the "
            "initial flow; flow: dx and dy at rows and columns 4, 16, 28, ...; mean: of |dx| and |dy| over all pixels")
    rows = ",\n".join(json.dumps(case) for case in cases)
    path = Path(__file__).parent.parent / "opencv_flow.json"
    path.write_text(f'{{"made": {json.dumps(made)},\n"cases": [\n{rows}\n]}}\n', encoding="utf-8")
    print(path)


def flow_times(name: str, size: tuple[int, int], settings: tuple, batch: int, threads: int, runs: int, device: torch.device,
               workers: int = 1) -> None:
    """One line: milliseconds a pair, and the difference; workers threads of Python share the batch, four pairs at a time."""
    torch.set_num_threads(threads)
    first, second, _ = pair(MOTIONS["bent"], size, device)
    firsts, seconds = first.expand(batch, -1, -1).contiguous(), second.expand(batch, -1, -1).contiguous()
    contenders = {"refnet": lambda: farneback(firsts, seconds, *settings)}
    if workers > 1:
        pool = ThreadPoolExecutor(workers, initializer=lambda: torch.set_num_threads(1))
        contenders = {"refnet": lambda: list(pool.map(lambda a, b: farneback(a, b, *settings), firsts.split(4), seconds.split(4)))}
    line = ""
    if cv2 is not None:
        cv2.setNumThreads(threads)
        a, b = ((255 * t[0]).round().byte().cpu().numpy() for t in (first, second))
        flags = cv2.OPTFLOW_FARNEBACK_GAUSSIAN if settings[-1] else 0
        contenders["OpenCV"] = lambda: cv2.calcOpticalFlowFarneback(a, b, None, *settings[:-1], flags)
        off = (farneback(first, second, *settings)[0].cpu() - opencv(first[0], second[0], settings)).abs()
        line = f"   apart: mean {off.mean():.1e}, largest {off.max():.1e} px"
    t = rounds(contenders, runs, device)
    ours = 1e3 * t["refnet"] / batch
    beside = f"   OpenCV {1e3 * t['OpenCV']:7.1f} ms   ratio {ours / (1e3 * t['OpenCV']):5.2f}" if cv2 is not None else ""
    how = f"{workers} workers of one thread" if workers > 1 else f"{threads} thread{'s' * (threads > 1)}"
    print(f"{name:9} {size[1]:4} × {size[0]:3}  batch {batch:2}, {how}: refnet {ours:7.1f} ms a pair{beside}{line}",
          flush=True)


def accuracy(device: torch.device) -> None:
    """Mean endpoint error to the true flow of drawn faces, refnet and OpenCV on the same bytes, over all valid pixels."""
    size, faces = 256, plan(24, 2, seed=11, subjects=4, pose=.5, occlusion=0, noise=.006)
    faces = replace(faces, pose=faces.pose[:, :1] + .15 * (faces.pose - faces.pose[:, :1]), eyes=faces.eyes[:, :1].expand(-1, 2, -1),
                    aus=torch.stack([0 * faces.aus[:, 0], .5 * plan(24, 1, seed=11, subjects=4).aus[:, 0]], 1))
    sets = {"expressions at half strength": (faces, torch.zeros(24, dtype=torch.long), torch.ones(24, dtype=torch.long))}
    for name, drift in (("micro-expressions, head still", 0.), ("micro-expressions, head drifting", 1.)):
        micro = plan_micro(24, seed=11, subjects=8, drift=drift)
        sets[name] = micro.faces, micro.onset, micro.apex
    for name, (faces, first, second) in sets.items():
        pick = lambda t: replace(faces, **{k: getattr(faces, k)[torch.arange(len(faces)), t][:, None] for k in MOVING})
        truth, valid = true_flow(faces, size, first, second, device)
        a, b = ((255 * grey(draw(pick(t), size, device)[0][:, 0])).round()[:, 0] / 255 for t in (first, second))
        epe = lambda flow: float((flow - truth).norm(dim=1)[valid].mean())
        errors = {"refnet, default": epe(farneback(a, b)), "usual": epe(farneback(a, b, *USUAL)),
                  "the paper's choices": epe(farneback(a, b, certainty=True, rounded=True, guard=0))}
        if cv2 is not None:
            both = {k: torch.stack([opencv(*pair_, s) for pair_ in zip(a, b)]).to(device) for k, s in (("default", DEFAULT), ("usual", USUAL))}
            errors |= {f"OpenCV, {k}": epe(flow) for k, flow in both.items()}
        print(f"{name}: true displacement {float(truth.norm(dim=1)[valid].mean()):.3f} px on average; endpoint error "
              + ", ".join(f"{k} {v:.4f}" for k, v in errors.items()), flush=True)


def magnification(runs: int, device: torch.device) -> None:
    """A clip of 60 frames at 256 px, 30 frames a second."""
    video = torch.rand(1, 60, 3, 256, 256, device=device)
    for temporal in ("iir", "butterworth"):
        t = rounds({"magnify": lambda: magnify(video, 30, 10, temporal=temporal)}, runs, device)
        print(f"magnify, {temporal:11} 60 frames of 256 × 256: {t['magnify']:.2f} s")


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--runs", type=int, default=15)
    p.add_argument("--store", action="store_true", help="write the stored results for the tests anew")
    args = p.parse_args()
    if args.store:
        store()
        raise SystemExit
    where = torch.device(args.device)
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name() if where.type == 'cuda' else 'CPU'}; "
          f"OpenCV {cv2.__version__ if cv2 else 'not installed'}; medians of {args.runs} rounds; settings: {NAMES}")
    for name, settings in (("usual", USUAL), ("gaussian", GAUSSIAN), ("default", DEFAULT)):
        flow_times(name, (256, 256), settings, 1, 1, args.runs, where)
    flow_times("usual", (720, 1280), USUAL, 1, 1, max(3, args.runs // 3), where)
    for batch in (4, 64):
        flow_times("usual", (256, 256), USUAL, batch, 2, max(3, args.runs // 2), where)
    if where.type == "cpu":
        flow_times("usual", (256, 256), USUAL, 64, 1, max(3, args.runs // 2), where, workers=2)
    accuracy(where)
    magnification(3, where)
