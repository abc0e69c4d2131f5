"""What the latent methods learn from: pictures to give back (AEVS), pictures and poses to tell apart (MLVS)."""

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.camera import Camera
from deepservo.data import generator, half_precision, perturbed
from deepservo.features.latent import BORDER
from deepservo.nets.metric import MetricNet
from deepservo.nets.resnet import AutoEncoder
from deepservo.scene import PlanarScene, sampling

Loss = Literal["frequency", "pixel"]
NEAR = 0.3  # of d_SE3, whose mean is 2: pairs much nearer than this weigh alike


@dataclass(frozen=True)
class AutoEncoderTask:
    """Teaches an AutoEncoder to give pictures back, from anywhere in the workspace, clean where `perturb` spoiled them.

    loss: L1 of DCT coefficients under weights 1 / (i + j + 1) (AEVS Eq. 9), or cross-entropy of pixels (Eq. 8).
    """

    scene: PlanarScene
    camera: Camera
    distance: float
    batch: int = 32
    loss_of: Loss = "frequency"
    perturb: bool = True
    rate: float = 1e-3

    def loss(self, net: AutoEncoder, seed: int, step: int) -> Tensor:
        """Of one batch."""
        g, size = generator(seed, step), net.encoder.shape.size
        view = self.camera.crop(BORDER).resize(size, size)
        images = self.scene.render(view, sampling.workspace(self.batch, g, self.distance))
        seen = perturbed(images, g) if self.perturb else images
        with half_precision():
            logits = net(seen.contiguous(memory_format=torch.channels_last))
        logits = logits.float()
        if self.loss_of == "pixel":
            return torch.nn.functional.binary_cross_entropy_with_logits(logits, images)
        return frequency_loss(logits.sigmoid() - images)


def frequency_loss(difference: Float[Tensor, "b 1 n n"]) -> Tensor:
    """`1/N^2 sum M_ij |DCT-II(difference)_ij|`, M = 1 / (i + j + 1), the mean over the batch (AEVS Eq. 9); the DCT is orthonormal."""
    n = difference.shape[-1]
    k = torch.arange(n, dtype=torch.float64)
    D = torch.cos(math.pi / n * (k + 0.5) * k[:, None]) * math.sqrt(2 / n)
    D[0] /= math.sqrt(2)
    D = D.to(difference.dtype)
    weights = (1 / (k[:, None] + k + 1)).to(difference.dtype)
    return ((D @ difference @ D.mT).abs() * weights).mean()


@dataclass(frozen=True)
class MetricTask:
    """Teaches a MetricNet: of `anchors` poses, each with its nearest neighbours, and pictures of them all, some spoiled (MLVS III-C).

    As published, the loss is the sum of Eq. 9, 10 and 11, the last one squared as the public code has it. That learns slowly: of a batch's
    pairs only one in b says where a picture itself belongs, and the poses shrink towards what pictures can tell so far. Else the
    poses learn from Eq. 9 alone, near pairs weigh more (NEAR), and each picture is drawn to its own pose.
    scales: what a translation [in distances] and a rotation [rad] are divided by in the metric of poses, their means over the workspace.
    """

    scene: PlanarScene
    camera: Camera
    distance: float
    anchors: int = 16
    neighbours: int = 3
    copies: int = 1
    pool: int = 2048
    rate: float = 1e-3
    published: bool = False
    scales: tuple[float, float] = field(init=False)

    def __post_init__(self) -> None:
        metres, radians = pairwise_distance(to_reference(sampling.workspace(500, generator(0, 0), self.distance), self.distance))
        object.__setattr__(self, "scales", (float(metres.mean()), float(radians.mean())))

    @property
    def batch(self) -> int:
        """Pictures of a step."""
        return self.anchors * (1 + self.neighbours) * (1 + self.copies)

    def loss(self, net: MetricNet, seed: int, step: int) -> Tensor:
        """Of one batch."""
        g, size = generator(seed, step), net.images.shape.size
        Ts = self._near_each_other(sampling.workspace(self.pool, g, self.distance))
        view = self.camera.crop(BORDER).resize(size, size)
        images = self.scene.render(view, Ts)
        seen = torch.cat([images, *(perturbed(images, g, 1.0) for _ in range(self.copies))])
        with half_precision():
            of_images = net.images(seen.contiguous(memory_format=torch.channels_last))
        of_images = of_images.float().unflatten(0, (1 + self.copies, len(Ts)))
        T = to_reference(Ts, self.distance)
        of_poses, wanted = net.poses(T), self._metric(T)
        between = _apart(of_poses, of_poses)
        weights = torch.ones_like(wanted) if self.published else 1 / (wanted + NEAR)
        weights = weights / weights.mean()
        poses = (weights * (wanted - between).square()).mean()
        if not self.published:
            of_poses, between = of_poses.detach(), between.detach()
        both = (weights * (_apart(of_images.flatten(0, 1), of_poses).unflatten(0, (-1, len(Ts))) - between).square()).mean()
        same = (of_images[:, None] - of_images[None]).square().sum(-1).mean()
        own = 0.0 if self.published else (of_images - of_poses).square().sum(-1).mean()
        return poses + both + same + own

    def _metric(self, T: Float[Tensor, "b 4 4"]) -> Float[Tensor, "b b"]:
        """`d_SE3` of all pairs (Eq. 8)."""
        metres, radians = pairwise_distance(T)
        return (metres / self.scales[0] + radians / self.scales[1]).float()

    def _near_each_other(self, pool: Float[Tensor, "p 4 4"]) -> Float[Tensor, "b 4 4"]:
        """The pool's first `anchors` poses, each with its nearest others."""
        T = to_reference(pool, self.distance)
        metres, radians = pairwise_distance(T[: self.anchors], T)
        nearest = (metres / self.scales[0] + radians / self.scales[1]).topk(1 + self.neighbours, largest=False).indices
        return pool[nearest.flatten()]


def to_reference(T_world_cam: Float[Tensor, "b 4 4"], distance: float) -> Float[Tensor, "b 4 4"]:
    """`T_ref_cam` in units of the distance: the reference faces the plane from there."""
    T = T_world_cam.clone()
    T[:, 2, 3] += distance
    T[:, :3, 3] /= distance
    return T


def pairwise_distance(
    a: Float[Tensor, "a 4 4"], b: Float[Tensor, "b 4 4"] | None = None
) -> tuple[Float[Tensor, "a b"], Float[Tensor, "a b"]]:
    """Translation and angle [rad] between all pairs of poses."""
    b = a if b is None else b
    turned = (a[:, None, :3, :3] * b[None, :, :3, :3]).sum((-1, -2))
    return torch.cdist(a[:, :3, 3], b[:, :3, 3]), ((turned - 1) / 2).clamp(-1, 1).acos()


def _apart(a: Float[Tensor, "a k"], b: Float[Tensor, "b k"]) -> Float[Tensor, "a b"]:
    """Euclidean distances, smooth where they vanish."""
    return ((a[:, None] - b[None]).square().sum(-1) + 1e-8).sqrt()
