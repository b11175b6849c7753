"""A caller's backend becomes one of this build's."""

import pytest

from service.errors import BackendNotOffered
from service.traffic.select import select_backend


@pytest.mark.parametrize("requested", ["auto", "openvino"])
def test_the_offered_backend_is_selected(backend, requested):
    assert select_backend(requested, {"openvino": backend}) == ("openvino", backend)


@pytest.mark.parametrize("requested", ["triton", "onnx"])
def test_another_backend_is_refused_with_what_there_is(backend, requested):
    with pytest.raises(BackendNotOffered, match=f"'{requested}' is not available.*: auto, openvino"):
        select_backend(requested, {"openvino": backend})
