"""Coarse to fine: a coarse method brings the camera near, photometric registration brings it home.

Evidence decides, run by run and step by step. What the coarse method believes (the pose that its
velocity answers) is the guess that registration starts from; when the warped picture then agrees
with the goal's, the pose is trusted and steers. While it agrees it follows from step to step; when
it stops agreeing, the coarse method steers again.
"""

import torch
from torch import Tensor

from deepservo import control
from deepservo.features.registration import ACQUIRE, AGREE, OVERLAP, Registration, Views, fronto
from deepservo.geometry import se3
from deepservo.images.pictures import grey
from deepservo.methods.base import Controller, Refinement
from deepservo.methods.direct import one_depth

HOLD = 0.45  # agreement above which a pose that is trusted goes on being trusted
WITNESSED = 0.3  # the same for both where the coarse method speaks for the pose
NEARBY = (
    (2, 8),
)  # (level, iterations): what ACQUIRE begins with is too coarse where much is covered
SURE = 0.8  # agreement above which no other pose is looked for
BETTER = 0.02  # agreement by which another pose must be better
REVIEW = 5  # steps from one look for a better pose to the next
PATIENCE = 3  # steps without agreement before the coarse method steers again
NEAR = 0.005  # of the depth: when closer than this, register at full size too


class CoarseToFine(Refinement):
    """`coarse`, then photometric registration on a plane `depth` [m] before the goal; PBVS on the
    registered pose.

    `coarse` is any controller; what it sees in colour, the registration sees in grey. Where it
    knows the goal's plane and a cleaner picture of it (`reference_goal`), those are used.
    """

    def __init__(self, coarse: Controller, depth: float = 0.6, gain: float = 0.1) -> None:
        super().__init__(coarse, gain)
        self.depth, self.colour = one_depth(depth), coarse.colour

    def _set_goal(self, goal: Tensor) -> None:
        self.coarse.set_goal(goal)
        picture, plane = self.coarse.reference_goal(goal) or (
            grey(goal),
            fronto(self.depth).expand(len(goal), 4),
        )
        self.registration = Registration(self.camera, picture, plane)

    def _start(self, n: int) -> None:
        self.step = 0
        self.state = {
            "T_goal_cam": torch.eye(4, dtype=torch.float64).repeat(n, 1, 1),
            "v_cam": torch.zeros(n, 6, dtype=torch.float64),
            "tracking": torch.zeros(n, dtype=torch.bool),
            "misses": torch.zeros(n, dtype=torch.int64),
            "agreement": torch.zeros(n),
            "keypoints_confirm": torch.zeros(n, dtype=torch.bool),
            "keypoints_reject": torch.zeros(n, dtype=torch.bool),
        }

    def select_runs(self, index: Tensor) -> None:
        """Go on with these runs alone, here, in the coarse method and in the registration."""
        super().select_runs(index)
        self.registration.select_runs(index)

    def status(self, n: int) -> list[str]:
        """Which stage steers, the agreement that it goes by, and what the coarse method says."""
        state = zip(
            self.state["tracking"].tolist(),
            self.state["agreement"].tolist(),
            self.coarse.status(n),
            strict=True,
        )
        stages = ("steered by the coarse method", "in the photometric finish")
        return [
            f"{stages[trusted]}, agreement {agreement:.2f}{', ' * bool(more)}{more}"
            for trusted, agreement, more in state
        ]

    def _velocity(self, image: Tensor) -> Tensor:
        if not self.state:
            self._start(len(image))
        state, views = self.state, self.registration.views(grey(image))
        guess = state["T_goal_cam"] @ se3.exp(state["v_cam"] * self.dt)
        if state["tracking"].any():
            self._follow(views, guess, state["tracking"].nonzero().flatten())
        self.step += 1
        doubted = ~state["tracking"]
        if self.step % REVIEW == 0:
            doubted |= state["agreement"] < SURE
        v_coarse = state["v_cam"].clone()
        if doubted.any():
            runs = doubted.nonzero().flatten()
            v_coarse[runs] = self.coarse.velocity_of(image[runs], runs, len(image))
            self._acquire(views, control.pose_of_pbvs(v_coarse[runs], self.coarse.gain), runs)
        v_cam = torch.where(
            state["tracking"][:, None], control.pbvs(state["T_goal_cam"], self.gain), v_coarse
        )
        state["v_cam"] = v_cam
        return v_cam

    def _follow(self, views: Views, guess: Tensor, runs: Tensor) -> None:
        """Refine the trusted runs from where they should be by now; a few misses are forgiven, at
        the predicted pose.
        """
        state, T = self.state, guess[runs]
        near = (
            T[:, :3, 3].norm(dim=1) < NEAR * self.registration.plane[:, 3].expand(len(guess))[runs]
        )
        for part, schedule in ((near, ((2, 0), (1, 2), (0, 1))), (~near, ((2, 3), (1, 3)))):
            if part.any():
                T[part] = self.registration.refine(views, T[part], schedule, runs[part])
        agreement, agree = self._agree(
            views, T, runs, torch.where(state["keypoints_confirm"][runs], WITNESSED, HOLD)
        )
        state["T_goal_cam"][runs] = torch.where(agree[:, None, None], T, guess[runs])
        state["agreement"][runs] = agreement
        state["misses"][runs] = torch.where(agree, 0, state["misses"][runs] + 1)
        state["tracking"][runs] = state["misses"][runs] < PATIENCE

    def _acquire(self, views: Views, coarse: Tensor, runs: Tensor) -> None:
        """Try to register runs from the coarse method's pose; a run that is trusted already goes
        over to a better match.

        One whose pose the coarse method knows to be wrong is trusted no longer, unless the pictures
        agree beyond doubt.
        """
        state = self.state
        T = self._registered(views, coarse, runs)
        witness = self.coarse.pose_consistency(T, runs)
        held = state["tracking"][runs]
        state["keypoints_reject"][runs] |= held & (
            self.coarse.pose_consistency(state["T_goal_cam"][runs], runs) < 0
        )
        refuted = state["keypoints_reject"][runs]
        agreement, agree = self._agree(
            views, T, runs, torch.where(refuted, SURE, torch.where(witness > 0, WITNESSED, AGREE))
        )
        agree &= witness >= 0
        take = ~held | refuted | (agree & (agreement > state["agreement"][runs] + BETTER))
        runs = runs[take]
        state["T_goal_cam"][runs], state["agreement"][runs] = T[take], agreement[take]
        state["tracking"][runs], state["misses"][runs] = agree[take], 0
        state["keypoints_confirm"][runs] = witness[take] > 0

    def _registered(self, views: Views, coarse: Tensor, runs: Tensor) -> Tensor:
        """Poses refined from the coarse method's: from as far off as it may be, or from near by,
        whichever agrees more.
        """
        far, near = (
            self.registration.refine(views, coarse, schedule, runs)
            for schedule in (ACQUIRE, NEARBY)
        )
        better = (
            self.registration.agreement(views, near, runs).agreement
            > self.registration.agreement(views, far, runs).agreement
        )
        return torch.where(better[:, None, None], near, far)

    def _agree(self, views: Views, T: Tensor, runs: Tensor, least: Tensor) -> tuple[Tensor, Tensor]:
        found = self.registration.agreement(views, T, runs)
        return found.agreement, (found.agreement > least) & (found.seen > OVERLAP)


class ZeroVelocity(Controller):
    """Does not move: the coarse method of the photometric stage alone, which then starts from the
    goal's own pose.
    """

    def _set_goal(self, goal: Tensor) -> None:
        pass

    def _velocity(self, image: Tensor) -> Tensor:
        return torch.zeros(len(image), 6, dtype=torch.float64)
