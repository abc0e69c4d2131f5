"""`deepservo bench`: every method on every set, run by run, and what is written of it."""

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from deepservo.bench.page import Group, write_bench_page
from deepservo.bench.runs import Bench, Chunk, Job, Prepared, Runs, row, sharing
from deepservo.bench.tables import ALL, markdown
from deepservo.errors import InputError
from deepservo.evaluation import metrics, results_file
from deepservo.models.any_scene_model import PAIR, SHIPPED
from deepservo.system import distributed
from deepservo.system.files import check_folder, replacing
from deepservo.version import __version__

FILES = ("results.json", "runs.npz", "results.md", "report.html", "bench.json", "chunks")


@dataclass(frozen=True)
class Standing:
    """How far a benchmark is."""

    job: Job
    runs: int
    """Of the job, that are done."""
    done: int
    chunks: int
    """`done` of so many are done."""
    step: int = 0
    """Of the chunk that goes on."""


Show = Callable[[Standing], None]


def settings_of(bench: Bench) -> dict[str, Any]:
    """What all rows of one folder must share."""
    scenes = {
        name: [scene.width, *scene.texture.shape, round(float(scene.texture.double().sum()), 3)]
        for name, scene in bench.scenes.items()
    }
    models: dict[str, Any] = {" ".join(key): model.training for key, model in bench.models.items()}
    if bench.pair:
        models[PAIR] = bench.pair.training
    else:
        shipped = (SHIPPED / f"{PAIR}.safetensors").read_bytes()
        models[PAIR] = hashlib.sha256(shipped).hexdigest()
    poses = None if bench.poses is None else [round(float(T.sum()), 9) for T in bench.poses]
    return {
        "version": __version__, "camera": asdict(bench.camera), "distance": bench.distance,
        "scenes": scenes, "models": models, "seed": bench.seed, "max_steps": bench.max_steps,
        "poses": poses, "own starts": bench.own_starts, "world": bench.world, "chunk": bench.chunk,
    }  # fmt: skip


def open_folder(out: Path, bench: Bench, resume: bool) -> None:
    """Make the folder, or go on in one that the same settings made; InputError for any other."""
    check_folder(out, FILES)
    settings, kept = settings_of(bench), out / "bench.json"
    if kept.is_file():
        if not resume:
            raise InputError(
                f"{out}: holds a benchmark already; --resume goes on with it, or give another "
                "folder"
            )
        try:
            before = json.loads(kept.read_text())
        except ValueError:
            raise InputError(f"{kept}: cannot be read; give another folder") from None
        differ = [
            name for name in settings if before.get(name) != json.loads(json.dumps(settings[name]))
        ]
        if differ:
            raise InputError(
                f"{out}: was made with other settings ({', '.join(differ)}); give them again, or "
                "another folder"
            )
    else:
        out.mkdir(parents=True, exist_ok=True)
        with replacing(kept) as beside:
            beside.write_text(json.dumps(settings, indent=1) + "\n")
    (out / "chunks").mkdir(exist_ok=True)


def open_together(out: Path, bench: Bench, resume: bool) -> None:
    """`open_folder` in each of several processes: the first decides, the others, which may have a
    disk of their own, follow.
    """
    distributed.decided(lambda: open_folder(out, bench, resume))
    if not distributed.first():
        open_folder(out, bench, resume=True)


def chunks_of(job: Job, chunk: int) -> Iterator[range]:
    """The job's runs, so many at a time."""
    for first in range(0, job.n, chunk):
        yield range(first, min(first + chunk, job.n))


def kept_at(out: Path, job: Job, numbers: range) -> Path:
    """Where a chunk is kept."""
    return out / "chunks" / f"{job.key()}-{numbers.start:05d}.npz"


def run_all(jobs: list[Job], bench: Bench, out: Path, show: Show) -> None:
    """Run what is not kept yet: this process's share where `torchrun` started several."""
    rank, world = distributed.rank()
    mine = shared_out(
        [(job, numbers) for job in jobs for numbers in chunks_of(job, bench.chunk)], world
    )[rank]
    prepared: Prepared | None = None
    for done, (job, numbers) in enumerate(mine):
        path = kept_at(out, job, numbers)
        if not path.is_file():
            standing = Standing(job, numbers.start, done, len(mine))
            show(standing)
            if prepared is None or prepared.job != job:
                prepared = Prepared(job, bench)
            prepared.run(numbers, partial(_show_step, show, standing)).save(path)
    if world > 1:
        _gather(out, mine)


def _show_step(show: Show, standing: Standing, step: int, active: int) -> None:
    show(replace(standing, step=step))


def shared_out(todo: list[tuple[Job, range]], processes: int) -> list[list[tuple[Job, range]]]:
    """A list for each process: the next chunk goes to the one that has the fewest runs so far,
    since the last chunk of a job is small.
    """
    shares: list[list[tuple[Job, range]]] = [[] for _ in range(processes)]
    runs = [0] * processes
    for job, numbers in todo:
        least = runs.index(min(runs))
        shares[least].append((job, numbers))
        runs[least] += len(numbers)
    return shares


def _gather(out: Path, mine: list[tuple[Job, range]]) -> None:
    """Send every chunk to the first process, which may be on another machine."""
    for part in distributed.gathered(
        [(kept_at(out, *each).name, kept_at(out, *each).read_bytes()) for each in mine]
    ):
        for name, content in part:
            path = out / "chunks" / name
            if not path.is_file():
                with replacing(path) as beside:
                    beside.write_bytes(content)


def collect(
    jobs: list[Job], bench: Bench, out: Path
) -> tuple[list[dict[str, Any]], dict[Job, Runs]]:
    """The rows and the runs of every job from the chunks that are kept."""
    rows, runs = [], {}
    for job in jobs:
        chunks = [Chunk.load(kept_at(out, job, numbers)) for numbers in chunks_of(job, bench.chunk)]
        rows.append(row(job, chunks, bench))
        runs[job] = Runs.joined([chunk.runs for chunk in chunks])
    return rows, runs


def write_all(jobs: list[Job], bench: Bench, out: Path) -> list[dict[str, Any]]:
    """results.json, runs.npz, results.md and report.html from the chunks that are kept; the
    rows.
    """
    rows, runs = collect(jobs, bench, out)
    joined = over_scenes(runs)
    whole = pooled(rows, joined)
    for each in whole:
        each["paired"] = paired(each, runs)
    results_file.write_results(
        out / "results.json", rows + [row for row in whole if row["scene"] == ALL]
    )
    with replacing(out / "runs.npz") as beside, beside.open("wb") as file:
        arrays = {
            f"{'|'.join((job.set, job.part, job.scene, job.method))}|{name}": value
            for job, found in runs.items()
            for name, value in vars(found).items()
        }
        np.savez_compressed(file, **arrays)
    with replacing(out / "results.md") as beside:
        beside.write_text(markdown(rows, whole) + "\n")
    write_bench_page(out / "report.html", whole, joined, bench)
    return rows


def over_scenes(runs: dict[Job, Runs]) -> dict[Group, Runs]:
    """The runs of each set, part and method, on all scenes."""
    groups: dict[Group, list[Runs]] = {}
    for job, each in runs.items():
        groups.setdefault((job.set, job.part, job.method), []).append(each)
    return {group: Runs.joined(parts) for group, parts in groups.items()}


def paired(row: dict[str, Any], runs: dict[Job, Runs]) -> dict[str, list[int]]:
    """By the name of each other method that ran from the same starts: how many runs converged with
    this method alone, and with the other alone.
    """
    found: dict[str, list[int]] = {}
    methods = {job.method: None for job in runs if job.method != row["method"]}  # in their order
    for job, mine in runs.items():
        if (job.set, job.part, job.method) != (row["set"], row["part"], row["method"]):
            continue
        for method in methods:
            its = runs.get(replace(job, method=method))
            if its is not None:
                counts = found.setdefault(method, [0, 0])
                counts[0] += int((mine.converged & ~its.converged).sum())
                counts[1] += int((~mine.converged & its.converged).sum())
    return found


def pooled(rows: list[dict[str, Any]], joined: dict[Group, Runs]) -> list[dict[str, Any]]:
    """One row a set, part and method, over the runs on all scenes; where there is one scene, its
    own.
    """
    whole: list[dict[str, Any]] = []
    for (name, part, method), runs in joined.items():
        mine = [
            row for row in rows if (row["set"], row["part"], row["method"]) == (name, part, method)
        ]
        if len(mine) == 1:
            whole += mine
            continue
        totals = {
            "time_s": sum(row["time_s"] for row in mine),
            "peak_mb": max(row["peak_mb"] for row in mine),
        }
        totals["steps_per_s"] = float(runs.taken.sum()) / max(totals["time_s"], 1e-9)
        ms = {
            k: float(np.median([row[k] for row in mine]))
            for k in ("ms_per_step_p50", "ms_per_step_p99")
        }
        image = float(np.median(runs.image_error))
        figures = {**metrics.figures(runs), "sharing": sharing(runs), "image_error_median": image}
        whole.append({**mine[0], **figures, "scene": ALL, "n": len(runs.run), **totals, **ms})
    return whole
