from __future__ import annotations

from anygpt.main import Service, run
from services.video_encoder.settings import Settings
from services.video_encoder.stage import build

SERVICE = Service("video_encoder", Settings, build)

if __name__ == "__main__":
    run(SERVICE)
