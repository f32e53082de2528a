"""figures/emotiongcn.py: points where valence and arousal are, lines as wide as weights, cosines by hand, faces chosen as the paper says."""
import math

import pytest
import torch
from PIL import Image

from refnet.config import merge
from refnet.data.samples import Drawn, Sample
from refnet.figures import emotiongcn as figures
from refnet.figures.canvas import BLUE, GREEN, INK, ORANGE, PAPER, RED, heat, mix
from refnet.graphs.emotions import AFFECTNET, emotion_graph
from refnet.models import emotiongcn as paper
from test_figures_face2nodes import LONG, kept, margin_is_paper

SEVEN = ("neutral", "happiness", "sadness", "surprise", "fear", "disgust", "anger")
NINE = (*SEVEN, "valence", "arousal")
NAN = math.nan


@pytest.fixture
def written(monkeypatch) -> list[str]:
    """Every line of text put on a sheet."""
    class Words(list):
        __iter__ = lambda self: (call[2] for call in calls)
    calls = kept(monkeypatch, "text")
    return Words()


# Fig. 1

def test_points_are_where_valence_and_arousal_are(device, monkeypatch, written):
    """A plane of 400 points from (88, 92), its middle at (288, 292); 1 is 200 / 1.1 = 181.8 away, to the right and upwards.

    (0.5, −1) is at (378.9, 473.8), (−1, 0.5) at (106.2, 201.1). 3 is put at 1.04: 189.1 from the middle.
    """
    va = torch.tensor([[.5, -1], [-1, .5], [0, 3], [-2, -2]], device=device)
    discs = kept(monkeypatch, "disc")
    image = figures.plane([("targets", va, torch.tensor([1, 0, -1, 1], device=device))], ("glad", "sad"))
    found = {call[3]: call[:2] for call in discs if call[2] == 3.2}
    wanted = {ORANGE: (378.9, 473.8), BLUE: (106.2, 201.1), figures.UNKNOWN: (288, 102.9)}
    assert {ink: pytest.approx(spot, abs=.1) for ink, spot in wanted.items()} == {
        ink: found[mix(ink, PAPER, .25)] for ink in wanted} and len(found) == 3
    assert image.getpixel((758, 948)) == ORANGE and margin_is_paper(image)                 # the class's mean, 2 pixels a point
    words = list(written)
    assert "3 faces, 1 without values left out, 1 beyond 1 put at the rim" in words and {"valence", "arousal", "-0.5", "1"} <= set(words)
    assert [words.count(f"n = {n}") for n in (0, 1, 3)] == [0, 3, 0]


def test_means_of_classes(device, monkeypatch):
    """Of (0, 0), (0, 0.25), (0.75, 0.5): (0.25, 0.25), so 45.5 to the right of the middle and above it; a class without faces has none."""
    discs = kept(monkeypatch, "disc")
    va = torch.tensor([[0.0, 0], [0, .25], [.75, .5], [-2, -2]], device=device)
    figures.plane([("x", va, torch.tensor([1, 1, 1, 0], device=device))], ("a", "b"))
    assert [call[:4] for call in discs if call[2] == 7.5] == [(pytest.approx(333.5, abs=.1), pytest.approx(246.5, abs=.1), 7.5, ORANGE)]


def test_two_panels_have_one_scale(device, monkeypatch, written):
    """The second lies 472 points to the right of the first, and counts for itself."""
    va, discs = torch.tensor([[.25, .75]], device=device), kept(monkeypatch, "disc")
    figures.plane([(name, va, torch.tensor([c], device=device)) for name, c in (("targets", 0), ("predictions", 1))], ("a", "b"))
    (u, v), (w, z) = (call[:2] for call in discs if call[2] == 3.2)
    assert (w - u, z) == (pytest.approx(472), v)
    words = list(written)
    assert [words.count(w) for w in ("targets", "predictions", "n = 1", "n = 0")] == [2, 2, 2, 2]


@pytest.mark.parametrize("n,C,panels", [(1, 1, 1), (3000, 7, 2), (400, 10, 3)])
def test_planes_of_any_size(device, n, C, panels):
    """One face and many, all in one corner or far out, long names: inside the sheet."""
    expression, names = torch.arange(n, device=device) % (C + 1) - 1, [f"{c} {LONG}" for c in range(C)]
    for va in (torch.randn(n, 2), 1 - .1 * torch.rand(n, 2), torch.full((n, 2), -2.0)):
        assert margin_is_paper(figures.plane([(LONG, va.to(device), expression)] * panels, names, LONG))


@pytest.mark.parametrize("v,a", [(.3, -.2), (1.04, 1.04), (-1.04, 1.04), (1.04, -1.04)])
def test_names_of_means_do_not_overlap(device, monkeypatch, v, a):
    """Seven classes with one mean, in the plane or in its corner: no two names' boxes meet, and none lies on the disc, 9 points large."""
    calls = kept(monkeypatch, "text")
    figures.plane([("x", torch.tensor([[v, a]], device=device).expand(7, 2), torch.arange(7, device=device))], SEVEN)
    x, y = 288 + v * 200 / 1.1, 292 - a * 200 / 1.1
    boxes = [(x - 9, y - 9, x + 9, y + 9)]
    for x, y, words in (call[:3] for call in calls if call[2] in SEVEN and len(call) > 5):
        half = figures.text_width(words, 12) / 2
        boxes.append((x - half, y - 7, x + half, y + 7))
    assert len(boxes) == 8
    for k, (p, q, r, s) in enumerate(boxes):
        assert all(p >= c or r <= a or q >= d or s <= b for a, b, c, d in boxes[:k])


# Fig. 3

def test_cells_and_lines_are_the_weights(device, monkeypatch, written):
    """Three nodes: a takes 0.5 from valence, valence 0.25 from a: lines of 8 · 0.5 = 4 and 8 · 0.25 = 2 points, in two colours.

    What is kept is the frame: 8 · 0.75 = 6 points for valence, 8 · 0.5 = 4 for a, at least 0.8 for arousal, which keeps nothing.
    """
    A = torch.tensor([[.5, .5, 0], [.25, .75, 0], [0, 0, 0]], device=device)
    arrows, boxes = kept(monkeypatch, "arrow"), kept(monkeypatch, "box")
    image = figures.adjacency(A, ("a", "valence", "arousal"), note="what it is")
    edges = [(call[1], call[2]) for call in arrows[:-2]]                                   # the last two: the legend's
    assert edges == [(BLUE, 4.0), (ORANGE, 2.0)]
    (start, end), (back, to) = (call[0] for call in arrows[:-2])
    assert end[0] < start[0] and back[0] < to[0] and margin_is_paper(image)                # to a, on the left; to valence
    assert [call[6] for call in boxes if len(call) > 7] == [4.0, 6.0, .8]
    assert [call[4] for call in boxes if call[2:4] == (46, 46)] == [heat(.5), heat(.5), PAPER, heat(.25), heat(.75)] + [PAPER] * 4
    words = list(written)
    assert [words.count(w) for w in ("0.50", "0.25", "0.75", "0.00", "what it is")] == [2, 1, 1, 0, 1]
    assert "rows receive: the node of the row from that of the column" in words


def test_the_paper_s_own_graph(device, monkeypatch, written):
    """Figure 3: 12 pairs, each both ways; happiness takes 0.7 from valence alone, surprise 0.7 from arousal."""
    arrows = kept(monkeypatch, "arrow")
    image = figures.adjacency(emotion_graph(AFFECTNET, 7).to(device), NINE, LONG, LONG)
    widths = [round(call[2], 3) for call in arrows[:-2]]
    assert [widths.count(w) for w in (5.6, 2.8, .933)] == [2, 10, 12] and margin_is_paper(image)
    ends = [end for call in arrows[:-2] for end in (call[0][0], call[0][-1])]
    assert min(math.dist(a, b) for k, a in enumerate(ends) for b in ends[:k]) > 8.9        # no line begins or ends on another
    words = list(written)
    assert [words.count(w) for w in ("0.70", "0.35", "0.30", "0.12")] == [2, 10, 9, 12]


@pytest.mark.parametrize("C", [1, 2, 7, 12])
def test_graphs_of_any_size(device, monkeypatch, C):
    """All linked, between expressions, and valence and arousal too: every line is drawn, inside the sheet, also of weights above 1."""
    arrows = kept(monkeypatch, "arrow")
    names = [f"{c} {LONG}" for c in range(C)] + ["valence", "arousal"]
    assert margin_is_paper(figures.adjacency(1 + 3 * torch.rand(C + 2, C + 2, device=device), names, LONG, LONG))
    assert len(arrows) == (C + 2) * (C + 1) + 2 and max(call[2] for call in arrows) <= 8


# Fig. 5

FACES = torch.randint(256, (12, 3, 20, 20)).byte()


def test_predictions_are_written(device, monkeypatch):
    """Two faces: right in green, wrong in red, the truth in ink; a dash for what is not known, and no −0.00."""
    calls = kept(monkeypatch, "text")
    columns = [("ground truth", [("fear", .5, -.25), ("", NAN, NAN)]), ("model", [("fear", -.001, 1.234), ("anger", NAN, .2)])]
    image = figures.predictions(FACES[:2].to(device), columns, [[None, None], [True, False]], names=("one", "two"))
    words = [call[2] for call in calls if call[2]]
    assert words == ["one", "ground truth", "fear", "V: 0.50", "A: -0.25", "model", "fear", "V: 0.00", "A: 1.23",
                     "two", "-", "V: -", "A: -", "anger", "V: -", "A: 0.20",
                     "V: valence, A: arousal, -: not known; an expression in green is called rightly, in red wrongly"]
    inks = [call[4] for call in calls if call[2] in ("fear", "anger", "-")]
    assert inks == [INK, GREEN, INK, RED] and margin_is_paper(image)


@pytest.mark.parametrize("m,columns,bands", [(1, 2, 1), (3, 3, 1), (4, 2, 2), (12, 3, 2), (11, 6, 2)])
def test_sheets_of_any_size(device, monkeypatch, m, columns, bands):
    """From four faces on there are two bands; each names its columns."""
    calls = kept(monkeypatch, "text")
    said = [(f"{k}", [(LONG, -.5, .5)] * m) for k in range(columns)]
    image = figures.predictions(FACES[:m].to(device), said, [[True] * m] * columns, LONG, [LONG] * m)
    assert margin_is_paper(image) and sum(call[2] == "0" for call in calls) == bands


# Fig. 6

def test_cosine_by_hand(device):
    """(3, 4) and (4, 3): 24/25. (3, 4) and (−6, −8): −1. (4, 3) and (−6, −8): −24/25. (0, 0) and any: 0."""
    W = torch.tensor([[3.0, 4], [4, 3], [-6, -8], [0, 0]], device=device)
    wanted = torch.tensor([[1, .96, -1, 0], [.96, 1, -.96, 0], [-1, -.96, 1, 0], [0, 0, 0, 0]]).double()
    torch.testing.assert_close(figures.cosine(W), wanted)


def test_similarity_has_two_colours(device, monkeypatch, written):
    """At right angles paper, alike blue, opposite red; lines before valence, behind two expressions: 2 · 38 points on."""
    boxes, lines = kept(monkeypatch, "box"), kept(monkeypatch, "line")
    W = torch.tensor([[1.0, 0], [0, 1], [-2, 0], [3, 0]], device=device)
    image = figures.similarity([("a", W, ("x", "y", "valence", "arousal")), ("b", W[:2], ("x", "y"))], "title")
    cells = [call for call in boxes if call[2:4] == (38, 38)]
    assert [call[4] for call in cells[:4]] == [BLUE, PAPER, RED, BLUE] and len(cells) == 20
    assert [call[4] for call in cells[16:]] == [BLUE, PAPER, PAPER, BLUE]
    x, y = cells[0][:2]
    assert [call[0] for call in lines] == [[(x + 76, y), (x + 76, y + 152)], [(x, y + 76), (x + 152, y + 76)]]
    assert list(written).count("-1.00") == 4 and not any(w == "-0.00" for w in written) and margin_is_paper(image)


@pytest.mark.parametrize("panels", [1, 2, 3, 4, 5])
def test_similarities_of_any_size(device, panels):
    parts = [(LONG, torch.randn(n, 5, device=device), [f"{k} {LONG}" for k in range(n)]) for n in (1, 9, 2, 7, 9)[:panels]]
    assert margin_is_paper(figures.similarity(parts, LONG))


# One's own face

P = torch.tensor([.1, .6, .3])


def test_card(device, monkeypatch, written):
    """The plane of 230 points ends 28 before the right rim; 1 is 115 / 1.1 = 104.5 points: (0.5, −1) is 52.3 right of its middle, 104.5 down."""
    discs = kept(monkeypatch, "disc")
    image = figures.card(FACES[0].to(device), P.to(device), ("a", "b", "c"), torch.tensor([.5, -1.0], device=device), "me.png")
    (x, y, *_), middle = next(call for call in discs if call[2] == 6.5), image.width / 2 - 28 - 115
    assert (x, y) == (pytest.approx(middle + 52.3, abs=.6), pytest.approx(62 + 115 + 104.5, abs=.1))
    assert {"me.png", "valence 0.50, arousal -1.00", "60.0%", "predicted", "valence", "arousal"} <= set(written) and margin_is_paper(image)


def test_card_without_bars_or_plane(device, written):
    """Fewer parts are narrower; values beyond 1 are said to lie at the rim."""
    face, va = FACES[0].to(device), torch.tensor([-1.5, .2], device=device)
    whole, no_bars, no_plane, alone = (figures.card(face, p, ("a", "b", "c"), v) for p, v in ((P, va), (P[:0], va), (P, None), (P[:0], None)))
    assert whole.width > no_bars.width > alone.width and whole.width > no_plane.width
    words = list(written)
    assert words.count("valence -1.50, arousal 0.20, at the rim") == 2 and words.count("predicted") == 2
    assert all(margin_is_paper(image) for image in (whole, no_bars, no_plane, alone))


# What is refused

VA, ONE = torch.zeros(3, 2), torch.tensor([0, 1, -1])


@pytest.mark.parametrize("panels,names,message", [
    ([], "ab", "there are 0 panels and 2 classes; expected a panel or more, and 1 to 10 classes"),
    ([("x", VA, ONE)], "abcdefghijk", "1 panels and 11 classes"), ([("x", VA, ONE)], "", "1 panels and 0 classes"),
    ([("x", VA[:2], ONE)], "ab", r"va of x is torch.float32 \(2, 2\); expected \(3, 2\)"),
    ([("x", VA * NAN, ONE)], "ab", "va of x has values that are not finite"),
    ([("x", VA, ONE[:, None])], "ab", r"the expressions of x is torch.int64 \(3, 1\); expected \(any,\)"),
    ([("x", VA, 2 * ONE)], "ab", "an expression of x is 2; expected whole numbers from 0 to 1, or -1"),
    ([("x", VA, ONE / 2)], "ab", "an expression of x is 0.5")])
def test_planes_refuse(device, panels, names, message):
    with pytest.raises(ValueError, match=message):
        figures.plane([(name, va.to(device), y.to(device)) for name, va, y in panels], tuple(names))


@pytest.mark.parametrize("A,names,message", [
    (torch.ones(3, 3), ("a", "b", "c"), "names are a, b, c; expected one expression or more, then valence and arousal"),
    (torch.ones(2, 2), NINE[7:], "names are valence, arousal; expected one expression or more"),
    (torch.ones(9, 8), NINE, r"A is torch.float32 \(9, 8\); expected \(9, 9\)"),
    (torch.ones(9, 9) * math.inf, NINE, "A has values that are not finite"),
    (-torch.ones(9, 9), NINE, "A goes from -1 to -1; expected weights of 0 or above")])
def test_graphs_refuse(device, A, names, message):
    with pytest.raises(ValueError, match=message):
        figures.adjacency(A.to(device), names)


SAID = [("fear", .1, .2)] * 2


@pytest.mark.parametrize("changed,message", [
    ({"pictures": FACES[:2].float()}, r"pictures is torch.float32 \(2, 3, 20, 20\); expected torch.uint8 \(any, 3, 20, 20\)"),
    ({"pictures": FACES[:2, :, :9]}, r"pictures is torch.uint8 \(2, 3, 9, 20\)"),
    ({"pictures": FACES.repeat(2, 1, 1, 1)[:13], "columns": [("a", SAID[:1] * 13)], "right": [[None] * 13]}, "13 pictures.* expected at most 12"),
    ({"columns": []}, r"2 pictures, columns of \[\]"), ({"columns": [("a", SAID[:1])]}, r"2 pictures, columns of \[1\], right of \[2\]"),
    ({"right": [[None]]}, r"right of \[1\]"), ({"right": [[None] * 2] * 2}, r"right of \[2, 2\]"), ({"names": ("a",)}, "and 1 names"),
    ({"columns": [("a", [("fear", .1, .2), ("fear", math.inf, .2)])]}, "valence or arousal is infinite")])
def test_predictions_refuse(device, changed, message):
    good = {"pictures": FACES[:2], "columns": [("a", SAID)], "right": [[None] * 2]} | changed
    with pytest.raises(ValueError, match=message):
        figures.predictions(**good | {"pictures": good["pictures"].to(device)})


def test_the_others_refuse(device):
    W, face = torch.ones(3, 2, device=device), FACES[0].to(device)
    for call, message in (
            (lambda: figures.similarity([]), "there are no models"),
            (lambda: figures.similarity([("x", W, ("a", "b"))]), r"W of x is torch.float32 \(3, 2\); expected \(2, any\)"),
            (lambda: figures.cosine(W[0]), r"W is torch.float32 \(2,\); expected \(any, any\)"),
            (lambda: figures.cosine(W * NAN), "W has values that are not finite"),
            (lambda: figures.card(face.float(), P, "abc", None), "picture is torch.float32"),
            (lambda: figures.card(face, P, "ab", None), r"p is torch.float32 \(3,\); expected \(2,\)"),
            (lambda: figures.card(face, P, "abc", W[0, :1]), r"va is torch.float32 \(1,\); expected \(2,\)")):
        with pytest.raises(ValueError, match=message):
            call()


# From a model

def model_of(device, **yours) -> paper.EmotionGCN:
    small = {"size": 32, "stored": 20, "hidden": 8}
    cfg = merge(paper.Config, ("demo", paper.PRESETS["demo"]), ("yours", small | yours))[0]
    torch.manual_seed(0)
    Z, A = (torch.randn(9, 5), emotion_graph(AFFECTNET, 7).float()) if cfg.gcn else (None, None)
    return paper.EmotionGCN(cfg, Z, A).to(device).eval()


def rows_of(called: list[int] | None, va: list | None = None) -> dict:
    return ({"predicted": torch.tensor(called)} if called is not None else {}) | (
        {"predicted_valence": torch.tensor(va).float()[:, 0], "predicted_arousal": torch.tensor(va).float()[:, 1]} if va else {})


def faces_of(target: list[int], va: tuple[float, float] = (.5, -.5)) -> list[Sample]:
    """A grey face each, the k-th of grey 10 k; those of expression 2 have no valence and arousal."""
    return [Sample(f"f/{k}", Drawn(torch.full((1, 3, 20, 20), 10 * k, dtype=torch.uint8)), {"expression": c, "va": (-2.0, -2.0) if c == 2 else va})
            for k, c in enumerate(target)]


@pytest.fixture
def sheets(monkeypatch) -> list[dict]:
    """What every sheet of predictions was made of."""
    made, draw = [], figures.predictions

    def keep(pictures, columns, right, title, names):
        made.append({"greys": (pictures[:, 0, 0, 0] // 10).tolist(), "columns": columns, "right": right, "title": title})
        return draw(pictures, columns, right, title, names)

    monkeypatch.setattr(figures, "predictions", keep)
    return made


def test_of_model(device, one_thread, monkeypatch, written):
    """A graph has its matrix, transposed where the network uses it so; without a graph there is none."""
    seen, drawn = [], figures.adjacency
    monkeypatch.setattr(figures, "adjacency", lambda A, *rest: seen.append(A) or drawn(A, *rest))
    for transposed, note in ((False, "tau = 0.1, p = 0.7"), (True, "tau = 0.1, p = 0.7, transposed")):
        out = figures.of_model(model_of(device, transposed=transposed))
        assert sorted(out) == ["adjacency", "similarity"] and all(margin_is_paper(image) for image in out.values()) and note in list(written)
    torch.testing.assert_close(seen[0][1, 7].item(), .7)
    assert torch.equal(seen[0], seen[1].mT)
    assert sorted(figures.of_model(model_of(device, gcn=False))) == ["similarity"]


@pytest.mark.parametrize("tasks,n", [("both", 9), ("expression", 7), ("va", 2)])
def test_own_picture_is_what_the_network_sees(device, one_thread, monkeypatch, tasks, n):
    """The picture comes to the network in [0, 1] and at its size, in evaluation; a task that it has not is left out of the card."""
    model, cards = model_of(device, gcn=False, tasks=tasks), []
    monkeypatch.setattr(figures, "card", lambda *said: cards.append(said) or Image.new("RGB", (9, 9)))
    model.train()
    picture = torch.full((3, 20, 20), 51, dtype=torch.uint8, device=device)
    p = torch.eye(7)[3] if tasks != "va" else torch.zeros(0)
    assert list(figures.of_own(model, Sample("at home/me.png", None, {}), (picture,), p)) == ["prediction"] and model.training
    with torch.no_grad():
        out = model.eval()(torch.full((1, 3, 32, 32), .2, device=device))[0]
    seen, its_p, names, va, title = cards[0]
    assert out.shape == (n,) and torch.equal(seen, picture) and its_p is p and names == SEVEN and title == "me.png"
    if tasks == "expression":
        assert va is None
    else:
        torch.testing.assert_close(va, out[-2:])


def test_rows(device, monkeypatch, written):
    """Targets by what they are, predictions by what they are called; nothing where either is missing."""
    rows = rows_of([1, 0, 0], [[.1, .2], [.3, .4], [.5, .6]])
    assert figures.of_rows(paper, rows, paper.Config()) == {}
    rows |= {"target": torch.tensor([0, -1, 0]), "target_valence": torch.tensor([.1, -2, 0]), "target_arousal": torch.tensor([.1, -2, 0])}
    assert figures.of_rows(paper, {k: v for k, v in rows.items() if "predicted_" not in k}, paper.Config()) == {}
    seen, draw = [], figures.plane
    monkeypatch.setattr(figures, "plane", lambda panels, *rest: seen.append(panels) or draw(panels, *rest))
    assert margin_is_paper(figures.of_rows(paper, rows, paper.Config())["plane"]) and "2 faces, 1 without values left out" in list(written)
    (_, va, kind), (_, predicted, called) = seen[0]
    assert kind.tolist() == [0, -1, 0] and called.tolist() == [1, 0, 0]
    torch.testing.assert_close(va, torch.tensor([[.1, .1], [-2, -2], [0, 0]]))
    torch.testing.assert_close(predicted, torch.tensor([[.1, .2], [.3, .4], [.5, .6]]))
    figures.of_rows(paper, {k: v for k, v in rows.items() if k not in ("target", "predicted")}, paper.Config())
    assert [kind.tolist() for _, _, kind in seen[1]] == [[-1] * 3] * 2


def test_report(device, one_thread, sheets):
    """Right are 1, 2, 3 and 5: the first of class 0 is 1, of class 2 it is 3, of class 4 it is 5; wrong are 0 and 6; 4 is not known."""
    samples, called = faces_of([0, 0, 0, 2, -1, 4, 2]), [1, 0, 0, 2, 0, 4, 6]
    out = figures.of_report(paper, model_of(device), samples, rows_of(called, [[.1, -.2]] * 7), device)
    assert sorted(out) == ["adjacency", "predictions", "similarity"] and margin_is_paper(out["predictions"])
    assert sheets[0]["greys"] == [1, 3, 5, 0, 6] and sheets[0]["right"] == [[None] * 5, [True, True, True, False, False]]
    (_, truth), (_, said) = sheets[0]["columns"]
    assert [row[0] for row in truth] == [SEVEN[c] for c in (0, 2, 4, 0, 2)] and [row[0] for row in said] == [SEVEN[c] for c in (0, 2, 4, 1, 6)]
    assert truth[0][1:] == (.5, -.5) and all(math.isnan(v) for v in truth[1][1:]) and said[0][1:] == pytest.approx((.1, -.2))


def test_report_of_one_task(device, one_thread, sheets):
    """Without expressions: the first of each class, then the others up to twelve, dashes for what is called; without va dashes too."""
    samples = faces_of([3, 3, 1, -1] * 4)
    figures.of_report(paper, model_of(device, gcn=False, tasks="va"), samples, rows_of(None, [[.1, -.2]] * 16), device)
    assert sheets[0]["greys"] == [2, 0, 1, 3, *range(4, 12)] and sheets[0]["right"][1] == [None] * 12
    assert sheets[0]["columns"][1][1][0] == ("", *(pytest.approx(v) for v in (.1, -.2)))
    figures.of_report(paper, model_of(device, gcn=False, tasks="expression"), samples, rows_of([3] * 16), device)
    assert sheets[1]["greys"] == [0, 2, 6, 10, 14] and all(math.isnan(v) for _, *va in sheets[1]["columns"][1][1] for v in va)
    unknown = figures.of_report(paper, model_of(device), faces_of([-1] * 2), rows_of([0, 0], [[.1, -.2]] * 2), device)
    assert sorted(unknown) == ["adjacency", "similarity"]


def test_beside_chooses_as_figure_5(device, one_thread, sheets):
    """18 faces of class 0; the k-th is 0.01 (17 − k) apart, and every third 1 more: the closest third is 16, 15, 13, 12, 10, 9.

    Of these the first calls 15 and 12 rightly, the second 16 and 9, both of them 13 and 10. What lies further apart is not taken.
    """
    samples, n = faces_of([0] * 18), 18
    a = rows_of([int(k in (0, 9, 16)) for k in range(n)], [[0.0, 0.0]] * n)
    b = rows_of([int(k not in (0, 9, 10, 13, 16)) for k in range(n)], [[.01 * (17 - k) + (k % 3 == 2), 0.0] for k in range(n)])
    seen = [("ours", model_of(device), samples, a, device), ("theirs", model_of(device, gcn=False), samples, b, device)]
    out = figures.of_beside(paper, seen)
    assert list(out) == ["beside-similarity", "beside-predictions"] and all(margin_is_paper(image) for image in out.values())
    assert sheets[0]["greys"] == [15, 12, 16, 9] and "third nearest in valence and arousal" in sheets[0]["title"]
    assert [name for name, _ in sheets[0]["columns"]] == ["ground truth", "ours", "theirs"]
    assert sheets[0]["right"] == [[None] * 4, [True, True, False, False], [False, False, True, True]]
    same = [("ours", *seen[0][1:]), ("again", *seen[0][1:])]
    assert list(figures.of_beside(paper, same)) == ["beside-similarity"]                   # nothing tells them apart


def test_beside_of_models_with_one_task(device, one_thread, sheets):
    """Beside a model without valence and arousal all faces may be chosen, four and two of them; one without expressions chooses none."""
    samples = faces_of([0] * 9)
    both, plain = rows_of([0] * 6 + [1] * 3, [[.1, .2]] * 9), rows_of([1] * 6 + [0] * 3)
    seen = [("ours", model_of(device), samples, both, device),
            ("plain", model_of(device, gcn=False, tasks="expression"), samples, plain, device),
            ("va", model_of(device, gcn=False, tasks="va"), samples, rows_of(None, [[.1, .2]] * 9), device)]
    assert margin_is_paper(figures.of_beside(paper, seen)["beside-predictions"])
    assert sheets[0]["greys"] == [0, 1, 2, 3, 6, 7] and "nearest" not in sheets[0]["title"]
    assert sheets[0]["right"][1:] == [[True] * 4 + [False] * 2, [False] * 4 + [True] * 2, [None] * 6]
    assert list(figures.of_beside(paper, seen[::2])) == ["beside-similarity"]
    with pytest.raises(ValueError, match="plain was tested on other samples or classes than ours; expected the same, in order"):
        figures.of_beside(paper, [seen[0], (*seen[1][:2], samples[::-1], *seen[1][3:])])


def test_command(tmp_path, capsys):
    """Draws the graph of AffectNet; without a name it says how."""
    assert figures.main([str(tmp_path / "g.png")]) == 0
    with Image.open(tmp_path / "g.png") as image:
        assert margin_is_paper(image.convert("RGB"))
    assert figures.main([]) == 2 and "usage" in capsys.readouterr().err
    assert figures.main([str(tmp_path / "g.xyz")]) == 2 and "are written as .png" in capsys.readouterr().err
