"""A real Kubernetes and Knative on this machine, running as long as the tests."""

import fcntl
import json
import os
import shlex
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import requests

from knative.client import KnativeClient, connect
from knative.objects import SERVICE_LABEL
from tests.paths import ROOT

IMAGE = "dev.local/resnet18"
NAMESPACE = "default"
DOMAIN = "example.com"
# they select the network namespace and addresses; other clusters on this machine use others
NAME, NUMBER = os.environ.get("CLUSTER_NAME", "elastic"), os.environ.get("CLUSTER_NUMBER", "217")
# a fixed path, so that the next run can stop the cluster of a killed one
STATE = Path(tempfile.gettempdir(), f"cluster-{NAME}")
START_TIMEOUT_S = 400.0
PROGRAMS_TIMEOUT_S = 900.0
# the commands that the cluster needs, and their packages
COMMANDS = {
    "ip": "iproute2",
    "iptables": "iptables",
    "nsenter": "util-linux",
    "openssl": "openssl",
}


def why_not() -> str | None:
    """Return what this machine lacks for a cluster, with the remedy; None if nothing."""
    if os.geteuid() != 0:
        return "the cluster needs root: run `sudo make cluster-test`"
    missing = [package for command, package in COMMANDS.items() if shutil.which(command) is None]
    return f"the cluster needs more commands: apt-get install {' '.join(missing)}" if missing else None


@dataclass(frozen=True, slots=True)
class Cluster:
    """A running cluster.

    gateway: the address of all routes; the Host header selects one.
    images: the file with the image map, which is read whenever a container starts.
    env: environment of its clients: KUBECONFIG, and kn and kubectl in the PATH.
    """

    gateway: str
    kubeconfig: Path
    images: Path
    env: Mapping[str, str] = field(repr=False)

    def client(self, kubeconfig: Path | None = None) -> KnativeClient:
        """Return our own client, connected to the cluster; another kubeconfig means another account."""
        return KnativeClient(NAMESPACE, connect(NAMESPACE, kubeconfig or self.kubeconfig))

    def run(self, *argv: str, timeout_s: float = 180, given: str | None = None) -> str:
        """Run kn, kubectl or another program against the cluster, with the text as standard input; return its output.

        Raise AssertionError if the program fails.
        """
        done = subprocess.run(
            argv,
            env=dict(self.env),
            cwd=ROOT,
            input=given,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert done.returncode == 0, f"{shlex.join(argv)} exited with {done.returncode}:\n{done.stdout}{done.stderr}"
        return done.stdout

    def add_image(self, name: str, entry: Mapping[str, object]) -> None:
        """Add an image to the image map."""
        known = json.loads(self.images.read_text())
        self.images.write_text(json.dumps({**known, name: entry}))

    def apply(self, manifest: Mapping[str, object]) -> None:
        """Apply the manifest with `kubectl apply`."""
        self.run("kubectl", "apply", "-n", NAMESPACE, "-f", "-", given=json.dumps(manifest))

    def address(self, resource: str, field: str) -> str:
        """Wait until a pod or Service has the address in this field, such as {.status.podIP}, and return it."""
        found: list[str] = []

        def known() -> bool:
            found.append(self.run("kubectl", "get", resource, "-n", NAMESPACE, "-o", f"jsonpath={field}"))
            return bool(found[-1])

        wait_until(known, f"{resource} has {field}")
        return found[-1]

    def host(self, service: str) -> str:
        """Return the host name of a Service's route at the gateway."""
        return f"{service}.{NAMESPACE}.{DOMAIN}"

    def predict(self, service: str, image: Path, timeout_s: float = 120) -> requests.Response:
        """Send an image, as `curl -H 'Host: ...' -F file=@IMAGE http://GATEWAY/predict` does."""
        url = f"http://{self.gateway}/predict"
        headers = {"Host": self.host(service)}
        return requests.post(url, headers=headers, files={"file": image.read_bytes()}, timeout=timeout_s)

    def revisions(self, service: str) -> list[str]:
        """Return the names of all Revisions of a Service."""
        label = f"{SERVICE_LABEL}={service}"
        names = self.run("kubectl", "get", "revisions", "-n", NAMESPACE, "-l", label, "-o", "name")
        return [name.partition("/")[2] for name in names.split()]

    @contextmanager
    def api_server_away(self) -> Iterator[None]:
        """Kill the API server, and start it again afterwards, with the same arguments."""
        pid_file, log = STATE / "run/kube-apiserver.pid", STATE / "log/kube-apiserver.log"
        process = Path("/proc", pid_file.read_text().strip())
        argv = [os.fsdecode(word) for word in (process / "cmdline").read_bytes().split(b"\0")[:-1]]
        os.kill(int(process.name), signal.SIGKILL)
        try:
            yield
        finally:
            wait_until(lambda: not (process / "cmdline").exists(), "the killed API server is gone")
            with log.open("ab") as output:
                started = subprocess.Popen(
                    ["nsenter", f"--net=/run/netns/{NAME}", *argv],
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                )
            pid_file.write_text(f"{started.pid}\n")  # with which the cluster's script stops it

    def api_server_is_ready(self) -> bool:
        """Return whether the API server answers."""
        try:
            self.run("kubectl", "get", "--raw", "/readyz")
        except AssertionError:
            return False
        return True


def wait_until(done: Callable[[], bool], what: str, timeout_s: float = 120, every_s: float = 0.25) -> float:
    """Poll until the condition holds, and return how long that took, in seconds."""
    began_s = time.monotonic()
    while not done():
        assert time.monotonic() - began_s < timeout_s, f"not reached within {timeout_s:g} s: {what}"
        time.sleep(every_s)
    return time.monotonic() - began_s


def get_programs(scripts: Path) -> Path:
    """Return the folder of programs and manifests, CLUSTER_PROGRAMS or one in the cache, and fill it if it is empty."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache"))
    folder = Path(os.environ.get("CLUSTER_PROGRAMS", cache / "elastic-ml-inference/cluster"))
    if not (folder / "yaml/caching").is_dir():  # the script creates this last
        _script(scripts / "programs", str(folder), env=os.environ, timeout_s=PROGRAMS_TIMEOUT_S)
    return folder


@contextmanager
def running(scripts: Path, programs: Path, model_dir: Path, folder: Path) -> Iterator[Cluster]:
    """Run a cluster in which IMAGE is the real function with this model; only its logs are kept, in STATE.

    folder: where the image map is written.
    """
    images = folder / "images.json"
    images.write_text(json.dumps({IMAGE: function_image(model_dir)}))
    env = settings(programs, images)
    with only_one():
        if Path("/run/netns", NAME).exists():
            _script(scripts / "down", env=env, timeout_s=120)  # the cluster of a killed run
        try:
            _script(scripts / "up", env=env, timeout_s=START_TIMEOUT_S)
            kubeconfig = STATE / "kubeconfig"
            gateway = (STATE / "gateway").read_text().strip()
            yield Cluster(gateway, kubeconfig, images, {**env, "KUBECONFIG": str(kubeconfig)})
        finally:
            _script(scripts / "down", env=env, timeout_s=120)


@contextmanager
def only_one() -> Iterator[None]:
    """Hold the lock for the one cluster of this machine, which is released however a run ends."""
    with STATE.with_suffix(".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise AssertionError(f"the cluster of another test run is up ({lock.name} is locked)") from None
        yield


def settings(programs: Path, images: Path) -> dict[str, str]:
    """Return the environment of the cluster's scripts."""
    return {
        **os.environ,
        "PATH": f"{programs / 'bin'}:{os.environ['PATH']}",
        "KUBECTL": str(programs / "bin/kubectl"),
        "CLUSTER_BIN": str(programs / "bin"),
        "CLUSTER_YAML": str(programs / "yaml"),
        "CLUSTER_DIR": str(STATE),
        "CLUSTER_IMAGES": str(images),
        "CLUSTER_NAME": NAME,
        "CLUSTER_NUMBER": NUMBER,
        "CLUSTER_DOMAIN": DOMAIN,
    }


def function_image(model_dir: Path) -> dict[str, object]:
    """Return the image map's entry for the function: gunicorn from this project's environment, in this folder.

    `files` includes folders on other filesystems than the root.
    """
    files = {str(folder): str(folder) for folder in (ROOT, model_dir)}
    return {
        "argv": [f"{ROOT}/.venv/bin/python", "-m", "gunicorn", "-c", "function/gunicorn.conf.py", "function.wsgi:app"],
        "env": {"MODEL_DIR": str(model_dir), "PYTHONUNBUFFERED": "1"},
        "cwd": str(ROOT),
        "files": files,
    }


def kn_create(readme: str) -> list[str]:
    """Return the words of the README's command `kn service create`, which may span several lines."""
    for line in readme.replace("\\\n", " ").splitlines():
        if line.strip().startswith("kn service create "):
            return shlex.split(line, comments=True)
    raise AssertionError("the README has no line `kn service create`")


def _script(script: Path, *arguments: str, env: Mapping[str, str], timeout_s: float) -> None:
    argv = [str(script), *arguments]
    done = subprocess.run(argv, env=dict(env), capture_output=True, text=True, timeout=timeout_s, check=False)
    assert done.returncode == 0, f"{shlex.join(argv)} exited with {done.returncode}:\n{done.stdout}{done.stderr}"
