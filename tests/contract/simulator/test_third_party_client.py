"""The simulator measured by a client that nobody here wrote."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

CLIENT = Path(__file__).resolve().parents[4] / "shared" / "maventa" / "third-party-client"
CHECKS = 13


@pytest.fixture
def client(tmp_path):
    """The client, installed from the package registry into a folder of this test."""
    if not CLIENT.is_dir():
        pytest.fail(f"{CLIENT} is missing: the simulator cannot be measured by the third-party client")
    if shutil.which("npm") is None or shutil.which("node") is None:
        message = "npm and node are needed for the third-party client; THE SIMULATOR WAS NOT MEASURED BY IT"
        if os.environ.get("REQUIRE_NODE") == "1":
            pytest.fail(message)
        pytest.skip(message)
    folder = tmp_path / "client"
    folder.mkdir()
    for path in CLIENT.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    install = ["npm", "install", "--ignore-scripts", "--no-audit", "--no-fund"]
    done = subprocess.run(install, cwd=folder, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    return folder


def test_third_party_client_holds(start, specification, client):
    """All 13 checks of the third-party client hold, and every answer it got is within the specification."""
    operator = start("--validate", str(specification))

    done = subprocess.run(
        ["node", "check.js"],
        cwd=client,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "MAVENTA_BASE_URL": operator.url},
    )

    held = [line for line in done.stdout.splitlines() if line.startswith("ok ")]
    assert (done.returncode, len(held)) == (0, CHECKS), done.stdout + done.stderr
    found = operator.control("GET", "violations")
    assert found["answers"] == []
    assert found["checked"]["answers"] > CHECKS
