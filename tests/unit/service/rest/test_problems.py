"""Every failure that can reach a caller has a status and a stable type."""

from service import access_errors, errors
from service.rest.problems import STATUS, slug_of, to_problem

NEVER_ANSWERED = {errors.SettingsInvalid, errors.ArtifactError}  # raised before anything is served


def test_every_failure_of_a_request_is_in_the_table():
    named = [*vars(errors).values(), *vars(access_errors).values()]
    every = {one for one in named if isinstance(one, type)} - {errors.ServiceError}
    for error in every:
        assert (error in STATUS) != issubclass(error, tuple(NEVER_ANSWERED)), error


def test_a_type_is_the_name_of_the_failure():
    assert slug_of(errors.ImageTooLarge) == "image-too-large"


def test_a_problem_holds_the_facts():
    problem = to_problem(errors.ImageTooLarge(101, 100), "01ID")
    assert problem.model_dump(exclude_unset=True) == {
        "type": "urn:sparsight:problem:image-too-large",
        "title": "Request Entity Too Large",
        "status": 413,
        "detail": "the image has 101 pixels, and the limit is 100 (SPARSIGHT_MAX_PIXELS);"
        " send a smaller image",
        "id": "01ID",
    }
