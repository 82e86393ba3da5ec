"""TLS of the client port: a certificate and its key in files, read again when the files change."""

import logging
import ssl
import time
from collections.abc import Callable
from pathlib import Path

log = logging.getLogger(__name__)

RELOAD_EVERY_S = 1.0

Version = tuple[tuple[int, int, int], ...]


class TlsError(ValueError):
    """A pair of files that cannot be used; the message contains the rule and the value."""


class CertificateFiles:
    """The context for new connections, made again when one of the files has changed.

    A changed pair that cannot be used is logged, and the pair read before stays in use. Open connections keep theirs.
    """

    def __init__(self, cert: Path, key: Path, now: Callable[[], float] = time.monotonic) -> None:
        """Read the files. Raises TlsError if they cannot be used."""
        self._cert, self._key, self._now = cert, key, now
        self._checked_s = now()
        self._version = self._read_version()
        self._current = load_pair(cert, key)

    def context(self) -> ssl.SSLContext:
        """Return the context to listen with; each handshake gets the newest pair."""
        listening = load_pair(self._cert, self._key)
        listening.sni_callback = self._choose
        return listening

    def current(self) -> ssl.SSLContext:
        """Return the newest usable pair; the files are looked at once in RELOAD_EVERY_S."""
        if self._now() - self._checked_s >= RELOAD_EVERY_S:
            self._checked_s = self._now()
            self._reload()
        return self._current

    def _choose(self, connection: ssl.SSLObject, name: str | None, listening: ssl.SSLContext) -> None:
        """Set the pair of a handshake; OpenSSL calls this also for clients that name no server."""
        connection.context = self.current()

    def _reload(self) -> None:
        version = self._read_version()
        if version == self._version:
            return
        self._version = version
        try:
            self._current = load_pair(self._cert, self._key)
        except TlsError as error:
            log.error("%s; the certificate read before stays in use", error)
        else:
            log.info("read the new certificate in %s", self._cert)

    def _read_version(self) -> Version:
        """Return what changes with the files; () for one that does not exist, which load_pair then reports."""
        found = []
        for path in (self._cert, self._key):
            try:
                status = path.stat()
            except OSError:
                return ()
            found.append((status.st_mtime_ns, status.st_size, status.st_ino))
        return tuple(found)


def load_pair(cert: Path, key: Path) -> ssl.SSLContext:
    """Return a server's context with the chain and key, TLS 1.2 or newer. Raises TlsError if they cannot be used."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    for flag, path in (("--tls-cert-file", cert), ("--tls-key-file", key)):
        try:
            path.read_bytes()
        except OSError as error:
            raise TlsError(f"{flag} must be a readable file, got {path}: {error.strerror}") from error
    try:
        # an empty password makes a key that needs one an error; the default would ask for it on the terminal
        context.load_cert_chain(cert, key, password="")
        _check_dates(context, cert)
    except ssl.SSLCertVerificationError as error:
        raise TlsError(f"--tls-cert-file must be valid now, got {cert}: {error.verify_message}") from error
    except (ssl.SSLError, ValueError) as error:
        text = "--tls-cert-file and --tls-key-file must be a certificate and its key without a password, in PEM format"
        reason = getattr(error, "reason", None) or error
        raise TlsError(f"{text}, got {cert} and {key}: {reason}") from error
    return context


def _check_dates(server: ssl.SSLContext, cert: Path) -> None:
    """Shake hands in memory with a client that trusts this certificate, because Python's ssl reads no dates of files.

    Raises ssl.SSLCertVerificationError for one that has expired or is not valid yet.
    """
    client = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    client.check_hostname = False
    client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    client.load_verify_locations(cert)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = client.wrap_bio(to_client, to_server)
    theirs = server.wrap_bio(to_server, to_client, server_side=True)
    for side in (ours, theirs, ours):  # hello; hello, certificate; verification
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue
