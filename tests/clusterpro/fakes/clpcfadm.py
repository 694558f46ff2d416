#!/usr/bin/python3 -I
"""SIMULATOR of CLUSTERPRO's clpcfadm.py (X 5.1 and later), as far as public samples show it. Works on ./clp.conf.

    clpcfadm.py add rsc GROUP TYPE NAME | rscdep TYPE NAME OTHER | mon TYPE NAME
    clpcfadm.py mod -t resource/TYPE@NAME/PATH --set VALUE [--nocheck]        (or monitor/TYPE@NAME/PATH)

The samples change relation/* with --nocheck: without it that is refused here.
"""
import os
import re
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
import clpconf  # noqa: E402

ADD = {"rsc": (3, "add_resource"), "mon": (2, "add_monitor"), "rscdep": (3, "add_dependency")}
PATH = re.compile(r"(resource|monitor)/([a-z]+)@([^/@]+)/(.+)")


def main(words):
    """One command."""
    if words[:1] == ["add"] and len(words) >= 2 and words[1] in ADD:
        count, verb = ADD[words[1]]
        if len(words) != 2 + count:
            raise clpconf.Refused("add %s takes %d words, not %d" % (words[1], count, len(words) - 2))
        configuration = clpconf.load()
        getattr(configuration, verb)(*words[2:])
    elif words[:2] == ["mod", "-t"] and len(words) in (5, 6) and words[3] == "--set" and words[5:] in ([], ["--nocheck"]):
        match = PATH.fullmatch(words[2])
        if match is None:
            raise clpconf.Refused("unknown path: '%s'" % words[2])
        what, kind, name, path = match.groups()
        if path.startswith("relation/") and not words[5:]:
            raise clpconf.Refused("%s is changed with --nocheck only" % path)
        configuration = clpconf.load()
        configuration.set(what, kind, name, path, words[4])
    else:
        raise clpconf.Refused("unknown command: %s" % " ".join(words))
    clpconf.save(configuration)


try:
    main(sys.argv[1:])
except clpconf.Refused as refused:
    sys.exit("SIMULATOR clpcfadm.py: %s" % refused)
