"""Our own Megolm sessions over an orderly stop: pickled when the bot stops, taken out for good when it starts.

A session that goes on from an old state would use keys twice. Therefore it leaves the store in the same commit in which
it is taken up, so after a power cut there is none; and that commit raises the count by which an old copy of the key
store is told (`watermark`), which the server must know before anything is sent. matrix-nio 0.26.0 keeps these sessions
in memory only (olm_machine.py), so that every start makes new ones for every room.
"""

import json
from collections.abc import Mapping
from typing import Any

from nio.crypto import OutboundGroupSession

from bot.matrix.e2ee.machine import Machine
from bot.matrix.e2ee.sharing import Outbound


def lay_down(machine: Machine, sessions: Mapping[str, Outbound]) -> None:
    """Write the sessions of all rooms down; nothing may be sent after this."""
    with machine.store.one_commit():
        for room_id, outbound in sessions.items():
            facts = {
                "pickle": outbound.session.pickle(machine.store.pickle_key).decode(),
                "count": outbound.session.message_count,
                "first_key": outbound.first_key,
                "members": sorted(outbound.members),
                "since": outbound.since,
                "shared": sorted(outbound.shared),
                "missed": sorted(outbound.missed),
                "withheld": sorted(outbound.withheld),
            }
            machine.store.lay_down(room_id, json.dumps(facts))


def take_up(machine: Machine) -> dict[str, Outbound]:
    """Take all of them out of the store and return them, by their rooms."""
    with machine.store.one_commit():
        found = machine.store.take_up()
        if found:
            machine.store.count_sent()
    return {room_id: _outbound(json.loads(facts), machine.store.pickle_key) for room_id, facts in found}


def _outbound(facts: dict[str, object], pickle_key: str) -> Outbound:
    session = OutboundGroupSession.from_pickle(str(facts["pickle"]).encode(), pickle_key)
    session.message_count = facts["count"]
    outbound = Outbound(session, str(facts["first_key"]), set(_list(facts["members"])), float(str(facts["since"])))
    for name in ("shared", "missed", "withheld"):
        setattr(outbound, name, {(user, device) for user, device in _list(facts[name])})
    return outbound


def _list(value: object) -> list[Any]:
    assert isinstance(value, list), "it was written by `lay_down`"
    return value
