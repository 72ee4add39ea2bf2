"""NequIP and Allegro models for i-PI, all beads in one call; see `pimd.potentials.nequip`.

    python nequip_driver.py --connect unix:NAME --template init.xyz -o model=water.nequip.pt2
    i-pi-driver-py -u -a NAME -m custom -P nequip_driver.py \\
        -o template=init.xyz,model=water.nequip.pt2
    <ffdirect name='nequip'>
      <pes> custom </pes> <pes_path> nequip_driver.py </pes_path>
      <parameters> {template: init.xyz, model: water.nequip.pt2} </parameters>
      <batch_size> 32 </batch_size>
    </ffdirect>

The model is compiled for batches, once, on the kind of machine it will run on:

    nequip-compile best.ckpt water.nequip.pt2 --mode aotinductor --device cpu --target batch

Parameters: `model`, the file; types, where the model's types are no chemical symbols, as in
(H: H1; O: O_w); device; pbc (False for clusters, since i-PI always has a cell); `template`, a file
with the species.

Loading a model runs the code in its file: give only files of people you trust.
"""

from pimd.ipi.pes import PES, main

__DRIVER_NAME__ = "pimd_nequip"
__DRIVER_CLASS__ = "NequIPDriver"


class NequIPDriver(PES):
    """A compiled NequIP or Allegro model."""

    potential = "nequip"


if __name__ == "__main__":
    raise SystemExit(main(NequIPDriver))
