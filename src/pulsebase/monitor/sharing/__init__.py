"""Whose each service is, among several monitors on one database.

sharing     beats, and knows our share
rendezvous  who wins a service: the same answer everywhere
footprints  which monitors of this machine died
"""
