"""`make bench`: the small form of every measurement, a few minutes; `--full` is what bench/README.md shows.

Each is `postiljon bench NAME` in a process of its own. Run: python -m bench [--full] [--save] [--only NAME]
"""

import argparse
import subprocess
import sys
import time

SMALL = {
    "end-to-end": ("--invoices", "2000", "--rival-invoices", "150"),
    "transports": ("--invoices", "500"),
    "chunks": ("--invoices", "300", "--value", "1", "--value", "100"),
    "one": ("--invoices", "15", "--load-per-second", "50"),
    "status": ("--invoices", "1000"),
    "submit": ("--invoices", "3000"),
}
"""Recovery waits for a lease to be over and is in the full form alone, as are the settings' other values."""
FULL: dict[str, tuple[str, ...]] = {
    "end-to-end": (),
    "transports": (),
    "chunks": (),
    "concurrency": (),
    "processes": (),
    "one": (),
    "status": (),
    "recovery": ("--invoices", "20000"),
    "submit": (),
    "memory": (),
    "growth": ("--sizes", "1e4,1e5,1e6,1e7", "--stream", "120"),
    "broker": ("--backlog", "1e6", "--hours", "1"),
}
POSTILJON = (sys.executable, "-m", "workers.console")


def main() -> int:
    """Run each; go on after one that fails, and tell so at the end."""
    parser = argparse.ArgumentParser(prog="bench", description=__doc__)
    parser.add_argument("--full", action="store_true", help="as large as the page's figures; an hour or so")
    parser.add_argument("--save", action="store_true", help="keep the results and write the page anew")
    parser.add_argument("--only", action="append", choices=sorted(FULL), help="repeatable")
    chosen = parser.parse_args()
    forms = FULL if chosen.full else SMALL
    broken = []
    for name in chosen.only or forms:
        command = ("bench", name, *(forms.get(name) or ()), *(["--save"] if chosen.save else []))
        print(f"\n$ postiljon {' '.join(command)}", flush=True)
        began = time.monotonic()
        if subprocess.run([*POSTILJON, *command], check=False).returncode:
            broken.append(name)
        sys.stderr.write(f"({time.monotonic() - began:.0f} s)\n")
    if chosen.save:
        subprocess.run([sys.executable, "-m", "bench.page"], check=True)
    if broken:
        sys.stderr.write(f"not measured: {', '.join(broken)}\n")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
