"""Prints pip's requirements for the oldest versions that pyproject.toml allows.

`make test-oldest` installs them. Those of the extra `mujoco` are among them.
"""

from pathlib import Path

import tomllib


def oldest(pyproject: str) -> list[str]:
    """`name==version` for each `name>=version` of the dependencies and of the extra `mujoco`."""
    project = tomllib.loads(pyproject)["project"]
    return [
        line.replace(">=", "==")
        for line in (*project["dependencies"], *project["optional-dependencies"]["mujoco"])
    ]


if __name__ == "__main__":
    print("\n".join(oldest((Path(__file__).parent.parent / "pyproject.toml").read_text())))
