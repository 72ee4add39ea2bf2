"""The metatomic driver against i-PI's own: the same input, options and numbers.

i-PI's factors between atomic units and eV, Å have eight digits. Where all digits are compared the
difference is taken out.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import uuid
import warnings
from pathlib import Path

import ase.io
import numpy as np
import pytest
from ase.build import bulk

pytest.importorskip("metatomic.torch")
pytest.importorskip("vesin.metatomic")

sys.path.insert(0, str(Path(__file__).parents[1] / "potentials"))
import metatomic_models as models
from ipi.pes import load_pes
from ipi.utils.units import unit_to_internal

from pimd.notices import PimdNotice
from pimd.structure import PotentialError
from pimd.units import BOHR_ANGSTROM, FORCE_AU_EV_PER_ANGSTROM, HARTREE_EV

DRIVER = Path(__file__).parents[2] / "drivers" / "metatomic_driver.py"
BIN = Path(sys.executable).parent
LIMIT_S = 90.0

INPUT = """
<simulation verbosity='low' threading='False'>
  <total_steps> 3 </total_steps>
  <output prefix='o'>
    <properties filename='props' stride='1'>
      [ step, potential, kinetic_cv, virial_md ]
    </properties>
    <trajectory filename='pot' stride='1' extra_type='committee_pot'> extras </trajectory>
    <trajectory filename='frc' stride='1'> forces </trajectory>
  </output>
  <prng> <seed> 411 </seed> </prng>
  {forcefield}
  <system>
    <initialize nbeads='2'>
      <file mode='ase' units='angstrom'> argon.extxyz </file>
      <velocities mode='thermal' units='kelvin'> 90 </velocities>
    </initialize>
    <forces> <force forcefield='net'/> </forces>
    <ensemble> <temperature units='kelvin'> 90 </temperature> </ensemble>
    <motion mode='dynamics'>
      <dynamics mode='nve'> <timestep units='femtosecond'> 1 </timestep> </dynamics>
    </motion>
  </system>
</simulation>
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With model.pt and argon.extxyz, triclinic and displaced."""
    folder = tmp_path_factory.mktemp("metatomic_driver")
    models.pair_ensemble(folder / "model.pt")
    atoms = bulk("Ar", cubic=True, a=4.2)
    strain = np.array([[1.0, 0.0, 0.0], [0.1, 1.0, 0.0], [0.02, 0.05, 1.0]])
    atoms.set_cell(atoms.cell.array @ strain, scale_atoms=True)
    atoms.rattle(0.1, seed=1)
    ase.io.write(folder / "argon.extxyz", atoms)
    return folder


def ipi_driver(folder: Path, **options):
    """i-PI's own driver; with a threshold it asks for the uncertainty, which the model wants."""
    from ipi.pes.metatomic import MetatomicDriver

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return MetatomicDriver(
            template=str(folder / "argon.extxyz"), model=str(folder / "model.pt"),
            uncertainty_threshold=1e3, **options,
        )  # fmt: skip


def our_driver(folder: Path, *arguments, **options):
    return load_pes("custom", str(DRIVER))(
        str(folder / "argon.extxyz"), str(folder / "model.pt"), *arguments, **options
    )


@pytest.mark.parametrize("variant", [None, "scaled"])
def test_numbers_are_those_of_ipi(folder: Path, variant: str | None) -> None:
    """Energy, forces, virial and members; these nested, and centred on the energy."""
    options = {"energy_ensemble": True, "force_virial_ensemble": True}
    if variant is not None:
        options["energy_variant"] = variant
    theirs, ours = ipi_driver(folder, **options), our_driver(folder, **options)
    atoms = ase.io.read(folder / "argon.extxyz")
    rng = np.random.default_rng(0)
    positions = atoms.positions + 0.05 * rng.normal(size=(3, len(atoms), 3))
    angstrom = unit_to_internal("length", "angstrom", 1.0)
    electronvolt = unit_to_internal("energy", "electronvolt", 1.0)
    per_angstrom = unit_to_internal("force", "ev/ang", 1.0)
    cell = atoms.cell.array.T
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wants = [theirs(cell * angstrom, x * angstrom) for x in positions]
    found = ours([cell / BOHR_ANGSTROM] * 3, [x / BOHR_ANGSTROM for x in positions])
    for want, got in zip(wants, found, strict=True):
        energy = want[0] / electronvolt
        assert got[0] * HARTREE_EV == pytest.approx(energy, abs=1e-9)
        forces = want[1].reshape(-1, 3) / per_angstrom
        np.testing.assert_allclose(got[1] * FORCE_AU_EV_PER_ANGSTROM, forces, rtol=0, atol=1e-9)
        virial = want[2] / electronvolt
        np.testing.assert_allclose(got[2] * HARTREE_EV, virial, rtol=0, atol=1e-9)
        raw, own = json.loads(want[3]), json.loads(got[3])
        for key, factor, our_factor, sampled in (
            ("committee_pot", electronvolt, HARTREE_EV, energy),
            ("committee_force", per_angstrom, FORCE_AU_EV_PER_ANGSTROM, forces.ravel()),
            ("committee_virial", electronvolt, HARTREE_EV, virial.ravel()),
        ):
            members = np.array(raw[key]).reshape(models.N_MEMBERS, *np.shape(sampled)) / factor
            assert np.abs(members.mean(0) - sampled).max() > 0.01
            members += sampled - members.mean(0)
            np.testing.assert_allclose(np.array(own[key]) * our_factor, members, atol=1e-9)


def run(folder: Path, name: str, forcefield: str, client: list[str] | None = None) -> Path:
    """A short run of i-PI in a folder of its own."""
    own = folder / name
    own.mkdir()
    for file in ("model.pt", "argon.extxyz"):
        (own / file).symlink_to(folder / file)
    (own / "input.xml").write_text(INPUT.format(forcefield=forcefield))
    environment = {**os.environ, "PYTHONWARNINGS": "ignore", "OMP_NUM_THREADS": "1"}
    commands = [[str(BIN / "i-pi"), "input.xml"], *([client] if client else [])]
    with open(own / "log", "w") as log:
        processes = [
            subprocess.Popen(command, cwd=own, stdout=log, stderr=log, env=environment)
            for command in commands
        ]
        try:
            for process in processes:
                assert process.wait(LIMIT_S) == 0, (own / "log").read_text()
        finally:
            for process in processes:
                if process.poll() is None:
                    process.kill()
                    process.wait()
    return own


def test_an_input_for_ipis_driver(folder: Path) -> None:
    """Two beads a call: i-PI's driver in its process, ours behind a socket."""
    stock = run(
        folder, "stock",
        "<ffdirect name='net'> <pes> metatomic </pes> <batch_size> 2 </batch_size> <parameters> "
        "{template: argon.extxyz, model: model.pt, energy_ensemble: True, device: cpu, "
        "uncertainty_threshold: 1000} </parameters> </ffdirect>",
    )  # fmt: skip
    address = f"pimd_test_{uuid.uuid4().hex[:12]}"
    client = [sys.executable, str(DRIVER), "--connect", f"unix:{address}", "--template",
              "argon.extxyz", "-o", "model=model.pt,energy_ensemble=True,device=cpu"]  # fmt: skip
    ours = run(
        folder, "ours",
        f"<ffsocket name='net' mode='unix'> <address> {address} </address> <batch_size> 2 "
        "</batch_size> <timeout> 60 </timeout> </ffsocket>",
        client,
    )  # fmt: skip
    names = sorted(file.name for file in stock.glob("o.*"))
    assert names == sorted(file.name for file in ours.glob("o.*"))
    assert len(names) == 5
    for name in names:
        want, got = (numbers(where / name) for where in (stock, ours))
        if "pot" in name:  # ours are centred: the spread is the same
            want, got = (x.reshape(-1, models.N_MEMBERS) for x in (want, got))
            want, got = (x - x.mean(1, keepdims=True) for x in (want, got))
            assert np.abs(want).max() > 1e-3
        scale = np.abs(want).max()
        np.testing.assert_allclose(got, want, rtol=0, atol=2e-6 * scale, err_msg=name)


def numbers(file: Path) -> np.ndarray:
    words = [
        word
        for line in file.read_text().splitlines()
        if not line.lstrip().startswith("#")
        for word in line.replace("[", " ").replace("]", " ").replace(",", " ").split()
    ]
    return np.array([float(word) for word in words if word[-1].isdigit()])


def test_options_of_ipi_are_taken(folder: Path) -> None:
    make = load_pes("custom", str(DRIVER)).make_spec
    spec = make(
        {
            "model": "m.pt", "extensions": "", "energy_ensemble": "True", "device": "cpu;cpu",
            "force_virial_ensemble": "True", "energy_variant": "pbe0", "check_consistency": False,
            "uncertainty_threshold": 0.0,
        }
    )  # fmt: skip
    assert spec.potential == "metatomic"
    assert spec.options == {
        "model": "m.pt", "ensemble": True, "device": "cpu", "member_forces": True,
        "variant": "pbe0", "check_consistency": False,
    }  # fmt: skip
    with pytest.warns(PimdNotice, match="all beads go to cuda:1 in one batch; cuda:0 is not used"):
        assert make({"model": "m.pt", "device": "cuda:1;cuda:0"}).options["device"] == "cuda:1"
    with pytest.warns(PimdNotice, match="--stop-above and --save-above"):
        make({"model": "m.pt", "uncertainty_threshold": "1e-2"})
    with pytest.raises(PotentialError, match="force_virial_ensemble needs energy_ensemble"):
        make({"model": "m.pt", "force_virial_ensemble": True, "energy_ensemble": False})
    with pytest.raises(PotentialError, match="parameter `model`"):
        make({"device": "cpu"})
    assert our_driver(folder, "cpu").evaluator.potential.n_members == models.N_MEMBERS
