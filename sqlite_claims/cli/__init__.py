"""The command ``sqlite-claims``. The command needs click and rich, which the extra ``cli`` installs."""

from __future__ import annotations

import io
import os
import sys


def main() -> None:
    """Run the command with this process's arguments, and exit with the command's status."""
    _open_standard_descriptors()
    _open_standard_streams()
    try:
        import click  # noqa: F401  # imported only to check that click and rich are installed
        import rich  # noqa: F401
    except ModuleNotFoundError as error:
        # The advice mentions a checkout, because this distribution is not on a package index.
        advice = "is missing; to install it, in a checkout of sqlite-claims: pip install '.[cli]'"
        os.write(2, f"sqlite-claims: the module {error.name} {advice}\n".encode())
        sys.exit(2)
    from .app import run

    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # characters that the encoding cannot represent are escaped
    sys.exit(run())


def _open_standard_streams() -> None:
    """Open the standard streams that Python has set to ``None`` because their descriptors were closed."""
    sys.stdin = sys.stdin or open(0, encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stdout = sys.stdout or open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
    sys.stderr = sys.stderr or open(2, "w", encoding="utf-8", closefd=False)  # noqa: SIM115


def _open_standard_descriptors() -> None:
    """Open the descriptors 0, 1 and 2 if they are closed.

    Otherwise the next file to be opened would get one of these numbers. The file could then be read as input, or
    overwritten by output.
    """
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)
