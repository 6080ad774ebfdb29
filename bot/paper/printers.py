"""Two printers for a sheet: PDF for paper, PNG for a screen. The same sheet gives the same bytes each time."""

from datetime import UTC, datetime
from io import BytesIO
from typing import Final, assert_never

from fpdf import FPDF
from PIL import Image, ImageDraw, ImageFont

from bot.paper.marks import MM_PER_POINT, Bar, Code, Shade, Sheet, Words, font_file

PNG_DPI: Final = 300
_ALWAYS: Final = datetime(2026, 1, 1, tzinfo=UTC)
"""A slip says itself until when it is good; a date inside the file would only make every file another one."""
_GREYS: Final[dict[Shade, int]] = {"ink": 17, "soft": 85, "pale": 238, "white": 255}


def as_pdf(*sheets: Sheet) -> bytes:
    """Print to a PDF, a page for each sheet, with its font inside."""
    pdf = FPDF(unit="mm")
    pdf.set_creation_date(_ALWAYS)
    pdf.set_title(sheets[0].title)
    pdf.set_auto_page_break(False)
    for style, bold in (("", False), ("B", True)):
        pdf.add_font("slip", style, font_file(bold=bold))
    for sheet in sheets:
        pdf.add_page(format=(sheet.width_mm, sheet.height_mm))
        _draw(pdf, sheet)
    return bytes(pdf.output())


def _draw(pdf: FPDF, sheet: Sheet) -> None:
    for mark in sheet.marks:
        match mark:
            case Words():
                pdf.set_font("slip", "B" if mark.bold else "", mark.size)
                pdf.set_text_color(_GREYS[mark.shade])
                pdf.text(mark.x_mm, mark.y_mm, mark.text)
            case Bar():
                pdf.set_fill_color(_GREYS[mark.shade])
                pdf.rect(mark.x_mm, mark.y_mm, mark.width_mm, mark.height_mm, style="F")
            case Code():
                pdf.image(_picture(mark, 8), mark.x_mm, mark.y_mm, mark.side_mm, mark.side_mm)
            case _ as never:
                assert_never(never)


def as_png(*sheets: Sheet) -> bytes:
    """Print to a picture at 300 dots an inch, several sheets side by side."""
    pictures = [_painted(sheet) for sheet in sheets]
    whole = Image.new("L", (sum(one.width for one in pictures), max(one.height for one in pictures)), _GREYS["white"])
    left = 0
    for one in pictures:
        whole.paste(one, (left, 0))
        left += one.width
    written = BytesIO()
    whole.save(written, "PNG", dpi=(PNG_DPI, PNG_DPI))
    return written.getvalue()


def pixels(png: bytes) -> tuple[int, int]:
    """Return width and height of a picture."""
    with Image.open(BytesIO(png)) as picture:
        return picture.size


def _painted(sheet: Sheet) -> Image.Image:
    picture = Image.new("L", (_dots(sheet.width_mm), _dots(sheet.height_mm)), _GREYS["white"])
    draw = ImageDraw.Draw(picture)
    for mark in sheet.marks:
        match mark:
            case Words():
                font = ImageFont.truetype(
                    font_file(bold=mark.bold), mark.size * MM_PER_POINT / 25.4 * PNG_DPI, layout_engine=_LAYOUT
                )
                place = (_dots(mark.x_mm), _dots(mark.y_mm))
                draw.text(place, mark.text, fill=_GREYS[mark.shade], font=font, anchor="ls")
            case Bar():
                left, top = _dots(mark.x_mm), _dots(mark.y_mm)
                right, bottom = _dots(mark.x_mm + mark.width_mm), _dots(mark.y_mm + mark.height_mm)
                draw.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), fill=_GREYS[mark.shade])
            case Code():
                # Whole dots for each module, so that every edge is sharp.
                drawn = _picture(mark, max(1, _dots(mark.side_mm) // len(mark.modules)))
                rest = (_dots(mark.side_mm) - drawn.width) // 2
                picture.paste(drawn, (_dots(mark.x_mm) + rest, _dots(mark.y_mm) + rest))
            case _ as never:
                assert_never(never)
    return picture


_LAYOUT: Final = ImageFont.Layout.BASIC


def _picture(code: Code, dots: int) -> Image.Image:
    """Draw a code with so many dots for each module."""
    length = len(code.modules)
    picture = Image.new("L", (length, length), 255)
    picture.putdata([0 if dark else 255 for row in code.modules for dark in row])
    return picture.resize((length * dots, length * dots), Image.Resampling.NEAREST)


def _dots(millimetres: float) -> int:
    return round(millimetres / 25.4 * PNG_DPI)
