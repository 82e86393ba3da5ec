"""Chooses the journal that --journal names."""

from pathlib import Path
from urllib.parse import urlsplit

from dispatcher.journal.base import Journal, JournalError, JournalLimits
from dispatcher.journal.sqlite_journal import SqliteJournal

REDIS_SCHEMES = ("redis", "rediss", "unix")


def make_journal(setting: str, limits: JournalLimits) -> Journal | None:
    """Return the journal, not yet open; None for `none` or nothing. Raise JournalError if it names none."""
    if setting in ("", "none"):
        return None
    scheme, separator, _ = setting.partition("://")
    if not separator:
        return SqliteJournal(Path(setting), limits)
    if scheme not in REDIS_SCHEMES:
        raise JournalError(f"--journal must be a file, a redis:// URL or none, got {_without_password(setting)!r}")
    # The library takes a second to import, which a dispatcher without Redis is spared.
    from dispatcher.journal.redis_journal import RedisJournal  # noqa: PLC0415

    try:
        return RedisJournal(setting, limits)
    except ValueError as error:
        raise JournalError(
            f"--journal must be a URL such as redis://host:6379/0, got {_without_password(setting)!r}: {error}"
        ) from error


def _without_password(setting: str) -> str:
    netloc = urlsplit(setting).netloc
    return setting.replace(netloc, netloc.rpartition("@")[2])
