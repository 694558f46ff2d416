"""The configuration file of a site: `name = value` lines with the parameters' names, `#` begins a comment line."""
from __future__ import annotations

from cjc_agent.settings.parameters import BY_NAME, nearest
from cjc_agent.tools.log import one_line

LARGEST = 1 << 20  # bytes


class BadConf(Exception):
    """The file cannot be used; the text names file and line, what is wrong and what to do."""


def read(path: str) -> dict[str, str]:
    """Given a path, return parameter name -> text. Raise BadConf."""
    try:
        with open(path, "rb") as file:
            data = file.read(LARGEST + 1)
    except OSError as error:
        raise BadConf("%s: %s" % (path, error.strerror)) from error
    if len(data) > LARGEST:
        raise BadConf("%s: larger than %d bytes: is it a configuration file?" % (path, LARGEST))
    return parse(data, path)


def parse(data: bytes, path: str) -> dict[str, str]:
    """Given a file's bytes, return parameter name -> text. Comments may be in any encoding, values are UTF-8. Raise BadConf."""
    found: dict[str, str] = {}
    lines: dict[str, int] = {}
    if data.startswith(b"\xef\xbb\xbf"):
        data = data[3:]
    for number, raw in enumerate(data.split(b"\n"), 1):
        raw = raw.strip()
        if not raw or raw.startswith(b"#"):
            continue
        where = "%s line %d" % (path, number)
        try:
            line = raw.decode("utf-8")
        except UnicodeDecodeError as error:
            raise BadConf("%s: a value that is not UTF-8: write it in UTF-8" % where) from error
        name, equals, value = line.partition("=")
        name = name.strip()
        if not equals:
            raise BadConf("%s: %r is no `name = value` line" % (where, one_line(line, 60)))
        if name not in BY_NAME:
            like = nearest(name)
            raise BadConf("%s: unknown parameter %r%s" % (where, one_line(name, 60), ": did you mean %s?" % like if like else ""))
        if name in found:
            raise BadConf("%s: %s is set in line %d already: remove one of the two" % (where, name, lines[name]))
        found[name], lines[name] = value.strip(), number
    return found
