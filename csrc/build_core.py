"""Describes the C core to cffi: one shared object that is both a Python module and an SQLite extension.

``setup.py`` runs this; ``python csrc/build_core.py`` does nothing by itself.
"""

from __future__ import annotations

import os
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).parent
SOURCES = ["extension.c", "scan.c", "doorbell.c", "frames.c", "wal_file.c"]
REQUIRED = os.environ.get("SQLITE_CLAIMS_REQUIRE_C") == "1"

header = (HERE / "core.h").read_text("ascii")

ffibuilder = FFI()
ffibuilder.cdef(header.partition("/* cffi: begin */")[2].partition("/* cffi: end */")[0])
ffibuilder.set_source(
    "sqlite_claims.scan._core",
    '#include "core.h"',
    sources=[str(HERE / name) for name in SOURCES],
    include_dirs=[str(HERE)],
    depends=[str(HERE / "core.h")],
    # Hidden symbols: nothing of ours may meet, or be replaced by, a function of the same name elsewhere in the process.
    extra_compile_args=["-O2", "-fvisibility=hidden", "-Wall", "-Wextra", "-Werror=implicit-function-declaration"],
    # Where it cannot be built the install goes on, and the Python twin serves.
    optional=not REQUIRED,
)
