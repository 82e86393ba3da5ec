"""Settings of a policy given as text: `hold_s=0`, `forecast.trend_gain=0.1`."""

from collections.abc import Mapping
from dataclasses import fields, is_dataclass, replace
from math import isfinite
from typing import Any, TypeVar

Config = TypeVar("Config")


class SettingError(ValueError):
    """No such setting, or an impossible value; the text has the rule and the value."""


def changed(config: Config, settings: Mapping[str, str]) -> Config:
    """Return the configuration with some settings changed; a dotted name reaches inside. Raise SettingError."""
    for name, text in settings.items():
        outer, _, inner = name.partition(".")
        known = [field.name for field in fields(config)]  # type: ignore[arg-type]  # every caller passes a dataclass
        if outer not in known or is_dataclass(getattr(config, outer)) != bool(inner):
            raise SettingError(f"no setting {name!r} of {type(config).__name__}; known: {', '.join(known)}")
        held = getattr(config, outer)
        value = changed(held, {inner: text}) if inner else _parsed(name, text, held)
        try:
            config = replace(config, **{outer: value})  # type: ignore[type-var]  # as above
        except ValueError as error:
            raise SettingError(f"{type(config).__name__}: {error}") from error
    return config


def _parsed(name: str, text: str, held: Any) -> Any:
    """Parse a value as the type of the present one."""
    try:
        if isinstance(held, bool):
            return {"true": True, "false": False}[text]
        value = type(held)(text)
        if isinstance(value, float) and not isfinite(value):
            raise ValueError(text)
    except (KeyError, ValueError) as error:
        raise SettingError(f"{name} must be a {type(held).__name__}, got {text!r}") from error
    return value
