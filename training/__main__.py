"""python -m training: train, evaluate, export, from the command line."""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from training.argument_types import split_flags
from training.arguments import build_parser
from training.convert.command import convert
from training.data_config import DataConfig
from training.download import command as download_command
from training.errors import ConfigError, TrainingError
from training.evaluate.classification import ClassEvaluation
from training.evaluate.evaluator import Evaluation
from training.export.targets.options import USUAL, ExportOptions
from training.export.targets.targets import DEFAULT_TARGETS, check_options
from training.export.triton.config import TritonOptions, upgrade_manifests, write_all_configs
from training.export.triton.text import DETECT_SUFFIX, NMS_SUFFIX
from training.lab.ablations import command as ablations
from training.lab.ablations.report import as_list
from training.lab.benchmark.command import BenchmarkOptions, benchmark
from training.lab.benchmark.plot import draw, require_drawable
from training.lab.inspection.pictures import draw_pictures, require_folder
from training.lab.preview.command import look
from training.lab.prune.command import options_from, prune
from training.lab.prune.table import prune_json, prune_report
from training.lab.tables.benchmark import benchmark_json, benchmark_report
from training.lab.tables.comparison import comparison_json, comparison_report
from training.lab.tables.depthwise import depthwise_table
from training.lab.tables.evaluation import (
    classification_json,
    classification_report,
    evaluation_json,
    evaluation_report,
)
from training.lab.tables.exports import exports_json, exports_table
from training.lab.tables.models import variants_json, variants_table
from training.lab.tables.routing import routing_json, routing_table
from training.models.variants import MixtureChoice, model_config
from training.recipes.overrides import choice_from
from training.recipes.recipe_data import refuse_splits
from training.trainer.checkpoint import BEST_FILE, MODEL_FILE
from training.trainer.distributed import joined
from training.workflows import export, measure, train
from training.workflows.dataset_config import measured_data, training_data
from training.workflows.halve import halve

STOPPED = 130  # what a shell reports after Ctrl-C


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, call one function, report. Exit codes: 0 done, 1 failed, 2 wrong usage, 130 stopped."""
    args = build_parser().parse_args(argv)
    try:
        if args.command != "train" and os.environ.get("WORLD_SIZE", "1") != "1":
            raise ConfigError(
                f"several processes train, one does the rest: run {args.command} without torchrun"
            )
        _refuse_idle_splits(args)
        return COMMANDS[args.command](args)
    except (TrainingError, OSError) as error:
        print(f"training: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("training: stopped", file=sys.stderr)
        return STOPPED


def _refuse_idle_splits(args: argparse.Namespace) -> None:
    flags = split_flags(args)
    if flags:
        # Without --data, inspect reads the folder of the checkpoint's run.
        refuse_splits(args.recipe, flags, folder=args.data is not None or args.command == "inspect")


def _say(message: str) -> None:
    print(message, flush=True)


def _say_nothing(message: str) -> None:
    """For processes beside the first of a run."""


def _say_aside(message: str) -> None:
    """What is being done, beside an answer that may be read by a machine."""
    print(message, file=sys.stderr, flush=True)


def _print(message: str) -> int:
    _say(message)
    return 0


def _train_options(args: argparse.Namespace, run_dir: Path) -> train.TrainOptions:
    return train.TrainOptions(
        run_dir=run_dir,
        recipe=args.recipe,
        variant=args.variant,
        mixture=_mixture(args),
        choice=choice_from(args),
        data=args.data,
        split=args.split,
        val_split=args.val_split or None,
        input_hw=args.input,
        epochs=args.epochs,
        batch_size=args.batch,
        seed=args.seed,
        weights=args.weights,
        like=args.like,
        tensorboard=args.tensorboard,
    )


def _look(args: argparse.Namespace) -> int:
    options = _train_options(args, Path())  # nothing is written into a run's folder
    drawn = look(options, args.output, epoch=args.epoch, pictures=args.pictures)
    return _print(f"drew {drawn} pictures of epoch {args.epoch} into {args.output}")


def _train(args: argparse.Namespace) -> int:
    options = _train_options(args, args.run)
    with joined(os.environ) as processes:
        say = _say if processes.first else _say_nothing
        outcome = train.train(options, quiet=args.quiet, say=say, processes=processes)
    if not outcome.finished:
        say(f"stopped after {outcome.position.step} steps; the same command goes on from there")
        return STOPPED
    say(f"done: {outcome.model_path}")
    if outcome.best_path is not None:
        say(f"of the evaluation with the highest {outcome.best_by}: {outcome.best_path}")
    return 0


def _evaluate(args: argparse.Namespace) -> int:
    data = measured_data(args.data, args.split, args.recipe)
    if (args.checkpoint is None) == (args.url is None):
        print("training: evaluate takes either a checkpoint or --url", file=sys.stderr)
        return 2
    if args.checkpoint and (args.model, args.backend) != (None, None):
        print("training: --model and --backend are for a service: give --url", file=sys.stderr)
        return 2
    if args.url and (args.top_k, args.weight_threshold) != (None, None):
        print(
            "training: --top-k and --weight-threshold are for a checkpoint; a service runs what it is set to",
            file=sys.stderr,
        )
        return 2
    if args.url:
        mean_ap, images = measure.evaluate_service(
            args.url, data, model=args.model, backend=args.backend, quiet=args.quiet, say=_say_aside
        )
        evaluation = None
    else:
        found = measure.evaluate_checkpoint(
            args.checkpoint,
            data,
            top_k=args.top_k,
            weight_threshold=args.weight_threshold,
            quiet=args.quiet,
            say=_say_aside,
        )
        if isinstance(found, ClassEvaluation):
            return _print((classification_json if args.json else classification_report)(found))
        assert isinstance(found, Evaluation)
        evaluation = found
        mean_ap, images = evaluation.mean_ap, evaluation.images
    write = evaluation_json if args.json else evaluation_report
    return _print(write(mean_ap, images, evaluation))


def _compare(args: argparse.Namespace) -> int:
    found = measure.compare_checkpoints(
        (args.first, args.second),
        measured_data(args.data, args.split, args.recipe),
        top_ks=(args.top_k, args.second_top_k),
        draws=args.draws,
        quiet=args.quiet,
    )
    return _print((comparison_json if args.json else comparison_report)(found))


def _inspect(args: argparse.Namespace) -> int:
    if args.layer and not args.output:
        print("training: --layer says which pictures are drawn: give --output", file=sys.stderr)
        return 2
    if args.output:
        require_folder(args.output)
    found = measure.inspect_checkpoint(
        args.checkpoint,
        args.data,
        args.split,
        recipe=args.recipe,
        top_k=args.top_k,
        weight_threshold=args.weight_threshold,
        layer=args.layer,
        quiet=args.quiet,
    )
    _say(routing_json(found.report, found.facts) if args.json else routing_table(found.report, found.heading))
    if args.output:
        for path in draw_pictures(found, args.output, args.layer):
            _say_aside(f"drew {path}")
    return 0


def _export(args: argparse.Namespace) -> int:
    asked = args.data is not None or args.recipe is not None
    data = measured_data(args.data, args.split, args.recipe) if asked else None
    calibration = training_data(args.data, args.calibration_split, args.recipe) if asked else None
    _write_artefacts(args, args.checkpoint, data, calibration)
    return 0


def _convert(args: argparse.Namespace) -> int:
    convert(args.file, args.output, input_hw=args.input, expect=args.expect, say=_say)
    return 0


def _prune(args: argparse.Namespace) -> int:
    result = prune(options_from(args), quiet=args.quiet, say=_say_aside)
    return _print((prune_json if args.json else prune_report)(result))


def _halve(args: argparse.Namespace) -> int:
    halve(args.checkpoint, args.output, say=_say)
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
    if args.upgrade_manifests:
        for path in upgrade_manifests(args.repository, name=args.name):
            _say(f"upgraded {path}")
    for folder in write_all_configs(args.repository, options, name=args.name):
        steps = [f"{folder.name}{suffix}" for suffix in (NMS_SUFFIX, DETECT_SUFFIX)]
        there = [step for step in steps if (folder.parent / step).is_dir()]
        _say(f"wrote {folder}, {' and '.join(there)}" if there else f"wrote {folder}")
    return 0


def _benchmark(args: argparse.Namespace) -> int:
    options = BenchmarkOptions(
        variants=tuple(args.variant),
        checkpoints=tuple(args.checkpoint),
        peers=tuple(args.peer),
        input_hw=args.input,
        top_ks=None if args.top_k is None else tuple(args.top_k),
        batches=tuple(args.batch or ()),
        engines=tuple(args.engine or ("openvino",)),
        precisions=tuple(args.precision or ("f32",)),
        threads=tuple(args.threads or (1,)),
        rounds=args.rounds,
        profile=args.profile,
        throughput=args.throughput,
    )
    if args.plot:
        require_drawable(args.plot)
    result = benchmark(options, quiet=args.quiet, say=_say_aside)
    _say(benchmark_json(result) if args.json else benchmark_report(result))
    if args.plot:
        draw(result, args.plot)
        _say_aside(f"drew {args.plot}")
    return int(result.noisy)


def _ablations(args: argparse.Namespace) -> int:
    rows = ablations.asked_rows(args.table)
    if args.list:
        return _print(as_list(rows))
    if args.output is None:
        print("training: ablations need an --output folder, or --list", file=sys.stderr)
        return 2
    ended = ablations.ablations(rows, ablations.options_of(args), quiet=args.quiet, say=_say)
    if ended.progress.stopped:
        _say(f"stopped; what there is stands in {ended.report}; the same command goes on from there")
        return STOPPED
    _say(f"\n{ended.markdown}\nwrote {ended.report}")
    return int(bool(ended.progress.failed))


def _train_export(args: argparse.Namespace) -> int:
    args.run = args.run or Path("runs") / args.name
    # Before the training, not hours later.
    model = model_config(args.variant, ("any",), (64, 64), _mixture(args))
    check_options(args.target or DEFAULT_TARGETS, _export_options(args), model)
    data = _held_out(args)
    code = _train(args)
    if code:
        return code
    # Where patience ended the run, the last model is some evaluations past the best.
    best = args.run / BEST_FILE
    checkpoint = best if args.patience and best.exists() else args.run / MODEL_FILE
    _write_artefacts(args, checkpoint, data, training_data(args.data, args.split, args.recipe))
    return _print(
        f"serve it:  make serve MODEL={args.name}\n"
        f"ask it:    curl --data-binary @photo.jpg 'localhost:8000/detect?model={args.name}'"
    )


def _held_out(args: argparse.Namespace) -> DataConfig | None:
    """What an export is measured on; None where all is trained on, since that mAP would be no mAP."""
    if args.val_split not in ("", args.split):
        return measured_data(args.data, args.val_split, args.recipe)
    if args.precision == "int8":
        raise ConfigError("precision int8 is measured on pictures held out: give another --val-split")
    why = "--val-split is what is trained on" if args.val_split else "no --val-split"
    _say(
        f"{why}: nothing is held out, so neither mAP nor routing of the export will be measured; export with "
        "--data does that on other pictures"
    )
    return None


def _mixture(args: argparse.Namespace) -> MixtureChoice:
    return MixtureChoice(
        placement=args.placement,
        expert=args.expert,
        num_experts=args.experts,
        top_k=args.top_k,
        router=args.router,
    )


def _export_options(args: argparse.Namespace) -> ExportOptions:
    idle = [flag for flag in split_flags(args) if flag == "--calibration-split"]
    idle += ["--calibration"] if args.calibration is not None else []
    if idle and args.precision != "int8":
        raise ConfigError(f"{' and '.join(idle)}: only --precision int8 takes ranges from pictures")
    return ExportOptions(
        precision=args.precision,
        execution=args.execution,
        calibration_images=args.calibration or USUAL.calibration_images,
        fixed_batch=args.fixed_batch,
        experts=args.exported_experts,
    )


def _write_artefacts(
    args: argparse.Namespace, checkpoint: Path, data: DataConfig | None, calibration: DataConfig | None
) -> None:
    options = _export_options(args)
    export.export(
        checkpoint,
        args.repository,
        args.name,
        data=data,
        calibration=calibration,
        targets=args.target or DEFAULT_TARGETS,
        options=options,
        attribution=args.attribution,
        metric_prefix=args.metric_prefix,
        quiet=args.quiet,
        say=_say,
    )


COMMANDS = {
    "train": _train,
    "look": _look,
    "evaluate": _evaluate,
    "compare": _compare,
    "inspect": _inspect,
    "export": _export,
    "train-export": _train_export,
    "benchmark": _benchmark,
    "ablations": _ablations,
    "convert": _convert,
    "prune": _prune,
    "halve": _halve,
    "triton-config": _triton_config,
    "download": lambda args: download_command.run(args, _say, _say_aside),
    "exports": lambda args: _print((exports_json if args.json else exports_table)(args.repository)),
    "variants": lambda args: _print(variants_json() if args.json else variants_table()),
    "time-depthwise": lambda args: _print(depthwise_table()),
}

if __name__ == "__main__":
    sys.exit(main())
