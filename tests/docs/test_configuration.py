"""docs/configuration.md beside the parsers, and the pod's table beside the pod's configuration."""

import re

import pytest

from function.config import Config, HttpConfig
from tests.docs.settings import PROGRAMS, Setting, settings_of
from tests.paths import ROOT

PAGE = (ROOT / "docs/configuration.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `(--[\w-]+)` \| (?:`(\w+)`)? \| (?:`([^`]*)`)? \| \S", re.MULTILINE)
# What a pod reads besides function/config.py: in function/gunicorn.conf.py.
GUNICORN = {"PORT": "8000", "HOST": "0.0.0.0", "THREADS": "4", "GRACEFUL_TIMEOUT_S": "25", "LOG_LEVEL": "info"}
# Variables whose names are Knative's or Kubernetes', and the field that each is read into.
RENAMED = {"sink_url": "K_SINK", "event_extensions": "K_CE_OVERRIDES"}


def documented(title: str) -> list[Setting]:
    """Return the rows of a command's table."""
    return [Setting(*(cell or "" for cell in row)) for row in ROW.findall(section(title))]


def section(title: str) -> str:
    """Return the text below a heading, up to the next."""
    match = re.search(rf"^##+ {re.escape(title)}\n(.*?)(?=^#|\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert match, f"no section {title}"
    return match[1]


# The parser of function.tools.export imports torch, which takes seconds.
SLOW = [pytest.mark.integration, pytest.mark.xdist_group("torch")]


@pytest.mark.parametrize(
    "program", [pytest.param(name, marks=SLOW if name == "function.tools.export" else []) for name in PROGRAMS]
)
def test_the_tables_have_every_flag_variable_and_default(program: str) -> None:
    for title, rows in settings_of(program):
        assert documented(title) == list(rows), title


def test_the_pods_table_has_every_variable_and_default() -> None:
    fields = {**defaults(Config.from_env({"MODEL_DIR": "model"})), **defaults(HttpConfig())}
    expected = {RENAMED.get(name, name.upper()): value for name, value in fields.items()} | GUNICORN
    rows = re.findall(r"^\| `([A-Z_]+)` \| (?:`([^`]*)`)? \| \S", section("function"), re.MULTILINE)
    assert dict(rows) == expected


def defaults(config: Config | HttpConfig) -> dict[str, str]:
    """Return the fields as their variables would be written; an empty list as an empty text."""
    values = {name: getattr(config, name) for name in type(config).__slots__}
    return {
        name: f"{value:.9g}" if isinstance(value, int | float) else str(value or "") for name, value in values.items()
    }
