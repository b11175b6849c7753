"""The text of the parameter conf; and queries are read as FastAPI would read them."""

import asyncio
from itertools import product
from typing import Annotated
from urllib.parse import quote

import pytest
from fastapi import FastAPI, Query, Request, Response
from fastapi.exceptions import RequestValidationError

from service.rest.query import DetectQuery, read_query, split_confidences

TEXTS = (
    *("", " ", "0", "1", "+1", "-1", "1.0", "0.5", ".5", "5e-1", " 1 ", "1\n", "1_0", "0x1", "nan", "1e400"),
    *("true", "TRUE", "t", "yes", "on", "off", "rle", "RLE", "json", "auto", "null", "[1]", "a=b&c", "a+b"),
    *("9" * 5000, "a" * 50_000, "fish:0.4", "é", "\u0661", "\0", "%", "%41"),
)
QUERIES = (
    *(f"{name}={quote(text)}" for name, text in product([*DetectQuery.model_fields, "other"], TEXTS)),
    *("top_k", "&&", "=", "=1", "%63onf=2", "conf=%ff", "top_k=1+", "top_k=1;iou=2", "iou=2&top_k=x&bits=4"),
    *("conf=0.1&conf=0.2", "conf=0.1&conf=x", "self=1", "model_config=1", "model_fields=1", "__class__=1"),
)


@pytest.mark.parametrize(
    ("text", "for_all", "by_class"),
    [
        ("0.3", 0.3, {}),
        ("0", 0.0, {}),
        ("1", 1.0, {}),
        ("fish:0.4,shark:0.2", None, {"fish": 0.4, "shark": 0.2}),
        ("0.3,fish:0.4", 0.3, {"fish": 0.4}),
        (" fish : 1e-1 , .5 ", 0.5, {"fish": 0.1}),
        ("traffic light:0.4", None, {"traffic light": 0.4}),
        ("a:b:0.4", None, {"a:b": 0.4}),
    ],
)
def test_numbers_are_for_all_classes_or_for_one(text, for_all, by_class):
    assert split_confidences(text) == (for_all, by_class)


@pytest.mark.parametrize(
    "text", ["", "0.3,", "0.3,0.4", "fish:", ":0.4", "fish", "fish:1.1", "a:0.1,a:0.2", "nan", "1_0", "-0.1"]
)
def test_other_texts_are_refused(text):
    with pytest.raises(ValueError, match=r"cannot be used|could not convert"):
        split_confidences(text)


def test_queries_are_read_as_fastapi_reads_them():
    app = FastAPI()

    @app.get("/")
    async def by_fastapi(request: Request, query: Annotated[DetectQuery, Query()]) -> None:
        request.state.read.append(query)

    @app.exception_handler(RequestValidationError)
    async def by_fastapi_refused(request: Request, error: RequestValidationError) -> Response:
        request.state.read.append(error)
        return Response(status_code=422)

    async def receive():
        return {"type": "http.request"}

    async def send(message):
        pass

    for text in QUERIES:
        scope = {"type": "http", "method": "GET", "path": "/", "headers": [], "query_string": text.encode()}
        read = []
        asyncio.run(app({**scope, "state": {"read": read}}, receive, send))
        try:
            read.append(read_query(Request(scope)))
        except RequestValidationError as error:
            read.append(error)
        theirs, ours = map(outcome, read)
        assert ours == theirs, text[:100]


def outcome(read):
    """Return the values of a query, or what is wrong with which parameters."""
    if isinstance(read, DetectQuery):
        return read.model_dump(), read.model_fields_set
    return [(one["type"], one["loc"][-1], one["input"], one["msg"]) for one in read.errors()]


TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.mark.parametrize(
    ("sent", "parent", "state"),
    [
        ([(b"traceparent", TRACE)], TRACE, None),
        ([(b"traceparent", TRACE), (b"tracestate", b"a=1"), (b"tracestate", b"b=2")], TRACE, b"a=1,b=2"),
        ([(b"traceparent", TRACE), (b"tracestate", b"a=" + b"1" * 510)], TRACE, b"a=" + b"1" * 510),
        ([(b"traceparent", TRACE), (b"tracestate", b"a=" + b"1" * 511)], TRACE, None),
        ([(b"traceparent", TRACE), (b"tracestate", b"a=\xff")], TRACE, None),
        ([(b"traceparent", TRACE), (b"tracestate", b"")], TRACE, None),
        ([(b"traceparent", TRACE + b"-")], None, None),
        ([(b"traceparent", TRACE.upper())], None, None),
        ([(b"tracestate", b"a=1")], None, None),
        ([], None, None),
    ],
)
def test_without_tracing_usable_trace_headers_are_kept_for_other_servers(sent, parent, state):
    scope = {"type": "http", "query_string": b"", "headers": sent, "state": {"request_id": "id"}}
    context = DetectQuery().context(Request(scope), 1.0)
    texts = [None if one is None else one.decode() for one in (parent, state)]
    assert [context.traceparent, context.tracestate] == texts
    assert context.step is None
