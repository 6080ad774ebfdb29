"""JSON from strangers, as values that a database and a socket take."""

import json
from typing import Any


def loads(text: str) -> Any:
    """Return the value of a JSON text, with U+FFFD for every half of a surrogate pair.

    A client that cuts a text in the middle of an emoji writes such a half as an escape; no UTF-8 can hold it.

    Raises:
        ValueError: this is no JSON.
        RecursionError: it is nested too deep to be anything.
    """
    value = json.loads(text)
    if "\\ud" not in text and "\\uD" not in text:
        return value
    whole = json.dumps(value, ensure_ascii=False)
    return json.loads(whole.encode("utf-16", "surrogatepass").decode("utf-16", "replace"))
