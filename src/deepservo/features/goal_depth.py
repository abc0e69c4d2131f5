"""What is known of how far a goal's scene is, as the methods use it."""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.features.pyramid import resize
from deepservo.features.unseen_pixels import continued
from deepservo.images.depth import Depth, as_depth

ASSUMED_METRES = 0.6  # where nothing is known: of the published experiments
FITTED_PIXELS = 4096  # of a map, that a plane is fitted to
FIT_ROUNDS = 3  # of the plane's fit, each with weights by the residuals of the one before
FIT_SCALE = 0.1  # share of the inverse depth at which a pixel's weight has fallen to a half
GRID = 16  # points along a side of the goal's picture, by which is counted what is seen of it
MIN_KNOWN_SHARE = 0.3  # of a map's pixels; where fewer are known, the others are filled smoothly


@dataclass(frozen=True)
class GoalDepth:
    """Distances of the scene from the goals' cameras.

    metres: one number for all, of maps the median; None where nothing is known. Z: maps [m], one
    for all goals or one each, NaN where unknown; None where there is none.
    """

    camera: Camera
    metres: float | None
    Z: Float[Tensor, "m h w"] | None = None

    @classmethod
    def of(cls, depth: "Known", camera: Camera, what: str = "the depth") -> "GoalDepth":
        """From what a user gives; InputError as of `images.depth.as_depth`."""
        if isinstance(depth, GoalDepth):
            return depth
        return cls(camera, *as_depth(depth, camera, what))

    def seen_by(self, camera: Camera) -> "GoalDepth":
        """The same of pictures reduced to the size of `camera`."""
        if camera == self.camera:
            return self
        if self.Z is None:
            return replace(self, camera=camera)
        return GoalDepth(camera, self.metres, 1 / resize((1 / self.Z)[:, None], camera)[:, 0])

    @property
    def number(self) -> float:
        """`metres`, or what is assumed where nothing is known."""
        return ASSUMED_METRES if self.metres is None else self.metres

    def check_goals(self, n: int) -> None:
        """InputError where there are several maps, and another number than n goals."""
        if self.Z is not None and len(self.Z) not in (1, n):
            raise InputError(
                f"there are {len(self.Z)} maps of depth for {n} goals; give one for all of "
                "them, or one each"
            )

    def inverse(self) -> Float[Tensor, "m h w"] | None:
        """1 / Z [1/m] of the maps, 0 where unknown; filled smoothly where hardly any is known."""
        if self.Z is None:
            return None
        inverse = 1 / self.Z[:, None]
        known = (~inverse.isnan()).float().mean((1, 2, 3), keepdim=True)
        filled = torch.where(known < MIN_KNOWN_SHARE, continued(inverse), inverse)
        return filled[:, 0].nan_to_num(0.0).float()

    def maps(self, n: int) -> Float[Tensor, "n h w"]:
        """Z [m] of each pixel of n goals, NaN where unknown; one number is of all pixels."""
        Z = torch.tensor(self.number, dtype=torch.float64) if self.Z is None else self.Z
        return Z.expand(n, self.camera.height, self.camera.width)

    def whole(self) -> Float[Tensor, "m #h #w"]:
        """Z [m] of every pixel: unknown ones are filled smoothly; (1, 1, 1) of one number."""
        if self.Z is None:
            return torch.full((1, 1, 1), self.number)
        return 1 / continued(1 / self.Z[:, None])[:, 0].float()

    def planes(self, n: int) -> Float[Tensor, "n 4"]:
        """The plane [normal, d] nearest to each of n goals' scenes, `normal . p = d` [m].

        It faces the camera where no map is known.
        """
        facing = torch.tensor([[0.0, 0.0, 1.0, self.number]], dtype=torch.float64)
        if self.Z is None:
            return facing.expand(n, 4)
        return torch.stack([self._fitted(Z) for Z in self.Z]).expand(n, 4)

    def share_seen(self, T_goal_cam: Float[Tensor, "4 4"]) -> float:
        """Of the goal picture's pixels, how many a camera at this pose sees, all at `number`."""
        camera, (x, y) = self.camera, self.camera.xy(torch.float64)
        points = self.number * torch.stack([x, y, torch.ones_like(x)], -1)
        down, right = (max(1, side // GRID) for side in (camera.height, camera.width))
        points = points[::down, ::right].reshape(-1, 3)
        seen = (points - T_goal_cam[:3, 3]) @ T_goal_cam[:3, :3]
        px = camera.project(seen)
        inside = (px >= 0) & (px <= px.new_tensor([camera.width - 1, camera.height - 1]))
        return float((inside.all(1) & (seen[:, 2] > 0)).double().mean())

    def _fitted(self, Z: Float[Tensor, "h w"]) -> Float[Tensor, "4"]:
        """The plane of a map, `1 / Z = a x + b y + c` by robust least squares."""
        x, y = self.camera.xy(torch.float64)
        at = (~Z.isnan()).flatten().nonzero().flatten()
        at = at[:: max(1, len(at) // FITTED_PIXELS)]
        inverse = 1 / Z.double().flatten()[at]
        A = torch.stack([x.flatten()[at], y.flatten()[at], torch.ones(len(at)).double()], 1)
        middle = inverse.median()
        abc, one = torch.stack([0 * middle, 0 * middle, middle]), torch.eye(3, dtype=A.dtype)
        for _ in range(FIT_ROUNDS):
            r = (A @ abc - inverse) / (FIT_SCALE * middle)
            weighted = A / (1 + r.square())[:, None]
            abc = torch.linalg.solve(weighted.mT @ A + 1e-9 * one, weighted.mT @ inverse)
        if abc[2] <= 0:  # seen from behind, as no surface is
            abc = torch.stack([0 * middle, 0 * middle, middle])
        return torch.cat([abc, torch.ones(1, dtype=abc.dtype)]) / abc.norm()


Known = Depth | GoalDepth
"""What a user gives, or what was made of it already."""
