"""Files that are never half-written, and places that can be written to."""

import os
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from deepservo.errors import InputError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A path beside `path` to write to; it takes the name `path` when the block ends well and
    vanishes otherwise.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); choose another place"
        ) from None
    os.close(handle)
    beside = Path(name)
    try:
        yield beside
        beside.chmod(0o644)
        os.replace(beside, path)
    except OSError as error:
        raise InputError(
            f"{path}: cannot be written ({error.strerror}); free some space or choose another place"
        ) from None
    finally:
        beside.unlink(missing_ok=True)


def check_writable(path: Path) -> None:
    """InputError when no file can be made at `path`; to be called before long work."""
    folder = next(p for p in path.absolute().parents if p.exists())
    if not folder.is_dir():
        raise InputError(f"{path}: cannot be written ({folder} is a file); choose another place")
    if not os.access(folder, os.W_OK | os.X_OK):
        raise InputError(
            f"{path}: cannot be written (no permission in {folder}); choose another place"
        )


def check_folder(out: Path, ours: Collection[str]) -> None:
    """InputError when `out` cannot be a folder of files `ours`: a file, a folder that holds others,
    or a place without permission.
    """
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is a file; give a folder for the results")
    unfinished = tuple(f".{name}." for name in ours)  # what a kill in the middle of writing leaves
    others = (
        sorted(
            p.name
            for p in out.iterdir()
            if p.name not in ours and not p.name.startswith(unfinished)
        )
        if out.is_dir()
        else []
    )
    check_writable(out / "results.json")
    if others:
        raise InputError(
            f"{out}: holds other things ({', '.join(others[:3])}); give a new or an empty folder"
        )
