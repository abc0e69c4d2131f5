"""Views lit as their goals: how the light is found, and the C against its twin in torch."""

import pytest
import torch

from deepservo import native
from deepservo.camera import PAPER_CAMERA, Camera
from deepservo.features import relighting
from deepservo.features.pairs import UNSEEN
from deepservo.features.relighting import light, light_reference, relit, relit_reference
from deepservo.images.pictures import bundled
from deepservo.scene import PlanarScene, sampling

NOISE = torch.tensor([[2e-3]]), torch.tensor([[2e-3]])


def picture(h: int, w: int, seed: int = 0) -> torch.Tensor:
    """A smooth random texture (1, h, w), from 0.2 to 0.7."""
    generator = torch.Generator().manual_seed(seed)
    rough = torch.rand(1, 1, h // 3, w // 3, generator=generator)
    return 0.2 + 0.5 * torch.nn.functional.interpolate(rough, (h, w), mode="bicubic")[0].clamp(0, 1)


def lamp(h: int, w: int) -> torch.Tensor:
    """How bright one side is over the other (h, w)."""
    return 0.4 + 0.6 * torch.sigmoid((torch.arange(w) - w / 2) / (w / 8)).expand(h, w)


@pytest.mark.parametrize("size", [(56, 56), (120, 160), (24, 30), (61, 47)])
def test_the_c_is_its_twin(size):
    goal = torch.cat([picture(*size), picture(*size, seed=1)])
    generator = torch.Generator().manual_seed(2)
    view = goal * lamp(*size) + 0.003 * torch.randn(goal.shape, generator=generator)
    view[0, :5, :7], goal[1, 10:15, :7] = UNSEEN, UNSEEN
    corner = ..., slice(size[0] // 2, None), slice(size[1] // 2, None)
    view[1][corner] = torch.rand(size, generator=generator)[corner]
    fast, slow = (each(goal, view, NOISE) for each in (light, light_reference))
    assert fast.differs.tolist() == slow.differs.tolist() == [True, True]
    for a, b in zip(fast[1:], slow[1:], strict=True):
        torch.testing.assert_close(a, b, rtol=1e-3, atol=1e-4)
    large = torch.rand(2, 1, 4 * size[0], 4 * size[1], generator=generator)
    torch.testing.assert_close(relit(large, slow), relit_reference(large, slow))


def test_it_is_the_same_without_a_compiler(monkeypatch):
    goal = picture(56, 56)
    fast = light(goal, goal * lamp(56, 56), NOISE)
    monkeypatch.setattr(native, "library", lambda: None)
    slow = light(goal, goal * lamp(56, 56), NOISE)
    torch.testing.assert_close(fast.gain, slow.gain, rtol=1e-3, atol=1e-4)
    view = goal[:, None]
    torch.testing.assert_close(relit(view, fast), relit_reference(view, fast))


def test_a_view_under_a_lamp_becomes_its_goal():
    goal, light_of = picture(112, 112), lamp(112, 112)
    view = goal * light_of
    found = light(goal, view, NOISE)
    apart = (relit(view[:, None], found)[:, 0] - goal).abs()
    assert found.differs.all() and apart.median() < 0.1 * (view - goal).abs().median()
    inverse = torch.nn.functional.adaptive_avg_pool2d(1 / light_of[None], relighting.CELLS)
    torch.testing.assert_close(found.gain, inverse, rtol=0.15, atol=0)


@pytest.mark.parametrize("change", ["exposure", "cover", "noise", "move"])
def test_what_is_no_lamp_is_left_alone(change):
    scene, T = PlanarScene(bundled("coffee"), 0.8), sampling.fronto_parallel(0.6)
    camera: Camera = PAPER_CAMERA.resize(56, 56)
    goal = scene.render(camera, T)[:, 0]
    view = goal.clone()
    if change == "exposure":
        view = 0.5 * goal + 0.1
    elif change == "cover":
        view[:, 5:30, 5:30] = 0.5
    elif change == "noise":
        view = view + 0.01 * torch.randn(view.shape, generator=torch.Generator().manual_seed(0))
    else:
        T = T.clone()
        T[..., 0, 3] += 2e-3
        view = scene.render(camera, T)[:, 0]
    noises = NOISE if change != "noise" else (NOISE[0], torch.tensor([[0.01]]))
    assert not light(goal, view, noises).differs.any()


def test_what_is_overexposed_or_unseen_stays_unseen():
    goal = picture(56, 56)
    view = goal * lamp(56, 56)
    view[:, :10], view[:, 20:22] = 1.0, UNSEEN
    out = relit(view[:, None], light(goal, view, NOISE))
    assert (out[0, 0, :10] == UNSEEN).all() and (out[0, 0, 20:22] == UNSEEN).all()
    assert (out[0, 0, 30:] > 0).all()
