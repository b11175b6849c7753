"""The dashboard about the service: requests, models, backends, the process, Triton."""

from typing import Any

from dashboards import LAYER, MODEL, choice, dashboard, typed
from panels import Panel, Row
from queries import maximum, minimum, quantile, rate

DETECT = 'route=~".*/detect.*"'
ALL = rate("sparsight_requests_total", labels=DETECT)
FAILED = rate("sparsight_requests_total", labels=f'{DETECT},code=~"5.."')
TIME_OF_REQUEST, TIME_OF_IMAGE = "sparsight_request_duration_seconds", "sparsight_image_duration_seconds"
OF_LAYER = 'model="$model",layer=~"$layer"'
UP = {0: ("down", "red"), 1: ("up", "green")}
BREAKER = {0: ("closed", "green"), 1: ("half open", "orange"), 2: ("open", "red")}
NONE_IS_GOOD = (("green", None), ("red", 1.0))
ALERTS_URL = "${prometheus}/alerts?search=${__data.fields.alertname}"


def service_dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    variables = [
        choice("model", "Model", MODEL),
        choice("layer", "Layer", LAYER, many=True),
        typed("prometheus", "Prometheus, for links", "http://127.0.0.1:9090"),
    ]
    rows = (now(), alerts(), requests(), models(), backends(), process(), triton(), access())
    return dashboard(
        "sparsight", "Sparsight: service", "Requests, models and backends, the process, and Triton.",
        rows, variables,
    )  # fmt: skip


def now() -> Row:
    """Return the figures to look at first."""
    return Row("Now", [
        Panel("Backends that can serve", "Of all gateways together. At 0, every request is refused.",
              {"": "sum(sparsight_backend_up) or vector(0)"}, "stat", width=4,
              steps=(("red", None), ("green", 1.0))),
        Panel("Requests", "Requests to /detect in a second.", {"": ALL}, "stat", "reqps", 4,
              steps=(("blue", None),), decimals=1),
        Panel("Failed", "Share of the requests that end in a 5xx.",
              {"": f"({FAILED} or vector(0)) / ({ALL} > 0) or vector(0)"}, "stat", "percentunit", 4,
              steps=(("green", None), ("orange", 0.005), ("red", 0.02)), decimals=2),
        Panel("Slowest 1 %", "One request in a hundred takes longer than this.",
              {"": quantile("0.99", TIME_OF_REQUEST, labels=DETECT)}, "stat", "s", 4,
              steps=(("green", None), ("orange", 0.5), ("red", 1.0))),
        Panel("Refused", "Requests in a second that got a 429 because the gateway's queue was too long.",
              {"": 'sum(rate(sparsight_requests_rejected_total{reason="overloaded"}[$__rate_interval]))'
                   " or vector(0)"},
              "stat", "reqps", 4, steps=(("green", None), ("orange", 0.1)), decimals=1),
        Panel("Alerts firing", "The row below names them.",
              {"": 'count(ALERTS{alertstate="firing"}) or vector(0)'}, "stat", width=4, steps=NONE_IS_GOOD),
    ])  # fmt: skip


def alerts() -> Row:
    """Return the alerts that fire, and the error budget."""
    burn = "max(job:sparsight_request_failures:ratio_rate{}) / 0.005 or vector(0)"
    windows = ("5m", "1h", "6h", "3d")
    links = [("Rule and runbook in Prometheus", ALERTS_URL),
             ("Experts", "/d/sparsight-experts"), ("Service", "/d/sparsight")]  # fmt: skip
    return Row("Alerts", [
        Panel("Alerts that fire now", "Click an alert for its rule, with the runbook. "
              "deploy/prometheus/README.md "
              "says what to do about each.",
              {"": 'max by (alertname, severity, owner, instance, model, backend, layer, expert) '
                   '(ALERTS{alertstate="firing"})'},
              "table", width=10, links=links,
              columns=("alertname", "severity", "owner", "instance", "model", "backend", "layer", "expert")),
        Panel("When alerts fired", "One line for each alert that was pending or fired in this time.",
              {"{{alertname}}": 'max by (alertname) (ALERTS{alertstate="firing"}) * 2 '
                                'or max by (alertname) (ALERTS{alertstate="pending"})'},
              "state-timeline", width=7, states={1: ("pending", "orange"), 2: ("firing", "red")}),
        Panel("Error budget burnt", "1 uses up the budget of 0.5 % failures in 30 days. Alerts: 14.4 over "
              "1 h, "
              "6 over 6 h, 1 over 3 d.",
              {f"over {window}": burn.format(window) for window in windows}, width=7),
    ])  # fmt: skip


def requests() -> Row:
    """Return what happens to requests."""
    stage_s, stages = (rate(f"sparsight_stage_duration_seconds_{part}", "stage") for part in ("sum", "count"))
    return Row("Requests", [
        Panel("Requests by code", "200 answered · 4xx the caller's image or parameters · 429 too many in "
              "flight · "
              "503 no backend · 504 the caller's deadline passed.",
              {"{{code}}": rate("sparsight_requests_total", "code", DETECT)},
              unit="reqps", stacked=True),
        Panel("Latency", "From the first byte of the request to the answer.",
              {f"p{share}": quantile(f"0.{share}", TIME_OF_REQUEST, labels=DETECT)
               for share in ("50", "95", "99")}, unit="s"),
        Panel("Where the time goes", "Mean time of an image in each stage.",
              {"{{stage}}": f"{stage_s} / {stages}"}, unit="s", stacked=True),
        Panel("In flight and waiting", "Requests being served, and of these the images that wait for a "
              "backend.",
              {"in flight": "sum(sparsight_inflight_requests)",
               "waiting for {{backend}}": "sum by (backend) (sparsight_queue_depth)"}),
        Panel("Wait for a backend", "One image in twenty waits longer than this.",
              {"{{backend}}": "histogram_quantile(0.95, sum by (le, backend) "
                              "(rate(sparsight_queue_wait_seconds_bucket[$__rate_interval])))"}, unit="s"),
        Panel("Refused, by reason", "Every image and request without an answer, by the type of its problem.",
              {"{{reason}}": rate("sparsight_requests_rejected_total", "reason") + " > 0"},
              unit="reqps"),
        Panel("Images fetched by URL", "By outcome; refused are addresses that the settings do not allow.",
              {"{{outcome}}": rate("sparsight_fetches_total", "outcome")}, unit="ops"),
        Panel("Slowest 1 %, as the alert sees it", "GatewaySlow fires above 1 s.",
              {"p99 of 5 min": "max(job:sparsight_request_duration_seconds:p99_5m)"}, unit="s"),
        Panel("Refused for a full queue, as the alert sees it", "GatewayRefuses fires above 1 % of the "
              "requests.",
              {"{{reason}}": "max by (reason) (job_reason:sparsight_requests_refused:ratio_rate5m)"},
              unit="percentunit"),
    ])  # fmt: skip


def models() -> Row:
    """Return rate and latency of each model on each backend."""
    both, of_route = "{{model}} on {{backend}}", "model, backend, path, top_k"
    route_s, routes = (rate(f"sparsight_route_seconds_{part}", of_route) for part in ("sum", "count"))
    return Row("Models and backends", [
        Panel("Images answered", "By the backend that ran the model.", {both: rate(
              f"{TIME_OF_IMAGE}_count", "model, backend")},
              unit="ops", stacked=True),
        Panel("Median time of an image", "From decode to postprocess, without the network.",
              {both: quantile("0.5", TIME_OF_IMAGE, "model, backend")}, unit="s"),
        Panel("Slowest 5 % of the images", "One image in twenty takes longer than this.",
              {both: quantile("0.95", TIME_OF_IMAGE, "model, backend")}, unit="s"),
        Panel("Detections of an image", "Mean number. A step without a new version means other images.",
              {"{{model}}": f"{rate('sparsight_detections_total', 'model')} / "
                            f"({rate(f'{TIME_OF_IMAGE}_count', 'model')} > 0)"}),
        Panel("Backend errors", "Calls that a backend did not answer. backend-busy is a full queue.",
              {"{{backend}}: {{reason}}":
               rate("sparsight_backend_errors_total", "backend, reason") + " > 0"}, unit="ops"),
        Panel("Failovers", "Images that left this backend for another after a failed try.",
              {"{{backend}}": rate("sparsight_failovers_total", "backend")}, unit="ops"),
        Panel("Time of each path",
              "Of models with paths: mean time of the graph of each path and top_k, without its wait.",
              {"{{model}} on {{backend}}: path {{path}}, top_k {{top_k}}": f"{route_s} / ({routes} > 0)"},
              unit="s", width=24),
    ])  # fmt: skip


def backends() -> Row:
    """Return the health of each backend."""
    return Row("Health of the backends", [
        Panel("Can serve", "Green while the backend can serve, as the gateway's last try found it.",
              {"{{instance}} {{backend}}": minimum("sparsight_backend_up", "instance, backend")},
              "state-timeline", width=6, states=UP),
        Panel("Breakers", "Open: the backend failed several times in a row, and gets only tests.",
              {"{{backend}} {{model}}": maximum("sparsight_breaker_state", "backend, model")},
              "state-timeline", width=6, states=BREAKER),
        Panel("Quarantine", "Red while a backend gets no requests, because audits found other answers.",
              {"{{backend}} {{model}}": maximum("sparsight_backend_quarantined", "backend, model")},
              "state-timeline", width=6, states={0: ("trusted", "green"), 1: ("quarantined", "red")}),
        Panel("Broken models", "Models whose newest version cannot be served.",
              {"{{backend}}": maximum("sparsight_broken_models", "backend")}, width=6),
    ])  # fmt: skip


def process() -> Row:
    """Return what the gateway's process uses."""
    return Row("Process of the gateway", [
        Panel("Processor", "Cores that the process keeps busy.",
              {"{{instance}}": rate("sparsight_process_cpu_seconds_total", "instance")},
              width=6),
        Panel("Memory", "Resident memory counts against the container's limit; virtual memory does not.",
              {"resident {{instance}}": "sum by (instance) (sparsight_process_resident_memory_bytes)",
               "virtual {{instance}}": "sum by (instance) (sparsight_process_virtual_memory_bytes)"},
              unit="bytes", width=6),
        Panel("Open files", "At the limit, new connections fail.",
              {"open {{instance}}": "sum by (instance) (sparsight_process_open_fds)",
               "limit {{instance}}": "sum by (instance) (sparsight_process_max_fds)"}, width=6,
              logarithmic=True),
        Panel("Running for", "Falls to 0 at each start.",
              {"{{instance}}": "time() - max by (instance) (sparsight_process_start_time_seconds)"},
              unit="s", width=6),
    ])  # fmt: skip


def triton() -> Row:
    """Return what Triton says about itself."""

    def per(series: str, by: str = "model") -> str:
        return rate(series, by, 'model=~"$model-.*"')

    def direct(what: str, by: str = "model", labels: str = 'model="$model"') -> str:
        return rate(f"sparsight_triton_{what}_total", by, labels)

    done = f"({per('nv_inference_request_success')} > 0)"
    chosen = direct("expert_activations", "layer, expert", OF_LAYER)
    weight = direct("expert_gate_weight", "layer, expert", OF_LAYER)
    return Row("Triton", [
        Panel("Inferences", "Those that succeeded.", {"{{model}}": per("nv_inference_request_success")}, unit=
              "ops"),
        Panel("Failures by reason", "BACKEND: its process is dead. REJECTED: waited too long. OTHER, on "
              "ensembles: "
              "anything. A full queue counts as nothing on the model itself.",
              {"{{model}} {{reason}}": per("nv_inference_request_failure", "model, reason") + " > 0"}, unit=
              "ops"),
        Panel("Waiting in Triton", "A queue that never comes down to 0 is overload.",
              {"{{model}}": 'sum by (model) (nv_inference_pending_request_count{model=~"$model-.*"})'}),
        Panel("Time in Triton", "Mean time of a request in the queue, and in the engine.",
              {"{{model}} queue": f"{per('nv_inference_queue_duration_us')} / {done}",
               "{{model}} engine": f"{per('nv_inference_compute_infer_duration_us')} / {done}"}, unit="µs"),
        Panel("Images in a batch", "Above 1 where Triton puts requests together.",
              {"{{model}}": f"{per('nv_inference_count')} / ({per('nv_inference_exec_count')} > 0)"}),
        Panel("Images and detections of direct clients", "Of those that ask Triton without the gateway.",
              {"images of {{model}}": direct("images"), "detections of {{model}}": direct("detections")},
              unit="ops"),
        Panel("Experts chosen by direct clients", "Share of their images that chose an expert.",
              {"{{layer}} {{expert}}": f"{chosen} / on () group_left () ({direct('images', '')} > 0)"},
              unit="percentunit", maximum=1),
        Panel("Weight by direct clients", "Mean weight of an expert in the images that chose it.",
              {"{{layer}} {{expert}}": f"{weight} / ({chosen} > 0)"}, unit="percentunit", maximum=1),
        Panel("Processor", "Of the machine that Triton runs on; GPUs where there are any.",
              {"CPU": "nv_cpu_utilization", "GPU {{gpu_uuid}}": "nv_gpu_utilization"}, unit="percentunit",
              maximum=1,
              width=4),
        Panel("Memory", "Of the machine that Triton runs on; GPUs where there are any.",
              {"CPU": "nv_cpu_memory_used_bytes", "GPU {{gpu_uuid}}": "nv_gpu_memory_used_bytes"}, unit=
              "bytes", width=4),
    ])  # fmt: skip


def access() -> Row:
    """Return who calls, and what happens on connections."""
    refused = 'reason=~"unauthorized|forbidden|rate-exceeded|quota-exceeded"'
    return Row("Access and connections", [
        Panel("Requests by key", "Only where callers need keys.",
              {"{{key}}": rate("sparsight_key_requests_total", "key")}, unit="reqps"),
        Panel("Without access", "Requests without a valid key, without the scope, or above a limit.",
              {"{{reason}}": rate("sparsight_requests_rejected_total", "reason", refused)},
              unit="reqps"),
        Panel("Files of keys and audit", "Above 0: a file with keys cannot be read, or audit lines are lost.",
              {"{{file}} broken": maximum("sparsight_access_file_broken", "file"),
               "audit lines lost": "sum(increase(sparsight_audit_lost_total[$__rate_interval]))"}),
        Panel("Open connections", "Of the main port.",
              {"{{instance}}": "sum by (instance) (sparsight_open_connections)"}),
        Panel("Connections refused", "Closed before they passed a request on.",
              {"{{reason}}": rate("sparsight_refused_connections_total", "reason")},
              unit="ops"),
        Panel("Certificate expires in", "An alert fires 14 days before.",
              {"{{instance}}": "min by (instance) (sparsight_certificate_expiry_timestamp_seconds > 0) - "
              "time()"},
              unit="s"),
    ])  # fmt: skip
