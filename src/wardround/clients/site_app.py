"""A real site's app: what it is and does comes from its own file, and nothing but refusals says why it did not.

Three rules hold here for every action. All settings, the table and the code are those that `site.toml` names, and a
server with others is refused. What a release costs is computed and noted before it is made. And of what goes wrong
one constant sentence leaves, unless it is a refusal, which depends on no record (`errors.Refusal`). What is left out on
purpose: evaluation, since what it tells is not accounted for.
"""

import logging
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from flwr.app import Context, Message
from flwr.clientapp import ClientApp
from torch import nn

from wardround import wire
from wardround.clients.assignments import Part, check_sum
from wardround.clients.profiles import hospital_profile
from wardround.clients.released import Released, note_release, read_releases
from wardround.clients.secagg import SecAggMod, terms_in
from wardround.clients.site_code import site_code
from wardround.clients.site_file import SiteFile, read_site_file
from wardround.clients.site_log import log_failure, seen
from wardround.clients.site_rounds import check_history, check_round, check_spending, event_in
from wardround.clients.trainers import build_trainer, hospital_tensors
from wardround.clients.training import LocalTrainer
from wardround.config import Config
from wardround.datasets import Federation, load_site_table
from wardround.errors import ProtocolError, Refusal, UpdateError
from wardround.exact_sums import check_alike
from wardround.identity import differing_lines
from wardround.leaves import LEAVES_HOSPITAL, PUBLIC
from wardround.models import parameters_of
from wardround.privacy.clipping import COUNT_NAME
from wardround.rounds import Assignment
from wardround.secagg import Terms
from wardround.step_events import StepEvent

__all__ = ["answer_as_site", "make_site_app"]

_log = logging.getLogger(__name__)
_PUBLIC_FIELDS = frozenset(name for name, ground in LEAVES_HOSPITAL.items() if ground == PUBLIC)


def answer_as_site(message: Message, context: Context) -> Message:
    """Return a real site's reply to any message.

    Raises:
        Refusal: the server, the node's config or the roster asks for what the site's settings don't say.
        ProtocolError: anything else went wrong: always the same sentence; what it was is in the site's own log.
    """
    name = "this site"
    try:
        file = read_site_file(_path_in(context))
        name = f"site {file.site.name}"
        reply = make_site_app(file)(message, context)
        if not reply.has_error():
            return reply
        _log.error("%s could not do what it was asked: %s", name, seen(str(reply.error.reason)))
    except Refusal as refusal:
        text = seen(str(refusal))  # it quotes the server
        _log.warning("%s refuses: %s", name, text)
        raise Refusal(text) from None
    except (Exception, SystemExit):  # whatever the table, a user's model or a library may raise, with a record in it
        log_failure(_log, f"{name} could not do what it was asked")
    raise ProtocolError(f"{name} could not do this: its log says why")


def _path_in(context: Context) -> Path:
    path = context.node_config.get("site")
    if not isinstance(path, str) or not Path(path).is_absolute():
        raise Refusal(
            "a node that is not told its partition alone is a real site, and takes everything from a file of its own: "
            "start the SuperNode with --node-config 'site=\"/absolute/path/of/site.toml\"'"
        )
    return Path(path)


def make_site_app(file: SiteFile) -> ClientApp:
    """Return the app of one real site; its errors are not yet fit to leave (see `answer_as_site`)."""
    config, site, proximal_mu = file.config, file.site, file.config.aggregation.proximal_mu or 0.0

    @cache
    def table() -> Federation:
        return load_site_table(config.federation, path=file.data, hospital_id=site.name, key=site.signing_key)

    @cache
    def the_trainer() -> LocalTrainer:
        with site_code(config, file.code):
            return build_trainer(config, table(), is_real=True)

    @cache
    def the_part() -> Part:
        return Part(
            config=config,
            hospital_id=site.name,
            num_train=table().hospitals[0].num_records,
            names=file.names,
            num_parameters=the_trainer().num_parameters,
        )

    def check_terms(terms: Terms, message: Message | None) -> None:
        assignment = None if message is None else wire.assignment_of(message)
        check_sum(config, terms, assignment, agreed=file.digest)
        check_round(the_part(), terms, assignment)
        spent = _spent_in_run(terms, file, table().hospitals[0].fingerprint, read_releases(file.releases))
        if message is not None and assignment is not None:
            _check_told(message, config, the_trainer().model)
            check_spending(the_part(), assignment, spent)

    def weight_of(message: Message, reply: Message) -> float:
        return the_part().cell.vector_weight(the_part().num_train)

    mod = SecAggMod(
        lambda context: site,
        check_terms=check_terms,
        weight_of=weight_of,
        keep_metrics=_PUBLIC_FIELDS,
        has_assignment=True,
    )
    client_app = ClientApp(mods=[mod])

    @client_app.query("profile")
    def profile(message: Message, context: Context) -> Message:
        _check_settings(message, file)
        return wire.profile_reply(hospital_profile(table().hospitals[0], table()), message)

    @client_app.train()
    def train(message: Message, context: Context) -> Message:
        hospital, trainer, assignment = table().hospitals[0], the_trainer(), wire.assignment_of(message)
        _note(terms_in(context), assignment, file, the_part(), hospital.fingerprint)
        arrays, execution, _ = trainer.train(
            wire.arrays_in(message),
            hospital_tensors(hospital, trainer.device),
            assignment,
            proximal_mu=proximal_mu,
        )
        return wire.execution_reply(execution, arrays, message)

    @client_app.evaluate()
    def evaluate(message: Message, context: Context) -> Message:
        raise Refusal(f"{site.name} evaluates no model: what that tells of its records is not accounted for")

    return client_app


def _check_settings(message: Message, file: SiteFile) -> None:
    """Refuse a server whose settings are others, and name the lines that differ in the site's own log."""
    told = wire.config_in(message)
    if told.get(wire.SETTINGS_DIGEST) == file.digest:
        return
    for line in differing_lines(file.agreed, str(told.get(wire.SETTINGS, ""))):
        _log.warning("site %s and the server do not have the same settings: %s", file.site.name, line)
    raise Refusal(
        f"the server's settings are not those of {file.site.name}, whose log names what differs: agree on them anew"
    )


def _check_told(message: Message, config: Config, model: nn.Module) -> None:
    """Refuse a model of other names, shapes or types than the site's own, and another pull towards it."""
    wanted = parameters_of(model) | ({COUNT_NAME: np.zeros(())} if config.privacy.adaptive_clipping else {})
    arrays = {name: array for name, array in wire.arrays_in(message).items() if name != wire.SUM_OF_WEIGHTS}
    try:
        check_alike(arrays, wanted)
        for name, array in arrays.items():
            if array.dtype != (own := wanted[name].dtype):
                raise UpdateError(f"parameter {name} has numbers of type {array.dtype}, and its own {own}")
    except UpdateError as error:
        raise Refusal(f"the model is not the one that this site's settings name: {error}") from None
    asked, own_mu = wire.config_in(message).get(wire.PROXIMAL_MU, 0.0), config.aggregation.proximal_mu or 0.0
    if asked != own_mu:
        raise Refusal(f"proximal-mu = {asked!r:.40} is asked for, and this site's settings say {own_mu}")


def _spent_in_run(terms: Terms, file: SiteFile, data: str, before: Sequence[Released]) -> list[StepEvent]:
    in_run = check_history(
        terms.run_id, terms.round_number, settings=file.digest.hex(), data=data, runs=file.runs, before=before
    )
    return [release.event for release in in_run if release.event is not None]


def _note(terms: Terms, assignment: Assignment, file: SiteFile, part: Part, data: str) -> None:
    """Note what is about to be released; all is checked once more with what was noted up to that very moment."""
    note_release(
        file.releases,
        Released(
            run_id=terms.run_id,
            round_number=terms.round_number,
            settings=file.digest.hex(),
            data=data,
            event=event_in(part, assignment),
        ),
        lambda before: check_spending(part, assignment, _spent_in_run(terms, file, data, before)),
    )
