"""Swin Transformer as microsoft publishes it, against slow twins. Counts: the published totals less the head of 1000 classes."""
import math

import numpy as np
import pytest
import torch

from refnet.backbones.swin import (LAYOUTS, Block, PatchEmbed, PatchMerging, Swin, WindowAttention, drop_path, regions,
                                   relative_index, unwindows, window_mask, windows)
from refnet.backbones.weights import load_weights


def small_net(**more):
    return Swin(**dict(width=4, depths=(2, 2, 1, 1), heads=(1, 2, 2, 4)) | more)


def lived_in(model, seed=0):
    """The model as after training: no bias is 0, no gain 1, and position matters, so nothing can be forgotten unseen."""
    g = torch.Generator().manual_seed(seed)
    for name, t in model.state_dict().items():
        gain = t.ndim == 1 and name.endswith("weight")
        t.copy_(torch.rand(t.shape, generator=g) + 0.5 if gain else torch.randn(t.shape, generator=g) * 0.5)
    return model


def published(width, depths, heads, side):
    """The names and shapes of a file from microsoft/Swin-Transformer for this side, written out from its layout."""
    out = {"patch_embed.proj.weight": (width, 3, 4, 4), "patch_embed.proj.bias": (width,),
           "patch_embed.norm.weight": (width,), "patch_embed.norm.bias": (width,)}
    for i in range(4):
        C, m = width * 2 ** i, side // 2 ** (i + 2)
        for j in range(depths[i]):
            at = f"layers.{i}.blocks.{j}"
            if j % 2 == 1 and m > 7:
                out[f"{at}.attn_mask"] = ((m // 7) ** 2, 49, 49)
            out |= {f"{at}.norm1.weight": (C,), f"{at}.norm1.bias": (C,),
                    f"{at}.attn.relative_position_bias_table": (169, heads[i]), f"{at}.attn.relative_position_index": (49, 49),
                    f"{at}.attn.qkv.weight": (3 * C, C), f"{at}.attn.qkv.bias": (3 * C,),
                    f"{at}.attn.proj.weight": (C, C), f"{at}.attn.proj.bias": (C,),
                    f"{at}.norm2.weight": (C,), f"{at}.norm2.bias": (C,),
                    f"{at}.mlp.fc1.weight": (4 * C, C), f"{at}.mlp.fc1.bias": (4 * C,),
                    f"{at}.mlp.fc2.weight": (C, 4 * C), f"{at}.mlp.fc2.bias": (C,)}
        if i < 3:
            out |= {f"layers.{i}.downsample.reduction.weight": (2 * C, 4 * C),
                    f"layers.{i}.downsample.norm.weight": (4 * C,), f"layers.{i}.downsample.norm.bias": (4 * C,)}
    return out | {"norm.weight": (8 * width,), "norm.bias": (8 * width,),
                  "head.weight": (1000, 8 * width), "head.bias": (1000,)}


def of_no_use(name):
    return name.startswith("head.") or name.endswith(("attn_mask", "relative_position_index"))


# ---- the layout

@pytest.mark.parametrize("name, total, channels", [
    ("swin_tiny", 28_288_354, 768), ("swin_small", 49_606_258, 768), ("swin_base", 87_768_224, 1024)])
def test_parameters_are_the_published_ones_without_the_head(name, total, channels):
    """27,519,354 for swin_tiny and 86,743,224 for swin_base."""
    with torch.device("meta"):
        net = Swin(**LAYOUTS[name])
    assert sum(p.numel() for p in net.parameters()) == total - 1000 * (channels + 1)
    assert net.channels == channels


def test_the_trunks_of_the_paper():
    """megraphau (§2.1): the two whose sizes are known from the authors' code."""
    with torch.device("meta"):
        counts = [sum(p.numel() for p in Swin(**LAYOUTS[name]).parameters()) for name in ("swin_tiny", "swin_base")]
    assert counts == [27_519_354, 86_743_224]


@pytest.mark.parametrize("name, width, depths, heads", [
    ("swin_tiny", 96, (2, 2, 6, 2), (3, 6, 12, 24)), ("swin_base", 128, (2, 2, 18, 2), (4, 8, 16, 32))])
def test_names_and_shapes_are_the_published_ones(name, width, depths, heads):
    with torch.device("meta"):
        here = {n: tuple(t.shape) for n, t in Swin(**LAYOUTS[name]).state_dict().items()}
    assert here == {n: shape for n, shape in published(width, depths, heads, 224).items() if not of_no_use(n)}


def test_a_published_file_loads_completely(device):
    net = small_net(depths=(2, 2, 6, 2)).to(device)
    g = torch.Generator().manual_seed(0)
    state = {n: torch.randn(shape, generator=g) for n, shape in published(4, (2, 2, 6, 2), (1, 2, 2, 4), 224).items()}
    report = load_weights(net, state, needed=1)
    assert not report.missing and not report.mismatched and report.unused == [n for n in state if of_no_use(n)]
    assert len([n for n in report.unused if n.endswith("attn_mask")]) == 5   # none where one window covers the map
    assert len(report.matched) == len(net.state_dict()) == len(state) - len(report.unused)
    assert all(torch.equal(t.cpu(), state[n]) for n, t in net.state_dict().items())


@pytest.mark.parametrize("patch, H, W, size", [
    (4, 224, 224, (7, 7)), (4, 96, 64, (3, 2)), (4, 32, 256, (1, 8)), (2, 48, 16, (3, 1))])
def test_the_map(patch, H, W, size, device):
    net = small_net(patch=patch).to(device).eval()
    assert net(torch.rand(2, 3, H, W, device=device)).shape == (2, 32, *size) and net.channels == 32


def test_wrong_sizes_are_refused(device):
    net = small_net().to(device)
    with pytest.raises(ValueError, match=r"multiples of 32; got 96 × 100. Resize it, to 96 × 128"):
        net(torch.rand(1, 3, 96, 100, device=device))
    with pytest.raises(ValueError, match=r"multiples of 16; got 40 × 32. Resize it, to 48 × 32"):
        small_net(patch=2).to(device)(torch.rand(1, 3, 40, 32, device=device))
    with pytest.raises(ValueError, match=r"drop_path must be 0 or more and below 1; got 1"):
        small_net(drop_path=1)
    with pytest.raises(ValueError, match=r"heads \(1, 3, 2, 4\) must divide the stages' channels \(4, 8, 16, 32\)"):
        small_net(heads=(1, 3, 2, 4))
    with pytest.raises(ValueError, match="four stages each"):
        small_net(depths=(2, 2, 6))


# ---- windows, regions, positions by hand

def test_windows_by_hand(device):
    """A 4 × 6 map numbered in reading order, windows of 2 × 2: the first is 0 1 6 7, the last 16 17 22 23."""
    x = torch.arange(24, device=device).reshape(1, 4, 6, 1)
    cut = windows(x, 2)
    assert cut[0, :, :, 0].tolist() == [[0, 1, 6, 7], [2, 3, 8, 9], [4, 5, 10, 11],
                                        [12, 13, 18, 19], [14, 15, 20, 21], [16, 17, 22, 23]]
    y = torch.randn(2, 6, 9, 5, device=device)
    assert windows(y, 3).shape == (2, 6, 9, 5) and torch.equal(unwindows(windows(y, 3), 6, 9, 3), y)


def test_regions_by_hand(device):
    """Five rows in windows of 3, shifted by 1: 1 2 3 | 4, padding, and row 0 from the other end."""
    assert regions(5, 3, 1, device).tolist() == [0, 0, 0, 0, 2, 1]
    assert regions(6, 3, 1, device).tolist() == [0, 0, 0, 0, 0, 1]
    assert regions(4, 3, 0, device).tolist() == [0, 0, 0, 0, 2, 2]


def test_window_mask_by_hand(device):
    """A 2 × 3 map in windows of 2 × 2, not shifted: the second window holds one column of the map and one of padding."""
    mask = window_mask(2, 3, 2, (0, 0), device)
    apart = [[True, False, True, False], [False, True, False, True]] * 2
    assert mask.tolist() == [[[True] * 4] * 4, apart]
    assert window_mask(4, 6, 2, (0, 0), device) is None and window_mask(4, 6, 2, (1, 1), device) is not None


def test_relative_position_bias_by_hand(device):
    """Tokens (0,0) (0,1) (1,0) (1,1); the table's row is 3·(i_y − j_y + 1) + (i_x − j_x + 1).

    It is 4 for oneself, and 0 where (0,0) listens to (1,1).
    """
    rows = [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]
    assert relative_index(2).tolist() == rows
    attn = WindowAttention(4, 2, 2).to(device)
    with torch.no_grad():
        attn.relative_position_bias_table.copy_(torch.arange(18).reshape(9, 2))          # row r holds 2r, 2r + 1
    mask = torch.ones(3, 4, 4, dtype=torch.bool, device=device)
    mask[2, 1, 3] = False
    assert attn.bias(None).tolist() == [[[[2 * r + h for r in row] for row in rows] for h in (0, 1)]]
    assert attn.bias(mask).shape == (3, 2, 4, 4) and torch.equal(attn.bias(mask)[:2], attn.bias(None).expand(2, -1, -1, -1))
    assert (attn.bias(mask) == -math.inf).nonzero().tolist() == [[2, 0, 1, 3], [2, 1, 1, 3]]


def test_patch_merging_order_by_hand(device):
    """Column by column: (0,0), (1,0), (0,1), (1,1). A 2 × 4 map of two channels, 10·place and 10·place + 1."""
    merge = PatchMerging(2)
    merge.norm = merge.reduction = torch.nn.Identity()
    x = torch.tensor([[[0, 1], [10, 11], [20, 21], [30, 31]], [[40, 41], [50, 51], [60, 61], [70, 71]]], device=device)[None]
    assert merge.to(device)(x).tolist() == [[[[0, 1, 40, 41, 10, 11, 50, 51], [20, 21, 60, 61, 30, 31, 70, 71]]]]


# ---- the numbers: twins in NumPy, which know neither windows that move, nor masks, nor padding

def linear(x, p, name):
    y = x @ p[f"{name}.weight"].T
    return y + p[f"{name}.bias"] if f"{name}.bias" in p else y


def norm(x, p, name):
    x = x - x.mean(-1, keepdims=True)
    return x / np.sqrt((x ** 2).mean(-1, keepdims=True) + 1e-5) * p[f"{name}.weight"] + p[f"{name}.bias"]


def listens(H, W, w, shift):
    """By brute force: i hears j if the moved torus has them in one window, and on the map too they are that near."""
    padded = [-(-side // w) * w for side in (H, W)]
    places, heard = list(np.ndindex(H, W)), {}
    for i in places:
        heard[i] = []
        for j in places:
            same = all((a - s) % n // w == (b - s) % n // w for a, b, s, n in zip(i, j, shift, padded))
            if same and all(abs(a - b) < w for a, b in zip(i, j)):
                heard[i].append(j)
    return heard


def attention_twin(x, p, name, w, heads, shift):
    """x (H, W, C): for every token and head, a softmax over the tokens it hears."""
    H, W, C = x.shape
    d = C // heads
    q, k, v = np.split(linear(x, p, f"{name}.qkv"), 3, -1)
    table, out = p[f"{name}.relative_position_bias_table"], np.zeros((H, W, C))
    for i, heard in listens(H, W, w, shift).items():
        for h in range(heads):
            at = slice(h * d, h * d + d)
            e = [sum(q[i][at] * k[j][at]) / math.sqrt(d)
                 + table[(i[0] - j[0] + w - 1) * (2 * w - 1) + i[1] - j[1] + w - 1, h] for j in heard]
            e = np.exp(np.array(e) - max(e))
            for beta, j in zip(e / e.sum(), heard):
                out[i][at] += beta * v[j][at]
    return linear(out, p, f"{name}.proj")


def block_twin(x, p, name, w, heads, shift):
    x = x + attention_twin(norm(x, p, f"{name}norm1"), p, f"{name}attn", w, heads, shift)
    y = linear(norm(x, p, f"{name}norm2"), p, f"{name}mlp.fc1")
    y = np.vectorize(lambda t: t * (1 + math.erf(t / math.sqrt(2))) / 2)(y)
    return x + linear(y, p, f"{name}mlp.fc2")


def swin_twin(x, p, depths, heads, w):
    """x (3, H, W) → (C, H/32, W/32), patch by patch and token by token."""
    kernel = p["patch_embed.proj.weight"]
    H, W = x.shape[1] // 4, x.shape[2] // 4
    y = np.zeros((H, W, len(kernel)))
    for i, j, c in np.ndindex(y.shape):
        y[i, j, c] = (x[:, 4 * i:4 * i + 4, 4 * j:4 * j + 4] * kernel[c]).sum() + p["patch_embed.proj.bias"][c]
    y = norm(y, p, "patch_embed.norm")
    for n in range(4):
        for b in range(depths[n]):
            shift = tuple(w // 2 if b % 2 == 1 and side > w else 0 for side in y.shape[:2])
            y = block_twin(y, p, f"layers.{n}.blocks.{b}.", w, heads[n], shift)
        if n < 3:
            at = f"layers.{n}.downsample"
            y = np.concatenate([y[0::2, 0::2], y[1::2, 0::2], y[0::2, 1::2], y[1::2, 1::2]], -1)
            y = linear(norm(y, p, f"{at}.norm"), p, f"{at}.reduction")
    return norm(y, p, "norm").transpose(2, 0, 1)


def in_numpy(net):
    return {name: t.numpy().copy() for name, t in net.state_dict().items()}


@pytest.mark.parametrize("H, W, shift", [
    (6, 9, (0, 0)), (6, 9, (1, 1)), (5, 7, (0, 0)), (5, 7, (1, 1)), (4, 6, (1, 1)), (2, 8, (0, 1)), (2, 1, (0, 0))])
def test_block_agrees_with_a_slow_twin(H, W, shift, device):
    """Windows of 3; maps of whole windows and not, shifted and not, also along one side only."""
    net = lived_in(Block(6, 3, 2).double())
    x = torch.randn(2, H, W, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = np.stack([block_twin(one, in_numpy(net), "", 3, 2, shift) for one in x.numpy()])
    got = net.to(device)(x.to(device), shift, window_mask(H, W, 3, shift, device)).detach().cpu().numpy()
    assert np.abs(got - expected).max() < 1e-11


def test_attention_agrees_with_a_slow_twin_window_by_window(device):
    """Two windows of 2 × 2, three heads; in the second window nobody hears the last token but itself."""
    net = lived_in(WindowAttention(6, 2, 3).double())
    p, mask = in_numpy(net), np.ones((2, 4, 4), dtype=bool)
    mask[1, :3, 3] = mask[1, 3, :3] = False
    x = torch.randn(3, 2, 4, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    rows = [[4, 3, 1, 0], [5, 4, 2, 1], [7, 6, 4, 3], [8, 7, 5, 4]]          # of `test_relative_position_bias_by_hand`
    y = np.zeros(x.shape)
    for b, n, h, i in np.ndindex(3, 2, 3, 4):
        q, k, v = (linear(x[b, n].numpy(), p, "qkv")[:, 6 * part + 2 * h:6 * part + 2 * h + 2] for part in range(3))
        e = {j: math.exp(q[i] @ k[j] / math.sqrt(2) + p["relative_position_bias_table"][rows[i][j], h])
             for j in range(4) if mask[n, i, j]}
        y[b, n, i, 2 * h:2 * h + 2] = sum(e[j] * v[j] for j in e) / sum(e.values())
    got = net.to(device)(x.to(device), torch.from_numpy(mask).to(device)).detach().cpu().numpy()
    assert np.abs(got - linear(y, p, "proj")).max() < 1e-12


@pytest.mark.parametrize("H, W", [(96, 96), (64, 32)])
def test_the_whole_network_agrees_with_a_slow_twin_where_maps_are_padded(H, W, device):
    """At 96 px the maps are 24, 12, 6 and 3 a side, padded to 28, 14, 7 and 7; the twin has no padding that could be heard."""
    depths, heads = (2, 2, 1, 1), (1, 2, 2, 4)
    net = lived_in(small_net().double()).eval()
    x = torch.rand(3, H, W, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    expected = swin_twin(x.numpy(), in_numpy(net), depths, heads, 7)
    got = net.to(device)(x[None].to(device))[0].detach().cpu().numpy()
    assert got.shape == (32, H // 32, W // 32) and np.abs(got - expected).max() < 1e-10


def filled(net):
    """Weights from a formula, so that another library can be given the same: see `test_numbers_of_torchvision`."""
    state = net.state_dict()
    for k, name in enumerate(sorted(state)):
        t = state[name]
        u = (12.9898 * torch.arange(t.numel(), dtype=torch.float64) + k).sin() * 43758.5453
        u = 2 * (u - u.floor()).reshape(t.shape) - 1                         # in [−1, 1)
        if t.ndim == 1 and name.endswith("weight"):
            t.copy_(1 + 0.5 * u)
        elif t.ndim == 1 or "table" in name:
            t.copy_(0.5 * u)
        else:
            t.copy_(u * (2 / t[0].numel()) ** 0.5)
    return net


def test_numbers_of_torchvision(device):
    """torchvision 0.28 in float64: SwinTransformer([4, 4], 8, [2, 2, 2, 2], [1, 2, 2, 4], [7, 7]) up to its norm, filled as in
    `filled` in the order of our names, on this 224 × 224 picture: the one size at which both are the published network.
    """
    row, col = torch.arange(224, dtype=torch.float64)[:, None], torch.arange(224, dtype=torch.float64)
    x = torch.stack([(0.31 * row + 0.17 * col).sin(), (0.23 * row - 0.29 * col).cos(), (0.05 * row * col).sin()])[None]
    net = filled(Swin(8, (2, 2, 2, 2), (1, 2, 2, 4)).double()).eval().to(device)
    with torch.no_grad():
        y = net(x.to(device))[0]
    assert y.abs().sum().item() == pytest.approx(2737.012644398271, rel=1e-8)
    assert [y[at].item() for at in ((0, 0, 0), (3, 1, 0), (5, 2, 6), (63, 4, 1))] == pytest.approx(
        [-1.5949068965189783, 1.2062791632872683, 0.3550564160744022, -0.06344926272247785], rel=1e-7)


def test_initial_weights(device):
    """Linears and tables of deviation 0.02, biases 0, normalisations 1 and 0."""
    torch.manual_seed(0)
    net = Swin(32, (1, 1, 1, 1), (1, 2, 2, 16)).to(device)
    block = net.layers[3].blocks[0]
    for t in (block.mlp.fc1.weight, block.attn.qkv.weight, block.attn.relative_position_bias_table,
              net.layers[0].downsample.reduction.weight):
        assert t.std().item() == pytest.approx(0.02, rel=0.05) and t.abs().max().item() > 0.05
    for name, p in net.named_parameters():
        if p.ndim == 1 and not name.startswith("patch_embed.proj"):
            assert (p == (1 if name.endswith("weight") else 0)).all(), name


# ---- stochastic depth

def test_drop_path_drops_whole_samples_and_keeps_the_mean(device):
    torch.manual_seed(0)
    x = torch.rand(4000, 2, 1, 3, device=device) + 1
    ratio = drop_path(x, 0.3, training=True) / x
    kept = ratio[:, 0, 0, 0] > 0
    assert torch.equal(ratio > 0, kept[:, None, None, None].expand_as(x))
    assert ratio[kept].min().item() == pytest.approx(1 / 0.7) and ratio[kept].max().item() == pytest.approx(1 / 0.7)
    assert ratio.mean().item() == pytest.approx(1, abs=0.04)                 # four deviations of a mean over 4000
    assert drop_path(x, 0.3, training=False) is x and drop_path(x, 0, training=True) is x


def test_rates_grow_over_all_blocks():
    with torch.device("meta"):
        net = Swin(4, (1, 2, 3, 1), (1, 1, 2, 2), drop_path=0.3)
    assert [b.p for layer in net.layers for b in layer.blocks] == pytest.approx([0, 0.05, 0.1, 0.15, 0.2, 0.25, 0.3])


def test_both_branches_of_a_block_drop_on_their_own(device):
    """With p = ½, a fourth of the samples come out as they went in, and some lose one branch only; in evaluation none does."""
    torch.manual_seed(0)
    net = lived_in(Block(2, 2, 1, p=0.5)).double().to(device)
    x = torch.randn(1, 2, 2, 2, dtype=torch.float64, device=device).expand(400, -1, -1, -1)
    kinds = net.train()(x).detach().flatten(1).unique(dim=0, return_counts=True)[1]
    assert len(kinds) == 4 and all(60 < n < 140 for n in kinds.tolist())
    assert len(net.eval()(x).detach().flatten(1).unique(dim=0)) == 1


# ---- gradients, and how it runs

@pytest.mark.parametrize("H, W, shift", [(3, 5, (1, 1)), (4, 2, (0, 0))])
def test_gradient_is_the_slope_of_the_loss(H, W, shift, device):
    """In float64, for the tokens and for every weight, through shift, mask and padding."""
    net = lived_in(Block(2, 2, 1).double()).to(device)
    x = torch.randn(2, H, W, 2, dtype=torch.float64, device=device, requires_grad=True)
    mask, names, values = window_mask(H, W, 2, shift, device), *zip(*net.named_parameters())

    def through(x, *values):
        return torch.func.functional_call(net, dict(zip(names, values)), (x, shift, mask))

    assert torch.autograd.gradcheck(through, (x, *values))


def test_gradient_of_the_network_in_float64(device):
    """Along one direction, as a paper reads the map: tokens first, channels last."""
    torch.manual_seed(0)
    net = lived_in(small_net().double()).to(device).eval()
    x = torch.rand(2, 3, 64, 32, dtype=torch.float64, device=device, requires_grad=True)
    step, weights = torch.randn_like(x), torch.randn(2, 2, 32, dtype=torch.float64, device=device)

    def value(x):
        return (net(x).flatten(2).mT * weights).sum()

    slope = (torch.autograd.grad(value(x), x)[0] * step).sum().item()
    with torch.no_grad():
        measured = (value(x + 1e-6 * step) - value(x - 1e-6 * step)).item() / 2e-6
    assert slope == pytest.approx(measured, rel=1e-6) and abs(slope) > 1e-2


def test_gradient_reaches_every_parameter(device):
    torch.manual_seed(0)
    net = small_net(drop_path=0.0).double().to(device)
    (net(torch.rand(3, 3, 96, 96, dtype=torch.float64, device=device)) * torch.randn(32, 3, 3, device=device)).sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or p.grad.eq(0).all()] == []


def test_the_table_s_gradient_is_the_same_every_time(device):
    """Many pairs share a row of the table; their sum must not depend on which thread came first, as table[index]'s does."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    attn = WindowAttention(32, 7, 32).to(device)
    out = torch.randn(1, 49, 49, 32, generator=torch.Generator().manual_seed(0)).to(device).movedim(-1, 1)
    grads = [torch.autograd.grad(attn.bias(None), attn.relative_position_bias_table, out)[0] for _ in range(100)]
    torch.set_num_threads(threads)
    assert all(torch.equal(grad, grads[0]) for grad in grads)


def test_a_batch_of_one_gives_what_it_gives_among_others(device):
    net = lived_in(small_net().double()).to(device).eval()
    x = torch.rand(3, 3, 96, 64, dtype=torch.float64, device=device)
    assert torch.allclose(net(x[1:2]), net(x)[1:2], atol=1e-12)


@pytest.mark.parametrize("H, W, training", [(224, 224, False), (96, 64, True)])
def test_compiles_as_one_graph(H, W, training, device):
    """Trained, with the same draws of stochastic depth."""
    net = lived_in(small_net(depths=(2, 1, 1, 1))).to(device).train(training)
    x = torch.rand(2, 3, H, W, device=device)
    torch._dynamo.reset()
    torch.manual_seed(3)
    expected = net(x)
    torch.manual_seed(3)
    assert torch.allclose(torch.compile(net, fullgraph=True, backend="eager")(x), expected, atol=1e-4)


def test_exports_for_any_batch(device):
    net = lived_in(small_net(depths=(2, 1, 1, 1))).to(device).eval()
    x = torch.rand(2, 3, 96, 64, device=device)
    with torch.no_grad():
        exported = torch.export.export(net, (x,), dynamic_shapes=({0: torch.export.Dim("B", min=1, max=9)},))
        assert torch.allclose(exported.module()(x[:1]), net(x[:1]), atol=1e-4)


@pytest.mark.parametrize("H, W", [(96, 64), (224, 224)])
def test_runs_under_bfloat16_forward_and_backward(H, W, device):
    torch.manual_seed(0)
    net = small_net().to(device).train()
    x = torch.rand(2, 3, H, W, device=device)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        net(x).float().square().mean().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())
    net.eval()
    with torch.no_grad(), torch.autocast(device.type, dtype=torch.bfloat16):
        half = net(x).float()
    with torch.no_grad():
        full = net(x)
    assert 0 < (half - full).norm() / full.norm() < 0.05                     # bfloat16 did run, and came close


def test_tokens_are_patches_in_reading_order(device):
    """A patch of pixels becomes one token, rows before columns: one bright patch reaches one token."""
    embed = PatchEmbed(5, 4).to(device)
    x = torch.zeros(1, 3, 8, 12, device=device)
    x[..., 4:8, 8:12] = 1
    y = embed.proj(x).movedim(1, -1)[0] - embed.proj.bias
    assert embed(x).shape == (1, 2, 3, 5) and y.abs().sum(-1).gt(1e-6).nonzero().tolist() == [[1, 2]]
