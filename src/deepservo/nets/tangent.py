"""Forward differentiation of a network, in one pass (AEVS Eq. 11, 16, 17).

It gives the network's output and its derivatives along given directions. The tangent pictures are
in one batch with the picture. A convolution treats them as pictures, but without its bias; a ReLU
or a maximum passes of each tangent what it passes of the picture. `torch.func.jvp` computes the
same, slower.
"""

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from deepservo.nets.resnet import Beside, Block, Halve, Local

Rule = Callable[[nn.Module, Tensor, int], Tensor]


def with_tangents(
    net: nn.Module, images: Float[Tensor, "b c h w"], tangents: Float[Tensor, "b n c h w"]
) -> tuple[Float[Tensor, "b *k"], Float[Tensor, "b *k n"]]:
    """The network's output, and its derivative along each of the n tangents.

    The network is in evaluation mode, and fastest `folded`. Raises TypeError, with its name, for a
    layer that has no rule in RULES.
    """
    B, n = tangents.shape[:2]
    # Picture b is row b, its tangents are the rows B, 2 B, .. further on.
    both = torch.cat([images[None], tangents.transpose(0, 1)]).flatten(0, 1)
    out = _push(net, both, B).unflatten(0, (n + 1, B))
    return out[0], out[1:].movedim(0, -1)


def _push(module: nn.Module, both: Tensor, B: int) -> Tensor:
    rule = RULES.get(type(module))
    if rule is not None:
        return rule(module, both, B)
    if isinstance(module, nn.Sequential):
        for layer in module:
            both = _push(layer, both, B)
        return both
    raise TypeError(
        f"{type(module).__name__} has no rule for tangents: add one to RULES of "
        "deepservo.nets.tangent"
    )


def _linear(call: Callable[[nn.Module, Tensor], Tensor]) -> Rule:
    """The rule of a linear map with a bias: the bias is added to the pictures alone."""

    def rule(module: nn.Module, both: Tensor, B: int) -> Tensor:
        out, bias = call(module, both), module.bias
        if isinstance(bias, Tensor):
            out[:B] += bias.view(-1, *[1] * (out.ndim - 2))
        return out

    return rule


def _matrix(module: nn.Module, both: Tensor) -> Tensor:
    assert isinstance(module, nn.Linear)
    return both @ module.weight.mT


def _conv(module: nn.Module, both: Tensor) -> Tensor:
    assert isinstance(module, nn.Conv2d)
    return torch.nn.functional.conv2d(
        both, module.weight, None, module.stride, module.padding, module.dilation, module.groups
    )


def _batch_norm(module: nn.Module, both: Tensor, B: int) -> Tensor:
    assert (
        isinstance(module, nn.BatchNorm2d)
        and module.running_var is not None
        and module.running_mean is not None
    )
    scale = module.weight / (module.running_var + module.eps).sqrt()
    out = both * scale[:, None, None]
    out[:B] += (module.bias - module.running_mean * scale)[:, None, None]
    return out


def _instance_norm(module: nn.Module, both: Tensor, B: int) -> Tensor:
    assert (
        isinstance(module, nn.InstanceNorm2d)
        and not module.affine
        and not module.track_running_stats
    )
    centred = both - both.mean((2, 3), keepdim=True)
    x, t = centred[:B], centred[B:].unflatten(0, (-1, B))
    variance = x.square().mean((2, 3), keepdim=True) + module.eps
    carried = t - x * ((x * t).mean((3, 4), keepdim=True) / variance)
    return torch.cat([x[None], carried]).div_(variance.sqrt()).flatten(0, 1)


def _local(module: nn.Module, both: Tensor, B: int) -> Tensor:
    assert isinstance(module, Local)
    x, t = both[:B], both[B:].unflatten(0, (-1, B))
    centred, deviation = module.moments(x)
    t_centred = t - module.about(t)
    t_variance = 2 * (module.about(x * t) - (x - centred) * module.about(t))
    found = centred / deviation
    carried = (t_centred - found * t_variance / (2 * deviation)) / deviation
    return torch.cat([both, torch.cat([found[None], carried]).flatten(0, 1)], 1)


def _relu(_: nn.Module, both: Tensor, B: int) -> Tensor:
    passes = both[:B] > 0
    return both.unflatten(0, (-1, B)).mul_(passes).flatten(0, 1)


def _silu(_: nn.Module, both: Tensor, B: int) -> Tensor:
    x, gate = both[:B], both[:B].sigmoid()
    both = both.unflatten(0, (-1, B)) * (gate * (1 + x * (1 - gate)))
    both[0] = x * gate
    return both.flatten(0, 1)


def _max_pool(module: nn.Module, both: Tensor, B: int) -> Tensor:
    assert isinstance(module, nn.MaxPool2d)
    largest, where = torch.nn.functional.max_pool2d(
        both[:B], module.kernel_size, module.stride, module.padding, return_indices=True
    )
    index = where.flatten(2).repeat(len(both) // B - 1, 1, 1)
    carried = both[B:].flatten(2).gather(2, index).unflatten(2, largest.shape[2:])
    return torch.cat([largest, carried])


def _block(module: nn.Module, both: Tensor, B: int) -> Tensor:
    assert isinstance(module, Block)
    return _push(
        module.activation, _push(module.skip, both, B) + _push(module.residual, both, B), B
    )


def _beside(module: nn.Module, both: Tensor, B: int) -> Tensor:
    assert isinstance(module, Beside)
    return _push(module.linear, both, B) + _push(module.network, both, B)


def _same(module: nn.Module, both: Tensor, _: int) -> Tensor:
    return module(both)


RULES: dict[type[nn.Module], Rule] = {
    nn.Conv2d: _linear(_conv),
    nn.Linear: _linear(_matrix),
    nn.BatchNorm2d: _batch_norm,
    nn.InstanceNorm2d: _instance_norm,
    nn.ReLU: _relu,
    nn.SiLU: _silu,
    nn.MaxPool2d: _max_pool,
    Block: _block,
    Beside: _beside,
    nn.Identity: _same,
    nn.Flatten: _same,
    nn.AdaptiveAvgPool2d: _same,
    Halve: _same,
    Local: _local,
    nn.Upsample: _same,
}
"""How a layer transforms pictures and tangents, by its type."""
