"""From a micro-expression to its graphs: the pipeline of ENGAT §3 and §4.2, kept on disk.

    clip ─ register, resize ─ magnify ─ flow ─ intensity ─ three frames ─┬─ landmarks (G, 3, 51, 2)   of the magnified clip
           §4.2               §3, §4.2  §3     §3          §3.3          └─ patches   (G, 3, 51, 100) §3.1.1

A clip's graphs lie in one .npz, named by a checksum of the clip's files and of all settings that they depend on. It is written
under another name first, so that whatever stops a run leaves whole files or none; one that cannot be read is made again.
"""
import contextlib
import hashlib
import os
import zipfile
import zlib
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from refnet.data.micro import MicroClip, Source
from refnet.data.samples import DataError
from refnet.flow.affine import after, sample, transform, warp
from refnet.flow.eulerian import magnify
from refnet.flow.farneback import farneback_sequence
from refnet.flow.intensity import flow_intensity, flow_magnitude, high_intensity, landmark_patches, three_frames, triples
from refnet.flow.pyramid import grey
from refnet.flow.registration import onto_onset

VERSION = 1                    # of what is kept: a change of the pipeline's results makes all anew
TOGETHER = 16                  # frames moved at a time, to bound the memory
FOLLOW = ("scaled", "flow", "given")


class Pipeline(NamedTuple):
    """All that a clip's graphs depend on beside the clip itself; ENGAT's Config says where each value comes from."""
    size: int
    register: str
    margin: float
    lambda_c: float
    low: float
    high: float
    pyr_scale: float
    levels: int
    winsize: int
    iterations: int
    poly_n: int
    poly_sigma: float
    reference: str
    smooth: int
    threshold: float
    graphs: str
    follow: str
    gain: float
    whole: bool
    patch: int


class Graphs(NamedTuple):
    """What a clip gives: G graphs of three frames, 51 landmarks each."""
    rest: Tensor                   # (51, 2)              landmarks of the onset, in pixels of the size × size frames
    points: Tensor                 # (G, 3, 51, 2)        landmarks of the magnified clip
    patches: Tensor                # (G, 3, 51, patch²)   flow magnitude around them, in pixels
    frames: Tensor                 # (G, 3)               which frames these are, from 0, the onset
    intensity: Tensor              # (T,)                 mean flow magnitude of each frame
    keep: Tensor                   # (T,)                 bool, the high-intensity frames


# ---- the pipeline

def faces(clip: MicroClip, how: Pipeline) -> tuple[Tensor, Tensor]:
    """The frames brought onto the onset, and to the size of the network's; one reading of each picture.

        engat (§4.2)   "We registered each image with an onset image [...] resized to 256x256"

    →   (T, 3, S, S) in [0, 1], and the landmarks (T, 51, 2) that went along

    Reading: a whole picture is resized, whatever its proportions, as the page says. Where the frames show more than a face,
    the square box of the onset's landmarks is taken, `margin` of their extent wider on each side (ours).
    """
    T, S = len(clip), how.size
    video = clip.read(list(range(T)))                                                 # uint8 (T, 3, H, W)
    points = clip.source.points()                                                     # (T, 51, 2)
    if points.shape != (T, 51, 2) or not points.isfinite().all():
        raise DataError(f"landmarks are {tuple(points.shape)}; expected finite numbers, {(T, 51, 2)}")
    H, W = video.shape[2:]
    inside = ((points[0] >= -.5) & (points[0] < points.new_tensor([W, H]) - .5)).all(1)                # (51,)
    if inside.sum() < 26:
        raise DataError(f"{51 - int(inside.sum())} of 51 landmarks of the onset lie outside the picture, {W} × {H}; expected those of "
                        "its face; were they found on other pictures, larger or cropped in another way?")
    video = video.float().div_(255)
    onto = onto_onset(video[None], points[None] if how.register == "landmarks" else None, "similarity")[0] if how.register != "off" else (
        torch.eye(2, 3).expand(T, 2, 3))                                              # (T, 2, 3)
    left, top, width, height = 0., 0., float(W), float(H)
    if clip.scene:
        low, high = points[0].min(0).values + .5, points[0].max(0).values + .5        # from the corner of the picture
        side = float((high - low).max()) * (1 + 2 * how.margin)
        (left, top), width, height = ((low + high) / 2 - side / 2).tolist(), side, side
    # a point p, counted from the corner, comes to (p − left) · S / width: the centre of pixel 0 is at ½
    sx, sy = S / width, S / height
    resize = torch.tensor([[sx, 0., (.5 - left) * sx - .5], [0., sy, (.5 - top) * sy - .5]]).expand(T, 2, 3)
    matrix = after(resize, onto)                                                      # (T, 2, 3)
    fine = max(1, int(max(width, height) // S))        # where a face shrinks by 2 or more, a pixel is the mean of several looks
    finer = after(torch.tensor([[fine, 0., (fine - 1) / 2], [0., fine, (fine - 1) / 2]]).expand(T, 2, 3), matrix)
    moved = [F.avg_pool2d(warp(v, m, (fine * S, fine * S)), fine) for v, m in zip(video.split(TOGETHER), finer.split(TOGETHER))]
    return torch.cat(moved), transform(points, matrix)


def graphs_of(clip: MicroClip, alpha: float, how: Pipeline) -> Graphs:
    """The whole pipeline.

    alpha   the magnification
    →       see Graphs

    Landmarks come from a file, and so from the clip as it was filmed; the page finds them in the magnified clip. `follow` says
    how they get there: "scaled", a motion δ since the onset has become (1 + gain · α) δ, as the filters let about half of α
    through; "flow", the onset's landmarks go where the magnified clip's flow takes them; "given", as they are. `whole` rounds
    them there to whole pixels, as dlib, which the page names, gives them.

    Reading: §3 magnifies first, §4.2 registers and resizes and does not say when. Before magnifying, which would take the head's
    motion for the expression's, is ours; so is where landmarks that were given lie in the magnified clip.

    Reading: "threshold value based on the optical flow magnitude" leaves open whose flow, over which region, and which three
    frames. From the onset (`reference`), in the patches of the landmarks, the first, the strongest and the last kept are ours.

    Raises DataError for a clip of fewer than three frames, and for whatever a step refuses.
    """
    if len(clip) < 3:
        raise DataError(f"{len(clip)} frames from onset to offset; expected 3 or more, as the graph joins three")
    try:
        video, points = faces(clip, how)                                              # (T, 3, S, S), (T, 51, 2)
        large = magnify(video[None], clip.fps, alpha, how.lambda_c, (how.low, how.high))
        flow = farneback_sequence(grey(large), how.reference, how.pyr_scale, how.levels, how.winsize, how.iterations, how.poly_n,
                                  how.poly_sigma)[0]                                  # (T, 2, S, S)
        return _graphs(points, flow, alpha, how)
    except ValueError as error:
        raise DataError(str(error)) from error


def _graphs(points: Tensor, flow: Tensor, alpha: float, how: Pipeline) -> Graphs:
    """From landmarks (T, 51, 2), as filmed, and the magnified clip's flow (T, 2, S, S) to graphs."""
    rest, first = points[:1].expand_as(points), how.reference == "first"              # (T, 51, 2)
    there = points                                                                    # (T, 51, 2)
    if how.follow == "scaled":
        there = rest + (1 + how.gain * alpha) * (points - rest)
    elif how.follow == "flow":
        there = carried(flow, points[0], first)
    grid = rest if first else torch.cat([points[:1], there[:-1]])                     # on the picture where each flow lies
    m = flow_intensity(flow[None], points=grid[None], size=how.patch, smooth=how.smooth)[0]    # (T,)
    keep = high_intensity(m, how.threshold)                                           # (T,)
    frames = triples(keep) if how.graphs == "all" else torch.tensor([three_frames(m, keep)])      # (G, 3)
    if how.whole:
        there, rest = (there + .5).floor(), (rest + .5).floor()
    patches = landmark_patches(flow_magnitude(flow), grid, how.patch).flatten(2)   # (T, 51, patch²)
    return Graphs(rest[0], there[frames], patches[frames], frames, m, keep)


def carried(flow: Tensor, rest: Tensor, first: bool) -> Tensor:
    """Where flow takes landmarks: from the onset in one go, or from frame to frame.

    flow (T, 2, H, W), rest (51, 2) → (T, 51, 2)
    """
    if first:
        return rest + sample(flow, rest.expand(len(flow), -1, -1)).mT
    path = [rest]
    for step in flow[1:]:                                                             # one frame after the other
        path.append(path[-1] + sample(step[None], path[-1][None])[0].mT)
    return torch.stack(path)


# ---- kept on disk

@lru_cache(maxsize=4096)
def digest(source: Source) -> str:
    """A clip's checksum; files are read for it once a run."""
    return source.digest()


def place(clip: MicroClip, alpha: float, how: Pipeline, folder: str) -> Path:
    """Where a clip's graphs are kept."""
    of = repr((VERSION, digest(clip.source), clip.fps, clip.scene, float(alpha), tuple(how)))
    return Path(folder) / f"{hashlib.sha256(of.encode()).hexdigest()[:32]}.npz"


@lru_cache(maxsize=4096)
def kept(clip: MicroClip, alpha: float, how: Pipeline, folder: str) -> Graphs:
    """The pipeline, from the disk where it has been there before; folder "" keeps nothing."""
    path = place(clip, alpha, how, folder) if folder else None
    found = load(path) if path else None
    if found is None:
        found = graphs_of(clip, alpha, how)
        if path:
            save(found, path)
    return found


def save(graphs: Graphs, path: Path) -> None:
    """Write graphs, whole or not at all. Raises DataError where that cannot be."""
    part = path.with_suffix(f".{os.getpid()}.part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with part.open("wb") as f:
            np.savez(f, **{name: tensor.numpy() for name, tensor in graphs._asdict().items()})
            f.flush()
            os.fsync(f.fileno())
        os.replace(part, path)
    except OSError as error:
        raise DataError(f"--cache {path.parent}: cannot be written ({error.strerror or error}); make room, name another folder, or keep "
                        "nothing with --cache ''") from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def load(path: Path) -> Graphs | None:
    """Read graphs back; None where there are none, or no whole ones."""
    try:
        with path.open("rb") as f:                               # opened here, as numpy leaves a file open that is no zip
            with zipfile.ZipFile(f) as whole:
                if whole.testzip():                              # all of it: numpy checks only what it reads
                    return None
            f.seek(0)
            with np.load(f, allow_pickle=False) as found:
                read = Graphs(*(torch.from_numpy(found[name]) for name in Graphs._fields))
    except (OSError, ValueError, KeyError, EOFError, RuntimeError, zlib.error, zipfile.BadZipFile):
        return None
    G = len(read.frames)
    shapes = [tuple(t.shape) for t in read[:4]]
    good = shapes == [(51, 2), (G, 3, 51, 2), (G, 3, 51, read.patches.shape[-1]), (G, 3)] and read.keep.dtype == torch.bool
    return read if good and all(t.isfinite().all() for t in read[:3]) else None
