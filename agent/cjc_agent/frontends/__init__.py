"""Front ends: a protocol in, settings and an action; a result back, the protocol's answer."""
