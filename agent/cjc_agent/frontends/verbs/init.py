"""`cjc-agent init`: from nothing to a site."""
from __future__ import annotations

import argparse
import json
import shlex
import sys

from cjc_agent.frontends.verbs.common import BAD, GOOD, TABLE, WrongUsage, looker, need_root, parameters_of, settled, site_options, source_of
from cjc_agent.tools.log import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

    from cjc_agent.operator.init import Step

SUMMARY = "from nothing to a site: make the site DB, write the daemon.conf of site and node; run again it changes nothing"
SECONDS = 300.0  # for each step, at most
FLAGS = ("mount", "ipcheck_off", "restart", "yes_restart", "dry_run", "json")


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("--mount", action="store_true", help="mount the disk for it, and unmount it afterwards; no other node may have it mounted")
    parser.add_argument("--local-daemon", choices=["SITE", "OFF"], default="", help="this node's local site: beside the cluster site, or none at all")
    parser.add_argument("--local-ipaddress", metavar="ADDRESS", default="", help="the local site's addresses, which stay on this node; comma separated")
    parser.add_argument("--ipcheck-off", action="store_true", help="write ipcheck=OFF for the cluster site: its VIP has no reverse name")
    parser.add_argument("--restart", action="store_true", help="at the end `systemctl restart jobcentersv`, where an edit waits for it")
    parser.add_argument("--yes-restart", action="store_true", help="... also while the cluster site runs on this node")
    parser.add_argument("--dry-run", action="store_true", help="only print the steps")
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")
    site_options(parser)


def run(options: argparse.Namespace) -> int:
    """Go through the steps, and say of each what it does before it is done."""
    from cjc_agent.operator import conf
    from cjc_agent.operator import init as steps
    need_root("init")
    settled(options)
    look = looker(source_of(options), SECONDS)
    wishes = steps.Wishes(options.mount, options.local_daemon, options.local_ipaddress, options.ipcheck_off, options.restart or options.yes_restart,
                          options.yes_restart)
    teller = _Teller(options.json)
    init = steps.Init(look, wishes, options.dry_run, teller.begun, teller.ended)
    try:
        init.run()
    except conf.Refused as error:
        raise WrongUsage(*error.args) from error
    except conf.Failed as error:
        print("cjc-agent: " + one_line(str(error)), file=sys.stderr, flush=True)
        return BAD
    if options.json:
        print(json.dumps(steps.as_json(init, command(options)), indent=1), flush=True)
    else:
        print(_summary(init, options), flush=True)
    return BAD if init.failed else GOOD


class _Teller:
    """Says of each step what it does and how it ended, unless `silent`. Where that cannot be written any more it raises OSError, once: what must be
    done all the same, the unmount, is done in silence."""

    def __init__(self, silent: bool) -> None:
        self._silent = silent

    def begun(self, step: Step) -> None:
        """A step begins."""
        self._say("* " + step.what, step.preview)

    def ended(self, step: Step) -> None:
        """A step has ended."""
        self._say("  " + (step.outcome or "interrupted"), [line for line in step.details if line])

    def _say(self, line: str, more: Sequence[str]) -> None:
        if self._silent:
            return
        try:
            print("\n".join(map(one_line, [line, *("    " + one for one in more)])), flush=True)
        except OSError:
            self._silent = True
            raise


def _summary(init, options: argparse.Namespace) -> str:  # type: ignore[no-untyped-def]
    """What is to be done next."""
    from cjc_agent.operator import conf
    if init.failed:
        left = ["not done: " + ", ".join(init.left)] if init.left else []
        return "\n".join(map(one_line, [*left, "correct it, then go on with: " + command(options)]))
    if options.dry_run:
        return "nothing was done: it was a dry run"
    lines = ["done" if init.changed else "nothing was to be done: all is as it should be"]
    if init.without_site:
        lines.append("the cluster site was left out: its disk is not here")
    if conf.awaits_restart(init.node.request.folder):
        lines.append("to take effect on this node: " + " ".join(conf.RESTART))
    return "\n".join([*lines, one_line("see what is left to do: " + shlex.join(["cjc-agent", "doctor", *_source(options)]))])


def command(options: argparse.Namespace) -> str:
    """Return the command line that goes on with what was asked for."""
    words = ["cjc-agent", "init", *_source(options)]
    words += ["--" + name.replace("_", "-") for name in FLAGS if getattr(options, name)]
    for name in ("local_daemon", "local_ipaddress"):
        words += ["--" + name.replace("_", "-"), getattr(options, name)] if getattr(options, name) else []
    return shlex.join(words)


def _source(options: argparse.Namespace) -> list[str]:
    words = ["--conf", options.conf] if options.conf else ["--resource", options.resource] if options.resource else []
    given = parameters_of(options)
    return words + ["--%s=%s" % (row.name, given[row.name]) for row in TABLE if row.name in given]
