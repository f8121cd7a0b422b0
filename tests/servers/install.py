"""Installs what the tests run against: Kafka by Maven, MinIO and Helm by Go, Redis by apt, each once.

A server or tool that is already on the PATH is used as it is. What is missing to build the others is
named at once, all of it, before anything is built.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers.settings import cache_folder, child_environment, is_root

KAFKA = "4.1.1"
SLF4J = "1.7.36"
MINIO = "v0.0.0-20260212201848-7aac2a2c5b7c"
HELM = "v3.22.0"

POM = f"""\
<project xmlns="http://maven.apache.org/POM/4.0.0">
  <modelVersion>4.0.0</modelVersion>
  <groupId>anygpt.tests</groupId><artifactId>kafka</artifactId><version>1</version><packaging>pom</packaging>
  <dependencies>
    <dependency>
      <groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId><version>{KAFKA}</version>
    </dependency>
    <dependency>
      <groupId>org.slf4j</groupId><artifactId>slf4j-simple</artifactId><version>{SLF4J}</version>
    </dependency>
  </dependencies>
</project>
"""


class ToolsMissing(RuntimeError):
    """Tools that the installation needs and this machine lacks, each with what to install."""


@dataclass(frozen=True)
class Tool:
    """A command that must be on the PATH, and the package that brings it."""

    command: str
    package: str


JAVA = Tool("java", "a Java 17 runtime (Debian: default-jre-headless)")
MAVEN = Tool("mvn", "Apache Maven (Debian: maven)")
GO = Tool("go", "Go 1.24 or later")
REDIS = Tool("redis-server", "Redis (Debian: redis-server)")


def java_binary() -> str:
    """The Java runtime."""
    return _on_path(JAVA)


def kafka_jars() -> Path:
    """The folder with Kafka's jars."""
    return _installed(cache_folder() / f"kafka-{KAFKA}")


def minio_binary() -> str:
    """The MinIO server."""
    return shutil.which("minio") or str(_installed(_built("minio", MINIO)))


def redis_binary() -> str:
    """The Redis server."""
    return _on_path(REDIS)


def helm_binary() -> str:
    """Helm 3."""
    return shutil.which("helm") or str(_installed(_built("helm", HELM)))


def install() -> None:
    """Installs every server that is missing; with all in place it does nothing and is instant.

    Raises ToolsMissing with the complete list, before the first build.
    """
    wanted = [(tools, step) for present, tools, step in _steps() if not present]
    needed = dict.fromkeys([JAVA, *(tool for tools, _ in wanted for tool in tools)])
    missing = [tool for tool in needed if not _available(tool)]
    if missing:
        raise ToolsMissing(
            "\n".join(f"{tool.command} is missing: install {tool.package}" for tool in missing)
        )
    for _, step in wanted:
        step()


def _steps() -> list[tuple[bool, tuple[Tool, ...], Callable[[], None]]]:
    return [
        (shutil.which("redis-server") is not None, (REDIS,), _install_redis),
        ((cache_folder() / f"kafka-{KAFKA}").exists(), (JAVA, MAVEN), _install_kafka),
        (_present("minio", MINIO), (GO,), lambda: _go_install("minio", MINIO, "github.com/minio/minio")),
        (_present("helm", HELM), (GO,), lambda: _go_install("helm", HELM, "helm.sh/helm/v3/cmd/helm")),
    ]


def _available(tool: Tool) -> bool:
    can_apt = tool is REDIS and is_root() and shutil.which("apt-get") is not None
    return can_apt or shutil.which(tool.command) is not None


def _install_redis() -> None:
    print("redis: installing the system package", flush=True)
    quiet = child_environment(DEBIAN_FRONTEND="noninteractive")
    subprocess.run(["apt-get", "update", "-qq"], check=True, env=quiet)
    subprocess.run(["apt-get", "install", "-y", "-qq", "redis-server"], check=True, env=quiet)


def _install_kafka() -> None:
    print(f"kafka {KAFKA}: copying its jars with Maven (about 20 s)", flush=True)
    with _staging() as staging:
        (staging / "pom.xml").write_text(POM)
        jars = staging / "jars"
        goal = ["dependency:copy-dependencies", f"-DoutputDirectory={jars}"]
        subprocess.run(["mvn", "-q", "-B", "-Dstyle.color=never", *goal], check=True, cwd=staging)
        _publish(jars, cache_folder() / f"kafka-{KAFKA}")


def _go_install(name: str, version: str, module: str) -> None:
    print(f"{name} {version}: building with Go (a few minutes, once)", flush=True)
    with _staging() as staging:
        environment = child_environment(GOBIN=str(staging), GOFLAGS="-trimpath -buildvcs=false")
        command = ["go", "install", "-ldflags", "-s -w", f"{module}@{version}"]
        subprocess.run(command, check=True, env=environment)
        _publish(staging / name, _built(name, version))


@contextmanager
def _staging() -> Iterator[Path]:
    """A scratch folder beside the cache, so that a finished build is published by one rename."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=cache_folder(), prefix="build-") as folder:
        yield Path(folder)


def _publish(source: Path, target: Path) -> None:
    if not target.exists():
        source.rename(target)


def _built(name: str, version: str) -> Path:
    return cache_folder() / f"{name}-{version}"


def _present(name: str, version: str) -> bool:
    return shutil.which(name) is not None or _built(name, version).exists()


def _on_path(tool: Tool) -> str:
    found = shutil.which(tool.command)
    if found is None:
        raise ToolsMissing(f"{tool.command} is missing: install {tool.package}")
    return found


def _installed(path: Path) -> Path:
    if not path.exists():
        raise ToolsMissing(f"{path.name} is not installed: run `python -m tests.servers install`")
    return path
