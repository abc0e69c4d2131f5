"""The closed loop: every method converges, and runs in a batch do not disturb each other."""

import pytest
import torch

from closed_loop import (
    CAMERA,
    DIRECT,
    END_MM,
    LARGE_OFFSET,
    LARGER_OFFSET,
    NAMES,
    SMALL_OFFSET,
    STEPS,
    NearTruth,
    assert_converged,
    controller_of,
    goals,
    has_poses,
    in_double,
    model_of,
    offset_from,
    run,
)
from deepservo import control
from deepservo.camera import Camera
from deepservo.errors import InputError
from deepservo.evaluation import metrics
from deepservo.geometry import se3
from deepservo.loop import Ending, Trajectory, servo
from deepservo.methods import Controller, build
from deepservo.methods.direct import Damping, PhotometricServo
from deepservo.scene import sampling
from deepservo.worlds.simulator import Simulator


def first(reason: str) -> str:
    """How a run moved at its end."""
    return reason.split(";", maxsplit=1)[0]


def endings(trajectory: Trajectory) -> list[Ending]:
    return [end.ending for end in trajectory.ends]


@pytest.mark.parametrize("name", NAMES)
def test_every_method_converges(name, scene):
    T_goal = sampling.fronto_parallel(0.6)
    T_start = offset_from(
        T_goal.expand(3, 4, 4),
        SMALL_OFFSET if name in DIRECT else LARGER_OFFSET if name == "cnn-pair" else LARGE_OFFSET,
    )
    trajectory = run(name, scene, (T_start, T_goal), STEPS.get(name, 60))
    start, end = (
        metrics.errors(T, T_goal) for T in (trajectory.Ts_world_cam[0], trajectory.Ts_world_cam[-1])
    )
    assert metrics.converged(start, end).all()
    assert_converged(trajectory, T_goal, END_MM.get(name, 0.3))


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_is_its_runs(name, scene):
    T_goal = goals(2)
    T_start = offset_from(T_goal, (0.001, 0.002))
    make = in_double if name.startswith("aevs") else controller_of
    together = run(name, scene, (T_start, T_goal), 75, make)
    for i in range(2):
        alone = run(name, scene, (T_start[i : i + 1], T_goal[i : i + 1]), 75, make)
        metres, _ = se3.distance(alone.Ts_world_cam[-1, 0], together.Ts_world_cam[-1, i])
        assert metres < 1e-6, f"run {i} ends {1e3 * metres:.2g} mm from where it ends alone"


@pytest.mark.parametrize("name", NAMES)
def test_converged_runs_are_dropped_and_the_others_keep_their_own_goals(name, scene):
    T_goal = goals(3)
    T_start = offset_from(
        T_goal, (0.004, 0.01) if name.startswith("aevs") else SMALL_OFFSET
    )  # the encoder is untrained
    T_start[1] = T_goal[1]
    if has_poses(name):
        T_start[1] = (
            T_goal[1] @ se3.exp(NearTruth.ERROR) @ se3.exp(NearTruth.ERROR)
        )  # where its estimate is at the goal
    trajectory = run(name, scene, (T_start, T_goal), STEPS.get(name, 45))
    assert_converged(trajectory, T_goal, END_MM.get(name, 0.3))
    if not name.startswith("cnn-pair") and (not has_poses(name) or "+dvs" not in name):
        assert trajectory.steps[1] < 25 < min(trajectory.steps[0], trajectory.steps[2])


@pytest.mark.parametrize("damping", [None, Damping()], ids=["gn", "lm"])
@pytest.mark.parametrize("interaction", ["current", "goal", "mean"])
def test_dvs_converges_with_each_law_and_each_interaction_matrix(damping, interaction, scene):
    T_goal = sampling.fronto_parallel(0.6)
    T_start = offset_from(T_goal.expand(3, 4, 4), SMALL_OFFSET)
    controller = PhotometricServo(CAMERA, interaction=interaction, damping=damping)
    goal = scene.render(CAMERA, T_goal)
    controller.set_goal(goal)
    trajectory = servo(Simulator(scene, CAMERA, T_start), controller, goal, 80)
    assert_converged(trajectory, T_goal, 1.0)
    assert (
        trajectory.image_error[0].min() > 0.03
        and trajectory.image_error[15].nan_to_num(0).max() < 0.03
    )


def test_true_pose_servoing_is_the_reference_trajectory(scene):
    T_goal = goals(4)
    T_start = offset_from(T_goal, (0.3, 0.8))
    trajectory = run("pbvs", scene, (T_start, T_goal), 40)
    assert (trajectory.Ts_world_cam - metrics.reference(T_start, T_goal, 40)).abs().max() < 1e-12


def test_a_trajectory_is_complete_and_consistent(scene):
    """One run starts at the goal and stops early, one settles, one takes max_steps."""
    T_goal = goals(3)
    T_start = T_goal @ se3.exp(
        torch.tensor([[0.0] * 6, [1e-5] * 6, [0.1] * 6], dtype=torch.float64)
    )
    max_steps, calls = 40, []
    world = Simulator(scene, CAMERA, T_start)
    controller = controller_of("pbvs", scene, world, T_goal)
    trajectory = servo(
        world,
        controller,
        scene.render(CAMERA, T_goal),
        max_steps,
        progress=lambda *call: calls.append(call),
    )
    S, B = trajectory.v_cam.shape[:2]
    assert (max_steps, 3) == (S, B) and trajectory.max_steps == max_steps and trajectory.dt == 1.0
    assert trajectory.Ts_world_cam.shape == (S + 1, B, 4, 4) and torch.equal(
        trajectory.Ts_world_cam[0], T_start
    )
    assert trajectory.refining.shape == trajectory.image_error.shape == (
        S,
        B,
    ) and trajectory.step_ms.shape == (S,)
    assert trajectory.steps[0] == 10 and 10 < trajectory.steps[1] < max_steps == trajectory.steps[2]
    for i, k in enumerate(trajectory.steps.tolist()):
        moved = trajectory.Ts_world_cam[:k, i] @ se3.exp(trajectory.v_cam[:k, i])
        assert (trajectory.Ts_world_cam[1 : k + 1, i] - moved).abs().max() < 1e-12, (
            "each pose follows from the one before"
        )
        assert (trajectory.Ts_world_cam[k:, i] == trajectory.Ts_world_cam[k, i]).all(), (
            "after its last step the camera stays"
        )
        assert (trajectory.v_cam[k:, i] == 0).all() and (trajectory.refining[k:, i] == 0).all()
        assert (
            torch.isfinite(trajectory.image_error[:k, i]).all()
            and torch.isnan(trajectory.image_error[k:, i]).all()
        )
    assert endings(trajectory) == [Ending.ARRIVED, Ending.ARRIVED, Ending.OUT_OF_TIME]
    assert "still moving after 40 steps" in trajectory.reason[2]
    assert (
        [active for _, active in calls] == sorted((active for _, active in calls), reverse=True)
        and calls[0] == (1, 3)
        and calls[-1][1] == 1
    )


def test_a_method_with_zero_velocity_is_stopped_after_a_stated_time(scene):
    """At 30 pictures a second: one method sees something once, after 50 pictures, and one never."""

    class Blinded(Controller):
        looks = False  # what it sees is the goal

        def _set_goal(self, goal):
            self.pictures, self.state = 0, {"sees": torch.tensor([51, 0])}

        def _velocity(self, image):
            self.pictures += 1
            return 0.1 * (self.state["sees"] == self.pictures).double()[:, None].expand(-1, 6)

    T_goal, blinded = goals(2), Blinded(CAMERA)
    blinded.set_goal(scene.render(CAMERA, T_goal))
    trajectory = servo(
        Simulator(scene, CAMERA, T_goal), blinded, scene.render(CAMERA, T_goal), 1000, dt=1 / 30
    )
    assert [first(reason) for reason in trajectory.reason] == ["held still for 2 s"] * 2
    assert (
        trajectory.steps.tolist() == [51 + 60, 60] and endings(trajectory) == [Ending.STOPPED] * 2
    )


@pytest.mark.parametrize("name", NAMES)
def test_every_run_says_why_it_stopped(name, scene):
    T_goal = sampling.fronto_parallel(0.6)
    trajectory = run(name, scene, (offset_from(T_goal.expand(2, 4, 4), SMALL_OFFSET), T_goal), 2)
    assert len(trajectory.reason) == 2 and all("2 steps" in reason for reason in trajectory.reason)
    assert trajectory.steps.tolist() == [2, 2] and set(trajectory.refining.flatten().tolist()) <= {
        0,
        1,
    }


def test_a_shorter_time_step_takes_the_same_way_in_more_steps(scene):
    """Gains are per second."""
    T_goal = sampling.fronto_parallel(0.6)
    T_start = offset_from(T_goal, LARGE_OFFSET)
    ends = []
    for dt, steps in ((1.0, 20), (0.25, 80)):
        world = Simulator(scene, CAMERA, T_start)
        controller = controller_of("pbvs", scene, world, T_goal)
        ends.append(
            servo(world, controller, scene.render(CAMERA, T_goal), steps, dt=dt).Ts_world_cam[-1]
        )
    metres = [float(metrics.errors(T, T_goal)[0]) for T in ends]
    assert metres[0] == pytest.approx(LARGE_OFFSET[0] * 0.9**20, rel=0.02) and metres[
        1
    ] == pytest.approx(LARGE_OFFSET[0] * 0.975**80, rel=0.02)


@pytest.mark.parametrize("name", [name for name in NAMES if has_poses(name)])
def test_an_untrained_network_raises_no_error(name, scene):
    torch.manual_seed(0)
    model = model_of(name, scene)
    controller = build(name, CAMERA, model=model)
    T_goal = sampling.fronto_parallel(0.6)
    goal = scene.render(CAMERA, T_goal)
    controller.set_goal(goal)
    trajectory = servo(
        Simulator(scene, CAMERA, offset_from(T_goal.expand(2, 4, 4), SMALL_OFFSET)),
        controller,
        goal,
        3,
    )
    coarse = getattr(controller, "coarse", controller)
    used = coarse.features.encoder if hasattr(coarse, "features") else coarse.net
    assert torch.isfinite(trajectory.v_cam).all() and not used.training


@pytest.mark.parametrize("name", ["dvs", "photometric"])
def test_a_camera_in_whole_numbers_is_the_same_camera(name, scene):
    whole, real = Camera(128, 128, 170, 170, 66, 62), CAMERA
    goal, image = (
        scene.render(real, offset_from(sampling.fronto_parallel(0.6), (size, size)))
        for size in (0.0, 0.01)
    )
    answers = []
    for camera in (whole, real):
        controller = build(name, camera)
        controller.set_goal(goal)
        answers.append(controller.velocity(image))
    assert whole == real and torch.equal(*answers) and answers[0].abs().max() > 1e-4


def test_methods_that_cannot_be_built_are_named(scene, small_camera):
    with pytest.raises(InputError, match="choose one of dvs"):
        build("nonsense", CAMERA)
    with pytest.raises(InputError, match="deepservo learn"):
        build("cnn", CAMERA)
    with pytest.raises(InputError, match="trained for"):
        build("cnn+dvs", CAMERA, model=model_of("cnn", scene, small_camera))
    with pytest.raises(InputError, match="trained for another method"):
        build("aevs", CAMERA, model=model_of("mlvs", scene))
    with pytest.raises(InputError, match="depth"):
        build("sift", CAMERA, depth=-1.0)
    with pytest.raises(InputError, match="follow"):
        build("pbvs", CAMERA).velocity(torch.zeros(1, 1, 128, 128))


class Measured(Controller):
    """Steers by a pose measured with this noise [m, rad], and drifts along x [m a step]."""

    def __init__(
        self, world: Simulator, T_world_goal: torch.Tensor, noise: float, drift: float
    ) -> None:
        super().__init__(CAMERA)
        self.world, self.T_world_goal, self.noise, self.drift = world, T_world_goal, noise, drift
        self.generator = torch.Generator().manual_seed(0)

    def _set_goal(self, goal: torch.Tensor) -> None: ...

    def _velocity(self, image: torch.Tensor) -> torch.Tensor:
        xi = self.noise * torch.randn(len(image), 6, generator=self.generator, dtype=torch.float64)
        v_cam = control.pbvs(
            se3.inverse(self.T_world_goal) @ self.world.T_world_cam @ se3.exp(xi), self.gain
        )
        v_cam[:, 0] += self.drift
        return v_cam


@pytest.mark.parametrize(
    ("noise", "drift", "stops"),
    [(2e-5, 0.0, True), (2e-4, 0.0, True), (2e-5, 2e-5, True), (0.01, 0.0, False)],
)
def test_a_run_that_only_oscillates_has_settled(noise, drift, stops, scene):
    """With a drift it ends beside the goal, where the control law balances the drift. With steps of
    over 0.1 mm it has not settled.
    """
    T_goal = sampling.fronto_parallel(0.6)
    world = Simulator(scene, CAMERA, offset_from(T_goal.expand(3, 4, 4), (0.05, 0.1)))
    trajectory = servo(
        world, Measured(world, T_goal, noise, drift), scene.render(CAMERA, T_goal), 300
    )
    settled = [first(reason) == "settled but for noise" for reason in trajectory.reason]
    assert settled == [stops] * 3
    if stops:
        metres, radians = se3.distance(T_goal, trajectory.Ts_world_cam[-1])
        assert (
            (metres < 2 * noise + 10 * drift).all()
            and (radians < 2 * noise).all()
            and (trajectory.steps < 180).all()
        )


def test_a_run_that_creeps_has_not_settled(scene):
    """It oscillates, and moves a hundredth of a millimetre a step in one direction: it goes on."""
    T_goal = sampling.fronto_parallel(0.6)
    world = Simulator(scene, CAMERA, T_goal)
    controller = Measured(world, T_goal, 1e-6, 1e-5)
    controller.gain = 1e-4
    (reason,) = servo(world, controller, scene.render(CAMERA, T_goal), 100).reason
    assert first(reason) == "still moving after 100 steps"
