"""What a model file holds: what `deepservo info` does."""

from pathlib import Path

from deepservo.cli.console import console
from deepservo.models.any_scene_model import UnseenModel
from deepservo.models.scene_model import Model, read_model


def run_info(model_file: Path) -> None:
    """What a model is, how it was made, on which camera."""
    model = read_model(model_file)
    if isinstance(model, UnseenModel):
        console.print(
            f"{model_file}: {model.method}, a network of {model.training['parameters']:,} "
            f"parameters for any scene\n{_made(model)}"
        )
        return
    camera = model.camera
    h, w = model.scene.texture.shape[1:]
    lens = f", distortion {list(model.distortion)}" if any(model.distortion) else ""
    tried = model.training.get("rehearsed")
    rehearsed = (
        f"rehearsed {tried['home']} of {tried['runs']} runs came home in the learned scene\n"
        if tried
        else ""
    )
    several = model.training.get("scenes")
    scenes = f"{several} scenes, the first of them" if several else "one scene"
    console.print(
        f"{model_file}: {model.method}, a network of {model.training['parameters']:,} parameters "
        f"for {scenes}\n"
        f"scene     {model.picture}, {w} x {h} pixels on {model.scene.width:.4g} x "
        f"{model.scene.height:.4g} m, "
        f"reference distance {model.distance:g} m\n"
        f"camera    {camera.width} x {camera.height}, fx {camera.fx:g}, fy {camera.fy:g}, centre "
        f"({camera.cx:g}, {camera.cy:g}){lens}\n"
        f"{rehearsed}{_made(model)}"
    )


def _made(model: Model | UnseenModel) -> str:
    """How a model was trained, and by which version."""
    training = model.training
    loss = f"{training['loss'][-1][1]:.3g}" if training["loss"] else "unknown"
    return (
        f"training  {training['steps']} steps of {training['batch']} pictures in "
        f"{training['seconds']:.0f} s "
        f"on {training['threads']} threads, seed {training['seed']}, loss {loss}\nmade by   "
        f"deepservo {model.version}"
    )
