"""The first Ctrl-C or SIGTERM requests a stop; the second ends the process."""

import signal
import subprocess
import sys
import time

import pytest

from training.trainer.interrupt import StopRequest

BOTH = [signal.SIGINT, signal.SIGTERM]


@pytest.fixture
def ctrl_c():
    """Use Python's own handler of Ctrl-C; a process started in the background ignores the signal."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize("number", BOTH)
def test_the_first_signal_only_sets_the_flag_and_the_second_acts_as_before(number, ctrl_c):
    before = [signal.getsignal(each) for each in BOTH]
    with StopRequest() as stop:
        assert not stop.requested
        signal.raise_signal(number)
        assert stop.requested
        assert [signal.getsignal(each) for each in BOTH] == before
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)


def test_a_second_sigterm_ends_a_process_that_hangs():
    hanging = (
        "import signal, threading\n"
        "from training.trainer.interrupt import StopRequest\n"
        "with StopRequest():\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "    print('once', flush=True)\n"
        "    signal.pthread_sigmask(signal.SIG_BLOCK, ())\n"
        "    while True:\n"
        "        try: threading.Event().wait(60)\n"
        "        except BaseException: pass\n"
    )
    process = subprocess.Popen([sys.executable, "-c", hanging], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "once\n"
    process.terminate()
    assert process.wait(timeout=10) == -signal.SIGTERM
    process.stdout.close()


def test_afterwards_signals_mean_what_they_meant_before():
    before = [signal.getsignal(number) for number in BOTH]
    with StopRequest():
        assert signal.getsignal(signal.SIGINT) != before[0]
    assert [signal.getsignal(number) for number in BOTH] == before


@pytest.mark.parametrize("number", BOTH)
def test_work_that_may_be_left_is_left_at_the_first_signal(number):
    reached = []

    def work():
        reached.append("begun")
        try:
            signal.raise_signal(number)
        except Exception:  # noqa: BLE001  (as a careless reader might)
            reached.append("caught")
        reached.append("ended")

    with StopRequest() as stop:
        assert stop.unless_requested(lambda: 7) == 7
        assert stop.unless_requested(work) is None
        assert reached == ["begun"]
        assert stop.requested
        assert stop.unless_requested(lambda: reached.append("again")) is None
    assert reached == ["begun"]


def test_a_signal_wakes_work_that_waits():
    with StopRequest() as stop:
        before = signal.signal(signal.SIGALRM, lambda *_: signal.raise_signal(signal.SIGTERM))
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        started = time.monotonic()
        assert stop.unless_requested(lambda: time.sleep(30)) is None
        assert time.monotonic() - started < 5
        signal.signal(signal.SIGALRM, before)


def test_an_error_of_the_work_is_its_own_and_later_signals_only_set_the_flag():
    with StopRequest() as stop:
        with pytest.raises(ZeroDivisionError):
            stop.unless_requested(lambda: 1 / 0)
        signal.raise_signal(signal.SIGTERM)
        assert stop.requested
