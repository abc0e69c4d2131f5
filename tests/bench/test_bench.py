"""The benchmark: sets as published, conditions that do what they say, runs that do not depend on
how they are cut, and its command.
"""

import json
import math
import os
import re
import resource
import subprocess
import sys
from dataclasses import fields, replace

import cv2
import numpy as np
import pytest
import torch

from browser import measured, needs_browser, opened
from deepservo.bench import bench as benching
from deepservo.bench.bench import chunks_of, collect, open_folder, run_all, write_all
from deepservo.bench.runs import Bench, Chunk, Job, Prepared, Runs, jobs
from deepservo.bench.scenes import MADE, NAMES, scene_of
from deepservo.bench.tables import who_wins
from deepservo.camera import PAPER_CAMERA, Camera
from deepservo.cli import main
from deepservo.errors import InputError
from deepservo.evaluation.conditions import (
    BLUR,
    LIGHT,
    MODEL,
    OCCLUSION,
    PLAIN,
    SIZE,
    HardSimulator,
    Shot,
    changed,
)
from deepservo.evaluation.sets import SETS, gaussian, overlap
from deepservo.geometry import se3
from deepservo.methods.base import Controller
from deepservo.scene import PlanarScene, sampling
from deepservo.scene.relief import ReliefScene
from tiny import picture

CAMERA = Camera(64, 64, 86.0, 86.0, 33.0, 31.0)


def small(scenes: tuple[str, ...] = ("coffee",), max_steps: int | None = 8) -> Bench:
    return Bench(
        CAMERA, 0.6, {name: scene_of(name) for name in scenes}, {}, seed=1, max_steps=max_steps
    )


# sets


def test_gaussian_is_as_published():
    Ts_cam, Ts_goal = gaussian(1000, torch.Generator().manual_seed(0), 0.6, PAPER_CAMERA)
    metres, radians = se3.distance(Ts_goal, Ts_cam)
    assert abs(100 * metres.mean() - 12.7) < 0.8 and abs(100 * metres.std() - 7.0) < 0.8
    assert 16 < radians.rad2deg().mean() < 18.5 and 9 < radians.rad2deg().std() < 12, (
        "those redrawn were the most turned"
    )
    assert (overlap(PAPER_CAMERA, Ts_goal, Ts_cam) >= 0.1).all()
    assert (Ts_goal[:, :2, 3].abs() <= 0.05).all() and (
        (Ts_goal[:, 2, 3] + 0.6).abs() <= 0.05
    ).all()


def test_overlap_against_counting_pixels():
    """The slow twin throws every pixel's ray onto the plane and looks for it in the other
    picture.
    """
    Ts_goal = sampling.fronto_parallel(0.6, 3)
    Ts_cam = Ts_goal @ se3.exp(
        torch.tensor(
            [[0.2, 0, 0, 0, 0, 0], [0, 0, 0.2, 0, 0, 0.7], [0.1, -0.3, -0.1, 0.2, 0.1, 2.0]],
            dtype=torch.float64,
        )
    )
    for T_goal, T_cam, share in zip(Ts_goal, Ts_cam, overlap(CAMERA, Ts_goal, Ts_cam), strict=True):
        hits = 0
        for v in range(64):
            for u in range(64):
                ray = T_goal[:3, :3] @ CAMERA.K_inv @ torch.tensor([u, v, 1.0], dtype=torch.float64)
                p = T_goal[:3, 3] - T_goal[2, 3] / ray[2] * ray
                q = CAMERA.K @ T_cam[:3, :3].T @ (p - T_cam[:3, 3])
                hits += bool(q[2] > 0 and -0.5 < q[0] / q[2] < 63.5 and -0.5 < q[1] / q[2] < 63.5)
        assert abs(share - hits / 64**2) < 0.06
    assert overlap(CAMERA, Ts_goal, Ts_goal).eq(1).all()


@pytest.mark.parametrize("name", SETS)
def test_every_set_draws_poses_before_the_plane_and_the_seed_gives_them(name):
    for part in SETS[name]:
        first, second, other = (
            part.draw(5, torch.Generator().manual_seed(seed), part.distance or 0.6, PAPER_CAMERA)
            for seed in (3, 3, 4)
        )
        assert torch.equal(first[0], second[0]) and torch.equal(first[1], second[1])
        assert (
            not torch.equal(first[0], other[0])
            or name == "published-starts"
            or part.label == "batch 0"
        )
        for T in (*first, part.condition.poses(first[0])):
            assert T.shape == (5, 4, 4) and (T[:, 2, 3] < 0).all(), f"{name} {part.label}"
            assert (T[:, :3, :3] @ T[:, :3, :3].mT - torch.eye(3)).abs().max() < 1e-9


@pytest.mark.parametrize("part", SETS["overlap"], ids=lambda part: part.label)
def test_starts_share_what_the_bin_says(part):
    low, high = (float(word) / 100 for word in part.label.removesuffix(" %").split(" to "))
    Ts_cam, Ts_goal = part.draw(10, torch.Generator().manual_seed(0), 0.6, PAPER_CAMERA)
    share = overlap(PAPER_CAMERA, Ts_goal, Ts_cam)
    assert ((share > low) & (share <= high)).all()


def test_batches_grow_to_the_published_deviations():
    ends = [
        part.draw(2000, torch.Generator().manual_seed(0), 0.25, PAPER_CAMERA)
        for part in SETS["batches"]
    ]
    metres = [se3.inverse(Ts_goal)[:, :3] @ Ts_cam[..., 3:] for Ts_cam, Ts_goal in ends]
    deviations = [float(m[:, 0, 0].std()) for m in metres]
    assert (
        deviations[0] == 0
        and deviations == sorted(deviations)
        and abs(deviations[-1] - 0.04) < 0.003
    )


def test_the_robots_starts_are_the_published_ones():
    (part,) = (part for part in SETS["published-starts"] if part.label == "MLVS")
    Ts_cam, Ts_goal = part.draw(1, torch.Generator(), 0.6, PAPER_CAMERA)
    T = se3.inverse(Ts_goal)[0] @ Ts_cam[0]
    assert (
        100 * T[:3, 3] - torch.tensor([-8.16, 7.27, -29.98], dtype=torch.float64)
    ).abs().max() < 1e-9
    assert (
        se3.so3_log(T[:3, :3]).rad2deg()
        - torch.tensor([24.86, -10.16, 135.06], dtype=torch.float64)
    ).abs().max() < 1e-6


@pytest.mark.parametrize("name", NAMES)
def test_every_scene_is_there(name):
    assert scene_of(name).texture.std() > 0.005
    assert (name in MADE) == (scene_of(name).texture.shape[1:] == (600, 800))


# conditions


def test_light_blur_and_covers_do_what_they_say():
    image = 0.2 + 0.5 * torch.rand(1, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    shot = Shot(0, 3, 5)
    conditions = dict(LIGHT + BLUR + OCCLUSION)
    assert (conditions["exposure x 0.5"].view[0](image, shot) - image / 2).abs().max() < 1e-6
    assert conditions["exposure x 3"].view[0](image, shot).max() == 1
    assert (conditions["highlight of 0.4"].view[0](image, shot) == 1).float().mean() > 0.005
    shadows = torch.stack(
        [conditions["shadow to 0.2"].view[0](image, Shot(0, run, 0)) / image for run in range(20)]
    )
    assert (
        shadows.min() == pytest.approx(0.2, abs=0.01)
        and shadows.max() == pytest.approx(1, abs=0.01)
        and 0.4 < shadows.mean() < 0.8
    )
    assert (conditions["spot light + 1"].view[0](image, shot) >= image - 1e-6).all()
    blurred = conditions["defocus 2 px, view"].view[0](image, shot)
    assert blurred.std() < 0.4 * image.std() and abs(blurred.mean() - image.mean()) < 0.01
    assert (conditions["noise 0.05, both"].goal[0](image, shot) - image).std() == pytest.approx(
        0.05, rel=0.1
    )
    for share in (0.1, 0.3, 0.6):
        covered = conditions[f"{100 * share:.0f} % covered"].view[0](image, shot)
        assert (covered != image).float().mean() == pytest.approx(share, rel=0.2)


def test_covers_change_with_the_frame_and_lamps_stay_with_the_run():
    image = torch.full((1, 1, 64, 64), 0.5)
    conditions = dict(LIGHT + OCCLUSION)
    cover, lamp = conditions["30 % covered"].view[0], conditions["spot light + 1"].view[0]
    assert not torch.equal(cover(image, Shot(0, 1, 1)), cover(image, Shot(0, 1, 2)))
    assert (lamp(image, Shot(0, 1, 1)) - lamp(image, Shot(0, 1, 2))).abs().max() < 0.1
    assert (lamp(image, Shot(0, 1, 1)) - lamp(image, Shot(0, 2, 1))).abs().max() > 0.1


def test_a_moving_shutter_blurs_along_the_motion():
    scene, T = scene_of("strokes"), sampling.fronto_parallel(0.6)
    condition = dict(BLUR)["motion blur 1"]
    world = HardSimulator(scene, CAMERA, T.clone(), condition, 0, torch.tensor([0]))
    still = world.observe()
    world.apply(torch.tensor([[0.05, 0, 0, 0, 0, 0]], dtype=torch.float64), 1.0)
    blurred, sharp = world.observe(), scene.render(CAMERA, world.T_world_cam)
    assert torch.equal(still, scene.render(CAMERA, T))
    across, along = (
        ((x[..., 1:, :] - x[..., :-1, :]).std() for x in (blurred, sharp)),
        ((x[..., 1:] - x[..., :-1]).std() for x in (blurred, sharp)),
    )
    (across_blurred, across_sharp), (along_blurred, along_sharp) = across, along
    assert (
        along_blurred < 0.6 * along_sharp
        and across_blurred / across_sharp > along_blurred / along_sharp
    )


def test_few_pixels_are_enlarged_in_place():
    scene, T = scene_of("coffee"), sampling.fronto_parallel(0.6)
    full = PLAIN.pictures(scene, PAPER_CAMERA, T)
    for label, condition in SIZE:
        few = condition.pictures(scene, PAPER_CAMERA, T)
        assert few.shape == full.shape and (few - full).abs().mean() < 0.08, label
        assert (few - full).mean().abs() < 0.01, "nothing is shifted or scaled"


def test_models_that_are_wrong():
    conditions = dict(MODEL)
    assert conditions["focal length believed x 1.2"].camera(CAMERA).fx == pytest.approx(86 / 1.2)
    T = sampling.fronto_parallel(0.6)
    tilted = conditions["plane tilted 30 deg"].poses(T)[0]
    assert tilted[:3, 3].norm() == pytest.approx(0.6) and math.degrees(
        math.acos(tilted[2, 2])
    ) == pytest.approx(30)
    relief = conditions["relief of 10 cm"].scene(scene_of("coffee"))
    assert isinstance(relief, ReliefScene) and 0.05 < relief.heights.max() <= 0.1


def test_a_flat_relief_is_the_plane_and_a_hill_is_where_its_rays_meet_it():
    scene, T = scene_of("coffee"), sampling.workspace(2, torch.Generator().manual_seed(1))
    flat = ReliefScene(scene.texture, scene.width, relief=0.0)
    difference = flat.render(PAPER_CAMERA, T) - PlanarScene(
        scene.texture, scene.width, antialias=False
    ).render(PAPER_CAMERA, T)
    assert difference.abs().median() < 2e-3 and difference.abs().mean() < 0.01, (
        "but for the blending at the picture's edge"
    )
    level = ReliefScene(scene.texture, scene.width, relief=0.1)
    object.__setattr__(level, "heights", torch.full_like(level.heights, 0.1))
    nearer = sampling.fronto_parallel(0.5)
    raised = level.render(PAPER_CAMERA, sampling.fronto_parallel(0.6))
    assert (raised - flat.render(PAPER_CAMERA, nearer)).abs().mean() < 2e-3, "a plane 10 cm nearer"


def test_effects_depend_on_the_run_alone():
    images = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    effects = dict(BLUR)["noise 0.05, view"].view
    whole = changed(images, effects, 5, torch.arange(4), 2)
    assert torch.equal(whole[2:], changed(images[2:], effects, 5, torch.tensor([2, 3]), 2))


# runs


def same(a: Runs, b: Runs) -> bool:
    return all(
        np.array_equal(getattr(a, f.name), getattr(b, f.name))
        for f in fields(Runs)
        if f.name not in ("path", "mm", "deg")
    ) and (np.abs(a.path - b.path).max() < 1e-6)


@pytest.mark.parametrize("name", ["lookat-rz-perturbed", "hard-occlusion", "gaussian"])
def test_runs_do_not_depend_on_how_they_are_cut(name):
    job = Job("dvs", name, SETS[name][0].label, "coffee", 6)
    whole, prepared = Prepared(job, small()).run(range(6)).runs, Prepared(job, small())
    assert same(whole, Runs.joined([prepared.run(range(4, 6)).runs, prepared.run(range(4)).runs]))


@pytest.mark.parametrize("method", ["pca-4", "sift+dvs", "particle", "pbvs"])
def test_a_controller_remembers_nothing_of_the_runs_before(method):
    prepared = Prepared(Job(method, "lookat", "", "coffee", 4), small())
    first = prepared.run(range(2)).runs
    prepared.run(range(2, 4))
    assert same(prepared.run(range(2)).runs, first)


def test_what_is_asked_for_is_run_and_a_published_start_once():
    assert [job.n for job in jobs(("dvs",), ("lookat", "published-starts"), small(), 3)] == [3] + [
        1
    ] * 7
    assert {job.scene for job in jobs(("dvs",), ("hard-texture",), small(), 3)} == set(
        SETS["hard-texture"][0].scenes
    )


def test_a_chunk_comes_back_from_its_file_and_no_other_file_is_one(tmp_path):
    chunk = Prepared(Job("dvs", "lookat", "", "coffee", 2), small(max_steps=2)).run(range(2))
    chunk.save(tmp_path / "a.npz")
    assert (
        same(Chunk.load(tmp_path / "a.npz").runs, chunk.runs)
        and Chunk.load(tmp_path / "a.npz").facts == chunk.facts
    )
    (tmp_path / "b.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:100])
    with pytest.raises(InputError, match=r"b\.npz: is no chunk"):
        Chunk.load(tmp_path / "b.npz")


def test_killed_and_resumed_is_uninterrupted(tmp_path):
    bench = replace(small(("coffee", "moon")), chunk=2)
    work = jobs(("dvs", "sift"), ("lookat", "hard-size"), bench, 3)
    assert len(work) == 2 * 2 * (1 + len(SIZE)) and [
        len(r) for r in chunks_of(work[0], bench.chunk)
    ] == [2, 1]
    seen = []

    def stop(job: Job, runs: int, done: int, chunks: int, step: int) -> None:
        seen.append(done)
        if done == 7 and step == 3:
            raise KeyboardInterrupt

    open_folder(tmp_path / "a", bench, resume=False)
    with pytest.raises(KeyboardInterrupt):
        run_all(work, bench, tmp_path / "a", stop)
    open_folder(tmp_path / "a", bench, resume=True)
    run_all(work, bench, tmp_path / "a", lambda *_: None)
    open_folder(tmp_path / "b", bench, resume=False)
    run_all(work, bench, tmp_path / "b", lambda *_: None)
    (first, runs), (second, others) = (collect(work, bench, tmp_path / name) for name in "ab")
    times = {"time_s", "ms_per_step_p50", "ms_per_step_p99", "steps_per_s", "peak_mb"}
    assert [{k: v for k, v in row.items() if k not in times} for row in first] == [
        {k: v for k, v in row.items() if k not in times} for row in second
    ]
    assert all(same(runs[job], others[job]) for job in work)


def test_two_processes_give_the_rows_of_one(tmp_path):
    args = [
        "bench",
        "--methods",
        "dvs",
        "--sets",
        "hard-size",
        "--scenes",
        "moon",
        "--n",
        "2",
        "--quick",
    ]
    assert main([*args, "--out", str(tmp_path / "one")]) == 0
    args[args.index("--n")] = "--runs"
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        "-m",
        "deepservo",
        *args,
    ]
    done = subprocess.run(
        [*command, "--out", str(tmp_path / "two")],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    rows = [
        json.loads((tmp_path / name / "results.json").read_text())["rows"]
        for name in ("one", "two")
    ]
    for one, two in zip(*rows, strict=True):
        assert (one["method"], one["part"], one["converged"]) == (
            two["method"],
            two["part"],
            two["converged"],
        )
        assert one["end_mm_median_all"] == pytest.approx(two["end_mm_median_all"], abs=1e-3)


def test_processes_share_runs_evenly_though_the_last_chunk_of_a_job_is_small():
    todo = [
        each
        for name in "abcdef"
        for each in (
            (Job(name, "s", "", "moon", 30), range(25)),
            (Job(name, "s", "", "moon", 30), range(25, 30)),
        )
    ]
    shares = benching.shared_out(todo, 2)
    assert sorted(each for share in shares for each in map(repr, share)) == sorted(map(repr, todo))
    counts = [sum(len(numbers) for _, numbers in share) for share in shares]
    assert sum(counts) == 180 and abs(counts[0] - counts[1]) <= 25
    assert benching.shared_out(todo, 1) == [todo]


def test_everything_is_written(tmp_path):
    bench = small()
    work = jobs(("dvs", "dct-20"), ("lookat", "published-starts"), bench, 1)
    open_folder(tmp_path / "out", bench, resume=False)
    run_all(work, bench, tmp_path / "out", lambda *_: None)
    rows = write_all(work, bench, tmp_path / "out")
    assert {p.name for p in (tmp_path / "out").iterdir()} == set(benching.FILES)
    arrays = np.load(tmp_path / "out" / "runs.npz")
    assert arrays["lookat||coffee|dvs|path"].shape == (1, 9, 6)
    text = (tmp_path / "out" / "results.md").read_text()
    assert "59.0" in text and "`dct-20`" in text and len(rows) == len(work)


@needs_browser
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_draws_everything_and_nothing_runs_over_its_card(tmp_path, width):
    bench = small(("coffee", "moon"), max_steps=3)
    work = jobs(("dvs", "sift+dvs"), ("lookat-rz-perturbed", "hard-size"), bench, 2)
    open_folder(tmp_path / "out", bench, resume=False)
    run_all(work, bench, tmp_path / "out", lambda *_: None)
    write_all(work, bench, tmp_path / "out")
    page = tmp_path / "out" / "report.html"
    assert len(re.findall(r'class="[^"]*js-plotly-plot', opened(page, "1200,1000"))) == 7, (
        "six plots, and the cost of dvs"
    )
    found = measured(page, width)
    assert found["width"] == str(width) and not found["wide"]


# bad input


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["--methods", "dsv"], "did you mean dvs?"),
        (["--sets", "lookat-zr"], "did you mean lookat"),
        (["--scenes", "cofee"], "did you mean coffee?"),
        (["--methods", ","], "an empty list"),
        (["--methods", "cnn"], "--models"),
        (["--scenes", "moon", "--image", "x.png"], "both name scenes"),
        (["--n", "0"], "at least 1 run"),
        (["--sets", "poses"], "--poses"),
        (["--poses", "none.npz"], "no such file"),
        (["--compare", "none.json", "none.json"], "no such file"),
    ],
)
def test_what_cannot_be_asked_is_refused(args, words, tmp_path, monkeypatch, capfd):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", *args]) == 2
    err = capfd.readouterr().err
    assert words in err and err.count("\n") == 1 and not list(tmp_path.iterdir())


def test_poses_of_a_file_are_all_there_is(tmp_path, capfd):
    """Every picture takes all of them, whatever --n asks for."""
    T = np.eye(4)
    T[2, 3] = -0.6
    np.savez(tmp_path / "poses.npz", T_world_cam=np.stack([T, T]), T_world_goal=T[None])
    (tmp_path / "pictures").mkdir()
    for name in ("a.png", "b.png"):
        cv2.imwrite(
            str(tmp_path / "pictures" / name),
            np.random.default_rng(0).integers(0, 256, (60, 80), np.uint8),
        )
    args = [
        "bench",
        "--image",
        str(tmp_path / "pictures"),
        "--poses",
        str(tmp_path / "poses.npz"),
        "--methods",
        "pbvs",
    ]
    assert main([*args, "--out", str(tmp_path / "out")]) == 0
    rows = json.loads((tmp_path / "out" / "results.json").read_text())["rows"]
    assert [(row["scene"], row["n"]) for row in rows if row["scene"] in ("a.png", "b.png")] == [
        ("a.png", 2),
        ("b.png", 2),
    ]
    assert main([*args, "--quick", "--out", str(tmp_path / "quick")]) == 0
    capfd.readouterr()
    assert main([*args, "--n", "3", "--out", str(tmp_path / "more")]) == 2
    assert "holds 2 poses; give no more than those" in capfd.readouterr().err


def test_a_folder_of_other_settings_is_refused(tmp_path, capfd):
    out = str(tmp_path / "out")
    args = [
        "bench",
        "--methods",
        "dvs",
        "--sets",
        "published-starts",
        "--scenes",
        "moon",
        "--quick",
        "--out",
        out,
    ]
    assert main(args) == 0
    before = (tmp_path / "out" / "results.json").read_bytes()
    for more, words in (
        ([], "--resume goes on"),
        (["--resume", "--seed", "5"], "other settings (seed)"),
    ):
        capfd.readouterr()
        assert main([*args, *more]) == 2
        assert words in capfd.readouterr().err
    assert main([*args, "--resume"]) == 0
    assert (tmp_path / "out" / "results.json").read_bytes() == before, "nothing was run again"
    (tmp_path / "out" / "mine.txt").write_text("x")
    capfd.readouterr()
    assert main([*args, "--resume"]) == 2
    assert "holds other things (mine.txt)" in capfd.readouterr().err


def test_a_full_disk_leaves_the_earlier_results_whole(tmp_path, capfd):
    out = tmp_path / "out"
    args = [
        "bench",
        "--sets",
        "lookat",
        "--scenes",
        "coffee",
        "--n",
        "1",
        "--quick",
        "--out",
        str(out),
        "--methods",
    ]
    assert main([*args, "dvs"]) == 0
    before, whole = (
        json.loads((out / "results.json").read_text())["rows"],
        (out / "report.html").read_bytes(),
    )
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500_000, hard))
    capfd.readouterr()
    try:
        assert main([*args, "dvs,pbvs", "--resume"]) == 2
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    err = capfd.readouterr().err
    assert (
        "report.html: cannot be written" in err
        and "free some space" in err
        and "Traceback" not in err
    )
    assert (out / "report.html").read_bytes() == whole and not list(out.glob(".*"))
    assert main([*args, "dvs,pbvs", "--resume"]) == 0
    rows = json.loads((out / "results.json").read_text())["rows"]
    assert [row["method"] for row in rows] == ["dvs", "pbvs"] and rows[0][
        "end_mm_median_all"
    ] == before[0]["end_mm_median_all"]


def test_a_trained_method_runs_where_it_was_trained(files, tmp_path, capfd):
    args = [
        "bench",
        "--models",
        str(files / "model.safetensors"),
        "--n",
        "1",
        "--quick",
        "--sets",
        "hard-texture",
    ]
    assert main([*args, "--methods", "dvs,cnn", "--out", str(tmp_path / "both")]) == 0
    rows = json.loads((tmp_path / "both" / "results.json").read_text())["rows"]
    assert {row["method"] for row in rows} == {"dvs"} and len(rows) == len(
        SETS["hard-texture"][0].scenes
    ) + 1
    capfd.readouterr()
    assert main([*args, "--methods", "cnn", "--out", str(tmp_path / "none")]) == 2
    assert (
        "cnn: the models given were not trained on the pictures of hard-texture"
        in capfd.readouterr().err
    )
    assert not (tmp_path / "none").exists()


def test_a_method_that_ran_on_fewer_scenes_says_so():
    rows = [
        {
            "method": m,
            "set": "hard-texture",
            "part": "",
            "n": n,
            "converged": 1.0,
            "converged_ci": [0.5, 1.0],
            "end_mm_median": 0.5,
        }
        for m, n in (("sift", 48), ("cnn", 12))
    ]
    assert "| **100** [50, 100], 0.5 mm | **100** [50, 100], 0.5 mm, of 12 only |" in who_wins(rows)


# a folder of pictures


def _folder(tmp_path, *names: str):
    (tmp_path / "pictures").mkdir()
    for seed, name in enumerate(names):
        cv2.imwrite(str(tmp_path / "pictures" / name), picture(seed=seed))
    return tmp_path / "pictures"


def test_each_picture_of_a_folder_has_starts_of_its_own_and_together_they_are_the_set():
    bench = replace(small(("coffee", "moon", "page")), own_starts=True)
    part = SETS["lookat-rz"][0]
    drawn, _ = part.draw(12, torch.Generator().manual_seed(1), 0.6, CAMERA)
    found = [Prepared(Job("sift", "lookat-rz", "", name, 4), bench).Ts_cam for name in bench.scenes]
    assert torch.equal(torch.stack(found, 1).flatten(0, 1), drawn)
    other = Prepared(
        Job("sift", "hard-texture", "", "brick", 4), bench
    ).Ts_cam  # a scene of the set's own: as ever
    assert torch.equal(other, Prepared(Job("sift", "hard-texture", "", "brick", 4), small()).Ts_cam)


def test_a_folder_of_pictures_is_measured(tmp_path, monkeypatch):
    monkeypatch.setattr(Controller, "max_steps", 30)
    folder = _folder(tmp_path, "b.png", "a.PNG")
    (folder / "notes.txt").write_text("no picture")
    args = [
        "bench",
        "--methods",
        "sift",
        "--sets",
        "unseen",
        "--image",
        str(folder),
        "--n",
        "1",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(args) == 0
    rows = json.loads((tmp_path / "out" / "results.json").read_text())["rows"]
    assert [row["scene"] for row in rows if row["part"] == "gaussian"] == ["a.PNG", "b.png", "all"]
    assert {row["part"] for row in rows} == {
        "gaussian",
        "gaussian, perturbed",
        "lookat-rz",
        "lookat-rz, perturbed",
    }


def test_folders_without_pictures_or_with_broken_ones_are_refused(tmp_path, capsys):
    folder = _folder(tmp_path)
    args = [
        "bench",
        "--methods",
        "sift",
        "--sets",
        "unseen",
        "--image",
        str(folder),
        "--n",
        "1",
        "--out",
        str(tmp_path / "out"),
    ]
    assert main(args) == 2
    assert "holds no picture" in capsys.readouterr().err
    (folder / "broken.jpg").write_bytes(b"no picture")
    assert main(args) == 2
    assert "broken.jpg: cannot be read as a picture" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
