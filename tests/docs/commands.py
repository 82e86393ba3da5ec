"""The command lines of README and docs: collected from code blocks, and checked against what exists.

`python -m tests.docs.commands` prints which of them the tests run and which they only check.
"""

import argparse
import contextlib
import importlib
import io
import re
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

from function.protocols import ROUTES
from tests.docs.settings import PROGRAMS, settings_of
from tests.paths import ROOT

SHELL = ("sh", "bash", "shell", "console")
# In an indented block a line is a command if it begins with one of these; elsewhere it is output.
STARTS = re.compile(
    r"(\.venv/|python|make |curl |printf |docker |buildah |kn |kubectl |pack |func |vegeta |scripts/|[A-Z_]+=)"
)
SPAN = re.compile(r"`((?:make\s|python\s+-m\s|scripts/)[^`]*)`")
# Programs of others, which nothing here can check but for the files they are given.
FILE_FLAGS = ("-f", "-k", "--path")
FOREIGN = (
    "printf",
    "cd",
    ".",
    "kn",
    "kubectl",
    "kind",
    "openssl",
    "docker",
    "buildah",
    "pack",
    "func",
    "vegeta",
    "rm",
    "pip",
    "git",
    "pre-commit",
    "apt-get",
)
DISPATCHER_PATHS = ("/", "/healthz", "/readyz", "/add_to_queue")
CONTROL_PATHS = ("/healthz", "/signals", "/capacity", "/queue", "/metrics")
CONTROLLER_PATHS = (
    "/healthz",
    "/readyz",
    "/livez",
    "/metrics",
    "/wish",
    "/page",
    "/page/history",
    "/page/export",
    "/page/action",
)


@dataclass(frozen=True, slots=True)
class Command:
    """One command line of a page; span: it stands in running text, so it may be only the beginning of one."""

    page: str
    line: str
    span: bool = False


def pages() -> list[Path]:
    """Return the pages that the tests read."""
    named = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md") if (ROOT / name).exists()]
    return [*named, *sorted((ROOT / "docs").glob("*.md"))]


def commands_of(page: str, text: str) -> Iterator[Command]:
    """Yield the command lines of fenced shell blocks, indented blocks and inline code."""
    fenced: str | None = None
    prose: list[str] = []
    before = ""
    for line in text.replace("\\\n", " ").splitlines():
        fence = re.match(r"```(\w*)", line)
        if fence:
            fenced = fence[1] if fenced is None else None
        elif fenced is not None:
            if fenced in SHELL and (command := line.partition(" #")[0].strip()) and not command.startswith("#"):
                yield Command(page, command)
        elif line.startswith("    ") and (not before.strip() or before.startswith("    ")) and STARTS.match(line[4:]):
            yield Command(page, re.sub(r"\s+# .*", "", line.strip()))
        else:
            prose.append(line)
        before = line
    for span in SPAN.findall("\n".join(prose)):
        yield Command(page, " ".join(span.split()), span=True)


def problems(command: Command, makefile: str | None = None) -> list[str]:
    """Return what is wrong with a command: a target, module, flag, value, route or file that does not exist."""
    makefile = (ROOT / "Makefile").read_text() if makefile is None else makefile
    found = [problem for part in _parts(command.line) for problem in _check(part, command.span, makefile)]
    return [f"{command.page}: {command.line}: {problem}" for problem in found]


def _parts(line: str) -> list[list[str]]:
    """Split a line at &&, ; and | into simple commands."""
    words = shlex.shlex(line, posix=True, punctuation_chars="|&;")
    words.whitespace_split = True
    parts: list[list[str]] = [[]]
    for word in words:
        if set(word) <= set("|&;"):
            parts.append([])
        else:
            parts[-1].append(word)
    return [part for part in parts if part]


def _check(words: Sequence[str], span: bool, makefile: str) -> list[str]:
    variables = []
    while words and re.match(r"[A-Z_]+=", words[0]):
        variables.append(words[0].partition("=")[0])
        words = words[1:]
    program = words[0].removeprefix(".venv/bin/") if words else ""
    rest = list(words[1:])
    checks: dict[str, Callable[[], list[str]]] = {
        "make": lambda: _check_make(rest, makefile),
        "python": lambda: _check_python(rest, variables, span),
        "python3.11": lambda: _check_python(rest, variables, span),
        "gunicorn": lambda: [*_missing([rest[1]]), *_unknown_variables(variables, pod_variables())],
        "curl": lambda: _check_curl(rest),
        **{name: lambda: _missing([value for flag, value in pairwise(rest) if flag in FILE_FLAGS]) for name in FOREIGN},
    }
    if program in checks:
        return checks[program]()
    return _missing([program]) if "/" in program else [f"no rule for the command {program!r}"]


def _check_python(words: Sequence[str], variables: Sequence[str], span: bool) -> list[str]:
    return _check_module(words[1:], variables, span) if words[:1] == ["-m"] else _missing(words[:1])


def _check_make(words: Sequence[str], makefile: str) -> list[str]:
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    found = []
    for word in words:
        name, equals, _ = word.partition("=")
        if equals and not re.search(rf"(\$\({name}\)|\b{name}\b)", makefile):
            found.append(f"the Makefile does not use {name}")
        if not equals and word not in targets:
            found.append(f"the Makefile has no target {word!r}")
    return found


def _check_module(words: Sequence[str], variables: Sequence[str], span: bool) -> list[str]:
    module, argv = words[0], list(words[1:])
    if module == "venv" or module.startswith("pytest"):
        return []
    name = f"{module}.__main__" if module in PROGRAMS and "." not in module else module
    try:
        if find_spec(name) is None:
            return [f"no module {module}"]
    except ModuleNotFoundError:
        return [f"no module {module}"]
    if module not in PROGRAMS:
        source = Path(importlib.import_module(module).__file__ or "").read_text()
        return [f"{module} has no flag {flag}" for flag in argv if flag.startswith("--") and f'"{flag}"' not in source]
    unknown = _unknown_variables(variables, _program_variables(module)) if variables else []
    return unknown if span else [*unknown, *_parse(module, argv)]


def _parse(module: str, argv: list[str]) -> list[str]:
    """Return the error of the program's own parser for these words, if there is one."""
    if module == "loadgen" and argv and argv[0].startswith("http"):
        argv = ["replay", *argv]
    errors = io.StringIO()
    try:
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(io.StringIO()):
            PROGRAMS[module]({}).parse_args(argv)
    except SystemExit as ended:
        return [] if ended.code == 0 else [errors.getvalue().strip().splitlines()[-1]]
    return []


def _check_curl(words: Sequence[str]) -> list[str]:
    files = [found for word in words for found in re.findall(r"@([\w./]+)", word)]
    urls = [match for word in words if (match := re.search(r"(localhost:80(?:00|01|02|11)|GATEWAY)(/\S*)?$", word))]
    if len(urls) != 1:
        return ["one address of localhost:8000, :8001, :8002, :8011 or GATEWAY was expected"]
    path = urls[0][2] or "/"
    if urls[0][1].endswith("8001") and path == "/jobs/ID":
        return []
    port = urls[0][1][-4:]
    known = {"8011": CONTROL_PATHS, "8001": DISPATCHER_PATHS, "8002": CONTROLLER_PATHS}.get(port, ())
    # the dispatcher passes every path of the pods on
    found = path in known or (port not in ("8002", "8011") and _is_route(path))
    return [*_missing(files), *([] if found else [f"no route {path}"])]


def _is_route(path: str) -> bool:
    patterns = [re.sub(r"\\\{\w+\\\}", "[^/:]+", re.escape(route)) for _, route, *_ in ROUTES]
    return any(re.fullmatch(pattern, path) for pattern in (*patterns, "/metrics"))


def _missing(names: Sequence[str]) -> list[str]:
    return [f"no such file {name}" for name in names if not name.startswith("https://") and not (ROOT / name).exists()]


def _unknown_variables(variables: Sequence[str], known: set[str]) -> list[str]:
    # OpenTelemetry's own variables are read by its packages
    return [f"no variable {name}" for name in variables if name not in known and not name.startswith("OTEL_")]


def _program_variables(program: str) -> set[str]:
    return {setting.variable for _, rows in settings_of(program) for setting in rows}


def pod_variables() -> set[str]:
    """Return the variables in the pod's table of docs/configuration.md."""
    text = (ROOT / "docs/configuration.md").read_text().partition("\n## function\n")[2].partition("\n## ")[0]
    return set(re.findall(r"^\| `([A-Z_]+)`", text, re.MULTILINE))


# Accepts a job, for the lines that need the id of one.
JOB = (
    "JOB=$(curl -sSf -o /dev/null -w '%header{location}' -H 'Prefer: respond-async' -F file=@samples/cat.jpg"
    " localhost:8001/predict)"
)


def _of_job(line: str) -> str:
    return line.replace("curl ", "curl -sS ").replace("/jobs/ID", "$JOB")


# How a line is changed before it is run, by a pattern of the line. A line without a row here is only checked: it needs a
# cluster, a container engine, a network, a server of its own or more than ten seconds, or it changes this clone.
RUN: Mapping[str, Callable[[str], str]] = {
    r"curl .*DELETE localhost:8001/jobs/ID": lambda line: f"{JOB}; {_of_job(line)}",
    r"curl .*localhost:8001/jobs/ID": lambda line: f"{JOB}; until {_of_job(line)} | grep label; do sleep 0.2; done",
    r"curl .*localhost:80(00|01|11)": lambda line: line.replace("curl ", "curl -sSf "),
    r"python -m knative render (--|$)": lambda line: line,  # an overlay needs kubectl
    r"python -m loadgen http.*--seconds 60": lambda line: line.replace("--seconds 60", "--seconds 2"),
    r"python -m loadgen (report|diff)": lambda line: line,
    r"python -m autoscaler_tuning compare .*--bounds none --frontier-seeds 0": lambda line: re.sub(
        r"--seeds \d+", "--seeds 1", line
    ),
}


def run_as(command: Command) -> str | None:
    """Return the line as the tests run it, or None if they only check it."""
    if command.span:
        return None
    return next((change(command.line) for pattern, change in RUN.items() if re.search(pattern, command.line)), None)


def collected() -> list[Command]:
    """Return the commands of all pages, each once."""
    found = [command for page in pages() for command in commands_of(page.name, page.read_text(encoding="utf-8"))]
    return list({(command.line, command.span): command for command in reversed(found)}.values())[::-1]


def listing(commands: Sequence[Command]) -> str:
    """Return a line for each command: whether it is run or only checked, and where it stands."""
    return "\n".join(f"{'run' if run_as(one) else 'checked':8}{one.page:22}{one.line}" for one in commands)


def main() -> None:
    """Print the listing."""
    argparse.ArgumentParser(description="list the command lines of the docs").parse_args()
    print(listing(collected()))


if __name__ == "__main__":
    main()
