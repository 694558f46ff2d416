"""cjcpw start | stop | status, and without an argument: the resident form."""
import os

from .. import outcome, processes
from ..config import Product
from ..faults import Faults
from ..outcome import Refusal, complain, say
from ..site import Site

STOP_WAIT_SECONDS = 10.0
PING_SECONDS = 5.0


def main(arguments):
    """Entry point; `arguments` without the program name."""
    verbs = {(): ("start", resident), ("start",): ("start", start), ("stop",): ("stop", stop),
             ("status",): ("status", status)}
    if tuple(arguments) not in verbs:
        complain("usage: NQS_SITE=SITE cjcpw [start|stop|status]")
        return outcome.USAGE
    return outcome.run(act, *verbs[tuple(arguments)])


def act(verb, action):
    """Commit the faults on purpose, then do what was asked; return the exit code."""
    product = Product.find()
    faults = Faults.load(product.spool)
    faults.disturb_output()
    code = faults.disturb_command(verb)
    if code is not None:
        return code
    return action(Site.from_environment(product), faults)


def status(site, _faults):
    """Say how much of the site lives on this node. Decided by the pid file, which is local to the node."""
    daemons = processes.read_pid_file(site.pid_file)
    alive = [daemon for daemon in daemons if daemon.is_alive()]
    try:
        site.check_database()
    except Refusal as refusal:
        say(f"{refusal} ({len(alive)} daemons alive)")
        return outcome.SITE_UNKNOWN
    if not alive:
        say(f"site {site.name} is stopped")
        return outcome.STOPPED
    if len(alive) < len(daemons):
        dead = ", ".join(str(daemon) for daemon in daemons if daemon not in alive)
        say(f"site {site.name} runs only partly: dead: {dead}")
        return outcome.PARTLY_RUNNING
    say(f"site {site.name} runs: {', '.join(map(str, alive))}")
    return outcome.OK


def stop(site, faults):
    """End the site's daemons, and with sched its jobs. Needs neither licence, daemon.conf nor site DB."""
    daemons = processes.read_pid_file(site.pid_file)
    if not daemons:
        site.directory()  # a site that this node does not know is a mistake, not a stopped site
        say(f"site {site.name} is stopped already")
        return outcome.OK
    return end_site(site, daemons, faults)


def end_site(site, daemons, faults):
    """End daemons; return the exit code."""
    left = processes.end(daemons, faults.number("stop_wait", STOP_WAIT_SECONDS))
    if left:
        complain(f"site {site.name}: still alive: {', '.join(map(str, left))}")
        return outcome.DAEMONS_LEFT
    remove(site.pid_file)
    say(f"site {site.name} is stopped now")
    return outcome.OK


def remove(path):
    """Remove a file that another cjcpw may have removed already."""
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass


def start(site, faults):
    """Start the site and leave; 0 only when the daemons are ready and the listener answers."""
    if not launch(site, faults, orphans=True):
        say(f"site {site.name} runs already")
        return outcome.OK
    say(f"site {site.name} started")
    return outcome.OK


def launch(site, faults, orphans):
    """Bring the daemons up and return them; [] if the site runs already."""
    known = processes.read_pid_file(site.pid_file)
    alive = [daemon for daemon in known if daemon.is_alive()]
    if alive and len(alive) == len(known):
        return []
    if alive:
        raise Refusal(outcome.START_WHILE_PARTLY_RUNNING,
                      f"site {site.name} runs partly ({', '.join(map(str, alive))}): cjcpw stop first")
    site.product.check_licence()
    site_db = site.check_database()
    from .. import daemons  # late: status and stop do without sockets and SQLite
    from ..config import SiteSettings
    settings = SiteSettings(site.product, site_db)
    if not settings.addresses:
        raise Refusal(outcome.NO_IPADDRESS, f"no ipaddress in {site_db}/nqs/daemon.conf "
                                            f"or {site.product.common_conf}")
    listeners = daemons.listen(settings.addresses, settings.port)
    starting = daemons.fork_all(site.name, site_db, listeners, faults, orphans)
    started = [one.process for one in starting]
    processes.write_pid_file(site.pid_file, started)
    problems = [problem for problem in [one.go() for one in starting] if problem]
    problems = problems or answers(settings)
    if problems:
        processes.end(started, STOP_WAIT_SECONDS)
        remove(site.pid_file)
        raise Refusal(outcome.DAEMON_FAILED, f"site {site.name} does not come up: {'; '.join(problems)}")
    return started


def answers(settings):
    """Return what is wrong with the answers on the site's addresses: [] if all answer."""
    from ..protocol import ask
    try:
        for address in settings.addresses:
            ask(address, settings.port, "PING", PING_SECONDS)
    except Refusal as refusal:
        return [str(refusal)]
    return []


def resident(site, faults):
    """Start the site and stay in the foreground as the parent of its daemons until it ends."""
    import signal
    watched = {signal.SIGTERM, signal.SIGINT, signal.SIGCHLD}
    signal.pthread_sigmask(signal.SIG_BLOCK, watched)  # before the fork, so that no signal is missed
    daemons = launch(site, faults, orphans=False)
    if not daemons:
        say(f"site {site.name} runs already")
        return outcome.OK
    say(f"site {site.name} started, cjcpw stays resident as pid {os.getpid()}")
    alive = {daemon.pid: daemon for daemon in daemons}
    while alive:
        number = signal.sigwait(watched)
        if number != signal.SIGCHLD:
            say(f"got {signal.Signals(number).name}")
            return end_site(site, daemons, faults)
        for daemon, wait_status in reap(alive):
            say(f"{daemon} ended" if wait_status == 0 else f"{daemon} died with wait status {wait_status}")
            if wait_status != 0:
                end_site(site, daemons, faults)
                return outcome.DAEMON_DIED
    say(f"site {site.name} was stopped")  # an orderly `cjcpw stop` from elsewhere
    return outcome.OK


def reap(alive):
    """Collect ended children, take them out of `alive`, and return (daemon, wait status) of each."""
    ended = []
    while alive:
        pid, wait_status = os.waitpid(-1, os.WNOHANG)
        if not pid:
            break
        ended.append((alive.pop(pid), wait_status))
    return ended
