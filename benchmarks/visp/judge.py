"""ViSP as the judge: the same picture, poses, camera and law in ViSP's code and ours; golden
numbers for the tests.

    python -m benchmarks visp/judge    # needs g++ and Debian's libvisp-dev

It builds judge.cpp, writes tests/golden/visp.npz and results/visp.json, and prints the differences.
"""

import shutil
import subprocess
import tempfile
from dataclasses import astuple, dataclass
from pathlib import Path

import cv2
import numpy as np
import torch

from benchmarks.common.rows import RESULTS, ROOT, write
from deepservo.camera import Camera
from deepservo.geometry import se3
from deepservo.loop import servo
from deepservo.methods.direct import Damping, PhotometricServo
from deepservo.scene import PlanarScene, sampling
from deepservo.scene.textures import texture
from deepservo.system.files import replacing
from deepservo.worlds.simulator import Simulator

HERE = Path(__file__).resolve().parent
CAMERA = Camera(96, 72, 120.0, 118.0, 46.5, 37.0)
DEPTH, WIDTH = 0.6, 0.8  # [m]
SIZE = (150, 200)
GAIN, MU, STEPS = 0.5, 0.01, 60


# ViSP's simulator keeps colours: each is interpolated and rounded, and the grey of three equal ones
# is cut down to a byte, which in double precision makes 62 of the 256 levels one darker.
LEVELS = torch.arange(256, dtype=torch.float64)
GREY = torch.floor(0.2126 * LEVELS + 0.7152 * LEVELS + 0.0722 * LEVELS).float()


class Bytes(PlanarScene):
    """A scene as ViSP's simulator draws it: plain bilinear, in bytes; the picture ends at the
    centres of the outermost texels.

    ViSP leaves a ring of one pixel at the border of what the camera sees white; no feature uses it.
    """

    def render(
        self, camera: Camera, T_world_cam: torch.Tensor, background: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Bytes over 255."""
        image = super().render(camera, T_world_cam, background)
        u, v = self._texels(camera, T_world_cam)
        h, w = self.texture.shape[1:]
        inside = (u >= 0) & (u <= w - 1) & (v >= 0) & (v <= h - 1)
        image = GREY[(image * 255).round().long()] / 255
        return torch.where(inside[:, None], image, 1.0)

    def _texels(
        self, camera: Camera, T_world_cam: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        x, y = torch.meshgrid(
            torch.arange(camera.width), torch.arange(camera.height), indexing="xy"
        )
        px = torch.stack([x, y, torch.ones_like(x)], -1).double()
        p = (self.homography(camera, T_world_cam)[:, None, None] @ px[..., None])[..., 0]
        return p[..., 0] / p[..., 2], p[..., 1] / p[..., 2]


def scene_and_poses() -> tuple[Bytes, torch.Tensor, torch.Tensor]:
    """A picture made by code, in bytes; the goal; starts from 2 to 6 cm and up to 6 deg away."""
    picture = (texture(SIZE, torch.Generator().manual_seed(3), "clouds") * 255).round() / 255
    generator = torch.Generator().manual_seed(0)
    T_goal = sampling.fronto_parallel(DEPTH)
    twist = torch.randn(4, 6, generator=generator, dtype=torch.float64) * torch.tensor(
        [0.02] * 3 + [0.04] * 3
    )
    return Bytes(picture, WIDTH, 1.0, antialias=False), T_goal, T_goal @ se3.exp(twist)


@dataclass(frozen=True)
class Judge:
    """judge.cpp, compiled, on one picture.

    picture: its file, in bytes. pitch: the size of one of its texels [m].
    """

    program: Path
    picture: Path
    camera: Camera
    pitch: float

    def run(self, mode: str, poses: torch.Tensor, steps: int = STEPS) -> list[np.ndarray]:
        """Lines of numbers that judge.cpp prints; the first pose is the goal's."""
        c = self.camera
        numbers = (self.pitch, c.width, c.height, c.fx, c.fy, c.cx, c.cy, DEPTH, GAIN, MU, steps)
        command = [self.program, mode, self.picture, *map(str, numbers)]
        text = "\n".join(" ".join(f"{x:.17g}" for x in T.flatten().tolist()) for T in poses)
        done = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
        return [np.array(line.split(), float) for line in done.stdout.splitlines()]


def build(folder: Path) -> Path | None:
    """Compile judge.cpp. Without g++ or ViSP it prints what to install, and returns None."""
    if (
        not shutil.which("g++")
        or subprocess.run(["pkg-config", "--exists", "visp"], check=False).returncode
    ):
        print("ViSP is not installed: apt-get install g++ pkg-config libvisp-dev")
        return None
    flags = subprocess.run(
        ["pkg-config", "--cflags", "visp"], capture_output=True, text=True, check=True
    ).stdout.split()
    libraries = ["-lvisp_robot", "-lvisp_visual_features", "-lvisp_io", "-lvisp_core"]
    program = folder / "judge"
    command = ["g++", "-O3", "-march=native", HERE / "judge.cpp", "-o", program, *flags, *libraries]
    subprocess.run(list(map(str, command)), check=True)
    return program


def write_picture(path: Path, picture: torch.Tensor) -> None:
    """Write a picture (1, h, w) in bytes, as ViSP reads it."""
    cv2.imwrite(str(path), (picture[0] * 255).round().byte().numpy())


def main() -> int:
    """Write the golden numbers and print how far ours are from them."""
    with tempfile.TemporaryDirectory() as scratch:
        program = build(Path(scratch))
        if program is None:
            return 0
        golden = golden_numbers(program, Path(scratch))
    path = ROOT / "tests" / "golden" / "visp.npz"
    path.parent.mkdir(exist_ok=True)
    with replacing(path) as beside, beside.open("wb") as out:
        np.savez_compressed(out, **golden)
    write(RESULTS / "visp.json", [apart(golden)])
    return 0


def golden_numbers(program: Path, folder: Path) -> dict[str, np.ndarray]:
    """ViSP's pictures, errors, interaction matrices and trajectories, and what they are made of."""
    scene, T_goal, Ts = scene_and_poses()
    judge, poses = Judge(program, folder / "texture.pgm", CAMERA, WIDTH / SIZE[1]), [T_goal, Ts]
    write_picture(judge.picture, scene.texture)
    pictures, features, servoing = (
        judge.run(mode, torch.cat(poses)) for mode in ("render", "features", "servo")
    )
    lines = 2 * STEPS + 1  # of one run
    runs = [servoing[i * lines : (i + 1) * lines] for i in range(len(Ts))]
    Ls = np.stack([line.reshape(-1, 6) for line in features[1::2]])
    return {
        "texture": (scene.texture * 255).round().byte().numpy(),
        "camera": np.array(astuple(CAMERA)),
        "T_goal": T_goal.numpy(),
        "Ts": Ts.numpy(),
        "pictures": np.stack(pictures).astype(np.uint8).reshape(-1, CAMERA.height, CAMERA.width),
        "errors": np.stack(features[::2]).astype(np.float32),
        "L": Ls.astype(np.float32),
        "Ts_visp": np.stack([np.stack([T.reshape(4, 4) for T in run[::2]]) for run in runs], 1),
    }


def apart(golden: dict[str, np.ndarray]) -> dict[str, float]:
    """How far ours are from ViSP's pictures, errors, interaction matrices and trajectories."""
    scene = Bytes(torch.from_numpy(golden["texture"]).float() / 255, WIDTH, 1.0, antialias=False)
    w, h, *intrinsics = golden["camera"].tolist()
    camera = Camera(int(w), int(h), *intrinsics)
    T_goal, Ts = torch.from_numpy(golden["T_goal"]), torch.from_numpy(golden["Ts"])
    images = scene.render(camera, Ts)
    levels = ((images[:, 0] * 255).round().numpy() - golden["pictures"])[:, 1:-1, 1:-1]
    servoing = PhotometricServo(
        camera, DEPTH, interaction="goal", gain=GAIN, damping=Damping(mu=MU, hold=10**6)
    )
    features, depth = servoing.features, torch.full((1, 1, 1), DEPTH)
    seen = torch.from_numpy(golden["pictures"]).float()[:, None] / 255
    goal = scene.render(camera, T_goal)
    L = 255 * features.L(seen, depth).numpy()
    servoing.set_goal(goal)
    ours = servo(
        Simulator(scene, camera, Ts), servoing, goal, len(golden["Ts_visp"]) - 1
    ).Ts_world_cam
    metres, _ = se3.distance(ours, torch.from_numpy(golden["Ts_visp"][: len(ours)]))
    return {
        "pixels that differ %": float(100 * (levels != 0).mean()),
        "grey levels at most": float(np.abs(levels).max()),
        "L, relative": float(np.linalg.norm(L - golden["L"]) / np.linalg.norm(golden["L"])),
        "trajectory mm at most": float(1e3 * metres.max()),
        "trajectory mm at the end": float(1e3 * metres[-1].max()),
    }
