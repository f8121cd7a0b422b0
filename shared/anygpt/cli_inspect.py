"""The command that tells the story of one request."""

from __future__ import annotations

import typer

from anygpt.cli_media import GATEWAY, Address, Tenant, credentials

ROW = "{:>8} {:>8}  {:16} {:>4}  {:7} {:>7}  {:14} {}"


def inspect(
    request_id: str = typer.Argument(help="As `started` told it; errors and logs have it too."),
    address: Address = GATEWAY,
    tenant: Tenant = "default",
) -> None:
    """Tell what happened to a request, stage by stage, with times; nothing of its content."""
    from anygpt.client import Client

    with Client(address, tenant, credentials()) as client:
        story = client.inspect(request_id)
    began = story.entries[0].first_at.ToMilliseconds()
    print(ROW.format("ms", "lasted", "stage", "span", "attempt", "records", "what", "").rstrip())
    for entry in story.entries:
        first, last = entry.first_at.ToMilliseconds(), entry.last_at.ToMilliseconds()
        row = ROW.format(
            f"{first - began:+d}", last - first, entry.stage, entry.span_index, entry.attempt[-6:],
            entry.records, entry.what, entry.detail,
        )  # fmt: skip
        print(row.rstrip())
    print(f"{'ended' if story.ended else 'under way'}, trace {story.trace_id or 'none'}")
