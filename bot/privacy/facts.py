"""What may stand in braces in a privacy text, and what it becomes.

    everywhere   {controller} {address} {contact} {officer} {authority} {privacy_url} {imprint} {server} {federation}
                 {consents} {version} {location} {processor}, and {keep_...} for each period
    in questions {purpose} {data} {recipients} {retention} {most} {minimum_age} {voluntary} {withdrawal} {answer}

Other names are filled in when the text is sent (`bot.domain.purpose.ANSWERS`, `PER_CASE`).
"""

import re
from collections.abc import Iterable, Mapping

from bot.domain.purpose import PLACEHOLDER, Federation, Operator, Purpose, canonical
from bot.privacy.files import Files

Facts = Mapping[str, str]

_MOST = {"de": ("Nachricht", "Nachrichten"), "en": ("message", "messages")}


def general(files: Files, operator: Operator, offered: Iterable[Purpose], language: str) -> dict[str, str]:
    """Return what every text may name."""
    controller, hosting = operator.controller, operator.hosting
    plain = {
        "controller": controller.name,
        "address": controller.address,
        "contact": controller.contact,
        "authority": controller.authority,
        "privacy_url": controller.privacy_url,
        "imprint": controller.imprint,
        "location": hosting.location,
        "processor": hosting.processor,
    } | {f"keep_{name}": period.said(language) for name, period in files.periods.items()}
    titles = ", ".join(f"„{one}“" if language == "de" else f'"{one}"' for one in _titles(offered, language))
    is_federated = operator.federation is not Federation.CLOSED
    officer = {"officer": controller.officer}
    return plain | {
        "consents": titles or sentence(files, "nothing", language, plain),
        "server": sentence(files, "server_processor" if hosting.processor else "server_own", language, plain),
        "federation": sentence(files, "federation", language, plain) if is_federated else "",
        "officer": sentence(files, "officer", language, plain | officer) if controller.officer else "",
    }


def _titles(offered: Iterable[Purpose], language: str) -> list[str]:
    return [purpose.words[language].title for purpose in offered if purpose.needs_consent and purpose.is_offered]


def of_purpose(files: Files, purpose: Purpose, language: str, known: Facts) -> dict[str, str]:
    """Return what the texts of one purpose may name besides."""
    words = purpose.words[language]
    numbers = {"most": _most(purpose, language), "minimum_age": str(purpose.minimum_age)}
    shared = {name: sentence(files, name, language, {**known, **numbers}) for name in SHARED}
    said = {"purpose": words.title, "data": words.data, "recipients": words.recipients, "retention": words.retention}
    return {**known, **numbers, **shared, **said}


SHARED = ("voluntary", "withdrawal", "answer")
"""Sentences that every question shares."""


def _most(purpose: Purpose, language: str) -> str:
    one, many = _MOST[language]
    return f"{purpose.most_per_month} {one if purpose.most_per_month == 1 else many}"


def sentence(files: Files, name: str, language: str, known: Facts) -> str:
    """Return a shared sentence; nothing if there is none, which the rules find."""
    table = files.sentences.get(name)
    return fill(getattr(table, language), known) if table else ""


def fill(text: str, known: Facts) -> str:
    """Put in what is known and leave other names as they are; nothing that is put in is looked at again."""
    return PLACEHOLDER.sub(lambda found: known.get(found.group(1), found.group(0)), text)


def rendered(text: str, known: Facts) -> str:
    """Return a text in its canonical spelling. Where a value was empty, no gap is left behind."""
    filled = canonical(fill(text, known))
    return re.sub(r"\n{3,}", "\n\n", filled)


def names(text: str) -> set[str]:
    """Return the names in braces."""
    return set(PLACEHOLDER.findall(text))
