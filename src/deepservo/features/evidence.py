"""What two registered pictures say of the pose between them: how sure it is, and where they agree.

The covariance of the twist xi, with `T_true = exp(xi) T_goal_cam`, is that of a weighted least
squares estimate whose residuals are alike inside a block of the picture and not beyond (the
"sandwich" of clustered residuals, Liang & Zeger 1986):

    C = H^-1 S H^-1 / steepness^2 + (INTERPOLATION^2 (xi^T H xi) + MODEL^2 E) H^-1
        + RELATIVE^2 xi xi^T + LEAST_PX^2 (mean of L^T L)^-1
    S = sum over the blocks of g g^T + g_all g_all^T

H and g are those of `registration_step`, whatever gain and bias are. What noise, light, covers and
a wrong model of the scene leave in the residuals is in S, as it is in the pictures, and nothing of
it is assumed. steepness: how fast a weighted residual `w r` grows with r, over w, in the mean: less
than 1, as the weights of large residuals are low, and so tell less than H has it.

g_all is the sum over all blocks: not zero where the iterations have not come to their end.

Some errors are alike all over the picture, and their blocks do not average out. Grey levels between
pixels are guesses: their error grows with the way that pixels moved, which `xi^T H xi` measures, xi
here being the twist from the goal's own pose to the estimate. Blur that one picture has more of
than the other, and light, leave residuals larger than noise would: E is the sum of `w r^2` over
what noise makes of it.

The way to the goal itself is known to a share alone, and no better than LEAST_PX of motion of the
whole picture, with L the interaction matrix of its points in pixels; by a map of depths, which has
edges, it is known less well.

From H what the noise of the gradients puts into it is taken away: along a stripe there is nothing
else, and it tells nothing.
"""

from collections.abc import Sequence
from ctypes import Structure
from typing import NamedTuple

import torch
from jaxtyping import Float, Int8
from torch import Tensor

from deepservo import native
from deepservo.features.clustered import LEAST_STEEPNESS
from deepservo.features.luminance import SMOOTH_DERIVATIVE
from deepservo.features.pairs import Pairs
from deepservo.features.registration_step import BLOCKS, Blocks, Step
from deepservo.geometry import interaction, se3

# Shares that were found on pictures of 8 scenes under all conditions of light, blur and covers.
INTERPOLATION = 0.0125  # error of a grey level between pixels, over the way that the pixels moved
MODEL = 0.04  # of the residuals that are not noise, as they move the pose
RELATIVE = 0.15  # of the way to the goal
LEAST_PX, LEAST_PX_BY_DEPTH = 8e-6, 7e-4  # of planes; of goals with a map of depths
# Of H, the share that is left at least where noise explains all of it.
LEAST_INFORMATION = 0.02
RUNS_A_THREAD = 64  # at least: one takes microseconds
POINTS = 12  # along each side of a picture, at which the noise's part of H is summed
MIN_BLOCK_SHARE = 0.5  # of a block's pixels that must be compared
MIN_TEXTURE = 4.0  # a textured block's variance over that of the noise and of TEXTURE_FLOOR
TEXTURE_FLOOR = 1e-3  # grey levels
# Of the correlation that noise would leave of two equal blocks: above it they agree. Noise may be
# estimated too high, so no less than the second number is expected.
MIN_CORRELATION_SHARE, MIN_EXPECTED = 0.7, 0.3
UNKNOWN, DIFFERS, AGREES, FLAT = 0, 1, 2, 3  # what is known of a block


class EvidenceArguments(Structure):
    """What `evidence_runs` of evidence.c reads and writes."""

    _fields_ = native.fields(
        "* H g scatters poses moments totals fits goal_noises noises planes inverse_depths",
        "i64 depth_step", "* camera covariances agree blocks excess alike", "i32 w h",
    )  # fmt: skip


class Evidence(NamedTuple):
    """Of R registered pairs of pictures.

    covariance: of the twist to the true pose, translation [m] before rotation [rad], in the goal's
    frame; not finite where the pictures leave a direction free. agree: the share of the textured
    blocks that agree. blocks: how many textured blocks both pictures show. excess: the weighted
    squares of the residuals over what noise makes of them. alike: of each block, row by row,
    UNKNOWN where it is not shown by both, FLAT where neither has texture there, DIFFERS or AGREES.
    """

    covariance: Float[Tensor, "r 6 6"]
    agree: Float[Tensor, " r"]
    blocks: Float[Tensor, " r"]
    excess: Float[Tensor, " r"]
    alike: Int8[Tensor, "r k"]

    def pick(self, index: Tensor) -> "Evidence":
        """Of these pairs."""
        return Evidence(*(each[index] for each in self))

    @classmethod
    def joined(cls, parts: "Sequence[Evidence]") -> "Evidence":
        """Of the pairs of all of these, in order."""
        return cls(*map(torch.cat, zip(*parts, strict=True)))

    def put(self, index: Tensor, other: "Evidence") -> "Evidence":
        """With these pairs' from another one."""
        return Evidence(*(a.index_copy(0, index, b) for a, b in zip(self, other, strict=True)))


def place_variance(covariance: Float[Tensor, "r 6 6"]) -> Float[Tensor, " r"]:
    """How sure the place is: the mean of the squared error of the translation [m^2]."""
    return torch.diagonal(covariance, 0, 1, 2)[:, :3].sum(1)


def evidence(T_goal_cam: Float[Tensor, "r 4 4"], found: Step, pairs: Pairs) -> Evidence:
    """From the last step of a registration, with its blocks; pairs: of the runs."""
    lib = native.library() if T_goal_cam.device.type == "cpu" else None
    if lib is None:
        return evidence_reference(T_goal_cam, found, pairs)
    assert found.blocks is not None
    goals, n = pairs.goals, len(T_goal_cam)
    (h, w), depths = goals.image.shape[-2:], goals.map
    T, fits = T_goal_cam.double().contiguous(), found.gain_bias.contiguous()
    out = Evidence(
        torch.empty(n, 6, 6, dtype=torch.float64),
        torch.empty(n),
        torch.empty(n),
        torch.empty(n),
        torch.empty(n, BLOCKS**2, dtype=torch.int8),
    )
    arguments = EvidenceArguments(
        H=found.H.data_ptr(), g=found.g.data_ptr(),
        scatters=found.blocks.scatter.data_ptr(), poses=T.data_ptr(),
        moments=found.blocks.moments.data_ptr(), totals=found.blocks.totals.data_ptr(),
        fits=fits.data_ptr(),
        goal_noises=pairs.goal_noise.data_ptr(), noises=pairs.noise.data_ptr(),
        planes=pairs.depth.data_ptr(),
        inverse_depths=None if depths is None else depths.data_ptr(),
        depth_step=h * w if depths is not None and len(depths) > 1 else 0,
        camera=pairs.intrinsics.data_ptr(), covariances=out.covariance.data_ptr(),
        agree=out.agree.data_ptr(), blocks=out.blocks.data_ptr(),
        excess=out.excess.data_ptr(), alike=out.alike.data_ptr(), w=w, h=h,
    )  # fmt: skip
    native.run(lib.evidence_runs, arguments, n, RUNS_A_THREAD)
    return out


def evidence_reference(T_goal_cam: Float[Tensor, "r 4 4"], found: Step, pairs: Pairs) -> Evidence:
    """`evidence` in plain torch."""
    assert found.blocks is not None
    C = _covariance(T_goal_cam, found, pairs)
    agree, blocks, alike = _agreement(found.blocks, (pairs.goal_noise, pairs.noise))
    excess = found.blocks.totals[:, 1] / _noise_energy(found, pairs).clamp(min=1e-12)
    return Evidence(C, agree, blocks, excess.float(), alike)


def _covariance(
    T_goal_cam: Float[Tensor, "r 4 4"], found: Step, pairs: Pairs
) -> Float[Tensor, "r 6 6"]:
    assert found.blocks is not None
    light = found.H[:, 6:, 6:] + 1e-12 * torch.eye(2, dtype=torch.float64)
    along = torch.linalg.solve(light, found.H[:, 6:, :6]).mT
    H = found.H[:, :6, :6] - along @ found.H[:, 6:, :6]
    alone = torch.cat([torch.eye(6, dtype=torch.float64).expand_as(H), -along], 2)
    left = alone @ found.g[..., None]
    S = alone @ found.blocks.scatter @ alone.mT + left @ left.mT
    root, info = torch.linalg.cholesky_ex(H)
    known = info == 0
    root = torch.where(known[:, None, None], root, torch.eye(6, dtype=torch.float64))
    to_unit = torch.linalg.solve_triangular(
        root, torch.eye(6, dtype=torch.float64).expand_as(H), upper=False
    )
    mean = _mean_information(pairs)
    share, axes = torch.linalg.eigh(to_unit @ _of_noise(found, pairs, mean) @ to_unit.mT)
    weight = 1 / (1 - share).clamp(min=LEAST_INFORMATION)
    inverse = to_unit.mT @ (axes * weight[:, None]) @ axes.mT @ to_unit
    xi = se3.log(T_goal_cam)[..., None]
    weights = found.H[:, 7, 7].clamp(min=1e-12)
    steepness = (found.blocks.totals[:, 0] / weights).clamp(min=LEAST_STEEPNESS)
    S = S / steepness.square()[:, None, None]
    energy = (found.blocks.totals[:, 1] - _noise_energy(found, pairs)).clamp(min=0)
    moved = (xi.mT @ H @ xi).clamp(min=0)
    everywhere = INTERPOLATION**2 * moved + MODEL**2 * energy[:, None, None]
    C = inverse @ S @ inverse + everywhere * inverse + RELATIVE**2 * xi @ xi.mT
    least = LEAST_PX if pairs.goals.map is None else LEAST_PX_BY_DEPTH
    C = C + least**2 * torch.linalg.pinv(mean, hermitian=True)
    return torch.where(known[:, None, None], C, torch.inf)


def _noise_energy(found: Step, pairs: Pairs) -> Float[Tensor, " r"]:
    """What noise makes of the sum of `w r^2`."""
    noise = pairs.goal_noise.square() + (pairs.noise / found.gain_bias[:, :1]).square()
    return found.H[:, 7, 7] * noise[:, 0].double()


def _mean_information(pairs: Pairs) -> Float[Tensor, "#r 6 6"]:
    """The mean of L^T L over points of the goals, L in pixels."""
    goals = pairs.goals
    camera, (h, w) = goals.camera, goals.image.shape[-2:]
    some = (
        ...,
        slice(h // POINTS // 2, None, h // POINTS),
        slice(w // POINTS // 2, None, w // POINTS),
    )
    x, y = (each[some].flatten() for each in camera.xy(torch.float64))
    if goals.map is None:
        a, b, c = goals.depth.double()[..., None].unbind(1)
        rho = a * x + b * y + c
    else:
        rho = goals.map[some].double().flatten(1)
    L = interaction.point(x, y, 1 / rho.clamp(min=1e-6))
    L = L * torch.tensor([[camera.fx], [camera.fy]], dtype=torch.float64)
    shown = (rho > 0)[..., None, None]
    return ((L.mT @ L) * shown).sum(1) / shown.sum(1).clamp(min=1)


def _of_noise(found: Step, pairs: Pairs, mean: Float[Tensor, "#r 6 6"]) -> Float[Tensor, "r 6 6"]:
    """What the noise of the gradients adds to H of the twist."""
    goal_noise, view_noise = pairs.goal_noise, pairs.noise
    ratio = (view_noise / goal_noise).square().clamp(1e-4, 1e4)
    gain = found.gain_bias[:, :1]
    share = ratio / (ratio + gain.square())
    variance = (share * goal_noise).square() + ((1 - share) / gain * view_noise).square()
    variance = variance * SMOOTH_DERIVATIVE.square().sum()
    return (variance * found.H[:, 7, 7:])[..., None].double() * mean


def _agreement(
    blocks: Blocks, noises: tuple[Float[Tensor, "#r 1"], Float[Tensor, "r 1"]]
) -> tuple[Float[Tensor, " r"], Float[Tensor, " r"], Int8[Tensor, "r k"]]:
    """The share of textured blocks that agree, how many there are, and what is known of each."""
    n, a, b, aa, bb, ab = blocks.moments.flatten(1, 2).unbind(-1)
    whole = n.amax(1, keepdim=True).clamp(min=1)
    seen, n = n > MIN_BLOCK_SHARE * whole, n.clamp(min=1)
    aa, bb, ab = (
        each / n - one * other / n**2 for each, one, other in ((aa, a, a), (bb, b, b), (ab, a, b))
    )
    noise_a, noise_b = (each.square() for each in noises)
    least = TEXTURE_FLOOR**2
    pure_a, pure_b = (aa - noise_a).clamp(min=0), (bb - noise_b).clamp(min=0)
    textured = seen & (
        torch.maximum(pure_a / (noise_a + least), pure_b / (noise_b + least)) > MIN_TEXTURE
    )
    aa, bb = aa.clamp(min=least), bb.clamp(min=least)
    expected = (pure_a / aa * pure_b / bb).sqrt().clamp(min=MIN_EXPECTED)
    agrees = textured & (ab / (aa * bb).sqrt() > MIN_CORRELATION_SHARE * expected)
    count = textured.float().sum(1)
    alike = torch.full(n.shape, UNKNOWN, dtype=torch.int8)
    for kind, where in ((FLAT, seen), (DIFFERS, textured), (AGREES, agrees)):
        alike = alike.masked_fill(where, kind)
    return agrees.float().sum(1) / count.clamp(min=1), count, alike
