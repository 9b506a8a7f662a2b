"""The console script `postiljon`: the command line of the pipeline with Celery's bell."""

from pipeline.cli.main import build_cli


def main() -> None:
    """Run the command line."""
    build_cli(_ring)()


def _ring() -> None:
    # Imported when first rung: most commands never need Celery, and it is the slowest import of all.
    from workers.bell import ring  # noqa: PLC0415

    ring()


if __name__ == "__main__":
    main()
