"""Draw the samples of a soak."""

import io
from collections.abc import Sequence

from tests.load.soak.growth import PER, growth_of, warm
from tests.load.soak.samples import Sample
from training.lab.inspection.style import COLOURS, FAINT, GRID, INK, SMALL, TEXT, bare, new_figure

MEMORY = {"rss_mb": "RSS", "own_mb": "of its own", "used_mb": "in use", "triton_mb": "Triton, all processes"}
COUNTED = {"threads": "threads", "descriptors": "descriptors", "shared_files": "files in /dev/shm"}


def draw(samples: Sequence[Sample]) -> bytes:
    """Return a PNG: above, memory at rest over requests; below, threads, descriptors and shared files."""
    after = warm(samples)
    growth = growth_of([one.requests for one in after], [one.used_mb for one in after])
    figure = new_figure(
        5.2,
        "A service at rest between many requests",
        f"Memory in use grows by {growth} MB for each {PER:,} requests, from the dotted line on.",
    )
    above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 2]})
    for axes, lines, label in ((above, MEMORY, "MB"), (below, COUNTED, "number")):
        for number, (name, meaning) in enumerate(lines.items()):
            values = [getattr(sample, name) for sample in samples]
            if any(values):
                at = [sample.requests for sample in samples]
                axes.plot(at, values, "-", color=COLOURS[number], label=meaning, linewidth=1.2)
        bare(axes)
        axes.set_ylim(bottom=0)
        axes.axvline(after[0].requests, color=FAINT, linewidth=0.8, linestyle=":")
        axes.set_ylabel(label, fontsize=SMALL, color=FAINT)
        axes.grid(color=GRID, linewidth=0.6)
        axes.set_axisbelow(True)
        axes.legend(fontsize=SMALL, frameon=False, loc="lower right")
    below.set_xlabel("requests", fontsize=TEXT, color=INK)
    image = io.BytesIO()
    figure.savefig(image, format="png")
    return image.getvalue()
