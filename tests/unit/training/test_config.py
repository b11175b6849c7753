"""Configurations refuse values just outside their limits."""

from dataclasses import replace

import pytest

from training.config import (
    AugmentConfig,
    LossConfig,
    MixtureConfig,
    ModelConfig,
    OptimizerConfig,
    PathConfig,
    RouterConfig,
    TrainConfig,
)
from training.data_config import FolderConfig, ScenesConfig, absolute
from training.errors import ConfigError
from training.models.variants import model_config
from training.skeleton import Skeleton

MODEL = ModelConfig(class_names=("a", "b"))
PAIR = Skeleton(names=("left", "right"), flip_ids=(1, 0))
POSE = ModelConfig(class_names=("a",), task="pose", skeleton=PAIR)
TRAIN = TrainConfig(model=MODEL, train_data=ScenesConfig())
PATHS = ModelConfig(
    class_names=("a",),
    input_hw=(64, 96),
    mixtures={"neck.p3": MixtureConfig()},
    paths=PathConfig(),
)
MIXED = replace(TRAIN, model=replace(MODEL, mixtures={"neck.p3": MixtureConfig()}))


@pytest.mark.parametrize(
    ("make", "allowed", "refused", "message"),
    [
        (lambda v: MixtureConfig(top_k=v), [1, 4], [0, 5], "top_k=. is outside 1..num_experts=4"),
        (
            lambda v: MixtureConfig(num_experts=v, top_k=1, kernel_sizes=(3,) * v),
            [1, 2],
            [0],
            "num_experts=0 must be at least 1",
        ),
        (
            lambda v: MixtureConfig(kernel_sizes=v),
            [(1, 3, 5, 7)],
            [(3, 5, 7), (3, 5, 7, 9, 11)],
            "one kernel for each of 4 experts",
        ),
        (lambda v: MixtureConfig(kernel_sizes=v), [], [(3, 5, 7, 8), (3, 5, 7, -1)], "must be odd"),
        (lambda v: MixtureConfig(shared_kernel=v), [1, 3], [2], "shared_kernel=2 must be odd"),
        (lambda v: MixtureConfig(shared_kernel=1, top_k=v), [0, 4], [-1, 5], "outside 0..num_experts=4"),
        (lambda v: MixtureConfig(weight_threshold=v), [0.0, 1.0], [-0.1, 1.1], "must be in 0..1"),
        (
            lambda v: MixtureConfig(gate_epsilon=v),
            [0.0, 1e-6],
            [-1e-6],
            "gate_epsilon=-1e-06 must be at least 0",
        ),
        (lambda v: MixtureConfig(expert_ratio=v), [0.1], [0.0], "expert_ratio=0.0 must be positive"),
        (lambda v: MixtureConfig(expert=v), ["ghost"], ["spirit"], "expert 'spirit' is none of depthwise"),
        (lambda v: MixtureConfig(norm=v), ["group"], ["layer"], "norm 'layer' is none of batch, group"),
        (
            lambda v: RouterConfig(kind=v),
            ["ultra"],
            ["local"],
            "router kind 'local' is none of pooled, moments, spatial",
        ),
        (lambda v: RouterConfig(temperature=v), [0.1], [0.0], "temperature=0.0 must be positive"),
        (lambda v: RouterConfig(dropout=v), [0.0, 0.99], [-0.1, 1.0], "dropout=.* must be in 0..1"),
        (lambda v: RouterConfig(noise=v), [0.0], [-0.1], "noise=-0.1 must be at least 0"),
        (lambda v: RouterConfig(pool=v), [1], [0], "pool=0 must be at least 1"),
        (lambda v: RouterConfig(init_std=v), [None, 0.01], [0.0], "init_std=0.0 must be positive"),
        (
            lambda v: replace(MODEL, mixtures={v: MixtureConfig()}),
            ["backbone.p2", "neck.p3"],
            ["backbone.p6", "neck.p2", "p4"],
            "mixture place .* is none of backbone.p2",
        ),
        (
            lambda v: replace(MODEL, mixtures=dict.fromkeys(v, MixtureConfig(activate=False))),
            [("head.p3", "head.p4", "head.p5"), ()],
            [("head.p3",), ("head.p4", "head.p5")],
            "a mixture head needs all of",
        ),
        (
            lambda v: replace(MODEL, mixtures=dict.fromkeys(("head.p3", "head.p4", "head.p5"), v)),
            [MixtureConfig(activate=False)],
            [MixtureConfig(), MixtureConfig(activate=False, shared_kernel=1)],
            "head.p3: experts of a head have no shared expert",
        ),
        (
            lambda v: replace(
                MODEL, mixtures={"neck.p3": MixtureConfig(), "neck.p4": MixtureConfig(top_k=v)}
            ),
            [2],
            [1],
            "mixtures disagree on top_k: .1, 2.",
        ),
        (
            lambda v: replace(MODEL, plain_stages=(v,)),
            ["backbone.p2", "backbone.p4", "neck.p3"],
            ["backbone.p3", "p4"],
            "is none of backbone.p2, backbone.p4",
        ),
        (lambda v: ModelConfig(class_names=v), [("a",)], [()], "at least one class"),
        (lambda v: replace(POSE, skeleton=v), [PAIR], [None], "pose needs some"),
        (lambda v: replace(MODEL, skeleton=v), [None], [PAIR], "task='detect' with 2 keypoints"),
        (lambda v: ModelConfig(class_names=v), [("a", "b")], [("a", "b", "a")], "class_names repeat"),
        (
            lambda v: replace(MODEL, input_hw=v),
            [(64, 64), (384, 512), (64, 4096)],
            [(32, 64), (64, 32), (65, 64), (64, 80), (0, 64)],
            "multiples of 32, at least 64",
        ),
        (lambda v: ScenesConfig(images=v), [1], [0], "images=0 must be at least 1"),
        (lambda v: AugmentConfig(mosaic=v), [0.0, 1.0], [-0.01, 1.01], "must be in 0..1"),
        (lambda v: AugmentConfig(mixup=v), [0.0, 1.0], [-0.01, 1.01], "mixup=.* must be in 0..1"),
        (lambda v: AugmentConfig(copy_paste=v), [0.0, 1.0], [-0.01, 1.01], "copy_paste=.* must be in 0..1"),
        (lambda v: AugmentConfig(flip_horizontal=v), [0.0, 1.0], [-0.01, 1.01], "must be in 0..1"),
        (lambda v: AugmentConfig(flip_vertical=v), [0.0, 1.0], [-0.01, 1.01], "must be in 0..1"),
        (lambda v: AugmentConfig(scale=v), [0.0, 0.99], [-0.01, 1.0], "scale=.* must be in 0..1"),
        (lambda v: LossConfig(box=v), [0.0], [-0.1], "box=-0.1 must be at least 0"),
        (lambda v: LossConfig(classes=v), [0.0], [-0.1], "classes=-0.1 must be at least 0"),
        (lambda v: LossConfig(dfl=v), [0.0], [-0.1], "dfl=-0.1 must be at least 0"),
        (lambda v: LossConfig(information=v), [0.0], [-0.1], "information=-0.1 must be at least 0"),
        (lambda v: LossConfig(coverage=v), [0.0], [-0.1], "coverage=-0.1 must be at least 0"),
        (lambda v: PathConfig(count=v), [2, 64], [1, 0], "count=. must be at least 2"),
        (lambda v: PathConfig(pool=v), [1, 2, 4, 8, 16, 32], [0, -8, 3, 12, 64], "pool=.* must divide 32"),
        (lambda v: PathConfig(width=v), [1], [0], "width=0 must be at least 1"),
        (lambda v: PathConfig(hidden=v), [1], [0], "hidden=0 must be at least 1"),
        (lambda v: PathConfig(noise=v), [0.0], [-0.1], "noise=-0.1 must be at least 0"),
        (
            lambda v: replace(PATHS, paths=PathConfig(pool=v)),
            [1, 8],
            [16, 32],
            "pool=.* leaves a thumbnail of only . pixels",
        ),
        (lambda v: replace(PATHS, paths=v, mixtures={}), [None], [PathConfig()], "paths need mixture layers"),
        (
            lambda v: replace(PATHS, mixtures={"neck.p3": MixtureConfig(router=v)}),
            [RouterConfig()],
            [RouterConfig(temperature=2.0), RouterConfig(learn_temperature=True), RouterConfig(noise=0.1)],
            "scores of paths have no temperature and no noise",
        ),
        (lambda v: replace(TRAIN, soft_paths=v), [0.0, 1.0], [-0.1, 1.1], "soft_paths=.* must be in 0..1"),
        (lambda v: LossConfig(path_information=v), [0.0], [-0.1], "path_information=-0.1 must be at least 0"),
        (lambda v: LossConfig(path_load=v), [0.0], [-0.1], "path_load=-0.1 must be at least 0"),
        (lambda v: LossConfig(path_coverage=v), [0.0], [-0.1], "path_coverage=-0.1 must be at least 0"),
        (
            lambda v: replace(TRAIN, batch_size=v, model=PATHS, loss=LossConfig(path_information=0.5)),
            [2],
            [1],
            "the loss path_information compares the images of a part",
        ),
        (lambda v: LossConfig(distill=v), [0.0], [-0.1], "distill=-0.1 must be at least 0"),
        (lambda v: FolderConfig(root="a", folds=v), [1], [0], "folds=0 must be at least 1"),
        (lambda v: replace(MIXED, top_ks=v), [(), (1, 4)], [(0,), (1, 5)], "top_ks=.* runs with 1, 2, 3, 4"),
        (lambda v: LossConfig(balance=v), [0.0], [-0.1], "balance=-0.1 must be at least 0"),
        (lambda v: LossConfig(load=v), [0.0], [-0.1], "load=-0.1 must be at least 0"),
        (lambda v: LossConfig(z=v), [0.0], [-0.1], "z=-0.1 must be at least 0"),
        (lambda v: LossConfig(diversity=v), [0.0], [-0.1], "diversity=-0.1 must be at least 0"),
        (lambda v: OptimizerConfig(lr=v), [1e-4], [0.0, -1.0], "lr=.* must be positive"),
        (lambda v: OptimizerConfig(lr=0.1, final_lr=v), [1e-9, 0.1], [0.0, 0.11], "must be in 0..lr=0.1"),
        (lambda v: OptimizerConfig(ema_decay=v), [0.0, 0.9999], [-0.1, 1.0], "ema_decay=.* must be in 0..1"),
        (lambda v: replace(TRAIN, epochs=v), [1], [0], "epochs=0 must be at least 1"),
        (lambda v: replace(TRAIN, batch_size=v), [1], [0], "batch_size=0 must be at least 1"),
        (
            lambda v: replace(
                TRAIN,
                batch_size=v,
                model=replace(
                    MODEL, mixtures={"neck.p5": MixtureConfig(router=RouterConfig(kind="spatial"))}
                ),
            ),
            [2],
            [1],
            "has batch norm in its routers, which needs two images",
        ),
        (
            lambda v: replace(
                TRAIN,
                model=replace(MODEL, mixtures={"neck.p5": MixtureConfig(top_k=v, shared_kernel=1)}),
            ),
            [1],
            [0],
            "top_k=0 trains no expert",
        ),
        (
            lambda v: replace(
                TRAIN,
                batch_size=4,
                accumulate=v,
                model=replace(MODEL, mixtures={"neck.p5": MixtureConfig()}),
                loss=LossConfig(information=0.5),
            ),
            [2],
            [4],
            "the loss information compares the images of a part, and accumulate=4 leaves one of batch_size=4",
        ),
        (lambda v: replace(TRAIN, seed=v), [0, 2**32 - 1], [-1, 2**32], "seed=.* must be in 0..4294967295"),
        (lambda v: replace(TRAIN, loader_workers=v), [0], [-1], "loader_workers=-1 must be at least 0"),
    ],
)
def test_the_last_value_that_works_is_taken_and_the_next_refused(make, allowed, refused, message):
    for value in allowed:
        make(value)
    for value in refused:
        with pytest.raises(ConfigError, match=message):
            make(value)


def test_a_folder_is_named_so_that_it_is_found_from_elsewhere(tmp_path, monkeypatch):
    (tmp_path / "cells").mkdir()
    monkeypatch.chdir(tmp_path)
    named = absolute(FolderConfig(root="cells", split="test", class_names=("a",)))
    assert named == FolderConfig(root=str(tmp_path.resolve() / "cells"), split="test", class_names=("a",))


def test_experts_of_their_own_images_alone_do_not_share_batch_norm_between_processes():
    grouped = replace(MODEL, mixtures={"neck.p5": MixtureConfig(train_dispatch="grouped", norm="batch")})
    config = replace(TRAIN, batch_size=4, model=grouped)
    config.check_parts(1)
    with pytest.raises(ConfigError, match="use group norm or dense dispatch"):
        config.check_parts(2)
    replace(config, freeze_batch_norm=True).check_parts(2)
    norm = MixtureConfig(train_dispatch="grouped", norm="group")
    replace(config, model=replace(MODEL, mixtures={"neck.p5": norm})).check_parts(2)


def test_experts_of_a_head_have_batch_norm_whatever_their_mixture_says():
    head = model_config("moehead-n", ("a",), (64, 64))
    for dispatch, processes in (("dense", 2), ("grouped", 1)):
        mixtures = {
            place: replace(mixture, train_dispatch=dispatch, norm="group")
            for place, mixture in head.mixtures.items()
        }
        config = replace(TRAIN, batch_size=4, model=replace(head, mixtures=mixtures))
        config.check_parts(processes)
    with pytest.raises(ConfigError, match="cannot share batch norm between processes"):
        config.check_parts(2)
