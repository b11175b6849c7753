"""The commands of the load tests run at their smallest, and print every row of their tables."""

import json
import subprocess
import sys
import urllib.request
from itertools import product
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from tests.load.callers import ROOT
from tests.load.photographs import SIZES, make_photographs
from tests.load.services import STARTER, naive, running, this_build

pytestmark = pytest.mark.heavy


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of four images as large as a telephone's, one of them upright."""
    folder = tmp_path_factory.mktemp("photos")
    for number in range(4):
        small = np.random.default_rng(number).integers(0, 256, (68, 91, 3), dtype=np.uint8)
        image = cv2.resize(small, (3000, 2250), interpolation=cv2.INTER_CUBIC)
        cv2.imwrite(str(folder / f"{number}.jpg"), image if number else image.transpose(1, 0, 2))
    return folder


def run(command: str, photos: Path, *flags: str) -> str:
    """Run a command with the services that need nothing more than this checkout; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-m", f"tests.load.{command}", "--smallest", "--photos", str(photos), *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def table(printed: str, heading: str) -> list[dict[str, str]]:
    """Return the rows of the Markdown table whose first column has the heading."""
    lines = iter(printed.splitlines())
    heads = next(cells for line in lines if (cells := split(line))[0] == heading)
    next(lines)
    rows = []
    for line in lines:
        if not line.startswith("|"):
            break
        rows.append(dict(zip(heads, split(line), strict=True)))
    return rows


def split(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def size_of(file: str) -> tuple[int, int]:
    with Image.open(file) as image:
        return image.size


def test_photographs_have_their_sizes_and_stay_upright(photos: Path, tmp_path: Path) -> None:
    made = make_photographs(photos, tmp_path)
    for name, (width, height) in SIZES.items():
        sizes = [size_of(file) for file in made[name]]
        assert sizes == [(height, width)] + 3 * [(width, height)]


def test_the_naive_endpoint_finds_what_the_service_finds(tmp_path: Path) -> None:
    image = tmp_path / "golden.png"  # without loss, so that both decode the same pixels
    cv2.imwrite(str(image), np.load(STARTER / "golden.npz")["image"][..., ::-1])
    answers = []
    for service in (this_build(str(image), {}), naive(str(image))):
        with running([service]):
            url = f"http://127.0.0.1:{service.port}/detect"
            with urllib.request.urlopen(urllib.request.Request(url, image.read_bytes())) as answer:
                answers.append(json.loads(answer.read())["predictions"])
    ours, theirs = (sorted(answer, key=lambda box: (box["class_id"], box["x"])) for answer in answers)
    assert len(ours) > 10
    assert [box["class"] for box in ours] == [box["class"] for box in theirs]
    for name, most in (("x", 1.0), ("y", 1.0), ("width", 2.0), ("height", 2.0), ("confidence", 0.01)):
        assert [box[name] for box in ours] == pytest.approx([box[name] for box in theirs], abs=most)


def test_overload_prints_every_load_of_every_service_and_draws_them(photos: Path, tmp_path: Path) -> None:
    plot = tmp_path / "plot.png"
    printed = run("overload", photos, "--services", "this", "naive", "--plot", str(plot))
    rows = table(printed, "service")
    loads = ["0.8 × capacity", "2 × capacity", "4 callers", "8 callers", "64 callers"]
    for name in ("this build", "naive FastAPI"):
        own = [row for row in rows if row["service"] == name]
        assert [row["load"] for row in own if "polite" not in row["load"]] == loads
        assert max(float(row["goodput/s"]) for row in own) > 0
        assert "100%" in [row["of the best"] for row in own]
    ours = next(row for row in rows if row["service"] == "this build")
    assert ours["experts a layer"] == "2.00"  # the starter's default
    image = cv2.imread(str(plot))
    assert image is not None
    assert image.shape[1] == 1200


def test_gateway_prints_rates_latencies_and_memory_of_every_service(photos: Path) -> None:
    printed = run(
        "gateway", photos, "--services", "this", "naive", "--before", "HEAD", "--sizes", "VGA", "12 MP"
    )
    rates = table(printed, "photographs")
    commit = "before (HEAD)"
    services = ["this build", commit, "naive FastAPI"]
    names = ["engine alone", "engine and decoder", *services]
    assert [(row["photographs"], row["service"]) for row in rates] == [
        (size, name) for size in ("VGA", "12 MP") for name in names
    ]
    assert all(float(row["images/s"]) > 0 for row in rates if row["photographs"] == "VGA")
    assert rates[0]["of the engine alone"] == rates[4]["over naive"] == "1.00 (1.00 to 1.00)"
    latencies = table(printed.partition("latency:")[2], "photographs")
    assert [(row["load"], row["service"]) for row in latencies] == list(product(("10%", "50%"), services))
    for row in latencies:
        assert 0 < float(row["p50, ms"]) <= float(row["p99, ms"])
        added = float(row["p99, ms"]) - float(row["engine alone, p99"])
        assert float(row["added, p99"]) == pytest.approx(added, abs=0.11)  # of rounded numbers
    memory = table(printed, "service")
    assert [row["service"] for row in memory] == services
    for row in memory:
        # 64 bodies of 12-megapixel images, of which one is being decoded, need more than an idle service.
        assert 100 < float(row["at rest, MB"]) < float(row["64 × 12 MP, MB"])


def test_mixed_prints_small_images_alone_and_beside_large_ones(photos: Path) -> None:
    rows = table(run("mixed", photos, "--services", "this", "naive"), "service")
    assert [(row["service"], row["VGA"]) for row in rows] == [
        (name, kind) for name in ("this build", "naive FastAPI") for kind in ("alone", "beside large images")
    ]
    assert [row["p99 over alone"] for row in rows[::2]] == ["1.00", "1.00"]
    assert [row["12 MP answers/s"] for row in rows[::2]] == ["0.0", "0.0"]
    for row in rows:
        assert 0 < float(row["p50, ms"]) <= float(row["p99, ms"])


def test_brownout_prints_every_load_with_and_without_and_draws_them(photos: Path, tmp_path: Path) -> None:
    plot = tmp_path / "plot.png"
    rows = table(run("brownout", photos, "--plot", str(plot)), "load")
    names = ["refusals alone", "fewer experts"]
    assert [(row["load"], row["service"]) for row in rows] == [
        (f"{factor} × capacity", name) for factor in ("0.8", "1.6") for name in names
    ]
    assert all(float(row["goodput/s"]) > 0 for row in rows)
    assert size_of(str(plot))[0] > 300


def test_overhead_prints_the_service_beside_the_floor_and_the_graph() -> None:
    command = [sys.executable, "-m", "tests.load.overhead", "--smallest"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    *served, graph = table(done.stdout, "service")
    names = ("this build", "bare FastAPI")
    assert [(row["callers"], row["service"]) for row in served] == [(n, name) for n in "14" for name in names]
    assert graph["service"] == "graph alone"
    assert float(graph["CPU, ms"].split()[0]) > 0
    for ours, floor in (served[:2], served[2:]):
        for row in (ours, floor):
            cpu_ms = float(row["CPU, ms"].split()[0])
            assert float(row["requests/s a core"]) == pytest.approx(1e3 / cpu_ms, rel=0.05)  # rounded
            assert float(row["requests/s"]) > 0
        assert float(ours["CPU, ms"].split()[0]) > float(floor["CPU, ms"].split()[0])
        assert float(ours["context switches"]) > float(floor["context switches"])


def test_telemetry_prints_each_share_of_traced_requests_beside_none() -> None:
    command = [sys.executable, "-m", "tests.load.telemetry", "--smallest", "--also", "SPARSIGHT_WORKERS=1"]
    command += ["--copies", "2"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    rows = table(done.stdout, "service")
    names = ["off", "1% traced", "10% traced", "100% traced", "SPARSIGHT_WORKERS=1"]
    assert [row["service"] for row in rows] == names
    assert "processes of each service: 2" in done.stdout
    assert rows[0]["ratio of CPU"] == "1.000 (1.000 to 1.000)"
    assert all(float(row["CPU, ms"].split()[0]) > 0 for row in rows)
    assert all(float(row["requests/s"]) > 0 for row in rows)


def test_audit_prints_both_services_and_the_ratios() -> None:
    command = [sys.executable, "-m", "tests.load.audit", "--smallest", "--share", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    plain, audited = table(done.stdout, "callers")
    assert [one["service"] for one in (plain, audited)] == ["without audits", "with 1"]
    assert float(plain["audited"].rstrip("%")) == float(plain["skipped"].rstrip("%")) == 0
    assert float(audited["audited"].rstrip("%")) + float(audited["skipped"].rstrip("%")) > 50
    assert "1 callers, with audits / without: throughput " in done.stdout
    for row in (plain, audited):
        assert float(row["CPU of a request, ms"].split()[0]) > 0
