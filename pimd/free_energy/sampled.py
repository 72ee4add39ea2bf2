"""What a run sampled, and whether it may be reweighted.

EXP, BAR and MBAR take their samples to come from exp(-beta_P (springs + sum_b U(q_b))), U one
function of the positions, at one temperature. Trajectories of which that is not true are refused:
those of thermostats that break detailed balance, of forces that are no derivative, of a
microcanonical ensemble, with a bias, or with a potential on fewer beads than there are.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from pimd.potentials.registry import DAEMON_OPTIONS, Spec, parse_spec

if TYPE_CHECKING:
    from pimd.ipi.force_terms import ForceTerms
    from pimd.record.run import Run

__all__ = [
    "Mixture", "NotCanonical", "check_canonical", "mixture_names", "mixture_of", "sampled_mixture",
]

COLOURED = ("gle", "nm_gle", "nm_gle_g")
NOT_OURS = tuple(option for option in DAEMON_OPTIONS if option not in ("pbc", "chunking"))
"""Options of the daemon alone."""
UNNAMED = (*DAEMON_OPTIONS, "device")
"""Options that do not change what energies a potential gives."""
STEADY = ("dynamics", "constrained_dynamics", "multi")
"""i-PI's motions that can sample a canonical ensemble."""


class NotCanonical(ValueError):
    """A trajectory is no sample of the ensemble that reweighting needs; says why."""


@dataclass(frozen=True)
class Mixture:
    """A sum of potentials, each with its weight: most often one with the weight 1.

    Attributes:
        terms: (SPEC, weight), in the order of the SPECs, without options that do not change the
            energies: equal mixtures are one state.
        evaluated_as: (n_terms,) SPECs as they were given, to evaluate with.
    """

    terms: tuple[tuple[str, float], ...]
    evaluated_as: tuple[str, ...] = field(compare=False, repr=False)

    def to_evaluate(self) -> Iterator[tuple[str, float]]:
        """SPEC as it was given, and weight, of each term."""
        for spec, (_, weight) in zip(self.evaluated_as, self.terms, strict=True):
            yield spec, weight


def mixture_of(weights: Mapping[str, float]) -> Mixture:
    """SPEC -> weight, brought into one form, so that equal potentials compare equal.

    Raises:
        PotentialError: a SPEC cannot be read.
        ValueError: nothing is left of it.
    """
    sums: dict[str, float] = {}
    given: dict[str, str] = {}
    for text, weight in weights.items():
        spec = parse_spec(text)
        plain = _without(Spec(spec.potential, dict(sorted(spec.options.items()))), UNNAMED)
        given.setdefault(plain, _without(spec, NOT_OURS))
        sums[plain] = sums.get(plain, 0.0) + float(weight)
    terms = tuple(sorted((spec, weight) for spec, weight in sums.items() if weight != 0.0))
    if not terms:
        raise ValueError("a potential whose terms all have weight 0")
    return Mixture(terms, tuple(given[spec] for spec, _ in terms))


def sampled_mixture(run: Run, potentials: Mapping[str, str] | None = None) -> Mixture:
    """The potential that a run moved on.

    Args:
        run: as stored.
        potentials: forcefield -> SPEC, where the run does not say it or says it wrongly; the name
            "" stands for the only one.

    Raises:
        ValueError: it is not known, or was evaluated on fewer beads than there are.
    """
    given = dict(potentials or {})
    specs = {name: given.get(name, spec) for name, spec in run.setup.forcefields.items()}
    terms = _force_terms(run)
    if terms is None and not specs and "" in given:  # a record alone
        specs = {"": given[""]}
    weights = dict.fromkeys(specs, 1.0) if terms is None else terms.weights
    if terms is None and len(specs) > 1:
        raise ValueError(
            f"{run.where}: it has the forcefields {', '.join(specs)}, but no input.xml that says "
            "with what weights they acted"
        )
    if terms is not None and set(terms.contracted) & set(weights):
        raise ValueError(
            f"{run.where}: {', '.join(terms.contracted)} acted on fewer beads than the others "
            "(ring-polymer contraction): its energy is no sum over the stored beads"
        )
    if len(weights) == 1 and given.get("") is not None:
        specs = dict.fromkeys(weights, given[""])
    unknown = [name for name in weights if not specs.get(name)]
    if unknown or not weights:
        raise ValueError(
            f"{run.where}: what served the forcefield {', '.join(unknown) or '(none)'} is not in "
            f"its input; say it with --potential {unknown[0] if unknown else 'NAME'}=SPEC"
        )
    sums: dict[str, float] = {}
    for name, weight in weights.items():
        sums[specs[name]] = sums.get(specs[name], 0.0) + weight
    return mixture_of(sums)


def check_canonical(run: Run, mixture: Mixture | None = None) -> None:
    """Nothing, where a run may be reweighted.

    Args:
        run: as stored.
        mixture: the potential it moved on, where that is known.

    Raises:
        NotCanonical: it may not.
    """
    reasons = list(_reasons(run, _force_terms(run), mixture))
    if reasons:
        raise NotCanonical(f"{run.where} cannot be reweighted: " + "; ".join(reasons))


def _reasons(run: Run, terms: ForceTerms | None, mixture: Mixture | None) -> Sequence[str]:
    setup, found = run.setup, []
    coloured = terms.coloured if terms is not None else tuple(
        mode for mode in setup.thermostats if mode in COLOURED
    )
    if coloured:
        found.append(
            f"its thermostat ({', '.join(dict.fromkeys(coloured))} with a matrix C, as of PIGLET "
            "and quantum thermostats) breaks detailed balance, so that its beads are not "
            "distributed as exp(-beta_P H); sample with pile_l, pile_g or nhc"
            if terms is not None
            else f"its thermostat is {', '.join(coloured)}, which may break detailed balance, and "
            "there is no input.xml to tell; sample with pile_l, pile_g or nhc"
        )
    if setup.dynamics not in STEADY:
        found.append(f"it is of <motion mode='{setup.dynamics}'>, which samples no ensemble")
    if setup.mode == "nve":
        found.append("it is microcanonical (nve); sample with a thermostat (nvt, npt)")
    if setup.mode.startswith("sc"):
        found.append(
            f"{setup.mode} samples the Suzuki-Chin density, in which beads count differently; "
            "sample with nvt or npt"
        )
    if setup.temperature is None:
        found.append("it has no temperature")
    if terms is not None and terms.biased:
        found.append("a <bias> acted on it, whose energy is not stored")
    for spec, _ in () if mixture is None else mixture.terms:
        if not parse_spec(spec).is_conservative:
            found.append(
                f"the forces of {spec} are no derivatives of its energy (non_conservative), so "
                "that no potential belongs to what was sampled; use conservative forces, "
                "or these for the inner steps of multiple time stepping alone"
            )
    return found


def _force_terms(run: Run) -> ForceTerms | None:
    """What the input says; None where there is none."""
    from pimd.ipi.force_terms import read_force_terms

    path = None if run.directory is None else Path(run.directory) / "input.xml"
    if path is None or not path.is_file():
        return None
    return read_force_terms(path, run.system)


def _without(spec: Spec, options: Sequence[str]) -> str:
    """A SPEC less some options, which stay in their order, as `pimd relabel` would have them."""
    kept = {key: value for key, value in spec.options.items() if key not in options}
    return str(Spec(spec.potential, kept))


def mixture_names(mixtures: Sequence[Mixture]) -> tuple[str, ...]:
    """Short names for tables and figures: of potentials, with the options in which they differ."""
    specs = {spec: parse_spec(spec) for mixture in mixtures for spec, _ in mixture.terms}
    names = {spec: _name(spec, specs) for spec in specs}
    return tuple(
        " + ".join(
            names[spec] if weight == 1.0 else f"{weight:g} {names[spec]}"
            for spec, weight in mixture.terms
        )
        for mixture in mixtures
    )


def _name(text: str, specs: Mapping[str, Spec]) -> str:
    own = specs[text]
    name = own.potential.rpartition(":")[2]  # the class of a potential of one's own
    alike = [spec.options for spec in specs.values() if spec.potential == own.potential]
    differ = [
        key for key, value in own.options.items() if any(o.get(key) != value for o in alike)
    ]
    if "model" in own.options and "model" not in differ:
        differ.append("model")
    for key in differ:
        value = own.options[key]
        shown = f"{value:.6g}" if isinstance(value, float) else Path(str(value)).name
        name += f" {shown}" if key == "model" else f" {key} {shown}"
    return name
