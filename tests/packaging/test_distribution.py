"""The distribution is built as pip builds it, and is used in new environments."""

from __future__ import annotations

import os
import shutil
import site
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
BUILT_FROM = ["pyproject.toml", "setup.py", "MANIFEST.in", "README.md", "LICENSE", "csrc", "sqlite_claims", "tests"]

# This program claims a task, then prints which of the two scans the package uses.
USE = """
import logging, sys
from sqlite_claims import NewTask, SqliteClaimStore, StoreUnavailableError
from sqlite_claims.sqlite import scan
logging.basicConfig(format="%(levelname)s %(name)s %(message)s", level=logging.INFO)
for number in range(2):
    with SqliteClaimStore(f"{sys.argv[1]}/{number}.db") as store:
        store.add_instance("i", [NewTask("t")])
        [work] = store.claim_available_tasks("w", ttl=30)
        store.complete_task(work.claim)
        assert store.get_instance("i").state == "completed"
try:
    SqliteClaimStore(f"{sys.argv[1]}/0.db", use_c_core=True).close()
except StoreUnavailableError as error:
    print("refused:", error)
print("core" if scan.core_available() else "python", scan.__file__)
"""


def environment(**changes: str) -> dict[str, str]:
    """Return this process's environment, without the variables that would change the build."""
    decisive = ("CC", "CFLAGS", "CPPFLAGS", "LDFLAGS", "PYTHONPATH", "SQLITE_CLAIMS_REQUIRE_C")
    return {name: value for name, value in os.environ.items() if name not in decisive} | changes


def run(*command: str | Path, **changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(part) for part in command],
        env=environment(**changes),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=300,
    )


def build_wheel(source: Path, folder: Path, **changes: str) -> tuple[Path, str]:
    """Build a wheel. Assert that there is only one, and return its path and the output of the build."""
    done = run(sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, source, **changes)
    assert done.returncode == 0, done.stdout
    [wheel] = folder.glob("*.whl")
    return wheel, done.stdout


@pytest.fixture(scope="session")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sdist")
    (folder / "source").mkdir()
    for name in BUILT_FROM:
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, folder / "source" / name)
    done = run(sys.executable, "-m", "build", "--sdist", "--no-isolation", "--outdir", folder, folder / "source")
    assert done.returncode == 0, done.stdout
    [archive] = folder.glob("*.tar.gz")
    return archive


@pytest.fixture
def source(sdist: Path, tmp_path: Path) -> Path:
    """Make a folder with the sources as the sdist contains them."""
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path / "unpacked", filter="data")
    [source] = (tmp_path / "unpacked").iterdir()
    return source


@pytest.fixture
def nothing_on_path(tmp_path: Path) -> str:
    """Return a PATH with no compiler and no other program."""
    (tmp_path / "empty").mkdir()
    return str(tmp_path / "empty")


@pytest.fixture
def python(tmp_path: Path) -> Path:
    """Make an empty environment. The new environment uses the dependencies of this environment, so that no network is
    needed."""
    done = run(sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv")
    assert done.returncode == 0, done.stdout
    [packages] = (tmp_path / "venv" / "lib").glob("python*/site-packages")
    (packages / "lent.pth").write_text("\n".join(site.getsitepackages()) + "\n")
    return tmp_path / "venv" / "bin" / "python"


def install(python: Path, *what: str | Path, **changes: str) -> None:
    done = run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", *what, **changes)
    assert done.returncode == 0, done.stdout


def use(python: Path, folder: Path) -> str:
    """Run a program that uses the installed package. Return its output."""
    done = run(python, "-I", "-c", USE, folder)
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_the_sdist_holds_all_that_a_build_needs_and_nothing_built(sdist: Path) -> None:
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    sources = {f"csrc/{path.name}" for path in (ROOT / "csrc").iterdir() if path.suffix in (".c", ".h", ".py")}
    assert sources | {"LICENSE", "README.md", "setup.py", "sqlite_claims/sqlite/sql/scan.sql"} <= names
    assert not [name for name in names if name.endswith((".so", ".o", ".pyc"))]


def test_a_wheel_with_the_core_serves_every_cpython_from_3_11_on(source: Path, tmp_path: Path, python: Path) -> None:
    wheel, _ = build_wheel(source, tmp_path / "dist", SQLITE_CLAIMS_REQUIRE_C="1")
    assert "-cp311-abi3-" in wheel.name
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        metadata = archive.read("sqlite_claims-0.1.0.dist-info/METADATA").decode()
    assert {
        "sqlite_claims/py.typed",
        "sqlite_claims/sqlite/_core.abi3.so",
        "sqlite_claims/sqlite/sql/scan.sql",
    } <= names
    assert {name.partition("/")[0] for name in names} == {"sqlite_claims", "sqlite_claims-0.1.0.dist-info"}
    needed = [line for line in metadata.splitlines() if line.startswith("Requires-Dist") and "extra" not in line]
    assert {line.split()[1].split(">")[0] for line in needed} == {"apsw", "cffi", "cronsim"}

    install(python, wheel)
    printed = use(python, tmp_path)
    assert printed.startswith("core ")
    assert str(python.parents[1]) in printed


def test_the_core_leans_on_no_sqlite_but_the_one_that_loads_it(source: Path, tmp_path: Path) -> None:
    wheel, _ = build_wheel(source, tmp_path / "dist", SQLITE_CLAIMS_REQUIRE_C="1")
    with zipfile.ZipFile(wheel) as archive:
        core = archive.extract("sqlite_claims/sqlite/_core.abi3.so", tmp_path)
    undefined = run("nm", "-D", "--undefined-only", core)
    assert undefined.returncode == 0, undefined.stdout
    assert "PyInit" not in undefined.stdout
    assert "sqlite3_" not in undefined.stdout
    defined = run("nm", "-D", "--defined-only", core).stdout.split()[2::3]
    assert {name for name in defined if not name.startswith("_")} == {"PyInit__core", "claims_core_init"}


def test_without_a_compiler_the_python_scan_serves_and_the_log_says_so(
    source: Path, tmp_path: Path, python: Path, nothing_on_path: str
) -> None:
    wheel, printed = build_wheel(source, tmp_path / "dist", PATH=nothing_on_path)
    assert "the C core could not be built" in printed
    # The file name of the wheel shows that the wheel has no compiled part. So no tool that caches wheels mistakes it
    # for a wheel with the core.
    assert wheel.name.endswith("-py3-none-any.whl")
    install(python, wheel)
    printed = use(python, tmp_path)
    assert printed.count("INFO sqlite_claims the C core is not installed") == 1
    assert "refused: the C core is not installed" in printed
    assert printed.splitlines()[-1].startswith("python ")


def test_without_sqlites_headers_the_python_scan_serves(source: Path, tmp_path: Path) -> None:
    (tmp_path / "include").mkdir()
    (tmp_path / "include" / "sqlite3ext.h").write_text('#error "as if it were not there"\n')
    wheel, printed = build_wheel(source, tmp_path / "dist", CPPFLAGS=f"-I{tmp_path / 'include'}")
    assert "as if it were not there" in printed
    assert "the C core could not be built" in printed
    assert wheel.name.endswith("-py3-none-any.whl")


def test_a_failed_build_is_an_error_if_the_core_is_required(source: Path, tmp_path: Path, nothing_on_path: str) -> None:
    command = (sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", tmp_path / "dist", source)
    done = run(*command, PATH=nothing_on_path, SQLITE_CLAIMS_REQUIRE_C="1")
    assert done.returncode != 0
    assert not list(tmp_path.glob("dist/*.whl"))


def test_an_editable_install_works_from_the_sources_with_the_core(source: Path, tmp_path: Path, python: Path) -> None:
    install(python, "--no-build-isolation", "--editable", source, SQLITE_CLAIMS_REQUIRE_C="1")
    printed = use(python, tmp_path)
    assert printed.startswith("core ")
    assert str(source) in printed


def test_an_editable_install_works_without_a_compiler(
    source: Path, tmp_path: Path, python: Path, nothing_on_path: str
) -> None:
    install(python, "--no-build-isolation", "--editable", source, PATH=nothing_on_path)
    assert use(python, tmp_path).splitlines()[-1].startswith("python ")
