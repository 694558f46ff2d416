"""CJC6xx: what a cluster's configuration does to a failover. The real cibadmin(8) reads it from a file: there is no cluster."""
from __future__ import annotations

import contextlib
import json
import os
import pathlib
import subprocess
from collections.abc import Iterator

from lab.changed import text_of
from lab.healthy import Broken, Healthy, cluster

HERE = os.uname().nodename
CIB = """<cib crm_feature_set="3.16.1" validate-with="pacemaker-3.9" epoch="1" num_updates="0" admin_epoch="0"><configuration>
<crm_config><cluster_property_set id="properties">%(properties)s</cluster_property_set></crm_config>
<nodes><node id="1" uname="other"/><node id="2" uname="%(here)s">%(node)s</node></nodes><resources>
<primitive id="fence" class="stonith" type="fence_lab"/>%(resources)s</resources><constraints>%(constraints)s</constraints></configuration><status/></cib>"""
VIP = """<primitive id="A-vip" class="ocf" provider="heartbeat" type="IPaddr2"><instance_attributes id="A-vip-a">
<nvpair id="A-vip-ip" name="ip" value="%(vip)s"/></instance_attributes></primitive>"""
SITE = """<primitive id="A-site" class="ocf" provider="cjc" type="jobcenter"><instance_attributes id="A-site-a">%(parameters)s</instance_attributes>%(more)s
<operations><op id="A-start" name="start" interval="0" timeout="%(start)s"/>
<op id="A-stop" name="stop" interval="0" timeout="180s"/></operations></primitive>"""
SOMETIMES = """<instance_attributes id="A-night"><rule id="A-rule" score="INFINITY"><date_expression id="A-date" operation="gt" start="2001-01-01"/></rule>
<nvpair id="A-night-trace" name="trace" value="1"/></instance_attributes>"""


def pair(id: str, name: str, value: str) -> str:
    """One nvpair."""
    return '<nvpair id="%s-%s" name="%s" value="%s"/>' % (id, name, name, value)


def configuration(healthy: Healthy, group: str = '<group id="A">%s%s</group>', properties: str = "", node: str = "", constraints: str = "",
                  more: str = "", start: str = "180s") -> str:
    """The CIB of a cluster in which all is well, replaced in one way. `group`: where the address and the site stand."""
    parameters = "".join(pair("A-site", name, value) for name, value in healthy.site.parameters.items())
    resources = group % (VIP % {"vip": healthy.site.vip}, SITE % {"parameters": parameters, "more": more, "start": start})
    return CIB % {"properties": properties, "here": HERE, "node": node, "resources": resources, "constraints": constraints}


@contextlib.contextmanager
def took(healthy: Healthy, action: str, seconds: float) -> Iterator[None]:
    """The last start or stop took that long."""
    history = healthy.site.state / ("cjc-%s.history" % healthy.site.name)
    entries = json.loads(history.read_text())
    assert action in [entry["action"] for entry in entries]
    with text_of(history, json.dumps([dict(entry, seconds=seconds) if entry["action"] == action else entry for entry in entries])):
        yield


@contextlib.contextmanager
def slow_start(healthy: Healthy, timeout: str) -> Iterator[None]:
    """A start needed 40 s, and the cluster gives it a timeout."""
    with took(healthy, "start", 40), cluster(configuration(healthy, start=timeout)):
        yield


@contextlib.contextmanager
def slow_stop(healthy: Healthy) -> Iterator[None]:
    """A stop needed 40 s, no cluster is here, and the configuration file gives it less."""
    healthy.standby()
    healthy.active()
    healthy.configure(stop_timeout="30s")
    with took(healthy, "stop", 40):
        yield
    healthy.configure()


@contextlib.contextmanager
def no_fencing(healthy: Healthy, properties: str) -> Iterator[None]:
    """Nobody is fenced. The disk has multiple mount protection: an ext4 without it is another rule's."""
    def tune(feature: str) -> None:
        subprocess.run(["tune2fs", "-f", "-O", feature, healthy.site.disk.path], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    text = configuration(healthy, properties=properties)
    tune("mmp")
    with cluster(text if properties else text.replace('class="stonith" type="fence_lab"', 'class="ocf" provider="pacemaker" type="Dummy"')):
        yield
    tune("^mmp")


def changed(**changes: str):  # type: ignore[no-untyped-def]
    """A cluster whose configuration is changed in one way."""
    return lambda healthy: cluster(configuration(healthy, **changes))


def conf(healthy: Healthy) -> str:
    """The configuration file."""
    return str(pathlib.Path(healthy.conf))


RESOURCE = "resource A-site"
BAN = '<rsc_location id="cli-ban-A-on-%s" rsc="A" node="%s" score="-INFINITY" role="Started"/>'
ROWS = [
    Broken("the cluster gives a start less than it needed", "CJC601", lambda healthy: slow_start(healthy, "40s"), RESOURCE),
    Broken("the configuration file gives a stop less than it needed", "CJC601", slow_stop, conf),
    Broken("fencing is switched off", "CJC602", lambda healthy: no_fencing(healthy, pair("properties", "stonith-enabled", "false")), "", True),
    Broken("there is no fence device", "CJC602", lambda healthy: no_fencing(healthy, ""), "", True),
    Broken("the resource is cloned", "CJC603", changed(group='<clone id="C"><group id="A">%s%s</group></clone>'), RESOURCE),
    Broken("the resource is banned from this node", "CJC604", changed(constraints=BAN % (HERE, HERE)), RESOURCE),
    Broken("the node is in standby", "CJC605", changed(node='<instance_attributes id="n">%s</instance_attributes>' % pair("n", "standby", "on")), ""),
    Broken("the cluster is in maintenance", "CJC605", changed(properties=pair("properties", "maintenance-mode", "true")), "", True),
    Broken("the resource is not managed", "CJC605", changed(more='<meta_attributes id="m">%s</meta_attributes>' % pair("m", "is-managed", "false")), RESOURCE),
    Broken("nothing ties the address to the site", "CJC606", changed(group="%s%s"), RESOURCE),
    Broken("a parameter depends on the date", "CJC607", changed(more=SOMETIMES), RESOURCE),
]
