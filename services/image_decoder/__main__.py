from __future__ import annotations

from anygpt.main import Service, run
from services.image_decoder.settings import Settings
from services.image_decoder.stage import build

SERVICE = Service("image_decoder", Settings, build)

if __name__ == "__main__":
    run(SERVICE)
