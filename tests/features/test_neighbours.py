"""Nearest descriptors: against OpenCV's own matches, a plain search, and the twin in torch."""

import cv2
import numpy as np
import pytest
import torch

from deepservo import native
from deepservo.camera import PAPER_CAMERA
from deepservo.features import keypoints, neighbours
from deepservo.images.pictures import bundled
from deepservo.scene import PlanarScene, sampling


@pytest.fixture(scope="module")
def two_views() -> torch.Tensor:
    """A goal and a view of it (2, h, w)."""
    scene = PlanarScene(bundled("coffee"), 0.8)
    T_cam, T_goal = sampling.lookat_rz(1, torch.Generator().manual_seed(0))
    return scene.render(PAPER_CAMERA, torch.cat([T_goal[:1], T_cam]))[:, 0]


def descriptors(kind: str, n: int, m: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors, or bits of so many bytes with many that are equally near."""
    rng = np.random.default_rng(n)
    if kind == "vectors":
        return rng.normal(size=(n, 128)).astype("f4"), rng.normal(size=(m, 128)).astype("f4")
    size = int(kind)
    a, b = (rng.integers(0, 256, (k, size), np.uint8) for k in (n, m))
    some = min(n, m) // 2
    b[:some] = a[:some]
    b[m - some :] = b[:some]
    return a, b


@pytest.mark.parametrize(("n", "m"), [(1, 1), (1, 40), (40, 1), (37, 41), (300, 290)])
@pytest.mark.parametrize("kind", ["vectors", "32", "29", "65"])
def test_the_twin_finds_the_same(kind: str, n: int, m: int):
    a, b = descriptors(kind, n, m)
    fast, slow = neighbours.nearest(a, b), neighbours.nearest_reference(a, b)
    assert torch.equal(fast.nearest, slow.nearest) and torch.equal(fast.back, slow.back)
    assert torch.allclose(fast.first, slow.first, rtol=1e-4, atol=1e-3)
    assert torch.allclose(fast.second, slow.second, rtol=1e-4, atol=1e-3)


def test_it_is_the_same_without_a_compiler(monkeypatch):
    a, b = descriptors("32", 50, 60)
    fast = neighbours.match(a, b)
    monkeypatch.setattr(native, "library", lambda: None)
    assert all((x == y).all() for x, y in zip(fast, neighbours.match(a, b), strict=True))


def test_descriptors_that_are_no_numbers_do_no_harm():
    """A detector of the user's own may answer anything: what comes back are places in the sets."""
    a, b = descriptors("vectors", 20, 30)
    a[3], b[4] = np.nan, np.inf
    for i, j in (neighbours.match(a, b), neighbours.match_by_ratio(a, b)):
        assert ((i >= 0) & (i < len(a))).all() and ((j >= 0) & (j < len(b))).all()


@pytest.mark.parametrize(("detector", "norm"), [("sift", cv2.NORM_L2), ("orb", cv2.NORM_HAMMING)])
def test_matches_are_mutual_nearest_neighbours(two_views, detector, norm):
    a, b = (keypoints.detect(view, detector)[1] for view in two_views)
    slow = {(m.queryIdx, m.trainIdx) for m in cv2.BFMatcher(norm, crossCheck=True).match(a, b)}
    found = set(zip(*(each.tolist() for each in neighbours.match(a, b)), strict=True))
    assert len(slow) > 30 and found == slow


def test_distinctive_matches_are_mutual_and_pass_the_ratio_test(two_views):
    a, b = (keypoints.detect_fine(view)[1] for view in two_views)
    slow = set()
    apart = np.linalg.norm(a[:, None].astype(float) - b[None].astype(float), axis=2)
    for j in range(len(b)):
        near, next_near = np.argsort(apart[:, j])[:2]
        if (
            apart[near].argmin() == j
            and apart[near, j] < neighbours.MAX_DISTANCE_RATIO * apart[next_near, j]
        ):
            slow.add((near, j))
    found = set(zip(*(each.tolist() for each in neighbours.match_by_ratio(a, b)), strict=True))
    assert len(slow) > 30 and len(found ^ slow) <= 0.02 * len(slow), "but for rounding"


@pytest.mark.parametrize("match", [neighbours.match, neighbours.match_by_ratio])
def test_nothing_to_match(match):
    none, some = np.zeros((0, 1), np.float32), np.ones((5, 128), np.float32)
    for a, b in ((none, none), (none, some), (some, none)):
        assert [len(each) for each in match(a, b)] == [0, 0]
