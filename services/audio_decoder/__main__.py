from __future__ import annotations

from anygpt.main import Service, run
from services.audio_decoder.settings import Settings
from services.audio_decoder.stage import build

SERVICE = Service("audio_decoder", Settings, build)

if __name__ == "__main__":
    run(SERVICE)
