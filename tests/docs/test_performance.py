"""The figures of docs/performance.md are the figures stored as JSON."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from .pages import ROOT


def load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses searches sys.modules for the module that contains an annotation
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def publish() -> ModuleType:
    return load("publish")


def test_the_page_tells_the_newest_figures_of_each_case(publish: ModuleType) -> None:
    text = publish.PAGE.read_text("utf-8")
    assert text.count(publish.BEGIN) == text.count(publish.END) == 1
    assert publish.page(text, publish.newest()) == text, "run `make bench-report`"


def test_each_plot_is_of_these_figures(publish: ModuleType) -> None:
    cases = publish.newest()
    assert sorted(publish.PLOTS.glob("*")) == sorted(case.plot for case in cases)
    for case in cases:
        assert case.digest in case.plot.read_text("utf-8"), "run `make bench-report`"


def kept(folder: Path, at: str, case: str, *figures: dict[str, Any], **facts: Any) -> None:
    plain = {"unit": "x", "low": 1, "high": 3, "target": {"bound": None, "sense": "at most"}, "detail": {}}
    content = {
        "facts": {"at": at, "case": case, "commit": "0123456789", **facts},
        "figures": [plain | {"value": 2, "met": None} | figure for figure in figures],
    }
    (folder / f"{at}-{case}.json").write_text(json.dumps(content), "utf-8")


def test_of_each_case_the_newest_counts_whichever_file_it_is_in(publish: ModuleType, tmp_path: Path) -> None:
    kept(tmp_path, "2026-01-01", "targets", {"name": "old", "case": "cycle"}, {"name": "a", "case": "add"})
    kept(tmp_path, "2026-01-03", "cycle", {"name": "new", "case": "cycle"})
    kept(tmp_path, "2026-01-02", "cycle", {"name": "between", "case": "cycle"})
    kept(tmp_path, "2026-01-04", "cycle-cpu", {"name": "other", "case": "cycle"}, clock="processor")
    kept(tmp_path, "2026-01-04", "own", {"name": "without a case"})
    cases = publish.newest(tmp_path)
    assert [(case.name, [figure["name"] for figure in case.figures]) for case in cases] == [
        ("cycle", ["new"]),
        ("add", ["a"]),
        ("cycle (processor time)", ["other"]),
        ("own", ["without a case"]),
    ]


def test_a_row_tells_the_median_its_range_and_what_became_of_its_target(publish: ModuleType, tmp_path: Path) -> None:
    target = {"bound": 1.5, "sense": "at most"}
    kept(
        tmp_path,
        "2026-01-01",
        "cycle",
        {"name": "a | b", "value": 12_345.6, "low": 0.01234, "high": 99_999, "unit": "/s"},
        {"name": "c", "value": 1.5, "target": target, "met": True},
        {"name": "d", "value": 1.6, "low": 1.6, "high": 1.6, "target": target, "met": False},
    )
    text = publish.tables(publish.newest(tmp_path))
    assert "| a \\| b | 12,300 /s | 0.0123 to 100,000 |  |  |\n" in text
    assert "| c | 1.5 x | 1 to 3 | at most 1.5 | met |\n" in text
    assert "| d | 1.6 x |  | at most 1.5 | **missed** |\n" in text
    assert text.count("commit `01234567`") == 1


def test_measurements_of_several_cases_are_a_table_of_medians(publish: ModuleType, tmp_path: Path) -> None:
    target = {"bound": 20, "sense": "at most"}
    kept(
        tmp_path,
        "2026-01-01",
        "crowd",
        {"name": "alone", "value": 1},
        {"name": "crowd of 2: rate", "value": 9000, "unit": "/s"},
        {"name": "crowd of 2: p99", "value": 3, "unit": "ms"},
        {"name": "crowd of 8: rate", "value": 8000, "unit": "/s"},
        {"name": "crowd of 8: p99", "value": 21, "unit": "ms", "target": target, "met": False},
        {"name": "crowd of 8: errors", "value": 0, "unit": ""},
    )
    text = publish.tables(publish.newest(tmp_path))
    assert "| alone | 1 x | 1 to 3 |  |  |\n| crowd of 8: errors | 0 | 1 to 3 |  |  |\n" in text
    assert (
        "| medians | rate | p99 |\n|---|---|---|\n| crowd of 2 | 9,000 /s | 3 ms |\n"
        "| crowd of 8 | 8,000 /s | 21 ms (at most 20: **missed**) |\n"
    ) in text


def test_writing_the_page_anew_changes_nothing_else(publish: ModuleType, tmp_path: Path) -> None:
    kept(tmp_path, "2026-01-01", "cycle", {"name": "c"})
    text = publish.PAGE.read_text("utf-8")
    with_figures = publish.page(text, publish.newest(tmp_path))
    assert "| c | 2 x |" in with_figures
    assert publish.page(with_figures, publish.newest()) == publish.page(text, publish.newest())


def test_the_same_figures_give_the_same_plot(publish: ModuleType, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib", reason="the extra bench draws plots")
    draw = load("plots").draw
    nothing = {"name": "errors", "value": 0, "low": 0, "high": 0, "unit": ""}
    target = {"bound": 2.5, "sense": "at most"}
    many = [{"name": f"figure {number}", "value": 10**number, "low": 1, "high": 10**6} for number in range(5)]
    kept(
        tmp_path,
        "2026-01-01",
        "cycle",
        *many,
        nothing,
        {"name": "$a$ < b", "unit": "ms", "target": target, "met": True},
    )
    (case,) = publish.newest(tmp_path)
    drawn = []
    for name in ("one.svg", "two.svg"):
        draw(case.figures, case.digest, tmp_path / name)
        drawn.append((tmp_path / name).read_bytes())
    assert drawn[0] == drawn[1]
    assert case.digest.encode() in drawn[0]
    assert len(drawn[0]) < 40_000
