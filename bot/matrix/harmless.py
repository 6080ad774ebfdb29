"""Words of strangers made safe: HTML reduced to a small allow-list, mentions without power, no hidden characters."""

import re
import unicodedata
from typing import Final

import nh3

_TAGS: Final = {
    *("b", "strong", "i", "em", "u", "del", "s", "code", "pre", "blockquote", "p", "br", "hr", "ul", "ol", "li"),
    *("h1", "h2", "h3", "h4", "h5", "h6", "table", "thead", "tbody", "tr", "th", "td", "span", "a"),
}
_ATTRIBUTES: Final = {"a": {"href"}, "ol": {"start"}}
_BIDI: Final = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
_ROOM_MENTION: Final = re.compile(r"@room\b", re.IGNORECASE)
_USER_LINK: Final = re.compile(r"(?:https://matrix\.to/#/|matrix:)", re.IGNORECASE)
_VARIATION: Final = "\ufe0f"
_EMOJI_BY_DEFAULT: Final = frozenset(
    "⌚⌛⏩⏪⏫⏬⏰⏳◽◾☔☕♈♉♊♋♌♍♎♏♐♑♒♓♿⚓⚡⚪⚫⚽⚾⛄⛅⛎⛔⛪⛲⛳⛵⛺⛽✅✊✋✨❌❎❓❔❕❗➕➖➗➰➿⬛⬜⭐⭕"
)
LONGEST_REACTION = 64


def harmless(text: str) -> str:
    """Return text without control and direction characters, and with `@room` spelled so that it wakes nobody."""
    kept = "".join(c for c in text if c in "\n\t" or (c not in _BIDI and unicodedata.category(c) not in {"Cc", "Cs"}))
    return _ROOM_MENTION.sub("@\u200broom", kept)


def harmless_name(name: object, fallback: str, longest: int = 60) -> str:
    """Return a name on one line, without anything that cannot be seen, or the fallback."""
    if not isinstance(name, str):
        return fallback
    spaced = "".join(" " if unicodedata.category(c) in {"Cc", "Zl", "Zp"} else c for c in name)
    kept = "".join(c for c in spaced if unicodedata.category(c) not in {"Cf", "Cs", "Co", "Cn"})
    kept = " ".join(kept.split())[:longest].strip()
    return _ROOM_MENTION.sub("@\u200broom", kept) or fallback


def harmless_file_name(name: object, fallback: str) -> str:
    """Return a file name that leads nowhere: no path, no leading dots, at most 120 characters, the ending kept."""
    plain = harmless_name(name, "", longest=10_000).replace("\\", "/").rpartition("/")[2]
    plain = "".join("_" if c in '<>:"|?*' else c for c in plain).lstrip(". ").rstrip(". ")
    if len(plain) > 120:
        stem, dot, ending = plain.rpartition(".")
        plain = f"{stem[:100]}{dot}{ending[:15]}" if dot else plain[:120]
    return plain or fallback


def clean_html(html: str) -> str:
    """Reduce HTML to harmless formatting; links to people and rooms lose their target, `@room` its power."""
    clean = nh3.clean(
        html.encode(errors="ignore").decode(),  # halves of surrogate pairs are no text
        tags=set(_TAGS),
        attributes=dict(_ATTRIBUTES),
        url_schemes={"http", "https", "mailto", "tel"},
        attribute_filter=_no_user_links,
        link_rel="noopener noreferrer",
    )
    return harmless(clean)


def _no_user_links(tag: str, attribute: str, value: str) -> str | None:
    return None if (tag, attribute) == ("a", "href") and _USER_LINK.match(value.strip()) else value


def reaction_key(key: object) -> str:
    """Return a reaction in one spelling: clients send `👍` with and without U+FE0F, and compare them as strings.

    The selector stays only where a symbol would otherwise be drawn as a letter (`❤️`).
    """
    text = harmless_name(key, "", LONGEST_REACTION).replace(_VARIATION, "")
    return "".join(c + _VARIATION if _needs_selector(c) else c for c in text)


def _needs_selector(c: str) -> bool:
    return "\u2190" <= c < "\U00010000" and unicodedata.category(c) == "So" and c not in _EMOJI_BY_DEFAULT
