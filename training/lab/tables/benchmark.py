"""Format the result of a benchmark for people and as JSON."""

import json
from dataclasses import asdict

from training.columns import in_columns
from training.lab.benchmark.command import Benchmark
from training.lab.benchmark.goals import Goal
from training.lab.benchmark.profile import Profile
from training.lab.benchmark.rows import Group, Row
from training.lab.benchmark.subjects import Form
from training.rounds import NOISE, PATIENCE

LEAST_SHARE = 0.005  # of a run's time; operators below this are left out of the profile

LEGEND = (
    "dense: every expert computed; sparse: experts that are not chosen are skipped",
    "bound: a graph that holds only the chosen experts",
    "GFLOPs, and their ratio to dense; ms: the median, and half the width of the middle half of the times",
    "of dense: median of the ratios within a round, and their middle half; for dense itself: the noise",
    "realised: the gain of sparse over dense, as a share of the gain of the bound over dense",
)
_WANTED = {
    "share": "≥ {:.0%} realised",
    "ratio": "≤ {:g} of dense",
    "ratio_to_reference": "≤ {:g} of reference",
    "ratio_to_peer": "≤ {:g} of the fastest peer",
}


def benchmark_report(result: Benchmark) -> str:
    """Return the result of a benchmark as text."""
    sizes = ", ".join(f"{height}×{width}" for height, width in result.input_hws)
    setting = f"{sizes}, one generated scene, no weight threshold; reference: {result.reference}, dense"
    lines = [result.machine, setting, *LEGEND]
    for group in result.groups:
        lines += ["", *_group(group)]
    for profile in result.profiles:
        lines += ["", *_profile(profile)]
    if result.throughputs:
        lines += [
            "",
            "openvino, all cores busy, as many requests at the same time as it chooses",
            *_rates(result),
        ]
    return "\n".join(lines)


def benchmark_json(result: Benchmark) -> str:
    """Return the result of a benchmark as JSON; times are in seconds."""
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
            f"TOO NOISY: {PATIENCE} times the wanted number of rounds had too few quiet ones. Stop other "
            "programs and repeat; do not quote these figures"
        )
    if not group.rows:
        return lines
    head = ("model", "", "GFLOPs", "", "ms", "", "of dense", "", "of ref.", "realised", "goals")
    before = ("", *(row.form.label for row in group.rows))
    cells = [_cells(row, label) for row, label in zip(group.rows, before, strict=False)]
    return lines + in_columns([head, *cells], "llrrrrrlrrl")


def _cells(row: Row, before: str) -> tuple[str, ...]:
    form, seconds = row.form, row.seconds
    return (
        form.label if form.label != before else "",
        _form(row.form),
        "" if row.gflops is None else f"{row.gflops:.2f}",
        "" if row.gflops_ratio in (None, 1) else f"{row.gflops_ratio:.3f}",
        f"{seconds.median * 1e3:.2f}",
        f"±{(seconds.high - seconds.low) / 2 / seconds.median:.1%}",
        "" if row.ratio is None else f"{row.ratio.median:.3f}",
        "" if row.ratio is None else f"{row.ratio.low:.3f}–{row.ratio.high:.3f}",
        f"{row.ratio_to_reference.median:.3f}",
        "" if row.share is None else f"{row.share:.0%}",
        ", ".join(map(_goal, row.goals)),
    )


def _profile(profile: Profile) -> list[str]:
    whole, nothing = profile.seconds, (0.0, 0)
    rows: list[tuple[object, ...]] = [("", "ms", "share", "layers", "bound, ms", "layers")]
    for operator in dict.fromkeys((*profile.by_operator, *profile.bound)):
        seconds, layers = profile.by_operator.get(operator, nothing)
        least, others = profile.bound.get(operator, nothing)
        if max(seconds, least) >= LEAST_SHARE * whole:
            beside = (f"{least * 1e3:.2f}", others) if profile.bound else ("", "")
            rows.append((operator, f"{seconds * 1e3:.2f}", f"{seconds / whole:.1%}", layers, *beside))
    if profile.bound:
        rows.append(("all", f"{whole * 1e3:.2f}", "", "", f"{profile.bound_seconds * 1e3:.2f}", ""))
    slowest = [(f"{seconds * 1e3:.3f} ms", operator, name) for name, operator, seconds in profile.by_layer]
    return [
        f"{profile.label} at K={profile.top_k}, {profile.precision}: where {whole * 1e3:.2f} ms go",
        "  a branch (If) includes all layers that ran in it; the columns on the right are the bound's",
        *in_columns(rows, "lrrrrr", indent=2),
        "  slowest layers",
        *in_columns(slowest, "rll", indent=4),
    ]


def _rates(result: Benchmark) -> list[str]:
    rates = {(one.form.label, one.precision, one.form.kind): one.images_per_s for one in result.throughputs}
    rows: list[tuple[object, ...]] = [("model", "", "", "images/s", "of dense", "requests")]
    for one in result.throughputs:
        ratio = one.images_per_s / rates[one.form.label, one.precision, "dense"]
        rate = f"{one.images_per_s:.1f}"
        rows.append((one.form.label, _form(one.form), one.precision, rate, f"{ratio:.3f}", one.requests))
    return in_columns(rows, "lllrrr")


def _form(form: Form) -> str:
    top_k = "" if form.top_k is None else f" K={form.top_k}"
    return f"{form.kind}{top_k}{'' if form.batch == 1 else f' B={form.batch}'}"


def _goal(goal: Goal) -> str:
    found = "(nothing to gain)" if goal.value is None else "met" if goal.met else "MISSED"
    return f"{_WANTED[goal.quantity].format(goal.limit)} {found}"


def _fields(row: Row) -> dict[str, object]:
    fields = asdict(row)
    goals = [asdict(goal) | {"met": goal.met} for goal in row.goals]
    return fields.pop("form") | fields | {"goals": goals}
