"""A user's own table: read as texts, understood column by column, and nothing guessed in silence."""

from wardround.datasets.own_tables.schema_tables import read_schema_table
from wardround.datasets.own_tables.user_tables import dataset_of_frame, load_own_table

__all__ = ["dataset_of_frame", "load_own_table", "read_schema_table"]
