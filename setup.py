"""Compiles the C code into a wheel, where there is a compiler. pyproject.toml holds all else."""

import importlib.util
from pathlib import Path

from setuptools import Distribution, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_py import build_py

spec = importlib.util.spec_from_file_location(
    "build", Path(__file__).parent / "src/deepservo/native/build.py"
)
native = importlib.util.module_from_spec(spec)
spec.loader.exec_module(native)


class OfThisSystem(Distribution):
    """A wheel with compiled libraries is for one system; a wheel without them is for any."""

    def has_ext_modules(self):
        """Whether the C will be compiled."""
        return native.compiler() is not None


class WithLibraries(build_py):
    """Copies the modules and compiles the libraries beside them.

    An editable install compiles at first use instead.
    """

    def run(self):
        """Copy and compile."""
        super().run()
        if not self.editable_mode:
            native.into_wheel(Path(self.build_lib) / "deepservo" / "native")


class ForAnyPython(bdist_wheel):
    """A wheel for every Python version: the libraries do not use Python's binary interface."""

    def get_tag(self):
        """Give the tags in the file's name: Python, its binary interface, the system."""
        return "py3", "none", super().get_tag()[2]


setup(distclass=OfThisSystem, cmdclass={"build_py": WithLibraries, "bdist_wheel": ForAnyPython})
