"""Which section of the dossier answers which heading of the frameworks that officers work by, and which none does.

Sources: NIST SP 800-226 (2025), the layers of its pyramid; Regulation (EU) 2016/679, article 35(7); Regulation (EU)
2025/327, chapter IV. What is left out on purpose: whether the law is met, which no software can say.
"""

from wardround.reports.dossier.records import Heading

__all__ = ["headings", "sections"]

_SECTIONS = {
    "plain": "In plain words",
    "attacker": "What an attacker could tell about one {unit}",
    "epsilon": "Epsilon by hospital and reader",
    "released": "What was released, by whom, to whom",
    "terms": "The terms of the guarantee",
    "audit": "What attackers were seen to get",
    "assumptions": "What must hold, and what is not covered",
    "data": "Data, model and versions",
    "frameworks": "Where the questions of NIST, GDPR and EHDS are answered",
    "check": "How to check this dossier",
}

_NIST, _GDPR, _EHDS = "NIST SP 800-226", "GDPR, article 35(7)", "EHDS, Regulation (EU) 2025/327"


_ROWS = (
    (_NIST, "Epsilon and delta", "epsilon", "By hospital and by reader, each at its delta."),
    (_NIST, "Unit of privacy, and neighbouring data", "terms", "Protected unit, and what is hidden."),
    (_NIST, "Algorithms", "released", "Noise, sample rate, steps and sensitivity of every release."),
    (_NIST, "Whether the algorithms do what they say", "audit", "{audit}"),
    (_NIST, "Composition and privacy budget", "released", "Every charge of the run adds up; other runs are not in."),
    (_NIST, "Trust model", "terms", "Who is trusted with what, and three readers apart."),
    (_NIST, "Utility and bias", "data", "The scores are in model-card.md. Fairness between groups was not measured."),
    (_NIST, "Security, access control, side channels", "", "To be answered by whoever runs server and hospitals."),
    (_NIST, "Data collection exposure", "", "To be answered by the hospitals that collected the data."),
    (
        *(_GDPR, "(a) Description of the processing, and its purposes", "released"),
        "What is computed and sent. The purposes are for the controller to state.",
    ),
    (
        *(_GDPR, "(b) Necessity and proportionality", "released"),
        "What leaves a hospital, and on what grounds. Whether the purpose needs it is for the controller to state.",
    ),
    (
        *(_GDPR, "(c) Risks to the rights and freedoms of people", "attacker"),
        "That a part in the training is found out. Others, such as wrong predictions, are not assessed here.",
    ),
    (
        _GDPR,
        "(d) Measures to address the risks",
        "terms",
        "Noise, clip and trust; the sections after it say what must hold.",
    ),
    (_EHDS, "Purposes, articles 53 and 54", "", "To be answered by the applicant."),
    (_EHDS, "No re-identification, article 61(3)", "attacker", "How well a part in the training can be told."),
    (_EHDS, "Results made public, article 61(4)", "epsilon", "The column of whoever receives the model."),
    (_EHDS, "Data minimisation, article 66", "released", "Everything that left a hospital, and on what grounds."),
    (_EHDS, "Application and permit, articles 67 and 68", "", "To be answered by the applicant."),
    (_EHDS, "Right to opt out, article 71", "", "To be answered by the hospitals: who was left out of the data."),
    (_EHDS, "Secure processing environment, article 73", "", "To be answered by whoever runs server and hospitals."),
)


def sections(unit: str) -> dict[str, str]:
    """Return the sections of the page in order: the name of each and its heading.

    Args:
        unit: the noun for what is protected.
    """
    return {name: heading.format(unit=unit) for name, heading in _SECTIONS.items()}


def headings(*, is_audited: bool) -> tuple[Heading, ...]:
    """Return the headings of all frameworks.

    Args:
        is_audited: whether the run was attacked.
    """
    seen = "What attackers of a twin of the run were seen to get." if is_audited else "This run was not audited."
    return tuple(
        Heading(framework=framework, heading=heading, section=section, answer=answer.format(audit=seen))
        for framework, heading, section, answer in _ROWS
    )
