"""A real site's app: what it is and does comes from its own file, and nothing but refusals says why it did not.

Three rules hold here for every action. All settings, the table and the code are those that `site.toml` names, and a
server with others is refused. What a release costs is computed and noted before it is made. And of what goes wrong
one constant sentence leaves, unless it is a refusal, which depends on no record (`errors.Refusal`). What is left out on
purpose: evaluation, since what it tells is not accounted for. Test scores leave as one release after the last round,
where the site's settings have it: noisy sums over test records, by the cell and the secure sum of all rounds
(`ScoringSite`).
"""

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from flwr.app import Context, Message

from wardround import wire
from wardround.agreed.statistics import scores_config, scores_round
from wardround.clients.assignments import Part
from wardround.clients.hospital_app import Hospitals
from wardround.clients.profiles import hospital_profile
from wardround.clients.released import Released, note_release, read_releases
from wardround.clients.secagg import terms_in
from wardround.clients.site_code import site_code
from wardround.clients.site_file import SiteFile, read_site_file
from wardround.clients.site_log import log_failure, seen
from wardround.clients.site_rounds import check_history, check_round, check_spending, event_in
from wardround.config import Config, PrivacyConfig
from wardround.datasets import FederatedData, HospitalData, load_site_table
from wardround.datasets.constants import NO_CONSTANTS
from wardround.datasets.moments import federation_of_vectors, hospital_of_vectors
from wardround.errors import ProtocolError, Refusal, UpdateError
from wardround.exact_sums import Arrays, check_alike
from wardround.identity import differing_lines
from wardround.leaves import LEAVES_HOSPITAL, PUBLIC
from wardround.privacy.clipping import COUNT_NAME
from wardround.rounds import Assignment
from wardround.score_sums import NUM_SUMS
from wardround.secagg import Terms
from wardround.step_events import StepEvent
from wardround.streams import SystemSource
from wardround.wire_arrays import model_of

if TYPE_CHECKING:
    from torch import nn

    from wardround.clients.hospital_sides import SideInRound
    from wardround.clients.training import LocalTrainer, Trained

__all__ = ["RealSite", "ScoringSite", "answer_as_site"]

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
        reply = RealSite(file).app()(message, context)
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


class RealSite(Hospitals):
    """One real site: its own file is master of all it does, and its replies have no place for anything measured.

    Errors are not yet fit to leave (see `answer_as_site`).

    Attributes:
        limits: what the run may spend, where the site's own settings are of one release of it; None elsewhere.
    """

    limits: PrivacyConfig | None = None

    def __init__(self, file: SiteFile) -> None:
        """Answer as the file says."""
        site, federation = file.site, file.config.federation
        own_table = partial(load_site_table, federation, path=file.data, hospital_id=site.name, key=site.signing_key)
        super().__init__(file.config, file.names, own_table)
        self._file, self.agreed = file, file.digest
        # Always: in clear nothing leaves but what is public.
        self.mods = [self.masking(lambda context: site, _PUBLIC_FIELDS)]

    @cached_property
    def trainer(self) -> "LocalTrainer":
        """What trains the site's model, by its own code, with random numbers of the operating system."""
        from wardround.clients.trainers import build_trainer

        with site_code(self.config, self._file.code):
            return build_trainer(self.config, self.federation, source=SystemSource())

    def asked(self, context: Context) -> HospitalData:
        """Return the site, whatever the server says."""
        return self.federation.hospitals[0]

    def introduce(self, message: Message, context: Context) -> Message:
        """Return the profile, to a server that has the same settings."""
        _check_settings(message, self._file)
        hospital = self.asked(context)
        profile = hospital_profile(hospital, self.federation)
        if self.config.evaluation.release == "private":
            profile = replace(profile, num_scored=hospital.num_test)
        return wire.profile_reply(profile, message)

    @cached_property
    def scoring(self) -> "ScoringSite":
        """The site as it answers in the release of test scores."""
        return ScoringSite(self._file, self)

    def for_round(self, round_number: int) -> "RealSite":
        """Return who answers in a round: the site, or after the last round the one that releases its test scores."""
        is_release = self.config.evaluation.release == "private" and round_number == scores_round(self.config)
        return self.scoring if is_release else self

    def check_terms(self, terms: Terms, message: Message | None) -> None:
        """Refuse also a round that the site is not drawn for, and what it can't afford."""
        if (other := self.for_round(terms.round_number)) is not self:
            other.check_terms(terms, message)
            return
        super().check_terms(terms, message)
        assignment = None if message is None else wire.assignment_of(message)
        part = self.part(self.federation.hospitals[0])
        check_round(part, terms, assignment)
        spent = check_history(self._release(terms, None), read_releases(self._file.releases), runs=self._file.runs)
        if message is not None and assignment is not None:
            _check_told(message, self.config, self.trainer.model)
            check_spending(part, assignment, spent, limits=self.limits)

    def admit(self, assignment: Assignment, part: Part, context: Context) -> None:
        """Note what is about to be released; the assignment was checked with the terms, before any mask was used.

        All is checked once more with what was noted up to that very moment.
        """
        release = self._release(terms_in(context), event_in(part, assignment))

        def check(before: Sequence[Released]) -> None:
            spent = check_history(release, before, runs=self._file.runs)
            check_spending(part, assignment, spent, limits=self.limits)

        note_release(self._file.releases, release, check)

    def proximal_mu(self, message: Message) -> float:
        """Return what the file says."""
        return self.config.aggregation.proximal_mu or 0.0

    def side(self, message: Message) -> "SideInRound | None":
        """Return none: a site steps by its own file alone; a message with arrays for more is refused (see `secagg`)."""
        return None

    def report(self, trained: "Trained", message: Message) -> Message:
        """Return what was trained."""
        return wire.execution_reply(trained.execution, trained.arrays, message)

    def evaluate(self, message: Message, context: Context) -> Message:
        """Refuse: what it tells is not accounted for."""
        raise Refusal(f"{self._file.site.name} evaluates no model: what that tells of its records is not accounted for")

    def _weight_of(self, message: Message, reply: Message) -> float:
        other = self.for_round(wire.assignment_of(message).round_number)
        return super()._weight_of(message, reply) if other is self else other._weight_of(message, reply)

    def _release(self, terms: Terms, event: StepEvent | None) -> Released:
        return Released(
            run_id=terms.run_id,
            round_number=terms.round_number,
            settings=self._file.digest.hex(),
            data=self.federation.hospitals[0].fingerprint,
            event=event,
        )


class ScoringSite(RealSite):
    """A site in the release after the last round, a job of one round whose records are vectors of its test records.

    The model that is scored is told beside what is summed. Whatever a server tells, a record moves the sums by no more
    than is billed (see `score_sums`), and the site holds the release to what the run may still spend.
    """

    def __init__(self, file: SiteFile, site: RealSite) -> None:
        """Answer for a site, whose model and records it takes."""
        super().__init__(file)
        self._site, self.limits = site, site.config.privacy
        # Which noise it is, is told with what is asked, and held to the limits.
        privacy = replace(self.limits, noise_multiplier=None, target_epsilon=1.0)
        self.config = scores_config(site.config, privacy, max_records=site.config.federation.max_records)
        self.first_round = scores_round(site.config)

    @cached_property
    def federation(self) -> FederatedData:
        """The site with a record for each of its test records; their vectors are 0 until there is a model."""
        return self._of(hospital_of_vectors(self._own, np.zeros((self._own.num_test, NUM_SUMS), np.float32), None))

    @cached_property
    def trainer(self) -> "LocalTrainer":
        """What releases the mean of the vectors."""
        from wardround.clients.moment_model import moment_model
        from wardround.clients.trainers import build_trainer

        return build_trainer(self.config, self.federation, model=moment_model(NUM_SUMS), source=SystemSource())

    def for_round(self, round_number: int) -> RealSite:
        """Return this site, which answers in one round."""
        return self

    def check_terms(self, terms: Terms, message: Message | None) -> None:
        """Refuse also a model that is not the settings', and more test records than was agreed on."""
        number, most = self._own.num_test, self.config.federation.max_records or 0
        if not 1 <= number <= most:
            raise Refusal(
                f"{self._file.site.name} has {number} test records to release scores of, which must be >= 1 and <= "
                f"{most} ([federation] max-records): agree on another test-fraction, or on more"
            )
        super().check_terms(terms, message)
        if message is not None:
            self._model_in(message)

    def train(self, message: Message, context: Context) -> Message:
        """Return the reply to `train`: the site's part of the noisy mean of its vectors."""
        from wardround.clients.scored_records import scored_records

        model = self._model_in(message)
        vectors = scored_records(self._site.config, self._own, self._site.trainer, model, NO_CONSTANTS)
        self.federation = self._of(vectors)
        return super().train(message, context)

    @property
    def _own(self) -> HospitalData:
        return self._site.federation.hospitals[0]

    def _of(self, hospital: HospitalData) -> FederatedData:
        return federation_of_vectors(self._site.federation, (hospital,), NUM_SUMS)

    def _model_in(self, message: Message) -> Arrays:
        from wardround.models import parameters_of

        told = message.content.get(wire.SCORED)
        try:
            return model_of(dict(told.items()) if told else {}, parameters_of(self._site.trainer.model))
        except ProtocolError as error:
            raise Refusal(str(error)) from None


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


def _check_told(message: Message, config: Config, model: "nn.Module") -> None:
    """Refuse a model of other names, shapes or types than the site's own, and another pull towards it."""
    from wardround.models import parameters_of

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
