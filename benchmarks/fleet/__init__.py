"""A simulated fleet: devices made of the real protocol code, thousands per process.

`devices` runs one process's share, `mqtt_client` is its connection, `lies` what a device that can't be
trusted sends, `pools` the processes and machines, `experiment` a broker, a hub and the check of a whole run.
"""
