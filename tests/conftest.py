"""Turns skipped tests into failures if CI=true, and keeps the stack on which signals are handled."""

import ctypes
import os
import sys
from collections.abc import Generator

import pytest


class SignalStack(ctypes.Structure):
    """`stack_t` of Linux: the alternate stack of a thread, on which its signal handlers run."""

    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


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
    # OpenVINO 2026.4 gives the thread that first uses its CPU plugin another stack for signals, and frees it
    # with the plugin, even if the thread still has it: if another thread frees the plugin, or if of two
    # plugins the older one is freed first. The next signal, such as a Ctrl-C, would then end the process
    # without a word. So the thread gets its own stack back after each test.
    if sys.platform != "linux":
        return (yield)
    libc, stack = ctypes.CDLL(None, use_errno=True), SignalStack()
    libc.sigaltstack(None, ctypes.byref(stack))
    try:
        return (yield)
    finally:
        libc.sigaltstack(ctypes.byref(stack), None)
