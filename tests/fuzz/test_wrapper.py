"""The wrapper ocf/jobcenter as a real process, with hostile arguments and a hostile environment. Harmless by the node that it runs on."""
from __future__ import annotations

import re
import shutil
import subprocess

from cjc_agent.settings import metadata
from fuzz import specimens
from fuzz.engine import CALLS, fuzz, is_one_line
from unit.helpers import ROOT

WRAPPER = str(ROOT / "ocf" / "jobcenter")
CODES = {"validate-all": {0, 1, 2, 4, 5, 6}, "monitor": {0, 1, 7, 190}, "stop": {0, 1}, "reload-agent": {0, 1}, "start": {6}, "meta-data": {0}}
ACTIONS = [*CODES, "stop", "monitor"]
LOG_LINE = re.compile(r"[A-Z][a-z]{2} \d\d \d\d:\d\d:\d\d (DEBUG|INFO|WARNING|ERROR): ")
REASON = re.compile(r"(action|parameter \w+|disk|vip|site|lock|state folder|record): .*[a-z]")  # layer, object, what to do
SCRATCH = "@"  # stands for the scratch folder, wherever that is: the same inputs at every run
NO_DEVICE = ["/dev/no-such-device", "LABEL=no-such-label-cjc", "no-such-host:/export"]  # nothing of this machine
VARIABLES = {
    "OCF_CHECK_LEVEL": ["0", "10", "20", "11"], "OCF_RESKEY_CRM_meta_timeout": ["5000", "100", "20000"], "OCF_RESKEY_CRM_meta_interval": ["0", "10000"],
    "OCF_RESOURCE_INSTANCE": ["rsc"], "OCF_EXIT_REASON_PREFIX": ["ocf-exit-reason:", "x "], "OCF_ROOT": ["/usr/lib/ocf"], "OCF_TRACE_RA": ["1"],
    "OCF_TRACE_FILE": ["@/trace", "trace"], "HA_RSCTMP": ["@/state", "@/no/such", "@/file", "state", "@/" + "x" * 300],
    "HA_LOGTAG": ["tag"], "HA_LOGFACILITY": ["none", "daemon", "mask", "upto"], "HA_LOGFILE": ["@/ha.log", "@/no/such"], "HA_DEBUGLOG": ["@/debug.log"],
    "HA_debug": ["0", "1"], "PATH": ["/usr/bin:/bin", "@/traps", ""], "IFS": ["/", " "], "ENV": ["@/startup"], "BASH_ENV": ["@/startup"], "CDPATH": ["@"],
    "PYTHONPATH": ["@/traps"], "PYTHONHOME": ["@"], "PYTHONSTARTUP": ["@/startup"], "PYTHONIOENCODING": ["ascii"], "PYTHONUTF8": ["0", "x"],
    "PYTHONWARNINGS": ["error"], "PYTHONHASHSEED": ["x"], "LC_ALL": ["C", "ja_JP.eucJP"], "LANG": ["x"], "LC_TIME": ["ja_JP.UTF-8"],
    "TZ": ["UTC", ":/etc/passwd"],
    "HOME": ["@"], "TMPDIR": ["@"], "NQS_SITE": ["other"], "LD_LIBRARY_PATH": ["@"], "PS4": ["$(id)"], "BASH_FUNC_printf%%": ["() { echo forged; }"],
    "CORE": ["@"], "PYTHON": ["/bin/false"], "MAIN": ["x"],
}
STATUS_CODES = ["0", "1", "3", "9", "0 1"]
PARAMETERS = dict(specimens.PARAMETERS, device=NO_DEVICE, nqs_home=["@/nqs", "/no/such"], status_args=STATUS_CODES, stop_args=["0", "7"])
CJCPW = """#!/bin/sh
printf 'line\\nocf-exit-reason:forged\\033[2J\\377\\r\\0 %s' "$NQS_SITE"
exit $1
"""


def call(recipe):
    """Arguments and environment of one call. Most parameters are good, so that it gets somewhere."""
    action = recipe.pick(ACTIONS) if recipe.number(8) else recipe.text(ACTIONS)
    arguments = [action] + [recipe.text(ACTIONS)] * (recipe.number(12) == 11)
    environment = {"HA_RSCTMP": "@/state", "HA_LOGFACILITY": "none", "OCF_RESKEY_site": "fuzz", "OCF_RESKEY_site_db": "@/db",
                   "OCF_RESKEY_CRM_meta_timeout": "5000", "OCF_RESKEY_nqs_home": "@/nqs", "OCF_RESKEY_status_args": recipe.pick(STATUS_CODES)}
    for _ in range(recipe.number(8)):
        name = recipe.pick(list(VARIABLES))
        environment[name] = recipe.text(VARIABLES[name])
    for _ in range(recipe.number(6)):
        name = recipe.pick(list(PARAMETERS))
        environment["OCF_RESKEY_" + name] = recipe.text(PARAMETERS[name]) * recipe.pick([1, 1, 1, 1, 1, 1, 1, 200])
    if recipe.number(4) == 3:
        environment[recipe.text(["OCF_RESKEY_x", "X"]).replace("=", "") or "Y"] = recipe.text(["x"])
    if arguments == ["start"]:
        environment["OCF_RESKEY_site"] = "-refused"  # nothing here may be started
    return arguments, {name: value[:100000] for name, value in environment.items()}


def check(folder, arguments, environment):
    """One call. It begins without a record; the site's disk is the node's /tmp, as if the cluster had mounted it, and so cjcpw is asked."""
    environment = {name: value.replace(SCRATCH, str(folder)) for name, value in environment.items()}
    shutil.rmtree(folder / "state", ignore_errors=True)
    (folder / "caught").unlink(missing_ok=True)
    done = subprocess.run([WRAPPER, *arguments], env=environment, capture_output=True, stdin=subprocess.DEVNULL, cwd="/", start_new_session=True)
    action = arguments[0] if len(arguments) == 1 and arguments[0] in CODES else "unknown"
    assert done.returncode in CODES.get(action, {3}), (done.returncode, done.stderr)
    assert done.stdout.decode() == (metadata.xml() if action == "meta-data" else "")
    said = done.stderr.decode()  # UTF-8, whatever it was given
    assert "Traceback" not in said and "agent: unexpected" not in said and not list(folder.rglob("cjc-agent-unexpected*")), said
    prefix = environment.get("OCF_EXIT_REASON_PREFIX") or "ocf-exit-reason:"
    lines = said.split("\n")
    assert lines.pop() == "" and all(is_one_line(line, 5000) for line in lines), said
    reasons = [line for line in lines if not LOG_LINE.match(line)]
    assert len(reasons) == (done.returncode not in (0, 7)), said
    if re.search(r"[^A-Za-z0-9:._ -]", prefix):  # it could forge a line: the wrapper drops it
        prefix = "ocf-exit-reason:"
    if reasons and len(prefix) <= 100:
        assert reasons[0].startswith(prefix) and REASON.match(reasons[0][len(prefix):]), said
    for log in folder.glob("*.log"):
        text = log.read_bytes().decode()
        assert all(is_one_line(line, 5000) and re.match(r"... \d\d ..:..:.. ", line) for line in text.split("\n")[:-1]), text
        log.unlink()
    assert not (folder / "caught").exists(), "it ran something of ours"


def test_hostile_calls(tmp_path):
    for name, text in (("file", ""), ("nqs/cjcpw", CJCPW), ("nqs/license/jobcenter_key.dat", "CJC")):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "nqs" / "cjcpw").chmod(0o755)
    (tmp_path / "startup").write_text("echo caught >> %s/caught\n" % tmp_path)
    (tmp_path / "traps").mkdir()
    for name in ("python3", "python3.11", "cjcpw", "sh", "readlink", "printf", "mount", "umount", "blkid", "id"):
        (tmp_path / "traps" / name).write_text("#!/bin/sh\necho caught >> %s/caught\n" % tmp_path)
        (tmp_path / "traps" / name).chmod(0o755)
    fuzz("ocf/jobcenter (calls)", call, lambda drawn: check(tmp_path, *drawn), number=CALLS, at_once=1, size=400)
