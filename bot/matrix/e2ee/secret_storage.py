"""Secret storage: our secrets on the server, sealed with a recovery key that only the admin has (Matrix 1.18, SSSS).

The algorithm is `m.secret_storage.v1.aes-hmac-sha2`; other clients of the account can open it with the same key.
"""

import base64
import binascii
import hashlib
import hmac
import secrets
from collections.abc import Mapping
from functools import reduce
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.ciphers.modes import CTR
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from bot.domain.errors import Fatal, Refused
from bot.matrix.transport import Transport, quote

Json = dict[str, Any]

ALGORITHM = "m.secret_storage.v1.aes-hmac-sha2"
DEFAULT_KEY = "m.secret_storage.default_key"
KEY_BYTES = 32

_ALPHABET = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
_PREFIX = b"\x8b\x01"


class WrongRecoveryKey(Fatal):
    """These words open nothing."""


def as_words(key: bytes) -> str:
    """Return a recovery key as people write it down: base58 in groups of four, with a check byte."""
    raw = _PREFIX + key
    number = int.from_bytes(raw + bytes([_parity(raw)]))
    text = ""
    while number:
        number, rest = divmod(number, 58)
        text = _ALPHABET[rest] + text
    return " ".join(text[begin : begin + 4] for begin in range(0, len(text), 4))


def from_words(words: str) -> bytes:
    """Return the 32 bytes of a recovery key; spaces do not matter.

    Raises:
        WrongRecoveryKey: it is none, or was mistyped.
    """
    number = 0
    for sign in "".join(words.split()):
        if sign not in _ALPHABET:
            raise WrongRecoveryKey("This is not a recovery key: it has a character that no recovery key has.")
        number = number * 58 + _ALPHABET.index(sign)
    raw = number.to_bytes(max(1, (number.bit_length() + 7) // 8))
    if len(raw) != len(_PREFIX) + KEY_BYTES + 1 or not raw.startswith(_PREFIX) or _parity(raw):
        raise WrongRecoveryKey("This is not a recovery key: something is missing or was mistyped.")
    return raw[len(_PREFIX) : -1]


def _parity(raw: bytes) -> int:
    return reduce(lambda left, right: left ^ right, raw, 0)


def seal(key: bytes, name: str, secret: bytes, iv: bytes | None = None) -> Json:
    """Encrypt one secret under its name."""
    aes_key, mac_key = _keys(key, name)
    if iv is None:
        raw = bytearray(secrets.token_bytes(16))
        raw[8] &= 0x7F  # bit 63 is zero: implementations differ in what they carry over
        iv = bytes(raw)
    ciphertext = _ctr(aes_key, iv, secret)
    mac = hmac.digest(mac_key, ciphertext, hashlib.sha256)
    return {"iv": _encoded(iv), "ciphertext": _encoded(ciphertext), "mac": _encoded(mac)}


def unseal(key: bytes, name: str, sealed: Any) -> bytes | None:
    """Decrypt one secret; None if it is not one, or of another key."""
    try:
        iv, ciphertext, mac = (_decoded(sealed[part]) for part in ("iv", "ciphertext", "mac"))
    except (KeyError, TypeError, ValueError, binascii.Error, AttributeError):
        return None
    aes_key, mac_key = _keys(key, name)
    if len(iv) != 16 or not hmac.compare_digest(hmac.digest(mac_key, ciphertext, hashlib.sha256), mac):
        return None
    return _ctr(aes_key, iv, ciphertext)


def _keys(key: bytes, name: str) -> tuple[bytes, bytes]:
    both = HKDF(algorithm=SHA256(), length=64, salt=bytes(32), info=name.encode()).derive(key)
    return both[:32], both[32:]


def _ctr(key: bytes, iv: bytes, data: bytes) -> bytes:
    cipher = Cipher(AES256(key), CTR(iv)).encryptor()
    return cipher.update(data) + cipher.finalize()


def _encoded(raw: bytes) -> str:
    return base64.b64encode(raw).decode()


def _decoded(text: str) -> bytes:
    return base64.b64decode(text + "=" * (-len(text) % 4), validate=True)


class SecretStorage:
    """The account data of the bot's account, as far as it holds sealed secrets."""

    def __init__(self, transport: Transport, user_id: str) -> None:
        self._transport = transport
        self._path = f"/_matrix/client/v3/user/{quote(user_id)}/account_data"

    async def read(self, name: str) -> Json:
        """Return one value of our account data, empty if there is none."""
        try:
            answer = await self._transport.call("GET", f"{self._path}/{quote(name)}")
        except Refused as error:
            if error.status == 404:
                return {}
            raise
        return answer if isinstance(answer, dict) else {}

    async def write(self, name: str, content: Json) -> None:
        """Put one value of our account data."""
        await self._transport.call("PUT", f"{self._path}/{quote(name)}", content)

    async def default_key(self) -> str | None:
        """Return the id of the key that secrets are sealed with, None if there is no secret storage."""
        key = (await self.read(DEFAULT_KEY)).get("key")
        return key if isinstance(key, str) and key else None

    async def create(self, values: Mapping[str, bytes]) -> bytes:
        """Seal these secrets with a new key and return it. It becomes the default when all can be read back.

        Raises:
            Fatal: the server does not give back what it was given.
        """
        key, key_id = secrets.token_bytes(KEY_BYTES), secrets.token_hex(16)
        check = seal(key, "", bytes(KEY_BYTES))
        await self.write(
            f"m.secret_storage.key.{key_id}", {"algorithm": ALGORITHM, "iv": check["iv"], "mac": check["mac"]}
        )
        for name, value in values.items():
            sealed = seal(key, name, base64.b64encode(value).rstrip(b"="))
            await self.write(name, {"encrypted": {key_id: sealed}})
        if await self._opened(key, key_id, values) != dict(values):
            raise Fatal("The server does not give back the sealed secrets as it got them. Nothing depends on them yet.")
        await self.write(DEFAULT_KEY, {"key": key_id})
        return key

    async def open(self, key: bytes, names: Mapping[str, Any] | tuple[str, ...]) -> dict[str, bytes]:
        """Return the secrets of these names, as far as there are any.

        Raises:
            WrongRecoveryKey: the account's secrets are sealed with another key, or there are none.
        """
        key_id = await self.default_key()
        if key_id is None:
            raise WrongRecoveryKey("This account has no secret storage, so no recovery key can open it.")
        about = await self.read(f"m.secret_storage.key.{key_id}")
        if about.get("algorithm") != ALGORITHM or not _fits(key, about):
            raise WrongRecoveryKey("This recovery key is not the one of the bot's account. Nothing was changed.")
        return await self._opened(key, key_id, names)

    async def _opened(self, key: bytes, key_id: str, names: Mapping[str, Any] | tuple[str, ...]) -> dict[str, bytes]:
        found: dict[str, bytes] = {}
        for name in names:
            encrypted = (await self.read(name)).get("encrypted")
            sealed = encrypted.get(key_id) if isinstance(encrypted, dict) else None
            secret = unseal(key, name, sealed)
            if secret is not None:
                found[name] = _decoded(secret.decode())
        return found


def _fits(key: bytes, about: Json) -> bool:
    """Tell whether this is the key described; one without a check fits until its secrets do not open."""
    iv, mac = about.get("iv"), about.get("mac")
    if not isinstance(iv, str) or not isinstance(mac, str):
        return True
    try:
        check = seal(key, "", bytes(KEY_BYTES), iv=_decoded(iv))
        return hmac.compare_digest(_decoded(check["mac"]), _decoded(mac))
    except (ValueError, binascii.Error):
        return False
