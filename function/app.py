"""The WSGI application: parses requests, renders answers."""

from flask import Flask, Response, jsonify, request
from prometheus_client import CollectorRegistry, generate_latest
from werkzeug.exceptions import BadRequest, HTTPException, RequestEntityTooLarge

from function.classifier import Classifier, Timing, as_json
from function.images import ImageError
from function.metrics import Metrics

FIELD = "file"


def create_app(
    classifier: Classifier, metrics: Metrics, registry: CollectorRegistry, max_body_bytes: int, pod_name: str
) -> Flask:
    """Build the app around a loaded model; opens no file and reads no environment."""
    app = Flask(__name__, static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = max_body_bytes
    app.json.sort_keys = False  # type: ignore[attr-defined]

    @app.get("/")
    @app.get("/health/liveness")
    @app.get("/health/readiness")
    def health() -> dict[str, str]:
        model = classifier.model
        return {"status": "ok", "model": model.name, "version": model.version, "engine": model.engine}

    @app.get("/metrics")
    def exported() -> Response:
        return Response(generate_latest(registry), content_type="text/plain; version=0.0.4; charset=utf-8")

    @app.post("/predict")
    def predict() -> Response:
        result = classifier.classify(_image_bytes())
        metrics.observe(result.timing)
        answer = jsonify(as_json(result, classifier.model))
        answer.headers["Server-Timing"] = _server_timing(result.timing)
        return answer

    @app.after_request
    def sign(answer: Response) -> Response:
        answer.headers["X-Pod"] = pod_name
        metrics.requests.labels(str(answer.status_code)).inc()
        return answer

    @app.errorhandler(ImageError)
    def bad_image(error: ImageError) -> tuple[Response, int]:
        return jsonify(error=str(error)), 400

    @app.errorhandler(RequestEntityTooLarge)
    def too_large(error: RequestEntityTooLarge) -> tuple[Response, int]:
        size = "more" if request.content_length is None else str(request.content_length)
        return jsonify(error=f"a body may have at most {max_body_bytes} bytes, this has {size}"), 413

    @app.errorhandler(HTTPException)
    def refused(error: HTTPException) -> tuple[Response, int]:
        text = f"{error.description or error.name} ({request.method} {request.path})"
        return jsonify(error=text), error.code or 500

    return app


def _image_bytes() -> bytes:
    """The multipart field `file`, or the raw body. Raises BadRequest where there is neither."""
    if request.mimetype == "multipart/form-data":
        file = request.files.get(FIELD)
        if file is None:
            found = ", ".join(sorted({*request.files, *request.form})) or "none"
            raise BadRequest(f"the form must have a file in its field {FIELD!r}; fields found: {found}")
        body = bytes(file.read())
    else:
        body = request.get_data()
        if not body:
            raise BadRequest(f"no image: send a form with the field {FIELD!r}, or the image itself as the body")
    return body


def _server_timing(timing: Timing) -> str:
    """Milliseconds, as the W3C's Server Timing has it."""
    stages = (("pre", timing.pre_s), ("infer", timing.infer_s), ("post", timing.post_s))
    return ", ".join(f"{name};dur={1000 * seconds:.1f}" for name, seconds in stages)
