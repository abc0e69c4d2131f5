"""The studies: each network is built and learns, and a network that two studies share is one and
the same.
"""

import pytest
import torch

from benchmarks.methods import studies
from deepservo.bench.scenes import scene_of
from deepservo.evaluation.sets import SETS

COMPARED = (
    "losses",
    "size",
    "depth",
    "norm",
    "pool",
    "scenes",
    "regression",
    "spoiled",
    "bank",
    "siamese",
)


@pytest.fixture(scope="module")
def scene():
    return scene_of("page")


def first_loss(variant: studies.Variant, scene) -> tuple[float, list[torch.Size]]:
    """The first loss of a network, and the shapes of its weights."""
    torch.manual_seed(variant.seed)
    task = variant.task(scene)
    net = variant.net(task).to(memory_format=torch.channels_last)
    with torch.no_grad():
        return task.loss(net, variant.seed, 0).item(), [p.shape for p in net.parameters()]


@pytest.mark.parametrize("study", COMPARED)
def test_what_a_study_compares_can_be_learned_and_steered_with(study, scene):
    variants = studies.variants(study, "cpu")
    assert len({(v.label, v.seed) for v in variants}) == len(variants) > 1
    assert all(
        {part.label for part in SETS[name]} & set(studies.HARDEST)
        for v in variants
        for name in v.sets
    )
    loss, _ = first_loss(variants[-1], scene)
    assert loss > 0


def test_what_studies_share_is_the_same_network(scene):
    by_name = {
        (f"{study}, {v.label}", v.seed): v
        for study in COMPARED
        for v in studies.variants(study, "cpu")
    }
    shared = [(v, by_name[v.learned_as, v.seed]) for v in by_name.values() if v.learned_as]
    assert {v.label for v, _ in shared} >= {
        "32 numbers",
        "8 blocks",
        "weight norm",
        "grouped pool",
        "this scene",
        "and out of focus",
    }
    for taker, owner in {v.label: (v, owner) for v, owner in shared}.values():
        assert first_loss(taker, scene) == first_loss(owner, scene), taker.label
