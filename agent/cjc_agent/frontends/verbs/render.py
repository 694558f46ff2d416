"""`cjc-agent render clusterpro`: the scripts of an exec resource and its monitor, and the commands that register them."""
from __future__ import annotations

import argparse
import json
import os

from cjc_agent.frontends.verbs.common import GOOD, complain
from cjc_agent.settings import conf_file, parameters

SUMMARY = "write what another cluster product needs: scripts, and the commands that register them"


def options(parser: argparse.ArgumentParser) -> None:
    """Add the verb's options."""
    parser.add_argument("product", choices=["clusterpro"])
    parser.add_argument("--conf", metavar="FILE", required=True, help="the site's configuration file, under its path on every server")
    parser.add_argument("--group", metavar="NAME", required=True, help="the failover group")
    parser.add_argument("--resource", metavar="NAME", required=True, help="the exec resource, a new one")
    parser.add_argument("--monitor", metavar="NAME", help="the custom monitor, a new one [genw-RESOURCE]")
    parser.add_argument("--output", metavar="DIR", required=True, help="where scripts/ is written: the folder of clp.conf that will be distributed")
    parser.add_argument("--overwrite", action="store_true", help="also over scripts that say something else")
    parser.add_argument("--json", action="store_true", help="print the answer as JSON")


def run(options: argparse.Namespace) -> int:
    """Write the scripts, print the commands."""
    from cjc_agent.operator import render
    conf = conf_file.read(os.path.abspath(options.conf))
    if conf.errors:
        return complain(*conf.errors)
    settings, problems = parameters.read(conf.values)
    if problems:
        return complain(*(conf.complaint(name, words) for name, words in problems.items()))
    try:
        plan = render.Plan(conf.path, settings, options.group, options.resource, options.monitor or "genw-" + options.resource)
        products = [render.CLUSTERPRO, os.environ.get("CLP_PATH") or render.CLUSTERPRO, settings.nqs_home, settings.nqs_spool]
        paths = render.write(plan.scripts(), options.output, products, options.overwrite)
    except render.CannotRender as error:
        return complain(str(error))
    if options.json:
        print(json.dumps({"files": paths, "clpcfset": plan.clpcfset(), "clpcfadm": plan.clpcfadm()}, indent=1), flush=True)
    else:
        print(render.words(plan, paths, os.path.abspath(options.output)), flush=True)
    return GOOD
