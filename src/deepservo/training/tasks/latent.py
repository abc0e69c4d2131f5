"""What AEVS and MLVS learn: to reconstruct pictures, and distances between poses."""

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
from deepservo.scene import Scene, SolidScene, perturb, sampling, taught
from deepservo.scene.reference import to_reference
from deepservo.training.tasks.task import SceneTask, generator, perturbed

Loss = Literal["frequency", "pixel"]
Images = Float[Tensor, "b 1 s s"]
# Poses about each pose, and other poses of the batch, whose distances to it phi learns.
MOVED_POSES, OTHER_POSES = 8, 4
SMALLEST_MOTION = 0.03  # of the poses about a pose, where 1 is the workspace
# Motions along which z is to move straight: deviations of the longest, about the point looked at
# [rad], along the optical axis [distances], turns of the axis and about it [rad]; how short the
# shortest are, where the longest is 1; the share of motions that each of these four kinds is in.
ORBIT_RAD, ADVANCE, TURN_RAD, ROLL_RAD = 0.35, 0.2, 0.15, 0.32
SMALLEST_SHARE, KIND_PROBABILITY = 0.05, 0.4
MIN_COSINE = 0.2  # of the optical axis to the plane's normal, where the point looked at is computed
# The reconstruction loss times this begins near 1, as the bending of z does.
RECONSTRUCTION_SCALE = 400.0
PCA_PICTURES = 1000  # from whose principal components an autoencoder is initialised
MIN_GREY = 1e-6  # of a pixel, so that its cross-entropy is finite
DISTANCE_FLOOR = 0.02  # of d: errors of pairs much nearer than this weigh alike


def degraded(images: Images, g: torch.Generator) -> Images:
    """Some of the images out of focus, as pictures of few pixels are too; a share `perturbed`."""
    return perturbed(perturb.blur(images, g), g)


@dataclass(frozen=True)
class AutoEncoderTask(SceneTask):
    """An AutoEncoder learns to reconstruct pictures from anywhere in the workspace.

    perturb: whether it sees them perturbed, and is to reconstruct them without the perturbations.

    loss_of: L1 of DCT coefficients under weights 1 / (i + j + 1) (AEVS Eq. 9), or cross-entropy of
    pixels (Eq. 8).

    straightness: weight of `bending`, so that z moves straight and evenly while the camera does.
    Reconstruction alone does not ask for that; and where the path of z is curved, L_z at one of its
    points does not point along the rest. Pictures then come in threes: the middle one, which is
    reconstructed, one a motion ahead and one as far behind. No pose is given.
    """

    batch: int = 32
    loss_of: Loss = "frequency"
    perturb: bool = True
    straightness: float = 0.0
    rate: float = 1e-3

    def loss(self, net: AutoEncoder, seed: int, step: int) -> Tensor:
        """Of reconstruction, and of bending where that has a weight."""
        g, size = generator(seed, step), net.encoder.shape.size
        middle = self.batch // 3 if self.straightness else self.batch
        T = self._threes(middle, g) if self.straightness else self.poses(middle, g)
        images = pictures(self.scene, self.camera, size, T)
        seen = degraded(images, g) if self.perturb else images
        with half_precision():
            z = net.encoder(seen.contiguous(memory_format=torch.channels_last))
            found = net.decode(z[:middle])
        loss = self._reconstruction_loss(found, images[:middle])
        if not self.straightness:
            return loss
        curved = bending(*z.float().unflatten(0, (3, middle)))
        return loss + self.straightness * curved / RECONSTRUCTION_SCALE

    def workspace_pictures(self, size: int, n: int = PCA_PICTURES) -> Images:
        """n pictures of size x size pixels from all over the workspace, the same each time."""
        return pictures(self.scene, self.camera, size, self.poses(n, generator(0, 0)))

    def _threes(self, n: int, g: torch.Generator) -> Float[Tensor, "m 4 4"]:
        """n poses, then those a motion ahead of each, then those as far behind."""
        T = self.poses(n, g)
        motion = mixed_motions(T, g, self.distance)
        if isinstance(self.scene, SolidScene):
            room = taught.Room(self.scene, self.distance)
            while (blocked := ~(room(T @ motion) & room(T @ se3.inverse(motion)))).any():
                T[blocked] = self.poses(int(blocked.sum()), g)
                motion[blocked] = mixed_motions(T[blocked], g, self.distance)
        return torch.cat([T, T @ motion, T @ se3.inverse(motion)])

    def _reconstruction_loss(self, found: Images, images: Images) -> Tensor:
        if self.loss_of == "pixel":
            return torch.nn.functional.binary_cross_entropy(
                found.clamp(MIN_GREY, 1 - MIN_GREY), images
            )
        return frequency_loss(found - images)


def mixed_motions(
    Ts_world_cam: Float[Tensor, "b 4 4"], g: torch.Generator, distance: float
) -> Float[Tensor, "b 4 4"]:
    """A motion of each camera, of one kind or several, each at a scale of its own.

    The kinds are: about the point looked at, along the optical axis, turns of the axis, rolls. In a
    motion of all kinds at once, the kind that moves the picture most dominates. To converge from
    the side a camera must turn about the point it looks at, which hardly moves the picture: so some
    motions do only that. Rolls are short: z cannot go straight on a circle.
    """
    n = len(Ts_world_cam)
    kinds = torch.rand(n, 4, generator=g) < KIND_PROBABILITY
    kinds[:, 0] |= ~kinds.any(1)
    size = kinds * SMALLEST_SHARE ** torch.rand(n, 4, generator=g, dtype=torch.float64)
    of_kind = torch.tensor([0, 0, 1, 2, 2, 3])
    deviation = torch.tensor(
        [ORBIT_RAD, ORBIT_RAD, ADVANCE * distance, TURN_RAD, TURN_RAD, ROLL_RAD],
        dtype=torch.float64,
    )
    orbit, along, turn = (
        size[:, of_kind] * deviation * torch.randn(n, 6, generator=g, dtype=torch.float64)
    ).split([2, 1, 3], 1)
    depth = -Ts_world_cam[:, 2, 3] / Ts_world_cam[:, 2, 2].clamp(min=MIN_COSINE)
    return sampling.about(depth, orbit, along[:, 0], turn)


def principal_autoencoder(shape: Shape, images: Images) -> AutoEncoder:
    """An AutoEncoder that begins with the principal components of these pictures.

    The first number of z begins with deviation 1.
    """
    net = AutoEncoder(shape)
    grey = net.encoder[0](images).flatten(1)
    basis, mean = pca_basis(grey, shape.latent)
    net.begin(basis, mean, float(((grey - mean) @ basis[0]).std()))
    return net


def bending(
    z: Float[Tensor, "b k"], ahead: Float[Tensor, "b k"], behind: Float[Tensor, "b k"]
) -> Tensor:
    """Mean over the batch of `|ahead + behind - 2 z| / (|ahead - z| + |behind - z|)`.

    It is 0 where z is the middle of a straight path, 1 where the path turns back at z.
    """
    return (_norm(ahead + behind - 2 * z) / (_norm(ahead - z) + _norm(behind - z))).mean()


def frequency_loss(difference: Float[Tensor, "b 1 n n"]) -> Tensor:
    """Mean over the batch of `1/N^2 sum M_ij |DCT-II(difference)_ij|` (AEVS Eq. 9).

    M = 1 / (i + j + 1), and the DCT is orthonormal.
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
    """MLVS as published (III-C).

    Its batch is `anchors` poses, each with its nearest neighbours, and pictures of all of them,
    clean and perturbed. The loss is the sum of Eq. 9, 10 and 11, the last one squared as the public
    code has it.
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
        """The sum of Eq. 9, 10 and 11."""
        g = generator(seed, step)
        Ts = self._near_each_other(self.poses(self.pool, g))
        images = pictures(self.scene, self.camera, net.images.shape.size, Ts)
        seen = torch.cat([images, *(perturbed(images, g, 1.0) for _ in range(self.copies))])
        with half_precision():
            of_images = net.images(seen.contiguous(memory_format=torch.channels_last))
        of_images = of_images.float().unflatten(0, (1 + self.copies, len(Ts)))
        T = to_reference(Ts, self.distance)
        of_poses = net.poses(T)
        between = _distances(of_poses, of_poses)
        poses = (self._metric(T) - between).square().mean()
        both = (
            (_distances(of_images.flatten(0, 1), of_poses).unflatten(0, (-1, len(Ts))) - between)
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
    """MLVS in minutes.

    phi learns from poses alone, psi to map a picture to the embedding of its pose. The sum of a
    length and an angle (Eq. 8) is no Euclidean distance: a latent space that keeps it is not
    smooth, and its L is of little use at a distance from the goal. So d is the root of the sum of
    squares. Cameras that look at the scene turn as they move; MOVED_POSES, which do not occur
    there, at all scales, make phi learn turns and translations apart. Errors are relative to d. The
    error of a picture is its plain distance to its own pose: of a batch's pairs only one in b says
    where a picture itself belongs.
    """

    batch: int = 128
    anchors: int = 64
    rate: float = 8e-3
    degrade: Callable[[Images, torch.Generator], Images] = degraded

    def loss(self, net: MetricNet, seed: int, step: int) -> Tensor:
        """Of the pictures' embeddings, and of the poses'."""
        g = generator(seed, step)
        Ts = self.poses(self.batch, g)
        seen = self.degrade(pictures(self.scene, self.camera, net.images.shape.size, Ts), g)
        with half_precision():
            of_images = net.images(seen.contiguous(memory_format=torch.channels_last))
        T = to_reference(Ts, self.distance)
        with torch.no_grad():
            of_poses = net.poses(T)
        return _norm(of_images.float() - of_poses).mean() + self._isometry(
            net.poses, T[: self.anchors], g
        )

    def _isometry(self, phi: PoseEncoder, T: Float[Tensor, "a 4 4"], g: torch.Generator) -> Tensor:
        """Mean squared relative error of the distances between embeddings.

        They are distances of each pose to poses about it, and to others of the batch.
        """
        lengths, angles = scales()
        moved = T @ se3.exp(motions(SMALLEST_MOTION, (MOVED_POSES, len(T)), g))
        z = phi(T)
        metres, radians = se3.distance(T, torch.cat([moved, _others(T)]))
        wanted = torch.hypot(metres / lengths, radians / angles).float()
        found = _norm(torch.cat([phi(moved), _others(z)]) - z)
        return ((found - wanted) / (wanted + DISTANCE_FLOOR)).square().mean()


def motions(
    smallest: float, shape: tuple[int, ...], g: torch.Generator
) -> Float[Tensor, "*shape 6"]:
    """Twists in any direction, at all scales from `smallest` to 1.

    1 is the size of the workspace; lengths are in units of the distance.
    """
    lengths, angles = scales()
    size = smallest ** torch.rand(*shape, 1, generator=g, dtype=torch.float64)
    unit = torch.tensor([lengths] * 3 + [angles] * 3, dtype=torch.float64)
    return 0.5 * size * unit * torch.randn(*shape, 6, generator=g, dtype=torch.float64)


@cache
def scales() -> tuple[float, float]:
    """Means of distance and angle [rad] over pairs of poses of the workspace.

    Distances are in units of the scene's distance.
    """
    metres, radians = pairwise_distance(
        to_reference(sampling.workspace(500, generator(0, 0), 1.0), 1.0)
    )
    return float(metres.mean()), float(radians.mean())


def pictures(
    scene: Scene, camera: Camera, size: int, Ts_world_cam: Float[Tensor, "b 4 4"]
) -> Images:
    """What an encoder for pictures of size x size sees from these poses: see `seen_by`."""
    return taught.shown(scene, seen_by(camera, size), Ts_world_cam)


def pairwise_distance(
    a: Float[Tensor, "a 4 4"], b: Float[Tensor, "b 4 4"] | None = None
) -> tuple[Float[Tensor, "a b"], Float[Tensor, "a b"]]:
    """Translation and angle [rad] between all pairs of poses."""
    b = a if b is None else b
    turned = (a[:, None, :3, :3] * b[None, :, :3, :3]).sum((-1, -2))
    return torch.cdist(a[:, :3, 3], b[:, :3, 3]), ((turned - 1) / 2).clamp(-1, 1).acos()


def _distances(a: Float[Tensor, "a k"], b: Float[Tensor, "b k"]) -> Float[Tensor, "a b"]:
    """Euclidean distances."""
    return _norm(a[:, None] - b[None])


def _norm(difference: Float[Tensor, "*batch k"]) -> Float[Tensor, "*batch"]:
    """Euclidean, smooth where it vanishes."""
    return (difference.square().sum(-1) + 1e-8).sqrt()


def _others(x: Float[Tensor, "b *shape"]) -> Float[Tensor, "n b *shape"]:
    """x OTHER_POSES times, each time with another of its rows in the place of each."""
    return torch.stack([x.roll(k, 0) for k in range(1, OTHER_POSES + 1)])
