"""The editor and the view of daemon.conf, on files of a node whose disk seems to be mounted."""
from __future__ import annotations

import os

import pytest

from cjc_agent.actions import Request
from cjc_agent.operator import conf
from cjc_agent.operator.conf import Failed, Refused
from cjc_agent.operator.node import Node
from cjc_agent.tools import mountinfo
from cjc_agent.tools.deadline import Deadline
from unit.helpers import mount_line

VIP = "10.0.2.50"


@pytest.fixture
def make(tmp_path, state_folder, log):
    """Make a node from the texts of its files; `mounted`: whether the disk is there."""
    folders = {"common": tmp_path / "nqs/rc", "local": tmp_path / "spool", "site": tmp_path / "share/db/nqs"}

    def _make(mounted=True, **texts):
        for which, folder in folders.items():
            folder.mkdir(parents=True, exist_ok=True)
            if texts.get(which) is not None:
                text = texts[which]
                (folder / "daemon.conf").write_bytes(text if isinstance(text, bytes) else text.encode())
        given = {"site": "jobsiteA", "site_db": str(tmp_path / "share/db"), "nqs_home": str(tmp_path / "nqs"), "nqs_spool": str(tmp_path / "spool"), "vip": VIP}
        node = Node(Request(given, Deadline(30), log, str(state_folder), ""))
        node.mount = mountinfo.parse(mount_line(str(tmp_path / "share")))[0] if mounted else None
        return node
    return _make


def after(node, which, **values):
    """The text that an edit makes."""
    return conf.plan(node, which, values).after.decode()


@pytest.mark.parametrize("words, found", [(["a=1"], {"a": "1"}), (["a=1", "b=x=y"], {"a": "1", "b": "x=y"}), (["a="], {"a": ""})])
def test_assignments(words, found):
    assert conf.assignments(words) == found


@pytest.mark.parametrize("words", [["a"], ["a=1", "a=1"], [""]])
def test_what_is_no_assignment(words):
    with pytest.raises(Refused):
        conf.assignments(words)


def test_which_file():
    assert conf.file_for(["ipcheck"]) == "site"
    for keys, words in ((["ipaddress"], r"give --in local\|site"), (["ipcheck", "listen_port"], r"listen_port can stand in several"), (["x"], "unknown key x")):
        with pytest.raises(Refused, match=words):
            conf.file_for(keys)


def test_several_keys_are_one_edit(make):
    node = make(local="# x\nipaddress=10.0.0.1\n")
    assert after(node, "local", ipaddress="10.0.0.2", local_daemon="SITE") == "# x\nipaddress=10.0.0.2\nlocal_daemon=SITE\n"
    with pytest.raises(Refused) as caught:
        conf.plan(node, "local", {"ipaddress": "x", "local_daemon": "on", "ipcheck": "OFF"})
    assert [words.split(":")[0] for words in caught.value.args] == [
        "ipaddress", "local_daemon", "ipcheck does not belong in the local site's own file"], "all that is wrong, at once"


@pytest.mark.parametrize("texts, which, values, rule", [
    ({"local": "ipaddress=10.0.0.1\n"}, "local", {"ipaddress": VIP}, "CJC118"),
    ({"local": "ipaddress=10.0.0.1\n", "common": "local_daemon=SITE\n"}, "local", {"ipaddress": ""}, "CJC119"),
    ({"local": ""}, "local", {"local_daemon": "SITE"}, "CJC119"), ({}, "local", {"local_daemon": "SITE"}, "CJC119"),
    ({"local": ""}, "common", {"local_daemon": "SITE"}, "CJC119"), ({"site": "ipaddress=%s\n" % VIP}, "site", {"ipaddress": "10.0.0.1"}, "CJC117"),
])
def test_combinations_that_a_rule_forbids(make, texts, which, values, rule):
    with pytest.raises(Refused, match=rule):
        conf.plan(make(**texts), which, values)
    edit = conf.plan(make(**texts), which, values, force=True)
    assert rule in [finding.rule.id for finding in edit.broken]


@pytest.mark.parametrize("texts, which, values", [
    ({"local": "ipaddress=%s\n" % VIP}, "local", {"listen_port": "20816"}),  # wrong already, and not by this edit
    ({"local": "ipaddress=%s\n" % VIP}, "local", {"ipaddress": "10.0.0.1"}), ({"site": "ipaddress=10.0.0.1\n"}, "site", {"ipaddress": VIP}),
    ({"local": "", "common": ""}, "local", {"local_daemon": "SITE", "ipaddress": "10.0.0.1"}),
    ({"site": "", "common": "listen_port=20816\n"}, "common", {"listen_port": "20817"}),
])
def test_what_may_be_edited(make, texts, which, values):
    assert conf.plan(make(**texts), which, values).changes


def test_ports_are_changed_one_after_the_other(make):
    """That they differ meanwhile is told, and no obstacle."""
    edit = conf.plan(make(local="listen_port=20816\n", site="listen_port=20816\nipaddress=%s\n" % VIP), "site", {"listen_port": "20817"})
    assert [finding.rule.id for finding in edit.broken] == ["CJC114"]


def test_nothing_to_change(make):
    edit = conf.plan(make(local="ipaddress = 10.0.0.1 # x"), "local", {"ipaddress": "10.0.0.1"})
    assert not edit.changes and edit.diff() == []


def test_where_there_is_no_folder(make, tmp_path):
    node = make()
    for which, words in (("local", "install JobCenter"), ("site", "cjc-agent init")):
        folder = {"local": tmp_path / "spool", "site": tmp_path / "share/db/nqs"}[which]
        folder.rmdir()
        with pytest.raises(Failed, match="there is no folder %s: .*%s" % (folder, words)):
            conf.plan(node, which, {"local_daemon": "OFF"})


def test_without_the_disk(make):
    with pytest.raises(Failed, match="not mounted on this node"):
        conf.plan(make(mounted=False, site="x"), "site", {"ipcheck": "OFF"})


@pytest.mark.parametrize("text, encoding", [("# 夜間\r\na=1\r\n", "cp932"), ("# 夜間\na=1\n", "euc_jp"), ("# 夜間\na=1\n", "utf-8")])
def test_the_difference(make, text, encoding):
    edit = conf.plan(make(local=text.encode(encoding)), "local", {"local_daemon": "OFF"})
    assert edit.diff() == ["--- " + edit.path, "+++ " + edit.path, "@@ -1,2 +1,3 @@", " # 夜間", " a=1", "+local_daemon=OFF"]


def test_no_line_of_a_difference_moves_the_cursor(make):
    edit = conf.plan(make(local=b"\x1b[2J\n\x9b2J\na\rb\n\xe2\x80\xae\n"), "local", {"local_daemon": "OFF"})
    assert len(edit.diff()) == 7 and all(line.isprintable() for line in edit.diff())


def test_written_under_the_lock(make, state_folder, tmp_path):
    node = make(local="a=1\n")
    lock = conf.locked(str(state_folder), Deadline(5))
    assert not conf.awaits_restart(str(state_folder))
    conf.write(node, conf.plan(node, "local", {"local_daemon": "OFF"}))
    lock.release()
    assert (tmp_path / "spool/daemon.conf").read_text() == "a=1\nlocal_daemon=OFF\n"
    assert conf.awaits_restart(str(state_folder))
    conf.restarted(str(state_folder))
    assert not conf.awaits_restart(str(state_folder))
    conf.write(node, conf.plan(node, "site", {"ipaddress": VIP}))
    assert not conf.awaits_restart(str(state_folder)), "the site's own file is read by its next start"


def test_changed_since_it_was_read(make, tmp_path):
    node = make(local="a=1\n")
    edit = conf.plan(node, "local", {"local_daemon": "OFF"})
    (tmp_path / "spool/daemon.conf").write_text("a=2\n")
    with pytest.raises(Failed, match="daemon.conf: was changed meanwhile"):
        conf.write(node, edit)
    assert (tmp_path / "spool/daemon.conf").read_text() == "a=2\n"


def test_a_state_folder_that_cannot_be_used(make, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(Failed, match="state folder"):
        conf.locked(str(tmp_path / "file"), Deadline(1))


def test_what_an_edit_needs(make):
    node = make()
    node.resource = "rsc"
    assert [len(conf.to_take_effect(node, which)) for which in ("common", "local", "site")] == [3, 2, 2]
    assert "pcs resource restart rsc; or crm resource restart rsc" in conf.to_take_effect(node, "site")[0]


def test_the_view(make, tmp_path):
    node = make(common="listen_port=1\nx\x1b=2\n", local="listen_port=2\nlisten_port=3\nipaddress=\n", site=None)
    seen = conf.view(node)
    assert {which: one["state"] for which, one in seen["files"].items()} == {"common": "there", "local": "there", "site": "missing"}
    told = {one["key"]: one for one in seen["sites"]["local"]["keys"]}
    assert [(one["value"], one["line"], one["why"].split(" ")[1]) for one in told["listen_port"]["hides"]] == [("1", 1, "local"), ("2", 1, "last")]
    assert (told["ipaddress"]["value"], told["local_daemon"]["value"], "ipcheck" in told) == ("", None, False)
    lines = conf.text(seen).split("\n")
    assert all(line.isprintable() for line in lines) and "  listen_port    3                        %s/spool/daemon.conf:2" % tmp_path in lines


def test_the_view_without_the_disk(make):
    seen = conf.view(make(mounted=False, common="listen_port=1\n"))
    assert [seen["sites"][site]["complete"] for site in ("site", "local")] == [False, True]
    assert "cluster site jobsiteA: NOT COMPLETE, see the files below" in conf.text(seen)


@pytest.mark.parametrize("which", ["common", "site"])
def test_a_file_that_cannot_be_read_is_a_doubt(make, tmp_path, which):
    node = make()
    os.mkfifo({"common": tmp_path / "nqs/rc", "site": tmp_path / "share/db/nqs"}[which] / "daemon.conf")
    assert "daemon.conf: no daemon.conf" in conf.doubt(node, "site")
    with pytest.raises(Failed, match="is no plain file"):
        conf.plan(node, which, {"listen_port": "1"})
