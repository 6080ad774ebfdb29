"""The day as a page of Markdown. The same lines are printed as they happen."""

import textwrap
from collections.abc import Sequence

from rich.cells import cell_len, set_cell_size

from bot.demo.stage import out

ROOM_CELLS = 20
WHO_CELLS = 17
TEXT_WIDTH = 84
PAGE_WIDTH = 122


class Page:
    """Scenes of lines in columns; what is written first is printed first."""

    def __init__(self, title: str, about: str) -> None:
        self._lines: list[str] = []
        self._in_block = False
        self._put(f"# {title}")
        for paragraph in about.split("\n\n"):
            self._put("", *textwrap.wrap(paragraph, PAGE_WIDTH))

    def text(self) -> str:
        """Return the whole page."""
        return "\n".join(self._lines) + "\n"

    def scene(self, at: str, title: str, about: str) -> None:
        """Begin a scene: the (pretended) time, what it is called, and what it shows."""
        self._heading(f"{at} · {title}", about)
        self._put("```")
        self._in_block = True

    def line(self, room: str, who: str, text: str) -> None:
        """Put down who said what where."""
        if not self._in_block:
            self._put("", "```")
            self._in_block = True
        start = set_cell_size(room, ROOM_CELLS) + " " + set_cell_size(who, WHO_CELLS) + " "
        wrapped = [part for line in text.splitlines() for part in textwrap.wrap(line, TEXT_WIDTH) or [""]]
        for number, part in enumerate(wrapped):
            self._put(((" " * cell_len(start) if number else start) + part).rstrip())

    def table(self, title: str, about: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
        """Put down a table under a heading of its own."""
        self._heading(title, about)
        self._put(*(f"| {' | '.join(cells)} |" for cells in (head, ["---"] * len(head), *rows)))

    def end(self) -> None:
        """Nothing more follows."""
        if self._in_block:
            self._put("```")
        self._in_block = False

    def _heading(self, title: str, about: str) -> None:
        self.end()
        self._put("", f"## {title}", "", *textwrap.wrap(about, PAGE_WIDTH), "")

    def _put(self, *lines: str) -> None:
        self._lines += lines
        for line in lines:
            out.print(line, markup=False, soft_wrap=True)
