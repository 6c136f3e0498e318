"""Loads a configuration: schema, MDP preset, YAML file, command line; one-line errors.

Later sources win: schema defaults < MDP preset < the YAML file < ``key=value`` arguments. A preset
named on the command line (``mdp=NAME``) was asked for last: it replaces what the file says of the
observation, reward, termination, evaluation, reset and action. An agent's preset (``agent=NAME``)
comes after the file, too.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from cfg.errors import UserError
from cfg.option import bounds_of
from cfg.schema import Config

FOLDER = Path(__file__).parent
#: What an MDP preset is about; a preset may also set single values of other sections.
_MDP_SECTIONS = ("action", "observation", "reward", "termination", "evaluation", "reset")


def available(folder: str = "") -> list[str]:
    """Names of the configurations (or, with ``mdp``, of the presets) that ship with the project."""
    return sorted(path.stem for path in (FOLDER / folder).glob("*.yaml"))


def parse_arguments(arguments: Sequence[str]) -> dict[str, str]:
    """Split ``key=value`` arguments.

    Raises:
        UserError: an argument without ``=``, or one key given twice.
    """
    values: dict[str, str] = {}
    for argument in arguments:
        key, equals, value = argument.partition("=")
        if not equals or not key:
            raise UserError(f"argument {argument!r}: expected key=value, as in sim.nworld=64")
        if key in values:
            raise UserError(f"argument {key!r} is given twice: give it once")
        values[key] = value
    return values


def load_config(arguments: Sequence[str], base: DictConfig | None = None) -> DictConfig:
    """Return the complete configuration that a command line asks for.

    Args:
        arguments: ``cfg=NAME`` (a file in cfg/ or a path) and ``key=value`` overrides.
        base: a complete configuration to start from in place of ``cfg=`` (used on resume).

    Raises:
        UserError: unknown key, wrong type, missing file or value out of range.
    """
    values = parse_arguments(arguments)
    name, agent = values.pop("cfg", None), values.pop("agent", None)
    if base is not None:
        if name is not None:
            raise UserError("cfg= cannot be combined with resume=: the run brings its own")
        layers = [base]
    else:
        layers = []
        if name is None:
            raise UserError(f"cfg= is missing: give one of {', '.join(available())}, or a path")
        layers.append(_read_yaml(_find(name, "cfg", ""), name))
    overrides = _dotlist(values)
    if agent is not None:
        # Asked for on the command line: above what the file says.
        body = values.get("embodiment") or OmegaConf.select(layers[0], "embodiment") or "bimanual"
        layers.append(_preset(agent, body, "agents", "agent"))
    config = OmegaConf.structured(Config)
    for layer in (*layers, overrides):
        config = _merge(config, layer)
    if base is None or "mdp" in values:
        preset = _preset(config.mdp, config.embodiment)
        order = [preset, *layers]
        if "mdp" in values:
            order = [*(_without(layer, _MDP_SECTIONS) for layer in layers), preset]
        config = OmegaConf.structured(Config)
        for layer in (*order, overrides):
            config = _merge(config, layer)
    check(config)
    return config


def load_settings(schema: type, arguments: Sequence[str]) -> DictConfig:
    """Return the settings of a command that has its own schema (a dataclass) and no files.

    Raises:
        UserError: unknown key, wrong type or value out of range.
    """
    values = parse_arguments(arguments)
    config = OmegaConf.structured(schema)
    # Text is taken as it stands: a glob such as *_01* is no YAML.
    texts = {field.name for field in fields(schema) if field.type in ("str", "str | None")}
    texts = {key: value for key, value in values.items() if key in texts}
    config = _merge(config, _dotlist({k: v for k, v in values.items() if k not in texts}))
    config = OmegaConf.merge(config, texts)
    check(config, schema)
    return config


def load_resolved(path: Path) -> DictConfig:
    """Read a complete configuration that a run has saved."""
    config = _merge(OmegaConf.structured(Config), _read_yaml(path, str(path)))
    check(config)
    return config


def config_from_dict(values: dict[str, Any]) -> DictConfig:
    """Rebuild a complete configuration from plain values, as a checkpoint holds them."""
    config = _merge(OmegaConf.structured(Config), OmegaConf.create(values))
    check(config)
    return config


def check(config: DictConfig, schema: type = Config) -> None:
    """Check that every setting is one that its schema allows.

    Raises:
        UserError: naming the key, its value and what was expected.
    """
    for key, bounds in bounds_of(schema):
        value = OmegaConf.select(config, key)
        expected = bounds.expected(value)
        if expected is not None:
            raise UserError(f"{key}={value}: expected {expected}")


def _find(name: str, what: str, folder: str) -> Path:
    shipped = FOLDER / folder / f"{name}.yaml"
    if shipped.is_file():
        return shipped
    path = Path(name)
    if path.suffix in (".yaml", ".yml"):
        if path.is_file():
            return path
        raise UserError(f"{what}={name}: no such file")
    raise UserError(
        f"{what}={name}: no such configuration; expected one of {', '.join(available(folder))}, "
        f"or the path of a .yaml file"
    )


def _read_yaml(path: Path, name: str) -> DictConfig:
    try:
        config = OmegaConf.load(path)
    except (YAMLError, OSError, UnicodeDecodeError) as error:
        raise UserError(f"{name}: cannot be read as YAML: {_one_line(error)}") from error
    if not isinstance(config, DictConfig):
        raise UserError(f"{name}: expected keys and values at the top level")
    return config


def _preset(name: str, embodiment: str, folder: str = "mdp", what: str = "mdp") -> DictConfig:
    preset = _read_yaml(_find(name, what, folder), f"{what} {name}")
    unknown = set(preset) - {"common", "fullbody", "bimanual"}
    if unknown:
        raise UserError(f"{what} {name}: unknown section {sorted(unknown)[0]!r}")
    return OmegaConf.merge(preset.get("common") or {}, preset.get(embodiment) or {})


def _without(layer: DictConfig, sections: Sequence[str]) -> DictConfig:
    return OmegaConf.masked_copy(layer, [key for key in layer if key not in sections])


def _dotlist(values: dict[str, str]) -> DictConfig:
    try:
        return OmegaConf.from_dotlist([f"{key}={value}" for key, value in values.items()])
    except (OmegaConfBaseException, YAMLError) as error:
        raise UserError(f"arguments: {_one_line(error)}") from error


def _merge(config: DictConfig, layer: DictConfig) -> DictConfig:
    for key in _leaves(layer):
        if not _known(config, key):
            raise UserError(f"unknown key {key!r}{_suggest(key, _leaves(config))}")
        if OmegaConf.is_dict(OmegaConf.select(config, key)) and OmegaConf.select(layer, key) != {}:
            raise UserError(
                f"{key} is a group of settings: set one of them, as in {key}.NAME=VALUE"
            )
    try:
        return OmegaConf.merge(config, layer)
    except OmegaConfBaseException as error:
        key = error.full_key or "?"
        value = OmegaConf.select(layer, key, default="?") if error.full_key else "?"
        raise UserError(f"{key}={value}: {_one_line(error)}") from error


def _known(config: DictConfig, key: str) -> bool:
    node: Any = config
    for part in key.split("."):
        if not isinstance(node, DictConfig):
            return False
        if part not in node:
            # A mapping is free in its keys, a group of settings (a dataclass) is not.
            return OmegaConf.get_type(node) is dict
        node = node._get_node(part)
    return True


def _leaves(config: Any, prefix: str = "") -> list[str]:
    """Dotted keys of all values; lists count as values."""
    keys: list[str] = []
    for key in config:
        node = config._get_node(key)
        name = f"{prefix}{key}"
        if isinstance(node, DictConfig) and not node._is_none() and len(node):
            keys += _leaves(node, f"{name}.")
        else:
            keys.append(str(name))
    return keys


def _suggest(key: str, known: Iterable[str]) -> str:
    known = list(known)
    close = difflib.get_close_matches(key, known, n=1, cutoff=0.6)
    if not close:
        last = [name for name in known if name.rsplit(".", 1)[-1] == key.rsplit(".", 1)[-1]]
        close = last[:1]
    return f": did you mean {close[0]!r}?" if close else ": --help lists the keys"


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split("full_key")[0].split())
