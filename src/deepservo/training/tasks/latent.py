"""What the latent methods learn from: pictures to give back (AEVS), pictures and poses to tell
apart (MLVS).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.camera import Camera
from deepservo.features.latent import seen_by
from deepservo.features.projection import pca_basis
from deepservo.geometry import se3
from deepservo.nets.metric import MetricNet, PoseEncoder
from deepservo.nets.precision import half_precision
from deepservo.nets.resnet import AutoEncoder, Shape
from deepservo.scene import PlanarScene, perturb, sampling
from deepservo.scene.reference import to_reference
from deepservo.training.tasks.task import SceneTask, generator, perturbed

Loss = Literal["frequency", "pixel"]
Images = Float[Tensor, "b 1 s s"]
MOVED, OTHERS = (
    8,
    4,
)  # poses about each pose, and others of the batch, from which phi learns how far they are from it
SMALLEST = 0.03  # how near the nearest of those about it are, where 1 is the workspace
# Of the ways that z is to go straight: deviations of the longest, about the point looked at [rad],
# along the axis [distances], of turns aside and about the axis [rad]; how short the shortest are,
# where the longest is 1; the share of ways that each of the four has a part in.
ORBIT, ALONG, ASIDE, ROLL = 0.35, 0.2, 0.15, 0.32
SHORTEST, TAKES_PART = 0.05, 0.4
STEEPEST = (
    0.2  # cosine of the axis to the plane's normal: the point looked at is not sought farther out
)
GIVEN_BACK = (
    400.0  # times this, the loss of a picture begins near 1, as that of how straight z goes does
)
BEGINNING = 1000  # pictures whose principal components an autoencoder begins with
FAINT = 1e-6  # of a pixel, so that its cross-entropy is finite
NEAR = 0.02  # of d: errors of pairs much nearer than this weigh alike


def spoiled(images: Images, g: torch.Generator) -> Images:
    """Some of them out of focus, as pictures of few pixels are too; a share of all `perturbed`."""
    return perturbed(perturb.blur(images, g), g)


@dataclass(frozen=True)
class AutoEncoderTask(SceneTask):
    """Teaches an AutoEncoder to give pictures back, from anywhere in the workspace, clean where
    `perturb` spoiled them.

    loss_of: L1 of DCT coefficients under weights 1 / (i + j + 1) (AEVS Eq. 9), or cross-entropy of
    pixels (Eq. 8).

    straight: how much it matters that z moves straight and evenly while the camera does. To give
    back what it sees an encoder need not tell which way to go: where the way of z is bent, L_z,
    read at one point of it, points elsewhere. Pictures come in threes: one a motion ahead of the
    one in the middle, one as far behind. The middle one is given back, and `|z_ahead + z_behind - 2
    z|` over `|z_ahead - z| + |z_behind - z|`, 0 on a straight way and 1 on one that turns back, is
    to be small. No pose is told.
    """

    batch: int = 32
    loss_of: Loss = "frequency"
    perturb: bool = True
    straight: float = 0.0
    rate: float = 1e-3

    def loss(self, net: AutoEncoder, seed: int, step: int) -> Tensor:
        """Of one batch."""
        g, size = generator(seed, step), net.encoder.shape.size
        middle = self.batch // 3 if self.straight else self.batch
        T = sampling.workspace(middle, g, self.distance)
        if self.straight:
            way = ways(T, g, self.distance)
            T = torch.cat([T, T @ way, T @ se3.inverse(way)])
        images = pictures(self.scene, self.camera, size, T)
        seen = spoiled(images, g) if self.perturb else images
        with half_precision():
            z = net.encoder(seen.contiguous(memory_format=torch.channels_last))
            found = net.decode(z[:middle])
        loss = self._given_back(found, images[:middle])
        return (
            loss + self.straight * bent(*z.float().unflatten(0, (3, middle))) / GIVEN_BACK
            if self.straight
            else loss
        )

    def beginning(self, size: int, n: int = BEGINNING) -> Images:
        """Pictures whose principal components a network may begin with."""
        return pictures(
            self.scene, self.camera, size, sampling.workspace(n, generator(0, 0), self.distance)
        )

    def _given_back(self, found: Images, images: Images) -> Tensor:
        if self.loss_of == "pixel":
            return torch.nn.functional.binary_cross_entropy(found.clamp(FAINT, 1 - FAINT), images)
        return frequency_loss(found - images)


def ways(
    Ts_world_cam: Float[Tensor, "b 4 4"], g: torch.Generator, distance: float
) -> Float[Tensor, "b 4 4"]:
    """A motion of each camera at all scales: of one kind or of several, each at its own.

    In motions of any direction what moves the picture most is all that counts. To come home from
    the side a camera must turn about the point it looks at, which hardly moves the picture: so some
    do only that. Rolls are short: z cannot go straight on a circle.
    """
    n = len(Ts_world_cam)
    kinds = torch.rand(n, 4, generator=g) < TAKES_PART
    kinds[:, 0] |= ~kinds.any(1)
    size = kinds * SHORTEST ** torch.rand(n, 4, generator=g, dtype=torch.float64)
    of_kind = torch.tensor([0, 0, 1, 2, 2, 3])
    deviation = torch.tensor(
        [ORBIT, ORBIT, ALONG * distance, ASIDE, ASIDE, ROLL], dtype=torch.float64
    )
    orbit, along, turn = (
        size[:, of_kind] * deviation * torch.randn(n, 6, generator=g, dtype=torch.float64)
    ).split([2, 1, 3], 1)
    depth = -Ts_world_cam[:, 2, 3] / Ts_world_cam[:, 2, 2].clamp(min=STEEPEST)
    return sampling.about(depth, orbit, along[:, 0], turn)


def begun(shape: Shape, seen: Images) -> AutoEncoder:
    """One that begins as the principal components of these pictures, the first of deviation 1, and
    learns what is better.
    """
    net = AutoEncoder(shape)
    grey = net.encoder[0](seen).flatten(1)
    basis, mean = pca_basis(grey, shape.latent)
    net.begin(basis, mean, float(((grey - mean) @ basis[0]).std()))
    return net


def bent(
    z: Float[Tensor, "b k"], ahead: Float[Tensor, "b k"], behind: Float[Tensor, "b k"]
) -> Tensor:
    """0 where z is the middle of a straight way, 1 where the way turns back there; the mean over
    the batch.
    """
    return (_length(ahead + behind - 2 * z) / (_length(ahead - z) + _length(behind - z))).mean()


def frequency_loss(difference: Float[Tensor, "b 1 n n"]) -> Tensor:
    """`1/N^2 sum M_ij |DCT-II(difference)_ij|`, M = 1 / (i + j + 1), the mean over the batch (AEVS
    Eq. 9); the DCT is orthonormal.
    """
    n = difference.shape[-1]
    k = torch.arange(n, dtype=torch.float64)
    D = torch.cos(math.pi / n * (k + 0.5) * k[:, None]) * math.sqrt(2 / n)
    D[0] /= math.sqrt(2)
    D = D.to(difference.dtype)
    weights = (1 / (k[:, None] + k + 1)).to(difference.dtype)
    return ((D @ difference @ D.mT).abs() * weights).mean()


@dataclass(frozen=True)
class MetricTask(SceneTask):
    """MLVS as published (III-C): of `anchors` poses, each with its nearest neighbours, and pictures
    of them all, some spoiled.

    The loss is the sum of Eq. 9, 10 and 11, the last one squared as the public code has it.
    """

    anchors: int = 64
    neighbours: int = 3
    copies: int = 2
    pool: int = 2048
    rate: float = 1e-4

    @property
    def batch(self) -> int:
        """Pictures of a step."""
        return self.anchors * (1 + self.neighbours) * (1 + self.copies)

    def loss(self, net: MetricNet, seed: int, step: int) -> Tensor:
        """Of one batch."""
        g = generator(seed, step)
        Ts = self._near_each_other(sampling.workspace(self.pool, g, self.distance))
        images = pictures(self.scene, self.camera, net.images.shape.size, Ts)
        seen = torch.cat([images, *(perturbed(images, g, 1.0) for _ in range(self.copies))])
        with half_precision():
            of_images = net.images(seen.contiguous(memory_format=torch.channels_last))
        of_images = of_images.float().unflatten(0, (1 + self.copies, len(Ts)))
        T = to_reference(Ts, self.distance)
        of_poses = net.poses(T)
        between = _apart(of_poses, of_poses)
        poses = (self._metric(T) - between).square().mean()
        both = (
            (_apart(of_images.flatten(0, 1), of_poses).unflatten(0, (-1, len(Ts))) - between)
            .square()
            .mean()
        )
        return poses + both + (of_images[:, None] - of_images[None]).square().sum(-1).mean()

    def _metric(
        self, T: Float[Tensor, "a 4 4"], other: Float[Tensor, "b 4 4"] | None = None
    ) -> Float[Tensor, "a b"]:
        """`d_SE3` of all pairs (Eq. 8)."""
        lengths, angles = scales()
        metres, radians = pairwise_distance(T, other)
        return (metres / lengths + radians / angles).float()

    def _near_each_other(self, pool: Float[Tensor, "p 4 4"]) -> Float[Tensor, "b 4 4"]:
        """The pool's first `anchors` poses, each with its nearest others."""
        T = to_reference(pool, self.distance)
        nearest = (
            self._metric(T[: self.anchors], T).topk(1 + self.neighbours, largest=False).indices
        )
        return pool[nearest.flatten()]


@dataclass(frozen=True)
class IsometryTask(SceneTask):
    """MLVS in minutes: phi learns from poses alone, psi where in the latent space the pose of its
    picture is.

    The sum of a length and an angle (Eq. 8) is no Euclidean distance: a space that keeps it is
    crumpled, and an L that is read there says little about a step to go. So d is the root of the
    sum of squares. Cameras that look at the scene turn as they move; poses that do not occur there
    (MOVED, at all scales) teach phi to tell turns from steps, and errors count by their share of d.
    Each picture is drawn to its own pose by the plain distance: of a batch's pairs only one in b
    says where a picture itself belongs.
    """

    batch: int = 128
    anchors: int = 64
    rate: float = 8e-3
    spoil: Callable[[Images, torch.Generator], Images] = spoiled

    def loss(self, net: MetricNet, seed: int, step: int) -> Tensor:
        """Of one batch."""
        g = generator(seed, step)
        Ts = sampling.workspace(self.batch, g, self.distance)
        seen = self.spoil(pictures(self.scene, self.camera, net.images.shape.size, Ts), g)
        with half_precision():
            of_images = net.images(seen.contiguous(memory_format=torch.channels_last))
        T = to_reference(Ts, self.distance)
        with torch.no_grad():
            of_poses = net.poses(T)
        return _length(of_images.float() - of_poses).mean() + self._isometry(
            net.poses, T[: self.anchors], g
        )

    def _isometry(self, phi: PoseEncoder, T: Float[Tensor, "a 4 4"], g: torch.Generator) -> Tensor:
        """How far the distances of embeddings are from those of poses, of these from others about
        them and from one another.
        """
        lengths, angles = scales()
        moved = T @ se3.exp(motions(SMALLEST, (MOVED, len(T)), g))
        z = phi(T)
        metres, radians = se3.distance(T, torch.cat([moved, _turned(T)]))
        wanted = torch.hypot(metres / lengths, radians / angles).float()
        found = _length(torch.cat([phi(moved), _turned(z)]) - z)
        return ((found - wanted) / (wanted + NEAR)).square().mean()


def motions(
    smallest: float, shape: tuple[int, ...], g: torch.Generator
) -> Float[Tensor, "*shape 6"]:
    """In any direction, at all scales from `smallest` to 1, where 1 is the workspace; lengths are
    in units of the distance.
    """
    lengths, angles = scales()
    size = smallest ** torch.rand(*shape, 1, generator=g, dtype=torch.float64)
    unit = torch.tensor([lengths] * 3 + [angles] * 3, dtype=torch.float64)
    return 0.5 * size * unit * torch.randn(*shape, 6, generator=g, dtype=torch.float64)


@cache
def scales() -> tuple[float, float]:
    """Means over pairs of poses of the workspace: of their distance, in units of the scene's
    distance, and of their angle [rad].
    """
    metres, radians = pairwise_distance(
        to_reference(sampling.workspace(500, generator(0, 0), 1.0), 1.0)
    )
    return float(metres.mean()), float(radians.mean())


def pictures(
    scene: PlanarScene, camera: Camera, size: int, Ts_world_cam: Float[Tensor, "b 4 4"]
) -> Images:
    """What an encoder for pictures of size x size sees from these poses: see `seen_by`."""
    return scene.render(seen_by(camera, size), Ts_world_cam)


def pairwise_distance(
    a: Float[Tensor, "a 4 4"], b: Float[Tensor, "b 4 4"] | None = None
) -> tuple[Float[Tensor, "a b"], Float[Tensor, "a b"]]:
    """Translation and angle [rad] between all pairs of poses."""
    b = a if b is None else b
    turned = (a[:, None, :3, :3] * b[None, :, :3, :3]).sum((-1, -2))
    return torch.cdist(a[:, :3, 3], b[:, :3, 3]), ((turned - 1) / 2).clamp(-1, 1).acos()


def _apart(a: Float[Tensor, "a k"], b: Float[Tensor, "b k"]) -> Float[Tensor, "a b"]:
    """Euclidean distances."""
    return _length(a[:, None] - b[None])


def _length(difference: Float[Tensor, "*batch k"]) -> Float[Tensor, "*batch"]:
    """Euclidean, smooth where it vanishes."""
    return (difference.square().sum(-1) + 1e-8).sqrt()


def _turned(x: Float[Tensor, "b *shape"]) -> Float[Tensor, "n b *shape"]:
    """OTHERS times, each time with another in the place of each."""
    return torch.stack([x.roll(k, 0) for k in range(1, OTHERS + 1)])
