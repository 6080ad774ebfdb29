"""Why something waits or is stuck, in words: what stands in the tables is short and technical, and stays so."""

from typing import Final

from bot.flows.surroundings import Surroundings

PLAIN: Final = frozenset(
    {
        "no_key",
        "which_case",
        "forged_not_encrypted",
        "forged_replay",
        "no_device",
        "room_given_up",
        "too_large",
        "goes_round",
        "held",
        "third_person",
        "Mistake",
    }
)
"""Reasons that have a sentence of their own."""
FORGED: Final = "forged_"


def in_words(around: Surroundings, reason: str) -> str:
    """Return what a person can make something of; a code stands in it only where it helps whoever runs the server."""
    if reason in PLAIN:
        return around.say(f"reason.{reason.casefold()}")
    if reason.startswith(FORGED):
        return around.say("reason.forged")
    if reason[:1].isupper() and not reason.startswith("M_"):
        return around.say("reason.fault", code=reason)  # the name of an exception
    return around.say("reason.refused", code=reason)
