"""What the settings of a federation of real sites must be; the server and every site check them alike.

What is left out on purpose: a site's own file (see `clients.site_file`), and whether server and sites have the same
settings (see `identity.agreed_digest`).
"""

from collections.abc import Iterator

from wardround.config.imbalance import check_remedy
from wardround.config.sections import FederationConfig
from wardround.config.settings import Config
from wardround.errors import ConfigError

__all__ = ["check_agreement"]


def check_agreement(config: Config) -> None:
    """Refuse settings that real sites can't have.

    Raises:
        ConfigError: the first setting that they can't have, why, and what to set instead.
    """
    for message in (*_seen(config), *_of_tables(config.federation), *_of_simulations(config), *_of_scores(config)):
        raise ConfigError(message)
    schema, target = config.federation.schema, config.federation.target
    if schema is not None and target is not None:
        check_remedy(config, schema.class_names(target), most_records=config.federation.max_records)


def _seen(config: Config) -> Iterator[str]:
    """Yield what would show the server more than a sum, or tell it of one patient."""
    if config.aggregation.protocol != "secagg+":
        yield (
            f'protocol = "{config.aggregation.protocol}" would show a real site\'s update to the server ([aggregation] '
            'protocol): set "secagg+"'
        )
    if config.federation.patient_column is not None and config.training.grad_sample_mode == "ghost":
        yield (
            'grad-sample-mode = "ghost" can\'t average the rows of one patient, and a site that fails would tell that '
            'a patient has several ([training] grad-sample-mode): set "auto", or remove patient-column'
        )
    if config.federation.patient_column is not None and config.privacy.microbatch_size > 1:
        yield (
            f"microbatch-size = {config.privacy.microbatch_size} groups records of one row, and a site that fails "
            "would tell that a patient has several ([privacy] microbatch-size): remove it, or patient-column"
        )
    if not isinstance(config.privacy.target_delta, float):
        yield (
            "target-delta must be one number for real sites, at which each of them bounds what it spends ([privacy] "
            "target-delta): set the smallest"
        )


def _of_tables(federation: FederationConfig) -> Iterator[str]:
    """Yield what every site's own table does not go with."""
    if federation.dataset != "csv" or federation.schema is None:
        yield (
            f'dataset = "{federation.dataset}" must be "csv" with a [federation.schema] for real sites ([federation] '
            "dataset): state the columns, levels and public ranges that every site's table has"
        )
    if federation.max_records is None:
        yield (
            "max-records is missing, and real sites need it ([federation] max-records): set the most training records "
            "that any of them has; it is public, and bounds what each sends"
        )
    if federation.hospital_column is not None:
        yield (
            f'hospital-column = "{federation.hospital_column}" has no meaning where every site has a table of its own '
            "([federation] hospital-column): remove it"
        )
    if federation.patient_scope == "hospital":
        yield (
            'patient-scope = "hospital" has no meaning where every site has a table of its own, whose patients are its '
            "own ([federation] patient-scope): remove it"
        )
    if federation.class_weights is not None:
        yield (
            "class-weights leaves rows out by their class, which a real site's number of records would tell "
            "([federation] class-weights): remove it"
        )


def _of_simulations(config: Config) -> Iterator[str]:
    """Yield what only simulated hospitals have."""
    if config.federation.partition not in (None, "natural"):
        yield (
            f'partition = "{config.federation.partition}" is of simulated hospitals ([federation] partition): remove '
            'it, or set "natural"'
        )
    if config.training.evaluate_every != 1:
        yield (
            f"evaluate-every = {config.training.evaluate_every} is of simulated hospitals, as real sites test no model "
            "for anyone ([training] evaluate-every): remove it"
        )
    if config.simulation.dropout_rate:
        yield (
            f"dropout-rate = {config.simulation.dropout_rate} is of simulated hospitals ([simulation] dropout-rate): "
            "remove it"
        )
    if config.audit.is_used:
        yield "[audit] is of simulated hospitals: remove it, and audit the run's folder with wardround audit"
    if config.evaluation.patience is not None:
        yield (
            f"patience = {config.evaluation.patience} would end a run by its models ([evaluation] patience): a site's "
            "own account is of the rounds that it was in, and only that of all planned rounds is proved; remove it "
            '(keep = "best" goes with real sites)'
        )


def _of_scores(config: Config) -> Iterator[str]:
    """Yield what keeps real sites from releasing test scores."""
    if config.evaluation.release != "private":
        return
    if (config.privacy.target_epsilon, config.privacy.budget_epsilon) == (None, None):
        yield (
            'release = "private" needs a bound that every site holds it to ([evaluation] release): set target-epsilon '
            "or budget-epsilon ([privacy])"
        )
    schema, target = config.federation.schema, config.federation.target
    if schema is not None and target is not None and schema.task(target) != "classification":
        yield (
            f'release = "private" is of classes, and {target} is a number or a time, whose errors have no largest one '
            "([evaluation] release): remove it"
        )
