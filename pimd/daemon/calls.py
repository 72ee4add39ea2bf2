"""From requests to answers: one call of the potential, here or in a thread."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from pimd.daemon.extras import ExtrasWriter, wanted_for
from pimd.daemon.rounds import Request, Round, RoundBuilder
from pimd.evaluator import Evaluated, Evaluator

__all__ = ["Answer", "Caller", "EvaluationError"]


@dataclass(frozen=True)
class Answer:
    """What came out of one round.

    Attributes:
        round: what was evaluated.
        evaluated: numbers for its batch.
        extras: a text per structure of the batch, or None.
        seconds: from requests to numbers.
    """

    round: Round
    evaluated: Evaluated
    extras: list[bytes] | None
    seconds: float


class EvaluationError(RuntimeError):
    """A round could not be evaluated; `__cause__` is why.

    Attributes:
        round: None where it could not even be laid out.
    """

    def __init__(self, round_: Round | None) -> None:
        super().__init__("the round could not be evaluated")
        self.round = round_


class Caller:
    """Evaluates requests with one evaluator.

    Args:
        evaluator: its budget is booked to, so one round at a time.
        properties: to be sent as extras; see `pimd.daemon.extras`.
        member_forces: whether those of committee members are sent, with their virials.

    Raises:
        PotentialError: a property the potential does not give.
    """

    def __init__(
        self, evaluator: Evaluator, properties: Sequence[str] = (), member_forces: bool = False
    ) -> None:
        self.evaluator = evaluator
        self._extras = ExtrasWriter(evaluator.potential, properties, member_forces)
        self.wanted = wanted_for(evaluator.potential, properties, member_forces)
        self._builder = RoundBuilder(evaluator.potential.dtype, evaluator.potential.device)

    def evaluate(self, requests: Sequence[Request]) -> Answer:
        """One round of all the requests.

        Raises:
            EvaluationError: from what the builder, the evaluator or the extras raised.
        """
        started = time.perf_counter()
        built: Round | None = None
        try:
            with self.evaluator.budget.stage("copies"):
                built = self._builder.build(requests)
            evaluated = self.evaluator.evaluate(built.batch, self.wanted)
            extras = self._extras.write(evaluated, built.starts)
        except Exception as error:
            raise EvaluationError(built) from error
        return Answer(built, evaluated, extras, time.perf_counter() - started)
