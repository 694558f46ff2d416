"""What the verbs share: exit codes, complaints, the options that name a site, and where its parameters come from."""
from __future__ import annotations

import argparse
import os
import sys

from cjc_agent import actions
from cjc_agent.actions import Request
from cjc_agent.settings import conf_file, parameters
from cjc_agent.tools.command import Runner
from cjc_agent.tools.deadline import Deadline
from cjc_agent.tools.log import Log, one_line
from cjc_agent.tools.startup import blind, settle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Optional

    from cjc_agent.operator.cib import Cib
    from cjc_agent.operator.node import Node
    from cjc_agent.settings.conf_file import Conf

GOOD, BAD, USAGE = 0, 1, 2
TABLE = parameters.PARAMETERS + parameters.CONF_PARAMETERS


class WrongUsage(Exception):
    """What was asked for cannot be done as it was asked; each argument is a line that says why and what to do."""


def complain(*words: str) -> int:
    """Say on standard error what is wrong; return the exit code for wrong usage."""
    for line in words:
        print("cjc-agent: " + one_line(line), file=sys.stderr, flush=True)
    return USAGE


def parameter_options(parser: argparse.ArgumentParser, words: str = "") -> None:
    """Add an option for each parameter. The usage, which stands above a complaint, would not be read if it named them all: the options, then `words`."""
    parser.usage = " ".join(["%(prog)s [--help] [OPTION ...]", *words.split()])
    group = parser.add_argument_group("parameters")
    for row in TABLE:
        names = ["--" + row.name] + (["--" + row.name.replace("_", "-")] if "_" in row.name else [])
        group.add_argument(*names, dest="parameter_" + row.name, metavar="VALUE",
                           help=(row.short + (" [%s]" % row.default if row.default else "")).replace("%", "%%"))


def parameters_of(options: argparse.Namespace) -> dict[str, str]:
    """Return the parameters that were given as options."""
    values = {row.name: getattr(options, "parameter_" + row.name) for row in TABLE}
    # argparse (seen with Python 3.11) makes an empty list of `--name=--`
    return {name: value if isinstance(value, str) else "--" for name, value in values.items() if value is not None}


# -- a site and where its parameters come from -----------------------------------------------------------------------------------------


def site_options(parser: argparse.ArgumentParser, words: str = "") -> None:
    """Add the options that say which site is meant: a file, a resource of the running cluster, or parameters. `words`: what follows the options."""
    source = parser.add_mutually_exclusive_group()
    source.add_argument("--conf", metavar="FILE", help="configuration file (`name = value` lines)")
    source.add_argument("--resource", metavar="NAME", help="the resource of the running Pacemaker cluster whose parameters count")
    parameter_options(parser, words)


class Source:
    """Where a site's parameters are from: `given` texts, the `conf` file or the `resource` of the `cib` ("" and None where there is none)."""

    def __init__(self, given: Mapping[str, str], conf: Optional[Conf] = None, resource: str = "", cib: Optional[Cib] = None) -> None:
        self.given, self.conf, self.resource, self.cib = dict(given), conf, resource, cib


def source_of(options: argparse.Namespace, whole: bool = True) -> Source:
    """Find the parameters: options win over --conf or --resource. Where none of them names a site, there must be only one to choose: the
    only resource of ours in the running cluster, else the only file in /etc/cjc-agent. `whole` false: of a file, the lines that are right will
    do. Raise WrongUsage."""
    given = parameters_of(options)
    if options.conf:
        return _from_file(os.path.abspath(options.conf), given, whole)
    from cjc_agent.operator import cib
    if not options.resource and given.get("site"):
        return Source(given)
    try:
        found = cib.read(Runner(actions.state_folder(), "cjc-agent-cib", lambda text: None), Deadline(5.0))
    except cib.Unusable as error:
        if options.resource:
            raise WrongUsage("--resource %s: %s" % (options.resource, error)) from error
        found = None
    names = sorted(found.resources) if found else []
    if options.resource and options.resource not in names:
        raise WrongUsage("--resource %s: the cluster has no ocf:cjc:jobcenter resource of that name: it has %s" % (
            options.resource, ", ".join(names) or "none"))
    name = options.resource or (names[0] if len(names) == 1 else "")
    if found and name:
        return Source({**found.resources[name].parameters, **given}, None, name, found)
    paths = conf_file.all_files()
    if not names and len(paths) == 1:
        return _from_file(paths[0], given, whole)
    choice = ["--resource " + one for one in names] + ["--conf " + path for path in paths]
    if choice:
        raise WrongUsage("which site is meant? give one of: %s" % ", ".join(choice))
    raise WrongUsage("which site is meant? There is no %s/*.conf, and no ocf:cjc:jobcenter resource in a running cluster: give --conf FILE, or --site NAME "
                     "--site_db PATH" % conf_file.FOLDER)


def _from_file(path: str, given: Mapping[str, str], whole: bool) -> Source:
    conf = conf_file.read(path)
    if conf.errors and whole:
        raise WrongUsage(*conf.errors)
    return Source({**conf.values, **given}, conf)


def request_of(source: Source, seconds: float, verbose: bool = False) -> Request:
    """Return the request for a source. Raise WrongUsage when nothing of this node can be seen."""
    blindness = blind()
    if blindness:
        raise WrongUsage(blindness)
    log = Log("cjc-agent", {"HA_debug": "1" if verbose else "0"})
    return Request(source.given, Deadline(seconds), log, actions.state_folder(), source.resource or (source.conf.path if source.conf else ""), source.conf)


def looker(source: Source, seconds: float) -> Callable[[], Node]:
    """Return a function that takes a fresh look at the node, with that time for it. It raises WrongUsage for parameters that are not right."""
    from cjc_agent.operator.node import Node

    def look() -> Node:
        request = request_of(source, seconds)
        if request.complaints:
            raise WrongUsage(*request.complaints)
        return Node(request, source.resource, (), source.cib)
    return look


def settled(options: argparse.Namespace) -> None:
    """Become independent of how we were called, as the actions do; --conf may be a relative path."""
    if options.conf:
        options.conf = os.path.abspath(options.conf)
    settle()


def need_root(verb: str) -> None:
    """Raise WrongUsage unless we are root."""
    if os.geteuid() != 0:
        raise WrongUsage("%s needs root: run it with sudo" % verb)
