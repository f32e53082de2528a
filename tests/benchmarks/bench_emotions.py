"""How long Emotion-GCN takes: the graph beside the network that it writes for, the correlations, and what comes before the network.

    python -m tests.benchmarks.bench_emotions [--device cuda] [--threads 2] [--runs 7] [--batch 8] [--amp] [--compile]

Every contender runs once a round, in turn; medians are quoted, and ratios.
"""
import argparse
import tempfile
from pathlib import Path

import torch
from PIL import Image

from refnet.config import Stage
from refnet.data.drawn_faces import draw
from refnet.data.drawn_plan import plan
from refnet.data.faces import Face, Place
from refnet.data.samples import Sample
from refnet.graphs.emotions import AFFECTNET, spearman
from refnet.models import emotiongcn
from tests.benchmarks.operators import rounds


def correlations(rows: int, runs: int, device: torch.device) -> None:
    """(4) of so many labels."""
    torch.manual_seed(0)
    expression = torch.randint(0, 7, (rows, 1), device=device) == torch.arange(7, device=device)
    labels = torch.cat([expression.double(), (2000 * torch.rand(rows, 2, device=device, dtype=torch.float64)).round() / 1000 - 1], -1)
    t = rounds({"spearman": lambda: spearman(labels)}, runs, device)
    print(f"Spearman's correlations of {rows} rows (4): {t['spearman']:.2f} s")


def overhead(B: int, runs: int, device: torch.device, amp: bool, compiled: bool) -> None:
    """A training step with the graph, and with weights of their own in its place; the graph alone; evaluation."""
    torch.manual_seed(0)
    stat = {"c": AFFECTNET, "Z": torch.randn(9, 300), "f": torch.ones(7, device=device)}
    x, steps, stage = torch.rand(B, 3, 227, 227, device=device), {}, Stage("train", 1)
    target = {"expression": torch.randint(0, 7, (B,), device=device), "va": 2 * torch.rand(B, 2, device=device) - 1}
    for name, cfg in (("with the graph", emotiongcn.Config()), ("without", emotiongcn.Config(gcn=False))):
        model = emotiongcn.network(cfg, stat, stage).to(device)
        sgd, _ = emotiongcn.optimizer(model, cfg, 9)
        fast = torch.compile(model) if compiled else model

        def step(model=fast, sgd=sgd, cfg=cfg):
            sgd.zero_grad()
            with torch.autocast(device.type, torch.bfloat16, enabled=amp):
                out = model(x)
            emotiongcn.loss(out.float(), target, stat, cfg, stage)["total"].backward()
            sgd.step()

        steps[name] = step
        if cfg.gcn:
            graph = model
    slope = torch.randn(9, graph.features.channels, device=device)
    sgd = torch.optim.SGD(graph.gcn.parameters(), 1e-3, momentum=0.9)

    def alone():
        sgd.zero_grad()
        graph.W().backward(slope)
        sgd.step()

    t = rounds(steps | {"graph alone": alone}, runs, device)
    print(f"a training step at 227 px, batch {B}{', bfloat16' if amp else ''}{', compiled' if compiled else ''}: {t['with the graph']:.3f} s, "
          f"{B / t['with the graph']:.1f} pictures a second; weights in the graph's place {t['without']:.3f} s\n"
          f"  the graph alone, its way back and its step {1e3 * t['graph alone']:.2f} ms: {100 * t['graph alone'] / t['without']:.2f} % of that")


def before(B: int, runs: int, device: torch.device) -> None:
    """What happens to a picture before the network: decoded, turned and cut out on the CPU, varied on the device."""
    cfg = emotiongcn.Config()
    frames, points = draw(plan(B, 1, 0, B), 400, torch.device("cpu"))
    with tempfile.TemporaryDirectory() as folder:
        samples = []
        for n in range(B):
            path, marks = Path(folder) / f"{n}.jpg", ";".join(f"{v:.2f}" for v in points[n, 0].flatten().tolist()).encode()
            Image.fromarray((255 * frames[n, 0]).round().byte().permute(1, 2, 0).numpy()).save(path, quality=92)
            path.with_suffix(".txt").write_bytes(marks)
            samples.append(Sample(str(n), Face(str(path), Place(str(path.with_suffix(".txt")), 1, 0, len(marks)), (40, 40, 320, 320), True), {}))
        rng = torch.Generator().manual_seed(0)
        ready = [emotiongcn.prepare(s, cfg, rng) for s in samples]
        x, how = (torch.stack(column).to(device) for column in zip(*ready))
        x = x.float() / 255
        t = rounds({"decoded": lambda: [s.clip.read([0]) for s in samples], "read": lambda: [emotiongcn.prepare(s, cfg, rng) for s in samples],
                    "batched": lambda: emotiongcn.batched((x, how), cfg)}, runs, device)
    print(f"pictures of 400 px, 227 wanted, batch {B}: decoded {B / t['decoded']:.0f} a second, decoded, turned and cut out {B / t['read']:.0f} "
          f"a second and process; the six augmentations {B / t['batched']:.0f} a second on {device.type}")


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--runs", type=int, default=7)
    p.add_argument("--batch", type=int, default=8)
    p.add_argument("--rows", type=int, default=300_000)
    p.add_argument("--amp", action="store_true")
    p.add_argument("--compile", action="store_true")
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    where = torch.device(args.device)
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name() if where.type == 'cuda' else f'CPU, {args.threads} threads'}; "
          f"medians of {args.runs} rounds")
    correlations(args.rows, args.runs, where)
    before(args.batch, args.runs, where)
    overhead(args.batch, args.runs, where, args.amp, args.compile)
