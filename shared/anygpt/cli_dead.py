"""Commands for dead letters: messages that a stage could not handle."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import typer

from anygpt.cli_media import GATEWAY, Address, Tenant, credentials

dead = typer.Typer(name="dead", help="Dead letters: messages that a stage could not handle.")
LetterId = Annotated[str, typer.Argument(help="Id that `anygpt dead list` tells.")]


@dead.command("list")
def list_letters(
    stage: Annotated[str, typer.Option(help="Of this stage only.")] = "",
    address: Address = GATEWAY,
    tenant: Tenant = "default",
) -> None:
    """Tell what lies there, oldest first: id, time, stage, request, reason."""
    for letter in _ask("ListDeadLetters", address, tenant, stage=stage).letters:
        time = letter.failed_at.ToDatetime().isoformat(timespec="seconds")
        failure = letter.failure
        print(
            f"{letter.letter_id} {time} {letter.stage} {letter.request_id} {failure.reason} {failure.message}"
        )


@dead.command()
def show(letter_id: LetterId, address: Address = GATEWAY, tenant: Tenant = "default") -> None:
    """Print one letter whole, as JSON."""
    from google.protobuf.json_format import MessageToJson

    print(MessageToJson(_ask("GetDeadLetter", address, tenant, letter_id=letter_id).letter))


@dead.command()
def replay(letter_id: LetterId, address: Address = GATEWAY, tenant: Tenant = "default") -> None:
    """Make the letter's request again, and remove the letter; prints the id of the new request."""
    print(_ask("ReplayDeadLetter", address, tenant, letter_id=letter_id).request_id)


@dead.command()
def purge(
    letter_id: Annotated[str, typer.Argument(help="Id of one letter.")] = "",
    stage: Annotated[str, typer.Option(help="All letters of this stage.")] = "",
    address: Address = GATEWAY,
    tenant: Tenant = "default",
) -> None:
    """Remove one letter, or all of a stage."""
    which = {"letter_id": letter_id} if letter_id else {"stage": stage}
    print(f"purged {_ask('PurgeDeadLetters', address, tenant, **which).purged}")


def _ask(rpc: str, address: str, tenant: str, **fields: str) -> Any:
    return asyncio.run(_asked(rpc, address, tenant, fields))


async def _asked(rpc: str, address: str, tenant: str, fields: dict[str, str]) -> Any:
    import grpc

    from anygpt.credentials import open_channel
    from anygpt.errors import from_rpc_error
    from anygpt.identity import TENANT_METADATA
    from anygpt.v1 import dead_letter_service_pb2, dead_letter_service_pb2_grpc

    own = credentials()
    async with open_channel(address, own, []) as channel:
        stub = dead_letter_service_pb2_grpc.DeadLetterServiceStub(channel)
        request = getattr(dead_letter_service_pb2, f"{rpc}Request")(**fields)
        metadata = ((TENANT_METADATA, tenant), *own.metadata())
        try:
            return await getattr(stub, rpc)(request, metadata=metadata)
        except grpc.aio.AioRpcError as error:
            raise from_rpc_error(error) from None
