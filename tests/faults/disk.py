"""Faults of the disk: full, read-only, or with other files than before."""

import fcntl
import os
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

import numpy as np

from tests.builders import build_artifact, image_bytes
from tests.faults.backend import behind, use_triton
from tests.faults.callers import OK, Callers
from tests.faults.engine import ALL_WELL, HELD_S
from tests.faults.gateway import Gateway, in_namespace, wait_until
from tests.faults.scene import Fault, Scene
from tests.load.services import STARTER

PIPE_BYTES = 16384  # a pipe of one page takes a line only when it is empty


def reload(scene: Scene, gateway: Gateway, limit_s: float = 20.0) -> None:
    """Let the gateway read its repository again, and wait until it has."""
    before = gateway.log().count("models_reloaded")
    gateway.signal(signal.SIGHUP)
    done = wait_until(lambda: gateway.log().count("models_reloaded") > before, limit_s)
    scene.check(done, "the repository was not read again")


def ends_well(scene: Scene, gateway: Gateway) -> None:
    """Check that the gateway ends when it is told to."""
    gateway.signal(signal.SIGTERM)
    code = gateway.end_code()
    scene.check(code == 0, f"after SIGTERM the exit code is {code}")


def read_only(scene: Scene) -> None:
    """Serve and reload from a read-only folder, with no other folder that can be written."""
    repository = build_artifact(scene.folder / "repository").repository
    mounts = (f"mount --bind {repository} {repository}", f"mount -o remount,bind,ro {repository}")
    prefix = [*in_namespace(*mounts), "env", f"TMPDIR={repository}"]
    with (
        scene.gateway(settings={"repository": repository}, prefix=prefix) as gateway,
        scene.calling(Callers("others", gateway.port)),
    ):
        scene.breaks()
        reload(scene, gateway)
        time.sleep(0.5)
        scene.well(gateway.answers)


@contextmanager
def closed_pipe() -> Iterator[int]:
    """Yield a pipe that nobody can read any more."""
    reads, writes = os.pipe()
    os.close(reads)
    try:
        yield writes
    finally:
        os.close(writes)


@contextmanager
def full_disk() -> Iterator[int]:
    """Yield a file that takes nothing, as on a full disk."""
    file = os.open("/dev/full", os.O_WRONLY)
    try:
        yield file
    finally:
        os.close(file)


def log_lost(scene: Scene, sink: Callable[[], AbstractContextManager[int]]) -> None:
    """Run a gateway whose log cannot be written, from its start to its end."""
    repository = build_artifact(scene.folder / "repository").repository
    settings = {"repository": repository}
    with sink() as stderr, scene.gateway(settings=settings, stderr=stderr, settle=False) as gateway:
        with scene.calling(Callers("others", gateway.port)):
            scene.breaks()
            gateway.signal(signal.SIGHUP)
            time.sleep(HELD_S)
            scene.well(gateway.answers)
        ends_well(scene, gateway)


def log_stuck(scene: Scene) -> None:
    """Do not read the pipe of the log for a while; afterwards, read on."""
    repository = build_artifact(scene.folder / "repository").repository
    reads, writes = os.pipe()
    fcntl.fcntl(writes, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    is_read = threading.Event()
    is_read.set()
    lines: list[bytes] = []

    def read() -> None:
        with os.fdopen(reads, "rb") as pipe:
            for line in pipe:
                is_read.wait()
                lines.append(line)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    with scene.gateway(settings={"repository": repository}, stderr=writes, settle=False) as gateway:
        os.close(writes)
        with scene.calling(Callers("others", gateway.port, count=4, pause_s=0.01)):
            scene.breaks()
            is_read.clear()
            time.sleep(HELD_S)
            is_read.set()
            scene.well(gateway.answers)
        marked = time.monotonic()
        scene.check(gateway.ask(headers={"X-Request-Id": "last"}).how == OK, "no answer after the fault")
        is_logged = wait_until(lambda: any(b"id=last" in line for line in lines), 5.0)
        scene.check(is_logged, f"{time.monotonic() - marked:.1f} s later, the log still says nothing")
        ends_well(scene, gateway)


def cache_lost(scene: Scene, options: str) -> None:
    """Start a gateway whose folder for compiled graphs cannot be written."""
    repository = build_artifact(scene.folder / "repository").repository
    cache = scene.folder / "cache"
    cache.mkdir()
    prefix = in_namespace(f"mount -t tmpfs -o {options} tmpfs {cache}")
    settings = {"repository": repository, "openvino__cache_dir": cache}
    with (
        scene.gateway(settings=settings, prefix=prefix) as gateway,
        scene.calling(Callers("others", gateway.port)),
    ):
        scene.breaks()
        build_artifact(repository, version="2")
        reload(scene, gateway)
        scene.well(lambda: gateway.ask().version == "2")


def tmp_full(scene: Scene) -> None:
    """Send forms with large files while there is no room for temporary files."""
    repository = build_artifact(scene.folder / "repository").repository
    tmp = scene.folder / "tmp"
    tmp.mkdir()
    prefix = [*in_namespace(f"mount -t tmpfs -o size=4k tmpfs {tmp}"), "env", f"TMPDIR={tmp}"]
    noise = np.random.default_rng(0).integers(0, 256, (900, 1200, 3), np.uint8)
    form, kind = as_form([image_bytes(noise, "BMP")] * 4)  # 3.2 MB each
    with (
        scene.gateway(settings={"repository": repository}, prefix=prefix) as gateway,
        scene.calling(Callers("others", gateway.port)),
    ):
        scene.breaks()
        for _ in range(5):
            seen = gateway.ask(form, headers={"Content-Type": kind}, deadline_s=10.0)
            scene.add("forms", seen)
        scene.well(gateway.answers)


def as_form(files: list[bytes]) -> tuple[bytes, str]:
    """Return a form with files, and its content type."""
    parts = [
        b'--next\r\nContent-Disposition: form-data; name="f"; filename="f.bmp"\r\n\r\n' + data + b"\r\n"
        for data in files
    ]
    return b"".join(parts) + b"--next--\r\n", "multipart/form-data; boundary=next"


def damaged(scene: Scene, damage: Callable[[Path], None]) -> None:
    """Damage the files of the served model: answers stay the same, a reload keeps it, a start refuses it."""
    repository = scene.folder / "repository"
    shutil.copytree(STARTER, repository / "starter-openvino" / "1")
    golden = np.load(STARTER / "golden.npz")["image"]
    with scene.gateway(settings={"repository": repository, "timeout_s": 10}) as gateway:
        others = Callers("others", gateway.port, body=image_bytes(golden), deadline_s=5.0)
        with scene.calling(others):
            scene.breaks()
            damage(repository / "starter-openvino" / "1")
            time.sleep(0.5)
            reload(scene, gateway)
            time.sleep(1.0)
            scene.well(lambda: gateway.ask(image_bytes(golden)).how == OK)
        answers = {one.predictions for one in others.seen if one.how == OK}
        scene.check(len(answers) == 1, f"the same image had {len(answers)} different answers")
        gateway.kill()
        gateway.start(until_ready=False)
        code = gateway.end_code()
        told = gateway.log().splitlines()[-1]
        scene.check(code == 1, f"with a damaged model, a start ended with {code}")
        scene.check(str(repository) in told, f"the last line does not name the file: {told}")
        shutil.rmtree(repository)
        shutil.copytree(STARTER, repository / "starter-openvino" / "1")
        gateway.start()


def overwrite(folder: Path) -> None:
    """Write zeros over the weights, in the same file."""
    with (folder / "model.bin").open("r+b") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        file.write(bytes(size))


def truncate(folder: Path) -> None:
    """Cut the file of the weights to nothing."""
    os.truncate(folder / "model.bin", 0)


def half_copied(scene: Scene) -> None:
    """Reload while a new version is being copied: the old one stays until the copy is whole."""
    repository = build_artifact(scene.folder / "repository").repository
    whole = build_artifact(scene.folder / "whole", version="2").folder
    partial_copy = repository / "tiny-openvino" / "2"
    with (
        scene.gateway(settings={"repository": repository}) as gateway,
        scene.calling(Callers("others", gateway.port)),
    ):
        scene.breaks()
        partial_copy.mkdir()
        for name in ("manifest.json", "model.xml", "model.bin"):
            data = (whole / name).read_bytes()
            (partial_copy / name).write_bytes(data[: len(data) // 2])
            reload(scene, gateway)
            (partial_copy / name).write_bytes(data)
            reload(scene, gateway)
            scene.check(gateway.ask().version == "1", "half a version answers")
        shutil.copy(whole / "golden.npz", partial_copy)
        gateway.signal(signal.SIGHUP)
        scene.well(lambda: gateway.ask().version == "2")


def shared_memory_full(scene: Scene) -> None:
    """Let the gateway find no room in /dev/shm: images travel in the message instead."""
    prefix = in_namespace("mount -t tmpfs -o size=4k tmpfs /dev/shm")
    with behind(scene, settings={"triton__shared_memory": "true"}, prefix=prefix) as one:
        use_triton(one)
        with scene.calling(Callers("others", one.gateway.port)):
            scene.breaks()
            time.sleep(0.5)
            scene.well(one.by_triton)
        scene.check("shared_memory_unavailable" in one.gateway.log(), "the log does not say it")


SPACE = ("unshare",)
FAULTS = (
    Fault("repository-read-only", "no folder can be written", ALL_WELL, read_only, needs=SPACE),
    Fault("log-disk-full", "the log's disk is full", ALL_WELL, partial(log_lost, sink=full_disk)),
    Fault("log-pipe-closed", "the log's reader has ended", ALL_WELL, partial(log_lost, sink=closed_pipe)),
    Fault("log-pipe-stuck", "the log's reader does not read for a while", ALL_WELL, log_stuck),
    Fault(
        "cache-disk-full",
        "the disk for compiled graphs is full",
        ALL_WELL,
        partial(cache_lost, options="size=4k"),
        needs=SPACE,
    ),
    Fault(
        "cache-read-only",
        "the folder for compiled graphs is read-only",
        ALL_WELL,
        partial(cache_lost, options="ro"),
        needs=SPACE,
    ),
    Fault(
        "tmp-full",
        "there is no room for temporary files, and large forms come",
        {"others": frozenset({OK, "429 overloaded"}), "forms": frozenset({OK})},
        tmp_full,
        needs=SPACE,
    ),
    Fault(
        "artifact-overwritten",
        "the weights of the served model are overwritten",
        ALL_WELL,
        partial(damaged, damage=overwrite),
    ),
    Fault(
        "artifact-truncated",
        "the weights of the served model are cut off",
        ALL_WELL,
        partial(damaged, damage=truncate),
    ),
    Fault(
        "artifact-removed",
        "the folder of the served model is removed",
        ALL_WELL,
        partial(damaged, damage=shutil.rmtree),
    ),
    Fault("artifact-half-copied", "a new version is read while it is copied", ALL_WELL, half_copied),
    Fault(
        "shared-memory-full",
        "there is no room in /dev/shm for the way to Triton",
        ALL_WELL,
        shared_memory_full,
        needs=SPACE,
    ),
)
