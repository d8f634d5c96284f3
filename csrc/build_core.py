"""Describes the C core to cffi: one shared object that is both a Python module and an SQLite extension.

``setup.py`` runs this; ``python csrc/build_core.py`` does nothing by itself.
"""

from __future__ import annotations

import os
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).parent
SOURCES = ["extension.c", "scan.c", "doorbell.c", "frames.c", "wal_file.c"]
# Hidden symbols: no function here may clash with one of the same name elsewhere in the process. The warnings that are
# turned into errors are errors by default in newer compilers (GCC 14, clang 16): so older ones behave the same.
COMPILE = ["-O2", "-fvisibility=hidden", "-Wall", "-Wextra"] + [
    f"-Werror={what}"
    for what in ("implicit-function-declaration", "implicit-int", "incompatible-pointer-types", "int-conversion")
]
REQUIRED = os.environ.get("SQLITE_CLAIMS_REQUIRE_C") == "1"

header = (HERE / "core.h").read_text("ascii")

ffibuilder = FFI()
ffibuilder.cdef(header.partition("/* cffi: begin */")[2].partition("/* cffi: end */")[0])
ffibuilder.set_source(
    "sqlite_claims.sqlite._core",
    '#include "core.h"',
    sources=[str(HERE / name) for name in SOURCES],
    include_dirs=[str(HERE)],
    depends=[str(HERE / "core.h")],
    extra_compile_args=COMPILE,
    # If it cannot be built, the installation goes on without it, and the Python scan is used.
    optional=not REQUIRED,
)
