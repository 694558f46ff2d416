"""`cjc-agent VERB`: the same core for people. Exit 0 good (monitor: running), 1 not, 2 wrong usage or parameters."""
from __future__ import annotations

import argparse
import contextlib
import io
import json
import os
import signal
import sys

from cjc_agent import VERSION, actions
from cjc_agent.actions import Request, Verdict
from cjc_agent.frontends import origin
from cjc_agent.frontends.verbs import compare, doctor, init, render, status
from cjc_agent.frontends.verbs import conf as conf_verb
from cjc_agent.frontends.verbs.common import BAD, GOOD, USAGE, WrongUsage, complain, parameter_options, parameters_of
from cjc_agent.settings import conf_file, metadata, parameters
from cjc_agent.tools import procfs, record
from cjc_agent.tools.deadline import Deadline, budget
from cjc_agent.tools.log import Log, one_line
from cjc_agent.tools.startup import blind, open_descriptors, settle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Optional

    from cjc_agent.settings.conf_file import Conf

VERBS = {
    "start": "mount the disk, check the VIP, start the site",
    "stop": "stop the site, unmount the disk",
    "monitor": "say whether the site runs here",
    "validate": "check the parameters and this node",
    "meta-data": "print the OCF meta-data",
}
# verbs with a module of their own
AROUND: dict[str, Any] = {"compare": compare, "conf": conf_verb, "doctor": doctor, "init": init, "render": render, "status": status}


def main(arguments: list[str] | None = None) -> int:
    """Given the words after `cjc-agent`, do what they say and return the exit code."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: a child of ours is ended before we are
    open_descriptors()
    sys.stdout, sys.stderr = sys.stdout or open(1, "w"), sys.stderr or open(2, "w")  # None for what was closed
    if isinstance(sys.stdout, io.TextIOWrapper):  # a terminal in EUC-JP has no character for everything that stands in files
        sys.stdout.reconfigure(errors="backslashreplace")
    try:
        return _do(arguments)
    except BrokenPipeError:  # whoever read what we say has gone
        return BAD
    except OSError as error:  # a full disk that our answer goes to, no memory, no descriptor
        with contextlib.suppress(OSError):
            print("cjc-agent: %s: not all was done, or not all said" % one_line(procfs.words(error)), file=sys.stderr, flush=True)
        return BAD
    except KeyboardInterrupt:
        print("cjc-agent: interrupted: look with `cjc-agent status` what is left", file=sys.stderr)
        return BAD


def _do(arguments: list[str] | None) -> int:
    try:
        options = _parser().parse_args(arguments)
        if options.verb == "meta-data":
            sys.stdout.write(metadata.xml())
            sys.stdout.flush()
            return GOOD
        if options.verb in AROUND:
            return int(AROUND[options.verb].run(options))
        conf = None if options.conf is None else conf_file.read(os.path.abspath(options.conf))
        if conf and conf.errors and options.verb != "stop":
            return complain(*conf.errors)
        settle()  # only now: --conf and --output may be relative paths
        return _act(options, conf)
    except SystemExit as error:  # argparse has said why; nobody flushes that for us (os._exit in __main__)
        sys.stdout.flush()
        return error.code if isinstance(error.code, int) else USAGE
    except WrongUsage as error:
        return complain(*error.args)


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
        sub.add_argument("--conf", metavar="FILE", help="configuration file (`name = value` lines); options win over it")
        sub.add_argument("--json", action="store_true", help="print the answer as JSON")
        sub.add_argument("--verbose", action="store_true", help="say what is done")
        parameter_options(sub)
    for verb, module in AROUND.items():
        module.options(verbs.add_parser(verb, help=module.SUMMARY, description=module.SUMMARY))
    return parser


def _act(options: argparse.Namespace, conf: Optional[Conf]) -> int:
    given = {**(conf.values if conf else {}), **parameters_of(options)}
    settings = parameters.read(given)[0]
    timeout = {"start": settings.start_timeout, "stop": settings.stop_timeout}.get(options.verb, settings.monitor_timeout)
    log, folder = Log("cjc-agent", {"HA_debug": "1" if options.verbose else "0"}), actions.state_folder()
    instance = ""
    if conf:
        started = record.all_of_this_boot(folder)
        complaint = origin.compare(conf, "", started, starting=options.verb == "start")
        given = {**conf.values, **parameters_of(options)}  # of a file that tells of another site now nothing counts
        if complaint:
            return complain(complaint)
        instance = origin.instance_of(conf, "", started)
    request = Request(given, Deadline(budget(timeout)), log, folder, instance, conf)
    hopeless = "site" in request.problems or (conf and conf.errors)  # for a stop, which goes on with what it can use
    if request.problems and (options.verb != "stop" or (hopeless and not actions.recorded(request))):
        return complain(*request.complaints, *([] if conf or "site" not in request.problems else [
            "or give --conf FILE: %s" % (", ".join(conf_file.all_files()) or "there is none in %s yet" % conf_file.FOLDER)]))
    blindness = blind()
    if blindness:
        return complain(blindness)
    if os.geteuid() != 0 and options.verb != "validate":
        return complain("%s needs root: run it with sudo" % options.verb)
    verdict = {
        "start": lambda: actions.start(request),
        "stop": lambda: actions.stop(request),
        "monitor": lambda: actions.monitor(request, settings.monitor_level, probing=True),
        "validate": lambda: actions.validate(request, 10),
    }[options.verb]()
    return _answer(options.verb, settings.site, verdict, options.json)


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
