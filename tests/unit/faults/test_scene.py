"""A fault fails if callers see, wait for or are left with what they should not."""

import time
from pathlib import Path

import pytest

from tests.faults.__main__ import break_all
from tests.faults.callers import GRACE_S, OK, Seen
from tests.faults.scene import LATE_S, Fault, Scene

EXPECTED = {"others": frozenset({OK, "503 backend-unavailable"})}


def seen(how=OK, took_s=0.1, began_s=100.0):
    return Seen(began_s, began_s + took_s, how, deadline_s=2.0)


def judged(*answers, recovery_s=0.1, complaints=()):
    scene = Scene(Path(), broken_s=100.0, recovery_s=recovery_s, complaints=list(complaints))
    scene.add("others", *answers)
    return scene.judge(Fault("name", "what", EXPECTED, lambda scene: None))


@pytest.mark.parametrize(
    "answer",
    [
        seen(),
        seen("503 backend-unavailable"),
        seen("503 backend-unavailable", began_s=101.5, took_s=0.5),  # two seconds after the fault
        seen(took_s=LATE_S, began_s=110.0),
    ],
)
def test_what_may_be_seen_is_no_complaint(answer):
    assert judged(answer) == []


@pytest.mark.parametrize(
    ("answers", "words"),
    [
        ((seen("500 internal"),), "others: 500 internal"),
        ((seen("hung"),), "others: hung"),
        ((seen(took_s=2.01 + GRACE_S),), "after its deadline"),
        ((seen("503 backend-unavailable", began_s=102.0),), "disturbed for 2.10 s"),
        ((seen(took_s=LATE_S + 0.1, began_s=101.0),), "disturbed for 2.10 s"),
        ((), "nobody called as 'others'"),
    ],
)
def test_what_may_not_be_seen_is_a_complaint(answers, words):
    assert any(words in sentence for sentence in judged(*answers))


@pytest.mark.parametrize(
    ("recovery_s", "words"), [(2.01, "well only after 2.01 s"), (None, "not found out when all was well")]
)
def test_a_slow_recovery_is_a_complaint(recovery_s, words):
    (sentence,) = judged(seen(), recovery_s=recovery_s)
    assert words in sentence


def test_a_recovery_in_time_is_none():
    assert judged(seen(), recovery_s=2.0) == []


def test_what_a_fault_noticed_itself_is_a_complaint():
    assert judged(seen(), complaints=["the gateway has ended"]) == ["the gateway has ended"]


def run(how):
    def fault(scene):
        scene.breaks()
        scene.add("others", Seen(time.monotonic(), time.monotonic(), how))
        scene.well(lambda: True)

    return Fault("name", "what", EXPECTED, fault)


def test_the_command_fails_if_one_fault_does(capsys):
    assert break_all([run(OK), run("503 backend-unavailable")]) == 0
    assert "2 of 2 faults ended as expected" in capsys.readouterr().out
    assert break_all([run(OK), run("500 internal")]) == 1
    assert "1 of 2 faults ended as expected" in capsys.readouterr().out


def test_a_fault_without_its_programs_is_not_taken_for_one_that_was_run(capsys):
    assert break_all([Fault("name", "what", EXPECTED, lambda scene: None, needs=("no-such-program",))]) == 1
    assert "no-such-program is not installed" in capsys.readouterr().out
