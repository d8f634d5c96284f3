"""Compare the public API with the API of an earlier commit, and fail if a public name was removed or became
incompatible.

Usage: ``python scripts/check_api.py [COMMIT]``. ``ACCEPTED`` lists the intended changes, each with its reason.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import griffe

ROOT = Path(__file__).parents[1]
# The commit whose API must stay compatible. When the project has a tag, the tag should replace the commit.
BASE = "249f714"
MODULES = ("sqlite_claims", "sqlite_claims.aio", "sqlite_claims.testing", "sqlite_claims.workers")
ACCEPTED = {
    "InMemoryClaimStore: Base class was removed": "still derived from TaskClaimStore, through a new base class",
    "SqliteClaimStore: Base class was removed": "still derived from TaskClaimStore, through a new base class",
    "WorkerHandle.__init__: Parameter was added as required": "programs get handles only from spawn()",
    "WorkerHandle.__init__: Parameter was removed": "programs get handles only from spawn()",
}


def public_api(package: griffe.Object | griffe.Alias) -> griffe.Module:
    """Return one module that contains all public names. Inherited members are added to each class."""
    api = griffe.Module("api")
    for path in MODULES:
        module = package[path.partition(".")[2]] if "." in path else package
        for name in module.exports or [name for name in module.classes if not name.startswith("_")]:
            member = module[str(name)]
            member = member.final_target if member.is_alias else member
            if member.is_class:
                member.members |= {
                    key: value for key, value in member.inherited_members.items() if key not in member.members
                }
            api.set_member(str(name), member)
    api.exports = list(api.members)
    return api


def breaking_changes(base: str, root: Path = ROOT) -> list[str]:
    """Return a description of each incompatible change since the commit ``base``."""
    old = griffe.load_git("sqlite_claims", ref=base, repo=ROOT, resolve_aliases=True)
    new = griffe.load("sqlite_claims", search_paths=[root], resolve_aliases=True)
    found = griffe.find_breaking_changes(public_api(old), public_api(new))
    return [f"{change.obj.path.removeprefix('api.')}: {change.kind.value}" for change in found]


def has_commit(base: str) -> bool:
    """Return whether this checkout contains the commit. A shallow clone does not contain older commits."""
    return not subprocess.run(["git", "cat-file", "-e", base], cwd=ROOT, check=False, capture_output=True).returncode


if __name__ == "__main__":
    base = sys.argv[1] if sys.argv[1:] else BASE
    if not has_commit(base):
        print(f"public API not compared: this checkout lacks commit {base} (run git fetch --unshallow)")
        sys.exit(0)
    changes = [change for change in breaking_changes(base) if change not in ACCEPTED]
    print("\n".join(changes) or "the public API is compatible")
    sys.exit(bool(changes))
