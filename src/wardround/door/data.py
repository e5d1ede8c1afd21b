"""Which data sets there are, what is in one, and getting it."""

from pathlib import Path
from typing import TYPE_CHECKING

from wardround import datasets
from wardround.datasets import SOURCES, Federation, load_federation
from wardround.door.given import Settings, settings_of, with_objects
from wardround.reports.data_tables import shown_description

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["catalogue", "describe", "describe_columns", "fetch"]


def catalogue() -> "pd.DataFrame":
    """Return one row a data set: what it is, its task, its records, and whether it must be downloaded."""
    import pandas as pd

    told = ("name", "sentence", "task", "num_rows", "needs_download")
    rows = [{key: getattr(source, key) for key in told} for source in SOURCES.values()]
    return pd.DataFrame(rows).set_index("name")


def describe(config: Settings = None, *, federation: Federation | None = None) -> "pd.DataFrame":
    """Return one row a hospital, as `wardround data describe` shows them: small counts are not told.

    Raises:
        WardroundError: the data are missing or damaged, or the settings don't fit them.
    """
    settings = with_objects(settings_of(config), federation=federation)
    import pandas as pd

    rows = shown_description(datasets.describe(load_federation(settings.federation, settings.features)))
    return pd.DataFrame(rows).set_index("hospital")


def describe_columns(config: Settings = None, *, federation: Federation | None = None) -> "pd.DataFrame":
    """Return one row a column of a user's table: what it is used for, the features made of it, and why it is none.

    Raises:
        WardroundError: the data are missing or damaged, or the settings don't fit them.
    """
    settings = with_objects(settings_of(config), federation=federation)
    import pandas as pd

    rows = datasets.describe_columns(load_federation(settings.federation, settings.features))
    return pd.DataFrame(rows, columns=["column", "kind", "features", "reason"]).set_index("column")


def fetch(name: str, data_dir: str | None = None) -> list[Path]:
    """Return the verified files of a data set, downloaded where no folder has them (see `datasets.fetch`)."""
    return datasets.fetch(name, data_dir)
