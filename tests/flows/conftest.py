"""Fixtures of the flow tests."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest_asyncio

from tests.flows.world import World, a_world


@pytest_asyncio.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    """A small business that is open."""
    async with a_world(tmp_path) as opened:
        yield opened
