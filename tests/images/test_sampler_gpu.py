"""The GPU's sampler without a GPU: run by Triton's interpreter against its plain twin, and compiled
for a GPU.
"""

import importlib
import sys
import warnings
from types import ModuleType

import pytest
import torch

from deepservo.images import sampler
from deepservo.images.sampler import build_pyramid, sample, sample_covered, sample_reference
from pretend import GPU, pretended_gpu
from tiny import mild_homographies

triton = pytest.importorskip("triton")


def kernels(monkeypatch: pytest.MonkeyPatch, interpreted: bool) -> ModuleType:
    monkeypatch.setenv("TRITON_INTERPRET", "1" if interpreted else "0")
    monkeypatch.delitem(sys.modules, "deepservo.images.sampler_gpu", raising=False)
    return importlib.import_module("deepservo.images.sampler_gpu")


@pytest.mark.parametrize("antialias", [True, False])
@pytest.mark.parametrize(
    "case",
    [(True, 1, (40, 61), (20, 33)), (False, 3, (17, 9), (5, 60))],
)
def test_the_kernel_equals_its_slow_twin(case, antialias, monkeypatch, generator):
    shared, channels, texture, size = case
    write, n = kernels(monkeypatch, interpreted=True).write, 3
    pyramid = build_pyramid(
        torch.rand(1 if shared else n, channels, *texture, generator=generator), antialias
    )
    Hs = mild_homographies(n, size, texture, generator)
    Hs[2, 2] = torch.tensor([0.0, 0.2, -1.0])  # the horizon runs through this view
    for background in (torch.rand(n, channels, generator=generator), None):
        image, coverage = torch.empty(n, channels, *size), torch.empty(n, *size)
        write(pyramid, Hs, background, image, coverage)
        twin, twin_coverage = sample_reference(pyramid, Hs, size, background)
        assert (image - twin)[:2].abs().max() < 1e-5 and (coverage - twin_coverage)[
            :2
        ].abs().max() < 1e-5
        assert (image - twin).abs().max() < 2e-3 and (coverage - twin_coverage).abs().max() < 2e-3
        alone = torch.empty_like(image)
        write(pyramid, Hs, background, alone, None)
        assert torch.equal(alone, image)


def test_the_kernel_is_used_where_pictures_are_on_a_gpu(monkeypatch, generator):
    coverages: list[bool] = []

    def write(pyramid, Hs, background, image, coverage):
        coverages.append(coverage is not None)
        image.fill_(0.5)

    monkeypatch.setattr(sampler, "_on_gpu", lambda: write)
    picture, Hs = (
        torch.rand(1, 1, 8, 8, generator=generator),
        torch.eye(3, dtype=torch.float64)[None],
    )
    with pretended_gpu():
        pyramid, there = build_pyramid(picture.to(GPU)), Hs.to(GPU)
        image = sample(pyramid, there, (4, 5), None)
        assert image.shape == (1, 1, 4, 5) and image.device == GPU and bool((image == 0.5).all())
        assert sample_covered(pyramid, there, (4, 5), None)[1].device == GPU and coverages == [
            False,
            True,
        ]
        sample(
            pyramid, there.clone().requires_grad_(), (4, 5), None
        ).sum().backward()  # by the plain twin, which has gradients
        assert len(coverages) == 2


def test_where_triton_cannot_build_it_one_warning_says_so(monkeypatch):
    kernels(monkeypatch, interpreted=False)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)  # which is missing here
    sampler._on_gpu.cache_clear()
    with pytest.warns(UserWarning, match="Triton could not build the GPU's sampler"):
        assert sampler._on_gpu() is None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert sampler._on_gpu() is None
    sampler._on_gpu.cache_clear()


@pytest.mark.parametrize(("levels", "channels", "filled"), [(9, 1, True), (1, 3, False)])
def test_it_builds_for_a_gpu(levels, channels, filled, monkeypatch):
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    module = kernels(monkeypatch, interpreted=False)
    kinds = {
        "textures": module.Textures("*fp32", "i64", "i64", "*i32", *["i32"] * 4),
        "views": module.Views(
            "*fp64",
            *(("*fp32", "*fp32", "constexpr") if filled else ("constexpr", "*fp32", "*fp32")),
            "i32",
            "i32",
        ),
        "LEVELS": "constexpr",
        "CHANNELS": "constexpr",
    }
    absent = (1, 3) if filled else (1, 1)  # of the views: the coverage, or the background
    places = {(2,): levels, (3,): channels, absent: None}
    built = triton.compile(
        ASTSource(fn=module._kernel, signature=kinds, constexprs=places),
        target=GPUTarget("cuda", 90, 32),
    )
    assert built.asm["cubin"]
