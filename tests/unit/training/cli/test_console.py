"""Which log messages the command line shows, and on which stream."""

import logging
import select
import subprocess
import sys

import pytest
from tqdm import tqdm

from training.cli.console import log_level, telling

log = logging.getLogger("training.some.module")


def test_messages_go_to_stdout_and_warnings_to_stderr(capsys):
    with telling(aside=False):
        log.info("measured 12 images")
        log.warning("1 box left out")
    told = capsys.readouterr()
    assert (told.out, told.err) == ("measured 12 images\n", "1 box left out\n")


def test_beside_an_answer_all_goes_to_stderr(capsys):
    with telling(aside=True):
        log.info("measured 12 images")
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "measured 12 images\n")


def test_a_message_is_shown_as_it_is_written(capsys):
    with telling(aside=False):
        log.info("folder%s{x}: 100 %")
    assert capsys.readouterr().out == "folder%s{x}: 100 %\n"


def test_the_name_of_a_file_that_is_no_text_is_shown():
    # In a process of its own, since pytest's workers cannot pass such a name on in their reports.
    says = (
        "import logging\n"
        "from training.cli.console import telling\n"
        "with telling(aside=False):\n"
        "    logging.getLogger('training.some.module').info('a\\udcff.jpg')\n"
    )
    assert (
        subprocess.run([sys.executable, "-c", says], capture_output=True, check=True).stdout
        == b"a\\udcff.jpg\n"
    )


def test_what_is_finer_than_info_is_not_shown(capsys):
    with telling(aside=False):
        log.debug("step 1")
    assert capsys.readouterr().out == ""


def test_what_other_packages_log_is_not_shown(capsys):
    with telling(aside=False):
        logging.getLogger("httpx").info("HTTP Request: GET http://localhost")
    assert "".join(capsys.readouterr()) == ""


def test_after_an_error_nothing_is_left_behind(capsys):
    logger = logging.getLogger("training")
    before = logger.level, list(logger.handlers)
    with pytest.raises(ValueError, match="in the middle"), telling(aside=False):
        raise ValueError("in the middle")
    assert (logger.level, logger.handlers) == before
    log.info("to nobody")
    assert capsys.readouterr().out == ""


def test_a_second_command_shows_a_message_once(capsys):
    for _ in range(2):
        with telling(aside=False):
            log.info("again")
    assert capsys.readouterr().out == "again\nagain\n"


def test_a_message_stands_above_a_bar_which_is_drawn_again_below(capsys):
    with telling(aside=True), tqdm(total=4, desc="images", mininterval=0):
        log.info("one is damaged")
    lifted = capsys.readouterr().err.split("one is damaged\n")
    assert ["images" in drawn for drawn in lifted] == [True, True]
    assert lifted[0].endswith("\r")  # the bar is wiped before the message


def test_a_pipe_has_a_message_while_the_command_still_works():
    working = (
        "import logging, sys\n"
        "from training.cli.console import telling\n"
        "with telling(aside=False):\n"
        "    logging.getLogger('training').info('begun')\n"
        "    sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", working], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        came, _, _ = select.select([process.stdout], [], [], 60)
        process.stdin.close()
        assert came
        assert process.stdout.read() == b"begun\n"


def test_a_closed_pipe_ends_the_command(monkeypatch):
    class Closed:
        def write(self, text: str) -> None:
            raise BrokenPipeError

    monkeypatch.setattr(sys, "stdout", Closed())
    with telling(aside=False), pytest.raises(BrokenPipeError):
        log.info("to nobody")


@pytest.mark.parametrize(("quiet", "drawn"), [(False, True), (True, False)])
def test_quiet_hides_bars_and_no_messages(quiet, drawn, capsys):
    with telling(aside=False, quiet=quiet):
        assert logging.getLogger("training.progress").isEnabledFor(logging.INFO) is drawn
        log.info("measured 12 images")
    assert capsys.readouterr().out == "measured 12 images\n"


def test_a_later_process_of_a_run_shows_errors_alone(capsys):
    with telling(aside=False), log_level("training", logging.ERROR):
        log.info("done")
        log.warning("1 box left out")
        log.error("no image left")
        assert not logging.getLogger("training.progress").isEnabledFor(logging.INFO)
    told = capsys.readouterr()
    assert (told.out, told.err) == ("", "no image left\n")
