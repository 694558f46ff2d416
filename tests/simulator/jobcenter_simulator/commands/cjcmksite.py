"""cjcmksite -d DIR -n SITE: make the site DB of a cluster site, or (-r) register an existing one."""
import argparse
import os

from .. import outcome
from .. import site as sites
from ..config import Product, is_port, problem_with_addresses
from ..outcome import Refusal, say


def main(arguments):
    """Entry point; `arguments` without the program name."""
    parser = argparse.ArgumentParser(prog="cjcmksite", description="SIMULATOR: make or register a cluster site")
    parser.add_argument("-d", dest="directory", required=True, help="directory of the site DB, on the shared disk")
    parser.add_argument("-n", dest="name", required=True, help="name of the site")
    parser.add_argument("-i", dest="addresses", help="addresses to listen on, comma separated: the VIP")
    parser.add_argument("-p", dest="port", help="port to listen on; without it, the common daemon.conf applies")
    parser.add_argument("-r", dest="register", action="store_true",
                        help="only register an existing site DB on this node; its disk need not be mounted")
    options = outcome.parse_arguments(parser, arguments)
    return outcome.run(register if options.register else create, options)


def create(options):
    """Make the site DB and register it on this node."""
    directory = os.path.abspath(options.directory)
    addresses = options.addresses.split(",") if options.addresses else []
    problem = problem_with_addresses(addresses)
    if problem:
        raise Refusal(outcome.USAGE, f"-i {options.addresses}: {problem}")
    if options.port and not is_port(options.port):
        raise Refusal(outcome.USAGE, f"-p {options.port}: must be 1 to 65535")
    site = sites.new_site(Product.find(), options.name, directory)
    sites.create_database(directory, options.name, daemon_conf(addresses, options.port))
    site.register(directory)
    say(f"site DB of site {options.name} made in {directory}/nqs")
    return outcome.OK


def register(options):
    """Register a site DB that another node has made."""
    directory = os.path.abspath(options.directory)
    site = sites.new_site(Product.find(), options.name, directory)
    owner = sites.owner_of(directory)
    if owner not in (None, options.name):
        raise Refusal(outcome.SITE_DB_OF_ANOTHER, f"site DB {directory}/nqs was made for site {owner}")
    site.register(directory)
    say(f"site {options.name} registered for {directory}" + ("" if owner else " (no site DB there at present)"))
    return outcome.OK


def daemon_conf(addresses, port):
    """Return the text of a new site DB's daemon.conf."""
    return "\n".join([
        "# SIMULATOR: daemon.conf of a cluster site",
        "local_daemon=OFF               # no local daemons",
        f"ipaddress={','.join(addresses)}" if addresses else "#ipaddress=10.0.2.50           # the VIP: to be set",
        f"listen_port={port}" if port else "#listen_port=20816             # as in rc/daemon.conf",
        "ipcheck=OFF                    # no reverse look-up",
        ""])
