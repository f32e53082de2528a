"""What the commands of this floor have in common: the device, what they refuse, and the status they end with."""
import argparse
import os
import re
import sys
from pathlib import Path

import torch

from refnet.pictures import PictureError


def find_device(word: str) -> torch.device:
    """An argparse type: auto, cpu, cuda or cuda:1, if this machine has it."""
    try:
        found = torch.device(("cuda" if torch.cuda.is_available() else "cpu") if word == "auto" else word)
        if found.type in ("cpu", "cuda"):
            return torch.empty(0, device=found).device
    except (RuntimeError, AssertionError):
        pass
    raise argparse.ArgumentTypeError(f"no device {word!r} on this machine; take auto or cpu") from None


def not_onto(out: str | Path, *inputs: str) -> None:
    """Raise PictureError where a command would write over what it reads."""
    for path in inputs:
        if os.path.exists(path) and os.path.exists(out) and os.path.samefile(path, out):
            raise PictureError(f"{out}: is also read; give the result another name")


def status_of(work, *args) -> int:
    """Do the work of a command: 0 when it is done; else a line on stderr, and 2 for a wrong setting, 3 for a file, 1 for too
    little memory, 130 when interrupted."""
    try:
        work(*args)
        return 0
    except PictureError as e:
        print(e, file=sys.stderr)
        return 3
    except ValueError as e:
        print(e, file=sys.stderr)
        return 2
    except (MemoryError, RuntimeError) as e:
        if isinstance(e, RuntimeError) and not re.search("out of memory|allocate memory", str(e)):   # CUDA's words, the CPU's
            raise
        print("no memory left; make the pictures smaller, or the clip shorter", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
