"""Faults of the engines: the one in the gateway's process, and Triton."""

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import openvino as ov
import openvino.opset15 as ops

from tests.builders import build_artifact, golden_image, image_bytes, sums_of, tiny_graph, write_manifest
from tests.faults.backend import GRAPH_S, MODEL, Behind, behave, behind, release, use_triton
from tests.faults.callers import OK, Callers
from tests.faults.scene import Fault, Scene
from training.export.triton.config import TritonOptions

UNAVAILABLE, LATE, BUSY = "503 backend-unavailable", "504 deadline-exceeded", "429 backend-busy"
FAILED = "500 backend-failed"
ALL_WELL = {"others": frozenset({OK})}
TRITON_GONE = ALL_WELL | {"pinned": frozenset({OK, UNAVAILABLE, LATE})}
HELD_S = 2.5  # how long a fault lasts


def build_failing(repository: Path) -> bytes:
    """Write a tiny model that fails if the upper left pixel is white; return such an image."""
    built = build_artifact(repository)
    graph = tiny_graph()
    images = graph.get_parameters()[0]
    one, axes = np.ones(4, np.int64), np.arange(4)
    pixel = ops.slice(images, np.zeros(4, np.int64), one, one, axes)
    white = ops.divide(ops.convert(ops.reshape(pixel, np.array([1]), False), np.int64), np.array([255]))
    index = ops.multiply(white, np.array([9]))  # there are four places
    zeros = ops.scatter_update(np.zeros(4, np.float32), index, np.zeros(1, np.float32), np.array(0))
    gates = next(one for one in graph.get_results() if "gates" in one.input_value(0).get_names())
    source = gates.input_value(0)
    names = source.get_names()
    source.set_names(set())
    changed = ops.add(source, zeros)
    changed.output(0).set_names(names)
    gates.input(0).replace_source_output(changed.output(0))
    ov.save_model(graph, built.folder / "model.xml", compress_to_fp16=False)
    (built.folder / "manifest.json").unlink()
    write_manifest(built.folder, built.manifest | {"files": sums_of(built.folder)})
    image = golden_image()
    image[0, 0] = 255
    return image_bytes(image)


def engine_raises(scene: Scene) -> None:
    """Send images that the engine in the process cannot run, between others."""
    poison = build_failing(scene.folder / "repository")
    with scene.gateway(settings={"repository": scene.folder / "repository"}) as gateway:
        others = Callers("others", gateway.port)
        with scene.calling(others):
            scene.breaks()
            scene.add("senders", *(gateway.ask(poison) for _ in range(20)))
            scene.well(gateway.answers)


def triton_fault(
    break_it: Callable[[Behind], None], mend_it: Callable[[Behind], None], held_s: float = HELD_S
) -> Callable[[Scene], None]:
    """Return a run that breaks Triton, waits, mends it, and waits until the gateway uses it again."""

    def run(scene: Scene) -> None:
        with behind(scene) as one:
            use_triton(one)
            with scene.calling(*one.callers()):
                scene.breaks()
                break_it(one)
                time.sleep(held_s)
                mend_it(one)
                scene.well(one.by_triton)

    return run


def load_anew(one: Behind) -> None:
    """Load the model again; load alone would not do, because the files have not changed."""
    one.triton.unload(MODEL)
    one.triton.load(MODEL)


def restart_often(one: Behind) -> None:
    """Kill Triton and start it again, three times."""
    for _ in range(3):
        one.triton.kill()
        one.triton.restart()
        time.sleep(0.3)


def triton_hung(scene: Scene) -> None:
    """Suspend Triton, and let it go on."""
    with behind(scene) as one:
        use_triton(one)

        with scene.calling(*one.callers()):
            scene.breaks()
            one.triton.pause()
            time.sleep(HELD_S)
            one.triton.resume()
            scene.well(lambda: one.triton.has_ended or one.by_triton())
            if one.triton.has_ended:  # whoever supervises it starts it again
                one.triton.kill()
                one.triton.restart()
                scene.well(one.by_triton)


def triton_full(scene: Scene) -> None:
    """Send more images at once than Triton's queue holds; the gateway must not take it for dead."""
    options = TritonOptions(instances=1, max_queue=2, queue_timeout_s=30.0)
    with behind(scene, options=options, settings={"breaker__probe_timeout_s": 10}) as one:
        use_triton(one)
        behave(one.repository, sleep_s=0.5)
        crowd = Callers("crowd", one.gateway.port, count=12, pause_s=0.05, deadline_s=5.0)
        with scene.calling(crowd):
            scene.breaks()
            time.sleep(HELD_S)
            state = one.gateway.metric('sparsight_breaker_state{backend="triton",model="tiny"}')
            scene.check(state == 0, "the gateway took a full Triton for a dead one")
        behave(one.repository, sleep_s=GRAPH_S)
        scene.well(one.by_triton)


def triton_slow(scene: Scene) -> None:
    """Let Triton take longer for an image than its callers allow."""
    with behind(scene) as one:
        use_triton(one)
        with scene.calling(Callers("pinned", one.gateway.port, deadline_s=0.5, query={"backend": "triton"})):
            scene.breaks()
            behave(one.repository, sleep_s=3.0)
            time.sleep(HELD_S)
            behave(one.repository, sleep_s=GRAPH_S)
            scene.well(one.by_triton)


def other_artifact(one: Behind) -> None:
    """Serve another artifact in Triton, under the version of the gateway's own."""
    release(one.repository, "1", changes={"created": "2026-11-22T12:00:00Z"})
    load_anew(one)


def first_artifact(one: Behind) -> None:
    """Serve the gateway's own artifact in Triton again."""
    shutil.rmtree(one.repository / MODEL / "1")
    shutil.copytree(one.local / MODEL / "1", one.repository / MODEL / "1")
    shutil.copy(one.local / MODEL / "config.pbtxt", one.repository / MODEL)
    load_anew(one)


def other_version(scene: Scene) -> None:
    """Load a higher version in Triton, which the gateway does not have itself."""
    with behind(scene) as one:
        use_triton(one)
        with scene.calling(*one.callers()):
            scene.breaks()
            release(one.repository, "2")
            one.triton.load(MODEL)
            scene.well(lambda: one.gateway.ask().version == "2")


FAULTS = (
    Fault(
        "engine-raises",
        "the engine in the process fails on some images",
        ALL_WELL | {"senders": frozenset({FAILED})},
        engine_raises,
    ),
    Fault(
        "triton-killed",
        "Triton is killed",
        TRITON_GONE,
        triton_fault(lambda one: one.triton.kill(), lambda one: one.triton.restart()),
    ),
    Fault(
        "triton-model-killed",
        "the process of Triton's model is killed, and Triton says that it is ready",
        TRITON_GONE,
        triton_fault(Behind.kill_model_processes, load_anew),
    ),
    Fault(
        "triton-hung",
        "Triton is suspended",
        TRITON_GONE,
        triton_hung,
    ),
    Fault(
        "triton-raises",
        "Triton fails on every image",
        TRITON_GONE,
        triton_fault(
            lambda one: one.behave(fail="the graph cannot run"), lambda one: one.behave(sleep_s=GRAPH_S)
        ),
    ),
    Fault(
        "triton-unloads",
        "Triton unloads the model",
        TRITON_GONE,
        triton_fault(lambda one: one.triton.unload(MODEL), lambda one: one.triton.load(MODEL)),
    ),
    Fault(
        "triton-restarts",
        "Triton is killed and started three times",
        TRITON_GONE,
        triton_fault(restart_often, lambda one: None, held_s=0.0),
    ),
    Fault(
        "triton-slow",
        "Triton takes longer than callers allow",
        {"pinned": frozenset({OK, LATE, UNAVAILABLE})},
        triton_slow,
    ),
    Fault(
        "triton-full",
        "Triton's queue is full",
        {"crowd": frozenset({OK, BUSY})},
        triton_full,
    ),
    Fault(
        "triton-other-artifact",
        "Triton serves another artifact under the same version",
        TRITON_GONE,
        triton_fault(other_artifact, first_artifact),
    ),
    Fault(
        "triton-other-version",
        "Triton serves a version that the gateway does not have",
        TRITON_GONE,
        other_version,
        recovers_s=5.0,
    ),
)
