"""Writes the golden files of the samples."""

from __future__ import annotations

import asyncio

from tests.contracts.golden_files import write_missing
from tests.contracts.samples import records

print(*write_missing(asyncio.run(records())), sep="\n")
