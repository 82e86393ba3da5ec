"""The WSGI application: from HTTP to a protocol's handler and back. What protocols say is theirs."""

import time
from collections.abc import Callable, Mapping, Sequence

from flask import Flask, Response, g, jsonify, request
from prometheus_client import CollectorRegistry, generate_latest
from werkzeug.exceptions import ClientDisconnected, HTTPException, RequestEntityTooLarge

from function.classifier import Classification, Classifier
from function.config import HttpConfig
from function.images import ImageError
from function.metrics import PodMetrics
from function.protocols import ROUTES, ProtocolContext, Received, RefusedError, handler

# Exported label values that differ from the module's name: dashboards already query `seed`.
METRIC_PROTOCOLS = {"native": "seed"}


def create_app(classifier: Classifier, metrics: PodMetrics, registry: CollectorRegistry, http: HttpConfig) -> Flask:
    """Build the app around a loaded model; opens no file and reads no environment."""
    app = Flask(__name__, static_folder=None)
    # Werkzeug cuts a body that comes in chunks there, without a word; one byte more shows that it was too long.
    app.config["MAX_CONTENT_LENGTH"] = http.max_body_bytes + 1
    service = _service(classifier, metrics, http)
    model = classifier.model
    for method, rule, protocol, name in ROUTES:
        path = rule.format(model=model.name, version=model.version)
        view = _view(protocol, name, service)
        app.add_url_rule(path, f"{protocol}.{name} {path}", view, methods=[method])

    @app.get("/metrics")
    def exported() -> Response:
        return Response(generate_latest(registry), content_type="text/plain; version=0.0.4; charset=utf-8")

    _measure(app, metrics, http.pod_name)
    _refuse(app, service)
    return app


def _service(classifier: Classifier, metrics: PodMetrics, http: HttpConfig) -> ProtocolContext:
    """What the protocols may ask for, bound to this pod's settings."""

    def classify(images: Sequence[bytes]) -> Sequence[Classification]:
        if len(images) > http.max_images:
            raise RefusedError(f"a request may have at most {http.max_images} images, this has {len(images)}")
        results = []
        for index, image in enumerate(images, 1):
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
        from function import outbound  # noqa: PLC0415  no pod that answers photographs needs an HTTP client

        return outbound.fetch(link, http.link_hosts, http.link_timeout_s, http.max_body_bytes)

    def deliver(headers: Mapping[str, str], body: bytes) -> bool:
        if not http.sink_url:
            return False
        from function import outbound  # noqa: PLC0415  as above

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


def _view(protocol: str, name: str, service: ProtocolContext) -> Callable[[], Response]:
    def view() -> Response:
        headers = {name.lower(): value for name, value in request.headers.items()}
        body = _body(service.max_body_bytes)
        answer = handler(protocol, name)(Received(headers, body), service)
        response = Response(answer.body, answer.status, answer.headers)
        if not answer.body:
            del response.headers["Content-Type"]
        return response

    return view


def _body(most_bytes: int) -> bytes:
    """Of the request, whole. Raises RefusedError or RequestEntityTooLarge."""
    try:
        body = request.get_data(cache=False)
    except ClientDisconnected as error:  # so werkzeug calls a wait that took too long (function/worker.py)
        raise RefusedError("the rest of the body did not come", 408) from error
    except HTTPException:
        raise
    except Exception as error:  # the server has no common type for chunks that are none, and cut ones
        raise RefusedError(f"the body cannot be read: {error}") from error
    if len(body) > most_bytes:
        raise RequestEntityTooLarge
    promised = request.content_length
    if promised is not None and len(body) < promised:
        raise RefusedError(f"the body must have the {promised} bytes of its Content-Length, ended after {len(body)}")
    return body


def _measure(app: Flask, metrics: PodMetrics, pod_name: str) -> None:
    """Count every answer, and sign it with the pod's name and the time that it took."""

    @app.before_request
    def begin() -> None:
        g.began_s, g.timings = time.perf_counter(), []
        metrics.in_flight.inc()

    @app.teardown_request
    def end(_: BaseException | None) -> None:
        metrics.in_flight.dec()

    @app.after_request
    def sign(answer: Response) -> Response:
        answer.headers["X-Pod"] = pod_name
        answer.headers["Server-Timing"] = _server_timing()
        module = (request.endpoint or "none").partition(".")[0]
        metrics.requests.labels(METRIC_PROTOCOLS.get(module, module), str(answer.status_code)).inc()
        return answer


def _server_timing() -> str:
    """Milliseconds, as the W3C's Server Timing has it; sums where a request had several images."""
    stages_s = {"total": time.perf_counter() - g.began_s}
    if g.timings:
        sums_s = {
            stage: sum(getattr(timing, f"{stage}_s") for timing in g.timings) for stage in ("pre", "infer", "post")
        }
        stages_s = {**sums_s, **stages_s}
    return ", ".join(f"{stage};dur={1000 * seconds:.1f}" for stage, seconds in stages_s.items())


def _refuse(app: Flask, service: ProtocolContext) -> None:
    """Every error is JSON with one sentence: that is the shape of the seed, of V1 and of V2."""

    @app.errorhandler(RefusedError)
    def refusal(error: RefusedError) -> tuple[Response, int]:
        return jsonify(error=str(error)), error.status

    @app.errorhandler(RequestEntityTooLarge)
    def too_large(_: RequestEntityTooLarge) -> tuple[Response, int]:
        size = request.content_length
        told = "more" if size is None else size
        return jsonify(error=f"a body may have at most {service.max_body_bytes} bytes, this has {told}"), 413

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> Response:
        text = f"{error.description or error.name} ({request.method} {request.path})"
        if error.code == 404 and "/models/" in request.path:
            text += f"; the model here is {service.model.name!r}, version {service.model.version!r}"
        answer = jsonify(error=text)
        answer.status_code = error.code or 500
        answer.headers.extend((name, value) for name, value in error.get_headers() if name == "Allow")
        return answer
