"""Photometric registration: from two pictures of a plane and a first guess, the pose between them, and the evidence for it.

The guess `T_goal_cam` warps the current picture onto the goal's. What is left is explained, pixel by pixel, by a small
twist xi, a gain and a bias (the goal may have been lit differently):

    I_warped = gain * (I_goal + L_goal xi) + bias

one weighted linear system of eight unknowns, solved and composed, `T_goal_cam <- exp(xi) T_goal_cam`, coarse to fine
(inverse compositional, after Baker & Matthews 2004, on SE(3)). L and its outer products belong to the goal and are
computed once. Weights are Geman-McClure's, so what covers a part of either picture has hardly any say.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.camera import Camera
from deepservo.features.luminance import gradient
from deepservo.geometry import interaction, se3
from deepservo.sampler import build_pyramid, sample

AGREE = 0.65  # agreement above which two pictures, at a quarter of their size, show the same thing
OVERLAP = 0.2  # share of the goal's pixels that must be seen for that
LEVELS = 4  # full size, then halved each time
UPPER = torch.triu_indices(8, 8)
MARGIN = 3  # pixels whose gradient would reach over the border
CUT = 2.385  # deviations at which a residual's weight has fallen to a quarter
FLOOR = (0.05, 0.1, 0.2, 0.3)
SUBSAMPLE = 4096  # residuals that estimate their scale


@dataclass(frozen=True)
class _Level:
    """One size of the goal: its design matrix J = [L, I, 1] (G, k, 8).

    Where one goal serves all runs, also the products of its columns (k, 36): `J^T W J` of all runs is then one product.
    """

    camera: Camera
    J: Tensor
    products: Tensor | None
    inside: Tensor
    deviation: Tensor


def resize(images: Float[Tensor, "b c h w"], camera: Camera) -> Float[Tensor, "b c h2 w2"]:
    """Area-resize images to the size of `camera`."""
    if images.shape[-2:] == (camera.height, camera.width):
        return images
    return torch.nn.functional.interpolate(images, (camera.height, camera.width), mode="area")


class Registration:
    """Registers pictures of one camera to G goals (1 for all, or one each).

    plane: (G, 4) [n, d] of the goal's plane in the goal's frame, `n . p = d` [m]; `fronto` gives one facing the camera.
    goal_camera: the camera of the goal pictures, where it is another than the one registered.
    """

    def __init__(
        self, camera: Camera, goal: Float[Tensor, "g 1 h w"], plane: Float[Tensor, "g 4"], goal_camera: Camera | None = None
    ) -> None:
        goal_camera = goal_camera or camera
        self.plane = plane.double()
        self.cameras = [_halved(camera, i) for i in range(LEVELS)]
        self.levels = [self._level(goal, _halved(goal_camera, i)) for i in range(LEVELS)]

    def _level(self, goal: Tensor, camera: Camera) -> _Level:
        image = resize(goal, camera)
        x, y = camera.xy()
        n, d = self.plane[:, :3].float(), self.plane[:, 3].float()
        inverse_depth = (n[:, 0, None, None] * x + n[:, 1, None, None] * y + n[:, 2, None, None]) / d[:, None, None]
        gx, gy = gradient(image)
        L = interaction.luminance(gx * camera.fx, gy * camera.fy, x, y, 1 / inverse_depth)
        J = torch.cat([L, image[:, 0, :, :, None], torch.ones_like(L[..., :1])], -1)
        inside = torch.zeros(camera.height, camera.width)
        inside[MARGIN:-MARGIN, MARGIN:-MARGIN] = 1
        J = (J * (inside * (inverse_depth > 0))[..., None]).flatten(1, 2)
        inside = (inside > 0).flatten()
        deviation = _centre_and_spread(image.flatten(1), inside)[1]
        products = J[0][:, UPPER[0]] * J[0][:, UPPER[1]] if len(J) == 1 else None
        return _Level(camera, J, products, inside, deviation)

    def keep(self, index: Tensor) -> None:
        """Go on with these goals alone (nothing to do where all runs share one)."""
        if len(self.plane) > 1:
            self.plane = self.plane[index]
            self.levels = [_Level(v.camera, v.J[index], None, v.inside, v.deviation[index]) for v in self.levels]

    def pyramid(self, images: Float[Tensor, "b 1 h w"]) -> list[Float[Tensor, "b 1 h w"]]:
        """The picture at the size of every level."""
        return [resize(images, camera) for camera in self.cameras]

    def align(
        self, images: Float[Tensor, "b 1 h w"], T_goal_cam: Float[Tensor, "b 4 4"], level: int, iterations: int, which: Tensor | None = None
    ) -> tuple[Float[Tensor, "b 4 4"], Float[Tensor, " b"], Float[Tensor, " b"]]:
        """Refine T_goal_cam at one level; (pose, agreement, share of the goal's pixels seen).

        images are `pyramid(...)[level]`; `which` names each image's goal where there is one a run. The agreement is
        of the pose returned: the weighted correlation of what both pictures see, times the share of it that the weights kept
        (alone, the correlation would leave out whatever disagrees).
        """
        goal = self.levels[level]
        camera = goal.camera
        pick = slice(None) if which is None or len(self.plane) == 1 else which
        J, plane = goal.J[pick], self.plane[pick]
        pictures = build_pyramid(images, antialias=False)
        black = torch.zeros(1, 1)
        T = T_goal_cam.double()
        B = len(T)
        floor = (FLOOR[level] * goal.deviation[pick]).expand(B, 1)
        mu, cost = torch.full((B,), 1e-4, dtype=torch.float64), torch.full((B,), torch.inf)
        scale = 2 * floor
        agreement, seen = torch.zeros(B), torch.zeros(B)
        T_best, H, right = T, torch.zeros(B, 8, 8, dtype=torch.float64), torch.zeros(B, 8, dtype=torch.float64)
        for i in range(iterations + 1):
            warped, coverage = sample(pictures, _warp(self.cameras[level], camera, T, plane), (camera.height, camera.width), black)
            values = warped.flatten(1)
            valid = ((coverage.flatten(1) > 0.999) & goal.inside).float()
            if i == 0:
                fit = _first_fit(J[..., 6], values, valid)
            residual, fit = _residual(J[..., 6], values, valid, scale, fit)
            better = _cost(residual, valid, scale) <= cost
            mu = torch.where(better, mu * 0.1, mu * 10).clamp(1e-9, 1e3)
            T_best = torch.where(better[:, None, None], T, T_best)
            new_scale = torch.maximum(_scale(residual, valid), floor)
            scale = torch.where(better[:, None], new_scale, scale)
            weights = valid * _weight(residual / (CUT * new_scale))
            cost = torch.where(better, _cost(residual, valid, scale), cost)
            agreement = torch.where(
                better, _correlation(J[..., 6], values, weights) * weights.sum(1) / valid.sum(1).clamp(min=1), agreement
            )
            seen = torch.where(better, valid.mean(1), seen)
            if i == iterations:
                break
            H_new, right_new = _normal_equations(J, goal.products, values, weights)
            H = torch.where(better[:, None, None], H_new, H)
            right = torch.where(better[:, None], right_new, right)
            T = se3.exp(_twist(H, right, mu)) @ T_best
        return T_best, agreement, seen


def _normal_equations(J: Tensor, products: Tensor | None, values: Tensor, weights: Tensor) -> tuple[Tensor, Tensor]:
    """`J^T W J` (b, 8, 8) and `J^T W values` (b, 8), float64."""
    if products is None:
        weighted = (J * weights[..., None]).mT
        return torch.bmm(weighted, J).double(), torch.bmm(weighted, values[..., None])[..., 0].double()
    upper = (weights @ products).double()
    H = torch.zeros(len(values), 8, 8, dtype=torch.float64)
    H[:, UPPER[0], UPPER[1]] = upper
    H[:, UPPER[1], UPPER[0]] = upper
    return H, ((weights * values) @ J[0]).double()


def _twist(H: Tensor, right: Tensor, mu: Tensor) -> Float[Tensor, "b 6"]:
    """The twist of the damped system, at most 0.2 (m or rad) a step."""
    diagonal = torch.diagonal(H, dim1=1, dim2=2)
    ridge = diagonal * mu[:, None] * (torch.arange(8) < 6) + 1e-12 * diagonal.amax(1, keepdim=True) + 1e-12
    theta = torch.linalg.solve(H + torch.diag_embed(ridge), right)
    twist = theta[:, :6] / torch.where(theta[:, 6:7].abs() < 0.05, 0.05, theta[:, 6:7])
    return twist / (twist.abs().amax(1, keepdim=True) / 0.2).clamp(min=1)


def _first_fit(goal: Tensor, values: Tensor, valid: Tensor) -> Tensor:
    """Gain and bias (b, 2) from medians alone: a black patch on either picture would drag least squares away."""
    centre_goal, spread_goal = _centre_and_spread(goal, valid > 0)
    centre, spread = _centre_and_spread(values, valid > 0)
    gain = spread / spread_goal
    return torch.cat([gain, centre - gain * centre_goal], 1)


def _residual(goal: Tensor, values: Tensor, valid: Tensor, scale: Tensor, fit: Tensor) -> tuple[Tensor, Tensor]:
    """What gain and bias do not explain, in the goal's grey levels, and the two refined by weights of that `scale`."""
    for _ in range(2):
        residual = ((values - fit[:, 1:]) / fit[:, :1] - goal) * valid
        weights = valid * _weight(residual / (CUT * scale))
        fit = _fit(goal, values, weights)
    return ((values - fit[:, 1:]) / fit[:, :1] - goal) * valid, fit


def _weight(r: Tensor) -> Tensor:
    """Geman-McClure's `(1 + r^2)^-2`: Cauchy's weights fall too slowly for the edges of a black patch."""
    return (1 + r.square()).square().reciprocal()


def _cost(residual: Tensor, valid: Tensor, scale: Tensor) -> Tensor:
    """Mean Geman-McClure loss over the valid pixels; infinite where the two pictures hardly meet."""
    total = valid.sum(1)
    r2 = (residual / (CUT * scale)).square()
    loss = (r2 / (1 + r2)).sum(1) / total.clamp(min=1)
    return torch.where(total > 0.05 * valid.shape[1], loss, torch.inf)


def fronto(depth: float) -> Float[Tensor, "1 4"]:
    """The plane that faces the camera at `depth` [m]."""
    return torch.tensor([[0.0, 0.0, 1.0, depth]], dtype=torch.float64)


def _halved(camera: Camera, times: int) -> Camera:
    return camera.resize(camera.width >> times, camera.height >> times)


def _warp(camera: Camera, goal_camera: Camera, T_goal_cam: Tensor, plane: Tensor) -> Float[Tensor, "b 3 3"]:
    """Homographies from goal pixels to current pixels: `K (R + t n^T / d) K_goal^-1` with (R, t) = T_cam_goal."""
    T = se3.inverse(T_goal_cam)
    H = T[:, :3, :3] + T[:, :3, 3:] * (plane[:, None, :3] / plane[:, 3, None, None])
    return camera.K @ H @ goal_camera.K_inv


def _fit(goal: Tensor, values: Tensor, weights: Tensor) -> Tensor:
    """Gain and bias (b, 2) that take the goal's grey levels to `values`, in weighted least squares."""
    total = weights.sum(1).clamp(min=1e-6)
    mean_goal, mean = (weights * goal).sum(1) / total, (weights * values).sum(1) / total
    centred = (goal - mean_goal[:, None]) * weights
    gain = (centred * (values - mean[:, None])).sum(1) / ((centred * (goal - mean_goal[:, None])).sum(1) + 1e-9)
    gain = gain.clamp(min=0.02)  # a negative picture is no match
    return torch.stack([gain, mean - gain * mean_goal], 1)


def _centre_and_spread(values: Tensor, valid: Tensor) -> tuple[Tensor, Tensor]:
    """Median and robust deviation (b, 1) of the valid values: 1.4826 MAD, or a quarter of the deviation where that is more.

    In a picture that is mostly paper the MAD alone measures the paper.
    """
    stride = max(1, values.shape[-1] // SUBSAMPLE)
    v = torch.where(valid[..., ::stride], values[..., ::stride], torch.nan)
    centre = v.nanmedian(-1, keepdim=True).values
    mad = 1.4826 * (v - centre).abs().nanmedian(-1, keepdim=True).values
    deviation = (v - v.nanmean(-1, keepdim=True)).square().nanmean(-1, keepdim=True).sqrt()
    return centre.nan_to_num(0.5), torch.maximum(mad, deviation / 4).nan_to_num(1.0).clamp(min=1e-3)


def _scale(residual: Tensor, valid: Tensor) -> Tensor:
    """Robust deviation (1.4826 MAD) of the valid residuals, from an even sample of them."""
    stride = max(1, residual.shape[1] // SUBSAMPLE)
    r = torch.where(valid[:, ::stride] > 0, residual[:, ::stride].abs(), torch.nan)
    return (1.4826 * r.nanmedian(1, keepdim=True).values).nan_to_num(1.0).clamp(min=1e-4)


def _correlation(goal: Tensor, values: Tensor, valid: Tensor) -> Tensor:
    """Weighted correlation coefficient of the two pictures; 0 where one of them is flat."""
    total = valid.sum(1, keepdim=True).clamp(min=1e-6)
    a = goal - (goal * valid).sum(1, keepdim=True) / total
    b = values - (values * valid).sum(1, keepdim=True) / total
    return (a * b * valid).sum(1) / ((a * a * valid).sum(1) * (b * b * valid).sum(1) + 1e-12).sqrt()
