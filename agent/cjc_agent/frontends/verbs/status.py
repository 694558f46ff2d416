"""`cjc-agent status`: what there is to know about a site on this node."""
from __future__ import annotations

import argparse
import json

from cjc_agent import actions
from cjc_agent.frontends import origin
from cjc_agent.frontends.verbs.common import BAD, GOOD, Source, WrongUsage, need_root, parameters_of, request_of, settled, site_options, source_of
from cjc_agent.settings import conf_file
from cjc_agent.tools import record
from cjc_agent.tools.deadline import Deadline, budget

SUMMARY = "show the layers one by one, the settings that count, VIP, port, daemons, and the last starts and stops"


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")
    parser.add_argument("--verbose", action="store_true", help="say what is done")
    site_options(parser)


def run(options: argparse.Namespace) -> int:
    """Look, and say what was seen; good when the site runs, or is rightly stopped."""
    from cjc_agent.operator import status
    need_root("status")
    settled(options)
    started = record.all_of_this_boot(actions.state_folder())
    source = _source(options, started)
    request = request_of(source, 0, options.verbose)
    request.deadline = Deadline(budget(request.settings.monitor_timeout))
    if source.conf:
        request.instance = origin.instance_of(source.conf, "", started)
    if request.problems and not actions.recorded(request):  # what has been started is known without them
        raise WrongUsage(*request.complaints)
    seen = status.look(request, source.resource, source.cib)
    print(json.dumps(seen, indent=1) if options.json else status.text(seen), flush=True)
    return GOOD if seen["state"] in status.WORDS.values() else BAD


def _source(options: argparse.Namespace, started: list[record.Record]) -> Source:
    """As for the other verbs; a file may have lines that are not right. Where neither the cluster nor a file tells of a site, the only one that
    was started here is meant. Raise WrongUsage, also for a file that tells of another site than the one that was started from it."""
    try:
        source = source_of(options, whole=False)
    except WrongUsage:
        if options.conf or options.resource or len(started) != 1 or conf_file.all_files():
            raise
        return Source({**started[0].settings, **parameters_of(options)})
    if source.conf:
        wrong = list(source.conf.errors)
        complaint = origin.compare(source.conf, "", started, starting=False)
        if complaint or source.conf.errors != wrong:
            raise WrongUsage(complaint or source.conf.errors[0])
    return source
