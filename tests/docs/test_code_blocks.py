"""The code blocks of README and docs run without errors."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .pages import ROOT, Block, all_blocks, blocks

PYTHON = all_blocks("python")
SHELL = all_blocks("sh")
README = ROOT / "README.md"
# Commands that this test skips, because they set up a machine or run all tests. CI runs these commands itself.
SET_UP = re.compile(r"^(make|pip install|apt-get) .*$", re.MULTILINE)


def run(block: Block, folder: Path) -> None:
    """Run a code block as a reader would run it: Python as a file, shell commands in a shell."""
    code = SET_UP.sub("", block.code)
    if block.language == "python":
        program = folder / (block.module or f"block{block.line}.py")
        program.write_text(code, "utf-8")
        command = [sys.executable, "-W", "error", str(program)]
    else:
        command = ["sh", "-eu", "-c", code]
    environment = {**os.environ, "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    done = subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, f"{block.name} ended with {done.returncode}\n{done.stdout}\n{done.stderr}"


PAGES = sorted({block.page for block in PYTHON + SHELL} - {README})


@pytest.mark.parametrize(
    "page",
    [README, *(pytest.param(page, marks=pytest.mark.slow) for page in PAGES)],
    ids=lambda page: page.name,
)
def test_the_blocks_of_a_page_run_twice_in_one_folder(page: Path, tmp_path: Path) -> None:
    for _ in range(2):
        for block in blocks(page):
            if block.language in ("python", "sh") and SET_UP.sub("", block.code).strip():
                run(block, tmp_path)


def test_no_two_pages_show_a_module_of_the_same_name() -> None:
    """Otherwise, a reader who works through several pages in one folder would overwrite one page's module with another
    page's module."""
    pages: dict[str, set[Path]] = {}
    for block in PYTHON:
        if block.module:
            pages.setdefault(block.module, set()).add(block.page)
    assert {name: used for name, used in pages.items() if len(used) > 1} == {}


def test_no_two_pages_use_the_same_store() -> None:
    """With a separate store for each page, readers can work through the pages in one folder, in any order."""
    pages: dict[str, set[Path]] = {}
    for block in PYTHON + SHELL:
        for name in re.findall(r"[\w-]+\.db\b", block.code):
            pages.setdefault(name, set()).add(block.page)
    assert {name: used for name, used in pages.items() if len(used) > 1} == {}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("block", all_blocks("ini"), ids=lambda block: block.name)
def test_a_unit_is_one_that_systemd_takes(block: Block, tmp_path: Path) -> None:
    unit = tmp_path / "workers.service"
    command = Path(sys.executable).with_name("sqlite-claims")
    unit.write_text(re.sub(r"/srv/app/\S*/bin/sqlite-claims", str(command), block.code), "utf-8")
    done = subprocess.run(
        ["systemd-analyze", "verify", str(unit)], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, [line for line in done.stderr.splitlines() if unit.name in line]) == (0, [])


def test_every_make_target_that_a_page_names_exists() -> None:
    named = {
        target for block in SHELL for line in block.code.splitlines() for target in re.findall(r"^make ([\w-]+)", line)
    }
    assert {"demo", "test"} <= named
    assert named <= set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE))
