"""Cluster sites: this node's registry of them, and the site DB on the shared disk."""
import os

from .outcome import (
    BAD_SITE_NAME,
    CANNOT_CREATE,
    NO_NQS_SITE,
    NOT_REGISTERED,
    REGISTERED_ELSEWHERE,
    SITE_DB_EXISTS,
    SITE_DB_MISSING,
    SITE_DB_OF_ANOTHER,
    Refusal,
)

FIRST_CHARACTERS = frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789")
CHARACTERS = FIRST_CHARACTERS | frozenset("._-")


def is_site_name(name):
    """May `name` be a site's name? `x.pids` may not: it is the file name of site x's processes."""
    return (0 < len(name) <= 63 and name[0] in FIRST_CHARACTERS and CHARACTERS.issuperset(name)
            and not name.endswith(".pids"))


class Site:
    """A cluster site as this node knows it."""

    def __init__(self, product, name):
        self.product = product
        self.name = name
        self.registration = f"{product.spool}/sites/{name}"
        self.pid_file = f"{product.spool}/sites/{name}.pids"

    @classmethod
    def from_environment(cls, product):
        """The site that NQS_SITE names. Refuse without NQS_SITE; the site need not be registered."""
        name = os.environ.get("NQS_SITE", "")
        if not name:
            raise Refusal(NO_NQS_SITE, "NQS_SITE is not set: no cluster site to act on")
        if not is_site_name(name):
            raise Refusal(NOT_REGISTERED, f"NQS_SITE={name!r} is no site name")
        return cls(product, name)

    def directory(self):
        """Return the directory of the site DB as registered on this node, or refuse."""
        try:
            with open(self.registration, encoding="utf-8", errors="surrogateescape") as file:
                return file.read().rstrip("\n")
        except OSError:
            raise Refusal(NOT_REGISTERED, f"site {self.name} is not registered on this node "
                                          f"({self.registration})") from None

    def check_database(self):
        """Return the directory of the site DB; refuse if it is not there or made for another site."""
        directory = self.directory()
        owner = owner_of(directory)
        if owner is None:
            raise Refusal(SITE_DB_MISSING, f"no site DB at {directory}/nqs: is the shared disk mounted?")
        if owner != self.name:
            raise Refusal(SITE_DB_OF_ANOTHER, f"site DB {directory}/nqs was made for site {owner}, "
                                              f"not for {self.name}")
        return directory

    def register(self, directory):
        """Tell this node where the site DB of the site is, or will be once the disk is mounted."""
        try:
            os.makedirs(os.path.dirname(self.registration), exist_ok=True)
            with open(self.registration, "w", encoding="utf-8", errors="surrogateescape") as file:
                file.write(directory + "\n")
        except OSError as error:
            raise Refusal(CANNOT_CREATE, f"{self.registration}: {error.strerror}") from None


def owner_of(directory):
    """Return the name of the site whose site DB lies in `directory`, None if there is no site DB."""
    try:
        with open(f"{directory}/nqs/site", encoding="utf-8", errors="surrogateescape") as file:
            return file.read().strip()
    except OSError:
        return None


def new_site(product, name, directory):
    """Return the Site to be made or registered; refuse a bad name or one registered elsewhere."""
    if not is_site_name(name):
        raise Refusal(BAD_SITE_NAME, f"{name!r} is no site name: letters, digits, '.', '_', '-', at most 63, "
                                     "first a letter or digit, not ending in .pids")
    site = Site(product, name)
    try:
        registered = site.directory()
    except Refusal:
        return site
    if registered != directory:
        raise Refusal(REGISTERED_ELSEWHERE, f"site {name} is registered for {registered}; "
                                            f"remove {site.registration} first if that is wrong")
    return site


def create_database(directory, name, daemon_conf):
    """Make the site DB `directory`/nqs, all or nothing; never over anything that is there already."""
    import shutil
    import sqlite3
    import tempfile

    from . import jobs
    target = f"{directory}/nqs"
    exists = Refusal(SITE_DB_EXISTS, f"{target} exists already (site {owner_of(directory) or 'unknown'}): "
                                     "left as it is")
    if os.path.lexists(target):
        raise exists
    draft = None
    try:
        os.makedirs(directory, exist_ok=True)
        draft = tempfile.mkdtemp(prefix=".nqs-draft-", dir=directory)
        os.chmod(draft, 0o755)
        os.mkdir(f"{draft}/log")
        write(f"{draft}/daemon.conf", daemon_conf)
        write(f"{draft}/site", name + "\n")
        jobs.create(f"{draft}/jobs.db")
        os.rename(draft, target)
    except (OSError, sqlite3.Error) as error:
        if os.path.lexists(target):  # somebody else was faster
            raise exists from None
        raise Refusal(CANNOT_CREATE, f"{target}: {error}") from None
    finally:
        if draft:
            shutil.rmtree(draft, ignore_errors=True)


def write(path, text):
    """Write a small text file."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
