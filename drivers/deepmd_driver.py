"""Deep Potential models for i-PI, all beads in one call; see `pimd.potentials.deepmd`.

    python deepmd_driver.py --connect unix:NAME --template init.xyz -o model=water.pth
    i-pi-driver-py -u -a NAME -m custom -P deepmd_driver.py -o template=init.xyz,model=water.pth
    <ffdirect name='deepmd'>
      <pes> custom </pes> <pes_path> deepmd_driver.py </pes_path>
      <parameters> {template: init.xyz, model: water.pth} </parameters>
      <batch_size> 32 </batch_size>
    </ffdirect>

The model is frozen once, `dp --pt freeze -c model.ckpt.pt -o water.pth`.

Parameters: `model`, the file; fparam and aparam, as in [300.0; 1.5], for models that take such;
types, where the model's types are no chemical symbols, as in (H: H1; O: O_w); device; pbc (False
for clusters, since i-PI always has a cell); `template`, a file with the species.

Loading a model runs the code in its file: give only files of people you trust.
"""

from pimd.ipi.pes import PES, main

__DRIVER_NAME__ = "pimd_deepmd"
__DRIVER_CLASS__ = "DeePMDDriver"


class DeePMDDriver(PES):
    """A frozen DeePMD model."""

    potential = "deepmd"


if __name__ == "__main__":
    raise SystemExit(main(DeePMDDriver))
