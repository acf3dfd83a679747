"""The dashboard: a page of plain files that asks the API for everything. Nothing of it runs in the service."""
