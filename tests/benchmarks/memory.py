"""The memory that a piece of work holds at most, beyond what was held before it began."""
import multiprocessing
from collections.abc import Callable
from pathlib import Path

import torch


def held(make: Callable, args: tuple, device: torch.device, threads: int) -> float:
    """Megabytes. make(*args, device) gives the work, a function without arguments; on the CPU it runs in a process of its own (Linux)."""
    if device.type == "cuda":
        work = make(*args, device)
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        work()
        return (torch.cuda.max_memory_allocated() - before) / 2 ** 20
    spawn = multiprocessing.get_context("spawn")
    answer = spawn.SimpleQueue()
    process = spawn.Process(target=_peak, args=(make, args, threads, answer))
    process.start()
    process.join()
    return answer.get()


def _peak(make: Callable, args: tuple, threads: int, answer) -> None:
    torch.set_num_threads(threads)
    work = make(*args, torch.device("cpu"))
    before = _kilobytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")                                         # the most so far is what there is now
    work()
    answer.put((_kilobytes("VmHWM") - before) / 1024)


def _kilobytes(name: str) -> int:
    """What Linux says of this process."""
    return next(int(line.split()[1]) for line in Path("/proc/self/status").read_text().splitlines() if line.startswith(name))
