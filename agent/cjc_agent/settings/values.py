"""From text to value, one small function per kind. Each raises ValueError with words that say what is wrong and what would be right."""
from __future__ import annotations

from cjc_agent.tools import addresses, command

MOST_ADDRESSES = 5  # seed: ipaddress, at most 5, comma separated
ALPHANUMERIC = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789"
UNITS = {"": 1.0, "s": 1.0, "sec": 1.0, "ms": 0.001, "msec": 0.001, "m": 60.0, "min": 60.0, "h": 3600.0, "hr": 3600.0}
TAGS = ("LABEL=", "UUID=", "PARTLABEL=", "PARTUUID=")  # mount(8)


def text(given: str) -> str:
    """Any text of one line."""
    return given


def site_name(given: str) -> str:
    """A cluster site's name."""
    if len(given) > 63 or given[:1] not in ALPHANUMERIC or given.strip(ALPHANUMERIC + "._-"):
        raise ValueError("%r is no site name: letters, digits, . _ -, beginning with a letter or digit, at most 63" % given)
    return given


def path(given: str) -> str:
    """An absolute path, without a trailing slash or doubled ones."""
    if not given.startswith("/"):
        raise ValueError("%r is not an absolute path: begin it with /" % given)
    words = [word for word in given.split("/") if word not in ("", ".")]
    if ".." in words:
        raise ValueError("%r climbs with `..`: write the path out" % given)
    return "/" + "/".join(words)


def folder(given: str) -> str:
    """An absolute path that is not the root folder."""
    value = path(given)
    if value == "/":
        raise ValueError("the root folder cannot be used here: name a folder of the shared disk")
    return value


def device(given: str) -> str:
    """What mount(8) is given: /dev/..., LABEL=, UUID= or host:/export."""
    if given.startswith("/dev/") and path(given) != "/dev":
        return path(given)
    if given.startswith(TAGS) and given.split("=", 1)[1]:
        return given
    host, colon, export = given.rpartition(":/")
    if colon and host and not host.startswith(("/", "-")) and not (set(host) & set(" \t,=")):
        return host + ":/" + export.rstrip("/")
    raise ValueError("%r is no device: give /dev/..., LABEL=..., UUID=... or host:/export" % given)


def is_network(value: str) -> bool:
    """Whether a device value names a network file system."""
    return bool(value) and not value.startswith(("/dev/", *TAGS))


def file_system(given: str) -> str:
    """A file system type, as for mount -t."""
    if given.strip(ALPHANUMERIC + "._-") or given.startswith("-"):
        raise ValueError("%r is no file system type: give one as for mount -t, e.g. ext4" % given)
    return given


def mount_options(given: str) -> str:
    """Mount options, as for mount -o."""
    if any(c.isspace() for c in given):
        raise ValueError("%r has white space in it: separate mount options by commas alone" % given)
    return given


def vips(given: str) -> tuple[str, ...]:
    """At most five addresses, comma separated."""
    words = [word.strip() for word in given.split(",")] if given.strip() else []
    if len(words) > MOST_ADDRESSES:
        raise ValueError("%d addresses given, JobCenter takes at most %d: remove some" % (len(words), MOST_ADDRESSES))
    found = []
    for word in words:
        binary = addresses.packed(word)
        if not any(binary):  # whoever listens everywhere, the local site say, would be taken for the site's
            raise ValueError("%s stands for every address: give the virtual one" % word)
        if binary in found:
            raise ValueError("%s is given twice: remove one" % word)
        found.append(binary)
    return tuple(addresses.text_of(binary) for binary in found)


def port(given: str) -> int:
    """A TCP port; 0 stands for "not given"."""
    value = _number(given)
    if not 1 <= value <= 65535:
        raise ValueError("%r is no TCP port: give a number from 1 to 65535" % given)
    return value


def _number(given: str) -> int:
    """A whole number; -1 when it is none, or one that nobody means (Python refuses to read thousands of digits)."""
    return int(given) if given.isascii() and given.isdigit() and len(given) < 100 else -1


def duration(given: str) -> float:
    """A time span in seconds: a number with s, ms, min or h behind it, or none (seconds)."""
    number = given.rstrip("abcdefghijklmnopqrstuvwxyz")
    unit = given[len(number):]
    try:
        if unit not in UNITS or number.strip("0123456789.") or not number:
            raise ValueError
        value = float(number) * UNITS[unit]
    except ValueError:
        raise ValueError("%r is no time span: give e.g. 10s, 500ms or 2min" % given) from None
    if value > 86400:
        raise ValueError("%r is longer than a day" % given)
    return value


def timeout(given: str) -> float:
    """A time span in seconds that something can be done in."""
    value = duration(given)
    if value < 1:
        raise ValueError("%r is too short: give at least 1s" % given)
    return value


def check_level(given: str) -> int:
    """How deep a monitor looks: 0, 10 or 20."""
    return int(choice("0", "10", "20")(given))


def message_length(given: str) -> int:
    """Bytes of a message: enough to say something, and not more than an argument may be long."""
    value = _number(given)
    if not 128 <= value <= 65536:
        raise ValueError("%r is no length of a message: give a number of bytes from 128 to 65536" % given)
    return value


def percent(given: str) -> int:
    """A share, from 0 to 100."""
    value = _number(given)
    if not 0 <= value <= 100:
        raise ValueError("%r is no percentage: give a number from 0 to 100" % given)
    return value


def size(given: str) -> int:
    """A whole number of MiB."""
    value = _number(given)
    if not 0 <= value < 1 << 40:
        raise ValueError("%r is no size: give a whole number of MiB" % given)
    return value


def escalation(given: str) -> float:
    """Seconds for the graceful part of a stop; -1 stands for `auto`."""
    return -1.0 if given == "auto" else duration(given)


def words(given: str) -> tuple[str, ...]:
    """A list of words, split as a shell splits them, never run by one."""
    if not set(given) & set("'\"\\"):
        return tuple(given.split())
    import shlex  # imports re; only where somebody quotes
    try:
        return tuple(shlex.split(given))
    except ValueError as error:
        raise ValueError("%r: %s" % (given, str(error).lower())) from None


def assignments(given: str) -> tuple[str, ...]:
    """NAME=value words for cjcpw's environment. What is wrong with them is said without the values: they may be secrets."""
    try:
        found = words(given)
    except ValueError:
        raise ValueError("quotes or backslashes do not match: quote each NAME=value as for a shell") from None
    for number, word in enumerate(found, 1):
        name, equals, _ = word.partition("=")
        if not equals or not name or name.strip(ALPHANUMERIC + "_") or name[0].isdigit():
            raise ValueError("word %d is not NAME=value" % number)
        if name in ("NQS_SITE", "CJC_AGENT_CALL"):
            raise ValueError("%s is set by the agent: remove it" % name)
    return found


def exit_codes(given: str) -> tuple[int, ...]:
    """Exit codes, comma separated."""
    found = []
    for word in given.split(","):
        word = word.strip()
        code = _number(word)
        if not 0 <= code <= 255:
            raise ValueError("%r is no exit code: give numbers from 0 to 255, comma separated" % word)
        if code in command.NEVER_RAN:
            raise ValueError("exit code %d means that the command could not be run: it says nothing of the site" % code)
        found.append(code)
    return tuple(found)


def program(given: str) -> str:
    """A command's bare name, or its absolute path."""
    if given.startswith("/") and path(given) != "/":
        return path(given)
    if "/" in given or given.startswith("-") or given in (".", "..") or any(c.isspace() for c in given):
        raise ValueError("%r is neither a bare command name nor an absolute path" % given)
    return given


def user(given: str) -> str:
    """A login name."""
    if given.strip(ALPHANUMERIC + "._-$") or given.startswith("-") or len(given) > 64:
        raise ValueError("%r is no login name" % given)
    return given


def choice(*allowed: str):  # type: ignore[no-untyped-def]
    """One word out of a few: return the function that checks it."""
    def chosen(given: str) -> str:
        if given not in allowed:
            raise ValueError("%r is not one of: %s" % (given, ", ".join(allowed)))
        return given
    return chosen


def boolean(given: str) -> bool:
    """yes/no in the spellings the cluster's own agents take."""
    if given.lower() in ("1", "yes", "true", "on"):
        return True
    if given.lower() in ("0", "no", "false", "off"):
        return False
    raise ValueError("%r is neither 1 nor 0" % given)


def programs_of(value: str, nqs_home: str) -> list[str]:
    """Given a `program` value, return the paths to try, in order: the product's folders, then the fixed PATH, never the caller's."""
    return command.resolve(value, [nqs_home, nqs_home + "/cluster", nqs_home + "/bin"])
