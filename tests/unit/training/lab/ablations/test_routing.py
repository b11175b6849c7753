"""The routing table of the ablations: settings of its rows, measurements, and text."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.training_builders import conditioned
from training.__main__ import main
from training.data.open import open_dataset
from training.data.scenes.scenes import CLASS_NAMES
from training.data_config import FolderConfig, ScenesConfig
from training.errors import ConfigError
from training.lab.ablations.command import ablations, asked_rows
from training.lab.ablations.report import as_json, as_list, as_markdown, build_tables, mean_cell
from training.lab.ablations.rows import ROUTING_ROWS, ROWS, rows_of
from training.lab.ablations.run import (
    RESULT_FILE,
    Progress,
    Result,
    RoutingFigures,
    Settings,
    measure_routing,
    options_of,
    read_result,
)
from training.models.variants import model_config
from training.trainer.checkpoint import save_model
from training.workflows import dataset_config, train
from training.workflows.measure import evaluate_checkpoint
from training.workflows.train import TrainOptions

SETTINGS = Settings("quick", "mine", "train", "val", 3, 10, 5, (64, 96), 4, 8)
FEW_SCENES = ScenesConfig(images=6, seed=1, image_hw=(64, 64))
AS_IT_IS, _, BALANCE, *_, POOLED, FIXED, DYNAMIC = ROUTING_ROWS


def config_of(row):
    options = TrainOptions(run_dir=Path("out"), overrides={"model.input_hw": (64, 64)}, scenes=1)
    return train.training_config(options_of(row, 3, options))[0]


def with_losses(config, **weights):
    return replace(config, loss=replace(config.loss, **weights))


def test_each_row_is_sparsight_with_one_choice_undone():
    usual, *others = (config_of(row) for row in ROUTING_ROWS)
    assert (usual.loss.information, usual.loss.coverage, usual.loss.balance) == (0.5, 0.1, 0.0)
    assert usual.top_ks == (1, 2, 2, 4)
    assert {mixture.router.kind for mixture in usual.model.mixtures.values()} == {"moments"}
    pooled = {
        place: replace(mixture, router=replace(mixture.router, kind="pooled"))
        for place, mixture in usual.model.mixtures.items()
    }
    dynamic = {
        place: replace(mixture, expert="dynamic", top_k=4) for place, mixture in usual.model.mixtures.items()
    }
    assert others == [
        with_losses(usual, information=0.0, coverage=0.0),
        with_losses(usual, information=0.0, coverage=0.0, balance=1.5),
        with_losses(usual, coverage=0.0),
        with_losses(usual, information=0.0),
        replace(usual, model=replace(usual.model, mixtures=pooled)),
        replace(usual, top_ks=()),
        replace(usual, model=replace(usual.model, mixtures=dynamic), top_ks=(4, 4, 4)),
    ]


def test_every_row_has_a_folder_of_its_own():
    assert [row.run for row in ROUTING_ROWS] == [
        "sparsight-n",
        "sparsight-n-information0-coverage0",
        "sparsight-n-balance1.5-information0-coverage0",
        "sparsight-n-coverage0",
        "sparsight-n-information0",
        "sparsight-n-pooled",
        "sparsight-n-fixed-k",
        "sparsight-n-dynamic",
    ]


@pytest.mark.parametrize(
    ("tables", "rows"),
    [
        (None, ROWS),
        ([], ROWS),
        (["routing"], ROUTING_ROWS),
        (["routing", "6"], (*rows_of([6]), *ROUTING_ROWS)),
    ],
)
def test_ours_are_trained_where_they_are_asked_for(tables, rows):
    assert asked_rows(tables) == rows


@pytest.mark.parametrize(
    ("texts", "names"),
    [
        (["Unchanged", "averaged"], ["unchanged", "kernels averaged, run once"]),
        (["averaged", "no cov"], ["no coverage", "kernels averaged, run once"]),
        (["no "], ["no objective for routers", "no coverage", "no information"]),
    ],
)
def test_rows_are_chosen_by_a_part_of_their_name_and_keep_their_order(texts, names):
    assert [row.name for row in asked_rows(["routing"], texts)] == names


def test_a_part_of_no_name_is_refused_with_the_names_there_are():
    with pytest.raises(ConfigError, match=r"no row contains 'averagd'; there are: unchanged, no objective"):
        asked_rows(["routing"], ["unchanged", "averagd"])


def test_another_table_names_those_there_are(capsys):
    with pytest.raises(SystemExit, match="2"):
        main(["ablations", "--table", "9"])
    assert "invalid choice: '9'" in capsys.readouterr().err


def labelled_by(evaluation, folder):
    """The scenes as a YOLO folder whose labels are what was found best in each."""
    for name in ("images", "labels"):
        (folder / "val" / name).mkdir(parents=True)
    (folder / "data.yaml").write_text(f"names: {list(CLASS_NAMES)}\nval: val/images\n")
    scenes = open_dataset(FEW_SCENES)
    for index, found in enumerate(evaluation.detections):
        (folder / "val" / "images" / f"{index}.png").write_bytes(scenes.encoded(index))
        corners = found.boxes_xyxy[:4] / 64
        centres, sizes = (corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]
        rows = np.column_stack([found.class_ids[:4], centres, sizes])
        np.savetxt(folder / "val" / "labels" / f"{index}.txt", rows, fmt=["%d", *["%.6f"] * 4])
    return FolderConfig(root=str(folder), split="val")


def test_every_number_of_experts_has_the_map_that_it_finds(tmp_path):
    """An untrained model finds nothing, except where images are labelled with what it finds with one."""
    checkpoint = tmp_path / "model.safetensors"
    model = conditioned(model_config("sparsight-n", CLASS_NAMES, (64, 64)))
    save_model(checkpoint, model, {})
    with_one = evaluate_checkpoint(checkpoint, FEW_SCENES, top_k=1)
    data = labelled_by(with_one, tmp_path / "data")

    usual = evaluate_checkpoint(checkpoint, data)
    found = measure_routing(checkpoint, model.config, usual, data).map50_95
    assert found["1"] > 0.5
    assert len(set(found.values())) == 3
    assert found["2"] == usual.mean_ap.map50_95
    assert found["4"] == evaluate_checkpoint(checkpoint, data, top_k=4).mean_ap.map50_95


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """One row, one step: how it ended, its output, its options."""
    output = tmp_path_factory.mktemp("routing")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(dataset_config, "SCENES_UNSEEN", FEW_SCENES)
        options = TrainOptions(run_dir=output, overrides={"model.input_hw": (64, 64), "epochs": 1}, scenes=8)
        yield ablations((FIXED,), options), output


def test_a_row_is_measured_with_one_two_and_all_experts_and_kept(trained):
    ended, output = trained
    run_dir = output / FIXED.run / "seed-0"
    result = ended.progress.finished[FIXED.run, 0]
    assert read_result(run_dir) == result
    found = result.routing
    assert list(found.map50_95) == ["1", "2", "4"]
    usual = evaluate_checkpoint(run_dir / "model.safetensors", FEW_SCENES)
    assert result.map50_95 == found.map50_95["2"]
    assert found.commonest_set == {use.layer: use.commonest_set_share for use in usual.experts}
    assert found.dead_experts == {use.layer: len(use.dead_experts) for use in usual.experts}
    assert list(found.nmi) == list(result.information_bits) == [use.layer for use in usual.experts]
    for shared in found.nmi.values():
        assert list(shared) == ["origin", "density"]  # scenes have both


def test_a_row_of_dynamic_experts_is_trained_and_measured_with_all_of_them(monkeypatch, tmp_path):
    monkeypatch.setattr(dataset_config, "SCENES_UNSEEN", FEW_SCENES)
    options = TrainOptions(run_dir=tmp_path, overrides={"model.input_hw": (64, 64), "epochs": 1}, scenes=8)
    ended = ablations((DYNAMIC,), options)
    result = ended.progress.finished[DYNAMIC.run, 0]
    assert list(result.routing.map50_95) == ["4"]
    assert result.map50_95 == result.routing.map50_95["4"]
    assert set(result.routing.dead_experts.values()) == {0}
    assert ended.markdown.endswith("\nEvery row was run.\n")


def test_the_report_of_ours_alone_says_nothing_of_the_paper_s(trained):
    ended, output = trained
    text = (output / "ablations.md").read_text(encoding="utf-8")
    assert text == ended.markdown
    assert text.startswith("# Our own ablations\n\nOurs: recipe quick, 1 epoch of 8 images")
    assert "YOLO-Master" not in text
    assert (
        "Unchanged sparsight-n: router moments; information 0.5, coverage 0.1, balance 0; in training the K "
        "of each image is chosen at random from 1, 2, 2, 4."
    ) in text
    assert text.endswith("\nEvery row was run.\n")
    written = json.loads((output / "ablations.json").read_text(encoding="utf-8"))
    assert written["tables"] == []
    (row,) = written["routing"]["rows"]
    assert (row["name"], row["run"], row["failed"]) == (FIXED.name, FIXED.run, None)
    assert row["ours"][0]["routing"]["map50_95"].keys() == {"1", "2", "4"}


def made(seed=0, at=(0.30, 0.30, 0.30), bits=(0.6, 0.4), dead=0, nmi=None):
    one, usual, every = at
    figures = RoutingFigures(
        map50_95={"1": one, "2": usual, "4": every},
        dead_experts={"p4": dead, "p5": 1},
        commonest_set={"p4": 0.5, "p5": 0.25},
        nmi={"p4": nmi or {}, "p5": nmi or {}},
    )
    known = dict(zip(("p4", "p5"), bits, strict=True))
    return Result(seed, 0.5, usual, 2_500_000, 8.0, known, 60.0, False, figures)


def line_of(rows, progress, seeds=(0,)):
    markdown = as_markdown(build_tables(rows, seeds, progress), SETTINGS, seeds)
    lines = [line for line in markdown.splitlines() if line.startswith("| ")]
    cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
    return next(row[1:] for row in cells if row[0] == rows[0].name)


def test_the_figures_of_one_seed():
    run = made(at=(0.29, 0.30, 0.31), nmi={"origin": 0.5, "density": 0.125})
    assert line_of((POOLED,), Progress({(POOLED.run, 0): run}, {}, False)) == [
        *("30.0", "29.0 (-1.00)", "31.0 (+1.00)", "0.50", "1 of 2", "1", "38"),
        *("0.50", "0.12", "0"),
    ]


def test_a_model_that_always_uses_all_experts_has_only_this_figure():
    run = made()
    found = replace(run, routing=replace(run.routing, map50_95={"4": 0.31}))
    tables = build_tables((AS_IT_IS, DYNAMIC), (0,), Progress({(DYNAMIC.run, 0): found}, {}, False))
    (line,) = (
        line
        for line in as_markdown(tables, SETTINGS, (0,)).splitlines()
        if line.startswith(f"| {DYNAMIC.name}")
    )
    assert [cell.strip() for cell in line.split("|")[2:5]] == ["", "", "31.0"]


def test_data_without_groups_leaves_nmi_empty():
    assert line_of((POOLED,), Progress({(POOLED.run, 0): made()}, {}, False))[-3:] == ["", "", "0"]


@pytest.mark.parametrize(
    ("at", "cells"),
    [
        pytest.param((0.29, 0.30, 0.295), ["29.0 (-1.00)", "29.5 (-0.50)"], id="as far as may be"),
        pytest.param((0.2899, 0.30, 0.30), ["29.0 (-1.01, missed)", "30.0 (+0.00)"], id="one, further"),
        pytest.param((0.30, 0.30, 0.2949), ["30.0 (+0.00)", "29.5 (-0.51, missed)"], id="all, further"),
    ],
)
def test_quality_with_other_numbers_of_experts_is_held_against_the_goals(at, cells):
    assert line_of((POOLED,), Progress({(POOLED.run, 0): made(at=at)}, {}, False))[1:3] == cells


def test_seeds_are_averaged_and_half_a_bit_is_enough():
    runs = {
        (POOLED.run, 0): made(at=(0.30, 0.30, 0.30), bits=(0.5, 0.4999)),
        (POOLED.run, 1): made(1, at=(0.28, 0.32, 0.32), bits=(0.5, 0.5), dead=2),
    }
    assert line_of((POOLED,), Progress(runs, {}, False), (0, 1)) == [
        *("31.0 ± 1.4", "29.0 ± 1.4 (-2.00, missed)", "31.0 ± 1.4 (+0.00)", "0.50 ± 0.00", "1.5 ± 0.7 of 2"),
        *("2.0 ± 1.4", "38 ± 0", "", "", "0, 1"),
    ]


def test_rows_that_are_missing_or_failed_are_said_beside_those_of_the_paper():
    rows = (*rows_of([5]), AS_IT_IS, BALANCE)
    progress = Progress({(AS_IT_IS.run, 0): made()}, {(BALANCE.run, 0): "out of memory"}, False)
    tables = build_tables(rows, (0,), progress)
    markdown = as_markdown(tables, SETTINGS, (0,))
    assert markdown.index("## Table 5: ") < markdown.index("## Routing of sparsight")
    assert markdown.startswith("# Ablations of YOLO-Master, arXiv:2512.23273\n")
    assert line_of((BALANCE,), progress) == [*[""] * 9, "none"]
    assert markdown.endswith(f"; {BALANCE.name} of table routing (failed: out of memory).\n")
    written = json.loads(as_json(tables, SETTINGS, (0,)))
    assert [table["table"] for table in written["tables"]] == [5]
    assert [row["failed"] for row in written["routing"]["rows"]] == [None, "out of memory"]


def test_the_paper_s_rows_alone_have_no_section_of_ours():
    tables = build_tables(ROWS, (0,), Progress({}, {}, False))
    assert "sparsight" not in as_markdown(tables, SETTINGS, (0,))
    assert json.loads(as_json(tables, SETTINGS, (0,)))["routing"] is None


def test_the_list_shows_what_ours_cost_and_no_published_figure():
    lines = as_list((AS_IT_IS, POOLED)).splitlines()
    assert lines[2] == "table routing: Routing of sparsight"
    usual, pooled = (next(line for line in lines if line.startswith(row.name)) for row in (AS_IT_IS, POOLED))
    assert len(usual.removeprefix(AS_IT_IS.name).split()) == 4  # run, parameters, GFLOPs of all and at K
    parameters = [int(line.split()[-3].replace(",", "")) for line in (usual, pooled)]
    assert parameters[1] < parameters[0]


@pytest.mark.parametrize("routing", [{}, {"map50_95": {}}, 3, []])
def test_figures_that_are_none_say_what_to_do(tmp_path, routing):
    values = {"seed": 0, "routing": routing}
    (tmp_path / RESULT_FILE).write_text(json.dumps(values))
    with pytest.raises(ConfigError, match="remove it to run again"):
        read_result(tmp_path)


@pytest.mark.parametrize(
    ("values", "digits", "cell"), [([], 1, ""), ([1.25], 0, "1"), ([1.0, 3.0], 1, "2.0 ± 1.4")]
)
def test_a_cell_is_the_mean_and_with_several_the_deviation(values, digits, cell):
    assert mean_cell(values, digits) == cell
