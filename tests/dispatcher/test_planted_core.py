"""The random histories of test_core_machine.py find each of these one-line faults in the core."""

import importlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from tests.paths import ROOT

MACHINE = "tests.dispatcher.test_core_machine"

FAULTS = [
    pytest.param(
        "waiting",
        "self._since_expired + 1 >= EXPIRED_SHARE",
        "self._since_expired + 1 > EXPIRED_SHARE",
        id="the turn of expired requests comes one release late",
    ),
    pytest.param("waiting", "0 if request.expired else", "0 if not request.expired else", id="the turn is miscounted"),
    pytest.param(
        "waiting", "late = bisect_left(feasible, (latest_s, -1))", "late = 0", id="expired requests are not demoted"
    ),
    pytest.param(
        "waiting",
        "        for priority in Priority:\n            if (oldest",
        "        for priority in reversed(Priority):\n            if (oldest",
        id="of expired requests the lowest class goes first",
    ),
    pytest.param("waiting", "if other >= priority:", "if other <= priority:", id="a higher class is displaced"),
    pytest.param(
        "waiting", "not (self.terms.kept or self.promised)", "not self.promised", id="a kept request is displaced"
    ),
    pytest.param(
        "waiting",
        "None if self.terms.kept else self.terms.deadline_s",
        "self.terms.deadline_s",
        id="a kept request is rejected for its deadline",
    ),
    pytest.param("admission", "+ 1 + reserved >", "+ reserved >", id="one request too many waits"),
    pytest.param("admission", "self._accepted_bytes -=", "self._accepted_bytes +=", id="bytes are never given back"),
    pytest.param("buffer", "request.abandoned = True", "pass", id="an abandoned request is delivered"),
    pytest.param(
        "buffer", "while self.waiting and self.in_flight < limit", "while self.waiting and self.in_flight <= limit",
        id="one request more than the capacity is in flight",
    ),
    pytest.param("buffer", "request.attempts -= 1", "pass", id="an attempt that reached no pod counts"),
]  # fmt: skip


@contextmanager
def planted(module: str, old: str, new: str) -> Iterator[ModuleType]:
    """Import the machine anew with one line of the core replaced; put everything back afterwards."""
    names = [name for name in sys.modules if name.split(".")[0] == "dispatcher" or name == MACHINE]
    before = {name: sys.modules.pop(name) for name in names}
    try:
        name = f"dispatcher.{module}"
        path = ROOT / "dispatcher" / f"{module}.py"
        source = path.read_text()
        assert source.count(old) == 1, f"{old!r} must be in {path.name} once, to plant the fault there"
        faulty = sys.modules[name] = ModuleType(name)
        exec(compile(source.replace(old, new), str(path), "exec"), faulty.__dict__)
        yield importlib.import_module(MACHINE)
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "dispatcher" or name == MACHINE]:
            del sys.modules[name]
        sys.modules.update(before)


@pytest.mark.parametrize(("module", "old", "new"), FAULTS)
def test_a_planted_fault_is_found(module: str, old: str, new: str) -> None:
    quickly = settings(
        max_examples=300,
        stateful_step_count=50,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    with planted(module, old, new) as machine, pytest.raises((AssertionError, KeyError, IndexError, RuntimeError)):
        run_state_machine_as_test(machine.Core, settings=quickly)
