"""The loop of training: it learns, and a resumed one gives the same bits."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from labelled import clusters, labelled

from pimd.training.baseline import fit_baseline
from pimd.training.checkpoint import fingerprint, load_checkpoint, save_checkpoint
from pimd.training.data import DataError, Split, split
from pimd.training.evaluation import calibration_of, mean_square_z
from pimd.training.job import Job
from pimd.training.loss import Schedule
from pimd.training.options import TrainingOptions
from pimd.training.trainer import Epoch, member_weights

OPTIONS = TrainingOptions(
    members=6, hidden=(10,), cutoff=6.0, angular_cutoff=5.0, radial=10, angular=1, epochs=30,
    batch=8, dtype="float64", schedule=Schedule(2e-2, 5e-4, 1.0, 10.0, 1.0, 1.0),
)  # fmt: skip


def lennard_jones(n: int = 160) -> Split:
    return split(labelled(clusters(n, seed=11)), 0.2, 0.2, seed=0)


def job(path: Path, options: TrainingOptions = OPTIONS, data: Split | None = None) -> Job:
    parts = data or lennard_jones()
    baseline = fit_baseline(parts.train, (18,))
    made = Job(parts, {}, options, baseline, path / "model.npz", torch.device("cpu"))
    made.prepare()
    return made


def silent(epoch: Epoch, best: int) -> None:
    """Nothing to say."""


@pytest.fixture(scope="module")
def learnt(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """A training to its end."""
    made = job(tmp_path_factory.mktemp("learnt"))
    made.run(silent, lambda: False)
    return made


def test_recovers_a_known_potential(learnt: Job) -> None:
    """Lennard-Jones clusters: errors on structures never seen fall to a fifth."""
    start = learnt.trainer.history[0]
    trained = learnt.finish()
    errors = trained.sets["test"].errors
    assert errors.force_rmse < 0.2 * errors.force_rms
    assert errors.force_rmse < 0.2 * start.train_forces
    assert errors.energy_rmse < 0.2 * np.std(
        trained.sets["test"].reference / trained.sets["test"].n_atoms
    )
    assert all(path.is_file() for path in trained.written)


def test_the_best_epoch_is_kept(learnt: Job) -> None:
    scores = [one.score for one in learnt.trainer.history]
    assert learnt.trainer.best_epoch == int(np.argmin(scores)) + 1


def test_calibration_is_that_of_the_validation_set(learnt: Job) -> None:
    """The finite-M formula written out; the mean's error on the test set in its terms."""
    trained = learnt.finish()
    found = trained.sets["validation"]
    m = len(found.energies)
    spread = found.energies.std(0, ddof=1)
    z = (found.reference - found.energies.mean(0)) / spread
    alpha = np.sqrt(-1 / m + (m - 3) / (m - 1) * np.mean(z**2))
    assert calibration_of(found).alpha == pytest.approx(alpha, rel=1e-9)
    assert float(learnt.model.alpha) == pytest.approx(alpha, rel=1e-9)
    test = trained.sets["test"]
    own = (test.reference - test.energies.mean(0)) / (alpha * test.energies.std(0, ddof=1))
    assert mean_square_z(test, alpha) == pytest.approx(np.mean(own**2), rel=1e-9)


def test_members_differ_in_weights_and_in_data() -> None:
    weights = member_weights(OPTIONS, 50)
    assert weights.sum(1).tolist() == [40.0] * 6
    assert len({tuple(row.tolist()) for row in weights}) == 6
    assert torch.equal(weights, member_weights(OPTIONS, 50))


def test_a_member_learns_nothing_from_what_it_does_not_see(tmp_path: Path) -> None:
    """A step on a structure that only member 0 has changes only member 0."""
    one = job(tmp_path)
    one.trainer.weights[:] = 0.0
    one.trainer.weights[0, 5] = 1.0
    before = [p.detach().clone() for p in one.trainer.parameters]
    one.trainer._step([5], (1.0, 1.0))
    for old, new in zip(before, one.trainer.parameters, strict=True):
        assert not torch.equal(old[:, 0], new[:, 0])
        assert torch.equal(old[:, 1:], new[:, 1:])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_resume_gives_the_same_bits(tmp_path: Path, dtype: str) -> None:
    """8 epochs at once, or 3, a checkpoint read by a new process's objects, and 5 more."""
    options = TrainingOptions(**{**OPTIONS.__dict__, "epochs": 8, "members": 3, "dtype": dtype})
    data = lennard_jones(60)
    whole = job(tmp_path, options, data)
    whole.run(silent, lambda: False)

    part = job(tmp_path, options, data)
    part.run(silent, lambda: len(part.trainer.history) >= 3)
    assert part.files.checkpoint.is_file()
    resumed = job(tmp_path, options, data)
    resumed.resume()
    assert len(resumed.trainer.history) == 3
    resumed.run(silent, lambda: False)

    for name, value in whole.trainer.networks.state_dict().items():
        assert torch.equal(value, resumed.trainer.networks.state_dict()[name]), name
    for name, value in whole.trainer.best.items():
        assert torch.equal(value, resumed.trainer.best[name]), name
    assert [e.score for e in whole.trainer.history] == [e.score for e in resumed.trainer.history]


def test_early_stop(tmp_path: Path) -> None:
    """With a rate that spoils everything, training ends `patience` epochs after the best."""
    options = TrainingOptions(
        **{**OPTIONS.__dict__, "epochs": 60, "patience": 3, "schedule": Schedule(2.0, 2.0)}
    )
    one = job(tmp_path, options, lennard_jones(40))
    one.run(silent, lambda: False)
    assert len(one.trainer.history) == one.trainer.best_epoch + 3
    assert len(one.trainer.history) < 60


def test_checkpoint_of_another_training_is_refused(tmp_path: Path) -> None:
    data, path = lennard_jones(20), tmp_path / "x.checkpoint"
    with pytest.raises(DataError, match="nothing to resume"):
        load_checkpoint(path, {}, "", "cpu")
    state = {"weights": {"a": torch.ones(2)}, "history": []}
    save_checkpoint(path, state, {"seed": 1}, fingerprint(data))
    assert load_checkpoint(path, {"seed": 1}, fingerprint(data), "cpu")["history"] == []
    with pytest.raises(DataError, match="seed: 1, now 2"):
        load_checkpoint(path, {"seed": 2}, fingerprint(data), "cpu")
    with pytest.raises(DataError, match="of other data"):
        load_checkpoint(path, {"seed": 1}, fingerprint(lennard_jones(30)), "cpu")
    path.write_bytes(b"no checkpoint")
    with pytest.raises(DataError, match="not a checkpoint"):
        load_checkpoint(path, {"seed": 1}, fingerprint(data), "cpu")
