"""Whether a database file is as it was written: every page bears a MAC, and the tables agree with their indexes."""

from pathlib import Path

from sqlcipher3 import dbapi2 as sqlcipher

QUESTIONS = ("PRAGMA cipher_integrity_check", "PRAGMA quick_check(1)")
LOOKS = 2
"""A page that is being written while we look may seem damaged; what is damaged also is at the second look."""


def damage(path: Path, key: bytes) -> str:
    """Return what is wrong with an encrypted database file, or nothing. Changes nothing; others may be using it.

    Takes about a second for each gigabyte, so it belongs into a thread.
    """
    found = ""
    for _ in range(LOOKS):
        found = _damage(path, key)
        if not found:
            return ""
    return found


def _damage(path: Path, key: bytes) -> str:
    if not path.is_file():
        return "there is no such file"
    try:
        connection = sqlcipher.connect(f"file:{path}?mode=rw", uri=True, timeout=5)
        try:
            connection.execute("PRAGMA cipher_log_level = NONE")
            connection.execute(f"PRAGMA key = \"x'{key.hex()}'\"")
            connection.execute("PRAGMA query_only = ON")
            answers = [str(row[0]) for question in QUESTIONS for row in connection.execute(question)]
        finally:
            connection.close()
    except sqlcipher.Error as error:
        return str(error)  # SQLite's own words: no value of any row stands in them
    return next((answer for answer in answers if answer != "ok"), "")
