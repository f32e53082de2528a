"""Published weights: load what fits, say what did not. Files are read by data/weight_files.py.

    state = read_state_dict("backbone.pth")
    print(load_weights(model, state, fit=fit_fc, source="backbone.pth"))
"""
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch import Tensor, nn

State = dict[str, Tensor]


class WeightsError(Exception):
    """A weights file, or what it holds, that cannot be used: which, why, and what to do."""

    def __init__(self, path: str | Path, reason: str, hint: str):
        super().__init__(f"{path}: {reason}. {hint}")
        self.path, self.reason, self.hint = path, reason, hint


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
