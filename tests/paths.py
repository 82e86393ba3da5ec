"""Folders that the tests read."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
# Images, traces and recordings that are not part of the project; tests that need them are skipped without them.
SHARED = Path(os.environ.get("SHARED_DIR", ROOT.parent / "shared"))
