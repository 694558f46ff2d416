"""THE table of rules, put together from their groups. The documentation page and the texts of the doctor are made from it."""
from __future__ import annotations

from cjc_agent.operator.checks import cluster, daemon_conf, disk, environment, network, parameters, product

GROUPS = (parameters.GROUP, daemon_conf.GROUP, product.GROUP, disk.GROUP, network.GROUP, environment.GROUP, cluster.GROUP)
RULES = {rule.id: rule for group in GROUPS for rule in group.rules}
