"""`deepservo info`: what a model file holds."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import tyro

if TYPE_CHECKING:
    from deepservo.models.any_scene_model import UnseenModel
    from deepservo.models.scene_model import Model


@dataclass(frozen=True)
class Info:
    """Say what a model is, how it was made, on which camera."""

    #: A model file.
    model: tyro.conf.Positional[Path]

    def run(self) -> None:
        """Print it."""
        from deepservo.cli.console import console
        from deepservo.models.scene_model import Model, read_model

        model = read_model(self.model)
        about = _of_one_scene(model) if isinstance(model, Model) else _of_any_scene(model)
        console.print(f"{self.model}: {about}\n{_made(model)}")


def _of_any_scene(model: "UnseenModel") -> str:
    parameters = model.training["parameters"]
    return f"{model.method}, a network of {parameters:,} parameters for any scene"


def _of_one_scene(model: "Model") -> str:
    """The network, its scene and its camera."""
    camera, scene, training = model.camera, model.scene, model.training
    h, w = scene.texture.shape[1:]
    scenes = "one scene"
    if "scenes" in training:
        scenes = f"{training['scenes']} scenes, the first of them"
    depth = "" if model.depth is None else " with its depth"
    lens = f", distortion {list(model.distortion)}" if any(model.distortion) else ""
    lines = [
        f"{model.method}, a network of {training['parameters']:,} parameters for {scenes}",
        f"scene     {model.picture}{depth}, {w} x {h} pixels on {scene.width:.4g} x "
        f"{scene.height:.4g} m, reference distance {model.distance:g} m",
        f"camera    {camera.width} x {camera.height}, fx {camera.fx:g}, fy {camera.fy:g}, "
        f"centre ({camera.cx:g}, {camera.cy:g}){lens}",
    ]
    if "rehearsed" in training:
        rehearsal = training["rehearsed"]
        share = f"{rehearsal['home']} of {rehearsal['runs']}"
        lines.append(f"rehearsed {share} runs converged in the learned scene")
    return "\n".join(lines)


def _made(model: "Model | UnseenModel") -> str:
    """How a model was trained, and by which version."""
    training = model.training
    loss = f"{training['loss'][-1][1]:.3g}" if training["loss"] else "unknown"
    return (
        f"training  {training['steps']} steps of {training['batch']} pictures in "
        f"{training['seconds']:.0f} s on {training['threads']} threads, seed {training['seed']}, "
        f"loss {loss}\nmade by   deepservo {model.version}"
    )
