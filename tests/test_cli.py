"""The commands: each has help and an entry in the README; usage errors have status 2."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command
from typer.testing import CliRunner

from pimd.cli import app

README = Path(__file__).parents[1] / "README.md"
COMMANDS = sorted(get_command(app).commands)  # type: ignore[attr-defined]


def test_there_are_the_commands_we_promise() -> None:
    assert {"run", "check", "evaluate", "serve"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_has_help_and_stands_in_the_readme(command: str) -> None:
    result = CliRunner().invoke(app, [command, "--help"])
    assert result.exit_code == 0
    described = get_command(app).commands[command]  # type: ignore[attr-defined]
    assert described.help
    for parameter in described.params:
        assert getattr(parameter, "help", None), f"{command} {parameter.name} has no help"
    assert f"`pimd {command}" in README.read_text()


def test_version_names_what_takes_part() -> None:
    result = CliRunner().invoke(app, ["--version"])
    assert result.exit_code == 0
    for name in ("pimd", "ipi", "torch", "numpy"):
        assert f"{name} " in result.output


def test_wrong_usage_has_status_2() -> None:
    assert CliRunner().invoke(app, ["run"]).exit_code == 2
    assert CliRunner().invoke(app, ["nonsense"]).exit_code == 2


def test_serve_with_a_wrong_template_says_so(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pimd.cli", "serve", "--potential", "qtip4pf",
         "--connect", "unix:x", "--template", str(tmp_path / "none.xyz")],
        capture_output=True, text=True, timeout=60, check=False,
    )
    assert done.returncode == 2
    assert "no such file" in done.stdout


def test_the_process_that_runs_i_pi_needs_no_torch() -> None:
    code = "import sys, pimd.run.launch, pimd.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], timeout=60, check=False).returncode == 0
