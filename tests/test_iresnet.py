"""InsightFace's IResNet and the loading of published weights. Counts: PAPERS.md's table, measured on the published code's layout."""
import numpy as np
import pytest
import torch

from refnet.backbones.iresnet import LAYOUTS, IBasicBlock, IResNet, area_overlap, fit_fc, normalise
from refnet.backbones.weights import WeightsError, load_weights
from refnet.data.weight_files import read_state_dict

PUBLISHED = ["conv1.weight", "bn1.running_var", "bn1.num_batches_tracked", "prelu.weight", "layer1.0.bn1.weight", "layer1.0.conv1.weight",
             "layer1.0.bn2.bias", "layer1.0.prelu.weight", "layer1.0.conv2.weight", "layer1.0.bn3.running_mean",
             "layer1.0.downsample.0.weight", "layer1.0.downsample.1.running_var", "layer3.13.conv2.weight", "layer4.2.bn3.bias",
             "bn2.weight", "fc.weight", "fc.bias", "features.weight", "features.bias", "features.running_mean"]


def small(size=112, blocks=4, **more):
    return IResNet((1, 2, 1, 1), (4, 6, 8, 10), size, d=5, blocks=blocks, **more)


def lived_in(model, seed=0):
    """The model with normalisations and slopes as after training: nothing is 0 or 1 any more, so nothing can be forgotten unseen."""
    g = torch.Generator().manual_seed(seed)
    for name, t in model.state_dict().items():
        if t.ndim == 1:
            t.copy_(torch.rand(t.shape, generator=g) + 0.5)
    return model


def count(model, trainable=False):
    return sum(p.numel() for p in model.parameters() if p.requires_grad or not trainable)


@pytest.fixture(scope="module")
def iresnet50():
    with torch.device("meta"):
        return IResNet(LAYOUTS["iresnet50"])


# ---- the layout

def test_iresnet50_has_the_published_parameters_part_by_part(iresnet50):
    assert count(iresnet50) == 43_590_848
    assert count(iresnet50, trainable=True) == 43_590_336                    # features.weight, 512 ones, is frozen
    assert [count(getattr(iresnet50, f"layer{n}")) for n in (1, 2, 3, 4)] == [226_752, 1_117_824, 16_278_272, 13_118_464]
    assert count(iresnet50) - count(iresnet50.fc) - count(iresnet50.features) == 30_744_256
    assert count(iresnet50.fc) == 12_845_568


@pytest.mark.parametrize("name, total", [("iresnet18", 24_025_600), ("iresnet34", 34_139_328), ("iresnet100", 65_156_160)])
def test_other_depths_have_the_published_parameters(name, total):
    with torch.device("meta"):
        assert count(IResNet(LAYOUTS[name])) == total


def test_parameters_at_96_px_and_of_the_relation_trunk():
    """arpgnet (§3.2, §3.3) at 96 px: the whole network with a 6 × 6 fc, and stem to layer3."""
    with torch.device("meta"):
        assert count(IResNet(size=96)) == 40_182_976
        assert count(IResNet(size=96, blocks=3)) == 17_624_768
        assert count(IResNet(features_norm=False)) == 43_590_848 - 2 * 512


def test_names_are_the_published_ones(iresnet50):
    names = iresnet50.state_dict().keys()
    assert [n for n in PUBLISHED if n not in names] == []
    assert "layer1.1.downsample.0.weight" not in names and not any(n.startswith("dropout") for n in names)
    with torch.device("meta"):
        trunk = IResNet(blocks=3).state_dict().keys()
    assert {n.split(".")[0] for n in trunk} == {"conv1", "bn1", "prelu", "layer1", "layer2", "layer3"}


@pytest.mark.parametrize("H, W, sizes", [
    (96, 96, [(48, 48), (24, 24), (12, 12), (6, 6)]), (112, 112, [(56, 56), (28, 28), (14, 14), (7, 7)]),
    (37, 50, [(19, 25), (10, 13), (5, 7), (3, 4)]), (1, 17, [(1, 9), (1, 5), (1, 3), (1, 2)])])
def test_maps_are_halved_rounding_up(H, W, sizes, device):
    maps = small().to(device).eval().maps(torch.rand(2, 3, H, W, device=device))
    assert [tuple(m.shape) for m in maps] == [(2, c, *s) for c, s in zip((4, 6, 8, 10), sizes)]


def test_forward_is_the_embedding_or_the_last_kept_map(device):
    x = torch.rand(1, 3, 37, 37, device=device)
    whole = lived_in(small(size=37)).to(device).eval()
    assert whole(x).shape == (1, 5) and torch.equal(whole(x), whole.embed(whole.maps(x)[-1]))
    trunk = small(blocks=3).to(device).eval()
    load_weights(trunk, whole.state_dict())
    assert trunk.channels == 8 and torch.equal(trunk(x), whole.maps(x)[2])


def test_wrong_sizes_are_refused(device):
    with pytest.raises(ValueError, match=r"built for pictures of 112 × 112, a map of 7 × 7; got a map of \(6, 6\)"):
        small().to(device).eval()(torch.rand(1, 3, 96, 96, device=device))
    with pytest.raises(ValueError, match="1 to 4; got 5"):
        IResNet(blocks=5)
    with pytest.raises(ValueError, match="four layers"):
        IResNet((1, 2, 3))


def test_normalise(device):
    x = torch.tensor([0.0, 0.25, 1.0], device=device)
    assert normalise(x).tolist() == [-1.0, -0.5, 1.0]


# ---- the numbers

def bn_by_hand(x, p, name):
    w, b, mean, var = (p[f"{name}.{k}"] for k in ("weight", "bias", "running_mean", "running_var"))
    out = np.empty_like(x)
    for c in range(x.shape[1]):
        out[:, c] = (x[:, c] - mean[c]) / np.sqrt(var[c] + 1e-5) * w[c] + b[c]
    return out


def conv_by_hand(x, w, stride, pad):
    B, C, H, W = x.shape
    O, _, K, _ = w.shape
    h, v = (H + 2 * pad - K) // stride + 1, (W + 2 * pad - K) // stride + 1
    out = np.zeros((B, O, h, v))
    for b, o, i, j, c, k, l in np.ndindex(B, O, h, v, C, K, K):
        row, col = i * stride + k - pad, j * stride + l - pad
        if 0 <= row < H and 0 <= col < W:
            out[b, o, i, j] += w[o, c, k, l] * x[b, c, row, col]
    return out


def prelu_by_hand(x, a):
    out = x.copy()
    for c in range(x.shape[1]):
        out[:, c][x[:, c] < 0] *= a[c]
    return out


@pytest.mark.parametrize("c_in, c_out, stride", [(3, 5, 2), (3, 5, 1), (3, 3, 1), (3, 3, 2)])
def test_block_agrees_with_a_slow_twin(c_in, c_out, stride, device):
    torch.manual_seed(0)
    block = lived_in(IBasicBlock(c_in, c_out, stride)).double().eval()
    p = {name: t.numpy().copy() for name, t in block.state_dict().items()}
    x = torch.randn(2, c_in, 7, 6, dtype=torch.float64)
    y = conv_by_hand(bn_by_hand(x.numpy(), p, "bn1"), p["conv1.weight"], 1, 1)
    y = prelu_by_hand(bn_by_hand(y, p, "bn2"), p["prelu.weight"])
    y = bn_by_hand(conv_by_hand(y, p["conv2.weight"], stride, 1), p, "bn3")
    short = x.numpy()
    if (c_in, stride) != (c_out, 1):
        short = bn_by_hand(conv_by_hand(short, p["downsample.0.weight"], stride, 0), p, "downsample.1")
    got = block.to(device)(x.to(device)).detach().cpu().numpy()
    assert got.shape == (2, c_out, -(-7 // stride), -(-6 // stride))
    assert np.abs(got - (y + short)).max() < 1e-12


def test_the_tail_by_hand(device):
    """arpgnet (§3.2) Reading: one layer-4 map of 2 channels and one cell: bn2, fc, features with numbers one can follow.

    map (3, 5); bn2 with mean (1, 1), variance 4 - 1e-5, weight (1, 2), bias (0, 1): (1, 5). fc [[1, 1], [2, -1]], bias (0, 1): (6, -2).
    features with mean (2, 2), variance 16 - 1e-5, bias (0, 3): (1, 2); without features: (6, -2).
    """
    for norm, expected in ((True, [1.0, 2.0]), (False, [6.0, -2.0])):
        net = IResNet((1, 1, 1, 1), (1, 1, 1, 2), size=16, d=2, features_norm=norm).eval()
        state = net.state_dict()
        values = {"bn2.running_mean": [1, 1], "bn2.running_var": [4 - 1e-5] * 2, "bn2.weight": [1, 2], "bn2.bias": [0, 1],
                  "fc.weight": [[1, 1], [2, -1]], "fc.bias": [0, 1],
                  "features.running_mean": [2, 2], "features.running_var": [16 - 1e-5] * 2, "features.bias": [0, 3]}
        for name, v in values.items():
            if name in state:
                state[name].copy_(torch.tensor(v))
        net.maps = lambda x: (torch.tensor([[[[3.0]], [[5.0]]]], device=device),)
        got = net.to(device)(torch.zeros(1, 3, 16, 16, device=device))
        assert got[0].tolist() == pytest.approx(expected, abs=1e-5)


def test_initial_weights_are_torchs_kaiming(device):
    """arpgnet (§4.2.2): uniform within 1/√fan_in: fan-in of layer4.0.conv1 is 32·9 = 288, the fc's 64·49 = 3136.

    Reading: Kaiming's normal draw with the gain of PReLU and fan-out would give the convolution a deviation of
    √(2 / (1.0625 · 576)) = 0.057, against 1/√(3 · 288) = 0.034 here, and no bound.
    """
    torch.manual_seed(0)
    net = IResNet((1, 1, 1, 1), (8, 16, 32, 64), d=32).to(device)
    for weight, fan_in in ((net.layer4[0].conv1.weight.detach(), 288), (net.fc.weight.detach(), 3136)):
        assert weight.std().item() == pytest.approx((3 * fan_in) ** -0.5, rel=0.02)
        assert 0.99 * fan_in ** -0.5 < weight.abs().max().item() <= fan_in ** -0.5
    assert net.prelu.weight.eq(0.25).all() and net.fc.bias.eq(0).all() and net.features.weight.eq(1).all()
    assert net.bn2.weight.eq(1).all() and net.bn2.bias.eq(0).all()


def test_gradient_reaches_every_parameter_but_the_frozen_scale(device):
    """In eval: in training, a bias in front of a normalisation has no effect, and rightly no gradient."""
    torch.manual_seed(0)
    net = lived_in(small(size=37)).to(device).eval()
    for name, t in net.state_dict().items():
        if name.endswith("bias"):
            t.sub_(1)                                                        # so that every slope meets numbers below 0
    net(torch.randn(11, 3, 37, 37, device=device)).square().sum().backward()
    without = [name for name, p in net.named_parameters() if p.grad is None or p.grad.eq(0).any()]
    assert without == ["features.weight"] and not net.features.weight.requires_grad


def test_gradient_is_the_slope_of_the_loss(device):
    """In float64 and in training mode, where normalisations differentiate through the batch."""
    torch.manual_seed(0)
    block = lived_in(IBasicBlock(2, 3, 2)).double().to(device).train()
    x = torch.randn(2, 2, 5, 3, dtype=torch.float64, device=device, requires_grad=True)
    assert torch.autograd.gradcheck(block, (x,))


# ---- how it runs

@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_compiles_as_one_graph(backend, device):
    net = lived_in(small(size=37)).to(device).eval()
    x = torch.rand(2, 3, 37, 37, device=device)
    torch._dynamo.reset()
    got = torch.compile(net, fullgraph=True, backend=backend)(x)
    assert torch.allclose(got, net(x), atol=1e-5)


@pytest.mark.parametrize("blocks", [3, 4])
def test_runs_under_bfloat16_forward_and_backward(blocks, device):
    torch.manual_seed(0)
    net = lived_in(small(size=37, blocks=blocks)).to(device)
    x = torch.rand(3, 3, 37, 37, device=device)
    with torch.autocast(device.type, dtype=torch.bfloat16):
        net(x).float().square().mean().backward()
    assert all(p.grad.isfinite().all() for p in net.parameters() if p.requires_grad)
    net.eval()
    with torch.no_grad(), torch.autocast(device.type, dtype=torch.bfloat16):
        half = net(x).float()
    with torch.no_grad():
        full = net(x)
    assert 0 < (half - full).norm() / full.norm() < 0.05                     # bfloat16 did run, and came close


def test_a_batch_of_one_gives_what_it_gives_among_others(device):
    net = lived_in(small(size=37)).double().to(device).eval()
    x = torch.rand(3, 3, 37, 37, dtype=torch.float64, device=device)
    assert torch.allclose(net(x[1:2]), net(x)[1:2], atol=1e-12)


# ---- the fc of 112 px at 96 px

def test_three_cells_shared_out_among_two():
    """Cell 1 goes to the first, cell 3 to the second, the middle one half to each."""
    assert area_overlap(3, 2).tolist() == [[1, 0.5, 0], [0, 0.5, 1]]
    assert area_overlap(2, 3).tolist() == [[pytest.approx(2 / 3), 0], [pytest.approx(1 / 3), pytest.approx(1 / 3)], [0, pytest.approx(2 / 3)]]


def test_fitted_fc_reads_the_resized_map(device):
    """arpgnet (§3.2) Reading: the new fc on a 6 × 6 map is the old one on that map resized to 7 × 7 by area.

    By hand: every cell cut into 7 × 7 pieces gives 42 × 42; the mean of each 6 × 6 pieces gives 7 × 7.
    """
    torch.manual_seed(0)
    old, new = small(112).to(device), small(96).to(device)
    state = {name: t.double() for name, t in old.state_dict().items()}
    before = state["fc.weight"].clone()
    W = fit_fc(state, new)["fc.weight"]
    assert W.shape == (5, 10 * 36) and torch.equal(state["fc.weight"], before)
    y = torch.randn(2, 10, 6, 6, dtype=torch.float64, device=device)
    pieces = y.cpu().numpy().repeat(7, axis=2).repeat(7, axis=3)
    resized = pieces.reshape(2, 10, 7, 6, 7, 6).mean((3, 5)).reshape(2, 490)
    assert np.allclose((y.flatten(1) @ W.mT).cpu().numpy(), resized @ before.mT.cpu().numpy(), atol=1e-12)


def test_fitted_fc_gives_the_same_for_a_constant_map(device):
    old, new = small(112).to(device), small(96).to(device)
    report = load_weights(new, old.state_dict(), fit=fit_fc)
    y = torch.randn(2, 10, 1, 1, device=device)
    assert torch.allclose(new.fc(y.expand(2, 10, 6, 6).flatten(1)), old.fc(y.expand(2, 10, 7, 7).flatten(1)), atol=1e-4)
    assert report.resampled == [("fc.weight", (5, 490), (5, 360))] and "fc.weight" in report.matched
    assert "resampled: fc.weight (5, 490) → (5, 360)" in str(report)


def test_without_fit_the_fc_stays_as_it_was_and_the_report_says_so(device):
    old, new = small(112).to(device), small(96).to(device)
    before = new.fc.weight.clone()
    report = load_weights(new, old.state_dict())
    assert torch.equal(new.fc.weight, before) and torch.equal(new.fc.bias, old.fc.bias)
    assert report.mismatched == [("fc.weight", (5, 490), (5, 360))] and "fc.weight" not in report.matched + report.missing
    assert "left at its initial value: fc.weight is (5, 490) in the file, (5, 360) in the model" in str(report)


def test_fit_leaves_alone_what_it_cannot_fit(device):
    state, trunk = small(112).to(device).state_dict(), small(blocks=3).to(device)
    assert fit_fc(state, trunk) is state                                     # no fc to fit
    assert fit_fc(state, small(112).to(device)) is state                     # fits already
    other = IResNet((1, 1, 1, 1), (4, 6, 8, 12), 96, d=5).to(device)
    assert fit_fc(state, other) is state                                     # 490 is no grid of 12 channels


# ---- loading

def test_what_is_in_the_file_lands_in_the_model(tmp_path, device):
    a, b = lived_in(small(37)).to(device).eval(), small(37).to(device).eval()
    x = torch.rand(2, 3, 37, 37, device=device)
    for i, saved in enumerate((a.state_dict(), {"state_dict": a.state_dict(), "epoch": 3}, {"model": a.state_dict()})):
        b.reset()
        assert not torch.equal(a(x), b(x))
        torch.save(saved, tmp_path / f"{i}.pt")
        report = load_weights(b, read_state_dict(tmp_path / f"{i}.pt"))
        assert torch.equal(a(x), b(x)) and len(report.matched) == len(b.state_dict())
        assert str(report) == f"weights: {len(report.matched)} of the model's {len(report.matched)} tensors loaded"


def test_a_whole_network_loads_into_the_trunk(device):
    report = load_weights(small(blocks=3).to(device), small().to(device).state_dict())
    assert {name.split(".")[0] for name in report.unused} == {"layer4", "bn2", "fc", "features"} and not report.missing
    assert "in the file, not in the model, unused: layer4 (24), bn2 (5), fc (2), features (5)" in str(report)


def test_prefix_goes_only_where_every_name_has_it(device):
    net, state = small().to(device), small().to(device).state_dict()
    every = {f"module.{name}": t for name, t in state.items()}
    assert load_weights(net, every).unused == []
    some = {name if name == "fc.bias" else f"module.{name}": t for name, t in state.items()}
    report = load_weights(net, some, needed=0)
    assert report.matched == ["fc.bias"] and "module.fc.weight" in report.unused and "fc.weight" in report.missing


def test_a_load_that_matches_little_is_refused_and_changes_nothing(device):
    net = small().to(device)
    before = {name: t.clone() for name, t in net.state_dict().items()}
    state = lived_in(small()).to(device).state_dict()
    names = list(state)
    half = {name if i < len(names) / 2 else f"other.{name}": t for i, (name, t) in enumerate(state.items())}
    less = {name if i < len(names) / 2 - 1 else f"other.{name}": t for i, (name, t) in enumerate(state.items())}
    with pytest.raises(WeightsError, match=rf"^face\.pt: only \d+ of the model's {len(names)} tensors") as e:
        load_weights(net, less, source="face.pt")
    first = [name.removeprefix("other.") for name in less if name.startswith("other.")][0]
    assert f"Only the model has {first}, " in e.value.reason and f"only the file has other.{first}, " in e.value.reason
    assert all(torch.equal(t, before[name]) for name, t in net.state_dict().items())
    assert len(load_weights(net, half).matched) == (len(names) + 1) // 2
    assert load_weights(net, state, needed=1).matched == names               # exactly enough is enough
    wide = IResNet((1, 2, 1, 1), (3, 6, 8, 10)).to(device).state_dict()
    with pytest.raises(WeightsError, match=r"of another shape: conv1\.weight \(3, 3, 3, 3\) there, \(4, 3, 3, 3\) here"):
        load_weights(net, wide, needed=0.9)
    with pytest.raises(WeightsError, match="only 0 of"):
        load_weights(net, {})


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_numbers_that_are_not_finite_are_refused(bad, device):
    net, state = small().to(device), small().to(device).state_dict()
    state = {name: t.clone() for name, t in state.items()}
    state["layer2.1.bn2.bias"][3] = bad
    with pytest.raises(WeightsError, match="not every number is finite, in layer2.1.bn2.bias"):
        load_weights(net, state)
    assert all(t.isfinite().all() for t in net.state_dict().values())


def damaged(kind, path):
    if kind == "folder":
        path.mkdir()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "text":
        path.write_text("epoch 1: loss 0.7\n")
    elif kind == "page":
        path.write_text("<!DOCTYPE html><html>Sign in</html>")
    elif kind == "pointer":
        path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:1f\nsize 174\n")
    elif kind == "cut":
        torch.save({"a": torch.zeros(1000)}, path)
        path.write_bytes(path.read_bytes()[:2000])
    elif kind == "cut, old format":
        torch.save({"a": torch.zeros(1000)}, path, _use_new_zipfile_serialization=False)
        path.write_bytes(path.read_bytes()[:2000])
    elif kind == "object":
        torch.save({"state_dict": {"a": torch.zeros(3)}, "best": np.float64(0.5)}, path)
    elif kind == "list":
        torch.save([torch.zeros(3)], path)
    elif kind == "numbers":
        torch.save({"epoch": 3, "a": torch.zeros(3)}, path)
    elif kind == "safetensors":
        path.write_bytes((40).to_bytes(8, "little") + b'{"a":{"dtype":"F32"}}')


@pytest.mark.parametrize("kind, words", [
    ("missing", "no such file"), ("folder", "a folder"), ("empty", "is empty"), ("text", "not a file that torch.save wrote"), ("page", "web page"),
    ("cut", "cut short"), ("pointer", "git lfs pull"), ("cut, old format", "cut short"), ("object", "Python object"), ("list", "found list"),
    ("numbers", "these are not: epoch"), ("safetensors", "safetensors")])
def test_a_file_that_holds_no_weights_is_refused_in_words(kind, words, tmp_path):
    path = tmp_path / "backbone.pth"
    damaged(kind, path)
    with pytest.raises(WeightsError, match=words) as e:
        read_state_dict(path)
    assert e.value.path == path and str(e.value).startswith(f"{path}: ") and len(e.value.hint) > 10 and "weights_only" not in str(e.value)
