"""DenseNet: every layer reads all maps before it, laid out and named as torchvision publishes it; up to the last map.

    Huang, Liu, van der Maaten, Weinberger. Densely connected convolutional networks. CVPR 2017.

    picture ─ conv0, pool0 ─ denseblock1 ─ transition1 ─ denseblock2 ─ ... ─ transition3 ─ denseblock4 ─ norm5 ─ map
     224 px        56            56            28            28                  7              7
                   64           256           128           512                 512           1024      channels of densenet121

Emotion-GCN takes norm5's map as it is: torchvision's own ReLU belongs to its classifier, of which nothing is kept.
"""
import re

import torch
import torch.nn.functional as F
from torch import Tensor, nn

LAYOUTS = {
    "densenet121": dict(layout=(6, 12, 24, 16), growth=32, first=64),
    "densenet169": dict(layout=(6, 12, 32, 32), growth=32, first=64),
    "densenet201": dict(layout=(6, 12, 48, 32), growth=32, first=64),
    "densenet161": dict(layout=(6, 12, 36, 24), growth=48, first=96),
}


class DenseLayer(nn.Module):
    """What one layer adds: a 1 × 1 convolution that narrows, and one of 3 × 3; normalised before, not after.

        y = conv2(relu(norm2(conv1(relu(norm1(x))))))

    x    (B, c_in, H, W)     all maps before it, side by side
    →    (B, growth, H, W)

    Four times growth channels lie between the two.
    """

    def __init__(self, c_in: int, growth: int):
        super().__init__()
        self.norm1, self.conv1 = nn.BatchNorm2d(c_in), nn.Conv2d(c_in, 4 * growth, 1, bias=False)
        self.norm2, self.conv2 = nn.BatchNorm2d(4 * growth), nn.Conv2d(4 * growth, growth, 3, padding=1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        y = self.conv1(F.relu(self.norm1(x)))                    # (B, 4·growth, H, W)
        return self.conv2(F.relu(self.norm2(y)))                 # (B, growth, H, W)


class DenseBlock(nn.Module):
    """Layers that each put their maps behind all maps before them.

    x    (B, c_in, H, W)
    →    (B, c_in + layers·growth, H, W)   the first c_in are x
    """

    def __init__(self, layers: int, c_in: int, growth: int):
        super().__init__()
        for n in range(layers):
            self.add_module(f"denselayer{n + 1}", DenseLayer(c_in + n * growth, growth))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.children():
            x = torch.cat([x, layer(x)], 1)                      # (B, C + growth, H, W)
        return x


class Transition(nn.Module):
    """Between two blocks: fewer channels, half the size.

        y = pool(conv(relu(norm(x))))

    x    (B, c_in, H, W)   →   (B, c_out, ⌊H/2⌋, ⌊W/2⌋)   means of 2 × 2
    """

    def __init__(self, c_in: int, c_out: int):
        super().__init__()
        self.norm, self.conv = nn.BatchNorm2d(c_in), nn.Conv2d(c_in, c_out, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return F.avg_pool2d(self.conv(F.relu(self.norm(x))), 2)


class DenseNet(nn.Module):
    """The network without its pooling and classifier: pictures to the last map, normalised, before any ReLU.

    x    (B, 3, H, W)               pictures, through `resnet.normalise`; 29 px or more per side
    →    (B, channels, H/32, W/32)  ⌊⌈H/4⌉/8⌋ to be exact: 224 and 227 give 7, 112 gives 3

    layout   layers in denseblock1 ... denseblock4
    growth   the channels that each layer adds
    first    the channels that conv0 gives

    Published weights load by name, through `modern`.
    """

    def __init__(self, layout: tuple[int, ...] = (6, 12, 24, 16), growth: int = 32, first: int = 64):
        super().__init__()
        if len(layout) != 4 or min(*layout, growth, first) < 1:
            raise ValueError(f"layout names the layers of four blocks, and these, growth and first are 1 or more; "
                             f"got {tuple(layout)}, {growth} and {first}")
        self.conv0, self.norm0 = nn.Conv2d(3, first, 7, 2, padding=3, bias=False), nn.BatchNorm2d(first)
        c = first
        for n, layers in enumerate(layout, 1):
            self.add_module(f"denseblock{n}", DenseBlock(layers, c, growth))
            c += layers * growth
            if n < 4:
                self.add_module(f"transition{n}", Transition(c, c // 2))
                c //= 2
        self.norm5, self.channels = nn.BatchNorm2d(c), c
        self.reset()

    def reset(self) -> None:
        """Draw every weight anew: convolutions from N(0, 2 / (k·k·in)), a variance; normalisations 1 and 0."""
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight)
            elif isinstance(m, nn.BatchNorm2d):
                m.reset_running_stats()
                m.reset_parameters()

    def forward(self, x: Tensor) -> Tensor:
        if min(x.shape[-2:]) < 29:
            raise ValueError(f"pictures of {x.shape[-1]} × {x.shape[-2]} px leave no map; 29 px or more per side are needed")
        x = x.contiguous(memory_format=torch.channels_last)      # channels side by side: a fifth faster on a CPU
        x = self.norm0(self.conv0(x))                            # (B, first, H/2, W/2)
        x = F.relu(F.max_pool2d(x, 3, stride=2, padding=1))      # (B, first, H/4, W/4): as the largest of relus
        x = self.transition1(self.denseblock1(x))                # (B, C, H/8, W/8)
        x = self.transition2(self.denseblock2(x))                # (B, C, H/16, W/16)
        x = self.transition3(self.denseblock3(x))                # (B, C, H/32, W/32)
        return self.norm5(self.denseblock4(x))                   # (B, channels, H/32, W/32)


def modern(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The published state dict in our names; the classifier's stay as they are and find no place.

        features.denseblock1.denselayer1.norm.1.weight   →   denseblock1.denselayer1.norm1.weight

    A new dict of the same tensors. The files of 2017 do not say how many batches a normalisation saw: 0 is put there.
    """
    out = {}
    for name, t in state.items():
        name = name.removeprefix("module.").removeprefix("features.")
        out[re.sub(r"(denselayer\d+\.(?:norm|conv))\.(?=[12]\.)", r"\1", name)] = t
    for name in [n for n in out if n.endswith(".running_mean")]:
        out.setdefault(name.replace("running_mean", "num_batches_tracked"), torch.tensor(0))
    return out
