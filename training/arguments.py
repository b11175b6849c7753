"""What can be written after `python -m training`: commands, flags and what they teach."""

import argparse
from pathlib import Path
from typing import get_args

from training.argument_types import Split, from_0_to_1, from_zero, positive, size
from training.config import EXPERT_KINDS, ROUTER_KINDS
from training.convert.command import add_arguments as add_convert_arguments
from training.download import command as download_command
from training.examples import (
    BENCHMARK_EXAMPLES,
    COMPARE_EXAMPLES,
    EVALUATE_EXAMPLES,
    EXAMPLES,
    EXPORT_EXAMPLES,
    INSPECT_EXAMPLES,
    TRAIN_EXAMPLES,
    TRAIN_EXPORT_EXAMPLES,
)
from training.export.contract.precision import Precision
from training.export.targets.options import USUAL, ExecutionChoice, Experts
from training.export.targets.targets import DEFAULT_TARGETS, TARGETS
from training.export.triton.config import TritonOptions
from training.lab.ablations import command as ablations
from training.lab.benchmark.command import add_arguments as add_benchmark_arguments
from training.lab.inspection import command as inspection
from training.lab.preview import command as look
from training.lab.prune.command import add_arguments as add_prune_arguments
from training.models.variants import PLACEMENTS, VARIANTS
from training.recipes.data_arguments import add_measured_data, add_training_data
from training.recipes.overrides import add_recipe_arguments, add_way_arguments
from training.recipes.recipe_data import RECIPES_WITH_DATA
from training.recipes.recipes import RECIPES
from training.workflows import halve

REPOSITORY = Path(__file__).resolve().parents[1] / "model_repository"
BACKENDS = ("auto", "openvino", "triton")


def build_parser() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m training",
        description="Train mixture-of-experts detectors, measure them, export them for serving.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(required=True, dest="command", metavar="command")
    _add_train(
        subparsers.add_parser(
            "train",
            help="train a detector, or go on with a stopped run",
            epilog=TRAIN_EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    )
    _add_run_options(look.add_command(subparsers))
    for name, help_text, examples, add_arguments in (
        ("evaluate", "mAP of a checkpoint or of a running service", EVALUATE_EXAMPLES, _add_evaluate),
        ("compare", "whether one checkpoint is better than another", COMPARE_EXAMPLES, _add_compare),
        ("inspect", "what the routers of a checkpoint know of the images", INSPECT_EXAMPLES, _add_inspect),
        ("export", "write artefacts into the model repository", EXPORT_EXAMPLES, _add_export),
        ("train-export", "train, evaluate and export in one go", TRAIN_EXPORT_EXAMPLES, _add_train_export),
    ):
        add_arguments(
            subparsers.add_parser(
                name,
                help=help_text,
                epilog=examples,
                formatter_class=argparse.RawDescriptionHelpFormatter,
            )
        )
    add_convert_arguments(
        subparsers.add_parser("convert", help="bring in a YOLO12 or YOLO-Master checkpoint")
    )
    add_prune_arguments(subparsers.add_parser("prune", help="drop experts that hardly any picture chooses"))
    halve.add_arguments(subparsers.add_parser("halve", help="write a checkpoint of half the size"))
    _add_exports(
        subparsers.add_parser("exports", help="what lies in the model repository, and what was proved of it")
    )
    _add_triton_config(
        subparsers.add_parser("triton-config", help="write Triton's files for artefacts that are there")
    )
    add_benchmark_arguments(
        subparsers.add_parser(
            "benchmark",
            help="how fast models run here, and what skipping experts gains",
            epilog=BENCHMARK_EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
    )
    ablations.add_command(subparsers)
    _add_variants(
        subparsers.add_parser("variants", help="table of the models: parameters, GFLOPs, published figures")
    )
    download_command.add_arguments(subparsers.add_parser("download", help="bring the data of a benchmark"))
    subparsers.add_parser("time-depthwise", help="time wide depthwise kernels, backward, on this CPU")
    return parser


def _add_run_options(parser: argparse.ArgumentParser) -> argparse._MutuallyExclusiveGroup:
    """Returns the group of which one says what model is trained."""
    parser.add_argument(
        "--recipe",
        choices=RECIPES,
        default="quick",
        metavar="NAME",
        help="quick: a try in minutes; small-data: a few hundred pictures, from scratch; paper: 600 epochs, "
        "for large data. With data of their own, whatever the splits say, in the folder that --data names: "
        f"{', '.join(RECIPES_WITH_DATA)} (default: %(default)s)",
    )
    parser.set_defaults(like=None, tensorboard=False)  # where a command does not offer them
    model = parser.add_mutually_exclusive_group()
    model.add_argument(
        "--variant",
        choices=VARIANTS,
        default="esmoe-n",
        metavar="NAME",
        help="default: %(default)s; train --help and variants say which there are",
    )
    parser.add_argument(
        "--experts", type=positive, metavar="N", help="in each mixture layer; default: the variant's"
    )
    parser.add_argument(
        "--top-k", type=from_zero, metavar="K", help="experts that run for a picture; default: the variant's"
    )
    parser.add_argument(
        "--placement", choices=PLACEMENTS, help="esmoe: where experts stand; default: backbone"
    )
    parser.add_argument(
        "--expert", choices=EXPERT_KINDS, help="what each expert is made of; default: the variant's"
    )
    parser.add_argument(
        "--router", choices=ROUTER_KINDS, help="what scores the experts; default: the variant's"
    )
    add_training_data(parser, use="train on", val_use="validate on")
    parser.add_argument(
        "--input", type=size, metavar="SIZE", help="640 or HEIGHTxWIDTH; default: the recipe's"
    )
    parser.add_argument("--epochs", type=positive, help="default: the recipe's")
    parser.add_argument("--batch", type=positive, help="images a step; default: the recipe's")
    parser.add_argument("--seed", type=from_zero, default=0, help="default: %(default)s")
    add_recipe_arguments(parser)
    parser.add_argument("--weights", type=Path, help="start from another checkpoint where its tensors fit")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")
    return model


def _add_train(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--run", type=Path, required=True, help="folder for checkpoints and metrics")
    _add_run_options(parser).add_argument(
        "--like",
        type=Path,
        metavar="CHECKPOINT",
        help="train a model of this one's shape from its weights, such as a pruned one; instead of --variant",
    )
    add_way_arguments(parser, precision=True)


def _add_evaluate(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, nargs="?", help="model.safetensors; leave out with --url")
    parser.add_argument("--url", help="measure a running service instead, for example http://127.0.0.1:8000")
    parser.add_argument("--model", help="with --url: the model to ask for; default: the service's own choice")
    parser.add_argument(
        "--backend", choices=BACKENDS, help="with --url: what shall run it; default: the service's own choice"
    )
    add_measured_data(parser)
    _add_controls(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _add_compare(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Measure two checkpoints on the same images. Images are then drawn with replacement, over and over: "
        "the interval holds 95 % of the differences in mAP50-95. Where it does not hold 0, the one is better."
    )
    parser.add_argument("first", type=Path, help="model.safetensors")
    parser.add_argument("second", type=Path, help="another one, with the same classes")
    add_measured_data(parser)
    parser.add_argument(
        "--top-k", type=from_zero, metavar="K", help="experts that run in the first; default: as trained"
    )
    parser.add_argument(
        "--second-top-k", type=from_zero, metavar="K", help="and in the second; default: as trained"
    )
    parser.add_argument("--draws", type=positive, default=1000, help="default: %(default)s")
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _add_inspect(parser: argparse.ArgumentParser) -> None:
    inspection.add_arguments(parser)
    add_measured_data(
        parser,
        use="folder of pictures and labels",
        default="what the checkpoint's run validated on",
        split=None,
    )
    _add_controls(parser)


def _add_controls(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--top-k", type=from_zero, metavar="K", help="experts per image and layer; default: as trained"
    )
    parser.add_argument(
        "--weight-threshold",
        type=from_0_to_1,
        metavar="P",
        help="of those, experts beyond the best run only if their probability reaches this, so that simple "
        "images may cost less; default: as trained",
    )


def _add_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("checkpoint", type=Path, help="model.safetensors")
    parser.add_argument("--name", required=True, help="what callers will ask for: model=NAME")
    _add_export_options(parser)
    add_measured_data(
        parser,
        use="measure mAP and routing on this folder, for the manifest",
        default="generated scenes, if it was trained on such",
    )
    parser.add_argument(
        "--calibration-split",
        action=Split,
        default="train",
        help="of --data, for the ranges of precision int8: not what is measured on (default: %(default)s)",
    )
    # Not of train-export, where these two names mean how a model is trained.
    parser.add_argument(
        "--batch",
        type=positive,
        dest="fixed_batch",
        metavar="N",
        help="target tensorrt: always exactly N images, of which each computes only its own experts; "
        "default: 1 to 8 images, every expert computed",
    )
    parser.add_argument(
        "--experts",
        choices=get_args(Experts),
        dest="exported_experts",
        default=USUAL.experts,
        help="target npu: shared leaves out the experts that are chosen from (default: %(default)s)",
    )
    parser.add_argument("--quiet", action="store_true", help="no progress bar")


def _add_export_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--repository", type=Path, default=REPOSITORY, help="default: model_repository")
    parser.add_argument(
        "--target",
        choices=TARGETS,
        action="append",
        help=f"may be repeated; default: {' and '.join(DEFAULT_TARGETS)}",
    )
    parser.add_argument(
        "--precision",
        choices=get_args(Precision),
        default=USUAL.precision,
        help="what the graph computes in; openvino: f32, bf16, int8; onnx, npu: f32; tensorrt: f32, f16 "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--execution",
        choices=get_args(ExecutionChoice),
        default=USUAL.execution,
        help="targets openvino, onnx: sparse skips experts that are not chosen, dense computes all; auto "
        "times both on this machine and ships dense where sparse gains less than 3 %% (default: %(default)s)",
    )
    parser.add_argument(
        "--calibration",
        type=positive,
        metavar="N",
        help="precision int8: take the ranges of values from N pictures of training "
        f"(default: {USUAL.calibration_images})",
    )
    parser.add_argument("--metric-prefix", default="val", help="name of the data in the manifest's metrics")
    parser.add_argument("--attribution", default="", help="whose data trained it, for the manifest")


def _add_train_export(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--name", default="scenes", help="what callers will ask for (default: %(default)s)")
    parser.add_argument("--run", type=Path, help="folder for checkpoints and metrics; default: runs/NAME")
    _add_run_options(parser)
    _add_export_options(parser)
    add_way_arguments(parser, precision=False)  # --precision is that of the export
    parser.set_defaults(fixed_batch=USUAL.fixed_batch, exported_experts=USUAL.experts)


def _add_variants(parser: argparse.ArgumentParser) -> None:
    parser.description = (
        "Count every model from its shapes, beside what papers and releases say. Takes a moment."
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def _add_exports(parser: argparse.ArgumentParser) -> None:
    parser.description = "Every exported model and how far it is from its checkpoint, from the manifests."
    parser.add_argument("--repository", type=Path, default=REPOSITORY, help="default: model_repository")
    parser.add_argument("--json", action="store_true", help="print JSON")


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
        "--upgrade-manifests",
        action="store_true",
        help="first rewrite every manifest.json of an older version; its sha256 changes, its graph does not",
    )
    parser.add_argument(
        "--instances", type=positive, default=usual.instances, help="run at once (default: %(default)s)"
    )
    parser.add_argument(
        "--max-queue", type=positive, default=usual.max_queue, help="may wait (default: %(default)s)"
    )
    parser.add_argument(
        "--queue-timeout", type=float, default=usual.queue_timeout_s, help="seconds (default: %(default)s)"
    )
    parser.add_argument("--threads", type=positive, help="of an instance on the CPU; default: the engine's")
    parser.add_argument(
        "--device",
        choices=("CPU", "NPU"),
        default=usual.device,
        help="runs target npu (default: %(default)s)",
    )
    parser.add_argument(
        "--max-batch",
        type=positive,
        default=usual.max_batch,
        help="of target tensorrt (default: %(default)s)",
    )
    parser.add_argument(
        "--batch-delay",
        type=float,
        default=usual.batch_delay_s,
        help="target tensorrt: seconds to wait for a fuller batch (default: %(default)s)",
    )
