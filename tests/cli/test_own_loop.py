"""The loop that people copy, before a camera and an arm that fail."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

import deepservo
from deepservo import Phase, Reason
from deepservo.geometry import se3
from deepservo.images.pictures import bundled
from deepservo.scene.sampling import fronto_parallel

PATH = Path(__file__).resolve().parents[2] / "examples" / "01_your_own_loop.py"
FAULT = 15  # the first picture of a fault
T_GOAL = fronto_parallel(0.6)
OFFSET = torch.tensor([[0.03, -0.02, 0.04, 0.02, 0.05, 0.10]], dtype=torch.float64)


@pytest.fixture
def loop(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("own_loop", PATH)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module.time, "sleep", lambda seconds: None)
    return module


def faulty(loop: ModuleType, fault: str) -> "tuple[object, list[np.ndarray]]":
    """A bench whose pictures become useless, and what is sent to its arm."""
    sent: list[np.ndarray] = []
    other = deepservo.PlanarScene(bundled("coffee"), width=0.8)

    class Faulty(loop.Bench):
        pictures = 0

        def grab(self) -> np.ndarray:
            self.pictures += 1
            picture = super().grab()
            if self.pictures < FAULT or fault == "none":
                self.last = picture
                return picture
            if fault == "dropped":
                raise TimeoutError("no picture came")
            elsewhere = other.render(loop.CAMERA, self.T_world_cam)[0, 0]
            return {
                "frozen": self.last,
                "black": np.zeros_like(picture),
                "foreign": (elsewhere * 255).round().byte().numpy(),
            }[fault]

        def send(self, v_tool: np.ndarray) -> None:
            sent.append(v_tool)
            super().send(v_tool)

    return Faulty(T_GOAL @ se3.exp(OFFSET)), sent


def test_it_arrives_within_the_limits_and_within_the_tolerance(loop):
    bench, sent = faulty(loop, "none")
    status = loop.go_home(bench, loop.Bench(T_GOAL).grab())
    assert status.phase is Phase.ARRIVED and status.reason is Reason.WITHIN_TOLERANCE
    metres, radians = se3.distance(T_GOAL, bench.T_world_cam)
    assert metres < 0.5e-3 and radians.rad2deg() < 0.05
    assert status.most_mm < 0.5 and status.most_deg < 0.05
    assert max(np.linalg.norm(v[:3]) for v in sent) <= loop.FASTEST[0] + 1e-9
    assert max(np.linalg.norm(v[3:]) for v in sent) <= loop.FASTEST[1] + 1e-9
    assert not sent[-1].any()


@pytest.mark.parametrize(
    ("fault", "reason", "still_moving"),
    [("black", Reason.BLANK, 0), ("frozen", Reason.FROZEN, 3), ("foreign", None, 6)],
)
def test_it_is_lost_within_a_second_and_the_arm_stands_still(loop, fault, reason, still_moving):
    bench, sent = faulty(loop, fault)
    status = loop.go_home(bench, loop.Bench(T_GOAL).grab())
    assert status.phase is Phase.LOST and (reason is None or status.reason is reason)
    assert bench.pictures <= FAULT + loop.RATE
    after = sent[FAULT - 1 + still_moving :]
    assert after and not np.any(after)


def test_a_camera_that_gives_no_picture_stops_the_arm(loop):
    bench, sent = faulty(loop, "dropped")
    with pytest.raises(TimeoutError, match="no picture came"):
        loop.go_home(bench, loop.Bench(T_GOAL).grab())
    assert sent[FAULT - 2].any() and not sent[-1].any()


def test_it_ends_when_it_takes_too_long(loop, monkeypatch):
    monkeypatch.setattr(loop, "TIME_OUT", 0.0)
    bench, sent = faulty(loop, "none")
    status = loop.go_home(bench, loop.Bench(T_GOAL).grab())
    assert status.phase not in (Phase.ARRIVED, Phase.LOST)
    assert not sent[-1].any()
