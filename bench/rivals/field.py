"""Who is measured beside us: by what command each works, and how many invoices suit its speed."""

import sys
from dataclasses import dataclass
from importlib.util import find_spec

AT_ONCE = 100
PYTHON = sys.executable
_CELERY = (PYTHON, "-m", "celery", "-A", "bench.rivals.with_celery", "worker", "--loglevel", "WARNING")


@dataclass(frozen=True, kw_only=True)
class Rival:
    """One way of sending."""

    name: str
    module: str
    """In this package."""
    workers: tuple[tuple[str, ...], ...]
    """The commands that do the work, one process family each."""
    invoices: int
    """At most so many: some ten seconds of its work on two cores."""
    packages: tuple[str, ...]
    """As they are imported."""
    tutorial: bool = False
    """What the tutorials show: the slower one is what `times_tutorial` is measured by."""

    @property
    def is_installed(self) -> bool:
        """Tell whether it can be run here."""
        return all(find_spec(package) is not None for package in self.packages)


RIVALS = (
    Rival(
        name="celery-prefork-8",
        module="with_celery",
        workers=((*_CELERY, "-P", "prefork", "-c", "8"),),
        invoices=800,
        packages=("celery",),
        tutorial=True,
    ),
    Rival(
        name="celery-threads-50",
        module="with_celery",
        workers=((*_CELERY, "-P", "threads", "-c", "50"),),
        invoices=3000,
        packages=("celery",),
    ),
    Rival(
        name="dramatiq",
        module="with_dramatiq",
        workers=((PYTHON, "-m", "dramatiq", "bench.rivals.with_dramatiq", "-p", "2", "-t", "40"),),
        invoices=3000,
        packages=("dramatiq",),
    ),
    Rival(
        name="taskiq",
        module="with_taskiq",
        workers=((PYTHON, "-m", "taskiq", "worker", "bench.rivals.with_taskiq:broker", "-w", "2"),),
        invoices=3000,
        packages=("taskiq", "taskiq_redis"),
    ),
    Rival(
        name="arq",
        module="with_arq",
        workers=((PYTHON, "-m", "arq", "bench.rivals.with_arq.WorkerSettings"),) * 2,
        invoices=3000,
        packages=("arq",),
    ),
    Rival(
        name="procrastinate",
        module="with_procrastinate",
        workers=(
            (PYTHON, "-m", "procrastinate", "-a", "bench.rivals.with_procrastinate.app", "worker", "-c", str(AT_ONCE)),
        )
        * 2,
        invoices=2000,
        packages=("procrastinate",),
    ),
    Rival(
        name="dbos",
        module="with_dbos",
        workers=((PYTHON, "-m", "bench.rivals.with_dbos"),),
        invoices=1500,
        packages=("dbos",),
    ),
)
