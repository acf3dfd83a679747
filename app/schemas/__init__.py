"""Models of requests and answers. Clients read answers with them too: what only the service makes of them, of records
of the engine, is imported where it does so.
"""
