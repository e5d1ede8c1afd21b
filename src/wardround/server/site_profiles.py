"""What the schema that all agreed on says of any real site, so that no site's word decides for the others.

What is left out on purpose: asking the sites (see `hospitals.connect`).
"""

from wardround.config import Config
from wardround.errors import ConfigError, ProtocolError
from wardround.rounds import HospitalProfile

__all__ = ["agreed_profile", "check_site_profile"]

_AGREED = ("task", "input_shape", "num_outputs", "own_statistics")


def agreed_profile(config: Config) -> HospitalProfile:
    """Return the profile of a site with one record, as the schema has it, whatever its name.

    Raises:
        ConfigError: there is no schema.
    """
    schema, target = config.federation.schema, config.federation.target
    if schema is None or target is None:
        raise ConfigError("real sites need a [federation.schema] and a target ([federation] schema): state them")
    return HospitalProfile(
        hospital_id="any site",
        num_train=1,
        task=schema.task(target),
        input_shape=schema.input_shape(target),
        num_outputs=len(schema.class_names(target)) or 1,
    )


def check_site_profile(config: Config, profile: HospitalProfile) -> None:
    """Refuse a site whose records are not those of the schema, or more than any may have.

    Raises:
        ProtocolError: naming the site, the value, and what was agreed on.
    """
    agreed = agreed_profile(config)
    for name in _AGREED:
        told, own = getattr(profile, name), getattr(agreed, name)
        if told != own:
            raise ProtocolError(
                f"site {profile.hospital_id} says {name} = {told}, and the schema makes it {own}: its software or its "
                "schema is another ([federation.schema])"
            )
    most = config.federation.max_records
    if most is not None and profile.num_train > most:
        raise ProtocolError(
            f"site {profile.hospital_id} says that it has {profile.num_train} training records, which must be <= "
            f"{most} ([federation] max-records): agree on more, or let it give fewer"
        )
