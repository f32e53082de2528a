"""IResNet: the face recognition network of InsightFace, laid out and named as published.

    Deng, Guo, Xue, Zafeiriou. ArcFace: Additive angular margin loss for deep face recognition. CVPR 2019.
    Names and layout as in deepinsight/insightface, recognition/arcface_torch.

    face ─ stem ─ layer1 ─ layer2 ─ layer3 ─ layer4 ─ bn2 ─ fc ─ features ─ embedding (d)
    112 px  112     56       28       14        7                             arpgnet §3.2: all of it
     96 px   96     48       24       12        6                             arpgnet §3.3: stem to layer3

The stem keeps the picture's size; each layer halves it (rounding up) in its first block.
"""
import torch
from torch import Tensor, nn

LAYOUTS = {"iresnet18": (2, 2, 2, 2), "iresnet34": (3, 4, 6, 3), "iresnet50": (3, 4, 14, 3), "iresnet100": (3, 13, 30, 3)}


def normalise(x: Tensor) -> Tensor:
    """Bring pixels to the range the published weights were trained on.

    x    (*, 3, H, W)   in [0, 1]
    →    (*, 3, H, W)   in [-1, 1]
    """
    return (x - 0.5) / 0.5


def grid(size: int) -> int:
    """The side of layer4's map for a picture of this side: halved four times, rounding up; (112) → 7, (96) → 6."""
    return -(-size // 16)


class IBasicBlock(nn.Module):
    """Two convolutions between three normalisations, and a shortcut; nothing after the sum.

        y = bn3(conv2(prelu(bn2(conv1(bn1(x)))))) + shortcut(x)

    x    (B, c_in, H, W)
    →    (B, c_out, ⌈H/stride⌉, ⌈W/stride⌉)

    The stride is in the second convolution. The shortcut is x itself, or a 1 × 1 convolution and a
    normalisation (`downsample`) where the shape changes.
    """

    def __init__(self, c_in: int, c_out: int, stride: int = 1):
        super().__init__()
        self.bn1 = nn.BatchNorm2d(c_in)
        self.conv1 = nn.Conv2d(c_in, c_out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(c_out)
        self.prelu = nn.PReLU(c_out)
        self.conv2 = nn.Conv2d(c_out, c_out, 3, stride, padding=1, bias=False)
        self.bn3 = nn.BatchNorm2d(c_out)
        self.downsample = None
        if stride != 1 or c_in != c_out:
            self.downsample = nn.Sequential(nn.Conv2d(c_in, c_out, 1, stride, bias=False), nn.BatchNorm2d(c_out))

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(self.bn1(x))                              # (B, c_out, H, W)
        y = self.conv2(self.prelu(self.bn2(y)))                  # (B, c_out, ⌈H/stride⌉, ⌈W/stride⌉)
        return self.bn3(y) + (x if self.downsample is None else self.downsample(x))


class IResNet(nn.Module):
    """The whole network, or its first layers only.

        arpgnet (§3.2)   blocks = 4: the appearance feature is what the first fully connected layer gives
        arpgnet (§3.3)   blocks = 3: the relation module's map, 12 × 12 at 96 px (§4.4.2)

    x    (B, 3, H, W)       pictures, through `normalise`
    →    (B, d)             the embedding, where blocks = 4
    →    (B, C, H', W')     the last kept layer's map, where blocks < 4; C is `channels`

    layout, widths   residual units and channels of layer1 ... layer4
    size             the picture's side, which fixes the fc; the maps themselves take any H, W
    blocks           how many of the layers are kept; below 4 there is no bn2, fc, features
    features_norm    whether the normalisation after the fc is part of the network

    Reading: arpgnet §3.2 takes "the output from the first fully connected layer"; InsightFace puts a batch normalisation of
    fixed scale ("features") behind it. We keep it: the published embedding includes it. features_norm=False leaves it out.
    Reading: arpgnet §4.2.2 says "the Kaiming method", not which; InsightFace itself draws convolutions from N(0, 0.1²). We draw
    as torch itself does, Kaiming's uniform with a = √5, which is within 1/√fan_in: the paper's library, its default.
    """

    def __init__(self, layout: tuple[int, ...] = (3, 4, 14, 3), widths: tuple[int, ...] = (64, 128, 256, 512),
                 size: int = 112, d: int = 512, blocks: int = 4, features_norm: bool = True):
        super().__init__()
        if len(layout) != 4 or len(widths) != 4:
            raise ValueError(f"layout and widths name four layers each; got {tuple(layout)} and {tuple(widths)}")
        if blocks not in (1, 2, 3, 4):
            raise ValueError(f"blocks is how many of the four layers are kept, 1 to 4; got {blocks}")
        self.size, self.blocks, self.channels = size, blocks, widths[blocks - 1]
        self.conv1 = nn.Conv2d(3, widths[0], 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        self.prelu = nn.PReLU(widths[0])
        c_in = widths[0]
        for n, units, c_out in zip(range(1, blocks + 1), layout, widths):
            layer = [IBasicBlock(c_in, c_out, stride=2)] + [IBasicBlock(c_out, c_out) for _ in range(units - 1)]
            self.add_module(f"layer{n}", nn.Sequential(*layer))
            c_in = c_out
        if blocks == 4:
            self.bn2 = nn.BatchNorm2d(c_in)
            self.dropout = nn.Dropout(0.0)                       # as published: there, and off
            self.fc = nn.Linear(c_in * grid(size) ** 2, d)
            self.features = nn.BatchNorm1d(d) if features_norm else nn.Identity()
        self.reset()

    def reset(self) -> None:
        """Draw every weight anew: Kaiming; biases 0, PReLU 0.25, normalisations 1 and 0; features.weight 1, frozen."""
        for m in self.modules():
            if isinstance(m, (nn.Conv2d, nn.Linear)):
                nn.init.kaiming_uniform_(m.weight, a=5 ** 0.5)       # uniform within 1/√fan_in
                if m.bias is not None:
                    nn.init.zeros_(m.bias)
            elif isinstance(m, nn.PReLU):
                nn.init.constant_(m.weight, 0.25)
            elif isinstance(m, (nn.BatchNorm2d, nn.BatchNorm1d)):
                m.reset_running_stats()
                m.reset_parameters()
                if isinstance(m, nn.BatchNorm1d):
                    m.weight.requires_grad_(False)

    def maps(self, x: Tensor) -> tuple[Tensor, ...]:
        """The map after each kept layer: (B, 3, 96, 96) → (B, 64, 48, 48), (B, 128, 24, 24), (B, 256, 12, 12), ..."""
        x = self.prelu(self.bn1(self.conv1(x)))                  # (B, 64, H, W)
        out = []
        for n in range(1, self.blocks + 1):
            x = getattr(self, f"layer{n}")(x)                    # (B, C, ⌈H/2ⁿ⌉, ⌈W/2ⁿ⌉)
            out.append(x)
        return tuple(out)

    def embed(self, y: Tensor) -> Tensor:
        """The tail: layer4's map (B, C, H', W') → the embedding (B, d)."""
        if y.shape[-2:] != (grid(self.size), grid(self.size)):
            raise ValueError(f"the fc was built for pictures of {self.size} × {self.size}, a map of {grid(self.size)} × "
                             f"{grid(self.size)}; got a map of {tuple(y.shape[-2:])}. Build IResNet(size=...) for these "
                             f"pictures, or resize them")
        return self.features(self.fc(self.dropout(self.bn2(y).flatten(1))))          # (B, d)

    def forward(self, x: Tensor) -> Tensor:
        y = self.maps(x)[-1]                                     # (B, C, H', W')
        return self.embed(y) if self.blocks == 4 else y


def area_overlap(n: int, m: int) -> Tensor:
    """How n cells on a line share themselves out among m cells on the same line.

        R_ij = |cell i of m ∩ cell j of n| · n

    →    (m, n)   every column sums to 1; (3, 2) → [[1, ½, 0], [0, ½, 1]]
    """
    i, j = torch.arange(m).unsqueeze(1), torch.arange(n)         # (m, 1), (n,)
    lo, hi = torch.maximum(i * n, j * m), torch.minimum((i + 1) * n, (j + 1) * m)    # (m, n), in units of 1 / nm
    return (hi - lo).clamp(min=0).double() / m


def fit_fc(state: dict[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Bring the published fc, made for 112 px and a 7 × 7 map, to the model's map; everything else stays as it is.

        fc'(c, i, k) = Σ_jl R_ij R_kl fc(c, j, l)               R of `area_overlap`

    state   fc.weight  (d, C·7·7)
    →       fc.weight  (d, C·6·6) for a model of 96 px; a new dict, the tensors given are not changed

    Each old cell's weight goes to the new cells in proportion to the area they share. The sum over the grid is kept, so
    a map that is the same everywhere gives the same output; and for any map it equals the old fc on that map resized to
    7 × 7 by area averages. A state or model without an fc, an fc that fits already, or one of another width is left alone.

    Reading: arpgnet §3.2 reads out InsightFace's fc, §4.2.1 feeds 96 px, and nothing is said of the 25088 published
    inputs meeting 18432. We resample; `fit=None` in `load_weights` starts the fc afresh instead.
    """
    old, new = state.get("fc.weight"), model.state_dict().get("fc.weight")
    C = getattr(model, "channels", 0)
    if old is None or new is None or old.ndim != 2 or old.shape == new.shape or C == 0:
        return state
    n, m = round((old.shape[1] / C) ** 0.5), round((new.shape[1] / C) ** 0.5)
    if old.shape != (len(new), C * n * n):
        return state
    R = area_overlap(n, m).to(old.device)                        # (m, n)
    W = old.double().unflatten(1, (C, n * n))                    # (d, C, n·n)
    W = W @ torch.kron(R, R).mT                                  # (d, C, m·m)
    return state | {"fc.weight": W.flatten(1).to(old.dtype)}     # (d, C·m·m)
