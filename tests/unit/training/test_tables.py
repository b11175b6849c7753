"""The table of models agrees with its sources within a tolerance, or a note gives the reason."""

import json
from collections import Counter
from pathlib import Path

import pytest

from training.lab.tables import models
from training.lab.tables.models import (
    MODELS,
    Comparison,
    build,
    label,
    measure,
    measure_all,
    variants_json,
    variants_table,
)
from training.lab.tables.published import PUBLISHED, Named, Published
from training.models.families.choose import variants_of
from training.models.network import count_parameters
from training.models.variants import MixtureChoice

VOC_CLASSES = 20
PARAMETERS_TOLERANCE, GFLOPS_TOLERANCE = 0.01, 0.02  # beyond either a note says why
README = Path(__file__).resolve().parents[3] / "training" / "models" / "README.md"


def needs_note(one):
    gflops = one.gflops_difference or 0.0
    return abs(one.parameters_difference) > PARAMETERS_TOLERANCE or abs(gflops) > GFLOPS_TOLERANCE


@pytest.fixture(scope="module")
def everything():
    return measure_all()


@pytest.mark.heavy
def test_every_line_is_within_tolerance_or_has_a_note_and_no_note_stands_where_none_is_needed(everything):
    _, comparisons = everything
    assert [one.published for one in comparisons] == list(PUBLISHED)
    wrong = [
        (label(one.published.of), one.published.source, one.parameters_difference, one.gflops_difference)
        for one in comparisons
        if needs_note(one) != bool(one.published.note)
    ]
    assert wrong == []


@pytest.mark.heavy
def test_the_models_are_the_variants_and_the_ablations_of_the_paper(everything):
    measured, _ = everything
    names = [label(named) for named in measured]
    ablations = [f"esmoe-n {choice}" for choice in ("neck", "both", "E=2", "E=8", "E=3 K=3", "K=1", "K=4")]
    shaped = [name for task in ("segment", "pose", "obb") for name in variants_of(task) if "-n-" in name]
    assert names == [*variants_of("detect"), *ablations, *shaped, *variants_of("classify")]
    for one in measured.values():
        assert one.parameters >= one.active_parameters
        assert one.gflops >= one.gflops_at_top_k


@pytest.mark.heavy
def test_what_is_printed_fits_and_says_what_json_says(everything, monkeypatch):
    monkeypatch.setattr(models, "measure_all", lambda: everything)
    lines = variants_table().splitlines()
    assert max(map(len, lines)) <= models.WIDTH
    data = json.loads(variants_json())
    assert [row["model"] for row in data["models"]] == [label(named) for named in MODELS]
    assert len(data["comparisons"]) == len(PUBLISHED)
    row = next(row for row in data["models"] if row["model"] == "esmoe-n")
    shown = next(line for line in lines if line.startswith("esmoe-n   ")).split()
    assert shown[1:] == [
        str(row["top_k"]),
        f"{row['parameters']:,}",
        f"{row['active_parameters']:,}",
        f"{row['gflops']:.2f}",
        f"{row['gflops_at_top_k']:.2f}",
        f"{row['routed']:.0%}",
    ]
    notes = dict.fromkeys(one["note"] for one in data["comparisons"] if one["note"])
    marks = Counter(line.split()[0] for line in lines if line.startswith("["))
    assert list(marks) == [f"[{number}]" for number in range(1, len(notes) + 1)]


@pytest.mark.parametrize(
    ("choice", "idle_by_hand"),
    [
        # An expert of C channels and kernel k has C k² + C² + 2C numbers; C is 64, 128, 128, 256 in turn.
        # Of kernels 3, 5, 7, 9 the smallest are left out first.
        pytest.param(
            MixtureChoice(), sum(c * (9 + 25) + 2 * c * c + 4 * c for c in (64, 128, 128, 256)), id="2"
        ),
        pytest.param(
            MixtureChoice(top_k=3), sum(c * 9 + c * c + 2 * c for c in (64, 128, 128, 256)), id="3 of 4"
        ),
        pytest.param(MixtureChoice(top_k=4), 0, id="all"),
    ],
)
def test_active_parameters_leave_out_the_experts_that_do_not_run(choice, idle_by_hand):
    one = measure(Named(variant="esmoe-n", choice=choice))
    assert one.parameters - one.active_parameters == idle_by_hand


def test_a_difference_is_ours_over_theirs():
    line = Published(of=Named(variant="yolov12-n"), source="a", parameters=100.0, gflops=10.0)
    assert Comparison(line, 102, 9.0).parameters_difference == pytest.approx(0.02)
    assert Comparison(line, 102, 9.0).gflops_difference == pytest.approx(-0.1)
    unstated = Published(of=Named(variant="yolov12-n"), source="a", parameters=100.0)
    assert Comparison(unstated, 102, 9.0).gflops_difference is None


@pytest.mark.parametrize(
    ("parameters", "gflops", "needed"),
    [(1009, 101.9, False), (1011, 100.0, True), (1000, 97.9, True), (989, 100.0, True), (1000, 100.0, False)],
)
def test_a_note_is_needed_beyond_1_percent_of_parameters_or_2_of_operations(parameters, gflops, needed):
    line = Published(of=Named(variant="yolov12-n"), source="a", parameters=1000, gflops=100.0)
    assert needs_note(Comparison(line, parameters, gflops)) == needed


def voc_millions(variant="esmoe-n", **choice):
    named = Named(variant=variant, choice=MixtureChoice(**choice), classes=VOC_CLASSES)
    return round(count_parameters(build(named)) / 1e6, 2)


def note_on(source, **choice):
    wanted = MixtureChoice(**choice)
    return next(one.note for one in PUBLISHED if one.source.endswith(source) and one.of.choice == wanted)


def test_the_notes_on_the_ablations_say_what_is_counted():
    both = note_on("table 5", placement="both")
    for experts in (2, 3, 4):
        assert f"{voc_millions(placement='both', num_experts=experts):.2f} M" in both
    assert f"four make {voc_millions():.2f} M" in note_on("table 6", num_experts=4)
    baseline = note_on("table 5")
    assert f"20 classes it has {voc_millions('yolov12-n'):.2f} M" in baseline


def test_the_note_on_the_head_adds_up():
    """Four heads of two fifths, and four whole ones, in place of the one that the dense model has."""
    dense = Named(variant="yolov12-n")
    model = build(dense)
    gflops, parameters = measure(dense).gflops, count_parameters(model)
    mixture = measure(Named(variant="moehead-n"))
    head = gflops - mixture.gflops * (1 - mixture.routed)  # routers count as nothing to two digits
    numbers = count_parameters(model.head)
    note = next(one.note for one in PUBLISHED if one.of.variant == "moehead-n")
    light = f"{(parameters + 0.6 * numbers) / 1e6:.1f} M and {gflops + 0.6 * head:.1f} GFLOPs"
    whole = f"{(parameters + 3 * numbers) / 1e6:.1f} M and {gflops + 3 * head:.1f}."
    assert light in note
    assert note.endswith(whole)


@pytest.mark.heavy
def test_the_readme_has_the_figures_that_are_counted(everything):
    measured, _ = everything
    rows = [line.split("|")[1:-1] for line in README.read_text().splitlines() if line.startswith("| `")]
    stated = {row[0].strip(" `"): [cell.strip() for cell in row[3:]] for row in rows if len(row) == 6}
    counted = {
        variant.removesuffix("-n"): [f"{one.parameters:,}", f"{one.gflops:.2f}", f"{one.gflops_at_top_k:.2f}"]
        for variant, one in (
            (named.variant, one) for named, one in measured.items() if named.choice == MixtureChoice()
        )
        if variant.endswith("-n")
    }
    assert stated == counted
