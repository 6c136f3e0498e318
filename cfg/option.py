"""What a setting is: a default, a line that says what it means, and the values that it may have."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from typing import Any


@dataclass(frozen=True)
class Bounds:
    """The values that a setting may have; null passes, of a list every entry is looked at.

    Attributes:
        choices: all of them, where they can be listed.
        low, high: the least and the greatest number.
        above: a number that it must be greater than.
        length: of a list.
    """

    choices: tuple[str, ...] = ()
    low: float | None = None
    high: float | None = None
    above: float | None = None
    length: int | None = None

    def expected(self, value: Any) -> str | None:
        """Return what was expected in place of `value`, or None if it will do."""
        entries = value if isinstance(value, Sequence) and not isinstance(value, str) else [value]
        if self.length is not None and value is not None and len(entries) != self.length:
            return f"a list of {self.length}"
        if any(entry is not None and not self._admits(entry) for entry in entries):
            return (
                f"one of {', '.join(self.choices)}" if self.choices else f"a number {self._range}"
            )
        return None

    def _admits(self, value: Any) -> bool:
        if self.choices:
            return value in self.choices
        # Written so that NaN, which is not less than anything, does not pass.
        return (
            (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
        )

    @property
    def _range(self) -> str:
        if self.low is not None and self.high is not None:
            return f"from {self.low} to {self.high}"
        parts = (("at least", self.low), ("above", self.above), ("at most", self.high))
        return " and ".join(f"{word} {bound}" for word, bound in parts if bound is not None)


def opt(default: Any, text: str, **bounds: Any) -> Any:
    """A field of a dataclass of settings.

    Args:
        default: its value where nothing else is said.
        text: one line that says what it means.
        bounds: as in :class:`Bounds`.
    """
    metadata = {"help": text, "bounds": Bounds(**bounds)}
    if isinstance(default, list | dict):
        return field(default_factory=lambda: type(default)(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def section(cls: type, text: str) -> Any:
    """A field that is a group of settings."""
    return field(default_factory=cls, metadata={"help": text})


def default_of(item: Field) -> Any:
    """Return what a field is where nothing else is said; of a group, its settings' defaults."""
    return item.default if item.default is not MISSING else item.default_factory()


def bounds_of(schema: type, prefix: str = "") -> Iterator[tuple[str, Bounds]]:
    """Yield the dotted key of every setting of a schema, and what it may be."""
    for item in fields(schema):
        default = default_of(item)
        if is_dataclass(default):
            yield from bounds_of(type(default), f"{prefix}{item.name}.")
        else:
            yield f"{prefix}{item.name}", item.metadata.get("bounds", Bounds())
