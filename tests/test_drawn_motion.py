"""The true flow of drawn faces, against landmarks, pictures and hand-worked motion; and the micro-expressions' sheet."""
from dataclasses import fields, replace
from functools import cache

import pytest
import torch
import torch.nn.functional as F
from torch.testing import assert_close

from refnet.data import drawn_faces, drawn_geometry
from refnet.data.drawn_faces import draw
from refnet.data.drawn_micro import MICRO, MICRO_UNITS, plan_micro
from refnet.data.drawn_motion import true_flow
from refnet.data.drawn_plan import AUS, HALF, TRAITS, plan


def pair(n=7, strength=1.0, pose=0.0, seed=3):
    """n clips of two frames, rest and then the apex, of subjects who look ahead, without a fringe."""
    faces = plan(n, 3, seed=seed, subjects=n, expressions=min(n, 7), strength=strength, pose=pose, occlusion=0.0, noise=0.0,
                 stray=0.0)
    faces = replace(faces, **{name: getattr(faces, name)[:, :2].clone() for name in ("pose", "eyes", "aus", "va")})
    identity = faces.identity.clone()
    identity[:, TRAITS.index("fringe")] = 0.0
    faces.aus[:, 0] = 0
    faces.eyes[..., 2] = 0                                                          # no blink
    return replace(faces, identity=identity)


def read(maps, points):
    """Maps (B, C, S, S) at places (B, 2, H, W) in pixels, bilinear → (B, C, H, W)"""
    S = maps.shape[-1]
    return F.grid_sample(maps, (points * 2 / (S - 1) - 1).movedim(1, -1), padding_mode="border", align_corners=True)


def pixels(size, device):
    """Each pixel's place: (1, 2, S, S)"""
    axis = torch.arange(size, device=device, dtype=torch.float32)
    return torch.stack([axis.expand(size, size), axis[:, None].expand(size, size)])[None]


def at_landmarks(flow, valid, points):
    """Flow read at landmarks (B, 68, 2), and where all it is read from is valid: (B, 68, 2), (B, 68)"""
    places = points.mT[:, :, None]                                                  # (B, 2, 1, 68)
    return read(flow, places)[:, :, 0].mT, read(valid[:, None].float(), places)[:, 0, 0] > .9999


def small(head):
    """A small expression, and the head is held, turns, or drifts: 2 and −1 pixels at 256, 1 % larger, 0.02 of roll."""
    faces = pair(strength=.06, pose=float(head == "turns"))
    if head == "drifts":
        faces.pose[:, 1, :4] += torch.tensor([4 * HALF / 256, -2 * HALF / 256, .01, .02])
    return faces


@pytest.mark.parametrize("head, within", [("held", .02), ("drifts", .02), ("turns", .04)])
def test_flow_is_the_landmarks_way(device, head, within):
    """Read at the first frame's landmarks, the flow is what the landmarks do, to 0.02 px; most of the inner 51 can be read.

    The landmarks come by another way, from the skin to the picture. What is left is reading between pixels: the displacements
    are bilinear lattices, and their kinks grow as the head turns.
    """
    faces = small(head)
    _, points = draw(faces, 256, device)
    flow, valid = true_flow(faces, 256, 0, 1, device)
    found, sure = at_landmarks(flow, valid, points[:, 0])
    way = points[:, 1] - points[:, 0]
    assert way[sure].norm(dim=-1).max() > .6
    assert (found - way)[sure].norm(dim=-1).max() < within
    assert sure[:, 17:].float().mean() > .7 and sure[:, 27:36].all() and not sure[:, :17].any()    # the jaw is an edge
    assert sure[:, 36:48].float().mean() > .6 and sure[:, 48:60].float().mean() > .6


def test_strong_expressions_move_brows_and_nose_alike(device):
    """At full strength, with 20 pixels of way, the skin's landmarks still agree to 0.05 px."""
    faces = pair(strength=1.0, pose=1.0)
    _, points = draw(faces, 256, device)
    found, sure = at_landmarks(*true_flow(faces, 256, 0, 1, device), points[:, 0])
    way = points[:, 1] - points[:, 0]
    skin = sure[:, 17:36]
    assert way[:, 17:36][skin].norm(dim=-1).max() > 10 and skin.float().mean() > .9
    assert (found - way)[:, 17:36][skin].norm(dim=-1).max() < .05


def test_a_frame_does_not_move_against_itself(device):
    """Exactly 0, and the face valid."""
    faces = pair(strength=1.0, pose=1.0)
    flow, valid = true_flow(faces, 64, 1, 1, device)
    assert flow.abs().max() == 0 and valid.float().mean() > .15


@pytest.mark.parametrize("head, within", [("drifts", .02), ("turns", .12)])
def test_there_and_back(device, head, within):
    """Forward, then backward from where it ends, is nothing where both are valid: to 0.02 px, or what a turn's kinks cost."""
    faces = small(head)
    (there, valid), (back, valid_back) = true_flow(faces, 256, 0, 1, device), true_flow(faces, 256, 1, 0, device)
    ends = pixels(256, device) + there
    both = valid & (read(valid_back[:, None].float(), ends)[:, 0] > .9999)
    assert both.sum() > .9 * valid.sum()
    assert there.norm(dim=1)[both].max() > 1
    assert (there + read(back, ends)).norm(dim=1)[both].max() < within


def warped(faces, size, device):
    """Mean difference of the second frame to the first over the valid pixels, as it is and read along the flow: (B,) each"""
    video, _ = draw(faces, size, device)
    flow, valid = true_flow(faces, size, 0, 1, device)
    mean = lambda d: (d.abs().mean(1) * valid).flatten(1).sum(1) / valid.flatten(1).sum(1)
    return mean(video[:, 1] - video[:, 0]), mean(read(video[:, 1], pixels(size, device) + flow) - video[:, 0])


def test_the_flow_brings_the_second_picture_onto_the_first(device, monkeypatch):
    """With no creases to change the shading, what is left is what reading between pixels costs."""
    monkeypatch.setattr(drawn_faces, "CREASES", {})
    drawn_faces._relief.cache_clear()
    try:
        before, after = warped(pair(strength=1.0)[1:], 256, device)
        assert (after < .35 * before).all() and after.mean() < .2 * before.mean() and after.max() < .006
        before, after = warped(pair(strength=0.0, pose=1.0), 256, device)           # the head alone
        assert (before > .02).all() and (after < .006).all()
    finally:
        drawn_faces._relief.cache_clear()


def test_with_creases_it_still_does_better(device):
    """Creases are shading: less is explained, and yet less than half is left."""
    before, after = warped(pair(strength=1.0)[1:], 256, device)
    assert (after < .5 * before).all()


def test_a_shift_is_the_same_everywhere(device):
    """0.0690 and −0.0345 in a picture of 2.76 across 64 pixels: 1.6 and −0.8 pixels."""
    faces = replace(pair(strength=0.0, pose=1.0), aus=torch.zeros(7, 2, len(AUS)))
    faces.pose[:, 1] = faces.pose[:, 0]
    faces.pose[:, 1, :2] += torch.tensor([.0690, -.0345])
    flow, valid = true_flow(faces, 64, 0, 1, device)
    assert valid.any((1, 2)).all()
    assert_close(flow.movedim(1, -1)[valid], flow.new_tensor([1.6, -.8]).expand(int(valid.sum()), 2), atol=1e-4, rtol=0)


def test_a_roll_turns_about_the_middle_of_the_head(device):
    """q = c + e^.05 · R(0.1) · (p − c), with c at (0, −0.06): column 31.5, row 31.5 − 0.06 · 64 / 2.76 = 30.1087."""
    faces = pair(n=2, strength=0.0)
    faces.pose[:, 1, 2], faces.pose[:, 1, 3] = .05, .1
    flow, valid = true_flow(faces, 64, 0, 1, device)
    x, y = (pixels(64, device) - flow.new_tensor([31.5, 30.1087])[:, None, None]).unbind(1)
    turned = 1.0512711 * torch.stack([.9950042 * x - .0998334 * y, .0998334 * x + .9950042 * y], 1)
    expected = (turned - torch.stack([x, y], 1)).expand_as(flow)
    assert valid.sum() > 1000
    assert (flow - expected).abs().amax(1)[valid].max() < 1e-3


def mean_face(gaze=0.0, side=0.0, **units):
    """A clip of two frames of the face that no trait moves, without a fringe: at rest, then with units au5=..., and gaze."""
    faces = pair(n=1, strength=0.0)
    faces.eyes[:, 1, 0] += gaze
    for unit, intensity in units.items():
        faces.aus[:, 1, AUS.index(int(unit[2:]))] = intensity
    faces.identity[:], faces.side[:] = .5, side
    faces.identity[:, TRAITS.index("fringe")] = 0.0
    return faces


def test_an_iris_goes_with_the_gaze(device):
    """Gaze goes 0.015 right, the head is drawn at e^−.06: 0.015 · .941765 · 256 / 2.76 = 1.31028 px; the nose stays."""
    faces = mean_face(gaze=.015)
    _, points = draw(faces, 256, device)
    flow, valid = true_flow(faces, 256, 0, 1, device)
    for eye in (slice(36, 42), slice(42, 48)):
        x, y = (points[0, 0, eye].mean(0) + points.new_tensor([0, 1])).round().long().tolist()
        assert valid[0, y, x]
        assert_close(flow[0, :, y, x], flow.new_tensor([1.31028, 0]), atol=2e-4, rtol=0)
    x, y = points[0, 0, 30].round().long().tolist()
    assert valid[0, y, x] and flow[0, :, y, x].abs().max() == 0


def test_lashes_go_up_with_the_lid(device):
    """Unit 5 at 0.3 lifts the middle of the lid, at (.38, −.305), by .065 · 0.3 = .0195: 1.70336 px.

    The lower one goes down by .012 · 0.3 = .0036: 0.31447 px."""
    flow, valid = true_flow(mean_face(au5=.3), 256, 0, 1, device)
    place = lambda x, y: tuple(round(((v * .9417645 + shift) / HALF + 1) * 128 - .5) for v, shift in ((y, -.06), (x, 0)))
    row, column = place(.38, -.305)
    assert valid[0, row, column] and abs(flow[0, 1, row, column] + 1.70336) < .02 and flow[0, 0, row, column] == 0
    row, column = place(.38, -.14)
    assert valid[0, row, column] and abs(flow[0, 1, row, column] - .31447) < .005
    _, valid = true_flow(mean_face(au5=1.0), 256, 0, 1, device)
    row, column = place(.38, -.305)
    assert not valid[0, row, column]                                                # 5.7 px over the eye: not the same edge


def test_a_corner_of_the_mouth_goes_where_its_unit_says(device):
    """Unit 12 at 0.1 moves the right corner by (.12, −.15) · 0.1: 1.04823 and −1.31028 px.

    Nothing is valid along the seam of shut lips, where teeth shine through in dashes, nor where the lips part (25).
    """
    faces = mean_face(au12=.1)
    _, points = draw(faces, 256, device)
    found, sure = at_landmarks(*true_flow(faces, 256, 0, 1, device), points[:, 0])
    assert not sure[0, 60:].any() and sure[0, [49, 50, 52, 53, 55, 59]].all()
    assert_close(found[0, 54], found.new_tensor([1.04823, -1.31028]), atol=.03, rtol=0)
    _, sure = at_landmarks(*true_flow(mean_face(au25=.1), 256, 0, 1, device), points[:, 0])
    assert not sure[0, 61:64].any() and not sure[0, 65:68].any() and sure[0, [50, 51, 52, 56, 57, 58]].all()


def test_pressed_lips_do_not_come_under_their_seam(device):
    """At full strength 23 and 24 make the lips as thin as the line between them: what it covers is not valid."""
    video, _ = draw(mean_face(au23=1.0, au24=1.0), 256, device)
    flow, valid = true_flow(mean_face(au23=1.0, au24=1.0), 256, 0, 1, device)
    left = (read(video[:, 1], pixels(256, device) + flow) - video[:, 0]).abs().amax(1)
    mouth = valid[0, 168:200, 90:166]
    assert mouth.sum() > 200 and (left[0, 168:200, 90:166][mouth] > .2).float().mean() < .01


def test_where_the_skin_folds_nothing_is_valid(device):
    """At three times what muscles can do the skin folds. Where a valid pixel ends, the second frame shows the same skin."""
    faces = mean_face(au1=3.0, au2=3.0, au4=3.0).to(device)
    flow, valid = true_flow(faces, 256, 0, 1, device)
    one, two = (drawn_geometry.geometry(replace(faces, pose=faces.pose[:, [t]], eyes=faces.eyes[:, [t]], aus=faces.aus[:, [t]]))
                for t in (0, 1))
    start = drawn_geometry.posed_places(one, 256)
    end = start + flow * (2 * HALF / 256) / .9417645                                # this head stays; it is drawn at e^−.06
    skin = lambda where, posed: drawn_geometry.back(drawn_geometry.back(posed, where.field), where.muscles)
    off = (skin(two, end) - skin(one, start)).norm(dim=1) * 128 / HALF              # (1, 256, 256)
    brows = valid[0, 40:85]
    assert brows.sum() > 1500 and off[0, 40:85][brows].max() < .02
    assert off[0, 40:85].max() > .05


def test_most_of_the_face_is_valid_and_nothing_else(device):
    """Of the oval at least 0.6, for every expression; outside the oval nothing, and no corner of the picture."""
    faces = pair(strength=1.0).to(device)
    _, valid = true_flow(faces, 128, 0, 1, device)
    where = drawn_geometry.geometry(replace(faces, pose=faces.pose[:, :1], eyes=faces.eyes[:, :1], aus=faces.aus[:, :1]))
    skin = drawn_geometry.back(drawn_geometry.back(drawn_geometry.posed_places(where, 128), where.field), where.muscles)
    oval = drawn_geometry.outside_oval(*skin.unbind(1)) < 0
    share = (valid & oval).flatten(1).sum(1) / oval.flatten(1).sum(1)
    assert share.min() > .6 and not (valid & ~oval).any()


def test_nothing_is_valid_under_the_patch_in_either_frame(device):
    """A patch over a cheek: neither the pixels under it, nor those that come to lie under it; beside it they are valid."""
    patch = torch.tensor([.3, .2, .25, .2, 1, 0, 0, 1]).expand(7, 8)
    free = pair(strength=1.0, pose=1.0)
    faces = replace(free, patch=patch)
    flow, valid = true_flow(faces, 128, 0, 1, device)
    middle, half = flow.new_tensor([[.3, .2], [.25, .2]])[..., None, None]
    inside = lambda p: (((p + .5) * 2 * HALF / 128 - HALF - middle).abs() < half).all(1)
    here, there = inside(pixels(128, device)), inside(pixels(128, device) + flow)
    assert not (valid & (here | there)).any()
    assert (true_flow(free, 128, 0, 1, device)[1] & ~here & there).any() and valid.flatten(1).any(1).all()


def test_what_appears_is_not_valid(device):
    """The inside of an opening mouth, and an eye behind a closed lid, have no counterpart; the chin has, and moves down."""
    faces = pair(n=3, strength=0.0)
    faces.aus[:, 1, AUS.index(26)] = 1.0
    faces.eyes[:, 1, 2] = 1.0                                                       # the lids close
    _, points = draw(faces, 128, device)
    to, valid = true_flow(faces, 128, 0, 1, device)
    _, valid_back = true_flow(faces, 128, 1, 0, device)
    for b in range(3):
        look = lambda mask, p: bool(mask[b, int(p[1].round()), int(p[0].round())])
        assert not look(valid_back, (points[b, 1, 62] + points[b, 1, 66]) / 2)
        assert not look(valid, points[b, 0, 36:42].mean(0)) and not look(valid, points[b, 0, 42:48].mean(0))
        chin = points[b, 0, 8] - points.new_tensor([0, 4])
        assert look(valid, chin) and to[b, 1, int(chin[1]), int(chin[0])] > 2


def test_many_frames_in_one_call(device):
    """From the onset to every frame: (B, P) frame numbers give (B, P, ...), each as if asked for alone."""
    micro = plan_micro(3, seed=5, subjects=1, frames=(8, 8))
    second = torch.arange(8).expand(3, 8)
    flow, valid = true_flow(micro.faces, 48, micro.onset, second, device)
    assert flow.shape == (3, 8, 2, 48, 48) and valid.shape == (3, 8, 48, 48) and flow.dtype == torch.float32
    for t in (0, 5):
        alone, alone_valid = true_flow(micro.faces, 48, micro.onset, t, device)
        assert_close(flow[:, t], alone, atol=1e-4, rtol=0)
        assert (valid[:, t] != alone_valid).sum() <= 3


def test_what_leaves_the_picture_is_not_valid(device):
    """A head that goes out to the right by 1 in a picture of 2.76 across."""
    far = pair(n=1, strength=0.0, pose=0.0, seed=1)
    far.pose[:, 1, 0] = 1.0
    ends, valid = true_flow(far, 48, 0, 1, device)
    ends = pixels(48, device) + ends
    assert valid.any() and ends[0, 0][valid[0]].max() <= 47 and (ends[0, 0] > 47).any()


@pytest.mark.parametrize("first, second, says", [(0, 2, "second is 2"), (-1, 0, "first is -1"), (0, torch.tensor(.5), "whole"),
                                                 (0, torch.zeros(5).long(), "second has shape"), (0, torch.ones(3).bool(), "whole"),
                                                 (0, torch.zeros(3, 0).long(), "at least one"),
                                                 (torch.zeros(3, 2).long(), torch.zeros(3, 1).long(), "as many a clip")])
def test_frames_that_are_not_there_are_refused(first, second, says):
    """A number beyond the clip, or for another count of clips."""
    with pytest.raises(ValueError, match=says):
        true_flow(pair(n=3), 32, first, second)
    with pytest.raises(ValueError, match="size is 8"):
        true_flow(pair(n=3), 8, 0, 1)


def test_frame_numbers_of_any_whole_type(device):
    faces = pair(n=2, strength=.1)
    wanted = true_flow(faces, 32, 0, 1, device)[0]
    assert torch.equal(true_flow(faces, 32, torch.zeros(2, dtype=torch.uint8), torch.ones(2, dtype=torch.int8), device)[0], wanted)


# ---- micro-expressions

@cache
def still():
    """Fifteen clips of five classes, heads held still."""
    return plan_micro(15, seed=1, subjects=3, classes=5, drift=0.0)


@pytest.mark.parametrize("classes", [3, 5])
def test_the_peak_lies_in_its_range(device, classes):
    """From onset to apex the farthest pixel goes 0.3 to 2 px at 256, so 0.15 to 1 at 128, and as far as the sheet says."""
    micro = plan_micro(15, seed=1, subjects=3, classes=classes, drift=0.0)
    peaks = {}
    for size in (128, 256):
        flow, valid = true_flow(micro.faces, size, micro.onset, micro.apex, device)
        peaks[size] = (flow.norm(dim=1) * valid).flatten(1).amax(1).cpu()
    assert peaks[128].min() > .15 and peaks[128].max() < 1 and peaks[128].max() > 2 * peaks[128].min()
    assert peaks[256].min() > .3 and peaks[256].max() < 2
    assert_close(2 * peaks[128], micro.peak, rtol=.01, atol=0)
    assert micro.faces.aus.max() <= 1


def test_the_sheet_is_true():
    """Lengths of 20 to 60; at rest up to the onset and from the offset on; the one highest frame is the apex."""
    m = still()
    assert m.length.min() >= 20 and m.length.max() <= 60 and len(m.length.unique()) > 5
    assert m.faces.aus.shape == (15, 60, 18) and m.fps == 200 and len(m) == 15
    assert (0 <= m.onset).all() and (m.onset < m.apex).all() and (m.apex < m.offset).all() and (m.offset < m.length).all()
    assert (m.onset > 0).any() and (m.offset < m.length - 1).any()
    rise = (m.faces.aus - m.faces.aus[:, :1]).abs().sum(-1)                         # (15, 60)
    for b in range(15):
        on, top, off = (int(v[b]) for v in (m.onset, m.apex, m.offset))
        assert rise[b].argmax() == top and (rise[b] == rise[b, top]).sum() == 1
        assert (rise[b, :on + 1] == 0).all() and (rise[b, off:] == 0).all() and (rise[b, on + 1:off] > 0).all()
        assert m.clip(b).aus.shape == (1, int(m.length[b]), 18)


def test_the_flow_rises_to_the_apex(device):
    """Measured on the flow from the onset, the motion is strongest at the apex."""
    m = still()[torch.tensor([7, 2, 4])]
    flow, valid = true_flow(m.faces, 64, m.onset, torch.arange(60).expand(3, 60), device)
    mean = (flow.norm(dim=2) * valid).flatten(2).sum(2) / valid.flatten(2).sum(2)   # (3, 60)
    assert mean.argmax(1).tolist() == m.apex.tolist()


def test_same_seed_same_sheet():
    """Bit by bit; another seed gives others; and a clip does not depend on how many follow it."""
    m = still()
    again, other, more = (plan_micro(n, seed=s, subjects=3, classes=5, drift=0.0) for n, s in ((15, 1), (15, 2), (20, 1)))
    assert all(torch.equal(getattr(m.faces, f.name), getattr(again.faces, f.name)) for f in fields(m.faces))
    assert torch.equal(m.length, again.length) and torch.equal(m.peak, again.peak)
    assert not torch.equal(m.length, other.length)
    assert torch.equal(more.length[:15], m.length)
    assert_close(more.faces.aus[:15], m.faces.aus, atol=1e-5, rtol=0)


def test_subjects_stay_who_they_are():
    """The same face as in `plan`, but for the fringe; one subject, one way: the side is the subject's."""
    faces, same = still().faces, plan(15, 1, seed=1, subjects=3, expressions=5)
    assert torch.equal(faces.subject, same.subject) and torch.equal(faces.detail, same.detail)
    keep = [k for k, name in enumerate(TRAITS) if name != "fringe"]
    assert torch.equal(faces.identity[:, keep], same.identity[:, keep])
    for s in (0, 1, 2):
        rows = faces.side[faces.subject == s]
        assert len(rows) == 5 and (rows == rows[0]).all() and rows.abs().max() <= .5
    assert len(faces.side.unique(dim=0)) == 3


def test_classes_are_even_and_show_their_units():
    """As many of each; and the strongest unit of most clips is one that the class's sets ask for."""
    assert still().label.bincount().tolist() == [3] * 5 and still().classes == MICRO[5]
    m = plan_micro(30, seed=4, subjects=5, classes=3, drift=0.0)
    assert m.label.bincount().tolist() == [10] * 3 and m.faces.subject.bincount().tolist() == [6] * 5
    b = torch.arange(30)
    added = m.faces.aus[b, m.apex] - m.faces.aus[b, m.onset]                        # (30, 18)
    asked = [any(AUS[int(added[i].argmax())] in units for units in MICRO_UNITS[MICRO[3][int(m.label[i])]]) for i in range(30)]
    assert sum(asked) >= 27 and (added.amax(1) > 0).all()


def test_a_still_frame_does_not_say_the_class():
    """The resting face has more in it than the expression adds, and expression and affect of a still are neutral."""
    m = still()
    rest, apex = m.faces.aus[:, 0], m.faces.aus[torch.arange(15), m.apex]
    assert (rest.sum(1) > (apex - rest).sum(1)).float().mean() > .6 and rest.amax(1).min() > .05
    assert (m.faces.va == 0).all() and (m.faces.expression == 0).all()
    _, points = draw(m.clip(0), 64)
    assert (points[0] - points[0, :1]).norm(dim=-1).max() < .6                      # 2 pixels at 256


def test_the_head_drowns_the_face_unless_it_is_held(device):
    """With drift the mean flow is at least three times the face's own; it is a slow similarity, from nothing."""
    held, moving = still(), plan_micro(15, seed=1, subjects=3, classes=5)
    assert torch.equal(moving.faces.aus, held.faces.aus)
    mean = []
    for m in (held, moving):
        flow, valid = true_flow(m.faces, 64, m.onset, m.apex, device)
        mean.append(flow.norm(dim=1)[valid].mean())
    assert mean[1] > 3 * mean[0]
    drift = moving.faces.pose - held.faces.pose                                     # (15, 60, 6)
    assert (drift[:, 0] == 0).all() and (drift[..., 4:] == 0).all()
    px = drift[..., :2].abs().amax(1) * 256 / (2 * HALF)
    assert 1.5 < px.max() < 5 and drift[..., 2].abs().max() < .011 and drift[..., 3].abs().max() < .021
    assert (drift.diff(dim=1).abs() < .25 * drift.abs().amax(1, keepdim=True) + 1e-4).all()
    assert (held.faces.pose == held.faces.pose[:, :1]).all()


@pytest.mark.parametrize("wrong, says", [({"classes": 4}, "classes is 4"), ({"frames": (30, 20)}, "frames is"),
                                         ({"frames": (4, 20)}, "frames is"), ({"peak": (2.0, 1.0)}, "peak is"),
                                         ({"drift": -1.0}, "drift is -1"), ({"fps": 0.0}, "fps is 0"),
                                         ({"drift": float("nan")}, "drift is nan"), ({"noise": -1.0}, "noise is -1"),
                                         ({"light": float("inf")}, "light is inf"), ({"frames": (8.5, 20)}, "frames is"),
                                         ({"frames": (20,)}, "frames is"), ({"peak": (1., 4.)}, "peak is"),
                                         ({"subjects": 0}, "subjects is 0")])
def test_a_plan_that_makes_no_sense_is_refused(wrong, says):
    """Before anything is measured, saying which number it is."""
    with pytest.raises(ValueError, match=says):
        plan_micro(**{"n": 3, "seed": 0, "subjects": 1, **wrong})
