"""Folders that tests read."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Photographs, traces and recordings that are not part of the project; a test that needs them skips where they are absent.
SHARED = Path(os.environ.get("SHARED_DIR", ROOT.parent / "shared"))
