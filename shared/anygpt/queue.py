"""The work queue of long tasks: the only importer of Celery."""

from __future__ import annotations

from celery import Celery

from anygpt.settings import ServiceSettings

HARD_LIMIT_S = 24 * 3600


def broker_url(settings: ServiceSettings, broker: str) -> str:
    """The broker: as set, else the Redis that is the memory, else a file below the data folder."""
    if broker:
        return broker
    if settings.memory_url.startswith(("redis://", "rediss://")):
        return settings.memory_url
    return f"sqla+sqlite:///{settings.data_folder.absolute() / 'queue.sqlite'}"


def open_queue(url: str) -> Celery:
    """A queue whose tasks are taken one at a time and acknowledged when done, so that a lost worker loses nothing."""
    queue = Celery("anygpt", broker=url)
    queue.conf.update(
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_ignore_result=True,
        task_time_limit=HARD_LIMIT_S,
        worker_prefetch_multiplier=1,
        broker_connection_retry_on_startup=True,
        broker_transport_options={"visibility_timeout": HARD_LIMIT_S + 3600}
        if url.startswith("redis")
        else {},
        task_default_queue="anygpt",
        worker_hijack_root_logger=False,
    )
    return queue
