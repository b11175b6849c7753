"""Send rubbish to the service and to its parts: `python -m tests.fuzz --help`."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

_ABOUT = """\
Send rubbish to the service and to its parts, and check that it is refused as documented.

  images    mutated image files of every format, decoded in a process that may crash
  requests  mutated queries, forms and bodies for the functions that read them, then whole mutated requests
            over many connections to a running service
  api       requests that fit service/rest/openapi.json, or just do not, for a running service

Each command tells on stderr how far it is, and ends with one line of figures. It returns 1 if it found
something. What it found stays in the folder --work.

  python -m tests.fuzz images --runs 10000                      a first look, in half a minute
  python -m tests.fuzz images --again FILE                      what happens with one file
  python -m tests.fuzz requests --runs 5000 --connections 2000
  python -m tests.fuzz api --examples 50
"""
_CACHE = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "sparsight-fuzz"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one of the commands; return 1 if it found something."""
    args = _parser().parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("ended; a second call goes on"))  # ends the child, too
    return int(not args.run(args))


def _parser() -> argparse.ArgumentParser:
    formatter = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser("python -m tests.fuzz", description=_ABOUT, formatter_class=formatter)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    images = commands.add_parser(
        "images", help="mutate image files", description=_IMAGES, formatter_class=formatter
    )
    _add_common(images, 1_000_000)
    images.add_argument(
        "--again", type=Path, metavar="FILE", help="only decode this file, and say what happens"
    )
    images.add_argument(
        "--large",
        action="store_true",
        help="allow 40,000,000 pixels, as the service does by default, instead of 262,144; this is slower",
    )
    images.set_defaults(run=_images)
    requests = commands.add_parser(
        "requests", help="mutate requests", description=_REQUESTS, formatter_class=formatter
    )
    _add_common(requests, 100_000)
    requests.add_argument(
        "--connections",
        type=int,
        default=100_000,
        metavar="N",
        help="connections to the service in all, with one to four requests each (default: 100,000)",
    )
    requests.set_defaults(run=_requests)
    api = commands.add_parser("api", help="check openapi.json", description=_API, formatter_class=formatter)
    api.add_argument(
        "--examples",
        type=int,
        default=1000,
        metavar="N",
        help="most requests for each operation (default: 1000)",
    )
    _add_place(api)
    api.set_defaults(run=_api)
    return parser


_IMAGES = """\
Mutate small image files of every format, and decode each as POST /detect and POST /preview do.

Every file must become an image within the limits, or be refused with one of the documented errors: no
other error, no crash, at most 2 s of processor time, at most 64 MB of memory more, no file written, and no
pixel that comes from memory instead of from the file. Each kind of finding is kept in the folder, with the
first inputs that show it.
"""


_REQUESTS = """\
Mutate queries, forms, bodies and headers, and give them to the functions that read them.

Everything must be read, or be refused with one of the documented errors, whose text can be sent as JSON.

Then whole requests with mutated heads, queries, bodies and chunks go to a running service, which this
command starts. Every answer must be well-formed HTTP with a documented status, and never a 500 or 503. The
service must live on, answer the golden image as before, log no error, and keep its memory, threads and
descriptors.
"""


def _add_common(parser: argparse.ArgumentParser, runs: int) -> None:
    parser.add_argument(
        "--runs",
        type=int,
        default=runs,
        metavar="N",
        help=f"mutated inputs in all, with those of earlier calls for the same folder (default: {runs:,})",
    )
    _add_place(parser)


def _add_place(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--work",
        type=Path,
        default=_CACHE,
        metavar="FOLDER",
        help="folder for inputs, counts and findings; a second call goes on with it (default: %(default)s)",
    )
    parser.add_argument("--seed", type=int, default=1, help="with which the mutations begin (default: 1)")


_API = """\
Send requests made from service/rest/openapi.json to a running service, which this command starts.

schemathesis makes requests that the document allows, and others that it forbids, and checks the answers:
statuses, content types, headers and bodies as documented, wrong requests and methods refused, no 5xx.
"""


def _api(args: argparse.Namespace) -> bool:
    from tests.fuzz import api

    return api.run(args.work.resolve() / "api", args.examples, args.seed)


def _images(args: argparse.Namespace) -> bool:
    if args.again:
        from tests.fuzz import images

        images.prepare()
        print(images.check(args.again.read_bytes()))
        return True
    from tests.fuzz.parent import Fuzzing
    from tests.fuzz.seeds import image_seeds

    name = "large_images" if args.large else "images"
    fuzzing = Fuzzing(name, args.work.resolve() / name)
    fuzzing.seed(image_seeds())
    return fuzzing.run(args.runs, args.seed)


def _requests(args: argparse.Namespace) -> bool:
    from tests.fuzz.parent import Fuzzing
    from tests.fuzz.parsers import parser_seeds

    fuzzing = Fuzzing("parsers", args.work.resolve() / "parsers")
    fuzzing.seed(parser_seeds())
    parsed = fuzzing.run(args.runs, args.seed)
    from tests.fuzz import connections

    return connections.run(args.work.resolve() / "requests", args.connections, args.seed) and parsed


if __name__ == "__main__":
    sys.exit(main())
