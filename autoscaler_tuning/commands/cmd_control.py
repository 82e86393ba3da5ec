"""`control`: scales live pods with a policy, or only observes them."""

import argparse
import logging
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from autoscaler_tuning.commands.flags import (
    PROGRAM,
    Flags,
    add_local,
    dispatcher_urls,
    list_policies,
    number,
    output_file,
    positive_integer,
    target_among,
    url,
)
from autoscaler_tuning.live.cluster_targets import KNATIVE, KUBERNETES
from autoscaler_tuning.live.dispatcher_names import PREFIX
from autoscaler_tuning.live.recording import RecordError
from autoscaler_tuning.live.serve import KeyFileError, ServeConfig, ServedService, TlsConfig, serve
from autoscaler_tuning.live.status_server import AddressError
from autoscaler_tuning.policies.registry import KnativeClass, PolicySpec, policy_named


def add(parser: argparse.ArgumentParser, env: Mapping[str, str]) -> None:
    """Add the flags of `control`."""
    flags = Flags(parser, env)
    list_policies(parser)
    flags.add(
        "--target",
        target_among("local", KNATIVE, KUBERNETES),
        "local",
        "which pods to scale: local (processes on this machine), knative, or kubernetes (a Deployment with an HPA)",
    )
    flags.add("--policy", str, "elastic", "policy, as NAME[setting=value,...]@ORDER")
    flags.add(
        "--dispatcher",
        dispatcher_urls,
        "http://127.0.0.1:8011",
        "addresses of the control ports of a single Service's dispatchers, separated by commas; dns+http://NAME:PORT"
        " is one at each address of the name",
    )
    flags.add("--dispatcher-key-file", Path, None, "file with the key of --control-key-file of the dispatchers")
    flags.add("--host", str, "0.0.0.0", "address on which to serve the page and the metrics")
    flags.add("--port", positive_integer, 8002, "port on which to serve the page and the metrics")
    flags.add("--page-key-file", Path, None, "file with the key of the page's buttons (default: no buttons)")
    flags.add("--max-pods", positive_integer, 8, "upper bound on the pods")
    flags.add("--slo-s", number, 0.5, "longest latency that counts as in time, in seconds")
    flags.add("--record", output_file, None, "file to write a JSON line to for each second and each decision")
    flags.add("--state", output_file, None, "file that keeps what the policy has learned over restarts")
    flags.add("--for-s", number, None, "time after which to stop, in seconds (default: run until a signal)")
    flags.add("--namespace", str, "default", "namespace of the Knative Service or the Deployment")
    flags.add(
        "--service",
        services,
        "resnet18",
        "name of the Knative Service or the Deployment, or of several with the addresses of their dispatchers' control "
        "ports: A=http://a:8011,B=http://b:8011; an address without a name is another dispatcher of the Service before",
    )
    flags.switch("--shadow", "change nothing, and export what the policy would have done")
    flags.switch("--dry-run", "change nothing, and log and export the decisions about the pods that run")
    flags.switch("--no-patch", "change nothing in the cluster, where KEDA or an HPA follows the exported wish")
    flags.add("--tls-cert-file", Path, None, "certificate with which to serve the metrics over TLS too, for an HPA")
    flags.add("--tls-key-file", Path, None, "key of that certificate")
    flags.add("--tls-port", positive_integer, 8443, "port for TLS")
    flags.add(
        "--watch",
        url,
        "http://127.0.0.1:8002",
        "address of the controller that scales, for --shadow or --dry-run with local pods",
    )
    add_local(flags)
    parser.set_defaults(run=_run)


def services(text: str) -> tuple[ServedService, ...]:
    """Parse `NAME`, or `NAME=URL[,URL...]` for one or several Services, separated by commas."""
    found: dict[str, list[str]] = {}
    for part in (part.strip() for part in text.split(",")):
        name, is_address, address = part.partition("=")
        if part.removeprefix(PREFIX).startswith(("http://", "https://")) and found:
            name, is_address, address = [*found][-1], "=", part
        elif not name or "/" in name or name in found:
            raise argparse.ArgumentTypeError(f"must be NAME or NAME=URL,NAME=URL with different names, got {text!r}")
        found.setdefault(name, []).extend(dispatcher_urls(address) if is_address else ())
    if len(found) > 1 and not all(found.values()):
        raise argparse.ArgumentTypeError(
            f"must name the dispatchers of each Service, as NAME=URL,NAME=URL, got {text!r}"
        )
    return tuple(ServedService(name, tuple(addresses)) for name, addresses in found.items())


def refusal(args: argparse.Namespace, spec: PolicySpec) -> str | None:
    """Return why these flags cannot be combined; None if they can."""
    if args.target != "local" and not args.shadow and spec.entry.knative_class is KnativeClass.HPA:
        instead = "deploy the Service with Knative's HPA class" if args.target == KNATIVE else "use an HPA on CPU"
        return (
            f"--policy {spec.name} needs the CPU of pods, which is not measured with --target {args.target}; "
            f"{instead} instead"
        )
    if args.no_patch and args.target == "local":
        return "--no-patch must come with --target knative or kubernetes, got local"
    if (args.tls_cert_file is None) != (args.tls_key_file is None):
        return f"--tls-cert-file and --tls-key-file must come together, got {args.tls_cert_file}, {args.tls_key_file}"
    return refusal_of_several(args) if len(args.service) > 1 else None


def refusal_of_several(args: argparse.Namespace) -> str | None:
    """Return why these flags cannot be combined with several Services; None if they can."""
    names = ", ".join(service.name for service in args.service)
    if args.target == "local":
        return f"--target local needs a single --service, got {names}"
    if args.record or args.state:
        return f"{'--record' if args.record else '--state'} needs a single --service, got {names}"
    return None


def _run(args: argparse.Namespace) -> int:
    where = "%(threadName)s: " if len(args.service) > 1 else ""  # the thread has the name of its Service
    logging.basicConfig(level=logging.INFO, format=f"%(asctime)s %(levelname)s {where}%(message)s")
    spec = policy_named(args.policy, args.slo_s)
    if problem := refusal(args, spec):
        print(f"{PROGRAM}: {problem}", file=sys.stderr)
        return 2
    try:
        serve(
            ServeConfig(
                target=args.target,
                policy=spec,
                services=tuple(
                    service if service.dispatchers else replace(service, dispatchers=args.dispatcher)
                    for service in args.service
                ),
                dispatcher_key_file=args.dispatcher_key_file,
                page_key_file=args.page_key_file,
                host=args.host,
                port=args.port,
                max_pods=args.max_pods,
                record=args.record,
                state=args.state,
                for_s=args.for_s,
                pad_service_s=args.pad_service_s,
                model_dir=args.model_dir,
                log_dir=args.log_dir,
                namespace=args.namespace,
                slo_s=args.slo_s,
                shadow=args.shadow,
                dry_run=args.dry_run,
                no_patch=args.no_patch,
                tls=TlsConfig(args.tls_port, args.tls_cert_file, args.tls_key_file) if args.tls_cert_file else None,
                watch=args.watch,
            )
        )
    except (KeyFileError, RecordError) as error:
        print(f"{PROGRAM}: {error}", file=sys.stderr)
        return 2
    except AddressError as error:
        from knative.ports import bind_failure  # noqa: PLC0415  psutil would take 4 MB of every controller

        print(f"{PROGRAM}: {bind_failure(error.host, error.port, error.cause)}", file=sys.stderr)
        return 2
    return 0
