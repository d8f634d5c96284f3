"""Shared fixtures of the fault tests: small file systems, and compiled libraries that inject faults."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ..process.children import start
from .power import build_preloaded

__all__ = ["mount", "start"]


@pytest.fixture
def mount(tmp_path: Path) -> Iterator[Callable[..., Path]]:
    """Return a function that mounts a small file system in memory. Only root can mount file systems."""
    mounted: list[Path] = []

    def mount(size: str = "4m") -> Path:
        folder = tmp_path / f"mount{len(mounted)}"
        folder.mkdir()
        if os.geteuid() != 0 or shutil.which("mount") is None:
            pytest.skip("mounting a file system needs root")
        command = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
        if subprocess.run(command, check=False).returncode != 0:
            pytest.skip("mounting is not allowed here, as is usual in a container")
        mounted.append(folder)
        return folder

    yield mount
    for folder in mounted:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture(scope="session")
def recorder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _preloaded("recorder", tmp_path_factory)


@pytest.fixture(scope="session")
def injector(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _preloaded("injector", tmp_path_factory)


def _preloaded(name: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = build_preloaded(name, tmp_path_factory.mktemp(name))
    if made is None and os.environ.get("SQLITE_CLAIMS_REQUIRE_C") != "1":
        pytest.skip("system calls are recorded, and fail, by a library in C: there is no C compiler")
    assert made is not None, "there is no C compiler"
    return made


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """Return a folder for the files of the power cut tests. The folder is on a file system in memory, if the machine
    has one, because these tests do not need a real disk."""
    memory = Path("/dev/shm")  # noqa: S108 - used for a new folder
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as made:
        yield Path(made)
