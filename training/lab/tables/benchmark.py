"""Format the result of a benchmark for people and as JSON."""

import json
from dataclasses import asdict

from training.columns import in_columns
from training.lab.benchmark.command import Benchmark
from training.lab.benchmark.goals import Goal
from training.lab.benchmark.profile import Profile
from training.lab.benchmark.rows import Group, Quartiles, Row
from training.lab.benchmark.subjects import Form
from training.rounds import NOISE, PATIENCE

LEAST_SHARE = 0.005  # of a run; less is not worth a line of its profile

LEGEND = (
    "dense: every expert computed; sparse: those not chosen are skipped; bound: only the chosen are there",
    "GFLOPs, and of dense; ms, its median and half the width of the middle half of the rounds",
    "of dense: median of the ratios within a round, and their middle half; of dense itself: the noise",
    "realised: what sparse gains on dense, over what the bound gains",
)


def benchmark_report(result: Benchmark) -> str:
    """Return the result as text."""
    sizes = ", ".join(f"{height}×{width}" for height, width in result.input_hws)
    setting = f"{sizes}, one generated scene, no weight threshold; reference: {result.reference}, dense"
    lines = [result.machine, setting, *LEGEND]
    for group in result.groups:
        lines += ["", *_group(group)]
    for profile in result.profiles:
        lines += ["", *_profile(profile)]
    if result.throughputs:
        lines += ["", "openvino, every core busy, as many requests at once as it takes", *_rates(result)]
    return "\n".join(lines)


def benchmark_json(result: Benchmark) -> str:
    """Return the result as JSON; times in seconds."""
    groups = [asdict(group) | {"rows": list(map(_fields, group.rows))} for group in result.groups]
    return json.dumps(asdict(result) | {"groups": groups})


def _group(group: Group) -> list[str]:
    threads = f"{group.threads} thread{'' if group.threads == 1 else 's'}"
    rounds = f"{group.rounds} round{'' if group.rounds == 1 else 's'}"
    lines = [
        f"{group.engine} {group.precision}, {threads}: {rounds}, {group.refused} refused "
        f"(dense differed from itself by more than {NOISE:.0%})"
    ]
    if group.noisy:
        lines.append(
            f"TOO NOISY: {PATIENCE} times as many rounds as wanted were tried. Stop what else runs here, and "
            "repeat it; do not quote these figures"
        )
    if not group.rows:
        return lines
    head = ("model", "", "GFLOPs", "", "ms", "", "of dense", "", "of ref.", "realised", "goals")
    before = ("", *(row.form.label for row in group.rows))
    cells = [_cells(row, label) for row, label in zip(group.rows, before, strict=False)]
    return lines + in_columns([head, *cells], "llrrrrrlrrl")


def _cells(row: Row, before: str) -> tuple[str, ...]:
    form = row.form
    return (
        form.label if form.label != before else "",
        _form(row.form),
        "" if row.gflops is None else f"{row.gflops:.2f}",
        "" if row.gflops_ratio in (None, 1) else f"{row.gflops_ratio:.3f}",
        f"{row.seconds.median * 1e3:.2f}",
        f"±{_spread(row.seconds):.1%}",
        "" if row.ratio is None else f"{row.ratio.median:.3f}",
        "" if row.ratio is None else f"{row.ratio.low:.3f}–{row.ratio.high:.3f}",
        f"{row.ratio_to_reference.median:.3f}",
        "" if row.share is None else f"{row.share:.0%}",
        ", ".join(map(_goal, row.goals)),
    )


def _profile(profile: Profile) -> list[str]:
    whole, bound = profile.seconds, profile.bound_seconds
    lines = [
        f"{profile.label} at K={profile.top_k}, {profile.precision}: where {whole * 1e3:.2f} ms go",
        "  a branch (If) counts with all that ran in it; beside it what the bound takes",
    ]
    rows: list[tuple[object, ...]] = [("", "ms", "share", "layers", "bound, ms", "layers")]
    nothing = (0.0, 0)
    for operator in dict.fromkeys((*profile.by_operator, *profile.bound)):
        (seconds, layers), (least, others) = (
            each.get(operator, nothing) for each in (profile.by_operator, profile.bound)
        )
        if max(seconds, least) >= LEAST_SHARE * whole:
            beside = (f"{least * 1e3:.2f}", others) if profile.bound else ("", "")
            rows.append((operator, f"{seconds * 1e3:.2f}", f"{seconds / whole:.1%}", layers, *beside))
    if profile.bound:
        rows.append(("all", f"{whole * 1e3:.2f}", "", "", f"{bound * 1e3:.2f}", ""))
    slowest = [(f"{seconds * 1e3:.3f} ms", operator, name) for name, operator, seconds in profile.by_layer]
    return [
        *lines,
        *in_columns(rows, "lrrrrr", indent=2),
        "  slowest layers",
        *in_columns(slowest, "rll", indent=4),
    ]


def _rates(result: Benchmark) -> list[str]:
    dense = {
        (one.form.label, one.precision): one.images_per_s
        for one in result.throughputs
        if one.form.kind == "dense"
    }
    rows: list[tuple[object, ...]] = [("model", "", "", "images/s", "of dense", "at once")]
    for one in result.throughputs:
        ratio = one.images_per_s / dense[one.form.label, one.precision]
        rate = f"{one.images_per_s:.1f}"
        rows.append((one.form.label, _form(one.form), one.precision, rate, f"{ratio:.3f}", one.requests))
    return in_columns(rows, "lllrrr")


def _form(form: Form) -> str:
    parts = [form.kind, *([] if form.top_k is None else [f"K={form.top_k}"])]
    return " ".join([*parts, *([] if form.batch == 1 else [f"B={form.batch}"])])


def _spread(seconds: Quartiles) -> float:
    return (seconds.high - seconds.low) / 2 / seconds.median


def _goal(goal: Goal) -> str:
    match goal.quantity:
        case "share":
            wanted = f"≥ {goal.limit:.0%} realised"
        case "ratio":
            wanted = f"≤ {goal.limit:g} of dense"
        case "ratio_to_reference":
            wanted = f"≤ {goal.limit:g} of reference"
    return f"{wanted} {'(nothing to gain)' if goal.value is None else 'met' if goal.met else 'MISSED'}"


def _fields(row: Row) -> dict[str, object]:
    fields = asdict(row)
    goals = [asdict(goal) | {"met": goal.met} for goal in row.goals]
    return fields.pop("form") | fields | {"goals": goals}
