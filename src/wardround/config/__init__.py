"""Settings: one frozen record for each section, and TOML in and out."""

from wardround.config.agreements import check_agreement
from wardround.config.audit import (
    DEFAULT_CANARIES,
    DEFAULT_HOSPITALS,
    FEWEST_MODELS,
    AuditConfig,
    check_scores_of_shadows,
    check_unaudited,
    unaudited_because,
)
from wardround.config.changes import Changed, change_tables
from wardround.config.criteria import check_criterion
from wardround.config.features import (
    HOSPITAL,
    MOST_DEVIATIONS,
    NONE,
    PRIVATE,
    PUBLIC,
    SCATTERING,
    FeaturesConfig,
    check_features_use,
)
from wardround.config.federation import TABLE_KEYS
from wardround.config.imbalance import ImbalanceConfig, check_remedy, releases_shares
from wardround.config.loss_weights import check_loss_weights
from wardround.config.personal import PersonalConfig
from wardround.config.releases import check_exact_scores
from wardround.config.schemas import Column, Schema, schema_from_table
from wardround.config.sections import (
    AggregationConfig,
    EvaluationConfig,
    FederationConfig,
    ModelConfig,
    PrivacyConfig,
    SimulationConfig,
    TrainingConfig,
)
from wardround.config.settings import NAMED_BY, Config, config_from_dict, config_to_toml, load_config
from wardround.config.strategy_options import STRATEGY_OPTIONS
from wardround.config.toml_files import read_toml, split_overrides
from wardround.config.unused import unused_settings

__all__ = [
    "DEFAULT_CANARIES",
    "DEFAULT_HOSPITALS",
    "FEWEST_MODELS",
    "HOSPITAL",
    "MOST_DEVIATIONS",
    "NAMED_BY",
    "NONE",
    "PRIVATE",
    "PUBLIC",
    "SCATTERING",
    "STRATEGY_OPTIONS",
    "TABLE_KEYS",
    "AggregationConfig",
    "AuditConfig",
    "Changed",
    "Column",
    "Config",
    "EvaluationConfig",
    "FeaturesConfig",
    "FederationConfig",
    "ImbalanceConfig",
    "ModelConfig",
    "PersonalConfig",
    "PrivacyConfig",
    "Schema",
    "SimulationConfig",
    "TrainingConfig",
    "change_tables",
    "check_agreement",
    "check_criterion",
    "check_exact_scores",
    "check_features_use",
    "check_loss_weights",
    "check_remedy",
    "check_scores_of_shadows",
    "check_unaudited",
    "config_from_dict",
    "config_to_toml",
    "load_config",
    "read_toml",
    "releases_shares",
    "schema_from_table",
    "split_overrides",
    "unaudited_because",
    "unused_settings",
]
