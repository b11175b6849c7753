"""The client, its command and `evaluate --url` at a service that asks for keys."""

import asyncio

import pytest

from clients import AsyncRestClient, RestClient
from clients.command import main
from clients.errors import BadParameter, KeyRefused, LimitReached
from service.access.keys import Key, as_text, hash_of, new_key
from service.guard_settings import AccessSettings
from tests.builders import build_artifact, golden_image, image_bytes
from tests.integration.service.conftest import serve
from training.evaluate.detections import DetectConfig
from training.evaluate.remote import RemoteDetector, ServiceError

RED = image_bytes(golden_image())
LIMITS = {"detect": {}, "metrics": {}, "slow": {"rate": 1}, "small": {"quota": 1}}
KEYS = {name: new_key() for name in LIMITS}


@pytest.fixture(scope="module")
def url(tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    listed = [
        Key(
            name=name,
            sha256=hash_of(KEYS[name].encode()),
            scopes=("metrics" if name == "metrics" else "detect",),
            **limits,
        )
        for name, limits in LIMITS.items()
    ]
    (folder / "keys.json").write_text(as_text(listed))
    repository = build_artifact(folder / "repository").repository
    with serve(repository=repository, access=AccessSettings(keys_file=folder / "keys.json")) as running:
        while running.client.get("/readyz").status_code != 200:
            pass
        yield running.url


@pytest.fixture(autouse=True)
def no_key_of_the_user(monkeypatch):
    monkeypatch.delenv("SPARSIGHT_API_KEY", raising=False)


def refused(url, kind, key, times=1):
    with RestClient(url, api_key=key) as client:
        for _ in range(times - 1):
            client.detect(RED)
        with pytest.raises(kind) as error:
            client.detect(RED)
    assert key is None or key not in str(error.value)
    return error.value


def test_a_client_with_a_key_is_answered(url):
    with RestClient(url, api_key=KEYS["detect"]) as client:
        assert len(client.detect(RED)) == 1

    async def ask():
        async with AsyncRestClient(url, api_key=KEYS["detect"] + "\n") as client:  # as read from a file
            return await client.detect(RED)

    assert len(asyncio.run(ask())) == 1


def test_a_client_without_a_valid_key_is_told_so(url):
    assert "api_key=KEY" in str(refused(url, KeyRefused, None))
    assert "not known here" in str(refused(url, KeyRefused, "wrong"))
    assert "'detect'" in str(refused(url, KeyRefused, KEYS["metrics"]))


def test_a_client_that_has_had_its_share_learns_when_there_is_more(url):
    assert refused(url, LimitReached, KEYS["slow"], times=2).retry_after_s == 1
    quota = refused(url, LimitReached, KEYS["small"], times=2)
    assert 0 < quota.retry_after_s <= 86400
    assert "midnight UTC" in str(quota)


@pytest.mark.parametrize("key", ["", " ", "a b", "a\nX-Other: b", "ü", "a\x00"])
def test_what_is_no_key_is_refused_before_anything_is_sent(key):
    with pytest.raises(BadParameter) as error:
        RestClient("http://127.0.0.1:9", api_key=key)
    assert error.value.parameter == "api_key"
    assert key not in str(error.value) or not key.strip()


def test_a_key_with_the_word_bearer_is_answered_with_what_to_leave_out():
    with pytest.raises(BadParameter, match="without 'Bearer'"):
        RestClient("http://127.0.0.1:9", api_key="Bearer sparsight_a")


def test_the_command_takes_a_key_from_the_environment_or_a_file(url, photo, tmp_path, monkeypatch, capsys):
    command = ["detect", str(photo), "--url", url]
    assert main(command) == 1
    assert "--key-file" in capsys.readouterr().err
    file = tmp_path / "line.key"
    file.write_text(KEYS["detect"] + "\n")
    assert main([*command, "--key-file", str(file)]) == 0
    monkeypatch.setenv("SPARSIGHT_API_KEY", KEYS["detect"])
    assert main(command) == 0
    assert main([*command, "--key-file", str(tmp_path / "missing")]) == 1
    file.write_text("wrong")  # the file counts, not the environment
    assert main([*command, "--key-file", str(file)]) == 1


def test_a_service_with_keys_can_be_measured(url, monkeypatch):
    def classes():
        detector = RemoteDetector(url, DetectConfig(), None)
        try:
            return detector.served_model().class_names
        finally:
            detector.close()

    with pytest.raises(ServiceError, match="answered 401"):
        classes()
    monkeypatch.setenv("SPARSIGHT_API_KEY", KEYS["detect"] + "\n")
    assert classes()[0] == "red"
