"""Time the operators against a plain loop, against what the machine can do, and against PyTorch Geometric where installed.

    python -m tests.benchmarks.operators [--device cuda] [--threads 2] [--runs 9]

Every contender runs once a round, in turn, so that a noisy machine is noisy for all; medians are quoted, and ratios.
The floor is the larger of: bytes that must move over the speed of a copy, operations over the speed of a matrix product,
both measured in the same rounds.
"""
import argparse
import statistics
import time

import torch
import torch.nn.functional as F

from refnet.data.drawn_faces import draw
from refnet.data.drawn_plan import plan
from refnet.graphs.face_grid import face_grid
from refnet.graphs.landmarks import face_contours, frame_graph
from refnet.ops.attention import GraphAttention, edge_attention
from refnet.ops.edge_attention import EdgeNodeAttention, mix_edges
from refnet.ops.scatter import scatter_sum

try:
    from torch_geometric.nn import GATConv
except ImportError:
    GATConv = None


def rounds(contenders: dict, runs: int, device: torch.device) -> dict[str, float]:
    """Median seconds of each, all of them once a round."""
    times = {name: [] for name in contenders}
    for n in range(runs + 2):
        for name, run in contenders.items():
            start = time.perf_counter()
            run()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if n >= 2:                                                   # two rounds to warm up
                times[name].append(time.perf_counter() - start)
    return {name: statistics.median(t) for name, t in times.items()}


def loop_attention(layer: GraphAttention, x: torch.Tensor, A: torch.Tensor) -> torch.Tensor:
    """The layer as one would first write it: a graph, a head, a node at a time."""
    graphs = []
    for nodes in x:
        heads = []
        for W, att in zip(layer.W, layer.att):
            Wx, rows = nodes @ W.T, []
            for i, row in enumerate(A):
                j = row.nonzero()[:, 0]
                pair = torch.cat([Wx[i].expand(len(j), -1), Wx[j]], dim=1)
                rows.append(F.leaky_relu(pair @ att, layer.slope).softmax(0) @ Wx[j])
            heads.append(F.elu(torch.stack(rows)))
        graphs.append(torch.stack(heads).mean(0))
    return torch.stack(graphs)


def attention(h: int, h_out: int, device: torch.device, runs: int, B: int = 64, P: int = 6, heads: int = 4) -> None:
    """B graphs of P² nodes, forward and backward."""
    torch.manual_seed(0)
    A, N = face_grid(P).to(device), P * P
    layer = GraphAttention(h, h_out, heads).to(device)
    x = torch.randn(B, N, h, device=device, requires_grad=True)
    edges = A.nonzero().T
    big = (edges[:, None] + N * torch.arange(B, device=device)[:, None]).flatten(1)       # (2, B·E)
    few = max(1, B // 32)
    source = torch.empty_like(x)
    left, right = torch.randn(B * N, h, device=device), torch.randn(h, heads * h_out, device=device)
    contenders = {
        "dense": lambda: layer(x, A).sum().backward(),
        "edge list": lambda: edge_attention(x.flatten(0, 1), big, layer).sum().backward(),
        "loop": lambda: loop_attention(layer, x[:few], A).sum().backward(),
        "copy": lambda: source.copy_(x.detach()),
        "product": lambda: left @ right,
    }
    if GATConv is not None:
        gat = GATConv(h, h_out, heads=heads, concat=False, add_self_loops=False).to(device)
        contenders["PyG GATConv"] = lambda: gat(x.flatten(0, 1), big.flip(0)).sum().backward()
    t = rounds(contenders, runs, device)
    t["loop"] *= B / few
    moved = 4 * 3 * (x.numel() + B * N * h_out + 2 * B * heads * N * N + layer.W.numel())  # forward, and two ways back
    floor = max(moved * t["copy"] / (8 * x.numel()), 3 * t["product"])
    print(f"graph attention, B {B}, N {N}, {h} to {h_out}, {heads} heads, forward and backward")
    for name in ("dense", "edge list", "PyG GATConv", "loop"):
        if name in t:
            print(f"  {name:12} {t[name] * 1e3:9.2f} ms   {t[name] / t['dense']:7.2f} x dense   {t[name] / floor:7.2f} x floor")
    print(f"  {'floor':12} {floor * 1e3:9.2f} ms")


def edges_and_nodes(device: torch.device, runs: int, B: int = 16, T: int = 100, D: int = 32) -> None:
    """B graphs of three frames of landmarks, forward and backward."""
    torch.manual_seed(0)
    A = frame_graph(face_contours()).to(device)
    N, layer = len(A), EdgeNodeAttention(T, D).to(device)
    h, f = torch.randn(B, N, T, device=device, requires_grad=True), torch.rand(B, N, N, 2, device=device)
    one = A.nonzero().T                                                                   # (2, M)
    big = (one[:, None] + N * torch.arange(B, device=device)[:, None]).flatten(1)         # (2, B·M)
    listed = f[:, one[0], one[1]]                                                         # (B, M, 2)
    contenders = {"dense": lambda: layer(h, A, f).sum().backward(),
                  "edge list": lambda: mix_edges(h, one, listed, layer).relu().sum().backward()}
    if GATConv is not None:
        gat = GATConv(T, D, heads=1, edge_dim=2, add_self_loops=False).to(device)
        contenders["PyG GATConv"] = lambda: gat(h.flatten(0, 1), big.flip(0), listed.flatten(0, 1)).relu().sum().backward()
    t = rounds(contenders, runs, device)
    print(f"attention to nodes and edges, B {B}, N {N}, {len(one[0])} edges each, {T} to {D}, forward and backward")
    for name, seconds in t.items():
        print(f"  {name:12} {seconds * 1e3:9.2f} ms   {seconds / t['dense']:7.2f} x dense")


def scatter(device: torch.device, runs: int, E: int = 20000, N: int = 1000, D: int = 64) -> None:
    """Sums of E edges of width D into N nodes, forward and backward."""
    value = torch.randn(E, D, device=device, requires_grad=True)
    index = torch.randint(0, N, (E,), device=device)
    twin = torch.zeros_like(value)

    def loop():
        out = torch.zeros(N, D, device=device)
        for v, i in zip(value.detach()[:1000], index[:1000].tolist()):
            out[i] += v
    t = rounds({"scatter_sum": lambda: scatter_sum(value, index, N).sum().backward(), "loop": loop,
                "copy": lambda: twin.copy_(value.detach())}, runs, device)
    print(f"scatter_sum, {E} edges of width {D} into {N} nodes\n  {t['scatter_sum'] * 1e3:.2f} ms, "
          f"{t['loop'] * E / 1000 / t['scatter_sum']:.0f} times as fast as a loop (forward alone), "
          f"{t['scatter_sum'] / t['copy']:.1f} copies of the edges")


def drawing(device: torch.device, runs: int) -> None:
    """A clip of 16 drawn frames."""
    for size in (48, 96):
        faces = plan(16, 16, 0, 16)
        t = rounds({"draw": lambda: draw(faces, size, device)}, runs, device)
        print(f"drawing 16 frames at {size} px: {t['draw'] / 16 * 1e3:.1f} ms a clip")


if __name__ == "__main__":
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    p.add_argument("--threads", type=int, default=2)
    p.add_argument("--runs", type=int, default=9)
    args = p.parse_args()
    torch.set_num_threads(args.threads)
    where = torch.device(args.device)
    print(f"torch {torch.__version__}, {torch.cuda.get_device_name() if where.type == 'cuda' else f'CPU, {args.threads} threads'}; "
          f"medians of {args.runs} rounds")
    attention(256, 512, where, args.runs)
    attention(512, 512, where, args.runs)
    edges_and_nodes(where, args.runs)
    scatter(where, args.runs)
    drawing(where, args.runs)
