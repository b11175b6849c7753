"""Draw the benchmark's table as a chart of times, relative to the same model with every expert computed."""

from collections.abc import Sequence
from pathlib import Path
from textwrap import fill

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from training.errors import ConfigError
from training.lab.benchmark.command import Benchmark
from training.lab.benchmark.rows import Group, Row

FORMATS = (".png", ".svg", ".pdf")
WIDTH = 0.7  # width of one model's points, relative to the distance between models
# One colour for each K, from few experts to many; distinct for colour-blind people, and in grey.
COLOURS = ("#0b3c5d", "#2a7fb8", "#5fb7c9", "#d98b2b", "#a23b2a")


def require_drawable(path: Path) -> None:
    """Raise ConfigError if no chart can be written to `path`."""
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"--plot {path}: the name has to end in {', '.join(FORMATS)}")
    if not path.parent.is_dir():
        raise ConfigError(f"no folder {path.parent} to draw into")


def draw(result: Benchmark, path: Path) -> None:
    """Draw one panel for each group (engine, precision, threads), with the panels one above the other.

    Raises:
        ConfigError: the machine was too busy in every round in which a model with experts was timed.
    """
    groups = [group for group in result.groups if _labels(group)]
    if not groups:
        raise ConfigError("nothing to draw: no model with experts was timed in a quiet round")
    most = max(len(_labels(group)) for group in groups)
    figure = Figure(figsize=(4 + 1.7 * most, 1.2 + 3 * len(groups)), layout="constrained")
    panels = figure.subplots(len(groups), sharey=True, squeeze=False)[:, 0]
    for axes, group in zip(panels, groups, strict=True):
        _panel(axes, group, result.reference)
    handles, labels = panels[0].get_legend_handles_labels()
    legend = dict(zip(labels, handles, strict=True))  # one handle for each label
    figure.legend(legend.values(), legend.keys(), loc="outside lower center", ncols=2, fontsize=8)
    title = "Time for an image, as a fraction of the same model dense"
    figure.suptitle(f"{title}\n{fill(result.machine, 24 * (2 + most))}", fontsize=9)
    figure.savefig(path, dpi=150)


def _labels(group: Group) -> list[str]:
    """Return the labels of those models in a group that have experts."""
    return list(dict.fromkeys(row.form.label for row in group.rows if row.form.kind == "sparse"))


def _panel(axes: Axes, group: Group, reference: str) -> None:
    labels = _labels(group)
    for place, label in enumerate(labels):
        _model(axes, place, [row for row in group.rows if row.form.label == label], reference)
    axes.margins(y=0.15)
    axes.axhline(1, color="black", linewidth=1, label="dense: every expert")
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlim(-0.6, len(labels) - 0.4)
    axes.set_ylabel("of dense")
    axes.grid(axis="y", color="#dddddd", linewidth=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    threads = f"{group.threads} thread{'s' if group.threads > 1 else ''}"
    title = f"{group.engine} {group.precision}, {threads}, rounds kept: {group.rounds}"
    axes.set_title(f"{title}{', TOO NOISY' if group.noisy else ''}", fontsize=9, loc="left")


def _model(axes: Axes, place: int, rows: Sequence[Row], reference: str) -> None:
    sparse = [row for row in rows if row.form.kind == "sparse"]
    bounds = {row.form.top_k: row.ratio for row in rows if row.form.kind == "bound"}
    step = WIDTH / len(sparse)
    dense = next(row for row in rows if row.form.kind == "dense")
    if reference != dense.form.label:
        level, ends = 1 / dense.ratio_to_reference.median, (place - WIDTH / 2, place + WIDTH / 2)
        axes.hlines(level, *ends, color="#888888", linestyles="dotted", label=f"{reference}, dense")
    for index, row in enumerate(sparse):
        ratio = row.ratio
        assert ratio is not None
        x, colour = place + (index - (len(sparse) - 1) / 2) * step, COLOURS[index % len(COLOURS)]
        spread = [[ratio.median - ratio.low], [ratio.high - ratio.median]]
        label = "sparse, and the middle half of its rounds"
        axes.errorbar(x, ratio.median, yerr=spread, fmt="o", capsize=3, color=colour, label=label)
        above = {"xytext": (0, 6), "textcoords": "offset points", "ha": "center", "fontsize": 8}
        axes.annotate(f"K={row.form.top_k}", (x, ratio.high), **above)  # type: ignore[arg-type]
        bound, label = bounds.get(row.form.top_k), "bound: only the chosen experts"
        if bound is not None:
            axes.hlines(bound.median, x - step / 3, x + step / 3, color=colour, linewidth=2, label=label)
