"""The command: `python -m simulator.samples --count N --seed S --to DIR [--kinds finvoice,ubl,zip]`."""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from simulator.samples import KINDS, write

USAGE_ERROR = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Write samples and say how many; gives the exit status."""
    parser = argparse.ArgumentParser(prog="simulator.samples", description="Write sample invoices.")
    parser.add_argument("--count", type=int, required=True, metavar="N")
    parser.add_argument("--seed", type=int, default=1, metavar="S")
    parser.add_argument("--to", type=Path, required=True, metavar="DIR")
    parser.add_argument("--kinds", default=",".join(KINDS), help="comma separated; default %(default)s")
    options = parser.parse_args(arguments)
    try:
        kinds = [kind.strip() for kind in options.kinds.split(",") if kind.strip()]
        paths = write(options.to, count=options.count, seed=options.seed, kinds=kinds)
    except (ValueError, OSError) as exc:
        sys.stderr.write(f"simulator.samples: {exc}\n")
        return USAGE_ERROR
    sys.stdout.write(json.dumps({"event": "samples_written", "count": len(paths), "to": str(options.to)}) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
