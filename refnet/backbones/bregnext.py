"""BReG-NeXt: residual layers whose shortcut is an arc tangent, so that its gradient is bounded; up to the last map.

    Hasani, Negi, Mahoor. BReG-NeXt: Facial affect computing using adaptive residual networks with bounded gradient.
    IEEE Transactions on Affective Computing, 2020. Layout as in the authors' code, behzadhsni/BReG-NeXt.

    picture ─ conv0 ─ stage1 ─ stage2 ─ stage3 ─ stage4 ─ stage5 ─ norm ─ elu ─ map
     112 px    112     112       56       56       28       28              28      channels: 32, 32, 64, 64, 128, 128

Emotion-GCN takes this map instead of DenseNet's (Table V).
"""
import torch
import torch.nn.functional as F
from torch import Tensor, nn


def bounded(x: Tensor, a: Tensor, c: Tensor) -> Tensor:
    """A shortcut that grows ever more slowly the larger it gets.

        g(x) = atan(a x / √(c² + 1)) / (a √(c² + 1))

    x      (*)   any shape; a, c  ()
    →      (*)   its slope is at most 1 / (c² + 1)

    g does not ask for a's sign, and tends to x / (c² + 1) for a → 0: an a within 0.001 of 0 counts as 0.001, in float32
    the limit itself while |x| is below ½; its own gradient is 0 there.
    """
    s = (c.square() + 1).sqrt()                                  # ()
    a = torch.where(a.abs() < 1e-3, 1e-3, a)                     # ()
    return torch.atan(x * (a / s)) / (a * s)


def padded(x: Tensor) -> Tensor:
    """Zeros around a map, for a 3 × 3 convolution of stride 2 that gives ⌈H/2⌉ × ⌈W/2⌉: where TensorFlow's "same" puts them.

    x    (B, C, H, W)
    →    (B, C, H + 1, W + 1)   an even side has one after it and none before; an odd one has one at either end, H + 2
    """
    H, W = x.shape[-2:]
    return F.pad(x, (W % 2, 1, H % 2, 1))


class BReGLayer(nn.Module):
    """Two 3 × 3 convolutions, each after its normalisation and ELU, and the bounded shortcut around them.

        y = conv1(elu(norm1(conv0(elu(norm0(x)))))) + g(x)

    x    (B, c_in, H, W)
    →    (B, c_out, ⌈H/stride⌉, ⌈W/stride⌉)

    The stride, 1 or 2, is in conv0; where it is 2, g(x) is averaged over 2 × 2. Where channels are added, half of the new
    ones, all 0, lie before g(x)'s and half behind.
    """

    def __init__(self, c_in: int, c_out: int, stride: int = 1, same: bool = True):
        super().__init__()
        if c_out < c_in or (c_out - c_in) % 2:
            raise ValueError(f"a layer keeps its channels or adds an even number, half on each side; got {c_in}, then {c_out}")
        self.stride, self.same, self.more = stride, same and stride == 2, (c_out - c_in) // 2
        self.norm0, self.conv0 = nn.BatchNorm2d(c_in), nn.Conv2d(c_in, c_out, 3, stride, padding=0 if self.same else 1)
        self.norm1, self.conv1 = nn.BatchNorm2d(c_out), nn.Conv2d(c_out, c_out, 3, padding=1)
        self.a, self.c = nn.Parameter(torch.ones(())), nn.Parameter(torch.ones(()))

    def shortcut(self, x: Tensor) -> Tensor:
        """g(x), brought to the size and the channels of the layer's result."""
        g = bounded(x, self.a, self.c)                           # (B, c_in, H, W)
        if self.stride == 2:
            g = F.avg_pool2d(g, 2, ceil_mode=True)               # (B, c_in, ⌈H/2⌉, ⌈W/2⌉): means of what there is
        return F.pad(g, (0, 0, 0, 0, self.more, self.more)) if self.more else g          # (B, c_out, ...)

    def forward(self, x: Tensor) -> Tensor:
        y = F.elu(self.norm0(x))                                 # (B, c_in, H, W)
        y = self.conv0(padded(y) if self.same else y)            # (B, c_out, ⌈H/stride⌉, ⌈W/stride⌉)
        y = self.conv1(F.elu(self.norm1(y)))
        return y + self.shortcut(x)


class BReGNeXt(nn.Module):
    """The network without its mean over places and its last layer: pictures to the last map, after its ELU.

    x    (B, 3, H, W)               pictures, through `resnet.normalise`
    →    (B, channels, H/4, W/4)    rounding up; halved once for each stage that widens

    layout   layers and channels, stage by stage; a stage of more channels than the one before halves the size, first thing
    same     how a convolution of stride 2 is padded, by `padded` or with a zero all round

    Reading: Emotion-GCN names BReG-NeXt's public code, in TensorFlow, whose "same" padding puts nothing before an even
    side and a zero after it, where the stride is 2. Emotion-GCN's own code, in torch, puts a zero at either end
    (same=False): maps of the same size, seen from a pixel further up and left.
    """

    def __init__(self, layout: tuple[tuple[int, int], ...] = ((7, 32), (1, 64), (8, 64), (1, 128), (7, 128)),
                 same: bool = True):
        super().__init__()
        if not layout or min(min(stage) for stage in layout) < 1:
            raise ValueError(f"layout names layers and channels of each stage, 1 or more; got {tuple(layout)}")
        c_in = layout[0][1]
        self.conv0 = nn.Conv2d(3, c_in, 3, padding=1)
        self.stages = nn.Sequential()
        for n, (layers, c_out) in enumerate(layout, 1):
            first = BReGLayer(c_in, c_out, 1 if c_out == c_in else 2, same)
            self.stages.add_module(f"stage{n}", nn.Sequential(first, *(BReGLayer(c_out, c_out) for _ in range(layers - 1))))
            c_in = c_out
        self.norm, self.channels = nn.BatchNorm2d(c_in), c_in
        self.reset()

    def reset(self) -> None:
        """Draw every weight anew: convolutions uniform within √(6 / (k·k·in)); a and c 1, normalisations 1 and 0.

        conv0 and all biases are uniform within 1/√(k·k·in), torch's own, as in Emotion-GCN's code.
        """
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                m.reset_parameters()
            elif isinstance(m, BReGLayer):
                nn.init.ones_(m.a)
                nn.init.ones_(m.c)
            elif isinstance(m, nn.BatchNorm2d):
                m.reset_running_stats()
                m.reset_parameters()
        for m in self.stages.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_uniform_(m.weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.elu(self.norm(self.stages(self.conv0(x))))      # (B, channels, H/4, W/4)
