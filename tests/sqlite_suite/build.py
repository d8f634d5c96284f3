"""Build SQLite's test program twice from the Debian source package: as it is, and with csrc/wal_file.c."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

ROOT = Path(__file__).parents[2]
HARNESS = Path(__file__).with_name("harness.c")
# Only this package is downloaded. The lists of the machine's own package manager stay as they are.
_SOURCES = """
Types: deb-src
URIs: http://deb.debian.org/debian
Suites: bookworm
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb-src
URIs: http://deb.debian.org/debian-security
Suites: bookworm-security
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg
"""

Changes = Sequence[tuple[str, str]]
"""Pairs of a text that occurs once, and the replacement of that text."""

# Changes of SQLite: the places where the harness is called.
AMALGAMATION: Changes = [
    (
        "  void *pCommitArg;                 /* Argument to xCommitCallback() */\n",
        "  void *pCommitArg;\n  void *pClaims;\n  int (*xClaimsCommit)(void*);\n  void (*xClaimsRollback)(void*);\n",
    ),
    (
        "      return SQLITE_CONSTRAINT_COMMITHOOK;\n    }\n  }\n",
        """      return SQLITE_CONSTRAINT_COMMITHOOK;
    }
  }
  extern int claimsTestCommit(sqlite3*);
  if( needXcommit && claimsTestCommit(db) ) return SQLITE_CONSTRAINT_COMMITHOOK;
""",
    ),
    (
        "  if( db->xRollbackCallback && (inTrans || !db->autoCommit) ){\n",
        """  extern void claimsTestRollback(sqlite3*);
  if( inTrans || !db->autoCommit ) claimsTestRollback(db);
  if( db->xRollbackCallback && (inTrans || !db->autoCommit) ){
""",
    ),
    (
        "  *ppVfs = sqlite3_vfs_find(zVfs);\n",
        "  extern sqlite3_vfs *claimsTestWrap(sqlite3_vfs*);\n  *ppVfs = claimsTestWrap(sqlite3_vfs_find(zVfs));\n",
    ),
    (
        "  sqlite3_mutex_leave(db->mutex);\n  db->eOpenState = SQLITE_STATE_CLOSED;\n",
        "  sqlite3_free(db->pClaims);\n  sqlite3_mutex_leave(db->mutex);\n  db->eOpenState = SQLITE_STATE_CLOSED;\n",
    ),
    (
        "          rc = vdbeCommit(db, p);\n        }\n",
        """          extern void claimsTestCommitted(sqlite3*);
          rc = vdbeCommit(db, p);
          if( rc==SQLITE_OK ) claimsTestCommitted(db);
        }
""",
    ),
]
# Changes of wal_file.c: counters, and a switch for the simulated disks of the crash tests.
WAL_FILE: Changes = [
    ("  hold(commit, data, len, offset);\n", "  claims_test.pieces++;\n  hold(commit, data, len, offset);\n"),
    ("  commit->held_len = 0;\n  int code", "  commit->held_len = 0;\n  claims_test.writes++;\n  int code"),
    ("  sqlite3_log(SQLITE_IOERR_WRITE", "  claims_test.failures++;\n  sqlite3_log(SQLITE_IOERR_WRITE"),
    ("  if (!(wal_traits(file)", "  if (!claims_test.any_disk && !(wal_traits(file)"),
]


class DownloadError(Exception):
    """The source package can't be downloaded."""


def missing() -> str | None:
    """Return the reason why the test programs can't be built here."""
    for tool in ("apt-get", "tclsh8.6", "make", "gcc", "xz"):
        if not shutil.which(tool):
            return f"{tool} is missing"
    if not Path("/usr/include/tcl8.6/tcl.h").exists():
        return "tcl.h is missing (Debian package tcl8.6-dev)"
    return None


def changed(text: str, changes: Changes) -> str:
    for old, new in changes:
        assert text.count(old) == 1, f"this text does not occur once: {old}"
        text = text.replace(old, new)
    return text


def download(folder: Path) -> Path:
    """Download SQLite's source package into a folder. Return the folder of the unpacked sources, without the changes
    that Debian makes."""
    source = folder / "source"
    if source.exists():
        return source
    lists, cache = folder / "lists", folder / "cache"
    for path in (lists / "partial", cache / "archives" / "partial"):
        path.mkdir(parents=True, exist_ok=True)
    (folder / "debian.sources").write_text(_SOURCES)
    options = [f"Dir::Etc::sourcelist={folder / 'debian.sources'}", "Dir::Etc::sourceparts=-"]
    options += [f"Dir::State::lists={lists}", f"Dir::Cache={cache}"]
    apt = ["apt-get", "-q", *(f"-o{option}" for option in options)]
    for command in (["update"], ["source", "--download-only", "sqlite3"]):
        subprocess.run([*apt, *command], cwd=folder, check=False, stdout=subprocess.DEVNULL)
    archive = next(folder.glob("sqlite3_*.orig.tar.xz"), None)
    if archive is None:
        raise DownloadError("apt-get can't download the source package of SQLite from Debian bookworm")
    unpacked = folder / "unpacked"
    unpacked.mkdir()
    subprocess.run(["tar", "xf", archive, "-C", unpacked, "--strip-components=1"], check=True)
    unpacked.rename(source)
    return source


def build(folder: Path) -> tuple[Path, Path]:
    """Return the paths of SQLite's test program, without and with wal_file.c."""
    source, made = download(folder), folder / "build"
    plain, ours = made / "testfixture-plain", made / "testfixture-ours"
    made.mkdir(exist_ok=True)

    def run(*command: str) -> None:
        environment = {**os.environ, "CPATH": str(made)}
        done = subprocess.run(command, cwd=made, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-3000:]

    def make_program(path: Path) -> None:
        (made / "testfixture").unlink(missing_ok=True)
        run("make", "testfixture", "CFLAGS=-O1 -w -DSQLITE_ENABLE_SNAPSHOT")
        (made / "testfixture").rename(path)

    if not plain.exists():
        run(str(source / "configure"), "--enable-all", "--disable-editline", "--disable-readline")
        run("make", "sqlite3.c")
        shutil.copy(made / "sqlite3.c", made / "sqlite3-plain.c")
        make_program(plain)
    shutil.copy(ROOT / "csrc" / "core.h", made)
    (made / "wal_file.c").write_text(changed((ROOT / "csrc" / "wal_file.c").read_text(), WAL_FILE))
    amalgamation = changed((made / "sqlite3-plain.c").read_text(), AMALGAMATION)
    (made / "sqlite3.c").write_text(amalgamation + HARNESS.read_text())
    make_program(ours)
    return plain, ours
