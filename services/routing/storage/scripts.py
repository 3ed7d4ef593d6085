from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files

from shared.redis.client import Script


@dataclass(frozen=True, slots=True)
class Scripts:
    """The Lua scripts of `lua/`, each with `lib.lua` before it."""

    apply: Script
    snapshot: Script
    heads: Script
    reserve: Script
    confirm: Script
    unsent: Script
    parking: Script
    recorded: Script
    lock: Script
    unlock: Script
    presence: Script
    availability: Script
    begin: Script
    finish: Script

    @classmethod
    def load(cls) -> Scripts:
        """Read them from the package."""
        folder = files("services.routing.storage.lua")
        library = (folder / "lib.lua").read_text()
        return cls(
            **{
                name: Script(library + (folder / f"{name}.lua").read_text())
                for name in cls.__slots__
            }
        )
