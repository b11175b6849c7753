"""The flags that choose what is compared."""

import argparse

import pytest

from tests.load.compared import add_flags, compared


@pytest.mark.parametrize(
    ("flags", "sentence"),
    [
        (["--artifact", "nowhere"], r"no manifest\.json in nowhere; export a model for openvino first"),
        ([], r"set SPARSIGHT_DATA, or give a folder of large photographs with --photos"),
    ],
)
def test_what_is_missing_is_told_before_anything_starts(monkeypatch, flags, sentence):
    monkeypatch.delenv("SPARSIGHT_DATA", raising=False)
    parser = argparse.ArgumentParser()
    add_flags(parser)
    with pytest.raises(SystemExit, match=sentence), compared(parser.parse_args(flags)):
        pass
