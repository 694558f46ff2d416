"""The configuration file of a site: `name = value` lines with the parameters' names, `#` begins a comment line.

What it says is run as root: a file that somebody else can write is refused.
"""
from __future__ import annotations

import errno
import os
import stat

from cjc_agent.settings.parameters import BY_NAME, nearest
from cjc_agent.tools import statefile
from cjc_agent.tools.log import one_line

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Mapping

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
        return "%s line %d" % (self.path, self.lines[name]) if name in self.lines else self.path


def choose(environ: Mapping[str, str]) -> Conf:
    """Given the environment of a CLUSTERPRO script, read the file of its site.

    That is the one that CJC_AGENT_CONF names, else the one in FOLDER that has the resource's name, else the only one there.
    """
    named = environ.get(NAMED_BY, "")
    if named:
        return read(named) if named.startswith("/") else Conf("", ("%s=%s: not an absolute path: begin it with /" % (NAMED_BY, one_line(named, 200)),))
    resource = environ.get("CLP_RESOURCENAME", "")
    path = "%s/%s.conf" % (FOLDER, resource)
    if resource and "/" not in resource and os.path.exists(path):
        return read(path)
    paths = all_files()
    if len(paths) == 1:
        return read(paths[0])
    if not paths:
        return Conf("", ("%s holds no *.conf file: write the site's (docs/parameters.md), on every node" % FOLDER,))
    words = "%s holds %s" % (FOLDER, one_line(", ".join(map(os.path.basename, paths)), 200))
    return Conf("", ("%s: say which is this site's in the script's line %s= (cjc-agent render clusterpro writes it)" % (words, NAMED_BY),))


def all_files() -> list[str]:
    """Return the paths of all configuration files in FOLDER, sorted."""
    try:
        return sorted(os.path.join(FOLDER, name) for name in os.listdir(FOLDER) if name.endswith(".conf") and not name.startswith("."))
    except OSError:
        return []


def read(path: str) -> Conf:
    """Given a path, read the file; one that is not there, cannot be read or is not ours alone to write has errors and no values."""
    shown = one_line(path, 300)
    try:
        return parse(_contents(path), shown)
    except OSError as error:
        remedy = {errno.ENOENT: "write it, on every node", errno.EPERM: "chown root, chmod go-w"}.get(error.errno or 0, "correct it")
        where = shown if error.filename in (None, path) else "%s: %s" % (shown, one_line(str(error.filename), 300))
        return Conf(shown, ("%s: %s: %s" % (where, error.strerror, remedy),))
    except ValueError:
        return Conf(shown, ("%s: no path of a file" % shown,))


def _contents(path: str) -> bytes:
    """Raise OSError, also for a file that others may write or exchange; ValueError for a NUL."""
    where, words = statefile.unsafe(os.path.dirname(os.path.realpath(path)), shared=True)  # whose the file itself is is looked at below
    if words:
        raise OSError(errno.EPERM, words, where)
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY)  # a FIFO would not answer
    try:
        facts = os.fstat(descriptor)
        if stat.S_ISREG(facts.st_mode):
            words = statefile.writable_by_others(facts)
            if words:
                raise OSError(errno.EPERM, words, path)
            if facts.st_size > LARGEST:
                raise OSError(errno.EFBIG, "larger than %d bytes: is it a configuration file?" % LARGEST, path)
            return os.read(descriptor, LARGEST)
        raise OSError(errno.EINVAL, os.strerror(errno.EISDIR) if stat.S_ISDIR(facts.st_mode) else "not a plain file", path)
    finally:
        os.close(descriptor)


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
                conf.errors.append("%s line %d: %s" % (path, number, complaint))
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
    if not value and not BY_NAME[name].empty_counts:  # a forgotten `vip` would leave the address unchecked
        return "%s has no value: give one, or remove the line" % name
    conf.values[name], conf.lines[name] = value, number
    return ""
