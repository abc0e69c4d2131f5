"""What keeps a pose from being known better: what the differences of the two pictures are made of.

Of the blocks that agree, the squared residuals of the goal's grey levels and the view's are noise
as far as the pictures are noisy; light as far as a gain and a bias of each block's own explain
them; and else that one picture is less sharp than the other.
"""

from enum import Enum

import torch

from deepservo.features.estimation import AS_IT_IS
from deepservo.features.evidence import AGREES, evidence
from deepservo.features.registration import Registration, Views
from deepservo.features.registration_step import Step

MIN_AGREEING = 0.7  # share of the textured blocks: where fewer agree, that is the cause
MIN_BLOCKS = 60  # textured, of all 256: where fewer are, that is, or noise that hides texture
MUCH_NOISE = 0.03  # grey levels, of both pictures


class Cause(Enum):
    """What keeps a pose from being known better."""

    NOISE = "noise"
    LIGHT = "light that is not the goal's"
    BLUR = "blur of one picture"
    COVERS = "parts of the picture that look different"
    TEXTURE = "too little texture"


def cause(registration: Registration, views: Views, T_goal_cam: torch.Tensor, run: int) -> Cause:
    """The main one for this run at its pose (4, 4)."""
    runs = torch.tensor([run])
    T, found, pairs = registration.registered(views, T_goal_cam[None], AS_IT_IS, runs)
    seen = evidence(T, found, pairs)
    noise = (pairs.goal_noise.square() + (pairs.noise / found.gain_bias[:, :1]).square()).item()
    if seen.blocks < MIN_BLOCKS:
        return Cause.NOISE if noise > MUCH_NOISE**2 else Cause.TEXTURE
    if seen.agree < MIN_AGREEING:
        return Cause.COVERS
    pixels, whole, local = _energies(found, seen.alike[0] == AGREES)
    shares = {
        Cause.NOISE: noise * pixels,
        Cause.LIGHT: whole - local,
        Cause.BLUR: local - noise * pixels,
    }
    return max(shares, key=lambda each: shares[each])


def _energies(found: Step, used: torch.Tensor) -> tuple[float, float, float]:
    """Pixels of these blocks, and their squared residuals by the picture's gain and bias, and by
    each block's own.
    """
    assert found.blocks is not None
    n, a, b, aa, bb, ab = found.blocks.moments[0].flatten(0, 1)[used].double().unbind(1)
    gain, bias, _ = found.gain_bias[0].double()
    whole = (bb - 2 * bias * b + n * bias**2) / gain**2 - 2 * (ab - bias * a) / gain + aa
    aa, bb, ab = aa - a * a / n, bb - b * b / n, ab - a * b / n
    local = aa - ab.square() / bb.clamp(min=1e-9)
    return float(n.sum()), float(whole.sum()), float(local.sum())
