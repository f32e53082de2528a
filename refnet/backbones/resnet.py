"""ResNet: residual networks, laid out and named as torchvision publishes them; up to the last map.

    He, Zhang, Ren, Sun. Deep residual learning for image recognition. CVPR 2016.

    picture ─ stem ─ layer1 ─ layer2 ─ layer3 ─ layer4 ─ map
     224 px    56      56       28       14        7             channels of resnet50: 64, 256, 512, 1024, 2048
      32 px    32      32       16        8        4             small=True: a stem that keeps the picture's size

    ME-GraphAU takes layer4's map, before any pooling, Face2Nodes all four; no fc is kept.
"""
import torch
import torch.nn.functional as F
from torch import Tensor, nn

MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)    # ImageNet's red, green, blue

LAYOUTS = {
    "resnet18":  dict(layout=(2, 2, 2, 2),  bottleneck=False),
    "resnet34":  dict(layout=(3, 4, 6, 3),  bottleneck=False),
    "resnet50":  dict(layout=(3, 4, 6, 3),  bottleneck=True),
    "resnet101": dict(layout=(3, 4, 23, 3), bottleneck=True),
}


def normalise(x: Tensor) -> Tensor:
    """Bring pixels to the mean and deviation the published weights were trained on.

    x    (*, 3, H, W)   in [0, 1]
    →    (*, 3, H, W)   (x − mean) / deviation, colour by colour
    """
    return torch.stack([(c - m) / d for c, m, d in zip(x.unbind(-3), MEAN, DEVIATION)], -3)


def conv(c_in: int, c_out: int, k: int, stride: int = 1) -> nn.Conv2d:
    """A k × k convolution without bias, padded so that only the stride changes the size."""
    return nn.Conv2d(c_in, c_out, k, stride, padding=k // 2, bias=False)


def shortcut(c_in: int, c_out: int, stride: int) -> nn.Sequential | None:
    """A 1 × 1 convolution and a normalisation where the block changes the shape; elsewhere nothing."""
    if stride == 1 and c_in == c_out:
        return None
    return nn.Sequential(conv(c_in, c_out, 1, stride), nn.BatchNorm2d(c_out))


class BasicBlock(nn.Module):
    """Two 3 × 3 convolutions and a shortcut around them.

        y = relu(bn2(conv2(relu(bn1(conv1(x))))) + shortcut(x))

    x    (B, c_in, H, W)
    →    (B, width, ⌈H/stride⌉, ⌈W/stride⌉)

    The stride is in the first convolution. The shortcut is x itself, or `downsample` where the shape changes.
    """

    expansion = 1                                                # channels out, in widths

    def __init__(self, c_in: int, width: int, stride: int = 1):
        super().__init__()
        self.conv1, self.bn1 = conv(c_in, width, 3, stride), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv(width, width, 3), nn.BatchNorm2d(width)
        self.downsample = shortcut(c_in, width, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))                      # (B, width, ⌈H/stride⌉, ⌈W/stride⌉)
        y = self.bn2(self.conv2(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class Bottleneck(nn.Module):
    """A 3 × 3 convolution between two of 1 × 1, which narrow and widen, and a shortcut around them.

        y = relu(bn3(conv3(relu(bn2(conv2(relu(bn1(conv1(x)))))))) + shortcut(x))

    x    (B, c_in, H, W)
    →    (B, 4·width, ⌈H/stride⌉, ⌈W/stride⌉)

    The stride is in the 3 × 3 convolution, as published; the 2016 paper itself has it in the first 1 × 1.
    """

    expansion = 4

    def __init__(self, c_in: int, width: int, stride: int = 1):
        super().__init__()
        self.conv1, self.bn1 = conv(c_in, width, 1), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = conv(width, width, 3, stride), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = conv(width, 4 * width, 1), nn.BatchNorm2d(4 * width)
        self.downsample = shortcut(c_in, 4 * width, stride)

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))                      # (B, width, H, W)
        y = F.relu(self.bn2(self.conv2(y)))                      # (B, width, ⌈H/stride⌉, ⌈W/stride⌉)
        y = self.bn3(self.conv3(y))                              # (B, 4·width, ⌈H/stride⌉, ⌈W/stride⌉)
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """The network without its pooling and fc: pictures to the last map.

    x    (B, 3, H, W)               pictures, through `normalise`
    →    (B, channels, H/32, W/32)  layer4's map, rounding up; H/8, W/8 where small

    layout       blocks in layer1 ... layer4
    widths       their channels; four times as many come out of a bottleneck
    bottleneck   which of the two blocks
    small        for small pictures: a 3 × 3 stem of stride 1 and no max-pooling

    Published weights load by name; the published fc finds no place, and the report says so.
    """

    def __init__(self, layout: tuple[int, ...] = (3, 4, 6, 3), widths: tuple[int, ...] = (64, 128, 256, 512),
                 bottleneck: bool = True, small: bool = False):
        super().__init__()
        if len(layout) != 4 or len(widths) != 4 or min(*layout, *widths) < 1:
            raise ValueError(f"layout and widths name four layers each, 1 or more; got {tuple(layout)} and {tuple(widths)}")
        block = Bottleneck if bottleneck else BasicBlock
        self.small, self.each = small, tuple(block.expansion * width for width in widths)
        self.channels = self.each[-1]
        c_in = widths[0]
        self.conv1 = conv(3, c_in, 3) if small else conv(3, c_in, 7, stride=2)
        self.bn1 = nn.BatchNorm2d(c_in)
        for n, (blocks, width) in enumerate(zip(layout, widths), 1):
            c_out = block.expansion * width
            first = block(c_in, width, stride=1 if n == 1 else 2)
            self.add_module(f"layer{n}", nn.Sequential(first, *(block(c_out, width) for _ in range(blocks - 1))))
            c_in = c_out
        self.reset()

    def reset(self) -> None:
        """Draw every weight anew: convolutions from N(0, 2 / (k·k·out)), a variance; normalisations 1 and 0."""
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")
            elif isinstance(m, nn.BatchNorm2d):
                m.reset_running_stats()
                m.reset_parameters()

    def maps(self, x: Tensor) -> tuple[Tensor, ...]:
        """The map after each layer: (B, 3, 224, 224) → (B, 256, 56, 56), (B, 512, 28, 28), (B, 1024, 14, 14), ..."""
        if not self.small:                                       # channels side by side: half the time on a CPU
            x = x.contiguous(memory_format=torch.channels_last)
        x = self.bn1(self.conv1(x))                              # (B, C, H/2, W/2); small: H, W
        if not self.small:
            x = F.max_pool2d(x, 3, stride=2, padding=1).contiguous()        # (B, C, H/4, W/4)
        x = F.relu(x)                                            # the largest of relus is the relu of the largest
        out = []
        for layer in (self.layer1, self.layer2, self.layer3, self.layer4):
            x = layer(x)                                         # (B, C, H/4, W/4), then H/8, H/16, H/32
            out.append(x)
        return tuple(out)

    def forward(self, x: Tensor) -> Tensor:
        return self.maps(x)[-1]                                  # (B, channels, H/32, W/32)
