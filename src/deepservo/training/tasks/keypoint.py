"""What a keypoint network learns from: two views of a plane, and their homography (Tang 2020)."""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from deepservo.nets.keypoint import Found, KeypointNet, OutlierNet
from deepservo.nets.precision import half_precision
from deepservo.training.tasks.pair import AnySceneTask

SIZE = 160  # pixels of a side of the pictures that are learned from
PAIR_PX = 4.0  # points nearer than this in both pictures are one
WRONG_PX = 8.0  # a point at least so far from the right one is a wrong match
REACH = 0.6  # of `pairs`: servoing near the goal matters more than matching from afar
WEIGHTS = {"place": 1.0, "score": 1.0, "descriptor": 2.0, "outlier": 0.5}


class Learner(nn.Module):
    """A KeypointNet, and the network of outliers that only its training needs."""

    def __init__(self, net: KeypointNet) -> None:
        super().__init__()
        self.net, self.outliers = net, OutlierNet()


@dataclass(frozen=True)
class KeypointTask(AnySceneTask):
    """A network learns to find the same points in two views and to match them.

    The loss is the sum of all four losses of the paper, weighted by WEIGHTS.
    """

    batch: int = 8
    rate: float = 2e-3

    def loss(self, learner: Learner, seed: int, step: int) -> Tensor:
        """The weighted sum of `losses`."""
        a, b, H, coverage = self.found(learner.net, seed, step)
        found = losses(learner, a, b, H, coverage)
        return torch.stack([WEIGHTS[name] * value for name, value in found.items()]).sum()

    def found(
        self, net: KeypointNet, seed: int, step: int
    ) -> tuple[Found, Found, Float[Tensor, "b 3 3"], Float[Tensor, "b h w"]]:
        """The points of both views, their homography, and what of the second is covered.

        The homography takes the first view's pixels to the second's. Covered is what shows the
        picture.
        """
        n = self.batch
        views = self.views(n, SIZE, seed, step, REACH)
        with half_precision():
            found = net(views.images)
        first, second = found.halves()
        H = views.to_pixels[n:] @ torch.linalg.inv(views.to_pixels[:n])
        return first, second, H, views.coverage[n:]


def warped(H: Float[Tensor, "b 3 3"], px: Float[Tensor, "b n 2"]) -> Float[Tensor, "b n 2"]:
    """Pixels through homographies; far outside the picture where they go behind the camera."""
    p = torch.cat([px, torch.ones_like(px[..., :1])], -1) @ H.to(px.dtype).mT
    return torch.where(p[..., 2:] > 1e-6, p[..., :2] / p[..., 2:].clamp(min=1e-6), -1e4)


def losses(
    learner: Learner, a: Found, b: Found, H: Float[Tensor, "b 3 3"], covered: Float[Tensor, "b h w"]
) -> dict[str, Tensor]:
    """The losses of place, score, descriptor and outlier of Tang et al. 2020.

    That of descriptors is the cross-entropy of the matches. H takes the pixels of a to those of b;
    covered: what of b shows the picture.
    """
    size = covered.shape[-1]
    there = warped(H, a.px)
    inside = _inside(there, covered)
    apart = torch.cdist(there, b.px)
    nearest, which = apart.min(-1)
    paired = inside & (nearest < PAIR_PX)
    of_a, of_b = a.scores, b.scores.gather(1, which)
    near = nearest[paired]
    place = near.mean() if len(near) else nearest.sum() * 0
    # A pair that lies nearer than the mean is to be surer than one that lies farther, and both
    # views equally sure.
    usual = near.detach().mean() if len(near) else place
    score = _mean((of_a + of_b) / 2 * (nearest.detach() - usual) + (of_a - of_b).square(), paired)
    like = a.describe(a.px) @ b.describe(b.px).mT * learner.net.sharpness.exp()
    right, wrong = apart.detach() < PAIR_PX, apart.detach() > WRONG_PX
    logits = like.masked_fill(~(right | wrong), -torch.inf)
    hit = like.gather(-1, which[..., None])[..., 0]
    descriptor = _mean(logits.logsumexp(-1) - hit, paired)
    best, guess = like.max(-1)
    unlike = 1 - best / learner.net.sharpness.exp()
    places = [
        2 * px / size - 1
        for px in (a.px.detach(), b.px.detach().gather(1, guess[..., None].expand(-1, -1, 2)))
    ]
    judged = learner.outliers(torch.cat([*places, unlike[..., None]], -1))
    correct = (apart.detach().gather(-1, guess[..., None])[..., 0] < PAIR_PX).float()
    outlier = nn.functional.binary_cross_entropy_with_logits(judged, correct)
    return {"place": place, "score": score, "descriptor": descriptor, "outlier": outlier}


def _inside(px: Float[Tensor, "b n 2"], covered: Float[Tensor, "b h w"]) -> Bool[Tensor, "b n"]:
    """Whether pixels lie in the picture and show something."""
    h, w = covered.shape[-2:]
    u, v = px.detach().round().long().unbind(-1)
    within = (u >= 0) & (u < w) & (v >= 0) & (v < h)
    index = v.clamp(0, h - 1) * w + u.clamp(0, w - 1)
    return within & (covered.flatten(1).gather(1, index) > 0.5)


def _mean(values: Tensor, chosen: Tensor) -> Tensor:
    return (values * chosen).sum() / chosen.sum().clamp(min=1)
