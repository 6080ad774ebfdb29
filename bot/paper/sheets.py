"""Two sheets: the slip that a new customer takes home, and the sign that stands on the counter. Both are A5."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from bot.domain.door import Gift, House, Ticket
from bot.domain.texts import Texts
from bot.paper.marks import Bar, Mark, Shade, Sheet, Words, broken, code, in_one_line, printable, width_mm

WIDTH_MM: Final = 148.0
HEIGHT_MM: Final = 210.0
MARGIN_MM: Final = 12.0
INNER_MM: Final = WIDTH_MM - 2 * MARGIN_MM
SLIP_CODE_MM: Final = 38.0
SLIP_TEXT_MM: Final = 46.0
"""Where the text beside a code begins, from the margin."""
SIGN_CODE_MM: Final = 72.0
PADDING_MM: Final = 4.0
LEADING: Final = 0.46
"""Millimetres from line to line for each point of size."""
DESCENT: Final = 0.11
"""Millimetres for each point of size that letters like g need below the baseline."""

Step = tuple[str, dict[str, str]]


@dataclass
class _Pen:
    """Writes from top to bottom."""

    x_mm: float = MARGIN_MM
    y_mm: float = MARGIN_MM
    within_mm: float = INNER_MM
    marks: list[Mark] = field(default_factory=list)

    def write(self, text: str, size: float, *, bold: bool = False, shade: Shade = "ink", centred: bool = False) -> None:
        """Write a paragraph and go below it."""
        for line in broken(text, size, self.within_mm, bold=bold):
            self.y_mm += size * LEADING
            indent = (self.within_mm - width_mm(line, size, bold=bold)) / 2 if centred else 0
            self.marks.append(Words(self.x_mm + indent, self.y_mm - size * DESCENT, line, size, bold, shade))

    def write_fitting(self, text: str, size: float, *, least: float, centred: bool = False) -> None:
        """Write a name or an address in bold: smaller if it is long, broken only if even that does not help."""
        self.write(text, in_one_line(text, size, self.within_mm, least=least, bold=True), bold=True, centred=centred)


def slip(house: House, ticket: Ticket, texts: Texts, language: str) -> Sheet:
    """Lay out what a new customer is given: their access, and the two ways into our chat."""
    pen = _Pen()
    pen.write_fitting(printable(house.business), 22, least=13)
    pen.y_mm += 1
    pen.write(texts.render("slip.title", language), 11, shade="soft")
    pen.y_mm += 4
    _access(pen, house, ticket, texts, language)
    pen.y_mm += 9
    setup = house.setup_link(ticket.account if ticket.gift is Gift.ACCOUNT else "")
    _way(pen, setup, "slip.way_new", _steps_of_new(house, ticket), texts, language)
    pen.y_mm += 9
    known: list[Step] = [("slip.step_chat_code", {}), ("slip.step_chat_search", {"bot": house.bot})]
    _way(pen, house.chat_link, "slip.way_known" if house.is_open else "slip.way_own", known, texts, language)
    pen.y_mm += 7
    for text, values in _advice(house, ticket):
        pen.write(texts.render(text, language, **values), 8.5, shade="soft")
        pen.y_mm += 1
    return _sheet(pen, house)


def _sheet(pen: _Pen, house: House) -> Sheet:
    """Return what was written. Addresses of 200 characters make the page longer; nothing is ever cut off."""
    return Sheet(WIDTH_MM, max(HEIGHT_MM, pen.y_mm + MARGIN_MM / 2), printable(house.business), tuple(pen.marks))


def _access(pen: _Pen, house: House, ticket: Ticket, texts: Texts, language: str) -> None:
    """Put name and secret, or lines to write them on, into a grey box."""
    top, box = pen.y_mm, len(pen.marks)
    pen.x_mm, pen.within_mm, pen.y_mm = MARGIN_MM + PADDING_MM, INNER_MM - 2 * PADDING_MM, top + PADDING_MM - 1
    for label, value in _rows(ticket):
        pen.write(texts.render(label, language), 8.5, shade="soft")
        if value:
            pen.write_fitting(value, 16, least=9.5)
        else:
            pen.y_mm += 9
            pen.marks.append(Bar(pen.x_mm, pen.y_mm, pen.within_mm, 0.25, "ink"))
        pen.y_mm += 1.5
    if ticket.valid_until:
        pen.write(texts.render("slip.valid", language, date=ticket.valid_until), 8.5, shade="soft")
    pen.y_mm += PADDING_MM - 2
    pen.marks.insert(box, Bar(MARGIN_MM, top, INNER_MM, pen.y_mm - top, "pale"))
    pen.x_mm, pen.within_mm = MARGIN_MM, INNER_MM


def _rows(ticket: Ticket) -> list[tuple[str, str]]:
    if ticket.gift is Gift.TOKEN:
        return [("slip.token", ticket.secret)]
    return [("slip.account", str(ticket.account)), ("slip.password", ticket.secret)]


def _way(pen: _Pen, link: str, title: str, steps: Sequence[Step], texts: Texts, language: str) -> None:
    """Put a code on the left, and beside it what to do with it."""
    top = pen.y_mm
    pen.marks.append(code(MARGIN_MM, top, SLIP_CODE_MM, link))
    pen.x_mm, pen.within_mm = MARGIN_MM + SLIP_TEXT_MM, INNER_MM - SLIP_TEXT_MM
    pen.y_mm -= 1
    pen.write(texts.render(title, language), 12.5, bold=True)
    pen.y_mm += 1
    for number, (text, values) in enumerate(steps, start=1):
        pen.marks.append(Words(pen.x_mm, pen.y_mm + 9.5 * (LEADING - DESCENT), f"{number}.", 9.5, bold=True))
        pen.x_mm, pen.within_mm = pen.x_mm + 5, pen.within_mm - 5
        pen.write(texts.render(text, language, **values), 9.5)
        pen.x_mm, pen.within_mm = pen.x_mm - 5, pen.within_mm + 5
        pen.y_mm += 0.8
    pen.x_mm, pen.within_mm, pen.y_mm = MARGIN_MM, INNER_MM, max(pen.y_mm, top + SLIP_CODE_MM)


def _steps_of_new(house: House, ticket: Ticket) -> list[Step]:
    install: Step = ("slip.step_install", {})
    setup: Step = ("slip.step_setup_code", {"server": house.provider})
    then: Step = ("slip.step_then", {})
    if ticket.gift is Gift.TOKEN:
        register: Step = ("slip.step_register", {"page": house.register_page})
        return [register, install, setup, then]
    return [install, setup, ("slip.step_login", {}), then]


def _advice(house: House, ticket: Ticket) -> list[Step]:
    advice: list[Step] = [("slip.privacy", {})]
    if ticket.gift is not Gift.TOKEN:
        where: Step = (
            ("slip.change_in_browser", {"page": house.web_client}) if house.web_client else ("slip.change", {})
        )
        advice.insert(0, where)
    return advice


def sign(house: House, texts: Texts, languages: Sequence[str]) -> Sheet:
    """Lay out what stands on the counter: how to reach us. There is no secret on it."""
    first, *others = languages
    size = 10.5 if others else 12.0
    pen = _Pen(y_mm=MARGIN_MM + 3)
    pen.write_fitting(printable(house.business), 30, least=16, centred=True)
    pen.y_mm += 3
    pen.write(texts.render("sign.title", first), 19, centred=True)
    for language in others:
        pen.write(texts.render("sign.title", language), 13, shade="soft", centred=True)
    pen.y_mm += 13
    pen.marks.append(code((WIDTH_MM - SIGN_CODE_MM) / 2, pen.y_mm, SIGN_CODE_MM, house.chat_link))
    pen.y_mm += SIGN_CODE_MM + 12
    pen.write_fitting(house.bot, 15, least=9.5, centred=True)
    pen.y_mm += 4
    said = ("sign.known", "sign.new") if house.is_open else ("sign.own", "sign.none")
    for number, language in enumerate(languages):
        shade: Shade = "soft" if number else "ink"
        for text in said:
            pen.write(texts.render(text, language), size, shade=shade, centred=True)
        pen.y_mm += 2.5
    foot = [texts.render("sign.privacy", language) for language in languages]
    pen.y_mm = max(pen.y_mm, HEIGHT_MM - MARGIN_MM - 8.5 * LEADING * len(foot))
    for line in foot:
        pen.write(line, 8.5, shade="soft", centred=True)
    return _sheet(pen, house)
