"""From a micro-expression to its graphs: registration, frames, landmarks, patches, what is kept; and where clips come from."""
import math
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import tensor
from torch.testing import assert_close

from refnet.data import drawn_clips, micro_graphs
from refnet.data.micro import Filmed, Given, MicroClip, between, filmed
from refnet.data.micro_graphs import Graphs, Pipeline, faces, graphs_of, kept, place
from refnet.data.samples import DataError
from refnet.flow.eulerian import magnify
from refnet.flow.farneback import farneback_sequence
from refnet.flow.intensity import flow_intensity, flow_magnitude, high_intensity, landmark_patches, three_frames
from refnet.flow.pyramid import grey
from refnet.pictures import Clip

S = 64
HOW = Pipeline(size=S, register="off", margin=.25, lambda_c=4., low=0., high=math.inf, pyr_scale=.5, levels=0, winsize=9,
               iterations=1, poly_n=5, poly_sigma=1.2, reference="first", smooth=1, threshold=0., graphs="one", follow="given",
               gain=1., whole=False, patch=10)
FIELDS = Graphs._fields


class Painted:
    """A source from tensors: video uint8 (T, 3, H, W), landmarks (T, 51, 2)."""

    def __init__(self, video, rows, name="painted"):
        self.video, self.rows, self.name = video, rows, name

    def __len__(self):
        return len(self.video)

    def read(self, indices, size=None):
        return self.video[indices]

    def points(self):
        return self.rows

    def digest(self):
        return self.name


@pytest.fixture(autouse=True)
def nothing_in_memory():
    kept.cache_clear()
    micro_graphs.digest.cache_clear()


def spots(size=S):
    """51 landmarks in the middle of a square picture, on no line: (51, 2)"""
    k = torch.arange(51)
    return size * torch.stack([.3 + .4 * (k % 7) / 6, .3 + .4 * (k // 7) / 7], 1)


def painting(z):
    """A smooth picture wherever one looks: complex (*) → uint8 (3, *)"""
    x, y = z.real, z.imag
    waves = torch.stack([torch.sin(.23 * x + .1 * y), torch.cos(.21 * y - .12 * x), torch.sin(.17 * (x + y))])
    return (127.5 + 70 * waves + 50 * torch.cos(.09 * x - .14 * y)).clamp(0, 255).round().to(torch.uint8)


def moved(T=4, size=S, turn=.02, grow=.01, shift=1.5 - 1j):
    """One picture and its landmarks, in frame t turned by t · turn, grown, shifted: in complex numbers q = a (p − c) + c + d."""
    y, x = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    q, c = torch.complex(x.double(), y.double()), complex(size / 2, size / 2)
    p = torch.view_as_complex(spots(size).double().contiguous())
    video, rows = [], []
    for t in range(T):
        a = (1 + grow * t) * complex(math.cos(turn * t), math.sin(turn * t))
        video.append(painting((q - c - t * shift) / a + c))
        rows.append(torch.view_as_real(a * (p - c) + c + t * shift).float())
    return Painted(torch.stack(video), torch.stack(rows))


def still(T, rows=None, size=S):
    """A clip in which nothing is seen, with landmarks that may move."""
    rows = spots(size).expand(T, 51, 2) if rows is None else rows
    return MicroClip(Painted(torch.zeros(T, 3, size, size, dtype=torch.uint8), rows), 100.)


def flowing(monkeypatch, flow):
    """Let the flow be (T, 2, S, S), whatever the pictures are."""
    monkeypatch.setattr(micro_graphs, "farneback_sequence", lambda *_: flow[None])


def same(a, b, device):
    for name in FIELDS:
        assert_close(getattr(a, name).to(device), getattr(b, name).to(device), rtol=0, atol=0, msg=name)


# ---- faces

@pytest.mark.parametrize("how, near, far", [("landmarks", .015, 1e-3), ("pictures", .03, .15)])
def test_registered_frames_lie_on_the_onset(device, how, near, far):
    """engat (§4.2): a picture that turns, grows and shifts stands still; frame 0 is bit for bit as it was."""
    source = moved(size=96)
    video, points = (x.to(device) for x in faces(MicroClip(source, 100.), HOW._replace(size=96, register=how)))
    assert video.shape == (4, 3, 96, 96) and points.shape == (4, 51, 2)
    assert_close(video[0], source.video[0].float().to(device) / 255, rtol=0, atol=0)
    middle = video[:, :, 12:-12, 12:-12]
    assert_close(middle, middle[:1].expand_as(middle), rtol=0, atol=near)
    assert_close(points, source.rows[:1].to(device).expand_as(points), rtol=0, atol=far)


def test_registration_does_not_stretch(device):
    """A similarity: of a tenth that a face grows in width alone most stays, where an affine map would leave nothing."""
    wide = spots(96) * tensor([1.1, 1.])
    _, points = faces(still(2, torch.stack([spots(96), wide]), size=96), HOW._replace(size=96, register="landmarks"))
    width, height = ((points.amax(1) - points.amin(1)).to(device)).unbind(1)         # (2,) each
    assert 1.08 < width[1] / width[0] / (height[1] / height[0]) < 1.1


def test_registered_and_resized(device):
    """First onto the onset, in pixels of the picture, then to half the size: p → (p + ½)/2 − ½."""
    source = moved(size=96)
    video, points = (x.to(device) for x in faces(MicroClip(source, 100.), HOW._replace(size=48, register="landmarks")))
    assert_close(points, ((source.rows[:1] + .5) / 2 - .5).expand(4, 51, 2).to(device), rtol=0, atol=1e-3)
    middle = video[:, :, 6:-6, 6:-6]
    assert_close(middle, middle[:1].expand_as(middle), rtol=0, atol=.015)
    mean = source.video[0].unflatten(2, (48, 2)).unflatten(1, (48, 2)).float().mean((2, 4)).to(device) / 255     # (3, 48, 48)
    assert_close(video[0], mean, rtol=0, atol=1e-5)


def test_pictures_are_registered_without_landmarks(device):
    """Landmarks that stay while the picture moves: "pictures" does not ask them, "landmarks" believes them."""
    source = moved(size=96)
    source.rows = source.rows[:1].expand(4, 51, 2)
    for how, near in (("pictures", True), ("landmarks", False)):
        video, _ = faces(MicroClip(source, 100.), HOW._replace(size=96, register=how))
        middle = video[:, :, 12:-12, 12:-12].to(device)
        assert ((middle - middle[:1]).abs().max() < .03) == near


def test_register_off_leaves_them_moving(device):
    source = moved()
    video, points = (x.to(device) for x in faces(MicroClip(source, 100.), HOW))
    assert_close(video, source.video.float().to(device) / 255, rtol=0, atol=0)
    assert_close(points, source.rows.to(device), rtol=0, atol=0)
    assert (video[3] - video[0]).abs().mean() > .05                                  # so it is a motion to take away


def test_the_expression_stays(device):
    """Registration fits the steady points; a corner of the mouth (54 of 68, 37 of 51) that goes 3 to the right still does."""
    source = moved()
    source.rows = source.rows.clone()
    a = 1.03 * complex(math.cos(.06), math.sin(.06))                                 # frame 3's turn and growth
    source.rows[3, 37] += tensor([(3 * a).real, (3 * a).imag])
    _, points = faces(MicroClip(source, 100.), HOW._replace(register="landmarks"))
    expected = points[0].clone()
    expected[37, 0] += 3
    assert_close(points[3].to(device), expected.to(device), rtol=0, atol=1e-3)


def test_a_whole_picture_is_resized_whatever_its_proportions(device):
    """120 × 80 to 40 × 40: ((x + ½)/3 − ½, (y + ½)/2 − ½), so (29, 19) → (9⅓, 9¼), (0, 0) → (−1/3, −1/4).

    Red is 2x, green 3y: pixel (10, 7) of the result looks at x = 10.5 · 3 − ½ = 31, y = 7.5 · 2 − ½ = 14.5. A square cut from the
    middle would look at x = 40.5.
    """
    picture = torch.zeros(2, 3, 80, 120, dtype=torch.uint8)
    picture[:, 0], picture[:, 1] = 2 * torch.arange(120), 3 * torch.arange(80)[:, None]
    rows = spots(80).expand(2, 51, 2).clone()
    rows[:, 0], rows[:, 1], rows[1, 2] = tensor([29., 19.]), tensor([0., 0.]), tensor([119., 79.])
    video, points = (x.to(device) for x in faces(MicroClip(Painted(picture, rows), 100.), HOW._replace(size=40)))
    assert_close(points[0, :2], tensor([[28 / 3, 9.25], [-1 / 3, -.25]], device=device))
    assert_close(points[1, 2], tensor([39.5 - 1 / 6, 39.5 - .25], device=device))
    assert video.shape == (2, 3, 40, 40)
    assert_close(video[:, :2, 7, 10] * 255, tensor([[62., 43.5]] * 2, device=device), rtol=0, atol=1e-3)


def in_a_scene():
    """80 × 60, landmarks from (20, 10) to (50, 30) in the onset; behind it they are 9 farther right."""
    torch.manual_seed(0)
    picture = torch.randint(0, 256, (2, 3, 60, 80), dtype=torch.uint8)
    rows = spots().expand(2, 51, 2).clone()
    rows[0] = (rows[0] - rows[0].amin(0)) / (rows[0].amax(0) - rows[0].amin(0)) * tensor([30., 20.]) + tensor([20., 10.])
    rows[1] = rows[0] + tensor([9., 0.])
    return picture, rows


def test_a_scene_is_cut_to_the_box_of_the_onset_s_landmarks(device):
    """From the corner the box goes from 20.5 to 50.5 and 10.5 to 30.5; the longer side, 30, is 45 with a quarter on each side.

    Its middle is (35.5, 20.5), so it begins at (13, −2): at size 45 pixels stay pixels, 13 columns are cut off, and two rows come
    on top, where the edge is repeated. Later landmarks do not move the box.
    """
    picture, rows = in_a_scene()
    clip = MicroClip(Painted(picture, rows), 100., scene=True)
    video, points = (x.to(device) for x in faces(clip, HOW._replace(size=45)))
    expected = torch.cat([picture[:, :, :1], picture[:, :, :1], picture[:, :, :43]], 2)[..., 13:58].float().to(device) / 255
    assert_close(video, expected, rtol=0, atol=1e-6)
    assert_close(points, rows.to(device) + tensor([-13., 2.], device=device))
    _, third = faces(clip, HOW._replace(size=15))                                    # (20, 10) → (20.5 − 13)/3 − ½, (10.5 + 2)/3 − ½
    assert_close(third.amin(1)[0].to(device), tensor([2., 12.5 / 3 - .5], device=device))
    _, wide = faces(clip, HOW._replace(size=60, margin=.5))                          # side 60 begins at (5.5, −9.5)
    assert_close(wide.amin(1)[0].to(device), tensor([14.5, 19.5], device=device))
    _, whole = faces(MicroClip(Painted(picture, rows), 100.), HOW._replace(size=60))
    assert_close(whole.amin(1)[0].to(device), tensor([20.5 * .75 - .5, 10.], device=device))


@pytest.mark.parametrize("times, few, many", [(2, 1 / 2, 1 / 2), (3, 4 / 9, 5 / 9), (4, 1 / 2, 1 / 2)])
def test_a_large_picture_is_averaged(device, times, few, many):
    """A chequered picture: each pixel of the result is the mean of times² of it, not the one in the middle.

    Of 3 × 3 pixels four or five are white; of 2 × 2 and of 4 × 4 the half.
    """
    y, x = torch.meshgrid(torch.arange(16 * times), torch.arange(16 * times), indexing="ij")
    picture = (255 * ((x + y) % 2)).to(torch.uint8).expand(2, 3, -1, -1)
    video, _ = faces(MicroClip(Painted(picture, spots(16 * times).expand(2, 51, 2)), 100.), HOW._replace(size=16))
    chequered = tensor([[few, many], [many, few]], device=device).repeat(8, 8)
    assert_close(video.to(device), chequered.expand(2, 3, 16, 16), rtol=0, atol=1e-5)


def test_frames_moved_together_or_not(device, monkeypatch):
    clip = MicroClip(moved(T=5), 100.)
    how = HOW._replace(register="landmarks", size=32)
    at_once = faces(clip, how)
    monkeypatch.setattr(micro_graphs, "TOGETHER", 2)
    for a, b in zip(faces(clip, how), at_once):
        assert_close(a.to(device), b.to(device), rtol=0, atol=0)


# ---- graphs

def as_strong_as(m):
    """Flow (T, 2, S, S) of magnitude m_t near the landmarks, and elsewhere the stronger the weaker it is there."""
    m = tensor(m)[:, None, None]
    near = torch.zeros(S, S, dtype=torch.bool)
    near[12:52, 12:52] = True
    magnitude = torch.where(near, m, 10 * (9 - m))                                   # (T, S, S)
    return torch.stack([.6 * magnitude, -.8 * magnitude], 1)


M = (0., 4., 6., 9., 4., 8., 1., 0.)                                                 # mean 4, variance 86 / 8


@pytest.mark.parametrize("change, frames, keep", [
    ({}, [[1, 3, 5]], [0, 1, 1, 1, 1, 1, 0, 0]),
    ({"graphs": "all"}, [[1, 2, 3], [2, 3, 4], [3, 4, 5]], [0, 1, 1, 1, 1, 1, 0, 0]),
    ({"threshold": .5}, [[2, 3, 5]], [0, 0, 1, 1, 0, 1, 0, 0]),                      # 4 + ½ · 3.279 = 5.64
    ({"threshold": .5, "graphs": "all"}, [[2, 3, 5]], [0, 0, 1, 1, 0, 1, 0, 0])])
def test_first_strongest_and_last_of_those_kept(device, monkeypatch, change, frames, keep):
    """Reading: the intensity is that around the landmarks, and the frames are the first, the strongest, the last kept.

    The rest of the picture says the opposite, in more pixels. The three strongest would be 2, 3, 5; the strongest and its
    neighbours 2, 3, 4.
    """
    flowing(monkeypatch, as_strong_as(M))
    got = graphs_of(still(8), 2., HOW._replace(**change))
    G = len(frames)
    assert got.frames.tolist() == frames and got.keep.int().tolist() == keep and got.keep.dtype == torch.bool
    assert got.rest.shape == (51, 2) and got.points.shape == (G, 3, 51, 2) and got.patches.shape == (G, 3, 51, 100)
    assert_close(got.intensity.to(device), tensor(M, device=device))
    strength = tensor(M, device=device)[got.frames.to(device)]                       # (G, 3)
    assert_close(got.patches.to(device), strength[..., None, None].expand(G, 3, 51, 100))


def test_intensity_over_three_frames(device, monkeypatch):
    """(0 + 4)/2, (0 + 4 + 6)/3, 19/3, 19/3, 21/3, 13/3, 9/3, 1/2: mean 4.1; now 4 is the strongest of 2 to 5."""
    flowing(monkeypatch, as_strong_as(M))
    got = graphs_of(still(8), 2., HOW._replace(smooth=3))
    assert_close(got.intensity.to(device), tensor([2., 10 / 3, 19 / 3, 19 / 3, 7., 13 / 3, 3., .5], device=device))
    assert got.frames.tolist() == [[2, 4, 5]]


def drifting(T=4, by=3.):
    """Landmarks that go `by` to the right in every frame: (T, 51, 2)"""
    return spots() + by * torch.arange(T)[:, None, None] * tensor([1., 0.])


def test_patches_lie_where_the_flow_begins(device, monkeypatch):
    """Reading: the flow runs from the onset, and is read at the onset's landmarks; one from the frame before, at that frame's.

    Its magnitude is x everywhere, so patches of one pixel say where they are.
    """
    x = torch.arange(S).float().expand(4, S, S)
    flowing(monkeypatch, torch.stack([x, 0 * x], 1))
    clip, how = still(4, drifting()), HOW._replace(patch=1, graphs="all", threshold=-9.)
    onset = (spots()[:, 0] + .5).floor().to(device)                                  # (51,)
    first, before = (graphs_of(clip, 2., how._replace(reference=r)) for r in ("first", "previous"))
    assert first.frames.tolist() == before.frames.tolist() == [[0, 1, 2], [1, 2, 3]]
    assert_close(first.patches[..., 0].to(device), onset.expand(2, 3, 51))
    steps = tensor([[0., 0., 3.], [0., 3., 6.]], device=device)[..., None]
    assert_close(before.patches[..., 0].to(device), onset + steps)
    mean = onset.mean()
    assert_close(first.intensity.to(device), mean.expand(4))
    assert_close(before.intensity.to(device), mean + tensor([0., 0., 3., 6.], device=device))


def test_a_patch_is_written_row_by_row(device, monkeypatch):
    """Magnitude 100y + x around (20, 30), two by two: 2919, 2920, 3019, 3020."""
    y, x = torch.meshgrid(torch.arange(S).float(), torch.arange(S).float(), indexing="ij")
    flowing(monkeypatch, torch.stack([0 * x, 100 * y + x]).expand(3, 2, S, S))
    got = graphs_of(still(3, tensor([20., 30.]).expand(3, 51, 2)), 2., HOW._replace(patch=2))
    assert_close(got.patches[0, 2, 7].to(device), tensor([2919., 2920., 3019., 3020.], device=device))


def nudged():
    """Three frames; landmark 0 goes from (10, 20) to (10.5, 19) and (9, 20.25), landmark 1 from (10.2, 7.5) to 10.4 and 10.5."""
    rows = spots().expand(3, 51, 2).clone()
    rows[:, 0] = tensor([[10., 20.], [10.5, 19.], [9., 20.25]])
    rows[:, 1] = tensor([[10.2, 7.5], [10.4, 7.5], [10.5, 8.5]])
    return rows


def test_given_landmarks_stay_as_they_are(device, monkeypatch):
    flowing(monkeypatch, torch.ones(3, 2, S, S))
    got = graphs_of(still(3, nudged()), 3., HOW._replace(follow="given"))
    assert_close(got.points[0].to(device), nudged().to(device), rtol=0, atol=0)
    assert_close(got.rest.to(device), nudged()[0].to(device), rtol=0, atol=0)


def test_scaled_landmarks_go_as_far_as_magnification_means(device, monkeypatch):
    """α = 3: (10.5, 19) is (½, −1) from the onset and comes to (10, 20) + 4 (½, −1) = (12, 16); (9, 20.25) to (6, 21).

    With α instead of 1 + α it would be (11.5, 17); from the frame before, another place in frame 2. α = 0 changes nothing.
    """
    flowing(monkeypatch, torch.ones(3, 2, S, S))
    for reference in ("first", "previous"):
        got = graphs_of(still(3, nudged()), 3., HOW._replace(follow="scaled", reference=reference))
        assert_close(got.points[0, :, 0].to(device), tensor([[10., 20.], [12., 16.], [6., 21.]], device=device))
        assert_close(got.points[0, :, 2].to(device), nudged()[:, 2].to(device))
    got = graphs_of(still(3, nudged()), 0., HOW._replace(follow="scaled"))
    assert_close(got.points[0].to(device), nudged().to(device))
    got = graphs_of(still(3, nudged()), 4., HOW._replace(follow="scaled", gain=.25))              # 1 + ¼ · 4 = 2
    assert_close(got.points[0, 1, 0].to(device), tensor([11., 18.], device=device))


def test_landmarks_that_follow_the_flow(device, monkeypatch):
    """The flow of frame t at (x, y) is t (x/8, −y/4), read between the pixels: (10.2, 7.5) goes to 10.2 (1 + t/8), 7.5 (1 − t/4)."""
    y, x = torch.meshgrid(torch.arange(S).float(), torch.arange(S).float(), indexing="ij")
    t = torch.arange(3.)[:, None, None]
    flowing(monkeypatch, torch.stack([t * x / 8, -t * y / 4], 1))
    got = graphs_of(still(3, nudged()), 3., HOW._replace(follow="flow")).points[0].to(device)
    assert_close(got[:, 1], tensor([[10.2, 7.5], [10.2 * 1.125, 7.5 * .75], [10.2 * 1.25, 7.5 * .5]], device=device))
    t = torch.arange(3., device=device)[:, None]
    onset = spots().to(device)[2:]
    assert_close(got[:, 2:], torch.stack([onset[:, 0] * (1 + t / 8), onset[:, 1] * (1 - t / 4)], -1))


def test_whole_pixels_halves_up_and_after_magnification(device, monkeypatch):
    """α = 4: landmark 1 goes to (10.2 + 5 · 0.2, 7.5) = (11.2, 7.5) → (11, 8); rounded before, it would have stayed at 10.

    To (10.2 + 5 · 0.3, 7.5 + 5) = (11.7, 12.5) → (12, 13), where an even neighbour is 12. Landmark 0: (12.5, 15) → (13, 15), then
    (5, 21.25) → (5, 21).
    """
    flowing(monkeypatch, torch.ones(3, 2, S, S))
    got = graphs_of(still(3, nudged()), 4., HOW._replace(follow="scaled", whole=True))
    assert got.points[0, :, :2].to(device).tolist() == [
        [[10., 20.], [10., 8.]], [[13., 15.], [11., 8.]], [[5., 21.], [12., 13.]]]
    assert got.rest[:2].to(device).tolist() == [[10., 20.], [10., 8.]]
    free = graphs_of(still(3, nudged()), 4., HOW._replace(follow="scaled"))
    assert_close(free.points[0, 2, 1].to(device), tensor([11.7, 12.5], device=device))
    assert_close(free.patches.to(device), got.patches.to(device))


@pytest.mark.parametrize("alpha", [0., 3.])
def test_step_by_step(device, alpha):
    """Every setting reaches its own step; with α = 0 the frames are as they were filmed."""
    how = HOW._replace(size=48, register="landmarks", lambda_c=6., low=1., high=30., pyr_scale=.6, levels=1, winsize=11, iterations=2,
                       poly_n=7, poly_sigma=1.4, reference="previous", smooth=3, threshold=.2, patch=4)
    clip = MicroClip(moved(T=6, turn=.004, grow=.002, shift=.3j), 80.)
    clip.source.video[2:5, :, 20:40, 20:40] //= 2                                   # something to magnify
    video, points = faces(clip, how)
    large = video[None] if alpha == 0 else magnify(video[None], fps=80., alpha=alpha, lambda_c=6., band=(1., 30.))
    flow = farneback_sequence(grey(large), reference="previous", pyr_scale=.6, levels=1, winsize=11, iterations=2, poly_n=7,
                              poly_sigma=1.4)[0]
    grid = torch.cat([points[:1], points[:-1]])
    m = flow_intensity(flow[None], points=grid[None], size=4, smooth=3)[0]
    keep = high_intensity(m, k=.2)
    frames = list(three_frames(m, keep))
    patches = torch.stack([landmark_patches(flow_magnitude(flow[t])[None], grid[t][None], 4).flatten(2)[0] for t in frames])
    assert patches.std() > .01
    same(graphs_of(clip, alpha, how), Graphs(points[0], points[frames][None], patches[None], tensor([frames]), m, keep), device)


def test_magnified_patches_are_stronger(device):
    clip = MicroClip(moved(turn=0., grow=0., shift=.1 + 0j), 100.)
    small, large = (graphs_of(clip, alpha, HOW._replace(lambda_c=1.)).intensity[-1].to(device) for alpha in (0., 3.))
    assert .2 < small < .4 and large > 2 * small


def test_refusals():
    with pytest.raises(DataError, match="^2 frames from onset to offset; expected 3 or more"):
        graphs_of(still(2), 1., HOW)
    rows = spots().expand(3, 51, 2).clone()
    for bad in (math.nan, math.inf):
        rows[1, 7, 0] = bad
        with pytest.raises(DataError, match=r"landmarks are \(3, 51, 2\); expected finite numbers"):
            graphs_of(still(3, rows), 1., HOW)
    for short in (spots().expand(2, 51, 2), spots()[:50].expand(3, 50, 2)):
        with pytest.raises(DataError, match=r"expected finite numbers, \(3, 51, 2\)"):
            graphs_of(still(3, short), 1., HOW)
    with pytest.raises(DataError, match="the points coincide"):                      # what a step refuses
        graphs_of(still(3, torch.ones(3, 51, 2)), 1., HOW._replace(register="landmarks"))
    with pytest.raises(DataError, match="alpha"):
        graphs_of(still(3), -1., HOW)


# ---- kept on disk

QUICK = HOW._replace(size=32, patch=4)


def small(name="painted"):
    source = moved(T=4, size=32, shift=.4 + .2j)
    source.name = name
    return MicroClip(source, 100.)


def files(folder):
    return sorted(path.name for path in folder.rglob("*"))


def unmade(*_):
    raise AssertionError("the graphs were made again")


def test_the_second_time_they_are_read(device, tmp_path, monkeypatch):
    """Another process, and another source of the same content."""
    made = kept(small(), 2., QUICK, str(tmp_path / "a" / "b"))
    kept.cache_clear()
    monkeypatch.setattr(micro_graphs, "graphs_of", unmade)
    assert files(tmp_path) == sorted(["a", "b", place(small(), 2., QUICK, "").name])
    read = kept(small(), 2, QUICK, str(tmp_path / "a" / "b"))                        # 2 is 2.0
    same(read, made, device)
    assert [t.dtype for t in read] == [t.dtype for t in made] and read.frames.dtype == torch.int64
    with pytest.raises(AssertionError, match="made again"):
        kept(small(), 3., QUICK, str(tmp_path / "a" / "b"))


def test_every_setting_has_a_name_of_its_own(monkeypatch):
    clip = small()
    changed = {name: not value if isinstance(value, bool) else value + "x" if isinstance(value, str) else .5 if value == math.inf
               else value + 1 for name, value in QUICK._asdict().items()}
    names = [place(clip, 2., QUICK, "x")] + [place(clip, 2., QUICK._replace(**{name: value}), "x") for name, value in changed.items()]
    names += [place(clip, 3., QUICK, "x"), place(small("other"), 2., QUICK, "x"), place(MicroClip(clip.source, 200.), 2., QUICK, "x"),
              place(MicroClip(clip.source, 100., scene=True), 2., QUICK, "x")]
    monkeypatch.setattr(micro_graphs, "VERSION", micro_graphs.VERSION + 1)
    names.append(place(clip, 2., QUICK, "x"))
    assert len(changed) == 20 and len(set(names)) == len(names) == 1 + 20 + 4 + 1
    monkeypatch.undo()
    assert place(MicroClip(clip.source, 100., apex=2, alpha=7.), 2, QUICK, "x") == names[0]       # the graphs do not depend on these
    assert names[0].suffix == ".npz" and names[0].parent.name == "x" and len(names[0].stem) == 32


def damaged(path, how):
    if how == "empty":
        path.write_bytes(b"")
    elif how == "text":
        path.write_text("moved away")
    else:
        with np.load(path) as found:
            arrays = dict(found)
        if how == "objects":
            arrays["patches"] = np.array([{}, {}], dtype=object)
        elif how == "lacks one":
            del arrays["keep"]
        elif how == "nan":
            arrays["points"][0, 0, 0, 0] = math.nan
        elif how == "another shape":
            arrays["rest"] = arrays["rest"][:50]
        elif how == "one frame short":
            arrays["frames"] = arrays["frames"][:, :2]
        np.savez(path, **arrays)


@pytest.mark.parametrize("how", ["empty", "text", "objects", "lacks one", "nan", "another shape",
                                 "one frame short"])
def test_a_damaged_file_is_made_anew(device, tmp_path, how):
    path = place(small(), 2., QUICK, str(tmp_path))
    made = kept(small(), 2., QUICK, str(tmp_path))
    kept.cache_clear()
    damaged(path, how)
    assert micro_graphs.load(path) is None
    same(kept(small(), 2., QUICK, str(tmp_path)), made, device)
    same(micro_graphs.load(path), made, device)                                      # and whole again
    assert files(tmp_path) == [path.name]


def test_flipped_bytes_are_noticed(device, tmp_path):
    """At 40 places of the arrays, one byte each: a checksum of the file does not fit any more."""
    path = place(small(), 2., QUICK, str(tmp_path))
    made = kept(small(), 2., QUICK, str(tmp_path))
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as found:
        begin = found.getinfo("patches.npy").header_offset + 500                     # behind the header, 9 kB
    for k in range(40):
        flipped = bytearray(whole)
        flipped[begin + 200 * k] ^= 1 << k % 8
        path.write_bytes(flipped)
        assert micro_graphs.load(path) is None
    kept.cache_clear()
    same(kept(small(), 2., QUICK, str(tmp_path)), made, device)
    assert path.read_bytes() == whole


def test_objects_are_never_unpacked(tmp_path):
    """A file that would run what is in it is not opened so far."""
    path, ran = tmp_path / "a.npz", tmp_path / "ran"

    class Trap:
        def __reduce__(self):
            return ran.touch, ()

    np.savez(path, **{name: np.array([Trap()], dtype=object) for name in FIELDS})
    assert micro_graphs.load(path) is None and not ran.exists()


@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt])
@pytest.mark.parametrize("module, name", [("np", "savez"), ("os", "replace"), ("os", "fsync")])
def test_nothing_half_stays_when_writing_fails(device, tmp_path, monkeypatch, module, name, error):
    def fails(*args, **_):
        raise error("no space left")

    with monkeypatch.context() as m:
        m.setattr(getattr(micro_graphs, module), name, fails)
        with pytest.raises(KeyboardInterrupt if error is KeyboardInterrupt else DataError, match="no space left"):
            kept(small(), 2., QUICK, str(tmp_path))
        assert files(tmp_path) == []
    same(kept(small(), 2., QUICK, str(tmp_path)), graphs_of(small(), 2., QUICK), device)


def test_killed_between_writing_and_naming(device, tmp_path, monkeypatch):
    """What is left lies under another name, and is not read; the file before it is whole."""
    def killed(*_):
        raise KeyboardInterrupt

    path = place(small(), 2., QUICK, str(tmp_path))
    with monkeypatch.context() as m:
        m.setattr(micro_graphs.os, "replace", killed)
        m.setattr(micro_graphs.Path, "unlink", lambda *_, **__: None)                # nobody tidies up after a kill
        with pytest.raises(KeyboardInterrupt):
            kept(small(), 2., QUICK, str(tmp_path))
    left, = tmp_path.iterdir()
    assert left.suffix == ".part" and micro_graphs.load(path) is None
    made = kept(small(), 2., QUICK, str(tmp_path))
    same(made, graphs_of(small(), 2., QUICK), device)
    with monkeypatch.context() as m:
        m.setattr(micro_graphs.os, "replace", killed)
        with pytest.raises(KeyboardInterrupt):
            micro_graphs.save(made._replace(rest=made.rest + 1), path)
    same(micro_graphs.load(path), made, device)


def test_no_folder_keeps_nothing(device, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Painted, "digest", unmade)                                   # nothing is named either
    same(kept(small(), 2., QUICK, ""), graphs_of(small(), 2., QUICK), device)
    assert files(tmp_path) == []


# ---- frames and landmarks in files

def test_between_by_hand(device):
    """Frames 0, 3 and 4 of seven are seen, at 0, 6 and 10: 2 and 4 lie on the line between, and behind the last all is as in it."""
    x = tensor([0., 99., math.nan, 6., 10., math.nan, -5.])
    found = between(torch.stack([x, 3 - x], 1)[:, None].expand(7, 51, 2), tensor([1, 0, 0, 1, 1, 0, 0]).bool()).to(device)
    expected = tensor([0., 2., 4., 6., 10., 10., 10.], device=device)
    assert_close(found, torch.stack([expected, 3 - expected], 1)[:, None].expand(7, 51, 2))
    points = torch.arange(40.).view(4, 5, 2)
    assert_close(between(points, tensor([1, 1, 1, 1]).bool()).to(device), points.to(device), rtol=0, atol=0)
    assert_close(between(points, tensor([1, 0, 0, 0]).bool()).to(device), points[:1].expand(4, 5, 2).to(device), rtol=0, atol=0)


def pictures(folder, numbers, side=(8, 6)):
    """Frame n is grey n."""
    folder.mkdir(parents=True, exist_ok=True)
    for n in numbers:
        Image.new("RGB", side, (n,) * 3).save(folder / f"img{n}.png")
    return [folder / f"img{n}.png" for n in numbers]


def shape_of(n):
    """Point k of frame n is (n + k, 2k): (68, 2)"""
    k = np.arange(68.)
    return np.stack([n + k, 2 * k], 1)


def plain(path, numbers):
    path.write_text("\n".join(",".join(map(str, shape_of(n).flatten())) for n in numbers))
    return path


def openface(path, numbers, lost=()):
    """x_0 ... x_67, then y_0 ... y_67, behind what else OpenFace writes; zeros where it found no face."""
    head = ["frame", " success", *(f" x_{k}" for k in range(68)), *(f" y_{k}" for k in range(68))]
    rows = [[k + 1, int(n not in lost), *(0 * shape_of(n) if n in lost else shape_of(n)).T.flatten()] for k, n in enumerate(numbers)]
    path.write_text("\n".join(",".join(map(str, row)) for row in (head, *rows)))
    return path


def test_rows_of_the_expression(device, tmp_path):
    """Five frames, 8 to 12; the expression is 9 to 11. A plain file goes by the frames' numbers, img9 before img10."""
    every = pictures(tmp_path / "clip", range(8, 13))
    plain(tmp_path / "clip.csv", range(8, 13))
    got = filmed(tmp_path / "clip", every, 1, 3, tmp_path)
    assert len(got) == 3 and got.rows == (1, 2, 3) and got.count == 5
    assert got.read([2, 0]).to(device)[:, :, 0, 0].tolist() == [[11] * 3, [9] * 3]
    assert_close(got.points()[:, 0].to(device), tensor([[26., 34.], [27., 34.], [28., 34.]], device=device))   # point 17 of 68
    assert got.points().shape == (3, 51, 2)


@pytest.mark.parametrize("write, listed", [(plain, [8, 9, 10, 11, 12]), (openface, [10, 11, 12, 8, 9])])
def test_openface_goes_by_the_letters(device, tmp_path, write, listed):
    """Its rows are img10, img11, img12, img8, img9; those of any other file are 8 to 12. Read, both are the same points."""
    every = pictures(tmp_path / "clip", range(8, 13))
    write(tmp_path / "clip.csv", listed)
    got = filmed(tmp_path / "clip", every, 1, 3, tmp_path)
    assert got.rows == tuple(listed.index(n) for n in (9, 10, 11))
    assert_close(got.points()[:, 0, 0].to(device), tensor([26., 27., 28.], device=device))


def test_a_lost_face_is_filled_in_time_s_order(device, tmp_path):
    """No face in img10, which OpenFace lists first: it lies between img9 and img11, not between its neighbours in the file."""
    every = pictures(tmp_path / "clip", range(8, 13))
    openface(tmp_path / "clip.csv", [10, 11, 12, 8, 9], lost=(10, 12))
    got = filmed(tmp_path / "clip", every, 0, 4, tmp_path).points()[:, 0, 0].to(device)
    assert_close(got, tensor([25., 26., 27., 28., 28.], device=device))
    with pytest.raises(DataError, match="no face was found in img10.png, the onset"):
        filmed(tmp_path / "clip", every, 2, 4, tmp_path).points()
    with pytest.raises(DataError, match="clip.csv: 5 rows of landmarks; expected 4"):
        filmed(tmp_path / "clip", every[:4], 0, 3, tmp_path).points()


def test_points_of_each_frame(device, tmp_path):
    """300-W counts from 1."""
    every = pictures(tmp_path / "clip", range(9, 12))
    for path, n in zip(every, range(9, 12)):
        rows = "\n".join(f"{x} {y}" for x, y in shape_of(n))
        path.with_suffix(".pts").write_text(f"version: 1\nn_points: 68\n{{\n{rows}\n}}")
    got = filmed(tmp_path / "clip", every, 0, 2, tmp_path)
    assert_close(got.points()[:, 0, 0].to(device), tensor([25., 26., 27.], device=device))
    every[1].with_suffix(".pts").unlink()
    with pytest.raises(DataError, match="img10.pts: no such file"):
        filmed(tmp_path / "clip", every, 0, 2, tmp_path)
    every[0].with_suffix(".pts").unlink()
    with pytest.raises(DataError, match="clip: no landmarks for this clip; .* a row for each of its 3 frames"):
        filmed(tmp_path / "clip", every, 0, 2, tmp_path)


def test_a_clip_of_files_to_its_graphs(device, tmp_path):
    """Resized from 400 by 300; the landmarks go along, and the file is found again until one of the clip's changes."""
    every = pictures(tmp_path / "clip", range(9, 13))
    for path in every:
        Image.open(path).resize((400, 300)).save(path)
    plain(tmp_path / "clip.csv", range(9, 13))
    clip = MicroClip(filmed(tmp_path / "clip", every, 0, 3, tmp_path), 100.)
    got = kept(clip, 1., QUICK, str(tmp_path / "kept"))
    assert_close(got.rest[0].to(device), tensor([26.5 * 32 / 400 - .5, 34.5 * 32 / 300 - .5], device=device))
    assert place(clip, 1., QUICK, str(tmp_path / "kept")).is_file()
    Image.new("RGB", (400, 300), (10, 10, 11)).save(every[1])
    micro_graphs.digest.cache_clear()
    assert not place(clip, 1., QUICK, str(tmp_path / "kept")).exists()


def test_checksum_of_files(tmp_path):
    every = pictures(tmp_path / "clip", range(9, 13))
    rows = plain(tmp_path / "clip.csv", range(9, 13))
    source = filmed(tmp_path / "clip", every, 0, 2, tmp_path)
    swapped = (every[1], every[0], every[2])
    seen = [Filmed(*given).digest() for given in (
        (source.frames, (rows,), (0, 1, 2), 4), (source.frames, (rows,), (0, 2, 1), 4), (source.frames, (rows,), (0, 1, 2), 5),
        (swapped, (rows,), (0, 1, 2), 4), (tuple(every[1:]), (rows,), (1, 2, 3), 4))]
    assert seen[0] == source.digest()
    whole = bytearray(every[2].read_bytes())
    whole[-1] ^= 1
    every[2].write_bytes(whole)
    seen.append(source.digest())
    rows.write_text(rows.read_text().replace("9.0", "9.5", 1))
    seen.append(source.digest())
    assert len(set(seen)) == len(seen) == 7
    every[3].write_bytes(b"")                                                        # not of this expression
    assert source.digest() == seen[-1]


def test_given_landmarks_of_a_clip_of_one_s_own(device, tmp_path):
    clip = Clip(pictures(tmp_path / "clip", range(9, 12)))
    rows = torch.from_numpy(np.stack([shape_of(n) for n in range(9, 12)])).float()
    given = Given(clip, rows)
    assert len(given) == 3 and given.read([1])[0, 0, 0, 0] == 10
    assert_close(given.points().to(device), rows[:, 17:].to(device), rtol=0, atol=0)
    assert_close(Given(clip, rows[:, 17:]).points().to(device), rows[:, 17:].to(device), rtol=0, atol=0)
    for bad in (math.nan, math.inf):
        lost = rows.clone()
        lost[1, 3, 0] = bad
        with pytest.raises(DataError, match="no face was found in img10.png; leave the frame out"):
            Given(clip, lost).points()


def test_checksum_of_what_was_given(tmp_path):
    every = pictures(tmp_path / "clip", range(9, 12))
    rows = torch.from_numpy(np.stack([shape_of(n) for n in range(9, 12)])).float()
    other = rows.clone()
    other[2, 67, 1] += .25
    seen = [Given(Clip(every), rows).digest(), Given(Clip(every), other).digest(), Given(Clip(every), rows[:, 17:]).digest(),
            Given(Clip(every[::-1]), rows).digest()]
    assert Given(Clip(tmp_path / "clip"), rows.clone()).digest() == seen[0]
    with Image.open(every[2]) as image:
        changed = image.copy()
    changed.putpixel((7, 5), (11, 11, 12))
    changed.save(every[2])
    seen.append(Given(Clip(every), rows).digest())
    assert len(set(seen)) == 5


# ---- drawn clips

THREE = ("negative", "positive", "surprise")
FIVE = ("disgust", "happiness", "surprise", "repression", "others")                  # in the order of the paper's tables


def asked(classes=THREE, size=64, oth=False):
    return SimpleNamespace(classes=classes, size=size, oth=oth)


@pytest.mark.parametrize("classes, each", [
    (THREE, {"negative": 4, "positive": 2, "surprise": 2}),
    (FIVE, {"disgust": 3, "happiness": 2, "surprise": 2, "repression": 2, "others": 4}),
    (THREE[::-1], {"negative": 4, "positive": 2, "surprise": 2})])
def test_as_many_clips_of_each_class_and_subject(classes, each):
    """Two subjects: 16 clips of three classes, 26 of five; the codes follow the settings."""
    got = drawn_clips.read(None, asked(classes), subjects=2)
    assert got.classes == classes and len(got.samples) == 2 * sum(each.values())
    found = [(s.subject, classes[s.target["expression"]]) for s in got.samples]
    assert {pair: found.count(pair) for pair in found} == {(who, name): n for who in ("d00", "d01") for name, n in each.items()}
    assert len({s.id for s in got.samples}) == len(got.samples) and all(s.id.startswith(f"{s.subject}/") for s in got.samples)
    assert got.found[0] == (f"drawn micro-expressions: {len(found)} clips of 2 subjects at 64 px, 200 frames a second; "
                            + ", ".join(f"{name} {2 * each[name]}" for name in classes))


def test_a_whole_set_has_sixteen_subjects():
    assert drawn_clips.SUBJECTS == 16 and drawn_clips.TIMES == {"negative": 4, "positive": 2, "surprise": 2, "disgust": 3,
                                                                "happiness": 2, "repression": 2, "others": 4}


def test_the_label_is_what_is_drawn(device):
    """Whatever the order of the classes, clip for clip the same drawing has the same name."""
    a, b = (drawn_clips.read(None, asked(classes), subjects=2) for classes in (THREE, THREE[::-1]))
    for x, y in zip(a.samples, b.samples, strict=True):
        assert x.clip.source.digest() == y.clip.source.digest()
        assert a.classes[x.target["expression"]] == b.classes[y.target["expression"]]
    assert len({s.clip.source.digest() for s in a.samples}) == len(a.samples)
    for x, y in zip(a.samples[::5], b.samples[::5]):
        assert_close(x.clip.read([3]).to(device), y.clip.read([3]).to(device), rtol=0, atol=0)


def test_the_same_drawing_has_the_same_checksum():
    first, again, larger = (drawn_clips.read(None, asked(size=size), subjects=2).samples[5].clip for size in (64, 64, 65))
    assert first.source.digest() == again.source.digest() != larger.source.digest()
    assert place(first, 1., HOW, "") == place(again, 1., HOW, "") != place(larger, 1., HOW, "")


def test_the_apex_is_counted_from_the_onset(device):
    """There the face is farthest from rest, and in the first and the last frame it is at rest; some clips begin later."""
    samples = drawn_clips.read(None, asked(), subjects=2).samples
    micro = samples[0].clip.source.plan.micro
    assert micro.onset.max() > 0
    for b, sample in enumerate(samples):
        aus = micro.clip(b).aus[0].to(device)                                        # (length, 18)
        far = (aus - aus[0]).abs().sum(1)[int(micro.onset[b]):int(micro.offset[b]) + 1]
        assert len(far) == len(sample.clip) and far.argmax() == sample.clip.apex and far[0] == 0 and far[-1] < 1e-6 < far[1:-1].min()


def test_a_drawn_clip_to_its_graphs(device, tmp_path):
    """From onset to offset, landmarks on the face; the strongest frame is one of the middle, where the coders see the apex."""
    for sample in drawn_clips.read(None, asked(), subjects=2).samples[:3]:
        clip = sample.clip
        T, video, points = len(clip), clip.read(list(range(len(clip)))).to(device), clip.source.points().to(device)
        assert video.shape == (T, 3, 64, 64) and video.dtype == torch.uint8 and points.shape == (T, 51, 2)
        brows, eyes, mouth = (part.mean((0, 1))[1] for part in (points[:, :10], points[:, 19:31], points[:, 31:]))
        assert brows < eyes < mouth                                                  # the 51 without the jaw
        assert 3 <= T <= 20 and 0 < clip.apex < T - 1 and points.min() > 0 and points.max() < 63
        how = HOW._replace(register="landmarks", levels=1, iterations=2, smooth=3)
        got = kept(clip, 4., how, str(tmp_path))
        first, strongest, last = got.frames[0].tolist()
        assert first < strongest < last and abs(strongest - clip.apex) <= 4
        kept.cache_clear()
        same(kept(clip, 4., how, str(tmp_path)), got, device)


@pytest.mark.parametrize("change, says", [
    ({"classes": ("negative", "positive")}, "negative, positive, surprise or of disgust, happiness, .*; got negative, positive; leave"),
    ({"classes": ("anger", "positive", "surprise")}, "got anger, positive, surprise"),
    ({"classes": ("negative", "positive", "positive")}, "got negative, positive, positive"),
    ({"size": 63}, "need 64 pixels or more a side; got --size 63"),
    ({"oth": True}, "leave --oth")])
def test_what_is_not_drawn(change, says):
    with pytest.raises(DataError, match=says):
        drawn_clips.read(None, asked(**change), subjects=2)


def test_a_drawn_clip_has_one_size():
    clip = drawn_clips.read(None, asked(), subjects=2).samples[0].clip
    assert clip.read([0], 64).shape == (1, 3, 64, 64)
    with pytest.raises(DataError, match="drawn at 64 px, asked for at 96; draw it at 96"):
        clip.read([0], 96)


@pytest.mark.parametrize("percent", [1, 50, 99])
def test_a_cut_file_is_made_anew(device, tmp_path, percent):
    path = place(small(), 2., QUICK, str(tmp_path))
    made = kept(small(), 2., QUICK, str(tmp_path))
    whole = path.read_bytes()
    path.write_bytes(whole[:len(whole) * percent // 100])
    kept.cache_clear()
    assert micro_graphs.load(path) is None                                           # and the file is closed again
    same(kept(small(), 2., QUICK, str(tmp_path)), made, device)
    assert path.read_bytes() == whole


def test_flipped_bytes_between_the_arrays(device, tmp_path):
    """In the zip's own lists and the arrays' headers, where one digit makes patches of 16 numbers patches of 14: every byte of
    those of the patches and of the last, two ways. What is read is right, or nothing is."""
    path = place(small(), 2., QUICK, str(tmp_path))
    made = kept(small(), 2., QUICK, str(tmp_path))
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as found:
        header, last = found.getinfo("patches.npy").header_offset, found.getinfo("keep.npy").header_offset
    for k in [*range(header, header + 200), *range(last, len(whole))]:
        for bit in (0, 1):
            flipped = bytearray(whole)
            flipped[k] ^= 1 << bit
            path.write_bytes(flipped)
            if read := micro_graphs.load(path):
                same(read, made, device)


def test_flow_carries_landmarks(device):
    """A flow of (1, 2) pixels everywhere, in three frames behind the onset. From the onset each frame is (1, 2) away; from frame to
    frame the steps add up, (3, 6) in the end, even where the flow differs from place to place: the third step, read at the landmark
    where it has come to and not where it was, is 10 to the right of x = 5, and the landmark has come from 4 to 6."""
    flow = torch.zeros(4, 2, 12, 16)
    flow[1:, 0], flow[1:, 1] = 1., 2.
    rest = torch.full((51, 2), 4.)
    path = micro_graphs.carried(flow, rest, False)
    assert_close(path[:, 0].to(device), torch.tensor([[4., 4.], [5., 6.], [6., 8.], [7., 10.]], device=device))
    assert_close(micro_graphs.carried(flow, rest, True)[:, 0].to(device), torch.tensor([[4., 4.], [5., 6.], [5., 6.], [5., 6.]], device=device))
    flow[3, 0, :, 6:] = 10.
    assert_close(micro_graphs.carried(flow, rest, False)[3, 0].to(device), torch.tensor([16., 10.], device=device))


def test_scaled_by_what_the_filters_let_through(device):
    """gain ¼, α = 4: a motion becomes 1 + ¼ · 4 = 2 times as long; without magnification, as long as it was."""
    clip = MicroClip(moved(turn=0., grow=0., shift=.3 + .2j), 100.)
    for alpha, times in ((4., 2.), (0., 1.)):
        ways = [graphs_of(clip, alpha, HOW._replace(follow=how, gain=.25)) for how in ("scaled", "given")]
        far, near = ((g.points - g.rest).to(device) for g in ways)
        assert_close(far, times * near)
        assert near.abs().max() > .5


def test_landmarks_of_other_pictures_are_refused(device):
    """Found on pictures three times as large, most lie outside; a few outside are none's fault."""
    source = moved()
    source.rows = 3 * source.rows
    with pytest.raises(DataError, match="of 51 landmarks of the onset lie outside the picture, 64 × 64; .* other pictures"):
        faces(MicroClip(source, 100.), HOW)
