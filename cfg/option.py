"""What a setting is: a default, a line that says what it means, and the values that it may have."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import MISSING, Field, dataclass, field, fields, is_dataclass
from typing import Any


@dataclass(frozen=True)
class Bounds:
    """The values that a setting may have; null passes, of a list every entry is looked at.

    Attributes:
        choices: all of them, where they can be listed.
        other: what will do besides them: how it is called, and a regular expression.
        low, high: the least and the greatest number.
        above: a number that it must be greater than.
        length: of a list.
    """

    choices: tuple[str, ...] = ()
    other: tuple[str, str] | None = None
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
            return self._words
        return None

    def _admits(self, value: Any) -> bool:
        if self.choices:
            pattern = None if self.other is None else self.other[1]
            return value in self.choices or bool(pattern and re.fullmatch(pattern, value))
        # Written so that NaN, which is not less than anything, does not pass.
        return (
            (self.low is None or value >= self.low)
            and (self.high is None or value <= self.high)
            and (self.above is None or value > self.above)
        )

    @property
    def _words(self) -> str:
        if self.choices:
            listed = f"one of {', '.join(self.choices)}"
            return listed if self.other is None else f"{listed}, or {self.other[0]}"
        if self.low is not None and self.high is not None:
            return f"a number from {self.low} to {self.high}"
        parts = (("at least", self.low), ("above", self.above), ("at most", self.high))
        limits = [f"{word} {limit}" for word, limit in parts if limit is not None]
        return f"a number {' and '.join(limits)}"


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
