"""Where on the face a model of nodes looks: maps that lie over the picture, from plain tensors and a model's own functions."""
import contextlib
import math
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from refnet.figures.canvas import expect
from refnet.models.face2nodes import Face2Nodes


def across(N: int) -> int:
    """√N; ValueError where N is no square."""
    if N < 1 or math.isqrt(N) ** 2 != N:
        raise ValueError(f"there are {N} nodes; expected a square number of them, such as 49, 196 or 784")
    return math.isqrt(N)


@contextlib.contextmanager
def resting(model: nn.Module) -> Iterator[None]:
    """In eval mode and without gradients; then as it was."""
    was = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was)


def nodes(model: Face2Nodes, x: Tensor) -> Tensor:
    """The nodes of the last block, in evaluation."""
    with resting(model):
        return model.nodes(x)                                                              # (B, N, D)


def grad_cam(model: Face2Nodes, x: Tensor, target: Tensor) -> Tensor:
    """Where the target's class is seen: Grad-CAM on the last block's nodes, for the paper's Fig. 8.

        face2nodes (§4.6)   w_d = mean_n ∂ logit_target / ∂ X_nd,   map_n = ReLU(Σ_d w_d X_nd), over its maximum

    x        (B, 3, S, S)   in [0, 1]
    target   (B,)           classes
    →        (B, h, w)      in [0, 1]; 0 everywhere where nothing speaks for the class

    Reading: the paper names no layer; Grad-CAM's own choice, the last one that still has places, is taken.
    """
    if target.shape != x.shape[:1]:
        raise ValueError(f"target is {tuple(target.shape)}; expected a class for each of {len(x)} pictures")
    X = nodes(model, x).clone()                                                           # (B, N, D)
    with resting(model), torch.enable_grad():
        chosen = model.classify(X.requires_grad_()).gather(1, target.to(X.device)[:, None]).sum()
        weight = torch.autograd.grad(chosen, X)[0].mean(1)                                 # (B, D)
    seen = torch.einsum("bd,bnd->bn", weight, X.detach()).relu()                           # (B, N)
    most = seen.amax(1, keepdim=True)                                                      # (B, 1)
    return (seen / most.where(most > 0, 1)).unflatten(1, (across(X.shape[1]), -1))


def feature_map(X: Tensor) -> Tensor:
    """How strongly each node speaks, from the least, 0, to the most, 1.

        face2nodes (§4.6)   map_n = mean_d |X_nd|, less its least, over its greatest

    X   (B, N, D) → (B, h, w)

    Reading: what Fig. 9 shows of D channels is not said; this is ours. Equal strength everywhere gives 0.
    """
    seen = expect("X", X, (None, None, None)).abs().mean(-1)                               # (B, N)
    low, over = seen.amin(1, keepdim=True), seen.amax(1, keepdim=True) - seen.amin(1, keepdim=True)     # (B, 1) each
    return ((seen - low) / over.where(over > 0, 1)).unflatten(1, (across(X.shape[1]), -1))
