"""`python -m clients`: detection from a shell."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import cv2

from clients.errors import BadImage, DetectorError
from clients.table import as_table
from clients.transport import Tls
from clients.triton import TritonDetector
from clients.types import Detections

_PORTS = {"grpc": 8001, "http": 8000}

_EXAMPLES = """
examples:
  python -m clients triton photo.jpg
      what was found, and for each mixture layer which experts ran
  python -m clients triton *.jpg --json | jq '.predictions | length'
      one JSON document a line and picture, as the service's POST /detect answers it
  python -m clients triton photo.jpg --url triton.example:8000 --protocol http --top-k 1 --conf 0.4
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse, run, report. Return 0, 1 for what went wrong; wrong usage ends with 2."""
    args = _parser().parse_args(argv)
    # A damaged picture is reported once, by us; OpenCV would write a line of its own.
    cv2.utils.logging.setLogLevel(cv2.utils.logging.LOG_LEVEL_SILENT)
    try:
        return _triton(args)
    except (DetectorError, OSError) as error:
        print(f"sparsight: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("sparsight: stopped", file=sys.stderr)
        return 130  # what a shell reports after Ctrl-C


def _triton(args: argparse.Namespace) -> int:
    url = args.url or f"127.0.0.1:{_PORTS[args.protocol]}"
    tls = Tls(ca_file=args.ca) if args.tls or args.ca else None
    with TritonDetector(
        url,
        model=args.model,
        target=args.target,
        protocol=args.protocol,
        timeout_s=args.timeout,
        tls=tls,
    ) as detector:
        for path in args.images:
            try:
                found = detector.detect(
                    path.read_bytes(),
                    conf=args.conf,
                    iou=args.iou,
                    max_det=args.max_det,
                    top_k=args.top_k,
                    weight_threshold=args.weight_threshold,
                    classes=None if args.classes is None else args.classes.split(","),
                )
            except BadImage as error:
                raise BadImage(f"{path}: {error}") from error
            print(_as_json(path, found) if args.json else as_table(str(path), found), flush=True)
    return 0


def _as_json(path: Path, found: Detections) -> str:
    return json.dumps({"file": str(path), **found.to_dict()}, ensure_ascii=False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m clients",
        description="Find objects in pictures, and see which experts looked for them.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    _add_triton(commands.add_parser("triton", help="ask an NVIDIA Triton server, without the gateway"))
    return parser


def _add_triton(parser: argparse.ArgumentParser) -> None:
    parser.description = "Ask an NVIDIA Triton server that serves a model repository of this project."
    parser.add_argument("images", type=Path, nargs="+", metavar="IMAGE", help="JPEG, PNG, WebP, …")
    parser.add_argument("--url", help="host:port (default: 127.0.0.1:8001, with http 127.0.0.1:8000)")
    parser.add_argument("--protocol", choices=_PORTS, default="grpc", help="default: %(default)s")
    parser.add_argument("--model", default="starter", help="name of the model (default: %(default)s)")
    parser.add_argument(
        "--target", default="openvino", help="openvino, onnx or tensorrt (default: %(default)s)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document a line")
    parser.add_argument("--conf", type=float, help="lowest score to report, 0 to 1 (default: the model's)")
    parser.add_argument(
        "--iou", type=float, help="overlap above which boxes of a class are one (default: the model's)"
    )
    parser.add_argument("--max-det", type=int, help="most detections a picture (default: the model's)")
    parser.add_argument("--classes", help="names or ids to report, separated by commas (default: all)")
    parser.add_argument("--top-k", type=int, help="experts per picture and layer (default: the model's)")
    parser.add_argument(
        "--weight-threshold", type=float, help="probability an expert beyond the best needs, 0 to 1"
    )
    parser.add_argument(
        "--timeout", type=float, default=10.0, help="seconds for each picture (default: %(default)s)"
    )
    parser.add_argument("--tls", action="store_true", help="encrypt, and trust what the system trusts")
    parser.add_argument("--ca", type=Path, metavar="FILE", help="encrypt, and trust this PEM file")


if __name__ == "__main__":
    sys.exit(main())
