"""AdminService: what operators do that users do not."""

from __future__ import annotations

from typing import Any

from anygpt.errors import NotFound
from anygpt.grpc_door import call_of
from anygpt.stage import now_ms
from anygpt.topology import SEGMENT_MS, TOPICS
from anygpt.v1 import admin_service_pb2, admin_service_pb2_grpc
from services.gateway.erasure import Erasure
from services.gateway.settings import Settings

RETENTION_MS = SEGMENT_MS + max(topic.retention_ms for topic in TOPICS.values() if not topic.is_compacted)


class AdminServicer(admin_service_pb2_grpc.AdminServiceServicer):
    """Erases tenants."""

    def __init__(self, settings: Settings, erasure: Erasure) -> None:
        self._settings = settings
        self._erasure = erasure

    async def DeleteTenant(
        self, request: admin_service_pb2.DeleteTenantRequest, context: Any
    ) -> admin_service_pb2.DeleteTenantResponse:
        """See AdminService."""
        tenant = call_of(context, self._settings.limits.deadline_ms).tenant
        if request.tenant != tenant:
            raise NotFound("the call is for another tenant", field="tenant")
        erased = await self._erasure.tenant(tenant)
        response = admin_service_pb2.DeleteTenantResponse(
            objects=erased.objects, cancelled_requests=erased.requests, dead_letters=erased.dead_letters
        )
        response.gone_by.FromMilliseconds(now_ms() + RETENTION_MS)
        return response
