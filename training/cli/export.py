"""Measure a checkpoint, then export it for every target into the model repository.

If there is an error, no file is written.
"""

import argparse
import logging
from pathlib import Path

from training.cli.data_flags import add_measured_data, measured
from training.cli.flags import add_fields, add_shared, read
from training.cli.values import from_0_to_1, from_zero
from training.data_config import DataConfig, Reading
from training.errors import ConfigError
from training.export.targets.options import ExportOptions
from training.export.targets.targets import DEFAULT_TARGETS, TARGETS, target_of

FLAGS = ("checkpoint", "--quiet")
log = logging.getLogger(__name__)
EXAMPLES = """
examples:
  python -m training export runs/cells --name cells
      the run's best checkpoint by validation, measured on the run's validation data. float32 for CPUs, for
      OpenVINO (target openvino) and ONNX Runtime (target onnx)
  python -m training export runs/voc/model.safetensors --name voc --recipe voc --data data/voc
  python -m training export runs/cells/model.safetensors --name fast --target openvino --precision bf16
      faster on CPUs that compute in bf16. An artifact has one precision: give each precision its own name
  python -m training export runs/cells/model.safetensors --name faster --target openvino --precision int8 \\
      --data bccd --calibration 128
      takes the value ranges from 128 images of the training split
  python -m training export runs/cells/model.safetensors --name gpu --target tensorrt --batch 8
      for NVIDIA GPUs, always with 8 images per run
  python -m training export runs/cells/model.safetensors --name small --target npu --experts shared
      for the smallest NPUs: only the shared expert of each layer
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `export`."""
    parser.add_argument("--name", required=True, help="name of the served model, as in model=NAME")
    add_export(parser)
    use = "folder on which quality and routing are measured, for the manifest"
    add_measured_data(parser, use, "the validation data of the checkpoint's run")
    ranges = (
        "split of --data for --choose-on and for the value ranges of precision int8; not the measured split "
        "(default: train)"
    )
    parser.add_argument("--calibration-split", help=ranges)
    meanings = {  # not in train-export, where --batch and --experts are settings of the training
        "fixed_batch --batch N": "target tensorrt: always exactly N images, and each image computes only its "
        "own experts; default: 1 to 8 images, and every expert computes all of them",
        "experts": "target npu: shared leaves out the routed experts",
        "default_top_k --top-k K": "default number of experts of requests; default: chosen",
    }
    add_fields(parser, ExportOptions, meanings, default_top_k=from_zero)


def add_export(parser: argparse.ArgumentParser) -> None:
    """Add the flags that `export` and `train-export` share."""
    add_shared(parser, "--repository")
    usual = f"may be repeated; default: {' and '.join(DEFAULT_TARGETS)}"
    parser.add_argument("--target", choices=TARGETS, action="append", help=usual)
    able = "; ".join(f"{target}: {', '.join(target_of(target).precisions)}" for target in TARGETS)
    meanings = {
        "precision": f"precision of the graph; {able}",
        "execution": "targets openvino, onnx: sparse skips experts that are not chosen, dense computes all; "
        "auto times both on this machine and exports dense if sparse saves less than 3 %%",
        "calibration_images --calibration N": "precision int8: take the value ranges from N training images",
        "default_threshold --weight-threshold P": "default of requests: experts other than the best run only "
        "if their probability reaches P; default: chosen so that few experts run and the metric stays",
        "choice_images --choose-on N": "choose the defaults of requests on N training images; 0: as trained",
        "baseline_images": "store how N images are routed, so that the service notices other images; 0: none",
        "unproved": "also export a model that is too little trained to prove that the artifact works; the "
        "service serves it only with SPARSIGHT_SERVE_UNPROVED=true",
    }
    forms = {"choice_images": from_zero, "baseline_images": from_zero}
    add_fields(parser, ExportOptions, meanings, default_threshold=from_0_to_1, **forms)
    last = "of a run's folder, export the last checkpoint instead of the best by validation"
    parser.add_argument("--last", action="store_true", help=last)
    prefix = "prefix of the metric names in the manifest (default: %(default)s)"
    parser.add_argument("--metric-prefix", default="val", help=prefix)
    parser.add_argument("--attribution", default="", help="credits for the training data, for the manifest")


def export_options(args: argparse.Namespace) -> ExportOptions:
    """Return the export options of this command line.

    Raises:
        ConfigError: --calibration is given, but the precision is not int8.
    """
    options = read(ExportOptions, args)
    if args.calibration_images is not None and options.precision != "int8":
        raise ConfigError("--calibration: only --precision int8 takes ranges from images")
    return options


def run(args: argparse.Namespace) -> None:
    """Export the checkpoint."""
    from training.trainer.checkpoint import find_checkpoint
    from training.workflows.dataset_config import training_data
    from training.workflows.run_data import config_of_run, missing_folder

    checkpoint = find_checkpoint(args.checkpoint, last=args.last)
    data = calibration = None
    if args.data is not None or args.recipe is not None or args.classes:
        data, split = measured(args), args.calibration_split or "train"
        calibration = training_data(args.data, split, args.recipe, args.classes, read(Reading, args))
    elif of_run := config_of_run(checkpoint):
        data, calibration = of_run.val_data, of_run.train_data
        if data is not None and (missing := missing_folder(data)):
            log.info(f"not measured: {missing}, the data of the run, is not here; give it with --data")
            data = None
    write_artifacts(args, checkpoint, data, calibration)


def write_artifacts(
    args: argparse.Namespace, checkpoint: Path, data: DataConfig | None, calibration: DataConfig | None
) -> bool:
    """Export with the options of this command line; workflows.export explains `data` and `calibration`.

    Return True if every artifact was shown to compute the same as the checkpoint.
    """
    from training.workflows import export

    exported = export.export(
        checkpoint,
        args.repository,
        args.name,
        data=data,
        calibration=calibration,
        targets=args.target or DEFAULT_TARGETS,
        options=export_options(args),
        attribution=args.attribution,
        metric_prefix=args.metric_prefix,
    )
    return all(each.proved for each in exported)
