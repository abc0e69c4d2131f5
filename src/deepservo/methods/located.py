"""What methods share that answer the camera's pose in a scene they have learned: the goal is looked
for in the scene's picture.
"""

import math

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.camera import Camera
from deepservo.features.registration import ACQUIRE, AGREE, EVIDENCE, Registration, fronto
from deepservo.geometry import se3
from deepservo.methods.base import Controller
from deepservo.scene import PlanarScene
from deepservo.scene.sampling import about, fronto_parallel

# How a goal is looked for, which is asked once and steers every step: how many poses are tried
# about each that is left, and how far about, the (level, iterations) that refine them, the level at
# which they are compared, and how many are kept.
SEARCH = (
    (192, 1.5, ((3, 10),), 2, 16),
    (1, 0.0, ((2, 10),), 1, 4),
    (8, 0.5, ((2, 8),), 1, 4),
    (1, 0.0, ((2, 2), (1, 6), (0, 4)), 1, 1),
)
# of what the camera sees from the learned distance: a goal must see as much of the learned picture
SEEN = 0.24
AT_ONCE = 8  # goals, so that what is tried for them fits in memory
CLEAN = (
    0.8  # agreement of a goal with the learned picture above which nothing is the matter with it
)
# A goal shows something else where its agreement is below this share of what its noise leaves
# attainable: RECOGNISED + CHANCE / pixels.
RECOGNISED, CHANCE = 0.33, 2400
MAP_WIDTH = 512  # pixels of the map's long side at most


class Located(Controller):
    """A method that can `predict` where pictures of its scene were taken.

    distance: the scene's unit of length [m], as it was trained. With `scene`, what is predicted can
    be registered to the learned picture.
    """

    def __init__(self, camera: Camera, distance: float, scene: PlanarScene | None = None) -> None:
        super().__init__(camera)
        self.distance, self.scene, self.map = distance, scene, None
        if scene is not None:
            view = _map_camera(camera, scene, distance)
            self.map = Registration(
                camera, scene.render(view, fronto_parallel(distance)), fronto(distance), view
            )
            shown = (
                camera.width
                / camera.fx
                * camera.height
                / camera.fy
                * distance**2
                / (scene.width * scene.height)
            )
            self.least, self.map_px = SEEN * min(1.0, shown), view.width * view.height

    def predict(self, images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 4 4"]:
        """The network's `T_world_cam` of each picture."""
        raise NotImplementedError

    def predict_goal(self, goal: Float[Tensor, "g 1 h w"]) -> Float[Tensor, "g 4 4"]:
        """`predict` of what is asked once and may take its time."""
        return self.predict(goal)

    def locate(self, images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 4 4"]:
        """`T_world_cam` of each picture: registered to the learned picture where the two agree,
        else the network's.
        """
        T = self.predict(images)
        if self.map is None:
            return T
        registered, agreement = self.registered(images, T)
        return torch.where((agreement > AGREE)[:, None, None], registered, T)

    def registered(
        self,
        images: Float[Tensor, "b 1 h w"],
        T_world_cam: Float[Tensor, "b *n 4 4"],
        schedule: tuple[tuple[int, int], ...] = ACQUIRE,
        level: int = EVIDENCE,
    ) -> tuple[Float[Tensor, "b *n 4 4"], Float[Tensor, "b *n"]]:
        """Poses of each picture registered to the learned picture, and how far the two agree
        there.
        """
        assert self.map is not None
        T_world_ref, views, n = (
            fronto_parallel(self.distance),
            self.map.views(images),
            T_world_cam[0].numel() // 16,
        )
        runs = torch.arange(len(images)).repeat_interleave(n)
        T = self.map.refine(
            views, (se3.inverse(T_world_ref) @ T_world_cam).reshape(-1, 4, 4), schedule, runs
        )
        agreement = self.map.agreement(views, T, runs, level).agreement
        return (T_world_ref @ T).view_as(T_world_cam), agreement.view(T_world_cam.shape[:-2])

    def reference_goal(
        self, goal: Float[Tensor, "g 1 h w"]
    ) -> tuple[Float[Tensor, "g 1 h w"], Float[Tensor, "g 4"]] | None:
        """The plane at each goal, and its picture: the goal itself where it is clean, else what the
        learned scene shows there.
        """
        if self.scene is None:
            return None
        T, found = self.state["T_world_goal"], self.state["found"]
        plane = torch.cat([T[:, 2, :3], -T[:, 2, 3:]], 1)
        return self.relearned(goal, CLEAN), torch.where(
            found[:, None], plane, fronto(self.distance)
        )

    def relearned(self, goal: Float[Tensor, "g 1 h w"], clean: float) -> Float[Tensor, "g 1 h w"]:
        """What the learned scene shows at each goal that agrees with it less than `clean`, where it
        was found; the other goals' own.

        Unseen pixels of a goal that was found are the learned scene's too.
        """
        if self.scene is None:
            return goal
        learned, coverage = self.scene.render_covered(self.camera, self.state["T_world_goal"])
        found, unlike = (
            each[:, None, None, None]
            for each in (self.state["found"], self.state["agreement"] < clean)
        )
        return torch.where(
            found & (unlike | goal.isnan()) & (coverage > 0.999)[:, None], learned, goal
        )

    def status(self, n: int) -> list[str]:
        """How well the goal agrees with the learned picture, and what is strange about it."""
        if self.map is None:
            return [""] * n
        state = zip(
            self.state["found"].expand(n).tolist(),
            self.state["agreement"].expand(n).tolist(),
            strict=True,
        )
        words = (
            f"goal {'' if found else 'not '}found in the learned picture, agreement {agreement:.2f}"
            for found, agreement in state
        )
        return [", ".join(filter(None, both)) for both in zip(words, self.strange(n), strict=True)]

    def strange(self, n: int) -> list[str]:
        """What a method finds unlike all that it has learned about the goals, in words; empty where
        it finds nothing.
        """
        return [""] * n

    def _set_goal(self, goal: Tensor) -> None:
        T, agreement, found = (
            self.predict_goal(goal),
            torch.zeros(len(goal)),
            torch.zeros(len(goal), dtype=torch.bool),
        )
        if self.map is not None:
            parts = [
                self._search(*part)
                for part in zip(goal.split(AT_ONCE), T.split(AT_ONCE), strict=True)
            ]
            T, agreement, found = (torch.cat(part) for part in zip(*parts, strict=True))
        self.state = {"T_world_goal": T, "agreement": agreement, "found": found}

    def _search(self, goal: Tensor, T_world_goal: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The pose that agrees best with the learned picture, of many about the network's: a goal
        may be lit, noisy or covered.
        """
        assert self.map is not None
        T_world_ref = fronto_parallel(self.distance)
        views, goals = self.map.views(goal), torch.arange(len(goal))
        T = (se3.inverse(T_world_ref) @ T_world_goal)[:, None]
        for tried, spread, schedule, level, kept in SEARCH:
            T = T[:, :, None] @ _nearby(tried, spread, self.distance)
            number = T[0].numel() // 16
            runs = goals.repeat_interleave(number)
            T = self.map.refine(views, T.reshape(-1, 4, 4), schedule, runs)
            found = self.map.agreement(views, T, runs, level)
            order = (
                (found.agreement * (found.seen > self.least))
                .view(-1, number)
                .argsort(descending=True)
            )
            T = T.view(-1, number, 4, 4)[goals[:, None], order[:, :kept]]
        found = self.map.agreement(views, T[:, 0], goals)
        # Of many poses tried, one that sees little may agree by chance.
        least = RECOGNISED + CHANCE / (self.map_px * found.seen).clamp(min=1)
        return T_world_ref @ T[:, 0], found.agreement, found.agreement > least * found.attainable


def strangeness(apart: Float[Tensor, " b"], usual: Float[Tensor, " n"]) -> list[str]:
    """Words on goals whose embeddings are farther from all that is known than any of the learned
    scene's own pictures; else "".

    apart: how far each is, usual: how far some of the scene's own pictures are, both in the units
    of the latent space.
    """
    most = float(usual.max())
    return [
        f"the goal looks like nothing that was learned: {far:.2f} latent units from the nearest, "
        f"the scene's own within {most:.2f}"
        if far > most
        else ""
        for far in apart.tolist()
    ]


def _nearby(n: int, spread: float, distance: float) -> Float[Tensor, "n 4 4"]:
    """Motions of a camera about where it is, first none, then wider and wider up to `spread`
    deviations.

    Orbits about the point it looks at, which hardly move the picture and so are the least certain,
    turns, and steps along the axis.
    """
    normal = torch.randn(n, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    normal = normal * torch.linspace(0, spread, n, dtype=torch.float64)[:, None]
    turn = normal[:, 3:] * torch.tensor([4.0, 4.0, 5.0], dtype=torch.float64).deg2rad()
    depth = torch.full((n,), distance, dtype=torch.float64)
    return about(depth, normal[:, :2] * math.radians(8), normal[:, 2] * 0.07 * distance, turn)


def _map_camera(camera: Camera, scene: PlanarScene, distance: float) -> Camera:
    """A camera that sees the whole picture from `distance`, its pixels as large on the plane as the
    camera's.
    """
    pitch = max(distance / camera.fx, max(scene.width, scene.height) / MAP_WIDTH)
    w, h = max(64, 8 * round(scene.width / pitch / 8)), max(64, 8 * round(scene.height / pitch / 8))
    fx, fy, (x, y) = w * distance / scene.width, h * distance / scene.height, scene.centre
    return Camera(w, h, fx, fy, (w - 1) / 2 - fx * x / distance, (h - 1) / 2 - fy * y / distance)
