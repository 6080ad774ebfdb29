"""Reading the texts that people see."""

import tomllib
from pathlib import Path
from typing import Any

from bot.domain.texts import Texts, TextsDiffer, checked, flat


def load_texts(folder: Path, tone: str = "sie") -> Texts:
    """Read all languages; `de-du.toml` and its like lie over their language for that tone.

    Raises:
        TextsDiffer: they do not say the same, or cannot be read.
    """
    files = {file.stem: flat(_text_table(file)) for file in sorted(folder.glob("*.toml"))}
    toned = {name: files.pop(name) for name in tuple(files) if "-" in name}
    texts = checked(files)
    for name, changed in toned.items():
        language, _, its_tone = name.partition("-")
        laid = texts.laid_over(language, changed)
        texts = laid if its_tone == tone else texts
    return texts


def _text_table(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except tomllib.TOMLDecodeError as error:
        raise TextsDiffer(f"{file.name}: this is not TOML: {error}") from None
