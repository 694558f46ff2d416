"""clp.conf as the SIMULATOR of CLUSTERPRO knows it: which objects and paths there are, which values they take, and how it is written.

All of it is taken from public samples of clpcfset and clpcfadm.py. What was not seen there is refused, whatever the product may do with it:
so a command that passes here uses nothing but what is known. The XML is our own in all but its outline. Installed on every node beside the
fakes: standard library only.
"""
from __future__ import annotations

import codecs
import os
import pathlib
import re
import xml.etree.ElementTree as ElementTree
from typing import Callable, NamedTuple, Optional

FILE = "clp.conf"  # in the current folder
NAME = re.compile(r"[A-Za-z][A-Za-z0-9_-]{0,30}")
RESOURCES, MONITORS = ("disk", "fip", "exec"), ("genw",)  # the resources in the order in which the SIMULATOR activates them
DEFAULT_TIMEOUT = 1800  # seconds; parameters/timeout/* of exec
ADDED = 180  # act/timeout = 180 + parameters/timeout/start, if that was changed
ACTIONS = ("1", "2", "3", "4", "5", "8")  # nothing, stop the group, stop the cluster service, and OS shutdown, and OS reboot, sysrq panic


class Refused(Exception):
    """The command, a value or the configuration is refused; the text says why."""


def _number(low: int, high: int) -> Callable[[str], bool]:
    return lambda value: bool(re.fullmatch(r"0|[1-9][0-9]{0,8}", value)) and low <= int(value) <= high


def _one_of(*values: str) -> Callable[[str], bool]:
    return lambda value: value in values


def _matches(pattern: str) -> Callable[[str], bool]:
    return lambda value: bool(re.fullmatch(pattern, value))


_SCRIPT, _ABSOLUTE, _SECONDS, _TIMES = _matches(r"[A-Za-z0-9_][A-Za-z0-9._-]*"), _matches(r"(/[A-Za-z0-9._-]+)+"), _number(1, 9999), _number(0, 99)
_OUTER_SECONDS = _number(1 + ADDED, 9999 + ADDED)
KNOWN: dict[str, dict[str, Callable[[str], bool]]] = {
    "disk": {},
    "fip": {"parameters/ip": _matches(r"[0-9]{1,3}(\.[0-9]{1,3}){3}")},
    "exec": {"parameters/act/path": _SCRIPT, "parameters/deact/path": _SCRIPT, "parameters/act/sync": _one_of("0", "1"),
             "parameters/deact/sync": _one_of("0", "1"), "parameters/timeout/start": _SECONDS, "parameters/timeout/stop": _SECONDS,
             "parameters/userlog": _ABSOLUTE, "parameters/logrotate/use": _one_of("0", "1"),
             "act/timeout": _OUTER_SECONDS, "deact/timeout": _OUTER_SECONDS, "act/retry": _TIMES, "act/fo": _TIMES, "act/action": _one_of(*ACTIONS),
             "deact/retry": _TIMES, "deact/action": _one_of(*ACTIONS)},
    "genw": {"parameters/path": _SCRIPT, "parameters/sync": _one_of("0", "1"), "parameters/normalval": _number(0, 255),
             "parameters/userlog": _ABSOLUTE, "parameters/logrotate/use": _one_of("0", "1"),
             "polling/interval": _SECONDS, "polling/timeout": _SECONDS, "polling/reconfirmation": _TIMES, "polling/timing": _one_of("0", "1"),
             "target": NAME.fullmatch, "relation/type": _one_of("rsc", "grp", "cls"), "relation/name": NAME.fullmatch,  # type: ignore[dict-item]
             "emergency/threshold/restart": _TIMES, "emergency/threshold/fo": _TIMES, "emergency/action": _one_of(*ACTIONS)},
}
SCRIPTS = {"exec": ("parameters/act/path", "parameters/deact/path"), "genw": ("parameters/path",)}  # the paths whose values are scripts


class Thing(NamedTuple):
    """A resource or a monitor: its type, its group ("" for a monitor) and its values by path."""

    type: str
    group: str
    values: dict[str, str]

    def number(self, path: str, otherwise: int) -> int:
        """A value as a number; `otherwise` when it was not set."""
        return int(self.values.get(path, otherwise))


class Configuration:
    """What clp.conf says. All methods that change it raise Refused."""

    def __init__(self, cluster: str, encoding: str) -> None:
        self.cluster, self.encoding = cluster, encoding
        self.servers: dict[str, int] = {}  # name -> priority, 0 is where groups live at home
        self.groups: list[str] = []
        self.resources: dict[str, Thing] = {}
        self.monitors: dict[str, Thing] = {}
        self.depends: dict[str, list[str]] = {}  # resource -> those that it depends on

    # -- changing -----------------------------------------------------------------------------------------------------------------

    def add_server(self, name: str, priority: str) -> None:
        """A server of the cluster."""
        _require(_number(0, 31)(priority), "no priority: '%s'" % priority)
        _require(name not in self.servers and int(priority) not in self.servers.values(), "server %s, or its priority, is there already" % name)
        self.servers[_name(name)] = int(priority)

    def add_group(self, kind: str, name: str) -> None:
        """A failover group."""
        _require(kind == "failover", "not a known type of group: '%s'" % kind)
        _require(name not in self.groups, "group %s is there already" % name)
        self.groups.append(_name(name))

    def add_resource(self, group: str, kind: str, name: str) -> None:
        """A resource of a group."""
        _require(group in self.groups, "no such group: '%s'" % group)
        _require(kind in RESOURCES, "not a known type of resource: '%s'" % kind)
        _require(name not in self.resources, "resource %s is there already" % name)
        self.resources[_name(name)] = Thing(kind, group, {})

    def add_monitor(self, kind: str, name: str) -> None:
        """A monitor."""
        _require(kind in MONITORS, "not a known type of monitor: '%s'" % kind)
        _require(name not in self.monitors, "monitor %s is there already" % name)
        self.monitors[_name(name)] = Thing(kind, "", {})

    def add_dependency(self, kind: str, name: str, other: str) -> None:
        """A resource depends on another one of its group."""
        thing = self.find("resource", kind, name)
        _require(other in self.resources and self.resources[other].group == thing.group, "no such resource in its group: '%s'" % other)
        _require(RESOURCES.index(self.resources[other].type) < RESOURCES.index(kind), "the SIMULATOR activates disk, fip, exec in this order alone")
        self.depends.setdefault(name, []).append(other)

    def set(self, what: str, kind: str, name: str, path: str, value: str) -> None:
        """Set a value of a resource or a monitor (`what`)."""
        thing = self.find(what, kind, name)
        _require(path in KNOWN[kind], "%s has no known path '%s'" % (kind, path))
        _require(KNOWN[kind][path](value), "%s of %s %s cannot be '%s'" % (path, kind, name, value))
        thing.values[path] = value

    def find(self, what: str, kind: str, name: str) -> Thing:
        """The resource or monitor of that type and name. Raise Refused."""
        thing = {"resource": self.resources, "monitor": self.monitors}[what].get(name)
        if thing is None or thing.type != kind:
            raise Refused("no such %s: %s of type '%s'" % (what, name, kind))
        return thing

    # -- as a whole ---------------------------------------------------------------------------------------------------------------

    def scripts(self) -> list[str]:
        """The scripts that belong to it, below the folder of clp.conf."""
        found = ["scripts/%s/%s/%s" % (thing.group, name, thing.values[path])
                 for name, thing in self.resources.items() for path in SCRIPTS.get(thing.type, ()) if path in thing.values]
        return found + ["scripts/monitor.s/%s/%s" % (name, thing.values["parameters/path"]) for name, thing in self.monitors.items()
                        if "parameters/path" in thing.values]

    def check(self) -> None:
        """Whether it fits together. Raise Refused."""
        _require(len(self.servers) == 2, "the SIMULATOR has two servers, not %d" % len(self.servers))
        for name, thing in self.resources.items():
            if thing.type == "exec":
                self._check_exec(name, thing)
            _require(thing.type != "fip" or "parameters/ip" in thing.values, "fip %s has no address" % name)
        for name, thing in self.monitors.items():
            self._check_monitor(name, thing)

    def _check_exec(self, name: str, thing: Thing) -> None:
        for verb, inner in (("act", "parameters/timeout/start"), ("deact", "parameters/timeout/stop")):
            _require("parameters/%s/path" % verb in thing.values, "exec %s has no parameters/%s/path" % (name, verb))
            seconds, outer = thing.number(inner, DEFAULT_TIMEOUT), "%s/timeout" % verb
            _require(thing.number(outer, DEFAULT_TIMEOUT + ADDED) == ADDED + seconds, "exec %s: %s is not %d + %d (%s)" % (name, outer, ADDED, seconds, inner))

    def _check_monitor(self, name: str, thing: Thing) -> None:
        _require("parameters/path" in thing.values, "monitor %s has no parameters/path" % name)
        _require(thing.values.get("polling/timing") == "0" or thing.values.get("target") in self.resources,
                 "monitor %s looks while its target is active, and its target is no resource: '%s'" % (name, thing.values.get("target", "")))
        kind, relation = thing.values.get("relation/type"), thing.values.get("relation/name", "")
        _require(relation in {"rsc": list(self.resources), "grp": self.groups, "cls": [self.cluster]}.get(kind or "", []),
                 "monitor %s has no relation: '%s' of type '%s'" % (name, relation, kind))

    def text(self) -> str:
        """The XML. The same configuration is the same text, in whatever order it was put together."""
        root = ElementTree.Element("root")
        _put(root, "all/charset", self.encoding)
        _put(root, "cluster/name", self.cluster)
        for name, priority in sorted(self.servers.items()):
            _put(_named(root, "server", name), "priority", str(priority))
        for name in sorted(self.groups):
            _named(root, "group", name, type="failover")
        for folder, things in (("resource", self.resources), ("monitor", self.monitors)):
            parent = ElementTree.SubElement(root, folder)
            for name, thing in sorted(things.items()):
                element = _named(parent, thing.type, name, **({"group": thing.group} if thing.group else {}))
                for other in sorted(self.depends.get(name, ())):
                    _named(element, "depend", other)
                for path, value in sorted(thing.values.items()):
                    _put(element, path, value)
        ElementTree.indent(root, "\t")
        return '<?xml version="1.0" encoding="UTF-8"?>\n%s\n' % ElementTree.tostring(root, "unicode")

    @staticmethod
    def read(text: str) -> Configuration:
        """From XML that text() has written; every value is checked again. Raise Refused."""
        try:
            root = ElementTree.fromstring(text.encode())
        except ElementTree.ParseError as error:
            raise Refused("%s is no XML: %s" % (FILE, error)) from None
        made = create(root.findtext("cluster/name", ""), root.findtext("all/charset", ""))
        for element in root.findall("server"):
            made.add_server(element.get("name", ""), element.findtext("priority", ""))
        for element in root.findall("group"):
            made.add_group(element.get("type", ""), element.get("name", ""))
        for element in root.findall("resource/*"):
            made.add_resource(element.get("group", ""), element.tag, element.get("name", ""))
        for element in root.findall("monitor/*"):
            made.add_monitor(element.tag, element.get("name", ""))
        for what in ("resource", "monitor"):
            for element in root.findall(what + "/*"):
                for path, value in _values(element):
                    made.set(what, element.tag, element.get("name", ""), path, value)
                for other in element.findall("depend"):
                    made.add_dependency(element.tag, element.get("name", ""), other.get("name", ""))
        return made


def create(cluster: str, encoding: str) -> Configuration:
    """A new, empty configuration. Raise Refused."""
    try:
        codecs.lookup(encoding)
    except (LookupError, ValueError):
        raise Refused("not a known character encoding: '%s'" % encoding) from None
    return Configuration(_name(cluster), encoding)


def load(folder: str = ".") -> Configuration:
    """clp.conf of a folder. Raise Refused."""
    try:
        return Configuration.read(pathlib.Path(folder, FILE).read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise Refused("no %s can be read: %s" % (os.path.join(folder, FILE), error)) from None


def save(configuration: Configuration, folder: str = ".") -> None:
    """Write clp.conf in a folder."""
    pathlib.Path(folder, FILE).write_text(configuration.text(), encoding="utf-8")


def check_folder(folder: str) -> Configuration:
    """clp.conf of a folder which fits together and whose scripts are all there and can be run. Raise Refused."""
    found = load(folder)
    found.check()
    for script in found.scripts():
        path = pathlib.Path(folder, script)
        _require(path.is_file() and not path.is_symlink(), "script missing: %s" % path)
        _require(os.access(path, os.X_OK), "script cannot be run: %s" % path)
    return found


def _require(condition: object, complaint: str) -> None:
    if not condition:
        raise Refused(complaint)


def _name(text: Optional[str]) -> str:
    _require(NAME.fullmatch(text or ""), "no name: '%s'" % text)
    return text or ""


def _named(parent: ElementTree.Element, tag: str, name: str, **more: str) -> ElementTree.Element:
    return ElementTree.SubElement(parent, tag, dict(more, name=name))


def _put(parent: ElementTree.Element, path: str, value: str) -> None:
    for tag in path.split("/"):
        found = parent.find(tag)
        parent = found if found is not None else ElementTree.SubElement(parent, tag)
    parent.text = value


def _values(element: ElementTree.Element, prefix: str = "") -> list[tuple[str, str]]:
    found = []
    for child in element:
        path = prefix + child.tag
        if len(child):
            found += _values(child, path + "/")
        elif path != "depend":
            found.append((path, child.text or ""))
    return found
