"""A scripted stand-in for the providers of external models, over real HTTP, all dialects on one port.

Written from the providers' documented wire formats and proven with their own SDKs as clients, so that it can judge a
translation: a request that the provider would refuse is refused here, with that provider's status and error body.

In a test::

    with running_fake_provider() as fake:          # fake_provider.running
        fake.control(chunks=50, next=[{"kind": "status", "status": 429, "dialect": "anthropic"}, None])
        ...                                        # requests to fake.url, with the credentials of fake.keys
        fake.requests(), fake.counts(), fake.reset()

It says "You said: " and the last text of the user, with "[image]" for each image. It calls a tool when one is forced,
or when that text has "use the tool" in it ("use the tool twice" for two calls), gives JSON for a schema, and
ends as filtered content does for "trip the filter". What can be scripted: `control`; what can go wrong: `faults`.
"""
