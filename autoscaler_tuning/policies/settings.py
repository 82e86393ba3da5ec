"""Parsing of policy settings given as text: `hold_s=0`, `forecast.level_gain=0.1`."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from math import isfinite
from typing import Any, TypeVar

Config = TypeVar("Config")

# Wording of the rule for each type of setting.
KINDS = {bool: "true or false", int: "an integer", float: "a finite number"}


class SettingError(ValueError):
    """There is no such setting, or its value is invalid; the message states the rule and the value."""


def apply_settings(config: Config, settings: Mapping[str, str]) -> Config:
    """Return the configuration with these settings changed; raise SettingError if one is unknown or invalid.

    A dotted name reaches into a nested configuration.
    """
    for name, text in settings.items():
        outer, _, inner = name.partition(".")
        known = [field.name for field in fields(config)]  # type: ignore[arg-type]  # every caller passes a dataclass
        if outer not in known or is_dataclass(getattr(config, outer)) != bool(inner):
            raise SettingError(f"no setting {name!r} of {type(config).__name__}; known: {', '.join(known)}")
        current = getattr(config, outer)
        value = apply_settings(current, {inner: text}) if inner else _parsed(name, text, current)
        try:
            config = replace(config, **{outer: value})  # type: ignore[type-var]  # as above
        except ValueError as error:
            raise SettingError(f"{type(config).__name__}: {error}") from error
    return config


def _parsed(name: str, text: str, current: Any) -> Any:
    """Parse a value as the type of the current one; a setting without a value, such as tolerance_up, is a number."""
    current = 0.0 if current is None else current
    try:
        if isinstance(current, bool):
            return {"true": True, "false": False}[text]
        value = type(current)(text)
        if isinstance(value, float) and not isfinite(value):
            raise ValueError(text)
    except (KeyError, ValueError) as error:
        kind = KINDS.get(type(current), f"a {type(current).__name__}")
        raise SettingError(f"{name} must be {kind}, got {text!r}") from error
    return value
