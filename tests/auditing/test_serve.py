"""`audit --serve`: decisions are in reviews.csv at once, and nobody else gets in."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest

from clusterkit import Run, audit, read_assignments, review
from clusterkit.auditing.review_file import ReviewFile
from clusterkit.auditing.serve import ReviewServer
from clusterkit.errors import ClusterkitError, DataError
from clusterkit.formats.assignment_pair import load_assigned
from clusterkit.formats.reviews import REVIEW_COLUMNS, read_reviews


@pytest.fixture(scope="module")
def audited(run, assignment, tmp_path_factory):
    """A copy of the run with its page."""
    folder = tmp_path_factory.mktemp("audited") / "run"
    shutil.copytree(run.path, folder, ignore=shutil.ignore_patterns("audit"))
    audit(run, out=folder / "audit")
    return folder


@pytest.fixture
def served(run, audited, tmp_path):
    """A copy of the audited run and a server of its page; gives (server, reviews.csv)."""
    folder = shutil.copytree(audited, tmp_path / "run")
    reviews = folder / "reviews.csv"
    file = ReviewFile(reviews, load_assigned(folder / "assignments.csv"), run.manifest)
    server = ReviewServer(folder / "audit", file, 0)
    thread = threading.Thread(target=lambda: server.run(lambda url: None))
    thread.start()
    yield server, reviews
    server.shutdown()
    thread.join(10)


def ask(server, method="GET", name="", body=None, path=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=20)
    headers = {key.replace("_", "-"): value for key, value in headers.items()}
    connection.request(method, path or f"/{server.token}/{name}", body, headers)
    answer = connection.getresponse()
    data = answer.read()
    connection.close()
    return answer.status, data, answer.headers


def post(server, rows, **headers):
    headers = {"Content_Type": "application/json"} | headers
    body = rows if isinstance(rows, bytes) else json.dumps(rows).encode()
    return ask(server, "POST", "reviews", body, **headers)


def row(table, number=0, **values) -> dict:
    found = table.iloc[number]
    blank = dict.fromkeys(REVIEW_COLUMNS, "")
    return blank | {"image_id": found["image_id"], "image": found["image"], "label": "rod",
                    "decision": "relabel"} | values  # fmt: skip


def test_page_pictures_and_nothing_else(served, tmp_path):
    server, _ = served
    status, body, headers = ask(server)
    assert status == 200
    assert b"<!doctype html>" in body
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"
    picture = next((server.folder / "thumbs").rglob("*.png")).relative_to(server.folder)
    assert ask(server, name=picture.as_posix())[0] == 200
    copy = next((server.folder / "thumbs").rglob("*-full.*")).relative_to(server.folder)
    assert ask(server, name=copy.as_posix())[0] == 200
    status, _, headers = ask(server, name="plots/map.svg")
    assert (status, headers["Content-Type"]) == (200, "image/svg+xml")
    # Opened by itself it is a document: nothing runs in it.
    assert headers["Content-Security-Policy"].startswith("default-src 'none';")
    assert "script" not in headers["Content-Security-Policy"]
    assert json.loads(ask(server, name="place")[1]) == {"reviews": str(server.reviews.path)}
    (server.folder / "thumbs" / "link.png").symlink_to("/etc/hostname")
    outside = ["../run.json", "..%2frun.json", "%2e%2e/run.json", "thumbs/../../run.json"]
    for name in [*outside, "metrics.json", "thumbs", "thumbs/", "thumbs/link.png", "/etc/passwd",
                 "x%00.png"]:  # fmt: skip
        assert ask(server, name=name)[0] == 404, name
    for path in ["/", "/index.html", "/x/", f"/{server.token}", f"/{server.token}x/", "//", "*"]:
        assert ask(server, path=path)[0] == 404, path


def test_other_sites_get_nothing(served, assignment):
    server, reviews = served
    rows = [row(assignment.table)]
    assert ask(server, Host="evil.example")[0] == 404
    assert post(server, rows, Origin="http://evil.example")[0] == 403
    assert post(server, rows, Origin="null")[0] == 403
    assert post(server, rows, Content_Type="text/plain")[0] == 415
    assert ask(server, "PUT", "reviews", b"[]")[0] == 501
    assert not reviews.exists()
    assert post(server, rows, Origin=f"http://127.0.0.1:{server.server_port}")[0] == 200
    assert len(read_reviews(reviews)) == 1


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"{}", b"[1]", b'[{"image_id": "x"}]', b"[" * 100_000, b"\xff",
     json.dumps([dict.fromkeys(REVIEW_COLUMNS, 3)]).encode(),
     json.dumps([dict.fromkeys(REVIEW_COLUMNS, "x")]).encode()],
    ids=range(10),
)  # fmt: skip
def test_what_is_no_review_is_refused(served, assignment, body):
    server, reviews = served
    assert post(server, [row(assignment.table)])[0] == 200
    before = reviews.read_bytes()
    status, said, _ = post(server, body)
    assert status == 422
    assert json.loads(said)["error"]
    assert reviews.read_bytes() == before
    assert sorted(p.name for p in reviews.parent.glob("reviews*")) == ["reviews.csv"]


def test_rows_that_cannot_be_used_are_refused_with_the_reason(served, assignment):
    server, reviews = served
    for values, said in [({"decision": "maybe"}, "maybe"), ({"label": "a|b"}, "'|'"),
                         ({"image_id": "f" * 16}, "not in"), ({"label": "\ud800"}, "text"),
                         ({"image_id": "cluster:999"}, "no cluster 999")]:  # fmt: skip
        status, body, _ = post(server, [row(assignment.table, **values)])
        assert status == 422
        assert said in json.loads(body)["error"]
    assert post(server, b"", Content_Length="5000000")[0] == 413
    assert not reviews.exists()


def test_a_pipe_in_the_folder_of_the_page_is_nothing_and_holds_nobody(served):
    server, _ = served
    os.mkfifo(server.folder / "thumbs" / "pipe.png")
    assert ask(server, name="thumbs/pipe.png")[0] == 404


def test_a_body_over_the_limit_gets_its_answer(served, assignment):
    server, reviews = served
    assert post(server, b" " * 20_000_000)[0] == 413
    assert post(server, b" " * 20_000_000, Content_Type="text/plain")[0] == 415
    assert ask(server, "POST", "other", b" " * 20_000_000)[0] == 404
    no_length = {"Content_Type": "application/json", "Transfer_Encoding": "chunked"}
    assert ask(server, "POST", "reviews", (b"[" for _ in range(3)), **no_length)[0] == 411
    assert not reviews.exists()
    assert post(server, [row(assignment.table)])[0] == 200


@pytest.mark.parametrize("path", ["/x/reviews", "/{}/other", "/{}/reviews"])
def test_what_is_refused_is_answered_once(served, path):
    server, _ = served
    with socket.create_connection(("127.0.0.1", server.server_port), timeout=20) as client:
        head = f"POST {path.format(server.token)} HTTP/1.0\r\nHost: 127.0.0.1:{server.server_port}"
        client.sendall(f"{head}\r\nContent-Length: 3\r\n\r\nabc".encode())
        said = client.makefile("rb").read()
    assert said.count(b"HTTP/1.0 4") == 1


@pytest.mark.parametrize("note", ["a\rb", "a\r\nb", "a\nb", '"\r"', "=\r1", "a\rid,b,c"])
def test_a_note_of_several_lines_stays_as_it_is(served, assignment, note):
    server, reviews = served
    for number in range(2):
        assert post(server, [row(assignment.table, number, note=note)])[0] == 200
    assert read_reviews(reviews)["note"].tolist() == [note, note]
    (rows,) = [json.loads(ask(server, name="reviews")[1])["rows"]]
    assert [one["note"] for one in rows] == [note, note]
    again = reviews.parent / "again.csv"
    review(reviews, out=again)
    assert read_reviews(again)["note"].tolist() == [note, note]


def test_rows_are_added_and_nothing_is_lost(served, assignment):
    server, reviews = served
    table = assignment.table
    reviews.write_text(
        "note,image_id,decision,label,mine\n"
        f"'=a,{table['image_id'][0]},Relabel,rod,kept\n"
    )  # fmt: skip
    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(
            lambda n: post(server, [row(table, n % 20, note=f"=n{n}")])[0], range(40)
        ))  # fmt: skip
    assert set(answers) == {200}
    assert reviews.read_bytes().startswith(b"\xef\xbb\xbf")
    found = pd.read_csv(reviews, dtype=str, keep_default_na=False)
    assert found["mine"].tolist() == ["kept"] + [""] * 40
    assert sorted(found["note"][1:]) == sorted(f"'=n{n}" for n in range(40))
    (answer,) = [json.loads(ask(server, name="reviews")[1])["rows"]]
    assert answer[0] == dict.fromkeys(REVIEW_COLUMNS, "") | {
        "image_id": table["image_id"][0], "label": "rod", "decision": "relabel", "note": "=a"
    }  # fmt: skip
    assert len(answer) == 41
    assert review(reviews)["rows"] == 41


def test_rows_are_added_to_what_a_spreadsheet_saved(served, assignment):
    server, reviews = served
    post(server, [row(assignment.table)])
    reviews.write_text(reviews.read_text().replace(",", "\t"), encoding="utf-16")
    assert post(server, [row(assignment.table, 1)])[0] == 200
    assert len(read_reviews(reviews)) == 2


def test_a_reviews_file_that_cannot_be_used_is_left_alone(run, assignment, tmp_path):
    assigned = load_assigned(assignment.path)
    long = "image_id,label,decision\nx," + "y" * 10_000_000 + ",relabel\n"
    for number, text in enumerate(["a,b\n1,2\n", "image_id,label,decision\nx,,accept\n", long]):
        path = tmp_path / f"{number}.csv"
        path.write_text(text)
        with pytest.raises(DataError) as error:
            ReviewFile(path, assigned, run.manifest)
        assert len(str(error.value)) < 600
        assert path.read_text() == text


@pytest.mark.slow
def test_what_is_decided_while_the_file_is_damaged_waits(served, browser, assignment):
    server, reviews = served
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(server.url)
    tab.locator("#saved").filter(has_text="every decision").wait_for()
    for key in "ja":
        tab.keyboard.press(key)
    wait_for_rows(reviews, 1)
    good = reviews.read_text()
    for damage in (good + "oops,,,maybe,,,\n", "a,b\n1,2\n"):
        reviews.write_text(damage)
        assert post(server, [row(assignment.table)])[0] == 409
        assert reviews.read_text() == damage
    tab.keyboard.press("x")
    tab.locator("#saved.alarm").filter(has_text="mend reviews.csv").wait_for()
    reviews.write_text(good)
    wait_for_rows(reviews, 2)
    context.close()


def wait_for_rows(reviews: Path, count: int) -> None:
    deadline = time.monotonic() + 30
    while not (reviews.exists() and len(read_reviews(reviews)) >= count):
        assert time.monotonic() < deadline, f"no {count} rows in {reviews} after 30 s"
        time.sleep(0.05)
    assert len(read_reviews(reviews)) == count


@pytest.mark.parametrize("text", ["", "\n", ",".join(REVIEW_COLUMNS) + "\n"])
def test_a_file_without_rows_is_begun(served, assignment, text):
    server, reviews = served
    reviews.write_text(text)
    assert json.loads(ask(server, name="reviews")[1]) == {"rows": []}
    assert post(server, [row(assignment.table)])[0] == 200
    assert len(read_reviews(reviews)) == 1


def test_decisions_that_the_file_lacks_can_be_sent(served, browser):
    server, reviews = served
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(server.url)
    tab.locator("#saved").filter(has_text="every decision").wait_for()
    for key in "jax":
        tab.keyboard.press(key)
    wait_for_rows(reviews, 2)
    # Not before the page knows: what it does not know to be saved it sends again by itself.
    tab.locator("#saved").filter(has_text=re.compile("^saved to reviews.csv$")).wait_for()
    reviews.rename(reviews.with_name("sent-to-a-colleague.csv"))
    tab.reload()
    tab.locator("#resend").filter(has_text="2 decisions").click()
    wait_for_rows(reviews, 2)
    context.close()


def test_a_port_that_is_taken(served):
    server, _ = served
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        with pytest.raises(ClusterkitError, match=f"port {port}"):
            ReviewServer(server.folder, server.reviews, port)


def test_page_saves_straight_away(served, visit, assignment):
    server, reviews = served
    tab = visit(server.url, "http:")
    tab.wait("#saved", "every decision is saved")
    tab.tab.select_option("#sort", "image")
    tab.press("j", "x")
    tab.wait("#saved", "saved to reviews.csv")
    tab.press("s", "u")
    tab.tab.click("[data-tab=clusters]")
    tab.press("j", "l")
    tab.tab.keyboard.type("rosette")
    tab.press("Enter", "Enter")
    tab.wait("#said", "rosette")
    deadline = time.monotonic() + 20
    while len(read_reviews(reviews)) < 4 and time.monotonic() < deadline:
        time.sleep(0.05)
    found = read_reviews(reviews)
    assert found["decision"].tolist()[:4] == ["reject", "skip", "skip", "relabel"]
    assert found["image_id"].iloc[3].startswith("cluster:")
    tab.tab.reload()
    tab.wait("#saved", "every decision is saved")
    tab.tab.click("[data-tab=clusters]")
    assert "labelled: rosette" in tab.text("#cards")


def test_one_image_large_is_decided_and_saved_straight_away(served, visit):
    server, reviews = served
    tab = visit(server.url, "http:")
    tab.wait("#saved", "every decision is saved")
    tab.tab.click("#start")
    tab.wait("#view-said", "48 x 48 px")
    tab.press("x")
    wait_for_rows(reviews, 1)
    tab.press("Control+z")
    wait_for_rows(reviews, 2)
    assert read_reviews(reviews)["decision"].tolist() == ["reject", "skip"]
    tab.press("Escape")
    tab.tab.click("#end")
    assert f"clusterkit fit LABELS --reviews {reviews}" in tab.text("#finish")
    assert f"Every decision is in {reviews} already." in tab.text("#finish")


def test_a_server_that_is_gone_is_said_and_nothing_is_lost(served, browser, assignment):
    server, reviews = served
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(server.url)
    tab.locator("#saved").filter(has_text="every decision").wait_for()
    tab.route("**/reviews", lambda route: route.abort())
    # By mouse: a key does nothing while pictures that still load move the card off the screen.
    tab.locator("#cards > *").first.get_by_role("button", name="reject").click()
    tab.locator("#saved.alarm").filter(has_text="NOT saved").wait_for()
    assert not reviews.exists()
    tab.unroute("**/reviews")
    # The page knows of the decision before the server has it.
    with tab.expect_response(lambda answer: answer.request.method == "POST"):
        tab.reload()
    tab.locator("#progress").filter(has_text="1 of").wait_for()
    assert read_reviews(reviews)["decision"].tolist() == ["reject"]
    context.close()


def test_one_refused_row_does_not_hold_the_others_back(served, browser, assignment, tmp_path):
    server, reviews = served
    rows = [row(assignment.table, n) for n in range(3)]
    rows[1] |= {"image_id": "f" * 16}
    pd.DataFrame(rows).to_csv(tmp_path / "in.csv", index=False)
    context = browser.new_context()
    tab = context.new_page()
    tab.goto(server.url)
    tab.locator("#saved").filter(has_text="every decision").wait_for()
    tab.set_input_files("#file", tmp_path / "in.csv")
    tab.locator("#saved.alarm").filter(has_text="1 decision NOT saved").wait_for()
    deadline = time.monotonic() + 20
    while len(read_reviews(reviews)) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    assert read_reviews(reviews)["image_id"].tolist() == [rows[0]["image_id"], rows[2]["image_id"]]
    context.close()


@pytest.mark.slow
def test_the_command_serves_until_it_is_interrupted(run, assignment, tmp_path):
    folder = tmp_path / "run"
    shutil.copytree(run.path, folder, ignore=shutil.ignore_patterns("audit"))
    # A shell lets what it starts in the background ignore it.
    code = ("import signal, sys; signal.signal(signal.SIGINT, signal.default_int_handler); "
            "from clusterkit.cli import main; sys.argv[0] = 'clusterkit'; main()")  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-c", code, "audit", "--run", folder, "--serve", "--limit", "2"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )  # fmt: skip
    try:
        url = process.stdout.readline().split()[-1]
        host, token = url.removeprefix("http://").strip("/").split("/")
        connection = http.client.HTTPConnection(host, timeout=20)
        connection.request("GET", f"/{token}/")
        assert connection.getresponse().status == 200
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 0
    assert "Traceback" not in errors
    assert Run.load(folder).path == folder
    assert len(read_assignments(folder / "assignments.csv")) == len(assignment.table)


def test_rows_about_clusters_name_their_assignments(served):
    server, reviews = served
    file = server.reviews
    number = int(file.assigned.table["cluster"].dropna().iloc[0])
    named = dict.fromkeys(REVIEW_COLUMNS, "") | {
        "image_id": f"cluster:{number}", "label": "rod", "decision": "relabel",
    }  # fmt: skip
    own = file.assigned.fingerprint
    assert f'"fingerprint": "{own}"' in (server.folder / "index.html").read_text()
    assert post(server, [named | {"assignments": own}])[0] == 200
    status, body, _ = post(server, [named | {"assignments": "x" + own[:0:-1]}])
    assert status == 422
    assert "its clusters are others" in json.loads(body)["error"]
    assert read_reviews(reviews)["assignments"].tolist() == [own]
    assert json.loads(ask(server, name="reviews")[1])["rows"][0]["assignments"] == own
