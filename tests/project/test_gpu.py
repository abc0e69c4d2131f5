"""Code on a pretended GPU: no operation mixes devices, and the processor rarely waits for
the GPU.
"""

import json
import warnings
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import fields, replace

import numpy as np
import pytest
import torch

from benchmarks.performance import gpu as speed
from closed_loop import CAMERA, model_of, offset_from
from deepservo.bench import full_scale, runs
from deepservo.bench.full_scale import Plan
from deepservo.bench.runs import Bench, Job, Prepared, row
from deepservo.camera import PAPER_CAMERA
from deepservo.errors import InputError
from deepservo.loop import servo
from deepservo.methods import build
from deepservo.methods.aevs import latent_servo
from deepservo.models.scene_model import Model
from deepservo.nets.resnet import Encoder, Shape
from deepservo.scene import sampling
from deepservo.system import distributed
from deepservo.training import rehearsal
from deepservo.training.learn_any_scene import KINDS
from deepservo.training.plan import Training
from deepservo.training.presets import PRESETS
from deepservo.training.recipes import EXPERIMENTS
from deepservo.training.tasks.stock import Stock, draw
from deepservo.worlds.simulator import Simulator
from pretend import CPU, GPU, pretended_gpu


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.filterwarnings(
            "ignore", message=".*CUDA is not available.*"
        )  # autocast warns without a real GPU
        yield


def test_a_pretended_gpu_refuses_what_a_real_one_does():
    there = torch.rand(3)
    with pretended_gpu() as gpu:
        here = torch.rand(3)
        assert (
            here.device,
            there.device,
            (here + 1).device,
            here.cpu().device,
            there.to(GPU).device,
        ) == (GPU, CPU, GPU, CPU, GPU)
        assert (
            torch.from_numpy(np.zeros(3)).device == CPU and (here * torch.tensor(2.0)).device == GPU
        )
        with pytest.raises(RuntimeError, match="expected all tensors on one device"):
            here + there
        with pytest.raises(TypeError, match="copy it to the processor first"):
            here.numpy()
        assert gpu.waits == 0
        assert float(here.sum()) > 0 and gpu.waits == 1


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_every_recipe_learns_on_a_gpu_and_its_model_returns_to_the_processor(
    name, tmp_path, monkeypatch
):
    monkeypatch.setattr(rehearsal, "RUNS", 1)
    monkeypatch.setattr(distributed, "on_device", pretended_gpu)
    plan, training = Plan.of(name, 2, True, 0), Training(steps=2)
    model = full_scale.learned(plan, tmp_path / "m", training, lambda progress: None)
    assert {getattr(tensor, "_pretended", None) for tensor in model.net.parameters()} == {CPU}


@pytest.mark.parametrize("key", PRESETS)
def test_a_training_step_rarely_waits_for_the_gpu(key, scene):
    """Pairs that share too little are drawn again, and each time the processor waits twice. For the
    places of superpixels it waits once.
    """
    chosen = PRESETS[key]
    with pretended_gpu() as gpu:
        task = chosen.task(scene.to(GPU), PAPER_CAMERA, 0.6)
        few = {"batch": 6, "anchors": 2}
        task = replace(task, **{f.name: few[f.name] for f in fields(task) if f.name in few})
        net = chosen.net(task, "compact") if chosen.backbone else chosen.net(task)
        task.loss(net, 0, 1)  # the first step also fills the caches
        before = gpu.waits
        loss = task.loss(net, 0, 2)
        assert loss.device == GPU and gpu.waits - before <= 8
        loss.backward()


def test_what_is_cached_for_one_device_is_not_used_on_another(scene):
    """The poses and covers of CNN-VS's data set are drawn once for the processor, and then once for
    a GPU.
    """
    chosen = PRESETS["cnn", "paper"]
    for place in (nullcontext, pretended_gpu, nullcontext):
        with place():
            task = replace(
                chosen.task(scene.to(torch.get_default_device()), PAPER_CAMERA, 0.6), batch=2
            )
            assert torch.isfinite(task.loss(chosen.net(task, "compact"), 0, 0).detach().cpu())


@pytest.mark.parametrize("name", KINDS)
def test_a_network_for_any_scene_learns_from_a_stock_on_a_gpu(name):
    pictures = draw(3, 0)
    with pretended_gpu() as gpu:
        kind = KINDS[name]
        task = replace(kind.task(Stock(pictures.to(GPU), 2)), batch=4)
        net = kind.trained(kind.net())
        loss = task.loss(net, 0, 0)
        assert loss.device == GPU and gpu.waits < 20
        loss.backward()


@pytest.mark.parametrize("name", ["dvs", "dct", "pca", "cnn", "aevs", "mlvs", "siamese-se3"])
def test_a_loop_of_whole_picture_methods_runs_on_a_gpu(name, scene):
    T_goal = sampling.fronto_parallel(0.6)
    T_start = offset_from(T_goal.expand(3, 4, 4), (0.01, 0.02))
    with pretended_gpu():
        there = scene.to(GPU)
        model = model_of(name, there)
        controller, world = (
            build(name, CAMERA, 0.6, model),
            Simulator(there, CAMERA, T_start.to(GPU)),
        )
        goal = there.render(CAMERA, T_goal.to(GPU))
        controller.set_goal(goal)
        trajectory = servo(world, controller, goal, 3)
        assert trajectory.v_cam.device == GPU and bool(torch.isfinite(trajectory.v_cam).all())


@pytest.mark.parametrize("name", ["lookat-rz", "lookat-rz-perturbed", "gaussian"])
@pytest.mark.parametrize("method", ["dvs", "siamese-se3"])
def test_a_benchmark_on_a_gpu_gives_the_same_results(method, name, scene, monkeypatch):
    monkeypatch.setattr(distributed, "on_device", pretended_gpu)
    model = model_of(method, scene, PAPER_CAMERA)
    training = {"seconds": 1.0, "steps": 1}
    net = model.net.eval()
    model = Model(scene, PAPER_CAMERA, 0.6, "noise", method=method, net=net, training=training)
    job = Job(method, name, "", "noise", 3)
    rows = {}
    for gpu in (False, True):
        bench = Bench(
            PAPER_CAMERA, 0.6, {"noise": scene}, {("noise", method): model}, 0, max_steps=6, gpu=gpu
        )
        rows[gpu] = row(job, [Prepared(job, bench).run(range(3))], bench)
    assert rows[True]["n"] == rows[False]["n"] == 3
    assert rows[True]["end_mm_median_all"] == pytest.approx(
        rows[False]["end_mm_median_all"], rel=1e-3
    )
    assert {getattr(p, "_pretended", CPU) for p in model.net.parameters()} == {CPU}, (
        "the model itself stays where it was"
    )


def test_runs_go_by_halves_where_memory_is_short(scene, monkeypatch):
    job = Job("dvs", "lookat", "", "noise", 5)
    bench = Bench(PAPER_CAMERA, 0.6, {"noise": scene}, {}, 0, max_steps=3)
    whole, tried = Prepared(job, bench).run(range(5)), []

    def tight(world, *rest, **options):
        tried.append(len(world.T_world_cam))
        if tried[-1] > 2:
            raise torch.cuda.OutOfMemoryError
        return servo(world, *rest, **options)

    monkeypatch.setattr(runs, "servo", tight)
    prepared = Prepared(job, bench)
    with pytest.warns(UserWarning, match="dvs: out of memory; 3 runs go together, not 5"):
        parts = prepared.run(range(5))
    assert (
        tried == [5, 3, 2, 2, 1]
        and parts.runs.mm == pytest.approx(whole.runs.mm)
        and parts.runs.run.tolist() == list(range(5))
    )
    prepared.run(range(4))
    assert tried[5:] == [2, 2], "what did not fit is not tried again"
    prepared.most, tried[:] = 1, []
    monkeypatch.setattr(
        runs, "servo", lambda *_, **__: (_ for _ in ()).throw(torch.cuda.OutOfMemoryError())
    )
    with pytest.raises(InputError, match="does not hold one run"):
        prepared.run(range(2))


def test_the_speed_of_a_device_is_measured_beside_its_floors(tmp_path, monkeypatch):
    monkeypatch.setattr(speed, "TIMED", 2)
    monkeypatch.setattr(
        torch, "compile", lambda work, mode: work
    )  # which takes longer than all others here
    monkeypatch.setitem(
        speed.PUBLISHED,
        "aevs",
        lambda scene: latent_servo(PAPER_CAMERA, Encoder(Shape(18, 4, 8, 64)).eval()),
    )
    out = tmp_path / "gpu.json"
    methods = ("dvs", "dvs-visp", "aevs")
    speed.main(speed.Options(methods=methods, runs=(1, 2), copied=10_000, side=64, out=out))
    rows = json.loads(out.read_text())["rows"]
    assert [(row["method"], row["runs"]) for row in rows] == [
        (m, n) for m in ("dvs", "dvs-visp", "aevs") for n in (1, 2)
    ]
    assert all(
        row["steps_per_s"] > 0 and 0 < row["ms_p50"] <= row["ms_p99"] and row["memory_floor"] > 0
        for row in rows
    )
    assert rows[2]["flop_floor"] is None and rows[4]["flop_floor"] > 0
