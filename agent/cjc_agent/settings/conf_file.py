"""The configuration file of a site: `name = value` lines with the parameters' names, `#` begins a comment line.

What it says is run as root: a file that somebody else can write is refused.
"""
from __future__ import annotations

import errno
import os
import stat

from cjc_agent.settings.parameters import BY_NAME, nearest
from cjc_agent.tools import mountinfo, statefile
from cjc_agent.tools.log import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Optional

FOLDER = "/etc/cjc-agent"
LARGEST = 1 << 20  # bytes
NAMED_BY = "CJC_AGENT_CONF"  # environment variable with the path of the file


class Conf:
    """A file as it was read: `path` ("" when none could be chosen), `values` (parameter name -> text), `lines` (parameter name -> line number).

    `errors` say what cannot be used: file, line, what is wrong and what to do. The other lines are there all the same: for a stop.
    """

    __slots__ = ("path", "values", "lines", "errors")

    def __init__(self, path: str, errors: tuple[str, ...] = ()) -> None:
        self.path = path
        self.values: dict[str, str] = {}
        self.lines: dict[str, int] = {}
        self.errors = list(errors)

    def place(self, name: str) -> str:
        """Return where a parameter stands: file and line, or the file alone when it does not stand there."""
        path = one_line(self.path, 300)
        return "%s line %d" % (path, self.lines[name]) if name in self.lines else path

    def complaint(self, name: str, words: str) -> str:
        """Given what is wrong with a parameter, return it with the place where it stands."""
        return "%s: parameter %s: %s" % (self.place(name), name, words)


def choose(environ: Mapping[str, str], started: Optional[Mapping[str, str]] = None, by_start: bool = False) -> Conf:
    """Given the environment of a CLUSTERPRO script, read the file of its site.

    That is the one that CJC_AGENT_CONF names, else the one in FOLDER that has the resource's name, else the only one there. A file that a
    site was `started` from (path -> site) counts as being there: it is told as missing, and no other one taken instead. `by_start`: of
    several for one and the same site, the one that it was started from.
    """
    started = started or {}
    named = environ.get(NAMED_BY, "")
    if named:
        return read(named) if named.startswith("/") else Conf("", ("%s=%s: not an absolute path: begin it with /" % (NAMED_BY, one_line(named, 200)),))
    in_use = [path for path in started if os.path.dirname(path) == FOLDER]
    resource = environ.get("CLP_RESOURCENAME", "")
    path = "%s/%s.conf" % (FOLDER, resource)
    if resource and "/" not in resource and (path in in_use or os.path.exists(path)):
        return read(path)
    paths = sorted({*all_files(), *in_use})
    if len(paths) == 1:
        return read(paths[0])
    if by_start and len(in_use) == 1 and all(read(path).values.get("site") == started[in_use[0]] for path in paths if path != in_use[0]):
        return read(in_use[0])
    if not paths:
        return Conf("", ("%s holds no *.conf file: write the site's (docs/parameters.md), on every node" % FOLDER,))
    names = ", ".join(map(os.path.basename, paths[:3])) + (" ..." if len(paths) > 3 else "")
    return Conf("", ("say which is this site's in the script's line %s= (cjc-agent render clusterpro writes it): %s holds %s" % (
        NAMED_BY, FOLDER, one_line(names, 200)),))


def all_files() -> list[str]:
    """Return the paths of all configuration files in FOLDER, sorted."""
    try:
        return sorted(os.path.join(FOLDER, name) for name in os.listdir(FOLDER) if name.endswith(".conf") and not name.startswith("."))
    except OSError:
        return []


def read(path: str) -> Conf:
    """Given an absolute path, read the file; one that is not there, cannot be read or is not ours alone to write has errors and no values."""
    try:
        conf = parse(_contents(path), path)
    except OSError as error:
        remedy = {errno.ENOENT: "write it, on every node", errno.EPERM: "chown root, chmod go-w", errno.EREMOTE: "keep it on the node's own disk"}
        where = "" if error.filename in (None, path) else "%s: " % error.filename
        return Conf(path, (one_line("%s: %s%s: %s" % (path, where, error.strerror, remedy.get(error.errno or 0, "correct it"))),))
    except ValueError:
        return Conf(path, ("%s: no path of a file" % one_line(path, 300),))
    for name in ("directory", "site_db"):
        folder = conf.values.get(name, "")
        if folder.startswith("/") and mountinfo.is_below(path, folder):
            conf.errors.append(one_line("%s: lies below %s %s: it has to be there when that disk is not: keep it in %s" % (path, name, folder, FOLDER)))
    return conf


def _contents(path: str) -> bytes:
    """Raise OSError, also for a file that others may write or exchange, or that could hang; ValueError for a NUL."""
    if _leads_far(path):
        raise OSError(errno.EREMOTE, "on a network file system, which could hang", path)
    where, words = statefile.unsafe(os.path.dirname(os.path.realpath(path)), shared=True)  # whose the file itself is is looked at below
    if words:
        raise OSError(errno.EPERM, words, where)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)  # a FIFO would not answer
    try:
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            raise OSError(errno.EINVAL, os.strerror(errno.EISDIR) if stat.S_ISDIR(facts.st_mode) else "not a plain file", path)
        words = statefile.writable_by_others(facts)
        if words:
            raise OSError(errno.EPERM, words, path)
        if facts.st_size > LARGEST:
            raise OSError(errno.EFBIG, "larger than %d bytes, is it a configuration file?" % LARGEST, path)
        return os.read(descriptor, LARGEST)
    finally:
        os.close(descriptor)


def _leads_far(path: str) -> bool:
    """Whether a path, or a link on its way, lies on a file system of a server: one that is dead would hang us. Each step is judged by its name first."""
    for _ in range(40):  # as many links as the kernel follows (path_resolution(7))
        if mountinfo.on_network(path):
            return True
        ends = [at for at, letter in enumerate(path + "/") if letter == "/" and at]
        link = next((path[:end] for end in ends if os.path.islink(path[:end])), "")
        if not link:
            return False
        path = os.path.normpath(os.path.join(os.path.dirname(link), os.readlink(link)) + path[len(link):])
    return False


def parse(data: bytes, path: str) -> Conf:
    """Given a file's bytes, return what it says. Comments may be in any encoding, values are UTF-8."""
    conf = Conf(path)
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
    for number, raw in enumerate(data.split(b"\n"), 1):
        raw = raw.strip()
        if raw and not raw.startswith(b"#"):
            complaint = _understand(raw, number, conf)
            if complaint:
                conf.errors.append("%s line %d: %s" % (one_line(path, 300), number, complaint))
    return conf


def _understand(raw: bytes, number: int, conf: Conf) -> str:
    """Given one line, put what it says into `conf`; return what is wrong with it, or ""."""
    try:
        line = raw.decode("utf-8")
    except UnicodeDecodeError:
        return "a value that is not UTF-8: write it in UTF-8"
    name, equals, value = line.partition("=")
    name, value = name.strip(), value.strip()
    if not equals:
        return "%r is no `name = value` line" % one_line(line, 60)
    if name not in BY_NAME:
        like = nearest(name)
        return "unknown parameter %r%s" % (one_line(name, 60), ": did you mean %s?" % like if like else ": see docs/parameters.md")
    if name in conf.values:
        return "%s is set in line %d already: remove one of the two" % (name, conf.lines[name])
    if value.startswith("/") and " #" in value:  # it would be a path like any other
        return "%s has a comment in its value: give it a line of its own" % name
    if not value and not BY_NAME[name].empty_counts:  # a forgotten `vip` would leave the address unchecked
        return "%s has no value: give one, or remove the line" % name
    conf.values[name], conf.lines[name] = value, number
    return ""
