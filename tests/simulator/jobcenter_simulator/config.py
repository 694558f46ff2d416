"""Where the product's files are, the layered daemon.conf, and the licence."""
import os
import sys

from .outcome import BAD_DAEMON_CONF, LICENCE_MISSING, LICENCE_WITHOUT_CJC, Refusal

DEFAULT_PORT = 20816
MOST_ADDRESSES = 5
CHOICES = {"local_daemon": ("SITE", "OFF"), "ipcheck": ("ON", "OFF")}


class Product:
    """The installed product: `home` has commands, rc/ and license/; `spool` is this node's own state."""

    def __init__(self, home, spool):
        self.home = home
        self.spool = spool
        self.common_conf = f"{home}/rc/daemon.conf"
        self.licence = f"{home}/license/jobcenter_key.dat"

    @classmethod
    def find(cls):
        """Find the product of the running command; JCSIM_HOME and JCSIM_SPOOL override."""
        own_folder = os.path.dirname(os.path.realpath(sys.argv[0]))
        installed = os.path.isdir(f"{own_folder}/rc")
        home = os.environ.get("JCSIM_HOME") or (own_folder if installed else "/usr/lib/nqs")
        home = home.rstrip("/")
        spool = "/usr/spool/nqs"
        if home.endswith("/lib/nqs"):
            spool = f"{home[:-len('/lib/nqs')]}/spool/nqs"
        return cls(home, os.environ.get("JCSIM_SPOOL") or spool)

    def check_licence(self):
        """Refuse unless the licence key carries the CJC Option."""
        try:
            with open(self.licence, "rb") as file:
                text = file.read()
        except OSError as error:
            raise Refusal(LICENCE_MISSING, f"licence key {self.licence}: {error.strerror}") from None
        if b"CJC" not in text:
            raise Refusal(LICENCE_WITHOUT_CJC, f"licence key {self.licence} has no CJC Option")


def node_name():
    """Name of this node for the ledger; JCSIM_NODE tells apart two nodes with one host name."""
    return os.environ.get("JCSIM_NODE") or os.uname().nodename


class Setting:
    """One value of a daemon.conf and where it stands."""

    def __init__(self, value, path, line):
        self.value = value
        self.path = path
        self.line = line

    def refuse(self, problem):
        """Raise a Refusal that names file and line."""
        raise Refusal(BAD_DAEMON_CONF, f"{self.path} line {self.line}: {problem}")


def read_daemon_conf(path):
    """Return {name: Setting} of one daemon.conf; {} if there is no such file.

    Comments may be EUC-JP or Shift_JIS, so undecodable bytes are carried along, not refused; and only
    a real newline ends a line (str.splitlines would also split at bytes that happen to decode to U+0085).
    """
    try:
        with open(path, encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            lines = file.read().split("\n")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise Refusal(BAD_DAEMON_CONF, f"{path}: {error.strerror}") from None
    settings = {}
    for number, line in enumerate(lines, 1):
        content = line.split("#", 1)[0].strip()
        if not content:
            continue
        name, equals, value = content.partition("=")
        setting = Setting(value.strip(), path, number)
        if not equals:
            setting.refuse(f"neither a comment nor name=value: {content}")
        settings[name.strip()] = setting
    return settings


class SiteSettings:
    """Effective settings of a cluster site: the common daemon.conf, overridden by the site DB's own."""

    def __init__(self, product, site_db):
        self.settings = read_daemon_conf(product.common_conf)
        self.settings.update(read_daemon_conf(f"{site_db}/nqs/daemon.conf"))
        for name, choices in CHOICES.items():
            setting = self.settings.get(name)
            if setting and setting.value not in choices:
                setting.refuse(f"{name}={setting.value}: must be {' or '.join(choices)}")
        self.port = self._port()
        self.addresses = self._addresses()

    def _port(self):
        setting = self.settings.get("listen_port")
        if not setting:
            return DEFAULT_PORT
        if not is_port(setting.value):
            setting.refuse(f"listen_port={setting.value}: must be 1 to 65535")
        return int(setting.value)

    def _addresses(self):
        setting = self.settings.get("ipaddress")
        if not setting or not setting.value:
            return []
        addresses = [word.strip() for word in setting.value.split(",")]
        problem = problem_with_addresses(addresses)
        if problem:
            setting.refuse(f"ipaddress={setting.value}: {problem}")
        return addresses


def is_port(text):
    """Is `text` a TCP port number?"""
    return text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535


def problem_with_addresses(addresses):
    """Return what is wrong with a list of listen addresses, or None."""
    import socket  # late: only start and the clients come here
    if len(addresses) > MOST_ADDRESSES:
        return f"more than {MOST_ADDRESSES} addresses"
    if len(set(addresses)) < len(addresses):
        return "an address stands there twice"
    for address in addresses:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        try:
            socket.inet_pton(family, address)
        except (OSError, ValueError):
            return f"{address!r} is no IP address"
    return None
