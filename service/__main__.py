"""Run `python -m service`: read the settings, start the server, and report its progress on stderr."""

import argparse
import difflib
import json
import logging
import os
import signal
import socket
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from service import __version__
from service.access.commands import add_commands, run_command
from service.app import Outcome, create_app
from service.backends.table import BACKENDS
from service.descriptors import connections_of, raise_limit
from service.errors import ServiceError, SettingsInvalid
from service.logs import log_to_stderr, write_to_stderr
from service.memory import limit_arenas, skip_imports
from service.novel.commands import add_novel_commands, run_novel_command
from service.server.server import server_of
from service.settings import ENV_PREFIX, Settings

log = logging.getLogger("service")  # the name __main__ would mean nothing in the log

_SWITCH_S = 0.0002  # by default, an engine whose graph has ended may wait 5 ms for the interpreter
# Where tests find datasets, and a client's key: whoever set them may start the service too.
OF_OTHERS = {"SPARSIGHT_DATA", "SPARSIGHT_API_KEY"}
OPENAPI_FILE = Path(__file__).parent / "rest" / "openapi.json"


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code: 0 done, 1 failed, 2 wrong usage or an invalid setting."""
    args = _parser().parse_args(argv)
    try:
        if args.command == "openapi":
            args.output.write_text(openapi_text())
            return 0
        if args.command == "keys":
            print(run_command(args, _say), end="\n" if args.verb != "revoke" else "")
            return 0
        if args.command == "novel":
            print(run_novel_command(args, _say), end="\n" if args.verb == "list" else "")
            return 0
        return _serve(_read_settings())
    except SettingsInvalid as error:
        _say(str(error))
        return 2
    except (ServiceError, OSError) as error:
        _say(str(error))
        return 1


def openapi_text() -> str:
    """Return the API's OpenAPI document as text; the file service/rest/openapi.json holds the same text."""
    document = create_app(Settings.model_construct()).openapi()
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _serve(settings: Settings) -> int:
    sys.setswitchinterval(_SWITCH_S)
    _save_memory()
    log_to_stderr(settings.log_format)
    max_connections = connections_of(raise_limit(), settings.max_connections)
    listener = _listen(settings.host, settings.port, "HOST or PORT")
    admin_listener = None
    if settings.admin_port is not None:
        names = "SPARSIGHT_ADMIN_HOST or SPARSIGHT_ADMIN_PORT"
        admin_listener = _listen(settings.admin_host, settings.admin_port, names)
    url = _url(listener, settings)
    failure: ServiceError | None = None
    tell = (
        _say if settings.log_format == "text" else _say_nothing
    )  # json: stderr must hold only JSON lines, for the log collector

    def on_loaded(outcome: Outcome) -> None:
        nonlocal failure
        if isinstance(outcome, ServiceError):
            failure = outcome
            server.should_exit = True
            return
        for served in outcome.in_force():
            manifest, name = served.manifest, served.backend_name
            local = BACKENDS[name].open is not None
            proof = "loaded, golden sample reproduced" if local else f"served by {name}"
            tell(f"{manifest.name} version {manifest.version} {proof}")
        server.reload_on_sighup(tell)
        log.info("service_ready", extra={"url": url})
        tell(f"ready: open {url}")

    app = create_app(settings, on_loaded=on_loaded)
    server = server_of(app, settings, max_connections, admin_listener)
    if admin_listener is not None:
        tell(f"the operator's routes are at {_url(admin_listener, settings)}")
    _announce(settings, tell)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)  # until the models are loaded
    # uvicorn raises SIGTERM again after its shutdown; without this handler the exit code would not be 0.
    signal.signal(signal.SIGTERM, lambda *_: None)
    try:
        server.run(sockets=[listener])
    except KeyboardInterrupt:
        pass
    finally:
        listener.close()
    if failure is not None:
        raise failure
    return 0


def _announce(settings: Settings, tell: Callable[[str], None]) -> None:
    for name in settings.backends:
        target = BACKENDS[name].target(settings)
        if BACKENDS[name].open is not None:
            tell(f"loading models for target {target} from {settings.repository.resolve()} with {name}")
        else:
            tell(f"reading the models for target {target} of {name} at {settings.triton.url}")


def _save_memory() -> None:
    """Keep this process small; call this before threads start and before a backend is imported."""
    limit_arenas(2)  # one heap would do for the memory, but on many cores threads would wait for each other
    # OpenVINO imports its model converter too, with command lines and telemetry, unless this import fails.
    skip_imports("openvino.tools")


def _url(listener: socket.socket, settings: Settings) -> str:
    host, port = listener.getsockname()[:2]
    scheme = "http" if settings.tls.cert is None else "https"
    return f"{scheme}://{f'[{host}]' if ':' in host else host}:{port}/"


def _listen(host: str, port: int, names: str) -> socket.socket:
    try:
        family, *_, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listener = socket.socket(family)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
        except OSError:
            listener.close()
            raise
    except OSError as error:
        reason = error.strerror or str(error)
        raise ServiceError(f"cannot listen on {host}:{port}: {reason}; set {names}") from error
    return listener


def _read_settings() -> Settings:
    known = {name for name, *_ in _list_settings()}
    for name in os.environ:
        if name.upper().startswith(ENV_PREFIX) and name.upper() not in {*known, *OF_OTHERS}:
            nearest = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0.0)[0]
            raise SettingsInvalid(f"there is no setting {name}; did you mean {nearest}?")
    try:
        return Settings()
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        # A number in the location is the index of a list item; the whole list is one environment variable.
        parts = [str(part).upper().removeprefix(ENV_PREFIX) for part in first["loc"] if isinstance(part, str)]
        why = first["msg"].removeprefix("Value error, ")
        if not parts:
            raise SettingsInvalid(f"the settings contradict each other: {why}") from error
        name = ENV_PREFIX + "__".join(parts)
        if name not in known:  # a group, whose settings do not fit together
            raise SettingsInvalid(f"the settings {name}__… do not fit together: {why}") from error
        value = "" if name.endswith("_TOKEN") else f"={first['input']!r}"  # a secret is not printed
        raise SettingsInvalid(f"{name}{value} cannot be used: {why}") from error


def _list_settings() -> Iterator[tuple[str, object, str]]:
    """Yield the environment variable, the default and the description of every setting."""
    for name, field in Settings.model_fields.items():
        part = field.annotation
        if isinstance(part, type) and issubclass(part, BaseModel):
            yield from _rows(part, f"{ENV_PREFIX}{name}__".upper())
        else:
            yield _row(f"{ENV_PREFIX}{name}".upper(), field)


def _rows(part: type[BaseModel], prefix: str) -> Iterator[tuple[str, object, str]]:
    for name, field in part.model_fields.items():
        yield _row(prefix + name.upper(), field)


def _row(name: str, field: FieldInfo) -> tuple[str, object, str]:
    default = (",".join(field.default) or None) if isinstance(field.default, tuple) else field.default
    return name, default, field.description or ""


def _parser() -> argparse.ArgumentParser:
    settings = "\n".join(
        f"  {name}  (default: {'unset' if default is None else default})\n      {meaning}"
        for name, default, meaning in _list_settings()
    )
    parser = argparse.ArgumentParser(
        prog="python -m service",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        description=(
            "Serve the models of a repository over HTTP: POST an image to /detect, or open the page at /.\n\n"
            "  SPARSIGHT_REPOSITORY=model_repository python -m service\n"
            "  curl --data-binary @photo.jpg 'http://127.0.0.1:8000/detect?conf=0.4&top_k=2'"
        ),
        epilog=f"Settings are environment variables; HOST and PORT work as well:\n\n{settings}",
    )
    parser.add_argument("--version", action="version", version=f"sparsight {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    commands.add_parser("serve", help="start the server; this is the default command")
    add_commands(commands)
    add_novel_commands(commands)
    openapi = commands.add_parser("openapi", help="write openapi.json, the description of the HTTP API")
    openapi.add_argument("--output", type=Path, default=OPENAPI_FILE, help="file (default: %(default)s)")
    return parser


def _say_nothing(sentence: str) -> None:
    """Do nothing: with log_format=json, sentences for people are not printed."""


def _say(sentence: str) -> None:
    write_to_stderr(f"sparsight: {sentence}\n".encode(errors="backslashreplace"))


if __name__ == "__main__":
    sys.exit(main())
