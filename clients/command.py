"""Run the command `sparsight-client`, which detects objects and classifies images from a shell."""

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from .drawing import draw
from .errors import BadImage, ClientError, WrongTask
from .image import as_pixels
from .rest import RestClient
from .table import as_table
from .tasks.boxes import Detections
from .tls import Tls
from .triton import TritonClient
from .types import Answer

PROGRAM = "sparsight-client"
_PORTS = {"grpc": 8001, "http": 8000}
_SERVICE = "http://127.0.0.1:8000"
_KEY_VARIABLE = "SPARSIGHT_API_KEY"
_OF_MODEL = "default: set by the model"

_SHAPES = {
    "segment": "detect objects and their masks",
    "pose": "detect objects and their keypoints",
    "obb": "detect objects with rotated boxes",
}

_DESCRIPTION = (
    "Detect objects in images, with boxes, masks, keypoints or rotated boxes, or classify images, and show "
    "which experts of the model ran."
)
_EXAMPLES = """
examples:
  {program} detect photo.jpg
      the objects that the service at {service} finds, and the experts that ran in each mixture layer
  {program} detect *.jpg --url https://gateway.example --model cells --conf 0.4 --classes RBC,WBC
  {program} detect *.jpg --json | jq '.predictions | length'
      one line of JSON for each image, in the form of the service's answer to POST /detect
  {program} detect *.jpg --save drawn
      also writes the images with the objects that were found: drawn/photo.jpg.drawn.png
  {program} classify photo.jpg --model trash --top 3
  {program} segment photo.jpg --model cells-seg --masks polygon --json
  {program} pose photo.jpg --model people-pose
  {program} obb photo.jpg --model ships-obb
  {program} triton photo.jpg --url triton.example:8001 --top-k 1
      what the model finds on an NVIDIA Triton server, without the service

exit codes: 0 done, 1 failed (one line on stderr gives the reason), 2 wrong usage, 130 stopped by Ctrl-C,
141 the program that reads the output has closed it
"""


def main(argv: Sequence[str] | None = None, program: str = PROGRAM) -> int:
    """Run the command and return its exit code.

    The exit code is 0 on success, 1 on failure, 130 after Ctrl-C, and 141 if the reader of the output closed
    the pipe. Wrong usage raises SystemExit with the code 2.
    """
    args = _parser(program).parse_args(argv)
    # Keep OpenCV from writing to stderr about a damaged image, because this command reports the image itself.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        run: Callable[[argparse.Namespace], None] = args.run
        run(args)
    except WrongTask as error:  # the message of the error names a Python method, not a command
        wanted = f"model {error.model!r} is for the task {error.task!r}; use the command {error.task}"
        print(f"sparsight: {wanted}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the program that reads the output, such as head, has closed it
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python reports an error at exit
        return 141  # the code that a shell reports for a broken pipe
    except (ClientError, OSError) as error:
        print(f"sparsight: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("sparsight: stopped", file=sys.stderr)
        return 130  # the code that a shell reports after Ctrl-C
    return 0


def _rest(args: argparse.Namespace) -> None:
    with RestClient(
        args.url,
        model=args.model,
        backend=args.backend,
        version=args.version,
        timeout_s=args.timeout,
        tls=_tls(args),
        api_key=_api_key(args.key_file),
    ) as client:
        ask: Callable[..., Answer] = getattr(client, "detect_oriented" if args.task == "obb" else args.task)
        _ask_all(args, ask)


def _api_key(file: Path | None) -> str | None:
    """Return the key from a file or the environment; a flag would show it to all users of the machine."""
    if file is not None:
        return file.read_text()
    return os.environ.get(_KEY_VARIABLE) or None


def _triton(args: argparse.Namespace) -> None:
    with TritonClient(
        args.url or f"127.0.0.1:{_PORTS[args.protocol]}",
        model=args.model,
        target=args.target,
        protocol=args.protocol,
        timeout_s=args.timeout,
        tls=_tls(args) or (Tls() if args.tls else None),
    ) as client:
        _ask_all(args, client.predict)


def _tls(args: argparse.Namespace) -> Tls | None:
    if args.ca is args.cert is args.key is None:
        return None
    return Tls(ca_file=args.ca, cert_file=args.cert, key_file=args.key)


def _ask_all(args: argparse.Namespace, ask: Callable[..., Answer]) -> None:
    parameters = _parameters(args)
    save: Path | None = getattr(args, "save", None)
    if save is not None:
        save.mkdir(parents=True, exist_ok=True)
    for path in args.images:
        try:
            data = path.read_bytes()
            found = ask(data, **parameters)
            if save is not None and isinstance(found, Detections):
                _save(save / f"{path.name}.drawn.png", draw(as_pixels(data), found))
        except BadImage as error:
            raise BadImage(f"{path}: {error}") from error
        print(_as_json(path, found) if args.json else as_table(str(path), found), flush=True)


def _save(path: Path, image: NDArray[np.uint8]) -> None:
    _, png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
    path.write_bytes(png.tobytes())


def _parameters(args: argparse.Namespace) -> dict[str, Any]:
    names = ("conf", "iou", "max_det", "classes", "agnostic_nms", "masks", "top", "top_k", "weight_threshold")
    given = {name: value for name in names if (value := getattr(args, name, None)) is not None}
    if "classes" in given:
        given["classes"] = given["classes"].split(",")
    return given | dict(args.control)


def _as_json(path: Path, found: Answer) -> str:
    return json.dumps({"file": str(path), **found.to_dict()}, ensure_ascii=False)


def _parser(program: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=program,
        description=_DESCRIPTION,
        epilog=_EXAMPLES.format(program=program, service=_SERVICE),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    # No abbreviations: on a command without --top, argparse would read --top as --top-k.
    detect = commands.add_parser(
        "detect", help="detect objects in images with the service", allow_abbrev=False
    )
    detect.description = "Detect objects in images with the service."
    detect.set_defaults(run=_rest, task="detect")
    _add_common(detect)
    _add_service(detect)
    _add_detect(detect)
    _add_save(detect)
    detect.add_argument(
        "--agnostic-nms",
        action="store_true",
        default=None,
        help="count overlapping boxes of different classes as one object",
    )
    classify = commands.add_parser("classify", help="classify images with the service", allow_abbrev=False)
    classify.description = "Classify images with the service."
    classify.set_defaults(run=_rest, task="classify")
    _add_common(classify)
    _add_service(classify)
    _add_classify(classify)
    for task, what in _SHAPES.items():
        shaped = commands.add_parser(task, help=f"{what} with the service", allow_abbrev=False)
        shaped.description = f"{what[0].upper()}{what[1:]} with the service."
        shaped.set_defaults(run=_rest, task=task)
        _add_common(shaped)
        _add_service(shaped)
        _add_detect(shaped)
        _add_save(shaped)
        if task == "segment":
            shaped.add_argument("--masks", choices=("rle", "polygon", "off"), help="default: rle")
    triton = commands.add_parser(
        "triton", help="run a model of any task directly on an NVIDIA Triton server", allow_abbrev=False
    )
    triton.description = (
        "Run a model directly on an NVIDIA Triton server: detect objects in images, with boxes, masks, "
        "keypoints or rotated boxes, or classify images."
    )
    triton.set_defaults(run=_triton)
    _add_common(triton)
    _add_triton(triton)
    _add_detect(triton)
    triton.add_argument("--masks", choices=("rle", "off"), help="of a segmenter (default: rle)")
    _add_classify(triton)
    _add_save(triton)
    return parser


def _add_common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="JPEG, PNG, WebP, …")
    parser.add_argument("--json", action="store_true", help="print one line of JSON for each image")
    parser.add_argument("--classes", help="classes to report: names or ids with commas (default: all)")
    parser.add_argument("--top-k", type=int, help=f"experts per image and mixture layer ({_OF_MODEL})")
    parser.add_argument(
        "--weight-threshold",
        type=float,
        help="lowest probability, 0 to 1, of an expert to run; the most probable expert always runs",
    )
    parser.add_argument(
        "--control",
        type=_name_and_number,
        action="append",
        default=[],
        metavar="NAME=NUMBER",
        help="set any other control of the model; may be given several times",
    )
    parser.add_argument(
        "--timeout", type=float, default=10.0, help="seconds for one image (default: %(default)s)"
    )
    parser.add_argument("--ca", type=Path, metavar="FILE", help="encrypt, and trust the certificates in FILE")
    parser.add_argument(
        "--cert", type=Path, metavar="FILE", help="certificate to show to the server, with --key"
    )
    parser.add_argument("--key", type=Path, metavar="FILE", help="private key of the certificate")


def _add_service(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", default=_SERVICE, help="URL of the service (default: %(default)s)")
    parser.add_argument(
        "--key-file",
        type=Path,
        metavar="FILE",
        help=f"file with the key that the service asks for (default: the value of {_KEY_VARIABLE}, if set)",
    )
    parser.add_argument("--model", help="name of the model (default: the service's default model)")
    parser.add_argument("--backend", help="backend that runs the model (default: the service chooses)")
    parser.add_argument("--version", help="version of the model (default: the highest that is ready)")


def _add_triton(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--url", help="host:port (default: 127.0.0.1:8001 for grpc, 127.0.0.1:8000 for http)")
    parser.add_argument("--protocol", choices=_PORTS, default="grpc", help="default: %(default)s")
    parser.add_argument("--model", default="starter", help="name of the model (default: %(default)s)")
    parser.add_argument(
        "--target",
        default="openvino",
        help="export target: openvino, onnx, npu or tensorrt (default: %(default)s)",
    )
    parser.add_argument("--tls", action="store_true", help="encrypt, and trust the system's certificates")


def _add_detect(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--conf",
        type=_confidence,
        help=f"lowest score to report, 0 to 1, or for each class, as in 0.3,fish:0.4 ({_OF_MODEL})",
    )
    parser.add_argument(
        "--iou", type=float, help=f"IoU above which boxes of a class count as one object ({_OF_MODEL})"
    )
    parser.add_argument("--max-det", type=int, help=f"maximum number of detections per image ({_OF_MODEL})")


def _add_save(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--save",
        type=Path,
        metavar="FOLDER",
        help="write each image with its objects drawn on it to FOLDER, as IMAGE.drawn.png",
    )


def _confidence(text: str) -> float | str:
    return text if ":" in text else float(text)


def _add_classify(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--top", type=int, help=f"number of classes per image ({_OF_MODEL})")


# Parameters of every call. A control with such a name could not be distinguished from the parameter.
_RESERVED = frozenset({"self", "image", "model", "version", "backend", "format", "moe", "timeout_ms"})


def _name_and_number(text: str) -> tuple[str, float]:
    name, _, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not name or not math.isfinite(number) or name in _RESERVED:
        raise argparse.ArgumentTypeError(f"{text!r} does not set a control; write NAME=NUMBER, as in top_k=2")
    return name, int(number) if number.is_integer() else number
