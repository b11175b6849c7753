#!/usr/bin/env bash
# OpenVINO 2026.4.1, CPU plugin, Linux x86-64: the first use of the CPU replaces the calling thread's alternate signal
# stack (sigaltstack). The thread has its own stack back only when the plugin is freed.
#
# A signal handler that asks for it runs on this stack. Python's `faulthandler`, crash reporters and the runtimes of Go and
# of Java set it up themselves, and choose its size. One would expect that a library for inference leaves it alone. Its
# own stack may also be smaller than the one that it replaces.
#
# The script prints whose stack the main thread of a Python process has, with faulthandler on. It printed "before:
# faulthandler's, 16880 bytes; after making a Core: faulthandler's; after reading a property of the CPU: another, 11568
# bytes; after the plugin was freed: faulthandler's". The sizes depend on the processor. The script fails if the stack is
# kept.
set -euo pipefail
folder="$(mktemp -d)"
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check openvino==2026.4.1
cat >"$folder/look.py" <<'PYTHON'
import ctypes
import faulthandler
import gc

import openvino


class Stack(ctypes.Structure):
    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


def stack():
    now = Stack()
    assert ctypes.CDLL(None).sigaltstack(None, ctypes.byref(now)) == 0
    return now.start, now.size


faulthandler.enable()
own = stack()
core = openvino.Core()
made = stack()
core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")
used = stack()
del core
gc.collect()
freed = stack()


def whose(which):
    return "faulthandler's" if which == own else "another"


print(f"openvino {openvino.__version__}")
print(
    f"before: faulthandler's, {own[1]} bytes; after making a Core: {whose(made)};"
    f" after reading a property of the CPU: {whose(used)}, {used[1]} bytes;"
    f" after the plugin was freed: {whose(freed)}"
)
assert own[0] and used != own, "the stack was kept"
assert freed == own, "the stack was not given back"
PYTHON
"$folder/venv/bin/python" "$folder/look.py"
