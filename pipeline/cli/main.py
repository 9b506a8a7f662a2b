"""Puts the command `postiljon` together. The bell comes from outside: this package knows no broker."""

import typer

from pipeline.cli.arm import arm
from pipeline.cli.batch import batch_app
from pipeline.cli.board import board
from pipeline.cli.cancel import cancel
from pipeline.cli.cases import cases_app
from pipeline.cli.chaos import chaos
from pipeline.cli.company import company_app
from pipeline.cli.company_keep import keep
from pipeline.cli.demo import demo
from pipeline.cli.doctor import doctor
from pipeline.cli.expunge import expunge_
from pipeline.cli.pace import lift, pace
from pipeline.cli.release import release
from pipeline.cli.retention import retention
from pipeline.cli.route import route_app
from pipeline.cli.send import build_send
from pipeline.cli.show import list_, show
from pipeline.cli.system import db_app, down, key_app, simulator, up
from pipeline.cli.webhooks import webhooks_app
from pipeline.services.ports import Bell

HELP = """Hands invoices to the e-invoicing operator Maventa exactly once, and follows them until delivered.

Exit status: 0 done; 1 something was refused or is not as it should be; 2 wrong usage or configuration;
3 a service cannot be reached, nothing was lost.
"""


def build_cli(bell: Bell) -> typer.Typer:
    """Return the command line, with a bell that tells the workers of new work."""
    cli = typer.Typer(
        name="postiljon",
        help=HELP,
        no_args_is_help=True,
        pretty_exceptions_show_locals=False,
        context_settings={"auto_envvar_prefix": "POSTILJON", "help_option_names": ["-h", "--help"]},
    )
    for name, command, example in (
        ("demo", demo, "postiljon demo --invoices 200 --faults everyday"),
        ("chaos", chaos, "postiljon chaos --invoices 3000 --companies 5 --plan storm --seed 7"),
        ("up", up, "postiljon up --simulator"),
        ("down", down, "postiljon down"),
        ("send", build_send(bell), "postiljon send invoices/ --company 'Myyjä Oy' --batch november"),
        ("show", show, "postiljon show 0b0f6a6e-3f0c-5b0a-8c43-2f0a7f0c1d2e"),
        ("list", list_, "postiljon list --state failed --json"),
        ("release", release, "postiljon release 0b0f6a6e-3f0c-5b0a-8c43-2f0a7f0c1d2e"),
        ("cancel", cancel, "postiljon cancel --batch november"),
        ("retention", retention, "postiljon retention --dry-run"),
        ("expunge", expunge_, "postiljon expunge --company 'Myyjä Oy' --customer 'Ostaja Oy'"),
        ("arm", arm, "postiljon arm"),
        ("simulator", simulator, "postiljon simulator --port 8099 --faults everyday --seed 7"),
        ("board", board, "postiljon board"),
        ("pace", pace, "postiljon pace"),
        ("lift", lift, "postiljon lift --company 'Myyjä Oy'"),
        ("doctor", doctor, "postiljon doctor"),
    ):
        cli.command(name, epilog=f"Example: {example}")(command)
    company_app.command("keep", epilog="Example: postiljon company keep 'Myyjä Oy' --delivered 24 --failed 84")(keep)
    cli.add_typer(company_app, name="company")
    cli.add_typer(batch_app, name="batch")
    cli.add_typer(cases_app, name="cases")
    cli.add_typer(route_app, name="route")
    cli.add_typer(webhooks_app, name="webhooks")
    cli.add_typer(db_app, name="db")
    cli.add_typer(key_app, name="key")
    return cli
