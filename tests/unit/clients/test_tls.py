"""TLS files are checked before a connection is opened."""

import pytest

from clients.errors import BadParameter
from clients.rest import AsyncRestClient, RestClient
from clients.tls import Tls
from clients.triton import TritonClient


@pytest.fixture
def no_pem(tmp_path):
    path = tmp_path / "some.pem"
    path.write_text("not a certificate")
    return path


@pytest.mark.parametrize("name", ["ca_file", "cert_file", "key_file"])
def test_a_missing_file_is_named(tmp_path, no_pem, name):
    files = {"cert_file": no_pem, "key_file": no_pem} | {name: tmp_path / "gone.pem"}
    with pytest.raises(BadParameter, match=f"{name}: there is no file .*gone.pem"):
        Tls(**files)


@pytest.mark.parametrize("name", ["cert_file", "key_file"])
def test_certificate_and_key_belong_together(no_pem, name):
    with pytest.raises(BadParameter, match="give both or neither"):
        Tls(**{name: no_pem})


def test_a_file_that_holds_no_certificate_is_refused_by_http_at_once(no_pem):
    with pytest.raises(BadParameter, match="the tls files cannot be used"):
        TritonClient("127.0.0.1:1", protocol="http", tls=Tls(ca_file=no_pem))
    for make in (RestClient, AsyncRestClient):
        with pytest.raises(BadParameter, match="the tls files cannot be used"):
            make("https://127.0.0.1:1", tls=Tls(ca_file=no_pem))
