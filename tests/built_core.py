"""Build the C core with changed sources or different compiler options, and use this build in place of the installed
core."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
from collections.abc import Mapping, Sequence
from pathlib import Path

ROOT = Path(__file__).parents[1]
CSRC = ROOT / "csrc"
COMPILER = (os.environ.get("CC") or "cc").split()
Changes = Mapping[str, tuple[str, str]]
"""Changes by the name of the C file: a text that occurs once in the file, and the replacement of that text."""

# Python runs this module at its start if the module's folder is on PYTHONPATH.
_SITECUSTOMIZE = """
import sys
from importlib.util import spec_from_file_location

class Finder:
    @staticmethod
    def find_spec(name, path, target=None):
        if name == "sqlite_claims.sqlite._core":
            return spec_from_file_location(name, {core!r})

sys.meta_path.insert(0, Finder)
"""


def build(folder: Path, options: Sequence[str], changes: Changes | None = None) -> dict[str, str]:
    """Build a core in an empty folder. Return the environment variables with which Python processes load that core."""
    program = f"import build_core; build_core.ffibuilder.emit_c_code({str(folder / '_core.c')!r})"
    subprocess.run([sys.executable, "-c", program], cwd=CSRC, check=True, capture_output=True)
    sources = {path.name: path.read_text() for path in CSRC.glob("*.[ch]") if path.name != "check_scan.c"}
    for name, (text, replacement) in (changes or {}).items():
        assert sources[name].count(text) == 1, f"{name} does not contain this once: {text}"
        sources[name] = sources[name].replace(text, replacement)
    for name, source in sources.items():
        (folder / name).write_text(source)
    core = folder / "_core.abi3.so"
    fixed = ["-w", "-shared", "-fPIC", "-fvisibility=hidden", f"-I{sysconfig.get_path('include')}"]
    subprocess.run([*COMPILER, *fixed, *options, "-o", core, *sorted(folder.glob("*.c"))], check=True)
    (folder / "sitecustomize.py").write_text(_SITECUSTOMIZE.format(core=str(core)))
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}
