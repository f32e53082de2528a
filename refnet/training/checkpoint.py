"""Checkpoints: written whole or not at all, and refused where they are damaged.

    last.pt           all that a run needs to go on as if it had never stopped
    best.pt           the chosen weights, and all that it takes to rebuild the model
    last.pt.sha256    its checksum, as `sha256sum -c` reads it
"""
import dataclasses
import errno
import hashlib
import os
import shutil
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from refnet import models
from refnet.backbones.weights import some
from refnet.config import Stage
from refnet.data.weight_files import why_unreadable

VERSION = 1
NEEDED = ("paper", "dataset", "preset", "ablation", "root", "cfg", "sources", "options", "seed", "fold", "data", "stat", "stage", "model")


class CheckpointError(Exception):
    """A checkpoint that cannot be used or written: which, why, and what to do."""

    def __init__(self, path: str | Path, reason: str, hint: str):
        super().__init__(f"{path}: {reason}. {hint}")
        self.path, self.reason, self.hint = Path(path), reason, hint


def save(path: Path, content: dict[str, Any]) -> None:
    """Write a checkpoint and its checksum.

    A process killed at any moment leaves the old file or the new one, never half of either: the file is written under
    another name, and the checksum names both until the new file stands in the old one's place.
    """
    part, side = path.with_name(path.name + ".part"), _side(path)
    try:
        with part.open("w+b") as f:
            torch.save({"refnet": VERSION, **content}, f)
            _sync(f)
            f.seek(0)
            new = hashlib.file_digest(f, "sha256").hexdigest()
        old = [line for line in _sums(side) if line != new]
        _write(side, "".join(f"{digest}  {path.name}\n" for digest in [new, *old]))
        os.replace(part, path)
        _write(side, f"{new}  {path.name}\n")
    except (OSError, RuntimeError) as error:                    # torch reports a full disk as a RuntimeError of its own
        part.unlink(missing_ok=True)
        free = shutil.disk_usage(path.parent).free
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or isinstance(error, RuntimeError)
        reason = f"disk full, {free / 2 ** 20:.0f} MB free" if full else f"cannot be written ({error.strerror or error})"
        raise CheckpointError(path, reason, "What stood there before is untouched; make room and go on with --resume"
                              ) from error


def load(path: str | Path, paper: str | None = None, going_on: bool = False) -> dict[str, Any]:
    """Read a checkpoint, on the CPU, and without running anything it brings along.

    paper      the key it must be of; None for any
    going_on   it must hold what training needs to go on, as last.pt does

    Raises CheckpointError for whatever is wrong: no such file, a folder, empty, cut, another kind of file, a checksum
    that differs, numbers that are not finite, another paper.
    """
    path = Path(path)
    sums = _sums(_side(path))
    try:
        with path.open("rb") as f:
            digest = hashlib.file_digest(f, "sha256").hexdigest()
        found = torch.load(path, map_location="cpu", weights_only=True)
        broken = None if sums else zipfile.ZipFile(path).testzip()             # without a checksum, the archive's own
    except Exception as error:      # damaged bytes raise whatever they happen to hit: EOFError, KeyError, ...
        reason, _ = why_unreadable(path, error)
        raise CheckpointError(path, reason, "Name a run folder, or a best.pt or last.pt in one") from error
    damaged = "Take another checkpoint of the run, or copy the file anew from where it was trained"
    if broken or (sums and digest not in sums):
        where = "inside" if broken else f"in {_side(path).name}"
        raise CheckpointError(path, f"the file is damaged: its checksum is not the one {where}", damaged)
    if not isinstance(found, dict) or "refnet" not in found or any(key not in found for key in NEEDED):
        raise CheckpointError(path, "this is not a checkpoint of a run", "Weights alone are given with --weights")
    if found["refnet"] > VERSION:
        raise CheckpointError(path, f"written by a later version ({found['refnet']}; this one reads {VERSION})",
                              "Update refnet")
    if bad := not_finite(found["model"]):
        raise CheckpointError(path, f"not every weight is finite, in {some(bad)}", damaged)
    if paper is not None and found["paper"] != paper:
        raise CheckpointError(path, f"it is of --paper {found['paper']}, not {paper}", f"Use --paper {found['paper']}")
    if going_on and "at" not in found:
        raise CheckpointError(path, "it holds the chosen weights, not the state of the training",
                              "Go on with the run's folder, or its last.pt")
    return found


def restore(path: str | Path) -> tuple[ModuleType, Any, nn.Module, dict[str, Any]]:
    """Rebuild what was trained from its checkpoint alone.

    path   a best.pt or last.pt, or a run folder, whose best.pt is taken
    →      the paper's module, the Config its network was built with, the model in eval mode, the checkpoint

    Raises CheckpointError, also where the Config or the network has changed since.
    """
    path = Path(path)
    path = path / "best.pt" if path.is_dir() else path
    found = load(path)
    try:
        paper = models.load(found["paper"])
        cfg = paper.Config(**found["cfg"])
        stage = next(s for s in paper.stages(cfg) if s.name == found["stage"])
        cfg = laid_over(cfg, stage)
        model = paper.network(cfg, found["stat"], stage)
        model.load_state_dict(found["model"])
    except (TypeError, ValueError, RuntimeError, StopIteration) as error:
        reason = " ".join(str(error).split())[:200]
        raise CheckpointError(path, f"it does not fit today's {found['paper']} ({reason})",
                              "Use the version of refnet that trained it, or train again") from error
    return paper, cfg, model.eval(), found


def laid_over(cfg: Any, stage: Stage) -> Any:
    """The settings of one stage."""
    return dataclasses.replace(cfg, **{name: value.default if isinstance(value, dataclasses.Field) else value
                                       for name, value in stage.settings.items()})


def not_finite(state: dict[str, Tensor]) -> list[str]:
    """The names of tensors that hold NaN or infinity."""
    return [name for name, t in state.items() if t.is_floating_point() and not t.isfinite().all()]


def _side(path: Path) -> Path:
    return path.with_name(path.name + ".sha256")


def _sums(side: Path) -> list[str]:
    """The checksums in a sidecar; none where there is no sidecar."""
    return [line.split()[0] for line in side.read_text().splitlines() if line.strip()] if side.is_file() else []


def _write(path: Path, text: str) -> None:
    part = path.with_name(path.name + ".part")
    with part.open("w", encoding="utf-8", newline="") as f:
        f.write(text)
        _sync(f)
    os.replace(part, path)


def _sync(f) -> None:
    f.flush()
    os.fsync(f.fileno())
