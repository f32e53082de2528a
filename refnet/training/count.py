"""How large a network is: parameters, and multiply-adds of one forward pass."""
import math

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode


def parameters(model: nn.Module) -> tuple[int, int]:
    """All parameters, and the trainable ones; one that two modules share counts once."""
    return (sum(p.numel() for p in model.parameters()), sum(p.numel() for p in model.parameters() if p.requires_grad))


def multiply_adds(model: nn.Module, inputs: tuple[Tensor, ...]) -> dict[str, int]:
    """Multiply-adds of one forward pass in eval mode: "" for the whole, then each top-level module.

    Convolutions and matrix products count, two operations each; additions, normalisations, activations and sums over lists of
    neighbours do not.
    """
    was = model.training
    in_place = {torch.ops.aten.baddbmm_: lambda c, a, b, **_: 2 * math.prod(a) * b[-1]}      # (g, n, m), (g, m, l): torch has none for it
    with FlopCounterMode(display=False, custom_mapping=in_place) as counter, torch.no_grad():
        model.eval()(*inputs)
    model.train(was)
    flops = {name: sum(ops.values()) for name, ops in counter.get_flop_counts().items()}

    def of(name: str, module: nn.Module) -> int:                 # one that is never called itself: what its parts did
        return flops[name] // 2 if name in flops else sum(of(f"{name}.{n}", child) for n, child in module.named_children())

    return {"": counter.get_total_flops() // 2} | {name: of(f"{type(model).__name__}.{name}", child) for name, child in model.named_children()}


def report(model: nn.Module, inputs: tuple[Tensor, ...], printed: dict[str, float] = {}) -> str:
    """The table that --count prints: a line a top-level module, and the whole; its size as papers print it, beside what one does."""
    macs = multiply_adds(model, inputs)
    rows = [(name, *parameters(child), macs[name]) for name, child in model.named_children()]
    own = [p for p in model.parameters(recurse=False)]
    if own:
        rows.append(("(its own)", sum(p.numel() for p in own), sum(p.numel() for p in own if p.requires_grad), 0))
    rows.append(("total", *parameters(model), macs[""]))
    wide = max(len(row[0]) for row in rows)
    return "\n".join([f"  {'':{wide}}  {'parameters':>13}  {'trainable':>13}  {'multiply-adds':>15}"]
                     + [f"  {name:{wide}}  {a:13,}  {b:13,}  {m:15,}" for name, a, b, m in rows]
                     + [f"  for one sample of {', '.join(str(tuple(x.shape[1:])) for x in inputs)}"]
                     + ["  " + ", ".join(f"{name} {size:.3f}" + (f", printed {printed[name]:.2f}" if printed else "") for name, size in
                                         (("Params (M)", rows[-1][1] / 1e6), ("FLOPs (G)", macs[""] / 1e9)))])
