"""The queues of the comparison, and the environment of each: a venv or ``node_modules`` in ``.peers``, made once."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..machine import ROOT

CACHE = ROOT / ".peers"
_HERE = Path(__file__).parent
_ADAPTERS = _HERE / "adapters"


@dataclass(frozen=True, slots=True)
class Setting:
    """One configuration of a peer, which the benchmark runs."""

    name: str
    says: str
    level: str
    options: dict[str, Any] = field(hash=False)


@dataclass(frozen=True, slots=True)
class Peer:
    """One entry of ``peers.toml``. ``needs`` is a list of packages for pip or a table of packages for npm. It is empty
    for this project, which runs in the environment of the benchmarks."""

    name: str
    adapter: str
    needs: list[str] | dict[str, str] = field(hash=False)
    settings: tuple[Setting, ...]
    python: tuple[str, ...] = ()
    runtime: str = "node"
    leases: bool = False
    pops: bool = False
    one_process: bool = False

    @property
    def folder(self) -> Path:
        """The folder of the peer's environment. Each set of versions has a different folder."""
        pinned = hashlib.sha256(json.dumps([self.needs, self.python, sys.version_info[:2]]).encode()).hexdigest()
        return CACHE / f"{self.name}-{pinned[:8]}"

    @property
    def is_there(self) -> bool:
        """True if the environment is ready."""
        return not self.needs or (self.folder / "made").exists()

    @property
    def command(self) -> list[str]:
        """The command that starts the peer's adapter."""
        adapter = str(_ADAPTERS / self.adapter)
        if isinstance(self.needs, dict):
            runtime = str(self.folder / self.runtime) if "/" in self.runtime else self.runtime
            return [runtime, str(_HERE / "serve.mjs"), adapter, str(self.folder)]
        python = str(self.folder / "bin" / "python") if self.needs else sys.executable
        # Without -P, the folder of the adapter would be on the path, and an adapter would hide the peer's module, which
        # has the same name.
        return [python, "-P", str(_HERE / "serve.py"), adapter]

    def make(self) -> str:
        """Install the peer. Return the reason if this fails, otherwise ``""``."""
        if self.is_there:
            return ""
        shutil.rmtree(self.folder, ignore_errors=True)
        self.folder.mkdir(parents=True)
        why = self._make_node() if isinstance(self.needs, dict) else self._make_venv(self.needs)
        if not why:
            (self.folder / "made").touch()
        return why

    def _make_venv(self, needs: list[str]) -> str:
        python = next(filter(None, map(_python, self.python)), None) if self.python else sys.executable
        if python is None:
            return f"no Python {' or '.join(self.python)} on PATH"
        made = _run([python, "-m", "venv", str(self.folder)])
        pip = [str(self.folder / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        return made or _run([*pip, *needs])

    def _make_node(self) -> str:
        node = shutil.which("node")
        if node is None or shutil.which("npm") is None:
            return "no node or no npm on PATH"
        package = {"private": True, "dependencies": self.needs}
        (self.folder / "package.json").write_text(json.dumps(package), "utf-8")
        # A package without a prebuilt binary is compiled with the headers of this Node.js installation, so npm need not
        # download the headers.
        prefix = Path(node).resolve().parents[1]
        headers = [f"--nodedir={prefix}"] if (prefix / "include" / "node" / "node.h").exists() else []
        return _run(["npm", "install", "--no-audit", "--no-fund", *headers], cwd=self.folder)


def peers() -> Iterator[Peer]:
    """Return all entries of ``peers.toml``. This project is the first entry."""
    for name, entry in tomllib.loads((_HERE / "peers.toml").read_text("utf-8")).items():
        settings = tuple(Setting(name, **setting) for name, setting in entry.pop("settings").items())
        yield Peer(name=name, settings=settings, **entry | {"python": tuple(entry.get("python", ()))})


def _python(version: str) -> str | None:
    found = shutil.which(f"python{version}")
    # The program found may be a shim of a version manager, which fails if this version is not installed.
    runs = found and not subprocess.run([found, "-c", ""], capture_output=True, check=False).returncode
    return found if runs else None


def _run(command: list[str], cwd: Path | None = None) -> str:
    done = subprocess.run(
        command, cwd=cwd, capture_output=True, text=True, check=False, env=os.environ | {"PIP_NO_INPUT": "1"}
    )
    if not done.returncode:
        return ""
    said = [line for line in (done.stdout + done.stderr).splitlines() if "rror" in line]
    return said[0] if said else f"{command[0]} ended with {done.returncode}"
