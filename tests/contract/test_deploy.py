"""docker-compose.yml and the Dockerfiles, checked with docker-compose and hadolint."""

import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from service.settings import ENV_PREFIX, Settings

ROOT = Path(__file__).resolve().parents[2]
BIN = Path(sys.executable).parent
PROFILES = ("cpu", "gpu")
DOCKERFILES = sorted((ROOT / "deploy" / "docker").glob("*.Dockerfile"))
OURS = "sparsight-"  # images that are built here; every other one is pulled
# Whoever asks for a version must get the one that was looked at.
PINNED = re.compile(r"[\w./-]+:v?\d+(\.\d+)+[\w.-]*|[\w./-]+:\d\d\.\d\d-py3")


def tool(name):
    path = BIN / name
    if not path.exists():
        pytest.skip(f"{name} is not installed; it comes with the dev extra")
    return path


def compose(profile, **variables):
    """Return the stack of a profile, as docker-compose parses it."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
    done = subprocess.run(
        [tool("docker-compose"), f"--env-file={os.devnull}", "--profile", profile, "config", "--format=json"],
        cwd=ROOT, env={**kept, **variables}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert not done.stderr, done.stderr  # a variable without a value is only a warning
    return json.loads(done.stdout)


@pytest.fixture(scope="module", params=PROFILES)
def stack(request):
    return compose(request.param)


@pytest.fixture
def services(stack):
    return stack["services"]


def environment_names(part=Settings, prefix=ENV_PREFIX):
    """Return the names of the environment variables that the service reads."""
    for name, field in part.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            yield from environment_names(field.annotation, f"{prefix}{name.upper()}__")
        else:
            yield f"{prefix}{name.upper()}"


def base_images(dockerfile):
    return re.findall(r"^FROM (\S+)", dockerfile.read_text(), re.MULTILINE)


# ---- the stack -----------------------------------------------------------------------------------------


def test_without_a_profile_nothing_starts_and_with_one_the_whole_stack_does():
    started = {profile: set(compose(profile)["services"]) for profile in PROFILES}
    watching = {"prometheus", "alertmanager", "grafana"}
    assert started["cpu"] == {"gateway", "triton"} | watching
    assert started["gpu"] == {"gateway-gpu", "triton-gpu", "tensorrt-build"} | watching
    assert not compose("none")["services"]


def test_every_image_is_pinned(services):
    for service in services.values():
        assert PINNED.fullmatch(service["image"]), service["image"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_every_base_image_is_pinned(path):
    for image in base_images(path):
        assert PINNED.fullmatch(image), image


def test_plans_are_built_by_the_release_that_serves_them():
    built = compose("gpu")["services"]["tensorrt-build"]["image"]
    (serves,) = base_images(ROOT / "deploy" / "docker" / "triton.Dockerfile")
    assert built.rpartition(":")[2] == serves.rpartition(":")[2]


def test_everything_that_is_mounted_or_built_from_exists(services):
    for service in services.values():
        for volume in service["volumes"]:
            if volume["type"] == "bind":
                assert Path(volume["source"]).exists(), volume
                assert Path(volume["source"]).is_relative_to(ROOT)
        if build := service.get("build"):
            assert service["image"].startswith(OURS)
            assert (ROOT / build["dockerfile"]).is_file()


def test_only_the_builder_of_plans_may_write_into_the_model_repository(services):
    for name, service in services.items():
        for volume in service["volumes"]:
            if volume["source"].endswith("model_repository"):
                assert volume.get("read_only", False) == (name != "tensorrt-build"), name


def test_everything_listens_on_loopback_only_unless_told_otherwise(services):
    ports = [port for service in services.values() for port in service.get("ports", ())]
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}
    published = [port["published"] for port in ports]
    assert len(set(published)) == len(published)
    opened = compose("cpu", GATEWAY_BIND="0.0.0.0", GATEWAY_PORT="80")["services"]
    (port,) = opened["gateway"]["ports"]
    assert (port["host_ip"], port["published"]) == ("0.0.0.0", "80")
    assert {port["host_ip"] for port in opened["triton"]["ports"]} == {"127.0.0.1"}


def test_no_service_has_more_rights_than_it_needs(services):
    needed = {"tensorrt-build": ["DAC_OVERRIDE", "CHOWN"]}
    for name, service in services.items():
        assert service["cap_drop"] == ["ALL"], name
        assert service.get("cap_add", []) == needed.get(name, []), name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert "privileged" not in service
        if name != "tensorrt-build":  # must write beside models whoever owns them
            assert re.fullmatch(r"[1-9]\d*:\d+", service["user"]), name
            assert service.get("read_only", False) == (name != "triton-gpu"), name


def test_every_service_has_limits_and_all_but_the_builder_a_health_check(services):
    for name, service in services.items():
        limits = service["deploy"]["resources"]["limits"]
        assert {"memory", "pids"} <= set(limits), name
        if name != "tensorrt-build":
            assert service["healthcheck"]["test"], name
            assert service["restart"] == "unless-stopped"


def test_a_limit_on_cores_may_be_a_fraction_and_the_engines_read_it_by_themselves():
    """tests/unit/service/test_cores.py and test_openvino_threads.py test how they read it."""
    services = compose("cpu", GATEWAY_CPUS="4", TRITON_CPUS="2.5")["services"]
    assert float(services["gateway"]["deploy"]["resources"]["limits"]["cpus"]) == 4
    assert float(services["triton"]["deploy"]["resources"]["limits"]["cpus"]) == 2.5
    assert not [name for name in services["gateway"]["environment"] if "THREADS" in name]


def test_nothing_that_looks_like_a_secret_is_written_down():
    written = [path for path in (ROOT / "deploy").rglob("*.y*ml") if "helm" not in path.parts]
    for path in [ROOT / "docker-compose.yml", *written, *DOCKERFILES]:  # the chart has names of Secrets only
        text = path.read_text().replace("automountServiceAccountToken: false", "")
        assert not re.search(r"(password|secret|token|api_?key)\W*[:=]\s*\S", text, re.I), path


# ---- the stack and the service -----------------------------------------------------------------------------


def gateway_environments():
    return [compose("cpu")["services"]["gateway"], compose("gpu")["services"]["gateway-gpu"]]


def test_every_setting_that_the_stack_gives_the_gateway_exists_and_is_accepted(monkeypatch):
    of_tracing = set(re.findall(r"\bOTEL_[A-Z_]+", (ROOT / "service" / "README.md").read_text()))
    known = {*environment_names(), *of_tracing, "HOST", "PORT"}
    for service in gateway_environments():
        assert set(service["environment"]) <= known
        for name, value in service["environment"].items():
            monkeypatch.setenv(name, value)
        settings = Settings()
        assert settings.repository == Path("/models")
        assert list(settings.backends) == ["triton", "openvino"]


def test_the_gateway_asks_the_triton_that_stands_beside_it():
    for profile, suffix, target in (("cpu", "", "openvino"), ("gpu", "-gpu", "tensorrt")):
        services = compose(profile)["services"]
        environment = services[f"gateway{suffix}"]["environment"]
        assert environment["SPARSIGHT_TRITON__TARGET"] == target
        host, _, port = environment["SPARSIGHT_TRITON__URL"].partition(":")
        triton = services[f"triton{suffix}"]
        aliases = (triton.get("networks", {}).get("default") or {}).get("aliases", [])
        assert host in [f"triton{suffix}", *aliases]
        assert int(port) in [published["target"] for published in triton["ports"]]


def test_prometheus_scrapes_services_of_both_stacks_where_they_listen():
    scraped = yaml.safe_load((ROOT / "deploy" / "prometheus" / "prometheus.yml").read_text())[
        "scrape_configs"
    ]
    addresses = {job["job_name"]: job["static_configs"][0]["targets"] for job in scraped}
    assert addresses == {
        "gateway": [f"gateway:{Settings.model_fields['port'].default}"],
        "triton": ["triton:8002"],  # tritonserver's default for metrics
        "prometheus": ["localhost:9090"],
        "alertmanager": ["alertmanager:9093"],
    }
    gpu = compose("gpu")["services"]
    assert gpu["gateway-gpu"]["networks"]["default"]["aliases"] == ["gateway"]
    assert gpu["triton-gpu"]["networks"]["default"]["aliases"] == ["triton"]


def test_a_gateway_that_stops_gets_its_shutdown_time():
    for service in gateway_environments():
        seconds = int(service["stop_grace_period"].removesuffix("s"))
        assert seconds > Settings.model_fields["shutdown_timeout_s"].default


# ---- Dockerfiles -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_hadolint_finds_nothing(path):
    done = subprocess.run([tool("hadolint"), "--no-color", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_an_image_ends_as_a_numbered_user_who_is_not_root(path):
    users = re.findall(r"^USER (\S+)", path.read_text(), re.MULTILINE)
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1])
    assert "HOME=/tmp" in path.read_text()  # a user without a name has none, and OpenVINO asks for it


@pytest.mark.parametrize("path", DOCKERFILES, ids=lambda path: path.stem)
def test_what_an_image_copies_exists_and_reaches_the_builder(path):
    allowed = [line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")]
    for line in re.findall(r"^COPY (?!--from)(.+)", path.read_text(), re.MULTILINE):
        for source in shlex.split(line)[:-1]:
            assert (ROOT / source).exists(), source
            name = source.rstrip("/")
            assert any(name == other or name.startswith(f"{other}/") for other in allowed), source


def test_the_triton_image_installs_what_was_tested_with_a_real_triton():
    image = (ROOT / "deploy" / "docker" / "triton.Dockerfile").read_text()
    tested = (ROOT / "tests" / "triton" / "requirements.txt").read_text().split("\n")
    installed = re.findall(r"[\w-]+==[\w.]+", image)
    assert {"numpy", "openvino"} <= {pin.partition("==")[0] for pin in installed}
    assert set(installed) <= set(tested)
    assert set(installed) - {"numpy==1.26.4"} <= set((ROOT / "constraints.txt").read_text().splitlines())
