"""The graph of emotions: which expressions go with valence and which with arousal, from the labels of the training part.

    labels ─ ranks ─ c ─ A, only between an expression and valence or arousal ─ A', an edge or none ─ A'', rows that sum to 1
             (4)        (3)                                                       (5)                   (6)

Nodes are the C expressions in the order of the classes, then valence and arousal. A[i, j]: i listens to j.
"""
import torch
from torch import Tensor

# Spearman's correlations of AffectNet's training labels: valence and arousal with neutral, happiness, sadness, surprise, fear, disgust,
# anger, and with each other. Numbers of the authors' repository, github.com/PanosAntoniadis/emotion-gcn
VALENCE = (-.3351314207, .8610853835, -.4530362739, -.0275675036, -.1217877160, -.1764132274, -.3837047712)
AROUSAL = (-.2841010888, .0144826813, -.4337333922, .3382243749, .2355786059, .1436836234, .4137570469)
TOGETHER = .0372991409
AFFECTNET = torch.eye(9, dtype=torch.float64)                                           # (9, 9); 0 between expressions: (3) leaves those out
AFFECTNET[:7, 7] = AFFECTNET[7, :7] = torch.tensor(VALENCE, dtype=torch.float64)
AFFECTNET[:7, 8] = AFFECTNET[8, :7] = torch.tensor(AROUSAL, dtype=torch.float64)
AFFECTNET[7, 8] = AFFECTNET[8, 7] = TOGETHER


def label_matrix(expression: Tensor, va: Tensor, C: int) -> Tensor:
    """The labels as variables to correlate: for each expression whether it is that one, then valence and arousal.

    expression (N,), −1 unknown, va (N, 2), −2 not given → (M, C + 2) float64, the M rows in which all is known
    """
    known = (expression >= 0) & (va >= -1).all(-1)                                      # (N,)
    one_hot = expression[known, None] == torch.arange(C, device=expression.device)      # (M, C)
    return torch.cat([one_hot.double(), va[known].double()], -1)


def ranks(x: Tensor) -> Tensor:
    """The place of every value in its column, 1 for the least; equal values share the mean of their places: x (N, n) → (N, n) float64"""
    x = x.mT.contiguous()                                                               # (n, N)
    ordered = x.sort(-1).values
    below, upto = torch.searchsorted(ordered, x), torch.searchsorted(ordered, x, right=True)
    return (below + upto + 1).mT.double() / 2                                           # the mean of below + 1, ..., upto


def spearman(x: Tensor) -> Tensor:
    """Spearman's rank correlation of every two columns.

        emotiongcn (4)   c_xy = Σ_k x_{k,r} y_{k,r} / √(Σ_k x²_{k,r} Σ_k y²_{k,r})

    x (N, n) → (n, n) float64; 1 of each with itself, 0 of a constant column with any other

    Reading: of ranks as they are, 1 to N, (4) is about ¾ or more even for columns that have nothing to do with each other. Less their
    mean it is Spearman's coefficient, which the text names, and which AffectNet's released numbers are.
    """
    r = ranks(x)
    r = r - r.mean(0)                                                                   # (N, n)
    norm = r.norm(dim=0)                                                                # (n,)
    c = (r.mT @ r) / (norm[:, None] * norm).clamp(min=torch.finfo(r.dtype).tiny)
    return c.fill_diagonal_(1)


def conditional(labels: Tensor) -> Tensor:
    """How often emotion j is there where i is, in labels of which several hold at once.

        emotiongcn (§IV.E)   P(j | i) = M_ij / N_i,  as ML-GCN (Chen et al., 2019)

    labels (N, C), 0 or 1 → (C, C) float64; the identity where every row has one label
    """
    M = labels.double().mT @ labels.double()                                            # (C, C)   how often both are there
    return (M / M.diagonal()[:, None].clamp(min=1)).fill_diagonal_(1)


def correlation(c: Tensor, C: int, between: Tensor | None = None) -> Tensor:
    """What may become an edge: an expression with valence or arousal.

        emotiongcn (3)   A_ij = 1 if i = j;  |c_ij| from Cat to Dim and from Dim to Cat;  0 else

    c        (n, n)   correlations, the first C of expressions
    between  (C, C)   what stands between expressions, §IV.E; nothing as printed
    →        (n, n)

    Reading: the pair of valence and arousal is "else"; the authors' code leaves its |c| in, which for AffectNet is below τ anyway.
    """
    A = torch.zeros_like(c)
    A[:C, C:], A[C:, :C] = c[:C, C:].abs(), c[C:, :C].abs()
    if between is not None:
        A[:C, :C] = between
    return A.fill_diagonal_(1)


def binary(A: Tensor, tau: float) -> Tensor:
    """Edges that are strong enough.

        emotiongcn (5)   A'_ij = 1 if A_ij ≥ τ,  0 if A_ij < τ

    A (n, n) → (n, n), 0 or 1

    Reading: at τ = 0 (Table II) (5) as printed links all to all, also what (3) set to 0 because it is of no interest. Those stay 0.
    """
    return ((A >= tau) & (A > 0)).to(A)


def reweighted(A: Tensor, p: float) -> Tensor:
    """How much a node keeps, and how much its neighbours share, alike.

        emotiongcn (6)   A''_ij = p / Σ_{j≠i} A'_ij × A'_ij if i ≠ j;  1 − p if i = j

    A (n, n), 0 or 1 → (n, n); rows sum to 1

    Reading: without a neighbour (6) divides by 0; such a node keeps all of itself.
    """
    near = A.clone().fill_diagonal_(0)                                                  # (n, n)
    many = near.sum(-1, keepdim=True)                                                   # (n, 1)
    return p * near / many.clamp(min=1) + torch.diag(torch.where(many[:, 0] > 0, 1 - p, torch.ones_like(many[:, 0])))


def emotion_graph(c: Tensor, C: int, tau: float = 0.1, p: float = 0.7, between: Tensor | None = None) -> Tensor:
    """(3), (5) and (6), one after the other: correlations (n, n) → A'' (n, n)"""
    return reweighted(binary(correlation(c, C, between), tau), p)
