"""Models in metatomic's format for i-PI, beads in one batch; see `pimd.potentials.metatomic`.

    python metatomic_driver.py --connect unix:NAME --template init.xyz -o model=model.pt
    i-pi-driver-py -u -a NAME -m custom -P metatomic_driver.py -o init.xyz,model.pt,device=cuda
    <ffdirect name='pet'>
      <pes> custom </pes> <pes_path> metatomic_driver.py </pes_path>
      <parameters> {template: init.xyz, model: model.pt, device: cuda} </parameters>
      <batch_size> 32 </batch_size>
    </ffdirect>

Parameters: those of the potential, such as extensions, variant, ensemble; `member_forces`;
properties, sent as extras; `template`, a file with the species.

Inputs written for i-PI's own metatomic driver work too: energy_variant, energy_ensemble and
force_virial_ensemble are variant, ensemble and member_forces here. Of several devices the first
is taken, since one batch goes to one device; uncertainty_threshold is left to `pimd run
--stop-above` and `--save-above`. Member forces come as nested lists, as <ffcommittee> reads them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pimd.ipi.pes import PES, main
from pimd.notices import notice
from pimd.potentials.registry import Spec
from pimd.structure import PotentialError

__DRIVER_NAME__ = "pimd_metatomic"
__DRIVER_CLASS__ = "MetatomicDriver"


class MetatomicDriver(PES):
    """A metatomic model; template, model, device and extensions may be given by position."""

    potential = "metatomic"
    renamed = {  # noqa: RUF012
        "energy_variant": "variant",
        "energy_ensemble": "ensemble",
        "force_virial_ensemble": "member_forces",
    }

    def __init__(
        self,
        template: str | Path | None = None,
        model: str | Path | None = None,
        device: str | None = None,
        extensions: str | Path | None = None,
        **options: Any,
    ) -> None:
        given = {"model": model, "device": device, "extensions": extensions}
        super().__init__(template, **{k: v for k, v in given.items() if v is not None}, **options)

    @classmethod
    def make_spec(cls, options: Mapping[str, Any]) -> Spec:
        """The SPEC of the driver's options, i-PI's names included."""
        ours = {k: v for k, v in options.items() if v not in (None, "")}
        if isinstance(ours.get("device"), str):
            ours["device"] = _first(ours["device"])
        if float(ours.pop("uncertainty_threshold", 0.0)) > 0.0:
            notice(
                "uncertainty_threshold is not looked at: sigma is in the extras, and `pimd run` "
                "has --stop-above and --save-above"
            )
        spec = super().make_spec(ours)
        if spec.options.get("member_forces") is True and spec.options.get("ensemble") is False:
            raise PotentialError("force_virial_ensemble needs energy_ensemble")
        if "model" not in spec.options:
            raise PotentialError("metatomic: give the model file as the parameter `model`")
        return spec


def _first(devices: str) -> str:
    """The first of devices written `cuda:0;cuda:1`."""
    names = [name.strip() for name in devices.split(";") if name.strip()]
    if len(set(names)) > 1:
        notice(
            f"all beads go to {names[0]} in one batch; {', '.join(names[1:])} is not used"
        )
    return names[0]


if __name__ == "__main__":
    raise SystemExit(main(MetatomicDriver))
