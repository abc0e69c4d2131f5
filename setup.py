"""Compiles the C into a wheel, where a compiler is; all else stands in pyproject.toml."""

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
    """A wheel with libraries is one system's; one without is for all."""

    def has_ext_modules(self):
        """Whether the C will be compiled."""
        return native.compiler() is not None


class WithLibraries(build_py):
    """Copies the modules, and compiles the libraries beside theirs; an editable install compiles at
    first use instead.
    """

    def run(self):
        """Copy and compile."""
        super().run()
        if not self.editable_mode:
            native.into_wheel(Path(self.build_lib) / "deepservo" / "native")


class ForAnyPython(bdist_wheel):
    """The libraries know nothing of Python, so its version does not matter."""

    def get_tag(self):
        """Of the file's name: Python, its binary interface, the system."""
        return "py3", "none", super().get_tag()[2]


setup(distclass=OfThisSystem, cmdclass={"build_py": WithLibraries, "bdist_wheel": ForAnyPython})
