"""figures/face2nodes.py: lines that go to the neighbours, heat where the map is high, colours that are the class's, maps by hand."""
import math

import pytest
import torch
from PIL import Image, ImageChops
from torch import nn

from refnet.config import merge
from refnet.data import drawn_stills
from refnet.data.samples import Sample
from refnet.figures import charts
from refnet.figures import face2nodes as figures
from refnet.figures.canvas import BLUE, ORANGE, PAPER, Canvas, heat
from refnet.figures.charts import confusion
from refnet.models import face2nodes as paper

LONG = "a title that nobody would give, with Ünïcode and\na line break " * 5


def margin_is_paper(image: Image.Image) -> bool:
    """The outermost two pixels: whatever touches them may have been cut."""
    w, h = image.size
    edges = [image.crop(e) for e in ((0, 0, w, 2), (0, h - 2, w, h), (0, 0, 2, h), (w - 2, 0, w, h))]
    return all([colour for _, colour in edge.getcolors(w * h)] == [PAPER] for edge in edges)


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


def face(device, S: int = 42) -> torch.Tensor:
    return torch.full((3, S, S), 200, dtype=torch.uint8, device=device)


# A node's neighbours

@pytest.mark.parametrize("N, node", [(49, 31), (196, 133), (784, 546), (1, 0), (4, 3)])
def test_the_node_at_the_mouth(N, node):
    """7 × 7: 0.7 · 7 = 4.9, row 4, column 3: 4 · 7 + 3 = 31. 14 × 14: 9.8, row 9, column 7: 9 · 14 + 7 = 133. 28 × 28: row 19."""
    assert figures.default_node(N) == node


def graph_of(device, N: int, node: int, neighbours: list[int], gates: list[float] | None = None, **more) -> Image.Image:
    """One block whose other nodes listen to the last one, through gates of 1."""
    index = torch.full((1, N, len(neighbours)), N - 1, device=device)
    index[0, node] = torch.tensor(neighbours)
    gate = torch.ones(1, N, len(neighbours), device=device)
    gate[0, node] = torch.tensor(gates or [1.0] * len(neighbours))
    return figures.neighbour_graph(face(device), index, None if gates is None else gate, node, (1,), **more)


def test_lines_go_to_the_neighbours_as_wide_as_their_gates(device, monkeypatch, written):
    """3 × 3 nodes on 210 points from (28, 72): node (0, 0) is at (63, 107), node (1, 2) at (203, 177), node (1, 1) at (133, 177).

    0.5 + 5 · ½ = 3 and 0.5 + 5 · ¼ = 1.75 points; the node's own gate, 0.9, is neither drawn nor counted.
    """
    lines, discs = kept(monkeypatch, "line"), kept(monkeypatch, "disc")
    image = graph_of(device, 9, 4, [4, 0, 5], [.9, .5, .25])
    found = {tuple(call[0][-1]): call[2] for call in lines if call[1] == BLUE and call[0][0] == (133, 177)}
    assert found == {(63, 107): 3.0, (203, 177): 1.75}
    assert sum(call[4] == ORANGE for call in discs if len(call) > 4) == 2                    # the ring, and that of the legend
    assert {"block 1", "d = 1", "gates 0.25 to 0.50", "the edge x_j - x_i is multiplied by it, Eq. 7"} <= set(written)
    assert any(words.startswith("From the node in row 2, column 2 of 3 x 3 to its k = 3 neighbours") for words in written)
    assert image.getpixel((2 * 63, 2 * 107)) == BLUE and image.getpixel((2 * 133, 2 * 177)) == ORANGE and margin_is_paper(image)


def test_no_ring_where_the_node_is_not_its_own_neighbour(device, monkeypatch):
    discs = kept(monkeypatch, "disc")
    graph_of(device, 9, 4, [0, 5], [.5, .25])
    assert sum(call[4] == ORANGE for call in discs if len(call) > 4) == 1                    # the legend's


def test_without_gates_lines_are_of_one_width(device, monkeypatch, written):
    lines = kept(monkeypatch, "line")
    graph_of(device, 9, 4, [4, 0, 5])
    assert {call[2] for call in lines if call[1] == BLUE} == {1.8}
    assert {"no gates", "a neighbour; this graph convolution has no gates, so all lines are of one width"} <= set(written)
    assert not any("gate 0.5" in words for words in written)


def test_lines_bend_around_neighbours_inwards(device, monkeypatch):
    """From the corner (4, 0) of 5 × 5 to (4, 3) past the neighbour (4, 1), which is 42 points from the start: bent upwards."""
    lines = kept(monkeypatch, "line")
    graph_of(device, 25, 20, [21, 23, 12], [.1, .1, .1])
    ways = {tuple(call[0][-1]): call[0] for call in lines if call[1] == BLUE and call[0][0] == (49, 261)}
    assert [len(way) for way in ways.values()].count(2) == 2 and len(ways) == 3
    bent = ways[(175, 261)]
    assert all(y < 261 for _, y in bent[1:-1]) and min(math.dist(p, (91, 261)) for p in bent) > 10


@pytest.mark.parametrize("g,S,L", [(7, 56, 8), (14, 224, 8), (28, 224, 12), (1, 1, 1), (2, 5, 6), (7, 56, 10)])
def test_graphs_of_any_size(device, g, S, L):
    """Blocks in rows of three or four, corner nodes, long titles: inside the sheet."""
    N, k = g * g, min(9, g * g)
    index = torch.stack([torch.randperm(N)[:k] for _ in range(L * N)]).unflatten(0, (L, N)).to(device)
    for node in (0, N - 1):
        image = figures.neighbour_graph(face(device, S), index, torch.rand(L, N, k, device=device), node, range(1, L + 1), LONG)
        assert margin_is_paper(image)


# Heat on faces

def overlays(device, maps: list[torch.Tensor], **more) -> Image.Image:
    m = len(maps[0])
    rows = [(f"model {r}", v.to(device)) for r, v in enumerate(maps)]
    return figures.heat_overlays(rows, face(device, 30).expand(m, 3, 30, 30), [f"face {n}" for n in range(m)], **more)


def tile(image: Image.Image, n: int, row: int) -> Image.Image:
    """The n-th square of a row, without a title: 118 points wide, 132 apart, downwards from 30; the last one ends 28 from the right."""
    left = math.ceil(28 + 14 + figures.text_width("model 0", 12.5)) + 132 * n
    return image.crop((2 * left, 2 * (30 + 132 * row), 2 * (left + 118), 2 * (30 + 132 * row + 118)))


def test_heat_lies_where_it_is(device):
    """Of 5 × 7 places the one in row 1 and column 5: its middle is at 5.5/7 and 1.5/5 of the square, and is the darkest."""
    maps = torch.zeros(3, 5, 7)
    maps[2, 1, 5], maps[1, 4, 0] = .5, 3
    image = overlays(device, [torch.ones(3, 2, 2), maps])
    grey = tile(image, 2, 2).convert("L")
    low = grey.getextrema()[0]
    dark = [(k % 236, k // 236) for k, v in enumerate(grey.get_flattened_data()) if v <= low + 2]
    middle = [sum(axis) / len(dark) for axis in zip(*dark, strict=True)]
    assert middle == pytest.approx([236 * 5.5 / 7, 236 * 1.5 / 5], abs=7)
    assert tile(image, 2, 2).getpixel((20, 200)) == tuple(round(.45 * 200 + .55 * c) for c in heat(0))
    assert tile(image, 0, 1).getpixel((118, 118)) == tuple(round(.45 * 200 + .55 * c) for c in heat(1))
    assert tile(image, 1, 0).getpixel((118, 118)) == (200, 200, 200) and margin_is_paper(image)


def test_each_map_has_its_own_scale_and_says_it(device, written):
    """A map and half of it look alike, a map that is 0 is called so, the scale and the note stand below."""
    one = torch.arange(12.0).reshape(3, 4)
    image = overlays(device, [torch.stack([one, one / 2, 0 * one])], note="what it is")
    assert ImageChops.difference(tile(image, 0, 1), tile(image, 1, 1)).getbbox() is None
    words = list(written)
    assert words.count("0 everywhere") == 1
    assert words[-2:] == ["colours: from 0 to the most of each map, each map on its own", "what it is"]


@pytest.mark.parametrize("m,bands", [(1, 2), (2, 1), (7, 1), (8, 2), (15, 3)])
def test_seven_faces_in_a_row(device, written, m, bands):
    """Each band names its rows again; of one face, name and map stand in one row; nothing is cut off."""
    rows = [(LONG, torch.rand(m, 7, 7, device=device)), ("b", torch.rand(m, 2, 2, device=device))]
    image = figures.heat_overlays(rows, face(device).expand(m, 3, 42, 42), [f"{LONG}\n{LONG}"] * m, LONG, "note")
    assert margin_is_paper(image) and list(written).count("b") == min(bands, m)
    assert image.width <= 2 * (28 + 164 + 7 * 132 + 28)


# Points in the plane

def test_points_are_where_they_are_in_their_class_colour(device, monkeypatch, written):
    """A panel of 330 points from (28, 84), its middle at (193, 249): the widest axis spans ± 153, y upwards; −1 is grey."""
    points = torch.tensor([[0.0, 0], [4, 0], [0, 2], [2, 1]], device=device)
    image = figures.embeddings([("a", points)], torch.tensor([1, 0, 1, -1], device=device), ("sad", "glad"))
    ink = [image.getpixel((2 * x, 2 * y)) for x, y in ((40, 249 + 76), (346, 249 + 76), (40, 249 - 76), (193, 249))]
    assert ink == [ORANGE, BLUE, ORANGE, figures.UNKNOWN]
    words = list(written)
    assert [words[words.index(name) + 1] for name in ("sad", "glad", "unknown")] == ["n = 1", "n = 2", "n = 1"]


def test_no_class_hides_the_others(device, monkeypatch):
    """Two classes of 200, one after the other: drawn in an order that is shuffled, and the same in every panel and every time."""
    discs, target = kept(monkeypatch, "disc"), torch.arange(400, device=device) // 200
    for _ in range(2):
        figures.embeddings([("a", torch.rand(400, 2, device=device))] * 2, target, ("sad", "glad"))
    inks = [call[3] for call in discs if call[2] == 2.5]
    assert len(inks) == 1600 and inks[:400] == inks[400:800] == inks[800:1200]
    assert sum(a != b for a, b in zip(inks[:400], inks[1:400], strict=False)) > 150


@pytest.mark.parametrize("n,C,panels", [(1, 2, 1), (3000, 8, 2), (50, 25, 4), (50, 7, 5)])
def test_embeddings_of_any_size(device, n, C, panels):
    """One point, many, more classes than colours, long names: inside the sheet, and no two of 25 classes share a colour."""
    target = torch.arange(n, device=device) % (C + 1) - 1
    names = [f"{c} {LONG}" for c in range(C)]
    image = figures.embeddings([(LONG, torch.randn(n, 2, device=device)) for _ in range(panels)], target, names, LONG)
    assert margin_is_paper(image)
    if C == 25:
        right = image.crop((2 * (28 + 2 * 354), 0, 2 * (28 + 2 * 354 + 20), image.height))
        assert len([1 for count, colour in right.getcolors(10 ** 6) if count > 150 and colour != PAPER]) == 26


# Confusion matrices side by side

def test_confusions_stand_side_by_side(device):
    """Each is the chart itself, below the title's 52 points; four stand two by two."""
    counts = [torch.tensor([[5, k], [2, 7]], device=device) for k in range(4)]
    single, third = (confusion(counts[k], ["a", "b"], f"model {k}") for k in (1, 2))
    parts = [(f"model {k}", v) for k, v in enumerate(counts)]
    pair, four = charts.confusions(parts[:2], ["a", "b"], LONG), charts.confusions(parts, ["a", "b"])
    w, h = single.size
    assert pair.size == (2 * w, h + 104) and four.size == (2 * w, 2 * h + 104)
    assert ImageChops.difference(pair.crop((w, 104, 2 * w, 104 + h)), single).getbbox() is None
    assert ImageChops.difference(four.crop((0, 104 + h, w, 104 + 2 * h)), third).getbbox() is None
    assert margin_is_paper(charts.confusions([(LONG, torch.ones(8, 8))] * 3, [f"{c}{LONG}" for c in range(8)], LONG))


# Maps by hand

class Toy(nn.Module):
    """Its nodes are its input. logit_0 = Σ_n n (2 X_n1 − X_n2), nodes and channels counted from 1; logit_1 = Σ_n X_n2² / 2."""

    def __init__(self):
        super().__init__()
        self.one, self.drop, self.modes = nn.Parameter(torch.ones(())), nn.Dropout(), []

    def nodes(self, x):
        self.modes.append(self.drop.training)
        return self.one * x

    def classify(self, X):
        self.modes.append(self.drop.training)
        n = torch.arange(1.0, 5, device=X.device)
        return self.one * torch.stack([((2 * X[..., 0] - X[..., 1]) * n).sum(1), X[..., 1].square().sum(1) / 2], 1)


def test_grad_cam_by_hand(device):
    """face2nodes (§4.6): four nodes, two channels.

    Class 0: the gradient at node n is (2n, −n), its mean over the nodes (5, −2.5). Of X = (1, 0), (0, 1), (2, 1), (−1, 3)
    that makes 5, −2.5, 7.5, −12.5; ReLU and the division by 7.5 leave ⅔, 0, 1, 0.
    Class 1: the gradient is (0, X_n2), its mean (0, 5/4); of the same X 0, 5/4, 5/4, 15/4, so 0, ⅓, ⅓, 1.
    Class 0 of (−1, 0), (−1, 0), (0, 1), (0, 0): −5, −5, −2.5, 0, so 0 everywhere, not 0/0.
    """
    X = torch.tensor([[1.0, 0], [0, 1], [2, 1], [-1, 3]])
    x = torch.stack([X, X, torch.tensor([[-1.0, 0], [-1, 0], [0, 1], [0, 0]])]).to(device)
    model = Toy().to(device)
    with torch.no_grad():                                                                  # as evaluate.py has it
        found = figures.grad_cam(model, x, torch.tensor([0, 1, 0]))
    wanted = torch.tensor([[[2 / 3, 0], [1, 0]], [[0, 1 / 3], [1 / 3, 1]], [[0, 0], [0, 0]]], device=device)
    torch.testing.assert_close(found, wanted)
    assert model.one.grad is None and not found.requires_grad
    assert model.modes == [False, False] and model.training and model.drop.training
    figures.grad_cam(model.eval(), x.requires_grad_(), torch.tensor([0, 1, 0]))
    assert not model.training and x.grad is None


def test_the_mode_comes_back_when_it_fails(device):
    model = Toy().to(device).train()
    with pytest.raises(ValueError, match="there are 3 nodes; expected a square number"):
        model.classify = lambda X: X.sum(1)
        figures.grad_cam(model, torch.ones(1, 3, 2, device=device), torch.tensor([0]))
    with pytest.raises(RuntimeError):
        figures.grad_cam(model, torch.ones(1, 4, 2, device=device), torch.tensor([5]))
    assert model.training


def test_feature_map_by_hand(device):
    """face2nodes (§4.6): means of |X|: 2, 1, 3, 1; from the least, 1, to the most, 3: ½, 0, 1, 0. The same everywhere is 0 everywhere."""
    X = torch.tensor([[[1.0, -3], [1, 1], [2, -4], [2, 0]], [[1.0, -1], [-1, 1], [2, 0], [0, -2]]], device=device)
    wanted = torch.tensor([[[.5, 0], [1, 0]], [[0, 0], [0, 0]]]).double()
    torch.testing.assert_close(figures.feature_map(X), wanted)


# What is refused

PICTURE, INDEX, GATE = torch.zeros(3, 8, 8, dtype=torch.uint8), torch.zeros(2, 4, 3, dtype=torch.int64), torch.ones(2, 4, 3)
ONE = torch.ones(2, 3, 3)


@pytest.mark.parametrize("changed,message", [
    ({"picture": torch.zeros(3, 8, 8)}, r"picture is torch.float32 \(3, 8, 8\); expected torch.uint8 \(3, 8, 8\)"),
    ({"picture": PICTURE[:, :5]}, r"picture is torch.uint8 \(3, 5, 8\); expected torch.uint8 \(3, 8, 8\)"),
    ({"index": INDEX.float()}, r"index is torch.float32 \(2, 4, 3\); expected torch.int64 \(2, any, any\)"),
    ({"dilation": (1,)}, r"index is torch.int64 \(2, 4, 3\); expected torch.int64 \(1, any, any\)"),
    ({"dilation": (), "index": INDEX[:0], "gate": None}, r"index is torch.int64 \(0, 4, 3\); expected torch.int64 \(1, any, any\)"),
    ({"index": INDEX[:, :3]}, "there are 3 nodes; expected a square number of them, such as 49, 196 or 784"),
    ({"index": INDEX + 4}, "node is 1, index goes from 4 to 4; expected nodes from 0 to 3"),
    ({"node": -1}, "node is -1, index goes from 0 to 0; expected nodes from 0 to 3"),
    ({"gate": GATE[:, :, :2]}, r"gate is torch.float32 \(2, 4, 2\); expected \(2, 4, 3\)"),
    ({"gate": GATE * math.nan}, "gate has values that are not finite"),
    ({"gate": GATE * 1.5}, r"gate goes from 1.5 to 1.5; expected values in \[0, 1\]")])
def test_graphs_refuse(device, changed, message):
    good = {"picture": PICTURE, "index": INDEX, "gate": GATE, "node": 1, "dilation": (1, 2)} | changed
    with pytest.raises(ValueError, match=message):
        figures.neighbour_graph(**{k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in good.items()})


@pytest.mark.parametrize("rows,pictures,captions,message", [
    ([("a", ONE[:1])], PICTURE[None].repeat(2, 1, 1, 1), "xy", r"the maps of a is torch.float32 \(1, 3, 3\); expected \(2, any, any\)"),
    ([("a", ONE)], PICTURE, "xy", r"pictures is torch.uint8 \(3, 8, 8\); expected torch.uint8 \(any, 3, 8, 8\)"),
    ([("a", ONE)], PICTURE[None].repeat(2, 1, 1, 1), "x", "1 captions, 1 rows of maps for 2 pictures; expected a caption a picture"),
    ([], PICTURE[None], "x", "1 captions, 0 rows of maps for 1 pictures"),
    ([("a", -ONE)], PICTURE[None].repeat(2, 1, 1, 1), "xy", "maps of 0 or above"),
    ([("a", ONE * math.inf)], PICTURE[None].repeat(2, 1, 1, 1), "xy", "the maps of a has values that are not finite")])
def test_overlays_refuse(device, rows, pictures, captions, message):
    with pytest.raises(ValueError, match=message):
        figures.heat_overlays([(name, v.to(device)) for name, v in rows], pictures.to(device), list(captions))


@pytest.mark.parametrize("points,target,message", [
    (torch.zeros(3, 3), (0, 1, 1), r"the points of a is torch.float32 \(3, 3\); expected \(3, 2\)"),
    (torch.zeros(3, 2), (0, 1, 2), "target goes from 0 to 2, with 1 panels; expected classes from 0 to 1 or -1"),
    (torch.zeros(3, 2), (0, 1, -2), "target goes from -2 to 1"), (torch.zeros(3, 2), (0, .5, 1), "in whole numbers"),
    (None, (0, 1, 1), "with 0 panels"), (torch.full((3, 2), math.nan), (0, 1, 1), "the points of a has values that are not finite")])
def test_embeddings_refuse(device, points, target, message):
    with pytest.raises(ValueError, match=message):
        figures.embeddings([("a", points.to(device))] if points is not None else [], torch.tensor(target, device=device), ("x", "y"))


def test_the_others_refuse(device):
    with pytest.raises(ValueError, match=r"target is \(2,\); expected a class for each of 1 pictures"):
        figures.grad_cam(Toy().to(device), torch.ones(1, 4, 2, device=device), torch.tensor([0, 1]))
    with pytest.raises(ValueError, match=r"X is torch.float32 \(4, 2\); expected \(any, any, any\)"):
        figures.feature_map(torch.ones(4, 2, device=device))
    with pytest.raises(ValueError, match="there are no confusion matrices"):
        charts.confusions([], ["a"])


# From a model

def settings(**yours) -> paper.Config:
    small = {"size": 32, "stored": 32, "N": 16, "k": 3, "L": 2, "slower": 1, "D": 16, "C": 4, "classes": drawn_stills.SEVEN}
    return merge(paper.Config, ("demo", paper.PRESETS["demo"]), ("yours", small | yours))[0]


def model_of(device, **yours) -> paper.Face2Nodes:
    torch.manual_seed(0)
    return paper.Face2Nodes(settings(**yours)).to(device).eval()


@pytest.fixture
def samples() -> list[Sample]:
    """Nine drawn faces; what they show does not matter."""
    return drawn_stills.read(None, settings(), {"report": (9, 3)}).samples


def rows_of(target: list[int], predicted: list[int]) -> dict:
    """What is called has a probability of 0.4, each other class 0.1."""
    p = .1 + .3 * torch.eye(7)[torch.tensor(predicted)]                                    # (n, 7)
    found = {f"p_{name}": p[:, c] for c, name in enumerate(drawn_stills.SEVEN)}
    return {"target": torch.tensor(target), "predicted": torch.tensor(predicted)} | found


@pytest.mark.parametrize("yours,words", [
    ({}, "the edge x_j - x_i is multiplied by it, Eq. 7"), ({"RG": False, "MSF2PE": False}, "no gates")])
def test_own_picture(device, one_thread, written, yours, words):
    """Three pictures, of the likeliest class; the blocks' dilations stand below the graph's panels."""
    model, p = model_of(device, **yours), torch.tensor([.1, .1, .4, .1, .1, .1, .1])
    picture = torch.randint(256, (3, 32, 32)).byte().to(device)
    with torch.no_grad():
        out = figures.of_own(model, Sample("at home/me.png", None, {}), (picture,), p)
    assert sorted(out) == ["bars", "cam", "graph"] and all(margin_is_paper(image) for image in out.values())
    assert {"Where disgust is seen, me.png", "called disgust 0.40", "d = 1", "d = 2", words,
            "Whom the node near the mouth listens to, me.png"} <= set(written)


def test_own_picture_is_what_the_network_sees(device, one_thread, monkeypatch):
    """The picture is in [0, 1] when it comes to the network, enlarged to its size, and the map is of the likeliest class."""
    model, seen = model_of(device, stored=16), []
    monkeypatch.setattr(figures, "grad_cam", lambda model, x, target: seen.append((x, target)) or torch.ones(1, 4, 4))
    figures.of_own(model, Sample("x", None, {}), (torch.full((3, 16, 16), 51, dtype=torch.uint8, device=device),), torch.eye(7)[5])
    torch.testing.assert_close(seen[0][0], torch.full((1, 3, 32, 32), .2, device=device))
    assert seen[0][1].tolist() == [5]


def test_without_blocks_there_is_no_graph(device, one_thread):
    picture = torch.zeros(3, 32, 32, dtype=torch.uint8, device=device)
    out = figures.of_own(model_of(device, L=0), Sample("x", None, {}), (picture,), torch.eye(7)[0])
    assert sorted(out) == ["bars", "cam"]


def test_one_of_each_class():
    """Class 0 is right at 3 and 5, class 1 nowhere, class 2 does not occur, −1 is no class."""
    target, predicted = torch.tensor([-1, 1, 0, 0, 1, 0]), torch.tensor([0, 0, 1, 0, 2, 0])
    assert figures._one_of_each(target, predicted, 3) == [3, 1]


def test_report(device, one_thread, samples, written, monkeypatch):
    """Classes 0 and 3 have no right face and show their first, 0 and 1, and what it was called; the graph is of class 1's."""
    model, rows = model_of(device), rows_of([0, 3, 1, -1, 0, 0, 1, 3, 1], [1, 6, 0, 0, 2, 3, 1, 2, 1])
    asked, cam = [], figures.grad_cam
    monkeypatch.setattr(figures, "grad_cam", lambda model, x, target: asked.append(target.tolist()) or cam(model, x, target))
    out = figures.of_report(paper, model, samples, rows, device)
    assert asked == [[1, 1, 6]]                                                            # what was called
    assert sorted(out) == ["cam", "features", "graph", "tsne"] and all(margin_is_paper(image) for image in out.values())
    words = list(written)
    assert [w for w in words if w.startswith("called ")] == 2 * ["called anger 0.40", "called anger 0.40", "called surprise 0.40"]
    assert {"Whom the node near the mouth listens to, anger, report/0006", "The features of 9 tested faces, t-SNE", "fear"} <= set(words)
    assert figures.of_rows(paper, rows, model.cfg) == {}
    unknown = figures.of_report(paper, model, samples[:3], rows_of([-1] * 3, [0] * 3), device)
    assert unknown == {}                                                                   # too few for a plane, no class known


def test_the_plane_takes_every_so_many_th(device, one_thread, samples, monkeypatch):
    """At most 5 of 9: every second, 0, 2, 4, 6, 8, with their own targets; a feature is the mean of a face's nodes."""
    seen, model = [], model_of(device)
    monkeypatch.setattr(figures, "MOST", 5)
    monkeypatch.setattr(figures, "AT_ONCE", 2)
    monkeypatch.setattr(figures, "tsne", lambda X: seen.append(X) or X[:, :2])
    monkeypatch.setattr(figures, "embeddings", lambda panels, target, names, title: seen.append(target))
    figures._planes("x", paper, [("", model, samples, rows_of(list(range(7)) + [0, 1], [0] * 9), device)])
    assert seen[1].tolist() == [0, 2, 4, 6, 1] and seen[0].shape == (5, 16)
    x = samples[4].clip.read([0], 32).to(device) / 255
    with torch.no_grad():
        torch.testing.assert_close(seen[0][2], model.nodes(x)[0].mean(0), rtol=.01, atol=.01)


def test_beside(device, one_thread, samples, written):
    """The first run's faces for all, the true class's maps; face 0 is right in both, face 1 in the second only."""
    target = [0, 1, 1, -1, 0, 0, 1, 1, 1]
    first, second = rows_of(target, [0, 3, 0, 0, 0, 0, 2, 2, 2]), rows_of(target, [0, 1, 1] + [0] * 6)
    rival = model_of(device, RG=False, MSF2PE=False)
    seen = [("ours", model_of(device), samples, first, device), ("theirs", rival, samples, second, device)]
    out = figures.of_beside(paper, seen)
    assert list(out) == ["beside-tsne", "beside-cam"] and all(margin_is_paper(image) for image in out.values())
    words = list(written)
    assert [w for w in words if w.startswith("called so")] == ["called so by 2 of 2", "called so by 1 of 2"]
    assert words.count("ours") == words.count("theirs") == 2
    with pytest.raises(ValueError, match="theirs was tested on other samples or classes than ours; expected the same, in order"):
        figures.of_beside(paper, [seen[0], ("theirs", rival, samples[::-1], second, device)])


def test_beside_asks_each_model_for_itself(device, one_thread, samples, monkeypatch):
    """The maps of the second row are the second run's; both are of the true class: 0 of face 0, 1 of face 1."""
    asked, one = [], torch.ones(2, 4, 4)
    monkeypatch.setattr(figures, "grad_cam", lambda model, x, target: asked.append((model, target.tolist())) or one)
    a, b = model_of(device), model_of(device, L=1)
    rows = [rows_of([0, 1, -1], [1, 1, 0]), rows_of([0, 1, -1], [0, 0, 0])]
    figures.of_beside(paper, [("a", a, samples[:3], rows[0], device), ("b", b, samples[:3], rows[1], device)])
    assert asked == [(a, [0, 1]), (b, [0, 1])]


def test_command(tmp_path, capsys):
    """Draws four panels; without a name it says how."""
    assert figures.main([str(tmp_path / "g.png")]) == 0
    with Image.open(tmp_path / "g.png") as image:
        assert image.size == (1924, 796) and margin_is_paper(image.convert("RGB"))
    assert figures.main([]) == 2 and "usage" in capsys.readouterr().err
    assert figures.main([str(tmp_path / "g.xyz")]) == 2 and "are written as .png" in capsys.readouterr().err
