"""The configuration of the running Pacemaker cluster (its CIB), as far as the doctor asks for it: our resources, timeouts, nodes, fencing.

Which of several values counts was tried with the scheduler of Pacemaker 2.1.5 (crm_simulate(8)); the tests ask it again.
"""
from __future__ import annotations

import xml.etree.ElementTree as ElementTree
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from xml.etree.ElementTree import Element

from cjc_agent.tools import addresses
from cjc_agent.tools.command import NOT_FOUND, Runner
from cjc_agent.tools.deadline import Deadline

AGENT = ("ocf", "cjc", "jobcenter")
DEFAULT_TIMEOUT = "20s"  # Pacemaker's, where neither the operation nor op_defaults has one
TRUE_WORDS = ("true", "on", "yes", "y", "1")  # crm_is_true()
SECRET = "lrm://"  # the value stands in a file on each node instead (crm_resource(8), cibsecret(8))


class Unusable(Exception):
    """The cluster's configuration cannot be had here; the text says why."""


@dataclass(frozen=True)
class Resource:
    """One ocf:cjc:jobcenter resource: its `parameters`, and operation -> timeout as text: `start`, `stop`, `monitor 10s` (with its interval).

    `parents`: the group and the clone it is a member of, the inner one first. `clone`: the name of the clone. `left_out`: what of its parameters is
    not in `parameters`: sets that hold under a rule only, and secrets. `held`: why the cluster leaves it alone. `bans`: constraint -> node.
    """

    name: str
    parameters: dict[str, str] = field(default_factory=dict)
    timeouts: dict[str, str] = field(default_factory=dict)
    parents: tuple[str, ...] = ()
    clone: str = ""
    left_out: tuple[str, ...] = ()
    held: str = ""
    bans: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Cib:
    """What the cluster is configured to be: `resources` of ours by name, the names of its `nodes`, and whether there is `fencing`.

    `idle`: node -> why nothing is started there; all of them where the cluster is in maintenance.
    """

    resources: dict[str, Resource]
    nodes: list[str]
    fencing: bool
    idle: dict[str, str] = field(default_factory=dict)
    _document: _Document | None = field(default=None, repr=False, compare=False)

    def brings(self, address: str, resource: Resource) -> bool:
        """Whether the cluster has an address up before a resource starts: by one earlier in its group, or one that a constraint ties to it."""
        return self._document is not None and self._document.brings(addresses.packed(address), resource)

    def routes(self, address: str) -> bool:
        """Whether the cluster moves an address by a route table or a cloud's interface (aws-vpc-move-ip ...): it need be in no subnet of a node."""
        return self._document is not None and self._document.routes(addresses.packed(address))


def read(runner: Runner, deadline: Deadline) -> Cib:
    """Ask the running cluster. Raise Unusable."""
    answer = runner.tool(["cibadmin", "--query"], deadline, whole=True)
    if answer.exit_code == NOT_FOUND:
        raise Unusable("no Pacemaker is installed on this node (there is no cibadmin)")
    if not answer.ok:
        words = " ".join(answer.output.split("\n")[0].split()) if answer.exit_code is not None else answer.words()
        raise Unusable("no Pacemaker cluster answers on this node: %s" % (words or answer.words()))
    return understood(answer.output)


def understood(text: str) -> Cib:
    """Given a CIB as XML, return what it says. Raise Unusable."""
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError) as error:
        raise Unusable("the cluster's configuration cannot be understood: cibadmin printed no XML document (%s)" % error) from error
    configuration = root.find("configuration")
    if configuration is None:
        raise Unusable("the cluster's configuration cannot be understood: cibadmin printed no CIB, but <%s>" % root.tag)
    document = _Document(root, configuration)
    return Cib(document.resources(), document.nodes(), document.fencing(), document.idle(), document)


class _Document:
    """The XML, and how things in it refer to each other."""

    def __init__(self, root: Element, configuration: Element) -> None:
        self.root, self.configuration = root, configuration
        self.by_id = {element.get("id", ""): element for element in root.iter() if element.get("id") and element.tag != "lrm_resource"}
        self.parent = {child: element for element in configuration.iter() for child in element}
        self.primitives = [element for element in configuration.iter("primitive") if element.get("id")]
        self.properties = self.values(configuration.findall("crm_config/cluster_property_set"))

    # -- name-value pairs ----------------------------------------------------------------------------------------------------------

    def refers(self, element: Element) -> Element:
        """Return what an element stands for: itself, or what its `id-ref` names."""
        return self.by_id.get(element.get("id-ref", ""), element)

    def values(self, sets: Iterable[Element]) -> dict[str, str]:
        """Name -> value of sets of nvpairs: the one with the highest score wins, of equal ones the last. Sets with a rule are left out."""
        found: dict[str, str] = {}
        for one in sorted((self.refers(element) for element in sets), key=_score):
            for pair in one.findall("nvpair") if one.find("rule") is None else ():
                known = self.refers(pair)
                found[str(pair.get("name") or known.get("name", ""))] = known.get("value", "")
        return found

    def family(self, primitive: Element) -> Iterator[Element]:
        """What a primitive's values may stand in, the weakest first: the clone or group around it, its template, itself."""
        yield from reversed(self.around(primitive))
        yield self.template(primitive)
        yield primitive

    def template(self, primitive: Element) -> Element:
        """Its template; an empty element where it has none."""
        return self.by_id.get(primitive.get("template", ""), Element("template"))

    def around(self, primitive: Element) -> list[Element]:
        """The group and the clone that it is a member of, the inner one first."""
        found = []
        element = self.parent[primitive]
        while element.tag in ("group", "clone", "master"):
            found.append(element)
            element = self.parent[element]
        return found

    def all_values(self, primitive: Element, kind: str) -> dict[str, str]:
        """Name -> value of all `kind` sets that hold for a primitive."""
        return {name: value for element in self.family(primitive) for name, value in self.values(element.findall(kind)).items()}

    # -- resources -----------------------------------------------------------------------------------------------------------------

    def kind(self, primitive: Element) -> tuple[str, str, str]:
        """Its class, provider and type."""
        described = self.template(primitive) if primitive.get("template") else primitive
        return described.get("class", ""), described.get("provider", ""), described.get("type", "")

    def resources(self) -> dict[str, Resource]:
        """All of ours."""
        return {primitive.get("id", ""): self.resource(primitive) for primitive in self.primitives if self.kind(primitive) == AGENT}

    def resource(self, primitive: Element) -> Resource:
        """One of ours."""
        name = primitive.get("id", "")
        parameters = self.all_values(primitive, "instance_attributes")
        sets = [self.refers(one) for element in self.family(primitive) for one in element.findall("instance_attributes")]
        around = self.around(primitive)
        return Resource(
            name, {key: value for key, value in parameters.items() if value != SECRET}, self.timeouts(primitive),
            tuple(element.get("id", "") for element in around), next((element.get("id", "") for element in around if element.tag != "group"), ""),
            (*(one.get("id", "") for one in sets if one.find("rule") is not None), *(key for key, value in parameters.items() if value == SECRET)),
            self.held(primitive), self.bans({name, *(element.get("id", "") for element in around)}))

    def timeouts(self, primitive: Element) -> dict[str, str]:
        """Operation -> timeout, also of a start and stop that stand nowhere."""
        default = self.values(self.configuration.findall("op_defaults/meta_attributes")).get("timeout", DEFAULT_TIMEOUT)
        found = {"start": default, "stop": default}
        own = self.operations(primitive)
        names = {operation.get("name") for operation in own}  # one monitor of its own replaces all of its template's
        for operation in [*(one for one in self.operations(self.template(primitive)) if one.get("name") not in names), *own]:
            interval = operation.get("interval", "0")
            name = operation.get("name", "") + ("" if interval.rstrip("ms") in ("0", "") else " " + interval)
            found[name] = operation.get("timeout") or self.values(operation.findall("meta_attributes")).get("timeout", default)
        return found

    def operations(self, element: Element) -> list[Element]:
        """The operations that stand in a primitive or template."""
        return [operation for listed in element.findall("operations") for operation in self.refers(listed).findall("op")]

    def held(self, primitive: Element) -> str:
        """The attribute that makes the cluster leave a resource alone, as name=value."""
        defaults = self.values(self.configuration.findall("rsc_defaults/meta_attributes"))
        meta = {**defaults, **self.all_values(primitive, "meta_attributes")}
        if meta.get("target-role", "").lower() == "stopped":
            return "target-role=" + meta["target-role"]
        if "is-managed" in meta and not _is_true(meta["is-managed"]):
            return "is-managed=" + meta["is-managed"]
        return "maintenance=" + meta["maintenance"] if _is_true(meta.get("maintenance", "")) else ""

    def bans(self, names: set[str]) -> dict[str, str]:
        """Constraint -> node of the bans that a command has left behind (`crm resource move` or `ban`, `pcs resource move` or `ban`)."""
        return {ban.get("id", ""): ban.get("node", "") for ban in self.configuration.iter("rsc_location")
                if ban.get("id", "").startswith("cli-ban-") and ban.get("rsc") in names and ban.get("score", "").upper() == "-INFINITY"}

    # -- the cluster ---------------------------------------------------------------------------------------------------------------

    def nodes(self) -> list[str]:
        """The names of the nodes."""
        return [node.get("uname", "") for node in self.configuration.findall("nodes/node")]

    def fencing(self) -> bool:
        """Whether a node that is lost can be fenced: it is not switched off, and there is a device, or a watchdog that does without one (SBD)."""
        if not _is_true(self.properties.get("stonith-enabled", "true")):
            return False
        devices = [one for one in self.primitives if self.kind(one)[0] == "stonith" and not self.held(one).startswith("target-role")]
        return bool(devices) or self.properties.get("stonith-watchdog-timeout", "0").rstrip("ms") not in ("0", "")

    def idle(self) -> dict[str, str]:
        """Node -> the attribute that keeps the cluster from starting anything there, as name=value."""
        if _is_true(self.properties.get("maintenance-mode", "")):
            return dict.fromkeys(self.nodes(), "maintenance-mode=" + self.properties["maintenance-mode"])
        found = {}
        for node in self.configuration.findall("nodes/node"):
            until_reboot = [one for state in self.root.findall("status/node_state") if state.get("id") == node.get("id")
                            for one in state.findall("transient_attributes/instance_attributes")]
            attributes = {**self.values(node.findall("instance_attributes")), **self.values(until_reboot)}
            words = ["%s=%s" % (name, attributes[name]) for name in ("standby", "maintenance") if _is_true(attributes.get(name, ""))]
            found.update({node.get("uname", ""): words[0]} if words else {})
        return found

    def brings(self, address: bytes, resource: Resource) -> bool:
        """See Cib.brings. A constraint that names the two is believed to be what was meant."""
        orders = [self.named(constraint) for constraint in self.configuration.iter("rsc_order")]
        ours = {resource.name, *resource.parents}
        for bringer in self.bringers(address):
            its = {bringer.get("id", ""), *(element.get("id", "") for element in self.around(bringer))}
            if any(its & names and ours & names for names in orders) or self.stands_before(bringer, resource):
                return True
        return False

    def routes(self, address: bytes) -> bool:
        """See Cib.routes."""
        kinds = [self.kind(bringer)[2] for bringer in self.bringers(address)]
        return bool(kinds) and not any(kind.startswith("IPaddr") for kind in kinds)

    def bringers(self, address: bytes) -> list[Element]:
        """The primitives that have an address among their parameters, ours left out."""
        return [one for one in self.primitives if self.kind(one) != AGENT and address in _addresses(self.all_values(one, "instance_attributes"))]

    def stands_before(self, bringer: Element, resource: Resource) -> bool:
        """Whether a primitive stands before a resource of ours in the same group."""
        group = self.parent[bringer]
        members = [member.get("id", "") for member in group.findall("primitive")] if group.tag == "group" else []
        return resource.name in members and members.index(bringer.get("id", "")) < members.index(resource.name)

    @staticmethod
    def named(constraint: Element) -> set[str]:
        """The resources that a constraint names."""
        return {value for element in constraint.iter() for key, value in element.items() if key in ("first", "then", "id", "rsc", "with-rsc")}


def _score(element: Element) -> float:
    text = element.get("score", "0").upper()
    try:
        return float(text.replace("INFINITY", "inf"))
    except ValueError:
        return 0.0


def _is_true(word: str) -> bool:
    return word.lower() in TRUE_WORDS


def _addresses(parameters: dict[str, str]) -> set[bytes]:
    found = set()
    for word in (word.strip() for value in parameters.values() for word in value.split(",")):
        try:
            found.add(addresses.packed(word.partition("/")[0]))
        except ValueError:
            continue
    return found
