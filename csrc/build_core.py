"""Describes the C core to cffi: one shared object that is both a Python module and an SQLite extension.

``setup.py`` runs this; ``python csrc/build_core.py`` does nothing by itself.
"""

from __future__ import annotations

import os
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).parent
SOURCES = ["extension.c", "scan.c", "doorbell.c", "frames.c", "wal_file.c"]
# Hidden symbols: nothing of ours may meet, or be replaced by, a function of the same name elsewhere in the process. The
# errors are those that compilers of today (GCC 14, clang 16) make of these by themselves: so older ones say the same.
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
    # Where it cannot be built the install goes on, and the Python twin serves.
    optional=not REQUIRED,
)
