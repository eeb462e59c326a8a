"""The command line: the group of commands, and what becomes of errors."""

import gc
import os
import sys

import click

from clusterkit import __version__
from clusterkit.commands.assign_command import assign
from clusterkit.commands.audit_command import audit
from clusterkit.commands.certify_command import certify
from clusterkit.commands.demo_command import demo
from clusterkit.commands.doctor_command import doctor
from clusterkit.commands.embed_command import embed
from clusterkit.commands.exit_codes import STOPPED, exit_code_of, line_of
from clusterkit.commands.export_command import export
from clusterkit.commands.fit_command import fit
from clusterkit.commands.inspect_command import inspect
from clusterkit.commands.review_command import review
from clusterkit.commands.several_processes import may_speak
from clusterkit.commands.similar_command import similar
from clusterkit.errors import ClusterkitError
from clusterkit.launched import launched

# Commands that go on where they were stopped.
RESUMED = ("fit", "assign")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__)
@click.pass_context
def cli(context: click.Context) -> None:
    """Label and cluster image datasets from a small labelled fraction, with evidence."""
    command, size = context.invoked_subcommand, launched().size
    if size > 1 and command != "fit":
        raise click.UsageError(f"{command} runs in one process, and a launcher started {size} "
                               "(WORLD_SIZE); only fit is divided among several, so call "
                               f"'clusterkit {command}' itself")  # fmt: skip


for _command in (
    fit, assign, certify, review, audit, similar, inspect, export, embed, doctor, demo,
):  # fmt: skip
    cli.add_command(_command)


def main() -> None:
    """Run the command line; the exit codes are those of `clusterkit.__main__`."""
    # Importing torch makes a million objects that stay: looking through them again and again for
    # cycles takes a fifth of the time until the first batch.
    gc.set_threshold(100_000, 20, 20)
    # Threads that spin while they wait for others take the processor from whoever works, where
    # OpenMP's are used at all (see `threads`): in fine-tuning. It reads this once, when torch is
    # imported; lower case, since in a Turkish locale an upper-case I is another letter.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    sys.exit(run_command(sys.argv[1:]))


def run_command(arguments: list[str]) -> int:
    """Run one command in this process; returns its exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            # What a terminal's encoding lacks, or a name that is no text, ends no command.
            stream.reconfigure(errors="backslashreplace")
    detailed = (
        sum(a.count("v") for a in arguments if a.startswith("-v")) + arguments.count("--verbose")
        > 1
    )
    try:
        cli(arguments, standalone_mode=False, prog_name="clusterkit", obj=arguments)
    except (click.exceptions.Abort, KeyboardInterrupt) as error:
        code = exit_code_of(error)
        named = next((a for a in arguments if a in cli.commands), "")
        rest = f", and {named} goes on from what it had done" if named in RESUMED else ""
        if may_speak(error):
            click.echo(f"{STOPPED[code]}; give the same command again{rest}", err=True)
        return code
    except click.ClickException as error:
        if may_speak(error):
            error.show()
        return exit_code_of(error)
    except Exception as error:
        if detailed:
            raise
        where = "" if isinstance(error, ClusterkitError) else "; -v -v shows where"
        if may_speak(error):
            click.echo(f"error: {line_of(error)}{where}", err=True)
        return exit_code_of(error)
    return 0
