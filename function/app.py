"""The WSGI application, which passes HTTP requests to the protocols' handlers and renders their responses."""

import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from flask import Flask, Response, current_app, g, jsonify, request
from prometheus_client import CollectorRegistry, generate_latest
from werkzeug.exceptions import ClientDisconnected, HTTPException, RequestEntityTooLarge

from function.classifier import Classifier
from function.config import HttpConfig
from function.images import ImageError
from function.metrics import PodMetrics
from function.protocols import (
    ROUTES,
    Handler,
    ProtocolContext,
    ProtocolRequest,
    ProtocolResponse,
    RefusedError,
    handler,
)
from function.types import Classification

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

    from function.observer import Served

# Key of a WSGI environment: the status and text with which the worker refused a request (function/worker.py).
REFUSAL = "function.refusal"


class PodError(Exception):
    """The pod failed, not the request; rendered as 500."""


def create_app(
    classifier: Classifier, metrics: PodMetrics, registry: CollectorRegistry, http: HttpConfig,
    served: "Callable[[Served], None] | None" = None,
) -> Flask:  # fmt: skip
    """Build the app around a loaded model, without opening files or reading the environment.

    served: is told about each request but those for metadata, metrics and health.
    """
    app = Flask(__name__, static_folder=None)
    # Werkzeug silently truncates a chunked body at this length; the extra byte shows that the body was too long.
    app.config["MAX_CONTENT_LENGTH"] = http.max_body_bytes + 1
    context = _context(classifier, metrics, http)
    model = classifier.model
    for method, rule, protocol, name in ROUTES:
        path = rule.format(model=model.name, version=model.version)
        view = _view(protocol, name, context)
        app.add_url_rule(path, f"{protocol}.{name} {path}", view, methods=[method])

    @app.get("/metrics")
    def exported() -> Response:
        return Response(generate_latest(registry), content_type="text/plain; version=0.0.4; charset=utf-8")

    _measure(app, metrics, http.pod_name)
    if served is not None:
        _observe(app, served)
    _render_errors(app, context)
    app.wsgi_app = _plain_paths(app.wsgi_app)  # type: ignore[method-assign, assignment]  # Flask documents this assignment
    return app


def _plain_paths(inner: "WSGIApplication") -> "WSGIApplication":
    """Serve /predict/ and //predict as /predict: clients append paths to base URLs that end with a slash."""

    def wrapped(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        path = environ["PATH_INFO"]
        if not path or path[-1] == "/" or "//" in path:
            environ["PATH_INFO"] = "/" + "/".join(part for part in path.split("/") if part)
        return inner(environ, start_response)

    return wrapped


@contextmanager
def _own_work(name: str) -> Iterator[None]:
    """Raise PodError for any exception that is not a refusal: what runs in the block reads no bytes of a client."""
    try:
        yield
    except RefusedError:
        raise
    except Exception as error:
        raise PodError(f"{name} failed: {error}") from error


def _context(classifier: Classifier, metrics: PodMetrics, http: HttpConfig) -> ProtocolContext:
    """Return what the protocols may use, bound to this pod's settings."""

    def classify(images: Sequence[bytes]) -> Sequence[Classification]:
        if len(images) > http.max_images:
            raise RefusedError(f"a request may have at most {http.max_images} images, got {len(images)}")
        results = []
        for index, image in enumerate(images, 1):
            with _own_work("classification"):
                try:
                    result = classifier.classify(image)
                except ImageError as error:
                    which = f"image {index} of {len(images)}: " if len(images) > 1 else ""
                    raise RefusedError(f"{which}{error}") from error
                metrics.observe(result, len(image))
            g.timings.append(result.timing)
            results.append(result)
        return results

    def fetch(link: str) -> bytes:
        from function import outbound  # noqa: PLC0415  a pod that serves only plain images needs no HTTP client

        return outbound.fetch(link, http.link_hosts, http.link_timeout_s, http.max_body_bytes)

    def deliver(headers: Mapping[str, str], body: bytes) -> bool:
        if not http.sink_url:
            return False
        from function import outbound  # noqa: PLC0415  as above

        with _own_work("delivery"):
            outbound.deliver(http.sink_url, headers, body, http.link_timeout_s)
        return True

    return ProtocolContext(
        model=classifier.model,
        classify=classify,
        fetch=fetch,
        deliver=deliver,
        extensions=dict(http.event_extensions),
        max_body_bytes=http.max_body_bytes,
        max_images=http.max_images,
    )


def _view(protocol: str, name: str, context: ProtocolContext) -> Callable[[], Response]:
    def view() -> Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = _body(context.max_body_bytes)
        if "content-encoding" in headers or "," in headers.get("transfer-encoding", ""):
            body = _decoded(body, headers, context.max_body_bytes)
        rendered = _answer(handler(protocol, name), ProtocolRequest(headers, body), context)
        response = Response(rendered.body, rendered.status, rendered.headers)
        if not rendered.body:
            del response.headers["Content-Type"]
        return response

    return view


def _answer(handle: Handler, received: ProtocolRequest, context: ProtocolContext) -> ProtocolResponse:
    """Call a handler. Raise RefusedError for every exception but PodError: all else that it does is to read a request.

    So no bytes of a client, however malformed, can be a 5xx. An exception that the handler has not translated into a
    refusal with rule and value is logged with its traceback.
    """
    try:
        return handle(received, context)
    except (RefusedError, PodError, MemoryError):
        raise
    except Exception as error:
        current_app.logger.warning("refused a request for an unexpected reason", exc_info=True)
        raise RefusedError(f"cannot read the request: {type(error).__name__}: {error}") from error


def _decoded(body: bytes, headers: Mapping[str, str], max_bytes: int) -> bytes:
    from function import codings  # noqa: PLC0415  plain bodies need none

    return codings.decoded(body, codings.codings(headers), max_bytes)


def _body(max_bytes: int) -> bytes:
    """Read the whole request body. Raise RefusedError if it is cut or malformed, RequestEntityTooLarge if too long."""
    try:
        body = request.get_data(cache=False)
    except ClientDisconnected as error:  # werkzeug's name for the worker's timeout (function/worker.py)
        raise RefusedError("timed out reading the request body", 408) from error
    except HTTPException:
        raise
    except Exception as error:  # gunicorn has no common type for malformed and truncated chunks
        raise RefusedError(f"cannot read the request body: {error}") from error
    if len(body) > max_bytes:
        raise RequestEntityTooLarge
    declared = request.content_length
    if declared is not None and len(body) < declared:
        raise RefusedError(f"the request body must have the {declared} bytes of its Content-Length, got {len(body)}")
    return body


def _measure(app: Flask, metrics: PodMetrics, pod_name: str) -> None:
    """Count every response, and add headers with the pod's name and the time that the response took."""

    @app.before_request
    def begin() -> None:
        g.began_s, g.timings = time.perf_counter(), []
        metrics.in_flight.inc()
        if REFUSAL in request.environ:
            status, text = request.environ[REFUSAL]
            raise RefusedError(text, status)

    @app.teardown_request
    def end(_: BaseException | None) -> None:
        metrics.in_flight.dec()

    @app.after_request
    def count(response: Response) -> Response:
        response.headers["X-Pod"] = pod_name
        response.headers["Server-Timing"] = _server_timing()
        module = (request.endpoint or "none").partition(".")[0]
        metrics.requests.labels(module, str(response.status_code)).inc()
        return response


def _observe(app: Flask, served: "Callable[[Served], None]") -> None:
    """Report every request that is more than a question about the pod."""
    from function.observer import Served  # noqa: PLC0415  a pod without log and traces needs none of it
    from function.trace_context import parse_traceparent  # noqa: PLC0415  as above

    @app.after_request
    def report(response: Response) -> Response:
        if request.method not in ("GET", "HEAD", "OPTIONS"):
            served(
                Served(
                    request_id=request.headers.get("X-Request-Id", ""),
                    context=parse_traceparent(request.headers.getlist("traceparent")),
                    method=request.method,
                    path=request.path,
                    route=request.url_rule.rule if request.url_rule else "",
                    status=response.status_code,
                    service_s=time.perf_counter() - g.began_s,
                    stages_s=_stages_s(),
                    images=len(g.timings),
                    in_bytes=request.content_length or 0,
                    out_bytes=response.content_length or 0,
                )
            )
        return response


def _stages_s() -> dict[str, float]:
    """Return the seconds of each stage, summed over the images of the request; nothing without an image."""
    if not g.timings:
        return {}
    return {stage: sum(getattr(timing, f"{stage}_s") for timing in g.timings) for stage in ("pre", "infer", "post")}


def _server_timing() -> str:
    """Return the stages in milliseconds in the format of W3C Server Timing, summed over the images of a request."""
    stages_s = {**_stages_s(), "total": time.perf_counter() - g.began_s}
    return ", ".join(f"{stage};dur={1000 * seconds:.1f}" for stage, seconds in stages_s.items())


def _render_errors(app: Flask, context: ProtocolContext) -> None:
    """Render every error as JSON with one field `error`, as the native protocol, V1 and V2 specify."""

    @app.errorhandler(RefusedError)
    def refused(error: RefusedError) -> tuple[Response, int, Mapping[str, str]]:
        return jsonify(error=str(error)), error.status, error.headers

    @app.errorhandler(RequestEntityTooLarge)
    def too_large(_: RequestEntityTooLarge) -> tuple[Response, int]:
        size = "more" if request.content_length is None else request.content_length
        return jsonify(error=f"a request body may have at most {context.max_body_bytes} bytes, got {size}"), 413

    @app.errorhandler(HTTPException)
    def other(error: HTTPException) -> Response:
        text = f"{error.description or error.name} ({request.method} {request.path})"
        if error.code == 404 and "/models/" in request.path:
            text += f"; this pod serves model {context.model.name!r}, version {context.model.version!r}"
        response = jsonify(error=text)
        response.status_code = error.code or 500
        response.headers.extend((name, value) for name, value in error.get_headers() if name == "Allow")
        return response
