"""Cross attention: one set of tokens asks, another answers; and what grows from it, features of every pair of nodes.

Convention: e[:, i, j] is e_ij of (5): the tokens of j ask, those of i answer.
"""
import math

import torch
import torch.distributed as dist
import torch.nn.functional as nn_f
from torch import Tensor, nn


def _linear(C: int, C_out: int) -> nn.Linear:
    """A linear map whose weights start from N(0, 2 / C_out), as the authors' code does."""
    layer = nn.Linear(C, C_out)
    nn.init.normal_(layer.weight, std=math.sqrt(2 / C_out))
    return layer


class CrossAttention(nn.Module):
    """Every token of A takes a mean of B's tokens, those that answer its question most.

        megraphau (4)   FAM(A, B) = softmax(A W_q (B W_k)ᵀ / √d_k) B W_v

    A   (*, D_a, C)   tokens that ask
    B   (*, D_b, C)   tokens that answer
    →   (*, D_a, C)

    Reading: §2.1 has X and U_i as C × D, channels first, so that (4) as printed would attend to channels. The text means facial
    regions: tokens (D, C), as the authors' code.
    Reading: d_k is "the number of the 'key's' channels": C, were X the key; C/2 for B W_k, which the authors' code halves. As the
    code, with a bias in each map.
    """

    def __init__(self, C: int):
        super().__init__()
        self.query, self.key, self.value = _linear(C, C // 2), _linear(C, C // 2), _linear(C, C)

    def weights(self, A: Tensor, B: Tensor) -> Tensor:
        """The softmax of (4): (*, D_a, D_b), every row sums to 1."""
        q = self.query(A) / math.sqrt(self.key.out_features)                            # (*, D_a, d_k)
        return (q @ self.key(B).mT).softmax(-1)                                         # (*, D_a, D_b)

    def forward(self, A: Tensor, B: Tensor) -> Tensor:
        return self.weights(A, B) @ self.value(B)                                       # (*, D_a, C)


def fam(U: Tensor, X: Tensor, attend: CrossAttention) -> Tensor:
    """Where each action unit finds its cues in the whole face.

        megraphau (3)   F_i = FAM(U_i, X)

    U   (B, N, D, C)   a map of D tokens for each unit
    X   (B, D, C)      the face
    →   (B, N, D, C)

    All units ask the same X with the same weights: N · D tokens ask at once, and X's keys and values are made once.
    """
    return attend(U.flatten(1, 2), X).unflatten(1, U.shape[1:3])                        # (B, N, D, C)


class _Summed(torch.autograd.Function):
    """The sum over all processes; backwards, the sum of all their gradients."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        x = x.clone()
        dist.all_reduce(x)
        return x

    @staticmethod
    def backward(ctx, gradient: Tensor) -> Tensor:
        gradient = gradient.contiguous().clone()
        dist.all_reduce(gradient)
        return gradient


class ARM(nn.Module):
    """A vector for each ordered pair of units: the cues of i that j asks for.

        megraphau (5)   e_ij = GAP(ARM(F_j, F_i))

    F   (B, N, D, C)
    →   (B, N, N, C)   e[:, i, j]

    With P the attention of F_j to F_i, V what F_i answers, and P V the D tokens of a pair, nothing of the size N × N × D × C is built:

        GAP(P V)     = GAP(P) V                    the mean over the tokens that ask is taken of the attention
        P (F W + b)  = P F W + b                   rows of P sum to 1: W_v and the projection are one map, made once a unit
        Σ (P V)²     = Σ (P V Vᵀ) ∘ P              all that a normalisation must know of the tokens beside their mean

    Reading: (5) goes from attention to GAP; the authors' code has a linear projection and a normalisation between, one for each
    ordered pair, over samples, tokens and channels. As the code.
    Over several GPUs these are those of the whole batch, where `bn` has been made an nn.SyncBatchNorm.
    """

    def __init__(self, C: int, N: int):
        super().__init__()
        self.attend, self.project, self.bn = CrossAttention(C), _linear(C, C), nn.BatchNorm2d(N * N)

    def attention(self, F: Tensor) -> Tensor:
        """P of every pair: (B, N, N, D, D), [:, i, j] how the tokens of j attend to those of i."""
        N, D = F.shape[1:3]
        q, k = self.attend.query(F).flatten(1, 2), self.attend.key(F).flatten(1, 2)     # (B, N·D, d_k)
        q = q / math.sqrt(k.shape[-1])
        scores = (q @ k.mT).unflatten(2, (N, D)).unflatten(1, (N, D))                   # (B, j, D, i, D)
        return scores.movedim(3, 1).softmax(-1)                                         # (B, N, N, D, D)

    def forward(self, F: Tensor) -> Tensor:
        value, N = self.attend.value, F.shape[1]
        V = nn_f.linear(F, self.project.weight @ value.weight, self.project(value.bias))     # (B, N, D, C)
        P = self.attention(F)                                                           # (B, N, N, D, D)
        e = P.mean(-2) @ V                                                              # (B, N, N, C)   GAP
        if self.training:
            mean, variance = self.moments(P, V, e)                                      # (N, N) each
        else:
            mean, variance = self.bn.running_mean.unflatten(0, (N, N)), self.bn.running_var.unflatten(0, (N, N))
        scale = self.bn.weight.unflatten(0, (N, N)) * (variance + self.bn.eps).rsqrt()  # (N, N)
        return (e - mean[..., None]) * scale[..., None] + self.bn.bias.unflatten(0, (N, N))[..., None]

    def moments(self, P: Tensor, V: Tensor, e: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and variance of every pair's tokens P V, which the running statistics follow as nn.BatchNorm2d has it.

        P (B, N, N, D, D), V (B, N, D, C), e (B, N, N, C) → (N, N) each
        """
        B, N, D, C = V.shape
        n = self.everywhere(V.new_full((), B * D * C))
        middle = self.everywhere(V.detach().sum((0, 2, 3))) / n                         # (N,)     counted from there, squares are small
        V = V - middle[:, None, None]
        rows = P.flatten(2, 3)                                                          # (B, N, N·D, D)
        squares = ((rows @ (V @ V.mT)) * rows).sum((0, 3)).unflatten(1, (N, -1)).sum(-1)      # (N, N)   Σ (P V Vᵀ) ∘ P
        mean = self.everywhere((e - middle[:, None, None]).sum((0, 3)) * D) / n         # (N, N)
        variance = (self.everywhere(squares) / n - mean.square()).clamp(min=0)
        mean = mean + middle[:, None]
        with torch.no_grad():
            self.bn.num_batches_tracked.add_(1)
            self.bn.running_mean.lerp_(mean.flatten().to(self.bn.running_mean.dtype), self.bn.momentum)
            self.bn.running_var.lerp_((variance.flatten() * (n / (n - 1).clamp(min=1))).to(self.bn.running_var.dtype), self.bn.momentum)
        return mean, variance

    def everywhere(self, x: Tensor) -> Tensor:
        """The sum over all processes, gradient included, where `bn` is synchronised; else x itself."""
        return _Summed.apply(x) if isinstance(self.bn, nn.SyncBatchNorm) else x
