"""Time: what waits, repeats and stops. It owns no rule about health; those live in the database.

monitor        all of this together, for one round or until it is told to stop
turns          the loop: begins each turn when it is due, and hands over what was seen
schedule       which service is due, and when
concurrency    how many looks at once, in all and at one host
prober         runs a probe and makes a check of its outcome
connectivity   whether a failure is the service's, or that of our own network
standstill     when this process itself stood still
recorder       batches checks into the database, and keeps them while it is away
spool          what is kept on disk meanwhile
sharing        whose each service is, among several monitors
reports        what jobs have reported, for heartbeats
condition      whether all of this works
dead_man       tells somebody outside that it does
reload         takes over a changed configuration
configuration  the file that says what is watched
"""
