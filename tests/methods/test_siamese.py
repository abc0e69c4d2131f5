"""Siame-se(3) and CNN-VS as published, as a user works with them."""

import json

import cv2
import numpy as np
import pytest
import torch
from scipy.spatial.transform import Rotation

import deepservo
from deepservo import load_model
from deepservo.cli import main
from deepservo.geometry import se3
from deepservo.images.pictures import LUMA
from deepservo.loop import servo
from deepservo.methods.cnn_vs import PoseServo
from deepservo.methods.siamese_se3 import SiameseServo
from deepservo.nets import NETS
from deepservo.nets.backbones import resnet18
from deepservo.nets.siamese import RegressionNet, SiameseNet
from deepservo.scene import sampling
from deepservo.training.tasks.siamese import (
    SiameseTask,
)
from deepservo.worlds.simulator import Simulator
from tiny import interrupt_at, learn_args, picture, weights

DISTANCE = 0.6
METHODS = ("siamese-se3", "siamese-SE3", "siamese-ibvs")


@pytest.mark.parametrize("method", METHODS)
def test_learned_saved_loaded_and_servoed(method, files, tmp_path, capsys):
    out = tmp_path / "model.safetensors"
    assert main(learn_args(files, out, "--method", method, "--steps", "2", "--loss", "two")) == 0
    model = load_model(out)
    assert model.method == method and model.training["settings"]["loss"] == "two"
    again = tmp_path / "again.safetensors"
    model.save(again)
    assert again.read_bytes() == out.read_bytes(), "saving and loading changes nothing"
    assert main(["info", str(out)]) == 0
    assert f"{method}, a network of" in capsys.readouterr().out
    controller = deepservo.load(out, method)
    image = model.scene.render(model.camera, sampling.fronto_parallel(model.distance))
    controller.set_goal(image)
    assert controller.velocity(image).abs().max() < 1e-9, "at the goal the velocity is zero"


def test_cnn_as_published_servoes_as_cnn(files, tmp_path):
    out = tmp_path / "model.safetensors"
    assert (
        main(learn_args(files, out, "--preset", "paper", "--backbone", "compact", "--steps", "2"))
        == 0
    )
    model = load_model(out)
    assert isinstance(model.net, RegressionNet) and model.net.name == "compact"
    servo = PoseServo(model.camera, model.net, model.distance)
    r = torch.tensor([[0.1, -0.2, 0.3, 0.2, 0.1, -0.3]])
    servo.net.forward = lambda images: r
    (T,) = servo.predict(torch.zeros(1, 1, 64, 64))
    np.testing.assert_allclose(T[:3, 3], [0.06, -0.12, 0.18 - 0.6], atol=1e-6)
    np.testing.assert_allclose(
        Rotation.from_matrix(T[:3, :3]).as_rotvec(), [0.2, 0.1, -0.3], atol=1e-6
    )
    deepservo.load(out).set_goal(model.scene.render(model.camera, sampling.fronto_parallel(0.6)))


def test_the_answers_are_in_units_of_the_distance_and_the_gain_scales_them(scene, small_camera):
    torch.manual_seed(0)
    net, image = SiameseNet("compact").eval(), torch.rand(2, 1, 64, 64)
    found = {}
    for name, (distance, pose, gain) in {
        "base": (1.0, False, 0.1),
        "far": (3.0, False, 0.1),
        "fast": (1.0, False, 0.5),
    }.items():
        servo = SiameseServo(small_camera, net, distance, pose, gain)
        servo.set_goal(image[:1])
        found[name] = servo.velocity(image[1:])
    scale = torch.tensor([[3.0] * 3 + [1.0] * 3])
    torch.testing.assert_close(found["far"], found["base"] * scale)
    torch.testing.assert_close(found["fast"], found["base"] * 5)


def test_a_pose_that_is_answered_steers_by_pbvs(small_camera):
    net = SiameseNet("compact")
    net.features, net.answer = (
        lambda images: images,
        lambda s, s_goal: torch.tensor([[0.2, 0.0, 0.1, 0.0, 0.0, 0.5]]),
    )
    servo = SiameseServo(small_camera, net, 0.5, pose=True)
    servo.set_goal(torch.zeros(1, 1, 64, 64))
    servo.looks = False  # the pictures stand for others
    R = Rotation.from_rotvec([0, 0, 0.5]).as_matrix()
    expected = -0.1 * np.concatenate([R.T @ [0.1, 0, 0.05], [0, 0, 0.5]])
    np.testing.assert_allclose(servo.velocity(torch.zeros(1, 1, 64, 64))[0], expected, atol=1e-7)


def test_the_goals_features_are_computed_once(scene, small_camera):
    net, seen = SiameseNet("compact").eval(), []
    backbone = net.backbone.forward
    net.backbone.forward = lambda images: seen.append(len(images)) or backbone(images)
    servo_ = SiameseServo(small_camera, net, DISTANCE)
    T = sampling.fronto_parallel(DISTANCE)
    goal = scene.render(small_camera, T)
    servo_.set_goal(goal)
    servo(
        Simulator(
            scene, small_camera, T.repeat(3, 1, 1) @ se3.exp(torch.full((3, 6), 0.02).double())
        ),
        servo_,
        goal,
        4,
    )
    assert seen == [1, 3, 3, 3, 3]


@pytest.fixture
def folder(tmp_path):
    """Two pictures."""
    for seed in (0, 1):
        (tmp_path / "pictures").mkdir(exist_ok=True)
        cv2.imwrite(str(tmp_path / "pictures" / f"{seed}.png"), picture(seed=seed))
    return tmp_path / "pictures"


def test_several_pictures_are_learned_by_one_network(folder, files, tmp_path, monkeypatch, capsys):
    out, steps = tmp_path / "model.safetensors", []
    monkeypatch.setattr(
        SiameseTask,
        "loss",
        lambda task, net, *_: (
            steps.append((len(task.others), task.ramp)) or net.log_variances.square().sum()
        ),
    )
    args = [
        "learn",
        str(folder),
        "--out",
        str(out),
        "--camera",
        str(files / "camera.yaml"),
        "--method",
        "siamese-se3",
    ]
    assert main([*args, "--steps", "4"]) == 0
    assert steps == [(1, 2)] * 4, "in minutes the curriculum takes half of the training"
    steps.clear()
    assert main([*args, "--steps", "15", "--preset", "paper", "--backbone", "compact"]) == 0
    assert steps == [(1, 2)] * 15, "as published 10 of 75 parts"
    assert len(load_model(out).training["settings"]["others"]) == 1
    capsys.readouterr()
    assert main(["info", str(out)]) == 0
    assert "for 2 scenes, the first of them" in capsys.readouterr().out


def test_stopped_and_resumed(files, tmp_path, interruptible):
    args = [
        learn_args(files, tmp_path / name, "--method", "siamese-se3", "--steps", "3")
        for name in ("whole", "stopped")
    ]
    assert main(args[0]) == 0
    with pytest.MonkeyPatch.context() as patch:
        interrupt_at(1, patch)
        assert main(args[1]) == 2
    assert main([*args[1], "--loss", "two", "--resume"]) == 2, "another loss is another training"
    assert main([*args[1], "--resume"]) == 0
    whole, stopped = (weights(tmp_path / name) for name in ("whole", "stopped"))
    assert all(torch.equal(whole[k], stopped[k]) for k in whole), (
        "the weights of the loss too were kept"
    )


def test_colours_are_learned_kept_and_seen(files, tmp_path, capsys):
    coloured = np.stack([picture(seed=seed) for seed in (1, 2, 3)], -1)
    cv2.imwrite(str(tmp_path / "coloured.png"), coloured)
    out = tmp_path / "model.safetensors"
    args = [
        "learn",
        str(tmp_path / "coloured.png"),
        "--out",
        str(out),
        "--camera",
        str(files / "camera.yaml"),
        "--colour",
        "--steps",
        "2",
    ]
    assert main([*args, "--method", "siamese-se3"]) == 0
    model = load_model(out)
    assert torch.equal(
        model.scene.texture, torch.from_numpy(coloured[..., ::-1].copy()).permute(2, 0, 1) / 255
    )
    controller = deepservo.load(out, "siamese-se3")
    image = model.scene.render(model.camera, sampling.fronto_parallel(0.6))
    assert image.shape[1] == 3
    controller.set_goal(image)
    assert controller.velocity(image).abs().max() < 1e-9
    same_grey = (image * LUMA[:, None, None]).sum(1, keepdim=True).expand(-1, 3, -1, -1)
    assert controller.velocity(same_grey).abs().max() > 1e-4, "only the colour differs"
    cv2.imwrite(
        str(tmp_path / "goal.png"), (255 * image[0].permute(1, 2, 0).numpy()[..., ::-1]).round()
    )
    scene = ["--image", str(tmp_path / "coloured.png"), "--goal", str(tmp_path / "goal.png")]
    for method in ("siamese-se3", "siamese-se3+dvs"):  # whose refinement uses grey levels
        where = ["--set", "gaussian", "--starts", "2", "--out", str(tmp_path / "out")]
        assert main(["servo", str(out), "--method", method, *where]) == 0
        assert main(["servo", str(out), "--method", method, *scene, *where]) == 0
    refined = deepservo.load(out, "siamese-se3+dvs")
    refined.set_goal(image)
    assert refined.velocity(image).abs().max() < 1e-6 and refined.is_refining(1).tolist() == [1]
    assert main([*args, "--method", "mlvs"]) == 2
    assert "mlvs: learns grey levels" in capsys.readouterr().err


def test_impossible_options_are_refused_in_one_sentence(files, folder, tmp_path, capsys):
    out = tmp_path / "m.safetensors"
    file = tmp_path / "weights.pth"
    torch.save({"layer": torch.zeros(2)}, file)
    siamese = ("--method", "siamese-se3")
    for more, words in (
        (("--backbone", "resnet18"), "cnn: has no backbone with --preset cpu"),
        (("--weights", str(file)), "--method cnn --preset paper"),
        (
            ("--loss", "two"),
            "has one loss with --preset cpu; leave --loss away, or give one of --method aevs "
            "--preset paper, --method siamese",
        ),
        (("--method", "aevs", "--preset", "paper", "--loss", "pixl"), "did you mean pixel"),
        ((*siamese, "--loss", "tow"), "did you mean two"),
        ((*siamese, "--backbone", "resnet8"), "did you mean resnet18"),
        ((*siamese, "--weights", str(file)), "compact is deepservo's own"),
        (
            (*siamese, "--backbone", "resnet18", "--weights", str(file)),
            "weights.pth: is not for resnet18: it lacks conv1.weight and has layer",
        ),
        (
            (*siamese, "--backbone", "resnet18", "--weights", str(tmp_path / "none.pth")),
            "none.pth: no such file",
        ),
        (("--method", "siamese"), "did you mean siamese-se3"),
        ((*siamese, "--preset", "papr"), "did you mean paper"),
    ):
        assert main(learn_args(files, out, "--steps", "2", *more)) == 2, more
        error = capsys.readouterr().err
        assert words in error and error.count("\n") == 1, error
    assert main(["learn", str(folder), "--out", str(out), "--steps", "2"]) == 2
    assert "cnn: learns one picture" in capsys.readouterr().err
    assert main(["learn", str(tmp_path / "m"), "--out", str(out), *siamese]) == 2
    assert not out.exists() and not out.with_name("m.safetensors.partial").exists()


def test_weights_that_are_given_are_where_the_training_begins(files, tmp_path, monkeypatch):
    monkeypatch.setattr(
        SiameseTask, "loss", lambda task, net, seed, step: net.net.head[-1].weight.square().sum()
    )
    marked = {
        k: torch.full_like(v, 0.25) if k == "bn1.bias" else v
        for k, v in resnet18().state_dict().items()
    }
    torch.save(marked, tmp_path / "weights.pth")
    args = ("--method", "siamese-se3", "--steps", "1", "--backbone", "resnet18")
    for name, more in (("with", ("--weights", str(tmp_path / "weights.pth"))), ("without", ())):
        assert main(learn_args(files, tmp_path / name, *args, *more)) == 0
    model, without = load_model(tmp_path / "with"), load_model(tmp_path / "without")
    assert model.net.config() == {"backbone": "resnet18", "bias": False, "colour": False}
    assert torch.equal(model.net.backbone.bn1.bias.detach(), marked["bn1.bias"])
    assert torch.equal(model.net.backbone.conv1.weight.detach(), marked["conv1.weight"])
    assert not torch.equal(without.net.backbone.conv1.weight, marked["conv1.weight"])
    assert model.training["settings"]["weights"] and "weights" not in without.training["settings"]


def test_files_of_another_kind_are_refused(files, tmp_path, capsys):
    out = tmp_path / "m.safetensors"
    assert main(learn_args(files, out, "--method", "siamese-se3", "--steps", "1")) == 0
    model = load_model(out)
    for changes, words in (
        ({"backbone": "resnet8"}, "there is no backbone"),
        ({"backbone": "resnet18"}, "weights"),
        ({"depth": 3}, "garbles"),
        ({"colour": True}, "the learned picture, of 1 channels"),
    ):
        tensors, config = deepservo.models.checkpoint.load(out)
        config["net"] |= changes
        bad = tmp_path / "bad.safetensors"
        deepservo.models.checkpoint.save(
            bad, tensors, {k: v for k, v in config.items() if k != "format"}
        )
        with pytest.raises(deepservo.InputError, match=words):
            load_model(bad)
    assert (
        json.dumps(model.net.config()) == '{"backbone": "compact", "bias": false, "colour": false}'
    )
    assert NETS["siamese-se3"](model.net.config()).bias is False
    with pytest.raises(deepservo.InputError, match="trained for another method"):
        deepservo.load(out, "siamese-SE3")
