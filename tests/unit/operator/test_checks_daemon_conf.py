"""Whose the site's daemon.conf may be: with root_squash, or where cjcpw runs as another user, it is that user's."""
from __future__ import annotations

import pytest

from cjc_agent.actions import Request
from cjc_agent.operator.checks import daemon_conf
from cjc_agent.operator.node import LOCAL, SITE, Node
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
