"""What the settings of a federation of real sites must be; the server and every site check them alike.

What is left out on purpose: a site's own file (see `clients.site_file`), and whether server and sites have the same
settings (see `identity.agreed_digest`).
"""

from wardround.config.sections import Config
from wardround.errors import ConfigError

__all__ = ["check_agreement"]


def check_agreement(config: Config) -> None:
    """Refuse settings that real sites can't have.

    Raises:
        ConfigError: the first setting that they can't have, why, and what to set instead.
    """
    for message, holds in (_shown(config) | _of_one_table(config)).items():
        if holds:
            raise ConfigError(message)


def _shown(config: Config) -> dict[str, bool]:
    """Return what would show the server more than a sum, or tell it of one patient, and whether it is so."""
    return {
        f'protocol = "{config.aggregation.protocol}" would show a real site\'s update to the server ([aggregation] '
        'protocol): set "secagg+"': config.aggregation.protocol != "secagg+",
        'grad-sample-mode = "ghost" can\'t average the rows of one patient, and a site that fails would tell that '
        'a patient has several ([training] grad-sample-mode): set "auto", or remove patient-column': (
            config.federation.patient_column is not None and config.training.grad_sample_mode == "ghost"
        ),
        "target-delta must be one number for real sites, at which each of them bounds what it spends ([privacy] "
        "target-delta): set the smallest": not isinstance(config.privacy.target_delta, float),
    }


def _of_one_table(config: Config) -> dict[str, bool]:
    """Return what a site's own table does not go with, or only simulated hospitals have, and whether it is so."""
    federation, rate = config.federation, config.simulation.dropout_rate
    return {
        f'dataset = "{federation.dataset}" must be "csv" with a [federation.schema] for real sites ([federation] '
        "dataset): state the columns, levels and public ranges that every site's table has": (
            federation.dataset != "csv" or federation.schema is None
        ),
        "max-records is missing, and real sites need it ([federation] max-records): set the most training records "
        "that any of them has; it is public, and bounds what each sends": federation.max_records is None,
        f'hospital-column = "{federation.hospital_column}" has no meaning where every site has a table of its own '
        "([federation] hospital-column): remove it": federation.hospital_column is not None,
        "class-weights leaves rows out by their class, which a real site's number of records would tell "
        "([federation] class-weights): remove it": federation.class_weights is not None,
        f'partition = "{federation.partition}" is of simulated hospitals ([federation] partition): remove '
        'it, or set "natural"': federation.partition not in (None, "natural"),
        f"dropout-rate = {rate} is of simulated hospitals ([simulation] dropout-rate): remove it": rate > 0,
    }
