"""What a paper reports, all from one table of counts.

Convention: counts[t, p] is the number of samples of class t that were called p. Rows are the truth.
"""
import torch
from torch import Tensor


def confusion(target: Tensor, predicted: Tensor, C: int) -> Tensor:
    """Count how often class t was called p.

    target     (n,)     class codes; −1 is unknown and left out
    predicted  (n,)     class codes
    C          number of classes
    →          (C, C)   int64

    Raises ValueError for a code of C or more, or a prediction below 0.
    """
    if len(target) and (max(target.max(), predicted.max()) >= C or target.min() < -1 or predicted.min() < 0):
        raise ValueError(f"class codes must lie in 0 … {C - 1} (targets: -1 for unknown); got targets "
                         f"{target.min():d} … {target.max():d}, predictions {predicted.min():d} … {predicted.max():d}")
    known = target >= 0
    return torch.bincount(target[known] * C + predicted[known], minlength=C * C).reshape(C, C)   # (C, C)


def accuracy(counts: Tensor) -> Tensor:
    """The share of samples that were called by their own name.

        engat (10)   Acc = P / N × 100 %

    counts  (C, C)   →   ()   in [0, 1], not in percent; nan for no samples at all
    """
    return counts.diagonal().sum() / counts.sum()


def f1_per_class(counts: Tensor) -> Tensor:
    """F1 of every class.

        engat (8)   F1_c = 2 TP_c / (2 TP_c + FP_c + FN_c)

    counts  (C, C)   →   (C,)   0 for a class that was neither there nor called
    """
    hit = counts.diagonal()                                                             # (C,)   TP
    return 2 * hit / (counts.sum(0) + counts.sum(1)).clamp(min=1)                       # 2 TP + FP + FN = row + column


def f1_macro(counts: Tensor) -> Tensor:
    """The mean of the classes' F1, every class alike.

    counts  (C, C)   →   ()

    Classes that stand in neither truth nor prediction are left out of the mean.
    """
    there = counts.sum(0) + counts.sum(1) > 0                                           # (C,)
    return f1_per_class(counts)[there].mean()


def uf1(counts: Tensor) -> Tensor:
    """The unweighted F1 score: the mean of the classes' F1 over all C classes, also those that are nowhere.

        engat (9)   UF1 = Σ_c F1_c / C

    counts  (C, C)   →   ()

    Reading: (9) prints F1_c / C without the sum; the text takes "the average across all classes".
    """
    return f1_per_class(counts).mean()


def recall_per_class(counts: Tensor) -> Tensor:
    """The share of each class that was found.

    counts  (C, C)   →   (C,)   nan for a class without samples
    """
    return counts.diagonal() / counts.sum(1)


def expression_score(counts: Tensor) -> Tensor:
    """The score of the Aff-Wild2 expression challenge.

        arpgnet (10)   M = 0.33 · Acc + 0.67 · F₁

    counts  (C, C)   →   ()

    Reading: Acc is the share of all frames, as in AFEW (§4.1.2), and F₁ the macro mean over the classes, as in the
    challenge. Neither is defined beside (10). Emotion-GCN has the mean class accuracy as Acc: `emotion_score`.
    """
    return 0.33 * accuracy(counts) + 0.67 * f1_macro(counts)


def emotion_score(counts: Tensor) -> Tensor:
    """The score of the same challenge as Emotion-GCN has it.

        emotiongcn (§IV.A.2)   0.67 × F1 + 0.33 × Acc

    counts  (C, C)   →   ()

    Reading: Acc is the mean class accuracy here, as the page says; arpgnet (10) has the share of all frames in its place.
    """
    return 0.67 * f1_macro(counts) + 0.33 * recall_per_class(counts).nanmean()


def f1_per_unit(target: Tensor, predicted: Tensor) -> Tensor:
    """F1 of each action unit, from its counts over all frames.

        megraphau (§3.1)   F1 = 2 P R / (P + R) = 2 TP / (2 TP + FP + FN)

    target     (n, N)   0, 1, or −1 for unknown, which is left out
    predicted  (n, N)   0 or 1
    →          (N,)     0 for a unit that was neither there nor called, nan for one that is known nowhere
    """
    known = target >= 0
    there, called = (target == 1).sum(0), (known & (predicted == 1)).sum(0)             # (N,) each
    hit = ((target == 1) & (predicted == 1)).sum(0)
    return torch.where(known.any(0), 2 * hit / (there + called).clamp(min=1), torch.nan)
