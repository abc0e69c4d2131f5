"""Base of the methods that predict the camera's pose in a learned scene.

The goal's pose is searched for in the scene's picture.
"""

import math
from dataclasses import replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from deepservo.camera import Camera
from deepservo.features.registration import (
    COMPARISON_LEVEL,
    FIRST_GUESS_SCHEDULE,
    SAME_PLACE_AGREEMENT,
    Registration,
    Schedule,
    fronto,
)
from deepservo.geometry import se3
from deepservo.methods.base import Controller, Reference
from deepservo.methods.verdict import Belief
from deepservo.scene import Scene, SolidScene, taught
from deepservo.scene.sampling import about, fronto_parallel


class Search(NamedTuple):
    """One pass of the search for a goal's pose, which is done once a run and affects all of it.

    tried: poses about each one that the last pass kept. spread: of these, in the deviations of
    `_nearby`. schedule: refines them. level: at which pictures are compared. kept: for the next
    pass, those that agree best.
    """

    tried: int
    spread: float
    schedule: Schedule
    level: int
    kept: int


SEARCHES = (
    Search(192, 1.5, ((3, 10),), 2, 16),
    Search(1, 0.0, ((2, 10),), 1, 4),
    Search(8, 0.5, ((2, 8),), 1, 4),
    Search(1, 0.0, ((2, 2), (1, 6), (0, 4)), 1, 1),
)
# A goal must see this much of the learned picture, as a share of what the camera sees of it from
# the learned distance.
MIN_SEEN_SHARE = 0.24
GOALS_AT_ONCE = 8  # goals searched for together: more would need more memory
CLEAN_AGREEMENT = 0.8  # a goal that agrees more with the learned picture is used unchanged
# A goal is found where its agreement is above (FOUND_SHARE + CHANCE_PIXELS / pixels) of what its
# noise leaves attainable: of many poses tried, one that sees little may agree by chance.
FOUND_SHARE = 0.33
CHANCE_PIXELS = 2400
LEAST_FOUND = (
    0.1  # of agreement: noise alone, of which nothing is attainable, agrees by half as much
)
MAP_SIDE = 512  # px: longest side of the map


class Located(Controller):
    """A method that can `predict` the poses of pictures of its scene.

    distance: the scene's unit of length [m], as it was trained. With `scene`, predicted poses are
    registered to the learned picture, the map; before a solid by the depth of each of its pixels.
    """

    def __init__(self, camera: Camera, distance: float, scene: Scene | None = None) -> None:
        super().__init__(camera, distance)
        self.distance, self.scene, self.map = distance, scene, None
        if scene is not None:
            view, T = _map_camera(camera, scene, distance), fronto_parallel(distance)
            # Without gaps at a solid's edges: at coarse levels they would be most of the picture.
            picture = taught.shown(scene, view, T)
            self.map = Registration(camera, picture, fronto(distance), view)
            if isinstance(scene, SolidScene):
                self.map.set_depth(scene.inverse_depth(view, T))
            w, h = camera.width / camera.fx * distance, camera.height / camera.fy * distance
            shown = w * h / (scene.width * scene.height)
            self.min_seen, self.map_px = MIN_SEEN_SHARE * min(1.0, shown), view.width * view.height

    def predict(self, images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 4 4"]:
        """The network's `T_world_cam` of each picture; its frame's origin is the scene's centre."""
        raise NotImplementedError

    def predict_goal(self, goal: Float[Tensor, "g 1 h w"]) -> Float[Tensor, "g 4 4"]:
        """`predict` of goals, which is called once a run and may take longer."""
        return self.predict(goal)

    def locate(self, images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 4 4"]:
        """`T_world_cam` of each picture: registered to the map where they agree, else predicted."""
        T = self.predict(images)
        if self.map is None:
            return T
        registered, agreement = self.registered(images, T)
        self.state["sure"] = agreement > SAME_PLACE_AGREEMENT
        return torch.where(self.state["sure"][:, None, None], registered, T)

    def registered(
        self,
        images: Float[Tensor, "b 1 h w"],
        T_world_cam: Float[Tensor, "b *n 4 4"],
        schedule: Schedule = FIRST_GUESS_SCHEDULE,
        level: int = COMPARISON_LEVEL,
    ) -> tuple[Float[Tensor, "b *n 4 4"], Float[Tensor, "b *n"]]:
        """Poses of each picture registered to the map, and the agreement of the two there.

        schedule: of the registration. level: of the pyramid at which they are compared.
        """
        assert self.map is not None
        T_world_ref, views = fronto_parallel(self.distance), self.map.views(images)
        n = T_world_cam[0].numel() // 16
        runs = torch.arange(len(images)).repeat_interleave(n)
        T = self.map.refine(
            views, (se3.inverse(T_world_ref) @ T_world_cam).reshape(-1, 4, 4), schedule, runs
        )
        agreement = self.map.compare(views, T, runs, level).agreement
        return (T_world_ref @ T).view_as(T_world_cam), agreement.view(T_world_cam.shape[:-2])

    def reference_goal(self, goal: Float[Tensor, "g 1 h w"]) -> Reference | None:
        """Each goal's picture, rendered from the learned scene where it is not clean, and depth.

        Of a goal that was not found all depths are the learned distance. None without a scene.
        """
        if self.scene is None:
            return None
        T, found = self.state["T_world_goal"], self.state["found"]
        plane = torch.cat([T[:, 2, :3], -T[:, 2, 3:]], 1)
        plane = torch.where(found[:, None], plane, fronto(self.distance))
        inverse_depth = None
        if isinstance(self.scene, SolidScene):
            inverse_depth = self.scene.inverse_depth(self.camera, T)
            inverse_depth = torch.where(found[:, None, None], inverse_depth, 1 / self.distance)
        return Reference(self.rendered_goal(goal, CLEAN_AGREEMENT), plane, inverse_depth)

    def rendered_goal(
        self, goal: Float[Tensor, "g 1 h w"], clean: float
    ) -> Float[Tensor, "g 1 h w"]:
        """The goals, rendered from the learned scene where they are not clean.

        They are rendered where they were found and agree with the scene less than `clean`. Unseen
        pixels of a goal that was found are rendered too.
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

    def belief(self, n: int) -> Belief:
        """Whether both the goal and the last view were found in the learned picture."""
        belief = super().belief(n)
        if self.map is None:
            return belief
        sure = self.state.get("sure", torch.zeros(1, dtype=torch.bool))
        return replace(belief, sure=sure.expand(n) & self.state["found"].expand(n))

    def words(self, n: int) -> list[str]:
        """Whether the goal was found in the learned picture, and what is unusual about it."""
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
        return [", ".join(filter(None, both)) for both in zip(words, self.unusual(n), strict=True)]

    def unusual(self, n: int) -> list[str]:
        """In what each goal is unlike all that the method has learned, in words, or ""."""
        return [""] * n

    def _set_goal(self, goal: Tensor) -> None:
        T, agreement = self.predict_goal(goal), torch.zeros(len(goal))
        found = torch.zeros(len(goal), dtype=torch.bool)
        if self.map is not None:
            batches = zip(goal.split(GOALS_AT_ONCE), T.split(GOALS_AT_ONCE), strict=True)
            parts = [self._search(*batch) for batch in batches]
            T, agreement, found = (torch.cat(part) for part in zip(*parts, strict=True))
        self.state = {"T_world_goal": T, "agreement": agreement, "found": found}

    def _search(
        self, goal: Float[Tensor, "g 1 h w"], T_world_goal: Float[Tensor, "g 4 4"]
    ) -> tuple[Float[Tensor, "g 4 4"], Float[Tensor, " g"], Bool[Tensor, " g"]]:
        """The goals' poses, their agreement with the map, and whether it is enough.

        Of many poses about the predicted ones those that agree best are taken. A goal may be lit,
        noisy or covered, so the predicted pose may be far off.
        """
        assert self.map is not None
        T_world_ref = fronto_parallel(self.distance)
        views, goals = self.map.views(goal), torch.arange(len(goal))
        T = (se3.inverse(T_world_ref) @ T_world_goal)[:, None]
        for search in SEARCHES:
            T = T[:, :, None] @ _nearby(search.tried, search.spread, self.distance)
            number = T[0].numel() // 16
            runs = goals.repeat_interleave(number)
            T = self.map.refine(views, T.reshape(-1, 4, 4), search.schedule, runs)
            found = self.map.compare(views, T, runs, search.level)
            agreement = (found.agreement * (found.seen > self.min_seen)).view(-1, number)
            order = agreement.argsort(descending=True)
            T = T.view(-1, number, 4, 4)[goals[:, None], order[:, : search.kept]]
        found = self.map.compare(views, T[:, 0], goals)
        least = FOUND_SHARE + CHANCE_PIXELS / (self.map_px * found.seen).clamp(min=1)
        least = (least * found.attainable).clamp(min=LEAST_FOUND)
        return T_world_ref @ T[:, 0], found.agreement, found.agreement > least


def unusual_embeddings(apart: Float[Tensor, " b"], usual: Float[Tensor, " n"]) -> list[str]:
    """Words on goals whose embeddings are far from the learned ones; else "".

    They are far when they are farther than the scene's own pictures. apart: each goal's distance
    from the nearest learned embedding. usual: the same of some of the scene's own pictures. Both
    are in the units of the latent space.
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
    """Motions of a camera from its pose.

    The first is none, the others get wider and wider, up to `spread` deviations. They are orbits
    about the point that it looks at, which hardly move the picture and so are the least certain,
    turns, and steps along the axis. distance: of that point [m].
    """
    normal = torch.randn(n, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    normal = normal * torch.linspace(0, spread, n, dtype=torch.float64)[:, None]
    turn = normal[:, 3:] * torch.tensor([4.0, 4.0, 5.0], dtype=torch.float64).deg2rad()
    depth = torch.full((n,), distance, dtype=torch.float64)
    return about(depth, normal[:, :2] * math.radians(8), normal[:, 2] * 0.07 * distance, turn)


def _map_camera(camera: Camera, scene: Scene, distance: float) -> Camera:
    """A camera that sees the whole scene from `distance` [m].

    Its pixels are as large on the plane as the camera's where MAP_SIDE allows.
    """
    pitch = max(distance / camera.fx, max(scene.width, scene.height) / MAP_SIDE)
    w, h = max(64, 8 * round(scene.width / pitch / 8)), max(64, 8 * round(scene.height / pitch / 8))
    fx, fy, (x, y) = w * distance / scene.width, h * distance / scene.height, scene.centre
    return Camera(w, h, fx, fy, (w - 1) / 2 - fx * x / distance, (h - 1) / 2 - fy * y / distance)
