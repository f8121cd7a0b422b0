"""Runs the token generator."""

from anygpt.main import Service, run
from services.llm.settings import LlmSettings
from services.llm.stage import build

SERVICE = Service("llm", LlmSettings, build, concurrency=64)
if __name__ == "__main__":
    run(SERVICE)
