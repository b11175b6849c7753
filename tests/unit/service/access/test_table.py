"""One table says who may use which address, and what it does not name is closed."""

import pytest

from service.access.table import CLOSED, RULES, SCOPES, rule_of
from service.app import create_app
from service.settings import Settings
from tests.access.walk import routes_of

ROUTES = routes_of(create_app(Settings.model_construct()))


def test_every_route_is_in_the_table():
    assert set(ROUTES) - set(RULES) == set(), "say in service/access/table.py who may use it"


def test_the_table_names_no_route_that_there_is_not():
    assert set(RULES) - set(ROUTES) == set()


def test_what_may_be_asked_for_is_a_scope_or_nothing():
    assert {rule.need for rule in RULES.values()} == {"open", *SCOPES}


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/detect", "/detect"),
        ("/models/reload", "/models/reload"),
        ("/models/tiny/example", "/models/{name}/example"),
        ("/models/reload/example", "/models/{name}/example"),
    ],
)
def test_a_path_has_the_rule_of_its_route(path, route):
    assert rule_of(path) == (route, RULES[route])


@pytest.mark.parametrize(
    "path",
    [
        "//detect", "/detect/", "/Detect", "/detect\n", "/detect ", "/detect;a", "detect", "", "/./detect",
        "/healthz/", "/HEALTHZ", "/models/a/b/example", "/models//example", "/models/a/example/",
        "/models/a/example\n", "/models/{name}", "/ui/", "/ui/other.js", "/new",
    ],
)  # fmt: skip
def test_a_path_that_is_written_in_another_way_is_closed(path):
    assert rule_of(path) == (None, CLOSED)
    assert CLOSED.need == "admin"


def test_no_two_routes_with_names_in_them_match_the_same_path():
    # Else the table could choose one of them and the router the other.
    patterns = [path for path in RULES if "{" in path]
    for path in patterns:
        assert rule_of(path.replace("{name}", "x")) == (path, RULES[path])
    assert len({path.replace("{name}", "x") for path in patterns}) == len(patterns) > 1
