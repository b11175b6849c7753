"""The gateway gives equal answers of a classifier from a real Triton and from its own process."""

import numpy as np
import pytest

from tests.builders import build_classifier, golden_image, image_bytes
from tests.integration.triton.test_gateway import gateway_to, versions, wait_for
from tests.path_artifacts import BLUE, GREEN, RED
from tests.path_classifier import build_path_classifier, probabilities
from tests.triton_server import start_triton
from training.export.triton.config import TritonOptions, write_all_configs

IMAGES = [
    image_bytes(golden_image()),
    image_bytes(np.full((48, 200, 3), (10, 60, 220), np.uint8)),  # only its middle is looked at
]


@pytest.mark.parametrize("experts", [True, False], ids=["experts", "plain"])
def test_a_classifier_answers_the_same_from_triton_as_in_process(tmp_path, experts):
    build_classifier(tmp_path, experts=experts)
    write_all_configs(tmp_path, TritonOptions(), name="colours")
    both = ("triton", "openvino")
    with (
        start_triton(tmp_path, load=["colours-openvino"]) as server,
        gateway_to(server, backends=both, repository=tmp_path) as gateway,
    ):
        wait_for(lambda: versions(gateway) == {"1": "ready"})  # it reproduced its golden sample
        for image, colour in zip(IMAGES, ("red", "blue"), strict=True):
            remote, local = (gateway.detect(image, backend=name, top=3, moe="full").json() for name in both)
            assert (remote["model"]["backend"], local["model"]["backend"]) == both
            assert remote["predictions"][0]["class"] == colour
            told = [[one[key] for key in ("class", "class_id")] for one in remote["predictions"]]
            assert told == [[one[key] for key in ("class", "class_id")] for one in local["predictions"]]
            for theirs, ours in zip(remote["predictions"], local["predictions"], strict=True):
                assert theirs["confidence"] == pytest.approx(ours["confidence"], abs=1e-5)
            active = [[layer["active"] for layer in one["moe"]["layers"]] for one in (remote, local)]
            assert active[0] == active[1]
            assert len(active[0]) == (2 if experts else 0)
        refused = gateway.detect(IMAGES[0], backend="triton", conf=0.5)
        assert (refused.status_code, refused.json()["errors"][0]["parameter"]) == (422, "conf")


def test_a_classifier_with_paths_answers_the_same_from_triton_as_in_process(tmp_path):
    build_path_classifier(tmp_path)
    write_all_configs(tmp_path, TritonOptions(instances=1))
    both = ("triton", "openvino")
    with (
        start_triton(tmp_path) as server,
        gateway_to(server, backends=both, repository=tmp_path) as gateway,
    ):
        wait_for(lambda: versions(gateway) == {"1": "ready"})  # it reproduced its golden sample
        for path, image in enumerate((RED, GREEN, BLUE)):
            for top_k in (1, 2):
                asked = {"top": 3, "top_k": top_k, "moe": "full"}
                answers = [gateway.detect(image_bytes(image), backend=name, **asked).json() for name in both]
                assert tuple(one["model"]["backend"] for one in answers) == both
                for one in answers:
                    found = {row["class_id"]: row["confidence"] for row in one["predictions"]}
                    assert found == pytest.approx(dict(enumerate(probabilities(image, top_k))), abs=1e-5)
                    assert next(iter(found)) == path
                    assert one["moe"]["path"]["index"] == path
                assert answers[0]["moe"] == answers[1]["moe"]
