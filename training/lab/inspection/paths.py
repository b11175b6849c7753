"""Charts of the paths of a network: which images take them, and which experts run on them."""

import numpy as np
from matplotlib.figure import Figure

from training.evaluate.groups import Grouping
from training.evaluate.routing_report import PathRouting
from training.lab.inspection.sets import draw_shares, name_shares
from training.lab.inspection.style import FAINT, INK, SMALL, TEXT, bare, new_figure

STRONG = 0.55  # numbers on a darker ground are white


def draw_choices(path: PathRouting, grouping: Grouping) -> Figure:
    """Draw one bar for each group of images, which shows for what share of them each path was taken."""
    use, found = path.choice.use, path.choice.by_grouping[grouping.name]
    figure = new_figure(
        0.75 + 0.3 * len(grouping.labels),
        f"Paths by {grouping.name}",
        "Share of a group's images that took each path, numbered from 0. If all bars are alike, the router\n"
        "ignores the group. NMI: normalised mutual information of path and group.",
    )
    axes = figure.subplots()
    order = np.argsort(-np.array(use.expert_share), kind="stable")  # the commonest path first
    taken = [str(number) for number in order if use.expert_share[number] > 0]
    title = (
        f"{use.information_bits:.2f} bit; NMI {found.nmi:.2f} (by chance {found.chance:.2f}), "
        f"p = {found.p_value:.4f}"
    )
    draw_shares(axes, grouping, taken, np.argsort(order)[path.paths.taken], title, "path")
    name_shares(axes)
    return figure


def draw_table(path: PathRouting) -> Figure:
    """Draw one panel for each layer, with the paths from top to bottom and the experts from left to right."""
    shares, table = path.choice.use.expert_share, path.paths.table
    figure = new_figure(
        0.75 + 0.22 * len(shares),
        "Experts of each path",
        "Probability of each expert on a path, from 0% (white) to 100% (dark blue). At top_k K, the K most\n"
        "probable experts of a layer run. Paths with the same experts everywhere are one path.",
    )
    panels = figure.subplots(1, len(table), squeeze=False)[0]
    for place, (axes, (layer, probs)) in enumerate(zip(panels, table.items(), strict=True)):
        axes.imshow(probs, cmap="Blues", vmin=0, vmax=1, aspect="auto")
        bare(axes)
        for (row, expert), probability in np.ndenumerate(probs):
            colour = "white" if probability > STRONG else INK
            axes.text(
                expert, row, f"{100 * probability:.0f}", ha="center", va="center", fontsize=6, color=colour
            )
        labels = [f"{number} ({share:.0%})" for number, share in enumerate(shares)] if place == 0 else []
        axes.set_yticks(range(len(labels)), labels)
        axes.set_xticks(range(probs.shape[1]))
        axes.set_xlabel("expert", fontsize=SMALL, color=FAINT)
        axes.set_title(layer, fontsize=TEXT, loc="left", color=INK)
    return figure
