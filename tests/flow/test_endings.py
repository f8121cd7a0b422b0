"""How requests end that do not finish: cancel, deadline, failure, a client that leaves; and what may be repeated."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from anygpt.answer import Event
from anygpt.client import AsyncClient, Media, Options, Piece
from anygpt.errors import AnyGPTError, Conflict, DeadlineExpired, NotFound, OutOfRange
from anygpt.identity import new_request_id
from tests.flow.media import HANG_WIDTH, REFUSE_WIDTH, picture
from tests.flow.test_answers import events_of

PHASES: dict[str, tuple[list[Piece], Options]] = {
    "encoding": ([Media(picture(HANG_WIDTH), "image"), "what is it"], Options()),
    "generating": (["hang"], Options()),
    "decoding": (["speech"], Options(voice="mute")),
}


async def begin(client: AsyncClient, phase: str) -> tuple[str, list[Event], asyncio.Task[None]]:
    """A request that hangs in a phase: its id, what comes of it, and the task that reads it."""
    pieces, options = PHASES[phase]
    events: list[Event] = []
    started = asyncio.Event()

    async def read() -> None:
        async for event in client.events(*pieces, options=options):
            events.append(event)
            started.set()

    task = asyncio.create_task(read())
    await asyncio.wait_for(started.wait(), 10)
    await asyncio.sleep(0.3)
    return events[0].request_id, events, task


@pytest.mark.parametrize("phase", PHASES)
async def test_a_cancel_ends_the_request_in_any_phase(client: AsyncClient, phase: str) -> None:
    request_id, events, task = await begin(client, phase)
    assert await client.cancel(request_id)
    await asyncio.wait_for(task, 5)
    assert events[-1].cancelled.reason == "CLIENT_ASKED"
    assert events[-1].cancelled.HasField("usage")
    assert not await client.cancel(request_id)


@pytest.mark.parametrize("phase", PHASES)
async def test_a_deadline_ends_the_request_in_any_phase(client: AsyncClient, phase: str) -> None:
    pieces, options = PHASES[phase]
    request_id, timeout_s = "", 1.0
    while not request_id:
        timed, timeout_s = Options(voice=options.voice, timeout_s=timeout_s), 2 * timeout_s
        with contextlib.suppress(DeadlineExpired):
            async for event in client.events(*pieces, options=timed):
                request_id = event.request_id
    last = await _last(client, request_id)
    assert last.expired.reason == "DEADLINE"
    assert last.expired.HasField("usage")


async def test_work_goes_on_after_a_cancel(client: AsyncClient) -> None:
    for phase in PHASES:
        request_id, _, task = await begin(client, phase)
        await client.cancel(request_id)
        await asyncio.wait_for(task, 5)
    assert (await client.answer("image speech")).media("image")


async def test_an_encoder_that_refuses_ends_the_request_with_its_reason(client: AsyncClient) -> None:
    with pytest.raises(AnyGPTError) as caught:
        await client.answer(Media(picture(REFUSE_WIDTH), "image"), "what is it")
    assert (caught.value.reason, caught.value.code) == ("REFUSED", 3)


async def test_a_generator_that_crashes_fails_its_own_request_only(client: AsyncClient) -> None:
    other = asyncio.create_task(client.answer("slow slow slow image"))
    with pytest.raises(AnyGPTError) as caught:
        await client.answer("crash")
    assert caught.value.reason == "INTERNAL"
    assert (await other).media("image")


async def test_a_decoder_that_fails_loses_its_span_and_no_other(client: AsyncClient) -> None:
    answer = await client.answer("speech image", options=Options(voice="amy"))
    spans = {span.modality: span for span in answer.spans.values()}
    assert spans["speech"].failure is not None
    assert spans["speech"].failure.reason == "REFUSED"
    assert spans["image"].media is not None


async def test_a_stream_can_be_resumed_after_any_event(client: AsyncClient) -> None:
    events = await events_of(client, "hello image speech")
    for after in (0, 1, len(events) // 2, len(events) - 1):
        again = [event async for event in client.resume(events[0].request_id, after)]
        assert again == events[after:]


async def test_a_stream_can_not_be_resumed_beyond_its_end_or_beyond_what_is_kept(client: AsyncClient) -> None:
    events = await events_of(client, "hello")
    with pytest.raises(OutOfRange):
        [event async for event in client.resume(events[0].request_id, len(events) + 1)]
    old = f"{0x18_0000_0000:012x}{new_request_id()[12:]}"
    with pytest.raises(OutOfRange):
        [event async for event in client.resume(old, 0)]
    with pytest.raises(NotFound):
        [event async for event in client.resume(new_request_id(), 0)]


async def test_another_tenant_cannot_resume_or_cancel(client: AsyncClient, address: str) -> None:
    events = await events_of(client, "hello")
    async with AsyncClient(address, "stranger") as stranger:
        with pytest.raises(NotFound):
            [event async for event in stranger.resume(events[0].request_id, 0)]
        with pytest.raises(NotFound):
            await stranger.cancel(events[0].request_id)


async def test_a_client_that_leaves_without_grace_cancels_its_request(client: AsyncClient) -> None:
    request = await client.request("hang", options=Options())
    request.grace.FromMilliseconds(0)
    request_id = ""
    stream = client.stream(request)
    async for event in stream:
        request_id = event.request_id
        break
    await stream.aclose()  # type: ignore[attr-defined]
    assert (await _last(client, request_id)).cancelled.reason == "CLIENT_GONE"


async def test_a_client_that_resumes_and_leaves_again_has_the_grace_time_that_it_asked_for(
    client: AsyncClient,
) -> None:
    request = await client.request("hang", options=Options())
    request.grace.FromSeconds(2)
    stream = client.stream(request)
    request_id = (await anext(stream)).request_id
    await stream.aclose()  # type: ignore[attr-defined]
    again = client.resume(request_id, 0)
    await anext(again)
    await asyncio.sleep(3)
    assert await client.cancel(request_id) is True, "the first leave ended it although the client came back"


async def test_a_client_that_leaves_a_resumed_stream_is_gone_after_its_own_grace_time(
    client: AsyncClient,
) -> None:
    request = await client.request("hang", options=Options())
    request.grace.FromMilliseconds(500)
    stream = client.stream(request)
    request_id = (await anext(stream)).request_id
    again = client.resume(request_id, 0)
    await anext(again)
    await stream.aclose()  # type: ignore[attr-defined]
    await again.aclose()  # type: ignore[attr-defined]
    async with asyncio.timeout(10):
        while not (await client.inspect(request_id)).ended:
            pass
    assert (await _last(client, request_id)).cancelled.reason == "CLIENT_GONE"


async def test_a_second_follower_that_leaves_does_not_end_what_the_first_still_reads(
    client: AsyncClient,
) -> None:
    request = await client.request("hang", options=Options())
    request.grace.FromMilliseconds(100)
    stream = client.stream(request)
    request_id = (await anext(stream)).request_id
    again = client.resume(request_id, 0)
    await anext(again)
    await again.aclose()  # type: ignore[attr-defined]
    await asyncio.sleep(1)
    assert not (await client.inspect(request_id)).ended
    await stream.aclose()  # type: ignore[attr-defined]
    async with asyncio.timeout(10):
        while not (await client.inspect(request_id)).ended:
            pass
    assert (await _last(client, request_id)).cancelled.reason == "CLIENT_GONE"


async def test_a_client_that_goes_away_at_any_moment_leaves_no_request_and_no_turn_behind(
    client: AsyncClient,
) -> None:
    options = Options(conversation_id=await client.new_conversation())
    request = await client.request("hang", options=options)
    request.grace.FromMilliseconds(0)
    for wait_s in (0.0, 0.001, 0.002, 0.004, 0.008, 0.016, 0.032, 0.064):
        stream = client.stream(request)
        reading = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(wait_s)
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await stream.aclose()  # type: ignore[attr-defined]
        async with asyncio.timeout(20):
            while not await _is_free(client, options):
                await asyncio.sleep(0.1)


async def _is_free(client: AsyncClient, options: Options) -> bool:
    """Whether the conversation's next turn can be taken."""
    try:
        await client.answer("hello", options=options)
    except Conflict:
        return False
    return True


async def test_an_idempotency_key_gives_the_same_request(client: AsyncClient) -> None:
    key = f"key-{id(client)}"
    first = await client.answer("image", options=Options(idempotency_key=key))
    again = await client.answer("image", options=Options(idempotency_key=key))
    assert first.request_id == again.request_id
    with pytest.raises(Conflict) as caught:
        await client.answer("another body", options=Options(idempotency_key=key))
    assert caught.value.reason == "KEY_REUSED"


async def test_two_requests_at_once_in_a_conversation_are_one_too_many(client: AsyncClient) -> None:
    options = Options(conversation_id=await client.new_conversation())
    first = asyncio.create_task(client.answer("slow slow slow slow", options=options))
    await asyncio.sleep(0.1)
    with pytest.raises(Conflict) as caught:
        await client.answer("me too", options=options)
    assert caught.value.reason == "TURN_UNDER_WAY"
    await first
    await client.answer("now me", options=options)


async def _last(client: AsyncClient, request_id: str) -> Event:
    async with asyncio.timeout(10):
        events = [event async for event in client.resume(request_id, 0)]
    return events[-1]
