"""Every backend of the settings is in the table, and serves a target that it can run."""

import pytest

from service.backends.table import BACKENDS
from service.settings import BACKEND_NAMES, Settings


def test_the_table_has_a_row_for_every_name_and_no_other():
    assert set(BACKENDS) == set(BACKEND_NAMES)


@pytest.mark.parametrize("name", BACKEND_NAMES)
def test_a_backend_serves_a_target_that_it_can_run(name):
    kind = BACKENDS[name]
    assert kind.target(Settings()) in kind.runs


def test_the_limit_of_a_backend_is_the_one_of_its_settings():
    settings = Settings(workers=3, triton={"max_inflight": 7})
    limits = {name: kind.limit(settings) for name, kind in BACKENDS.items()}
    assert limits == {"openvino": 5, "onnx": 5, "triton": 7}  # in process, two more are prepared meanwhile


def test_only_a_server_has_models_of_its_own():
    assert [name for name, kind in BACKENDS.items() if kind.open is None] == ["triton"]
