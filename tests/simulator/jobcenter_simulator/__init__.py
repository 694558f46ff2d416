"""SIMULATOR of NEC WebSAM JobCenter with a cluster site, for tests and demonstrations.

It is not the product and shares nothing with it but command names and file places.
`cjcpw status` runs every few seconds, so modules import only what they need, and late.
"""
