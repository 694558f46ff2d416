"""CLUSTERPRO's scripts as real processes, with hostile variables and a hostile configuration file. Harmless by the node that they run on."""
from __future__ import annotations

import re
import shutil
import subprocess

from cjc_agent.settings.parameters import BY_NAME
from fuzz import specimens
from fuzz.engine import CALLS, fuzz, is_one_line
from unit.helpers import ROOT

SCRATCH = "@"  # stands for the scratch folder, wherever that is: the same inputs at every run
LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d (INFO|WARNING|ERROR): cjc-agent (start|stop|monitor)( [A-Za-z0-9._-]+)?: .*[a-z0-9]")
VARIABLES = {
    "CLP_EVENT": ["START", "FAILOVER", "RECOVER", "START "], "CLP_DISK": ["SUCCESS", "FAILURE"], "CLP_SERVER": ["HOME", "OTHER"],
    "CLP_FACTOR": ["GROUPSTOP", ""], "CLP_SERVER_PREV": ["node1"], "CLP_SCRIPT_PATH": ["/opt/nec/x"], "CLP_GROUPNAME": ["jobs"],
    "CLP_PATH": ["@", "@/no/such", "@/file", "bin"], "CLP_RESOURCENAME": ["exec1", "../exec1", "/etc/passwd"],
    "CJC_AGENT_CONF": ["@/conf", "@/no/such", "conf", "@/folder", "/dev/zero"], "HA_RSCTMP": ["@/state", "@/file", "state"], "PATH": ["@/traps", ""],
    "IFS": ["/"], "ENV": ["@/startup"], "BASH_ENV": ["@/startup"], "PYTHONPATH": ["@/traps"], "PYTHONSTARTUP": ["@/startup"], "NQS_SITE": ["other"],
    "LC_ALL": ["C", "ja_JP.eucJP"], "BASH_FUNC_printf%%": ["() { echo forged; }"], "AGENT": ["@/traps/id"], "CORE": ["@"], "PYTHON": ["/bin/false"],
    "MAIN": ["x"],
}
VALUES = dict(specimens.PARAMETERS, device=["/dev/no-such-device", "LABEL=no-such-label-cjc", "no-such-host:/export"], nqs_home=["@/nqs", "/no/such"])
CLPLOGCMD = '#!/bin/sh\n[ $# = 4 ] && [ "$1" = -m ] && [ "$3" = -l ] && printf "%%s\\n" "$2" >>%s/said\n'


def call(recipe):
    """Which script, its environment, and the text of its configuration file."""
    environment = {"CJC_AGENT_CONF": "@/conf", "HA_RSCTMP": "@/state", "CLP_PATH": "@"}
    for _ in range(recipe.number(8)):
        name = recipe.pick(list(VARIABLES))
        environment[name] = recipe.text(VARIABLES[name]) if recipe.number(3) else recipe.pick(VARIABLES[name])
    values = {"site": "fuzz", "site_db": "@/db", "nqs_home": "@/nqs", "monitor_timeout": "5s", "stop_timeout": "5s"}
    for _ in range(recipe.number(5)):
        name = recipe.pick([name for name in VALUES if name in BY_NAME])
        values[name] = recipe.text(VALUES[name])
    script = recipe.pick(["start", "stop", "genw"])
    if script == "start":
        values["site"] = "-refused"  # nothing here may be started
    text = "".join("%s = %s\n" % pair for pair in values.items())
    if recipe.number(4) == 3:
        text += recipe.text(["port", "x = 1", "vip =", "[a]", "site = b"])
    return script, {name: value[:100000].replace("\0", "") for name, value in environment.items()}, text


def check(folder, script, environment, text):
    """One call: 0 or 1, and nothing but lines of ours."""
    environment = {name: value.replace(SCRATCH, str(folder)) for name, value in environment.items()}
    shutil.rmtree(folder / "state", ignore_errors=True)
    for name in ("said", "caught"):
        (folder / name).unlink(missing_ok=True)
    (folder / "conf").write_bytes(text.replace(SCRATCH, str(folder)).encode("utf-8", "replace"))
    done = subprocess.run([ROOT / "clusterpro" / (script + ".sh")], env=environment, capture_output=True, stdin=subprocess.DEVNULL, cwd="/",
                          start_new_session=True, timeout=60)
    said = done.stderr.decode()
    assert done.returncode in (0, 1) and done.stdout == b"", (done.returncode, said)
    assert "Traceback" not in said and "agent: unexpected" not in said and not list(folder.rglob("cjc-agent-unexpected*")), said
    lines = said.split("\n")
    assert lines.pop() == "" and all(is_one_line(line, 5000) and LINE.match(line) for line in lines), said
    assert done.returncode == 0 or " ERROR: " in lines[-1], said
    messages = (folder / "said").read_bytes().decode().split("\n")[:-1] if (folder / "said").exists() else []
    assert all(is_one_line(message, 65536) for message in messages) and len(messages) <= len(lines)
    assert not (folder / "caught").exists(), "it ran something of ours"


def test_hostile_calls(tmp_path):
    for name, text in (("file", ""), ("nqs/cjcpw", "#!/bin/sh\nexit 3\n"), ("nqs/license/jobcenter_key.dat", "CJC"), ("bin/clplogcmd", CLPLOGCMD % tmp_path)):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
        (tmp_path / name).chmod(0o755)
    for name in ("folder", "traps"):
        (tmp_path / name).mkdir()
    (tmp_path / "startup").write_text("echo caught >> %s/caught\n" % tmp_path)
    for name in ("python3", "python3.11", "cjcpw", "sh", "readlink", "printf", "mount", "umount", "id"):
        (tmp_path / "traps" / name).write_text("#!/bin/sh\necho caught >> %s/caught\n" % tmp_path)
        (tmp_path / "traps" / name).chmod(0o755)
    fuzz("clusterpro/*.sh (calls)", call, lambda drawn: check(tmp_path, *drawn), number=CALLS, at_once=1, size=400)
