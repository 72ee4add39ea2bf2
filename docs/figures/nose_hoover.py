"""The figures and the numbers of docs/nose_hoover.md: python docs/figures/nose_hoover.py

Writes nose_hoover_oscillator.png and nose_hoover_ring.png next to this file and prints the
tables. Seeds are fixed; a minute or two.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from pimd.dynamics.chains import NoseHooverChains, chain_masses
from pimd.dynamics.force_fields import harmonic
from pimd.dynamics.ring_polymer import mode_frequencies, mode_times
from pimd.dynamics.thermostat import NoseHooverThermostat
from pimd.dynamics.verlet import Trajectory, VelocityVerlet

HERE = Path(__file__).parent
LENGTHS = (1, 3, 4)
BETA, N_BEADS, RING_STEP = 5.0, 16, 0.1
COUPLING_COLOURS = {"global": "#b2402f", "mode": "#c99a2e", "massive": "#22577a"}


def oscillator(n_links: int, n_steps: int = 200_000) -> Trajectory:
    """m = omega = kT = tau = 1, time step 0.05, order 3; x = p = v_j = 1 at the start."""
    thermostat = NoseHooverThermostat(1.0, (1,), 1.0, 1.0, n_links=n_links)
    thermostat.chains.velocities[...] = 1.0
    verlet = VelocityVerlet(harmonic(), [1.0], [1.0], 1.0, 0.05, thermostat=thermostat)
    return verlet.run(n_steps)


def kurtosis(x: np.ndarray) -> float:
    return float((x**4).mean() / (x**2).mean() ** 2)


def print_oscillator(runs: dict[int, Trajectory]) -> None:
    print("links    <x2>    <p2>  kurt x  kurt p   r min   r max  rms(H')   drift")
    for n_links, run in runs.items():
        x, p = run.positions[:, 0], run.momenta[:, 0]
        radius = np.hypot(x, p)
        drift = np.polyfit(run.times, run.conserved, 1)[0]
        print(
            f"{n_links:5d} {(x**2).mean():7.4f} {(p**2).mean():7.4f} {kurtosis(x):7.3f} "
            f"{kurtosis(p):7.3f} {radius.min():7.3f} {radius.max():7.3f}  "
            f"{run.conserved.std():.1e} {drift:8.1e}"
        )


def draw_oscillator(runs: dict[int, Trajectory]) -> None:
    """Densities in phase space, and of x, against the canonical ones."""
    figure, axes = plt.subplots(1, 4, figsize=(11.0, 3.1), layout="constrained")
    edges = np.linspace(-4, 4, 81)
    image = None
    for axis, (n_links, run) in zip(axes, runs.items(), strict=False):
        density = np.histogram2d(
            run.positions[:, 0], run.momenta[:, 0], bins=(edges, edges), density=True
        )[0]
        image = axis.pcolormesh(
            edges, edges, density.T, cmap="magma", vmin=0, vmax=0.2, rasterized=True
        )
        axis.set(
            title=f"{n_links} link{'s' * (n_links > 1)}", xlabel="x", aspect="equal",
            xticks=range(-4, 5, 2), yticks=range(-4, 5, 2),
        )
    axes[0].set_ylabel("p")
    figure.colorbar(image, ax=axes[:3].tolist(), label="density", shrink=0.85, extend="max")
    x = np.linspace(-4, 4, 400)
    axes[3].plot(x, np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi), color="0.75", lw=5,
                 label="canonical")
    for (n_links, run), colour in zip(
        runs.items(), ("#b2402f", "#2a9d8f", "#22577a"), strict=True
    ):
        values, bins = np.histogram(run.positions[:, 0], bins=edges, density=True)
        axes[3].plot(0.5 * (bins[1:] + bins[:-1]), values, color=colour, lw=1.3,
                     label=f"{n_links} link{'s' * (n_links > 1)}")
    axes[3].set(title="density of x", xlabel="x", xlim=(-4, 4), ylim=(0, None))
    axes[3].legend(
        frameon=False, fontsize=8, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.2)
    )
    figure.savefig(HERE / "nose_hoover_oscillator.png", dpi=130)
    plt.close(figure)


def ring(coupling: str, n_steps: int = 20_000) -> np.ndarray:
    """<q_k^2> over its exact value, (mode, xyz), of a harmonic ring polymer in three dimensions.

    hbar = m = Omega = 1. The start is drawn from the canonical distribution. Exact with the time
    step h, omega_k of the ring: kT_P/(omega_k^2 + Omega^2 omega_k h cot(omega_k h) - h^2/4).
    """
    omega = mode_frequencies(N_BEADS, 1 / BETA, 1.0)[:, None]
    kT, h, shape = N_BEADS / BETA, RING_STEP, (N_BEADS, 3)
    rng = np.random.default_rng(11)
    positions = np.sqrt(kT / (1 + omega**2)) * rng.standard_normal(shape)
    momenta = np.sqrt(kT) * rng.standard_normal(shape)
    tau = mode_times(omega[:, 0], 1.0)[:, None] if coupling != "global" else 1.0
    thermostat = NoseHooverThermostat(1.0, shape, kT, tau, coupling=coupling, rng=rng)
    verlet = VelocityVerlet(
        harmonic(), positions, momenta, 1.0, h, frequencies=omega, thermostat=thermostat
    )
    squares = np.zeros(shape)
    for _ in range(n_steps):
        verlet.step()
        squares += verlet.positions**2
    angle = omega * h
    cotangent = np.divide(angle, np.tan(angle), out=np.ones_like(angle), where=angle > 0)
    return squares / n_steps * (omega**2 + cotangent - h * h / 4) / kT


def draw_ring(results: dict[str, np.ndarray]) -> None:
    figure, axis = plt.subplots(figsize=(7.2, 3.3), layout="constrained")
    axis.axhline(1.0, color="0.75", lw=3, zorder=0)
    for shift, (coupling, ratio) in zip((-0.22, 0.0, 0.22), results.items(), strict=True):
        modes = np.repeat(np.arange(N_BEADS)[:, None], 3, axis=1)
        axis.plot(
            (modes + shift).ravel(), ratio.ravel(), "o", ms=3.5, mew=0,
            color=COUPLING_COLOURS[coupling], label=coupling,
        )
    axis.set(
        xlabel="normal mode k of the ring", ylabel=r"$\langle q_k^2 \rangle$ / exact",
        xticks=range(N_BEADS), ylim=(0, 4),
    )
    axis.legend(frameon=False, ncols=3, loc="upper right")
    figure.savefig(HERE / "nose_hoover_ring.png", dpi=130)
    plt.close(figure)


def print_ring(results: dict[str, np.ndarray]) -> None:
    print("\ncoupling   <q_k^2>/exact: smallest  largest  rms deviation from 1")
    for coupling, ratio in results.items():
        rms = np.sqrt(((ratio - 1) ** 2).mean())
        print(f"{coupling:10s} {ratio.min():23.3f} {ratio.max():8.3f} {rms:12.3f}")


def print_accuracy() -> None:
    """Error of the energy of chains in one step, from canonical starts, one chain at a time."""
    intervals = (0.02, 0.05, 0.08)
    print("\nrms error of the energy of a chain of 4 links in one step, kT")
    print("order   dt/tau = " + "  ".join(f"{x:8.2f}" for x in intervals))
    for order in (1, 3, 5, 7):
        row = [rms_error(order, interval) for interval in intervals]
        print(f"{order:5d}            " + "  ".join(f"{x:8.1e}" for x in row))


def rms_error(order: int, interval: float, n: int = 2000) -> float:
    rng = np.random.default_rng(0)
    masses = chain_masses(1.0, 1.0, 1.0, 4)
    errors = np.empty(n)
    for k in range(n):
        chain = NoseHooverChains(1.0, 1.0, masses, order=order)
        chain.draw(rng)
        kinetic2 = rng.chisquare(1)
        before = 0.5 * kinetic2 + chain.energy
        scale = chain.step(kinetic2, interval)
        errors[k] = 0.5 * kinetic2 * scale**2 + chain.energy - before
    return float(np.sqrt((errors**2).mean()))


def main() -> None:
    runs = {n_links: oscillator(n_links) for n_links in LENGTHS}
    print_oscillator(runs)
    draw_oscillator(runs)
    results = {coupling: ring(coupling) for coupling in COUPLING_COLOURS}
    print_ring(results)
    draw_ring(results)
    print_accuracy()


if __name__ == "__main__":
    main()
