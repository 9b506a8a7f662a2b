"""`make bench`: the small form of every benchmark, with what it ran on."""

import os
import platform
import subprocess
import sys
from importlib.metadata import version

BENCHES = ("bench.client_transports", "bench.chunks")
PACKAGES = ("celery", "httpx", "pyreqwest", "sqlalchemy", "psycopg")


def main() -> None:
    """Run each benchmark in a process of its own; stop at the first that fails."""
    print(f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(", ".join(f"{name} {version(name)}" for name in PACKAGES))
    for name in BENCHES:
        print(f"\n$ python -m {name}", flush=True)
        subprocess.run([sys.executable, "-m", name], check=True)


if __name__ == "__main__":
    main()
