"""MLVS's bank of a million poses: its memory, how fast and how truly it finds the fifty nearest,
and the search that needs no bank.

    python -m benchmarks bank --models out/models/coffee-mlvs.safetensors
    make table    # quiet machine, both

Queries are what psi makes of pictures of the scene, each alone as in servoing. Looking at all of
the bank is one product of matrices.
"""

import time
from pathlib import Path
from typing import Any

import torch
import tyro

from benchmarks.performance.speed import paired, rate
from deepservo.evaluation import metrics
from deepservo.features.latent import Latent
from deepservo.methods.bank import Bank
from deepservo.methods.mlvs import PoseSearch
from deepservo.models.scene_model import load_model
from deepservo.nets.resnet import folded
from deepservo.scene import sampling

K, QUERIES = 50, 64


def measured(path: Path, repeats: int) -> list[dict[str, Any]]:
    """One row of the bank against looking at all of it, one of it against the search on phi."""
    model = load_model(path)
    features, phi = Latent(model.camera, folded(model.net.images), windows=9), model.net.poses
    Ts = sampling.workspace(QUERIES, torch.Generator().manual_seed(1), model.distance)
    z = features.s(model.scene.render(model.camera, Ts))
    begin = time.perf_counter()
    bank = Bank(phi, torch.eye(4, dtype=torch.float64))
    built = time.perf_counter() - begin
    near, exact = bank.nearest(z, K)[0], bank.exact(z, K)[0]
    recall = (
        sum(len(set(a) & set(b)) for a, b in zip(near.tolist(), exact.tolist(), strict=True))
        / near.numel()
    )
    facts = {
        "scene": model.picture, "poses": len(bank.r),
        "mb": sum(t.nbytes for t in vars(bank).values()) / 1e6, "built_s": built, "neighbours": K,
        "recall": recall,
    }  # fmt: skip
    search, turn = PoseSearch(phi), iter(range(10**9))

    def each(look: Any) -> float:
        return rate(lambda: look(z[next(turn) % QUERIES][None]), 1)

    def ours() -> float:
        return each(lambda q: bank.nearest(q, K))

    others = {
        "looking at all of it": lambda: each(lambda q: bank.exact(q, K)),
        "the search on phi, no bank": lambda: each(search),
    }
    return [
        {**facts, "against": name, **paired(ours, other, repeats)} for name, other in others.items()
    ]


@torch.no_grad()
def main(
    *, models: tuple[Path, ...], repeats: int = 7, out: Path = Path("results/bank.json")
) -> None:
    """Measure everything.

    Args:
        models: of `mlvs`.
        repeats: of each time.
        out: the results file.
    """
    rows = [row for path in models for row in measured(path, repeats)]
    for row in rows:
        print(
            f"{row['scene']}: {row['mb']:.0f} MB, recall {row['recall']:.4f}, {row['ratio']:.1f} "
            f"times as fast as {row['against']}"
        )
    metrics.write_results(out, rows)


if __name__ == "__main__":
    tyro.cli(main)
