"""Check a service against service/rest/openapi.json, with requests that schemathesis makes from it."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

from tests.fuzz.served import ROOT, served

_CONFIG = Path(__file__).parent / "schemathesis.toml"
_TOKEN = "token-of-the-fuzzer"
_CASES = re.compile(r"^  (\d+) generated", re.MULTILINE)
_TESTED = re.compile(r"^  Tested: (\d+)", re.MULTILINE)


def run(folder: Path, examples: int, seed: int) -> bool:
    """Check every operation with up to so many requests; print one line, and return whether all is well."""
    folder.mkdir(parents=True, exist_ok=True)
    report, began_s = folder / "report.txt", time.monotonic()
    with served(folder, ADMIN_TOKEN=_TOKEN) as service, report.open("w") as file:
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "--config-file", str(_CONFIG)),
            *("run", str(ROOT / "service" / "rest" / "openapi.json")),
            *("--url", f"http://127.0.0.1:{service.port}", "--checks", "all", "--no-color"),
            *("--header", f"Authorization: Bearer {_TOKEN}"),
            *("--max-examples", str(examples), "--seed", str(seed), "--max-response-time", "10"),
        ]
        print(
            f"api: up to {examples:,} requests for each operation; {report} has the report", file=sys.stderr
        )
        environment = os.environ | {"PYTHONPATH": str(ROOT)}  # for the hooks
        status = subprocess.run(
            command, cwd=folder, env=environment, stdout=file, stderr=file, check=False
        ).returncode
        alive, complaints = service.process.poll() is None, service.complaints()
    text = report.read_text()
    tested, cases = _TESTED.search(text), _CASES.search(text)
    if status:
        print(text[-6000:], file=sys.stderr)
    print(
        f"api: {tested[1] if tested else 0} operations, {int(cases[1]) if cases else 0:,} requests in"
        f" {time.monotonic() - began_s:,.0f} s: {'nothing found' if not status else 'failures'},"
        f" {len(complaints)} errors in the log, {'alive' if alive else 'crashed'} afterwards"
    )
    return alive and not status and not complaints and tested is not None
