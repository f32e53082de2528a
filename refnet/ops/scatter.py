"""Sums over an edge list: what every node receives from its edges.

Convention: edges (2, E), row 0 the receiver i, row 1 the sender j. A value per edge in, a value per receiver out.
Values may have any feature shape behind the edge axis, (E, *). Sums run in the order of the edges, on CPU and GPU alike,
so that equal input gives equal bits.
"""
import torch
from torch import Tensor


def scatter_sum(value: Tensor, index: Tensor, N: int) -> Tensor:
    """Add up each receiver's edges.

    value  (E, *)   one value per edge
    index  (E,)     the receiver of each edge, 0 … N − 1
    →      (N, *)   0 where a node receives nothing

    Raises ValueError where values and receivers differ in number.
    """
    _fits(value, index)
    out = value.new_zeros(N, *value.shape[1:])                                          # (N, *)
    return out.index_put((index,), value, accumulate=True)       # index_put sorts on the GPU: the order is fixed


def scatter_mean(value: Tensor, index: Tensor, N: int) -> Tensor:
    """Average each receiver's edges.

    value  (E, *),  index  (E,)   →   (N, *)   0 where a node receives nothing
    """
    degree = scatter_sum(torch.ones_like(index), index, N).clamp(min=1)                 # (N,)
    return scatter_sum(value, index, N) / _behind(degree, value)


def scatter_max(value: Tensor, index: Tensor, N: int) -> Tensor:
    """Take the largest of each receiver's edges, feature by feature.

    value  (E, *),  index  (E,)   →   (N, *)   0 where a node receives nothing
    """
    _fits(value, index)
    where = _behind(index, value).expand_as(value)                                      # (E, *)
    out = value.new_zeros(N, *value.shape[1:])                                          # (N, *)
    return out.scatter_reduce(0, where, value, "amax", include_self=False)


def scatter_softmax(value: Tensor, index: Tensor, N: int) -> Tensor:
    """Turn scores into weights over each receiver's edges.

    value  (E, *)   scores,  index  (E,)   →   (E, *)   the weights of a receiver's edges sum to 1

    The largest score of each receiver is taken off first, as exp would overflow without.
    """
    top = scatter_max(value.detach(), index, N)                                         # (N, *)
    weight = (value - top[index]).exp()                                                 # (E, *)
    return weight / scatter_sum(weight, index, N)[index]


def _behind(x: Tensor, value: Tensor) -> Tensor:
    """(n,) → (n, 1, …, 1), to stand beside (n, *)"""
    return x.reshape(-1, *[1] * (value.dim() - 1))


def _fits(value: Tensor, index: Tensor) -> None:
    if index.shape != value.shape[:1]:
        raise ValueError(f"one receiver per edge: {len(value)} values, so index must be ({len(value)},); "
                         f"got {tuple(index.shape)}")
