"""What the doctor says: every sentence exists, tells what to do where something is to be done, and the exit code is true."""

import ast
import re
import tomllib
from pathlib import Path

import pytest

from bot.diagnosis import shown
from bot.doctor import CHECKS
from bot.domain.finding import Finding, Grade, bad, blind, exit_code, note, stopped, well
from bot.domain.texts import checked, flat
from bot.flows.checkup import said
from bot.resources import resource_dir

TEXTS = checked(
    {
        file.stem: flat(tomllib.loads(file.read_text(encoding="utf-8")))
        for file in (resource_dir("config") / "texts").glob("??.toml")
    }
)
CODE = Path(__file__).parents[2] / "bot"
FROM_A_VALUE: dict[str, dict[str, set[str]]] = {
    "device": {"unknown": set(), "other_keys": set(), "no_identity": set(), "unsigned": set()},
    "team": {"changed": {"users"}, "unsigned": {"users"}},
}
"""Findings whose word is not in the call: by area, word and values."""


def findings_in_the_code() -> dict[str, set[str]]:
    """Return the id of each text that the checks give, with the names of its values."""
    found = {f"doctor.{area}.{word}": v for area, words in FROM_A_VALUE.items() for word, v in words.items()}
    for file in [*(CODE / "doctor").glob("*.py"), CODE / "diagnosis.py"]:
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and getattr(node.func, "id", "") in {"bad", "note", "well"}):
                continue
            words = [str(argument.value) for argument in node.args if isinstance(argument, ast.Constant)]
            if len(words) == len(node.args):
                found[f"doctor.{words[0]}.{words[1] if len(words) > 1 else 'well'}"] = {
                    str(keyword.arg) for keyword in node.keywords
                }
    return found


@pytest.mark.parametrize("language", ["de", "en"])
def test_every_finding_has_its_sentence_and_nothing_else_stands_there(language: str) -> None:
    texts = {key: text for key, text in TEXTS.catalogue[language].items() if key.startswith("doctor.")}
    general = {"all_well", "to_do", "half_blind", "blind", "stopped", *(f"area.{area}" for area in CHECKS)}
    takes = {key: set(re.findall(r"\{(\w+)\}", text)) for key, text in texts.items()}
    given = findings_in_the_code()

    assert {key: takes[key] for key in given} == given
    assert set(texts) == {f"doctor.{name}" for name in general} | set(given)


@pytest.mark.parametrize("language", ["de", "en"])
def test_what_is_bad_says_what_to_do(language: str) -> None:
    passive = {"well", "problem", "not_shown", "nothing_said", "not_seen", "without_key", "waiting"}
    for key in findings_in_the_code():
        text = TEXTS.catalogue[language][key]
        assert "\n→ " in text or key.rpartition(".")[2] in passive, key


def test_the_exit_code_says_the_worst() -> None:
    fine, worth, wrong, unseen = well("clock"), note("archive", "never"), bad("serving", "never"), blind("disk", "x")

    assert exit_code([fine, worth]) == 0
    assert exit_code([fine, unseen, worth]) == 2
    assert exit_code([fine, unseen, wrong]) == exit_code([stopped("serving", "x")]) == 1


def test_what_matters_most_comes_first_in_either_language() -> None:
    findings = [well("clock"), note("archive", "never"), blind("rooms", "no answer"), bad("items", "parked", count="2")]
    german = said(findings, lambda text, **values: TEXTS.render(text, "de", **values)).splitlines()
    table, summary, code = shown(findings, TEXTS)

    assert german[0] == "🩺 Zu tun: 1."
    assert [line[0] for line in german if line[0] in "✗?•✓"] == ["✗", "?", "•", "✓"]
    assert german[1].startswith("✗ Nachrichten: 2 Nachrichten hängen")
    assert (summary, code, table.row_count) == ("🩺 To do: 1.", 1, 4)


def test_grades_have_their_order_and_their_signs() -> None:
    assert [grade.sign for grade in sorted(Grade)] == ["✗", "?", "•", "✓"]
    assert Finding("x", Grade.BAD, "y").values == {}
