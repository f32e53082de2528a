"""What a reader hands over: samples, and the names of their classes."""
import dataclasses
import hashlib
from collections import Counter
from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

import torch
from torch import Tensor


class DataError(ValueError):
    """The data set on disk is not what its layout says; the message names file, found and expected."""


class Frames(Protocol):
    """A clip, wherever its frames live: a folder, a video file, memory."""

    def __len__(self) -> int: ...

    def read(self, indices: list[int], size: int | None = None) -> Tensor:
        """uint8 (n, 3, size, size)"""


class Drawn(NamedTuple):
    """A clip that is in memory already."""
    frames: Tensor                                              # uint8 (T, 3, S, S)

    in_memory = True

    def __len__(self) -> int:
        return self.frames.shape[0]

    def read(self, indices: list[int], size: int | None = None) -> Tensor:
        if size is not None and size != self.frames.shape[-1]:
            raise DataError(f"the clip is drawn at {self.frames.shape[-1]} px, asked for at {size}; draw it at {size}")
        return self.frames[indices]                             # (n, 3, S, S)


@dataclasses.dataclass(frozen=True)
class Sample:
    """One clip or picture with all that is known of it."""
    id: str                        # unique in its data set, and how predictions.csv names it
    clip: Any                      # Frames
    target: dict[str, Any]         # {"expression": 3}, {"va": (0.2, -0.1)}, {"au": (0, 1, -1)}; -1 is unknown
    subject: str = ""              # "" where the data set does not say
    part: str = ""                 # train, select or report where the data set says; "" where the protocol decides


class Collection(NamedTuple):
    """A data set as found on disk."""
    samples: list[Sample]
    classes: tuple[str, ...]       # names, in the order of the codes
    found: list[str]               # lines for the reader's eyes: counts found and expected


class DataSet(NamedTuple):
    """A data set as a paper uses it."""
    read: Callable                 # (root, cfg) → Collection
    protocol: Callable             # (samples, select, seed) → list[Fold], see protocols.py
    settings: dict[str, Any] = {}
    select: float = 0.1            # the share of train that chooses the epoch, where --select does not say
    small: bool = False            # its networks keep one core busy at most: on a CPU, folds train side by side
    looks_at: tuple[str, ...] = ()  # settings that `read` depends on and a table's rows may change


def counts(samples: list[Sample], classes: tuple[str, ...]) -> dict[str, int]:
    """How many samples each class has, in the order of the codes."""
    seen = Counter(s.target["expression"] for s in samples)
    return {name: seen[k] for k, name in enumerate(classes)}


def fingerprint(samples: list[Sample]) -> str:
    """Which samples these are: a checksum of their ids, in order."""
    return hashlib.sha256("\n".join(s.id for s in samples).encode(errors="surrogateescape")).hexdigest()


def pad(tensors: list[Tensor]) -> Tensor:
    """Stack tensors (n_b, ...) of different length into (B, max n, ...).

    Behind a shorter one its last entry is repeated, so that batch statistics see nothing foreign; a bool tensor is
    continued with False, so that ones(n) becomes the mask of what is real.
    """
    n = max(len(t) for t in tensors)
    def longer(t: Tensor) -> Tensor:
        tail = t.new_zeros(n - len(t), *t.shape[1:]) if t.dtype == torch.bool else t[-1:].expand(n - len(t), *t.shape[1:])
        return torch.cat([t, tail])                             # (n, ...)
    return torch.stack([t if len(t) == n else longer(t) for t in tensors])
