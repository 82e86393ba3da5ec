"""Relative links and anchors of Markdown pages."""

import re
from collections import Counter
from pathlib import Path

from tests.paths import ROOT

LINK = re.compile(r"!?\[[^\]]*\]\(([^()\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"")
FENCE = re.compile(r"^(```|~~~).*?^\1\s*$", re.MULTILINE | re.DOTALL)
# Pages name modules from the root, and those of autoscaler_tuning from there.
BASES = (ROOT, ROOT / "autoscaler_tuning")
# Folders that commands make, and that a clone does not have.
MADE = ("model", "function/model", "report", ".run", ".venv")
ELSEWHERE = ("http://", "https://", "mailto:")


def anchors(text: str) -> set[str]:
    """Return the anchors of a page's headings, as GitHub makes them."""
    seen: Counter[str] = Counter()
    found = set()
    for heading in re.findall(r"^#{1,6} +(.+?)\s*$", FENCE.sub("", text), re.MULTILINE):
        plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")
        found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
        seen[slug] += 1
    return found


def broken_links(page: Path, text: str) -> list[str]:
    """Return a sentence for each relative link of the page that leads nowhere."""
    problems = []
    for match in LINK.finditer(FENCE.sub("", text)):
        target = match[1] or match[2]
        if target.startswith(ELSEWHERE):
            continue
        name, _, anchor = target.partition("#")
        file = page.parent / name if name else page
        if file != page and not file.exists():
            problems.append(f"{page.name}: {target}: no such file")
        elif anchor and anchor not in anchors(text if file == page else file.read_text(encoding="utf-8")):
            problems.append(f"{page.name}: {target}: no such heading")
    return problems


def missing_paths(text: str) -> list[str]:
    """Return the paths in inline code, of this repository or of autoscaler_tuning, that do not exist."""
    tops = {folder.name for base in BASES for folder in base.iterdir() if folder.is_dir()}
    named = re.findall(r"`([\w.-]+/[\w./-]*)`", FENCE.sub("", text))
    known = [name for name in named if name.split("/")[0] in tops and not name.startswith(MADE) and "NAME" not in name]
    return [name for name in known if not any((base / name).exists() for base in BASES)]
