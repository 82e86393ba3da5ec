"""HTTP sessions that use no proxy: for requests to this machine and to dispatchers in the cluster."""

import requests


def direct_session() -> requests.Session:
    """Return a session that ignores http_proxy, ALL_PROXY and .netrc, which a company's shell may set.

    Its proxy does not reach this machine's loopback addresses, and no_proxy often lists `localhost` only.
    """
    session = requests.Session()
    session.trust_env = False
    return session
