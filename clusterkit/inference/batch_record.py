"""What `assignments.json` says of a batch."""

import platform
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pandas as pd
import torch

import clusterkit
from clusterkit.config import Config
from clusterkit.data.features.vector_lookup import GivenVectors
from clusterkit.data.link_rules import LinkRules
from clusterkit.data.remote_places import Place
from clusterkit.data.written_names import relative_folder
from clusterkit.formats.assignment_record import AssignmentRecord, ClassShares
from clusterkit.formats.assignments import STATUSES
from clusterkit.formats.feature_record import FeatureRecord
from clusterkit.formats.run import Run
from clusterkit.formats.run_settings import calibrated_keys
from clusterkit.inference.cluster_summaries import summarise_clusters
from clusterkit.inference.decision_rule import DecisionRule
from clusterkit.inference.evidence import Evidence
from clusterkit.inference.ladder import ladder_of
from clusterkit.inference.promise_text import picture_remarks, promise_text, remarks

# How a batch is computed, not what is decided.
_SPEED = ("batch_size", "workers")


def settings_of(config: Config) -> dict[str, Any]:
    """Return the settings that rows are decided by, beside those of the run."""
    settings, fixed = asdict(config.assign) | asdict(config.engine), calibrated_keys()
    return {
        name: value
        for name, value in settings.items()
        if name not in _SPEED and f"engine.{name}" not in fixed
    }


def record_of(
    run: Run,
    root: Place,
    out: Path,
    table: pd.DataFrame,
    rule: DecisionRule,
    evidence: Evidence,
) -> AssignmentRecord:
    """Return what `assignments.json` says of a table, the rule and the clusters.

    Parameters
    ----------
    run : Run
    root : Path or RemoteLocation
        What its images are relative to.
    out : Path
        Of the table.
    table : DataFrame (N)
    rule : DecisionRule
    evidence : Evidence (N)
    """
    counts = table["status"].value_counts()
    labels = table["predicted_label"][table["status"].isin(["assigned", "duplicate"])]
    failed = table["reason"][table["status"] == "failed"]
    near = (table["duplicate_of"] != "") & (table["status"] != "duplicate")
    return AssignmentRecord(
        images=len(table),
        status={s: int(counts.get(s, 0)) for s in STATUSES},
        failures={str(reason): n for reason, n in failed.value_counts().items()},
        assigned_by_class={c: int((labels == c).sum()) for c in run.classes},
        clusters=int(table["cluster"].nunique()),
        near_duplicates=int(near.sum()),
        class_shares=ClassShares(
            labelled=dict(zip(run.classes, rule.calibration.prior.round(6).tolist(), strict=True)),
            estimated=dict(zip(run.classes, rule.prior.round(6).tolist(), strict=True)),
        ),
        promise=rule.record(),
        promise_text=promise_text(rule),
        **ladder_of(rule, table, evidence),
        confidence=rule.config.assign.confidence,
        label_sets=rule.label_set_record(),
        untestable_classes=[c for c, few in zip(run.classes, rule.untestable, strict=True) if few],
        remarks=remarks(rule),
        run=run.info.id,
        cluster_summaries=summarise_clusters(table, evidence),
        # Relative, so that a run and its data can move together and no absolute path is kept.
        input_root=relative_folder(root, out.parent),
        link_roots=LinkRules.of(rule.config.data, root).recorded(out.parent),
        settings=settings_of(rule.config),
        versions={
            "clusterkit": clusterkit.__version__,
            "torch": str(torch.__version__),
            "python": platform.python_version(),
        },
    )


def with_features(
    record: AssignmentRecord, run: Run, given: GivenVectors | None, evidence: Evidence
) -> AssignmentRecord:
    """Return a record that names the features, and says what is not known without pictures."""
    if given is None:
        return record
    unseen = sum(int((~part["seen"]).sum()) for _, part in evidence.parts("seen"))
    notes = picture_remarks(unseen, len(evidence), run.info.data.without_pictures)
    features = FeatureRecord.of(given.table)
    return replace(record, remarks=[*record.remarks, *notes], features=features)
