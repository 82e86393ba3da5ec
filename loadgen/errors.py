"""Ways a command can end, and which one the shell is told."""

from collections.abc import Iterable

OK, SLO_MISSED, BAD_INPUT, INVALID, UNREACHABLE, INTERRUPTED = 0, 1, 2, 3, 4, 130
# A run can end in several ways at once: what makes the others meaningless comes first.
PRECEDENCE = (INTERRUPTED, BAD_INPUT, UNREACHABLE, INVALID, SLO_MISSED)


class InputError(ValueError):
    """A file, folder or value that cannot be used; the text names the rule and what was seen."""


class WorkloadError(InputError):
    """Not a workload; the text has the file or family, the line's number and what stands there."""


class UnreachableError(Exception):
    """Nobody listens at the URL, or not with a certificate that holds."""


def exit_code(codes: Iterable[int]) -> int:
    """The one that counts."""
    seen = set(codes)
    return next((code for code in PRECEDENCE if code in seen), OK)
