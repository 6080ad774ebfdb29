"""Files that come with the program: migrations, texts, the example configuration."""

from pathlib import Path

_PACKAGE = Path(__file__).parent


def resource_dir(name: str) -> Path:
    """Return a folder of ours: beside the package in a checkout, inside it in an installed wheel."""
    packed = _PACKAGE / "_resources" / name
    return packed if packed.is_dir() else _PACKAGE.parent / name
