"""The command line: ``cinelink``."""

from workflow.cli.main import main

__all__ = ["main"]
