"""HTTP transfers by libcurl: thousands a second, within bounds, each by a new connection.

driver     performs requests on the running event loop
request    what is asked and what comes back
transfers  libcurl's multi interface, driven by its sockets
handle     one request as options of libcurl, and its answer
watched    the sockets of libcurl, watched without asyncio's cost for each
faults     libcurl's errors as our kinds, and our own lack told from a server's trouble
unpacking  bodies that came packed, undone within our own bounds
helper     a second process for a busy monitor
child      what runs in it
"""
