"""The command line: render, deploy and inspect the classifier's Knative Service."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence

from knative.client import KnativeClient
from knative.errors import ClusterError, ManifestError, NoTrafficError
from knative.rendering import as_yaml, check_name, inference_service_manifest, service_manifest

Connect = Callable[[str], KnativeClient]


def build_parser(env: Mapping[str, str]) -> argparse.ArgumentParser:
    """Return the parser; environment variables of the same name replace the flags' defaults."""
    common = argparse.ArgumentParser(add_help=False)
    _add(common, env, "--namespace", "default", "namespace of the Service")
    _add(common, env, "--name", "resnet18", "name of the Service")
    image = argparse.ArgumentParser(add_help=False)
    _add(image, env, "--image", "dev.local/resnet18", "container image of the pods")
    parser = argparse.ArgumentParser(prog="knative", description="Deploy the classifier as a Knative Service.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for run, parents in ((render, [common, image]), (deploy, [common, image]), (status, [common])):
        about = run.__doc__ or ""
        sentence = f"{about[:1].upper()}{about[1:]}."
        command = commands.add_parser(run.__name__, parents=parents, help=about, description=sentence)
        command.set_defaults(run=run)
    kserve = commands.choices["render"].add_argument_group("KServe")
    kserve.add_argument("--kserve", action="store_true", help="render an InferenceService instead of a Knative Service")
    kserve.add_argument(
        "--storage-uri", metavar="URI", help="model for KServe to mount (default: the model in the image)"
    )
    return parser


def _add(parser: argparse.ArgumentParser, env: Mapping[str, str], flag: str, default: str, about: str) -> None:
    variable = flag.removeprefix("--").upper()
    shown = f"{about} (environment: {variable}, default: {default})"
    parser.add_argument(flag, default=env.get(variable, default), help=shown)


def main(argv: Sequence[str], env: Mapping[str, str], connect: Connect = KnativeClient) -> int:
    """Run a command and return the exit status: 2 for invalid input, 1 if the cluster fails or refuses."""
    args = build_parser(env).parse_args(argv)
    try:
        print(args.run(args, connect))
    except (ManifestError, ClusterError) as error:
        print(f"knative: {error}", file=sys.stderr)
        return 2 if isinstance(error, ManifestError) else 1
    return 0


def render(args: argparse.Namespace, _connect: Connect) -> str:
    """print the Service's YAML"""
    if args.kserve:
        return as_yaml(inference_service_manifest(args.namespace, args.name, args.image, args.storage_uri)).rstrip()
    if args.storage_uri is not None:
        raise ManifestError("--storage-uri needs --kserve; without KServe, build an image that contains the model")
    return as_yaml(service_manifest(args.namespace, args.name, args.image)).rstrip()


def deploy(args: argparse.Namespace, connect: Connect) -> str:
    """create or update the Service in the cluster"""
    manifest = service_manifest(args.namespace, args.name, args.image)
    connect(args.namespace).deploy(manifest)
    return f"{args.namespace}/{args.name} deployed with image {args.image}; `status` shows when it is ready"


def status(args: argparse.Namespace, connect: Connect) -> str:
    """print the Service's URL and its live Revision with bounds and pods"""
    check_name("namespace", args.namespace)
    check_name("name", args.name)
    client = connect(args.namespace)
    service = client.service(args.name)
    lines = [
        f"service   {service.name}, {'ready' if service.ready else 'not ready'}",
        f"url       {service.url or '-'}",
    ]
    try:
        revision = client.revision(service.live_revision())
    except NoTrafficError:
        return "\n".join([*lines, "revision  none receives traffic yet"])
    pods = client.pod_counts(revision.name)
    most = "no limit" if revision.max_pods is None else f"{revision.max_pods}"
    return "\n".join(
        [
            *lines,
            f"revision  {revision.name}, {'ready' if revision.ready else 'not ready'}",
            f"bounds    min-scale {revision.min_pods}, max-scale {most}",
            f"pods      {pods.ready_pods} ready, {pods.starting_pods} starting, {pods.terminating_pods} terminating",
        ]
    )
