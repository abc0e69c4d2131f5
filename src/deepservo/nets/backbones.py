"""The networks that CNN-VS and Siame-se(3) build on, by name.

They map a picture to a list of numbers. Definitions only. AlexNet (Krizhevsky 2012, as slimmed in
2014), VGG-16 (Simonyan 2015), ResNet (He 2016) and EfficientNet (Tan 2019), each without the layer
that classifies, and a compact one for two processor cores. Parameters have torchvision's names, so
that weights saved from there fit (`deepservo.models.weights`). A new backbone is one function and
one line in BACKBONES.
"""

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from types import MappingProxyType
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deepservo.errors import unknown
from deepservo.nets.pose import conv

# Of ImageNet's red, green and blue.
IMAGENET_MEAN, IMAGENET_DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Backbone(nn.Module):
    """(B, 3, size, size) pictures, `normalised`, -> (B, out).

    last: torchvision's name of the classifying layer, which is left out here; "" where torchvision
    has no such network. size: of the square pictures [px].
    """

    def __init__(self, out: int, last: str, size: int = 224) -> None:
        super().__init__()
        self.out, self.last, self.size = out, last, size

    def _begin(self) -> None:
        """Draw He's initial weights, for layers before a ReLU."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


class Stacked(Backbone):
    """Convolutions, a pool to pool x pool, and the classifier without its last layer."""

    def __init__(
        self,
        features: nn.Sequential,
        pool: int,
        classifier: nn.Sequential,
        out: int,
        last: str,
        *,
        size: int = 224,
    ) -> None:
        super().__init__(out, last, size)
        self.features, self.classifier = features, classifier
        self.avgpool = nn.AdaptiveAvgPool2d(pool)
        self._begin()

    def forward(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b n"]:
        """See Backbone."""
        return self.classifier(self.avgpool(self.features(images)).flatten(1))


def normalised(images: Float[Tensor, "b c h w"]) -> Float[Tensor, "b 3 h w"]:
    """Colour or grey pictures in [0, 1], normalised by ImageNet's mean and deviation."""
    mean, deviation = (
        torch.tensor(x, device=images.device)[:, None, None]
        for x in (IMAGENET_MEAN, IMAGENET_DEVIATION)
    )
    return (images - mean) / deviation


def alexnet() -> Backbone:
    """60 M parameters, 4096 numbers."""
    features = nn.Sequential(
        nn.Conv2d(3, 64, 11, 4, 2), nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(64, 192, 5, 1, 2),
        nn.ReLU(), nn.MaxPool2d(3, 2), nn.Conv2d(192, 384, 3, 1, 1), nn.ReLU(),
        nn.Conv2d(384, 256, 3, 1, 1), nn.ReLU(), nn.Conv2d(256, 256, 3, 1, 1), nn.ReLU(),
        nn.MaxPool2d(3, 2),
    )  # fmt: skip
    linear = (
        nn.Dropout(),
        nn.Linear(256 * 36, 4096),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(4096, 4096),
        nn.ReLU(),
    )
    return Stacked(features, 6, nn.Sequential(*linear), 4096, "classifier.6")


def vgg16() -> Backbone:
    """138 M parameters, 4096 numbers."""
    layers: list[nn.Module] = []
    c_in = 3
    for channels, count in ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3)):
        for _ in range(count):
            layers += [nn.Conv2d(c_in, channels, 3, 1, 1), nn.ReLU()]
            c_in = channels
        layers.append(nn.MaxPool2d(2))
    linear = (
        nn.Linear(512 * 49, 4096),
        nn.ReLU(),
        nn.Dropout(),
        nn.Linear(4096, 4096),
        nn.ReLU(),
        nn.Dropout(),
    )
    return Stacked(nn.Sequential(*layers), 7, nn.Sequential(*linear), 4096, "classifier.6")


class Residual(nn.Module):
    """`relu(x + f(x))`: f are two convolutions of 3 x 3.

    With `bottleneck` f are 1 x 1, 3 x 3 and 1 x 1 to four times the channels.
    """

    def __init__(self, c_in: int, channels: int, stride: int, bottleneck: bool) -> None:
        super().__init__()
        sizes = ((1, 1), (3, stride), (1, 1)) if bottleneck else ((3, stride), (3, 1))
        widths = [c_in, *[channels] * (len(sizes) - 1), channels * (4 if bottleneck else 1)]
        self.count = len(sizes)
        for k, ((kernel, step), (a, b)) in enumerate(zip(sizes, pairwise(widths), strict=True), 1):
            self.add_module(f"conv{k}", nn.Conv2d(a, b, kernel, step, kernel // 2, bias=False))
            self.add_module(f"bn{k}", nn.BatchNorm2d(b))
        projected = stride != 1 or c_in != widths[-1]
        self.downsample = (
            nn.Sequential(
                nn.Conv2d(c_in, widths[-1], 1, stride, bias=False), nn.BatchNorm2d(widths[-1])
            )
            if projected
            else None
        )

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        y = x
        for k in range(1, self.count + 1):
            y = getattr(self, f"bn{k}")(getattr(self, f"conv{k}")(y))
            y = y.relu() if k < self.count else y
        return ((x if self.downsample is None else self.downsample(x)) + y).relu()


class ResNet(Backbone):
    """A stem, four stages of residual blocks, and the mean over the picture.

    blocks: of each stage. bottleneck: as in `Residual`.
    """

    def __init__(self, blocks: tuple[int, ...], bottleneck: bool = False) -> None:
        wider = 4 if bottleneck else 1
        super().__init__(512 * wider, "fc")
        self.conv1, self.bn1 = nn.Conv2d(3, 64, 7, 2, 3, bias=False), nn.BatchNorm2d(64)
        c_in, stages = 64, []
        for stage, count in enumerate(blocks):
            channels, layers = 64 * 2**stage, list[nn.Module]()
            for k in range(count):
                layers.append(Residual(c_in, channels, 2 if stage and not k else 1, bottleneck))
                c_in = channels * wider
            stages.append(nn.Sequential(*layers))
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self._begin()

    def forward(self, images: Float[Tensor, "b 3 s s"]) -> Float[Tensor, "b n"]:
        """See Backbone."""
        x = nn.functional.max_pool2d(self.bn1(self.conv1(images)).relu(), 3, 2, 1)
        return self.layer4(self.layer3(self.layer2(self.layer1(x)))).mean((2, 3))


def resnet18() -> Backbone:
    """11 M parameters, 512 numbers."""
    return ResNet((2, 2, 2, 2))


def resnet34() -> Backbone:
    """21 M parameters, 512 numbers."""
    return ResNet((3, 4, 6, 3))


def resnet50() -> Backbone:
    """24 M parameters, 2048 numbers."""
    return ResNet((3, 4, 6, 3), bottleneck=True)


def _conv(
    c_in: int,
    c_out: int,
    kernel: int = 1,
    stride: int = 1,
    *,
    groups: int = 1,
    active: bool = True,
) -> nn.Sequential:
    """A convolution that keeps the size (over the stride), batch norm, and SiLU where active."""
    layers = [
        nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(c_out),
    ]
    return nn.Sequential(*layers, nn.SiLU()) if active else nn.Sequential(*layers)


class Excited(nn.Module):
    """Squeeze and excitation: each channel times a gate that the means of all channels open."""

    def __init__(self, channels: int, squeezed: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Conv2d(channels, squeezed, 1), nn.Conv2d(squeezed, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return x * self.fc2(nn.functional.silu(self.fc1(x.mean((2, 3), keepdim=True)))).sigmoid()


class Inverted(nn.Module):
    """EfficientNet's block: expanded, one filter a channel, excited, projected.

    It is added to its input where the sizes agree. drop: the share of pictures that pass unchanged
    while training (stochastic depth).
    """

    def __init__(
        self, c_in: int, c_out: int, kernel: int, stride: int, *, expansion: int, drop: float
    ) -> None:
        super().__init__()
        width = c_in * expansion
        widened = [_conv(c_in, width)] if expansion > 1 else []
        filtered = _conv(width, width, kernel, stride, groups=width)
        self.block = nn.Sequential(
            *widened, filtered, Excited(width, max(1, c_in // 4)), _conv(width, c_out, active=False)
        )
        self.added, self.drop = stride == 1 and c_in == c_out, drop

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        y = self.block(x)
        if not self.added:
            return y
        if self.training and self.drop:
            kept = torch.rand(len(y), 1, 1, 1, device=y.device) >= self.drop
            y = y * kept / (1 - self.drop)
        return x + y


class Stage(NamedTuple):
    """One stage of EfficientNet: `blocks` blocks, the first of them with this stride."""

    expansion: int
    kernel: int
    stride: int
    channels: int
    blocks: int


EFFICIENTNET_B0 = (
    Stage(1, 3, 1, 16, 1),
    Stage(6, 3, 2, 24, 2),
    Stage(6, 5, 2, 40, 2),
    Stage(6, 3, 2, 80, 3),
    Stage(6, 5, 1, 112, 3),
    Stage(6, 5, 2, 192, 4),
    Stage(6, 3, 1, 320, 1),
)
LAST_DROP = 0.2  # stochastic depth of the last block; it grows evenly from 0 at the first


def _eights(channels: float) -> int:
    """The nearest multiple of 8, at most a tenth less."""
    rounded = max(8, int(channels + 4) // 8 * 8)
    return rounded + 8 if rounded < 0.9 * channels else rounded


def _efficientnet(width: float, depth: float) -> Backbone:
    """EfficientNet-B0 with its channels times `width` and its blocks times `depth`."""
    c_in, done = _eights(32 * width), 0
    layers = [_conv(3, c_in, 3, 2)]
    total = sum(math.ceil(stage.blocks * depth) for stage in EFFICIENTNET_B0)
    for stage in EFFICIENTNET_B0:
        blocks, c_out = list[nn.Module](), _eights(stage.channels * width)
        for k in range(math.ceil(stage.blocks * depth)):
            stride, drop = stage.stride if k == 0 else 1, LAST_DROP * done / total
            blocks.append(
                Inverted(c_in, c_out, stage.kernel, stride, expansion=stage.expansion, drop=drop)
            )
            c_in, done = c_out, done + 1
        layers.append(nn.Sequential(*blocks))
    layers.append(_conv(c_in, 4 * c_in))
    return Stacked(nn.Sequential(*layers), 1, nn.Sequential(), 4 * c_in, "classifier.1")


def efficientnet_b0() -> Backbone:
    """4 M parameters, 1280 numbers."""
    return _efficientnet(1.0, 1.0)


def efficientnet_b1() -> Backbone:
    """7 M parameters, 1280 numbers."""
    return _efficientnet(1.0, 1.1)


def efficientnet_b2() -> Backbone:
    """8 M parameters, 1408 numbers."""
    return _efficientnet(1.1, 1.2)


def efficientnet_b3() -> Backbone:
    """11 M parameters, 1536 numbers."""
    return _efficientnet(1.2, 1.4)


def compact() -> Backbone:
    """Half a million parameters, 2048 numbers, pictures of 64 x 64: learns in minutes on two cores.

    Its last features are on a 4 x 4 grid and keep the place of things. A mean over the picture
    would need a deeper network to keep it.
    """
    residual = (
        Residual(64, 64, 1, False),
        Residual(64, 128, 2, False),
        Residual(128, 128, 1, False),
    )
    features = nn.Sequential(*conv(3, 24, 5, 2), *conv(24, 64, 3, 2), *residual)
    return Stacked(features, 4, nn.Sequential(), 2048, "", size=64)


BACKBONES: Mapping[str, Callable[[], Backbone]] = MappingProxyType(
    {
        "alexnet": alexnet,
        "vgg16": vgg16,
        "resnet18": resnet18,
        "resnet34": resnet34,
        "resnet50": resnet50,
        "efficientnet_b0": efficientnet_b0,
        "efficientnet_b1": efficientnet_b1,
        "efficientnet_b2": efficientnet_b2,
        "efficientnet_b3": efficientnet_b3,
        "compact": compact,
    }
)


def backbone(name: str) -> Backbone:
    """The backbone of that name with random weights.

    Raises InputError, with the nearest names, where there is none.
    """
    if name not in BACKBONES:
        raise unknown("backbone", name, BACKBONES)
    return BACKBONES[name]()
