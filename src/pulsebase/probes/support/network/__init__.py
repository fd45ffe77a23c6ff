"""The way to a host: for kinds that speak over a connection of their own.

connecting    keys, the deadline over all of it, phases, and the connection itself
name_lookup   names to addresses, for thousands at once
name_servers  questions to name servers
wire          bytes over a connection, in the clear or in TLS
start_tls     from the one to the other
tls_contexts  whom a probe trusts, and as whom it comes
certificates  what a certificate says, and why it does not hold
"""
