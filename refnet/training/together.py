"""Folds side by side: a process each, on one core each, for networks that are too small to fill a machine.

Every fold does what it would do alone, in its own folder; the process that waits says how far all of them are. Ctrl-C reaches
every fold, each saves itself, and the run goes on from there.
"""
import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import torch

from refnet.backbones.weights import WeightsError
from refnet.data.protocols import Fold
from refnet.data.samples import DataError
from refnet.pictures import PictureError
from refnet.training import checkpoint, runs
from refnet.training.distributed import Place
from refnet.training.job import Interrupted, Job, RunError, Stop, no_memory
from refnet.training.loop import steps_to_go, train
from refnet.training.progress import Progress

POLL = 0.05                                                     # seconds between looks at the processes


class Task(NamedTuple):
    """A fold to train."""
    fold: Fold
    home: Path
    last: Path | None              # the checkpoint to go on from
    title: str


class Reported:
    """The progress of a fold in another process: its steps are counted there, its lines are not shown."""

    def __init__(self, counter):
        self.counter, self.parent = counter, os.getppid()

    def due(self) -> bool:
        return False

    def step(self, n: int = 1) -> None:
        with self.counter.get_lock():
            self.counter.value += n
        if os.getppid() != self.parent:                         # nobody waits any more
            signal.raise_signal(signal.SIGTERM)

    def tell(self, text: str) -> None:
        pass

    def say(self, text: str) -> None:
        pass


def possible(place: Place) -> bool:
    """Whether folds can train side by side: on a CPU, in one process so far, where a process can be copied as it is."""
    return place.world == 1 and place.device.type == "cpu" and "fork" in multiprocessing.get_all_start_methods()


@contextlib.contextmanager
def one_core(wanted: bool) -> Iterator[None]:
    """Let torch use one thread meanwhile, as every fold side by side does: sums in another order would give other last digits."""
    threads = torch.get_num_threads()
    if wanted:
        torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def train_together(job: Job, tasks: list[Task], at_once: int, stop: Stop) -> None:
    """Train folds, so many at a time; predictions.csv and all else lie in their folders then.

    Raises what a fold raised, once the others have saved themselves; Interrupted where the run was asked to stop.
    """
    fork = multiprocessing.get_context("fork")
    counter, failed = fork.Value("l", 0), fork.SimpleQueue()
    progress = Progress(sum(steps_to_go(job, task.fold, Place(torch.device("cpu"))) for task in tasks))
    ahead, running, lost, ended = list(tasks), {}, False, False
    try:
        while ahead or running:
            while ahead and len(running) < at_once and not ended:
                task = ahead.pop(0)
                process = fork.Process(target=_one, args=(job, task, counter, failed))
                process.start()
                running[process] = task
            time.sleep(POLL)
            for process in [p for p in running if not p.is_alive()]:
                process.join()
                task = running.pop(process)
                if process.exitcode == 0:
                    for last in runs.read_log(task.home)[-1:]:
                        progress.say(f"{task.title}epoch {last['epoch']}  " + "  ".join(
                            f"{name} {value:.4g}" for name, value in runs.headline(last).items() if name not in ("stage", "epoch", "step")))
                lost = lost or process.exitcode != 0
            if (stop.asked or lost) and not ended:
                ended = True
                for process in running:                         # Ctrl-C has reached them already, a plain kill has not
                    process.terminate()
            if ended and not running:
                break
            progress.done = counter.value
            if progress.due():
                progress.tell(f"{len(tasks) - len(ahead) - len(running)} of {len(tasks)} folds done, {len(running)} at work")
    finally:
        for process in running:
            process.terminate()
            process.join()
    if not failed.empty():
        kind, text = failed.get()
        raise {"data": DataError, "run": RunError}[kind](text)
    if stop.asked:
        raise Interrupted()
    if lost:
        raise RunError("a fold's process ended by itself, often for want of memory; what it had saved is kept, go on with --resume, "
                       "or try a smaller --together")


def _one(job: Job, task: Task, counter: Any, failed: Any) -> None:
    """What a fold's process does; it leaves with status 0, 130 where it was asked to stop, 1 where it failed."""
    torch.set_num_threads(1)
    with Stop(quiet=True) as stop:
        try:
            saved = checkpoint.load(task.last, job.key, going_on=True) if task.last else None
            train(job, task.fold, task.home, Place(torch.device("cpu")), stop, saved, task.title, progress=Reported(counter))
            status = 0
        except (Interrupted, KeyboardInterrupt):
            status = 130
        except RuntimeError as error:
            if not isinstance(error, RunError) and not no_memory(error):
                raise
            failed.put(("run", no_memory(error) or str(error)))
            status = 1
        except (DataError, PictureError) as error:
            failed.put(("data", str(error)))
            status = 1
        except (checkpoint.CheckpointError, WeightsError) as error:
            failed.put(("run", str(error)))
            status = 1
    if status:
        sys.exit(status)

