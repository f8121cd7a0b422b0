"""The gateway as a process of its own."""

from anygpt.main import Service, run
from services.gateway.app import build
from services.gateway.settings import Settings

SERVICE = Service("gateway", Settings, build)

if __name__ == "__main__":
    run(SERVICE)
