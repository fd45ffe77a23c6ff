"""Time: what waits, repeats and stops. It owns no rule about health; those live in the database.

schedule   which service is due, and when
prober     runs a probe and makes a check of its outcome
recorder   batches checks into the database, and keeps them while it is away
monitor    the three together, for one round or until it is told to stop
"""
