"""Find objects in images, videos and camera streams, or classify them, without a service.

Writes drawings of what was found and which experts ran into a folder. Writes label files and JSON on
request.
"""

import argparse
import logging

from training.cli.data_flags import add_bits
from training.cli.flags import STOPPED, add_fields, read
from training.cli.values import from_0_to_1
from training.predict.command import PredictOptions, predict
from training.workflows.preflight import check_folder

FLAGS = ("--top-k", "--weight-threshold", "--quiet")
log = logging.getLogger(__name__)

EXAMPLES = """
examples:
  python -m training predict starter reef.jpg
      the model that comes with the project; the drawn image is predictions/reef.jpg
  python -m training predict runs/cells images/ "more/*.png" --output found --save-txt --save-conf
      the best checkpoint of a run, on a folder with its subfolders and on a pattern; label files of YOLO
  python -m training predict model_repository/cells-openvino slides/ --classes RBC WBC --conf 0.4 --save-json
      an exported artifact, which answers as the service does
  python -m training predict starter dive.mp4 --output dive
  python -m training predict starter 0
      the first camera, until Ctrl-C; likewise /dev/video0 and rtsp://user:password@address/stream
"""


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Declare the flags of `predict`."""
    model = "a .safetensors file, the folder of a run or of an exported artifact, or a name such as starter"
    parser.add_argument("checkpoint", metavar="CHECKPOINT", help=model)
    source = "images, folders, patterns in quotes, videos, camera numbers, and addresses of streams"
    parser.add_argument("sources", metavar="SOURCE", nargs="+", help=source)
    meanings = {
        "output": "write into this folder; files of the same name are replaced",
        "conf": "lowest score of a detection, 0 to 1; default: the model's, usually 0.25",
        "iou": "of boxes of one class that overlap by more than this, keep the best one; default: the "
        "model's, usually 0.7",
        "max_det": "most detections in an image; default: the model's, usually 300",
        "device": "cpu, cuda or cuda:1; default: a GPU if there is one; an artifact runs on the CPU",
        "save_txt": "write a label file for each image into OUTPUT/labels",
        "save_conf": "end each row of the label files with the score",
        "save_json": "write OUTPUT/predictions.json",
    }
    add_fields(parser, PredictOptions, meanings, conf=from_0_to_1, iou=from_0_to_1)
    classes = "only these classes, by name or number; default: every class"
    parser.add_argument("--classes", nargs="+", default=(), metavar="NAME", help=classes)
    add_bits(parser)
    parser.add_argument("--no-draw", dest="draw", action="store_false", help="draw no images and videos")


def run(args: argparse.Namespace) -> int:
    """Predict, and print a summary; return 1 if a source could not be read, or 130 after Ctrl-C."""
    options = read(PredictOptions, args)
    check_folder(options.output, "--output")
    summary = predict(options)
    print(summary)
    if options.draw or options.save_txt or options.save_json:
        print(f"written into {options.output}")
    if summary.stopped:
        log.warning("stopped before the end; what was written stays")
        return STOPPED
    if summary.failed:
        log.warning(f"{summary.failed} of the sources could not be read, or not to the end; see above")
    return 1 if summary.failed else 0
