"""A FastAPI application that does nothing, for comparison."""

from fastapi import FastAPI

app = FastAPI()


@app.get("/")
async def nothing() -> dict[str, bool]:
    return {"done": True}
