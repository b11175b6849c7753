"""Tracing is off by default, and says what is missing if it cannot start."""

import subprocess
import sys
from pathlib import Path

import pytest

from service.errors import SettingsInvalid
from service.settings import Settings
from service.timeline import Tracer
from service.tracing.start import start_tracing

ROOT = Path(__file__).parents[4]


def run(script):
    return subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=False, capture_output=True, text=True
    )


@pytest.fixture
def variable(monkeypatch):
    """Return a function that sets a variable of OpenTelemetry; no other one is set."""
    for name in ("PROTOCOL", "TRACES_PROTOCOL", "ENDPOINT", "TRACES_ENDPOINT"):
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{name}", raising=False)
    for name in ("SDK_DISABLED", "TRACES_EXPORTER", "SERVICE_NAME", "RESOURCE_ATTRIBUTES"):
        monkeypatch.delenv(f"OTEL_{name}", raising=False)
    return monkeypatch.setenv


def start():
    tracer = start_tracing(Settings.model_construct(tracing=True))
    if tracer is not None:
        tracer.close()
    return tracer


def test_without_the_setting_opentelemetry_is_not_imported():
    script = (
        "import sys; from service.app import create_app; from service.settings import Settings;"
        "create_app(Settings.model_construct()); begun = ('opentelemetry.sdk', 'opentelemetry.exporter');"
        "print([name for name in sys.modules if name.startswith(begun)])"
    )
    done = run(script)
    assert (done.returncode, done.stdout) == (0, "[]\n"), done.stderr


def test_without_its_packages_the_error_says_what_to_install():
    script = (
        "import sys; sys.modules['opentelemetry.sdk.trace'] = None; from service.__main__ import main;"
        "import os; os.environ['SPARSIGHT_TRACING'] = 'true'; os.environ['PORT'] = '0'; sys.exit(main([]))"
    )
    done = run(script)
    assert done.returncode == 2
    assert "SPARSIGHT_TRACING is true" in done.stderr
    assert "pip install '.[tracing]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_it_starts_with_the_variables_unset(variable):
    tracer: Tracer | None = start()
    assert tracer is not None


def test_opentelemetry_s_own_switch_turns_it_off(variable):
    variable("OTEL_SDK_DISABLED", "true")
    assert start() is None


@pytest.mark.parametrize(
    ("name", "value", "instead"),
    [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc", "http/protobuf"),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json", "http/protobuf"),
        ("OTEL_TRACES_EXPORTER", "zipkin", "otlp"),
    ],
)
def test_what_it_cannot_do_is_refused_at_the_start(variable, name, value, instead):
    variable(name, value)
    with pytest.raises(SettingsInvalid, match=f"{name}='{value}'.*{instead}"):
        start()


@pytest.mark.parametrize("value", ["http/protobuf", ""])
def test_the_protocol_that_it_speaks_may_be_named(variable, value):
    variable("OTEL_EXPORTER_OTLP_PROTOCOL", value)
    assert start() is not None
