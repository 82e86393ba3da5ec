"""Runs kubectl: it builds what the kustomizations describe, applies it, and reads and deletes objects."""

import json
import re
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import yaml

from knative.errors import ClusterError, NotFoundError
from knative.objects import Json

FIELD_MANAGER = "elastic-ml-inference"
LOG_LINE = re.compile(r"[EWIF]\d{4} \d\d:\d\d:")
# The API server's words for an object, or a kind of objects, that does not exist.
MISSING = ("(NotFound)", "the server doesn't have a resource type")


class ClusterTool(Protocol):
    """What the command line needs of a cluster and of kustomize; a failed call raises ClusterError."""

    def kustomize(self, folder: Path) -> list[Json]: ...

    def get(self, kind: str, name: str) -> Json | None: ...

    def select(self, kinds: str, selector: str) -> list[Json]: ...

    def kinds(self) -> frozenset[str]: ...

    def create(self, thing: Json) -> None: ...

    def apply(self, things: Sequence[Json]) -> list[str]: ...

    def delete(self, kind: str, name: str) -> None: ...


class Kubectl:
    """Implements ClusterTool with the kubectl in the PATH for one namespace of its cluster."""

    def __init__(self, namespace: str, env: Mapping[str, str]) -> None:
        self._namespace, self._env = namespace, dict(env)

    def kustomize(self, folder: Path) -> list[Json]:
        """Return the objects of a kustomization."""
        built = self._run("kustomize", str(folder))
        return [thing for thing in yaml.load_all(built, Loader=_loader()) if thing]

    def get(self, kind: str, name: str) -> Json | None:
        """Return an object; None if it, or its kind, does not exist."""
        try:
            found: Json = json.loads(self._run("get", kind, name, "-o", "json", *self._where()))
        except NotFoundError:
            return None
        return found

    def select(self, kinds: str, selector: str) -> list[Json]:
        """Return the objects of these kinds, separated by commas, that match the label selector."""
        text = self._run("get", kinds, "--selector", selector, "-o", "json", *self._where())
        items: list[Json] = json.loads(text)["items"]
        return items

    def kinds(self) -> frozenset[str]:
        """Return the names of all kinds of the cluster that live in namespaces, such as deployments.apps."""
        return frozenset(self._run("api-resources", "--namespaced", "--output", "name").split())

    def create(self, thing: Json) -> None:
        """Create an object, which must not exist."""
        self._run("create", "--filename", "-", *self._where(), given=json.dumps(thing))

    def apply(self, things: Sequence[Json]) -> list[str]:
        """Create or change objects by server-side apply, which keeps what others have set; return a line for each."""
        argv = ("apply", "--server-side", "--force-conflicts", f"--field-manager={FIELD_MANAGER}", "--filename", "-")
        listed = {"apiVersion": "v1", "kind": "List", "items": list(things)}
        return self._run(*argv, *self._where(), given=json.dumps(listed)).splitlines()

    def delete(self, kind: str, name: str) -> None:
        """Delete an object, if it exists, and wait until it and what belongs to it, such as its pods, are gone."""
        self._run("delete", kind, name, "--ignore-not-found", "--cascade=foreground", "--timeout=180s", *self._where())

    def _where(self) -> tuple[str, ...]:
        return ("--namespace", self._namespace)

    def _run(self, *argv: str, given: str | None = None) -> str:
        command = ["kubectl", *argv]
        try:
            done = subprocess.run(command, env=self._env, input=given, capture_output=True, text=True, check=False)
        except OSError as error:
            raise ClusterError(f"kubectl is needed in the PATH, and cannot be run: {error}") from error
        if done.returncode == 0:
            return done.stdout
        message = _message(done.stderr) or f"exit status {done.returncode}"
        kind = NotFoundError if any(words in message for words in MISSING) else ClusterError
        raise kind(f"kubectl {argv[0]}: {message}")


def _message(stderr: str) -> str:
    """Return kubectl's errors in one line, without its log and warnings."""
    lines = (line.strip() for line in stderr.splitlines())
    kept = [line for line in lines if line and not LOG_LINE.match(line) and not line.startswith("Warning:")]
    return "; ".join(line.removeprefix("error: ") for line in kept)


def _loader() -> type[yaml.SafeLoader]:
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)
