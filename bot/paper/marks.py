"""A sheet of paper as plain marks: texts, bars, lines and QR codes at places in millimetres, and how wide a text is.

Both printers, PDF and PNG, draw the same marks, so a slip looks the same wherever it comes out.
"""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Final, Literal

import segno
from fontTools.ttLib import TTFont
from PIL import ImageFont

FONTS: Final = Path(__file__).parent / "fonts"
MM_PER_POINT: Final = 25.4 / 72
QUIET_MODULES: Final = 4
_MEASURED_AT: Final = 1000

Shade = Literal["ink", "soft", "pale", "white"]
"""From darkest to lightest; `pale` is a background."""


@dataclass(frozen=True, slots=True)
class Words:
    """One line of text; `y_mm` is its baseline, `size` is in points."""

    x_mm: float
    y_mm: float
    text: str
    size: float
    bold: bool = False
    shade: Shade = "ink"


@dataclass(frozen=True, slots=True)
class Bar:
    """A filled rectangle; a thin one is a line."""

    x_mm: float
    y_mm: float
    width_mm: float
    height_mm: float
    shade: Shade = "pale"


@dataclass(frozen=True, slots=True)
class Code:
    """A QR code: its dark part, without the light border that has to stay free around it. True is dark."""

    x_mm: float
    y_mm: float
    side_mm: float
    modules: tuple[tuple[bool, ...], ...]

    @property
    def module_mm(self) -> float:
        """How wide one module is in print."""
        return self.side_mm / len(self.modules)

    @property
    def quiet_mm(self) -> float:
        """How much on each side has to stay free (ISO/IEC 18004, 9.1: four modules)."""
        return QUIET_MODULES * self.module_mm


Mark = Words | Bar | Code


@dataclass(frozen=True, slots=True)
class Sheet:
    """One page."""

    width_mm: float
    height_mm: float
    title: str
    marks: tuple[Mark, ...]


def code(x_mm: float, y_mm: float, side_mm: float, text: str) -> Code:
    """Return the QR code of a text at error level M or better, whichever its size allows."""
    drawn = segno.make_qr(text, error="m", boost_error=True)
    return Code(x_mm, y_mm, side_mm, tuple(tuple(bool(module) for module in row) for row in drawn.matrix))


def width_mm(text: str, size: float, *, bold: bool = False) -> float:
    """Return how wide a line is in print."""
    return _font(bold=bold).getlength(text) / _MEASURED_AT * size * MM_PER_POINT


def printable(text: str) -> str:
    """Leave out what our font has no letter for, an emoji for example."""
    return " ".join("".join(c for c in text if c.isspace() or ord(c) in _letters()).split())


def in_one_line(text: str, size: float, within_mm: float, *, least: float, bold: bool = False) -> float:
    """Return the largest size, from `size` down to `least`, at which a line fits; `least` even if it does not."""
    wide = width_mm(text, size, bold=bold)
    return size if wide <= within_mm else max(least, size * within_mm / wide)


def broken(text: str, size: float, within_mm: float, *, bold: bool = False) -> list[str]:
    """Break a text into lines that fit: between words, and inside a word (best behind `:` `.` `/`) that is too long."""
    lines = [""]
    for word in text.split(" "):
        longer = f"{lines[-1]} {word}".strip()
        if width_mm(longer, size, bold=bold) <= within_mm:
            lines[-1] = longer
            continue
        pieces = _pieces(word, size, within_mm, bold=bold)
        lines[-1:] = pieces if not lines[-1] else [lines[-1], *pieces]
    return lines


def _pieces(word: str, size: float, within_mm: float, *, bold: bool) -> list[str]:
    pieces: list[str] = []
    while width_mm(word, size, bold=bold) > within_mm and len(word) > 1:
        length = next(
            n for n in range(len(word) - 1, 0, -1) if n == 1 or width_mm(word[:n], size, bold=bold) <= within_mm
        )
        natural = max(word.rfind(sign, 0, length) for sign in ":./-") + 1
        cut = natural if natural > length // 3 else length
        pieces.append(word[:cut])
        word = word[cut:]
    return [*pieces, word]


def font_file(*, bold: bool) -> Path:
    """Return where our font stands."""
    return FONTS / f"Roboto-{'Bold' if bold else 'Regular'}.ttf"


@cache
def _font(*, bold: bool) -> ImageFont.FreeTypeFont:
    return ImageFont.truetype(font_file(bold=bold), _MEASURED_AT, layout_engine=ImageFont.Layout.BASIC)


@cache
def _letters() -> frozenset[int]:
    with TTFont(font_file(bold=False)) as font:
        return frozenset(font.getBestCmap())
