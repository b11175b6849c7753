"""The text of the parameter conf: a number, numbers for single classes, or both."""

import pytest

from service.rest.query import split_confidences


@pytest.mark.parametrize(
    ("text", "for_all", "by_class"),
    [
        ("0.3", 0.3, {}),
        ("0", 0.0, {}),
        ("1", 1.0, {}),
        ("fish:0.4,shark:0.2", None, {"fish": 0.4, "shark": 0.2}),
        ("0.3,fish:0.4", 0.3, {"fish": 0.4}),
        (" fish : 1e-1 , .5 ", 0.5, {"fish": 0.1}),
        ("traffic light:0.4", None, {"traffic light": 0.4}),
        ("a:b:0.4", None, {"a:b": 0.4}),
    ],
)
def test_numbers_are_for_all_classes_or_for_one(text, for_all, by_class):
    assert split_confidences(text) == (for_all, by_class)


@pytest.mark.parametrize(
    "text", ["", "0.3,", "0.3,0.4", "fish:", ":0.4", "fish", "fish:1.1", "a:0.1,a:0.2", "nan", "1_0", "-0.1"]
)
def test_other_texts_are_refused(text):
    with pytest.raises(ValueError, match=r"cannot be used|could not convert"):
        split_confidences(text)
