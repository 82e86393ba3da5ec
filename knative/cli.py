"""The command line: render, deploy and look at the classifier's Knative Service."""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence

from knative.client import KnativeClient
from knative.errors import ClusterError, ManifestError, NoTrafficError
from knative.rendering import as_yaml, check_name, inference_service_manifest, service_manifest

Connect = Callable[[str], KnativeClient]


def build_parser(env: Mapping[str, str]) -> argparse.ArgumentParser:
    """Flags get their defaults from environment variables of the same name."""
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--namespace", default=env.get("NAMESPACE", "default"), help="NAMESPACE (default: %(default)s)")
    common.add_argument(
        "--name", default=env.get("NAME", "resnet18"), help="of the Service: NAME (default: %(default)s)"
    )
    image = argparse.ArgumentParser(add_help=False)
    image.add_argument("--image", default=env.get("IMAGE", "dev.local/resnet18"), help="IMAGE (default: %(default)s)")
    parser = argparse.ArgumentParser(prog="knative", description="The classifier as a Knative Service.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for run, parents in ((render, [common, image]), (deploy, [common, image]), (status, [common])):
        command = commands.add_parser(run.__name__, parents=parents, help=run.__doc__, description=run.__doc__)
        command.set_defaults(run=run)
    kserve = commands.choices["render"].add_argument_group("KServe")
    kserve.add_argument("--kserve", action="store_true", help="an InferenceService instead of a Knative Service")
    kserve.add_argument("--storage-uri", metavar="URI", help="a model for KServe to mount, instead of the image's own")
    return parser


def main(argv: Sequence[str], env: Mapping[str, str], connect: Connect = KnativeClient) -> int:
    """Returns the exit status: 2 for bad input, 1 for what the cluster refused."""
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
        raise ManifestError("--storage-uri is KServe's: give --kserve too, or build an image with these weights")
    return as_yaml(service_manifest(args.namespace, args.name, args.image)).rstrip()


def deploy(args: argparse.Namespace, connect: Connect) -> str:
    """make the Service in the cluster, or change it"""
    manifest = service_manifest(args.namespace, args.name, args.image)
    connect(args.namespace).deploy(manifest)
    return f"{args.namespace}/{args.name} deployed with image {args.image}; `status` tells when it is ready"


def status(args: argparse.Namespace, connect: Connect) -> str:
    """print the Service's live Revision, its bounds, its pods and the URL"""
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
        return "\n".join([*lines, "revision  none gets traffic yet"])
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
