"""The dossier: one folder about a finished run for a data-protection officer, who can check it without the run.

`writing` makes it, `checking` holds it to its ledger's entries; `page` and `card` are its texts, `seal` its digests and
signature. What is left out on purpose: records of patients, the model's parameters, and every score by hospital.
"""

__all__: list[str] = []
