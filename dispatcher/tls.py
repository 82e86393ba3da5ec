"""TLS on the port for clients: the certificate and its key, read again when their files change."""

import asyncio
import logging
import ssl
from pathlib import Path

RELOAD_EVERY_S = 2.0

log = logging.getLogger(__name__)


class TlsError(ValueError):
    """The files are not a certificate and its key; the message states the rule and the values."""


class ServerTls:
    """The TLS settings of a port: 1.2 and newer.

    New connections get the newest certificate; open ones go on. A pair that cannot be used leaves the one before in
    use, so files may be replaced one after the other.
    """

    def __init__(self, cert_file: Path, key_file: Path) -> None:
        """Read the files. Raises TlsError."""
        self._files = (cert_file, key_file)
        self._version = self._look()
        self.context = self._read()

    def keep_fresh(self, loop: asyncio.AbstractEventLoop) -> None:
        """Look at the files again and again while the loop runs."""

        def look() -> None:
            self.reload()
            loop.call_later(RELOAD_EVERY_S, look)

        loop.call_later(RELOAD_EVERY_S, look)

    def reload(self) -> None:
        """Read the files if they have changed. An error is logged, once for each change."""
        if (version := self._look()) == self._version:
            return
        self._version = version
        try:
            self._read()  # into settings of its own: a wrong pair would leave half of it in those in use
            self.context.load_cert_chain(*self._files)
            log.info("the certificate was read again from %s", self._files[0])
        except (TlsError, OSError) as error:
            log.error("%s; the certificate read before stays in use", error)

    def _look(self) -> list[tuple[int, int, int] | None]:
        """Return what changes when a file does, also when a mounted Secret swaps the folder behind a link."""
        return [_version(path) for path in self._files]

    def _read(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_alpn_protocols(["http/1.1"])
        try:
            # without the function, OpenSSL would ask the terminal for the password of an encrypted key
            context.load_cert_chain(*self._files, password=_no_password)
        except (OSError, ValueError) as error:  # ssl.SSLError is an OSError
            cert_file, key_file = self._files
            raise TlsError(
                "--tls-cert-file and --tls-key-file must be a certificate and its key without a password, in PEM, "
                f"got {cert_file} and {key_file}: {error}"
            ) from error
        return context


def _version(path: Path) -> tuple[int, int, int] | None:
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _no_password() -> str:
    raise ValueError("the key is encrypted")
