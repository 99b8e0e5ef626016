"""Actions for the rows of a CSV file of raw observations: python act.py rows.csv. Needs jax, numpy and flatbuffers.

The columns are those of card.json, which says what they mean and their ranges; they are not checked here. A policy with
memory is carried from row to row; where the optional column `episode` changes, another episode begins.
"""

import csv
import hashlib
import json
import sys
from pathlib import Path

import jax
import numpy as np
from jax import export


def main(here: Path, rows: str) -> None:
    card, data = json.loads((here / "card.json").read_text()), (here / "policy.stablehlo").read_bytes()
    if hashlib.sha256(data).hexdigest() != card["files"]["policy.stablehlo"]["sha256"]:
        sys.exit("policy.stablehlo is damaged: its sha256 is not that of card.json")
    policy = export.deserialize(bytearray(data))
    act, fresh = jax.jit(policy.call), tuple(np.zeros((1, a.shape[1]), a.dtype) for a in policy.in_avals[1:])
    print(",".join(column["name"] for column in card["action"] + card["units"]))
    carry, episode = fresh, None
    with open(rows, newline="", encoding="utf-8-sig") as file:
        for row in csv.DictReader(file):
            if row.get("episode") != episode:
                carry, episode = fresh, row.get("episode")
            raw = np.array([[float(row[column["name"]]) for column in card["observation"]]], np.float32)
            action, units, carry = act(raw, carry)
            print(",".join(f"{x:.9g}" for x in np.concatenate([action[0], units[0]])))


if __name__ == "__main__":
    main(Path(__file__).parent, sys.argv[1])
