"""What systemd is told of the process, as sd_notify(3) says: ready, alive, stopping. Elsewhere nobody is told anything.

The watchdog is answered only while there is progress; a process that hangs is then started anew. It does not look
before the start is over; a start that lasts is given more time for as long as the loop goes round.
"""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import structlog

log = structlog.get_logger()

PATIENCE_S = 1.0
MORE_TIME_S = 180.0
"""How long systemd waits to be asked again, once a start has lasted for its TimeoutStartSec."""


def tell(state: str) -> None:
    """Send one message, like `READY=1`, to the socket that NOTIFY_SOCKET names; `@` begins an abstract name."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel:
            channel.settimeout(PATIENCE_S)
            channel.connect("\0" + address[1:] if address.startswith("@") else address)
            channel.sendall(state.encode())
    except OSError as error:
        log.warning("systemd_not_told", code=type(error).__name__)


def watchdog_s() -> float | None:
    """Return within how many seconds systemd wants to hear from this process; None: it does not."""
    given, process = os.environ.get("WATCHDOG_USEC", ""), os.environ.get("WATCHDOG_PID")
    if not given.isdecimal() or int(given) == 0 or process not in {None, str(os.getpid())}:
        return None
    return int(given) / 1_000_000


async def answer_watchdog(is_moving: Callable[[], bool]) -> None:
    """Say twice in each interval that we are alive, for as long as that is true."""
    interval_s = watchdog_s()
    while interval_s:
        if is_moving():
            tell("WATCHDOG=1")
        await asyncio.sleep(interval_s / 2)


@asynccontextmanager
async def starting(every_s: float = MORE_TIME_S / 3) -> AsyncIterator[Callable[[], object]]:
    """Ask for more time again and again, because the server may be away for hours; yields what ends that."""
    asking = asyncio.ensure_future(_ask_for_time(every_s))
    try:
        yield asking.cancel
    finally:
        asking.cancel()


async def _ask_for_time(every_s: float) -> None:
    while True:
        tell(f"EXTEND_TIMEOUT_USEC={round(MORE_TIME_S * 1_000_000)}")
        await asyncio.sleep(every_s)
