"""Real Pacemaker clusters of two or three nodes on one machine, with a power controller, cables that can be cut and disks that are shared.

    drill.py          a cluster that is used, watched and hurt: what tests, the demo, `make long` and `make bench` hold in their hands
    nodes.py          nodes, network, power, shared disks, sites; what a drill asks of a cluster, whichever it is
    cluster.py        the Pacemaker cluster on them; what it believes of itself
    node.py           one computer: namespaces, local disk, cable, power         init.py, boot   what runs in it
    network.py        the bridge and the cables
    power.py          the power controller, and how hardware fails               fence_lab       the fence agent that asks it
    image.py          what is installed on all nodes: agent, simulator, corosync.conf ...
    configuration.py  the files of docs/pacemaker as the lab needs them          standard-group  the start script to compare with
    fencing.py        the loss of a node as drills see it: attempts, reasons
    observer.py       sees mounts, addresses and daemons on all nodes            timeline.py     tells it to people
    client.py         the user's side: asks every 10 ms, submits jobs            night_jobs.py   jobs that testify
    room.py           a cluster that outlives the command (`make cluster-up`)    untouched.py    what it means that a site was left alone

The nodes do without Pacemaker, too: tests/clusterpro puts something else on them.

All of it lives in a room of its own: a throwaway node made by tests/lab/run_in_node.py. When that ends, however it ends, all is gone.
"""
