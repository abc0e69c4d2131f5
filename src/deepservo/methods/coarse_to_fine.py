"""Coarse to fine: a coarse method brings the camera near, photometric registration refines.

At every step, and for every run alone, the agreement of the two pictures decides which of the two
steers. The pose that explains the coarse method's velocity is the guess that registration starts
from. Where the picture, warped by the registered pose, agrees with the goal's, that pose steers and
is tracked from step to step. When it stops agreeing, the coarse method steers again.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from deepservo import control
from deepservo.features.estimation import Estimated, estimate
from deepservo.features.fusion import Fused, fuse
from deepservo.features.near_goal import near_goal
from deepservo.features.registration import (
    FIRST_GUESS_SCHEDULE,
    MIN_OVERLAP,
    SAME_PLACE_AGREEMENT,
    Registration,
    Schedule,
    Views,
)
from deepservo.images.depth import Depth
from deepservo.images.pictures import grey
from deepservo.methods.base import Controller, Reference
from deepservo.methods.refinement import (
    MAX_MISSES,
    MIN_AGREEMENT_GAIN,
    REVIEW_INTERVAL,
    Refinement,
)
from deepservo.methods.verdict import Belief

AGREEMENT_TO_KEEP_TRACKING = 0.45  # a tracked pose goes on steering above this agreement
AGREEMENT_IF_CONFIRMED = 0.3  # in the place of both where the keypoints confirm the pose
AGREEMENT_NOT_REVIEWED = 0.8  # above this agreement no better pose is looked for
# Refines a guess that is near already, where FIRST_GUESS_SCHEDULE begins too coarse: where much of
# a picture is covered.
NEAR_GUESS_SCHEDULE: Schedule = ((2, 8),)
TRACKING_SCHEDULE: Schedule = ((2, 3), (1, 3))
# Share of the picture's width: where a registered pose sees the goal farther from where the
# camera's motion leads it, the scene is another than is assumed, or the motion than is known: so
# many times in a run the coarse method is asked which.
SURPRISE, MAX_SURPRISES = 0.01, 3
SURELY = 4  # by so much the way of a point may be longer than that of one on the axis
DEPTH_DISTANCE = 0.02  # share of the depth: nearer to the goal no depth is looked for
FULL_SIZE_DISTANCE = 0.005  # share of the depth: nearer to the goal it is registered at full size


FUSED = Fused._fields  # of the state


class CoarseToFine(Refinement):
    """`coarse`, then photometric registration and PBVS on the registered pose.

    depth: of the goal's scene; by a map each pixel is registered by its own. `coarse` is any
    controller; what it sees in colour, the registration sees in grey. The goal's plane or its map,
    and a cleaner picture of it, are the coarse method's where it has them (`reference_goal`) and no
    map is given. Raises InputError where depth is none.
    """

    def __init__(self, coarse: Controller, depth: Depth = None, gain: float = 0.1) -> None:
        super().__init__(coarse, depth, gain)
        self.colour = coarse.colour

    def _set_goal(self, goal: Tensor) -> None:
        self.coarse.set_goal(goal)
        known = self.goal_depth
        reference = self.coarse.reference_goal(goal) if known.Z is None else None
        if reference is None:
            reference = Reference(grey(goal), known.planes(len(goal)), known.inverse())
        self.registration = Registration(self.camera, reference.picture, reference.planes)
        if reference.inverse_depth is not None:
            self.registration.set_depth(reference.inverse_depth)
        self.inspection.use(self.registration)

    def _start(self, n: int) -> None:
        self.step, repeats = 0, self.inspection.repeats
        assert repeats is not None
        nothing = Fused.nothing(torch.eye(4, dtype=torch.float64).repeat(n, 1, 1))
        self.state = {
            **nothing._asdict(),
            "tracking": torch.zeros(n, dtype=torch.bool),
            "steady": torch.zeros(n, dtype=torch.bool),
            "misses": torch.zeros(n, dtype=torch.int64),
            "agreement": torch.zeros(n),
            "recognised": torch.zeros(n, dtype=torch.bool),
            "was_tracked": torch.zeros(n, dtype=torch.bool),
            "agree": torch.full((n,), torch.nan),
            "blocks": torch.full((n,), torch.nan),
            "told": repeats.none_told(n),
            "told_apart": torch.ones(n, dtype=torch.bool),
            "depth_found": torch.zeros(n, dtype=torch.bool),
            "surprises": torch.zeros(n, dtype=torch.int64),
            "keypoints_confirm": torch.zeros(n, dtype=torch.bool),
            "keypoints_reject": torch.zeros(n, dtype=torch.bool),
        }

    def belief(self, n: int) -> Belief:
        """The registered pose where it steers; before that the coarse method's."""
        state = self.state
        tracking = state["tracking"]
        T, C, agree = state["T_goal_cam"], state["covariance"], state["agree"]
        by_pose = tracking
        if not tracking.all():
            coarse, tracked = self.coarse.belief(n), tracking[:, None, None]
            T, C = T.where(tracked, coarse.T_goal_cam), C.where(tracked, coarse.covariance)
            agree = agree.where(tracking, coarse.agree)
            by_pose = tracking | coarse.by_pose
        return Belief(
            recognised=state["recognised"],
            sure=tracking,
            refining=tracking,
            by_pose=by_pose,
            T_goal_cam=T,
            covariance=C,
            agreement=state["agreement"],
            agree=agree,
            blocks=state["blocks"],
            told_apart=state["told_apart"],
            compared=state["misses"] == 0,
            misses=state["misses"],
        )

    def words(self, n: int) -> list[str]:
        """Which of the two methods steers, the agreement, and the coarse method's status."""
        state = zip(
            self.state["tracking"].tolist(),
            self.state["agreement"].tolist(),
            self.coarse.words(n),
            strict=True,
        )
        names = ("coarse method", "photometric refinement")
        return [
            f"{names[tracking]}, agreement {agreement:.2f}{', ' * bool(more)}{more}"
            for tracking, agreement, more in state
        ]

    def _velocity(self, image: Tensor) -> Tensor:
        views = self.registration.views(grey(image))
        if not self.state:
            self._start(len(image))
        state = self.state
        self.inspection.now = views
        predicted = state["T_goal_cam"] @ self.motion
        before = state["surprises"].clone()
        if state["tracking"].any():
            self._track(views, predicted, state["tracking"].nonzero().flatten())
        self.step += 1
        reviewed = ~state["tracking"] | self.coarse.finds_depth(len(image))
        reviewed |= state["surprises"] > before
        if self.step % REVIEW_INTERVAL == 0:
            reviewed |= (state["agreement"] < AGREEMENT_NOT_REVIEWED) | self._learns_depth()
        v_coarse = torch.zeros(len(image), 6, dtype=torch.float64)
        if reviewed.any():
            runs = reviewed.nonzero().flatten()
            v_coarse[runs] = self._asked(views, image, runs)
        self._recognise(reviewed)
        return torch.where(
            state["tracking"][:, None], control.pbvs(state["T_goal_cam"], self.gain), v_coarse
        )

    def _asked(
        self, views: Views, image: Tensor, runs: Int64[Tensor, " r"]
    ) -> Float[Tensor, "r 6"]:
        """The coarse method's velocities of these runs.

        Of several methods each is asked where those before are not sure of a pose, and the pictures
        do not agree at theirs. In each run the surest one is believed, and of equally sure ones the
        one at whose pose the pictures agree most.
        """
        coarse, n, left = self.coarse, len(image), torch.arange(len(runs))
        v_coarse = torch.zeros(len(runs), 6, dtype=torch.float64)
        most, chosen = torch.full((len(runs),), -torch.inf), torch.zeros_like(runs)
        for k, witness in enumerate(coarse.witnesses):
            of = runs[left]
            told = coarse.velocity_by(witness, image[of], of, n)
            if k == 0:
                self._take_depths(of, n)
            believed = self._acquire(views, control.pose_of_pbvs(told, coarse.gain), of)
            if len(coarse.witnesses) == 1:
                return told
            belief = witness.belief(n)
            sure = belief.recognised[of] & belief.sure[of]
            believed = believed + sure.float() + belief.recognised[of].float()
            better = believed > most[left]
            v_coarse[left[better]], most[left[better]] = told[better], believed[better]
            chosen[left[better]] = k
            left = left[~sure & ~self.state["tracking"][of]]
            if not len(left):
                break
        coarse.choose(chosen, runs, n)
        return v_coarse

    def _recognise(self, reviewed: Bool[Tensor, " b"]) -> None:
        """Which runs' pictures show the goal: those that are tracked, and the others by the coarse
        method.

        Of pictures that were tracked once, few matches say nothing where the pictures do not agree.
        """
        state, recognised = self.state, self.state["recognised"]
        if reviewed.any():
            coarse, alike = self.coarse.belief(len(reviewed)), state["agreement"]
            matched = coarse.T_goal_cam.isfinite().all((1, 2)) & ~coarse.sure
            doubtful = state["was_tracked"] & (alike <= AGREEMENT_IF_CONFIRMED) & matched
            recognised = torch.where(reviewed, coarse.recognised & ~doubtful, recognised)
        state["recognised"] = recognised | state["tracking"]
        state["was_tracked"] = state["was_tracked"] | state["tracking"]

    def _learns_depth(self) -> Bool[Tensor, " b"]:
        """Which runs are far from the goal, before a scene whose depths are found on the way."""
        state, depth = self.state, self.registration.plane[:, 3]
        far = state["T_goal_cam"][:, :3, 3].norm(dim=1) > DEPTH_DISTANCE * depth
        return far & state["depth_found"]

    def _take_depths(self, runs: Int64[Tensor, " r"], n: int) -> None:
        """Register by the depths that the coarse method has found, of these among n runs."""
        found = {i: self.coarse.depth_found(i) for i in runs.tolist()}
        maps = {i: depth for i, depth in found.items() if depth is not None}
        if maps:
            index = torch.tensor(list(maps))
            self.state["depth_found"][index] = True
            self.registration.set_depth_of(index, torch.stack(list(maps.values())), n)

    def _track(
        self, views: Views, predicted: Float[Tensor, "b 4 4"], runs: Int64[Tensor, " r"]
    ) -> None:
        """Refine the tracked runs from their predicted poses.

        Where the pictures do not agree, the predicted pose steers on, for MAX_MISSES steps at most,
        and what the last picture that agreed has shown holds.
        """
        state, T = self.state, predicted[runs]
        depth = self.registration.plane[:, 3].expand(len(predicted))[runs]
        most = (FULL_SIZE_DISTANCE * depth).clamp(min=self.verdict.tolerance.metres)
        near = T[:, :3, 3].norm(dim=1) < most
        motion = self.motion.expand(len(predicted), 4, 4)
        shown = []
        for part, full in ((near, True), (~near, False)):
            if part.any():
                of = runs[part]
                seen, found = self._seen(views, T[part], of, full=full)
                own = state["own"][of].where(torch.tensor(full), torch.nan)
                kept = (state[name][of] for name in FUSED[3:])
                before = Fused(state["T_goal_cam"][of], found.covariance, own, *kept)
                fused = fuse(before, motion[of], seen, found.covariance)
                T[part] = fused.T_goal_cam
                values = dict(zip(FUSED[1:], fused[1:], strict=True)) | {"blocks": found.blocks}
                values["agree"] = found.agree if full else torch.zeros_like(found.agree)
                if full:
                    repeats = self.inspection.repeats
                    assert repeats is not None
                    values["told"], values["told_apart"] = repeats.told(
                        found.alike, of, state["told"][of]
                    )
                shown.append((part, values))
        least = torch.where(
            state["keypoints_confirm"][runs], AGREEMENT_IF_CONFIRMED, AGREEMENT_TO_KEEP_TRACKING
        )
        agreement, agree = self._agree(views, T, runs, least)
        if self.coarse.uses_motion and self.goal_depth.Z is None:
            surprises = state["surprises"][runs] + self._surprised(T, predicted[runs], runs)
            state["surprises"][runs] = surprises.clamp(max=MAX_SURPRISES)
        state["T_goal_cam"][runs] = torch.where(agree[:, None, None], T, predicted[runs])
        state["agreement"][runs] = agreement
        for part, values in shown:
            agreed = agree[part]
            of, every = runs[part & agree], bool(agreed.all())
            for name, each in values.items():
                last, now = state[name], each if every else each[agreed]
                now = now.to(last.dtype)
                # What is new for all runs needs no copy by index, which takes five times as long.
                state[name] = now if len(of) == len(last) else last.index_copy(0, of, now)
        missed = runs[~agree]
        state["first_now"][missed] = state["first_now"][missed] @ motion[missed]
        state["misses"][runs] = torch.where(agree, 0, state["misses"][runs] + 1)
        state["tracking"][runs] = state["misses"][runs] < MAX_MISSES

    def _seen(
        self,
        views: Views,
        predicted: Float[Tensor, "r 4 4"],
        runs: Int64[Tensor, " r"],
        *,
        full: bool,
    ) -> Estimated:
        """What the pictures say of the pose. full: whether they are compared at full size."""
        if not full:
            return estimate(self.registration, views, predicted, TRACKING_SCHEDULE, runs)
        state, arrives = self.state, self.verdict.next_arrives
        found, steady, others = near_goal(
            self.registration,
            views,
            predicted,
            runs,
            steady=state["steady"][runs],
            thorough=torch.tensor(arrives)[runs] if arrives else torch.zeros_like(runs) > 0,
        )
        state["steady"][runs] = steady
        # What the pictures before have said is forgotten: each was left halfway.
        state["own"][runs[others]] = torch.nan
        return found

    def _surprised(
        self,
        T_goal_cam: Float[Tensor, "r 4 4"],
        predicted: Float[Tensor, "r 4 4"],
        runs: Int64[Tensor, " r"],
    ) -> Bool[Tensor, " r"]:
        """Which poses see the goal farther from where the motion leads than SURPRISE."""
        # Most are so near to it that no point need be looked at.
        rough = self.registration.roughly_apart(T_goal_cam, predicted, runs)
        far = rough > SURPRISE / SURELY
        if far.any():
            index = far.nonzero().flatten()
            pairs = T_goal_cam[index], predicted[index], runs[index]
            far[index] = self.registration.apart(*pairs) > SURPRISE
        return far

    def _acquire(
        self, views: Views, guess: Float[Tensor, "r 4 4"], runs: Int64[Tensor, " r"]
    ) -> Float[Tensor, " r"]:
        """Register runs from the coarse method's poses, and track those that agree; the agreements.

        A run that is tracked already goes over to a pose that agrees more. Where the coarse
        method's keypoints reject its pose, it stays tracked only if the pictures agree by more than
        AGREEMENT_NOT_REVIEWED.
        """
        state = self.state
        T = self._registered(views, guess, runs)
        consistency = self.coarse.pose_consistency(T, runs)
        tracked = state["tracking"][runs]
        state["keypoints_reject"][runs] |= tracked & (
            self.coarse.pose_consistency(state["T_goal_cam"][runs], runs) < 0
        )
        rejected = state["keypoints_reject"][runs]
        least = torch.where(consistency > 0, AGREEMENT_IF_CONFIRMED, SAME_PLACE_AGREEMENT)
        least = torch.where(rejected, AGREEMENT_NOT_REVIEWED, least)
        agreement, agree = self._agree(views, T, runs, least)
        agree &= consistency >= 0
        better = agree & (agreement > state["agreement"][runs] + MIN_AGREEMENT_GAIN)
        taken = ~tracked | rejected | better
        runs = runs[taken]
        state["T_goal_cam"][runs], state["agreement"][runs] = T[taken], agreement[taken]
        state["tracking"][runs], state["misses"][runs] = agree[taken], 0
        state["told"][runs] = torch.nan
        state["keypoints_confirm"][runs] = consistency[taken] > 0
        return agreement

    def _registered(
        self, views: Views, guess: Float[Tensor, "r 4 4"], runs: Int64[Tensor, " r"]
    ) -> Float[Tensor, "r 4 4"]:
        """The guesses refined as far ones; and where the pictures agree little there, as near ones
        too: whichever agrees more.
        """
        T = self.registration.refine(views, guess, FIRST_GUESS_SCHEDULE, runs)
        agreement = self.registration.compare(views, T, runs).agreement
        if len(of := (agreement < AGREEMENT_NOT_REVIEWED).nonzero().flatten()):
            near = self.registration.refine(views, guess[of], NEAR_GUESS_SCHEDULE, runs[of])
            found = self.registration.compare(views, near, runs[of]).agreement
            better = of[found > agreement[of]]
            T[better] = near[found > agreement[of]]
        return T

    def _agree(
        self,
        views: Views,
        T_goal_cam: Float[Tensor, "r 4 4"],
        runs: Int64[Tensor, " r"],
        least: Float[Tensor, " r"],
    ) -> tuple[Float[Tensor, " r"], Bool[Tensor, " r"]]:
        """The agreement of the pictures at these poses, and whether it is over `least`.

        It is also required that enough of the goal is seen.
        """
        found = self.registration.compare(views, T_goal_cam, runs)
        return found.agreement, (found.agreement > least) & (found.in_common > MIN_OVERLAP)


class ZeroVelocity(Controller):
    """Answers zero: the coarse method of `photometric`.

    The registration so starts from the goal's own pose.
    """

    def _set_goal(self, goal: Tensor) -> None:
        pass

    def _velocity(self, image: Tensor) -> Tensor:
        return torch.zeros(len(image), 6, dtype=torch.float64)
