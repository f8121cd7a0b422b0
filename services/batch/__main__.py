"""The batch worker as a process of its own."""

from anygpt.main import Service, run
from services.batch.app import build
from services.batch.settings import Settings

SERVICE = Service("batch", Settings, build)

if __name__ == "__main__":
    run(SERVICE)
