"""The drawn faces: the same on every call and device, true to their labels, and hard enough."""
from dataclasses import fields, replace

import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from refnet.data import drawn_faces, drawn_geometry
from refnet.data.drawn_faces import draw
from refnet.data.drawn_plan import AUS, EXPRESSIONS, PROTOTYPES, TRAITS, plan


def still(units: dict[int, float], side: float = 0.0, size: int = 128, device="cpu", subjects: int = 3):
    """Pictures (S, 3, size, size) and landmarks (S, 68, 2) of subjects at rest, looking ahead, but for the units given."""
    faces = plan(subjects, 1, seed=3, subjects=subjects, expressions=1, pose=0.0, light=0.0, occlusion=0.0, noise=0.0, stray=0.0)
    aus = torch.zeros_like(faces.aus)
    for unit, intensity in units.items():
        aus[:, :, AUS.index(unit)] = intensity
    identity = faces.identity.clone()
    identity[:, TRAITS.index("fringe")] = 0.0
    video, points = draw(replace(faces, aus=aus, eyes=0 * faces.eyes, side=torch.full_like(faces.side, side), identity=identity), size, device)
    return video[:, 0].cpu(), points[:, 0].cpu()


def at(pictures, points):
    """Brightness of each picture (S, 3, H, W) at points (S, K, 2) in pixels → (S, K)"""
    S, _, H, W = pictures.shape
    x, y = points.round().long().unbind(-1)
    return pictures.mean(1)[torch.arange(S)[:, None], y.clamp(0, H - 1), x.clamp(0, W - 1)]


def test_same_seed_same_faces(device):
    """Every number of the plan, every pixel and every landmark, bit by bit; another seed gives other faces; devices agree to 1e-5."""
    one, two, other = (plan(9, 4, seed=s, subjects=2) for s in (5, 5, 6))
    assert all(torch.equal(getattr(one, f.name), getattr(two, f.name)) for f in fields(one))
    assert not torch.equal(one.identity, other.identity) and not torch.equal(one.pose, other.pose)
    (video, points), (again, points_again) = draw(one, 32, device), draw(two, 32, device)
    assert torch.equal(video, again) and torch.equal(points, points_again)
    cpu, points_cpu = draw(one, 32)
    assert (video.cpu() - cpu).abs().max() < 1e-4 and (video.cpu() - cpu).abs().mean() < 1e-6
    assert (points.cpu() - points_cpu).abs().max() < 1e-4


def test_the_drawings_are_frozen(device):
    """The demos' figures were measured on these faces: seven clips at 64 px as first drawn, their colour, a pixel, three points."""
    video, points = draw(plan(7, 4, seed=3, subjects=2), 64, device)
    same = lambda got, wanted, within: torch.testing.assert_close(got.cpu(), torch.tensor(wanted), atol=within, rtol=0)
    same(video.mean((0, 1, 3, 4)), [.511582, .459753, .405438], 1e-5)
    same(video[5, 3, :, 30, 20], [.768749, .518303, .366993], 1e-4)
    same(points[6, 2, [8, 30, 48]], [[28.96450, 53.70660], [29.84926, 32.21169], [25.06393, 42.55476]], 1e-3)


def test_a_subject_is_one_face():
    """Identity and skin depend on the seed and the subject alone: not on the clip, the count, or who else is there."""
    many, few = plan(60, 1, seed=2, subjects=5, first_subject=10), plan(3, 8, seed=2, subjects=1, first_subject=12, expressions=8)
    for name in ("identity", "detail"):
        rows = getattr(many, name)[many.subject == 12]
        assert len(rows) == 14 and (rows == rows[0]).all()
        assert torch.equal(getattr(few, name)[0], rows[0])
    assert many.subject.unique().tolist() == [10, 11, 12, 13, 14]
    assert len(many.identity.unique(dim=0)) == 5
    assert len(many.pose.unique(dim=0)) == 60                                      # but no clip is another's copy


def test_a_part_is_the_whole_in_part(device):
    """faces[a:b] draws the same clips as the whole plan does."""
    faces = plan(12, 3, seed=1, subjects=2)
    video, points = draw(faces, 40, device)
    part, part_points = draw(faces[5:9], 40, device)
    assert (part - video[5:9]).abs().max() < 1e-4 and (part_points - points[5:9]).abs().max() < 1e-3
    longer = plan(20, 3, seed=1, subjects=2)
    assert torch.equal(longer.pose[:12], faces.pose) and torch.equal(longer.aus[:12], faces.aus)


def test_shapes_and_range(device):
    """video (B, T, 3, S, S) float32 in [0, 1], landmarks (B, T, 68, 2), both on the device; a picture uses most of the range."""
    video, points = draw(plan(4, 3, seed=0, subjects=2), 48, device)
    assert video.shape == (4, 3, 3, 48, 48) and points.shape == (4, 3, 68, 2)
    assert video.dtype == points.dtype == torch.float32 and video.device.type == points.device.type == device.type
    assert video.min() >= 0 and video.max() <= 1
    assert (video.flatten(1).amax(1) - video.flatten(1).amin(1)).min() > .5


def test_landmarks_lie_in_the_picture(device):
    """With the defaults no landmark of 800 faces leaves the picture."""
    _, points = draw(plan(800, 1, seed=11, subjects=100, expressions=8), 32, device)
    assert points.min() >= 0 and points.max() <= 31


def test_landmarks_have_dlibs_order(device):
    """Jaw left to right, brows, nose bridge down and wings, eyes and mouth clockwise from their left corner."""
    _, p = still({}, device=device)
    x, y = p[..., 0], p[..., 1]
    rising = lambda v: (v.diff(dim=1) > 0).all()
    assert rising(x[:, :17]) and (y[:, :17].argmax(1) == 8).all()
    assert rising(x[:, 17:27]) and rising(y[:, 27:31]) and rising(x[:, 31:36])
    for eye in (36, 42):
        assert rising(x[:, eye:eye + 4]) and rising(-x[:, eye + 3:eye + 6])
        assert (y[:, eye + 1:eye + 3].mean(1) < y[:, eye + 4:eye + 6].mean(1)).all()
    assert (x[:, 39] < x[:, 27]).all() and (x[:, 27] < x[:, 42]).all()
    assert rising(x[:, 48:55]) and rising(-x[:, 54:60]) and rising(x[:, 60:65]) and rising(-x[:, 64:68])
    assert (y[:, 51] < y[:, 57]).all() and (y[:, 19] < y[:, 37]).all() and (y[:, 33] < y[:, 51]).all() and (y[:, 57] < y[:, 8]).all()
    turn = torch.cat([p[:, 17:22].mean(1), p[:, 22:27].mean(1)], 1)
    assert ((turn[:, 0] + turn[:, 2]) / 2 - 63.5).abs().max() < .1                 # a face that looks ahead is symmetric


def test_units_move_the_landmarks(device):
    """Each unit does what FACS says, in pixels of a 128-pixel picture, on every subject."""
    rest = still({}, device=device)[1]
    moved = lambda *units: still({unit: 1.0 for unit in units}, device=device)[1] - rest
    smile, frown, brows, knit, jaw = moved(12), moved(15), moved(1, 2), moved(4), moved(25, 26)
    assert (smile[:, [48, 54], 1] < -4).all() and (smile[:, 54, 0] - smile[:, 48, 0] > 6).all()
    assert (frown[:, [48, 54], 1] > 2).all()
    assert (brows[:, 17:27, 1] < -2.5).all() and brows[:, 36:48].abs().max() < .01
    assert (knit[:, [21, 22], 1] > 3).all() and (knit[:, 22, 0] - knit[:, 21, 0] < -1).all()
    assert (jaw[:, 66, 1] - jaw[:, 62, 1] > 10).all() and (jaw[:, 8, 1] > 3).all() and jaw[:, 17:36].abs().max() < 1
    height = lambda p: p[:, [40, 41, 46, 47], 1].mean(1) - p[:, [37, 38, 43, 44], 1].mean(1)
    assert (height(moved(5)) > 1).all() and (height(moved(7)) < -1).all() and (height(moved(6)) < -1).all()
    assert (moved(20)[:, 54, 0] > 3).all() and (moved(20)[:, 48, 0] < -3).all()
    assert (moved(17)[:, 8, 1] < -.5).all() and (moved(9)[:, 33, 1] < -1).all()
    left = still({12: 1.0, 14: 1.0}, side=-1.0, device=device)[1] - rest
    assert (left[:, 48, 1] < -4).all() and left[:, 54].abs().max() < .7            # contempt: one corner


def test_units_move_the_pixels(device):
    """What a landmark names is there in the picture: dark brows that rise, a dark mouth that opens, corners that go where they say."""
    pictures, points = still({}, device=device)
    raised, up = still({1: 1.0, 2: 1.0}, device=device)
    brow = [18, 19, 20, 23, 24, 25]
    for picture, own in ((pictures, points), (raised, up)):
        below = own[:, brow] + torch.tensor([0.0, 6.0])
        assert (at(picture, own[:, brow]).mean(1) < .75 * at(picture, below).mean(1)).all()
    assert (at(raised, points[:, brow]).mean(1) > 1.2 * at(raised, up[:, brow]).mean(1)).all()
    opened, wide = still({26: 1.0}, device=device)
    deep = (wide[:, 62:63] + 2 * wide[:, 66:67]) / 3
    assert (at(opened, deep) < at(opened, wide[:, 30:31])).all() and ((opened - pictures).abs().mean(1).amax((1, 2)) > .2).all()
    smiling, curve = still({12: 1.0}, device=device)
    corner, old = curve[:, [48, 54]], points[:, [48, 54]]
    assert (at(smiling, corner) < .9 * at(pictures, corner)).all()                 # the lips' line has come here
    assert (at(smiling, old) > at(pictures, old)).all()                            # and left its place
    still_there = (smiling - pictures).abs().mean(1)                               # and the background has not moved
    assert still_there[:, :, :8].max() < 1e-5 and still_there[:, :20].max() < 1e-5


def test_back_undoes_forth(device):
    """A landmark comes back: `forth` solves moved = points + field(moved), for the strongest faces, to 1e-4."""
    faces = plan(64, 1, seed=9, subjects=16, expressions=8, strength=1.2).to(device)
    units = torch.stack([faces.aus[:, 0], faces.aus[:, 0]], 1)
    x, y = torch.meshgrid(torch.linspace(-.8, .8, 9, device=device), torch.linspace(-.9, 1.1, 11, device=device), indexing="ij")
    points = torch.stack([x, y])[None].expand(64, -1, -1, -1)
    for field in drawn_geometry._fields(faces, units):
        moved = drawn_geometry.forth(points, field)
        assert (moved - points).abs().max() > .05
        assert (drawn_geometry.back(moved, field) - points).abs().max() < 1e-4


def test_a_clip_rises_and_falls():
    """From rest through the apex to rest, expressive most of the time; valence and arousal go along; stills are apexes."""
    faces = plan(70, 16, seed=4, subjects=10, stray=0.0)
    total = faces.aus.sum(-1)[faces.expression > 0]                                # (60, T)
    apex = total.amax(1)
    assert (total[:, 0] < .01 * apex).all() and (total[:, -1] < .7 * apex).all() and (apex > .5).all()
    assert ((total > .5 * apex[:, None]).sum(1) >= 8).all()
    assert (faces.va[:, 0].abs() < .01).all() and (faces.aus[faces.expression == 0] == 0).all()
    one = plan(70, 1, seed=4, subjects=10, stray=0.0)
    assert torch.allclose(one.aus[:, 0], faces.aus.amax(1), atol=.02)
    assert ((faces.pose[:, 1:] - faces.pose[:, :-1]).abs().amax((1, 2)) > 0).all() and (faces.pose.std(1) < .12).all()


def test_micro_expressions_are_small(device):
    """A tenth of the strength moves no landmark by more than about a pixel, at 96 pixels, with the head held still."""
    faces = plan(14, 8, seed=8, subjects=2, strength=0.1, pose=0.0, stray=0.0)
    _, points = draw(faces, 96, device)
    moved = (points - points[:, :1])[faces.expression.to(device) > 0].norm(dim=-1)
    assert .3 < moved[:, :, :36].max() < 1.2


def test_prototypes_and_circumplex():
    """The units FACS names for each expression, the signs of valence and arousal, and as many clips of each expression."""
    faces = plan(8 * 40, 1, seed=0, subjects=20, expressions=8, stray=0.0)
    assert faces.expression.bincount().tolist() == [40] * 8 and faces.subject.bincount().tolist() == [16] * 20
    present = lambda name: {AUS[k] for k in ((faces.aus[faces.expression == EXPRESSIONS.index(name), 0] > .1).float().mean(0) > .5).nonzero()[:, 0]}
    assert present("happiness") >= {6, 12} and present("surprise") == {1, 2, 5, 25, 26} and present("neutral") == set()
    assert present("anger") >= {4, 7, 23} and present("sadness") >= {1, 4, 15} and present("disgust") >= {9, 10}
    assert present("fear") >= {1, 2, 4, 5, 20, 25} and present("contempt") == {12, 14}
    contempt = faces.expression == EXPRESSIONS.index("contempt")
    assert (faces.side[contempt][:, AUS.index(14)].abs() > .8).all() and (faces.side[~contempt].abs() <= .25).all()
    signs = {"anger": (-1, 1), "disgust": (-1, 1), "fear": (-1, 1), "happiness": (1, 1), "sadness": (-1, -1), "surprise": (1, 1)}
    for name, sign in signs.items():
        va = faces.va[faces.expression == EXPRESSIONS.index(name), 0]
        assert (va.mean(0).sign() == torch.tensor(sign)).all() and (va[:, 0].abs().mean() > .05), name
    assert faces.va.abs().max() <= 1 and faces.va[faces.expression == 0].abs().max() <= .06
    assert plan(14, 1, seed=0, subjects=2).expression.bincount().tolist() == [2] * 7
    assert set(PROTOTYPES) == set(EXPRESSIONS)


def test_pixels_alone_do_not_give_it_away(device):
    """A linear probe on 48 × 48 pixels, trained on 100 subjects, gets at most 0.50 of 20 others; chance is 0.14. DESIGN.md 6."""
    faces = plan(3000, 1, seed=0, subjects=120)
    video, _ = draw(faces, 48, device)
    train = (faces.subject < 100).to(device)
    x, label = video.flatten(1), faces.expression.to(device)
    x = x - x[train].mean(0)
    target = F.one_hot(label[train], 7).float() - 1 / 7
    gram = x[train] @ x[train].mT                                                  # (2500, 2500)
    best = 0.0
    for ridge in (30.0, 100.0):
        weights = x[train].mT @ torch.linalg.solve(gram + ridge * torch.eye(len(gram), device=device), target)
        best = max(best, ((x[~train] @ weights).argmax(1) == label[~train]).float().mean().item())
    assert .20 < best <= .50


@pytest.mark.parametrize("wrong, says", [({"n": 0}, "n is 0"), ({"T": 0}, "T is 0"), ({"subjects": 0}, "subjects is 0"),
                                         ({"expressions": 9}, "expressions is 9"), ({"expressions": 0}, "expressions is 0"),
                                         ({"strength": 2.0}, "strength is 2")])
def test_what_cannot_be_drawn_is_refused(wrong, says):
    """A count that makes no sense stops before anything is drawn, and says which."""
    with pytest.raises(ValueError, match=says):
        plan(**{"n": 7, "T": 1, "seed": 0, "subjects": 1, **wrong})
    with pytest.raises(ValueError, match="size is 8"):
        draw(plan(1, 1, seed=0, subjects=1), 8)


def test_the_sheet(tmp_path, capsys):
    """`python -m refnet.data.drawn_faces OUT.png` writes a sheet and says where; without a name it says how."""
    out = tmp_path / "sheet.png"
    assert drawn_faces.main([str(out)]) == 0 and capsys.readouterr().out.strip() == str(out)
    with Image.open(out) as sheet:
        assert sheet.size == (20 + 8 * 128, 18 + 6 * 128)
        assert len(set(sheet.convert("L").tobytes())) > 200
    assert drawn_faces.main([]) == 2 and "usage" in capsys.readouterr().err
