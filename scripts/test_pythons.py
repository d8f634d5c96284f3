"""Run the conformance, unit and scan tests on each supported Python version that this machine has. Test each version
both with the C core and with the Python scan.

``make test-pythons`` runs this script. Slow tests are left out. The C core is not tested on the Python version of
.venv, because ``make test`` does that. The script searches PATH and pyenv's folder for the Python versions that
pyproject.toml lists. The script builds one wheel with the C core and one wheel without the C core, and installs the
package from the wheel, as users do. If a version is missing, the script reports and skips the version. Each version
that is found has to pass the tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]
VENVS = ROOT / ".venvs"
TESTS = ["tests/conformance", "tests/unit", "tests/scan"]
FAST = "not slow and not soak"
JOBS = os.environ.get("JOBS", "2")
# A program that prints the version of the Python that runs it. The program fails if this Python cannot create a virtual
# environment.
PROBE = "import sys, venv, ensurepip; print('%d.%d' % sys.version_info[:2])"


def main() -> int:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    named = [line.rpartition(" ")[2] for line in project["classifiers"] if "Language :: Python :: 3." in line]
    pythons = {version: python for version in named if (python := find(version))}
    print("found:", ", ".join(f"{version} ({python})" for version, python in pythons.items()) or "no Python")
    if skipped := [version for version in named if version not in pythons]:
        print("skipped, not on this machine:", ", ".join(skipped))
    failed = []
    for scan in ["c", "python"]:
        if scan == "c" and not has_c_toolchain():
            print("skipped: the C core, because there is no C compiler or no sqlite3ext.h")
            continue
        wheel = build(scan)
        for version, python in pythons.items():
            if scan == "c" and version == f"{sys.version_info.major}.{sys.version_info.minor}":
                continue
            began = time.monotonic()
            passed = test(make_venv(version, python, scan, wheel), scan)
            print(
                f"Python {version}, {scan} scan: {'passed' if passed else 'FAILED'}, {time.monotonic() - began:.0f} s"
            )
            if not passed:
                failed.append(f"{version} with the {scan} scan")
    if failed:
        print("failed:", ", ".join(failed))
    return bool(failed)


def find(version: str) -> str | None:
    """Return the path of a Python of this version that can create virtual environments, or ``None``."""
    name = f"python{version}"
    pyenv = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv")) / "versions"
    for candidate in [shutil.which(name), *map(str, sorted(pyenv.glob(f"{version}.*/bin/{name}")))]:
        # pyenv may have a shim (a small launcher) for a version that is not installed, and the shim then fails.
        if candidate and _output(candidate, "-c", PROBE) == version:
            return candidate
    return None


def has_c_toolchain() -> bool:
    return subprocess.run([ROOT / "scripts" / "has-c-toolchain"], check=False).returncode == 0


def build(scan: str) -> Path:
    """Build the wheel that is installed for all Python versions, and return its path."""
    folder = VENVS / f"dist-{scan}"
    shutil.rmtree(folder, ignore_errors=True)
    environment = dict(os.environ, SQLITE_CLAIMS_REQUIRE_C="1") if scan == "c" else dict(os.environ, CC="false")
    if scan == "python":
        environment.pop("SQLITE_CLAIMS_REQUIRE_C", None)
    # Build from a copy of the sources, so that files of an earlier build do not get into the wheel.
    source = folder / "source"
    shutil.copytree(ROOT / "csrc", source / "csrc")
    shutil.copytree(ROOT / "sqlite_claims", source / "sqlite_claims", ignore=shutil.ignore_patterns("*.so"))
    for name in ["pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE"]:
        shutil.copy(ROOT / name, source)
    _run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source, env=environment)
    [wheel] = folder.glob("*.whl")
    return wheel


def make_venv(version: str, python: str, scan: str, wheel: Path) -> Path:
    """Create or update the virtual environment for a Python version and a scan, and return the path of its Python."""
    venv = VENVS / f"{version}-{scan}"
    inner = venv / "bin" / "python"
    if _output(inner, "-c", PROBE) != version:
        shutil.rmtree(venv, ignore_errors=True)
        _run(python, "-m", "venv", venv)
    pip: list[str | Path] = [inner, "-m", "pip", "install", "--quiet", "--no-input", "--disable-pip-version-check"]
    _run(*pip, f"{wheel}[cli,test]")
    _run(*pip, "--force-reinstall", "--no-deps", wheel)  # otherwise pip skips a wheel of the same version
    return inner


def test(python: Path, scan: str) -> bool:
    # PYTHONSAFEPATH keeps the working directory out of sys.path, so that the tests use the installed package.
    environment = dict(os.environ, PYTHONSAFEPATH="1", SQLITE_CLAIMS_REQUIRE_C="1" if scan == "c" else "0")
    if scan == "python":
        environment["SQLITE_CLAIMS_TEST_STORES"] = "sqlite-python"  # the runs with the C core test all other stores
    command: list[str | Path] = [python, "-m", "pytest", "-q", "-n", JOBS, "-p", "no:cacheprovider", "-m", FAST, *TESTS]
    return subprocess.run(command, cwd=ROOT, env=environment, check=False).returncode == 0


def _run(*command: str | Path, env: dict[str, str] | None = None) -> None:
    done = subprocess.run(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{' '.join(map(str, command))} failed:\n{done.stdout}")


def _output(*command: str | Path) -> str | None:
    """Return the output of a command, or ``None`` if the command fails."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError:
        return None
    return done.stdout.strip() if done.returncode == 0 else None


if __name__ == "__main__":
    sys.exit(main())
