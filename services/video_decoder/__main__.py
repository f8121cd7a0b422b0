from __future__ import annotations

from anygpt.main import Service, run
from services.video_decoder.settings import Settings
from services.video_decoder.stage import build

SERVICE = Service("video_decoder", Settings, build)

if __name__ == "__main__":
    run(SERVICE)
