"""Ablation rows train the settings of their table, and hold its published figures."""

from pathlib import Path

import pytest

from training.lab.ablations.rows import ROWS, TABLES, published_spread, rows_of
from training.lab.ablations.run import options_of
from training.lab.tables.published import PUBLISHED
from training.models.variants import MixtureChoice
from training.workflows import train
from training.workflows.train import TrainOptions


def config_of(row, recipe="quick"):
    options = TrainOptions(
        run_dir=Path("out"), recipe=recipe, overrides={"model.input_hw": (64, 64)}, scenes=1
    )
    return train.training_config(options_of(row, 3, options))[0]


def test_rows_are_those_of_the_paper_s_tables():
    figures = {table: [(row.map50, row.map50_95) for row in rows_of([table])] for table in TABLES}
    assert figures == {
        5: [(None, 60.8), (None, 58.2), (None, 62.1), (None, 54.9)],
        6: [(81.4, 61.0), (82.2, 62.3), (82.0, 62.0)],
        7: [(81.1, 61.3), (81.9, 61.8), (81.6, 61.8), (81.6, 61.9)],
        8: [(None, 61.9), (None, 61.9), (None, 61.9), (None, 61.4), (None, 62.2)],
    }
    assert rows_of(TABLES) == ROWS
    assert len({(row.table, row.name) for row in ROWS}) == len(ROWS)


@pytest.mark.parametrize("table", [5, 6])
def test_parameters_are_those_that_the_table_of_models_has(table):
    there = [one.parameters for one in PUBLISHED if one.source == f"YOLO-Master table {table}"]
    assert {row.parameters for row in rows_of([table])} == set(there)


def test_places_of_experts():
    baseline, neck, backbone, both = (set(config_of(row).model.mixtures) for row in rows_of([5]))
    assert baseline == set()
    assert {place.split(".")[0] for place in neck} == {"neck"}
    assert {place.split(".")[0] for place in backbone} == {"backbone"}
    assert both == neck | backbone


def test_numbers_of_experts_and_of_those_chosen():
    def experts(row):
        (kind,) = {(each.num_experts, each.top_k) for each in config_of(row).model.mixtures.values()}
        return kind

    assert [experts(row) for row in rows_of([6])] == [(2, 2), (4, 2), (8, 2)]
    assert [experts(row) for row in rows_of([7])] == [(4, 1), (4, 2), (4, 3), (4, 4)]
    assert {experts(row) for row in rows_of([8])} == {(4, 2)}


@pytest.mark.parametrize("recipe", ["quick", "paper"])
def test_losses_are_the_rows_own_whatever_the_recipe_has(recipe):
    losses = [(loss.dfl, loss.balance) for loss in (config_of(row, recipe).loss for row in rows_of([8]))]
    assert losses == [(1.5, 0.5), (0.0, 0.5), (1.5, 1.0), (1.5, 1.5), (0.0, 1.5)]
    others = [config_of(row, recipe).loss for row in rows_of([5, 6, 7])]
    assert [loss.dfl for loss in others] == [1.5] + [0.0] * 10  # the baseline first
    assert {loss.balance for loss in others[1:]} == {1.5}


def test_rows_that_train_the_same_share_a_run_and_no_others_do():
    by_run = {}
    for row in ROWS:
        by_run.setdefault(row.run, []).append(row)
    shared = [rows for rows in by_run.values() if len(rows) > 1]
    assert [[row.table for row in rows] for rows in shared] == [[5, 6, 7, 8]]
    assert len(by_run) == 13
    for rows in by_run.values():
        assert len({(row.variant, row.mixture, *row.overrides.items()) for row in rows}) == 1
    assert by_run["esmoe-n-backbone-e4-k2-dfl0-balance1.5"][0].mixture == MixtureChoice(
        placement="backbone", num_experts=4, top_k=2
    )


def test_the_paper_s_four_figures_of_one_model_are_half_a_point_apart():
    assert published_spread() == (62.1, 62.3, 61.8, 62.2)
