"""The four kinds of failure. Every failure answers: who must act, may we try again, does the process go on?

    BotschaftError
    ├── Mistake    a person must correct something; carries what to tell them
    ├── Transient  the other side cannot now; try the same step again later
    ├── Refused    the other side says no; trying the same step again will not help
    └── Fatal      this process must stop; carries the sentence for the admin

Outside errors (HTTP, nio, SQL) are turned into these once, at the edge where they happen.
"""


class BotschaftError(Exception):
    """Root of all failures that the product knows how to answer."""


class Mistake(BotschaftError):
    """A person must correct something. `text` is the id of a text, `values` fill its placeholders."""

    def __init__(self, text: str, /, **values: str) -> None:
        super().__init__(text)
        self.text = text
        self.values = values


class Transient(BotschaftError):
    """The step may work later. `retry_after_s` is what the other side asked for, if it did."""

    def __init__(self, what: str, *, retry_after_s: float | None = None) -> None:
        super().__init__(what)
        self.retry_after_s = retry_after_s


class Refused(BotschaftError):
    """The other side said no. `code` is the Matrix errcode, `status` the HTTP status."""

    def __init__(self, what: str, *, code: str = "", status: int = 0) -> None:
        super().__init__(what)
        self.code = code
        self.status = status


class Fatal(BotschaftError):
    """The process must stop. The message is one or two plain sentences: what happened, which command to run."""
