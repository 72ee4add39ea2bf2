"""Any ASE calculator for i-PI, beads on all cores; see `pimd.potentials.ase`.

    python ase_driver.py --connect unix:NAME --template init.xyz \\
        -o calculator=tblite.ase.TBLite,method=GFN2-xTB,verbosity=0
    i-pi-driver-py -u -a NAME -m custom -P ase_driver.py \\
        -o template=init.xyz,calculator=tblite.ase.TBLite,method=GFN2-xTB,verbosity=0
    <ffdirect name='xtb'>
      <pes> custom </pes> <pes_path> ase_driver.py </pes_path>
      <parameters> {template: init.xyz, calculator: tblite.ase.TBLite, verbosity: 0} </parameters>
      <batch_size> 8 </batch_size>
    </ffdirect>

Parameters: `calculator`, its dotted path; workers, threads_per_worker, timeout, virial; pbc
(False for clusters, since i-PI always has a cell); the keywords of the calculator; `template`,
a file with the species.
"""

from pimd.ipi.pes import PES, main

__DRIVER_NAME__ = "pimd_ase"
__DRIVER_CLASS__ = "ASEDriver"


class ASEDriver(PES):
    """An ASE calculator in worker processes."""

    potential = "ase"


if __name__ == "__main__":
    raise SystemExit(main(ASEDriver))
