"""Each result is on disk before the next check begins."""

import json

import pytest

from tests.gpu.results import RESULTS_FILE, SUMMARY_FILE, Results, Skipped


@pytest.fixture
def results(tmp_path):
    return Results(tmp_path, "smoke")


def lines(folder):
    text = (folder / RESULTS_FILE).read_text(encoding="utf-8").splitlines()
    return [{name: value for name, value in json.loads(line).items() if name != "at_s"} for line in text]


def test_each_record_is_a_json_line_and_a_line_for_people(results, tmp_path):
    latency_ms = {"median": 2.0, "least": 1.0, "most": 3.5}
    results.record("batch 8", "measured", latency_ms=latency_ms, differs=0.123456, losses=[1.0, 2.0])
    assert lines(tmp_path) == [
        {
            "part": "smoke",
            "check": "batch 8",
            "outcome": "measured",
            "latency_ms": latency_ms,
            "differs": 0.123456,
            "losses": [1.0, 2.0],
        }
    ]
    told = (tmp_path / SUMMARY_FILE).read_text(encoding="utf-8")
    assert told == "smoke: batch 8: measured  latency_ms 2 (1 to 3.5), differs 0.1235\n"


def test_a_check_that_fails_is_recorded_with_what_it_found_and_the_next_one_runs(results, tmp_path):
    with results.check("first") as found:
        found["scale"] = 1.0
        raise ValueError("no such kernel")
    with results.check("second") as found:
        found["scale"] = 2.0
    with results.check("third"):
        raise Skipped("for GPUs")
    assert results.failed == ["first"]
    assert [(line["check"], line["outcome"]) for line in lines(tmp_path)] == [
        ("first", "failed"), ("second", "passed"), ("third", "skipped"),
    ]  # fmt: skip
    assert lines(tmp_path)[0]["error"] == "ValueError: no such kernel"
    assert lines(tmp_path)[0]["scale"] == 1.0
    assert lines(tmp_path)[2]["why"] == "for GPUs"
