"""What it means that a site was left alone: for tests of what happens beside it."""
from __future__ import annotations

import time
from typing import Optional

from cluster.cluster import SiteOnCluster
from cluster.drill import Drill, daemons

UNTOUCHED_SECONDS = 3.0  # a site that nobody touches answers within that, however busy the machine is
TELLING = ("mounted", "unmounted", "vip here", "vip gone", "site started", "site incomplete")  # what happens to a site that is not left alone


class Untouched:
    """`with Untouched(drill, site)`: the site goes on as it is: same node, same daemons, disk and address stay, and it answers all the time."""

    def __init__(self, drill: Drill, site: Optional[SiteOnCluster] = None) -> None:
        self._drill, self._site = drill, site or drill.site
        self.node = drill.cluster.node(drill.wait_serving(site=site))

    def __enter__(self) -> Untouched:
        self._since, self._daemons = time.monotonic(), daemons(self.node, self._site)
        assert all(self._daemons.values())
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is not None:
            return
        self._drill.wait_serving(self.node.name, self._site)
        assert events(self._drill, self._since, self._site, *TELLING) == []
        now = daemons(self.node, self._site)
        assert now == self._daemons, "%s: %s have become %s" % (self._site.name, self._daemons, now)
        client = self._drill.client
        assert client.outage(self._site.name, self._since) - client.stall(self._since) < UNTOUCHED_SECONDS


def events(drill: Drill, since: float, site: SiteOnCluster, *kinds: str) -> list[str]:
    """What the observer has seen of these kinds, of the site, its address and its disk, since then (monotonic seconds), in words."""
    return ["%s: %s %s" % (event.node, event.kind, event.what) for event in list(drill.observer.events)
            if event.t >= since and event.kind in kinds and event.what in (site.name, site.disk)]
