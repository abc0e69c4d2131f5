"""Modules by the names that they had in 0.1: imported from where they are now, with a warning. Gone
in 0.3.
"""

import sys
import warnings
from collections.abc import Sequence
from importlib import import_module
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any

# A name of before, and where what it held is now.
MOVED = {
    "pictures": "images.pictures",
    "picture_files": "images.picture_files",
    "sampler": "images.sampler",
    "camera_file": "images.camera_file",
    "camera_text": "images.camera_text",
    "lens": "images.lens",
    "memory": "system.memory",
    "distributed": "system.distributed",
    "model": "models.scene_model scene.build",
    "checkpoint": "models.checkpoint system.files",
    "weights": "models.weights",
    "unseen": "training.learn_any_scene models.any_scene_model",
    "learn": "training.learn scene.build camera training.presets",
    "train": "training.train training.plan training.progress",
    "rehearsal": "training.rehearsal",
    "recipes": "training.recipes",
    "data": "training.tasks.pose training.tasks.task nets.precision",
    "data_latent": "training.tasks.latent scene.reference",
    "data_pair": "training.tasks.pair",
    "data_siamese": "training.tasks.siamese",
    "data_keypoint": "training.tasks.keypoint",
    "data_stock": "training.tasks.stock",
    "full_scale": "bench.full_scale",
    "robots": "worlds",
    **{
        f"robots.{name}": f"worlds.{name}"
        for name in "gantry arm views meshes mesh_files objects target grasp".split()
    },
    **{
        f"bench.{name}": f"evaluation.{name}"
        for name in "metrics conditions worlds poses sets objects".split()
    },
    "bench.protocols": "evaluation.trial evaluation.starts",
    "bench.told": "evaluation.summary",
    "bench.report": "report.run_page report.run_data",
    "methods.handoff": "methods.coarse_to_fine",
}
# What else is called now, of a module and of a controller.
RENAMED = {
    "methods.handoff": {"Handoff": "CoarseToFine", "Still": "ZeroVelocity"},
    "robots.gantry": {"poster": "add_textured_plane"},
    "rehearsal": {"came_home": "converged_runs"},
    "data_latent": {
        "begun": "principal_autoencoder",
        "bent": "bending",
        "spoiled": "degraded",
        "ways": "mixed_motions",
    },
    "data_pair": {
        "seen_as": "rendered_views",
        "spoiled": "degraded",
        "there": "corresponding_pixels",
    },
    "data_siamese": {"two_widths": "published_poses", "ways": "poses_on_runs"},
}
CONTROLLER = {
    "pace": "scale_gain",
    "keep": "select_runs",
    "budget": "max_steps",
    "evidence": "status",
    "stage": "is_refining",
}


class Moved(MetaPathFinder, Loader):
    """Finds them."""

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Of a name of before; None for every other."""
        package, _, inner = name.partition(".")
        return (
            ModuleSpec(name, self, is_package=inner == "robots")
            if package == "deepservo" and inner in MOVED
            else None
        )

    def exec_module(self, module: ModuleType) -> None:
        """Take over what the modules of now hold."""
        now = [
            f"deepservo.{name}"
            for name in MOVED[module.__name__.removeprefix("deepservo.")].split()
        ]
        warnings.warn(
            f"{module.__name__} is now {' and '.join(now)}, and goes in 0.3",
            DeprecationWarning,
            stacklevel=2,
        )
        for name in reversed(now):
            vars(module).update(
                {k: v for k, v in vars(import_module(name)).items() if not k.startswith("__")}
            )
        held = RENAMED.get(module.__name__.removeprefix("deepservo."), {})
        vars(module).update({before: vars(module)[after] for before, after in held.items()})


def attribute(module: str, name: str) -> Any:
    """What a module that stayed held in 0.1: `Simulator` of `loop`. AttributeError for every
    other.
    """
    if (module, name) != ("deepservo.loop", "Simulator"):
        raise AttributeError(f"module {module!r} has no attribute {name!r}")
    warnings.warn(
        "Simulator is now in deepservo.worlds.simulator, and goes from deepservo.loop in 0.3",
        DeprecationWarning,
        stacklevel=3,
    )
    return import_module("deepservo.worlds.simulator").Simulator


def of_controller(controller: Any, name: str) -> Any:
    """What a controller held in 0.1 under another name, such as `pace`. AttributeError for every
    other.
    """
    if name not in CONTROLLER:
        raise AttributeError(f"{type(controller).__name__!r} object has no attribute {name!r}")
    warnings.warn(
        f"{name} of a controller is now {CONTROLLER[name]}, and goes in 0.3",
        DeprecationWarning,
        stacklevel=3,
    )
    return getattr(controller, CONTROLLER[name])


def install() -> None:
    """Look for names of before ahead of the files."""
    if not any(isinstance(finder, Moved) for finder in sys.meta_path):
        sys.meta_path.insert(0, Moved())
