"""Data: sources by name, partitions over hospitals, and each hospital's training and test rows.

Left out on purpose: augmentation of images (see decision 45).
"""

from wardround.datasets.extraction import extracted
from wardround.datasets.federation import build_federation
from wardround.datasets.handed_data import Federation
from wardround.datasets.loading import load_dataset, load_federation, resolved
from wardround.datasets.records import Dataset, FederatedData, HospitalData, NumberColumn
from wardround.datasets.site_table import load_site_table
from wardround.datasets.source import Source
from wardround.datasets.sources import SOURCES, fetch
from wardround.datasets.tables import describe, describe_columns, describe_features

__all__ = [
    "SOURCES",
    "Dataset",
    "FederatedData",
    "Federation",
    "HospitalData",
    "NumberColumn",
    "Source",
    "build_federation",
    "describe",
    "describe_columns",
    "describe_features",
    "extracted",
    "fetch",
    "load_dataset",
    "load_federation",
    "load_site_table",
    "resolved",
]
