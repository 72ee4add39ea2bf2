"""Behler–Parrinello committees for i-PI; see `pimd.potentials.behler_parrinello`.

    python behler_parrinello_driver.py --connect unix:NAME --template init.xyz
    i-pi-driver-py -u -a NAME -m custom -P behler_parrinello_driver.py -o template=init.xyz
    <ffdirect name='water'>
      <pes> custom </pes> <pes_path> behler_parrinello_driver.py </pes_path>
      <parameters> {template: init.xyz, model: water.npz} </parameters>
      <batch_size> 32 </batch_size>
    </ffdirect>

Parameters: `model`, a file of `pimd train` (default: the water committee that comes with pimd);
dtype (`float32`, `float64`), device, calibrated; properties (`extrapolation`), sent as extras
beside the energies of the members; `template`, a file with the species.
"""

from pimd.ipi.pes import PES, main

__DRIVER_NAME__ = "pimd_behler_parrinello"
__DRIVER_CLASS__ = "BehlerParrinelloDriver"


class BehlerParrinelloDriver(PES):
    """A committee of Behler–Parrinello networks."""

    potential = "behler_parrinello"


if __name__ == "__main__":
    raise SystemExit(main(BehlerParrinelloDriver))
