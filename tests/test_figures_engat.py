"""figures/engat.py: widths that follow the similarities, nodes kept and dropped, frames named; nothing cut off or laid over."""
import math

import pytest
import torch
from PIL import Image, ImageChops

from refnet.figures import engat
from refnet.figures.canvas import BLUE, GREEN, HEAT, INK, LINES, ORANGE, PAPER, Canvas, heat, text_width
from refnet.graphs.landmarks import EdgeFeatures, face_contours

LONG = "a title that nobody would give, with Ünïcode and\na line break " * 5
N = 51


def colours(image: Image.Image) -> dict[tuple[int, int, int], int]:
    """How many pixels there are of each colour."""
    return {colour: count for count, colour in image.getcolors(image.width * image.height)}


def margin_is_paper(image: Image.Image) -> bool:
    """The outermost two pixels: whatever touches them may have been cut."""
    w, h = image.size
    return all(set(colours(image.crop(e))) == {PAPER} for e in ((0, 0, w, 2), (0, h - 2, w, h), (0, 0, 2, h), (w - 2, 0, w, h)))


def panel(image: Image.Image, k: int, side: float, gap: float, top: float) -> Image.Image:
    """The k-th face, without what stands around it; side, gap and top in points, 2 pixels each."""
    x = 28 + k * (side + gap)
    return image.crop((2 * x, round(2 * top), round(2 * (x + side)), round(2 * (top + side))))


@pytest.fixture
def written(monkeypatch) -> list[tuple[float, float, str, float]]:
    """Every line of text put on a sheet: x, y, words, size."""
    lines, text = [], Canvas.text

    def keep(self, x, y, words, size=12, *rest, **more):
        lines.append((x, y, words, size))
        return text(self, x, y, words, size, *rest, **more)

    monkeypatch.setattr(Canvas, "text", keep)
    return lines


@pytest.fixture
def grid(device) -> torch.Tensor:
    """51 landmarks far from each other, in reading order, eight a row, 10 pixels apart."""
    k = torch.arange(N, device=device)
    return torch.stack([10.0 * (k % 8) + 5, 10.0 * (k // 8) + 5], -1)


@pytest.fixture
def face(device) -> torch.Tensor:
    return torch.full((3, 80, 90), 200, dtype=torch.uint8, device=device)


# The landmark graph

def two_edges(device, first: float, second: float) -> tuple[torch.Tensor, torch.Tensor]:
    """Edges 0-1 and 48-49: GSSS is `first` on the one and `second` on the other, LSSS the other way round."""
    A, f = torch.eye(N, device=device), torch.full((N, N, 2), 9.0, device=device)
    for a, b, values in ((0, 1, (first, second)), (48, 49, (second, first))):
        A[a, b] = A[b, a] = 1
        f[a, b] = f[b, a] = torch.tensor(values, device=device)
    return A, f


def thickness(part: Image.Image, colour: tuple[int, int, int]) -> int:
    """The most pixels of a colour in one column."""
    mask = Image.new("L", part.size)
    mask.putdata([p == colour for p in part.get_flattened_data()])
    return max(sum(mask.crop((x, 0, x + 1, part.height)).get_flattened_data()) for x in range(part.width))


def test_widths_follow_the_similarities(device, grid):
    """7 points, so 14 pixels, for the larger and 0.8 points for the smaller; the second panel has the second similarity."""
    A, f = two_edges(device, 0.7, 0.5)
    image = engat.landmark_graph(None, grid, A, f)
    assert image.size == (2 * 848, 2 * 516)
    for k, colour in enumerate((BLUE, LINES[3])):
        whole = panel(image, k, 380, 32, 58)
        upper, lower = (thickness(whole.crop((0, y, 760, y + 380)), colour) for y in (0, 380))
        thick, thin = (upper, lower) if k == 0 else (lower, upper)
        assert 13 <= thick <= 15 and 1 <= thin <= 2


def test_what_is_no_edge_has_no_say_in_the_widths(device, grid, written):
    """Its f is 9, on the diagonal too; the key's ends are the edges' own 0.5 and 0.7."""
    engat.landmark_graph(None, grid, *two_edges(device, 0.7, 0.5))
    words = [w for _, _, w, _ in written]
    assert words.count("0.500") == words.count("0.700") == 2 and not any("9.0" in w for w in words)


def test_an_edge_of_one_direction_is_drawn(device, grid):
    """As an edge of both; each is drawn once, with the mean of its two values."""
    A, f = two_edges(device, 0.7, 0.5)
    both = engat.landmark_graph(None, grid, A, f)
    A[0, 1] = 0
    assert ImageChops.difference(engat.landmark_graph(None, grid, A, f), both).getbbox() is None
    f[0, 1], f[1, 0] = f[0, 1] + 0.1, f[1, 0] - 0.1
    assert ImageChops.difference(engat.landmark_graph(None, grid, A, f), both).getbbox() is None


def test_self_loops_are_not_drawn(device, grid, face, written):
    image = engat.landmark_graph(face, grid, torch.eye(N, device=device), torch.ones(N, N, 2, device=device))
    assert not {BLUE, LINES[3]} & set(colours(image))
    words = [w for _, _, w, _ in written]
    assert words.count("no edges") == 2 and "0 edges. Self-loops are not drawn. Landmark k is dlib's 17 + k." in words


def test_key_of_the_face_itself(device, grid, written):
    """Eq. 6 on the contours, with self-loops: the joint 31-43 shares 2 of 6 neighbours, the end of a brow 2 of 3.

    sigmoid(1/3) = 0.5826, sigmoid(2/3) = 0.6608. There are 15 edges in four chains, 32 in four rings, 3 joints: 50.
    """
    A = face_contours().to(device)
    f = EdgeFeatures(gamma=0.1).to(device)(grid / 80, A)
    assert margin_is_paper(engat.landmark_graph(None, grid, A, f, LONG))
    words = [w for _, _, w, _ in written]
    assert {"0.583", "0.661"} <= set(words) and any(w.startswith("50 edges.") for w in words)
    assert [w for w in words if w.isdigit()] == 2 * ["0", "4", "5", "9", "13", "16", "19", "25", "31", "37", "43", "47"]


@pytest.mark.parametrize("second,ends", [(0.7001, {"0.70000", "0.70010"}), (0.7, {"0.700 on every edge"})])
def test_key_of_values_that_are_close_or_equal(device, grid, written, second, ends):
    """As many digits as tell the ends apart. Where all are equal there is no wedge, and every line is thin."""
    image = engat.landmark_graph(None, grid, *two_edges(device, 0.7, second))
    assert ends <= {w for _, _, w, _ in written}
    assert (thickness(panel(image, 0, 380, 32, 58), BLUE) > 10) == (second != 0.7)


def test_the_picture_lies_under_its_landmarks(device, grid):
    """A red square of 9 pixels around landmark 20, (115, 45), has its dot in the middle; of a wide picture the right is not seen."""
    picture = torch.zeros(3, 160, 220, dtype=torch.uint8, device=device)
    picture[0, 41:50, 111:120] = picture[1, :, 170:] = 255
    f, points = torch.ones(N, N, 2, device=device), grid + torch.tensor([70, 20], device=device)
    image = panel(engat.landmark_graph(picture, points, torch.eye(N, device=device), f), 0, 380, 32, 58)
    assert not any(g > r + 80 for r, g, b in colours(image))
    mask = Image.new("L", image.size)
    mask.putdata([255 * (r > g + 80) for r, g, b in image.get_flattened_data()])
    left, top, right, bottom = mask.getbbox()
    spot = image.getpixel(((left + right) // 2, (top + bottom) // 2))
    assert spot == INK and right - left == pytest.approx(bottom - top, abs=2)


def test_landmarks_in_one_place_are_drawn_apart(device, grid):
    """A closed mouth: the upper inner lip stays above the lower; what is far from others does not move."""
    closed = grid.double().cpu()
    for upper, lower in ((44, 50), (45, 49), (46, 48), (31, 43), (37, 47)):
        closed[lower] = closed[upper]
    spots, (x, y, size) = engat._laid_out(closed, 380, 9.5)
    far = torch.cdist(spots, spots) + 99 * torch.eye(N)
    assert far.min() > 9 and (spots[44:47, 1] < spots[[50, 49, 48], 1] - 9).all() and spots[43, 0] > spots[31, 0] + 9
    assert spots[20].tolist() == pytest.approx([(45.5 - x) * 380 / size, (25.5 - y) * 380 / size])


# The three-frame graph

@pytest.fixture
def three(device, face, grid) -> list[torch.Tensor]:
    heard = torch.full((3 * N,), 0.5, device=device)
    heard[0], heard[1] = 0, 1
    return [face.expand(3, -1, -1, -1), grid.expand(3, -1, -1), heard, torch.ones(3 * N, dtype=torch.bool, device=device)]


def test_a_dropped_node_is_a_cross(three, written):
    """Node 51 + 20 of all 153: a disc in the middle colour before, ink on the faded face after, and nothing else changes."""
    before = engat.three_frames_graph(*three)
    three[3] = three[3].clone()
    three[3][N + 20] = False
    after = engat.three_frames_graph(*three)
    assert before.size == after.size == (2 * 982, 2 * 400)
    changed = [ImageChops.difference(*(panel(i, k, 270, 16, 76) for i in (before, after))).getbbox() for k in range(3)]
    assert changed[0] is changed[2] is None
    left, top, right, bottom = changed[1]
    assert 18 <= right - left <= 24 and 18 <= bottom - top <= 24                           # a disc of 5.6 points and its rim
    (x, y), parts = ((left + right) // 2, (top + bottom) // 2), [panel(i, 1, 270, 16, 76) for i in (before, after)]
    assert parts[0].getpixel((x, y)) == heat(0.5) and parts[1].getpixel((x, y)) == INK
    assert parts[0].getpixel((x, y - 6)) == heat(0.5) and parts[1].getpixel((x, y - 6)) not in (INK, heat(0.5))
    words = [w for _, _, w, _ in written]
    assert {"153 of 153 nodes kept", "152 of 153 nodes kept", "first kept", "strongest", "last kept"} <= set(words)
    assert words.count("51 of 51") == 5 and words.count("50 of 51") == 1


@pytest.mark.parametrize("t", [0, 1, 2])
def test_nodes_go_frame_by_frame(three, t):
    """The one node that is heard most is in its own frame."""
    three[2] = torch.zeros_like(three[2])
    three[2][t * N + 7] = 1
    image = engat.three_frames_graph(*three)
    assert [HEAT[-1] in colours(panel(image, k, 270, 16, 76)) for k in range(3)] == [k == t for k in range(3)]


def test_colours_span_the_kept_nodes(three, written):
    """Kept nodes hear 0.5 to 1; the one of 40 is dropped, and the scale ends at 1."""
    three[2], three[3] = three[2].clone(), three[3].clone()
    three[2][0], three[3][0] = 40, False
    assert HEAT[-1] in colours(panel(engat.three_frames_graph(*three), 0, 270, 16, 76))
    words = [w for _, _, w, _ in written]
    assert "1" in words and "0.5" in words and "40" not in words


def test_three_frames_of_anything(three):
    """None kept, all alike, landmarks all in one place or off the picture, a long title."""
    three[2] = torch.ones_like(three[2])
    for shift, shrink, title in ((0, 1, LONG), (500, 1, ""), (-40, 1, "x"), (0, 0, "")):
        points = three[1] * shrink + shift
        for kept in (three[3], ~three[3]):
            assert margin_is_paper(engat.three_frames_graph(three[0], points, three[2], kept, title))


# The intensity curve

def test_kept_frames_are_filled_and_dropped_ones_hollow(device):
    """m = 1 everywhere: the scale ends at 1.08, so all dots stand 210/1.08 points above the bottom, at 84 + 210."""
    m, keep = torch.ones(9, device=device), torch.arange(9, device=device) % 3 == 0
    image = engat.intensity_curve(m, keep, [(0, 3, 6)])
    assert image.size == (2 * 814, 2 * 376)
    y = round(2 * (84 + 210 - 210 / 1.08))
    assert [image.getpixel((round(2 * (78 + 10 + 620 / 8 * t)), y)) for t in range(9)] == [BLUE, PAPER, PAPER] * 3
    ringed = [image.getpixel((round(2 * (78 + 10 + 620 / 8 * t)), y + 13)) == ORANGE for t in range(9)]
    assert ringed == [True, False, False] * 3


@pytest.mark.parametrize("T,chosen,apex", [(20, (6, 9, 12), 10), (80, (40, 41, 42), 41), (80, (0, 1, 2), 0), (80, (77, 78, 79), 79),
                                           (3, (0, 1, 2), None), (400, (1, 200, 399), 200)])
def test_labels_never_touch(device, written, T, chosen, apex):
    """Names and frame numbers stand in two lines, each in the frames' order, at least 6 points apart."""
    m = torch.linspace(0, 1, T, device=device)
    assert margin_is_paper(engat.intensity_curve(m, m > 0.5, [chosen], apex, LONG, 0.5))
    names = [(x, y, w, s) for x, y, w, s in written if w in (*engat.FRAMES, "coders' apex")]
    numbers = [(x, y, w, s) for x, y, w, s in written if w.startswith("frame ")]
    assert len(names) == len(numbers) == 3 + (apex is not None)
    for line in (names, numbers):
        assert len({y for _, y, _, _ in line}) == 1
        for (x, _, w, s), (u, _, v, z) in zip(line, line[1:], strict=False):
            assert x + text_width(w, s) / 2 + 6 <= u - text_width(v, z) / 2
    order = sorted([*chosen] + [apex] * (apex is not None))
    assert [w for _, _, w, _ in numbers] == [f"frame {t}" for t in order]


def test_labels_stand_over_their_frames_where_there_is_room():
    assert engat._spread([100, 300, 500], [60, 60, 60], 0, 600) == pytest.approx([100, 300, 500])
    assert engat._spread([300, 300], [60, 40], 0, 600) == pytest.approx([275, 325])
    assert engat._spread([5, 6], [60, 40], 0, 600) == pytest.approx([30, 80])


def test_apex_and_threshold(device, written):
    """A green dashed line from bottom to top; a dashed line where the mean is, with its number."""
    m = torch.tensor([0, 1, 2, 3, 4.0], device=device)
    bare = engat.intensity_curve(m, m > 1, (2, 3, 4))
    image = engat.intensity_curve(m, m > 1, (2, 3, 4), apex=1, threshold=2.0)
    assert GREEN not in colours(bare) and GREEN in colours(image)
    column = round(2 * (78 + 10 + 620 / 4))
    green = [y for y in range(2 * 84, 2 * (84 + 210)) if image.getpixel((column, y)) == GREEN]
    assert green[0] < 2 * 84 + 8 and green[-1] > 2 * (84 + 210) - 12 and 100 < len(green) < 320
    assert ("threshold" in (words := [w for _, _, w, _ in written])) and "2 px" in words
    y = round(2 * (84 + 210 - 210 * 2 / (4 * 1.08)))
    dark = [sum(i.getpixel((x, y)) == INK for x in range(2 * 78, 2 * 300)) for i in (bare, image)]
    assert dark[0] == 0 and dark[1] > 100


@pytest.mark.parametrize("n", [2, 12, 14])
def test_several_graphs_have_a_row_each(device, written, n):
    """Up to twelve; how many more there are is said."""
    m = torch.linspace(0, 1, 20, device=device)
    graphs = torch.arange(n, device=device)[:, None] + torch.arange(3, device=device)
    assert margin_is_paper(engat.intensity_curve(m, m >= 0, graphs, apex=4))
    words = [w for _, _, w, _ in written]
    assert [w for w in words if w.startswith("graph ")] == [f"graph {k}" for k in range(min(n, 12))]
    assert ("2 more" in words) == (n == 14) and "strongest" not in words


def test_curves_of_anything(device):
    for m in (torch.zeros(3), torch.ones(3) * 1e6, torch.rand(900) * 1e-6):
        m = m.to(device)
        assert margin_is_paper(engat.intensity_curve(m, m > 0, (0, 1, 2), len(m) - 1, "", 0.0))


# What is refused

@pytest.mark.parametrize("change,message", [
    (dict(picture=torch.zeros(3, 8, 8)), r"picture is torch.float32 \(3, 8, 8\); expected torch.uint8 \(3, any, any\)"),
    (dict(points=torch.zeros(68, 2)), r"points is torch.float32 \(68, 2\); expected \(51, 2\)"),
    (dict(A=torch.zeros(51, 52)), r"A is torch.float32 \(51, 52\); expected \(51, 51\)"),
    (dict(f=torch.zeros(51, 51)), r"f is torch.float32 \(51, 51\); expected \(51, 51, 2\)"),
    (dict(points=torch.full((51, 2), math.nan)), "points has values that are not finite")])
def test_landmark_graph_refuses(device, grid, face, change, message):
    good = {"picture": face, "points": grid, "A": torch.eye(N), "f": torch.ones(N, N, 2)}
    with pytest.raises(ValueError, match=message):
        engat.landmark_graph(**{name: v.to(device) for name, v in (good | change).items()})


@pytest.mark.parametrize("k,wrong,message", [
    (0, torch.zeros(3, 8, 8, dtype=torch.uint8), r"pictures is torch.uint8 \(3, 8, 8\); expected torch.uint8 \(3, 3, any, any\)"),
    (1, torch.zeros(3, 68, 2), r"points is torch.float32 \(3, 68, 2\); expected \(3, 51, 2\)"),
    (2, torch.zeros(3, 51), r"heard is torch.float32 \(3, 51\); expected \(153,\)"),
    (3, torch.ones(153), r"kept is torch.float32 \(153,\); expected torch.bool \(153,\)")])
def test_three_frames_graph_refuses(device, three, k, wrong, message):
    three[k] = wrong.to(device)
    with pytest.raises(ValueError, match=message):
        engat.three_frames_graph(*three)


@pytest.mark.parametrize("change,message", [
    (dict(m=torch.zeros(2, 5)), r"m is torch.float32 \(2, 5\); expected \(any,\)"),
    (dict(m=torch.tensor([0, 1, math.inf])), "m has values that are not finite"),
    (dict(keep=torch.ones(4, dtype=torch.bool)), r"keep is torch.bool \(4,\); expected torch.bool \(5,\)"),
    (dict(keep=torch.ones(5)), r"keep is torch.float32 \(5,\); expected torch.bool \(5,\)"),
    (dict(chosen=(0, 1)), r"chosen is torch.int64 \(1, 2\); expected \(n, 3\)"),
    (dict(chosen=torch.zeros(0, 3, dtype=torch.long)), r"chosen is torch.int64 \(0, 3\); expected \(n, 3\)"),
    (dict(chosen=[(0.0, 1.0, 2.0)]), r"chosen is torch.float32 \(1, 3\); expected \(n, 3\)"),
    (dict(chosen=[(0, 1, 5)]), "chosen names frame 5; expected 0 to 4, as m has 5 frames"),
    (dict(apex=-1), "apex names frame -1; expected 0 to 4"),
    (dict(threshold=math.nan), "threshold is nan; expected a finite number")])
def test_intensity_curve_refuses(device, change, message):
    good = {"m": torch.ones(5), "keep": torch.ones(5, dtype=torch.bool), "chosen": [(0, 1, 2)]}
    with pytest.raises(ValueError, match=message):
        engat.intensity_curve(**{name: v.to(device) if isinstance(v, torch.Tensor) else v for name, v in (good | change).items()})


def test_command(tmp_path, capsys):
    """Draws a face's graph; without a name it says how."""
    assert engat.main([str(tmp_path / "g.png")]) == 0
    with Image.open(tmp_path / "g.png") as image:
        assert image.size == (2 * 848, 2 * 556) and {BLUE, LINES[3], INK} <= set(colours(image.convert("RGB")))
    assert engat.main([]) == 2 and "usage" in capsys.readouterr().err
