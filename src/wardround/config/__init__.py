"""Settings: one frozen record for each section, and TOML in and out."""

from wardround.config.sections import (
    AggregationConfig,
    Config,
    FederationConfig,
    ModelConfig,
    PrivacyConfig,
    SimulationConfig,
    TrainingConfig,
)
from wardround.config.toml_files import config_from_dict, config_to_toml, load_config, read_toml

__all__ = [
    "AggregationConfig",
    "Config",
    "FederationConfig",
    "ModelConfig",
    "PrivacyConfig",
    "SimulationConfig",
    "TrainingConfig",
    "config_from_dict",
    "config_to_toml",
    "load_config",
    "read_toml",
]
