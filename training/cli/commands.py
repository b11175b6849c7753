"""The commands there are, and the parser of what may be written after each."""

import argparse
from collections.abc import Sequence
from importlib import import_module

# In the order of --help; the file of a command has its name. Only the one that is asked for is imported.
COMMANDS = {
    "train": "train a detector, or go on with a stopped run",
    "look": "draw the samples that a training run would be shown, with their boxes",
    "evaluate": "mAP of a checkpoint or of a running service",
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
    "time-depthwise": "time wide depthwise kernels, backward, on this CPU",
}

EXAMPLES = """
examples:
  python -m training train --run runs/try
      generated scenes, a few minutes on two cores
  python -m training train --recipe small-data --data bccd --input 384x512 --run runs/cells
      your own images: a VOC folder (Annotations, JPEGImages, ImageSets), a YOLO one (data.yaml), or one of
      COCO, VisDrone, KITTI or SKU-110K as they are downloaded;
      stopped by Ctrl-C or a crash, the same command goes on
  python -m training look --recipe small-data --data bccd --output batches.png
      the images that this run would be shown, with their boxes
  python -m training evaluate runs/cells/model.safetensors --data bccd --split val
  python -m training inspect runs/cells/model.safetensors --output drawn
      whether its experts are chosen by what is in the image
  python -m training export runs/cells/model.safetensors --name cells --data bccd --split val
  python -m training evaluate --url http://127.0.0.1:8000 --model cells --data bccd --split val
  python -m training download voc --to data/voc
      the data of a benchmark, checked and unpacked; then: train --recipe voc --data data/voc
  python -m training benchmark --variant sparsight-n --variant yolov12-n --plot benchmark.png
      how fast they are here, and what skipping experts gains
  python -m training convert yolo12n.pt
      bring in a YOLO12 or YOLO-Master detection checkpoint; nothing in the file is run
  python -m training prune runs/cells/model.safetensors --data bccd --keep 3 --output cells-3.safetensors
      drop the experts that fewest images choose; train --like cells-3.safetensors goes on from there
  python -m training triton-config --name cells --instances 4
      write Triton's files for artifacts that are in the repository, with other settings
"""


def build_parser(argv: Sequence[str]) -> argparse.ArgumentParser:
    """Return the parser of this command line: it knows the flags of the command that is asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m training",
        description="Train mixture-of-experts detectors, measure them, export them for serving.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    subparsers = parser.add_subparsers(required=True, dest="command", metavar="command")
    asked = next((word for word in argv if not word.startswith("-")), None)
    for name, summary in COMMANDS.items():
        command = subparsers.add_parser(
            name, help=summary, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if name == asked:
            module = import_module(f"training.cli.{name.replace('-', '_')}")
            command.description, command.epilog = module.__doc__, getattr(module, "EXAMPLES", None)
            module.add_flags(command)
            aside = getattr(module, "PROGRESS_TO_STDERR", False)
            command.set_defaults(run=module.run, aside=aside)
    return parser
