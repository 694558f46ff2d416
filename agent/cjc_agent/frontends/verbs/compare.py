"""`cjc-agent compare A B ...`: what differs between nodes, and what of it matters. The files are `cjc-agent doctor --save`'s, from any machine."""
from __future__ import annotations

import argparse
import json

from cjc_agent.frontends.verbs.common import BAD, GOOD, complain

SUMMARY = "compare nodes that `doctor --save` has saved: what differs, and what of it matters"


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("files", metavar="FILE", nargs="+", help="two files or more, one of each node")
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")
    parser.add_argument("--lang", choices=["en", "ja"], default="en", help="the language of what is said [en]")


def run(options: argparse.Namespace) -> int:
    """Compare, and say what differs."""
    from cjc_agent.operator import compare, saved
    if len(options.files) < 2:
        return complain("compare needs two files or more: save one on each node with `cjc-agent doctor --save FILE`")
    nodes, complaints = [], []
    for path in options.files:
        try:
            nodes.append(saved.load(path))
        except saved.NotSaved as error:
            complaints.append(error.words(options.lang))
    if complaints:
        return complain(*complaints)
    try:
        made = compare.Comparison(nodes)
    except compare.Incomparable as error:
        return complain(error.words(options.lang))
    if options.json:
        print(json.dumps(compare.as_json(made, options.lang), indent=1, ensure_ascii=False), flush=True)
    else:
        print(compare.text(made, options.lang), flush=True)
    return BAD if made.matters else GOOD
