"""What people see of a drill."""

import io
import json
from dataclasses import asdict, replace

from rich.console import Console, RenderableType

from everup.cli.drill_screen import app_lines, history, result, run_line, span
from everup.model.drill import DrillFault
from tests.drills.finished import finished, stuck, watched


def text(part: RenderableType) -> str:
    console = Console(file=io.StringIO(), width=160)
    console.print(part)
    found = console.file.getvalue()  # type: ignore[attr-defined]
    return str(found)


def test_the_result_sets_figures_beside_targets():
    shown = text(result(finished()))
    assert "redis01 · crash · through the Sentinels · 1 writer · 1 run" in shown
    assert "median 100 ms" in shown and "target 2 s" in shown
    assert "0 of 301" in shown and "target 0" in shown
    assert "✓ pass  rto and rpo kept" in shown


def test_a_target_that_was_missed_is_said_in_words():
    shown = text(result(finished(rto_s=0.05)))
    assert "✗ fail" in shown and "longer than 0.05 s" in shown


def test_without_targets_the_figures_stand_alone():
    assert "target none" in text(result(finished(rto_s=None)))


def test_a_service_that_did_not_come_back_has_no_figures():
    shown = text(result(stuck()))
    assert "writing did not come back" in shown and "✗ fail" in shown
    assert "writing did not come back · lost ? of 301" in text(run_line("1/1", stuck().runs[0]))


def test_a_run_is_one_line():
    line = text(run_line("3/10", finished().runs[0]))
    words = (
        "3/10 ✓ redis01-1 · writes stood still 100 ms · lost 0 of 301 · 1 errors · failover · redundant after 1.50 s"
    )
    assert " ".join(line.split()) == words
    died = replace(finished().runs[0], subject=None)
    assert "control plane" in text(run_line("1/1", died))


def test_an_app_that_was_watched_stands_beside_the_service_instance_by_instance():
    shown = " ".join(text(result(watched(stays=False))).split())
    assert "web-1 without a write median 350 ms max 350 ms within 10 s of the service · 1 errors" in shown
    assert "✓ web POST /orders: every instance of web writes again ✓ pass" in shown
    assert "Let its pool" not in shown
    assert app_lines("", finished().runs[0]) == []


def test_an_instance_that_stayed_is_named_once_with_what_to_do():
    drill = watched(stays=True)
    shown = " ".join(text(result(drill)).split())
    assert shown.count("web-2 stayed on the old primary") == 1 and "✗ web POST /orders Let its pool" in shown
    assert "everup restart web" in shown and "✗ fail" in shown
    (line,) = app_lines(" ", drill.runs[0])
    assert "web-2 did not write again, 300 errors" in str(line) and "stayed" not in str(line)
    assert "web-2 stayed on the old primary" in text(run_line("1/1", drill.runs[0]))


def test_history_tells_apps_and_who_stayed():
    kept = [json.loads(json.dumps(asdict(one))) for one in (watched(stays=True), watched(stays=False), finished())]
    del kept[2]["app"]  # as it was kept before there were apps in drills
    lines = text(history(kept)).splitlines()
    assert "✗ web: web-2 stayed" in lines[0]
    assert lines[1].rstrip().endswith("✓ web")
    assert "web" not in lines[2]


def test_history_has_one_line_per_drill_from_what_was_kept():
    hung = replace(finished(rto_s=0.05), fault=DrillFault.HANG)
    kept = [json.loads(json.dumps(asdict(one))) for one in (finished(), hung, stuck())]
    lines = text(history(kept)).splitlines()
    assert len(lines) == 3
    assert "crash" in lines[0] and "✓ pass" in lines[0]
    assert "hang" in lines[1] and "✗ fail" in lines[1]
    assert " - " in lines[2]


def test_durations_have_the_digits_that_matter():
    assert [span(value) for value in (0.0412, 0.9994, 1.2345)] == ["41 ms", "999 ms", "1.23 s"]
