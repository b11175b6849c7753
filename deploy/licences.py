"""List the licences of the software in the images, and refuse unknown ones: `python deploy/licences.py`.

The script writes deploy/LICENCES.md. It takes the packages and their licences from the list that
deploy/sbom.py makes. It finds the shared libraries and the compiled code inside the installed packages, and
looks up their licences in deploy/licences.toml. It fails if a licence is missing there or is not allowed.
"""
# ruff: noqa: T201 - a command line tool

import re
import sys
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatch
from functools import cache
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

from license_expression import AND, OR, ExpressionError, LicenseExpression, Licensing, get_spdx_licensing
from packaging.utils import canonicalize_name

if __package__ in (None, ""):  # started as a script
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from deploy.sbom import DOCKERFILE, ROOT, bill_of, components_of, python_of, shipped

KNOWN = ROOT / "deploy" / "licences.toml"
LISTED = ROOT / "deploy" / "LICENCES.md"
TRITON = ROOT / "deploy" / "docker" / "triton.Dockerfile"
NOT_STATED = "not stated"
_LIBRARY = re.compile(r"\.so(\.\d+)*$")
_IMPORTED = re.compile(r"\.(cpython-\d+-[\w-]+|abi3)\.so$")

HEAD = """# Licences of what is shipped

`make sbom` writes this file, and a test compares it with the installed packages. Packages say their licence
themselves, or [licences.toml](licences.toml) says it for them. The licences of libraries inside packages were
looked up by hand; "said in" names the file of the package, or says that the package does not tell. Nobody has
checked that each part of a library has the licence that its package states. A `LicenseRef` is a licence
without a name in the SPDX list: Intel's lets everybody use its binaries and pass them on unchanged.

The libraries are those of the wheels for the Python that ran the command: 3.11, on Linux and x86-64.

Not listed here are: the packages of Debian in the gateway's base image, which `dpkg-query` and
`/usr/share/doc/*/copyright` in that image list, among them the GNU C library (LGPL) and bash (GPL);
NVIDIA's Triton image, to which NVIDIA's own licence applies; and the images of Prometheus and Grafana.
Grafana is under the AGPL. It runs beside the gateway, unchanged, and nothing of it is in our images.
"""


@dataclass(frozen=True)
class Row:
    """A row of the list: a package, library or file that is shipped, and its licence."""

    where: str  # the package or the image
    what: str
    licence: str  # SPDX expression
    said_in: str = ""
    is_file: bool = False  # whether it is a separate file, which a user can exchange


def main() -> int:
    """Write the list, print a sentence for each refused licence, and return the exit code."""
    known = tomllib.loads(KNOWN.read_text())
    packages = shipped(ROOT / "pyproject.toml", python_of(DOCKERFILE))
    tables = tables_of(packages, bill_of(packages, known["packages"]), known)
    LISTED.write_text(listed(tables))
    wrong = refused((row for rows in tables.values() for row in rows), known)
    for sentence in wrong:
        print(sentence, file=sys.stderr)
    print(f"{LISTED}: {sum(map(len, tables.values()))} rows, {len(wrong)} refused")
    return 1 if wrong else 0


def tables_of(packages: Sequence[Distribution], bill: str, known: dict[str, Any]) -> dict[str, list[Row]]:
    """Return the rows of each table of the list, by the title of the table.

    Args:
        packages: the packages of the gateway.
        bill: the CycloneDX list of these packages.
        known: the content of licences.toml.
    """
    return {
        "Python packages of the gateway": package_rows(bill),
        "Shared libraries inside these packages": list(library_rows(packages, known)),
        "Compiled into these packages": list(compiled_rows(packages, known)),
        "Scripts of the page /docs, inside fastapi-offline": list(script_rows(packages, known)),
        "Added to NVIDIA's Triton image": list(triton_rows(TRITON.read_text(), known)),
    }


def listed(tables: dict[str, list[Row]]) -> str:
    """Return the list as Markdown."""
    parts = [HEAD]
    for title, rows in tables.items():
        said = any(row.said_in for row in rows)
        parts.append(
            f"\n## {title}\n\n| in | what | licence |{' said in |' * said}\n|---|---|---|{'---|' * said}\n"
        )
        for row in rows:
            parts.append(f"| {row.where} | {row.what} | {row.licence} |{f' {row.said_in} |' * said}\n")
    return "".join(parts)


def package_rows(bill: str) -> list[Row]:
    """Return a row for each package of a CycloneDX list."""
    return [Row(one["name"], one["version"], _licence_of(one), is_file=True) for one in components_of(bill)]


def _licence_of(component: dict[str, Any]) -> str:
    stated = [
        entry.get("expression") or entry["license"].get("id") for entry in component.get("licenses", ())
    ]
    return " AND ".join(text for text in stated if text) or NOT_STATED


def library_rows(packages: Iterable[Distribution], known: dict[str, Any]) -> Iterator[Row]:
    """Yield a row for each shared library inside packages; the licence of an unknown one is NOT_STATED."""
    for package in packages:
        name = canonicalize_name(package.metadata["Name"])
        for file in sorted(path.name for path in package.files or () if _LIBRARY.search(path.name)):
            if _IMPORTED.search(file):
                continue
            patterns = known["libraries"].get(name, {})
            matching = (found for pattern, found in patterns.items() if fnmatch(file, pattern))
            what, licence, said_in = next(matching, ("", NOT_STATED, ""))
            # Wheels add a meaningless checksum to the name.
            plain = re.sub(r"-[0-9a-f]{8}(?=[-.])", "", file)
            yield Row(name, f"{plain}: {what}" if what else plain, licence, said_in, is_file=True)


def compiled_rows(packages: Iterable[Distribution], known: dict[str, Any]) -> Iterator[Row]:
    """Yield a row for each package with compiled code."""
    for package in packages:
        name = canonicalize_name(package.metadata["Name"])
        if any(_IMPORTED.search(path.name) for path in package.files or ()):
            what, licence = known["compiled"].get(name, ("compiled code", NOT_STATED))
            yield Row(name, what, licence)


def script_rows(packages: Iterable[Distribution], known: dict[str, Any]) -> Iterator[Row]:
    """Yield a row for each file of the page /docs."""
    for package in packages:
        if canonicalize_name(package.metadata["Name"]) == "fastapi-offline":
            for path in sorted(package.files or ()):
                if "static" in path.parts:
                    what, licence = known["scripts"].get(path.name, ("", NOT_STATED))
                    yield Row("fastapi-offline", f"{path.name}: {what}", licence)


def triton_rows(dockerfile: str, known: dict[str, Any]) -> Iterator[Row]:
    """Yield a row for each package that a Dockerfile installs."""
    for name, version in re.findall(r"\b([a-z][a-z0-9-]*)==([0-9][\w.]*)", dockerfile):
        yield Row(name, version, known["triton"].get(name, NOT_STATED), is_file=True)


def refused(rows: Iterable[Row], known: dict[str, Any]) -> list[str]:
    """Return a sentence for each row whose licence is unknown or not allowed."""
    sentences = []
    for row in rows:
        allowed = {*known["allowed"], *(known["allowed_as_files"] if row.is_file else ())}
        if row.licence == NOT_STATED:
            sentences.append(f"{row.where}: {row.what} has no licence; add it to deploy/licences.toml")
        elif not is_allowed(row.licence, allowed):
            sentences.append(f"{row.where}: {row.what} has a licence that is not allowed: {row.licence}")
    return sentences


@cache
def _spdx() -> Licensing:
    """Return the parser of SPDX expressions, which takes a second to build."""
    return get_spdx_licensing()


def is_allowed(expression: str, allowed: Iterable[str]) -> bool:
    """Return whether allowed licences fulfil an SPDX expression; return False for an unknown expression."""
    try:
        parsed = _spdx().parse(expression)
    except ExpressionError:
        return False
    return parsed is not None and _holds(parsed, set(allowed))


def _holds(expression: LicenseExpression, allowed: set[str]) -> bool:
    parts: Sequence[LicenseExpression] = expression.args
    if isinstance(expression, OR):
        return any(_holds(part, allowed) for part in parts)
    if isinstance(expression, AND):
        return all(_holds(part, allowed) for part in parts)
    return str(expression) in allowed


if __name__ == "__main__":
    sys.exit(main())
