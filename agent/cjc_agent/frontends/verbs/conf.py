"""`cjc-agent conf get|set|show`: the three daemon.conf as one view, and their editor."""
from __future__ import annotations

import argparse
import json
import sys

from cjc_agent.frontends.verbs.common import BAD, GOOD, WrongUsage, looker, need_root, settled, site_options, source_of
from cjc_agent.settings.daemon_conf import FILES, LOCAL, SITE
from cjc_agent.tools.log import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from cjc_agent.operator.conf import Edit
    from cjc_agent.operator.node import Node

SUMMARY = "the three daemon.conf: which value counts and why, and an editor that keeps every other byte"
SECONDS = 60.0  # for one call; each look has a bound of its own, far below


def options(parser: argparse.ArgumentParser) -> None:
    """Add what can be done, each with its options."""
    what = parser.add_subparsers(dest="what", required=True, metavar="get|set|show")
    one = what.add_parser("get", help="print the value of a key that counts")
    one.add_argument("key", metavar="KEY")
    one.add_argument("--of", choices=[SITE, LOCAL], default=SITE, help="the cluster site, or the local site of this node [site]")
    edit = what.add_parser("set", help="edit one file: show the difference, then write it in one step")
    edit.add_argument("values", metavar="KEY=VALUE", nargs="+")
    edit.add_argument("--in", dest="which", choices=FILES, help="the file; needed for a key that can stand in several")
    edit.add_argument("--yes", action="store_true", help="do not ask")
    edit.add_argument("--dry-run", action="store_true", help="only show the difference")
    edit.add_argument("--force", action="store_true", help="also values, keys and combinations that are not right")
    show = what.add_parser("show", help="print what counts for both sites, from which file and line, and what it hides")
    for sub in (one, show):
        sub.add_argument("--json", action="store_true", help="print the answer as JSON")
    for sub, words in ((one, "KEY"), (edit, "KEY=VALUE ..."), (show, "")):
        site_options(sub, words)


def run(options: argparse.Namespace) -> int:
    """Get, set or show."""
    from cjc_agent.operator import conf
    if options.what == "set":
        need_root("conf set")
    settled(options)
    look = looker(source_of(options), SECONDS)
    try:
        if options.what == "set":
            return _set(options, look)
        return _get(options, look()) if options.what == "get" else _show(options, look())
    except conf.Refused as error:
        raise WrongUsage(*error.args, *(["nothing was written"] if options.what == "set" else [])) from error
    except conf.Failed as error:
        print("cjc-agent: " + one_line(str(error)), file=sys.stderr, flush=True)
        return BAD


def _get(options: argparse.Namespace, node: Node) -> int:
    from cjc_agent.operator import conf
    from cjc_agent.settings.daemon_conf import KEYS, Effective, nearest
    doubt = conf.doubt(node, options.of)
    if doubt:  # another file's value may count
        raise conf.Failed("what counts is not known here: " + doubt)
    found = node.effective(options.of).get(options.key, Effective(""))
    if options.json:
        print(json.dumps(conf.told(options.key, found, options.of), indent=1), flush=True)
    elif found.value:
        print(one_line(found.value), flush=True)
    else:
        like = "" if options.key in KEYS or found.entry else nearest(options.key)
        raise conf.Failed("%s is not set%s" % (options.key, ": did you mean %s?" % like if like else ""))
    return GOOD if found.value else BAD


def _show(options: argparse.Namespace, node: Node) -> int:
    from cjc_agent.operator import conf
    seen = conf.view(node)
    print(json.dumps(seen, indent=1) if options.json else conf.text(seen), flush=True)
    return GOOD


def _set(options: argparse.Namespace, look: Callable[[], Node]) -> int:
    from cjc_agent.operator import conf
    values = conf.assignments(options.values)
    which = options.which or conf.file_for(list(values))
    asks = not options.yes and sys.stdin.isatty() and sys.stdout.isatty()
    node = look()
    lock = None if asks or options.dry_run else conf.locked(node.request.folder, node.deadline)  # not while somebody thinks about the answer
    try:
        edit = conf.plan(node, which, values, options.force)
        _tell(edit)
        if not edit.changes or options.dry_run:
            return GOOD
        if asks and not _agreed():
            print("nothing was written", flush=True)
            return BAD
        if asks:
            node = look()  # with a time of its own: whoever was asked may have taken long
            lock = conf.locked(node.request.folder, node.deadline)
        conf.write(node, edit)
    finally:
        if lock:
            lock.release()
    print("\n".join(map(one_line, ["written: " + edit.path, "To take effect:", *("  " + line for line in conf.to_take_effect(node, which))])), flush=True)
    return GOOD


def _tell(edit: Edit) -> None:
    """The difference, and what the doctor would say of it."""
    from cjc_agent.operator import conf
    print("\n".join(edit.diff()) if edit.changes else one_line("%s: nothing to change" % edit.path), flush=True)
    for finding in edit.broken:
        print("cjc-agent: " + one_line("warning: " + conf.words_of(finding)), file=sys.stderr, flush=True)


def _agreed() -> bool:
    try:
        return input("write this? [y/N] ").strip().lower() in ("y", "yes")
    except EOFError:
        return False
