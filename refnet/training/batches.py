"""From samples to batches: what the worker processes do.

Every random choice in preparing a sample comes from (seed, epoch, sample), so the batches do not depend on the number
of workers, nor on where in an epoch a run was stopped and taken up again.
"""
import random
import signal
import traceback
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from refnet.data.samples import DataError, Sample, pad
from refnet.pictures import PictureError

Batch = tuple[tuple[Tensor, ...], dict[str, Tensor]]            # inputs, target


def mixed(*parts: Any) -> int:
    """One seed out of several: (0, "fold", 3) → an integer below 2³²."""
    return random.Random(" ".join(map(str, parts))).getrandbits(32)


def order(n: int, seed: int, epoch: int) -> list[int]:
    """The samples' order in an epoch."""
    return torch.randperm(n, generator=torch.Generator().manual_seed(mixed(seed, "order", epoch))).tolist()


def in_batches(indices: list[int], size: int, least: int = 1) -> list[list[int]]:
    """Cut a list into batches; a last one of fewer than `least` joins the one before."""
    batches = [indices[k:k + size] for k in range(0, len(indices), size)]
    if len(batches) > 1 and len(batches[-1]) < least:
        batches[-2:] = [batches[-2] + batches[-1]]
    return batches


def shard(batch: list[int], rank: int, world: int) -> list[int]:
    """The part of a batch that one of several processes takes; sizes differ by one at most."""
    n = len(batch)
    return batch[rank * n // world:(rank + 1) * n // world]


def tensors(target: dict[str, Any]) -> dict[str, Tensor]:
    """A sample's target: expression () and au (N,) as integers, va (2,) as floats."""
    kinds = {"va": torch.float32}
    return {name: torch.tensor(value, dtype=kinds.get(name, torch.long)) for name, value in target.items()}


class Prepared(Dataset):
    """Samples made ready by the paper's `prepare`; a key is (epoch, index), epoch None in testing."""

    def __init__(self, samples: list[Sample], prepare: Callable, cfg: Any, seed: int):
        self.samples, self.prepare, self.cfg, self.seed = samples, prepare, cfg, seed

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, key: tuple[int | None, int]) -> tuple[tuple[Tensor, ...], dict[str, Tensor]] | Exception:
        epoch, index = key
        sample = self.samples[index]
        rng = None if epoch is None else torch.Generator().manual_seed(mixed(self.seed, epoch, index))
        try:
            return self.prepare(sample, self.cfg, rng), tensors(sample.target)
        except (DataError, PictureError) as error:              # handed over whole: a worker's own traceback is no help
            return error
        except Exception as error:                              # handed over too: raised in a worker, it would leave none to end it
            error.add_note(f"while preparing sample {sample.id}\n{traceback.format_exc()}")
            return error


def collate(items: list) -> Batch | Exception:
    """Samples side by side, the shorter ones padded; or the first error among them."""
    for item in items:
        if isinstance(item, Exception):
            return item
    inputs, targets = zip(*items)
    return (tuple(pad(list(column)) for column in zip(*inputs)),
            {name: torch.stack([t[name] for t in targets]) for name in targets[0]})


def loader(prepared: Prepared, keys: list[list[tuple[int | None, int]]], workers: int, pinned: bool) -> DataLoader:
    """A batch for each list of keys, in order."""
    own = torch.Generator()                                     # the loader draws from it; the run's stays untouched
    return DataLoader(prepared, batch_sampler=keys, collate_fn=collate, num_workers=workers, pin_memory=pinned,
                      worker_init_fn=_deaf, generator=own)


def to_device(batch: Batch | Exception, device: torch.device) -> Batch:
    """Move a batch; 8-bit pictures become float32 in [0, 1] there. Raises what went wrong in preparing it."""
    if isinstance(batch, Exception):
        raise batch
    inputs, target = batch
    inputs = tuple(x.to(device, non_blocking=True) for x in inputs)
    inputs = tuple(x.float() / 255 if x.dtype == torch.uint8 else x for x in inputs)
    return inputs, {name: t.to(device, non_blocking=True) for name, t in target.items()}


def _deaf(worker: int) -> None:
    """Ctrl-C reaches every process of the terminal; the run itself decides when its workers end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
