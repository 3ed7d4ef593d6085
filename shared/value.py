"""Value objects: frozen for whoever reads and checks the code, cheap to build when it runs.

`__init__` of a frozen dataclass sets every member through `object.__setattr__`: 4.5 us for
twenty members instead of 0.9. A hot path builds several for each message.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

T = TypeVar("T")

if TYPE_CHECKING:
    from typing_extensions import dataclass_transform

    @dataclass_transform(frozen_default=True)
    def value(cls: type[T]) -> type[T]: ...

    @dataclass_transform(frozen_default=True)
    def open_value(cls: type[T]) -> type[T]: ...

else:

    def value(cls: type[T]) -> type[T]:
        """As `@dataclass(frozen=True, slots=True)`, which the type checker takes it for."""
        return dataclass(slots=True, unsafe_hash=True)(cls)

    def open_value(cls: type[T]) -> type[T]:
        """The same without slots: for `evolve`, or with cached properties."""
        return dataclass(unsafe_hash=True)(cls)


def evolve(instance: T, **changes: Any) -> T:
    """A changed copy of an `open_value`, as `dataclasses.replace` makes.

    A conversation is copied two or three times for each message: 0.6 us each time instead of
    the 7 us of `replace` with its thirty members.
    """
    copy = object.__new__(type(instance))
    members = copy.__dict__
    members.update(instance.__dict__)
    members.update(changes)
    return copy
