"""Photometric registration: from two pictures of a plane and a first guess, the pose between them, and the evidence for it.

The guess `T_goal_cam` warps the current picture onto the goal's, where both are compared pixel by pixel, lit alike by a gain
and a bias:

    r = (I_warped - bias) / gain - I_goal,    r = L xi + what covers a part of either picture

Weighted least squares give the twist xi, `T_goal_cam <- exp(xi) T_goal_cam`, coarse to fine. L comes from the gradients of
both pictures, each counted as far as it can be trusted: alike where both are clean (then the step is of second order, as
in ESM, Benhimane & Malis 2004), the goal's alone where the view is noisy, the view's alone where the goal is. (Noise in
the gradient that one solves with makes every step wrong, along the axis most of all.) Weights are Geman-McClure's, so what
covers a part of either picture has hardly any say.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from deepservo.camera import Camera
from deepservo.features.luminance import gradient
from deepservo.geometry import interaction, se3
from deepservo.sampler import Pyramid, build_pyramid, sample

AGREE = 0.55  # agreement above which two pictures, at a quarter of their size, show the same thing
OVERLAP = 0.2  # share of the goal's pixels that must be seen for that
EVIDENCE = 2  # the level at which they are compared: fine enough to tell places apart, and coarse enough for noise to average out
WINDOW = 7  # pixels of that level that are compared with each other
FLAT = 0.01  # of a picture's variance, and
NOISY = 4  # of its noise's: what varies less is flat
NOISE_LEFT = 70 / 256  # of the noise's deviation, by the 5 x 5 binomial
LEVELS = 4  # full size, then halved each time
SMOOTHED = 2  # first level that is smoothed: it widens the basin, and at the finer ones would blur the edges of a cover into the picture
ACQUIRE = ((3, 12), (2, 6))  # (level, iterations) that refine a first guess
MARGIN = 3  # pixels whose gradient would reach over the border
CUT = 2.385  # deviations at which a residual's weight has fallen to a quarter
FLOOR = (0.05, 0.1, 0.2, 0.3)  # least deviation of the residuals by level, in deviations of the goal's grey levels
DAMPING = (1e-9, 1e-4, 1e-3, 1e-2)  # least by level: a turn and a shift that look alike at a coarse level are left to the finer ones
LONGEST = 0.2  # of a step [m, rad]
SUBSAMPLE = 4096  # pixels that estimate a scale


@dataclass(frozen=True)
class _Level:
    """One size of the goals: grey levels (G, h, w), their gradient per normalised unit, the pixels' x, y and depth."""

    camera: Camera
    image: Tensor
    gx: Tensor
    gy: Tensor
    x: Tensor
    y: Tensor
    Z: Tensor
    inside: Tensor
    deviation: Tensor

    def pick(self, index: Tensor) -> "_Level":
        """The goals of these runs."""
        return _Level(
            self.camera, self.image[index], self.gx[index], self.gy[index], self.x, self.y, self.Z[index], self.inside[index],
            self.deviation[index],
        )  # fmt: skip


@dataclass(frozen=True)
class Views:
    """What the cameras see, at every level, and the deviation of its noise in grey levels (B, 1)."""

    levels: list[Float[Tensor, "b 1 _ _"]]
    noise: Float[Tensor, "b 1"]


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
        self.plane, self.noise = plane.double(), _noise(goal)
        self.cameras = [_halved(camera, i) for i in range(LEVELS)]
        self.levels = [self._level(_smoothed(goal, _halved(goal_camera, i), i), _halved(goal_camera, i)) for i in range(LEVELS)]

    def _level(self, image: Tensor, camera: Camera) -> _Level:
        x, y = camera.xy()
        n, d = self.plane[:, :3, None, None].float(), self.plane[:, 3, None, None].float()
        inverse_depth = (n[:, 0] * x + n[:, 1] * y + n[:, 2]) / d
        inside = torch.zeros(camera.height, camera.width)
        inside[MARGIN:-MARGIN, MARGIN:-MARGIN] = 1
        gx, gy = gradient(image)
        deviation = _centre_and_spread(image.flatten(1), inside.flatten() > 0)[1]
        inside = inside * (inverse_depth > 0)
        return _Level(camera, image[:, 0], gx * camera.fx, gy * camera.fy, x, y, 1 / inverse_depth, inside, deviation)

    def keep(self, index: Tensor) -> None:
        """Go on with these goals alone (nothing to do where all runs share one)."""
        if len(self.plane) > 1:
            self.plane, self.noise = self.plane[index], self.noise[index]
            self.levels = [level.pick(index) for level in self.levels]

    def views(self, images: Float[Tensor, "b 1 h w"]) -> Views:
        """Pictures of the camera made ready for `refine` and `agreement`."""
        return Views([_smoothed(images, camera, i) for i, camera in enumerate(self.cameras)], _noise(images))

    def refine(
        self, views: Views, T_goal_cam: Float[Tensor, "r 4 4"], schedule: tuple[tuple[int, int], ...], runs: Tensor
    ) -> Float[Tensor, "r 4 4"]:
        """Refine poses by (level, iterations) after (level, iterations); `runs` (r,) names the view, and the goal, of each."""
        T = T_goal_cam.double()
        for level, iterations in schedule:
            T = self._align(views.levels[level][runs], views.noise[runs], T, level, iterations, runs)
        return T

    def agreement(self, views: Views, T_goal_cam: Float[Tensor, "r 4 4"], runs: Tensor) -> tuple[Float[Tensor, " r"], Float[Tensor, " r"]]:
        """How far the view, warped by each pose, and the goal show the same, 0 to 1; and the share of the goal's pixels seen."""
        goal, plane, noise_goal = self._goals(EVIDENCE, runs)
        pyramid = build_pyramid(views.levels[EVIDENCE][runs], antialias=False)
        warped, valid = self._warped(pyramid, T_goal_cam, EVIDENCE, goal, plane)
        left = (NOISE_LEFT / 2**EVIDENCE) ** 2
        noises = (left * noise_goal.square()[:, :, None], left * views.noise[runs].square()[:, :, None])
        return _local_correlation(goal.image, warped, valid, noises), valid.mean((1, 2))

    def _goals(self, level: int, runs: Tensor) -> tuple[_Level, Tensor, Tensor]:
        """The goals of these runs, their planes and their noise."""
        if len(self.plane) == 1:
            return self.levels[level], self.plane, self.noise
        return self.levels[level].pick(runs), self.plane[runs], self.noise[runs]

    def _warped(self, pyramid: Pyramid, T: Tensor, level: int, goal: _Level, plane: Tensor) -> tuple[Tensor, Tensor]:
        """The view on the goal's pixels (b, h, w), and 1 where it and its gradient can be used."""
        camera = goal.camera
        H = _warp(self.cameras[level], camera, T, plane)
        warped, coverage = sample(pyramid, H, (camera.height, camera.width), torch.zeros(1, 1))
        whole = -torch.nn.functional.max_pool2d((coverage < 0.999).float()[:, None], 3, 1, 1)[:, 0] + 1
        return warped[:, 0], whole * goal.inside

    def _align(self, images: Tensor, noise: Tensor, T: Tensor, level: int, iterations: int, runs: Tensor) -> Tensor:
        """Levenberg-Marquardt at one level: a step that does not lower the cost is taken back and damped more."""
        goal, plane, noise_goal = self._goals(level, runs)
        pyramid, B = build_pyramid(images, antialias=False), len(T)
        floor = (FLOOR[level] * goal.deviation).expand(B, 1)
        mu, cost, scale = torch.full((B,), max(1e-4, DAMPING[level]), dtype=torch.float64), torch.full((B,), torch.inf), 2 * floor
        T_best, H, g = T, torch.zeros(B, 8, 8, dtype=torch.float64), torch.zeros(B, 8, dtype=torch.float64)
        for i in range(iterations + 1):
            warped, valid = self._warped(pyramid, T, level, goal, plane)
            image, values, valid_k = goal.image.flatten(1), warped.flatten(1), valid.flatten(1)
            if i == 0:
                fit = _first_fit(image, values, valid_k)
            ratio = (noise / noise_goal).square().clamp(1e-4, 1e4)
            residual, fit = _residual(image, values, valid_k, scale, fit, ratio)
            better = _cost(residual, valid_k, scale) <= cost
            T_best = torch.where(better[:, None, None], T, T_best)
            if i == iterations:
                break
            mu = torch.where(better, mu * 0.1, mu * 10).clamp(DAMPING[level], 1e3)
            new_scale = torch.maximum(_scale(residual, valid_k), floor)
            scale = torch.where(better[:, None], new_scale, scale)
            cost = torch.where(better, _cost(residual, valid_k, scale), cost)
            weights = valid_k * _weight(residual / (CUT * new_scale))
            share = ratio / (ratio + fit[:, :1].square())  # the goal's share in the gradient: the view's noise is ratio / gain^2 of its own
            H_new, g_new = _normal_equations(goal, warped, fit, share, residual, weights)
            H, g = torch.where(better[:, None, None], H_new, H), torch.where(better[:, None], g_new, g)
            T = se3.exp(_twist(H, g, mu)) @ T_best
        return T_best


def _normal_equations(
    goal: _Level, warped: Float[Tensor, "b h w"], fit: Tensor, share: Tensor, residual: Tensor, weights: Tensor
) -> tuple[Float[Tensor, "b 8 8"], Float[Tensor, "b 8"]]:
    """`J^T W J` and `J^T W r`, float64, of J = [L, I, 1]: what is left of gain and bias is solved along with the twist."""
    gain, bias, share = fit[:, :1, None], fit[:, 1:, None], share[:, :, None]
    gx, gy = gradient(warped[:, None])
    gx = share * goal.gx + (1 - share) / gain * goal.camera.fx * gx
    gy = share * goal.gy + (1 - share) / gain * goal.camera.fy * gy
    image = share * goal.image + (1 - share) / gain * (warped - bias)
    J = torch.cat([interaction.luminance(gx, gy, goal.x, goal.y, goal.Z), image[..., None], torch.ones_like(image)[..., None]], -1)
    J = J.flatten(1, 2)
    weighted = (J * weights[..., None]).mT
    return torch.bmm(weighted, J).double(), torch.bmm(weighted, residual[..., None])[..., 0].double()


def _twist(H: Tensor, g: Tensor, mu: Tensor) -> Float[Tensor, "b 6"]:
    """The twist of the damped system, at most LONGEST (m or rad)."""
    diagonal = torch.diagonal(H, dim1=1, dim2=2)
    ridge = diagonal * mu[:, None] * (torch.arange(8) < 6) + 1e-12 * diagonal.amax(1, keepdim=True) + 1e-12
    twist = torch.linalg.solve(H + torch.diag_embed(ridge), g)[:, :6]
    return twist / (twist.abs().amax(1, keepdim=True) / LONGEST).clamp(min=1)


def _first_fit(goal: Tensor, values: Tensor, valid: Tensor) -> Tensor:
    """Gain and bias (b, 2) from medians alone: a black patch on either picture would drag least squares away."""
    centre_goal, spread_goal = _centre_and_spread(goal, valid > 0)
    centre, spread = _centre_and_spread(values, valid > 0)
    gain = spread / spread_goal
    return torch.cat([gain, centre - gain * centre_goal], 1)


def _residual(goal: Tensor, values: Tensor, valid: Tensor, scale: Tensor, fit: Tensor, ratio: Tensor) -> tuple[Tensor, Tensor]:
    """What gain and bias do not explain, in the goal's grey levels, and the two refined by weights of that `scale`."""
    for _ in range(2):
        residual = ((values - fit[:, 1:]) / fit[:, :1] - goal) * valid
        fit = _fit(goal, values, valid * _weight(residual / (CUT * scale)), ratio)
    return ((values - fit[:, 1:]) / fit[:, :1] - goal) * valid, fit


def _fit(goal: Tensor, values: Tensor, weights: Tensor, ratio: Tensor) -> Tensor:
    """Gain and bias (b, 2) that take the goal's grey levels to `values`, both noisy, `ratio` of their noises' variances known.

    Deming's regression: plain least squares takes the noise of the goal for contrast, and finds too small a gain.
    """
    total = weights.sum(1, keepdim=True).clamp(min=1e-6)
    mean_goal, mean = (weights * goal).sum(1, keepdim=True) / total, (weights * values).sum(1, keepdim=True) / total
    a, b = goal - mean_goal, values - mean
    aa, bb, ab = (weights * a * a).sum(1, keepdim=True), (weights * b * b).sum(1, keepdim=True), (weights * a * b).sum(1, keepdim=True)
    q = bb - ratio * aa
    gain = (q + (q * q + 4 * ratio * ab * ab).sqrt()) / (2 * ab).clamp(min=1e-9)
    gain = torch.where(ab > 0, gain, 0.0).clamp(0.02, 50)  # a negative picture is no match
    return torch.cat([gain, mean - gain * mean_goal], 1)


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


def _smoothed(images: Tensor, camera: Camera, level: int) -> Tensor:
    """The pictures at one level, under a 5 x 5 binomial where that level is smoothed."""
    images = resize(images, camera)
    if level < SMOOTHED:
        return images
    taps = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
    images = torch.nn.functional.conv2d(torch.nn.functional.pad(images, (2, 2, 0, 0), mode="replicate"), taps[None, None, None, :])
    return torch.nn.functional.conv2d(torch.nn.functional.pad(images, (0, 0, 2, 2), mode="replicate"), taps[None, None, :, None])


def _noise(images: Float[Tensor, "b 1 h w"]) -> Float[Tensor, "b 1"]:
    """Deviation of the noise, from what a plane through 3 x 3 pixels does not explain (after Immerkaer 1996), by its median."""
    taps = torch.tensor([[1.0, -2.0, 1.0], [-2.0, 4.0, -2.0], [1.0, -2.0, 1.0]]) / 6
    rough = torch.nn.functional.conv2d(images, taps[None, None]).abs().flatten(1)
    return 1.4826 * rough[:, :: max(1, rough.shape[1] // SUBSAMPLE)].median(1, keepdim=True).values.clamp(min=1e-4)


def _warp(camera: Camera, goal_camera: Camera, T_goal_cam: Tensor, plane: Tensor) -> Float[Tensor, "b 3 3"]:
    """Homographies from goal pixels to current pixels: `K (R + t n^T / d) K_goal^-1` with (R, t) = T_cam_goal."""
    T = se3.inverse(T_goal_cam)
    H = T[:, :3, :3] + T[:, :3, 3:] * (plane[:, None, :3] / plane[:, 3, None, None])
    return camera.K @ H @ goal_camera.K_inv


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


def _local_correlation(goal: Tensor, warped: Tensor, valid: Tensor, noises: tuple[Tensor, Tensor]) -> Float[Tensor, " b"]:
    """Mean correlation of the pictures (b, h, w) over small windows, counted as far as one of the two is not flat there.

    `noises` are the variances of theirs. What covers a part spoils its windows and no more. A correlation of the whole would
    believe any two pictures that are bright on the same side.
    """

    def mean(values: Tensor) -> Tensor:
        return torch.nn.functional.avg_pool2d(values, WINDOW, WINDOW // 2)

    def flat(values: Tensor, noise: Tensor) -> Tensor:
        centre = values.sum((1, 2), keepdim=True) / total
        return FLAT * (values.square().sum((1, 2), keepdim=True) / total - centre.square()).clamp(min=1e-9) + NOISY * noise

    share, total = mean(valid), valid.sum((1, 2), keepdim=True).clamp(min=1)
    used, share = (share > 0.6).float(), share.clamp(min=1e-6)
    a, b = goal * valid, warped * valid
    mean_a, mean_b = mean(a) / share, mean(b) / share
    aa, bb, ab = mean(a * a) / share - mean_a.square(), mean(b * b) / share - mean_b.square(), mean(a * b) / share - mean_a * mean_b
    flat_a, flat_b = flat(a, noises[0]), flat(b, noises[1])
    aa, bb = aa.clamp(min=0), bb.clamp(min=0)
    rho = ab / ((aa + flat_a) * (bb + flat_b)).sqrt()
    weight = used * torch.maximum(aa / (aa + flat_a), bb / (bb + flat_b))
    return (rho * used).sum((1, 2)) / weight.sum((1, 2)).clamp(min=1)
