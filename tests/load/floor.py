"""Answers everyone the same after reading the body: the least that a FastAPI service does for an image.

    .venv/bin/python -m uvicorn --factory tests.load.floor:create_app

`tests.load.overhead` compares the service with it.
"""

from fastapi import FastAPI, Request, Response

ANSWER = b'{"predictions":[]}'


def create_app() -> FastAPI:
    """Return the app that looks at no image."""
    app = FastAPI()

    @app.post("/detect")
    async def detect(request: Request) -> Response:
        await request.body()
        return Response(ANSWER, media_type="application/json")

    return app
