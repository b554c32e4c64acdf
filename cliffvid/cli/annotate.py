"""Commands for bulk annotation."""

from pathlib import Path
from typing import Annotated

import typer

from ..annotate.options import BulkOptions
from ..names import address_of
from ..options import SAFETY, Options
from .console import result, result_json, say
from .flags import CameraFile, Json, Quiet, flag, with_flags, without

DataSet = Annotated[Path, typer.Argument(metavar="DIR", help="Folder of the data set, or s3://bucket/name.")]
AllowNetwork = Annotated[bool, flag(Options, "allow_network")]


@with_flags
def annotate(
    sources: Annotated[
        list[str],
        typer.Argument(
            metavar="SOURCE",
            help="Folders, 'patterns', lists (.txt), manifests (.csv, .parquet: column path), files; -: a list.",
        ),
    ],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the data set, or s3://bucket/name.")],
    options: Annotated[Options, without("format", "overwrite", "videos_at_once", "boxes")],
    bulk: BulkOptions,
    camera: CameraFile = None,
    allow_failures: Annotated[
        bool, typer.Option("--allow-failures", help="Exit with 0 although inputs failed.", rich_help_panel=SAFETY)
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the plan and an estimate; write nothing.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Annotate many videos into one data set; the same command goes on where it was stopped."""
    from ..annotate.job import annotate as run
    from .annotate_view import open_view
    from .targets import check_folder

    check_folder(out)
    options = options.with_camera(camera) if camera else options
    if dry_run:
        from ..annotate.estimate import dry_run as estimate
        from .annotate_view import plan_text

        lines = estimate(sources, out, options, bulk)
        if as_json:
            for line in lines:
                result_json(line)
        else:
            result(*plan_text(lines).split("\n"))
        return
    with open_view(quiet, as_json) as view:
        summary = run(sources, out, options, bulk, view.watch)
    if not quiet and not as_json:
        say(*view.summary(summary))
    code = summary.exit_code
    raise typer.Exit(0 if code == 1 and allow_failures and not summary.stopped else code)


def annotate_status(
    folder: DataSet,
    watch: Annotated[
        bool, typer.Option("--watch", help="Go on until no job is at work; exit with 1 unless all is done.")
    ] = False,
    allow_network: AllowNetwork = False,
    as_json: Json = False,
) -> None:
    """Tell how far a data set is, and the parts of it; also while jobs work on it."""
    from ..annotate.status import statuses
    from .annotate_view import status_text
    from .annotate_watch import watched

    options = Options(allow_network=allow_network)
    found = watched(folder, options, as_json) if watch else statuses(folder, options)
    for facts in found:
        if as_json:
            result_json(facts)
        else:
            result(*status_text(facts).split("\n"))
    raise typer.Exit(1 if watch and any(facts["ended"] != "all done" for facts in found) else 0)


def annotate_merge(folder: DataSet, allow_network: AllowNetwork = False, as_json: Json = False) -> None:
    """Take the parts that jobs with --shard have made into the data set."""
    from ..annotate.upkeep import merge

    merged = merge(folder, Options(allow_network=allow_network))
    if as_json:
        result_json(merged)
    else:
        result(f"{_named(folder)}: {merged['inputs']} inputs and {merged['rows']} rows from {merged['parts']} parts")
    if merged["unfinished"]:
        say(f"warning: {merged['unfinished']} inputs are not done: give their jobs again, then merge again")
    raise typer.Exit(1 if merged["unfinished"] else 0)


def annotate_export(
    folder: DataSet,
    hf: Annotated[Path, typer.Option("--hf", help="New folder, for datasets.load_dataset and Hugging Face's Hub.")],
    allow_network: AllowNetwork = False,
    as_json: Json = False,
) -> None:
    """Export a data set for Hugging Face: parquet files, and a card with models, licences, settings and counts."""
    from ..annotate.store.hugging_face import export_hf

    made = export_hf(folder, hf, Options(allow_network=allow_network))
    if as_json:
        result_json(made)
    else:
        result(f"{hf}: {made['videos']} videos and {made['rows']} rows in {made['files']} files")


def annotate_verify(
    folder: DataSet,
    repair: Annotated[bool, typer.Option("--repair", help="Redo what is found wrong.")] = False,
    rebuild: Annotated[
        bool, typer.Option("--rebuild", help="First make a lost or damaged journal anew from the shards.")
    ] = False,
    workers: Annotated[int, flag(BulkOptions, "workers")] = BulkOptions.workers,
    allow_network: AllowNetwork = False,
    as_json: Json = False,
) -> None:
    """Read every shard of a data set whole and compare it with the journal."""
    from ..annotate.upkeep import repair as mend
    from ..annotate.upkeep import verify
    from .annotate_view import open_view

    if rebuild:
        _rebuild(folder)
    options, name, findings = Options(allow_network=allow_network), _named(folder), []
    for finding in verify(folder, options):
        findings.append(finding)
        if as_json:
            result_json(finding)
        else:
            result(f"{name}/{finding['file']}: {finding['problem']}")
    if not findings:
        if not as_json:
            result(f"{name}: whole")
        return
    if not repair:
        say(f"{len(findings)} problems; --repair does again what they touch, {name} must not be at work meanwhile")
        raise typer.Exit(1)
    with open_view(quiet=False, as_json=as_json) as view:
        summary = mend(folder, findings, BulkOptions(workers=workers), view.watch, options)
    left = list(verify(folder, options))
    if not as_json:
        say(f"{name}: " + (f"{len(left)} problems are left" if left else "whole again"))
    raise typer.Exit(1 if left or (summary and summary.statuses["failed"]) else 0)


def _named(folder: Path) -> Path | str:
    """Return a data set's folder, or its address with both slashes."""
    return address_of(folder) or folder


def _rebuild(folder: Path) -> None:
    from ..annotate.store.rebuild import rebuild
    from ..names import printable
    from .annotate_view import counted

    made = rebuild(folder)
    held = f"{counted(made.inputs, 'input')} and {counted(made.rows, 'row')} in {counted(made.shards, 'shard')}"
    say(f"{folder}: a new journal: {held}")
    for videos, what in (
        (made.unknown, "it is not known what their rows were made from; annotate does them again"),
        (made.left_out, "their names are not known; annotate does them again"),
        (made.unreadable, "left out, and removed by the next annotate, which does again what they held"),
    ):
        if videos:
            say(f"warning: {len(videos)}: {what}: {printable(', '.join(videos[:5]))}{' ...' if videos[5:] else ''}")
