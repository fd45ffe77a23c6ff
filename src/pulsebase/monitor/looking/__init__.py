"""When each service is looked at, how many at once, and what was seen.

turns        the loop: begins each turn when it is due, and hands over what was seen
schedule     which service is due, and when
concurrency  how many looks at once, in all and at one host
prober       runs a probe and makes a check of its outcome
standstill   when this process itself stood still
"""
