# SPDX-License-Identifier: ISC
"""What the comparison of tests/bench says of its figures: medians, ratios,
goals, and who was not measured.  Nothing is run.
"""

import pathlib
import sys

import pytest

BENCH = pathlib.Path(__file__).resolve().parents[1] / "bench"


@pytest.fixture(scope="module")
def bench():
    """goals and tables of tests/bench; their names are not left in sys.path."""
    sys.path.insert(0, str(BENCH))
    try:
        import goals
        import peers
        import tables
        import works
    finally:
        sys.path.remove(str(BENCH))
    return type("Bench", (), {"goals": goals, "tables": tables, "peers": peers, "works": works})


def runs(*per_second, cpu=1.0, p99=20.0):
    return [{"accepted_per_s": n, "delivered_per_s": n, "p99_ms": p99, "cpu_s_per_1000": cpu, "load_cpu_s_per_1000": 0.03, "pss_mb": 20.5}
            for n in per_second]


def judged(bench, results, goal):
    return next(g for g in bench.goals.judged(results) if g["goal"] == goal)


@pytest.mark.parametrize("here, must, stretch, lower, want", [
    (0.25, 0.25, 0.15, True, "reached"),
    (0.15, 0.25, 0.15, True, "stretch reached"),
    (0.26, 0.25, 0.15, True, "missed by 4.0%"),
    (6, 6, 8, False, "reached"),
    (8, 6, 8, False, "stretch reached"),
    (5.4, 6, 8, False, "missed by 10.0%"),
    (None, 6, 8, False, "not measured"),
    (3, None, None, False, "no goal"),
])
def test_a_goal_is_reached_at_its_limit(bench, here, must, stretch, lower, want):
    assert bench.goals.verdict(here, must, stretch, lower) == want


def test_a_ratio_is_that_of_the_medians(bench):
    results = {("postern", "box"): runs(7000, 1, 6500), ("postfix", "box"): runs(900, 1000, 5000)}
    got = judged(bench, results, "W1: times Postfix")
    assert (got["here"], got["beside"], got["verdict"]) == (6.5, "postfix", "reached")


def test_the_best_peer_is_the_fastest_but_no_postern(bench):
    results = {("postern", "box"): runs(4500), ("postern-nomemory", "box"): runs(9000), ("postfix", "box"): runs(900),
               ("exim", "box"): runs(1500), ("opensmtpd", "box"): [], ("sink", "ceiling"): runs(20000)}
    got = judged(bench, results, "W1: times the best peer")
    assert (got["here"], got["beside"], got["verdict"]) == (3.0, "exim", "missed by 25.0%")


def test_the_row_without_the_login_memory_is_its_own(bench):
    results = {("postern", "send-single"): runs(900), ("postern-nomemory", "send-single"): runs(500), ("postfix-opendkim", "send-single"): runs(250)}
    assert judged(bench, results, "W3, one message a connection: times the same")["verdict"] == "stretch reached"
    without = judged(bench, results, "– and without the login memory")
    assert (without["here"], without["verdict"]) == (2.0, "no goal")


def test_nothing_measured_is_no_goal_reached(bench):
    assert {g["verdict"] for g in bench.goals.judged({}) if g["must"] is not None} == {"not measured"}


def test_a_table_shows_the_median_between_least_and_most(bench):
    text = bench.tables.markdown("", {("postern", "box"): runs(10, 30, 20), ("exim", "box"): []}, [], ["box"])
    assert "| postern | 20 (10–30) | 20 (10–30) | 20 (20–20) | 1 (1–1) | 0.03 (0.03–0.03) | 20.5 (20.5–20.5) |" in text
    assert "exim" not in text


def test_who_was_not_measured_is_named_with_the_reason(bench):
    text = bench.tables.markdown("", {("exim", "box"): []}, [("exim", "box", "turn 1 failed: nobody greets"), ("opensmtpd", None, "not here: smtpd")], ["box"])
    assert f"- exim, {bench.works.WORKS['box'].title}: turn 1 failed: nobody greets" in text
    assert "- opensmtpd: not here: smtpd" in text


def test_each_server_does_works_that_there_are(bench):
    for peer in bench.peers.ALL:
        assert set(peer.works) <= set(bench.works.WORKS), peer.name
