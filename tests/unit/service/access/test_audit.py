"""What an operator must be able to look up is written; a file that cannot be written fails nobody."""

import json
import logging
import time
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from service.access import audit as module
from service.access.audit import Audit
from service.errors import AccessFileInvalid
from service.metrics import Metrics


@pytest.fixture
def metrics():
    return Metrics(CollectorRegistry())


def lost(metrics):
    return metrics.registry.get_sample_value("sparsight_audit_lost_total")


def events(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_an_event_is_a_line_of_json_and_of_the_log(tmp_path, metrics, caplog):
    audit = Audit(tmp_path / "audit.jsonl", metrics)
    audit.acted({"key": "ops", "route": "/models/reload", "code": 200, "id": "a\nb", "caller": "127.0.0.1"})
    audit.close()
    (event,) = events(tmp_path / "audit.jsonl")
    assert event.pop("time").endswith("Z")
    assert event == {
        "event": "admin_action",
        "key": "ops",
        "route": "/models/reload",
        "code": 200,
        "id": "a\nb",
        "caller": "127.0.0.1",
    }
    assert [record.message for record in caplog.records] == ["admin_action"]


def test_of_a_flood_a_few_are_written_and_the_rest_counted(tmp_path, metrics, monkeypatch):
    clock = [1000.0]
    monkeypatch.setattr(module, "monotonic", lambda: clock[0])
    audit = Audit(tmp_path / "audit.jsonl", metrics)
    for _ in range(1000):  # in a second and a bit
        audit.refused({"why": "unknown"})
        clock[0] += 0.001001
    clock[0] += 1
    audit.refused({"why": "unknown"})
    audit.close()
    written = events(tmp_path / "audit.jsonl")
    assert len(written) == 11
    assert sum(1 + event["omitted"] for event in written) == 1001


def test_a_full_disk_costs_lines_and_no_more(metrics, caplog):
    audit = Audit(Path("/dev/full"), metrics)
    for _ in range(50):
        audit.changed({"file": "keys.json"})
    audit.close()
    assert lost(metrics) == 50
    complaints = [record for record in caplog.records if record.message == "audit_not_written"]
    assert [record.why for record in complaints] == ["No space left on device"]


def test_a_disk_that_hangs_holds_nobody_up(tmp_path, metrics, monkeypatch):
    audit = Audit(tmp_path / "audit.jsonl", metrics)
    hanging, opened = [True], Path.open

    def hang(path, *args, **more):
        while hanging[0]:
            time.sleep(0.005)
        return opened(path, *args, **more)

    monkeypatch.setattr(Path, "open", hang)
    logging.disable()  # of each event; only the time of the file is of interest
    try:
        began = time.perf_counter()
        for _ in range(1200):
            audit.acted({"key": "ops"})
        took_s = time.perf_counter() - began
    finally:
        logging.disable(logging.NOTSET)
    assert took_s < 1
    assert 198 <= lost(metrics) <= 200  # 1000 wait; the thread may hold one more
    hanging[0] = False
    audit.close()
    assert len(events(tmp_path / "audit.jsonl")) == 1200 - lost(metrics)


def test_the_file_may_be_moved_away(tmp_path, metrics):
    path = tmp_path / "audit.jsonl"
    audit = Audit(path, metrics)
    audit.acted({"key": "one"})
    while not path.read_text():
        time.sleep(0.005)
    path.rename(tmp_path / "old")
    audit.acted({"key": "two"})
    audit.close()
    assert [event["key"] for event in events(path)] == ["two"]


def test_a_file_that_cannot_be_opened_is_an_error_at_the_start(tmp_path, metrics):
    with pytest.raises(AccessFileInvalid, match="cannot be opened: No such file"):
        Audit(tmp_path / "missing" / "audit.jsonl", metrics)
