"""Published weights: read a file the user names, load what fits, say what did not.

    state = read_state_dict("backbone.pth")
    print(load_weights(model, state, fit=fit_fc, source="backbone.pth"))
"""
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

State = dict[str, Tensor]


class WeightsError(Exception):
    """A weights file, or what it holds, that cannot be used: which, why, and what to do."""

    def __init__(self, path: str | Path, reason: str, hint: str):
        super().__init__(f"{path}: {reason}. {hint}")
        self.path, self.reason, self.hint = path, reason, hint


def why_unreadable(path: Path, error: Exception) -> tuple[str, str]:
    """The reason a file did not load and a hint, in words: (path, what torch.load raised) → (reason, hint)."""
    if isinstance(error, FileNotFoundError):
        return "there is no such file", "Check the path; nothing is ever downloaded"
    if isinstance(error, IsADirectoryError) or path.is_dir():
        return "this is a folder", "Name the weights file in it"
    if isinstance(error, PermissionError):
        return "no permission to read this file", "Change its permissions, or copy it"
    if isinstance(error, OSError):
        return f"the file cannot be read ({error.strerror or error})", "Check the disk, or copy the file anew"
    with path.open("rb") as f:
        head = f.read(64)
    again = "Download it again and compare its size with the publisher's"
    if not head:
        return "the file is empty", again
    if head.startswith(b"version https://git-lfs"):
        return ("this is a Git LFS pointer, a note of where the file lies, not the weights",
                "Run `git lfs pull`, or download the file itself")
    if head.lstrip().startswith(b"<"):
        return "this is a web page, not weights", f"The download gave a page instead of the file. {again}"
    if head[8:9] == b"{":
        return "this looks like a safetensors file", "Convert it with its own package and torch.save, then name the new file"
    if "TorchScript" in str(error):
        return "this is a TorchScript archive, not a state dict", "Save the module's state_dict() with torch.save, and name that file"
    if found := re.search(r"GLOBAL ([\w.]+) was not an allowed", str(error)):
        return (f"it holds a Python object ({found[1]}) beside the tensors, and such files are not opened",
                "Where you trust its maker, save its state_dict() alone with torch.save, and name the new file")
    if head.startswith((b"PK", b"\x80")):
        return "the file is damaged or was cut short", again
    return "this is not a file that torch.save wrote", "Name a .pt or .pth file that holds a state dict"


def read_state_dict(path: str | Path) -> State:
    """Read a state dict from a file, without running anything the file brings along.

    path    a file that torch.save wrote: a state dict, or a dict with one under 'state_dict' or 'model'
    →       name → tensor, on the CPU

    Raises WeightsError, whatever is wrong with the file.
    """
    path = Path(path)
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:      # damaged bytes raise whatever they happen to hit: EOFError, KeyError, RuntimeError, ...
        raise WeightsError(path, *why_unreadable(path, error)) from error
    for key in ("state_dict", "model"):
        if isinstance(found, dict) and isinstance(found.get(key), dict):
            found = found[key]
    if not isinstance(found, dict) or not found:
        kind = "an empty dict" if isinstance(found, dict) else type(found).__name__
        raise WeightsError(path, f"expected a dict of tensors, found {kind}",
                           "Save the model's state_dict() with torch.save, and name that file")
    other = [str(k) for k, v in found.items() if not (isinstance(k, str) and isinstance(v, Tensor))]
    if other:
        raise WeightsError(path, f"expected tensors only, but these are not: {some(other)}",
                           "Put the tensors under 'state_dict' or 'model', or save them alone")
    return dict(found)


@dataclass(frozen=True)
class Report:
    """What a load did. Every name of the model is in one of matched, missing, mismatched; print it for the summary."""

    matched: list[str]                                           # in both, of one shape: loaded
    missing: list[str]                                           # in the model only: left as they were
    unused: list[str]                                            # in the file only
    mismatched: list[tuple[str, tuple, tuple]]                   # name, shape in the file, in the model: left as they were
    resampled: list[tuple[str, tuple, tuple]]                    # name, shape in the file, after `fit`

    def __str__(self) -> str:
        total = len(self.matched) + len(self.missing) + len(self.mismatched)
        lines = [f"weights: {len(self.matched)} of the model's {total} tensors loaded"]
        lines += [f"  resampled: {name} {was} → {now}" for name, was, now in self.resampled]
        lines += [f"  left at its initial value: {name} is {there} in the file, {here} in the model"
                  for name, there, here in self.mismatched]
        if self.missing:
            lines.append(f"  not in the file, left at their initial values: {groups(self.missing)}")
        if self.unused:
            lines.append(f"  in the file, not in the model, unused: {groups(self.unused)}")
        return "\n".join(lines)


def load_weights(model: nn.Module, state: State, needed: float = 0.5,
                 fit: Callable[[State, nn.Module], State] | None = None, source: str | Path = "weights") -> Report:
    """Copy into the model whatever has its name and shape, and report the rest.

    model     any module
    state     name → tensor; `module.`, which DataParallel puts before every name, is taken off where every name has it
    needed    the least share of the model's tensors that must match
    fit       (state, model) → state, for a tensor that has to be reshaped first, such as `iresnet.fit_fc`
    source    how errors name the weights: the file's path

    Raises WeightsError, the model untouched, where a number is not finite or too little matches.
    """
    if state and all(name.startswith("module.") for name in state):
        state = {name.removeprefix("module."): t for name, t in state.items()}
    broken = [name for name, t in state.items() if not t.isfinite().all()]
    if broken:
        raise WeightsError(source, f"not every number is finite, in {some(broken)}", "The file is damaged; fetch it again")
    read = {name: tuple(t.shape) for name, t in state.items()}
    state = state if fit is None else fit(state, model)
    here = {name: tuple(t.shape) for name, t in model.state_dict().items()}
    there = {name: tuple(t.shape) for name, t in state.items()}
    report = Report(matched=[name for name in here if there.get(name) == here[name]],
                    missing=[name for name in here if name not in there],
                    unused=[name for name in there if name not in here],
                    mismatched=[(name, there[name], here[name])
                                for name in here if there.get(name, here[name]) != here[name]],
                    resampled=[(name, read[name], there[name])
                               for name in there if read.get(name, there[name]) != there[name]])
    if len(report.matched) < needed * len(here):
        shapes = ""
        if report.mismatched:
            shapes = f"; of another shape: {some(f'{name} {there} there, {here} here' for name, there, here in report.mismatched)}"
        raise WeightsError(source, f"only {len(report.matched)} of the model's {len(here)} tensors are in it. "
                                   f"Only the model has {some(report.missing) or 'no name'}; "
                                   f"only the file has {some(report.unused) or 'no name'}{shapes}",
                           "Is it the weights of another network, or of another depth?")
    model.load_state_dict({name: state[name] for name in report.matched}, strict=False)
    return report


def some(names) -> str:
    """A few of the names, and how many more: (a, b, c, d, e) → 'a, b, c and 2 more'."""
    names = list(names)
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def groups(names: list[str]) -> str:
    """Names counted by their first part: (fc.weight, fc.bias, layer4.0.bn1.bias) → 'fc (2), layer4 (1)'."""
    return ", ".join(f"{part} ({n})" for part, n in Counter(name.split(".")[0] for name in names).items())
