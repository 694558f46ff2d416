"""A SIMULATOR of CLUSTERPRO, strict, for tests only: it runs start.sh, stop.sh and genw.sh as the product is known to run them.

CLUSTERPRO is proprietary and cannot be had here. What is played is taken from public samples; what is not known from there is refused rather
than guessed. It runs on the nodes of tests/cluster, on which no Pacemaker runs.

    simulator.py      the cluster: distributes clp.conf and scripts, watches the servers, runs groups and monitors
    group.py          a failover group: its resources come up in order, go down in reverse, and what follows when one does not
    resources.py      disk, fip and exec on a node: the environment of the scripts, timeouts that kill
    monitor.py        genw: polling, reconfirmation, restart, failover, final action
    clpconf.py        clp.conf: which objects, paths and values there are
    fakes/            clplogcmd, clpcfset, clpcfadm.py, clpcfctrl: refuse whatever is not known      product.py   puts them on a node
    registration.py   what the administrator does: conf file, `cjc-agent render clusterpro`, its commands, clpcfctrl --push
"""
