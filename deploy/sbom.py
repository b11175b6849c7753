"""List what the gateway's image installs: `python deploy/sbom.py gateway.cdx.json`, or `make sbom`.

The list is a software bill of materials (SBOM) in the JSON format of CycloneDX. The script starts from the
extras `serve` and `tracing` of pyproject.toml, and finds all packages that they need, directly or
indirectly, with the image's version of Python and its system. These packages must be installed here; nothing
is downloaded. CycloneDX's own tool writes the list, and the script checks the file against the schema of the
format. Debian's packages and the libraries inside wheels are not in this list; deploy/LICENCES.md names these
libraries.
"""
# ruff: noqa: T201 - a command line tool

import argparse
import json
import re
import subprocess
import sys
import tempfile
import tomllib
import venv
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path
from typing import Any

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
DOCKERFILE = ROOT / "deploy" / "docker" / "gateway.Dockerfile"
FORMAT = SchemaVersion.V1_6
EXTRAS = ("serve", "tracing")  # those that the image installs


def main(argv: Sequence[str] | None = None) -> int:
    """Write the file, and return the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("file", type=Path, nargs="?", default=Path("gateway.cdx.json"))
    args = parser.parse_args(argv)
    packages = shipped(ROOT / "pyproject.toml", python_of(DOCKERFILE))
    known = tomllib.loads((ROOT / "deploy" / "licences.toml").read_text())
    args.file.write_text(bill_of(packages, known["packages"]))
    print(f"{args.file}: {len(packages)} packages")
    return 0


def python_of(dockerfile: Path) -> str:
    """Return the Python version of a Dockerfile's base image, such as 3.13.9.

    Raises:
        ValueError: the base image is not an official Python image.
    """
    found = re.search(r"^FROM python:(\d+\.\d+\.\d+)-", dockerfile.read_text(), re.MULTILINE)
    if found is None:
        raise ValueError(f"{dockerfile} does not begin with an image of Python")
    return found[1]


def shipped(pyproject: Path, python: str) -> list[Distribution]:
    """Return the installed packages that the extras in EXTRAS need, sorted by name.

    Args:
        pyproject: the file with the requirements.
        python: the Python version for which requirements are evaluated; the system is Linux on x86-64.

    Raises:
        SystemExit: one of the packages is not installed here.
    """
    project = tomllib.loads(pyproject.read_text())["project"]
    extras = [text for extra in EXTRAS for text in project["optional-dependencies"][extra]]
    return closure(map(Requirement, [*project["dependencies"], *extras]), python)


def closure(wanted: Iterable[Requirement], python: str) -> list[Distribution]:
    """Return the installed packages that requirements need, directly and indirectly."""
    target: dict[str, Any] = dict(default_environment())
    target |= {"python_full_version": python, "sys_platform": "linux"}
    target |= {"python_version": python.rpartition(".")[0], "platform_machine": "x86_64"}
    target |= {"os_name": "posix", "platform_system": "Linux", "implementation_name": "cpython"}
    found: dict[str, Distribution] = {}
    seen: set[tuple[str, str]] = set()
    waiting = [(requirement, "") for requirement in wanted]
    while waiting:
        requirement, extra = waiting.pop()
        if requirement.marker is not None and not requirement.marker.evaluate({**target, "extra": extra}):
            continue
        try:
            package = distribution(requirement.name)
        except PackageNotFoundError:
            raise SystemExit(f"{requirement.name} is not installed; run `make test` once") from None
        name = canonicalize_name(requirement.name)
        found[name] = package
        for wished in ("", *requirement.extras):
            if (name, wished) not in seen:
                seen.add((name, wished))
                waiting += [(Requirement(text), wished) for text in package.requires or ()]
    return [found[name] for name in sorted(found)]


def bill_of(packages: Iterable[Distribution], licences: Mapping[str, str]) -> str:
    """Return the CycloneDX JSON of packages, which is valid and has the same order each time.

    Args:
        packages: the packages to list.
        licences: SPDX expressions, by package name, for packages that do not state one themselves.

    Raises:
        ValueError: the tool wrote a file that its schema does not allow.
    """
    with tempfile.TemporaryDirectory() as folder:
        # The tool lists whole environments. This one has only links to the metadata of these packages.
        venv.create(folder, with_pip=False, symlinks=True)
        (site,) = Path(folder).glob("lib/python*/site-packages")
        for package in packages:
            metadata = _metadata_folder(package)
            (site / metadata.name).symlink_to(metadata)
        tool = [sys.executable, "-m", "cyclonedx_py", "environment", "--output-reproducible", "--short-PURLs"]
        tool += ["--spec-version", FORMAT.to_version(), "--output-format", "JSON", folder]
        text = subprocess.run(tool, check=True, capture_output=True, text=True).stdout
    text = _with_licences(text, licences)
    if (wrong := JsonStrictValidator(FORMAT).validate_str(text)) is not None:
        raise ValueError(f"the list is not valid CycloneDX: {wrong}")
    return text


def _with_licences(text: str, licences: Mapping[str, str]) -> str:
    bill = json.loads(text)
    for component in bill["components"]:
        if (licence := licences.get(canonicalize_name(component["name"]))) is not None:
            component["licenses"] = [{"expression": licence, "acknowledgement": "concluded"}]
        elif "licenses" in component:  # drop entries that repeat an SPDX licence in other words
            stated = [
                one for one in component["licenses"] if "id" in one.get("license", one) or "expression" in one
            ]
            component["licenses"] = stated or component["licenses"]
    return json.dumps(bill, indent=2) + "\n"


def _metadata_folder(package: Distribution) -> Path:
    path = Path(str(package.locate_file(""))).resolve()
    name = re.sub(r"[-_.]+", "_", package.metadata["Name"])
    for folder in path.glob(f"*-{package.version}.dist-info"):
        if re.sub(r"[-_.]+", "_", folder.name.rpartition("-" + package.version)[0]).lower() == name.lower():
            return folder
    raise ValueError(f"{package.metadata['Name']} has no description in {path}")


def components_of(text: str) -> list[dict[str, Any]]:
    """Return the components of CycloneDX JSON."""
    components: list[dict[str, Any]] = json.loads(text)["components"]
    return components


if __name__ == "__main__":
    sys.exit(main())
