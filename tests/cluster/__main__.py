"""`make cluster-up` and its sisters: a cluster to play with.

    up [--nodes N]               two or three nodes with a running site; they stay until `down`
    demo                         the demo, whose cluster stays until `down`
    down                         all gone
    shell NODE [COMMAND ...]     a shell on a node, or one command
    fault WORDS                  what can happen to hardware: off|on|reboot|cut|mend NODE; dead|hangs|broken|lies|slow|alive (the fence device)
"""
from __future__ import annotations

import os
import pathlib
import sys

sys.path[0] = str(pathlib.Path(__file__).resolve().parents[1])

from cluster import room  # noqa: E402
from cluster.init import ENVIRONMENT  # noqa: E402

HELP = """
  make cluster-shell NODE=node1                     a shell on a node: crm_mon -1, crm status, less /var/log/pacemaker/pacemaker.log
  make cluster-shell NODE=node1 RUN='crm_mon -1'    one command
  make cluster-fault DO='off node1'                 cut its power. Also: on, cut, mend NODE (the cable); dead, hangs, broken, lies, slow, alive (fence device)
  make cluster-down
"""
USAGE = """
  make cluster-up                                   two nodes with a running site; NODES=3 for three""" + HELP


class WrongUse(Exception):
    """The text says what is wrong."""


def serve(nodes: int, descriptor: int) -> None:
    """In the room: build the cluster, start the site, stay."""
    from cluster import configuration
    from cluster.cluster import Cluster, missing_programs
    if missing_programs():
        sys.exit("cluster: missing on this machine: %s: install them (Debian: apt-get install ...)" % ", ".join(missing_programs()))
    cluster = Cluster(nodes)
    print("%d nodes boot ..." % nodes, flush=True)
    cluster.up()
    cluster.load(configuration.file_for_the_lab("one-site.crm", quick=True, nodes=nodes))
    cluster.idle()
    site = cluster.sites[0]
    where = cluster.status().where.get(site.name + "-site", ["no node"])[0]
    print("%s runs on %s, at %s port %d (JobCenter is a SIMULATOR).\n%s" % (site.name, where, site.vip, site.port, HELP), flush=True)
    room.stay(descriptor, 0)


def up(nodes: str) -> int:
    """A cluster that stays. Raise WrongUse, NoRoom."""
    if nodes not in ("2", "3"):
        raise WrongUse("NODES is 2 or 3, not %s" % (nodes or "nothing"))
    return room.open_room([str(pathlib.Path(__file__).parent), "serve", nodes])


def demo() -> int:
    """The demo, whose cluster stays. Raise NoRoom."""
    code = room.open_room([str(pathlib.Path(__file__).parents[1] / "demo/failover.py")])
    if room.find() is not None:
        print("\nThe cluster stays up." + HELP)
    return code


def shell(name: str, command: list[str]) -> None:
    """Become a shell on a node, or one command. Raise NoRoom."""
    environment = dict(ENVIRONMENT, TERM=os.environ.get("TERM", "dumb"), PS1=name + "# ")
    words = ["nsenter", "--target", str(room.node_pid(name)), "--all", "env", "-i", *("%s=%s" % pair for pair in environment.items())]
    os.execvp(words[0], [*words, *(["/bin/sh", "-c", " ".join(command)] if command else ["/bin/bash", "--norc", "-i"])])


def fault(request: str) -> int:
    """Have hardware fail; return whether it did not. Raise WrongUse, NoRoom, OSError."""
    if not request.strip():
        raise WrongUse("DO says what happens, and is empty")
    answer = room.ask_power(request)
    print(answer or "the power controller does not answer: it is dead (make cluster-fault DO=alive)")
    return 0 if answer.startswith("OK") else 1


def do(verb: str, words: list[str]) -> int:
    """What the command line says. Raise WrongUse, NoRoom, OSError."""
    if verb == "up" and (not words or words[0] == "--nodes"):
        return up(" ".join(words[1:]) if words else "2")
    if verb == "demo" and not words:
        return demo()
    if verb == "fault":
        return fault(" ".join(words))
    if verb == "shell" and words and words[0]:
        shell(words[0], words[1:])
    elif verb == "serve":
        serve(int(words[0]), int(words[2]))
    elif verb == "down" and not words:
        room.close_room()
        print("the cluster is down, all of it is gone")
    else:
        raise WrongUse("NODE is the name of a node" if verb == "shell" else "no such command: '%s'" % " ".join([verb, *words]))
    return 0


def main(arguments: list[str]) -> int:
    """Return 0, 1 for what did not work, 2 for wrong use, 130 for Ctrl-C, 141 when nobody reads what we say."""
    if os.geteuid() != 0:
        print("cluster: needs root (namespaces, mounts, loop devices): run it with sudo", file=sys.stderr)
        return 2
    try:
        return do(arguments[0] if arguments else "", arguments[1:])
    except WrongUse as error:
        print("cluster: %s\n%s" % (error, USAGE), end="", file=sys.stderr)
        return 2
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)  # for what Python still wants to say at its end
        return 141
    except (room.NoRoom, OSError) as error:
        print("cluster: %s" % error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("cluster: interrupted", file=sys.stderr)
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
