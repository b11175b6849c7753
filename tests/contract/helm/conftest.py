"""The chart, rendered with each file of values in its folder ci/."""

import pytest

from tests.chart import CI_VALUES, render, values_of


@pytest.fixture(scope="module", params=CI_VALUES, ids=lambda path: path.stem)
def rendered(request):
    return request.param.stem, render(values_of(request.param))


@pytest.fixture(scope="module")
def objects(rendered):
    return rendered[1]
