"""How long Face2Nodes' graphs take: beside the formulation with every edge, beside their floor, beside the layers alone.

    python -m tests.benchmarks.bench_faces [--device cuda] [--threads 2] [--runs 7] [--batch 8] [--amp] [--compile]

Every contender runs once a round, in turn; medians are quoted, and ratios. The memory is that of all tensors at its most, beyond
what there was before, forward and backward.
"""
import argparse

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from refnet.config import Stage
from refnet.models import face2nodes
from refnet.ops.neighbours import dilated_knn
from refnet.ops.relation_conv import RGConv
from tests.benchmarks.memory import held
from tests.benchmarks.operators import rounds

D, k, d = 512, 9, 2


class EdgeByEdge(nn.Module):
    """(5) to (8) as one would first write them: all distances, the nearest, and a difference of width D for every edge."""

    def __init__(self, conv: RGConv):
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor, index: Tensor | None = None) -> Tensor:
        if index is None:
            with torch.no_grad():
                far = (x * x).sum(-1, keepdim=True) - 2 * x @ x.mT + (x * x).sum(-1)[:, None]   # (B, N, N)
                index = far.topk(k * d, largest=False).indices[..., ::d]                        # (B, N, k)
        sample = torch.arange(len(x), device=x.device)[:, None, None]
        e = x[sample, index] - x[:, :, None]                                                    # (B, N, k, D)
        return self.update(x, (self.conv.h(e).sigmoid() * e).sum(2))

    def update(self, x: Tensor, g: Tensor) -> Tensor:
        """(8) by torch's own layers: [x, g] group by group, the layer, its normalisation, GELU."""
        f = self.conv.f
        if isinstance(f, Gathered):
            return g
        q = len(f.weight)
        parts = torch.cat([x.unflatten(-1, (q, -1)), g.unflatten(-1, (q, -1))], -1)             # (B, N, q, 2D/q)
        out = torch.einsum("bnqc,qcd->bnqd", parts, f.weight).flatten(2) + f.bias               # (B, N, 2D)
        return F.gelu(f.bn(out.flatten(0, 1))).unflatten(0, x.shape[:2])


class Bags(nn.Module):
    """What refnet runs."""

    def __init__(self, conv: RGConv):
        super().__init__()
        self.conv = conv

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x, dilated_knn(x, k, d))


def work(B: int, N: int, edges: bool, device: torch.device):
    """Forward and backward of one of the two, with the same weights."""
    torch.manual_seed(0)
    model = (EdgeByEdge if edges else Bags)(RGConv(D)).to(device)
    x = torch.randn(B, N, D, device=device, requires_grad=True)
    slope = torch.randn(B, N, 2 * D, device=device)
    return lambda: model(x).backward(slope)


def gathering(B: int, N: int, edges: bool, device: torch.device):
    """Forward and backward without (8), which both share."""
    torch.manual_seed(0)
    conv = RGConv(D).to(device)
    conv.f = Gathered()
    model = (EdgeByEdge if edges else Bags)(conv)
    x, slope = torch.randn(B, N, D, device=device, requires_grad=True), torch.randn(B, N, D, device=device)
    return lambda: model(x).backward(slope)


class Gathered(nn.Module):
    """(8) left out: what was gathered."""

    def forward(self, x: Tensor, g: Tensor) -> Tensor:
        return g


def operators(B: int, N: int, runs: int, device: torch.device) -> None:
    torch.manual_seed(0)
    x, conv = torch.randn(B, N, D, device=device), RGConv(D).to(device)
    with torch.no_grad():
        apart = (Bags(conv)(x) - EdgeByEdge(conv)(x, dilated_knn(x, k, d))).abs().max().item()
    far = x @ x.mT
    t = rounds({"bags": work(B, N, False, device), "edges": work(B, N, True, device),
                "bags alone": gathering(B, N, False, device), "edges alone": gathering(B, N, True, device),
                "knn": lambda: dilated_knn(x, k, d), "product": lambda: x @ x.mT,
                "topk": lambda: far.topk((k - 1) * d + 1, largest=False)}, runs, device)
    print(f"N {N}: the largest difference {apart:.1e}")
    for what, name, make in (("dilated kNN and RG-Conv (5-8)", "", work), ("without the update (5-7)", " alone", gathering)):
        a, b = (held(make(B, N, edges, device), device) for edges in (False, True))
        print(f"  {what:30} {t[f'bags{name}'] * 1e3:7.1f} ms, edge by edge {t[f'edges{name}'] * 1e3:7.1f} ms: "
              f"{t[f'edges{name}'] / t[f'bags{name}']:5.2f} times as fast; {a:.0f} of {b:.0f} MB: {a / b:.2f}")
    floor = t["product"] + t["topk"]
    print(f"  {'dilated kNN (5)':30} {t['knn'] * 1e3:7.2f} ms, its floor, a product and a top-k, {floor * 1e3:.2f} ms: {t['knn'] / floor:.2f}")


def layers_alone(model: nn.Module, x: Tensor) -> list:
    """The model's convolutions and fully connected layers, each with the input that it gets there."""
    found = []

    def keep(layer, inputs, output):
        found.append((layer, inputs[0].detach()))

    kinds = (nn.Conv2d, nn.Linear)
    hooks = [layer.register_forward_hook(keep) for layer in model.modules() if isinstance(layer, kinds)]
    for block in model.blocks:                                       # the grouped layer of (8) is a parameter, no module
        hooks.append(block.conv.f.register_forward_hook(lambda layer, inputs, output: found.append((layer, inputs))))
    model(x)
    for hook in hooks:
        hook.remove()
    return found


def grouped(f: nn.Module, x: Tensor, g: Tensor) -> Tensor:
    """The grouped layer of (8) alone."""
    parts = torch.cat([x, g], -1).flatten(0, 1).unflatten(-1, (len(f.weight), -1))
    return torch.einsum("nqc,qcd->nqd", parts, f.weight)


def whole(B: int, runs: int, device: torch.device, amp: bool, compiled: bool) -> None:
    """The model on pictures of 224 px, beside its layers alone; and pictures a second."""
    torch.manual_seed(0)
    cfg = face2nodes.Config()
    model = face2nodes.network(cfg, {}, Stage("train", 1)).to(device)
    x, y = torch.rand(B, 3, 224, 224, device=device), torch.randint(0, 8, (B,), device=device)
    adam, _ = face2nodes.optimizer(model, cfg, 9)
    fast = torch.compile(model) if compiled else model

    @torch.no_grad()
    def forward():
        model.eval()
        with torch.autocast(device.type, torch.bfloat16, enabled=amp):
            model(x)
        model.train()

    with torch.no_grad():
        layers = layers_alone(model.eval(), x)

    @torch.no_grad()
    def alone():
        with torch.autocast(device.type, torch.bfloat16, enabled=amp):
            for layer, given in layers:
                grouped(layer, *given) if isinstance(given, tuple) else layer(given)

    def step():
        adam.zero_grad()
        with torch.autocast(device.type, torch.bfloat16, enabled=amp):
            out = fast.train()(x)
        face2nodes.loss(out.float(), {"expression": y}, {}, cfg, Stage("train", 1))["total"].backward()
        adam.step()

    t = rounds({"forward": forward, "layers": alone, "step": step}, runs, device)
    print(f"224 px, batch {B}{', bfloat16' if amp else ''}: forward {t['forward']:.3f} s, its convolutions and fully connected layers alone "
          f"{t['layers']:.3f} s: {t['forward'] / t['layers']:.2f};\n       a training step{', compiled' if compiled else ''} {t['step']:.3f} s, "
          f"{B / t['step']:.0f} pictures a second")


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--runs", type=int, default=7)
    p.add_argument("--batch", type=int, default=8)
    p.add_argument("--amp", action="store_true")
    p.add_argument("--compile", action="store_true")
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    where = torch.device(args.device)
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name() if where.type == 'cuda' else f'CPU, {args.threads} threads'}; "
          f"medians of {args.runs} rounds; D {D}, k {k}, d {d}, batch {args.batch}")
    for N in (49, 196, 784):
        operators(args.batch, N, args.runs, where)
    whole(args.batch, args.runs, where, args.amp, args.compile)
