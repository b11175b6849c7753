"""The learning-rate schedule at its corners, and the parameters with weight decay."""

import pytest
import torch
from torch import nn

from training.config import OptimizerConfig
from training.trainer.optimizer import build_optimizer, learning_rate

WARMUP, TOTAL = 4, 15  # the fall runs over steps 4..14


def rate(step, schedule="linear", warmup=WARMUP, total=TOTAL):
    config = OptimizerConfig(lr=1.0, final_lr=0.1, schedule=schedule)
    return learning_rate(config, step, warmup, total)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
@pytest.mark.parametrize(
    ("step", "expected"),
    [
        pytest.param(0, 0.25, id="first: already a quarter, not zero"),
        pytest.param(1, 0.5, id="it rises in equal steps"),
        pytest.param(3, 1.0, id="the last of the warm-up is full"),
        pytest.param(4, 1.0, id="the fall starts from there"),
        pytest.param(9, 0.55, id="half-way down: both schedules cross"),
        pytest.param(14, 0.1, id="the last step runs at the final rate"),
    ],
)
def test_rate(schedule, step, expected):
    assert rate(step, schedule) == pytest.approx(expected)


def test_cosine_falls_late_and_linear_evenly():
    # A quarter of the way from 4 to 12: (1 + cos 45°) / 2 = 0.854 of the way is still to go.
    assert rate(6, "linear", total=13) == pytest.approx(0.1 + 0.9 * 0.75)
    assert rate(6, "cosine", total=13) == pytest.approx(0.1 + 0.9 * 0.853553)


@pytest.mark.parametrize("schedule", ["linear", "cosine"])
def test_no_rate_of_a_run_is_above_the_highest_or_below_the_final_one_after_warm_up(schedule):
    rates = [rate(step, schedule) for step in range(TOTAL)]
    assert max(rates) == 1.0
    assert rates[WARMUP:] == sorted(rates[WARMUP:], reverse=True)
    assert min(rates[WARMUP:]) == pytest.approx(0.1)


def test_without_warm_up_the_first_step_is_full():
    assert rate(0, warmup=0) == 1.0


@pytest.mark.parametrize(
    ("warmup", "total", "expected"),
    [
        pytest.param(0, 1, [1.0], id="one step"),
        pytest.param(4, 2, [0.25, 0.5], id="shorter than its warm-up: it never arrives"),
        pytest.param(2, 3, [0.5, 1.0, 1.0], id="one step after the warm-up"),
    ],
)
def test_runs_of_hardly_any_steps(warmup, total, expected):
    assert [rate(step, warmup=warmup, total=total) for step in range(total)] == pytest.approx(expected)


def small_model():
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Linear(4, 2))


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_kernels_and_matrices_decay_and_biases_and_norms_do_not(name):
    model = small_model()
    optimizer = build_optimizer(model, OptimizerConfig(name=name, weight_decay=0.02))
    decays = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    assert {name: decays[id(p)] for name, p in model.named_parameters()} == {
        "0.weight": 0.02,
        "0.bias": 0.0,
        "1.weight": 0.0,
        "1.bias": 0.0,
        "2.weight": 0.02,
        "2.bias": 0.0,
    }


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_without_a_gradient_only_decayed_weights_shrink(name):
    model = small_model()
    optimizer = build_optimizer(model, OptimizerConfig(name=name, lr=0.1, weight_decay=0.02))
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimizer.step()
    # SGD with Nesterov adds the decay to the gradient: (1 + momentum) times lr; AdamW takes lr alone.
    factor = 1 - 0.1 * 0.02 * (1 if name == "adamw" else 1 + OptimizerConfig().momentum)
    for key, parameter in model.named_parameters():
        expected = before[key] * (factor if parameter.ndim >= 2 else 1)
        assert torch.allclose(parameter, expected, rtol=1e-5), key


def test_the_named_optimizers_take_momentum_as_their_own():
    model = small_model()
    sgd = build_optimizer(model, OptimizerConfig(name="sgd", momentum=0.8))
    adamw = build_optimizer(model, OptimizerConfig(name="adamw", momentum=0.8))
    assert (type(sgd), sgd.defaults["momentum"], sgd.defaults["nesterov"]) == (torch.optim.SGD, 0.8, True)
    assert (type(adamw), adamw.defaults["betas"]) == (torch.optim.AdamW, (0.8, 0.999))


@pytest.mark.parametrize("name", ["sgd", "adamw"])
def test_a_step_does_not_depend_on_the_order_in_memory(name):
    # Weights are channels-last; moments that were read from a checkpoint are not.
    torch.manual_seed(0)
    start, gradient = torch.randn(8, 4, 3, 3), torch.randn(8, 4, 3, 3)
    after = []
    for layout in (torch.contiguous_format, torch.channels_last):
        model = nn.Conv2d(4, 8, 3, bias=False)
        model.weight = nn.Parameter(start.clone(memory_format=layout))
        optimizer = build_optimizer(model, OptimizerConfig(name=name))
        for _ in range(2):
            model.weight.grad = gradient.clone(memory_format=layout)
            optimizer.step()
            groups = optimizer.state_dict()["param_groups"]
            state = {
                number: {key: value.contiguous() for key, value in each.items()}
                for number, each in optimizer.state_dict()["state"].items()
            }
            optimizer.load_state_dict({"state": state, "param_groups": groups})
        after.append(model.weight.detach().contiguous())
    assert torch.equal(*after)
