"""Builds the images of both services from their Dockerfiles, without running containers or reaching an image registry.

buildah builds in a chroot, on a base image that debootstrap makes from Debian's packages.
"""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.paths import ROOT

COMMANDS = {"buildah": "buildah", "debootstrap": "debootstrap"}  # with their packages
SUITE = "bookworm"  # its python3 is 3.11
BASE = "localhost/base"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
NOT_FOR_IMAGES = ("var/cache/apt", "var/lib/apt/lists", "usr/share/doc", "usr/share/man", "usr/share/locale")
BUILD_TIMEOUT_S = 1800.0


def why_not() -> str | None:
    """Return what this machine lacks for building images, with the remedy; None if nothing."""
    missing = [package for command, package in COMMANDS.items() if shutil.which(command) is None]
    return f"building images needs more commands: apt-get install {' '.join(missing)}" if missing else None


@dataclass(frozen=True, slots=True)
class Image:
    """A built image.

    reference: FOLDER:TAG of its OCI image layout, for the cluster's image map.
    root: its files, unpacked; read-only for tests.
    config: the image's configuration, such as user, command and variables.
    """

    reference: str
    root: Path
    config: Mapping[str, Any]

    @property
    def size_bytes(self) -> int:
        """Total size of all files."""
        return sum(file.lstat().st_size for file in self.root.rglob("*") if file.is_file() and not file.is_symlink())


class Builder:
    """Runs buildah with its storage in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._env = {**os.environ, "TMPDIR": str(folder / "tmp")}
        # builds share their download cache with `make setup`
        cache = Path(os.environ.get("UV_CACHE_DIR", Path.home() / ".cache/uv"))
        (folder / "tmp/buildah-cache").mkdir(parents=True)
        cache.mkdir(parents=True, exist_ok=True)
        (folder / "tmp/buildah-cache/uv").symlink_to(cache)

    def make_base(self) -> None:
        """Build the base image: Debian's python3, as small as the official image, with this machine's certificates."""
        root = self._folder / "debian"
        packages = "--include=python3,python3-venv,ca-certificates"
        self._run("debootstrap", "--variant=minbase", packages, SUITE, str(root))
        for name in NOT_FOR_IMAGES:
            shutil.rmtree(root / name)
        if CERTIFICATES.is_file():
            shutil.copy(CERTIFICATES, root / CERTIFICATES.relative_to("/"))
        container = self._buildah("from", "scratch")
        self._run("cp", "-a", f"{root}/.", self._buildah("mount", container))
        env = [f"--env={name}={CERTIFICATES}" for name in ("SSL_CERT_FILE", "PIP_CERT")]
        path = "--env=PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        self._buildah("config", path, *env, container)
        self._buildah("commit", "--quiet", "--rm", container, BASE)
        shutil.rmtree(root)

    def build(self, component: str, *arguments: str, tag: str | None = None) -> Image:
        """Build COMPONENT/Dockerfile on the base image, as in the README; raise AssertionError if that fails.

        tag: a name for the image, unless it is the component's.
        """
        name = tag or component
        argv = ("bud", "--isolation", "chroot", "--build-arg", f"BASE={BASE}", *arguments)
        self._buildah(*argv, "--file", f"{component}/Dockerfile", "--tag", name, ".")
        self._buildah("push", "--quiet", name, f"oci:{self._folder / 'layout'}:{name}")
        about = json.loads(self._buildah("inspect", "--type", "image", name))
        root = Path(self._buildah("mount", self._buildah("from", name)))
        return Image(f"{self._folder / 'layout'}:{name}", root, about["OCIv1"]["config"])

    def _buildah(self, command: str, *arguments: str) -> str:
        folders = ("--root", str(self._folder / "storage"), "--runroot", str(self._folder / "run"))
        return self._run("buildah", *folders, "--storage-driver", "vfs", command, *arguments)

    def _run(self, *argv: str) -> str:
        """Run a command and return its output; raise AssertionError, with output and errors, if it fails."""
        done = subprocess.run(
            argv, cwd=ROOT, env=self._env, capture_output=True, text=True, timeout=BUILD_TIMEOUT_S, check=False
        )
        assert done.returncode == 0, f"{' '.join(argv)} exited with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout.strip()
