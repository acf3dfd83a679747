"""A FastAPI application that does nothing, as a reference."""

from fastapi import FastAPI

app = FastAPI()


@app.get("/")
async def do_nothing() -> dict[str, bool]:
    """Answer without doing anything."""
    return {"done": True}
