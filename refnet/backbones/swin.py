"""Swin Transformer: attention within shifted windows, laid out and named as microsoft/Swin-Transformer publishes it.

    Liu, Lin, Cao, Hu, Wei, Zhang, Lin, Guo.
    Swin Transformer: Hierarchical vision transformer using shifted windows. ICCV 2021.

    picture ─ patches ─ layers.0 ─ layers.1 ─ layers.2 ─ layers.3 ─ norm ─ map
     224 px      56        56 → 28    28 → 14    14 → 7      7               channels of swin_base: 128, 256, 512, 1024

    block   x ─ norm1 ─ windows ─ attention ─ back ─ + ─ norm2 ─ mlp ─ +     every second block: windows shifted by half
            └───────────────────────────────────────┘└────────────────┘
"""
from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LAYOUTS = {
    "swin_tiny":  dict(width=96,  depths=(2, 2, 6, 2),  heads=(3, 6, 12, 24), drop_path=0.2),
    "swin_small": dict(width=96,  depths=(2, 2, 18, 2), heads=(3, 6, 12, 24), drop_path=0.3),
    "swin_base":  dict(width=128, depths=(2, 2, 18, 2), heads=(4, 8, 16, 32), drop_path=0.5),
}


def windows(x: Tensor, w: int) -> Tensor:
    """Cut a map into windows of w × w tokens, in reading order inside and out.

    x    (B, H, W, C)        H and W multiples of w
    →    (B, H·W/n, n, C)    n = w·w
    """
    x = x.unflatten(2, (-1, w)).unflatten(1, (-1, w))            # (B, H/w, w, W/w, w, C)
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)         # (B, H·W/n, n, C)


def unwindows(x: Tensor, H: int, W: int, w: int) -> Tensor:
    """Put windows back where `windows` took them: (B, H·W/n, n, C) → (B, H, W, C)."""
    x = x.unflatten(2, (w, w)).unflatten(1, (H // w, W // w))    # (B, H/w, W/w, w, w, C)
    return x.transpose(2, 3).flatten(3, 4).flatten(1, 2)         # (B, H, W, C)


def regions(size: int, w: int, shift: int, device: torch.device) -> Tensor:
    """Where each place of a padded and shifted side comes from: 0 the map, 1 the map's other end, 2 padding.

    →    (⌈size/w⌉·w,)   (5, 3, 1) → [0, 0, 0, 0, 2, 1]: the first row went to the end, behind the padding
    """
    i = torch.arange(-(-size // w) * w, device=device).roll(-shift)
    return (i < shift) + 2 * (i >= size)


def window_mask(H: int, W: int, w: int, shift: tuple[int, int], device: torch.device) -> Tensor | None:
    """Which tokens of a window may listen to each other: those of one region.

    →    (windows, n, n)   true where i listens to j; None where every window is of one region
    """
    if shift == (0, 0) and H % w == 0 and W % w == 0:
        return None
    rows, columns = regions(H, w, shift[0], device), regions(W, w, shift[1], device)
    r = windows((3 * rows[:, None] + columns)[None, ..., None], w)[0]     # (windows, n, 1)
    return r == r.mT                                                      # (windows, n, n)


def relative_index(w: int) -> Tensor:
    """The row of the bias table for each pair of a window's tokens: one row for each way from j to i.

    →    (n, n)   (i_y − j_y + w − 1)·(2w − 1) + (i_x − j_x + w − 1);  n = w·w, in [0, (2w − 1)²)
    """
    i = torch.arange(w)
    d = i[:, None] - i + w - 1                                   # (w, w)
    return ((2 * w - 1) * d[:, None, :, None] + d[None, :, None, :]).flatten(2, 3).flatten(0, 1)     # (n, n)


class WindowAttention(nn.Module):
    """Attention within each window, with a learned bias for every relative position.

        y = softmax(q kᵀ / √d + bias) v                          in every window, for every head

    x       (B, windows, n, C)
    mask    (windows, n, n)      true where i listens to j; None: everywhere
    →       (B, windows, n, C)
    """

    def __init__(self, C: int, w: int, heads: int):
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(C, 3 * C)
        self.proj = nn.Linear(C, C)
        self.relative_position_bias_table = nn.Parameter(torch.zeros((2 * w - 1) ** 2, heads))
        self.register_buffer("index", relative_index(w), persistent=False)

    def bias(self, mask: Tensor | None) -> Tensor:
        """The bias of every pair, −∞ where i does not listen to j: (1 or windows, heads, n, n).

        An embedding, not table[index], whose gradient several threads sum in no fixed order.
        """
        b = F.embedding(self.index, self.relative_position_bias_table).movedim(-1, 0)[None]     # (1, heads, n, n)
        return b if mask is None else b.masked_fill(~mask[:, None], float("-inf"))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        qkv = self.qkv(x).unflatten(-1, (3, self.heads, -1))     # (B, windows, n, 3, heads, d)
        q, k, v = qkv.transpose(2, 4).unbind(3)                  # (B, windows, heads, n, d)
        a = q * q.shape[-1] ** -0.5 @ k.mT + self.bias(mask)     # (B, windows, heads, n, n)
        y = a.softmax(-1) @ v                                    # (B, windows, heads, n, d)
        return self.proj(y.transpose(2, 3).flatten(3))           # (B, windows, n, C)


def drop_path(x: Tensor, p: float, training: bool) -> Tensor:
    """Stochastic depth: in training, whole samples of a branch become 0, the others are scaled to keep the mean.

        y_b = x_b / (1 − p) with probability 1 − p, else 0

    x    (B, H, W, C)   a residual branch
    """
    if p == 0 or not training:
        return x
    keep = x.new_empty(x.shape[0], 1, 1, 1).bernoulli_(1 - p)    # (B, 1, 1, 1)
    return x * (keep / (1 - p))


class Block(nn.Module):
    """Attention in windows, then an MLP on every token, each with a shortcut around it.

        x' = x + drop(attention(norm1(x)))
        y  = x' + drop(mlp(norm2(x')))

    x       (B, H, W, C)
    mask    (windows, n, n)   of `window_mask` for this map and shift
    shift   rows and columns by which the windows are moved down and right
    →       (B, H, W, C)

    The map is padded to whole windows, and the windows are moved by moving the map the other way round a torus.
    """

    def __init__(self, C: int, w: int, heads: int, p: float = 0.0):
        super().__init__()
        self.w, self.p = w, p
        self.norm1 = nn.LayerNorm(C)
        self.attn = WindowAttention(C, w, heads)
        self.norm2 = nn.LayerNorm(C)
        self.mlp = nn.Sequential(OrderedDict(fc1=nn.Linear(C, 4 * C), act=nn.GELU(), fc2=nn.Linear(4 * C, C)))

    def attend(self, x: Tensor, shift: tuple[int, int], mask: Tensor | None) -> Tensor:
        """Pad, shift, cut into windows, attend, and all the way back: (B, H, W, C) → (B, H, W, C)."""
        H, W = x.shape[1:3]
        x = F.pad(x, (0, 0, 0, -W % self.w, 0, -H % self.w))     # (B, H', W', C), whole windows
        size = x.shape[1:3]
        x = x.roll((-shift[0], -shift[1]), (1, 2))
        x = self.attn(windows(x, self.w), mask)                  # (B, windows, n, C)
        x = unwindows(x, *size, self.w).roll(shift, (1, 2))      # (B, H', W', C)
        return x[:, :H, :W]

    def forward(self, x: Tensor, shift: tuple[int, int] = (0, 0), mask: Tensor | None = None) -> Tensor:
        x = x + drop_path(self.attend(self.norm1(x), shift, mask), self.p, self.training)
        return x + drop_path(self.mlp(self.norm2(x)), self.p, self.training)


class PatchEmbed(nn.Module):
    """Pictures to tokens: every patch × patch square becomes one; (B, 3, H, W) → (B, H/patch, W/patch, C)."""

    def __init__(self, C: int, patch: int):
        super().__init__()
        self.proj = nn.Conv2d(3, C, patch, stride=patch)
        self.norm = nn.LayerNorm(C)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(x).movedim(1, -1))            # (B, H/patch, W/patch, C)


class PatchMerging(nn.Module):
    """Four neighbours become one token of twice the width; (B, H, W, C) → (B, H/2, W/2, 2C).

    Their published order, in (row, column): (0, 0), (1, 0), (0, 1), (1, 1).
    """

    def __init__(self, C: int):
        super().__init__()
        self.norm = nn.LayerNorm(4 * C)
        self.reduction = nn.Linear(4 * C, 2 * C, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = torch.cat([x[:, r::2, c::2] for c in (0, 1) for r in (0, 1)], -1)        # (B, H/2, W/2, 4C)
        return self.reduction(self.norm(x))                      # (B, H/2, W/2, 2C)


class Stage(nn.Module):
    """Blocks on one map, every second one with shifted windows, then a merging, except in the last stage.

    x    (B, H, W, C)
    →    (B, H/2, W/2, 2C), or (B, H, W, C) where there is no merging

    A side that one window covers is not shifted.
    """

    def __init__(self, C: int, w: int, heads: int, rates: list[float], merge: bool):
        super().__init__()
        self.w = w
        self.blocks = nn.ModuleList(Block(C, w, heads, p) for p in rates)
        self.downsample = PatchMerging(C) if merge else None

    def forward(self, x: Tensor) -> Tensor:
        H, W = x.shape[1:3]
        shifted = (self.w // 2 if H > self.w else 0, self.w // 2 if W > self.w else 0)
        plan = [(shift, window_mask(H, W, self.w, shift, x.device)) for shift in ((0, 0), shifted)]
        for n, block in enumerate(self.blocks):
            x = block(x, *plan[n % 2])                           # (B, H, W, C)
        return x if self.downsample is None else self.downsample(x)


class Swin(nn.Module):
    """The network without its pooling and head: pictures to the map after the last normalisation.

    x    (B, 3, H, W)               pictures, through `resnet.normalise`; sides are multiples of 8·patch
    →    (B, channels, H/32, W/32)  H/(8·patch) in general

    width, depths, heads   channels of the first stage; blocks and heads of each
    window                 a window's side in tokens
    drop_path              stochastic depth of the last block; it grows linearly from 0 in the first
    patch                  a token's side in pixels

    At 224 px this is the published network. At sizes whose maps are not whole windows, the maps are padded on the right and
    below, and no token of the picture listens to padding. Published weights load by name; what the published files hold
    beyond them (head, attn.relative_position_index, attn_mask) finds no place, and the report says so.
    """

    def __init__(self, width: int = 96, depths: tuple[int, ...] = (2, 2, 6, 2), heads: tuple[int, ...] = (3, 6, 12, 24),
                 window: int = 7, drop_path: float = 0.2, patch: int = 4):
        super().__init__()
        if len(depths) != 4 or len(heads) != 4 or min(*depths, *heads, window, patch) < 1:
            raise ValueError(f"depths and heads name four stages each; they, window and patch are 1 or more; "
                             f"got {tuple(depths)}, {tuple(heads)}, {window} and {patch}")
        if any(width * 2 ** n % h for n, h in enumerate(heads)):
            raise ValueError(f"the heads {tuple(heads)} must divide the stages' channels "
                             f"{tuple(width * 2 ** n for n in range(4))}")
        if not 0 <= drop_path < 1:
            raise ValueError(f"drop_path must be 0 or more and below 1; got {drop_path}")
        self.step, self.channels = 8 * patch, 8 * width
        self.patch_embed = PatchEmbed(width, patch)
        rates = [drop_path * n / max(sum(depths) - 1, 1) for n in range(sum(depths))]     # from 0 in the first block
        self.layers = nn.ModuleList()
        for n in range(4):
            own = rates[sum(depths[:n]):sum(depths[:n + 1])]
            self.layers.append(Stage(width * 2 ** n, window, heads[n], own, merge=n < 3))
        self.norm = nn.LayerNorm(self.channels)
        self.reset()

    def reset(self) -> None:
        """Draw every weight anew: linears and bias tables from N(0, 0.02²) within ±2, biases 0, normalisations 1 and 0."""
        self.patch_embed.proj.reset_parameters()
        for m in self.modules():
            if isinstance(m, nn.Linear):
                nn.init.trunc_normal_(m.weight, std=0.02)
                if m.bias is not None:
                    nn.init.zeros_(m.bias)
            elif isinstance(m, nn.LayerNorm):
                m.reset_parameters()
            elif isinstance(m, WindowAttention):
                nn.init.trunc_normal_(m.relative_position_bias_table, std=0.02)

    def forward(self, x: Tensor) -> Tensor:
        H, W = x.shape[-2:]
        if H % self.step or W % self.step:
            raise ValueError(f"a picture's sides must be multiples of {self.step}; got {H} × {W}. Resize it, to "
                             f"{-(-H // self.step) * self.step} × {-(-W // self.step) * self.step} for instance")
        x = self.patch_embed(x)                                  # (B, H/4, W/4, C)
        for layer in self.layers:
            x = layer(x)                                         # (B, H/8, W/8, 2C), ... (B, H/32, W/32, 8C)
        return self.norm(x).movedim(-1, 1)                       # (B, channels, H/32, W/32)
