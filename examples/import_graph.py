"""Parse all modules in a folder with several processes. Each module is parsed after the modules that it imports.

Modules that import each other in a cycle form one task. Run the example with ``python examples/import_graph.py
[FOLDER]``. The default folder is the standard library. The example also parses all modules in one process without a
store, and the exit status is 0 only if all results are equal.
"""

from __future__ import annotations

import ast
import hashlib
import json
import sys
import sysconfig
import tempfile
import time
import warnings
from collections.abc import Iterable, Iterator
from graphlib import TopologicalSorter
from pathlib import Path

from sqlite_claims import NewTask, SqliteClaimStore, TaskContext, WorkerPool

NAME = "build"
Graph = dict[str, set[str]]


def main(folder: Path) -> int:
    files = {module_name(path.relative_to(folder)): path for path in sorted(folder.rglob("*.py"))}
    imports = {name: found for name, path in files.items() if (found := imports_of(name, path, files)) is not None}
    parts = {min(part): sorted(part) for part in circles(imports)}
    part_of = {name: task_id for task_id, part in parts.items() for name in part}
    needs = {
        task_id: sorted({part_of[other] for name in part for other in imports[name] if other in part_of} - {task_id})
        for task_id, part in parts.items()
    }
    edges = sum(map(len, needs.values()))
    print(f"{len(imports)} modules of {folder}: {len(parts)} tasks with {edges} dependencies")
    sizes = [len(part) for part in parts.values() if len(part) > 1]
    print(f"circles of imports: {len(sizes)}, the largest of {max(sizes, default=0)} modules")

    with tempfile.TemporaryDirectory() as beside, SqliteClaimStore(Path(beside) / "build.db") as store:
        tasks = [
            NewTask(
                task_id,
                json.dumps([[str(files[name]) for name in part], needs[task_id]]).encode(),
                depends_on=needs[task_id],
            )
            for task_id, part in parts.items()
        ]
        began = time.perf_counter()
        store.add_instance(NAME, tasks)
        added = time.perf_counter()
        summary = WorkerPool(store.path, build).run(until_idle=True)
        took = time.perf_counter() - added
        results = {task.task_id: task.output for task in store.list_tasks(NAME)}
        print(f"added in {added - began:.2f} s; {summary}")
        print(f"{len(parts) / took:.0f} tasks a second, in {took:.2f} s")

    began = time.perf_counter()
    expected: dict[str, bytes] = {}
    for task_id in TopologicalSorter(needs).static_order():
        expected[task_id] = built([str(files[name]) for name in parts[task_id]], (expected[n] for n in needs[task_id]))
    print(f"the same in one process, without a store: {time.perf_counter() - began:.2f} s")
    wrong = [task_id for task_id in parts if results.get(task_id) != expected[task_id]]
    for task_id in wrong[:20]:
        print(f"WRONG: {task_id}")
    if not wrong:
        print(f"all {len(parts)} results verified")
    return 1 if wrong else 0


def build(task: TaskContext) -> bytes:
    """Run one task: return a checksum of the task's modules and of the results of the imported modules."""
    paths, needs = json.loads(task.input)
    return built(paths, map(task.result_of, needs))


def built(paths: Iterable[str], results: Iterable[bytes]) -> bytes:
    """Return a checksum of the modules' syntax trees and of the results that the modules depend on.

    So if one result is wrong or was used too early, all results that depend on this result change.
    """
    checksum = hashlib.sha256()
    for path in paths:
        checksum.update(ast.dump(parsed(Path(path))).encode("utf-8", "surrogatepass"))
    for result in results:
        checksum.update(result)
    return checksum.digest()


def parsed(path: Path) -> ast.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # ignore warnings about the parsed code
        return ast.parse(path.read_bytes())


def module_name(path: Path) -> str:
    parts = path.with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def imports_of(name: str, path: Path, files: dict[str, Path]) -> set[str] | None:
    """Return the modules in ``files`` that this module imports, and their packages. Return ``None`` if the module
    cannot be parsed."""
    try:
        tree = parsed(path)
    except (SyntaxError, ValueError):
        return None
    package = name.split(".") if path.name == "__init__.py" else name.split(".")[:-1]
    found = {".".join(package)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            start = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*start, *([node.module] if node.module else [])])
            found.update(f"{base}.{alias.name}" if f"{base}.{alias.name}" in files else base for alias in node.names)
    steps = {
        ".".join(parts[:end]) for parts in (other.split(".") for other in found) for end in range(1, len(parts) + 1)
    }
    return (steps & files.keys()) - {name}


def circles(graph: Graph) -> Iterator[list[str]]:
    """Find the strongly connected components with a non-recursive version of Tarjan's algorithm."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    open_: list[str] = []
    is_open: set[str] = set()
    for root in graph:
        path = [(root, iter(graph[root]))] if root not in number else []
        while path:
            name, others = path[-1]
            if name not in number:
                number[name] = lowest[name] = len(number)
                open_.append(name)
                is_open.add(name)
            for other in others:
                if other not in graph:
                    continue
                if other not in number:
                    path.append((other, iter(graph[other])))
                    break
                if other in is_open:
                    lowest[name] = min(lowest[name], number[other])
            else:
                path.pop()
                if path:
                    lowest[path[-1][0]] = min(lowest[path[-1][0]], lowest[name])
                if lowest[name] == number[name]:
                    part = open_[open_.index(name) :]
                    del open_[-len(part) :]
                    is_open.difference_update(part)
                    yield part


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1] if len(sys.argv) > 1 else sysconfig.get_path("stdlib")).resolve()))
