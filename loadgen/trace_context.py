"""The identifiers of a trace as HTTP carries them. Source: https://www.w3.org/TR/trace-context/.

The same file stands in dispatcher, function and loadgen, none of which can import another one.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass

# A version above 00 may append fields after a dash, and its first four mean the same.
_FIELD = re.compile(r"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_SAMPLED = 1


@dataclass(frozen=True, slots=True)
class TraceContext:
    """A trace, the span in it that sent the request, and whether its sender records it. The ids are not 0."""

    trace_id: int
    span_id: int
    sampled: bool

    def traceparent(self) -> str:
        """Return the value of the header field."""
        return f"00-{self.trace_id:032x}-{self.span_id:016x}-{int(self.sampled):02x}"


def parse_traceparent(values: Sequence[str]) -> TraceContext | None:
    """Return the context in the fields traceparent; None unless there is exactly one, and it is valid."""
    found = _FIELD.fullmatch(values[0].strip(" \t")) if len(values) == 1 else None
    if found is None or (found[1] == "00" and found[5]):
        return None
    trace_id, span_id = int(found[2], 16), int(found[3], 16)
    return TraceContext(trace_id, span_id, bool(int(found[4], 16) & _SAMPLED)) if trace_id and span_id else None
