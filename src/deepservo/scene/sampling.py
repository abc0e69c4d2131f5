"""Start and goal poses of the published experiments.

They are `T_world_cam` (N, 4, 4), float64, in front of the plane z = 0. Lengths are the papers', for
a goal 0.6 m from the plane, and are scaled to another `distance` [m]. Random numbers come from the
generator given, so the same seed gives the same poses.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.geometry import se3

PAPER_DISTANCE = 0.6  # m
NEAR = 0.5  # of the way of the published starts, in translation and rotation


def _uniform(generator: torch.Generator, *shape: int, half: float | Tensor = 1.0) -> Tensor:
    """Uniform random numbers in [-half, half]."""
    return (torch.rand(*shape, generator=generator, dtype=torch.float64) * 2 - 1) * half


def look_at(
    position: Float[Tensor, "*batch 3"],
    target: Float[Tensor, "*batch 3"],
    roll: Float[Tensor, "*batch"],
) -> Float[Tensor, "*batch 4 4"]:
    """`T_world_cam` at `position` [m] that looks at `target` [m], with a roll [rad].

    The roll is about the optical axis. At roll 0 the camera is the fronto-parallel one turned by
    the smallest rotation. The target must not be straight behind the camera (at -z).
    """
    axis = torch.nn.functional.normalize(target - position, dim=-1)
    forward = torch.zeros_like(axis)
    forward[..., 2] = 1
    cross, dot = torch.linalg.cross(forward, axis), axis[..., 2]
    k = se3.hat(cross)
    R = torch.eye(3, dtype=axis.dtype) + k + k @ k / (1 + dot)[..., None, None]
    return se3.transform(R @ se3.so3_exp(forward * roll[..., None]), position)


def fronto_parallel(distance: float, n: int = 1) -> Float[Tensor, "n 4 4"]:
    """n times the reference pose: at (0, 0, -distance) [m], facing the plane."""
    T = torch.eye(4, dtype=torch.float64).repeat(n, 1, 1)
    T[:, 2, 3] = -distance
    return T


def _look_at_circles(
    generator: torch.Generator, n: int, radii: tuple[float, ...], roll: Tensor, distance: float
) -> Tensor:
    """Poses near the reference that look at points on circles about the origin.

    They are within +-(0.6, 0.6, 0.15) m of it. radii: of the circles [m].
    """
    scale = distance / PAPER_DISTANCE
    offset = (
        _uniform(generator, n, 3, half=torch.tensor([0.6, 0.6, 0.15], dtype=torch.float64)) * scale
    )
    radius = torch.tensor(radii, dtype=torch.float64)[torch.arange(n) % len(radii)] * scale
    angle = _uniform(generator, n, half=math.pi)
    target = torch.stack(
        [radius * angle.cos(), radius * angle.sin(), torch.zeros(n, dtype=torch.float64)], -1
    )
    position = offset + torch.tensor([0.0, 0.0, -distance], dtype=torch.float64)
    return look_at(position, target, roll)


def lookat(
    n: int, generator: torch.Generator, distance: float = PAPER_DISTANCE
) -> tuple[Tensor, Tensor]:
    """AEVS: starts and goals of `lookat`: circles of 2, 4, .. 10 cm, roll uniform in +-5 deg."""
    roll = _uniform(generator, n, half=math.radians(5))
    Ts = _look_at_circles(generator, n, (0.02, 0.04, 0.06, 0.08, 0.10), roll, distance)
    return Ts, fronto_parallel(distance, n)


def lookat_rz(
    n: int, generator: torch.Generator, distance: float = PAPER_DISTANCE
) -> tuple[Tensor, Tensor]:
    """MLVS: starts and goals of `lookat-rz`: circles of 8, 16, 24, 32 cm.

    Rolls are even over +-120 deg, in random order.
    """
    even = (
        torch.linspace(-1, 1, n, dtype=torch.float64)
        if n > 1
        else torch.zeros(1, dtype=torch.float64)
    )
    roll = math.radians(120) * even[torch.randperm(n, generator=generator)]
    Ts = _look_at_circles(generator, n, (0.08, 0.16, 0.24, 0.32), roll, distance)
    return Ts, fronto_parallel(distance, n)


def screw(
    n: int, generator: torch.Generator, distance: float = PAPER_DISTANCE
) -> tuple[Tensor, Tensor]:
    """AEVS: n of the 500 starts and goals of `screw`, as many at each goal.

    There are ten goals, each with 5 translations along and 10 rotations about its optical axis.
    """
    scale = distance / PAPER_DISTANCE
    goals = fronto_parallel(distance, 10)
    goals[:, :2, 3] = _uniform(generator, 10, 2, half=0.2) * scale
    roll = _uniform(generator, 10, half=math.pi)
    turn = torch.zeros(10, 3, dtype=torch.float64)
    turn[:, 2] = roll
    goals[:, :3, :3] = se3.so3_exp(turn)
    tz = torch.linspace(-0.3, 0.3, 5, dtype=torch.float64) * scale
    rz = torch.linspace(-math.radians(70), math.radians(70), 10, dtype=torch.float64)
    twist = torch.zeros(10, 5, 10, 6, dtype=torch.float64)
    twist[..., 2], twist[..., 5] = tz[None, :, None], rz[None, None, :]
    Ts_goal = goals[:, None, None].expand(10, 5, 10, 4, 4).reshape(500, 4, 4)
    Ts_cam = Ts_goal @ se3.exp(twist.reshape(500, 6))
    # The first ten starts of each goal have every rotation once and every translation twice, and so
    # on. A regular stride would take the same translations and rotations at every goal, and a
    # random choice would take some more often.
    j, order = torch.arange(50), []
    for goal in range(10):
        shift = torch.randint(5, (1,), generator=generator)
        shuffled = torch.randperm(10, generator=generator)
        order.append(50 * goal + (j + j // 10 + shift) % 5 * 10 + shuffled[j % 10])
    keep = torch.stack(order, 1).flatten()[torch.arange(n) % 500].sort().values
    return Ts_cam[keep], Ts_goal[keep]


def _offsets(generator: torch.Generator, length: Tensor, angle: Tensor) -> Float[Tensor, "n 4 4"]:
    """Rigid motions: lengths [m] in random directions, angles [rad] about random axes."""
    direction, axis = torch.nn.functional.normalize(
        torch.randn(2, len(length), 3, generator=generator, dtype=torch.float64), dim=-1
    )
    return se3.transform(se3.so3_exp(axis * angle[:, None]), direction * length[:, None])


def about(
    depth: Float[Tensor, " n"],
    orbit: Float[Tensor, "n 2"],
    along: Float[Tensor, " n"],
    turn: Float[Tensor, "n 3"],
) -> Float[Tensor, "n 4 4"]:
    """Motions of a camera, in parts that change the picture in different ways.

    orbit: [rad] about the x and y axes of the point that the camera looks at, `depth` [m] away,
    which hardly moves the picture. along: [m] the camera's axis. turn: [rad] about its own axes.
    """
    to_point, about_point, own = torch.zeros(3, len(depth), 6, dtype=torch.float64)
    to_point[:, 2], about_point[:, 3:5] = depth, orbit
    own[:, 2], own[:, 3:] = along, turn
    return se3.exp(to_point) @ se3.exp(about_point) @ se3.exp(-to_point) @ se3.exp(own)


def gaussian_goals(
    n: int, generator: torch.Generator, distance: float = PAPER_DISTANCE
) -> Float[Tensor, "n 4 4"]:
    """Goals of `gaussian`: within +-5 cm of the reference, tilted by +-5 deg about x and y."""
    T = fronto_parallel(distance, n)
    T[:, :3, 3] += _uniform(generator, n, 3, half=0.05) * (distance / PAPER_DISTANCE)
    tilt = torch.cat(
        [_uniform(generator, n, 2, half=math.radians(5)), torch.zeros(n, 1, dtype=torch.float64)], 1
    )
    T[:, :3, :3] = se3.so3_exp(tilt)
    return T


def gaussian_starts(
    Ts_goal: Float[Tensor, "n 4 4"], generator: torch.Generator, distance: float = PAPER_DISTANCE
) -> Float[Tensor, "n 4 4"]:
    """Siame-se(3): starts of `gaussian`.

    Their distance from each goal is `abs N(12.5, 7.5)` cm, their angle `abs N(17.5, 12)` deg.
    """
    normal = torch.randn(2, len(Ts_goal), generator=generator, dtype=torch.float64)
    length = (0.125 + 0.075 * normal[0]).abs() * (distance / PAPER_DISTANCE)
    return Ts_goal @ _offsets(generator, length, (17.5 + 12 * normal[1]).abs().deg2rad())


def near(
    n: int, generator: torch.Generator, distance: float = PAPER_DISTANCE
) -> tuple[Tensor, Tensor]:
    """Starts of `gaussian` NEAR as far, about the reference pose, and goals, for scenes of which
    one picture shows all that is known.
    """
    Ts_goal = fronto_parallel(distance, n)
    normal = torch.randn(2, n, generator=generator, dtype=torch.float64)
    length = NEAR * (0.125 + 0.075 * normal[0]).abs() * (distance / PAPER_DISTANCE)
    angle = NEAR * (17.5 + 12 * normal[1]).abs().deg2rad()
    return Ts_goal @ _offsets(generator, length, angle), Ts_goal


def batch(
    n: int, generator: torch.Generator, distance: float = 0.25, step: float = 1.0
) -> tuple[Tensor, Tensor]:
    """CNN-VS Fig. 5: starts and goals with Gaussian offsets.

    Deviations are `step` (0 to 1) times (4, 4, 2 cm; 20, 20, 50 deg) for a distance of 0.25 m.
    """
    deviation = torch.tensor(
        [0.04, 0.04, 0.02, *(math.radians(d) for d in (20, 20, 50))], dtype=torch.float64
    )
    deviation[:3] *= distance / 0.25
    twist = torch.randn(n, 6, generator=generator, dtype=torch.float64) * deviation * step
    Ts_goal = fronto_parallel(distance, n)
    return Ts_goal @ se3.transform(se3.so3_exp(twist[:, 3:]), twist[:, :3]), Ts_goal


def spread(
    n: int, generator: torch.Generator, distance: float = PAPER_DISTANCE, deviation: float = 0.1
) -> tuple[Tensor, Tensor]:
    """AEVS Fig. 6: starts of positions N(0, `deviation` [m]), half of it in z, and goals.

    They look within +-0.1 m of the centre, with rolls within +-30 deg.
    """
    scale = distance / PAPER_DISTANCE
    offset = (
        torch.randn(n, 3, generator=generator, dtype=torch.float64)
        * torch.tensor([1, 1, 0.5], dtype=torch.float64)
        * deviation
    )
    offset[:, 2].clamp_(-0.45, 0.45)  # in front of the plane
    target = torch.cat(
        [_uniform(generator, n, 2, half=0.1), torch.zeros(n, 1, dtype=torch.float64)], 1
    )
    position = offset + torch.tensor([0.0, 0.0, -PAPER_DISTANCE], dtype=torch.float64)
    roll = _uniform(generator, n, half=math.radians(30))
    return look_at(position * scale, target * scale, roll), fronto_parallel(distance, n)


def offset(
    values: tuple[float, ...], distance: float
) -> tuple[Float[Tensor, "1 4 4"], Float[Tensor, "1 4 4"]]:
    """One start, (x, y, z [cm], theta u [deg]) from the goal, and the goal at `distance` [m]."""
    t, w = torch.tensor(values, dtype=torch.float64).split(3)
    Ts_goal = fronto_parallel(distance)
    return Ts_goal @ se3.transform(se3.so3_exp(w.deg2rad())[None], t[None] / 100), Ts_goal


def workspace(
    n: int, generator: torch.Generator, distance: float = PAPER_DISTANCE
) -> Float[Tensor, "n 4 4"]:
    """Poses to train on: all that runs of the sets above pass through, and more of them near goals.

    Two thirds are within +-(0.68, 0.68, 0.3) m of the reference and look at a point within 0.36 m
    of the centre; one third are within a half to an eighth of that, where accuracy matters. Rolls
    are uniform.
    """
    scale = distance / PAPER_DISTANCE
    shrink = torch.where(
        torch.rand(n, generator=generator, dtype=torch.float64) < 2 / 3,
        1.0,
        2.0 ** -(1 + 2 * torch.rand(n, generator=generator, dtype=torch.float64)),
    )[:, None]
    half = torch.tensor([0.68, 0.68, 0.3], dtype=torch.float64)
    position = _uniform(generator, n, 3, half=half) * shrink
    angle = _uniform(generator, n, half=math.pi)
    radius = 0.36 * torch.rand(n, generator=generator, dtype=torch.float64).sqrt() * shrink[:, 0]
    # Near the goal the camera looks straight ahead, and not at the centre.
    ahead = position * (1 - shrink.sqrt())
    target = torch.stack(
        [
            radius * angle.cos() + ahead[:, 0],
            radius * angle.sin() + ahead[:, 1],
            torch.zeros_like(angle),
        ],
        -1,
    )
    position = position + torch.tensor([0.0, 0.0, -PAPER_DISTANCE], dtype=torch.float64)
    return look_at(position * scale, target * scale, _uniform(generator, n, half=math.pi))
