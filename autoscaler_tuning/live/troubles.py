"""Logs one line when something begins to fail and one when it works again, however often it fails in between."""

import logging

log = logging.getLogger(__name__)


class Troubles:
    """The things that fail at the moment, by name."""

    def __init__(self) -> None:
        self._began_s: dict[str, float] = {}

    def failed(self, what: str, now_s: float, error: BaseException | str, expected: bool = True) -> None:
        """Record a failure; the first one is logged, with its traceback unless failures of this kind are expected."""
        if what in self._began_s:
            log.debug("%s: %s", what, error)
            return
        self._began_s[what] = now_s
        log.warning("%s: %s", what, error, exc_info=None if expected or isinstance(error, str) else error)

    def worked(self, what: str, now_s: float) -> None:
        """Record that it works; log how long it did not."""
        began_s = self._began_s.pop(what, None)
        if began_s is not None:
            log.info("%s: works again after %.0f s", what, now_s - began_s)
