"""`python -m autoscaler_tuning COMMAND`."""

from collections.abc import Callable

from knative.console import run


def _load() -> Callable[[], int]:
    from autoscaler_tuning.cli import main  # noqa: PLC0415  within run(), which handles an interrupt during the imports

    return main


raise SystemExit(run("autoscaler_tuning", _load))
