"""What is shipped: the lowest safe versions, the list of the gateway's packages, and every licence."""

import json
import re
import sys
import tomllib
from importlib.metadata import Distribution
from itertools import chain
from pathlib import Path

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from deploy import licences, sbom

ROOT = Path(__file__).resolve().parents[2]
PYPROJECT = ROOT / "pyproject.toml"
FLOOR = re.compile(r'^\s*"([\w-]+)[^"]*>=[^"]*",?(.*)$', re.MULTILINE)
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="the image is for Linux, and so are its wheels")


@pytest.fixture(scope="module")
def known():
    return tomllib.loads(licences.KNOWN.read_text())


@pytest.fixture(scope="module")
def packages():
    return sbom.shipped(PYPROJECT, sbom.python_of(sbom.DOCKERFILE))


@pytest.fixture(scope="module")
def bill(packages, known):
    return sbom.bill_of(packages, known["packages"])


def requirements():
    project = tomllib.loads(PYPROJECT.read_text())["project"]
    texts = chain(project["dependencies"], *project["optional-dependencies"].values())
    return [Requirement(text) for text in texts]


def pins():
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    return {canonicalize_name(name): version for name, _, version in (line.partition("==") for line in lines)}


def too_old(wanted, pinned):
    """Return the names whose pinned version is older than wanted."""
    return [
        one.name
        for one in wanted
        if not one.specifier.contains(pinned[canonicalize_name(one.name)], prereleases=True)
    ]


def test_the_tested_versions_are_not_older_than_the_lowest_safe_ones():
    floors = [one for one in requirements() if one.specifier]
    assert len(floors) >= 9
    assert too_old(floors, pins()) == []


def test_an_older_version_is_found():
    pinned = pins() | {"starlette": "1.0.0"}
    assert too_old(requirements(), pinned) == ["starlette"]


def test_every_lowest_version_of_the_service_says_why():
    section = re.search(r"^serve = \[\n(.*?)^\]", PYPROJECT.read_text(), re.MULTILINE | re.DOTALL)
    floors = FLOOR.findall(section[1])
    assert len(floors) >= 9
    assert [name for name, comment in floors if len(comment.strip("# ")) < 10] == []


def test_the_list_names_every_package_of_the_image_with_version_and_licence(bill, packages):
    components = {canonicalize_name(one["name"]): one for one in sbom.components_of(bill)}
    assert {name: one["version"] for name, one in components.items()} == {
        canonicalize_name(one.metadata["Name"]): one.version for one in packages
    }
    for name, one in components.items():
        assert one["purl"] == f"pkg:pypi/{name}@{one['version']}"
        assert one["licenses"]
    serving = tomllib.loads(PYPROJECT.read_text())["project"]["optional-dependencies"]["serve"]
    assert {canonicalize_name(Requirement(text).name) for text in serving} <= components.keys()
    assert {"numpy", "grpcio", "pydantic-core", "anyio"} <= components.keys()  # needed indirectly
    assert not {name for name in components if "torch" in name or name in ("onnx", "pytest", "pip", "ruff")}


def test_the_list_has_the_versions_that_the_image_installs(bill):
    pinned = pins()
    for one in sbom.components_of(bill):
        assert pinned[canonicalize_name(one["name"])] == one["version"]


@pytest.mark.heavy
def test_the_list_is_the_same_each_time(bill, packages, known):
    assert sbom.bill_of(reversed(packages), known["packages"]) == bill


@pytest.mark.heavy
def test_the_schema_refuses_a_list_with_a_broken_package(bill):
    broken = json.loads(bill)
    del broken["components"][0]["name"]
    validator = JsonStrictValidator(SchemaVersion.V1_6)
    assert validator.validate_str(bill) is None
    assert validator.validate_str(json.dumps(broken)) is not None


def test_packages_that_another_python_needs_are_left_out():
    wanted = [Requirement("numpy"), Requirement("torch; python_version < '3.12'")]
    assert [one.metadata["Name"] for one in sbom.closure(wanted, "3.13.9")] == ["numpy"]


def test_the_file_of_licences_is_up_to_date_and_nothing_in_it_is_refused(packages, bill, known):
    tables = licences.tables_of(packages, bill, known)
    assert licences.refused(chain(*tables.values()), known) == []
    assert len(tables["Python packages of the gateway"]) == len(packages)
    if sys.platform == "linux" and sys.version_info[:2] == (3, 11):  # each Python has wheels of its own
        assert licences.LISTED.read_text() == licences.listed(tables)


@on_linux
def test_the_libraries_inside_the_packages_are_named(packages, known):
    rows = list(licences.library_rows(packages, known))
    named = " ".join(row.what for row in rows)
    for library in ("libavcodec", "libtbb.so", "libscipy_openblas64_", "libjpeg", "libonnxruntime.so"):
        assert library in named
    assert {row.where for row in rows} >= {
        "numpy",
        "opencv-python-headless",
        "openvino",
        "onnxruntime",
        "pillow",
    }


class Planted(Distribution):
    """A package that is not installed."""

    def __init__(self, folder: Path, licence: str, *files: str) -> None:
        self._folder = folder / "planted-1.0.dist-info"
        self._folder.mkdir(parents=True)
        record = "".join(f"{file},,\n" for file in (*files, "planted-1.0.dist-info/METADATA"))
        (self._folder / "RECORD").write_text(record)
        (self._folder / "METADATA").write_text(
            f"Metadata-Version: 2.4\nName: planted\nVersion: 1.0\nLicense-Expression: {licence}\n"
        )

    def read_text(self, filename):
        path = self._folder / filename
        return path.read_text() if path.exists() else None

    def locate_file(self, path):
        return self._folder.parent / path


@pytest.mark.parametrize(
    ("licence", "allowed"),
    [
        ("AGPL-3.0-only", False),
        ("GPL-3.0-or-later", False),
        ("MIT AND GPL-2.0-only", False),
        ("MIT OR AGPL-3.0-only", True),
        ("GPL-3.0-or-later WITH GCC-exception-3.1", True),
        ("LGPL-2.1-or-later", True),
        ("LicenseRef-mine", False),
    ],
)
def test_a_licence_is_refused_or_not(known, licence, allowed):
    row = licences.Row("planted", "1.0", licence, is_file=True)
    assert (licences.refused([row], known) == []) == allowed


@pytest.mark.heavy
def test_a_package_under_the_agpl_is_refused(tmp_path, known):
    planted = Planted(tmp_path, "AGPL-3.0-only")
    rows = licences.package_rows(sbom.bill_of([planted], known["packages"]))
    (sentence,) = licences.refused(rows, known)
    assert sentence == "planted: 1.0 has a licence that is not allowed: AGPL-3.0-only"


def test_a_new_library_or_compiled_package_without_a_known_licence_is_refused(tmp_path, known):
    files = (
        "planted.libs/libnew-0123abcd.so.1",
        "planted/fast.cpython-313-x86_64-linux-gnu.so",
        "planted/a.py",
    )
    planted = Planted(tmp_path, "MIT", *files)
    rows = [*licences.library_rows([planted], known), *licences.compiled_rows([planted], known)]
    assert licences.refused(rows, known) == [
        "planted: libnew.so.1 has no licence; add it to deploy/licences.toml",
        "planted: compiled code has no licence; add it to deploy/licences.toml",
    ]


def test_what_an_image_of_triton_adds_must_have_a_known_licence(known):
    dockerfile = licences.TRITON.read_text()
    assert licences.refused(licences.triton_rows(dockerfile, known), known) == []
    more = dockerfile.replace("numpy==1.26.4", "numpy==1.26.4 planted==1.0")
    (sentence,) = licences.refused(licences.triton_rows(more, known), known)
    assert sentence.startswith("planted: 1.0 has no licence")


def test_linked_code_under_the_lgpl_is_refused_where_it_cannot_be_exchanged(known):
    rows = [licences.Row("planted", "", "LGPL-2.1-or-later", is_file=is_file) for is_file in (True, False)]
    assert len(licences.refused(rows[:1], known)) == 0
    assert len(licences.refused(rows[1:], known)) == 1
