"""CJC5xx: NQS_SITE where it does not belong, and daemons that have lost it."""
from __future__ import annotations

import contextlib
import pathlib
import shutil
import subprocess
from collections.abc import Iterator

from lab.changed import text_of
from lab.healthy import Broken, Healthy, configured, line_of
from lab.site import all_processes, environment_of, wait_until

SYSTEMD = pathlib.Path("/etc/systemd/system")


def leak(name: str, path: str | pathlib.Path, text: str, begins: str = "", standby: bool = False) -> Broken:
    """A row: a file with a text at its end; it is found in the line that `begins` so, or in the text's only one."""
    file = pathlib.Path(path)
    return Broken(name, "CJC501", lambda healthy: more_of(file, text), lambda healthy: line_of(file, begins or text.rstrip("\n")), standby)


def more_of(path: pathlib.Path, text: str) -> contextlib.AbstractContextManager[None]:
    """The file, which need not be there, ends so."""
    return text_of(path, (path.read_text() if path.exists() else "# a comment\n") + text)


@contextlib.contextmanager
def environment_file(healthy: Healthy) -> Iterator[None]:
    """A service reads its environment from a file."""
    with text_of(SYSTEMD / "batch.service", "[Service]\nEnvironmentFile=-/etc/default/batch.*\nExecStart=/bin/true\n"), \
            text_of(pathlib.Path("/etc/default/batch.env"), "# for the batch\nA=b\nNQS_SITE=jobsiteA\n"):
        yield


HARMLESS = {
    "/etc/environment": "# NQS_SITE=jobsiteA\nMY_NQS_SITE=x\nNQS_SITES=x\nNQS_SITE=\n",
    "/etc/profile": "NQS_SITE=jobsiteA cjcpw status\nunset NQS_SITE\nNQS_SITE=jobsiteA \\\n  cjcpw status >/dev/null 2>&1 # export NQS_SITE=x\n",
    "/etc/profile.d/site.sh": "alias cjc='NQS_SITE=jobsiteA cjcpw'\nif [ -n \"$NQS_SITE\" ]; then echo \"NQS_SITE=$NQS_SITE\"; fi\n"
                              "site() { NQS_SITE=$1 /usr/lib/nqs/cjcpw status; }\nexport -n NQS_SITE\n",
    "/etc/profile.d/site.sh.rpmsave": "export NQS_SITE=jobsiteA\n",
    "/root/.bashrc": "echo export NQS_SITE=jobsiteA\nenv NQS_SITE=jobsiteA cjcpw status\n",
    "/etc/systemd/system/harmless.service": "[Service]\n# Environment=NQS_SITE=x\nExecStart=/usr/bin/env NQS_SITE=jobsiteA /usr/lib/nqs/cjcpw status\n"
                                            "Environment=A=NQS_SITE=x MY_NQS_SITE=x\nUnsetEnvironment=NQS_SITE\nEnvironmentFile=-/etc/nowhere\n",
    "/etc/systemd/system/harmless.service.bak": "[Service]\nEnvironment=NQS_SITE=jobsiteA\n",
    "/etc/cron.d/site": "# NQS_SITE=jobsiteA\n0 3 * * * root NQS_SITE=jobsiteA /usr/lib/nqs/cjcpw status\n",
}


@contextlib.contextmanager
def harmless() -> Iterator[None]:
    """Everything that only looks like a leak."""
    with contextlib.ExitStack() as stack:
        for path, text in HARMLESS.items():
            stack.enter_context(more_of(pathlib.Path(path), text))
        yield


# -- processes -----------------------------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def rewritten_environments(healthy: Healthy) -> Iterator[None]:
    """The site was started with daemons that overwrite their environment."""
    healthy.standby()
    with configured(healthy, **healthy.site.faults("daemons=rewrite-environ")):
        healthy.active()
        try:
            yield
        finally:
            healthy.standby()
    healthy.active()


@contextlib.contextmanager
def cluster_daemon(healthy: Healthy, name: str) -> Iterator[None]:
    """A daemon of the cluster's that was started from a shell with another site's name."""
    program = healthy.conf.with_name(name)
    shutil.copy("/bin/sleep", program)
    child = subprocess.Popen([str(program), "1000"], env={"NQS_SITE": "elsewhere"}, start_new_session=True, cwd="/")
    try:
        wait_until(lambda: "NQS_SITE=elsewhere" in environment_of(child.pid))  # Popen returns in the middle of the exec, which sets name and environment
        yield
    finally:
        child.kill()
        child.wait()
        program.unlink()


def running(name: str) -> str:
    """NAME[pid] of the process of that name."""
    pid, = (pid for pid, comm in all_processes().items() if comm == name)
    return "%s[%d]" % (name, pid)


@contextlib.contextmanager
def called_by(healthy: Healthy, *command: str) -> Iterator[None]:
    """The doctor is called by a command."""
    healthy.caller = list(command)
    try:
        yield
    finally:
        healthy.caller = []


OWN_PID_1 = ("env", "NQS_SITE=elsewhere", "unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", 'env -u NQS_SITE "$@"; exit $?', "sh")


ROWS = [
    leak("in /etc/environment", "/etc/environment", "NQS_SITE=jobsiteA\n"),
    leak("exported in /etc/profile", "/etc/profile", "NQS_SITE=jobsiteA; export NQS_SITE\n"),
    leak("exported on a condition in /etc/profile.d", "/etc/profile.d/site.sh", "if true; then\n  export LANG=C NQS_SITE=\"jobsiteA\"\nfi\n", "  export"),
    leak("by csh in /etc/profile.d", "/etc/profile.d/site.csh", "setenv NQS_SITE jobsiteA\n", standby=True),
    leak("assigned in /etc/bash.bashrc", "/etc/bash.bashrc", "NQS_SITE=jobsiteA # for all\n"),
    leak("declared in root's .bashrc", "/root/.bashrc", "declare -x NQS_SITE=jobsiteA\n"),
    leak("in a unit", SYSTEMD / "batch.service", "[Service]\nExecStart=/bin/true\nEnvironment=\"A=b c\" \\\n  'NQS_SITE=jobsiteA'\n", "  'NQS_SITE"),
    leak("passed on by a drop-in", SYSTEMD / "pacemaker.service.d/site.conf", "[Service]\nPassEnvironment=LANG NQS_SITE\n", "PassEnvironment"),
    leak("in a vendor's unit", "/usr/lib/systemd/system/batch.service", "[Service]\nEnvironment=NQS_SITE=jobsiteA\n", "Environment"),
    Broken("in a service's environment file", "CJC501", environment_file, "/etc/default/batch.env:3"),
    leak("for all services", "/etc/systemd/system.conf", "[Manager]\nDefaultEnvironment=NQS_SITE=jobsiteA\n", "DefaultEnvironment"),
    leak("in /etc/crontab", "/etc/crontab", "NQS_SITE = jobsiteA\n0 3 * * * root /bin/true\n", "NQS_SITE"),
    leak("in /etc/anacrontab, on a standby", "/etc/anacrontab", "NQS_SITE=jobsiteA\n", standby=True),
    leak("in root's crontab, on a standby", "/var/spool/cron/crontabs/root", "\"NQS_SITE\"='jobsiteA'\n", standby=True),
    Broken("daemons have lost it", "CJC502", rewritten_environments, ""),
    Broken("Pacemaker has it", "CJC503", lambda healthy: cluster_daemon(healthy, "pacemakerd"), lambda healthy: running("pacemakerd")),
    Broken("CLUSTERPRO has it, on a standby", "CJC503", lambda healthy: cluster_daemon(healthy, "clprc"), lambda healthy: running("clprc"), True),
    Broken("pid 1 has it, on a standby", "CJC503", lambda healthy: called_by(healthy, *OWN_PID_1), "sh[1]", True),
    Broken("the caller has it", "CJC504", lambda healthy: called_by(healthy, "env", "NQS_SITE=elsewhere"), ""),
]
