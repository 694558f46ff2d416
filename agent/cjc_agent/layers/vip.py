"""The VIP layer: the addresses that must be on this node. Checked, never moved (IPaddr2, fip, awsvip move them)."""
from __future__ import annotations

from cjc_agent.layers.state import FAILED, RUNNING, STOPPED, LayerError, State
from cjc_agent.tools import addresses
from cjc_agent.tools.addresses import DUPLICATE, LINK_DOWN, TENTATIVE
from cjc_agent.tools.deadline import Deadline

REMEDIES = {  # what an address is worth -> what to do
    LINK_DOWN: "bring the link up (ip link set {link} up)",
    TENTATIVE: "duplicate address detection has not ended: look at the cable of {link}",
    DUPLICATE: "another machine has it: take it away there",
}


class Vip:
    """The addresses of one site."""

    def __init__(self, vips: tuple[str, ...]) -> None:
        self._vips = vips

    def state(self) -> State:
        """RUNNING: every address is usable here (or none is asked for); STOPPED: none is; FAILED: anything between."""
        if not self._vips:
            return State(RUNNING, "no address asked for")
        try:
            local = addresses.local()
        except OSError as error:
            return State(FAILED, "addresses of this node cannot be read: %s" % error.strerror)
        missing, complaints = [], []
        for vip in self._vips:
            worth, interface = addresses.worth(local.get(addresses.packed(vip), []))
            if not worth:
                missing.append(vip)
            elif worth != addresses.USABLE:
                complaints.append("%s on %s is not usable (%s): %s" % (vip, interface, worth, REMEDIES[worth].format(link=interface)))
        if not missing and not complaints:
            return State(RUNNING, ", ".join(self._vips))
        status = STOPPED if len(missing) == len(self._vips) else FAILED
        if missing:
            complaints.append("%s is not on this node: bring it up before this resource (IPaddr2, fip, awsvip)" % ", ".join(missing))
        return State(status, "; ".join(complaints))

    def wait(self, deadline: Deadline) -> None:
        """Wait until the addresses are here. Raise LayerError when they are not by the deadline."""
        state = self.state()
        for _ in deadline.polls(first=0.05):
            state = self.state()
            if state.running:
                return
        raise LayerError("%s - waited %.1f s, see vip_wait" % (state.reason, deadline.total()))
