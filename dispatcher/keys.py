"""API keys: `python -m dispatcher.keys NAME [--high]` makes one; the dispatcher knows only their hashes."""

import argparse
import hmac
import logging
import re
import secrets
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

log = logging.getLogger(__name__)

RELOAD_EVERY_S = 1.0
_LINE = re.compile(r"(?P<name>[\w.-]{1,64})\s+(?P<digest>[0-9a-f]{64})(?P<high>\s+high)?")


class KeysError(ValueError):
    """A keys file that cannot be used; the message contains the line, the rule and the value."""


@dataclass(frozen=True, slots=True)
class ApiKey:
    """One key: its name, its SHA-256 in hex, and whether it may ask for a priority above normal."""

    name: str
    digest: str
    high: bool = False


def parse_keys(text: str) -> tuple[ApiKey, ...]:
    """Return the keys of a file: a line `NAME SHA256HEX [high]` each; # begins a comment. Raises KeysError."""
    keys: list[ApiKey] = []
    for number, line in enumerate(text.splitlines(), 1):
        content = line.partition("#")[0].strip()
        if not content:
            continue
        match = _LINE.fullmatch(content)
        if not match:
            raise KeysError(f"line {number} must be NAME SHA256HEX [high], got {content[:20]!r}")
        keys.append(ApiKey(match["name"], match["digest"], match["high"] is not None))
    if not keys:
        raise KeysError("the file must contain at least one key, got none")
    if len({key.name for key in keys}) < len(keys):
        raise KeysError("no two keys may have the same name")
    return tuple(keys)


def find_key(keys: tuple[ApiKey, ...], secret: bytes) -> ApiKey | None:
    """Return the key with this secret; the time taken does not depend on the secret."""
    digest = sha256(secret).hexdigest()
    found = None
    for key in keys:
        if hmac.compare_digest(key.digest, digest):
            found = key
    return found


def credentials(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    """Return (lower-case field name, secret) of each credential that the request carries."""
    found = []
    scheme, _, token = headers.get("Authorization", "").partition(" ")
    if scheme.lower() == "bearer" and token.strip():
        found.append((b"authorization", token.strip().encode("utf-8", "surrogateescape")))
    if key := headers.get("X-API-Key"):
        found.append((b"x-api-key", key.encode("utf-8", "surrogateescape")))
    return found


class KeyFile:
    """The keys of a file, read again when it has changed; a file that became invalid keeps the keys it had."""

    def __init__(self, path: Path) -> None:
        """Read the file. Raises KeysError if it cannot be read or used."""
        self._path = path
        self._checked_s = float("-inf")
        self._version: tuple[int, int, int] | None = None
        self._keys: tuple[ApiKey, ...] = ()
        self._load()

    def keys(self, now_s: float) -> tuple[ApiKey, ...]:
        """Return the keys; the file is looked at once in RELOAD_EVERY_S."""
        if now_s - self._checked_s >= RELOAD_EVERY_S:
            self._checked_s = now_s
            try:
                self._load()
            except KeysError as error:
                log.error("%s; the keys read before stay valid", error)
        return self._keys

    def _load(self) -> None:
        try:
            status = self._path.stat()
            version = (status.st_mtime_ns, status.st_size, status.st_ino)
            if version == self._version:
                return
            self._version = version
            self._keys = parse_keys(self._path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            if self._version != (0, 0, 0):
                self._version = (0, 0, 0)
                raise KeysError(f"cannot read {self._path}: {error.strerror}") from error
        except (OSError, UnicodeDecodeError) as error:
            raise KeysError(f"cannot read {self._path}: {error}") from error
        except KeysError as error:
            raise KeysError(f"{self._path}: {error}") from error


def main(argv: list[str] | None = None) -> int:
    """Print a new key for its user, and the line for the file of --api-keys-file."""
    parser = argparse.ArgumentParser(prog="dispatcher.keys", description="Make an API key.")
    parser.add_argument("name", help="name of the key, in the file and in logs")
    parser.add_argument("--high", action="store_true", help="allow priorities above normal")
    given = parser.parse_args(argv)
    secret = secrets.token_urlsafe(32)
    line = f"{given.name} {sha256(secret.encode()).hexdigest()}{' high' if given.high else ''}"
    try:
        parse_keys(line)
    except KeysError:
        sys.stderr.write(
            f"dispatcher.keys: the name must be 1 to 64 letters, digits, '.', '_' or '-', got {given.name!r}\n"
        )
        return 2
    sys.stdout.write(f"key for the client: {secret}\nline for --api-keys-file: {line}\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
