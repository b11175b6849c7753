"""Keep the stack on which a thread handles signals, which OpenVINO's CPU plugin replaces."""

import ctypes
import sys
from collections.abc import Iterator
from contextlib import contextmanager


class SignalStack(ctypes.Structure):
    """`stack_t` of Linux: the alternate stack of a thread, on which its signal handlers run."""

    _fields_ = (("start", ctypes.c_void_p), ("flags", ctypes.c_int), ("size", ctypes.c_size_t))


@contextmanager
def own_signal_stack() -> Iterator[None]:
    """Restore the calling thread's stack for signals at the end of the block.

    OpenVINO 2026.4 gives another signal stack to a thread that creates a CPU plugin, and frees this stack
    with the plugin. The thread may still use the freed stack: this happens if the older of two plugins is
    freed first, or if another thread frees the plugin. The next signal, such as Ctrl-C, would then end the
    process without a message.
    """
    if sys.platform != "linux":
        yield
        return
    libc, stack = ctypes.CDLL(None), SignalStack()
    libc.sigaltstack(None, ctypes.byref(stack))
    try:
        yield
    finally:
        libc.sigaltstack(ctypes.byref(stack), None)
