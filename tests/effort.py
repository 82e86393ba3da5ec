"""How much work the expensive tests do: less in `make test` than in `.ci/run`, which sets CI=true."""

import os

CI = os.environ.get("CI") == "true"


def effort(everyday: int, ci: int) -> int:
    """Return the number of rounds, examples or seconds: `ci` in continuous integration, `everyday` elsewhere."""
    return ci if CI else everyday
