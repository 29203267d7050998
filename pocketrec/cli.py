"""The command line: one verb per file of `pocketrec.commands`, errors as one line and an exit code.

The verbs' modules import what is heavy inside their functions, so that help answers at once.
"""

import logging
import os
import sys
from collections.abc import Sequence

import click
import typer

from contracts.errors import InputError, PocketrecError
from pocketrec.commands.build import build
from pocketrec.commands.compress import compress
from pocketrec.commands.demo import demo
from pocketrec.commands.evaluate import evaluate
from pocketrec.commands.export import export
from pocketrec.commands.federate import federate
from pocketrec.commands.init import init
from pocketrec.commands.prepare import prepare
from pocketrec.commands.privacy import privacy
from pocketrec.commands.publish import publish
from pocketrec.commands.replay import replay
from pocketrec.commands.serve import serve
from pocketrec.commands.simulate import simulate
from pocketrec.commands.train import train
from pocketrec.commands.tune import tune
from pocketrec.commands.verify import verify
from pocketrec.output import emit

INTERRUPTED = 130  # what shells call a process that Control-C ended

app = typer.Typer(
    name="pocketrec",
    help="Recommenders that live on a phone: train, compress, export, sync and federate.",
    add_completion=False,
    no_args_is_help=True,
    suggest_commands=False,  # click names the nearest verb already
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
VERBS = (
    *(init, prepare, tune, train, compress, export, build, evaluate),
    *(verify, publish, serve, replay, simulate, federate, privacy, demo),
)
for verb in VERBS:
    app.command()(verb)


def run(arguments: Sequence[str]) -> int:
    """Run one command line and return its exit code.

    0: it did what it says. 1: it ran and what it checked does not hold. 2: it was given something it cannot use.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # TensorFlow tells of every conversion on standard error,
    logging.getLogger("tensorflow").setLevel(logging.ERROR)  # in two ways
    try:
        return app(args=list(arguments), standalone_mode=False) or 0
    except click.exceptions.NoArgsIsHelpError as usage:
        usage.show()
        return InputError.exit_code
    except PocketrecError as error:
        return _fail(str(error), error.exit_code, arguments)
    except click.ClickException as error:
        return _fail(error.format_message(), InputError.exit_code, arguments)
    except (KeyboardInterrupt, click.Abort):
        return _fail("interrupted; finished steps are kept", INTERRUPTED, arguments)


def _fail(message: str, exit_code: int, arguments: Sequence[str]) -> int:
    line = " ".join(message.split())
    print(f"pocketrec: {line}", file=sys.stderr)
    if "--json" in arguments:
        emit({"error": line}, as_json=True)
    return exit_code


def main() -> None:
    sys.exit(run(sys.argv[1:]))
