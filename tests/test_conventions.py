"""The house's conventions (README, "How it is laid out"), each shown once with a case that the other choice fails."""
import torch
from torch.testing import assert_close as close

from refnet.data.drawn_faces import draw
from refnet.data.drawn_motion import true_flow
from refnet.data.drawn_plan import HALF, plan
from refnet.flow.farneback import farneback
from refnet.flow.pyramid import grey
from refnet.flow.registration import phase_correlation
from refnet.graphs.face_grid import face_grid
from refnet.ops.attention import GraphAttention, masked_softmax
from refnet.ops.scatter import scatter_sum


def test_rows_receive(device):
    """A[i, j] = 1 means i listens to j: node 0 hears node 1, node 1 hears only itself."""
    A = torch.tensor([[1.0, 1.0], [0.0, 1.0]], device=device)
    gat = GraphAttention(1, 1).to(device)
    torch.nn.init.ones_(gat.W), torch.nn.init.zeros_(gat.att)
    close(gat(torch.tensor([[2.0], [6.0]], device=device), A), torch.tensor([[4.0], [6.0]], device=device))


def test_softmax_runs_over_the_last_axis():
    """alpha[i, j] is the page's α_ij, and Σ_j α_ij = 1."""
    close(masked_softmax(torch.randn(2, 3, 5, 5), torch.ones(5, 5)).sum(-1), torch.ones(2, 3, 5))


def test_edges_name_the_receiver_first():
    """edges (2, E): row 0 the receiver, row 1 the sender; value 7 goes from 1 to 0."""
    i, j = torch.tensor([[0], [1]])
    assert scatter_sum(torch.tensor([7.0]), i, 2).tolist() == [7.0, 0.0]


def test_grid_nodes_stand_in_reading_order():
    """Node P · row + column: on a 3 × 3 grid node 1 is above the centre, node 3 left of it; both touch node 0."""
    A = face_grid(3)
    assert A[0].nonzero().flatten().tolist() == [0, 1, 2, 3]       # itself, right, mirror, below


def test_self_loops_are_visible():
    """Nothing adds a self-loop behind the reader's back: a node that does not hear itself is not in its own mixture."""
    gat = GraphAttention(1, 1)
    torch.nn.init.ones_(gat.W), torch.nn.init.zeros_(gat.att)
    out = gat(torch.tensor([[2.0], [6.0]]), torch.tensor([[0.0, 1.0], [1.0, 0.0]]))
    close(out, torch.tensor([[6.0], [2.0]]))


def test_pictures_and_landmarks():
    """Video (B, T, 3, H, W) in [0, 1]; landmarks (x, y) in pixels: the chin (8) is below the nose tip (30) in y."""
    video, points = draw(plan(1, 2, 0, 1, pose=0.0), 48, torch.device("cpu"))
    assert video.shape == (1, 2, 3, 48, 48) and video.dtype == torch.float32 and 0 <= video.min() and video.max() <= 1
    assert points.shape == (1, 2, 68, 2) and (points[..., 8, 1] > points[..., 30, 1]).all()
    assert (points[..., 0, 0] < points[..., 16, 0]).all()          # the jaw runs from the left of the picture to the right


def test_flow_points_to_where_things_go(device):
    """(dx, dy), x to the right, y down: a head moved by 3 pixels right and 2 up has flow (3, −2), measured, true, in the landmarks,
    and as the shift between the pictures."""
    faces = plan(1, 2, 0, 1, strength=0, pose=0, occlusion=0, noise=0, light=.5)
    faces.eyes[:] = 0
    pixel = 2 * HALF / 96
    faces.pose[0, 1, 0], faces.pose[0, 1, 1] = faces.pose[0, 0, 0] + 3 * pixel, faces.pose[0, 0, 1] - 2 * pixel
    video, points = draw(faces, 96, device)
    a, b = grey(video[:, 0]), grey(video[:, 1])
    true, valid = true_flow(faces, 96, 0, 1, device)
    way = torch.tensor([3.0, -2.0], device=device)
    close(true.movedim(1, -1)[valid], way.expand(int(valid.sum()), 2), atol=.01, rtol=0)
    close((points[0, 1] - points[0, 0]).mean(0), way, atol=.01, rtol=0)
    close(farneback(a, b)[0].movedim(0, -1)[valid[0]].median(0).values, way, atol=.1, rtol=0)
    close(phase_correlation(a, b)[0], way, atol=.3, rtol=0)
