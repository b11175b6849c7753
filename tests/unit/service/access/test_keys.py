"""Keys are random, the file has only their hashes, and commands and gateways can use it at the same time."""

import json
import os
import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from service.__main__ import main
from service.access.keys import as_text, hash_of, new_key, read_keys
from service.errors import AccessFileInvalid

HASH = "0" * 64


@pytest.fixture
def file(tmp_path):
    return tmp_path / "keys.json"


@pytest.fixture
def keys(file, capfd):
    """Return a function that runs a command; it returns the exit code, the output and what was said."""

    def run(verb, *more):
        code = main(["keys", verb, "--file", str(file), *more])
        return (code, *capfd.readouterr())

    return run


def listed(name="a", **more):
    return {"name": name, "sha256": HASH, "scopes": ["detect"], **more}


def test_keys_are_long_and_never_the_same():
    made = {new_key() for _ in range(1000)}
    assert len(made) == 1000
    assert all(len(key) == len("sparsight_") + 43 for key in made)  # 43 characters of 6 bits: 32 bytes


def test_a_new_key_is_shown_once_and_the_file_has_its_hash(keys, file):
    code, output, said = keys(
        "new", "--name", "line-3", "--scope", "detect", "--rate", "10", "--quota", "100"
    )
    text = output.strip()
    assert code == 0
    assert text not in said
    assert text not in file.read_text()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    (key,) = read_keys(file)
    assert (key.name, key.scopes, key.rate, key.quota) == ("line-3", ("detect",), 10, 100)
    assert key.sha256 == hash_of(text.encode())
    assert [path.name for path in file.parent.iterdir()] == ["keys.json"]


def test_a_second_key_of_a_name_replaces_the_first_step_by_step(keys, file):
    keys("new", "--name", "line-3", "--scope", "detect")
    _, _, said = keys("new", "--name", "line-3", "--scope", "detect")
    assert "older keys" in said
    old, new = read_keys(file)
    assert keys("revoke", old.id)[0] == 0
    assert [key.revoked is None for key in read_keys(file)] == [False, True]
    _, output, _ = keys("list")
    assert [line.split()[-1] for line in output.splitlines()] == ["state", "revoked", "valid"]
    assert new.id in output


def test_a_key_can_expire(keys, file):
    keys("new", "--name", "a", "--scope", "detect", "--expires", "30d")
    keys("new", "--name", "b", "--scope", "metrics", "--scope", "admin", "--expires", "2020-01-31")
    soon, past = read_keys(file)
    assert abs(soon.expires - datetime.now(UTC) - timedelta(days=30)) < timedelta(minutes=1)
    assert past.expires == datetime(2020, 1, 31, tzinfo=UTC)
    assert keys("list")[1].splitlines()[2].split()[-1] == "expired"


def test_who_makes_a_key_that_has_expired_is_told(keys):
    assert "expired" not in keys("new", "--name", "a", "--scope", "detect", "--expires", "1d")[2]
    code, _, said = keys("new", "--name", "a", "--scope", "detect", "--expires", "2020-01-31")
    assert code == 0
    assert "this key has expired already: 2020-01-31 00:00 UTC is over" in said


def test_a_name_that_cannot_be_used_is_answered_with_what_can(keys):
    assert "a-z, 0-9 and . _ -" in keys("new", "--name", "Line 3", "--scope", "detect")[2]


def test_a_folder_that_is_not_there_is_named(tmp_path, capfd):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "missing", tmp_path / "file"):
        wrong = ["--file", str(folder / "keys.json"), "--name", "a", "--scope", "detect"]
        assert main(["keys", "new", *wrong]) == 2
        assert f"there is no folder {folder}; make it first" in capfd.readouterr().err


@pytest.mark.parametrize(
    "wrong",
    [
        ("--name", "Line 3"), ("--name", "admin-token"), ("--name", "token"), ("--name", ""), ("--rate", "0"),
        ("--rate", "10001"), ("--quota", "0"), ("--expires", "9999-12-31 23:59:59-14:00"),
    ],
)  # fmt: skip
def test_what_a_key_cannot_be_is_refused(keys, file, wrong):
    code, output, said = keys("new", "--name", "a", "--scope", "detect", *wrong)
    assert (code, output) == (2, "")
    assert f"{wrong[0]} {wrong[1]} cannot be used" in said
    assert not file.exists()


def test_a_key_that_is_not_there_cannot_be_revoked(keys, file):
    keys("new", "--name", "a", "--scope", "detect")
    before = file.read_bytes()
    code, _, said = keys("revoke", "00000000")
    assert code == 2
    assert "no key with the id 00000000" in said
    assert file.read_bytes() == before


def test_commands_at_the_same_time_lose_no_key(file):
    def new(name):
        assert main(["keys", "new", "--file", str(file), "--name", name, "--scope", "detect"]) == 0

    names = {f"key-{number}" for number in range(40)}
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(new, names))
    assert {key.name for key in read_keys(file)} == names


def test_who_could_read_the_file_still_can_and_a_link_stays_a_link(keys, file, tmp_path):
    behind = tmp_path / "behind"
    behind.mkdir()
    file.symlink_to(behind / "real.json")
    keys("new", "--name", "a", "--scope", "detect")
    (behind / "real.json").chmod(0o640)
    keys("new", "--name", "b", "--scope", "detect")
    assert file.is_symlink()
    assert stat.S_IMODE((behind / "real.json").stat().st_mode) == 0o640
    assert len(read_keys(file)) == 2


def test_a_write_that_fails_leaves_the_old_file(keys, file, monkeypatch):
    keys("new", "--name", "a", "--scope", "detect")
    before = file.read_bytes()

    def full(_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    code, output, said = keys("new", "--name", "b", "--scope", "detect")
    assert (code, output) == (1, "")
    assert "No space left" in said
    assert file.read_bytes() == before
    assert [path.name for path in file.parent.iterdir()] == ["keys.json"]


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{", b"[]", b"{}", b'{"keys": {}}', b"\xff\xfe", b'{"keys": [], "more": 1}',
        *(
            json.dumps({"keys": keys}).encode()
            for keys in (
                [listed(sha256="0" * 63)], [listed(sha256="A" * 64)], [listed(scopes=[])],
                [listed(scopes=["all"])],
                [listed(name="A")], [listed(name="a" * 65)], [listed(name="token")], [listed(rate=0)],
                [listed(quota=0)], [listed(expires="2027-01-01T00:00:00")], [listed(key="secret")],
                [listed(), listed("b")], [listed(expires="9999-12-31T23:59:59-14:00")],
                [listed(revoked="0001-01-01T00:00:00+14:00")],
            )
        ),
    ],
)  # fmt: skip
def test_a_file_with_something_else_is_refused(file, content):
    file.write_bytes(content)
    with pytest.raises(AccessFileInvalid, match="cannot be used"):
        read_keys(file)


def test_a_message_about_a_file_shows_nothing_of_it(file):
    file.write_text(json.dumps({"keys": [listed(sha256="a-key-instead-of-its-hash")]}))
    with pytest.raises(AccessFileInvalid) as refused:
        read_keys(file)
    assert "a-key" not in str(refused.value)
    assert "keys.0.sha256" in str(refused.value)


def test_a_file_lists_at_most_500_keys(file):
    many = [listed(sha256=f"{number:064x}") for number in range(501)]
    file.write_text(json.dumps({"keys": many[:500]}))
    keys = read_keys(file)
    assert len(keys) == 500
    file.write_text(as_text(keys))
    assert read_keys(file) == keys
    file.write_text(json.dumps({"keys": many}))
    with pytest.raises(AccessFileInvalid, match="at most 500"):
        read_keys(file)


def test_a_file_has_at_most_a_million_bytes(file):
    text = json.dumps({"keys": []})
    file.write_text(text.ljust(1_000_000))
    assert read_keys(file) == []
    file.write_text(text.ljust(1_000_001))
    with pytest.raises(AccessFileInvalid, match="1,000,000"):
        read_keys(file)


def test_who_gives_a_key_instead_of_the_file_with_hashes_is_told_what_makes_it(file):
    file.write_text(new_key())
    with pytest.raises(AccessFileInvalid, match=r"Invalid JSON.*; `python -m service keys new` makes it"):
        read_keys(file)


@pytest.mark.parametrize("make", [lambda path: None, lambda path: path.mkdir()])
def test_what_is_no_file_is_refused(file, make):
    make(file)
    with pytest.raises(AccessFileInvalid, match="cannot be read"):
        read_keys(file)
