"""The checker of the docs refuses planted mistakes."""

from pathlib import Path

import pytest

from tests.docs.commands import Command, commands_of, problems, run_as
from tests.docs.links import anchors, broken_links, missing_paths

PAGE = """# A page

```sh
make test   # a comment
# only a comment
python -m loadgen diff \\
  a.json b.json
```

Run this:

    curl localhost:8000/predict
    SLO p95<0.5s: held

and `make help` or `python -m
dispatcher`; `makes` is prose.

- a list

      not a command
"""


def test_commands_come_from_fences_indented_blocks_and_inline_code() -> None:
    found = list(commands_of("page", PAGE))
    assert [(command.line, command.span) for command in found] == [
        ("make test", False),
        ("python -m loadgen diff    a.json b.json", False),
        ("curl localhost:8000/predict", False),
        ("make help", True),
        ("python -m dispatcher", True),
    ]


@pytest.mark.parametrize(
    ("line", "part"),
    [
        ("make tset", "no target 'tset'"),
        ("make image IMGE=x", "does not use IMGE"),
        ("python -m function.export", "no module function.export"),
        ("python -m loadgen.nothing", "no module loadgen.nothing"),
        (".venv/bin/python -m loadgen http://h/predict --secnds 60", "--secnds"),
        ("python -m loadgen comparre a b", "comparre"),
        ("python -m dispatcher --quota 3", "--quota"),
        ("python -m function.tools.prepare --model x", "no flag --model"),
        ("QUOTA=3 python -m dispatcher", "no variable QUOTA"),
        ("MODELS=3 .venv/bin/gunicorn -c function/gunicorn.conf.py function.wsgi:app", "no variable MODELS"),
        ("python -m autoscaler_tuning compare --policies kpa,nothing", "nothing"),
        ("curl -F file=@samples/dog.jpg localhost:8000/predict", "no such file samples/dog.jpg"),
        ("curl localhost:8000/classify", "no route /classify"),
        ("curl localhost:8001/v1/nothing", "no route /v1/nothing"),
        ("curl localhost:8001/signals", "no route /signals"),
        ("curl localhost:8011/predict", "no route /predict"),
        ("kubectl apply -k knative/manifests/nowhere", "no such file knative/manifests/nowhere"),
        ("scripts/nothing", "no such file scripts/nothing"),
        ("make lint && make tset", "no target 'tset'"),
        ("frobnicate", "no rule for the command 'frobnicate'"),
    ],
)
def test_a_command_that_does_not_exist_is_refused(line: str, part: str) -> None:
    assert [problem for problem in problems(Command("page", line)) if part in problem]


@pytest.mark.parametrize(
    "line",
    [
        "make image COMPONENT=dispatcher",
        "python -m loadgen http://h/predict --seconds 60",
        "ML_SERVICE_URL=http://h python -m dispatcher",
        "printf x | curl -d @- localhost:8000/v2/models/resnet18/infer",
        "kubectl apply -k knative/manifests/kserve",
        "python -m function.tools.prepare MODEL_DIR",
    ],
)
def test_a_command_that_exists_is_accepted(line: str) -> None:
    assert not problems(Command("page", line))


def test_a_curl_line_is_run_and_a_cluster_line_is_only_checked() -> None:
    assert run_as(Command("page", "curl localhost:8000/predict")) == "curl -sSf localhost:8000/predict"
    assert run_as(Command("page", "kubectl apply -k knative/manifests/kserve")) is None
    assert run_as(Command("page", "curl localhost:8000/predict", span=True)) is None


def test_a_broken_link_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.md"
    other.write_text("# Other\n\n## What `it` is, in short\n")
    page = tmp_path / "page.md"
    good = (
        '[a](other.md) [b](other.md#what-it-is-in-short) [c](#here) <img src="other.md"> [d](https://h/x)\n\n# Here\n'
    )
    assert broken_links(page, good) == []
    bad = '[a](none.md) [b](other.md#nothing) [c](#nowhere) <img src="none.svg">\n'
    assert broken_links(page, bad) == [
        "page.md: none.md: no such file",
        "page.md: other.md#nothing: no such heading",
        "page.md: #nowhere: no such heading",
        "page.md: none.svg: no such file",
    ]


def test_headings_of_one_name_get_numbers_and_code_has_none() -> None:
    assert anchors("# A\n\n## B\n\n## B\n\n```sh\n# comment\n```\n") == {"a", "b", "b-1"}


def test_a_path_in_inline_code_that_does_not_exist_is_refused() -> None:
    text = "`dispatcher/buffer.py`, `policies/registry.py`, `report/index.html`, `dispatcher/nothing.py`, `policies/nothing.py`"
    assert missing_paths(text) == ["dispatcher/nothing.py", "policies/nothing.py"]
