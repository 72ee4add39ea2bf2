"""MACE models for i-PI, all beads in one call; see `pimd.potentials.mace`.

    python mace_driver.py --connect unix:NAME --template init.xyz -o model=water.model
    i-pi-driver-py -u -a NAME -m custom -P mace_driver.py -o template=init.xyz,model=water.model
    <ffdirect name='mace'>
      <pes> custom </pes> <pes_path> mace_driver.py </pes_path>
      <parameters> {template: init.xyz, model: water.model} </parameters>
      <batch_size> 32 </batch_size>
    </ffdirect>

Parameters: `model`, the file; dtype (`float32`, `float64`), device, head, compile and the others
of the potential; properties (`dipole`, `polarizability`, ...), sent as extras; pbc (False for
clusters, since i-PI always has a cell); `template`, a file with the species.

Loading a model runs the code in its file: give only files of people you trust.
"""

from pimd.ipi.pes import PES, main

__DRIVER_NAME__ = "pimd_mace"
__DRIVER_CLASS__ = "MACEDriver"


class MACEDriver(PES):
    """A model of mace-torch."""

    potential = "mace"


if __name__ == "__main__":
    raise SystemExit(main(MACEDriver))
