"""The C core's sources, compiled in the same way as on platforms that lack some functions."""

from __future__ import annotations

import errno
import os
import subprocess
from pathlib import Path

import pytest

CSRC = Path(__file__).parents[2] / "csrc"
COMPILER = (os.environ.get("CC") or "cc").split()

WITHOUT_FUTEXES = r"""
#define _GNU_SOURCE
#include <stdio.h>
#include <sys/syscall.h>
#undef SYS_futex
#define SYS_futex 100000 /* no system call */
#include "doorbell.c"

int claims_core_loaded(void) { return 1; }

int main(void) {
  claims_bell *bell;
  FILE *file = tmpfile();
  if (ftruncate(fileno(file), CLAIMS_BELL_SIZE) != 0) return 1;
  printf("%d\n", claims_bell_open(fileno(file), &bell));
}
"""


def test_a_kernel_without_futexes_is_told_when_the_doorbell_is_opened(tmp_path: Path) -> None:
    """If the error was not reported, each wait on the doorbell would end at once. On a kernel without futexes, the
    store polls."""
    source, program = tmp_path / "bell.c", tmp_path / "bell"
    source.write_text(WITHOUT_FUTEXES)
    command = [*COMPILER, "-DSQLITE_CORE", "-I", str(CSRC), str(source), "-o", str(program), "-lsqlite3"]
    try:
        built = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("there is no C compiler")
    if built.returncode and os.environ.get("SQLITE_CLAIMS_REQUIRE_C") != "1":
        pytest.skip("needs a C compiler, and libsqlite3 with its headers")
    assert built.returncode == 0, built.stderr
    done = subprocess.run([program], capture_output=True, text=True, check=True, timeout=60)
    assert int(done.stdout) == errno.ENOSYS
