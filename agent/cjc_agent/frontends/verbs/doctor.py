"""`cjc-agent doctor`: is this node fit to take the site over?"""
from __future__ import annotations

import argparse
import json
import os
import sys

from cjc_agent.frontends.verbs.common import BAD, GOOD, WrongUsage, complain, need_root, request_of, site_options, source_of

SUMMARY = "check this node: licence, version, daemon.conf, disk, network ... before a failover needs them"
CALLER_SITE = "CJC_AGENT_CALLER_SITE"  # where the wrapper puts the NQS_SITE that it was called with
SECONDS = 30.0  # for all checks together; each look has a bound of its own, far below


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")
    parser.add_argument("--lang", choices=["en", "ja"], default="en", help="the language of what is said [en]")
    parser.add_argument("--peer", metavar="HOST[:PORT]", action="append", default=[],
                        help="a host of the other side (MG or SV) whose port must be reached from here; may be given several times")
    parser.add_argument("--accept", metavar="RULE", action="append", default=[],
                        help="a rule whose warning is as it must be on this node (CJC401 where the VIP is routed, say): a note only; may be given "
                             "several times")
    parser.add_argument("--save", metavar="FILE", help="also write this node's facts (versions, digests, settings) for `cjc-agent compare`")
    site_options(parser)


def run(options: argparse.Namespace) -> int:
    """Check, and say what was found."""
    from cjc_agent.operator import doctor
    from cjc_agent.operator.node import Node
    need_root("doctor")
    handed, own = os.environ.pop(CALLER_SITE, ""), os.environ.pop("NQS_SITE", "")  # no child of ours gets either
    caller_site = handed or own
    save = os.path.abspath(options.save) if options.save else ""
    accepted = _accepted(options.accept)
    source = source_of(options)
    node = Node(request_of(source, SECONDS), source.resource, _peers(options.peer), source.cib, caller_site)
    report = doctor.examine(node, accepted)
    if options.json:
        print(json.dumps(doctor.as_json(report, options.lang), indent=1, ensure_ascii=False), flush=True)
    else:
        print(doctor.text(report, options.lang, _coloured()), flush=True)
    if save:
        from cjc_agent.operator import saved
        try:
            saved.save(report, save)
        except OSError as error:
            return complain("--save %s: %s" % (save, error.strerror))
    return GOOD if report.clean else BAD


def _peers(words: list[str]) -> list[str]:
    """Return the words, each of which names a peer. Raise WrongUsage."""
    from cjc_agent.operator.checks import network
    for word in words:
        try:
            network.peer(word)
        except ValueError as error:
            raise WrongUsage("--peer: %s" % error) from error
    return words


def _accepted(ids: list[str]) -> list[str]:
    """Return the ids, each of which names a rule whose finding may be right on a node. Raise WrongUsage: what makes a failover fail is never accepted."""
    from cjc_agent.operator import rules
    from cjc_agent.operator.rule import ERROR
    for id in ids:
        if id not in rules.RULES:
            raise WrongUsage("--accept %s: there is no such rule: give the id that stands in front of the finding, e.g. CJC401; --accept again for each "
                             "further one" % id)
        if rules.RULES[id].severity == ERROR:
            raise WrongUsage("--accept %s: this rule is an error, a failover to this node fails by it: correct what it names" % id)
    return ids


def _coloured() -> bool:
    """Whether colours help: on a terminal, unless its owner does not want them (no-color.org)."""
    return sys.stdout.isatty() and "NO_COLOR" not in os.environ and os.environ.get("TERM", "dumb") != "dumb"
