"""The Python client: parts in, events or a whole answer out; resumes a broken stream by itself.

`AsyncClient` is the client; `Client` is the same for code without an event loop. Imports no model library.
"""

from __future__ import annotations

from anygpt.client_async import AsyncClient
from anygpt.client_message import Link, Media, Options, Piece, audio, image, speech, video
from anygpt.client_plain import Client

__all__ = [
    "AsyncClient", "Client", "Link", "Media", "Options", "Piece", "audio", "image", "speech", "video",
]  # fmt: skip
