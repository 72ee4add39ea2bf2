"""Files of Behler–Parrinello models: there and back, and what is refused."""

from __future__ import annotations

import io
import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from bp_models import make_model

from pimd.potentials.base import PotentialError
from pimd.potentials.behler_parrinello import BehlerParrinello
from pimd.potentials.bp_file import is_model_file, load_model, save_model
from pimd.potentials.registry import make_potential, parse_spec

CARD = {"name": "tiny", "errors": {"forces": 0.05}, "elements": ["H", "O"], "note": "Å"}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_there_and_back(tmp_path: Path, dtype: torch.dtype) -> None:
    model = make_model(3, dtype)
    model.std[0, 4] = torch.inf  # not used
    save_model(model, tmp_path / "one.npz", CARD)
    again, card = load_model(tmp_path / "one.npz")
    assert card == CARD
    assert again.settings == model.settings
    assert again.dtype == dtype
    want, found = model.state_dict(), again.state_dict()
    assert set(found) == set(want)
    for name, value in want.items():
        assert torch.equal(found[name], value), name
        assert found[name].dtype == value.dtype, name
    # another precision on request, the baseline always in fp64
    other = torch.float64 if dtype == torch.float32 else torch.float32
    cast, _ = load_model(tmp_path / "one.npz", other)
    assert cast.dtype == cast.mean.dtype == other
    assert cast.baseline.dtype == torch.float64


def test_same_content_same_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = make_model(2, torch.float32)
    save_model(model, tmp_path / "one.npz", CARD)
    monkeypatch.setattr(time, "time", lambda: 2.0e9)
    save_model(model, tmp_path / "two.npz", dict(reversed(CARD.items())))
    one, two = ((tmp_path / f"{name}.npz").read_bytes() for name in ("one", "two"))
    assert one == two
    assert sorted(os.listdir(tmp_path)) == ["one.npz", "two.npz"]
    with torch.no_grad():
        model.networks.weights[0][0, 0, 0, 0] += 1e-3
    save_model(model, tmp_path / "two.npz", CARD)
    assert (tmp_path / "two.npz").read_bytes() != one


def test_numpy_reads_it_without_pickle(tmp_path: Path) -> None:
    save_model(make_model(2, torch.float32), tmp_path / "one.npz", CARD)
    with np.load(tmp_path / "one.npz", allow_pickle=False) as archive:
        assert archive["weight_0"].shape[:2] == (2, 2)
        assert archive["format"].tobytes() == b"pimd behler-parrinello 1"


def rewritten(path: Path, change: Callable[[dict[str, np.ndarray]], object]) -> Path:
    """A copy of a model's file with its arrays changed."""
    with np.load(path) as archive:
        arrays = dict(archive)
    change(arrays)
    out = path.with_name("changed.npz")
    np.savez(out, **arrays)
    return out


def text(value: str) -> np.ndarray:
    return np.frombuffer(value.encode(), dtype=np.uint8)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a: a.pop("weight_1"), "weight_1|layers"),
        (lambda a: a.pop("card"), "no entry 'card'"),
        (lambda a: a.update(format=text("pimd behler-parrinello 2")), "update pimd"),
        (lambda a: a.update(format=text("n2p2 1")), "its format is 'n2p2 1'"),
        (lambda a: a.update(format=np.arange(3)), "no text"),
        (lambda a: a.update(settings=text("{")), "no model"),
        (lambda a: a.update(settings=text('{"elements": [1]}')), "no settings"),
        (lambda a: a.update(weight_0=a["weight_0"][:, :, :-1]), "weight_0: expected shape"),
        (lambda a: a.update(weight_1=a["weight_1"][:1]), "weight_1: expected shape"),
        (lambda a: a.update(bias_2=a["bias_2"][:, :1]), "bias_2: expected shape"),
        (lambda a: a.update(weight_2=a["weight_2"] * np.nan), "weight_2 has values that are not"),
        (lambda a: a.update(weight_0=a["weight_0"].astype(int)), "weight_0: expected float32"),
        (lambda a: a.update(weight_0=a["weight_0"][:, :0]), "expected members"),
        (lambda a: a.update(std=0 * a["std"]), "std of the descriptors is positive"),
        (lambda a: a.update(mean=a["mean"][:, 1:]), "mean: expected shape"),
        (lambda a: a.update(low=a["low"] * np.nan), "low has values"),
        (lambda a: a.update(baseline=a["baseline"] * np.inf), "baseline has values"),
        (lambda a: a.update(alpha=np.array(-1.0)), "alpha is a positive number"),
    ],
)
def test_changed_files_are_refused(
    tmp_path: Path, change: Callable[[dict[str, np.ndarray]], object], message: str
) -> None:
    save_model(make_model(2, torch.float32), tmp_path / "one.npz", CARD)
    file = rewritten(tmp_path / "one.npz", change)
    with pytest.raises(PotentialError, match=message) as error:
        load_model(file)
    assert "changed.npz" in str(error.value)


def test_damaged_and_foreign_files_are_refused(tmp_path: Path) -> None:
    save_model(make_model(2, torch.float32), tmp_path / "one.npz", CARD)
    whole = (tmp_path / "one.npz").read_bytes()
    middle = len(whole) // 2
    damaged = {
        "cut": whole[: len(whole) // 2],
        "flipped": whole[:middle] + bytes([whole[middle] ^ 255]) + whole[middle + 1 :],
        "text": b"# no archive\n",
        "empty": b"",
    }
    for name, content in damaged.items():
        file = tmp_path / f"{name}.npz"
        file.write_bytes(content)
        with pytest.raises(PotentialError, match=f"{name}.npz is no model"):
            load_model(file)
    with pytest.raises(PotentialError, match="there is no"):
        load_model(tmp_path / "nothing.npz")


def test_pickles_are_never_loaded(tmp_path: Path) -> None:
    """An object array in the place of the card: refused, and its code is not run."""
    ran = tmp_path / "ran"

    class Trap:
        def __reduce__(self) -> tuple:
            return os.mkdir, (str(ran),)

    file = tmp_path / "trap.npz"
    save_model(make_model(2, torch.float32), file, CARD)
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.array([Trap()], dtype=object), allow_pickle=True)
    with np.load(file) as archive:
        arrays = {name: archive[name] for name in archive.files if name != "card"}
    np.savez(file, **arrays)
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("card.npy", buffer.getvalue())
    with pytest.raises(PotentialError, match="no model"):
        load_model(file)
    assert not ran.exists()


def test_what_cannot_be_stored(tmp_path: Path) -> None:
    model = make_model(1, torch.float32)
    with pytest.raises(PotentialError, match=r"end in \.npz or \.pt"):
        save_model(model, tmp_path / "one.pth", CARD)
    with pytest.raises(PotentialError, match="as JSON"):
        save_model(model, tmp_path / "one.npz", {"error": float("nan")})
    assert os.listdir(tmp_path) == []


def test_size(tmp_path: Path) -> None:
    """Eight members with 24 + 24 nodes for each of two elements: a tenth of a megabyte each."""
    save_model(make_model(8, torch.float32, hidden=(24, 24)), tmp_path / "one.npz", CARD)
    assert (tmp_path / "one.npz").stat().st_size < 2e5


def test_a_file_in_pt_is_the_same_archive_and_told_from_others(tmp_path: Path) -> None:
    model = make_model(2, torch.float64)
    for name in ("two.npz", "two.pt"):
        save_model(model, tmp_path / name, CARD)
    assert (tmp_path / "two.pt").read_bytes() == (tmp_path / "two.npz").read_bytes()
    assert is_model_file(tmp_path / "two.pt")
    potential = make_potential(str(tmp_path / "two.pt"))
    assert isinstance(potential, BehlerParrinello)
    assert potential.n_members == 2
    torch.save({"a": torch.zeros(3)}, tmp_path / "other.pt")
    (tmp_path / "text.pt").write_text("no model")
    for other in ("other.pt", "text.pt", "absent.pt"):
        assert not is_model_file(tmp_path / other)
    assert parse_spec("other.pt").potential == "metatomic"
