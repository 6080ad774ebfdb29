"""What a section is made of: no unknown keys, Matrix ids, files with one secret."""

import re
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from bot.domain.ids import is_user_id


def _user_id(value: str) -> str:
    if not is_user_id(value):
        raise ValueError("expected a Matrix user id like @name:example.de (small letters)")
    return value


def shaped(pattern: str, expected: str) -> AfterValidator:
    """Return what refuses a text that does not match, and says what was expected."""

    def matching(value: str) -> str:
        if not re.fullmatch(pattern, value):
            raise ValueError(f"expected {expected}")
        return value

    return AfterValidator(matching)


UserIdText = Annotated[str, AfterValidator(_user_id)]


class Section(BaseModel):
    """Keys that belong together; one that is not known is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def private_text_problem(file: Path, what: str) -> str:
    """Return what is wrong with a file that exists and holds one secret, or nothing."""
    if file.stat().st_mode & 0o077:
        return f"Others may read {what}. Run: chmod 600 {file}"
    try:
        is_empty = not file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        return f"{file} cannot be read ({type(error).__name__})."
    return f"{file} is empty. Put {what} into it." if is_empty else ""
