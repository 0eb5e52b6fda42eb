"""`regcore worker`: the process behind the Slicer module."""

from __future__ import annotations

import sys

from jsonargparse import ArgumentParser, Namespace

from regcore.worker.pipes import take_over
from regcore.worker.server import serve

HELP = "register on request, JSON lines in and out, networks kept warm; what the Slicer module runs"


def parser() -> ArgumentParser:
    """Describe the command line."""
    return ArgumentParser(
        description="Register volumes on request until standard input ends. Each line in and out is a JSON object: "
        "register, cancel, ping and shutdown come in; hello, progress, result, error and pong go out. Volumes are .npy "
        "files in a folder that the request names. One registration at a time; networks stay loaded between them. "
        "`python -m regcore.worker` is the same without the packages of the command line."
    )


def run(_: Namespace) -> None:
    """Do it; returns only by ending the process."""
    sys.exit(serve(*take_over()))
