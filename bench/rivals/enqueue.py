"""Asks a rival to send what standard input names: python -m bench.rivals.enqueue with_celery < paths"""

import importlib
import json
import resource
import sys
import time


def main() -> None:
    """Ask for all; one line of JSON when done, instants of the monotonic clock."""
    module = importlib.import_module(f"bench.rivals.{sys.argv[1]}")
    paths = [line.rstrip("\n") for line in sys.stdin]
    began, before = time.monotonic(), _cpu_seconds()
    module.enqueue(paths)
    last = time.monotonic()
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    cost = {"cpu_seconds": _cpu_seconds() - before, "peak_mib": peak_mib}
    print(json.dumps({"began": began, "first": began, "last": last, **cost}))


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
