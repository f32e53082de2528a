"""torchvision's DenseNets without pooling and classifier. Counts: the published totals less the classifier of 1000 classes."""
import numpy as np
import pytest
import torch

from refnet.backbones.densenet import LAYOUTS, DenseBlock, DenseLayer, DenseNet, Transition, modern
from refnet.backbones.resnet import normalise
from refnet.backbones.weights import load_weights
from refnet.training.count import multiply_adds


def small_net():
    return DenseNet((2, 1, 3, 1), growth=3, first=6)


def lived_in(model, seed=0):
    """The model with normalisations as after training: nothing is 0 or 1 any more, so nothing can be forgotten unseen."""
    g = torch.Generator().manual_seed(seed)
    for name, t in model.state_dict().items():
        if t.ndim == 1:
            t.copy_(torch.rand(t.shape, generator=g) + (0.5 if name.endswith(("weight", "var")) else -0.5))
    return model


def published(layout, growth, first, old=False):
    """The names and shapes of torchvision's state dict, classifier included; old: as the files of 2017 spell them."""
    out = {"features.conv0.weight": (first, 3, 7, 7)}
    dot = "." if old else ""

    def bn(name, c):
        out.update({f"{name}.{part}": (c,) for part in ("weight", "bias", "running_mean", "running_var")})
        if not old:
            out[f"{name}.num_batches_tracked"] = ()

    bn("features.norm0", first)
    c = first
    for block, layers in enumerate(layout, 1):
        for layer in range(1, layers + 1):
            at = f"features.denseblock{block}.denselayer{layer}"
            bn(f"{at}.norm{dot}1", c)
            out[f"{at}.conv{dot}1.weight"] = (4 * growth, c, 1, 1)
            bn(f"{at}.norm{dot}2", 4 * growth)
            out[f"{at}.conv{dot}2.weight"] = (growth, 4 * growth, 3, 3)
            c += growth
        if block < 4:
            bn(f"features.transition{block}.norm", c)
            out[f"features.transition{block}.conv.weight"] = (c // 2, c, 1, 1)
            c //= 2
    bn("features.norm5", c)
    return out | {"classifier.weight": (1000, c), "classifier.bias": (1000,)}


# ---- the layout

@pytest.mark.parametrize("name, total, channels", [
    ("densenet121", 7_978_856, 1024), ("densenet169", 14_149_480, 1664),
    ("densenet201", 20_013_928, 1920), ("densenet161", 28_681_000, 2208)])
def test_parameters_are_the_published_ones_without_the_classifier(name, total, channels):
    """6,953,856 for densenet121: 7,978,856 less 1024 · 1000 + 1000."""
    with torch.device("meta"):
        net = DenseNet(**LAYOUTS[name])
    assert sum(p.numel() for p in net.parameters()) == total - 1000 * (channels + 1)
    assert net.channels == channels


def test_the_trunk_of_the_paper():
    """emotiongcn (§IV): the size that is known from the authors' code."""
    with torch.device("meta"):
        assert sum(p.numel() for p in DenseNet().parameters()) == 6_953_856


@pytest.mark.parametrize("side, macs", [(224, 2.833), (227, 2.879)])
def test_multiply_adds(side, macs, device):
    """In thousand millions. conv0 alone is 112² · 64 · 147 = 118 million of them at 224 px."""
    with torch.device("meta"):
        net, x = DenseNet(), torch.empty(1, 3, side, side)
    counted = multiply_adds(net, (x,))
    assert counted[""] / 1e9 == pytest.approx(macs, abs=5e-4) and counted["conv0"] == (side // 2 + side % 2) ** 2 * 64 * 147


def test_names_and_shapes_are_the_published_ones():
    with torch.device("meta"):
        here = {n: tuple(t.shape) for n, t in DenseNet().state_dict().items()}
    there = published((6, 12, 24, 16), 32, 64)
    assert here == {n.removeprefix("features."): shape for n, shape in there.items() if not n.startswith("classifier")}
    assert here["denseblock4.denselayer16.norm1.weight"] == (992,) and here["transition3.conv.weight"] == (512, 1024, 1, 1)


@pytest.mark.parametrize("old, prefix", [(False, ""), (True, ""), (True, "module."), (False, "module.")])
def test_a_published_file_loads_completely(old, prefix, device):
    """As torchvision writes it today, and as the published files of 2017 have it: norm.1 for norm1, and no count of batches."""
    net, g = small_net().to(device), torch.Generator().manual_seed(0)
    state = {n: torch.randn(shape, generator=g) for n, shape in published((2, 1, 3, 1), 3, 6, old).items()}
    state |= {n: torch.tensor(7) for n in state if n.endswith("tracked")}
    given = {prefix + n: t for n, t in state.items()}
    before = dict(given)
    report = load_weights(net, modern(given), needed=1)
    assert report.unused == ["classifier.weight", "classifier.bias"] and not report.missing and not report.mismatched
    assert given.keys() == before.keys() and all(given[n] is t for n, t in before.items())       # nothing is changed in place
    here = net.state_dict()
    assert len(report.matched) == len(here)
    assert torch.equal(here["denseblock3.denselayer2.norm1.running_var"].cpu(),
                       state[f"features.denseblock3.denselayer2.norm{'.' * old}1.running_var"])
    assert torch.equal(here["denseblock3.denselayer2.conv2.weight"].cpu(),
                       state[f"features.denseblock3.denselayer2.conv{'.' * old}2.weight"])
    assert {t.item() for n, t in here.items() if n.endswith("tracked")} == {0 if old else 7}
    loaded = {n.removeprefix("features.").replace("norm.", "norm").replace("conv.", "conv"): t for n, t in state.items()}
    plain = {n.replace("norm.", "norm").replace("conv.", "conv"): t for n, t in here.items()}
    assert all(torch.equal(plain[n].cpu(), t) for n, t in loaded.items() if not n.startswith("classifier"))


def test_our_own_names_pass_through():
    state = small_net().state_dict()
    again = modern(state)
    assert again.keys() == state.keys() and all(again[n] is state[n] for n in state)


@pytest.mark.parametrize("H, W, h, w", [(224, 227, 7, 7), (112, 96, 3, 3), (29, 61, 1, 2), (60, 93, 1, 3)])
def test_maps_are_torchvisions_sizes(H, W, h, w, device):
    """⌊⌈n/4⌉/8⌋: 227 → 57 → 28 → 14 → 7, and 60 → 15 → 7 → 3 → 1. The ReLU is left to others: there are values below 0."""
    net = small_net().to(device).eval()
    y = net(torch.rand(2, 3, H, W, device=device))
    assert y.shape == (2, net.channels, h, w) and (y < 0).any() and (y > 0).any()


def test_too_small_a_picture_is_refused(device):
    with pytest.raises(ValueError, match="pictures of 28 × 40 px leave no map; 29 px or more"):
        small_net().to(device)(torch.rand(1, 3, 40, 28, device=device))


def test_channels_of_a_small_layout():
    """6 + 2·3 = 12, halved 6; + 3 = 9, halved 4; + 9 = 13, halved 6; + 3 = 9."""
    net = small_net()
    assert net.channels == 9 and [net.transition1.conv.out_channels, net.transition2.conv.out_channels] == [6, 4]


def test_wrong_layouts_are_refused():
    with pytest.raises(ValueError, match=r"layers of four blocks.*got \(1, 2, 3\), 32 and 64"):
        DenseNet((1, 2, 3))
    with pytest.raises(ValueError, match=r"1 or more; got \(1, 1, 1, 1\), 0 and 64"):
        DenseNet((1, 1, 1, 1), growth=0)


# ---- the numbers

def bn_by_hand(x, p, name):
    w, b, mean, var = (p[f"{name}.{k}"] for k in ("weight", "bias", "running_mean", "running_var"))
    return np.stack([(x[:, c] - mean[c]) / np.sqrt(var[c] + 1e-5) * w[c] + b[c] for c in range(x.shape[1])], 1)


def conv_by_hand(x, w):
    (B, C, H, W), (O, _, K, _) = x.shape, w.shape
    out = np.zeros((B, O, H, W))
    for b, o, i, j, c, k, l in np.ndindex(*out.shape, C, K, K):
        row, col = i + k - K // 2, j + l - K // 2
        if 0 <= row < H and 0 <= col < W:
            out[b, o, i, j] += w[o, c, k, l] * x[b, c, row, col]
    return out


def layer_by_hand(x, p, at=""):
    y = conv_by_hand(np.maximum(bn_by_hand(x, p, f"{at}norm1"), 0), p[f"{at}conv1.weight"])
    return conv_by_hand(np.maximum(bn_by_hand(y, p, f"{at}norm2"), 0), p[f"{at}conv2.weight"])


@pytest.mark.parametrize("part", ["layer", "block", "transition"])
def test_parts_agree_with_a_slow_twin(part, device):
    """Every convolution as a sum over pixels; in a block each layer reads the picture and all layers before it, in that order."""
    torch.manual_seed(0)
    net = {"layer": DenseLayer(3, 2), "block": DenseBlock(3, 3, 2), "transition": Transition(3, 2)}[part]
    net = lived_in(net).double().eval()
    p = {name: t.numpy().copy() for name, t in net.state_dict().items()}
    x = torch.randn(2, 3, 5, 4, dtype=torch.float64)
    if part == "layer":
        want = layer_by_hand(x.numpy(), p)
    elif part == "block":
        want = x.numpy()
        for n in (1, 2, 3):
            want = np.concatenate([want, layer_by_hand(want, p, f"denselayer{n}.")], 1)
    else:
        y = conv_by_hand(np.maximum(bn_by_hand(x.numpy(), p, "norm"), 0), p["conv.weight"])
        want = np.stack([[y[:, :, 2 * i:2 * i + 2, 2 * j:2 * j + 2].mean((2, 3)) for j in range(2)] for i in range(2)])
        want = np.moveaxis(want, (0, 1), (2, 3))
    got = net.to(device)(x.to(device)).detach().cpu().numpy()
    assert got.shape == want.shape and np.abs(got - want).max() < 1e-12 and np.abs(want).max() > 0.1


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


def waves(H, W):
    """A picture (1, 3, H, W) from a formula."""
    row, col = torch.arange(H, dtype=torch.float64)[:, None], torch.arange(W, dtype=torch.float64)
    return torch.stack([(0.31 * row + 0.17 * col).sin(), (0.23 * row - 0.29 * col).cos(), (0.05 * row * col).sin()])[None]


@pytest.mark.parametrize("settings, total, values", [
    (LAYOUTS["densenet121"], 2543.7258962603705, {(0, 0, 0): -1.0170459643517427, (5, 1, 1): -0.34477875728925095,
                                                  (1022, 0, 2): 0.42357107465451804}),
    (dict(layout=(2, 3, 1, 2), growth=5, first=7), 53.36581348121525, {(0, 0, 0): -0.44955806743369153,
                                                                       (5, 1, 1): 0.3707593494057981,
                                                                       (16, 0, 2): -0.10680684179154486})])
def test_numbers_of_torchvision(settings, total, values, device):
    """torchvision 0.28 in float64: the `features` of its DenseNet, filled as in `filled`, on this 70 × 101 picture."""
    net = filled(DenseNet(**settings).double()).eval().to(device)
    with torch.no_grad():
        y = net(waves(70, 101).to(device))[0]
    assert y.abs().sum().item() == pytest.approx(total, rel=1e-8)
    assert [y[at].item() for at in values] == pytest.approx(list(values.values()), rel=1e-7, abs=1e-9)


def test_initial_weights(device):
    """Deviation √(2/(k·k·in)): 3·49 for conv0, 64 and 128·9 for the first layer; normalisations 1 and 0."""
    torch.manual_seed(0)
    net = DenseNet((1, 1, 1, 1)).to(device)
    layer = net.denseblock1.denselayer1
    for conv, fan_in in ((net.conv0, 3 * 49), (layer.conv1, 64), (layer.conv2, 128 * 9), (net.transition1.conv, 96)):
        assert conv.weight.std().item() == pytest.approx((2 / fan_in) ** 0.5, rel=0.03)
        assert conv.weight.abs().max().item() > 3 * (2 / fan_in) ** 0.5      # no uniform draw
    assert all((t == 1).all() for n, t in net.state_dict().items() if t.ndim == 1 and n.endswith(("weight", "var")))
    assert all((t == 0).all() for n, t in net.state_dict().items() if n.endswith(("bias", "mean")))


# ---- gradients, and how it runs

def test_gradient_is_the_slope_of_the_loss(device):
    """In float64 and in training mode, where normalisations differentiate through the batch."""
    torch.manual_seed(0)
    net = lived_in(torch.nn.Sequential(DenseBlock(2, 2, 1), Transition(4, 3))).double().to(device).train()
    x = torch.randn(2, 2, 4, 3, dtype=torch.float64, device=device, requires_grad=True)
    assert torch.autograd.gradcheck(net, (x,))


@pytest.mark.parametrize("H, W", [(32, 32), (64, 32), (32, 64), (64, 96)])
@pytest.mark.parametrize("how", ["tokens", "largest"])
def test_gradient_through_tokens_and_maxima(H, W, how, device):
    """As a paper reads the map, (B, tokens, C) or its maxima: the gradient comes back in another memory order.

    Also on maps one pixel wide.
    The step is so small because a ReLU's corner may lie in a longer one.
    """
    torch.manual_seed(0)
    net = lived_in(small_net()).double().to(device).train()
    x = torch.rand(3, 3, H, W, dtype=torch.float64, device=device, requires_grad=True)
    weights = torch.randn(3, H // 32 * W // 32, net.channels, dtype=torch.float64, device=device)
    step = torch.randn_like(x)

    def value(x):
        tokens = net(x).flatten(2).mT
        return (tokens * weights if how == "tokens" else tokens.amax(1) * weights[:, 0]).sum()

    slope = (torch.autograd.grad(value(x), x)[0] * step).sum().item()
    with torch.no_grad():
        measured = (value(x + 1e-8 * step) - value(x - 1e-8 * step)).item() / 2e-8
    assert slope == pytest.approx(measured, rel=1e-5) and abs(slope) > 1e-2


def test_gradient_reaches_every_parameter(device):
    torch.manual_seed(0)
    net = small_net().to(device).train()
    net(torch.rand(5, 3, 64, 64, device=device)).pow(3).sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or p.grad.eq(0).all()] == []


def test_a_batch_of_one_gives_what_it_gives_among_others(device):
    net = lived_in(small_net()).double().to(device).eval()
    x = torch.rand(3, 3, 37, 70, dtype=torch.float64, device=device)
    assert torch.allclose(net(x[1:2]), net(x)[1:2], atol=1e-12)


def test_compiles_as_one_graph_and_exports(device):
    net = lived_in(small_net()).to(device).eval()
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
        net(x).float().pow(3).mean().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())
    net.eval()
    with torch.no_grad(), torch.autocast(device.type, dtype=torch.bfloat16):
        half = net(x).float()
    with torch.no_grad():
        full = net(x)
    assert 0 < (half - full).norm() / full.norm() < 0.05                     # bfloat16 did run, and came close
