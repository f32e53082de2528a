"""Several processes, one loss.

    torchrun --nproc_per_node=2 train.py --paper arpgnet

Each process takes its part of the global batch. What the networks return is gathered, gradient included, before the
loss, so that every process computes the loss of the whole batch, and losses need no distributed code of their own.
"""
import gc
from typing import Any, NamedTuple

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils import _pytree as tree


class Place(NamedTuple):
    """Where this process stands among all."""
    device: torch.device
    rank: int = 0
    world: int = 1


def start(name: str = "auto") -> Place:
    """Choose the device, and join the others under torchrun.

    name   auto, cpu, cuda, cuda:1, mps, ...; auto is the GPU where there is one

    Raises ValueError for a device that this machine does not have.
    """
    several = dist.is_torchelastic_launched()
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        raise ValueError(f"no device {name!r}; expected auto, cpu, cuda, cuda:1 or mps") from None
    known = {"cpu": 1, "cuda": torch.cuda.device_count(), "mps": int(torch.backends.mps.is_available())}
    have = known.get(device.type, 0)
    index = dist.get_node_local_rank() if several and device.type == "cuda" else device.index or 0
    if index >= have:
        without = "; this torch is built without CUDA" if device.type == "cuda" and not torch.version.cuda else ""
        raise ValueError(f"no device {name!r} for process {index} here: found {have} of kind {device.type}{without}")
    if device.type == "cuda":
        device = torch.device("cuda", index)
        torch.cuda.set_device(device)
    if not several:
        return Place(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    return Place(device, dist.get_rank(), dist.get_world_size())


def finish() -> None:
    """Leave the others, where there are any.

    A network that was spread holds the group's threads, in circles of references; a thread that outlives the group may wake
    while Python shuts down, and take the process with it. So the circles are opened first.
    """
    if dist.is_available() and dist.is_initialized():
        gc.collect()
        dist.destroy_process_group()


def synchronised(model: nn.Module, place: Place) -> nn.Module:
    """Batch normalisation over the whole batch, on GPUs; the CPU has no such layer, and keeps statistics per process."""
    return nn.SyncBatchNorm.convert_sync_batchnorm(model) if place.world > 1 and place.device.type == "cuda" else model


def spread(model: nn.Module, place: Place) -> nn.Module:
    """The model whose gradients are averaged over all processes."""
    return nn.parallel.DistributedDataParallel(model) if place.world > 1 else model


class _Gathered(torch.autograd.Function):
    """All processes' rows, in order. Backwards, each keeps the gradient of its own rows.

    Every process computes the same loss L of all rows, and back-propagates only through its own: g_r. The whole
    gradient is Σ g_r, but DistributedDataParallel takes the mean, so each part is multiplied by the number of processes.
    """

    @staticmethod
    def forward(ctx, x: Tensor, sizes: list[int], rank: int) -> Tensor:
        ctx.own, ctx.world = slice(sum(sizes[:rank]), sum(sizes[:rank + 1])), len(sizes)
        own = x.new_zeros(max(sizes), *x.shape[1:])
        own[:len(x)] = x
        parts = [torch.empty_like(own) for _ in sizes]
        dist.all_gather(parts, own)
        return torch.cat([part[:n] for part, n in zip(parts, sizes)])

    @staticmethod
    def backward(ctx, grad: Tensor) -> tuple[Tensor, None, None]:
        return grad[ctx.own] * ctx.world, None, None


def gathered(values: Any, sizes: list[int], place: Place) -> Any:
    """Every process's rows of a tensor, or of each tensor in a tuple or dict.

    values   (n_r, ...)     this process's n_r = sizes[rank] rows
    →        (Σ n_r, ...)   on every process alike

    Raises ValueError for a tensor whose first dimension is not the batch.
    """
    if place.world == 1:
        return values
    leaves, spec = tree.tree_flatten(values)
    for x in leaves:
        if x.dim() == 0 or len(x) != sizes[place.rank]:
            raise ValueError(f"a network's output must have the batch ({sizes[place.rank]}) first; got {tuple(x.shape)}")
    return tree.tree_unflatten([_Gathered.apply(x, sizes, place.rank) for x in leaves], spec)


def agreed(flag: bool, place: Place) -> bool:
    """True on every process where it is true on one."""
    if place.world == 1:
        return flag
    asked = torch.tensor([float(flag)], device=place.device)
    dist.all_reduce(asked, dist.ReduceOp.MAX)
    return asked.item() > 0


def same_buffers(model: nn.Module, place: Place) -> None:
    """Give every process the first one's buffers: running statistics may differ."""
    if place.world > 1:
        for buffer in model.buffers():
            dist.broadcast(buffer, 0)


def everyones(x: Tensor, place: Place) -> list[Tensor]:
    """One tensor of a fixed shape from each process."""
    if place.world == 1:
        return [x]
    here = x.to(place.device)
    parts = [torch.empty_like(here) for _ in range(place.world)]
    dist.all_gather(parts, here)
    return [part.to(x.device) for part in parts]


def wait(place: Place) -> None:
    """Go on when all are here."""
    if place.world > 1:
        dist.barrier()


def generators(place: Place) -> list[dict[str, Tensor]]:
    """The states of torch's random generators, an entry a process."""
    states = {"cpu": torch.get_rng_state()}
    if place.device.type == "cuda":
        states["cuda"] = torch.cuda.get_rng_state(place.device)
    each = {name: everyones(state, place) for name, state in states.items()}
    return [{name: each[name][rank] for name in each} for rank in range(place.world)]


def set_generators(states: list[dict[str, Tensor]], place: Place) -> bool:
    """Set this process's generators; False, and nothing done, where the number of processes was another."""
    if len(states) != place.world:
        return False
    torch.set_rng_state(states[place.rank]["cpu"])
    if "cuda" in states[place.rank] and place.device.type == "cuda":
        torch.cuda.set_rng_state(states[place.rank]["cuda"], place.device)
    return True
