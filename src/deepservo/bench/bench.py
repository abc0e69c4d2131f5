"""`deepservo bench`: every method on every set, run by run, and what is written of it."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.distributed as dist

from deepservo.bench import metrics
from deepservo.bench.page import write_bench_page
from deepservo.bench.runs import CHUNK, Bench, Chunk, Job, Prepared, Runs, row
from deepservo.bench.tables import markdown
from deepservo.checkpoint import replacing
from deepservo.errors import InputError
from deepservo.version import __version__

FILES = ("results.json", "runs.npz", "results.md", "report.html", "bench.json", "chunks")
Show = Callable[[Job, int, int, int, int], None]
"""Called with the job, its runs that are done, the chunks done and all chunks, and the step of the chunk that goes on."""


def settings_of(bench: Bench) -> dict[str, Any]:
    """What all rows of one folder must share."""
    scenes = {
        name: [scene.width, *scene.texture.shape, round(float(scene.texture.double().sum()), 3)] for name, scene in bench.scenes.items()
    }
    models = {name: model.training for name, model in bench.models.items()}
    poses = None if bench.poses is None else [round(float(T.sum()), 9) for T in bench.poses]
    return {
        "version": __version__, "camera": asdict(bench.camera), "distance": bench.distance, "scenes": scenes, "models": models,
        "seed": bench.seed, "budget": bench.budget, "poses": poses,
    }  # fmt: skip


def open_folder(out: Path, bench: Bench, resume: bool) -> None:
    """Make the folder, or go on in one that the same settings made; InputError for any other."""
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; give a folder for the results")
    others = sorted(p.name for p in out.iterdir() if p.name not in FILES and not p.name.startswith(".")) if out.is_dir() else []
    if others:
        raise InputError(f"{out}: holds other things ({', '.join(others[:3])}); give a new or an empty folder")
    settings, kept = settings_of(bench), out / "bench.json"
    if kept.is_file():
        if not resume:
            raise InputError(f"{out}: holds a benchmark already; --resume goes on with it, or give another folder")
        try:
            before = json.loads(kept.read_text())
        except ValueError:
            raise InputError(f"{kept}: cannot be read; give another folder") from None
        differ = [name for name in settings if before.get(name) != json.loads(json.dumps(settings[name]))]
        if differ:
            raise InputError(f"{out}: was made with other settings ({', '.join(differ)}); give them again, or another folder")
    else:
        out.mkdir(parents=True, exist_ok=True)
        with replacing(kept) as beside:
            beside.write_text(json.dumps(settings, indent=1) + "\n")
    (out / "chunks").mkdir(exist_ok=True)


def open_together(out: Path, bench: Bench, resume: bool) -> None:
    """`open_folder` in each of several processes: the first decides, the others, which may have a disk of their own, follow."""
    rank, world = _rank()
    if rank == 0:
        open_folder(out, bench, resume)
    if world > 1:
        dist.barrier()
    if rank > 0:
        open_folder(out, bench, resume=True)


def chunks_of(job: Job) -> Iterator[range]:
    """The job's runs, CHUNK at a time."""
    for first in range(0, job.n, CHUNK):
        yield range(first, min(first + CHUNK, job.n))


def kept_at(out: Path, job: Job, numbers: range) -> Path:
    """Where a chunk is kept."""
    return out / "chunks" / f"{job.key()}-{numbers.start:05d}.npz"


def run_all(jobs: list[Job], bench: Bench, out: Path, show: Show) -> None:
    """Run what is not kept yet: this process's share where `torchrun` started several."""
    rank, world = _rank()
    todo = [(job, numbers) for job in jobs for numbers in chunks_of(job)]
    mine = [each for i, each in enumerate(todo) if i % world == rank]
    prepared: Prepared | None = None
    for done, (job, numbers) in enumerate(mine):
        path = kept_at(out, job, numbers)
        if not path.is_file():
            show(job, numbers.start, done, len(mine), 0)
            if prepared is None or prepared.job != job:
                prepared = Prepared(job, bench)
            prepared.run(numbers, lambda step, going: show(job, numbers.start, done, len(mine), step)).save(path)  # noqa: B023
    if world > 1:
        _gather(out, mine, rank)


def _rank() -> tuple[int, int]:
    """This process's number, and how many there are."""
    world = int(os.environ.get("WORLD_SIZE", "1"))
    if world > 1 and not dist.is_initialized():
        dist.init_process_group("gloo")
    return (dist.get_rank(), world) if world > 1 else (0, 1)


def _gather(out: Path, mine: list[tuple[Job, range]], rank: int) -> None:
    """Send every chunk to the first process, which may be on another machine."""
    files = [(kept_at(out, *each).name, kept_at(out, *each).read_bytes()) for each in mine]
    received: list[Any] | None = [None] * dist.get_world_size() if rank == 0 else None
    dist.gather_object(files, received)
    for part in received or []:
        for name, content in part:
            path = out / "chunks" / name
            if not path.is_file():
                with replacing(path) as beside:
                    beside.write_bytes(content)


def collect(jobs: list[Job], bench: Bench, out: Path) -> tuple[list[dict[str, Any]], dict[Job, Runs]]:
    """The rows and the runs of every job from the chunks that are kept."""
    rows, runs = [], {}
    for job in jobs:
        chunks = [Chunk.load(kept_at(out, job, numbers)) for numbers in chunks_of(job)]
        rows.append(row(job, chunks, bench))
        runs[job] = Runs.joined([chunk.runs for chunk in chunks])
    return rows, runs


def write_all(jobs: list[Job], bench: Bench, out: Path) -> list[dict[str, Any]]:
    """results.json, runs.npz, results.md and report.html from the chunks that are kept; the rows."""
    rows, runs = collect(jobs, bench, out)
    whole = pooled(rows, runs)
    metrics.write_results(out / "results.json", rows)
    with replacing(out / "runs.npz") as beside, beside.open("wb") as file:
        arrays = {
            f"{'|'.join((job.set, job.part, job.scene, job.method))}|{name}": value
            for job, found in runs.items()
            for name, value in vars(found).items()
        }
        np.savez_compressed(file, **arrays)
    with replacing(out / "results.md") as beside:
        beside.write_text(markdown(rows, whole) + "\n")
    write_bench_page(out / "report.html", rows, whole, runs, bench)
    return rows


def pooled(rows: list[dict[str, Any]], runs: dict[Job, Runs]) -> list[dict[str, Any]]:
    """One row a set, part and method, over the runs on all scenes."""
    groups: dict[tuple[str, str, str], list[tuple[dict[str, Any], Runs]]] = {}
    for found, (job, each) in zip(rows, runs.items(), strict=True):
        groups.setdefault((job.set, job.part, job.method), []).append((found, each))
    whole = []
    for group in groups.values():
        first, parts = group[0][0], [each for _, each in group]
        ms = float(np.median([found["ms_per_step_p50"] for found, _ in group]))
        figures = metrics.figures(Runs.joined(parts))
        whole.append({**first, **figures, "scene": "all", "n": sum(len(each.run) for each in parts), "ms_per_step_p50": ms})
    return whole


def first_process() -> bool:
    """Whether this process writes: the only one, or the first of several."""
    return not dist.is_initialized() or dist.get_rank() == 0


def release() -> None:
    """Leave the group of processes."""
    if dist.is_initialized():
        dist.destroy_process_group()


def share_threads() -> None:
    """Share the cores with the processes beside this one on the machine."""
    world = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if world > 1:
        torch.set_num_threads(max(1, (os.cpu_count() or 1) // world))
