"""Committees for i-PI, all members and beads in one batch; see `pimd.potentials.committee`.

    python committee_driver.py --connect unix:NAME --template init.xyz \\
        -o "members=[a.model; b.model],alpha=1.4"
    i-pi-driver-py -u -a NAME -m custom -P committee_driver.py \\
        -o "template=init.xyz,members=[a.model; b.model],alpha=1.4"
    <ffdirect name='committee'>
      <pes> custom </pes> <pes_path> committee_driver.py </pes_path>
      <parameters> {template: init.xyz, members: [a.model; b.model], alpha: 1.4} </parameters>
      <batch_size> 8 </batch_size>
    </ffdirect>

Parameters: members, model files or potentials such as (potential: mace; model: a.model); alpha,
the calibration of their spread; baseline, sigma_b, learned and composition of a weighted
baseline; stacking, dtype, device; member_forces: True for i-PI's `ffcommittee` with parse_json;
`template`, a file with the species.
"""

from pimd.ipi.pes import PES, main

__DRIVER_NAME__ = "pimd_committee"
__DRIVER_CLASS__ = "CommitteeDriver"


class CommitteeDriver(PES):
    """The mean of several potentials, with the energies of all."""

    potential = "committee"


if __name__ == "__main__":
    raise SystemExit(main(CommitteeDriver))
