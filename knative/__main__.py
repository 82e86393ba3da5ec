"""`python -m knative`: run the command line."""

import os
import sys
from collections.abc import Callable
from functools import partial

from knative.console import run


def _load() -> Callable[[], int]:
    from knative.cli import main  # noqa: PLC0415  within run(), which handles an interrupt during the imports

    return partial(main, sys.argv[1:], os.environ)


raise SystemExit(run("knative", _load))
