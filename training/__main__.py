"""python -m training: train, evaluate, export, from the command line."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from training import commands
from training.config import DataConfig, FolderConfig, absolute
from training.convert.command import convert
from training.errors import TrainingError
from training.export.bundle import DEFAULT_TARGETS, TARGETS
from training.export.triton_config import TritonOptions, write_all_configs
from training.models.variants import PLACEMENTS, VARIANTS, MixtureChoice
from training.recipes.recipes import RECIPES
from training.tables.depthwise import depthwise_table
from training.tables.evaluation import evaluation_json, evaluation_report
from training.tables.models import variants_json, variants_table
from training.trainer.checkpoint import MODEL_FILE

REPOSITORY = Path(__file__).resolve().parents[1] / "model_repository"
BACKENDS = ("auto", "openvino", "triton")
STOPPED = 130  # what a shell reports after Ctrl-C

EXAMPLES = """
examples:
  python -m training train --run runs/try
      generated scenes, a few minutes on two cores
  python -m training train --recipe small-data --data bccd --input 384x512 --run runs/cells
      your own pictures: a VOC folder (Annotations, JPEGImages, ImageSets) or a YOLO one (data.yaml);
      stopped by Ctrl-C or a crash, the same command goes on
  python -m training evaluate runs/cells/model.safetensors --data bccd --split val
  python -m training export runs/cells/model.safetensors --name cells --data bccd --split val
  python -m training evaluate --url http://127.0.0.1:8000 --model cells --data bccd --split val
  python -m training convert yolo12n.pt
      bring in a YOLO12 or YOLO-Master detection checkpoint; nothing in the file is run
  python -m training triton-config --name cells --instances 4
      write Triton's files for artefacts that are in the repository, with other settings
"""

TRAIN_EXAMPLES = """
variants by family, the size after the dash; what each holds and computes: python -m training variants
  yolov12-{n,s,m,l,x}  no experts: what the others are measured against
  esmoe-{n,s,m,l,x}    after each stage of the backbone 4 experts of growing kernels, 2 for each picture
  modular-{n,s,m,l}    4, 8 and 16 equal experts, 2 for each picture, beside one that always runs
  optimized-n          the same with 4 everywhere, the step before it
  ultra-n              the step after it: a cheaper router, group norm, experts of little weight left out
  moehead-n            4 light detection heads a level, all of them run, weighed for each picture
  sparsight-{n,s}      ours: experts do the work of the deep stages; runs with any number of them, 0 included

an ablation: where experts stand, how many there are, how many run
  python -m training train --run runs/neck --variant esmoe-n --placement neck
  python -m training train --run runs/eight --variant esmoe-n --experts 8 --top-k 2
  python -m training evaluate runs/eight/model.safetensors --top-k 1
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, call one function, report. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped."""
    args = build_parser().parse_args(argv)
    try:
        return int(args.run_command(args))
    except (TrainingError, OSError) as error:
        print(f"training: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("training: stopped", file=sys.stderr)
        return STOPPED


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training",
        description="Train mixture-of-experts detectors, measure them, export them for serving.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(required=True, metavar="command")
    _add_train(
        subparsers.add_parser(
            "train",
            help="train a detector, or go on with a stopped run",
            epilog=TRAIN_EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    )
    _add_evaluate(subparsers.add_parser("evaluate", help="mAP of a checkpoint or of a running service"))
    _add_export(subparsers.add_parser("export", help="write artefacts into the model repository"))
    _add_train_export(subparsers.add_parser("train-export", help="train, evaluate and export in one go"))
    _add_convert(subparsers.add_parser("convert", help="bring in a YOLO12 or YOLO-Master checkpoint"))
    _add_triton_config(
        subparsers.add_parser(
            "triton-config", help="write Triton's files for the artefacts in the repository"
        )
    )
    _add_variants(
        subparsers.add_parser("variants", help="table of the models: parameters, GFLOPs, published figures")
    )
    depthwise = subparsers.add_parser(
        "time-depthwise", help="time wide depthwise kernels, backward, on this CPU"
    )
    depthwise.set_defaults(run_command=lambda args: _print(depthwise_table()))
    return parser


def _size(text: str) -> tuple[int, int]:
    """640 or 384x512, as (height, width)."""
    try:
        parts = [int(part) for part in text.lower().split("x")]
    except ValueError:
        parts = []
    if len(parts) not in (1, 2):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size; write 640 or HEIGHTxWIDTH")
    return parts[0], parts[-1]


def _positive(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1")
    return int(text)


def _from_zero(text: str) -> int:
    if not text.isascii() or not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 0")
    return int(text)


def _add_run_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--recipe", choices=RECIPES, default="quick", help="default: %(default)s")
    parser.add_argument(
        "--variant",
        choices=VARIANTS,
        default="esmoe-n",
        metavar="NAME",
        help="default: %(default)s; train --help and variants say which there are",
    )
    parser.add_argument(
        "--experts", type=_positive, metavar="N", help="in each mixture layer; default: the variant's"
    )
    parser.add_argument(
        "--top-k", type=_from_zero, metavar="K", help="experts that run for a picture; default: the variant's"
    )
    parser.add_argument(
        "--placement", choices=PLACEMENTS, help="esmoe: where experts stand; default: backbone"
    )
    parser.add_argument("--data", type=Path, help="folder of pictures and labels; default: generated scenes")
    parser.add_argument("--split", default="train", help="train on this split (default: %(default)s)")
    parser.add_argument("--val-split", default="val", help="validate on this split (default: %(default)s)")
    parser.add_argument(
        "--input", type=_size, metavar="SIZE", help="640 or HEIGHTxWIDTH; default: the recipe's"
    )
    parser.add_argument("--epochs", type=_positive, help="default: the recipe's")
    parser.add_argument("--batch", type=_positive, help="images a step; default: the recipe's")
    parser.add_argument("--seed", type=int, default=0, help="default: %(default)s")
    parser.add_argument("--weights", type=Path, help="start from another checkpoint where its tensors fit")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", type=Path, required=True, help="folder for checkpoints and metrics")
    _add_run_options(parser)
    parser.set_defaults(run_command=_train)


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, nargs="?", help="model.safetensors; leave out with --url")
    parser.add_argument("--url", help="measure a running service instead, for example http://127.0.0.1:8000")
    parser.add_argument("--model", help="with --url: the model to ask for; default: the service's own choice")
    parser.add_argument(
        "--backend", choices=BACKENDS, help="with --url: what shall run it; default: the service's own choice"
    )
    parser.add_argument("--data", type=Path, help="folder of pictures and labels; default: generated scenes")
    parser.add_argument("--split", default="val", help="default: %(default)s")
    parser.add_argument(
        "--top-k", type=_from_zero, metavar="K", help="experts per image and layer; default: as trained"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run_command=_evaluate)


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, help="model.safetensors")
    parser.add_argument("--name", required=True, help="what callers will ask for: model=NAME")
    _add_export_options(parser)
    parser.add_argument("--data", type=Path, help="measure mAP and routing on this folder, for the manifest")
    parser.add_argument("--split", default="val", help="default: %(default)s")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    parser.set_defaults(run_command=_export)


def _add_export_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repository", type=Path, default=REPOSITORY, help="default: model_repository")
    parser.add_argument(
        "--target",
        choices=TARGETS,
        action="append",
        help=f"may be repeated; default: {' and '.join(DEFAULT_TARGETS)}",
    )
    parser.add_argument("--metric-prefix", default="val", help="name of the data in the manifest's metrics")
    parser.add_argument("--attribution", default="", help="whose data trained it, for the manifest")


def _add_train_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", default="scenes", help="what callers will ask for (default: %(default)s)")
    parser.add_argument("--run", type=Path, help="folder for checkpoints and metrics; default: runs/NAME")
    _add_run_options(parser)
    _add_export_options(parser)
    parser.set_defaults(run_command=_train_export)


def _add_variants(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Count every model from its shapes, beside what papers and releases say. Takes a moment."
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.set_defaults(run_command=lambda args: _print(variants_json() if args.json else variants_table()))


def _add_convert(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Turn a detection checkpoint of YOLO12 or YOLO-Master (EsMoE, v0.1) into one that trains, exports "
        "and serves here. The file is read as data: nothing in it is run. What does not fit is refused."
    )
    parser.add_argument("file", type=Path, help="the .pt that its training wrote")
    parser.add_argument("--output", type=Path, help="default: beside the file; replaces nothing")
    parser.add_argument(
        "--input", type=_size, metavar="SIZE", help="640 or HEIGHTxWIDTH; default: as the file was trained"
    )
    parser.add_argument(
        "--expect",
        type=Path,
        metavar="NPZ",
        help="hold the result against the original: images uint8 (B, H, W, 3) RGB, and its float32 answers, "
        "boxes (B, A, 4) xyxy pixels and scores (B, A, C)",
    )
    parser.set_defaults(run_command=_convert)


def _add_triton_config(parser: argparse.ArgumentParser) -> None:
    usual = TritonOptions()
    parser.description = (
        "Write config.pbtxt, -nms and -detect of every model in the repository, from its manifests. "
        "What is not given here gets its default, whatever was written before; an export does the same. "
        "A running Triton takes it up when the model is loaded again."
    )
    parser.add_argument("--repository", type=Path, default=REPOSITORY, help="default: model_repository")
    parser.add_argument("--name", help="only this model, all its targets; default: every model")
    parser.add_argument(
        "--instances", type=_positive, default=usual.instances, help="run at once (default: %(default)s)"
    )
    parser.add_argument(
        "--max-queue", type=_positive, default=usual.max_queue, help="may wait (default: %(default)s)"
    )
    parser.add_argument(
        "--queue-timeout", type=float, default=usual.queue_timeout_s, help="seconds (default: %(default)s)"
    )
    parser.add_argument("--threads", type=_positive, help="of an instance on the CPU; default: the engine's")
    parser.add_argument(
        "--device",
        choices=("CPU", "NPU"),
        default=usual.device,
        help="runs target onnx (default: %(default)s)",
    )
    parser.add_argument(
        "--max-batch",
        type=_positive,
        default=usual.max_batch,
        help="of target tensorrt (default: %(default)s)",
    )
    parser.add_argument(
        "--batch-delay",
        type=float,
        default=usual.batch_delay_s,
        help="target tensorrt: seconds to wait for a fuller batch (default: %(default)s)",
    )
    parser.set_defaults(run_command=_triton_config)


def _say(message: str) -> None:
    print(message, flush=True)


def _print(message: str) -> int:
    _say(message)
    return 0


def _data(folder: Path | None, split: str) -> DataConfig:
    if folder is None:
        return commands.SCENES_UNSEEN
    return absolute(FolderConfig(root=str(folder), split=split))


def _train(args: argparse.Namespace) -> int:
    options = commands.TrainOptions(
        run_dir=args.run,
        recipe=args.recipe,
        variant=args.variant,
        mixture=MixtureChoice(placement=args.placement, num_experts=args.experts, top_k=args.top_k),
        data=args.data,
        split=args.split,
        val_split=args.val_split or None,
        input_hw=args.input,
        epochs=args.epochs,
        batch_size=args.batch,
        seed=args.seed,
        weights=args.weights,
    )
    outcome = commands.train(options, quiet=args.quiet, say=_say)
    if not outcome.finished:
        _say(f"stopped after {outcome.position.step} steps; the same command goes on from there")
        return STOPPED
    return _print(f"done: {outcome.model_path}")


def _evaluate(args: argparse.Namespace) -> int:
    data = _data(args.data, args.split)
    if (args.checkpoint is None) == (args.url is None):
        print("training: evaluate takes either a checkpoint or --url", file=sys.stderr)
        return 2
    if args.url and args.top_k is not None:
        print("training: --top-k is for a checkpoint; a service runs what it is set to", file=sys.stderr)
        return 2
    if args.url:
        mean_ap, images = commands.evaluate_service(
            args.url, data, model=args.model, backend=args.backend, quiet=args.quiet
        )
        evaluation = None
    else:
        evaluation = commands.evaluate_checkpoint(args.checkpoint, data, top_k=args.top_k, quiet=args.quiet)
        mean_ap, images = evaluation.mean_ap, evaluation.images
    write = evaluation_json if args.json else evaluation_report
    return _print(write(mean_ap, images, evaluation))


def _export(args: argparse.Namespace) -> int:
    data = None if args.data is None else _data(args.data, args.split)
    _write_artefacts(args, args.checkpoint, data)
    return 0


def _convert(args: argparse.Namespace) -> int:
    convert(args.file, args.output, input_hw=args.input, expect=args.expect, say=_say)
    return 0


def _triton_config(args: argparse.Namespace) -> int:
    options = TritonOptions(
        instances=args.instances,
        max_queue=args.max_queue,
        queue_timeout_s=args.queue_timeout,
        max_batch=args.max_batch,
        batch_delay_s=args.batch_delay,
        threads=args.threads,
        device=args.device,
    )
    for folder in write_all_configs(args.repository, options, name=args.name):
        _say(f"wrote {folder}, {folder.name}-nms and {folder.name}-detect")
    return 0


def _train_export(args: argparse.Namespace) -> int:
    args.run = args.run or Path("runs") / args.name
    code = _train(args)
    if code:
        return code
    data = _data(args.data, args.val_split or args.split)
    _write_artefacts(args, args.run / MODEL_FILE, data)
    return _print(
        f"serve it:  make serve MODEL={args.name}\n"
        f"ask it:    curl --data-binary @photo.jpg 'localhost:8000/detect?model={args.name}'"
    )


def _write_artefacts(args: argparse.Namespace, checkpoint: Path, data: DataConfig | None) -> None:
    commands.export(
        checkpoint,
        args.repository,
        args.name,
        data=data,
        targets=args.target or DEFAULT_TARGETS,
        attribution=args.attribution,
        metric_prefix=args.metric_prefix,
        quiet=args.quiet,
        say=_say,
    )


if __name__ == "__main__":
    sys.exit(main())
