"""A DAG for Airflow 2 or 3: label the batch of each week, look at what failed, hand it on.

Each task is one clusterkit command. What it prints with --json is one line, and so becomes the
task's XCom. Airflow ends a task with SIGTERM; its retry is the same command, which goes on from
what was done. Folders must be seen under one path by all workers.

How far it was tried: imported with stand-ins for Airflow's modules of both versions, by the tests
of clusterkit, which also ask its command line whether it has each command as it is written here.
Not in an Airflow.
"""

import json
from datetime import datetime, timedelta

try:
    from airflow.providers.standard.operators.bash import BashOperator
    from airflow.providers.standard.operators.python import PythonOperator
    from airflow.sdk import DAG
except ImportError:  # Airflow 2
    from airflow import DAG
    from airflow.operators.bash import BashOperator
    from airflow.operators.python import PythonOperator

# The part of a batch that may be unreadable before somebody is told.
MOST_FAILED = 0.05

# A week's images lie in a folder that is named by its first day.
BATCH = "/data/batches/{{ ds }}"
RUN = "/data/runs/current"
OUT = "/data/labels/{{ ds }}"


def clusterkit(task: str, arguments: str) -> BashOperator:
    """One command; `exec`, so that the signal that ends a task reaches it and not a shell."""
    log = f"{OUT}/{task}.events.jsonl"
    return BashOperator(
        task_id=task,
        bash_command=f"mkdir -p {OUT} && exec clusterkit {arguments} --json --log-json {log}",
    )


def few_failed(summary: str) -> None:
    """Fail where too many images of a batch could not be read."""
    found = json.loads(summary)
    failed, images = found["status"]["failed"], found["images"]
    if failed > MOST_FAILED * images:
        raise ValueError(f"{failed} of {images} images failed: {found['failures']}")


with DAG(
    dag_id="clusterkit_weekly",
    schedule="@weekly",
    start_date=datetime(2026, 1, 5),
    catchup=False,
    # Of two runs of one week the second is told that the first one writes, and fails.
    max_active_runs=1,
    default_args={
        "retries": 3,
        "retry_delay": timedelta(minutes=5),
        "execution_timeout": timedelta(hours=6),
    },
) as dag:
    assign = clusterkit("assign", f"assign {BATCH} --run {RUN} --out {OUT}/assignments.csv")
    check = PythonOperator(
        task_id="few_failed",
        python_callable=few_failed,
        op_args=["{{ ti.xcom_pull(task_ids='assign') }}"],
        retries=0,
    )
    audit = clusterkit(
        "audit", f"audit --run {RUN} --assignments {OUT}/assignments.csv --out {OUT}/audit"
    )
    export = clusterkit(
        "export",
        f"export --to label-studio --run {RUN} --assignments {OUT}/assignments.csv "
        f"--out {OUT}/label-studio",
    )
    assign >> check >> [audit, export]
