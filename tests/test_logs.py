"""What comes out of the logs, and above all what does not."""

import json
import logging
import warnings
from typing import Any

import pytest
import structlog

from bot import logs
from bot.domain.errors import Refused

USER = "@anna.muster:elsewhere.example"
ROOM = "!dGhpc2lzYXJvb20:example.de"
ROOM_12 = "!4WnSvYn0qjLJyLqKkTzZ0m2r5x8w9dC3b1N7vQeFhJs"
EVENT = "$4WnSvYn0qjLJyLqKkTzZ0m2r5x8w9dC3b1N7vQeFhJs"
ALIAS = "#werkstatt:example.de"
TOKEN = "syt_d2Vya3N0YXR0_abcdefghij_0123456"
BODY = "Meine Bremse quietscht"
PERSONAL = (USER, ROOM, ROOM_12, EVENT, ALIAS, TOKEN, BODY)


def lines(capsys: pytest.CaptureFixture[str]) -> list[dict[str, Any]]:
    printed = capsys.readouterr()
    assert printed.out == ""
    assert not [word for word in PERSONAL if word in printed.err], printed.err
    return [json.loads(line) for line in printed.err.splitlines()]


def test_only_fields_from_the_list_come_out(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("debug", "json")

    structlog.get_logger().info(
        "item_parked", case=1042, kind="text", attempt=2, sender=USER, body=BODY, room=ROOM, token=TOKEN
    )

    (line,) = lines(capsys)
    assert line.pop("timestamp").endswith("Z")
    assert line == {"event": "item_parked", "level": "info", "case": 1042, "kind": "text", "attempt": 2}


@pytest.mark.parametrize("personal", [USER, ROOM, ROOM_12, EVENT, ALIAS, TOKEN, f"Bearer {TOKEN}"])
@pytest.mark.parametrize("field", sorted(logs.ALLOWED - {"level", "timestamp", "event"}))
def test_ids_and_tokens_are_masked_in_every_field(
    capsys: pytest.CaptureFixture[str], field: str, personal: str
) -> None:
    logs.configure("info", "json")

    structlog.get_logger().warning("something", **{field: f"before {personal} after"})

    (line,) = lines(capsys)
    assert line[field] == "before [masked] after"


@pytest.mark.parametrize(
    "text",
    [
        "/rooms/%21dGhpc2lzYXJvb20%3Aexample.de/send",
        "/profile/%40anna.muster%3Aelsewhere.example/displayname",
        "/event/%244WnSvYn0qjLJyLqKkTzZ0m2r5x8w9dC3b1N7vQeFhJs",
        "?access_token=abcdef",
        "mat_abcdefghijkl",
        {"room": ROOM},
        [USER, EVENT],
    ],
)
def test_ids_are_masked_inside_addresses_and_structures_too(text: Any) -> None:
    masked = str(logs.masked(text))

    assert "[masked]" in masked
    for personal in ("dGhpc2lz", "anna", "4WnSv", "abcdef"):
        assert personal not in masked


@pytest.mark.parametrize(
    "harmless", ["the server is in trouble (502)", "10:30 to 11:00", "M_FORBIDDEN", "worker.py:12"]
)
def test_ordinary_words_stay(harmless: str) -> None:
    assert logs.masked(harmless) == harmless


def test_an_event_name_is_masked_as_well(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")

    structlog.get_logger().info(f"joined {ROOM}")

    assert lines(capsys)[0]["event"] == "joined [masked]"


def test_a_stranger_s_exception_tells_its_class_and_its_place(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    log = structlog.get_logger()

    try:
        raise ValueError(f"cannot parse {BODY!r} of {USER}")
    except ValueError as error:
        log.error("item_failed", exc_info=error)
        log.exception("item_failed")

    for line in lines(capsys):
        assert line["error"] == "ValueError"
        assert line["stack"].startswith("test_logs.py:")


def test_our_own_exception_tells_its_masked_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")

    structlog.get_logger().error("failed", exc_info=Refused(f"no way into {ROOM}\nsecond line"))

    assert lines(capsys)[0]["error"] == "Refused: no way into [masked]"


def test_without_a_failure_nothing_is_said_of_one(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")

    structlog.get_logger().info("fine", exc_info=False)

    assert set(lines(capsys)[0]) == {"event", "level", "timestamp"}


def test_libraries_are_reduced_to_name_level_and_kind_of_failure(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("debug", "json")
    library = logging.getLogger("nio.client")

    try:
        raise RuntimeError(BODY)
    except RuntimeError:
        library.exception("in %s from %s: %s", ROOM, USER, BODY)
    library.warning(BODY)
    library.log(35, BODY)
    library.info(BODY)

    found = lines(capsys)
    assert [(line["logger"], line["level"], line.get("error")) for line in found] == [
        ("nio.client", "error", "RuntimeError"),
        ("nio.client", "warning", None),
        ("nio.client", "warning", None),
    ]


def test_warnings_take_the_same_way(capsys: pytest.CaptureFixture[str]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logs.configure("info", "json")

        warnings.warn(BODY, stacklevel=1)

        logging.captureWarnings(False)
    (line,) = lines(capsys)
    assert line["logger"] == "py.warnings"


def test_the_level_holds_and_the_console_is_no_way_around(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("warning", "console")

    structlog.get_logger().info("quiet")
    structlog.get_logger().warning("loud", reason=f"{USER} wrote", body=BODY)

    printed = capsys.readouterr().err
    assert "quiet" not in printed
    assert "loud" in printed
    assert not [word for word in PERSONAL if word in printed]
