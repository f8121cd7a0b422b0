"""The trainer as a process of its own."""

from anygpt.main import Service, run
from services.trainer.app import build
from services.trainer.settings import Settings

SERVICE = Service("trainer", Settings, build)

if __name__ == "__main__":
    run(SERVICE)
