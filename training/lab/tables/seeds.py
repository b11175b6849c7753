"""Format the comparison of two variants over several seeds for people and as JSON."""

import json
from statistics import fmean, stdev

from training.columns import in_columns
from training.evaluate.seeds import LEAST_SEEDS, MARGIN, Interval
from training.workflows.compare_seeds import SeedsCompared


def seeds_report(found: SeedsCompared) -> str:
    """Return the comparison as text; mAP is in percent, and a point is 1 % of mAP."""
    lead, score = found.lead, found.kind.score
    names = _names(found)
    rows: list[tuple[str, ...]] = [(f"{score}50-95", *names, "difference")]
    columns = list(zip(lead.first, lead.second, lead.differences, strict=True))
    for seed, values in zip(lead.seeds, columns, strict=True):
        rows.append((f"seed {seed}", *_in_percent(values)))
    rows.append(("mean", *_in_percent([fmean(column) for column in zip(*columns, strict=True)])))
    if len(lead.seeds) > 1:
        spread = [f"{100 * stdev(column):.2f}" for column in zip(*columns, strict=True)]
        rows.append(("standard deviation", *spread))
    sides = (found.first, found.second)
    rows.append((f"{score}50, mean", *(f"{100 * fmean(m.map50 for m in s.measured):.2f}" for s in sides), ""))
    rows.append(("GFLOPs used", *(f"{side.mean_gflops:.2f}" for side in sides), ""))
    seeds = f"{len(lead.seeds)} seed{'s' * (len(lead.seeds) > 1)}"
    lines = [f"{found.images} images, {seeds}, checkpoints of the last epoch", *in_columns(rows, "lrrr")]
    lines += [f"left out: {reason}" for reason in found.left_out]
    lines += [f"the two sides differ in a setting: {text}" for text in found.differing]
    by_seeds = "with one seed, there is none" if lead.of_seeds is None else _range(lead.of_seeds)
    lines += [
        f"lead of {names[0]} over {names[1]}: {100 * lead.mean:+.2f} points of {score}50-95",
        f"  95 % interval by images ({lead.draws} bootstrap samples): {_range(lead.of_images)}",
        f"  95 % interval by seeds (Student's t): {by_seeds}",
        f"verdict: {_verdict(found)}",
        f"to take: {_choice(found)}",
    ]
    return "\n".join(lines)


def _names(found: SeedsCompared) -> tuple[str, str]:
    first, second = found.first.name, found.second.name
    return (f"first: {first}", f"second: {second}") if first == second else (first, second)


def _in_percent(values: tuple[float, ...] | list[float]) -> list[str]:
    *scores, difference = values
    return [*(f"{100 * score:.2f}" for score in scores), f"{100 * difference:+.2f}"]


def _range(interval: Interval) -> str:
    return f"{100 * interval.low:+.2f} to {100 * interval.high:+.2f}"


def _verdict(found: SeedsCompared) -> str:
    lead, names = found.lead, _names(found)
    if lead.verdict is not None:
        return f"{names[0] if lead.verdict == 'first' else names[1]} is ahead; both intervals exclude 0"
    if len(lead.seeds) < LEAST_SEEDS:
        return f"not decided, because {LEAST_SEEDS} seeds are needed"
    assert lead.of_seeds is not None
    intervals = {"images": lead.of_images, "seeds": lead.of_seeds}
    with_zero = [f"by {name}" for name, interval in intervals.items() if interval.ahead is None]
    if not with_zero:
        return "not decided, because the intervals are on different sides of 0"
    which = "both intervals contain" if len(with_zero) == 2 else f"the interval {with_zero[0]} contains"
    return f"not decided, because {which} 0"


def _choice(found: SeedsCompared) -> str:
    choice = found.lead.choice((found.first.mean_gflops, found.second.mean_gflops))
    if choice is None:
        return f"open until there are {LEAST_SEEDS} seeds"
    name = _names(found)[0 if choice == "first" else 1]
    if found.lead.verdict is not None:
        return f"{name}, which is ahead"
    rule = f"fewer GFLOPs count if the mean is at most {100 * MARGIN:g} point behind"
    return f"{name} (not decided; {rule})"


def seeds_json(found: SeedsCompared) -> str:
    """Return the comparison as JSON; mAP is from 0 to 1."""
    lead = found.lead
    sides = {
        place: {
            "name": side.name,
            "map50_95": list(scores),
            "map50": [each.map50 for each in side.measured],
            "gflops": list(side.gflops),
        }
        for place, side, scores in (("first", found.first, lead.first), ("second", found.second, lead.second))
    }
    return json.dumps(
        {
            "images": found.images,
            "metric": found.kind.score,
            "seeds": list(lead.seeds),
            **sides,
            "lead": lead.mean,
            "interval_by_images": list(lead.of_images),
            "interval_by_seeds": None if lead.of_seeds is None else list(lead.of_seeds),
            "draws": lead.draws,
            "verdict": lead.verdict,
            "choice": lead.choice((found.first.mean_gflops, found.second.mean_gflops)),
            "differing": list(found.differing),
            "left_out": list(found.left_out),
        }
    )
