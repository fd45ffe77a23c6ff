"""Sends what channels are owed, and has everything evaluated that nobody has evaluated yet.

dispatcher  the loop beside the turns of `pulsebase run`
once        one round of it, for `pulsebase deliver`
outgoing    claims messages, no more than can be sent at once, and sends each in a task of its own
sending     one message: sent, and its report stored, while it is ours
slots       how many may be under way
chores      what is enough once an hour
telling     what people read of it in the log
"""
