"""Settings come from the environment, and are refused where they cannot be meant."""

import pytest
from pydantic import ValidationError

from service.settings import Settings


@pytest.mark.parametrize(
    ("text", "backends"),
    [
        ("openvino", ("openvino",)),
        ("triton", ("triton",)),
        ("triton,openvino", ("triton", "openvino")),
        (" openvino , triton ", ("openvino", "triton")),
    ],
)
def test_backends_are_a_list_with_commas(monkeypatch, text, backends):
    monkeypatch.setenv("SPARSIGHT_BACKENDS", text)
    assert Settings().backends == backends


@pytest.mark.parametrize("text", ["", "cuda", "triton,triton", "openvino,"])
def test_other_backends_are_refused(monkeypatch, text):
    monkeypatch.setenv("SPARSIGHT_BACKENDS", text)
    with pytest.raises(ValidationError):
        Settings()


def test_triton_and_the_breaker_are_set_by_names_with_two_underscores(monkeypatch):
    monkeypatch.setenv("SPARSIGHT_TRITON__URL", "triton:8001")
    monkeypatch.setenv("SPARSIGHT_TRITON__SHARED_MEMORY", "true")
    monkeypatch.setenv("SPARSIGHT_BREAKER__FAILURES", "5")
    settings = Settings()
    assert (settings.triton.url, settings.triton.shared_memory) == ("triton:8001", True)
    assert settings.breaker.failures == 5


@pytest.mark.parametrize(
    "triton",
    [
        {"url": "http://triton:8001"},
        {"url": "triton"},
        {"target": "cuda"},
        {"tls_ca": "ca.pem"},
        {"tls": True, "tls_cert": "cert.pem"},
        {"max_inflight": 0},
    ],
)
def test_what_cannot_be_meant_is_refused(triton):
    with pytest.raises(ValidationError):
        Settings(triton=triton)
