"""The list of settings that ``--help`` prints, made from the schema."""

from __future__ import annotations

from dataclasses import fields, is_dataclass

from cfg.option import default_of
from cfg.schema import Config

_WORDS = {"None": "null", "True": "true", "False": "false"}


def describe(cls: type = Config, prefix: str = "") -> list[str]:
    """Return one line a setting: dotted key, default and meaning."""
    lines: list[str] = []
    for item in fields(cls):
        default = default_of(item)
        text = item.metadata.get("help", "")
        if is_dataclass(default):
            lines += ["", f"  {prefix}{item.name}: {text}"]
            lines += describe(type(default), f"{prefix}{item.name}.")
        else:
            shown = _WORDS.get(str(default), default)
            lines.append(f"  {prefix}{item.name}={shown}  {text}")
    return lines
