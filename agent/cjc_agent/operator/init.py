"""`cjc-agent init`: from nothing to a site on this node, step by step. Each step looks first: run again it does what is left to do, and nothing else."""
from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Optional

from cjc_agent import actions
from cjc_agent.layers.disk import MountedDisk
from cjc_agent.layers.state import LayerError
from cjc_agent.operator import conf
from cjc_agent.operator.checks import daemon_conf as checks
from cjc_agent.operator.checks import product
from cjc_agent.operator.node import LOCAL, SITE, Node
from cjc_agent.operator.rule import ERROR, Finding
from cjc_agent.settings import child_environment, daemon_conf, site_db, values
from cjc_agent.tools import addresses, processes, record, statefile
from cjc_agent.tools.lock import Busy, Lock

# how a step ended; GOOD: one that only looks; PLANNED: --dry-run
DONE, GOOD, NOTHING, LEFT_OUT, PLANNED, FAILED = "done", "good", "nothing to do", "left out", "not done (--dry-run)", "failed"
MAKER = "cjcmksite"
SITE_STEPS = ("site-db", "note", "site-conf")
FATAL = (checks.LOCAL_HAS_VIP, checks.TAKES_ALL)  # a local site like that keeps the cluster site from starting, whoever made it so
WAITING, CALLING, MAKING, UNMOUNTING, RESTARTING = 1.0, 3.0, 120.0, 4.0, 90.0  # seconds for another action, another call, cjcmksite, umount, systemctl


@dataclass(frozen=True)
class Wishes:
    """What the caller wants: `mount` the disk for it, `local_daemon` and `local_ipaddress` of this node's local site ("": left as they are),
    ipcheck=OFF, a `restart` of jobcentersv, also (`yes_restart`) while the cluster site runs here."""

    mount: bool = False
    local_daemon: str = ""
    local_ipaddress: str = ""
    ipcheck_off: bool = False
    restart: bool = False
    yes_restart: bool = False

    @property
    def local(self) -> dict[str, str]:
        """Key -> value of the local file, as far as it was said."""
        return {key: value for key, value in (("local_daemon", self.local_daemon), ("ipaddress", self.local_ipaddress)) if value}


@dataclass
class Step:
    """One step: its `name`, `what` it does, with lines that show it (`preview`), how it ended (`outcome`), and `details` of that."""

    name: str
    what: str
    preview: Sequence[str] = ()
    outcome: str = ""
    details: Sequence[str] = ()


class Stopped(Exception):
    """A step has failed: those after it are not done."""


class Init:
    """One run. `look` makes a fresh Node; `begun` and `ended` are called with each step, before it is done and afterwards."""

    def __init__(self, look: Callable[[], Node], wishes: Wishes, dry_run: bool, begun: Callable[[Step], None], ended: Callable[[Step], None]) -> None:
        self._look, self._wishes, self._dry_run, self._begun, self._ended = look, wishes, dry_run, begun, ended
        self.node = look()
        self.settings = self.node.settings
        self.steps: list[Step] = []
        self._mounted = False  # whether we have mounted the disk: this run, or one before that was killed
        self._unseen = False  # whether the disk would be mounted now, were this no dry run

    @property
    def failed(self) -> bool:
        """Whether a step has failed."""
        return any(step.outcome == FAILED for step in self.steps)

    @property
    def changed(self) -> bool:
        """Whether anything was done."""
        return any(step.outcome == DONE for step in self.steps)

    @property
    def without_site(self) -> bool:
        """Whether nothing was done for the cluster site, whose disk is not here."""
        return any(step.outcome == LEFT_OUT for step in self.steps)

    @property
    def left(self) -> list[str]:
        """The names of the steps that were not come to."""
        done = [step.name for step in self.steps]
        wanted = ["check", "disk", *(() if self.without_site else SITE_STEPS), "local-conf", *(["restart"] if self._wishes.restart else [])]
        return [name for name in wanted if name not in done]

    def run(self) -> None:
        """Go through the steps. Raise conf.Refused when what is wanted is not right, and conf.Failed when somebody else is at work: before any step."""
        lock = None if self._dry_run else self._lock()
        try:
            self._refuse()
            self._go()
        except Stopped:
            pass
        finally:
            if lock:
                lock.release()

    def _lock(self) -> Lock:
        """No start, stop or other init of this site meanwhile."""
        lock = actions.lock_of(self.node.request.folder, self.settings.site)
        try:
            lock.take("init", self.node.deadline.part(WAITING))
        except Busy as error:
            raise conf.Failed("%s: wait for it to end" % error) from error
        except OSError as error:
            raise conf.Failed("state folder: %s: %s: correct it" % (error.filename, error.strerror)) from error
        return lock

    def _go(self) -> None:
        self._check()
        try:
            if self._disk():
                self._site_db()
                self._note()
                self._site_conf()
        finally:
            self._unmount()
        self._local_conf()
        if self._wishes.restart:
            self._restart()

    def _step(self, name: str, what: str, act: Optional[Callable[[], Sequence[str]]], preview: Sequence[str] = (), looks: bool = False,
              nothing: str = NOTHING) -> None:
        """Do one step. `act` None: there is nothing to do. `looks`: it changes nothing, and is done in a dry run, too. Raise Stopped."""
        step = Step(name, what, preview)
        self.steps.append(step)
        self._begun(step)
        try:
            if act is None:
                step.outcome = nothing
            elif self._dry_run and not looks:
                step.outcome = PLANNED
            else:
                step.details = act()
                step.outcome = GOOD if looks else DONE
        except (conf.Refused, conf.Failed, LayerError, OSError) as error:
            step.outcome = FAILED
            step.details = ["%s: %s" % (error.filename, error.strerror)] if isinstance(error, OSError) else error.args
            raise Stopped from error
        except BaseException:
            step.outcome = FAILED
            raise
        finally:
            self._ended(step)

    # -- before anything is done -----------------------------------------------------------------------------------------------------

    def _refuse(self) -> None:
        """Raise conf.Refused for what should not even be begun."""
        wishes, node = self._wishes, self.node
        if wishes.mount and not self.settings.device:
            raise conf.Refused("--mount: the parameter `device` is not given: the cluster mounts the disk: run init where it is mounted")
        vips = {addresses.packed(vip): vip for vip in self.settings.vip}
        try:
            for word in values.vips(wishes.local_ipaddress):
                if addresses.packed(word) in vips:
                    raise ValueError("%s is the VIP, which moves with the cluster site: give an address that stays on this node" % word)
        except ValueError as error:
            raise conf.Refused("--local-ipaddress: %s" % error) from error
        if wishes.local:
            self._refuse_local()
        if wishes.restart and not wishes.yes_restart:
            state = node.stack.site.state(node.disk.running)
            if not state.stopped:
                raise conf.Refused("--restart: site %s runs on this node, and `%s` may touch it: move it away first, or --yes-restart - %s" % (
                    self.settings.site, " ".join(conf.RESTART), state.reason))

    def _refuse_local(self) -> None:
        """Raise conf.Refused for a local file as it is to be that would keep the cluster site from starting."""
        try:
            edit = conf.plan(self.node, LOCAL, self._wishes.local, force=True)
        except conf.Failed:
            return  # its step will say it
        fatal = [found for found in edit.broken if found.rule.severity == ERROR]
        fatal += [found for found in conf.findings(conf.edited(self.node, edit)) if found.rule in FATAL and found not in fatal]
        if fatal:
            hint = ["give --local-ipaddress"] if any(found.rule is checks.TAKES_ALL for found in fatal) else []
            raise conf.Refused(*hint, *map(conf.words_of, fatal))

    # -- the steps -------------------------------------------------------------------------------------------------------------------

    def _check(self) -> None:
        def check() -> Sequence[str]:
            self._wait_for_calls()
            verdict = actions.validate(self.node.request, 10)
            if not verdict.good:
                raise conf.Failed(verdict.reason)
            wrong = [found for found in product.commands(self.node) if isinstance(found, Finding)]
            if wrong:  # also one that others can write: it is going to be run as root
                raise conf.Failed("; ".join(map(conf.words_of, wrong)))
            return []
        self._step("check", "check the parameters, and licence, cjcpw and cjcmksite of this node", check, looks=True)

    def _wait_for_calls(self) -> None:
        """Wait for a cjcmksite whose init was killed: were the disk unmounted now, it would go on on the node's own. Raise conf.Failed.

        A monitor's status call looks the same, and ends soon.
        """
        calls = processes.wait_gone(self.node.stack.site.census().calls.values(), self.node.deadline.part(CALLING))
        if calls:
            raise conf.Failed("an earlier call of JobCenter's commands still runs: wait for it to end: %s" % processes.describe(calls))

    def _disk(self) -> bool:
        """See to the disk; return whether it is here, or would be."""
        state, settings = self.node.disk, self.settings
        if state.running:
            self._mounted = self._was_ours()
            note = ": by an init that did not end, it will be unmounted" if self._mounted else ""
            self._step("disk", "have the disk here: %s%s" % (state.reason, note), None)
            return True
        if state.stopped and self._wishes.mount:
            self._step("disk", "mount %s on %s, which no other node may have mounted now" % (settings.device, settings.directory), self._mount)
            self._unseen = self._dry_run
            self._mounted = self._mounted or self._dry_run  # it would be unmounted again
            return True
        if state.stopped and self._wishes.local:
            how = "--mount mounts it" if settings.device else "the cluster mounts it"
            self._step("disk", "leave the site alone, whose disk is not here: %s. Right on a further node; the site is made where its disk is (%s)" % (
                state.reason, how), None, nothing=LEFT_OUT)
            return False
        how = ": add --mount (no other node may have it mounted); or on a further node, where only its local site is left to do: --local-daemon SITE or OFF"
        self._step("disk", "have the disk here", _fail(state.reason + (how if state.stopped and settings.device else "")), looks=True)
        return False

    def _mount(self) -> Sequence[str]:
        node, settings = self.node, self.settings
        cib = node.cib
        for name, resource in cib.resources.items() if cib else ():
            if resource.parameters.get("site") == settings.site or resource.parameters.get("device") == settings.device:
                raise conf.Failed("resource %s of the running cluster mounts it: run init without --mount on the node where it is active" % name)
        statefile.write(self._mark(), processes.boot_id().encode())  # before: whoever kills us, the next init knows whose mount it is
        try:
            node.stack.disk.start(node.deadline.part(self.settings.start_timeout))
        finally:
            self._mounted = node.stack.disk.launched
            if not self._mounted:
                statefile.remove(self._mark())
        self.node = self._look()
        return [self.node.disk.reason]

    def _mark(self) -> str:
        return os.path.join(self.node.request.folder, "cjc-%s.init" % self.settings.site)

    def _was_ours(self) -> bool:
        """Whether the mount is one that an init has left; not when the site was started on it since."""
        try:
            return statefile.read(self._mark()) == processes.boot_id().encode() and actions.recorded(self.node.request) is None
        except statefile.Untrusted:
            return False

    def _site_db(self) -> None:
        settings = self.settings
        paths = values.programs_of(MAKER, settings.nqs_home)
        what = "make the site DB: NQS_SITE=%s cjcmksite -d %s -n %s" % (settings.site, settings.site_db, settings.site)
        if self._unseen:
            self._step("site-db", what + ", if none is there", list)
            return
        found, words = self._seen_site_db()
        if found == "none":
            self._step("site-db", what, lambda: self._make(paths))
        elif found == "there" and not self._other_owner():
            self._step("site-db", "keep the site DB that is in %s: it is never made anew" % settings.site_db, None)
        else:
            self._step("site-db", "look whether there is a site DB in %s" % settings.site_db, _fail(words or self._other_owner()), looks=True)

    def _seen_site_db(self) -> tuple[str, str]:
        """Return "none" or "there" for the site DB; "" and why for what must not be touched."""
        path, site = self.settings.site_db, self.settings.site

        def look() -> str:
            real = os.path.realpath(path)
            if real != path:  # it would be made elsewhere, on the node's own disk perhaps
                return " %s is reached through a symbolic link: write %s" % (path, real)
            words = site_db.complaint(path, site)
            return " " + words if words else "there" if os.path.lexists(path + "/nqs") else "none"
        answer = self.node.call("look for a site DB", look)
        found, _, words = answer.output.partition(" ") if answer.ok else ("", "", answer.words("the disk must answer"))
        return found, words

    def _other_owner(self) -> str:
        """Say what speaks for another site's being the owner of a site DB that is there, "" for nothing."""
        path = self.settings.site_db
        other = record.find(self.node.request.folder, "", path)
        if other and other.settings["site"] != self.settings.site:
            return "%s: site %s was started on it: correct `site` or `site_db`" % (path, other.settings["site"])
        for finding in conf.findings(self.node):
            if finding.rule is checks.WITHOUT_VIP and self.node.effective(SITE)["ipaddress"].value:
                return "%s is there, but is it this site's? %s" % (path, conf.words_of(finding))
        return ""

    def _make(self, paths: Sequence[str]) -> Sequence[str]:
        settings, node = self.settings, self.node
        environment = child_environment.make(settings, call=True)
        result = node.stack.runner.run(MAKER, list(paths), ["-d", settings.site_db, "-n", settings.site], node.deadline.part(MAKING), environment)
        if not result.ok:
            left = self._seen_site_db()[0] == "there"
            kept = "it has left %s/nqs, which the next init keeps: remove it first, unless you know that it is complete" % settings.site_db
            raise conf.Failed(result.words("correct what it says"), *([kept] if left else []))
        found, words = self._seen_site_db()
        if found != "there":
            raise conf.Failed(words or "cjcmksite ended well, but made no %s/nqs: look at what it said: %s" % (settings.site_db, result.output.strip()))
        self.node = self._look()
        return result.output.strip().split("\n")

    def _note(self) -> None:
        path, site = self.settings.site_db, self.settings.site
        what = "note in %s that it is %s's" % (site_db.path(path), site)
        if not self._unseen and self.node.call("read the note", lambda: site_db.owner(path)).output == site:
            self._step("note", what, None)
            return

        def note() -> Sequence[str]:
            result = self.node.stack.runner.call("note the site's name", lambda: site_db.note(path, site), self.node.deadline.part(conf.PATIENCE))
            return [] if result.ok else ["not noted, which is no harm: " + result.words()]
        self._step("note", what, note)

    def _site_conf(self) -> None:
        settings = self.settings
        wanted = {"local_daemon": "OFF"}  # like the seed's example
        if settings.vip and (self._unseen or not self._has_vips()):
            wanted["ipaddress"] = ",".join(settings.vip)
        if settings.port:
            wanted["listen_port"] = str(settings.port)
        if self._wishes.ipcheck_off:
            wanted["ipcheck"] = "OFF"
        self._edit("site-conf", SITE, wanted, seen=not self._unseen)

    def _has_vips(self) -> bool:
        """Whether the site listens on the VIPs already, and perhaps on more."""
        file = self.node.files.get(SITE)
        entry = file.get("ipaddress") if file else None
        try:
            listed = [addresses.packed(word) for word in values.vips(entry.value)] if entry else []
        except ValueError:
            return False
        return all(addresses.packed(vip) in listed for vip in self.settings.vip)

    def _local_conf(self) -> None:
        if self._wishes.local:
            self._edit("local-conf", LOCAL, self._wishes.local)
        else:
            self._step("local-conf", "leave this node's local daemon.conf as it is (no --local-daemon)", None)

    def _edit(self, name: str, which: str, wanted: dict[str, str], seen: bool = True) -> None:
        """Edit one daemon.conf, under the lock of all who do."""
        words = " ".join("%s=%s" % pair for pair in wanted.items())
        what = "write %s into %s" % (words, daemon_conf.path_of(which, self.settings))
        lock = None
        try:
            lock = None if self._dry_run else conf.locked(self.node.request.folder, self.node.deadline)
            self.node = self._look()
            edit = conf.plan(self.node, which, wanted) if seen else None
        except (conf.Refused, conf.Failed) as error:
            if lock:
                lock.release()
            self._step(name, what, _fail(*error.args), looks=True)
            return
        try:
            if edit is None:
                self._step(name, what, list)
            elif edit.changes:
                self._step(name, what, lambda: self._write(edit), edit.diff())
            else:
                self._step(name, what, None)
        finally:
            if lock:
                lock.release()

    def _write(self, edit: conf.Edit) -> Sequence[str]:
        conf.write(self.node, edit)
        return ["warning: " + conf.words_of(finding) for finding in edit.broken]

    def _unmount(self) -> None:
        if not self._mounted:
            return

        def unmount() -> Sequence[str]:
            node = self._look()
            if isinstance(node.stack.disk, MountedDisk):
                node.stack.disk.state()  # finds out which device it is
                node.stack.disk.unmount(node.deadline.part(UNMOUNTING))
            statefile.remove(self._mark())
            self.node = self._look()
            return []
        self._step("unmount", "unmount %s again" % self.settings.directory, unmount)

    def _restart(self) -> None:
        what = "run " + " ".join(conf.RESTART)
        local_edit = any(step.name == "local-conf" and step.outcome == PLANNED for step in self.steps)
        if not conf.awaits_restart(self.node.request.folder) and not local_edit:
            self._step("restart", what + ": nothing was changed that waits for it", None)
            return

        def restart() -> Sequence[str]:
            result = self.node.stack.runner.tool(conf.RESTART, self.node.deadline.part(RESTARTING))
            if not result.ok:
                raise conf.Failed(result.words("see journalctl -u jobcentersv"))
            conf.restarted(self.node.request.folder)
            return []
        self._step("restart", what, restart)


def _fail(*words: str) -> Callable[[], Sequence[str]]:
    """Return a step that fails with these words."""
    def act() -> Sequence[str]:
        raise conf.Failed(*words)
    return act


def as_json(init: Init, command: str) -> dict[str, Any]:
    """Return for tools what was done. `command`: how to go on after a failure."""
    return {
        "site": init.settings.site, "good": not init.failed,
        "steps": [{"step": step.name, "what": step.what, "preview": list(step.preview), "outcome": step.outcome, "details": list(step.details)}
                  for step in init.steps],
        "not_done": init.left, "go_on": command if init.failed else "",
    }
