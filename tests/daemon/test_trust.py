"""What a server may have the daemon load: nothing but what lies in folders the user allowed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from pimd.daemon.trust import NotTrusted, allowed_folders, spec_of_parameters, trusted
from pimd.potentials.registry import POTENTIALS, Spec, parse_spec
from pimd.structure import PotentialError


class Place:
    """An allowed folder beside what must not be loaded, and links between them.

        allowed/inside.model  allowed/own.py  allowed/deep/deeper.npz
        allowed/out.model -> outside/secret.model     allowed/away -> outside
        outside/secret.model  outside/evil.py  outside/in.model -> allowed/inside.model
        allowed-not/near.model
    """

    def __init__(self, root: Path) -> None:
        self.root, self.allowed, self.outside = root, root / "allowed", root / "outside"
        for name in ("allowed/inside.model", "allowed/own.py", "allowed/deep/deeper.npz",
                     "outside/secret.model", "outside/evil.py", "allowed-not/near.model"):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_text("")
        (self.allowed / "out.model").symlink_to(self.outside / "secret.model")
        (self.allowed / "away").symlink_to(self.outside)
        (self.outside / "in.model").symlink_to(self.allowed / "inside.model")
        (self.allowed / "loop.model").symlink_to(self.allowed / "loop.model")
        os.mkfifo(self.allowed / "pipe.model")

    def judge(self, text: str, *more: Path) -> Spec:
        return trusted(parse_spec(text), [self.allowed, *more], self.root)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("trust").resolve())


@pytest.mark.parametrize("text", [
    "qtip4pf", "{potential: harmonic, k: 2.0, device: cpu}", "behler_parrinello",
    "{potential: committee, members: [harmonic; (potential: harmonic; k: 2)], baseline: qtip4pf}",
    "{potential: qtip4pf, properties: [dipole], pbc: [true; true; false], skin: 1.5}",
])  # fmt: skip
def test_built_in_potentials_without_files_are_accepted(place: Place, text: str) -> None:
    found = trusted(parse_spec(text), [], place.root)
    assert found.potential == parse_spec(text).potential
    assert found.files() == []


@pytest.mark.parametrize("name", [
    "allowed/inside.model", "allowed/deep/../inside.model", "./allowed//inside.model",
    "outside/../allowed/inside.model", "outside/in.model", "{root}/allowed/inside.model",
])  # fmt: skip
def test_files_that_really_are_in_an_allowed_folder_are_accepted(place: Place, name: str) -> None:
    name = name.format(root=place.root)
    real = str(place.allowed / "inside.model")
    assert place.judge(name) == Spec("mace", {"model": real})
    nested = place.judge(f"{{potential: committee, members: [{name}; harmonic]}}")
    assert nested.options["members"][0] == {"potential": "mace", "model": real}
    assert nested.options["members"][1] == {"potential": "harmonic"}


@pytest.mark.parametrize("name", [
    "outside/secret.model", "allowed/out.model", "allowed/away/secret.model",
    "allowed/../outside/secret.model", "allowed-not/near.model",
    "allowed/nothing.model", "allowed/loop.model", "allowed/pipe.model", "~nobody/x.model",
    "/etc/passwd.model", "allowed/x\0y.model", "allowed/" + "x" * 5000 + ".model",
])  # fmt: skip
@pytest.mark.parametrize("where", [
    "{name}", "{{potential: mace, model: {name}}}", "{{potential: harmonic, template: {name}}}",
    "{{potential: committee, members: [allowed/inside.model; {name}]}}",
    "{{potential: committee, members: [(potential: nequip; model: {name})]}}",
    "{{potential: committee, members: [harmonic], baseline: (potential: mace; model: {name})}}",
    "{{potential: committee, members: (potential: committee; members: [{name}])}}",
    "{{potential: metatomic, model: allowed/inside.model, extensions: [{name}]}}",
    "{{potential: harmonic, unheard_of: {name}}}",
    "{{potential: harmonic, unheard_of: [(a: (b: {name}))]}}",
])  # fmt: skip
def test_other_files_are_refused_wherever_they_are_named(
    place: Place, name: str, where: str
) -> None:
    with pytest.raises(NotTrusted, match="server"):
        place.judge(where.format(name=name))


@pytest.mark.parametrize("text", [
    "os:system", "my_module:Net", "outside/evil.py:Net", "allowed/away/evil.py:Net",
    "{potential: ase, calculator: os.system}", "{potential: ase, calculator: ase.calculators.emt}",
    "{potential: committee, members: [harmonic; os:system]}",
    "{potential: committee, members: [harmonic], baseline: ase}",
    "{potential: committee, members: [(potential: ase; calculator: x.Y)]}",
    "{potential: committee, members: [harmonic], baseline: (potential: outside/evil.py:Net)}",
    "{potential: harmonic, other: (potential: ase; calculator: x.Y)}", "unheard_of",
])  # fmt: skip
def test_what_imports_by_name_is_refused(place: Place, text: str) -> None:
    with pytest.raises(NotTrusted):
        place.judge(text)


def test_a_class_in_an_allowed_file_is_accepted_with_allowed_files_only(place: Place) -> None:
    found = place.judge("{potential: allowed/own.py:Net, width: 8, weights: other}")
    assert found.potential == f"{place.allowed}/own.py:Net"
    assert found.options == {"width": 8, "weights": "other"}
    with pytest.raises(NotTrusted):  # it exists, so a class of the user's might open it
        place.judge("{potential: allowed/own.py:Net, weights: outside}")
    with pytest.raises(NotTrusted, match="none is"):
        trusted(parse_spec("allowed/own.py:Net"), [], place.root)


NAMES = st.sampled_from([
    "..", ".", "", "~", "allowed", "outside", "deep", "away", "inside.model", "secret.model",
    "out.model", "in.model", "deeper.npz", "own.py", "evil.py:Net", "own.py:Net", "os:system",
    "ase", "mace", "committee", "\0", "é", "%2e%2e", "allowed-not", "near.model",
])  # fmt: skip
VALUES = st.recursive(
    st.lists(NAMES, min_size=1, max_size=6).map("/".join) | NAMES | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(
        st.sampled_from(["potential", "model", "members", "baseline", "template", "x"]),
        inner, max_size=3,
    ),
    max_leaves=8,
)
OPTIONS = st.dictionaries(
    st.sampled_from(["model", "members", "baseline", "template", "extensions", "calculator", "x"]),
    VALUES, max_size=3,
)


def files_of(value: object) -> Iterator[str]:
    """Every text in a value that could be a path."""
    if isinstance(value, dict):
        for one in value.values():
            yield from files_of(one)
    elif isinstance(value, list):
        for one in value:
            yield from files_of(one)
    elif isinstance(value, str) and os.sep in value:
        yield value


@given(potential=st.sampled_from([*POTENTIALS, "allowed/own.py:Net"]) | st.text(), options=OPTIONS)
@settings(max_examples=250, suppress_health_check=list(HealthCheck), deadline=None)
def test_whatever_is_accepted_names_real_files_in_the_folder(
    place: Place, potential: str, options: dict
) -> None:
    try:
        found = trusted(Spec(potential, options), [place.allowed], place.root)
    except NotTrusted:
        return
    assert "ase" not in str(found).replace("baseline", "").split(": ")
    own, colon, _ = found.potential.rpartition(":")
    assert found.potential in POTENTIALS or (colon and Path(own).parent == place.allowed)
    for name in [*files_of(found.options), *([own] if colon else [])]:
        path = Path(name.rpartition(":")[0] if name.endswith(":Net") else name)
        assert path.is_absolute()
        assert Path(os.path.realpath(path)) == path, "links were followed"
        assert path.is_relative_to(place.allowed)
        assert path.exists()


@given(text=st.text(max_size=300) | st.text("(){}[]:;, potentialbach_size1", max_size=200))
@settings(max_examples=300, deadline=None)
def test_any_text_of_a_server_is_read_or_refused(text: str) -> None:
    try:
        found = spec_of_parameters(text)
    except NotTrusted:
        return
    assert found is None or isinstance(found, Spec)


def test_the_text_of_init_is_read_as_i_pi_writes_it() -> None:
    assert spec_of_parameters(" ") is None
    assert spec_of_parameters(" k1 : 3 , , batch_size:8") is None
    assert spec_of_parameters(" potential_file : a.dat , ") is None
    found = spec_of_parameters(" potential : harmonic , k : 2.5 , ")
    assert found == Spec("harmonic", {"k": 2.5})
    found = spec_of_parameters(" potential : harmonic , k : 2.5 , , batch_size:8")
    assert found == Spec("harmonic", {"k": 2.5})
    nested = " potential : committee , members : [a.model; (potential: mace; model: b.model)] , "
    assert spec_of_parameters(nested) == parse_spec(
        "{potential: committee, members: [a.model; (potential: mace; model: b.model)]}"
    )
    for deep in (
        "[" * 30_000 + "]" * 30_000, "(a: " * 9_000 + ")" * 9_000,
        "harmonic, x: " + "]" * 900 + ", y: " + "[" * 900 + "]" * 900,
    ):
        with pytest.raises(NotTrusted, match="nested too deeply"):
            spec_of_parameters(f" potential : committee , members : {deep} , ")


def test_folders_that_are_none_are_refused(place: Place) -> None:
    assert allowed_folders([place.allowed / "away"]) == [place.outside]
    for name in ("nothing", "allowed/inside.model", "allowed/loop.model", "~nobody/x", "a\0b"):
        with pytest.raises(PotentialError, match="--allow-model-dir"):
            allowed_folders([place.root / name])
