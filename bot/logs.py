"""Logs without personal data: only fields from a list get out, and whatever looks like a Matrix id is masked.

Other libraries' messages are reduced to their logger, level and kind of failure, because nobody knows what stands in
them. The same holds for exceptions: of their words only those come out that we wrote ourselves.
"""

import logging
import re
import sys
import traceback
from pathlib import Path
from typing import Any

import structlog

from bot.domain.errors import BotschaftError

ALLOWED = frozenset(
    {
        *("event", "level", "timestamp", "case", "lane_kind", "state", "reason", "count", "seconds", "step", "kind"),
        *("attempt", "code", "status", "version", "path_kind", "stack", "logger", "error"),
    }
)
_SECRETS = re.compile(
    r"""
      [@!$\#][^\s:@!$\#]+:\S+                    # user ids, room ids, aliases, old event ids
    | [!$][A-Za-z0-9_\-]{30,}                    # event ids, and room ids since room version 12
    | %(?:40|21|24|23)[^\s%/]+%3A[^\s/]+         # the same inside an address
    | %(?:21|24)[A-Za-z0-9_\-]{30,}
    | \b(?:syt|syr|mct|mcr|mat|mar)_\w+          # access and refresh tokens of Synapse and of MAS
    | Bearer\s\S+
    | access_token=[^\s&]+
    """,
    re.VERBOSE | re.IGNORECASE,
)
_FRAMES = 6


def configure(level: str, style: str) -> None:
    """Set up our logs and everybody else's."""
    renderer: Any = structlog.processors.JSONRenderer(ensure_ascii=False)
    if style == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            failure_told,
            only_allowed,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers = [_Reduced()]
    root.setLevel(max(logging.WARNING, getattr(logging, level.upper())))
    logging.captureWarnings(True)


def failure_told(_logger: Any, _method: str, fields: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Turn `exc_info` into what may be known of it: `error` and `stack`."""
    given = fields.pop("exc_info", None)
    error = sys.exc_info()[1] if given is True else given[1] if isinstance(given, tuple) else given
    if not isinstance(error, BaseException):
        return fields
    return {**fields, "error": told(error), "stack": places(error)}


def told(error: BaseException) -> str:
    """Return the class of a failure, and its first line if the words are ours; a stranger's may quote a message."""
    name = type(error).__name__
    words = str(error).partition("\n")[0] if isinstance(error, BotschaftError) else ""
    return f"{name}: {masked(words)}" if words else name


def places(error: BaseException) -> str:
    """Return where a failure happened, innermost first: files and lines, no values."""
    frames = traceback.extract_tb(error.__traceback__)[-_FRAMES:]
    return " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in reversed(frames))


def only_allowed(_logger: Any, _method: str, fields: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Drop every field that is not on the list, mask what looks like an id."""
    return {name: masked(value) for name, value in fields.items() if name in ALLOWED}


def masked(value: Any) -> Any:
    """Mask ids and tokens in text; numbers stay."""
    if isinstance(value, bool | int | float) or value is None:
        return value
    return _SECRETS.sub("[masked]", str(value))


class _Reduced(logging.Handler):
    """Says that a library said something, not what."""

    def emit(self, record: logging.LogRecord) -> None:
        failure = record.exc_info[1] if record.exc_info else None
        level = min(record.levelno // 10 * 10, logging.CRITICAL)  # structlog knows no levels in between
        structlog.get_logger().log(level, "library_message", logger=record.name, exc_info=failure)
