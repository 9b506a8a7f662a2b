"""The HTTP server: turns requests into calls, performs faults on real connections, counts and checks what passed."""

import asyncio
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable
from http import HTTPStatus
from http.client import responses
from urllib.parse import parse_qsl

from aiohttp import web

from simulator.endpoints import changes, company, control, directory, reading, tokens, uploads
from simulator.errors import Refusal, unauthorized
from simulator.exchange import Answer, Call, Endpoint, authorise, bearer, refused
from simulator.faults import BEFORE, Fault, Rule, Strike
from simulator.outage import SILENCE, UNAVAILABLE
from simulator.simulation import Simulation
from simulator.validation import Validator, violations_endpoint

SUBJECTS = (tokens, uploads, changes, reading, company, directory, control)
CONTROL_PREFIX = "/_simulator/"
CONTROL_BYTES_LIMIT = 16_000_000  # of its own, so that a knob cannot lock its own way back
LYING_CODES = {500: "internal_error_code", 502: "bad_gateway", 503: "service_unavailable", 504: "gateway_timeout"}
RESET = struct.pack("ii", 1, 0)  # SO_LINGER of zero seconds: closing sends RST instead of FIN
HEADER_BYTES_LIMIT = 32_768


class Server:
    """Serves one simulation over aiohttp."""

    def __init__(self, simulation: Simulation, validator: Validator | None = None) -> None:
        self._simulation = simulation
        self._validator = validator

    def application(self) -> web.Application:
        """Build the application with all routes; fixed paths win over paths with an id."""
        application = web.Application(client_max_size=0)
        endpoints = [endpoint for subject in SUBJECTS for endpoint in subject.ENDPOINTS]
        endpoints.append(violations_endpoint(self._validator))
        for endpoint in sorted(endpoints, key=lambda one: "{" in one.path):
            application.router.add_route(endpoint.method, endpoint.path, self._handler(endpoint))
        application.router.add_route("*", "/{rest:.*}", self._unknown)
        return application

    def _handler(self, endpoint: Endpoint) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
        async def handle(request: web.Request) -> web.StreamResponse:
            if endpoint.path.startswith(CONTROL_PREFIX):
                return await self._control(request, endpoint)
            refusal = await self._arrive(request, endpoint)
            if self._simulation.knobs.latency_ms:
                await asyncio.sleep(self._simulation.knobs.latency_ms / 1000)
            return await self._respond(request, endpoint, refusal)

        return handle

    async def _arrive(self, request: web.Request, endpoint: Endpoint) -> Refusal | None:
        """Count a request when its headers are in, before anything else; gives why it is not served, if it is not."""
        simulation, at = self._simulation, self._simulation.clock()
        company_id = bearer(simulation, request.headers.get("Authorization", ""), at)
        over = simulation.traffic.arrive(endpoint.lane, company_id, knobs=simulation.knobs, at=at)
        outage = simulation.outages.now(at)
        if outage is None:
            return over
        outage.arrive(endpoint.lane, at)
        if outage.kind == UNAVAILABLE:
            return Refusal(503, LYING_CODES[503], "Service Unavailable", retry_after=outage.retry_after)
        seconds = simulation.knobs.silence_seconds if outage.kind == SILENCE else 0
        await self._gone(request, endpoint, f"outage {outage.kind}", seconds)
        return None

    async def _control(self, request: web.Request, endpoint: Endpoint) -> web.Response:
        try:
            return _response(endpoint.handle(await self._call(request)))
        except Refusal as refusal:
            return _response(refused(refusal))

    async def _respond(self, request: web.Request, endpoint: Endpoint, refusal: Refusal | None) -> web.StreamResponse:
        try:
            # Who is refused is heard to the end all the same: a client still writing would see a reset instead.
            call = await self._call(request)
            if refusal is not None:
                raise refusal
        except Refusal as exc:
            return self._answered(endpoint, refused(exc))
        if self._validator is not None:
            self._validator.check_request(endpoint, call)
        return self._answered(endpoint, await self._exchange(request, endpoint, call))

    async def _exchange(self, request: web.Request, endpoint: Endpoint, call: Call) -> Answer:
        """Check, let faults strike, do the work. A refusal hides nothing and is answered as it is."""
        try:
            authorise(call, endpoint)
            if endpoint.prepare is not None:
                endpoint.prepare(call)
            strike = self._strike(endpoint, call)
            answer = await self._before(request, endpoint, call, strike.exchange)
            if answer is not None:
                return answer
            answer = _performed(endpoint, call, strike)
        except Refusal as refusal:
            return refused(refusal)
        if strike.fate is not None and answer.status in (HTTPStatus.CREATED, HTTPStatus.OK):
            self._note(endpoint, call, strike.fate)
        return await self._after(request, endpoint, call, strike.exchange, answer)

    def _answered(self, endpoint: Endpoint, answer: Answer) -> web.Response:
        if self._validator is not None:
            self._validator.check_answer(endpoint, answer)
        self._simulation.ledger.answered(endpoint.name, str(answer.status))
        return _response(answer)

    def _note(self, endpoint: Endpoint, call: Call, rule: Rule) -> None:
        reroute = endpoint.channel == "reroute"
        uuid = call.names["id"].lower() if reroute else call.uuid
        self._simulation.ledger.strike(rule.fault.value, uuid, prefix="reroute " if reroute else "")

    async def _unknown(self, request: web.Request) -> web.Response:
        """Answer 404 to a path that the simulator does not offer, and let the validator know."""
        if self._validator is not None:
            self._validator.note_unknown(request.method, request.path)
        self._simulation.ledger.answered("unknown", "404")
        return _response(refused(Refusal(404, "not_found", "No such endpoint")))

    async def _call(self, request: web.Request) -> Call:
        return Call(
            simulation=self._simulation,
            method=request.method,
            path=request.path,
            names=dict(request.match_info),
            query=parse_qsl(request.rel_url.raw_query_string, keep_blank_values=True),
            content_type=request.headers.get("Content-Type", ""),
            authorization=request.headers.get("Authorization", ""),
            body=await self._body(request),
            base_url=f"http://{request.host}",
            now=self._simulation.clock(),
        )

    async def _body(self, request: web.Request) -> bytes:
        control = request.path.startswith(CONTROL_PREFIX)
        limit = CONTROL_BYTES_LIMIT if control else self._simulation.knobs.request_bytes_limit
        too_large = Refusal(413, "invalid_parameters", f"Request is larger than {limit} bytes")
        if (request.content_length or 0) > limit:
            raise too_large
        if not request.body_exists:
            return b""
        chunks: list[bytes] = []
        size = 0
        async for chunk in request.content.iter_any():
            size += len(chunk)
            if size > limit:
                raise too_large
            chunks.append(chunk)
        return chunks[0] if len(chunks) == 1 else b"".join(chunks)

    def _strike(self, endpoint: Endpoint, call: Call) -> Strike:
        owner = call.token.client_id if call.token else (call.uuid or "")
        keys = {"upload": call.uuid, "token": owner}
        key = keys.get(endpoint.channel) or call.names.get("id") or owner
        strike = self._simulation.script.strike(on=endpoint.channel, key=key, company=owner, number=call.number)
        call.fate = strike.fate
        return strike

    async def _before(self, request: web.Request, endpoint: Endpoint, call: Call, rule: Rule | None) -> Answer | None:
        """Perform a fault that keeps the work from being done; None if the work goes on."""
        if rule is None or rule.fault not in BEFORE:
            return None
        self._note(endpoint, call, rule)
        if rule.fault is Fault.TOKEN_STORM:
            self._simulation.tokens.expire_all()
            raise unauthorized("Access token is missing, invalid or expired")
        if rule.fault in (Fault.RESET_BEFORE, Fault.SILENCE):
            await self._gone(request, endpoint, rule.fault.value, self._silence_seconds(rule))
        return _lie(rule)

    async def _after(
        self, request: web.Request, endpoint: Endpoint, call: Call, rule: Rule | None, answer: Answer
    ) -> Answer:
        """Perform a fault that spoils the answer to work that was done."""
        if rule is None:
            return answer
        self._note(endpoint, call, rule)
        if rule.fault is Fault.SLOW:
            await asyncio.sleep(rule.duration or 0)
            return answer
        if rule.fault in (Fault.ACCEPT_THEN_SILENCE, Fault.RESET_AFTER_ACCEPT):
            await self._gone(request, endpoint, rule.fault.value, self._silence_seconds(rule))
        return _lie(rule)

    def _silence_seconds(self, rule: Rule) -> float:
        if rule.fault not in (Fault.ACCEPT_THEN_SILENCE, Fault.SILENCE):
            return 0
        cap = self._simulation.knobs.silence_seconds
        return cap if rule.seconds is None else min(rule.seconds, cap)

    async def _gone(self, request: web.Request, endpoint: Endpoint, told: str, seconds: float) -> None:
        """Never answer: reset the connection now, or when nobody hung up for long. Ends by cancellation."""
        self._simulation.ledger.answered(endpoint.name, told)
        if seconds:
            await asyncio.sleep(seconds)
        _reset(request)
        await asyncio.Event().wait()  # the lost connection cancels this handler


def _performed(endpoint: Endpoint, call: Call, strike: Strike) -> Answer:
    """Do the work; a duplicate's refusal is an answer that a fault may spoil like any other."""
    try:
        return endpoint.handle(call)
    except Refusal as refusal:
        if call.uuid not in call.simulation.invoices or strike.exchange is None:
            raise
        return refused(refusal)


def _lie(rule: Rule) -> Answer:
    status = rule.answer
    code = LYING_CODES.get(status, "too_many_requests" if status == HTTPStatus.TOO_MANY_REQUESTS else "error")
    message = rule.message or responses.get(status, "Error")
    return refused(Refusal(status, rule.code or code, message, retry_after=rule.retry_after))


def _reset(request: web.Request) -> None:
    transport = request.transport
    if transport is None:
        return
    connection = transport.get_extra_info("socket")
    if connection is not None:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)
    transport.abort()


def _response(answer: Answer) -> web.Response:
    body = answer.encoded()
    content_type = answer.content_type if body else None
    return web.Response(status=answer.status, body=body, headers=answer.headers, content_type=content_type)


async def listen(application: web.Application, *, host: str, port: int) -> tuple[web.AppRunner, int]:
    """Start listening; tells the port that was taken, which matters for port 0."""
    runner = web.AppRunner(
        application,
        access_log=None,
        handle_signals=False,
        handler_cancellation=True,  # a client that hangs up ends the silence it was met with
        shutdown_timeout=0.5,
        max_field_size=HEADER_BYTES_LIMIT,
    )
    await runner.setup()
    site = web.TCPSite(runner, host, port, backlog=1024)
    await site.start()
    addresses: Iterable[tuple[object, ...]] = runner.addresses
    return runner, int(str(next(iter(addresses))[1]))
