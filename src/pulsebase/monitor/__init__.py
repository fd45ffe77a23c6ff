"""Time: what waits, repeats and stops. It owns no rule about health; those live in the database.

monitor        all of this together, for one round or until it is told to stop
configuration  the file that says what is watched
looking        when each service is looked at, how many at once, and what was seen
recording      brings checks into the database, and keeps them on disk while it is away
sharing        whose each service is, among several monitors
connectivity   whether a failure is the service's, or that of our own network
reports        what jobs have reported, for heartbeats
reachability   since when the database answers
sighting       what people are shown of a service
condition      whether all of this works
dead_man       tells somebody outside that it does
reload         takes over a changed configuration
background     what goes on beside the turns
clocks         the clock that paces, which nobody can set
rarely         the same trouble told once a minute
"""
