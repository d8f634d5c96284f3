"""Builds the C core where it can be built. The rest stands in pyproject.toml."""

from __future__ import annotations

import sysconfig
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

NOT_BUILT = """\
sqlite-claims: the C core could not be built; what the compiler said stands above. The Python scan serves instead.
It needs a C compiler and the headers of Python and SQLite: on Debian gcc, python3-dev and libsqlite3-dev; on Alpine
gcc, musl-dev, linux-headers, python3-dev and sqlite-dev. SQLITE_CLAIMS_REQUIRE_C=1 makes this an error."""


class BuildCore(build_ext):
    """Goes on without the core where it can't be built: build_core.py says whether it is optional."""

    def run(self) -> None:
        super().run()
        if not all(Path(path).exists() for path in self.get_outputs()):
            print(NOT_BUILT)
            self.distribution.ext_modules = []


class WheelAsBuilt(bdist_wheel):
    """A wheel without the core fits every platform, and must not be named, and cached, as one with it."""

    def run(self) -> None:
        self.run_command("build_ext")
        self.root_is_pure = not self.distribution.has_ext_modules()
        super().run()


# CPython without the GIL has no stable ABI before 3.15.
STABLE_ABI = not sysconfig.get_config_var("Py_GIL_DISABLED")

setup(
    cffi_modules=["csrc/build_core.py:ffibuilder"],
    cmdclass={"build_ext": BuildCore, "bdist_wheel": WheelAsBuilt},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if STABLE_ABI else {},
)
