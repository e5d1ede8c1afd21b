"""The user's own table, of one file or by a schema that several tables share."""

from pathlib import Path

from wardround.config import FederationConfig
from wardround.datasets import own_tables
from wardround.datasets.records import Dataset
from wardround.datasets.source import Source
from wardround.errors import ConfigError

__all__ = ["SOURCES"]


def load_own_table(config: FederationConfig, paths: list[Path]) -> Dataset:
    """Return the rows of [federation] path, read as its schema says where there is one.

    Raises:
        ConfigError: there is no such file or column.
        DataError: the file can't be read, or is not what the settings say.
    """
    if config.path is None:
        raise ConfigError(
            'dataset = "csv" needs [federation] path: add path = "...", or hand the table over from Python, as '
            "federation="
        )
    if config.schema is None:
        return own_tables.load_own_table(config)
    path = Path(config.path).expanduser()
    return own_tables.read_schema_table(path, config, config.hospital_column, place="[federation] path")[0]


SOURCES = (
    Source(
        name="csv",
        place=100,
        sentence="your own table (CSV, Parquet, Excel; one file or one a hospital): [federation] path, target, ...",
        task="either",
        num_rows=None,
        load=load_own_table,
    ),
)
