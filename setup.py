"""Builds the C core where it can be built, and says in the wheel's name what became of it."""

from __future__ import annotations

import sysconfig
from pathlib import Path

from setuptools import setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext

# CPython without the GIL has no stable ABI for extensions before 3.15.
STABLE_ABI = not sysconfig.get_config_var("Py_GIL_DISABLED")

NOT_BUILT = """\
sqlite-claims: the C core could not be built; what the compiler said stands above. The Python twin serves instead.
It needs a C compiler and SQLite's headers (Debian: gcc libsqlite3-dev). SQLITE_CLAIMS_REQUIRE_C=1 makes this an error."""


class BuildCore(build_ext):
    """Tells what it means that the core was not built; ``optional`` in build_core.py lets the build go on."""

    def run(self) -> None:
        super().run()
        if not self.dry_run and not self.built():
            print(NOT_BUILT)

    def built(self) -> bool:
        """Whether the compiled core is there."""
        return all(Path(path).exists() for path in self.get_outputs())


class WheelAsBuilt(bdist_wheel):
    """A wheel without the core is for every platform and interpreter, and must not pass for one with it."""

    def run(self) -> None:
        self.run_command("build_ext")
        if not self.get_finalized_command("build_ext").built():
            self.root_is_pure = True
        super().run()


setup(
    cffi_modules=["csrc/build_core.py:ffibuilder"],
    cmdclass={"build_ext": BuildCore, "bdist_wheel": WheelAsBuilt},
    options={"bdist_wheel": {"py_limited_api": "cp311"}} if STABLE_ABI else {},
)
