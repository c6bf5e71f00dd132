"""``cinelink``: every command, its exit codes (0 success, 1 failure, 2 bad usage) and its errors in one sentence."""

from __future__ import annotations

import sys

import click

from models.errors import CinelinkError
from workflow.bootstrap import software
from workflow.cli.admin import database, destinations, explain, mappings, messages, orders, recordings, token
from workflow.cli.run import demo, sandbox, serve
from workflow.cli.tools import convert, probe, send, verify


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(software(), message="%(version)s")
def cinelink() -> None:
    """Link procedure video to the order it was made for: HL7 and FHIR in, DICOM video out, proven and reported."""


for command in (
    convert,
    database,
    demo,
    destinations,
    explain,
    mappings,
    messages,
    orders,
    probe,
    recordings,
    sandbox,
    send,
    serve,
    token,
    verify,
):
    cinelink.add_command(command)


def main() -> None:
    """Run the command line; an error of ours is one sentence on standard error and exit code 1."""
    try:
        cinelink(standalone_mode=True)
    except CinelinkError as error:
        click.echo(f"error: {error}", err=True)
        sys.exit(1)
