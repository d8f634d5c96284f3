"""Builds the C core if this machine can build it. All other settings are in pyproject.toml."""

from __future__ import annotations

import sysconfig
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

NOT_BUILT = """\
sqlite-claims: the C core could not be built. The compiler's messages are printed above. The Python scan is used.
The C core needs a C compiler and the headers of Python and SQLite. Install gcc, python3-dev and libsqlite3-dev on
Debian, or gcc, musl-dev, linux-headers, python3-dev and sqlite-dev on Alpine. If the environment variable
SQLITE_CLAIMS_REQUIRE_C is 1, a failed build is an error."""


class BuildCore(build_ext):
    """Builds the C core. If the build fails and build_core.py marks the core as optional, the installation continues
    without the core."""

    def run(self) -> None:
        super().run()
        if not all(Path(path).exists() for path in self.get_outputs()):
            print(NOT_BUILT)
            self.distribution.ext_modules = []


class WheelAsBuilt(bdist_wheel):
    """Names the wheel by its content. A wheel without the C core works on every platform, so its name must differ from
    that of a wheel with the core. Otherwise pip would cache a wheel without the core as a wheel with the core."""

    def run(self) -> None:
        self.run_command("build_ext")
        self.root_is_pure = not self.distribution.has_ext_modules()
        super().run()


# Free-threaded CPython has no stable ABI before version 3.15.
STABLE_ABI = not sysconfig.get_config_var("Py_GIL_DISABLED")

setup(
    cffi_modules=["csrc/build_core.py:ffibuilder"],
    cmdclass={"build_ext": BuildCore, "bdist_wheel": WheelAsBuilt},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if STABLE_ABI else {},
)
