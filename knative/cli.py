"""The command line: render, deploy, inspect and delete the classifier with what belongs to it."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence

from knative import installation
from knative.errors import ClusterError, ManifestError
from knative.installation import Say
from knative.kubectl import ClusterTool, Kubectl
from knative.layouts import OVERLAYS, PARTS, SERVICE, Layout
from knative.rendering import as_yaml, check_name, inference_service_manifest

Connect = Callable[[str], ClusterTool]

# Flags of the images, with the names that the manifests have
IMAGES = {"--image": "resnet18", "--dispatcher-image": "dispatcher", "--controller-image": "controller"}
OVERLAY_HELP = (
    f"what to deploy: {SERVICE} (the Knative Service alone), or with the dispatcher: kpa, hpa, tuned (with the"
    " controller), private (tuned, on a private route), existing (dispatcher and controller for a Service that exists),"
    " kubernetes (without Knative) or kubernetes-tuned (with the controller)"
)


def build_parser(env: Mapping[str, str]) -> argparse.ArgumentParser:
    """Return the parser; environment variables of the same name replace the flags' defaults."""
    common = argparse.ArgumentParser(add_help=False)
    _add(common, env, "--namespace", "default", "namespace of the Service")
    _add(common, env, "--name", "resnet18", "name of the Service")
    layout = argparse.ArgumentParser(add_help=False)
    layout.add_argument("overlay", nargs="?", default=SERVICE, choices=(SERVICE, *OVERLAYS), help=OVERLAY_HELP)
    _add(layout, env, "--with", "", f"optional parts, separated by commas: {', '.join(PARTS)}", dest="parts")
    for flag, name in IMAGES.items():
        _add(layout, env, flag, f"dev.local/{name}", f"container image of {name}")
    parser = argparse.ArgumentParser(prog="knative", description="Deploy the classifier as a Knative Service.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for run in (render, deploy, status, delete):
        about = run.__doc__ or ""
        parents = [common, layout] if run in (render, deploy) else [common]
        sentence = f"{about[:1].upper()}{about[1:]}."
        command = commands.add_parser(run.__name__, parents=parents, help=about, description=sentence)
        command.set_defaults(run=run)
    kserve = commands.choices["render"].add_argument_group("KServe")
    kserve.add_argument("--kserve", action="store_true", help="render an InferenceService instead of a Knative Service")
    kserve.add_argument(
        "--storage-uri", metavar="URI", help="model for KServe to mount (default: the model in the image)"
    )
    _add(
        commands.choices["deploy"], env, "--timeout-s", "300", "longest wait until all is ready, in seconds", kind=float
    )
    commands.choices["delete"].add_argument(
        "--volumes", action="store_true", help="delete the volume of Redis too, with the work that it holds"
    )
    return parser


def _add(
    parser: argparse.ArgumentParser, env: Mapping[str, str], flag: str, default: str, about: str, **more: object
) -> None:
    variable = flag.removeprefix("--").replace("-", "_").upper()
    shown = f"{about} (environment: {variable}, default: {default or 'none'})"
    kind = more.pop("kind", str)
    parser.add_argument(flag, default=env.get(variable, default), help=shown, type=kind, **more)  # type: ignore[arg-type]  # of one type for each name


def main(argv: Sequence[str], env: Mapping[str, str], connect: Connect | None = None) -> int:
    """Run a command and return the exit status: 2 for invalid input, 1 if the cluster refuses or is unhealthy."""
    args = build_parser(env).parse_args(argv)
    try:
        check_name("namespace", args.namespace)
        check_name("name", args.name)
        cluster = (connect or (lambda namespace: Kubectl(namespace, env)))(args.namespace)
        return int(args.run(args, cluster, _say))
    except (ManifestError, ClusterError) as error:
        print(f"knative: {error}", file=sys.stderr)
        return 2 if isinstance(error, ManifestError) else 1


def _say(line: str) -> None:
    print(line, flush=True)


def _layout(args: argparse.Namespace) -> Layout:
    images = {
        f"dev.local/{name}": getattr(args, flag.removeprefix("--").replace("-", "_")) for flag, name in IMAGES.items()
    }
    parts = tuple(part.strip() for part in args.parts.split(",") if part.strip())
    return Layout(args.overlay, parts, args.namespace, args.name, images)


def render(args: argparse.Namespace, cluster: ClusterTool, say: Say) -> int:
    """print the YAML of a layout"""
    if args.kserve:
        say(as_yaml(inference_service_manifest(args.namespace, args.name, args.image, args.storage_uri)).rstrip())
        return 0
    if args.storage_uri is not None:
        raise ManifestError("--storage-uri needs --kserve; without KServe, build an image that contains the model")
    say("---\n".join(as_yaml(thing) for thing in installation.rendered(_layout(args), cluster)).rstrip())
    return 0


def deploy(args: argparse.Namespace, cluster: ClusterTool, say: Say) -> int:
    """create or update a layout in the cluster, and wait until it is ready"""
    if not 0 <= args.timeout_s < float("inf"):
        raise ManifestError(f"--timeout-s must be finite and at least 0, got {args.timeout_s:g}")
    if installation.deploy(_layout(args), cluster, args.timeout_s, say):
        return 0
    raise ClusterError(f"not ready after {args.timeout_s:g} s; `status` shows what is missing")


def status(args: argparse.Namespace, cluster: ClusterTool, say: Say) -> int:
    """print what is deployed, its bounds and pods, who leads, and whether all is healthy"""
    found = installation.look(args.name, cluster)
    say("\n".join(found.lines()))
    return 1 if found.problems else 0


def delete(args: argparse.Namespace, cluster: ClusterTool, say: Say) -> int:
    """delete what `deploy` has made, and nothing else"""
    installation.delete(args.name, cluster, args.volumes, say)
    return 0
