#!/bin/sh
# start.sh of a CLUSTERPRO exec resource: brings a cluster site of JobCenter up. Exit 0: it runs; 1: it does not, see the alert log.
# It only becomes `cjc-agent clusterpro start`.
# License: Apache-2.0
CJC_AGENT_CONF=${CJC_AGENT_CONF:-}	# the site's configuration file; written by `cjc-agent render clusterpro`
AGENT=''	# written by `make install`
export CJC_AGENT_CONF
unset -f '[' printf || :
if [ -z "$AGENT" ]; then	# in a checkout
	case $0 in
	*/*) AGENT=${0%/*}/../packaging/cjc-agent ;;
	*) AGENT=../packaging/cjc-agent ;;
	esac
fi
if [ ! -x "$AGENT" ]; then
	printf '%s\n' "cjc-agent start: $AGENT is not on this server: make install it here, too" >&2
	exit 1
fi
exec "$AGENT" clusterpro start
