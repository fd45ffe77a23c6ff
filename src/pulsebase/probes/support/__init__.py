"""What kinds of probe are built from; every file one folder up is a kind.

outcome    what a probe is, what it is asked and what it answers with
fields     how a kind refuses keys that could only fail at probe time
latency    the keys `degraded_above` and `down_above`, and how they judge
faults     errors of sockets and libraries as one of a few stable kinds
tools      what probes share while a monitor runs
reports    what jobs said of themselves, where the monitor has a database
due        when a job's next report is due
plugin_process  programs of others, ended in time
perfdata   what such programs measured
callables  functions of others, whatever they do
network    the way to a host and a port, and the deadline over all of it
name_lookup    names to addresses, for thousands at once
wire       bytes over a connection, in the clear or in TLS
tls_contexts   whom a probe trusts, and as whom it comes
certificates   what a certificate says, and why it does not hold
start_tls  from the clear to TLS
name_servers   questions to name servers
ssh_packets, ssh_key_exchange   SSH up to the proof of a host's key
patterns   regular expressions that no text can keep busy
json_path  paths into documents
curl       HTTP transfers, driven by asyncio: `curl_request` what is asked and answered,
           `curl_transfers` and `curl_handle` libcurl, `curl_faults` its errors, `watched` its
           sockets, `curl_helper` and `curl_child` a process to help, `unpacking` bodies in bounds
http_expectation, http_details  what an answer must be, and what is kept of it
expected_value  what one value must be
libpq      a connection to PostgreSQL that can be dropped at any moment
redis_connection, websocket_session   the same for Redis and for WebSockets
registry   the kinds by name
cleaning   details that PostgreSQL can store
redaction  details without secrets
"""
