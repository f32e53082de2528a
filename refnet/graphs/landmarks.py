"""The face as a graph of landmarks: contours within a frame, the same landmark from frame to frame, and what an edge is like.

Landmarks are dlib's inner 51: its 68 without the jaw, so number k here is 17 + k there. The picture's left comes first.

      0-4 brow   5-9 brow        19-24 eye   25-30 eye (rings)
      10-13 bridge of the nose   31-42 outer lips   43-50 inner lips (rings)
      14-18 nostrils
"""
import torch
from torch import Tensor, nn

from refnet.ops.scatter import take

LANDMARKS = 51
CHAINS = (range(0, 5), range(5, 10), range(10, 14), range(14, 19))
RINGS = (range(19, 25), range(25, 31), range(31, 43), range(43, 51))
JOINTS = ((13, 16), (31, 43), (37, 47))           # tip of the nose to its base; outer to inner corners of the mouth


def face_contours() -> Tensor:
    """Which of the 51 landmarks of one frame listen to each other: neighbours on a contour, and every one to itself.

    →   (51, 51)   float, symmetric, self-loops on the diagonal

    Six parts that do not hear each other: brow, brow, nose, eye, eye, mouth.

    Reading: ENGAT says "connect them to form a single graph" and not which landmarks are connected. The contours of brows,
    eyes, nose and lips, three joints within nose and mouth, and self-loops are ours.
    """
    pairs = [(a, b) for chain in CHAINS for a, b in zip(chain, chain[1:])] + list(JOINTS)
    pairs += [(ring[k], ring[(k + 1) % len(ring)]) for ring in RINGS for k in range(len(ring))]
    A = torch.eye(LANDMARKS)
    i, j = torch.tensor(pairs).T
    A[i, j] = A[j, i] = 1
    return A


def frame_graph(A: Tensor, frames: int = 3) -> Tensor:
    """Several frames of one face as one graph: a frame's own edges, and each landmark to itself in the next frame and the last.

        engat (§3.3)   a_(s,i),(t,j) = a_ij if s = t;  1 if i = j and |s − t| = 1;  else 0

    A        (N, N)   one frame
    frames   3 in the paper
    →        (frames · N, frames · N)   frame by frame, as A

    Raises ValueError for fewer than one frame.

    Reading: §3.3 has "a three-frame graph structure" and names no edge between frames; the same landmark in consecutive
    frames is ours.
    """
    if frames < 1:
        raise ValueError(f"a graph has at least one frame; got {frames}")
    t = torch.arange(frames, device=A.device)
    beside = ((t[:, None] - t).abs() == 1).to(A.dtype)                                                  # (frames, frames)
    same, one = torch.eye(frames, dtype=A.dtype, device=A.device), torch.eye(len(A), dtype=A.dtype, device=A.device)
    return torch.kron(same, A) + torch.kron(beside, one)


def symmetric(A: Tensor) -> Tensor:
    """The weights of a graph convolution: every edge over the root of both ends' degrees.

        engat (§4.5)   Â = D^(−1/2) A D^(−1/2)

    A (N, N), self-loops as they are → (N, N); a node without edges has none
    """
    root = A.sum(-1).clamp(min=1).rsqrt()                                                               # (N,)
    return root[:, None] * A * root


def global_similarity(A: Tensor) -> Tensor:
    """How alike two nodes' neighbourhoods are: Jaccard's index of the two sets, through a sigmoid.

        engat (6)   GSSS = sigmoid(|N_G(i) ∩ N_G(j)| / |N_G(i) ∪ N_G(j)|)

    A    (*, N, N)   nonzero where j ∈ N_G(i)
    →    (*, N, N)   between 0.5 and 0.7311; read where there is an edge

    One matrix product counts every intersection: row i of A · row j of A. Two nodes without neighbours have index 0.

    Reading: (6) divides sets; their sizes are meant. N_G(i) is what A says: with self-loops a node is its own neighbour.
    Without them no two ends of a contour's edge share a neighbour, and all edges but the self-loops would be alike.
    """
    member = (A != 0).to(A.dtype)                                                                       # (*, N, N)
    common = member @ member.mT                                                                         # |N(i) ∩ N(j)|
    size = member.sum(-1)                                                                               # (*, N)
    union = size[..., :, None] + size[..., None, :] - common                                            # |N(i) ∪ N(j)|
    return torch.sigmoid(common / union.clamp(min=1))


def local_similarity(distance: Tensor, gamma: Tensor) -> Tensor:
    """How alike two nodes' features are: a radial basis function of their distance, through a sigmoid.

        engat (7)   LSSS = sigmoid(exp(−‖h_i − h_j‖² / 2γ²))

    distance   (*,)   ‖h_i − h_j‖², squared, of pairs of nodes
    gamma      ()     learnable; its square is kept above 1e-6
    →          (*,)   between 0.5 and 0.7311

    Reading: which h_i is not said, and both streams use the same edge features. Coordinates, divided by the picture's side,
    are the default of ENGAT's settings: in pixels a distance of 10 leaves exp(−50) with γ = 1, and γ no gradient.
    """
    return torch.sigmoid(torch.exp(-distance / (2 * (gamma.square() + 1e-6))))


def squared_distance(h: Tensor) -> Tensor:
    """‖h_i − h_j‖² of all pairs: |h_i|² + |h_j|² − 2 h_i·h_j, one matrix product, with h counted from its mean

    h (*, N, D) → (*, N, N)
    """
    h = h - h.mean(-2, keepdim=True)
    size = h.square().sum(-1)                                                                           # (*, N)
    return (size[..., :, None] + size[..., None, :] - 2 * h @ h.mT).clamp(min=0)


class EdgeFeatures(nn.Module):
    """What every edge is like: its two similarities, with the γ that is learned.

        engat (5)   f_ij = (GSSS, LSSS)

    h (*, N, D) node features, A (N, N) or (*, N, N) → (*, N, N, 2)
    """

    def __init__(self, gamma: float = 1.0):
        super().__init__()
        self.gamma = nn.Parameter(torch.tensor(float(gamma)))

    def forward(self, h: Tensor, A: Tensor) -> Tensor:
        local = local_similarity(squared_distance(h), self.gamma)                                       # (*, N, N)
        return torch.stack([global_similarity(A).expand_as(local), local], -1)

    def along(self, h: Tensor, edges: Tensor, gsss: Tensor) -> Tensor:
        """The same along an edge list: edges (2, M), gsss (M,) their global similarity, which h does not change → (*, M, 2)"""
        across = take(h, edges[0], -2) - take(h, edges[1], -2)                                          # (*, M, D)
        local = local_similarity(across.square().sum(-1), self.gamma)                                   # (*, M)
        return torch.stack([gsss.expand_as(local), local], -1)
