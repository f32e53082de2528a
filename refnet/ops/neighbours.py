"""Neighbours by likeness: who is near whom in feature space, chosen anew for every layer.

    distances ─ the K = k · d nearest ─ every d-th of them
      N × N         n_1 ... n_kd           n_1, n_{1+d}, ...

The choice has no gradient and is made in float32. A node has no distance to itself: with `itself` it stands first, whatever
rounding says, and without it never; then follow the others, nearest first, of equals the one with the lower index.
"""
import torch
import torch.nn.functional as F
from torch import Tensor


def squared_distance(x: Tensor) -> Tensor:
    """How far apart two nodes are, squared; by one matrix product.

        face2nodes (§3.3)   |x_i − x_j|² = |x_i|² + |x_j|² − 2 x_iᵀ x_j

    x   (B, N, D)   →   (B, N, N)   0 on the diagonal, nowhere below 0
    """
    square = (x * x).sum(-1)                                                            # (B, N)
    far = torch.baddbmm(square[:, None], x, x.mT, alpha=-2).add_(square[..., None]).clamp_(min=0)
    far.diagonal(dim1=-2, dim2=-1).zero_()
    return far


@torch.no_grad()
def knn(x: Tensor, K: int, itself: bool = True, normalised: bool = False) -> Tensor:
    """The K nodes nearest to each node.

    x           (B, N, D)
    itself      whether a node is the first of its own neighbours
    normalised  features of length 1 first, as ViG does: the nearest are then those of the smallest angle
    →           (B, N, K)   int64, nearest first

    Raises ValueError where there are not so many.
    """
    N = x.shape[-2]
    if not 1 <= K <= N - (not itself):
        raise ValueError(f"{K} nearest of {N} nodes{'' if itself else ', each without itself'}; expected 1 to {N - (not itself)}")
    with torch.autocast(x.device.type, enabled=False):
        x = F.normalize(x.float(), dim=-1) if normalised else x.float()
        far = squared_distance(x)                                                       # (B, N, N)
    far.diagonal(dim1=-2, dim2=-1).fill_(-1.0 if itself else torch.inf)
    order = torch.arange(N, device=x.device).expand(far.shape).contiguous()             # a whole number for each pair: in its upper half
    order.view(torch.int32)[..., 1::2] = far.view(torch.int32)                          # the bits of a float, which sort like the float; then j
    return order.topk(K, largest=False).values % 2 ** 32


def dilated_knn(x: Tensor, k: int, d: int = 1, itself: bool = True, normalised: bool = False) -> Tensor:
    """Every d-th of the k · d nearest nodes: a wider view with as many neighbours.

        face2nodes (5)   N_d(v_i) = {n_1, n_{1+d}, n_{1+2d}, ..., n_{1+(k−1)d}}

    x   (B, N, D)   →   (B, N, k)   int64; itself, normalised as in `knn`

    Raises ValueError where k · d nodes are not there.

    Reading: §3.3 does not say whether a node is its own neighbour. As in ViG it is, and always n_1: its x_j − x_i is 0, so that it
    costs a place and adds nothing in (7); the maximum of MR-GraphConv it keeps from falling below 0.
    Reading: ViG divides features by their length before it compares them; here distances are those of the raw features, as printed.
    Reading: of equally near nodes the lower index comes first, ours.
    """
    N = x.shape[-2]
    if not (k >= 1 and d >= 1 and k * d <= N - (not itself)):
        raise ValueError(f"k = {k} neighbours with dilation d = {d} are chosen from the {k * d} nearest; a graph of {N} nodes has "
                         f"{N if itself else f'{N - 1} others'}: a smaller k or d, or more nodes")
    return knn(x, (k - 1) * d + 1, itself, normalised)[..., ::d]                        # those behind the last one are not looked for
