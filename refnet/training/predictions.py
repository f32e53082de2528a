"""A network's predictions for samples, as rows beside their targets."""
from collections.abc import Callable
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils import _pytree as tree

from refnet.data.samples import Sample
from refnet.training import distributed
from refnet.training.batches import Prepared, in_batches, loader, shard, tensors, to_device
from refnet.training.distributed import Place
from refnet.training.job import Options, RunError
from refnet.training.runs import Rows


def predict(paper: ModuleType, model: nn.Module, samples: list[Sample], cfg: Any, place: Place, fold: str = "0",
            options: Options = Options(), between: Callable | None = None) -> Rows:
    """A model's predictions, a row a sample, in order.

    →   sample, subject, fold: lists of str; the targets' columns; the columns of the paper's `predict`; tensors (n,)

    With several processes each takes a part, and all end with the same rows. `between` is called between batches.
    Raises RunError where an answer is no number.
    """
    world = place.world if len(samples) >= place.world else 1
    sizes = [len(shard(range(len(samples)), rank, world)) for rank in range(world)]
    mine = shard(list(range(len(samples))), place.rank if world > 1 else 0, world)
    keys = [[(None, i) for i in batch] for batch in in_batches(mine, cfg.batch_size)]
    parts = []
    was = model.training
    model.eval()
    with torch.no_grad():
        for batch in loader(Prepared(samples, paper.prepare, cfg, 0), keys, options.workers, place.device.type == "cuda"):
            inputs, target = to_device(batch, place.device)
            with torch.autocast(place.device.type, torch.bfloat16, enabled=options.amp):
                out = model(*paper.batched(inputs, cfg))
            columns = paper.predict(full(out), cfg)
            parts.append(target_columns(target, columns) | columns)
            if between:
                between()
    model.train(was)
    columns = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    if world > 1:
        columns = distributed.gathered(columns, sizes, place)
    for name, values in columns.items():
        if values.is_floating_point() and not values.isfinite().all():
            first = samples[int((~values.isfinite()).nonzero()[0, 0])].id
            raise RunError(f"{name} of sample {first} is {values[~values.isfinite()][0].item()}; a smaller --lr, or --clip 1, may help")
    return {"sample": [s.id for s in samples], "subject": [s.subject for s in samples], "fold": [fold] * len(samples)} | {
        name: values.cpu() for name, values in columns.items()}


def target_columns(target: dict[str, Tensor], columns: dict[str, Tensor]) -> dict[str, Tensor]:
    """The targets beside the paper's own columns: `target`, `target_AU01`, ..., `target_valence`, `target_arousal`."""
    units = units_of(columns)
    found = {}
    if "expression" in target and "predicted" in columns:
        found["target"] = target["expression"]
    if "au" in target and units:
        found |= {f"target_{unit}": column for unit, column in zip(units, target["au"].unbind(1), strict=True)}
    if "va" in target and "predicted_valence" in columns:
        found |= {"target_valence": target["va"][:, 0], "target_arousal": target["va"][:, 1]}
    return found


def units_of(columns: dict) -> list[str]:
    """The action units that columns or rows are of: AU01, AU02, ..."""
    return [name.removeprefix("predicted_") for name in columns if name.startswith("predicted_AU")]


def stacked(samples: list[Sample]) -> dict[str, Tensor]:
    """The targets of samples: expression (n,), va (n, 2), au (n, N)."""
    each = [tensors(s.target) for s in samples]
    return {name: torch.stack([t[name] for t in each]) for name in each[0]}


def full(out: Any) -> Any:
    """A network's output in float32 again, where autocast made it shorter."""
    return tree.tree_map_only(Tensor, lambda t: t.float() if t.dtype in (torch.bfloat16, torch.float16) else t, out)
