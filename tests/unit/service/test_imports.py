"""The service imports neither torch nor pickle nor the packages `training` and `clients`."""

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PACKAGES = ("service", "training", "clients")


def imported_modules(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield node.module or ""


def test_the_running_service_holds_no_torch():
    modules = "service.app, service.__main__, service.serving.local_models, service.serving.triton_models"
    script = f"import sys, {modules}; sys.exit('torch' in sys.modules or 'training' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0


def test_triton_s_client_is_imported_only_where_triton_is_wanted():
    modules = "service.app, service.__main__, service.serving.local_models"
    script = f"import sys, {modules}; sys.exit('tritonclient' in sys.modules or 'grpc' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0


def test_what_checks_tokens_is_imported_only_where_tokens_are_wanted():
    script = (
        "import sys, service.app, service.__main__; sys.exit(bool({'jwt', 'cryptography'} & {*sys.modules}))"
    )
    assert subprocess.run([sys.executable, "-c", script], cwd=ROOT, check=False).returncode == 0


def test_behind_triton_no_engine_is_imported():
    script = "import sys, service.app, service.serving.triton_models; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, check=True, capture_output=True, text=True
    )
    assert not {"openvino", "onnxruntime"} & set(done.stdout.split())


def test_no_file_of_the_service_imports_pickle():
    forbidden = {"pickle", "dill", "joblib", "marshal", "shelve", "torch"}
    for path in (ROOT / "service").rglob("*.py"):
        assert not {name.partition(".")[0] for name in imported_modules(path)} & forbidden, path


@pytest.mark.parametrize("package", PACKAGES)
def test_the_packages_never_import_one_another(package):
    others = set(PACKAGES) - {package}
    for path in (ROOT / package).rglob("*.py"):
        assert not {name.partition(".")[0] for name in imported_modules(path)} & others, path


def test_inside_the_service_imports_point_down():
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(
        one["layers"] for one in contracts if one["name"] == "inside the service, imports point down"
    )
    rank = {
        name.strip(): i for i, layer in enumerate(layers) for name in layer.replace("service.", "").split("|")
    }
    for path in (ROOT / "service").rglob("*.py"):
        here = path.relative_to(ROOT / "service").parts[0].removesuffix(".py")
        if here == "__init__":
            continue
        for name in imported_modules(path):
            parts = name.split(".")
            if parts[0] == "service" and len(parts) > 1:
                assert rank[parts[1]] >= rank[here], f"{path} imports {name}"
