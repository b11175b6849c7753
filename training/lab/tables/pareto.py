"""Format the comparison by throughput and accuracy for people and as JSON."""

import json
from collections.abc import Sequence
from dataclasses import asdict

from training.columns import in_columns
from training.lab.pareto.command import Pareto
from training.lab.pareto.points import EQUAL_MAP, Matched, Point, best_match
from training.rounds import PATIENCE

FRONT = "front"


def pareto_report(result: Pareto) -> str:
    """Return the comparison as text; mAP is in percent, and a point is 1 % of mAP."""
    rounds = f"{result.rounds} round{'' if result.rounds == 1 else 's'}, {result.refused} refused"
    timed = f"{result.timed_images} of the images timed"
    lines = [
        result.machine,
        f"accuracy: {result.metric}50-95 in PyTorch, float32, on {result.images} images of {result.data}",
        f"time: openvino {result.precision}, {_count(result.threads, 'thread')}; {timed}; {rounds}",
    ]
    lines += [f"left out: {reason}" for reason in result.left_out]
    if result.noisy:
        lines.append(
            f"TOO NOISY: {PATIENCE} times the wanted number of rounds had too few quiet ones. Stop other "
            "programs and repeat; do not quote these times. The detections are kept, so that the same "
            "command only times again"
        )
    if not result.points:
        return "\n".join(lines)
    lines += ["", *_points(result)]
    for (first, second), matched in result.matched.items():
        lines += ["", *_matched(first, second, matched)]
    return "\n".join(lines)


def pareto_json(result: Pareto) -> str:
    """Return the comparison as JSON; times are in seconds, and mAP is from 0 to 1."""
    fields = {name: getattr(result, name) for name in result.__dataclass_fields__}
    del fields["front"], fields["matched"]
    fields["points"] = [_fields(point) | {FRONT: point in result.front} for point in result.points]
    fields["at_equal_map"] = [
        {
            "first": first,
            "second": second,
            "margin": EQUAL_MAP,
            "best_gain": None if (best := best_match(matched)) is None else _gain(best),
            "points": [
                {
                    "first": _fields(each.first),
                    "second": None if each.second is None else _fields(each.second),
                    "gain": _gain(each),
                }
                for each in matched
            ],
        }
        for (first, second), matched in result.matched.items()
    ]
    return json.dumps(fields)


def _points(result: Pareto) -> list[str]:
    score = f"{result.metric}50-95"
    rows: list[tuple[object, ...]] = [
        ("model", "", "input", "seeds", score, "of seeds", "GFLOPs", "ms", "", "images/s", FRONT)
    ]
    for point in result.points:
        time = point.time
        rows.append(
            (
                point.series,
                point.setting_text,
                "" if point.input_hw is None else "×".join(map(str, point.input_hw)),
                len(point.scores) if point.input_hw else "",
                "" if point.score is None else f"{100 * point.score:.2f}",
                f"{100 * min(point.scores):.2f} to {100 * max(point.scores):.2f}"
                if len(point.scores) > 1
                else "",
                "" if point.gflops is None else f"{point.gflops:.2f}",
                f"{time.median * 1e3:.2f}",
                f"±{(time.high - time.low) / 2 / time.median:.1%}",
                f"{1 / time.median:.1f}",
                "*" if point in result.front else "",
            )
        )
    legend = [
        "K: experts per layer that may run; P: weight threshold; dense: all experts computed",
        "ms: median for one image, and half the width of the middle half of the rounds",
        f"{FRONT} *: no other point is at least as fast and as accurate, and better in one of both",
    ]
    return [*in_columns(rows, "lllrrrrrrrl"), *legend]


def _matched(first: str, second: str, matched: Sequence[Matched]) -> list[str]:
    title = f"throughput at equal mAP: {first} against {second}"
    rows: list[tuple[object, ...]] = [("", "mAP", "ms", "against", "mAP", "ms", "throughput", "")]
    for each in matched:
        other, gain = each.second, each.gain
        cells: tuple[object, ...] = (f"nothing of {second} is as accurate", "", "", "", "")
        if other is not None and gain is not None:
            spread = f"{gain.low:.3f}–{gain.high:.3f}"
            cells = (other.setting_text, *_figures(other), f"{gain.median:.3f}", spread)
        rows.append((each.first.setting_text, *_figures(each.first), *cells))
    margin = f"{100 * EQUAL_MAP:g} point"
    lines = [
        title,
        f"  each against the fastest point of {second} that is at most {margin} less accurate",
        *in_columns(rows, "lrrlrrrl", indent=2),
    ]
    best = best_match(matched)
    if best is not None and best.gain is not None:
        lines.append(f"  best: {best.gain.median:.3f} times the throughput{_at(best)}")
    return lines


def _at(best: Matched) -> str:
    setting = best.first.setting_text
    return f", at {setting}" if setting else ""


def _figures(point: Point) -> tuple[str, str]:
    assert point.score is not None
    return f"{100 * point.score:.2f}", f"{point.time.median * 1e3:.2f}"


def _fields(point: Point) -> dict[str, object]:
    setting = None if point.setting is None else point.setting._asdict()
    known = {"series": point.series, "setting": setting, "input_hw": point.input_hw, "gflops": point.gflops}
    return known | {"map50_95": point.score, "of_seeds": point.scores, "seconds": asdict(point.time)}


def _gain(matched: Matched) -> dict[str, float] | None:
    return None if matched.gain is None else asdict(matched.gain)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
