"""The Flower ServerApp: the same loop under `flwr run`, on Flower's own simulation or on real SuperNodes.

Settings come from the run config: `config` (a path; empty for the defaults), `set` (overrides, separated by spaces),
`out` (the run folder; an earlier run in it is resumed), `num-nodes` (how many to wait for), `timeout-seconds` (that a
real site's reply is waited for; then it is left out) and `roster` (a path: of the
sites, for secure aggregation between real ones). What is left out on purpose: starting nodes, which is Flower's affair,
and the page, which is written by what `make_server_app` is given.
"""

import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from flwr.app import Context
from flwr.serverapp import Grid, ServerApp

from wardround.clients.initial_models import build_initial_model
from wardround.config import Config, check_agreement, load_config, releases_shares, split_overrides
from wardround.datasets.public_records import public_of
from wardround.errors import CohortError, ConfigError
from wardround.identity import as_this_process_has_it
from wardround.parsing import sound
from wardround.privacy.cells import cell_of
from wardround.secagg import read_roster
from wardround.server.record.run_folder import create_run_folder, default_run_path, open_run_folder
from wardround.server.record.warm_starts import warm_started, with_initial_digest
from wardround.server.round.introductions import agreed_profile, connect, connect_sites
from wardround.server.round.loop import federate
from wardround.server.round.measuring import measuring_of
from wardround.strategies import know_own_names, strategy_of

__all__ = ["make_server_app", "serve"]

_WAIT_SECONDS, _POLL_SECONDS = 120.0, 0.5
_REPLY_SECONDS = 3600.0


def make_server_app(finished: Callable[[Path], object]) -> ServerApp:
    """Return the ServerApp; `finished` is called with the run's folder when all rounds are done."""
    app = ServerApp()

    @app.main()
    def main(grid: Grid, context: Context) -> None:
        finished(serve(grid, context))

    return app


def serve(grid: Grid, context: Context) -> Path:
    """Run or resume the federation that the run config describes, and return its folder.

    Raises:
        ConfigError: a setting is wrong, or none that real sites can have, or placement is "distributed" without secure
            aggregation: replies reach this server one by one here.
    """
    settings = {key: str(context.run_config.get(key, "")) for key in ("config", "set", "out", "roster")}
    config = as_this_process_has_it(load_config(settings["config"] or None, split_overrides(settings["set"])))
    config = with_initial_digest(config)
    _check_on_grid(config, has_roster=bool(settings["roster"]))
    num_nodes, timeout_seconds = _waits(context)
    roster = read_roster(Path(settings["roster"])) if settings["roster"] else None
    if roster is not None:
        check_agreement(config)
    strategy = strategy_of(config)
    public = public_of(config, None, is_measured=roster is None)
    # Of real sites those who are there go on without the others.
    _wait_for_nodes(grid, num_nodes, num_nodes if roster is None else config.aggregation.min_survivors)
    link = connect(grid) if roster is None else connect_sites(grid, config, roster, timeout_seconds)
    # Of real sites all agreed on the schema, and no site's word makes the model.
    profile = link.profiles[0] if roster is None else agreed_profile(config)
    fingerprints = {measured.fingerprint for measured in link.measures.values()}
    model = warm_started(config, build_initial_model(config, profile), fingerprints)
    know_own_names(strategy, model.own)
    measuring = measuring_of(config, profile, public=public)
    path = Path(settings["out"]) if settings["out"] else default_run_path(config)
    folder = open_run_folder(path) if (path / "ledger.sqlite").is_file() else create_run_folder(path, config)
    facts = replace(model.facts, engine="flower")
    summary = federate(config, link, folder, model.arrays, strategy=strategy, facts=facts, measuring=measuring)
    lost = summary.num_rounds_lost
    but = f"; {lost} charged and not in the model, see left_out in summary.json" if lost else ""
    print(f"{path}: {summary.status} after round {summary.num_rounds}, epsilon {summary.epsilon.total}{but}")
    return path


def _check_on_grid(config: Config, *, has_roster: bool) -> None:
    """Refuse what a server can't do that sees replies one by one, and knows no columns."""
    if cell_of(config.privacy).needs_secure_sum and config.aggregation.protocol != "secagg+":
        raise ConfigError(
            f'protocol = "{config.aggregation.protocol}" shows single contributions to the server on Flower\'s grid, '
            'and with placement = "distributed" they carry too little noise: set [aggregation] protocol = "secagg+"'
        )
    if config.features.standardise == "private" or config.features.bounds is not None:
        raise ConfigError(
            'standardise = "private" needs a server that knows the columns, which on Flower\'s grid it does not '
            "([features] standardise): run it with wardround run, or give the hospitals a schema, whose ranges scale "
            "their features"
        )
    if config.evaluation.release == "private" and not has_roster:
        raise ConfigError(
            'release = "private" is of real sites on Flower\'s grid, where simulated hospitals score models one by one '
            '([evaluation] release): give the roster of the sites (--run-config), set "none", or run it with '
            "wardround run"
        )
    if releases_shares(config):
        raise ConfigError(
            f'remedy = "{config.imbalance.remedy}" is made of class shares that are released before round 1, which is '
            "not done on Flower's grid ([imbalance] remedy): give public numbers ([training] loss-weights, [imbalance] "
            "copies), or run it with wardround run"
        )


def _waits(context: Context) -> tuple[int, float]:
    """Return how many nodes are waited for, and how long a real site's reply is."""
    with sound(ConfigError, "num-nodes or timeout-seconds can't be read", "give numbers (--run-config)"):
        num_nodes = int(context.run_config.get("num-nodes", 0))
        timeout_seconds = float(context.run_config.get("timeout-seconds", _REPLY_SECONDS))
    if num_nodes < 1:
        raise ConfigError("num-nodes must be the number of hospitals (--run-config): the server waits for all of them")
    if not timeout_seconds > 0:
        raise ConfigError(f"timeout-seconds = {timeout_seconds:g} must be > 0 (--run-config): 3600 is an hour")
    return num_nodes, timeout_seconds


def _wait_for_nodes(grid: Grid, num_nodes: int, least: int) -> None:
    """Wait until as many nodes as wanted are connected, as Flower may start the server first; then at least so many."""
    deadline = time.monotonic() + _WAIT_SECONDS
    while (connected := len(list(grid.get_node_ids()))) < num_nodes:
        if time.monotonic() > deadline:
            if connected >= least:
                return
            raise CohortError(f"{connected} of {num_nodes} nodes are connected after {_WAIT_SECONDS:.0f} s: start more")
        time.sleep(_POLL_SECONDS)
