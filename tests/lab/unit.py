"""JobCenter's systemd unit as its installer leaves it, and a systemctl for where there is no systemd."""
from __future__ import annotations

import pathlib

UNIT = pathlib.Path("/usr/lib/systemd/system/jobcentersv.service")
TEXT = "[Unit]\nDescription=SIMULATOR of JobCenter\n[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"
SYSTEMCTL = pathlib.Path("/usr/sbin/systemctl")  # found before the real one, /usr/bin/systemctl
CALLS, ANSWER = pathlib.Path("/run/systemctl-calls"), pathlib.Path("/run/systemctl-answer")  # what was asked of it; its exit code, if not 0
FAKE = """#!/bin/sh
# A strict FAKE of systemctl: what only looks at files is the real one's, a restart is noted.
[ -z "${NQS_SITE+set}" ] || exit 96
case "$*" in
"is-enabled jobcentersv.service") exec /usr/bin/systemctl "$@" ;;
"restart jobcentersv") echo "$*" >>/run/systemctl-calls; [ ! -e /run/systemctl-answer ] || exit "$(cat /run/systemctl-answer)" ;;
*) echo "FAKE systemctl: not known: $*" >>/run/systemctl-calls; exit 97 ;;
esac
"""
