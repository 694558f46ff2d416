"""install: make a product tree, as JobCenter's installer and jclicreg would."""
import argparse
import os
import shutil

from .. import outcome
from ..config import DEFAULT_PORT
from ..outcome import say
from ..site import write

COMMANDS = ("cjcmksite", "cjcpw", "qsub", "qstat")
LICENCES = {"cjc": "SIMULATOR licence key\nproduct=JobCenter MG/SV\noption=CJC Option\n",
            "plain": "SIMULATOR licence key\nproduct=JobCenter MG/SV\n"}


def main(arguments):
    """Entry point; `arguments` without the program name."""
    parser = argparse.ArgumentParser(prog="install", description="SIMULATOR: install the simulator")
    parser.add_argument("--root", default="/", help="install below this directory (default /)")
    parser.add_argument("--licence", choices=("cjc", "plain", "none"), default="cjc")
    parser.add_argument("--listen-port", type=int, default=DEFAULT_PORT)
    parser.add_argument("--local-ipaddress", default="127.0.0.1", help="ipaddress of the local site")
    return outcome.run(install, outcome.parse_arguments(parser, arguments))


def install(options):
    """Copy the commands and write fresh configuration, over an earlier installation if there is one."""
    root = os.path.abspath(options.root).rstrip("/")
    home, spool = f"{root}/usr/lib/nqs", f"{root}/usr/spool/nqs"
    for folder in (f"{home}/rc", f"{home}/license", f"{spool}/sites"):
        os.makedirs(folder, exist_ok=True)
    copy_program(home)
    write(f"{home}/rc/daemon.conf", "# SIMULATOR: local site and cluster sites\n"
                                    "local_daemon=SITE               # both may live together\n"
                                    f"listen_port={options.listen_port}\n")
    write(f"{spool}/daemon.conf", "# SIMULATOR: local site only\n"
                                  "local_daemon=SITE\n"
                                  f"ipaddress={options.local_ipaddress}\n")
    licence = f"{home}/license/jobcenter_key.dat"
    if options.licence == "none":
        if os.path.lexists(licence):
            os.unlink(licence)
    else:
        write(licence, LICENCES[options.licence])
    say(f"simulator installed in {home} and {spool}")
    return outcome.OK


def copy_program(home):
    """Copy commands and package into `home`."""
    source = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
    for command in COMMANDS:
        shutil.copy2(f"{source}/{command}", f"{home}/{command}")
    shutil.copytree(f"{source}/jobcenter_simulator", f"{home}/jobcenter_simulator", dirs_exist_ok=True)
