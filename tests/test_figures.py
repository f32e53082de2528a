"""figures/canvas.py, charts.py and arpgnet.py: what must be on the paper, where, in which colour, and nothing cut off."""
import math

import pytest
import torch
from PIL import Image, ImageDraw, ImageFont

from refnet.figures import arpgnet, canvas, charts, motion
from refnet.figures.canvas import BLUE, GREEN, HEAT, INK, ORANGE, PAPER, RED, Canvas, heat
from refnet.graphs.face_grid import face_grid

NAMES = ["anger", "disgust", "fear", "happiness", "sadness", "surprise", "neutral"]
LONG = "a name that nobody would give to a class, with Ünïcode and\na line break, but somebody will " * 3


def colours(image: Image.Image) -> dict[tuple[int, int, int], int]:
    """How many pixels there are of each colour."""
    return {colour: count for count, colour in image.getcolors(image.width * image.height)}


def bounds(image: Image.Image, colour: tuple[int, int, int]) -> tuple[int, int, int, int]:
    """left, top, right, bottom of all pixels of this very colour."""
    mask = Image.new("L", image.size)
    mask.putdata([255 * (p == colour) for p in image.get_flattened_data()])
    found = mask.getbbox()
    assert found is not None, f"no pixel is {colour}"
    return found


def margin_is_paper(image: Image.Image) -> bool:
    """The outermost two pixels: whatever touches them may have been cut."""
    w, h = image.size
    edges = [(0, 0, w, 2), (0, h - 2, w, h), (0, 0, 2, h), (w - 2, 0, w, h)]
    return all(image.crop(e).getcolors() == [((e[2] - e[0]) * (e[3] - e[1]), PAPER)] for e in edges)


def brightness(colour: tuple[int, int, int]) -> float:
    return 0.2126 * colour[0] + 0.7152 * colour[1] + 0.0722 * colour[2]


@pytest.fixture
def written(monkeypatch) -> list[str]:
    """Every line of text put on a sheet."""
    lines, text = [], Canvas.text

    def keep(self, x, y, words, *rest, **more):
        lines.append(words)
        return text(self, x, y, words, *rest, **more)

    monkeypatch.setattr(Canvas, "text", keep)
    return lines


# Canvas

def test_heat_goes_evenly_from_pale_to_dark():
    """Each of 20 steps gets darker, none by more than three times the mean step."""
    steps = [brightness(heat(k / 20)) for k in range(21)]
    falls = [a - b for a, b in zip(steps, steps[1:], strict=False)]
    assert min(falls) > 0 and max(falls) < 3 * sum(falls) / 20


def test_heat_at_its_ends_between_and_outside():
    assert heat(0.0) == HEAT[0] and heat(1.0) == HEAT[-1] and heat(-3.0) == HEAT[0] and heat(math.inf) == HEAT[-1]
    half_way = tuple(round((a + b) / 2) for a, b in zip(HEAT[0], HEAT[1], strict=True))
    assert heat(0.5 / (len(HEAT) - 1)) == half_way
    assert heat(math.nan) not in HEAT


def test_ticks_are_round_and_inside():
    assert canvas.ticks(0, 1) == [0, 0.2, 0.4, 0.6, 0.8, 1]
    assert canvas.ticks(0.13, 2.4) == [0.5, 1, 1.5, 2]
    assert canvas.ticks(-30, 100, 5) == [0, 50, 100] and canvas.ticks(-30, 100, 7) == [-20, 0, 20, 40, 60, 80, 100]
    with pytest.raises(ValueError, match="from a low to a higher number; got 1 and 1"):
        canvas.ticks(1, 1)


def test_a_point_is_two_pixels():
    sheet = Canvas(30, 20)
    sheet.box(5, 4, 10, 8, fill=RED)
    assert sheet.image().size == (60, 40)
    assert bounds(sheet.image(), RED) == (10, 8, 30, 24)


@pytest.mark.parametrize("draw", [
    lambda s: s.text(80, 50, "too long for it"), lambda s: s.text(-1, 50, "a"), lambda s: s.text(50, 2, "a"),
    lambda s: s.text(5, 50, "upright, and too long for it", upright=True), lambda s: s.box(90, 5, 11, 5),
    lambda s: s.line([(5, 5), (5, 101)]), lambda s: s.arrow([(5, 5), (101, 5)]), lambda s: s.disc(5, 5, 6, RED),
    lambda s: s.area([(5, 5), (9, -1), (9, 9)], RED), lambda s: s.picture(torch.zeros(3, 4, 4, dtype=torch.uint8), 60, 60, 50, 20)])
def test_nothing_is_cut_off_in_silence(draw):
    with pytest.raises(ValueError, match="would be cut off: .* the sheet is 100 × 100 points"):
        draw(Canvas(100, 100))


@pytest.mark.parametrize("bold", [False, True])
def test_descenders_and_capitals_are_whole(bold):
    """g and j reach below the base line: as high and as wide as Pillow draws them with room on all sides, at 4 dots a point."""
    sheet = Canvas(120, 40)
    sheet.text(60, 20, "gjpqyA|(", 20, anchor="mm", bold=bold)
    roomy = Image.new("L", (600, 300))
    ImageDraw.Draw(roomy).text((100, 150), "gjpqyA|(", 255, ImageFont.load_default(80), "ls", stroke_width=80 / 48 * bold)
    left, top, right, bottom = sheet.image().convert("L").point(lambda v: 255 * (v < 250)).getbbox()
    wanted = roomy.point(lambda v: 255 * (v > 5)).getbbox()
    assert bottom - top == pytest.approx((wanted[3] - wanted[1]) / 2, abs=1)
    assert right - left == pytest.approx((wanted[2] - wanted[0]) / 2, abs=1)


def test_letters_that_the_font_lacks():
    assert canvas.plain("Café\n5 × β") == "Cafe 5 ? ?"


def test_upright_text_reads_from_bottom_to_top():
    """The full stop comes last, so it stands at the top."""
    sheet = Canvas(40, 80)
    sheet.text(20, 40, "MMMM.", 14, anchor="mm", upright=True)
    left, top, right, bottom = bounds(sheet.image(), INK)
    assert bottom - top > 2 * (right - left)
    top_row = sheet.image().crop((0, top, 80, top + 4)).convert("L")
    bottom_row = sheet.image().crop((0, bottom - 4, 80, bottom)).convert("L")
    assert sum(255 - p for p in top_row.get_flattened_data()) < 0.5 * sum(255 - p for p in bottom_row.get_flattened_data())


def test_arrow_head_is_at_the_last_point():
    sheet = Canvas(100, 40)
    sheet.arrow([(10, 20), (90, 20)], RED, width=2)
    image = sheet.image()

    def thick(x: int) -> int:
        return sum(image.getpixel((x, y)) != PAPER for y in range(80))

    assert thick(2 * 86) > 1.5 * thick(2 * 14)


def test_clear_of_and_bow():
    """A straight way of 10 points, 2 taken at the start, 3 at the end; a bow to the right swings up by its bend."""
    assert canvas.clear_of([(0.0, 0.0), (10.0, 0.0)], 2, 3) == [(2, 0), (7, 0)]
    assert min(y for _, y in canvas.bow((0, 0), (10, 0), 4)) == pytest.approx(-4)


def test_pictures_keep_their_colours_and_place(device):
    picture = torch.zeros(3, 4, 4, dtype=torch.uint8, device=device)
    picture[0] = 255
    sheet = Canvas(40, 40)
    sheet.picture(picture, 10, 12, 20, 8)
    assert bounds(sheet.image(), (255, 0, 0)) == (20, 24, 60, 40)
    sheet.picture(picture, 10, 12, 20, 8, fade=1.0)
    assert (255, 0, 0) not in colours(sheet.image())
    with pytest.raises(ValueError, match="uint8"):
        sheet.picture(picture.float(), 0, 0, 4, 4)


def test_scale_is_dark_at_the_top():
    sheet = Canvas(100, 140)
    sheet.scale(20, 30, 10, 100, high=0.5, title="attention")
    image = sheet.image()
    shades = [brightness(image.getpixel((50, y))) for y in range(64, 256, 8)]
    assert shades == sorted(shades) and shades[-1] - shades[0] > 150


# Charts

def test_confusion_big_counts_are_dark(device, written):
    """Two classes, rows 90 + 10 and 0 + 40: colours heat(0.9), heat(0.1), heat(0), heat(1), the target's row on top."""
    image = charts.confusion(torch.tensor([[90, 10], [0, 40]], device=device), ["yes", "no"], "Two")
    matrix = image.crop((0, 0, image.width - 2 * 70, image.height))        # without the colour scale
    spots = {share: bounds(matrix, heat(share)) for share in (0.9, 0.1, 0.0, 1.0)}
    assert brightness(heat(0.9)) < brightness(heat(0.1)) < brightness(heat(0.0))
    assert spots[0.9][2] <= spots[0.1][0]                                  # 90 is left of 10
    assert spots[0.9][1] == spots[0.1][1]                                  # in the same row
    assert spots[1.0][:3:2] == spots[0.1][:3:2] and spots[0.0][:3:2] == spots[0.9][:3:2]   # 40 under 10, 0 under 90
    assert spots[1.0][1] >= spots[0.1][3]
    for words in ("Two", "yes", "no", "target", "predicted", "90.0%", "90", "10.0%", "10", "0%", "100%", "n = 100", "n = 40"):
        assert words in written, words
    assert margin_is_paper(image)


def test_confusion_rows_are_normalised_not_columns(device, written):
    """[[1, 1], [0, 2]]: rows give 50 50 0 100, columns would give 100 33 0 67."""
    charts.confusion(torch.tensor([[1, 1], [0, 2]], device=device), ["a", "b"])
    assert written.count("50.0%") == 2 and not any(w.startswith(("33", "67", "66")) for w in written)


def test_confusion_of_a_class_without_samples(device, written):
    image = charts.confusion(torch.tensor([[3, 0, 0], [0, 0, 0], [0, 0, 2]], device=device), ["a", "b", "c"])
    assert written.count("-") == 3 and "n = 0" in written and canvas.FAINT in colours(image)
    image = charts.confusion(torch.zeros(2, 2, device=device), ["a", "b"])
    assert margin_is_paper(image)


@pytest.mark.parametrize("C", [1, 2, 7, 11])
def test_confusion_of_any_size_and_any_name(device, C):
    for title in ("", LONG[:60]):
        image = charts.confusion(torch.full((C, C), 123456, device=device), [LONG] * (C - 1) + [""], title)
        assert margin_is_paper(image)


def test_confusion_refuses(device):
    with pytest.raises(ValueError, match=r"2 names need counts of \(2, 2\); got \(3, 2\)"):
        charts.confusion(torch.zeros(3, 2, device=device), ["a", "b"])
    with pytest.raises(ValueError, match="negative"):
        charts.confusion(torch.tensor([[1, -1], [0, 0]], device=device), ["a", "b"])


def test_curves_go_up_when_values_do():
    """One rising line over ten epochs: its right end is above its left end, by nearly the panel's height."""
    image = charts.curves({"loss": [float(k) for k in range(10)]}, colours={"loss": RED})
    strip = [y for y in range(image.height) if image.getpixel((2 * (76 + 8), y)) == RED]
    end = [y for y in range(image.height) if image.getpixel((2 * (76 + 470 - 8), y)) == RED]
    assert max(end) < min(strip) - 300
    assert margin_is_paper(image)


def test_curves_leave_a_gap_where_a_value_is_missing():
    """Five values at x = 84 + 113.5 k; the third is NaN, so nothing is red between the second and the fourth."""
    image = charts.curves({"a": [1.0, 1.0, math.nan, 1.0, 1.0]}, colours={"a": RED})
    at = [2 * (84 + 113.5 * k) for k in range(5)]

    def red(lo: float, hi: float) -> bool:
        return RED in colours(image.crop((round(lo), 0, round(hi), image.height)))

    assert red(at[0], at[1]) and red(at[3], at[4]) and not red(at[1] + 8, at[3] - 8)


def test_curves_of_two_units_get_two_panels(written):
    rows = {"train": [2.0, 1.0], "select": [3.0, 1.5], "accuracy": [0.2, 0.6]}
    one = charts.curves(rows, title="Run", panels={"loss": ["train", "select"], "accuracy": ["accuracy"]})
    assert {"Run", "loss", "accuracy", "train", "select", "epoch", "3"} <= set(written)
    assert one.height > 1.5 * charts.curves(rows).height
    with pytest.raises(ValueError, match=r"panels name \['f1'\], rows hold"):
        charts.curves(rows, panels={"": ["f1"]})
    with pytest.raises(ValueError, match="'train' has 2 values, x has 1"):
        charts.curves(rows, x=[1])


@pytest.mark.parametrize("rows", [{}, {"a": []}, {"a": [math.nan] * 3, "b": []}, {"a": [3.0]}, {"a": [math.inf, 1.0]},
                                  {"a": [1e9, -1e9]}, {"a": [1e-9, 2e-9]}, {"a": [0.0] * 200}, {LONG: [1.0, 2.0]}])
def test_curves_of_anything(rows, written):
    image = charts.curves(rows, title="T")
    assert margin_is_paper(image)
    assert ("no values" in written) == (not any(math.isfinite(v) for values in rows.values() for v in values))


def test_bars_are_as_long_as_the_probabilities(device, written):
    """0.6 and 0.3: the blue bar of the prediction is twice as long as the grey one."""
    image = charts.bars(torch.tensor([0.3, 0.6, 0.1], device=device), ["a", "b", "c"])

    def run(row: int, colour: tuple[int, int, int]) -> int:
        """How many pixels of the colour follow each other from its first one on."""
        line = [image.getpixel((x, round(2 * (28 + 22 * (row + 0.5))))) == colour for x in range(image.width)]
        return line.index(False, line.index(True)) - line.index(True)

    assert run(1, BLUE) == pytest.approx(2 * run(0, (176, 181, 192)), abs=2) and run(1, BLUE) > 60
    assert {"60.0%", "30.0%", "10.0%", "predicted"} <= set(written)


@pytest.mark.parametrize("target, word, colour", [(1, "right", GREEN), (0, "wrong", RED), (None, "predicted", BLUE)])
def test_bars_say_right_or_wrong(device, written, target, word, colour):
    image = charts.bars(torch.tensor([0.3, 0.6, 0.1], device=device), ["a", "b", "c"], target)
    assert word in written and colour in colours(image)
    assert ("target" in written) == (target == 0)
    assert not {GREEN, RED, BLUE} - {colour} & set(colours(image))


def test_bars_of_nothing_known(device, written):
    assert margin_is_paper(charts.bars(torch.full((7,), math.nan, device=device), [LONG] * 7, title="T"))
    assert not {"right", "wrong", "predicted"} & set(written)
    with pytest.raises(ValueError, match=r"3 names need as many probabilities; got \(2,\)"):
        charts.bars([0.5, 0.5], ["a", "b", "c"])


# ARPGNet's figures

@pytest.fixture
def frames(device) -> torch.Tensor:
    """(5, 3, 12, 9): frame t is an even grey of 20 t."""
    return (20 * torch.arange(5, dtype=torch.uint8, device=device))[:, None, None, None].expand(5, 3, 12, 9).contiguous()


def test_figure_2_shows_the_papers_neighbours(device, written):
    """The paper: node 8 of 6 × 6 is connected to 2, 7, 8, 9, 11, 14, the connection with itself omitted."""
    image = arpgnet.figure_2(face_grid(6).to(device), P=6, node=8)
    assert any("connected to 2, 7, 9, 11 and 14." in w for w in written)
    assert any("Row 8 has a 1 at 2, 7, 8, 9, 11 and 14." in w for w in written)
    assert {str(k) for k in range(1, 37)} <= set(written)
    assert {BLUE, ORANGE, INK} <= set(colours(image)) and margin_is_paper(image)


def test_figure_2_draws_the_graph_it_is_given(device):
    """An edge less, an edge's colour less: without 8-11 no orange is left on the face, only in the legend and in the matrix."""
    A = face_grid(6).to(device)
    face = (56, 168, 56 + 744, 168 + 744)
    whole = colours(arpgnet.figure_2(A, 6, 8).crop(face))
    A[7, 10] = A[10, 7] = 0
    less = colours(arpgnet.figure_2(A, 6, 8).crop(face))
    assert whole[ORANGE] > 1000 and ORANGE not in less


def test_figure_2_over_a_picture(device):
    green = torch.zeros(3, 20, 30, dtype=torch.uint8, device=device)
    green[1] = 200
    A = face_grid(3).to(device)
    pale = tuple(round(0.78 * v + 0.22 * 255) for v in (0, 200, 0))
    found = colours(arpgnet.figure_2(A, 3, 5, green))
    near = [c for c in found if max(abs(a - b) for a, b in zip(c, pale, strict=True)) <= 1]
    assert sum(found[c] for c in near) > 20000


@pytest.mark.parametrize("P", [1, 2, 5, 12])
def test_figures_2_and_7_of_any_grid(device, P):
    A = face_grid(P).to(device)
    for node in {1, P * P}:
        assert margin_is_paper(arpgnet.figure_2(A, P, node))
        assert margin_is_paper(arpgnet.figure_7(A / A.sum(1, keepdim=True), None, P, node))


def test_figure_5_reads_a_row_and_a_column(device, frames, written):
    """T = 5, t = 3, TRS = 1: the target is node 8 (from 1). Row 8 holds j / 100, column 8 holds i / 10."""
    beta = torch.zeros(10, 10, device=device)
    beta[:, 7] = torch.arange(1, 11, device=device) / 10
    beta[7] = torch.arange(1, 11, device=device) / 100
    image = arpgnet.figure_5(beta, frames, t=3, TRS=1)
    scores = [w for w in written if w[0] in "0<" and len(w) == 4]
    assert scores == ["0.02", "0.03", "0.04", "0.07", "0.08", "0.09",       # (a) appearance 2-4, relation 2-4: nodes 2-4, 7-9
                      "0.20", "0.30", "0.40", "0.70", "0.08", "0.90"]       # (b) the same nodes; 8 is the target itself
    assert [w for w in written if w.startswith("frame ")] == ["frame 2", "frame 3", "frame 4"] * 2
    heads = [w for w in written if w.startswith("(")]                       # in the order drawn, each before its scores
    assert [h[:3] for h in heads] == ["(a)", "(b)"] and "row 8" in heads[0] and "column 8" in heads[1]
    assert written.index(heads[1]) > written.index("0.07") and written.count("target") == 2
    assert {(20, 20, 20), (40, 40, 40), (60, 60, 60)} <= set(colours(image)) and (80, 80, 80) not in colours(image)
    assert margin_is_paper(image)


def test_figure_5_arrows_go_to_the_target_then_from_it(device, frames, monkeypatch):
    """Ten arrows a part (a rim and a line for each of five links): the target's ends lie closer together than the neighbours'."""
    tips, arrow = [], Canvas.arrow

    def keep(self, points, *rest, **more):
        tips.append((points[0], points[-1]))
        return arrow(self, points, *rest, **more)

    monkeypatch.setattr(Canvas, "arrow", keep)
    arpgnet.figure_5(torch.full((10, 10), 0.1, device=device), frames, t=3, TRS=1)
    assert len(tips) == 20

    def spread(points: list[tuple[float, float]]) -> float:
        return max(x for x, _ in points) - min(x for x, _ in points)

    a, b = tips[:10], tips[10:]
    assert spread([tip for _, tip in a]) < 66 < spread([tail for tail, _ in a])
    assert spread([tail for tail, _ in b]) < 66 < spread([tip for _, tip in b])


def test_figure_5_stops_at_the_ends_of_the_clip(device, frames, written):
    beta = torch.full((10, 10), 0.1, device=device)
    assert margin_is_paper(arpgnet.figure_5(beta, frames, t=1, TRS=2))
    assert [w for w in written if w.startswith("frame ")] == ["frame 1", "frame 2", "frame 3"] * 2
    for t, TRS in ((5, 9), (3, 0), (5, 1)):
        assert margin_is_paper(arpgnet.figure_5(beta, frames, t, TRS))
    with pytest.raises(ValueError, match="t is one of 1 to 5"):
        arpgnet.figure_5(beta, frames, t=0, TRS=1)
    with pytest.raises(ValueError, match=r"beta is \(10, 10\) here; got \(8, 8\)"):
        arpgnet.figure_5(beta[:8, :8], frames, t=1, TRS=1)


def test_figure_6_sums_columns(device, monkeypatch):
    """T = 2. Columns of [[.1, .2, .3, .4], [1, 0, 0, 0], [1, 0, 0, 0], [0, 0, .5, .5]]: 2.1 .2 .8 .9; every row sums to 1."""
    seen = {}

    def keep(rows, **more):
        seen.update(rows)
        return curves(rows, **more)

    curves = arpgnet.curves
    monkeypatch.setattr(arpgnet, "curves", keep)
    beta = torch.tensor([[.1, .2, .3, .4], [1, 0, 0, 0], [1, 0, 0, 0], [0, 0, .5, .5]], device=device)
    image = arpgnet.figure_6(beta)
    assert seen == {"appearance": pytest.approx([2.1, 0.2]), "relation": pytest.approx([0.8, 0.9])}
    assert {ORANGE, BLUE} <= set(colours(image)) and margin_is_paper(image)
    with pytest.raises(ValueError, match="2T"):
        arpgnet.figure_6(beta[:3, :3])


def test_figure_7_reads_a_row_and_a_column(device, written):
    """P = 2, node 2 (from 1): row .1 .2 .3 .4, column .6 .2 .004 0; what is 0 is not a neighbour."""
    beta = torch.zeros(4, 4, device=device)
    beta[:, 1] = torch.tensor([0.6, 0.2, 0.004, 0.0])
    beta[1] = torch.tensor([0.1, 0.2, 0.3, 0.4])
    image = arpgnet.figure_7(beta, None, P=2, node=2)
    scores = [w for w in written if "." in w and len(w) in (4, 5) and w[0] in "0<"]
    assert scores[:7] == ["0.10", "0.20", "0.30", "0.40", "0.60", "0.20", "<0.01"]
    assert margin_is_paper(image)
    with pytest.raises(ValueError, match="counted from 1 to 4; got 0"):
        arpgnet.figure_7(beta, None, P=2, node=0)
    with pytest.raises(ValueError, match="not finite"):
        arpgnet.figure_7(beta * math.nan, None, P=2, node=1)


def test_figure_7_strong_is_dark(device):
    """One patch a side would hide it: of two, node 1 takes .9 from itself and .1 from node 2."""
    black = torch.zeros(3, 8, 8, dtype=torch.uint8, device=device)
    beta = torch.tensor([[.9, .1, 0, 0], [.1, .9, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]], device=device)
    image = arpgnet.figure_7(beta, black, P=2, node=1)
    x, y, side = 2 * 28, 2 * 70, 2 * 168
    own, other = (image.getpixel((x + round(side * (k + 0.5)), y + round(side * 0.85))) for k in (0, 1))
    assert brightness(own) < brightness(other)


def test_figure_8_says_right_wrong_and_predicted(device, frames, written):
    p = torch.tensor([.1, .1, .1, .4, .1, .1, .1], device=device)
    image = arpgnet.figure_8([(frames, NAMES, p, 3), (frames[:2], NAMES, p, 0), (frames[:1], NAMES, p, None)], "Samples")
    assert {"right: happiness", "wrong: happiness, target anger", "predicted happiness", "Samples"} <= set(written)
    assert {GREEN, RED, BLUE} <= set(colours(image)) and margin_is_paper(image)


def test_figure_8_spreads_six_frames_over_a_long_clip(device, written):
    """Eleven frames, counted from 1: 1, 3, 5, 7, 9, 11."""
    clip = torch.zeros(11, 3, 6, 6, dtype=torch.uint8, device=device)
    arpgnet.figure_8([(clip, ["a", "b"], [0.7, 0.3], 0)])
    assert [w for w in written if w.isdigit()] == ["1", "3", "5", "7", "9", "11"]


def test_figure_8_of_anything(device, frames):
    for names in (["x"], [LONG] * 11):
        C = len(names)
        for values in (torch.full((C,), 1 / C, device=device), torch.full((C,), math.nan, device=device)):
            assert margin_is_paper(arpgnet.figure_8([(frames[:1], names, values, 0)], LONG[:50]))
    with pytest.raises(ValueError, match="at least one sample"):
        arpgnet.figure_8([])
    with pytest.raises(ValueError, match="target is one of 0 to 1, or None; got 2"):
        arpgnet.figure_8([(frames, ["a", "b"], [0.5, 0.5], 2)])


# Motion

def test_motion_of_known_colours(device, written):
    """True flow one pixel to the right is red where it is known and the face's own grey elsewhere; found, up, is violet blue."""
    H = 24
    still, right, up = torch.full((3, H, H), .5, device=device), torch.zeros(2, H, H, device=device), torch.zeros(2, H, H, device=device)
    right[0], up[1] = 1, -1
    valid = torch.zeros(H, H, dtype=torch.bool, device=device)
    valid[:, :H // 2] = True
    image = motion.figure({"onset": still, "apex": still, "magnified": still, "true": right, "found": up, "valid": valid,
                           "strain": torch.linspace(0, .1, H * H, device=device).unflatten(0, (H, H))})
    at = lambda column, share: image.getpixel((2 * round(16 + column * 186 + share * 170), 2 * (16 + 210 + 34 + 85)))
    assert at(0, .2) == (255, 0, 0) and at(0, .8) == (140, 140, 140)
    red, green, blue = at(1, .5)
    assert (green, blue) == (0, 255) and 90 < red < 120
    assert {"onset", "apex", "apex, magnified", "true flow", "Farneback's flow", "optical strain", "rim: 1.00 px"} <= set(written)
    assert margin_is_paper(image)


def test_motion_command(tmp_path, capsys, monkeypatch):
    """Six panels of a drawn micro-expression, here a small one; without a name it says how."""
    monkeypatch.setattr(motion, "SIZE", 96)
    m = motion.measured()
    assert m["valid"].float().mean() > .15 and .3 < m["true"].norm(dim=0)[m["valid"]].max() < .9
    monkeypatch.setattr(motion, "measured", lambda: m)
    assert motion.main([str(tmp_path / "m.png")]) == 0 and (tmp_path / "m.png").exists()
    assert motion.main([]) == 2 and "usage" in capsys.readouterr().err
