"""The data of a study's runs, read once in a process: most of its runs differ in their seed, and not in their data.

What is left out on purpose: federations, models and plans of runs, which are each run's own.
"""

from dataclasses import replace

from wardround.config import FeaturesConfig, FederationConfig
from wardround.datasets import Dataset, FederatedData, build_federation, extracted, load_dataset

__all__ = ["DataOnce"]


class DataOnce:
    """Loads the federations of runs one after the other, and keeps the data set that the last one was made of.

    A `Dataset` is frozen and its arrays are read-only, and a federation's arrays are copies of its rows, so that
    nothing passes from one run to the next. Which data set it is follows from the settings without the seed, which
    sources never see, and from what its images become; files are taken to stay as they are while a worker does its
    study's runs.
    """

    def __init__(self) -> None:
        """Keep nothing yet."""
        self._kept: tuple[tuple[FederationConfig, str, int | None], Dataset] | None = None

    def load(self, config: FederationConfig, features: FeaturesConfig) -> FederatedData:
        """Return what `datasets.load_federation` does, and raise what it does."""
        if config.handed is not None:  # it is in memory already, and is not told by its settings
            return build_federation(extracted(load_dataset(config), features), config, features)
        wanted = replace(config, seed=0), features.extract, features.group_norm
        if self._kept is None or self._kept[0] != wanted:
            self._kept = None  # before the next one takes its memory
            self._kept = wanted, extracted(load_dataset(config), features)
        return build_federation(self._kept[1], config, features)
