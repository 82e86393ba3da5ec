"""Certificates for tests, made by openssl."""

import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

AUTHORITY = """
[ca]
default_ca = own
[own]
database = {folder}/index
serial = {folder}/serial
new_certs_dir = {folder}
default_md = sha256
policy = any
[any]
commonName = supplied
"""


@dataclass(frozen=True, slots=True)
class Pair:
    """The files of a certificate and its key."""

    cert: Path
    key: Path

    def flags(self) -> tuple[str, ...]:
        return "--tls-cert-file", str(self.cert), "--tls-key-file", str(self.key)

    def replace(self, other: "Pair") -> None:
        """Put another pair into these files."""
        for ours, theirs in ((self.cert, other.cert), (self.key, other.key)):
            fresh = ours.with_suffix(".new")
            shutil.copy(theirs, fresh)
            fresh.replace(ours)


def make_pair(folder: Path, name: str = "localhost", names: str = "DNS:localhost,IP:127.0.0.1") -> Pair:
    """Make a self-signed certificate; skip without openssl.

    name: of the files and the subject. names: those for which the certificate is valid, as openssl spells them.
    """
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl: apt-get install openssl")
    pair = Pair(folder / f"{name}.crt", folder / f"{name}.key")
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", f"/CN={name}", "-addext", f"subjectAltName={names}", "-days", "2"]
    subprocess.run([*command, "-keyout", pair.key, "-out", pair.cert], check=True, capture_output=True)
    return pair


def make_dated_pair(folder: Path, name: str, start: str, end: str) -> Pair:
    """Make a self-signed certificate that is valid between two dates such as 20200101000000Z."""
    pair, request, settings = make_pair(folder, name), folder / f"{name}.csr", folder / "ca.conf"
    settings.write_text(AUTHORITY.format(folder=folder))
    (folder / "index").write_text("")
    (folder / "serial").write_text("01")
    asking: list[str | Path] = ["openssl", "req", "-new", "-key", pair.key, "-subj", f"/CN={name}", "-out", request]
    subprocess.run(asking, check=True, capture_output=True)
    command: list[str | Path] = [
        "openssl",
        "ca",
        "-batch",
        "-notext",
        "-selfsign",
        "-config",
        settings,
        "-keyfile",
        pair.key,
    ]
    command += ["-in", request, "-out", pair.cert, "-startdate", start, "-enddate", end]
    subprocess.run(command, check=True, capture_output=True)
    return pair
