"""What training makes small. Labels of -1 are unknown and count for nothing."""
import torch
from torch import Tensor


def focal(logits: Tensor, target: Tensor, gamma: float = 0.0) -> Tensor:
    """Cross-entropy that turns away from what is already right.

        arpgnet (§4.2.2)   −(1 − p_t)^γ log p_t,  p = softmax(logits), t the target class

    logits  (B, C)
    target  (B,)      class codes; −1 is unknown
    gamma   γ = 0 is the cross-entropy, larger γ listens to hard samples more
    →       ()        the mean over the known targets; 0 where none is known

    Reading: arpgnet §4.2.2 prints no formula and no γ, only "the focal loss, following the work in [58]" for Aff-Wild2;
    this is the focal loss of Lin et al. (2017) for several classes, without class weights.
    """
    known = target >= 0                                                                 # (B,)
    log_p = logits.log_softmax(-1).gather(-1, target.clamp(min=0)[:, None])[:, 0]       # (B,)
    log_p = torch.where(known, log_p, -1.0)                      # an unknown one is taken out before the power, not after
    wrong = (1 - log_p.exp()).clamp(min=1e-12)                   # (B,)   0^γ has no slope for γ < 1
    each = -wrong ** gamma * log_p if gamma else -log_p          # (B,)
    return (each * known).sum() / known.sum().clamp(min=1)
