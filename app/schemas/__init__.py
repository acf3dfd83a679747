"""Pydantic models of requests and responses.

The client reads responses with them too, so engine modules that only the service needs are imported inside methods.
"""
