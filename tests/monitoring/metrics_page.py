"""The tables of docs/metrics.md."""

import re

from tests.paths import ROOT

PAGE = ROOT / "docs/metrics.md"
ROW = re.compile(r"^\| `(\w+)` \| (\w+) \|([^|]*)\|[^|]*\| ([\d.]+) \|", re.MULTILINE)


def documented(component: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Return type and labels of the documented metrics of a component, by name.

    A component has a section whose heading ends with its prefix in code, such as "(`function_`)".
    """
    sections = re.split(r"^## ", PAGE.read_text(), flags=re.MULTILINE)
    (section,) = (text for text in sections if text.partition("\n")[0].endswith(f"(`{component}_`)"))
    found = {
        name: (kind, frozenset(re.findall(r"`(\w+)`", labels)), since)
        for name, kind, labels, since in ROW.findall(section)
    }
    rows = {name: (kind, labels) for name, (kind, labels, _) in found.items()}
    if component == "function":  # the names of earlier releases have no prefix and are documented by one sentence
        rows |= {name.removeprefix("function_"): rows[name] for name, (_, _, since) in found.items() if since == "0.1"}
    return rows
