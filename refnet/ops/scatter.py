"""Sums over an edge list: what every node receives from its edges.

Convention: edges (2, E), row 0 the receiver i, row 1 the sender j. A value per edge in, a value per receiver out. The edges
are the axis `dim` of the values, the first where nothing is said; the others are features, or a batch of graphs with the same
edges. Sums run in a fixed order, on CPU and GPU alike, so that equal input gives equal bits.
"""
import torch
from torch import Tensor


def take(x: Tensor, index: Tensor, dim: int = 0) -> Tensor:
    """What each edge finds at one of its ends.

    x      (N, *)   nodes, along `dim`
    index  (E,)     a node's number for each edge
    →      (E, *)
    """
    if x.device.type == "cpu":
        return x.index_select(dim, index)                                               # its gradient is an index_add
    return x.movedim(dim, 0)[index].movedim(0, dim)                                     # its gradient is an index_put


def scatter_sum(value: Tensor, index: Tensor, N: int, dim: int = 0) -> Tensor:
    """Add up each receiver's edges.

    value  (E, *)   one value per edge
    index  (E,)     the receiver of each edge, 0 … N − 1
    →      (N, *)   0 where a node receives nothing

    Raises ValueError where values and receivers differ in number.
    """
    out = _empty(value, index, N, dim)                                                  # (N, *)
    if value.device.type == "cpu":
        return out.index_add_(dim, index, value)                                        # one after the other there
    put = out.movedim(dim, 0).index_put((index,), value.movedim(dim, 0), accumulate=True)      # sorted first on a GPU
    return put.movedim(0, dim)


def scatter_mean(value: Tensor, index: Tensor, N: int, dim: int = 0) -> Tensor:
    """Average each receiver's edges.

    value  (E, *),  index  (E,)   →   (N, *)   0 where a node receives nothing
    """
    degree = scatter_sum(torch.ones_like(index), index, N).clamp(min=1)                 # (N,)
    return scatter_sum(value, index, N, dim) / _along(degree, value, dim)


def scatter_max(value: Tensor, index: Tensor, N: int, dim: int = 0) -> Tensor:
    """Take the largest of each receiver's edges, feature by feature.

    value  (E, *),  index  (E,)   →   (N, *)   0 where a node receives nothing
    """
    where = _along(index, value, dim).expand_as(value)                                  # (E, *)
    return _empty(value, index, N, dim).scatter_reduce_(dim, where, value, "amax", include_self=False)


def scatter_softmax(value: Tensor, index: Tensor, N: int, dim: int = 0) -> Tensor:
    """Turn scores into weights over each receiver's edges.

    value  (E, *)   scores,  index  (E,)   →   (E, *)   the weights of a receiver's edges sum to 1

    The largest score of each receiver is taken off first, as exp would overflow without.
    """
    top = scatter_max(value.detach(), index, N, dim)                                    # (N, *)
    weight = (value - take(top, index, dim)).exp()                                      # (E, *)
    return weight / take(scatter_sum(weight, index, N, dim), index, dim)


def _along(x: Tensor, value: Tensor, dim: int) -> Tensor:
    """(n,) → (1, …, n, …, 1), to stand beside (…, n, …)"""
    return x[(...,) + (None,) * (value.dim() - 1 - dim % value.dim())]


def _empty(value: Tensor, index: Tensor, N: int, dim: int) -> Tensor:
    """Zeros (N, *), where values and receivers fit together."""
    if index.shape != (value.shape[dim],):
        raise ValueError(f"one receiver per edge: {value.shape[dim]} values, so index must be ({value.shape[dim]},); "
                         f"got {tuple(index.shape)}")
    shape = list(value.shape)
    shape[dim] = N
    return value.new_zeros(shape)
