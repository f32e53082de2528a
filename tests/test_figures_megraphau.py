"""figures/megraphau.py: nodes where their units show, links that point the right way, cells, bars and maps that say what is so."""
import math

import pytest
import torch
from PIL import Image, ImageChops

from refnet.config import merge
from refnet.data import drawn_units, landmarks
from refnet.data.drawn_faces import draw
from refnet.data.drawn_plan import plan
from refnet.data.landmarks import Aligned
from refnet.data.samples import Drawn, Sample
from refnet.figures import megraphau as figures
from refnet.figures.canvas import BLUE, GREEN, GREY, LINES, ORANGE, PAPER, RED, Canvas, heat
from refnet.models import megraphau as paper

LONG = "a title that nobody would give, with Ünïcode and\na line break " * 5
FOUR = (1, 4, 12, 17)
ALL = tuple(figures.UNITS)


def colours(image: Image.Image) -> dict[tuple[int, int, int], int]:
    """How many pixels there are of each colour."""
    return {colour: count for count, colour in image.getcolors(image.width * image.height)}


def margin_is_paper(image: Image.Image) -> bool:
    """The outermost two pixels: whatever touches them may have been cut."""
    w, h = image.size
    return all(set(colours(image.crop(e))) == {PAPER} for e in ((0, 0, w, 2), (0, h - 2, w, h), (0, 0, 2, h), (w - 2, 0, w, h)))


def kept(monkeypatch, name: str) -> list[tuple]:
    """The arguments of every call of a method of the sheet."""
    calls, method = [], getattr(Canvas, name)

    def keep(self, *rest, **more):
        calls.append(rest)
        return method(self, *rest, **more)

    monkeypatch.setattr(Canvas, name, keep)
    return calls


@pytest.fixture
def written(monkeypatch) -> list[str]:
    """Every line of text put on a sheet."""
    class Words(list):
        __iter__ = lambda self: (call[2] for call in calls)
    calls = kept(monkeypatch, "text")
    return Words()


@pytest.fixture
def face(device) -> torch.Tensor:
    return torch.full((3, 43, 43), 200, dtype=torch.uint8, device=device)


@pytest.fixture
def corners(device) -> torch.Tensor:
    """Four places, 20 pixels apart: in a picture of 43 pixels at 10 points each, (5, 5) is drawn at (55, 55)."""
    return torch.tensor([[10.0, 10.0], [30.0, 10.0], [10.0, 30.0], [30.0, 30.0]], device=device)


# Where the nodes sit

def test_places_by_hand(device):
    """Level eyes 20 apart about (50, 50): unit 12, at (0.48, 1.04), comes to 50 + 9.6 and 50 + 20.8.

    Turned by a quarter, the right eye below: down is to the left, so unit 17, at (0.06, 1.61), comes to 50 − 32.2 and 50 + 1.2.
    """
    eye = lambda x, y: torch.tensor([x, y], device=device)
    level = figures.au_places((12,), eye(40.0, 50.0), eye(60.0, 50.0))
    turned = figures.au_places((12, 17), (50, 40), (50, 60))
    torch.testing.assert_close(level, torch.tensor([[59.6, 70.8]]).double())
    torch.testing.assert_close(turned[1], torch.tensor([17.8, 51.2]).double())


def test_no_node_hides_another():
    """A disc with its rim has a radius of 13.7 points; a drawn face's eyes are 0.26 / 0.875 of 430 points apart."""
    places = figures.au_places(ALL, (0, 0), (430 * .26 / .875, 0))
    assert (torch.cdist(places, places) + 99 * torch.eye(len(ALL))).min() > 2 * 13.7
    assert len(ALL) == 18 and 6 <= (places[:, 0] < 430 * .13 / .875).sum() <= 12          # on both sides


def test_places_are_on_the_muscles(device):
    """On drawn faces at rest, seen from the front: each unit at most 0.3 eye distances from dlib's landmark there."""
    near = {1: (20, 21), 2: (25,), 4: (21, 22), 5: (43, 44), 6: (46, 54), 7: (40, 41), 9: (28,), 10: (32, 50), 12: (54,),
            14: (48, 4), 15: (48, 6), 16: (56,), 17: (8, 57), 20: (54, 10), 23: (48, 60), 24: (52, 53, 63), 25: (62, 66), 26: (7,)}
    points = draw(plan(12, 1, seed=2, subjects=12, expressions=1, pose=0, occlusion=0), 64, device)[1][:, 0].cpu().double()
    left, right = points[:, 36:42].mean(1), points[:, 42:48].mean(1)                        # (12, 2)
    found = torch.stack([figures.au_places(ALL, a, b) for a, b in zip(left, right, strict=True)]).mean(0)
    wanted = torch.stack([points[:, list(near[unit])].mean((0, 1)) for unit in ALL])        # (18, 2)
    far = (found - wanted).norm(dim=1) / (right - left).norm(dim=1).mean()
    assert {unit: round(d, 2) for unit, d in zip(ALL, far.tolist(), strict=True) if d > .3} == {}


def test_eyes_of_both_kinds_of_face(device):
    """Shares of the side count from its edge, pixels from the middle of the first; the middle 56 of 64 are shown, so 4 are cut off.

    Drawn: as dlib's landmarks have it, the mean of 40 faces. Cut out along landmarks: as the crop has it.
    """
    cfg = settings()
    points = draw(plan(40, 1, seed=2, subjects=40, expressions=1, pose=0, occlusion=0), 64, device)[1][:, 0].cpu()
    for eye, part in zip(figures._eyes(cfg, "drawn"), (slice(36, 42), slice(42, 48)), strict=True):
        assert eye == pytest.approx((points[:, part].mean((0, 1)) - 4).tolist(), abs=.4)
    (a, y), (b, z) = figures._eyes(cfg, "aligned")
    assert y == z == pytest.approx(landmarks.DOWN * 64 - 4.5) and b - a == pytest.approx(landmarks.APART * 64)
    assert (a + b) / 2 == pytest.approx(27.5)


@pytest.mark.parametrize("aus,eyes,message", [
    ((1, 3), ((0, 0), (9, 0)), r"units are \[1, 3\]; expected at least one of 1, 2, 4, 5, 6"),
    ((), ((0, 0), (9, 0)), "at least one"), ((4, 4), ((0, 0), (9, 0)), "none of them twice"),
    ((1,), ((3, 3), (3, 3)), r"both eyes are at \(3.0, 3.0\); expected two"),
    ((1,), ((0, 0, 1), (9, 0)), r"the left eye is torch.int64 \(3,\); expected \(2,\)"),
    ((1,), ((0, 0), (math.nan, 0)), "the right eye has values that are not finite")])
def test_places_refuse(aus, eyes, message):
    with pytest.raises(ValueError, match=message):
        figures.au_places(aus, *eyes)


# Figure 4

def test_active_nodes_are_filled(device, face, corners):
    """p = 0.5 is active, 0.49 is not; a place (10, 10) is drawn at 28 + 105 and 46 + 105 points; the picture lies below."""
    p = torch.tensor([.5, .49, 0, 1], device=device)
    image = figures.au_graph(face, corners, torch.eye(4, device=device), p, FOUR)
    assert image.size == (2 * 794, 2 * 552) and margin_is_paper(image)
    at = [image.getpixel((2 * (28 + x) - 18, 2 * (46 + y))) for x, y in ((105, 105), (305, 105), (105, 305), (305, 305))]
    assert at == [BLUE, (232, 235, 241), (232, 235, 241), BLUE]
    assert image.getpixel((2 * (28 + 205), 2 * (46 + 205)))[0] == pytest.approx(200 + 55 / 4, abs=1)        # a quarter of white


def test_links_point_at_the_listener(device, face, corners, monkeypatch):
    """A[0, 1] = 1: node 0 listens, so the tip stops short of node 0; nodes 2 and 3 hear each other: one line, no tip."""
    A = torch.zeros(4, 4, device=device)
    A[0, 1] = A[2, 3] = A[3, 2] = A[1, 1] = 1
    arrows, lines = kept(monkeypatch, "arrow"), kept(monkeypatch, "line")
    figures.au_graph(face, corners, A, torch.tensor([.9, .8, .7, .1], device=device), FOUR)
    on_face = [call for call in arrows if call[0][0][1] < 480]
    assert len(on_face) == 1 and on_face[0][1:] == (BLUE, 2.8)                              # both are active
    assert on_face[0][0][0] == pytest.approx((28 + 305 - 14, 151)) and on_face[0][0][-1] == pytest.approx((28 + 105 + 14, 151))
    plain = [call for call in lines if call[0][0][1] == pytest.approx(351) and call[1] != PAPER]
    assert len(plain) == 1 and plain[0][1:] == (figures.SLATE, 1.1)


def test_heard_by_counts_columns_without_the_node_itself(device, face, corners, written):
    """Node 1 is heard by 0 and 2, node 0 by none but itself."""
    A = torch.zeros(4, 4, device=device)
    A[0, 0] = A[0, 1] = A[1, 3] = A[2, 1] = A[2, 2] = A[3, 3] = 1
    figures.au_graph(face, corners, A, torch.tensor([.123, 0, 0, 1], device=device), FOUR)
    words = list(written)
    start = words.index("inner brow raiser")
    assert words[start:start + 3] == ["inner brow raiser", "0.12", "0"]
    assert [words[start + 4 * n + 2] for n in range(4)] == ["0", "2", "0", "1"]
    assert "links from one unit to another: 3; active units: 1; links of a unit with itself, not drawn: 3" in words


def test_ways_bend_around_nodes():
    """From (0, 0) to (200, 0), a node in the middle of the way: it is passed with 4 points to spare; else the way is straight."""
    at = torch.tensor([[0.0, 0], [200, 0], [100, 2], [90, 60]]).double()
    way = torch.tensor(figures._around(at, 0, 1, 12.5)).double()
    assert torch.cdist(way, at[2:]).min() > 16.4
    assert all(y == 0 for _, y in figures._around(at[[0, 1, 3]], 0, 1, 12.5))
    assert way[0].norm() == pytest.approx(14, abs=.1) and (way[-1] - at[1]).norm() == pytest.approx(14, abs=.1)


@pytest.mark.parametrize("H,W", [(40, 70), (70, 40), (1, 1)])
def test_graphs_of_anything(device, H, W):
    """Pictures that are not square, places off them, all units, all links: inside the sheet, nodes on the picture."""
    picture, N = torch.zeros(3, H, W, dtype=torch.uint8, device=device), len(ALL)
    points = torch.stack([torch.linspace(-50, 150, N), torch.linspace(200, -9, N)], 1).to(device)
    A, p = torch.ones(N, N, device=device), torch.linspace(0, 1, N, device=device)
    assert margin_is_paper(figures.au_graph(picture, points, A, p, ALL, LONG))


# Pairs of units

def pairs(device, N: int, cells: dict[tuple[int, int], int], sure: float = 1.0) -> torch.Tensor:
    """(N, N, 4): class 0 for certain, but in these cells."""
    q = torch.zeros(N, N, 4, device=device)
    q[..., 0] = 1
    for (i, j), k in cells.items():
        q[i, j] = (1 - sure) / 3
        q[i, j, k] = sure
    return q


def test_cells_by_row_and_column(device):
    """Row i, column j; cells of 40 points, two pixels each; the left edge follows from the longest name."""
    q = pairs(device, 4, {(0, 1): 1, (1, 0): 2, (3, 3): 3})
    image = figures.edge_matrix(q, FOUR)
    assert margin_is_paper(image)
    left = 62 + max(figures.text_width(figures.UNITS[u][0], 12) for u in FOUR)
    cell = lambda i, j: image.getpixel((round(2 * (left + 40 * j + 20)), 2 * (76 + 40 * i + 20)))
    assert [cell(0, 1), cell(1, 0), cell(3, 3), cell(2, 1)] == [LINES[3], ORANGE, GREEN, GREY]


def test_unsure_cells_are_paler(device):
    """From 16 % of the colour at ¼ to all of it at 1; at 0.625 58 %: 255 − 0.58 · (255 − 30) = 124.5 of red for green."""
    assert figures._strength(GREEN, 1.0) == GREEN
    assert figures._strength(GREEN, .625)[0] in (124, 125) and figures._strength(GREEN, .25)[0] == 255 - 36
    images = [figures.edge_matrix(pairs(device, 2, {(0, 1): 3}, sure), FOUR[:2]) for sure in (1.0, .625)]
    assert colours(images[0])[GREEN] - colours(images[1]).get(GREEN, 0) > 70 ** 2           # the cell; the key is in both


def test_wrong_cells_are_crossed_out(device, monkeypatch, written):
    """y = (1, 0, −1, 1): 9 cells are known; those of rows and columns 0 and 3 should not be class 0: all but (1, 1).

    (0, 1) is called 2 = only i, rightly, so 7 are wrong. One cross more stands in the key.
    """
    crosses = kept(monkeypatch, "line")
    q = pairs(device, 4, {(0, 1): 2})
    assert margin_is_paper(figures.edge_matrix(q, FOUR, LONG, torch.tensor([1, 0, -1, 1], device=device)))
    assert len(crosses) == 4 * (7 + 1) and "2 of 9 right, 7 unknown" in list(written)


def test_without_truth_nothing_is_wrong(device, monkeypatch, written):
    crosses = kept(monkeypatch, "line")
    figures.edge_matrix(pairs(device, 3, {}), FOUR[:3])
    assert not crosses and not {"wrong", "unit is present"} & set(written)


@pytest.mark.parametrize("N", [1, 18])
def test_matrices_of_any_size(device, N):
    assert margin_is_paper(figures.edge_matrix(pairs(device, N, {}), ALL[:N], LONG, torch.ones(N, device=device)))


# Bars

def test_bars_say_right_wrong_unknown(device, written):
    """p = (0.5, 0.4, 0.9, 0.2), y = (1, 1, −1, 0); at a threshold of 0.6 the first is wrong, too."""
    p, y = torch.tensor([.5, .4, .9, .2], device=device), torch.tensor([1, 1, -1, 0], device=device)
    image = figures.au_bars(p, FOUR, y, LONG)
    assert [w for w in written if w in ("right", "wrong", "unknown")] == ["right", "wrong", "unknown", "right"]
    assert margin_is_paper(image) and {GREEN, RED} <= set(colours(image)) and BLUE not in colours(image)
    assert {"AU01  inner brow raiser", "AU17  chin raiser", "active from 0.5", "0.40"} <= set(written)
    before = len(list(written))
    figures.au_bars(p, FOUR, y, called=.6)
    assert [w for w in list(written)[before:] if w in ("right", "wrong", "unknown")] == ["wrong", "wrong", "unknown", "right"]


def test_bars_are_as_long_as_p(device):
    """300 points, so 600 pixels, for 1: an active unit's 0.75 is 450 wide and 32 high; what is not active is not blue."""
    image = figures.au_bars(torch.tensor([.75, .25], device=device), FOUR[:2])
    row = [image.getpixel((x, 2 * (54 + 6))) for x in range(image.width)]
    assert 446 <= row.count(BLUE) <= 450
    row = [image.getpixel((x, 2 * (54 + 24 + 6))) for x in range(image.width)]
    assert row.count(BLUE) == 0 and 148 <= row.count(figures.PALE) <= 150


def test_f1_with_mean_and_counts(written):
    """(0.9 + 0.3 + 0) / 3 = 0.4."""
    image = figures.f1_bars({"AU01": .9, "AU02": .3, "AU04": 0.0}, {"AU01": 12, "AU02": 7, "AU04": 0}, LONG)
    assert margin_is_paper(image)
    assert [w for w in written][1:] == ["AU01", "90.0", "n = 12", "AU02", "30.0", "n = 7", "AU04", "0.0", "n = 0", "mean 40.0"]


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_means_at_the_ends(value):
    assert margin_is_paper(figures.f1_bars({"a": value}, {"a": 3}))


# Attention

def tile(image: Image.Image, n: int) -> Image.Image:
    """The n-th of four in a row, without a title: 150 points wide, from 28 + 172 n and 40 + 26."""
    return image.crop((2 * (28 + 172 * n), 2 * 66, 2 * (28 + 172 * n) + 300, 2 * 66 + 300))


def test_attention_lies_where_it_is(device):
    """Of 5 × 7 places the one in row 1 and column 5: its middle is at 5.5/7 and 1.5/5 of the tile, and is the darkest."""
    picture = torch.full((3, 30, 30), 180, dtype=torch.uint8, device=device)
    maps = torch.full((4, 5, 7), .01, device=device)
    maps[2, 1, 5] = .5
    image = figures.attention_maps(picture, maps, torch.zeros(4, device=device), FOUR)
    grey = tile(image, 2).convert("L")
    low = grey.getextrema()[0]
    dark = [(k % 300, k // 300) for k, v in enumerate(grey.get_flattened_data()) if v <= low + 2]
    middle = [sum(axis) / len(dark) for axis in zip(*dark, strict=True)]
    assert middle == pytest.approx([300 * 5.5 / 7, 300 * 1.5 / 5], abs=8)
    even = tuple(round(.45 * 180 + .55 * c) for c in heat(0))
    assert tile(image, 0).getpixel((150, 150)) == even and margin_is_paper(image)


def test_each_map_has_its_own_scale_and_says_it(device, face, written):
    """A map and half of it look alike; least and most stand below; spread evenly over 3 × 4 places would be 1/12."""
    one = torch.arange(12, device=device).reshape(3, 4) / 100
    image = figures.attention_maps(face, torch.stack([one, one / 2]), torch.tensor([.2, .1], device=device), FOUR[:2])
    assert ImageChops.difference(tile(image, 0), tile(image, 1)).getbbox() is None
    words = list(written)
    assert {"0.000 to 0.110", "0.000 to 0.055", "p 0.20", "p 0.10"} <= set(words) and "would be 0.083 everywhere" in words[-1]


@pytest.mark.parametrize("N,h,w,H,W", [(1, 1, 1, 60, 20), (12, 7, 7, 20, 60), (18, 2, 3, 1, 1)])
def test_maps_of_anything(device, N, h, w, H, W):
    picture, maps = torch.zeros(3, H, W, dtype=torch.uint8, device=device), torch.ones(N, h, w, device=device)
    assert margin_is_paper(figures.attention_maps(picture, maps, torch.ones(N, device=device), ALL[:N], LONG))


# What is refused

GOOD = {"picture": torch.zeros(3, 8, 8, dtype=torch.uint8), "points": torch.zeros(4, 2), "A": torch.eye(4), "p": torch.zeros(4),
        "q": torch.full((4, 4, 4), .25), "maps": torch.ones(4, 2, 2), "y": torch.zeros(4)}
TAKES = {"au_graph": ("picture", "points", "A", "p"), "edge_matrix": ("q",), "au_bars": ("p",),
         "attention_maps": ("picture", "maps", "p")}


@pytest.mark.parametrize("function,name,value,message", [
    ("au_graph", "picture", torch.zeros(3, 8, 8), r"picture is torch.float32 \(3, 8, 8\); expected torch.uint8 \(3, any, any\)"),
    ("au_graph", "points", torch.zeros(3, 2), r"points is torch.float32 \(3, 2\); expected \(4, 2\)"),
    ("au_graph", "A", torch.zeros(4, 5), r"A is torch.float32 \(4, 5\); expected \(4, 4\)"),
    ("au_graph", "p", torch.tensor([0, 1, 2, 0]), r"p goes from 0 to 2; expected values in \[0, 1\]"),
    ("au_graph", "points", torch.full((4, 2), math.inf), "points has values that are not finite"),
    ("edge_matrix", "q", torch.zeros(4, 4, 3), r"q is torch.float32 \(4, 4, 3\); expected \(4, 4, 4\)"),
    ("edge_matrix", "q", torch.full((4, 4, 4), .5), "q's four classes sum to 2 to 2; expected 1: take the softmax first"),
    ("edge_matrix", "y", torch.tensor([0, 1, 2, 9]), r"y holds \[2.0, 9.0\]; expected 1 present, 0 absent, -1 unknown"),
    ("au_bars", "p", torch.tensor([0, math.nan, 0, 0]), "p has values that are not finite"),
    ("au_bars", "p", torch.zeros(5), r"p is torch.float32 \(5,\); expected \(4,\)"),
    ("au_bars", "y", torch.zeros(3), r"y is torch.float32 \(3,\); expected \(4,\)"),
    ("attention_maps", "maps", torch.zeros(4, 49), r"maps is torch.float32 \(4, 49\); expected \(4, any, any\)"),
    ("attention_maps", "maps", torch.full((4, 1, 1), math.nan), "maps has values that are not finite")])
def test_figures_refuse(device, function, name, value, message):
    given = {key: (GOOD | {name: value})[key].to(device) for key in (*TAKES[function], *(["y"] if name == "y" else []))}
    with pytest.raises(ValueError, match=message):
        getattr(figures, function)(**given, aus=FOUR)
    with pytest.raises(ValueError, match=r"units are \[1, 4, 12, 99\]"):
        getattr(figures, function)(**{key: GOOD[key].to(device) for key in TAKES[function]}, aus=(1, 4, 12, 99))


@pytest.mark.parametrize("f1,counts,message", [
    ({"a": .5}, {"b": 1}, r"counts are of \['b'\]; expected those of f1, \['a'\]"), ({}, {}, "at least one"),
    ({"a": math.nan}, {"a": 1}, "f1 has values that are not finite"), ({"a": 64.5}, {"a": 1}, "f1 goes from 64.5 to 64.5")])
def test_f1_bars_refuse(f1, counts, message):
    with pytest.raises(ValueError, match=message):
        figures.f1_bars(f1, counts)


# From a model

def settings(**yours) -> paper.Config:
    return merge(paper.Config, ("demo", paper.PRESETS["demo"]), ("yours", {"aus": FOUR, "K": 2, "resize": 64, "size": 56} | yours))[0]


def drawn(cfg: paper.Config) -> list[Sample]:
    return drawn_units.read(None, cfg, {"report": (5, 1)}).samples


def test_own_picture(device, one_thread, written):
    """Every picture of the second stage; the first has no edges. A folder's two last names stand in the title."""
    cfg = settings()
    sample = Sample("far/away/someone/at home/face.png", Aligned(None, torch.zeros(1, 68, 2)), {})
    x = torch.rand(3, 56, 56, device=device)
    for mefl, names in ((True, ["units", "graph", "edges", "attention"]), (False, ["units", "graph"])):
        model = paper.MEGraphAU(cfg, mefl).to(device).eval()
        out = figures.of_own(model, sample, (x,), torch.tensor([.2, .6, .7, .4], device=device))
        assert list(out) == names and all(margin_is_paper(image) for image in out.values())
    assert {"The units of someone/at home/face.png", "0.60"} <= set(written) and "right" not in set(written)


def test_places_follow_the_kind_of_face(device, one_thread, monkeypatch):
    """Nodes of a drawn face lie lower than those of one cut out along landmarks: the eyes at 0.405, not 0.34, of 64 pixels.

    The links are the graph that the model shows, row by row.
    """
    seen, model, graph = [], paper.MEGraphAU(settings(), False).to(device).eval(), torch.eye(4, device=device).roll(1, 1)
    monkeypatch.setattr(figures, "look", lambda model, x: {"graph": graph})
    monkeypatch.setattr(figures, "au_graph", lambda picture, points, A, *rest: seen.append((points, A)))
    for clip in (Drawn(torch.zeros(1, 3, 64, 64, dtype=torch.uint8)), Aligned(None, torch.zeros(1, 68, 2))):
        figures.of_own(model, Sample("x", clip, {}), (torch.rand(3, 56, 56, device=device),), torch.zeros(4))
    apart = [.26 * 64, .32 * 64]
    assert [(points[1, 1] - points[0, 1]).item() for points, _ in seen] == pytest.approx([.16 * a for a in apart])      # units 4, 1
    high = [y * 64 - 4.5 - .22 * a for y, a in zip((.405, .34), apart, strict=True)]
    assert [points[1, 1].item() for points, _ in seen] == pytest.approx(high)
    assert all(torch.equal(A, graph) for _, A in seen)


def test_what_the_model_lacks_is_not_drawn(device, one_thread):
    """Without AFG (Table 3, row 1) there is no graph; a unit without a place on the face leaves nothing of a face."""
    sample, x = Sample("x", None, {}), torch.rand(3, 56, 56, device=device)
    bare = settings(AFG=False, FGG=False, MEFL=False, L_WA=False, L_E=False)
    assert list(figures.of_own(paper.MEGraphAU(bare, False).to(device).eval(), sample, (x,), torch.zeros(4))) == ["units"]
    strange = settings(aus=(1, 43))
    assert figures.of_own(paper.MEGraphAU(strange, True).to(device).eval(), sample, (x,), torch.zeros(2)) == {}


def test_report_takes_the_richest_face_that_is_mostly_right(device, one_thread, written):
    """Faces 0 to 4 have 1, 4, 3, 3, 2 units present; of face 1 only two calls of four are right; so 2, the first of those with 3.

    F1: unit 1 is present in 1, 2, 3, 4 and called in 2, 3, 4: 2·3 / (4 + 3) = 85.7.
    """
    cfg = settings()
    model, samples = paper.MEGraphAU(cfg, True).to(device).eval(), drawn(cfg)
    y = torch.tensor([[0, 1, 0, 0], [1, 1, 1, 1], [1, 1, -1, 1], [1, 1, 1, 0], [1, 1, 0, 0]])
    called = torch.tensor([[0, 1, 0, 0], [0, 1, 1, 0], [1, 1, 1, 1], [1, 1, 1, 0], [1, 1, 0, 0]])
    rows = {"sample": [s.id for s in samples], "fold": ["2"] * 5} | {
        f"{kind}_{unit}": v[:, k] for kind, v in (("target", y), ("predicted", called), ("p", .1 + .8 * called))
        for k, unit in enumerate(paper.named(cfg))}
    out = figures.of_report(paper, model, samples, rows, device)
    assert list(out) == ["units", "graph", "edges", "attention"] and all(margin_is_paper(i) for i in out.values())
    assert list(figures.of_rows(paper, rows, cfg)) == ["f1"]
    words = list(written)
    assert "F1 in percent, fold 2, 5 pictures" in words
    later = words[words.index("F1 in percent, fold 2, 5 pictures"):]
    assert later[later.index("AU01  inner brow raiser"):][1:3] == ["85.7", "n = 4"]
    assert "The units of report/0002" in words
    assert [w for w in words if w in ("right", "wrong", "unknown")] == ["right", "right", "unknown", "right", "wrong"]


@pytest.mark.parametrize("called,shown", [((1, 1, 1, 1, 1), "report/0000"), ((1, 1, 0, 1, 0), "report/0002")])
def test_report_where_nothing_is_present(device, one_thread, written, called, shown):
    """Where no face is mostly right the first is shown, else the first that is."""
    cfg = settings()
    samples, called = drawn(cfg), torch.tensor(called)
    rows = {"sample": [s.id for s in samples], "fold": ["0"] * 5} | {
        f"{kind}_{unit}": v for kind, v in (("target", 0 * called), ("predicted", called), ("p", .1 + .8 * called))
        for unit in paper.named(cfg)}
    figures.of_report(paper, paper.MEGraphAU(cfg, False).to(device).eval(), samples, rows, device)
    assert f"The units of {shown}" in list(written)


def test_command(tmp_path, capsys):
    """Draws an angry face's graph; without a name it says how."""
    assert figures.main([str(tmp_path / "g.png")]) == 0
    with Image.open(tmp_path / "g.png") as image:
        assert image.size == (2 * 794, 2 * 582) and BLUE in colours(image.convert("RGB"))
    assert figures.main([]) == 2 and "usage" in capsys.readouterr().err
