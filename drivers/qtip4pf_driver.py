"""q-TIP4P/F water for i-PI; see `pimd.potentials.qtip4pf`.

    python qtip4pf_driver.py --connect unix:NAME --template init.xyz
    i-pi-driver-py -u -a NAME -m custom -P qtip4pf_driver.py -o template=init.xyz
    <ffdirect name='water'>
      <pes> custom </pes> <pes_path> qtip4pf_driver.py </pes_path>
      <parameters> {template: init.xyz} </parameters> <batch_size> 32 </batch_size>
    </ffdirect>

Parameters: those of the potential, such as cutoff (Å); properties (`dipole`, `born_charges`),
sent as extras; `template`, a file with the molecules in the order of the simulation.
"""

from pimd.ipi.pes import PES, main

__DRIVER_NAME__ = "pimd_qtip4pf"
__DRIVER_CLASS__ = "QTIP4PFDriver"


class QTIP4PFDriver(PES):
    """q-TIP4P/F water."""

    potential = "qtip4pf"


if __name__ == "__main__":
    raise SystemExit(main(QTIP4PFDriver))
