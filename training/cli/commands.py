"""The list of all commands, and the parser of a command line."""

import argparse
from collections.abc import Sequence
from importlib import import_module

from training.cli.flags import add_shared

# In the order of --help. Each command is a file of the same name; only the requested one is imported.
COMMANDS = {
    "train": "train a detector or a classifier, or go on with a stopped run",
    "look": "draw the samples that a training run would be shown, with their boxes",
    "evaluate": "mAP or accuracy of a checkpoint, mAP of a running service",
    "compare": "whether one checkpoint is better than another",
    "inspect": "what the routers of a checkpoint know of the images",
    "export": "write artifacts into the model repository",
    "train-export": "train, evaluate and export in one go",
    "convert": "bring in a YOLO12 or YOLO-Master checkpoint",
    "prune": "drop experts that hardly any image chooses",
    "halve": "write a checkpoint of half the size",
    "exports": "what lies in the model repository, and what was proved of it",
    "triton-config": "write Triton's files for artifacts that are there",
    "benchmark": "how fast models run here, and what skipping experts gains",
    "ablations": "train the paper's ablations and set its figures beside ours",
    "variants": "table of the models: parameters, GFLOPs, published figures",
    "download": "bring the data of a benchmark",
}

EXAMPLES = """
examples; each command has more in its own --help
  python -m training train --run runs/try
      generated scenes, a few minutes on two cores
  python -m training train --recipe small-data --data bccd --input 384x512 --run runs/cells
      your own images: a VOC folder (Annotations, JPEGImages, ImageSets), a YOLO one (data.yaml), a folder of
      images for each class, or one of COCO, VisDrone, KITTI or SKU-110K as they are downloaded;
      stopped by Ctrl-C or a crash, the same command goes on
  python -m training evaluate runs/cells/model.safetensors --data bccd --split val
  python -m training export runs/cells/model.safetensors --name cells --data bccd --split val
  python -m training evaluate --url http://127.0.0.1:8000 --model cells --data bccd --split val
"""


def build_parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser of this command line; only the command that it names gets its flags."""
    as_written = argparse.RawDescriptionHelpFormatter
    about = "Train detectors and classifiers with a mixture of experts, measure and export them."
    parser = argparse.ArgumentParser("python -m training", None, about, EXAMPLES, formatter_class=as_written)
    subparsers = parser.add_subparsers(required=True, dest="command", metavar="command")
    asked = next((word for word in argv if not word.startswith("-")), None)
    for name, summary in COMMANDS.items():
        command = subparsers.add_parser(name, help=summary, formatter_class=as_written)
        if name == asked:
            module = import_module(f"training.cli.{name.replace('-', '_')}")
            command.description, command.epilog = module.__doc__, getattr(module, "EXAMPLES", None)
            getattr(module, "add_flags", lambda parser: None)(command)
            add_shared(command, *getattr(module, "FLAGS", ()))
            command.set_defaults(run=module.run, aside=getattr(module, "PROGRESS_TO_STDERR", False))
    return parser
