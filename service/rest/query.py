"""Define the query parameters of POST /detect, and turn them into the parameters of the service."""

import difflib
import math
import re
from collections import Counter
from time import perf_counter
from typing import Annotated, Literal, Self, TypeVar

from fastapi import Request
from fastapi.exceptions import RequestValidationError
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    GetJsonSchemaHandler,
    ValidationError,
    WithJsonSchema,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema

from service.artifact.manifest import Manifest
from service.errors import InvalidParameter
from service.request import DetectParams, Explain, MaskForm, Priority, Quality, RequestContext
from service.rest.accept import accepted_types
from service.rest.formats.choose import FORMAT_NAMES, FormatName
from service.settings import BACKEND_NAMES, BackendName
from service.timeline import trace_of

T = TypeVar("T")


class _NeverNull:
    """An annotation that removes null from a schema in openapi.json, because a query cannot send null."""

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        values: list[JsonSchemaValue] = handler(schema)["anyOf"]
        return next(value for value in values if value != {"type": "null"})


OrUnset = Annotated[T | None, _NeverNull()]
Share = Annotated[float, Field(ge=0, le=1)]
Count = Annotated[int, Field(ge=1, le=10_000)]

Bits = Annotated[
    OrUnset[Annotated[int, Field(ge=8, le=16)]],
    Field(
        description="Bits that a file with 16 bits per value holds: a whole number from 8 to 16; if"
        " unset, the file's header tells, or its largest value."
    ),
]
_TRACESTATE = re.compile(r"[\x20-\x7e]{1,512}")  # what a header may hold; other servers read the content
_TRACEPARENT = re.compile(r"[0-9a-f]{2}-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}")
_VALUES = ("iou", "max_det", "top")  # parameters of the tasks that are numbers
# Names in other APIs and tools for parameters that this API has, too.
_ALIASES = {
    **dict.fromkeys(("confidence", "conf_thres", "min_confidence", "score", "threshold"), "conf"),
    **dict.fromkeys(("conf_threshold", "confidence_threshold", "score_threshold"), "conf"),
    **dict.fromkeys(("overlap", "nms", "nms_threshold", "overlap_threshold"), "iou"),
    **dict.fromkeys(("iou_thres", "iou_threshold"), "iou"),
    **dict.fromkeys(("agnostic", "class_agnostic", "class_agnostic_nms"), "agnostic_nms"),
    **dict.fromkeys(("max_detections", "max_dets", "limit", "max_objects"), "max_det"),
    **dict.fromkeys(("class", "class_filter", "classlist", "filter", "labels"), "classes"),
    **dict.fromkeys(("model_id", "model_name", "weights"), "model"),
    **dict.fromkeys(("model_version",), "version"),
    **dict.fromkeys(("timeout", "timeout_s"), "timeout_ms"),
    **dict.fromkeys(("experts", "num_experts", "k"), "top_k"),
    **dict.fromkeys(("batch", "list"), "several"),
    **dict.fromkeys(("output", "output_format", "response_format"), "format"),
    **dict.fromkeys(("engine", "device", "runtime"), "backend"),
}
CONTROLS = ("top_k", "weight_threshold")
"""The controls that most models have; openapi.json describes no other controls."""


def split_confidences(text: str) -> tuple[float | None, dict[str, float]]:
    """Return the confidence for all classes, if given, and the confidences for single classes, by name or id.

    `0.3,fish:0.4` gives (0.3, {"fish": 0.4}).

    Raises:
        ValueError: a number is missing or not from 0 to 1, or is given twice for the same class.
    """
    found: dict[str, float] = {}
    for part in text.split(","):
        name, colon, number = part.rpartition(":")
        name, value = name.strip(), math.nan if "_" in number else float(number)
        if not 0 <= value <= 1 or name in found or (colon and not name):
            raise ValueError(f"{part!r} cannot be used")
        found[name] = value
    return found.pop("", None), found


def _check_confidences(text: str) -> str:
    split_confidences(text)
    return text


class DetectQuery(BaseModel):
    """The query parameters of POST /detect. The error for a wrong value repeats the field's description."""

    model_config = ConfigDict(extra="allow", allow_inf_nan=False)  # controls of the model are extra fields

    model: Annotated[OrUnset[str], Field(description="Name of a model that GET /models lists.")] = None
    conf: Annotated[
        OrUnset[
            Annotated[
                str,
                AfterValidator(_check_confidences),
                WithJsonSchema({"type": ["number", "string"], "minimum": 0, "maximum": 1}),
            ]
        ],
        Field(
            description="Lowest confidence to report: a number from 0 to 1, or a number for each class,"
            " by name or id, as in fish:0.4,shark:0.2 or 0.3,fish:0.4."
        ),
    ] = None
    iou: Annotated[
        OrUnset[Share],
        Field(description="IoU above which two boxes of a class count as one object: a number from 0 to 1."),
    ] = None
    agnostic_nms: Annotated[
        OrUnset[bool],
        Field(description="Whether overlapping boxes of different classes count as one object: true, false."),
    ] = None
    max_det: Annotated[
        OrUnset[Count], Field(description="Maximum number of detections: a whole number from 1 to 10000.")
    ] = None
    top: Annotated[
        OrUnset[Count],
        Field(description="Number of classes to report, for a classifier: a whole number from 1 to 10000."),
    ] = None
    masks: Annotated[
        OrUnset[MaskForm],
        Field(description="Form of the masks, for a segmenter: one of rle (the default), polygon, off."),
    ] = None
    classes: Annotated[
        OrUnset[str], Field(description="Names or ids of the classes to report, separated by commas.")
    ] = None
    backend: Annotated[
        Literal["auto", BackendName],
        Field(description=f"Backend that runs the model: one of auto, {', '.join(BACKEND_NAMES)}."),
    ] = "auto"
    version: Annotated[
        OrUnset[Annotated[str, Field(max_length=20)]],
        Field(description="Version that GET /models lists as ready; if unset, the highest."),
    ] = None
    timeout_ms: Annotated[
        OrUnset[Annotated[int, Field(ge=1, le=600_000)]],
        Field(
            description="Time limit in milliseconds, after the last byte: a whole number from 1 to 600000."
        ),
    ] = None
    quality: Annotated[
        Quality,
        Field(
            description="Whether fewer experts may run under load, if the service is set so: auto allows it,"
            " high forbids it."
        ),
    ] = "auto"
    priority: Annotated[
        Priority,
        Field(description="Share of the service while others wait, 8 to 4 to 1: one of high, normal, low."),
    ] = "normal"
    top_k: Annotated[
        OrUnset[Annotated[int, Field(ge=0)]],
        Field(description="Experts per image and mixture layer: a number that GET /models lists."),
    ] = None
    weight_threshold: Annotated[
        OrUnset[Share],
        Field(description="Lowest probability of an expert to run, except the best: a number from 0 to 1."),
    ] = None
    bits: Bits = None
    moe: Annotated[
        Literal["summary", "full", "off"],
        Field(description="How much to report about the experts: one of summary, full, off."),
    ] = "summary"
    explain: Annotated[
        Explain,
        Field(
            description="Whether to explain which regions of the image moved the routers, if the service"
            " allows it: one of off, route."
        ),
    ] = "off"
    several: Annotated[
        bool,
        Field(description="Whether the answer to one image is a list, too: true, false."),
    ] = False
    keep: Annotated[
        bool,
        Field(
            description="Whether the service may keep the image for labelling, if its operator has set this"
            " up: true, false."
        ),
    ] = True
    format: Annotated[
        FormatName,
        Field(
            description=f"Format of the answer: one of {', '.join(FORMAT_NAMES)} (the image itself, with what"
            " was found drawn into it)."
        ),
    ] = "json"

    def as_accepted_by(self, request: Request) -> Self:
        """Return these parameters; set format=jpeg if no format is given and the caller accepts only JPEG."""
        if "format" in self.model_fields_set or accepted_types(request) != {"image/jpeg"}:
            return self
        return self.model_copy(update={"format": "jpeg"})

    def params(self) -> DetectParams:
        """Return the parameters for the service, without those that only concern the HTTP answer.

        Raises:
            InvalidParameter: the request asks for polygons in the COCO format, whose polygons cannot have
                holes, or together with a drawing; or an explanation in another format than JSON.
        """
        if self.explain != "off" and self.format != "json":
            sentence = f"format={self.format} has no place for an explanation"
            raise InvalidParameter("explain", f"{sentence}; use format=json, or leave out explain")
        if self.format == "jpeg" and self.masks == "polygon":
            sentence = "format=jpeg draws masks, so they have no form"
            raise InvalidParameter("masks", f"{sentence}; leave out masks, or use masks=off or format=json")
        if self.format == "coco" and self.masks == "polygon":
            sentence = "format=coco writes masks as RLE, because its polygons have no holes"
            raise InvalidParameter("masks", f"{sentence}; use masks=rle, masks=off or format=json")
        others: dict[str, str] = self.model_extra or {}
        conf, class_conf = (None, {}) if self.conf is None else split_confidences(self.conf)
        values = self.model_dump(include=set(_VALUES), exclude_none=True)
        return DetectParams(
            model=self.model,
            backend=self.backend,
            version=self.version,
            classes=self.classes,
            bits=self.bits,
            values=values if conf is None else values | {"conf": conf},
            class_conf=class_conf,
            agnostic_nms=self.agnostic_nms,
            masks=self.masks,
            quality=self.quality,
            explain=self.explain,
            controls=self.model_dump(include=set(CONTROLS), exclude_none=True) | others,
        )

    def context(self, request: Request, timeout_s: float) -> RequestContext:
        """Return the context of a request whose body has just arrived; its time limit begins now."""
        allowed_s = timeout_s if self.timeout_ms is None else self.timeout_ms / 1000
        trace = trace_of(request.scope["state"])
        if trace is None:
            traceparent, tracestate, step = *_sent_trace(request), None
        else:
            traceparent, tracestate, step = trace.traceparent, trace.tracestate, trace.root
        if step is not None:
            step.add("receive", step.began, perf_counter())
        return RequestContext.within(
            allowed_s,
            request.state.request_id,
            own_limit=allowed_s >= timeout_s,
            priority=self.priority,
            traceparent=traceparent,
            tracestate=tracestate,
            step=step,
            caller=None if request.client is None else request.client.host,
            may_keep=self.keep,
        )

    def check_names(self, manifest: Manifest) -> None:
        """Check that every given parameter is one of the API's parameters or of this model's controls.

        Raises:
            InvalidParameter: a parameter is unknown; the message names all known parameters.
        """
        controls = [row.name for row in manifest.controls if row.name not in CONTROLS]
        known = [*DetectQuery.model_fields, *controls]
        for name in self.model_extra or {}:
            if name not in controls:
                lower, shown = name.lower().replace("-", "_"), name[:40]
                near = difflib.get_close_matches(lower, known, n=1)
                hint = _ALIASES.get(lower) or (near[0] if near else None)
                sentence = f"there is no parameter {shown!r}" + (f"; did you mean {hint!r}?" if hint else ".")
                sentence += f" The parameters are {', '.join(known)}"
                raise InvalidParameter(shown, sentence)


def read_query(request: Request) -> DetectQuery:
    """Return the query parameters of a request, as FastAPI would read them.

    FastAPI's own reading inspects the types of all fields again for each request, which takes long with so
    many fields.

    Raises:
        RequestValidationError: a parameter has a wrong value.
    """
    try:
        return DetectQuery.model_validate(dict(request.query_params))
    except ValidationError as error:
        raise RequestValidationError(error.errors()) from error


def refuse_repeated(request: Request) -> None:
    """Check that no query parameter is given more than once.

    Raises:
        InvalidParameter: a parameter is given twice or more; the message names it.
    """
    counts = Counter(name for name, _ in request.query_params.multi_items())
    for name, count in counts.items():
        if count > 1:
            shown = name[:40]
            raise InvalidParameter(shown, f"{shown} is given {count} times; give it once")


def _sent_trace(request: Request) -> tuple[str | None, str | None]:
    """Return the headers traceparent and tracestate of a request, to pass them on; None for unusable ones."""
    parent = request.headers.get("traceparent", "")
    if not _TRACEPARENT.fullmatch(parent):
        return None, None
    state = ",".join(request.headers.getlist("tracestate")).strip()
    return parent, state if _TRACESTATE.fullmatch(state) else None
