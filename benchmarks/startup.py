"""How fast the command line answers, beside the imports it avoids: `python benchmarks/startup.py`."""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

COMMANDS = {
    "cytobench --help": ["-m", "cytobench", "--help"],
    "cytobench list backbones": ["-m", "cytobench", "list", "backbones"],
    "cytobench list tasks": ["-m", "cytobench", "list", "tasks"],
    "cytobench data list": ["-m", "cytobench", "data", "list"],
    "cytobench data show pbc": ["-m", "cytobench", "data", "show", "pbc"],
    "python -c pass": ["-c", "pass"],
    "import torch, timm": ["-c", "import torch, timm"],
}


def seconds(arguments: list[str]) -> float:
    """Wall time of one Python process."""
    began = time.perf_counter()
    subprocess.run([sys.executable, *arguments], check=True, capture_output=True)
    return time.perf_counter() - began


def main() -> None:
    """Time every command in turn, several rounds, and print medians."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    taken: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for round_number in range(rounds + 1):
        for name, arguments in COMMANDS.items():
            once = seconds(arguments)
            if round_number:  # the first round fills the disk cache
                taken[name].append(once)
    slowest = statistics.median(taken["import torch, timm"])
    print(f"Medians of {rounds} rounds after one that is not counted.\n")
    print("| process | seconds | of importing torch and timm |")
    print("|---|---:|---:|")
    for name, values in taken.items():
        middle = statistics.median(values)
        print(f"| `{name}` | {middle:.2f} | {middle / slowest:.2f} |")


if __name__ == "__main__":
    main()
