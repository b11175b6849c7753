"""The list of all commands, and the parser of a command line."""

import argparse
from collections.abc import Sequence
from importlib import import_module

from training.cli.flags import add_shared

# In the order of --help. Each command is a module of the same name. Only the requested one is imported.
COMMANDS = {
    "train": "train a detector or a classifier, or resume a stopped run",
    "check": "show what is understood of a data set, and what is odd",
    "look": "draw the augmented samples of a training run into one image",
    "evaluate": "measure mAP or accuracy of a checkpoint, or mAP of a service",
    "compare": "measure whether one checkpoint is better than another",
    "compare-seeds": "measure whether one variant is ahead of another over several seeds",
    "inspect": "measure how the routers of a checkpoint choose experts",
    "predict": "find objects in images, videos and camera streams",
    "export": "export a checkpoint into the model repository",
    "train-export": "train, evaluate and export with one command",
    "convert": "convert a checkpoint of YOLO12 or YOLO-Master",
    "prune": "remove the experts that the fewest images choose",
    "halve": "store the weights of a checkpoint in float16",
    "baseline": "measure again how an exported model routes images",
    "experts-report": "report in an exported model what each of its experts serves",
    "exports": "list the exported models and how exact they are",
    "triton-config": "write Triton's files for exported models",
    "copy-repository": "copy the exported models to a place without links",
    "benchmark": "time models here, with and without skipping experts",
    "pareto": "compare trained models by throughput and accuracy",
    "ablations": "train the paper's ablations and compare the figures",
    "variants": "list parameters, GFLOPs and published figures of models",
    "download": "download the data set of a benchmark",
}

EXAMPLES = """
examples; the --help of each command has more
  python -m training train --run runs/try
      trains on generated scenes, a few minutes on two CPU cores
  python -m training train --recipe small-data --data bccd --input 384x512 --run runs/cells
      trains on your own images: a VOC folder (Annotations, JPEGImages, ImageSets), a YOLO folder (data.yaml),
      one folder of images per class, or COCO, VisDrone, KITTI or SKU-110K in the published layout. The same
      command resumes after Ctrl-C or a crash
  python -m training evaluate runs/cells/model.safetensors --data bccd --split val
  python -m training export runs/cells/model.safetensors --name cells --data bccd --split val
  python -m training evaluate --url http://127.0.0.1:8000 --model cells --data bccd --split val
"""


def build_parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser for a command line.

    The parser accepts every command, but has the flags of only the command that `argv` names. So only the
    module of this command is imported.
    """
    as_written = argparse.RawDescriptionHelpFormatter
    about = "Train detectors and classifiers with a mixture of experts, measure and export them."
    parser = argparse.ArgumentParser("python -m training", None, about, EXAMPLES, formatter_class=as_written)
    subparsers = parser.add_subparsers(required=True, dest="command", metavar="command")
    requested = next((word for word in argv if not word.startswith("-")), None)
    for name, summary in COMMANDS.items():
        command = subparsers.add_parser(name, help=summary, formatter_class=as_written)
        if name == requested:
            module = import_module(f"training.cli.{name.replace('-', '_')}")
            command.description, command.epilog = module.__doc__, getattr(module, "EXAMPLES", None)
            getattr(module, "add_flags", lambda parser: None)(command)
            add_shared(command, *getattr(module, "FLAGS", ()))
            command.set_defaults(run=module.run, aside=getattr(module, "PROGRESS_TO_STDERR", False))
    return parser
