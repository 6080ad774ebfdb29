"""What is wrong with a value that a person wrote, in our words: each kind of pydantic's errors becomes one sentence."""

from collections.abc import Mapping
from typing import Any, Final

_SENTENCES: Final[Mapping[str, str]] = {
    **dict.fromkeys(("bool_type", "bool_parsing"), "expected true or false"),
    **dict.fromkeys(("int_type", "int_parsing", "int_from_float", "int_parsing_size"), "expected a whole number"),
    **dict.fromkeys(("float_type", "float_parsing", "finite_number"), "expected a number"),
    **dict.fromkeys(("string_type", "path_type"), "expected text in quotes"),
    **dict.fromkeys(("list_type", "tuple_type"), 'expected a list like ["one", "two"]'),
    **dict.fromkeys(
        ("date_type", "date_parsing", "date_from_datetime_parsing", "date_from_datetime_inexact"),
        "expected a day like 2026-12-24",
    ),
    **dict.fromkeys(("model_type", "dict_type"), "expected a section with keys of its own"),
    **dict.fromkeys(("literal_error", "enum"), "expected {expected}"),
    "greater_than": "expected more than {gt:g}",
    "greater_than_equal": "expected {ge:g} or more",
    "less_than": "expected less than {lt:g}",
    "less_than_equal": "expected {le:g} or less",
    "too_short": "expected {min_length} or more entries",
    "too_long": "expected {max_length} or fewer entries",
    "string_too_short": "expected {min_length} or more characters",
    "string_too_long": "expected {max_length} or fewer characters",
    "missing": "is missing",
    "extra_forbidden": "unknown key",
}


def sentence(detail: Mapping[str, Any]) -> str:
    """Return what one of pydantic's error details means to whoever wrote the value; our own sentences as they are."""
    if detail["type"] == "value_error":
        return str(detail["ctx"]["error"])
    known = _SENTENCES.get(detail["type"])
    return known.format(**detail.get("ctx", {})) if known else f"cannot be used ({detail['type']})"
