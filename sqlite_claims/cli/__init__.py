"""The command ``sqlite-claims``. It needs click and rich: the extra ``cli``."""

from __future__ import annotations

import io
import os
import sys


def main() -> None:
    """Run the command with this process's arguments, and exit with its status."""
    _open_standard_descriptors()
    _open_standard_streams()
    try:
        import click  # noqa: F401  # to know that they are there
        import rich  # noqa: F401
    except ModuleNotFoundError as error:
        # Not by the distribution's name: it is in no package index.
        told = f"{error.name} is missing, which the command needs; in a checkout of sqlite-claims: pip install '.[cli]'"
        os.write(2, f"sqlite-claims: {told}\n".encode())
        sys.exit(2)
    from .app import run

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # a name that the terminal can't show is no reason to end
    sys.exit(run())


def _open_standard_streams() -> None:
    """Replace standard streams that Python left ``None`` because their descriptors were closed."""
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def _open_standard_descriptors() -> None:
    """See that 0, 1 and 2 are taken: a file opened there would be read as input, or overwritten by output."""
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
