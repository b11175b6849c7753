"""Only packages that a machine lacks are unpacked from wheels."""

import zipfile

import pytest

from tests.gpu import wheels
from tests.gpu.wheels import PYTHON, WheelMissing, unpack_lacking

TAG = f"cp{PYTHON.replace('.', '')}"


def write_wheel(folder, name, module):
    folder.mkdir(exist_ok=True)
    with zipfile.ZipFile(folder / name, "w") as wheel:
        wheel.writestr(f"{module}/__init__.py", "")


@pytest.fixture
def travelling(monkeypatch):
    monkeypatch.setattr(wheels, "TRAVELLING", {"no_such_module_here": "No-Such", "json": "json"})


def test_only_what_is_lacking_is_unpacked(travelling, tmp_path):
    write_wheel(
        tmp_path / "wheels", f"no_such-1.0-{TAG}-{TAG}-manylinux_2_28_x86_64.whl", "no_such_module_here"
    )
    assert unpack_lacking(tmp_path / "wheels", tmp_path / "site") == ["No-Such"]
    assert [path.name for path in (tmp_path / "site").iterdir()] == ["no_such_module_here"]


def test_a_wheel_for_any_python_3_will_do(travelling, tmp_path):
    write_wheel(tmp_path / "wheels", "no_such-1.0-py3-none-any.whl", "no_such_module_here")
    assert unpack_lacking(tmp_path / "wheels", tmp_path / "site") == ["No-Such"]


def test_a_wheel_for_another_python_is_not_used(travelling, tmp_path):
    write_wheel(tmp_path / "wheels", "no_such-1.0-cp27-cp27-linux_x86_64.whl", "no_such_module_here")
    with pytest.raises(
        WheelMissing, match=rf"lacks No-Such, .* for Python {PYTHON}: pack again with --python"
    ):
        unpack_lacking(tmp_path / "wheels", tmp_path / "site")
    assert not (tmp_path / "site").exists()
