# SPDX-License-Identifier: ISC
"""What the comparison of tests/bench says of its figures: medians, ratios,
goals, and who was not measured; nothing is run for that.  And that the load
generator comes again with its TLS sessions.
"""

import json
import os
import pathlib
import subprocess
import sys

import pytest

BENCH = pathlib.Path(__file__).resolve().parents[1] / "bench"
TOOLS = pathlib.Path(os.environ.get("POSTERN_BUILD", BENCH.parents[1] / "build")) / "tests" / "bench"


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


def runs(*per_second, cpu=1.0, p99=20.0, resumed=0.0):
    return [{"resumed": resumed, "accepted_per_s": n, "delivered_per_s": n, "p99_ms": p99, "cpu_s_per_1000": cpu, "load_cpu_s_per_1000": 0.03, "pss_mb": 20.5}
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


AGAIN = "W3, one message a connection, TLS sessions resumed: times the same"


@pytest.mark.parametrize("ours, its, want", [
    (1.0, 1.0, "reached"),
    (1.0, 0.95, "reached"),
    (1.0, 0.02, "reached; postfix-opendkim resumed 2% of its TLS sessions"),
    (0.5, 0.0, "reached; postern resumed 50% of its TLS sessions; postfix-opendkim resumed 0% of its TLS sessions"),
])
def test_who_did_not_resume_is_named_beside_the_verdict(bench, ours, its, want):
    results = {("postern", "send-again"): runs(800, resumed=ours), ("postfix-opendkim", "send-again"): runs(250, resumed=its)}
    got = judged(bench, results, AGAIN)
    assert (got["here"], got["verdict"]) == (3.2, want)


def test_where_no_session_is_to_be_resumed_nobody_is_named(bench):
    results = {("postern", "send-single"): runs(800), ("postfix-opendkim", "send-single"): runs(250)}
    assert judged(bench, results, "W3, one message a connection: times the same")["verdict"] == "reached"
    assert judged(bench, results, AGAIN)["verdict"] == "not measured"


def test_how_many_were_resumed_is_a_column_of_that_work_alone(bench):
    def head(work):
        return next(line for line in bench.tables.markdown("", {("postern", work): runs(10)}, [], [work]).splitlines() if line.startswith("| server"))

    assert head("send-again") == head("send-single") + " resumed |"


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


# ---- load: sessions ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tls_sink(tmp_path_factory):
    """The port of a sink that offers STARTTLS."""
    folder = tmp_path_factory.mktemp("sink")
    pair = ["-keyout", folder / "key.pem", "-out", folder / "cert.pem"]
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2", "-subj", "/CN=sink.test", *pair],
                   check=True, capture_output=True)
    with subprocess.Popen([TOOLS / "sink", "--certificate", folder / "cert.pem", "--key", folder / "key.pem"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True) as sink:
        yield int(sink.stdout.readline())
        sink.stdin.close()             # it ends with it


@pytest.fixture
def up_to(tmp_path):
    """The environment of a program whose TLS goes up to that version."""
    def environment(version):
        conf = tmp_path / "openssl.cnf"
        conf.write_text(f"openssl_conf = all\n[all]\nssl_conf = ssl\n[ssl]\nsystem_default = limits\n[limits]\nMaxProtocol = {version}\n")
        return {**os.environ, "OPENSSL_CONF": str(conf)}
    return environment


@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
@pytest.mark.parametrize("way, first_ones", [((), None), (("--resume",), 3)])
def test_each_connection_comes_with_the_session_before_if_asked(tls_sink, up_to, version, way, first_ones):
    words = [TOOLS / "load", "--port", str(tls_sink), "--starttls", "--connections", "3", "--per-connection", "1", "--messages", "30", "--quit", *way]
    got = json.loads(subprocess.run(words, env=up_to(version), capture_output=True, check=True, timeout=60).stdout)
    assert got["accepted"] == 30 and got["handshakes"] >= 30
    assert got["resumed"] == (got["handshakes"] - first_ones if first_ones else 0)
