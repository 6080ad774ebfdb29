"""One sealed file: a tar archive inside of an age file (age-encryption.org/v1), for one public key.

It is opened and sealed as a stream, so that nothing of it lies open on a disk but what the caller writes there. Whoever
changes, shortens or lengthens it is found out: age authenticates every 64 KiB and the end.
"""

import io
import json
import os
import tarfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Final

import pyrage

from bot.domain.errors import Fatal

FORMAT: Final = 1
MANIFEST: Final = "manifest.json"
LARGEST_SMALL: Final = 1 << 20
"""Bytes that anything but the database may have; it is read into memory."""
PIECE: Final = 1 << 18

Written = Callable[[int], None]


def new_pair() -> tuple[str, str]:
    """Return a public and a private key."""
    identity = pyrage.x25519.Identity.generate()
    return str(identity.to_public()), str(identity)


def read_private_key(file: Path) -> str:
    """Return the private key that stands in a file, as `age-keygen` writes it too.

    Raises:
        Fatal: there is none.
    """
    try:
        lines = file.read_text(encoding="ascii").split()
    except (OSError, UnicodeDecodeError) as error:
        raise Fatal(f"{file} cannot be read ({type(error).__name__}).") from error
    found = [line for line in lines if line.startswith("AGE-SECRET-KEY-")]
    if len(found) != 1:
        raise Fatal(f"{file} does not hold a private key: one line that begins with AGE-SECRET-KEY-.")
    return found[0]


def seal(
    target: IO[bytes], recipient: str, manifest: Mapping[str, Any], parts: Mapping[str, bytes | Path], written: Written
) -> None:
    """Write manifest and parts, in this order, sealed for `recipient`; `written` hears of each piece's bytes.

    Raises:
        Fatal: the key is none, or the disk is full.
    """
    try:
        whom = pyrage.x25519.Recipient.from_str(recipient)
    except pyrage.RecipientError as error:
        raise Fatal(
            "backup.recipient is not a public key of age. `botschaft backup --new-key FILE` makes one."
        ) from error
    about = json.dumps({"format": FORMAT, **manifest}).encode()
    reading, writing = os.pipe()
    failures: list[BaseException] = []

    def pack() -> None:
        try:
            with (
                os.fdopen(writing, "wb") as pipe,
                tarfile.open(mode="w|", fileobj=pipe, format=tarfile.PAX_FORMAT) as tar,
            ):
                for name, part in {MANIFEST: about, **parts}.items():
                    _add(tar, name, part, written)
        except BaseException as error:  # noqa: BLE001 - it is raised again in the thread that waits for this one
            failures.append(error)

    packing = threading.Thread(target=pack, name="pack")
    packing.start()
    try:
        with os.fdopen(reading, "rb") as pipe:
            pyrage.encrypt_io(pipe, target, [whom])
    except (pyrage.EncryptError, OSError) as error:
        raise Fatal(f"The backup could not be written ({error}). There is no new backup.") from error
    finally:
        packing.join()
    if failures:
        raise failures[0]


def _add(tar: tarfile.TarFile, name: str, part: bytes | Path, written: Written) -> None:
    about = tarfile.TarInfo(name)
    about.size = part.stat().st_size if isinstance(part, Path) else len(part)
    about.mode = 0o600
    with part.open("rb") if isinstance(part, Path) else io.BytesIO(part) as content:
        tar.addfile(about, _Told(content, written))


class _Told:
    """A file that tells how much of it was read."""

    def __init__(self, file: IO[bytes], told: Written) -> None:
        self._file = file
        self._told = told

    def read(self, size: int = -1) -> bytes:
        """Read and tell."""
        piece = self._file.read(size)
        self._told(len(piece))
        return piece


class Unsealed:
    """An envelope while it is read: its parts, in their order."""

    def __init__(self, tar: tarfile.TarFile, manifest: dict[str, Any]) -> None:
        self.manifest = manifest
        self._tar = tar

    def small(self, name: str) -> bytes:
        """Return the next part, whole."""
        return self._next(name, LARGEST_SMALL).read()

    def large(self, name: str, target: Path, read: Written) -> None:
        """Write the next part into a new file that only we may read."""
        content = self._next(name, None)
        with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            while piece := content.read(PIECE):
                file.write(piece)
                read(len(piece))
            file.flush()
            os.fsync(file.fileno())

    def _next(self, name: str, largest: int | None) -> IO[bytes]:
        member = self._tar.next()
        content = self._tar.extractfile(member) if member is not None and member.name == name else None
        if member is None or content is None or (largest is not None and member.size > largest):
            raise Fatal(f"This is no backup of Botschaft: {name} is not where it should be.")
        return content


@contextmanager
def unsealed(source: Path, private_key: str) -> Iterator[Unsealed]:
    """Open an envelope. What was read counts only once this has ended without an error: the end is checked then.

    Raises:
        Fatal: another key, a damaged or incomplete file, something else than a backup, or one of a newer program.
    """
    try:
        identity = pyrage.x25519.Identity.from_str(private_key)
    except pyrage.IdentityError as error:
        raise Fatal("The private key is not one of age: it has been shortened or changed.") from error
    reading, writing = os.pipe()
    failures: list[Exception] = []

    def decrypt() -> None:
        try:
            with os.fdopen(writing, "wb") as pipe, source.open("rb") as file:
                pyrage.decrypt_io(file, pipe, [identity])
        except Exception as error:  # noqa: BLE001 - it is told by the thread that waits for this one
            failures.append(error)

    decrypting = threading.Thread(target=decrypt, name="decrypt")
    decrypting.start()
    try:
        with os.fdopen(reading, "rb") as pipe:
            yield from _parts(pipe)
            while pipe.read(PIECE):
                continue
    except (tarfile.TarError, EOFError, OSError) as error:
        decrypting.join()
        raise Fatal(_why(source, failures)) from error
    except Fatal as error:
        decrypting.join()
        if any("pipe" not in str(failure) for failure in failures):  # it is not only that we stopped reading
            raise Fatal(_why(source, failures)) from error
        raise
    finally:
        decrypting.join()
    if failures:
        raise Fatal(_why(source, failures)) from failures[0]


def _parts(pipe: IO[bytes]) -> Iterator[Unsealed]:
    with tarfile.open(mode="r|", fileobj=pipe) as tar:
        member = tar.next()
        content = tar.extractfile(member) if member is not None and member.name == MANIFEST else None
        try:
            manifest = json.loads(content.read(LARGEST_SMALL)) if content else None
        except ValueError:
            manifest = None
        if not isinstance(manifest, dict) or not isinstance(manifest.get("format"), int):
            raise Fatal("This is no backup of Botschaft.")
        if manifest["format"] > FORMAT:
            raise Fatal(
                f"This backup was made by a newer program ({manifest.get('program')}). Install that one, then restore."
            )
        yield Unsealed(tar, manifest)


def _why(source: Path, failures: list[Exception]) -> str:
    said = str(failures[0]) if failures else ""
    if "No matching keys" in said:
        return f"{source.name} was sealed for another key than this one."
    if failures and isinstance(failures[0], OSError) and failures[0].filename is not None:
        return f"{source} cannot be read ({failures[0].strerror})."
    return f"{source.name} is damaged or incomplete ({said or 'its archive ends too early'}). Take another copy of it."
