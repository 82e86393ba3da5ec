"""Hides secrets in URLs, so that no output contains them."""

import re

MASK = "***"
_USER = re.compile(r"(:/+)[^/?#\s]*@")  # a file name made of a URL has one slash
_SECRET = re.compile(
    r"([?&;](?:[^=&#\s]*[._-])?(?:api|access)?"
    r"(?:key|token|secret|passw(?:or)?d|auth|authorization|credential|sig|signature)=)[^&;#\s]*",
    re.IGNORECASE,
)


def masked(text: str) -> str:
    """Return a text in which user and password of a URL, and query values such as `sig` and `api_key`, are masked."""
    return _SECRET.sub(rf"\1{MASK}", _USER.sub(rf"\1{MASK}@", text))


def masked_word(word: str) -> str:
    """Return a word that is no valid URL, without all that may be a password: what stands before its last @."""
    scheme, slashes, rest = word.rpartition("://") if "://" in word else ("", "", word)
    _, at, host = rest.rpartition("@")
    return masked(f"{scheme}{slashes}{MASK}@{host}") if at else masked(word)
