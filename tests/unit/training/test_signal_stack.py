"""Ctrl-C is noticed after OpenVINO's CPU plugins were freed, the older one first."""

import subprocess
import sys

import pytest

INTERRUPTED = """
import gc, signal
from training.export.proof.openvino_engine import open_cpu
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell may have started the tests with it ignored
older, newer = open_cpu(), open_cpu()
del older
gc.collect()
del newer
gc.collect()
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("interrupted")
"""

STACKS = """
import ctypes
from training.export.proof.openvino_engine import cpu_capabilities, open_cpu
from training.signal_stack import SignalStack, own_signal_stack


def stack():
    now = SignalStack()
    ctypes.CDLL(None).sigaltstack(None, ctypes.byref(now))
    return now.start, now.flags, now.size


before = stack()
core = open_cpu()
cpu_capabilities()
assert stack() == before, (before, stack())
with own_signal_stack():
    new = (ctypes.c_char * 65536)()
    other = SignalStack(ctypes.addressof(new), 0, len(new))
    ctypes.CDLL(None).sigaltstack(ctypes.byref(other), None)
    assert stack() != before
assert stack() == before, (before, stack())
print("kept")
"""


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no sigaltstack in this form")
@pytest.mark.parametrize(("code", "said"), [(INTERRUPTED, "interrupted"), (STACKS, "kept")])
def test_a_thread_keeps_its_stack_for_signals(code, said):
    ended = subprocess.run(
        [sys.executable, "-c", code], check=False, capture_output=True, text=True, timeout=120
    )
    assert (ended.returncode, ended.stdout.strip()) == (0, said), ended.stderr
