"""Run a fuzzing process, start it again after a crash, and say in one line what was found."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

from tests.fuzz.counts import Counts, Tally

ROOT = Path(__file__).parents[2]
MOST_CRASHES = 100
_REPORT_S = 15.0
_NOT_STARTED, _HANG, _MEMORY = 1, 70, 71  # exit statuses of Python and of libFuzzer
_CHECKED_HEAP = Path("/usr/lib/x86_64-linux-gnu/libc_malloc_debug.so.0")


class Fuzzing:
    """The folder of one target: its corpus, its counts and what was found; a second call goes on with it."""

    def __init__(self, target: str, folder: Path) -> None:
        """Open the folder, or make it."""
        self._target = target
        self._folder = folder
        for name in ("corpus", "findings", "crashes", "empty"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._counts = Counts(folder / "counts.bin")
        self._known = folder / "known.json"
        self._crashes, self._hangs, self._seconds = self._load()

    def seed(self, seeds: Mapping[str, bytes]) -> None:
        """Write the inputs to begin with."""
        for name, data in seeds.items():
            path = self._folder / "corpus" / (name if name.startswith("cut ") else f"seed {name}")
            if not path.exists():
                path.write_bytes(data)

    def run(self, runs: int, seed: int) -> bool:
        """Run until the folder has had `runs` mutated inputs in all; print one line.

        Return whether so many were run, and nothing was found.
        """
        while (done := self._counts.read()[0].runs) < runs:
            began_s = time.monotonic()
            status = self._run_child(runs, seed + done)
            self._seconds += time.monotonic() - began_s
            if status == _NOT_STARTED:
                print((self._folder / "log.txt").read_text(errors="replace")[-2000:], file=sys.stderr)
                return False
            if status:
                self._keep_crash(status)
            self._save()
            if self._crashes + self._hangs >= MOST_CRASHES:
                break
        return self._summarise(runs)

    def _run_child(self, runs: int, seed: int) -> int:
        empty = str(self._folder / "empty")
        environment = os.environ | {
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": empty,
            "TMPDIR": empty,
            "OMP_NUM_THREADS": "1",
            "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0",  # else, small memory is not filled
        }
        if _CHECKED_HEAP.exists():  # it ends the process when something wrote beyond its memory
            environment |= {
                "LD_PRELOAD": str(_CHECKED_HEAP),
                "GLIBC_TUNABLES": "glibc.malloc.tcache_count=0:glibc.malloc.check=3",
            }
        arguments = [self._target, str(self._folder), str(runs), str(seed % 2**31)]
        with (self._folder / "log.txt").open("w") as log:
            child = subprocess.Popen(
                [sys.executable, "-m", "tests.fuzz.child", *arguments],
                cwd=empty,
                env=environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            try:
                self._watch(child, runs)
            finally:
                child.kill()
        return child.wait()

    def _watch(self, child: "subprocess.Popen[bytes]", runs: int) -> None:
        before, began_s = self._counts.read()[0].runs, time.monotonic()
        while True:
            try:
                child.wait(_REPORT_S)
                return
            except subprocess.TimeoutExpired:
                done = self._counts.read()[0].runs
                rate = (done - before) / (time.monotonic() - began_s)
                print(f"{self._target}: {done:,} of {runs:,}, {rate:.0f}/s", file=sys.stderr, flush=True)

    def _keep_crash(self, status: int) -> None:
        tally, data = self._counts.read()
        if status in (_HANG, _MEMORY):
            self._hangs += 1
        else:
            self._crashes += 1
        kept = self._folder / "crashes" / f"{tally.runs}-status{status}"
        kept.with_suffix(".bin").write_bytes(data)
        kept.with_suffix(".txt").write_text((self._folder / "log.txt").read_text(errors="replace")[-4000:])
        self._counts.write(tally._replace(runs=tally.runs + 1))

    def _load(self) -> tuple[int, int, float]:
        if not self._known.exists():
            return 0, 0, 0.0
        known = json.loads(self._known.read_text())
        return known["crashes"], known["hangs"], known["seconds"]

    def _save(self) -> None:
        known = {"crashes": self._crashes, "hangs": self._hangs, "seconds": self._seconds}
        self._known.write_text(json.dumps(known))

    def _summarise(self, runs: int) -> bool:
        tally: Tally = self._counts.read()[0]
        kinds = sorted((self._folder / "findings").glob("*.txt"))
        for path in kinds:
            lines = path.read_text().splitlines()
            print(f"{path.stem}: {lines[0]}, {1 + lines.count('again')} times: {lines[-1]}", file=sys.stderr)
        left = [path.name for path in (self._folder / "empty").iterdir()]
        print(
            f"{self._target}: {tally.runs:,} mutated inputs in {self._seconds:,.0f} s"
            f" ({tally.runs / max(self._seconds, 1e-9):,.0f}/s): {tally.accepted:,} accepted,"
            f" {tally.refused:,} refused, {self._crashes} crashes, {self._hangs} hangs,"
            f" {len(kinds)} kinds of other findings, {len(left)} files written;"
            f" slowest {tally.slowest_us / 1e6:.2f} s, memory +{tally.grown_kb / 1024:.0f} MB"
        )
        return tally.runs >= runs and not (self._crashes or self._hangs or kinds or left)
