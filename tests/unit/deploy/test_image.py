"""What deploy/Dockerfile and .dockerignore promise: locked, small in rights, and nothing private in a layer."""

import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
STAGES = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8").split("\nFROM ")[1:]
BUILD, FINAL = STAGES
IGNORED = [
    line for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] not in {"", "#"}
]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def test_both_stages_stand_on_the_base_that_is_asked_for() -> None:
    """The base image is an argument, one for both stages: the environment's interpreter is the base's."""
    assert all(stage.startswith("${BASE_IMAGE}") for stage in STAGES)


def test_packages_come_locked_and_hashed() -> None:
    """Nothing is installed that the lock does not name with a hash."""
    installs = [line for line in BUILD.splitlines() if "pip install" in line]

    assert len(installs) == 2
    assert "--require-hashes --only-binary :all: -r requirements.lock" in installs[0]
    assert "--no-deps --no-build-isolation ." in installs[1]


def test_final_stage_builds_and_installs_nothing() -> None:
    """No build tool runs in or reaches the final image; the environment has lost pip by then."""
    assert "pip" not in FINAL
    assert "apt-get" not in FINAL
    assert "uninstall --quiet --yes setuptools pip" in BUILD
    assert [line.split()[1] for line in FINAL.splitlines() if line.startswith("COPY")] == ["--from=build"]


def test_final_stage_runs_without_root() -> None:
    """The user is a number other than root's, the one the README names for the key's owner."""
    assert "\nUSER 10001:10001\n" in FINAL
    assert "10001:10001" in (ROOT / "deploy" / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("package", PROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"])
def test_image_holds_every_package_of_the_wheel(package: str) -> None:
    """No package of the product is missing from the image."""
    assert f"\nCOPY {package} {package}\n" in BUILD
    assert f"!{package}" in IGNORED


def test_image_says_the_version_of_the_product() -> None:
    """The label and the package agree."""
    assert f"\nARG VERSION={PROJECT['project']['version']}\n" in FINAL


def test_only_what_is_named_goes_to_the_engine() -> None:
    """All is ignored that is not named, and keys and environment files even within what is named."""
    exceptions = [line for line in IGNORED if line.startswith("!")]

    assert IGNORED[0] == "*"
    assert {"**/.env", "**/*.env", "**/*.key"} <= set(IGNORED[IGNORED.index(exceptions[-1]) :])
    assert not {"!.git", "!.postiljon", "!tests", "!deploy"} & set(exceptions)


def test_no_certificate_or_registry_is_committed() -> None:
    """Authorities and indexes come as arguments, with no value of anybody's machine."""
    assert "\nARG PIP_CERT\n" in BUILD
    assert "index-url" not in "".join(STAGES).lower()
