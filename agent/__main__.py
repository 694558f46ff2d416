"""The core as an executable: `python3 agent/ FRONTEND ...`, FRONTEND being `ocf`, `clusterpro` or a verb of `cjc-agent`.

The wrappers run this file with `-I -S`, so nothing but the standard library and this folder is importable.
"""
import gc
import os
import sys

if sys.version_info < (3, 9):  # RHEL 8 and SLES 15 call 3.6 `python3`; this file must stay readable to it
    sys.stderr.write("ocf-exit-reason:python: %s is too old, cjc-agent needs Python 3.9 or later: install python3.9+ and run "
                     "`make install PYTHON=/usr/bin/python3.x`\n" % sys.executable)
    sys.exit(5)

gc.disable()  # we live for milliseconds, or wait; collecting makes a forked child copy pages
sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))


def main(argv):
    """Given the words after the program's name, run one front end and return its exit code."""
    if argv[:1] not in (["ocf"], ["clusterpro"]):
        from cjc_agent.frontends import cli
        return cli.main(argv)
    try:
        if argv[0] == "ocf":
            from cjc_agent.frontends import ocf as frontend
        else:
            from cjc_agent.frontends import clusterpro as frontend
    except Exception as error:  # no descriptor, no memory, a core that is half installed: "failed", in one line
        os.write(2, ("%sagent: %s: the core in %s cannot be loaded: look what this node lacks\n" % (
            "ocf-exit-reason:" if argv[0] == "ocf" else "cjc-", error or type(error).__name__, os.path.dirname(__file__))).encode("utf-8", "replace"))
        return 1
    return frontend.main(argv[1:])


if __name__ == "__main__":
    # _exit: nothing of ours is left in buffers, and tearing the interpreter down costs as much as a syscall-only monitor
    os._exit(main(sys.argv[1:]))
