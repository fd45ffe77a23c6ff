"""SSH up to the proof of a host's key, and no further.

key_exchange  what is said
packets       how it is packed
"""
