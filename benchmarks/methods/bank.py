"""MLVS's bank of a million poses: its memory, speed and recall of the fifty nearest, beside the
search that needs no bank.

    python -m benchmarks bank --models out/models/coffee-mlvs.safetensors && make table

Run it on a quiet machine. Queries are what psi makes of pictures of the scene, each alone as in
servoing. A search of the whole bank is one product of matrices.
"""

import time
from collections.abc import Callable
from pathlib import Path

import torch

from benchmarks.common.rows import Row, write
from benchmarks.common.timing import paired, rate
from deepservo.features.latent import Latent
from deepservo.methods.bank import Bank
from deepservo.methods.mlvs import PoseSearch
from deepservo.models.scene_model import load_model
from deepservo.nets.resnet import folded
from deepservo.scene import sampling

K, QUERIES = 50, 64


def measured(path: Path, repeats: int) -> list[Row]:
    """A row of the bank against a search of the whole bank, and one against the search on phi."""
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

    def each(look: Callable[[torch.Tensor], object]) -> float:
        return rate(lambda: look(z[next(turn) % QUERIES][None]))

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
    write(out, [row for path in models for row in measured(path, repeats)])
