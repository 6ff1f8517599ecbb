"""What benchmarks are told on the command line."""

from __future__ import annotations

import argparse


def read_arguments(about: str, **defaults: int) -> argparse.Namespace:
    """Numbers, each an option with its default, and `--json`."""
    parser = argparse.ArgumentParser(description=about.splitlines()[0])
    for name, default in defaults.items():
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--json", action="store_true", help="print JSON")
    return parser.parse_args()
