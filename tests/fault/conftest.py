"""What the tests of faults share."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..process.children import start

__all__ = ["mount", "start"]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Mounts a small file system in memory of its own; needs root's powers."""
    mounted: list[Path] = []

    def mount(size: str = "4m") -> Path:
        folder = tmp_path / f"mount{len(mounted)}"
        folder.mkdir()
        if os.geteuid() != 0 or shutil.which("mount") is None:
            pytest.skip("mounting a file system needs root")
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
        if subprocess.run(command, check=False).returncode != 0:
            pytest.skip("this machine lets nobody mount, as is usual in a container")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)
