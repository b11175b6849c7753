"""The steps of a request are noted as they happen, and cost nothing if nobody wants them."""

import pytest

from service.request import RequestContext
from service.timeline import Step, begin

TRACE = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def test_a_step_ends_with_its_block_and_lies_inside_its_parent():
    root = Step("request")
    with begin(root, "detect", {"size": 3}) as outer, begin(outer, "decode") as inner:
        assert inner.ended is None
    assert (root.steps, outer.steps, outer.facts) == ([outer], [inner], {"size": 3})
    assert root.began <= outer.began <= inner.began <= inner.ended <= outer.ended
    assert outer.error is None


def test_the_newest_step_of_a_name_is_found():
    root = Step("attempt")
    root.add("infer", 1, 2)
    root.add("infer", 3, 4)
    root.add("queue", 5, 6)
    assert (root.last("infer").began, root.last("decode")) == (3, None)


def test_a_step_keeps_the_error_that_ended_it():
    root = Step("request")
    with pytest.raises(ValueError, match="wrong"), begin(root, "decode"):
        raise ValueError("wrong")
    (step,) = root.steps
    assert (type(step.error), step.ended is None) == (ValueError, False)


def test_without_a_parent_there_is_no_step():
    with begin(None, "decode") as step:
        assert step is None
    context = RequestContext.within(1, traceparent=TRACE)
    assert context.inside(None) is context
    assert context.trace_id is None  # nobody keeps spans of it


def test_a_call_to_another_server_names_its_own_span_in_the_same_trace():
    step = Step("call")
    sent = step.call(TRACE).split("-")
    version, trace_id, _, flags = TRACE.split("-")
    assert sent == [version, trace_id, step.span_id, flags]
    assert len(step.span_id) == 16
    assert step.call(TRACE) != Step("call").call(TRACE)


def test_the_work_inside_a_step_belongs_to_the_same_request():
    step = Step("attempt")
    context = RequestContext.within(1, "id", traceparent=TRACE, tracestate="a=b")
    inside = context.inside(step)
    assert (inside.step, inside.deadline, inside.tracestate) == (step, context.deadline, "a=b")
    assert inside.trace_id == "0af7651916cd43dd8448eb211c80319c"
