"""One master secret; every key of the product is derived from it (HKDF-SHA256, RFC 5869)."""

from enum import StrEnum

from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

KEY_BYTES = 32


class Purpose(StrEnum):
    """What a derived key is for. The values are part of the format of what they protect: never change them."""

    DATABASE = "botschaft/database"
    KEY_STORE = "botschaft/key-store"
    PICKLE = "botschaft/pickle"
    TRANSACTION_IDS = "botschaft/transaction-ids"
    LEDGER_SIGNING = "botschaft/ledger-signing"
    INDEX = "botschaft/index"
    SUPPRESSION = "botschaft/suppression"


def derive(master: bytes, purpose: Purpose) -> bytes:
    """Return the 32-byte key for one purpose."""
    return HKDF(algorithm=SHA256(), length=KEY_BYTES, salt=None, info=purpose.value.encode()).derive(master)
