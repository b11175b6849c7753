"""Draws the spans of a trace as a tree, with durations."""

from collections.abc import Iterator, Sequence

from tests.tracing.receiver import ReceivedSpan

_WIDTH = 58


def children(spans: Sequence[ReceivedSpan], parent_id: str) -> list[ReceivedSpan]:
    """Return the spans whose parent has this id, in the order in which they began."""
    return sorted((span for span in spans if span.parent_id == parent_id), key=lambda span: span.began_ns)


def roots(spans: Sequence[ReceivedSpan]) -> list[ReceivedSpan]:
    """Return the spans without a parent among `spans`."""
    known = {span.span_id for span in spans}
    return sorted((span for span in spans if span.parent_id not in known), key=lambda span: span.began_ns)


def lines(spans: Sequence[ReceivedSpan]) -> Iterator[str]:
    """Yield a line for each span: name, when it began after the first one, duration, service, status."""
    tops = roots(spans)
    for top in tops:
        yield from _lines(spans, top, tops[0].began_ns, "", "")


def facts(span: ReceivedSpan) -> Iterator[str]:
    """Yield a line for each attribute of a span."""
    for name, value in sorted(span.facts.items()):
        yield f"{name} = {value}"


def _lines(
    spans: Sequence[ReceivedSpan], span: ReceivedSpan, zero_ns: int, before: str, below: str
) -> Iterator[str]:
    after_ms, service = (span.began_ns - zero_ns) / 1e6, span.resource["service.name"]
    status = "" if span.status == "UNSET" else f"  {span.status} {span.facts.get('error.type', '')}"
    yield f"{before + span.name:{_WIDTH}} {after_ms:8.2f} {span.duration_ms:8.2f}  {service}{status}".rstrip()
    inner = children(spans, span.span_id)
    for one in inner:
        last = one is inner[-1]
        yield from _lines(
            spans, one, zero_ns, below + ("└─ " if last else "├─ "), below + ("   " if last else "│  ")
        )
