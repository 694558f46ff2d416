"""The verbs of `cjc-agent` around a failover, one a module: `SUMMARY`, `options(parser)`, and `run(options)`, which returns the exit code."""
