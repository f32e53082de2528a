"""Frames as nodes: who is near enough in time to be heard."""
import torch
from torch import Tensor


def temporal_scope(T: int, TRS: int, streams: int = 2, device: torch.device | None = None) -> Tensor:
    """The parallel fusion graph: every frame hears the frames around it, in its own sequence and in the other.

        arpgnet (7)   a_ij = 1 if |i % T − j % T| ≤ TRS, else 0

    T        frames; nodes 0 … T − 1 are the appearance sequence, T … 2T − 1 the relation sequence
    TRS      temporal response scope, in frames; T or more leaves every pair connected
    streams  sequences side by side; the paper has 2, one is the same graph with a single stream
    →        (2T, 2T)   float, symmetric, self-loops on the diagonal

    Raises ValueError for T < 1 or TRS < 0.
    """
    if T < 1 or TRS < 0:
        raise ValueError(f"a fusion graph needs T ≥ 1 frames and a scope TRS ≥ 0; got T = {T}, TRS = {TRS}")
    moment = torch.arange(streams * T, device=device) % T                               # (2T,)
    return ((moment[:, None] - moment).abs() <= TRS).float()                            # (2T, 2T)
