"""The graph inputs that control routing at run time; each has the name of a field of RoutingControls."""

from training.config import ModelConfig
from training.export.contract.spec import GraphSpec
from training.export.contract.tensors import CONTROL, Input

TOP_K, THRESHOLD = "top_k", "weight_threshold"


def control_rows(config: ModelConfig, spec: GraphSpec) -> tuple[Input, ...]:
    """Return the inputs that set how many experts run; none if the model has no mixture layers.

    A model with paths has no control for the threshold, because its graphs exist only for some top_k values.
    """
    if not config.mixtures:
        return ()
    allowed = {"allowed": list(spec.top_ks(config)), "default": config.top_k}
    top_k = Input(TOP_K, "i64", (1,), CONTROL, allowed)
    if config.paths is not None:
        return (top_k,)
    share = {"range": [0, 1], "default": config.weight_threshold}
    return top_k, Input(THRESHOLD, "f32", (1,), CONTROL, share)
