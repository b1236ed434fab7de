"""What earlier versions wrote, as today's values: from one schema to the next, on plain JSON."""

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from bench.recipes.files import flat_augmentation
from bench.schema.run import ADOPTED

SECTION = "augmentation"  # where schema 1 kept what a batch goes through


def record_of_today(old: Mapping[str, Any]) -> dict[str, Any]:
    """run.json of any schema as one of schema 2.

    Schema 1 had one table of settings with a table in it, origins beside it, and results under the name `metrics`. What
    it lacks stays missing: whoever reads the value says so.
    """
    if old.get("schema") != 1:
        return dict(old)
    config, origins = _table(old, "config"), _table(old, "origins")
    settings = {name: value for name, value in config.items() if name != SECTION and value is not None}
    settings |= flat_augmentation(config[SECTION]) if isinstance(config.get(SECTION), dict) else {}
    where = {name: origin for name, origin in origins.items() if name in settings}
    where |= {name: origins[SECTION] for name in ("flip", "translate", "cutout") if SECTION in origins}
    results = {**_table(old, "metrics")}
    verb = "adopt" if config.get("recipe") == ADOPTED else "train"
    if verb == "adopt":
        results["weights_sha256"] = config.get("weights_sha256")
    kept = ("name", "status", "created", "command", "data", "environment", "artefacts", "message")
    return {
        **{name: old[name] for name in kept if name in old},
        "schema": 2,
        "request": {"verb": verb, "model": old.get("model"), **settings, "origins": where},
        "results": {name: value for name, value in results.items() if value is not None},
        "fingerprint": _fingerprint(old),
    }


def _fingerprint(old: Mapping[str, Any]) -> str:
    """What the resume files of schema 1 bear of their run, computed as it was, so that edited settings still show."""
    facts = (old.get("model"), old.get("config"), old.get("created"), _table(old, "data").get("digest"))
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()


def scores_of_today(old: Mapping[str, Any]) -> dict[str, Any]:
    """judge/faithfulness.json of any schema as one of schema 3.

    Schema 1 called patches cells. Schema 2 held maps against other images of any class, where a map that knows the
    class alone came out above: its words are dropped, its figures stay.
    """
    if old.get("schema") not in (1, 2):
        return dict(old)

    def renamed(table: dict[str, Any]) -> dict[str, Any]:
        found = {"patches" if name == "cells" else name: value for name, value in table.items() if name != "verdict"}
        if "over_centre" in found:
            found |= {"area": None, "over": found.pop("over_centre"), "rival": "centre"}
        if "stage" in found:
            spearman = found.pop("spearman")
            found |= {"rho": spearman["value"], "images": spearman["images"]}
        return found

    return {**json.loads(json.dumps(dict(old)), object_hook=renamed), "schema": 3}


def _table(old: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = old.get(name)
    return found if isinstance(found, dict) else {}
