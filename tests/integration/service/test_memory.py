"""How much memory the service of this build needs, measured in a process of its own."""

import sys

import pytest

from tests.load import memory

pytestmark = [
    pytest.mark.heavy,
    pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc"),
    pytest.mark.skipif(not (memory.ROOT / ".git").exists(), reason="without Git there is no earlier build"),
]


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    """Return the cells "now" of the table that the script prints with its smallest load, by row."""
    argv = ["--before", "HEAD", "--rounds", "1", "--volleys", "1", "--requests", "4"]
    with pytest.MonkeyPatch.context() as patch:
        printed = []
        patch.setattr(
            memory, "print", lambda text, file=None: printed.extend(text.splitlines()), raising=False
        )
        assert memory.main(argv) == 0
    cells = [line.strip("| ").split(" | ") for line in printed if line.startswith("| ") and line[2] != "|"]
    return {row[0]: float(row[2]) for row in reversed(cells)}  # the first of two equal names


def test_the_code_that_only_loading_needs_is_not_kept_in_memory(rows):
    # 15 MB of pages of files are left, and there are 95 MB if they are kept. The bound is halfway, because
    # another processor makes OpenVINO and NumPy run other code.
    assert rows["at rest, ready"] - rows["- of its own"] < 55


def test_64_requests_in_flight_wait_as_files(rows):
    # The 64 files have 8 MB, and with their pixels and model inputs they would have 90 MB. 10 to 20 MB were
    # measured. The bound is halfway, because buffers of sockets and Python's heap grow by chance.
    assert rows["peak under load"] - rows["at rest, after requests"] < 50
