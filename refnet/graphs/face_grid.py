"""The face as a grid of patches: neighbours touch, and left answers right."""
import torch
from torch import Tensor


def face_grid(P: int) -> Tensor:
    """Which patches of a P × P face listen to each other.

        arpgnet (1)   a_ij = 1 if i = j, or patches i and j are adjacent, or symmetrical; else 0

    P    patches per side; nodes in reading order, node P·row + column
    →    (P², P²)   float, symmetric, self-loops on the diagonal

    Raises ValueError for P < 1.

    Reading: "adjacent" is the four sides, not the corners, and "symmetrical" is the left-right mirror in the same
    row: the text beside Figure 2 gives node 8 the nodes 2, 7, 8, 9, 11 and 14. In the two middle columns of an even grid
    the mirror is a neighbour already, in the middle column of an odd one it is the patch itself.
    """
    if P < 1:
        raise ValueError(f"a face has at least one patch per side; got P = {P}")
    row, column = torch.arange(P * P) // P, torch.arange(P * P) % P                     # (P²,), (P²,)
    down = (row[:, None] - row).abs()                                                   # (P², P²)
    across = (column[:, None] - column).abs()                                           # (P², P²)
    near = down + across <= 1                                    # itself and its four sides
    mirrored = (down == 0) & (column[:, None] + column == P - 1)
    return (near | mirrored).float()
