"""What kinds of channel are built from; every file one folder up is a kind.

For every kind:

message    what is told
outcome    what a notifier is, and how it says that a message did not arrive
fields     how a kind refuses keys that could only fail when something is to be told
threads    calls that may hang, beside the event loop
redaction  what may be shown of a channel
registry   the kinds by the scheme of a URL

What a message says:

texts      the keys `title`, `body` and `link`, and the texts that come of them
templates  Jinja, in a sandbox and within bounds
wording    what is said where no template is given
styles     plain text, Markdown and HTML
facts      what can be said of one notice
cleaning   texts of others that cannot break a line, a header or a page
links      where a message leads to

For the webhook:

payload    the body, and its schema
signature  who sent it, and when
transfer   one POST, within bounds, to addresses that are allowed
addresses  which addresses are anybody's
retry_after  when to come back
"""
