"""JobCenter's files on a file system that hangs: nothing is said of what was not seen."""
from __future__ import annotations

import errno

from cjc_agent.actions import Request
from cjc_agent.operator.checks import product
from cjc_agent.operator.node import MAKER, Node
from cjc_agent.operator.rule import Unchecked
from cjc_agent.tools.deadline import Deadline
from cjc_agent.tools.look import Seen


def test_commands_that_hang_are_not_checkable(state_folder, log):
    node = Node(Request({"site": "jobsiteA", "site_db": "/share/job_site"}, Deadline(10), log, str(state_folder), ""))
    hung = {"error": "its file system does not answer", "errno": errno.ETIMEDOUT}
    node.__dict__.update(commands={name: Seen("/usr/lib/nqs/" + name, hung) for name in ("cjcpw", MAKER)}, package=("", ""))
    found = [*product.commands(node), *product.version(node)]
    assert [type(one) for one in found] == [Unchecked] * 3
    assert {rule.id for one in found if isinstance(one, Unchecked) for rule in one.rules} == {"CJC206", "CJC207", "CJC209", "CJC210"}
