"""Learns the office's model: ``python examples/office/train.py -o office.npz``.

The last two days are held out: the model is fitted to the days before, and must then give the held-out
readings a higher likelihood than independent histograms of the same training days do. The file contains
this model, so the held-out days can be used to evaluate it.

Bins come from the training days. CO2: three quarters of the readings of a dark room are below a
background; five steps lead from there to the limit of comfort and two more beyond, where the training days
may hold nothing. Light: dark, and quintiles of the rest. Temperature and humidity: sextiles. Nothing is drawn
at random, so the file depends on the readings only.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import learn
import model
import readings
from air import DARK_LUX, LIMIT_PPM, explain, leakage_rate
from edge_agent.errors import EXIT_DONE, ConfigError

HELD_OUT_DAYS = 2
STEPS_TO_LIMIT = 5
# Emission is the difference of two noisy readings: it is averaged over this many before people are first
# guessed from it.
WINDOW = 5

FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Result:
    """A model and how well it predicts days it has not seen.

    Attributes
    ----------
    arrays : dict
        Of the npz file.
    course : list of float
        Mean log-likelihood of a training reading before each iteration, nats.
    held_out, histograms : float
        Mean log-likelihood of a held-out reading under the model and under independent histograms, nats.
    leakage : float
        Air changes per hour with the fan off.
    emission : list of float
        Mean CO2 source of each occupancy, ppm/h.
    """

    arrays: dict[str, Any]
    course: list[float]
    held_out: float
    histograms: float
    leakage: float
    emission: list[float]


def split(data: readings.Readings) -> tuple[readings.Readings, readings.Readings]:
    """Return the training days and the held-out days (the last ``HELD_OUT_DAYS``).

    Raises
    ------
    ConfigError
        There are too few days.
    """
    days = np.unique(data.days())
    if len(days) <= HELD_OUT_DAYS + 1:
        wanted = f"{HELD_OUT_DAYS + 2} or more, {HELD_OUT_DAYS} of them to test on"
        raise ConfigError(f"column time: found {len(days)} days; expected {wanted}")
    before = data.days() < days[-HELD_OUT_DAYS]
    return data.part(before), data.part(~before)


def bin_edges(data: readings.Readings) -> tuple[FloatArray, dict[str, FloatArray]]:
    """Choose the bands of air and the bins of the sensors.

    Returns
    -------
    bands : float64 array (L - 1,)
        ppm.
    edges : dict
        Sensor to float64 array, in its unit. The bands are among the edges of ``co2``.
    """
    light, co2 = data.values["light"], data.values["co2"]
    dark = light < DARK_LUX
    if dark.all() or not dark.any():
        found = "below" if dark.all() else "above"
        raise ConfigError(f"column V3: found light always {found} {DARK_LUX:g} lux; expected both")
    background = min(float(np.percentile(co2[dark], 75)), 0.8 * LIMIT_PPM)
    step = (LIMIT_PPM - background) / STEPS_TO_LIMIT
    bands = np.round(background + step * np.array([1, 2, 3, 4, 5, 7]), 1)
    halves = background + step * np.array([0.0, 0.5, 1.5, 2.5, 3.5, 4.5, 5.5, 6.0, 6.5])
    edges = {
        "co2": np.concatenate([halves, bands]),
        "light": np.concatenate([[DARK_LUX], np.quantile(light[~dark], np.arange(1, 5) / 5)]),
        "temperature": np.quantile(data.values["temperature"], np.arange(1, 6) / 6),
        "humidity": np.quantile(data.values["humidity"], np.arange(1, 6) / 6),
    }
    return bands, {name: np.unique(np.round(values, 1)) for name, values in edges.items()}


def digitize(data: readings.Readings, edges: dict[str, FloatArray]) -> dict[str, IntArray]:
    """Return the bin of every reading, int64 (T,) a sensor."""
    return {name: np.searchsorted(edges[name], data.values[name], side="right") for name in learn.SENSORS}


def first_guess(source: FloatArray, light: FloatArray) -> IntArray:
    """Return an occupancy for each reading, int64 (T,), for expectation maximisation to begin from.

    A room is empty in the dark or while hardly anything is emitted, else full in the half that emits more.
    """
    smooth = np.convolve(np.append(source, source[-1]), np.ones(WINDOW) / WINDOW, "same")
    lit = light >= DARK_LUX
    someone = lit & (smooth > 0.25 * np.percentile(smooth[lit], 90))
    return np.where(someone, np.where(smooth > np.median(smooth[someone]), 2, 1), 0)


def histogram_likelihood(
    seen: dict[str, IntArray], unseen: dict[str, IntArray], sizes: dict[str, int]
) -> float:
    """Mean log-likelihood of ``unseen`` under independent smoothed histograms of ``seen``, nats a reading."""
    total = 0.0
    for name, size in sizes.items():
        counts = np.bincount(seen[name], minlength=size) + learn.READING_COUNT / size
        total += float(np.log(counts / counts.sum())[unseen[name]].mean())
    return total


def train(data: readings.Readings) -> Result:
    """Learn a model from all but the last days and measure it on those."""
    seen, unseen = split(data)
    bands, edges = bin_edges(seen)
    sizes = {name: len(values) + 1 for name, values in edges.items()}
    leakage = leakage_rate(seen.values["co2"], seen.values["light"], seen.hours)
    source, _ = explain(seen.values["co2"], leakage, seen.hours)
    band_of_bin = np.searchsorted(bands, np.concatenate([[0.0], edges["co2"]]), side="right")
    bins, held = digitize(seen, edges), digitize(unseen, edges)
    guess = first_guess(source, seen.values["light"])
    binned = learn.Binned(bins, sizes, band_of_bin, bands, source, leakage, seen.hours)
    chain, course = learn.fit(binned, guess)
    arrays = model.build(chain, bands, edges, leakage, seen.hours)
    held_out = learn.log_likelihood(chain, held)
    return Result(
        arrays, course, held_out, histogram_likelihood(bins, held, sizes), leakage, chain.emission.tolist()
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    parser = argparse.ArgumentParser(description="Learn a room's POMDP from an office's readings.")
    parser.add_argument("-o", "--output", type=Path, required=True, help="npz file to write")
    parser.add_argument(
        "--data", type=Path, default=readings.DATA, help="CSV of readings (default: the office's)"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    began = time.perf_counter()
    try:
        data = readings.load(options.data)
        result = train(data)
        model.save(result.arrays, options.output)
    except ConfigError as error:
        text = str(error) if str(options.data) in str(error) else f"{options.data}, {error}"
        print(f"train.py: {text}", file=sys.stderr)
        return error.exit_code
    except OSError as error:
        print(f"train.py: {options.output}: cannot be written: {error.strerror}", file=sys.stderr)
        return ConfigError.exit_code
    seconds = time.perf_counter() - began
    if options.json:
        report = {
            "output": str(options.output),
            "readings": len(data),
            "iterations": len(result.course),
            "seconds": seconds,
        }
        report |= {"train": result.course[-1], "held_out": result.held_out, "histograms": result.histograms}
        print(
            json.dumps(
                report | {"leakage_per_hour": result.leakage, "emission_ppm_per_hour": result.emission}
            )
        )
        return EXIT_DONE
    print(f"{options.data}: {len(data)} readings, the last {HELD_OUT_DAYS} days held out")
    for i in range(0, len(result.course), 8):
        print(f"  iteration {i:2}: log-likelihood {result.course[i]:7.3f} nats a reading")
    print(f"air changes of the closed room: {result.leakage:.2f} per hour")
    for name, ppm in zip(learn.OCCUPANCY, result.emission, strict=True):
        print(f"  {name:5} emits {ppm:5.0f} ppm/h")
    print(
        f"held-out days: {result.held_out:.3f} nats a reading; independent histograms {result.histograms:.3f}"
    )
    print(f"{options.output}: written in {seconds:.1f} s")
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
