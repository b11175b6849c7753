"""Settings are read from the environment, and invalid values are refused."""

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
        ("onnx,triton,openvino", ("onnx", "triton", "openvino")),
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


def test_onnx_runtime_has_settings_of_its_own(monkeypatch):
    monkeypatch.setenv("SPARSIGHT_ONNX__TARGET", "npu")
    monkeypatch.setenv("SPARSIGHT_ONNX__INTRA_OP_THREADS", "2")
    settings = Settings()
    assert (settings.onnx.target, settings.onnx.intra_op_threads, settings.target) == ("npu", 2, "openvino")


@pytest.mark.parametrize(
    "onnx", [{"target": "openvino"}, {"device": "tpu"}, {"intra_op_threads": -1}, {"inter_op_threads": 0}]
)
def test_what_onnx_runtime_cannot_do_is_refused(onnx):
    with pytest.raises(ValidationError):
        Settings(onnx=onnx)


@pytest.mark.parametrize(
    ("text", "origins"),
    [
        ("", ()),
        ("*", ("*",)),
        ("https://app.example, http://localhost:5173", ("https://app.example", "http://localhost:5173")),
        (
            "HTTPS://App.Example:443,http://a:80,https://b:80",
            ("https://app.example", "http://a", "https://b:80"),
        ),
        ("http://[::1]:3000,capacitor://localhost", ("http://[::1]:3000", "capacitor://localhost")),
    ],
)
def test_origins_are_written_as_browsers_send_them(monkeypatch, text, origins):
    monkeypatch.setenv("SPARSIGHT_CORS_ORIGINS", text)
    assert Settings().cors_origins == origins


@pytest.mark.parametrize(
    "text",
    ["https://app.example/", "app.example", "null", "https://*.example", "*,https://a.example", "https://a,"],
)
def test_origins_that_no_browser_sends_are_refused(monkeypatch, text):
    monkeypatch.setenv("SPARSIGHT_CORS_ORIGINS", text)
    with pytest.raises(ValidationError):
        Settings()


def test_access_is_set_by_names_with_two_underscores(monkeypatch):
    monkeypatch.setenv("SPARSIGHT_ACCESS__KEYS_FILE", "keys.json")
    assert Settings().access.is_on
    monkeypatch.delenv("SPARSIGHT_ACCESS__KEYS_FILE")
    assert not Settings().access.is_on
    assert not Settings(admin_token="secret" * 3).access.is_on


@pytest.mark.parametrize(
    "access",
    [
        {"jwks_file": "jwks.json"},
        {"jwks_file": "jwks.json", "jwt_issuer": "me"},
        {"keys_file": "keys.json", "jwt_issuer": "me", "jwt_audience": "you"},
        {"jwks_file": "jwks.json", "jwt_issuer": "", "jwt_audience": "you"},
        {"audit_file": "audit.jsonl"},
        {"keys": "keys.json"},
    ],
)
def test_access_that_is_not_whole_is_refused(access):
    with pytest.raises(ValidationError):
        Settings(access=access)


def test_a_short_token_is_refused_and_no_token_is_printed():
    with pytest.raises(ValidationError):
        Settings(admin_token="x" * 15)
    assert Settings(admin_token="").admin_token is None
    assert "secret" not in repr(Settings(admin_token="secret" * 3))


@pytest.mark.parametrize(
    ("text", "hosts"),
    [
        ("", ()),
        ("images.example.org", ("images.example.org:443",)),
        (" Images.Example.org. , b.example:8443", ("images.example.org:443", "b.example:8443")),
        ("*.example.org,*.example.org:65535", ("*.example.org:443", "*.example.org:65535")),
        ("localhost,xn--bcher-kva.example:1", ("localhost:443", "xn--bcher-kva.example:1")),
        ("192.0.2.1,[2001:DB8:0::1]:8443", ("192.0.2.1:443", "[2001:db8::1]:8443")),
        ("a1.example.0xyz", ("a1.example.0xyz:443",)),
    ],
)
def test_hosts_to_fetch_from_are_written_with_their_port(monkeypatch, text, hosts):
    monkeypatch.setenv("SPARSIGHT_FETCH__HOSTS", text)
    assert Settings().fetch.hosts == hosts


@pytest.mark.parametrize(
    "text",
    [
        "*", "*.org", "*.", "a.*.example", "*a.example", "https://a.example", "a.example/x", "a.example:0",
        "a.example:65536", "a.example:", "me@a.example", "bücher.example", "a..example", ".a.example", "a,",
        "127.1", "0x7f.1", "0x7f000001", "2130706433", "0177.0.0.1", "1.2.3.4.5", "[::1", "::1",
        "[127.0.0.1]", "[fe80::1%eth0]",
    ],
)  # fmt: skip
def test_what_is_no_host_to_fetch_from_is_refused(monkeypatch, text):
    monkeypatch.setenv("SPARSIGHT_FETCH__HOSTS", text)
    with pytest.raises(ValidationError):
        Settings()


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"tls": {"cert": "a"}}, "cert and key belong together"),
        ({"tls": {"key": "a"}}, "cert and key belong together"),
        ({"tls": {"client_ca": "a"}}, "client_ca is set, but cert is not"),
        ({"port": 9000, "admin_port": 9000}, "admin_port must be another port"),
        ({"max_connections": 0}, "greater than or equal to 1"),
    ],
)
def test_ports_and_files_that_do_not_go_together_are_refused(wrong, words):
    with pytest.raises(ValidationError, match=words):
        Settings(**wrong)


def test_both_ports_may_be_free_ones():
    assert Settings(port=0, admin_port=0).admin_host == "127.0.0.1"
