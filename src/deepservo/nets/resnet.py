"""Residual encoders of a picture into a latent vector, and their decoders (AEVS, MLVS).

As in AEVS, weight norm takes the place of batch norm, and a grouped convolution that of the average
pool. `Shape` chooses either as in the original ResNet (He et al. 2016), for comparisons.
"""

import copy
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any, Literal, TypeVar, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize
from torch.nn.utils.fusion import fuse_conv_bn_eval

from deepservo.errors import InputError

BLOCKS = {18: (2, 2, 2, 2), 34: (3, 4, 6, 3)}
"""Residual blocks of each stage, by the number of layers. A stage has half the resolution and twice
the channels of the one before.
"""
MIN_LOCAL_DEVIATION = 0.1  # in deviations of the whole picture: what varies less is flat
MAX_CHANNELS = 4096  # channels, numbers or pixels that a model file may ask for
Norm = Literal["weight", "batch"]
Pool = Literal["grouped", "average"]
Module = TypeVar("Module", bound=nn.Module)


@dataclass(frozen=True)
class Shape:
    """The shape of an encoder; InputError where it cannot be one.

    layers: 18 or 34. width: channels of the first stage (64 in ResNet). latent: numbers of z. size:
    of the square picture [px]. blocks: how many residual blocks are kept, from the first; all where
    it is None (AEVS Fig. 5b). even: each picture is first normalised to mean 0 and deviation 1, so
    that brightness and contrast do not matter. smooth: SiLU and a mean in place of ReLU and the
    maximum, so that z is smoother as the picture moves from pixel to pixel. linear: a linear map of
    the picture is added to the network's z. local: a second input channel, the output of `Local`.
    """

    layers: int = 18
    width: int = 64
    latent: int = 32
    size: int = 224
    blocks: int | None = None
    norm: Norm = "weight"
    pool: Pool = "grouped"
    even: bool = False
    smooth: bool = False
    linear: bool = False
    local: bool = False

    def __post_init__(self) -> None:
        if self.layers not in BLOCKS:
            raise InputError(
                f"an encoder of {self.layers} layers is not known; choose one of "
                f"{', '.join(map(str, BLOCKS))}"
            )
        if not 1 <= self.width <= MAX_CHANNELS or not 6 <= self.latent <= MAX_CHANNELS:
            raise InputError(
                f"width {self.width}, latent {self.latent}: give 1 to {MAX_CHANNELS} channels, "
                "and 6 numbers or more for six axes"
            )
        if not 32 <= self.size <= MAX_CHANNELS or self.size % 32:
            raise InputError(
                f"pictures of {self.size} pixels do not halve five times; give a multiple of 32"
            )
        if self.norm not in get_args(Norm) or self.pool not in get_args(Pool):
            raise InputError(
                f"norm {self.norm!r}, pool {self.pool!r}: choose of {', '.join(get_args(Norm))}; "
                f"of {', '.join(get_args(Pool))}"
            )
        if self.linear and self.local:
            raise InputError(
                "a linear encoder begins with the picture itself; give linear or local, not both"
            )
        if self.blocks is not None and not 1 <= self.blocks <= sum(BLOCKS[self.layers]):
            raise InputError(
                f"ResNet-{self.layers} has {sum(BLOCKS[self.layers])} residual blocks; "
                f"{self.blocks} cannot be kept"
            )

    def stages(self) -> list[tuple[int, int, int]]:
        """(channels in, channels out, stride) of each residual block that is kept."""
        found, c_in = [], self.width
        for stage, count in enumerate(BLOCKS[self.layers]):
            for k in range(count):
                c_out = self.width * 2**stage
                found.append((c_in, c_out, 2 if stage and not k else 1))
                c_in = c_out
        return found[: self.blocks]

    def activation(self) -> nn.Module:
        """A new activation layer."""
        return nn.SiLU() if self.smooth else nn.ReLU(inplace=True)

    def last(self) -> tuple[int, int]:
        """Channels of the last block, and pixels of a side there."""
        stages = self.stages()
        side = self.size // 4
        for _, _, stride in stages:
            side //= stride
        return stages[-1][1], side


def _conv(
    c_in: int, c_out: int, kernel: int, stride: int, norm: Norm, *, gain: float = 1.0
) -> list[nn.Module]:
    """The layers of a normalised convolution that keeps the size (over the stride).

    gain: factor of the initial weights, with weight norm.
    """
    conv = nn.Conv2d(c_in, c_out, kernel, stride, kernel // 2, bias=norm == "weight")
    nn.init.kaiming_normal_(conv.weight, nonlinearity="relu")
    if norm == "batch":
        return [conv, nn.BatchNorm2d(c_out)]
    with torch.no_grad():
        conv.weight *= gain
        assert conv.bias is not None
        conv.bias.zero_()
    return [parametrizations.weight_norm(conv)]


class Local(nn.Module):
    """(B, 1, h, w) -> (B, 2, h, w): the picture, and the picture normalised about each pixel.

    By the mean and deviation about each pixel, faint textures become as strong as others.
    deviation: of the Gaussian window [px].
    """

    def __init__(self, deviation: float) -> None:
        super().__init__()
        self.deviation = deviation

    def about(self, x: Tensor) -> Tensor:
        """Mean over the window about each pixel, (..., h, w)."""
        rows, columns = (_window(side, self.deviation, x.dtype, x.device) for side in x.shape[-2:])
        return rows @ x @ columns.mT

    def moments(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """x less its mean about each pixel, and its deviation, at least MIN_LOCAL_DEVIATION."""
        mean = self.about(x)
        return x - mean, (self.about(x * x) - mean * mean).clamp(min=0).add(
            MIN_LOCAL_DEVIATION**2
        ).sqrt()

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        with torch.autocast(x.device.type, enabled=False):  # differences of squares need float32
            centred, deviation = self.moments(x.float() if x.dtype == torch.bfloat16 else x)
        return torch.cat([x, (centred / deviation).to(x.dtype)], 1)


@cache
def _window(
    size: int, deviation: float, dtype: torch.dtype, device: torch.device
) -> Float[Tensor, "s s"]:
    """Row k: Gaussian weights of a line of pixels about pixel k, of sum 1."""
    k = torch.arange(size, device=device)
    weights = torch.exp(-((k[:, None] - k) ** 2) / (2 * deviation**2))
    return (weights / weights.sum(1, keepdim=True)).to(dtype)


class Halve(nn.Module):
    """`AvgPool2d(3, 2, 1)` for even sides, with a faster backward pass.

    torch's took a sixth of a training step.
    """

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        for axis in (2, 3):
            even, odd = x.unflatten(axis, (-1, 2)).unbind(axis + 1)
            before = odd.narrow(axis, 0, odd.shape[axis] - 1)
            x = even + odd + nn.functional.pad(before, (0, 0, 1, 0) if axis == 2 else (1, 0))
        return x / 9


class Block(nn.Module):
    """`a(x + f(x))`: f are two convolutions, a is the shape's activation.

    With a stride or another width, x is projected by a convolution of 1 x 1.
    """

    def __init__(self, c_in: int, c_out: int, stride: int, shape: Shape) -> None:
        super().__init__()
        # Without batch norm the residuals of all blocks would add up.
        norm, gain = shape.norm, len(shape.stages()) ** -0.5
        first = _conv(c_in, c_out, 3, stride, norm)
        second = _conv(c_out, c_out, 3, 1, norm, gain=gain)
        self.residual = nn.Sequential(*first, shape.activation(), *second)
        same = stride == 1 and c_in == c_out
        self.skip = (
            nn.Identity()
            if same
            else nn.Sequential(*_conv(c_in, c_out, 1, stride, norm, gain=0.5**0.5))
        )
        self.activation = shape.activation()

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self.activation(self.skip(x) + self.residual(x))


class Beside(nn.Module):
    """The sum of a linear map and a network of the same input."""

    def __init__(self, linear: nn.Sequential, network: nn.Sequential) -> None:
        super().__init__()
        self.linear, self.network = linear, network

    def forward(self, x: Tensor) -> Tensor:
        """See the class."""
        return self.linear(x) + self.network(x)

    def begin(self, weight: Tensor, bias: Tensor) -> None:
        """Set the linear map, and the network's last layer to zero."""
        *_, linear = (layer for layer in self.linear if isinstance(layer, nn.Linear))
        last = self.network[-1]
        assert isinstance(last, nn.Linear | nn.Conv2d) and last.bias is not None
        with torch.no_grad():
            linear.weight.copy_(weight)
            linear.bias.copy_(bias)
            last.weight.zero_()
            last.bias.zero_()


class Encoder(nn.Sequential):
    """(B, 1, size, size) in [0, 1] -> z (B, latent): ResNet-18 or -34, changed as in AEVS."""

    def __init__(self, shape: Shape) -> None:
        channels, side = shape.last()
        stages = shape.stages()
        if shape.pool == "grouped":
            pool: nn.Module = nn.Conv2d(channels, channels, side, groups=channels)
            if shape.norm == "weight":
                pool = parametrizations.weight_norm(pool)
        else:
            pool = nn.AdaptiveAvgPool2d(1)
        even = nn.InstanceNorm2d(1) if shape.even else nn.Identity()
        layers = [
            *_conv(2 if shape.local else 1, shape.width, 7, 2, shape.norm),
            shape.activation(),
            Halve() if shape.smooth else nn.MaxPool2d(3, 2, 1),
            *(Block(c_in, c_out, stride, shape) for c_in, c_out, stride in stages),
            pool,
            nn.Flatten(),
            nn.Linear(channels, shape.latent),
        ]
        if shape.linear:
            layers = [
                Beside(
                    nn.Sequential(nn.Flatten(), nn.Linear(shape.size**2, shape.latent)),
                    nn.Sequential(*layers),
                )
            ]
        super().__init__(
            nn.Sequential(even, Local(shape.size / 16)) if shape.local else even, *layers
        )
        self.shape = shape

    def mix(self, W: Float[Tensor, "k k"]) -> None:
        """Multiply the last layers by W, in place: the encoder answers W z from then on."""
        last = self[-1]
        layers = [*last.linear, last.network[-1]] if isinstance(last, Beside) else [last]
        with torch.no_grad():
            for layer in layers:
                if isinstance(layer, nn.Linear):
                    layer.weight.copy_(W @ layer.weight)
                    layer.bias.copy_(W @ layer.bias)

    def config(self) -> dict[str, Any]:
        """The arguments that it was built from."""
        return asdict(self.shape)


class Decoder(nn.Sequential):
    """(B, latent) -> (B, 1, size, size): the encoder's stages in reverse.

    Upsampling takes the place of strides; a linear map is added where the encoder has one.
    """

    def __init__(self, shape: Shape) -> None:
        channels, side = shape.last()
        stages = shape.stages()
        layers: list[nn.Module] = [
            nn.Linear(shape.latent, channels * side * side),
            nn.Unflatten(1, (channels, side, side)),
            shape.activation(),
        ]
        for c_out, c_in, stride in reversed(stages):
            if stride == 2:
                layers.append(nn.Upsample(scale_factor=2, mode="nearest"))
            layers.append(Block(c_in, c_out, 1, shape))
        layers += [
            nn.Upsample(scale_factor=2, mode="nearest"),
            *_conv(shape.width, shape.width, 3, 1, shape.norm),
            shape.activation(),
        ]
        layers += [
            nn.Upsample(scale_factor=2, mode="nearest"),
            nn.Conv2d(shape.width, 1, 3, padding=1),
        ]
        if shape.linear:
            pixels = nn.Sequential(
                nn.Linear(shape.latent, shape.size**2), nn.Unflatten(1, (1, shape.size, shape.size))
            )
            layers = [Beside(pixels, nn.Sequential(*layers))]
        super().__init__(*layers)


def folded(module: Module) -> Module:
    """A copy for inference, in evaluation mode, without weight norm and batch norm.

    Weight norm is multiplied out, batch norm is folded into the convolution before it. That is the
    layer before it in a Sequential, or the `conv1` of a `bn1`.
    """
    module = copy.deepcopy(module).eval()
    for part in list(module.modules()):
        for name, layer in list(part.named_children()):
            if isinstance(layer, nn.BatchNorm2d) and name.startswith("bn"):
                conv = getattr(part, f"conv{name[2:]}")
                setattr(part, f"conv{name[2:]}", fuse_conv_bn_eval(conv, layer))
                setattr(part, name, nn.Identity())
    for layers in [part for part in module.modules() if isinstance(part, nn.Sequential)]:
        for i, layer in enumerate(layers):
            if isinstance(layer, nn.Conv2d) and parametrize.is_parametrized(layer):
                layers[i] = _plain(layer)
            elif isinstance(layer, nn.BatchNorm2d):
                conv = layers[i - 1]
                assert isinstance(conv, nn.Conv2d)
                layers[i - 1], layers[i] = fuse_conv_bn_eval(conv, layer), nn.Identity()
    return module.requires_grad_(False)


def _plain(conv: nn.Conv2d) -> nn.Conv2d:
    """The convolution without parametrizations.

    torch's own function would remove them from all copies of the convolution, which share a class.
    """
    sizes = (conv.in_channels, conv.out_channels, conv.kernel_size, conv.stride, conv.padding)
    plain = nn.Conv2d(*sizes, groups=conv.groups, bias=conv.bias is not None).to(conv.weight.dtype)  # type: ignore[arg-type]
    with torch.no_grad():
        plain.weight.copy_(conv.weight)
        if plain.bias is not None and conv.bias is not None:
            plain.bias.copy_(conv.bias)
    return plain


class AutoEncoder(nn.Module):
    """An encoder and the decoder that it is trained with: pictures -> reconstructed pictures.

    They are within (0, 1) where the shape is not `linear`.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.encoder, self.decoder = Encoder(shape), Decoder(shape)

    def forward(self, images: Float[Tensor, "b 1 s s"]) -> Float[Tensor, "b 1 s s"]:
        """See the class."""
        return self.decode(self.encoder(images))

    def decode(self, z: Float[Tensor, "b k"]) -> Float[Tensor, "b 1 s s"]:
        """The pictures (B, 1, size, size) of latent vectors z."""
        pictures = self.decoder(z).float()
        return pictures if self.encoder.shape.linear else pictures.sigmoid()

    def begin(
        self, basis: Float[Tensor, "k p"], mean: Float[Tensor, " p"], deviation: float
    ) -> None:
        """Initialise a `linear` shape: z = `basis` (image - mean) / deviation.

        The networks add nothing yet. basis: orthonormal rows.
        """
        encoder, decoder = self.encoder[-1], self.decoder[-1]
        assert isinstance(encoder, Beside) and isinstance(decoder, Beside)
        encoder.begin(basis / deviation, -(basis @ mean) / deviation)
        decoder.begin(basis.mT * deviation, mean)
