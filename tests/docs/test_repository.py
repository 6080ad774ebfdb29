"""What is tracked runs anywhere: no address of a package registry, no path of one machine, no secret."""

import re
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
REGISTRY = re.compile(
    r"https?://[^\s\"']*(?:pypi|pythonhosted|npmjs|yarnpkg|artifactory|nexus|/simple/)", re.IGNORECASE
)
MACHINE = re.compile(r"(?<![\w.])/(?:home|Users|work|root)/[\w.-]+|file://")
PIN = re.compile(r"^[a-z0-9][a-z0-9-]*(\[[a-z0-9,-]+\])?==[^\s;]+( ; [^\\]+)? \\$")
PINNED = re.compile(r"^([a-z0-9][^ ;]*==[^ ;]+)", re.MULTILINE)
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$")


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        pytest.skip("NOT TESTED: this is no git checkout")
    return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]


def offences(pattern: re.Pattern[str]) -> list[str]:
    found = []
    for file in tracked():
        if file == Path(__file__):
            continue
        for number, line in enumerate(file.read_text(encoding="utf-8", errors="replace").splitlines(), start=1):
            if pattern.search(line):
                found.append(f"{file.relative_to(ROOT)}:{number}: {line.strip()[:120]}")
    return found


def test_no_file_names_a_package_registry() -> None:
    assert offences(REGISTRY) == []


def test_no_file_knows_one_machine() -> None:
    assert offences(MACHINE) == []


def test_no_file_is_a_secret_or_a_database() -> None:
    suffixes = {".secret", ".password", ".db", ".key", ".pem"}

    assert [file for file in tracked() if file.suffix in suffixes] == []


def test_every_pin_is_exact_and_hashed_and_has_no_address() -> None:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()

    assert [line for line in lines if not (PIN.match(line) or HASH.match(line))] == []
    pins = [number for number, line in enumerate(lines) if PIN.match(line)]
    assert [lines[number] for number in pins if not HASH.match(lines[number + 1])] == []
    assert len(pins) > 80


def test_a_newer_release_of_a_pinned_package_breaks_no_installation() -> None:
    """pip 23 tries the newest release of `coverage[toml]` first if only `coverage` is pinned, and refuses the file."""
    text = (ROOT / "constraints.txt").read_text(encoding="utf-8")
    pinned = {requirement.name: requirement.extras for requirement in map(Requirement, PINNED.findall(text))}
    wanted = [
        Requirement(line) for package in distributions() for line in package.requires or [] if "extra ==" not in line
    ]

    assert pinned["coverage"] == {"toml"}
    assert [str(w) for w in wanted if not w.extras <= pinned.get(canonicalize_name(w.name), w.extras)] == []


def test_what_ci_runs_can_be_run() -> None:
    script = ROOT / ".ci" / "run"

    assert script.stat().st_mode & 0o111
    assert "set -euo pipefail" in script.read_text()


def test_a_start_loads_no_printers_and_no_calendars() -> None:
    """They take 50 MiB; only who shows a slip or has holidays pays for them."""
    code = "import sys, bot.cli; print(sorted({'PIL', 'fpdf', 'fontTools', 'holidays', 'numpy'} & set(sys.modules)))"

    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"
