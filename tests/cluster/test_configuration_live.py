"""What a user loads with crmsh or with pcs into a running cluster is accepted without a word, and brings the site up."""
from __future__ import annotations

import pytest

from cluster import configuration
from cluster.cluster import Cluster
from cluster.drill import Drill

LOADERS = {"one-site.crm": "crm configure load update /root/%s", "one-site.pcs": "sh /root/%s"}


@pytest.mark.parametrize("name", LOADERS)
def test_one_site_is_loaded_and_answers(name: str) -> None:
    cluster = Cluster(2)
    try:
        cluster.up()
        node = cluster.nodes[0]
        node.path("/root/" + name).write_text(configuration.file_for_the_lab(name))
        node.sh(LOADERS[name] % name)
        checked = node.run("crm_verify", "-LV")
        assert checked.stdout + checked.stderr == ""
        with Drill(cluster) as drill:
            drill.wait_serving()
            cluster.idle()
            assert not cluster.status().failed
            assert not any(drill.observer.counts().values())
    finally:
        cluster.down()
