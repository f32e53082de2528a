"""torchvision's ResNets without pooling and fc. Counts: the published totals less the fc of 1000 classes."""
import numpy as np
import pytest
import torch

from refnet.backbones.resnet import LAYOUTS, BasicBlock, Bottleneck, ResNet, normalise
from refnet.backbones.weights import load_weights


def small_net(bottleneck=True, **more):
    return ResNet((1, 2, 1, 1), (4, 6, 8, 10), bottleneck, **more)


def lived_in(model, seed=0):
    """The model with normalisations as after training: nothing is 0 or 1 any more, so nothing can be forgotten unseen."""
    g = torch.Generator().manual_seed(seed)
    for name, t in model.state_dict().items():
        if t.ndim == 1:
            t.copy_(torch.rand(t.shape, generator=g) + (0.5 if name.endswith(("weight", "var")) else -0.5))
    return model


def bn_names(name):
    return [f"{name}.{part}" for part in ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")]


def published(layout, widths, bottleneck):
    """The names and shapes of a torchvision state dict, fc included, written out from the published layout."""
    out, c_in, wide = {"conv1.weight": (widths[0], 3, 7, 7)}, widths[0], 4 if bottleneck else 1

    def bn(name, c):
        out.update((n, () if n.endswith("tracked") else (c,)) for n in bn_names(name))

    bn("bn1", widths[0])
    for layer, (blocks, w) in enumerate(zip(layout, widths), 1):
        for b in range(blocks):
            at = f"layer{layer}.{b}"
            if bottleneck:
                shapes = ((w, c_in, 1, 1), (w, w, 3, 3), (4 * w, w, 1, 1))
            else:
                shapes = ((w, c_in, 3, 3), (w, w, 3, 3))
            for n, shape in enumerate(shapes, 1):
                out[f"{at}.conv{n}.weight"] = shape
                bn(f"{at}.bn{n}", shape[0])
            if b == 0 and (layer > 1 or bottleneck):
                out[f"{at}.downsample.0.weight"] = (wide * w, c_in, 1, 1)
                bn(f"{at}.downsample.1", wide * w)
            c_in = wide * w
    return out | {"fc.weight": (1000, c_in), "fc.bias": (1000,)}


# ---- the layout

@pytest.mark.parametrize("name, total, fc", [
    ("resnet18", 11_689_512, 513_000), ("resnet34", 21_797_672, 513_000),
    ("resnet50", 25_557_032, 2_049_000), ("resnet101", 44_549_160, 2_049_000)])
def test_parameters_are_the_published_ones_without_the_fc(name, total, fc):
    """11,176,512 for resnet18 and 23,508,032 for resnet50."""
    with torch.device("meta"):
        net = ResNet(**LAYOUTS[name])
    assert sum(p.numel() for p in net.parameters()) == total - fc
    assert net.channels == fc // 1000 - 1


def test_the_trunks_of_the_paper():
    """megraphau (§2.1): the two whose sizes are known from the authors' code."""
    with torch.device("meta"):
        counts = [sum(p.numel() for p in ResNet(**LAYOUTS[name]).parameters()) for name in ("resnet18", "resnet50")]
    assert counts == [11_176_512, 23_508_032]


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_names_and_shapes_are_the_published_ones(name):
    layout, bottleneck = {"resnet18": ((2, 2, 2, 2), False), "resnet50": ((3, 4, 6, 3), True)}[name]
    with torch.device("meta"):
        here = {n: tuple(t.shape) for n, t in ResNet(**LAYOUTS[name]).state_dict().items()}
    there = published(layout, (64, 128, 256, 512), bottleneck)
    assert here == {n: shape for n, shape in there.items() if not n.startswith("fc")}
    assert ("layer1.0.downsample.0.weight" in here) == bottleneck and "layer1.1.downsample.0.weight" not in here


@pytest.mark.parametrize("bottleneck", [True, False])
def test_a_published_file_loads_completely(bottleneck, device):
    net = small_net(bottleneck).to(device)
    g = torch.Generator().manual_seed(0)
    state = {n: torch.randn(shape, generator=g) for n, shape in published((1, 2, 1, 1), (4, 6, 8, 10), bottleneck).items()}
    state |= {n: torch.tensor(7) for n in state if n.endswith("tracked")}
    report = load_weights(net, state, needed=1)
    assert report.unused == ["fc.weight", "fc.bias"] and not report.missing and not report.mismatched
    assert len(report.matched) == len(net.state_dict()) == len(state) - 2
    assert all(torch.equal(t.cpu(), state[n]) for n, t in net.state_dict().items())
    assert "in the file, not in the model, unused: fc (2)" in str(report)


@pytest.mark.parametrize("small, H, W, sizes", [
    (False, 224, 96, [(56, 24), (28, 12), (14, 6), (7, 3)]), (False, 75, 33, [(19, 9), (10, 5), (5, 3), (3, 2)]),
    (True, 32, 48, [(32, 48), (16, 24), (8, 12), (4, 6)]), (True, 9, 7, [(9, 7), (5, 4), (3, 2), (2, 1)])])
@pytest.mark.parametrize("bottleneck", [True, False])
def test_maps_are_halved_rounding_up(bottleneck, small, H, W, sizes, device):
    net = small_net(bottleneck, small=small).to(device).eval()
    x, wide = torch.rand(2, 3, H, W, device=device), 4 if bottleneck else 1
    maps = net.maps(x)
    assert [tuple(m.shape) for m in maps] == [(2, wide * c, *s) for c, s in zip((4, 6, 8, 10), sizes)]
    assert torch.equal(net(x), maps[-1]) and net.channels == wide * 10


def test_wrong_layouts_are_refused():
    with pytest.raises(ValueError, match=r"four layers each, 1 or more; got \(1, 2, 3\)"):
        ResNet((1, 2, 3))
    with pytest.raises(ValueError, match=r"1 or more; got \(1, 0, 1, 1\)"):
        ResNet((1, 0, 1, 1))


def test_normalise_by_hand(device):
    """Black is −mean/deviation, −0.485/0.229 = −2.1179; white (1 − mean)/deviation, 0.544/0.224 = 2.4286, 0.594/0.225 = 2.64."""
    x = torch.zeros(2, 5, 3, 1, 2, device=device)
    x[1, ..., 1] = 1
    y = normalise(x)
    assert y.shape == x.shape and y[0, 4, :, 0, 0].tolist() == pytest.approx([-2.1179, -2.0357, -1.8044], abs=1e-4)
    assert y[1, 0, :, 0, 1].tolist() == pytest.approx([2.2489, 2.4286, 2.6400], abs=1e-4)
    assert y[1, 0, :, 0, 0].tolist() == y[0, 4, :, 0, 0].tolist()


# ---- the numbers

def bn_by_hand(x, p, name):
    w, b, mean, var = (p[f"{name}.{k}"] for k in ("weight", "bias", "running_mean", "running_var"))
    return np.stack([(x[:, c] - mean[c]) / np.sqrt(var[c] + 1e-5) * w[c] + b[c] for c in range(x.shape[1])], 1)


def conv_by_hand(x, w, stride):
    (B, C, H, W), (O, _, K, _) = x.shape, w.shape
    out = np.zeros((B, O, -(-H // stride), -(-W // stride)))
    for b, o, i, j, c, k, l in np.ndindex(*out.shape, C, K, K):
        row, col = i * stride + k - K // 2, j * stride + l - K // 2
        if 0 <= row < H and 0 <= col < W:
            out[b, o, i, j] += w[o, c, k, l] * x[b, c, row, col]
    return out


@pytest.mark.parametrize("block, c_in, width, stride", [
    (BasicBlock, 3, 5, 2), (BasicBlock, 3, 3, 1), (BasicBlock, 3, 3, 2), (BasicBlock, 3, 5, 1),
    (Bottleneck, 3, 2, 2), (Bottleneck, 8, 2, 1), (Bottleneck, 8, 2, 2), (Bottleneck, 3, 2, 1)])
def test_blocks_agree_with_a_slow_twin(block, c_in, width, stride, device):
    """Every convolution as a sum over pixels; the stride in the first 3 × 3 one; ReLU after the sum."""
    torch.manual_seed(0)
    net = lived_in(block(c_in, width, stride)).double().eval()
    p = {name: t.numpy().copy() for name, t in net.state_dict().items()}
    x = torch.randn(2, c_in, 5, 4, dtype=torch.float64)
    strides = (stride, 1) if block is BasicBlock else (1, stride, 1)
    y = x.numpy()
    for n, s in enumerate(strides, 1):
        y = bn_by_hand(conv_by_hand(y, p[f"conv{n}.weight"], s), p, f"bn{n}")
        y = y if n == len(strides) else np.maximum(y, 0)
    short, c_out = x.numpy(), y.shape[1]
    if (c_in, stride) != (c_out, 1):
        short = bn_by_hand(conv_by_hand(short, p["downsample.0.weight"], stride), p, "downsample.1")
    got = net.to(device)(x.to(device)).detach().cpu().numpy()
    assert got.shape == (2, width * (1 if block is BasicBlock else 4), -(-5 // stride), -(-4 // stride))
    assert np.abs(got - np.maximum(y + short, 0)).max() < 1e-12 and (got > 0).any() and (got == 0).any()


@pytest.mark.parametrize("block", [BasicBlock, Bottleneck])
def test_the_stride_is_in_the_3_x_3_convolution(block, device):
    """A 1 × 1 convolution of stride 2 sees one pixel in four; a 3 × 3 one sees them all."""
    torch.manual_seed(0)
    net = lived_in(block(8, 5, 2)).double().to(device).eval()
    x = torch.randn(1, 8, 6, 6, dtype=torch.float64, device=device, requires_grad=True)
    net(x).sum().backward()
    assert (x.grad.abs().sum((0, 1)) > 0).all()
    of_2, of_1 = [m for m in net.modules() if isinstance(m, torch.nn.Conv2d) and m.stride == (2, 2)], net.conv1
    assert [m.kernel_size for m in of_2] == [(3, 3), (1, 1)] and of_2[1] is net.downsample[0]
    assert of_1.stride == ((2, 2) if block is BasicBlock else (1, 1))


def filled(net):
    """Weights from a formula, so that another library can be given the same: see `test_numbers_of_torchvision`."""
    state = net.state_dict()
    for k, name in enumerate(sorted(n for n, t in state.items() if t.is_floating_point())):
        t = state[name]
        u = (12.9898 * torch.arange(t.numel(), dtype=torch.float64) + k).sin() * 43758.5453
        u = 2 * (u - u.floor()).reshape(t.shape) - 1                         # in [−1, 1)
        if t.ndim == 1 and name.endswith(("weight", "var")):
            t.copy_(1 + 0.5 * u)
        elif t.ndim == 1:
            t.copy_(0.5 * u)
        else:
            t.copy_(u * (2 / t[0].numel()) ** 0.5)
    return net


@pytest.mark.parametrize("name, total, values", [
    ("resnet18", 1555.7330124652672, {(0, 0, 0): 0.0, (3, 1, 0): 1.01713302788124, (7, 0, 1): 0.0781261106827629}),
    ("resnet50", 11820.828438317249, {(0, 0, 0): 1.3397557935548279, (5, 2, 1): 1.5016512582785608,
                                      (7, 0, 1): 0.4493675987489501})])
def test_numbers_of_torchvision(name, total, values, device):
    """torchvision 0.28 in float64: its resnet up to layer4, tensors but fc.* filled as in `filled`, on this 70 × 45 picture."""
    row, col = torch.arange(70, dtype=torch.float64)[:, None], torch.arange(45, dtype=torch.float64)
    x = torch.stack([(0.31 * row + 0.17 * col).sin(), (0.23 * row - 0.29 * col).cos(), (0.05 * row * col).sin()])[None]
    net = filled(ResNet(**LAYOUTS[name]).double()).eval().to(device)
    with torch.no_grad():
        y = net(x.to(device))[0]
    assert y.sum().item() == pytest.approx(total, rel=1e-8)
    assert [y[at].item() for at in values] == pytest.approx(list(values.values()), rel=1e-7, abs=1e-9)


def test_initial_weights(device):
    """Deviation √(2/(k·k·out)): 64·49 for the stem, 128·9 and 256 for layer2's first block; normalisations 1 and 0."""
    torch.manual_seed(0)
    net = ResNet((1, 1, 1, 1), (64, 64, 16, 16)).to(device)
    for conv, fan_out in ((net.conv1, 64 * 49), (net.layer2[0].conv2, 64 * 9), (net.layer2[0].downsample[0], 256)):
        assert conv.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.03)
        assert conv.weight.abs().max().item() > 3 * (2 / fan_out) ** 0.5     # no uniform draw
    assert all((t == 1).all() for n, t in net.state_dict().items() if t.ndim == 1 and n.endswith(("weight", "var")))
    assert all((t == 0).all() for n, t in net.state_dict().items() if n.endswith(("bias", "mean")))


# ---- gradients, and how it runs

@pytest.mark.parametrize("block, c_in, width", [(BasicBlock, 2, 3), (Bottleneck, 3, 2)])
def test_gradient_is_the_slope_of_the_loss(block, c_in, width, device):
    """In float64 and in training mode, where normalisations differentiate through the batch."""
    torch.manual_seed(0)
    net = lived_in(block(c_in, width, 2)).double().to(device).train()
    x = torch.randn(2, c_in, 4, 3, dtype=torch.float64, device=device, requires_grad=True)
    assert torch.autograd.gradcheck(net, (x,))


@pytest.mark.parametrize("H, W", [(64, 32), (32, 64), (64, 96)])
def test_gradient_through_tokens(H, W, device):
    """As a paper reads the map, (B, tokens, C): the gradient comes back in another memory order. Also on maps one pixel wide.

    The step is so small because a ReLU's corner may lie in a longer one.
    """
    torch.manual_seed(0)
    net = lived_in(small_net()).double().to(device).train()
    x = torch.rand(3, 3, H, W, dtype=torch.float64, device=device, requires_grad=True)
    weights = torch.randn(3, H // 32 * W // 32, net.channels, dtype=torch.float64, device=device)
    step = torch.randn_like(x)

    def value(x):
        return (net(x).flatten(2).mT * weights).sum()

    slope = (torch.autograd.grad(value(x), x)[0] * step).sum().item()
    with torch.no_grad():
        measured = (value(x + 1e-8 * step) - value(x - 1e-8 * step)).item() / 2e-8
    assert slope == pytest.approx(measured, rel=1e-5) and abs(slope) > 1e-2


def test_gradient_reaches_every_parameter(device):
    torch.manual_seed(0)
    net = small_net().to(device).eval()
    net(torch.rand(5, 3, 64, 64, device=device)).square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or p.grad.eq(0).all()] == []


def test_a_batch_of_one_gives_what_it_gives_among_others(device):
    net = lived_in(small_net()).double().to(device).eval()
    x = torch.rand(3, 3, 37, 50, dtype=torch.float64, device=device)
    assert torch.allclose(net(x[1:2]), net(x)[1:2], atol=1e-12)


def test_compiles_as_one_graph_and_exports(device):
    net = lived_in(ResNet((1, 1, 1, 1), (4, 6, 8, 10))).to(device).eval()
    x = torch.rand(2, 3, 40, 32, device=device)
    torch._dynamo.reset()

    def through(x):
        return net(normalise(x))

    expected = through(x)
    assert torch.allclose(torch.compile(through, fullgraph=True, backend="eager")(x), expected, atol=1e-5)
    exported = torch.export.export(net, (normalise(x),), dynamic_shapes=({0: torch.export.Dim("B", min=1, max=9)},))
    assert torch.allclose(exported.module()(normalise(x[:1])), expected[:1], atol=1e-5)


def test_runs_under_bfloat16_forward_and_backward(device):
    torch.manual_seed(0)
    net = small_net().to(device).train()
    x = torch.rand(4, 3, 64, 64, device=device)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        net(x).float().square().mean().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())
    net.eval()
    with torch.no_grad(), torch.autocast(device.type, dtype=torch.bfloat16):
        half = net(x).float()
    with torch.no_grad():
        full = net(x)
    assert 0 < (half - full).norm() / full.norm() < 0.05                     # bfloat16 did run, and came close
