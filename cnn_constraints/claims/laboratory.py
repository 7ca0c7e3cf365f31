"""From the name of a claim to its record: the images it looks at, the seeds it is confirmed with, what is measured anew."""

import sys
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pandas

from cnn_constraints.claims import Tier, records
from cnn_constraints.claims.claim import PHOTOGRAPHS, Laboratory, draw_seeds
from cnn_constraints.claims.records import Record
from cnn_constraints.claims.registry import CLAIMS
from cnn_constraints.data.datasets import build_dataset
from cnn_constraints.data.sources import digest
from cnn_constraints.errors import InputError
from cnn_constraints.experiment import Data, Experiment
from cnn_constraints.settings import own_settings
from cnn_constraints.sweep import run


@dataclass(frozen=True)
class Session:
    """What the claims of one command share. images: where those of each data set come from. arguments: of the command."""

    folder: Path
    tier: Tier
    entropy: int
    images: Mapping[str, Data]
    arguments: list[str]

    @own_settings()
    def settle(self, name: str, known: Record | None) -> tuple[Record, pandas.DataFrame | None]:
        """The record of a claim and, where it was measured now, the curves it comes from.

        A known record is measured anew where it is of another version of the claim, or of other images. Raises InputError
        where a claim cannot be measured.
        """
        claim = CLAIMS[name].of_tier(self.tier)
        seeds = draw_seeds(claim, self.tier, self.entropy)
        sources = {data_set: _in_words(self.images[data_set]) for data_set in claim.data_sets}
        terms = records.terms(claim, seeds, sources)
        if known is not None:
            changed = records.changes(known, terms)
            if not changed:
                return known, None
            print(f"{name}: measured anew, since its record differs in {', '.join(changed)}", file=sys.stderr)
        print(f"{name}: measuring with seeds {', '.join(map(str, seeds))}", file=sys.stderr)
        started = time.perf_counter()
        runs = self.folder / "runs" / name
        measurement = claim.measure(Laboratory(self.tier, seeds, self.images, lambda some: self.train(some, runs)))
        return records.judge(terms, measurement.values, time.perf_counter() - started), measurement.curves

    def train(self, experiments: Iterable[Experiment], folder: Path) -> pandas.DataFrame:
        """The table of `store.read` for these experiments, in their order. How many diverged is told."""
        results = run(experiments, folder, arguments=self.arguments).results
        if diverged := sum(results["test_accuracy"].isna().tolist()):
            words = f"{diverged} of {len(results)} experiments diverged at every learning rate: see {folder}"
            print(words, file=sys.stderr)
        return results


def find_images(names: Iterable[str], tier: Tier, cifar10: str | None) -> dict[str, Data]:
    """Where the images that claims need come from. Raises InputError where they cannot be read: not after an hour."""
    images = {}
    for data_set in sorted({data_set for name in names for data_set in CLAIMS[name].of_tier(tier).data_sets}):
        in_folder = cifar10 is not None and data_set == PHOTOGRAPHS
        images[data_set] = Data(source="folder", folder=cifar10) if in_folder else Data(source=data_set)
        try:
            build_dataset(images[data_set])
        except InputError as error:
            if in_folder or data_set != PHOTOGRAPHS:
                raise
            raise InputError(f"{error} Or name a folder of its images: --cifar10 <folder>.") from None
    return images


def _in_words(data: Data) -> str:
    """Which images these are: named data sets are verified by their checksums, a folder is what lies there."""
    return data.source if data.folder is None else f"{data.folder}, SHA-256 {digest(data.folder)[:16]}"
