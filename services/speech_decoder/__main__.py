from __future__ import annotations

from anygpt.main import Service, run
from services.speech_decoder.settings import Settings
from services.speech_decoder.stage import build

SERVICE = Service("speech_decoder", Settings, build)

if __name__ == "__main__":
    run(SERVICE)
