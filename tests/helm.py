"""Helm in a process of its own.

Helm is a Go program in a shared library. If Go's runtime fails, it ends the whole process. Once, this ended a
process of the tests, and all of its remaining tests were lost.
"""

import json
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
REFUSED = 3  # exit code: the chart is not rendered with these values


class ChartRefused(Exception):
    """Helm does not render the chart with these values; the message says why."""


@cache
def why_no_helm() -> str | None:
    """Return the reason why charts cannot be rendered, or None if they can."""
    command = [sys.executable, "-c", "import helm_python"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return None
    return f"helm-python-sdk is not usable: {done.stderr.strip()[-200:]}; it comes with the dev extra"


def ask_helm(verb: str, chart: Path, values: Mapping[str, Any] | None = None, **others: str) -> Any:
    """Return what Helm answers.

    Args:
        verb: `render` for the text of each template by its path, `lint` for a report, `package` for the path
            of the packaged chart.
        chart: folder of the chart, or a packaged one.
        values: values of the chart; None for its own.
        others: `name` and `namespace` of the release to render, or the folder `to` which to package.

    Raises:
        ChartRefused: the values do not fit values.schema.json, contradict each other, or break a template.
        RuntimeError: Helm's process failed; the message has its output.
    """
    job = {"verb": verb, "chart": str(chart), "values": dict(values or {}), **others}
    return json.loads(_answer(json.dumps(job)))


@cache
def _answer(job: str) -> str:
    command = [sys.executable, "-m", "tests.helm"]
    done = subprocess.run(command, cwd=ROOT, input=job, capture_output=True, text=True, check=False)
    if done.returncode == REFUSED:
        raise ChartRefused(json.loads(done.stdout))
    if done.returncode:
        raise RuntimeError(f"Helm's process ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


def main() -> int:
    """Do the job that standard input describes; write the answer to standard output as JSON."""
    from helm_python import Chart, HelmError, lint

    job = json.load(sys.stdin)
    try:
        match job["verb"]:
            case "render":
                found = Chart.load(job["chart"]).render(
                    job["values"], name=job["name"], namespace=job["namespace"]
                )
            case "lint":
                found = lint(job["chart"], job["values"], strict=True)
            case "package":
                found = Chart.load(job["chart"]).save(job["to"])
    except HelmError as error:
        sys.stdout.write(json.dumps(str(error)))
        return REFUSED
    sys.stdout.write(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
