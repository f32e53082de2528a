"""The operators that no paper numbers: sums over edges, counts and what is read off them."""
import math

import pytest
import torch
from torch.testing import assert_close as close

from refnet.graphs.landmarks import symmetric
from refnet.ops import metrics
from refnet.ops.graph_conv import GraphConv
from refnet.ops.scatter import scatter_max, scatter_mean, scatter_softmax, scatter_sum, take

# Node 0 receives −1 and −3, node 1 nothing, node 2 receives 5.
VALUE, INDEX = [[-1.0, 10.0], [5.0, 2.0], [-3.0, 30.0]], [0, 2, 0]


def test_scatter_by_hand(device):
    """sum −4 · 5, mean −2 · 5, max −1 (not 0) · 5; node 1, which receives nothing, has 0."""
    value, index = torch.tensor(VALUE, device=device), torch.tensor(INDEX, device=device)
    close(scatter_sum(value, index, 3), torch.tensor([[-4.0, 40.0], [0.0, 0.0], [5.0, 2.0]], device=device))
    close(scatter_mean(value, index, 3), torch.tensor([[-2.0, 20.0], [0.0, 0.0], [5.0, 2.0]], device=device))
    close(scatter_max(value, index, 3), torch.tensor([[-1.0, 30.0], [0.0, 0.0], [5.0, 2.0]], device=device))


def test_scatter_softmax_by_hand(device):
    """Scores ln 1 and ln 3 of one receiver: ¼ and ¾; a receiver with a single edge: 1; 1000 does not overflow."""
    value = torch.tensor([1.0, 1000.0, 3.0], device=device)
    value[[0, 2]] = value[[0, 2]].log()
    close(scatter_softmax(value, torch.tensor(INDEX, device=device), 3), torch.tensor([0.25, 1.0, 0.75], device=device))


@pytest.mark.parametrize("shape", [(), (3,), (2, 5)])
def test_scatter_takes_any_feature_shape_and_repeats_itself(device, shape):
    """Against a loop over the edges; twice the same input gives the same bits, gradients too."""
    g = torch.Generator().manual_seed(0)
    value = torch.randn(101, *shape, generator=g).to(device).requires_grad_()
    index = torch.randint(0, 7, (101,), generator=g).to(device)
    want = torch.zeros(8, *shape, device=device)
    for v, i in zip(value.detach(), index.tolist()):
        want[i] += v
    for reduce in (scatter_sum, scatter_mean, scatter_max, scatter_softmax):
        one, two = (reduce(value, index, 8) for _ in range(2))
        assert torch.equal(one, two)
        assert torch.equal(*(torch.autograd.grad(y.square().sum(), value)[0] for y in (one, two)))
    close(scatter_sum(value, index, 8), want)
    close(scatter_sum(scatter_softmax(value, index, 8), index, 8)[:7], torch.ones(7, *shape, device=device))


@pytest.mark.parametrize("reduce", [scatter_sum, scatter_mean, scatter_max, scatter_softmax])
def test_scatter_gradients(reduce):
    """Against differences, in float64."""
    value = torch.randn(6, 2, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: reduce(v, torch.tensor([0, 2, 0, 0, 2, 3]), 5), value)


def test_scatter_says_what_does_not_fit():
    with pytest.raises(ValueError, match=r"3 values, so index must be \(3,\); got \(2,\)"):
        scatter_sum(torch.ones(3, 2), torch.tensor([0, 1]), 2)


def test_confusion_by_hand(device):
    """Truth 0 0 1 2 −1, called 0 2 1 1 0: row 0 has (1, 0, 1), row 1 (0, 1, 0), row 2 (0, 1, 0); −1 counts for nothing."""
    counts = metrics.confusion(torch.tensor([0, 0, 1, 2, -1], device=device), torch.tensor([0, 2, 1, 1, 0], device=device), 3)
    assert counts.tolist() == [[1, 0, 1], [0, 1, 0], [0, 1, 0]]
    close(metrics.accuracy(counts), torch.tensor(0.5, device=device))
    close(metrics.f1_per_class(counts), torch.tensor([2 / 3, 2 / 3, 0.0], device=device))      # 2/(2+1), 2/(1+2), 0
    close(metrics.recall_per_class(counts), torch.tensor([0.5, 1.0, 0.0], device=device))


def test_macro_f1_leaves_out_a_class_that_is_nowhere():
    """Two classes present, a third never there and never called: the mean is over two."""
    close(metrics.f1_macro(torch.tensor([[1, 1, 0], [0, 2, 0], [0, 0, 0]])), torch.tensor((2 / 3 + 4 / 5) / 2))


def test_confusion_refuses_a_code_out_of_range():
    with pytest.raises(ValueError, match="0 … 2"):
        metrics.confusion(torch.tensor([0, 3]), torch.tensor([0, 1]), 3)


def test_scatter_along_another_axis(device):
    """A batch of graphs with the same edges: the edges are the last axis but one; each graph alone gives the same."""
    value = torch.randn(2, 3, 5, generator=torch.Generator().manual_seed(0)).to(device)          # B, E, D
    index = torch.tensor([2, 0, 2], device=device)
    for reduce in (scatter_sum, scatter_mean, scatter_max, scatter_softmax):
        close(reduce(value, index, 4, -2), torch.stack([reduce(v, index, 4) for v in value]))
    close(take(value, index, 1), value[:, [2, 0, 2]])
    with pytest.raises(ValueError, match=r"3 values, so index must be \(3,\); got \(2,\)"):
        scatter_sum(value, index[:2], 4, -2)


def test_take_sums_its_gradient(device):
    """Node 2 is taken twice, node 1 never: gradients 2, 0 and 1."""
    x = torch.zeros(3, 1, device=device, requires_grad=True)
    take(x, torch.tensor([2, 0, 2], device=device)).sum().backward()
    close(x.grad, torch.tensor([[1.], [0.], [2.]], device=device))


def test_graph_conv_by_hand(device):
    """engat (§4.5): a path 0 - 1 - 2 with self-loops has degrees 2, 3, 2: Â_01 = 1/√6, Â_00 = ½, Â_11 = ⅓.

    W = (1, 10), b = 1; h = (1, 0), (0, 1), (2, 0) are projected to 1, 10, 2.
    Node 0: ½ + 10/√6 + 1, node 1: 1/√6 + 10/3 + 2/√6 + 1, node 2: 10/√6 + 1 + 1.
    """
    A_hat = symmetric(torch.tensor([[1., 1., 0.], [1., 1., 1.], [0., 1., 1.]], device=device))
    layer = GraphConv(2, 1).to(device)
    layer.W.data, layer.bias.data = torch.tensor([[1., 10.]], device=device), torch.ones(1, device=device)
    h = torch.tensor([[1., 0.], [0., 1.], [2., 0.]], device=device)
    root = math.sqrt(6)
    close(layer(h, A_hat), torch.tensor([[1.5 + 10 / root], [3 / root + 10 / 3 + 1], [10 / root + 2]], device=device))
