"""Weights from a file that the user names, read without running anything the file brings along."""
import re
from pathlib import Path

import torch
from torch import Tensor

from refnet.backbones.weights import State, WeightsError, some


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


def is_of_a_run(path: str | Path) -> bool:
    """Whether a file is a checkpoint of a run; what cannot be read is none, and is told of by whoever reads it as weights."""
    try:
        found = torch.load(path, map_location="meta", weights_only=True)
    except Exception:               # damaged or foreign bytes raise whatever they happen to hit
        return False
    return isinstance(found, dict) and "refnet" in found


def read_state_dict(path: str | Path) -> State:
    """Read a state dict from a file, without running anything the file brings along.

    path    a file that torch.save wrote: a state dict, or a dict with one under 'state_dict', 'model_state_dict' or 'model'
    →       name → tensor, on the CPU

    Raises WeightsError, whatever is wrong with the file.
    """
    path = Path(path)
    try:
        found = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:      # damaged bytes raise whatever they happen to hit: EOFError, KeyError, RuntimeError, ...
        raise WeightsError(path, *why_unreadable(path, error)) from error
    for key in ("state_dict", "model_state_dict", "model"):
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
