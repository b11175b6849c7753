"""A certificate authority of the tests, and a certificate for the host of the images."""

import pytest
import trustme

from tests.https_server import HOST


@pytest.fixture(scope="module")
def authority():
    return trustme.CA()


@pytest.fixture(scope="module")
def certificate(authority):
    return authority.issue_cert(HOST)


@pytest.fixture
def ca(authority, tmp_path):
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    return tmp_path / "ca.pem"
