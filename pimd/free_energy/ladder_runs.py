"""A ladder of runs on disk: written, run side by side on the same daemons, gone on with.

    LADDER/ladder.json    what it is: nodes, weights, masses or potentials
    LADDER/node-1.xml     an i-PI input, complete; it can be run by itself too
    LADDER/node-1.run     its run directory; node-1.log holds what it said
    LADDER/daemon.log

Running a ladder again goes on where it was left: nodes that are finished stay, others resume.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from pimd.claim import Claim
from pimd.free_energy.integration import Ladder, ladder, mass_change_factors
from pimd.free_energy.ladder_inputs import (
    check_ladder_input,
    mass_node,
    potential_node,
    split_specs,
)
from pimd.free_energy.substitution import read_substitution
from pimd.ipi.input import InputError, InputFile
from pimd.ipi.run_input import Atoms
from pimd.run.rundir import END_PATIENCE_S, RunDirectory
from pimd.run.together import Member, Options, run_together
from pimd.whole_file import write_text

__all__ = ["LadderRuns", "open_ladder", "run_ladder", "write_ladder"]

FILE = "ladder.json"
KINDS = ("quantum", "isotope", "potentials")


@dataclass(frozen=True)
class LadderRuns:
    """A ladder in a folder.

    Attributes:
        folder: where it lies.
        kind: `quantum` (classical to quantum nuclei), `isotope` or `potentials`.
        nodes: in (0, 1), ascending.
        input: what it was made of.
        labels: element label of each atom.
        n_beads: at every node.
        isotope: label of the element whose mass changes; empty where none does.
        alpha: new mass over old one of an isotope.
        specs: of the potentials at 0 and 1; empty: that of the input.
        total_steps: at every node.
    """

    folder: Path
    kind: str
    nodes: tuple[float, ...]
    input: str
    labels: tuple[str, ...]
    n_beads: int
    isotope: str = ""
    alpha: float = 1.0
    specs: tuple[str, str] = ("", "")
    total_steps: int = field(default=0, compare=False)

    @property
    def rungs(self) -> Ladder:
        return ladder(len(self.nodes))

    def node_input(self, number: int) -> Path:
        """XML of a node, from 1."""
        return self.folder / f"node-{number}.xml"

    def node_run(self, number: int) -> Path:
        """Run directory of a node, from 1."""
        return self.folder / f"node-{number}.run"

    def unfinished(self) -> list[int]:
        """Numbers of the nodes that are not at the end."""
        return [k for k in range(1, len(self.nodes) + 1) if not self._is_at_end(k)]

    def _is_at_end(self, number: int) -> bool:
        summary = RunDirectory(self.node_run(number)).read_summary()
        return (
            summary is not None
            and summary.get("exit_reason") == "finished"
            and int(summary.get("last_step", 0)) >= self.total_steps
        )


def write_ladder(
    document: InputFile,
    folder: Path,
    n_nodes: int,
    *,
    isotope: str = "",
    between: str = "",
) -> LadderRuns:
    """Write the inputs of a ladder, or find them written.

    Args:
        document: the input, its potentials assigned.
        folder: of the ladder; made.
        n_nodes: Gauss-Legendre nodes.
        isotope: `H=2.014` or `H=D`: from the isotope of the input to that one.
        between: `SPEC0,SPEC1`, or `SPEC1`: between two potentials. Neither: classical to quantum.

    Raises:
        InputError: an input of which no ladder can be made, or a folder that holds another one.
    """
    if isotope and between:
        raise InputError("--substitute and --between are two ladders: choose one")
    atoms = check_ladder_input(document)
    rungs = ladder(n_nodes)
    runs = LadderRuns(
        Path(folder).resolve(),
        "isotope" if isotope else "potentials" if between else "quantum",
        tuple(float(node) for node in rungs.nodes), str(document.path.resolve()),
        tuple(atoms.labels), atoms.n_beads, total_steps=document.total_steps,
    )
    if between:
        runs, texts = _potential_nodes(runs, document, between)
    else:
        document.check_served()
        runs, texts = _mass_nodes(runs, document, atoms, isotope)
    _write(runs, texts)
    return runs


def open_ladder(folder: Path) -> LadderRuns:
    """A ladder that was written.

    Raises:
        InputError: there is none.
    """
    path = Path(folder) / FILE
    try:
        given = json.loads(path.read_text())
        for name in ("nodes", "labels", "specs"):
            given[name] = tuple(given[name])
        return LadderRuns(folder=Path(folder).resolve(), **given)
    except FileNotFoundError:
        raise InputError(
            f"{folder} holds no ladder ({FILE}): give the XML input that it is to be made of"
        ) from None
    except (json.JSONDecodeError, TypeError, KeyError) as error:
        raise InputError(f"{path} cannot be read: {error}") from error


def run_ladder(
    runs: LadderRuns, say: Callable[[str], None], options: Options | None = None
) -> None:
    """Run the nodes that are not finished, all at once, on the same daemons.

    Raises:
        InputError: a node did not get to its end, and can be gone on with; or another process is
            running this ladder.
        DaemonFailure: a run or a daemon could not begin.
    """
    with Claim(runs.folder, InputError, f"{runs.folder}: its runs go on here", END_PATIENCE_S):
        _run_nodes(runs, say, options)


def _run_nodes(
    runs: LadderRuns, say: Callable[[str], None], options: Options | None
) -> None:
    todo = runs.unfinished()
    if not todo:
        say(f"all {len(runs.nodes)} nodes are at step {runs.total_steps} already")
        return
    members = []
    for number in todo:
        directory = RunDirectory(runs.node_run(number))
        resume = directory.is_used() and not directory.never_began() and _has_checkpoint(directory)
        if directory.is_used() and not resume:
            directory.start_new(aside=True)
        members.append(Member(
            f"node-{number}", runs.node_input(number), directory.path, resume, runs.total_steps
        ))
    ended = run_together(members, runs.folder, say, options)
    bad = {name: end for name, end in ended.items() if end.reason != "finished"}
    if bad:
        name, end = next(iter(bad.items()))
        raise InputError(
            f"{len(bad)} of {len(ended)} nodes did not get to step {runs.total_steps}; {name} "
            f"stands at step {end.last_step}: {end.message}. The same command goes on from there"
        )


def _has_checkpoint(directory: RunDirectory) -> bool:
    from pimd.run.checkpoints import latest_checkpoint
    from pimd.run.rundir import RunDirectoryError

    try:
        latest_checkpoint(directory)
    except RunDirectoryError:
        return False
    return True


def _mass_nodes(
    runs: LadderRuns, document: InputFile, atoms: Atoms, isotope: str
) -> tuple[LadderRuns, list[str]]:
    if isotope:
        found = read_substitution(isotope, atoms.labels, atoms.masses)
        runs = replace(runs, isotope=found.label, alpha=found.alpha)
        factors: list[Mapping[str, float]] = [
            {found.label: float(factor)}
            for factor in mass_change_factors(runs.rungs, found.alpha)
        ]
    else:
        labels = set(atoms.labels)
        factors = [dict.fromkeys(labels, float(f)) for f in runs.rungs.mass_factors]
    return runs, [
        mass_node(document, atoms, factor, number) for number, factor in enumerate(factors, 1)
    ]


def _potential_nodes(
    runs: LadderRuns, document: InputFile, between: str
) -> tuple[LadderRuns, list[str]]:
    specs = split_specs(between)
    if specs[0] is None:
        document.check_served()
    named = (str(specs[0] or document.sockets[0].spec), str(specs[1]))
    texts = [
        potential_node(document, specs, node, number)
        for number, node in enumerate(runs.nodes, 1)
    ]
    return replace(runs, specs=named), texts


def _write(runs: LadderRuns, texts: list[str]) -> None:
    """Write what is not there, and refuse where something else is."""
    runs.folder.mkdir(parents=True, exist_ok=True)
    if (runs.folder / FILE).exists():
        there = [
            path.read_text() if (path := runs.node_input(k)).is_file() else ""
            for k in range(1, len(texts) + 1)
        ]
        before = open_ladder(runs.folder)
        if before != runs or [_timeless(t) for t in there] != [_timeless(t) for t in texts]:
            raise InputError(
                f"{runs.folder} holds a ladder of another kind, or of another input; nothing was "
                "touched. Choose another folder with --out, or remove it"
            )
    elif any(runs.folder.iterdir()):
        raise InputError(f"{runs.folder} exists and holds no ladder: choose another --out")
    for number, text in enumerate(texts, 1):
        write_text(runs.node_input(number), text)
    given = asdict(runs)
    del given["folder"]
    write_text(runs.folder / FILE, json.dumps(given, indent=1) + "\n")


def _timeless(text: str) -> str:
    """An input without how long it runs: a ladder can be made longer."""
    return re.sub(r"\s*<total_steps>.*?</total_steps>", "", text)
