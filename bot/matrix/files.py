"""Files that somebody uploaded without encryption, for a room that has it: fetched, encrypted, uploaded once.

The server names the new file before anything is in it (MSC2246, spec 1.7), so a crash in between uploads the same
bytes under the same name; a server that has them already says 409.
"""

import base64
import hashlib
from dataclasses import dataclass

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bot.domain.errors import Refused
from bot.domain.message import Attachment
from bot.matrix.attachments import file_object, with_file
from bot.matrix.transport import Transport, quote

AES_KEY_BYTES = 32
NONCE_BYTES = 8
"""Half of the counter block; the other half begins at zero (spec: "Extensions to m.room.message msgtypes")."""


@dataclass(frozen=True, slots=True)
class Sealed:
    """An encrypted file and what opens it."""

    data: bytes
    key: str
    iv: str
    sha256: str


def seal(data: bytes, secret: bytes) -> Sealed:
    """Encrypt a file with AES-256-CTR under keys that follow from `secret`; the same again gives the same bytes."""
    derived = HKDF(SHA256(), AES_KEY_BYTES + NONCE_BYTES, salt=None, info=b"botschaft/file").derive(secret)
    key, iv = derived[:AES_KEY_BYTES], derived[AES_KEY_BYTES:] + bytes(NONCE_BYTES)
    encryptor = Cipher(AES(key), CTR(iv)).encryptor()
    sealed = encryptor.update(data) + encryptor.finalize()
    return Sealed(
        sealed,
        base64.urlsafe_b64encode(key).decode().rstrip("="),
        base64.b64encode(iv).decode().rstrip("="),
        base64.b64encode(hashlib.sha256(sealed).digest()).decode().rstrip("="),
    )


class Files:
    """Names, fetches and uploads files."""

    def __init__(self, transport: Transport) -> None:
        self._transport = transport

    async def new(self) -> str:
        """Return the name (mxc) of a file to come."""
        answer = await self._transport.call("POST", "/_matrix/media/v1/create", {})
        return str(answer["content_uri"])

    async def seal(self, attachment: Attachment, mxc: str, *, secret: bytes, largest: int) -> Attachment:
        """Return the attachment with its file encrypted and uploaded as `mxc`."""
        data = await self._transport.download(
            f"/_matrix/client/v1/media/download/{_path(attachment.open_mxc)}", largest=largest
        )
        return await self.put(attachment, data, mxc, secret=secret)

    async def put(self, attachment: Attachment, data: bytes, mxc: str, *, secret: bytes) -> Attachment:
        """Encrypt `data` and upload it as `mxc`; return the attachment with that file."""
        sealed = seal(data, secret)
        try:
            await self._transport.upload(f"/_matrix/media/v3/upload/{_path(mxc)}", sealed.data)
        except Refused as error:
            if error.code != "M_CANNOT_OVERWRITE_MEDIA":
                raise
        return with_file(attachment, file_object(mxc, key=sealed.key, iv=sealed.iv, sha256=sealed.sha256))


def _path(mxc: str) -> str:
    server, _, name = mxc.removeprefix("mxc://").partition("/")
    return f"{quote(server)}/{quote(name)}"
