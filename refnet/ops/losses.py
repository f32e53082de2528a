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


# ---- action units: labels y (B, N) are 0, 1, or −1 for unknown

def occurrence_rates(y: Tensor) -> Tensor:
    """How often each unit is there, among the frames where that is known.

        megraphau (§2.3)   r_i = frames with unit i / frames where i is known

    y   (n, N)   →   r (N,)   nan for a unit that is known nowhere
    """
    return (y == 1).sum(0) / (y >= 0).sum(0)


def occurrence_weights(r: Tensor, total: float = 1.0) -> Tensor:
    """The weights of (6): the rarer a unit, the heavier.

        megraphau (§2.3)   w_i = (1/r_i) / Σ_j (1/r_j)

    r      (N,)   occurrence rates, all above 0
    total  what they sum to
    →      (N,)

    Reading: §2.3 prints weights that sum to 1; those of the authors' code sum to N, which makes L_WA N times as large beside
    L_E in (8).
    """
    return total * (1 / r) / (1 / r).sum()


def weighted_asymmetric(p: Tensor, y: Tensor, w: Tensor, detach: bool = False) -> Tensor:
    """Cross-entropy in which a unit that is absent, and called so, weighs little.

        megraphau (6)   L_WA = −(1/N) Σ_i w_i [y_i log p_i + (1 − y_i) p_i log(1 − p_i)]

    p       (B, N)   probabilities
    y       (B, N)   labels
    w       (N,)     weights
    detach  no gradient through the p_i in the middle, as in the authors' code
    →       ()       the mean over the known labels of all samples; 0 where none is known

    Reading: p_i in the middle is a factor like the others, as printed; at p = 0.3, y = 0 the slope is 0.7852, detached 0.4286.
    Reading: log 0 is not spoken of; p and 1 − p are kept above 10⁻⁸ there, as in the authors' code.
    """
    middle = p.detach() if detach else p
    return _weighted(y * _log(p) + (1 - y) * middle * _log(1 - p), y, w)


def weighted_bce(p: Tensor, y: Tensor, w: Tensor) -> Tensor:
    """(6) without the p_i in the middle.

        megraphau (§3.2)   L_BCE = −(1/N) Σ_i w_i [y_i log p_i + (1 − y_i) log(1 − p_i)]

    p (B, N), y (B, N), w (N,) → (), as `weighted_asymmetric`

    Reading: Table 3's "widely-used weighted binary cross-entropy" has no formula; the weights of (6) are ours.
    """
    return _weighted(y * _log(p) + (1 - y) * _log(1 - p), y, w)


def _log(p: Tensor) -> Tensor:
    return p.clamp(min=1e-8).log()


def _weighted(each: Tensor, y: Tensor, w: Tensor) -> Tensor:
    known = y >= 0                                                                      # (B, N)
    return -torch.where(known, w * each, 0.0).sum() / known.sum().clamp(min=1)


def pair_labels(y: Tensor) -> Tensor:
    """What two units do together: 0 neither, 1 only j, 2 only i, 3 both; −1 where one of them is unknown.

        megraphau (§2.3)   y^e_ij = 2 y_i + y_j

    y   (B, N)   →   (B, N, N)
    """
    i, j = y[:, :, None], y[:, None]                                                    # (B, N, 1), (B, 1, N)
    return torch.where((i >= 0) & (j >= 0), 2 * i + j, -1)


def edge_cross_entropy(logits: Tensor, y: Tensor) -> Tensor:
    """Cross-entropy of what every pair does together.

        megraphau (7)   L_E = −(1/|E|) Σ_i Σ_j y^e_ij log(e^{p^e_ij} / Σ_k e^{p^e_ik})

    logits  (B, N, N, 4)
    y       (B, N)         the units' labels
    →       ()             the mean over the known edges of all samples; 0 where none is known

    Reading: in (7) i counts edges and j the four patterns, while two indices of an edge e_ij are a pair of nodes elsewhere; all N × N
    ordered pairs count, those of a unit with itself too, as in the authors' code.
    """
    truth = pair_labels(y).flatten()                                                    # (B·N·N,)
    log_p = logits.flatten(0, 2).log_softmax(-1).gather(-1, truth.clamp(min=0)[:, None])[:, 0]
    return -torch.where(truth >= 0, log_p, 0.0).sum() / (truth >= 0).sum().clamp(min=1)


def overall(L_WA: Tensor, L_E: Tensor, lam: float) -> Tensor:
    """The loss of the second stage.

        megraphau (8)   L = L_WA + λ L_E

    L_WA (), L_E () → ()
    """
    return L_WA + lam * L_E


# ---- softened labels: distributions over classes (B, C), rows of zeros where nothing is known

def smoothed(pi: Tensor, xi: float) -> Tensor:
    """A share of every label spread over all classes alike.

        face2nodes (12)   q(x_i) = (1 − ξ) π(x_i) + ξ / C

    pi  (B, C)   the true distribution: one-hot, or shares of votes
    →   (B, C)   a row of zeros stays one
    """
    return (1 - xi) * pi + xi * pi.sum(-1, keepdim=True) / pi.shape[-1]


def soft_cross_entropy(logits: Tensor, q: Tensor) -> Tensor:
    """Cross-entropy with a distribution in place of a class.

        face2nodes (11)   L_SCE = −(1/N) Σ_i Σ_c q_c(x_i) log(e^{W_cᵀ x_i} / Σ_j e^{W_jᵀ x_i})

    logits  (B, C)   W_cᵀ x_i
    q       (B, C)
    →       ()       the mean over the known rows; 0 where none is known

    Reading: (11) prints the logarithm of the true class alone, times q(x_i), which is a vector; taken at that class it would only
    scale the loss, and smooth nothing. The sum over classes is what label smoothing means.
    """
    known = q.sum(-1) > 0                                                               # (B,)
    return -(q * logits.log_softmax(-1)).sum() / known.sum().clamp(min=1)


# ---- an expression beside valence and arousal: codes (B,), −1 unknown; (B, 2) in [−1, 1], −2 where they were not given

def class_weights(f: Tensor, printed: bool = False) -> Tensor:
    """How much each class counts: the rarer, the more.

        emotiongcn (9)   w_i = f_min / f_i

    f        (C,)   samples of each class, all above 0
    printed  f_i / f_min, as (9) stands
    →        (C,)

    Raises ValueError for a class without samples.

    Reading: (9) prints f_i / f_min, by which the most frequent class would count most; the sentence before it says the contrary, and
    the authors' code divides the other way round.
    """
    if not (f > 0).all():
        raise ValueError(f"every class needs samples to be weighted by how many it has; got {f.tolist()}")
    return f / f.min() if printed else f.min() / f


def weighted_cross_entropy(logits: Tensor, y: Tensor, w: Tensor) -> Tensor:
    """Cross-entropy in which classes count differently.

        emotiongcn (8)   L^c = −Σ_i w_i y_i log ŷ_i

    logits  (B, C)   w_i^c · x
    y       (B,)
    w       (C,)     weights
    →       ()       Σ_b w_b (−log ŷ_b) / Σ_b w_b over the known labels; 0 where none is known

    Reading: (8) is of one sample; over a batch the weighted mean is taken, as in the authors' code.
    """
    weight = torch.where(y >= 0, w[y.clamp(min=0)], 0.0)                                # (B,)
    log_p = logits.log_softmax(-1).gather(-1, y.clamp(min=0)[:, None])[:, 0]            # (B,)
    return -(weight * log_p).sum() / weight.sum().clamp(min=torch.finfo(w.dtype).tiny)


def concordance(x: Tensor, y: Tensor, known: Tensor | None = None, unbiased: bool = False) -> Tensor:
    """How well predictions agree with the truth: as a correlation, and less where mean or spread are off.

        emotiongcn (11)   ρ_c = 2 s_xy / (s_x² + s_y² + (x̄ − ȳ)²)

    x, y      (n, m)   predictions and truth, column by column
    known     (n,)     which rows count; all where None
    unbiased  variances over n − 1 beside a covariance over n, as in the authors' code: perfect agreement is (n − 1) / n there
    →         (m,)     0 where both are constant and equal, and where nothing is known

    Reading: s_x is called the variance and stands squared in (11); s_x² is the variance. All moments are over n.
    """
    known = torch.ones_like(x[:, 0]) if known is None else known.to(x)                  # (n,)
    n, row = known.sum().clamp(min=1), known[:, None]
    x, y = torch.where(row > 0, x, 0.0), torch.where(row > 0, y.to(x), 0.0)             # (n, m) each
    x_mean, y_mean = x.sum(0) / n, y.sum(0) / n                                         # (m,) each
    x, y = (x - x_mean) * row, (y - y_mean) * row
    over = (n - 1).clamp(min=1) if unbiased else n
    s_xy, s_xx, s_yy = (x * y).sum(0) / n, (x * x).sum(0) / over, (y * y).sum(0) / over
    return 2 * s_xy / (s_xx + s_yy + (x_mean - y_mean) ** 2).clamp(min=1e-12)


def concordance_loss(x: Tensor, y: Tensor, unbiased: bool = False) -> Tensor:
    """One less the mean concordance of valence and arousal.

        emotiongcn (12)   L^r = 1 − (ρ_v + ρ_a) / 2

    x (B, 2), y (B, 2) → (); 0 where nothing is known
    """
    known = (y >= -1).all(-1)                                                           # (B,)
    return (1 - concordance(x, y, known, unbiased).mean()) * known.any()


def squared_error(x: Tensor, y: Tensor) -> Tensor:
    """The mean square error of valence and arousal, (12)'s rival in Table I: x (B, 2), y (B, 2) → (), over the known rows."""
    known = (y >= -1).all(-1, keepdim=True)                                             # (B, 1)
    return torch.where(known, (x - y) ** 2, 0.0).sum() / (x.shape[-1] * known.sum()).clamp(min=1)
