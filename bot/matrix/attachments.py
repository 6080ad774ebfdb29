"""Files and places in events, rebuilt from an allow-list of fields. What a stranger adds beside them does not travel.

A file in an encrypted room lies encrypted on the media server, and its key stands in the event: copying the `file`
object carries it without a download (spec: "Sending encrypted attachments").
"""

import base64
import re
from collections.abc import Mapping
from typing import Any, Final

from bot.domain.message import Attachment, Kind
from bot.matrix.harmless import harmless_file_name

Json = dict[str, Any]

MXC: Final = re.compile(r"mxc://[A-Za-z0-9.\-:\[\]]{1,255}/[A-Za-z0-9_\-]{1,255}")
_MIME: Final = re.compile(r"[a-z0-9]+/[a-z0-9.+\-]{1,80}", re.IGNORECASE)
_GEO: Final = re.compile(
    r"geo:-?\d{1,3}(\.\d{1,17})?,-?\d{1,3}(\.\d{1,17})?(,-?\d{1,6}(\.\d{1,17})?)?(;u=\d{1,7}(\.\d{1,17})?)?"
)
_BLURHASH: Final = re.compile(r"[0-9A-Za-z#$%*+,\-.:;=?@\[\]^_{|}~]{6,200}")
_LARGEST_NUMBER: Final = 2**53
_VOICE: Final = ("org.matrix.msc3245.voice", "m.voice")
_AUDIO: Final = "org.matrix.msc1767.audio"
_WAVEFORM_POINTS: Final = 256

_FALLBACK_NAMES: Final = {
    Kind.IMAGE: "image",
    Kind.VIDEO: "video",
    Kind.AUDIO: "audio",
    Kind.STICKER: "sticker",
    Kind.FILE: "file",
}


def attachment_of(content: Json, kind: Kind) -> Attachment | None:
    """Return the file of a message, or None if there is none that could be fetched by anybody."""
    file = encrypted_file(content.get("file"))
    url = content.get("url")
    open_mxc = url if file is None and isinstance(url, str) and MXC.fullmatch(url) else ""
    if file is None and not open_mxc:
        return None
    name = content.get("filename", content.get("body"))
    info = _info(content.get("info"), with_thumbnail=file is not None)
    kept: Json = {"filename": harmless_file_name(name, _FALLBACK_NAMES[kind]), "info": info}
    if file:
        kept["file"] = file
    if kind is Kind.AUDIO:
        kept |= _voice(content)
    thumbnail = info.get("thumbnail_file", {}).get("url", "")
    mxcs = (file["url"] if file else open_mxc, *([thumbnail] if thumbnail else []))
    return Attachment(kept, mxcs, open_mxc)


def place_of(content: Json) -> Attachment | None:
    """Return the place of a location message (RFC 5870), or None if it names none."""
    uri = content.get("geo_uri")
    if not isinstance(uri, str) or not _GEO.fullmatch(uri):
        return None
    return Attachment({"geo_uri": uri})


def with_file(attachment: Attachment, file: Json) -> Attachment:
    """Return the attachment with a file that we have encrypted ourselves, in place of the open one."""
    content = {**attachment.content, "file": file}
    return Attachment(content, (*attachment.mxcs, str(file["url"])))


def encrypted_file(value: object) -> Json | None:
    """Return an EncryptedFile object with its fields checked, or None."""
    if (
        not isinstance(value, dict)
        or not isinstance(value.get("key"), dict)
        or not isinstance(value.get("hashes"), dict)
    ):
        return None
    key, url, iv, sha256 = value["key"].get("k"), value.get("url"), value.get("iv"), value["hashes"].get("sha256")
    sound = _is_base64(key, 32) and _is_base64(iv, 16) and _is_base64(sha256, 32)
    if not sound or not isinstance(url, str) or not MXC.fullmatch(url) or value.get("v") != "v2":
        return None
    return file_object(url, key=str(key), iv=str(iv), sha256=str(sha256))


def file_object(url: str, *, key: str, iv: str, sha256: str) -> Json:
    """Build an EncryptedFile object. `key` is base64url, the others base64, all without padding."""
    jwk = {"kty": "oct", "alg": "A256CTR", "ext": True, "k": key, "key_ops": ["encrypt", "decrypt"]}
    return {"v": "v2", "url": url, "key": jwk, "iv": iv, "hashes": {"sha256": sha256}}


def _is_base64(value: object, length: int) -> bool:
    if not isinstance(value, str) or len(value) > 64:
        return False
    try:
        return len(base64.b64decode(value.replace("-", "+").replace("_", "/") + "==")) == length
    except ValueError:
        return False


def _info(value: object, *, with_thumbnail: bool) -> Json:
    given = value if isinstance(value, dict) else {}
    info: Json = {}
    mimetype = given.get("mimetype")
    if isinstance(mimetype, str) and _MIME.fullmatch(mimetype):
        info["mimetype"] = mimetype
    info |= {
        name: number for name in ("size", "w", "h", "duration") if (number := _number(given.get(name))) is not None
    }
    blurhash = given.get("xyz.amorgan.blurhash")
    if isinstance(blurhash, str) and _BLURHASH.fullmatch(blurhash):
        info["xyz.amorgan.blurhash"] = blurhash
    thumbnail = encrypted_file(given.get("thumbnail_file")) if with_thumbnail else None
    if thumbnail:
        info["thumbnail_file"] = thumbnail
        info["thumbnail_info"] = _info(given.get("thumbnail_info"), with_thumbnail=False)
    return info


def _number(value: object) -> int | None:
    whole = isinstance(value, int) and not isinstance(value, bool)
    if isinstance(value, float) and value == value and abs(value) < _LARGEST_NUMBER:  # noqa: PLR0124 - not a NaN
        value, whole = int(value), True
    return value if whole and isinstance(value, int) and 0 <= value < _LARGEST_NUMBER else None


def _voice(content: Json) -> Json:
    """Keep what makes an audio file a voice message (MSC3245) and draws its waveform (MSC1767)."""
    voice: Json = {name: {} for name in _VOICE if name in content}
    audio = content.get(_AUDIO)
    if isinstance(audio, Mapping):
        voice[_AUDIO] = _audio(audio)
    return voice


def _audio(given: Mapping[str, Any]) -> Json:
    audio: Json = {}
    duration = _number(given.get("duration"))
    if duration is not None:
        audio["duration"] = duration
    waveform = given.get("waveform")
    if isinstance(waveform, list):
        points = [_number(point) for point in waveform[:_WAVEFORM_POINTS]]
        audio["waveform"] = [min(point, 1024) for point in points if point is not None]
    return audio
