"""i-PI's `<ffcommittee>`: what its sockets have to send, and what it does otherwise than it reads.

It averages the forcefields inside it. With `<parse_json> True` one of them may be a committee of
its own: i-PI takes `committee_pot`, `committee_force` and `committee_virial` out of its extras.
Without the forces of members it has no weighted baseline, and it fails beside other members.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET
from typing import Any

import numpy as np

from pimd.potentials.registry import Spec
from pimd.structure import PotentialError

__all__ = ["committee_warnings", "spec_in_committee"]

MEMBER_FORCES = "member_forces"


def spec_in_committee(spec: Spec, committee: ET.Element | None) -> Spec:
    """The SPEC of a socket, with forces of members switched on where its committee reads them.

    Args:
        spec: as the user gave it; `member_forces: false` in it stands where i-PI can do without.
        committee: the `<ffcommittee>` around the socket; None: there is none.

    Raises:
        PotentialError: i-PI would fail without the forces that the SPEC switches off.
    """
    if committee is None or _text(committee, "parse_json").lower() != "true":
        return spec
    if MEMBER_FORCES not in spec.options:
        return Spec(spec.potential, {**spec.options, MEMBER_FORCES: True})
    if spec.options[MEMBER_FORCES]:
        return spec
    name = committee.get("name", "").strip()
    if _text(committee, "baseline_name"):
        why = "its weighted baseline needs the forces of every member"
    elif sum(child.tag.startswith("ff") for child in committee) > 1:
        why = "beside other forcefields it needs the forces of every member"
    else:
        return spec
    raise PotentialError(
        f"{MEMBER_FORCES} is false inside <ffcommittee name='{name}'>, but {why}: leave it out"
    )


def committee_warnings(simulation: Any, names: Any) -> list[str]:
    """What a careful reader of the input would say of its committees.

    Args:
        simulation: i-PI's, parsed.
        names: of the forcefields to look at.
    """
    from ipi.engine.forcefields import FFCommittee

    found = []
    for name in names:
        forcefield = simulation.fflist.get(name)
        if isinstance(forcefield, FFCommittee):
            found += [f"<ffcommittee name='{name}'>: {text}" for text in _warnings(forcefield)]
    return found


def _warnings(committee: Any) -> list[str]:
    texts = []
    weights = np.asarray(committee.ffweights, dtype=float)
    if (weights != 1.0).any():
        texts.append(
            "i-PI ignores its <weights>, and samples the plain mean of the members; a member that "
            "should count twice has to be there twice"
        )
    members = [ff for ff in committee.fflist if ff.name != committee.baseline_name]
    if len(members) == 1 and not committee.parse_json:
        texts.append(
            "it has one member, so no spread; if that is a committee itself, say "
            "<parse_json> True </parse_json>"
        )
    scaled = [ff.name for ff in members if _alpha(ff) != 1.0]
    if committee.parse_json and scaled and committee.alpha != 1.0:
        texts.append(
            f"its alpha, {committee.alpha:g}, scales once more the members of {scaled[0]}, which "
            "come scaled by the alpha of their own"
        )
    return texts


def _alpha(forcefield: Any) -> float:
    """The calibration in the SPEC of a socket; 1 where it says none."""
    try:
        return float((forcefield.pars or {}).get("alpha", 1.0))
    except (TypeError, ValueError):
        return 1.0


def _text(element: ET.Element, tag: str) -> str:
    child = element.find(tag)
    return "" if child is None else (child.text or "").strip()
