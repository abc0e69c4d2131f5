"""Report pages for the tests, and their contents."""

import json
import re
from pathlib import Path

import torch

from deepservo.camera import Camera
from deepservo.control import pbvs
from deepservo.geometry import se3
from deepservo.loop import Trajectory
from deepservo.methods.status import Tolerance
from deepservo.report.run_data import RunSet
from deepservo.report.run_page import Report, write_report
from deepservo.scene import PlanarScene, sampling
from ended_runs import rested

CAMERA = Camera(64, 48, 60.0, 60.0, 31.5, 23.5)


SCENE = PlanarScene(torch.rand(3, 30, 40, generator=torch.Generator().manual_seed(0)))


NASTY = "</script><script>alert(1)</script> & {{data}}"


ROW = {
    "method": "cnn",
    "set": "lookat",
    "scene": NASTY,
    "n": 4,
    "converged": 0.75,
    "converged_ci": [0.3, 0.95],
    "end_mm_median": 0.25,
    "end_mm_mean": None,
    "end_deg_median": float("nan"),
    "gain": 0.1,
    "dt": 1.0,
    "max_steps": 30,
    "seed": 0,
}


TRAINING = {
    "method": "cnn",
    "steps": 20,
    "seconds": 9.5,
    "parameters": 1_200_000,
    "batch": 8,
    "seed": 0,
    "loss": [[k, 1 / (k + 1)] for k in range(900)],
    "picture": NASTY,
    "minutes": None,
}


def runs(n: int = 4, steps: int = 30, one_goal: bool = True, lost: int = 0) -> RunSet:
    """n straight runs to the goal, the last one photometric, and the first `lost` of them without
    motion.
    """
    T, goals = sampling.lookat(n, torch.Generator().manual_seed(1))
    goals = goals[:1] if one_goal else goals
    goal = SCENE.render(CAMERA, goals)
    Ts, twists, errors = [T], [], []
    for _ in range(steps):
        v = pbvs(se3.inverse(goals) @ T, 0.3)
        v[:lost] = 0
        errors.append((SCENE.render(CAMERA, T) - goal).square().mean((1, 2, 3)).sqrt())
        T = T @ se3.exp(v)
        Ts.append(T)
        twists.append(v)
    refining = (torch.arange(steps) >= steps // 2)[:, None].expand(steps, n).to(torch.int8)
    T_all, v_all, spent = torch.stack(Ts), torch.stack(twists), torch.full((n,), steps)
    trajectory = Trajectory(
        T_all,
        v_all,
        torch.stack(errors),
        refining,
        spent,
        [rested("settled")] * n,
        torch.ones(steps),
        1.0,
        steps,
        Tolerance(),
    )
    return RunSet(NASTY, trajectory, goal, goals, torch.arange(n) >= lost)


def page(path: Path, *sets: RunSet, title: str = "demo", training: dict | None = None) -> str:
    write_report(path, Report(title, [ROW], list(sets), SCENE, CAMERA, training))
    return path.read_text("utf-8")


def data(text: str) -> dict:
    return json.loads(re.search(r'(?s)id="data">(.*?)</script>', text)[1])
