"""Which potential serves a simulation: the one given, or the one its server names in INIT.

The loop asks at every INIT and gets a `Caller`, or one that loads its potential with its first
round, so that the handshake is answered at once. Each distinct SPEC has one evaluator.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path

from pimd.daemon.budget import Budget
from pimd.daemon.calls import Answer, Caller, EvaluationError
from pimd.daemon.rounds import Request
from pimd.daemon.simulation import Simulation
from pimd.daemon.trust import NotTrusted, spec_of_parameters, trusted
from pimd.evaluator import Evaluator
from pimd.potentials.base import Wanted
from pimd.potentials.registry import DAEMON_OPTIONS, Spec
from pimd.structure import PotentialError

__all__ = ["AnyCaller", "GivenModel", "LoadingFailed", "Models", "NamedModels"]

MOST_MODELS = 8
"""Potentials that servers may have one daemon load."""


class LoadingFailed(EvaluationError):
    """A potential could not be loaded; `__cause__` is why."""

    def __init__(self) -> None:
        super().__init__(None)


class LaterCaller:
    """A caller whose potential is loaded with its first round.

    Args:
        spec: what to load; it has been judged.
        budget: clocks of the loop.
    """

    def __init__(self, spec: Spec, budget: Budget) -> None:
        self.spec, self._budget = spec, budget
        self.loaded: Caller | None = None

    def evaluate(self, requests: Sequence[Request]) -> Answer:
        """As `Caller.evaluate`.

        Raises:
            LoadingFailed: the potential could not be loaded.
            EvaluationError: the round could not be evaluated.
        """
        if self.loaded is None:
            try:
                self.loaded = self._load()
            except Exception as error:
                raise LoadingFailed from error
        return self.loaded.evaluate(requests)

    @property
    def evaluator(self) -> Evaluator:
        """That of the potential, once it is loaded."""
        assert self.loaded is not None
        return self.loaded.evaluator

    @property
    def wanted(self) -> Wanted:
        """What a round asks of the potential, once it is loaded."""
        assert self.loaded is not None
        return self.loaded.wanted

    def _load(self) -> Caller:
        from pimd.daemon.child import make_evaluator, property_names, sends_member_forces

        evaluator = make_evaluator(self.spec, budget=self._budget)
        return Caller(evaluator, property_names(self.spec), sends_member_forces(self.spec))


AnyCaller = Caller | LaterCaller


class Models(ABC):
    """Who evaluates what.

    Attributes:
        budget: clocks that all of them book to.
    """

    budget: Budget

    @abstractmethod
    def assign(self, simulation: Simulation, parameters: str) -> str:
        """Set the caller and the template of a simulation whose server has sent INIT.

        Args:
            simulation: of the server.
            parameters: the text of its INIT.

        Returns:
            What there is to say to the user, or ''.

        Raises:
            PotentialError: the server names nothing that can be used, or (NotTrusted) what may
                not be loaded.
        """

    @property
    @abstractmethod
    def n_splits(self) -> int:
        """How often a batch was split for lack of memory."""

    @abstractmethod
    def close(self) -> None:
        """Give back what the potentials loaded here hold."""


class GivenModel(Models):
    """One potential for all, whatever the servers say.

    Args:
        caller: evaluates.
        spec: what the user named, to tell him where an input names something else; None: he
            knows.
    """

    def __init__(self, caller: Caller, spec: Spec | None = None) -> None:
        self.caller, self.spec = caller, spec
        self.budget = caller.evaluator.budget
        self._told: set[Simulation] = set()

    def assign(self, simulation: Simulation, parameters: str) -> str:
        simulation.caller = self.caller
        if self.spec is None or simulation in self._told:
            return ""
        try:
            named = spec_of_parameters(parameters)
        except NotTrusted:
            return ""
        if named is None or _same(named, self.spec):
            return ""
        self._told.add(simulation)
        return f"the input names {named}, which is left aside: {self.spec} was given and serves"

    @property
    def n_splits(self) -> int:
        return self.caller.evaluator.n_splits

    def close(self) -> None:
        pass  # whoever made the evaluator closes its potential


class NamedModels(Models):
    """The potentials that servers name, as far as they may be loaded.

    Args:
        allowed: folders that files may be in; see `pimd.daemon.trust`.
        folder: what relative names are relative to.
    """

    def __init__(self, allowed: Sequence[Path], folder: Path) -> None:
        self.allowed, self.folder = list(allowed), folder
        self.budget = Budget()
        self._callers: dict[str, LaterCaller] = {}

    def assign(self, simulation: Simulation, parameters: str) -> str:
        named = spec_of_parameters(parameters)
        if named is None:
            raise PotentialError(
                "the server names no potential: give one with --potential, or in the input as "
                "<parameters> {potential: qtip4pf} </parameters>"
            )
        spec = trusted(named, self.allowed, self.folder)
        pbc = spec.options.pop("pbc", None)
        key = str(spec)
        if key not in self._callers:
            if len(self._callers) >= MOST_MODELS:
                raise PotentialError(
                    f"servers have named {MOST_MODELS} different potentials already: start "
                    "another daemon for more"
                )
            self._callers[key] = LaterCaller(spec, self.budget)
        simulation.use_periodicity(pbc)
        simulation.caller = self._callers[key]
        return f"served with {named}, which its input names"

    @property
    def n_splits(self) -> int:
        return sum(e.n_splits for e in self._evaluators())

    def close(self) -> None:
        for evaluator in self._evaluators():
            evaluator.potential.close()

    def _evaluators(self) -> list[Evaluator]:
        return [c.loaded.evaluator for c in self._callers.values() if c.loaded is not None]


def _same(one: Spec, other: Spec) -> bool:
    """Whether two SPECs name the same potential, file names compared by their last part."""

    def essence(spec: Spec) -> str:
        left = {k: v for k, v in sorted(spec.options.items()) if k not in DAEMON_OPTIONS}
        text = str(Spec(spec.potential, left))
        for file in sorted(spec.files(), key=len, reverse=True):
            text = text.replace(file, Path(file).name)
        return text

    return essence(one) == essence(other)
