"""Each log line holds one event, in a format that programs can read."""

import ast
import contextvars
import fcntl
import json
import logging
import os
import re
import select
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from service.logs import bind_request, line_formatter
from service.timeline import Trace

ROOT = Path(__file__).parents[3]


def record(message, *arguments, level=logging.INFO, exc_info=None, **facts):
    made = logging.getLogger("service.serving").makeRecord(
        "service.serving", level, "models.py", 1, message, arguments, exc_info, extra=facts
    )
    made.exc_info = exc_info
    return made


def text(*arguments, **facts):
    """Return the line without its time, which is the first word."""
    return line_formatter("text").format(record(*arguments, **facts)).partition(" ")[2]


def test_a_line_is_the_event_and_then_its_fields():
    line = text("model_loaded", model="starter", version="1", seconds=0.9)
    assert line == "INFO model_loaded model=starter version=1 seconds=0.9 logger=service.serving"


def test_lines_inside_a_request_have_its_id_and_its_trace():
    trace = Trace("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", None, None)

    def in_request(bound):
        bind_request("r1", bound)
        return json.loads(line_formatter("json").format(record("breaker_opened", why="gone")))

    ids = {"id": "r1", "trace_id": "0af7651916cd43dd8448eb211c80319c", "span_id": "b7ad6b7169203331"}
    line = contextvars.copy_context().run(in_request, trace)
    assert {name: line.get(name) for name in (*ids, "why")} == {**ids, "why": "gone"}
    untraced = contextvars.copy_context().run(in_request, None)
    assert (untraced["id"], "trace_id" in untraced) == ("r1", False)
    assert "id" not in json.loads(line_formatter("json").format(record("ready")))


def test_a_line_that_names_an_id_itself_keeps_it():
    def in_request():
        bind_request("r1", None)
        return text("request_answered", id="own")

    line = contextvars.copy_context().run(in_request)
    assert line == "INFO request_answered id=own logger=service.serving"


def test_a_line_begins_with_its_time_in_utc():
    time = line_formatter("text").format(record("ready")).split()[0]
    assert time[10] == "T"
    assert time.endswith("Z")


@pytest.mark.parametrize(
    ("value", "written"),
    [
        pytest.param("plain", "plain", id="a word stands as it is"),
        pytest.param("two words", '"two words"', id="spaces"),
        pytest.param("", '""', id="nothing"),
        pytest.param("a=b", '"a=b"', id="an equals sign"),
        pytest.param('say "hi"', r'"say \"hi\""', id="quotes"),
        pytest.param("C:\\models", r'"C:\\models"', id="a backslash"),
        pytest.param("one\ntwo", r'"one\ntwo"', id="a line break"),
        pytest.param("one\u2028two", r'"one\u2028two"', id="a line break of Unicode"),
        pytest.param("\x1b[31m", r'"\u001b[31m"', id="a terminal's escape code"),
        pytest.param("größe", "größe", id="letters beyond ASCII"),
        pytest.param(True, "true", id="a truth value"),
        pytest.param(None, "null", id="none"),
        pytest.param([1, 2], '"[1, 2]"', id="a list"),
        pytest.param(Path("/models/a b"), '"/models/a b"', id="a path"),
    ],
)
def test_a_value_is_quoted_where_it_must_be(value, written):
    assert text("event", field=value) == f"INFO event field={written} logger=service.serving"


def test_a_shell_reads_the_fields_back():
    line = text("breaker_opened", why='triton does not answer: it said "no"', backend="triton")
    assert dict(word.partition("=")[::2] for word in shlex.split(line)[2:]) == {
        "why": 'triton does not answer: it said "no"',
        "backend": "triton",
        "logger": "service.serving",
    }


def test_a_library_s_sentence_is_one_quoted_event():
    assert text("Started server process [%d]", 7) == (
        'INFO "Started server process [7]" logger=service.serving'
    )


def test_uvicorn_s_second_message_for_terminals_is_left_out():
    assert "color_message" not in text("ready", color_message="\x1b[1mready\x1b[0m")


def test_a_traceback_follows_its_line_in_text_and_is_a_field_in_json():
    try:
        raise ValueError("broken")
    except ValueError:
        fault = record("probe_failed", level=logging.ERROR, exc_info=sys.exc_info())
    first, *others = line_formatter("text").format(fault).splitlines()
    assert "ERROR probe_failed logger=service.serving" in first
    assert others[0].startswith("Traceback")
    assert others[-1] == "ValueError: broken"
    parsed = json.loads(line_formatter("json").format(fault))
    assert parsed["event"] == "probe_failed"
    assert parsed["exception"].endswith("ValueError: broken")


def test_json_is_one_object_a_line_with_numbers_as_numbers():
    line = line_formatter("json").format(record("answered", code=200, duration_s=0.0123, why="a\nb"))
    assert "\n" not in line
    fields = json.loads(line)
    assert fields.pop("time").endswith("Z")
    assert fields == {
        "event": "answered",
        "level": "info",
        "logger": "service.serving",
        "code": 200,
        "duration_s": 0.0123,
        "why": "a\nb",
    }


def test_uvicorn_s_warnings_pass_and_its_greetings_do_not():
    script = (
        "import logging; from service.logs import log_to_stderr; log_to_stderr('json');"
        "logging.getLogger('uvicorn.error').info('greeting');"
        "logging.getLogger('uvicorn.error').warning('trouble')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert [json.loads(line)["event"] for line in ended.stderr.splitlines()] == ["trouble"]


def events():
    """Yield the first argument of every call of a module's `log`."""
    for path in sorted((ROOT / "service").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("log."):
                yield ast.unparse(node.args[0]).strip("'")


@pytest.mark.parametrize("event", sorted(set(events())))
def test_what_is_logged_is_the_name_of_an_event_that_the_page_explains(event):
    assert re.fullmatch("[a-z]+(_[a-z]+)+", event)
    assert f"`{event}`" in (ROOT / "service" / "README.md").read_text(encoding="utf-8")


linux = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux's pipes and /dev/full")
WRITES = (
    "import logging, sys; from service.logs import log_to_stderr, write_to_stderr; log_to_stderr('json');"
    "log = logging.getLogger('service');"
)


def run_with(stderr, script):
    subprocess.run([sys.executable, "-c", WRITES + script], cwd=ROOT, stderr=stderr, timeout=30, check=True)


@linux
def test_a_pipe_that_nobody_reads_costs_lines_and_the_next_line_says_how_many():
    reads, writes = os.pipe()
    most = fcntl.fcntl(writes, fcntl.F_SETPIPE_SZ, 4 * select.PIPE_BUF)
    script = (
        "[log.info('line', extra={'fill': 'x' * 500}) for _ in range(100)];"
        f"import os; print(os.read({reads}, {most}).decode());"  # now there is room again
        "log.info('last')"
    )
    command = [sys.executable, "-c", WRITES + script]
    run = subprocess.run(
        command, cwd=ROOT, stdout=subprocess.PIPE, stderr=writes, pass_fds=[reads], timeout=30, check=True
    )
    os.close(writes)
    before = [json.loads(line)["event"] for line in run.stdout.splitlines() if line]
    with os.fdopen(reads) as pipe:
        dropped, last = [json.loads(line) for line in pipe]
    assert set(before) == {"line"}
    assert (dropped["event"], dropped["lines"]) == ("log_lines_dropped", 100 - len(before))
    assert last["event"] == "last"


@linux
def test_a_line_that_is_cut_short_has_an_end_before_the_next_line():
    reads, writes = os.pipe()
    most = fcntl.fcntl(writes, fcntl.F_SETPIPE_SZ, 4 * select.PIPE_BUF)
    script = f"log.info('x' * {2 * most}); import os; os.read({reads}, {most}); log.info('last')"
    command = [sys.executable, "-c", WRITES + script]
    subprocess.run(command, cwd=ROOT, stderr=writes, pass_fds=[reads], timeout=30, check=True)
    os.close(writes)
    with os.fdopen(reads) as pipe:
        end, *others = pipe.read().splitlines()
    assert end == ""
    assert [json.loads(line)["event"] for line in others] == ["log_lines_dropped", "last"]


@linux
@pytest.mark.parametrize("sink", ["closed pipe", "full disk", "closed file"])
def test_a_log_that_cannot_be_written_does_no_harm(sink):
    script = "log.info('lost'); assert write_to_stderr(b'lost') == 0"
    if sink == "closed file":
        command = [sys.executable, "-c", WRITES + script]
        subprocess.run(["sh", "-c", 'exec "$@" 2>&-', "sh", *command], cwd=ROOT, check=True)
    elif sink == "full disk":
        with Path("/dev/full").open("wb") as full:
            run_with(full, script)
    else:
        reads, writes = os.pipe()
        os.close(reads)
        run_with(writes, script)
        os.close(writes)
