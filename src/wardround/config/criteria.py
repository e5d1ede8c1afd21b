"""By what a run may choose among its models: public records, or, where nothing is private, the hospitals' test records.

What is left out on purpose: whether public records fit the model (see `datasets.public_records`).
"""

from wardround.config.settings import Config
from wardround.errors import ConfigError
from wardround.privacy.cells import cell_of

__all__ = ["check_criterion"]


def check_criterion(config: Config, *, has_public: bool, is_measured: bool = True) -> None:
    """Refuse a choice that nothing public decides, or that nothing decides at all.

    Args:
        config: all settings.
        has_public: whether there are public records, from [evaluation] public or from Python.
        is_measured: whether hospitals' test records are, as in simulation.

    Raises:
        ConfigError: naming the setting, and what it needs.
    """
    evaluation = config.evaluation
    if has_public or not evaluation.chooses:
        return
    key, value = ("patience", evaluation.patience) if evaluation.patience else ("keep", f'"{evaluation.keep}"')
    if cell_of(config.privacy).is_private:
        raise ConfigError(
            f"{key} = {value} needs public records ([evaluation] {key}): which model is the best on the hospitals' own "
            "test records would be a release of theirs that nobody accounts for; name some with public = "
            '"package.module:loader", or remove it'
        )
    if not evaluation.is_exact:
        raise ConfigError(
            f'{key} = {value} needs public records ([evaluation] {key}): release = "{evaluation.release}" tells no '
            'test scores by which a model could be chosen; name some with public = "package.module:loader", or remove '
            "it"
        )
    if not is_measured:
        raise ConfigError(
            f"{key} = {value} needs public records ([evaluation] {key}): real sites evaluate no model; name some with "
            'public = "package.module:loader", or remove it'
        )
