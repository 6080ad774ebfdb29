"""Slips and signs: an independent decoder reads every code from paper and from the screen, and nothing is cut off."""

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO

import pypdfium2
import pytest
import zxingcpp
from PIL import Image

from bot.domain.door import Gift, House, Ticket
from bot.domain.ids import UserId
from bot.paper.marks import Bar, Code, Sheet, Words, broken, printable, width_mm
from bot.paper.printers import as_pdf, as_png
from bot.paper.sheets import HEIGHT_MM, sign, slip
from bot.resources import resource_dir
from bot.settings import load_texts

TEXTS = load_texts(resource_dir("config") / "texts")
APP = "https://mobile.element.io/element/"
SHORT = House("Werkstatt Müller", UserId("@werkstatt:example.de"), "example.de", APP, "https://chat.example.de")
LONG_SERVER = "chat.kraftfahrzeug-meisterbetrieb-mueller-und-soehne.example"
LONG = House(
    "Kraftfahrzeug-Meisterbetrieb Müller-Lüdenscheidt & Söhne GmbH & Co. KG Wuppertal",
    UserId(f"@werkstatt-annahme-und-reifen:{LONG_SERVER}"),
    LONG_SERVER,
    APP,
    f"https://element.{LONG_SERVER}",
)
LONGEST = House("Ö" * 80, UserId("@" + "w" * 100 + ":" + "x" * 153), "x" * 153, APP)
HOUSES = {"short": SHORT, "long": LONG, "longest": LONGEST}


def ticket(gift: Gift, house: House) -> Ticket:
    match gift:
        case Gift.ACCOUNT:
            return Ticket(gift, UserId(f"@kunde-7m2q9xhp:{house.bot.partition(':')[2]}"), "xkd7-2mfq-9rtw-hb3c")
        case Gift.TOKEN:
            return Ticket(gift, "", "xkd7-2mfq-9rtw", "09.12.2026")
        case Gift.NOTHING:
            return Ticket(gift)


SHEETS: dict[str, tuple[House, Callable[[], Sheet], set[str]]] = {}
for _name, _house in HOUSES.items():
    for _gift in Gift:
        _ticket = ticket(_gift, _house)
        _links = {_house.setup_link(_ticket.account), _house.chat_link}
        for _language in ("de", "en"):
            SHEETS[f"slip-{_name}-{_gift}-{_language}"] = (
                _house,
                lambda h=_house, t=_ticket, la=_language: slip(h, t, TEXTS, la),  # type: ignore[misc]
                _links,
            )
    SHEETS[f"sign-{_name}-de"] = (_house, lambda h=_house: sign(h, TEXTS, ["de"]), {_house.chat_link})  # type: ignore[misc]
    SHEETS[f"sign-{_name}-both"] = (_house, lambda h=_house: sign(h, TEXTS, ["de", "en"]), {_house.chat_link})  # type: ignore[misc]

LENGTHS_MM = (0.35, 20.0)
"""How wide a module may be: phones read 0.35 mm from a hand's breadth."""


def decoded(picture: Image.Image) -> set[str]:
    return {
        found.text
        for found in zxingcpp.read_barcodes(picture, formats=zxingcpp.BarcodeFormats(zxingcpp.BarcodeFormat.QRCode))
    }


def on_screen(data: bytes, share: float = 1.0) -> Image.Image:
    picture = Image.open(BytesIO(data))
    return picture.resize((round(picture.width * share), round(picture.height * share)))


def on_paper(data: bytes, dpi: int, page: int = 0) -> Image.Image:
    document = pypdfium2.PdfDocument(data)
    try:
        rendered: Image.Image = document[page].render(scale=dpi / 72).to_pil()
        return rendered.convert("L")
    finally:
        document.close()


@pytest.mark.parametrize("name", SHEETS)
def test_every_code_is_read_from_paper_and_from_the_screen(name: str) -> None:
    _, made, links = SHEETS[name]
    sheet = made()

    pdf, png = as_pdf(sheet), as_png(sheet)

    assert decoded(on_paper(pdf, 200)) == links
    assert decoded(on_paper(pdf, 300)) == links
    assert decoded(on_screen(png)) == links
    assert decoded(on_screen(png, 0.5)) == links


@pytest.mark.parametrize("name", SHEETS)
def test_nothing_is_cut_off_and_nothing_disturbs_a_code(name: str) -> None:
    sheet = SHEETS[name][1]()

    assert sheet.height_mm == HEIGHT_MM or "longest" in name
    for mark in sheet.marks:
        left, top, right, bottom = box(mark)
        assert left >= 5
        assert top >= 5
        assert right <= sheet.width_mm - 5
        assert bottom <= sheet.height_mm - 3
        if isinstance(mark, Code):
            assert LENGTHS_MM[0] < mark.module_mm < LENGTHS_MM[1]
            for other in sheet.marks:
                assert other is mark or apart(box(mark, mark.quiet_mm), box(other)), other
    words = [mark for mark in sheet.marks if isinstance(mark, Words)]
    for number, one in enumerate(words):
        assert all(apart(box(one), box(other)) for other in words[number + 1 :]), one


Box = tuple[float, float, float, float]


def box(mark: Words | Bar | Code, more: float = 0) -> Box:
    """Left, top, right, bottom. Letters reach 0.26 mm a point above the baseline, and 0.08 below."""
    match mark:
        case Words():
            high, low = mark.size * 0.26, mark.size * 0.08
            return (
                mark.x_mm,
                mark.y_mm - high,
                mark.x_mm + width_mm(mark.text, mark.size, bold=mark.bold),
                mark.y_mm + low,
            )
        case Bar():
            return mark.x_mm, mark.y_mm, mark.x_mm + mark.width_mm, mark.y_mm + mark.height_mm
        case Code():
            side = mark.side_mm + more
            return mark.x_mm - more, mark.y_mm - more, mark.x_mm + side, mark.y_mm + side


def apart(one: Box, other: Box) -> bool:
    return one[2] <= other[0] or other[2] <= one[0] or one[3] <= other[1] or other[3] <= one[1]


def squeezed(text: str) -> str:
    """Leave out what a line's end may change: white space and hyphens."""
    return "".join(letter for letter in text if letter.isprintable() and letter not in " -")


def text_of(pdf: bytes, page: int = 0) -> str:
    document = pypdfium2.PdfDocument(pdf)
    try:
        return squeezed(document[page].get_textpage().get_text_bounded())
    finally:
        document.close()


@pytest.mark.parametrize("gift", Gift)
def test_a_slip_says_everything_that_is_needed(gift: Gift) -> None:
    given = ticket(gift, LONG)
    text = text_of(as_pdf(slip(LONG, given, TEXTS, "de")))

    for needed in (LONG.business, LONG.bot, LONG.provider, str(given.account), given.secret, given.valid_until):
        assert squeezed(needed) in text, needed
    assert (squeezed(LONG.register_page) in text) == (gift is Gift.TOKEN)
    assert ("BitteändernSiedasPasswort" in text) == (gift is not Gift.TOKEN)


def test_a_sign_holds_no_more_than_how_to_reach_us() -> None:
    text = text_of(as_pdf(sign(SHORT, TEXTS, ["de", "en"])))

    assert "WerkstattMüller" in text
    assert "@werkstatt:example.de" in text
    assert "Zugangszettel" in text
    assert "accessslip" in text
    assert "assword" not in text


def test_who_has_matrix_is_told_to_write_only_if_they_can() -> None:
    everybody = replace(SHORT, is_open=True)
    given = ticket(Gift.ACCOUNT, SHORT)

    for house in (SHORT, everybody):
        for sheet in (sign(house, TEXTS, ["de"]), slip(house, given, TEXTS, "de")):
            assert ("Matrix" in text_of(as_pdf(sheet))) == house.is_open


def test_two_sheets_are_two_pages_and_stand_side_by_side() -> None:
    given = ticket(Gift.ACCOUNT, SHORT)
    sheets = [slip(SHORT, given, TEXTS, language) for language in ("de", "en")]

    pdf, png = as_pdf(*sheets), on_screen(as_png(*sheets))

    assert "Benutzername" in text_of(pdf)
    assert "Username" in text_of(pdf, 1)
    assert png.width == 2 * on_screen(as_png(sheets[0])).width
    assert decoded(on_paper(pdf, 150, 1)) == decoded(png)


def test_the_same_slip_is_the_same_file() -> None:
    sheet = slip(SHORT, ticket(Gift.ACCOUNT, SHORT), TEXTS, "de")

    assert as_pdf(sheet) == as_pdf(sheet)
    assert as_png(sheet) == as_png(sheet)


def test_the_pdf_brings_its_font() -> None:
    pdf = as_pdf(slip(SHORT, ticket(Gift.NOTHING, SHORT), TEXTS, "de"))

    assert pdf.count(b"/FontFile2") == 2
    assert b"Roboto" in pdf


def test_what_has_no_letter_is_left_out() -> None:
    assert printable("🚗 Werkstatt\tMüller 修理") == "Werkstatt Müller"
    assert printable("Žižkov Łódź Ωμέγα Жук") == "Žižkov Łódź Ωμέγα Жук"


def test_a_long_word_is_broken_where_it_can_be() -> None:
    lines = broken("@kunde-7m2q9xhp:chat.werkstatt.example", 12, 40)

    assert "".join(lines) == "@kunde-7m2q9xhp:chat.werkstatt.example"
    assert lines[0].endswith(":")
    assert all(width_mm(line, 12) <= 40 for line in lines)
