"""Turns skipped tests into failures if CI=true, and keeps the stack on which signals are handled."""

import os
from collections.abc import Generator

import pytest

from training.signal_stack import own_signal_stack


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and os.environ.get("CI") == "true" and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"skipped, but in CI nothing may skip: {report.longrepr}"
    return report


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    with own_signal_stack():  # tests free OpenVINO's plugins in any order, and some raise signals afterwards
        return (yield)
