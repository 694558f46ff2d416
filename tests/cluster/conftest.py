"""Cluster tests share one cluster a module and find it mended before each test; a cluster that cannot be mended is replaced by a new one."""
from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from cluster import configuration
from cluster.cluster import Cluster, SiteOnCluster
from cluster.drill import Drill
from lab import site as lab_site


@pytest.fixture(scope="session")
def node() -> None:
    """For the tests that need no cluster: agent and simulator installed on the throwaway node."""
    lab_site.prepare_node()


class Keeper:
    """Keeps a cluster with its sites configured and running. `texts` are configurations for crmsh, `options` are Cluster's."""

    def __init__(self, texts: list[str], **options: Any) -> None:
        self._texts, self._options = texts, options
        self.cluster: Cluster
        self._first_configuration = ""

    def ready(self) -> Cluster:
        """The cluster as it was in the beginning."""
        if self._first_configuration:
            try:
                self.cluster.restore(self._first_configuration)
                return self.cluster
            except Exception as error:  # what a test left behind must not fail the next one
                print("the cluster cannot be mended, here is a new one: %s" % error)
        self.end()
        self.cluster = Cluster(**self._options)
        self.cluster.up()
        for text in self._texts:
            self.cluster.load(text)
        self.cluster.idle()
        self._first_configuration = self.cluster.configuration()
        return self.cluster

    def end(self) -> None:
        """Take the cluster down, if there is one."""
        self._first_configuration = ""
        if hasattr(self, "cluster"):
            try:
                self.cluster.down()
            finally:
                del self.cluster


@pytest.fixture(scope="module")
def keeper(request: pytest.FixtureRequest) -> Iterator[Keeper]:
    """The module's cluster: two nodes and one site, unless the module's CLUSTER says otherwise."""
    options = dict(getattr(request.module, "CLUSTER", {}))
    files = options.pop("files", ["one-site.crm"])
    nodes = options.get("count", 2)
    texts = [configuration.file_for_the_lab(name, quick=True, nodes=nodes) for name in files]
    made = Keeper(texts, **options)
    yield made
    made.end()


@pytest.fixture
def drill(keeper: Keeper) -> Iterator[Drill]:
    """The cluster, watched and used: a few jobs a second. Afterwards: never anything twice, and no acknowledged job lost."""
    cluster = keeper.ready()
    with Drill(cluster, jobs_per_second=4) as made:
        for site in cluster.sites:
            made.wait_serving(site=site)
        yield made
        accounts = made.settle()
    assert made.observer.violations == []
    for name, account in accounts.items():
        assert not account.lost and not account.twice and not account.waiting, "%s: %s" % (name, account.words())


@pytest.fixture
def site(drill: Drill) -> SiteOnCluster:
    """The first site."""
    return drill.site
