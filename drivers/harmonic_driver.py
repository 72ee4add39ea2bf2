"""Harmonic oscillators for i-PI; see `pimd.potentials.harmonic`.

    python harmonic_driver.py --connect unix:NAME --template init.xyz -o k=1.2
    i-pi-driver-py -u -a NAME -m custom -P harmonic_driver.py -o template=init.xyz,k=1.2
    <ffdirect name='trap'>
      <pes> custom </pes> <pes_path> harmonic_driver.py </pes_path>
      <parameters> {template: init.xyz, k: 1.2} </parameters>
    </ffdirect>

Parameters: k (eV/Å²), or wavenumber (cm^-1) and masses; `anchors`, a file with the points that
the atoms are bound to (default: all to the origin); `template`, a file with the species.
"""

from pimd.ipi.pes import PES, main

__DRIVER_NAME__ = "pimd_harmonic"
__DRIVER_CLASS__ = "HarmonicDriver"


class HarmonicDriver(PES):
    """V = sum_i k_i/2 |x_i - x0_i|²."""

    potential = "harmonic"
    renamed = {"anchors": "template"}  # noqa: RUF012


if __name__ == "__main__":
    raise SystemExit(main(HarmonicDriver))
