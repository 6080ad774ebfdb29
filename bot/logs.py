"""Logs without personal data: only fields from a list get out, and whatever looks like a Matrix id is masked.

Other libraries' messages are reduced to their logger and level, because nobody knows what stands in them.
"""

import logging
import re
import sys
from typing import Any

import structlog

ALLOWED = frozenset(
    {
        *("event", "level", "timestamp", "case", "lane_kind", "state", "reason", "count", "seconds", "step", "kind"),
        *("attempt", "code", "status", "version", "stack", "logger", "error"),
    }
)
_ID = re.compile(r"[@!$#][^\s:@!$#]+:[^\s]+|[!$][A-Za-z0-9_\-]{30,}|syt_\w+|Bearer \S+")


def configure(level: str, style: str) -> None:
    """Set up our logs and everybody else's."""
    renderer: Any = structlog.processors.JSONRenderer(ensure_ascii=False)
    if style == "console":
        renderer = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
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


def only_allowed(_logger: Any, _method: str, fields: structlog.typing.EventDict) -> structlog.typing.EventDict:
    """Drop every field that is not on the list, mask what looks like an id."""
    return {name: masked(value) for name, value in fields.items() if name in ALLOWED}


def masked(value: Any) -> Any:
    """Mask ids and tokens in text; numbers stay."""
    if isinstance(value, bool | int | float) or value is None:
        return value
    return _ID.sub("[masked]", str(value))


class _Reduced(logging.Handler):
    """Says that a library said something, not what."""

    def emit(self, record: logging.LogRecord) -> None:
        error = record.exc_info[0].__name__ if record.exc_info and record.exc_info[0] else None
        fields = {"logger": record.name, "level": record.levelname.lower()} | ({"error": error} if error else {})
        structlog.get_logger().warning("library_message", **{k: v for k, v in fields.items() if k != "level"})
