"""A training shared by two processes that torchrun starts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from deepservo import PlanarScene, load_model
from deepservo.images import pictures
from deepservo.training.plan import Plan
from deepservo.training.progress import Checkpoint
from deepservo.training.train import train

STEPS, STOP = 9, 4


class Fit:
    """Points of a curve, with another batch at every draw."""

    rate = 2e-3

    def loss(self, net: torch.nn.Module, seed: int, step: int) -> torch.Tensor:
        x = torch.rand(16, 2, generator=torch.Generator().manual_seed(1000 * seed + step))
        return (net(x)[:, 0] - torch.sin(3 * x[:, 0]) * x[:, 1]).square().mean()


class Both(Fit):
    """The draws of two processes in one batch."""

    def loss(self, net: torch.nn.Module, seed: int, step: int) -> torch.Tensor:
        return (super().loss(net, seed, 2 * step) + super().loss(net, seed, 2 * step + 1)) / 2


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Linear(2, 16), torch.nn.Tanh(), torch.nn.Linear(16, 1))


def plan(partial: Path, resume: bool = False) -> Plan:
    return Plan(STEPS, 5, Checkpoint(partial, {}), resume)


SCRIPT = """
import os, signal, sys
from pathlib import Path
sys.path.insert(0, {here!r})
from safetensors.torch import save_file
from deepservo.system import distributed
from deepservo.training.train import train
from test_distributed import STOP, Fit, network, plan

out, net = Path(sys.argv[1]), network()
number, world = distributed.rank()

def strike(progress):
    if number == 1 and progress.step == STOP:  # Ctrl-C reaches one of them alone
        os.kill(os.getpid(), signal.SIGINT)

try:
    train(net, Fit(), plan(out / "partial"), strike)
except KeyboardInterrupt:
    print(f"process {{number}} stopped", flush=True)
distributed.decided(lambda: None)  # both are here
net = network()
if number:
    net.apply(lambda m: m.reset_parameters() if hasattr(m, "reset_parameters") else None)
train(net, Fit(), plan(out / "partial", resume=True), lambda progress: None)
save_file(net.state_dict(), out / f"net{{number}}.safetensors")
distributed.release()
names = [path.read_text().strip() for path in Path("/proc/self/task").glob("*/comm")]  # on Linux
print("threads:", *names, flush=True)
"""


def torchrun(*args: str) -> subprocess.CompletedProcess[str]:
    command = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc-per-node",
        "2",
        *args,
    ]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return done


def test_two_processes_learn_what_one_does_from_both_their_batches(tmp_path):
    """One of them stops, and the training is resumed from the first one's checkpoint."""
    (tmp_path / "script.py").write_text(SCRIPT.format(here=str(Path(__file__).parent)))
    done = torchrun(str(tmp_path / "script.py"), str(tmp_path))
    assert "process 0 stopped" in done.stdout and "process 1 stopped" in done.stdout, (
        "both stop where one is told to stop"
    )
    assert "gloo" not in done.stdout, (
        "threads that outlive their group can abort the process at its end"
    )
    alone = network()
    train(alone, Both(), plan(tmp_path / "alone"), lambda progress: None)
    for number in (0, 1):
        for name, weights in load_file(tmp_path / f"net{number}.safetensors").items():
            torch.testing.assert_close(weights, alone.state_dict()[name], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("length", [["--steps", "3"], ["--minutes", "0.02"]])
def test_learn_under_torchrun_writes_one_model(tmp_path, length):
    picture = pictures.bundled("coffee")[0]
    from skimage.io import imsave

    imsave(tmp_path / "coffee.png", (picture * 255).byte().numpy(), check_contrast=False)
    out = tmp_path / "model.safetensors"
    done = torchrun(
        "-m", "deepservo", "learn", str(tmp_path / "coffee.png"), "--out", str(out), *length
    )
    assert done.stdout.count("learned coffee.png") == 1
    model = load_model(out)
    assert model.training["settings"]["processes"] == 2 and isinstance(model.scene, PlanarScene)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["coffee.png", "model.safetensors"]


def quick_run(folder: Path) -> list[str]:
    return [
        "recipe",
        "siamese-se3",
        "--quick",
        "--steps",
        "3",
        "--out",
        str(folder / "out"),
        "--results",
        str(folder / "results"),
    ]


def test_a_recipe_under_torchrun_writes_one_result(tmp_path):
    for more in ((), ("--resume",)):
        done = torchrun("-m", "deepservo", *quick_run(tmp_path), *more)
        assert done.stdout.count("siamese-se3.json: 3 steps, 1 row") == 1
    found = json.loads((tmp_path / "results" / "siamese-se3.json").read_text())
    assert found["training"]["steps"] == 3 and found["rows"][0]["n"] == 2
    alone = 3 * found["training"]["batch"] / found["training"]["seconds"]
    assert found["training"]["samples_per_s"] == pytest.approx(2 * alone, rel=0.1), (
        "both processes' batches count"
    )


SHORT = """
import sys
import torch
from deepservo.cli import main
from deepservo.training.tasks.siamese import SiameseTask
from deepservo.system import distributed

loss = SiameseTask.loss

def tight(task, net, seed, step):
    found = loss(task, net, seed, step)
    if distributed.rank()[0] == 1 and task.batch > 32:  # its GPU is another's, too
        raise torch.cuda.OutOfMemoryError
    return found

SiameseTask.loss = tight
sys.exit(main(sys.argv[1:]))
"""


def test_short_memory_in_one_process_halves_the_batch_in_all(tmp_path):
    (tmp_path / "script.py").write_text(SHORT)
    done = torchrun(str(tmp_path / "script.py"), *quick_run(tmp_path))
    assert (
        done.stdout.count("out of memory; it begins again with 0.5 of the batch") == 1
        and "0.25" not in done.stdout
    )
    assert (
        json.loads((tmp_path / "results" / "siamese-se3.json").read_text())["training"]["batch"]
        == 32
    )
