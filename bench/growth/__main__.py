"""The same as `postiljon bench growth`: python -m bench.growth --sizes 1e4,1e5 --json."""

import sys

from bench.command import bench_app

if __name__ == "__main__":
    bench_app(["growth", *sys.argv[1:]])
