from __future__ import annotations

from anygpt.main import Service, run
from services.speech_encoder.settings import Settings
from services.speech_encoder.stage import build

SERVICE = Service("speech_encoder", Settings, build)

if __name__ == "__main__":
    run(SERVICE)
