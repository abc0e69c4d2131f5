"""The fuzzer's command lines: bytes that choose words."""

import contextlib
import io
import shutil
from pathlib import Path

from deepservo.cli import main
from deepservo.methods.base import Controller

MADE = ("out", "other", "demo", "new.safetensors")
WORDS = [
    *"demo learn servo target info bench recipe list --help --version --image --goal --poses "
    "--camera --mesh --pose --unit --out".split(),
    *"--method --methods --set --sets --starts --seed --n --world --distance --width --view "
    "--steps --minutes --quick --resume".split(),
    *"--models --scenes --compare --missing --preset --backbone --loss --colour pbvs dvs sift+dvs "
    "orb cnn aevs mlvs pca-4 auto".split(),
    *"siamese-se3 dfbvs photometric nothing lookat screw lookat-rz-perturbed gaussian coffee moon "
    "gantry simulator paper cpu".split(),
    *"0 1 2 -1 0.6 nan inf 1e9 1e-9 mm m x '' picture.png colour.jpg deep.tif pictures "
    "camera.yaml camera.xml poses.npz pose.npz".split(),
    *"model.safetensors box.obj box.stl . out other new.safetensors results.json pbvs,dvs "
    "lookat,screw 1e3 --width=0.5".split(),
]
# These take longer than a fuzzer can wait, and are run with --help only.
SLOW = ("demo", "recipe", "gantry", "paper", "--minutes", "--world")
BOUNDS = {
    "servo": {"--starts": "1"},
    "learn": {"--steps": "1"},
    "bench": {"--n": "1", "--methods": "pbvs", "--sets": "lookat", "--scenes": "coffee"},
}
LINES = (
    "servo --image picture.png --method pbvs --poses poses.npz --out out",
    "servo --image picture.png --camera camera.yaml --starts 1 --out out",
    "servo --image colour.jpg --goal picture.png --method sift+dvs --starts 2 --seed 1 --out out",
    "servo --image deep.tif --camera camera.xml --method orb --set screw --distance 2 --width 1 "
    "--out out",
    "servo --image picture.png --method dfbvs --starts 1 --out other",
    "servo --method photometric --image colour.jpg --set lookat --out out",
    "servo model.safetensors --starts 1 --out out",
    "servo model.safetensors --goal picture.png --method cnn --out out",
    "target --mesh box.obj --pose pose.npz --camera camera.yaml --out out",
    "target --mesh box.stl --pose pose.npz --camera camera.xml --unit m --out other",
    "learn picture.png --steps 1 --out new.safetensors",
    "learn picture.png --view --distance 1 --camera camera.yaml --method cnn --steps 2 --seed 1 "
    "--out new.safetensors",
    "learn pictures --method siamese-se3 --steps 1 --width=0.5 --out new.safetensors",
    "bench --methods pbvs,dvs --sets lookat,screw --scenes coffee --n 1 --out out",
    "bench --image picture.png --methods pbvs --sets lookat-rz-perturbed --n 1 --seed 2 --out out",
    "bench --image pictures --methods pbvs --poses poses.npz --n 1 --out out",
    "bench --models model.safetensors --methods pbvs --sets gaussian --n 1 --out other",
    *("bench --compare results.json results.json", "recipe --missing", "demo --starts 0 --help"),
    *("info model.safetensors", "info box.obj", "list", "--version", "servo --help"),
    *("learn --help", "x"),
)


def command(data: bytes, folder: Path) -> bool:
    """Run the command line that the bytes choose. What could take minutes is bounded, or left
    out.
    """
    words = [WORDS[byte % len(WORDS)] for byte in data[:24]]
    if set(words) & set(SLOW) and not {"--help", "--missing"} & set(words):
        return False
    for option, value in BOUNDS.get(words[0] if words else "", {}).items():
        words += [option, value] if option not in words else []
    ours = {word for word in words if word in MADE or (folder / word).exists()}
    words = [str(folder / word) if word in ours else word for word in words]
    error = io.StringIO()
    Controller.max_steps = 3
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(error):
        try:
            code = main(words)
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 1
    assert code in (0, 2), f"{words}: code {code}"
    lines = error.getvalue().splitlines()
    if code == 2:
        assert len(lines) == 1 and lines[0].startswith("deepservo: "), f"{words}: {lines}"
    bad = [line for line in lines if "Traceback" in line or "Warning:" in line]
    assert not bad, f"{words}: {lines}"
    made = [path for name in MADE for path in (folder / name).rglob("*")]
    left = [path for path in made if path.name.startswith(".") or path.suffix == ".partial"]
    assert not left, f"{words}: left {left}"
    for name in MADE:
        if (folder / name).is_dir():
            shutil.rmtree(folder / name)
        (folder / name).unlink(missing_ok=True)
    return code == 0
