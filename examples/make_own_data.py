"""Write own-data.csv, the file that own-csv.toml reads: invented patients, no real ones.

Run it from the repository root: `python examples/make_own_data.py`. It shows what a file of your own may contain: a
column naming the hospital, one naming the patient (some come back), numbers, a text column, empty cells, and a target.
"""

import csv
import sys
from pathlib import Path

import numpy as np

HOSPITALS = {"North Clinic": 240, "South Clinic": 180, "Lakeside": 110, "Hill Hospital": 70}
COLUMNS = ("hospital", "patient", "age", "systolic", "creatinine", "smoker", "prior_stays", "readmitted")


def invented_rows() -> list[list[str]]:
    """Return 600 stays of about 500 patients, always the same ones."""
    generator = np.random.default_rng(20)
    rows = []
    for number, (hospital, num_stays) in enumerate(HOSPITALS.items()):
        patient, age = 0, 0.0
        for _ in range(num_stays):
            if patient == 0 or generator.random() < 0.8:
                patient += 1
                age = float(np.clip(generator.normal(62 + 3 * number, 14), 18, 97))
            systolic = generator.normal(132 + 0.2 * (age - 60), 17)
            creatinine = generator.lognormal(0.0, 0.3)
            smoker = str(generator.choice(["never", "former", "current"], p=[0.5, 0.3, 0.2]))
            prior_stays = int(generator.poisson(1.2))
            score = -2.6 + 0.04 * (age - 60) + 1.1 * (creatinine - 1) + 0.9 * prior_stays + 0.8 * (smoker == "current")
            is_readmitted = generator.random() < 1 / (1 + np.exp(-score))
            rows.append(
                [
                    hospital,
                    f"{hospital[0]}{patient:03d}",
                    f"{age:.0f}",
                    f"{systolic:.0f}",
                    "" if generator.random() < 0.08 else f"{creatinine:.2f}",
                    "" if generator.random() < 0.05 else smoker,
                    str(prior_stays),
                    "yes" if is_readmitted else "no",
                ]
            )
    return rows


def main(path: Path) -> None:
    """Write the table to the path."""
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(invented_rows())


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).with_name("own-data.csv"))
