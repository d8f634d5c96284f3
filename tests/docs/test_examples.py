"""The programs in examples/ that no target of the Makefile runs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .pages import ROOT


def imports_built(folder: Path) -> list[str]:
    """Run the example that builds the modules of a folder, each after the modules that it imports. Verify the results
    of the example and return its output."""
    command = [sys.executable, "-W", "error", str(ROOT / "examples" / "import_graph.py"), str(folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_modules_that_import_each_other_are_one_task_that_comes_after_what_it_imports(tmp_path: Path) -> None:
    modules = {
        "a.py": "import b",
        "b.py": "def later():\n    from p import c",
        "p/__init__.py": "",
        "p/c.py": "import a\nfrom . import d",
        "p/d.py": "import os, p.e",
        "p/e.py": "",
        "broken.py": "(",
    }
    for name, text in modules.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)
    said = imports_built(tmp_path)
    # a, b and c import each other and form one task, which depends on p and d. d depends on p and e. e depends on p.
    assert said[0] == f"6 modules of {tmp_path}: 4 tasks with 5 dependencies"
    assert said[1] == "circles of imports: 1, the largest of 3 modules"
    assert said[-1] == "all 4 results verified"


@pytest.mark.slow
def test_this_package_is_built_in_the_order_of_its_imports() -> None:
    said = imports_built(ROOT / "sqlite_claims")
    assert "WRONG" not in "".join(said)
    assert "failed=0, lost=0" in said[2]
