"""What kinds of probe are built from; every file one folder up is a kind.

For every kind:

outcome    what a probe is, what it is asked and what it answers with
fields     how a kind refuses keys that could only fail at probe time
latency    the keys `degraded_above` and `down_above`, and how they judge
faults     errors of sockets and libraries as one of a few stable kinds
tools      what probes share while a monitor runs
registry   the kinds by name
cleaning   details that PostgreSQL can store
redaction  details without secrets
patterns   regular expressions that no text can keep busy
expected_value  what one value must be

For several:

network    the way to a host and a port, bytes and TLS over it, certificates, name servers
curl       HTTP transfers

For one:

http       what an answer must be
ssh        the exchange of keys
libpq      a connection to PostgreSQL that can be dropped at any moment
redis_connection, websocket_session  the same for Redis and for WebSockets
plugin_process, perfdata  programs of others, ended in time, and what they measured
callables  functions of others, whatever they do
reports, due  what jobs said of themselves, and when the next report is due
"""
