from __future__ import annotations

from anygpt.main import Service, run
from services.image_encoder.settings import Settings
from services.image_encoder.stage import build

SERVICE = Service("image_encoder", Settings, build)

if __name__ == "__main__":
    run(SERVICE)
