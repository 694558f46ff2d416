"""Real Pacemaker clusters of two or three nodes on one machine, with a power controller, cables that can be cut and disks that are shared.

    cluster.py   the whole: nodes, network, power, shared disks, sites; what tests and the demo hold in their hands
    node.py      one computer: namespaces, local disk, cable, power          init.py, boot   what runs in it
    power.py     the power controller, and the faults of the physical world  fence_lab       the fence agent that asks it
    image.py     what is installed on all nodes: agent, simulator, corosync.conf
    configuration.py  the files of docs/pacemaker as the lab needs them
    observer.py  sees mounts, addresses and daemons on all nodes             timeline.py     tells it to people
    client.py    the user's side: asks every 10 ms, submits jobs             night_jobs.py   jobs that testify

All of it lives in a room of its own: a throwaway node made by tests/lab/run_in_node.py. When that ends, however it ends, all is gone.
"""
