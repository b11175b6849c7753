"""The command `python -m training predict`: run a model over sources, and write what it finds."""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from tqdm import tqdm

from training.columns import in_columns
from training.data.images.image_file import ImageReader
from training.data.labels.remarks import describe_remarks
from training.errors import ConfigError, DatasetError
from training.predict.load import load
from training.predict.outputs import Outputs, drawn_path
from training.predict.result import Result
from training.predict.sources import Found, Frame, FrameReader, Source, find_sources
from training.progress import bar
from training.trainer.interrupt import StopRequest

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """The options of `predict`."""

    checkpoint: str
    sources: tuple[str, ...]
    output: Path = Path("predictions")
    conf: float | None = None  # of this and the next four, None is the model's default
    iou: float | None = None
    max_det: int | None = None
    top_k: int | None = None
    weight_threshold: float | None = None
    classes: tuple[str, ...] = ()  # names or ids; empty: every class
    bits: int | None = None  # see read_image
    device: str | None = None
    draw: bool = True
    save_txt: bool = False
    save_conf: bool = False
    save_json: bool = False


class ExpertTally:
    """How often each expert of one mixture layer ran, over all images in one run of `predict`."""

    def __init__(self, experts: int) -> None:
        self._chosen, self._weights = np.zeros(experts), np.zeros(experts)
        self._sets: Counter[bytes] = Counter()

    def add(self, gates: np.ndarray) -> None:
        """Count the experts that ran for one image; in gates (E,), experts that did not run are 0."""
        self._chosen += gates > 0
        self._weights += gates
        self._sets[(gates > 0).tobytes()] += 1

    def __str__(self) -> str:
        images = self._sets.total()
        all_run = self._chosen.min() == images  # if every expert always ran, only their weights differ
        shares = (self._weights if all_run else self._chosen) / images
        shown = "  ".join(f"{share:4.0%}" for share in shares)
        return f"{'all run, weighing' if all_run else 'chosen'} {shown}, {len(self._sets)} sets of experts"


@dataclass
class Summary:
    """Counts of the images, the objects and the experts that ran, for one run of `predict`."""

    what: str  # the things that `objects` counts: "objects", or "likeliest classes"
    images: int = 0
    empty: int = 0  # images in which nothing was found
    objects: Counter[str] = field(default_factory=Counter)  # by class; of a classifier: the likeliest ones
    seconds: list[float] = field(default_factory=list)
    experts: dict[str, ExpertTally] = field(default_factory=dict)
    paths: Counter[int] = field(default_factory=Counter)  # images by their path
    remarks: Counter[str] = field(default_factory=Counter)  # images of which a part was not looked at
    failed: int = 0  # sources that could not be read, or not to the end
    stopped: bool = False

    def add(self, result: Result) -> None:
        """Count the objects and the experts of one image."""
        self.images += 1
        self.empty += not len(result)
        names = result.class_names
        self.objects.update(names if result.boxes_xyxy is not None else names[:1])
        self.seconds.append(result.seconds)
        if result.path is not None:
            self.paths[result.path[0]] += 1
        for layer, (gates, _) in result.routings.items():
            self.experts.setdefault(layer, ExpertTally(len(gates))).add(gates)

    def __str__(self) -> str:
        speed = f", {1000 * float(np.median(self.seconds)):.1f} ms each (median)" if self.seconds else ""
        empty = f"; nothing found in {self.empty}" if self.empty else ""
        counted = f"{self.images} image{'' if self.images == 1 else 's'}"
        lines = [f"{counted}{speed}: {self.objects.total()} {self.what}{empty}"]
        lines += in_columns([(name, count) for name, count in self.objects.most_common()], "lr", indent=2)
        if self.paths:
            shares = ", ".join(f"{path} for {n / self.images:.0%}" for path, n in sorted(self.paths.items()))
            lines.append(f"  paths: {shares}")
        lines += [f"  {layer}: {tally}" for layer, tally in self.experts.items()]
        return "\n".join(lines + ([f"  {describe_remarks(self.remarks)}"] if self.remarks else []))


def predict(options: PredictOptions) -> Summary:
    """Run a model over all sources, and write the results; skip a source that cannot be read.

    After Ctrl-C, the run stops at the end of the current image, and keeps the files that are already written.

    Raises:
        ConfigError: nothing can be read, a setting is invalid, or a drawn image would replace its source.
        CheckpointError: the model cannot be loaded.
    """
    found = find_sources(options.sources, options.output)
    _report_sources(found, options)
    model = load(options.checkpoint, device=options.device)
    settings = model.settings(
        conf=options.conf,
        iou=options.iou,
        max_det=options.max_det,
        classes=options.classes,
        top_k=options.top_k,
        weight_threshold=options.weight_threshold,
    )
    log.info(f"model: {model.name} ({model.task})")
    what = "likeliest classes" if model.task == "classify" else "objects"
    summary = Summary(what, failed=len(found.problems))
    writing = {"txt": options.save_txt, "conf": options.save_conf, "as_json": options.save_json}
    with (
        Outputs(options.output, classes=model.class_names, draw=options.draw, **writing) as outputs,
        StopRequest() as stop,
        bar(len(found.sources), "image", "predict") as progress,
    ):
        for source, frame, fps in _frames(found.sources, summary, progress, options.bits):
            name = source.name if frame.number is None else f"{source.name} frame {frame.number}"
            path = Path(source.where) if source.kind == "image" else None
            result = model.run(name, frame.image, settings, path)
            outputs.add(source, result, frame.number, fps)
            summary.add(result)
            progress.update()
            if stop.requested:
                summary.stopped = True
                break
    return summary


def _frames(
    sources: Sequence[Source], summary: Summary, progress: tqdm, bits: int | None
) -> Iterator[tuple[Source, Frame, float]]:
    """Yield each frame, with its source and frames per second; count and log sources that cannot be read."""
    images = ImageReader(summary.remarks, bits)
    for source in sources:
        try:
            with FrameReader(source, lambda path: images.read(path).pixels) as reader:
                progress.total = (progress.total or 0) + max(0, reader.frames - 1)  # until now 1
                for frame in reader:
                    yield source, frame, reader.fps
        except DatasetError as error:
            summary.failed += 1
            log.warning(error)


def _report_sources(found: Found, options: PredictOptions) -> None:
    if not found.sources:
        raise ConfigError(f"nothing to predict on: {'; '.join(found.problems)}")
    for problem in found.problems:
        log.warning(problem)
    if found.passed_over:
        others = ", ".join(f"{count} {suffix}" for suffix, count in found.passed_over.most_common())
        log.info(f"files that are neither images nor videos, passed over: {others}")
    if options.save_conf and not options.save_txt:
        raise ConfigError("--save-conf adds scores to the label files of --save-txt: give both")
    if options.draw:
        _check_overwriting(found.sources, options.output)


def _check_overwriting(sources: Sequence[Source], output: Path) -> None:
    """Raise ConfigError if a drawn file would replace a file that `predict` reads."""
    read = {Path(source.where).resolve() for source in sources if source.kind != "stream"}
    for source in sources:
        if drawn_path(output, source).resolve() in read:
            raise ConfigError(
                f"{drawn_path(output, source)} would be replaced by its drawing: name another --output"
            )
