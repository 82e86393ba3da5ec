"""`tune`"""

import argparse
from collections.abc import Mapping


def add(parser: argparse.ArgumentParser, env: Mapping[str, str]) -> None:
    """Its flags."""
