"""daemon.conf: whose the site's may be (with root_squash, or where cjcpw runs as another user, it is that user's), and remedies that can be typed."""
from __future__ import annotations

import pytest

from cjc_agent.actions import Request
from cjc_agent.operator.checks import daemon_conf
from cjc_agent.operator.node import COMMON, LOCAL, SITE, Node
from cjc_agent.operator.rule import ENGLISH
from cjc_agent.settings.daemon_conf import File
from cjc_agent.tools.command import EXITED, Result
from cjc_agent.tools.deadline import Deadline
from cjc_agent.tools.look import Seen


@pytest.mark.parametrize("which, mode, uid, complaints", [
    (SITE, 0o600, 1, []), (SITE, 0o644, 0, []), (SITE, 0o664, 1, ["CJC104"]), (SITE, 0o644, 2, ["CJC104"]), (LOCAL, 0o644, 1, ["CJC104"])])
def test_owner_and_mode(state_folder, log, which, mode, uid, complaints):
    request = Request({"site": "jobsiteA", "site_db": "/share/job_site", "user": "daemon"}, Deadline(10), log, str(state_folder), "")
    node = Node(request)
    seen = Seen("/daemon.conf", {"mode": 0o100000 | mode, "uid": uid, "data": ""})
    node.__dict__.update(seen={which: seen}, mount=object(), user=Result("look up", EXITED, 0, "1"))
    assert [found.rule.id for found in daemon_conf.files(node)] == complaints


def test_a_file_that_is_something_else_altogether_takes_no_time(state_folder, log):
    node = Node(Request({"site": "jobsiteA", "site_db": "/share/job_site"}, Deadline(10), log, str(state_folder), ""))
    node.__dict__.update(seen={}, mount=object(), files={COMMON: File("/x", b"port=1\n" * 20000 + b"text\n" * 20000)})
    assert len(list(daemon_conf.files(node))) == daemon_conf.MOST_TOLD
    assert len(node.effective(LOCAL)["port"].hides) == 19999


def node_with(state_folder, log, **looked_at):
    """A node with two VIPs, whose disk is here."""
    node = Node(Request({"site": "jobsiteA", "site_db": "/share/job_site", "vip": "10.0.0.1,10.0.0.2"}, Deadline(10), log, str(state_folder), ""))
    node.__dict__.update(mount=object(), **looked_at)
    return node


def test_the_remedy_for_one_vip_does_not_take_the_other_one_away(state_folder, log):
    files = {which: File("/" + which, data) for which, data in ((COMMON, b""), (LOCAL, b"local_daemon=OFF\n"), (SITE, b"ipaddress=10.0.0.9\n"))}
    found = list(daemon_conf.ipaddress(node_with(state_folder, log, files=files)))
    assert [(one.rule.id, one.facts["vip"]) for one in found] == [("CJC117", "10.0.0.1"), ("CJC117", "10.0.0.2")]
    assert all("`cjc-agent conf set --in site ipaddress=10.0.0.1,10.0.0.2`" in one.words(ENGLISH)[2] for one in found)


@pytest.mark.parametrize("which, words", [(COMMON, "--in common local_daemon=SITE listen_port=20816"),
                                          (LOCAL, "--in local local_daemon=SITE ipaddress=ADDRESS"),
                                          (SITE, "--in site local_daemon=OFF ipaddress=10.0.0.1,10.0.0.2")])
def test_the_remedy_for_a_missing_file_says_what_to_write(state_folder, log, which, words):
    node = node_with(state_folder, log, seen={which: Seen("/daemon.conf", {"errno": 2})}, files={}, folders=[None, Seen("/x", {"mode": 0o40755})])
    [found] = daemon_conf.files(node)
    assert found.rule.id == "CJC101" and "`cjc-agent conf set %s`" % words in found.words(ENGLISH)[2]
