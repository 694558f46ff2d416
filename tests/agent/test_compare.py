"""`doctor --save` and `compare`: a node is saved whatever is broken on it, no secret goes with it, and what differs from another one is named."""
from __future__ import annotations

import contextlib
import hashlib
import json
import os
import pathlib
import stat
from collections.abc import Iterator
from typing import Any

import pytest

from agent.breakages import cluster as cluster_rows
from agent.breakages.product import LICENCE, other_version
from lab.changed import appended, away, text_of
from lab.healthy import COMMAND, COMMON, VERSION, Healthy, cluster, configured, line_of
from lab.site import Answer, answer_of

SECRET = "hunter2-secret"


@pytest.fixture(scope="module")
def healthy(node: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Healthy]:
    """The node, healthy; each test leaves it so."""
    made = Healthy(tmp_path_factory.mktemp("compare"))
    yield made
    made.close()


def save(healthy: Healthy, path: pathlib.Path, node: str = "", **environment: str) -> dict[str, Any]:
    """Save this node. `node`: call it by another name, as if it were another one."""
    answer = healthy.call("doctor", "--save", str(path), **environment)
    assert answer.code in (0, 1) and not answer.said, answer
    value: dict[str, Any] = json.loads(path.read_text())
    if node:
        path.write_text(json.dumps(dict(value, node=node)))
    return value


def compare(*words: str | pathlib.Path) -> Answer:
    """Call `cjc-agent compare`, as nobody: it needs no root."""
    answer = answer_of(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", COMMAND, "compare", *map(str, words)], {"PATH": os.environ["PATH"]})
    assert "Traceback" not in answer.out + answer.said
    return answer


@pytest.fixture
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[pathlib.Path]:
    """A folder that nobody can read, too."""
    folder = pathlib.Path("/srv/saved")
    folder.mkdir(mode=0o755)
    yield folder
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()


def readable(*paths: pathlib.Path) -> None:
    """The operator has copied them for everybody."""
    for path in paths:
        path.chmod(0o644)


# -- saving ----------------------------------------------------------------------------------------------------------------------------------


def test_what_is_saved(healthy: Healthy, room: pathlib.Path) -> None:
    healthy.active()
    path = room / "node1.json"
    with configured(healthy, environment="TOKEN=%s" % SECRET):
        value = save(healthy, path)
    assert (value["kind"], value["format"], value["node"], value["site"]) == ("cjc-agent node", 1, os.uname().nodename, healthy.site.name)
    facts = value["facts"]
    assert value["unknown"] == {key: words for key, words in value["unknown"].items() if key in ("versions Pacemaker",)}
    assert facts["versions"]["JobCenter"] == "jobcenter-simulator " + VERSION and facts["versions"]["kernel"] == os.uname().release
    assert {"cjc-agent", "Python", "psutil", "OS"} <= facts["versions"].keys()
    assert facts["digests"]["licence"] == hashlib.sha256(LICENCE.read_bytes()).hexdigest()
    assert facts["digests"].keys() == {"licence", "cjcpw", "cjcmksite", "common daemon.conf", "configuration file", "jobcentersv.service"}
    assert facts["parameters"]["site_db"] == str(healthy.site.site_db) and facts["parameters"]["environment"].startswith("TOKEN (digest of the values ")
    assert facts["site daemon.conf"]["ipaddress"] == "site " + healthy.site.vip and facts["local daemon.conf"]["ipaddress"] == "local " + healthy.base
    assert facts["site places"]["ipaddress"] == line_of(healthy.site_conf, "ipaddress=")
    assert facts["node"] == {"uid of root": "0", "disk": "mounted", "device": healthy.site.disk.path, "mount point": "there"}
    assert list(room.iterdir()) == [path], "nothing else is left"


def test_no_secret_is_in_it_and_it_is_for_root_alone(healthy: Healthy, room: pathlib.Path) -> None:
    path = room / "node1.json"
    licence = "CJC Option\nkey 0123-4567-89ab\nowner Somebody Ltd\n"
    with text_of(LICENCE, licence), configured(
            healthy, environment="TOKEN=%s OTHER='%s two'" % (SECRET, SECRET), options="noatime,password2=%s" % SECRET):
        save(healthy, path)
        save(healthy, path)  # over its own
        path.chmod(0o644)
        save(healthy, path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600 and path.stat().st_uid == 0
    text = path.read_text()
    assert "noatime,password2=(not saved)" in text
    assert SECRET not in text and not any(line in text for line in licence.split("\n") if line)


@pytest.mark.parametrize("kind", ["text", "json", "empty", "folder", "link", "pipe", "of somebody else", "no folder"])
def test_it_is_never_written_over_anything_else(healthy: Healthy, room: pathlib.Path, kind: str) -> None:
    path, other = room / "precious", room / "other.json"
    save(healthy, other)
    with contextlib.ExitStack() as undo:
        if kind == "folder":
            path.mkdir()
            undo.callback(path.rmdir)
        elif kind == "link":
            path.symlink_to(other)
        elif kind == "pipe":
            os.mkfifo(path)
        elif kind == "of somebody else":
            path.write_bytes(other.read_bytes())
            os.chown(path, 12345, -1)
        elif kind == "no folder":
            path = room / "missing/precious"
        else:
            path.write_text({"text": "a letter", "json": '{"kind": "another"}', "empty": ""}[kind])
        before = path.lstat() if kind != "no folder" else None
        answer = healthy.call("doctor", "--save", str(path))
        assert answer.code == 2 and "--save %s: " % path in answer.said and answer.said.count("\n") == 1, answer
        assert ("is there, and no file of root's" in answer.said) == (kind != "no folder")
        if before:
            after = path.lstat()
            assert (before.st_ino, before.st_mtime_ns, before.st_mode, before.st_uid) == (after.st_ino, after.st_mtime_ns, after.st_mode, after.st_uid)
    assert {one.name for one in room.iterdir()} - {"precious", "other.json"} == set()


def test_a_node_is_saved_whatever_is_broken_on_it(healthy: Healthy, room: pathlib.Path) -> None:
    healthy.standby()
    with contextlib.ExitStack() as broken:
        for path in (LICENCE, COMMON, pathlib.Path("/usr/lib/nqs/cjcpw"), pathlib.Path("/etc/os-release")):
            broken.enter_context(away(path))
        broken.enter_context(configured(healthy, user="nosuchuser", device="/dev/nosuch", environment="bad word %s" % SECRET))
        value = save(healthy, room / "node1.json")
    healthy.active()
    assert {"CJC201", "CJC205", "CJC211"} <= {finding["rule"] for finding in value["findings"]}
    assert "licence" not in value["facts"]["digests"] and "No such file" in value["unknown"]["digests licence"]
    assert "versions" in value["unknown"] and value["facts"]["versions"] == {}, "os-release is missing"
    assert SECRET not in json.dumps(value)


# -- comparing -------------------------------------------------------------------------------------------------------------------------------


def test_two_that_are_alike(healthy: Healthy, room: pathlib.Path) -> None:
    healthy.active()
    here, there = room / "node1.json", room / "node2.json"
    save(healthy, here)
    healthy.standby()
    save(healthy, there, "node2")
    readable(here, there)
    healthy.active()
    answer = compare(here, there)
    assert answer.code == 0 and answer.out.strip().endswith("%s, node2: 0 differences that matter (0 errors), 0 that do not" % os.uname().nodename), answer
    assert json.loads(compare("--json", here, there).out)["differences"] == []
    assert "対処が必要な差異 0" in compare("--lang", "ja", here, there).out


def test_what_matters_is_named(healthy: Healthy, room: pathlib.Path) -> None:
    here, there = room / "node1.json", room / "node2.json"
    save(healthy, here)
    with other_version(healthy), text_of(LICENCE, "JobCenter MG/SV\n"), appended(COMMON, "listen_port=20817\n"):
        healthy.call("doctor", "--save", str(there))
    value = json.loads(there.read_text())
    there.write_text(json.dumps(dict(value, node="node2")))
    readable(here, there)
    answer = compare(here, there)
    assert answer.code == 1, answer
    for words in ("ERROR CJC210 JobCenter's version", "jobcenter-simulator 15.2-1", "ERROR CJC204 only on node2: " + str(LICENCE),
                  "WARNING CJC610 the licence file", "WARNING CJC114 listen_port of the local site"):
        assert words in answer.out
    found = json.loads(compare("--json", "--lang", "ja", here, there).out)
    assert not found["same"] and {one["rule"] for one in found["differences"]} == {"CJC210", "CJC610", "CJC114"}
    assert {one["rule"] for one in found["findings"] if "node2" in one["nodes"]} >= {"CJC204", "CJC210"}


def test_a_node_of_the_cluster(healthy: Healthy, room: pathlib.Path) -> None:
    """`--resource`: the parameters are the cluster's, however much else is configured there."""
    path = room / "node1.json"
    many = "".join('<rsc_location id="l%d" rsc="A" node="other" score="%d"/>' % (number, number) for number in range(300))
    with cluster(cluster_rows.configuration(healthy, constraints=many)):
        answer = answer_of([COMMAND, "doctor", "--json", "--resource", "A-site", "--save", str(path)],
                           {"PATH": os.environ["PATH"], "HA_RSCTMP": str(healthy.site.state)})
        wrong = answer_of([COMMAND, "doctor", "--resource", "A-vip"], {"PATH": os.environ["PATH"]})
    assert json.loads(answer.out)["site"] == healthy.site.name and not answer.said, answer
    value = json.loads(path.read_text())
    assert value["settings from"] == "resource A-site" and value["facts"]["parameters"]["device"] == healthy.site.disk.path
    assert "start_timeout" not in value["facts"]["parameters"] and value["facts"]["versions"]["Pacemaker"]
    assert wrong.code == 2 and "no ocf:cjc:jobcenter resource of that name: it has A-site" in wrong.said


def test_files_that_cannot_be_compared(healthy: Healthy, room: pathlib.Path) -> None:
    here, strange = room / "node1.json", room / "strange"
    save(healthy, here)
    readable(here)
    value = json.loads(here.read_text())
    for text, words in (("a letter", "no file that `cjc-agent doctor --save` has written"),
                        (json.dumps(dict(value, format=2)), "written by a newer cjc-agent (format 2)"),
                        (json.dumps(dict(value, site="jobsiteZ")), "these files are of different sites")):
        strange.write_text(text)
        answer = compare(here, strange)
        assert answer.code == 2 and words in answer.said and str(strange) in answer.said and not answer.out, answer
    answer = compare(here)
    assert answer.code == 2 and "two files or more" in answer.said
    answer = compare(here, "/nonexistent")
    assert answer.code == 2 and "/nonexistent" in answer.said
