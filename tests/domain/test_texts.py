"""Texts: the same in every language, and placeholders that are nothing but names."""

import ast
import re
import tomllib
from collections.abc import Collection
from pathlib import Path

import pytest

from bot.domain.command import CHIPS
from bot.domain.message import Kind
from bot.domain.purpose import NAMED
from bot.domain.secrets import KEY_BYTES, Purpose, derive
from bot.domain.texts import Texts, TextsDiffer, checked, flat
from bot.domain.verification import EMOJIS
from bot.flows.copying import CARRIED
from bot.flows.reasons import PLAIN
from bot.matrix.e2ee import withheld
from bot.resources import resource_dir
from bot.settings import load_texts

FOLDER = resource_dir("config") / "texts"
CODE = Path(__file__).parents[2] / "bot"
PLAIN_REASONS = tuple(f"reason.{reason.casefold()}" for reason in PLAIN)
MADE_UP = (
    "kind.",
    "listing.",
    "chip.",
    "emoji.",
    "month.",
    "weekday.",
    "withheld.",
    "day_end.",
    *PLAIN_REASONS,
    "stuck.waiting",
    "stuck.parked",
    "consent.named_",
    "consent.why_",
    "consent.standing_",
    "doctor.",
)
"""Begin the ids of texts that the code puts together from a value; for the doctor's see `tests/doctor`."""
ALIKE = frozenset(
    {"chip.", "consent.named_", "consent.standing_", "consent.why_", "kind.", "month.", "weekday.", "emoji."}
)
"""Begin the ids of texts that all take the same values, because one call says whichever it is."""
SAYING = frozenset({"say", "say_at", "say_in", "render"})
FOR_ADMINS = "doctor."
"""Begins the ids of texts that name files and settings."""
NEVER = ("ticket", "mxid", "bridge", "homeserver", "dsgvo-konform", "gdpr-compliant")


def catalogue() -> dict[str, dict[str, str]]:
    return {file.stem: flat(tomllib.loads(file.read_text(encoding="utf-8"))) for file in FOLDER.glob("??.toml")}


def test_both_languages_say_the_same() -> None:
    assert set(catalogue()) == {"de", "en"}
    checked(catalogue())


def test_every_kind_of_message_that_cannot_be_carried_has_a_word() -> None:
    words = {key.removeprefix("kind.") for key in catalogue()["de"] if key.startswith("kind.")}

    assert words == {kind.value for kind in set(Kind) - CARRIED - {Kind.NOISE}} | {"poll"}


def test_the_code_says_what_stands_there_and_nothing_stands_there_unsaid() -> None:
    known = catalogue()["de"]
    sections = "|".join(sorted({key.partition(".")[0] for key in known}))
    a_text_id = re.compile(rf'"((?:{sections})\.[a-z_]+)"')
    said = {key for file in CODE.rglob("*.py") for key in a_text_id.findall(file.read_text(encoding="utf-8"))}

    assert {key for key in said if not key.startswith(MADE_UP)} == {key for key in known if not key.startswith(MADE_UP)}


def test_the_code_fills_in_exactly_what_a_text_leaves_open() -> None:
    """Wherever the id and the values stand in the call itself, and where one of many alike is said."""
    known = catalogue()["de"]
    open_in = {key: set(re.findall(r"\{(\w+)\}", text)) for key, text in known.items()}
    wrong: list[str] = []
    count = 0
    for file in CODE.rglob("*.py"):
        for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Attribute):
                continue
            if call.func.attr not in SAYING or any(word.arg is None for word in call.keywords):
                continue
            values = {str(word.arg) for word in call.keywords}
            for key in meant(call.args, known):
                count += 1
                if open_in[key] != values:
                    wrong.append(f"{file.name}:{call.lineno} {key} takes {open_in[key]}, not {values}")
    assert not wrong
    assert count > 200


def meant(arguments: list[ast.expr], known: Collection[str]) -> list[str]:
    """Return the texts that a call may mean: one by its id, all by how a made-up id begins."""
    for argument in arguments:
        if isinstance(argument, ast.Constant) and str(argument.value) in known:
            return [str(argument.value)]
        if isinstance(argument, ast.JoinedStr) and isinstance(argument.values[0], ast.Constant):
            begins = str(argument.values[0].value)
            return [key for key in known if key.startswith(begins)] if begins in ALIKE else []
    return []


def test_every_sign_on_a_card_says_what_it_does() -> None:
    words = {key.removeprefix("chip.") for key in catalogue()["de"] if key.startswith("chip.")}

    assert words == {row.verb.value for row in CHIPS}


def test_everything_that_staff_fill_into_a_question_has_a_name() -> None:
    assert set(NAMED) == {k.removeprefix("consent.named_") for k in catalogue()["de"] if k.startswith("consent.named_")}


def test_every_reason_for_which_a_key_is_withheld_has_a_sentence() -> None:
    words = {key.removeprefix("withheld.") for key in catalogue()["de"] if key.startswith("withheld.")}

    assert words == {code.removeprefix("m.") for code in withheld.REASONS} | {withheld.OTHER, "unknown"}


def test_every_picture_of_a_verification_has_a_word() -> None:
    assert [f"emoji.{name}" for _, name in EMOJIS] == [key for key in catalogue()["de"] if key.startswith("emoji.")]
    assert (len(EMOJIS), len({emoji for emoji, _ in EMOJIS})) == (64, 64)


@pytest.mark.parametrize("language", ["de", "en"])
def test_nobody_reads_words_of_the_trade(language: str) -> None:
    texts = catalogue()[language]

    assert not [
        (key, word)
        for key, text in texts.items()
        for word in NEVER
        if word in text.lower() and not key.startswith(FOR_ADMINS)
    ]
    assert all(text.strip() == text and text for text in texts.values())


def test_every_text_can_be_rendered_with_exactly_its_placeholders() -> None:
    texts = checked(catalogue())

    for language, entries in texts.catalogue.items():
        for key, text in entries.items():
            names = re.findall(r"\{([^}]*)\}", text)
            rendered = texts.render(key, language, **{name: f"<{name}>" for name in names})
            assert not re.search(r"[{}]", rendered), (language, key)


def test_the_code_gives_every_text_exactly_the_values_it_takes() -> None:
    """A value too many or too few is an error where a person waits for a sentence."""
    texts = catalogue()["de"]
    wrong = []
    for file in CODE.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if not (isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "say" and node.args):
                continue
            names = {keyword.arg for keyword in node.keywords}
            text = node.args[0]
            if isinstance(text, ast.Constant) and None not in names:
                takes = set(re.findall(r"\{(\w+)\}", texts[str(text.value)]))
                wrong += [(file.name, node.lineno, text.value)] if names != takes else []

    assert wrong == []


def test_values_are_inserted_once_and_are_never_templates() -> None:
    texts = Texts({"de": {"a": "{text} und {name}"}})

    assert texts.render("a", "de", text="{name}", name="{text.__class__}") == "{name} und {text.__class__}"


@pytest.mark.parametrize("values", [{}, {"name": "x"}, {"number": "1", "name": "x"}])
def test_missing_and_extra_values_are_errors(values: dict[str, str]) -> None:
    texts = Texts({"de": {"a": "Vorgang {number}"}})

    with pytest.raises(KeyError, match="number"):
        texts.render("a", "de", **values)


def test_an_unknown_text_is_an_error() -> None:
    with pytest.raises(KeyError):
        Texts({"de": {}}).render("a", "de")


def test_every_difference_is_named() -> None:
    with pytest.raises(TextsDiffer) as caught:
        checked({"de": {"a": "x", "b": "{one}"}, "en": {"b": "{two}", "c": "x"}})

    assert str(caught.value).splitlines() == [
        "en: a is missing",
        "de: b lacks {two}",
        "en: b lacks {one}",
        "de: c is missing",
    ]


def test_du_says_the_same_with_other_words_and_nobody_is_sie_there() -> None:
    toned = flat(tomllib.loads((FOLDER / "de-du.toml").read_text(encoding="utf-8")))
    formal = catalogue()["de"]
    texts = checked(catalogue()).laid_over("de", toned).catalogue["de"]
    for_customers = (
        "customer.",
        "untrusted.customer",
        "slip.",
        "sign.",
        *(key for key in toned if key.startswith("consent.")),
    )

    assert [key for key in toned if toned[key] == formal[key]] == [], "only what differs"
    assert {key: text for key, text in texts.items() if key not in toned} == {
        key: text for key, text in formal.items() if key not in toned
    }
    assert [
        (key, text)
        for key, text in texts.items()
        if key.startswith(for_customers) and re.search(r"\bSie\b(?! ist)|\bIhnen\b|\bIhre?[nmrs]?\b", text)
    ] == []


def test_a_tone_lies_over_its_language_and_over_no_other(tmp_path: Path) -> None:
    (tmp_path / "de.toml").write_text('a = "Sie, {name}"\nb = "x"')
    (tmp_path / "en.toml").write_text('a = "you, {name}"\nb = "x"')
    (tmp_path / "de-du.toml").write_text('a = "du, {name}"')

    du, sie = load_texts(tmp_path, "du"), load_texts(tmp_path)

    assert [du.render("a", language, name="Jo") for language in ("de", "en")] == ["du, Jo", "you, Jo"]
    assert sie.render("a", "de", name="Jo") == "Sie, Jo"
    assert du.render("b", "de") == "x"


@pytest.mark.parametrize("tone", ["du", "sie"])
def test_a_tone_that_does_not_fit_is_named_whichever_is_chosen(tmp_path: Path, tone: str) -> None:
    (tmp_path / "de.toml").write_text('a = "{name}"')
    (tmp_path / "de-du.toml").write_text('a = "{who}"\nb = "x"')

    with pytest.raises(TextsDiffer) as caught:
        load_texts(tmp_path, tone)

    assert len(str(caught.value).splitlines()) == 2


def test_nested_tables_become_dotted_keys() -> None:
    assert flat({"a": {"b": {"c": "x"}}, "d": "y"}) == {"a.b.c": "x", "d": "y"}


def test_each_purpose_has_a_key_of_its_own_that_never_changes() -> None:
    keys = {purpose: derive(b"m" * 32, purpose) for purpose in Purpose}

    assert len(set(keys.values())) == len(Purpose)
    assert {len(key) for key in keys.values()} == {KEY_BYTES}
    assert keys[Purpose.DATABASE] == derive(b"m" * 32, Purpose.DATABASE) != derive(b"n" * 32, Purpose.DATABASE)
