"""Files on a media server as any client puts and gets them, encrypted by nio: not by the code under test."""

from typing import Any

import aiohttp
from nio.crypto.attachments import decrypt_attachment, encrypt_attachment

from bot.demo.synapse import LocalSynapse
from tests.business import Account

Json = dict[str, Any]


class FileClient:
    """An account that uploads and downloads; on one server any account may fetch any file."""

    def __init__(self, url: str, token: str) -> None:
        self._url = url
        self._headers = {"Authorization": f"Bearer {token}"}

    @classmethod
    async def login(cls, server: LocalSynapse, account: Account) -> "FileClient":
        body = {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": account.localpart},
            "password": account.password,
        }
        async with (
            aiohttp.ClientSession() as http,
            http.post(f"{server.url}/_matrix/client/v3/login", json=body) as got,
        ):
            return cls(server.url, (await got.json())["access_token"])

    async def upload(self, data: bytes) -> str:
        """Upload bytes as they are and return their mxc."""
        async with (
            aiohttp.ClientSession(headers=self._headers) as http,
            http.post(f"{self._url}/_matrix/media/v3/upload", data=data) as got,
        ):
            return str((await got.json())["content_uri"])

    async def upload_encrypted(self, data: bytes) -> Json:
        """Encrypt and upload; returns the EncryptedFile object."""
        sealed, keys = encrypt_attachment(data)
        return {"url": await self.upload(sealed), **keys}

    async def download(self, mxc: str) -> bytes:
        """Return what lies on the server."""
        path = f"/_matrix/client/v1/media/download/{mxc.removeprefix('mxc://')}"
        async with aiohttp.ClientSession(headers=self._headers) as http, http.get(self._url + path) as got:
            assert got.status == 200, got.status
            return await got.read()

    async def open(self, file: Json) -> bytes:
        """Download and decrypt what an EncryptedFile object names."""
        sealed = await self.download(file["url"])
        return bytes(decrypt_attachment(sealed, file["key"]["k"], file["hashes"]["sha256"], file["iv"]))
