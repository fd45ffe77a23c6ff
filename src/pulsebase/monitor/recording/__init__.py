"""Brings checks into the database, and keeps them while it is away.

recorder      sends in batches, oldest first, and keeps what is not acknowledged in time
waiting       what is in memory only
spool         what is kept, behind one thread
spool_store   in which order files and memory take and give
spool_file    one file: bounded, crash-safe
spool_folder  whose each file is, and what dead processes left
"""
