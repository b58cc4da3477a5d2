"""The history of drills as dots."""

from dataclasses import asdict

from everup.web.plots import HEIGHT, MOST_RUNS, WIDTH, plots
from tests.drills.finished import finished, stuck


def told(*drills):
    return [asdict(one) for one in drills]


def test_a_run_below_its_target_is_drawn_below_it():
    plot = plots(told(finished(rto_s=2.0)))[0]
    assert plot.service == "redis01" and plot.target.words == "target 2.0 s"
    assert plot.dots[0].y > plot.target.y and plot.dots[0].verdict == "pass"
    assert "2026-11-22 14:03 crash: " in plot.dots[0].words
    assert plot.median_s == plot.worst_s


def test_a_run_above_its_target_is_drawn_above_it_and_fails():
    plot = plots(told(finished(rto_s=0.01)))[0]
    assert plot.dots[0].y < plot.target.y and plot.dots[0].verdict == "fail"


def test_a_run_without_an_end_is_at_the_top():
    plot = plots(told(stuck()))[0]
    assert plot.dots[0].y == 0.0 and "no write came back" in plot.dots[0].words
    assert plot.median_s is None


def test_runs_stand_in_order_and_within_the_picture():
    plot = plots(told(*[finished()] * 90))[0]
    places = [dot.x for dot in plot.dots]
    assert len(places) == MOST_RUNS and places == sorted(places) and places[0] > 0 and places[-1] < WIDTH
    assert all(0 <= dot.y <= HEIGHT for dot in plot.dots)
    assert plot.bands[0].shaded != plot.bands[1].shaded


def test_without_a_target_there_is_no_line():
    assert plots(told(finished(rto_s=None)))[0].target is None


def test_without_drills_there_is_nothing():
    assert plots([]) == []
