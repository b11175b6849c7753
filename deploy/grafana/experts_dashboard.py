"""The dashboard about a model's experts: which ones run, whether that has changed, and what it costs."""

from typing import Any

from dashboards import LAYER, MODEL, choice, dashboard
from panels import Panel, Row
from queries import increase, maximum, minimum, quantile, rate

ONE = 'model="$model"'
OF_LAYER = 'model="$model",layer=~"$layer"'
EXPERT = "layer, expert"
CHOSEN, WEIGHT = "sparsight_expert_activations_total", "sparsight_expert_gate_weight_total"
PATHS, PATHS_BEFORE = "sparsight_path_images_total", "sparsight_path_baseline_share"
IMAGES = rate(WEIGHT, "layer", OF_LAYER)  # the weights of a layer sum to 1 for each image
SHARE = f"{rate(CHOSEN, EXPERT, OF_LAYER)} / on (layer) group_left () ({IMAGES} > 0)"
BASELINE = "sparsight_expert_baseline_share"
GFLOPS = "sparsight_compute_gflops_total"
ROUTE, OF_ROUTE = "version, backend", "{{version}} on {{backend}}"
EACH = "{{layer}} · {{expert}}"
NONE_IS_GOOD = (("green", None), ("orange", 1.0))
BLUE = (("blue", None),)
DRIFTS = {0: ("as at export", "green"), 1: ("drifts", "orange")}


def experts_dashboard() -> dict[str, Any]:
    """Return the dashboard."""
    variables = [choice("model", "Model", MODEL), choice("layer", "Layer", LAYER, many=True)]
    rows = (now(), shares(), drift(), routers(), compute(), audits())
    return dashboard(
        "sparsight-experts", "Sparsight: experts",
        "Which experts run, whether that differs from the export, and what they cost.", rows, variables,
    )  # fmt: skip


def saved() -> str:
    """Return the share of the compute that was saved."""
    used, dense = (rate(GFLOPS, labels=f'kind="{kind}"') for kind in ("used", "dense"))
    return f"1 - {used} / ({dense} > 0)"


def or_zero(query: str) -> str:
    """Return a query that gives 0 where there is no series."""
    return f"{query} or vector(0)"


def now() -> Row:
    """Return the figures to look at first."""
    flagged = "Experts of all layers and routes that the latest images"
    return Row("Now: $model", [
        Panel("Routing", "Whether the latest images are routed as the images were at export.",
              {"": or_zero(maximum("sparsight_routing_drifting", labels=ONE))}, "stat", width=4,
              steps=NONE_IS_GOOD, states=DRIFTS),
        Panel("Dead experts", f"{flagged} never chose, although the baseline expects it.",
              {"": or_zero(f"sum(sparsight_expert_dead{{{ONE}}})")}, "stat", width=4, steps=NONE_IS_GOOD),
        Panel("Hot experts", f"{flagged} chose far more often than in the baseline.",
              {"": or_zero(f"sum(sparsight_expert_hot{{{ONE}}})")}, "stat", width=4, steps=NONE_IS_GOOD),
        Panel("Experts in a layer", "Mean number of experts that ran for an image: K in force.",
              {"": f"{rate(CHOSEN, labels=ONE)} / ({rate(WEIGHT, labels=ONE)} > 0)"},
              "stat", width=4, steps=BLUE, decimals=2),
        Panel("Compute saved", "By the experts that did not run. All models together.",
              {"": saved()}, "stat", "percentunit", 4, steps=BLUE, decimals=1),
        Panel("NaN", "Images for which a router gave NaN. Their answers are worthless.",
              {"": or_zero(increase("sparsight_routing_not_a_number_total", labels=ONE))},
              "stat", width=4, steps=(("green", None), ("red", 1.0)), decimals=0),
    ])  # fmt: skip


def shares() -> Row:
    """Return how often each expert runs, and how often it ran at export."""
    chosen, weight = increase(CHOSEN, "expert", OF_LAYER), increase(WEIGHT, labels=OF_LAYER)
    in_range = f"{chosen} / on () group_left () ({weight} > 0)"
    away = f"abs({SHARE} - on (layer, expert) {maximum(BASELINE, EXPERT, OF_LAYER)})"
    return Row("Who chose whom", [
        Panel("Share of images: $layer",
              "For each expert of this layer, the share of images that chose it: in the time range above, "
              "and "
              "when the model was exported. Every image chooses top_k experts, so the bars of a layer sum to "
              "top_k. An empty bar beside a long one is an expert that died.",
              {"now": in_range, "at export": maximum(BASELINE, "expert", OF_LAYER)}, "barchart",
              "percentunit", 24, maximum=1, decimals=0, repeat="layer"),
        Panel("Share of images per expert, over time",
              "One line for each expert: how many of the images of the last minutes chose it. The "
              "stronger the "
              "colour, the more of them. A line that changes colour is routing that changed.",
              {EACH: SHARE}, "status-history", "percentunit", 24, maximum=1, decimals=0),
        Panel("Distance from the export",
              "Largest difference of an expert's share from the baseline, in each layer. It reacts within "
              "minutes, but also to chance.",
              {"{{layer}}": f"max by (layer) ({away})"}, unit="percentunit", maximum=1),
        Panel("Share of the latest images", "Of the window that drift is judged by.",
              {EACH: maximum("sparsight_expert_share", EXPERT, OF_LAYER)}, unit="percentunit", maximum=1),
        Panel("Weight of an expert when chosen",
              "Mean weight in the images that chose it; 1 means that it answers alone.",
              {EACH: f"{rate(WEIGHT, EXPERT, OF_LAYER)} / ({rate(CHOSEN, EXPERT, OF_LAYER)} > 0)"},
              unit="percentunit", maximum=1),
        Panel("Paths",
              "Of a model with paths: the share of images that took each path, in the time range above, and "
              "when the model was exported. A path says which experts run in all layers. An empty bar beside "
              "a long one is a path that died.",
              {"now": f"{increase(PATHS, 'path', ONE)} / on () group_left () "
                      f"({increase(PATHS, labels=ONE)} > 0)",
               "at export": maximum(PATHS_BEFORE, "path", ONE)}, "barchart",
              "percentunit", 12, maximum=1, decimals=0, bars_by="path"),
        Panel("Paths, over time",
              "Of a model with paths: the share of the images of the last minutes that took each path.",
              {"path {{path}}":
               f"{rate(PATHS, 'path', ONE)} / on () group_left () ({rate(PATHS, labels=ONE)} > 0)"},
              unit="percentunit", width=12, height=9, maximum=1, stacked=True),
    ])  # fmt: skip


def drift() -> Row:
    """Return the comparison with the baseline."""
    images = {what: rate(f"sparsight_routing_{what}_images_total", labels=ONE)
              for what in ("judged", "unjudged")}  # fmt: skip
    pvalue = minimum("sparsight_routing_drift_pvalue", "layer", ONE)
    return Row("Drift", [
        Panel("Drift", "Orange while routing differs from the baseline. RoutingDrifts fires after 15 "
              "minutes.",
              {OF_ROUTE: maximum("sparsight_routing_drifting", ROUTE, ONE)}, "state-timeline", states=DRIFTS),
        Panel("Divergence from the baseline",
              "Bits between the chosen experts of the latest images and those of the baseline. path: the "
              "experts of all layers together.",
              {"{{layer}}": maximum("sparsight_routing_drift_bits", "layer", ONE)}),
        Panel("p-value",
              "Chance of such a divergence without drift, corrected for the number of layers. Smaller "
              "than 1e-12 is drawn as 1e-12. Small means "
              "drift.",
              {"{{layer}}": f"clamp_min({pvalue}, 1e-12)"}, logarithmic=True),
        Panel("Dead experts", "Orange: never chosen, although the baseline expects it.",
              {EACH: maximum("sparsight_expert_dead", EXPERT, OF_LAYER)}, "state-timeline", height=12,
              states={0: ("in use", "green"), 1: ("dead", "orange")}),
        Panel("Hot experts", "Orange: chosen far more often than in the baseline.",
              {EACH: maximum("sparsight_expert_hot", EXPERT, OF_LAYER)}, "state-timeline", height=12,
              states={0: ("usual", "green"), 1: ("hot", "orange")}),
        Panel("Novelty",
              "Mean rank of the latest images among the baseline's, by how unusual they are: 0.5 without "
              "drift, 1 if all are more unusual.",
              {OF_ROUTE: maximum("sparsight_routing_novelty", ROUTE, ONE)}, maximum=1, height=12),
        Panel("Images compared",
              "Without a baseline: images whose top_k or threshold the baseline does not have.",
              {"compared": images["judged"], "without a baseline": images["unjudged"]}, unit="ops"),
        Panel("Novel images", "Kept for labelling, or not, because the folder is full. Of all models.",
              {"{{outcome}}": rate("sparsight_novel_images_total", "outcome")}, unit="ops"),
        Panel("Novel images in the folder", "Take them for labelling.",
              {"{{instance}}": maximum("sparsight_novel_images_kept", "instance")}),
    ])  # fmt: skip


def routers() -> Row:
    """Return how decided and how even the routers are."""
    return Row("Routers", [
        Panel("How undecided the routers are",
              "Median entropy in bits: 0 means that the router is sure, 2 that it prefers none of four "
              "experts.",
              {"{{layer}}": quantile("0.5", "sparsight_router_entropy_bits", "layer", OF_LAYER)}, width=6),
        Panel("Entropy unlike the baseline",
              "Orange: the mean entropy of the latest images left the baseline's range.",
              {"{{layer}}": maximum("sparsight_router_entropy_outside", "layer", OF_LAYER)},
              "state-timeline", width=6, states={0: ("as at export", "green"), 1: ("unlike", "orange")}),
        Panel("Diversity", "exp(H)/N of the shares: 1 if a layer uses all experts equally, 1/N if only one.",
              {"{{layer}}": minimum("sparsight_expert_diversity", "layer", OF_LAYER)}, width=6, maximum=1),
        Panel("Balance", "Jain's index of the shares: 1 if all are equal.",
              {"{{layer}}": minimum("sparsight_expert_balance", "layer", OF_LAYER)}, width=6, maximum=1),
    ])  # fmt: skip


def compute() -> Row:
    """Return what experts cost, and when fewer of them ran."""
    images = rate("sparsight_stage_duration_seconds_count", labels='stage="infer"')
    return Row("Compute", [
        Panel("Compute of an image", "GFLOPs with the experts that ran, and with all. All models together.",
              {"{{kind}}": f"{rate(GFLOPS, 'kind')} / on () group_left () ({images} > 0)"}),
        Panel("Compute saved by skipping", "Of the compute with all experts.",
              {"saved": saved()}, unit="percentunit", maximum=1),
        Panel("Experts in a layer", "Mean number of experts that ran for an image: K in force.",
              {"{{layer}}": f"{rate(CHOSEN, 'layer', OF_LAYER)} / ({IMAGES} > 0)"}),
        Panel("Fewer experts under load", "0: experts by default. 1: as few as the operator allows.",
              {"{{backend}}": maximum("sparsight_brownout_effort", "backend")}, maximum=1),
        Panel("Images with fewer experts", "Because of load, not because the caller asked for fewer.",
              {"{{model}}": rate("sparsight_degraded_images_total", "model")}, unit="ops"),
        Panel("Time with fewer experts", "Share of the time. BrownoutLasts fires above half of 30 minutes.",
              {"{{backend}}": "max by (backend) (rate(sparsight_brownout_seconds_total[$__rate_interval]))"},
              unit="percentunit", maximum=1),
    ])  # fmt: skip


def audits() -> Row:
    """Return what the reference backend says about the answers."""
    return Row("Audits", [
        Panel("Audited images", "Answered a second time by the reference backend, and compared.",
              {"{{backend}}: {{outcome}}": rate("sparsight_audited_images_total", "backend, outcome", ONE)},
              unit="ops"),
        Panel("Quarantine", "Red while a backend gets no requests, because audits found other answers.",
              {"{{backend}}": maximum("sparsight_backend_quarantined", "backend", ONE)}, "state-timeline",
              states={0: ("trusted", "green"), 1: ("quarantined", "red")}),
        Panel("Cost of audits", "Cores that the reference backend keeps busy.",
              {"{{instance}}": rate("sparsight_audit_seconds_total", "instance")}),
    ])  # fmt: skip
