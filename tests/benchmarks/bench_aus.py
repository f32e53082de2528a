"""How long ME-GraphAU's edges take: beside the formulation pair by pair, and beside the backbone alone.

    python -m tests.benchmarks.bench_aus [--device cuda] [--threads 2] [--runs 5] [--batch 16] [--nets resnet50 swin_base]

Every contender runs once a round, in turn; medians are quoted, and ratios. The memory is that of all tensors at its most, beyond
what there was before, forward and backward.
"""
import argparse

import torch
from torch import Tensor, nn

from refnet.config import Stage
from refnet.models import megraphau
from refnet.ops.cross_attention import ARM, CrossAttention, fam
from tests.benchmarks.memory import held
from tests.benchmarks.operators import rounds

N, D, C = 12, 49, 512


class PairByPair(nn.Module):
    """(3) to (5) as one would first write them: every ordered pair has its tokens repeated, projected, attended, normalised."""

    def __init__(self, attend: CrossAttention, arm: ARM):
        super().__init__()
        self.attend, self.arm = attend, arm

    def forward(self, U: Tensor, X: Tensor) -> Tensor:
        B = len(U)
        F = self.attend(U, X[:, None].expand_as(U).contiguous())                          # (B, N, D, C)
        i = F[:, :, None].expand(-1, -1, N, -1, -1).flatten(1, 2)                         # (B, N², D, C)   answers
        j = F[:, None].expand(-1, N, -1, -1, -1).flatten(1, 2)                            # (B, N², D, C)   asks
        return self.arm.bn(self.arm.project(self.arm.attend(j, i))).mean(2).view(B, N, N, C)


def made(B: int, device: torch.device, pairwise: bool) -> tuple[nn.Module, Tensor, Tensor]:
    """One of the two formulations, with the same weights, and its inputs."""
    torch.manual_seed(0)
    attend, arm = CrossAttention(C).to(device), ARM(C, N).to(device)
    U, X = torch.rand(B, N, D, C, device=device, requires_grad=True), torch.rand(B, D, C, device=device, requires_grad=True)
    if pairwise:
        return PairByPair(attend, arm), U, X
    whole = nn.ModuleList([attend, arm])
    whole.forward = lambda U, X: arm(fam(U, X, attend))
    return whole, U, X


def train(model: nn.Module, U: Tensor, X: Tensor):
    return lambda: model(U, X).square().sum().backward()


def evaluation(model: nn.Module, U: Tensor, X: Tensor):
    @torch.no_grad()
    def run():
        model.eval()(U, X)
        model.train()
    return run


def work(B: int, pairwise: bool, training: bool, device: torch.device):
    return (train if training else evaluation)(*made(B, device, pairwise))


def edges(B: int, runs: int, device: torch.device) -> None:
    """FAM, ARM and pooling, both ways."""
    once, pair = made(B, device, False), made(B, device, True)
    with torch.no_grad():
        apart = (once[0](*once[1:]) - pair[0](*once[1:])).abs().max().item()
    t = rounds({"train": train(*once), "train, pair by pair": train(*pair),
                "evaluation": evaluation(*once), "evaluation, pair by pair": evaluation(*pair)}, runs, device)
    print(f"FAM, ARM and pooling, N {N}, {D} tokens, C {C}, batch {B}; the largest difference {apart:.1e}")
    for name in ("train", "evaluation"):
        a, b = (held(work(B, pairwise, name == "train", device), device) for pairwise in (False, True))
        print(f"  {name:10} {t[name] * 1e3:8.1f} ms, pair by pair {t[f'{name}, pair by pair'] * 1e3:8.1f} ms: "
              f"{t[f'{name}, pair by pair'] / t[name]:.2f} times as fast;   {a:.0f} of {b:.0f} MB: {a / b:.2f}")


def step(name: str, B: int, runs: int, device: torch.device) -> None:
    """A training step of the second stage beside one of the backbone alone, at 224 px, the optimizer's step included."""
    torch.manual_seed(0)
    family = megraphau.FAMILIES.index(name.split("_")[0].rstrip("0123456789"))
    nets = tuple(name if k == family else other for k, other in enumerate(megraphau.Config().net))
    cfg = megraphau.Config(backbone=megraphau.FAMILIES[family], net=nets)
    model = megraphau.network(cfg, {}, Stage("MEFL", 1)).to(device)
    x, y = torch.rand(B, 3, 224, 224, device=device), torch.randint(0, 2, (B, N), device=device)
    stat = {"w": torch.full((N,), 1 / N, device=device)}

    def whole():
        adam = optimizers["whole"]
        adam.zero_grad()
        megraphau.loss(model(x), {"au": y}, stat, cfg, Stage("MEFL", 1))["total"].backward()
        adam.step()

    def backbone():
        adam = optimizers["backbone"]
        adam.zero_grad()
        model.backbone(x).square().mean().backward()
        adam.step()

    optimizers = {"whole": megraphau.optimizer(model, cfg, 9)[0], "backbone": megraphau.optimizer(model.backbone, cfg, 9)[0]}
    t = rounds({"stage 2": whole, "backbone": backbone}, runs, device)
    print(f"{name} at 224 px, batch {B}: a step of stage 2 takes {t['stage 2']:.3f} s, of the backbone alone {t['backbone']:.3f} s: "
          f"{t['stage 2'] / t['backbone']:.2f}")


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--runs", type=int, default=5)
    p.add_argument("--batch", type=int, default=16)
    p.add_argument("--nets", nargs="*", default=["resnet50"])
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    where = torch.device(args.device)
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name() if where.type == 'cuda' else f'CPU, {args.threads} threads'}; "
          f"medians of {args.runs} rounds")
    edges(args.batch, args.runs, where)
    for net in args.nets:
        step(net, args.batch, args.runs, where)
