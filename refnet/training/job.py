"""What a training is: its settings, where it stands, and how it ends before its time."""
import dataclasses
import signal
import sys
from types import ModuleType
from typing import Any, NamedTuple

from torch import Tensor


class RunError(RuntimeError):
    """The training itself failed: losses or weights that are no numbers, no memory."""


class Interrupted(Exception):
    """Ctrl-C or a request to end; everything is saved."""


def no_memory(error: Exception) -> str:
    """What to say where an error means that the CPU's memory is gone, which torch has no kind of its own for; "" otherwise."""
    return "no memory left; a smaller --batch-size, --size or --together may help" if "can't allocate memory" in str(error) else ""


class Options(NamedTuple):
    """How to train, whatever the paper."""
    seed: int = 0
    select: float = 0.1            # share cut from train to choose the epoch, where the data set brings no such part
    amp: bool = False              # bfloat16 where autocast finds it safe
    compile: bool = False
    accumulate: int = 1            # batches a step
    clip: float = 0.0              # largest gradient norm; 0 leaves gradients alone
    patience: int = 0              # epochs without a better score before a stage ends; 0 never
    weights: str = ""              # a published file to start from
    workers: int = 0
    steps: int = 0                 # stop each stage after so many steps; 0 never
    save_every: int = 0            # steps between checkpoints within an epoch; 0 only at its end


class Job(NamedTuple):
    """What is trained: all that a checkpoint repeats."""
    paper: ModuleType
    key: str
    cfg: Any
    sources: dict[str, str]
    dataset: str
    preset: str
    ablation: str
    root: str                      # the data set's folder; "" for drawn faces
    options: Options


@dataclasses.dataclass
class At:
    """Where a fold's training stands."""
    stage: int = 0
    epoch: int = 0                 # epochs of this stage that are done
    batch: int = 0                 # batches of this epoch that are done
    step: int = 0                  # optimizer steps of this stage that are done
    seen: int = 0                  # samples of this epoch that are done
    best: float | None = None
    best_epoch: int = 0
    cut: bool = False              # an earlier stage was cut short by --steps: last.pt stays with that stage
    sums: dict[str, Tensor] = dataclasses.field(default_factory=dict)
    log: list[dict[str, Any]] = dataclasses.field(default_factory=list)


class Stop:
    """Ctrl-C and SIGTERM only ask; the loop answers after the step. Asked twice, it ends at once."""

    def __init__(self, quiet: bool = False):
        self.asked, self.quiet = False, quiet

    def __enter__(self) -> "Stop":
        self.old = {s: signal.signal(s, self._ask) for s in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *error) -> None:
        for number, handler in self.old.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame) -> None:
        self.asked = True
        signal.signal(number, signal.default_int_handler)
        if not self.quiet:
            print("stopping after this step; once more ends at once", file=sys.stderr, flush=True)
