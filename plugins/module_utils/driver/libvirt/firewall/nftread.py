# Copyright (c) 2026 anyvirt contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Reading what ``nft -j list table`` prints."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from typing import Any

from .nfttable import Chain, Element, Hook, KeptRule, NftSet, Table


def parse_table(text: str, family: str) -> Table:
    """The table that nft printed as JSON."""
    hooks: dict[str, Hook | None] = {}
    rules: dict[str, list[KeptRule]] = defaultdict(list)
    references: dict[str, set[str]] = defaultdict(set)
    sets: dict[str, NftSet] = {}
    counters: set[str] = set()
    for item in json.loads(text)["nftables"]:
        for kind, value in item.items():
            if kind == "chain":
                hooks[value["name"]] = _hook(value)
            elif kind == "rule":
                rules[value["chain"]].append(KeptRule(value.get("comment", ""), _verdict(value["expr"])))
                references[value["chain"]].update(_references(value["expr"]))
            elif kind in ("set", "map"):
                sets[value["name"]] = _set(value)
            elif kind == "counter":
                counters.add(value["name"])
    chains = {
        name: Chain(tuple(rules[name]), hook, refers_to=frozenset(references[name])) for name, hook in hooks.items()
    }
    return Table(family, chains, sets, frozenset(counters))


def _hook(chain: dict[str, Any]) -> Hook | None:
    if "hook" not in chain:
        return None
    return Hook(chain["hook"], chain["prio"], chain.get("policy", ""), chain.get("type", ""))


def _verdict(statements: list[dict[str, Any]]) -> str:
    if not statements:
        return ""
    (kind, value), *_others = statements[-1].items()
    if kind in ("accept", "drop", "return"):
        return str(kind)
    if kind in ("jump", "goto"):
        return f"{kind} {value['target']}"
    return f"vmap {value['data']}" if kind == "vmap" else ""


def _references(expression: Any) -> Iterable[str]:
    if isinstance(expression, dict):
        expression = expression.values()
    elif isinstance(expression, str):
        if expression.startswith("@"):
            yield expression[1:]
        return
    elif not isinstance(expression, list):
        return
    for part in expression:
        yield from _references(part)


def _set(value: dict[str, Any]) -> NftSet:
    verdicts = value.get("map") == "verdict"
    return NftSet(
        tuple(_types(value["type"])),
        interval="interval" in value.get("flags", ()),
        verdicts=verdicts,
        elements=frozenset(_element(item, verdicts) for item in value.get("elem", ())),
    )


def _types(kind: Any) -> Iterable[str]:
    if isinstance(kind, str):
        return [kind]
    if isinstance(kind, list):
        return kind
    # Since 1.1.2 nft says what a set was declared with. Ours that have no names of types are of names of devices and of
    # raw bits, which older ones call integers.
    parts = kind["typeof"].get("concat", [kind["typeof"]])
    return ["ifname" if part.get("meta", {}).get("key") in ("iifname", "oifname") else "integer" for part in parts]


def _element(item: Any, verdicts: bool) -> Element:
    if verdicts:
        key, verdict = item
        return (*_columns(key), _verdict([verdict]))
    return _columns(item)


def _columns(item: Any) -> Element:
    if isinstance(item, dict):
        if "elem" in item:
            return _columns(item["elem"]["val"])
        if "concat" in item:
            return tuple(column for part in item["concat"] for column in _columns(part))
        if "prefix" in item:
            return (f"{item['prefix']['addr']}/{item['prefix']['len']}",)
        if "range" in item:
            return ("-".join(str(end) for end in item["range"]),)
    return (str(item),)
