"""Optical strain, against flows whose strain is known."""
import math

import pytest
import torch
from torch import tensor
from torch.testing import assert_close

from refnet.flow.strain import strain, strain_magnitude


def linear(ux, uy, vx, vy, H=5, W=7, **kwargs):
    """The flow u = ux·x + uy·y, v = vx·x + vy·y, as (1, 2, H, W)."""
    y, x = torch.arange(H, **kwargs)[:, None], torch.arange(W, **kwargs)
    return torch.stack([ux * x + uy * y, vx * x + vy * y])[None]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_affine_flow(device, dtype):
    """u = 4x + 3y, v = x + 2y:  exx = 4, eyy = 2, exy = (3 + 1)/2 = 2, at every pixel, border and all."""
    found = strain(linear(4., 3., 1., 2., dtype=dtype, device=device))
    assert_close(found, tensor([4., 2., 2.], dtype=dtype, device=device)[None, :, None, None].expand(1, 3, 5, 7))


def test_u_grows_along_x(device):
    """u = x alone is stretch along x; u = y alone is shear ½. Rows taken for columns would swap the two."""
    assert_close(strain(linear(1., 0., 0., 0., device=device))[0, :, 2, 3], tensor([1., 0., 0.], device=device))
    assert_close(strain(linear(0., 1., 0., 0., device=device))[0, :, 2, 3], tensor([0., 0., 0.5], device=device))
    assert_close(strain(linear(0., 0., 0., 1., device=device))[0, :, 2, 3], tensor([0., 1., 0.], device=device))


def test_differences_over_a_row(device):
    """u = (0, 1, 4, 9) along x: one-sided 1 at the left, central (4-0)/2 = 2 and (9-1)/2 = 4, one-sided 9-4 = 5."""
    u = tensor([0., 1., 4., 9.], device=device).expand(2, 4)
    exx = strain(torch.stack([u, torch.zeros_like(u)])[None])[0, 0]
    assert_close(exx, tensor([1., 2., 4., 5.], device=device).expand(2, 4))


def test_small_turn_has_no_strain(device):
    """A small turn by θ moves (x, y) by θ(-y, x): ∂u/∂y = -θ and ∂v/∂x = θ cancel, exactly."""
    turn = linear(0., -1 / 64, 1 / 64, 0., device=device) + 3
    assert_close(strain_magnitude(turn), torch.zeros(1, 5, 7, device=device), rtol=0, atol=0)


def test_shear_counts_twice(device):
    """exx = 4, eyy = 1, exy = 2:  √(16 + 1 + 2·4) = 5; with the shear once it would be √21."""
    found = strain_magnitude(linear(4., 3., 1., 1., device=device))
    assert_close(found, torch.full((1, 5, 7), 5., device=device))


def test_same_size_in_a_rotated_picture(device):
    """The stretch u = x has |e| = 1. Seen from axes turned by 45° it is [[½, ½], [½, ½]]: √(¼ + ¼ + 2·¼) = 1 again;
    with the shear once, √¾."""
    found = strain_magnitude(torch.cat([linear(1., 0., 0., 0., device=device), linear(.5, .5, .5, .5, device=device)]))
    assert_close(found, torch.ones(2, 5, 7, device=device))


def test_gradient_where_nothing_moves(device):
    """√ has no slope at 0; the gradient must still be finite: 0."""
    flow = torch.zeros(1, 2, 3, 5, device=device, dtype=torch.float64, requires_grad=True)
    strain_magnitude(flow).sum().backward()
    assert_close(flow.grad, torch.zeros_like(flow))
    torch.manual_seed(0)
    flow = torch.randn(2, 2, 3, 5, dtype=torch.float64, device=device, requires_grad=True)
    assert torch.autograd.gradcheck(strain_magnitude, flow)


def test_a_pair_at_a_time_or_both(device):
    torch.manual_seed(1)
    flow = torch.randn(3, 2, 5, 7, device=device)
    assert_close(strain_magnitude(flow), torch.cat([strain_magnitude(one[None]) for one in flow]))


@pytest.mark.parametrize("shape", [(2, 5, 7), (1, 3, 5, 7), (1, 5, 7, 2), (1, 2, 1, 7), (1, 2, 5, 1)])
def test_refuses_shapes(device, shape):
    with pytest.raises(ValueError, match=r"flow is .*expected \(B, 2, H, W\)"):
        strain(torch.zeros(shape, device=device))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_refuses_what_is_not_finite(device, bad):
    flow = torch.zeros(1, 2, 3, 5, device=device)
    flow[0, 1, 2, 4] = bad
    with pytest.raises(ValueError, match="flow: found NaN or infinity"):
        strain_magnitude(flow)


def test_refuses_integers(device):
    with pytest.raises(ValueError, match="flow: found torch.int64"):
        strain(torch.zeros(1, 2, 3, 5, dtype=torch.int64, device=device))
