"""From SPEC to potential."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pimd.potentials.base import Potential, PotentialError
from pimd.potentials.lennard_jones import LennardJones
from pimd.potentials.registry import Spec, make_potential, parse_spec


@pytest.mark.parametrize("text", [
    "{potential: lennard_jones, cutoff: 9.0}",
    "potential: lennard_jones, cutoff: 9.0",
    "lennard_jones, cutoff: 9.0",
    "  { potential : lennard_jones , cutoff : 9.0 , }  ",
    {"potential": "lennard_jones", "cutoff": 9.0},
])  # fmt: skip
def test_ways_to_write_a_spec(text: object) -> None:
    assert parse_spec(text) == Spec("lennard_jones", {"cutoff": 9.0})  # type: ignore[arg-type]


def test_a_bare_name_is_a_spec() -> None:
    assert parse_spec("stillinger_weber") == Spec("stillinger_weber")
    assert str(parse_spec("stillinger_weber")) == "{potential: stillinger_weber}"


def test_values_are_read_as_what_they_look_like() -> None:
    spec = parse_spec(
        "x, a: 1, b: 1.5, c: 1e-3, d: true, e: False, f: [1, two, [3.0]], "
        "g: {H: 2.014, O: [1, 2]}, h: 'quoted', i: C:/file, j: -4"
    )
    assert spec.options == {
        "a": 1, "b": 1.5, "c": 1e-3, "d": True, "e": False, "f": [1, "two", [3.0]],
        "g": {"H": 2.014, "O": [1, 2]}, "h": "quoted", "i": "C:/file", "j": -4,
    }  # fmt: skip
    assert type(spec.options["a"]) is int


@pytest.mark.parametrize("text", ["", "{}", "cutoff: 3", "x, what", "x, : 3"])
def test_what_is_no_spec_is_said(text: str) -> None:
    with pytest.raises(PotentialError, match=r"names no potential|cannot read"):
        parse_spec(text)


@pytest.mark.parametrize("word", ["yes", "no", "on", "off"])
def test_words_that_would_count_as_true(word: str) -> None:
    with pytest.raises(PotentialError, match="write true or false"):
        parse_spec(f"x, pbc: {word}")


NO_WORDS = ("true", "false", "yes", "no", "on", "off", "nan", "inf", "infinity")
names = st.from_regex(r"[a-z_]{1,8}", fullmatch=True).filter(
    lambda s: s != "potential" and s not in NO_WORDS
)
scalars = (
    st.integers(-1000, 1000)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
    | st.from_regex(r"[A-Za-z_][A-Za-z_/.]{0,8}", fullmatch=True).filter(
        lambda s: s.lower() not in NO_WORDS
    )
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)


@given(names, st.dictionaries(names, values, max_size=4))
def test_a_spec_written_out_is_read_back(name: str, options: dict) -> None:
    spec = Spec(name, options)
    assert parse_spec(str(spec)) == spec


def test_files_are_found_beside_the_input() -> None:
    spec = parse_spec("{potential: mace, model: a.model, members: [b, /c], cutoff: 3}")
    resolved = spec.resolved(Path("/run"))
    assert resolved.options == {"model": "/run/a.model", "members": ["/run/b", "/c"], "cutoff": 3}
    assert spec.options["model"] == "a.model"


@pytest.mark.parametrize("name", [
    "free", "harmonic, k: 1.0", "lennard_jones", "stillinger_weber", "silvera_goldman",
])  # fmt: skip
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_potentials_are_made(name: str, dtype: str) -> None:
    potential = make_potential(f"{name}, dtype: {dtype}, device: cpu")
    assert isinstance(potential, Potential)
    assert potential.dtype == getattr(torch, dtype)
    assert potential.device.type == "cpu"
    assert potential.name == name.partition(",")[0]


def test_options_reach_the_potential_and_those_of_the_daemon_do_not() -> None:
    potential = make_potential("lennard_jones, cutoff: 7.5, mode: smooth, skin: 2.0")
    assert isinstance(potential, LennardJones)
    assert (potential.cutoff, potential.mode) == (7.5, "smooth")


@pytest.mark.parametrize(("text", "message"), [
    ("lenard_jones", "unknown potential 'lenard_jones'"),
    ("lennard_jones, cut: 3", "has no option cut; its options: epsilon, sigma"),
    ("lennard_jones, cutoff: long", "cutoff is a finite number"),
])  # fmt: skip
def test_what_cannot_be_made_is_said(text: str, message: str) -> None:
    with pytest.raises(PotentialError, match=message):
        make_potential(text)


def test_cuda_without_cuda_is_said() -> None:
    if torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    with pytest.raises(PotentialError, match="use device: cpu"):
        make_potential("lennard_jones, device: cuda")


@pytest.mark.parametrize(("name", "potential"), [
    ("water.model", "mace"), ("a/b/pet.pt", "metatomic"), ("x.nequip.pt2", "nequip"),
    ("x.nequip.pth", "nequip"), ("frozen.PTH", "deepmd"), ("water.npz", "behler_parrinello"),
])  # fmt: skip
def test_the_name_of_a_model_file_is_a_spec(name: str, potential: str) -> None:
    assert parse_spec(name) == Spec(potential, {"model": name})
    assert parse_spec(f"{{potential: {name}, dtype: float32}}") == Spec(
        potential, {"model": name, "dtype": "float32"}
    )


def test_a_class_in_a_file_is_not_taken_for_a_model() -> None:
    assert parse_spec("net.pt:Net") == Spec("net.pt:Net")


def test_files_of_members_and_baseline_are_found_and_made_absolute() -> None:
    spec = parse_spec(
        "{potential: committee, members: [a.model; (potential: own.py:Net; model: w.pt)], "
        "baseline: (potential: harmonic; template: init.xyz), alpha: 1.5}"
    )
    assert spec.files() == ["a.model", "own.py", "w.pt", "init.xyz"]
    absolute = spec.resolved(Path("/data"))
    assert absolute.files() == [
        "/data/a.model", "/data/own.py", "/data/w.pt", "/data/init.xyz"
    ]
    assert parse_spec(absolute.in_xml()) == absolute


def test_a_baseline_named_alone_is_no_file() -> None:
    spec = parse_spec("{potential: committee, members: [a.model; b.model], baseline: qtip4pf}")
    assert spec.files() == ["a.model", "b.model"]
    assert spec.resolved(Path("/data")).options["baseline"] == "qtip4pf"


def test_absolute_names_and_home_stay_what_they_are() -> None:
    spec = parse_spec("{potential: mace, model: /models/a.model}")
    assert spec.resolved(Path("/data")).files() == ["/models/a.model"]
    assert parse_spec("~/a.model").resolved(Path("/data")).files() == [
        str(Path("~/a.model").expanduser())
    ]
