"""Old model files load and give the same velocities. `tests/golden/cnn-model.safetensors` was
written before modules moved into rooms.
"""

from pathlib import Path

import pytest

import deepservo
from deepservo.scene import sampling

OLD = Path(__file__).parents[1] / "golden" / "cnn-model.safetensors"


def test_an_old_model_file_gives_the_same_velocities() -> None:
    model = deepservo.load_model(OLD)
    goal = model.scene.render(model.camera, sampling.fronto_parallel(0.6))
    controller = deepservo.build("cnn", model.camera, model.distance, model)
    controller.set_goal(goal)
    v_cam = controller.velocity(goal.flip(-1))[0]
    assert v_cam[3:].tolist() == pytest.approx([-0.012367, -0.019072, 0.19165], rel=1e-3)
    assert type(deepservo.load(OLD).coarse.witnesses[-1]) is type(controller)
