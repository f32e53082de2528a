"""The worked examples: small enough for a blackboard, computed by hand from the page, never from the code.

The tests check the code against them. Each says which equation it is of, what is given, how one works it out on
paper, and what must come out.
"""
import math
from typing import Any, NamedTuple

import torch
from torch import Tensor


class Example(NamedTuple):
    """One blackboard."""
    of: str                        # the equation's address
    working: str                   # how to get there with a pencil
    given: dict[str, Any]          # the arguments, by the function's own names
    wanted: Tensor                 # what must come out


FIGURE_2 = Example(
    "arpgnet (1)",
    "\"node 8 is connected to nodes 2, 7, 8, 9, 11, and 14\", says §3.3.1 of a 6 × 6 face, counting from 1:\n"
    "row 2, column 2 → above 2, left 7, itself 8, right 9, mirror 11 (column 5 of row 2), below 14.",
    {"P": 6},
    torch.tensor([2, 7, 8, 9, 11, 14]))

TWO_NODES = Example(
    "arpgnet (2)",
    "W = I, x_1 = (1, 0), x_2 = (0, 2), att = (1, -1, ½, 2).\n"
    "att₁·x = (1, -2)    att₂·x = (½, 4)\n"
    "sum    = [[1+½, 1+4], [-2+½, -2+4]] = [[1.5, 5], [-1.5, 2]]\n"
    "LeakyReLU(0.01) touches only the -1.5.",
    {"Wx": torch.tensor([[[1.0, 0.0]], [[0.0, 2.0]]]), "att": torch.tensor([[1.0, -1.0, 0.5, 2.0]]), "slope": 0.01},
    torch.tensor([[[1.5, 5.0], [-0.015, 2.0]]]))

A_QUARTER = Example(
    "arpgnet (3)",
    "Row 1: e = (ln 1, ln 3, 99), the third node is off the graph → (1, 3, –) / 4 = (¼, ¾, 0).\n"
    "Row 2: e = (ln 2, 99, ln 6), the second is off (no self-loop here) → (2, –, 6) / 8 = (¼, 0, ¾).\n"
    "Row 3: only itself → 1, whatever the score.",
    {"e": torch.tensor([[[0.0, math.log(3), 99.0], [math.log(2), 99.0, math.log(6)], [5.0, 7.0, -3.0]]]),
     "A": torch.tensor([[1.0, 1.0, 0.0], [1.0, 0.0, 1.0], [0.0, 0.0, 1.0]])},
    torch.tensor([[[0.25, 0.75, 0.0], [0.25, 0.0, 0.75], [0.0, 0.0, 1.0]]]))

TWO_HEADS = Example(
    "arpgnet (4)",
    "One node x = 1 that hears itself, so β = 1; two heads with W = 1 and W = -1.\n"
    "(ELU(1) + ELU(-1)) / 2 = (1 + e⁻¹ - 1) / 2 = 0.367879 / 2 = 0.1839397.\n"
    "With σ outside the average it would be ELU(0) = 0.",
    {"x": torch.tensor([[1.0]]), "A": torch.ones(1, 1), "W": torch.tensor([[[1.0]], [[-1.0]]]), "att": torch.zeros(2, 2)},
    torch.tensor([[0.1839397]]))

FOUR_WIDE = Example(
    "arpgnet (5, 6)",
    "d = 4: pairs k = 0, 1 with 10000^{0} = 1 and 10000^{2/4} = 100.\n"
    "PE(pos, ·) = (sin pos, cos pos, sin pos/100, cos pos/100).\n"
    "pos 0: (0, 1, 0, 1)    pos 1: (0.841471, 0.540302, 0.0099998, 0.99995)",
    {"T": 2, "d": 4},
    torch.tensor([[0.0, 1.0, 0.0, 1.0], [0.841471, 0.540302, 0.0099998, 0.99995]]))

THREE_MOMENTS = Example(
    "arpgnet (7)",
    "T = 3, TRS = 1: six nodes at the moments 0 1 2 0 1 2; moments 0 and 2 are too far apart.\n"
    "The same 3 × 3 band stands in all four blocks.",
    {"T": 3, "TRS": 1},
    torch.tensor([[1.0, 1.0, 0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0, 1.0, 1.0], [0.0, 1.0, 1.0, 0.0, 1.0, 1.0],
                  [1.0, 1.0, 0.0, 1.0, 1.0, 0.0], [1.0, 1.0, 1.0, 1.0, 1.0, 1.0], [0.0, 1.0, 1.0, 0.0, 1.0, 1.0]]))

TWO_FRAMES_FUSED = Example(
    "arpgnet (8, 9)",
    "T = 1: an appearance node x_0 = 2 and a relation node x_1 = -1 hear each other and themselves; one head, W = 1,\n"
    "att = (0, ln 3 / 3): e_ij = LeakyReLU(ln 3 / 3 · x_j), so e_i0 = ⅔ ln 3 and e_i1 = -0.01 · ⅓ ln 3 (slope 0.01).\n"
    "β_i0 : β_i1 = 3^⅔ : 3^-0.00333 = 2.080084 : 0.996345 → 0.676136 and 0.323864\n"
    "x' = ELU(2 · 0.676136 - 0.323864) = 1.028408, the same for both nodes.",
    {"x": torch.tensor([[2.0], [-1.0]]), "T": 1, "TRS": 0, "W": torch.tensor([[[1.0]]]),
     "att": torch.tensor([[0.0, math.log(3) / 3]])},
    torch.tensor([[1.028408], [1.028408]]))

TEN_FRAMES = Example(
    "arpgnet (10)",
    "counts, truth in rows: class 0 is 3 right, 1 called 1; class 1 is 2 right, 1 called 0, 1 called 2; class 2 is 2 right.\n"
    "Acc = 7/10.   F1: 2·3/(4+4) = 3/4, 2·2/(4+3) = 4/7, 2·2/(2+3) = 4/5;  mean (105 + 80 + 112)/420 = 297/420 = 0.7071429\n"
    "M = 0.33 · 0.7 + 0.67 · 0.7071429 = 0.231 + 0.4737857 = 0.7047857",
    {"counts": torch.tensor([[3, 1, 0], [1, 2, 1], [0, 0, 2]])},
    torch.tensor(0.7047857))
