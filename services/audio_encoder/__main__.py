from __future__ import annotations

from anygpt.main import Service, run
from services.audio_encoder.settings import Settings
from services.audio_encoder.stage import build

SERVICE = Service("audio_encoder", Settings, build)

if __name__ == "__main__":
    run(SERVICE)
