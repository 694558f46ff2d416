"""cjc-agent: the resource agent for NEC WebSAM JobCenter's CJC Option (Cluster Job Control).

Floors, from the top: frontends -> actions -> layers -> settings, tools. Imports only ever point down.
"""
VERSION = "0.1.0"
