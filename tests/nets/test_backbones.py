"""Backbones: their sizes, and weights from torchvision's files."""

import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file

from deepservo.errors import InputError
from deepservo.models.weights import load_backbone
from deepservo.nets.backbones import BACKBONES, backbone, compact, normalised, resnet18
from deepservo.nets.resnet import folded
from deepservo.nets.siamese import RegressionNet, SiameseNet
from tiny import lived_in

# As in torchvision, without the layer that names ImageNet's 1000 classes.
PARAMETERS = {
    "alexnet": 61_100_840 - 4097 * 1000,
    "vgg16": 138_357_544 - 4097 * 1000,
    "resnet18": 11_689_512 - 513 * 1000,
    "resnet34": 21_797_672 - 513 * 1000,
    "resnet50": 25_557_032 - 2049 * 1000,
    "efficientnet_b0": 5_288_548 - 1281 * 1000,
    "efficientnet_b1": 7_794_184 - 1281 * 1000,
    "efficientnet_b2": 9_109_994 - 1409 * 1000,
    "efficientnet_b3": 12_233_232 - 1537 * 1000,
}


@pytest.mark.parametrize("name", BACKBONES)
def test_every_backbone_answers_as_many_numbers_as_it_says_and_learns(name):
    torch.manual_seed(0)
    net = backbone(name).train()
    side = min(net.size, 96)
    images = normalised(torch.rand(2, 1, side, side))
    numbers = net(images)
    assert numbers.shape == (2, net.out)
    numbers.square().mean().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in net.parameters())
    net.eval()
    with torch.no_grad():
        assert not torch.equal(*net(images))  # two pictures have different answers
        torch.testing.assert_close(net(images)[:1], net(images[:1]), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("name", ["resnet18", "resnet50", "efficientnet_b0", "compact"])
def test_for_inference_no_batch_norm_is_left_and_the_answer_is_the_same(name, generator):
    net = lived_in(backbone(name), generator).double()
    images = torch.rand(
        2, 3, min(net.size, 96), min(net.size, 96), generator=generator, dtype=torch.float64
    )
    plain = folded(net)
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in plain.modules())
    with torch.no_grad():
        torch.testing.assert_close(plain(images), net(images), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", BACKBONES)
def test_the_published_regressors_stand_on_every_backbone(name, channels):
    with torch.device("meta"):
        images = torch.rand(2, channels, backbone(name).size, backbone(name).size)
        siamese, regressor = SiameseNet(name), RegressionNet(name)
        assert (
            siamese.answer(siamese.features(images), siamese.features(images[:1])).shape
            == regressor(images).shape
            == (2, 6)
        )


@pytest.mark.parametrize("name", PARAMETERS)
def test_sizes_are_the_published_ones(name):
    with torch.device("meta"):
        net = backbone(name)
    assert sum(p.numel() for p in net.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", PARAMETERS)
def test_weights_from_torchvision_give_its_answer(name, tmp_path):
    models = pytest.importorskip("torchvision.models")
    torch.manual_seed(0)
    theirs, ours = models.get_model(name, weights=None).eval(), backbone(name)
    file = tmp_path / "weights.pth"
    torch.save(theirs.state_dict(), file)
    load_backbone(ours, name, file)
    holder, _, last = ours.last.rpartition(".")
    setattr(theirs.get_submodule(holder), last, torch.nn.Identity())
    images = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        torch.testing.assert_close(ours.eval()(images), theirs(images), rtol=1e-4, atol=1e-5)


def _saved(tmp_path, **changes):
    """A file of ResNet-18's weights as torchvision saves them, with changes. None removes a
    tensor.
    """
    found = {
        **resnet18().state_dict(),
        "fc.weight": torch.zeros(1000, 512),
        "fc.bias": torch.zeros(1000),
    }
    found |= {k.replace("__", "."): v for k, v in changes.items()}
    file = tmp_path / "weights.safetensors"
    save_file({k: v.clone() for k, v in found.items() if v is not None}, file)
    return file


def test_weights_without_the_classes_are_taken_from_safetensors_too(tmp_path):
    net, marked = resnet18(), torch.full((64,), 0.5)
    load_backbone(net, "resnet18", _saved(tmp_path, bn1__bias=marked, fc__weight=None))
    assert torch.equal(net.bn1.bias.data, marked)
    load_backbone(net, "resnet18", _saved(tmp_path, bn1__num_batches_tracked=None))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"layer2__0__conv1__weight": None}, "lacks layer2.0.conv1.weight"),
        (
            {"layer2__0__conv1__weight": torch.zeros(128, 64, 1, 1)},
            r"layer2.0.conv1.weight has shape \(128, 64, 1, 1\)",
        ),
        ({"layer5__bias": torch.zeros(3)}, "has no layer5.bias"),
        ({"bn1__weight": torch.full((64,), torch.nan)}, "bn1.weight is not finite"),
        (
            {"conv1__weight": None, "stem__weight": torch.zeros(2)},
            "lacks conv1.weight and has stem.weight",
        ),
    ],
)
def test_weights_of_another_network_are_refused_by_name(tmp_path, changes, words):
    net = resnet18()
    before = net.conv1.weight.clone()
    with pytest.raises(InputError, match=words):
        load_backbone(net, "resnet18", _saved(tmp_path, **changes))
    assert torch.equal(net.conv1.weight, before)


class Evil:
    def __reduce__(self):
        return (print, ("executed",))


def test_files_that_hold_no_weights_are_refused_and_never_executed(tmp_path, capsys):
    file = tmp_path / "weights.pth"
    with pytest.raises(InputError, match="no such file"):
        load_backbone(resnet18(), "resnet18", file)
    for content in (b"", b"not weights", b"PK\x03\x04 broken"):
        file.write_bytes(content)
        with pytest.raises(InputError, match="cannot be read as weights"):
            load_backbone(resnet18(), "resnet18", file)
    torch.save({"weight": Evil()}, file)
    with pytest.raises(InputError, match="cannot be read as weights"):
        load_backbone(resnet18(), "resnet18", file)
    assert "executed" not in capsys.readouterr().out
    torch.save([1, 2], file)
    with pytest.raises(InputError, match="no state dict"):
        load_backbone(resnet18(), "resnet18", file)


def test_our_own_backbone_has_no_weights_elsewhere(tmp_path):
    with pytest.raises(InputError, match="own"):
        load_backbone(compact(), "compact", _saved(tmp_path))


def test_an_unknown_backbone_is_refused_with_the_nearest():
    with pytest.raises(InputError, match="did you mean resnet18"):
        backbone("resnet8")


def test_building_a_backbone_touches_no_disk_and_no_network():
    code = (
        "import sys; from deepservo.nets.backbones import backbone\n"
        "seen = []; sys.addaudithook(lambda event, args: seen.append(event) if event in ('open', "
        "'socket.connect') else None)\n"
        "backbone('efficientnet_b0'); print(seen)"
    )
    assert (
        subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        ).stdout.strip()
        == "[]"
    )
