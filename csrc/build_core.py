"""The build description of the C core for cffi. The core is one shared object: a Python module and an SQLite extension.

``setup.py`` uses this file. ``python csrc/build_core.py`` builds nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

from cffi import FFI

HERE = Path(__file__).parent
SOURCES = ["extension.c", "scan.c", "doorbell.c", "frames.c", "wal_file.c"]
# Symbols are hidden, so that no function here clashes with a function of the same name elsewhere in the process. The
# warnings that are turned into errors here are errors by default in newer compilers (GCC 14, clang 16), so older
# compilers reject the same code.
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
    # If the core can't be built, the installation continues without the core, and the store uses the Python scan.
    optional=not REQUIRED,
)
