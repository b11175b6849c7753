"""Shares, ratios and goals in the benchmark table, with numbers that can be checked by hand."""

from dataclasses import replace

import pytest

from training.lab.benchmark.goals import Goal, goals_for
from training.lab.benchmark.rows import build_rows, realised_share
from training.lab.benchmark.subjects import CLASSES, Form, Subject
from training.models.detector import Detector
from training.models.variants import model_config
from training.rounds import Timed


@pytest.fixture(scope="module")
def light():
    return Subject("light", Detector(model_config("esmoe-n", CLASSES, (64, 64))), (2, 4))


@pytest.fixture(scope="module")
def plain():
    return Subject("plain", Detector(model_config("yolov12-n", CLASSES, (64, 64))), ())


@pytest.fixture(scope="module")
def full():
    return Subject("full", Detector(model_config("sparsight-n", CLASSES, (64, 64))), (0, 1, 2, 4))


@pytest.mark.parametrize(
    ("sparse", "bound", "share"),
    [
        pytest.param(0.8, 0.6, 0.5, id="half of it"),
        pytest.param(0.6, 0.6, 1.0, id="all of it"),
        pytest.param(1.0, 0.6, 0.0, id="nothing"),
        pytest.param(1.2, 0.6, -0.5, id="it costs"),
        pytest.param(0.9, 1.0, None, id="there is nothing to gain"),
        pytest.param(0.9, 1.1, None, id="the bound is slower"),
    ],
)
def test_share_of_the_bound(sparse, bound, share):
    assert realised_share(sparse, bound) == (None if share is None else pytest.approx(share))


def rows_by_form(timed, subjects, goals_hold="f32"):
    counted = {Form("light", "dense"): 10.0, Form("light", "sparse", 2): 8.0}
    rows = build_rows(timed, subjects, counted, "plain", goals_hold)
    return {row.form: row for row in rows}


@pytest.fixture
def measured(light, plain):
    """Two rounds; in the second everything takes twice as long, which no ratio may notice."""

    def twice(seconds):
        return (seconds, 2 * seconds)

    seconds = {
        Form("plain", "dense"): twice(0.05),
        Form("plain", "twin"): twice(0.05),
        Form("light", "dense"): twice(0.098),
        Form("light", "twin"): twice(0.102),
        Form("light", "sparse", 2): twice(0.085),
        Form("light", "bound", 2): twice(0.080),
        Form("light", "sparse", 4): twice(0.104),
        Form("light", "dense", None, 8): twice(0.4),
        Form("peer", "peer"): twice(0.2),
    }
    return Timed(seconds, 2, 0, noisy=False), {"plain": plain, "light": light}


def test_ratios_are_taken_within_a_round_against_the_mean_of_dense_and_its_twin(measured):
    rows = rows_by_form(*measured)
    sparse = rows[Form("light", "sparse", 2)]
    assert sparse.ratio.median == pytest.approx(0.85)
    assert (sparse.ratio.low, sparse.ratio.high) == pytest.approx((0.85, 0.85))
    assert sparse.ratio_to_reference.median == pytest.approx(1.7)
    assert sparse.seconds.median == pytest.approx((0.085 + 0.17) / 2)
    assert (sparse.gflops, sparse.gflops_ratio) == pytest.approx((8.0, 0.8))
    assert rows[Form("light", "dense")].seconds.median == pytest.approx((0.1 + 0.2) / 2)
    assert rows[Form("light", "dense")].ratio.median == pytest.approx(0.102 / 0.098), (
        "how far it is from itself"
    )
    assert not any(form.kind == "twin" for form in rows)


def test_a_batch_is_divided_by_its_images(measured):
    assert rows_by_form(*measured)[Form("light", "dense", None, 8)].ratio.median == pytest.approx(0.5)


def test_a_peer_has_only_the_reference_beside_it(measured):
    peer = rows_by_form(*measured)[Form("peer", "peer")]
    assert (peer.ratio, peer.gflops, peer.share) == (None, None, None)
    assert peer.ratio_to_reference.median == pytest.approx(4)


def test_goals_stand_beside_sparse_rows_with_what_was_measured(measured):
    rows = rows_by_form(*measured)
    (share,) = rows[Form("light", "sparse", 2)].goals
    assert (share.quantity, share.limit) == ("share", 0.75)
    assert share.value == pytest.approx(0.75)
    (whole,) = rows[Form("light", "sparse", 4)].goals
    assert (whole.quantity, whole.limit, whole.met) == ("ratio", 1.03, False)
    assert whole.value == pytest.approx(1.04)
    assert rows[Form("light", "bound", 2)].goals == ()
    assert rows_by_form(*measured, goals_hold=None)[Form("light", "sparse", 2)].goals == ()


def test_without_a_quiet_round_there_are_no_rows(plain):
    empty = Timed({Form("plain", "dense"): (), Form("plain", "twin"): ()}, 0, 12, noisy=True)
    assert build_rows(empty, {"plain": plain}, {}, "plain", "f32") == ()


@pytest.mark.parametrize(
    ("goal", "value", "met"),
    [
        (Goal("share", 0.75), 0.75, True),
        (Goal("share", 0.75), 0.749, False),
        (Goal("ratio", 0.65), 0.65, True),
        (Goal("ratio", 0.65), 0.651, False),
        (Goal("share", 0.75), None, False),
    ],
)
def test_a_goal_is_met_at_its_limit(goal, value, met):
    assert replace(goal, value=value).met is met


@pytest.mark.parametrize(
    ("precision", "top_k", "reference", "goals"),
    [
        ("f32", 2, "yolov12-s", [("share", 0.95), ("ratio", 0.75)]),
        ("f32", 2, "yolov12-n", [("share", 0.95), ("ratio", 0.75), ("ratio_to_reference", 1.0)]),
        ("f32", 1, "yolov12-n", [("share", 0.95), ("ratio", 0.62)]),
        ("bf16", 1, "yolov12-n", [("share", 0.85)]),
        ("f32", 0, "yolov12-n", []),
        ("bf16", 4, "yolov12-n", [("ratio", 1.03)]),
        ("int8", 1, "yolov12-n", []),
    ],
)
def test_goals_of_a_variant_with_full_experts(full, precision, top_k, reference, goals):
    found = goals_for(full.model, reference, precision, top_k)
    assert [(goal.quantity, goal.limit) for goal in found] == goals


@pytest.mark.parametrize(
    ("precision", "top_k", "goals"),
    [
        ("f32", 1, [("share", 0.98), ("ratio_to_reference", 0.62)]),
        ("f32", 2, [("share", 0.98), ("ratio_to_reference", 0.80)]),
        ("bf16", 1, [("share", 0.98)]),
        ("int8", 1, [("share", 0.98), ("ratio_to_peer", 1.0)]),
        ("int8", 2, [("share", 0.98), ("ratio_to_peer", 1.0)]),
    ],
)
def test_goals_of_a_network_with_paths(precision, top_k, goals):
    model = Detector(model_config("sparsight-path-n", CLASSES, (64, 64)))
    found = goals_for(model, "yolov12-n", precision, top_k)
    assert [(goal.quantity, goal.limit) for goal in found] == goals


@pytest.mark.parametrize(
    ("peers", "ratio"),
    [
        pytest.param({}, None, id="no peer, no goal"),
        pytest.param({"slow": 0.2, "fast": 0.08}, 0.075 / 0.08, id="beside the fastest"),
    ],
)
def test_in_int8_a_route_is_compared_with_the_fastest_peer(plain, peers, ratio):
    routed = Subject("routed", Detector(model_config("sparsight-path-n", CLASSES, (64, 64))), (1,))
    seconds = {
        Form("plain", "dense"): (0.05, 0.1),
        Form("plain", "twin"): (0.05, 0.1),
        Form("routed", "dense"): (0.1, 0.2),
        Form("routed", "twin"): (0.1, 0.2),
        Form("routed", "sparse", 1): (0.075, 0.15),
        Form("routed", "bound", 1): (0.075, 0.15),
        **{Form(label, "peer"): (took, 2 * took) for label, took in peers.items()},
    }
    timed = Timed(seconds, 2, 0, noisy=False)
    rows = build_rows(timed, {"plain": plain, "routed": routed}, {}, "plain", "int8")
    (goals,) = ({goal.quantity: goal for goal in row.goals} for row in rows if row.form.kind == "sparse")
    assert goals["share"].met
    assert goals.keys() == ({"share"} if ratio is None else {"share", "ratio_to_peer"})
    if ratio is not None:
        assert goals["ratio_to_peer"].value == pytest.approx(ratio)
        assert goals["ratio_to_peer"].met


@pytest.mark.parametrize(("precision", "limit"), [("f32", 0.75), ("bf16", 0.5)])
def test_goals_of_light_experts_are_lower(light, precision, limit):
    assert goals_for(light.model, "yolov12-n", precision, 2) == (Goal("share", limit),)
