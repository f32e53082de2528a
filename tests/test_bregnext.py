"""BReG-NeXt-50: its layer against a slow twin, its size against the authors', its shortcut by hand."""
import math

import numpy as np
import pytest
import torch
from torch import tensor

from refnet.backbones.bregnext import BReGLayer, BReGNeXt, bounded, padded
from refnet.backbones.resnet import normalise
from refnet.training.count import multiply_adds


def small_net(**more):
    return BReGNeXt(((2, 4), (1, 6), (2, 6), (1, 10)), **more)


def lived_in(model, seed=0):
    """The model as after training: no normalisation is 0 or 1 any more, no a or c 1, so nothing can be forgotten unseen."""
    g = torch.Generator().manual_seed(seed)
    for name, t in model.state_dict().items():
        if t.ndim == 1 or name.endswith((".a", ".c")) or name in ("a", "c"):
            t.copy_(torch.rand(t.shape, generator=g) + (0.5 if name.endswith(("weight", "var", "a", "c")) else -0.5))
    return model


# ---- the shortcut

def test_the_shortcut_by_hand(device):
    """a = 1, c = 1: atan(x/√2)/√2, so √2 → π/4/√2 = 0.555360. a = 2, c = √3: atan(x)/4, so 1 → π/16 = 0.196350; a = −2: the same."""
    x = tensor([[0.], [math.sqrt(2)], [-math.sqrt(2)]], device=device)
    got = bounded(x, tensor(1., device=device), tensor(1., device=device))
    assert got.flatten().tolist() == pytest.approx([0, 0.5553604, -0.5553604], abs=1e-6)
    for a in (2., -2.):
        got = bounded(tensor([1., 1e9], device=device), tensor(a, device=device), tensor(math.sqrt(3), device=device))
        assert got.tolist() == pytest.approx([math.pi / 16, math.pi / 8], abs=1e-6)


@pytest.mark.parametrize("a", [0., 1e-30, -1e-8, 5e-4, -9.9e-4])
def test_near_a_of_zero_the_shortcut_is_a_line(a, device):
    """x / (c² + 1), here x / 5, and its slope 1 / 5; nothing divides by 0, and every gradient is a number."""
    x = torch.linspace(-.5, .5, 11, device=device, requires_grad=True)
    a, c = tensor(a, device=device, requires_grad=True), tensor(2., device=device, requires_grad=True)
    y = bounded(x, a, c)
    assert torch.allclose(y, x / 5, atol=1e-7, rtol=1e-6)
    in_x, in_a, in_c = torch.autograd.grad(y.square().sum(), (x, a, c))
    assert torch.allclose(in_x, 2 * x / 25, atol=1e-6) and in_a == 0
    assert in_c.item() == pytest.approx(-2 * 2 * 2 / 5 ** 3 * x.square().sum().item(), rel=1e-4)


def test_gradient_of_the_shortcut(device):
    """In x, a and c, on both sides of a = 0."""
    x = torch.randn(7, dtype=torch.float64, device=device, requires_grad=True)
    for a, c in ((1., 1.), (-.7, .3), (.01, -2.)):
        a, c = (tensor(t, dtype=torch.float64, device=device, requires_grad=True) for t in (a, c))
        assert torch.autograd.gradcheck(bounded, (x, a, c))


def test_the_slope_is_bounded(device):
    """At most 1/(c² + 1), reached at 0: what the paper is named for."""
    x = torch.linspace(-30, 30, 601, device=device, requires_grad=True)
    slope, = torch.autograd.grad(bounded(x, tensor(1.7, device=device), tensor(2., device=device)).sum(), x)
    assert slope.max().item() == pytest.approx(1 / 5, abs=1e-6) == slope[300].item() and (slope > 0).all() and slope[0] < .01


# ---- the layout

def test_parameters_are_the_authors(device):
    """3,072,567 with their linear layer of 7 classes: 128 · 7 + 7 = 903 of them. Every convolution has a bias, 3,680 in all."""
    with torch.device("meta"):
        net = BReGNeXt()
    assert sum(p.numel() for p in net.parameters()) + 903 == 3_072_567 and net.channels == 128
    assert sum(p.numel() for n, p in net.named_parameters() if n.endswith("bias") and "conv" in n) == 3_680
    assert sum(p.numel() for n, p in net.named_parameters() if n.endswith((".a", ".c"))) == 2 * 24


def test_multiply_adds_by_hand():
    """A 3 × 3 convolution of c channels to d on n × n: 9·c·d·n². conv0 and stage1 are on 112², stage2 and 3 on 56², the rest on 28²."""
    with torch.device("meta"):
        counted = multiply_adds(BReGNeXt(), (torch.empty(1, 3, 112, 112),))
    assert counted[""] == (864 + 14 * 9216) * 112 ** 2 + (18432 + 17 * 36864) * 56 ** 2 + (73728 + 15 * 147456) * 28 ** 2


@pytest.mark.parametrize("same", [True, False])
@pytest.mark.parametrize("H, W, h, w", [(112, 96, 28, 24), (37, 50, 10, 13), (5, 1, 2, 1)])
def test_maps_are_halved_twice_rounding_up(H, W, h, w, same, device):
    net = small_net(same=same).to(device).eval()
    net.stages.stage4 = torch.nn.Identity()
    assert net.stages(net.conv0(torch.rand(2, 3, H, W, device=device))).shape == (2, 6, -(-H // 2), -(-W // 2))
    net = small_net(same=same).to(device).eval()
    y = net(torch.rand(2, 3, H, W, device=device))
    assert y.shape == (2, 10, h, w) and net.channels == 10
    assert y.min() > -1                                                      # the ELU is part of it


def test_wrong_layouts_are_refused():
    with pytest.raises(ValueError, match=r"layers and channels of each stage, 1 or more; got \(\(1, 4\), \(0, 8\)\)"):
        BReGNeXt(((1, 4), (0, 8)))
    for layout, found in ((((1, 4), (1, 7)), "got 4, then 7"), (((1, 6), (1, 4)), "got 6, then 4")):
        with pytest.raises(ValueError, match=f"adds an even number, half on each side; {found}"):
            BReGNeXt(layout)


# ---- the numbers

def test_padding_by_hand(device):
    """⌈n/2⌉ places of stride 2 see 2·⌈n/2⌉ + 1 pixels: 5 where there are 4, so one more, at the end; 7 where there are 5, one each."""
    x = torch.ones(1, 1, 4, 5, device=device)
    assert padded(x)[0, 0, :, 1].tolist() == [1, 1, 1, 1, 0] and padded(x)[0, 0, 0].tolist() == [0, 1, 1, 1, 1, 1, 0]
    assert padded(x.mT)[0, 0, :, 0].tolist() == [0, 1, 1, 1, 1, 1, 0] and padded(x.mT)[0, 0, 1].tolist() == [1, 1, 1, 1, 0]


@pytest.mark.parametrize("same, seen", [(True, [0, 1, 2]), (False, [0, 1])])
def test_what_the_first_place_sees_at_stride_2(same, seen, device):
    """TensorFlow's padding has the first place see rows 0, 1, 2 of 6; with a zero at either end it sees 0 and 1."""
    torch.manual_seed(0)
    layer = BReGLayer(2, 4, 2, same).double().to(device).eval()
    x = torch.randn(1, 2, 6, 6, dtype=torch.float64, device=device, requires_grad=True)
    y = layer.conv0(padded(x) if layer.same else x)
    assert y.shape == (1, 4, 3, 3)
    grad, = torch.autograd.grad(y[:, :, 0, 0].sum(), x)
    assert grad.abs().sum((0, 1, 3)).nonzero().flatten().tolist() == seen == grad.abs().sum((0, 1, 2)).nonzero().flatten().tolist()
    with torch.no_grad():
        assert not torch.allclose(layer(x), lived_as(layer, not same)(x))


def lived_as(layer, same):
    """The same weights, the other padding."""
    other = BReGLayer(2, 4, 2, same).to(next(layer.parameters())).eval()
    other.load_state_dict(layer.state_dict())
    return other


def bn_by_hand(x, p, name):
    w, b, mean, var = (p[f"{name}.{k}"] for k in ("weight", "bias", "running_mean", "running_var"))
    return np.stack([(x[:, c] - mean[c]) / np.sqrt(var[c] + 1e-5) * w[c] + b[c] for c in range(x.shape[1])], 1)


def elu(x):
    return np.where(x > 0, x, np.exp(np.minimum(x, 0)) - 1)


def conv_by_hand(x, p, name, stride=1, before=(1, 1)):
    w, (B, C, H, W) = p[f"{name}.weight"], x.shape
    out = np.zeros((B, len(w), -(-H // stride), -(-W // stride)))
    for b, o, i, j, c, k, l in np.ndindex(*out.shape, C, 3, 3):
        row, col = i * stride + k - before[0], j * stride + l - before[1]
        if 0 <= row < H and 0 <= col < W:
            out[b, o, i, j] += w[o, c, k, l] * x[b, c, row, col]
    return out + p[f"{name}.bias"][:, None, None]


@pytest.mark.parametrize("c_in, c_out, stride, same, before", [
    (3, 3, 1, True, (1, 1)), (3, 5, 1, False, (1, 1)), (3, 3, 2, True, (1, 0)), (3, 7, 2, True, (1, 0)), (3, 7, 2, False, (1, 1))])
def test_a_layer_agrees_with_a_slow_twin(c_in, c_out, stride, same, before, device):
    """Sums over pixels on 5 × 4; g(x), then its mean over what there is of each 2 × 2, then zeros for new channels on both sides."""
    torch.manual_seed(0)
    net = lived_in(BReGLayer(c_in, c_out, stride, same)).double().eval()
    p = {name: t.numpy().copy() for name, t in net.state_dict().items()}
    x = 2 * torch.randn(2, c_in, 5, 4, dtype=torch.float64)
    y = conv_by_hand(elu(bn_by_hand(x.numpy(), p, "norm0")), p, "conv0", stride, before)
    y = conv_by_hand(elu(bn_by_hand(y, p, "norm1")), p, "conv1")
    s = np.sqrt(p["c"] ** 2 + 1)
    g, short = np.arctan(p["a"] * x.numpy() / s) / (p["a"] * s), np.zeros_like(y)
    for i, j in np.ndindex(y.shape[2:]):
        cell = g[:, :, i * stride:(i + 1) * stride, j * stride:(j + 1) * stride]
        short[:, (c_out - c_in) // 2:(c_out + c_in) // 2, i, j] = cell.mean((2, 3))
    got = net.to(device)(x.to(device)).detach().cpu().numpy()
    assert got.shape == (2, c_out, -(-5 // stride), -(-4 // stride)) and np.abs(got - (y + short)).max() < 1e-12
    assert np.abs(short).max() > .1 and np.abs(y).max() > .1


def test_the_whole_is_its_parts(device):
    """First convolution, layers in their order, normalisation, ELU; the stride where channels are added, nowhere else."""
    torch.manual_seed(0)
    net = lived_in(small_net()).double().to(device).eval()
    layers = [m for m in net.modules() if isinstance(m, BReGLayer)]
    assert [(m.conv0.in_channels, m.conv1.out_channels, m.stride) for m in layers] == [
        (4, 4, 1), (4, 4, 1), (4, 6, 2), (6, 6, 1), (6, 6, 1), (6, 10, 2)]
    assert [m.same for m in layers] == [False, False, True, False, False, True]
    assert not any(m.same for m in small_net(same=False).modules() if isinstance(m, BReGLayer))
    x = torch.randn(2, 3, 12, 9, dtype=torch.float64, device=device)
    y = torch.nn.functional.conv2d(x, net.conv0.weight, net.conv0.bias, padding=1)
    for layer in layers:
        y = layer(y)
    y = torch.nn.functional.batch_norm(y, net.norm.running_mean, net.norm.running_var, net.norm.weight, net.norm.bias)
    assert torch.allclose(net(x), torch.where(y > 0, y, y.exp() - 1), atol=1e-12)


def test_initial_weights(device):
    """Uniform: conv0 within 1/√27, the layers' within √(6/(9·32)), √(6/(9·64)); biases within 1/√fan_in; a and c 1."""
    torch.manual_seed(0)
    net = BReGNeXt(((1, 32), (1, 64))).to(device)
    wide = net.stages.stage2[0]
    for conv, most in ((net.conv0, 27 ** -.5), (wide.conv0, (6 / (9 * 32)) ** .5), (wide.conv1, (6 / (9 * 64)) ** .5)):
        assert .97 * most < conv.weight.abs().max().item() <= most
        assert conv.weight.std().item() == pytest.approx(most / 3 ** .5, rel=.05)
        assert 0 < conv.bias.abs().max().item() <= conv.weight[0].numel() ** -.5
    state = net.state_dict()
    assert all((t == 1).all() for n, t in state.items() if n.endswith((".a", ".c", "var")) or "norm" in n and n.endswith("weight"))
    assert all((t == 0).all() for n, t in state.items() if "norm" in n and n.endswith(("bias", "mean")))


# ---- gradients, and how it runs

@pytest.mark.parametrize("same", [True, False])
def test_gradient_is_the_slope_of_the_loss(same, device):
    """In float64 and in training mode, where normalisations differentiate through the batch."""
    torch.manual_seed(0)
    net = lived_in(BReGLayer(2, 4, 2, same)).double().to(device).train()
    x = torch.randn(2, 2, 4, 3, dtype=torch.float64, device=device, requires_grad=True)
    assert torch.autograd.gradcheck(net, (x,))


def test_gradient_reaches_every_parameter(device):
    """Biases in front of a normalisation have none while it trains; in eval mode all have."""
    torch.manual_seed(0)
    net = small_net().to(device).eval()
    net(torch.rand(5, 3, 16, 16, device=device)).square().sum().backward()
    assert [name for name, p in net.named_parameters() if p.grad is None or p.grad.eq(0).all()] == []


def test_a_batch_of_one_gives_what_it_gives_among_others(device):
    net = lived_in(small_net()).double().to(device).eval()
    x = torch.rand(3, 3, 17, 20, dtype=torch.float64, device=device)
    assert torch.allclose(net(x[1:2]), net(x)[1:2], atol=1e-12)


def test_compiles_as_one_graph_and_exports(device):
    net = lived_in(small_net()).to(device).eval()
    x = torch.rand(2, 3, 20, 17, device=device)
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
    x = torch.rand(4, 3, 24, 24, device=device)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        net(x).float().square().mean().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters())
    net.eval()
    with torch.no_grad(), torch.autocast(device.type, dtype=torch.bfloat16):
        half = net(x).float()
    with torch.no_grad():
        full = net(x)
    assert 0 < (half - full).norm() / full.norm() < 0.05                     # bfloat16 did run, and came close
