"""Exit codes, and the errors that lead to them."""

from collections.abc import Iterable

OK, SLO_MISSED, BAD_INPUT, INVALID, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 4, 130
# Several codes may apply to one run. The first of this list wins, because it makes the others meaningless.
PRECEDENCE = (INTERRUPTED, BAD_INPUT, UNREACHABLE, INVALID, SLO_MISSED)


class InputError(ValueError):
    """An unusable file, folder or value; the text contains the rule and the value."""


class WorkloadError(InputError):
    """An invalid workload; the text contains the file or family, the line number and the value found."""


class UnreachableError(Exception):
    """A URL at which no server listens, or whose certificate cannot be verified."""


def exit_code(codes: Iterable[int]) -> int:
    """Return the code that takes precedence over the others, or 0 if there is none."""
    applying = set(codes)
    return next((code for code in PRECEDENCE if code in applying), OK)
