"""A batch varied at once: mirrored, seen larger or smaller, turned, coloured; each sample by its own draws."""
import colorsys
import math

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from refnet.data.augmentation import coloured, draws, turned, zoom


def close(a, b):
    assert_close(a, b, rtol=1e-5, atol=1e-5)


def exact(a, b):
    assert_close(a, b, rtol=0, atol=0)


def pictures(device, *shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)).to(device)


def flags(device, *values):
    return tensor(values, dtype=torch.bool, device=device)


# ---- slow twins, a sample, a channel, a pixel at a time

def zoom_twin(x, mirror, scale):
    """Pixel (i, j), its centre counted from the picture's, comes from 1/scale as far; four neighbours, those outside moved in."""
    out = torch.empty_like(x)
    for b, c, i, j in torch.cartesian_prod(*map(torch.arange, x.shape)).tolist():
        H, W = x.shape[2:]
        r = (i - (H - 1) / 2) / scale[b].item() + (H - 1) / 2
        s = (j - (W - 1) / 2) / scale[b].item() + (W - 1) / 2
        total = 0.
        for p in (math.floor(r), math.floor(r) + 1):
            for q in (math.floor(s), math.floor(s) + 1):
                y, z = min(max(p, 0), H - 1), min(max(q, 0), W - 1)
                total += (1 - abs(r - p)) * (1 - abs(s - q)) * x[b, c, y, W - 1 - z if mirror[b] else z].item()
        out[b, c, i, j] = total
    return out


def turned_twin(x, mirror, degrees):
    """Pixel (i, j), r right of the centre and u above it, comes from where turning it back, clockwise, leads; outside: black."""
    out = torch.zeros_like(x)
    for b, c, i, j in torch.cartesian_prod(*map(torch.arange, x.shape)).tolist():
        H, W = x.shape[2:]
        r, u, t = j - (W - 1) / 2, (H - 1) / 2 - i, -math.radians(degrees[b].item())
        row, col = (H - 1) / 2 - (r * math.sin(t) + u * math.cos(t)), (W - 1) / 2 + (r * math.cos(t) - u * math.sin(t))
        for p in (math.floor(row), math.floor(row) + 1):
            for q in (math.floor(col), math.floor(col) + 1):
                if 0 <= p < H and 0 <= q < W:
                    out[b, c, i, j] += (1 - abs(row - p)) * (1 - abs(col - q)) * x[b, c, p, W - 1 - q if mirror[b] else q].item()
    return out


def hue_twin(x, hue):
    """Python's own colorsys, a pixel at a time."""
    out = torch.empty_like(x)
    for b, i, j in torch.cartesian_prod(*map(torch.arange, (x.shape[0], *x.shape[2:]))).tolist():
        h, s, v = colorsys.rgb_to_hsv(*x[b, :, i, j].tolist())
        out[b, :, i, j] = tensor(colorsys.hsv_to_rgb((h + hue[b].item()) % 1, s, v))
    return out


def coloured_twin(x, factors):
    """The three mixtures, with black, with the mean grey, with the own grey; cut to [0, 1] after each."""
    out = x.double().clone()
    for b in range(len(x)):
        f, C = factors[b].tolist(), lambda v: min(max(v, 0.), 1.)
        H, W = x.shape[2:]
        grey = [[0.] * W for _ in range(H)]
        for step in range(3):
            for i in range(H):
                for j in range(W):
                    grey[i][j] = 0.299 * out[b, 0, i, j].item() + 0.587 * out[b, 1, i, j].item() + 0.114 * out[b, 2, i, j].item()
            mean = sum(map(sum, grey)) / (H * W)
            for i in range(H):
                for j in range(W):
                    other = (0., mean, grey[i][j])[step]
                    for c in range(3):
                        out[b, c, i, j] = C(f[step] * out[b, c, i, j].item() + (1 - f[step]) * other)
    return out.float()


# ---- zoom

def test_zoom_of_two_by_hand(device):
    """One row 0, 4, 8, 12, seen twice as large: centres −1½, −½, ½, 1½ come from −¾, −¼, ¼, ¾, so from columns ¾, 1¼, 1¾, 2¼.

    3, 5, 7, 9. Half as large: columns −1½, ½, 2½, 4½; outside, the border: 0, 2, 10, 12. Mirrored: the same, from the other side.
    """
    row = tensor([0., 4., 8., 12.], device=device).expand(3, 1, 4, 4)
    got = zoom(row, flags(device, False, False, True), tensor([2., .5, 2.], device=device))
    for b, wanted in enumerate(([3., 5., 7., 9.], [0., 2., 10., 12.], [9., 7., 5., 3.])):
        close(got[b, 0], tensor(wanted, device=device).expand(4, 4))
    got = zoom(row.mT, flags(device, False, False, True), tensor([2., .5, 2.], device=device))     # columns: mirroring changes none
    for b, wanted in enumerate(([3., 5., 7., 9.], [0., 2., 10., 12.], [3., 5., 7., 9.])):
        close(got[b, 0], tensor(wanted, device=device)[:, None].expand(4, 4))


def test_zoom_against_loops(device):
    """Five pictures, 2 channels, 4 × 7: mirrored or not, larger, smaller, as they are."""
    x, mirror = pictures(device, 5, 2, 4, 7), flags(device, True, False, True, False, True)
    scale = tensor([1.3, .8, 1., 2.7, .4], device=device)
    got = zoom(x, mirror, scale)
    assert got.shape == x.shape and got.dtype == x.dtype and got.device == x.device
    close(got.cpu(), zoom_twin(x.cpu(), mirror.tolist(), scale.cpu()))


@pytest.mark.parametrize("side", [7, 48, 112])
def test_zoom_by_one_changes_no_bit(side, device):
    """Scale 1 is the picture or its mirror image, exactly, also beside one that is zoomed."""
    x = pictures(device, 3, 3, side, side + 2)
    got = zoom(x, flags(device, False, True, False), tensor([1., 1., 1.1], device=device))
    exact(got[0], x[0])
    exact(got[1], x[1].flip(-1))
    assert (got[2] - x[2]).abs().max() > .1


def test_zoom_refuses_other_lengths(device):
    with pytest.raises(ValueError, match=r"2 pictures need mirror and scale of \(2,\); got \(2,\) and \(1,\)"):
        zoom(pictures(device, 2, 3, 4, 4), flags(device, True, True), torch.ones(1, device=device))


# ---- turned

def test_a_quarter_turn_is_torchs_own(device):
    """90°, counter-clockwise as one sees it: the top row becomes the left column. Also 180°, −90°; mirrored before, not after."""
    x = pictures(device, 1, 3, 9, 9).expand(6, 3, 9, 9)
    got = turned(x, flags(device, False, False, False, True, True, True), tensor([90., 180., -90., 90., 0., -90.], device=device))
    for b, k in enumerate((1, 2, 3)):
        close(got[b], x[b].rot90(k, (-2, -1)))
    close(got[3], x[3].flip(-1).rot90(1, (-2, -1)))
    exact(got[4], x[4].flip(-1))
    close(got[5], x[5].flip(-1).rot90(3, (-2, -1)))
    close(got[0, :, :, 0], x[0, :, 0].flip(-1))                                        # the top row, its right end on top


def test_turned_by_45_degrees_by_hand(device):
    """Of 3 × 3 only the place above the centre is lit; counter-clockwise, its light goes up-left.

    The corner up-left comes from √2 above the centre, 0.41421 outside: 0.58579 of the light.
    The place above the centre comes from (√½, √½) right of and above it: (1 − √½)·√½ = 0.20711 of the light.
    The place left of the centre comes from (√½, √½) left of and above it: the same share.
    """
    x = torch.zeros(1, 1, 3, 3, device=device)
    x[0, 0, 0, 1] = 1
    got = turned(x, flags(device, False), tensor([45.], device=device))[0, 0]
    close(got, tensor([[.58579, .20711, 0.], [.20711, 0., 0.], [0., 0., 0.]], device=device))


def test_turned_against_loops(device):
    """Six pictures, 2 channels, 5 × 8: mirrored or not, either way round, as they are."""
    x, mirror = pictures(device, 6, 2, 5, 8), flags(device, True, False, True, False, True, False)
    degrees = tensor([30., -30., 0., 0., 117., 179.], device=device)
    got = turned(x, mirror, degrees)
    assert got.shape == x.shape and got.dtype == x.dtype and got.device == x.device
    close(got.cpu(), turned_twin(x.cpu(), mirror.tolist(), degrees.cpu()))


@pytest.mark.parametrize("side", [7, 48, 112])
def test_turned_by_zero_changes_no_bit(side, device):
    """0° is the picture or its mirror image, exactly, also beside one that is turned."""
    x = pictures(device, 3, 3, side, side + 2)
    got = turned(x, flags(device, False, True, False), tensor([0., -0., 5.], device=device))
    exact(got[0], x[0])
    exact(got[1], x[1].flip(-1))
    assert (got[2] - x[2]).abs().max() > .1


def test_what_turns_in_is_black(device):
    """A white 10 × 10 at 45°: its corners are black, its middle is white."""
    got = turned(torch.ones(1, 3, 10, 10, device=device), flags(device, False), tensor([45.], device=device))[0, 0]
    assert got[0, 0] == got[0, -1] == got[-1, 0] == got[-1, -1] == 0
    close(got[3:7, 3:7], torch.ones(4, 4, device=device))


def test_turned_refuses_other_lengths(device):
    with pytest.raises(ValueError, match=r"2 pictures need mirror and degrees of \(2,\); got \(2,\) and \(1,\)"):
        turned(pictures(device, 2, 3, 4, 4), flags(device, True, True), torch.ones(1, device=device))


# ---- coloured

@pytest.mark.parametrize("factors, wanted", [
    ((2., 1., 1.), ((.4, .8, 1.), (1., 0., .2))), ((1., 2., 1.), ((.069, .469, .669), (1., 0., 0.))),
    ((1., 0., 1.), ((.331,) * 3,) * 2), ((1., 1., 0.), ((.3516,) * 3, (.3104,) * 3)), ((.5, 1., 2.), ((.0242, .2242, .3242), (.8448, 0., 0.)))])
def test_factors_by_hand(factors, wanted, device):
    """Two pixels, p = (0.2, 0.4, 0.5) and q = (1, 0, 0.1).

    Greys: 0.0598 + 0.2348 + 0.057 = 0.3516 and 0.299 + 0 + 0.0114 = 0.3104; their mean 0.331.
    Brightness 2: twice, 2 is cut to 1. Contrast 2: 2p − 0.331, 2q − 0.331, cut. Contrast 0: the mean. Saturation 0: the greys.
    Brightness ½, then saturation 2: 2 · p/2 − 0.3516/2 and 2 · q/2 − 0.3104/2, cut.
    """
    x = tensor([[.2, 1.], [.4, 0.], [.5, .1]], device=device)[None, :, None]           # (1, 3, 1, 2)
    got = coloured(x, tensor([factors], device=device))
    close(got[0, :, 0].T, tensor(wanted, device=device))


def test_colours_against_loops(device):
    """Four pictures of 5 × 3, factors from 0 to 3: many a pixel is cut at 0 and at 1."""
    x, factors = pictures(device, 4, 3, 5, 3), 3 * pictures(device, 4, 3, seed=1)
    got = coloured(x, factors)
    assert (got == 0).any() and (got == 1).any()
    close(got.cpu(), coloured_twin(x.cpu(), factors.cpu()))


def test_factors_of_one_change_no_bit(device):
    """A picture with factors 1, 1, 1 comes out as it is, beside one that does not."""
    x = pictures(device, 2, 3, 9, 8)
    got = coloured(x, tensor([[1., 1., 1.], [1., 1., 1.2]], device=device))
    exact(got[0], x[0])
    assert (got[1] - x[1]).abs().max() > .01


def test_factors_of_zero(device):
    """Brightness 0 is black; contrast 0 the picture's own mean grey everywhere; saturation 0 three equal channels."""
    x = pictures(device, 3, 3, 4, 5)
    got = coloured(x, tensor([[0., 1., 1.], [1., 0., 1.], [1., 1., 0.]], device=device))
    exact(got[0], torch.zeros_like(x[0]))
    mean = (.299 * x[1, 0] + .587 * x[1, 1] + .114 * x[1, 2]).mean()
    close(got[1], mean.expand(3, 4, 5))
    close(got[2], (.299 * x[2, 0] + .587 * x[2, 1] + .114 * x[2, 2]).expand(3, 4, 5))


def test_colours_refuse_other_shapes(device):
    for x, factors in (((2, 1, 4, 4), (2, 3)), ((2, 3, 4, 4), (3, 3)), ((3, 4, 4), (3, 3)), ((2, 3, 4, 4), (2, 5))):
        with pytest.raises(ValueError, match="need factors"):
            coloured(torch.zeros(x, device=device), torch.ones(factors, device=device))
    with pytest.raises(ValueError, match=r"hue \(B,\) or None; got \(2, 3, 4, 4\), \(2, 3\) and \(1,\)"):
        coloured(torch.zeros(2, 3, 4, 4, device=device), torch.ones(2, 3, device=device), torch.zeros(1, device=device))


# ---- the hue

@pytest.mark.parametrize("hue, wanted", [
    (1 / 3, ((0., 1., 0.), (.2, 1., .4), (0., 1., .6))), (-1 / 3, ((0., 0., 1.), (.4, .2, 1.), (.6, 0., 1.))),
    (.5, ((0., 1., 1.), (.2, .8, 1.), (0., .4, 1.))), (-.5, ((0., 1., 1.), (.2, .8, 1.), (0., .4, 1.)))])
def test_hues_by_hand(hue, wanted, device):
    """Red; (1, 0.4, 0.2), 15° of 360°; (1, 0.6, 0), 36°. A third of the circle carries red to green, green to blue, blue to red:

    it takes (r, g, b) to (b, r, g). Half of it takes red to cyan, and every channel to where it lies from the other end:
    most + least less it, which are 1.2 − r, 1.2 − g, 1.2 − b for the second and 1 − r, 1 − g, 1 − b for the third.
    """
    x = tensor([[1., 1., 1.], [0., .4, .6], [0., .2, 0.]], device=device)[None, :, None]        # (1, 3, 1, 3)
    got = coloured(x, torch.ones(1, 3, device=device), tensor([hue], device=device))
    close(got[0, :, 0].T, tensor(wanted, device=device))


def test_hues_against_python(device):
    """Seven pictures of 9 × 5, some pixels grey or with two equal channels, by all of the circle, either way."""
    x = pictures(device, 7, 3, 9, 5)
    x[:, :, 0] = (3 * x[:, :, 0]).floor() / 2                                          # ties, greys, black and white
    hue = tensor([-.5, -.3, -.01, 0., .2, .4, .5], device=device)
    got = coloured(x, torch.ones(7, 3, device=device), hue)
    assert got.shape == x.shape and got.dtype == x.dtype and 0 <= got.min() and got.max() <= 1
    close(got.cpu(), hue_twin(x.cpu(), hue.cpu()))


def test_a_hue_of_zero_changes_no_bit(device):
    """Beside one that is turned; and None is 0 for all."""
    x, factors = pictures(device, 3, 3, 9, 8), 1 + pictures(device, 3, 3, seed=1) / 4
    factors[0] = 1
    got = coloured(x, factors, tensor([0., -0., .1], device=device))
    exact(got[0], x[0])
    exact(got[1], coloured(x, factors)[1])
    assert (got[2] - coloured(x, factors)[2]).abs().max() > .05


def test_grey_has_no_hue(device):
    """Grey, black and white stay as they are, to the bit."""
    x = torch.linspace(0, 1, 20, device=device).expand(2, 3, 2, 20)
    exact(coloured(x, torch.ones(2, 3, device=device), tensor([.5, -.13], device=device)), x)


def test_the_hue_comes_last(device):
    """Brightness 2 cuts (0.6, 0.3, 0) to (1, 0.6, 0), which a third turns to (0, 1, 0.6); turned first it would keep 0.6 : 0.3."""
    x = tensor([.6, .3, 0.], device=device)[None, :, None, None]
    got = coloured(x, tensor([[2., 1., 1.]], device=device), tensor([1 / 3], device=device))
    close(got.flatten(), tensor([0., 1., .6], device=device))
    grey = coloured(x, tensor([[1., 1., 0.]], device=device), tensor([1 / 3], device=device))     # 0.299·0.6 + 0.587·0.3
    close(grey.flatten(), torch.full((3,), .3555, device=device))


# ---- both

def test_a_sample_does_not_depend_on_its_neighbours(device):
    """Alone, in the batch, in the batch backwards: the same picture."""
    x = pictures(device, 6, 3, 11, 10)
    how = torch.stack([draws(torch.Generator().manual_seed(k), True, .3, .5, 40., .2) for k in range(6)]).to(device)      # (6, 7)

    def varied(x, how):
        return turned(zoom(coloured(x, how[:, 2:5], how[:, 6]), how[:, 0] > 0, how[:, 1]), how[:, 0] > 0, how[:, 5])

    together, backwards = varied(x, how), varied(x.flip(0), how.flip(0)).flip(0)
    close(backwards, together)
    for k in range(6):
        close(varied(x[k:k + 1], how[k:k + 1])[0], together[k])


# ---- draws

def test_draws_lie_where_they_should():
    """4000 samples: mirrored half of them; scale in 1 ± 0.2, factors in 1 ± 0.4, ± 30°, hue in ± 0.1.

    Each reaches both ends, and is the middle on average.
    The mean of 4000 uniform numbers of width w strays by w/√(12·4000): 0.0046 of w; five times that are allowed.
    """
    rng = torch.Generator().manual_seed(0)
    how = torch.stack([draws(rng, True, .2, .4, 30., .1) for _ in range(4000)])         # (4000, 7)
    assert how.shape == (4000, 7) and how.dtype == torch.float32
    assert set(how[:, 0].tolist()) == {0., 1.} and abs(how[:, 0].mean() - .5) < .04
    for column, middle, most in zip(how[:, 1:].T, (1, 1, 1, 1, 0, 0), (.2, .4, .4, .4, 30., .1), strict=True):
        assert middle - most <= column.min() < middle - .98 * most and middle + .98 * most < column.max() <= middle + most
        assert abs(column.mean() - middle) < most / 20
    assert torch.corrcoef(how.T).fill_diagonal_(0).abs().max() < .08                    # seven numbers of their own


def test_draws_take_seven_numbers_whatever_the_settings():
    """What a generator says afterwards is the same; a setting of 0 changes nothing, and leaves the other columns as they are."""
    all_on = draws(torch.Generator().manual_seed(3), True, .2, .4, 30., .1)
    after = set()
    on = (True, .2, .4, 30., .1)
    for off in ((), (0,), (1,), (2,), (3,), (4,), (0, 1, 2, 3, 4)):
        flip, scale, jitter, turn, hue = (type(value)(0) if k in off else value for k, value in enumerate(on))
        rng = torch.Generator().manual_seed(3)
        how = draws(rng, flip, scale, jitter, turn, hue)
        after.add(torch.rand((), generator=rng).item())
        wanted = [all_on[0].item() * flip, *(all_on[1:2].tolist() if scale else [1.]),
                  *(all_on[2:5].tolist() if jitter else [1.] * 3), all_on[5].item() if turn else 0., all_on[6].item() if hue else 0.]
        assert how.tolist() == wanted
    rng = torch.Generator().manual_seed(3)
    torch.rand(5, generator=rng)
    torch.rand(2, generator=rng)
    assert after == {torch.rand((), generator=rng).item()}
    exact(draws(torch.Generator().manual_seed(3), True, .2, .4), torch.cat([all_on[:5], torch.zeros(2)]))


def test_the_first_five_draws_are_of_the_first_five_numbers():
    """Mirrored where u₁ < ½, then 1 + width · (2u − 1). Then come two numbers more: 30° · (2v − 1), 0.1 · (2v − 1)."""
    for seed in range(9):
        rng = torch.Generator().manual_seed(seed)
        u, v = torch.rand(5, generator=rng), torch.rand(2, generator=rng)
        how = draws(torch.Generator().manual_seed(seed), True, .2, .4, 30., .1)
        exact(how[:5], torch.cat([(u[:1] < .5).float(), 1 + tensor([.2, .4, .4, .4]) * (2 * u[1:] - 1)]))
        exact(how[5:], tensor([30., .1]) * (2 * v - 1))


def test_draws_refuse_what_turns_a_picture_inside_out():
    """Scale 1 would see a picture at 0; a jitter of 3 is taken, and no factor is below 0."""
    for scale, jitter in ((1., 0.), (-.1, 0.), (0., -.1)):
        with pytest.raises(ValueError, match="scale lies in"):
            draws(torch.Generator(), True, scale, jitter)
    how = torch.stack([draws(torch.Generator().manual_seed(k), True, 0., 3.) for k in range(50)])
    assert how[:, 2:5].min() == 0 and how.max() > 3
    for turn, hue in ((-1., 0.), (181., 0.), (0., .51), (0., -.1)):
        with pytest.raises(ValueError, match=r"turn lies in \[0, 180\] degrees and hue"):
            draws(torch.Generator(), True, 0., 0., turn, hue)
