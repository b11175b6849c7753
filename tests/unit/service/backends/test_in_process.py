"""A job stays in one thread; two more images are prepared than graphs run."""

import asyncio
import threading
import time

import pytest

from service.backends import in_process
from service.backends.in_process import InProcessBackend, Streams
from service.errors import DeadlineExceeded, UndecodableImage
from service.request import RequestContext


class Recorded(InProcessBackend):
    """Computes for `seconds`, and counts how many graphs run at once."""

    def __init__(self, workers, seconds):
        super().__init__("recorded", workers=workers, at_once=workers, streams=workers)
        self.seconds = seconds
        self.runs = self.running = self.most_running = 0
        self._lock = threading.Lock()

    def compute(self, inputs):
        with self._lock:
            self.runs += 1
            self.running += 1
            self.most_running = max(self.most_running, self.running)
        time.sleep(self.seconds)
        with self._lock:
            self.running -= 1
        return {"thread": threading.get_ident()}


class Recording:
    """A job that notes its threads and how many jobs are prepared but not finished."""

    terms = None
    open = most_open = 0

    def __init__(self, error=None, prepare_s=0.0):
        self.error = error
        self.prepare_s = prepare_s

    def prepare(self):
        self.thread = threading.get_ident()
        time.sleep(self.prepare_s)
        if self.error:
            raise self.error
        type(self).open += 1
        type(self).most_open = max(self.open, self.most_open)
        return {}

    def finish(self, outputs, infer_s):
        type(self).open -= 1
        return {self.thread, outputs["thread"], threading.get_ident()}, infer_s


@pytest.fixture
def job():
    return type("FreshRecording", (Recording,), {})


def run_all(backend, jobs, allowed_s=5.0):
    async def together():
        asked = (backend.run(one, RequestContext.within(allowed_s)) for one in jobs)
        answers = await asyncio.gather(*asked, return_exceptions=True)
        await backend.close()
        return answers

    return asyncio.run(together())


def test_a_job_stays_in_one_thread_and_is_told_how_long_the_graph_ran(job):
    for threads, infer_s in run_all(Recorded(2, 0.05), [job() for _ in range(6)]):
        assert len(threads) == 1
        assert 0.05 <= infer_s < 0.1


def test_two_more_images_are_prepared_than_graphs_run(job):
    backend = Recorded(2, 0.05)
    run_all(backend, [job() for _ in range(10)])
    assert (backend.most_running, job.most_open) == (2, 4)


def test_the_error_of_a_job_is_raised_unchanged_and_the_next_job_runs(job):
    broken = UndecodableImage("damaged")
    first, (threads, _) = run_all(Recorded(1, 0.0), [job(error=broken), job()])
    assert first is broken
    assert len(threads) == 1


def test_a_graph_does_not_start_after_the_deadline(job):
    backend = Recorded(1, 0.0)
    (late,) = run_all(backend, [job(prepare_s=0.2)], allowed_s=0.1)
    assert isinstance(late, DeadlineExceeded)
    assert backend.runs == 0


def test_a_prepared_image_that_nobody_waits_for_any_more_is_not_run(job):
    backend = Recorded(1, 0.2)

    async def two_and_one_leaves():
        first = asyncio.ensure_future(backend.run(job(), RequestContext.within(5)))
        while backend.runs == 0:
            await asyncio.sleep(0.001)
        second = asyncio.ensure_future(backend.run(job(), RequestContext.within(5)))
        while job.most_open < 2:
            await asyncio.sleep(0.001)
        second.cancel()
        await first
        await backend.close()

    asyncio.run(two_and_one_leaves())
    assert backend.runs == 1


def test_the_wait_in_the_engines_queue_is_not_the_time_that_the_graph_ran(monkeypatch):
    streams, now = Streams(2), 0.0
    monkeypatch.setattr(in_process, "perf_counter", lambda: now)
    first, second, third, fourth = (streams.begin() for _ in range(4))
    now = 1.0
    assert streams.end(first) == 1.0  # the third starts
    now = 3.0
    assert streams.end(second) == 3.0  # the fourth starts
    now = 3.5
    assert (streams.end(third), streams.end(fourth)) == (2.5, 0.5)
    late = streams.begin()
    now = 4.0
    assert streams.end(late) == 0.5
