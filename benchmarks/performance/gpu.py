"""Servoing in simulation on one device: steps of all runs a second by the number of runs at once,
beside two floors; and the latency of one step.

    python -m benchmarks gpu && make table      # on a machine with a GPU

Floors are those of this device, measured in the same run: how long the bytes that a step has to
move take at the speed of a plain copy, and how long a network's multiplications take at the speed
of a large product of matrices. A row that is in --out is not measured again.
"""

import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common.rows import Row, fill
from benchmarks.performance.speed import VISP_CAMERA
from deepservo.bench.scenes import scene_of
from deepservo.camera import PAPER_CAMERA
from deepservo.geometry import se3
from deepservo.methods import Controller
from deepservo.methods.aevs import latent_servo
from deepservo.methods.direct import FeatureServo, PhotometricServo
from deepservo.methods.mlvs import MetricServo
from deepservo.methods.siamese_se3 import SiameseServo
from deepservo.nets.metric import MetricNet
from deepservo.nets.precision import half_precision
from deepservo.nets.resnet import Encoder, Shape
from deepservo.nets.siamese import SiameseNet
from deepservo.scene import PlanarScene, sampling
from deepservo.system import distributed
from deepservo.worlds.simulator import Simulator

PUBLISHED: dict[str, Callable[[PlanarScene], Controller]] = {
    "dvs": lambda scene: PhotometricServo(PAPER_CAMERA),
    "dvs-visp": lambda scene: PhotometricServo(VISP_CAMERA, interaction="goal", gain=0.1),
    "aevs": lambda scene: latent_servo(PAPER_CAMERA, Encoder(Shape(18)).eval()),
    "mlvs": lambda scene: MetricServo(PAPER_CAMERA, MetricNet(Shape(34)).eval(), 0.6, scene),
    "siamese-se3": lambda scene: SiameseServo(
        PAPER_CAMERA, SiameseNet("efficientnet_b3").eval(), 0.6
    ),
}
"""Methods with the papers' networks, whose speed does not depend on what they have learned; and DVS
as ViSP's example has it.
"""
WARM, TIMED, ROUNDS = 3, 10, 5
FIGURES = ("steps_per_s", "ms_p50", "ms_p99", "ms_compiled", "memory_floor", "flop_floor")


def seconds(work: Callable[[], object], times: int = TIMED) -> list[float]:
    """How long each of so many calls takes [s], after WARM calls that are not measured."""
    for _ in range(WARM):
        work()
    took = []
    for _ in range(times):
        distributed.wait()
        begin = time.perf_counter()
        work()
        distributed.wait()
        took.append(time.perf_counter() - begin)
    return took


def speeds_of_device(copied: int, side: int) -> tuple[float, float]:
    """Bytes a second of a copy, read and written; operations a second of a product of matrices, in
    the precision that networks run in.
    """
    source, target = torch.zeros(copied), torch.zeros(copied)
    a = torch.ones(side, side)
    with torch.no_grad(), half_precision():
        copy, product = (
            statistics.median(seconds(work))
            for work in (lambda: target.copy_(source), lambda: a @ a)
        )
    return 8 * copied / copy, 2 * side**3 / product


def needed_bytes(pixels: int) -> int:
    """The bytes that a step of each run has to move: its picture is written once and read once, the
    goal is read once, float32.
    """
    return 3 * 4 * pixels


def operations(method: str, controller: Controller, images: torch.Tensor) -> int:
    """The operations of the networks in one call."""
    if method.startswith("dvs"):
        return 0
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        controller.velocity(images)
    return int(counter.get_total_flops())


def prepared(method: str, scene: PlanarScene, runs: int) -> tuple[Simulator, Controller]:
    """So many cameras near the goal, and the method's controller with its goal set."""
    torch.manual_seed(0)
    T_goal = sampling.fronto_parallel(0.6)
    offset = 0.02 * torch.randn(runs, 6, dtype=torch.float64)
    controller = PUBLISHED[method](scene)
    controller.set_goal(scene.render(controller.camera, T_goal))
    return Simulator(scene, controller.camera, T_goal @ se3.exp(offset)), controller


def compiled_ms(controller: Controller, images: torch.Tensor) -> float | None:
    """How long a call takes [ms] when what the controller computes of a picture is compiled, into
    CUDA's graphs where that is possible; None where it cannot be compiled.
    """
    # A law that counts its steps would be compiled again for each step.
    name = "_normal_equations" if isinstance(controller, FeatureServo) else "_velocity"
    setattr(controller, name, torch.compile(getattr(controller, name), mode="reduce-overhead"))
    try:
        return 1e3 * statistics.median(seconds(lambda: controller.velocity(images)))
    except torch.cuda.OutOfMemoryError:
        raise
    except RuntimeError as error:  # of whatever kind the compiler raises
        why = (str(error).splitlines() or [""])[0]
        print(f"{type(controller).__name__} is not compiled: {why}", flush=True)
        return None


def measured(method: str, scene: PlanarScene, runs: int, speeds: tuple[float, float]) -> Row:
    """A row beside the floors that the device's speeds give; its figures are null where the
    device's memory does not hold so many runs.
    """
    of_copy, of_product = speeds
    try:
        world, controller = prepared(method, scene, runs)

        def step() -> None:
            world.apply(controller.velocity(world.observe()), 1.0)

        with torch.no_grad():
            rounds, calls = ROUNDS if runs < 512 else 1, 100 if runs == 1 else TIMED
            rates = [runs / statistics.fmean(seconds(step)) for _ in range(rounds)]
            images = world.observe()
            alone = sorted(seconds(lambda: controller.velocity(images), calls))
            flops = operations(method, controller, images)
            faster = compiled_ms(controller, images)
    except torch.cuda.OutOfMemoryError:
        return dict.fromkeys(FIGURES)
    pixels = controller.camera.width * controller.camera.height
    return {
        "steps_per_s": statistics.median(rates),
        "ms_p50": 1e3 * statistics.median(alone),
        "ms_p99": 1e3 * alone[round(0.99 * (len(alone) - 1))],
        "ms_compiled": faster,
        "memory_floor": of_copy / needed_bytes(pixels),
        "flop_floor": of_product * runs / flops if flops else None,
    }


@dataclass(frozen=True)
class Options:
    """What is measured."""

    methods: tuple[str, ...] = tuple(PUBLISHED)
    """of PUBLISHED."""
    runs: tuple[int, ...] = (1, 64, 512, 4096)
    """so many at once."""
    copied: int = 2**26
    """numbers of the copy that the memory's floor is measured by."""
    side: int = 4096
    """of the matrices whose product the other floor is measured by."""
    out: Path = Path("results/gpu.json")
    """the results file."""


def main(options: Options) -> None:
    """Measure what is not measured yet, on the GPU, or on the processor where there is none."""
    with distributed.on_device():
        scene = scene_of("coffee").to(torch.get_default_device())
        speeds = speeds_of_device(options.copied, options.side)
        wanted = (
            {"method": method, "runs": runs} for method in options.methods for runs in options.runs
        )
        fill(
            options.out,
            wanted,
            lambda settings: measured(settings["method"], scene, settings["runs"], speeds),
            ("steps_per_s", "ms_p50"),
        )
