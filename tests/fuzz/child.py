"""Fuzz one target until it has had a number of mutated inputs; `parent` starts it, and survives its crashes.

    python -m tests.fuzz.child TARGET FOLDER RUNS SEED

TARGET is a module of tests.fuzz with mutate, prepare, check, LARGEST and MEMORY_MB. Its coverage
guides which inputs are kept and mutated further; that of code in C is not seen.
"""

import hashlib
import os
import sys
import time
import traceback
from importlib import import_module
from pathlib import Path
from random import Random
from types import ModuleType
from typing import Any

import atheris

from tests.fuzz.counts import Counts, Tally
from tests.fuzz.promises import BrokenPromise, Outcome

SLOW_S = 2.0
"""Most processor time for one small input."""
HANG_S = 30
_KEPT = 5  # inputs of a kind of finding
INSTRUMENTED = ["service", "PIL", "starlette", "python_multipart"]
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_OUTSIDE = {
    "os.remove",
    "os.mkdir",
    "os.rename",
    "os.rmdir",
    "os.system",
    "socket.connect",
    "subprocess.Popen",
}


class Child:
    """Runs inputs one after another, and writes down what each of them broke."""

    def __init__(self, target: ModuleType, folder: Path, runs: int) -> None:
        """Run `target` until `runs` mutated inputs were run in all."""
        self._target = target
        self._findings = folder / "findings"
        self._runs = runs
        self._counts = Counts(folder / "counts.bin")
        self._tally, _ = self._counts.read()
        self._status = os.open("/proc/self/status", os.O_RDONLY)
        self._base_kb = 0
        self._mutated = False
        self._watched = False
        self._outside: list[str] = []
        self._seeds = [path.read_bytes() for path in sorted((folder / "corpus").glob("seed *"))]
        sys.addaudithook(self._audit)

    def mutate(self, data: bytes, largest: int, seed: int) -> bytes:
        """Return the next input for libFuzzer."""
        self._mutated = True
        random = Random(seed)
        if random.random() < 0.1:
            return atheris.Mutate(data, largest)
        if random.random() < 0.6:  # what was kept for its coverage is mostly refused early
            data = random.choice(self._seeds)
        return bytes(self._target.mutate(data, random, self._seeds, largest))

    def run(self, data: bytes) -> None:
        """Run one input."""
        self._counts.write(self._tally, data)
        if not self._base_kb and self._mutated:  # all seeds were run, so that everything is loaded
            self._base_kb = _peak_kb(self._status)
        began_s = time.process_time()
        self._watched = True
        outcome, raised = None, None
        try:
            outcome = self._target.check(data)
        except Exception as error:  # noqa: BLE001  # any of them is a finding
            raised = error
        self._watched = False
        took_s = time.process_time() - began_s
        if raised is not None:
            kind = raised.kind if isinstance(raised, BrokenPromise) else _place_of(raised)
            self._note(kind, "".join(traceback.format_exception(raised)), data)
        if took_s > SLOW_S:
            self._note("slow", f"{took_s:.1f} s of processor time", data)
        for event in self._outside:
            self._note("outside", event, data)
        self._outside.clear()
        self._count(outcome, took_s, data)

    def _count(self, outcome: Outcome | None, took_s: float, data: bytes) -> None:
        tally, peak_kb = self._tally, _peak_kb(self._status)
        grown_kb = peak_kb - self._base_kb if self._base_kb else 0
        if grown_kb > max(self._target.MEMORY_MB * 1024, tally.grown_kb):
            self._note("memory", f"{grown_kb // 1024} MB", data)
        self._tally = Tally(
            tally.runs + self._mutated,
            tally.accepted + (self._mutated and outcome == "accepted"),
            tally.refused + (self._mutated and outcome == "refused"),
            max(tally.peak_kb, peak_kb),
            max(tally.grown_kb, grown_kb),
            max(tally.slowest_us, round(took_s * 1e6)),
        )
        self._mutated = self._mutated and False
        self._counts.write(self._tally, data)
        if self._tally.runs >= self._runs:
            os._exit(0)  # libFuzzer has no other end than a number of runs, with the seeds among them

    def _note(self, kind: str, words: str, data: bytes) -> None:
        """Keep the first inputs of a kind of finding, and count the others."""
        name = hashlib.sha256(kind.encode()).hexdigest()[:12]
        path = self._findings / f"{name}.txt"
        again = path.read_text().count("again") if path.exists() else 0
        if again < _KEPT:
            (self._findings / f"{name}-{again}.bin").write_bytes(data)
        if path.exists():
            with path.open("a") as file:
                file.write("again\n")
        else:
            path.write_text(f"{kind}\n{words}\n", errors="replace")

    def _audit(self, event: str, args: tuple[Any, ...]) -> None:
        if self._watched and (event in _OUTSIDE or (event == "open" and int(args[2] or 0) & _WRITES)):
            self._outside.append(f"{event} {args[:1]}")


def _peak_kb(status: int) -> int:
    """Return the most memory so far; what getrusage returns includes that of the parent before it forked."""
    _, _, rest = os.pread(status, 8192, 0).partition(b"VmHWM:")
    return int(rest.split(maxsplit=1)[0])


def _place_of(error: Exception) -> str:
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} at {Path(last.filename).name}:{last.lineno}"


def main() -> None:
    """Fuzz until enough inputs were run."""
    name, folder, runs, seed = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    with atheris.instrument_imports(include=INSTRUMENTED):
        target = import_module(f"tests.fuzz.{name}")
    target.prepare()
    child = Child(target, folder, runs)
    flags = [
        f"-seed={seed}",
        f"-max_len={target.LARGEST}",
        f"-timeout={HANG_S}",
        f"-artifact_prefix={folder}/crashes/",
        "-rss_limit_mb=4096",
        "-len_control=0",
        "-mutate_depth=2",
        "-reload=0",
    ]
    atheris.Setup([sys.argv[0], *flags, str(folder / "corpus")], child.run, custom_mutator=child.mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
