"""The commands that count, measure claims and measure speed."""

from pathlib import Path

from bad_input.entry import Entries, Entry, arguments

COUNT: Entries = arguments(
    "count",
    {
        "--heigth 5": "--heigth: did you mean --height?",
        "--height 0": "height is 0",
        "--height five": "'five'",
        "--height 5 6": "'6' is one argument too many",
        "--height": "--height has no value",
        "--height 99999999999999999999": "at most 4,096 pixels are counted",
        "--delta 1000": "delta is 1000",
        "--delta -1": "delta is -1",
        "--delta 4 --delta 5": "--delta is given twice",
        "--in-channels 0": "in_channels is 0",
        "--stride 0": "stride is 0",
        "--tile 0": "tile is 0",
        "--tile 1001": "--tile is 1001",
        "--rank 0": "rank is 0",
        "--rank 442": "more than 441 would have no effect",
        "--dtype float": "'float'",
        "--boundary zeros": "did you mean 'zero'?",
        "5": "'5' is one argument too many",
    },
)


PICTURES: Entries = arguments(
    "pictures",
    {
        "tie_table": "did you mean 'tie_tables'?",
        "kernels --source mnits": "did you mean 'mnist'?",
        "kernels --source signal_patches": "allowed are cifar10, digits, fashion_mnist, mnist",
        "tie_tables --output config.py": "config.py, a file",
        "kernels --output config.py/here": "--output is config.py/here, which cannot be made",
        "--outptu here": "did you mean --output?",
    },
)


def damaged_claims() -> None:
    Path("found").mkdir()
    Path("found/claims.json").write_text('{"format": 2, "claims": []}')


def old_claims() -> None:
    Path("found").mkdir()
    Path("found/claims.json").write_text('{"format": 1}')


def occupied() -> None:
    Path("found").mkdir()
    Path("found/thesis.tex").touch()


LADDER = "claims parameter_ladder"

CLAIMS: Entries = {
    "a misspelt claim": Entry("claims kernel_latice", "did you mean 'kernel_lattice'?"),
    "a tier that is not there": Entry(LADDER + " --tier tpu", "Unknown --tier 'tpu': allowed are cpu, gpu"),
    "a misspelt flag": Entry(LADDER + " --teir cpu", "Unknown flag --teir: did you mean --tier?"),
    "a negative seed": Entry(LADDER + " --seed -1", "--seed is -1: it must be at least 0."),
    "a fraction for a seed": Entry(LADDER + " --seed 1.5", "--seed is '1.5': it takes a whole number."),
    "a fraction for a seed, before a name": Entry(
        "claims --seed 1.5 reach", "--seed is '1.5': it takes a whole number."
    ),
    "an empty name": Entry(LADDER + " --output ''", "--output is empty: give it a value, or leave it out."),
    "images that no claim looks at": Entry(LADDER + " --cifar10 .", "none of the claims named uses CIFAR-10"),
    "images that are not there": Entry(
        "claims sample_efficiency --cifar10 nowhere", "There is no data folder 'nowhere'"
    ),
    "a folder without images": Entry("claims sample_efficiency --cifar10 .", "is missing: an image folder needs"),
    "a file for a folder": Entry(LADDER + " --output config.py", "config.py is a file and must be a folder"),
    "a folder of something else": Entry(LADDER + " --output found", "found holds thesis.tex", prepare=occupied),
    "damaged records": Entry(
        LADDER + " --output found",
        "found/claims.json is damaged",
        prepare=damaged_claims,
        shown="no claims in them",
    ),
    "records of another format": Entry(LADDER + " --output found", "is of format 1", prepare=old_claims),
}

BENCHMARK: Entries = arguments(
    "benchmark",
    {
        "": "Name a suite first",
        "--rounds 3": "Name a suite first",
        "layer": "suite 'layer': allowed are executors, layers, megapixel, sweep; did you mean 'layers'?",
        "layers sweep": "'sweep' is one argument too many",
        "sweep --cells cnov": "did you mean 'conv'?",
        "sweep --cells": "--cells is empty",
        "sweep --cells conv conv": "--cells is conv conv: it needs one or more values, each of them once.",
        "sweep --round 3": "--round: did you mean --rounds?",
        "sweep --rounds 0": "--rounds is 0",
        "sweep --candidates 0": "--candidates is (0,)",
        "sweep --size 30": "--size has no effect in the suite sweep: it is of megapixel.",
        "layers --deltas -1": "--deltas is (-1,)",
        "layers --deltas 50": "delta is 50: on an image of 28 x 28",
        "layers --batch x": "--batch is 'x': it takes a whole number.",
        "layers --shapes 28x28": "--shapes has the entry '28x28'",
        "layers --shapes 999999x999999x1->1": "take",
        "megapixel --size 8 --deltas 9": "delta is 9: on an image of 8 x 8",
        "layers --output nowhere/rows.json": "There is no folder nowhere",
        "layers --output .": "--output is ., a folder: name a file.",
        "layers --output /dev/full": "--output is /dev/full, which is there and no file",
        "layers --output /proc/rows.json": "--output is /proc/rows.json, which cannot be written",
        "layers --output ''": "--output is empty",
        "layers --figure .": "--figure is ., a folder: name a file.",
        "layers --figure ratios.xyz": "--figure is ratios.xyz: its name must end in .png",
        "layers --figure rows.png --output rows.png": "one would overwrite the other",
    },
)
