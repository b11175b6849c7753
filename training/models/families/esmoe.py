"""ES-MoE (YOLO-Master, arXiv:2512.23273), with a mixture layer after every stage of the backbone."""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from training.config import MIXTURE_PLACES, TASKS, LossConfig, MixtureConfig
from training.models.families.family import Family, Placement


def _place(placement: Placement) -> Mapping[str, MixtureConfig]:
    places = [place for place in MIXTURE_PLACES if placement in ("both", place.split(".")[0])]
    return dict.fromkeys(places, MixtureConfig())


ESMOE = Family(
    name="esmoe",
    sizes="nsmlx",
    tasks=TASKS,
    configure=partial(replace, neck="c3k", mixtures=_place("backbone")),
    # The cosine schedule is in section 4.1; table 8's last row has no DFL loss, and a balance weight of 1.5.
    paper_losses=LossConfig(dfl=0.0),
    paper_schedule="cosine",
    place=_place,
)
