"""`cjc-agent VERB`: the same core for people. Exit 0 good (monitor: running), 1 not, 2 wrong usage or parameters."""
from __future__ import annotations

import argparse
import json
import os
import signal
import sys

from cjc_agent import VERSION, actions
from cjc_agent.actions import Request, Verdict
from cjc_agent.frontends import origin
from cjc_agent.settings import conf_file, metadata, parameters
from cjc_agent.tools import record
from cjc_agent.tools.deadline import Deadline, budget
from cjc_agent.tools.log import Log, one_line
from cjc_agent.tools.startup import blind, settle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Optional

    from cjc_agent.settings.conf_file import Conf

GOOD, BAD, USAGE = 0, 1, 2
VERBS = {
    "start": "mount the disk, check the VIP, start the site",
    "stop": "stop the site, unmount the disk",
    "monitor": "say whether the site runs here",
    "status": "show the layers one by one",
    "validate": "check the parameters and this node",
    "render": "write what another cluster product needs: scripts, and the commands that register them",
    "meta-data": "print the OCF meta-data",
}


def main(arguments: list[str] | None = None) -> int:
    """Given the words after `cjc-agent`, do what they say and return the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: a child of ours is ended before we are
    try:
        options = _parser().parse_args(arguments)
        if options.verb == "meta-data":
            sys.stdout.write(metadata.xml())
            sys.stdout.flush()
            return GOOD
        conf = None if options.conf is None else conf_file.read(os.path.abspath(options.conf))
        if conf and conf.errors and options.verb != "stop":
            return _complain(*conf.errors)
        if conf and options.verb == "render":
            return _render(options, conf)
        settle()  # only now: --conf and --output may be relative paths
        return _act(options, conf)
    except SystemExit as error:  # argparse has said why; nobody flushes that for us (os._exit in __main__)
        sys.stdout.flush()
        return error.code if isinstance(error.code, int) else USAGE
    except KeyboardInterrupt:
        print("cjc-agent: interrupted: look with `cjc-agent status` what is left", file=sys.stderr)
        return BAD


def console() -> None:
    """Entry point of the console script."""
    sys.exit(main())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="cjc-agent", description="Resource agent for NEC WebSAM JobCenter's CJC Option.")
    parser.add_argument("--version", action="version", version="cjc-agent " + VERSION)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    for verb, help_text in VERBS.items():
        sub = verbs.add_parser(verb, help=help_text, description=help_text)
        if verb == "meta-data":
            continue
        if verb == "render":
            _render_options(sub)
            continue
        sub.add_argument("--conf", metavar="FILE", help="configuration file (`name = value` lines); options win over it")
        sub.add_argument("--json", action="store_true", help="print the answer as JSON")
        sub.add_argument("--verbose", action="store_true", help="say what is done")
        group = sub.add_argument_group("parameters")
        for row in parameters.PARAMETERS + parameters.CONF_PARAMETERS:
            names = ["--" + row.name] + (["--" + row.name.replace("_", "-")] if "_" in row.name else [])
            group.add_argument(*names, dest="parameter_" + row.name, metavar="VALUE",
                               help=(row.short + (" [%s]" % row.default if row.default else "")).replace("%", "%%"))
    return parser


def _render_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("product", choices=["clusterpro"])
    parser.add_argument("--conf", metavar="FILE", required=True, help="the site's configuration file, under its path on every server")
    parser.add_argument("--group", metavar="NAME", required=True, help="the failover group")
    parser.add_argument("--resource", metavar="NAME", required=True, help="the exec resource, a new one")
    parser.add_argument("--monitor", metavar="NAME", help="the custom monitor, a new one [genw-RESOURCE]")
    parser.add_argument("--output", metavar="DIR", required=True, help="where scripts/ is written: the folder of clp.conf that will be distributed")
    parser.add_argument("--overwrite", action="store_true", help="also over scripts that say something else")
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")


def _parameters_of(options: argparse.Namespace) -> dict[str, str]:
    """Return the parameters that were given as options."""
    values = {row.name: getattr(options, "parameter_" + row.name) for row in parameters.PARAMETERS + parameters.CONF_PARAMETERS}
    # argparse (seen with Python 3.11) makes an empty list of `--name=--`
    return {name: value if isinstance(value, str) else "--" for name, value in values.items() if value is not None}


def _act(options: argparse.Namespace, conf: Optional[Conf]) -> int:
    given = {**(conf.values if conf else {}), **_parameters_of(options)}
    settings = parameters.read(given)[0]
    timeout = {"start": settings.start_timeout, "stop": settings.stop_timeout}.get(options.verb, settings.monitor_timeout)
    log, folder = Log("cjc-agent", {"HA_debug": "1" if options.verbose else "0"}), actions.state_folder()
    instance = ""
    if conf:
        started = record.all_of_this_boot(folder)
        complaint = origin.compare(conf, "", started, starting=options.verb == "start")
        given = {**conf.values, **_parameters_of(options)}  # of a file that tells of another site now nothing counts
        if complaint:
            return _complain(complaint)
        instance = origin.instance_of(conf, "", started)
    request = Request(given, Deadline(budget(timeout)), log, folder, instance, conf)
    hopeless = "site" in request.problems or (conf and conf.errors)  # for a stop, which goes on with what it can use
    if request.problems and (options.verb != "stop" or (hopeless and not actions.recorded(request))):
        return _complain(*request.complaints)
    blindness = blind()
    if blindness:
        return _complain(blindness)
    if os.geteuid() != 0 and options.verb != "validate":
        return _complain("%s needs root: run it with sudo" % options.verb)
    if options.verb == "status":
        return _status(request, options.json)
    verdict = {
        "start": lambda: actions.start(request),
        "stop": lambda: actions.stop(request),
        "monitor": lambda: actions.monitor(request, settings.monitor_level, probing=True),
        "validate": lambda: actions.validate(request, 10),
    }[options.verb]()
    return _answer(options.verb, settings.site, verdict, options.json)


def _status(request: Request, as_json: bool) -> int:
    from cjc_agent.operator import status
    seen = status.look(request, request.settings.monitor_level)
    print(json.dumps(seen, indent=1) if as_json else status.text(seen), flush=True)
    return GOOD if seen["state"] in status.WORDS.values() else BAD


def _answer(verb: str, site: str, verdict: Verdict, as_json: bool) -> int:
    outcome = verdict.outcome
    if as_json:
        print(json.dumps({"action": verb, "site": site, "outcome": outcome, "reason": verdict.reason}), flush=True)
    else:
        done = {"start": "started", "stop": "stopped", "monitor": "running", "validate": "good"}[verb]
        said = done if verdict.good else "%s%s" % (outcome, ": " + verdict.reason if verdict.reason else "")
        print(one_line("%s: %s" % (site or "(no site)", said)), flush=True)
    if verdict.good:
        return GOOD
    return USAGE if outcome == actions.MISCONFIGURED else BAD


def _render(options: argparse.Namespace, conf: Conf) -> int:
    from cjc_agent.operator import render
    settings, problems = parameters.read(conf.values)
    if problems:
        return _complain(*(conf.complaint(name, words) for name, words in problems.items()))
    try:
        plan = render.Plan(conf.path, settings, options.group, options.resource, options.monitor or "genw-" + options.resource)
        products = [render.CLUSTERPRO, os.environ.get("CLP_PATH") or render.CLUSTERPRO, settings.nqs_home, settings.nqs_spool]
        paths = render.write(plan.scripts(), options.output, products, options.overwrite)
    except render.CannotRender as error:
        return _complain(str(error))
    if options.json:
        print(json.dumps({"files": paths, "clpcfset": plan.clpcfset(), "clpcfadm": plan.clpcfadm()}, indent=1), flush=True)
    else:
        print(render.words(plan, paths, os.path.abspath(options.output)), flush=True)
    return GOOD


def _complain(*words: str) -> int:
    for line in words:
        print("cjc-agent: " + one_line(line), file=sys.stderr, flush=True)
    return USAGE
