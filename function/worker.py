"""gunicorn's threaded worker, which at SIGTERM also answers what the kernel had accepted for it."""

from gunicorn.workers.gthread import ThreadWorker


class DrainingWorker(ThreadWorker):  # type: ignore[misc]  # gunicorn has no types
    """Takes in every connection that waits at SIGTERM, then stops listening: later ones are refused, none is reset.

    gthread alone only stops accepting: a connection that waits in the kernel's queue, or that comes while the last
    requests are answered, is reset when the worker ends.
    """

    def set_accept_enabled(self, enabled: bool) -> None:
        super().set_accept_enabled(enabled)
        if not self.alive:
            for listener in self.sockets:
                self._accept_all(listener)
                listener.close()

    def _accept_all(self, listener: object) -> None:
        accepted = -1
        while accepted < self.nr_conns:  # a connection that was accepted is counted
            accepted = self.nr_conns
            self.accept(listener)
