"""How long ENGAT takes: the pipeline of one clip, part by part, and training; and how far magnification makes a face move.

    python -m tests.benchmarks.bench_micro [--frames 40] [--size 256] [--runs 5]

One thread, as in training, where every core has a clip or a fold of its own. The parts of a clip are timed in turn, in rounds;
medians are quoted.
"""
import argparse
import statistics
import sys
import time
from dataclasses import replace

import torch

from refnet.data import drawn_clips, micro_graphs
from refnet.data.drawn_clips import DrawnMicro, Plan
from refnet.data.drawn_micro import plan_micro
from refnet.data.micro import MicroClip
from refnet.flow.affine import sample
from refnet.flow.eulerian import magnify
from refnet.flow.farneback import farneback, farneback_sequence
from refnet.flow.pyramid import grey
from refnet.models import engat


def pipeline(frames: int, size: int, runs: int) -> None:
    """One drawn clip of so many frames, from pictures in memory to its graph."""
    cfg = replace(engat.Config(), size=size, cache="")
    micro = plan_micro(1, 0, 1, frames=(frames, frames))
    micro.onset[:], micro.offset[:] = 0, frames - 1
    clip, how = MicroClip(DrawnMicro(Plan(micro, size), 0), 200.0), cfg.pipeline
    clip.read([0])                                                                        # drawn once
    video, _ = micro_graphs.faces(clip, how)
    large = magnify(video[None], 200.0, cfg.alpha, cfg.lambda_c, (cfg.low, cfg.high))
    parts = {"registered and resized": lambda: micro_graphs.faces(clip, how),
             "magnified": lambda: magnify(video[None], 200.0, cfg.alpha, cfg.lambda_c, (cfg.low, cfg.high)),
             "flow": lambda: farneback_sequence(grey(large), how.reference, how.pyr_scale, how.levels, how.winsize, how.iterations,
                                                how.poly_n, how.poly_sigma),
             "all of it": lambda: micro_graphs.graphs_of(clip, cfg.alpha, how)}
    print(f"the pipeline, {frames} frames of {size} × {size}, one factor, one thread")
    for name, seconds in rounds(parts, runs).items():
        print(f"  {name:24} {seconds:6.2f} s")


def training(runs: int, B: int = 16) -> None:
    """A step of training on a batch of graphs, and what it makes of leave-one-subject-out over 24 subjects."""
    cfg = engat.Config()
    model = engat.network(cfg, {}, engat.stages(cfg)[0])
    adam, _ = engat.optimizer(model, cfg, 1)
    rng = torch.Generator().manual_seed(0)
    inputs = (torch.rand(B, 1, 153, 2, generator=rng), torch.rand(B, 1, 153, cfg.patch ** 2, generator=rng),
              torch.rand(B, 1, 153, 2, generator=rng), torch.ones(B, 1, dtype=torch.bool))
    target = {"expression": torch.arange(B) % len(cfg.classes)}

    def step() -> None:
        for _ in range(10):
            adam.zero_grad()
            engat.loss(model(*inputs), target, {}, cfg, engat.stages(cfg)[0])["total"].backward()
            adam.step()

    seconds = rounds({"step": step}, runs)["step"] / 10
    print(f"a training step, {B} graphs of 153 nodes, one thread\n  {seconds * 1e3:.1f} ms")
    graphs = 84 + 3 * 31 + 4 * 24                                                         # of 139 clips, classes filled up
    fold = 60 * -(-graphs // B) * seconds
    print(f"leave-one-subject-out, 24 subjects, 145 clips, 60 epochs: {24 * fold / 60:.1f} minutes on one core, "
          f"{12 * fold / 60:.1f} on two, but for reading, saving and testing")


def gain(size: int, subjects: int = 4) -> None:
    """How much farther a face moves in a magnified clip: the flow's share of the true motion at landmarks, with and without."""
    cfg = engat.Config(size=size)
    clips = [s.clip for s in drawn_clips.read(None, cfg, subjects).samples]
    share = {0.: [], cfg.alpha: []}
    for clip in clips:
        video, points = micro_graphs.faces(clip, cfg.pipeline)
        true = points[clip.apex] - points[0]                                              # (51, 2)
        for alpha, found in share.items():
            large = magnify(video[None], clip.fps, alpha, cfg.lambda_c, (cfg.low, cfg.high))[0]
            flow = farneback(grey(large[:1]), grey(large[clip.apex][None]), cfg.pyr_scale, cfg.levels, cfg.winsize, cfg.iterations,
                             cfg.poly_n, cfg.poly_sigma)
            moved = sample(flow, points[:1])[0].mT                                        # (51, 2)
            found.append((moved / true)[true.abs() > size / 512])                         # what moves enough to be measured
    before, after = (torch.cat(found).median().item() for found in share.values())
    print(f"magnified {cfg.alpha:g} times, {len(clips)} clips at {size} px: flow over true motion {before:.2f}, then {after:.2f}: motion grows "
          f"{after / before:.1f} times, 1 + {(after / before - 1) / cfg.alpha:.2f} alpha")


def rounds(contenders: dict, runs: int) -> dict[str, float]:
    """Every contender once a round, in turn; the median of each in seconds."""
    seconds = {name: [] for name in contenders}
    for k in range(runs + 1):
        for name, run in contenders.items():
            began = time.perf_counter()
            run()
            if k:                                                                         # the first round warms up
                seconds[name].append(time.perf_counter() - began)
    return {name: statistics.median(each) for name, each in seconds.items()}


def main(argv: list[str]) -> int:
    """Time both; returns the exit status."""
    p = argparse.ArgumentParser(prog="python -m tests.benchmarks.bench_micro", description="Time ENGAT.", allow_abbrev=False)
    p.add_argument("--frames", type=int, default=40)
    p.add_argument("--size", type=int, default=256)
    p.add_argument("--runs", type=int, default=5)
    args = p.parse_args(argv)
    torch.set_num_threads(1)
    pipeline(args.frames, args.size, args.runs)
    training(args.runs)
    gain(args.size)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
